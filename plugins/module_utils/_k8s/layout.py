# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Objects as files: ``cluster/<resource>.<group>.json`` and ``namespaces/<ns>/<resource>.<group>.json``.

Where all served versions of a kind were asked for, ``versions/<version>/`` holds the others in the same layout.

Each file is a ``List`` that ``kubectl apply -f`` takes. One object a line, sorted by name, sorted keys: the same
state gives the same bytes, a changed object changes one line, and a file can be read object by object.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_HEAD = '{"apiVersion":"v1","items":[\n'
_TAIL = '\n],"kind":"List","metadata":{}}\n'
_SEPARATOR = b",\n"


@dataclass(frozen=True)
class Captured:
    """One object of a capture and the resource it was captured as; ``stands_for`` is the version that it is not in."""

    key: str
    obj: JSON
    stands_for: str = ""

    @property
    def identity(self) -> objects.Identity:
        return objects.identity(self.key, self.obj)


def file_of(root: Path, key: str, namespace: str | None) -> Path:
    """Where the objects of a kind lie; names of namespaces and kinds are DNS labels, so they are safe in paths."""
    folder = root / "namespaces" / namespace if namespace else root / "cluster"
    return folder / f"{key}.json"


class Writer:
    """The files of one kind, written while its objects come, with one file open at a time.

    A server lists by namespace and name, so a line is written when it comes. Where one comes out of order (some
    aggregated APIs), :meth:`finish` sorts that one file.
    """

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._key = key
        self._file: BinaryIO | None = None
        self._namespace: str | None = None
        self._last: dict[str | None, str] = {}
        self._unsorted: set[str | None] = set()
        self.count = 0

    def add(self, namespace: str | None, name: str, line: str) -> None:
        """Append one canonical object; raises :class:`OSError` where the file system is full."""
        last = self._last.get(namespace)
        if self._file is None or namespace != self._namespace:
            self._close()
            self._file = self._open(namespace, again=last is not None)
            self._namespace = namespace
        if last is not None:
            self._file.write(_SEPARATOR)
            if name <= last:
                self._unsorted.add(namespace)
        self._file.write(line.encode())
        self._last[namespace] = name
        self.count += 1

    def finish(self) -> int:
        """Complete the files and return how many objects they hold; none: no file."""
        self._close()
        for namespace in sorted(self._unsorted, key=str):
            self._sort(file_of(self._root, self._key, namespace))
        self._unsorted.clear()
        return self.count

    def discard(self) -> None:
        """Remove what was written, also where the file system is full."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        for namespace in self._last:
            file_of(self._root, self._key, namespace).unlink(missing_ok=True)
        self._last.clear()
        self._unsorted.clear()
        self.count = 0

    def _open(self, namespace: str | None, *, again: bool) -> BinaryIO:
        path = file_of(self._root, self._key, namespace)
        if again:
            with path.open("r+b") as before:
                before.truncate(path.stat().st_size - len(_TAIL))
        else:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | (os.O_APPEND if again else os.O_CREAT | os.O_TRUNC)
        file = os.fdopen(os.open(path, flags, 0o600), "wb")
        if not again:
            file.write(_HEAD.encode())
        return file

    def _close(self) -> None:
        if self._file is not None:
            self._file.write(_TAIL.encode())
            self._file.close()
            self._file = None

    @staticmethod
    def _sort(path: Path) -> None:
        lines = {str(json.loads(line)["metadata"]["name"]): line for line in read_lines(path)}
        with path.open("wb") as file:
            file.write(_HEAD.encode())
            file.write(_SEPARATOR.join(lines[name].encode() for name in sorted(lines)))
            file.write(_TAIL.encode())


def write(root: Path, key: str, namespace: str | None, lines: Iterable[tuple[str, str]]) -> int:
    """Write one file from (name, canonical object) pairs and return how many objects it has; none: no file."""
    writer = Writer(root, key)
    for name, line in sorted(lines):
        writer.add(namespace, name, line)
    return writer.finish()


def other_version(root: Path, version: str) -> Path:
    """The folder that holds, in the same layout, kinds in a version other than the one their server prefers."""
    return root / "versions" / version


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
    try:
        with path.open(encoding="utf-8") as file:
            if file.readline() != _HEAD:
                raise Corrupt(
                    "read", path.name, "it does not begin as a list of objects", "Capture the application again."
                )
            for line in file:
                if line.startswith("]"):
                    return
                yield line.rstrip("\n").removesuffix(",")
    except UnicodeDecodeError:
        raise damaged(path) from None
    raise Corrupt("read", path.name, "it ends in the middle", "Restore it from the repository again.")


def damaged(path: Path) -> Corrupt:
    """The error for a file whose lines are no objects."""
    return Corrupt("read", path.name, "it is not what was captured", "Restore it from the repository again.")


def read(root: Path) -> Iterator[Captured]:
    """Every object of a capture, in the version that its server preferred."""
    yield from Objects(root)


@dataclass(frozen=True)
class Objects:
    """The objects of a capture, read from their files each time they are gone through.

    Of kinds in ``instead`` they come in that other version, as far as they were captured in it.
    """

    root: Path
    instead: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Captured]:
        for key, namespace, path in files(self.root):
            version = self.instead.get(key)
            other = file_of(other_version(self.root, version), key, namespace) if version else None
            if other is not None and other.is_file():
                yield from _beside(key, path, other)
            else:
                yield from (Captured(key, obj) for obj in _objects(path))

    @property
    def versions(self) -> dict[str, list[str]]:
        """The names of the other versions in which kinds were captured."""
        found: dict[str, list[str]] = {}
        for folder in sorted((self.root / "versions").glob("*")):
            for key in sorted({key for key, _namespace, _path in files(folder)}):
                found.setdefault(key, []).append(folder.name)
        return found

    def reading(self, instead: Mapping[str, str]) -> Objects:
        """The same capture, with other versions of some kinds."""
        return replace(self, instead=instead)


def _objects(path: Path) -> Iterator[JSON]:
    for line in read_lines(path):
        try:
            obj: JSON = json.loads(line)
        except ValueError:
            raise damaged(path) from None
        yield obj


def _beside(key: str, path: Path, other: Path) -> Iterator[Captured]:
    """The objects of the first file, each as the second has it; both are sorted by name."""
    others = _objects(other)
    candidate = next(others, None)
    for obj in _objects(path):
        name = str(obj["metadata"]["name"])
        while candidate is not None and str(candidate["metadata"]["name"]) < name:
            candidate = next(others, None)
        if candidate is not None and candidate["metadata"]["name"] == name:
            yield Captured(key, candidate, str(obj.get("apiVersion")))
        else:
            yield Captured(key, obj)
