# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images to copy: two platforms each, layers that many of them share, every layer valid gzip; the same in every run."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PLATFORMS = ("amd64", "arm64")
_PIECE = 64 << 20


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(name: str, size: int) -> bytes:
    """Gzip that is as large as what is in it: nothing to gain by compressing, as with real layers that are pushed."""
    source = random.Random(name)
    # A single call cannot give 256 MiB.
    content = b"".join(source.randbytes(min(_PIECE, size - start)) for start in range(0, size, _PIECE))
    return gzip.compress(content, compresslevel=0, mtime=0)


@dataclass
class Pusher:
    """Puts images into a registry by plain requests, as fast as it takes them."""

    host: str
    workers: int = 8
    unique: dict[str, int] = field(default_factory=dict)

    def image(self, repository: str, tag: str, layers: dict[str, list[tuple[str, int]]]) -> str:
        """An index with these layers (name, size) per platform; returns its digest."""
        children = []
        for machine, named in layers.items():
            parts = [layer(name, size) for name, size in named]
            config = {
                "os": "linux",
                "architecture": machine,
                "created": "2026-01-01T00:00:00Z",
                "config": {"Labels": {"repository": repository, "tag": tag}},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(part)) for part in parts]},
            }
            document = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self._blob(repository, json.dumps(config).encode(), CONFIG),
                "layers": [self._blob(repository, part, LAYER) for part in parts],
            }
            child = self._manifest(repository, None, document)
            children.append({**child, "platform": {"os": "linux", "architecture": machine}})
        root = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return str(self._manifest(repository, tag, root)["digest"])

    def images(self, count: int, tag: str = "v1") -> dict[str, str]:
        """Digest by repository of ``count`` images: two shared layers of 4 MB and one of 0.7 MB of their own."""

        def one(number: int) -> tuple[str, str]:
            repository = f"app-{number:04d}"
            layers = {
                machine: [
                    (f"base-{machine}-{number % 13}", 4_000_000),
                    (f"run-{machine}-{number % 14}", 4_000_000),
                    (f"{repository}-{tag}-{machine}", 700_000),
                ]
                for machine in PLATFORMS
            }
            return repository, self.image(repository, tag, layers)

        with ThreadPoolExecutor(self.workers) as threads:
            return dict(threads.map(one, range(count)))

    def small(self, count: int, tag: str = "v1") -> dict[str, str]:
        """Digest by repository of ``count`` images of one platform and one shared layer of 1 kB."""

        def one(number: int) -> tuple[str, str]:
            repository = f"small-{number:05d}"
            return repository, self.image(repository, tag, {"amd64": [("small", 1000)]})

        with ThreadPoolExecutor(self.workers) as threads:
            return dict(threads.map(one, range(count)))

    def retag(self, repository: str, tag: str, new: str) -> None:
        """Give an image another tag."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": INDEX})
        body = connection.getresponse().read()
        connection.close()
        self._request("PUT", f"/v2/{repository}/manifests/{new}", body, INDEX)

    def _blob(self, repository: str, data: bytes, media_type: str) -> dict[str, Any]:
        digest = digest_of(data)
        if self._request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] != 200:
            _status, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/")
            location = headers["Location"].partition(self.host)[2]
            status, _headers = self._request("PUT", f"{location}&digest={digest}", data)
            if status != 201:
                raise SystemExit(f"The registry answered {status} to a layer of {repository}")
        self.unique[digest] = len(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _manifest(self, repository: str, tag: str | None, document: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        kind = str(document["mediaType"])
        path = f"/v2/{repository}/manifests/{tag or digest_of(data)}"
        status, _headers = self._request("PUT", path, data, kind)
        if status != 201:
            raise SystemExit(f"The registry answered {status} to a manifest of {repository}")
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def _request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/octet-stream"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.host, timeout=120)
        connection.request(method, path, body=body, headers={"Content-Type": kind} if body is not None else {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.headers


def manifests_below(host: str, repository: str, digest: str) -> Iterator[tuple[str, int]]:
    """Manifests that the registry holds of an image, read and hashed, with their sizes."""
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != 200 or digest_of(data) != digest:
        raise SystemExit(f"{repository}@{digest} is not at {host} as it was")
    yield digest, len(data)
    for child in json.loads(data).get("manifests", []):
        yield from manifests_below(host, repository, child["digest"])
