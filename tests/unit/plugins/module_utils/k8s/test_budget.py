# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that turns requests away is asked less at once, and more again when it takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fakes.serving import Serving

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import budget
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster

WORKERS = 16
ROOM = 3
REQUESTS = 300


class BusyServer(Serving):
    """Answers at most ``ROOM`` requests at once; those beyond get 429.

    The first ones wait until as many as there are workers are under way, at most ``patience`` seconds: how many come at
    once is then no matter of the machine's speed.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.start_over(patience=60)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"busy": self}))
        self.server.daemon_threads = True

    def start_over(self, *, patience: float) -> None:
        self.under_way = self.most = self.refused = 0
        self.gathered, self.until = False, time.monotonic() + patience

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self) -> bool:
        """Whether there is room for one more."""
        with self.changed:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            taken = self.under_way <= ROOM
            self.refused += not taken
            self.gathered = self.gathered or self.under_way >= WORKERS
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.gathered, timeout=max(0.0, self.until - time.monotonic()))
        time.sleep(0.01)
        with self.changed:
            self.under_way -= 1
        return taken


class _Handler(BaseHTTPRequestHandler):
    busy: BusyServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"{}"
        self.send_response(200 if self.busy.take() else 429)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A test says what it has to say itself."""


@pytest.fixture
def busy() -> Iterator[BusyServer]:
    with BusyServer() as server:
        yield server


def test_a_busy_server_is_asked_less_at_once(busy: BusyServer) -> None:
    cluster = Cluster.connect({"host": busy.url}, workers=WORKERS)

    def ask(_number: int) -> None:
        cluster.request("GET", "/version")

    outcomes = pool.each(range(REQUESTS), ask, workers=WORKERS)
    assert [one.error for one in outcomes if one.error] == []
    assert busy.most == WORKERS and busy.refused >= WORKERS - ROOM
    busy.start_over(patience=0.5)
    outcomes = pool.each(range(REQUESTS), ask, workers=WORKERS)
    assert [one.error for one in outcomes if one.error] == []
    # Halved at least once, and 600 answers let it grow by less than four.
    assert busy.most < WORKERS // 2 + 4


def test_the_limit_is_halved_once_a_moment_and_never_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(budget.time, "monotonic", lambda: now)
    mine = budget.Budget(8)
    for _request in range(8):
        mine.too_many()
    assert mine.limit == 4
    limits = []
    for _moment in range(4):
        now += 1.0
        mine.too_many()
        limits.append(mine.limit)
    assert limits == [2, 1, 1, 1]
    for _answer in range(800):
        mine.taken()
    assert mine.limit == 8
