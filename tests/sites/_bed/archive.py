"""OCI image archives made by hand: one compressed layer per image, ready for containerd's import."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

MEDIA = "application/vnd.oci.image."
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Layer(io.RawIOBase):
    """A file to write a tar stream to: it is compressed on its way, and both digests are known at the end."""

    def __init__(self, path: Path, level: int = 1) -> None:
        self._file = path.open("wb")
        # The fastest level is the default: most of these live for a minute, and the processors are few.
        self._pack = zlib.compressobj(level, zlib.DEFLATED, 31)
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self.path, self.size = path, 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(cast("bytes", data))
        self._plain.update(piece)
        self._put(self._pack.compress(piece))
        return len(piece)

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._file.write(data)
        self.size += len(data)

    def close(self) -> None:
        if not self.closed:
            self._put(self._pack.flush())
            self._file.close()
        super().close()

    @property
    def diff_id(self) -> str:
        return "sha256:" + self._plain.hexdigest()

    @property
    def digest(self) -> str:
        return "sha256:" + self._packed.hexdigest()


@dataclass(frozen=True)
class Base:
    """Layers that the importing store has already: their descriptors and the digests of what is in them."""

    layers: list[dict[str, object]]
    diff_ids: list[str]


@dataclass(frozen=True)
class Image:
    """What an archive holds of an image: its name, its entrypoint and its layer, on a base or alone."""

    name: str
    entrypoint: list[str]
    layer: Layer
    base: Base = field(default_factory=lambda: Base([], []))


def compose(layer: Layer, tree: BinaryIO | None, files: dict[str, Path]) -> None:
    """Fill a layer from the tar stream of a tree and from files (name in the image -> where it is now)."""
    with layer, tarfile.open(fileobj=layer, mode="w|", format=tarfile.PAX_FORMAT) as out:
        if tree is not None:
            with tarfile.open(fileobj=tree, mode="r|") as members:
                for member in members:
                    out.addfile(member, members.extractfile(member) if member.isreg() else None)
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o755
            with path.open("rb") as data:
                out.addfile(entry, data)


def write(path: Path, images: Iterable[Image]) -> None:
    """Write an OCI archive of images."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    index = []
    with tarfile.open(path, "w") as out:
        for image in images:
            config = add(out, {
                "architecture": machine, "os": "linux",
                "config": {**({"Entrypoint": image.entrypoint} if image.entrypoint else {}), "Env": [f"PATH={PATH}"]},
                "rootfs": {"type": "layers", "diff_ids": [*image.base.diff_ids, image.layer.diff_id]},
            }, "config.v1+json")  # fmt: skip
            layer = {"mediaType": MEDIA + "layer.v1.tar+gzip", "digest": image.layer.digest, "size": image.layer.size}
            out.add(image.layer.path, blob(image.layer.digest))
            manifest = add(out, {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config,
                                 "layers": [*image.base.layers, layer]}, "manifest.v1+json")  # fmt: skip
            index.append({**manifest, "annotations": {"io.containerd.image.name": image.name}})
        put(out, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        put(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": index}).encode())


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def put(out: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    out.addfile(entry, io.BytesIO(data))


def add(out: tarfile.TarFile, document: object, kind: str) -> dict[str, object]:
    """Add a JSON document as a blob; returns its descriptor."""
    data = json.dumps(document, sort_keys=True).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    put(out, blob(digest), data)
    return {"mediaType": MEDIA + kind, "digest": digest, "size": len(data)}
