# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

from ansible_collections.muster.container_dr.plugins.module_utils._core.pool import each


def test_outcomes_keep_the_order_of_the_input_and_every_error():
    def half(number: int) -> float:
        if number == 3:
            raise ValueError("three")
        return number / 2

    outcomes = each([1, 2, 3, 4], half, workers=3)
    assert [outcome.item for outcome in outcomes] == [1, 2, 3, 4]
    assert [outcome.value for outcome in outcomes] == [0.5, 1.0, None, 2.0]
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["three"]


def test_fail_fast_leaves_out_what_has_not_begun():
    def fail(number: int) -> None:
        raise ValueError(number)

    outcomes = each([1, 2, 3], fail, workers=1, fail_fast=True)
    assert [outcome.started for outcome in outcomes] == [True, False, False]


def test_never_more_than_the_budget_at_once():
    lock, running, most = threading.Lock(), 0, 0
    full = threading.Barrier(3, timeout=5)

    def work(_number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait()
        with lock:
            running -= 1

    outcomes = each(range(6), work, workers=3)
    assert not [outcome for outcome in outcomes if outcome.error]
    assert most == 3
