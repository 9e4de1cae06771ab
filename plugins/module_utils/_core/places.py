# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Places that all processes of one user on this machine share, so that tasks beside one another keep one budget."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused, Unavailable


@contextlib.contextmanager
def place(name: str, count: int, wait: Callable[[], None]) -> Iterator[None]:
    """Hold one of ``count`` places of ``name``; ``wait`` is called again and again while all are taken.

    A place is a locked file, so that the kernel frees it when its holder dies. ``name`` becomes part of a file's name.
    Raises :class:`Refused` or :class:`Unavailable` where the files cannot be made, and what ``wait`` raises.
    """
    folder = _folder()
    while (held := _taken(folder, name, count)) is None:
        wait()
    try:
        yield
    finally:
        os.close(held)


def _taken(folder: Path, name: str, count: int) -> int | None:
    for number in range(count):
        path = folder / f"{name}-{number}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unavailable(path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise _unavailable(path, error) from None
        else:
            return descriptor
    return None


def _folder() -> Path:
    # Not XDG_RUNTIME_DIR: a login has one, the same user's cron job has none, and they would not meet.
    folder = Path(tempfile.gettempdir()) / f"muster-places-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _unavailable(folder, error) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused(
            "use",
            f"folder {folder}",
            "it is not a private folder of this user",
            "Find out who made it, remove it and run again.",
        )
    return folder


def _unavailable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "take a place at", str(path), str(error.strerror), "Set TMPDIR to a folder on a disk of this machine."
    )
