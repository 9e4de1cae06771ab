# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer of the bench: the shortest loops that do the same work, without anything of the collection."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import urllib3
import yaml

CONNECTIONS = 16
_SAMPLE = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")


class Server:
    """An API server by its kubeconfig: requests as they are, on kept connections."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        value = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = value["clusters"][0]["cluster"], value["users"][0]["user"]
        files = {}
        for name, text in (
            ("ca", cluster["certificate-authority-data"]),
            ("cert", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            files[name] = folder / f"{kubeconfig.stem}.{name}"
            files[name].touch(mode=0o600)
            files[name].write_bytes(base64.b64decode(text))
        self.url = str(cluster["server"])
        self.pool = urllib3.PoolManager(
            maxsize=CONNECTIONS + 1,
            ca_certs=str(files["ca"]),
            cert_file=str(files["cert"]),
            key_file=str(files["key"]),
            retries=False,
        )

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        answer = self.pool.request(
            method, self.url + path, body=body, headers={"Content-Type": "application/json"}, timeout=120
        )
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:300]!r}")
        return answer.data

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path))

    def pages(self, path: str) -> Iterator[bytes]:
        """All of a collection, by 1,000."""
        token = ""
        while True:
            data = self.request("GET", f"{path}?limit=1000" + (f"&continue={token}" if token else ""))
            yield data
            token = json.loads(data)["metadata"].get("continue") or ""
            if not token:
                return

    def create_all(self, objects: Iterable[tuple[str, bytes]]) -> float:
        """POST each body to its path on 16 connections; the seconds it took."""
        waiting, lock, errors = iter(objects), threading.Lock(), []

        def work() -> None:
            while not errors:
                with lock:
                    item = next(waiting, None)
                if item is None:
                    return
                try:
                    self.request("POST", *item)
                except Exception as error:  # the first one ends the loop and is raised below
                    errors.append(error)

        threads = [threading.Thread(target=work) for _number in range(CONNECTIONS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return time.monotonic() - started

    def namespaces(self, prefix: str) -> list[str]:
        found = [name for page in self.pages("/api/v1/namespaces") for name in _names(page)]
        return [name for name in found if name.startswith(prefix)]

    def clear(self, prefix: str) -> None:
        """Delete the namespaces of this prefix and wait until they are gone."""
        for name in self.namespaces(prefix):
            self.request("DELETE", f"/api/v1/namespaces/{name}")
        end = time.monotonic() + 1800
        while self.namespaces(prefix):
            if time.monotonic() > end:
                raise RuntimeError(f"namespaces {prefix}* are not gone after half an hour")
            time.sleep(1)

    def writes(self, *resources: str) -> int:
        """How many writing requests for these resources the server has counted so far."""
        text = self.request("GET", "/metrics").decode()
        total = 0.0
        for match in _SAMPLE.finditer(text):
            labels = dict(_LABEL.findall(match["labels"]))
            if labels.get("verb") in WRITES and labels.get("resource") in resources:
                total += float(match["value"])
        return int(total)


def _names(page: bytes) -> list[str]:
    return [str(item["metadata"]["name"]) for item in json.loads(page)["items"]]


def body(api_version: str, kind: str, name: str, namespace: str | None, **more: Any) -> bytes:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return json.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}).encode()


def spaces(prefix: str, number: int) -> Iterator[tuple[str, bytes]]:
    for index in range(number):
        yield "/api/v1/namespaces", body("v1", "Namespace", f"{prefix}{index:04d}", None)


def secrets(prefix: str, namespaces: int, each: int) -> Iterator[tuple[str, bytes]]:
    """Small Secrets that differ, as passwords and tokens do."""
    for index in range(namespaces):
        space = f"{prefix}{index:04d}"
        for number in range(each):
            value = base64.b64encode(f"password {index} {number} of nobody".encode()).decode()
            yield (
                f"/api/v1/namespaces/{space}/secrets",
                body(
                    "v1",
                    "Secret",
                    f"secret-{number:05d}",
                    space,
                    type="Opaque",
                    data={"password": value, "user": "YXBw"},
                ),
            )
