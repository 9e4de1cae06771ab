# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real Docker engine has containers of is copied, although no registry ever had it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..sites import JSON, Site, good
from .conftest import Crane, mirror

Docker = Callable[..., str]


@pytest.fixture
def docker(facts: JSON) -> Docker:
    """The bed's own engine."""

    def run(*words: str, feed: bytes = b"") -> str:
        done = subprocess.run(
            ["docker", "-H", facts["docker_host"], *words], input=feed, capture_output=True, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    return run


@pytest.fixture
def image(east: Site) -> str:
    """A name at a registry that can be asked and has no such image."""
    return f"{east.registry()['name']}/muster-test-{uuid.uuid4().hex[:8]}:1"


@pytest.fixture
def container(docker: Docker, image: str) -> Iterator[str]:
    """A container, and a Compose service, of an image that was made here; nothing of it runs."""
    name = image.rpartition("/")[2].partition(":")[0]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("content")
        entry.size = 100_000
        archive.addfile(entry, io.BytesIO(os.urandom(100_000)))
    docker("import", "-", image, feed=layer.getvalue())
    labels = ["--label", f"com.docker.compose.project={name}", "--label", "com.docker.compose.service=web"]
    docker("create", "--name", name, image, "true")
    docker("create", "--name", f"{name}-web-1", *labels, image, "true")
    yield name
    docker("rm", name, f"{name}-web-1")
    docker("rmi", image)


def test_what_no_registry_has_is_exported_once_and_is_the_same_each_time(
    container: str, image: str, docker: Docker, facts: JSON, east: Site, west: Site, crane: Crane
) -> None:
    options = {
        "docker": {"docker_host": facts["docker_host"]},
        "application": {"name": "hosted", "containers": [container], "compose_projects": [f"{container}*"]},
        "sources": [east.registry()],
        "target": west.registry("hosted"),
    }
    planned = good(mirror(check=True, **options))
    copied = good(mirror(**options))
    (entry,) = copied["images"]
    assert entry["resolved_by"] == "export" and entry["used_by"] == [
        f"containers/{container}",
        f"{container}/services/web:{container}-web-1",
    ]
    assert copied["bytes_copied"] == planned["bytes_copied"] > 100_000
    assert crane("digest", entry["target"]) == entry["digest"]
    good(mirror(images=copied["images"], target=options["target"], verify="full"))
    again = good(mirror(**options))
    assert not again["changed"] and again["images"][0]["digest"] == entry["digest"]
    # The copy is an image that Docker itself takes back: what it is made of has the same configuration.
    identity = docker("image", "inspect", "--format", "{{.Id}}", image)
    assert identity in crane("manifest", entry["target"])


def test_a_compose_service_without_a_container_is_seen_by_its_file(
    container: str, image: str, facts: JSON, east: Site, tmp_path: Path
) -> None:
    repository, _colon, _tag = image.rpartition(":")
    (tmp_path / ".env").write_text(f"REPOSITORY={repository}\n")
    (tmp_path / "compose.yaml").write_text('services: {web: {image: "x"}, idle: {image: "${REPOSITORY}:${TAG:-1}"}}')
    files = {"project": container, "files": [str(tmp_path / "compose.yaml")]}
    resolved = good(
        mirror(
            docker={"docker_host": facts["docker_host"]},
            application={"name": "hosted", "compose_files": [files]},
            sources=[east.registry()],
        )
    )
    (entry,) = resolved["images"]
    assert entry["name"] == image and entry["resolved_by"] == "export"
    assert entry["used_by"] == [f"{container}/services/idle", f"{container}/services/web:{container}-web-1"]


def test_a_container_that_is_not_there_is_named(facts: JSON, west: Site) -> None:
    result = mirror(
        docker={"docker_host": facts["docker_host"]},
        application={"name": "hosted", "containers": ["nobody-*"]},
        target=west.registry("hosted"),
    )
    assert result["failed"] and "containers nobody-*" in result["msg"]
