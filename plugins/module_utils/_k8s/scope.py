# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The namespaces that an application means in a cluster, from its names, globs and exclusions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, selection
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiDenied, Cluster


@dataclass
class Scope:
    """The namespaces by name, in the order of the patterns that mean them.

    In ``excluded`` is what was left out and why; ``present`` is how many the cluster has.
    """

    namespaces: dict[str, JSON] = field(default_factory=dict)
    excluded: list[dict[str, str]] = field(default_factory=list)
    present: int = 0


def of(cluster: Cluster, chosen: selection.Selection) -> Scope:
    """Look into the cluster. Raises :class:`NotFound`, which names the patterns, where one matches nothing."""
    there: dict[str, JSON] = {obj["metadata"]["name"]: obj for obj in listed(cluster, chosen)}
    scope = Scope(present=len(there))
    picked = chosen.pick_namespaces(there)
    for name in sorted(picked, key=lambda name: (_place(chosen.namespaces, name), name)):
        why = selection.excluded_by_mark(there[name])
        if not why and there[name]["metadata"].get("deletionTimestamp") and kinds.DELETED in chosen.leave_out:
            why = "it was being deleted at that moment"
        if why:
            scope.excluded.append({"what": f"{kinds.NAMESPACES}/{name}", "why": why})
        else:
            scope.namespaces[name] = there[name]
    return scope


def _place(patterns: tuple[str, ...], name: str) -> int:
    return next((index for index, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), len(patterns))


def listed(cluster: Cluster, chosen: selection.Selection) -> Iterable[JSON]:
    """The cluster's namespaces, or those named exactly where listing them is not allowed."""
    path = "/api/v1/namespaces"
    try:
        return list(cluster.list(path))
    except ApiDenied:
        exact = [name for name in chosen.namespaces if not kinds.is_glob(name)]
        if len(exact) < len(chosen.namespaces):
            raise
        read = (cluster.find(f"{path}/{name}") for name in exact)
        return [obj for obj in read if obj is not None]
