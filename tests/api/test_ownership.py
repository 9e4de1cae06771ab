# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After a restore the former owners go on as if nothing had happened: no conflicts, and they can remove fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")
OURS = "muster.container_dr"


def deployment(namespace: str, name: str = "d", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"team": "pay"}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container()]}},
            **spec,
        },
    }


def container(**more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "nginx", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], **more}


def config_map(namespace: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": namespace}, "data": data}


def move(run: Any, api: Any, namespace: str, **options: Any) -> dict[str, Any]:
    """Capture the namespace, delete it and restore it."""
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "namespace", namespace)
    options = {"snapshot": taken["snapshot"]["tree"], "point": "p", **options}
    result = run(k8s_restore, **options)
    assert result["status"] == "completed", result["msg"]
    again = run(k8s_restore, **options)
    assert again["changed"] is False, [entry for entry in again["objects"] if entry["changed"]]
    return result


def owners(obj: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields") or []
        if entry.get("subresource") != "status"
    }


def test_an_applier_can_still_remove_a_field(run: Any, api: Any, namespace: str) -> None:
    api.apply(deployment(namespace, minReadySeconds=7), manager="argo")
    before = owners(api.get("deployment", "d", "-n", namespace))
    move(run, api, namespace)
    live = api.get("deployment", "d", "-n", namespace)
    assert owners(live) == before
    less = deployment(namespace)
    less["spec"]["template"]["spec"]["containers"] = [container(env=[{"name": "A", "value": "new"}])]
    del less["metadata"]["labels"]
    api.apply(less, manager="argo")
    live = api.get("deployment", "d", "-n", namespace)
    assert "minReadySeconds" not in live["spec"] and "labels" not in live["metadata"]
    assert live["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "new"}]


def test_client_side_apply_can_still_remove_a_field(run: Any, api: Any, namespace: str) -> None:
    api.apply(deployment(namespace, minReadySeconds=7))
    before = owners(api.get("deployment", "d", "-n", namespace))
    move(run, api, namespace)
    assert owners(api.get("deployment", "d", "-n", namespace)) == before
    api.apply(deployment(namespace))
    live = api.get("deployment", "d", "-n", namespace)
    assert "minReadySeconds" not in live["spec"]
    # And kubectl can go over to server-side apply, as it could before.
    api.apply(deployment(namespace), manager="kubectl")


def test_an_updater_such_as_helm_owns_all_as_before(run: Any, api: Any, namespace: str) -> None:
    api("create", "-f", "-", "--field-manager", "helm", stdin=config_map(namespace, a="1", b="2"))
    before = owners(api.get("configmap", "m", "-n", namespace))
    move(run, api, namespace)
    live = api.get("configmap", "m", "-n", namespace)
    assert owners(live) == before and set(before) == {("helm", "Update")}
    assert 'conflict with "helm"' in api.apply(config_map(namespace, a="other"), manager="argo", fails=True)


def test_several_owners_get_each_their_own(run: Any, api: Any, namespace: str) -> None:
    api("create", "-f", "-", "--field-manager", "helm", stdin=deployment(namespace, replicas=2))
    mine = deployment(namespace, minReadySeconds=7)
    mine["metadata"]["labels"] = {"by": "argo"}
    api.apply(mine, manager="argo")
    slim = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": namespace}}
    api.apply({**slim, "spec": {"paused": True}}, manager="operator")
    api("scale", "deployment", "d", "-n", namespace, "--replicas=4")
    before = owners(api.get("deployment", "d", "-n", namespace))
    assert len(before) >= 4
    move(run, api, namespace)
    live = api.get("deployment", "d", "-n", namespace)
    assert owners(live) == before and live["spec"]["replicas"] == 4
    mine["spec"].pop("minReadySeconds")
    mine["metadata"].pop("labels")
    api.apply(mine, manager="argo")
    live = api.get("deployment", "d", "-n", namespace)
    assert "minReadySeconds" not in live["spec"] and live["metadata"]["labels"] == {"team": "pay"}
    assert live["spec"]["paused"] is True


def test_unowned_fields_beside_an_applier_are_restored(run: Any, api: Any, namespace: str) -> None:
    api.apply(config_map(namespace, a="1"), manager="argo")
    live = api.get("configmap", "m", "-n", namespace)
    # Somebody else's field, then nobody's: its owner is struck off the list.
    api("patch", "configmap", "m", "-n", namespace, "--type=merge", "-p", '{"data":{"lost":"x"}}')
    api(
        "patch",
        "configmap",
        "m",
        "-n",
        namespace,
        "--type=merge",
        "-p",
        json.dumps({"metadata": {"managedFields": live["metadata"]["managedFields"]}}),
    )
    before = owners(api.get("configmap", "m", "-n", namespace))
    assert set(before) == {("argo", "Apply")}
    move(run, api, namespace)
    live = api.get("configmap", "m", "-n", namespace)
    assert live["data"] == {"a": "1", "lost": "x"} and owners(live) == before


def test_custom_resources_and_namespaces_too(run: Any, api: Any, namespace: str) -> None:
    group = f"{namespace}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    api.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"things.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
    )
    try:
        api("wait", "--for=condition=Established", "crd", f"things.{group}")
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": namespace}}
        api.apply({**thing, "spec": {"a": 1, "b": 2}}, manager="flux")
        api.apply({**thing, "spec": {"c": 3}}, manager="operator")
        api("label", "namespace", namespace, "team=pay", "--field-manager", "platform")
        before = owners(api.get("namespace", namespace))
        # The definition is gone, too, at the new site.
        taken = run(k8s_snapshot, site="e", point="p", application={"name": "a", "namespaces": [namespace]})
        api("delete", "namespace", namespace)
        api("delete", "crd", f"things.{group}")
        result = run(k8s_restore, snapshot=taken["snapshot"]["tree"], point="p")
        assert result["status"] == "completed", result["msg"]
        api.apply({**thing, "spec": {"a": 1}}, manager="flux")
        assert api.get("things", "t", "-n", namespace)["spec"] == {"a": 1, "c": 3}
        after = owners(api.get("namespace", namespace))
        assert after["platform", "Update"] == before["platform", "Update"]
        assert after[OURS, "Update"] == {
            "f:metadata": {"f:annotations": {".": {}, "f:container-dr.muster.dev/point": {}}}
        }
    finally:
        api("delete", "crd", f"things.{group}", "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("policy", ["update", "merge"])
def test_an_update_leaves_ownership_as_it_was_captured(run: Any, api: Any, namespace: str, policy: str) -> None:
    api.apply(config_map(namespace, a="1", b="2"), manager="argo")
    taken = run(k8s_snapshot, site="e", point="p", application={"name": "a", "namespaces": [namespace]})
    before = owners(api.get("configmap", "m", "-n", namespace))
    api.apply(config_map(namespace, a="changed"), manager="argo")
    api("patch", "configmap", "m", "-n", namespace, "--type=merge", "-p", '{"data":{"extra":"x"}}')
    options = {"snapshot": taken["snapshot"]["tree"], "point": "p", "existing": policy}
    plan = run(k8s_restore, check=True, **options)
    result = run(k8s_restore, **options)
    assert {one["name"]: one["action"] for one in plan["objects"]} == {
        one["name"]: one["action"] for one in result["objects"]
    }
    live = api.get("configmap", "m", "-n", namespace)
    assert live["data"] == {"a": "1", "b": "2", **({"extra": "x"} if policy == "merge" else {})}
    after = owners(live)
    assert after["argo", "Apply"] == before["argo", "Apply"] and (OURS, "Apply") not in after
    assert run(k8s_restore, **options)["changed"] is False


def test_any_character_survives_an_apply(run: Any, api: Any, namespace: str) -> None:
    """An apply is read as YAML, in which JSON's surrogate pairs are errors and some characters end a line."""
    value = "\U0001f4a3 \u202e \u2028 \u0085 \ufeff \x7f \x1b \\ud83d \u00e9\n\t\"'"
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "any", "namespace": namespace}}
    # kubectl itself cannot apply it.
    path = f"/api/v1/namespaces/{namespace}/configmaps/any"
    Cluster.connect({"kubeconfig": api.server.kubeconfig}).apply(path, {**obj, "data": {"a": value}}, manager="flux")
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "configmap", "any", "-n", namespace)
    done = run(k8s_restore, snapshot=taken["snapshot"]["tree"], point="p", existing="keep")
    assert not done.get("failed"), done["msg"]
    assert api.get("configmap", "any", "-n", namespace)["data"] == {"a": value}
    assert run(k8s_restore, snapshot=taken["snapshot"]["tree"], point="p", existing="keep")["changed"] is False
