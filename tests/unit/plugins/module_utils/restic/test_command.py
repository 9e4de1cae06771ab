# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a program is run: what it says, how long it may take, what it may know."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._restic import command


def run(tmp_path: Path, script: str, **options: Any) -> command.Ended:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return command.run([str(program)], env=command.environment({}), action="try", target="it", **options)


def test_messages_are_sorted(tmp_path: Path) -> None:
    seen: list[Any] = []
    ended = run(
        tmp_path,
        """
        echo '{"message_type":"status","bytes_done":1}'
        echo '{"message_type":"error","error":{"message":"denied"},"item":"/x"}' >&2
        echo '{"message_type":"summary","snapshot_id":"a"}'
        echo '{"message_type":"exit_error","code":3,"message":"Warning: some"}' >&2
        exit 3
        """,
        on_status=seen.append,
    )
    assert ended.code == 3
    assert [status["bytes_done"] for status in seen] == [1]
    assert ended.errors == ["/x: denied", "Warning: some"]
    assert ended.message("summary") == {"message_type": "summary", "snapshot_id": "a"}


def test_a_document_over_several_lines(tmp_path: Path) -> None:
    assert run(tmp_path, 'printf \'[\\n{"id": "a"}\\n]\\n\'').document == [{"id": "a"}]


def test_an_end_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="within 1 seconds"):
        run(tmp_path, "exec sleep 60", timeout=1)
    assert time.monotonic() - began < 10


def test_requests_that_keep_failing_are_given_up(tmp_path: Path) -> None:
    script = "echo 'Stat(config) returned error, retrying after 1s: dial tcp: connection refused' >&2; exec sleep 60"
    with pytest.raises(command.Stalled, match="does not answer"):
        run(tmp_path, script, patience=1)


def test_requests_that_work_again_are_not(tmp_path: Path) -> None:
    script = """
    echo 'Save(x) returned error, retrying after 1s: EOF' >&2
    echo 'Save(x) operation successful after 1 retries' >&2
    sleep 2
    """
    assert run(tmp_path, script, patience=1).code == 0


def test_settings_of_the_shell_do_not_reach_restic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "evil")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    assert "RESTIC_PASSWORD_COMMAND" not in command.environment({})
    assert command.environment({})["AWS_SESSION_TOKEN"] == "old"
    assert "AWS_SESSION_TOKEN" not in command.environment({"AWS_ACCESS_KEY_ID": "mine"})


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MusterError, match="could not be started"):
        command.run(["/nowhere/restic"], env={}, action="run", target="restic")
