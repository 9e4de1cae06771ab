# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of what has to be thawed, on a real server, with the role of docs/rbac. There are no nodes: no command
ever runs, so each one fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import exporting
from ansible_collections.muster.container_dr.plugins.modules import k8s_snapshot, volume_export

ROLES = Path(__file__).resolve().parents[2] / "docs" / "rbac"
ROLE = "container-dr.muster.dev/role=thaw"


class NoRepository(Repository):
    """There are no volumes, so nothing is asked of it, and no restic has to be here."""

    @classmethod
    def open(cls, options: Mapping[str, Any]) -> Repository:
        return cls(url=str(options["url"]), binary="restic", version="0.18.0")

    def identify(self) -> str:
        return "f" * 64


def pod(api: Any, namespace: str) -> None:
    annotations = {"post.hook.backup.velero.io/command": "thaw", "pre.hook.backup.velero.io/command": "freeze"}
    spec = {"containers": [{"name": "main", "image": "db:1"}], "nodeName": "none"}
    metadata = {"name": "db", "namespace": namespace, "annotations": annotations}
    api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    api("patch", "pod", "db", "-n", namespace, "--subresource=status", "-p", '{"status":{"phase":"Running"}}')


def test_what_cannot_be_thawed_is_written_down_kept_and_forgotten_with_the_pod(
    run: Any, api: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "Repository", NoRepository)
    application = {"name": namespace, "namespaces": [namespace]}
    options = {"kubeconfig": api.server.restorer, "site": "east", "phase": "cut", "application": application}
    repository = {"url": "rest:http://192.0.2.1:8000/r", "password": "canary-1"}

    def records() -> list[dict[str, Any]]:
        return list(api.get("configmaps", "-n", namespace, "-l", ROLE)["items"])

    pod(api, namespace)
    api("apply", "-f", str(ROLES / "capture.yml"), "-f", str(ROLES / "hooks.yml"))
    capture, hooks, other = "muster-container-dr-capture", "muster-container-dr-hooks", f"other-{namespace}"
    try:
        # What the export itself needs of the namespace, hooks or not.
        api("create", "clusterrole", other, "--verb=get", "--resource=namespaces")
        for role in (capture, other):
            api("create", "clusterrolebinding", f"{role}-{namespace}", f"--clusterrole={role}", "--user=restorer")
        refused = run(volume_export, repository=repository, **options)
        assert refused["failed"] and "Nothing was frozen" in refused["msg"] and not records(), refused["msg"]

        api("create", "rolebinding", hooks, "-n", namespace, f"--clusterrole={hooks}", "--user=restorer")
        failed = run(volume_export, repository=repository, **options)
        assert failed["failed"] and "pre hook annotations of" in failed["msg"], failed["msg"]
        assert [(one["phase"], one["ok"]) for one in failed["hooks"]] == [("pre", False), ("post", False)]
        (record,) = records()
        assert json.loads(record["data"]["debt.json"])["holder"] is None
        captured = run(k8s_snapshot, check=True, site="east", point="p", application=application)
        assert captured["left_out"], captured

        again = run(volume_export, repository=repository, hook_annotations=False, **options)
        assert not again.get("failed") and [one["ok"] for one in again["thawed"]] == [False]
        assert [one["metadata"]["uid"] for one in records()] == [record["metadata"]["uid"]]

        api("delete", "pod", "db", "-n", namespace, "--force", "--grace-period=0")
        last = run(volume_export, repository=repository, **options)
        assert not last.get("failed") and "gone with its pods" in json.dumps(last["warnings"]) and not records()
    finally:
        api("delete", "clusterrole", capture, hooks, other, "--ignore-not-found")
        names = [f"{role}-{namespace}" for role in (capture, other)]
        api("delete", "clusterrolebinding", *names, "--ignore-not-found")
