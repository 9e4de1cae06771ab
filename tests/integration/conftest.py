# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two real sites, a repository, and a namespace for each test."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sites import JSON, ROOT, Site, ad_hoc, bed, result_of


@pytest.fixture(scope="session")
def facts() -> JSON:
    path = ROOT / ".work" / "sites" / "bed.json"
    assert path.exists(), "The sites are not up; run 'make sites'."
    bed("heal")
    value: JSON = json.loads(path.read_text(encoding="utf-8"))
    return value


@pytest.fixture(scope="session")
def repository(facts: JSON) -> JSON:
    """A repository of these tests in east's object store."""
    store = facts["sites"]["east"]["s3"]
    return {
        "url": f"s3:{store['endpoint_url']}/muster/tests-{uuid.uuid4().hex[:8]}",
        "password_file": facts["repository_password_file"],
        "access_key": store["access_key"],
        "secret_key": Path(store["secret_key_file"]).read_text(encoding="utf-8").strip(),
        "region": store["region"],
        "ca_cert": facts["ca_file"],
        "restic": facts["tools"]["restic"],
    }


@pytest.fixture(scope="session")
def sites(facts: JSON, repository: JSON) -> tuple[Site, Site]:
    east, west = (Site(name, facts, repository) for name in ("east", "west"))
    made = result_of(ad_hoc("repository", {"state": "present", "repository": repository}))
    assert not made["failed"], made["msg"]
    return east, west


@pytest.fixture
def east(sites: tuple[Site, Site]) -> Site:
    return sites[0]


@pytest.fixture
def west(sites: tuple[Site, Site]) -> Site:
    return sites[1]


@pytest.fixture
def namespace(east: Site, west: Site) -> Iterator[str]:
    """A namespace at east; what is made of that name anywhere goes afterwards."""
    name = f"bad-day-{uuid.uuid4().hex[:8]}"
    east.kubectl("create", "namespace", name)
    yield name
    for site in (east, west):
        site.end()
        site.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
