# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""recovery_point, recovery_point_info, repository_mirror and the transition modules through main(), on directories."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

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


def test_replicates_and_picks(run: Runner, places: dict[str, Any], point: dict[str, Any]) -> None:
    run(recovery_point, store=places["east"], **point)
    where = {
        "source": places["east-repo"],
        "destination": places["west-repo"],
        "source_store": places["east"],
        "destination_store": places["west"],
    }
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
