# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""JSON pointers (RFC 6901), and patterns of them in which ``*`` stands for every element."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]*")
EVERY = "*"


class PointerError(ValueError):
    """A pointer that is none, or that leads nowhere; the text says which and why."""


def parse(text: Any) -> tuple[str, ...]:
    """``/metadata/labels/a~1b`` gives ``("metadata", "labels", "a/b")``; the empty text is the whole document.

    Raises :class:`PointerError` for anything that is not a pointer.
    """
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PointerError(f"{text!r} is not a JSON pointer: it has to begin with a slash")
    if re.search(r"~(?![01])", text):
        raise PointerError(f"{text!r} is not a JSON pointer: ~ stands before 0 or 1 only (~0 means ~, ~1 means /)")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def written(tokens: tuple[str, ...]) -> str:
    """The pointer as text."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def index(token: str, length: int, where: tuple[str, ...], *, end: bool = False) -> int:
    """The place in a list; with ``end`` one past the last and ``-`` are good too (where something is added)."""
    if end and token == "-":
        return length
    if not _INDEX.fullmatch(token):
        raise PointerError(f"{written(where)} is not there: {token!r} is no index of a list")
    number = int(token)
    if number >= length + (1 if end else 0):
        raise PointerError(f"{written(where)} is not there: the list has {length} elements")
    return number


def value_at(document: Any, tokens: tuple[str, ...]) -> Any:
    """What the pointer points to. Raises :class:`PointerError` naming the part that is not there."""
    value = document
    for depth, token in enumerate(tokens):
        where = tokens[: depth + 1]
        if isinstance(value, dict):
            if token not in value:
                raise PointerError(f"{written(where)} is not there")
            value = value[token]
        elif isinstance(value, list):
            value = value[index(token, len(value), where)]
        else:
            raise PointerError(f"{written(where)} is not there: what is above it is neither object nor list")
    return value


def places(document: Any, pattern: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Every place that the pattern means: its tokens, the dict or list that holds it, and its value.

    ``*`` means every element of a list and every value of a dict; what is not there is no error. The holder is indexed
    with :func:`key_in`.
    """
    yield from _places(document, pattern, ())


def _places(value: Any, pattern: tuple[str, ...], done: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    head, rest = pattern[0], pattern[1:]
    names: list[str] = []
    if isinstance(value, dict):
        # A key of that very name goes before the wildcard.
        names = list(value) if head == EVERY and EVERY not in value else [head] if head in value else []
    elif isinstance(value, list):
        if head == EVERY:
            names = [str(number) for number in range(len(value))]
        elif _INDEX.fullmatch(head) and int(head) < len(value):
            names = [head]
    for name in names:
        inner = value[key_in(value, name)]
        if rest:
            yield from _places(inner, rest, (*done, name))
        else:
            yield (*done, name), value, inner


def key_in(holder: Any, token: str) -> Any:
    """The token as what indexes its holder: an ``int`` in a list, itself in a dict."""
    return int(token) if isinstance(holder, list) else token
