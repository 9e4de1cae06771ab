# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a server put into a pod stays in its replacement: of a pod's specification hardly anything can be changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects, strip
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

# Filled in from the account, the classes and the node; those for debugging have a request of their own.
_FIELDS = (
    "ephemeralContainers",
    "imagePullSecrets",
    "nodeName",
    "overhead",
    "preemptionPolicy",
    "priority",
    "serviceAccount",
    "serviceAccountName",
)
# For how long a pod stays on a node that is lost, of every pod that does not say.
_LOST_NODE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def carry_over(body: JSON, live: JSON) -> None:
    """Put into a pod's replacement, in place, what the live pod has from the server and the replacement lacks."""
    spec, held = body["spec"], live["spec"]
    for field in _FIELDS:
        if held.get(field) is not None and not spec.get(field):
            spec[field] = held[field]
    named = {one.get("key") for one in spec.get("tolerations") or []}
    added = [one for one in held.get("tolerations") or [] if one.get("key") in _LOST_NODE and one["key"] not in named]
    if added:
        spec["tolerations"] = [*(spec.get("tolerations") or []), *added]
    tokens = {str(one["name"]) for one in held.get("volumes") or [] if strip.is_token_volume(str(one["name"]))}
    _insert(spec, held, "volumes", tokens)
    for field in ("initContainers", "containers"):
        counterparts = {one["name"]: one for one in held.get(field) or []}
        for container in spec.get(field) or []:
            other = counterparts.get(container["name"])
            if other is None:
                continue
            _insert(container, other, "volumeMounts", tokens)
            if strip.LIMITED in objects.annotations_of(live):
                _fill_in(container, other.get("resources") or {})


def _insert(parent: JSON, held: JSON, field: str, names: Collection[str]) -> None:
    """Put the named items of the live list where they are there."""
    items: list[Any] = list(parent.get(field) or [])
    for place, one in enumerate(held.get(field) or []):
        if one["name"] in names:
            items.insert(place, one)
    if items:
        parent[field] = items


def _fill_in(container: JSON, held: JSON) -> None:
    """The defaults of a limit range."""
    for part in ("requests", "limits"):
        if held.get(part):
            resources = container.setdefault("resources", {})
            resources[part] = {**held[part], **(resources.get(part) or {})}
