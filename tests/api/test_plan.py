# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run mode does exactly what check mode said, against a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")
MANY = 150
# As the limit range below wants it.
LIMITED = {"name": "c", "image": "nginx", "resources": {"limits": {"cpu": "1"}}}


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def workload(name: str, namespace: str, **pod: Any) -> dict[str, Any]:
    labels = {"app": name}
    spec = {"containers": [{"name": "c", "image": "nginx"}], **pod}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return thing(
        "Deployment", name, namespace, "apps/v1", spec={"selector": {"matchLabels": labels}, "template": template}
    )


def pod(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return thing("Pod", name, namespace, spec={"containers": [{"name": "c", "image": "nginx"}], **spec})


def fill(api: Any, namespace: str) -> None:
    networking = "networking.k8s.io/v1"
    rule = {
        "http": {
            "paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}
            ]
        }
    }
    objects = [
        *(thing("ConfigMap", f"cm-{number:03}", namespace, data={"n": str(number)}) for number in range(MANY)),
        *(thing("Secret", f"secret-{number:03}", namespace, stringData={"n": "x"}) for number in range(MANY)),
        thing("Service", "s", namespace, spec={"ports": [{"port": 80}]}),
        thing("Service", "ports", namespace, spec={"type": "NodePort", "ports": [{"port": 80}]}),
        thing("ServiceAccount", "account", namespace),
        workload("plain", namespace, serviceAccountName="account"),
        workload("host", namespace, hostNetwork=True),
        workload("watched", namespace),
        pod("fine", namespace),
        pod("host", namespace, hostPID=True),
        *(pod(f"ends-{number}", namespace, activeDeadlineSeconds=60, containers=[LIMITED]) for number in range(3)),
        thing("Ingress", "web", namespace, networking, spec={"ingressClassName": "nowhere", "rules": [rule]}),
        thing(
            "PersistentVolumeClaim",
            "claim",
            namespace,
            spec={
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "nowhere",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        ),
        thing(
            "PersistentVolumeClaim",
            "by-hand",
            namespace,
            spec={
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": f"static-{namespace}",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        ),
        thing(
            "PersistentVolume",
            f"static-{namespace}",
            spec={
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "nfs": {"server": "nfs.example.com", "path": "/share"},
                "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": "by-hand"},
            },
        ),
        thing("LimitRange", "limits", namespace, spec={"limits": [{"type": "Pod", "max": {"cpu": "4"}}]}),
    ]
    api("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": objects})


@pytest.fixture
def tree(run: Any, api: Any, namespace: str) -> Iterator[str]:
    fill(api, namespace)
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    yield str(taken["snapshot"]["tree"])
    api("delete", "persistentvolume", f"static-{namespace}", "--wait=false")


@pytest.fixture
def hostile(api: Any, namespace: str) -> Iterator[str]:
    """A namespace with a quota, a security level, a dead webhook and things of its own."""
    name = f"{namespace}-target"
    api("create", "namespace", name)
    api("label", "namespace", name, "pod-security.kubernetes.io/enforce=baseline", f"{name}=yes")
    for quota, hard, used, more in (
        ("few", {"secrets": "100"}, {"secrets": "40"}, {}),
        ("ending", {"pods": "2"}, {"pods": "0"}, {"scopes": ["Terminating"]}),
    ):
        api.apply(thing("ResourceQuota", quota, name, spec={"hard": hard, **more}))
        # The counting controller does not run here.
        status = json.dumps({"status": {"hard": hard, "used": used}})
        api("patch", "resourcequota", quota, "-n", name, "--subresource=status", "--type=merge", "-p", status)
    api.apply(thing("ConfigMap", "cm-000", name, data={"n": "other"}))
    api.apply(thing("ConfigMap", "cm-001", name, data={"n": "1"}))
    hook = {
        "name": "dead.example.com",
        "clientConfig": {"service": {"namespace": "default", "name": "nobody"}},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["serviceaccounts"]}],
        "namespaceSelector": {"matchLabels": {name: "yes"}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    group = "admissionregistration.k8s.io/v1"
    api.apply(thing("ValidatingWebhookConfiguration", name, api_version=group, webhooks=[hook]))
    yield name
    api("delete", "validatingwebhookconfiguration", name)
    api("delete", "namespace", name, "--wait=false")


def outcome(result: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    kept = dict.fromkeys(result["unchanged"], ("keep", False))
    return kept | {entry["name"]: (entry["action"], entry["changed"]) for entry in result["objects"]}


@pytest.mark.parametrize(
    ("policy", "bare"), [("update", False), ("update", True), ("keep", False), ("recreate", True), ("merge", False)]
)
def test_a_large_mixed_set_ends_as_planned(
    run: Any, api: Any, namespace: str, tree: str, hostile: str, policy: str, bare: bool
) -> None:
    # Bare: the namespace loses the labels that the point does not have, and with them what they did.
    options = {
        "snapshot": tree,
        "point": "p",
        "namespace_mapping": {namespace: hostile},
        "existing": policy,
        "existing_kinds": {"namespaces": policy} if bare else {},
        "static_volumes": True,
        "allow_partial": True,
    }
    plan = run(k8s_restore, check=True, diff=True, **options)
    result = run(k8s_restore, **options)
    assert outcome(plan) == outcome(result) and plan["counts"] == result["counts"]
    assert result["counts"]["failed"] == 0 and result["status"] == plan["status"] == "partial"
    blocked = {one["name"].partition("/")[2]: one["reason"] for one in result["objects"] if one["action"] == "blocked"}
    assert sum(name.startswith("secrets/") for name in blocked) == MANY - 60
    assert "quota few allows 100 secrets" in blocked["secrets/secret-149"]
    assert bare or "hostPID" in blocked["pods/host"]
    assert "quota ending allows 2 pods, 2 are used" in blocked["pods/ends-2"]
    # A copy beside the original, which has its claim.
    assert f"is bound to claim {namespace}/by-hand" in blocked[f"static-{namespace}"]
    assert f"to volume static-{namespace}, which is held back" in blocked["persistentvolumeclaims/by-hand"]
    assert "'nowhere' of storageclasses" in blocked["persistentvolumeclaims/claim"]
    assert "'nowhere' of ingressclasses" in blocked["ingresses.networking.k8s.io/web"]
    assert bare or "nobody has no ready endpoint" in blocked["serviceaccounts/account"]
    entries = {one["name"].partition("/")[2]: one for one in plan["objects"]}
    assert bare or "hostNetwork" in str(entries["deployments.apps/host"]["concerns"])
    assert plan["summary"][0].startswith("blocked ") and len(plan["summary"]) < 60
    assert plan["diff"]["prepared"].startswith("blocked ")
    created = [one for one in plan["objects"] if one["action"] == "create"]
    assert {one["sure"] for one in created} == {"schema" if bare else "dry_run"}
    again = run(k8s_restore, **options)
    assert again["changed"] is False and outcome(again).keys() == outcome(result).keys()


def test_a_new_namespace_is_planned_as_well(run: Any, api: Any, namespace: str, tree: str) -> None:
    name = f"{namespace}-new"
    options = {
        "snapshot": tree,
        "namespace_mapping": {namespace: name},
        "namespace_labels": {"pod-security.kubernetes.io/enforce": "baseline"},
        "allow_partial": True,
    }
    try:
        plan = run(k8s_restore, check=True, **options)
        assert not api("get", "namespace", name, "--ignore-not-found")
        result = run(k8s_restore, **options)
        assert outcome(plan) == outcome(result)
        assert result["counts"]["blocked"] == 4
        assert {one["sure"] for one in plan["objects"] if one["action"] == "create"} == {"schema", "dry_run"}
    finally:
        api("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_node_ports_that_are_taken_are_found(run: Any, api: Any, namespace: str, tree: str) -> None:
    port = api.get("service", "ports", "-n", namespace)["spec"]["ports"][0]["nodePort"]
    api("delete", "service", "ports", "-n", namespace)
    other = f"{namespace}-other"
    api("create", "namespace", other)
    api.apply(thing("Service", "mine", other, spec={"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}))
    try:
        options = {"snapshot": tree, "existing": "keep", "include_kinds": ["services"], "allow_partial": True}
        plan = run(k8s_restore, check=True, **options)
        entries = {one["name"].partition("/")[2]: one for one in plan["objects"]}
        assert f"node port {port} is taken by {other}/services/mine" in entries["services/ports"]["reason"]
        assert outcome(plan) == outcome(run(k8s_restore, **options))
    finally:
        api("delete", "namespace", other, "--wait=false")


def test_a_node_port_is_one_for_all_protocols(run: Any, api: Any, namespace: str) -> None:
    def service(name: str, number: int, *protocols: str) -> dict[str, Any]:
        ports = [{"name": one.lower(), "port": 53, "protocol": one, "nodePort": number} for one in protocols]
        return thing("Service", name, namespace, spec={"type": "NodePort", "ports": ports})

    api.apply(service("both", 30853, "TCP", "UDP"))
    api.apply(service("single", 30854, "UDP"))
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "service", "both", "single", "-n", namespace)
    api.apply(service("theirs", 30854, "TCP"))
    # As the server sees it: not even another protocol.
    assert "already allocated" in api.apply(service("single", 30854, "UDP"), fails=True)
    options = {"snapshot": taken["snapshot"]["tree"], "existing": "keep", "allow_partial": True}
    plan = run(k8s_restore, check=True, **options)
    reasons = {one["name"].partition("/")[2]: (one["action"], one["reason"]) for one in plan["objects"]}
    assert reasons["services/both"] == ("create", "it is not there")
    assert f"node port 30854 is taken by {namespace}/services/theirs" in reasons["services/single"][1]
    assert outcome(plan) == outcome(run(k8s_restore, **options))


def test_missing_permissions_are_found(run: Any, api: Any, namespace: str, tree: str) -> None:
    target = f"{namespace}-new"
    api("create", "namespace", target)
    group = "rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["*"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": target}
    api.apply(thing("ClusterRole", target, api_version=group, rules=rules))
    subjects = [{"kind": "User", "name": target}]
    api.apply(thing("ClusterRoleBinding", target, api_version=group, roleRef=role, subjects=subjects))
    try:
        options = {
            "snapshot": tree,
            "namespace_mapping": {namespace: target},
            "impersonate_user": target,
            "allow_partial": True,
        }
        plan = run(k8s_restore, check=True, **options)
        result = run(k8s_restore, **options)
        assert outcome(plan) == outcome(result)
        entries = {one["name"].partition("/")[2]: one for one in plan["objects"]}
        words = f"the identity in use may not create secrets in namespace {target}"
        assert entries["secrets/secret-000"]["reason"] == words
        assert entries["configmaps/cm-000"]["action"] == "create"
    finally:
        for kind in ("clusterrole", "clusterrolebinding", "namespace"):
            api("delete", kind, target, "--wait=false")
