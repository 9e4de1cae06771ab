# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Questions about single objects, and the reduced form in which they are compared and kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON


@dataclass(frozen=True, order=True, slots=True)
class Identity:
    """What tells objects of a cluster apart; ``namespace`` is empty for cluster-scoped ones."""

    namespace: str
    key: str
    name: str

    def __str__(self) -> str:
        """``ledger/deployments.apps/api``, or ``storageclasses.storage.k8s.io/csi`` without a namespace."""
        return "/".join(part for part in (self.namespace, self.key, self.name) if part)


def identity(key: str, obj: JSON) -> Identity:
    metadata = obj.get("metadata") or {}
    return Identity(str(metadata.get("namespace") or ""), key, str(metadata.get("name") or ""))


def uid_of(obj: JSON) -> str:
    return str(obj["metadata"].get("uid"))


def link(obj: JSON, owners: Sequence[JSON]) -> JSON:
    """The object, linked in place to these owners; without any it keeps those that it has."""
    if owners:
        obj["metadata"]["ownerReferences"] = list(owners)
    return obj


def labels_of(obj: JSON) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations_of(obj: JSON) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def owners(obj: JSON) -> list[JSON]:
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def controller(obj: JSON) -> JSON | None:
    """The one owner that controls the object."""
    return next((owner for owner in owners(obj) if owner.get("controller")), None)


def controlled_by_built_in(obj: JSON) -> JSON | None:
    """The controller, where it is one of Kubernetes' own, which make their children again."""
    owner = controller(obj)
    if owner is None:
        return None
    group = str(owner.get("apiVersion") or "").rpartition("/")[0]
    return owner if (group, owner.get("kind")) in kinds.BUILT_IN_CONTROLLERS else None


def finalizers(obj: JSON) -> list[str]:
    return list((obj.get("metadata") or {}).get("finalizers") or [])


def lookup(obj: JSON, path: tuple[str, ...]) -> Any:
    """What lies at the path, or ``None``."""
    value: Any = obj
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def pod_spec(key: str, obj: JSON) -> JSON | None:
    """The pod specification inside an object of a kind that has one."""
    path = kinds.POD_SPECS.get(key)
    spec = lookup(obj, path) if path else None
    return spec if isinstance(spec, dict) else None


def pod_metadata(key: str, obj: JSON) -> JSON | None:
    """The metadata of the pods that an object makes (not of a bare pod itself)."""
    path = kinds.POD_SPECS.get(key)
    if not path or key == "pods":
        return None
    template = lookup(obj, path[:-1])
    if not isinstance(template, dict):
        return None
    metadata = template.setdefault("metadata", {})
    return metadata if isinstance(metadata, dict) else None


def holds_pods(key: str) -> bool:
    """Whether objects of this kind are pods or have a template for them."""
    return key in kinds.POD_SPECS


def pod_marks(key: str, obj: JSON) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations of the pods that an object is or makes; the object stays as it is."""
    path = kinds.POD_SPECS.get(key)
    pod = lookup(obj, path[:-1]) if path and key != "pods" else obj
    return (labels_of(pod), annotations_of(pod)) if isinstance(pod, dict) else ({}, {})


def containers(spec: JSON) -> Iterator[JSON]:
    """All containers of a pod specification, init containers first."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or []


def images(spec: JSON) -> Iterator[tuple[str, JSON, str]]:
    """Every place of a pod specification that names an image: who uses it, what holds the name, under which key.

    The user is a container's name, or ``volume NAME`` for an image that is mounted.
    """
    for container in containers(spec):
        if container.get("image"):
            yield str(container.get("name")), container, "image"
    for volume in spec.get("volumes") or []:
        if (volume.get("image") or {}).get("reference"):
            yield f"volume {volume.get('name')}", volume["image"], "reference"


def reduce_managed_fields(obj: JSON) -> None:
    """Keep who owns what by which operation; drop times and everything about status, which change by themselves."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return
    kept = []
    for entry in metadata["managedFields"] or []:
        if entry.get("subresource") == "status":
            continue
        fields = entry.get("fieldsV1") or {}
        fields.pop("f:status", None)
        if not fields:
            continue
        entry.pop("time", None)
        kept.append(entry)
    if len(kept) > 1:
        kept.sort(
            key=lambda entry: (entry.get("manager") or "", entry.get("operation") or "", entry.get("subresource") or "")
        )
    if kept:
        metadata["managedFields"] = kept
    else:
        del metadata["managedFields"]


_VOLATILE = ("resourceVersion", "generation", "managedFields", "uid", "creationTimestamp", "selfLink")


def essence(obj: JSON) -> JSON:
    """The object without what the server writes about it: equal essences mean that nobody changed anything."""
    reduced = {name: value for name, value in obj.items() if name != "status"}
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in _VOLATILE}
    reduced["metadata"] = metadata
    return reduced


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)


def canonical(obj: JSON) -> str:
    """The one way in which an object is written: sorted keys, no spaces, one line."""
    return _CANONICAL.encode(obj)


def canonical_list(entries: list[JSON]) -> str:
    """Several objects in the same way."""
    return json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def copied(obj: JSON) -> JSON:
    return copy.deepcopy(obj)
