# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bookings and the hash chain over them. Values only: no database, no files, no clock."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

GENESIS = "0" * 64
"""The previous hash of the first booking."""

MAX_ENTRIES = 50
MAX_MEMO = 500
MAX_AMOUNT = 10**15

_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9:._-]{0,99}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class InvalidBooking(ValueError):
    """A booking that must not enter the ledger; the text says which rule it breaks."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a booking; ``amount`` in minor units (cents), positive is debit."""

    account: str
    amount: int
    currency: str


@dataclasses.dataclass(frozen=True)
class Draft:
    """What a client asks to book. ``reference`` makes a repeated request harmless."""

    reference: str
    memo: str
    entries: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class Booking:
    """One committed booking as the database holds it."""

    id: int
    time: datetime.datetime
    reference: str
    memo: str
    entries: tuple[Entry, ...]
    attachment: str
    attachment_bytes: int
    previous: str
    hash: str


@dataclasses.dataclass(frozen=True)
class Head:
    """The end of the chain: the newest booking, or id 0 and GENESIS."""

    id: int
    time: datetime.datetime | None
    hash: str


def iso(moment: datetime.datetime) -> str:
    """ISO 8601 UTC with microseconds, always the same width: the hash covers this text."""
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def imbalance(entries: Iterable[Entry]) -> dict[str, int]:
    """Sums per currency that are not zero."""
    sums: dict[str, int] = defaultdict(int)
    for entry in entries:
        sums[entry.currency] += entry.amount
    return {currency: total for currency, total in sorted(sums.items()) if total}


def booking_hash(
    *,
    number: int,
    time: datetime.datetime,
    reference: str,
    memo: str,
    entries: Iterable[Entry],
    attachment: str,
    attachment_bytes: int,
    previous: str,
) -> str:
    """SHA-256 (hex) over every field of a booking and the hash of the one before it."""
    document = [
        number,
        iso(time),
        reference,
        memo,
        [[entry.account, entry.amount, entry.currency] for entry in entries],
        attachment,
        attachment_bytes,
        previous,
    ]
    canonical = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def hash_of(booking: Booking) -> str:
    """The hash that ``booking`` ought to have."""
    return booking_hash(
        number=booking.id,
        time=booking.time,
        reference=booking.reference,
        memo=booking.memo,
        entries=booking.entries,
        attachment=booking.attachment,
        attachment_bytes=booking.attachment_bytes,
        previous=booking.previous,
    )


def link(head: Head, now: datetime.datetime, draft: Draft, attachment: str, attachment_bytes: int) -> Booking:
    """The booking that follows ``head``. Times never go back, even if the clock does (a restore on another machine)."""
    time = now if head.time is None or now >= head.time else head.time
    booking = Booking(
        id=head.id + 1,
        time=time,
        reference=draft.reference,
        memo=draft.memo,
        entries=draft.entries,
        attachment=attachment,
        attachment_bytes=attachment_bytes,
        previous=head.hash,
        hash="",
    )
    return dataclasses.replace(booking, hash=hash_of(booking))


def read_draft(body: Any) -> Draft:
    """Checks a request's JSON value and returns the draft; raises InvalidBooking."""
    if not isinstance(body, Mapping):
        raise InvalidBooking("the body must be a JSON object")
    reference = body.get("reference")
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise InvalidBooking("'reference' must be 1-100 characters of A-Z a-z 0-9 . _ -")
    memo = body.get("memo", "")
    if not isinstance(memo, str) or len(memo) > MAX_MEMO or "\x00" in memo:
        raise InvalidBooking(f"'memo' must be text of at most {MAX_MEMO} characters without NUL")
    try:
        memo.encode()
    except UnicodeEncodeError as error:
        raise InvalidBooking("'memo' has a lone surrogate") from error
    lines = body.get("entries")
    if not isinstance(lines, list) or not 2 <= len(lines) <= MAX_ENTRIES:
        raise InvalidBooking(f"'entries' must be a list of 2 to {MAX_ENTRIES} entries")
    entries = tuple(_read_entry(number, line) for number, line in enumerate(lines, 1))
    unbalanced = imbalance(entries)
    if unbalanced:
        raise InvalidBooking(f"entries must sum to zero per currency, they leave {unbalanced}")
    return Draft(reference=reference, memo=memo, entries=entries)


def _read_entry(number: int, line: Any) -> Entry:
    if not isinstance(line, Mapping):
        raise InvalidBooking(f"entry {number} must be an object")
    account, amount, currency = line.get("account"), line.get("amount"), line.get("currency")
    if not isinstance(account, str) or not _ACCOUNT.fullmatch(account):
        raise InvalidBooking(f"entry {number}: 'account' must be 1-100 characters of a-z 0-9 : . _ -")
    if isinstance(amount, bool) or not isinstance(amount, int) or not amount or abs(amount) > MAX_AMOUNT:
        raise InvalidBooking(f"entry {number}: 'amount' must be a whole number of minor units, not zero")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise InvalidBooking(f"entry {number}: 'currency' must be three capital letters")
    return Entry(account=account, amount=amount, currency=currency)
