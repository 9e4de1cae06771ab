# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger's proof must notice every kind of damage: each test breaks one thing in a sound ledger."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from ledger.attachments import INCOMING, AttachmentStore, State
from ledger.audit import MAX_PROBLEMS, Audit, audit
from ledger.chain import GENESIS, Booking, Draft, Entry, Head, InvalidBooking, hash_of, iso, link, read_draft

START = datetime.datetime(2026, 11, 21, 4, 0, tzinfo=datetime.timezone.utc)
ENTRIES = (Entry("assets:bank", 500, "EUR"), Entry("income:sales", -500, "EUR"))


class Sound:
    """A ledger of ten bookings that a test then damages."""

    def __init__(self, root: Path) -> None:
        self.store = AttachmentStore(root)
        self.bookings: list[Booking] = []
        head = Head(0, None, GENESIS)
        for number in range(1, 11):
            content = f"receipt {number}".encode()
            draft = Draft(f"ref-{number}", "memo", ENTRIES)
            sha256 = self.store.put(content)
            booking = link(head, START + datetime.timedelta(seconds=number), draft, sha256, len(content))
            self.bookings.append(booking)
            head = Head(booking.id, booking.time, booking.hash)
        self.head: Head | None = head

    def alter(self, number: int, *, rehash: bool = False, **changes: object) -> None:
        """Changes booking ``number``; with ``rehash`` its own hash fits again, as a forger would do it."""
        booking = dataclasses.replace(self.bookings[number - 1], **changes)  # type: ignore[arg-type]
        if rehash:
            booking = dataclasses.replace(booking, hash=hash_of(booking))
        self.bookings[number - 1] = booking

    def audit(self, **options: int | None) -> Audit:
        return audit(self.bookings, self.head, self.store.check, **options)  # type: ignore[arg-type]

    def codes(self) -> list[tuple[str, int | None]]:
        return [(problem.code, problem.booking) for problem in self.audit().problems]


@pytest.fixture
def ledger(tmp_path: Path) -> Sound:
    return Sound(tmp_path)


def test_sound(ledger: Sound) -> None:
    document = ledger.audit(tail=2).document()
    last = ledger.bookings[-1]
    assert document == {
        "ok": True,
        "bookings": 10,
        "data_until": "2026-11-21T04:00:10.000000Z",
        "last_id": 10,
        "last_hash": last.hash,
        "problem_count": 0,
        "problems": [],
        "tail": [[9, ledger.bookings[8].hash], [10, last.hash]],
    }


def test_tail_of_everything(ledger: Sound) -> None:
    assert [number for number, _booking in ledger.audit(tail=None).tail] == list(range(1, 11))


def test_a_booking_missing_in_the_middle(ledger: Sound) -> None:
    del ledger.bookings[4]
    assert ledger.codes() == [("id", 6), ("chain", 6)]


def test_bookings_missing_at_the_end(ledger: Sound) -> None:
    del ledger.bookings[8:]
    assert ledger.codes() == [("head", None)]


def test_bookings_missing_at_the_start(ledger: Sound) -> None:
    del ledger.bookings[0]
    assert ledger.codes() == [("id", 2), ("chain", 2)]


def test_head_missing(ledger: Sound) -> None:
    ledger.head = None
    assert ledger.codes() == [("head", None)]


def test_two_bookings_exchanged(ledger: Sound) -> None:
    ledger.bookings[3], ledger.bookings[4] = ledger.bookings[4], ledger.bookings[3]
    codes = ledger.codes()
    assert ("id", 5) in codes
    assert ("time", 4) in codes


def test_a_booking_twice(ledger: Sound) -> None:
    ledger.bookings.insert(5, ledger.bookings[4])
    codes = ledger.codes()
    assert ("id", 5) in codes
    assert ("reference", 5) in codes


@pytest.mark.parametrize(
    "changes",
    [
        {"memo": "other"},
        {"reference": "other"},
        {"time": START + datetime.timedelta(seconds=4, microseconds=1)},
        {"entries": (Entry("assets:bank", 501, "EUR"), Entry("income:sales", -501, "EUR"))},
        {"entries": (Entry("assets:cash", 500, "EUR"), Entry("income:sales", -500, "EUR"))},
        {"entries": tuple(reversed(ENTRIES))},
        {"attachment_bytes": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_altered_booking(ledger: Sound, changes: dict[str, object]) -> None:
    ledger.alter(4, **changes)
    assert ledger.codes() == [("hash", 4)]


def test_an_altered_booking_with_a_hash_that_fits_again(ledger: Sound) -> None:
    ledger.alter(4, rehash=True, memo="other")
    assert ledger.codes() == [("chain", 5)]


def test_an_altered_last_booking_with_a_hash_that_fits_again(ledger: Sound) -> None:
    ledger.alter(10, rehash=True, memo="other")
    assert ledger.codes() == [("head", None)]


def test_torn_entries(ledger: Sound) -> None:
    ledger.alter(6, entries=ENTRIES[:1])
    assert ledger.codes() == [("hash", 6), ("torn", 6), ("sum", 6)]


def test_no_entries(ledger: Sound) -> None:
    ledger.alter(6, entries=())
    assert ledger.codes() == [("hash", 6), ("torn", 6)]


def test_sums_are_per_currency(ledger: Sound) -> None:
    mixed = (Entry("assets:bank", 500, "EUR"), Entry("income:sales", -500, "USD"))
    ledger.alter(10, rehash=True, entries=mixed)
    assert ("sum", 10) in ledger.codes()


def test_time_going_back(ledger: Sound) -> None:
    ledger.alter(10, rehash=True, time=START)
    assert ("time", 10) in ledger.codes()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.unlink(), "attachment_missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "attachment_torn"),
        (lambda path: path.write_bytes(b""), "attachment_torn"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"X"), "attachment_altered"),
        (lambda path: path.write_bytes(path.read_bytes() + b"X"), "attachment_altered"),
    ],
    ids=["missing", "cut", "emptied", "altered", "longer"],
)
def test_a_damaged_attachment(ledger: Sound, damage: Callable[[Path], object], code: str) -> None:
    damage(ledger.store.path(ledger.bookings[6].attachment))
    assert ledger.codes() == [(code, 7)]


def test_an_empty_ledger_proves_nothing(tmp_path: Path) -> None:
    nothing = audit([], Head(0, None, GENESIS), AttachmentStore(tmp_path).check)
    assert [problem.code for problem in nothing.problems] == ["empty"]
    assert nothing.document()["data_until"] is None
    assert audit([], Head(0, None, GENESIS), AttachmentStore(tmp_path).check, at_least=0).ok


def test_an_emptied_ledger(ledger: Sound) -> None:
    ledger.bookings.clear()
    assert ledger.codes() == [("head", None), ("empty", None)]


def test_problems_are_counted_and_the_first_ones_told(ledger: Sound) -> None:
    ledger.bookings = ledger.bookings * 10
    result = ledger.audit()
    assert len(result.problems) == MAX_PROBLEMS
    assert result.problem_count > MAX_PROBLEMS


def test_times_never_go_back() -> None:
    draft = Draft("r", "", ENTRIES)
    booking = link(Head(7, START, "f" * 64), START - datetime.timedelta(seconds=5), draft, "0" * 64, 0)
    assert (booking.id, booking.time, booking.previous) == (8, START, "f" * 64)


def test_the_hash_is_fixed_forever() -> None:
    """A change of the formula would make every existing ledger look forged."""
    draft = Draft("ref-1", "Grüße", ENTRIES)
    booking = link(Head(0, None, GENESIS), START, draft, "ab" * 32, 12)
    assert booking.hash == "b8f65f8a6a02dfe5c9f5776c63cbd581fce349835796ee19f4216eafa1b4a95b"
    assert iso(booking.time) == "2026-11-21T04:00:00.000000Z"


def test_times_are_hashed_in_utc() -> None:
    draft = Draft("r", "", ENTRIES)
    there = START.astimezone(datetime.timezone(datetime.timedelta(hours=5)))
    first, second = (link(Head(0, None, GENESIS), when, draft, "0" * 64, 0) for when in (START, there))
    assert first.hash == second.hash


class TestAttachments:
    def test_put_twice(self, tmp_path: Path) -> None:
        store = AttachmentStore(tmp_path)
        assert store.put(b"x") == store.put(b"x")
        assert list((tmp_path / INCOMING).iterdir()) == []

    def test_put_mends_a_torn_file(self, tmp_path: Path) -> None:
        store = AttachmentStore(tmp_path)
        sha256 = store.put(b"content")
        store.path(sha256).write_bytes(b"con")
        store.put(b"content")
        assert store.check(sha256, 7) is State.INTACT

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("ledger.attachments.os.fsync", full)
        store = AttachmentStore(tmp_path)
        (tmp_path / "2d").mkdir()
        with pytest.raises(OSError, match="No space"):
            store.put(b"x")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_leftovers_are_removed(self, tmp_path: Path) -> None:
        store = AttachmentStore(tmp_path)
        assert store.clear_incoming() == 0
        store.put(b"x")
        (tmp_path / INCOMING / "half").write_bytes(b"h")
        assert store.clear_incoming() == 0
        assert store.clear_incoming(older_than=-1.0) == 1

    def test_names_cannot_leave_the_volume(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not a SHA-256"):
            AttachmentStore(tmp_path).path("../../etc/passwd")
        assert AttachmentStore(tmp_path).check("../../etc/passwd", 1) is State.MISSING


class TestReadDraft:
    GOOD: ClassVar[dict[str, object]] = {
        "reference": "a-1",
        "memo": "m",
        "entries": [
            {"account": "a", "amount": 1, "currency": "EUR"},
            {"account": "b", "amount": -1, "currency": "EUR"},
        ],
    }

    def test_good(self) -> None:
        assert read_draft(self.GOOD) == Draft("a-1", "m", (Entry("a", 1, "EUR"), Entry("b", -1, "EUR")))

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"reference": ""}, "reference"),
            ({"reference": None}, "reference"),
            ({"memo": "x" * 501}, "memo"),
            ({"memo": "\x00"}, "NUL"),
            ({"memo": "\ud800"}, "surrogate"),
            ({"entries": []}, "2 to 50"),
            ({"entries": [1, 2]}, "entry 1 must be an object"),
            ({"entries": [{"account": "a", "amount": 1.0, "currency": "EUR"}] * 2}, "whole number"),
            ({"entries": [{"account": "a", "amount": True, "currency": "EUR"}] * 2}, "whole number"),
            ({"entries": [{"account": "a", "amount": 0, "currency": "EUR"}] * 2}, "not zero"),
            ({"entries": [{"account": "A b", "amount": 1, "currency": "EUR"}] * 2}, "account"),
            ({"entries": [{"account": "a", "amount": 1, "currency": "eur"}] * 2}, "capital"),
            ({"entries": [{"account": "a", "amount": 1, "currency": "EUR"}] * 2}, "sum to zero"),
        ],
    )
    def test_bad(self, changes: dict[str, object], says: str) -> None:
        with pytest.raises(InvalidBooking, match=says):
            read_draft({**self.GOOD, **changes})

    @pytest.mark.parametrize("body", [None, [], "text", 3])
    def test_not_an_object(self, body: object) -> None:
        with pytest.raises(InvalidBooking, match="JSON object"):
            read_draft(body)
