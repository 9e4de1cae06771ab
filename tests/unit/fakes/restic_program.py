# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program called restic that answers from a table of files and notes how it was called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ID = "0c94c8e9ab2cd3bb" + "0" * 48
_SCRIPT = r"""#!/bin/sh
table=$(dirname "$0")/table
printf '%s\n' "$*" >> "$table/calls"
env > "$table/environment"
while [ $# -gt 0 ]; do
  case $1 in --json|--no-cache) shift ;; -o) shift 2 ;; *) break ;; esac
done
verb=$1
if [ -e "$table/$1-$2.out" ]; then verb=$1-$2; fi
if [ -e "$table/$verb.err" ]; then cat "$table/$verb.err" >&2; fi
if [ -e "$table/$verb.out" ]; then cat "$table/$verb.out"; fi
code=$(cat "$table/$verb.code" 2>/dev/null || echo 0)
if [ "$1" = init ] && [ "$code" = 0 ]; then rm -f "$table"/cat.*; mv "$table/config" "$table/cat.out"; fi
exit "$code"
"""


class ResticProgram:
    """``answer`` sets what a verb prints and how it ends; a repository with :data:`ID` is there at first.

    A verb may name its first argument too, as in ``cat-lock``.
    """

    def __init__(self, place: Path) -> None:
        self.path = place / "restic"
        self._table = place / "table"
        self._table.mkdir(parents=True)
        self.path.write_text(_SCRIPT, encoding="utf-8")
        self.path.chmod(0o755)
        self.answer("version", {"message_type": "version", "version": "0.19.1"})
        self.answer("cat", {"version": 2, "id": ID})
        self.answer("snapshots", [])
        self.answer("check")
        self.answer("key-list", [])

    def answer(self, verb: str, *documents: Any, code: int = 0, error: str = "") -> None:
        """Each document is a line."""
        said = "\n".join(json.dumps(document) for document in documents if document is not None)
        for suffix, text in (("out", said), ("err", error)):
            (self._table / f"{verb}.{suffix}").write_text(text, encoding="utf-8")
        (self._table / f"{verb}.code").write_text(str(code), encoding="utf-8")

    def absent(self) -> None:
        """No repository is there until ``init``."""
        message = {"message_type": "exit_error", "code": 10, "message": "Fatal: repository does not exist"}
        self.answer("cat", code=10, error=json.dumps(message) + "\n")
        self.answer("init", {"message_type": "initialized", "id": ID})
        (self._table / "config").write_text(json.dumps({"version": 2, "id": ID}), encoding="utf-8")

    @property
    def calls(self) -> list[str]:
        """Every call's arguments, in one line each."""
        path = self._table / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def called(self, verb: str) -> bool:
        return any(verb in call.split() for call in self.calls)

    @property
    def environment(self) -> dict[str, str]:
        """That of the last call."""
        lines = (self._table / "environment").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
