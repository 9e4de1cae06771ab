# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The 3-2-1-1-0 rule, held against what one run has seen of a recovery point."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One digit of the rule. ``met`` is ``None`` where nobody has looked."""

    number: int
    name: str
    met: bool | None
    msg: str


def judge(*, made_at: str, here: str, verdict: str) -> list[Rule]:
    """The five digits for a point of site ``made_at`` that a run at site ``here`` restored with this verdict.

    Copies count as they were when the point was sealed: the application itself is one of them.
    """
    away = bool(made_at) and made_at != here
    places = f"the volumes of the application, the repository at {made_at or here}"
    alone = f"this run has looked at {here} alone"
    errors = {"pass": True, "fail": False}.get(verdict)
    return [
        Rule(3, "copies", away or None, f"{places}, the repository at {here}" if away else f"{places}; {alone}"),
        Rule(2, "kinds of storage", True, "volumes of a cluster, and a repository"),
        Rule(1, "at another site", away or None, f"{here} did not need {made_at}" if away else alone),
        Rule(1, "immutable or offline", None, "nobody has looked whether a copy can be deleted"),
        Rule(
            0,
            "errors",
            errors,
            {
                True: f"the copy at {here} was restored and passed every required check",
                False: f"the copy at {here} did not pass",
                None: f"the copy at {here} was not checked to the end",
            }[errors],
        ),
    ]
