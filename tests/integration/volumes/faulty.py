# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real object store with faults in front of it."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from ..sites import JSON, ROOT, Site

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from fakes.serving import Serving

# Given the number of a request (from 1), its method and path: the error of S3 to answer with, or nothing.
Fault = Callable[[int, str, str], "tuple[int, str] | None"]


def none(_number: int, _method: str, _path: str) -> None:
    """A good day."""


class FaultyStore(Serving):
    """``with FaultyStore(site) as store``: plain HTTP at an address that the site's pods reach too.

    What ``store.fault`` does not answer is passed on as it came, signatures included.
    """

    def __init__(self, site: Site) -> None:
        self.far = urlsplit(site.store("")["endpoint_url"])
        self.context = ssl.create_default_context(cafile=site.store("")["ca_cert"])
        self.fault: Fault = none
        self.seen = 0
        self.lock = threading.Lock()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
            towards.connect((str(self.far.hostname), 9))
            here = str(towards.getsockname()[0])
        self.server = ThreadingHTTPServer((here, 0), type("Handler", (_Handler,), {"store": self}))
        self.server.daemon_threads = True

    def __exit__(self, *error: object) -> None:
        # Nobody waits for answers any more.
        self.fault = none
        super().__exit__(*error)

    def before(self, repository: JSON) -> JSON:
        """The same repository by way of this one."""
        path = repository["url"].partition("://")[2].partition("/")[2]
        address = f"s3:http://{self.server.server_address[0]}:{self.server.server_address[1]}/{path}"
        return {key: value for key, value in repository.items() if key != "ca_cert"} | {"url": address}


class _Handler(BaseHTTPRequestHandler):
    store: FaultyStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        return None

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.store.lock:
            self.store.seen += 1
            number = self.store.seen
        error = self.store.fault(number, self.command, self.path)
        if error is not None:
            status, code = error
            self._answer(
                status,
                [("Content-Type", "application/xml")],
                _ERROR.format(code=code, message=_MESSAGES[code]).encode(),
            )
            return
        far = http.client.HTTPSConnection(
            str(self.store.far.hostname), self.store.far.port, timeout=60, context=self.store.context
        )
        try:
            far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                far.putheader(name, value)
            far.endheaders(body)
            answer = far.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OURS]
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, answer.read(), length)
        finally:
            far.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_OURS = ("content-length", "transfer-encoding", "connection", "server", "date")
# As Amazon words them; clients show the message rather than the code.
_MESSAGES = {
    "AccessDenied": "Access Denied",
    "ExpiredToken": "The provided token has expired.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "SlowDown": "Please reduce your request rate.",
}
_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
