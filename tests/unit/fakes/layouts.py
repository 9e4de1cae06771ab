# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts in directories and in the fake bucket, seen as another program sees them, and images to put there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.registry import FakeRegistry
from fakes.s3 import FakeS3

JSON = dict[str, Any]
Run = Callable[..., JSON]
PATH = "10.9.9.9-5000/shop/web"
NAME = "10.9.9.9:5000/shop/web:1"


class Kept:
    """A place of a layout in a test: how a user names it, and its files by key."""

    def __init__(self, options: JSON, files: Callable[[], dict[str, bytes]]) -> None:
        self.options = options
        self.files = files

    @property
    def index(self) -> JSON:
        document: JSON = json.loads(self.files()["index.json"])
        return document

    @property
    def names(self) -> dict[str, str]:
        """What the index names: name to digest."""
        return {
            entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
            for entry in self.index["manifests"]
        }

    @property
    def blobs(self) -> dict[str, bytes]:
        files = self.files()
        return {key[6:].replace("/", ":"): data for key, data in files.items() if key.startswith("blobs/")}


def directory(path: Path) -> Kept:
    path.mkdir(exist_ok=True)

    def files() -> dict[str, bytes]:
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}

    return Kept({"name": f"oci:{path}"}, files)


def prefix(fake: FakeS3) -> Kept:
    options = {"name": "s3://bucket/images", "endpoint_url": fake.url, "access_key": "muster", "secret_key": "canary"}
    return Kept(options, lambda: {key[7:]: data for key, data in fake.objects.items() if key.startswith("images/")})


def signed(registry: FakeRegistry, repository: str = "shop/web") -> JSON:
    """An index of two platforms with a signature, and with a referrer of a child that is signed in turn."""
    shared = os.urandom(300_000)
    children = [
        {**registry.image(repository, layers=(shared, machine.encode()), machine=machine), "platform": {"os": "linux"}}
        for machine in ("amd64", "arm64")
    ]
    root = registry.index(repository, children, "1")
    sbom = registry.image(repository, layers=(b"sbom",), subject=children[0], artifactType="application/spdx+json")
    registry.image(repository, layers=(b"signed sbom",), subject=sbom)
    for one in (root, children[1]):
        tag = one["digest"].replace(":", "-") + ".sig"
        registry.image(repository, tag, layers=(f"signature of {tag}".encode(),))
    return root


def content(registry: FakeRegistry, repository: str) -> dict[str, bytes]:
    held = registry.repository(repository)
    return {**held.blobs, **{digest: data for digest, (data, _type) in held.manifests.items()}}


def at(registry: FakeRegistry, below: str = "") -> JSON:
    return {"name": registry.host + below, "plain_http": True}


def given(registry: FakeRegistry, *roots: JSON, name: str = NAME, repository: str = "shop/web") -> list[JSON]:
    return [{"name": name, "digest": root["digest"], "repository": f"{registry.host}/{repository}"} for root in roots]
