# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program, or a module as Ansible runs it on the host, came to: output, seconds, and its memory at the most."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A process of its own waits for the program, because the kernel keeps one maximum for all children.
_METER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("RSS", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def metered(command: Sequence[str | Path]) -> tuple[subprocess.CompletedProcess[str], int]:
    """What the program came to, and the bytes of its largest process."""
    done = subprocess.run([sys.executable, "-c", _METER, *command], capture_output=True, text=True, check=False)
    found = re.search(r"^RSS (\d+)$", done.stdout, re.MULTILINE)
    return done, int(found[1]) * 1024 if found else 0


@dataclass
class Ran:
    """A module's result, the seconds of its process with Python's start, and the bytes of its largest process."""

    result: dict[str, Any]
    seconds: float
    memory: int


def as_module(name: str, arguments: dict[str, Any]) -> Ran:
    """Run a module of the collection as Ansible does on the host; ends the program where it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # readable by its owner only: it may hold secrets
        json.dump({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_tracebacks_for": []}}, file)
        file.flush()
        started = time.monotonic()
        program = f"ansible_collections.muster.container_dr.plugins.modules.{name}"
        done, memory = metered([sys.executable, "-m", program, file.name])
        seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return Ran(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))), seconds, memory)
