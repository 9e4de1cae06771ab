# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import (
    COMPLIANCE,
    GOVERNANCE,
    Held,
    Lock,
    Note,
    of_point,
)

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("held", "lasts"),
    [
        (None, False),
        (Held(COMPLIANCE, NOW + 15 * DAY), True),
        (Held(COMPLIANCE, NOW + 15 * DAY - timedelta(seconds=1)), False),
        (Held(GOVERNANCE, NOW + 90 * DAY), False),
    ],
)
def test_a_lock_of_compliance_lasts_while_half_of_its_time_is_left(held: Held | None, lasts: bool) -> None:
    assert Lock(COMPLIANCE, 30 * DAY).lasts(held, NOW) is lasts


def test_who_asks_for_governance_is_content_with_compliance() -> None:
    assert Lock(GOVERNANCE, 30 * DAY).lasts(Held(COMPLIANCE, NOW + 20 * DAY), NOW)


def test_a_note_is_read_as_it_was_written() -> None:
    note = Note(Held(COMPLIANCE, NOW + DAY), NOW, NOW + 2 * DAY)
    assert Note.decode(note.encode()) == note
    assert Note.decode(Note(note.held, NOW).encode()) == Note(note.held, NOW)


@pytest.mark.parametrize(
    "change", [{"format": "other"}, {"mode": "none"}, {"until": "soon"}, {"time": None}, {"data_until": 3}]
)
def test_what_is_no_note_is_none(change: dict[str, object]) -> None:
    value = json.loads(Note(Held(COMPLIANCE, NOW), NOW).encode())
    assert Note.decode(json.dumps({**value, **change}).encode()) is None
    assert Note.decode(None) is Note.decode(b"\xff") is Note.decode(b"[]") is None


def copied(data: object) -> dict[str, object]:
    return {"kind": "copied", "time": "2026-02-01T00:00:00Z", "data": data}


def test_a_point_is_locked_as_the_newest_record_says() -> None:
    sealed = "2026-02-01T00:00:00Z"
    fact = copied({"site": "west", "lock": {"mode": "governance", "until": "2026-03-02T00:00:00Z"}})
    assert of_point(sealed, [fact], None) == Held(GOVERNANCE, NOW + DAY)
    note = Note(Held(COMPLIANCE, NOW + 9 * DAY), NOW, NOW + 5 * DAY)
    assert of_point(sealed, [fact], note) == Held(COMPLIANCE, NOW + 5 * DAY)
    # Documents that are locked without their data are not locked copies.
    assert of_point(sealed, [], Note(note.held, NOW)) is None
    # What came after the note was not looked at.
    assert of_point("2026-03-01T00:00:01Z", [], note) is None


@pytest.mark.parametrize("data", [None, {}, {"lock": 1}, {"lock": {"mode": "x"}}, {"lock": {"mode": "governance"}}])
def test_a_fact_that_says_nonsense_says_nothing(data: object) -> None:
    assert of_point("2026-02-01T00:00:00Z", [copied(data)], None) is None
