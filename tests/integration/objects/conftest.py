# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two real sites, the modules as Ansible runs them, and a webhook that does something at a certain moment."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[3]
BED = ROOT / "tests" / "sites" / "bed"
JSON = dict[str, Any]


def bed(*words: str) -> None:
    """A verb of the test bed."""
    subprocess.run([BED, *words], check=True, stdout=subprocess.DEVNULL)


def settings() -> dict[str, str]:
    """The environment without what Molecule sets for the Ansible that it runs itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "ANSIBLE_NOCOLOR": "1"
    }


def ad_hoc(module: str, arguments: JSON, *, check: bool = False) -> subprocess.Popen[str]:
    """One module, started by Ansible's own program."""
    command: list[str | Path] = [
        ROOT / "tools" / "run",
        "ansible",
        "localhost",
        "-c",
        "local",
        "-m",
        f"muster.container_dr.{module}",
        "-a",
        json.dumps(arguments),
    ]
    # The same Python as the tests: it has the packages that modules need.
    command += ["-e", "ansible_python_interpreter={{ ansible_playbook_python }}", *(["--check"] if check else [])]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings(), start_new_session=True
    )


class Site:
    """One of the clusters, with kubectl and the collection's modules."""

    def __init__(self, name: str, facts: JSON, repository: JSON) -> None:
        self.name = name
        self.facts = facts["sites"][name]
        self.kubeconfig = str(self.facts["kubeconfig"])
        self.repository = repository
        self._kubectl = str(facts["tools"]["kubectl"])
        self._started: list[subprocess.Popen[str]] = []

    def kubectl(self, *words: str, feed: Any = None, fails: bool = False) -> str:
        command = [self._kubectl, f"--kubeconfig={self.kubeconfig}", *words]
        text = None if feed is None else feed if isinstance(feed, str) else json.dumps(feed)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if bool(done.returncode) is not fails:
            raise AssertionError(f"{' '.join(command)}: {done.returncode} {done.stdout[-500:]} {done.stderr[-2000:]}")
        return done.stdout + (done.stderr if fails else "")

    def apply(self, *objects: JSON) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", feed={"apiVersion": "v1", "kind": "List", "items": objects})

    def get(self, *words: str) -> JSON:
        value: JSON = json.loads(self.kubectl("get", *words, "-o", "json"))
        return value

    def names(self, kind: str, namespace: str) -> list[str]:
        return self.kubectl("get", kind, "-n", namespace, "-o", "name").split()

    def start(self, module: str, *, check: bool = False, **options: Any) -> subprocess.Popen[str]:
        """Start one module by Ansible's own program."""
        arguments = {"kubeconfig": self.kubeconfig, "repository": self.repository, **options}
        started = ad_hoc(module, arguments, check=check)
        self._started.append(started)
        return started

    def end(self) -> None:
        """Nothing of a test runs on after it."""
        for started in self._started:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
                started.communicate()
        self._started.clear()

    def run(self, module: str, *, check: bool = False, **options: Any) -> JSON:
        return result_of(self.start(module, check=check, **options))


def result_of(started: subprocess.Popen[str]) -> JSON:
    """What the module returned, failed or not."""
    out, err = started.communicate(timeout=600)
    text = out + err
    for mark in ("SUCCESS => ", "CHANGED => ", "FAILED! => "):
        at = text.find(f"localhost | {mark}")
        if at >= 0:
            value, _end = json.JSONDecoder().raw_decode(text[at + len(f"localhost | {mark}") :])
            # The program takes the key out and says it by its mark instead.
            return {"failed": "FAILED" in mark, **value}
    raise AssertionError(f"no result in: {text[-3000:]}")


def entries(result: JSON) -> dict[str, JSON]:
    return {str(entry["name"]): entry for entry in result["objects"]}


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> JSON:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def config_maps(namespace: str, number: int) -> list[JSON]:
    return [thing("ConfigMap", f"c{index:05d}", namespace, data={"a": str(index)}) for index in range(number)]


@pytest.fixture(scope="session")
def facts() -> JSON:
    path = ROOT / ".work" / "sites" / "bed.json"
    assert path.exists(), "The sites are not up; run 'make sites'."
    bed("heal")
    value: JSON = json.loads(path.read_text(encoding="utf-8"))
    return value


@pytest.fixture(scope="session")
def repository(facts: JSON) -> JSON:
    """A repository of these tests in east's object store."""
    store = facts["sites"]["east"]["s3"]
    return {
        "url": f"s3:{store['endpoint_url']}/muster/objects-{uuid.uuid4().hex[:8]}",
        "password_file": facts["repository_password_file"],
        "access_key": store["access_key"],
        "secret_key": Path(store["secret_key_file"]).read_text(encoding="utf-8").strip(),
        "region": store["region"],
        "ca_cert": facts["ca_file"],
        "restic": facts["tools"]["restic"],
    }


@pytest.fixture(scope="session")
def sites(facts: JSON, repository: JSON) -> tuple[Site, Site]:
    east, west = (Site(name, facts, repository) for name in ("east", "west"))
    made = result_of(ad_hoc("repository", {"state": "present", "repository": repository}))
    assert not made["failed"], made["msg"]
    return east, west


@pytest.fixture
def east(sites: tuple[Site, Site]) -> Site:
    return sites[0]


@pytest.fixture
def west(sites: tuple[Site, Site]) -> Site:
    return sites[1]


@pytest.fixture
def namespace(east: Site, west: Site) -> Iterator[str]:
    """A namespace at east; what is made of that name anywhere goes afterwards."""
    name = f"bad-day-{uuid.uuid4().hex[:8]}"
    east.kubectl("create", "namespace", name)
    yield name
    for site in (east, west):
        site.end()
        site.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


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


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it was not so after {seconds:g} s"
        time.sleep(0.2)
