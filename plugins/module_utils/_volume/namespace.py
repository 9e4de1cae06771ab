# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The namespaces that movers run in: ours, made and removed again, and the application's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict, NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_security import ENFORCE
from ansible_collections.muster.container_dr.plugins.module_utils._volume import naming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import SNAPSHOT_API

JSON = dict[str, Any]
# DAC_READ_SEARCH is not in "baseline", and nobody but us works in this namespace.
_OURS = {ENFORCE: "privileged", **naming.MANAGED_BY}
_IN_USE = (
    ("batch/v1", "jobs"),
    ("v1", "pods"),
    ("v1", "persistentvolumeclaims"),
    (SNAPSHOT_API, "volumesnapshots"),
)


def ensure(cluster: Cluster, name: str, labels: Mapping[str, str] | None = None, *, timeout: float = 120.0) -> bool:
    """Make sure that a namespace is there and that pods can be made in it; True where it was created.

    One that is being deleted is waited for and made anew.
    """
    path = object_path("v1", "namespaces", None, name)
    end = time.monotonic() + timeout
    created = False
    while True:
        found = cluster.find(path)
        if found is None:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
            try:
                cluster.create(object_path("v1", "namespaces"), body)
                created = True
            except ApiError as error:
                if error.status != 409:
                    raise
        elif not found["metadata"].get("deletionTimestamp") and (
            not created or cluster.find(object_path("v1", "serviceaccounts", name, "default"))
        ):
            return created
        if time.monotonic() >= end:
            raise Unavailable(
                "use", f"namespace {name}", f"it was not usable after {timeout:g} seconds", "See what keeps it there."
            )
        time.sleep(0.3)


def ensure_ours(cluster: Cluster, name: str) -> None:
    """Our own namespace, where movers may read files of any owner."""
    ensure(cluster, name, _OURS)
    found = cluster.get(object_path("v1", "namespaces", None, name))
    level = (found["metadata"].get("labels") or {}).get(ENFORCE)
    if level not in (None, "privileged"):
        raise Conflict(
            "use",
            f"namespace {name}",
            f"it enforces the Pod Security level {level}, movers of snapshots need privileged",
            "Choose another name for mover.namespace, or delete the namespace.",
        )


def remove_ours(cluster: Cluster, name: str) -> bool:
    """Delete our namespace where we made it and nothing of another run is in it."""
    path = object_path("v1", "namespaces", None, name)
    found = cluster.find(path)
    if found is None:
        return False
    labels = found["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in naming.MANAGED_BY.items()):
        return False
    if any(_holds(cluster, object_path(api, resource, name)) for api, resource in _IN_USE):
        return False
    return cluster.delete(path, uid=found["metadata"]["uid"])


def _holds(cluster: Cluster, path: str) -> bool:
    try:
        return next(cluster.list(path), None) is not None
    except NotFound:  # a kind that this cluster does not know
        return False


def level(cluster: Cluster, name: str) -> str:
    """The Pod Security level that a namespace enforces; ``privileged`` where it says nothing."""
    found = cluster.find(object_path("v1", "namespaces", None, name)) or {"metadata": {}}
    return str((found["metadata"].get("labels") or {}).get(ENFORCE) or "privileged")
