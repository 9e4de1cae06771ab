# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Why something is not ready: its events, its containers' states, and the last lines that the failing one wrote.

Whatever others wrote is short and without secrets, as far as these can be told. What cannot be read is left out: an
explanation never fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._core.masking import mask, secret_name
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects, readiness
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.readiness import State
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Look, Standing, family, owned

MOST = 10
_EVENTS = 3
_CONTAINERS = 5
_LINES = 10
_LOG_BYTES = 2048
# What is asked for is more: of long lines the server would send the beginning, and the end tells more.
_LOG_BYTES_READ = 32768
_EVENTS_READ = 5000
# A kubelet that does not answer is no news here.
_PATIENCE = 1.0


def roots(look: Look) -> list[Standing]:
    """What is not ready, without what belongs to another one that is not: a Deployment stands for its pods."""
    children = owned(look.seen)
    waiting = look.waiting
    below = {objects.uid_of(child) for one in waiting for child in family(one.obj, children)}
    return [one for one in waiting if objects.uid_of(one.obj) not in below]


def explain(cluster: Cluster, look: Look, *, most: int = MOST, workers: int = 4) -> list[dict[str, Any]]:
    """An entry for each of the first of :func:`roots`.

    ``kind``, ``namespace``, ``name``, ``state``, ``reason``; ``events`` {type, reason, message, about, count,
    last_seen}; ``containers`` {pod, name, state, reason, message, exit_code, restarts}; ``logs`` {pod, container,
    previous, text}.
    """
    chosen = roots(look)[:most]
    children = owned(look.seen)
    families = [[one.obj, *family(one.obj, children)] for one in chosen]
    events = _events(cluster, families)

    def entry(pair: tuple[Standing, list[JSON]]) -> dict[str, Any]:
        one, members = pair
        pods = [obj for obj in members if obj.get("kind") == "Pod"]
        known = [value for pod in pods for value in _secrets(pod)]
        containers = _containers(pods, known)
        return {
            "kind": one.kind,
            "namespace": one.namespace,
            "name": one.name,
            "state": one.verdict.state.value,
            "reason": mask(one.verdict.reason, known),
            "events": _telling([event for obj in members for event in events.get(objects.uid_of(obj), ())], known),
            "containers": containers[:_CONTAINERS],
            "logs": _logs(cluster, one.namespace, containers, known),
        }

    outcomes = pool.each(list(zip(chosen, families, strict=True)), entry, workers=workers)
    return [outcome.value for outcome in outcomes if outcome.value is not None]


def cause(look: Look, one: Standing) -> str:
    """The reason of the first of its pods that says more than the object does itself; empty where none does."""
    children = owned(look.seen)
    mine = {objects.uid_of(obj) for obj in family(one.obj, children)}
    for other in look.waiting:
        if other.key == readiness.PODS and objects.uid_of(other.obj) in mine:
            return f"Pod {other.name}: {other.verdict.reason}"
    return ""


# -- events -----------------------------------------------------------------------------------------------------------


def _events(cluster: Cluster, families: Sequence[Sequence[JSON]]) -> dict[str, list[JSON]]:
    """Events by the uid of what they are about. Both event APIs are views of the same ones."""
    wanted = {objects.uid_of(obj) for members in families for obj in members}
    # Those about objects without a namespace are in this one.
    namespaces = {str(obj["metadata"].get("namespace") or "default") for members in families for obj in members}

    def read(namespace: str) -> list[JSON]:
        found = cluster.list(object_path("v1", "events", namespace))
        return [one for one in itertools.islice(found, _EVENTS_READ) if _about(one).get("uid") in wanted]

    by_uid: dict[str, list[JSON]] = {}
    for outcome in pool.each(sorted(namespaces), read, workers=4):
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
        for event in outcome.value or ():
            by_uid.setdefault(str(_about(event).get("uid")), []).append(event)
    return by_uid


def _about(event: JSON) -> JSON:
    return event.get("involvedObject") or {}


def _seen(event: JSON) -> str:
    """When it was last seen; RFC 3339 in UTC, which sorts as text."""
    series = event.get("series") or {}
    told = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((one for one in told if one), "") or event["metadata"].get("creationTimestamp") or "")


def _telling(events: Iterable[JSON], known: Sequence[str]) -> list[dict[str, Any]]:
    """Warnings first, then the newest; the same words once."""
    listed = sorted(events, key=_seen, reverse=True)
    listed.sort(key=lambda event: event.get("type") != "Warning")
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for event in listed:
        about = _about(event)
        message = readiness.shown(mask(str(event.get("message") or ""), known))
        entry = {
            "type": str(event.get("type") or "Normal"),
            "reason": str(event.get("reason") or ""),
            "message": message,
            "about": f"{about.get('kind')} {about.get('name')}",
            "count": int((event.get("series") or {}).get("count") or event.get("count") or 1),
            "last_seen": _seen(event),
        }
        kept.setdefault((str(entry["reason"]), message), entry)
    return list(kept.values())[:_EVENTS]


# -- containers -------------------------------------------------------------------------------------------------------


def _secrets(pod: JSON) -> Iterable[str]:
    """Values that the pod's own specification calls secret; a program may print its environment."""
    for container in objects.containers(pod.get("spec") or {}):
        for variable in container.get("env") or ():
            if variable.get("value") and secret_name(str(variable.get("name"))):
                yield str(variable["value"])


def _containers(pods: Iterable[JSON], known: Sequence[str]) -> list[dict[str, Any]]:
    """Containers that are not as they should be, those that crashed first."""
    found: list[dict[str, Any]] = []
    for pod in pods:
        if readiness.judge(readiness.PODS, pod).state is State.CURRENT and _phase(pod) != "Failed":
            continue
        for status in readiness.container_statuses(pod):
            entry = _container(pod, status, known)
            if entry is not None:
                found.append(entry)
    found.sort(key=lambda entry: -int(bool(entry["exit_code"]) or bool(entry["restarts"])))
    return found


def _phase(pod: JSON) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def _container(pod: JSON, status: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any] | None:
    states = status.get("state") or {}
    name = next((one for one in ("waiting", "terminated", "running") if states.get(one)), "waiting")
    state: Mapping[str, Any] = states.get(name) or {}
    before: Mapping[str, Any] = (status.get("lastState") or {}).get("terminated") or {}
    ended = state if name == "terminated" else before
    if status.get("ready") or (name == "terminated" and not state.get("exitCode")):
        return None
    said = state.get("message") or before.get("message") or ""
    return {
        "pod": str(pod["metadata"]["name"]),
        "name": str(status.get("name")),
        "state": name,
        "reason": str(state.get("reason") or before.get("reason") or ""),
        "message": readiness.shown(mask(str(said), known)),
        "exit_code": ended.get("exitCode"),
        "restarts": int(status.get("restartCount") or 0),
    }


def _logs(
    cluster: Cluster, namespace: str, containers: Sequence[Mapping[str, Any]], known: Sequence[str]
) -> list[dict[str, Any]]:
    """The end of what the first container wrote that ran at all; of the instance before where it began anew."""
    for one in containers:
        began_anew = bool(one["restarts"])
        if one["state"] == "waiting" and not began_anew:
            continue
        for previous in (True, False) if began_anew else (False,):
            text = _log(cluster, namespace, one, previous, known)
            if text:
                return [{"pod": one["pod"], "container": one["name"], "previous": previous, "text": text}]
    return []


def _log(cluster: Cluster, namespace: str, one: Mapping[str, Any], previous: bool, known: Sequence[str]) -> str:
    try:
        text = cluster.logs(
            namespace,
            str(one["pod"]),
            str(one["name"]),
            tail=_LINES,
            limit=_LOG_BYTES_READ,
            previous=previous,
            patience=_PATIENCE,
        )
    except MusterError:
        return ""
    # Masked while it is whole: the beginning of a secret's line must not be cut off.
    data = mask(text, known).strip().encode()
    return data[-_LOG_BYTES:].decode("utf-8", "ignore")
