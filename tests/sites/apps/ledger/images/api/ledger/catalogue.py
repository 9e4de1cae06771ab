# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ledger reads from the Kubernetes API: its settings (ConfigMap) and the currencies (custom resources)."""

from __future__ import annotations

import dataclasses
import datetime
import http.client
import json
import os
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REFRESH_SECONDS = 30
RETRY_SECONDS = 5
DEFAULT_ATTACHMENT_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """What may be booked. ``read_at`` is None until the Kubernetes API answered once."""

    currencies: frozenset[str] = frozenset()
    attachment_bytes: int = DEFAULT_ATTACHMENT_BYTES
    read_at: datetime.datetime | None = None
    error: str | None = None


class CatalogueReader:
    """Keeps the last catalogue read; a cluster whose API is away keeps booking with what is known."""

    def __init__(self, settings: str, currencies: frozenset[str] | None = None) -> None:
        """``settings`` is the ConfigMap's name; ``currencies`` fixes the list where there is no cluster."""
        self._settings = settings
        self._fixed = currencies is not None
        now = datetime.datetime.now(datetime.timezone.utc)
        self.current = Catalogue(currencies, read_at=now) if currencies is not None else Catalogue()

    def start(self, stop: threading.Event) -> None:
        if not self._fixed:
            threading.Thread(target=self._run, args=(stop,), name="catalogue", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.current = self._read()
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != self.current.error:
                    print(f"cannot read settings and currencies from the Kubernetes API: {reason}", file=sys.stderr)
                self.current = dataclasses.replace(self.current, error=reason)
            stop.wait(RETRY_SECONDS if self.current.error else REFRESH_SECONDS)

    def _read(self) -> Catalogue:
        namespace = (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        settings = _get(f"/api/v1/namespaces/{namespace}/configmaps/{self._settings}")
        currencies = _get(f"/apis/ledger.example.com/v1/namespaces/{namespace}/currencies")
        return Catalogue(
            currencies=frozenset(item["spec"]["code"] for item in currencies["items"]),
            attachment_bytes=int(settings.get("data", {}).get("attachmentBytes", DEFAULT_ATTACHMENT_BYTES)),
            read_at=datetime.datetime.now(datetime.timezone.utc),
        )


def _get(path: str) -> dict[str, Any]:
    # The token is read each time: the kubelet renews it.
    token = (SERVICE_ACCOUNT / "token").read_text(encoding="utf-8").strip()
    context = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"GET {path} answered {response.status}")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"GET {path} did not answer with an object")
    return document
