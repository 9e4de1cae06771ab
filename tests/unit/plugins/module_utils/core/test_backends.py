# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins of backends: what is taken, what is refused, and what may be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

B2 = "b2:bucket:r"
S3 = "s3:https://s3.example.com/b"
REST = "rest:https://rest.example.com/r"


@pytest.mark.parametrize(
    ("url", "environment", "words"),
    [
        (B2, {"RESTIC_PASSWORD": "canary"}, "RESTIC_PASSWORD is no variable .*Set password"),
        (B2, {"RESTIC_REPOSITORY": "canary"}, "Set url"),
        (S3, {"AWS_DEFAULT_REGION": "canary"}, "Set region"),
        (B2, {"PATH": "canary"}, "PATH is no variable .*B2_ACCOUNT_ID, B2_ACCOUNT_KEY"),
        (REST, {"LD_PRELOAD": "canary"}, "LD_PRELOAD is no variable .*RESTIC_REST_USERNAME"),
        (REST, {"B2_ACCOUNT_KEY": "canary"}, "B2_ACCOUNT_KEY is no variable"),
        ("/srv/r", {"B2_ACCOUNT_KEY": "canary"}, "Leave it out"),
        ("sftp:u@h:/r", {"RESTIC_REST_PASSWORD": "canary"}, "Leave it out"),
        (B2, {"B2_ACCOUNT_KEY": 12345678}, "the value of B2_ACCOUNT_KEY is no text"),
        (B2, {"B2_ACCOUNT_KEY": "canary\0"}, "holds a zero byte"),
        ("gs:b:/", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/file"}, "there is no such file"),
    ],
)
def test_what_is_no_login_there_is_refused_by_name(url: str, environment: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        backends.given({"url": url, "environment": environment}, "repository there")
    assert raised.match(words)
    assert "canary" not in str(raised.value) and "1234" not in str(raised.value)


def test_the_keys_of_s3_have_one_source() -> None:
    keys = {"access_key": "key", "secret_key": "canary"}
    assert backends.given({"url": S3, **keys}, "r") == {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary"}
    token = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert backends.given({"url": S3, "environment": token}, "r") == token
    with pytest.raises(InvalidInput, match="Set one of the two"):
        backends.given({"url": S3, **keys, "environment": {"AWS_SESSION_TOKEN": "canary"}}, "r")


def test_what_is_empty_is_not_set() -> None:
    environment = {"OS_AUTH_URL": "https://keystone.example.com", "OS_TRUST_ID": "", "OS_TENANT_ID": None}
    assert list(backends.given({"url": "swift:box:/r", "environment": environment}, "r")) == ["OS_AUTH_URL"]


def test_the_file_of_google_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = backends.given({"url": "gs:b:/", "environment": {backends.GOOGLE_FILE: "key.json"}}, "r")
    assert found == {backends.GOOGLE_FILE: str((tmp_path / "key.json").resolve())}


@pytest.mark.parametrize(
    ("url", "environment", "missing"),
    [
        (B2, {"B2_ACCOUNT_ID": "x"}, "B2_ACCOUNT_ID and B2_ACCOUNT_KEY is not set"),
        ("azure:box:/r", {"AZURE_ACCOUNT_KEY": "x"}, "AZURE_ACCOUNT_NAME is not set"),
        ("swift:box:/r", {"ST_USER": "x", "ST_KEY": "x"}, "OS_AUTH_URL, or .*ST_AUTH and ST_USER and ST_KEY"),
        ("swift:box:/r", {"ST_USER": "x", "ST_KEY": "x", "ST_AUTH": "x"}, None),
        ("gs:b:/r", {}, None),
        (S3, {}, None),
        (REST, {}, None),
        ("sftp:u@h:/r", {}, None),
        ("/srv/r", {}, None),
    ],
)
def test_a_login_that_restic_cannot_do_without_is_missed(
    url: str, environment: dict[str, str], missing: str | None
) -> None:
    if missing is None:
        backends.require(url, environment, "r")
    else:
        with pytest.raises(InvalidInput, match=missing):
            backends.require(url, environment, "r")


@pytest.mark.parametrize(
    ("url", "bare", "user", "word"),
    [
        ("rest:https://u:p%40%2Fss@h:8000/r/", "rest:https://h:8000/r/", "u", "p@/ss"),
        ("rest:http://u:a@b@h/r", "rest:http://h/r", "u", "a@b"),
        ("rest:HTTP://u:p@h/r", "rest:http://h/r", "u", "p"),
        ("rest:http://only@[2001:db8::1]:8000/r", "rest:http://[2001:db8::1]:8000/r", "only", ""),
    ],
)
def test_a_login_is_taken_out_of_the_url_and_may_be_put_back(url: str, bare: str, user: str, word: str) -> None:
    found, login = backends.without_login(url, "r")
    assert found == bare
    assert (login.get(backends.REST_USER, ""), login.get(backends.REST_PASSWORD, "")) == (user, word)
    assert backends.without_login(backends.with_login(found, login), "r") == (found, login)


@pytest.mark.parametrize("url", [REST, "rest:http+unix:///srv/socket:/", S3, "sftp:u@h:/r", "/srv/a@b"])
def test_a_url_without_a_login_stays_as_it_is(url: str) -> None:
    assert backends.without_login(url, "r") == (url, {})


@pytest.mark.parametrize("url", ["rest:http://u:canary/1@h/r", "rest:http://u:canary@[::1/r", "rest:http://h:99999/r"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="percent-encode") as raised:
        backends.without_login(url, "repository r")
    assert "canary" not in str(raised.value)


def test_a_login_is_put_into_a_url_however_its_kind_is_written() -> None:
    login = {backends.REST_USER: "u", backends.REST_PASSWORD: "p"}
    assert backends.with_login("rest:HTTPS://h/r", login) == "rest:HTTPS://u:p@h/r"


@pytest.mark.parametrize("url", ["rest:h/r", "rest:h:8000/r", "rest://h/r", "rest:ftp://h/r"])
def test_a_rest_server_without_a_way_to_ask_it_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="Write it as rest:https://"):
        backends.without_login(url, "r")


def test_secrets_are_hidden_in_every_form_and_names_are_not() -> None:
    sas = f"?sv=2022-11-02&ss=b&sig={quote('can/ary+key=', safe='')}"
    environment = {"AZURE_ACCOUNT_NAME": "east", "AZURE_ACCOUNT_SAS": sas, "UNKNOWN": "canary"}
    hidden = set(backends.hidden(environment))
    assert {sas, "can/ary+key=", quote("can/ary+key=", safe=""), "canary"} <= hidden and "east" not in hidden
    assert backends.plain(environment) == {"east"}
    assert not set(backends.hidden(None)) and not backends.plain("B2_ACCOUNT_ID=x")
