# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which recovery point to take, and how much it loses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound, Refused


@dataclass(frozen=True)
class Candidate:
    """A point with what is known of it. ``timeline`` is ``current``, ``orphan`` or ``unknown``."""

    id: str
    consistency: datetime | None
    reasons: tuple[str, ...] = ()
    """Why it is not usable whatever its timeline; empty where it is."""
    timeline: str = "current"
    timeline_reason: str = ""


@dataclass(frozen=True)
class Wish:
    """What to pick: the newest usable, a certain one, or the newest whose consistency point is not after ``before``."""

    id: str | None = None
    before: datetime | None = None
    allow_orphan: bool = False
    """A point named by its id may lie on an orphan timeline."""
    allow_unknown_timeline: bool = False


def obstacles(candidate: Candidate, wish: Wish) -> list[str]:
    """Everything that speaks against this point under this wish."""
    found = list(candidate.reasons)
    named = wish.id == candidate.id
    if candidate.timeline == "orphan" and not (named and wish.allow_orphan):
        found.append(f"orphan timeline: {candidate.timeline_reason}")
    if candidate.timeline == "unknown" and not wish.allow_unknown_timeline:
        found.append(f"timeline unknown: {candidate.timeline_reason}")
    return found


def pick(candidates: Iterable[Candidate], wish: Wish) -> Candidate | None:
    """The point to take, or ``None``: newest by consistency point, by id between equals. Order of input is of no
    matter."""
    usable = [
        candidate
        for candidate in candidates
        if candidate.consistency is not None
        and not obstacles(candidate, wish)
        and (wish.id is None or candidate.id == wish.id)
        and (wish.before is None or candidate.consistency <= wish.before)
    ]
    return max(usable, key=lambda one: (one.consistency, one.id), default=None)


def none_usable(application: str, place: str, candidates: Sequence[Candidate], wish: Wish) -> NotFound | Refused:
    """The error that says why nothing was picked, with the reasons of the newest points."""
    if wish.id is not None:
        named = next((one for one in candidates if one.id == wish.id), None)
        target = f"recovery point {wish.id} of {application}"
        if named is None:
            return NotFound("find", target, f"{place} does not hold it", "List the points with recovery_point_info.")
        return Refused("use", target, "; ".join(obstacles(named, wish)), "Choose another point.")
    target = f"usable recovery point of {application}"
    if not candidates:
        return NotFound("find", target, f"{place} holds none", "Run a backup, and replicate it to this site.")
    newest = sorted(candidates, key=lambda one: one.id, reverse=True)[:3]
    told = [f"{one.id}: {'; '.join(obstacles(one, wish)) or 'too new'}" for one in newest]
    rest = len(candidates) - len(newest)
    more = f" (and {rest} more)" if rest else ""
    return NotFound("find", target, f"none of {len(candidates)} can be taken: {' | '.join(told)}{more}")


@dataclass(frozen=True)
class Readable:
    """A point's data as of ``consistency``, readable at the site in question since ``since``."""

    point: str
    consistency: datetime
    since: datetime


@dataclass(frozen=True)
class Loss:
    """What a disaster at a moment costs: seconds of writes, and the point that would be restored."""

    seconds: float | None
    point: str | None


def readable_since(
    document: Mapping[str, Any], facts: Iterable[Mapping[str, Any]], site: str | None
) -> datetime | None:
    """When the point became readable at a site: sealed there, or the first ``copied`` fact that names the site."""
    if site is None or document.get("site") == site:
        return clock.parse(str(document["sealed"]))
    times = [
        clock.parse(str(fact["time"]))
        for fact in facts
        if fact.get("kind") == "copied" and (fact.get("data") or {}).get("site") == site
    ]
    return min(times, default=None)


def loss(points: Iterable[Readable], moment: datetime) -> Loss:
    """The RPO achieved if everything else were lost at ``moment``.

    Only points that were readable by then count, each by its consistency point; completion times say nothing about the
    data. ``seconds`` is ``None`` (everything lost) where there was none.
    """
    best = max(
        (point for point in points if point.since <= moment and point.consistency <= moment),
        key=lambda point: (point.consistency, point.point),
        default=None,
    )
    if best is None:
        return Loss(None, None)
    return Loss((moment - best.consistency).total_seconds(), best.point)


def worst_loss(points: Iterable[Readable], until: datetime) -> Loss:
    """The largest loss at any moment from the first readable point until ``until``: what the backups promise.

    The loss grows with time and falls only when a newer copy becomes readable, so it peaks just before that.
    """
    ordered = sorted(points, key=lambda point: point.since)
    worst = Loss(None, None)
    for index, point in enumerate(ordered):
        if point.since > until:
            break
        following = ordered[index + 1].since if index + 1 < len(ordered) else until
        here = loss(ordered[: index + 1], min(following, until))
        if here.seconds is not None and (worst.seconds is None or here.seconds > worst.seconds):
            worst = here
    return worst
