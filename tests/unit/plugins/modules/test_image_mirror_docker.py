# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of a Docker host: the module's own main and the real SDK against an engine on a socket."""

from __future__ import annotations

import base64
import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes import certificates
from fakes.copying import alone
from fakes.docker_engine import FakeEngine
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._docker import client as client_module
from ansible_collections.muster.container_dr.plugins.module_utils._docker import compose as compose_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import daemon as daemon_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import mirror as mirror_module
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

JSON = dict[str, Any]
Run = Callable[..., JSON]
ALL = {"name": "shop", "containers": ["*"]}
GONE = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone(monkeypatch, tmp_path)
    # What has no registry in its name is asked of Docker Hub, to which no test has a way.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="bearer", users={"muster": "canary-word"}) as registry:
        yield registry


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        yield fake


@pytest.fixture
def containerd() -> Iterator[FakeEngine]:
    with FakeEngine(containerd=True) as fake:
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], east: FakeRegistry, tmp_path: Path) -> Run:
    login = base64.b64encode(b"muster:canary-word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {east.host: {"auth": login}}}))

    def call(at: FakeEngine | None = None, *, check: bool = False, **options: Any) -> JSON:
        arguments = {
            **({} if "images" in options else {"application": ALL}),
            "sources": [{"name": east.host, "plain_http": True}],
            "workers": 2,
            "_ansible_check_mode": check,
            **({"docker": {"docker_host": at.docker_host}} if at else {}),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_mirror.main()
        captured = capsys.readouterr()
        assert "canary" not in captured.out
        result: JSON = json.loads(captured.out)
        return result

    return call


def place(registry: FakeRegistry, prefix: str = "backup") -> JSON:
    return {"name": f"{registry.host}/{prefix}", "plain_http": True}


def path(registry: FakeRegistry, repository: str) -> str:
    return f"{registry.host.replace(':', '-')}/{repository}"


def of_compose(project: str, service: str) -> JSON:
    return {"com_docker_compose_project": project, "com_docker_compose_service": service}


def test_the_whole_way(engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    image = east.image("shop/web", "1", layers=(b"one", b"two"))
    name, pulled = f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}"
    identity = engine.pulled(east.repository("shop/web"), image["digest"], name, digests=(pulled,))
    engine.run("shop-web-1", name, identity, **of_compose("shop", "web"))
    engine.run("shop-web-2", name, identity, state="exited", **of_compose("shop", "web"))
    engine.run("lonely", pulled, identity, state="created")
    target = place(west)
    planned = run(engine, target=target, check=True)
    assert planned["changed"] and west.writes() == []
    result = run(engine, target=target)
    by_digest, by_tag = sorted(result["images"], key=lambda entry: entry["resolved_by"], reverse=True)
    assert (by_tag["name"], by_tag["digest"], by_tag["resolved_by"]) == (name, image["digest"], "image_id")
    assert by_tag["used_by"] == ["shop/services/web:shop-web-1", "shop/services/web:shop-web-2"]
    assert (by_tag["nodes"], by_tag["platforms"]) == (["dock-1"], ["linux/amd64"])
    assert (by_digest["name"], by_digest["resolved_by"]) == (pulled, "spec_digest")
    assert by_digest["used_by"] == ["containers/lonely"]
    assert by_tag["target"] == f"{west.host}/backup/{path(east, 'shop/web')}@{image['digest']}"
    # The login of the user who runs the module.
    assert result["logins"][east.host].startswith("user muster from")
    assert run(images=result["images"], target=target, verify="digests")["failures"] == 0
    assert run(engine, target=target)["changed"] is False
    assert not [asked for asked in engine.requests if asked.endswith("/get")]


def test_containers_are_chosen_by_names_and_globs(engine: FakeEngine, run: Run) -> None:
    for name in ("web", "db", "db-old"):
        engine.run(name, name, engine.built(f"{name}:1"))
    engine.run("api-1", "api", engine.built("api:1"), **of_compose("ledger", "api"))
    engine.run("mover", "mover", engine.built("mover:1"), **{"app_kubernetes_io/managed-by": "muster.container_dr"})

    def users(**application: Any) -> list[str]:
        result = run(engine, application={"name": "shop", **application})
        return sorted(user for entry in result["images"] for user in entry["used_by"])

    assert users(containers=["db*"]) == ["containers/db", "containers/db-old"]
    assert users(compose_projects=["led*"]) == ["ledger/services/api:api-1"]
    assert users(containers=["web"], compose_projects=["ledger"]) == ["containers/web", "ledger/services/api:api-1"]
    assert "containers/mover" not in users(containers=["*"])
    assert users(containers=["web", "nobody"], allow_no_match=True) == ["containers/web"]


def test_images_that_an_application_leaves_out(engine: FakeEngine, run: Run) -> None:
    for name in ("web", "db"):
        engine.run(name, f"{name}:1", engine.built(f"{name}:1"))
    rules = [{"pattern": "docker.io/library/d*", "reason": "is public"}]
    result = run(engine, application={"name": "shop", "containers": ["*"], "images": {"exclude": rules}})
    assert [entry["name"] for entry in result["images"]] == ["web:1"]
    assert result["excluded"] == [{"what": "image:db:1", "why": "is public"}]


@pytest.mark.parametrize(
    ("application", "words"),
    [
        (
            {"containers": ["web", "nobody", "x*"]},
            ["containers nobody, containers x* of application shop", "running or not"],
        ),
        ({"compose_projects": ["ledgre"]}, ["compose_projects ledgre", "Mend the application"]),
        ({"containers": ["web"], "namespaces": ["shop"]}, ["containers of a Docker host and namespaces of a cluster"]),
        ({"compose_projects": ["a"], "whole_cluster": True}, ["compose_projects of a Docker host and whole_cluster"]),
        ({"container": ["web"]}, ["unknown key 'container'", "Did you mean 'containers'"]),
        ({"containers": "web"}, ["containers: it is not a list of texts"]),
    ],
)
def test_applications_that_cannot_be_meant(engine: FakeEngine, run: Run, application: JSON, words: list[str]) -> None:
    engine.run("web", "web", engine.built("web:1"))
    result = run(engine, application={"name": "shop", **application})
    assert result["failed"]
    assert not [word for word in words if word not in result["msg"]]


def test_a_moved_tag_is_reported_with_both_digests(engine: FakeEngine, east: FakeRegistry, run: Run) -> None:
    old, name = east.image("shop/web", "1", layers=(b"old",)), f"{east.host}/shop/web:1"
    identity = engine.pulled(
        east.repository("shop/web"), old["digest"], digests=(f"{east.host}/shop/web@{old['digest']}",)
    )
    new = east.image("shop/web", "1", layers=(b"new",))
    engine.run("web", name, identity)
    (entry,) = (result := run(engine))["images"]
    assert (entry["digest"], entry["tag_digest"], entry["resolved_by"]) == (old["digest"], new["digest"], "image_id")
    assert any(old["digest"] in str(text) and new["digest"] in str(text) for text in result["warnings"])


def test_the_index_is_preferred_to_the_platform_that_was_pushed(
    engine: FakeEngine, east: FakeRegistry, run: Run
) -> None:
    child = {**east.image("shop/web"), "platform": {"os": "linux", "architecture": "amd64"}}
    root, name = east.index("shop/web", [child], "1"), f"{east.host}/shop/web:1"
    pushed = f"{east.host}/shop/web@{child['digest']}"
    engine.run("web", name, engine.pulled(east.repository("shop/web"), child["digest"], name, digests=(pushed,)))
    assert run(engine)["images"][0]["digest"] == root["digest"]


def test_the_other_rungs(engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    east.image("shop/loaded", "1", layers=(b"loaded",))
    loaded = east.repository("shop/loaded")
    other = east.image("other/web", "1", layers=(b"other",))
    lost = west.image(f"backup/{path(east, 'shop/lost')}", layers=(b"lost",))
    # Brought by docker load: no digest, but the tag's configuration is what the container has.
    engine.run("a", f"{east.host}/shop/loaded:1", engine.pulled(loaded, loaded.tags["1"], f"{east.host}/shop/loaded:1"))
    # Tagged anew.
    engine.run(
        "b",
        f"{east.host}/shop/renamed:1",
        engine.pulled(
            east.repository("other/web"),
            other["digest"],
            f"{east.host}/shop/renamed:1",
            digests=(f"{east.host}/other/web@{other['digest']}",),
        ),
    )
    engine.run(
        "c",
        f"{east.host}/shop/lost:1",
        engine.pulled(
            west.repository(f"backup/{path(east, 'shop/lost')}"),
            lost["digest"],
            digests=(f"{east.host}/shop/lost@{lost['digest']}",),
        ),
    )
    result = run(engine, mirrors=[place(west)])
    assert {entry["used_by"][0][-1]: entry["resolved_by"] for entry in result["images"]} == {
        "a": "config_digest",
        "b": "image_id_repository",
        "c": "mirror",
    }
    assert {entry["path"] for entry in result["images"]} == {
        path(east, f"shop/{name}") for name in ("loaded", "renamed", "lost")
    }


def test_an_image_that_was_built_is_exported(
    engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run
) -> None:
    name = f"{east.host}/shop/built:1"
    identity = engine.built(name, layers=(b"first", b"second"))
    engine.run("web", name, identity, state="paused")
    target = place(west)
    planned = run(engine, target=target, check=True)
    copied = run(engine, target=target)
    (entry,) = copied["images"]
    assert (entry["resolved_by"], entry["tag_digest"]) == ("export", None)
    assert (entry["path"], entry["repository"]) == (path(east, "shop/built"), f"docker-daemon:{identity}")
    assert planned["changed"] and planned["images"][0]["digest"] == entry["digest"]
    held = west.repository(f"backup/{entry['path']}")
    assert json.loads(held.manifests[entry["digest"]][0])["config"]["digest"] == identity
    assert b"second" in held.blobs.values()
    resolved = run(engine)
    assert "its digest is a new one" in resolved["images"][0]["msg"]
    assert entry["msg"].startswith("copied; ") and "its digest is a new one" in entry["msg"]
    # Nobody expected another digest, so nobody is warned.
    assert name not in str(resolved.get("warnings"))
    assert run(engine, target=target)["changed"] is False
    # Taken from the daemon again by what was returned, though its tag is gone meanwhile.
    engine.images[identity]["RepoTags"] = []
    again = run(engine, images=resolved["images"], target=place(west, "second"))
    assert again["changed"] and again["images"][0]["path"] == entry["path"]
    assert run(images=copied["images"], target=target, verify="digests")["failures"] == 0


def test_a_tag_that_is_another_image_is_not_taken(
    engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run
) -> None:
    others, name = east.image("shop/web", "1", layers=(b"others",)), f"{east.host}/shop/web:1"
    engine.run("web", name, engine.built(name, layers=(b"mine",)))
    result = run(engine, target=place(west), tags=True)
    (entry,) = result["images"]
    assert (entry["resolved_by"], entry["tag_digest"]) == ("export", others["digest"])
    assert any(others["digest"] in str(text) for text in result["warnings"])
    assert "1" not in west.repository(f"backup/{entry['path']}").tags


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_what_a_registry_has_lost_is_exported_with_a_warning(
    engine: FakeEngine, east: FakeRegistry, run: Run, by: str
) -> None:
    lost, name = east.image("shop/web", "1", layers=(b"lost",)), f"{east.host}/shop/web:1"
    pulled = f"{east.host}/shop/web@{lost['digest']}"
    engine.run(
        "web",
        name if by == "tag" else pulled,
        engine.pulled(east.repository("shop/web"), lost["digest"], name, digests=(pulled,)),
    )
    east.repositories.clear()
    (entry,) = (result := run(engine))["images"]
    assert (entry["resolved_by"], entry["failed"]) == ("export", False)
    assert entry["digest"] != lost["digest"] and lost["digest"] in entry["msg"]
    assert any(lost["digest"] in str(text) and "new one" in str(text) for text in result["warnings"])


def test_a_registry_that_is_down_is_no_reason_to_lose_the_image(
    engine: FakeEngine, west: FakeRegistry, run: Run
) -> None:
    with FakeRegistry() as away:
        image, host = away.image("shop/web", "1"), away.host
        name, pulled = f"{host}/shop/web:1", f"{host}/shop/web@{image['digest']}"
        identity = engine.pulled(away.repository("shop/web"), image["digest"], name, digests=(pulled,))
    engine.run("web", name, identity)
    down = {"sources": [{"name": host, "plain_http": True}]}
    (entry,) = (result := run(engine, **down))["images"]
    assert entry["resolved_by"] == "export" and host in entry["msg"]
    assert any(host in str(text) for text in result["warnings"])
    # A mirror that has it comes first: there it is the same image, byte for byte.
    west.repositories[f"backup/{host.replace(':', '-')}/shop/web"] = away.repository("shop/web")
    (entry,) = run(engine, mirrors=[place(west)], **down)["images"]
    assert (entry["resolved_by"], entry["digest"]) == ("mirror", image["digest"])


def test_a_host_without_a_way_to_its_registry_waits_only_for_the_first_images(engine: FakeEngine, run: Run) -> None:
    with FakeRegistry() as away:
        away.fault("GET|HEAD", status=503, times=999)
        for number in range(8):
            name = f"{away.host}/shop/web:{number}"
            engine.run(f"web-{number}", name, engine.built(name, layers=(str(number).encode(),)))
        result = run(engine, sources=[{"name": away.host, "plain_http": True}], workers=1)
        asked = str(away.requests)
    assert {entry["resolved_by"] for entry in result["images"]} == {"export"}
    assert "503" in result["images"][-1]["msg"] and "/manifests/7" not in asked


def test_an_image_without_a_name(engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    bare = engine.built(layers=(b"bare",))
    pulled = east.image("shop/web", layers=(b"pulled",))
    known = engine.pulled(
        east.repository("shop/web"), pulled["digest"], digests=(f"{east.host}/shop/web@{pulled['digest']}",)
    )
    east.image("shop/loaded", "1", layers=(b"loaded",))
    loaded = east.repository("shop/loaded")
    engine.run("a", bare, bare)
    engine.run("b", bare[7:19], bare)
    engine.run("c", known[7:], known)
    tagged = engine.pulled(loaded, loaded.tags["1"], f"{east.host}/shop/loaded:1")
    engine.run("d", tagged[:20], tagged)
    copied = run(engine, target=place(west), tags=True)
    entries = {entry["used_by"][0][-1]: entry for entry in copied["images"]}
    assert {user: (entry["name"], entry["resolved_by"], entry["path"]) for user, entry in entries.items()} == {
        "a": (bare, "export", f"untagged/{bare[7:19]}"),
        "c": (known, "image_id_repository", path(east, "shop/web")),
        "d": (tagged, "config_digest", path(east, "shop/loaded")),
    }
    assert entries["a"]["used_by"] == ["containers/a", "containers/b"]
    assert [tag[:7] for tag in west.repository(f"backup/untagged/{bare[7:19]}").tags] == ["muster-"]
    assert run(images=copied["images"], target=place(west), verify="digests")["failures"] == 0
    onward = run(images=copied["images"], target=place(west, "second"), **{"from": place(west)})
    assert onward["failures"] == 0 and onward["images"][0]["path"].startswith(("untagged/", east.host[:9]))
    # There is no name under which it could be pushed back, which does not keep others from it.
    named = engine.built("shop/named:1")
    engine.run("e", f"{west.host}/shop/named:1", named)
    back = run(engine, target=place(west))
    wanted = [entry for entry in back["images"] if entry["used_by"][0][-1] in "ae"]
    pushed = run(images=wanted, original_names=True, sources=[place(west)], **{"from": place(west)})
    assert {entry["used_by"][0][-1]: entry["failed"] for entry in pushed["images"]} == {"a": True, "e": False}
    assert "has no name at a registry" in pushed["msg"]
    assert run(engine, images=[{"name": bare}])["images"][0]["digest"] == entries["a"]["digest"]


def test_a_name_that_looks_like_an_id_is_a_name(engine: FakeEngine, run: Run) -> None:
    identity = engine.built("face:1")
    engine.images[identity]["RepoTags"] = [f"{identity[7:15]}:latest"]
    engine.run("web", identity[7:15], identity)
    (entry,) = run(engine, mirrors=[])["images"]
    assert entry["name"] == identity[7:15] and entry["path"] == f"docker.io/library/{identity[7:15]}"


def test_what_nobody_has_any_more(engine: FakeEngine, east: FakeRegistry, run: Run) -> None:
    """The image of a stopped container can be removed by force."""
    new, name = east.image("shop/web", "1"), f"{east.host}/shop/web:1"
    engine.run("web", name, GONE, state="exited")
    result = run(engine)
    assert result["failed"] and GONE in result["msg"] and "Docker has it no more" in result["msg"]
    (entry,) = result["images"]
    assert (entry["resolved_by"], entry["digest"]) == ("unresolved", None)
    assert not run(engine, allow_unresolved=True).get("failed")
    # Where the id is a manifest's the registry may have it.
    engine.containers.clear()
    engine.run("web", name, new["digest"], state="exited")
    assert run(engine)["images"][0]["digest"] == new["digest"]


def test_containerd_keeps_the_manifests(
    containerd: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run
) -> None:
    image, name = east.image("shop/web", "1"), f"{east.host}/shop/web:1"
    identity = containerd.pulled(east.repository("shop/web"), image["digest"], name)
    assert identity == image["digest"]
    containerd.run("web", name, identity, platform=identity)
    assert run(containerd)["images"][0]["resolved_by"] == "image_id"
    # Its registry has lost it, but here are the very same bytes.
    east.repositories.clear()
    result = run(containerd, target=place(west))
    (entry,) = result["images"]
    assert (entry["resolved_by"], entry["digest"]) == ("export", image["digest"])
    assert image["digest"] in west.repository(f"backup/{path(east, 'shop/web')}").manifests
    assert name not in str(result.get("warnings"))
    resolved = run(containerd)["images"]
    assert "with its own manifest" in resolved[0]["msg"]
    assert run(containerd, images=resolved, target=place(west, "second"))["changed"]


def test_containerd_has_only_one_platform_of_an_index(containerd: FakeEngine, east: FakeRegistry, run: Run) -> None:
    children = [
        {**east.image("shop/web", machine=machine), "platform": {"os": "linux", "architecture": machine}}
        for machine in ("amd64", "arm64")
    ]
    root, name = east.index("shop/web", children, "1"), f"{east.host}/shop/web:1"
    identity = containerd.pulled(east.repository("shop/web"), root["digest"], name, partly=True)
    containerd.run("web", name, identity, platform=children[0]["digest"])
    (entry,) = run(containerd)["images"]
    assert (entry["digest"], entry["platforms"]) == (root["digest"], ["linux/amd64", "linux/arm64"])
    east.repositories.clear()
    (entry,) = (result := run(containerd))["images"]
    assert (entry["resolved_by"], entry["digest"]) == ("export", children[0]["digest"])
    assert any(root["digest"] in str(text) for text in result["warnings"])


def test_containerd_gives_what_was_built_its_own_digest(containerd: FakeEngine, west: FakeRegistry, run: Run) -> None:
    """Every tag has a digest there, also where no registry ever had it."""
    name = f"{west.host}/shop/built:1"
    identity = containerd.built(name)
    containerd.run("web", name, identity)
    (entry,) = run(containerd, sources=[{"name": west.host, "plain_http": True}])["images"]
    assert (entry["resolved_by"], entry["digest"]) == ("export", identity)


def test_signatures_are_asked_for(
    engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    name = f"{east.host}/shop/built:1"
    engine.run("web", name, engine.built(name))
    key, _private = certificates.certificate(tmp_path, "signer")
    rules = [{"pattern": f"{east.host}/*", "policy": "require", "keys": [str(key)]}]
    result = run(engine, target=place(west), signatures=rules)
    assert result["failed"] and "signatures are required" in result["msg"]
    assert west.writes() == []


def test_a_store_keeps_what_was_proved(
    engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    image = east.image("shop/web", "1")
    name, pulled = f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}"
    engine.run("web", name, engine.pulled(east.repository("shop/web"), image["digest"], name, digests=(pulled,)))
    (tmp_path / "store").mkdir()
    options = {"target": place(west), "store": {"url": f"file://{tmp_path}/store"}}
    assert run(engine, **options)["changed"]
    west.requests.clear()
    assert not run(engine, **options)["changed"]
    assert len(west.requests) == 1


def test_a_container_that_goes_meanwhile(engine: FakeEngine, run: Run) -> None:
    engine.run("web", "web", engine.built("web:1"))
    engine.refuses = {f"/containers/{engine.containers[0]['Id']}": 404}
    assert run(engine)["images"] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_daemon_that_is_away(run: Run, tmp_path: Path) -> None:
    result = run(docker={"docker_host": f"unix://{tmp_path}/nobody.sock"})
    assert result["failed"]
    assert f"Docker at unix://{tmp_path}/nobody.sock: No such file or directory" in result["msg"]
    assert "Check that Docker runs there" in result["msg"]
    # The SDK leaves the socket that could not be connected to the garbage collector.
    gc.collect()


def test_a_daemon_that_fails(engine: FakeEngine, east: FakeRegistry, run: Run, tmp_path: Path) -> None:
    engine.run("web", f"{east.host}/web:1", engine.built(f"{east.host}/web:1"))
    engine.refuses = {"/containers/json": 500}
    assert "the fake refuses" in run(engine)["msg"]
    engine.refuses = {"/get": 500}
    result = run(engine)
    assert "Docker did not export it" in result["msg"] and "the fake refuses" in result["msg"]
    engine.refuses = {}
    engine.cut = True
    assert "Docker did not export it" in run(engine)["msg"]


def test_a_daemon_that_gets_stuck(engine: FakeEngine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.built("shop/web:1", layers=(b"0" * 4096,))
    for patience in ("_ANSWER", "_EXPORT"):
        monkeypatch.setattr(client_module, patience, 0.2)
    engine.stuck = True
    assert "Read timed out" in run(engine)["msg"]
    assert "Read timed out" in run(engine, images=[{"name": "docker-daemon:shop/web:1"}])["msg"]


def test_a_file_system_that_is_full(
    engine: FakeEngine, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(**_options: Any) -> tuple[int, str]:
        (tmp_path / "spool").touch()
        return os.open("/dev/full", os.O_RDWR), str(tmp_path / "spool")

    monkeypatch.setattr(daemon_module.tempfile, "mkstemp", full)
    engine.run("web", "web", engine.built("web:1"))
    result = run(engine)
    assert "No space left" in result["msg"] and "Set TMPDIR" in result["msg"]
    # It is not tried again for each digest that the image may have.
    assert len([asked for asked in engine.requests if asked.endswith("/get")]) == 1


def test_a_registry_that_goes_away_in_between(engine: FakeEngine, east: FakeRegistry, run: Run) -> None:
    child = {**east.image("shop/web"), "platform": {"os": "linux", "architecture": "amd64"}}
    root, name = east.index("shop/web", [child], "1"), f"{east.host}/shop/web:1"
    pulled = f"{east.host}/shop/web@{root['digest']}"
    engine.run("web", name, engine.pulled(east.repository("shop/web"), root["digest"], name, digests=(pulled,)))
    east.fault(f"manifests/{child['digest']}", status=503, times=999)
    (entry,) = run(engine)["images"]
    assert entry["resolved_by"] == "export" and "503" in entry["msg"]


def test_without_the_sdk(engine: FakeEngine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "REQUIREMENT", Requirement("docker", ("no_such_module",)))
    result = run(engine)
    assert result["failed"] and "Failed to import the required Python library (docker)" in result["msg"]


def test_a_docker_host_needs_no_client_of_clusters(
    engine: FakeEngine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "REQUIREMENT", Requirement("kubernetes", ("no_such_module",)))
    engine.run("web", "web", engine.built("web:1"))
    assert not run(engine).get("failed")
    result = run(application={"name": "shop", "namespaces": ["shop"]})
    assert "Failed to import the required Python library (kubernetes)" in result["msg"]


def test_the_environment_says_where_docker_is(engine: FakeEngine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.run("web", "web", engine.built("web:1"))
    monkeypatch.setenv("DOCKER_HOST", engine.docker_host)
    # Set and empty means not set, to Docker.
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")
    assert len(run()["images"]) == 1


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_docker_by_tls(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    ours, theirs = certificates.certificate(folder, "cert"), certificates.certificate(folder, "ca")
    ours[1].rename(folder / "key.pem")
    # The company's bundle must not stand in for what was said.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ours[0]))
    with FakeEngine(tls=certificates.server(*theirs, clients=ours[0])) as engine:
        engine.run("web", "web", engine.built("web:1"))
        options = {"ca_path": str(theirs[0]), "client_cert": str(ours[0]), "client_key": str(folder / "key.pem")}
        reach = {"docker_host": engine.docker_host, "validate_certs": True}
        assert len(run(docker={**reach, **options})["images"]) == 1
        assert "CERTIFICATE_VERIFY_FAILED" in run(docker={**reach, **options, "ca_path": str(ours[0])})["msg"]
        blind = {**options, "docker_host": engine.docker_host, "tls": True}
        assert len(run(docker={**blind, "ca_path": None})["images"]) == 1
        # As Docker's own programs have it: a folder.
        monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
        assert len(run(docker=reach)["images"]) == 1


# -- Compose services without a container ---------------------------------------------------------------------


def labelled(engine: FakeEngine, name: str, folder: Path, files: str = "compose.yaml", **more: str) -> None:
    """Say of a container which files Compose made it from."""
    paths = ",".join(str(folder / file) for file in files.split(","))
    project = {"config_files": paths, "working_dir": str(folder), **more}
    engine.by_name(name)["Labels"] |= {f"com.docker.compose.project.{key}": value for key, value in project.items()}


@pytest.fixture
def wiki(tmp_path: Path) -> Path:
    """The folder of a project's files."""
    folder = tmp_path / "wiki"
    folder.mkdir()
    return folder


def of_services(result: JSON) -> dict[str, tuple[str, str]]:
    """Of each service without a container what its image is called and how it was resolved."""
    return {
        user.rpartition("/")[2]: (entry["name"], entry["resolved_by"])
        for entry in result["images"]
        for user in entry["used_by"]
        if "/services/" in user and ":" not in user
    }


def test_services_without_a_container_are_found_by_the_labels_of_others(
    engine: FakeEngine, east: FakeRegistry, west: FakeRegistry, run: Run, wiki: Path
) -> None:
    held, gone = (east.image("shop/tool", tag, layers=(tag.encode(),)) for tag in ("2", "3"))
    pinned = f"{east.host}/shop/tool@{east.image('shop/tool', layers=(b'pinned',))['digest']}"
    name = f"{east.host}/shop/tool"
    engine.pulled(east.repository("shop/tool"), held["digest"], f"{name}:2", digests=(f"{name}@{held['digest']}",))
    built = engine.built("wiki-jobs:latest", layers=(b"by Compose 2",))
    engine.built("wiki_old:latest", layers=(b"by Compose 1",))
    engine.run("wiki-web-1", "web:1", engine.built("web:1"), **of_compose("wiki", "web"))
    (wiki / ".env").write_text("REGISTRY=nowhere\nTOOL=2\n")
    (wiki / "other.env").write_text(f"REGISTRY={east.host}\n")
    labelled(engine, "wiki-web-1", wiki, environment_file=f"{wiki}/.env,{wiki}/other.env")
    (wiki / "compose.yaml").write_text(
        """
        x-profile: &debug {profiles: [debug]}
        services:
          web: {image: "web:${WHATEVER_IT_RUNS}"}
          held: {image: "${REGISTRY}/shop/tool:$TOOL", scale: 0}
          gone: {<<: *debug, image: "${REGISTRY}/shop/tool:${GONE:-3}"}
          pinned: {image: "PINNED", ports: [22:22]}
          jobs: {build: .}
          old: {build: {context: .}}
          model: {provider: {type: model}}
        """.replace("PINNED", pinned)
    )
    result = run(engine, application={"name": "wiki", "compose_projects": ["w*"]}, target=place(west))
    assert not result.get("failed"), result["msg"]
    assert of_services(result) == {
        "held": (f"{name}:2", "image_id"),
        "gone": (f"{name}:3", "tag"),
        "pinned": (pinned, "spec_digest"),
        "jobs": ("wiki-jobs", "export"),
        "old": ("wiki_old", "export"),
    }
    entries = {entry["name"]: entry for entry in result["images"]}
    assert entries[f"{name}:3"]["digest"] == gone["digest"]
    assert (
        "the tag was taken" in run(engine, application={"name": "w", "compose_projects": ["wiki"]})["images"][1]["msg"]
    )
    assert entries["wiki-jobs"]["repository"] == f"docker-daemon:{built}"
    assert "web:1" in entries


def test_what_a_services_file_does_not_say_is_unresolved_and_never_guessed(
    engine: FakeEngine, east: FakeRegistry, run: Run, wiki: Path
) -> None:
    engine.run("wiki-web-1", "web:1", engine.built("web:1"), **of_compose("wiki", "web"))
    labelled(engine, "wiki-web-1", wiki)
    (wiki / ".env").write_text("FROM_SHELL\nSECRET=canary\n")
    (wiki / "compose.yaml").write_text(
        """
        services:
          unset: {image: "web:${TAG}"}
          shell: {image: "web:${FROM_SHELL:-1}"}
          must: {image: "web:${TAG:?say one}"}
          broken: {image: "web:${TAG"}
          list: {image: [web]}
          none: {restart: always}
          never: {build: ., image: "${EMPTY-}"}
          lost: {image: "HOST/shop/lost:1"}
          loop: {extends: {service: loop}}
          round: {extends: {file: ../wiki/compose.yaml, service: round}}
          empty: {image: "${EMPTY-}"}
          nobody: {extends: {service: someone}, build: .}
        """.replace("HOST", east.host)
    )
    application: JSON = {"name": "wiki", "compose_projects": ["wiki"]}
    result = run(engine, application=application)
    assert result["failed"]
    failed = {entry["used_by"][0].rpartition("/")[2]: entry for entry in result["images"] if entry["failed"]}
    words = {
        "unset": "variable TAG has no value",
        "shell": "variable FROM_SHELL is not known",
        "must": "variable TAG has no value",
        "broken": "not closed",
        "list": "its image is no text",
        "none": "neither image nor build",
        "lost": "has no such tag",
        "loop": "extends itself",
        "round": "extends itself",
        "empty": "neither image nor build",
        "nobody": "has no service someone",
    }
    assert {name: words[name] in entry["msg"] for name, entry in failed.items()} == dict.fromkeys(words, True)
    assert {entry["resolved_by"] for entry in failed.values()} == {"unresolved"}
    assert failed["unset"]["name"] == "web:${TAG}"
    # Variables of the shell can be given.
    assert not run(engine, application=application, allow_unresolved=True).get("failed")
    (wiki / "compose.yaml").write_text('services: {never: {build: .}, unset: {image: "web:${TAG}"}}')
    files = {"project": "wiki", "files": [str(wiki / "compose.yaml")], "environment": {"TAG": 1}}
    result = run(engine, application={**application, "compose_files": [files]})
    assert not result.get("failed") and [entry["name"] for entry in result["images"]] == ["web:1"]
    assert result["images"][0]["used_by"] == ["wiki/services/unset", "wiki/services/web:wiki-web-1"]
    # What was never built is nowhere, and stands in no backup's way.
    said = "Service never of Compose project wiki has no image to copy"
    assert any(said in str(text) for text in result["warnings"])


def test_files_that_are_merged_included_and_extended(engine: FakeEngine, run: Run, wiki: Path) -> None:
    for name in ("a:1", "a:2", "b:1", "c:7", "d:1", "e:1", "f:1", "g:1", "wiki-reset:latest", "wiki-anew:latest"):
        engine.built(name, layers=(name.encode(),))
    (wiki / "parts").mkdir()
    # As some editors begin a file.
    (wiki / ".env").write_text("\ufeffC=7\n")
    (wiki / "parts" / ".env").write_text("C=8\nD=1\n")
    (wiki / "parts" / "compose.yaml").write_text(
        'services: {c: {image: "c:$C"}, d: {image: "d:$D"}, over: {image: "a:1"}}'
    )
    (wiki / "common.yaml").write_text('services: {base: {image: "e:1"}, far: {extends: base}}')
    (wiki / "compose.yaml").write_text(
        """
        include:
          - parts/compose.yaml
          - {path: "oci://example.com/stack:1"}
        services:
          a: {image: "a:1"}
          b: {image: "b:1"}
          reset: {image: "b:1", build: .}
          anew: {image: "lost:1"}
          gone: {image: "lost:1"}
          e: {extends: {file: common.yaml, service: far}}
          f: {extends: e, image: "f:1"}
        """
    )
    (wiki / "more.yaml").write_text(
        """
        services:
          a: {image: "a:2", ports: !override [1:1]}
          b: {restart: always}
          over: {image: "g:1"}
          reset: {image: !reset null}
          anew: !override {build: .}
          gone: !reset null
        """
    )
    files = [str(wiki / name) for name in ("compose.yaml", "more.yaml")]
    result = run(engine, application={"name": "wiki", "compose_files": [{"project": "wiki", "files": files}]})
    assert not result.get("failed"), result["msg"]
    assert {service: image for service, (image, _by) in of_services(result).items()} == {
        "a": "a:2",
        "b": "b:1",
        "c": "c:7",
        "d": "d:1",
        "over": "g:1",
        "reset": "wiki-reset",
        "anew": "wiki-anew",
        "e": "e:1",
        "f": "f:1",
    }
    assert any("oci://example.com/stack:1 is not on this machine" in str(text) for text in result["warnings"])


def test_files_that_cannot_be_read_are_told_of(
    engine: FakeEngine, run: Run, wiki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.run("wiki-web-1", "web:1", engine.built("web:1"), **of_compose("wiki", "web"))
    application: JSON = {"name": "wiki", "compose_projects": ["wiki"]}
    seen = 0

    def told(**more: Any) -> str:
        nonlocal seen
        result = run(engine, application={**application, **more})
        assert not result.get("failed") and [entry["name"] for entry in result["images"]] == ["web:1"]
        # Warnings of a process gather.
        before, seen = seen, len(result["warnings"])
        return str(result["warnings"][before:])

    first = told()
    assert "Services of Compose project wiki that have no container" in first and "name no files" in first
    labelled(engine, "wiki-web-1", wiki)
    assert "there is no such file" in told()
    (wiki / "compose.yaml").write_text("services:\n  web: {image: 'canary\n")
    assert "it is no YAML, see line" in told()
    for text, words in (
        ("[]", "no mapping"),
        ("services: [a]", "its services are no mapping"),
        ("include: ../wiki/compose.yaml", "it includes itself"),
        ("a: " + "[" * 5000, "it is no YAML"),
    ):
        (wiki / "compose.yaml").write_text(text)
        assert words in told()
    (wiki / "compose.yaml").write_bytes(b"\xff")
    assert "no text in UTF-8" in told()
    with monkeypatch.context() as without:
        without.setattr(compose_module, "REQUIREMENT", Requirement("PyYAML", ("no_such_module",)))
        assert "PyYAML" in told()
    monkeypatch.setattr(client_module.Engine, "is_here", False)
    assert "may be on another machine" in told()
    # Files that the user names must be there; an empty list says that there is nothing to look for.
    entry: JSON = {"project": "wiki", "files": [str(wiki / "nothing.yaml")]}
    result = run(engine, application={**application, "compose_files": [entry]})
    assert result["failed"] and "nothing.yaml of Compose project wiki: there is no such file" in result["msg"]
    for text, words in (
        ("services: {a: {image: !!int canary}}", "it is no YAML"),
        ("services: {~: {}, a: {}}", "neither image nor build"),
    ):
        (wiki / "nothing.yaml").write_text(text)
        result = run(engine, application={**application, "compose_files": [entry]})
        assert result["failed"] and words in result["msg"]
    assert told(compose_files=[{**entry, "files": []}]) == "[]"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"files": ["/a"]}, "'project' is None"),
        ({"project": "Wiki", "files": ["/a"]}, "project is 'Wiki'"),
        ({"project": "wiki"}, "it has no 'files'"),
        ({"project": "wiki", "files": ["a"]}, "'a' is no absolute path"),
        ({"project": "wiki", "files": ["/a"], "env_files": [".env"]}, "'.env' is no absolute path"),
        ({"project": "wiki", "files": ["/a"], "environment": {"A": None}}, "a value in it is no text"),
        ({"project": "wiki", "file": "/a"}, "unknown key 'file'"),
    ],
)
def test_compose_files_that_cannot_be_meant(engine: FakeEngine, run: Run, entry: JSON, words: str) -> None:
    result = run(engine, application={"name": "wiki", "compose_files": [entry]})
    assert result["failed"] and words in result["msg"]
