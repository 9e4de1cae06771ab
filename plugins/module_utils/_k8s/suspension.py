# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Things that fight a restore: found, put to sleep before it, and woken after it as they were.

Autoscalers scale what was just restored, disruption budgets hold evictions up, GitOps controllers undo every change.
:func:`find` looks for them, :func:`suspend` puts them to sleep, :func:`resume` gives them back what they had.

The record is written before the first change, through a callback of the caller, and again after each; so a run that
is killed leaves a record that says at least as much as was done, and :func:`resume` can be given that one. It is JSON::

    {"format": "muster/suspended/v1", "cluster": "<uid of kube-system>", "run": "...",
     "entries": [{"kind": "applications.argoproj.io", "api_version": "argoproj.io/v1alpha1", "namespace": "argocd",
                  "name": "ledger", "uid": "...", "why": "it deploys into ledger", "state": "planned",
                  "before": {"/spec/syncPolicy/automated": {"prune": true}},
                  "during": {"/spec/syncPolicy/automated": null}}]}

``before`` and ``during`` map JSON pointers to values, ``null`` for what is not there. ``state`` is ``planned``,
``suspended``, ``resumed`` or ``gone``. An entry with ``subresource`` is about that one of the object, whose pointers
these are then. Nothing secret is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Interrupted,
    InvalidInput,
    MusterError,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, json_patch, objects, pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    JSON_PATCH,
    ApiError,
    ApiNotFound,
    Cluster,
    Resource,
    object_path,
)

FORMAT = "muster/suspended/v1"
HPA = "horizontalpodautoscalers.autoscaling"
PDB = "poddisruptionbudgets.policy"
APPLICATION = "applications.argoproj.io"
KUSTOMIZATION = "kustomizations.kustomize.toolkit.fluxcd.io"
HELM_RELEASE = "helmreleases.helm.toolkit.fluxcd.io"
APPLICATION_SET = "applicationsets.argoproj.io"
SCALED_OBJECT = "scaledobjects.keda.sh"
# What operators understand as a pause, by kind: JSON pointers and values. Looked for in the namespaces.
OPERATORS: dict[str, dict[str, Any]] = {
    "clusters.cluster.x-k8s.io": {"/spec/paused": True},
    "clusters.postgresql.cnpg.io": {"/metadata/annotations/cnpg.io~1reconciliationLoop": "disabled"},
    "elasticsearches.elasticsearch.k8s.elastic.co": {"/metadata/annotations/eck.k8s.elastic.co~1managed": "false"},
    "kafkas.kafka.strimzi.io": {"/metadata/annotations/strimzi.io~1pause-reconciliation": "true"},
    SCALED_OBJECT: {"/metadata/annotations/autoscaling.keda.sh~1paused": "true"},
}
# GitOps first: it would wake the others again.
KINDS = (APPLICATION_SET, APPLICATION, KUSTOMIZATION, HELM_RELEASE, *OPERATORS, HPA, PDB)
# What would start again what was scaled to zero. An autoscaler does so only if its own minimum is zero.
STARTERS = (APPLICATION_SET, APPLICATION, KUSTOMIZATION, HELM_RELEASE, SCALED_OBJECT, HPA)
SCALE = "scale"
# An autoscaler sleeps when both directions are switched off; its minimum and maximum stay as they are.
_ASLEEP = {one: {"selectPolicy": "Disabled"} for one in ("scaleUp", "scaleDown")}
_DURING: dict[str, dict[str, Any]] = {
    **OPERATORS,
    APPLICATION: {"/spec/syncPolicy/automated": None},
    APPLICATION_SET: {"/spec/syncPolicy/applicationsSync": "create-only"},
    KUSTOMIZATION: {"/spec/suspend": True},
    HELM_RELEASE: {"/spec/suspend": True},
    HPA: {"/spec/behavior": _ASLEEP},
    # Evictions pass; the other half of the pair must not be set beside it.
    PDB: {"/spec/minAvailable": None, "/spec/maxUnavailable": "100%"},
}
_TRIES = 5

Record = dict[str, Any]
# Stores the record durably before it returns; called before the first change and after each.
Store = Callable[[Record], None]


@dataclass(frozen=True)
class Fighter:
    """One object that has to sleep: ``during`` maps JSON pointers to what they get, ``None`` where they go.

    With a ``subresource`` that one is changed and ``obj`` has its form: who may scale need not be allowed to edit.
    """

    kind: str
    resource: Resource
    obj: JSON
    why: str
    during: Mapping[str, Any]
    subresource: str = ""

    @property
    def entry(self) -> Record:
        """Its part of the record, before anything was done."""
        metadata = self.obj["metadata"]
        return {
            **({"subresource": self.subresource} if self.subresource else {}),
            "kind": self.kind,
            "api_version": self.resource.api_version,
            "namespace": str(metadata.get("namespace") or ""),
            "name": str(metadata["name"]),
            "uid": str(metadata.get("uid") or ""),
            "why": self.why,
            "state": "planned",
            "before": {path: _value(self.obj, path) for path in self.during},
            "during": dict(self.during),
        }


@dataclass
class Outcome:
    """What :func:`suspend` or :func:`resume` did, in words by object (``ledger/horizontalpodautoscalers.…/api``)."""

    changed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def find(
    cluster: Cluster,
    namespaces: Iterable[str],
    *,
    kinds: Iterable[str] = KINDS,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    found: discovery.Discovery | None = None,
) -> tuple[list[Fighter], list[str]]:
    """Those that act on the namespaces, GitOps first, and warnings about kinds that may not be listed.

    Autoscalers, budgets and resources of operators are looked for in the namespaces, objects of Argo CD and Flux in the
    whole cluster, by where they deploy to; with an Application comes what makes it, its ApplicationSet or the
    Application that it belongs to. ``more`` adds kinds as :data:`OPERATORS` has them. Those that sleep already are left
    out: they are nobody's to wake. So a record that a killed run has left has to be resumed or suspended by first.
    """
    targets = set(namespaces)
    served = found or discovery.read(cluster)
    wanted = set(kinds)
    listed: dict[str, tuple[Resource, list[JSON]]] = {}
    warnings: list[str] = []
    for kind in [*KINDS, *(more or {})]:
        resource = served.find(kind, "autoscaling/v2") if kind == HPA else served.find(kind)
        if resource is None or (kind not in wanted and kind not in (more or {})):
            continue
        everywhere = kind in (APPLICATION, APPLICATION_SET, KUSTOMIZATION, HELM_RELEASE)
        try:
            listed[kind] = (resource, _listed(cluster, resource, [None] if everywhere else sorted(targets)))
        except ApiError as error:
            if error.status != 403:
                raise
            warnings.append(f"{kind} cannot be looked for: {error.reason}")
    reasons = {
        (kind, str(obj["metadata"].get("uid"))): _why(kind, obj, targets)
        for kind, (_resource, objs) in listed.items()
        for obj in objs
    }
    _makers(listed, reasons)
    fighters = []
    for kind, (resource, objs) in listed.items():
        during = (more or {}).get(kind) or _DURING[kind]
        for obj in objs:
            why = reasons[(kind, str(obj["metadata"].get("uid")))]
            if why and not all(_still(_value(obj, path), value) for path, value in during.items()):
                fighters.append(Fighter(kind, resource, obj, why, during))
    return fighters, warnings


def _listed(cluster: Cluster, resource: Resource, places: Iterable[str | None]) -> list[JSON]:
    try:
        return [obj for place in places for obj in cluster.list(resource.path(place))]
    except ApiNotFound:
        return []


def _makers(listed: Mapping[str, tuple[Resource, list[JSON]]], reasons: dict[tuple[str, str], str | None]) -> None:
    """What makes a chosen Application makes it again as it was, so it has to sleep too."""
    applications = listed[APPLICATION][1] if APPLICATION in listed else []
    sets = listed[APPLICATION_SET][1] if APPLICATION_SET in listed else []

    def chosen() -> list[JSON]:
        return [one for one in applications if reasons[(APPLICATION, str(one["metadata"].get("uid")))]]

    while True:
        before = len(chosen())
        mine = {(str(one["metadata"].get("namespace")), str(one["metadata"]["name"])) for one in chosen()}
        for one in applications:
            kept = {
                (str(part.get("namespace")), str(part.get("name")))
                for part in (one.get("status") or {}).get("resources") or []
                if part.get("kind") == "Application"
            }
            place = (APPLICATION, str(one["metadata"].get("uid")))
            if kept & mine and not reasons[place]:
                reasons[place] = f"it makes application {', '.join(name for _space, name in sorted(kept & mine))}"
        if len(chosen()) == before:
            break
    owners = {str(owner.get("uid")): one for one in chosen() for owner in objects.owners(one)}
    for one in sets:
        uid = str(one["metadata"].get("uid"))
        if uid in owners:
            reasons[(APPLICATION_SET, uid)] = f"it makes application {owners[uid]['metadata']['name']}"


def _why(kind: str, obj: JSON, targets: set[str]) -> str | None:
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    own = str(metadata.get("namespace") or "")
    if kind == HPA:
        target = spec.get("scaleTargetRef") or {}
        return f"it scales {target.get('kind')} {target.get('name')}"
    if kind == PDB:
        return "it holds evictions up"
    if kind == APPLICATION_SET:
        return None
    if kind == APPLICATION:
        used = {str((spec.get("destination") or {}).get("namespace") or "")}
        used |= {str(one.get("namespace") or "") for one in status.get("resources") or []}
    elif kind == KUSTOMIZATION:
        used = {str(spec.get("targetNamespace") or own)}
        # Ids are namespace_name_group_kind.
        entries = (status.get("inventory") or {}).get("entries") or []
        used |= {str(one.get("id") or "").split("_", 1)[0] for one in entries}
    elif kind == HELM_RELEASE:
        used = {str(spec.get("targetNamespace") or own)}
    else:
        return "its operator acts on it"
    hit = sorted(used & targets)
    return f"it deploys into {', '.join(hit)}" if hit else None


# -- sleep ------------------------------------------------------------------------------------------------------------


def record_of(cluster: Cluster, fighters: Iterable[Fighter], run: str) -> Record:
    """The record of a run before anything was done."""
    return {
        "format": FORMAT,
        "cluster": cluster.uid(),
        "run": run,
        "entries": [one.entry for one in fighters],
    }


def suspend(cluster: Cluster, record: Record, store: Store) -> Outcome:
    """Put everything of the record to sleep, and store how it was before that.

    ``record`` is one of :func:`record_of`, or one that a killed run has left: what it says of before stays. An object
    that fails is named in the outcome and does not stop the others. Raises :class:`InvalidInput` or :class:`Refused`
    for a record that is none, or of another cluster; whatever ``store`` raises comes through before anything is done.
    """
    _check(cluster, record)
    store(record)
    outcome = Outcome()
    for entry in open_entries(record):
        _change(cluster, record, entry, "suspended", store, outcome)
    return outcome


def resume(cluster: Cluster, record: Record, store: Store) -> Outcome:
    """Give everything of the record back what it had, in the other order, also after a run that was killed.

    What somebody has changed meanwhile stays as they wished and is named in ``kept``; what is gone is noted as such.
    Can be called again: what is resumed is left alone.
    """
    _check(cluster, record)
    outcome = Outcome()
    for entry in reversed(open_entries(record)):
        _change(cluster, record, entry, "resumed", store, outcome)
    return outcome


def open_entries(record: Record) -> list[Record]:
    """The entries of what may still sleep, or was to."""
    return [entry for entry in record.get("entries") or [] if entry.get("state") not in ("resumed", "gone")]


def unfinished(record: Record) -> bool:
    """Whether something of the record may still sleep."""
    return bool(open_entries(record))


def _check(cluster: Cluster, record: Any) -> None:
    entries = record.get("entries") if isinstance(record, dict) else None
    if not isinstance(entries, list) or record.get("format") != FORMAT:
        raise InvalidInput(
            "read",
            "the record of what was suspended",
            f"it is not of the format {FORMAT}",
            "Give the record that the earlier run has stored.",
        )
    uid = cluster.uid()
    if record.get("cluster") != uid:
        raise Refused(
            "use",
            "the record of what was suspended",
            f"it is of cluster {record.get('cluster')}, this one is {uid}",
            "Connect to the cluster in which it was suspended.",
        )


def awake(cluster: Cluster, entries: Iterable[Record]) -> list[str]:
    """Those of the entries that were put to sleep and do not sleep any more: somebody has woken them."""
    found = []
    for entry in entries:
        live = cluster.find(_path(entry))
        if live is None:
            continue
        same = not entry["uid"] or live["metadata"].get("uid") == entry["uid"]
        if not same or not all(_still(_seen(live, entry, at), to) for at, to in entry["during"].items()):
            found.append(title_of(entry))
    return found


def title_of(entry: Record) -> str:
    """How an entry of a record is called in an :class:`Outcome`."""
    return str(objects.Identity(entry["namespace"], entry["kind"], entry["name"]))


def _change(cluster: Cluster, record: Record, entry: Record, state: str, store: Store, outcome: Outcome) -> None:
    title = title_of(entry)
    try:
        done = _written(cluster, entry, wake=state == "resumed", outcome=outcome)
    except Interrupted:
        raise
    except MusterError as error:
        outcome.failed[title] = str(error)
        return
    entry["state"] = state if done else "gone"
    store(record)


def _written(cluster: Cluster, entry: Record, *, wake: bool, outcome: Outcome) -> bool:
    """Change one object under its resourceVersion; False where it is not there any more."""
    path = _path(entry)
    title = title_of(entry)
    for attempt in range(1, _TRIES + 1):
        live = cluster.find(path)
        if live is None or (entry["uid"] and live["metadata"].get("uid") != entry["uid"]):
            outcome.kept[title] = "it is not there any more"
            return False
        wanted: dict[str, Any] = {}
        for place, sleeping in entry["during"].items():
            now, before = _seen(live, entry, place), entry["before"].get(place)
            goal = before if wake else sleeping
            if json_patch.same(now, goal) or (not wake and _still(now, sleeping)):
                continue
            if wake and not _still(now, sleeping):
                outcome.kept[title] = f"somebody has changed {place} meanwhile; it stays"
                continue
            wanted[place] = goal
        if not wanted:
            return True
        operations = _operations(live, wanted)
        try:
            cluster.patch(path, operations, content_type=JSON_PATCH)
        except ApiNotFound:
            continue
        except ApiError as error:
            # 422 is how the server says that a test of a JSON patch failed; 409 a plain conflict.
            if error.status not in (409, 422) or attempt == _TRIES:
                raise
            continue
        outcome.changed[title] = ", ".join(wanted)
        return True
    raise Refused("change", title, "somebody else changes it all the time", "Run the same again.")


def _path(entry: Record) -> str:
    plural, _dot, _group = entry["kind"].partition(".")
    path = object_path(entry["api_version"], plural, entry["namespace"] or None, entry["name"])
    return f"{path}/{entry['subresource']}" if entry.get("subresource") else path


def _seen(live: JSON, entry: Record, place: str) -> Any:
    value = _value(live, place)
    # The server does not write a scale of zero.
    return 0 if value is None and entry.get("subresource") == SCALE else value


def _still(now: Any, sleeping: Any) -> bool:
    """Whether the value is the one that we set; the server may have added defaults to a mapping."""
    if isinstance(now, dict) and isinstance(sleeping, Mapping):
        return all(_still(now.get(name), value) for name, value in sleeping.items())
    return json_patch.same(now, sleeping)


def _value(obj: JSON, path: str) -> Any:
    try:
        return pointer.value_at(obj, pointer.parse(path))
    except pointer.PointerError:
        return None


def _operations(live: JSON, wanted: Mapping[str, Any]) -> list[JSON]:
    """A JSON patch that holds only for the object as it was read, with the parents that are missing."""
    operations: list[JSON] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
    ]
    state: Any = live
    for path, value in wanted.items():
        tokens = pointer.parse(path)
        if value is None:
            steps: list[JSON] = [{"op": "remove", "path": path}] if _value(state, path) is not None else []
        else:
            parents = [pointer.written(tokens[:length]) for length in range(1, len(tokens))]
            steps = [{"op": "add", "path": one, "value": {}} for one in parents if _value(state, one) is None]
            steps.append({"op": "add", "path": path, "value": value})
        state = json_patch.patched(state, steps)
        operations += steps
    return operations
