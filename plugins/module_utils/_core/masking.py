# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Secrets out of text that others wrote: log lines, events, messages of controllers.

No pattern finds every secret, so text that is kept is short, and what is known to be secret is given as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"
# A known value shorter than this is likelier a word than a secret: "true", "admin".
_SHORTEST = 6

# The end of a variable's name, an option or a key: DB_PASSWORD, --api-key, "clientSecret".
_SECRET_NAME = (
    r"(?:(?:passw(?:or)?d|passphrase|passcode|pwd|secret|token|api[_.-]?key|access[_.-]?key|private[_.-]?key"
    r"|account[_.-]?key|encryption[_.-]?key|signing[_.-]?key|credential|authorization|cookie|signature|dsn)\w*"
    r"|(?<![a-z])pass(?![a-z]))"
)
# In quotes, in the escaped quotes of JSON inside of JSON, or in quotes that were cut off.
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|\\\"(?:[^\"\\\n]|\\[^\"])*\\\"|'[^'\n]*'|\\?[\"'][^\n]*"
_NAME = re.compile(_SECRET_NAME, re.IGNORECASE)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A key in PEM, also one whose end was cut off, or whose beginning was.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"\A(?:[A-Za-z0-9+/=\s]*)-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL), MASK),
    # scheme://user:password@host; the last @ before the path ends the login, whatever is in it.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/\"'<>]*@", re.IGNORECASE), rf"\1{MASK}@"),
    # postgres://user:pa/ss@host: passwords that hold a slash.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s:/@\"'<>]*:[^\s@\"'<>]*@", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"\b(Bearer|Basic|Digest|Negotiate)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    # password=x, "token": "x", DB_PASSWORD: x
    (
        re.compile(rf"({_SECRET_NAME}\\?[\"']?\s*(?:=>|:=|[=:])\s*)(?:{_QUOTED}|[^\s,;&|)\]}}\"']+)", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    # --api-key x
    (re.compile(rf"(--?[\w.-]{{0,40}}{_SECRET_NAME}\s+)(?:{_QUOTED}|[^\s-]\S*)", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bidentified\s+by\s+)(?:password\s+)?\S+", re.IGNORECASE), rf"\1{MASK}"),
    # Tokens that tell themselves: JWT, GitHub, GitLab, Slack, AWS key ids, age keys.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]+)*"), MASK),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|AGE-SECRET-KEY-)[A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
)


def secret_name(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret: ``DB_PASSWORD``."""
    return _NAME.search(name) is not None


def mask(text: str, known: Iterable[str] = ()) -> str:
    """The text without ``known`` secrets and without whatever looks like one."""
    # The longest first, so that none leaves a part of another behind.
    for value in sorted({one for one in known if len(one) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
