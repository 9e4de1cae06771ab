# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The catalogue of one application in a store: where points, facts, state and transitions lie."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import timeline
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, Stored

FACT_FORMAT = "muster/fact/v1"
EXPIRED = "expired"
_POINT = re.compile(r"^applications/([^/]+)/points/([^/]+)\.json$")
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
    keys = [entry.key for entry in store.list("applications/")]
    expired = {(match[1], match[2]) for match in map(_EXPIRED.match, keys) if match}
    return [
        Sealed(match[1], match[2], match[0], (match[1], match[2]) in expired)
        for match in map(_POINT.match, keys)
        if match
    ]


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

    def points(self) -> list[str]:
        """Ids of the sealed points, oldest first. A signature without a document is a point that was never sealed."""
        prefix = f"{self.root}/points/"
        return [
            entry.key[len(prefix) : -len(".json")]
            for entry in self.store.list(prefix)
            if entry.key.endswith(".json") and "/" not in entry.key[len(prefix) :]
        ]

    def read_points(self, ids: Sequence[str]) -> list[PointFiles]:
        """The files of these points, in this order."""

        def read(point: str) -> PointFiles:
            return PointFiles(point, self.store.get(self.point_key(point)), self.store.find(self.signature_key(point)))

        return pool.values(pool.each(ids, read, workers=_WORKERS))

    def facts(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """What became known of these points, oldest first. A fact that cannot be read says nothing and is left out."""

        def read(point: str) -> list[dict[str, Any]]:
            found = []
            for entry in self.store.list(self.facts_prefix(point)):
                data = self.store.find(entry.key)
                value = _fact(data) if entry.key.endswith(".json") and data else None
                if value is not None and value.get("point") == point:
                    found.append(value)
            return found

        return dict(zip(ids, pool.values(pool.each(ids, read, workers=_WORKERS)), strict=True))

    def note(self, point: str, kind: str, data: Mapping[str, Any], time: str) -> str | None:
        """Add a fact and return its key; ``None`` where the same kind with the same data is there already."""
        known = self.facts([point])[point]
        if any(fact["kind"] == kind and fact.get("data") == dict(data) for fact in known):
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


def _fact(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
        clock.parse(str(value["time"]))
    except (ValueError, KeyError, TypeError, InvalidInput):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return None
    return value
