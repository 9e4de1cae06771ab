# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One blob on its way from a registry to another: checked as it passes, resumed on both sides."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor, hasher
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registry, SessionLost
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import BROKEN, Answer, backoff

CHUNK = 1024 * 1024
MARK = 16 * 1024 * 1024
_BREAKS = 6


class Download:
    """A blob as a stream of chunks that can be started again at any offset that was passed.

    The hash is kept at marks on the way, so that going back costs at most ``MARK`` bytes. The last chunk is handed
    out only after digest and size proved right: no upload of wrong bytes is ever completed.
    """

    def __init__(self, registry: Registry, repository: str, blob: Descriptor) -> None:
        self._registry = registry
        self._repository = repository
        self._blob = blob
        self._marks: list[tuple[int, Any]] = [(0, hasher(blob.digest))]

    @property
    def _target(self) -> str:
        return f"blob {self._registry.host}/{self._repository}@{self._blob.digest}"

    def chunks(self, start: int = 0) -> Generator[bytes, None, None]:
        """The bytes from ``start`` to the end. Raises :class:`Corrupt` or :class:`Unavailable`."""
        embedded = self._blob.embedded
        if embedded is not None:
            yield embedded[start:]
            return
        offset, saved = max((mark for mark in self._marks if mark[0] <= start), key=lambda mark: mark[0])
        state = saved.copy()
        size = self._blob.size
        held = b""
        source = _Source(self._registry, self._repository, self._blob)
        try:
            while offset < size:
                data = source.read(offset)
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
            source.close()
        found = f"{self._blob.digest.partition(':')[0]}:{state.hexdigest()}"
        if found != self._blob.digest:
            raise Corrupt(
                "read", self._target, f"its {size} bytes have digest {found}", "The copy at the source is damaged."
            )
        if held:
            yield held


class _Source:
    """Reads a blob onward from any offset, with a new request after each break."""

    def __init__(self, registry: Registry, repository: str, blob: Descriptor) -> None:
        self._registry = registry
        self._repository = repository
        self._blob = blob
        self._answer: Answer | None = None
        self._ranges = True
        self._breaks = 0

    def read(self, offset: int) -> bytes:
        """At least one byte from ``offset`` on."""
        while True:
            try:
                if self._answer is None:
                    self._answer = self._open(offset)
                data = self._answer.chunk(CHUNK)
                if data:
                    self._breaks = 0
                    return data
                problem = "the registry sent fewer bytes than the manifest says"
            except BROKEN as error:
                problem = str(error) or type(error).__name__
            self.close()
            self._breaks += 1
            if self._breaks >= _BREAKS:
                raise Unavailable(
                    "read",
                    f"blob {self._registry.host}/{self._repository}@{self._blob.digest}",
                    f"the download broke at byte {offset} of {self._blob.size} and could not be continued ({problem})",
                    "Check the network to the registry and try again.",
                )
            time.sleep(backoff(self._breaks))

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _open(self, offset: int) -> Answer:
        answer = self._registry.open_blob(self._repository, self._blob.digest, offset if self._ranges else 0)
        if not offset:
            return answer
        skip = offset
        if answer.status == 206:
            span = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
            if span is None or int(span.group(1)) != offset:
                answer.close()
                self._ranges = False
                raise ConnectionError("the registry answered with another range than was asked for")
            return answer
        while skip:
            data = answer.chunk(min(skip, CHUNK))
            if not data:
                answer.close()
                raise ConnectionError("the registry sent fewer bytes than before")
            skip -= len(data)
        return answer


def transfer(
    source: Registry,
    source_repository: str,
    target: Registry,
    target_repository: str,
    blob: Descriptor,
    session: str | None,
    advance: Callable[[int], None],
) -> int:
    """Copy one blob and return how many bytes were sent; ``session`` is an upload session that is already open."""
    download = Download(source, source_repository, blob)
    location = session
    start = sent = breaks = 0

    def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal sent
        for chunk in chunks:
            yield chunk
            sent += len(chunk)
            advance(len(chunk))

    while True:
        if location is None:
            location, start = target.begin_upload(target_repository), 0
        try:
            # Closed before anything else is asked of the target: a source that is held open may be all it allows.
            with closing(download.chunks(start)) as chunks:
                target.upload(target_repository, location, blob.digest, start, blob.size, counted(chunks))
            return sent
        except SessionLost as error:
            breaks += 1
            if breaks >= _BREAKS:
                raise Unavailable(
                    "upload",
                    f"blob {blob.digest} to {target.host}/{target_repository}",
                    f"the upload broke {breaks} times, last near byte {start} of {blob.size}: {error}",
                    "Check the network to the registry, its log and its free space, then try again.",
                ) from None
            time.sleep(backoff(breaks))
            reached = target.probe(target_repository, location)
            if reached is None and target.blob_size(target_repository, blob.digest) == blob.size:
                return sent  # only the answer was lost
            before = start
            location, start = reached if reached and reached[1] <= blob.size else (None, 0)
            if start > before:
                breaks = 0
