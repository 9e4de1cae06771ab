# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in containers whose connection does not come about: the real client, a server that refuses."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.api_server import running
from kubernetes.stream import ws_client

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Interrupted, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster


def execute(url: str) -> None:
    Cluster.connect({"host": url}).exec("shop", "db-0", "main", ["freeze"])


def test_the_servers_words_are_said() -> None:
    with running() as server:
        server.broken["/api/v1/namespaces/shop/pods"] = 403
        with pytest.raises(Unavailable, match=r"in pod shop/db-0: Forbidden by the fake\. Check that the pod runs"):
            execute(server.url)


def test_a_server_that_is_gone() -> None:
    with running() as server:
        url = server.url
    with pytest.raises(Unavailable, match="refused"):
        execute(url)


def test_the_end_of_the_task_is_not_taken_for_an_error_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_arguments: Any, **_options: Any) -> None:
        raise Interrupted("finish", "the export", "it was ended by SIGTERM")

    monkeypatch.setattr(ws_client, "WSClient", end)
    with pytest.raises(Interrupted):
        execute("http://192.0.2.1:1")
