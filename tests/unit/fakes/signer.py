# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signs images of a registry in memory as cosign does with a key: tags with payloads, and bundles as referrers."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from ansible_collections.muster.container_dr.plugins.module_utils._oci import ed25519ph
from fakes.registry import INDEX, MANIFEST, FakeRegistry

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
IN_TOTO = "application/vnd.in-toto+json"
EMPTY = "application/vnd.oci.empty.v1+json"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def prehashed(key: ed25519.Ed25519PrivateKey, message: bytes) -> bytes:
    """An Ed25519ph signature; that the arithmetic is right is proved by the published one in test_ed25519ph.py."""

    def number(*parts: bytes) -> int:
        return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")

    domain, order = b"SigEd25519 no Ed25519 collisions\x01\x00", 2**252 + 27742317777372353535851937790883648493
    hashed = hashlib.sha512(message).digest()
    expanded = hashlib.sha512(key.private_bytes_raw()).digest()
    secret = int.from_bytes(expanded[:32], "little") & (2**254 - 8) | 2**254
    nonce = number(domain, expanded[32:], hashed) % order
    commitment = ed25519ph.encode(ed25519ph.times(nonce, ed25519ph.BASE))
    challenge = number(domain, commitment, key.public_key().public_bytes_raw(), hashed)
    return commitment + ((nonce + challenge * secret) % order).to_bytes(32, "little")


class Signer:
    """A private key of a kind: p256, p384, p384-sha256, p521, rsa, rsa-pss, ed25519 or ed25519ph."""

    def __init__(self, kind: str = "p256") -> None:
        self.kind = kind
        self.key: Any
        if kind.startswith("ed25519"):
            self.key = ed25519.Ed25519PrivateKey.generate()
        elif kind.startswith("rsa"):
            self.key = rsa.generate_private_key(65537, 2048)
        else:
            self.key = ec.generate_private_key(
                {"256": ec.SECP256R1, "384": ec.SECP384R1, "521": ec.SECP521R1}[kind[1:4]]()
            )

    @property
    def pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    @property
    def private_pem(self) -> str:
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, plain).decode()

    @property
    def fingerprint(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        der = self.key.public_key().public_bytes(serialization.Encoding.DER, form)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "build")])
        start = datetime.datetime(2020, 1, 1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(1))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, message: bytes) -> bytes:
        if self.kind == "ed25519":
            return self.key.sign(message)
        if self.kind == "ed25519ph":
            return prehashed(self.key, message)
        if self.kind == "rsa":
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if self.kind == "rsa-pss":
            # As long a salt as fits, which is what Go takes where nothing is said.
            salt = padding.PSS.MAX_LENGTH
            return self.key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
        algorithm = {"p384": hashes.SHA384, "p521": hashes.SHA512}.get(self.kind, hashes.SHA256)()
        return self.key.sign(message, ec.ECDSA(algorithm))


class Signatures:
    """What is attached to the images of one repository."""

    def __init__(self, registry: FakeRegistry, name: str) -> None:
        self.registry = registry
        self.name = name

    # -- tags -------------------------------------------------------------------------------------------------

    def payload(self, digest: str, kind: str = "cosign container image signature") -> bytes:
        critical = {
            "identity": {"docker-reference": f"{self.registry.host}/{self.name}"},
            "image": {"docker-manifest-digest": digest},
            "type": kind,
        }
        return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()

    def layer(self, payload: bytes, signature: bytes | str, **annotations: str) -> dict[str, Any]:
        text = signature if isinstance(signature, str) else encoded(signature)
        return {
            **self.registry.blob(self.name, payload, PAYLOAD),
            "annotations": {"dev.cosignproject.cosign/signature": text, **annotations},
        }

    def tag(self, digest: str, *layers: dict[str, Any]) -> dict[str, Any]:
        """Put layers behind those that the image's tag has already; cosign does so with each further signature."""
        tag = digest.replace(":", "-") + ".sig"
        repository = self.registry.repository(self.name)
        present = json.loads(repository.manifests[repository.tags[tag]][0])["layers"] if tag in repository.tags else []
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.registry.blob(self.name, b'{"rootfs":{}}', "application/vnd.oci.image.config.v1+json"),
            "layers": [*present, *layers],
        }
        return self.registry.manifest(self.name, document, tag)

    def sign_tag(self, digest: str, signer: Signer, **annotations: str) -> None:
        payload = self.payload(digest)
        self.tag(digest, self.layer(payload, signer.sign(payload), **annotations))

    # -- referrers --------------------------------------------------------------------------------------------

    def statement(self, digest: str, predicate: str = SIGN, kind: str = "https://in-toto.io/Statement/v1") -> bytes:
        algorithm, _colon, value = digest.partition(":")
        subject = [{"digest": {algorithm: value}, "annotations": {}}]
        return json.dumps({"_type": kind, "subject": subject, "predicateType": predicate, "predicate": {}}).encode()

    def envelope(self, payload: bytes, signer: Signer, kind: str = IN_TOTO) -> dict[str, Any]:
        message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        return {
            "payload": encoded(payload),
            "payloadType": kind,
            "signatures": [{"sig": encoded(signer.sign(message))}],
        }

    def bundle(self, content: dict[str, Any], material: dict[str, Any] | None = None) -> bytes:
        known = material or {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []}
        return json.dumps({"mediaType": BUNDLE, "verificationMaterial": known, **content}).encode()

    def refer(self, digest: str, data: bytes, kind: str = BUNDLE, predicate: str = SIGN) -> dict[str, Any]:
        """Attach an artifact of one layer; listed in the fallback tag where the registry has no referrers API."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self.registry.blob(self.name, b"{}", EMPTY),
            "layers": [self.registry.blob(self.name, data, kind)],
            "subject": {"mediaType": MANIFEST, "digest": digest, "size": 1},
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": predicate,
            },
        }
        descriptor = self.registry.manifest(self.name, document)
        if not self.registry.referrers:
            tag = digest.replace(":", "-")
            repository = self.registry.repository(self.name)
            index = repository.manifests[repository.tags[tag]][0] if tag in repository.tags else b'{"manifests":[]}'
            listed = json.loads(index)["manifests"]
            said = {"artifactType": kind, "annotations": document["annotations"]}
            whole = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, {**descriptor, **said}]}
            self.registry.manifest(self.name, whole, tag)
        return descriptor

    def sign_referrer(self, digest: str, signer: Signer, **more: Any) -> None:
        self.refer(digest, self.bundle({"dsseEnvelope": self.envelope(self.statement(digest), signer)}, **more))

    def sign_bytes(self, digest: str, signer: Signer, said: str | None = None) -> None:
        """A bundle with a signature over the manifest itself."""
        data = self.registry.repository(self.name).manifests[digest][0]
        value = bytes.fromhex((said or digest).partition(":")[2])
        content = {
            "messageDigest": {"algorithm": "SHA2_256", "digest": encoded(value)},
            "signature": encoded(signer.sign(data)),
        }
        self.refer(digest, self.bundle({"messageSignature": content}))
