# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a mover on a Docker host is while it runs, in a container or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# Stands before what Kubernetes would take as the termination message, at the end of the output.
REPORT = "muster report"
# The most lines that a report has, with some before it.
LINES = 200


@dataclass(frozen=True)
class Ended:
    """How a mover ended: the exit code of its script, and whether the host killed it for want of memory."""

    code: int
    out_of_memory: bool = False


class Running(Protocol):
    """A mover that was started."""

    @property
    def where(self) -> str:
        """From where it reaches the repository, for hints."""

    def ended(self) -> Ended | None:
        """How it ended; ``None`` while it runs. Raises where nobody will ever know."""

    def said(self, lines: int) -> str:
        """The last lines of its output."""
