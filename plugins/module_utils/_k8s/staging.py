# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A private folder for objects on their way to or from the repository: they hold Secrets, so no disk if possible.

It is in memory where there is so much of it that what is staged is little beside it, and elsewhere where not, so that
a large application takes no more memory than a small one. Whoever sets TMPDIR decides himself.

Every folder is locked for as long as its run lives; the next run removes the unlocked ones of killed runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused

MEMORY = Path("/dev/shm")
# Bytes that must be free in memory. 300,000 objects are some hundred MiB, and plain Secrets belong on no disk.
_ROOM = 1024**3


def _home(memory: Path) -> Path:
    name = f"muster-container-dr-{os.geteuid()}"
    parents = [parent for parent in (memory, Path(tempfile.gettempdir())) if _writable(parent)]
    for parent in parents:
        # Also where this run will not be: a killed one may have been.
        if _is_private(parent / name):
            with _locked(parent / name):
                _remove_leftovers(parent / name)
    for parent in parents:
        if parent == memory and not _plenty(parent):
            continue
        home = parent / name
        with contextlib.suppress(FileExistsError):
            home.mkdir(mode=0o700)
        if _is_private(home):
            return home
        raise Refused(
            "use",
            f"folder {home}",
            "it is not a private folder of this user",
            "Find out who made it, remove it and run again.",
        )
    raise Refused("stage", "objects", "there is no writable folder for them", "Set TMPDIR to one.")


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _plenty(memory: Path) -> bool:
    """Whether what is staged may be in memory."""
    room = os.statvfs(memory)
    return not os.environ.get("TMPDIR") and room.f_bavail * room.f_frsize >= _ROOM


def _is_private(home: Path) -> bool:
    try:
        found = home.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


@contextlib.contextmanager
def folder(memory: Path = MEMORY) -> Iterator[Path]:
    """A new empty folder (mode 0700) that is gone afterwards, whatever happens."""
    home = _home(memory)
    # The lock on the home makes "new folder, locked" one step for those who clean up.
    with _locked(home):
        path = Path(tempfile.mkdtemp(prefix="objects-", dir=home))
        own = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(own, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(own)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(home: Path) -> None:
    for path in home.iterdir():
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            # A run that ends takes its own away without asking.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
