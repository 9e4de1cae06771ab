# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Images in tar files, read in place: what ``docker save`` writes, and the members of any archive as files."""

from __future__ import annotations

import json
import os
import posixpath
import re
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import read_small
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import (
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    digest_of,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_BLOB = re.compile(r"^blobs/sha256/([0-9a-f]{64})$")
_LINKS = 10


class Part:
    """A range of a file that many read at the same time."""

    def __init__(self, handle: int, start: int, end: int) -> None:
        self._handle = handle
        self._at = start
        self._end = end

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, empty at the end."""
        data = os.pread(self._handle, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Nothing to do; the archive holds the file."""


class TarFiles:
    """The members of an uncompressed tar file by name; links lead to what they name inside."""

    def __init__(self, place: str, file: BinaryIO) -> None:
        """``file`` belongs to this object. Raises :class:`Corrupt` for what is no such file or was cut short."""
        self.place = place
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._scan()
        except BaseException:
            file.close()
            raise

    @classmethod
    def at(cls, path: Path) -> TarFiles:
        """Open the archive at a path."""
        try:
            return cls(str(path), path.open("rb"))
        except FileNotFoundError:
            raise NotFound("read", f"archive {path}", "there is no such file", "Correct the path.") from None
        except PermissionError:
            raise Denied("read", f"archive {path}", "this user may not") from None
        except OSError as error:
            raise Unavailable("read", f"archive {path}", error.strerror or str(error)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def size(self, key: str) -> int | None:
        """A member's size in bytes; ``None`` where there is none."""
        found = self._find(key)
        return found[1] if found else None

    def open(self, key: str, offset: int = 0) -> Readable:
        """A member's bytes from ``offset`` on."""
        found = self._find(key)
        if found is None:
            raise NotFound("read", f"{key} in {self.place}", "the archive does not have it")
        start, size = found
        return Part(self._file.fileno(), start + offset, start + size)

    def _find(self, key: str) -> tuple[int, int] | None:
        for _step in range(_LINKS):
            if key not in self._links:
                break
            key = self._links[key]
        return self._members.get(key)

    def _scan(self) -> None:
        target, total = f"archive {self.place}", self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                for member in archive:
                    name = posixpath.normpath(member.name)
                    if member.issym():
                        self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                    elif member.islnk():
                        self._links[name] = posixpath.normpath(member.linkname)
                    elif member.isreg() and member.sparse is None:
                        self._members[name] = (member.offset_data, member.size)
                        if member.offset_data + member.size > total:
                            raise Corrupt("read", target, "the file ends in the middle of it", "Copy the file anew.")
        except tarfile.TarError as error:
            self._file.seek(0)
            begin = self._file.read(8)
            packed = next((name for magic, name in _COMPRESSIONS.items() if begin.startswith(magic)), None)
            if packed:
                raise Corrupt("read", target, f"it is compressed with {packed}", "Unpack the file first.") from None
            raise Corrupt("read", target, f"it is no whole tar file ({error})", "Copy the file anew.") from None


class DockerArchive:
    """What ``docker save`` wrote, old form or new, as a source.

    Docker keeps no manifest of an image, so one is made from its configuration and layers, always the same for the same
    image. Its digest is a new one, whatever registry the image may have come from. Only containerd's image store keeps
    manifests and layers as they came; what is whole of these is found by its own digest.
    """

    def __init__(self, host: str, files: TarFiles) -> None:
        self.host = host
        self._files = files
        self._manifests: dict[str, Manifest] = {}
        self._originals: dict[str, Manifest] = {}
        self._tags: dict[str, str] = {}
        self._blobs: dict[str, str] = {}
        listed = self._json("manifest.json")
        if not isinstance(listed, list):
            raise self._broken("manifest.json is no list")
        for item in listed:
            manifest = self._build(item)
            self._manifests[manifest.digest] = manifest
            for name in item.get("RepoTags") or []:
                self._tags[str(Reference.parse(str(name)))] = manifest.digest

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest that was made for an image, by its digest or by the image's tag; or one that was saved."""
        digest = reference if ":" in reference else self.tag_digest(repository, reference)
        return (self._manifests.get(digest) or self._original(digest)) if digest else None

    def tag_digest(self, repository: str, tag: str) -> str | None:
        """The digest of the image of that name; without a name, of the only image."""
        if not repository:
            return next(iter(self._manifests)) if tag == "latest" and len(self._manifests) == 1 else None
        return self._tags.get(str(Reference.parse(f"{repository}:{tag}")))

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether an image has this digest."""
        return self.manifest(repository, digest) is not None

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """None: Docker saves only images."""
        return []

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a configuration or layer in bytes."""
        return self._files.size(self._blobs[digest]) if digest in self._blobs else None

    def open_blob(self, repository: str, digest: str, offset: int = 0) -> Readable:
        """A blob's bytes from ``offset`` on."""
        return self._files.open(self._key(digest), offset)

    def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob as a whole."""
        return self._read(self._key(digest))

    def _original(self, digest: str, media_type: str = "") -> Manifest | None:
        """A manifest that was saved as it is, where all that it names was saved too."""
        if digest in self._originals:
            return self._originals[digest]
        data = read_small(self._files, _blob_key(digest))
        if data is None or digest_of(data, digest) != digest:
            return None
        try:
            manifest = Manifest.parse(data, media_type, f"manifest {digest} in {self.host}", digest)
        except (Corrupt, InvalidInput):
            # A configuration, for example; its digest is the image's id elsewhere.
            return None
        if not manifest.children and manifest.config is None:
            return None
        blobs = {blob.digest: _blob_key(blob.digest) for blob in manifest.blobs if not blob.foreign}
        whole = all(self._files.size(blobs[blob.digest]) == blob.size for blob in manifest.blobs if not blob.foreign)
        if not whole or any(self._original(child.digest, child.media_type) is None for child in manifest.children):
            return None
        self._blobs.update(blobs)
        self._originals[digest] = manifest
        return manifest

    def _build(self, item: Any) -> Manifest:
        try:
            config_key, layer_keys = str(item["Config"]), [posixpath.normpath(str(key)) for key in item["Layers"] or []]
            config = self._read(posixpath.normpath(config_key))
            diff_ids = [str(found) for found in json.loads(config)["rootfs"]["diff_ids"] or []]
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken(f"an image in it is not described ({type(error).__name__})") from None
        if len(diff_ids) != len(layer_keys):
            raise self._broken(f"{config_key} names {len(diff_ids)} layers, and {len(layer_keys)} were saved")
        digest = digest_of(config)
        self._blobs[digest] = posixpath.normpath(config_key)
        layers = [self._layer(key, diff_id) for key, diff_id in zip(layer_keys, diff_ids, strict=True)]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
            "layers": layers,
        }
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return Manifest.parse(data, OCI_MANIFEST, f"an image in {self.host}")

    def _layer(self, key: str, diff_id: str) -> dict[str, Any]:
        size = self._files.size(key)
        if size is None:
            raise self._broken(f"layer {key} is missing")
        named = _BLOB.match(key)
        digest, packed = f"sha256:{named.group(1)}" if named else diff_id, ""
        if digest != diff_id:
            # containerd keeps layers as they were pulled; what the configuration names is the unpacked one.
            stream = self._files.open(key)
            begin = stream.read(4)
            stream.close()
            packed = next((name for magic, name in _COMPRESSIONS.items() if begin.startswith(magic)), "")
            if packed not in ("gzip", "zstd"):
                raise self._broken(f"layer {key} is not {diff_id}, and not compressed")
        self._blobs[digest] = key
        return {"mediaType": _LAYER + (f"+{packed}" if packed else ""), "digest": digest, "size": size}

    def _key(self, digest: str) -> str:
        if digest not in self._blobs:
            raise NotFound("read", f"blob {digest} in {self.host}", "the archive does not have it")
        return self._blobs[digest]

    def _json(self, key: str) -> Any:
        try:
            return json.loads(self._read(key))
        except ValueError:
            raise self._broken(f"{key} is no JSON") from None

    def _read(self, key: str) -> bytes:
        data = read_small(self._files, key)
        if data is None:
            raise self._broken(f"it has no {key}")
        return data

    def _broken(self, reason: str) -> MusterError:
        return Corrupt(
            "read", f"archive {self._files.place}", reason, "It must be a whole file as 'docker save' writes it."
        )


def _blob_key(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
