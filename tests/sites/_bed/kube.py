"""A small client of the Kubernetes API: what the bed needs before any Python package is installed."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .authority import write
from .steps import BedError

Document = dict[str, Any]


class ApiError(BedError):
    """The API server refused."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status


@dataclass
class Api:
    """A site's API server, with the administrator's certificate."""

    server: str
    folder: Path
    timeout: float = 10
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
            self._context.load_cert_chain(self.folder / "client.crt", self.folder / "client.key")
        return self._context

    def call(self, method: str, path: str, body: Document | list[Any] | None = None, kind: str = "json") -> Document:
        """One request. Raises ApiError for a refusal, OSError when the server can not be reached."""
        place = urlsplit(self.server)
        assert place.hostname is not None
        connection = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=self.timeout, context=self.context()
        )
        try:
            headers = {"Accept": "application/json", "Content-Type": f"application/{kind}"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            data = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        try:
            document = json.loads(data) if data.strip() else {}
        except json.JSONDecodeError:
            document = {"message": data.decode(errors="replace")[:200]}
        if answer.status >= 300:
            raise ApiError(method, path, answer.status, str(document.get("message", "")))
        return document if isinstance(document, dict) else {"value": document}

    def get(self, path: str) -> Document | None:
        """An object, or None when there is none."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str) -> list[Document]:
        found = self.get(path)
        return list(found.get("items") or []) if found else []

    def ready(self) -> bool:
        try:
            self.call("GET", "/readyz")
        except (OSError, BedError):
            return False
        return True

    def resources(self) -> Iterator[tuple[str, Document]]:
        """Every listable resource in its preferred version: (path of its group and version, its description)."""
        yield from (("/api/v1", found) for found in self.listable("/api/v1"))
        for group in self.call("GET", "/apis")["groups"]:
            path = "/apis/" + group["preferredVersion"]["groupVersion"]
            yield from ((path, found) for found in self.listable(path))

    def listable(self, path: str) -> list[Document]:
        try:
            found = self.call("GET", path).get("resources", [])
        except ApiError:  # an aggregated API without a server
            return []
        return [r for r in found if "/" not in r["name"] and "list" in r["verbs"]]


def extract(admin: str, folder: Path) -> None:
    """Take CA, certificate and key out of a kubeadm admin.conf."""
    for entry, name in (
        ("certificate-authority-data", "ca.crt"), ("client-certificate-data", "client.crt"),
        ("client-key-data", "client.key"),
    ):  # fmt: skip
        found = re.search(rf"{entry}: (\S+)", admin)
        if not found:
            raise BedError(f"The node's admin.conf has no {entry}")
        write(folder / name, base64.b64decode(found[1]).decode())


def kubeconfig(name: str, server: str, folder: Path) -> str:
    """A kubeconfig with one context, everything inline."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    return f"""apiVersion: v1
kind: Config
current-context: {name}
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {data("ca.crt")}
users:
- name: {name}
  user:
    client-certificate-data: {data("client.crt")}
    client-key-data: {data("client.key")}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
"""
