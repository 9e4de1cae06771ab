# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""I01 to I04: nothing inside the bubble reaches the world outside, and the probe would have noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import bubble
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pull_secret import logins, pull_secret
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import Finding, Result

# bash opens a TCP connection by itself; nc is what smaller images have. Each line: target, then open or closed.
_SCRIPT = r"""
try() {
  if command -v bash >/dev/null 2>&1; then timeout 3 bash -c ": </dev/tcp/$1/$2" 2>/dev/null
  else nc -z -w 3 "$1" "$2" >/dev/null 2>&1; fi
}
round() {
  for target in $TARGETS; do
    if try "${target%:*}" "${target##*:}"; then echo "$target open"; else echo "$target closed"; fi
  done
}
end=$(($(date +%s) + $SECONDS_TO_SETTLE))
while :; do
  said=$(round)
  case "$said" in *"$UNWANTED"*) [ "$(date +%s)" -lt "$end" ] && sleep 2 && continue;; esac
  break
done
echo "$said" > /dev/termination-log
"""


def probe(
    cluster: Cluster,
    namespace: str,
    targets: Sequence[str],
    *,
    image: str,
    registry: Mapping[str, Any] | None,
    run: str,
    unwanted: str,
    settle: int = 20,
    timeout: float = 180.0,
) -> dict[str, bool]:
    """Try TCP connections from a short-lived pod in ``namespace``: ``{"10.0.0.5:443": True}`` where one opened.

    Network policies take a moment to reach a new pod, so the round is repeated for up to ``settle`` seconds while
    the ``unwanted`` answer (``open`` or ``closed``) is among them. Raises :class:`Unavailable` or
    :class:`Incomplete` where the probe itself did not work.
    """
    name = f"muster-probe-{run.lower()[-20:]}".rstrip("-.")
    labels = {
        marks.MANAGED_BY: marks.MANAGER,
        marks.ROLE: "probe",
        marks.RUN: run,
    }
    auths = logins(registry)
    secret = pull_secret(namespace, name, auths, labels) if auths else None
    pod_path = object_path("v1", "pods", namespace)
    secret_path = object_path("v1", "secrets", namespace)
    try:
        cluster.delete(f"{pod_path}/{name}", grace=0)
        cluster.wait(f"{pod_path}/{name}", lambda pod: pod is None, timeout=30, what=f"pod {namespace}/{name} to go")
        if secret:
            cluster.delete(f"{secret_path}/{name}")
            cluster.create(secret_path, secret)
        cluster.create(pod_path, _pod(namespace, name, labels, image, targets, unwanted, settle, bool(secret)))
        ended = cluster.wait(
            f"{pod_path}/{name}",
            lambda pod: pod is None or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"),
            timeout=timeout,
            what=f"the isolation probe {namespace}/{name} to end",
        )
        return _answers(ended, targets, f"pod {namespace}/{name}")
    finally:
        cluster.delete(f"{pod_path}/{name}", grace=0)
        if secret:
            cluster.delete(f"{secret_path}/{name}")


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[None]:
    """A namespace of ours for the control; deleted afterwards if it was made here."""
    path = object_path("v1", "namespaces", name=name)
    made = cluster.find(path) is None
    if made:
        labels = {marks.MANAGED_BY: marks.MANAGER}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        cluster.create(object_path("v1", "namespaces"), body)
    try:
        yield
    finally:
        if made:
            cluster.delete(path)


def _answers(pod: dict[str, Any] | None, targets: Sequence[str], what: str) -> dict[str, bool]:
    if pod is None:
        raise Unavailable("read the answers of", what, "somebody deleted it", "Run the check again.")
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    message = (statuses[0].get("state", {}).get("terminated") or {}).get("message", "")
    told = dict(line.rsplit(" ", 1) for line in message.splitlines() if " " in line)
    if set(told) != set(targets):
        raise Incomplete("read the answers of", what, "it did not try every target", "Look at the probe image's shell.")
    return {target: told[target] == "open" for target in targets}


def _pod(
    namespace: str,
    name: str,
    labels: dict[str, str],
    image: str,
    targets: Sequence[str],
    unwanted: str,
    settle: int,
    with_secret: bool,
) -> dict[str, Any]:
    environment = {"TARGETS": " ".join(targets), "UNWANTED": unwanted, "SECONDS_TO_SETTLE": str(settle)}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 170,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "probe",
                "image": image,
                "command": ["/bin/sh", "-c", _SCRIPT],
                "env": [{"name": key, "value": value} for key, value in environment.items()],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    if with_secret:
        spec["imagePullSecrets"] = [{"name": name}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec,
    }


def closed(inside: Mapping[str, bool], control: Mapping[str, bool]) -> Finding:
    """I01: what the control reached from outside the bubble cannot be reached from inside."""
    proving = [target for target, reached in control.items() if reached]
    leaks = [target for target in proving if inside.get(target)]
    details = {"inside": dict(inside), "control": dict(control)}
    if leaks:
        return Finding(
            Result.FAIL,
            f"from inside the bubble {', '.join(leaks)} can be reached",
            "Check that the cluster's network enforces NetworkPolicies; until then do not drill near live endpoints.",
            details,
        )
    if not proving:
        return Finding(Result.ERROR, "no target answered the control, so the probe proves nothing", "See I02.", details)
    return Finding(Result.PASS, f"{len(proving)} targets that answer elsewhere are closed from inside", details=details)


def controlled(control: Mapping[str, bool]) -> Finding:
    """I02: the same probe outside the bubble does reach the targets."""
    silent = [target for target, reached in control.items() if not reached]
    if len(silent) == len(control):
        return Finding(
            Result.FAIL,
            "the control reached none of the targets, so the isolation was not proved",
            "Name targets that pods of this cluster can reach, for example its registry.",
            {"control": dict(control)},
        )
    without = f" ({', '.join(silent)} did not answer and proves nothing)" if silent else ""
    return Finding(Result.PASS, f"the control reached {len(control) - len(silent)} of {len(control)} targets{without}")


def denied(cluster: Cluster, namespaces: Sequence[str]) -> Finding:
    """I03: each namespace of the bubble has a policy that selects every restored pod and covers egress."""
    bare = []
    for namespace in namespaces:
        policies = cluster.list(object_path("networking.k8s.io/v1", "networkpolicies", namespace))
        if not any(map(bubble.denies_egress, policies)):
            bare.append(namespace)
    if bare:
        return Finding(
            Result.FAIL, f"no default-deny for egress in {', '.join(bare)}", "Restore into a bubble (isolate: true)."
        )
    return Finding(Result.PASS, "every namespace of the bubble denies egress by default")


def hidden(cluster: Cluster, namespaces: Sequence[str]) -> Finding:
    """I04: nothing of the bubble is offered to the outside (node ports, load balancers, ingresses)."""
    offered = []
    for namespace in namespaces:
        offered += [
            f"Service {namespace}/{service['metadata']['name']}"
            for service in cluster.list(object_path("v1", "services", namespace))
            if service["spec"].get("type") in ("NodePort", "LoadBalancer") or service["spec"].get("externalIPs")
        ]
        ingresses = cluster.list(object_path("networking.k8s.io/v1", "ingresses", namespace))
        offered += [f"Ingress {namespace}/{ingress['metadata']['name']}" for ingress in ingresses]
    if offered:
        return Finding(
            Result.FAIL,
            f"{', '.join(offered)} would let the outside in",
            "Leave these kinds out of the drill; a real client may find them.",
            {"offered": offered},
        )
    return Finding(Result.PASS, "no node port, load balancer or ingress")


def default_targets(cluster: Cluster, named: Sequence[str]) -> list[str]:
    """The targets that were named, and the API server's own service, which every pod can normally reach."""
    service = cluster.get(object_path("v1", "services", "default", "kubernetes"))
    return list(dict.fromkeys([*named, f"{service['spec']['clusterIP']}:443"]))
