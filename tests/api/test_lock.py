# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two restores into the same namespace at once, against a real API server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import lock
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")
LEASE = ("lease", lock.NAME, "--ignore-not-found")


@pytest.fixture
def tree(run: Any, api: Any, namespace: str) -> str:
    """A point whose one object is not there any more."""
    api("create", "configmap", "lost", "-n", namespace)
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "configmap", "lost", "-n", namespace)
    return str(taken["snapshot"]["tree"])


@pytest.fixture
def cluster(server: Any) -> Iterator[Cluster]:
    yield Cluster.connect({"kubeconfig": server.kubeconfig})


def lease(namespace: str, seconds: int) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lock.NAME, "namespace": namespace},
        "spec": {"holderIdentity": "kim@control (process 7)", "leaseDurationSeconds": seconds},
    }


def test_a_second_restore_is_refused_and_names_the_holder(
    run: Any, api: Any, namespace: str, tree: str, cluster: Cluster
) -> None:
    with lock.Lock(cluster, namespace, warn=pytest.fail, seconds=3) as held:
        held.take()
        refused = run(k8s_restore, snapshot=tree, point="p", existing="keep")
        assert refused["failed"] and f"namespace {namespace}" in refused["msg"]
        holder = json.loads(api("get", *LEASE, "-n", namespace, "-o", "json"))["spec"]["holderIdentity"]
        assert f"(process {os.getpid()})" in holder and f"{holder} restores into it since" in refused["msg"]
        assert refused["changed"] is False
        assert api("get", "configmap", "lost", "--ignore-not-found", "-n", namespace) == ""
        held.check()
    assert api("get", *LEASE, "-n", namespace) == ""
    assert run(k8s_restore, snapshot=tree, point="p", existing="keep")["counts"]["create"] == 1


def test_the_lock_of_a_dead_run_is_taken_over(run: Any, api: Any, namespace: str, tree: str) -> None:
    api.apply(lease(namespace, seconds=2))
    before = time.monotonic()
    done = run(k8s_restore, snapshot=tree, point="p", existing="keep")
    assert done["status"] == "completed" and done["counts"]["create"] == 1
    assert time.monotonic() - before >= 2
    assert api("get", *LEASE, "-n", namespace) == ""


def test_a_restore_that_changes_nothing_takes_no_lock(run: Any, api: Any, namespace: str, tree: str) -> None:
    run(k8s_restore, snapshot=tree, point="p", existing="keep")
    api.apply(lease(namespace, seconds=60))
    before = time.monotonic()
    assert run(k8s_restore, snapshot=tree, point="p", existing="keep")["changed"] is False
    assert time.monotonic() - before < 30


def test_nothing_is_written_once_the_lock_is_lost(api: Any, namespace: str, cluster: Cluster) -> None:
    with lock.Lock(cluster, namespace, warn=pytest.fail, seconds=6) as held:
        held.take()
        api("delete", "lease", lock.NAME, "-n", namespace)
        end = time.monotonic() + 60
        with pytest.raises(lock.LockLost, match="was deleted"):
            while time.monotonic() < end:
                held.check()
                time.sleep(0.1)


def test_an_identity_that_may_write_no_leases_is_told_once(server: Any, namespace: str) -> None:
    told: list[str] = []
    with lock.Lock(Cluster.connect({"kubeconfig": server.restorer}), namespace, warn=told.append) as held:
        held.take()
        held.take()
        held.check()
    assert len(told) == 1 and "leases" in told[0] and namespace in told[0]


def test_the_lock_waits_for_its_namespace(api: Any, namespace: str, cluster: Cluster) -> None:
    with lock.Lock(cluster, f"{namespace}-later", warn=pytest.fail) as held:
        held.take()
        api("create", "namespace", f"{namespace}-later")
        held.take()
        assert api("get", *LEASE, "-n", f"{namespace}-later") != ""
    api("delete", "namespace", f"{namespace}-later", "--wait=false")
