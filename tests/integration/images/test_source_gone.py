# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ran at east runs again although its registry is gone and no node holds its images: in each of the three ways."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path

import pytest

from ..sites import JSON, Site, bed, entries, good
from .conftest import Crane, Registry, Shop, mirror, running


@pytest.fixture(scope="module")
def copied(sites: tuple[Site, Site], shop: Shop, registries: tuple[Registry, Registry]) -> JSON:
    """The images of the shop at west, and what was seen of the way there."""
    east, west = sites
    options = {
        "kubeconfig": east.kubeconfig,
        "application": shop.application,
        "sources": [east.registry()],
        "target": west.registry("backup"),
        "store": west.store(f"s3://muster/images-{shop.namespace}"),
        "tags": True,
    }
    before = registries[1].writes()
    planned = good(mirror(check=True, **options))
    assert registries[1].writes() == before and planned["copied"] == 2
    first = good(mirror(**options))
    # A platform's image, its SBOM and the layers that both share are there once each.
    assert first["copied"] == 2 and first["bytes_copied"] == planned["bytes_copied"]
    before, start = registries[1].writes(), len(registries[1].seen())
    again = good(mirror(**options))
    assert not again["changed"] and registries[1].writes() == before
    asked = registries[1].seen()[start:]
    return {"images": first["images"], "node_mirrors": first["node_mirrors"], "asked_again": asked}


@pytest.fixture(scope="module")
def point(sites: tuple[Site, Site], shop: Shop) -> JSON:
    taken = good(sites[0].run("k8s_snapshot", site="east", point="shop", application=shop.application))
    return {"snapshot": taken["snapshot"]["tree"], "point": "shop"}


def test_what_runs_was_copied_by_its_digests(
    copied: JSON, shop: Shop, registries: tuple[Registry, Registry], west: Site
) -> None:
    found = {image["name"]: image for image in copied["images"]}
    assert {name: image["digest"] for name, image in found.items()} == shop.digests
    assert found[shop.web]["resolved_by"] == "image_id" and found[shop.job]["resolved_by"] == "tag"
    assert found[shop.web]["platforms"] == ["linux/amd64", "linux/arm64"]
    for name, image in found.items():
        repository = f"backup/{image['path']}"
        assert registries[1].digest(repository, shop.digests[name]) == shop.digests[name]
        assert registries[1].digest(repository, name.rpartition(":")[2]) == shop.digests[name]
    assert registries[1].referrers(f"backup/{found[shop.web]['path']}", shop.digests[shop.web]) == [shop.sbom]
    # One question for each image, and one for each tag that nodes shall find it by.
    assert len(copied["asked_again"]) == 4 and all(line.startswith("HEAD ") for line in copied["asked_again"])
    read = good(mirror(images=copied["images"], target=west.registry("backup"), verify="full"))
    assert [image["msg"] for image in read["images"]] == ["whole, every byte of it read"] * 2


@pytest.mark.usefixtures("without_its_registry")
def test_workloads_are_rewritten_to_the_copies(copied: JSON, point: JSON, shop: Shop, west: Site) -> None:
    options = {**point, "images": copied["images"], "registry": west.registry("backup")}
    try:
        preview = entries(good(west.run("k8s_restore", check=True, **options)))
        deployment = f"{shop.namespace}/deployments.apps/web"
        assert "1 images taken from the target's registry" in preview[deployment]["transforms"]
        assert good(west.run("k8s_restore", **options))["status"] == "completed"
        wanted = f"{west.registry('backup')['name']}/"
        for status in running(west, shop.namespace):
            assert status["imageID"].startswith(wanted)
            assert status["imageID"].endswith(shop.digests[shop.web])
        job = west.get("cronjob", "job", "-n", shop.namespace)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert job["containers"][0]["image"].startswith(wanted)
    finally:
        west.kubectl("delete", "namespace", shop.namespace, "--ignore-not-found")


@pytest.mark.usefixtures("without_its_registry")
def test_nodes_take_the_copies_for_the_original_names(copied: JSON, point: JSON, shop: Shop, west: Site) -> None:
    """With the file that ``node_mirrors`` gives. Its login is the platform team's to add, as the place wants one."""
    (found,) = copied["node_mirrors"]
    place = west.registry("backup")
    login = base64.b64encode(f"{place['username']}:{place['password']}".encode()).decode()
    content = f'{found["content"]}[host."{found["host"]}".header]\n  authorization = "Basic {login}"\n'
    path = shlex.quote(found["path"])
    before = west.in_node("cat", found["path"])
    west.in_node("sh", "-c", f"cat > {path}", feed=content)
    try:
        assert good(west.run("k8s_restore", **point))["status"] == "completed"
        for status in running(west, shop.namespace):
            assert status["image"] == shop.web
            assert status["imageID"].endswith(shop.digests[shop.web])
    finally:
        west.in_node("sh", "-c", f"cat > {path}", feed=before)
        west.kubectl("delete", "namespace", shop.namespace, "--ignore-not-found")


def test_a_registry_that_was_built_anew_gets_back_what_it_had(
    copied: JSON, shop: Shop, east: Site, west: Site, registries: tuple[Registry, Registry]
) -> None:
    """Then the workloads run again as they are."""
    path = f"{shop.namespace}/web"
    bed("destroy", "east", "registry")
    bed("heal")
    assert registries[0].digest(path, "1.0") is None
    bed("forget-images", "east")
    options = {
        "images": copied["images"],
        "from": west.registry("backup"),
        "sources": [east.registry()],
        "original_names": True,
    }
    missing = mirror(images=copied["images"], sources=[east.registry()], original_names=True, verify="digests")
    # Who looks before a restore sees which pods could not pull.
    assert missing["failed"] and missing["failures"] == 2
    assert [image["used_by"] for image in missing["images"]] == [image["used_by"] for image in copied["images"]]
    assert good(mirror(**options))["copied"] == 2
    assert {name: registries[0].digest(*_parts(name)) for name in shop.digests} == shop.digests
    assert registries[0].referrers(path, shop.digests[shop.web]) == [shop.sbom]
    assert not good(mirror(**options))["changed"]
    east.kubectl("delete", "pod", "-n", shop.namespace, "-l", "app=web")
    for status in running(east, shop.namespace):
        assert status["imageID"].endswith(shop.digests[shop.web])


def _parts(name: str) -> tuple[str, str]:
    repository, _colon, tag = name.partition("/")[2].rpartition(":")
    return repository, tag


def test_other_places_and_back(copied: JSON, shop: Shop, west: Site, crane: Crane, tmp_path: Path) -> None:
    """A bucket, a directory that another tool reads, and a registry again: the digests stay."""
    bucket = {**west.store(""), "name": f"s3://muster/layout-{shop.namespace}"}
    del bucket["url"]
    registry, directory = west.registry("backup"), {"name": f"oci:{tmp_path}"}
    again = west.registry(f"again-{shop.namespace}")
    for source, target in ((registry, bucket), (bucket, directory), (directory, again)):
        options: JSON = {"images": copied["images"], "from": source, "target": target}
        moved = good(mirror(**options))
        assert moved["copied"] == 2 and moved["bytes_copied"]
        assert not good(mirror(**options))["changed"]
        good(mirror(images=copied["images"], target=target, verify="full"))
    for image in copied["images"]:
        assert crane("digest", f"{again['name']}/{image['path']}@{image['digest']}") == image["digest"]
    read = crane("push", "--index", str(tmp_path), f"{west.registry()['name']}/layout-{shop.namespace}:all")
    assert "@sha256:" in read
