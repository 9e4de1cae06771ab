# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a restore does with objects that are there already, against a real API server."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")
CANARY = base64.b64encode(b"canary-77c1").decode()


def thing(kind: str, name: str, namespace: str, api_version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def role_binding(namespace: str, role: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
    return thing("RoleBinding", "binding", namespace, f"{group}/v1", roleRef=reference, subjects=[])


def claim(namespace: str, size: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "storageClassName": "",
    }
    return thing("PersistentVolumeClaim", "claim", namespace, spec=spec)


def pods(*names: str, **more: Any) -> dict[str, Any]:
    containers = [{"name": name, "image": "nginx"} for name in names]
    return {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": containers}},
        **more,
    }


def fill(api: Any, namespace: str) -> None:
    for obj in (
        thing("ConfigMap", "equal", namespace, data={"a": "1"}),
        thing("ConfigMap", "differs", namespace, data={"a": "1"}, metadata={"labels": {"team": "pay"}}),
        thing("Secret", "secret", namespace, data={"password": CANARY}),
        thing("Service", "service", namespace, spec={"ports": [{"port": 80}], "selector": {"app": "d"}}),
        thing("Deployment", "d", namespace, "apps/v1", spec=pods("one")),
        role_binding(namespace, "view"),
        claim(namespace, "1Gi"),
    ):
        api.apply(obj)


def change(api: Any, namespace: str) -> None:
    """What happened at the target since."""
    patch = ("patch", "-n", namespace, "--type=merge", "-p")
    api(*patch, '{"data":{"a":"2","only-here":"x"},"metadata":{"labels":{"team":null,"own":"1"}}}', "cm", "differs")
    api(*patch, '{"data":{"password":"eA=="}}', "secret", "secret")
    api.apply(thing("Deployment", "d", namespace, "apps/v1", spec=pods("one", "sidecar", replicas=3)))
    api("delete", "rolebinding", "binding", "-n", namespace)
    api.apply(role_binding(namespace, "edit"))
    api("create", "configmap", "stranger", "-n", namespace)


@pytest.fixture
def tree(run: Any, api: Any, namespace: str) -> str:
    fill(api, namespace)
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    change(api, namespace)
    return str(taken["snapshot"]["tree"])


def versions(api: Any, namespace: str) -> dict[str, str]:
    kinds = "configmaps,secrets,services,deployments,rolebindings,persistentvolumeclaims,namespaces"
    objects = [*api.get(kinds.rpartition(",")[0], "-n", namespace)["items"], api.get("namespace", namespace)]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in objects}


def actions(result: dict[str, Any]) -> dict[str, str]:
    kept = dict.fromkeys((name.partition("/")[2] for name in result["unchanged"]), "keep")
    return kept | {entry["name"].partition("/")[2]: entry["action"] for entry in result["objects"]}


def both(run: Any, **options: Any) -> dict[str, Any]:
    """Check mode, then the run, which does just what was said, then the run again, which does nothing."""
    plan = run(k8s_restore, check=True, **options)
    result = run(k8s_restore, **options)
    assert actions(plan) == actions(result) and plan["changed"] == result["changed"]
    assert "canary" not in str(plan) and CANARY not in str(plan)
    again = run(k8s_restore, **options)
    assert again["changed"] is False, [entry for entry in again["objects"] if entry["changed"]]
    return dict(result)


def test_keep_writes_nothing_and_warns_once_for_each_that_differs(
    run: Any, api: Any, namespace: str, tree: str
) -> None:
    # Ansible drops warnings that the same process has given before, so those of the first run count.
    first = run(k8s_restore, snapshot=tree, point="p", existing="keep")
    before = versions(api, namespace)
    result = both(run, snapshot=tree, point="p", existing="keep")
    assert versions(api, namespace) == before and result["status"] == "completed"
    texts = [str(one["event"]["msg"] if isinstance(one, dict) else one) for one in first["warnings"]]
    warned = [text.partition(" is there")[0].partition("/")[2] for text in texts if " is there" in text]
    assert sorted(warned) == [
        "configmaps/differs",
        "deployments.apps/d",
        "rolebindings.rbac.authorization.k8s.io/binding",
        "secrets/secret",
    ]


def test_update_makes_equal_and_writes_only_what_differs(run: Any, api: Any, namespace: str, tree: str) -> None:
    before = versions(api, namespace)
    result = both(run, snapshot=tree, point="p", existing="update", allow_partial=True)
    after = versions(api, namespace)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"ConfigMap/differs", "Secret/secret", "Deployment/d", f"Namespace/{namespace}"}
    differs = api.get("configmap", "differs", "-n", namespace)
    assert differs["data"] == {"a": "1"} and differs["metadata"]["labels"] == {"team": "pay"}
    live = api.get("deployment", "d", "-n", namespace)
    assert [one["name"] for one in live["spec"]["template"]["spec"]["containers"]] == ["one"]
    assert live["spec"]["replicas"] == 1
    entries = {entry["name"].partition("/")[2]: entry for entry in result["objects"]}
    binding = entries["rolebindings.rbac.authorization.k8s.io/binding"]
    assert binding["action"] == "blocked" and "cannot change roleRef" in binding["reason"]
    assert result["status"] == "partial"
    assert 'data.a: "2" -> "1"' in entries["configmaps/differs"]["differs"]
    assert entries["secrets/secret"]["differs"] == ["data.password: changed"]


def test_update_leaves_a_namespace_what_only_the_target_put_there(
    run: Any, api: Any, namespace: str, tree: str
) -> None:
    level = "pod-security.kubernetes.io/enforce"
    api("label", "namespace", namespace, f"{level}=restricted")
    both(run, snapshot=tree, point="p", existing="update", allow_partial=True)
    assert api.get("namespace", namespace)["metadata"]["labels"][level] == "restricted"
    options = {"existing": "update", "existing_kinds": {"namespaces": "update"}, "allow_partial": True}
    both(run, snapshot=tree, point="p", **options)
    assert level not in api.get("namespace", namespace)["metadata"]["labels"]


def test_merge_adds_and_overwrites_and_removes_nothing(run: Any, api: Any, namespace: str, tree: str) -> None:
    both(run, snapshot=tree, point="p", existing="merge", allow_partial=True)
    differs = api.get("configmap", "differs", "-n", namespace)
    assert differs["data"] == {"a": "1", "only-here": "x"}
    assert differs["metadata"]["labels"] == {"team": "pay", "own": "1"}
    live = api.get("deployment", "d", "-n", namespace)
    assert [one["name"] for one in live["spec"]["template"]["spec"]["containers"]] == ["one", "sidecar"]


def test_recreate_replaces_only_what_cannot_be_updated_and_no_claim(
    run: Any, api: Any, namespace: str, tree: str
) -> None:
    binding, kept = (
        api.get(kind, name, "-n", namespace) for kind, name in (("rolebinding", "binding"), ("pvc", "claim"))
    )
    deployment = api.get("deployment", "d", "-n", namespace)
    result = both(run, snapshot=tree, point="p", existing="recreate")
    assert [name for name, action in actions(result).items() if action == "recreate"] == [
        "rolebindings.rbac.authorization.k8s.io/binding"
    ]
    assert api.get("rolebinding", "binding", "-n", namespace)["metadata"]["uid"] != binding["metadata"]["uid"]
    assert api.get("rolebinding", "binding", "-n", namespace)["roleRef"]["name"] == "view"
    assert api.get("pvc", "claim", "-n", namespace)["metadata"]["uid"] == kept["metadata"]["uid"]
    assert api.get("deployment", "d", "-n", namespace)["metadata"]["uid"] == deployment["metadata"]["uid"]
    assert result["status"] == "completed"


def test_fail_writes_nothing_at_all(run: Any, api: Any, namespace: str, tree: str) -> None:
    before = versions(api, namespace)
    result = run(k8s_restore, snapshot=tree, point="p")
    assert result["failed"] and "stranger" in result["msg"]
    options = {"existing": "update", "existing_kinds": {"rolebindings.*": "fail", "secrets": "keep"}}
    result = run(k8s_restore, snapshot=tree, point="p", **options)
    assert result["failed"] and result["in_the_way"] == [f"{namespace}/rolebindings.rbac.authorization.k8s.io/binding"]
    assert versions(api, namespace) == before


def test_kinds_have_policies_of_their_own(run: Any, api: Any, namespace: str, tree: str) -> None:
    options = {"existing": "keep", "existing_kinds": {"configmaps": "merge", "rolebindings": "recreate"}}
    result = both(run, snapshot=tree, point="p", **options)
    found = actions(result)
    assert found["configmaps/differs"] == "update" and found["secrets/secret"] == "keep"
    assert found["rolebindings.rbac.authorization.k8s.io/binding"] == "recreate"


def test_what_belongs_to_a_recreated_owner_is_linked_again(run: Any, api: Any, namespace: str) -> None:
    api.apply(role_binding(namespace, "view"))
    owner = api.get("rolebinding", "binding", "-n", namespace)
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {"name": "binding", "uid": owner["metadata"]["uid"]}
    for name in ("equal", "differs"):
        api.apply(thing("ConfigMap", name, namespace, data={"a": "1"}, metadata={"ownerReferences": [reference]}))
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "rolebinding", "binding", "-n", namespace, "--cascade=orphan")
    api.apply(role_binding(namespace, "edit"))
    api("patch", "cm", "differs", "-n", namespace, "--type=merge", "-p", '{"data":{"a":"2"}}')
    both(run, snapshot=taken["snapshot"]["tree"], point="p", existing="recreate")
    uid = api.get("rolebinding", "binding", "-n", namespace)["metadata"]["uid"]
    for name in ("equal", "differs"):
        live = api.get("configmap", name, "-n", namespace)
        assert [link["uid"] for link in live["metadata"]["ownerReferences"]] == [uid]
        assert live["data"] == {"a": "1"}


@pytest.fixture
def runtime(api: Any, namespace: str) -> Iterator[str]:
    """A runtime class with an overhead, which admission notes in pods."""
    overhead = {"podFixed": {"cpu": "10m"}}
    obj = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": namespace}}
    api.apply({**obj, "handler": "kata", "overhead": overhead})
    yield namespace
    api("delete", "runtimeclass", namespace)


def bare_pod(namespace: str, label: str, token: str) -> dict[str, Any]:
    """As a server with service accounts fills it in; the one of these tests has that switched off."""
    name = f"kube-api-access-{token}"
    mount = {"name": name, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    data = {"name": "data", "mountPath": "/data"}
    spec = {
        "runtimeClassName": namespace,
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "nginx", "volumeMounts": [data, mount]}],
        "initContainers": [{"name": "first", "image": "nginx", "volumeMounts": [mount]}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": name, "projected": {"sources": [source]}}],
    }
    return thing("Pod", "bare", namespace, metadata={"labels": {"app": label}}, spec=spec)


@pytest.mark.parametrize("policy", ["update", "recreate"])
def test_a_label_of_a_bare_pod_is_updated_and_the_pod_stays(
    run: Any, api: Any, namespace: str, runtime: str, policy: str
) -> None:
    api("create", "-f", "-", stdin=bare_pod(namespace, "captured", "aaaaa"))
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "pod", "bare", "-n", namespace, "--force", "--grace-period=0")
    default = {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}}
    api.apply(thing("LimitRange", "limits", namespace, spec={"limits": [default]}))
    # The server's informer has to see it.
    time.sleep(1)
    api("create", "-f", "-", stdin=bare_pod(namespace, "changed", "bbbbb"))
    live = api.get("pod", "bare", "-n", namespace)
    assert live["spec"]["overhead"] and live["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
    live["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox"}]
    path = f"/api/v1/namespaces/{namespace}/pods/bare/ephemeralcontainers"
    api("replace", "--raw", path, "-f", "-", stdin=live)
    live = api.get("pod", "bare", "-n", namespace)
    result = both(run, snapshot=taken["snapshot"]["tree"], point="p", existing=policy)
    entry = next(one for one in result["objects"] if one["name"].endswith("/pods/bare"))
    assert (entry["action"], entry["differs"]) == ("update", ['metadata.labels.app: "changed" -> "captured"'])
    after = api.get("pod", "bare", "-n", namespace)
    assert after["metadata"]["uid"] == live["metadata"]["uid"] and after["spec"] == live["spec"]
    assert after["metadata"]["labels"] == {"app": "captured"}
    assert after["metadata"]["annotations"] == live["metadata"]["annotations"]


@pytest.mark.parametrize("policy", ["update", "merge", "recreate"])
def test_what_is_there_is_linked_to_a_new_owner_in_the_same_run(
    run: Any, api: Any, namespace: str, policy: str
) -> None:
    api.apply(thing("ConfigMap", "owner", namespace))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner"}
    owner["uid"] = api.get("configmap", "owner", "-n", namespace)["metadata"]["uid"]
    above = {"ownerReferences": [owner]}
    deployment = thing("Deployment", "d", namespace, "apps/v1", spec=pods("one"), metadata=above)
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    api.apply(deployment)
    for name in ("equal", "differs"):
        api.apply(thing("ConfigMap", name, namespace, data={"a": "1"}, metadata=above))
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "configmap", "owner", "-n", namespace, "--cascade=orphan")
    api("patch", "cm", "differs", "-n", namespace, "--type=merge", "-p", '{"data":{"a":"2","own":"1"}}')
    # Another word for the same: equal for the server, and only for it.
    words = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/cpu", "value": "1000m"}]
    transforms = [{"name": "words", "when": {"kinds": ["deployments.apps"]}, "json_patch": words}]
    both(run, snapshot=taken["snapshot"]["tree"], point="p", existing=policy, transforms=transforms)
    uid = api.get("configmap", "owner", "-n", namespace)["metadata"]["uid"]
    assert uid != owner["uid"]
    for kind, name in (("configmap", "equal"), ("configmap", "differs"), ("deployment", "d")):
        live = api.get(kind, name, "-n", namespace)
        assert [link["uid"] for link in live["metadata"]["ownerReferences"]] == [uid]
        assert "muster.container_dr" not in {entry["manager"] for entry in live["metadata"]["managedFields"]}
    assert api.get("configmap", "differs", "-n", namespace)["data"]["a"] == "1"


def test_validation_comes_before_the_question_whether_a_name_is_taken(api: Any, namespace: str) -> None:
    """Else a dry run could not tell beforehand what a deletion would end in."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = role_binding(namespace, "view")
    job = {"containers": [{"name": "c", "image": "nginx"}], "restartPolicy": "Never"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{namespace}.example.com"},
        "spec": {
            "group": f"{namespace}.example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    properties = {"spec": {"type": "object", "properties": {"number": {"type": "integer"}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    definition["spec"]["versions"][0]["schema"] = schema
    api.apply(definition)
    api("wait", "--for=condition=Established", "crd", definition["metadata"]["name"])
    custom = thing("Thing", "t", namespace, f"{namespace}.example.com/v1")
    wrong = {"matchLabels": {"app": "another"}}
    try:
        for right, invalid in (
            (binding, {**binding, "roleRef": {**reference, "kind": "Nonsense"}}),
            *(
                (thing(kind, "x", namespace, version, spec=good), thing(kind, "x", namespace, version, spec=bad))
                for kind, version, good, bad in (
                    ("Deployment", "apps/v1", pods("one"), pods("one", selector=wrong)),
                    (
                        "Job",
                        "batch/v1",
                        {"template": {"spec": job}},
                        {"template": {"spec": {**job, "restartPolicy": "A"}}},
                    ),
                    ("Service", "v1", {"ports": [{"port": 80}]}, {"ports": []}),
                )
            ),
            ({**custom, "spec": {"number": 1}}, {**custom, "spec": {"number": "one"}}),
        ):
            api("create", "-f", "-", stdin=right)
            dry = ("create", "-f", "-", "--dry-run=server", "--validate=false")
            assert "already exists" in api(*dry, stdin=right, fails=True)
            answer = api(*dry, stdin=invalid, fails=True)
            assert "is invalid" in answer and "already exists" not in answer
    finally:
        api("delete", "crd", definition["metadata"]["name"], "--wait=false")


@pytest.fixture
def default_class(api: Any, namespace: str) -> Iterator[str]:
    name = f"default-{namespace}"
    group = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "globalDefault": True}
    api("create", "-f", "-", stdin={**group, "metadata": {"name": name}, "value": 5})
    yield name
    api("delete", "priorityclass", name)


def test_recreate_deletes_only_what_the_server_would_create_again(
    run: Any, api: Any, namespace: str, default_class: str
) -> None:
    def service(address: str, **spec: Any) -> dict[str, Any]:
        ports = [{"port": 80, "nodePort": 30861}]
        return thing("Service", "s", namespace, spec={"type": "NodePort", "ports": ports, "clusterIP": address, **spec})

    pod = thing("Pod", "p", namespace, spec={"containers": [{"name": "c", "image": "nginx"}]})
    pod["spec"]["priorityClassName"] = default_class
    for obj in (role_binding(namespace, "view"), service("10.0.0.201"), pod):
        api("create", "-f", "-", stdin=obj)
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    for kind, name in (("rolebinding", "binding"), ("service", "s"), ("priorityclass", default_class)):
        api("delete", kind, name, "-n", namespace)
    group = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "globalDefault": True}
    for obj in (
        role_binding(namespace, "edit"),
        service("10.0.0.202"),
        {**group, "metadata": {"name": default_class}, "value": 6},
    ):
        api("create", "-f", "-", stdin=obj)
    before = api.get("rolebinding", "binding", "-n", namespace)["metadata"]["uid"]
    nonsense = [{"op": "replace", "path": "/roleRef/kind", "value": "Nonsense"}]
    address = [{"op": "add", "path": "/spec/clusterIP", "value": "10.0.0.201"}]
    transforms = [
        {"name": "nonsense", "when": {"kinds": ["rolebindings.*"]}, "json_patch": nonsense},
        {"name": "address", "when": {"kinds": ["services"]}, "json_patch": address},
    ]
    options = {"snapshot": taken["snapshot"]["tree"], "point": "p", "existing": "recreate", "allow_partial": True}
    result = both(run, transforms=transforms, **options)
    entries = {one["name"].rpartition("/")[2]: one for one in result["objects"]}
    assert (entries["binding"]["action"], entries["binding"]["changed"]) == ("blocked", False)
    assert "nor could it be created again: RoleBinding" in entries["binding"]["reason"]
    assert api.get("rolebinding", "binding", "-n", namespace)["metadata"]["uid"] == before
    # What only one may have, and the live one has, is no obstacle to its successor.
    assert {entries[name]["msg"] for name in ("s", default_class)} == {"recreated"}
    spec = api.get("service", "s", "-n", namespace)["spec"]
    assert (spec["clusterIP"], spec["ports"][0]["nodePort"]) == ("10.0.0.201", 30861)
    live = api.get("priorityclass", default_class)
    assert (live["value"], live["globalDefault"]) == (5, True)
    # Without the nonsense it is replaced.
    entries = {one["name"].rpartition("/")[2]: one for one in both(run, **options)["objects"]}
    assert entries["binding"]["msg"] == "recreated"
