# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The catalogue of one application in a store: where points, facts, state and transitions lie."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import recovery_point, timeline
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, Stored

FACT_FORMAT = "muster/fact/v1"
EXPIRED = "expired"
# Of a fact that nobody can read only the name is left.
UNREADABLE = "unreadable"
HELD, RELEASED, TAGGED = "held", "released", "tagged"
# One of these undoes those before it, so that of each group the newest counts.
_UNDOING = (frozenset({HELD, RELEASED}), frozenset({TAGGED}))
_POINT = re.compile(r"^applications/([^/]+)/points/([^/]+)\.json$")
_TRACE = re.compile(r"^applications/([^/]+)/(?:points/([^/]+)\.json\.sig$|facts/([^/]+)/)")
# A second fact of the same moment has some digits in its name.
_EXPIRED = re.compile(rf"^applications/([^/]+)/facts/([^/]+)/[^/]*-{EXPIRED}(-[0-9a-f]{{8}})?\.json$")
_WORKERS = 8


@dataclass(frozen=True)
class PointFiles:
    """A sealed point as it lies in the store; ``signature`` is ``None`` where its file is missing."""

    id: str
    document: bytes
    signature: bytes | None


@dataclass(frozen=True)
class Sealed:
    """A sealed point of any application in a store, by the names of its files."""

    application: str
    id: str
    key: str
    expired: bool


def sealed(store: Store) -> list[Sealed]:
    """The sealed points of all applications, in the order of their keys; nothing of them is read."""
    return survey(store)[0]


def survey(store: Store) -> tuple[list[Sealed], set[str]]:
    """The same, and the ids of points of which there is a signature or a fact and no document."""
    keys = [entry.key for entry in store.list("applications/")]
    expired = {(match[1], match[2]) for match in map(_EXPIRED.match, keys) if match}
    points = [
        Sealed(match[1], match[2], match[0], (match[1], match[2]) in expired)
        for match in map(_POINT.match, keys)
        if match
    ]
    return points, _traces(keys) - {point.id for point in points}


def _traces(keys: Iterable[str]) -> set[str]:
    """Ids of the points that signatures and facts are about."""
    return {match[2] or match[3] for match in map(_TRACE.match, keys) if match}


class Catalogue:
    """Reads and writes the documents of one application."""

    def __init__(self, store: Store, application: str) -> None:
        self.store = store
        self.application = application
        self.root = f"applications/{application}"

    def point_key(self, point: str) -> str:
        return f"{self.root}/points/{point}.json"

    def signature_key(self, point: str) -> str:
        return f"{self.root}/points/{point}.json.sig"

    def facts_prefix(self, point: str) -> str:
        return f"{self.root}/facts/{point}/"

    @property
    def state_key(self) -> str:
        return f"{self.root}/state.json"

    def transition_prefix(self, run: str) -> str:
        return f"{self.root}/transitions/{run}/"

    def suspended_key(self, cluster: str) -> str:
        """Where it is kept what of a cluster (the uid of its kube-system) sleeps for a restore of the application."""
        return f"{self.root}/suspended/{cluster}.json"

    def whole(self) -> set[str]:
        """Ids of the points of which there is a document and a signature."""
        names = {entry.key for entry in self.store.list(f"{self.root}/points/")}
        return {point for point in self.points() if self.signature_key(point) in names}

    def points(self) -> list[str]:
        """Ids of the sealed points, oldest first. A signature without a document is a point that was never sealed."""
        prefix = f"{self.root}/points/"
        names = (entry.key[len(prefix) :] for entry in self.store.list(prefix))
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return [point for point in found if recovery_point.is_id(point)]

    def expired(self) -> set[str]:
        """Ids of the points that have expired, by the names of their facts."""
        keys = (entry.key for entry in self.store.list(f"{self.root}/facts/"))
        return {match[2] for match in map(_EXPIRED.match, keys) if match}

    def lost(self) -> list[str]:
        """Ids of points of which there is a signature or a fact and no document: lost, or sealed only half."""
        keys = (entry.key for entry in self.store.list(f"{self.root}/"))
        return sorted(_traces(keys) - set(self.points()))

    def read_points(self, ids: Sequence[str]) -> list[PointFiles]:
        """The files of these points, in this order."""

        def read(point: str) -> PointFiles:
            return PointFiles(point, self.store.get(self.point_key(point)), self.store.find(self.signature_key(point)))

        return pool.values(pool.each(ids, read, workers=_WORKERS))

    def facts(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """What became known of these points, oldest first.

        A fact that cannot be read is of the kind :data:`UNREADABLE`, with its ``key`` as data, and one of expiry
        counts by its name: what it was about must neither be restored nor be taken away by mistake.
        """

        def read(point: str) -> list[dict[str, Any]]:
            found = []
            for entry in self.store.list(self.facts_prefix(point)):
                if not entry.key.endswith(".json"):
                    continue
                value = read_fact(self.store.find(entry.key) or b"", point)
                if value is None:
                    kind = EXPIRED if _EXPIRED.match(entry.key) else UNREADABLE
                    value = {"point": point, "kind": kind, "time": None, "data": {"key": entry.key}}
                found.append(value)
            return found

        return dict(zip(ids, pool.values(pool.each(ids, read, workers=_WORKERS)), strict=True))

    def noted(self, point: str, kind: str, data: Mapping[str, Any]) -> bool:
        """Whether the same kind with the same data is there already, and no later fact has undone it."""
        group = _undoing(kind)
        facts = [fact for fact in self.facts([point])[point] if fact["kind"] in (group or (kind,))]
        counting = facts[-1:] if group else facts
        return any(fact["kind"] == kind and fact.get("data") == dict(data) for fact in counting)

    def note(self, point: str, kind: str, data: Mapping[str, Any], time: str) -> str | None:
        """Add a fact and return its key; ``None`` where it is :meth:`noted` already."""
        if self.noted(point, kind, data):
            return None
        moment = clock.parse(time)
        key = f"{self.facts_prefix(point)}{clock.stamp(moment)}-{kind}.json"
        if self.store.find(key) is not None:
            key = f"{key[: -len('.json')]}-{secrets.token_hex(4)}.json"
        value = {
            "format": FACT_FORMAT,
            "application": self.application,
            "point": point,
            "kind": kind,
            "time": clock.iso(moment),
            "data": dict(data),
        }
        self.store.create(key, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n")
        return key

    def read(self, key: str) -> Stored | None:
        """A document with its version; ``None`` where the store is there and does not have it."""
        stored = self.store.peek(key)
        if stored is None:
            self.store.probe()
        return stored

    def state(self) -> tuple[timeline.State, str] | None:
        """State and its version, or ``None`` where the application never had a transition."""
        stored = self.read(self.state_key)
        return None if stored is None else (timeline.decode(stored.data, self.application), stored.version)


def undone(kind: str, moment: datetime, facts: Iterable[Mapping[str, Any]]) -> str:
    """Which of these facts of a point would undo one of this kind and moment as soon as it is noted; empty if none."""
    later = [fact for fact in facts if fact["kind"] in _undoing(kind) and str(fact["time"]) >= clock.iso(moment)]
    return f"{later[-1]['kind']} of {later[-1]['time']}" if later else ""


def _undoing(kind: str) -> frozenset[str]:
    return next((kinds for kinds in _UNDOING if kind in kinds), frozenset())


def read_fact(data: bytes, point: str) -> dict[str, Any] | None:
    """The fact about this point that these bytes are, or ``None``."""
    try:
        value = json.loads(data)
        clock.parse(str(value["time"]))
    except (ValueError, KeyError, TypeError, InvalidInput):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or value.get("point") != point:
        return None
    return value if isinstance(value.get("data") or {}, dict) else None
