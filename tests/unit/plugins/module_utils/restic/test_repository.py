# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The driver with a real restic, where this machine has one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import RESTIC, real
from fakes.restic_program import ResticProgram
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_repository


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"url": str(tmp_path / "repository"), "password": "canary", "restic": RESTIC or "restic"}


@real
def test_from_nothing_to_restored_data(options: dict[str, Any], tmp_path: Path) -> None:
    repository = Repository.open(options)
    assert "canary" not in repr(repository)
    assert not repository.exists()
    identity = repository.init()
    with pytest.raises(Conflict):
        repository.init()
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("content", encoding="utf-8")
    first = repository.backup_directory(source, host="k8s:east/a/objects", tags=["muster", "point=1"])
    assert (first.files, first.bytes) == (1, 7) and first.bytes_added > 0
    second = repository.backup_directory(source, host="k8s:east/a/objects", tags=["muster", "point=2"])
    assert second.tree == first.tree and second.bytes_added == 0
    found = repository.snapshots(host="k8s:east/a/objects", tags=["muster", "point=1"])
    assert [snapshot.id for snapshot in found] == [first.snapshot]
    restored = repository.restore(first.snapshot, tmp_path / "restored", verify=True)
    assert restored.files == 2
    assert (tmp_path / "restored" / "inner" / "file").read_text(encoding="utf-8") == "content"
    with pytest.raises(NotFound, match="snapshot abcdef"):
        repository.snapshot("abcdef12")
    repository.check(read_data="100%")
    repository.forget([first.snapshot, "0" * 64])
    repository.forget([first.snapshot])
    repository.forget([])
    repository.prune(["--max-unused", "0"])
    assert [snapshot.id for snapshot in repository.snapshots()] == [second.snapshot]
    # Another process, the same repository: its id is the one that init returned.
    assert Repository.open({**options, "id": identity}).identify() == identity


@real
def test_another_repository_and_another_password_are_refused(options: dict[str, Any]) -> None:
    Repository.open(options).init()
    with pytest.raises(Refused, match="expected was"):
        Repository.open({**options, "id": "0" * 64}).snapshots()
    with pytest.raises(Denied, match="wrong password"):
        Repository.open({**options, "password": "other"}).identify()


@real
def test_damage_is_found(options: dict[str, Any], tmp_path: Path) -> None:
    repository = Repository.open(options)
    repository.init()
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(1000))
    repository.backup_directory(source, host="h")
    pack = next(path for path in Path(options["url"], "data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-1])
    with pytest.raises(Incomplete, match="it has errors"):
        repository.check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": ""}, "it has no url"),
        ({"url": "s3:https://[2001:db8::1:9000/bucket"}, "Invalid IPv6 URL"),
        ({"url": "repository"}, "its path is relative"),
        ({"url": "local:../repository"}, "its path is relative"),
        ({"url": "~nobody-of-this-name/repository"}, "its path is relative"),
        ({"url": "https://rest.example.com/r"}, "such as rest:https://"),
        ({"restic": "/nowhere/restic"}, "not installed here"),
        ({"password": None}, "it has no password"),
        ({"password": None, "password_file": "/nowhere/file"}, "password_file /nowhere/file"),
        ({"access_key": "half"}, "belong together"),
        ({"ca_cert": "/nowhere/ca.pem"}, "there is no such file"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidInput, NotFound), match=words):
        Repository.open({**options, **_program(tmp_path, "0.19.1"), **change})


@pytest.mark.parametrize("kind", ["", "local:"])
def test_restic_and_a_mirror_mean_the_same_by_a_home_directory(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """restic itself makes a folder with the name ~ where it runs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {**options, **_program(tmp_path, "0.19.1"), "url": f"{kind}~/backups"}
    (tmp_path / "backups").mkdir()
    opened = Repository.open(given)
    assert opened.environment()["RESTIC_REPOSITORY"] == str(tmp_path / "backups")
    assert open_repository(given).place == str(tmp_path / "backups")


@pytest.mark.parametrize("url", ["rest:https://h/~u/r", "sftp:u@h:~/r", "rclone:far:~r", "/srv/r~1", "local:/srv/r"])
def test_other_places_are_told_to_restic_as_they_are(options: dict[str, Any], tmp_path: Path, url: str) -> None:
    assert Repository.open({**options, **_program(tmp_path, "0.19.1"), "url": url}).url == url


@pytest.mark.parametrize("version", ["0.17.3", "0.9.6", "", "unknown"])
def test_an_old_restic_is_refused(options: dict[str, Any], tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidInput, match=r"0\.18 or newer"):
        Repository.open({**options, **_program(tmp_path, version)})


def _program(tmp_path: Path, version: str) -> dict[str, str]:
    program = tmp_path / "restic"
    program.write_text(f'#!/bin/sh\necho \'{{"message_type":"version","version":"{version}"}}\'\n', encoding="utf-8")
    program.chmod(0o755)
    return {"restic": str(program)}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("unable to open config file: open /srv/retention/ledger/config: input/output error", MusterError),
        ("unable to create lock: open /srv/retention/ledger/locks/a: no space left on device", Unavailable),
        ("remove /srv/retention/ledger/data/a: operation not permitted", Denied),
    ],
)
def test_a_store_does_not_refuse_because_of_its_name(tmp_path: Path, said: str, kind: type[MusterError]) -> None:
    program = ResticProgram(tmp_path)
    message = {"message_type": "exit_error", "code": 1, "message": f"Fatal: {said}"}
    program.answer("prune", code=1, error=json.dumps(message) + "\n")
    options = {"url": "/srv/retention/ledger", "password": "canary", "restic": str(program.path)}
    with pytest.raises(MusterError) as raised:
        Repository.open(options).prune()
    assert raised.value.__class__ is kind


def test_snapshots_are_in_the_order_of_their_times_in_any_zone(tmp_path: Path) -> None:
    """restic writes the time of the machine's own zone, which is another one when summer ends."""
    program = ResticProgram(tmp_path)
    times = ["2026-10-25T01:30:00Z", "2026-10-25T02:59:59.999999999+02:00", "2026-10-25T02:10:00+01:00"]
    program.answer(
        "snapshots", [{"id": str(number) * 64, "tree": "t", "time": time} for number, time in enumerate(times)]
    )
    opened = Repository.open({"url": "/srv/r", "password": "canary", "restic": str(program.path)})
    assert [one.id[0] for one in opened.snapshots()] == ["1", "2", "0"]


def test_a_check_that_lost_its_server_has_found_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ResticProgram(tmp_path)
    message = {"message_type": "exit_error", "code": 1, "message": "Fatal: Get: dial tcp: connection refused"}
    program.answer("check", code=1, error=json.dumps(message) + "\n")
    with FakeS3() as bucket:
        bucket.objects["r/config"] = b"x"
        login = {"access_key": "key", "secret_key": "canary-secret"}
        opened = Repository.open(
            {"url": f"s3:{bucket.url}/bucket/r", "password": "canary", "restic": str(program.path), **login}
        )
        opened.identify()
        with pytest.raises(Incomplete, match=r"it has errors .*connection refused"):
            opened.check()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(Unavailable, match="does not answer"):
        opened.check()
