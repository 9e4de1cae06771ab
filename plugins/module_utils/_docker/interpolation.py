# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Variables in Compose files and in the files that give them values.

``None`` stands for a value that cannot be known here. Values may be secrets, so no error shows one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"(:?)([-?+])")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ENTRY = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*
    (?:[=:][ \t]*(?:
        '(?P<single>(?:[^'\\]|\\.)*)'[ \t]*(?:\#[^\n]*)?
      | "(?P<double>(?:[^"\\]|\\.)*)"[ \t]*(?:\#[^\n]*)?
      | (?P<plain>(?!['"])[^\n]*)
    ))?(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "$": "$$"}


class Undetermined(Exception):
    """A text whose variables do not all have a value; says why."""


def interpolate(text: str, variables: Mapping[str, str | None]) -> str:
    """The text with its variables replaced as Compose does it; a variable without a value is not taken for empty."""
    parts: list[str] = []
    at = 0
    while (mark := text.find("$", at)) >= 0:
        parts.append(text[at:mark])
        if text.startswith("$$", mark):
            parts.append("$")
            at = mark + 2
            continue
        braced = text.startswith("${", mark)
        name = _NAME.match(text, mark + (2 if braced else 1))
        if name is None:
            raise Undetermined("a '$' in it is not followed by the name of a variable")
        end = _closing(text, name.end()) if braced else name.end()
        parts.append(_value(name[0], text[name.end() : end], variables))
        at = end + braced
    return "".join([*parts, text[at:]])


def _closing(text: str, at: int) -> int:
    """Where the brace ends that was opened before ``at``."""
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise Undetermined("a '${' in it is not closed")


def _value(name: str, rest: str, variables: Mapping[str, str | None]) -> str:
    """What stands for a variable; ``rest`` is what follows its name within the braces."""
    value = variables.get(name, "")
    if value is None:
        raise Undetermined(f"the value of variable {name} is not known here")
    operator = _OPERATOR.match(rest)
    if rest and operator is None:
        raise Undetermined(f"what follows variable {name} is not understood")
    given = bool(value) if operator and operator[1] else name in variables
    if operator and operator[2] != "?" and given == (operator[2] == "+"):
        return interpolate(rest[operator.end() :], variables)
    if given or (operator and operator[2] == "+"):
        return value if given else ""
    raise Undetermined(f"variable {name} has no value")


def environment(text: str, given: Mapping[str, str | None], where: str) -> dict[str, str | None]:
    """The variables of an environment file; those ``given`` go before its own where it uses them.

    Raises :class:`InvalidInput` with the number of a line that is none.
    """
    text = text.replace("\r\n", "\n")
    found: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        entry = None if blank else _ENTRY.match(text, at)
        if entry is not None:
            found[entry["name"]] = _assigned(entry, {**found, **given})
        line = blank or entry
        if line is None:
            number = text.count("\n", 0, at) + 1
            raise InvalidInput("read", where, f"line {number} is no NAME=VALUE", "Correct that line.")
        at = line.end()
    return found


def _assigned(entry: re.Match[str], variables: Mapping[str, str | None]) -> str | None:
    if entry["single"] is not None:
        return entry["single"].replace("\\'", "'")
    text = entry["plain"]
    if entry["double"] is not None:
        text = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), entry["double"], flags=re.DOTALL)
    elif text is None:
        # A name alone stands for the variable of the shell.
        return variables.get(entry["name"])
    else:
        text = re.sub(r"\s#.*", "", text).strip()
    try:
        return interpolate(text, variables)
    except Undetermined:
        return None
