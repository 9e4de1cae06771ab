# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The protocol of a fake registry, with the faults of its script."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
import uuid
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from fakes.oci.content import INDEX, Repository, digest_of

if TYPE_CHECKING:
    from fakes.registry import FakeRegistry


class _Hangup(Exception):
    """The connection is to be reset now."""


class Handler(BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        return None

    def _handle(self) -> None:
        registry = self.registry
        line = f"{self.command} {self.path}"
        with registry.lock:
            registry.requests.append(line)
            registry.headers.append(self.headers)
            registry.busy.add(self)
            registry.busiest = max(registry.busiest, len(registry.busy))
        self.fault = registry.take_fault(line)
        try:
            self._serve()
        except _Hangup:
            self.close_connection = True
            # A reset, not an orderly end: what networks do.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        finally:
            self._leave()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _leave(self) -> None:
        with self.registry.lock:
            self.registry.busy.discard(self)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return

    def _serve(self) -> None:
        registry, fault = self.registry, self.fault
        if fault.then:
            fault.then()
        if fault.reset:
            raise _Hangup
        if fault.status:
            self._drain()
            self._answer(fault.status, fault.body)
            return
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.query = {key: values[0] for key, values in query.items()}
        if parts.path == "/token":
            form = parse_qs(self._drain().decode()) if self.command == "POST" else query
            token = registry.gate.token(self.headers, form)
            if token is None:
                self._fail(401, "UNAUTHORIZED")
            else:
                self._answer(200, json.dumps(token).encode())
            return
        if parts.path == "/v2/":
            # Other programs ask here first how to log in.
            challenge = registry.gate.challenge(self.headers, "", False, registry.host)
            if challenge is None:
                self._answer(200, b"{}")
            else:
                self._fail(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge.partition(",scope=")[0]})
            return
        match = re.match(r"/v2/(.+)/(manifests|blobs/uploads|blobs|referrers)/(.*)$", parts.path)
        if not match:
            self._drain()
            self._fail(404, "NAME_UNKNOWN")
            return
        name, kind, rest = match.groups()
        write = self.command not in ("GET", "HEAD") or "uploads" in kind
        challenge = registry.gate.challenge(self.headers, name, write, registry.host)
        if challenge is not None:
            self._drain()
            self._fail(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        elif write and not registry.creates and name not in registry.repositories:
            self._drain()
            self._fail(404, "NAME_UNKNOWN", message=f"The repository with name '{name}' does not exist")
        else:
            getattr(self, f"_{kind.replace('/', '_')}")(name, rest)

    def _there(self, name: str) -> Repository:
        return self.registry.repositories.get(name, Repository())

    # -- manifests --------------------------------------------------------------------------------------------

    def _manifests(self, name: str, reference: str) -> None:
        if ":" not in reference and len(reference) > 128:
            self._drain()
            self._fail(400, "TAG_INVALID")
            return
        if self.command == "PUT":
            self._put_manifest(self.registry.repository(name), reference)
            return
        repository = self._there(name)
        digest = reference if ":" in reference else repository.tags.get(reference, "")
        if digest not in repository.manifests:
            self._fail(404, "MANIFEST_UNKNOWN")
            return
        if self.command == "DELETE":
            self._delete_manifest(repository, digest)
            return
        data, media_type = repository.manifests[digest]
        self._answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest})

    def _delete_manifest(self, repository: Repository, digest: str) -> None:
        if not self.registry.deletes:
            self._fail(405, "UNSUPPORTED")
            return
        del repository.manifests[digest]
        repository.tags = {tag: named for tag, named in repository.tags.items() if named != digest}
        self._answer(202)

    def _put_manifest(self, repository: Repository, reference: str) -> None:
        data = self._drain()
        expected = self.headers.get("If-Match")
        digest = digest_of(data, reference.partition(":")[0] if ":" in reference else "sha256")
        missing = "" if self.registry.trusting else repository.missing(json.loads(data), sparse=self.registry.sparse)
        if self.registry.if_match and expected and expected.strip('"') != repository.tags.get(reference):
            self._fail(412, "PRECONDITION_FAILED")
        elif missing:
            self._fail(400, "MANIFEST_BLOB_UNKNOWN", message=missing)
        elif ":" in reference and reference != digest:
            self._fail(400, "DIGEST_INVALID")
        else:
            repository.manifests[digest] = (data, self.headers["Content-Type"])
            if ":" not in reference:
                repository.tags[reference] = digest
            headers = {"Docker-Content-Digest": digest}
            subject = json.loads(data).get("subject")
            if subject and self.registry.referrers:
                headers["OCI-Subject"] = subject["digest"]
            self._answer(201, b"", headers)

    def _referrers(self, name: str, digest: str) -> None:
        if not self.registry.referrers:
            self._fail(404, "NOT_FOUND")
            return
        found = []
        for own, (data, media_type) in self._there(name).manifests.items():
            if (json.loads(data).get("subject") or {}).get("digest") == digest:
                found.append({"mediaType": media_type, "digest": own, "size": len(data)})
        headers = {"Content-Type": INDEX}
        start, page = int(self.query.get("last", 0)), self.registry.page or len(found) or 1
        if start + page < len(found):
            headers["Link"] = f'</v2/{name}/referrers/{digest}?last={start + page}>; rel="next"'
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[start : start + page]}
        self._answer(200, json.dumps(document).encode(), headers)

    # -- blobs ------------------------------------------------------------------------------------------------

    def _blobs(self, name: str, digest: str) -> None:
        data = self._there(name).blobs.get(digest)
        elsewhere = self.registry.redirect_blobs_to
        if data is None:
            self._fail(404, "BLOB_UNKNOWN")
            return
        if self.command == "GET" and elsewhere is not None:
            base = elsewhere if "/" in elsewhere or not elsewhere else f"http://{elsewhere}"
            self._answer(307, b"see there", {"Location": f"{base}{self.path}"})
            return
        span = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not span or not self.registry.ranges:
            self._answer(200, data)
            return
        start = int(span.group(1))
        self._answer(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def _blobs_uploads(self, name: str, session: str) -> None:
        registry = self.registry
        if self.command == "POST":
            self._begin(name)
            return
        if session not in registry.uploads:
            self._drain()
            self._fail(404, "BLOB_UPLOAD_UNKNOWN")
            return
        data = registry.uploads[session]
        headers = {"Location": f"{registry.locations}/v2/{name}/blobs/uploads/{session}?state=y"}
        if self.command == "GET":
            self._answer(204, b"", {**headers, "Range": f"0-{max(0, len(data) - 1)}"})
            return
        if self.command == "PATCH":
            start = int(self.headers.get("Content-Range", f"{len(data)}-").split("-")[0])
            if start != len(data):
                self._drain()
                self._fail(416, "RANGE_INVALID")
                return
        self._receive(data if registry.parts or not data else bytearray())
        if self.command == "PATCH":
            self._answer(202, b"", {**headers, "Range": f"0-{len(data) - 1}"})
            return
        wanted = self.query["digest"]
        if digest_of(bytes(data), wanted.partition(":")[0]) != wanted:
            self._fail(400, "DIGEST_INVALID")
            return
        registry.repository(name).blobs[wanted] = bytes(registry.uploads.pop(session))
        self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{wanted}"})

    def _begin(self, name: str) -> None:
        registry = self.registry
        self._drain()
        origin = self._there(self.query.get("from", ""))
        wanted = self.query.get("mount", "")
        mounts = registry.mounts_itself if origin is registry.repository(name) else registry.mounts
        if wanted and mounts is True and wanted in origin.blobs:
            registry.repository(name).blobs[wanted] = origin.blobs[wanted]
            self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{wanted}"})
        elif wanted and not isinstance(mounts, bool):
            self._fail(mounts, "UNSUPPORTED")
        else:
            session = uuid.uuid4().hex
            registry.uploads[session] = bytearray()
            self._answer(202, b"", {"Location": f"{registry.locations}/v2/{name}/blobs/uploads/{session}?state=x"})

    # -- wire -------------------------------------------------------------------------------------------------

    def _receive(self, into: bytearray) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        limit = self.fault.swallow if self.fault.swallow >= 0 else length
        begin = b""
        if self.fault.stalls:
            begin = self.rfile.read(min(length, 1024))
            self.fault.stalls()
        data = begin + self.rfile.read(min(length, limit) - len(begin))
        into += data
        with self.registry.lock:
            self.registry.uploaded_bytes += len(data)
        if limit < length:
            raise _Hangup

    def _drain(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length else b""

    def _fail(self, status: int, code: str, headers: dict[str, str] | None = None, message: str = "") -> None:
        body = json.dumps({"errors": [{"code": code, "message": message or code.lower()}]}).encode()
        self._answer(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        fault = self.fault
        # Before the first byte: who has read the last one may already ask again.
        self._leave()
        if fault.lost:
            raise _Hangup
        body = body if fault.content is None else fault.content
        if fault.flip and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        sent: dict[str, Any] = {
            "Content-Length": max(0, len(body) + fault.length),
            **self.registry.marks,
            **(headers or {}),
        }
        for key, value in {**sent, **fault.headers}.items():
            if value is not None and (status != 204 or key != "Content-Length"):
                self.send_header(key, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if 0 <= fault.cut < len(body):
            self.wfile.write(body[: fault.cut])
            self.wfile.flush()
            # Time to arrive: a reset overtakes what the peer has not read yet.
            time.sleep(0.05)
            raise _Hangup
        step = len(body) // 10 + 1 if fault.drip else len(body) or 1
        for start in range(0, len(body), step):
            time.sleep(fault.drip)
            self.wfile.write(body[start : start + step])
        if fault.served:
            fault.served()
        if fault.length > 0:
            raise _Hangup
        self.close_connection = fault.parts or self.close_connection
