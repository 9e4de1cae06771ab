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

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    definitions,
    discovery,
    existing,
    foresight,
    graph,
    image_names,
    kinds,
    mapping,
    objects,
    order,
    ownership,
    references,
    transform,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiError, Cluster, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.layout import Captured, Objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.policy import Existing, Policies
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Action, Step
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.target import Target

# Policies by which what is there becomes as it was captured.
_UPDATES = (Existing.UPDATE, Existing.MERGE, Existing.RECREATE)


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
    existing: Policies = field(default_factory=Policies)
    ordered: Sequence[str] = ()
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
    wishes: Wishes
    target: Target


@dataclass(frozen=True)
class _Served:
    """How objects of one version of a kind are written: by which resource, after what, or why they cannot be.

    ``unserved``: why they cannot be unless their definition is updated.
    """

    resource: Resource | None = None
    obstacle: str = ""
    awaits: str = ""
    unserved: str = ""


class _Planning:
    def __init__(self, cluster: Cluster, captured: Iterable[Captured], wishes: Wishes, workers: int) -> None:
        self.cluster = cluster
        self.wishes = wishes
        self.workers = workers
        self.found = discovery.read(cluster, workers=workers)
        self.captured = captured
        self.target = Target(cluster, self.found, workers=workers)
        self.warnings: list[str] = []
        self.sources: set[str] = set()
        self.captured_namespaces: dict[str, list[Captured]] = {}
        # Resources that the restored definitions will make.
        self.coming: dict[str, list[Resource]] = {}
        self.api_services: list[Captured] = []
        self.resources: dict[tuple[str, str], _Served] = {}
        # In which versions kinds were captured, those that are read first.
        self.versions: dict[str, list[str]] = {}
        self.uids = self._survey()
        if isinstance(captured, Objects):
            self.captured = captured.reading(self._other_versions(captured))
        groups = {resource.group for resource in self.found.resources}
        groups |= {resource.group for resources in self.coming.values() for resource in resources}
        groups |= {_api_of(one.obj).rpartition("/")[0] for one in self.api_services}
        self.transformer = transform.Transformer(wishes, self.captured, self._cluster_scoped, groups)
        self.keep_node_ports = self.transformer.keep_node_ports
        # API versions that programs of this very restore will serve, and by which registration.
        self.apis = {
            _api_of(one.obj): one.identity.name
            for one in self.api_services
            if self.transformer.skip_reason(one.key, one.obj, self.uids) is None
        }

    def _survey(self) -> frozenset[str]:
        """A first pass over the objects, which are too many to be kept: what the plan must know of all of them."""
        uids = set()
        for one in self.captured:
            identity = one.identity
            if one.key == kinds.NAMESPACES:
                name = self.wishes.namespaces.target(identity.name)
                self.captured_namespaces.setdefault(name, []).append(one)
            if not self.wishes.wants(one.key):
                continue
            uids.add(str(one.obj["metadata"].get("uid")))
            source = identity.name if one.key == kinds.NAMESPACES else identity.namespace
            if source:
                self.sources.add(source)
            obj = definitions.convert(one.key, one.obj) or one.obj
            versions = self.versions.setdefault(one.key, [])
            if obj.get("apiVersion") not in versions:
                versions.append(str(obj.get("apiVersion")))
            if one.key == kinds.CRDS:
                resources = discovery.of_crd(obj)
                if resources:
                    self.coming[resources[0].key] = resources
            elif one.key == kinds.API_SERVICES:
                self.api_services.append(one)
        return frozenset(uids)

    def _other_versions(self, captured: Objects) -> dict[str, str]:
        """Kinds that the target has not in the version which was captured first, and one to read instead."""
        instead: dict[str, str] = {}
        for key, names in captured.versions.items():
            first = self.versions.get(key)
            if first is None:
                continue
            live, coming = self.found.versions(key), self.coming.get(key, [])
            if not any(self._serves(key, version) for version in first):
                # What a definition would bring that stays as it is comes after all that is served now.
                ways = (*live, *coming)
                chosen = next((one for one in ways if one.api_version in first or one.version in names), None)
                if chosen is not None and chosen.api_version not in first:
                    instead[key] = chosen.version
            group = key.partition(".")[2]
            first += [f"{group}/{name}" if group else name for name in names]
        return instead

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
        steps = [self._step(one) for one in self.captured if self.wishes.wants(one.key)]
        namespaces = {source: self.wishes.namespaces.target(source) for source in sorted(self.sources)}
        steps += self._missing_namespaces(steps, set(namespaces.values()))
        unused = self.transformer.finish()
        if not self.wishes.include_kinds:
            # Of some kinds only, many are for others.
            self.warnings += unused
        steps += self._ours(sorted(set(namespaces.values())))
        self._refuse_twins(steps)
        self.target.look_at_namespaces(namespaces.values())
        existing.refuse_strangers(self.target, self.wishes)
        writable = [step for step in steps if step.text is not None]
        self._compare(writable)
        existing.ask_about_updates(self.cluster, writable, self.target, self.workers)
        # Only now it is known which objects are equal for the server.
        self._links(writable)
        existing.refuse_differing(writable, self.wishes)
        self._relink_after_recreation(writable)
        self._lacking(writable)
        steps = graph.arrange(steps, self.wishes.ordered)
        foresight.foresee(self.target, steps, workers=self.workers)
        self._warn(steps)
        return Plan(steps, namespaces, self.warnings, self.wishes, self.target)

    def _compare(self, steps: list[Step]) -> None:
        """Look at what is there and decide each step whose object is."""
        by_identity = {step.identity: step for step in steps}
        for name, live in self.target.namespaces.items():
            step = by_identity.get(objects.Identity("", kinds.NAMESPACES, name))
            if step is not None:
                existing.decide(step, live, self.target, self.wishes, self.keep_node_ports)

        def seen(identity: objects.Identity, live: JSON) -> None:
            step = by_identity.get(identity)
            if step is not None and step.action is Action.CREATE:
                existing.decide(step, live, self.target, self.wishes, self.keep_node_ports)

        resources = {step.key: step.resource for step in steps if step.resource is not None}
        self.target.look({key: self._listed_by(resource) for key, resource in resources.items()}, seen)
        for step in steps:
            namespace = step.identity.namespace
            if step.action is Action.CREATE and (not namespace or namespace in self.target.namespaces):
                step.sure = "seen" if self.found.find(step.key) is not None else "assumed"
            if step.unserved and step.action in WRITES:
                step.sure = "assumed"

    def _listed_by(self, resource: Resource) -> Resource:
        """In another version, where the restore is to bring the object's own."""
        return self.found.find(resource.key, resource.api_version) or self.found.find(resource.key) or resource

    # -- owners ---------------------------------------------------------------------------------------------------

    def _links(self, steps: list[Step]) -> None:
        """An equal object that has lost the link to its owner differs; owners that are not there are named."""
        by_uid = {step.source_uid: step for step in steps if step.source_uid}
        for step in steps:
            stays = step.live is not None and (step.action is Action.KEEP or step.only_status or step.only_owners)
            equal = not step.differs or step.only_status
            for owner in step.owners:
                above = by_uid.get(str(owner.get("uid")))
                if above is None:
                    step.transforms.append(f"owner {owner.get('kind')} {owner.get('name')} is not restored: unlinked")
                    continue
                if above.resource is not None and owner.get("apiVersion") != above.resource.api_version:
                    self._renew(owner, above.resource)
                if not stays or not _lacks(step, above):
                    continue
                step.differs.append(f"metadata.ownerReferences: {owner.get('kind')} {owner.get('name')} is missing")
                if equal and self._may_link(step, above):
                    created = above.live is None
                    words = "its owner is created; it is linked to it"
                    step.decide(Action.UPDATE, words if created else "it is there without the link to its owner")
                    step.only_links = True

    def _renew(self, owner: JSON, resource: Resource) -> None:
        """By a version that is not served the garbage collector finds no owner."""
        if not self._serves(resource.key, str(owner.get("apiVersion"))):
            owner["apiVersion"] = resource.api_version

    def _serves(self, key: str, api_version: str) -> bool:
        """Whether the target has the kind in that version, or will have it once its definition is written."""
        live = self.found.versions(key)
        stays = bool(live) and (self.wishes.bubble is not None or self.wishes.existing(kinds.CRDS) not in _UPDATES)
        known = live if stays else (*live, *self.coming.get(key, []))
        return any(resource.api_version == api_version for resource in known)

    def _may_link(self, step: Step, above: Step) -> bool:
        """Whether an equal object that is there may get a link to its owner."""
        namespace = step.identity.namespace
        if step.key == kinds.PVCS or (self.wishes.bubble is not None and not namespace):
            return False
        if step.policy in _UPDATES:
            return True
        # An earlier run that could not make the owner has left the object without a link. Where objects of others may
        # be kept and the owner is there, that cannot be told from what is theirs.
        alone = self.wishes.existing.default is Existing.FAIL and self.wishes.existing.named(step.key) is None
        return (alone or above.live is None) and self.target.restored_before(namespace, self.wishes.point)

    def _relink_after_recreation(self, steps: list[Step]) -> None:
        """A recreated owner has a new uid; what belongs to it would be collected as garbage."""
        recreated = {step.source_uid for step in steps if step.action is Action.RECREATE and step.source_uid}
        if not recreated:
            return
        with_others: set[str] = set()
        for step in steps:
            mine = {str(owner.get("uid")) for owner in step.owners} & recreated
            with_others |= mine
            if not mine:
                continue
            if (step.action is Action.KEEP or step.only_status or step.only_owners) and step.live is not None:
                step.decide(Action.UPDATE, "its owner is recreated; it is linked to the new one")
                step.only_links = True
        for step in steps:
            step.orphans = step.source_uid in with_others

    # -- one object -------------------------------------------------------------------------------------------

    def _step(self, one: Captured) -> Step:
        key, wave = one.key, order.wave_of(one.key)
        moved = captured = one.identity
        if moved.namespace:
            moved = objects.Identity(self.wishes.namespaces.target(moved.namespace), key, moved.name)
        reason = self.transformer.skip_reason(key, one.obj, self.uids)
        if reason is not None:
            return Step(moved, Action.SKIP, reason, wave, sure="seen")
        converted = definitions.convert(key, one.obj)
        obj = converted or one.obj
        served = key, str(obj.get("apiVersion"))
        if served not in self.resources:
            self.resources[served] = self._resource(*served, str(obj.get("kind")), bool(moved.namespace))
        way = self.resources[served]
        if way.obstacle:
            return Step(moved, Action.BLOCKED, way.obstacle, wave, sure="seen")
        metadata = obj["metadata"]
        managed = metadata.get("managedFields") or []
        source_uid, owners = str(metadata.get("uid") or ""), _owners(key, obj)
        notes = [definitions.NOTE] if converted else []
        if one.stands_for:
            notes.append(f"as it was captured in {obj['apiVersion']}: the target does not serve {one.stands_for}")
            _adopt_fields(managed, one.stands_for, str(obj["apiVersion"]))
        notes += self.transformer.apply(key, obj)
        if key == kinds.NAMESPACES:
            self._namespace(obj)
        if key == "serviceaccounts" and _bare_default(obj):
            # Its controller is as fast as we are, so nobody could say who made it.
            return Step(objects.identity(key, obj), Action.SKIP, "every namespace gets its own", wave, sure="seen")
        return Step(
            objects.identity(key, obj),
            Action.CREATE,
            "it is not there",
            wave,
            text=objects.canonical(obj),
            resource=way.resource,
            awaits=way.awaits,
            unserved=way.unserved,
            captured_in=(captured.namespace,),
            source_uid=source_uid,
            owners=owners,
            references=references.of(key, obj),
            transforms=notes,
            # A namespace gets annotations of ours as well, so it never has but one author.
            author=ownership.Author(whole=False) if key == kinds.NAMESPACES else ownership.author(managed, obj),
            managed=objects.canonical_list(managed),
            policy=self.wishes.existing(key),
            has_status=bool(obj.get("status")),
        )

    def _resource(self, key: str, api_version: str, kind: str, namespaced: bool) -> _Served:
        live, coming = self.found.versions(key), self.coming.get(key, [])
        for resource in live or coming:
            if resource.api_version == api_version:
                return _Served(resource)
        captured = ", ".join(self.versions.get(key) or [api_version])
        if live or coming:
            served = ", ".join(resource.api_version for resource in live or coming)
            obstacle = f"it was captured as {captured}; the target serves {served}"
            for resource in coming:
                if resource.api_version == api_version:
                    return _Served(resource, unserved=obstacle)
            return _Served(obstacle=obstacle)
        if api_version in self.apis:
            group, _slash, version = api_version.rpartition("/")
            name = key.partition(".")[0]
            resource = Resource(group, version, name, kind, namespaced, frozenset({"create", "get", "list"}))
            return _Served(resource, awaits=self.apis[api_version])
        return _Served(obstacle=f"the target does not serve {captured} {key}")

    # -- namespaces and what we put into them -------------------------------------------------------------------

    def _namespace(self, obj: JSON) -> None:
        wishes, metadata = self.wishes, obj["metadata"]
        labels = {name: value for name, value in (metadata.get("labels") or {}).items() if _foreign(name)}
        notes = {name: value for name, value in (metadata.get("annotations") or {}).items() if _foreign(name)}
        if wishes.application:
            labels[marks.APPLICATION] = wishes.application
        labels.update(wishes.namespace_labels)
        if wishes.bubble is not None:
            labels.update(wishes.bubble.labels)
        notes.update(wishes.namespace_annotations)
        notes[marks.POINT] = wishes.point
        metadata["labels"], metadata["annotations"] = labels, notes

    def _missing_namespaces(self, steps: list[Step], targets: set[str]) -> list[Step]:
        """Namespaces that are needed and were not chosen: as captured, else bare."""
        chosen = {step.identity.name for step in steps if step.key == kinds.NAMESPACES}
        bare: JSON = {"apiVersion": "v1", "kind": "Namespace"}
        return [
            self._step(one)
            for name in sorted(targets - chosen)
            for one in self.captured_namespaces.get(name)
            or [Captured(kinds.NAMESPACES, {**bare, "metadata": {"name": name}})]
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
                text=objects.canonical(obj),
                resource=self.found.find(key),
                ours=True,
            )
            for key, obj, why in made
        ]

    # -- the whole set ------------------------------------------------------------------------------------------

    def _refuse_twins(self, steps: list[Step]) -> None:
        seen: dict[objects.Identity, Step] = {}
        stand_ins: dict[str, str] = {}
        ours = {step.identity for step in steps if step.ours}
        for step in list(steps):
            if step.text is None:
                continue
            if step.identity in ours and not step.ours:
                # A pull secret of an earlier failover, captured since: the new one takes its place.
                step.decide(Action.SKIP, "a new one of ours takes its place", "seen")
                step.text = None
                continue
            other = seen.get(step.identity)
            twin = transform.twin_reason(step.key, step.body, other.body) if other is not None else None
            if twin is not None:
                step.decide(Action.SKIP, twin, "seen")
                step.text = None
                if other is not None:
                    other.captured_in += step.captured_in
                if other is not None and step.source_uid and other.source_uid:
                    stand_ins[step.source_uid] = other.source_uid
                continue
            if other is not None:
                hint = "Map their namespaces to different ones."
                if not step.identity.namespace:
                    hint = "Set cluster_suffix to another one, or leave one of them out with exclude_kinds."
                raise Refused("restore", str(step.identity), "two captured objects would become this one", hint)
            seen[step.identity] = step
        if stand_ins:
            # What belongs to the one that is left out belongs to the other now.
            for step in steps:
                step.owners = [
                    {**owner, "uid": stand_ins.get(str(owner.get("uid")), owner.get("uid"))} for owner in step.owners
                ]

    def _lacking(self, steps: list[Step]) -> None:
        """Hold back what could never work because a class that it names is not at the target."""
        coming = {(step.key, step.identity.name) for step in steps if step.action is not Action.BLOCKED}
        for step in steps:
            if step.action not in WRITES or (step.action is Action.UPDATE and not step.differs):
                continue
            if step.only_part:
                continue
            # A volume, and a claim that stays bound to one, need no class, only the name of one.
            bound = step.key == kinds.PVS or any(one.key == kinds.PVS for one in step.references)
            for reference in step.references:
                key, name = reference.key, reference.name
                if bound and key == references.STORAGE_CLASSES:
                    continue
                if key not in references.CLASSES or (key, name) in coming or name in self.target.classes(key):
                    continue
                kind = key.partition(".")[0]
                reason = f"it needs {name!r} of {kind}, which the target does not have"
                there = ", ".join(sorted(self.target.classes(key))) or "none"
                if key == references.STORAGE_CLASSES:
                    reason += f" (there: {there}; map storage_classes)"
                if kinds.built_in(step.key):
                    step.decide(Action.BLOCKED, reason, "seen")
                else:
                    # Its operator may make the class, or do without.
                    step.transforms.append(reason)

    def _warn(self, steps: list[Step]) -> None:
        if self.wishes.images.unknown:
            self.warnings.append(
                "These images are not in the recovery point and stay as written: "
                + ", ".join(sorted(self.wishes.images.unknown))
            )
        for step in steps:
            if step.differs and step.action is Action.KEEP and not step.ours and self.wishes.bubble is None:
                self.warnings.append(f"{step.identity} is there and differs; it is kept as it is.")


def _bare_default(account: JSON) -> bool:
    """Whether a service account is the default one of its namespace, with nothing of a user's in it."""
    metadata = account["metadata"]
    bare = account.keys() <= {"apiVersion", "kind", "metadata"} and metadata.keys() <= {"name", "namespace"}
    return bare and metadata["name"] == "default"


def _adopt_fields(managed: list[JSON], old: str, new: str) -> None:
    """The server knows no entries of a version that it does not serve; fields that the new one lacks find no owner."""
    for entry in managed:
        if entry.get("apiVersion") == old:
            entry["apiVersion"] = new


def _lacks(step: Step, above: Step) -> bool:
    """Whether an object that is there has no link to its owner, which is there or will be created."""
    if above.live is None:
        return above.action is Action.CREATE
    return above.live["metadata"]["uid"] not in {link.get("uid") for link in objects.owners(step.live or {})}


def _owners(key: str, obj: JSON) -> list[JSON]:
    """Whom an object follows and is linked to; a StatefulSet comes after its claims, and its controller links them."""
    owners = objects.owners(obj)
    return [one for one in owners if one.get("kind") != "StatefulSet"] if key == kinds.PVCS else owners


def _api_of(registration: JSON) -> str:
    """The API version that an APIService registers."""
    spec = registration.get("spec") or {}
    return f"{spec.get('group')}/{spec.get('version')}"


def _foreign(name: str) -> bool:
    return not name.startswith(marks.PREFIX)


def make(cluster: Cluster, captured: Iterable[Captured], wishes: Wishes, *, workers: int = 8) -> Plan:
    """Compute the plan. ``captured`` is gone through three times and may be changed the last time.

    Raises :class:`Refused`, before anything is written, when the target's namespaces hold things that the chosen
    policy must not touch, or when two objects would become one.
    """
    return _Planning(cluster, captured, wishes, workers).run()
