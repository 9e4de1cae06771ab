# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the target already has: looked at first, by lists, and respected as the user says."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    discovery,
    kinds,
    objects,
    selection,
    strip,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiError, Cluster, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

_CLASSES = (
    "storageclasses.storage.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "runtimeclasses.node.k8s.io",
    "ingressclasses.networking.k8s.io",
)


class Existing(str, Enum):
    """What to do with objects that are at the target already."""

    KEEP = "keep"
    UPDATE = "update"
    RECREATE = "recreate"
    FAIL = "fail"


class Wishes(Protocol):
    """The part of a restore's wishes that matters here."""

    @property
    def point(self) -> str: ...
    @property
    def existing(self) -> Existing: ...
    @property
    def bubble(self) -> bubble.Bubble | None: ...


class Target:
    """The live objects of the kinds and namespaces that a restore is about."""

    def __init__(self, cluster: Cluster, found: discovery.Discovery, *, workers: int) -> None:
        self.cluster = cluster
        self.found = found
        self.workers = workers
        self.namespaces: dict[str, JSON] = {}
        self._live: dict[objects.Identity, JSON] = {}
        self._classes: dict[str, set[str]] = {}

    def look(self, wanted: Mapping[str, Resource], namespaces: set[str]) -> None:
        """List the wanted kinds, in the namespaces that exist, and the classes that pods and claims may need."""
        for name in sorted(namespaces):
            live = self.cluster.find(f"/api/v1/namespaces/{name}")
            if live is None:
                continue
            if live["metadata"].get("deletionTimestamp"):
                raise Refused(
                    "restore into",
                    f"namespace {name}",
                    "it is being deleted",
                    "Wait until it is gone, or see what its finalizers wait for.",
                )
            self.namespaces[name] = live
            self._live[objects.Identity("", kinds.NAMESPACES, name)] = live
        resources = {key: resource for key, resource in wanted.items() if key != kinds.NAMESPACES}
        for key in _CLASSES:
            resource = self.found.find(key)
            if resource is not None:
                resources.setdefault(key, resource)
        work: list[tuple[Resource, str | None]] = []
        for resource in resources.values():
            if self.found.find(resource.key) is None:
                continue
            work += (
                [(resource, name) for name in sorted(self.namespaces)] if resource.namespaced else [(resource, None)]
            )
        for outcome in pool.each(work, self._list, workers=self.workers):
            if outcome.error is not None:
                raise outcome.error

    def _list(self, place: tuple[Resource, str | None]) -> None:
        resource, namespace = place
        for obj in self.cluster.list(resource.path(namespace)):
            self._live[objects.identity(resource.key, obj)] = obj
            if resource.key in _CLASSES:
                self._classes.setdefault(resource.key, set()).add(obj["metadata"]["name"])

    def live(self, identity: objects.Identity) -> JSON | None:
        return self._live.get(identity)

    def class_names(self, key: str) -> list[str]:
        return sorted(self._classes.get(key, ()))

    def has_class(self, key: str, name: str) -> bool:
        return name in self._classes.get(key, ())

    def restored_before(self, namespace: str, point: str) -> bool:
        """Whether an earlier run has already begun to restore this very point into the namespace."""
        live = self.namespaces.get(namespace)
        return live is not None and objects.annotations_of(live).get(kinds.POINT) == point

    def strangers(self, namespace: str) -> list[str]:
        """Objects in the namespace that neither a controller nor we have put there."""
        resources = [
            resource
            for resource in self.found.preferred()
            if resource.namespaced and "list" in resource.verbs and not kinds.matches(resource.key, kinds.LEFT_OUT)
        ]

        def look(resource: Resource) -> list[str]:
            try:
                found = list(self.cluster.list(resource.path(namespace)))
            except ApiError as error:
                if error.status in (403, 404, 405):
                    return []
                raise
            return [str(objects.identity(resource.key, obj)) for obj in found if _stranger(resource.key, obj)]

        names: list[str] = []
        for outcome in pool.each(resources, look, workers=self.workers):
            if outcome.error is not None:
                raise outcome.error
            names += outcome.value or []
        return sorted(names)


def _stranger(key: str, obj: JSON) -> bool:
    if objects.identity(key, obj).name == "default" and key == "serviceaccounts":
        return False
    marks = {**objects.labels_of(obj), **objects.annotations_of(obj)}
    if marks.get(kinds.MANAGED_BY) == kinds.MANAGER or any(name.startswith(kinds.PREFIX) for name in marks):
        return False
    return selection.left_out_by_nature(key, obj) is None


def refuse_strangers(target: Target, namespaces: set[str], wishes: Wishes) -> None:
    """Refuse, naming them, when there are things in the way. Nothing has been written yet."""
    in_the_way: list[str] = []
    for name in sorted(namespaces & target.namespaces.keys()):
        labels = objects.labels_of(target.namespaces[name])
        if wishes.bubble is not None:
            if labels.get(kinds.ROLE) == kinds.BUBBLE and labels.get(kinds.RUN) == wishes.bubble.run:
                continue
            if labels.get(kinds.ROLE) == kinds.BUBBLE:
                raise Refused(
                    "restore into",
                    f"namespace {name}",
                    f"it is the bubble of another run, {labels.get(kinds.RUN)}",
                    "Remove that one first, or choose another namespace.",
                )
        elif labels.get(kinds.ROLE) == kinds.BUBBLE:
            raise Refused("restore into", f"namespace {name}", "it is a drill's bubble", "Remove the bubble first.")
        elif wishes.existing is not Existing.FAIL or target.restored_before(name, wishes.point):
            continue
        in_the_way += target.strangers(name)
    if in_the_way:
        shown = ", ".join(in_the_way[:10]) + (f" and {len(in_the_way) - 10} more" if len(in_the_way) > 10 else "")
        hint = (
            "Restore into a bubble namespace of its own."
            if wishes.bubble
            else ("Map it to another namespace, remove them, or choose existing: keep, update or recreate.")
        )
        raise Refused(
            "restore into",
            f"namespace {', '.join(sorted({name.partition('/')[0] for name in in_the_way}))}",
            f"there are things in it already: {shown}",
            hint,
            result={"in_the_way": in_the_way},
        )


def decide(step: Step, target: Target, wishes: Wishes, keep_node_ports: bool) -> None:
    """Turn a step's `create` into what fits the object that is there, if one is."""
    if step.action is not Action.CREATE or step.obj is None:
        return
    live = target.live(step.identity)
    if live is None:
        if step.resource is not None and (step.identity.namespace in target.namespaces or not step.identity.namespace):
            step.sure = "seen"
        return
    step.live, step.sure = live, "seen"
    if step.key == kinds.NAMESPACES:
        _set(step, *_namespace(step.obj, live))
    elif step.key == kinds.PVCS:
        _set(step, Action.KEEP, "the claim is there; a volume is never replaced")
    elif live["metadata"].get("deletionTimestamp"):
        _set(step, Action.BLOCKED, "one of that name is being deleted; run again when it is gone")
    elif step.ours:
        same = same_content(step.key, step.obj, live, keep_node_ports)
        _set(step, *((Action.KEEP, "it is there") if same else (Action.UPDATE, f"{step.reason}, and differs")))
    elif not step.identity.namespace:
        _set(step, *_shared(step, live, wishes, keep_node_ports))
    else:
        _set(step, *_own(step, live, wishes.existing, keep_node_ports))


def _set(step: Step, action: Action, reason: str) -> None:
    step.action, step.reason = action, reason


def _namespace(wanted: JSON, live: JSON) -> tuple[Action, str]:
    missing = [
        name
        for read in (objects.labels_of, objects.annotations_of)
        for name, value in read(wanted).items()
        if read(live).get(name) != value
    ]
    if missing:
        return Action.UPDATE, f"it is there without {', '.join(sorted(missing))}"
    return Action.KEEP, "it is there"


def _shared(step: Step, live: JSON, wishes: Wishes, keep_node_ports: bool) -> tuple[Action, str]:
    """An object of the whole cluster, which others may use too."""
    same = same_content(step.key, step.obj or {}, live, keep_node_ports)
    labels = objects.labels_of(live)
    if wishes.bubble is not None:
        if same or labels.get(kinds.RUN) != wishes.bubble.run:
            return Action.KEEP, "the cluster has it; a drill changes nothing of it"
        return Action.UPDATE, "it is this drill's and differs"
    if labels.get(kinds.ROLE) == kinds.BUBBLE:
        # Else the end of the drill would take it away from the application.
        return Action.UPDATE, "a drill made it; it is taken over"
    if same:
        return Action.KEEP, "it is there and equal"
    if wishes.existing is Existing.UPDATE or wishes.existing is Existing.RECREATE:
        return Action.UPDATE, "it differs"
    return Action.KEEP, "it is there and differs; others may use it"


def _own(step: Step, live: JSON, policy: Existing, keep_node_ports: bool) -> tuple[Action, str]:
    """An object in one of the restored namespaces."""
    if same_content(step.key, step.obj or {}, live, keep_node_ports):
        return Action.KEEP, "it is there and equal"
    if step.key == "serviceaccounts" and step.identity.name == "default" and policy is not Existing.KEEP:
        return Action.UPDATE, "every namespace gets one; it differs"
    if policy is Existing.UPDATE:
        return Action.UPDATE, "it differs"
    if policy is Existing.RECREATE:
        return Action.RECREATE, "it differs"
    if policy is Existing.KEEP:
        return Action.KEEP, "it is there and differs; kept as it is"
    return Action.KEEP, "it has changed since an earlier run restored it; kept as it is"


def same_content(key: str, wanted: JSON, live: JSON, keep_node_ports: bool) -> bool:
    """Whether the live object already is what the restore wants, the server's own fields aside."""
    reduced = strip.comparable(key, live, wanted, keep_node_ports=keep_node_ports)
    return objects.essence(reduced) == objects.essence(wanted)


def replacement(step: Step) -> JSON:
    """The body that makes the live object equal to the point and leaves the server what is the server's."""
    body, live = step.body, step.live or {}
    metadata, held = body["metadata"], live["metadata"]
    metadata["resourceVersion"], metadata["uid"] = held["resourceVersion"], held["uid"]
    for field in ("finalizers", "ownerReferences"):
        if held.get(field):
            metadata.setdefault(field, held[field])
    if "status" in live:
        body["status"] = live["status"]
    for field in _HELD_BY_SERVER.get(step.key, ()):
        value = (live.get("spec") or {}).get(field)
        if value is not None:
            body["spec"].setdefault(field, value)
    if step.key == "serviceaccounts" and live.get("secrets"):
        body["secrets"] = strip.linked_secrets(body, live)
    if step.key == "secrets" and body.get("type") == "kubernetes.io/service-account-token":
        body["data"] = live.get("data")
    if step.key == "jobs.batch":
        labels = objects.lookup(live, ("spec", "template", "metadata", "labels")) or {}
        template = body["spec"]["template"].setdefault("metadata", {})
        template["labels"] = {**labels, **(template.get("labels") or {})}
    return body


_HELD_BY_SERVER = {
    "services": ("clusterIP", "clusterIPs", "healthCheckNodePort"),
    "jobs.batch": ("selector",),
    "pods": ("nodeName", "priority", "preemptionPolicy", "serviceAccount"),
}


def ask_about_updates(cluster: Cluster, steps: list[Step], policy: Existing, workers: int) -> None:
    """Let the server try each replacement without storing it: some change nothing, some are not allowed."""
    questions = [
        step
        for step in steps
        if step.action in (Action.UPDATE, Action.RECREATE) and step.live is not None and step.key != kinds.NAMESPACES
    ]

    def ask(step: Step) -> None:
        step.sure = "dry_run"
        try:
            answer = cluster.replace(step.path, replacement(step), dry_run=True)
        except ApiError as error:
            if error.status != 422 or policy is not Existing.RECREATE or not step.identity.namespace:
                _set(step, Action.BLOCKED, f"it differs and cannot be updated: {error.reason}")
            return
        if objects.essence(answer) == objects.essence(step.live or {}):
            _set(step, Action.KEEP, "it is there and equal for the server")
        elif step.action is Action.RECREATE:
            # What can be updated is not thrown away.
            _set(step, Action.UPDATE, step.reason)

    for outcome in pool.each(questions, ask, workers=workers):
        if outcome.error is not None:
            raise outcome.error
