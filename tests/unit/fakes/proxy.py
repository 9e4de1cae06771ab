# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A forward proxy on loopback that wants a login: tunnels, and plain requests by full address."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from fakes.serving import Serving


class FakeProxy(Serving):
    """``with FakeProxy("user", "password") as proxy``: ``proxy.seen`` is what it was asked to reach."""

    def __init__(self, user: str, password: str) -> None:
        self.login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.seen: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    proxy: FakeProxy

    def log_message(self, *_args: object) -> None:
        return None

    def _handle(self) -> None:
        self.proxy.seen.append(self.path)
        self.close_connection = True
        if self.headers.get("Proxy-Authorization") != self.proxy.login:
            self.send_error(407)
        elif self.command == "CONNECT":
            self._tunnel()
        else:
            self._forward()

    do_CONNECT = do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _handle

    def _tunnel(self) -> None:
        host, _colon, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()

    def _forward(self) -> None:
        parts = urlsplit(self.path)
        far = http.client.HTTPConnection(parts.netloc)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key: value for key, value in self.headers.items() if key != "Proxy-Authorization"}
        far.request(self.command, f"{parts.path}?{parts.query}".rstrip("?"), body or None, headers)
        answer = far.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)
        far.close()


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        return
