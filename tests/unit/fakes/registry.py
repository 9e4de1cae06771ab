# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry on loopback that keeps everything in memory and can be told to misbehave.

It follows distribution-spec 1.1 as distribution 3 does, and refuses what that refuses: manifests whose children or
blobs are missing, uploads with another digest, sessions that are not known.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose ``METHOD /path`` matches ``pattern``.

    ``status``: answer with it at once. ``reset``: hang up before an answer. ``cut``: end the answer's body after so
    many bytes. ``flip``: change one byte of the body. ``swallow``: read so many bytes of the request's body, keep them
    in the session, then hang up. ``headers``, ``body``: of the answer by ``status``.
    """

    pattern: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: bool = False
    cut: int = -1
    flip: bool = False
    swallow: int = -1


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry:
    """``with FakeRegistry() as registry``: ``registry.host`` answers; ``registry.requests`` is what it was asked."""

    def __init__(
        self,
        *,
        auth: str = "none",
        users: dict[str, str] | None = None,
        referrers: bool = False,
        ranges: bool = True,
        mounts: bool = True,
        redirect_blobs_to: str | None = None,
    ) -> None:
        self.auth = auth
        self.users = users or {"muster": "secret"}
        self.referrers = referrers
        self.ranges = ranges
        self.mounts = mounts
        self.redirect_blobs_to = redirect_blobs_to
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytearray] = {}
        self.tokens: dict[str, set[str]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.authorized: list[bool] = []
        self.uploaded_bytes = 0
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"registry": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> FakeRegistry:
        self.thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # -- content ----------------------------------------------------------------------------------------------

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def blob(
        self, name: str, data: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar"
    ) -> dict[str, Any]:
        """Store a blob and return its descriptor."""
        self.repository(name).blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def manifest(self, name: str, document: dict[str, Any], *tags: str) -> dict[str, Any]:
        """Store a manifest with unusual spacing, which must survive, and return its descriptor."""
        data = json.dumps(document, indent=3).encode() + b"\n"
        return self.raw_manifest(name, data, document["mediaType"], *tags)

    def raw_manifest(self, name: str, data: bytes, media_type: str, *tags: str) -> dict[str, Any]:
        repository = self.repository(name)
        digest = digest_of(data)
        repository.manifests[digest] = (data, media_type)
        for tag in tags:
            repository.tags[tag] = digest
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(
        self, name: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), machine: str = "amd64", **more: Any
    ) -> dict[str, Any]:
        """Store an image of one platform and return its descriptor."""
        config = json.dumps({"os": "linux", "architecture": machine, "layers": len(layers)}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(name, config, "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(name, layer) for layer in layers],
            **more,
        }
        return self.manifest(name, document, *tags)

    def index(self, name: str, children: list[dict[str, Any]], *tags: str) -> dict[str, Any]:
        return self.manifest(name, {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}, *tags)

    # -- faults -----------------------------------------------------------------------------------------------

    def fault(self, pattern: str, **what: Any) -> None:
        self.faults.append(Fault(pattern, **what))

    def take_fault(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None

    def writes(self) -> list[str]:
        return [line for line in self.requests if line.split()[0] in ("POST", "PUT", "PATCH", "DELETE")]

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """The requests that come in while the block runs."""
        start = len(self.requests)
        seen: list[str] = []
        yield seen
        seen += self.requests[start:]


class _Hangup(Exception):
    """The connection is to be reset now."""


class _Handler(BaseHTTPRequestHandler):
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
            registry.authorized.append("Authorization" in self.headers)
        self.fault = registry.take_fault(line)
        try:
            if self.fault and self.fault.reset:
                raise _Hangup
            if self.fault and self.fault.status:
                self._drain()
                self._answer(self.fault.status, self.fault.body, self.fault.headers)
                return
            parts = urlsplit(self.path)
            self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if parts.path == "/token":
                self._token(parse_qs(parts.query).get("scope", []))
                return
            match = re.match(r"/v2/(.+)/(manifests|blobs/uploads|blobs|referrers)/(.*)$", parts.path)
            if not match:
                self._fail(404, "NAME_UNKNOWN")
                return
            if not self._allowed(match.group(1)):
                return
            kind = match.group(2).replace("/", "_")
            getattr(self, f"_{kind}")(match.group(1), match.group(3))
        except _Hangup:
            self.close_connection = True
            # A reset, not an orderly end: what networks do.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

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

    # -- login ------------------------------------------------------------------------------------------------

    def _basic_user(self) -> str | None:
        value = self.headers.get("Authorization", "")
        if not value.startswith("Basic "):
            return None
        user, _colon, password = base64.b64decode(value[6:]).decode().partition(":")
        return user if self.registry.users.get(user) == password else None

    def _token(self, scopes: list[str]) -> None:
        if self._basic_user() is None:
            self._fail(401, "UNAUTHORIZED")
            return
        token = uuid.uuid4().hex
        self.registry.tokens[token] = set(scopes)
        self._answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def _allowed(self, repository: str) -> bool:
        if self.registry.auth == "none":
            return True
        if self.registry.auth == "basic":
            if self._basic_user() is not None:
                return True
            challenge = 'Basic realm="fake"'
        else:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            need = "pull" if self.command in ("GET", "HEAD") and "uploads" not in self.path else "push"
            for scope in self.registry.tokens.get(token, set()):
                _kind, name, actions = scope.split(":")
                if name == repository and need in actions.split(","):
                    return True
            challenge = f'Bearer realm="http://{self.registry.host}/token",service="fake"'
        self._drain()
        self._fail(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        return False

    # -- manifests --------------------------------------------------------------------------------------------

    def _manifests(self, name: str, reference: str) -> None:
        repository = self.registry.repository(name)
        if self.command == "PUT":
            data = self._drain()
            missing = self._missing(repository, json.loads(data))
            if missing:
                self._fail(400, "MANIFEST_BLOB_UNKNOWN", message=missing)
                return
            digest = digest_of(data)
            repository.manifests[digest] = (data, self.headers["Content-Type"])
            if ":" not in reference:
                repository.tags[reference] = digest
            elif reference != digest:
                self._fail(400, "DIGEST_INVALID")
                return
            headers = {"Docker-Content-Digest": digest}
            subject = json.loads(data).get("subject")
            if subject and self.registry.referrers:
                headers["OCI-Subject"] = subject["digest"]
            self._answer(201, b"", headers)
            return
        digest = reference if ":" in reference else repository.tags.get(reference, "")
        if digest not in repository.manifests:
            self._fail(404, "MANIFEST_UNKNOWN")
            return
        data, media_type = repository.manifests[digest]
        self._answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest})

    @staticmethod
    def _missing(repository: Repository, document: dict[str, Any]) -> str:
        for child in document.get("manifests", []):
            if child["digest"] not in repository.manifests:
                return f"child {child['digest']}"
        for blob in [document.get("config"), *document.get("layers", [])]:
            if blob and "urls" not in blob and blob["digest"] not in repository.blobs:
                return f"blob {blob['digest']}"
        return ""

    def _referrers(self, name: str, digest: str) -> None:
        if not self.registry.referrers:
            self._fail(404, "NOT_FOUND")
            return
        found = []
        for own, (data, media_type) in self.registry.repository(name).manifests.items():
            if (json.loads(data).get("subject") or {}).get("digest") == digest:
                found.append({"mediaType": media_type, "digest": own, "size": len(data)})
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode()
        self._answer(200, body, {"Content-Type": INDEX})

    # -- blobs ------------------------------------------------------------------------------------------------

    def _blobs(self, name: str, digest: str) -> None:
        data = self.registry.repository(name).blobs.get(digest)
        if data is None:
            self._fail(404, "BLOB_UNKNOWN")
            return
        if self.command == "GET" and self.registry.redirect_blobs_to:
            self._answer(307, b"", {"Location": f"http://{self.registry.redirect_blobs_to}{self.path}"})
            return
        span = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and self.registry.ranges:
            start = int(span.group(1))
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self._answer(206, data[start:], headers)
            return
        self._answer(200, data)

    def _blobs_uploads(self, name: str, session: str) -> None:
        registry = self.registry
        if self.command == "POST":
            self._drain()
            origin = registry.repositories.get(self.query.get("from", ""), Repository())
            wanted = self.query.get("mount", "")
            if registry.mounts and wanted in origin.blobs:
                registry.repository(name).blobs[wanted] = origin.blobs[wanted]
                self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{wanted}"})
                return
            session = uuid.uuid4().hex
            registry.uploads[session] = bytearray()
            self._answer(202, b"", {"Location": f"/v2/{name}/blobs/uploads/{session}?state=x"})
            return
        if session not in registry.uploads:
            self._drain()
            self._fail(404, "BLOB_UPLOAD_UNKNOWN")
            return
        data = registry.uploads[session]
        location = {"Location": f"/v2/{name}/blobs/uploads/{session}?state=y"}
        if self.command == "GET":
            self._answer(204, b"", {**location, "Range": f"0-{max(0, len(data) - 1)}"})
            return
        if self.command == "PATCH":
            start = int(self.headers.get("Content-Range", f"{len(data)}-").split("-")[0])
            if start != len(data):
                self._drain()
                self._fail(416, "RANGE_INVALID")
                return
        self._receive(data)
        if self.command == "PATCH":
            self._answer(202, b"", {**location, "Range": f"0-{len(data) - 1}"})
            return
        if digest_of(bytes(data)) != self.query["digest"]:
            self._fail(400, "DIGEST_INVALID")
            return
        registry.repository(name).blobs[self.query["digest"]] = bytes(registry.uploads.pop(session))
        self._answer(201, b"", {"Location": f"/v2/{name}/blobs/{self.query['digest']}"})

    # -- wire -------------------------------------------------------------------------------------------------

    def _receive(self, into: bytearray) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        limit = self.fault.swallow if self.fault and self.fault.swallow >= 0 else length
        data = self.rfile.read(min(length, limit))
        into += data
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
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD" or not body:
            return
        if self.fault and self.fault.flip:
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.fault and 0 <= self.fault.cut < len(body):
            self.wfile.write(body[: self.fault.cut])
            self.wfile.flush()
            # Time to arrive: a reset overtakes what the peer has not read yet.
            threading.Event().wait(0.05)
            raise _Hangup
        self.wfile.write(body)
