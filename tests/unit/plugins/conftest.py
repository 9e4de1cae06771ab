# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two registries that let everybody in; a test file that needs others has fixtures of these names itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.registry import FakeRegistry


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def west() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry
