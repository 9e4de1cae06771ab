# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Manifests as bytes with what they name; they are read, never written again from their parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, "*/*;q=0.1"))
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
# cosign's tags for what is attached to a digest end in these.
SIGNATURE = ".sig"
_COSIGN_SUFFIXES = (SIGNATURE, ".att", ".sbom")
_LONGEST_TAG = 128
_ALGORITHMS = ("sha256", "sha384", "sha512")


def hasher(digest: str) -> Any:
    """A fresh hash object for the digest's algorithm; :class:`InvalidInput` where we cannot compute it."""
    algorithm = digest.partition(":")[0]
    if algorithm not in _ALGORITHMS:
        raise InvalidInput("check", f"digest {digest}", f"algorithm {algorithm} is not known here")
    return hashlib.new(algorithm)


def digest_of(data: bytes, like: str = "sha256:") -> str:
    """The digest of the bytes, by the algorithm of ``like``."""
    state = hasher(like)
    state.update(data)
    return f"{like.partition(':')[0]}:{state.hexdigest()}"


def fallback_tag(digest: str) -> str:
    """The tag that lists what refers to a digest, where a registry does not say it itself."""
    algorithm, _colon, value = digest.partition(":")
    return f"{algorithm}-{value[:64]}"


def cosign_tags(digest: str) -> list[str]:
    """cosign's tags for the signature, attestations and SBOM of a digest; none where they would be no tags."""
    tags = [digest.replace(":", "-") + suffix for suffix in _COSIGN_SUFFIXES]
    return [tag for tag in tags if len(tag) <= _LONGEST_TAG]


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about something that it names: media type, digest, size in bytes, platform."""

    digest: str
    size: int
    media_type: str
    platform: str = ""
    document: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def attests(self) -> str:
        """The digest of the manifest beside it in an index that it is an attestation of, as BuildKit marks them."""
        annotations = self.document.get("annotations")
        return str(annotations.get("vnd.docker.reference.digest") or "") if isinstance(annotations, dict) else ""

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEXES

    @property
    def foreign(self) -> bool:
        """A layer that is not to be distributed; registries need not have it."""
        return "nondistributable" in self.media_type or "foreign" in self.media_type

    @property
    def embedded(self) -> bytes | None:
        """The content where the descriptor carries it itself and it is right."""
        try:
            data = base64.b64decode(self.document.get("data") or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            return None
        return data if data and len(data) == self.size and digest_of(data, self.digest) == self.digest else None


@dataclass(frozen=True)
class Manifest:
    """Raw bytes of an index or an image manifest, and what it names."""

    data: bytes
    digest: str
    media_type: str
    children: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    config: Descriptor | None
    subject: str | None

    @classmethod
    def parse(cls, data: bytes, content_type: str, where: str, digest: str | None = None) -> Manifest:
        """Read a manifest; ``where`` names it in errors, ``digest`` is what it must have.

        Raises :class:`Corrupt` for other bytes than the digest says or for what is no manifest, :class:`InvalidInput`
        for the retired schema 1.
        """
        if content_type.startswith(_SCHEMA1):
            # Its digest leaves its signatures out, so it cannot be compared.
            raise _schema1(where)
        computed = digest_of(data, digest or "sha256:")
        if digest and computed != digest:
            raise Corrupt(
                "read", where, f"its bytes have digest {computed}", "The registry or the way to it alters content."
            )
        try:
            document = json.loads(data)
            if not isinstance(document, dict):
                raise ValueError("no object")
            declared = document.get("mediaType")
            media_type = str(declared or content_type.partition(";")[0].strip())
            if media_type.startswith(_SCHEMA1) or document.get("schemaVersion") == 1:
                raise _schema1(where)
            if media_type not in _INDEXES and "manifests" in document and "config" not in document:
                media_type = OCI_INDEX
            elif "config" in document and ("/" not in media_type or not (declared or media_type in _IMAGES)):
                # Servers of plain files call it JSON or a stream of bytes; registries want to know.
                media_type = OCI_MANIFEST
            children = tuple(_descriptor(item) for item in document.get("manifests") or [])
            config = _descriptor(document["config"]) if document.get("config") else None
            layers = [_descriptor(item) for item in [*(document.get("layers") or []), *(document.get("blobs") or [])]]
            subject = (document.get("subject") or {}).get("digest")
            if subject is not None and not is_digest(str(subject)):
                raise ValueError("no digest")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Corrupt("read", where, f"it is no image manifest ({type(error).__name__})") from None
        blobs = tuple(dict.fromkeys([*([config] if config else []), *layers]))
        return cls(data, computed, media_type, children, blobs, config, subject)

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEXES

    @property
    def descriptor(self) -> dict[str, Any]:
        """Media type, digest and size, by which others name it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}

    def is_named(self, digest: str) -> bool:
        """Whether that is its digest, by whatever algorithm; a tag's answer has it by the registry's own."""
        return digest_of(self.data, digest) == digest

    def as_referrer(self) -> dict[str, Any]:
        """The descriptor by which a list of referrers names this manifest."""
        document = json.loads(self.data)
        kind = document.get("artifactType") or (self.config.media_type if self.config else None)
        more = {"artifactType": kind, "annotations": document.get("annotations")}
        return {**self.descriptor, **{key: value for key, value in more.items() if value}}

    @property
    def platforms(self) -> list[str]:
        """What an index says it holds, without attestations: ``linux/amd64``, ``linux/arm/v7``."""
        return sorted({child.platform for child in self.children if child.platform})

    def serving(self, platforms: Sequence[str], *, inner: bool = False) -> tuple[Descriptor, ...]:
        """The children for these platforms (``linux/arm`` takes every variant); all of them where none is named.

        What has no platform goes along, unless it is an attestation of a child that is left out. Where no child serves
        any of the platforms: all of an index that is an ``inner`` one, as it has no platform; else :class:`NotFound`.
        """
        if not platforms or not self.platforms:
            return self.children
        served = {child.digest for child in self.children if child.platform and _serves(child, platforms)}
        # One manifest may be listed for several platforms.
        left_out = {child.digest for child in self.children if child.platform} - served
        if not served:
            if inner:
                return self.children
            raise NotFound(
                "choose",
                f"platforms {', '.join(platforms)} of index {self.digest}",
                f"it serves only {', '.join(self.platforms)}",
                "Correct platforms, or leave it empty to copy all.",
            )
        return tuple(child for child in self.children if child.digest not in left_out and child.attests not in left_out)


def _serves(child: Descriptor, platforms: Sequence[str]) -> bool:
    return any(f"{child.platform}/".startswith(f"{platform}/") for platform in platforms)


def _schema1(where: str) -> InvalidInput:
    return InvalidInput(
        "read", where, "it is a schema 1 manifest, which is retired", "Push the image again with a current tool."
    )


def _descriptor(document: dict[str, Any]) -> Descriptor:
    # Digests become parts of paths, at registries and on disks.
    if not is_digest(str(document["digest"])):
        raise ValueError("no digest")
    return Descriptor(
        str(document["digest"]),
        int(document["size"]),
        str(document.get("mediaType") or ""),
        platform_name(document.get("platform") or {}),
        document,
    )


def platform_name(document: dict[str, Any]) -> str:
    """``os/architecture[/variant]`` of a platform or a configuration; empty where it says nothing of use."""
    system, machine = document.get("os"), document.get("architecture")
    if not system or not machine or "unknown" in (system, machine):
        return ""
    return "/".join(str(part) for part in (system, machine, document.get("variant")) if part)


def index(descriptors: list[dict[str, Any]]) -> bytes:
    """The bytes of a new index, for the one document we write ourselves: the fallback list of referrers."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def config_platform(data: bytes) -> str:
    """The platform that an image's configuration names; empty where it names none."""
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    return platform_name(document) if isinstance(document, dict) else ""
