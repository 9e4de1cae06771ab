# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A store in a directory: private files, written beside their place and renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entry, Store, Stored, check_key

_TEMPORARY = ".muster-tmp-"
_LOCK = ".muster-lock"


class Directory(Store):
    """Objects are files below ``root``, which must exist: an unmounted file system is missed that way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.place = str(root)

    def probe(self) -> None:
        try:
            there = stat.S_ISDIR(self._root.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError as error:
            raise self._error("look for", "objects", error) from error
        if not there:
            raise NotFound(
                "use", f"directory {self._root}", "it is not there", "Create it, or mount the file system it lies on."
            )
        if not os.access(self._root, os.R_OK | os.X_OK):
            raise Denied("read", f"directory {self._root}", "this user may not")

    def read(self, key: str) -> Stored:
        with self._errors("read", key):
            data = self._path(key).read_bytes()
        return Stored(data, _version(data))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        self.probe()
        # Only the directory that the prefix names is walked; a root may hold much else.
        folder = prefix.rpartition("/")[0]
        for entry in self._walk(f"{folder}/" if folder else ""):
            if entry.key.startswith(prefix):
                yield entry

    def _walk(self, folder: str) -> Iterator[Entry]:
        """The files below a folder, in the order of their keys, with one folder of each level in memory."""
        try:
            with os.scandir(self._root / folder) as listing:
                # A folder sorts as all that is in it does.
                found = sorted((f"{item.name}/" if item.is_dir() else item.name, item) for item in listing)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._error("list", folder or "objects", error) from error
        for name, item in found:
            if name.endswith("/"):
                if not item.is_symlink():
                    yield from self._walk(folder + name)
            elif not name.startswith((_TEMPORARY, _LOCK)):
                with contextlib.suppress(FileNotFoundError):
                    yield Entry(folder + name, item.stat().st_size)

    def put(self, key: str, data: bytes) -> None:
        with self._beside(key, lambda file: file.write(data)) as (temporary, path):
            temporary.replace(path)

    def upload(self, key: str, source: Path) -> None:
        with (
            source.open("rb") as stream,
            self._beside(key, lambda file: shutil.copyfileobj(stream, file, 1 << 20)) as (temporary, path),
        ):
            temporary.replace(path)

    def _create(self, key: str, data: bytes) -> None:
        with self._beside(key, lambda file: file.write(data)) as (temporary, path):
            try:
                # A hard link either makes the name or fails; rename would replace what is there.
                os.link(temporary, path)
            except FileExistsError:
                raise self.already(key) from None

    def _swap(self, key: str, data: bytes, version: str) -> None:
        with self._exclusive(key):
            if self.read(key).version != version:
                raise self.changed(key)
            self.put(key, data)

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            self._path(key).unlink(missing_ok=True)

    def download(self, key: str, into: BinaryIO) -> int:
        with self._errors("read", key), self._path(key).open("rb") as stream:
            start = into.tell()
            shutil.copyfileobj(stream, into, 1 << 20)
            return into.tell() - start

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error("look for", key, error) from error

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        with self._errors("read", key):
            stream = self._path(key).open("rb")
            stream.seek(offset)
            return stream

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        with self._beside(key, lambda file: file.writelines(chunks)) as (temporary, path):
            temporary.replace(path)

    def tidy(self, prefix: str, age: float) -> None:
        for path in (self._root / prefix).rglob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > age:
                    path.unlink()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _beside(self, key: str, write: Callable[[BinaryIO], object]) -> Iterator[tuple[Path, Path]]:
        """A finished, flushed, private file beside the object's place; removed afterwards if it still has its name."""
        self.probe()
        path = self._path(key)
        with self._errors("write", key):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                yield temporary, path
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def _exclusive(self, key: str) -> Iterator[None]:
        """One swap at a time among processes that see the same file locks."""
        with self._errors("lock", key):
            path = self._path(key).parent / _LOCK
            with path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    @contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(action, key, error) from error

    def _error(self, action: str, key: str, error: OSError) -> MusterError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self.missing(key)
        target, reason = f"{key} in {self.place}", error.strerror or str(error)
        if isinstance(error, PermissionError):
            return Denied(action, target, reason, "Run as a user who may, or change the owner of the directory.")
        hint = "Free some space there." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return Unavailable(action, target, reason, hint)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
