# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The drill bubble: restored objects that can neither reach nor be reached from outside, and are thrown away."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, kinds, objects, pod_security
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiError, Cluster, Resource

POLICY = "container-dr-bubble"
# All pods but our own movers, which need the repository; restored pods cannot carry their label.
_RESTORED: JSON = {"matchExpressions": [{"key": marks.ROLE, "operator": "NotIn", "values": [marks.MOVING]}]}

# What acts on the whole cluster, or on the outside, as soon as it exists.
_HELD_BACK = {
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": "it would act on the whole cluster",
    "validatingwebhookconfigurations.admissionregistration.k8s.io": "it would act on the whole cluster",
    kinds.API_SERVICES: "it would act on the whole cluster",
    "ingresses.networking.k8s.io": "a bubble is not exposed",
    "gateways.gateway.networking.k8s.io": "a bubble is not exposed",
    "applications.argoproj.io": "Argo CD would act on it outside the bubble",
    "applicationsets.argoproj.io": "Argo CD would act on it outside the bubble",
    "kustomizations.kustomize.toolkit.fluxcd.io": "Flux would act on it outside the bubble",
    "helmreleases.helm.toolkit.fluxcd.io": "Flux would act on it outside the bubble",
    "ciliumnetworkpolicies.cilium.io": "it could open the bubble",
    "networkpolicies.crd.projectcalico.org": "it could open the bubble",
    "networkpolicies.projectcalico.org": "it could open the bubble",
}
_ROUTES = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Bubble:
    """The isolation of one drill: which run it belongs to, and whether its CronJobs sleep."""

    run: str
    application: str
    suspend_cronjobs: bool = True

    @property
    def labels(self) -> dict[str, str]:
        """What every namespace and every cluster-scoped object of the drill carries."""
        named = {marks.APPLICATION: self.application} if self.application else {}
        return {marks.ROLE: marks.BUBBLE, marks.RUN: self.run, **named}

    def skip_reason(self, key: str) -> str | None:
        """Why a kind stays out of a bubble."""
        if key in _HELD_BACK:
            return _HELD_BACK[key]
        if key.endswith(_ROUTES) and key.partition(".")[0].endswith("routes"):
            return "a bubble is not exposed"
        return None

    def rewrite(self, key: str, obj: JSON) -> list[str]:
        """Shut one object in, in place, and say in words what was changed."""
        notes: list[str] = []
        if key == "networkpolicies.networking.k8s.io":
            self._policy(obj, notes)
        elif key == "services":
            _service(obj, notes)
        elif key == "cronjobs.batch" and self.suspend_cronjobs and not obj["spec"].get("suspend"):
            obj["spec"]["suspend"] = True
            notes.append("suspended in the bubble")
        elif key == kinds.NAMESPACES and objects.labels_of(obj).get(pod_security.ENFORCE) == "restricted":
            # Movers that bring the data have to write files of any owner.
            obj["metadata"]["labels"][pod_security.ENFORCE] = "baseline"
            notes.append("Pod Security level baseline in the bubble")
        spec = objects.pod_spec(key, obj)
        if spec is not None:
            _pods(spec, notes)
            template = objects.pod_metadata(key, obj) or obj["metadata"]
            # Our own labels open the bubble's policy for movers; nobody else may carry them.
            for name in [name for name in template.get("labels") or {} if name.startswith(marks.PREFIX)]:
                del template["labels"][name]
                notes.append(f"label {name} dropped")
        return notes

    def _policy(self, obj: JSON, notes: list[str]) -> None:
        """Policies add up, so a restored one must not allow what leaves the bubble."""
        rules = obj["spec"].get("egress")
        if rules is None:
            return
        kept = []
        for rule in rules:
            if not rule.get("to"):
                kept.append({**rule, "to": [self.inside()]})
                notes.append("egress to everywhere narrowed to the bubble")
                continue
            peers = [self._narrowed(peer, notes) for peer in rule["to"]]
            peers = [peer for peer in peers if peer is not None]
            # An empty list of peers would mean everywhere.
            if peers:
                kept.append({**rule, "to": peers})
        obj["spec"]["egress"] = kept

    def _narrowed(self, peer: JSON, notes: list[str]) -> JSON | None:
        if peer.get("ipBlock"):
            notes.append(f"egress to {peer['ipBlock'].get('cidr')} taken away")
            return None
        if "namespaceSelector" not in peer:
            return peer
        selector = peer["namespaceSelector"] or {}
        notes.append("egress to other namespaces narrowed to the bubble")
        labels = {**(selector.get("matchLabels") or {}), marks.RUN: self.run}
        return {**peer, "namespaceSelector": {**selector, "matchLabels": labels}}

    def inside(self) -> JSON:
        """The peer that means every pod of the bubble, in all its namespaces."""
        return {"namespaceSelector": {"matchLabels": self.labels}}

    def policy(self, namespace: str) -> JSON:
        """Default-deny egress: the bubble itself and the cluster's DNS are all that can be reached."""
        dns: JSON = {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }
            ],
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        }
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": POLICY,
                "namespace": namespace,
                "labels": {marks.MANAGED_BY: marks.MANAGER, **self.labels},
            },
            "spec": {
                "podSelector": _RESTORED,
                "policyTypes": ["Egress"],
                "egress": [{"to": [self.inside()]}, dns],
            },
        }


def denies_egress(policy: JSON) -> bool:
    """Whether a NetworkPolicy, a bubble's own or another, holds every restored pod to the egress that is listed."""
    spec = policy["spec"]
    if any(not rule.get("to") for rule in spec.get("egress") or []):
        return False
    return (spec.get("podSelector") or {}) in ({}, _RESTORED) and "Egress" in (spec.get("policyTypes") or [])


def _service(obj: JSON, notes: list[str]) -> None:
    spec = obj["spec"]
    if spec.get("type") in ("LoadBalancer", "NodePort"):
        notes.append(f"type {spec['type']} now ClusterIP")
        spec["type"] = "ClusterIP"
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    for field in (
        "allocateLoadBalancerNodePorts",
        "externalTrafficPolicy",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
    ):
        spec.pop(field, None)
    if spec.pop("externalIPs", None):
        notes.append("external addresses taken away")


def _pods(spec: JSON, notes: list[str]) -> None:
    # Network policies do not hold pods on the node's own network.
    if spec.pop("hostNetwork", None):
        notes.append("host network taken away")
        if spec.get("dnsPolicy") == "ClusterFirstWithHostNet":
            spec["dnsPolicy"] = "ClusterFirst"
        for container in objects.containers(spec):
            for port in container.get("ports") or []:
                port.pop("hostPort", None)
    notes += [
        f"host port of container {container.get('name')} taken away"
        for container in objects.containers(spec)
        for port in container.get("ports") or []
        if port.pop("hostPort", None)
    ]


# -- teardown -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remains:
    """One object of a bubble that has to go."""

    resource: Resource
    name: str
    uid: str
    terminating: bool

    @property
    def title(self) -> str:
        return f"{self.resource.key}/{self.name}"


def remains(cluster: Cluster, labels: Mapping[str, str], *, workers: int = 8) -> list[Remains]:
    """Everything cluster-scoped of bubbles that carries these labels too, namespaces included.

    CustomResourceDefinitions are never among it: removing one removes every custom resource of the cluster.
    """
    selector = ",".join(f"{name}={value}" for name, value in {marks.ROLE: marks.BUBBLE, **labels}.items())
    candidates = [
        resource
        for resource in discovery.discover(cluster)
        if not resource.namespaced
        and {"list", "delete"} <= resource.verbs
        and resource.key != kinds.CRDS
        and not kinds.left_out(resource.key, kinds.LEFT_OUT)
    ]

    def look(resource: Resource) -> list[Remains]:
        try:
            found = list(cluster.list(resource.path(), {"labelSelector": selector}))
        except ApiError as error:
            # What may not be listed cannot have been made by this identity either.
            if error.status in (403, 404, 405):
                return []
            raise
        return [
            Remains(
                resource,
                str(obj["metadata"]["name"]),
                str(obj["metadata"]["uid"]),
                bool(obj["metadata"].get("deletionTimestamp")),
            )
            for obj in found
        ]

    found: list[Remains] = []
    for outcome in pool.each(candidates, look, workers=workers):
        if outcome.error is not None:
            raise outcome.error
        found += outcome.value or []
    # Namespaces last in the list, so that bindings are gone before the accounts they bind.
    return sorted(found, key=lambda one: (one.resource.key == kinds.NAMESPACES, one.resource.key, one.name))


def _volumes(cluster: Cluster, namespaces: set[str]) -> Iterator[str]:
    """Volumes of the bubble's claims that the cluster is going to remove."""
    for volume in cluster.list("/api/v1/persistentvolumes"):
        spec = volume["spec"]
        if (spec.get("claimRef") or {}).get("namespace") in namespaces and (
            spec.get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            yield str(volume["metadata"]["name"])


def remove(cluster: Cluster, whose: str, found: list[Remains], *, timeout: float, progress: Progress) -> None:
    """Delete what :func:`remains` found and wait until it is gone, the volumes of its claims included.

    Raises :class:`Unavailable` naming what is left and why when ``timeout`` seconds are over.
    """
    namespaces = {one.name for one in found if one.resource.key == kinds.NAMESPACES}
    for one in found:
        if not one.terminating:
            cluster.delete(one.resource.path(name=one.name), uid=one.uid)
    for name in sorted(namespaces):
        _hurry(cluster, name)
    end = time.monotonic() + timeout
    left = [one.title for one in found]
    while True:
        gone = max(0, len(found) - len(left))
        progress.update("wave", f"removal of {whose}", "running", done=gone, total=len(found), unit="objects")
        left = [one.title for one in found if _there(cluster, one)]
        try:
            left += [f"{kinds.PVS}/{name}" for name in _volumes(cluster, namespaces)] if namespaces else []
        except ApiError as error:
            if error.status != 403:
                raise
        if not left:
            progress.update("wave", f"removal of {whose}", "done", done=len(found), total=len(found), unit="objects")
            return
        if time.monotonic() >= end:
            raise Unavailable(
                "remove",
                f"the bubble of {whose}",
                f"after {timeout:g} seconds there still are {', '.join(sorted(left)[:8])}"
                + _conditions(cluster, namespaces),
                "Look at the finalizers of what is left, then run the same again.",
            )
        time.sleep(1.0)


def _hurry(cluster: Cluster, namespace: str) -> None:
    """Nobody needs a bubble's pods to end in peace; without this each may take its grace period."""
    try:
        cluster.delete(f"/api/v1/namespaces/{namespace}/pods", grace=1)
    except ApiError as error:
        if error.status != 403:
            raise


def _there(cluster: Cluster, one: Remains) -> bool:
    current = cluster.find(one.resource.path(name=one.name))
    return current is not None and current["metadata"]["uid"] == one.uid


def _conditions(cluster: Cluster, namespaces: set[str]) -> str:
    """What the server says holds the namespaces up."""
    texts = []
    for name in sorted(namespaces):
        current = cluster.find(f"/api/v1/namespaces/{name}")
        conditions = ((current or {}).get("status") or {}).get("conditions") or []
        texts += [
            f"{name}: {one['message']}" for one in conditions if one.get("status") == "True" and one.get("message")
        ]
    return f" ({'; '.join(texts)})" if texts else ""
