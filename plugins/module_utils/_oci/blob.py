# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One blob on its way out of a place: checked as it passes, resumed where it broke."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor, hasher
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Source
from ansible_collections.muster.container_dr.plugins.module_utils._oci.spool import LARGE, Kept, Sides, Spool
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import BREAKS, BROKEN, CHUNK, backoff
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable

MARK = 16 * 1024 * 1024


class Download:
    """A blob as a stream of chunks that can be started again at any offset that was passed.

    The hash is kept at marks on the way, so that going back costs at most ``MARK`` bytes. The last chunk is handed
    out only after digest and size proved right: no upload of wrong bytes is ever completed. With a ``spool`` a large
    blob is put by there once it shows that one side is much slower; then :meth:`close` it.
    """

    def __init__(self, source: Source, repository: str, blob: Descriptor, spool: Spool | None = None) -> None:
        self._source = source
        self._repository = repository
        self._blob = blob
        self._target = f"blob {Reference(source.host, repository, digest=blob.digest)}"
        self._marks: list[tuple[int, Any]] = [(0, hasher(blob.digest))]
        self._spool = spool if blob.size >= LARGE else None
        self._kept: Kept | None = None
        self._sides = Sides()

    def chunks(self, start: int = 0) -> Generator[bytes, None, None]:
        """The bytes from ``start`` to the end. Raises :class:`Corrupt` or :class:`Unavailable`."""
        embedded = self._blob.embedded
        if embedded is not None:
            yield embedded[start:]
            return
        at, over = start, False
        while not over:
            kept = self._kept if self._kept and self._kept.base <= at else None
            with closing(kept.chunks(at) if kept else self._direct(at)) as stream:
                for chunk in stream:
                    at += len(chunk)
                    began = time.monotonic()
                    try:
                        yield chunk
                    finally:
                        self._sides.target += time.monotonic() - began
                    # From the beginning, so that it is whole if the upload has to be, for as long as that is little.
                    if kept is None and self._lags(at) and self._keep(0 if at < LARGE else at):
                        break
                else:
                    over = kept is None or kept.is_whole
                    if not over:
                        self.close()
                        self._spool = None

    def gather(self, start: int) -> None:
        """Before an upload is repeated from ``start``: whatever comes now, the source is not asked for it again.

        Where the source is the slower side the target shall not wait for it once more, so all is fetched first.
        """
        kept = self._kept
        if kept is None or kept.base > start:
            kept = self._keep(start)
        if kept is not None and self._sides.source_lags():
            kept.wait()

    def close(self) -> None:
        """Remove what was put by."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _lags(self, done: int) -> bool:
        return self._spool is not None and self._sides.target_lags(done, self._blob.size)

    def _keep(self, base: int) -> Kept | None:
        size = self._blob.size - base
        if self._spool is None or size < LARGE:
            return None
        self.close()
        self._kept = self._spool.keep(size, base, lambda: self._direct(base))
        return self._kept

    def _direct(self, start: int) -> Generator[bytes, None, None]:
        """The bytes from ``start`` to the end, as the source gives them."""
        offset, saved = max((mark for mark in self._marks if mark[0] <= start), key=lambda mark: mark[0])
        state = saved.copy()
        size = self._blob.size
        held = b""
        reader = _Reader(self._source, self._repository, self._blob, self._target)
        try:
            while offset < size:
                began = time.monotonic()
                data = reader.read(offset)
                self._sides.source += time.monotonic() - began
                state.update(data)
                before, offset = offset, offset + len(data)
                if offset > size:
                    raise Corrupt("read", self._target, f"it is longer than the {size} bytes that its manifest says")
                if offset - self._marks[-1][0] >= MARK:
                    self._marks.append((offset, state.copy()))
                data = data[max(0, start - before) :]
                if held:
                    yield held
                held = data
        finally:
            reader.close()
        found = f"{self._blob.digest.partition(':')[0]}:{state.hexdigest()}"
        if found != self._blob.digest:
            raise Corrupt(
                "read", self._target, f"its {size} bytes have digest {found}", "The copy at the source is damaged."
            )
        if held:
            yield held


class _Reader:
    """Reads a blob onward from any offset, with a new request after each break."""

    def __init__(self, source: Source, repository: str, blob: Descriptor, target: str) -> None:
        self._source = source
        self._repository = repository
        self._blob = blob
        self._target = target
        self._stream: Readable | None = None
        self._breaks = 0

    def read(self, offset: int) -> bytes:
        """At least one byte from ``offset`` on."""
        while True:
            try:
                if self._stream is None:
                    self._stream = self._source.open_blob(self._repository, self._blob.digest, offset)
                data = self._stream.read(CHUNK)
                if data:
                    self._breaks = 0
                    return data
                problem = "fewer bytes came than the manifest says"
            except BROKEN as error:
                problem = str(error) or type(error).__name__
            self.close()
            self._breaks += 1
            if self._breaks >= BREAKS:
                raise Unavailable(
                    "read",
                    self._target,
                    f"the download broke at byte {offset} of {self._blob.size} and could not be continued ({problem})",
                    "Check the network to the registry and try again.",
                )
            time.sleep(backoff(self._breaks))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
