# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fake registry holds, and how tests fill it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def missing(self, document: dict[str, Any], *, sparse: bool) -> str:
        """What a manifest names and the repository does not hold; with ``sparse`` children do not count."""
        for child in document.get("manifests", []):
            if not sparse and child["digest"] not in self.manifests:
                return f"child {child['digest']}"
        for blob in [document.get("config"), *document.get("layers", [])]:
            if blob and "urls" not in blob and blob["digest"] not in self.blobs:
                return f"blob {blob['digest']}"
        return ""


class Content:
    """Repositories by name; each builder stores something whole and returns its descriptor."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def blob(self, name: str, data: bytes, media_type: str = LAYER, *, algorithm: str = "sha256") -> dict[str, Any]:
        digest = digest_of(data, algorithm)
        self.repository(name).blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def manifest(self, name: str, document: dict[str, Any], *tags: str, algorithm: str = "sha256") -> dict[str, Any]:
        """With unusual spacing, which must survive."""
        data = json.dumps(document, indent=3).encode() + b"\n"
        return self.raw_manifest(name, data, document["mediaType"], *tags, algorithm=algorithm)

    def raw_manifest(
        self, name: str, data: bytes, media_type: str, *tags: str, algorithm: str = "sha256"
    ) -> dict[str, Any]:
        repository = self.repository(name)
        digest = digest_of(data, algorithm)
        repository.manifests[digest] = (data, media_type)
        for tag in tags:
            repository.tags[tag] = digest
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(
        self,
        name: str,
        *tags: str,
        layers: tuple[bytes, ...] = (b"layer",),
        machine: str = "amd64",
        algorithm: str = "sha256",
        **more: Any,
    ) -> dict[str, Any]:
        """An image of one platform."""
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = json.dumps({"os": "linux", "architecture": machine, "rootfs": rootfs}).encode()
        kind = "application/vnd.oci.image.config.v1+json"
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(name, config, kind, algorithm=algorithm),
            "layers": [self.blob(name, layer, algorithm=algorithm) for layer in layers],
            **more,
        }
        return self.manifest(name, document, *tags, algorithm=algorithm)

    def index(self, name: str, children: list[dict[str, Any]], *tags: str) -> dict[str, Any]:
        return self.manifest(name, {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}, *tags)
