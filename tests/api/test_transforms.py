# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to objects on their way, as a real API server sees it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import definitions, strategic, suspension
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

Runner = Callable[..., dict[str, Any]]
POD = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}


def thing(kind: str, name: str, namespace: str = "", version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


@pytest.fixture
def other(api: Any) -> Iterator[str]:
    """The name of a namespace to restore into."""
    name = f"muster-copy-{uuid.uuid4().hex[:8]}"
    yield name
    api("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def capture(run: Runner, namespace: str, **scope: Any) -> str:
    application = {"name": "app", "namespaces": [namespace], **scope}
    result = run(k8s_snapshot, site="east", point="p-1", application=application)
    assert not result.get("failed"), result["msg"]
    return str(result["snapshot"]["tree"])


def restore(run: Runner, tree: str, check: bool = False, **options: Any) -> dict[str, Any]:
    result = run(k8s_restore, check, snapshot=tree, point="p-1", **options)
    assert not result.get("failed"), result["msg"]
    return result


def test_node_ports_that_somebody_chose(run: Runner, api: Any, namespace: str) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    api.apply(thing("Service", "applied", namespace, spec={"type": "NodePort", "selector": {"a": "b"}, "ports": ports}))
    chosen = int(api.get("service", "applied", "-n", namespace)["spec"]["ports"][0]["nodePort"]) - 1
    pair = [{"name": "a", "port": 80, "nodePort": chosen}, {"name": "b", "port": 81}]
    api("create", "-f", "-", stdin=thing("Service", "made", namespace, spec={"type": "NodePort", "ports": pair}))
    tree = capture(run, namespace)
    for name in ("applied", "made"):
        api("delete", "service", name, "-n", namespace)
    result = restore(run, tree, existing="update", node_ports="user")
    notes = {
        one["name"].rpartition("/")[2]: one["transforms"] for one in result["objects"] if "/services/" in one["name"]
    }
    assert len(notes["applied"]) == 2 and notes["made"] == ["node port of b left to the server"]
    assert api.get("service", "made", "-n", namespace)["spec"]["ports"][0]["nodePort"] == chosen
    assert restore(run, tree, existing="update", node_ports="user")["changed"] is False


def test_a_copy_beside_the_original_follows_everywhere(run: Runner, api: Any, namespace: str, other: str) -> None:
    role = f"reader-{namespace}"
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [namespace], "verbs": ["get"]}]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subjects = [{"kind": "ServiceAccount", "name": "api", "namespace": namespace}]
    rbac = "rbac.authorization.k8s.io/v1"
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    try:
        api.apply(thing("ClusterRole", role, version=rbac, rules=rules))
        api.apply(thing("ClusterRoleBinding", role, version=rbac, roleRef=ref, subjects=subjects))
        api.apply(thing("RoleBinding", "rb", namespace, rbac, roleRef=ref, subjects=subjects))
        api.apply(thing("Service", "db", namespace, spec={"clusterIP": "None", "ports": [{"port": 1}]}))
        api.apply(thing("ConfigMap", "conf", namespace, data={"url": f"x://db.{namespace}:1 db-0.db.{namespace}.svc"}))
        api.apply(thing("ConfigMap", "n" * 253, namespace))
        policy = {"podSelector": {}, "ingress": [{"from": [selector]}]}
        api.apply(thing("NetworkPolicy", "np", namespace, "networking.k8s.io/v1", spec=policy))
        options = {"namespace_mapping": {namespace: other}, "service_names": ["configmaps"]}
        tree = capture(run, namespace)
        plan = restore(run, tree, check=True, **options)
        done = restore(run, tree, **options)
        assert [(one["name"], one["transforms"]) for one in plan["objects"]] == [
            (one["name"], one["transforms"]) for one in done["objects"]
        ]
        copied = f"{role}-{other}"
        assert api.get("clusterrole", copied)["rules"][0]["resourceNames"] == [other]
        assert api.get("clusterrolebinding", copied)["roleRef"]["name"] == copied
        assert api.get("rolebinding", "rb", "-n", other)["subjects"][0]["namespace"] == other
        assert other in json.dumps(api.get("networkpolicy", "np", "-n", other)["spec"])
        url = api.get("configmap", "conf", "-n", other)["data"]["url"]
        assert url == f"x://db.{other}:1 db-0.db.{other}.svc"
        assert api.get("clusterrole", role)["rules"][0]["resourceNames"] == [namespace]
        assert restore(run, tree, existing="update", **options)["changed"] is False
        # kubectl goes on where it was: it removes what the manifest no longer has.
        api.apply(thing("ConfigMap", "conf", other, data={"new": "1"}))
        assert api.get("configmap", "conf", "-n", other)["data"] == {"new": "1"}
    finally:
        for name in (role, f"{role}-{other}"):
            api("delete", "clusterrole,clusterrolebinding", name, "--ignore-not-found")


def test_what_the_server_refuses_in_new_objects(run: Runner, api: Any, namespace: str, other: str) -> None:
    """Jobs with their selector, bare pods with their node, token secrets, static volumes and their claims."""
    volume = f"static-{namespace}"
    claim = {"kind": "PersistentVolumeClaim", "name": "data", "namespace": namespace}
    static = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "by-hand",
        "nfs": {"server": "nfs", "path": "/p"},
        "claimRef": claim,
    }
    wanted = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "by-hand",
        "volumeName": volume,
    }
    try:
        api.apply(thing("Job", "once", namespace, "batch/v1", spec={"template": {"spec": POD}}))
        api.apply(thing("Job", "over", namespace, "batch/v1", spec={"template": {"spec": POD}}))
        ended = {
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:01Z",
            "succeeded": 1,
            "uncountedTerminatedPods": {},
            "conditions": [{"type": one, "status": "True"} for one in ("SuccessCriteriaMet", "Complete")],
        }
        patch = json.dumps({"status": ended})
        api("patch", "job", "over", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        api.apply(thing("ServiceAccount", "api", namespace, secrets=[{"name": "git"}]))
        api.apply(thing("Pod", "bare", namespace, spec={**POD, "nodeName": "gone"}))
        api.apply(thing("PersistentVolume", volume, spec=static))
        api.apply(thing("PersistentVolumeClaim", "data", namespace, spec=wanted))
        tree = capture(run, namespace)
        api("delete", "persistentvolume", volume, "--wait=false")
        api("patch", "persistentvolume", volume, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', fails=True)
        done = restore(run, tree, namespace_mapping={namespace: other}, static_volumes=True)
        reasons = {one["name"]: one["reason"] for one in done["objects"]}
        assert "shall not run again" in reasons[f"{other}/jobs.batch/over"]
        job = api.get("job", "once", "-n", other)
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]
        assert api.get("serviceaccount", "api", "-n", other)["secrets"] == [{"name": "git"}]
        assert "nodeName" not in api.get("pod", "bare", "-n", other)["spec"]
        ref = api.get("persistentvolume", volume)["spec"]["claimRef"]
        assert (ref["namespace"], ref.get("uid")) == (other, None)
        assert api.get("persistentvolumeclaim", "data", "-n", other)["spec"]["volumeName"] == volume
    finally:
        api("delete", "persistentvolume", volume, "--ignore-not-found", "--wait=false")


def test_webhooks_and_odd_names(run: Runner, api: Any, namespace: str) -> None:
    refused = thing("ValidatingWebhookConfiguration", "h", version="admissionregistration.k8s.io/v1")
    hook = {"name": "a.b.c", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x"}}
    for given, good in (("Unknown", False), ("Some", False), ("None", True), ("NoneOnDryRun", True)):
        text = {**refused, "webhooks": [{**hook, "sideEffects": given}]}
        said = api("create", "--dry-run=server", "-f", "-", stdin=text, fails=True)
        assert ("sideEffects" not in said) is good
    name = f"odd name?a=b#c {namespace}"
    rbac = "rbac.authorization.k8s.io/v1"
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    try:
        api.apply(thing("ClusterRole", name, version=rbac, rules=[]))
        api.apply(thing("RoleBinding", name, namespace, rbac, roleRef=ref, subjects=[]))
        tree = capture(run, namespace)
        labelled = {"metadata": {"labels": {"new": "yes"}}}
        stray = '{"metadata":{"labels":{"stray":"1"}}}'
        for place in (("clusterrole", name), ("rolebinding", name, "-n", namespace)):
            api("patch", *place, "--type=merge", "-p", stray)
        restore(run, tree, existing="update", transforms=[{"merge_patch": labelled, "when": {"names": [name]}}])
        for found in (api.get("clusterrole", name), api.get("rolebinding", name, "-n", namespace)):
            assert found["metadata"]["labels"] == {"new": "yes"}
    finally:
        api("delete", "clusterrole", name, "--ignore-not-found")


def test_a_transform_that_fails_writes_nothing(run: Runner, api: Any, namespace: str, other: str) -> None:
    api.apply(thing("ConfigMap", "conf", namespace, data={"a": "1"}))
    tree = capture(run, namespace)
    wrong = [{"name": "wrong", "when": {"kinds": ["configmaps"]}, "json_patch": [{"op": "remove", "path": "/data/z"}]}]
    result = run(k8s_restore, snapshot=tree, namespace_mapping={namespace: other}, transforms=wrong)
    assert result["failed"] and "(wrong)" in result["msg"] and "/data/z" in result["msg"] and "conf" in result["msg"]
    assert "NotFound" in api("get", "namespace", other, fails=True)


@pytest.mark.parametrize(
    "change",
    [
        {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}]}]},
        {
            "containers": [
                {"name": "c", "ports": [{"containerPort": 81, "name": "x"}], "args": ["n"]},
                {"name": "d", "image": "d"},
            ]
        },
        {"volumes": [{"name": "v", "emptyDir": None, "configMap": {"name": "m"}}], "tolerations": [{"key": "t"}]},
        {"containers": [{"name": "c", "$setElementOrder/env": [{"name": "Z"}, {"name": "A"}]}]},
        {
            "containers": [{"$patch": "replace"}, {"name": "only", "image": "o"}],
            "nodeSelector": {"$patch": "replace", "z": "1"},
        },
        {"containers": [{"name": "c", "volumeMounts": [{"mountPath": "/v", "name": "v", "readOnly": True}]}]},
        {"imagePullSecrets": [{"name": "b"}], "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["x"]}]},
    ],
)
def test_strategic_patches_do_what_the_server_does(api: Any, namespace: str, change: dict[str, Any]) -> None:
    container = {
        "name": "c",
        "image": "i",
        "args": ["o"],
        "env": [{"name": "A", "value": "1"}, {"name": "Z", "value": "9"}],
        "ports": [{"containerPort": 80}],
        "volumeMounts": [{"mountPath": "/v", "name": "v"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "old"}],
        "nodeSelector": {"a": "1"},
        "imagePullSecrets": [{"name": "a"}],
        "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["y"]}],
    }
    labels = {"metadata": {"labels": {"a": "b"}}}
    whole = {"selector": {"matchLabels": {"a": "b"}}, "template": {**labels, "spec": spec}}
    api("create", "-f", "-", stdin=thing("Deployment", "d", namespace, "apps/v1", spec=whole))
    before = api.get("deployment", "d", "-n", namespace)
    patch = {"spec": {"template": {"spec": change}}}
    ours = strategic.patched("deployments.apps", before, patch)["spec"]["template"]["spec"]
    text = api("patch", "deployment", "d", "-n", namespace, "--dry-run=server", "-o", "json", "-p", json.dumps(patch))
    theirs = json.loads(text)["spec"]["template"]["spec"]
    # The server fills in defaults of what is new; through it once more, ours gets the same.
    mine = api(
        "replace",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
        stdin={**before, "spec": {**before["spec"], "template": {**before["spec"]["template"], "spec": ours}}},
    )
    assert json.loads(mine)["spec"]["template"]["spec"] == theirs


def test_an_old_definition_is_served(api: Any) -> None:
    old = {
        "apiVersion": "apiextensions.k8s.io/v1beta1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "olds.muster-old.example.com"},
        "spec": {
            "group": "muster-old.example.com",
            "version": "v1",
            "names": {"plural": "olds", "kind": "Old"},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "n", "type": "string", "JSONPath": ".spec.n"}],
            "validation": {
                "openAPIV3Schema": {
                    "properties": {
                        "spec": {
                            "required": ["n"],
                            "properties": {
                                "n": {"type": "string"},
                                "port": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                                "list": {"items": {"properties": {"a": {"type": "string"}}}},
                                "any": {"description": "whatever"},
                            },
                        }
                    }
                }
            },
        },
    }
    bare = {**old, "metadata": {"name": "bares.muster-old.x.k8s.io"}}
    names = {"plural": "bares", "kind": "Bare"}
    bare["spec"] = {"group": "muster-old.x.k8s.io", "version": "v1", "names": names, "scope": "Cluster"}
    for one in (old, bare):
        new = definitions.convert("customresourcedefinitions.apiextensions.k8s.io", one)
        api("create", "--dry-run=server", "-f", "-", stdin=new)


def test_statuses_of_chosen_kinds_come_back(run: Runner, api: Any, namespace: str, other: str) -> None:
    group = f"{namespace}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for plural, sub in (("aparts", {"subresources": {"status": {}}}), ("plains", {})):
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **sub}
        spec = {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title()},
            "versions": [version],
        }
        crd = thing("CustomResourceDefinition", f"{plural}.{group}", version="apiextensions.k8s.io/v1", spec=spec)
        api.apply(crd)
        api("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=30s")
    try:
        for plural in ("aparts", "plains"):
            api.apply(thing(plural.title(), "x", namespace, f"{group}/v1", spec={}, status={"phase": "Ready"}))
        patch = '{"status":{"phase":"Ready"}}'
        api("patch", f"aparts.{group}", "x", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        tree = capture(run, namespace)
        options = {"namespace_mapping": {namespace: other}, "restore_status": [f"*.{group}"]}
        restore(run, tree, **options)
        for plural in ("aparts", "plains"):
            assert api.get(f"{plural}.{group}", "x", "-n", other)["status"] == {"phase": "Ready"}
        assert restore(run, tree, **options)["changed"] is False
        stale = '{"status":{"phase":"Lost","other":1}}'
        patch = ("patch", "x", "-n", other, "--type=merge", "-p", stale)
        api(patch[0], f"aparts.{group}", *patch[1:], "--subresource=status")
        api(patch[0], f"plains.{group}", *patch[1:])
        options["existing"] = "update"
        plan, done = restore(run, tree, check=True, **options), restore(run, tree, **options)
        for result in (plan, done):
            updated = [one for one in result["objects"] if one["action"] == "update"]
            assert [(one["reason"], one["differs"]) for one in updated] == [
                ("it is there and equal but for its status", ['status.phase: "Lost" -> "Ready"'])
            ] * 2
        for plural in ("aparts", "plains"):
            assert api.get(f"{plural}.{group}", "x", "-n", other)["status"] == {"phase": "Ready", "other": 1}
        assert restore(run, tree, **options)["changed"] is False
    finally:
        for plural in ("aparts", "plains"):
            api("delete", "crd", f"{plural}.{group}", "--ignore-not-found", "--wait=false")


def test_autoscalers_and_budgets_sleep_and_wake_as_they_were(api: Any, namespace: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    hpa = {"minReplicas": 2, "maxReplicas": 5, "scaleTargetRef": target}
    slow = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    api.apply(thing("HorizontalPodAutoscaler", "plain", namespace, "autoscaling/v2", spec=hpa))
    api.apply(thing("HorizontalPodAutoscaler", "slow", namespace, "autoscaling/v2", spec={**hpa, "behavior": slow}))
    for name, how in (("least", {"minAvailable": 1}), ("most", {"maxUnavailable": "20%"})):
        spec = {**how, "selector": {"matchLabels": {"a": "b"}}}
        api.apply(thing("PodDisruptionBudget", name, namespace, "policy/v1", spec=spec))

    def state() -> list[Any]:
        return [api.get("hpa,pdb", "-n", namespace)["items"][number]["spec"] for number in range(4)]

    before = state()
    kept: list[str] = []
    cluster = Cluster.connect({"kubeconfig": api.server.kubeconfig})
    fighters, warnings = suspension.find(cluster, [namespace])
    assert len(fighters) == 4 and warnings == []
    record = suspension.record_of(cluster, fighters, "run-1")
    outcome = suspension.suspend(cluster, record, lambda one: kept.append(json.dumps(one)))
    assert outcome.failed == {} and len(outcome.changed) == 4
    for spec in state():
        assert spec.get("maxUnavailable") == "100%" or spec["behavior"]["scaleUp"]["selectPolicy"] == "Disabled"
    assert suspension.find(cluster, [namespace])[0] == []
    assert suspension.suspend(cluster, json.loads(kept[-1]), lambda _one: None).changed == {}
    # Only the first record was left by a run that died.
    outcome = suspension.resume(cluster, json.loads(kept[0]), lambda _one: None)
    assert outcome.failed == {} and outcome.kept == {}
    assert state() == before
