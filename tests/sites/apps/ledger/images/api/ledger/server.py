# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger's HTTP interface.

POST /bookings            append one booking; 201 new, 200 seen before (same reference), 4xx refused, 503 try again
GET  /bookings/last       the newest booking; 404 in an empty ledger
GET  /bookings/<id>       one booking
GET  /stats               counts, balances, what was read from the Kubernetes API
GET  /verify              the whole proof (see audit); 200 sound, 500 problems
GET  /healthz  /readyz    for probes
"""

from __future__ import annotations

import base64
import binascii
import http.server
import json
import os
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ledger import database
from ledger.attachments import AttachmentStore
from ledger.catalogue import CatalogueReader
from ledger.chain import Booking, InvalidBooking, iso, read_draft
from ledger.database import Pool, Probe, Unavailable
from ledger.verify import verify

MAX_BODY = 2 * 1024 * 1024
DRAIN_SECONDS = 3

Answer = tuple[HTTPStatus, dict[str, Any]]


class Ledger:
    """The application behind the handler: everything a request needs."""

    def __init__(self, attachments: AttachmentStore, catalogue: CatalogueReader) -> None:
        self.attachments = attachments
        self.catalogue = catalogue
        self.pool = Pool(size=8)
        self.probe = Probe()
        self.stopping = threading.Event()

    def get(self, path: str) -> Answer:
        routes: dict[str, Callable[[], Answer]] = {
            "/healthz": lambda: (HTTPStatus.OK, {"ok": True}),
            "/readyz": self._ready,
            "/stats": self._stats,
            "/verify": self._verify,
            "/bookings/last": lambda: self._booking(None),
        }
        if path in routes:
            return routes[path]()
        kind, _, number = path.removeprefix("/").partition("/")
        if kind == "bookings" and number.isascii() and number.isdecimal() and len(number) < 19:
            return self._booking(int(number))
        return HTTPStatus.NOT_FOUND, {"error": f"no such resource: {path[:200]}"}

    def book(self, body: Any) -> Answer:
        catalogue = self.catalogue.current
        if catalogue.read_at is None:
            raise Unavailable(f"the currencies were not read yet: {catalogue.error or 'starting'}")
        draft = read_draft(body)
        unknown = sorted({entry.currency for entry in draft.entries} - catalogue.currencies)
        if unknown:
            raise InvalidBooking(f"no Currency of the namespace has the code {', '.join(unknown)}")
        content = _attachment(body)
        if len(content) > catalogue.attachment_bytes:
            raise InvalidBooking(f"the attachment has {len(content)} bytes, {catalogue.attachment_bytes} are allowed")
        try:
            sha256 = self.attachments.put(content)
        except OSError as error:
            raise Unavailable(f"the attachment cannot be stored: {error.strerror}") from error
        with self.pool.transaction() as connection:
            booking, created = database.append(connection, draft, sha256, len(content))
        return (HTTPStatus.CREATED if created else HTTPStatus.OK), describe(booking)

    def _ready(self) -> Answer:
        if self.stopping.is_set():
            raise Unavailable("shutting down")
        if not self.attachments.writable():
            raise Unavailable("the attachments volume is not writable")
        self.probe.check()
        return HTTPStatus.OK, {"ok": True}

    def _booking(self, number: int | None) -> Answer:
        with self.pool.transaction() as connection:
            booking = database.find(connection, number)
        if booking is None:
            return HTTPStatus.NOT_FOUND, {"error": "the ledger is empty" if number is None else f"no booking {number}"}
        return HTTPStatus.OK, describe(booking)

    def _stats(self) -> Answer:
        with self.pool.transaction() as connection:
            head = database.head(connection)
            balances = database.balances(connection)
        catalogue = self.catalogue.current
        return HTTPStatus.OK, {
            "bookings": head.id if head else None,
            "data_until": iso(head.time) if head and head.time else None,
            "last_hash": head.hash if head else None,
            "balances": balances,
            "currencies": sorted(catalogue.currencies),
            "catalogue_read_at": iso(catalogue.read_at) if catalogue.read_at else None,
            "catalogue_error": catalogue.error,
        }

    def _verify(self) -> Answer:
        result = verify(self.attachments)
        return (HTTPStatus.OK if result.ok else HTTPStatus.INTERNAL_SERVER_ERROR), result.document()


def describe(booking: Booking) -> dict[str, Any]:
    return {
        "id": booking.id,
        "time": iso(booking.time),
        "reference": booking.reference,
        "memo": booking.memo,
        "entries": [
            {"account": entry.account, "amount": entry.amount, "currency": entry.currency} for entry in booking.entries
        ],
        "attachment": {"sha256": booking.attachment, "bytes": booking.attachment_bytes},
        "previous": booking.previous,
        "hash": booking.hash,
    }


def _attachment(body: dict[str, Any]) -> bytes:
    text, encoded = body.get("attachment"), body.get("attachment_base64")
    if isinstance(text, str) and encoded is None:
        return text.encode("utf-8", "surrogatepass")
    if isinstance(encoded, str) and text is None:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise InvalidBooking(f"'attachment_base64' is not base64: {error}") from error
    raise InvalidBooking("exactly one of 'attachment' (text) and 'attachment_base64' must be given")


class Handler(http.server.BaseHTTPRequestHandler):
    """One request per connection, so that a stop waits for requests and never for idle connections."""

    server_version = "ledger"
    sys_version = ""
    timeout = 30
    ledger: Ledger

    def do_GET(self) -> None:
        self._answer(lambda: self.ledger.get(self.path.partition("?")[0]))

    def do_POST(self) -> None:
        if self.path.partition("?")[0] != "/bookings":
            self._answer(lambda: (HTTPStatus.NOT_FOUND, {"error": f"cannot post to {self.path[:200]}"}))
            return
        self._answer(lambda: self.ledger.book(self._body()))

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise InvalidBooking("Content-Length is missing")
        if int(length) > MAX_BODY:
            raise InvalidBooking(f"the body has {length} bytes, {MAX_BODY} are allowed")
        try:
            return json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise InvalidBooking(f"the body is not JSON: {error}") from error

    def _answer(self, act: Callable[[], Answer]) -> None:
        try:
            status, document = act()
        except InvalidBooking as error:
            status, document = HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)}
        except Unavailable as error:
            status, document = HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}
        body = json.dumps(document).encode() + b"\n"
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The client went away while it waited; its retry carries the same reference.
            self.close_connection = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        status = int(code) if isinstance(code, int) or code.isdecimal() else 0
        if status >= 400 and status != HTTPStatus.NOT_FOUND:
            super().log_request(code, size)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False
    request_queue_size = 64

    # Dual stack is not needed, and a reverse lookup of the own name would wait for DNS.
    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "ledger", self.server_address[1]


def main() -> int:
    attachments = AttachmentStore(Path(os.environ["LEDGER_ATTACHMENTS"]))
    fixed = os.environ.get("LEDGER_CURRENCIES")
    catalogue = CatalogueReader(
        os.environ.get("LEDGER_SETTINGS", "ledger-settings"), frozenset(fixed.split(",")) if fixed else None
    )
    ledger = Ledger(attachments, catalogue)
    try:
        attachments.clear_incoming()
    except OSError as error:
        print(f"cannot look for unfinished attachments: {error}", file=sys.stderr)
    catalogue.start(ledger.stopping)
    handler = type("LedgerHandler", (Handler,), {"ledger": ledger})
    server = Server(("", int(os.environ.get("LEDGER_PORT", "8080"))), handler)

    def drain() -> None:
        # Ready says no at once; requests that are still routed here are served for a moment longer.
        time.sleep(DRAIN_SECONDS)
        server.shutdown()

    def stop(signum: int, frame: object) -> None:
        if not ledger.stopping.is_set():
            ledger.stopping.set()
            threading.Thread(target=drain, name="drain").start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"ledger listens on port {server.server_port}", file=sys.stderr)
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
