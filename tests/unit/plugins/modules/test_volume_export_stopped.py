# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes that are read while their workloads are stopped, and volumes that no claim stands for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import running
from fakes.restic_program import ResticProgram
from fakes.storage import LocalCluster, Storage, claim, ended, good_end, owned, pod, stored, thing, workload

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import thaw
from ansible_collections.muster.container_dr.plugins.module_utils._volume import exporting, settings
from ansible_collections.muster.container_dr.plugins.modules import volume_export

REPOSITORY = {"url": "gs:bucket:/r", "password": "canary-password"}
APPLICATION = {"name": "shop", "namespaces": ["shop"]}
STOPPED = {"disk": "stopped"}
API, DB = "shop/deployments.apps/api", "shop/statefulsets.apps/db"
Runner = Callable[..., dict[str, Any]]


def disk(name: str, **spec: Any) -> list[dict[str, Any]]:
    """A claim of a class that has no snapshots."""
    return claim(name, driver=None, spec={"storageClassName": "disk", **spec})


def shop() -> Storage:
    """A Deployment of two pods that use one claim, and a StatefulSet whose one pod uses another."""
    server = Storage(snapshots=False)
    server.add(thing("Namespace", "shop", ""), thing("Namespace", "kube-system", ""))
    server.add(*disk("data"), *disk("logs"))
    server.add(workload("Deployment", "api", "data", replicas=2), workload("StatefulSet", "db", "logs"))
    server.add(owned(workload("ReplicaSet", "api-1", "data", replicas=2), "Deployment", "api"))
    server.add(*(owned(pod(f"api-1-{one}", "data"), "ReplicaSet", "api-1") for one in "ab"))
    server.add(owned(pod("db-0", "logs"), "StatefulSet", "db"))
    return server


def scaled(server: Storage) -> list[str]:
    return [event for event in server.events if event.startswith(("scale", "create jobs"))]


def replicas(server: Storage) -> tuple[int, int]:
    found = (server.get("deployments.apps", "shop", "api"), server.get("statefulsets.apps", "shop", "db"))
    first, second = (int(one["spec"]["replicas"]) if one else -1 for one in found)
    return first, second


def debts(server: Storage) -> list[dict[str, Any]]:
    """The records of what is owed."""
    maps = [obj for (key, _space, _name), obj in server.objects.items() if key == "configmaps"]
    return [json.loads(one["data"]["debt.json"]) for one in maps]


def warnings(result: dict[str, Any]) -> str:
    """Those of this run, and of earlier ones in this process."""
    return json.dumps(result.get("warnings"))


def moved(result: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(one["name"], one["method"], one["failed"]) for one in result["volumes"]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    seconds = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr(exporting.snapshot.time, "monotonic", lambda: seconds[0])
    return shop()


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    program.answer("snapshots", [stored(f"k8s:east/shop/{name}") for name in ("data", "logs")])
    return program


@pytest.fixture
def run(
    server: Storage, restic: ResticProgram, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Runner:
    cluster = LocalCluster(server)
    monkeypatch.setattr(exporting.Cluster, "connect", lambda _params: cluster)

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        application = {**APPLICATION, **options.pop("application", {})}
        repository = {**REPOSITORY, "restic": str(restic.path)}
        arguments = {"site": "east", "repository": repository, "workers": 1, "methods": STOPPED, **options}
        with (
            patch_module_args({**arguments, "application": application, "_ansible_check_mode": check}),
            pytest.raises(SystemExit),
        ):
            volume_export.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


# -- stopped ----------------------------------------------------------------------------------------------------------


def test_each_workload_is_stopped_first_and_started_as_soon_as_its_own_claim_is_read(
    run: Runner, server: Storage
) -> None:
    before = clock.iso(clock.now())
    result = run()
    assert moved(result) == [("shop/data", "stopped", False), ("shop/logs", "stopped", False)], result
    assert scaled(server) == [
        "scale api to 0",
        "scale db to 0",
        "create jobs",
        "scale api to 2",
        "create jobs",
        "scale db to 1",
    ]
    # What is owed is written down before anything is done.
    assert server.events.index("create configmaps") < server.events.index("scale api to 0")
    points = {one["consistency_point"] for one in result["volumes"]}
    assert result["consistency"] == {"point": points.pop(), "skew_seconds": 0.0, "mode": "stopped"} and not points
    assert before <= result["consistency"]["point"] <= clock.iso(clock.now())
    assert [(one["name"], one["claims"], one["before"], one["changed"]) for one in result["stopped"]] == [
        (API, ["shop/data"], {"/spec/replicas": 2}, True),
        (DB, ["shop/logs"], {"/spec/replicas": 1}, True),
    ]
    assert all(one["stopped"] <= one["started"] and one["seconds"] >= 0 for one in result["stopped"])
    job = server.created["jobs"][0]
    assert "node-1" in json.dumps(job["spec"]["template"]["spec"]["affinity"]) and not server.left()


def test_the_volumes_are_read_while_nothing_uses_them(run: Runner, server: Storage) -> None:
    seen: list[list[str]] = []

    def mover(job: dict[str, Any]) -> Any:
        seen.append([name for key, _space, name in server.objects if key == "pods" and not name.startswith("muster-")])
        return good_end(job)

    server.mover = mover
    run()
    assert seen == [[], ["api-1-a", "api-1-b"]] and replicas(server) == (2, 1)


def test_only_the_phase_move_stops_something(run: Runner, server: Storage) -> None:
    cut = run(phase="cut")
    assert not scaled(server) and cut["consistency"]["mode"] == "stopped" and cut["stopped"] == []
    assert [one["msg"] for one in cut["volumes"]] == ["not read yet"] * 2
    result = run(phase="move", cuts=cut["cuts"])
    assert [one["name"] for one in result["stopped"]] == [API, DB] and replicas(server) == (2, 1)
    assert result["consistency"]["mode"] == "stopped" and not server.left()


def test_what_uses_several_claims_is_stopped_once_for_all_of_them(run: Runner, server: Storage) -> None:
    server.remove("deployments.apps", "shop", "api")
    for name in ("a", "b"):
        server.remove("pods", "shop", f"api-1-{name}")
    server.remove("replicasets.apps", "shop", "api-1")
    templates = [{"metadata": {"name": "data"}}]
    server.add(workload("StatefulSet", "db", "logs", volumeClaimTemplates=templates))
    server.add(owned(pod("db-0", "data", "logs"), "StatefulSet", "db"))
    result = run()
    assert scaled(server) == ["scale db to 0", "create jobs", "create jobs", "scale db to 1"]
    assert result["stopped"][0]["claims"] == ["shop/data", "shop/logs"]


def test_a_pod_of_a_stateful_set_that_is_away_just_now_stays_away(run: Runner, server: Storage) -> None:
    server.add(*disk("data-db-0"), workload("StatefulSet", "db", volumeClaimTemplates=[{"metadata": {"name": "data"}}]))
    server.remove("pods", "shop", "db-0")
    plan = run(check=True)
    assert {one["name"]: one["claims"] for one in plan["stopped"]}[DB] == ["shop/data-db-0"]


def test_check_mode_names_what_would_be_stopped_and_writes_nothing(run: Runner, server: Storage) -> None:
    server.remove("pods", "shop", "db-0")
    server.remove("statefulsets.apps", "shop", "db")
    result = run(check=True)
    assert [one["msg"] for one in result["volumes"]] == [
        f"is read while these are stopped: {API}",
        "is read as it is, no pod uses it",
    ]
    assert [one["name"] for one in result["stopped"]] == [API] and result["consistency"]["mode"] == "stopped"
    assert not [write for write in server.writes if write[0] != "DELETE"]


def test_a_claim_that_no_pod_uses_is_read_as_it_is(run: Runner, server: Storage) -> None:
    for key, name in (("pods", "db-0"), ("statefulsets.apps", "db")):
        server.remove(key, "shop", name)
    result = run(application={"volumes": {"exclude": [{"name": "data", "reason": "noise"}]}})
    assert moved(result) == [("shop/logs", "stopped", False)] and result["stopped"] == []
    assert result["consistency"]["mode"] == "stopped" and "configmaps" not in server.created


@pytest.mark.parametrize("code", [1, 3])
def test_a_volume_that_cannot_be_read_does_not_keep_its_workload_stopped(
    run: Runner, server: Storage, code: int
) -> None:
    server.mover = lambda _job: [ended(code, 'error {"error":"denied"}')]
    result = run()
    assert result["failed"] and replicas(server) == (2, 1) and not server.left()


def test_a_pod_that_does_not_end_ends_it_and_all_is_started_again(run: Runner, server: Storage) -> None:
    server.stubborn = {"db-0"}
    result = run(stop_timeout="7s")
    assert result["failed"] and "pod db-0 still uses it after 7 seconds" in result["msg"]
    assert scaled(server) == ["scale api to 0", "scale db to 0", "scale db to 1", "scale api to 2"]
    assert moved(result) == [("shop/data", "stopped", True), ("shop/logs", "stopped", True)] and not server.left()


def test_a_workload_that_cannot_be_stopped_ends_it_and_the_others_are_started_again(
    run: Runner, server: Storage
) -> None:
    server.refused = {"shop/statefulsets.apps/db"}
    result = run()
    assert result["failed"] and DB in result["msg"] and replicas(server) == (2, 1) and not server.left()


def test_sigterm_while_a_volume_is_read_starts_all_again(
    run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mover = lambda _job: None
    monkeypatch.setattr("time.sleep", lambda _seconds: os.kill(os.getpid(), signal.SIGTERM))
    result = run()
    assert result["failed"] and "SIGTERM" in json.dumps(result) and replicas(server) == (2, 1)
    assert not server.left() and not settings.ENDING.is_set()


def test_sigterm_while_it_starts_them_again_starts_them_all(run: Runner, server: Storage) -> None:
    def killed(method: str, path: str) -> None:
        if method == "PATCH" and path.endswith("/api/scale") and server.events[-1] != "scale api to 0":
            os.kill(os.getpid(), signal.SIGTERM)

    server.stubborn = {"db-0"}
    server.before_write = killed
    result = run(stop_timeout="3s")
    assert result["failed"] and replicas(server) == (2, 1) and not server.left()


def test_what_somebody_scales_meanwhile_stays_so_and_its_volume_is_no_backup(run: Runner, server: Storage) -> None:
    def mover(job: dict[str, Any]) -> Any:
        api = server.objects["deployments.apps", "shop", "api"]
        server.add({**api, "kind": "Deployment", "spec": {**api["spec"], "replicas": 5}})
        return good_end(job)

    server.mover = mover
    result = run()
    assert result["failed"] and result["failed_volumes"] == ["shop/data"]
    assert f"{API} was started by somebody" in result["volumes"][0]["msg"]
    assert replicas(server) == (5, 1) and "somebody has changed /spec/replicas" in warnings(result)
    assert not server.left()


def test_a_pod_that_comes_from_elsewhere_makes_it_no_backup(run: Runner, server: Storage) -> None:
    server.mover = lambda job: server.add(pod("debug", "data")) or good_end(job)
    result = run()
    assert result["failed_volumes"] == ["shop/data"] and "pod debug began to use it" in result["volumes"][0]["msg"]


def test_a_workload_that_cannot_be_started_is_an_error_and_a_debt(run: Runner, server: Storage) -> None:
    path = "/apis/apps/v1/namespaces/shop/deployments/api/scale"
    server.mover = lambda job: server.broken.update({path: 403}) or good_end(job)
    result = run()
    assert result["failed"] and API in result["msg"] and replicas(server) == (0, 1)
    assert [one["failed"] for one in result["stopped"]] == [True, False]
    (debt,) = debts(server)
    assert debt["holder"] is None and clock.parse(debt["until"]) <= clock.now()
    server.broken.clear()
    server.mover = good_end
    again = run()
    assert not again.get("failed") and again["restarted"] == [API] and replicas(server) == (2, 1)


@pytest.mark.parametrize("phase", ["all", "move"])
def test_what_was_stopped_or_started_is_a_change_whatever_becomes_of_the_volumes(
    run: Runner, server: Storage, phase: str
) -> None:
    options = {"phase": phase, "cuts": run(phase="cut")["cuts"]} if phase == "move" else {}
    path = "/apis/apps/v1/namespaces/shop/deployments/api/scale"
    server.mover = lambda _job: server.broken.update({path: 403}) or [ended(3)]
    assert run(**options)["stopped"][0]["failed"]
    server.broken.clear()
    server.mover = lambda _job: [ended(3)]
    again = run(**options)
    assert again["failed"] and [one["failed"] for one in again["volumes"]] == [True, True]
    assert again["restarted"] == [API] and again["changed"]
    assert not server.left() and run(**options)["changed"]


# -- what cannot be stopped -------------------------------------------------------------------------------------------

# What becomes of the claims of a StatefulSet that is scaled to zero.
GOING: dict[str, Any] = {
    "volumeClaimTemplates": [{"metadata": {"name": "state"}}],
    "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"},
}
HARD = {
    "claims that go": (
        [workload("StatefulSet", "queue", "data", **GOING)],
        "shop/statefulsets.apps/queue, which deletes its claims when it is scaled down",
    ),
    "claims that go with pods": (
        [
            thing("Kafka", "events", api="kafka.strimzi.io/v1", metadata={"uid": "Kafka-events"}, spec={}),
            owned(workload("StatefulSet", "queue", **GOING), "Kafka", "events", "kafka.strimzi.io/v1"),
            owned(pod("queue-0", "data"), "StatefulSet", "queue"),
        ],
        "pod shop/queue-0 uses it and belongs to shop/statefulsets.apps/queue, which deletes its claims",
    ),
    "bare": ([pod("lone", "data")], "pod shop/lone uses it and belongs to no workload"),
    "daemon": (
        [workload("DaemonSet", "agent", "data", replicas=None), owned(pod("agent-x", "data"), "DaemonSet", "agent")],
        "shop/daemonsets.apps/agent, which cannot be scaled down",
    ),
    "daemon without pods": ([workload("DaemonSet", "agent", "data", replicas=None)], "cannot be scaled down"),
    "job": (
        [
            workload("Job", "import", "data", replicas=None, api="batch/v1"),
            owned(pod("import-x", "data"), "Job", "import", "batch/v1"),
        ],
        "pod shop/import-x uses it and belongs to shop/jobs.batch/import, which would lose its work",
    ),
    "static": ([owned(pod("etcd", "data"), "Node", "node-1", "v1")], "is a static pod of its node"),
    "operator": (
        [
            thing("Kafka", "events", api="kafka.strimzi.io/v1", metadata={"uid": "Kafka-events"}, spec={}),
            owned(pod("events-0", "data"), "Kafka", "events", "kafka.strimzi.io/v1"),
        ],
        "belongs to shop/kafkas.kafka.strimzi.io/events, which has no scale",
    ),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("case", HARD)
def test_what_cannot_be_stopped_ends_it_before_anything_is_touched(
    run: Runner, server: Storage, case: str, check: bool
) -> None:
    server.kinds.append(("kafka.strimzi.io", "v1", "kafkas", "Kafka", True))
    objects, words = HARD[case]
    server.add(*objects)
    result = run(check)
    assert result["failed"] and words in result["msg"] and "snapshot or live" in result["msg"]
    assert moved(result) == [("shop/data", "stopped", True), ("shop/logs", "stopped", False)] and not server.writes


@pytest.mark.parametrize(
    "change", [{"volumeClaimTemplates": []}, {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}]
)
def test_a_stateful_set_whose_claims_stay_is_stopped(run: Runner, server: Storage, change: dict[str, Any]) -> None:
    server.add(workload("StatefulSet", "db", "logs", **{**GOING, **change}))
    result = run()
    assert not result.get("failed") and replicas(server) == (2, 1)
    assert DB in [one["name"] for one in result["stopped"]]


def test_a_job_that_has_ended_stands_in_nobodys_way(run: Runner, server: Storage) -> None:
    done = workload("Job", "import", "data", replicas=None, api="batch/v1")
    server.add({**done, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    server.add(owned(pod("import-x", "data", phase="Succeeded"), "Job", "import", "batch/v1"))
    assert not run().get("failed")


def test_a_cron_job_starts_no_job_meanwhile(run: Runner, server: Storage) -> None:
    spec = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}], "containers": []}
    job = {"spec": {"template": {"spec": spec}}}
    nightly = thing("CronJob", "nightly", api="batch/v1", spec={"jobTemplate": job})
    server.add(nightly, thing("CronJob", "off", api="batch/v1", spec={"jobTemplate": job, "suspend": True}))
    seen: list[Any] = []

    def mover(job: dict[str, Any]) -> Any:
        seen.append(server.objects["cronjobs.batch", "shop", "nightly"]["spec"].get("suspend"))
        return good_end(job)

    server.mover = mover
    result = run()
    assert not result.get("failed"), result
    assert seen == [True, None] and "shop/cronjobs.batch/off" not in json.dumps(result["stopped"])


def test_a_custom_resource_is_scaled_and_not_what_it_makes(run: Runner, server: Storage) -> None:
    server.kinds.append(("example.com", "v1", "databases", "Database", True))
    server.scales.add("databases.example.com")
    server.add(workload("Database", "main", replicas=3, api="example.com/v1"))
    server.add(owned(workload("StatefulSet", "db", "logs"), "Database", "main", "example.com/v1"))
    result = run()
    assert [one["name"] for one in result["stopped"]] == [API, "shop/databases.example.com/main"]
    assert [event for event in scaled(server) if "api" not in event and "jobs" not in event] == [
        "scale main to 0",
        "scale main to 3",
    ]


def test_an_operator_that_can_be_paused_is_while_its_workload_is_stopped(run: Runner, server: Storage) -> None:
    server.kinds.append(("elasticsearch.k8s.elastic.co", "v1", "elasticsearches", "Elasticsearch", True))
    api = "elasticsearch.k8s.elastic.co/v1"
    server.add(workload("Elasticsearch", "find", replicas=None, api=api))
    server.add(owned(workload("StatefulSet", "db", "logs"), "Elasticsearch", "find", api))
    paused = "shop/elasticsearches.elasticsearch.k8s.elastic.co/find"
    result = run()
    assert [one["name"] for one in result["stopped"]] == [API, paused, DB] and replicas(server) == (2, 1)
    assert server.writes.index(("PATCH", paused)) < server.writes.index(("PATCH", DB))
    found = server.get("elasticsearches.elasticsearch.k8s.elastic.co", "shop", "find")
    assert found and "eck.k8s.elastic.co/managed" not in (found["metadata"].get("annotations") or {})


def test_what_would_start_them_sleeps_first_and_wakes_last(run: Runner, server: Storage) -> None:
    server.kinds += [
        ("argoproj.io", "v1alpha1", "applications", "Application", True),
        ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
    ]
    automated = {"selfHeal": True}
    server.add(
        thing("Namespace", "argocd", ""),
        thing(
            "Application",
            "shop",
            "argocd",
            "argoproj.io/v1alpha1",
            spec={"destination": {"namespace": "shop"}, "syncPolicy": {"automated": automated}},
        ),
    )
    for name, minimum in (("one", 1), ("none", 0)):
        server.add(thing("HorizontalPodAutoscaler", name, api="autoscaling/v2", spec={"minReplicas": minimum}))
    result = run()
    argo, idle = "argocd/applications.argoproj.io/shop", "shop/horizontalpodautoscalers.autoscaling/none"
    # An autoscaler whose minimum is above zero leaves a target of zero alone.
    assert [one["name"] for one in result["stopped"]] == [argo, idle, API, DB]
    patches = [title for method, title in server.writes if method == "PATCH"]
    assert patches[:2] == [argo, idle] and patches[-2:] == [idle, argo]
    found = server.get("applications.argoproj.io", "argocd", "shop")
    assert found and found["spec"]["syncPolicy"]["automated"] == automated


# -- what a killed run owes -------------------------------------------------------------------------------------------

CHILD = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.muster.container_dr.plugins.modules import volume_export

with patch_module_args(json.loads(sys.argv[1])):
    volume_export.main()
"""


def test_the_next_run_starts_what_a_killed_one_has_stopped(run: Runner, server: Storage, restic: ResticProgram) -> None:
    reading = threading.Event()
    server.mover = lambda _job: reading.set()
    with running(server):
        repository = {**REPOSITORY, "restic": str(restic.path)}
        arguments = {
            "host": server.url,
            "site": "east",
            "application": APPLICATION,
            "repository": repository,
            "methods": STOPPED,
        }
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", CHILD, json.dumps(arguments)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
            try:
                assert reading.wait(60), "it never read anything"
            finally:
                child.kill()
    assert replicas(server) == (0, 0) and len(debts(server)) == 1
    server.mover = good_end
    plan = run(check=True)
    assert sorted(plan["restarted"]) == [API, DB] and replicas(server) == (0, 0)
    result = run()
    assert sorted(result["restarted"]) == [API, DB] and "was cut off with these stopped" in json.dumps(
        result["warnings"]
    )
    # It was started, and then stopped and started again by the run itself.
    assert [one["before"] for one in result["stopped"]] == [{"/spec/replicas": 2}, {"/spec/replicas": 1}]
    assert not result.get("failed") and replicas(server) == (2, 1) and not server.left()


def test_a_run_says_again_and_again_that_it_goes_on(
    run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[dict[str, Any]] = []
    renewed = threading.Event()

    def write(method: str, path: str) -> None:
        if jobs and method == "PUT" and "/configmaps/" in path:
            renewed.set()

    def go_on(_seconds: float) -> None:
        assert renewed.wait(60), "nobody has renewed it"
        for job in jobs:
            server.mover = good_end
            server._job(job)

    monkeypatch.setattr(thaw, "RENEWED", 0.01)
    monkeypatch.setattr("time.sleep", go_on)
    server.before_write = write
    server.mover = jobs.append
    result = run(application={"volumes": {"exclude": [{"name": "logs", "reason": "noise"}]}})
    assert not result.get("failed"), result
    assert replicas(server) == (2, 1) and not server.left()


@pytest.mark.parametrize("verb", ["list", "create"])
def test_without_the_permission_to_write_it_down_nothing_is_stopped(run: Runner, server: Storage, verb: str) -> None:
    place = "/api/v1/namespaces/shop/configmaps"
    if verb == "list":
        server.broken[place] = 403
    else:
        server.refuse_create = "configmaps"
    result = run()
    assert result["failed"] and "Nothing was stopped" in result["msg"] and "docs/rbac/stopped.yml" in result["msg"]
    assert not scaled(server) and replicas(server) == (2, 1)


def test_workloads_that_may_not_be_listed_cannot_be_stopped(run: Runner, server: Storage) -> None:
    server.broken["/apis/apps/v1/namespaces/shop/statefulsets"] = 403
    result = run()
    assert result["failed"] and "statefulsets.apps cannot be listed" in result["msg"] and not server.writes
    live = run(methods={"disk": "live"})
    assert not live.get("failed") and "statefulsets.apps in namespace shop" in warnings(live)


# -- ReadWriteOncePod, claims without a volume ------------------------------------------------------------------------


def test_a_claim_for_one_pod_alone_is_read_when_that_is_stopped_or_nobody_has_it(run: Runner, server: Storage) -> None:
    server.add(*disk("logs", accessModes=["ReadWriteOncePod"]))
    refused = run(methods={"disk": "live"})
    assert refused["failed"] and "pod db-0 holds it" in refused["msg"] and "to stopped" in refused["msg"]
    assert not server.writes
    assert moved(run())[1] == ("shop/logs", "stopped", False)
    server.remove("pods", "shop", "db-0")
    assert moved(run(methods={"disk": "live"}))[1] == ("shop/logs", "live", False)


def pending(name: str, storage_class: str = "late", **spec: Any) -> dict[str, Any]:
    wanted = {"storageClassName": storage_class, "accessModes": ["ReadWriteOnce"], **spec}
    return thing("PersistentVolumeClaim", name, spec=wanted, status={"phase": "Pending"})


CLASSES = [
    thing("StorageClass", "late", "", "storage.k8s.io/v1", volumeBindingMode="WaitForFirstConsumer"),
    thing("StorageClass", "soon", "", "storage.k8s.io/v1", volumeBindingMode="Immediate"),
]


def test_a_claim_that_waits_for_its_first_pod_holds_nothing(run: Runner, server: Storage) -> None:
    server.add(*CLASSES, pending("spare"))
    result = run()
    # Not by a rule: a claim that lost its data by being made anew is a loss to retention.
    assert {"what": "shop/spare", "why": "never bound, holds no data", "unbound": True} in result["excluded"]
    assert len(moved(result)) == 2 and not result.get("failed")


@pytest.mark.parametrize(
    "objects",
    [
        [pending("spare"), pod("wants", "spare", phase="Pending")],
        [pending("spare", "soon")],
        [pending("spare", "unknown")],
        [pending("spare", volumeName="pv-1")],
        [pending("spare", dataSource={"kind": "VolumeSnapshot", "name": "old"})],
    ],
)
def test_other_claims_without_a_volume_are_an_error(
    run: Runner, server: Storage, objects: list[dict[str, Any]]
) -> None:
    server.add(*CLASSES, *objects)
    result = run()
    assert result["failed"] and "shop/spare: the claim is Pending" in result["msg"] and not server.writes


# -- volumes that no claim stands for ---------------------------------------------------------------------------------

LOOSE = [
    {"name": "tmp", "emptyDir": {}},
    {"name": "shm", "emptyDir": {"medium": "Memory"}},
    {"name": "host", "hostPath": {"path": "/srv"}},
    {"name": "door", "hostPath": {"path": "/run/x.sock", "type": "Socket"}},
    {"name": "inline", "csi": {"driver": "secrets.example.com"}},
    {"name": "share", "nfs": {"server": "nas.example.com", "path": "/export"}},
    {"name": "next", "holoDisk": {"secret": "s3cr3t"}},
    {"name": "settings", "configMap": {"name": "a"}},
    {"name": "key", "secret": {"secretName": "a"}},
    {"name": "token", "projected": {}},
    {"name": "scratch", "ephemeral": {}},
    {"name": "code", "gitRepo": {}},
    {"name": "model", "image": {"reference": "example.com/model"}},
    {"name": "labels", "downwardAPI": {}},
]
NAMED = {
    "tmp": "emptyDir; it ends with the pod",
    "shm": "emptyDir in memory; it ends with the pod",
    "host": "hostPath /srv belongs to the node and is not captured",
    "door": "hostPath /run/x.sock belongs to the node and is not captured",
    "inline": "ephemeral volume of driver secrets.example.com; it ends with the pod",
    "share": "nfs nas.example.com:/export is named in the pod itself, without a claim, and is not captured",
    "next": "holoDisk is named in the pod itself, without a claim, and is not captured",
}


def test_every_volume_of_a_workload_is_named_once_for_all_its_pods(run: Runner, server: Storage) -> None:
    server.add(workload("Deployment", "web", replicas=2, template={"volumes": LOOSE}))
    server.add(owned(workload("ReplicaSet", "web-1", template={"volumes": LOOSE}), "Deployment", "web"))
    server.add(*(owned(pod(f"web-1-{one}", volumes=LOOSE), "ReplicaSet", "web-1") for one in "ab"))
    result = run()
    assert result["excluded"] == [
        {"what": f"shop/web/{name}", "why": why} for name, why in sorted(NAMED.items())
    ] and "s3cr3t" not in json.dumps(result)
    assert "because no claim stands for them: shop/web/host, shop/web/next, shop/web/share. " in warnings(result)


def test_names_stay_the_same_from_backup_to_backup(run: Runner, server: Storage) -> None:
    tmp = [{"name": "tmp", "emptyDir": {}}]
    server.add(pod("lone", volumes=tmp), owned(pod("etcd-node-1", volumes=tmp), "Node", "node-1", "v1"))
    server.add(owned(pod("events-0", volumes=tmp), "Kafka", "events", "kafka.strimzi.io/v1"))
    # Scaled to zero, between two runs, and a job of it that ran once.
    server.add(workload("StatefulSet", "idle", replicas=0, template={"volumes": tmp}))
    spec = {"template": {"spec": {"volumes": tmp}}}
    nightly = thing("CronJob", "nightly", api="batch/v1", spec={"jobTemplate": {"spec": spec}})
    server.add({**nightly, "metadata": {**nightly["metadata"], "uid": "CronJob-nightly"}})
    job = workload("Job", "nightly-1", replicas=None, api="batch/v1", template={"volumes": tmp})
    server.add(owned(job, "CronJob", "nightly", "batch/v1"))
    server.add(owned(pod("nightly-1-x", phase="Succeeded", volumes=tmp), "Job", "nightly-1", "batch/v1"))
    result = run(check=True)
    assert [one["what"] for one in result["excluded"]] == [
        "shop/etcd-node-1/tmp",
        "shop/events/tmp",
        "shop/idle/tmp",
        "shop/lone/tmp",
        "shop/nightly/tmp",
    ]
    assert "/tmp" not in warnings(result)


def test_a_rule_gives_such_a_volume_its_own_reason(run: Runner, server: Storage) -> None:
    server.add(workload("Deployment", "known", replicas=0, template={"volumes": LOOSE[:3]}))
    rules = [
        {"name": "*", "reason": "of claims alone"},
        {"namespace": "shop", "name": "known/h*", "reason": "a cache of the node"},
    ]
    result = run(application={"volumes": {"exclude": rules}})
    reasons = {one["what"]: one["why"] for one in result["excluded"]}
    assert reasons == {
        "shop/data": "of claims alone",
        "shop/logs": "of claims alone",
        "shop/known/host": "a cache of the node",
        "shop/known/shm": NAMED["shm"],
        "shop/known/tmp": NAMED["tmp"],
    }
    assert "shop/known" not in warnings(result)
