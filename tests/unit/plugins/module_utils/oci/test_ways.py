# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a registry: redirects, TLS, proxies, and how much of it all workers may take."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import certificates
from fakes.copying import client, copy, same
from fakes.proxy import FakeProxy
from fakes.registry import INDEX, FakeRegistry, Gate

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci import connections, transport
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import Copier, Route, Tally
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registry
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import Endpoint, Task, Transport

TASK = Task("read", "something")


# -- where answers lead ---------------------------------------------------------------------------------------

PUBLIC, PRIVATE, HERE, LINK = "192.88.99.7", "10.1.2.3", "127.0.0.1", "169.254.169.254"


@pytest.mark.parametrize(
    ("sender", "location", "leads"),
    [
        (f"http://{PUBLIC}/v2/", f"http://{PUBLIC}:81/x", f"http://{PUBLIC}:81/x"),
        (f"http://{PUBLIC}/v2/", f"http://{PRIVATE}/x", None),
        (f"http://{PUBLIC}/v2/", f"http://{HERE}/x", None),
        (f"http://{PUBLIC}/v2/", f"http://{LINK}/latest/meta-data", None),
        (f"http://{PUBLIC}/v2/", "http://2852039166/latest/meta-data", None),
        (f"http://{PUBLIC}/v2/", f"http://[::ffff:{LINK}]/latest/meta-data", None),
        (f"http://{PUBLIC}/v2/", "http://100.100.100.200/", None),
        (f"http://{PUBLIC}/v2/", "http://[fe80::1]/", None),
        (f"http://{PUBLIC}/v2/", "http://0.0.0.0/", None),
        (f"http://{PUBLIC}/v2/", "http://localhost:8001/api", None),
        (f"http://{PRIVATE}/v2/", "http://192.168.7.8:9000/bucket", "http://192.168.7.8:9000/bucket"),
        (f"http://{PRIVATE}/v2/", f"http://{PUBLIC}/x", f"http://{PUBLIC}/x"),
        (f"http://{PRIVATE}/v2/", f"http://{HERE}/x", None),
        (f"http://{PRIVATE}/v2/", f"http://{LINK}/x", None),
        (f"http://{HERE}:5000/v2/", f"http://{LINK}/x", None),
        (f"http://{HERE}:5000/v2/", f"http://{HERE}:9000/x", f"http://{HERE}:9000/x"),
        (f"http://{LINK}/v2/a/", "../b", f"http://{LINK}/v2/b"),
        (f"http://{PUBLIC}/v2/", "//named.internal:9000/x", "http://named.internal:9000/x"),
        (f"https://{PUBLIC}:5000/v2/", f"http://{PUBLIC}/x", f"https://{PUBLIC}:5000/x"),
        (f"https://{PUBLIC}:5000/v2/", "http://192.88.99.8/x", None),
        (f"https://{PUBLIC}/v2/", "http://named.internal:9000/x", "http://named.internal:9000/x"),
        (f"https://{PUBLIC}/v2/", "file:///etc/passwd", None),
        (f"https://{PUBLIC}/v2/", f"https://{PUBLIC}:443/x", f"https://{PUBLIC}/x"),
        (f"http://{PUBLIC}:80/v2/", f"http://{PUBLIC}/x", f"http://{PUBLIC}:80/x"),
        (f"https://{PUBLIC}/v2/", "https://[::1/x", None),
        (f"https://{PUBLIC}/v2/", "https://registry:port/x", None),
    ],
)
def test_where_an_answer_may_lead(sender: str, location: str, leads: str | None) -> None:
    """Never further inside than the sender is, unless the options name the host."""
    transport = Transport([Endpoint("named.internal:9000", plain_http=True)])
    if leads is None:
        with pytest.raises(Unavailable, match="leads "):
            transport.follow(sender, location, TASK)
    else:
        assert transport.follow(sender, location, TASK) == leads


SECRETS = {"Location": "http://169.254.169.254/latest/meta-data"}


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda registry, digest: registry.manifest("app", digest), {"status": 302, "headers": SECRETS}),
        (lambda registry, digest: registry.read_blob("app", digest), {"status": 307, "headers": SECRETS}),
        (lambda registry, digest: registry.open_blob("app", digest, 7), {"status": 307, "headers": SECRETS}),
        (lambda registry, _digest: registry.begin_upload("app"), {"status": 202, "headers": SECRETS}),
        (
            lambda registry, digest: registry.manifest("app", digest),
            {"status": 401, "headers": {"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/token"'}},
        ),
        (
            lambda registry, digest: registry.referrers("app", digest),
            {
                "status": 200,
                "headers": {"Link": '<http://169.254.169.254/x>; rel="next"', "Content-Type": INDEX},
                "body": b'{"manifests": []}',
            },
        ),
    ],
)
def test_no_answer_leads_to_a_clouds_secrets(
    source: FakeRegistry, ask: Callable[[Registry, str], Any], what: dict[str, Any]
) -> None:
    digest = source.image("app")["digest"]
    source.fault(".", **what)
    with client(source) as registry, pytest.raises(Unavailable, match=r"leads to 169\.254.*internal.*describe that"):
        ask(registry, digest)


def test_a_redirect_may_be_relative_and_keeps_the_login_within_its_host(target: FakeRegistry) -> None:
    with FakeRegistry(auth="basic") as source:
        root = source.image("app", layers=(os.urandom(100),))
        keyring = Keyring()
        keyring.add(source.host, Login("muster", "secret"))
        source.fault(".")
        source.fault("GET .*/blobs/", status=307, headers={"Location": "?signed=1"})
        copy(source, target, root["digest"], keyring=keyring)
        same(source, target)
        redirected = [
            login for line, login in zip(source.requests, source.authorized, strict=True) if line.endswith("?signed=1")
        ]
        assert redirected and all(redirected)


def test_an_address_with_a_login_is_followed_without_it_and_never_shown(
    source: FakeRegistry, target: FakeRegistry
) -> None:
    with FakeRegistry() as storage:
        layer = storage.blob("app", b"one")["digest"]
        root = source.image("app", layers=(b"one",))
        location = f"http://u:canary@{storage.host}/v2/app/blobs/{layer}"
        source.fault(f"GET .*/blobs/{layer}", status=307, headers={"Location": location}, times=9)
        storage.fault(".", status=403, times=1)
        with pytest.raises(Exception, match=rf"by {storage.host}\) answered 403") as caught:
            copy(source, target, root["digest"])
        assert "canary" not in str(caught.value)
        copy(source, target, root["digest"])
    same(source, target)


def test_an_upload_that_leads_to_no_address_is_told(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app")
    target.fault("POST .*/uploads/", status=202, headers={"Location": "/v2/\u00e9"}, times=99)
    with pytest.raises(Unavailable, match=f"{target.host} leads to no address"):
        copy(source, target, root["digest"])


def test_a_refusal_of_the_storage_behind_a_registry_is_not_one_of_its_login(target: FakeRegistry) -> None:
    with FakeRegistry() as storage, FakeRegistry(auth="basic", redirect_blobs_to=storage.host) as source:
        root = source.image("app")
        storage.fault(".", status=403, body=b"<xml>expired</xml>", times=99)
        keyring = Keyring()
        keyring.add(source.host, Login("muster", "secret"))
        with pytest.raises(Exception, match=rf"by {storage.host}\) answered 403"):
            copy(source, target, root["digest"], keyring=keyring)


def connections_to(fake: FakeRegistry) -> set[int]:
    """The ports from which the fake is called, from now on."""
    ports: set[int] = set()
    accept = fake.server.get_request
    fake.server.get_request = lambda: (pair := accept(), ports.add(pair[1][1]))[0]
    return ports


def test_uploads_go_through_the_connections_that_are_there(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=tuple(os.urandom(100) for _layer in range(6)))
    ports = connections_to(target)
    copy(source, target, root["digest"], workers=1)
    same(source, target)
    # One of the blobs' worker, one of the manifests'.
    assert len(ports) <= 2


def test_connections_that_the_registry_has_ended_meanwhile(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=tuple(os.urandom(100_000) for _layer in range(4)))
    for fake in (source, target):
        fake.fault(".", parts=True, times=1_000_000)
    copy(source, target, root["digest"])
    same(source, target)
    assert target.uploaded_bytes == sum(map(len, source.repository("app").blobs.values()))


@pytest.mark.parametrize(("trusted", "opened"), [(1000.0, 1), (-1.0, 3)])
def test_a_connection_that_was_idle_for_too_long_is_not_used(
    source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, trusted: float, opened: int
) -> None:
    """What lies between may have forgotten it, so that an upload on it would get neither an answer nor an end."""
    monkeypatch.setattr(transport, "IDLE", trusted)
    source.image("app", "v1")
    ports = connections_to(source)
    with client(source) as registry:
        for _time in range(3):
            assert registry.manifest("app", "v1")
    assert len(ports) == opened


def test_a_redirect_costs_no_connection(target: FakeRegistry) -> None:
    with FakeRegistry() as storage, FakeRegistry(redirect_blobs_to=storage.host) as source:
        source.image("app", "v1", layers=(b"one", b"two", b"three"))
        storage.repositories = source.repositories
        ports = connections_to(source)
        with client(source) as registry:
            manifest = registry.manifest("app", "v1")
            assert manifest
            for blob in manifest.blobs:
                registry.read_blob("app", blob.digest)
                with registry.open_blob("app", blob.digest) as answer:
                    assert answer.chunk(10)
        assert len(ports) == 1


# -- TLS ------------------------------------------------------------------------------------------------------


def test_tls_with_an_authority_and_a_client_certificate_of_their_own(source: FakeRegistry, tmp_path: Path) -> None:
    server, us = certificates.certificate(tmp_path, "server"), certificates.certificate(tmp_path, "us")
    root = source.image("app", layers=(os.urandom(300_000),))
    with FakeRegistry(tls=certificates.server(*server, clients=us[0])) as target:
        # It does not know that it is reached by TLS.
        target.locations = f"http://{target.host}"
        target.fault("PUT .*/blobs/uploads/", swallow=100_000)

        def reach(**options: Any) -> None:
            named = [{"name": target.host, **options}, {"name": source.host, "plain_http": True}]
            registries = connections.of_options(named, Keyring())
            try:
                registry, origin = registries.at(target.host), registries.at(source.host)
                copier = Copier(registry)
                try:
                    copier.copy(Route(origin, "app", "backup/app"), root["digest"], Tally())
                finally:
                    copier.close()
            finally:
                registries.close()

        with pytest.raises(Unavailable, match=r"is not trusted.*Set ca_cert"):
            reach()
        with pytest.raises(Unavailable, match=r"client certificate.*Set client_cert"):
            reach(ca_cert=str(server[0]))
        reach(ca_cert=str(server[0]), client_cert=str(us[0]), client_key=str(us[1]))
        same(source, target)
        # One file may hold both.
        both = tmp_path / "both.pem"
        both.write_text(us[0].read_text() + us[1].read_text())
        reach(validate_certs=False, client_cert=str(both))
        for wrong, words in ((tmp_path / "none.pem", "no such file"), (us[0], "no certificate with its key")):
            with pytest.raises(InvalidInput, match=words):
                reach(client_cert=str(wrong))


def test_a_wanted_client_certificate_is_told_when_the_server_is_gone_before_we_ask(
    source: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, us = certificates.certificate(tmp_path, "server"), certificates.certificate(tmp_path, "us")
    connect = Transport._connect

    def late(self: Transport, *args: Any) -> Any:
        connection = connect(self, *args)
        # In TLS 1.3 a server refuses after the handshake is over for us: by now its alert is here, and the pipe broken.
        time.sleep(0.3)
        return connection

    monkeypatch.setattr(Transport, "_connect", late)
    with FakeRegistry(tls=certificates.server(*server, clients=us[0])) as target:
        registries = connections.of_options([{"name": target.host, "ca_cert": str(server[0])}], Keyring())
        try:
            with pytest.raises(Unavailable, match=r"client certificate.*Set client_cert"):
                registries.at(target.host).manifest("app", "v1")
        finally:
            registries.close()


@pytest.mark.parametrize("option", ["ca_cert", "client_cert", "client_key"])
@pytest.mark.parametrize(
    ("kind", "reason", "hint"),
    [
        ("missing", "there is no such file", "Correct the path"),
        ("folder", "Is a directory", "Name a file that this user may read"),
        ("closed", "Permission denied", "Name a file that this user may read"),
        ("binary", "no (PEM )?certificate", "PEM"),
    ],
)
def test_certificate_files_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, kind: str, reason: str, hint: str
) -> None:
    path = tmp_path / kind

    def closed(_path: Path, _mode: str) -> Any:
        raise PermissionError(13, "Permission denied")

    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"\x30\x82\x01\x00")
    if kind == "closed":
        # Whoever runs the tests may be allowed to read everything.
        monkeypatch.setattr(Path, "open", closed)
    files = {option: str(path)}
    if option == "client_key" and kind == "binary":
        files["client_cert"] = str(certificates.certificate(tmp_path, "us")[0])
    with pytest.raises(InvalidInput, match=f"read .*{option} {path}.* of registry 127.0.0.1:9: ") as caught:
        Transport([Endpoint("127.0.0.1:9", **files)]).request("GET", "https://127.0.0.1:9/v2/", TASK)
    assert re.search(reason, caught.value.reason)
    assert hint in caught.value.hint


# -- proxies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_gets_its_login_and_nobody_else_does(
    source: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    pair = certificates.certificate(tmp_path, "server")
    image = {"layers": (os.urandom(1000),)}
    with (
        FakeProxy("user", "canary:p@ss") as proxy,
        FakeRegistry(tls=certificates.server(*pair) if tls else None) as registry,
    ):
        variable = "HTTPS_PROXY" if tls else "HTTP_PROXY"
        reach = {"plain_http": not tls, "ca_cert": str(pair[0])}
        registry.image("app", "v1", **image)
        monkeypatch.setenv(variable, f"http://user:canary%3Ap%40ss@{proxy.address}")
        with client(registry, **reach) as reader:
            assert reader.manifest("app", "v1")
        assert proxy.seen and all(registry.host in line for line in proxy.seen)
        assert not [headers for headers in registry.headers if "Proxy-Authorization" in headers]
        # A wrong login is the proxy's word, and no secret is in it.
        monkeypatch.setenv(variable, f"{proxy.address.replace('127', 'user:canary-wrong@127')}")
        with client(registry, **reach) as reader, pytest.raises(Unavailable, match="407") as caught:
            reader.manifest("app", "v1")
        assert "canary" not in str(caught.value)
        # NO_PROXY: by name with a port, by network.
        proxy.seen.clear()
        for direct in (registry.host, "127.0.0.0/8", "localhost,127.0.0.1", "*"):
            monkeypatch.setenv("NO_PROXY", direct)
            with client(registry, **reach) as reader:
                assert reader.manifest("app", "v1")
        assert proxy.seen == []


@pytest.mark.parametrize("value", ["socks5://user:canary@127.0.0.1:1080", "http://127.0.0.1:port", "http://:80"])
def test_a_proxy_that_cannot_be_used_is_said(source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    with client(source) as registry, pytest.raises(InvalidInput, match="HTTP_PROXY") as caught:
        registry.manifest("app", "v1")
    assert "canary" not in str(caught.value)


def test_a_proxy_that_is_away_is_named(source: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@127.0.0.1:1")
    with client(source) as registry, pytest.raises(Unavailable, match=r"through proxy 127\.0\.0\.1:1 ") as caught:
        registry.manifest("app", "v1")
    assert "canary" not in str(caught.value)


# -- budgets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_workers_than_connections(source: FakeRegistry, target: FakeRegistry, limit: int) -> None:
    root = source.image("app", layers=tuple(os.urandom(50_000) for _layer in range(8)))
    # As many as may come in wait for each other, so that a busy machine cannot keep them apart.
    source.fault("GET .*/blobs/", times=limit, then=partial(threading.Barrier(limit).wait, 60))
    target.fault("PUT .*/blobs/", times=limit, then=partial(threading.Barrier(limit).wait, 60))
    for fake in (source, target):
        fake.fault(".", times=1_000_000, then=lambda: time.sleep(0.01))
    copy(source, target, root["digest"], workers=6, connections=limit)
    same(source, target)
    assert (source.busiest, target.busiest) == (limit, limit)


def ends(source: FakeRegistry, target: FakeRegistry, digest: str) -> bool:
    """Whether four workers with one connection a host come to an end."""
    thread = threading.Thread(
        target=copy, args=(source, target, digest), kwargs={"workers": 4, "connections": 1}, daemon=True
    )
    thread.start()
    thread.join(20)
    return not thread.is_alive()


def test_a_copy_within_one_host_does_not_wait_for_itself(source: FakeRegistry) -> None:
    source.mounts = False
    root = source.image("app", layers=tuple(os.urandom(50_000) for _layer in range(6)))
    assert ends(source, source, root["digest"])
    same(source, source)


def test_a_broken_upload_does_not_keep_its_source_open(source: FakeRegistry, target: FakeRegistry) -> None:
    """Else who holds the source and wants the target would wait for who holds the target and wants the source."""
    root = source.image("app", layers=tuple(os.urandom(12_000_000) for _layer in range(3)))
    target.fault("PUT .*/blobs/uploads/", swallow=100_000, times=3)
    assert ends(source, target, root["digest"])
    same(source, target)


def test_a_connection_that_broke_gives_its_place_back(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=tuple(os.urandom(50_000) for _layer in range(4)))
    for fake in (source, target):
        fake.fault("GET .*/blobs|PUT", reset=True, times=2)
        fake.fault("GET", cut=10, times=2)
        fake.fault("HEAD", status=503, times=2)
    copy(source, target, root["digest"], connections=1)
    same(source, target)


def test_requests_per_second(source: FakeRegistry) -> None:
    source.image("app", "v1")
    with client(source, requests_per_second=20) as registry:
        start = time.monotonic()
        threads = [threading.Thread(target=registry.tag_digest, args=("app", "v1")) for _worker in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - start >= 0.4
    assert len(source.requests) == 9


@pytest.mark.parametrize("slow", ["source", "target"])
def test_bytes_per_second(source: FakeRegistry, target: FakeRegistry, slow: str) -> None:
    """The slower side holds the other back, whole chunks and all, and the bytes are the same."""
    root = source.image("app", layers=(os.urandom(150_000), os.urandom(150_000)))
    keyring = Keyring()
    named = [
        {"name": fake.host, "plain_http": True, **({"bytes_per_second": 400_000} if fake is limited else {})}
        for limited in (source if slow == "source" else target,)
        for fake in (source, target)
    ]
    registries = connections.of_options(named, keyring)
    copier = Copier(registries.at(target.host))
    start = time.monotonic()
    copier.copy(Route(registries.at(source.host), "app", "backup/app"), root["digest"], Tally())
    took = time.monotonic() - start
    copier.close()
    registries.close()
    same(source, target)
    assert 0.35 < took < 30


@pytest.mark.parametrize("budget", ["connections", "requests_per_second", "bytes_per_second"])
def test_a_budget_of_nothing_is_no_budget(budget: str) -> None:
    with pytest.raises(InvalidInput, match=f"{budget} of registry r.example"):
        connections.of_options([{"name": "r.example", budget: 0}], Keyring())


def test_what_is_said_of_docker_hub_counts_for_the_host_that_answers() -> None:
    registries = connections.of_options([{"name": "docker.io", "plain_http": True}], Keyring())
    assert registries.at("docker.io")._base == "http://registry-1.docker.io/v2/"


def test_a_gate_may_stand_at_another_host(target: FakeRegistry) -> None:
    with FakeRegistry() as service:
        gate = Gate("bearer", realm=f"http://{service.host}/token")
        service.gate = gate
        with FakeRegistry(gate=gate) as source:
            root = source.image("app")
            keyring = Keyring()
            keyring.add(source.host, Login("muster", "secret"))
            copy(source, target, root["digest"], keyring=keyring)
            same(source, target)
            assert {line.partition("?")[0] for line in service.requests} == {"GET /token"}
