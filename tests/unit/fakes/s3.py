# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bucket of an object store on loopback, in memory, with ranges, conditional writes and uploads in parts."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from fakes.serving import Serving


class FakeS3(Serving):
    """``with FakeS3() as bucket``: ``bucket.url`` answers, ``bucket.objects`` is what it holds by key.

    ``requests`` is what it was asked. ``refuse`` is a pattern of ``METHOD /path?query``; what matches is answered with
    ``refusal`` (status, code, message) from then on, and so is every write after ``writes_left`` more. ``break_next``
    is a pattern of requests of which the next one gets half of its answer's body, or with ``breaks`` the next so many.
    The next ``busy`` requests are answered with 503.
    """

    name = "bucket"

    def __init__(self, *, conditions: bool = True) -> None:
        self.conditions = conditions
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.began: dict[str, tuple[str, str]] = {}
        self.writes_left = 1_000_000
        self.requests: list[str] = []
        self.refuse = ""
        self.refusal = (403, "AccessDenied", "Access Denied.")
        self.break_next = ""
        self.breaks = 1
        self.busy = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": self}))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def writes(self) -> list[str]:
        return [line for line in self.requests if line.split()[0] in ("POST", "PUT", "DELETE")]


class _Handler(BaseHTTPRequestHandler):
    bucket: FakeS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        return None

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            body = _unchunked(body)
        line = f"{self.command} {self.path}"
        parts = urlsplit(self.path)
        name, _slash, self.key = unquote(parts.path).lstrip("/").partition("/")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        with self.bucket.lock:
            self.bucket.requests.append(line)
            writes = self.command != "GET" and self.command != "HEAD"
            self.bucket.writes_left -= writes
            if self.bucket.busy:
                self.bucket.busy -= 1
                self._fail(503, "SlowDown")
            elif name != self.bucket.name:
                self._fail(404, "NoSuchBucket")
            elif (writes and self.bucket.writes_left < 0) or (
                self.bucket.refuse and re.search(self.bucket.refuse, line)
            ):
                self._fail(*self.bucket.refusal)
            else:
                getattr(self, f"_{self.command.lower()}")(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _get(self, _body: bytes) -> None:
        if "uploads" in self.query:
            listed = "".join(
                f"<Upload><UploadId>{number}</UploadId><Key>{escape(self.bucket.began[number][0])}</Key>"
                f"<Initiated>{self.bucket.began[number][1]}</Initiated></Upload>"
                for number in self.bucket.uploads
            )
            self._answer(200, f"<ListMultipartUploadsResult>{listed}</ListMultipartUploadsResult>".encode())
            return
        if not self.key:
            found = [key for key in sorted(self.bucket.objects) if key.startswith(self.query.get("prefix", ""))]
            items = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(self.bucket.objects[key])}</Size></Contents>"
                for key in found
            )
            self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode())
            return
        data = self.bucket.objects.get(self.key)
        if data is None:
            self._fail(404, "NoSuchKey")
            return
        span = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(span.group(1)) if span else 0
        more = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if span else {}
        made = {"ETag": _etag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        self._answer(206 if span else 200, data[start:], {**made, **more})

    _head = _get

    def _put(self, body: bytes) -> None:
        if "uploadId" in self.query:
            self.bucket.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = body
            self._answer(200, headers={"ETag": _etag(body)})
            return
        there = self.bucket.objects.get(self.key)
        wanted, unless = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if (wanted or unless) and not self.bucket.conditions:
            self._fail(501, "NotImplemented")
        elif (unless and there is not None) or (wanted and (there is None or wanted != _etag(there))):
            self._fail(412, "PreconditionFailed")
        else:
            self.bucket.objects[self.key] = body
            self._answer(200, headers={"ETag": _etag(body)})

    def _post(self, _body: bytes) -> None:
        if "uploads" in self.query:
            number = f"upload-{len(self.bucket.requests)}"
            self.bucket.uploads[number] = {}
            self.bucket.began[number] = (self.key, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            self._answer(200, f"<R><UploadId>{number}</UploadId></R>".encode())
            return
        parts = self.bucket.uploads.pop(self.query["uploadId"])
        self.bucket.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
        self._answer(200, b"<R><ETag>whole</ETag></R>")

    def _delete(self, _body: bytes) -> None:
        if "uploadId" in self.query:
            self.bucket.uploads.pop(self.query["uploadId"])
        else:
            self.bucket.objects.pop(self.key, None)
        self._answer(204)

    def _fail(self, status: int, code: str, message: str = "") -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{message or code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.bucket.break_next and re.search(self.bucket.break_next, f"{self.command} {self.path}"):
            self.bucket.breaks -= 1
            self.bucket.break_next = self.bucket.break_next if self.bucket.breaks else ""
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(body)


def _unchunked(body: bytes) -> bytes:
    """The bytes of a body in which each chunk is signed, as clients send it without TLS."""
    data = b""
    while body:
        head, _end, body = body.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        data, body = data + body[:size], body[size + 2 :]
    return data


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
