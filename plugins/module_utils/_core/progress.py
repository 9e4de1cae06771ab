# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Live progress: JSON lines in a file that the action plugin of the same module tails.

A line is ``{"time", "kind", "name", "state", "done", "total", "unit", "msg"}``; ``kind`` is volume, image, wave,
check or object, ``done`` and ``total`` count in ``unit`` (bytes, files, objects). Nobody has to read it.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Literal, Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock

State = Literal["waiting", "running", "done", "failed", "skipped"]


class Progress(Protocol):
    """Where long work says how far it is; calls come from many threads."""

    def update(
        self,
        kind: str,
        name: str,
        state: State,
        *,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        msg: str | None = None,
    ) -> None: ...


class Silent:
    """Progress that nobody asked for."""

    def update(
        self,
        kind: str,
        name: str,
        state: State,
        *,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        msg: str | None = None,
    ) -> None:
        return None


class ProgressFile:
    """Appends a line per update; a line is one ``write``, so a reader never sees half of one."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def update(
        self,
        kind: str,
        name: str,
        state: State,
        *,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        msg: str | None = None,
    ) -> None:
        line = {
            "time": clock.iso(clock.now()),
            "kind": kind,
            "name": name,
            "state": state,
            "done": done,
            "total": total,
            "unit": unit,
            "msg": msg,
        }
        text = json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(text)
