# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What makes pods in a namespace: who owns a pod, and which volumes of pods no claim stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    ApiDenied,
    ApiNotFound,
    Cluster,
    object_path,
)

JSON = dict[str, Any]
# Kinds that make pods; a PodTemplate makes none.
KINDS = tuple(key for key in kinds.POD_SPECS if key not in ("pods", "podtemplates"))
# Volumes that are part of the objects, or that a claim stands for.
_CAPTURED = (
    "configMap",
    "downwardAPI",
    "ephemeral",
    "gitRepo",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
# What of a host path is a door and no data.
_DOORS = ("Socket", "CharDevice")


@dataclass(frozen=True)
class Workload:
    """An object that makes pods; ``key`` as in ``deployments.apps``."""

    key: str
    obj: JSON

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def spec(self) -> JSON:
        """That of its pods."""
        return objects.pod_spec(self.key, self.obj) or {}

    def __str__(self) -> str:
        return str(objects.identity(self.key, self.obj))


@dataclass(frozen=True)
class Unclaimed:
    """A volume of pods that no claim stands for; a ``hole`` holds data that is in no backup."""

    namespace: str
    owner: str
    volume: str
    why: str
    hole: bool

    @property
    def what(self) -> str:
        return f"{self.namespace}/{self.owner}/{self.volume}"


@dataclass
class Workloads:
    """The pods of a namespace, without our movers, and what makes them; ``unread``: kinds that may not be listed."""

    namespace: str
    pods: list[JSON]
    made_by: dict[str, Workload] = field(default_factory=dict)
    unread: dict[str, ApiDenied] = field(default_factory=dict)

    def chain(self, obj: JSON) -> tuple[list[Workload], JSON | None]:
        """The controllers of a pod or workload, nearest first, and the reference to one above them of another kind."""
        found: list[Workload] = []
        owner = objects.controller(obj)
        while owner is not None:
            above = self.made_by.get(str(owner.get("uid")))
            if above is None:
                return found, owner
            found.append(above)
            owner = objects.controller(above.obj)
        return found, None

    def tops(self) -> Iterator[Workload]:
        """Those that no other one makes."""
        for one in self.made_by.values():
            owner = objects.controller(one.obj)
            if owner is None or str(owner.get("uid")) not in self.made_by:
                yield one

    def unclaimed(self) -> list[Unclaimed]:
        """Volumes of the pods and of the templates for pods, each once for all pods of one workload, ordered."""
        found = {
            Unclaimed(self.namespace, owner, str(volume.get("name")), *told)
            for owner, spec in self._specs()
            for volume in spec.get("volumes") or []
            for told in [_told(volume)]
            if told is not None
        }
        return sorted(found, key=lambda one: (one.what, one.why))

    def _specs(self) -> Iterator[tuple[str, JSON]]:
        for pod in self.pods:
            yield self._owner(pod), pod["spec"]
        for one in self.tops():
            yield self._owner(one.obj), one.spec

    def _owner(self, obj: JSON) -> str:
        """A name that stays the same from backup to backup, where there is one."""
        chain, above = self.chain(obj)
        if above is not None and above.get("kind") != "Node":
            return str(above.get("name"))
        return chain[-1].name if chain else str(obj["metadata"]["name"])


def read(cluster: Cluster, namespace: str) -> Workloads:
    """List the pods of a namespace and all that makes pods there."""
    found = Workloads(namespace, pods(cluster, namespace))

    def items(key: str) -> list[JSON]:
        plural, _dot, group = key.partition(".")
        return list(cluster.list(object_path(f"{group}/v1" if group else "v1", plural, namespace)))

    for outcome in pool.each(KINDS, items, workers=len(KINDS)):
        if isinstance(outcome.error, ApiDenied):
            found.unread[outcome.item] = outcome.error
        elif outcome.error is not None and not isinstance(outcome.error, ApiNotFound):
            raise outcome.error
        for obj in outcome.value or []:
            if not _ours(obj):
                found.made_by[objects.uid_of(obj)] = Workload(outcome.item, obj)
    return found


def pods(cluster: Cluster, namespace: str) -> list[JSON]:
    """The pods of a namespace without our movers."""
    return [pod for pod in cluster.list(object_path("v1", "pods", namespace)) if not _ours(pod)]


def mounting(candidates: Iterable[JSON], claim: str) -> list[JSON]:
    """The pods that have not ended and that mount a claim."""
    return [
        pod
        for pod in candidates
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") and names(pod["spec"], claim)
    ]


def names(spec: JSON, claim: str) -> bool:
    """Whether a pod specification mounts a claim."""
    volumes = spec.get("volumes") or []
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim for volume in volumes)


def _ours(obj: JSON) -> bool:
    return marks.MOVER in objects.labels_of(obj)


def _told(volume: JSON) -> tuple[str, bool] | None:
    """Why a volume is not captured, and whether its data is missed; ``None`` for one that is."""
    kind = next((key for key in volume if key != "name"), "emptyDir")
    if kind in _CAPTURED:
        return None
    source = volume.get(kind) or {}
    if kind == "hostPath":
        why = f"hostPath {source.get('path')} belongs to the node and is not captured"
        return why, source.get("type") not in _DOORS
    if kind == "csi":
        return f"ephemeral volume of driver {source.get('driver')}; it ends with the pod", False
    if kind == "emptyDir":
        medium = " in memory" if source.get("medium") == "Memory" else ""
        return f"emptyDir{medium}; it ends with the pod", False
    # What else it says may hold a login.
    place = f" {source.get('server')}:{source.get('path')}" if kind == "nfs" else ""
    return f"{kind}{place} is named in the pod itself, without a claim, and is not captured", True
