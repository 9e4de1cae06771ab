# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which points may go: what users ask for, what stays whatever they ask for, and what freezes all of it."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan.retention import (
    Point,
    Policy,
    Verdict,
    Volume,
    decide,
)

NOW = datetime(2026, 7, 15, 12, 30, tzinfo=timezone.utc)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def point(age: timedelta, name: str = "", **more: Any) -> Point:
    moment = NOW - age
    return Point(name or f"{moment:%Y%m%dT%H%M%SZ}", moment, moment, **more)


def volume(files: int | None, size: int | None = None, name: str = "shop/data") -> tuple[Volume, ...]:
    return (Volume(name, files, size),)


def judged(points: list[Point], now: datetime = NOW, **policy: Any) -> Verdict:
    return decide(points, Policy.parse(policy), now)


def staying(points: list[Point], **policy: Any) -> set[int]:
    """Which of the points, by their place in the list, no rule lets go."""
    kept = {one.id for one in judged(points, **{"minimum": 1, **policy}).decisions if one.keep}
    return {number for number, one in enumerate(points) if one.id in kept}


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({"keep_last": 3}, {0, 1, 2}),
        # Hours that have no point do not count.
        ({"keep_hourly": 3}, {0, 1, 2}),
        ({"keep_daily": 2}, {0, 4}),
        ({"keep_weekly": 2}, {0, 6}),
        ({"keep_monthly": 2}, {0, 7}),
        ({"keep_yearly": 5}, {0, 8}),
        ({"keep_within": "90m"}, {0, 1}),
        # From the newest point on, not from now.
        ({"keep_within": "1d1h"}, {0, 1, 2, 3, 4}),
        ({"keep_last": 1, "keep_monthly": 1, "keep_yearly": 2}, {0, 8}),
    ],
)
def test_rules_of_time(policy: dict[str, Any], kept: set[int]) -> None:
    ages = [HOUR, 2 * HOUR, 5 * HOUR, 9 * HOUR, DAY + HOUR, 2 * DAY, 4 * DAY, 40 * DAY, 300 * DAY]
    points = [point(age) for age in ages]
    assert staying(points, **policy) == kept
    shuffled = random.Random(1).sample(points, len(points))
    assert {shuffled[number].id for number in staying(shuffled, **policy)} == {points[number].id for number in kept}


def test_weeks_belong_to_their_iso_year() -> None:
    """31 December 2029 is in the first week of 2030."""
    moments = [datetime(2029, 12, day, tzinfo=timezone.utc) for day in (30, 31)]
    moments.append(datetime(2030, 1, 1, tzinfo=timezone.utc))
    points = [Point(f"p{number}", moment, moment) for number, moment in enumerate(moments)]
    verdict = decide(points, Policy.parse({"keep_weekly": 9, "minimum": 1}), moments[-1])
    assert verdict.expiring == ["p1"]


def test_every_point_says_why() -> None:
    points = [point(age) for age in (HOUR, 26 * HOUR, 50 * HOUR, 74 * HOUR)]
    verdict = judged(points, keep_last=1, keep_daily=2, minimum=3)
    assert [one.reasons for one in verdict.decisions] == [
        (
            "it is number 1 of the last 1",
            "it is the newest of 2026-07-15, number 1 of 2 daily",
            "it is the last good one",
        ),
        ("it is the newest of 2026-07-14, number 2 of 2 daily",),
        ("it is one of the 3 good ones that stay at least",),
        ("no rule keeps it",),
    ]
    assert verdict.expiring == [points[3].id] and verdict.frozen == ()


def test_nothing_grows_old_where_backups_have_stopped() -> None:
    points = [point(400 * DAY + number * HOUR) for number in range(4)]
    assert staying(points, keep_within="2h30m") == {0, 1, 2}


def test_what_passed_a_drill_last_stays() -> None:
    points = [
        point(number * DAY, drilled=NOW - day if day else None) for number, day in enumerate([None, None, DAY, 3 * DAY])
    ]
    verdict = judged(points, keep_last=1, minimum=1)
    assert [one.keep for one in verdict.decisions] == [True, False, True, False]
    assert verdict.decisions[2].reasons == ("it is the last one that passed a drill",)


def test_tags_and_holds() -> None:
    points = [
        point(DAY),
        point(2 * DAY, tags=frozenset({"release"})),
        point(3 * DAY, hold="audit"),
        point(4 * DAY, tags=frozenset({"other"})),
    ]
    assert staying(points, keep_last=1, keep_tags=["release", "x"]) == {0, 1, 2}
    assert judged(points, keep_last=1).decisions[2].reasons == ("it is held: audit",)


def test_doubtful_points_stay_and_count_for_nothing() -> None:
    points = [
        point(HOUR, doubt="signature not valid"),
        point(2 * HOUR),
        point(3 * HOUR, doubt="orphan timeline", drilled=NOW),
        point(4 * HOUR),
        point(5 * HOUR),
    ]
    assert staying(points, keep_last=1) == {0, 1, 2}
    assert staying(points, keep_last=1, minimum=2) == {0, 1, 2, 3}
    decision = judged(points, keep_last=1).decisions[0]
    assert decision.reasons == ("it is kept for somebody to look at: signature not valid",)


# -- frozen -----------------------------------------------------------------------------------------------------------


def history(*sizes: Any, names: str = "abcdefgh") -> list[Point]:
    """Points of a day each, the oldest first, with a volume of so many files."""
    return [
        point((len(sizes) - number) * DAY, names[number], volumes=volume(size) if size is not None else ())
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "frozen"),
    [
        ((10, 10, 10), False),
        ((10, 5, 3), False),
        ((10, 4, 4), True),
        # It does not become what is usual by being there often.
        ((10, 4, 4, 4, 4), True),
        ((10, 4, 4, 9), False),
        ((10, 0), True),
        ((0, 0, 5), False),
        ((10, None), True),
        ((None, 10), False),
        ((10, None, 10), False),
    ],
)
def test_a_volume_that_lost_most_of_its_files_freezes_everything(sizes: tuple[int, ...], frozen: bool) -> None:
    verdict = judged(history(*sizes), keep_last=1, minimum=1)
    assert bool(verdict.frozen) == frozen
    assert verdict.expiring == ([] if frozen else ["a", "b", "c", "d", "e"][: len(sizes) - 1])


def test_bytes_count_as_files_do() -> None:
    points = [point(2 * DAY, "a", volumes=volume(3, 1000)), point(DAY, "b", volumes=volume(3, 499))]
    assert judged(points, keep_last=1).frozen == ("shop/data went from 1000 to 499 bytes from a to b",)
    assert judged(points, keep_last=1, loss_percent=60).frozen == ()
    unknown = [points[0], point(DAY, "b", volumes=volume(None, None))]
    assert judged(unknown, keep_last=1).frozen == ()


def test_a_volume_that_is_gone_is_a_loss_unless_a_rule_excludes_it() -> None:
    points = history(10, None)
    assert judged(points, keep_last=1).frozen == ("shop/data is not in b, and no rule excludes it; a has it",)
    excluded = [points[0], point(DAY, "b", excluded=frozenset({"shop/data"}))]
    assert judged(excluded, keep_last=1).frozen == ()


def test_a_loss_that_was_accepted_is_the_new_state() -> None:
    points = history(100, 10, 10, 2)
    accepted = [points[0], point(3 * DAY, "b", volumes=volume(10), accepted=frozenset({"shop/data"})), *points[2:]]
    assert judged(accepted[:3], keep_last=1).frozen == ()
    assert judged(accepted, keep_last=1).frozen == ("shop/data went from 10 to 2 files from c to d",)
    later = [*points[:3], point(DAY, "d", volumes=volume(2), accepted=frozenset({"shop/data"}))]
    assert judged(later, keep_last=1).frozen == ()


def test_volumes_may_be_allowed_to_shrink() -> None:
    points = history(100, 0)
    assert judged(points, keep_last=1, may_shrink=["shop/da*"]).frozen == ()
    assert judged(points, keep_last=1, may_shrink=["shop/cache"]).frozen != ()


def test_points_in_doubt_freeze_nothing() -> None:
    points = [*history(10), point(HOUR / 2, "z", volumes=volume(0), doubt="signature not valid")]
    assert judged(points, keep_last=1).frozen == ()


@pytest.mark.parametrize(("ahead", "frozen"), [(timedelta(minutes=4), False), (timedelta(minutes=6), True)])
def test_a_point_of_the_future_freezes_everything(ahead: timedelta, frozen: bool) -> None:
    verdict = judged([point(-ahead), point(DAY), point(2 * DAY)], keep_within="1h", minimum=1)
    assert bool(verdict.frozen) == frozen and bool(verdict.expiring) == (not frozen)


def test_a_clock_that_went_back_during_a_backup_freezes_everything() -> None:
    jumped = Point("j", NOW - HOUR, NOW - 2 * HOUR)
    assert "a clock jumped" in judged([jumped, point(DAY)], keep_last=1).frozen[0]


# -- whatever is asked for --------------------------------------------------------------------------------------------


def test_no_policy_and_no_history_lets_the_last_good_ones_go() -> None:
    chance = random.Random(20260715)
    for _round in range(300):
        points = [
            point(
                timedelta(minutes=chance.randrange(60 * 24 * 400)),
                f"p{number}",
                doubt=chance.choice(["", "", "", "orphan"]),
                drilled=chance.choice([None, None, NOW - number * HOUR]),
            )
            for number in range(chance.randrange(1, 40))
        ]
        rules = {
            f"keep_{name}": chance.randrange(4) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
        }
        minimum = chance.randrange(1, 5)
        verdict = judged(points, **{**rules, "keep_last": rules["keep_last"] or 1, "minimum": minimum})
        gone = set(verdict.expiring)
        good = [one for one in points if not one.doubt]
        left = [one for one in good if one.id not in gone]
        assert not gone & {one.id for one in points if one.doubt}
        assert len(left) >= min(minimum, len(good))
        if good:
            assert max(good, key=lambda one: (one.moment, one.id)) in left
        drilled = [one for one in good if one.drilled]
        if drilled:
            assert max(drilled, key=lambda one: one.drilled or NOW) in left
        # What goes now would not have come back by waiting: a second run lets nothing more go.
        again = decide(
            [one for one in points if one.id not in gone],
            Policy.parse({**rules, "keep_last": rules["keep_last"] or 1, "minimum": minimum}),
            NOW,
        )
        assert again.expiring == []


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({}, "keeps nothing"),
        ({"keep_last": 0}, "keeps nothing"),
        ({"minimum": 3, "keep_tags": ["a"]}, "keeps nothing"),
        ({"keep_last": -1}, "keep_last is -1"),
        ({"keep_last": "many"}, "keep_last is 'many'"),
        ({"keep_last": True}, "keep_last is True"),
        ({"keep_last": 1, "minimum": 0}, "minimum is 0"),
        ({"keep_last": 1, "loss_percent": 0}, "loss_percent is 0"),
        ({"keep_last": 1, "loss_percent": "half"}, "loss_percent is 'half'"),
        ({"keep_last": 1, "keep_tags": "a"}, "keep_tags is no list"),
        ({"keep_last": 1, "keep_forever": 1}, "it has 'keep_forever'"),
        ({"keep_within": "soon"}, "not a length of time"),
    ],
)
def test_policies_that_make_no_sense(policy: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Policy.parse(policy)


def test_order_of_equal_moments_is_stable() -> None:
    points = [Point(name, NOW, NOW) for name in "abc"]
    for some in itertools.permutations(points):
        assert decide(list(some), Policy.parse({"keep_last": 1, "minimum": 1}), NOW).expiring == ["a", "b"]
