# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Public keys that vouch for images; the only file here that knows the cryptography package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._oci import ed25519ph

_PRIMITIVES = "cryptography.hazmat.primitives"
if TYPE_CHECKING:
    from cryptography import exceptions, x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
else:
    exceptions, x509 = Package("cryptography.exceptions"), Package("cryptography.x509")
    hashes, serialization = Package(f"{_PRIMITIVES}.hashes"), Package(f"{_PRIMITIVES}.serialization")
    ec, ed25519, padding, rsa = (
        Package(f"{_PRIMITIVES}.asymmetric.{name}") for name in ("ec", "ed25519", "padding", "rsa")
    )

REQUIREMENT = Requirement("cryptography", ("cryptography.x509", f"{_PRIMITIVES}.asymmetric.ed25519"))

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_SHORTEST_RSA = 2048
_HINT = "Give a public key as PEM (ECDSA P-256, P-384 or P-521, RSA of 2048 bits or more, Ed25519), or a certificate."


@dataclass(frozen=True)
class Key:
    """A public key; ``fingerprint`` is ``sha256:`` and the hash of its DER form (SubjectPublicKeyInfo) in hex."""

    fingerprint: str
    public: PublicKey = field(compare=False, repr=False)

    def made(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature over the message was made with this key's private half."""
        return any(_fits(check) for check in _checks(self.public, signature, message))


def load(given: str) -> list[Key]:
    """The keys in a PEM text, or in the file of that name.

    Raises :class:`InvalidInput` where there is none or one that cannot be used, :class:`NotFound` without the package.
    """
    is_text = "-----BEGIN" in given
    where = "the key given as text" if is_text else f"key file {given}"
    REQUIREMENT.check(where)
    try:
        text = given if is_text else Path(given).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput("read", where, error.strerror or type(error).__name__, _HINT) from None
    except ValueError:
        raise InvalidInput("read", where, "it is no PEM text", _HINT) from None
    keys = [_key(block.group(0).encode(), block.group(1), where) for block in _PEM.finditer(text)]
    if not keys:
        raise InvalidInput("read", where, "it holds no PEM block", _HINT)
    return keys


def _key(block: bytes, label: str, where: str) -> Key:
    if "PRIVATE" in label:
        raise InvalidInput("use", where, "it is a private key", "Give its public half, and keep this one to yourself.")
    public: Any
    try:
        if label == "CERTIFICATE":
            public = x509.load_pem_x509_certificate(block).public_key()
        else:
            public = serialization.load_pem_public_key(block)
    except (ValueError, exceptions.UnsupportedAlgorithm) as error:
        raise InvalidInput("read", where, f"its {label} block is not understood ({error})", _HINT) from None
    usable = (
        isinstance(public, ed25519.Ed25519PublicKey)
        or (isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES)
        or (isinstance(public, rsa.RSAPublicKey) and public.key_size >= _SHORTEST_RSA)
    )
    if not usable:
        raise InvalidInput("use", where, "no signature by a key of this kind or size is trusted", _HINT)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Key(f"sha256:{hashlib.sha256(der).hexdigest()}", public)


def _checks(public: PublicKey, signature: bytes, message: bytes) -> Iterator[Callable[[], None]]:
    """The schemes that are in use with such a key: nothing beside a signature says which of them it is."""
    if isinstance(public, ed25519.Ed25519PublicKey):
        yield partial(public.verify, signature, message)
        yield partial(_check_prehashed, public, signature, message)
    elif isinstance(public, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        yield partial(public.verify, signature, message, padding.PKCS1v15(), hashes.SHA256())
        yield partial(public.verify, signature, message, pss, hashes.SHA256())
    else:
        # cosign hashed with SHA-256 whatever the curve, newer versions hash by the curve's size.
        for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
            yield partial(public.verify, signature, message, ec.ECDSA(algorithm))


def _check_prehashed(public: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    if not ed25519ph.verifies(public.public_bytes_raw(), signature, message):
        raise exceptions.InvalidSignature


def _fits(check: Callable[[], None]) -> bool:
    try:
        check()
    except exceptions.InvalidSignature:
        return False
    return True
