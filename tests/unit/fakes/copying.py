# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's own copy between fake registries."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._oci import blob, layout, registry, transport
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import Copier, Route, Tally
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries, Registry
from ansible_collections.muster.container_dr.plugins.module_utils._oci.spool import Spool
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import Endpoint, Transport
from fakes.registry import FakeRegistry


def alone(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No patience, nobody's logins and no proxies."""
    for module in (transport, registry, blob, layout):
        monkeypatch.setattr(module, "backoff", lambda _attempt: 0.001)
    for name in ("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    for name in urllib.request.getproxies():
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


def connect(*fakes: FakeRegistry, keyring: Keyring | None = None, **reach: Any) -> Registries:
    """Clients of the fakes, all reached as ``reach`` says."""
    endpoints = [Endpoint(fake.host, **{"plain_http": True, **reach}) for fake in fakes]
    return Registries(Transport(endpoints), keyring or Keyring())


@contextmanager
def client(fake: FakeRegistry, keyring: Keyring | None = None, **reach: Any) -> Iterator[Registry]:
    """The engine's client of one fake."""
    registries = connect(fake, keyring=keyring, **reach)
    try:
        yield registries.at(fake.host)
    finally:
        registries.close()


def copy(
    source: FakeRegistry,
    target: FakeRegistry,
    digest: str,
    *,
    repository: str = "app",
    to: str = "backup/app",
    write: bool = True,
    keyring: Keyring | None = None,
    workers: int = 4,
    spool: Spool | None = None,
    **reach: Any,
) -> Tally:
    registries = connect(source, target, keyring=keyring, **reach)
    tally = Tally()
    copier = Copier(registries.at(target.host), write=write, workers=workers, spool=spool)
    try:
        copier.copy(Route(registries.at(source.host), repository, to), digest, tally)
    finally:
        copier.close()
        registries.close()
    return tally


def same(source: FakeRegistry, target: FakeRegistry, *, repository: str = "app", to: str = "backup/app") -> None:
    """The whole content arrived, byte for byte."""
    assert target.repository(to).blobs == source.repository(repository).blobs
    copied = {digest: data for digest, (data, _type) in target.repository(to).manifests.items()}
    for digest, (data, _type) in source.repository(repository).manifests.items():
        assert copied[digest] == data
