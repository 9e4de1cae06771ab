# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program's output and the most memory that it, or anything that it started, had."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
