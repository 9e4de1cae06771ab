# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``repository_key`` through ``main()``, with the real restic where its own behaviour counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.real_restic import PASSWORD, Bed, real
from fakes.restic_program import ID, ResticProgram

from ansible_collections.muster.container_dr.plugins.module_utils._restic import mirror
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.modules import repository, repository_key, repository_mirror

NEW, THIRD = "canary-new", "canary-third"
KEYS = [
    {"current": True, "id": "a" * 64, "userName": "root", "hostName": "vm", "created": "2026-01-01 00:00:00"},
    {"current": False, "id": "b" * 64, "userName": "kim", "hostName": "pc", "created": "2026-01-02 03:04:05"},
    {"current": False, "id": "b" * 63 + "c", "userName": "", "hostName": "", "created": "2026-01-03 00:00:00"},
]
Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    program.answer("key-list", KEYS)
    return program


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(where: Any, module: Any = repository_key, check: bool = False, fails: str = "", **more: Any) -> Any:
        known: dict[str, Any] = {"url": "/srv/repository", "password": PASSWORD}
        known |= where.options if isinstance(where, Bed) else {"restic": str(where.path)}
        repository = {**known, **more.pop("repository", {})}
        arguments = {"repository": repository, **more} if module is not repository_mirror else more
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        for secret in (PASSWORD, NEW, THIRD):
            assert secret not in json.dumps({**result, "invocation": None})
        assert bool(result.get("failed")) == bool(fails) and fails in result["msg"], result["msg"]
        return result

    return call


def key_files(bed: Bed) -> set[str]:
    return {path.name for path in Path(bed.options["url"], "keys").iterdir()}


def opens(bed: Bed, password: str) -> bool:
    return Repository.open(bed.options).key_of(password) is not None


# -- with the real restic -------------------------------------------------------------------------------------------


@real
def test_a_password_is_changed(bed: Bed, run: Runner, tmp_path: Path) -> None:
    old = key_files(bed)
    (tmp_path / "new").write_text(f"{NEW}\n", encoding="utf-8")
    present = {"new_password_file": str(tmp_path / "new"), "host": "vault", "user": "kim"}
    planned = run(bed, check=True, **present)
    assert (planned["changed"], planned["key_id"]) == (True, None) and key_files(bed) == old
    added = run(bed, **present)
    assert added["changed"] and key_files(bed) == old | {added["key_id"]} and opens(bed, NEW) and opens(bed, PASSWORD)
    again = run(bed, password_command=["cat", str(tmp_path / "new")])
    assert (again["changed"], again["key_id"]) == (False, added["key_id"])
    listed = run(bed, repository, state="checked")["repository_keys"]
    assert [(one["id"], one["current"]) for one in listed] == [(*old, True), (added["key_id"], False)]
    assert (listed[1]["host"], listed[1]["user"]) == ("vault", "kim") and listed[1]["created"].endswith("Z")

    opened = {"repository": {"password": None, "password_file": str(tmp_path / "new")}, "state": "absent"}
    planned = run(bed, check=True, password=PASSWORD, **opened)
    assert planned["changed"] and {one["id"] for one in planned["removed"]} == old and opens(bed, PASSWORD)
    done = run(bed, password=PASSWORD, **opened)
    assert done["removed"] == planned["removed"] and done["record"] is None
    assert key_files(bed) == {added["key_id"]} and not opens(bed, PASSWORD)
    again = run(bed, password=PASSWORD, **opened)
    assert (
        not again["changed"] and again["removed"] == [] and f"it has {added['key_id'][:10]} (kim@vault)" in again["msg"]
    )


@real
def test_all_keys_of_a_password_go_and_the_own_one_never(bed: Bed, run: Runner) -> None:
    (own,) = key_files(bed)
    for _number in range(2):
        bed.opened.add_key(NEW)
    third = bed.opened.add_key(THIRD)
    for given in ({"password": PASSWORD}, {"key_id": own[:8]}, {"key_id": own}):
        run(bed, state="absent", fails="this task has opened the repository with it", **given)
        run(bed, state="absent", check=True, fails="another password", **given)
    assert len(run(bed, state="absent", password=NEW)["removed"]) == 2
    assert key_files(bed) == {own, third.id} and not opens(bed, NEW)
    assert run(bed, state="absent", key_id=third.id[:12])["changed"] and key_files(bed) == {own}


@real
def test_a_key_is_added_while_a_backup_runs_and_removed_only_afterwards(bed: Bed, run: Runner) -> None:
    with bed.holder():
        added = run(bed, password=NEW, lock_timeout="0")
        refused = run(bed, state="absent", key_id=added["key_id"], lock_timeout="0", fails="is locked by another")
        assert "state: maintained" in refused["msg"] and not refused["changed"] and opens(bed, NEW)
        assert not run(bed, state="absent", key_id="f" * 64, lock_timeout="0")["changed"]


@real
def test_a_mirror_follows_the_record_and_brings_no_key_back(bed: Bed, run: Runner, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=20)
    (tmp_path / "allowed").write_text("muster " + (tmp_path / "key.pub").read_text())
    signing = {"key": str(tmp_path / "key"), "allowed_signers": str(tmp_path / "allowed")}
    for name in ("store", "other-store", "other"):
        (tmp_path / name).mkdir()
    copying: dict[str, Any] = {
        "source": bed.options,
        "destination": {"url": str(tmp_path / "other")},
        "source_store": {"url": str(tmp_path / "store")},
        "destination_store": {"url": str(tmp_path / "other-store")},
        "application": {"name": "ledger"},
        "signing": signing,
        "remove_after": "7d",
    }
    old = run(bed, password=NEW)["key_id"]
    run(bed, repository_mirror, **copying)
    shutil.copytree(tmp_path / "other", tmp_path / "stale")
    there = {"repository": {"url": str(tmp_path / "other")}}
    removal = {"state": "absent", "store": copying["source_store"], "signing": signing}
    assert run(bed, check=True, password=NEW, **removal)["record"] is None
    assert list((tmp_path / "store").iterdir()) == []
    done = run(bed, password=NEW, **removal)
    assert done["record"].startswith(f"maintenance/keys/{done['id']}/")
    assert json.loads((tmp_path / "store" / done["record"]).read_text())["removed"] == {mirror.KEYS: [old]}
    assert not run(bed, password=NEW, **there)["changed"]
    assert run(bed, repository_mirror, **copying)["objects_removed"] == 1
    assert not (tmp_path / "other/keys" / old).exists()
    assert not run(bed, repository_mirror, **copying)["changed"]

    # The other way round, from a copy that never heard of it.
    back = {
        **copying,
        "source": {"url": str(tmp_path / "stale")},
        "destination": bed.options,
        "source_store": copying["destination_store"],
        "destination_store": copying["source_store"],
    }
    assert not run(bed, repository_mirror, **back)["changed"] and old not in key_files(bed)

    # A run that was killed before it wrote the record.
    (tmp_path / "store" / done["record"]).unlink()
    assert run(bed, check=True, key_id=old, **removal)["changed"]
    assert run(bed, key_id=old, **removal)["record"]
    again = run(bed, key_id=old, **removal)
    assert (again["changed"], again["record"]) == (False, None)


@real
def test_a_store_that_deletes_nothing_is_told(bed: Bed, run: Runner, tmp_path: Path) -> None:
    added = bed.opened.add_key(NEW)
    (tmp_path / "store").mkdir()
    program = tmp_path / "append-only"
    refusal = 'echo "Remove(<key/1>) failed: blob not removed, server response: 403 Forbidden (403)" >&2; exit 1'
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" key remove "*) {refusal} ;; esac\nexec {bed.options["restic"]} "$@"\n'
    )
    program.chmod(0o755)
    removal = {"state": "absent", "key_id": added.id, "store": {"url": str(tmp_path / "store")}}
    refused = run(bed, fails="its store refuses to delete", repository={"restic": str(program)}, **removal)
    # Nothing tells a mirror that it is gone.
    assert not refused["changed"] and list((tmp_path / "store").iterdir()) == []


@real
def test_the_new_password_is_in_no_argument_and_no_file(bed: Bed, run: Runner, tmp_path: Path) -> None:
    program = tmp_path / "restic"
    words = tmp_path / "words"
    program.write_text(f'#!/bin/sh\necho "$*" >> {words}\nexec {bed.options["restic"]} "$@"\n')
    program.chmod(0o755)
    run(bed, password=NEW, repository={"restic": str(program)})
    calls = words.read_text().splitlines()
    assert any("--new-password-file /dev/fd/" in line for line in calls) and not any(NEW in line for line in calls)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and NEW.encode() in path.read_bytes()]


# -- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "password"),
        ({"key_id": "a" * 64}, "password"),
        ({"password": ""}, "no password was given"),
        ({"password": NEW, "new_password_file": "b"}, "mutually exclusive"),
        ({"state": "absent"}, "key_id"),
        ({"state": "absent", "key_id": ""}, "no password was given"),
        ({"state": "absent", "key_id": "a" * 64, "password": NEW}, "mutually exclusive"),
        ({"state": "absent", "key_id": "abc"}, "at least its first eight digits"),
        ({"state": "absent", "key_id": "b" * 8}, f"several keys begin so ({'b' * 20}, {'b' * 20})"),
        ({"state": "absent", "key_id": "a" * 8}, "this task has opened the repository with it"),
        ({"state": "absent", "key_id": "b" * 64, "repository": {"id": "f" * 64}}, f"its id is {ID}"),
    ],
)
def test_what_is_refused_before_anything_is_done(
    run: Runner, restic: ResticProgram, options: dict[str, Any], words: str
) -> None:
    run(restic, fails=words, **options)
    assert not restic.called("remove") and not restic.called("add")


def test_a_key_is_found_by_its_first_digits(run: Runner, restic: ResticProgram) -> None:
    planned = run(restic, check=True, state="absent", key_id="b" * 64)
    assert [one["created"] for one in planned["removed"]] == ["2026-01-02T03:04:05.000Z"]
    gone = run(restic, state="absent", key_id="12345678")
    assert not gone["changed"] and "There is no such key" in gone["msg"] and "bbbbbbbbbb (kim@pc)" in gone["msg"]
    assert not restic.called("remove")


def test_a_wrong_password_of_the_repository_is_told(run: Runner, restic: ResticProgram) -> None:
    restic.answer("cat", code=12, error="Fatal: wrong password or no key found\n")
    run(restic, password=NEW, fails="wrong password")


def test_what_is_no_wrong_password_is_not_taken_for_a_key_that_is_gone(run: Runner, restic: ResticProgram) -> None:
    restic.answer("key-list", code=1, error="Fatal: maximum number of keys reached\n")
    run(restic, password=NEW, fails="maximum number of keys")
    run(restic, state="absent", password=NEW, fails="maximum number of keys")


def test_a_key_that_cannot_be_read_is_told(run: Runner, restic: ResticProgram) -> None:
    restic.answer("key-list", KEYS[:1], error="LoadKey() failed: LoadRaw(<key/2d711642b7>): invalid data returned\n")
    run(restic, repository, state="checked", fails="one of them cannot be read (LoadKey() failed")


def test_the_password_may_come_from_the_environment(
    run: Runner, restic: ResticProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "echo of-the-environment")
    run(restic, repository, repository={"password": None})
    assert restic.environment["RESTIC_PASSWORD"] == "of-the-environment"
    assert "RESTIC_PASSWORD_COMMAND" not in restic.environment
    run(restic, repository, repository={"password": None, "password_command": "echo of-the-option"})
    assert restic.environment["RESTIC_PASSWORD"] == "of-the-option" and os.environ["RESTIC_PASSWORD_COMMAND"]
