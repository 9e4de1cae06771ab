# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prehashed Ed25519, against the signature that RFC 8032 publishes (7.3)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.signer import prehashed

from ansible_collections.muster.container_dr.plugins.module_utils._oci import ed25519ph

PRIVATE = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
SIGNATURE = bytes.fromhex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_the_published_signature() -> None:
    assert ed25519ph.verifies(PUBLIC, SIGNATURE, b"abc")
    assert prehashed(PRIVATE, b"abc") == SIGNATURE


@pytest.mark.parametrize(
    ("public", "signature", "message"),
    [
        (PUBLIC, SIGNATURE, b"abd"),
        (PUBLIC, PRIVATE.sign(b"abc"), b"abc"),
        (Ed25519PrivateKey.from_private_bytes(b"1" * 32).public_key().public_bytes_raw(), SIGNATURE, b"abc"),
        (PUBLIC, b"", b"abc"),
        (PUBLIC, SIGNATURE[:-1], b"abc"),
        (PUBLIC, SIGNATURE + b"\0", b"abc"),
        (PUBLIC, bytes([SIGNATURE[0] ^ 1]) + SIGNATURE[1:], b"abc"),
        (PUBLIC, SIGNATURE[:-1] + bytes([SIGNATURE[-1] ^ 1]), b"abc"),
        # The same response plus the order of the group is congruent and would be a second form of one signature.
        (
            PUBLIC,
            SIGNATURE[:32] + (int.from_bytes(SIGNATURE[32:], "little") + ORDER).to_bytes(32, "little"),
            b"abc",
        ),
        # No point has this y.
        (b"\x02" + b"\0" * 31, SIGNATURE, b"abc"),
    ],
)
def test_what_is_none(public: bytes, signature: bytes, message: bytes) -> None:
    assert not ed25519ph.verifies(public, signature, message)
