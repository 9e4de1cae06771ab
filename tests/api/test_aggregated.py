# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application that brings an API server of its own, behind a real aggregator."""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import execute
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def status(code: int) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}


class Extension:
    """An API server for one kind, `reports`, in memory."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.objects: dict[str, dict[str, Any]] = {}
        self.port = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        version = f"{self.group}/v1"
        if not path.startswith(f"/apis/{version}"):
            return status(404)
        parts = path.removeprefix(f"/apis/{version}").strip("/").split("/")
        if parts == [""]:
            verbs = ["create", "get", "list"]
            kind = {"name": "reports", "singularName": "", "kind": "Report", "namespaced": True, "verbs": verbs}
            return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [kind]}
        if method == "POST":
            body["metadata"].update({"uid": str(uuid.uuid4()), "resourceVersion": "1"})
            self.objects[body["metadata"]["name"]] = body
            return 201, body
        if parts[-1] == "reports":
            listed = {"items": list(self.objects.values()), "metadata": {"resourceVersion": "1"}}
            return 200, {"kind": "ReportList", "apiVersion": version, **listed}
        found = self.objects.get(parts[-1])
        return (200, found) if found else status(404)


@contextmanager
def serving(extension: Extension, pki: Path) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            body = json.loads(data) if data else None
            code, document = extension.answer(self.command, self.path.partition("?")[0], body)
            data = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", extension.port), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    extension.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_its_objects_wait_for_their_api_and_are_blocked_without_it(
    run: Any, api: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension = Extension(f"{namespace}.example.com")
    name = f"v1.{extension.group}"
    pki = Path(api.server.kubeconfig).parent / "pki"
    report = thing("Report", "today", namespace, f"{extension.group}/v1", spec={"sky": "blue"})
    try:
        with serving(extension, pki):
            api.apply(thing("Service", "api", namespace, spec={"type": "ExternalName", "externalName": "localhost"}))
            spec = {
                "group": extension.group,
                "version": "v1",
                "service": {"namespace": namespace, "name": "api", "port": extension.port},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
            }
            api.apply(thing("APIService", name, api_version="apiregistration.k8s.io/v1", spec=spec))
            api("wait", "--for=condition=Available=True", f"apiservice/{name}", "--timeout=60s")
            place = f"/apis/{extension.group}/v1/namespaces/{namespace}/reports"
            # The aggregator takes a moment to act on what it says.
            end = time.monotonic() + 30
            while "today" not in extension.objects and time.monotonic() < end:
                api("create", "--raw", place, "-f", "-", stdin=report, fails=True)
            taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
        assert taken["counts"][f"reports.{extension.group}"] == 1
        extension.objects.clear()
        api("delete", "apiservice", name)
        api("delete", "service", "api", "-n", namespace)
        snapshot = taken["snapshot"]["tree"]
        options = {"snapshot": snapshot, "point": "p", "existing": "update", "allow_partial": True}
        mine, registration = (
            f"{namespace}/reports.{extension.group}/today",
            f"apiservices.apiregistration.k8s.io/{name}",
        )

        def outcome(check: bool = False) -> dict[str, dict[str, Any]]:
            return {one["name"]: one for one in run(k8s_restore, check, **options)["objects"]}

        plan = outcome(check=True)
        assert (plan[mine]["action"], plan[mine]["sure"]) == ("create", "assumed")
        assert plan[registration]["action"] == "create"
        with monkeypatch.context() as patched:
            patched.setattr(execute, "_API_WITHIN", 3.0)
            done = outcome()
        assert done[registration]["changed"] and done[mine]["action"] == "blocked"
        assert "does not become available: failing or missing response" in done[mine]["reason"]
        with serving(extension, pki):
            done = outcome()
            assert (done[mine]["action"], done[mine]["msg"]) == ("create", "created")
            assert extension.objects["today"]["spec"] == {"sky": "blue"}
            # Discovery takes a moment to know the group.
            end = time.monotonic() + 30
            while mine not in run(k8s_restore, check=True, **options)["unchanged"] and time.monotonic() < end:
                time.sleep(1)
            assert run(k8s_restore, **options)["changed"] is False
    finally:
        api("delete", "apiservice", name, "--ignore-not-found")
