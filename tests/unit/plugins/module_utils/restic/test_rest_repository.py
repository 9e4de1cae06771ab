# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repositories on REST servers with a login: our own look at the server, and the real restic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import RESTIC, real
from fakes.rest_server import FakeRest
from fakes.restic_program import ResticProgram

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._restic import asking, recrypt, rest_probe
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository

USER, WORD = "backup", "canary @:/%$ä"
LOGIN = {"RESTIC_REST_USERNAME": USER, "RESTIC_REST_PASSWORD": WORD}


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Denied, "refuses the user, the password, or this path for the user.* below the path of that name"),
        (403, Denied, "denies access to this path"),
        (404, NotFound, "no repository at this address"),
        (503, Unavailable, "the server answers 503"),
    ],
)
def test_what_stands_in_the_way(status: int, error: type[MusterError], words: str) -> None:
    with FakeRest(status=status) as server, pytest.raises(error, match=words) as raised:
        rest_probe.probe(server.url, LOGIN, None)
    assert "canary" not in str(raised.value)
    assert len(server.asked) == (2 if status == 503 else 1)


def test_a_repository_that_is_there_is_asked_for_with_the_login() -> None:
    with FakeRest((USER, WORD)) as server:
        server.objects["config"] = b"x"
        server.objects["ä b/config"] = b"x"
        for more in ("", "/", "/ä b"):
            rest_probe.probe(server.url + more, LOGIN, None)
        with pytest.raises(Denied, match="refuses who has no login"):
            rest_probe.probe(server.url, {}, None)


def test_a_server_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 1.0)
    with pytest.raises(Unavailable, match="does not answer"):
        rest_probe.probe("rest:http://127.0.0.1:1/r", LOGIN, None)


@pytest.mark.parametrize(
    "url",
    [
        "s3:https://h/b",
        "/srv/r",
        "rest:http+unix:///srv/socket:/",
        "sftp:h:/r",
        "sftp://u@[h]:22//r",
        "rest:https://ä.de/r",
    ],
)
def test_other_places_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ask", None)
    rest_probe.probe(url, LOGIN, None)


def test_what_goes_through_a_proxy_is_left_to_restic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ask", lambda *_words: (401, b""))
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    rest_probe.probe("rest:http://rest.example.com/r", LOGIN, None)
    monkeypatch.setenv("no_proxy", "rest.example.com")
    with pytest.raises(Denied):
        rest_probe.probe("rest:http://rest.example.com/r", LOGIN, None)


def options(server: FakeRest, **more: Any) -> dict[str, Any]:
    return {"url": server.url, "password": "canary-password", "restic": RESTIC or "restic", **more}


@real
@pytest.mark.parametrize("way", ["environment", "url", "task"])
def test_restic_gets_the_login(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeRest((USER, WORD)) as server:
        more: dict[str, Any] = {"environment": LOGIN}
        if way == "url":
            quoted = "canary%20%40%3A%2F%25%24%C3%A4"
            more = {"url": server.url.replace("http://", f"http://{USER}:{quoted}@")}
        elif way == "task":
            more = {}
            for name, value in LOGIN.items():
                monkeypatch.setenv(name, value)
        opened = Repository.open(options(server, **more))
        assert opened.url == server.url and "canary" not in repr(opened) + opened.target
        assert not opened.exists()
        identity = opened.init()
        (tmp_path / "file").write_text("content")
        made = opened.backup_directory(tmp_path, host="h")
        assert opened.identify() == identity and opened.snapshot(made.snapshot).tree == made.tree
        opened.check()
    # Never once without, or with another.
    assert len(set(server.asked)) == 1


@real
def test_a_copy_between_two_servers_gives_each_its_own_login(tmp_path: Path) -> None:
    with FakeRest((USER, WORD)) as one, FakeRest(("other", "canary-other")) as two:
        other = {"RESTIC_REST_USERNAME": "other", "RESTIC_REST_PASSWORD": "canary-other"}
        source = Repository.open(options(one, environment=LOGIN))
        source.init()
        (tmp_path / "file").write_text("content")
        source.backup_directory(tmp_path, host="h")
        copied = recrypt.plan(source, Repository.open(options(two, environment=other)), None).apply(Silent())
        assert len(copied["snapshots_copied"]) == 1 and "canary" not in str(copied)
    assert len(set(one.asked)) == 1 and len(set(two.asked)) == 1


def test_authorities_of_both_vouch_in_a_copy(tmp_path: Path) -> None:
    program = ResticProgram(tmp_path)
    for name in ("one.pem", "two.pem"):
        (tmp_path / name).touch()
    given = {"password": "canary", "restic": str(program.path)}
    source = Repository.open({**given, "url": "rest:https://one/r", "ca_cert": str(tmp_path / "one.pem")}).as_source()
    for url, more, both in (
        ("rest:https://two/r", {"ca_cert": str(tmp_path / "two.pem")}, f"--cacert {tmp_path}/two.pem "),
        ("sftp:two:/r", {}, ""),
    ):
        there = Repository.open({**given, **more, "url": url})
        there._identity = "known"
        there.copy_from(source, ["a" * 64])
        assert f" {both}--cacert {tmp_path}/one.pem copy " in program.calls[-1]


def test_nothing_of_another_login_counts_beside_that_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ResticProgram(tmp_path)
    monkeypatch.setenv("AZURE_ACCOUNT_SAS", "of-the-task")
    login = {"AZURE_ACCOUNT_NAME": "ours", "AZURE_ACCOUNT_KEY": "canary"}
    given = {"password": "canary", "restic": str(program.path)}
    source = Repository.open({**given, "url": "azure:box:/r", "environment": login})
    Repository.open({**given, "url": "/srv/r"}).copy_from(source.as_source(), ["a" * 64])
    assert "copy" in program.calls[-1] and program.environment["AZURE_ACCOUNT_KEY"] == "canary"
    assert "AZURE_ACCOUNT_SAS" not in program.environment


def test_two_logins_by_the_same_variables_are_refused(tmp_path: Path) -> None:
    program = ResticProgram(tmp_path)

    def opened(key: str) -> Repository:
        login = {"B2_ACCOUNT_ID": "id", "B2_ACCOUNT_KEY": key}
        given = {"url": f"b2:bucket-{key}:r", "password": "canary", "restic": str(program.path), "environment": login}
        return Repository.open(given)

    with pytest.raises(InvalidInput, match="restic has one B2_ACCOUNT_KEY for both") as raised:
        recrypt.plan(opened("canary-one"), opened("canary-two"), None)
    assert "canary" not in raised.value.reason


def test_a_login_of_the_source_is_not_sent_to_a_destination_without_one(tmp_path: Path) -> None:
    program = ResticProgram(tmp_path)
    given = {"url": "gs:one:/r", "password": "canary", "restic": str(program.path)}
    source = Repository.open({**given, "environment": {"GOOGLE_ACCESS_TOKEN": "canary-token"}})
    with pytest.raises(InvalidInput, match="restic has one GOOGLE_ACCESS_TOKEN for both"):
        recrypt.plan(source, Repository.open({**given, "url": "gs:two:/r"}), None)


def test_nothing_of_another_login_in_the_tasks_environment_counts_beside_the_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ResticProgram(tmp_path)
    for name in ("AZURE_ACCOUNT_SAS", "AZURE_ACCOUNT_NAME", "OS_USERNAME"):
        monkeypatch.setenv(name, "of-the-task")
    given = {"url": "azure:box:/r", "password": "canary", "restic": str(program.path)}
    login = {"AZURE_ACCOUNT_NAME": "ours", "AZURE_ACCOUNT_KEY": "canary"}
    opened = Repository.open({**given, "environment": login})
    assert opened.credentials() == login
    assert "AZURE_ACCOUNT_SAS" not in opened.environment() and opened.environment()["OS_USERNAME"] == "of-the-task"
    assert Repository.open(given).credentials() == {
        "AZURE_ACCOUNT_SAS": "of-the-task",
        "AZURE_ACCOUNT_NAME": "of-the-task",
    }
