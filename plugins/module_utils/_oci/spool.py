# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Layers put by on disk where one side of a copy is much slower than the other.

A source that waits for a slow target ends the connection sooner or later; an upload that breaks would have everything
downloaded again. Where both sides are about as fast nothing is written to disk.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._oci import transport

# Bytes of a blob that are worth it.
LARGE = 32 * 1024 * 1024
# How it is seen that a target is slower: it took this many seconds, so many times those of the source, and would take
# this many more.
_SEEN = 5.0
_TIMES = 3.0
_AHEAD = 30.0


@dataclass
class Sides:
    """The seconds that a blob's copy has waited for either side."""

    source: float = 0.0
    target: float = 0.0

    def target_lags(self, done: int, size: int) -> bool:
        """Whether the source would have to wait for long, with ``done`` of ``size`` bytes copied."""
        slower = self.target >= _SEEN and self.target >= _TIMES * self.source
        return slower and self.target * (size - done) >= _AHEAD * done

    def source_lags(self) -> bool:
        """Whether the target waits more than the source does."""
        return self.source > self.target


class Spool:
    """Room for blobs in a directory, at most ``limit`` bytes at a time and half of what is free there.

    The files have no names, so that they go with the process however that ends. ``problem`` says why one could not be
    written.
    """

    def __init__(self, folder: str | None, limit: int) -> None:
        """Raises :class:`InvalidInput` for a folder that cannot be written to; without one it is ``TMPDIR``."""
        if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise InvalidInput("use", f"spool_dir {folder}", "it is no directory that this user may write to")
        self.folder = folder or tempfile.gettempdir()
        self.problem = ""
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def keep(self, size: int, base: int, chunks: Callable[[], Generator[bytes, None, None]]) -> Kept | None:
        """Begin to put by the ``size`` bytes from ``base`` on; ``None`` where there is no room for them."""
        with self._lock:
            try:
                stat = os.statvfs(self.folder)
                if self._used + size > self._limit or size > stat.f_bavail * stat.f_frsize // 2:
                    return None
                with ExitStack() as stack:
                    file = stack.enter_context(tempfile.TemporaryFile(dir=self.folder, prefix="muster-layer-"))
                    held = stack.pop_all()
            except OSError as error:
                self._failed(error.strerror or str(error))
                return None
            self._used += size
        held.callback(self._release, size)
        return Kept(held, file.fileno(), size, base, chunks(), self._failed)

    def _release(self, size: int) -> None:
        with self._lock:
            self._used -= size

    def _failed(self, problem: str) -> None:
        self.problem = self.problem or problem


class Kept:
    """The bytes of a blob from ``base`` on, which a thread fetches as fast as the source gives them."""

    def __init__(
        self,
        held: ExitStack,
        file: int,
        size: int,
        base: int,
        source: Generator[bytes, None, None],
        failed: Callable[[str], None],
    ) -> None:
        """``held`` closes the file and gives its room back; ``failed`` is told why it could not be written."""
        self.base = base
        self._held = held
        self._file = file
        self._size = size
        self._failed = failed
        self._written = 0
        self._over = self._stopped = False
        self._error: BaseException | None = None
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._fill, args=(source, transport.worker()), daemon=True)
        self._thread.start()

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are here; where the disk was full, they are not."""
        return self._written == self._size

    def chunks(self, start: int) -> Generator[bytes, None, None]:
        """The bytes from ``start`` on as they come, as far as they could be put by; the source's errors are raised."""
        at = start - self.base
        while True:
            with self._moved:
                while self._written <= at and not self._over:
                    self._moved.wait()
                end = self._written
            if at < end:
                data = os.pread(self._file, min(transport.CHUNK, end - at), at)
                at += len(data)
                yield data
            elif self._error is not None:
                raise self._error
            else:
                return

    def wait(self) -> None:
        """Wait until nothing more comes."""
        self._thread.join()

    def close(self) -> None:
        """End the thread and remove the file."""
        self._stopped = True
        self._thread.join()
        self._held.close()

    def _fill(self, source: Generator[bytes, None, None], worker: int) -> None:
        # The host's places are for those who copy, and this is part of one's copying.
        transport.act_for(worker)
        try:
            with closing(source):
                for chunk in source:
                    if self._stopped or not self._write(chunk):
                        return
        except BaseException as error:
            self._error = error
        finally:
            with self._moved:
                self._over = True
                self._moved.notify_all()

    def _write(self, chunk: bytes) -> bool:
        rest, at = memoryview(chunk), self._written
        try:
            while rest:
                count = os.pwrite(self._file, rest, at)
                rest, at = rest[count:], at + count
        except OSError as error:
            self._failed(error.strerror or str(error))
            with suppress(OSError):
                # Others may need the room at once.
                os.ftruncate(self._file, self._written)
            return False
        with self._moved:
            self._written = at
            self._moved.notify_all()
        return True
