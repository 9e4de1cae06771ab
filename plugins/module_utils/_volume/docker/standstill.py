# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Stops or pauses the containers that write to volumes while these are read, and lets them go on, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import ledger, volumes
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.volumes import Survey, Volume

_SWARM = "com.docker.swarm.task.id"
_KILLED = 137
_TRIES = 3
_PAUSE = 2.0


@dataclass(frozen=True)
class Writer:
    """A container that stands still while ``claims``, volumes by their names, are read."""

    id: str
    name: str
    action: str
    created: int
    claims: tuple[str, ...]

    def debt(self) -> JSON:
        return {"id": self.id, "name": self.name, "action": self.action}

    def report(self) -> JSON:
        """Its entry in the result, before anything was done."""
        return {
            "name": f"containers/{self.name}",
            "claims": list(self.claims),
            "why": "it may write to a volume that is read",
            "before": {"State": "running"},
            "action": self.action,
            "stopped": None,
            "started": None,
            "seconds": None,
            "changed": True,
            "failed": False,
            "msg": "",
        }


@dataclass
class Plan:
    """Who has to stand still, in the order of stopping; ``problems`` says of which volume it cannot be, and why."""

    writers: list[Writer] = field(default_factory=list)
    problems: dict[str, MusterError] = field(default_factory=dict)

    def words(self, volume: Volume) -> str:
        """What will become of a volume."""
        names = [one.name for one in self.writers if volume.name in one.claims]
        how = "are paused" if volume.method == "paused" else "are stopped"
        return f"is read while these {how}: {', '.join(names)}" if names else "is read as it is, nothing writes to it"


def plan(survey: Survey, listed: Sequence[JSON]) -> Plan:
    """Who writes to the volumes that are not read live, of all containers of the host as Docker lists them."""
    found = Plan()
    ours = set(survey.containers)
    still: dict[str, dict[str, str]] = {}
    for volume in survey.volumes:
        if volume.method == "live" or volume.problem:
            continue
        for container in listed:
            if not volumes.active(container) or not volumes.uses(container, volume):
                continue
            identity = str(container["Id"])
            why = _unfit(container, volume) if identity in ours else _strange(container)
            if why:
                found.problems.setdefault(volume.name, _refused(volume, *why))
            else:
                still.setdefault(identity, {})[volume.name] = volume.method
    by_id = {str(container["Id"]): container for container in listed}
    writers = [_writer(by_id[identity], claims) for identity, claims in still.items()]
    # Compose makes containers after those that they need.
    found.writers = sorted(writers, key=lambda one: (-one.created, one.name))
    stopped = {one.id: one for one in found.writers if one.action == "stop"}
    # The oldest first: it is nobody's guest.
    for container in sorted(listed, key=lambda one: int(one.get("Created") or 0)):
        mode = str((container.get("HostConfig") or {}).get("NetworkMode") or "")
        host = next((one for one in stopped.values() if mode in (f"container:{one.id}", f"container:{one.name}")), None)
        guest = stopped.get(str(container["Id"]))
        if host and guest:
            # Docker does not start it before the other one, so that it waits for the volumes of both.
            stopped[guest.id] = replace(guest, claims=tuple(sorted({*guest.claims, *host.claims})))
        elif host and volumes.active(container):
            reason = f"container {selection.name_of(container)} shares the network of {host.name} and would lose it"
            for volume in survey.volumes:
                if volume.name in host.claims:
                    found.problems.setdefault(volume.name, _refused(volume, reason, "Set its method to paused."))
    found.writers = [stopped.get(one.id, one) for one in found.writers]
    return found


def check_fit(found: Plan, engine: Engine) -> None:
    """Add what only ``docker inspect`` knows: a container that is gone once it has ended."""
    for one in found.writers:
        inspected = engine.container(one.id) or {}
        if one.action == "stop" and (inspected.get("HostConfig") or {}).get("AutoRemove"):
            for name in one.claims:
                target = f"volume {name} at a standstill"
                reason = f"container {one.name} was started with --rm and would be removed if it were stopped"
                found.problems.setdefault(name, Refused("read", target, reason, "Set its method to paused or live."))


def _writer(container: JSON, claims: dict[str, str]) -> Writer:
    action = "stop" if "stopped" in claims.values() else "pause"
    created = int(container.get("Created") or 0)
    return Writer(str(container["Id"]), selection.name_of(container), action, created, tuple(sorted(claims)))


def _strange(container: JSON) -> tuple[str, str]:
    reason = f"container {selection.name_of(container)}, which is not of the application, may write to it"
    return reason, "Add it to the application, stop it, or set the volume's method to live."


def _unfit(container: JSON, volume: Volume) -> tuple[str, str] | None:
    name, state = selection.name_of(container), container.get("State")
    if state == "restarting":
        return f"container {name} restarts again and again", "Mend or stop it, or set the volume's method to live."
    if state == "paused":
        return f"somebody has paused container {name}", "Unpause or stop it, or set the volume's method to live."
    if (container.get("Labels") or {}).get(_SWARM):
        reason = f"container {name} is a task of a Swarm service, which would get another one"
        return reason, "Scale the service to zero for the backup, or set the volume's method to live."
    return None


def _refused(volume: Volume, reason: str, hint: str) -> Refused:
    return Refused("read", f"volume {volume.name} at a standstill", reason, hint)


class Standstill:
    """``with`` it, all writers of a plan stand still; :meth:`release` says which volume need not be waited for."""

    def __init__(
        self, engine: Engine, found: Plan, debts: ledger.Ledger, stop_timeout: float, progress: Progress
    ) -> None:
        self._engine = engine
        self._writers = found.writers
        self._debts = debts
        self._stop_timeout = int(stop_timeout)
        self._progress = progress
        self._reports = {one.id: {**one.report(), "changed": False} for one in found.writers}
        self._still: dict[str, tuple[Writer, clock.Stopwatch, JSON]] = {}
        self._waiting = {one.id: set(one.claims) for one in found.writers}
        self._lock = threading.Lock()
        # Why a container could not be started again, by its name.
        self.left: dict[str, str] = {}
        self.moment: str | None = None

    def __enter__(self) -> Standstill:
        try:
            for one in self._writers:
                self._hold(one)
        except BaseException:
            self._finish()
            raise
        self.moment = clock.iso(clock.now())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._finish()

    def report(self) -> list[JSON]:
        """What stood still, in the order of stopping."""
        return list(self._reports.values())

    def check(self, volume: Volume, listed: Iterable[JSON]) -> None:
        """:class:`Conflict` where something has written, or may have, since all stood still."""
        for one, _watch, before in list(self._still.values()):
            if volume.name in one.claims and _state(self._engine, one.id) != before:
                raise _torn(volume, f"somebody has started, stopped or removed container {one.name} meanwhile")
        for container in listed:
            if container.get("State") in ("running", "restarting") and volumes.uses(container, volume):
                raise _torn(volume, f"container {selection.name_of(container)} was started meanwhile")

    def release(self, volume: Volume) -> None:
        """The volume is read, or cannot be: whoever stands still for nothing else goes on."""
        for one in reversed(self._writers):
            with self._lock:
                waiting = self._waiting[one.id]
                last = volume.name in waiting and len(waiting) == 1
                waiting.discard(volume.name)
            if last:
                self._wake(one)

    def _hold(self, one: Writer) -> None:
        title = f"containers/{one.name}"
        word = "stopping" if one.action == "stop" else "pausing"
        self._progress.update("wave", title, "running", msg=word)
        watch = clock.Stopwatch()
        # Before it is done: whoever is interrupted on the way wakes it too.
        self._still[one.id] = (one, watch, {})
        self._reports[one.id] |= {"changed": True, "stopped": clock.iso(clock.now())}
        if one.action == "pause":
            self._engine.pause(one.id)
        else:
            self._engine.stop(one.id, self._stop_timeout)
        state = _state(self._engine, one.id)
        if one.action == "stop" and state.get("ExitCode") == _KILLED and watch.seconds >= self._stop_timeout:
            raise Unavailable(
                "stop",
                f"container {one.name}",
                f"it did not end within {self._stop_timeout} seconds, and Docker killed it",
                "Give it longer by stop_timeout, or set the method of its volumes to paused or live.",
            )
        self._still[one.id] = (one, watch, state)

    def _finish(self) -> None:
        for one in reversed(self._writers):
            self._wake(one)

    def _wake(self, one: Writer) -> None:
        with self._lock:
            held = self._still.pop(one.id, None)
        if held is None:
            if not self._reports[one.id]["stopped"]:
                self._debts.paid(one.id)
            return
        report = self._reports[one.id]
        for attempt in range(_TRIES):
            try:
                done = ledger.wake(self._engine, one.id, one.action)
            except MusterError as error:
                report |= {"failed": True, "msg": str(error)}
                if attempt + 1 < _TRIES:
                    time.sleep(_PAUSE)
                continue
            report |= {"failed": False, "started": clock.iso(clock.now()), "seconds": held[1].seconds, "msg": ""}
            if not done:
                report["msg"] = "somebody else has started or removed it"
            self._debts.paid(one.id)
            self._progress.update("wave", f"containers/{one.name}", "done", msg="goes on")
            return
        self.left[report["name"]] = report["msg"]
        self._progress.update("wave", f"containers/{one.name}", "failed", msg=report["msg"])


def _torn(volume: Volume, reason: str) -> Conflict:
    hint = "What was read may be torn; run it again while nobody else starts containers."
    return Conflict("read", f"volume {volume.name} at a standstill", reason, hint)


def _state(engine: Engine, identity: str) -> dict[str, Any]:
    """What of a container's state changes whenever somebody touches it."""
    inspected = engine.container(identity)
    if inspected is None:
        raise NotFound("read", f"container {identity[:12]} of {engine.place}", "it was removed", "Run it again.")
    state = inspected.get("State") or {}
    return {key: state.get(key) for key in ("Running", "Paused", "StartedAt", "FinishedAt", "ExitCode")}
