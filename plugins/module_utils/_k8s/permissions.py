# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which requests of a restore the identity in use may not make, asked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Action, Step

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# A verb, such as ``patch`` or ``patch/status``, what it is done to, and in which namespace.
Question = tuple[str, Resource, str]
_STATUS = "patch/status"


def _verbs(step: Step) -> tuple[str, ...]:
    apart = step.resource is not None and step.resource.status_apart
    if step.only_part:
        # Fields are given back by a patch of the object itself.
        return ("patch", _STATUS) if step.only_status and apart else ("patch",)
    # Where a kind does not serve it apart, it is written with the object.
    status = (_STATUS,) if step.has_status and apart else ()
    if step.action is Action.RECREATE:
        return ("delete", "create", *status)
    if step.action is Action.UPDATE:
        return ("patch" if step.merges else "update", *status)
    # Applying creates by a patch; a second request gives fields back by one.
    return ("create", *status) if step.author.whole and not step.author.applies else ("create", "patch", *status)


def _allowed(cluster: Cluster, verb: str, resource: Resource | None, namespace: str) -> bool | None:
    verb, _slash, part = verb.partition("/")
    attributes = {
        "verb": verb,
        "group": resource.group if resource else "*",
        "resource": resource.name if resource else "*",
        "subresource": part,
        "namespace": namespace,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        answer = cluster.request("POST", _REVIEWS, body=body, action="review permissions at")
    except ApiError:
        # Not every authorizer can be asked; the server will say it then.
        return None
    return bool((answer.get("status") or {}).get("allowed"))


def block_denied(cluster: Cluster, steps: Iterable[Step], *, workers: int) -> None:
    """Block every step that needs a request which the identity may not make."""
    writing = [step for step in steps if step.action in WRITES and step.resource is not None]
    if not writing or _allowed(cluster, "*", None, "") is not False:
        return
    questions: dict[Question, list[Step]] = {}
    for step in writing:
        for verb in _verbs(step):
            if step.resource is not None:
                questions.setdefault((verb, step.resource, step.identity.namespace), []).append(step)
    # Who may do it everywhere may do it in each namespace.
    wide = sorted({(verb, resource, "") for verb, resource, _namespace in questions}, key=str)
    answers = _answers(cluster, wide, workers)
    narrow = [
        (verb, resource, namespace)
        for verb, resource, namespace in questions
        if namespace and answers.get((verb, resource, "")) is False
    ]
    answers.update(_answers(cluster, narrow, workers))
    for (verb, resource, namespace), affected in questions.items():
        if answers.get((verb, resource, "")) is not False or answers.get((verb, resource, namespace)) is not False:
            continue
        where = f" in namespace {namespace}" if namespace else ""
        plain, _slash, part = verb.partition("/")
        what = f"the {part} of {resource.key}" if part else resource.key
        for step in affected:
            step.decide(Action.BLOCKED, f"the identity in use may not {plain} {what}{where}", "seen")


def _answers(cluster: Cluster, questions: list[Question], workers: int) -> dict[Question, bool | None]:
    found: dict[Question, bool | None] = {}
    for outcome in pool.each(questions, lambda one: _allowed(cluster, *one), workers=workers):
        if outcome.error is not None:
            raise outcome.error
        found[outcome.item] = outcome.value
    return found
