# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table of what was measured against which goal, printed line by line and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".work" / "bench"


@dataclass
class Row:
    """One line of the table: what, how much, and whether the goal was met."""

    what: str
    value: str
    goal: str
    met: bool | None
    more: dict[str, Any] = field(default_factory=dict)


class Table:
    """Begins with the machine and its load, which say what the figures are worth."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        WORK.mkdir(parents=True, exist_ok=True)
        self._load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {self._load:.1f}, {time.strftime('%Y-%m-%d %H:%M')} UTC", flush=True)

    def row(self, what: str, value: str, goal: str = "", met: bool | None = None, **more: Any) -> None:
        self.rows.append(Row(what, value, goal, met, more))
        told = "" if met is None else "met" if met else "NOT MET"
        print(f"{what:<58} {value:<34} {goal:<28} {told}", flush=True)

    def write(self, name: str) -> None:
        """Into ``.work/bench/NAME.json``."""
        machine = {
            "cores": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "python": platform.python_version(),
            "load_before": self._load,
        }
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        report = {"time": moment, "machine": machine, "rows": [asdict(row) for row in self.rows]}
        place = WORK / f"{name}.json"
        place.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"Written to {place.relative_to(ROOT)}")
