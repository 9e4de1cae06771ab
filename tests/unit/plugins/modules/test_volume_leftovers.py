# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs of other applications have left is removed when they are dead, and never when they live."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import running
from fakes.restic_program import ResticProgram
from fakes.storage import GROUP, LocalCluster, Storage, claim, group_class, pod, snapshot_class, stored, thing

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, liveness
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._volume import alive, exporting, importing
from ansible_collections.muster.container_dr.plugins.modules import volume_export, volume_import

JSON = dict[str, Any]
Runner = Callable[..., JSON]
OURS = "muster-container-dr"
RUN, ALIVE = "container-dr.muster.dev/run", "container-dr.muster.dev/alive"
ELSEWHERE = {"boot": "elsewhere", "namespace": "n", "process": 1, "began": "1"}
CONTENTS = f"volumesnapshotcontents.{GROUP}"
SNAPSHOTS = f"volumesnapshots.{GROUP}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A cluster with two applications, shop and ledger."""
    seconds = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr(exporting.snapshot.time, "monotonic", lambda: seconds[0])
    server = Storage()
    server.add(thing("Namespace", "shop", ""), thing("Namespace", "ledger", ""), snapshot_class("snap"))
    server.add(*claim("data"), *claim("logs"), pod("db-0", "data"))
    server.add(*claim("book", namespace="ledger"))
    return server


@pytest.fixture
def cluster(server: Storage, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    cluster = LocalCluster(server)
    for module in (exporting, importing):
        monkeypatch.setattr(module.Cluster, "connect", lambda _params: cluster)
    return cluster


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    program.answer("snapshots", [stored(f"k8s:east/{one}") for one in ("shop/data", "shop/logs", "ledger/book")])
    return program


@pytest.fixture
def run(cluster: LocalCluster, restic: ResticProgram, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(name: str, check: bool = False, module: Any = volume_export, **options: Any) -> JSON:
        repository = {"url": "gs:bucket:/r", "password": "canary-password", "restic": str(restic.path)}
        if module is volume_export:
            options = {"site": "east", "application": {"name": name, "namespaces": [name]}, **options}
        else:
            options = {"application": name, **options}
        arguments = {"repository": repository, "workers": 1, **options, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: JSON = json.loads(capsys.readouterr().out)
        return result

    return call


def wrecked(run: Runner, server: Storage, namespace: str = OURS, **options: Any) -> str:
    """Let a run for shop be killed while its first mover, in this namespace, runs; the run's id."""
    seen: list[JSON] = []

    def look(path: str, _query: dict[str, str]) -> None:
        if path == f"/api/v1/namespaces/{namespace}/pods" and "jobs" in server.created and not seen:
            seen.append(copy.deepcopy(server.objects))

    server.before_read = look
    done = run("shop", **options)
    server.before_read = lambda _path, _query: None
    assert not done.get("failed"), done
    server.objects = seen[0]
    return str(server.created["jobs"][-1]["metadata"]["labels"][RUN])


def of(server: Storage, name: str) -> dict[tuple[str, str, str], JSON]:
    """What there is of a run."""
    return {
        place: obj for place, obj in server.objects.items() if (obj["metadata"].get("labels") or {}).get(RUN) == name
    }


def kinds(server: Storage, name: str) -> set[str]:
    return {place[0].partition(".")[0] for place in of(server, name)}


def contents(server: Storage) -> dict[str, str]:
    """The snapshots that the storage has, with what becomes of them."""
    return {place[2]: obj["spec"]["deletionPolicy"] for place, obj in server.objects.items() if place[0] == CONTENTS}


@pytest.fixture
def dead(run: Runner, server: Storage) -> str:
    """A backup of shop that was killed on this machine while it moved."""
    name = wrecked(run, server)
    left = {
        "jobs",
        "pods",
        "secrets",
        "networkpolicies",
        "persistentvolumeclaims",
        "volumesnapshots",
        "volumesnapshotcontents",
    }
    assert kinds(server, name) == left and "Retain" in contents(server).values()
    return name


@pytest.fixture
def far(run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of a machine of which nothing is known."""
    with monkeypatch.context() as patched:
        patched.setattr(liveness, "ourselves", lambda: ELSEWHERE)
        return wrecked(run, server)


def test_a_dead_run_of_another_application_is_cleaned_up(run: Runner, server: Storage, dead: str) -> None:
    plan = run("ledger", check=True)
    (planned,) = plan["cleaned"]
    assert plan["changed"] and of(server, dead) and planned["run"] == dead
    result = run("ledger")
    assert not result.get("failed") and not server.left() and not contents(server)
    assert not any(name.startswith("pv-muster-") for _key, _space, name in server.objects), "a clone's volume is left"
    (entry,) = result["cleaned"]
    assert (entry["run"], entry["application"], entry["failed"]) == (dead, "shop", [])
    assert entry["removed"] == planned["removed"]
    words = [title.split()[0] for title in entry["removed"]]
    assert words == ["job", "clone", "snapshot", "snapshot"]
    assert f"run {dead} of shop" in json.dumps(result["warnings"])
    assert run("ledger")["cleaned"] == []


def test_a_living_run_is_not_touched(run: Runner, server: Storage, far: str) -> None:
    before = copy.deepcopy(of(server, far))
    result = run("ledger")
    assert not result.get("failed") and result["cleaned"] == [] and not result.get("warnings")
    assert of(server, far) == before and len(contents(server)) == 3
    assert ("namespaces", "", OURS) in server.objects


@pytest.mark.parametrize(("minutes", "gone"), [(4 * 60, False), (4 * 60 + 11, True)])
def test_one_from_elsewhere_is_dead_when_the_server_says_that_its_time_is_over(
    run: Runner, server: Storage, cluster: LocalCluster, far: str, minutes: int, gone: bool
) -> None:
    # The clock of this machine stands still.
    cluster._ahead = timedelta(minutes=minutes)
    assert bool(run("ledger")["cleaned"]) is gone
    assert bool(of(server, far)) is not gone and bool(contents(server)) is not gone


def test_who_goes_on_says_so_and_what_it_says_last_holds(
    run: Runner, server: Storage, cluster: LocalCluster, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = exporting.Cut.read(run("ledger", phase="cut")["cuts"][0]).volume
    cluster._ahead = timedelta(hours=30)
    with monkeypatch.context() as patched:
        patched.setattr(liveness, "ourselves", lambda: ELSEWHERE)
        (cut, *_others) = [place for place in of(server, far) if place[:2] == (SNAPSHOTS, "shop")]
        volume = replace(volume, namespace="shop")
        exporting.snapshot.say_alive(cluster, [exporting.Cut(far, volume, "snapshot", cut[2])], "shop")
    assert far not in [entry["run"] for entry in run("ledger")["cleaned"]] and of(server, far)
    # A later word than the one with the longest time.
    cluster._ahead = timedelta(hours=31, minutes=1)
    assert run("ledger")["cleaned"] and not of(server, far)


def test_a_run_that_moves_says_it_before_it_waits_for_anything(
    run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may wait for hours for a place, and its snapshots with it."""
    cuts = run("shop", phase="cut")["cuts"]
    seen: list[int] = []

    def look(*_given: object) -> None:
        seen.append(sum(ALIVE in (obj["metadata"].get("annotations") or {}) for obj in server.objects.values()))
        raise Unavailable("wait", "for a place", "it is taken")

    before = len(of(server, cuts[0]["run"]))
    monkeypatch.setattr(exporting.grouping, "hold", look)
    run("shop", phase="move", cuts=cuts)
    assert seen == [before + 1]


def test_snapshots_that_wait_for_their_move_are_not_touched_for_a_day(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    cut = run("shop", phase="cut")
    assert run("ledger")["cleaned"] == []
    moved = run("shop", phase="move", cuts=cut["cuts"])
    assert [entry["complete"] for entry in moved["volumes"]] == [True, True] and moved["cleaned"] == []
    run("shop", phase="cut")
    cluster._ahead = timedelta(hours=25)
    (entry,) = run("ledger")["cleaned"]
    assert len(entry["removed"]) == 2 and not contents(server)


def test_data_whose_snapshot_went_with_its_namespace_are_given_up(run: Runner, server: Storage, dead: str) -> None:
    gone = [place for place in server.objects if place[1] == "shop" or place == ("namespaces", "", "shop")]
    kept = {obj["metadata"]["name"] for obj in of(server, dead).values() if obj["kind"] == "VolumeSnapshotContent"}
    for place in gone:
        server.objects.pop(place)
    # What was held by nobody goes with its namespace.
    for name, policy in contents(server).items():
        if policy == "Delete":
            del server.objects[CONTENTS, "", name]
    assert set(contents(server)) == kept and set(contents(server).values()) == {"Retain"}
    policies: list[str] = []
    server.before_write = lambda method, path: (
        policies.append(contents(server)[path.rpartition("/")[2]])
        if method == "DELETE" and (CONTENTS, "", path.rpartition("/")[2]) in server.objects and "/content-" in path
        else None
    )
    result = run("ledger")
    assert not server.left() and not contents(server) and policies[0] == "Delete"
    assert any(title.startswith("snapshot content content-") for title in result["cleaned"][0]["removed"])


def test_data_that_somebody_has_taken_over_stay(run: Runner, server: Storage, dead: str) -> None:
    """By hand: another snapshot of another name was bound to the content that was left."""
    (content,) = [obj for obj in of(server, dead).values() if obj["metadata"]["name"].startswith("content-")]
    mine = thing("VolumeSnapshot", "mine", "shop", f"{GROUP}/v1", metadata={"uid": "mine"}, spec={})
    server.add(mine)
    server.objects.pop((SNAPSHOTS, "shop", content["spec"]["volumeSnapshotRef"]["name"]))
    content["spec"]["volumeSnapshotRef"] = {"namespace": "shop", "name": "mine", "uid": "mine"}
    run("ledger")
    assert contents(server) == {content["metadata"]["name"]: "Retain"}
    assert (SNAPSHOTS, "shop", "mine") in server.objects


def test_a_label_of_ours_on_a_snapshot_destroys_no_data_that_its_class_keeps(
    run: Runner, server: Storage, dead: str
) -> None:
    """Who may label snapshots in a namespace may not have the right to what the administrator keeps."""
    held = next(obj for place, obj in of(server, dead).items() if place[0] == CONTENTS and "shop" in str(obj["spec"]))
    held["metadata"]["labels"] = {"team": "storage"}
    held["spec"]["deletionPolicy"] = "Retain"
    result = run("ledger")
    name = held["metadata"]["name"]
    assert not result.get("failed") and contents(server) == {name: "Retain"}
    (said,) = result["cleaned"][0]["failed"]
    assert f"content {name} keeps the data, as its class says" in said
    assert (SNAPSHOTS, "shop", held["spec"]["volumeSnapshotRef"]["name"]) in server.objects


def test_nor_does_it_in_a_backup_of_the_application_that_it_names(run: Runner, server: Storage, dead: str) -> None:
    held = next(obj for place, obj in of(server, dead).items() if place[0] == CONTENTS and "shop" in str(obj["spec"]))
    held["metadata"]["labels"] = {"team": "storage"}
    held["spec"]["deletionPolicy"] = "Retain"
    for obj in of(server, dead).values():
        obj["metadata"].pop("annotations", None)
    result = run("shop")
    name = held["metadata"]["name"]
    assert not result.get("failed") and contents(server) == {name: "Retain"}
    assert (SNAPSHOTS, "shop", held["spec"]["volumeSnapshotRef"]["name"]) in server.objects
    assert f"content {name} keeps the data, as its class says" in json.dumps(result["warnings"])


def test_a_second_cleaner_at_the_same_time_does_no_harm(run: Runner, server: Storage, dead: str) -> None:
    def other(method: str, _path: str) -> None:
        if method in ("DELETE", "PATCH"):
            server.before_write = lambda _method, _path: None
            for place in of(server, dead):
                server.remove(*place) if place in server.objects else None

    server.before_write = other
    result = run("ledger")
    assert not result.get("failed") and result["cleaned"][0]["failed"] == [] and not of(server, dead)
    assert not contents(server)


def test_what_somebody_deletes_already_is_left_to_them(run: Runner, server: Storage, dead: str) -> None:
    for obj in of(server, dead).values():
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert run("ledger")["cleaned"] == [] and of(server, dead)


def test_a_snapshot_that_goes_already_takes_its_data_with_it(run: Runner, server: Storage, dead: str) -> None:
    for place, obj in of(server, dead).items():
        if place[:2] == (SNAPSHOTS, "shop"):
            obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    run("ledger")
    assert set(contents(server).values()) == {"Delete"}


def test_without_the_right_to_look_everywhere_it_is_found_by_the_data(run: Runner, server: Storage, dead: str) -> None:
    """Contents have no namespace, and say of which snapshot they are."""
    server.broken |= dict.fromkeys([f"/apis/{GROUP}/v1/volumesnapshots", "/apis/batch/v1/jobs"], 403)
    result = run("ledger")
    assert not result.get("failed") and "Retain" not in contents(server).values()
    assert kinds(server, dead) == {"volumesnapshots"}, "one that was not read yet, of a namespace that is not looked at"


def test_without_rights_in_the_other_namespace_nothing_is_said(run: Runner, server: Storage, dead: str) -> None:
    server.broken[f"/apis/{GROUP}/v1/namespaces/shop"] = 403
    server.broken |= dict.fromkeys([f"/apis/{GROUP}/v1/volumesnapshots", "/apis/batch/v1/jobs"], 403)
    result = run("ledger")
    assert not result.get("failed") and result["cleaned"][0]["failed"] == []
    assert "Retain" in contents(server).values()


def test_what_cannot_be_removed_is_in_the_result(run: Runner, server: Storage, dead: str) -> None:
    server.broken[f"/apis/{GROUP}/v1/namespaces/shop"] = 403
    result = run("ledger")
    (entry,) = result["cleaned"]
    assert not result.get("failed") and len(entry["failed"]) == 2 and len(entry["removed"]) == 2
    assert "2 things of run" in json.dumps(result["warnings"]) and len(contents(server)) == 2


def test_a_server_with_a_fault_is_no_failure_of_the_backup(run: Runner, server: Storage, dead: str) -> None:
    server.broken["/apis/batch/v1/jobs"] = 500
    result = run("ledger")
    assert not result.get("failed") and "could not be looked for" in json.dumps(result["warnings"])
    assert of(server, dead)


def test_things_of_an_earlier_version_are_named_and_left(run: Runner, server: Storage, dead: str) -> None:
    for obj in of(server, dead).values():
        obj["metadata"].pop("annotations", None)
    result = run("ledger")
    assert result["cleaned"] == [] and f"{dead} of shop" in json.dumps(result["warnings"]) and of(server, dead)
    # The next backup of the same application wins as ever.
    again = run("shop")
    assert not again.get("failed") and "an earlier run" in json.dumps(again["warnings"])
    assert json.dumps(again["warnings"]).count("do not say") == 1, "warnings of both runs are in it"


@pytest.mark.parametrize("text", ["", "never", "[]", '{"at": "then"}', '{"at": 1, "until": "2026-01-01T00:00:00Z"}'])
def test_a_statement_that_says_nothing_is_none(text: str) -> None:
    assert alive.read(text) is None


PAST = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "holder",
    [
        "me",
        ["me"],
        {**(liveness.ourselves() or {}), "process": None},
        {**(liveness.ourselves() or {}), "process": 1e400},
        "[" * 100_000,
    ],
)
def test_whatever_is_written_there_stands_in_no_backup_s_way(run: Runner, server: Storage, holder: Any) -> None:
    """Who may make a Job in any namespace could else end the backups of all."""
    deep = isinstance(holder, str) and len(holder) > 2
    text = holder if deep else json.dumps({"at": PAST, "until": "2999-01-01T00:00:00Z", "holder": holder})
    labels = {RUN: "other", "container-dr.muster.dev/role": "mover", "container-dr.muster.dev/application": "x"}
    server.add(thing("Job", "job", "shop", "batch/v1", metadata={"labels": labels, "annotations": {ALIVE: text}}))
    result = run("ledger")
    assert not result.get("failed"), result["msg"]
    assert result["cleaned"] == [] and of(server, "other")


def test_a_job_that_says_it_is_ours_takes_no_secret_of_others_with_it(run: Runner, server: Storage) -> None:
    labels = {RUN: "other", "container-dr.muster.dev/role": "mover", "container-dr.muster.dev/application": "x"}
    dead = json.dumps({"at": PAST, "until": PAST, "holder": None})
    server.add(thing("Job", "db", "shop", "batch/v1", metadata={"labels": labels, "annotations": {ALIVE: dead}}))
    server.add(thing("Secret", "db", "shop"), thing("NetworkPolicy", "db", "shop", "networking.k8s.io/v1"))
    assert run("ledger")["cleaned"][0]["removed"] == ["job shop/db"]
    assert ("secrets", "shop", "db") in server.objects
    assert ("networkpolicies.networking.k8s.io", "shop", "db") in server.objects


def test_a_group_of_a_dead_run_goes_with_its_members_and_labels(run: Runner, server: Storage) -> None:
    server.serve_groups("v1")
    server.add(group_class("together"))
    name = wrecked(run, server)
    (group,) = [obj for obj in of(server, name).values() if obj["kind"] == "VolumeGroupSnapshot"]
    ((label, value),) = group["spec"]["source"]["selector"]["matchLabels"].items()
    data = server.objects["persistentvolumeclaims", "shop", "data"]
    data["metadata"]["labels"] = {label: value, "app": "db"}
    result = run("ledger")
    assert not result.get("failed") and not server.left() and not contents(server)
    assert server.objects["persistentvolumeclaims", "shop", "data"]["metadata"]["labels"] == {"app": "db"}
    assert any(title.startswith("group snapshot shop/") for title in result["cleaned"][0]["removed"])


def test_a_label_of_ours_on_a_group_destroys_nothing_either(run: Runner, server: Storage) -> None:
    server.serve_groups("v1")
    server.add(group_class("together"))
    name = wrecked(run, server)
    for place, obj in server.objects.items():
        if "content" in place[0]:
            obj["metadata"]["labels"] = {"team": "storage"}
            obj["spec"]["deletionPolicy"] = "Retain"
    for obj in of(server, name).values():
        obj["metadata"].pop("annotations", None)
    result = run("shop", group_snapshots="never")
    assert "has no label of ours" in json.dumps(result["warnings"]) and "group snapshot" in json.dumps(
        result["warnings"]
    )
    # Its clone is gone, the data of both members are not.
    assert list(contents(server).values()) == ["Retain"] * 2


def test_data_of_a_group_that_is_gone_are_named(run: Runner, server: Storage) -> None:
    """A driver would keep them for ever if only the member's content were deleted."""
    server.serve_groups("v1")
    server.add(group_class("together"))
    wrecked(run, server)
    for place in [place for place in server.objects if place[1] == "shop"]:
        server.objects.pop(place)
    result = run("ledger")
    assert "VolumeGroupSnapshotContent" in json.dumps(result["cleaned"][0]["failed"]) and contents(server)


def test_a_restore_cleans_up_too(run: Runner, server: Storage, dead: str) -> None:
    assert run("ledger", module=volume_import, volumes=[], check=True)["cleaned"] and of(server, dead)
    result = run("ledger", module=volume_import, volumes=[])
    assert result["changed"] and result["cleaned"][0]["run"] == dead and not server.left() and not contents(server)
    assert run("ledger", module=volume_import, volumes=[])["changed"] is False


def test_a_dead_restore_is_cleaned_up(run: Runner, server: Storage) -> None:
    server.add(thing("StorageClass", "fast", "", "storage.k8s.io/v1"))
    host = "k8s:east/shop/logs"
    volume = {"namespace": "shop", "claim": "copy", "class": "fast", "size": 1 << 30, "host": host, "files": 3}
    volume |= {"snapshot": stored(host)["id"], "tree": stored(host)["tree"], "bytes": 30, "complete": True}
    name = wrecked(run, server, "shop", module=volume_import, volumes=[volume])
    assert kinds(server, name) == {"jobs", "pods", "secrets", "networkpolicies"}
    (entry,) = run("ledger")["cleaned"]
    assert (entry["run"], len(entry["removed"])) == (name, 1) and not of(server, name)
    # What was restored by then is the application's.
    assert ("persistentvolumeclaims", "shop", "copy") in server.objects


def test_it_is_said_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, said = threading.Event(), []
    monkeypatch.setattr(alive, "RENEWED", 0.001)

    def say() -> None:
        said.append(1)
        if len(said) == 3:
            heard.set()
        raise Unavailable("say", "it", "nobody listens")

    with alive.Kept(say):
        assert heard.wait(60)


def test_the_time_is_that_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Storage()
    true = clock.now()
    with running(server):
        cluster = Cluster.connect({"host": server.url})
        monkeypatch.setattr(clock, "now", lambda: true - timedelta(hours=3))
        assert cluster.now() == true - timedelta(hours=3)
        cluster.find("/api/v1/namespaces/shop")
        assert timedelta(seconds=-2) < cluster.now() - true < timedelta(minutes=10)
