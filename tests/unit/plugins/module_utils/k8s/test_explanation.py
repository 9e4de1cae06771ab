# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why something is not ready: events, container states and logs, from an API server over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.api_server import ApiServer, running

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import explanation, waiting
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Look

CANARY = "canary-5b1e77"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as fake:
        yield fake


@pytest.fixture
def cluster(server: ApiServer) -> Cluster:
    return Cluster.connect({"host": server.url})


def thing(kind: str, name: str, api: str = "v1", owner: str = "", **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "ledger", "uid": f"uid-{name}"}
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": "X", "name": owner, "uid": f"uid-{owner}", "controller": True}
        ]
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def event(about: dict[str, Any], reason: str, kind: str = "Warning", **more: Any) -> dict[str, Any]:
    involved = {"kind": about["kind"], "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]}
    named = thing("Event", f"{about['metadata']['name']}.{reason.lower()}")
    told = {"lastTimestamp": "2026-01-31T04:05:06Z", "count": 1, "message": f"it is {reason}", **more}
    return {**named, "involvedObject": involved, "reason": reason, "type": kind, **told}


DEPLOYMENT = thing("Deployment", "api", "apps/v1", spec={"replicas": 2}, status={"readyReplicas": 1})
REPLICA_SET = thing("ReplicaSet", "api-5d", "apps/v1", owner="api", spec={"replicas": 2})


def crashing(name: str = "api-5d-x", restarts: int = 2, **state: Any) -> dict[str, Any]:
    status = {
        "name": "api",
        "ready": False,
        "restartCount": restarts,
        "state": state or {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {"exitCode": 7, "reason": "Error"}} if restarts else {},
    }
    fine = {"name": "proxy", "ready": True, "restartCount": 9, "state": {"running": {}}}
    variables = [{"name": "DB_PASSWORD", "value": f"{CANARY}-env"}, {"name": "LEVEL", "value": "CrashLoop"}]
    return thing(
        "Pod",
        name,
        owner="api-5d",
        spec={"containers": [{"name": "api", "env": variables}]},
        status={"phase": "Running", "containerStatuses": [fine, status]},
    )


def seen(cluster: Cluster) -> Look:
    return waiting.wait(cluster, ["ledger"], timeout=0).look


def test_a_deployment_stands_for_its_pods(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    look = seen(cluster)
    assert [one.title for one in look.waiting] == ["Deployment ledger/api", "Pod ledger/api-5d-x"]
    assert [one.title for one in explanation.roots(look)] == ["Deployment ledger/api"]
    assert explanation.cause(look, look.waiting[0]) == "Pod api-5d-x: container api: CrashLoopBackOff back-off 40s"


def test_containers_say_how_they_are(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    (entry,) = explanation.explain(cluster, seen(cluster))
    assert entry["containers"] == [
        {
            "pod": "api-5d-x",
            "name": "api",
            "state": "waiting",
            "reason": "CrashLoopBackOff",
            "message": "back-off 40s",
            "exit_code": 7,
            "restarts": 2,
        }
    ]
    about = {name: entry[name] for name in ("kind", "namespace", "name", "state", "reason")}
    assert about == {
        "kind": "Deployment",
        "namespace": "ledger",
        "name": "api",
        "state": "in_progress",
        "reason": "1 of 2 ready",
    }


def test_warnings_come_first_then_the_newest(server: ApiServer, cluster: Cluster) -> None:
    other = thing("Pod", "other")
    pod = crashing()
    server.add(
        DEPLOYMENT,
        REPLICA_SET,
        pod,
        event(pod, "Pulled", "Normal", lastTimestamp="2026-01-31T05:00:00Z"),
        event(pod, "Old", lastTimestamp="2026-01-31T01:00:00Z"),
        event(pod, "BackOff", count=4, lastTimestamp="2026-01-31T03:00:00Z"),
        event(REPLICA_SET, "FailedCreate", lastTimestamp=None, eventTime="2026-01-31T02:00:00.000000Z"),
        event(
            DEPLOYMENT, "Series", lastTimestamp=None, series={"count": 8, "lastObservedTime": "2026-01-31T04:00:00Z"}
        ),
        event(other, "NotOurs", lastTimestamp="2026-01-31T06:00:00Z"),
    )
    (entry,) = explanation.explain(cluster, seen(cluster))
    told = [(one["reason"], one["about"], one["count"]) for one in entry["events"]]
    assert told == [
        ("Series", "Deployment api", 8),
        ("BackOff", "Pod api-5d-x", 4),
        ("FailedCreate", "ReplicaSet api-5d", 1),
    ]
    assert entry["events"][0]["last_seen"] == "2026-01-31T04:00:00Z"


def test_the_instance_that_crashed_is_heard(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    server.logs[("ledger", "api-5d-x", "api", True)] = "FATAL: no database\n"
    server.logs[("ledger", "api-5d-x", "api", False)] = "starting\n"
    (entry,) = explanation.explain(cluster, seen(cluster))
    log = {"pod": "api-5d-x", "container": "api", "previous": True, "text": "FATAL: no database"}
    assert entry["logs"] == [log]
    asked = next(query for path, query in server.reads if path.endswith("/log"))
    assert (asked["tailLines"], asked["limitBytes"]) == ("10", "32768")


def test_without_an_instance_before_the_present_one_is_heard(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    server.logs[("ledger", "api-5d-x", "api", False)] = "starting\n"
    (entry,) = explanation.explain(cluster, seen(cluster))
    assert (entry["logs"][0]["text"], entry["logs"][0]["previous"]) == ("starting", False)


def test_who_has_not_begun_has_written_nothing(server: ApiServer, cluster: Cluster) -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such manifest"}}
    server.add(DEPLOYMENT, REPLICA_SET, crashing(restarts=0, **state))
    (entry,) = explanation.explain(cluster, seen(cluster))
    assert (entry["logs"], entry["containers"][0]["message"]) == ([], "no such manifest")
    assert not [path for path, _query in server.reads if path.endswith("/log")]


def test_nothing_secret_is_told(server: ApiServer, cluster: Cluster) -> None:
    pod = crashing(waiting={"reason": "CrashLoopBackOff", "message": f"token={CANARY}"})
    server.add(
        DEPLOYMENT,
        REPLICA_SET,
        pod,
        event(pod, "Failed", message=f"GET https://u:{CANARY}@r.invalid with {CANARY}-env"),
    )
    text = f"DB_PASSWORD={CANARY}\nusing {CANARY}-env\npostgres://app:{CANARY}@db/x refused"
    server.logs[("ledger", "api-5d-x", "api", True)] = text
    (entry,) = explanation.explain(cluster, seen(cluster))
    assert CANARY not in json.dumps(entry)
    assert entry["logs"][0]["text"].endswith("postgres://***@db/x refused")


def test_logs_are_short_and_end_with_the_end(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    server.logs[("ledger", "api-5d-x", "api", True)] = "\u00e4" * 9000 + "\nFATAL: the end\n"
    (entry,) = explanation.explain(cluster, seen(cluster))
    text = entry["logs"][0]["text"]
    assert text.endswith("FATAL: the end") and len(text.encode()) <= 2048


def test_only_the_first_ones_are_explained(server: ApiServer, cluster: Cluster) -> None:
    for number in range(12):
        server.add(thing("Deployment", f"d{number:02}", "apps/v1", spec={"replicas": 1}))
    entries = explanation.explain(cluster, seen(cluster))
    assert [entry["name"] for entry in entries] == [f"d{number:02}" for number in range(10)]


def test_a_claim_is_explained_by_its_events(server: ApiServer, cluster: Cluster) -> None:
    claim = thing("PersistentVolumeClaim", "data", spec={}, status={"phase": "Pending"})
    server.add(claim, event(claim, "ProvisioningFailed", message="no space"))
    (entry,) = explanation.explain(cluster, seen(cluster))
    assert [one["message"] for one in entry["events"]] == ["no space"]
    assert (entry["containers"], entry["logs"]) == ([], [])


def test_what_cannot_be_read_is_left_out(server: ApiServer, cluster: Cluster) -> None:
    server.add(DEPLOYMENT, REPLICA_SET, crashing())
    look = seen(cluster)
    server.broken["/api/v1/"] = 403
    (entry,) = explanation.explain(cluster, look)
    assert (entry["events"], entry["logs"], len(entry["containers"])) == ([], [], 1)
