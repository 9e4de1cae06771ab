# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A01 and A02: is everything that the point holds running and ready?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import Finding, Result

_WORKLOADS = (("deployments", "Deployment"), ("statefulsets", "StatefulSet"), ("daemonsets", "DaemonSet"))


@dataclass(frozen=True)
class State:
    """One look: what is not ready yet, by name, and how much there is at all."""

    workloads: int
    pods: int
    waiting: dict[str, str]


def wait_until_healthy(
    cluster: Cluster, namespaces: Sequence[str], *, timeout: float, interval: float = 2.0
) -> tuple[State, float]:
    """Look until nothing waits any more or ``timeout`` seconds are over; the last look and the seconds it took."""
    start = time.monotonic()
    while True:
        state = look(cluster, namespaces)
        passed = time.monotonic() - start
        if not state.waiting or passed >= timeout:
            return state, round(passed, 3)
        time.sleep(interval)


def look(cluster: Cluster, namespaces: Sequence[str]) -> State:
    """Which workloads and pods of these namespaces are not ready, and why."""
    waiting: dict[str, str] = {}
    workloads = pods = 0
    for namespace in namespaces:
        for resource, kind in _WORKLOADS:
            for item in cluster.list(object_path("apps/v1", resource, namespace)):
                workloads += 1
                reason = workload_waits(item)
                if reason:
                    waiting[f"{kind} {namespace}/{item['metadata']['name']}"] = reason
        for pod in cluster.list(object_path("v1", "pods", namespace)):
            # A finished pod of a Job is as it should be; one that is on its way out is somebody else's business.
            if pod.get("status", {}).get("phase") == "Succeeded" or pod["metadata"].get("deletionTimestamp"):
                continue
            if any(owner.get("kind") == "Job" for owner in pod["metadata"].get("ownerReferences") or []):
                continue
            pods += 1
            reason = pod_waits(pod)
            if reason:
                waiting[f"Pod {namespace}/{pod['metadata']['name']}"] = reason
    return State(workloads, pods, waiting)


def workload_waits(item: dict[str, Any]) -> str:
    """Why a Deployment, StatefulSet or DaemonSet is not ready; empty when it is."""
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return "its controller has not seen it yet"
    if item.get("kind") == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    else:
        wanted, ready = item["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} ready"


def pod_waits(pod: dict[str, Any]) -> str:
    """Why a pod is not ready, in the server's words where it has some; empty when it is."""
    status = pod.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state", {})
        waiting = state.get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in ("PodInitializing", "ContainerCreating"):
            return f"container {container['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()[:300]
        ended = state.get("terminated") or {}
        if ended.get("exitCode"):
            return f"container {container['name']} ended with code {ended['exitCode']}"
    unscheduled = conditions.get("PodScheduled", {})
    if unscheduled.get("status") == "False":
        return str(unscheduled.get("message") or "not scheduled")[:300]
    return str(status.get("phase") or "no status yet")


def ready(state: State, seconds: float, timeout: float) -> Finding:
    """A01: pods and workloads are ready."""
    if state.waiting:
        name, reason = next(iter(state.waiting.items()))
        return Finding(
            Result.FAIL,
            f"{len(state.waiting)} not ready after {timeout:g} s; first: {name}: {reason}",
            "Describe the object and read its events and logs; raise the time limit only if it was still starting.",
            {"waiting": state.waiting},
        )
    if not state.pods:
        return Finding(
            Result.FAIL,
            "no pod runs, so nothing was brought back to life",
            "Check that the point holds the workloads and that they were not restored with zero replicas.",
        )
    return Finding(Result.PASS, f"{state.workloads} workloads, {state.pods} pods ready after {seconds:.0f} s")


def scale(cluster: Cluster, namespaces: Sequence[str], expected: dict[str, int]) -> Finding:
    """A02: each workload kind is there as often as the point recorded it (``{"deployments.apps": 2}``)."""
    missing = {}
    for resource, _kind in _WORKLOADS:
        wanted = expected.get(f"{resource}.apps", 0)
        there = sum(
            1 for namespace in namespaces for _item in cluster.list(object_path("apps/v1", resource, namespace))
        )
        if there < wanted:
            missing[resource] = f"{there} of {wanted}"
    if missing:
        text = ", ".join(f"{count} {resource}" for resource, count in missing.items())
        return Finding(
            Result.FAIL, f"only {text} there", "Look for blocked objects in the restore's plan.", {"missing": missing}
        )
    return Finding(Result.PASS, "as many workloads as the point recorded")
