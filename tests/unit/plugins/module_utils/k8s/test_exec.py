# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in containers: the real client, a server that runs them, refuses, hangs or breaks off."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import websocket
from fakes.api_server import ApiServer, running, websocket_frame

from ansible_collections.muster.container_dr.plugins.module_utils._core import exchange
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Interrupted,
    InvalidInput,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import command_stream, hook
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster, ExecResult

DONE = (3, b'{"metadata":{},"status":"Success"}')
NOT_FOUND = 'failed to start exec "4f": OCI runtime exec failed: exec: "freeze": executable file not found in $PATH'
Frames = Iterable["tuple[int, bytes] | bytes | None"]


def ended(code: int) -> tuple[int, bytes]:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
    return 3, json.dumps(status).encode()


def never_ran() -> tuple[int, bytes]:
    """What a node says where the command is not in the container: its causes hold no exit code."""
    causes = [{"message": "error executing command in container"}]
    status = {"status": "Failure", "message": NOT_FOUND, "code": 500, "details": {"causes": causes}}
    return 3, json.dumps(status).encode()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as state:
        state.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "namespace": "shop"}})
        yield state


def execute(url: str, timeout: float = 30.0, **connection: Any) -> ExecResult:
    cluster = Cluster.connect({"host": url, **connection})
    return cluster.exec("shop", "db-0", "main", ["freeze", "--all tables"], timeout=timeout)


def answering(server: ApiServer, *frames: tuple[int, bytes] | None) -> None:
    server.execute = lambda _command, _query, _headers: frames


# -- commands that run ------------------------------------------------------------------------------------------------


def test_what_a_command_prints_and_how_it_ends(server: ApiServer) -> None:
    asked: list[tuple[list[str], str]] = []

    def run(command: list[str], query: dict[str, str], _headers: Any) -> Frames:
        asked.append((command, query["container"]))
        return [(1, b""), (1, b"a" * 300), (2, b"caf\xc3"), (1, b"b"), (2, b"\xa9\xff"), (9, b"?"), ended(3)]

    server.execute = run
    assert execute(server.url) == ExecResult(3, "a" * 300 + "b", "caf\u00e9\ufffd")
    assert asked == [(["freeze", "--all tables"], "main")]
    answering(server, DONE)
    assert execute(server.url) == ExecResult(0, "", "")


def test_it_runs_as_the_identity_of_all_other_requests(server: ApiServer) -> None:
    seen: list[tuple[str, str]] = []

    def run(_command: list[str], _query: dict[str, str], headers: list[tuple[str, str]]) -> Frames:
        seen.extend(headers)
        return [DONE]

    server.execute = run
    execute(server.url, api_key="t0ken", impersonate_user="restorer", impersonate_groups=["dr", "ops"])
    assert {("Impersonate-User", "restorer"), ("Impersonate-Group", "dr"), ("Impersonate-Group", "ops")} <= set(seen)
    assert ("Bearer t0ken") in {value for name, value in seen if name.lower() == "authorization"}
    with pytest.raises(InvalidInput, match="header Impersonate-User"):
        execute(server.url, impersonate_user="restorer\r\nImpersonate-User: admin")


# -- commands that do not ---------------------------------------------------------------------------------------------


def test_a_command_that_is_not_there_is_an_error_in_the_servers_words(server: ApiServer) -> None:
    answering(server, never_ran())
    with pytest.raises(ApiError, match="executable file not found in \\$PATH"):
        execute(server.url)


@pytest.mark.parametrize("frames", [(), ((1, b"half"), None), (None,)], ids=["closed", "cut-in-between", "cut"])
def test_a_connection_that_breaks_is_said(server: ApiServer, frames: Any) -> None:
    answering(server, *frames)
    with pytest.raises(Unavailable, match="the connection broke before the command ended"):
        execute(server.url)


def test_a_command_whose_end_was_told_has_ended_however_the_connection_ends(server: ApiServer) -> None:
    answering(server, (1, b"out"), DONE, None)
    assert execute(server.url) == ExecResult(0, "out", "")


def test_a_connection_that_is_reset_is_said(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(*_arguments: Any) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(websocket.WebSocket, "recv_data_frame", reset)
    with pytest.raises(Unavailable, match="before the command ended \\(Connection reset by peer\\)"):
        execute(server.url)


@pytest.mark.parametrize("chatty", [True, False])
def test_a_command_that_does_not_end(server: ApiServer, chatty: bool) -> None:
    over = threading.Event()

    def run(*_asked: Any) -> Frames:
        while not over.wait(0.02):
            yield from [(1, b"still there")] if chatty else []

    server.execute = run
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"it did not end within 0\.3 seconds"):
        execute(server.url, timeout=0.3)
    over.set()
    assert time.monotonic() - began < 10


def test_the_time_limit_holds_while_it_connects() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="no answer in time"):
        execute(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("frames", [(never_ran(),), (None,)])
def test_a_hook_may_go_on_without_it(server: ApiServer, frames: Any) -> None:
    answering(server, *frames)
    command = hook.Command(("freeze",), optional=True)
    where = hook.Place("shop", "db-0", "uid", "main")
    record, failure = hook.run(Cluster.connect({"host": server.url}), command, where, "db", "pre", ())
    assert failure is not None and not hook.matters(failure, command)
    assert not record["ok"] and "pre hook db in pod shop/db-0" in record["msg"]


# -- much data --------------------------------------------------------------------------------------------------------


def carry(url: str, **options: Any) -> tuple[ExecResult, bytes]:
    taken = bytearray()
    options = {"timeout": 60.0, "stall": 60.0, "check": lambda: None, "take": taken.extend, **options}
    ended = Cluster.connect({"host": url}).carry("shop", "db-0", "main", ["pg_dump"], **options)
    return ended, bytes(taken)


def test_what_belongs_together_is_put_together(server: ApiServer) -> None:
    server.execute = lambda *_asked: [
        websocket_frame(0x02, b"\x01be"),
        websocket_frame(0x89, b"are you there"),
        websocket_frame(0x00, b"gi"),
        websocket_frame(0x80, b"n"),
        (2, b"x" * 30_000),
        (2, b"y" * 60_000),
        (1, b"ning"),
        ended(4),
    ]
    result, data = carry(server.url)
    assert (result.code, data) == (4, b"beginning")
    assert result.stderr == "x" * (exchange.TAIL - 60_000) + "y" * 60_000 and not result.stdout


def test_a_silent_connection_is_kept_and_that_is_no_data(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_stream, "_SILENCE", 0.0)
    over = threading.Event()

    def run(*_asked: Any) -> Frames:
        yield 1, b"half"
        over.wait(60)

    server.execute = run
    with pytest.raises(Unavailable, match=r"no data moved for 1 seconds"):
        carry(server.url, stall=1.0)
    over.set()


@pytest.mark.parametrize("cut", range(1, 8))
def test_the_line_that_wants_no_more_is_not_among_the_errors_however_it_comes(server: ApiServer, cut: int) -> None:
    words = b"\nENOUGH\n"
    server.feed = lambda *_asked: [(2, b"why" + words[:cut]), (2, words[cut:] + b"\nand how"), ended(4)]
    reading, writing = os.pipe()
    try:
        source = exchange.Source(reading, lambda: pytest.fail("its input has no end"), b"ENOUGH")
        result, _data = carry(server.url, source=source, timeout=5.0)
    finally:
        os.close(reading)
        os.close(writing)
    assert (result.code, result.stderr) == (4, "why\nand how")


def test_what_the_caller_says_goes_before_all(server: ApiServer) -> None:
    def enough() -> None:
        raise Interrupted("move", "it", "it is enough", "")

    over = threading.Event()
    server.execute = lambda *_asked: (frame for frame in [over.wait(60)] if frame != 0)
    with pytest.raises(Interrupted):
        carry(server.url, check=enough)
    over.set()


# -- connections that do not come about -------------------------------------------------------------------------------


def test_the_servers_words_are_said(server: ApiServer) -> None:
    server.broken["/api/v1/namespaces/shop/pods"] = 403
    with pytest.raises(Unavailable, match=r"in pod shop/db-0: Forbidden by the fake\. Check that the pod runs"):
        execute(server.url)


def test_another_address_gets_no_credentials(server: ApiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:

        def redirect() -> None:
            connection, _address = first.accept()
            with connection:
                connection.recv(65536)
                place = f"ws{server.url.removeprefix('http')}/api/v1/namespaces/shop/pods/db-0/exec"
                connection.sendall(f"HTTP/1.1 307 Moved\r\nLocation: {place}\r\n\r\n".encode())

        thread = threading.Thread(target=redirect)
        thread.start()
        with pytest.raises(Unavailable, match="in pod shop/db-0"):
            execute(f"http://127.0.0.1:{first.getsockname()[1]}", api_key="t0ken")
        thread.join()
    assert not server.reads


def test_a_server_that_is_gone() -> None:
    with running() as server:
        url = server.url
    with pytest.raises(Unavailable, match="refused"):
        execute(url)


def test_the_end_of_the_task_is_not_taken_for_an_error_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_arguments: Any, **_options: Any) -> None:
        raise Interrupted("finish", "the export", "it was ended by SIGTERM")

    monkeypatch.setattr(websocket.WebSocket, "connect", end)
    with pytest.raises(Interrupted):
        execute("http://192.0.2.1:1")
