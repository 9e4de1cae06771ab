# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a server owns in an object goes before the object is written to another server; what the user owns stays."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
JOB_LABELS = (
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
)
_CLAIM_ANNOTATIONS = (
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-resizer",
)
_ANNOTATIONS = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")
# What controllers of the target wrote and an update leaves alone.
SERVER_ANNOTATIONS = (
    *_ANNOTATIONS,
    "batch.kubernetes.io/job-tracking",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    "kubernetes.io/service-account.uid",
    "openshift.io/sa.scc.mcs",
    "openshift.io/sa.scc.supplemental-groups",
    "openshift.io/sa.scc.uid-range",
)
# Finalizers that only the original cluster's controllers take away again.
_FINALIZERS = frozenset(
    {
        "kubernetes.io/pvc-protection",
        "kubernetes.io/pv-protection",
        "foregroundDeletion",
        "orphan",
        "service.kubernetes.io/load-balancer-cleanup",
        "customresourcecleanup.apiextensions.k8s.io",
        "batch.kubernetes.io/job-tracking",
    }
)
_TOKEN_VOLUME = re.compile(r"^kube-api-access-[a-z0-9]{5}$")
_TOKEN = "kubernetes.io/service-account-token"


def strip(key: str, obj: JSON, *, keep_node_ports: bool = True) -> list[str]:
    """Remove in place what the old server owned; returns in words what a user may want to know of it."""
    notes: list[str] = []
    obj.pop("status", None)
    metadata = obj["metadata"]
    for field in _METADATA:
        metadata.pop(field, None)
    for name in _ANNOTATIONS:
        _drop(metadata, "annotations", name)
    rule = _RULES.get(key)
    if rule is not None:
        rule(obj, notes)
    if key == "services":
        _service(obj, notes, keep_node_ports)
    for field in ("labels", "annotations"):
        if not metadata.get(field):
            metadata.pop(field, None)
    return notes


def users_finalizer(name: str) -> bool:
    """Whether a finalizer is an application's or an operator's, not one of Kubernetes' own controllers."""
    return name not in _FINALIZERS and not name.startswith("snapshot.storage.kubernetes.io/")


def _drop(parent: JSON, field: str, name: str) -> bool:
    values = parent.get(field)
    return isinstance(values, dict) and values.pop(name, None) is not None


def _namespace(obj: JSON, _notes: list[str]) -> None:
    obj.pop("spec", None)
    _drop(obj["metadata"], "labels", "kubernetes.io/metadata.name")
    for name in ("openshift.io/sa.scc.mcs", "openshift.io/sa.scc.supplemental-groups", "openshift.io/sa.scc.uid-range"):
        _drop(obj["metadata"], "annotations", name)


def _claim(obj: JSON, notes: list[str]) -> None:
    spec = obj["spec"]
    spec.pop("volumeName", None)
    dropped = [field for field in ("dataSource", "dataSourceRef") if spec.pop(field, None)]
    notes += [f"{field} dropped: it belongs to the old cluster" for field in dropped]
    for name in _CLAIM_ANNOTATIONS:
        _drop(obj["metadata"], "annotations", name)


def _service(obj: JSON, notes: list[str], keep_node_ports: bool) -> None:
    spec = obj["spec"]
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("healthCheckNodePort", None)
    if not keep_node_ports:
        cleared = [port for port in spec.get("ports") or [] if port.pop("nodePort", None)]
        notes += [f"node port of {port.get('name') or port.get('port')} left to the server" for port in cleared]


def _service_account(obj: JSON, _notes: list[str]) -> None:
    obj.pop("secrets", None)


def _secret(obj: JSON, notes: list[str]) -> None:
    if obj.get("type") == _TOKEN:
        obj.pop("data", None)
        _drop(obj["metadata"], "annotations", "kubernetes.io/service-account.uid")
        notes.append("token left out: the server issues a new one")


def _job(obj: JSON, _notes: list[str]) -> None:
    spec = obj["spec"]
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
        for name in JOB_LABELS:
            _drop(obj["metadata"], "labels", name)
            _drop(objects.lookup(spec, ("template", "metadata")) or {}, "labels", name)
    for name in ("batch.kubernetes.io/job-tracking", "batch.kubernetes.io/cronjob-scheduled-timestamp"):
        _drop(obj["metadata"], "annotations", name)


def _pod(obj: JSON, notes: list[str]) -> None:
    spec = obj["spec"]
    if spec.pop("ephemeralContainers", None):
        notes.append("debug containers dropped")
    for field in ("nodeName", "priority", "preemptionPolicy", "serviceAccount"):
        spec.pop(field, None)
    tokens = {volume["name"] for volume in spec.get("volumes") or [] if _TOKEN_VOLUME.match(volume["name"])}
    if tokens:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in tokens]
        for container in objects.containers(spec):
            container["volumeMounts"] = [
                mount for mount in container.get("volumeMounts") or [] if mount["name"] not in tokens
            ]


def _definition(obj: JSON, _notes: list[str]) -> None:
    spec = obj["spec"]
    # Accepted in old objects only; the server refuses it in new ones.
    if spec.get("preserveUnknownFields") is True:
        spec["preserveUnknownFields"] = False
    conversion = objects.lookup(spec, ("conversion", "webhook", "clientConfig"))
    if isinstance(conversion, dict) and conversion.get("caBundle") == "Cg==":
        conversion.pop("caBundle")


_RULES: dict[str, Any] = {
    kinds.NAMESPACES: _namespace,
    kinds.PVCS: _claim,
    kinds.CRDS: _definition,
    "serviceaccounts": _service_account,
    "secrets": _secret,
    "jobs.batch": _job,
    "pods": _pod,
}


def skip_reason(key: str, obj: JSON, restored: frozenset[str]) -> str | None:
    """Why an object is not restored although it was captured. ``restored`` has the uids of all that were chosen."""
    owner = objects.controlled_by_built_in(obj)
    if owner is not None and (owner.get("uid") in restored or key in ("pods", "replicasets.apps")):
        return f"its controller, {owner.get('kind')} {owner.get('name')}, makes it again"
    if obj["metadata"].get("deletionTimestamp"):
        return "it was being deleted when it was captured"
    phase = (obj.get("status") or {}).get("phase")
    if key == "pods" and phase in ("Succeeded", "Failed"):
        return f"it has finished ({phase})"
    if key == "pods" and "kubernetes.io/config.mirror" in objects.annotations_of(obj):
        return "the kubelet of one node makes it"
    if key == "jobs.batch":
        for condition in (obj.get("status") or {}).get("conditions") or []:
            if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
                return f"it has finished ({condition['type']}) and shall not run again"
    if key == kinds.PVS:
        return "the claim gets a new volume in the target cluster"
    if key.startswith(("volumesnapshots.", "volumesnapshotcontents.")):
        return "a volume snapshot lives in its own cluster only"
    if key == "apiservices.apiregistration.k8s.io" and not (obj.get("spec") or {}).get("service"):
        return "the server makes it"
    if key == "secrets" and obj.get("type") == _TOKEN and _generated_token(obj):
        return "it is a service account's generated token"
    if (key, objects.identity(key, obj).name) in kinds.EVERYWHERE:
        return "every namespace gets its own"
    return None


def _generated_token(obj: JSON) -> bool:
    account = objects.annotations_of(obj).get("kubernetes.io/service-account.name", "")
    return bool(re.fullmatch(re.escape(account) + r"-token-[a-z0-9]{5}", obj["metadata"]["name"]))
