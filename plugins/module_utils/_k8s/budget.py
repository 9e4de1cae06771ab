# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How many requests may be under way at one API server, which says itself when they are too many."""

from __future__ import annotations

import threading
import time
from types import TracebackType

# Seconds in which several complaints are one: requests that were turned away together come from the same moment.
_SAME_MOMENT = 0.5
# After how many rounds of answers one more is tried. Being turned away costs more than waiting for one's turn.
_ROUNDS = 20


class Budget:
    """``with budget:`` around a request waits until there is room for it; for many threads.

    As many as ``most`` at first, half as many after a 429 of the server's priority and fairness, and slowly one by one
    more again while there is none, as TCP does with the packets in its window.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._limit = float(self._most)
        self._under_way = 0
        self._room = threading.Condition()
        self._complained = float("-inf")

    def __enter__(self) -> Budget:
        with self._room:
            while self._under_way >= int(self._limit):
                self._room.wait()
            self._under_way += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._room:
            self._under_way -= 1
            self._room.notify()

    @property
    def limit(self) -> int:
        """How many there may be now."""
        return int(self._limit)

    def too_many(self) -> None:
        """The server has turned a request away."""
        with self._room:
            now = time.monotonic()
            if now - self._complained >= _SAME_MOMENT:
                self._limit, self._complained = max(1.0, self._limit / 2), now

    def taken(self) -> None:
        """The server has answered a request."""
        if self._limit < self._most:
            with self._room:
                self._limit = min(float(self._most), self._limit + 1 / (_ROUNDS * self._limit))
                self._room.notify()
