# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The 3-2-1-1-0 rule, held against what one run has seen of a recovery point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import GOVERNANCE


@dataclass(frozen=True)
class Rule:
    """One digit of the rule. ``met`` is ``None`` where nobody has looked."""

    number: int
    name: str
    met: bool | None
    msg: str


def judge(*, made_at: str, here: str, verdict: str, lock: Mapping[str, Any] | None = None, at: datetime) -> list[Rule]:
    """The five digits for a point of site ``made_at`` that a run at site ``here`` restored with this verdict.

    ``lock`` is the one on record of the copy at ``here``: ``mode`` and ``until``, which counts as long as it lasts.
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
        _immutable(here, lock, at),
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


def _immutable(here: str, lock: Mapping[str, Any] | None, at: datetime) -> Rule:
    name = "immutable or offline"
    if not lock:
        return Rule(1, name, None, "nobody has looked whether a copy can be deleted")
    until = str(lock["until"])
    if clock.parse(until) <= at:
        return Rule(1, name, False, f"the lock of the copy at {here} ended at {until}")
    early = " but by those who may end it early" if lock["mode"] == GOVERNANCE else ""
    return Rule(1, name, True, f"the copy at {here} cannot be deleted before {until}{early}")
