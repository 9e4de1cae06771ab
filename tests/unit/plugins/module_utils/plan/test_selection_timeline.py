# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of selection, RPO and the rules of epochs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan import selection, timeline
from ansible_collections.muster.container_dr.plugins.module_utils._plan.selection import Candidate, Readable, Wish

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOURS = st.integers(min_value=0, max_value=500)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


CANDIDATES = st.lists(
    st.builds(
        lambda hour, usable, where, number: Candidate(
            f"{hour:04d}-{number:08x}", at(hour), () if usable else ("x",), where
        ),
        HOURS,
        st.booleans(),
        st.sampled_from(["current", "orphan", "unknown"]),
        st.integers(min_value=0, max_value=2**32 - 1),
    ),
    unique_by=lambda one: one.id,
)


@given(CANDIDATES, st.none() | HOURS, st.randoms())
def test_pick_is_the_newest_without_obstacle_whatever_the_order(found, before, random) -> None:
    wish = Wish(before=None if before is None else at(before))
    picked = selection.pick(found, wish)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert selection.pick(shuffled, wish) == picked
    allowed = [one for one in found if not one.reasons and one.timeline == "current"]
    allowed = [one for one in allowed if wish.before is None or one.consistency <= wish.before]
    if picked is None:
        assert not allowed
        assert isinstance(selection.none_usable("a", "s", found, wish), NotFound)
    else:
        assert picked in allowed
        assert all(picked.consistency >= one.consistency for one in allowed)


def test_an_orphan_is_taken_only_by_name_and_permission() -> None:
    orphan = Candidate("1", at(1), timeline="orphan", timeline_reason="old epoch")
    assert selection.pick([orphan], Wish()) is None
    assert selection.pick([orphan], Wish(allow_orphan=True)) is None
    assert selection.pick([orphan], Wish(id="1")) is None
    assert selection.pick([orphan], Wish(id="1", allow_orphan=True)) == orphan
    assert "old epoch" in str(selection.none_usable("a", "s", [orphan], Wish(id="1")))
    assert isinstance(selection.none_usable("a", "s", [orphan], Wish(id="2")), NotFound)


READABLE = st.lists(
    st.builds(lambda number, hour, lag: Readable(f"p{number}", at(hour), at(hour + lag)), st.integers(), HOURS, HOURS)
)


@given(READABLE, HOURS)
def test_loss_counts_from_consistency_and_only_what_was_readable(points, hour) -> None:
    loss = selection.loss(points, at(hour))
    readable = [point for point in points if point.since <= at(hour)]
    if loss.seconds is None:
        assert not readable
    else:
        assert loss.seconds >= 0
        assert all(at(hour) - timedelta(seconds=loss.seconds) >= point.consistency for point in readable)
        worst = selection.worst_loss(points, at(hour))
        assert worst.seconds is not None
        assert worst.seconds >= loss.seconds


def test_a_point_made_elsewhere_is_readable_from_its_first_copy() -> None:
    document = {"site": "east", "sealed": "2026-01-01T00:00:00Z"}
    facts = [
        {"kind": "copied", "time": "2026-01-01T05:00:00Z", "data": {"site": "west"}},
        {"kind": "copied", "time": "2026-01-01T03:00:00Z", "data": {"site": "west"}},
        {"kind": "verified", "time": "2026-01-01T01:00:00Z", "data": {"site": "west"}},
    ]
    assert selection.readable_since(document, facts, "east") == START
    assert selection.readable_since(document, facts, "west") == at(3)
    assert selection.readable_since(document, facts, "north") is None


def lock(run: str) -> timeline.Lock:
    return timeline.Lock("me", run, "2026-01-01T00:00:00Z")


MOVES = st.lists(st.tuples(st.booleans(), st.integers(min_value=0, max_value=99)), max_size=12)


@given(MOVES)
def test_epochs_only_rise_and_state_survives_its_bytes(moves) -> None:
    state = timeline.State("a", 1, "east")
    for number, (finished, point) in enumerate(moves):
        before, target = state, "west" if state.active_site == "east" else "east"
        state = timeline.begin(state, lock(f"r{number}"), state.active_site, target)
        assert state.epoch == before.epoch + 1
        with pytest.raises(Refused, match="me holds it"):
            timeline.begin(state, lock("other"), state.active_site, target)
        # While it is under way the points of the running epoch stay current.
        assert not timeline.orphaned(state, "p00", before.active_epoch) or before.lineage
        if finished:
            state = timeline.finish(state, f"r{number}", target, f"p{point:02d}")
            assert (state.active_site, state.active_epoch) == (target, state.epoch)
            assert all(entry.until is not None and entry.until <= f"p{point:02d}" for entry in state.lineage)
            assert not timeline.orphaned(state, "p99", state.epoch)
        else:
            state = timeline.abort(state, f"r{number}", target)
            assert (state.active_site, state.active_epoch) == (before.active_site, before.active_epoch)
            assert "aborted" in timeline.orphaned(state, "p00", state.epoch)
        assert timeline.decode(timeline.encode(state), "a") == state


def test_old_epoch_counts_up_to_the_restored_point() -> None:
    state = timeline.begin(timeline.State("a", 1, "east"), lock("r"), "east", "west")
    state = timeline.finish(state, "r", "west", "p2")
    assert [bool(timeline.orphaned(state, point, 1)) for point in ("p1", "p2", "p3")] == [False, False, True]
    assert "never given out" in timeline.orphaned(state, "p3", 7)


def test_rules_refuse() -> None:
    state = timeline.State("a", 1, "east")
    with pytest.raises(Refused, match="active at east"):
        timeline.begin(state, lock("r"), "west", "east")
    with pytest.raises(InvalidInput):
        timeline.begin(state, lock("r"), "east", "east")
    with pytest.raises(Refused, match="no lock"):
        timeline.finish(state, "r", "west", "p")
    begun = timeline.begin(state, lock("r"), "east", "west")
    with pytest.raises(Refused, match="the lock belongs to me"):
        timeline.abort(begun, "s", "west")
    for data in (b"", b"[]", b"{}", timeline.encode(timeline.State("b", 1, "east"))):
        with pytest.raises(Corrupt):
            timeline.decode(data, "a")
