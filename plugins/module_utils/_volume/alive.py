# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What runs say of their life on the things that they make, so that others can tell what is used from what is left.

A statement is an annotation with JSON: ``at``, ``until`` (both RFC 3339) and ``holder``, the process with whose end the
run ends, where it can be told. Times are those of the API server, so that clocks of controllers do not matter. The
newest statement of a run holds for all that it has made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, liveness, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Interrupted,
    InvalidInput,
    MusterError,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster

JSON = dict[str, Any]
# Seconds between two statements of a run that moves, and for how long each of them holds.
RENEWED, LASTS = 300.0, 3600.0
# The same for what nobody renews: snapshots that were cut and wait for the run that moves them.
WAITS = 86400.0


@dataclass(frozen=True)
class Statement:
    """Until when a run goes on at most, and as what process, said ``at`` an instant."""

    at: datetime
    until: str
    holder: JSON | None

    def over(self, now: datetime) -> bool:
        """Whether the run can no longer be going on."""
        return liveness.over(self.holder, self.until, now)


def words(cluster: Cluster, seconds: float, *, process: bool = True) -> str:
    """A statement that holds for so long, or, with ``process``, until this process has ended."""
    now = cluster.now()
    until = clock.iso(now + timedelta(seconds=seconds))
    holder = liveness.ourselves() if process else None
    return json.dumps({"at": clock.iso(now), "until": until, "holder": holder}, sort_keys=True)


def statement(cluster: Cluster, seconds: float, *, process: bool = True) -> dict[str, str]:
    """The same as annotations."""
    return {marks.ALIVE: words(cluster, seconds, process=process)}


def read(text: str) -> Statement | None:
    """What :func:`words` made; None for anything else."""
    try:
        body = json.loads(text)
        clock.parse(str(body["until"]))
        return Statement(clock.parse(str(body["at"])), str(body["until"]), body.get("holder"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidInput):
        return None


def newest(documents: Iterable[JSON]) -> Statement | None:
    """What the run says that has made these objects."""
    texts = [(one["metadata"].get("annotations") or {}).get(marks.ALIVE) for one in documents]
    found = [said for said in (read(text) for text in texts if text) if said]
    return max(found, key=lambda said: said.at, default=None)


class Kept:
    """Used as a context manager around the move: ``say`` is called at its beginning, and again and again until its end.

    A statement that cannot be made is no failure; what was said before holds.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="alive", daemon=True)

    def __enter__(self) -> Kept:
        self._once()
        self._thread.start()
        return self

    def __exit__(self, *_of_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._end.wait(RENEWED):
            self._once()

    def _once(self) -> None:
        try:
            self._say()
        except Interrupted:
            raise
        except MusterError:
            pass
