# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._plan.scheduling import Load, next_to_start


def slow(size: int = 0) -> Load:
    return Load(size, {"class": "slow"})


def fast(size: int = 0) -> Load:
    return Load(size, {"class": "fast"})


def test_the_largest_begins_and_the_first_of_equals() -> None:
    assert next_to_start([slow(1), slow(3), fast(3), fast(2)], [], {}) == 1
    assert next_to_start([], [], {}) is None


@pytest.mark.parametrize(
    ("waiting", "running", "limits", "chosen"),
    [
        # What is full is passed, however large.
        ([slow(9), fast(1)], [slow()], {"slow": 1}, 1),
        ([slow(9), fast(1)], [slow()], {"slow": 2}, 0),
        ([slow(9)], [slow()], {"slow": 1}, None),
        # The star is for every other, each by itself.
        ([slow(9), fast(1)], [slow()], {"*": 1}, 1),
        ([slow(9), fast(1)], [slow(), fast()], {"*": 1}, None),
        ([slow(9), fast(1)], [slow(), fast()], {"slow": 2, "*": 1}, 0),
    ],
)
def test_what_fits(waiting: list[Load], running: list[Load], limits: dict[str, int], chosen: int | None) -> None:
    assert next_to_start(waiting, running, {"class": limits}) == chosen


def test_all_budgets_of_a_piece_must_have_room() -> None:
    here = Load(9, {"class": "fast", "node": "a"})
    there = Load(1, {"class": "fast", "node": "b"})
    limits = {"class": {"fast": 2}, "node": {"*": 1}}
    assert next_to_start([here, there], [here], limits) == 1
    assert next_to_start([here, there], [there, fast()], limits) is None
    # Whose node is not known counts for none.
    assert next_to_start([fast(), here], [here], limits) == 0
