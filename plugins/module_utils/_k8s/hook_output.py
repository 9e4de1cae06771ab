# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What commands print, fit to be kept: bounded, and without what looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LIMIT = 4096
# Patterns are looked for in more than is kept, so that a cut does not hide where a secret begins.
_LOOKED_AT = 16 * LIMIT
_HIDDEN = "********"
_WORDS = r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|credential|api[_.-]?key|(?:access|private|secret)[_.-]?key)"
_SENSITIVE = re.compile(_WORDS, re.IGNORECASE)
_PATTERNS = (
    # A private key, also one whose end was cut off.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/]*(?=@)", re.IGNORECASE), rf"\g<head>{_HIDDEN}"),
    (
        re.compile(
            r"(?P<head>\b(?:bearer|authorization[\"']?\s*[=:]\s*[a-z]+)\s+)[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE
        ),
        rf"\g<head>{_HIDDEN}",
    ),
    (
        re.compile(
            rf"(?P<head>\b[\w.-]{{0,64}}{_WORDS}[\w.-]{{0,64}}[\"']?\s*[=:]\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|\S+)",
            re.IGNORECASE,
        ),
        rf"\g<head>{_HIDDEN}",
    ),
    (re.compile(rf"(?P<head>(?<!\S)--?{_WORDS}\s+)[^\s\"']+", re.IGNORECASE), rf"\g<head>{_HIDDEN}"),
)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets and without what is written like one (``password=...``, logins in URLs)."""
    # Longer ones first: one may be a part of another.
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def kept(text: str, secrets: Iterable[str]) -> str:
    """The end of what a command printed, at most :data:`LIMIT` bytes, masked."""
    data = masked(text[-_LOOKED_AT:], secrets).strip().encode()
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
    elif isinstance(value, str) and len(value) >= 4 and _SENSITIVE.search(name) and not name.endswith("_file"):
        yield value
