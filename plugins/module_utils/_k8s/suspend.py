# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``k8s_suspend``: what fights a restore is put to sleep, and woken as it was, by a record in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Incomplete,
    InvalidInput,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import pointer, suspension
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Catalogue
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store


class _Shelf:
    """The record of one application in one cluster; two runs that write it at once do not lose each other's."""

    def __init__(self, catalogue: Catalogue, cluster: str) -> None:
        self._store = catalogue.store
        self._key = catalogue.suspended_key(cluster)
        self._version: str | None = None
        self.record: suspension.Record | None = None
        stored = catalogue.read(self._key)
        if stored is None:
            return
        self._version = stored.version
        try:
            self.record = json.loads(stored.data)
        except ValueError:
            raise Corrupt(
                "read",
                f"{self._key} in {self._store.place}",
                "it is no JSON",
                "See what still sleeps in the cluster, wake it by hand, and remove the record.",
            ) from None

    @property
    def unfinished(self) -> suspension.Record | None:
        """The record, if something of it may still sleep."""
        return self.record if self.record is not None and suspension.unfinished(self.record) else None

    def put(self, record: suspension.Record) -> None:
        data = json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"
        if self._version is None:
            self._store.create(self._key, data)
        else:
            self._store.swap(self._key, data, self._version)
        self._version = self._store.read(self._key).version


def suspend(request: Request) -> dict[str, Any]:
    """Put to sleep what acts on the namespaces, or wake what the record names."""
    params = request.params
    name = application.name_of(params["application"])
    catalogue = Catalogue(open_store(params["store"]), name)
    cluster = Cluster.connect(params)
    shelf = _Shelf(catalogue, cluster.uid())
    if params["state"] == "resumed":
        return _resume(request, cluster, shelf, name)
    return _suspend(request, cluster, shelf, name)


def _suspend(request: Request, cluster: Cluster, shelf: _Shelf, name: str) -> dict[str, Any]:
    params = request.params
    fighters, warnings = suspension.find(
        cluster,
        params["namespaces"],
        kinds=_kinds(params["kinds"]),
        more=_operators(params["operators"] or {}),
    )
    for text in warnings:
        request.warn(text)
    record = suspension.record_of(cluster, fighters, str(params["run"] or ""))
    left = shelf.unfinished
    if left is not None:
        # What an earlier run has put to sleep and not woken: how it was before that is in its record alone.
        asleep = suspension.open_entries(left)
        known = {suspension.title_of(entry) for entry in asleep}
        record["entries"] = [
            *asleep,
            *(entry for entry in record["entries"] if suspension.title_of(entry) not in known),
        ]
        request.warn(
            f"Run {left.get('run') or 'without a name'} has left {len(asleep)} objects of {name} asleep; "
            "they are woken with the others at the end of this one."
        )
    if not record["entries"]:
        return {"changed": False, "msg": f"Nothing acts on the namespaces of {name}", "objects": []}
    if request.check_mode:
        return _result(record, None, f"{len(record['entries'])} objects would be suspended", "suspend")
    outcome = suspension.suspend(cluster, record, shelf.put)
    return _ended(record, outcome, name, "suspend", "suspended")


def _resume(request: Request, cluster: Cluster, shelf: _Shelf, name: str) -> dict[str, Any]:
    record = shelf.unfinished
    if record is None:
        return {"changed": False, "msg": f"Nothing of {name} sleeps", "objects": []}
    if request.check_mode:
        open_ones = {**record, "entries": suspension.open_entries(record)}
        count = len(open_ones["entries"])
        return _result(open_ones, None, f"{count} objects would be resumed", "resume")
    outcome = suspension.resume(cluster, record, shelf.put)
    for title, why in outcome.kept.items():
        request.warn(f"{title}: {why}")
    return _ended(record, outcome, name, "resume", "resumed")


def _ended(record: suspension.Record, outcome: suspension.Outcome, name: str, action: str, done: str) -> dict[str, Any]:
    result = _result(record, outcome, f"{len(outcome.changed)} objects are {done}", action)
    if outcome.failed:
        title, reason = next(iter(outcome.failed.items()))
        raise Incomplete(
            action,
            f"all that acts on the namespaces of {name}",
            f"{len(outcome.failed)} of {len(record['entries'])} failed: {title}: {reason}",
            "Mend it and run the same again; what is done is recognised.",
            result=result,
        )
    return result


def _result(record: suspension.Record, outcome: suspension.Outcome | None, msg: str, action: str) -> dict[str, Any]:
    """The result of a run, or without an outcome the planned one."""
    entries = []
    for entry in record["entries"]:
        title = suspension.title_of(entry)
        changed, failed, kept = entry["state"] in _OPEN[action], None, None
        if outcome is not None:
            changed, failed, kept = title in outcome.changed, outcome.failed.get(title), outcome.kept.get(title)
        entries.append(
            {
                "name": title,
                "action": action,
                "reason": entry["why"],
                "state": entry["state"],
                "changed": changed,
                "failed": failed is not None,
                "skipped": kept is not None,
                "msg": failed or kept or ", ".join(entry["during"]),
            }
        )
    return {"changed": any(entry["changed"] for entry in entries), "msg": msg, "objects": entries}


_OPEN = {"suspend": ("planned",), "resume": ("planned", "suspended")}


def _kinds(given: list[str] | None) -> tuple[str, ...]:
    if given is None:
        return suspension.KINDS
    unknown = sorted(set(given) - set(suspension.KINDS))
    if unknown:
        raise InvalidInput(
            "use",
            f"kinds {', '.join(unknown)}",
            "it is not known how they sleep",
            f"Known are {', '.join(suspension.KINDS)}; others belong into operators.",
        )
    return tuple(given)


def _operators(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for kind, values in given.items():
        if not isinstance(values, Mapping) or not values:
            raise InvalidInput(
                "use", f"operators entry {kind!r}", "it is no dictionary", "Give JSON pointers and their values."
            )
        for path in values:
            try:
                pointer.parse(str(path))
            except pointer.PointerError as error:
                raise InvalidInput(
                    "use", f"operators entry {kind!r}", f"{path!r}: {error}", "Write it as /spec/paused."
                ) from None
    return {str(kind): {str(path): value for path, value in values.items()} for kind, values in given.items()}
