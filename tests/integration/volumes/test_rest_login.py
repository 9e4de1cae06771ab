# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository on a REST server with a login: there from pods of east, and back to pods of west."""

from __future__ import annotations

import json
import socket
import sys
from urllib.parse import urlsplit

from ..sites import ROOT, Site, good, run
from .conftest import bring, claim, export, held, shell

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from fakes.rest_server import FakeRest

USER, WORD = "backup", "canary '$HOME\"\n"


def here(site: Site) -> str:
    """An address of this machine that the site's pods reach."""
    far = urlsplit(site.store("")["endpoint_url"]).hostname
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((str(far), 9))
        return str(towards.getsockname()[0])


def test_movers_log_in_at_a_server(east: Site, west: Site, namespace: str) -> None:
    east.apply(claim(namespace, "data"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "echo content > /data/file; sync")
    with FakeRest((USER, WORD), address=here(east)) as server:
        repository = {key: east.repository[key] for key in ("password_file", "restic")} | {"url": server.url}
        login = {"RESTIC_REST_USERNAME": USER, "RESTIC_REST_PASSWORD": WORD}
        refused = export(east, namespace, repository=repository)
        assert refused["failed"] and "refuses who has no login" in refused["msg"]
        repository["environment"] = login
        good(run("repository", state="present", repository=repository))
        server.asked.clear()
        taken = good(export(east, namespace, repository=repository))
        west.kubectl("create", "namespace", namespace)
        good(bring(west, namespace, taken["volumes"], repository=repository))
        assert len(set(server.asked)) == 1, "somebody came with another login"
    held(west, namespace, "reader", "data")
    assert shell(west, namespace, "reader", "cat /data/file") == "content\n"
    assert "canary" not in json.dumps(taken)
