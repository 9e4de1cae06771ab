# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What runs do on a Docker host, written down there, so that the next run pays the debts of a killed one.

The record of a run is a small volume whose labels say it: Docker makes a volume in one step and never changes its
labels. ``container-dr.muster.dev/record`` is JSON with ``format``, ``holder`` (the process, where it can be told),
``until`` (RFC 3339; the run says again and again that it goes on, each time by a new record) and ``owed``, the
containers that it stops or pauses: ``id``, ``name``, ``action``.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, liveness, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._volume import naming

FORMAT = "muster/docker-run/v1"
RECORD = marks.PREFIX + "record"
# A run says each RENEWED seconds that it goes on; clocks of control nodes may differ by the rest.
RENEWED = 30.0
_LEASE = 150.0
_PAUSE = 2.0
# How long a mover of a killed run has to take back its lock at the repository.
_GRACE = 30


@dataclass
class Debt:
    """One run's records: what it may have left stopped or paused, and until when it goes on for certain."""

    run: str
    records: list[str] = field(default_factory=list)
    holder: Any = None
    until: str = ""
    owed: list[JSON] = field(default_factory=list)


class Ledger:
    """The runs of one application on one engine; ``run`` is ours."""

    def __init__(self, engine: Engine, application: str, run: str) -> None:
        self._engine = engine
        self._run = run
        self._labels = naming.labels(run, application, marks.THAW)
        self._application = self._labels[marks.APPLICATION]
        self._owed: list[JSON] = []
        self._records: list[str] = []
        self._lock = threading.Lock()

    # -- this run's -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self, owed: Iterable[JSON]) -> Iterator[None]:
        """Write down what this run is about to stop, and that it goes on, until the block ends.

        What it still owes then stays written, for the next run, which need not wait.
        """
        self._owed = list(owed)
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEWED):
                # At worst it counts as ended after a while, which the check after reading finds out.
                with contextlib.suppress(MusterError):
                    self._write(liveness.ourselves(), _LEASE)

        self._write(liveness.ourselves(), _LEASE)
        keeper = threading.Thread(target=renew, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            if self._owed:
                self._write(None, 0.0)
            else:
                self._forget(self._records)

    def paid(self, identity: str) -> None:
        """A container is as it was."""
        with self._lock:
            self._owed = [one for one in self._owed if one["id"] != identity]

    def _write(self, holder: Any, seconds: float) -> None:
        with self._lock:
            until = clock.iso(clock.now() + timedelta(seconds=seconds))
            body = {"format": FORMAT, "holder": holder, "until": until, "owed": self._owed}
            earlier, name = self._records, f"muster-run-{self._run}-{clock.stamp(clock.now())}".lower()
            labels = {**self._labels, RECORD: json.dumps(body, sort_keys=True)}
            self._engine.create_volume(name, labels)
            self._records = [name]
        self._forget([one for one in earlier if one != name])

    def _forget(self, records: Iterable[str]) -> None:
        for name in records:
            with contextlib.suppress(MusterError):
                self._engine.remove_volume(name)

    # -- those of earlier runs ------------------------------------------------------------------------------------

    def debts(self, warn: Callable[[str], None]) -> list[Debt]:
        """What is written down of other runs of the application; without ``until`` where it cannot be read."""
        found: dict[str, Debt] = {}
        wanted = (f"{marks.APPLICATION}={self._application}", f"{marks.ROLE}={marks.THAW}", RECORD)
        for volume in self._engine.volumes(*wanted):
            labels = volume.get("Labels") or {}
            run = str(labels.get(marks.RUN))
            if run == self._run:
                continue
            debt = found.setdefault(run, Debt(run))
            debt.records.append(str(volume["Name"]))
            try:
                body = json.loads(labels[RECORD])
                until, owed = clock.parse(str(body["until"])), [_owed(one) for one in body["owed"]]
                if body["format"] != FORMAT:
                    raise ValueError(body["format"])
            except (ValueError, KeyError, TypeError, InvalidInput):
                warn(f"Volume {volume['Name']} is a record of a run that cannot be read; remove it.")
                debt.records.pop()
                continue
            if not debt.until or until > clock.parse(debt.until):
                debt.until, debt.holder, debt.owed = str(body["until"]), body.get("holder"), owed
        return list(found.values())

    def planned(self, warn: Callable[[str], None]) -> list[str]:
        """The names of what :meth:`pay` may start again."""
        return sorted({str(one["name"]) for debt in self.debts(warn) for one in debt.owed})

    def pay(self, warn: Callable[[str], None], progress: Progress) -> list[str]:
        """Remove the movers of runs that are over, and start what these left standing still; returns its names.

        A run that goes on and has something stopped is waited for: it will start it by itself.
        """
        started: list[str] = []
        while True:
            # In this order: a run makes its record before its movers.
            containers = self._engine.containers()
            debts = self.debts(warn)
            alive = [debt for debt in debts if not debt.until or not liveness.over(debt.holder, debt.until)]
            self._remove_movers(warn, containers, {self._run, *(debt.run for debt in alive)})
            for debt in debts:
                if debt not in alive:
                    started += self._pay(debt, warn)
            waiting = [debt for debt in alive if debt.owed]
            if not waiting:
                return started
            msg = f"run {waiting[0].run} goes on, or was killed and may until {waiting[0].until}"
            progress.update("wave", "containers that stand still", "waiting", msg=msg)
            time.sleep(_PAUSE)

    def _remove_movers(self, warn: Callable[[str], None], containers: Iterable[JSON], alive: set[str]) -> None:
        removed = []
        for container in containers:
            labels = container.get("Labels") or {}
            ours = labels.get(marks.MANAGED_BY) == marks.MANAGER and marks.MOVER in labels
            if not ours or labels.get(marks.APPLICATION) != self._application or labels.get(marks.RUN) in alive:
                continue
            end(self._engine, str(container["Id"]))
            removed.append(selection.name_of(container))
        if removed:
            warn(f"Removed what an earlier run left behind: {', '.join(removed[:10])}.")

    def _pay(self, debt: Debt, warn: Callable[[str], None]) -> list[str]:
        started, left = [], False
        for one in debt.owed:
            try:
                if wake(self._engine, one["id"], one["action"]):
                    started.append(str(one["name"]))
            except MusterError as error:
                left = True
                warn(f"Run {debt.run} was cut off with {one['name']} standing still: {error}")
        if started:
            warn(f"Run {debt.run} was cut off while these stood still; they run again: {', '.join(started)}.")
        if not left:
            self._forget(debt.records)
        return started


def end(engine: Engine, identity: str) -> None:
    """Let a mover take back its lock at the repository, and remove it with all that is its own."""
    with contextlib.suppress(MusterError):
        engine.stop(identity, _GRACE)
    engine.remove_container(identity)


def wake(engine: Engine, identity: str, action: str) -> bool:
    """Start or unpause a container; whether there was something to do. One that is gone needs nothing."""
    inspected = engine.container(identity)
    if inspected is None:
        return False
    state = inspected.get("State") or {}
    if action == "pause":
        if state.get("Paused"):
            engine.unpause(identity)
        return bool(state.get("Paused"))
    if not state.get("Running"):
        engine.start(identity)
    return not state.get("Running")


def _owed(document: Any) -> JSON:
    if document["action"] not in ("pause", "stop"):
        raise ValueError(document["action"])
    return {key: str(document[key]) for key in ("id", "name", "action")}
