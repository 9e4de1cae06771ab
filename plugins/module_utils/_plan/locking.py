# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How long copies are locked against deletion, when that has to be renewed, and what is recorded about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

FORMAT = "muster/lock/v1"
GOVERNANCE, COMPLIANCE = "governance", "compliance"


@dataclass(frozen=True)
class Held:
    """The lock of one object: ``governance`` or ``compliance``, and until when."""

    mode: str
    until: datetime

    def at_least(self, mode: str, until: datetime) -> bool:
        return self.until >= until and (mode == GOVERNANCE or self.mode == COMPLIANCE)

    def result(self) -> dict[str, Any]:
        return {"mode": self.mode, "until": clock.iso(self.until)}


@dataclass(frozen=True)
class Lock:
    """What an option ``object_lock`` asks for."""

    mode: str
    retain: timedelta

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> Lock | None:
        if not options:
            return None
        seconds = clock.duration(options["retain"])
        if seconds < 1:
            raise InvalidInput("lock", "the copy", "object_lock.retain is no time at all", "Write it as 30d.")
        return cls(str(options["mode"]), timedelta(seconds=seconds))

    def fresh(self, now: datetime) -> Held:
        """The lock of an object that is written or renewed now. Servers keep whole seconds."""
        return Held(self.mode, now.replace(microsecond=0) + self.retain)

    def lasts(self, held: Held | None, now: datetime) -> bool:
        """Whether more than half of the time is left, so that nothing has to be asked of the server."""
        return held is not None and held.at_least(self.mode, now + self.retain / 2)


@dataclass(frozen=True)
class Note:
    """What the last run wrote down: everything that was there at ``time`` is locked until ``held.until`` at least.

    ``data`` says the same of the repository, where this is the note of a catalogue.
    """

    held: Held
    time: datetime
    data: datetime | None = None

    @classmethod
    def decode(cls, content: bytes | None) -> Note | None:
        """``None`` for anything that is no such note."""
        try:
            value = json.loads(content or b"")
            if value["format"] != FORMAT or value["mode"] not in (GOVERNANCE, COMPLIANCE):
                return None
            data = clock.parse(str(value["data_until"])) if value["data_until"] else None
            return cls(Held(value["mode"], clock.parse(str(value["until"]))), clock.parse(str(value["time"])), data)
        except (ValueError, KeyError, TypeError, InvalidInput):
            return None

    def encode(self) -> bytes:
        value = {
            "format": FORMAT,
            "mode": self.held.mode,
            "until": clock.iso(self.held.until),
            "time": clock.iso(self.time),
            "data_until": clock.iso(self.data) if self.data else None,
        }
        return json.dumps(value, sort_keys=True, indent=2).encode() + b"\n"


def of_point(sealed: str | None, facts: Iterable[Mapping[str, Any]], note: Note | None) -> Held | None:
    """The lock that is on record of a point's copy in one place: the newest of its facts and of the place's note."""
    found = [held for fact in facts if fact.get("kind") == "copied" for held in _told(fact.get("data"))]
    # What was sealed afterwards was not there.
    if note is not None and note.data is not None and sealed and clock.parse(sealed) <= note.time:
        found.append(Held(note.held.mode, min(note.held.until, note.data)))
    return max(found, key=lambda held: held.until, default=None)


def _told(data: Any) -> Iterable[Held]:
    lock = data.get("lock") if isinstance(data, Mapping) else None
    if isinstance(lock, Mapping) and lock.get("mode") in (GOVERNANCE, COMPLIANCE):
        try:
            yield Held(str(lock["mode"]), clock.parse(str(lock.get("until"))))
        except InvalidInput:
            # Nobody signs facts; one that says nonsense says nothing.
            return
