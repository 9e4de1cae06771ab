# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of others: input, output, time limits, and nothing left running."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import process


def python(code: str) -> list[str]:
    """A program that is on every machine."""
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    """Whether a process ends within a second or two (it may be a zombie of init for a moment)."""
    for _attempt in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_input_output_and_exit_code() -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.stderr.write('no'); sys.exit(3)"
    assert process.run(python(code), data=b"abc", timeout=60) == process.Finished(3, b"cba", b"no")


def test_it_has_no_terminal_and_only_the_environment_it_was_given() -> None:
    code = "import os; print(os.getsid(0) == os.getpid(), sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    assert process.run(python(code), timeout=60, env={"ONE": "1"}).out == b"True ['ONE']\n"


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    running: process.Process[bytes] = process.Process(python(code))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    running.stop()
    assert running.returncode == -15
    assert gone(int((tmp_path / "pid").read_text()))
    running.stop()  # a second time does nothing


def test_a_program_that_ignores_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    reader, writer = os.pipe()
    running: process.Process[bytes] = process.Process(python(code), stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        assert output.readline() == b"ready\n"
        running.stop(grace=0.1)
    assert running.returncode == -9


def test_a_time_limit_shows_no_argument() -> None:
    with pytest.raises(TimeoutError) as caught:
        process.run(python("import time; time.sleep(600) # canary"), timeout=0.2)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_program_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        process.run(["/nonexistent/program"], timeout=5)
