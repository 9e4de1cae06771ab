# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bucket of an object store on loopback, in memory, with ranges, conditional writes and uploads in parts."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from fakes.serving import Serving


@dataclass
class Version:
    """One version of a key; a delete marker has no ``data``."""

    id: str
    data: bytes | None
    mode: str
    until: datetime | None
    modified: datetime

    @property
    def locked(self) -> bool:
        return self.until is not None and self.until > clock.now()


class FakeS3(Serving):
    """``with FakeS3() as bucket``: ``bucket.url`` answers, ``bucket.objects`` is what it holds by key.

    ``requests`` is what it was asked. ``refuse`` is a pattern of ``METHOD /path?query``; what matches is answered with
    ``refusal`` (status, code, message) from then on, and so is every write after ``writes_left`` more. ``break_next``
    is a pattern of requests of which the next one gets half of its answer's body, or with ``breaks`` the next so many.
    The next ``busy`` requests are answered with 503. With ``account`` only that access key is known. ``copies`` are the
    keys that it made from others, ``copied`` what it makes of their bytes, ``tag_of_copies`` the ETag that they get.

    With ``locks`` the bucket has versioning and object lock: ``history`` holds the versions of each key, the oldest
    first, and ``objects`` what can be seen of them. Its clock is the engine's.
    """

    name = "bucket"

    def __init__(self, *, conditions: bool = True, locks: bool = False) -> None:
        self.conditions = conditions
        self.locks = locks
        self.page = 1000
        self.history: dict[str, list[Version]] = {}
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
        self.account = ""
        self.tokens: set[str] = set()
        self.copies: list[str] = []
        self.copied: Callable[[bytes], bytes] = bytes
        self.tag_of_copies = ""
        self.lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": self}))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def current(self, key: str) -> Version:
        return self.history[key][-1]

    def add(self, key: str, data: bytes | None, mode: str = "", until: datetime | None = None) -> Version:
        """A new version on top; ``None`` for a delete marker."""
        made = Version(f"v{next(self._numbers):06d}", data, mode, until, clock.now())
        self.history.setdefault(key, []).append(made)
        self.show(key)
        return made

    def show(self, key: str) -> None:
        """Let ``objects`` have what can be seen of a key."""
        there = self.history.get(key) or []
        if there and there[-1].data is not None:
            self.objects[key] = there[-1].data
        else:
            self.objects.pop(key, None)

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
            self.bucket.tokens.add(self.headers.get("x-amz-security-token", ""))
            writes = self.command != "GET" and self.command != "HEAD"
            self.bucket.writes_left -= writes
            if self.bucket.busy:
                self.bucket.busy -= 1
                self._fail(503, "SlowDown")
            elif f"Credential={self.bucket.account}" not in self.headers.get("Authorization", "Credential="):
                self._fail(403, "InvalidAccessKeyId")
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
        if not self.key and self.query.keys() & {"versioning", "object-lock", "versions"}:
            self._get_bucket()
            return
        if self.bucket.locks and self.key:
            self._get_version()
            return
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
        self._send(data)

    def _send(self, data: bytes) -> None:
        span = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(span.group(1)) if span else 0
        end = min(int(span.group(2)) + 1, len(data)) if span and span.group(2) else len(data)
        more = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if span else {}
        made = {"ETag": _etag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        self._answer(206 if span else 200, data[start:end], {**made, **more})

    _head = _get

    def _get_bucket(self) -> None:
        if "versions" in self.query:
            self._list_versions()
        elif "versioning" in self.query:
            status = "<Status>Enabled</Status>" if self.bucket.locks else ""
            self._answer(200, f"<VersioningConfiguration>{status}</VersioningConfiguration>".encode())
        elif self.bucket.locks:
            enabled = b"<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
            self._answer(200, b"<ObjectLockConfiguration>" + enabled + b"</ObjectLockConfiguration>")
        else:
            self._fail(404, "ObjectLockConfigurationNotFoundError")

    def _list_versions(self) -> None:
        """A page of versions, of one key the newest first; the page after it begins behind its last one."""
        every = [
            (key, version, version is versions[-1])
            for key, versions in sorted(self.bucket.history.items())
            if key.startswith(self.query.get("prefix", ""))
            for version in reversed(versions)
        ]
        names = [(key, version.id) for key, version, _latest in every]
        marker = (self.query.get("key-marker", ""), self.query.get("version-id-marker", ""))
        begin = names.index(marker) + 1 if marker[0] else 0
        page = every[begin : begin + self.bucket.page]
        more = begin + len(page) < len(every)
        items = "".join(
            f"<{kind}><Key>{escape(key)}</Key><VersionId>{version.id}</VersionId><IsLatest>{str(latest).lower()}"
            f"</IsLatest><LastModified>{version.modified:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
            f"<ETag>{escape(_etag(version.data or b''))}</ETag><Size>{len(version.data or b'')}</Size></{kind}>"
            for key, version, latest in page
            for kind in ["DeleteMarker" if version.data is None else "Version"]
        )
        after = (
            f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>"
            f"<NextVersionIdMarker>{page[-1][1].id}</NextVersionIdMarker>"
            if more
            else ""
        )
        answer = f"<IsTruncated>{str(more).lower()}</IsTruncated>{after}{items}"
        self._answer(200, f"<ListVersionsResult>{answer}</ListVersionsResult>".encode())

    def _version(self) -> Version | None:
        """The version that is asked for; answers where there is none."""
        versions = self.bucket.history.get(self.key) or []
        wanted = self.query.get("versionId")
        found = next((one for one in reversed(versions) if wanted in (None, one.id)), None)
        if found is None:
            self._fail(404, "NoSuchVersion" if wanted else "NoSuchKey")
        elif found.data is None:
            self._fail(
                405 if wanted or "retention" in self.query else 404, "MethodNotAllowed" if wanted else "NoSuchKey"
            )
            return None
        return found

    def _get_version(self) -> None:
        version = self._version()
        if version is None:
            return
        if "retention" not in self.query:
            self._send(version.data or b"")
        elif version.until is None:
            self._fail(404, "NoSuchObjectLockConfiguration")
        else:
            told = f"<Mode>{version.mode}</Mode><RetainUntilDate>{_iso(version.until)}</RetainUntilDate>"
            self._answer(200, f"<Retention>{told}</Retention>".encode())

    def _put_retention(self, body: bytes) -> None:
        version = self._version()
        if version is None:
            return
        told = dict(re.findall(r"<(Mode|RetainUntilDate)>([^<]*)<", body.decode()))
        mode, moment = told["Mode"], clock.parse(told["RetainUntilDate"])
        if version.locked and version.until is not None and (moment < version.until or mode != version.mode):
            self._fail(403, "AccessDenied")
            return
        version.mode, version.until = mode, moment
        self._answer(200)

    def _put_version(self, body: bytes) -> None:
        mode, until = (
            self.headers.get("x-amz-object-lock-mode", ""),
            self.headers.get("x-amz-object-lock-retain-until-date"),
        )
        source = "x-amz-copy-source" in self.headers
        if (
            not source
            and mode
            and self.headers.get("Content-MD5") != base64.b64encode(hashlib.md5(body).digest()).decode()
        ):
            self._fail(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required")
            return
        self.bucket.add(self.key, body, mode, clock.parse(until) if until else None)
        result = f"<CopyObjectResult><ETag>{_etag(body)}</ETag></CopyObjectResult>".encode()
        self._answer(200, result if source else b"", headers={"ETag": _etag(body)})

    def _copy(self) -> None:
        path, _mark, wanted = unquote(self.headers["x-amz-copy-source"]).partition("?versionId=")
        key = path.lstrip("/").partition("/")[2]
        if wanted:
            body = next(one.data for one in self.bucket.history[key] if one.id == wanted) or b""
        elif key in self.bucket.objects:
            body = self.bucket.objects[key]
        else:
            self._fail(404, "NoSuchKey")
            return
        if self.headers.get("x-amz-copy-source-if-match", _etag(body)) != _etag(body):
            self._fail(412, "PreconditionFailed")
            return
        self.bucket.copies.append(self.key)
        if self.bucket.locks:
            self._put_version(body)
            return
        self.bucket.objects[self.key] = self.bucket.copied(body)
        tag = self.bucket.tag_of_copies or _etag(body)
        self._answer(200, f"<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>".encode())

    def _delete_version(self) -> None:
        versions = self.bucket.history.get(self.key) or []
        if "versionId" not in self.query:
            self.bucket.add(self.key, None)
        elif any(one.locked for one in versions if one.id == self.query["versionId"]):
            self._fail(403, "AccessDenied", "Access Denied because object protected by object lock.")
            return
        else:
            self.bucket.history[self.key] = [one for one in versions if one.id != self.query["versionId"]]
            self.bucket.show(self.key)
        self._answer(204)

    def _put(self, body: bytes) -> None:
        if "uploadId" in self.query:
            self.bucket.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = body
            self._answer(200, headers={"ETag": _etag(body)})
            return
        if "retention" in self.query:
            self._put_retention(body)
            return
        there = self.bucket.objects.get(self.key)
        wanted, unless = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if (wanted or unless) and not self.bucket.conditions:
            self._fail(501, "NotImplemented")
        elif (unless and there is not None) or (wanted and (there is None or wanted != _etag(there))):
            self._fail(412, "PreconditionFailed")
        elif "x-amz-copy-source" in self.headers:
            self._copy()
        elif self.bucket.locks:
            self._put_version(body)
        elif "x-amz-object-lock-mode" in self.headers:
            self._fail(400, "InvalidRequest", "Bucket is missing ObjectLockConfiguration")
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
        elif self.bucket.locks:
            self._delete_version()
            return
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


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
