# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Passwords as options, files, commands or the environment give them.

White space around one does not count, as restic has it for files and commands: movers get it as a file, so that a
password means the same everywhere.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import process
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.masking import mask
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes

# Seconds for a command; somebody may have to touch a token.
COMMAND_TIMEOUT = 60.0
_WAYS = ("password", "password_file", "password_command")


def given(options: Mapping[str, Any], prefix: str = "") -> str | None:
    """The password that ``password``, ``password_file`` or ``password_command`` gives; ``None`` where none is set.

    ``prefix`` goes before their names in errors. Raises :class:`InvalidInput` where several are set or nothing can be
    read, :class:`Unavailable` for a command that does not end, and :class:`MusterError` for one that fails.
    """
    return _read({way: options.get(way) for way in _WAYS}, {way: prefix + way for way in _WAYS})


def of_environment() -> str | None:
    """The same from restic's own variables ``RESTIC_PASSWORD``, ``…_FILE`` and ``…_COMMAND``."""
    names = {way: f"RESTIC_{way.upper()}" for way in _WAYS}
    return _read({way: os.environ.get(name) for way, name in names.items()}, names)


def _read(values: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    ways = [way for way in _WAYS if values[way]]
    if not ways:
        return None
    if len(ways) > 1:
        told = " and ".join(names[way] for way in ways)
        raise InvalidInput("read", "the password", f"{told} are both set", "Set one of them.")
    way, value = ways[0], values[ways[0]]
    if way == "password":
        target, text = names[way], str(value)
    elif way == "password_file":
        target = f"{names[way]} {value}"
        text = _of_file(Path(str(value)).expanduser(), target)
    else:
        words = _words(value, names[way])
        target = f"{names[way]} {words[0]}"
        text = _of_command(words, target)
    text = text.strip()
    if not text or "\0" in text:
        what = "holds a zero byte" if text else "is empty"
        raise InvalidInput("read", target, f"it {what}", "It must give a password.")
    return text


def _of_file(path: Path, target: str) -> str:
    try:
        # Some editors begin a file with a mark, which restic skips too.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput("read", target, str(reason), "Correct the path.") from None


def _words(value: Any, name: str) -> list[str]:
    try:
        words = shlex.split(value) if isinstance(value, str) else [str(word) for word in value]
    except (TypeError, ValueError):
        words = []
    if not words:
        raise InvalidInput(
            "use", name, "it is neither a list of words nor a line", "Write it as [program, argument, ...]."
        )
    return words


def _of_command(words: list[str], target: str) -> str:
    try:
        ended = process.run(words, timeout=COMMAND_TIMEOUT)
    except TimeoutError as error:
        raise Unavailable("run", target, str(error), "It cannot ask on a terminal; see what it waits for.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its words cannot be passed to a program"
        raise InvalidInput("run", target, f"it could not be started ({reason})", "Correct the command.") from None
    try:
        text = ended.out.decode()
    except UnicodeDecodeError:
        raise InvalidInput("run", target, "what it prints is not UTF-8 text", "It must print a password.") from None
    if ended.code:
        # What it complains of may repeat what it was given or what it found.
        known = [*words[1:], *text.split()]
        said = mask(exit_codes.first_line(ended.err.decode(errors="replace"), 200), known)
        raise MusterError("run", target, f"it ended with exit code {ended.code} ({said or 'and said nothing'})")
    return text
