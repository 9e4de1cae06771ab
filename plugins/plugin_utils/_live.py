# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows a module's progress file while the module runs."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

_POLL_SECONDS = 0.5
# One line for each step of this size keeps a log of AWX readable; on a terminal it is often enough.
_SECONDS_BETWEEN_LINES = 5.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def readable(count: int, unit: str | None) -> str:
    """``1.5 GiB`` for bytes, ``12 files`` for anything else."""
    if unit != "bytes":
        return f"{count} {unit or ''}".strip()
    value = float(count)
    for name in _UNITS:
        if value < 1024 or name == _UNITS[-1]:
            return f"{value:.0f} {name}" if name == "B" else f"{value:.1f} {name}"
        value /= 1024
    raise AssertionError("unreachable")


def line(event: dict[str, Any]) -> str:
    """One event of a progress file as a line for people."""
    text = f"{event.get('kind', '')} {event.get('name', '')}: {event.get('state', '')}"
    done, total, unit = event.get("done"), event.get("total"), event.get("unit")
    if done is not None and total:
        share = min(100, 100 * done // total)
        text += f", {readable(done, unit)} of {readable(total, unit)} ({share} %)"
    elif done is not None:
        text += f", {readable(done, unit)}"
    if event.get("msg"):
        text += f" - {event['msg']}"
    return text


class _Tail(threading.Thread):
    """Reads a growing file of JSON lines and shows states at once, advance now and then."""

    def __init__(self, path: Path, host: str) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._host = host
        self._offset = 0
        self._rest = b""
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            self._read()

    def finish(self) -> None:
        self._end.set()
        self.join()
        self._read()

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            try:
                event = json.loads(raw)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        key = (str(event.get("kind")), str(event.get("name")))
        state = str(event.get("state"))
        moment = os.times().elapsed
        before, shown = self._shown.get(key, ("", 0.0))
        if state == before and moment - shown < _SECONDS_BETWEEN_LINES:
            return
        self._shown[key] = (state, moment)
        display.display(f"  [{self._host}] {line(event)}", color="bright red" if state == "failed" else "bright gray")


class LiveAction(ActionBase):
    """Runs the module of the same name and shows its progress where both are on one machine."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # Elsewhere the file would be on the other machine; the module works the same without it.
        if arguments.get("progress_file") or not getattr(self._connection, "transport", "").endswith("local"):
            return self._execute_module(module_args=arguments, task_vars=task_vars)
        with tempfile.TemporaryDirectory(prefix="muster-progress-") as directory:
            path = Path(directory, "progress.jsonl")
            path.touch(mode=0o600)
            tail = _Tail(path, str((task_vars or {}).get("inventory_hostname", "")))
            tail.start()
            try:
                return self._execute_module(module_args={**arguments, "progress_file": str(path)}, task_vars=task_vars)
            finally:
                tail.finish()
