# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Lets restic read a repository through a store of ours, for as long as one command runs.

One restic has one login for object stores, and two repositories may be of two accounts. So it reads one of them from a
socket in a private folder, by the protocol of its REST server, of which only the reading half is here.
"""

from __future__ import annotations

import contextlib
import json
import re
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, MusterError, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._restic.mirror import CONFIG, KINDS, named
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_LIST = "application/vnd.x.restic.rest.v2"
_FILE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE = 1 << 20


class Served(socketserver.ThreadingUnixStreamServer):
    """Answers with what the store holds; ``url`` is what restic calls it."""

    daemon_threads = True
    block_on_close = False
    # Go opens as many connections as it likes.
    request_queue_size = 64

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.trouble: MusterError | None = None
        """What the store raised first, but for what is simply not there: restic would say less of it."""
        self.url = f"rest:http+unix://{folder / 'socket'}:/"
        try:
            super().__init__(str(folder / "socket"), _Answer)
        except OSError as error:
            hint = "Set TMPDIR to a short path."
            raise MusterError("serve", f"repository {store.place}", f"{folder}: {error}", hint) from None


@contextlib.contextmanager
def serving(store: Store) -> Iterator[Served]:
    """A server that is there during the block."""
    with tempfile.TemporaryDirectory(prefix="muster-") as folder, Served(store, Path(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Answer(BaseHTTPRequestHandler):
    """One connection; see https://restic.readthedocs.io/en/stable/100_references.html#rest-backend."""

    protocol_version = "HTTP/1.1"
    server: Served

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def address_string(self) -> str:
        return "restic"

    def log_message(self, *_args: object) -> None:
        return None

    def _answer(self) -> None:
        kind, slash, name = self.path.strip("/").partition("/")
        try:
            if self.path.endswith("/") and kind in KINDS:
                self._list(kind)
            elif (kind == CONFIG and not slash) or (kind in KINDS and _is_id(name)):
                self._file(f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}{slash}{name}")
            elif self.path == "/locks/":
                self._send(200, b"[]", _LIST)
            else:
                self._send(404)
        except MusterError as error:
            gone = error.__class__ is NotFound
            if not gone:
                self.server.trouble = self.server.trouble or error
            # What will not change is not asked for again.
            self._send(404 if gone else 403 if isinstance(error, Denied | NotFound) else 503)
        except OSError:
            # In the midst of an answer nothing else can be said.
            self.close_connection = True

    def _list(self, kind: str) -> None:
        found = [
            {"name": entry.key.rpartition("/")[2], "size": entry.size}
            for entry in named(self.server.store.list(f"{kind}/"))
        ]
        self._send(200, json.dumps(found).encode(), _LIST)

    def _file(self, key: str) -> None:
        store = self.server.store
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "")
        if self.command == "HEAD":
            size = store.size(key)
            if size is None:
                raise store.missing(key)
            self._begin(200, size, _FILE)
        elif wanted and wanted[2]:
            self._part(key, int(wanted[1]), int(wanted[2]) - int(wanted[1]) + 1)
        else:
            # What restic reads to its end is small.
            data = store.get(key)
            self._send(206 if wanted else 200, data[int(wanted[1]) if wanted else 0 :])

    def _part(self, key: str, offset: int, length: int) -> None:
        stream = self.server.store.open(key, offset, length)
        with contextlib.closing(stream):
            self._begin(206, length, _FILE)
            while length:
                piece = stream.read(min(length, _PIECE))
                if not piece:
                    raise ConnectionError
                self.wfile.write(piece)
                length -= len(piece)

    def _send(self, status: int, body: bytes = b"", kind: str = _FILE) -> None:
        self._begin(status, len(body), kind)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, length: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _is_id(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None
