# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two registries, no patience, and nobody's logins."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._oci import blob as blob_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import registry as registry_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import transport as transport_module


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transport_module, "backoff", lambda _attempt: 0.001)
    monkeypatch.setattr(blob_module, "backoff", lambda _attempt: 0.001)
    monkeypatch.setattr(registry_module, "backoff", lambda _attempt: 0.001)
    for name in ("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    for name in urllib.request.getproxies():
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry
