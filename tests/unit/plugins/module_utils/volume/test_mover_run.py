# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Following a mover: its report, every way in which it can end, and that nothing of it is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes.storage import LocalCluster, Storage, ended, failure, thing

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover_run, settings

SUMMARY = 'summary {"message_type":"summary","snapshot_id":"abc"}'
MOVER = parts.Mover("muster-data-1", "shop", "data", "backup", ("backup", "data"), {marks.RUN: "r"}, (), True)
REPOSITORY = Repository("s3:https://s3.example.com/b", "restic", "0.19.1", secrets={"RESTIC_PASSWORD": "pw"})


class Time:
    """Time that passes only while somebody sleeps; ``then`` is called with each second."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.then: Callable[[float], None] = lambda _seconds: None

    def sleep(self, seconds: float) -> None:
        before, self.seconds = self.seconds, round(self.seconds + seconds, 3)
        for whole in range(int(before) + 1, int(self.seconds) + 1):
            self.then(whole - 1000.0)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr("time.sleep", fake.sleep)
    monkeypatch.setattr("time.monotonic", lambda: fake.seconds)
    return fake


@pytest.fixture
def server(time: Time) -> Storage:
    server = Storage()
    server.add(thing("Namespace", "shop", ""))
    return server


def run(server: Storage, cluster: LocalCluster | None = None, **options: Any) -> mover_run.Report:
    chosen = parts.Settings(registry={"name": "r.example.com", "username": "u", "password": "p"}, **options)
    try:
        return mover_run.run(cluster or LocalCluster(server), MOVER, chosen, REPOSITORY, "export", "volume shop/data")
    finally:
        assert not server.left(), "something of the mover is left"


def fails(server: Storage, kind: type[MusterError], *words: str, **options: Any) -> MusterError:
    return failure(lambda: run(server, **options), kind, *words)


def says(text: str) -> str:
    return "error " + json.dumps({"message_type": "exit_error", "message": f"Fatal: {text}"})


def waiting(server: Storage, **status: Any) -> None:
    """A Job whose only pod is in this state and stays so."""

    def mover(job: dict[str, Any]) -> None:
        labels = job["spec"]["template"]["metadata"]["labels"]
        server.add(thing("Pod", f"{job['metadata']['name']}-0", metadata={"labels": labels}, spec={}, status=status))

    server.mover = mover


# -- the report -----------------------------------------------------------------------------------------------------


def test_a_report_is_read() -> None:
    report = mover_run.read_report(0, f"files 12\nbytes 4096\ncode 0\n{SUMMARY}\n")
    assert (report.files, report.bytes, report.summary["snapshot_id"], report.errors) == (12, 4096, "abc", [])


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_a_report_that_was_cut_off_gives_what_is_whole(length: int) -> None:
    whole = f"code 0\n{SUMMARY}"
    report = mover_run.read_report(0, whole[:length])
    assert report.summary == {} and report.files is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (says("wrong password"), "Fatal: wrong password"),
        ('error {"message_type":"error","error":{"message":"denied"},"item":"/data/x"}', "/data/x: denied"),
        (
            'error {"message_type":"error","error":{"message":"open /data/x: denied"},"item":"/data/x"}',
            "open /data/x: denied",
        ),
        ('error {"message_type":"error","error":{"mess', '{"message_type":"error","error":{"mess'),
        ("error sh: restic: not found", "sh: restic: not found"),
        ("error 7", "7"),
    ],
)
def test_errors_are_read_as_people_write_them(line: str, text: str) -> None:
    assert mover_run.read_report(1, line).errors == [text]


# -- its end --------------------------------------------------------------------------------------------------------


def test_the_report_of_a_mover_that_ended_well(server: Storage) -> None:
    server.mover = lambda _job: [ended(0, SUMMARY)]
    assert run(server).summary["snapshot_id"] == "abc"
    assert server.events.index("create jobs") < server.events.index("create networkpolicies")
    assert server.events.index("create networkpolicies") < server.events.index("create secrets")


def test_a_second_pod_that_succeeds_counts(server: Storage) -> None:
    server.mover = lambda _job: [ended(1, says("connection reset")), ended(0, SUMMARY)]
    assert run(server).summary["snapshot_id"] == "abc"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (1, Unavailable, ["does not answer", "connection refused"]),
        (3, Incomplete, ["not everything could be read"]),
        (10, NotFound, ["no repository at this address"]),
        (11, Unavailable, ["locked by another process"]),
        (12, Denied, ["wrong password"]),
        (127, NotFound, ["no restic or no shell", "mover.image"]),
        (137, Unavailable, ["was killed"]),
    ],
)
def test_restics_exit_codes(server: Storage, code: int, kind: type[MusterError], words: list[str]) -> None:
    server.mover = lambda _job: [ended(code, says("dial tcp: connection refused" if code == 1 else "so it is"))]
    error = fails(server, kind, "export volume shop/data", *words)
    assert error.result["errors"]


def test_an_incomplete_backup_is_none_although_there_is_a_summary(server: Storage) -> None:
    denied = 'error {"message_type":"error","error":{"message":"open: permission denied"},"item":"/volume/data/x"}'
    server.mover = lambda _job: [ended(3, SUMMARY, denied)]
    error = fails(server, Incomplete, "/volume/data/x", "permission denied")
    assert error.result["errors"] == ["/volume/data/x: open: permission denied"]


def test_a_mover_that_failed_twice_is_judged_by_its_last_pod(server: Storage) -> None:
    server.mover = lambda _job: [ended(1, says("connection reset")), ended(12, says("wrong password"))]
    fails(server, Denied, "wrong password")


def test_a_last_pod_that_vanished_leaves_the_word_to_the_one_before(server: Storage) -> None:
    server.mover = lambda _job: [ended(11, says("repository is already locked")), None]  # type: ignore[list-item]
    fails(server, Unavailable, "locked")


@pytest.mark.parametrize(("reason", "words"), [("OOMKilled", "ran out of memory"), ("Error", "was killed")])
def test_too_little_memory_names_what_was_asked_for_and_how_many_files_there_are(
    server: Storage, reason: str, words: str
) -> None:
    server.mover = lambda _job: [ended(137, reason=reason)]
    fails(server, Unavailable, words, "requests memory 275Mi", "is not known", "Set mover.resources", "no limit")
    limited = {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}
    fails(server, Unavailable, words, "(limits memory 64Mi, ", resources=limited)
    counted = replace(MOVER, memory=1 << 30, files=1_000_000)

    def call() -> None:
        mover_run.run(LocalCluster(server), counted, parts.Settings(), REPOSITORY, "export", "volume shop/data")

    failure(call, Unavailable, words, "(requests memory 1024Mi, 1000000 files when last counted)")


def test_a_claim_that_is_not_empty(server: Storage) -> None:
    server.mover = lambda _job: [ended(parts.NOT_EMPTY, "error found data/precious")]
    fails(server, Refused, "holds data already", "(precious)", "existing")


def test_a_report_that_was_lost_is_asked_for_once_more(server: Storage) -> None:
    """Somebody deletes a pod just when restic is done: the Job is complete, and nobody knows what it did."""
    jobs: list[dict[str, Any]] = []

    def mover(job: dict[str, Any]) -> list[dict[str, Any]]:
        jobs.append(job)
        return [ended(0, SUMMARY if len(jobs) == 2 else "")]

    server.mover = mover
    only_if_empty = replace(MOVER, only_if_empty=True)
    chosen = parts.Settings()
    report = mover_run.run(LocalCluster(server), only_if_empty, chosen, REPOSITORY, "restore", "volume shop/data")
    assert report.summary["snapshot_id"] == "abc"
    variables = [job["spec"]["template"]["spec"]["containers"][0]["env"] for job in jobs]
    # What the first one restored is no reason to refuse.
    for word, env in zip(("yes", "no"), variables, strict=True):
        assert {"name": "MUSTER_ONLY_IF_EMPTY", "value": word} in env
    assert not server.left()


@pytest.mark.parametrize("message", ["", "code 0\n", f"code 0\n{SUMMARY[:30]}"])
def test_success_without_a_report_is_no_success(server: Storage, message: str) -> None:
    server.mover = lambda _job: [{"exitCode": 0, "message": message}]
    fails(server, Incomplete, "report is lost")


def test_pods_that_were_deleted_halfway(server: Storage) -> None:
    server.mover = lambda _job: []
    fails(server, Unavailable, "pods were deleted or never ran", "BackoffLimitExceeded")


def test_a_job_that_somebody_deleted(server: Storage, time: Time) -> None:
    waiting(server, phase="Running")
    time.then = lambda second: server._delete(("jobs.batch", "shop", "muster-data-1")) if second == 3 else None
    fails(server, Incomplete, "Job was deleted by somebody")


def test_the_end_of_the_task_reaches_a_mover_in_another_thread(
    server: Storage, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(server, phase="Running")
    time.then = lambda second: settings.ENDING.set() if second == 5 else None
    try:
        fails(server, settings.Interrupted, "the task was ended")
    finally:
        settings.ENDING.clear()
    assert time.seconds < 1010


# -- waiting --------------------------------------------------------------------------------------------------------


def test_an_image_that_can_not_be_pulled_is_named_soon(server: Storage, time: Time) -> None:
    state = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}
    waiting(server, phase="Pending", containerStatuses=[state])
    fails(server, Unavailable, "ImagePullBackOff", "no such host", "mover.registry")
    assert time.seconds < 1060


def test_a_pod_that_finds_no_node(server: Storage, time: Time) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: volume node affinity conflict"}
    waiting(server, phase="Pending", conditions=[condition])
    fails(server, Unavailable, "volume node affinity conflict", start_timeout=20.0)
    assert 1020 <= time.seconds < 1030


def test_a_repository_that_can_not_be_mounted_is_told_by_the_kubelets_event(server: Storage, time: Time) -> None:
    waiting(server, phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}])
    said = 'MountVolume.SetUp failed for volume "repository" : mount failed: exit status 32'
    server.add(thing("Event", "e", reason="FailedMount", message=said))
    fails(server, Unavailable, "does not start", 'volume "repository"', "exit status 32", start_timeout=20.0)
    assert 1020 <= time.seconds < 1030


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "Save(<data/1>) returned error, retrying after 1s: client.PutObject: The provided token has expired.",
            "expired",
        ),
        ("Stat(<config/>) returned error, retrying after 1s: Stat: 400 Bad Request", "expired credentials"),
        ("Load(<key/1>) returned error, retrying after 1s: The difference between the request time and", "clocks"),
        ("Load(<key/1>) returned error, retrying after 1s: InvalidAccessKeyId", "access key"),
    ],
)
def test_what_no_repetition_heals_is_not_waited_for(server: Storage, time: Time, said: str, words: str) -> None:
    waiting(server, phase="Running")
    cluster = LocalCluster(server)
    log = [status(1)]
    cluster.logs = lambda *_place, **_more: "\n".join(log)  # type: ignore[method-assign]
    time.then = lambda second: log.append(said) if second == 10 else None
    failure(lambda: run(server, cluster, stall_timeout=600.0), Denied, "export volume shop/data", words)
    assert time.seconds < 1013


def test_trouble_that_has_passed_ends_nothing(server: Storage, time: Time) -> None:
    waiting(server, phase="Running")
    cluster = LocalCluster(server)
    healed = "Save(<data/1>) returned error, retrying after 1s: The provided token has expired.\n"
    healed += "Save(<data/1>) operation successful after 1 retries\n"
    cluster.logs = lambda *_place, **_more: healed + status(5)  # type: ignore[method-assign]
    failure(lambda: run(server, cluster, timeout=100.0), Unavailable, "did not end within 100 seconds")


def test_a_pod_that_was_turned_away_is_not_followed_by_another(server: Storage, time: Time) -> None:
    state = {"state": {"terminated": ended(1, says("unable to open config file: Stat: Access Denied."))}}
    waiting(server, phase="Failed", containerStatuses=[state])
    fails(server, Denied, "denied access", "clock of the machine or node")
    assert time.seconds < 1005


def test_a_pod_that_failed_otherwise_is(server: Storage) -> None:
    state = {"state": {"terminated": ended(1, says("dial tcp: connection refused"))}}
    waiting(server, phase="Failed", containerStatuses=[state])
    fails(server, Unavailable, "did not end within 100 seconds", timeout=100.0)


def test_a_pod_that_admission_refuses_is_told_by_its_event(server: Storage, time: Time) -> None:
    server.mover = lambda _job: None
    server.add(thing("Event", "e", reason="FailedCreate", message="violates PodSecurity baseline"))
    fails(server, Refused, "violates PodSecurity baseline", "quota")
    assert time.seconds < 1030


def test_no_pod_at_all(server: Storage) -> None:
    server.mover = lambda _job: None
    fails(server, Unavailable, "no pod was made", start_timeout=30.0)


def test_a_mover_that_never_ends(server: Storage, time: Time) -> None:
    waiting(server, phase="Running")
    fails(server, Unavailable, "did not end within 100 seconds", timeout=100.0)
    assert time.seconds < 1170


def status(done: int) -> str:
    return json.dumps({"message_type": "status", "bytes_done": done, "total_bytes": 100}, separators=(",", ":"))


def test_progress_is_passed_on_and_a_repository_that_fails_ends_it(server: Storage, time: Time) -> None:
    waiting(server, phase="Running")
    cluster = LocalCluster(server)
    trouble = "Save(<data/1>) returned error, retrying after 1s: dial tcp: connection refused"
    cluster.logs = lambda *_place, **_more: "\n".join(  # type: ignore[method-assign]
        [status(min(int(time.seconds) - 1000, 10)), *([trouble] if time.seconds > 1005 else [])]
    )
    seen: list[tuple[int, int | None]] = []
    chosen = parts.Settings(stall_timeout=30.0)

    def call() -> None:
        mover_run.run(cluster, MOVER, chosen, REPOSITORY, "export", "x", lambda *where: seen.append(where))

    graces: list[Any] = []
    genuine = cluster.delete

    def delete(path: str, **how: Any) -> bool:
        graces.extend([how.get("grace")] if "/pods/" in path else [])
        return genuine(path, **how)

    cluster.delete = delete  # type: ignore[method-assign]
    failure(call, Unavailable, "for 30 seconds", "does not answer", "connection refused")
    # restic would spend its minute on a lock that it cannot remove.
    assert graces == [5]
    assert seen[0] == (0, 100) and seen[-1] == (10, 100) and len(seen) == 11
    assert 1040 <= time.seconds < 1045


def test_a_slow_mover_without_trouble_is_left_in_peace(server: Storage, time: Time) -> None:
    waiting(server, phase="Running")
    cluster = LocalCluster(server)
    cluster.logs = lambda *_place, **_more: status(5)  # type: ignore[method-assign]

    def end(second: float) -> None:
        job = server.objects["jobs.batch", "shop", "muster-data-1"]
        if second == 500:
            server.objects["pods", "shop", "muster-data-1-0"]["status"] = {
                "containerStatuses": [{"state": {"terminated": ended(0, SUMMARY)}}]
            }
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    time.then = end
    assert run(server, cluster, stall_timeout=30.0).summary


def test_while_its_pod_runs_a_job_is_hardly_asked_for(
    server: Storage, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(server, phase="Running")
    cluster, asked = LocalCluster(server), []
    find = cluster.find
    monkeypatch.setattr(cluster, "logs", lambda *_place, **_more: "")
    monkeypatch.setattr(cluster, "find", lambda path, *words: asked.append(path) or find(path, *words))

    def end(second: float) -> None:
        if second == 100:
            pod = server.objects["pods", "shop", "muster-data-1-0"]
            pod["status"] = {"containerStatuses": [{"state": {"terminated": ended(0, SUMMARY)}}]}

    time.then = end
    assert run(server, cluster).summary
    assert len([path for path in asked if "/jobs/" in path]) <= 22


def test_a_pod_that_failed_since_it_was_listed_still_says_why(
    server: Storage, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(server, phase="Running")
    cluster = LocalCluster(server)
    monkeypatch.setattr(cluster, "logs", lambda *_place, **_more: "")
    listed = cluster.list

    def late(*words: Any, **options: Any) -> Any:
        found = list(listed(*words, **options))
        pod = server.objects.get(("pods", "shop", "muster-data-1-0"))
        if pod and time.seconds > 1020:
            pod["status"] = {"containerStatuses": [{"state": {"terminated": ended(12, says("wrong password"))}}]}
            job = server.objects["jobs.batch", "shop", "muster-data-1"]
            job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}
        return found

    monkeypatch.setattr(cluster, "list", late)
    failure(lambda: run(server, cluster), Denied, "wrong password")


# -- disruption -----------------------------------------------------------------------------------------------------


class Pods:
    """The pods of the mover's Job, one after the other, as a Job controller leaves them."""

    def __init__(self, server: Storage) -> None:
        self.server = server
        self.count = 0
        server.mover = lambda _job: None

    def start(self, phase: str = "Running", **status: Any) -> None:
        self.count += 1
        job = self.server.objects["jobs.batch", "shop", MOVER.name]
        labels = job["spec"]["template"]["metadata"]["labels"]
        made = thing("Pod", f"{MOVER.name}-{self.count}", spec={"nodeName": "node-1"}, metadata={"labels": labels})
        made["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{self.count:02}Z"
        self.server.add({**made, "status": {"phase": phase, **status}})

    def change(self, **status: Any) -> None:
        self.server.objects["pods", "shop", f"{MOVER.name}-{self.count}"]["status"] = status

    def gone(self) -> None:
        """Evicted by the API or deleted by somebody: nothing of it stays to be seen."""
        self.server._delete(("pods", "shop", f"{MOVER.name}-{self.count}"))

    def end(self) -> None:
        self.change(phase="Succeeded", containerStatuses=[{"state": {"terminated": ended(0, SUMMARY)}}])
        job = self.server.objects["jobs.batch", "shop", MOVER.name]
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.fixture
def pods(server: Storage) -> Pods:
    return Pods(server)


def plan(time: Time, **steps: Callable[[], None]) -> None:
    """Do ``sN`` when N seconds have passed."""
    time.then = lambda second: steps.pop(f"s{second:g}", lambda: None)()


def test_a_mover_that_a_drain_evicts_late_is_done_by_the_next_pod(server: Storage, time: Time, pods: Pods) -> None:
    """Its replacement has as long to start as the first one had, however long that one had run."""
    plan(
        time,
        s1=pods.start,
        s900=pods.gone,
        s1000=lambda: pods.start("Pending"),
        s1150=lambda: pods.change(phase="Running"),
        s1200=pods.end,
    )
    assert run(server).summary["snapshot_id"] == "abc"
    assert time.seconds < 2210


def test_pods_that_are_deleted_twice(server: Storage, time: Time, pods: Pods) -> None:
    plan(time, s1=pods.start, s400=pods.gone, s420=pods.start, s800=pods.gone, s840=pods.start, s900=pods.end)
    assert run(server).summary["snapshot_id"] == "abc"


def test_a_replacement_that_finds_no_node_is_told(server: Storage, time: Time, pods: Pods) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: 2 Insufficient memory."}
    plan(time, s1=pods.start, s500=pods.gone, s510=lambda: pods.start("Pending", conditions=[condition]))
    fails(server, Unavailable, "Insufficient memory", "requests memory 275Mi", "larger nodes")
    assert 1799 < time.seconds < 1820


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("0/2 nodes are available: 2 node(s) had untolerated taint {dedicated: db}.", "mover.tolerations"),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", "mover.node_selector"),
        ("0/2 nodes are available: 2 Insufficient cpu.", "the Job's events"),
    ],
)
def test_nodes_that_do_not_take_it_are_said_with_the_option_for_it(
    server: Storage, time: Time, pods: Pods, said: str, hint: str
) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": said}
    plan(time, s1=lambda: pods.start("Pending", conditions=[condition]))
    fails(server, Unavailable, said, hint)


def test_a_mover_that_the_kubelet_evicts_again_and_again_is_given_up(server: Storage, time: Time, pods: Pods) -> None:
    """The Job does not count evictions, so that it would go on until its deadline."""

    def evict() -> None:
        pods.change(phase="Failed", reason="Evicted", message="The node was low on resource: memory. ")

    plan(time, s1=pods.start, s50=evict, s60=pods.start, s90=evict, s100=pods.start, s150=evict)
    fails(server, Unavailable, "evicted 3 times", "low on resource: memory", "requests memory", "mover.resources")
    assert time.seconds < 1160


def test_two_evictions_by_the_kubelet_are_no_failure(server: Storage, time: Time, pods: Pods) -> None:
    def evict() -> None:
        pods.change(phase="Failed", reason="Evicted", message="The node had condition: [DiskPressure]. ")

    plan(time, s1=pods.start, s50=evict, s60=pods.start, s90=evict, s100=pods.start, s150=pods.end)
    assert run(server).summary["snapshot_id"] == "abc"


NOT_READY = {"type": "Ready", "status": "False"}


def test_a_node_that_dies_ends_the_wait_for_it(server: Storage, time: Time, pods: Pods) -> None:
    silent = {"phase": "Running", "conditions": [NOT_READY]}
    plan(time, s1=pods.start, s50=lambda: pods.change(**silent))
    fails(server, Unavailable, "node node-1", "no sign of life", "Bring the node back")
    # Its pod cannot go, which is waited for a little.
    assert 1350 < time.seconds < 1460


def test_a_node_that_comes_back_in_time_has_done_no_harm(server: Storage, time: Time, pods: Pods) -> None:
    silent = {"phase": "Running", "conditions": [NOT_READY]}
    plan(
        time,
        s1=pods.start,
        s50=lambda: pods.change(**silent),
        s300=lambda: pods.change(phase="Running"),
        s400=lambda: pods.change(**silent),
        s650=pods.end,
    )
    assert run(server).summary["snapshot_id"] == "abc"
