# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workloads are scaled to zero and back through their scale, by an identity that may do no more than that."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import suspension
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._volume import stopping
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import Claim

ROLE = Path(__file__).resolve().parents[2] / "docs" / "rbac" / "stopped.yml"
ROLES = ("muster-container-dr-stopped", "muster-container-dr-stopped-cluster")
LABELS = {"a": "b"}
TEMPLATE = {
    "metadata": {"labels": LABELS},
    "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    },
}


def thing(kind: str, name: str, namespace: str, version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def test_the_role_is_enough_to_scale_and_to_no_more(api: Any, namespace: str) -> None:
    binding = f"stopped-{uuid.uuid4().hex[:8]}"
    apps = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
    nightly = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    api.apply(thing("Deployment", "api", namespace, "apps/v1", replicas=2, **apps))
    api.apply(thing("StatefulSet", "db", namespace, "apps/v1", replicas=1, serviceName="db", **apps))
    job = {"spec": {"template": nightly}}
    api.apply(thing("CronJob", "nightly", namespace, "batch/v1", schedule="0 1 * * *", jobTemplate=job))
    claim = Claim(namespace, "data", "Bound", "standard", None, 0, ("ReadWriteOnce",), "Filesystem")

    def state() -> list[Any]:
        found = api.get("deployment/api", "statefulset/db", "cronjob/nightly", "-n", namespace)["items"]
        return [one["spec"].get("replicas", one["spec"].get("suspend")) for one in found]

    api("apply", "-f", str(ROLE))
    try:
        api("create", "rolebinding", binding, "-n", namespace, f"--clusterrole={ROLES[0]}", "--user=restorer")
        api("create", "clusterrolebinding", binding, f"--clusterrole={ROLES[1]}", "--user=restorer")
        cluster = Cluster.connect({"kubeconfig": api.server.restorer})
        plan = stopping.plan(cluster, [claim])
        assert not plan.problems and len(plan.fighters) == 3, plan
        record = suspension.record_of(cluster, plan.fighters.values(), "run-1")
        kept: list[str] = []
        outcome = suspension.suspend(cluster, record, lambda one: kept.append(json.dumps(one)))
        assert not outcome.failed and state() == [0, 0, True], outcome
        assert suspension.awake(cluster, record["entries"]) == []
        # Scaled again by somebody: it stays.
        api("scale", "deployment/api", "-n", namespace, "--replicas=5")
        assert suspension.awake(cluster, record["entries"]) == [f"{namespace}/deployments.apps/api"]
        # Only the first record was left by a run that died.
        outcome = suspension.resume(cluster, json.loads(kept[0]), lambda _one: None)
        assert not outcome.failed and list(outcome.kept) == [f"{namespace}/deployments.apps/api"]
        assert state() == [5, 1, False]
    finally:
        api("delete", "clusterrolebinding", binding, "--ignore-not-found")
        api("delete", "clusterrole", *ROLES, "--ignore-not-found")
