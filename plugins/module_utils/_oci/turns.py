# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who copies into a layout and who takes blobs away from it take turns: a copy relies on blobs that it found there."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from datetime import timedelta

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

# Seconds after which nobody still writes what has no name yet.
LEFT_BEHIND = 86400.0
_COPYING, _REMOVING = "muster/copying/", "muster/removing/"
# Seconds that one turn of removing lasts; who waits for it waits longer, by a clock of its own.
_REMOVAL = 600.0
_PATIENCE = 720.0
_PAUSE = 2.0


class Turn:
    """A run's turn at a layout. Many may copy side by side, but not while somebody takes away.

    Each leaves a note first and looks for those of the others then, so that of two at least one sees the other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._note = ""
        self._left = clock.now()
        self._until = 0.0
        self._lock = threading.Lock()

    def copy(self) -> None:
        """Begin to copy, after who takes away now. Who comes later sees our note and lets it be."""
        self._leave(_COPYING)
        began, before = time.monotonic(), self._notes(_REMOVING)
        while before and time.monotonic() - began < _PATIENCE:
            time.sleep(_PAUSE)
            before = [note for note in self._notes(_REMOVING) if note in before]
        for note in before:
            # It was killed: a turn does not last that long.
            self._drop(note)

    def renew(self) -> None:
        """Go on copying; a note that is a day old counts for nothing."""
        with self._lock:
            if clock.now() - self._left > timedelta(seconds=LEFT_BEHIND / 4):
                before, self._note = self._note, ""
                self._leave(_COPYING)
                self._drop(before)

    def remove(self) -> bool:
        """Begin to take away; false where somebody copies."""
        self._leave(_REMOVING)
        self._until = time.monotonic() + _REMOVAL
        oldest = _COPYING + clock.stamp(clock.now() - timedelta(seconds=LEFT_BEHIND))
        notes = self._notes(_COPYING)
        for note in notes:
            if note < oldest:
                self._drop(note)
        return all(note < oldest for note in notes)

    def lasts(self) -> bool:
        """Whether more may be taken away in this turn."""
        return time.monotonic() < self._until

    def end(self) -> None:
        """Let others have their turn."""
        if self._note:
            self._drop(self._note)
            self._note = ""

    def _leave(self, kind: str) -> None:
        self._note = self._note or f"{kind}{clock.stamp(clock.now())}-{secrets.token_hex(4)}"
        now = clock.now()
        self._store.put(self._note, b"{}\n")
        self._left = now

    def _notes(self, kind: str) -> list[str]:
        return [entry.key for entry in self._store.list(kind)]

    def _drop(self, note: str) -> None:
        # Where nothing may be deleted nothing is taken away either, and a note in the way grows old.
        with contextlib.suppress(MusterError):
            self._store.delete(note)
