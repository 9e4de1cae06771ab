# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which of several pieces of work starts next, where budgets say how many may run at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# A budget by its name: how many at a time for each key, ``*`` for every key that is not named, each by itself.
Limits = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Load:
    """A piece of work: ``size`` says how long it takes against others, ``counts`` its key in each budget it is in.

    What is ``urgent`` goes before all that is not.
    """

    size: int = 0
    counts: Mapping[str, str] = field(default_factory=dict)
    urgent: bool = False


def next_to_start(waiting: Sequence[Load], running: Sequence[Load], limits: Limits) -> int | None:
    """Position in ``waiting`` of the urgent or else largest that fits beside ``running``; None where none does.

    The largest first keeps the whole short: what takes longest must not be what begins last.
    """
    taken = Counter(place for load in running for place in load.counts.items())

    def fits(load: Load) -> bool:
        return all(
            taken[name, key] < limit
            for name, key in load.counts.items()
            if (limit := limits.get(name, {}).get(key, limits.get(name, {}).get("*"))) is not None
        )

    fitting = [position for position, load in enumerate(waiting) if fits(load)]
    return min(fitting, key=lambda position: (not waiting[position].urgent, -waiting[position].size), default=None)
