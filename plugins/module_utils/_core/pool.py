# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A bounded pool of threads for a batch: results in the order of the input, every failure kept with its item."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: ``value``, or ``error``, or neither where ``fail_fast`` kept it from starting."""

    item: Item
    value: Value | None = None
    error: Exception | None = None
    started: bool = True


def values(outcomes: Iterable[Outcome[Item, Value]]) -> list[Value]:
    """What became of a batch that is of use only as a whole; raises its first error."""
    found = []
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
        found.append(cast(Value, outcome.value))
    return found


def each(
    items: Iterable[Item], work: Callable[[Item], Value], *, workers: int = 4, fail_fast: bool = False
) -> list[Outcome[Item, Value]]:
    """Call ``work`` for every item on at most ``workers`` threads and return one outcome per item, in order.

    With ``fail_fast`` items that have not begun when another fails are left out (``started`` is false); those under
    way are finished, so that nothing is abandoned half done. An interrupt ends the waiting, not the running items.
    """
    batch = list(items)
    stop = threading.Event()

    def run(item: Item) -> Outcome[Item, Value]:
        if stop.is_set():
            return Outcome(item, started=False)
        try:
            return Outcome(item, value=work(item))
        except Exception as error:
            if fail_fast:
                stop.set()
            return Outcome(item, error=error)

    if len(batch) <= 1 or workers <= 1:
        return [run(item) for item in batch]
    with ThreadPoolExecutor(max_workers=min(workers, len(batch))) as threads:
        try:
            return list(threads.map(run, batch))
        except BaseException:
            stop.set()
            raise


@contextlib.contextmanager
def beside(workers: int) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Gives what has something done on another thread; the end of the block waits for it and raises its errors."""
    begun: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=workers) as threads:
        yield lambda work: begun.append(threads.submit(work))
    for future in begun:
        future.result()


def chosen(
    items: Iterable[Item],
    work: Callable[[Item], Value],
    choose: Callable[[Sequence[Item], Sequence[Item]], int | None],
    *,
    workers: int = 4,
) -> list[Outcome[Item, Value]]:
    """As :func:`each`, in an order that is found out on the way, whenever there is room for one more.

    ``choose`` is given the items that wait (in their order) and those that run, and returns the position of the
    waiting one that starts now, or None if none may beside those that run. With none running it must choose one.
    """
    batch = list(items)
    outcomes = [Outcome[Item, Value](item, started=False) for item in batch]
    waiting = list(range(len(batch)))

    def run(number: int) -> None:
        try:
            outcomes[number] = Outcome(batch[number], value=work(batch[number]))
        except Exception as error:
            outcomes[number] = Outcome(batch[number], error=error)

    def following(running: Iterable[int]) -> int | None:
        position = choose([batch[number] for number in waiting], [batch[number] for number in running])
        return None if position is None else waiting.pop(position)

    if len(batch) <= 1 or workers <= 1:
        while waiting and (number := following(())) is not None:
            run(number)
        return outcomes
    with ThreadPoolExecutor(max_workers=min(workers, len(batch))) as threads:
        running: dict[Future[None], int] = {}
        while waiting or running:
            while waiting and len(running) < workers and (number := following(running.values())) is not None:
                running[threads.submit(run, number)] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                future.result()
    return outcomes
