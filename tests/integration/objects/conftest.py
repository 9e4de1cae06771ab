# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of objects need: a capture, and a webhook that does something at a certain moment."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ..sites import JSON, Site, thing

Capture = Callable[..., JSON]


@pytest.fixture
def capture(east: Site, namespace: str) -> Capture:
    """Captures the namespace at east; gives the options of a restore of it."""

    def taken(**application: Any) -> JSON:
        wanted = {"name": "bad-day", "namespaces": [namespace], **application}
        result = east.run("k8s_snapshot", site="east", point="bad-day", application=wanted)
        assert not result.get("failed"), result
        return {"snapshot": result["snapshot"]["tree"], "point": "bad-day"}

    return taken


# -- servers ----------------------------------------------------------------------------------------------------------


class Webhook:
    """An admission webhook on this machine, called by west's API server. ``act`` judges each review."""

    def __init__(self, act: Callable[[JSON], bool]) -> None:
        self.act = act
        self.reviews: list[JSON] = []
        self.lock = threading.Lock()

    def judge(self, review: JSON) -> JSON:
        request = review["request"]
        with self.lock:
            self.reviews.append(request)
        allowed = self.act(request)
        response: JSON = {"uid": request["uid"], "allowed": allowed}
        if not allowed:
            response["status"] = {"code": 403, "message": "not on my watch"}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def certificate(address: str, folder: Path) -> tuple[Path, bytes]:
    """A key with its certificate for an address, and the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    path = folder / "webhook.pem"
    pem = made.public_bytes(serialization.Encoding.PEM)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain) + pem)
    return path, pem


@contextlib.contextmanager
def serving(site: Site, folder: Path, answer: Callable[[str, str, JSON], tuple[int, JSON]]) -> Iterator[JSON]:
    """A server on this machine that a site's API server can call; gives its host, port and authority (base64).

    ``answer`` is called with method, path and body.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((str(site.facts["node_address"]), 9))
        address = str(probe.getsockname()[0])
    key, authority = certificate(address, folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, document = answer(self.command, self.path.partition("?")[0], json.loads(body or b"{}"))
            data = json.dumps(document).encode()
            with contextlib.suppress(OSError):
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_POST = _serve

        def log_message(self, *words: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"host": address, "port": server.server_address[1], "authority": base64.b64encode(authority).decode()}
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def webhook(west: Site, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``with webhook(act, timeout=10) as hook:`` calls ``act`` for every object that is created in the namespace."""

    @contextlib.contextmanager
    def served(
        act: Callable[[JSON], bool], timeout: int = 10, resources: tuple[str, ...] = ("configmaps",)
    ) -> Iterator[Webhook]:
        hook = Webhook(act)
        rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [*resources]}
        with serving(west, tmp_path, lambda _method, _path, review: (200, hook.judge(review))) as server:
            called = {"url": f"https://{server['host']}:{server['port']}/", "caBundle": server["authority"]}
            west.apply(
                thing(
                    "ValidatingWebhookConfiguration",
                    namespace,
                    api_version="admissionregistration.k8s.io/v1",
                    webhooks=[
                        {
                            "name": f"{namespace}.example.com",
                            "clientConfig": called,
                            "rules": [rule],
                            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                            "sideEffects": "None",
                            "admissionReviewVersions": ["v1"],
                            "timeoutSeconds": timeout,
                        }
                    ],
                )
            )
            # Webhooks are in force a moment after they were written.
            time.sleep(2)
            try:
                yield hook
            finally:
                west.kubectl("delete", "validatingwebhookconfiguration", namespace, "--ignore-not-found")

    yield served
