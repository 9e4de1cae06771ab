# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Objects as files: ``cluster/<resource>.<group>.json`` and ``namespaces/<ns>/<resource>.<group>.json``.

Each file is a ``List`` that ``kubectl apply -f`` takes. One object a line, sorted by name, sorted keys: the same
state gives the same bytes, a changed object changes one line, and a file can be read object by object.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_HEAD = '{"apiVersion":"v1","items":[\n'
_TAIL = '\n],"kind":"List","metadata":{}}\n'


@dataclass(frozen=True)
class Captured:
    """One object of a capture and the resource it was captured as."""

    key: str
    obj: JSON

    @property
    def identity(self) -> objects.Identity:
        return objects.identity(self.key, self.obj)


def file_of(root: Path, key: str, namespace: str | None) -> Path:
    """Where the objects of a kind lie; names of namespaces and kinds are DNS labels, so they are safe in paths."""
    folder = root / "namespaces" / namespace if namespace else root / "cluster"
    return folder / f"{key}.json"


def write(root: Path, key: str, namespace: str | None, lines: Iterable[tuple[str, str]]) -> int:
    """Write one file from (name, canonical object) pairs and return how many objects it has; none: no file."""
    ordered = sorted(lines)
    if not ordered:
        return 0
    path = file_of(root, key, namespace)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_HEAD)
        for number, (_name, line) in enumerate(ordered):
            file.write(line if number == 0 else ",\n" + line)
        file.write(_TAIL)
    return len(ordered)


def files(root: Path) -> list[tuple[str, str | None, Path]]:
    """(key, namespace, path) of every file of a capture, sorted."""
    found: list[tuple[str, str | None, Path]] = [
        (path.name.removesuffix(".json"), None, path) for path in sorted((root / "cluster").glob("*.json"))
    ]
    found += [
        (path.name.removesuffix(".json"), path.parent.name, path)
        for path in sorted((root / "namespaces").glob("*/*.json"))
    ]
    return found


def read_lines(path: Path) -> Iterator[str]:
    """The canonical objects of a file that :func:`write` wrote, one by one."""
    with path.open(encoding="utf-8") as file:
        if file.readline() != _HEAD:
            raise Corrupt("read", path.name, "it does not begin as a list of objects", "Capture the application again.")
        for line in file:
            if line.startswith("]"):
                return
            yield line.rstrip("\n").removesuffix(",")
    raise Corrupt("read", path.name, "it ends in the middle", "Restore it from the repository again.")


def read(root: Path) -> Iterator[Captured]:
    """Every object of a capture."""
    for key, _namespace, path in files(root):
        for line in read_lines(path):
            try:
                obj: JSON = json.loads(line)
            except ValueError:
                raise Corrupt(
                    "read", path.name, "it is not what was captured", "Restore it from the repository again."
                ) from None
            yield Captured(key, obj)


@dataclass
class Change:
    """How many objects differ from an earlier capture; status and the server's own fields do not count."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def as_dict(self) -> dict[str, int]:
        return {"added": self.added, "changed": self.changed, "removed": self.removed, "unchanged": self.unchanged}


def compare(before: Path, after: Path) -> Change:
    """Count the differences between two captures, one kind of one namespace in memory at a time."""
    change = Change()
    old = {(key, namespace): path for key, namespace, path in files(before)}
    new = {(key, namespace): path for key, namespace, path in files(after)}
    for place in sorted(old.keys() | new.keys(), key=str):
        if place not in old:
            change.added += sum(1 for _line in read_lines(new[place]))
        elif place not in new:
            change.removed += sum(1 for _line in read_lines(old[place]))
        else:
            _compare_files(old[place], new[place], change)
    return change


def _compare_files(before: Path, after: Path, change: Change) -> None:
    old = dict(map(_named, read_lines(before)))
    for line in read_lines(after):
        name, obj = _named(line)
        earlier = old.pop(name, None)
        if earlier is None:
            change.added += 1
        elif objects.essence(earlier) == objects.essence(obj):
            change.unchanged += 1
        else:
            change.changed += 1
    change.removed += len(old)


def _named(line: str) -> tuple[str, JSON]:
    obj: JSON = json.loads(line)
    return str(obj["metadata"]["name"]), obj
