# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof: walk the whole chain and say whether anything is torn, missing or altered."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Callable, Iterable
from typing import Any

from ledger.attachments import State
from ledger.chain import GENESIS, Booking, Head, hash_of, imbalance, iso

MAX_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Problem:
    """One broken rule. ``code`` is stable; ``booking`` is None where it concerns the ledger as a whole."""

    code: str
    booking: int | None
    detail: str

    def document(self) -> dict[str, Any]:
        return {"code": self.code, "booking": self.booking, "detail": self.detail}


@dataclasses.dataclass
class Audit:
    """The result of a walk. ``tail`` holds (id, hash) of the newest bookings, oldest first."""

    bookings: int = 0
    last: Booking | None = None
    problem_count: int = 0
    problems: list[Problem] = dataclasses.field(default_factory=list)
    tail: collections.deque[tuple[int, str]] = dataclasses.field(default_factory=collections.deque)

    @property
    def ok(self) -> bool:
        return self.problem_count == 0

    def found(self, code: str, booking: int | None, detail: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(code, booking, detail))

    def document(self) -> dict[str, Any]:
        """The JSON object that ledger-verify prints."""
        return {
            "ok": self.ok,
            "bookings": self.bookings,
            "data_until": iso(self.last.time) if self.last else None,
            "last_id": self.last.id if self.last else None,
            "last_hash": self.last.hash if self.last else None,
            "problem_count": self.problem_count,
            "problems": [problem.document() for problem in self.problems],
            "tail": [list(pair) for pair in self.tail],
        }


def audit(
    bookings: Iterable[Booking],
    head: Head | None,
    attachment: Callable[[str, int], State],
    *,
    at_least: int = 1,
    tail: int | None = 0,
) -> Audit:
    """Walks ``bookings`` (in the order of their ids) and checks every rule of the ledger.

    ``head`` is the chain's end as recorded beside the bookings: it notices bookings that are missing at the end,
    which no walk can. ``attachment`` says what is found for a digest and size. An empty ledger proves nothing, so
    fewer than ``at_least`` bookings are a problem. ``tail`` is how many (id, hash) pairs to keep, None for all.
    """
    result = Audit(tail=collections.deque(maxlen=tail))
    previous_id, previous_hash = 0, GENESIS
    previous_time: datetime.datetime | None = None
    references: set[str] = set()
    for booking in bookings:
        result.bookings += 1
        result.last = booking
        result.tail.append((booking.id, booking.hash))
        number = booking.id
        if number != previous_id + 1:
            result.found("id", number, f"follows booking {previous_id}: ids must rise by one")
        if booking.previous != previous_hash:
            result.found("chain", number, f"follows hash {booking.previous}, booking {previous_id} has {previous_hash}")
        if hash_of(booking) != booking.hash:
            result.found("hash", number, f"recorded hash {booking.hash} does not fit the booking's content")
        if previous_time is not None and booking.time < previous_time:
            result.found("time", number, f"is of {iso(booking.time)}, before booking {previous_id}")
        if len(booking.entries) < 2:
            result.found("torn", number, f"has {len(booking.entries)} entries, at least two are needed")
        unbalanced = imbalance(booking.entries)
        if unbalanced:
            result.found("sum", number, f"entries leave {unbalanced}, not zero")
        if booking.reference in references:
            result.found("reference", number, f"reference {booking.reference} was booked before")
        references.add(booking.reference)
        state = attachment(booking.attachment, booking.attachment_bytes)
        if state is not State.INTACT:
            result.found(f"attachment_{state.value}", number, f"attachment {booking.attachment} is {state.value}")
        previous_id, previous_hash, previous_time = booking.id, booking.hash, booking.time
    if head is None:
        result.found("head", None, "the record of the chain's end is missing")
    elif (head.id, head.hash) != (previous_id, previous_hash):
        result.found("head", None, f"the chain ends at booking {previous_id}, but booking {head.id} was committed")
    if result.bookings < at_least:
        result.found("empty", None, f"{result.bookings} bookings found, at least {at_least} expected")
    return result
