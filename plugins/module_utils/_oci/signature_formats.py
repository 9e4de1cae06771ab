# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Signatures that are attached to an image in a registry, in the formats of cosign; nothing is judged here."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._oci.blob import Download
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import (
    SIGNATURE,
    Descriptor,
    Manifest,
    cosign_tags,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Source

_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_PAYLOAD_TYPE = "cosign container image signature"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_COSIGN = "application/vnd.dev.cosign.artifact.sig"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_SIGN = "https://sigstore.dev/cosign/sign/v1"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/"
_NOTATION = "application/vnd.cncf.notary.signature"
_EMPTY = "application/vnd.oci.empty.v1+json"
_IDENTITY = "made with a certificate"
# Payloads and bundles have some hundred to some thousand bytes.
_LARGEST = 1024 * 1024


@dataclass(frozen=True)
class Signature:
    """One signature that is attached to an image.

    ``where`` names it in texts; ``signature`` is over ``message``. ``problem`` is why it says nothing for this image,
    whoever made it. ``identity`` is set where something else than a key decides: a certificate, Notation.
    """

    where: str
    message: bytes = b""
    signature: bytes = b""
    problem: str = ""
    identity: str = ""


@dataclass(frozen=True)
class Signed:
    """A manifest or index that may have signatures."""

    registry: Source
    repository: str
    digest: str

    def signatures(self) -> Iterator[Signature]:
        """Everything that is attached; each is asked for when its turn comes.

        What cannot be made sense of has a ``problem``. Raises :class:`Unavailable` and :class:`Denied`.
        """
        for tag in cosign_tags(self.digest):
            if tag.endswith(SIGNATURE):
                yield from _readable(f"tag {tag}", self._tagged(tag))
        for referrer in self.registry.referrers(self.repository, self.digest):
            where = f"referrer {referrer.digest}"
            yield from _readable(where, self._referring(referrer, where))

    def _tagged(self, tag: str) -> Iterator[Signature]:
        manifest = self.registry.manifest(self.repository, tag)
        if manifest is not None:
            yield from self._held(manifest, f"tag {tag}")

    def _referring(self, referrer: Descriptor, where: str) -> Iterator[Signature]:
        # Some clients copy the configuration's type here, which for artifacts is the empty one and says nothing.
        kind = str(referrer.document.get("artifactType") or _EMPTY)
        predicate = (referrer.document.get("annotations") or {}).get(_PREDICATE, _SIGN)
        if not kind.startswith((_EMPTY, _COSIGN, _BUNDLE, _NOTATION)) or predicate != _SIGN:
            return
        manifest = self._manifest(referrer.digest)
        if manifest.as_referrer().get("artifactType") == _NOTATION:
            yield Signature(where, identity="made with Notation")
        else:
            yield from self._held(manifest, where)

    def _held(self, manifest: Manifest, where: str) -> Iterator[Signature]:
        """The signatures in a manifest's layers; two by different keys may share one payload, and thus one digest."""
        for number, layer in enumerate(json.loads(manifest.data).get("layers") or [], 1):
            kind = str(layer.get("mediaType"))
            if kind == _PAYLOAD:
                name = f"{where}, layer {number}"
                yield from _readable(name, self._simple(layer, name))
            elif kind.startswith(_BUNDLE):
                yield from self._bundle(_document(self._blob(layer)), where)

    # -- formats ----------------------------------------------------------------------------------------------

    def _simple(self, layer: Mapping[str, Any], where: str) -> Iterator[Signature]:
        annotations = layer.get("annotations") or {}
        if not annotations.get(_SIGNATURE):
            raise Corrupt("read", where, f"it has no annotation {_SIGNATURE}")
        data = self._blob(layer)
        critical = _document(data)["critical"]
        problem = ""
        if critical["type"] != _PAYLOAD_TYPE:
            problem = f"its payload is of type {critical['type']!r}"
        elif critical["image"]["docker-manifest-digest"] != self.digest:
            problem = f"it was made for another image, {critical['image']['docker-manifest-digest']}"
        identity = _IDENTITY if annotations.get(_CERTIFICATE) else ""
        yield Signature(where, data, _bytes(annotations[_SIGNATURE]), problem, identity)

    def _bundle(self, bundle: Mapping[str, Any], where: str) -> Iterator[Signature]:
        material = bundle.get("verificationMaterial") or {}
        identity = _IDENTITY if "certificate" in material or "x509CertificateChain" in material else ""
        if "messageSignature" in bundle:
            yield self._over_bytes(bundle["messageSignature"], where, identity)
            return
        envelope = bundle["dsseEnvelope"]
        kind, payload = str(envelope["payloadType"]), _bytes(envelope["payload"])
        if kind != _IN_TOTO:
            raise Corrupt("read", where, f"its envelope holds {kind}, not an in-toto statement")
        statement = _document(payload)
        if statement["predicateType"] != _SIGN:
            return  # an attestation says something about the image; it does not sign it
        problem = ""
        algorithm, _colon, value = self.digest.partition(":")
        named = [subject["digest"].get(algorithm) for subject in statement["subject"]]
        if not str(statement["_type"]).startswith(_STATEMENT):
            problem = f"its statement is of type {statement['_type']!r}"
        elif value not in named:
            problem = f"it was made for another image, {', '.join(f'{algorithm}:{other}' for other in named)}"
        for one in envelope["signatures"]:
            yield Signature(where, _authenticated(kind, payload), _bytes(one["sig"]), problem, identity)

    def _over_bytes(self, content: Mapping[str, Any], where: str, identity: str) -> Signature:
        """A signature over the manifest itself, without a statement around it."""
        data = self._manifest(self.digest).data
        said = content.get("messageDigest") or {}
        problem = ""
        if said.get("algorithm") == "SHA2_256" and _bytes(said["digest"]) != hashlib.sha256(data).digest():
            problem = f"it was made for another image, sha256:{_bytes(said['digest']).hex()}"
        return Signature(where, data, _bytes(content["signature"]), problem, identity)

    # -- what the registry has --------------------------------------------------------------------------------

    def _manifest(self, digest: str) -> Manifest:
        manifest = self.registry.manifest(self.repository, digest)
        if manifest is None:
            raise NotFound("read", f"manifest {digest}", "the registry lists it and does not have it")
        return manifest

    def _blob(self, layer: Mapping[str, Any]) -> bytes:
        blob = Descriptor(str(layer["digest"]), int(layer["size"]), str(layer.get("mediaType")))
        if blob.size > _LARGEST:
            raise Corrupt("read", f"blob {blob.digest}", f"its {blob.size} bytes are more than a signature has")
        return b"".join(Download(self.registry, self.repository, blob).chunks())


def _readable(where: str, signatures: Iterator[Signature]) -> Iterator[Signature]:
    """The signatures; what is malformed ends in one with a problem, so that those beside it still count."""
    try:
        yield from signatures
    except (Corrupt, InvalidInput, NotFound) as error:
        yield Signature(where, problem=error.reason)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        yield Signature(where, problem=f"it is malformed ({type(error).__name__}: {error})")


def _document(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _authenticated(kind: str, payload: bytes) -> bytes:
    """What a DSSE signature is over: its pre-authentication encoding, with lengths, so that no part can be moved."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)
