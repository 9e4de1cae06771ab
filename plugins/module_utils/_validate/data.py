# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""D01 to D03 and A03: is the data complete, and does the application itself agree?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import Finding, Result

_SHOWN = 600


def volumes(recorded: Sequence[Mapping[str, Any]], restored: Sequence[Mapping[str, Any]]) -> Finding:
    """D01: every volume of the point was restored whole, from the tree that the point is bound to.

    Restored volumes name the recorded one in ``source``, as they may lie in another namespace. A stream that nothing
    takes back was never meant to be restored; it is named.
    """
    kept: list[str] = []
    by_name = {str(volume.get("source") or volume.get("name")): volume for volume in restored}
    problems: dict[str, str] = {}
    for volume in recorded:
        name = str(volume["name"])
        came = by_name.get(name)
        if came is None:
            problems[name] = "was not restored"
        elif volume.get("kind") == "stream" and not volume.get("restore") and came.get("skipped"):
            kept.append(name)
        elif came.get("tree") != volume.get("tree"):
            problems[name] = f"tree {came.get('tree')} is not {volume.get('tree')}"
        elif not came.get("complete"):
            problems[name] = str(came.get("msg") or "incomplete")
    if problems:
        name, reason = next(iter(problems.items()))
        return Finding(
            Result.FAIL,
            f"{len(problems)} of {len(recorded)} volumes are not complete; first: {name}: {reason}",
            "Replicate the repository again, or pick an older point; do not use this restore.",
            {"problems": problems},
        )
    there = [volume for volume in recorded if str(volume["name"]) not in kept]
    files = sum(int(volume.get("files") or 0) for volume in there)
    words = f"; not restored, as nothing takes them: {', '.join(kept)}" if kept else ""
    return Finding(Result.PASS, f"{len(there)} volumes complete by tree id, {files} files{words}")


def command(cluster: Cluster, check: Mapping[str, Any], namespaces: Mapping[str, str]) -> Finding:
    """A command in one of the application's containers: exit code 0 passes.

    Where it prints one JSON object, ``ok: false`` in it fails whatever the exit code, and ``data_until`` (RFC 3339)
    says up to which time the data is whole.
    """
    namespace = _target(check, namespaces)
    pod = _running_pod(cluster, namespace, str(check.get("selector") or ""))
    argv = [str(word) for word in check["command"]]
    answer = cluster.exec(
        namespace, pod, check.get("container"), argv, timeout=clock.duration(check.get("timeout") or 120)
    )
    told = _object(answer.stdout)
    details: dict[str, Any] = {"pod": pod, "exit_code": answer.code, "stdout": answer.stdout[-_SHOWN:]}
    if answer.stderr.strip():
        details["stderr"] = answer.stderr[-_SHOWN:]
    if told:
        details["told"] = told
    if told and told.get("data_until"):
        details["data_until"] = clock.iso(clock.parse(str(told["data_until"])))
    if answer.code != 0 or (told and told.get("ok") is False):
        said = (answer.stderr.strip() or answer.stdout.strip() or "nothing").splitlines()[-1]
        return Finding(
            Result.FAIL,
            f"{argv[0]} in {namespace}/{pod} ended with code {answer.code}; it said: {said[:200]}",
            f"Run the command in the pod by hand: kubectl -n {namespace} exec {pod} -- {' '.join(argv)}",
            details,
        )
    until = f", data whole up to {details['data_until']}" if "data_until" in details else ""
    return Finding(Result.PASS, f"{argv[0]} in {namespace}/{pod} says it is sound{until}", details=details)


def http(cluster: Cluster, check: Mapping[str, Any], namespaces: Mapping[str, str]) -> Finding:
    """An answer of a Service, asked through the API server's proxy, so that nothing has to be exposed for it."""
    namespace = _target(check, namespaces)
    service = f"{check.get('scheme', 'http')}:{check['service']}:{check['port']}"
    path = "/" + str(check.get("path") or "/").lstrip("/")
    url = object_path("v1", "services", namespace, service, "proxy") + path
    wanted = int(check.get("status") or 200)
    try:
        body = cluster.request("GET", url, raw=True, timeout=clock.duration(check.get("timeout") or 30))
        status = 200
    except ApiError as error:
        body, status = error.reason, error.status
    if status != wanted:
        return Finding(
            Result.FAIL,
            f"service {namespace}/{check['service']} answered {status} to {path}, not {wanted}",
            "Read the logs of the pods behind the service.",
            {"status": status, "body": str(body)[:_SHOWN]},
        )
    if check.get("contains") and str(check["contains"]) not in str(body):
        return Finding(
            Result.FAIL,
            f"the answer of {namespace}/{check['service']} to {path} lacks {check['contains']!r}",
            "Compare the answer in the details with that of the original.",
            {"status": status, "body": str(body)[:_SHOWN]},
        )
    return Finding(Result.PASS, f"service {namespace}/{check['service']} answered {status} to {path}")


def _target(check: Mapping[str, Any], namespaces: Mapping[str, str]) -> str:
    asked = str(check.get("namespace") or next(iter(namespaces)))
    if asked not in namespaces:
        raise InvalidInput(
            "run",
            f"check {check.get('name')!r}",
            f"namespace {asked!r} is not one of the application's",
            f"Use one of: {', '.join(namespaces)}.",
        )
    return namespaces[asked]


def _running_pod(cluster: Cluster, namespace: str, selector: str) -> str:
    query = {"labelSelector": selector} if selector else None
    names = sorted(
        str(pod["metadata"]["name"])
        for pod in cluster.list(object_path("v1", "pods", namespace), query)
        if pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    )
    if not names:
        raise NotFound(
            "find",
            f"a running pod in namespace {namespace}",
            f"none matches {selector!r}" if selector else "there is none",
            "Correct the check's selector, or see why the pod does not run.",
        )
    return names[0]


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
