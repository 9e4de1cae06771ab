# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which login is taken for which repository, and what becomes of it at the registry."""

from __future__ import annotations

import base64
import json
import os
import re
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from fakes.copying import client, copy, same
from fakes.registry import FakeRegistry, Gate, digest_of

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci import auth
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login


def keyring_for(fake: FakeRegistry, *passwords: str, user: str = "muster") -> Keyring:
    keyring = Keyring()
    for password in passwords:
        keyring.add_document({fake.host: {"username": user, "password": password}}, f"secret number {len(password)}")
    return keyring


def test_a_login_for_a_path_is_not_covered_up_by_one_for_the_whole_host() -> None:
    keyring = Keyring()
    keyring.add("r.example:5000", Login("muster", "right", "", "sources"))
    keyring.add("r.example:5000", Login("muster", "wrong", "", "target"), "backup")
    assert [login.password for login in keyring.candidates("r.example:5000", "backup/shop")] == ["wrong"]
    assert [login.password for login in keyring.candidates("r.example:5000", "shop")] == ["right"]


# -- the token dance ------------------------------------------------------------------------------------------

GATES: dict[str, dict[str, Any]] = {
    "basic": {"auth": "basic"},
    "bearer": {},
    "tokens without expires_in": {"expires_in": None},
    "access_token": {"answer_key": "access_token"},
    "tokens that are revoked early": {"valid": 8},
    "tokens that end at once": {"expires_in": 1},
    "names that differ in scopes": {"prefix": "tenant/"},
}


@pytest.mark.parametrize("name", GATES)
def test_every_kind_of_login(name: str) -> None:
    what = {"auth": "bearer", **GATES[name]}
    with FakeRegistry(gate=Gate(**what)) as source, FakeRegistry(gate=Gate(**what)) as target:
        root = source.index("app", [source.image("app", layers=(os.urandom(200_000), b"two"))])
        keyring = Keyring()
        for fake in (source, target):
            keyring.add(fake.host, Login("muster", "secret"))
        copy(source, target, root["digest"], keyring=keyring)
        same(source, target)


def test_one_token_serves_a_repository_until_it_ends() -> None:
    with FakeRegistry(auth="bearer") as source:
        source.image("app", "v1")
        source.image("other", "v1")
        with client(source, keyring_for(source, "secret")) as registry:
            for repository in ("app", "app", "other", "app"):
                assert registry.manifest(repository, "v1")
        assert source.gate.asked == [["repository:app:pull"], ["repository:other:pull"]]


def test_a_token_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeRegistry(gate=Gate("bearer", expires_in=300)) as source:
        source.image("app", "v1")
        with client(source, keyring_for(source, "secret")) as registry:
            assert registry.manifest("app", "v1")
            now = auth.time.monotonic()
            monkeypatch.setattr(auth.time, "monotonic", lambda: now + 295)
            with source.watched() as seen:
                assert registry.manifest("app", "v1")
            monkeypatch.undo()
        assert [line.partition("?")[0] for line in seen] == ["GET /token", "GET /v2/app/manifests/v1"]


def test_a_registry_may_ask_for_more_rights_than_usual() -> None:
    with FakeRegistry(gate=Gate("bearer", prefix="tenant/")) as source:
        source.image("app", "v1")
        with client(source, keyring_for(source, "secret")) as registry:
            assert registry.manifest("app", "v1") and registry.manifest("app", "v1")
        assert source.gate.asked == [["repository:app:pull"], ["repository:app:pull", "repository:tenant/app:pull"]]


def test_anonymous_tokens_read_and_do_not_write() -> None:
    gate = {"auth": "bearer", "anonymous": frozenset({"pull"})}
    with FakeRegistry(gate=Gate(**gate)) as source, FakeRegistry(gate=Gate(**gate)) as target:
        root = source.image("app", "v1")
        with client(source) as registry:
            assert registry.manifest("app", "v1")
            assert registry.logins == ["anonymous"]
        with pytest.raises(Denied, match="none is known for it"):
            copy(source, target, root["digest"])


@pytest.mark.parametrize("login", [True, False])
def test_a_public_repository_stays_public_after_a_private_one(login: bool) -> None:
    """A login that one repository wants may be refused by another, which wants none."""

    class Private(Gate):
        def challenge(self, headers: Message, repository: str, write: bool, host: str) -> str | None:
            if repository == "private":
                return super().challenge(headers, repository, write, host)
            return 'Basic realm="fake"' if "Authorization" in headers else None

    with FakeRegistry(gate=Private("basic")) as source:
        for repository in ("private", "public"):
            source.image(repository, "v1")
        keyring = keyring_for(source, "secret") if login else Keyring()
        with client(source, keyring) as registry:
            for _time in range(2):
                if login:
                    assert registry.manifest("private", "v1")
                else:
                    with pytest.raises(Denied, match="none is known for it"):
                        registry.manifest("private", "v1")
                with source.watched() as seen:
                    assert registry.manifest("public", "v1")
            assert len(seen) == 1


def test_a_password_is_asked_for_once_for_all_repositories() -> None:
    with FakeRegistry(auth="basic") as source:
        for number in range(5):
            source.image(f"app{number}", "v1")
        with client(source, keyring_for(source, "secret")) as registry:
            for number in range(5):
                assert registry.manifest(f"app{number}", "v1")
        assert source.authorized == [False, *[True] * 5]


@pytest.mark.parametrize("right", [True, False])
def test_identity_tokens(right: bool) -> None:
    with FakeRegistry(gate=Gate("bearer", identity={"canary-identity"})) as source:
        source.image("app", "v1")
        keyring = Keyring()
        entry = {
            "identitytoken": "canary-identity" if right else "canary-old",
            "auth": base64.b64encode(b"x:").decode(),
        }
        keyring.add_document({"auths": {source.host: entry}}, "a file")
        with client(source, keyring) as registry:
            if right:
                assert registry.manifest("app", "v1")
                assert registry.logins == ["user x from a file"]
            else:
                with pytest.raises(Denied) as caught:
                    registry.manifest("app", "v1")
                assert "canary" not in str(caught.value)
        assert not any("canary" in line for line in source.requests)


def test_an_identity_token_is_no_password() -> None:
    with FakeRegistry(auth="basic") as source:
        source.image("app", "v1")
        keyring = Keyring()
        keyring.add_document({source.host: {"identitytoken": "token"}}, "the first file")
        keyring.add_document({source.host: {"username": "muster", "password": "secret"}}, "the second file")
        with client(source, keyring) as registry:
            assert registry.manifest("app", "v1")
        assert source.authorized == [False, True]


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_refusal_that_is_an_answer_costs_no_login(kind: str) -> None:
    """A mount or a list of referrers that is denied leaves the login that is right for all the rest in its place."""
    with FakeRegistry(auth=kind) as registry:
        first = registry.image("app", layers=(b"one",))
        registry.image("app", first["digest"].replace(":", "-") + ".sig", layers=(b"signature",), subject=first)
        registry.fault(r"\?mount=", status=401, times=99)
        registry.fault(r"/referrers/", status=403, times=99)
        copy(registry, registry, first["digest"], keyring=keyring_for(registry, "secret", "another", "third"))
        same(registry, registry)


def test_a_request_that_is_refused_takes_no_login_from_others() -> None:
    """While it tries one login after the other, its neighbours go on with the one that is right."""
    with FakeRegistry(auth="basic") as fake:
        image, answers = fake.image("app", layers=(b"one",)), list[bool]()
        with client(fake, keyring_for(fake, "secret", "another", "third")) as registry:

            def neighbour() -> None:
                answers.append(False)
                answers[-1] = registry.has_manifest("app", image["digest"])

            fake.fault(r"\?mount=", status=401, times=99, then=neighbour)
            assert registry.mount("app", digest_of(b"two"), "elsewhere") == (False, None)
        assert len(answers) >= 3 and all(answers)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_service_that_gives_no_rights_in_the_origin_of_a_mount(status: int) -> None:
    """Then blobs are sent. That the origin is closed to us is asked once, not for every blob."""
    with FakeRegistry(auth="bearer") as registry:
        root = registry.image("app", layers=(b"one", b"two", b"three"))
        both = r"/token\?.*scope=.*backup.*scope=.*app%3Apull$"
        registry.fault(both, status=status, times=99)
        tally = copy(registry, registry, root["digest"], keyring=keyring_for(registry, "secret", "another"), workers=1)
        assert (tally.mounted, tally.blobs) == (0, 4)
        same(registry, registry)
        assert len([line for line in registry.requests if re.search(both, line)]) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 500, "body": b"token database is down"}, "token service .* 500 token database is down"),
        ({"status": 200, "body": b"{}"}, "without a token"),
        ({"status": 200, "body": b"<html>"}, "without a token"),
        ({"status": 429, "headers": {"Retry-After": "3600"}}, "asks to wait 3600 seconds"),
    ],
)
def test_a_token_service_in_trouble(fault: dict[str, Any], words: str) -> None:
    with FakeRegistry(auth="bearer") as source:
        source.fault("/token", times=99, **fault)
        with client(source, keyring_for(source, "secret")) as registry, pytest.raises(Unavailable, match=words):
            registry.manifest("app", "v1")


def test_a_token_service_that_answers_without_end() -> None:
    with FakeRegistry(auth="bearer") as source:
        source.fault("/token", status=200, body=b"[" * 200_000)
        with (
            client(source, keyring_for(source, "secret")) as registry,
            pytest.raises(Unavailable, match="without a token"),
        ):
            registry.manifest("app", "v1")


def test_the_words_of_a_refusal_are_told() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'
    with FakeRegistry(auth="basic") as source:
        source.fault(".")
        source.fault(".", status=403, body=body, times=9)
        keyring = keyring_for(source, "canary-one")
        with client(source, keyring) as registry, pytest.raises(Denied) as caught:
            registry.manifest("app", "v1")
        text = str(caught.value)
        assert "DENIED requested access to the resource is denied" in text
        assert "user muster from secret number 10" in text
        assert "canary" not in text


# -- files and helpers ----------------------------------------------------------------------------------------


def write(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def auths(user: str, host: str = "r.example") -> dict[str, Any]:
    return {"auths": {host: {"auth": base64.b64encode(f"{user}:password of {user}".encode()).decode()}}}


def helper(directory: Path, name: str, answer: dict[str, str] | None) -> None:
    """A credential helper that answers for every host, and notes what it was asked."""
    program = directory / f"docker-credential-{name}"
    reply = f"echo '{json.dumps(answer)}'" if answer else "echo credentials not found; exit 1"
    program.write_text(f"#!/bin/sh\ncat >> {directory}/asked\necho >> {directory}/asked\n{reply}\n")
    program.chmod(0o755)


def users(host: str = "r.example", repository: str = "app", keyring: Keyring | None = None) -> list[str]:
    return [login.username for login in (keyring or Keyring()).candidates(host, repository)]


def test_files_in_their_usual_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, below in (("XDG_RUNTIME_DIR", "run"), ("XDG_CONFIG_HOME", "config"), ("DOCKER_CONFIG", "docker")):
        monkeypatch.setenv(variable, str(tmp_path / below))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(tmp_path / "named.json", auths("named"))))
    write(tmp_path / "run/containers/auth.json", auths("runtime"))
    write(tmp_path / "config/containers/auth.json", auths("podman"))
    write(tmp_path / "docker/config.json", auths("docker"))
    write(tmp_path / ".dockercfg", auths("legacy")["auths"])
    keyring = Keyring()
    keyring.add_file(str(write(tmp_path / "given.json", auths("given"))), "r.example")
    keyring.add_file(str(write(tmp_path / "elsewhere.json", auths("elsewhere"))), "other.example")
    keyring.add_document(auths("pull"), "pull secret shop/pull")
    expected = ["pull", "given", "named", "runtime", "podman", "docker", "legacy"]
    assert users(keyring=keyring) == expected
    assert str(keyring.candidates("r.example", "app")[3]) == f"user runtime from {tmp_path}/run/containers/auth.json"
    # What the options say holds alone.
    keyring.add("r.example", Login("chosen", "password"))
    assert users(keyring=keyring) == ["chosen"]


def test_broken_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "containers/auth.json", auths("podman")).write_text("{")
    (tmp_path / "config.json").write_text('["no", "object"]')
    assert users() == []
    write(tmp_path / "config.json", {"auths": {"r.example": {"auth": "%%%"}, "x.example": None}})
    assert users() == []


def test_entries_for_paths_and_the_names_of_docker_hub(tmp_path: Path) -> None:
    document = {
        "auths": {
            **auths("host")["auths"],
            **auths("team", "r.example/team")["auths"],
            **auths("app", "https://r.example/team/app/")["auths"],
            **auths("hub", "https://index.docker.io/v1/")["auths"],
            **auths("old", "https://old.example/v2/")["auths"],
        }
    }
    write(tmp_path / "config.json", document)
    assert users(repository="team/app") == ["app", "team", "host"]
    assert users(repository="team/application") == ["team", "host"]
    assert users(repository="teams/app") == ["host"]
    assert users("docker.io", "library/nginx") == ["hub"]
    assert users("old.example") == ["old"]


def test_credential_helpers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    helper(tmp_path, "own", {"Username": "own", "Secret": "canary"})
    helper(tmp_path, "store", {"Username": "<token>", "Secret": "canary"})
    helper(tmp_path, "none", None)
    document = {"credHelpers": {"r.example": "own", "docker.io": "own", "e.example": "none", "m.example": "missing"}}
    write(tmp_path / "config.json", {**document, "credsStore": "store", **auths("file")})
    assert users() == ["own", "file"]
    assert users("docker.io", "library/nginx") == ["own"]
    (stored,) = Keyring().candidates("other.example", "app")
    assert (stored.username, stored.identity_token) == ("", "canary")
    assert str(stored) == "user (token) from docker-credential-store"
    assert "canary" not in repr(stored)
    assert users("e.example") == users("m.example") == []
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["r.example", "https://index.docker.io/v1/", "other.example", "e.example"]


def test_the_best_login_stays_the_first() -> None:
    keyring = Keyring()
    document = {"auths": {"r.example.com": {"auth": base64.b64encode(b"a:1").decode()}}}
    other = {"auths": {"r.example.com": {"auth": base64.b64encode(b"b:2").decode()}}}
    for each in (document, other, document):
        keyring.add_document(each, "a pull secret")
    assert [login.username for login in keyring.candidates("r.example.com", "app")] == ["a", "b"]


def test_a_host_by_its_ipv6_address_has_logins_too() -> None:
    keyring = Keyring()
    keyring.add_document({"auths": {"[fd00::1]:5000": {"auth": base64.b64encode(b"a:1").decode()}}}, "a pull secret")
    assert [login.username for login in keyring.candidates("[fd00::1]:5000", "app")] == ["a"]


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("*.example.com", "r.example.com", True),
        ("*.example.com", "evil.r.example.com", False),
        ("*.example.com", "r.example.com:5000", False),
        ("*.example.com:5000", "r.example.com:5000", True),
        ("r.*", "r.example.com", False),
        ("*", "r.example.com", False),
        ("*", "r:5000", False),
        ("*.r.*.example", "a.r.b.example", True),
    ],
)
def test_a_glob_in_a_pull_secret_gives_its_login_only_to_hosts_that_a_kubelet_would(
    pattern: str, host: str, fits: bool
) -> None:
    keyring = Keyring()
    keyring.add_document(auths("a", pattern), "a pull secret")
    assert [login.username for login in keyring.candidates(host, "app")] == (["a"] if fits else [])


def test_a_registry_that_offers_both_kinds_of_login() -> None:
    class Both(Gate):
        def challenge(self, *args: Any) -> str | None:
            said = super().challenge(*args)
            return f'{said}, Basic realm="the same registry"' if said else None

    keyring = Keyring()
    with FakeRegistry(gate=Both("bearer", {"muster": "secret"})) as registry:
        keyring.add(registry.host, Login("muster", "secret"))
        image = registry.image("app", "1")
        with client(registry, keyring) as at:
            assert at.tag_digest("app", "1") == image["digest"]


def test_a_host_that_takes_uploads_for_the_registry_learns_no_login() -> None:
    keyring = Keyring()
    with (
        FakeRegistry() as source,
        FakeRegistry(gate=Gate("bearer", {"other": "x"})) as storage,
        FakeRegistry(gate=Gate("bearer", {"muster": "secret"}), locations=f"http://{storage.host}") as target,
    ):
        keyring.add(target.host, Login("muster", "secret"))
        digest = source.image("app", "1")["digest"]
        with pytest.raises(Unavailable, match="to which the registry sends uploads, wants a login"):
            copy(source, target, digest, keyring=keyring)
        assert storage.requests and not any(storage.authorized)


def test_a_folder_that_is_closed_to_us_holds_no_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", closed)
    assert Keyring().candidates("r.example.com", "app") == []
