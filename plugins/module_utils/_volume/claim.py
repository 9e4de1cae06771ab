# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The claims of an application, and how each one can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, quantity
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._volume import placement, workloads

JSON = dict[str, Any]
SNAPSHOT_GROUP = "snapshot.storage.k8s.io"
SNAPSHOT_API = f"{SNAPSHOT_GROUP}/v1"
_DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
_METHODS = ("auto", "snapshot", "live", "stopped")


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim in scope. ``size`` in bytes; ``node`` where a pod uses it, else None."""

    namespace: str
    name: str
    phase: str
    storage_class: str | None
    driver: str | None
    size: int
    access_modes: tuple[str, ...]
    volume_mode: str
    node: str | None = None
    used_by: tuple[str, ...] = ()
    run_as_user: int | None = None
    # What the pods that use it are labelled with, where they say it: ``seLinuxOptions``.
    selinux: Mapping[str, str] | None = None
    # Where they may run: see :func:`placement.of`.
    placement: Mapping[str, Any] | None = None

    @property
    def device(self) -> bool:
        """Whether it is in block mode."""
        return self.volume_mode == "Block"

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.name}"

    def entry(self) -> JSON:
        """The claim's part of a result."""
        return {
            "name": self.label,
            "kind": "pvc",
            "namespace": self.namespace,
            "claim": self.name,
            "class": self.storage_class,
            "driver": self.driver,
            "size": self.size,
            "access_modes": list(self.access_modes),
            "volume_mode": self.volume_mode,
            "placement": self.placement,
        }


@dataclass(frozen=True)
class Source:
    """What is to be done with a claim: ``method`` and, for snapshots, the class; or why it cannot be done.

    With a ``group_class`` it is cut together with others.
    """

    claim: Claim
    method: str = "live"
    snapshot_class: str | None = None
    group_class: str | None = None
    problem: MusterError | None = None


@dataclass
class Survey:
    """All volumes of an application: sources, and what is left out by which rule."""

    sources: list[Source] = field(default_factory=list)
    # ``what`` and ``why``, and ``unbound`` where it was no rule: retention must not take that for one.
    excluded: list[JSON] = field(default_factory=list)
    # Volumes without a claim whose data is in no backup, and that no rule names; kinds that could not be looked at.
    holes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def survey(
    cluster: Cluster,
    namespaces: Sequence[str],
    exclude: Iterable[Mapping[str, Any]] = (),
    snapshot_classes: Mapping[str, str] | None = None,
    methods: Mapping[str, str] | None = None,
) -> Survey:
    """Find every claim of the namespaces and decide how it is read.

    ``snapshot_classes`` names the class for a driver where it is not to be found by itself, ``methods`` the method
    for a storage class (``snapshot``, ``live``, ``stopped`` or ``auto``). Raises :class:`NotFound` for a missing
    namespace, :class:`InvalidInput` for a rule or method that makes no sense.
    """
    found = Survey()
    rules = [_rule(entry) for entry in exclude]
    for storage_class, method in (methods or {}).items():
        if method not in _METHODS:
            raise InvalidInput(
                "use", f"methods entry {storage_class}", f"it is {method!r}", f"It is one of {', '.join(_METHODS)}."
            )
    facts = _Facts(cluster, dict(snapshot_classes or {}), dict(methods or {}))
    for namespace in namespaces:
        if cluster.find(object_path("v1", "namespaces", None, namespace)) is None:
            raise NotFound(
                "find",
                f"namespace {namespace} in cluster {cluster.name}",
                "it does not exist",
                "Correct the application's namespaces, or the cluster.",
            )
        here = workloads.read(cluster, namespace)
        _unclaimed(here, rules, found)
        for document in cluster.list(object_path("v1", "persistentvolumeclaims", namespace)):
            why, what = _excluded(namespace, document, rules), f"{namespace}/{document['metadata']['name']}"
            if why:
                found.excluded.append({"what": what, "why": why})
            elif facts.never_bound(document, here.pods):
                found.excluded.append({"what": what, "why": "never bound, holds no data", "unbound": True})
            else:
                found.sources.append(facts.source(facts.claim(document, here.pods)))
    return found


def users(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """The pods, other than our movers, that use a claim now."""
    return [pod["metadata"]["name"] for pod in workloads.mounting(workloads.pods(cluster, namespace), name)]


def refresh(cluster: Cluster, claim: Claim) -> Claim:
    """The claim with the pods that use it now; they may have moved since the survey."""
    users = workloads.mounting(workloads.pods(cluster, claim.namespace), claim.name)
    return replace(
        claim,
        node=next((pod["spec"]["nodeName"] for pod in users if pod["spec"].get("nodeName")), None),
        used_by=tuple(pod["metadata"]["name"] for pod in users),
        run_as_user=_run_as(users),
        selinux=_selinux(users, claim.name),
    )


def _rule(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    if not entry.get("name") or not entry.get("reason"):
        raise InvalidInput(
            "use",
            f"volumes.exclude entry {dict(entry)}",
            "it has no name or no reason",
            "Write {namespace: ..., name: ..., reason: ...}; name may hold * and ?.",
        )
    return str(entry.get("namespace") or "*"), str(entry["name"]), str(entry["reason"])


def _excluded(namespace: str, document: JSON, rules: list[tuple[str, str, str]]) -> str | None:
    metadata = document["metadata"]
    for where, name, reason in rules:
        if fnmatchcase(namespace, where) and fnmatchcase(metadata["name"], name):
            return reason
    if (metadata.get("labels") or {}).get(kinds.VELERO_EXCLUDE) == "true":
        return f"label {kinds.VELERO_EXCLUDE}=true"
    owners = [owner for owner in metadata.get("ownerReferences") or [] if owner.get("kind") == "Pod"]
    if owners:
        return f"ephemeral volume of pod {owners[0]['name']}; it ends with the pod"
    return None


def _unclaimed(here: workloads.Workloads, rules: list[tuple[str, str, str]], found: Survey) -> None:
    """Name the volumes that no claim stands for; a rule whose name holds a slash may give one its own reason."""
    found.unread += [f"{key} in namespace {here.namespace} ({error.reason})" for key, error in here.unread.items()]
    for one in here.unclaimed():
        title = f"{one.owner}/{one.volume}"
        reasons = (
            reason
            for where, name, reason in rules
            if "/" in name and fnmatchcase(one.namespace, where) and fnmatchcase(title, name)
        )
        known = next(reasons, None)
        found.excluded.append({"what": one.what, "why": known or one.why})
        if one.hole and known is None:
            found.holes.append(one.what)


class _Facts:
    """Storage classes, volumes and snapshot classes of a cluster, each read once."""

    def __init__(self, cluster: Cluster, explicit: dict[str, str], methods: dict[str, str]) -> None:
        self._cluster = cluster
        self._explicit = explicit
        self._methods = methods
        self._classes: dict[str, list[JSON]] | None = None
        self._drivers: set[str] | None = None
        self._volumes: dict[str, JSON] | None = None
        self._modes: dict[str, str] | None = None

    def never_bound(self, document: JSON, pods: Iterable[JSON]) -> bool:
        """Whether a claim waits for its first pod, and no pod wants it: nothing was ever written to it."""
        spec, phase = document["spec"], (document.get("status") or {}).get("phase") or "Pending"
        expects_data = spec.get("volumeName") or spec.get("dataSource") or spec.get("dataSourceRef")
        if phase != "Pending" or expects_data or workloads.mounting(pods, document["metadata"]["name"]):
            return False
        return self._binding_mode(str(spec.get("storageClassName") or "")) == "WaitForFirstConsumer"

    def _binding_mode(self, storage_class: str) -> str:
        if self._modes is None:
            path = object_path("storage.k8s.io/v1", "storageclasses")
            self._modes = {
                str(one["metadata"]["name"]): str(one.get("volumeBindingMode")) for one in self._cluster.list(path)
            }
        return self._modes.get(storage_class, "")

    def claim(self, document: JSON, pods: Iterable[JSON]) -> Claim:
        spec, status, metadata = document["spec"], document.get("status") or {}, document["metadata"]
        volume = self._volume(spec.get("volumeName"))
        users = workloads.mounting(pods, metadata["name"])
        capacity = (status.get("capacity") or {}).get("storage")
        requested = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        return Claim(
            namespace=metadata["namespace"],
            name=metadata["name"],
            phase=str(status.get("phase") or "Pending"),
            storage_class=spec.get("storageClassName"),
            driver=((volume or {}).get("spec", {}).get("csi") or {}).get("driver"),
            size=quantity.size(capacity or requested),
            access_modes=tuple(spec.get("accessModes") or ()),
            volume_mode=str(spec.get("volumeMode") or "Filesystem"),
            node=next((pod["spec"]["nodeName"] for pod in users if pod["spec"].get("nodeName")), None),
            used_by=tuple(pod["metadata"]["name"] for pod in users),
            run_as_user=_run_as(users),
            selinux=_selinux(users, metadata["name"]),
            placement=placement.of(users),
        )

    def _volume(self, name: str | None) -> JSON | None:
        if not name:
            return None
        if self._volumes is None:
            path = object_path("v1", "persistentvolumes")
            self._volumes = {item["metadata"]["name"]: item for item in self._cluster.list(path)}
        return self._volumes.get(name)

    def source(self, claim: Claim) -> Source:
        plan = Source(claim)
        try:
            _check(claim)
            wanted = self._methods.get(claim.storage_class or "", "auto")
            if wanted == "stopped":
                return replace(plan, method="stopped")
            # A live copy of a database is torn: where snapshots are the driver's way, it takes somebody's word.
            if wanted != "live" and claim.driver:
                return replace(plan, method="snapshot", snapshot_class=self._snapshot_class(claim))
            if wanted == "snapshot":
                raise InvalidInput(
                    "snapshot",
                    f"volume {claim.label}",
                    "it is not a CSI volume",
                    "Choose method stopped or live for its class.",
                )
            if "ReadWriteOncePod" in claim.access_modes and claim.used_by:
                raise Refused(
                    "read",
                    f"volume {claim.label}",
                    f"it is ReadWriteOncePod and pod {claim.used_by[0]} holds it",
                    f"Set the method of storage class {claim.storage_class or 'of this volume'} to stopped, so that "
                    "its pods are stopped while it is read, or give its driver a VolumeSnapshotClass.",
                )
        except MusterError as error:
            return replace(plan, problem=error)
        return plan

    def _snapshot_classes(self) -> dict[str, list[JSON]]:
        if self._classes is None:
            self._classes = {}
            try:
                for document in self._cluster.list(object_path(SNAPSHOT_API, "volumesnapshotclasses")):
                    self._classes.setdefault(str(document.get("driver")), []).append(document)
            except NotFound:  # a cluster without the snapshot API
                pass
        return self._classes

    def _snapshot_class(self, claim: Claim) -> str:
        driver = str(claim.driver)
        classes: dict[str, JSON] = {item["metadata"]["name"]: item for item in self._snapshot_classes().get(driver, [])}
        explicit = self._explicit.get(driver)
        if explicit:
            if explicit not in classes:
                raise NotFound(
                    "find",
                    f"VolumeSnapshotClass {explicit} for driver {driver}",
                    "there is none of that name for this driver",
                    f"Classes of the driver: {', '.join(sorted(classes)) or 'none'}.",
                )
            return explicit
        found = candidates(classes, _DEFAULT_CLASS)
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(
                "snapshot",
                f"volume {claim.label}",
                f"no VolumeSnapshotClass is for its driver {driver}",
                f"Create one. If the driver can not make snapshots, set the method of storage class "
                f"{claim.storage_class or 'of this volume'} to stopped, so that its pods are stopped while it is read, "
                "or to live: its data is then read while it is in use.",
            )
        raise InvalidInput(
            "snapshot",
            f"volume {claim.label}",
            f"{len(found)} snapshot classes of driver {driver} could be meant ({', '.join(found)})",
            f"Name one in snapshot_classes, or annotate one with {_DEFAULT_CLASS}.",
        )


def candidates(classes: Mapping[str, JSON], annotation: str) -> list[str]:
    """Which classes could be meant: those with the annotation of the default, or else all."""
    defaults = [
        name for name, item in classes.items() if (item["metadata"].get("annotations") or {}).get(annotation) == "true"
    ]
    return sorted(defaults or classes)


def _check(claim: Claim) -> None:
    target = f"volume {claim.label}"
    if claim.phase == "Pending":
        raise Refused(
            "read",
            target,
            "the claim is Pending, it has no volume yet",
            "Look at its events; start a pod that uses it, delete it, or exclude it in volumes.exclude.",
        )
    if claim.phase != "Bound":
        raise Refused(
            "read",
            target,
            f"the claim is {claim.phase}, its volume is gone",
            "Mend or delete the claim, or exclude it in volumes.exclude.",
        )


def _run_as(pods: Iterable[JSON]) -> int | None:
    for pod in pods:
        contexts = [pod["spec"].get("securityContext")]
        contexts += [container.get("securityContext") for container in pod["spec"]["containers"]]
        for context in contexts:
            if context and context.get("runAsUser"):
                return int(context["runAsUser"])
    return None


def _selinux(pods: Iterable[JSON], claim: str) -> JSON | None:
    """The label of the first container that has the claim and says one, else what its pod says."""
    for pod in pods:
        spec = pod["spec"]
        every = spec.get("volumes") or []
        volumes = {volume["name"] for volume in every if workloads.names({"volumes": [volume]}, claim)}
        having = [one for one in spec["containers"] if volumes & {where["name"] for where in _places(one)}]
        for owner in (*having, spec):
            options = (owner.get("securityContext") or {}).get("seLinuxOptions")
            if options:
                return dict(options)
    return None


def _places(container: JSON) -> list[JSON]:
    return [*(container.get("volumeMounts") or []), *(container.get("volumeDevices") or [])]
