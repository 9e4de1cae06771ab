"""Nothing that the bed started goes on when the bed is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _bed import leftovers, steps

SITES = Path(steps.__file__).parents[1]
# What `up` does: programs run in threads, and start programs themselves (as `go build` does).
PARENT = """
import signal, sys
from pathlib import Path
from _bed import steps

steps.GRACE = 1.0
signal.signal(int(sys.argv[1]), steps.interrupted)
folder = Path(sys.argv[2])

def work(name):
    script = sys.argv[3] + " sleep 300 & echo $! $$ >" + name + ".part; mv " + name + ".part " + name + "; wait"
    try:
        steps.run(["sh", "-c", script], cwd=folder)
    finally:
        steps.run(["touch", name + ".tidied"], cwd=folder)

try:
    steps.together(lambda: work("one"), lambda: work("two"))
except KeyboardInterrupt:
    sys.exit(130)
"""


def until(ready, timeout=20):
    end = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("before", ["", "trap '' TERM;"], ids=["willing", "deaf"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_children_of_all_threads_end_with_the_bed(tmp_path, number, before):
    words = [sys.executable, "-c", PARENT, str(int(number)), str(tmp_path), before]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(SITES)}) as parent:
        until(lambda: all((tmp_path / name).exists() for name in ("one", "two")))
        children = [int(word) for name in ("one", "two") for word in (tmp_path / name).read_text().split()]
        assert len(children) == 4 and all(leftovers.alive(child) for child in children)
        parent.send_signal(number)
        try:
            assert parent.wait(timeout=20) == 130
        finally:
            parent.kill()
    until(lambda: not any(leftovers.alive(child) for child in children), timeout=1)
    assert (tmp_path / "one.tidied").exists() and (tmp_path / "two.tidied").exists()


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(tmp_path):
    script = "sleep 300 & echo $! $$ >ids; wait"
    with pytest.raises(steps.BedError, match="took longer than 1 s"):
        steps.run(["sh", "-c", script], cwd=tmp_path, timeout=1)
    assert not any(leftovers.alive(int(word)) for word in (tmp_path / "ids").read_text().split())


def test_nothing_is_waited_for_after_an_interrupt(monkeypatch):
    monkeypatch.setattr(steps, "GRACE", 0.2)
    steps._ending.set()
    try:
        with pytest.raises(steps.BedError, match="interrupted"):
            steps.wait_for("This", lambda: False, 60)
        with pytest.raises(steps.BedError, match="took longer"):
            steps.run(["sleep", "300"])
    finally:
        steps._ending.clear()
