# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What became of the objects that a restore has made: some are accepted by the server and deleted at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    FEW_NAMESPACES,
    METADATA_ONLY,
    ApiDenied,
    Cluster,
    Resource,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

_MADE = (Action.CREATE, Action.RECREATE)


def note_vanished(cluster: Cluster, steps: Iterable[Step], *, workers: int) -> None:
    """Mark those of the created objects as failed that are not there any more.

    Where nothing can be listed nothing is claimed. Jobs that remove themselves when they are done may be gone.
    """
    made: dict[str, list[Step]] = {}
    for step in steps:
        if step.changed and not step.failed and step.action in _MADE and not _removes_itself(step):
            made.setdefault(step.key, []).append(step)

    def look(members: list[Step]) -> None:
        there = _there(cluster, members)
        for step in members:
            if there is not None and step.identity not in there:
                step.failed = True
                step.msg = (
                    "the server accepted it, and it is gone again: something in the cluster deletes it. "
                    "Look for a controller or policy that cleans up objects of this kind."
                )

    for outcome in pool.each(list(made.values()), look, workers=workers):
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error


def _removes_itself(step: Step) -> bool:
    return step.key == "jobs.batch" and "ttlSecondsAfterFinished" in step.body["spec"]


def _there(cluster: Cluster, members: list[Step]) -> set[objects.Identity] | None:
    """Who is there of a kind, where the members are; ``None`` where that may not be looked at."""
    resource = members[0].resource
    if resource is None or "list" not in resource.verbs:
        return None
    namespaces = sorted({step.identity.namespace for step in members})
    if resource.namespaced and len(namespaces) <= FEW_NAMESPACES:
        return {one for namespace in namespaces for one in _listed(cluster, resource, namespace)}
    try:
        return set(_listed(cluster, resource, None))
    except ApiDenied:
        if not resource.namespaced:
            raise
        return {one for namespace in namespaces for one in _listed(cluster, resource, namespace)}


def _listed(cluster: Cluster, resource: Resource, namespace: str | None) -> Iterator[objects.Identity]:
    for page in cluster.pages(resource.path(namespace), accept=METADATA_ONLY):
        for obj in page.items:
            yield objects.identity(resource.key, obj)
