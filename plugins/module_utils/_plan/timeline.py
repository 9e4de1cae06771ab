# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Epoch, lock and lineage of an application (``state.json``), and which points lie on its current timeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput, Refused

FORMAT = "muster/state/v1"


@dataclass(frozen=True)
class Lock:
    """Who is changing the application's site: ``run`` is the transition's id."""

    holder: str
    run: str
    since: str


@dataclass(frozen=True)
class Lineage:
    """An epoch that was: its points count up to and including ``until``.

    ``None`` means all of them (the epoch still runs while its successor is being prepared), the empty text none (the
    epoch was given out and its transition aborted).
    """

    epoch: int
    site: str
    until: str | None


@dataclass(frozen=True)
class Ended:
    """How the last transition ended: ``finished`` or ``aborted``."""

    run: str
    outcome: str


@dataclass(frozen=True)
class State:
    """``epoch`` is the highest number ever given out; it is never given out again."""

    application: str
    epoch: int
    active_site: str
    lock: Lock | None = None
    lineage: tuple[Lineage, ...] = ()
    last: Ended | None = None

    @property
    def active_epoch(self) -> int:
        """The epoch in which the application runs now."""
        running = [entry.epoch for entry in self.lineage if entry.until is None]
        return max(running) if running else self.epoch


def begin(state: State, lock: Lock, source: str, target: str) -> State:
    """Take the lock and a new epoch; :class:`Refused` where somebody else holds it or the source is not active."""
    what = f"transition of {state.application}"
    if state.lock is not None:
        raise held(state, what)
    if source == target:
        raise InvalidInput("begin", what, f"source and target are both {source!r}")
    if state.active_site != source:
        raise Refused(
            "begin",
            what,
            f"it is active at {state.active_site}, not at {source}",
            "Name the site where it runs as the source.",
        )
    lineage = state.lineage
    if state.epoch not in [entry.epoch for entry in lineage]:
        lineage = (*lineage, Lineage(state.epoch, state.active_site, None))
    return replace(state, epoch=state.epoch + 1, lock=lock, lineage=lineage)


def finish(state: State, run: str, target: str, point: str) -> State:
    """The target is active from now on; what was written after ``point`` in older epochs is an orphan timeline."""
    _own(state, run, "finish")
    lineage = tuple(
        replace(entry, until=point if entry.until is None else min(entry.until, point)) for entry in state.lineage
    )
    return replace(state, active_site=target, lock=None, lineage=lineage, last=Ended(run, "finished"))


def abort(state: State, run: str, target: str) -> State:
    """Give the lock back; the epoch that was taken stays taken and has no points."""
    _own(state, run, "abort")
    lineage = (*state.lineage, Lineage(state.epoch, target, ""))
    return replace(state, lock=None, lineage=lineage, last=Ended(run, "aborted"))


def orphaned(state: State, point: str, epoch: int) -> str:
    """Why the point is not on the current timeline; empty where it is."""
    entry = next((entry for entry in state.lineage if entry.epoch == epoch), None)
    if entry is None:
        return "" if epoch == state.epoch else f"its epoch {epoch} was never given out (the newest is {state.epoch})"
    if entry.until is None or point <= entry.until:
        return ""
    if not entry.until:
        return f"its epoch {epoch} belongs to an aborted transition"
    return f"it was made in epoch {epoch} after {entry.until}, from which the application went on elsewhere"


def held(state: State, what: str) -> Refused:
    """The refusal that names the holder of the lock."""
    if state.lock is None:
        return Refused("change", what, "no transition is under way")
    return Refused(
        "begin",
        what,
        f"{state.lock.holder} holds it since {state.lock.since} (transition {state.lock.run})",
        "Wait for its end, resume it with the same id and holder, or abort it.",
    )


def _own(state: State, run: str, verb: str) -> None:
    if state.lock is None:
        raise Refused(verb, f"transition {run} of {state.application}", "it holds no lock", "It ended, or never began.")
    if state.lock.run != run:
        raise Refused(
            verb,
            f"transition {run} of {state.application}",
            f"the lock belongs to {state.lock.holder} (transition {state.lock.run}) since {state.lock.since}",
        )


def encode(state: State) -> bytes:
    """The bytes of ``state.json``."""
    value = {
        "format": FORMAT,
        "application": state.application,
        "epoch": state.epoch,
        "active_site": state.active_site,
        "active_epoch": state.active_epoch,
        "lock": vars(state.lock) if state.lock else None,
        "lineage": [vars(entry) for entry in state.lineage],
        "last": vars(state.last) if state.last else None,
    }
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"


def decode(data: bytes, application: str) -> State:
    """The state from its bytes; :class:`Corrupt` where they are none."""
    try:
        value: Mapping[str, Any] = json.loads(data)
        written = value["format"]
        lock, last = value.get("lock"), value.get("last")
        state = State(
            application=str(value["application"]),
            epoch=int(value["epoch"]),
            active_site=str(value["active_site"]),
            lock=Lock(str(lock["holder"]), str(lock["run"]), str(lock["since"])) if lock else None,
            lineage=tuple(
                Lineage(int(entry["epoch"]), str(entry["site"]), entry["until"]) for entry in value.get("lineage") or ()
            ),
            last=Ended(str(last["run"]), str(last["outcome"])) if last else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Corrupt(
            "read", f"state of {application}", "state.json is not a state", "Restore it from an older version."
        ) from None
    if written != FORMAT:
        # It may say what this version would drop when it writes it anew.
        reason = f"state.json is of the format {written}, and this version knows {FORMAT}"
        raise Corrupt(
            "read", f"state of {application}", reason, "Use the version of muster.container_dr that wrote it."
        )
    if state.application != application:
        raise Corrupt("read", f"state of {application}", f"state.json is of {state.application!r}")
    return state
