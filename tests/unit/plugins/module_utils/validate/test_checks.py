# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from fakes.cluster import FakeCluster

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, ExecResult
from ansible_collections.muster.container_dr.plugins.module_utils._validate import data, health, images, isolation
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import (
    Check,
    CheckResult,
    Finding,
    Result,
    perform,
    verdict,
)

PODS = "/api/v1/namespaces/drill/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/drill/deployments"
DIGEST = "sha256:" + "a" * 64


def pod(name: str = "api-1", *, ready: bool = True, image: str = f"r/api@{DIGEST}", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"app": "api"}},
        "spec": {"containers": [{"name": "api", "image": image}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "api", "imageID": image, "state": {}}],
            **status,
        },
    }


def deployment(ready: int, wanted: int = 2, generation: int = 1) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "api", "generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 1, "readyReplicas": ready},
    }


def result(kind: Result, *, required: bool = True) -> CheckResult:
    return CheckResult("A01", "x", kind, required, 0.0, "", "", {})


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], "unknown"),
        ([result(Result.PASS)], "pass"),
        ([result(Result.PASS), result(Result.WARN)], "pass"),
        ([result(Result.PASS), result(Result.FAIL)], "fail"),
        ([result(Result.ERROR), result(Result.FAIL)], "fail"),
        ([result(Result.PASS), result(Result.ERROR)], "unknown"),
        ([result(Result.PASS), result(Result.SKIP)], "unknown"),
        ([result(Result.PASS), result(Result.FAIL, required=False)], "pass"),
        ([result(Result.FAIL, required=False)], "unknown"),
    ],
)
def test_a_check_that_did_not_run_is_not_a_pass(results, expected):
    assert verdict(results) == expected


def test_an_error_of_the_engine_is_a_result():
    def broken() -> Finding:
        raise Unavailable("reach", "it", "gone")

    assert perform(Check("A01", "x", broken)).result is Result.ERROR


def test_ready_means_pods_and_workloads():
    state = health.look(FakeCluster({PODS: [pod(), pod("api-2")], DEPLOYMENTS: [deployment(2)]}), ["drill"])
    assert health.ready(state, 3, 60).result is Result.PASS


def test_the_reason_of_the_kubelet_is_passed_on():
    waiting = {"name": "api", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such manifest"}}}
    cluster = FakeCluster({PODS: [pod(ready=False, containerStatuses=[waiting])]})
    found = health.ready(health.look(cluster, ["drill"]), 60, 60)
    assert found.result is Result.FAIL
    assert "ImagePullBackOff no such manifest" in found.msg


@pytest.mark.parametrize("item", [deployment(1), deployment(2, generation=2)], ids=["too few", "not seen yet"])
def test_a_workload_that_is_not_there_yet_is_waited_for(item):
    assert health.look(FakeCluster({PODS: [pod()], DEPLOYMENTS: [item]}), ["drill"]).waiting


def test_an_empty_namespace_is_no_success():
    assert health.ready(health.look(FakeCluster(), ["drill"]), 0, 60).result is Result.FAIL


def test_missing_workloads_are_counted():
    cluster = FakeCluster({DEPLOYMENTS: [deployment(2)]})
    assert health.scale(cluster, ["drill"], {"deployments.apps": 1}).result is Result.PASS
    assert health.scale(cluster, ["drill"], {"deployments.apps": 2}).result is Result.FAIL
    assert health.scale(cluster, ["drill"], {"statefulsets.apps": 1}).result is Result.FAIL


def test_an_image_that_the_point_does_not_record_fails():
    recorded = [{"name": "api:1", "digest": DIGEST}]
    assert images.digests(FakeCluster({PODS: [pod()]}), ["drill"], recorded).result is Result.PASS
    moved = pod(image="r/api@sha256:" + "b" * 64)
    assert images.digests(FakeCluster({PODS: [moved]}), ["drill"], recorded).result is Result.FAIL
    assert images.digests(FakeCluster(), ["drill"], recorded).result is Result.FAIL
    assert images.digests(FakeCluster({PODS: [pod()]}), ["drill"], []).result is Result.FAIL


def test_a_tag_counts_by_what_the_kubelet_pulled_for_it():
    tagged = pod(image="r/api:1", containerStatuses=[{"name": "api", "imageID": f"r/api@{DIGEST}"}])
    recorded = [{"name": "api:1", "digest": DIGEST}]
    assert images.digests(FakeCluster({PODS: [tagged]}), ["drill"], recorded).result is Result.PASS


@pytest.mark.parametrize(
    ("restored", "expected"),
    [
        ([{"name": "n/v", "tree": "t", "complete": True}], Result.PASS),
        ([{"name": "drill/v", "source": "n/v", "tree": "t", "complete": True}], Result.PASS),
        ([{"name": "n/v", "tree": "u", "complete": True}], Result.FAIL),
        ([{"name": "n/v", "tree": "t", "complete": False}], Result.FAIL),
        ([], Result.FAIL),
    ],
    ids=["whole", "whole elsewhere", "another tree", "incomplete", "not restored"],
)
def test_volumes_are_complete_by_tree(restored, expected):
    assert data.volumes([{"name": "n/v", "tree": "t", "files": 3}], restored).result is expected


def command_check(result: ExecResult) -> Finding:
    cluster = FakeCluster({PODS: [pod()]})
    cluster.commands["verify"] = result
    check = {"name": "v", "command": ["verify"], "selector": "app=api"}
    return data.command(cluster, check, {"ledger": "drill"})


def test_a_command_says_up_to_when_the_data_is_whole():
    found = command_check(ExecResult(0, '{"ok": true, "data_until": "2026-01-31T04:05:06.5Z"}\n', ""))
    assert found.result is Result.PASS
    assert found.details["data_until"] == "2026-01-31T04:05:06.500Z"


@pytest.mark.parametrize(
    "answer", [ExecResult(1, "", "index is torn\n"), ExecResult(0, '{"ok": false}', "")], ids=["exit code", "its word"]
)
def test_a_command_fails_by_exit_code_or_by_what_it_says(answer):
    assert command_check(answer).result is Result.FAIL


def test_a_selector_without_pods_is_an_error_not_a_pass():
    check = {"name": "v", "command": ["verify"], "selector": "app=other"}
    with pytest.raises(NotFound, match="app=other"):
        data.command(FakeCluster({PODS: [pod()]}), check, {"ledger": "drill"})


def test_http_compares_status_and_content():
    url = "/api/v1/namespaces/drill/services/http%3Aapi%3A80/proxy/readyz"
    check = {"name": "h", "service": "api", "port": 80, "path": "/readyz", "contains": "ok"}
    cluster = FakeCluster()
    cluster.answers[url] = "all ok"
    assert data.http(cluster, check, {"ledger": "drill"}).result is Result.PASS
    cluster.answers[url] = "all bad"
    assert data.http(cluster, check, {"ledger": "drill"}).result is Result.FAIL
    cluster.answers[url] = ApiError("read", url, 503, {"message": "no endpoints"})
    assert data.http(cluster, check, {"ledger": "drill"}).result is Result.FAIL


@pytest.mark.parametrize(
    ("inside", "control", "expected"),
    [
        ({"a:1": False}, {"a:1": True}, Result.PASS),
        ({"a:1": True}, {"a:1": True}, Result.FAIL),
        ({"a:1": False}, {"a:1": False}, Result.ERROR),
        ({"a:1": False, "b:1": True}, {"a:1": True, "b:1": False}, Result.PASS),
        ({}, {}, Result.ERROR),
    ],
    ids=["closed", "open", "no control", "only what the control reached counts", "nothing tried"],
)
def test_isolation_needs_its_control(inside, control, expected):
    assert isolation.closed(inside, control).result is expected


def test_the_probe_reads_its_pod_and_leaves_nothing():
    cluster = FakeCluster()

    def end(path: str, body: dict[str, Any]) -> None:
        if body["kind"] == "Pod":
            said = "a:1 open\nb:2 closed\n"
            body["status"] = {
                "phase": "Succeeded",
                "containerStatuses": [{"state": {"terminated": {"message": said}}}],
            }

    cluster.on_create = end
    registry = {"name": "r:5000/x", "username": "u", "password": "canary"}
    seen = isolation.probe(
        cluster, "drill", ["a:1", "b:2"], image="i", registry=registry, run="drill-1", unwanted="open"
    )
    assert seen == {"a:1": True, "b:2": False}
    assert not any(cluster.collections.values())


def test_a_default_deny_must_select_everything():
    path = "/apis/networking.k8s.io/v1/namespaces/drill/networkpolicies"
    some = {"metadata": {"name": "a"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"]}}
    everything = {"metadata": {"name": "d"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    assert isolation.denied(FakeCluster({path: [some]}), ["drill"]).result is Result.FAIL
    assert isolation.denied(FakeCluster({path: [some, everything]}), ["drill"]).result is Result.PASS


def test_node_ports_and_ingresses_are_exposure():
    services = "/api/v1/namespaces/drill/services"
    node_port = {"metadata": {"name": "web"}, "spec": {"type": "NodePort"}}
    internal = {"metadata": {"name": "db"}, "spec": {"type": "ClusterIP"}}
    assert isolation.hidden(FakeCluster({services: [internal]}), ["drill"]).result is Result.PASS
    assert isolation.hidden(FakeCluster({services: [internal, node_port]}), ["drill"]).result is Result.FAIL
