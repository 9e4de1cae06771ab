# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import places
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused, Unavailable

HOLDER = """
import fcntl, os, sys
held = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"muster-places-{os.geteuid()}"


def full() -> NoReturn:
    raise TimeoutError


def test_no_more_than_there_are_places(folder: Path) -> None:
    with places.place("a", 2, full), places.place("a", 2, full):
        with pytest.raises(TimeoutError), places.place("a", 2, full):
            raise AssertionError("a third")
        # Another name is another budget, and who allows more finds more.
        with places.place("b", 1, full), places.place("a", 3, full):
            pass
    with places.place("a", 1, full):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_who_waits_gets_the_place_that_is_left(folder: Path) -> None:
    waited = []
    first = places.place("a", 1, full)
    first.__enter__()

    def wait() -> None:
        waited.append(True)
        if len(waited) == 3:
            first.__exit__(None, None, None)

    with places.place("a", 1, wait):
        assert len(waited) == 3


def test_a_process_that_is_killed_frees_its_place(folder: Path) -> None:
    with places.place("a", 1, full):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "a-0")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError), places.place("a", 1, full):
            raise AssertionError("held twice")
        holder.kill()
        holder.wait()
        with places.place("a", 1, full):
            pass


def test_a_folder_of_somebody_else_is_not_used(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(Refused, match="not a private folder"), places.place("a", 1, full):
        raise AssertionError("used")


def test_a_place_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "a-0").symlink_to(tmp_path / "victim")
    with pytest.raises(Unavailable, match="TMPDIR"), places.place("a", 1, full):
        raise AssertionError("used")
    assert not (tmp_path / "victim").exists()
