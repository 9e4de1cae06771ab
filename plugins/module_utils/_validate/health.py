# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A01 and A02: is everything that the point holds running and ready?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import explanation, readiness, waiting
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Ending, Look, Pace, Waited
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import Finding, Result

NAME = "workloads and pods are ready"
_WORKLOADS = (readiness.DEPLOYMENTS, readiness.STATEFUL_SETS, readiness.DAEMON_SETS)
_NAMED = 3
# More would fill a report; the first ones are the causes.
_LISTED = 200


def wait_until_healthy(
    cluster: Cluster,
    namespaces: Sequence[str],
    *,
    timeout: float,
    counts: Mapping[str, int],
    ignore: Sequence[str],
    progress: Progress,
    pace: Pace | None = None,
) -> Waited:
    """Wait for everything in the namespaces, and for the kinds of custom resources that the point counts."""
    told = _Told(progress)
    waited = waiting.wait(
        cluster, namespaces, timeout=timeout, custom=list(counts) or None, ignore=ignore, report=told.look, pace=pace
    )
    told.end(waited)
    return waited


class _Told:
    """Says what is still waited for, when that changes, and not more often than once a second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = ""
        self._when = 0.0

    def look(self, look: Look, _seconds: float) -> None:
        text = still(look)
        now = time.monotonic()
        if text != self._last and now - self._when >= 1.0:
            self._last, self._when = text, now
            self._progress.update("check", f"A01 {NAME}", "running", msg=text)

    def end(self, waited: Waited) -> None:
        if waited.ending is not Ending.READY:
            self._progress.update("check", f"A01 {NAME}", "running", msg=f"gave up: {still(waited.look)}")


def still(look: Look) -> str:
    """``3 of 17 wait: Deployment ledger/api 1 of 2 ready``."""
    if look.server_is_silent:
        return f"the API server does not answer: {next(iter(look.silent.values()))}"
    roots = explanation.roots(look)
    parts = []
    for one in roots[:_NAMED]:
        why = explanation.cause(look, one)
        parts.append(f"{one.title} {one.verdict.reason}" + (f" ({why})" if why else ""))
    parts += [f"{key} {why}" for key, why in look.silent.items()][: _NAMED - len(parts)]
    more = len(roots) + len(look.silent) - len(parts)
    text = f"{len(look.waiting) + len(look.silent)} of {len(look.standings) + len(look.silent)} wait: "
    return text + "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def ready(cluster: Cluster, waited: Waited, timeout: float) -> Finding:
    """A01: everything is ready; if not, the details say why."""
    look = waited.look
    if look.server_is_silent:
        return Finding(
            Result.ERROR,
            f"the API server does not answer any more: {next(iter(look.silent.values()))}",
            "See that the cluster's API server runs, then run the same again.",
            {"silent": dict(look.silent)},
        )
    if waited.ending is not Ending.READY:
        return _not_ready(cluster, waited, timeout)
    pods = sum(1 for one in look.standings if one.key == readiness.PODS and one.verdict.reason == "ready")
    if not pods:
        return Finding(
            Result.FAIL,
            "no pod runs, so nothing was brought back to life",
            "Check that the point holds the workloads and that they were not restored with zero replicas.",
            _common(look),
        )
    workloads = look.count(*_WORKLOADS)
    found = f"{workloads} workloads, {pods} pods ready after {waited.seconds:.0f} s"
    if look.unseen:
        return Finding(
            Result.WARN,
            f"{found}; could not look at {', '.join(sorted(look.unseen))}",
            "Grant list on these kinds, see docs/rbac/validate.yml.",
            _common(look),
        )
    return Finding(Result.PASS, found, details=_common(look))


def _not_ready(cluster: Cluster, waited: Waited, timeout: float) -> Finding:
    look = waited.look
    told = {one.title: one.verdict.reason for one in look.waiting}
    told.update({f"API of {key}": f"it does not answer: {why}" for key, why in look.silent.items()})
    name, reason = next(iter(told.items()))
    roots = explanation.roots(look)
    why = explanation.cause(look, roots[0]) if roots else ""
    lost = [one.title for one in look.waiting if one.verdict.final]
    if waited.ending is Ending.FAILED:
        begin = f"{len(told)} not ready, given up after {waited.seconds:.0f} s because {lost[0]} has failed for good"
        hint = "See in the details why it failed and mend that; more time does not help."
    else:
        begin = f"{len(told)} not ready after {timeout:g} s"
        hint = "See the events and logs in the details; raise the time limit only if it was still starting."
    return Finding(
        Result.FAIL,
        f"{begin}; first: {name}: {reason}" + (f" ({why})" if why else ""),
        hint,
        {
            "waiting": dict(list(told.items())[:_LISTED]),
            "explained": explanation.explain(cluster, look),
            **_common(look),
        },
    )


def _common(look: Look) -> dict[str, Any]:
    """What a reader has to know of what was not looked at."""
    details: dict[str, Any] = {}
    if look.ignored:
        details["ignored"] = list(look.ignored)[:_LISTED]
    if look.unseen:
        details["unseen"] = dict(look.unseen)
    aside = {
        one.title: one.verdict.reason
        for one in look.standings
        if one.verdict.state is readiness.State.CURRENT and one.verdict.aside
    }
    if aside:
        details["not_waited_for"] = dict(list(aside.items())[:_LISTED])
    return details


def scale(look: Look, expected: Mapping[str, int]) -> Finding:
    """A02: each workload kind is there as often as the point recorded it (``{"deployments.apps": 2}``)."""
    missing = {}
    for key in _WORKLOADS:
        wanted, there = expected.get(key, 0), len(look.seen.get(key, ()))
        if there < wanted:
            missing[key.partition(".")[0]] = f"{there} of {wanted}"
    if missing:
        text = ", ".join(f"{count} {resource}" for resource, count in missing.items())
        return Finding(
            Result.FAIL, f"only {text} there", "Look for blocked objects in the restore's plan.", {"missing": missing}
        )
    return Finding(Result.PASS, "as many workloads as the point recorded")
