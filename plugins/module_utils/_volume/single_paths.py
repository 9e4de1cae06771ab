# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Single paths of a volume: what may be asked for, and how restic and a mover's shell are told so literally."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

# A Job is one object, and an argument of a process has at most 128 KiB.
_MOST = 100_000


@dataclass
class Selected:
    """What a snapshot holds below some paths: ``entries`` of every kind that restic restores; sizes in bytes."""

    paths: tuple[str, ...]
    entries: int = 0
    files: int = 0
    bytes: int = 0
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.missing = {f"/data/{path}" for path in self.paths}

    def take(self, entry: Mapping[str, Any]) -> None:
        """Count an entry as restic lists it; sockets are in no restore."""
        if entry.get("type") == "socket":
            return
        self.missing.discard(str(entry.get("path")))
        if entry.get("type") == "file":
            self.files += 1
            self.bytes += int(entry.get("size") or 0)
        self.entries += 1


def chosen(volume: str, given: Any) -> tuple[str, ...]:
    """The paths asked for of a volume, clean, none below another; :class:`InvalidInput` for what is no path in it."""
    if not isinstance(given, (list, tuple)) or not given:
        raise _invalid(volume, "there are none", "Give a list of paths, or leave the volume out.")
    paths: set[str] = set()
    for path in given:
        if not isinstance(path, str) or not path.strip("/"):
            raise _invalid(volume, f"{path!r} is no path", "Name files or folders; for all of it leave paths out.")
        if path.startswith("/"):
            raise _invalid(volume, f"{path!r} is absolute", "Begin below the volume's root, without a slash.")
        if not _text(path):
            raise _invalid(volume, f"{path!r} is not UTF-8", "Name the folder that holds it.")
        if ".." in path.split("/") or "\0" in path:
            raise _invalid(volume, f"{path!r} leads out of the volume", "Name the path as the volume has it.")
        clean = posixpath.normpath(path)
        if clean == ".":
            raise _invalid(volume, f"{path!r} is all of the volume", "Leave paths out to restore all of it.")
        paths.add(clean)
    kept = tuple(sorted(path for path in paths if not any(above in paths for above in _above(path))))
    if sum(len(word.encode()) for word in words(kept)) > _MOST:
        raise _invalid(volume, f"{len(kept)} of them are too many for one Job", "Name the folders that hold them.")
    return kept


def words(paths: Iterable[str]) -> tuple[str, ...]:
    """The words for a mover's script: all paths, then for each folder the folder and the patterns of what is in it."""
    paths = list(paths)
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(posixpath.dirname(path), []).append(_literal(path))
    groups = (shlex.join([folder, *patterns]) for folder, patterns in folders.items())
    return (shlex.join(f"data/{path}" for path in paths), *groups)


def _literal(path: str) -> str:
    """A pattern of restic's that means this path and nothing else."""
    return "/" + re.sub(r"([\\*?\[\]])", r"\\\1", path)


def _text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _above(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path


def _invalid(volume: str, reason: str, hint: str) -> InvalidInput:
    return InvalidInput("use", f"the paths of volume {volume}", reason, hint)
