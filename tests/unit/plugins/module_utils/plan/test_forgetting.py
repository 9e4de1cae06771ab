# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which snapshots may go: each rule by itself, and what holds for all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._plan.forgetting import (
    Decision,
    Point,
    decide,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Held, Known, Need, needs

NOW = clock.parse("2026-03-01T00:00:00Z")
WEEK = 7 * 86400.0
OLD, NEW, LOST = (f"2026010{day}T000000Z-ledger-0000000{day}" for day in (1, 2, 3))
HOST = "k8s:east/ledger/data"


def held(name: str, tree: str = "t", *, point: str | None = None, days: float = 30, host: str = HOST) -> Held:
    tags = ("muster", "application=ledger", f"point={point}") if point else ("muster",)
    return Held(name, tree, host, tags, NOW - timedelta(days=days))


def point(name: str, *wanted: Need, expired: bool = False, application: str = "ledger") -> Point:
    return Point(name, application, wanted, expired)


def one(snapshot: Held, *points: Point) -> Decision:
    (decision,) = decide([snapshot], points, now=NOW, unsealed_after=WEEK)
    return decision


def test_what_an_unexpired_point_needs_stays() -> None:
    decision = one(held("s"), point(NEW, Need("s", "t", HOST)), point(OLD, Need("s", "t", HOST), expired=True))
    assert not decision.forget and decision.reason == f"{NEW} needs it"


def test_what_only_expired_points_need_goes() -> None:
    decision = one(held("s"), point(NEW), point(OLD, Need("s", "t", HOST), expired=True))
    assert decision.forget and OLD in decision.reason and "expired" in decision.reason


@pytest.mark.parametrize("expired", [True, False])
@pytest.mark.parametrize(
    ("need", "found"),
    [
        (Need("elsewhere", "t", HOST), True),
        (Need("elsewhere", "t"), True),
        (Need("elsewhere", "t", "k8s:east/ledger/other"), False),
        (Need("elsewhere", "other", HOST), False),
        (Need("elsewhere", ""), False),
    ],
)
def test_a_copy_is_found_by_its_tree(need: Need, found: bool, expired: bool) -> None:
    """Ids change when restic copies; a volume's copy has its host, objects are their tree."""
    decision = one(held("copied"), point(NEW), point(OLD, need, expired=expired))
    assert decision.explained == found and decision.forget == (found and expired)


def test_while_the_id_is_there_equal_trees_are_told_apart() -> None:
    """A volume that never changes has one tree for ever, and its old snapshots must go too."""
    snapshots = [held("first"), held("second")]
    points = [point(OLD, Need("first", "t", HOST), expired=True), point(NEW, Need("second", "t", HOST))]
    assert [one.forget for one in decide(snapshots, points, now=NOW, unsealed_after=WEEK)] == [True, False]
    # Without the ids nobody can tell which is which: all stay.
    copies = [held("a"), held("b")]
    assert [one.forget for one in decide(copies, points, now=NOW, unsealed_after=WEEK)] == [False, False]


@pytest.mark.parametrize(("days", "forget"), [(6.9, False), (7.1, True), (-1, False)])
def test_what_was_made_for_a_point_that_was_never_sealed(days: float, forget: bool) -> None:
    decision = one(held("s", point=LOST, days=days), point(NEW))
    assert (decision.forget, decision.explained) == (forget, True) and LOST in decision.reason


def test_a_node_whose_clock_is_behind_does_not_make_a_backup_old() -> None:
    """The time of a snapshot is that of the machine that made it, the id of the point that of the controller."""
    begun = "20260228T230000Z-ledger-0000000a"
    assert one(held("s", point=begun, days=20000), point(NEW)).reason == f"{begun} may still be sealed"


def test_a_store_without_the_application_explains_nothing() -> None:
    """With the address of another store every snapshot would look as if it was never sealed."""
    decision = one(held("s", point=LOST), point("20260101T000000Z-shop-00000001", application="shop"))
    assert not decision.forget and not decision.explained and "no recovery point of ledger" in decision.reason
    assert not one(held("s", point=LOST)).forget


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (Held("s", "t", "laptop", (), NOW - timedelta(days=400)), "somebody else"),
        (Held("s", "t", "laptop", (f"point={LOST}",), NOW - timedelta(days=400)), "somebody else"),
        (held("s"), "no tag names one"),
        (held("s", point="by-hand"), "no id of a recovery point"),
        (held("s", point=NEW), "does not name it"),
    ],
)
def test_what_nobody_can_explain_stays_and_is_named(snapshot: Held, words: str) -> None:
    decision = one(snapshot, point(NEW))
    assert not decision.forget and not decision.explained and words in decision.reason


def test_a_second_attempt_for_a_point_goes_with_it() -> None:
    assert one(held("s", point=OLD, days=1), point(NEW), point(OLD, expired=True)).forget
    both = Held("s", "t", HOST, ("muster", f"point={OLD}", f"point={NEW}"), NOW - timedelta(days=90))
    assert not one(both, point(NEW), point(OLD, expired=True)).forget


def test_an_application_is_never_left_with_nothing() -> None:
    shop = point("20260101T000000Z-shop-00000001", Need("s", "t"), expired=True, application="shop")
    with pytest.raises(Refused, match="recovery points of shop"):
        decide([held("s")], [point(NEW), shop], now=NOW, unsealed_after=WEEK)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"objects": {"snapshot": {"id": "a", "tree": "b"}}}, [Need("a", "b")]),
        ({"objects": {"id": "a", "tree": "b"}}, [Need("a", "b")]),
        ({"objects": None, "volumes": []}, []),
        ({"volumes": [{"snapshot": "a", "tree": "b", "host": "h"}, {"snapshot": None}]}, [Need("a", "b", "h")]),
    ],
)
def test_what_documents_name(document: dict[str, Any], found: list[Need]) -> None:
    assert list(needs(document)) == found


@pytest.mark.parametrize(
    "document", [{"objects": []}, {"objects": {"snapshot": "a"}}, {"volumes": ["a"]}, {"volumes": [{"snapshot": 1}]}]
)
def test_a_document_that_cannot_be_understood(document: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        needs(document)


NAMES = st.sampled_from(["a", "b", "c", "d"])
NEEDS = st.builds(Need, NAMES, NAMES, st.sampled_from([None, HOST, "other"]))
IDS = st.sampled_from([OLD, NEW, LOST])
SNAPSHOTS = st.builds(held, NAMES, NAMES, point=st.one_of(st.none(), IDS), days=st.floats(0, 30))


@given(
    st.lists(SNAPSHOTS, unique_by=lambda snapshot: snapshot.id),
    st.dictionaries(IDS, st.tuples(st.lists(NEEDS, max_size=3), st.booleans())),
)
def test_no_unexpired_point_ever_loses_anything(
    snapshots: list[Held], documents: dict[str, tuple[list[Need], bool]]
) -> None:
    points = [point(name, *wanted, expired=expired) for name, (wanted, expired) in documents.items()]
    try:
        decisions = decide(snapshots, points, now=NOW, unsealed_after=WEEK)
    except Refused:
        assert points and all(each.expired for each in points)
        return
    assert [decision.snapshot for decision in decisions] == snapshots and all(one.reason for one in decisions)
    staying = [decision.snapshot for decision in decisions if not decision.forget]
    for need in (need for each in points if not each.expired for need in each.needs):
        for snapshot in snapshots:
            if snapshot.id == need.snapshot:
                assert snapshot in staying
            elif snapshot.tree == need.tree and need.host in (None, snapshot.host):
                # Itself, or the very snapshot that the document names.
                assert snapshot in staying or any(each.id == need.snapshot for each in staying)


def test_a_need_is_met_by_the_very_snapshot_else_by_its_copies_else_by_what_holds_the_same() -> None:
    made = clock.parse("2026-01-01T00:00:00Z")
    copy, again, other, cut = (
        Held(name, tree, HOST, (), made, original=original)
        for name, tree, original in (("c1", "t", "s1"), ("c2", "t", "s1"), ("c3", "t", "s2"), ("c4", "u", "s4"))
    )
    known = Known([copy, again, other, cut])
    assert known.meant(Need("c3", "t", HOST)) == [other]
    assert known.meant(Need("s1", "t", "another host")) == [copy, again]
    # What restic has cut files out of has the old id and another tree.
    assert known.meant(Need("s4", "t", HOST)) == [copy, again, other]
    assert known.meant(Need("s4", "v", HOST)) == known.meant(Need("s1", "")) == []
    assert known.meant(Need("gone", "t", "another host")) == []


def test_a_copy_is_told_from_those_of_the_same_tree_by_the_id_that_it_had_first() -> None:
    made = clock.parse("2026-01-01T00:00:00Z")
    copies = [Held(f"c{day}", "t", HOST, ("muster",), made, original=f"s{day}") for day in (1, 2)]
    points = [
        Point(point, "ledger", (Need(f"s{day}", "t", HOST),), expired=day == 1) for day, point in ((1, OLD), (2, NEW))
    ]
    decisions = decide(copies, points, now=NOW, unsealed_after=WEEK)
    assert [(one.snapshot.id, one.forget) for one in decisions] == [("c1", True), ("c2", False)]
