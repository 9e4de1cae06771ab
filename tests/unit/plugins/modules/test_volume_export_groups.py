# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Group snapshots, through the module's real ``main()``, with a cluster in memory that has a group controller."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from fakes.restic_program import ResticProgram
from fakes.storage import (
    DRIVER,
    LocalCluster,
    Storage,
    claim,
    ended,
    good_end,
    group_class,
    pod,
    snapshot_class,
    stored,
    thing,
)

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ExecResult
from ansible_collections.muster.container_dr.plugins.module_utils._volume import exporting
from ansible_collections.muster.container_dr.plugins.modules import volume_export

JSON = dict[str, Any]
HOOK = {"name": "db", "selector": "app=db", "pre": ["freeze"], "post": ["thaw"]}
OTHER = "csi.other.example.com"
ROOT = Path(__file__).resolve().parents[4]
Runner = Callable[..., JSON]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A cluster with groups, and an application of one pod and two volumes beside the volume of somebody else."""
    seconds = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    server = Storage()
    server.serve_groups("v1beta2", "v1")
    server.add(thing("Namespace", "shop", ""), snapshot_class("snap"), group_class("together"))
    server.add(*claim("data"), *claim("logs"), pod("db-0", "data", labels={"app": "db"}))
    return server


@pytest.fixture
def cluster(server: Storage, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    cluster = LocalCluster(server)
    monkeypatch.setattr(exporting.Cluster, "connect", lambda _params: cluster)
    return cluster


@pytest.fixture
def run(
    cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Runner:
    """Runs the module; ``warnings`` are those of this run only, which Ansible's are not within one process."""
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: said.append(text))
    restic = ResticProgram(tmp_path)
    hosts = ("shop/data", "shop/logs", "shop/more", "shop/rest", "till/data", "till/logs")
    restic.answer("snapshots", [stored(f"k8s:east/{name}") for name in hosts])

    def call(check: bool = False, **options: Any) -> JSON:
        application = {"name": "shop", "namespaces": ["shop"], "hooks": [HOOK], **options.pop("application", {})}
        repository = {"url": "gs:bucket:/r", "password": "secret", "restic": str(restic.path)}
        arguments = {"site": "east", "application": application, "repository": repository, "workers": 1, **options}
        said.clear()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            volume_export.main()
        result: JSON = json.loads(capsys.readouterr().out)
        return {**result, "warnings": list(said)}

    return call


def groups(server: Storage) -> list[JSON]:
    return server.created.get("volumegroupsnapshots", [])


def singles(server: Storage) -> list[str]:
    """Claims that were cut by themselves."""
    sources = [one["spec"]["source"] for one in server.created.get("volumesnapshots", [])]
    return sorted(one["persistentVolumeClaimName"] for one in sources if "persistentVolumeClaimName" in one)


def labelled(server: Storage) -> list[str]:
    return sorted(
        name
        for (key, _space, name), obj in server.objects.items()
        if key == "persistentvolumeclaims" and "muster.dev/cut-" in json.dumps(obj["metadata"].get("labels") or {})
    )


def untouched(server: Storage, cluster: LocalCluster) -> bool:
    return not server.writes and not cluster.ran


def test_volumes_of_one_driver_are_cut_at_one_instant(run: Runner, server: Storage) -> None:
    seen: list[list[str]] = []
    good = server.good_group

    def cut(group: JSON, claims: list[JSON]) -> JSON:
        seen.append([one["metadata"]["name"] for one in claims])
        return good(group, claims)

    server.cut_group = cut
    result = run()
    assert not result.get("failed"), result
    assert seen == [["data", "logs"]] and not singles(server)
    assert result["consistency"] == {"point": "2026-01-01T00:00:00.007Z", "skew_seconds": 0.0, "mode": "group"}
    (group,) = groups(server)
    assert (group["apiVersion"], group["spec"]["volumeGroupSnapshotClassName"]) == (
        "groupsnapshot.storage.k8s.io/v1",
        "together",
    )
    assert [(one["method"], one["group"], one["complete"]) for one in result["volumes"]] == [
        ("snapshot", group["metadata"]["name"], True)
    ] * 2
    held = server.events[server.events.index("exec freeze") : server.events.index("exec thaw")]
    assert held == ["exec freeze", "create volumegroupsnapshots"]
    assert not server.left() and not labelled(server)


def test_an_older_version_of_the_api_is_used_where_it_is_the_only_one(run: Runner, server: Storage) -> None:
    server.kinds = [kind for kind in server.kinds if kind[:2] != ("groupsnapshot.storage.k8s.io", "v1")]
    assert run()["consistency"]["mode"] == "group" and not server.left()
    assert groups(server)[0]["apiVersion"] == "groupsnapshot.storage.k8s.io/v1beta2"


@pytest.mark.parametrize("wanted", ["never", "no API", "v1beta1", "no class", "no driver", "one volume"])
def test_what_cannot_be_a_group_is_cut_one_by_one(run: Runner, server: Storage, wanted: str) -> None:
    if wanted in ("no API", "v1beta1"):
        server.kinds = [kind for kind in server.kinds if "groupsnapshot" not in kind[0]]
    if wanted == "v1beta1":
        server.serve_groups("v1beta1")
    if wanted in ("no class", "no driver"):
        server.remove("volumegroupsnapshotclasses.groupsnapshot.storage.k8s.io", "", "together")
    if wanted == "no driver":
        server.add(group_class("foreign", OTHER))
    exclude = [{"name": "logs", "reason": "noise"}] if wanted == "one volume" else []
    options = {"group_snapshots": "never"} if wanted == "never" else {}
    result = run(application={"volumes": {"exclude": exclude}}, **options)
    assert result["consistency"]["mode"] == "per_volume" and not groups(server)
    assert {one["group"] for one in result["volumes"]} == {None} and not result["warnings"]
    assert singles(server) == (["data"] if exclude else ["data", "logs"]) and not server.left()


def test_only_claims_of_the_application_are_in_its_group(run: Runner, server: Storage) -> None:
    labels = {"app": "db", "container-dr.muster.dev/tree": "x"}
    server.add(*claim("scratch", metadata={"labels": labels}), *claim("more"))
    exclude = [{"name": "scratch", "reason": "noise"}]
    result = run(application={"volumes": {"exclude": exclude}})
    assert [one["name"] for one in result["volumes"]] == ["shop/data", "shop/logs", "shop/more"]
    assert result["consistency"]["mode"] == "group" and [one["what"] for one in result["excluded"]] == ["shop/scratch"]
    # Users' labels stay as they are.
    assert server.objects["persistentvolumeclaims", "shop", "scratch"]["metadata"]["labels"] == labels


def test_several_drivers_are_several_groups_and_no_group_of_all(run: Runner, server: Storage) -> None:
    server.add(*claim("more", driver=OTHER), *claim("rest", driver=OTHER), snapshot_class("other", OTHER))
    result = run()
    assert result["consistency"]["mode"] == "per_volume" and singles(server) == ["more", "rest"]
    assert [bool(one["group"]) for one in result["volumes"]] == [True, True, False, False]
    assert result["consistency"]["skew_seconds"] == 0.193
    server.add(group_class("others", OTHER))
    result = run()
    assert result["consistency"]["mode"] == "per_volume" and len({one["group"] for one in result["volumes"]}) == 2
    assert not server.left() and not labelled(server)


def till(server: Storage) -> None:
    """A second namespace with two volumes."""
    server.add(thing("Namespace", "till", ""))
    for name in ("data", "logs"):
        document, volume = claim(name)
        document = copy.deepcopy(document)
        document["metadata"]["namespace"] = "till"
        document["spec"]["volumeName"] = volume["metadata"]["name"] = f"pv-till-{name}"
        volume["spec"]["csi"]["volumeHandle"] = f"vol-till-{name}"
        server.add(document, volume)


def test_two_namespaces_are_two_groups_and_no_group_of_all(run: Runner, server: Storage) -> None:
    till(server)
    result = run(application={"namespaces": ["shop", "till"], "hooks": []})
    assert not result.get("failed"), result
    assert [one["metadata"]["namespace"] for one in groups(server)] == ["shop", "till"]
    assert result["consistency"]["mode"] == "per_volume" and not server.left() and not labelled(server)


def test_a_volume_that_is_read_live_makes_it_live(run: Runner, server: Storage) -> None:
    server.add(*claim("more", driver=None))
    result = run()
    assert result["consistency"]["mode"] == "live" and len(groups(server)) == 1
    assert [one["method"] for one in result["volumes"]] == ["snapshot", "snapshot", "live"]


def test_check_mode_says_how_each_volume_would_be_cut(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    result = run(check=True)
    assert ["group snapshot of class together" in one["msg"] for one in result["volumes"]] == [True, True]
    assert result["consistency"]["mode"] == "group" and result["changed"]
    server.add(*claim("more", driver=OTHER), snapshot_class("other", OTHER))
    result = run(check=True)
    assert "snapshot of class other" in result["volumes"][2]["msg"]
    assert result["consistency"]["mode"] == "per_volume" and untouched(server, cluster)


# -- classes ----------------------------------------------------------------------------------------------------------


def chosen(server: Storage) -> str:
    return str(groups(server)[0]["spec"]["volumeGroupSnapshotClassName"])


def test_the_default_class_is_used_among_several_and_a_named_one_before_it(run: Runner, server: Storage) -> None:
    server.add(group_class("best", default=True), group_class("foreign", OTHER, default=True))
    assert not run().get("failed") and chosen(server) == "best"
    server.created.clear()
    assert not run(group_snapshot_classes={DRIVER: "together"}).get("failed") and chosen(server) == "together"


def test_several_classes_without_a_default_are_no_group_and_said(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.add(group_class("another"))
    refused = run(group_snapshots="required")
    assert refused["failed"] and "2 classes could be meant (another, together)" in refused["msg"]
    assert "group_snapshot_classes" in refused["msg"] and untouched(server, cluster)
    result = run()
    assert result["consistency"]["mode"] == "per_volume" and not groups(server)
    (warning,) = result["warnings"]
    assert "(another, together)" in warning and "are cut one by one" in warning


@pytest.mark.parametrize("wanted", ["auto", "required"])
def test_a_named_class_that_is_not_there_is_an_error(
    run: Runner, server: Storage, cluster: LocalCluster, wanted: str
) -> None:
    server.add(group_class("foreign", OTHER))
    result = run(group_snapshots=wanted, group_snapshot_classes={DRIVER: "foreign"})
    assert result["failed"] and "Classes of the driver: together" in result["msg"] and untouched(server, cluster)
    assert [one["name"] for one in result["volumes"]] == ["shop/data", "shop/logs"]


def test_who_may_not_see_the_classes_is_told_and_gets_no_group(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.broken["/apis/groupsnapshot.storage.k8s.io/v1"] = 403
    assert run(group_snapshots="required")["failed"] and untouched(server, cluster)
    result = run()
    assert not result.get("failed"), result
    assert result["consistency"]["mode"] == "per_volume" and "are cut one by one" in json.dumps(result["warnings"])


# -- required ---------------------------------------------------------------------------------------------------------


def test_required_is_reached_or_nothing_is_frozen(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    assert run(check=True, group_snapshots="required")["consistency"]["mode"] == "group"
    assert untouched(server, cluster)
    assert run(group_snapshots="required")["consistency"]["mode"] == "group"


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("live", "shop/more would be read while it is in use"),
        ("drivers", f"they are in shop ({DRIVER}), shop ({OTHER})"),
        ("namespaces", f"they are in shop ({DRIVER}), till ({DRIVER})"),
        ("no API", "does not serve groupsnapshot.storage.k8s.io/v1 or"),
        ("no class", "no VolumeGroupSnapshotClass is for it"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_required_refuses_before_any_hook_runs(
    run: Runner, server: Storage, cluster: LocalCluster, why: str, words: str, check: bool
) -> None:
    namespaces = ["shop"]
    if why == "live":
        server.add(*claim("more", driver=None))
    if why == "drivers":
        server.add(*claim("more", driver=OTHER), snapshot_class("other", OTHER), group_class("others", OTHER))
    if why == "namespaces":
        till(server)
        namespaces = ["shop", "till"]
    if why == "no API":
        server.kinds = [kind for kind in server.kinds if "groupsnapshot" not in kind[0]]
    if why == "no class":
        server.remove("volumegroupsnapshotclasses.groupsnapshot.storage.k8s.io", "", "together")
        server.writes.clear()
    hooks = [{**HOOK, "namespace": "shop"}]
    result = run(check, group_snapshots="required", application={"namespaces": namespaces, "hooks": hooks})
    assert result["failed"] and words in result["msg"], result["msg"]
    assert untouched(server, cluster) and len(result["volumes"]) >= 2


def test_a_single_volume_needs_no_group(run: Runner, server: Storage) -> None:
    exclude = [{"name": "logs", "reason": "noise"}]
    result = run(group_snapshots="required", application={"volumes": {"exclude": exclude}})
    assert result["consistency"] == {"point": "2026-01-01T00:00:00.100Z", "skew_seconds": 0.0, "mode": "per_volume"}


# -- what the driver says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "points", "skew"),
    [
        ((0, 250), ("00.007", "00.257"), 0.25),
        # One of which the driver has not said anything yet: a group is one instant, and the group knows only seconds.
        ((None, 250), ("00.257", "00.257"), 0.0),
        ((250, None), ("00.257", "00.257"), 0.0),
        ((None, None), ("00.000", "00.000"), 0.0),
    ],
)
def test_the_points_are_what_the_driver_says_of_the_members(
    run: Runner, server: Storage, told: tuple[int | None, ...], points: tuple[str, ...], skew: float
) -> None:
    def cut(group: JSON, claims: list[JSON]) -> JSON:
        status = server.good_group(group, claims)
        for info, later in zip(status["volumeSnapshotInfoList"], told, strict=True):
            info["creationTime"] = None if later is None else info["creationTime"] + later * 1_000_000
        return status

    server.cut_group = cut
    result = run()
    assert [one["consistency_point"] for one in result["volumes"]] == [f"2026-01-01T00:00:{one}Z" for one in points]
    assert result["consistency"] == {"point": f"2026-01-01T00:00:{points[0]}Z", "skew_seconds": skew, "mode": "group"}


def test_a_driver_that_says_no_thaws_and_leaves_nothing(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    server.cut_group = lambda _group, _claims: {"readyToUse": False, "error": {"message": "two raw volumes"}}
    result = run(cut_timeout="5s")
    assert (
        result["failed"] and "shop/data, shop/logs: two raw volumes" in result["msg"] and "5 seconds" in result["msg"]
    )
    assert "group_snapshots: never" in result["msg"] and result["leftovers"] == []
    assert [argv[0] for _pod, _container, argv in cluster.ran] == ["freeze", "thaw"]
    assert [hook["ok"] for hook in result["hooks"]] == [True, True]
    assert not server.left() and not labelled(server) and "jobs" not in server.created


def test_a_driver_that_never_answers_is_not_waited_for_longer_than_said(run: Runner, server: Storage) -> None:
    server.cut_group = lambda _group, _claims: {}
    result = run(cut_timeout="5s")
    assert result["failed"] and "the driver gave no answer" in result["msg"] and not server.left()


def test_a_label_that_somebody_takes_away_is_noticed(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    def reverted(_pod: str, argv: Any) -> ExecResult:
        if argv[0] == "freeze":
            server.objects["persistentvolumeclaims", "shop", "logs"]["metadata"].pop("labels")
        return ExecResult(0, "", "")

    cluster.answer = reverted
    result = run()
    assert result["failed"] and "it has 1 of 2 volumes (shop/data, shop/logs)" in result["msg"]
    assert "takes labels away" in result["msg"] and cluster.ran[-1][2] == ("thaw",)
    assert not server.left() and not labelled(server)


def test_a_member_that_never_comes_is_named(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    def cut(group: JSON, claims: list[JSON]) -> JSON:
        status = server.good_group(group, claims)
        # As of a handle that two volumes have: the controller makes a snapshot of no claim.
        server.before_read = lambda _path, _query: server.objects.update(
            {
                place: {**obj, "spec": {"source": {"persistentVolumeClaimName": ""}}}
                for place, obj in server.objects.items()
                if place[2].startswith("snapshot-") and obj["spec"]["source"]["persistentVolumeClaimName"] == "logs"
            }
        )
        return status

    server.cut_group = cut
    result = run(ready_timeout="5s")
    assert result["failed"] and "no snapshot of shop/logs came of it within 5 seconds" in result["msg"]
    # The application did not wait for it.
    assert cluster.ran[-1][2] == ("thaw",) and [hook["ok"] for hook in result["hooks"]] == [True, True]
    assert not server.left() and not labelled(server)


def test_a_member_that_fails_fails_its_volume_and_leaves_nothing(run: Runner, server: Storage) -> None:
    def cut(group: JSON, claims: list[JSON]) -> JSON:
        status = server.good_group(group, claims)
        status["volumeSnapshotInfoList"][1]["readyToUse"] = False
        return status

    server.cut_group = cut
    result = run(ready_timeout="5s")
    assert result["failed"] and result["failed_volumes"] == ["shop/logs"] and "not ready" in result["msg"]
    assert result["consistency"]["mode"] == "group" and not server.left()
    server.cut_group = server.good_group
    server.mover = lambda job: [ended(1, "broken")] if "shop/logs" in json.dumps(job) else good_end(job)
    assert run()["failed_volumes"] == ["shop/logs"] and not server.left()


def test_the_right_that_is_missing_is_named_before_anything_is_frozen(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.refused.add("shop/persistentvolumeclaims/logs")
    result = run()
    assert result["failed"] and "claim shop/logs in a group" in result["msg"]
    assert "docs/rbac/groups.yml" in result["msg"] and "group_snapshots: never" in result["msg"]
    assert not cluster.ran and not labelled(server) and not server.left()
    assert not run(group_snapshots="never").get("failed")


def test_a_group_that_may_not_be_made_thaws_and_leaves_nothing(
    run: Runner, server: Storage, cluster: LocalCluster
) -> None:
    server.refuse_create = "volumegroupsnapshots"
    result = run()
    assert result["failed"] and "docs/rbac/groups.yml" in result["msg"] and cluster.ran[-1][2] == ("thaw",)
    assert not labelled(server) and not server.left()


@pytest.mark.parametrize("broken", ["hook", "signal"])
def test_labels_and_group_go_whatever_ends_the_cut(
    run: Runner, server: Storage, cluster: LocalCluster, broken: str
) -> None:
    def killed(_group: JSON, _claims: list[JSON]) -> JSON:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    if broken == "hook":
        cluster.answer = lambda _pod, argv: ExecResult(int(argv[0] == "freeze"), "", "locked")
    else:
        server.cut_group = killed
    result = run()
    assert result["failed"] and cluster.ran[-1][2] == ("thaw",)
    assert not labelled(server) and not server.left()


def test_a_group_is_not_deleted_before_its_controller_has_bound_it(
    run: Runner, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the controller would make for it afterwards, nobody would remove."""
    waiting: list[tuple[float, JSON]] = []
    bind = server._group

    def late(group: JSON) -> None:
        waiting.append((time.monotonic() + 1, group))
        os.kill(os.getpid(), signal.SIGTERM)

    def read(_path: str, _query: object) -> None:
        if waiting and time.monotonic() >= waiting[0][0]:
            bind(waiting.pop()[1])

    monkeypatch.setattr(server, "_group", late)
    server.before_read = read
    result = run()
    assert result["failed"] and "SIGTERM" in result["msg"]
    assert not waiting and not server.left()


# -- move, remove -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_the_data_are_kept_while_they_are_read_and_go_with_the_group(run: Runner, server: Storage, policy: str) -> None:
    server.add(group_class("together", policy=policy))
    seen: list[list[str]] = []

    def policies(job: JSON) -> list[JSON]:
        contents = [obj for (_key, _space, name), obj in server.objects.items() if "snapcontent-" in name]
        seen.append([obj["spec"]["deletionPolicy"] for obj in contents])
        return good_end(job)

    server.mover = policies
    assert not run().get("failed")
    assert seen[1] == ["Retain"] * 3 and not server.left()


def test_a_controller_whose_cache_lags_leaves_no_data_behind(run: Runner, server: Storage) -> None:
    """It sees the contents still to be kept while it removes the group, and then forgets them."""
    server.lags = True
    server.add(group_class("together"))
    assert not run().get("failed")
    assert not server.left()


def test_clones_go_before_the_group(run: Runner, server: Storage) -> None:
    run()
    ours = [one for one in server.created["volumesnapshotcontents"] if one["spec"].get("source")]
    assert sorted(one["spec"]["source"]["snapshotHandle"] for one in ours) == [
        "member-vol-pv-data",
        "member-vol-pv-logs",
    ]
    events = [
        event for event in server.events if event in ("delete persistentvolumeclaims", "delete volumegroupsnapshots")
    ]
    assert events == ["delete persistentvolumeclaims"] * 2 + ["delete volumegroupsnapshots"]


def test_members_are_marked_as_ours_so_that_no_capture_holds_them(run: Runner, server: Storage) -> None:
    run(phase="cut")
    members = [obj for (_key, _space, name), obj in server.objects.items() if name.startswith("snapshot-")]
    labels = [obj["metadata"]["labels"]["app.kubernetes.io/managed-by"] for obj in members]
    assert labels == ["muster.container_dr"] * 2


def test_cut_and_move_in_two_calls(run: Runner, server: Storage) -> None:
    cut = run(phase="cut")
    assert not labelled(server) and cut["consistency"]["mode"] == "group"
    assert [one["msg"] for one in cut["volumes"]] == ["cut, not moved yet"] * 2
    assert run(phase="move", cuts=cut["cuts"], check=True)["consistency"] == cut["consistency"]
    moved = run(phase="move", cuts=cut["cuts"])
    assert [one["complete"] for one in moved["volumes"]] == [True, True], moved
    assert moved["consistency"] == cut["consistency"] and not server.left()


@pytest.mark.parametrize("still", [True, False])
def test_what_a_killed_run_left_is_removed_first(run: Runner, server: Storage, still: bool) -> None:
    run(phase="cut")
    mark = {"container-dr.muster.dev/cut-" + "0" * 16: "muster-group-of-another"}
    (group,) = [obj for (key, *_rest), obj in server.objects.items() if key.startswith("volumegroupsnapshots.")]
    ours = group["spec"]["source"]["selector"]["matchLabels"]
    for name, labels in (("data", {**ours, "app": "db"}), ("logs", mark)):
        server.objects["persistentvolumeclaims", "shop", name]["metadata"]["labels"] = labels
    if not still:
        server.kinds = [kind for kind in server.kinds if "groupsnapshot" not in kind[0]]
    result = run(group_snapshots="never")
    assert not result.get("failed"), result
    assert "label of claim shop/data" in json.dumps(result["warnings"])
    claims = [server.objects["persistentvolumeclaims", "shop", name]["metadata"]["labels"] for name in ("data", "logs")]
    # Another application may be cutting the same claim.
    assert claims == [{"app": "db"}, mark]
    assert (f"group snapshot shop/{group['metadata']['name']}" in json.dumps(result["warnings"])) is still
    assert not still or server.left() == ["persistentvolumeclaims/logs"]


def test_a_group_that_does_not_go_is_named(run: Runner, server: Storage, cluster: LocalCluster) -> None:
    group = "/apis/groupsnapshot.storage.k8s.io/v1/namespaces/shop/volumegroupsnapshots/"

    def forbid(method: str, path: str) -> None:
        if method == "DELETE" and path.startswith(group):
            server.broken[group] = 403

    server.before_write = forbid
    result = run()
    assert not result.get("failed") and "group shop/muster-group-" in json.dumps(result["warnings"])


def test_the_role_in_the_documentation_has_all_that_groups_need(run: Runner, server: Storage) -> None:
    """What is asked for with groups, and not without them."""
    asked: set[tuple[str, str]] = set()
    verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}

    def note(method: str, path: str) -> None:
        found = re.fullmatch(r"/(?:api|apis/([^/]+))/[^/]+(?:/namespaces/([^/]+))?/([^/]+)(/[^/]+)?", path)
        if found and found[2] != "muster-container-dr":
            verb = verbs.get(method) or ("get" if found[4] else "list")
            asked.add((f"{found[3]}.{found[1] or ''}", verb))

    server.before_write = note
    server.before_read = lambda path, _query: note("GET", path)
    server.lags = True
    assert not run(group_snapshots="never").get("failed")
    without = {one for one in asked if "group" not in one[0]}
    asked.clear()
    assert not run().get("failed")
    role = next(yaml.safe_load_all((ROOT / "docs" / "rbac" / "groups.yml").read_text(encoding="utf-8")))
    granted = {
        (f"{resource}.{group}", verb)
        for rule in role["rules"]
        for group in rule.get("apiGroups", [])
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert asked - without <= granted
    assert {one for one in granted if "group" in one[0]} <= asked
