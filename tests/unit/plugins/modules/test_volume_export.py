# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its real ``main()``, with a cluster in memory and a restic that answers from a table."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.restic_program import ID, ResticProgram
from fakes.storage import (
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

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ExecResult
from ansible_collections.muster.container_dr.plugins.module_utils._volume import exporting, settings
from ansible_collections.muster.container_dr.plugins.modules import volume_export

HOOK = {"name": "db", "selector": "app=db", "pre": ["freeze"], "post": ["thaw"]}
CANARY = "canary-password"
Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    seconds = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr(exporting.snapshot.time, "monotonic", lambda: seconds[0])
    server = Storage()
    server.add(thing("Namespace", "shop", ""), snapshot_class("snap"))
    server.add(*claim("data"), *claim("logs"), pod("db-0", "data", labels={"app": "db"}))
    return server


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
    def call(check: bool = False, url: str = "rest:http://192.0.2.1:8000/r", **options: Any) -> dict[str, Any]:
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


def test_the_data_are_kept_while_they_are_read_and_go_with_the_snapshot(run: Runner, server: Storage) -> None:
    def policies() -> list[str]:
        contents = [obj for (_key, _space, name), obj in server.objects.items() if name.startswith("content-")]
        return [obj["spec"]["deletionPolicy"] for obj in contents]

    seen: list[list[str]] = []
    server.mover = lambda job: seen.append(policies()) or good_end(job)
    run()
    assert seen[1] == ["Retain", "Retain"] and policies() == ["Delete", "Delete"]


def test_our_content_never_takes_the_data_away(run: Runner, server: Storage) -> None:
    run()
    ours = [one for one in server.created["volumesnapshotcontents"] if one["spec"].get("source")]
    assert [one["spec"]["deletionPolicy"] for one in ours] == ["Retain", "Retain"]


def test_a_live_volume_is_read_where_it_is_used(run: Runner, server: Storage) -> None:
    result = run(methods={"fast": "live"})
    assert [entry["method"] for entry in result["volumes"]] == ["live", "live"]
    assert result["consistency"] == {"point": "2026-01-01T00:00:05.250Z", "skew_seconds": 0.0, "mode": "live"}
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
    server.add(*claim("raw", spec={"volumeMode": "Block"}), *claim("lost", phase="Lost"))
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "shop/lost" in result["msg"] and len(result["msg_all"]) == 2
    assert {entry["name"]: entry["failed"] for entry in result["volumes"]} == {
        "shop/data": False,
        "shop/logs": False,
        "shop/lost": True,
        "shop/raw": True,
    }
    assert "block volume" in result["volumes"][3]["msg"]
    assert not server.writes and not cluster.ran


def test_a_repository_that_does_not_open_ends_it_before_anything_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster, restic: ResticProgram
) -> None:
    restic.answer("cat", code=12, error="Fatal: wrong password or no key found\n")
    result = run(application={"hooks": [HOOK]})
    assert result["failed"] and "wrong password" in result["msg"]
    assert not server.writes and not cluster.ran


def test_a_directory_is_refused(run: Runner, server: Storage) -> None:
    assert "movers can not reach" in run(url="/srv/repository")["msg"] and not server.writes


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
    assert result["failed"] and "post hook db" in result["msg"] and not server.left()


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
