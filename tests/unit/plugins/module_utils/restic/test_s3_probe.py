# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The S3 probe against a server on loopback, and its signature against the one that AWS publishes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import asking, s3_probe

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary"}


class Server(ThreadingHTTPServer):
    """Answers every GET with one status and S3 error code."""

    status = 200
    code = ""
    asked: list[tuple[str, str]]

    @property
    def url(self) -> str:
        return f"s3:http://127.0.0.1:{self.server_port}/bucket/some/prefix"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization", "")))
        body = f"<Error><Code>{self.server.code}</Code></Error>".encode() if self.server.code else b"data"
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.asked = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_repository_that_is_there(server: Server) -> None:
    s3_probe.probe(server.url, KEYS, None, None)
    path, authorization = server.asked[0]
    assert path == "/bucket/some/prefix/config"
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=key/") and "canary" not in authorization


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (404, "NoSuchKey", NotFound, "no repository at this address"),
        (404, "NoSuchBucket", NotFound, "bucket does not exist"),
        (403, "InvalidAccessKeyId", Denied, "access key"),
        (403, "SignatureDoesNotMatch", Denied, "signature"),
        (403, "RequestTimeTooSkewed", Denied, "clocks"),
        (403, "", Denied, "denied access"),
        (301, "PermanentRedirect", InvalidInput, "another region"),
        (400, "Strange", MusterError, "400 Strange"),
        (503, "SlowDown", Unavailable, "503 SlowDown"),
    ],
)
def test_what_stands_in_the_way(
    server: Server, status: int, code: str, error: type[MusterError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    server.status, server.code = status, code
    with pytest.raises(error, match=words) as raised:
        s3_probe.probe(server.url, KEYS, None, None)
    assert "canary" not in str(raised.value)


def test_a_server_that_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(asking, "TIMEOUT", 1.0)
    with pytest.raises(Unavailable, match="does not answer"):
        s3_probe.probe("s3:http://127.0.0.1:1/bucket", KEYS, None, None)


@pytest.mark.parametrize(("seconds", "asked"), [(0.1, 2), (16.5, 1)])
def test_a_server_that_lets_wait_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, seconds: float, asked: int
) -> None:
    """With two addresses behind a firewall that drops each request takes twice the time limit."""
    now: list[float] = [0.0]
    requests: list[object] = []

    def get(*request: object) -> tuple[int, bytes]:
        requests.append(request)
        now[0] += seconds
        raise TimeoutError

    monkeypatch.setattr("time.sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(asking, "_get", get)
    with pytest.raises(Unavailable, match="timed out"):
        s3_probe.probe("s3:http://s3.example.com/bucket", KEYS, None, None)
    assert now[0] <= 20 and len(requests) == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_SESSION_TOKEN", "canary\n"), ("AWS_SESSION_TOKEN", "canary\u0100"), ("AWS_ACCESS_KEY_ID", "canary\n")],
)
def test_a_login_that_no_request_can_hold_is_refused_and_not_repeated(name: str, value: str) -> None:
    """As the text block of a YAML file ends with a line break."""
    with pytest.raises(InvalidInput, match="a line break") as raised:
        s3_probe.probe("s3:http://127.0.0.1:1/bucket", {**KEYS, name: value}, None, None)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example.com", "s3 example", "s3.example.com:x"])
def test_a_name_that_no_server_can_have_is_said(host: str) -> None:
    with pytest.raises(InvalidInput, match="names no server that there can be"):
        s3_probe.probe(f"s3:http://{host}/bucket", KEYS, None, None)


def test_authorities_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")
    with pytest.raises(InvalidInput, match=r"ca_cert .*/ca.pem: it holds no certificate"):
        s3_probe.probe("s3:https://127.0.0.1:1/bucket", KEYS, None, str(tmp_path / "ca.pem"))


def test_what_goes_through_a_proxy_is_left_to_restic(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status = 403
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    s3_probe.probe(server.url, KEYS, None, None)
    assert not server.asked
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Denied):
        s3_probe.probe(server.url, KEYS, None, None)


def test_without_keys_only_the_server_is_asked(server: Server) -> None:
    server.status, server.code = 403, "AccessDenied"
    s3_probe.probe(server.url, {}, None, None)
    assert server.asked[0][1] == ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3:https://h:9000/b/p/q", s3_probe.Place("https", "h:9000", "b", "p/q")),
        ("s3:http://h/b", s3_probe.Place("http", "h", "b", "")),
        ("s3:h/b/p", s3_probe.Place("https", "h", "b", "p")),
        ("s3://h/b/p/", s3_probe.Place("https", "h", "b", "p")),
        ("s3:https://h/b/p//q/", s3_probe.Place("https", "h", "b", "p/q")),
        ("s3:https://h/b/p%20q", s3_probe.Place("https", "h", "b", "p q")),
        ("s3:h/b/p%20q", s3_probe.Place("https", "h", "b", "p%20q")),
        ("/srv/repository", None),
        ("rest:https://h/", None),
    ],
)
def test_places(url: str, expected: s3_probe.Place | None) -> None:
    assert s3_probe.place(url) == expected


@pytest.mark.parametrize(
    "url", ["s3:", "s3:https://h", "s3:https://h/", "s3:https://user:canary@h/b", "s3:https://h/b//p"]
)
def test_places_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        s3_probe.place(url)
    assert "canary" not in str(raised.value)


def test_the_signature_is_the_one_that_aws_publishes() -> None:
    # "GET Object" of the examples in the S3 documentation of Signature Version 4.
    signed = s3_probe.sign(
        "GET",
        "/test.txt",
        {"range": "bytes=0-9", "host": "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": s3_probe._EMPTY},
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        None,
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=timezone.utc),
    )
    assert signed["x-amz-date"] == "20130524T000000Z"
    assert signed["authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
