# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its real ``main()``, with a restic that answers from a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args
from fakes.rest_server import FakeRest
from fakes.restic_program import ID, ResticProgram

from ansible_collections.muster.container_dr.plugins.modules import repository

CANARY = "canary-password"
Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    return ResticProgram(tmp_path)


@pytest.fixture
def run(restic: ResticProgram, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(state: str = "present", check: bool = False, **options: Any) -> dict[str, Any]:
        more = {key: options.pop(key) for key in ("check_data",) if key in options}
        values = {"url": "/srv/repository", "password": CANARY, "restic": str(restic.path), **options}
        arguments = {"state": state, "repository": values, "_ansible_check_mode": check, **more}
        if "inject_invocation" in PASS_VARS:
            # Older releases of ansible-core always give the options back.
            arguments["_ansible_inject_invocation"] = True
        with patch_module_args(arguments), pytest.raises(SystemExit):
            repository.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert CANARY not in json.dumps({**result, "invocation": None})
        assert not any(CANARY in line for line in restic.calls)
        return result

    return call


def test_present_makes_it_where_there_is_none(run: Runner, restic: ResticProgram) -> None:
    restic.absent()
    result = run()
    assert (result["changed"], result["id"]) == (True, ID) and result["msg"].startswith("Made repository /srv")
    assert "--json --no-cache init --repository-version 2" in restic.calls
    again = run()
    assert (again["changed"], again["id"]) == (False, ID) and again["msg"].startswith("Found")
    assert sum("init" in line for line in restic.calls) == 1


def test_present_leaves_one_that_is_there(run: Runner, restic: ResticProgram) -> None:
    assert run()["changed"] is False and not restic.called("init")


@pytest.mark.parametrize("check", [True, False])
def test_a_part_of_the_data_that_is_none_is_no_damage(run: Runner, restic: ResticProgram, check: bool) -> None:
    result = run("checked", check, check_data="5")
    assert result["failed"] and "check_data is '5'" in result["msg"] and "Do not prune" not in result["msg"]
    assert not restic.calls


def test_check_mode_makes_none(run: Runner, restic: ResticProgram) -> None:
    restic.absent()
    result = run(check=True)
    assert (result["changed"], result["id"]) == (True, None) and not restic.called("init")


@pytest.mark.parametrize("check", [False, True])
def test_checked_never_makes_one(run: Runner, restic: ResticProgram, check: bool) -> None:
    restic.absent()
    result = run("checked", check)
    assert result["failed"] and "no repository at this address" in result["msg"] and "state: present" in result["msg"]
    assert not restic.called("init")


@pytest.mark.parametrize("state", ["present", "checked"])
def test_a_repository_with_another_id_is_refused(run: Runner, restic: ResticProgram, state: str) -> None:
    assert run(state, id=ID)["id"] == ID
    result = run(state, id="f" * 64)
    assert result["failed"] and f"its id is {ID}" in result["msg"] and "expected was fff" in result["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_none_is_made_where_a_certain_one_is_expected(run: Runner, restic: ResticProgram, check: bool) -> None:
    restic.absent()
    result = run(check=check, id="f" * 64)
    assert result["failed"] and "no repository at this address" in result["msg"] and not restic.called("init")


@pytest.mark.parametrize(
    ("code", "said", "word"),
    [
        (12, "Fatal: wrong password or no key found", "wrong password"),
        (1, "Fatal: unable to open config file: dial tcp: connection refused", "does not answer"),
        (11, "Fatal: unable to create lock", "locked by another process"),
    ],
)
def test_what_is_wrong_with_one_is_never_taken_for_its_absence(
    run: Runner, restic: ResticProgram, code: int, said: str, word: str
) -> None:
    restic.answer("cat", code=code, error=said + "\n")
    result = run()
    assert result["failed"] and word in result["msg"] and not restic.called("init")


def test_an_old_format_or_an_old_restic_is_refused(run: Runner, restic: ResticProgram) -> None:
    restic.answer("cat", {"version": 1, "id": ID})
    assert "format version is 1" in run()["msg"]
    restic.answer("version", {"message_type": "version", "version": "0.17.3"})
    assert "0.17.3, too old" in run()["msg"]


def test_the_data_are_checked_on_request(run: Runner, restic: ResticProgram) -> None:
    run("checked")
    run("checked", check=True, check_data="10%")
    assert not restic.called("check")
    assert not run("checked", check_data="10%").get("failed")
    assert restic.calls[-1].endswith("--read-data-subset 10%")
    run("checked", check_data="")
    assert restic.calls[-1].split()[2] == "check" and "--read-data-subset" not in restic.calls[-1]
    restic.answer("check", code=1, error="pack 1234: not found\nFatal: repository contains errors\n")
    result = run("checked", check_data="")
    assert result["failed"] and "pack 1234" in result["msg"] and "it has errors" in result["msg"]


@pytest.mark.parametrize(
    "part", ["10", "ten%", "0%", "150%", "0/5", "6/5", "1/257", "1.0/2", "1.5M", "5GB", "0M", "-5%"]
)
@pytest.mark.parametrize("check", [False, True])
def test_a_part_that_there_is_not_is_no_damage(run: Runner, restic: ResticProgram, part: str, check: bool) -> None:
    """As seen with restic 0.19.1."""
    said = "Fatal: check flag --read-data-subset has invalid value, please see documentation"
    restic.answer("check", code=1, error=json.dumps({"message_type": "exit_error", "code": 1, "message": said}) + "\n")
    result = run("checked", check, check_data=part)
    assert result["failed"] and f"check_data is {part!r}" in result["msg"] and "has errors" not in result["msg"]
    assert not restic.calls


@pytest.mark.parametrize("part", ["1.5%", "100%", "1/1", "256/256", "100M", "5g", ""])
def test_parts_that_there_are(run: Runner, part: str) -> None:
    assert not run("checked", check_data=part).get("failed")


def test_restics_own_settings_do_not_leak_in(
    run: Runner, restic: ResticProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "false")
    monkeypatch.setenv("RESTIC_REPOSITORY", "/elsewhere")
    run()
    assert "RESTIC_PASSWORD_COMMAND" not in restic.environment
    assert restic.environment["RESTIC_REPOSITORY"] == "/srv/repository"
    assert restic.environment["RESTIC_PASSWORD"] == CANARY


@pytest.mark.parametrize("state", ["present", "checked"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_password_in_the_url_is_never_shown(run: Runner, restic: ResticProgram, state: str, fails: bool) -> None:
    """The way in which restic gets the login at a REST server."""
    if fails:
        message = {"message_type": "exit_error", "code": 1, "message": "Fatal: server response unexpected: 500"}
        restic.answer("cat", code=1, error=json.dumps(message) + "\n")
    with FakeRest(("muster", "canary@canary-login")) as server:
        server.objects["config"] = b"x"
        result = run(state, url=f"rest:http://muster:canary@canary-login@{server.host}/r/")
    assert bool(result.get("failed")) == fails and server.host in result["msg"]
    assert "canary" not in result["msg"] and "canary-login" not in json.dumps(result)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rest:https://user:can/ary-login@127.0.0.1:1/", "percent-encode"),
        ("rest:HTTPS://user:canary-login@127.0.0.1:1/", "does not answer"),
        ("rest:http://us er:can ary-login@127.0.0.1:1/", "does not answer"),
        ("rest:http://user:canary-login@127.0.0.1:1/r@1", "does not answer"),
        ("rest:user:canary-login@127.0.0.1:1/", "Write it as rest:https://"),
        ("s3:https://user:can/ary-login@127.0.0.1:1/b", ""),
        ("s3:user:canary-login@127.0.0.1:1/b", "it holds credentials"),
    ],
)
def test_what_stands_where_a_login_may_be_is_never_shown(
    run: Runner, url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    result = run(url=url)
    assert result["failed"] and words in result["msg"]
    assert not any(secret in json.dumps(result) for secret in ("ary-login", "can ary", "can/"))


@pytest.mark.parametrize("url", ["http://[::1]:1/a@b", "HTTP://127.0.0.1:1/a@b"])
def test_what_is_no_login_in_a_url_is_shown(run: Runner, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    assert f"repository rest:{url}: " in run(url=f"rest:{url}")["msg"]


@pytest.mark.parametrize("state", ["present", "checked"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_login_is_given_to_restic_and_never_shown(
    run: Runner, restic: ResticProgram, state: str, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the name of the user is, which is here part of the address as well: what a result says must stay true."""
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **_more: logged.append(str(text)))
    if fails:
        said = 'Fatal: Get "https://east.blob.core.windows.net/x?sig=can%2Fary%2Bkey&sv=1": canary-key, can/ary+key'
        message = {"message_type": "exit_error", "code": 1, "message": said}
        restic.answer("cat", code=1, error=json.dumps(message) + "\n")
    login = {
        "AZURE_ACCOUNT_NAME": "east",
        "AZURE_ACCOUNT_KEY": "canary-key",
        "AZURE_ACCOUNT_SAS": "sv=1&sig=can/ary+key",
    }
    result = run(state, url="azure:east:/r", environment=login)
    assert bool(result.get("failed")) == fails and "repository azure:east:/r" in result["msg"], result["msg"]
    text = json.dumps([result, logged, restic.calls])
    assert logged and not any(secret in text for secret in ("canary-key", "can/ary", "can%2Fary"))
    assert (
        restic.environment["AZURE_ACCOUNT_KEY"] == "canary-key" and restic.environment["AZURE_ACCOUNT_NAME"] == "east"
    )


def test_a_name_that_is_a_password_too_is_not_shown(run: Runner) -> None:
    login = {"B2_ACCOUNT_ID": CANARY, "B2_ACCOUNT_KEY": "canary-key"}
    assert CANARY not in json.dumps(run(url="b2:bucket:r", environment=login))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RESTIC_PASSWORD": "canary-key"}, "Set password."),
        ({"B2_ACCOUNT_ID": "x", "B2_ACCOUNT_KEY": 123456789}, "Put it in quotes"),
        ({"B2_ACCOUNT_ID": "x"}, "there is no login for it"),
        ("B2_ACCOUNT_ID=x PATH=canary-key", "it is no dictionary"),
        (["canary-key"], "it is no dictionary"),
    ],
)
def test_a_login_that_is_refused_is_not_shown(
    run: Runner, restic: ResticProgram, environment: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **_more: logged.append(str(text)))
    result = run(url="b2:bucket:r", environment=environment)
    assert result["failed"] and words in result["msg"] and not restic.calls
    text = json.dumps([result, logged])
    assert "canary-key" not in text and "123456789" not in text, text
