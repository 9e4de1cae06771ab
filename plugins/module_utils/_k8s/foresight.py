# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Find beforehand what the target would refuse, for the whole set of a restore's objects at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    admission,
    existing,
    kinds,
    objects,
    permissions,
    pod_resources,
    pod_security,
    quota,
    references,
    volume_clashes,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import FEW_NAMESPACES, JSON, ApiError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_resources import Filled
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Action, Step
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.target import Target

_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


class _Foresight:
    def __init__(self, target: Target, steps: list[Step], workers: int) -> None:
        self.target = target
        self.steps = steps
        self.workers = workers

    def run(self) -> None:
        permissions.block_denied(self.target.cluster, self.steps, workers=self.workers)
        self._node_ports()
        self._volumes()
        labels = self._namespace_labels()
        self._webhooks(labels)
        self._pods(labels)
        self._quotas()
        consequences(self.steps)

    def _creating(self, *keys: str) -> Iterator[Step]:
        for step in self.steps:
            if step.action in (Action.CREATE, Action.RECREATE) and (not keys or step.key in keys):
                yield step

    def _namespace_labels(self) -> dict[str, dict[str, str]]:
        """The labels that each namespace will have."""
        found = {name: admission.namespace_labels(name, live) for name, live in self.target.namespaces.items()}
        for step in self.steps:
            if step.key == kinds.NAMESPACES and step.text is not None:
                name = step.identity.name
                gone = existing.surplus(step, step.live)["labels"] if step.live else []
                kept = {label: value for label, value in found.get(name, {}).items() if label not in gone}
                wanted = {} if step.action is Action.KEEP else admission.namespace_labels(name, step.body)
                found[name] = {**kept, **wanted}
        return found

    # -- ports ----------------------------------------------------------------------------------------------------

    def _node_ports(self) -> None:
        wanted = {
            step.identity: [
                port["nodePort"] for port in (step.body.get("spec") or {}).get("ports") or [] if port.get("nodePort")
            ]
            for step in self.steps
            if step.key == "services" and step.action in WRITES and not step.only_part
        }
        if not any(wanted.values()):
            return
        # The server knows no protocols here, but one service may have a number for both TCP and UDP.
        taken: dict[int, objects.Identity] = {}
        for obj in self._list("services"):
            identity = objects.identity("services", obj)
            for port in (obj.get("spec") or {}).get("ports") or []:
                if port.get("nodePort") and identity not in wanted:
                    taken[port["nodePort"]] = identity
        for step in self.steps:
            for port in wanted.get(step.identity, []):
                holder = taken.setdefault(port, step.identity)
                if holder != step.identity:
                    reason = f"node port {port} is taken by {holder} (map the namespace, and it is left to the server)"
                    step.decide(Action.BLOCKED, reason, "seen")

    def _list(self, key: str, everywhere: bool = True) -> Iterator[JSON]:
        """All objects of a kind, or as far as they may be seen."""
        resource = self.target.found.find(key)
        if resource is None:
            return
        places = [None] if everywhere else sorted(self.target.namespaces)
        for place in places:
            try:
                yield from self.target.cluster.list(resource.path(place))
            except ApiError:
                continue

    # -- volumes --------------------------------------------------------------------------------------------------

    def _volumes(self) -> None:
        """Only volumes that somebody made by hand are restored, and only claims of such ones name theirs."""
        if not any(
            step.key == kinds.PVS or any(one.key == kinds.PVS for one in step.references)
            for step in self.steps
            if step.text is not None and step.key in (kinds.PVS, kinds.PVCS)
        ):
            return
        resource = self.target.found.find(kinds.PVS)
        there: dict[str, JSON] | None = None
        if resource is not None:
            try:
                there = {str(obj["metadata"]["name"]): obj for obj in self.target.cluster.list(resource.path())}
            except ApiError:
                there = None
        volume_clashes.foresee(self.steps, there)

    # -- admission ------------------------------------------------------------------------------------------------

    def _webhooks(self, labels: dict[str, dict[str, str]]) -> None:
        if not any(step.action in WRITES for step in self.steps):
            return
        coming = [(step.identity.namespace, step.identity.name) for step in self._creating("services")]
        dead = admission.dead(self.target.cluster, coming)
        for webhook in dead:
            for step in self.steps:
                if step.action not in WRITES or step.resource is None or step.only_status:
                    continue
                verb = "UPDATE" if step.action is Action.UPDATE else "CREATE"
                space = step.identity.name if step.key == kinds.NAMESPACES else step.identity.namespace
                if webhook.called_for(step.resource, step.body, labels.get(space, {}), verb):
                    step.decide(
                        Action.BLOCKED,
                        f"admission webhook {webhook.name} of {webhook.configuration} must be asked and its service "
                        f"{webhook.service} has no ready endpoint",
                        "seen",
                    )

    def _pods(self, labels: dict[str, dict[str, str]]) -> None:
        for step in self.steps:
            if step.action not in WRITES or step.key not in kinds.POD_SPECS or step.only_part:
                continue
            own = labels.get(step.identity.namespace, {})
            spec = objects.pod_spec(step.key, step.body)
            found = pod_security.violations(spec, own) if spec is not None else []
            if not found:
                continue
            words = f"Pod Security level {own[pod_security.ENFORCE]} of the namespace forbids {', '.join(found)}"
            if step.key == "pods":
                step.decide(Action.BLOCKED, words, "seen")
            else:
                step.concerns.append(f"its pods will be refused: {words}")

    # -- quotas ---------------------------------------------------------------------------------------------------

    def _quotas(self) -> None:
        """Quotas of the point come after the objects, so only those that are there already refuse any."""
        quotas: dict[str, list[quota.Quota]] = {}
        limits: dict[str, dict[str, JSON]] = {}
        few = len(self.target.namespaces) <= FEW_NAMESPACES
        for obj in self._list(quota.QUOTAS, everywhere=not few):
            quotas.setdefault(str(obj["metadata"]["namespace"]), []).append(quota.quota_of(obj))
        coming = [step.body for step in self.steps if step.key == quota.LIMITS and step.action in WRITES]
        for obj in [*self._list(quota.LIMITS, everywhere=not few), *coming]:
            limits.setdefault(str(obj["metadata"]["namespace"]), {})[str(obj["metadata"]["name"])] = obj
        if not quotas and not limits:
            return
        whole = self._defaults()
        judges: dict[str, _Judge] = {}
        for step in self._creating():
            namespace = step.identity.namespace
            if namespace not in quotas and namespace not in limits:
                continue
            if namespace not in judges:
                judges[namespace] = _Judge(quotas.get(namespace, []), list(limits.get(namespace, {}).values()), whole)
            judges[namespace].judge(step)

    def _defaults(self) -> Filled:
        """What the target's classes, those that come included, will fill in."""
        overheads = {
            name: pod_resources.numbers(objects.lookup(obj, ("overhead", "podFixed")))
            for name, obj in self._classes(references.RUNTIME_CLASSES).items()
        }
        storage = [
            (str(obj["metadata"].get("creationTimestamp") or "later"), str(obj["metadata"]["name"]))
            for obj in self._classes(references.STORAGE_CLASSES).values()
            if any(objects.annotations_of(obj).get(name) == "true" for name in _DEFAULT_CLASS)
        ]
        priorities = [
            (int(obj.get("value") or 0), str(obj["metadata"]["name"]))
            for obj in self._classes(references.PRIORITY_CLASSES).values()
            if obj.get("globalDefault")
        ]
        # As the server chooses where there are several: the newest, and the lowest.
        newest = sorted(storage, key=lambda pair: pair[1])
        newest.sort(key=lambda pair: pair[0], reverse=True)
        return Filled(
            storage_class=newest[0][1] if newest else "",
            priority_class=min(priorities)[1] if priorities else "",
            overheads=overheads,
        )

    def _classes(self, key: str) -> dict[str, JSON]:
        coming = {step.identity.name: step.body for step in self._creating(key)}
        return {**coming, **self.target.classes(key)}


class _Judge:
    """The quotas and limit ranges of one namespace, asked about object after object in the order of the restore."""

    def __init__(self, quotas: list[quota.Quota], ranges: list[JSON], whole: Filled) -> None:
        self.quotas = quotas
        self.ranges = ranges
        items = [item for one in ranges for item in objects.lookup(one, ("spec", "limits")) or []]
        self.filled = replace(whole, limits=tuple(items))

    def judge(self, step: Step) -> None:
        """Block the step, or note what will happen to the pods that its object makes."""
        # Most objects only count as one, and to parse them takes long.
        body = step.body if step.key in quota.MEASURED or step.key in kinds.POD_SPECS else {}
        outside = quota.outside_limits(step.key, body, self.ranges)
        if outside and step.key in ("pods", kinds.PVCS):
            step.decide(Action.BLOCKED, outside, "seen")
            return
        if outside:
            step.concerns.append(f"its pods will be refused: {outside}")
        if self._object(step, body):
            self._pods(step, body)

    def _object(self, step: Step, body: JSON) -> bool:
        """Count the object itself; whether it is let through."""
        spec = body.get("spec") or {}
        taken = quota.usage(step.key, body, self.filled)
        counting = []
        for one in self.quotas:
            counts = one.counts(step.key, spec, self.filled)
            if counts is False:
                continue
            words = one.refuses(taken)
            if words is None and step.key == "pods":
                words = one.demands(spec, self.filled)
            # Whether what a pod as a whole asks for counts, too, depends on the server.
            sure = counts is True and not (step.key == "pods" and spec.get("resources"))
            if words and sure:
                step.decide(Action.BLOCKED, words, "seen")
                return False
            if words is None and one.promised:
                words = one.refuses(taken, promised=True)
            if words:
                step.concerns.append(f"it may be refused: {words}")
            if counts:
                counting.append(one)
        for one in counting:
            one.take(taken)
        return True

    def _pods(self, step: Step, body: JSON) -> None:
        """What the pods will meet that a controller makes from the object."""
        pods = objects.pod_spec(step.key, body)
        if pods is None or step.key in ("pods", "podtemplates"):
            return
        spec = body.get("spec") or {}
        number = Decimal(int(spec.get("replicas", spec.get("parallelism", 1)) or 0))
        if not number or (step.key == "jobs.batch" and spec.get("suspend")):
            return
        makes = quota.pods_usage(pods, number, self.filled)
        for one in self.quotas:
            counts = one.counts("pods", pods, self.filled)
            if counts is False:
                continue
            demands = one.demands(pods, self.filled)
            if demands:
                step.concerns.append(f"its pods {'will' if counts else 'may'} be refused: {demands}")
            # A CronJob's come and go.
            if demands or step.key == "cronjobs.batch":
                continue
            words = one.refuses(makes, promised=True)
            if words:
                all_of_them = "not all of its" if counts else "perhaps not all of its"
                step.concerns.append(f"{all_of_them} {number} pods will be admitted: {words}")
            if counts:
                one.take(makes, promised=True)


def unmade(name: str) -> str:
    """Why what needs the object of that name is blocked."""
    return f"{name} is not there and could not be made"


def consequences(steps: Iterable[Step]) -> None:
    """Block what cannot be because its namespace, definition or API is held back or failed and is not there."""
    chosen = list(steps)
    _block_unserved(chosen)
    _block_lacking(chosen)
    _leave_unlinked(chosen)


def _block_lacking(chosen: Sequence[Step]) -> None:
    lacking: dict[str, str] = {}
    for step in chosen:
        held = step.failed or step.action is Action.BLOCKED
        if held and step.key in (kinds.NAMESPACES, kinds.CRDS, kinds.API_SERVICES) and step.live is None:
            lacking[f"{step.key}/{step.identity.name}"] = str(step.identity)
    if not lacking:
        return
    for step in chosen:
        places = (
            f"{kinds.NAMESPACES}/{step.identity.namespace}",
            f"{kinds.CRDS}/{step.key}",
            f"{kinds.API_SERVICES}/{step.awaits}",
        )
        missing = next((lacking[place] for place in places if place in lacking), None)
        if missing is not None and step.action in WRITES:
            step.decide(Action.BLOCKED, unmade(missing))


def _block_unserved(steps: Sequence[Step]) -> None:
    """Block what is in a version that only another definition would bring than the one that the target keeps."""
    brought = {
        step.identity.name
        for step in steps
        if step.key == kinds.CRDS and step.action in WRITES and not step.only_part and not step.failed
    }
    for step in steps:
        if step.unserved and step.action in WRITES and step.key not in brought:
            step.decide(Action.BLOCKED, step.unserved, "seen")


def _leave_unlinked(steps: Sequence[Step]) -> None:
    """What was only to be linked to owners none of which will be there stays as it is."""
    by_uid = {step.source_uid: step for step in steps if step.source_uid}
    for step in steps:
        if not step.only_links or step.action not in WRITES:
            continue
        above = [by_uid[uid] for owner in step.owners if (uid := str(owner.get("uid"))) in by_uid]
        if not any(one.live is not None or (one.action in WRITES and not one.failed) for one in above):
            step.only_links = False
            more = step.only_status or step.only_owners
            step.decide(Action.UPDATE if more else Action.KEEP, "it is there; its owner could not be made")


def foresee(target: Target, steps: list[Step], *, workers: int) -> None:
    """Block the steps that could not succeed, and note what will go wrong after others did.

    ``steps`` are in the order of execution: of objects that compete for a quota or a port the first ones get it.
    """
    _Foresight(target, steps, workers).run()
