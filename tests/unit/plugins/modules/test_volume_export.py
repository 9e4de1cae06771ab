# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its real ``main()``, with a cluster in memory and a restic that answers from a table."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import running
from fakes.rest_server import FakeRest
from fakes.restic_program import ID, ResticProgram
from fakes.storage import (
    DRIVER,
    LocalCluster,
    Storage,
    claim,
    digest,
    ended,
    good_end,
    pod,
    snapshot_class,
    stored,
    thing,
)

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, places
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ExecResult
from ansible_collections.muster.container_dr.plugins.module_utils._volume import exporting, settings
from ansible_collections.muster.container_dr.plugins.modules import volume_export

HOOK = {"name": "db", "selector": "app=db", "pre": ["freeze"], "post": ["thaw"]}
CANARY = "canary-password"
Runner = Callable[..., dict[str, Any]]


def shop() -> Storage:
    """A cluster with an application of one pod and two volumes."""
    server = Storage()
    server.add(thing("Namespace", "shop", ""), snapshot_class("snap"))
    server.add(*claim("data"), *claim("logs"), pod("db-0", "data", labels={"app": "db"}))
    return server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    seconds = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr(exporting.snapshot.time, "monotonic", lambda: seconds[0])
    return shop()


@pytest.fixture
def cluster(server: Storage, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    cluster = LocalCluster(server)
    monkeypatch.setattr(exporting.Cluster, "connect", lambda _params: cluster)
    return cluster


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    program.answer("snapshots", [stored(f"k8s:east/shop/{name}") for name in ("data", "logs")])
    return program


@pytest.fixture
def run(cluster: LocalCluster, restic: ResticProgram, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(check: bool = False, url: str = "gs:bucket:/r", **options: Any) -> dict[str, Any]:
        application = {"name": "shop", "namespaces": ["shop"], **options.pop("application", {})}
        repository = {"url": url, "password": CANARY, "restic": str(restic.path), **options.pop("repository", {})}
        arguments = {"site": "east", "application": application, "repository": repository, "workers": 1, **options}
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            volume_export.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert CANARY not in json.dumps({**result, "invocation": None})
        assert not any(CANARY in call for call in restic.calls)
        return result

    return call


def test_cuts_all_first_thaws_and_then_moves(run: Runner, server: Storage) -> None:
    result = run(application={"hooks": [HOOK]}, point="p1")
    assert result["changed"] and not result.get("failed"), result
    events = [event for event in server.events if event in ("exec freeze", "exec thaw", "create jobs")]
    assert events == ["exec freeze", "exec thaw", "create jobs", "create jobs"]
    frozen = server.events[server.events.index("exec freeze") : server.events.index("exec thaw")]
    assert frozen == ["exec freeze", "create volumesnapshots", "create volumesnapshots"]
    assert [(entry["name"], entry["method"], entry["complete"]) for entry in result["volumes"]] == [
        ("shop/data", "snapshot", True),
        ("shop/logs", "snapshot", True),
    ]
    entry = result["volumes"][0]
    assert (entry["files"], entry["bytes"], entry["bytes_added"], entry["host"]) == (3, 30, 12, "k8s:east/shop/data")
    assert (entry["tree"], entry["consistency_point"]) == (digest("k8s:east/shop/data"), "2026-01-01T00:00:00.100Z")
    assert result["consistency"] == {"point": "2026-01-01T00:00:00.100Z", "skew_seconds": 0.1, "mode": "per_volume"}
    assert [(hook["phase"], hook["ok"]) for hook in result["hooks"]] == [("pre", True), ("post", True)]
    assert not server.left()


def test_namespaces_are_names_and_globs(run: Runner, server: Storage) -> None:
    result = run(application={"namespaces": ["sh*"], "hooks": [{**HOOK, "namespace": "shop"}]})
    assert [entry["name"] for entry in result["volumes"]] == ["shop/data", "shop/logs"]
    assert [hook["ok"] for hook in result["hooks"]] == [True, True]
    nothing = run(application={"namespaces": ["nope*"]})
    assert nothing["failed"] and "namespaces nope*" in nothing["msg"]


@pytest.mark.parametrize("phase", ["all", "cut"])
def test_an_application_may_have_no_namespace_now(run: Runner, server: Storage, phase: str) -> None:
    result = run(application={"namespaces": ["nothing-*"], "allow_no_match": True}, phase=phase)
    assert result["volumes"] == [] and not result["changed"] and not result.get("failed") and not server.writes
    server.add(thing("Namespace", "shop", "", metadata={"labels": {"container-dr.muster.dev/exclude": "true"}}))
    for check in (True, False):
        refused = run(check, phase=phase)
        assert refused["failed"] and "excluded by a mark" in refused["msg"] and not server.writes


def test_the_mover_reads_a_clone_in_our_namespace(run: Runner, server: Storage) -> None:
    run(point="p1")
    job = server.created["jobs"][0]
    spec = job["spec"]["template"]["spec"]
    clone = server.created["persistentvolumeclaims"][0]
    assert job["metadata"]["namespace"] == clone["metadata"]["namespace"] == "muster-container-dr"
    assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == clone["metadata"]["name"]
    assert clone["spec"]["dataSource"]["kind"] == "VolumeSnapshot"
    assert spec["containers"][0]["volumeMounts"][0]["readOnly"] is True
    assert "point=p1" in spec["containers"][0]["command"] and CANARY not in json.dumps(job)
    assert not any(name.startswith("pv-muster-") for _key, _space, name in server.objects), "a clone's volume is left"


def test_a_mover_that_ended_is_enough_its_job_may_hear_of_it_later(run: Runner, server: Storage) -> None:
    def mover(job: dict[str, Any]) -> None:
        server.finish(job, good_end(job))
        job["status"] = {"active": 1}

    server.mover = mover
    result = run()
    assert not result.get("failed"), result["msg"]
    assert all(entry["complete"] for entry in result["volumes"]) and not server.left()


def test_the_next_volume_does_not_wait_for_storage_that_lets_go_of_a_clone(
    run: Runner, server: Storage, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Event()
    waited: list[bool] = []
    wait = cluster.wait

    def slow(path: str, *words: Any, **options: Any) -> Any:
        if "/persistentvolumes/" in path:
            waited.append(both.wait(20))
        return wait(path, *words, **options)

    def mover(job: dict[str, Any]) -> Any:
        if len(server.created["jobs"]) == 2:
            both.set()
        return good_end(job)

    monkeypatch.setattr(cluster, "wait", slow)
    server.mover = mover
    result = run(workers=1)
    assert not result.get("failed"), result["msg"]
    assert waited == [True, True] and not server.left()


def test_a_clone_that_cannot_be_removed_is_told_and_is_no_failure(
    run: Runner, server: Storage, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*_words: Any, **_options: Any) -> None:
        raise Unavailable("delete", "claim", "the server is gone", "")

    monkeypatch.setattr(exporting.snapshot, "release", stuck)
    result = run()
    assert not result.get("failed"), result["msg"]
    assert "A clone was left behind" in json.dumps(result["warnings"])


def test_the_data_are_kept_while_they_are_read_and_go_with_the_snapshot(run: Runner, server: Storage) -> None:
    def policies() -> list[str]:
        contents = [obj for (_key, _space, name), obj in server.objects.items() if name.startswith("content-")]
        return [obj["spec"]["deletionPolicy"] for obj in contents]

    seen: list[list[str]] = []
    server.mover = lambda job: seen.append(policies()) or good_end(job)
    run()
    assert seen[1] == ["Retain", "Retain"] and not policies()


def test_a_controller_whose_cache_lags_leaves_no_data_behind(run: Runner, server: Storage) -> None:
    """It sees the content still to be kept while it removes the snapshot, and then forgets it."""
    server.lags = True
    assert not run().get("failed")
    assert not server.left() and not [key for key in server.objects if key[2].startswith("content-")]


def test_our_content_never_takes_the_data_away(run: Runner, server: Storage) -> None:
    run()
    ours = [one for one in server.created["volumesnapshotcontents"] if one["spec"].get("source")]
    assert [one["spec"]["deletionPolicy"] for one in ours] == ["Retain", "Retain"]


def test_where_its_pods_may_run_is_on_record(run: Runner, server: Storage) -> None:
    """So that a claim that waits for its first consumer is restored where its workload can follow."""
    dedicated = {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
    server.add(pod("db-0", "data", nodeSelector={"pool": "db"}, tolerations=[dedicated]))
    told = {entry["name"]: entry["placement"] for entry in run()["volumes"]}
    wanted = {"node_selector": {"pool": "db"}, "node_terms": [], "tolerations": [dedicated]}
    assert told == {"shop/data": wanted, "shop/logs": None}
    # Where its clone is read does not matter.
    assert not any("affinity" in job["spec"]["template"]["spec"] for job in server.created["jobs"])


def test_a_live_volume_is_read_where_it_is_used(run: Runner, server: Storage) -> None:
    result = run(methods={"fast": "live"})
    assert [entry["method"] for entry in result["volumes"]] == ["live", "live"]
    assert result["consistency"] == {"point": "2026-01-01T00:00:05.250Z", "skew_seconds": 0.0, "mode": "live"}
    # Else a node with SELinux would give them another label under the pods that use them.
    for job in server.created["jobs"]:
        volume = job["spec"]["template"]["spec"]["volumes"][0]
        assert volume["persistentVolumeClaim"]["readOnly"] is True, volume
    job = server.created["jobs"][0]
    spec = job["spec"]["template"]["spec"]
    assert job["metadata"]["namespace"] == "shop" and "node-1" in json.dumps(spec["affinity"])
    assert spec["containers"][0]["securityContext"]["capabilities"]["add"] == ["DAC_OVERRIDE"]
    assert not server.left()


def test_a_restricted_namespace_is_read_as_the_applications_user(run: Runner, server: Storage) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.add(thing("Namespace", "shop", "", metadata={"labels": labels}))
    server.add(pod("db-0", "data", securityContext={"runAsUser": 70}))
    run(methods={"fast": "live"})
    users = [
        job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsUser"]
        for job in server.created["jobs"]
    ]
    assert users == [70, 65534]


@pytest.mark.parametrize("check", [True, False])
def test_who_cannot_log_in_by_ssh_is_named_before_anything_is_frozen(
    run: Runner, server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    """A mover in a restricted namespace has the application's user, whom ssh does not know."""
    for name in ("bin/ssh", "key", "known"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.add(thing("Namespace", "shop", "", metadata={"labels": labels}))
    files = {"ssh_key_file": str(tmp_path / "key"), "ssh_known_hosts": str(tmp_path / "known")}
    options: dict[str, Any] = {"url": "sftp:u@nas:/r", "repository": files, "application": {"hooks": [HOOK]}}
    result = run(check, methods={"fast": "live"}, **options)
    assert {entry["failed"] for entry in result["volumes"]} == {True} and "exec freeze" not in server.events
    assert all("Pod Security level baseline" in entry["msg"] for entry in result["volumes"]), result
    assert not run(check, **{**options, "methods": {}}).get("failed")


def test_check_mode_writes_nothing(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    exclude = [{"name": "logs", "reason": "noise"}]
    result = run(check=True, application={"hooks": [HOOK], "volumes": {"exclude": exclude}})
    assert result["changed"] and [entry["name"] for entry in result["volumes"]] == ["shop/data"]
    assert "class snap" in result["volumes"][0]["msg"]
    assert result["excluded"] == [{"what": "shop/logs", "why": "noise"}]
    assert not server.writes and not cluster.ran


def test_a_volume_that_can_not_be_read_ends_it_before_anything_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.add(*claim("raw", phase="Pending"), *claim("lost", phase="Lost"))
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "shop/lost" in result["msg"] and len(result["msg_all"]) == 2
    assert {entry["name"]: entry["failed"] for entry in result["volumes"]} == {
        "shop/data": False,
        "shop/logs": False,
        "shop/lost": True,
        "shop/raw": True,
    }
    assert "no volume yet" in result["volumes"][3]["msg"]
    assert not server.writes and not cluster.ran


@pytest.mark.parametrize(
    "volumes", [{"exclude": ["data"]}, {"exclude": {"name": "data", "reason": "x"}}, {"exclude": "data"}, ["data"]]
)
def test_rules_that_are_none_are_refused(run: Runner, server: Storage, volumes: Any) -> None:
    result = run(application={"volumes": volumes})
    assert result["failed"] and "name: ..., reason: ..." in result["msg"] and not server.writes


@pytest.mark.parametrize("phase", ["all", "cut"])
def test_no_worker_is_refused(run: Runner, server: Storage, phase: str) -> None:
    result = run(workers=0, phase=phase)
    assert result["failed"] and "workers: it is 0" in result["msg"] and not server.writes


ALWAYS = {"volumes", "hooks", "thawed", "restarted", "stopped", "excluded", "cuts", "cleaned"}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("fault", ["option", "repository", "claim", "cut"])
def test_what_the_result_always_has_is_there_whatever_fails(
    run: Runner, server: Storage, restic: ResticProgram, fault: str, check: bool
) -> None:
    options: dict[str, Any] = {"budgets": {"node": 0}} if fault == "option" else {}
    if fault == "repository":
        restic.answer("cat", code=12, error="Fatal: wrong password or no key found\n")
    if fault == "claim":
        server.add(*claim("lost", phase="Lost"))
    if fault == "cut":
        server.cut = lambda _snapshot: {"error": {"message": "pool is full"}}
    result = run(check, **options)
    assert result.get("failed", False) is (fault != "cut" or not check)
    assert not ALWAYS - set(result), result
    if fault == "cut" and not check:
        told = {
            one["name"]: (one["failed"], one["complete"], "pool is full" in one["msg"]) for one in result["volumes"]
        }
        assert told == {"shop/data": (True, False, True), "shop/logs": (True, False, True)}


def test_a_repository_that_does_not_open_ends_it_before_anything_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster, restic: ResticProgram
) -> None:
    restic.answer("cat", code=12, error="Fatal: wrong password or no key found\n")
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "wrong password" in result["msg"]
    assert not server.writes and not cluster.ran


def test_a_directory_is_refused(run: Runner, server: Storage) -> None:
    assert "movers can not reach" in run(url="/srv/repository")["msg"] and not server.writes


def test_a_directory_that_movers_mount_is_taken(run: Runner, server: Storage) -> None:
    nfs = {"nfs": {"server": "nas", "path": "/export"}}
    result = run(url="/srv/repository", repository={"volume": nfs})
    assert [entry["complete"] for entry in result["volumes"]] == [True, True], result
    assert [job["spec"]["template"]["spec"]["volumes"][-1] for job in server.created["jobs"]] == [
        {"name": "repository", **nfs}
    ] * 2
    assert not server.left()


@pytest.mark.parametrize(
    ("url", "volume", "words"),
    [
        ("s3:https://s3.example.com/b", {"nfs": {"server": "nas", "path": "/"}}, "the repository is no directory"),
        ("rest:http://nas/r", {"nfs": {"server": "nas", "path": "/"}}, "the repository is no directory"),
        ("/srv/r", {"nfs": {}, "name": "x"}, "it is not one volume"),
        ("/srv/r", {"nfs": "nas:/export"}, "it is not one volume"),
        ("/srv/r", {"persistentVolumeClaim": {"claimName": "nas"}}, "Name the storage itself"),
        ("/srv/r", {"emptyDir": {}}, "not the same one in every namespace and pod"),
        ("/srv/r", {}, "movers can not reach"),
    ],
)
def test_a_volume_that_gives_movers_no_repository_is_refused(
    run: Runner, server: Storage, url: str, volume: dict[str, Any], words: str
) -> None:
    result = run(url=url, repository={"volume": volume})
    assert result["failed"] and words in result["msg"] and not server.writes


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("b2:bucket:r", {"B2_ACCOUNT_ID": "east", "B2_ACCOUNT_KEY": "canary-'$\n\"key"}),
        ("azure:box:/r", {"AZURE_ACCOUNT_NAME": "east", "AZURE_ACCOUNT_KEY": "canary-key"}),
        ("swift:box:/r", {"ST_AUTH": "https://auth.example.com", "ST_USER": "east", "ST_KEY": "canary-key"}),
        ("gs:box:/r", {"GOOGLE_PROJECT_ID": "east", "GOOGLE_ACCESS_TOKEN": "canary-key"}),
    ],
)
def test_movers_get_the_login_of_any_backend_by_their_secret(
    run: Runner, server: Storage, url: str, login: dict[str, str]
) -> None:
    """The site is called like the user, which is no secret: what the result says of the site must stay as it is."""
    result = run(url=url, repository={"environment": login})
    assert [entry["host"] for entry in result["volumes"]] == ["k8s:east/shop/data", "k8s:east/shop/logs"], result
    assert "canary" not in json.dumps(result)
    secrets = [secret["data"] for secret in server.created["secrets"]]
    given = {f"env.{name}": value for name, value in login.items()} | {"password": CANARY}
    assert [{name: base64.b64decode(one).decode() for name, one in data.items()} for data in secrets] == [given] * 2
    assert "canary" not in json.dumps([server.created[kind] for kind in ("jobs", "networkpolicies")])
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in server.created["jobs"]]
    assert not login.keys() & {one["name"] for container in containers for one in container["env"]}


def test_movers_get_the_login_of_a_url_by_their_secret(run: Runner, server: Storage) -> None:
    with FakeRest(("backup", "canary@1")) as rest:
        rest.objects["config"] = b"x"
        result = run(url=f"rest:http://backup:canary%401@{rest.host}/r")
    assert [entry["complete"] for entry in result["volumes"]] == [True, True], result
    data = server.created["secrets"][0]["data"]
    assert base64.b64decode(data["env.RESTIC_REST_PASSWORD"]) == b"canary@1"
    text = json.dumps([result, server.created["jobs"]])
    assert rest.url in text and "canary" not in text and "canary" not in result["msg"]


@pytest.mark.parametrize(
    ("url", "environment", "words"),
    [
        ("b2:bucket:r", {}, "there is no login for it: B2_ACCOUNT_ID and B2_ACCOUNT_KEY is not set"),
        ("rclone:far:r", {}, "a login for rclone is not given to movers"),
        ("b2:bucket:r", {"LD_PRELOAD": "canary"}, "LD_PRELOAD is no variable"),
    ],
)
def test_a_repository_without_a_login_for_movers_is_refused_before_anything_is_cut(
    run: Runner, server: Storage, url: str, environment: dict[str, str], words: str
) -> None:
    result = run(url=url, repository={"environment": environment})
    assert result["failed"] and words in result["msg"] and "canary" not in json.dumps(result) and not server.writes


def test_a_snapshot_error_thaws_and_leaves_nothing(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    good = server.good_cut

    def cut(snapshot: dict[str, Any]) -> dict[str, Any]:
        if "data" in snapshot["metadata"]["name"]:
            return good(snapshot)
        return {"error": {"message": "pool is full"}}

    server.cut = cut
    result = run(application={"hooks": [HOOK]}, cut_timeout="5s")
    assert result["failed"] and "shop/logs: pool is full" in result["msg"] and "5 seconds" in result["msg"]
    assert [argv[0] for _pod, _container, argv in cluster.ran] == ["freeze", "thaw"]
    assert [hook["ok"] for hook in result["hooks"]] == [True, True]
    assert not server.left() and "jobs" not in server.created


def test_a_snapshot_that_is_refused_thaws_and_names_what_may_be_left(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    def refuse(snapshot: dict[str, Any]) -> dict[str, Any]:
        server.broken["/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots"] = 403
        return server.good_cut(snapshot)

    server.cut = refuse
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and cluster.ran[-1][2] == ("thaw",)
    # Looking for them is forbidden as well, so they are named.
    assert "shop/muster-data-" in result["leftovers"][0]


def test_a_hook_that_fails_cuts_nothing(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, argv: ExecResult(int(argv[0] == "freeze"), "", "locked")
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "locked" in result["msg"]
    assert [(hook["phase"], hook["ok"]) for hook in result["hooks"]] == [("pre", False), ("post", True)]
    assert "volumesnapshots" not in server.created


def test_a_thaw_that_fails_takes_the_cut_back(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, argv: ExecResult(int(argv[0] == "thaw"), "", "still locked")
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "post hook db" in result["msg"]
    # But for the record of what is still to be thawed.
    assert [name.partition("/")[0] for name in server.left()] == ["configmaps"]


def test_sigterm_while_frozen_thaws_and_leaves_nothing(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    def killed(_snapshot: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    server.cut = killed
    before = signal.getsignal(signal.SIGTERM)
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "SIGTERM" in result["msg"] and cluster.ran[-1][2] == ("thaw",)
    assert signal.getsignal(signal.SIGTERM) is before and not server.left() and not settings.ENDING.is_set()


def test_sigterm_while_moving_ends_all_movers_and_leaves_nothing(
    run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: threading.Event().wait(0.01))

    def endless(_job: dict[str, Any]) -> None:
        if len(server.created["jobs"]) == 2:
            for delay in (0.5, 0.51):
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM)).start()

    server.mover = endless
    # The second signal may come when the module is done already.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        result = run(workers=2)
        threading.Event().wait(0.1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result["failed"] and "SIGTERM" in result["msg"] and not server.left()
    assert not settings.ENDING.is_set()


def test_one_volume_that_fails_makes_it_no_backup_and_leaves_nothing(run: Runner, server: Storage) -> None:
    def mover(job: dict[str, Any]) -> Any:
        host = "k8s:east/shop/logs"
        return [ended(3, 'error {"error":"denied"}')] if host in json.dumps(job) else good_end(job)

    server.mover = mover
    result = run()
    assert result["failed"] and result["failed_volumes"] == ["shop/logs"] and "counts as a backup" in result["msg"]
    assert [(entry["complete"], entry["failed"]) for entry in result["volumes"]] == [(True, False), (False, True)]
    assert result["hooks"] == [] and result["run"] and not server.left()


def test_what_the_repository_does_not_hold_was_not_backed_up(run: Runner, restic: ResticProgram) -> None:
    restic.answer("snapshots", [stored("k8s:east/shop/data")])
    result = run()
    assert result["failed"] and result["failed_volumes"] == ["shop/logs"] and "it is not there" in result["msg"]


def test_a_snapshot_of_another_volume_is_not_accepted(run: Runner, restic: ResticProgram) -> None:
    strange = {**stored("k8s:east/shop/data"), "hostname": "k8s:west/shop/data"}
    restic.answer("snapshots", [strange, stored("k8s:east/shop/logs")])
    result = run()
    assert result["failed_volumes"] == ["shop/data"] and "k8s:west/shop/data" in result["msg"]


def test_a_namespace_of_ours_that_can_not_be_used_leaves_no_snapshots(run: Runner, server: Storage) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    server.add(thing("Namespace", "taken", "", metadata={"labels": labels}))
    result = run(mover={"namespace": "taken"})
    assert result["failed"] and "level baseline" in result["msg"] and "mover.namespace" in result["msg"]
    assert not server.left() and ("namespaces", "", "taken") in server.objects


def test_what_a_killed_run_left_is_removed_first(run: Runner, server: Storage) -> None:
    done = run(phase="cut")
    assert len(server.left()) == 2
    server.add(thing("Secret", "foreign", metadata={"labels": {"container-dr.muster.dev/application": "other"}}))
    result = run()
    assert result["changed"] and "an earlier run" in json.dumps(result["warnings"])
    assert server.left() == ["secrets/foreign"] and result["run"] != done["run"]


def test_cut_and_move_in_two_calls(run: Runner, server: Storage) -> None:
    cut = run(phase="cut")
    assert "jobs" not in server.created and [one["msg"] for one in cut["volumes"]] == ["cut, not moved yet"] * 2
    assert cut["consistency"]["skew_seconds"] == 0.1
    assert not run(phase="move", cuts=cut["cuts"], check=True).get("failed") and "jobs" not in server.created
    moved = run(phase="move", cuts=cut["cuts"])
    assert [entry["complete"] for entry in moved["volumes"]] == [True, True]
    assert moved["consistency"] == cut["consistency"] and moved["run"] == cut["run"] and not server.left()


def test_a_cut_that_is_gone_is_said_to_be(run: Runner, server: Storage) -> None:
    cut = run(phase="cut")
    for place in [place for place in server.objects if place[0].startswith("volumesnapshots.")]:
        del server.objects[place]
    result = run(phase="move", cuts=cut["cuts"])
    assert result["failed"] and "it is gone" in result["msg"] and "jobs" not in server.created


@pytest.mark.parametrize("change", [{"volume": None}, {"volume": {}}, "run"])
def test_cuts_that_are_none_are_refused(run: Runner, change: Any) -> None:
    (cut, _other) = run(phase="cut")["cuts"]
    broken = {**cut, **change} if isinstance(change, dict) else {key: cut[key] for key in cut if key != change}
    result = run(phase="move", cuts=[broken])
    assert result["failed"] and "not what phase cut returned" in result["msg"]
    lists = {**cut, "volume": {**cut["volume"], "used_by": None}}
    assert "not what phase cut returned" in run(phase="move", cuts=[lists])["msg"]


def test_a_pinned_repository_is_insisted_on(run: Runner, server: Storage) -> None:
    assert not run(check=True, repository={"id": ID}).get("failed")
    result = run(repository={"id": "f" * 64})
    assert result["failed"] and "expected was fff" in result["msg"] and not server.writes


# -- what runs when, and with how much ---------------------------------------------------------------------------------


def containers(server: Storage) -> list[dict[str, Any]]:
    return [job["spec"]["template"]["spec"]["containers"][0] for job in server.created["jobs"]]


def order(server: Storage) -> list[str]:
    """The claims in the order in which their movers began."""
    return [job["metadata"]["name"].split("-")[1] for job in server.created["jobs"]]


def counted(name: str, files: int | None, size: int = 0, time: str = "2026-01-01T00:00:09.5Z") -> dict[str, Any]:
    summary = {} if files is None else {"total_files_processed": files, "total_bytes_processed": size}
    return {**stored(f"k8s:east/shop/{name}"), "time": time, "summary": summary}


def asked(server: Storage) -> list[int]:
    """Whole MiB of memory that the movers asked for."""
    return [int(one["resources"]["requests"]["memory"].removesuffix("Mi")) for one in containers(server)]


def test_memory_is_asked_for_by_the_files_of_the_last_snapshot(
    run: Runner, server: Storage, restic: ResticProgram
) -> None:
    earlier = {**counted("data", 5, time="2025-01-01T00:00:00Z"), "id": digest("earlier")}
    restic.answer("snapshots", [counted("data", 1_000_000), earlier, counted("logs", None)])
    assert not run().get("failed")
    known, unknown = asked(server)
    # The index with a million entries is in everybody's memory.
    assert known - unknown == pytest.approx((1_000_000 - 100_000) * 1536 >> 20, abs=1) and unknown > 128 + 300
    assert not any("limits" in one["resources"] for one in containers(server))


def test_the_users_resources_count_as_they_are(run: Runner, server: Storage) -> None:
    wanted = {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    run(mover={"resources": wanted})
    assert [one["resources"] for one in containers(server)] == [wanted, wanted]


def test_a_repository_that_can_not_be_listed_costs_the_sizes_only(
    run: Runner, server: Storage, restic: ResticProgram
) -> None:
    """The movers find out themselves what is wrong; here nothing is, but for the list."""
    restic.answer("snapshots", code=1, error="Fatal: unable to load snapshot 1234: invalid data returned")
    result = run()
    assert asked(server) == [275, 275] and "last backup is not known" in json.dumps(result["warnings"])


def test_the_largest_begins_first(run: Runner, server: Storage, restic: ResticProgram) -> None:
    server.add(*claim("vast"))
    server.objects["persistentvolumeclaims", "shop", "vast"]["status"]["capacity"]["storage"] = "2Gi"
    result = run()
    assert order(server) == ["vast", "data", "logs"]
    assert [entry["name"] for entry in result["volumes"]] == ["shop/data", "shop/logs", "shop/vast"]
    server.created["jobs"].clear()
    # What is known of its data says more than the size of the claim.
    restic.answer("snapshots", [counted("vast", 1, 10), counted("data", 1, 20)])
    run()
    assert order(server) == ["logs", "data", "vast"]


@pytest.mark.parametrize("budgets", [{"classes": {"slow": 1}}, {"classes": {"*": 1}}, {"node": 1}])
def test_a_class_or_node_that_is_full_lets_others_pass(
    run: Runner, server: Storage, restic: ResticProgram, budgets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: threading.Event().wait(0.01))
    for name in ("data", "logs"):
        server.objects["persistentvolumeclaims", "shop", name]["spec"]["storageClassName"] = "slow"
    server.add(*claim("more"), pod("db-0", "data", "logs"), pod("web-0", "more", nodeName="node-2"))
    first: list[dict[str, Any]] = []

    def mover(job: dict[str, Any]) -> Any:
        """The first one goes on until another one has begun."""
        if not first:
            first.append(job)
            return None
        if len(server.created["jobs"]) == 2:
            server.finish(first[0], good_end(first[0]))
        return good_end(job)

    server.mover = mover
    restic.answer("snapshots", [stored(f"k8s:east/shop/{name}") for name in ("data", "logs", "more")])
    result = run(workers=2, budgets=budgets, methods={"slow": "live", "fast": "live"})
    assert not result.get("failed"), result["msg"]
    begun = order(server)
    assert (sorted(begun[:2]), begun[2:]) == (["data", "more"], ["logs"]) and not server.left()


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ({"classes": {"fast": 0}}, "budgets.classes entry fast: it is 0"),
        ({"classes": {"fast": "many"}}, "it is 'many'"),
        ({"node": 0}, "budgets.node"),
        ({"repository": -1}, "budgets.repository"),
    ],
)
def test_budgets_that_let_nothing_run_are_refused(
    run: Runner, server: Storage, budgets: dict[str, Any], words: str
) -> None:
    result = run(budgets=budgets)
    assert result["failed"] and words in result["msg"] and not server.writes


def test_a_place_at_the_repository_is_waited_for_and_the_wait_is_seen(
    run: Runner, server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = f"repository-{hashlib.sha256(ID.encode()).hexdigest()[:16]}"
    other = places.place(name, 1, lambda: None)
    other.__enter__()

    seen = tmp_path / "progress"

    def sleep(_seconds: float) -> None:
        if "places at the repository" in seen.read_text():
            # The other task ends.
            assert "jobs" not in server.created
            other.__exit__(None, None, None)
            monkeypatch.setattr("time.sleep", lambda _seconds: None)

    monkeypatch.setattr("time.sleep", sleep)
    result = run(budgets={"repository": 1}, progress_file=str(seen))
    assert not result.get("failed") and len(server.created["jobs"]) == 2, result
    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    waits = [line for line in lines if "places at the repository" in line.get("msg", "")]
    assert [(line["name"], line["state"]) for line in waits] == [("shop/data", "waiting")]


def test_the_end_of_the_task_ends_the_wait_for_a_place(
    run: Runner, server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _seconds: settings.ENDING.set())
    name = f"repository-{hashlib.sha256(ID.encode()).hexdigest()[:16]}"
    with places.place(name, 1, lambda: None):
        result = run(budgets={"repository": 1})
    assert result["failed"] and "the task was ended" in result["msg"]
    assert "jobs" not in server.created and not server.left()


def test_change_detection_is_chosen_by_driver(run: Runner, server: Storage) -> None:
    server.add(*claim("logs", driver=None), *claim("more", driver="nfs.csi.k8s.io"))
    chosen = {"csi.example.com": "ignore_ctime", "*": "ignore_inode"}
    run(methods={"fast": "live"}, change_detection=chosen)
    words = [{word for word in one["command"] if word.startswith("--ignore")} for one in containers(server)]
    assert words == [{"--ignore-ctime"}, {"--ignore-inode"}, {"--ignore-inode"}]
    server.created["jobs"].clear()
    run(methods={"fast": "live"})
    assert not any("--ignore" in json.dumps(one["command"]) for one in containers(server))


def test_a_change_detection_that_there_is_not_is_refused(run: Runner, server: Storage) -> None:
    result = run(change_detection={"*": "ignore_all"})
    assert result["failed"] and "'ignore_all'" in result["msg"] and "ignore_inode" in result["msg"]
    assert not server.writes


@pytest.mark.parametrize(
    ("driver", "options", "wanted"),
    [
        ("csi.example.com", {}, ("fast", ["ReadWriteOnce"], False)),
        ("rook-ceph.cephfs.csi.ceph.com", {}, ("fast", ["ReadOnlyMany"], True)),
        (
            "rook-ceph.cephfs.csi.ceph.com",
            {"access_mode": "ReadWriteMany", "storage_class": "once"},
            ("once", ["ReadWriteMany"], False),
        ),
        ("csi.example.com", {"access_mode": "ReadOnlyMany"}, ("fast", ["ReadOnlyMany"], True)),
    ],
)
def test_a_snapshot_is_read_as_its_driver_does_it_best(
    run: Runner, server: Storage, driver: str, options: dict[str, str], wanted: tuple[str, list[str], bool]
) -> None:
    server.add(*claim("data", driver=driver), *([] if driver == DRIVER else [snapshot_class("other", driver)]))
    result = run(clones={driver: options} if options else {})
    assert not result.get("failed"), result["msg"]
    clone = server.created["persistentvolumeclaims"][0]["spec"]
    mounted = server.created["jobs"][0]["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]
    assert (clone["storageClassName"], clone["accessModes"], mounted["readOnly"]) == wanted


@pytest.mark.parametrize("entry", [{"access_mode": "ReadOnlySome"}, {"mode": "ReadOnlyMany"}, "ReadOnlyMany"])
def test_a_way_to_clone_that_there_is_not_is_refused(run: Runner, server: Storage, entry: Any) -> None:
    result = run(clones={"csi.example.com": entry})
    assert result["failed"] and "clones entry csi.example.com" in result["msg"] and "storage_class" in result["msg"]
    assert not server.writes


def test_a_claim_that_was_bound_by_hand_needs_a_class_for_its_clone(run: Runner, server: Storage) -> None:
    """Nothing makes a volume of a snapshot for a claim of no class, which would wait until the time is over."""
    server.add(*claim("data", spec={"storageClassName": ""}))
    result = run()
    assert result["failed"] and "shop/data" in result["msg"] and "in clones (" in result["msg"] and not server.writes
    assert run(check=True, methods={"": "live"})["volumes"][0]["method"] == "live"
    result = run(clones={DRIVER: {"storage_class": "fast"}})
    assert not result.get("failed") and not server.left()
    assert server.created["persistentvolumeclaims"][0]["spec"]["storageClassName"] == "fast"


# -- hooks ------------------------------------------------------------------------------------------------------------

OURS, PRE, POST = "container-dr.muster.dev/", "pre.hook.backup.velero.io/", "post.hook.backup.velero.io/"


def annotated(name: str, labels: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    found = pod(name, labels=labels)
    found["metadata"]["annotations"] = annotations
    return found


def words(cluster: LocalCluster) -> list[str]:
    return [f"{name} {argv[0]}" for name, _container, argv in cluster.ran]


def test_hooks_of_annotations_run_after_those_of_the_application_and_in_reverse(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.add(
        annotated("web-1", **{PRE + "command": '["flush", "-a"]', POST + "command": "resume"}),
        annotated("cache-0", **{OURS + "pre-backup-command": "dump", OURS + "post-backup-command": "drop"}),
        annotated("late-0", **{POST + "command": "count"}),
    )
    result = run(application={"hooks": [HOOK]})
    assert not result.get("failed"), result
    assert words(cluster) == [
        "db-0 freeze",
        "cache-0 dump",
        "web-1 flush",
        "web-1 resume",
        "late-0 count",
        "cache-0 drop",
        "db-0 thaw",
    ]
    assert [(one["name"], one["phase"], one["source"]) for one in result["hooks"]][1:4] == [
        ("annotations of shop/cache-0", "pre", "annotation"),
        ("annotations of shop/web-1", "pre", "velero"),
        ("annotations of shop/web-1", "post", "velero"),
    ]
    assert result["thawed"] == [] and not server.left()


def test_annotations_of_what_is_left_out_are_no_hooks(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    both = {PRE + "command": "flush", POST + "command": "resume"}
    server.add(
        annotated("scratch-0", {"velero.io/exclude-from-backup": "true", "app": "web"}, **both),
        annotated("marked-0", {"app": "web"}, **both, **{OURS + "exclude": "true"}),
        annotated("foreign-0", {"app": "other"}, **both),
        annotated("web-0", {"app": "web"}, **both),
    )
    run(application={"selectors": ["app in (web,db)"]})
    assert words(cluster) == ["web-0 flush", "web-0 resume"]
    server.add(thing("Namespace", "shop", "", metadata={"labels": {"velero.io/exclude-from-backup": "true"}}))
    run()
    assert len(cluster.ran) == 2


def test_annotations_can_be_switched_off(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    server.add(annotated("web-0", **{PRE + "command": "[flush", POST + "command": "resume"}))
    assert not run(hook_annotations=False).get("failed") and not cluster.ran


@pytest.mark.parametrize("check", [True, False])
def test_an_annotation_that_cannot_be_read_ends_it_before_anything_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster, check: bool
) -> None:
    server.add(annotated("web-0", **{PRE + "command": '["flush"'}))
    result = run(check, application={"hooks": [HOOK]})
    assert result["failed"] and f"annotation {PRE}command of pod shop/web-0" in result["msg"]
    assert not server.writes and not cluster.ran


def test_an_annotation_that_a_restore_will_refuse_is_named(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    server.add(annotated("web-0", **{"post.hook.restore.velero.io/command": "[fill"}))
    result = run()
    assert not result.get("failed") and not cluster.ran
    assert "A restore of this will fail" in json.dumps(result["warnings"]) and "shop/pods/web-0" in json.dumps(result)


def test_check_mode_lists_the_hooks(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    server.add(annotated("web-0", **{PRE + "command": "flush", PRE + "on-error": "Continue"}))
    lost = {**HOOK, "name": "lost", "selector": "app=gone"}
    result = run(check=True, application={"hooks": [HOOK, lost]})
    assert [(one["name"], one["phase"], one["pod"], one["container"], one["ok"]) for one in result["hooks"]] == [
        ("db", "pre", "db-0", "main", None),
        ("lost", "pre", "", "", False),
        ("annotations of shop/web-0", "pre", "web-0", "main", None),
        ("lost", "post", "", "", False),
        ("db", "post", "db-0", "main", None),
    ]
    assert result["hooks"][2]["on_error"] == "continue" and not server.writes and not cluster.ran


def test_what_hooks_print_is_kept_masked_and_bounded(run: Runner, cluster: LocalCluster) -> None:
    text = "x" * 9000 + f" password=hunter2 {CANARY} http://u:hunter2@db/ end\n"
    cluster.answer = lambda _pod, argv: (
        ExecResult(0, text, "warned\n") if argv[0] == "freeze" else ExecResult(0, text, "")
    )
    first, second = run(application={"hooks": [HOOK]})["hooks"]
    assert first["stdout"].endswith("password=*** *** http://***@db/ end") and first["stderr"] == "warned"
    assert len(first["stdout"]) == 4096 and second["phase"] == "post"
    cluster.answer = lambda _pod, _argv: ExecResult(3, "token: hunter2", "")
    result = run(application={"hooks": [HOOK]})
    assert "hunter2" not in json.dumps(result) and "token: ***" in result["msg"]
    quiet = run(application={"hooks": [{**HOOK, "output": "none"}]})
    assert [one["stdout"] for one in quiet["hooks"]] == ["", ""] and "token" not in quiet["msg"]
    assert "output is 'some'" in run(application={"hooks": [{**HOOK, "output": "some"}]})["msg"]


# -- what a killed run owes -------------------------------------------------------------------------------------------

CHILD = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, ExecResult
from ansible_collections.muster.container_dr.plugins.modules import volume_export

def execute(self, namespace, pod, container, command, *, timeout):
    with open(sys.argv[2], "a") as log:
        log.write(command[0] + "\\n")
    return ExecResult(0, "", "")

Cluster.exec = execute
with patch_module_args(json.loads(sys.argv[1])):
    volume_export.main()
"""


@contextmanager
def frozen(
    server: Storage, restic: ResticProgram, tmp_path: Path, **application: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the module in a process of its own that has frozen the application and waits for its snapshots."""
    begun, log = threading.Event(), tmp_path / "commands"

    def never(_snapshot: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        return {}

    good, server.cut = server.cut, never
    with running(server):
        arguments = {
            "host": server.url,
            "site": "east",
            "application": {"name": "shop", "namespaces": ["shop"], "hooks": [HOOK]},
            "repository": {"url": "gs:bucket:/r", "password": CANARY, "restic": str(restic.path)},
        }
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", CHILD, json.dumps(arguments), str(log)]
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            assert begun.wait(60), "it never asked for a snapshot"
            assert log.read_text(encoding="utf-8").split() == ["freeze"]
            server.cut = good
            yield child
        finally:
            child.kill()
            child.wait()
        assert log.read_text(encoding="utf-8").split() == ["freeze"]


def debt(server: Storage) -> dict[str, Any]:
    """The one record of what has to be thawed."""
    (found,) = [obj for (key, _space, _name), obj in server.objects.items() if key == "configmaps"]
    body: dict[str, Any] = json.loads(found["data"]["debt.json"])
    return body


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """What a run left that was killed while the application was frozen; killed once, because it takes its time."""
    server, place = shop(), tmp_path_factory.mktemp("killed")
    with frozen(server, ResticProgram(place), place) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    return server


@pytest.fixture
def killed(server: Storage, wreck: Storage) -> Storage:
    server.objects = copy.deepcopy(wreck.objects)
    server.version = wreck.version
    return server


def test_the_next_run_thaws_what_a_killed_one_froze(run: Runner, killed: Storage, cluster: LocalCluster) -> None:
    record = next(name for name in killed.left() if name.startswith("configmaps/"))
    labels = killed.objects["configmaps", "shop", record.partition("/")[2]]["metadata"]["labels"]
    assert labels["container-dr.muster.dev/role"] == "thaw" and labels["app.kubernetes.io/managed-by"]
    plan = run(check=True, application={"hooks": [HOOK]})
    assert [(one["pod"], one["phase"]) for one in plan["thawed"]] == [("db-0", "post")] and not cluster.ran
    result = run(application={"hooks": [HOOK]})
    assert words(cluster) == ["db-0 thaw", "db-0 freeze", "db-0 thaw"]
    assert [(one["name"], one["ok"]) for one in result["thawed"]] == [("db", True)] and len(result["hooks"]) == 2
    assert "db in shop/db-0" in json.dumps(result["warnings"]) and not killed.left()


def test_a_debt_is_paid_also_where_the_application_has_no_hooks_any_more(
    run: Runner, killed: Storage, cluster: LocalCluster
) -> None:
    run()
    assert words(cluster) == ["db-0 thaw"] and not killed.left()


def test_a_debt_is_paid_also_where_nothing_can_be_backed_up(
    run: Runner, killed: Storage, cluster: LocalCluster, restic: ResticProgram
) -> None:
    restic.answer("cat", code=12, error="Fatal: wrong password or no key found\n")
    killed.add(annotated("web-0", **{PRE + "command": "[flush"}))
    result = run()
    assert result["failed"] and result["changed"] and result["thawed"][0]["ok"] and words(cluster) == ["db-0 thaw"]


def test_a_debt_of_another_application_is_not_ours(run: Runner, killed: Storage, cluster: LocalCluster) -> None:
    run(application={"name": "other"})
    assert not cluster.ran and any(name.startswith("configmaps/") for name in killed.left())


@pytest.mark.parametrize("again", [True, False])
def test_a_debt_is_gone_with_its_pod(run: Runner, killed: Storage, cluster: LocalCluster, again: bool) -> None:
    del killed.objects["pods", "shop", "db-0"]
    if again:
        killed.add(pod("db-0", "data", labels={"app": "db"}))
    result = run()
    assert not cluster.ran and not killed.left()
    assert "gone with its pods: shop/db-0" in json.dumps(result["warnings"])


def test_a_debt_that_cannot_be_paid_stays_until_it_is(run: Runner, killed: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, _argv: ExecResult(1, "", "still locked")
    result = run()
    assert not result.get("failed") and "still locked" in json.dumps(result["warnings"])
    assert [one["command"]["argv"] for one in debt(killed)["owed"]] == [["thaw"]]
    assert debt(killed)["holder"] is None and clock.parse(debt(killed)["until"]) <= clock.now()
    # Whoever runs the same command in the same pod has paid it as well.
    cluster.answer = lambda _pod, _argv: ExecResult(int(len(cluster.ran) == 2), "", "not locked")
    assert not run(application={"hooks": [HOOK]}).get("failed")
    assert words(cluster)[1:] == ["db-0 thaw", "db-0 freeze", "db-0 thaw"] and not killed.left()


def test_a_run_that_is_ended_while_it_pays_freezes_nothing(run: Runner, killed: Storage, cluster: LocalCluster) -> None:
    def ended(_pod: str, _argv: Sequence[str]) -> ExecResult:
        os.kill(os.getpid(), signal.SIGTERM)
        return ExecResult(0, "", "")

    cluster.answer = ended
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "SIGTERM" in result["msg"] and words(cluster) == ["db-0 thaw"]
    assert len(debt(killed)["owed"]) == 1


def test_a_thaw_that_fails_is_left_to_the_next_run(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, argv: ExecResult(int(argv[0] == "thaw"), "", "still locked")
    assert run(application={"hooks": [HOOK]})["failed"]
    assert debt(server)["holder"] is None
    cluster.answer = lambda _pod, _argv: ExecResult(0, "", "")
    assert run()["thawed"][0]["ok"] and not server.left()


def test_an_optional_thaw_that_fails_is_owed_by_nobody(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, argv: ExecResult(int(argv[0] == "thaw"), "", "still locked")
    assert not run(application={"hooks": [{**HOOK, "on_error": "continue"}]}).get("failed") and not server.left()


def test_a_run_that_is_alive_is_waited_for(
    run: Runner,
    server: Storage,
    restic: ResticProgram,
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    with frozen(server, restic, tmp_path) as child:

        def end(pause: float) -> None:
            if len(waited) == 3:
                return
            assert not cluster.ran and child.poll() is None
            waited.append(pause)
            if len(waited) == 3:
                # Not taken note of by its parent yet, as where nobody waits for it.
                child.kill()
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        monkeypatch.setattr("time.sleep", end)
        result = run()
    assert len(waited) == 3 and words(cluster) == ["db-0 thaw"] and result["thawed"] and not server.left()


def test_a_run_that_thaws_by_itself_is_not_thawed_again(
    run: Runner,
    server: Storage,
    restic: ResticProgram,
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with frozen(server, restic, tmp_path):

        def clear(_pause: float) -> None:
            for place in [place for place in server.objects if place[0] == "configmaps"]:
                del server.objects[place]

        monkeypatch.setattr("time.sleep", clear)
        assert run()["thawed"] == [] and not cluster.ran


@pytest.mark.parametrize("tells", [True, False])
def test_a_run_on_another_machine_is_waited_for_until_all_its_limits_have_passed(
    run: Runner, killed: Storage, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    (record,) = [obj for (key, _space, _name), obj in killed.objects.items() if key == "configmaps"]
    body = debt(killed)
    # Not every system says which process it is.
    holder = {**body["holder"], "boot": "elsewhere"} if tells else None
    record["data"]["debt.json"] = json.dumps({**body, "holder": holder})
    passed = [0.0]
    began = clock.parse(body["until"]) - timedelta(seconds=300)
    monkeypatch.setattr("time.sleep", lambda pause: passed.__setitem__(0, passed[0] + pause))
    monkeypatch.setattr(clock, "now", lambda: began + timedelta(seconds=passed[0]))
    assert run()["thawed"] and words(cluster) == ["db-0 thaw"]
    assert 300 < passed[0] < 305


def test_a_run_that_is_alive_and_late_is_not_thawed_under_its_feet(
    run: Runner, killed: Storage, cluster: LocalCluster
) -> None:
    (record,) = [obj for (key, _space, _name), obj in killed.objects.items() if key == "configmaps"]
    with subprocess.Popen(["sleep", "600"]) as other:
        began = Path(f"/proc/{other.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        body = debt(killed)
        holder = {**body["holder"], "process": other.pid, "began": began}
        record["data"]["debt.json"] = json.dumps({**body, "holder": holder, "until": "2026-01-01T00:00:00Z"})
        result = run()
        assert result["failed"] and f"process {other.pid} on this machine" in result["msg"] and not cluster.ran
        # Another process that has its number by now is not it.
        record["data"]["debt.json"] = json.dumps({**body, "holder": {**holder, "began": "1"}})
        assert run()["thawed"]
        other.kill()


def test_the_record_is_there_before_the_first_command_with_the_time_that_all_of_it_may_take(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    seen: list[float] = []

    def look(_pod: str, argv: Sequence[str]) -> ExecResult:
        if argv[0] == "freeze":
            seen.append((clock.parse(debt(server)["until"]) - clock.now()).total_seconds())
        return ExecResult(0, "", "")

    cluster.answer = look
    run(application={"hooks": [HOOK]}, cut_timeout="5m")
    # Two commands of 60 seconds, the cut, and two minutes for what nobody thought of.
    assert 480 < seen[0] <= 540


def test_a_record_that_cannot_be_read_is_named_and_kept(run: Runner, killed: Storage, cluster: LocalCluster) -> None:
    (record,) = [obj for (key, _space, _name), obj in killed.objects.items() if key == "configmaps"]
    record["data"] = {"debt.json": "{}"}
    assert "cannot be read" in json.dumps(run()["warnings"]) and not cluster.ran
    assert f"configmaps/{record['metadata']['name']}" in killed.left()


@pytest.mark.parametrize("verb", ["list", "create"])
def test_without_the_permission_to_write_it_down_nothing_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster, verb: str
) -> None:
    place = "/api/v1/namespaces/shop/configmaps"
    if verb == "list":
        server.broken[place] = 403
    else:
        server.refuse_create = "configmaps"
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "Nothing was frozen" in result["msg"] and "docs/rbac/hooks.yml" in result["msg"]
    assert not cluster.ran and not server.writes
    # Who has nothing to thaw needs no permission for it.
    assert not run(application={"hooks": [{**HOOK, "post": []}]}).get("failed")


def test_a_record_that_cannot_be_removed_is_no_failure(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    cluster.answer = lambda _pod, argv: (
        server.broken.update({"/api/v1/namespaces/shop/configmaps": 403} if argv[0] == "thaw" else {})
        or ExecResult(0, "", "")
    )
    result = run(application={"hooks": [HOOK]})
    assert not result.get("failed") and "could not be cleared" in json.dumps(result["warnings"])
