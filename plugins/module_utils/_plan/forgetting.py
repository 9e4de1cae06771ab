# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which snapshots of a repository may go, now that recovery points have expired.

A snapshot goes only for a reason that can be said; whatever nobody can explain stays and is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._plan.recovery_point import PointId
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Held, Known, Need

OURS = "muster"
_POINT = "point="


@dataclass(frozen=True)
class Point:
    """A sealed recovery point."""

    id: str
    application: str
    needs: tuple[Need, ...]
    expired: bool


@dataclass(frozen=True)
class Decision:
    """What becomes of a snapshot, and why. ``explained`` is false where nobody knows what it is kept for."""

    snapshot: Held
    forget: bool
    reason: str
    explained: bool = True

    def result(self) -> dict[str, Any]:
        """For people and records."""
        return {
            "snapshot": self.snapshot.id,
            "host": self.snapshot.host,
            "time": clock.iso(self.snapshot.time),
            "tags": list(self.snapshot.tags),
            "forget": self.forget,
            "reason": self.reason,
        }


def decide(
    snapshots: Sequence[Held],
    points: Sequence[Point],
    *,
    now: datetime,
    unsealed_after: float,
    lost: Collection[str] = (),
) -> list[Decision]:
    """One decision per snapshot, in their order. ``points`` are those of all applications.

    ``unsealed_after`` is the age in seconds at which what was made for a point that was never sealed may go. ``lost``
    are ids of points whose documents are gone, as what is left of them shows; what was made for these stays.
    Raises :class:`Refused` where an application would have no point left that has not expired.
    """
    applications = {point.application for point in points}
    alive = {point.application for point in points if not point.expired}
    if applications - alive:
        raise Refused(
            "forget",
            f"what recovery points of {', '.join(sorted(applications - alive))} needed",
            "all of them have expired, so that nothing would be left to restore",
            "Make a new recovery point first. To give an application up for good, remove its folder from the store.",
        )
    wanted, spent = _users(snapshots, points, expired=False), _users(snapshots, points, expired=True)
    sealed = {point.id: point for point in points}
    before = now - timedelta(seconds=unsealed_after)
    decisions = []
    for snapshot in snapshots:
        if snapshot.id in wanted:
            decisions.append(Decision(snapshot, False, f"{_list(wanted[snapshot.id])} needs it"))
        elif snapshot.id in spent:
            decisions.append(Decision(snapshot, True, f"only {_list(spent[snapshot.id])} needed it, which has expired"))
        else:
            decisions.append(_of_no_point(snapshot, sealed, alive, before, lost))
    return decisions


def missing(snapshots: Sequence[Held], points: Iterable[Point]) -> list[tuple[Point, Need]]:
    """What points that have not expired need and no snapshot is."""
    known = Known(snapshots)
    return [(point, need) for point in points if not point.expired for need in point.needs if not known.meant(need)]


def _users(snapshots: Sequence[Held], points: Iterable[Point], *, expired: bool) -> dict[str, list[str]]:
    """Ids of snapshots with those of the points that need them."""
    known = Known(snapshots)
    found: dict[str, list[str]] = {}
    for point in points:
        if point.expired != expired:
            continue
        for need in point.needs:
            for snapshot in known.meant(need):
                users = found.setdefault(snapshot.id, [])
                if point.id not in users:
                    users.append(point.id)
    return found


def _of_no_point(
    snapshot: Held, sealed: Mapping[str, Point], alive: set[str], before: datetime, lost: Collection[str]
) -> Decision:
    """About a snapshot that no document names."""
    named = [tag.removeprefix(_POINT) for tag in snapshot.tags if tag.startswith(_POINT)]
    if OURS not in snapshot.tags:
        return Decision(snapshot, False, f"it has no tag {OURS}, so somebody else made it", explained=False)
    if not named:
        return Decision(snapshot, False, "no recovery point needs it and no tag names one", explained=False)
    expired = []
    for point in named:
        known = sealed.get(point)
        if known is not None and not known.expired:
            # A second attempt, perhaps; the point is still there, and somebody may ask what it was.
            return Decision(snapshot, False, f"{point} is sealed and does not name it", explained=False)
        if known is not None:
            expired.append(point)
            continue
        if point in lost:
            return Decision(snapshot, False, f"the document of {point} is gone from the store", explained=False)
        try:
            parsed = PointId.parse(point)
        except InvalidInput:
            return Decision(snapshot, False, f"{point!r} is no id of a recovery point", explained=False)
        if parsed.application not in alive:
            # This may be the wrong store, or one of several.
            why = f"the store has no recovery point of {parsed.application}"
            return Decision(snapshot, False, why, explained=False)
        # By the clocks of two machines, of which one may be far behind.
        if max(snapshot.time, parsed.moment) > before:
            return Decision(snapshot, False, f"{point} may still be sealed")
    if len(expired) == len(named):
        return Decision(snapshot, True, f"it was made for {_list(expired)}, which has expired")
    unsealed = [point for point in named if point not in sealed]
    return Decision(snapshot, True, f"{_list(unsealed)} was never sealed")


def _list(points: Sequence[str]) -> str:
    return points[0] if len(points) == 1 else f"{points[0]} (and {len(points) - 1} more)"
