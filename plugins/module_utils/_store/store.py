# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a store of objects can do, whatever lies below it."""

from __future__ import annotations

import hashlib
import itertools
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict, InvalidInput, NotFound

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: ``key`` below the store's root, ``size`` in bytes.

    Where versions are listed: ``modified`` in seconds since 1970, ``hidden`` by a delete marker, ``layered`` over
    versions with other bytes.
    """

    key: str
    size: int
    modified: float = 0.0
    hidden: bool = False
    layered: bool = False


class Entries:
    """Entries of a listing in little memory, with key and size only: a million of them in some 80 MB."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._sizes = array("q")
        self.bytes = 0

    def append(self, entry: Entry) -> None:
        self._keys += entry.key.encode() + b"\0"
        self._sizes.append(entry.size)
        self.bytes += entry.size

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Entry]:
        start = 0
        for size in self._sizes:
            end = self._keys.index(0, start)
            yield Entry(self._keys[start:end].decode(), size)
            start = end + 1

    def batches(self) -> Iterator[list[Entry]]:
        """As many at a time as a pool may be given: it keeps some kilobytes for each."""
        entries = iter(self)
        while batch := list(itertools.islice(entries, _BATCH)):
            yield batch

    def sample(self, number: int) -> list[Entry]:
        """Some of them, which nobody can foretell."""
        chosen = set(random.SystemRandom().sample(range(len(self)), min(number, len(self))))
        return [entry for place, entry in enumerate(self) if place in chosen]


@dataclass(frozen=True)
class Stored:
    """An object's bytes with the ``version`` that :meth:`Store.swap` wants back."""

    data: bytes
    version: str


class Readable(Protocol):
    """Bytes that are read once, from front to end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, empty at the end; :class:`OSError` where the way to them broke."""

    def close(self) -> None: ...


def check_key(key: str) -> str:
    """The key, if it stays below the root of any store; :class:`InvalidInput` otherwise."""
    if not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidInput("use", f"object name {key!r}", "it is not a plain relative path")
    return key


class Store(ABC):
    """Objects by key below one root. Safe to call from many threads.

    Every method raises errors of the engine's family only: :class:`NotFound` for an object, bucket or directory that is
    not there, :class:`Denied` for refused credentials, :class:`Unavailable` for a server that does not answer,
    :class:`Conflict` where a condition did not hold.
    """

    place: str
    """Where it is, for people; never with a secret in it."""

    @abstractmethod
    def probe(self) -> None:
        """Raise unless the root is there and can be listed."""

    @abstractmethod
    def read(self, key: str) -> Stored:
        """The object with its version."""

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        return self.read(key).data

    def peek(self, key: str) -> Stored | None:
        """The object with its version, or ``None`` where there is none."""
        try:
            return self.read(key)
        except NotFound as error:
            # A bucket that is missing is more than an object that is not there.
            if error.__class__ is not NotFound:
                raise
            return None

    def find(self, key: str) -> bytes | None:
        """The object's bytes, or ``None`` where there is none."""
        stored = self.peek(key)
        return stored.data if stored else None

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects whose key begins with ``prefix``, in the order of their keys."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write the whole object, whether it is there or not; readers see the old bytes or the new."""

    def create(self, key: str, data: bytes) -> None:
        """Write the object unless it is there: :class:`Conflict`.

        An object that holds exactly these bytes is our own write whose answer was lost, and counts as success.
        """
        try:
            self._create(check_key(key), data)
        except Conflict:
            if self.find(key) != data:
                raise

    def swap(self, key: str, data: bytes, version: str) -> None:
        """Replace the object if it still has this version: :class:`Conflict` otherwise."""
        try:
            self._swap(check_key(key), data, version)
        except Conflict:
            if self.find(key) != data:
                raise

    @abstractmethod
    def _create(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def _swap(self, key: str, data: bytes, version: str) -> None: ...

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""

    @abstractmethod
    def download(self, key: str, into: BinaryIO) -> int:
        """Copy the object's bytes to a file and return how many; for objects too large for memory."""

    @abstractmethod
    def upload(self, key: str, source: Path) -> None:
        """:meth:`put` from a file."""

    def take(self, source: Store, key: str, check: Callable[[str], None]) -> int | None:
        """Copy an object from another store without sending its bytes, and return its size.

        ``None`` where that cannot be done: then it has to be sent. ``check`` gets the SHA-256 of what is copied and
        raises where it is not right; nothing is copied then.
        """
        return None

    @abstractmethod
    def size(self, key: str) -> int | None:
        """The object's size in bytes; ``None`` where there is none."""

    @abstractmethod
    def open(self, key: str, offset: int = 0, length: int | None = None) -> Readable:
        """The object's bytes from ``offset`` on. Who needs only ``length`` of them says so, and may be given more."""

    @abstractmethod
    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """:meth:`put` from chunks as they come. Nothing is seen of the object where drawing a chunk raises."""

    @abstractmethod
    def tidy(self, prefix: str, age: float) -> None:
        """Remove what killed writers left below ``prefix`` more than ``age`` seconds ago, as far as that is allowed."""

    def already(self, key: str) -> Conflict:
        return Conflict("create", f"{key} in {self.place}", "it is there already, with other content")

    def changed(self, key: str) -> Conflict:
        return Conflict("replace", f"{key} in {self.place}", "somebody else changed it in between", "Try again.")

    def missing(self, key: str) -> NotFound:
        return NotFound("read", f"{key} in {self.place}", "there is no such object")


def digest(data: bytes) -> str:
    """``sha256:…`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
