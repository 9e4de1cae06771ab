# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a service in a cluster that needs no port of its own: the API server's service proxy."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from operate.site import NAMESPACE, Failed, Site, run

SERVICE = "api:http"


class Proxy:
    """Sends requests to the ledger's Service. One connection per request: an outage leaves no half-dead ones behind."""

    def __init__(self, site: Site, namespace: str = NAMESPACE) -> None:
        """Reads the kubeconfig's server and client certificate; raises Failed."""
        view = run("read the kubeconfig", site.kubectl_argv("config", "view", "--raw", "--minify", "-o", "json"))
        try:
            config = json.loads(view)
            cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
            address = urllib.parse.urlsplit(cluster["server"])
            self._tls = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority"))
            self._token: str | None = user.get("token")
            if "client-certificate-data" in user or "client-certificate" in user:
                _load_client_certificate(self._tls, _pem(user, "client-certificate"), _pem(user, "client-key"))
        except (LookupError, TypeError, ValueError, OSError) as error:
            raise Failed(f"Could not use {site.kubeconfig}: {type(error).__name__} {error}.") from error
        self._host, self._port = address.hostname or "", address.port or 443
        self._base = f"{address.path.rstrip('/')}/api/v1/namespaces/{namespace}/services/{SERVICE}/proxy"

    def request(self, method: str, path: str, body: Any = None, timeout: float = 30) -> tuple[int, Any]:
        """The answer's status and JSON (text where it is none); raises OSError or HTTPException."""
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        try:
            connection.request(method, self._base + path, body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(answer)
        except ValueError:
            return response.status, answer.decode(errors="replace")


def _pem(section: dict[str, str], name: str) -> str:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"]).decode()
    return Path(section[name]).read_text(encoding="utf-8")


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # Python takes them from a file only; the file is private and gone at once.
    descriptor, path = tempfile.mkstemp(prefix="ledger-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{certificate.rstrip()}\n{key.rstrip()}\n")
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
