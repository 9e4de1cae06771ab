# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Statuses of chosen kinds come back: kinds that serve them apart ignore them when an object is created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiNotFound, Cluster


def put_back(cluster: Cluster, path: str, wanted: JSON, live: JSON, *, manager: str) -> JSON:
    """Write the wanted object's status, if it has one, to the object at ``path`` and return how that is then.

    ``live`` is the server's answer to the write before. Raises :class:`ApiError` where the server refuses the status.
    """
    status = wanted.get("status")
    if not status or json_patch.same(live.get("status"), status):
        return live
    try:
        return cluster.patch(f"{path}/status", {"status": status}, manager=manager)
    except ApiNotFound:
        # The kind does not serve it apart; what was created is all that there is.
        return live


def write(cluster: Cluster, path: str, status: Any, *, manager: str, dry_run: bool = False) -> JSON:
    """Merge a status into that of the object at ``path``, however its kind serves it, and return how it is then."""
    body = {"status": status}
    try:
        return cluster.patch(f"{path}/status", body, manager=manager, dry_run=dry_run)
    except ApiNotFound:
        return cluster.patch(path, body, manager=manager, dry_run=dry_run)


def merged(live: JSON, status: Any) -> dict[str, Any]:
    """The object's status once the wanted one is merged into it."""
    before: Any = live.get("status")
    return {"status": json_patch.merged(before if isinstance(before, Mapping) else {}, status)}


def lacking(live: JSON, status: Any) -> bool:
    """Whether the wanted status says anything that the object's own does not."""
    return bool(status) and not json_patch.same(live.get("status"), merged(live, status)["status"])
