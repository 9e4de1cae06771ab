# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Ed25519ph signatures (RFC 8032), which cosign makes with Ed25519 keys and the cryptography package does not know.

Verification alone: no secret is at hand, so plain arithmetic that takes its time as it comes is good enough.
"""

from __future__ import annotations

import hashlib

_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_CURVE = -121665 * pow(121666, -1, _FIELD) % _FIELD
_ROOT_OF_MINUS_ONE = pow(2, (_FIELD - 1) // 4, _FIELD)
# The prefix that sets prehashed signatures apart from others: the flag 1 and an empty context.
_DOMAIN = b"SigEd25519 no Ed25519 collisions\x01\x00"

# Extended coordinates: x = X/Z, y = Y/Z and T = XY/Z.
Point = tuple[int, int, int, int]


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the 64 bytes of a signature over the message were made with the key of these 32 bytes."""
    commitment, response = signature[:32], int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or response >= _ORDER:
        return False
    try:
        x, y, one, product = _point(public)
    except ValueError:
        return False
    hashed = hashlib.sha512(message).digest()
    challenge = int.from_bytes(hashlib.sha512(_DOMAIN + commitment + public + hashed).digest(), "little") % _ORDER
    # Bytes are compared, not points: of each commitment one form is accepted.
    return encode(_add(times(response, BASE), times(challenge, (-x, y, one, -product)))) == commitment


def times(number: int, point: Point) -> Point:
    """The point added to itself so often."""
    result = (0, 1, 1, 0)
    for bit in bin(number)[2:]:
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


def _add(one: Point, two: Point) -> Point:
    difference = (one[1] - one[0]) * (two[1] - two[0])
    total = (one[1] + one[0]) * (two[1] + two[0])
    product = 2 * _CURVE * one[3] * two[3]
    scale = 2 * one[2] * two[2]
    x, y = total - difference, total + difference
    low, high = scale - product, scale + product
    return x * low % _FIELD, y * high % _FIELD, low * high % _FIELD, x * y % _FIELD


def encode(point: Point) -> bytes:
    """A point in 32 bytes: y, and the lowest bit of x on top."""
    shrink = pow(point[2], -1, _FIELD)
    x, y = point[0] * shrink % _FIELD, point[1] * shrink % _FIELD
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _point(encoded: bytes) -> Point:
    """The point of its 32 bytes; :class:`ValueError` where there is none."""
    odd, y = divmod(int.from_bytes(encoded, "little"), 2**255)
    square = (y * y - 1) * pow(_CURVE * y * y + 1, -1, _FIELD) % _FIELD
    x = pow(square, (_FIELD + 3) // 8, _FIELD)
    if x * x % _FIELD != square:
        x = x * _ROOT_OF_MINUS_ONE % _FIELD
    if x * x % _FIELD != square:
        raise ValueError("not on the curve")
    if x % 2 != odd:
        x = _FIELD - x
    return x, y, 1, x * y % _FIELD


BASE = _point(b"\x58" + b"\x66" * 31)
