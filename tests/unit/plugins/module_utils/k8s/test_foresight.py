# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a target will refuse is found before anything is written: the pure parts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    admission,
    finalizers,
    pod_security,
    quantity,
    quota,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_resources import Filled


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        ("2Gi", "2147483648"),
        ("1e3", "1000"),
        ("1E", "1000000000000000000"),
        ("1.5k", "1500"),
        (3, "3"),
        ("12E2", "1200"),
        ("100u", "0.0001"),
    ],
)
def test_quantities_are_exact(text: Any, number: str) -> None:
    assert quantity.parse(text) == Decimal(number)
    assert quantity.parse("many") is None


def pod(**container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "c", **container}]}}


def test_a_quota_counts_objects_and_what_pods_ask_for() -> None:
    hard = {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"}
    one = quota.quota_of({"metadata": {"name": "q"}, "status": {"hard": hard, "used": {"pods": "1"}}})
    small = quota.usage("pods", pod(resources={"requests": {"cpu": "600m"}, "limits": {"memory": "100Mi"}}))
    assert one.refuses(small) is None
    one.take(small)
    assert one.refuses(small) == "quota q allows 2 pods, 2 are used, it needs 1"
    assert quota.usage("services", {"spec": {"type": "NodePort", "ports": [{}, {}]}})["services.nodeports"] == 2
    # What the server has not counted yet it does not judge by.
    fresh = quota.quota_of({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
    assert fresh.refuses(small) is None


@pytest.mark.parametrize(
    ("key", "obj", "taken"),
    [
        ("deployments.apps", {}, {"count/deployments.apps": 1}),
        ("things.example.com", {}, {"count/things.example.com": 1}),
        ("secrets", {}, {"count/secrets": 1, "secrets": 1}),
        ("services", {"spec": {"ports": [{}]}}, {"count/services": 1, "services": 1}),
        (
            "services",
            {
                "spec": {
                    "type": "LoadBalancer",
                    "allocateLoadBalancerNodePorts": False,
                    "ports": [{}, {"nodePort": 30001}],
                }
            },
            {"count/services": 1, "services": 1, "services.loadbalancers": 1, "services.nodeports": 1},
        ),
        (
            "persistentvolumeclaims",
            {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1500m"}}}},
            {
                "count/persistentvolumeclaims": 1,
                "persistentvolumeclaims": 1,
                "requests.storage": 2,
                "fast.storageclass.storage.k8s.io/requests.storage": 2,
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims": 1,
            },
        ),
        (
            "persistentvolumeclaims",
            {"spec": {"resources": {"requests": {"storage": "1"}}}},
            {
                "count/persistentvolumeclaims": 1,
                "persistentvolumeclaims": 1,
                "requests.storage": 1,
                "usual.storageclass.storage.k8s.io/requests.storage": 1,
                "usual.storageclass.storage.k8s.io/persistentvolumeclaims": 1,
            },
        ),
        (
            "pods",
            {
                "spec": {
                    "runtimeClassName": "kata",
                    "containers": [{"resources": {"limits": {"cpu": "1"}}}],
                    "initContainers": [
                        {"restartPolicy": "Always", "resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}},
                        {"resources": {"requests": {"cpu": "3"}}},
                    ],
                }
            },
            {
                "count/pods": 1,
                "pods": 1,
                "cpu": Decimal("4.5"),
                "requests.cpu": Decimal("4.5"),
                "limits.cpu": Decimal("1.5"),
                "requests.example.com/gpu": 1,
            },
        ),
    ],
)
def test_what_an_object_takes_from_a_quota(key: str, obj: dict[str, Any], taken: dict[str, Any]) -> None:
    filled = Filled(storage_class="usual", overheads={"kata": {"cpu": Decimal("0.5")}})
    assert {name: amount for name, amount in quota.usage(key, obj, filled).items() if amount} == taken


ASKING = pod(resources={"requests": {"cpu": "1"}})["spec"]
ACROSS = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {}}]}}
ACROSS_ALL = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaceSelector": {}}]}}


@pytest.mark.parametrize(
    ("scope", "key", "spec", "counts"),
    [
        ("Terminating", "pods", {"activeDeadlineSeconds": 0}, True),
        ("Terminating", "pods", {}, False),
        ("NotTerminating", "pods", {}, True),
        ("BestEffort", "pods", {}, True),
        ("BestEffort", "pods", ASKING, False),
        ("NotBestEffort", "pods", ASKING, True),
        ("PriorityClass", "pods", {"priorityClassName": "high"}, True),
        ("PriorityClass", "pods", {}, True),
        ("PriorityClass In low", "pods", {}, True),
        ("PriorityClass In high,higher", "pods", {"priorityClassName": "high"}, True),
        ("PriorityClass In high", "pods", {}, False),
        ("PriorityClass NotIn high", "pods", {"priorityClassName": "high"}, False),
        ("PriorityClass NotIn high", "pods", {}, True),
        ("PriorityClass DoesNotExist", "pods", {}, False),
        ("CrossNamespacePodAffinity", "pods", {"affinity": ACROSS}, False),
        ("CrossNamespacePodAffinity", "pods", {"affinity": ACROSS_ALL}, True),
        ("Terminating", "secrets", {}, False),
        ("BestEffort", "persistentvolumeclaims", {}, False),
        ("VolumeAttributesClass In gold", "persistentvolumeclaims", {"volumeAttributesClassName": "gold"}, None),
        ("VolumeAttributesClass In gold", "persistentvolumeclaims", {}, False),
        ("OfTheFuture", "pods", {}, None),
    ],
)
def test_a_scoped_quota_counts_what_the_server_counts(
    scope: str, key: str, spec: dict[str, Any], counts: bool | None
) -> None:
    name, *more = scope.split()
    expression = {"scopeName": name, **dict(zip(("operator", "values"), more, strict=False))}
    if "values" in expression:
        expression["values"] = str(expression["values"]).split(",")
    given = {"scopeSelector": {"matchExpressions": [expression]}} if more else {"scopes": [name]}
    one = quota.quota_of({"metadata": {"name": "q"}, "spec": given})
    assert one.counts(key, spec, Filled(priority_class="low")) is counts


def test_a_quota_of_compute_wants_every_container_to_speak() -> None:
    one = quota.quota_of({"metadata": {"name": "q"}, "status": {"hard": {"requests.cpu": "4", "limits.memory": "1Gi"}}})
    assert one.demands(ASKING) == "quota q wants to know limits.memory of container c"
    filled = Filled(({"type": "Container", "default": {"memory": "1Mi"}},))
    assert one.demands(ASKING, filled) is None
    assert "limits.memory, requests.cpu" in str(one.demands(pod()["spec"]))


def limited(*limits: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"metadata": {"name": "r"}, "spec": {"limits": list(limits)}}]


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"limits": {"memory": "2Gi"}}, "2147483648 memory, at most 1073741824"),
        ({}, "there must be a limit of at most 1073741824 memory, and there is none"),
        ({"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}}, "0.05 cpu, at least 0.1"),
        ({"limits": {"memory": "1Gi"}}, "at least 0.1 cpu must be requested, and none is"),
        ({"limits": {"memory": "1Gi", "cpu": "1"}}, None),
    ],
)
def test_a_limit_range_bounds_containers(resources: dict[str, Any], problem: str | None) -> None:
    ranges = limited({"type": "Container", "max": {"memory": "1Gi"}, "min": {"cpu": "100m"}})
    found = quota.outside_limits("pods", pod(resources=resources), ranges)
    assert found == (f"container c is outside limit range r: {problem}" if problem else None)


@pytest.mark.parametrize("kind", ["Container", "Pod"])
@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({}, "cpu must be requested, the limit being at most 1.5 times the request, and none is"),
        ({"requests": {"cpu": "0"}, "limits": {"cpu": "1"}}, "cpu must be requested"),
        ({"requests": {"cpu": "1"}}, "there must be a limit of cpu, at most 1.5 times the request, and there is none"),
        (
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "151m"}},
            "a limit of 0.151 cpu for a request of 0.1, at most 1.5 times the request",
        ),
        ({"requests": {"cpu": "100m"}, "limits": {"cpu": "150m"}}, ""),
        ({"limits": {"cpu": "1"}}, ""),
    ],
)
def test_a_limit_range_bounds_the_ratio_of_limit_and_request(
    kind: str, resources: dict[str, Any], problem: str
) -> None:
    ranges = limited({"type": kind, "maxLimitRequestRatio": {"cpu": "1500m"}})
    found = quota.outside_limits("pods", pod(resources=resources), ranges)
    what = "container c" if kind == "Container" else "the pod"
    assert (found or "").startswith(f"{what} is outside limit range r: {problem}" if problem else "")
    assert bool(found) is bool(problem)


def test_limit_ranges_fill_in_and_bound_whole_pods_and_claims() -> None:
    whole = {"type": "Pod", "max": {"cpu": "1"}}
    # Seen on a real server: a maximum refuses pods that name no limit at all.
    assert "there is none" in str(quota.outside_limits("pods", pod(), limited(whole)))
    defaults = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}
    assert quota.outside_limits("pods", pod(), limited(whole, defaults)) is None
    claim = {"spec": {"resources": {"requests": {"storage": "6Gi"}}}}
    storage = {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}, "maxLimitRequestRatio": {"storage": "1"}}
    assert "the claim is outside" in str(quota.outside_limits("persistentvolumeclaims", claim, limited(storage)))
    claim["spec"]["resources"]["requests"]["storage"] = "1Gi"
    assert quota.outside_limits("persistentvolumeclaims", claim, limited(storage)) is None


def test_pod_security_levels() -> None:
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    plain, hardened = pod()["spec"], pod(securityContext=safe)["spec"]
    host = {**plain, "hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
    level = pod_security.ENFORCE
    assert pod_security.violations(host, {level: "privileged"}) == pod_security.violations(host, {}) == []
    assert pod_security.violations(host, {level: "baseline"}) == ["hostNetwork", "hostPath volumes"]
    assert pod_security.violations(plain, {level: "baseline"}) == []
    assert "runAsNonRoot is not true" in pod_security.violations(plain, {level: "restricted"})
    assert pod_security.violations(hardened, {level: "restricted"}) == []


def test_a_dead_webhook_matters_only_for_what_it_is_called_for() -> None:
    rules = [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"]}]
    selector = {"matchExpressions": [{"key": "checked", "operator": "In", "values": ["yes"]}]}
    hook = admission.Webhook("c", "w", "n/s", {"rules": rules, "namespaceSelector": selector})
    deployments = Resource("apps", "v1", "deployments", "Deployment", True, frozenset())
    secrets = Resource("", "v1", "secrets", "Secret", True, frozenset())
    obj = {"metadata": {"name": "d"}}
    assert hook.called_for(deployments, obj, {"checked": "yes"})
    assert not hook.called_for(deployments, obj, {"checked": "yes"}, "UPDATE")
    assert not hook.called_for(deployments, obj, {})
    assert not hook.called_for(secrets, obj, {"checked": "yes"})


@pytest.mark.parametrize(
    ("name", "key", "groups", "kept"),
    [
        ("resources-finalizer.argocd.argoproj.io", "applications.argoproj.io", {"argoproj.io"}, True),
        ("finalizers.fluxcd.io", "helmreleases.helm.toolkit.fluxcd.io", {"kustomize.toolkit.fluxcd.io"}, True),
        ("example.com/cleanup", "secrets", {"db.example.com"}, True),
        ("example.com/cleanup", "secrets", {"apps", "other.com"}, False),
        ("cleanup", "things.example.com", set(), True),
        ("cleanup", "configmaps", {"example.com"}, False),
        ("external.k8s.io/x", "secrets", {"snapshot.storage.k8s.io"}, False),
    ],
)
def test_a_finalizer_stays_where_its_controller_can_be(name: str, key: str, groups: set[str], kept: bool) -> None:
    assert finalizers.split([name], key, groups) == (([name], []) if kept else ([], [name]))
    assert finalizers.split(["kubernetes.io/pvc-protection"], key, groups) == ([], [])
