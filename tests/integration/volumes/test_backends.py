# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories on other servers than object stores: there from pods of east, and back to pods of west."""

from __future__ import annotations

import json
from pathlib import Path

from ..sites import JSON, Site, good, run
from .conftest import bring, claim, export, held, shell
from .servers import rest, sftp

CONTENT = "content\n"


def repository_at(site: Site, place: JSON) -> JSON:
    return {key: site.repository[key] for key in ("password_file", "restic")} | place


def there_and_back(east: Site, west: Site, namespace: str, repository: JSON) -> JSON:
    """Make the repository, back a volume up into it, and give it back elsewhere; what the backup said."""
    good(run("repository", state="present", repository=repository))
    taken = good(export(east, namespace, repository=repository))
    west.kubectl("create", "namespace", namespace)
    good(bring(west, namespace, taken["volumes"], repository=repository))
    held(west, namespace, "reader", "data")
    assert shell(west, namespace, "reader", "cat /data/file") == CONTENT
    good(run("repository", state="checked", repository=repository))
    return taken


def filled(site: Site, namespace: str) -> None:
    site.apply(claim(namespace, "data"))
    held(site, namespace, "writer", "data")
    shell(site, namespace, "writer", f"printf '{CONTENT}' > /data/file; sync".replace("\n", "\\n"))


def test_movers_log_in_at_a_rest_server(east: Site, west: Site, namespace: str, tmp_path: Path) -> None:
    filled(east, namespace)
    with rest(east, tmp_path) as place:
        repository = repository_at(east, place)
        anonymous = {key: value for key, value in repository.items() if key != "environment"}
        refused = export(east, namespace, repository=anonymous)
        assert refused["failed"] and "refuses who has no login" in refused["msg"]
        taken = there_and_back(east, west, namespace, repository)
    assert "canary" not in json.dumps(taken) + (tmp_path / "rest.log").read_text()


def test_movers_log_in_by_ssh(east: Site, west: Site, namespace: str, tmp_path: Path) -> None:
    filled(east, namespace)
    with sftp(east, tmp_path) as place:
        repository = repository_at(east, place)
        (tmp_path / "others").write_text("")
        refused = export(east, namespace, repository={**repository, "ssh_known_hosts": str(tmp_path / "others")})
        assert refused["failed"] and "host key is not the one" in refused["msg"]
        there_and_back(east, west, namespace, repository)
