# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The namespaces that movers run in: ours, made and removed again, and the application's."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    ApiError,
    ApiNotFound,
    Cluster,
    object_path,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_security import ENFORCE
from ansible_collections.muster.container_dr.plugins.module_utils._volume import alive, naming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import SNAPSHOT_API

JSON = dict[str, Any]
# DAC_READ_SEARCH is not in "baseline", and nobody but us works in this namespace.
_OURS = {ENFORCE: "privileged", **naming.MANAGED_BY}
# On it, for each application whose backup uses it, what that says of its life. The next one of the same application
# replaces that of a run that was killed; its movers, if there are any, keep the namespace anyway.
_USER = marks.PREFIX + "user-"
# Seconds after which a backup counts as killed.
_LONGEST = 86400.0
_ATTEMPTS = 5
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


def ensure_ours(cluster: Cluster, name: str, application: str) -> None:
    """Our own namespace, where movers may read files of any owner; it stays until the application lets go of it."""
    path = object_path("v1", "namespaces", None, name)
    for _attempt in range(_ATTEMPTS):
        ensure(cluster, name, _OURS)
        # Another run may have taken it away since it was looked at.
        with contextlib.suppress(ApiNotFound):
            said = alive.words(cluster, _LONGEST)
            found = cluster.patch(path, {"metadata": {"annotations": {_user(application): said}}})
            if not found["metadata"].get("deletionTimestamp"):
                break
    else:
        raise Unavailable("use", f"namespace {name}", "it is deleted again and again", "See who deletes it.")
    level = (found["metadata"].get("labels") or {}).get(ENFORCE)
    if level not in (None, "privileged"):
        raise Conflict(
            "use",
            f"namespace {name}",
            f"it enforces the Pod Security level {level}, movers of snapshots need privileged",
            "Choose another name for mover.namespace, or delete the namespace.",
        )


def remove_ours(cluster: Cluster, name: str, application: str | None = None) -> bool:
    """Let go of our namespace for an application, and delete it where we made it and no other backup uses it.

    Without an application nothing is let go.
    """
    user = _user(application) if application else None
    path = object_path("v1", "namespaces", None, name)
    for _attempt in range(_ATTEMPTS):
        found = cluster.find(path)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return False
        metadata = found["metadata"]
        ours = all((metadata.get("labels") or {}).get(key) == value for key, value in naming.MANAGED_BY.items())
        used = _used(cluster, metadata, user) or any(_holds(cluster, object_path(*kind, name)) for kind in _IN_USE)
        if used or not ours:
            with contextlib.suppress(ApiNotFound):
                if user:
                    cluster.patch(path, {"metadata": {"annotations": {user: None}}})
            return False
        try:
            # As it was seen: whoever has begun to use it since then has written that on it.
            return cluster.delete(path, uid=metadata["uid"], version=metadata["resourceVersion"])
        except ApiError as error:
            if error.status != 409:
                raise
    return False


def _user(application: str) -> str:
    return _USER + hashlib.sha256(application.encode()).hexdigest()[:16]


def _used(cluster: Cluster, metadata: JSON, user: str | None) -> bool:
    """Whether others than this one use the namespace."""
    notes = (metadata.get("annotations") or {}).items()
    return any(_lives(cluster, str(value)) for key, value in notes if key.startswith(_USER) and key != user)


def _lives(cluster: Cluster, text: str) -> bool:
    said = alive.read(text)
    if said is not None:
        return not said.over(cluster.now())
    try:
        # An earlier version says since when.
        return (cluster.now() - clock.parse(text)).total_seconds() < _LONGEST
    except InvalidInput:
        return False


def _holds(cluster: Cluster, path: str) -> bool:
    try:
        return next(cluster.list(path), None) is not None
    except NotFound:  # a kind that this cluster does not know
        return False


def level(cluster: Cluster, name: str) -> str:
    """The Pod Security level that a namespace enforces; ``privileged`` where it says nothing."""
    found = cluster.find(object_path("v1", "namespaces", None, name)) or {"metadata": {}}
    return str((found["metadata"].get("labels") or {}).get(ENFORCE) or "privileged")
