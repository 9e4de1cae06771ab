# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A copy of a repository's snapshots in another one, which has a master key and a password of its own.

``restic copy`` decrypts what it reads and encrypts it anew, on the machine that runs it. Trees keep their ids.
Snapshots get new ones, and each copy names the id that it had first; see :mod:`_plan.snapshots`. A snapshot is written
when all that it needs is there, so that what was killed is simply run again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress, State
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Held, Known
from ansible_collections.muster.container_dr.plugins.module_utils._restic.exit_codes import Locked
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Source, held
from ansible_collections.muster.container_dr.plugins.module_utils._restic.served import Served, serving
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import printable
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

# Ids in one command line.
_AT_ONCE = 500
# Where so many fail it is not a few that are damaged.
_MOST_FAILURES = 20
_PACKS = re.compile(r"(\d+) / (\d+) packs copied")

Value = TypeVar("Value")


@dataclass
class Recrypt:
    """A plan of what is to be copied and what may go, which :meth:`apply` then carries out."""

    source: Repository
    destination: Repository
    raw: Store | None
    """Through which the source is read; ``None`` where restic reads it itself."""
    total: int
    pending: list[Held]
    given_up: list[Held]
    lost: list[str]
    """First ids of copies at the destination of which the source has nothing any more."""
    identity: str | None
    """The id of the destination's repository; ``None`` as long as there is none."""
    copied: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    noting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    """Around what takes something away."""
    refusal: str = ""
    """Why not all that may go is gone."""
    errors: list[MusterError] = field(default_factory=list)
    """What kept snapshots from being copied while others were."""

    def result(self) -> dict[str, Any]:
        failures = {"failures": [str(error) for error in self.errors]} if self.errors else {}
        return {
            **failures,
            "source": printable(self.source.url),
            "destination": printable(self.destination.url),
            "destination_id": self.identity,
            "objects_total": self.total,
            "bytes_total": None,
            "objects_copied": len(self.copied),
            "bytes_copied": None,
            "objects_removed": len(self.removed),
            "bytes_removed": None,
            "snapshots_copied": self.copied,
        }

    def planned(self) -> dict[str, Any]:
        """The result that :meth:`apply` would have."""
        self.copied, self.removed = [one.id for one in self.pending], [one.id for one in self.given_up]
        return {**self.result(), "changed": bool(self.copied or self.removed or self.identity is None)}

    def apply(self, progress: Progress) -> dict[str, Any]:
        """Copy, look what has arrived, and take away what was given up if all has."""
        new = self.identity is None
        try:
            if new or self.pending:
                with self._offered() as (source, server):
                    if new:
                        self.identity = _told(server, lambda: self.destination.init(source))
                    self._copy_all(source, server, progress)
            if not self.errors:
                self._remove()
        except MusterError as error:
            with contextlib.suppress(MusterError):
                self._arrived()
            error.result = {**self.result(), "changed": bool((new and self.identity) or self.copied or self.removed)}
            raise
        return {**self.result(), "changed": bool(new or self.copied or self.removed)}

    @contextlib.contextmanager
    def _offered(self) -> Iterator[tuple[Source, Served | None]]:
        """The source, as restic is told of it."""
        if self.raw is None:
            yield self.source.as_source(), None
        else:
            with serving(self.raw) as server:
                yield Source(server.url, self.source.password), server

    def _copy_all(self, source: Source, server: Served | None, progress: Progress) -> None:
        def told(line: str) -> None:
            found = _PACKS.search(line)
            if found:
                done, total = int(found[1]), int(found[2])
                progress.update("repository", "snapshots", "running", done=done, total=total, unit="packs")

        def copy(some: Sequence[Held]) -> None:
            _told(server, lambda: self.destination.copy_from(source, [one.id for one in some], told))

        count = len(self.pending)
        progress.update("repository", "snapshots", "running", done=0, total=count, unit="snapshots")
        waiting = [self.pending[start : start + _AT_ONCE] for start in range(0, count, _AT_ONCE)]
        while waiting:
            some = waiting.pop(0)
            try:
                copy(some)
            except (Denied, Interrupted, Unavailable):
                raise
            except MusterError as error:
                # One that is damaged must not keep the others from getting there.
                half = len(some) // 2
                if half:
                    waiting[:0] = [some[:half], some[half:]]
                    continue
                self.errors.append(_not_copied(self.source, some[0], error))
                if len(self.errors) == _MOST_FAILURES:
                    raise
        gone = self._arrived()
        if gone and not self.errors:
            self.errors.append(
                Incomplete(
                    "copy",
                    f"snapshot {gone[0].id[:16]} of {self.source.target}",
                    f"restic reported no error, and {len(gone)} are not at the other",
                    "Run it again when no maintenance runs at either place.",
                )
            )
        state: State = "failed" if self.errors else "done"
        progress.update("repository", "snapshots", state, done=len(self.copied), total=count, unit="snapshots")

    def _arrived(self) -> list[Held]:
        """Look what of the pending ones is at the destination, and return what is not."""
        there = Known(held(self.destination.snapshots()))
        self.copied = [one.id for one in self.pending if there.copies(one)]
        return [one for one in self.pending if not there.copies(one)]

    def _remove(self) -> None:
        """Forget what was given up and take its data away. Where that is forbidden the mirror is whole all the same."""
        ids = [one.id for one in self.given_up]
        if not ids:
            return
        try:
            with self.noting():
                self._take_away(ids)
        except (Denied, Locked) as error:
            self.refusal = error.reason

    def _take_away(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _AT_ONCE):
            batch = ids[start : start + _AT_ONCE]
            self.destination.forget(batch)
            self.removed += batch
        self.destination.prune()


def plan(source: Repository, destination: Repository, raw: Store | None, *, given_up: Collection[str] = ()) -> Recrypt:
    """What has no copy at the destination, and which copies may go there because the source gave up what they are of.

    ``given_up`` has ids of snapshots. :class:`Refused` where the destination is not a repository for this.
    """
    if raw is None:
        _require_two_logins(source, destination)
    identity = source.identify()
    there: list[Held] = []
    known: str | None = None
    if destination.exists():
        known = destination.identify()
        _require_own(source, identity, destination, known)
        there = held(destination.snapshots())
    elif destination.pinned:
        raise Refused(
            "mirror",
            f"{source.target} to {destination.target}",
            f"nothing is there, expected was the repository {destination.pinned}",
            "If it was lost, leave its id out, and a new one is made; pin the new id then.",
        )
    here = held(source.snapshots())
    ours, theirs = Known(here), Known(there)
    # What the destination made itself is no copy.
    alone = [one for one in there if one.original and not ours.copies(one)]
    return Recrypt(
        source=source,
        destination=destination,
        raw=raw,
        total=len(here),
        pending=[one for one in here if not theirs.copies(one)],
        given_up=[one for one in alone if one.original in given_up],
        lost=[one.first for one in alone if one.original not in given_up],
        identity=known,
    )


def _require_two_logins(source: Repository, destination: Repository) -> None:
    """:class:`InvalidInput` where restic would have to log in twice by the same variables or arguments."""
    both: list[str] = []
    if source.url.partition(":")[0] == destination.url.partition(":")[0] and not source.url.startswith("rest:"):
        both = sorted({name for name, _value in source.credentials().items() ^ destination.credentials().items()})
        if source.ssh != destination.ssh:
            both = ["ssh_key_file and ssh_known_hosts"]
    if both:
        raise InvalidInput(
            "mirror",
            f"{source.target} to {destination.target}",
            f"restic has one {both[0]} for both, and the two have different ones",
            "Give both places one login, or keep one of them at another kind of backend.",
        )


def _require_own(source: Repository, ours: str, destination: Repository, theirs: str) -> None:
    """:class:`Refused` for a repository that shares the master key, or that was not made for copies of this one."""
    target = f"{source.target} to {destination.target}"
    if ours == theirs:
        raise Refused(
            "mirror",
            target,
            "both are the same repository and have the same master key",
            "Name an empty place for a copy with a key of its own, or mirror with mode raw.",
        )
    if source.polynomial() != destination.polynomial():
        raise Refused(
            "mirror",
            target,
            "another repository is there, which cuts files in another way",
            "Name an empty place: the copy is made there so that both cut files in the same way.",
        )


def _told(server: Served | None, call: Callable[[], Value]) -> Value:
    """Call restic; where it fails because the source's store did, say what the store said."""
    if server is None:
        return call()
    server.trouble = None
    try:
        return call()
    except MusterError:
        if server.trouble is None:
            raise
        raise server.trouble from None


def _not_copied(source: Repository, one: Held, error: MusterError) -> Incomplete:
    return Incomplete(
        "copy",
        f"snapshot {one.id[:16]} of {source.target}",
        error.reason,
        "If the source is damaged, mend it from another copy. All else was copied.",
    )
