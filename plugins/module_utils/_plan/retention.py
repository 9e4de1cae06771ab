# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which recovery points may go, and why each of the others stays.

Ages are counted from the newest point, never from a clock: where backups have stopped, nothing grows old. A volume that
lost most of its content freezes everything until somebody looks, because from then on each new point would push out one
that still has the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

# How far the clocks of two machines may be apart before one of them counts as wrong.
_SKEW = timedelta(minutes=5)
_DEFAULT_MINIMUM = 2
_DEFAULT_LOSS = 50.0


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _week(moment: datetime) -> str:
    year, week, _day_of_week = moment.isocalendar()
    return f"{year}-W{week:02d}"


def _month(moment: datetime) -> str:
    return f"{moment:%Y-%m}"


def _year(moment: datetime) -> str:
    return f"{moment:%Y}"


_PERIODS: dict[str, Callable[[datetime], str]] = {
    "hourly": _hour,
    "daily": _day,
    "weekly": _week,
    "monthly": _month,
    "yearly": _year,
}
_KEYS = (
    "keep_last",
    *(f"keep_{name}" for name in _PERIODS),
    "keep_within",
    "keep_tags",
    "minimum",
    "loss_percent",
    "may_shrink",
)


@dataclass(frozen=True)
class Policy:
    """What to keep: the newest ``last`` points, the newest of each of the latest ``periods``, those ``within`` seconds
    of the newest, those with one of the ``tags``, and at least ``minimum`` good ones.

    More than ``loss_percent`` of a volume's files or bytes gone from one point to the next freezes everything, except
    of volumes that ``may_shrink`` (globs for ``namespace/claim``).
    """

    last: int = 0
    periods: Mapping[str, int] = field(default_factory=dict)
    within: float = 0.0
    tags: tuple[str, ...] = ()
    minimum: int = _DEFAULT_MINIMUM
    loss_percent: float = _DEFAULT_LOSS
    may_shrink: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Mapping[str, Any] | None) -> Policy:
        """From the option; :class:`InvalidInput` for one that would keep nothing, or with what no policy has."""
        given = {str(key): item for key, item in (value or {}).items() if item is not None}
        unknown = sorted(given.keys() - set(_KEYS))
        if unknown:
            raise _wrong(f"it has {unknown[0]!r}", f"Its keys are {', '.join(_KEYS)}.")
        policy = cls(
            last=_count(given, "keep_last", 0),
            periods={name: count for name in _PERIODS if (count := _count(given, f"keep_{name}", 0))},
            within=clock.duration(given.get("keep_within", 0)),
            tags=_texts(given, "keep_tags"),
            minimum=_count(given, "minimum", _DEFAULT_MINIMUM, least=1),
            loss_percent=_percent(given.get("loss_percent", _DEFAULT_LOSS)),
            may_shrink=_texts(given, "may_shrink"),
        )
        if not (policy.last or policy.periods or policy.within):
            # Tags and the minimum alone are nobody's idea of a backup history.
            raise _wrong("it keeps nothing", "Set at least one of keep_last, keep_hourly … keep_yearly, keep_within.")
        return policy


@dataclass(frozen=True)
class Volume:
    """How much a volume held: ``files`` as a count, ``bytes`` as a size; ``None`` where nobody counted."""

    name: str
    files: int | None
    bytes: int | None


@dataclass(frozen=True)
class Point:
    """A recovery point with what is known of it. ``moment`` is its consistency point, ``made`` when it was sealed.

    ``doubt`` says why it is not one of the application's good points (orphan timeline, signature, …): such a point is
    nobody's to expire, and counts for nothing. ``excluded`` are volumes that a rule leaves out of it, ``accepted``
    those whose loss somebody has accepted at it. ``hold`` is why it must stay, ``drilled`` when a drill passed with it.
    """

    id: str
    moment: datetime
    made: datetime
    volumes: tuple[Volume, ...] = ()
    excluded: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    hold: str = ""
    drilled: datetime | None = None
    doubt: str = ""


@dataclass(frozen=True)
class Decision:
    """What becomes of one point, and every reason for it."""

    id: str
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """One decision per point, newest first. Where ``frozen`` says why, nothing at all may expire."""

    decisions: tuple[Decision, ...]
    frozen: tuple[str, ...] = ()

    @property
    def expiring(self) -> list[str]:
        """Ids of the points that go now, oldest first."""
        return [] if self.frozen else [one.id for one in reversed(self.decisions) if not one.keep]


def decide(points: Sequence[Point], policy: Policy, now: datetime) -> Verdict:
    """Judge all points of one application that have not expired yet; their order is of no matter."""
    ordered = sorted(points, key=lambda one: (one.moment, one.id), reverse=True)
    good = [one for one in ordered if not one.doubt]
    kept: dict[str, list[str]] = {one.id: [] for one in ordered}
    for one in ordered:
        if one.doubt:
            kept[one.id].append(f"it is kept for somebody to look at: {one.doubt}")
        if one.hold:
            kept[one.id].append(f"it is held: {one.hold}")
        mine = [tag for tag in policy.tags if tag in one.tags]
        if mine:
            kept[one.id].append(f"it has the tag {mine[0]}")
    _of_policy(good, policy, kept)
    _always(good, policy, kept)
    decisions = tuple(
        Decision(one.id, bool(kept[one.id]), tuple(kept[one.id]) or ("no rule keeps it",)) for one in ordered
    )
    return Verdict(decisions, (*_clocks(good, now), *_losses(good, policy)))


def _of_policy(good: Sequence[Point], policy: Policy, kept: dict[str, list[str]]) -> None:
    for number, one in enumerate(good[: policy.last], 1):
        kept[one.id].append(f"it is number {number} of the last {policy.last}")
    for name, count in policy.periods.items():
        seen: dict[str, str] = {}
        for one in good:
            period = _PERIODS[name](one.moment)
            if period not in seen and len(seen) < count:
                seen[period] = one.id
                kept[one.id].append(f"it is the newest of {period}, number {len(seen)} of {count} {name}")
    if policy.within and good:
        oldest = good[0].moment - timedelta(seconds=policy.within)
        for one in good:
            if one.moment >= oldest:
                kept[one.id].append(f"it is within {policy.within:g} seconds of the newest")


def _always(good: Sequence[Point], policy: Policy, kept: dict[str, list[str]]) -> None:
    """Rules that no policy switches off."""
    if good:
        kept[good[0].id].append("it is the last good one")
    drilled = [one for one in good if one.drilled is not None]
    if drilled:
        last = max(drilled, key=lambda one: (one.drilled or one.moment, one.moment))
        kept[last.id].append("it is the last one that passed a drill")
    staying = [one for one in good if kept[one.id]]
    spare = (one for one in good if not kept[one.id])
    for one in spare:
        if len(staying) >= policy.minimum:
            break
        kept[one.id].append(f"it is one of the {policy.minimum} good ones that stay at least")
        staying.append(one)


def _clocks(good: Sequence[Point], now: datetime) -> list[str]:
    """By a wrong clock a point of yesterday is old, or one of last year the newest."""
    found = []
    for one in good:
        if max(one.moment, one.made) > now + _SKEW:
            found.append(
                f"{one.id} was made at {clock.iso(max(one.moment, one.made))}, which is yet to come: "
                "the clock here or there is or was wrong"
            )
        elif one.made < one.moment - _SKEW:
            found.append(f"{one.id} was sealed before the moment that its data equals: a clock jumped meanwhile")
    return found


def _losses(good: Sequence[Point], policy: Policy) -> list[str]:
    """Volumes that hold much less than they did, until they hold it again or somebody has accepted it.

    Each point is compared with the last one before the loss, so that a shrunken volume does not become what is usual.
    """
    before: dict[str, tuple[Point, Volume]] = {}
    lost: dict[str, str] = {}
    for one in reversed(good):
        there = {volume.name: volume for volume in one.volumes if not _free(volume.name, policy)}
        for name in one.accepted | one.excluded:
            lost.pop(name, None)
            before.pop(name, None)
        for name, (source, _volume) in before.items():
            if name not in there:
                lost[name] = f"{name} is not in {one.id}, and no rule excludes it; {source.id} has it"
        for name, volume in there.items():
            known = before.get(name)
            words = _loss(known[1], volume, policy.loss_percent) if known and name not in one.accepted else ""
            if known and words:
                lost[name] = f"{name} {words} from {known[0].id} to {one.id}"
                continue
            lost.pop(name, None)
            before[name] = (one, volume)
    return [lost[name] for name in sorted(lost)]


def _free(name: str, policy: Policy) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in policy.may_shrink)


def _loss(before: Volume, after: Volume, percent: float) -> str:
    for what, had, has in (("files", before.files, after.files), ("bytes", before.bytes, after.bytes)):
        if had and has is not None and had - has > had * percent / 100:
            return f"went from {had} to {has} {what}"
    return ""


def _count(given: Mapping[str, Any], key: str, default: int, least: int = 0) -> int:
    value = given.get(key, default)
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if isinstance(value, bool) or number < least:
        raise _wrong(f"{key} is {value!r}", f"Write a number from {least} on.")
    return number


def _texts(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key) or []
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(f"{key} is no list", "Write a list of texts.")
    return tuple(str(one) for one in value)


def _percent(value: Any) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 < number <= 100:
        raise _wrong(f"loss_percent is {value!r}", "Write a number above 0 up to 100.")
    return number


def _wrong(reason: str, hint: str) -> InvalidInput:
    return InvalidInput("use", "the retention policy", reason, hint)
