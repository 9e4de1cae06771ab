# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Custom resources of versions that the target serves only after the restore, or never, against a real API server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


def definition(group: str, *versions: str) -> dict[str, Any]:
    """The first version is stored; what one says the others say too."""
    properties = {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    served = [
        {"name": name, "served": True, "storage": number == 0, "schema": schema} for number, name in enumerate(versions)
    ]
    names = {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": served},
    }


def custom(group: str, version: str, namespace: str, name: str, size: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}/{version}", "kind": "Thing", "metadata": metadata, "spec": {"size": size}}


def define(api: Any, group: str, *versions: str) -> None:
    api.apply(definition(group, *versions))
    api("wait", "--for=condition=Established", "crd", f"things.{group}")
    # Discovery follows a moment later.
    for version in versions:
        for _attempt in range(100):
            if '"things"' in api("get", "--raw", f"/apis/{group}/{version}", fails=True):
                break
        else:
            raise AssertionError(f"{group}/{version} is not served")


@pytest.fixture
def group(api: Any) -> Iterator[str]:
    name = f"g{uuid.uuid4().hex[:8]}.example.com"
    yield name
    api("delete", "crd", f"things.{name}", "--ignore-not-found", "--wait=false")


@pytest.fixture
def tree(run: Any, api: Any, namespace: str, group: str) -> str:
    """Captured in v2, which the server prefers, and in v1; then the server is one that knows v1 only."""
    define(api, group, "v2", "v1")
    for name in ("absent", "equal", "differs"):
        api.apply(custom(group, "v2", namespace, name, 2), manager="owner")
    # A second owner, so that ownership is given back by a request of its own.
    owner = {"apiVersion": f"{group}/v2", "kind": "Thing", "name": "absent"}
    owner["uid"] = api.get(f"things.{group}", "absent", "-n", namespace)["metadata"]["uid"]
    metadata = {"name": "child", "namespace": namespace, "ownerReferences": [owner]}
    api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    labels = {"apiVersion": f"{group}/v2", "kind": "Thing"}
    labels["metadata"] = {"name": "absent", "namespace": namespace, "labels": {"team": "pay"}}
    api.apply(labels, manager="labeller")
    application = {"name": "a", "namespaces": [namespace], "versions": "all"}
    taken = run(k8s_snapshot, site="east", point="p", application=application)
    assert taken["versions"] == {f"things.{group}": [f"{group}/v1"]}
    api("delete", "configmap", "child", "-n", namespace)
    api("delete", "crd", f"things.{group}")
    define(api, group, "v1")
    for name, size in (("equal", 2), ("differs", 1)):
        api.apply(custom(group, "v1", namespace, name, size), manager="owner")
    return str(taken["snapshot"]["tree"])


def actions(result: dict[str, Any]) -> dict[str, str]:
    kept = dict.fromkeys((name.rpartition("/")[2] for name in result["unchanged"]), "keep")
    return kept | {entry["name"].rpartition("/")[2]: entry["action"] for entry in result["objects"]}


@pytest.mark.parametrize("policy", ["update", "merge", "recreate"])
def test_objects_of_a_version_that_comes_with_the_restore_are_written_in_the_same_run(
    run: Any, api: Any, namespace: str, group: str, tree: str, policy: str
) -> None:
    options = {"snapshot": tree, "point": "p", "existing": policy}
    plan, result = run(k8s_restore, check=True, **options), run(k8s_restore, **options)
    wanted = {"absent": "create", "equal": "keep", "differs": "update", f"things.{group}": "update"}
    for found in (plan, result):
        assert {name: actions(found)[name] for name in wanted} == wanted and found["status"] == "completed"
    sure = {entry["name"].rpartition("/")[2]: entry["sure"] for entry in plan["objects"]}
    assert sure["absent"] == sure["differs"] == "assumed"
    for name in ("absent", "equal", "differs"):
        live = api.get(f"things.v2.{group}", name, "-n", namespace)
        assert live["spec"] == {"size": 2}
    again = run(k8s_restore, **options)
    assert again["changed"] is False and actions(again)["absent"] == "keep"


def test_objects_are_written_in_another_captured_version_where_the_definition_stays(
    run: Any, api: Any, namespace: str, group: str, tree: str
) -> None:
    options = {"snapshot": tree, "point": "p", "existing": "keep"}
    plan, result = run(k8s_restore, check=True, **options), run(k8s_restore, **options)
    assert actions(plan) == actions(result) and result["status"] == "completed"
    assert (actions(result)["absent"], actions(result)[f"things.{group}"]) == ("create", "keep")
    live = api.get("things." + group, "absent", "-n", namespace)
    assert (live["apiVersion"], live["spec"]) == (f"{group}/v1", {"size": 2})
    owners = {(entry["manager"], entry["apiVersion"]) for entry in live["metadata"]["managedFields"]}
    assert owners == {("owner", f"{group}/v1"), ("labeller", f"{group}/v1")}
    link = api.get("configmap", "child", "-n", namespace)["metadata"]["ownerReferences"][0]
    assert (link["apiVersion"], link["uid"]) == (f"{group}/v1", live["metadata"]["uid"])
    assert run(k8s_restore, **options)["changed"] is False


def test_a_version_that_nobody_brings_is_named_with_what_is_served(
    run: Any, api: Any, namespace: str, group: str
) -> None:
    define(api, group, "v2", "v1")
    api.apply(custom(group, "v2", namespace, "absent", 2))
    application = {"name": "a", "namespaces": [namespace], "versions": "all"}
    taken = run(k8s_snapshot, site="east", point="p", application=application)
    api("delete", "crd", f"things.{group}")
    define(api, group, "v3")
    options = {"snapshot": taken["snapshot"]["tree"], "existing": "keep", "allow_partial": True}
    result = run(k8s_restore, **options)
    reason = next(one["reason"] for one in result["objects"] if one["name"].endswith("/absent"))
    assert reason == f"it was captured as {group}/v2, {group}/v1; the target serves {group}/v3"
