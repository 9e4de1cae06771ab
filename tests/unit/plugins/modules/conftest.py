# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository of the real restic; a test file that needs another has a fixture of this name itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.real_restic import Bed


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without snapshots."""
    bed = Bed(tmp_path_factory.mktemp("empty"))
    bed.restic("init", "-q")
    bed.hasten()
    return Path(bed.options["url"])


@pytest.fixture
def bed(tmp_path: Path, empty: Path) -> Bed:
    shutil.copytree(empty, tmp_path / "repository")
    return Bed(tmp_path)
