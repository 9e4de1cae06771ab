# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests against a real API server: an etcd, a kube-apiserver and few controllers of its own, without any node.

The programs are those of the test bed, which builds them at their first use and keeps them.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))
sys.path.insert(0, str(ROOT / ".work" / "ansible"))
# On a busy machine.
_READY_WITHIN = 180.0


def built(group: str) -> Path:
    """The folder with the test bed's programs of a group."""
    command = [sys.executable, str(ROOT / "tests" / "sites" / "bed"), "build", group]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def free_ports(number: int) -> list[int]:
    """Ports that nobody has now; all are held until the last is found, so they differ."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _index in range(number)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]


@contextmanager
def program(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs during the block and not a moment longer; its output is in a file beside its data."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        # The kernel ends it when pytest ends, even if that was killed.
        words = ["setpriv", "--pdeathsig", "KILL", *command]
        started = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
        try:
            yield started
        finally:
            # Nothing of it is kept, so nothing has to be put in order first.
            started.kill()
            started.wait()


def wait_until_ready(url: str, authority: Path, token: str, started: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY_WITHIN
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    while started.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(request, timeout=5, context=ssl.create_default_context(cafile=str(authority))):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the API server does not become ready; {log} ends with {log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Server:
    """A running API server: kubeconfigs of its administrator and of user `restorer`, and kubectl of its version."""

    kubeconfig: str
    restorer: str
    kubectl: str


def write_kubeconfig(path: Path, server: str, authority: Path, token: str) -> None:
    cluster = {"server": server, "certificate-authority": str(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "api", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "api", "context": {"cluster": "api", "user": "user"}}],
        "current-context": "api",
    }
    path.write_text(json.dumps(document))
    path.chmod(0o600)


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    etcd, kubernetes = built("etcd"), built("kubernetes")
    port, client, peer = free_ports(3)
    token, pki, key, kubeconfig = secrets.token_hex(16), folder / "pki", folder / "accounts.key", folder / "kubeconfig"
    other, restorer = secrets.token_hex(16), folder / "kubeconfig-restorer"
    (folder / "tokens").write_text(f"{token},admin,admin,system:masters\n{other},restorer,restorer\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-f", str(key)], check=True)
    write_kubeconfig(kubeconfig, f"https://127.0.0.1:{port}", pki / "apiserver.crt", token)
    write_kubeconfig(restorer, f"https://127.0.0.1:{port}", pki / "apiserver.crt", other)
    with ExitStack() as stack:
        stack.enter_context(
            program(
                folder,
                str(etcd / "etcd"),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{client}",
                f"--advertise-client-urls=http://127.0.0.1:{client}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
                "--log-level=error",
            )
        )
        started = stack.enter_context(
            program(
                folder,
                str(kubernetes / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{client}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                # It makes its own certificate there.
                f"--cert-dir={pki}",
                f"--token-auth-file={folder / 'tokens'}",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://api.test",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--service-cluster-ip-range=10.0.0.0/24",
                # Pods are made before the controller has made the account of their namespace.
                "--disable-admission-plugins=ServiceAccount",
            )
        )
        log = folder / "kube-apiserver.log"
        wait_until_ready(f"https://127.0.0.1:{port}/readyz", pki / "apiserver.crt", token, started, log)
        stack.enter_context(
            program(
                folder,
                str(kubernetes / "kube-controller-manager"),
                f"--kubeconfig={kubeconfig}",
                "--controllers=namespace,serviceaccount,garbagecollector",
                "--secure-port=0",
                "--leader-elect=false",
            )
        )
        yield Server(str(kubeconfig), str(restorer), str(kubernetes / "kubectl"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of this process; each test has a namespace of its own."""
    with running(tmp_path_factory.mktemp("api")) as started:
        yield started


class Api:
    """The server through kubectl, as a user would act on it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __call__(self, *arguments: str, stdin: Any = None, fails: bool = False) -> str:
        text = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        command = [self.server.kubectl, "--kubeconfig", self.server.kubeconfig, *arguments]
        done = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=120)
        assert fails or done.returncode == 0, done.stderr
        return done.stdout + (done.stderr if fails else "")

    def get(self, *arguments: str) -> dict[str, Any]:
        obj: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json", "--show-managed-fields"))
        return obj

    def apply(self, obj: dict[str, Any], manager: str = "", fails: bool = False) -> str:
        server_side = ["--server-side", "--field-manager", manager] if manager else []
        return self("apply", *server_side, "-f", "-", stdin=obj, fails=fails)


@pytest.fixture
def api(server: Server) -> Api:
    return Api(server)


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    name = f"muster-api-{uuid.uuid4().hex[:8]}"
    api("create", "namespace", name)
    yield name
    api("delete", "namespace", name, "--ignore-not-found", "--wait=false")


Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def run(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Both modules by their real ``main()``, with a repository that is a folder."""
    from fakes.k8s_modules import calling, in_folder

    in_folder(tmp_path / "repository", monkeypatch)
    main = calling(capsys)

    def call(module: Any, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        return main(module, check, diff, **{"kubeconfig": server.kubeconfig, **options})

    return call
