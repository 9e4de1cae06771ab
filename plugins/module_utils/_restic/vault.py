# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A repository that restic itself writes, in a bucket that locks what it holds.

restic sets no locks, so they are set when it has written. What it takes away it only hides, as anybody can who may
write there. So what was taken away on purpose is on record, and all else that is hidden is brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._restic.exit_codes import Locked
from ansible_collections.muster.container_dr.plugins.module_utils._restic.mirror import (
    CONFIG,
    KEYS,
    KINDS,
    digest_of,
    intact,
    named,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import (
    REPOSITORY_NOTE,
    LockedS3,
    Renewal,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entries, Entry, digest

Taken = Mapping[str, Collection[str]]


@dataclass
class Vault:
    """Objects of ``repository`` in ``store``.

    ``taken`` is given the digest of the config, and returns the names by kind that are gone on purpose.
    """

    store: LockedS3
    repository: Repository
    taken: Callable[[str], Taken]
    workers: int
    config: bytes | None = None
    """The config that can be seen, or could be; ``None`` as long as there is none."""
    repaired: int = 0
    lost: set[str] = field(default_factory=set)
    """Keys of which there is no whole version."""
    renewed: int = 0
    removed: int = 0
    """Of what was hidden on purpose."""
    _until: datetime | None = None
    """When the first lock of what was brought back ends."""
    _began: datetime = field(default_factory=clock.now)
    _renewal: Renewal = field(init=False)
    _door: Entries = field(default_factory=Entries)
    """What is hidden, or below other bytes, without which restic opens nothing."""
    _covered: Entries = field(default_factory=Entries)
    """All else that is so."""
    _going: Entries = field(default_factory=Entries)
    """What is hidden on purpose."""

    def look(self) -> None:
        """List all versions, and ask for locks where that is due."""
        self._began, self._renewal = clock.now(), Renewal.begin(self.store, REPOSITORY_NOTE)
        self._door, self._covered, self._going = Entries(), Entries(), Entries()
        self.config = self.store.first_locked(CONFIG)
        hidden, layered = Entries(), Entries()
        for entry in self.store.versions(CONFIG):
            if entry.key == CONFIG:
                if self.store.find(CONFIG) == self.config:
                    self._renewal.add(entry)
                else:
                    self._door.append(entry)
        for kind in KINDS:
            for entry in named(self.store.versions(f"{kind}/")):
                if entry.hidden:
                    hidden.append(entry)
                    continue
                if entry.layered:
                    layered.append(entry)
                if entry.key not in self.lost:
                    self._renewal.add(entry)
        taken = self.taken(digest(self.config)) if hidden and self.config is not None else {}
        unexplained = Entries()
        for entry in hidden:
            (self._going if _name(entry) in taken.get(_kind(entry), ()) else unexplained).append(entry)
        # What never had a lock was hidden before this place had any, or nobody can tell why.
        self._cover(unexplained, lambda entry: self.store.was_locked(entry.key))
        self._cover(layered, lambda entry: not intact(self.store, entry))
        self._renewal.look(self.workers)

    def _cover(self, entries: Entries, wrong: Callable[[Entry], bool]) -> None:
        for batch in entries.batches():
            found = pool.values(pool.each(batch, wrong, workers=self.workers))
            for entry, bad in zip(batch, found, strict=True):
                if bad:
                    (self._door if _kind(entry) == KEYS else self._covered).append(entry)

    @property
    def shut(self) -> bool:
        """restic may not be able to open it before :meth:`repair`."""
        return len(self._door) > 0

    @property
    def damaged(self) -> int:
        """How many objects somebody has hidden, or written over."""
        return len(self._door) + len(self._covered)

    def repair(self) -> None:
        """Let versions that are whole be seen again; what has none is ``lost``."""
        if not self.damaged:
            return
        if self.config is None:
            raise Refused(
                "bring back",
                f"what is hidden at {self.store.place}",
                "there is no config, so whose it is cannot be told",
                "Choose an empty place.",
            )
        self._bring_back(self._door)
        if self._covered:
            # A prune hides things before they are on record.
            if self.repository.held_exclusively():
                raise Locked(
                    "bring back",
                    f"{len(self._covered)} hidden objects of {self.repository.target}",
                    "somebody holds an exclusive lock, who may be taking them away",
                    "Run it again when maintenance has ended. If its holder is gone, maintenance removes the lock.",
                )
            self._bring_back(self._covered)
        self.look()
        # Of what is brought back the note knows nothing.
        self._renewal.until = min(self._renewal.until, self._until or self._renewal.until)

    def _bring_back(self, entries: Entries) -> None:
        def bring(entry: Entry) -> datetime | None:
            wanted = digest(self.config or b"") if entry.key == CONFIG else f"sha256:{_name(entry)}"
            return self.store.bring_back(entry.key, lambda stream: f"sha256:{digest_of(stream)}" == wanted)

        for batch in entries.batches():
            done = pool.values(pool.each(batch, bring, workers=self.workers))
            for entry, until in zip(batch, done, strict=True):
                if until is None:
                    self.lost.add(entry.key)
                else:
                    self.repaired += 1
                    self._until = until if self._until is None else min(self._until, until)

    def renew(self, *, planned: bool) -> None:
        """Lock all that can be seen, for as long as is due, or only count it."""
        if not planned:
            self.lock()
        self.renewed = self._renewal.renewed

    def lock(self) -> None:
        """The same for what was written since, which counts as no renewal."""
        if self.config is not None:
            self._renewal.apply(self.workers)
            self._renewal.write(self._began)

    def remove(self, *, planned: bool) -> None:
        """Of what is hidden on purpose, remove that whose lock has ended, or only count it."""
        free = self._renewal.keep(self._going, self.workers)
        if not planned:
            for batch in free.batches():
                pool.values(pool.each(batch, lambda entry: self.store.delete(entry.key), workers=self.workers))
        self.removed = len(free)

    def result(self) -> dict[str, Any]:
        return {**self._renewal.result(), "renewed": self.renewed}


def _kind(entry: Entry) -> str:
    return entry.key.partition("/")[0]


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]
