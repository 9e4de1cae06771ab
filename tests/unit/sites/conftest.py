"""The bed is a program beside the collection, not a part of it: it is imported from its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sites"))

if sys.version_info < (3, 11):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def bed(tmp_path):
    from _bed.places import Bed

    return Bed(tmp_path)
