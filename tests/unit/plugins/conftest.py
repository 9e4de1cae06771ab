# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two registries that let everybody in; a test file that needs others has fixtures of these names itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible.module_utils.common import warnings
from fakes.registry import FakeRegistry


@pytest.fixture(autouse=True)
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module warns in a process of its own: what others have warned of before is not in its result."""
    monkeypatch.setattr(warnings, "_global_warnings", {})


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def west() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry
