# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``repository`` with ``state: maintained`` through ``main()``, with the real restic where its own behaviour counts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import running
from fakes.catalogued import Catalogued
from fakes.real_restic import PASSWORD, RESTIC, Bed, real
from fakes.restic_program import ID, ResticProgram

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._evidence import signature
from ansible_collections.muster.container_dr.plugins.module_utils._restic import locks, maintenance
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.modules import repository

OLD = "20260101T000000Z-ledger-00000001"
NEW = "20260201T000000Z-ledger-00000002"
SHOP = "20260101T000000Z-shop-00000003"
LOST = "20260115T000000Z-ledger-00000004"
YOUNG = "20260116T000000Z-ledger-00000005"
Runner = Callable[..., dict[str, Any]]


def content(root: Path) -> dict[str, str]:
    """Digests of all files."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def store(tmp_path: Path) -> Catalogued:
    (tmp_path / "store").mkdir()
    return Catalogued(tmp_path / "store")


@pytest.fixture
def program(tmp_path: Path) -> ResticProgram:
    return ResticProgram(tmp_path)


@pytest.fixture
def run(store: Catalogued, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(maintenance, "_RETRY_LOCK", "0s")
    monkeypatch.setattr(locks, "INTERVAL", 0.2)

    def call(where: Bed | ResticProgram, check: bool = False, fails: str = "", **options: Any) -> dict[str, Any]:
        known: dict[str, Any] = (
            where.options
            if isinstance(where, Bed)
            else {"url": str(store.root), "password": PASSWORD, "restic": str(where.path)}
        )
        arguments = {
            "state": "maintained",
            "repository": {**known, **options.pop("repository", {})},
            "store": {"url": str(store.root)},
            "lock_timeout": "0",
            "_ansible_check_mode": check,
            **options,
        }
        arguments = {key: value for key, value in arguments.items() if value is not None}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            repository.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert PASSWORD not in json.dumps({**result, "invocation": None})
        assert bool(result.get("failed")) == bool(fails), result["msg"]
        assert fails in result["msg"], result["msg"]
        return result

    return call


def names(decisions: list[dict[str, Any]]) -> set[str]:
    return {decision["snapshot"] for decision in decisions}


# -- forget, prune, check, record ---------------------------------------------------------------------------------


@real
def test_what_only_expired_points_needed_goes_and_all_else_restores(
    bed: Bed, store: Catalogued, run: Runner, tmp_path: Path
) -> None:
    mine = ["muster", "application=ledger"]
    gone = bed.backup("old", tags=[*mine, f"point={OLD}"])
    objects = bed.backup("objects", host="k8s:east/ledger/objects", tags=[*mine, f"point={NEW}"])
    volume = bed.backup("new", tags=[*mine, f"point={NEW}"])
    shop = bed.backup("shop", host="k8s:east/shop/data", tags=["muster", "application=shop", f"point={SHOP}"])
    foreign = bed.backup("foreign", host="laptop", tags=["by-hand"], at="2020-01-01 00:00:00")
    lost = bed.backup("lost", tags=[*mine, f"point={LOST}"], at="2026-01-15 00:00:00")
    young = bed.backup("young", tags=[*mine, f"point={YOUNG}"])
    store.seal(OLD, volumes=[(gone.id, gone.tree, gone.host)])
    store.seal(NEW, objects=(objects.id, objects.tree), volumes=[(volume.id, volume.tree, volume.host)])
    # Known by its host and tree alone, as after `restic copy`.
    store.seal(SHOP, volumes=[("0" * 64, shop.tree, shop.host)])
    store.expire(OLD)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=20)
    (tmp_path / "allowed").write_text("muster " + (tmp_path / "key.pub").read_text())

    before = content(tmp_path)
    options = {"signing": {"key": str(tmp_path / "key")}, "check_part_of": 2, "prune": {"max_unused": "0"}}
    planned = run(bed, check=True, **options)
    assert content(tmp_path) == before
    assert names(planned["forgotten"]) == {gone.id, lost.id} and planned["changed"] and planned["record"] is None
    assert len(planned["decisions"]) == 7 and all(decision["reason"] for decision in planned["decisions"])
    assert names(planned["kept_unexplained"]) == {foreign.id} and planned["kept"] == 5

    done = run(bed, **options)
    assert names(done["forgotten"]) == {gone.id, lost.id} and names(done["kept_unexplained"]) == {foreign.id}
    assert done["changed"] and done["checked"] == {"structure": True, "data": "1/2"}
    assert done["bytes_after"] < done["bytes_before"] - 350_000
    staying = {"objects": objects, "new": volume, "shop": shop, "foreign": foreign, "young": young}
    assert {one.id for one in bed.opened.snapshots()} == {one.id for one in staying.values()}
    assert all(bed.restores(one, name) for name, one in staying.items())

    (record,) = store.records()
    raw = {path for path in before if path.startswith("repository/")} - content(tmp_path).keys()
    removed = {
        kind: sorted(path.rpartition("/")[2] for path in raw if f"/{kind}/" in path) for kind in record["removed"]
    }
    assert record["removed"] == removed and removed["snapshots"] == sorted([gone.id, lost.id]) and removed["data"]
    assert record["repository"] == bed.opened.identify() == done["id"] and record["failure"] is None
    assert record["forgotten"] == done["forgotten"] and record["format"] == "muster/maintenance/v1"
    path = store.root / done["record"]
    verdict = signature.verify(
        path.read_bytes(),
        path.with_suffix(".json.sig").read_bytes(),
        tmp_path / "allowed",
        "muster",
        signature.MAINTENANCE_NAMESPACE,
    )
    assert verdict.valid

    again = run(bed, **options)
    assert (again["changed"], again["forgotten"], again["checked"]["data"]) == (False, [], "2/2")
    assert len(store.records()) == 2 and run(bed, check=True, **options)["checked"]["data"] == "1/2"


@real
@pytest.mark.parametrize(("step", "locked"), [("forget", False), ("prune", False), ("prune", True)])
def test_a_run_that_was_killed_is_simply_run_again(
    bed: Bed,
    store: Catalogued,
    run: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    locked: bool,
) -> None:
    """``locked``: it had its lock already, which stays behind."""
    gone, kept = bed.backup("old", tags=["muster"]), bed.backup("new", tags=["muster"])
    store.seal(OLD, volumes=[(gone.id, gone.tree, gone.host)])
    store.seal(NEW, volumes=[(kept.id, kept.tree, kept.host)])
    store.expire(OLD)
    folder = Path(bed.options["url"])
    start = f"""
      {RESTIC} "$@" & restic=$!
      until ls {folder}/locks | grep -qxE '[0-9a-f]{{64}}'; do :; done
      kill -9 $restic
    """
    killed = tmp_path / "killed"
    killed.write_text(
        f"""#!/bin/sh
for word; do if [ "$word" = {step} ]; then {start if locked else ""}
kill -9 $$; fi; done
exec {RESTIC} "$@"
"""
    )
    killed.chmod(0o755)
    failed = run(bed, fails="restic was killed", repository={"restic": str(killed)})
    assert names(failed["forgotten"]) == ({gone.id} if step == "prune" else set())
    assert failed["changed"] == (step == "prune") and len(store.records()) == (step == "prune")
    assert len(bed.locks()) == locked
    if locked:
        run(bed, fails="renews its lock before")
        monkeypatch.setattr(locks, "SILENCE", 0.0)
    size = sum(path.stat().st_size for path in (folder / "data").rglob("*"))
    done = run(bed, prune={"max_unused": "0"})
    assert done["changed"] and done["bytes_after"] < size - 150_000
    assert [one.id for one in bed.opened.snapshots()] == [kept.id] and bed.restores(kept, "new")
    assert run(bed)["changed"] is False


@real
def test_a_store_that_deletes_nothing(bed: Bed, store: Catalogued, run: Runner, tmp_path: Path) -> None:
    gone, kept = bed.backup("old", tags=["muster"]), bed.backup("new", tags=["muster"])
    store.seal(OLD, volumes=[(gone.id, gone.tree, gone.host)])
    store.seal(NEW, volumes=[(kept.id, kept.tree, kept.host)])
    store.expire(OLD)
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if bare and not shutil.which(bare[0]):
        pytest.skip("root may delete everywhere, and there is no setpriv")
    program = tmp_path / "bare"
    program.write_text(f'#!/bin/sh\nexec {" ".join(bare)} {RESTIC} "$@"\n')
    program.chmod(0o755)
    folder = Path(bed.options["url"], "snapshots")
    folder.chmod(0o500)
    try:
        failed = run(bed, fails="refuses to delete", repository={"restic": str(program)})
    finally:
        folder.chmod(0o700)
    assert "append-only" in failed["msg"] and not failed["changed"] and not failed["forgotten"]
    assert not store.records() and not bed.locks()
    assert bed.restores(gone, "old") and bed.restores(kept, "new")
    assert names(run(bed)["forgotten"]) == {gone.id}


@real
def test_damage_is_found_and_what_was_forgotten_is_on_record(bed: Bed, store: Catalogued, run: Runner) -> None:
    gone, kept = bed.backup("old", tags=["muster"]), bed.backup("new", tags=["muster"])
    store.seal(OLD, volumes=[(gone.id, gone.tree, gone.host)])
    store.seal(NEW, volumes=[(kept.id, kept.tree, kept.host)])
    store.expire(OLD)
    # Trees are in packs of their own, and those are small.
    for pack in (path for path in Path(bed.options["url"], "data").rglob("*") if path.stat().st_size > 100_000):
        data = bytearray(pack.read_bytes())
        data[10] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)
    failed = run(bed, fails="it has errors", prune={"max_unused": "unlimited"}, check_data="100%")
    assert names(failed["forgotten"]) == {gone.id} and failed["checked"] == {"structure": False, "data": None}
    (record,) = store.records()
    assert "it has errors" in record["failure"] and failed["record"]


# -- what is refused ----------------------------------------------------------------------------------------------


def listed(program: ResticProgram, *entries: tuple[str, list[str]]) -> None:
    """Snapshots of the program that answers from a table."""
    program.answer(
        "snapshots",
        [
            {"id": name, "tree": "t", "time": "2026-01-01T00:00:00Z", "hostname": "h", "tags": tags}
            for name, tags in entries
        ],
    )


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("expired", [False, True])
def test_a_document_that_cannot_be_read_stops_everything(
    program: ResticProgram, store: Catalogued, run: Runner, check: bool, expired: bool
) -> None:
    listed(program, ("a", ["muster"]))
    store.seal(NEW)
    path = store.seal(OLD, volumes=[("a", "t", "h")])
    store.expire(OLD)
    assert names(run(program, check=True)["forgotten"]) == {"a"}
    broken = path if expired else store.seal(SHOP)
    broken.write_text(broken.read_text().replace("recovery-point/v1", "recovery-point/v2"))
    failed = run(program, check, fails="nobody knows what it needs")
    assert broken.name in failed["msg"] and not any(program.called(verb) for verb in ("forget", "prune", "check"))


@pytest.mark.parametrize("check", [False, True])
def test_an_application_that_would_be_left_with_nothing(
    program: ResticProgram, store: Catalogued, run: Runner, check: bool
) -> None:
    store.seal(NEW)
    store.seal(SHOP)
    store.expire(SHOP)
    failed = run(program, check, fails="recovery points of shop")
    assert "nothing would be left" in failed["msg"] and not program.called("prune")
    # Another application's fact says nothing about it.
    shutil.move(store.root / "applications/shop/facts", store.root / "applications/ledger/facts")
    run(program, check)


def test_how_restic_is_called(program: ResticProgram, store: Catalogued, run: Runner) -> None:
    listed(program, *((f"{number:064x}", ["muster"]) for number in range(700)))
    store.seal(NEW)
    store.seal(OLD, volumes=[(f"{number:064x}", "t", "h") for number in range(600)])
    store.expire(OLD)
    limits = {"max_unused": "10%", "max_repack_size": "5G", "repack_cacheable_only": True}
    done = run(program, prune=limits, check_data="10%")
    assert (len(done["forgotten"]), len(done["kept_unexplained"]), done["kept"]) == (600, 100, 100)
    forgets = [call.split() for call in program.calls if "forget" in call.split()]
    assert [len([word for word in call if len(word) == 64]) for call in forgets] == [500, 100]
    (prune,) = (call for call in program.calls if "prune" in call.split())
    assert prune.endswith("--max-unused 10% --max-repack-size 5G --repack-cacheable-only")
    assert program.calls[-1].endswith("--read-data-subset 10%") and done["checked"]["data"] == "10%"
    assert not program.called("unlock") and not any("--no-lock" in call for call in forgets)


def test_restic_finds_a_lock_that_came_meanwhile(
    program: ResticProgram, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.seal(NEW)
    program.answer("prune", code=11, error="unable to create lock\n")
    run(program, fails="locked by another process")
    assert not store.records()
    prune, tries = Repository.prune, []

    def second(self: Repository, limits: Any, retry_lock: str) -> None:
        tries.append(retry_lock)
        program.answer("prune", code=11 if len(tries) == 1 else 0)
        prune(self, limits, retry_lock=retry_lock)

    monkeypatch.setattr(Repository, "prune", second)
    run(program, lock_timeout="30s")
    assert len(tries) == 2 and len(store.records()) == 1


def test_a_point_that_is_sealed_meanwhile_keeps_what_it_needs(
    program: ResticProgram, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(program, ("a", ["muster", f"point={LOST}"]))
    store.seal(NEW)
    assert names(run(program, check=True)["forgotten"]) == {"a"}
    snapshots = Repository.snapshots

    def late(self: Repository) -> Any:
        found = snapshots(self)
        store.seal(LOST, objects=("a", "t"))
        return found

    monkeypatch.setattr(Repository, "snapshots", late)
    assert not run(program)["forgotten"] and not program.called("forget")


def test_the_signature_is_there_before_the_record(
    program: ResticProgram, store: Catalogued, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.seal(NEW)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=20)

    def full(_self: Directory, key: str, _data: bytes) -> None:
        raise Unavailable("write", key, "no space left")

    monkeypatch.setattr(Directory, "create", full)
    run(program, fails="no space left", signing={"key": str(tmp_path / "key")})
    assert not store.records() and len(list(store.root.glob("maintenance/*/*.json.sig"))) == 1


@pytest.mark.parametrize(
    ("phase", "holder", "words"),
    [
        ("Running", "alive", "is not finished"),
        ("Failed", "gone", "has finished"),
        (None, "gone", "no pod of this name"),
    ],
)
def test_movers_are_looked_for_at_the_sites(
    program: ResticProgram, store: Catalogued, run: Runner, phase: str | None, holder: str, words: str
) -> None:
    store.seal(NEW)
    pod = "muster-data-0-1a2b3c4d5e-x7k2p"
    lock = {"time": "2026-01-01T00:00:00Z", "hostname": pod, "username": "root", "pid": 9}
    program.answer("list", "a" * 64)
    program.answer("cat-lock", lock)
    unknown = run(program, check=True)
    assert (unknown["locks"][0]["holder"], unknown["changed"]) == ("unknown", False)
    assert run(program, check=True, remove_locks=["a" * 64])["changed"]
    with running() as east:
        metadata = {"name": pod, "namespace": "muster", "labels": {marks.MOVER: pod[:-6]}}
        if phase:
            east.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}})
        (found,) = run(program, check=True, sites=[{"host": east.url, "validate_certs": False}])["locks"]
    assert (found["holder"], found["removed"]) == (holder, False) and words in found["why"]
    assert not program.called("prune")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"store": None}, "store"),
        ({"check_part_of": 0}, "check_part_of is 0"),
        ({"check_part_of": 257}, "between 1 and 256"),
        ({"check_part_of": 2, "check_data": "10%"}, "mutually exclusive"),
        ({"check_data": "10"}, "check_data is '10'"),
        ({"unsealed_after": "soon"}, "length of time"),
        ({"unsealed_after": "9999999d"}, "longer than 1000 years"),
        ({"check_data": "5"}, "check_data is '5'"),
        ({"check_data": "0%"}, "check_data is '0%'"),
        ({"check_data": "101%"}, "Write 10%"),
        ({"check_data": "3/2"}, "check_data is '3/2'"),
        ({"prune": {"max_unused": "abc"}}, "prune.max_unused is 'abc'"),
        ({"prune": {"max_repack_size": "5%"}}, "Write 20G"),
        ({"prune": {"max_time": "night"}}, "length of time"),
        ({"remove_locks": ["all"]}, "no id of a lock"),
        ({"signing": {"key": "/nowhere/key"}}, "no such key file"),
    ],
)
def test_options_that_cannot_work(program: ResticProgram, run: Runner, options: dict[str, Any], words: str) -> None:
    for check in (True, False):
        run(program, check, fails=words, **options)
    assert not program.called("prune")


@real
@pytest.mark.parametrize(("max_time", "rounds", "finished"), [("1h", 3, True), ("0", 1, False)])
def test_a_prune_in_rounds_ends_when_nothing_is_left_or_the_time_is_over(
    bed: Bed, store: Catalogued, run: Runner, max_time: str, rounds: int, finished: bool
) -> None:
    """Two packs with something in each that nobody needs any more, and room for one of them in a round."""
    needed = []
    for name in ("one", "two"):
        beside = bed.place / "sources" / name / "beside"
        beside.parent.mkdir(parents=True)
        beside.write_bytes(os.urandom(200_000))
        gone = bed.backup(name, host=name, tags=["muster", "application=ledger", f"point={OLD}"])
        beside.unlink()
        needed.append(bed.backup(name, host=name, tags=["muster", "application=ledger", f"point={NEW}"]))
        store.seal(OLD, volumes=[(gone.id, gone.tree, gone.host)])
    store.seal(NEW, volumes=[(one.id, one.tree, one.host) for one in needed])
    store.expire(OLD)
    limits = {"max_unused": "0", "max_repack_size": "600k", "max_time": max_time}
    done = run(bed, prune=limits)
    assert done["pruned"] == {"rounds": rounds, "finished": finished}
    assert ("the next run goes on" in done["msg"]) is not finished
    assert store.records()[-1]["pruned"] == done["pruned"]
    again = run(bed, prune={**limits, "max_time": "1h"})
    assert again["pruned"]["finished"] and again["changed"] is not finished
    assert all(bed.restores(one, name) for one, name in zip(needed, ("one", "two"), strict=True))


def test_a_limit_of_time_has_rounds_of_a_size_of_their_own(
    program: ResticProgram, store: Catalogued, run: Runner
) -> None:
    store.seal(NEW)
    assert run(program)["pruned"] == {"rounds": 1, "finished": None}
    assert not any("--max-repack-size" in call for call in program.calls)
    run(program, prune={"max_time": "5m"})
    assert any("prune" in call and "--max-repack-size 5G" in call for call in program.calls)


@real
def test_what_restic_takes_for_an_amount_is_taken(bed: Bed, run: Runner) -> None:
    for amount in ("0.5%", "100%", "2/256", "7k", "1G", "9b"):
        run(bed, state="checked", store=None, check_data=amount)
    for limits in ({"max_unused": "0.5%"}, {"max_unused": "unlimited"}, {"max_unused": "5"}, {"max_repack_size": "2T"}):
        run(bed, prune=limits)


# -- locks --------------------------------------------------------------------------------------------------------


@real
def test_the_lock_of_a_dead_process_goes_once_it_is_silent(
    bed: Bed, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.seal(NEW)
    with bed.holder(kill=True) as lock:
        failed = run(bed, fails=lock[:16])
        assert "no process" in failed["msg"] and "remove_locks" in failed["msg"] and bed.locks() == [lock]
        monkeypatch.setattr(locks, "SILENCE", 0.0)
        before = content(bed.place)
        planned = run(bed, check=True)
        assert [(one["id"], one["holder"], one["removed"]) for one in planned["locks"]] == [(lock, "gone", False)]
        assert content(bed.place) == before
        done = run(bed)
        assert [(one["id"], one["holder"], one["removed"]) for one in done["locks"]] == [(lock, "gone", True)]
        assert not bed.locks() and done["changed"] and store.records()[0]["locks_removed"] == done["locks"]


@real
def test_the_lock_of_a_living_process_is_waited_for_and_named(
    bed: Bed, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.seal(NEW)
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    with bed.holder() as lock:
        failed = run(bed, fails="of this machine is restic", lock_timeout="1s", remove_locks=[lock])
        assert lock[:16] in failed["msg"] and "lock_timeout" in failed["msg"] and failed["seconds"] >= 1
        checked = run(bed, state="checked")
        assert [(one["id"], one["holder"]) for one in checked["locks"]] == [(lock, "alive")]
        assert bed.locks() == [lock]


@real
def test_an_unknown_holder_is_refused_until_somebody_vouches(
    bed: Bed, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.seal(NEW)
    monkeypatch.setattr(locks, "SILENCE", 0.0)
    monkeypatch.setattr(locks.platform, "node", lambda: "another-machine")
    with bed.holder(kill=True) as lock:
        failed = run(bed, fails="neither this machine nor a mover")
        assert f"remove_locks: {lock}" in failed["msg"] and bed.locks() == [lock]
        unreadable = Path(bed.options["url"], "locks", "f" * 64)
        unreadable.write_bytes(os.urandom(200))
        run(bed, fails="cannot be read", remove_locks=[lock[:12]])
        assert bed.locks() == ["f" * 64]
        assert run(bed, remove_locks=["f" * 8])["locks"][0]["removed"] and not bed.locks()


@real
def test_plain_unlock_takes_a_living_lock_away_and_we_do_not(
    bed: Bed, store: Catalogued, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two holders with one hostname, as containers with the host's name: each has the PIDs of its own namespace."""
    free = next(number for number in range(30_000, 1_000_000) if not Path(f"/proc/{number}").exists())
    alone = [
        *("unshare", "--pid", "--fork", "--kill-child", "sh", "-c"),
        f'echo {free - 1} > /proc/sys/kernel/ns_last_pid && "$@"; :',
        "sh",
    ]
    tried = [*alone[:-2], f"{alone[-2].partition('&&')[0]}", "sh"]
    if subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("this user can make no PID namespace")
    store.seal(NEW)
    with bed.holder(*alone) as lock:
        held = json.loads(bed.restic("cat", "lock", lock, "--no-lock").stdout)
        assert held["hostname"] == os.uname().nodename and not Path(f"/proc/{held['pid']}").exists()
        monkeypatch.setattr(locks, "SILENCE", 0.0)
        assert lock[:16] in run(bed, fails="of this machine is restic")["msg"]
        # Where not even the process can be seen, as on another machine of this name, its renewed lock speaks for it.
        monkeypatch.setattr(locks, "SILENCE", 360.0)
        monkeypatch.setattr(locks, "_PROC", bed.place / "no-proc")
        run(bed, fails="renews its lock before")
        assert bed.locks() == [lock]
        bed.restic("unlock")
        assert bed.locks() == [], "restic has learned to tell them apart: say so in locks.py"


def test_where_only_restic_reaches_the_repository(program: ResticProgram, store: Catalogued, run: Runner) -> None:
    store.seal(NEW)
    far = {"url": "gs:bucket:/r"}
    done = run(program, repository=far)
    assert (done["bytes_before"], done["bytes_after"]) == (None, None) and store.records()[0]["removed"] is None
    program.answer("list", "a" * 64)
    failed = run(program, fails="but not removed", repository=far, remove_locks=["a" * 64])
    assert failed["locks"][0]["id"] == "a" * 64 and ID[:8] not in failed["msg"]
