# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a server owns in an object goes before the object is written to another server; what the user owns stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.written import Written

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
    "pv.kubernetes.io/migrated-to",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-resizer",
)
_ANNOTATIONS = (
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "control-plane.alpha.kubernetes.io/leader",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "endpoints.kubernetes.io/last-change-trigger-time",
)
# What network plugins note on a running pod.
_POD_ANNOTATIONS = ("cni.projectcalico.org/", "k8s.v1.cni.cncf.io/network", "k8s.ovn.org/pod-networks")
# What controllers of the target wrote and an update leaves alone.
# On pods that have defaults of a limit range.
LIMITED = "kubernetes.io/limit-ranger"
SERVER_ANNOTATIONS = (
    *_ANNOTATIONS,
    "batch.kubernetes.io/job-tracking",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    LIMITED,
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
_SNAPSHOTS = ("volumesnapshots.", "volumesnapshotcontents.", "volumegroupsnapshots.", "volumegroupsnapshotcontents.")
_TOKEN_VOLUME = re.compile(r"^kube-api-access-[a-z0-9]{5}$")
_TOKEN = "kubernetes.io/service-account-token"


class NodePorts(str, Enum):
    """What becomes of node ports."""

    KEEP = "keep"
    CLEAR = "clear"
    USER = "user"


@dataclass(frozen=True)
class Keep:
    """What stays although it usually goes.

    ``node_ports``: all, none, or those that the user wrote. ``status`` are globs of kinds. ``volumes`` are the names of
    volumes that are restored themselves, so that claims stay bound to them. ``deleting``: whether objects that were
    being deleted are restored. Finalizers always go here; :mod:`finalizers` says which of them come back.
    """

    node_ports: NodePorts = NodePorts.KEEP
    status: tuple[str, ...] = ()
    volumes: frozenset[str] = frozenset()
    deleting: bool = False


def strip(key: str, obj: JSON, *, keep_node_ports: bool = True, keep: Keep | None = None) -> list[str]:
    """Remove in place what the old server owned; returns in words what a user may want to know of it.

    ``keep_node_ports`` is the short form of ``keep``.
    """
    keep = keep or Keep(NodePorts.KEEP if keep_node_ports else NodePorts.CLEAR)
    notes: list[str] = []
    written = Written(obj)
    if not kinds.matches(key, keep.status):
        obj.pop("status", None)
    elif obj.get("status"):
        notes.append("status kept")
    metadata = obj["metadata"]
    for field in _METADATA:
        metadata.pop(field, None)
    for name in _ANNOTATIONS:
        _drop(metadata, "annotations", name)
    rule = _RULES.get(key)
    if rule is not None:
        rule(obj, notes)
    if key == "services":
        _service(obj, notes, keep.node_ports, written)
    elif key == kinds.PVCS:
        _claim(obj, notes, keep)
    for field in ("labels", "annotations"):
        if not metadata.get(field):
            metadata.pop(field, None)
    return notes


def comparable(key: str, live: JSON, wanted: JSON, *, keep_node_ports: bool = True) -> JSON:
    """A copy of the live object that can be compared with what is wanted.

    What the server filled in because the wanted object left it open is left out. Finalizers beyond the wanted ones are
    the claims of controllers there, no difference.
    """
    # Several times as fast as a deep copy.
    reduced: JSON = json.loads(json.dumps(live))
    strip(key, reduced, keep_node_ports=keep_node_ports)
    kept = wanted["metadata"].get("finalizers")
    if kept and set(kept) <= set(objects.finalizers(live)):
        reduced["metadata"]["finalizers"] = kept
    if key == kinds.PVS and objects.lookup(wanted, ("spec", "claimRef")) is None:
        # It was free when it was captured, and has found its claim since.
        (reduced.get("spec") or {}).pop("claimRef", None)
    volume = objects.lookup(live, ("spec", "volumeName"))
    if key == kinds.PVCS and volume and objects.lookup(wanted, ("spec", "volumeName")):
        # It names a volume that is restored itself; else which one it has is the server's matter.
        reduced["spec"]["volumeName"] = volume
    if key == "services":
        asked = {_port_key(port): port for port in (wanted.get("spec") or {}).get("ports") or []}
        for port in (reduced.get("spec") or {}).get("ports") or []:
            if not asked.get(_port_key(port), {}).get("nodePort"):
                port.pop("nodePort", None)
        held_port = objects.lookup(live, ("spec", "healthCheckNodePort"))
        if objects.lookup(wanted, ("spec", "healthCheckNodePort")) == held_port and held_port:
            reduced["spec"]["healthCheckNodePort"] = held_port
    return reduced


def _port_key(port: JSON) -> tuple[Any, str]:
    return port.get("port"), str(port.get("protocol") or "TCP")


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


def _claim(obj: JSON, notes: list[str], keep: Keep) -> None:
    spec = obj["spec"]
    if spec.get("volumeName") not in keep.volumes:
        spec.pop("volumeName", None)
    dropped = [field for field in ("dataSource", "dataSourceRef") if spec.pop(field, None)]
    notes += [f"{field} dropped: it belongs to the old cluster" for field in dropped]
    for name in _CLAIM_ANNOTATIONS:
        _drop(obj["metadata"], "annotations", name)


def _volume(obj: JSON, _notes: list[str]) -> None:
    """The volume waits for the claim of that name; which claim object it was bound to is the old server's."""
    claim = obj["spec"].get("claimRef")
    if isinstance(claim, dict):
        obj["spec"]["claimRef"] = {
            name: claim[name] for name in ("apiVersion", "kind", "name", "namespace") if name in claim
        }
    for name in _CLAIM_ANNOTATIONS:
        _drop(obj["metadata"], "annotations", name)


def _service(obj: JSON, notes: list[str], node_ports: NodePorts, written: Written) -> None:
    spec = obj["spec"]
    if spec.get("clusterIP") != "None":
        address = spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
        if address and written.has("spec", "clusterIP"):
            notes.append(f"cluster IP {address}, which somebody chose, left to the server")
    # The server allocates it for a load balancer; only a chosen one is the user's.
    chosen = node_ports is not NodePorts.CLEAR and written.has("spec", "healthCheckNodePort")
    if not chosen and spec.pop("healthCheckNodePort", None) and written.has("spec", "healthCheckNodePort"):
        notes.append("health check node port left to the server")
    if node_ports is NodePorts.KEEP:
        return
    cleared = [
        port
        for port in spec.get("ports") or []
        if (node_ports is NodePorts.CLEAR or not written.node_port(port)) and port.pop("nodePort", None)
    ]
    notes += [f"node port of {port.get('name') or port.get('port')} left to the server" for port in cleared]


def _service_account(obj: JSON, _notes: list[str]) -> None:
    """Generated tokens are the server's; a user's own secrets (of Tekton, for example) stay linked."""
    generated = re.compile(re.escape(obj["metadata"]["name"]) + r"-(token|dockercfg)-[a-z0-9]{5}")
    for field in ("secrets", "imagePullSecrets"):
        if field in obj:
            kept = [one for one in obj[field] or [] if not generated.fullmatch(str(one.get("name")))]
            if kept:
                obj[field] = kept
            else:
                del obj[field]


def linked_secrets(wanted: JSON, live: JSON) -> list[JSON]:
    """The links of a service account: those wanted, and behind them those that the target has put there."""
    names = {one.get("name") for one in wanted.get("secrets") or []}
    return [*(wanted.get("secrets") or []), *(one for one in live.get("secrets") or [] if one.get("name") not in names)]


def _secret(obj: JSON, notes: list[str]) -> None:
    if obj.get("type") == _TOKEN:
        for name in ("token", "ca.crt", "namespace", "service-ca.crt"):
            _drop(obj, "data", name)
        if not obj.get("data"):
            obj.pop("data", None)
        _drop(obj["metadata"], "annotations", "kubernetes.io/service-account.uid")
        _drop(obj["metadata"], "labels", "kubernetes.io/legacy-token-last-used")
        _drop(obj["metadata"], "labels", "kubernetes.io/legacy-token-invalid-since")
        notes.append("token left out: the server issues a new one")


def _job(obj: JSON, notes: list[str]) -> None:
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
    if spec.get("runtimeClassName"):
        # Computed from the class, and refused where the target's class says otherwise.
        spec.pop("overhead", None)
    if spec.get("schedulingGates"):
        gates = ", ".join(str(gate.get("name")) for gate in spec["schedulingGates"])
        notes.append(f"it waits for scheduling gate {gates}")
    for name in [name for name in objects.annotations_of(obj) if name.startswith(_POD_ANNOTATIONS)]:
        _drop(obj["metadata"], "annotations", name)
    tokens = {volume["name"] for volume in spec.get("volumes") or [] if is_token_volume(volume["name"])}
    if tokens:
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in tokens]
        for container in objects.containers(spec):
            container["volumeMounts"] = [
                mount for mount in container.get("volumeMounts") or [] if mount["name"] not in tokens
            ]


def is_token_volume(name: str) -> bool:
    """Whether the server gave a volume of that name to a pod, for the token of its account."""
    return bool(_TOKEN_VOLUME.match(name))


def _definition(obj: JSON, _notes: list[str]) -> None:
    spec = obj["spec"]
    # Accepted in old objects only; the server refuses it in new ones.
    if spec.get("preserveUnknownFields") is True:
        spec["preserveUnknownFields"] = False
    conversion = objects.lookup(spec, ("conversion", "webhook", "clientConfig"))
    if isinstance(conversion, dict) and conversion.get("caBundle") == "Cg==":
        conversion.pop("caBundle")


def _webhook(obj: JSON, notes: list[str]) -> None:
    """Old objects may say what the server refuses in new ones; these are the values that allow the same."""
    for webhook in obj.get("webhooks") or []:
        new = {"Unknown": "None", "Some": "NoneOnDryRun"}.get(str(webhook.get("sideEffects")))
        if new:
            notes.append(f"side effects of {webhook.get('name')} {webhook['sideEffects']} now {new}")
            webhook["sideEffects"] = new


def _cluster_role(obj: JSON, _notes: list[str]) -> None:
    if obj.get("aggregationRule"):
        # A controller fills them from the roles that the rule selects.
        obj["rules"] = None


_RULES: dict[str, Any] = {
    kinds.NAMESPACES: _namespace,
    kinds.PVS: _volume,
    kinds.CRDS: _definition,
    "clusterroles.rbac.authorization.k8s.io": _cluster_role,
    "serviceaccounts": _service_account,
    "secrets": _secret,
    "jobs.batch": _job,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhook,
    "pods": _pod,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhook,
}


def static_volumes(captured: Iterable[tuple[str, JSON]]) -> frozenset[str]:
    """Names of volumes that somebody made by hand to stay (policy Retain), of (kind, object) pairs."""
    return frozenset(
        str(obj["metadata"]["name"])
        for key, obj in captured
        if key == kinds.PVS
        and "pv.kubernetes.io/provisioned-by" not in objects.annotations_of(obj)
        and (obj.get("spec") or {}).get("persistentVolumeReclaimPolicy") == "Retain"
    )


def skip_reason(key: str, obj: JSON, restored: frozenset[str], keep: Keep | None = None) -> str | None:
    """Why an object is not restored although it was captured. ``restored`` has the uids of all that were chosen."""
    keep = keep or Keep()
    owner = objects.controller(obj)
    if owner is not None and key in ("pods", "replicasets.apps"):
        title = f"{owner.get('kind')} {owner.get('name')}"
        made = "makes it again" if owner.get("uid") in restored else "which is not restored, made it"
        return f"its controller, {title}, {made}"
    owner = objects.controlled_by_built_in(obj)
    # A claim that is made again is an empty one: those of StatefulSets with whenDeleted: Delete are owned by them.
    if owner is not None and owner.get("uid") in restored and key != kinds.PVCS:
        return f"its controller, {owner.get('kind')} {owner.get('name')}, makes it again"
    if obj["metadata"].get("deletionTimestamp") and not keep.deleting:
        return "it was being deleted when it was captured"
    rule = _SKIPS.get(key)
    reason: str | None = rule(obj, keep) if rule is not None else None
    if reason is not None:
        return reason
    if key.startswith(_SNAPSHOTS):
        return "a volume snapshot lives in its own cluster only"
    if (key, objects.identity(key, obj).name) in kinds.EVERYWHERE:
        return "every namespace gets its own"
    return None


def _skip_pod(obj: JSON, _keep: Keep) -> str | None:
    phase = (obj.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        return f"it has finished ({phase})"
    if "kubernetes.io/config.mirror" in objects.annotations_of(obj):
        return "the kubelet of one node makes it"
    return None


def _skip_job(obj: JSON, _keep: Keep) -> str | None:
    for condition in (obj.get("status") or {}).get("conditions") or []:
        # The second two are set while its last pods still end.
        ends = {"Complete": "Complete", "Failed": "Failed", "SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
        if condition.get("type") in ends and condition.get("status") == "True":
            return f"it has finished ({ends[condition['type']]}) and shall not run again"
    return None


def _skip_volume(obj: JSON, keep: Keep) -> str | None:
    if obj["metadata"]["name"] in keep.volumes:
        return None
    if static_volumes([(kinds.PVS, obj)]):
        return "it was made by hand and its storage may be in use; restore it with static_volumes"
    return "the claim gets a new volume in the target cluster"


def _skip_api_service(obj: JSON, _keep: Keep) -> str | None:
    managed = objects.labels_of(obj).get("kube-aggregator.kubernetes.io/automanaged")
    return "the server makes it" if managed or not (obj.get("spec") or {}).get("service") else None


def _skip_secret(obj: JSON, _keep: Keep) -> str | None:
    if obj.get("type") == _TOKEN and _generated_token(obj):
        return "it is a service account's generated token"
    if obj.get("type") == "kubernetes.io/dockercfg" and any(
        name in objects.annotations_of(obj)
        for name in ("openshift.io/token-secret.name", "openshift.io/internal-registry-auth-token.service-account")
    ):
        return "it is a service account's generated login"
    return None


def _skip_default(obj: JSON, _keep: Keep) -> str | None:
    """Roles, priorities and flow rules that every API server makes, unless somebody took them over."""
    notes = objects.annotations_of(obj)
    if objects.labels_of(obj).get("kubernetes.io/bootstrapping") == "rbac-defaults":
        return None if notes.get("rbac.authorization.kubernetes.io/autoupdate") == "false" else "the server makes it"
    if notes.get("apf.kubernetes.io/autoupdate-spec") == "true" or (
        obj.get("kind") == "PriorityClass" and obj["metadata"]["name"].startswith("system-")
    ):
        return "the server makes it"
    return None


_SKIPS: dict[str, Any] = {
    "pods": _skip_pod,
    "jobs.batch": _skip_job,
    kinds.PVS: _skip_volume,
    "secrets": _skip_secret,
    kinds.API_SERVICES: _skip_api_service,
    "clusterroles.rbac.authorization.k8s.io": _skip_default,
    "clusterrolebindings.rbac.authorization.k8s.io": _skip_default,
    "roles.rbac.authorization.k8s.io": _skip_default,
    "rolebindings.rbac.authorization.k8s.io": _skip_default,
    "flowschemas.flowcontrol.apiserver.k8s.io": _skip_default,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": _skip_default,
    "priorityclasses.scheduling.k8s.io": _skip_default,
}


def _generated_token(obj: JSON) -> bool:
    account = objects.annotations_of(obj).get("kubernetes.io/service-account.name", "")
    return bool(re.fullmatch(re.escape(account) + r"-token-[a-z0-9]{5}", obj["metadata"]["name"]))
