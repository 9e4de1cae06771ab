from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

DURING = Path(__file__).resolve().parents[2] / "sites" / "during"
# Says a line, has a child in a session of its own that would write a file, and ends by itself after a while.
PROGRAM = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3); open(r'{file}', 'w').write('alive')"],
                 start_new_session=True)
print("TASK [cut]", flush=True)
time.sleep({seconds})
print("end", flush=True)
"""


def during(*words, file="/dev/null", seconds=20):
    program = [sys.executable, "-c", PROGRAM.format(file=file, seconds=seconds)]
    return subprocess.run(
        [sys.executable, DURING, *words, "--", *program], capture_output=True, text=True, timeout=60, check=False
    )


def test_everything_is_killed_wherever_it_is(tmp_path):
    started = time.monotonic()
    done = during("--line", "cut", "--kill", file=tmp_path / "alive")
    assert done.returncode == 137 and "end" not in done.stdout
    assert time.monotonic() - started < 15
    time.sleep(max(0, 4 - (time.monotonic() - started)))
    assert not (tmp_path / "alive").exists()


def test_a_command_is_run_beside_the_program(tmp_path):
    done = during("--line", "cut", "--run", f"touch {tmp_path}/touched", seconds=1)
    assert done.returncode == 0 and "end" in done.stdout
    assert (tmp_path / "touched").exists()


def test_a_probe_tells_the_moment(tmp_path):
    (tmp_path / "there").touch()
    done = during("--probe", f"test -e {tmp_path}/there", "--kill")
    assert done.returncode == 137


def test_a_moment_that_does_not_come_is_a_failure():
    assert during("--line", "never", "--kill", seconds=0).returncode == 97
    assert during("--line", "cut", "--after", "5", "--kill", seconds=0).returncode == 97


def test_a_command_that_fails_is_a_failure():
    assert during("--line", "cut", "--run", "false", seconds=1).returncode == 98
