# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Ask the server about objects that are to be created, without storing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    admission,
    existing,
    foresight,
    kinds,
    objects,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.plan import Plan
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

# Answers that say that the object itself is at fault, wherever it were put.
_AT_FAULT = (400, 422)
# In which a body is tried whose own namespace does not exist yet.
_STAND_IN = "default"
_POD_SECURITY = "pod-security.kubernetes.io/"


def ask_about_creates(cluster: Cluster, plan: Plan, *, workers: int = 8) -> None:
    """Turn steps that the server would refuse into blocked ones, and note how sure the others are.

    An object whose namespace does not exist yet, or gets other labels of those by which policies choose, is tried in
    namespace `default`: what the server says about the object itself holds (``schema``), what it says about that
    namespace's quota, policies and permissions does not.
    """
    there = plan.target.namespaces.keys() - _changing(cluster, plan)

    def ask(step: Step) -> None:
        namespace = step.identity.namespace
        if not namespace or namespace in there:
            try:
                _create(cluster, step, namespace)
            except ApiError as error:
                if error.cause == "AlreadyExists":
                    return
                step.decide(Action.BLOCKED, error.reason)
            step.sure = "dry_run"
            return
        try:
            _create(cluster, step, _STAND_IN)
        except ApiError as error:
            if error.status in _AT_FAULT:
                step.decide(Action.BLOCKED, error.reason, "schema")
            elif error.cause == "AlreadyExists":
                step.sure = "schema"
            return
        step.sure = "schema"

    for outcome in pool.each(_questions(plan), ask, workers=workers):
        if outcome.error is not None:
            raise outcome.error
    foresight.consequences(plan.steps)


def _changing(cluster: Cluster, plan: Plan) -> set[str]:
    """Namespaces that get other labels of those by which policies choose: they cannot be asked about yet."""
    changed: dict[str, set[str]] = {}
    for step in plan.steps:
        if step.key == kinds.NAMESPACES and step.action is Action.UPDATE and step.live is not None:
            before = objects.labels_of(step.live)
            given = existing.namespace_patch(step, plan.wishes)["labels"]
            changed[step.identity.name] = {name for name, value in given.items() if before.get(name) != value}
    if not any(changed.values()):
        return set()
    chosen_by = admission.selecting_labels(cluster)
    return {
        namespace
        for namespace, names in changed.items()
        if any(name in chosen_by or name.startswith(_POD_SECURITY) for name in names)
    }


def _create(cluster: Cluster, step: Step, namespace: str) -> None:
    body: Any = step.text
    if namespace != step.identity.namespace:
        body = step.body
        body["metadata"]["namespace"] = namespace
    if step.resource is not None:
        query = {"fieldManager": step.author.manager, "dryRun": "All"}
        path = step.resource.path(namespace or None)
        cluster.request("POST", path, query=query, body=body, action="create", raw=True)


def _questions(plan: Plan) -> Iterator[Step]:
    coming = {step.identity.name for step in plan.steps if step.key == kinds.CRDS and step.action is Action.CREATE}
    for step in plan.steps:
        # What a definition or an API of this very plan will serve cannot be asked about yet.
        known = step.key not in coming and not step.awaits and not step.unserved
        if step.action is Action.CREATE and known and step.resource is not None:
            yield step
