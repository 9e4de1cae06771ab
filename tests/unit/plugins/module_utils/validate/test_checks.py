# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from fakes.cluster import FakeCluster

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import bubble
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, ExecResult
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.readiness import State, Verdict
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Ending, Look, Standing, Waited
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


def deployment(name: str = "api") -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": name, "namespace": "drill", "uid": f"uid-{name}"}}


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


def look(*waiting: str, pods: int = 1, **more: Any) -> Look:
    """A Deployment per reason for which it waits, and pods that are ready."""
    standings = [
        Standing("deployments.apps", "Deployment", deployment(f"api-{number}"), Verdict(State.IN_PROGRESS, reason))
        for number, reason in enumerate(waiting)
    ]
    standings += [
        Standing("pods", "Pod", {"metadata": {"name": f"p{number}"}}, Verdict(State.CURRENT, "ready"))
        for number in range(pods)
    ]
    return Look(standings, {"deployments.apps": [one.obj for one in standings if one.kind == "Deployment"]}, **more)


def judged(ending: Ending, seen: Look) -> Finding:
    return health.ready(FakeCluster(), Waited(ending, seen, 3.0), 60)


def test_what_waits_fails_with_the_first_reason():
    found = judged(Ending.TIME_OVER, look("1 of 2 ready", "0 of 1 ready"))
    assert found.result is Result.FAIL
    assert found.msg == "2 not ready after 60 s; first: Deployment drill/api-0: 1 of 2 ready"
    assert found.details["waiting"]["Deployment drill/api-1"] == "0 of 1 ready"
    assert [one["name"] for one in found.details["explained"]] == ["api-0", "api-1"]


def test_an_api_that_does_not_answer_is_waited_for():
    found = judged(Ending.TIME_OVER, look(silent={"things.example.com": "it is down"}))
    assert (found.result, "API of things.example.com" in found.msg) == (Result.FAIL, True)


def test_a_server_that_does_not_answer_leaves_everything_unknown():
    assert judged(Ending.TIME_OVER, look("1 of 2 ready", silent={"pods": "refused"})).result is Result.ERROR


def test_an_empty_namespace_is_no_success():
    assert judged(Ending.READY, look(pods=0)).result is Result.FAIL


def test_what_could_not_be_looked_at_is_no_clean_pass():
    assert judged(Ending.READY, look()).result is Result.PASS
    found = judged(Ending.READY, look(unseen={"things.example.com": "forbidden"}))
    assert (found.result, "things.example.com" in found.msg) == (Result.WARN, True)


def test_progress_says_what_is_waited_for():
    text = health.still(look("1 of 2 ready", "b", "c", "d", pods=13))
    first = "4 of 17 wait: Deployment drill/api-0 1 of 2 ready; Deployment drill/api-1 b; "
    assert text == first + "Deployment drill/api-2 c; and 1 more"


def test_missing_workloads_are_counted():
    seen = look("1 of 2 ready")
    assert health.scale(seen, {"deployments.apps": 1}).result is Result.PASS
    assert health.scale(seen, {"deployments.apps": 2}).msg == "only 1 of 2 deployments there"
    assert health.scale(seen, {"statefulsets.apps": 1}).result is Result.FAIL


def test_an_image_that_the_point_does_not_record_fails():
    recorded = [{"name": "api:1", "digest": DIGEST}]
    assert images.digests(FakeCluster({PODS: [pod()]}), ["drill"], recorded).result is Result.PASS
    moved = pod(image="r/api@sha256:" + "b" * 64)
    assert images.digests(FakeCluster({PODS: [moved]}), ["drill"], recorded).result is Result.FAIL
    assert images.digests(FakeCluster(), ["drill"], recorded).result is Result.FAIL
    assert images.digests(FakeCluster({PODS: [pod()]}), ["drill"], []).result is Result.FAIL


def test_an_image_that_the_point_leaves_out_is_counted_apart():
    recorded = [{"name": "api:1", "digest": DIGEST}]
    excluded = [{"what": "image:dev.example.com/tools:1", "why": "every node builds it"}, {"what": "shop/data"}]
    tools = pod("tools-1", image="dev.example.com/tools:1", containerStatuses=[])
    finding = images.digests(FakeCluster({PODS: [pod(), tools]}), ["drill"], recorded, excluded)
    assert (finding.result, finding.msg) == (
        Result.PASS,
        "1 containers run recorded digests, 1 run images that the point leaves out by rule",
    )
    assert images.digests(FakeCluster({PODS: [tools]}), ["drill"], [], excluded).result is Result.PASS
    assert images.digests(FakeCluster({PODS: [pod(), tools]}), ["drill"], [], excluded).result is Result.FAIL
    assert images.digests(FakeCluster({PODS: [tools]}), ["drill"], recorded, excluded[1:]).result is Result.FAIL


def test_what_the_tag_names_now_is_not_the_image_of_the_point():
    other = "sha256:" + "b" * 64
    recorded = [
        {"name": "api:1", "digest": DIGEST, "tag_digest": other, "msg": f"the tag has moved: it names {other} now"},
        {"name": "web:1", "digest": None, "tag_digest": None, "msg": f"what runs is gone; tag 1 names {other} now"},
    ]
    moved = pod(image="r/api:1", containerStatuses=[{"name": "api", "imageID": f"r/api@{other}"}])
    assert images.digests(FakeCluster({PODS: [moved]}), ["drill"], recorded).result is Result.FAIL


def test_digests_of_other_algorithms_count():
    digest = "sha512:" + "c" * 128
    recorded = [{"name": f"api@{digest}", "digest": digest}]
    pinned = pod(image=f"r/api@{digest}")
    assert images.digests(FakeCluster({PODS: [pinned]}), ["drill"], recorded).result is Result.PASS
    other = pod(image="r/api@sha512:" + "c" * 127 + "d")
    assert images.digests(FakeCluster({PODS: [other]}), ["drill"], recorded).result is Result.FAIL


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


@pytest.mark.parametrize(
    ("restore", "came", "expected"),
    [
        (None, {"skipped": True}, Result.PASS),
        (None, {"failed": True}, Result.FAIL),
        (None, None, Result.FAIL),
        ({"command": ["load"]}, {"skipped": True}, Result.FAIL),
        ({"command": ["load"]}, {"complete": True}, Result.PASS),
    ],
    ids=["nothing takes it", "failed", "not tried", "left out", "taken"],
)
def test_a_stream_that_nothing_takes_is_named_and_fails_nothing(restore, came, expected):
    volume = {"name": "n/v", "tree": "t", "files": 3}
    stream = {"name": "n/streams/s", "kind": "stream", "tree": "u", "files": 1, "restore": restore}
    whole = {"name": "n/v", "tree": "t", "complete": True}
    restored = [whole] + ([{"name": "d/streams/s", "source": "n/streams/s", "tree": "u", **came}] if came else [])
    found = data.volumes([volume, stream], restored)
    assert found.result is expected
    kept = bool(came and came.get("skipped") and restore is None)
    assert ("not restored, as nothing takes them: n/streams/s" in found.msg) is kept
    if expected is Result.PASS:
        assert ("1 volumes complete by tree id, 3 files" in found.msg) is kept


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
    everywhere = {**everything, "spec": {**everything["spec"], "egress": [{}]}}
    assert isolation.denied(FakeCluster({path: [some, everything]}), ["drill"]).result is Result.PASS
    assert isolation.denied(FakeCluster({path: [some, everywhere]}), ["drill"]).result is Result.FAIL


def test_a_bubble_lets_movers_in_where_the_namespace_enforced_more():
    enforced = "pod-security.kubernetes.io/enforce"
    shut = bubble.Bubble("drill-1", "shop", True)
    for level, kept in (("restricted", "baseline"), ("privileged", "privileged")):
        obj = {"metadata": {"name": "shop", "labels": {enforced: level}}}
        assert bool(shut.rewrite("namespaces", obj)) is (level != kept)
        assert obj["metadata"]["labels"][enforced] == kept


def test_the_policy_of_a_bubble_is_a_default_deny():
    path = "/apis/networking.k8s.io/v1/namespaces/shop-drill/networkpolicies"
    mine = bubble.Bubble("drill-1", "shop", True).policy("shop-drill")
    assert isolation.denied(FakeCluster({path: [mine]}), ["shop-drill"]).result is Result.PASS


def test_node_ports_and_ingresses_are_exposure():
    services = "/api/v1/namespaces/drill/services"
    node_port = {"metadata": {"name": "web"}, "spec": {"type": "NodePort"}}
    internal = {"metadata": {"name": "db"}, "spec": {"type": "ClusterIP"}}
    assert isolation.hidden(FakeCluster({services: [internal]}), ["drill"]).result is Result.PASS
    assert isolation.hidden(FakeCluster({services: [internal, node_port]}), ["drill"]).result is Result.FAIL
