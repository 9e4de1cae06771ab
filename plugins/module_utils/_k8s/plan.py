# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The plan of a restore: for every captured object what will happen at the target, and why.

Nothing is written here. Check mode returns this plan, run mode executes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    definitions,
    discovery,
    existing,
    image_names,
    kinds,
    mapping,
    objects,
    order,
    transform,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiError, Cluster, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.layout import Captured
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Author, Step, former_author

_STORAGE = "storageclasses.storage.k8s.io"
_NEEDED = {
    "priorityClassName": "priorityclasses.scheduling.k8s.io",
    "runtimeClassName": "runtimeclasses.node.k8s.io",
    "ingressClassName": "ingressclasses.networking.k8s.io",
    "storageClassName": _STORAGE,
}


@dataclass
class Wishes:
    """How the user wants a point restored."""

    point: str
    application: str = ""
    namespaces: mapping.NamespaceMapping = field(default_factory=lambda: mapping.NamespaceMapping({}))
    images: image_names.ImageNames = field(default_factory=lambda: image_names.ImageNames({}, {}, None))
    pull_secret: Mapping[str, Any] | None = None
    rules: transform.Rules = field(default_factory=transform.Rules)
    include_kinds: Sequence[str] = ()
    exclude_kinds: Sequence[str] = ()
    existing: existing.Existing = existing.Existing.FAIL
    bubble: bubble.Bubble | None = None
    namespace_annotations: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    def wants(self, key: str) -> bool:
        if self.exclude_kinds and kinds.matches(key, list(self.exclude_kinds)):
            return False
        return not self.include_kinds or kinds.matches(key, list(self.include_kinds))


@dataclass
class Plan:
    """Steps in the order of their execution, and the namespaces they go to (source to target)."""

    steps: list[Step]
    namespaces: dict[str, str]
    warnings: list[str]


class _Planning:
    def __init__(self, cluster: Cluster, captured: Iterable[Captured], wishes: Wishes, workers: int) -> None:
        self.cluster = cluster
        self.wishes = wishes
        self.workers = workers
        self.found = discovery.read(cluster)
        self.all = list(captured)
        self.transformer = transform.Transformer(wishes, self.all, self._cluster_scoped)
        self.captured = [one for one in self.all if wishes.wants(one.key)]
        self.uids = frozenset(str(one.obj["metadata"].get("uid")) for one in self.captured)
        self.coming = self._coming()
        self.keep_node_ports = self.transformer.keep_node_ports
        self.target = existing.Target(cluster, self.found, workers=workers)
        self.warnings: list[str] = []

    def _coming(self) -> dict[str, list[Resource]]:
        """Resources that the restored definitions will make."""
        coming: dict[str, list[Resource]] = {}
        for one in self.captured:
            if one.key == kinds.CRDS:
                resources = discovery.of_crd(definitions.convert(one.key, one.obj) or one.obj)
                if resources:
                    coming[resources[0].key] = resources
        return coming

    def _cluster_scoped(self, key: str) -> dict[str, JSON]:
        """What the target has of a cluster-scoped kind, by name; nothing where it may not be looked at."""
        resource = self.found.find(key)
        if resource is None or resource.namespaced:
            return {}
        try:
            return {str(obj["metadata"]["name"]): obj for obj in self.cluster.list(resource.path())}
        except ApiError as error:
            if error.status in (403, 404, 405):
                return {}
            raise

    def run(self) -> Plan:
        steps = [self._step(one) for one in self.captured]
        sources = sorted(
            {one.identity.namespace for one in self.captured if one.identity.namespace}
            | {one.identity.name for one in self.captured if one.key == kinds.NAMESPACES}
        )
        namespaces = {source: self.wishes.namespaces.target(source) for source in sources}
        steps += self._missing_namespaces(steps, set(namespaces.values()))
        self.warnings += self.transformer.finish()
        steps += self._ours(sorted(set(namespaces.values())))
        self._refuse_twins(steps)
        writable = [step for step in steps if step.obj is not None]
        self.target.look({step.key: step.resource for step in writable if step.resource}, set(namespaces.values()))
        existing.refuse_strangers(self.target, set(namespaces.values()), self.wishes)
        for step in writable:
            existing.decide(step, self.target, self.wishes, self.keep_node_ports)
        self._lacking(writable)
        existing.ask_about_updates(self.cluster, steps, self.wishes.existing, self.workers)
        _depths(steps)
        steps.sort(key=lambda step: (step.wave, step.depth, step.identity))
        if self.wishes.images.unknown:
            self.warnings.append(
                "These images are not in the recovery point and stay as written: "
                + ", ".join(sorted(self.wishes.images.unknown))
            )
        return Plan(steps, namespaces, self.warnings)

    # -- one object -------------------------------------------------------------------------------------------

    def _step(self, one: Captured) -> Step:
        key, wave = one.key, order.wave_of(one.key)
        moved = one.identity
        if moved.namespace:
            moved = objects.Identity(self.wishes.namespaces.target(moved.namespace), key, moved.name)
        reason = self.transformer.skip_reason(key, one.obj, self.uids)
        if reason is not None:
            return Step(moved, Action.SKIP, reason, wave, sure="seen")
        converted = definitions.convert(key, one.obj)
        obj = converted or objects.copied(one.obj)
        resource, obstacle = self._resource(key, str(obj.get("apiVersion")))
        if obstacle:
            return Step(moved, Action.BLOCKED, obstacle, wave, sure="seen")
        notes = [definitions.NOTE] if converted else []
        notes += self.transformer.apply(key, obj)
        if key == kinds.NAMESPACES:
            self._namespace(obj)
        return Step(
            objects.identity(key, obj),
            Action.CREATE,
            "it is not there",
            wave,
            obj=obj,
            resource=resource,
            source_uid=str(one.obj["metadata"].get("uid") or ""),
            owners=objects.owners(one.obj),
            transforms=notes,
            author=former_author(one.obj),
        )

    def _resource(self, key: str, api_version: str) -> tuple[Resource | None, str]:
        served = self.found.versions(key) or self.coming.get(key, [])
        for resource in served:
            if resource.api_version == api_version:
                return resource, ""
        if served:
            versions = ", ".join(resource.api_version for resource in served)
            return None, f"it was captured as {api_version}; the target serves {versions}"
        return None, f"the target does not serve {api_version} {key}"

    # -- namespaces and what we put into them -------------------------------------------------------------------

    def _namespace(self, obj: JSON) -> None:
        wishes, metadata = self.wishes, obj["metadata"]
        labels = {name: value for name, value in (metadata.get("labels") or {}).items() if _foreign(name)}
        notes = {name: value for name, value in (metadata.get("annotations") or {}).items() if _foreign(name)}
        if wishes.application:
            labels[kinds.APPLICATION] = wishes.application
        labels.update(wishes.namespace_labels)
        if wishes.bubble is not None:
            labels.update(wishes.bubble.labels)
        notes.update(wishes.namespace_annotations)
        notes[kinds.POINT] = wishes.point
        metadata["labels"], metadata["annotations"] = labels, notes

    def _missing_namespaces(self, steps: list[Step], targets: set[str]) -> list[Step]:
        """Namespaces that are needed and were not chosen: as captured, else bare."""
        chosen = {step.identity.name for step in steps if step.key == kinds.NAMESPACES}
        captured = {
            self.wishes.namespaces.target(one.identity.name): one for one in self.all if one.key == kinds.NAMESPACES
        }
        bare: JSON = {"apiVersion": "v1", "kind": "Namespace"}
        return [
            self._step(captured.get(name) or Captured(kinds.NAMESPACES, {**bare, "metadata": {"name": name}}))
            for name in sorted(targets - chosen)
        ]

    def _ours(self, targets: list[str]) -> list[Step]:
        """The bubble's policy and the pull secret for each namespace."""
        made: list[tuple[str, JSON, str]] = []
        for namespace in targets:
            if self.wishes.bubble is not None:
                policy = self.wishes.bubble.policy(namespace)
                made.append(("networkpolicies.networking.k8s.io", policy, "it isolates the bubble"))
            if self.wishes.pull_secret is not None:
                secret = objects.copied(dict(self.wishes.pull_secret))
                secret["metadata"]["namespace"] = namespace
                made.append(("secrets", secret, "it lets pods pull from the target's registry"))
        return [
            Step(
                objects.identity(key, obj),
                Action.CREATE,
                why,
                order.Wave.ISOLATION,
                obj=obj,
                resource=self.found.find(key),
                author=Author(),
                ours=True,
            )
            for key, obj, why in made
        ]

    # -- the whole set ------------------------------------------------------------------------------------------

    def _refuse_twins(self, steps: list[Step]) -> None:
        seen: dict[objects.Identity, Step] = {}
        ours = {step.identity for step in steps if step.ours}
        for step in list(steps):
            if step.obj is None:
                continue
            if step.identity in ours and not step.ours:
                # A pull secret of an earlier failover, captured since: the new one takes its place.
                step.action, step.reason, step.obj = Action.SKIP, "a new one of ours takes its place", None
                continue
            other = seen.get(step.identity)
            twin = transform.twin_reason(step.key, step.obj, other.obj or {}) if other else None
            if twin is not None:
                step.action, step.reason, step.obj = Action.SKIP, twin, None
                continue
            if other is not None:
                raise Refused(
                    "restore",
                    str(step.identity),
                    "two captured objects would become this one",
                    "Map their namespaces to different ones.",
                )
            seen[step.identity] = step

    def _lacking(self, steps: list[Step]) -> None:
        """Hold back what could never work because a class that it names is not at the target."""
        coming = {(step.key, step.identity.name) for step in steps}
        for step in steps:
            if step.action not in (Action.CREATE, Action.RECREATE) or step.obj is None:
                continue
            for field_name, key in self._needs(step):
                if (key, field_name) in coming or self.target.has_class(key, field_name):
                    continue
                kind = key.partition(".")[0]
                step.action, step.sure = Action.BLOCKED, "seen"
                step.reason = f"it needs {field_name!r} of {kind}, which the target does not have"
                if key == _STORAGE:
                    step.reason += f" (there: {', '.join(self.target.class_names(key)) or 'none'}; map storage_classes)"

    def _needs(self, step: Step) -> list[tuple[str, str]]:
        obj: JSON = step.obj or {}
        spec: JSON = obj.get("spec") or {}
        places = {"ingresses.networking.k8s.io": "ingressClassName", kinds.PVCS: "storageClassName"}
        # A claim that stays bound to its volume needs no class, only the name of one.
        bound = step.key == kinds.PVCS and spec.get("volumeName")
        named = [(spec.get(places[step.key]), places[step.key])] if step.key in places and not bound else []
        pods = objects.pod_spec(step.key, obj) or {}
        named += [(pods.get(name), name) for name in ("priorityClassName", "runtimeClassName")]
        return [(str(name), _NEEDED[where]) for name, where in named if name]


def _foreign(name: str) -> bool:
    return not name.startswith(kinds.PREFIX)


def _depths(steps: list[Step]) -> None:
    """Put every object after its owners: into the owner's wave if that is later, and one deeper there."""
    by_uid = {step.source_uid: step for step in steps if step.source_uid}
    for _round in range(8):
        moved = False
        for step in steps:
            for owner in step.owners:
                above = by_uid.get(str(owner.get("uid")))
                if above is None or above is step or (step.wave, step.depth) > (above.wave, above.depth):
                    continue
                step.wave, step.depth = above.wave, above.depth + 1
                moved = True
        if not moved:
            return


def make(cluster: Cluster, captured: Iterable[Captured], wishes: Wishes, *, workers: int = 8) -> Plan:
    """Compute the plan.

    Raises :class:`Refused`, before anything is written, when the target's namespaces hold things that the chosen
    policy must not touch, or when two objects would become one.
    """
    return _Planning(cluster, captured, wishes, workers).run()


def ask_about_creates(cluster: Cluster, plan: Plan, *, workers: int = 8) -> None:
    """Let the server judge the objects that would be created, as far as their namespace and API are there."""
    there = {step.identity.name for step in plan.steps if step.key == kinds.NAMESPACES and step.live is not None}
    served = {
        step.key
        for step in plan.steps
        if step.resource is not None and (kinds.built_in(step.key) or step.live is not None)
    }
    questions = [
        step
        for step in plan.steps
        if step.action is Action.CREATE
        and step.key in served
        and (not step.identity.namespace or step.identity.namespace in there)
    ]

    def ask(step: Step) -> None:
        try:
            cluster.create(step.collection, step.body, dry_run=True, manager=step.author.manager)
        except ApiError as error:
            step.action, step.reason = Action.BLOCKED, error.reason
        step.sure = "dry_run"

    for outcome in pool.each(questions, ask, workers=workers):
        if outcome.error is not None:
            raise outcome.error
