# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""recovery_point, recovery_point_info, repository_mirror and the transition modules through main(), on directories."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import (
    MAINTENANCE_NAMESPACE,
    Signing,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan import timeline
from ansible_collections.muster.container_dr.plugins.module_utils._restic import given_up
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.modules import (
    recovery_point,
    recovery_point_info,
    repository_mirror,
    transition,
    transition_info,
)

Runner = Callable[..., dict[str, Any]]
APP = {"name": "ledger", "namespaces": ["ledger"], "targets": {"rpo": "15m"}}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=20)
    (tmp_path / "allowed").write_text("muster " + (tmp_path / "key.pub").read_text())
    for name in ("east", "west", "witness", "east-repo", "west-repo"):
        (tmp_path / name).mkdir()
    return {
        **{name: {"url": f"file://{tmp_path / name}"} for name in ("east", "west", "witness")},
        "east-repo": {"url": str(tmp_path / "east-repo")},
        "west-repo": {"url": str(tmp_path / "west-repo")},
        "signing": {"key": str(tmp_path / "key"), "allowed_signers": str(tmp_path / "allowed")},
        "root": tmp_path,
    }


@pytest.fixture
def where(places: dict[str, Any]) -> dict[str, Any]:
    """From east to west."""
    return {
        "source": places["east-repo"],
        "destination": places["west-repo"],
        "source_store": places["east"],
        "destination_store": places["west"],
    }


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], places: dict[str, Any]) -> Runner:
    def call(module: Any, check: bool = False, fails: str = "", **options: Any) -> dict[str, Any]:
        signing = {} if module is transition_info else {"signing": places["signing"]}
        arguments = {"application": APP, **signing, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) == bool(fails), result["msg"]
        assert fails in result["msg"], result["msg"]
        return result

    return call


def put_repository_object(places: dict[str, Any], kind: str, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    path = places["root"] / "east-repo" / kind / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    (places["root"] / "east-repo" / "config").write_bytes(b"config")
    key = places["root"] / "east-repo" / "keys" / hashlib.sha256(b"key").hexdigest()
    key.parent.mkdir(exist_ok=True)
    key.write_bytes(b"key")
    return name


def content(begun: dict[str, Any], snapshot: str) -> dict[str, Any]:
    return {
        "state": "sealed",
        "id": begun["id"],
        "site": "east",
        "epoch": begun["epoch"],
        "parent": begun["parent"],
        "started": begun["started"],
        "consistency": {"point": begun["started"], "skew_seconds": 0.1, "mode": "group"},
        "objects": {"changed": True, "snapshot": {"id": snapshot, "tree": "t"}},
        "volumes": [{"name": "ledger/data-0", "complete": True, "snapshot": snapshot, "tree": "t", "msg": "x"}],
    }


@pytest.fixture
def point(run: Runner, places: dict[str, Any]) -> dict[str, Any]:
    begun = run(recovery_point, state="begun", store=places["east"], site="east")
    snapshot = put_repository_object(places, "snapshots", begun["id"].encode())
    return content(begun, snapshot)


def test_seals_once_and_signs(run: Runner, places: dict[str, Any], point: dict[str, Any]) -> None:
    planned = run(recovery_point, True, store=places["east"], **point)
    path = places["root"] / "east" / planned["key"]
    assert planned["changed"]
    assert not path.exists()
    sealed = run(recovery_point, store=places["east"], **point)
    assert path.with_suffix(".json.sig").exists()
    assert "msg" not in sealed["document"]["volumes"][0]
    assert sealed["digest"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    again = run(recovery_point, store=places["east"], **point)
    assert (again["changed"], again["digest"]) == (False, sealed["digest"])
    run(recovery_point, fails="sealed already", store=places["east"], **{**point, "site": "north"})
    following = run(recovery_point, state="begun", store=places["east"], site="east")
    assert (following["parent"], following["changed"]) == (point["id"], False)


def test_refuses_what_is_incomplete(run: Runner, places: dict[str, Any], point: dict[str, Any]) -> None:
    point["volumes"].append({"name": "ledger/cache", "complete": False, "snapshot": "s", "tree": "t"})
    refused = run(recovery_point, fails="volume:ledger/cache", store=places["east"], **point)
    assert [problem["what"] for problem in refused["problems"]] == ["volume:ledger/cache"]
    assert not (places["root"] / "east" / "applications/ledger/points").exists()
    sealed = run(recovery_point, store=places["east"], accept_incomplete=["volume:ledger/cache"], **point)
    assert sealed["document"]["accepted"][0]["what"] == "volume:ledger/cache"


def test_fails_early(run: Runner, places: dict[str, Any]) -> None:
    nowhere = {"url": f"file://{places['root']}/nowhere"}
    run(recovery_point, fails="is not there", state="begun", store=nowhere)
    run(recovery_point, fails="no key was given", state="begun", store=places["east"], signing={})


def test_replicates_and_picks(
    run: Runner, places: dict[str, Any], point: dict[str, Any], where: dict[str, Any]
) -> None:
    run(recovery_point, store=places["east"], **point)
    at_west = {"store": places["west"], "repository": places["west-repo"], "site": "west"}
    run(recovery_point_info, fails="holds none", required=True, **at_west)
    assert run(recovery_point_info, **at_west)["point"] is None
    planned = run(repository_mirror, True, **where)
    done = run(repository_mirror, **where)
    assert done["points_copied"] == planned["points_copied"] == [point["id"]]
    assert done["bytes_copied"] == planned["bytes_copied"] > 0
    assert not run(repository_mirror, **where)["changed"]
    found = run(recovery_point_info, required=True, **at_west)
    assert (found["point"]["id"], found["rpo"]["seconds"]) == (point["id"], None)
    fact = {"state": "noted", "kind": "copied", "data": {"site": "west"}, "ids": [point["id"]], "store": places["west"]}
    assert [run(recovery_point, **fact)["changed"] for _time in range(2)] == [True, False]
    rpo = run(recovery_point_info, **at_west)["rpo"]
    assert 0 <= rpo["seconds"] < 60
    assert rpo["met"]
    for path in (places["root"] / "west-repo" / "snapshots").iterdir():
        path.unlink()
    run(recovery_point_info, fails="is not in the repository of this site", required=True, **at_west)


def test_points_that_another_store_lacks_are_looked_at_beside_the_newest(run: Runner, places: dict[str, Any]) -> None:
    made = []
    for number in range(4):
        begun = run(recovery_point, state="begun", store=places["east"], site="east")
        begun["id"] = f"2026010{number + 1}T040506Z-ledger-1a2b3c4d"
        snapshot = put_repository_object(places, "snapshots", begun["id"].encode())
        run(recovery_point, store=places["east"], **content(begun, snapshot))
        made.append(begun["id"])
        if number == 1:
            run(repository_mirror, source_store=places["east"], destination_store=places["west"])
    looked = run(recovery_point_info, store=places["east"], pick="none", limit=1, missing_at=places["west"])
    assert [one["id"] for one in looked["points"]] == [made[3], made[2]]
    looked = run(recovery_point_info, store=places["east"], pick="none", limit=3, missing_at=places["west"])
    assert [one["id"] for one in looked["points"]] == [made[3], made[2], made[1]]


@pytest.mark.parametrize("suffix", ["", ".sig"])
def test_one_altered_byte(run: Runner, places: dict[str, Any], point: dict[str, Any], suffix: str) -> None:
    sealed = run(recovery_point, store=places["east"], **point)
    path = places["root"] / "east" / (sealed["key"] + suffix)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"epoch": 1', b'"epoch": 2') if not suffix else data[:120] + b"/" + data[121:])
    assert path.read_bytes() != data
    listed = run(recovery_point_info, store=places["east"])
    assert listed["point"] is None
    assert "signature not valid" in listed["points"][0]["reasons"][0]
    run(recovery_point_info, fails="signature not valid", store=places["east"], required=True)
    run(
        repository_mirror,
        fails=point["id"],
        source_store=places["east"],
        destination_store=places["west"],
    )
    assert not (places["root"] / "west" / "applications").exists()


def test_a_point_of_another_application_is_refused_though_its_signature_holds(
    run: Runner, places: dict[str, Any], point: dict[str, Any]
) -> None:
    sealed = run(recovery_point, store=places["east"], **point)
    folder = places["root"] / "east" / "applications"
    (folder / "shop" / "points").mkdir(parents=True)
    for suffix in ("", ".sig"):
        path = places["root"] / "east" / (sealed["key"] + suffix)
        path.rename(folder / "shop" / "points" / path.name)
    shop = {"application": {"name": "shop"}, "store": places["east"]}
    listed = run(recovery_point_info, **shop)
    assert listed["point"] is None and "of another application than shop" in listed["points"][0]["reasons"][0]
    run(recovery_point_info, fails="of another application than shop", required=True, **shop)
    run(
        repository_mirror,
        fails="of another application than shop",
        application={"name": "shop"},
        source_store=places["east"],
        destination_store=places["west"],
    )


def test_failover_and_its_lineage(run: Runner, places: dict[str, Any], point: dict[str, Any]) -> None:
    run(recovery_point, store=places["east"], **point)
    at = {"store": places["witness"]}
    begin = {
        **at,
        "state": "begun",
        "kind": "failover",
        "source": "east",
        "target": "west",
        "holder": "kim",
        "id": "r1",
    }
    run(transition, fails="nobody attests it", **begin)
    begin["attestation"] = {"by": "Kim", "reason": "fire"}
    assert run(transition, True, **begin)["changed"]
    assert run(transition_info, **at)["application_state"] is None
    assert run(transition, **begin)["epoch"] == 2
    resumed = run(transition, **begin)
    assert (resumed["changed"], resumed["resumed"], resumed["epoch"]) == (False, True, 2)
    run(transition, fails="kim holds it since", **{**begin, "id": "r2", "holder": "lee"})
    run(transition, fails="it began otherwise", **{**begin, "target": "north"})
    # Points of the running epoch can be picked while the transition is under way.
    info = {"store": places["east"], "witness": places["witness"]}
    assert run(recovery_point_info, **info)["point"]["id"] == point["id"]
    step = {**at, "state": "step", "id": "r1", "step": "restore"}
    run(transition, fails="nobody said that it would begin", phase="done", **step)
    assert not run(transition, phase="intent", **step)["step"]["done"]
    assert run(transition, phase="done", data={"n": 1}, **step)["step"]["data"] == {"n": 1}
    assert not run(transition, phase="done", **step)["changed"]
    finish = {**at, "state": "finished", "id": "r1", "point": point["id"]}
    assert run(transition, **finish)["active_site"] == "west"
    assert not run(transition, **finish)["changed"]
    run(transition, fails="holds no lock", phase="intent", **step)
    run(transition, fails="finished already", state="aborted", id="r1", holder="kim", **at)
    # East comes back and seals another point in the old epoch.
    begun = run(recovery_point, state="begun", store=places["east"], site="east", epoch=1, witness=places["witness"])
    assert begun["timeline"] == "orphan"
    later = content({**begun, "id": "29990101T000000Z-ledger-00000000"}, point["objects"]["snapshot"]["id"])
    run(recovery_point, store=places["east"], **later)
    listed = run(recovery_point_info, **info)
    assert listed["point"]["id"] == point["id"]
    assert listed["points"][0]["timeline"] == "orphan"
    run(recovery_point_info, fails="orphan timeline", id=later["id"], required=True, **info)
    named = run(recovery_point_info, id=later["id"], allow_orphan=True, **info)
    assert named["point"]["id"] == later["id"]
    steps = run(transition_info, **at)["transitions"][0]["steps"]
    assert [(one["name"], "done" in one) for one in steps] == [("begin", True), ("restore", True), ("finish", True)]
    assert len(list((places["root"] / "witness").rglob("*.json.sig"))) == 6


def test_abort_gives_the_lock_back_and_no_epoch_twice(run: Runner, places: dict[str, Any]) -> None:
    at = {"store": places["witness"]}
    begin = {**at, "state": "begun", "kind": "failback", "source": "east", "target": "west", "holder": "kim"}
    first = run(transition, **begin)
    abort = {**at, "state": "aborted", "id": first["id"]}
    run(transition, fails="nobody attests it", holder="lee", **abort)
    assert run(transition, holder="kim", **abort)["active_site"] == "east"
    assert not run(transition, holder="kim", **abort)["changed"]
    second = run(transition, **begin)
    assert (first["epoch"], second["epoch"]) == (2, 3)
    assert second["application_state"]["active_epoch"] == 1
    run(transition, fails="the lock belongs to", holder="kim", **{**abort, "id": "another"})


def test_a_witness_that_does_not_answer(run: Runner, places: dict[str, Any], point: dict[str, Any]) -> None:
    run(recovery_point, store=places["east"], **point)
    (places["root"] / "witness" / "applications" / "ledger").mkdir(parents=True)
    (places["root"] / "witness" / "applications" / "ledger" / "state.json").write_text("{")
    info = {"store": places["east"], "witness": places["witness"]}
    run(recovery_point_info, fails="timeline unknown", required=True, **info)
    assert run(recovery_point_info, witness_unreachable="ignore", **info)["point"]["id"] == point["id"]


def test_which_image_ran_when(run: Runner, places: dict[str, Any]) -> None:
    def seal(**images: tuple[str, ...]) -> str:
        """A point whose containers use these images (``tag/digest``); returns its id."""
        begun = run(recovery_point, state="begun", store=places["east"], site="east")
        more = content(begun, put_repository_object(places, "snapshots", begun["id"].encode()))
        users: dict[str, list[str]] = {}
        for user, used in images.items():
            for image in used:
                users.setdefault(image, []).append(f"shop/deployments/{user}:main")
        more["images"] = [
            {
                "name": f"shop:{image.partition('/')[0]}",
                "digest": f"sha256:{image.partition('/')[2]}",
                "resolved_by": "image_id",
                "path": "shop",
                "used_by": used_by,
            }
            for image, used_by in users.items()
        ]
        run(recovery_point, store=places["east"], **more)
        return str(begun["id"])

    ids = [
        seal(web=("1/a",), cache=("1/c",)),
        seal(web=("1/a",)),
        seal(web=("1/a", "2/b"), cache=("1/c",)),
        seal(web=("2/b",), cache=("1/c",)),
        seal(web=("1/a",), cache=("1/d",)),
    ]
    info = run(recovery_point_info, store=places["east"], compare_to=ids[3])
    listed = {
        entry["used_by"].partition("/")[2]: [
            (",".join(image["digest"][-1] for image in one["images"]), ids.index(one["first"]), ids.index(one["last"]))
            for one in entry["runs"]
        ]
        for entry in info["image_versions"]
    }
    assert listed == {
        "deployments/web:main": [("a", 4, 4), ("b", 3, 3), ("a,b", 2, 2), ("a", 0, 1)],
        "deployments/cache:main": [("d", 4, 4), ("c", 2, 3), ("c", 0, 0)],
    }
    newest = info["image_versions"][0]["runs"][0]
    assert newest["since"] == newest["until"] == info["point"]["consistency"]["point"]
    assert [(one["used_by"], one["before"], one["after"]) for one in info["image_changes"]] == [
        (
            f"shop/deployments/{user}:main",
            [{"name": f"shop:{tag_before}", "digest": f"sha256:{before}"}],
            [{"name": f"shop:{tag}", "digest": f"sha256:{after}"}],
        )
        for user, tag_before, before, tag, after in (("cache", "1", "c", "1", "d"), ("web", "2", "b", "1", "a"))
    ]
    back = run(recovery_point_info, store=places["east"], id=ids[1], compare_to=ids[0])
    assert [(one["before"] != [], one["after"]) for one in back["image_changes"]] == [(True, [])]
    assert run(recovery_point_info, store=places["east"])["image_changes"] is None
    run(
        recovery_point_info,
        fails="there is no such point",
        store=places["east"],
        compare_to="20200101T000000Z-x-00000000",
    )
    key = places["root"] / "east/applications/ledger/points" / f"{ids[0]}.json"
    key.write_bytes(key.read_bytes().replace(b"sha256:a", b"sha256:e"))
    run(recovery_point_info, fails="signature not valid", store=places["east"], compare_to=ids[0])
    assert "sha256:e" not in json.dumps(run(recovery_point_info, store=places["east"])["image_versions"])


# -- points that are not needed any more ------------------------------------------------------------------------------


@pytest.fixture
def history(run: Runner, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five points of a day each, the oldest first."""
    ids = []
    today = clock.now()
    for age in range(5, 0, -1):
        with monkeypatch.context() as patched:
            patched.setattr(clock, "now", lambda age=age: today - timedelta(days=age))
            begun = run(recovery_point, state="begun", store=places["east"], site="east")
            sealed = content(begun, put_repository_object(places, "snapshots", begun["id"].encode()))
            sealed["volumes"][0] |= {"files": 10, "bytes": 1000}
            run(recovery_point, store=places["east"], **sealed)
        ids.append(begun["id"])
    return ids


def expire(run: Runner, places: dict[str, Any], *, check: bool = False, fails: str = "", **more: Any) -> dict[str, Any]:
    options = {"retention": {"keep_last": 2}, "store": places["east"], **more}
    return run(recovery_point, check, fails, state="expired", **options)


def usable(run: Runner, places: dict[str, Any]) -> list[str]:
    points = run(recovery_point_info, pick="none", store=places["east"], repository=places["east-repo"])["points"]
    return [entry["id"] for entry in reversed(points) if entry["usable"]]


def test_expires_what_no_rule_keeps_and_never_picks_it_again(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    planned = expire(run, places, check=True)
    assert planned["changed"] and usable(run, places) == history
    done = expire(run, places)
    assert [one["changed"] for one in done["decisions"]] == [False, False, True, True, True]
    assert done["decisions"] == planned["decisions"] and done["frozen"] == []
    assert done["msg"] == "3 of 5 recovery points of ledger expire"
    assert usable(run, places) == history[3:]
    run(recovery_point_info, fails="it expired at", id=history[0], required=True, store=places["east"])
    again = expire(run, places)
    assert (again["changed"], [one["name"] for one in again["decisions"]]) == (False, history[:2:-1])
    # The documents stay as they are.
    held = sorted(path.name for path in (places["root"] / "east/applications/ledger/points").glob("*.json"))
    assert held == [f"{point}.json" for point in history]


def test_holds_tags_and_drills_keep_points(run: Runner, places: dict[str, Any], history: list[str]) -> None:
    def note(point: str, kind: str, **data: Any) -> None:
        run(recovery_point, state="noted", id=point, kind=kind, data=data, store=places["east"])

    note(history[0], "held", reason="audit")
    note(history[1], "tagged", tags=["release"])
    note(history[2], "drilled", verdict="pass")
    rules = {"keep_last": 1, "minimum": 1, "keep_tags": ["release"]}
    found = expire(run, places, check=True, retention=rules)
    assert [one["name"] for one in found["decisions"] if one["changed"]] == [history[3]]
    note(history[0], "released")
    note(history[1], "tagged", tags=[])
    note(history[3], "drilled", verdict="fail")
    found = expire(run, places, retention=rules)
    gone = [one["name"] for one in found["decisions"] if one["changed"]]
    assert gone == [history[3], history[1], history[0]]


def test_a_hold_or_a_tag_that_comes_back_as_it_was_counts_again(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    def note(point: str, kind: str, check: bool = False, **data: Any) -> bool:
        options = {"state": "noted", "id": point, "kind": kind, "data": data, "store": places["east"]}
        return bool(run(recovery_point, check, **options)["changed"])

    for _round in range(2):
        assert note(history[0], "held", True, reason="audit") and note(history[0], "held", reason="audit")
        assert not note(history[0], "held", True, reason="audit") and not note(history[0], "held", reason="audit")
        assert note(history[1], "tagged", tags=["release"]) and not note(history[1], "tagged", tags=["release"])
        found = expire(run, places, check=True, retention={"keep_last": 1, "minimum": 1, "keep_tags": ["release"]})
        assert [one["name"] for one in found["decisions"] if one["changed"]] == [history[3], history[2]]
        assert note(history[0], "released") and note(history[1], "tagged", tags=[])
    assert note(history[2], "copied", site="west") and note(history[2], "copied", site="north")
    assert not note(history[2], "copied", site="west")


@pytest.mark.parametrize("tags", ["release", ["release"]])
def test_one_tag_that_is_no_list_is_a_tag(
    run: Runner, places: dict[str, Any], history: list[str], tags: str | list[str]
) -> None:
    run(recovery_point, state="noted", id=history[0], kind="tagged", data={"tags": tags}, store=places["east"])
    found = expire(run, places, check=True, retention={"keep_last": 1, "minimum": 1, "keep_tags": ["release"]})
    assert "it has the tag release" in found["decisions"][-1]["reasons"]


@pytest.mark.parametrize("data", ["canary", ["canary"], 7])
def test_a_fact_whose_data_is_no_dictionary_is_one_that_nobody_can_read(
    run: Runner, places: dict[str, Any], history: list[str], data: Any
) -> None:
    run(recovery_point, state="noted", id=history[0], kind="copied", data={"site": "west"}, store=places["east"])
    (path,) = (places["root"] / "east/applications/ledger/facts" / history[0]).iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": data}))
    found = run(recovery_point_info, store=places["east"], site="west")
    assert found["point"]["id"] == history[-1] and "cannot be read" in str(found["warnings"])
    assert "nobody can read" in expire(run, places, check=True)["decisions"][-1]["msg"]


def test_what_only_a_reader_can_find_is_no_kind_of_fact(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    options = {"state": "noted", "id": history[0], "kind": "unreadable", "store": places["east"]}
    run(recovery_point, fails="it is what a damaged fact is called", **options)


def test_what_was_noted_before_the_store_failed_is_told(
    run: Runner, places: dict[str, Any], history: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(at: str, fails: str, **options: Any) -> dict[str, Any]:
        def create(self: Directory, key: str, data: bytes) -> None:
            if at in key:
                raise Unavailable("write", key, "the disk is full")
            real(self, key, data)

        real = Directory.create
        with monkeypatch.context() as patched:
            patched.setattr(Directory, "create", create)
            return run(recovery_point, fails=fails, store=places["east"], **options)

    noted = failing(history[1], "the disk is full", state="noted", ids=history[:3], kind="copied", data={"site": "w"})
    assert noted["changed"] and [one["name"] for one in noted["facts"]] == history[:1]
    rules = {"keep_last": 2}
    found = failing(history[2], "the disk is full", state="expired", retention=rules)
    assert found["changed"]
    assert [one["name"] for one in found["decisions"] if one["changed"]] == [history[1], history[0]]
    found = failing("expired", "the disk is full", state="expired", retention=rules)
    assert not found["changed"] and not any(one["changed"] for one in found["decisions"])


def test_a_volume_that_was_emptied_freezes_retention_until_somebody_accepts_it(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    begun = run(recovery_point, state="begun", store=places["east"], site="east")
    sealed = content(begun, put_repository_object(places, "snapshots", b"empty"))
    sealed["volumes"][0] |= {"files": 0, "bytes": 0}
    run(recovery_point, store=places["east"], **sealed)
    words = f"ledger/data-0 went from 10 to 0 files from {history[-1]} to {begun['id']}"
    for check in (True, False):
        refused = expire(run, places, check=check, fails=words)
        assert refused["frozen"] == [words] and len(refused["decisions"]) == 6 and not refused["changed"]
    assert len(usable(run, places)) == 6
    accepted = {"kind": "loss_accepted", "data": {"volumes": ["ledger/data-0"]}}
    run(recovery_point, state="noted", id=begun["id"], store=places["east"], **accepted)
    assert expire(run, places)["changed"] and len(usable(run, places)) == 2


@pytest.mark.parametrize("unbound", [True, False])
def test_a_claim_that_was_made_anew_and_never_bound_freezes_retention_and_one_that_a_rule_excludes_does_not(
    run: Runner, places: dict[str, Any], history: list[str], unbound: bool
) -> None:
    begun = run(recovery_point, state="begun", store=places["east"], site="east")
    sealed = content(begun, put_repository_object(places, "snapshots", b"anew"))
    excluded = [{"what": "ledger/data-0", "why": "some reason", **({"unbound": True} if unbound else {})}]
    run(recovery_point, store=places["east"], **{**sealed, "volumes": [], "excluded": excluded})
    done = expire(run, places, check=True, fails="ledger/data-0 is not in" if unbound else "")
    assert bool(done["frozen"]) is unbound


def test_orphans_and_points_that_nobody_vouches_for_never_expire(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    root = places["root"] / "east/applications/ledger/points"
    (root / f"{history[0]}.json.sig").unlink()
    (root / f"{history[1]}.json").write_text("{}")
    state = timeline.State("ledger", 2, "west", lineage=(timeline.Lineage(1, "east", history[3]),))
    place = places["root"] / "witness/applications/ledger/state.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(timeline.encode(state))
    found = expire(run, places, retention={"keep_last": 1, "minimum": 1}, witness=places["witness"])
    entries = {one["name"]: one for one in found["decisions"]}
    assert [entries[point]["keep"] for point in history] == [True, True, False, True, True]
    assert "its signature is missing" in entries[history[0]]["msg"]
    assert "orphan timeline" in entries[history[4]]["msg"]
    assert entries[history[3]]["reasons"][-1] == "it is the last good one"


def test_expiry_wants_a_policy_and_trusted_signers(run: Runner, places: dict[str, Any], history: list[str]) -> None:
    expire(run, places, fails="it keeps nothing", retention={"minimum": 3})
    expire(run, places, fails="no trusted signers", signing={"key": places["signing"]["key"]})
    run(recovery_point, fails="retention", state="expired", store=places["east"])
    expire(run, places, fails="is not there", store={"url": f"file://{places['root']}/nowhere"})
    assert usable(run, places) == history


def record(places: dict[str, Any], removed: dict[str, list[str]], age: timedelta, *, sign: bool = True) -> Path:
    """A record of maintenance at east, as `repository` with `state: maintained` writes it."""
    config = hashlib.sha256((places["root"] / "east-repo" / "config").read_bytes()).hexdigest()
    moment = clock.iso(clock.now() - age)
    document = {
        "format": given_up.FORMAT,
        "config_digest": f"sha256:{config}",
        "time": moment,
        "removed": removed,
    }
    path: Path = places["root"] / "east" / "maintenance" / "r" / f"{moment.replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    if sign:
        command = ["ssh-keygen", "-Y", "sign", "-q", "-f", places["signing"]["key"], "-n", MAINTENANCE_NAMESPACE, path]
        subprocess.run(command, check=True, timeout=20)
    return path


def test_a_mirror_loses_what_maintenance_gave_up_long_ago(
    run: Runner, places: dict[str, Any], point: dict[str, Any], where: dict[str, Any]
) -> None:
    run(recovery_point, store=places["east"], **point)
    old, young, stolen = (put_repository_object(places, "index", word) for word in (b"old", b"young", b"stolen"))
    run(repository_mirror, **where)
    for name in (old, young, stolen):
        (places["root"] / "east-repo/index" / name).unlink()
    before = record(places, {"index": [old]}, timedelta(days=8))
    record(places, {"index": [young]}, timedelta(days=6))
    kept = run(repository_mirror, **where)
    assert (kept["objects_removed"], kept["changed"]) == (0, True)
    copied = places["root"] / "west/maintenance/r"
    assert len(list(copied.iterdir())) == 4
    planned = run(repository_mirror, True, remove_after="7d", **where)
    done = run(repository_mirror, remove_after="7d", **where)
    assert planned["objects_removed"] == done["objects_removed"] == 1
    left = {path.name for path in (places["root"] / "west-repo/index").iterdir()}
    assert left == {young, stolen}
    assert not run(repository_mirror, remove_after="7d", **where)["changed"]
    # What was signed is not what is there any more.
    before.write_text(before.read_text().replace(old, stolen))
    done = run(repository_mirror, remove_after="7d", **where)
    assert done["objects_removed"] == 0 and "does not belong to these bytes" in str(done["warnings"])
    run(repository_mirror, fails="no trusted signers", remove_after="7d", signing={}, **where)
    alone = {"source": where["source"], "destination": where["destination"]}
    run(repository_mirror, fails="needs the records of maintenance", remove_after="7d", **alone)


def test_what_may_be_needed_by_snapshots_that_only_the_mirror_has_stays(
    run: Runner, places: dict[str, Any], point: dict[str, Any], where: dict[str, Any]
) -> None:
    """Written there after a failover, say: what it shares with the source may have been taken away here long ago."""
    run(recovery_point, store=places["east"], **point)
    pack = put_repository_object(places, "index", b"pack")
    forgotten = put_repository_object(places, "snapshots", b"forgotten")
    run(repository_mirror, **where)
    for kind, name in (("index", pack), ("snapshots", forgotten)):
        (places["root"] / "east-repo" / kind / name).unlink()
    record(places, {"index": [pack], "snapshots": [forgotten]}, timedelta(days=8))
    west = places["root"] / "west-repo"
    own = west / "snapshots" / hashlib.sha256(b"own").hexdigest()
    own.write_bytes(b"own")
    for check in (True, False):
        done = run(repository_mirror, check, remove_after="7d", **where)
        assert done["objects_removed"] == 1 and "may need" in str(done["warnings"])
        assert own.exists() and (west / "index" / pack).exists()
    assert not (west / "snapshots" / forgotten).exists()
    assert not run(repository_mirror, remove_after="7d", **where)["changed"]
    own.unlink()
    assert run(repository_mirror, remove_after="7d", **where)["objects_removed"] == 1
    assert not (west / "index" / pack).exists()


def test_a_mirror_that_breaks_off_never_shows_an_expired_point_as_good(
    run: Runner, places: dict[str, Any], history: list[str], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data may be gone from both places; only the fact says so where the repository is not looked at."""

    def create(self: Directory, key: str, data: bytes) -> None:
        if f"points/{history[-1]}" in key:
            raise Unavailable("write", key, "the server is gone")
        real(self, key, data)

    expire(run, places)
    planned = run(repository_mirror, True, **where)
    real = Directory.create
    with monkeypatch.context() as patched:
        patched.setattr(Directory, "create", create)
        run(repository_mirror, fails="the server is gone", **where)
    found = run(recovery_point_info, store=places["west"])
    assert {one["id"]: one["usable"] for one in found["points"]} == {
        point: point == history[3] for point in history[:4]
    }
    done = run(repository_mirror, **where)
    assert (planned["facts_copied"], done["facts_copied"], done["points_copied"]) == (3, 0, history[-1:])


def test_records_of_other_repositories_and_nonsense_remove_nothing(
    run: Runner, places: dict[str, Any], point: dict[str, Any], where: dict[str, Any]
) -> None:
    run(recovery_point, store=places["east"], **point)
    where = {**where, "verify_signatures": False, "remove_after": "1d"}
    name = put_repository_object(places, "index", b"x")
    run(repository_mirror, **where)
    (places["root"] / "east-repo/index" / name).unlink()
    path = record(places, {"index": [name]}, timedelta(days=2), sign=False)
    good = path.read_text()
    for text in ("nonsense", "[]", "{}", good.replace("sha256:", "sha256:0"), good.replace('"removed": {', '"x": {')):
        path.write_text(text)
        done = run(repository_mirror, **where)
        assert done["objects_removed"] == 0
    assert "is no record of maintenance; nothing is removed by it" in str(done["warnings"])
    path.write_text(good)
    assert run(repository_mirror, **where)["objects_removed"] == 1


class Swapped(Directory):
    """Shows a forged record at the first look and the signed one afterwards."""

    forged = b""

    def get(self, key: str) -> bytes:
        forged, self.forged = self.forged, b""
        return forged or super().get(key)


def test_what_is_verified_of_a_record_is_what_is_believed(places: dict[str, Any], point: dict[str, Any]) -> None:
    genuine = record(places, {"index": ["old"]}, timedelta(days=8)).read_bytes()
    store, warnings = Swapped(places["root"] / "east"), []
    store.forged = genuine.replace(b'"old"', b'"stolen"')
    wanted = json.loads(genuine)["config_digest"], Signing.of(places["signing"]), clock.now(), warnings.append
    assert given_up.names(store, *wanted) == {} and len(warnings) == 1
    assert given_up.names(store, *wanted) == {"index": {"old"}}


# -- odd input and bad days -------------------------------------------------------------------------------------------


def test_a_file_that_is_no_point_stops_neither_backups_nor_retention(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    folder = places["root"] / "east/applications/ledger/points"
    for name in (f"._{history[0]}", f"{history[0]} (copy)", "zz-notes"):
        (folder / f"{name}.json").write_bytes((folder / f"{history[0]}.json").read_bytes())
    assert run(recovery_point, state="begun", store=places["east"], site="east")["parent"] == history[-1]
    assert run(recovery_point_info, store=places["east"], limit=1)["point"]["id"] == history[-1]
    found = expire(run, places)
    assert [one["name"] for one in found["decisions"] if one["changed"]] == [history[2], history[1], history[0]]


def test_an_expired_point_cannot_be_held(run: Runner, places: dict[str, Any], history: list[str]) -> None:
    expire(run, places)
    for check in (True, False):
        options = {"state": "noted", "ids": [history[-1], history[0]], "kind": "held", "store": places["east"]}
        run(recovery_point, check, fails="it has expired", data={"reason": "audit"}, **options)
    facts = run(recovery_point_info, pick="none", store=places["east"])["points"][0]["facts"]
    assert facts == []


@pytest.mark.parametrize(("kind", "before"), [("held", "released"), ("tagged", "tagged")])
def test_a_fact_that_a_later_one_would_undo_at_once_is_refused(
    run: Runner, places: dict[str, Any], history: list[str], kind: str, before: str
) -> None:
    def note(what: str, time: str, check: bool = False, fails: str = "", **data: Any) -> None:
        options = {"state": "noted", "id": history[0], "kind": what, "store": places["east"], "time": time}
        run(recovery_point, check, fails, data=data, **options)

    note("held", "2026-02-01T00:00:00Z", reason="x")
    note(before, "2026-02-10T00:00:00Z", tags=["a"])
    for check in (True, False):
        note(kind, "2026-02-05T00:00:00Z", check, fails="2026-02-10T00:00:00", tags=["b"])
        note(kind, "2026-02-10T01:00:00+01:00", check, fails="2026-02-10T00:00:00", tags=["b"])
    note(kind, "2026-02-10T00:00:01Z", tags=["b"])


def test_the_id_of_a_transition_that_ended_is_not_taken_again(
    run: Runner, places: dict[str, Any], point: dict[str, Any]
) -> None:
    run(recovery_point, store=places["east"], **point)

    def move(run_id: str, source: str, target: str, fails: str = "", check: bool = False) -> None:
        options = {
            "store": places["witness"],
            "attestation": {"by": "kim", "reason": "down"},
            "id": run_id,
        }
        asked = {"kind": "failover", "source": source, "target": target, "holder": "kim"}
        run(transition, check, fails, state="begun", **asked, **options)
        if not fails:
            run(transition, state="finished", point=point["id"], id=run_id, store=places["witness"])

    move("one", "east", "west")
    move("two", "west", "east")
    for check in (True, False):
        move("one", "east", "west", fails="finished", check=check)
    assert run(transition_info, store=places["witness"])["application_state"]["epoch"] == 3


def test_a_transition_with_a_torn_record_is_told_and_does_not_hide_the_others(
    run: Runner, places: dict[str, Any]
) -> None:
    asked = {"kind": "failover", "source": "east", "target": "west", "holder": "kim", "id": "one"}
    attested = {"attestation": {"by": "kim", "reason": "down"}}
    run(transition, state="begun", store=places["witness"], **asked, **attested)
    (intent,) = places["root"].glob("witness/applications/ledger/transitions/one/*-begin-intent.json")
    intent.write_bytes(intent.read_bytes()[:40])
    told = run(transition_info, store=places["witness"])
    assert "0001-begin-intent.json" in str(told["warnings"])
    run(transition, fails="0001-begin-intent.json", state="begun", store=places["witness"], **asked, **attested)


def test_a_state_of_a_later_version_is_not_read_as_one_of_this(run: Runner, places: dict[str, Any]) -> None:
    asked = {"kind": "failover", "source": "east", "target": "west", "holder": "kim", "id": "one"}
    attested = {"attestation": {"by": "kim", "reason": "down"}}
    run(transition, state="begun", store=places["witness"], **asked, **attested)
    path = places["root"] / "witness/applications/ledger/state.json"
    path.write_text(path.read_text().replace("muster/state/v1", "muster/state/v2"))
    run(transition_info, fails="muster/state/v2", store=places["witness"])


def test_a_period_longer_than_all_time_is_refused(run: Runner, places: dict[str, Any], history: list[str]) -> None:
    expire(run, places, fails="longer than 1000 years", retention={"keep_within": "9999999d"})
    assert not expire(run, places, retention={"keep_within": "365000d"})["changed"]


@pytest.mark.parametrize(
    "change", [{"volumes": ["x"]}, {"images": [3]}, {"targets": "15m"}, {"excluded": ["x"]}, {"objects": "x"}]
)
def test_a_document_with_nonsense_inside_is_one_point_that_is_not_usable(
    run: Runner, places: dict[str, Any], history: list[str], change: dict[str, Any]
) -> None:
    path = places["root"] / "east/applications/ledger/points" / f"{history[-1]}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert run(recovery_point_info, store=places["east"])["point"]["id"] == history[-2]
    assert not run(recovery_point_info, verify_signatures=False, store=places["east"])["points"][0]["usable"]
    assert expire(run, places)["decisions"][0]["keep"]


def test_a_limit_is_a_number_of_points(run: Runner, places: dict[str, Any], history: list[str]) -> None:
    run(recovery_point_info, fails="limit is -2", store=places["east"], limit=-2)
    assert run(recovery_point_info, store=places["east"], limit=0)["points"] == []
    new = run(recovery_point_info, pick="none", store=places["east"], limit=0, missing_at=places["west"])["points"]
    assert [one["id"] for one in reversed(new)] == history


def test_what_has_expired_is_not_looked_at_for_a_store_that_lacks_it(
    run: Runner, places: dict[str, Any], history: list[str]
) -> None:
    expire(run, places)
    options = {"store": places["east"], "missing_at": places["west"], "pick": "none"}
    looked = run(recovery_point_info, limit=1, **options)["points"]
    assert [one["id"] for one in reversed(looked)] == history[3:]
