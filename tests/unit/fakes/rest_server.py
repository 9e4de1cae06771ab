# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A REST server for restic that wants a login: https://restic.readthedocs.io/en/stable/100_references.html#rest-backend."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from fakes.serving import Serving

FOLDERS = ("data", "index", "keys", "locks", "snapshots")


class FakeRest(Serving):
    """Below ``/r/``. ``login`` is what it wants (None: nobody is asked), ``asked`` every Authorization that came."""

    def __init__(self, login: tuple[str, str] | None = None, status: int = 0, address: str = "127.0.0.1") -> None:
        self.login = login
        self.status = status
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer((address, 0), type("Answer", (_Answer,), {"fake": self}))
        self.server.daemon_threads = True
        self.host = f"{address}:{self.server.server_port}"
        self.url = f"rest:http://{self.host}/r"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeRest

    def log_message(self, *_words: Any) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        word = self.headers.get("Authorization") or ""
        self.fake.asked.append(word)
        if self.fake.status:
            return self.answer(self.fake.status)
        if self.fake.login is not None:
            wanted = base64.b64encode(":".join(self.fake.login).encode()).decode()
            if word != f"Basic {wanted}":
                return self.answer(401)
        name = unquote(urlsplit(self.path).path).removeprefix("/r").strip("/")
        if self.command == "POST":
            if name:
                self.fake.objects[name] = body
            return self.answer(200)
        if self.command != "DELETE" and name in FOLDERS:
            found = [
                {"name": key.partition("/")[2], "size": len(value)}
                for key, value in sorted(self.fake.objects.items())
                if key.startswith(name + "/")
            ]
            return self.answer(200, json.dumps(found).encode(), "application/vnd.x.restic.rest.v2")
        if name not in self.fake.objects:
            return self.answer(404)
        if self.command == "DELETE":
            del self.fake.objects[name]
            return self.answer(200)
        data, wanted_part = self.fake.objects[name], self.headers.get("Range")
        if not wanted_part:
            return self.answer(200, data)
        first, _dash, last = wanted_part.removeprefix("bytes=").partition("-")
        return self.answer(206, data[int(first) : int(last) + 1 if last else None])

    do_GET = do_HEAD = do_POST = do_DELETE = handle_any

    def answer(self, status: int, body: bytes = b"", kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
