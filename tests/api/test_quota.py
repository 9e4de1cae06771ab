# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real API server refuses by its quotas exactly what was said beforehand."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import foresight
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def pod(name: str, namespace: str, cpu: str = "", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", **({"resources": {"requests": {"cpu": cpu}}} if cpu else {})}
    return thing("Pod", name, namespace, spec={"containers": [container], **spec})


def claim(name: str, namespace: str, size: str, storage: str) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return thing("PersistentVolumeClaim", name, namespace, spec={**wanted, "storageClassName": storage})


def service(name: str, namespace: str, kind: str, ports: int, **spec: Any) -> dict[str, Any]:
    numbers = [{"name": f"p{number}", "port": 80 + number} for number in range(ports)]
    return thing("Service", name, namespace, spec={"type": kind, "ports": numbers, **spec})


def deployment(name: str, namespace: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return thing("Deployment", name, namespace, "apps/v1", spec=spec)


def fill(api: Any, namespace: str, name: str) -> None:
    affinity = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "namespaceSelector": {}, "labelSelector": {}}
            ]
        }
    }
    objects = [
        *(pod(f"ends-{number}", namespace, activeDeadlineSeconds=60) for number in range(3)),
        *(pod(f"asks-{number}", namespace, "1") for number in range(3)),
        *(pod(f"important-{number}", namespace, priorityClassName=name) for number in range(2)),
        pod("across", namespace, affinity=affinity),
        pod("bystander", namespace, "100m"),
        *(deployment(f"d-{number}", namespace) for number in range(3)),
        *(thing("ConfigMap", f"c-{number}", namespace) for number in range(4)),
        *(service(f"ports-{number}", namespace, "NodePort", 2) for number in range(2)),
        service("quiet", namespace, "LoadBalancer", 2, allocateLoadBalancerNodePorts=False),
        service("balanced", namespace, "LoadBalancer", 1),
        *(claim(f"fast-{number}", namespace, "3Gi", name) for number in range(3)),
        claim("slow", namespace, "100Gi", "nobodys"),
    ]
    api("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": objects})


def quotas(api: Any, namespace: str, name: str) -> None:
    """As they are once a controller has counted them, which does not run here."""
    priority = {"scopeName": "PriorityClass", "operator": "In", "values": [name]}
    not_priority = {**priority, "operator": "NotIn"}
    across = {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}
    for kind, spec in {
        "ends": {"hard": {"pods": "2"}, "scopes": ["Terminating"]},
        "asks": {"hard": {"requests.cpu": "2500m"}, "scopes": ["NotBestEffort"]},
        "important": {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [priority]}},
        "others": {"hard": {"count/pods": "100"}, "scopeSelector": {"matchExpressions": [not_priority]}},
        "across": {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [across]}},
        "best": {"hard": {"pods": "100"}, "scopes": ["BestEffort", "NotTerminating"]},
        "numbers": {
            "hard": {
                "count/deployments.apps": "2",
                "configmaps": "3",
                "services.nodeports": "3",
                "services.loadbalancers": "1",
                f"{name}.storageclass.storage.k8s.io/requests.storage": "7Gi",
                "requests.storage": "1Ti",
            }
        },
    }.items():
        api.apply(thing("ResourceQuota", kind, namespace, spec=spec))
        used = dict.fromkeys(spec["hard"], "0")
        status = json.dumps({"status": {"hard": spec["hard"], "used": used}})
        api("patch", "resourcequota", kind, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)


@pytest.fixture
def target(api: Any, namespace: str) -> Iterator[tuple[str, str]]:
    """A namespace with quotas, and the name of the classes."""
    name = f"class-{uuid.uuid4().hex[:8]}"
    other = f"{namespace}-quota"
    api("create", "namespace", other)
    api.apply(thing("PriorityClass", name, api_version="scheduling.k8s.io/v1", value=5))
    for storage in (name, "nobodys"):
        api.apply(thing("StorageClass", storage, api_version="storage.k8s.io/v1", provisioner="example.com/none"))
    fill(api, namespace, name)
    quotas(api, other, name)
    yield other, name
    api("delete", "namespace", other, "--wait=false")
    api("delete", "priorityclass", name)
    api("delete", "storageclass", name, "nobodys")


def outcome(result: dict[str, Any]) -> dict[str, str]:
    kept = dict.fromkeys((name.partition("/")[2] for name in result["unchanged"]), "keep")
    return kept | {entry["name"].partition("/")[2]: entry["action"] for entry in result["objects"]}


def into(other: str, namespace: str, taken: dict[str, Any]) -> dict[str, Any]:
    """The options of a restore of what was captured into another namespace, as far as that goes."""
    return {
        "snapshot": taken["snapshot"]["tree"],
        "point": "p",
        "namespace_mapping": {namespace: other},
        "existing": "keep",
        "allow_partial": True,
    }


def test_the_server_refuses_what_the_plan_blocks_and_nothing_else(
    run: Any, api: Any, namespace: str, target: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, name = target
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    # One after the other, or who comes first is chance.
    options = {**into(other, namespace, taken), "workers": 1}
    # The server's informer has to see what was patched.
    time.sleep(1)
    plan = run(k8s_restore, check=True, **options)
    blocked = {one["name"].partition("/")[2]: one["reason"] for one in plan["objects"] if one["action"] == "blocked"}
    assert set(blocked) == {
        "pods/ends-2",
        "pods/asks-2",
        "pods/important-1",
        "pods/across",
        "deployments.apps/d-2",
        "configmaps/c-3",
        "services/ports-1",
        "services/quiet",
        "persistentvolumeclaims/fast-2",
    }
    assert "quota ends allows 2 pods" in blocked["pods/ends-2"]
    assert f"{name}.storageclass.storage.k8s.io/requests.storage" in blocked["persistentvolumeclaims/fast-2"]
    # The very same objects without any foresight: now it is the server that refuses.
    monkeypatch.setattr(foresight._Foresight, "_quotas", lambda _self: None)
    done = run(k8s_restore, **options)
    assert outcome(done) == outcome(plan) and done["counts"]["failed"] == 0
    refusals = [one["reason"] for one in done["objects"] if one["action"] == "blocked"]
    assert [words for words in refusals if "exceeded quota" not in words] == []


def resources(request: str = "", limit: str = "") -> dict[str, Any]:
    wanted = {"requests": request, "limits": limit}
    return {"name": "c", "image": "i", "resources": {name: {"cpu": cpu} for name, cpu in wanted.items() if cpu}}


def test_the_server_bounds_limits_by_requests_as_the_plan_says(
    run: Any, api: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = {
        "bare": resources(),
        "nothing": resources("0", "1"),
        "unlimited": resources("100m"),
        "limited": resources(limit="1"),
        "even": resources("100m", "150m"),
        "over": resources("100m", "151m"),
    }
    for name, container in pods.items():
        api.apply(pod(name, namespace, containers=[container]))
    starting = {**resources("100m", "400m"), "name": "first"}
    api.apply(pod("starting", namespace, containers=[resources("100m", "150m")], initContainers=[starting]))
    ranges = {
        "Container": ["bare", "nothing", "over", "starting", "unlimited"],
        "Pod": ["bare", "nothing", "over", "starting", "unlimited"],
    }
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    for kind, refused in ranges.items():
        other = f"{namespace}-{kind.lower()}"
        api("create", "namespace", other)
        limit = {"type": kind, "maxLimitRequestRatio": {"cpu": "1.5"}}
        api.apply(thing("LimitRange", "ratio", other, spec={"limits": [limit]}))
        time.sleep(1)
        options = into(other, namespace, taken)
        plan = run(k8s_restore, check=True, **options)
        blocked = {one["name"].partition("/")[2]: one for one in plan["objects"] if one["action"] == "blocked"}
        assert sorted(blocked) == [f"pods/{name}" for name in refused]
        assert all("is outside limit range ratio" in one["reason"] for one in blocked.values())
        with monkeypatch.context() as blind:
            blind.setattr(foresight._Foresight, "_quotas", lambda _self: None)
            done = run(k8s_restore, **options)
        assert outcome(done) == outcome(plan)
        api("delete", "namespace", other, "--wait=false")
