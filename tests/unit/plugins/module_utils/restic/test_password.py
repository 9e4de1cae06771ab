# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords by option, file, command and environment, and that none is ever told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import password

CANARY = "canary, with 'white' space"


def test_every_way_gives_the_same_without_white_space_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    for text in (CANARY, f"{CANARY}\n", f"\ufeff {CANARY}\r\n\n"):
        file.write_text(text, encoding="utf-8", newline="")
        assert password.given({"password_file": str(file)}) == CANARY
    ways: list[dict[str, Any]] = [
        {"password": f"{CANARY}\n"},
        {"password_command": ["cat", str(file).replace("file", "command")]},
        {"password_command": f"cat '{tmp_path}/command'"},
    ]
    (tmp_path / "command").write_text(f"{CANARY}\n", encoding="utf-8")
    assert [password.given(way) for way in ways] == [CANARY] * 3
    for name, value in (("PASSWORD", CANARY), ("PASSWORD_FILE", str(file)), ("PASSWORD_COMMAND", f"cat {file}")):
        file.write_text(CANARY, encoding="utf-8")
        monkeypatch.setenv(f"RESTIC_{name}", value)
        assert password.of_environment() == CANARY
        monkeypatch.delenv(f"RESTIC_{name}")


def test_nothing_set_is_no_password() -> None:
    assert password.given({"password": "", "password_file": None}) is None and password.of_environment() is None


def test_a_command_is_no_shell(tmp_path: Path) -> None:
    words = f"echo a;touch {tmp_path}/made $HOME"
    assert password.given({"password_command": words}) == f"a;touch {tmp_path}/made $HOME"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"password": "a", "password_file": "b"}, InvalidInput, "x.password and x.password_file are both set"),
        ({"password": " \n"}, InvalidInput, "x.password: it is empty"),
        ({"password": "a\0b"}, InvalidInput, "zero byte"),
        ({"password_file": "/nowhere/file"}, InvalidInput, "x.password_file /nowhere/file: No such file"),
        ({"password_file": "/bin/sh"}, InvalidInput, "not UTF-8"),
        ({"password_command": "'"}, InvalidInput, "neither a list of words nor a line"),
        ({"password_command": 7}, InvalidInput, "neither a list of words nor a line"),
        (
            {"password_command": ["/nowhere/program", "canary"]},
            InvalidInput,
            "/nowhere/program: it could not be started",
        ),
        ({"password_command": ["true", "canary"]}, InvalidInput, "x.password_command true: it is empty"),
        ({"password_command": ["cat", "/bin/sh"]}, InvalidInput, "not UTF-8"),
        ({"password_command": ["sh", "-c", "exit 7", "canary"]}, MusterError, r"exit code 7 \(and said nothing\)"),
    ],
)
def test_what_gives_no_password(options: dict[str, Any], kind: type[MusterError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        password.given(options, "x.")
    assert "canary" not in str(raised.value)


def test_what_a_command_complains_of_holds_no_secret() -> None:
    script = "echo canary-found; echo vault at https://v: canary-found does not fit, token=canary-token, $0 >&2; exit 2"
    with pytest.raises(MusterError, match=r"exit code 2 .*vault at https://v") as raised:
        password.given({"password_command": ["sh", "-c", script, "canary-argument"]})
    assert "canary" not in str(raised.value)


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "COMMAND_TIMEOUT", 0.2)
    with pytest.raises(Unavailable, match="did not end within"):
        password.given({"password_command": ["sleep", "600"]})
