# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repositories behind SFTP: what ssh is told, and what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import RESTIC, real
from fakes.restic_program import ResticProgram
from fakes.ssh_server import sftp_server

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes, recrypt
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository

URL = "sftp:muster@nas.example.com:/srv/r"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name in ("key", "known"):
        (tmp_path / name).write_text("canary\n")
    return {"ssh_key_file": str(tmp_path / "key"), "ssh_known_hosts": str(tmp_path / "known")}


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ssh that goes nowhere, and notes its arguments in the file."""
    program, calls = tmp_path / "bin/ssh", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {calls}\ncat {tmp_path}/said >&2 2> /dev/null && exit 255\nexit 0\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return calls


def opened(program: ResticProgram, **more: Any) -> Repository:
    return Repository.open({"url": URL, "password": "canary", "restic": str(program.path), **more})


@pytest.mark.usefixtures("quiet")
def test_ssh_asks_nobody_and_takes_the_files(tmp_path: Path, files: dict[str, str]) -> None:
    program = ResticProgram(tmp_path)
    opened(program, **files).identify()
    (call,) = [line for line in program.calls if "cat config" in line]
    assert "canary" not in call and "-o sftp.args=-o BatchMode=yes -o LogLevel=ERROR " in call
    for option in (
        f"IdentityFile={files['ssh_key_file']} -o IdentitiesOnly=yes",
        f"UserKnownHostsFile={files['ssh_known_hosts']} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes",
    ):
        assert f" -o {option}" in call
    opened(program).identify()
    assert "BatchMode=yes" in program.calls[-1] and "IdentityFile" not in program.calls[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ssh_key_file": "/nowhere/key"}, "there is no such file"),
        ({"url": "/srv/r"}, "not behind SFTP"),
    ],
)
def test_files_of_no_use_are_refused(tmp_path: Path, files: dict[str, str], change: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        opened(ResticProgram(tmp_path), **{**files, **change})


@pytest.mark.parametrize("name", ["with space", "quote'", "percent%h", "back\\slash", "dollar$x"])
def test_a_path_that_would_not_arrive_at_ssh_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match="cannot pass this path"):
        opened(ResticProgram(tmp_path), ssh_key_file=str(tmp_path / name))


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (["Host key verification failed."], Denied, "host key is not the one"),
        (
            ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Someone could be eavesdropping"],
            Denied,
            "host key",
        ),
        (["muster@nas: Permission denied (publickey)."], Denied, "does not accept the key .*publickey"),
        (["ssh: connect to host nas port 22: Connection refused"], Unavailable, "does not answer .*Connection refused"),
        (["ssh: Could not resolve hostname nas: Name or service not known"], Unavailable, "does not answer"),
        (
            [
                "This private key will be ignored.",
                'Load key "/k": bad permissions',
                "nas: Permission denied (publickey).",
            ],
            Denied,
            r'cannot use the private key \(Load key "/k": bad permissions\)',
        ),
        ([], Unavailable, "did not say why"),
        (["Timeout, server nas not responding."], MusterError, "not responding"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_what_ssh_said_is_the_reason(tmp_path: Path, said: list[str], kind: type[MusterError], words: str) -> None:
    program = ResticProgram(tmp_path)
    message = "Fatal: unable to open repository at sftp:u@h:/r: unable to start the sftp session, error: unexpected EOF"
    fatal = {"message_type": "exit_error", "code": 1, "message": message}
    program.answer(
        "cat", code=1, error="".join(f"subprocess ssh: {line}\n" for line in said) + json.dumps(fatal) + "\n"
    )
    with pytest.raises(MusterError, match=words) as raised:
        opened(program).identify()
    assert raised.type is kind


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sftp:u@NAS:/srv/r", "NAS -l u "),
        ("sftp:NAS:r", "NAS -o "),
        ("sftp://a@b@nas:2222//srv/r", "nas -p 2222 -l a@b "),
        ("sftp://u@[fd00::1]:22//r", "fd00::1 -p 22 -l u "),
    ],
)
def test_ssh_is_called_as_restic_calls_it(
    tmp_path: Path, quiet: Path, files: dict[str, str], url: str, words: str
) -> None:
    opened(ResticProgram(tmp_path), url=url, **files).identify()
    (call,) = quiet.read_text().splitlines()
    assert call.startswith(words) and call.endswith(" -o StrictHostKeyChecking=yes -s sftp")


def test_why_ssh_cannot_log_in_is_said_before_restic_is_asked(tmp_path: Path, quiet: Path) -> None:
    """restic ends before all that ssh said has reached it."""
    program = ResticProgram(tmp_path)
    said = (
        "No ED25519 host key is known for nas and you have requested strict checking.\nHost key verification failed.\n"
    )
    (tmp_path / "said").write_text(said)
    with pytest.raises(Denied, match=r"host key is not the one that is known of it .Host key verification failed"):
        opened(program).identify()
    assert quiet.exists() and not any("cat config" in call for call in program.calls)


def test_a_machine_without_ssh_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ResticProgram(tmp_path)
    repository = opened(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="no program ssh"):
        repository.identify()


@pytest.mark.parametrize("url", ["sftp:-oProxyCommand=touch:/r", "sftp://-oProxyCommand=touch/r", "sftp:u@:/r"])
def test_an_option_of_ssh_is_no_server(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="names no server"):
        opened(ResticProgram(tmp_path), url=url).identify()


def test_an_image_without_ssh_is_told_so() -> None:
    said = 'exec: "ssh": executable file not found in $PATH'
    error = exit_codes.problem("open", "r", 1, f"Fatal: unable to open repository at {URL}: {said}")
    assert "there is no ssh where restic runs" in str(error) and error.__class__ is MusterError


def test_what_ssh_said_is_not_the_reason_of_something_else() -> None:
    assert exit_codes.last_said(["subprocess ssh: a notice", "Fatal: no space left"]) == "Fatal: no space left"
    assert exit_codes.last_said([]) == ""


def test_a_copy_between_two_of_them_needs_one_login(tmp_path: Path, files: dict[str, str]) -> None:
    program = ResticProgram(tmp_path)
    other = opened(program, url="sftp:u@other:/r")
    with pytest.raises(InvalidInput, match="restic has one ssh_key_file and ssh_known_hosts for both"):
        recrypt.plan(opened(program, **files), other, None)
    assert "-o" in opened(program, **files).as_source().flags


@real
def test_restic_works_behind_it(tmp_path: Path) -> None:
    with sftp_server(tmp_path, "backup") as place:
        options = {"password": "canary", "restic": RESTIC or "restic", **place}
        there = Repository.open(options)
        assert not there.exists()
        identity = there.init()
        assert Repository.open(options).identify() == identity and (tmp_path / "kept/east/config").is_file()
        (tmp_path / "others").touch()
        with pytest.raises(Denied, match="host key is not the one"):
            Repository.open({**options, "ssh_known_hosts": str(tmp_path / "others")}).identify()
        with pytest.raises(Denied, match="does not accept the key"):
            Repository.open({**options, "url": place["url"].replace("backup@", "other@")}).identify()
    with pytest.raises(Unavailable, match=r"does not answer .*refused"):
        Repository.open(options).identify()
