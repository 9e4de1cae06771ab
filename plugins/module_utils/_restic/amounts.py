# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Amounts as restic writes them, looked at before it runs: in the middle of a check it calls a wrong one damage."""

from __future__ import annotations

import re

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

# restic reads one of so many parts of the data at most.
MOST_PARTS = 256
_SIZE = re.compile(r"^\d+[bkmgt]?$", re.IGNORECASE)
_DATA = re.compile(r"^0*[1-9]\d*[bkmgt]$", re.IGNORECASE)
_PERCENT = re.compile(r"^(\d+(?:\.\d+)?)%$")
_PART = re.compile(r"^(\d+)/(\d+)$")


def part_of_data(value: str) -> None:
    """Raise :class:`InvalidInput` for a ``check_data`` that is neither ``10%`` nor ``100M`` nor ``1/20``."""
    percent, part = _PERCENT.match(value), _PART.match(value)
    if percent:
        good = 0 < float(percent[1]) <= 100
    elif part:
        good = 1 <= int(part[1]) <= int(part[2]) <= MOST_PARTS
    else:
        # A bare number could be any of them.
        good = bool(_DATA.match(value))
    if not good:
        raise InvalidInput("check", "a part of the data", f"check_data is {value!r}", "Write 10%, 100M, 1/20 or 100%.")


def limit(name: str, value: str, *, of_unused: bool) -> None:
    """Raise :class:`InvalidInput` for a limit of a prune that is no size; ``of_unused`` it may be a part, or none."""
    if _SIZE.match(value) or (of_unused and (_PERCENT.match(value) or value == "unlimited")):
        return
    hint = "Write 10%, 5G or unlimited." if of_unused else "Write 20G."
    raise InvalidInput("prune", "a repository", f"prune.{name} is {value!r}", hint)
