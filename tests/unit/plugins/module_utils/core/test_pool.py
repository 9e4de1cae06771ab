# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.pool import beside, chosen, each


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
    full = threading.Barrier(3, timeout=30)

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


def first(waiting, _running):
    return 0 if waiting else None


def test_chosen_outcomes_keep_the_order_of_the_input_and_every_error():
    def half(number: int) -> float:
        if number == 3:
            raise ValueError("three")
        return number / 2

    began: list[int] = []

    def largest(waiting, _running):
        position = max(range(len(waiting)), key=lambda place: waiting[place])
        began.append(waiting[position])
        return position

    for workers in (1, 3):
        began.clear()
        outcomes = chosen([1, 2, 3, 4], half, largest, workers=workers)
        assert began == [4, 3, 2, 1]
        assert [outcome.value for outcome in outcomes] == [0.5, 1.0, None, 2.0]
        assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["three"]
        assert all(outcome.started for outcome in outcomes)
    assert chosen([], half, first) == []


def test_what_may_not_start_yet_lets_others_pass_and_starts_later():
    passed = threading.Event()
    seen: list[list[int]] = []

    def one_odd(waiting, running):
        seen.append(sorted(running))
        odd = any(number % 2 for number in running)
        return next((place for place, number in enumerate(waiting) if not (odd and number % 2)), None)

    def work(number: int) -> int:
        # The first odd one ends only once the even one behind the other odd one has run.
        if number == 1:
            assert passed.wait(30)
        elif number == 2:
            passed.set()
        return number

    outcomes = chosen([1, 3, 2], work, one_odd, workers=2)
    assert [outcome.value for outcome in outcomes] == [1, 3, 2]
    assert not [running for running in seen if 1 in running and 3 in running]


def test_chosen_never_runs_more_than_there_are_workers():
    full = threading.Barrier(3, timeout=30)
    most = []

    def count(waiting, running):
        most.append(len(running))
        return first(waiting, running)

    outcomes = chosen(range(6), lambda _number: full.wait(), count, workers=3)
    assert not [outcome for outcome in outcomes if outcome.error]
    assert max(most) == 2


def test_what_is_done_beside_is_waited_for_and_its_errors_are_raised():
    go, seen = threading.Event(), []
    with beside(1) as do:
        do(lambda: seen.append(go.wait(20)))
        do(lambda: seen.append(True))
        assert not seen
        go.set()
    assert seen == [True, True]
    with pytest.raises(ZeroDivisionError), beside(2) as do:
        do(lambda: seen.append(1 // 0))
    with pytest.raises(KeyError), beside(2) as do:
        do(lambda: seen.append(1 // 0))
        raise KeyError
