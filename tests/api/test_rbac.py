# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster role of docs/rbac is enough for a restore, and without it nothing is written."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

ROLE = Path(__file__).resolve().parents[2] / "docs" / "rbac" / "restore.yml"
RBAC = "rbac.authorization.k8s.io"


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def test_the_role_is_enough_to_restore_and_to_recreate(run: Any, api: Any, namespace: str) -> None:
    other, role = f"muster-copy-{uuid.uuid4().hex[:8]}", f"all-{namespace}"
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    subject = {"kind": "ServiceAccount", "name": "app", "namespace": namespace}
    # More than the restoring identity may do itself.
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    options = {"kubeconfig": api.server.restorer, "point": "p", "namespace_mapping": {namespace: other}}
    try:
        api.apply(thing("ServiceAccount", "app", namespace))
        api.apply(thing("ConfigMap", "several", namespace, data={"a": "1"}), manager="one")
        api.apply(thing("ConfigMap", "several", namespace, immutable=False), manager="two")
        api.apply(thing("Secret", "secret", namespace, stringData={"a": "1"}))
        api.apply(thing("ClusterRole", role, api_version=f"{RBAC}/v1", rules=rules))
        for kind, where in (("RoleBinding", namespace), ("ClusterRoleBinding", "")):
            api.apply(thing(kind, role, where, f"{RBAC}/v1", roleRef=reference, subjects=[subject]))
        tree = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
        options["snapshot"] = tree["snapshot"]["tree"]

        refused = run(k8s_restore, **options)
        assert refused["failed"] and "NotFound" in api("get", "namespace", other, fails=True)

        api("apply", "-f", str(ROLE))
        api(
            "create",
            "clusterrolebinding",
            role + "-restorer",
            "--clusterrole=muster-container-dr-restore",
            "--user=restorer",
        )
        plan = run(k8s_restore, check=True, **options)
        done = run(k8s_restore, **options)
        assert (plan["status"], done["status"]) == ("completed", "completed"), done["msg"]
        api("patch", "rolebinding", role, "-n", other, "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
        api("patch", "cm", "several", "-n", other, "--type=merge", "-p", '{"immutable":true,"data":{"a":"2"}}')
        again = run(k8s_restore, existing="recreate", **options)
        assert again["status"] == "completed" and again["counts"]["recreate"] == 1
        assert api.get("cm", "several", "-n", other)["data"] == {"a": "1"}
    finally:
        api("delete", "clusterrole", role, "muster-container-dr-restore", "--ignore-not-found")
        for name in (role, f"{role}-{other}", f"{role}-restorer"):
            api("delete", "clusterrolebinding,clusterrole", name, "--ignore-not-found")
        api("delete", "namespace", other, "--ignore-not-found", "--wait=false")


def test_a_status_is_restored_with_the_role_and_without_its_right_it_is_said_beforehand(
    run: Any, api: Any, namespace: str
) -> None:
    other, role = f"muster-copy-{uuid.uuid4().hex[:8]}", f"less-{namespace}"
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}
    api.apply(thing("PodDisruptionBudget", "kept", namespace, "policy/v1", spec=budget))
    status = {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 3}
    patch = json.dumps({"status": status})
    api("patch", "pdb", "kept", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    tree = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    options = {
        "snapshot": tree["snapshot"]["tree"],
        "kubeconfig": api.server.restorer,
        "point": "p",
        "namespace_mapping": {namespace: other},
        "restore_status": ["poddisruptionbudgets.policy"],
        "allow_partial": True,
    }
    all_verbs = ["get", "list", "create", "update", "patch"]
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
        {"apiGroups": ["", "policy"], "resources": ["namespaces", "poddisruptionbudgets"], "verbs": all_verbs},
    ]
    name = f"{other}/poddisruptionbudgets.policy/kept"
    try:
        api.apply(thing("ClusterRole", role, api_version=f"{RBAC}/v1", rules=rules))
        api("create", "clusterrolebinding", role, f"--clusterrole={role}", "--user=restorer")
        for check in (True, False):
            blocked = {one["name"]: one["reason"] for one in run(k8s_restore, check, **options)["objects"]}
            words = f"may not patch the status of poddisruptionbudgets.policy in namespace {other}"
            assert blocked[name] == f"the identity in use {words}"
        api("apply", "-f", str(ROLE))
        api(
            "create",
            "clusterrolebinding",
            f"{role}-all",
            "--clusterrole=muster-container-dr-restore",
            "--user=restorer",
        )
        assert run(k8s_restore, **options)["status"] == "completed"
        assert api.get("pdb", "kept", "-n", other)["status"] == status
    finally:
        api("delete", "clusterrole", role, "muster-container-dr-restore", "--ignore-not-found")
        api("delete", "clusterrolebinding", role, f"{role}-all", "--ignore-not-found")
        api("delete", "namespace", other, "--ignore-not-found", "--wait=false")
