# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and a Docker daemon as sources, through the module's own main."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.docker_engine import FakeEngine
from fakes.registry import FakeRegistry, digest_of

from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._docker import client as client_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import keep_tag
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

JSON = dict[str, Any]
Run = Callable[..., JSON]
LAYERS = [os.urandom(200_000), b"second", b"second"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], west: FakeRegistry) -> Run:
    def call(*names: str, check: bool = False, **options: Any) -> JSON:
        arguments = {
            "images": [{"name": name} for name in names],
            "target": {"name": f"{west.host}/in", "plain_http": True},
            "_ansible_check_mode": check,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_mirror.main()
        result: JSON = json.loads(capsys.readouterr().out)
        return result

    return call


def tar(path: Path | io.BytesIO, members: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(**({"name": path} if isinstance(path, Path) else {"fileobj": path}), mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, to in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)


def config(*layers: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
    return json.dumps({"architecture": "arm64", "os": "linux", "rootfs": rootfs}, indent=1).encode()


def listed(*images: tuple[str, list[str], list[str]]) -> bytes:
    return json.dumps(
        [{"Config": config, "RepoTags": tags, "Layers": layers} for config, tags, layers in images]
    ).encode()


def saved(path: Path | io.BytesIO, *tags: str) -> None:
    """As docker before 25 saves it: a folder a layer, and a link where a layer is there already."""
    about = config(*LAYERS)
    name = f"{hashlib.sha256(about).hexdigest()}.json"
    members = {"aa/layer.tar": LAYERS[0], "bb/layer.tar": LAYERS[1], name: about}
    members["manifest.json"] = listed((name, list(tags), ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"]))
    tar(path, members, {"cc/layer.tar": "../bb/layer.tar"})


def saved_as_layout(path: Path, *tags: str) -> None:
    """As docker since 25 saves it: blobs by digest, and a layout's files beside manifest.json."""
    about = config(*LAYERS)
    keys = [f"blobs/{digest_of(layer).replace(':', '/')}" for layer in LAYERS]
    name = f"blobs/sha256/{hashlib.sha256(about).hexdigest()}"
    members = {**dict(zip(keys, LAYERS, strict=True)), name: about}
    members["manifest.json"] = listed((name, list(tags), keys))
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    tar(path, members)


def test_docker_archives_of_both_forms_give_one_digest(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    saved(tmp_path / "old.tar", "shop/web:1")
    saved_as_layout(tmp_path / "new.tar", "shop/web:1")
    first = run(f"docker-archive:{tmp_path}/old.tar:shop/web:1")
    (entry,) = first["images"]
    assert (entry["resolved_by"], entry["platforms"], entry["changed"]) == ("export", ["linux/arm64"], True)
    assert entry["path"] == "docker.io/shop/web"
    held = west.repository("in/docker.io/shop/web")
    document = json.loads(held.manifests[entry["digest"]][0])
    assert [layer["digest"] for layer in document["layers"]] == [digest_of(layer) for layer in LAYERS]
    assert document["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert held.blobs == {digest_of(data): data for data in (*LAYERS, config(*LAYERS))}
    assert entry["size"] == sum(map(len, held.blobs.values())) + len(held.manifests[entry["digest"]][0])
    second = run(f"docker-archive:{tmp_path}/new.tar:shop/web:1")
    assert second["images"][0]["digest"] == entry["digest"]
    assert not second["changed"]
    # What the module returned can be given again.
    assert not run(images=first["images"])["changed"]


def test_names_in_docker_archives(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    saved(tmp_path / "a.tar", "nginx:1.29", "10.7.0.10:5000/web:2")
    place = f"docker-archive:{tmp_path}/a.tar"
    result = run(f"{place}:nginx:1.29", f"{place}:docker.io/library/nginx:1.29", f"{place}:10.7.0.10:5000/web:2", place)
    assert [entry["path"] for entry in result["images"]] == [
        "docker.io/library/nginx",
        "docker.io/library/nginx",
        "10.7.0.10-5000/web",
        "a.tar",
    ]
    (digest,) = {entry["digest"] for entry in result["images"]}
    for repository in west.repositories.values():
        assert repository.tags == {keep_tag(digest): digest}
    assert "has no such tag" in run(f"{place}:nginx:1.28")["images"][0]["msg"]


def test_layers_that_docker_saved_compressed(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    layer, about = gzip.compress(LAYERS[0]), config(LAYERS[0])
    keys = [f"blobs/{digest_of(data).replace(':', '/')}" for data in (layer, about)]
    members = {keys[0]: layer, keys[1]: about, "manifest.json": listed((keys[1], ["web:1"], [keys[0]]))}
    tar(tmp_path / "a.tar", members)
    (entry,) = run(f"docker-archive:{tmp_path}/a.tar")["images"]
    document = json.loads(west.repository("in/a.tar").manifests[entry["digest"]][0])
    assert document["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert west.repository("in/a.tar").blobs[digest_of(layer)] == layer
    members[keys[0]] = LAYERS[0]
    tar(tmp_path / "b.tar", members)
    assert "and not compressed" in run(f"docker-archive:{tmp_path}/b.tar")["images"][0]["msg"]


def test_an_archive_that_was_changed_is_not_taken(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    saved(tmp_path / "a.tar", "web:1")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data.replace(b"second", b"Second"))
    result = run(f"docker-archive:{tmp_path}/a.tar:web:1")
    assert result["failed"]
    assert "have digest" in result["msg"]
    assert not west.repository("in/docker.io/library/web").manifests


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (gzip.compress, "compressed with gzip"),
        (lambda data: data[:150_000], "ends in the middle"),
        (lambda _data: b"no tar at all" * 100, "no whole tar file"),
        (lambda data: data.replace(b"manifest.json", b"manifesto.jso"), "has no manifest.json"),
        (lambda data: data.replace(b"bb/layer.tar\0", b"bx/layer.tar\0"), "layer bb/layer.tar is missing"),
    ],
)
def test_archives_that_are_none(tmp_path: Path, run: Run, damage: Callable[[bytes], bytes], words: str) -> None:
    saved(tmp_path / "a.tar", "web:1")
    data = bytearray(damage((tmp_path / "a.tar").read_bytes()))
    for start in range(0, len(data) - 511, 512):
        header = data[start : start + 512]
        if header[257:262] == b"ustar":
            # A changed name needs another check sum.
            total = sum(header[:148]) + 8 * 32 + sum(header[156:])
            data[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(data)
    result = run(f"docker-archive:{tmp_path}/a.tar:web:1")
    assert result["failed"]
    assert words in result["images"][0]["msg"]
    assert "no such file" in run("docker-archive:/nowhere/a.tar")["images"][0]["msg"]


def test_a_link_that_goes_round_is_no_member(tmp_path: Path, run: Run) -> None:
    about = config(b"x")
    members = {"c.json": about, "manifest.json": listed(("c.json", ["web:1"], ["a"]))}
    tar(tmp_path / "a.tar", members, {"a": "b", "b": "a"})
    assert "layer a is missing" in run(f"docker-archive:{tmp_path}/a.tar")["images"][0]["msg"]


def test_a_layout_in_a_tar_file_keeps_every_digest(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    with FakeRegistry() as east:
        child = east.image("web", layers=(os.urandom(50_000), b"small"))
        root = east.index("web", [child], "1")
        signature = east.image("web", root["digest"].replace(":", "-") + ".sig", layers=(b"signature",))
        images = [{"name": "10.9.9.9:5000/web:1", "digest": root["digest"], "repository": f"{east.host}/web"}]
        (tmp_path / "layout").mkdir()
        first = run(
            images=images,
            sources=[{"name": east.host, "plain_http": True}],
            target={"name": f"oci:{tmp_path}/layout"},
        )
        with tarfile.open(tmp_path / "layout.tar", "w") as archive:
            archive.add(tmp_path / "layout", ".")
        place = {"name": f"oci-archive:{tmp_path}/layout.tar"}
        result = run(images=first["images"], **{"from": place})
        assert result["changed"]
        held = west.repository("in/10.9.9.9-5000/web")
        for digest, (data, _type) in east.repository("web").manifests.items():
            assert held.manifests[digest][0] == data
        assert held.tags[root["digest"].replace(":", "-") + ".sig"] == signature["digest"]
        name = f"{place['name']}:10.9.9.9-5000/web:muster-{root['digest'][7:23]}"
        assert run(name)["images"][0]["digest"] == root["digest"]
        assert run(images=first["images"], target=place, verify="digests")["failures"] == 0


def test_a_docker_daemon(tmp_path: Path, west: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    with FakeEngine() as engine:
        docker = {"docker_host": engine.docker_host}
        identity = engine.built("shop/web:1", layers=(b"first", b"second"))
        bare = engine.built(layers=(b"bare",))
        planned = run("docker-daemon:shop/web:1", check=True, docker=docker)
        assert planned["changed"], planned["msg"]
        assert west.writes() == []
        first = run("docker-daemon:shop/web:1", docker=docker)
        (entry,) = first["images"]
        assert (entry["resolved_by"], entry["path"]) == ("export", "docker.io/shop/web")
        assert first["bytes_copied"] == planned["bytes_copied"]
        assert [asked for asked in engine.requests if "/get" in asked] == ["/v1.41/images/shop/web:1/get"] * 2
        assert list((tmp_path / "spool").iterdir()) == []
        # As an archive it has the same digest.
        members = engine.saved[identity](["shop/web:1"])
        tar(tmp_path / "a.tar", members)
        assert run(f"docker-archive:{tmp_path}/a.tar")["images"][0]["digest"] == entry["digest"]
        # By the digest that it has got the image is found again, and so is one without a name.
        west.repositories.clear()
        assert run(images=first["images"], docker=docker)["changed"]
        (entry,) = run(f"docker-daemon:{bare}", docker=docker)["images"]
        assert (entry["failed"], entry["path"]) == (False, f"untagged/{bare[7:19]}")
        assert "has no such tag" in run("docker-daemon:shop/other:1", docker=docker)["images"][0]["msg"]


def test_a_docker_daemon_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("docker-daemon:shop/web:1", docker={"docker_host": "tcp://127.0.0.1:1"})
    assert result["failed"]
    assert "Check that Docker runs" in result["images"][0]["msg"]
    monkeypatch.setattr(client_module, "REQUIREMENT", Requirement("docker", ("no_such_module",)))
    assert "docker" in run("docker-daemon:shop/web:1")["images"][0]["msg"]


def test_an_image_of_a_cluster_is_never_a_file(tmp_path: Path, run: Run) -> None:
    """Whoever may write a workload must not have files of this machine copied by its name."""
    saved(tmp_path / "a.tar", "web:1")
    for more in ({}, {"digest": None}):
        entry = {"name": f"docker-archive:{tmp_path}/a.tar:web:1", "resolved_by": "unresolved", **more}
        result = run(images=[entry])
        assert result["failed"]
        assert "not resolved" in result["images"][0]["msg"]
