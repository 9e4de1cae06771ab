# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What commands print, fit to be kept: bounded, and without what looks like a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import masking

LIMIT = 4096
# Patterns are looked for in more than is kept, so that a cut does not hide where a secret begins.
_LOOKED_AT = 16 * LIMIT


def kept(text: str, secrets: Iterable[str]) -> str:
    """The end of what a command printed, at most :data:`LIMIT` bytes, masked."""
    data = masking.mask(text[-_LOOKED_AT:], secrets).strip().encode()
    if len(data) <= LIMIT:
        return data.decode()
    mark = "... "
    return mark + data[len(mark) - LIMIT :].decode("utf-8", "ignore")


def secrets_in(options: Mapping[str, Any]) -> frozenset[str]:
    """The passwords, keys and tokens among a module's options, however deep."""
    return frozenset(secret for name, value in options.items() for secret in _found(name, value))


def _found(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _found(str(key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(name, inner)
    # Names of files and very short texts would hide more than they protect.
    elif isinstance(value, str) and len(value) >= 4 and masking.secret_name(name) and not name.endswith("_file"):
        yield value
