# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Data that restic gets from us, or we from restic, by a pipe: nothing of it lies on a disk or all of it in memory."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator, Sequence

from ansible_collections.muster.container_dr.plugins.module_utils._restic.command import Beside, Gone

# A pipe alone would not do: if this program is killed its end closes, and restic would take that for the end of the
# data. So restic runs a command for them, which succeeds only if it is told that they are whole.
_RELAY = 'cat "$0" && read -r said <"$1" && test "$said" = whole'
_TICK = 500
_PIECE = 1 << 16


class Sink:
    """Takes the data of one backup."""

    def __init__(self, number: int, beside: Beside) -> None:
        self._number = number
        self._beside = beside
        self.bytes = 0

    def check(self) -> None:
        """Raises :class:`Gone` where nobody wants data any more."""
        self._beside.check()

    def write(self, data: bytes) -> None:
        """Give restic these; waits until it has taken them."""
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._number, select.POLLOUT)
        while view:
            self.check()
            if poll.poll(_TICK):
                with contextlib.suppress(BlockingIOError):
                    view = view[_write(self._number, view) :]
        self.bytes += len(data)


@contextlib.contextmanager
def feeding(work: Callable[[Sink], None]) -> Iterator[tuple[list[str], Sequence[int], Beside]]:
    """The command that restic is to run for its data, the descriptors that it needs, and what writes them.

    ``work`` writes the data; if it returns they are whole. If it raises, or this program is killed, there will be no
    snapshot.
    """
    with contextlib.ExitStack() as stack:
        data, verdict = (_pipe(stack) for _each in range(2))

        def run(beside: Beside) -> None:
            # As long as this side holds the ends of the reader too, the end of the reader would not be seen.
            for end in (data, verdict):
                end.close_reading()
            os.set_blocking(data.writing, False)
            work(Sink(data.writing, beside))
            data.close_writing()
            _write(verdict.writing, b"whole\n")
            verdict.close_writing()

        words = ["sh", "-c", _RELAY, *(f"/dev/fd/{end.reading}" for end in (data, verdict))]
        yield words, (data.reading, verdict.reading), Beside(run)


@contextlib.contextmanager
def draining(work: Callable[[int, Beside], None]) -> Iterator[tuple[int, Beside]]:
    """Where restic is to write its output, and what reads it: ``work`` is given the descriptor that it comes from."""
    with contextlib.ExitStack() as stack:
        output = _pipe(stack)

        def run(beside: Beside) -> None:
            output.close_writing()
            work(output.reading, beside)

        def rest() -> None:
            # A restic that is stuck in writing would not end when it is told to, and its lock would stay.
            while os.read(output.reading, _PIECE):
                pass

        yield output.writing, Beside(run, rest)


class _Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._open = {self.reading, self.writing}

    def close_reading(self) -> None:
        self._close(self.reading)

    def close_writing(self) -> None:
        self._close(self.writing)

    def _close(self, number: int) -> None:
        if number in self._open:
            self._open.remove(number)
            os.close(number)

    def close(self) -> None:
        self.close_reading()
        self.close_writing()


def _pipe(stack: contextlib.ExitStack) -> _Pipe:
    made = _Pipe()
    stack.callback(made.close)
    return made


def _write(number: int, data: bytes | memoryview) -> int:
    try:
        return os.write(number, data)
    except BrokenPipeError:
        raise Gone from None
