# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A raw copy of a restic repository from one store to another, object by object, without its password.

Every object but ``config`` is named by the SHA-256 of its bytes, so each is verified before it is written. The lists
are taken against the order of the copy: snapshots first, then what they need, so that a backup that runs meanwhile adds
nothing half. What was copied is of use at once only when the snapshots arrive, and they arrive last.

What the source has no more stays at the destination, unless the caller says that it was given up: then it goes, once
everything else has arrived, snapshots first.

At a destination that locks what it holds, everything but what was given up stays locked, and what lies below a delete
marker or below other bytes is brought back.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    Denied,
    Incomplete,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import (
    REPOSITORY_NOTE,
    LockedS3,
    Renewal,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entries, Entry, Store

CONFIG = "config"
KEYS = "keys"
KINDS = (KEYS, "data", "index", "snapshots")
# What maintenance takes away. A key is a password: it goes only where somebody has said so of that very one.
REMOVABLE = ("snapshots", "index", "data")
# Larger packs go through a private file; smaller ones stay in memory.
_IN_MEMORY = 8 << 20
_DAY = 86400.0


@dataclass
class Part:
    """One kind of object: what there is and what was, or would be, copied; sizes in bytes."""

    name: str
    objects_total: int = 0
    bytes_total: int = 0
    objects_copied: int = 0
    bytes_copied: int = 0
    objects_repaired: int = 0
    objects_removed: int = 0
    bytes_removed: int = 0
    held: bool = False
    """The destination has any of it."""
    shared: bool = False
    """Both have one of the same name."""
    pending: Entries = field(default_factory=Entries)
    covered: Entries = field(default_factory=Entries)
    """Of which the destination has versions below what can be seen."""
    given_up: Entries = field(default_factory=Entries)
    resized: set[str] = field(default_factory=set)
    """Keys of which the sizes differ, so that one of the two is damaged."""
    damaged: list[str] = field(default_factory=list)
    """Keys of which the source's turned out to be that one."""
    only_there: list[str] = field(default_factory=list)
    """Names of snapshots that the source does not have."""

    def result(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "objects_total": self.objects_total,
            "bytes_total": self.bytes_total,
            "objects_copied": self.objects_copied,
            "bytes_copied": self.bytes_copied,
            "objects_repaired": self.objects_repaired,
            "objects_removed": self.objects_removed,
            "bytes_removed": self.bytes_removed,
        }


@dataclass
class Mirror:
    """A plan of what is to be copied, which :meth:`apply` then carries out."""

    source: Store
    destination: Store
    config: bytes
    parts: list[Part]
    new: bool
    """The destination has no repository yet."""
    refusal: str = ""
    """Why the destination does not let objects be removed, once it has said so."""
    renewal: Renewal | None = None
    """Locks at the destination, where it has them."""
    alone: list[str] = field(default_factory=list)
    """Names of snapshots that only the destination has, and nobody knows why."""

    @property
    def changed(self) -> bool:
        renewed = self.renewal is not None and self.renewal.renewed > 0
        return (
            self.new
            or renewed
            or any(
                len(part.pending) > len(part.damaged)
                or part.covered
                or part.objects_copied
                or (part.given_up and not self.refusal)
                or part.objects_removed
                for part in self.parts
            )
        )

    def result(self) -> dict[str, Any]:
        extra = 1 if self.new else 0
        return {
            "source": self.source.place,
            "destination": self.destination.place,
            "config_digest": "sha256:" + hashlib.sha256(self.config).hexdigest(),
            "objects_total": sum(part.objects_total for part in self.parts) + 1,
            "bytes_total": sum(part.bytes_total for part in self.parts) + len(self.config),
            "objects_copied": sum(part.objects_copied for part in self.parts) + extra,
            "bytes_copied": sum(part.bytes_copied for part in self.parts) + extra * len(self.config),
            "objects_repaired": sum(part.objects_repaired for part in self.parts),
            "objects_removed": sum(part.objects_removed for part in self.parts),
            "bytes_removed": sum(part.bytes_removed for part in self.parts),
            "damaged_at_source": [key for part in self.parts for key in part.damaged],
            "parts": [part.result() for part in self.parts],
            "object_lock": self.renewal.result() if self.renewal else None,
        }

    def planned(self) -> dict[str, Any]:
        """The result that :meth:`apply` would have."""
        for part in self.parts:
            part.objects_copied, part.bytes_copied = len(part.pending), part.pending.bytes
            part.objects_removed, part.bytes_removed = len(part.given_up), part.given_up.bytes
        return self.result()

    def apply(self, progress: Progress, workers: int) -> dict[str, Any]:
        """Copy what is absent, kind by kind; a kind begins only when all of the one before arrived.

        Before that what is there is made safe: it is brought back, and its locks are renewed.
        """
        if self.renewal is not None:
            for part in self.parts:
                self._uncover(self.renewal, part, workers)
            self.renewal.apply(workers)
        if self.new:
            try:
                self.destination.create(CONFIG, self.config)
            except Conflict:
                raise _another(self.source, self.destination) from None
        for part in self.parts:
            self._copy_part(part, progress, workers)
        if self.renewal is not None:
            # Only mirrors write here, and what this one has written is locked.
            self.renewal.write(clock.now(), news=any(part.objects_copied for part in self.parts))
        for part in reversed(self.parts):
            self._remove(part, workers)
        return self.result()

    def _uncover(self, renewal: Renewal, part: Part, workers: int) -> None:
        """Let versions that are whole be seen again. Where there is none the source's is copied."""

        def uncover(entry: Entry) -> datetime | None:
            return renewal.store.bring_back(entry.key, lambda stream: digest_of(stream) == entry.key.rpartition("/")[2])

        for batch in part.covered.batches():
            done = pool.values(pool.each(batch, uncover, workers=workers))
            for entry, until in zip(batch, done, strict=True):
                if until is None:
                    part.pending.append(entry)
                else:
                    renewal.until = min(renewal.until, until)

    def keep_locked(self, workers: int) -> None:
        """Leave what was given up where it is until its lock ends."""
        if self.renewal is not None:
            for part in self.parts:
                part.given_up = self.renewal.keep(part.given_up, workers)

    def _remove(self, part: Part, workers: int) -> None:
        """Take away what was given up. Where that is forbidden it stays, and the mirror is whole all the same."""

        def remove(entry: Entry) -> None:
            if not self.refusal:
                self.destination.delete(entry.key)

        outcomes = (pool.each(batch, remove, workers=workers) for batch in part.given_up.batches())
        for outcome in itertools.chain.from_iterable(outcomes):
            if isinstance(outcome.error, Denied):
                self.refusal = self.refusal or outcome.error.reason
            elif outcome.error is not None:
                error = outcome.error
                if isinstance(error, MusterError):
                    error.result = {**self.result(), "changed": True}
                raise error
            elif not self.refusal:
                part.objects_removed += 1
                part.bytes_removed += outcome.item.size

    def _copy_part(self, part: Part, progress: Progress, workers: int) -> None:
        total = part.pending.bytes
        if not part.pending:
            progress.update("repository", part.name, "done", done=0, total=0, unit="bytes", msg="nothing new")
            return
        lock, lost = threading.Lock(), threading.Event()
        progress.update("repository", part.name, "running", done=0, total=total, unit="bytes")

        def copy(entry: Entry) -> None:
            if lost.is_set():
                return
            try:
                size = copy_object(self.source, self.destination, entry)
            except Corrupt:
                if entry.key not in part.resized or not intact(self.destination, entry):
                    raise
                # What matters is at the destination; new points must get there too.
                with lock:
                    part.objects_repaired -= 1
                    part.damaged.append(entry.key)
                return
            except (Unavailable, Denied):
                # A server that is gone is waited for once, not once an object; altered objects are all found.
                lost.set()
                raise
            with lock:
                part.objects_copied += 1
                part.bytes_copied += size
                progress.update("repository", part.name, "running", done=part.bytes_copied, total=total, unit="bytes")

        errors: list[Exception] = []
        for batch in part.pending.batches():
            outcomes = pool.each(batch, copy, workers=workers, fail_fast=False)
            errors += [outcome.error for outcome in outcomes if outcome.error is not None]
        if not errors:
            self.destination.tidy(f"{part.name}/", _DAY)
            progress.update("repository", part.name, "done", done=part.bytes_copied, total=total, unit="bytes")
            return
        progress.update("repository", part.name, "failed", done=part.bytes_copied, total=total, unit="bytes")
        raise self._failure(part, errors)

    def _failure(self, part: Part, errors: Sequence[Exception]) -> Exception:
        result = {**self.result(), "changed": self.changed, "failures": [str(error) for error in errors[:20]]}
        for kind in (Corrupt, NotFound):
            first = next((error for error in errors if isinstance(error, kind)), None)
            if first is None:
                continue
            if isinstance(first, Corrupt):
                names = [error.target for error in errors if isinstance(error, Corrupt)]
                return Corrupt("copy", ", ".join(names[:10]), first.reason, first.hint, result=result)
            return Incomplete(
                "mirror",
                f"{part.name} of {self.source.place}",
                f"{len(errors)} objects vanished while they were copied (pruned meanwhile?)",
                "Run the mirror again when no maintenance runs at the source.",
                result=result,
            )
        error = errors[0]
        if isinstance(error, Incomplete | Refused) or hasattr(error, "result"):
            cast(Any, error).result = result
        return error


def plan(
    source: Store,
    destination: Store,
    *,
    verify_existing: bool = False,
    workers: int = 4,
    given_up: Mapping[str, Collection[str]] | None = None,
    taken: Callable[[], Collection[str]] = tuple,
) -> Mirror:
    """What is absent at the destination, and what may go there.

    An object whose size differs is damaged and copied again; with ``verify_existing`` every object there is read and
    its digest compared. ``given_up`` has names by kind that may be removed where the source has them no more; keys
    that it names do not count at the source either, so that a copy never brings one back. ``taken`` says which
    snapshots are gone from the source on purpose. Where the destination has others of its own all data stay: they may
    need what the source gave up before they were made.
    :class:`Refused` where the destination is another repository, or the source itself.
    """
    # Who has it locked where it is gets something for it.
    if _same(source, destination) and not isinstance(destination, LockedS3):
        raise Refused(
            "mirror",
            f"repository {source.place}",
            "it is to be mirrored to where it is, and that is no second copy",
            "Name another place as destination.",
        )
    destination.probe()
    there = destination.find(CONFIG)
    renewal = Renewal.begin(destination, REPOSITORY_NOTE) if isinstance(destination, LockedS3) else None
    going = given_up or {}
    parts: dict[str, Part] = {}
    alone: list[str] = []
    for kind in reversed(KINDS):
        part = _compare(source, destination, kind, verify_existing, workers, going.get(kind, ()), renewal)
        parts[kind] = part
        if part.only_there:
            known = taken()
            alone = [name for name in part.only_there if name not in known]
        if alone:
            going = {kept: names for kept, names in going.items() if kept not in ("index", "data")}
    try:
        config = source.get(CONFIG)
    except NotFound as error:
        if error.__class__ is not NotFound:
            raise
        source.probe()
        raise NotFound(
            "mirror", f"repository {source.place}", "there is no repository (no config)", "Check its URL."
        ) from None
    # Keys get from one place to another only with their repository.
    same = parts["keys"].shared
    if there is not None and there != config:
        raise _damaged_config(source, destination) if same else _another(source, destination)
    held = [kind for kind in KINDS if parts[kind].held]
    if held and there is None and not same:
        raise Refused(
            "mirror",
            f"repository {source.place} to {destination.place}",
            f"there are {held[0]} but no config at the destination, so whose they are cannot be told",
            "Empty the destination, or choose another.",
        )
    made = Mirror(source, destination, config, [parts[kind] for kind in KINDS], there is None, "", renewal, alone)
    if renewal is not None:
        if there is not None:
            renewal.add(Entry(CONFIG, len(there), modified=0.0))
        renewal.look(workers)
        made.keep_locked(workers)
    return made


def _same(source: Store, destination: Store) -> bool:
    if isinstance(source, Directory) and isinstance(destination, Directory):
        return os.path.realpath(source.place) == os.path.realpath(destination.place)
    return source.place == destination.place


def _compare(
    source: Store,
    destination: Store,
    kind: str,
    verify_existing: bool,
    workers: int,
    given_up: Collection[str],
    renewal: Renewal | None,
) -> Part:
    """One kind at both ends. Both lists are in the order of their keys and are never in memory as a whole."""
    part = Part(kind)
    doubtful, layered = Entries(), Entries()
    listed = renewal.store.versions(f"{kind}/") if renewal else destination.list(f"{kind}/")
    for ours, theirs in _beside(named(source.list(f"{kind}/")), named(listed)):
        part.held |= theirs is not None
        name = cast(Entry, ours or theirs).key.rpartition("/")[2]
        given = name in given_up and (ours is None or kind == KEYS)
        if renewal and theirs is not None and not theirs.hidden and not given:
            renewal.add(theirs)
        if given:
            if theirs is not None:
                part.given_up.append(theirs)
        elif ours is None:
            if kind == "snapshots" and theirs is not None and not theirs.hidden:
                part.only_there.append(name)
        else:
            part.objects_total += 1
            part.bytes_total += ours.size
            part.shared |= theirs is not None
            _sort(part, ours, theirs, layered, doubtful if verify_existing else None)
    if kind == KEYS and not part.objects_total:
        # Nobody could open the destination.
        part.given_up = Entries()
    for suspects, wrong in ((doubtful, part.pending), (layered, part.covered)):
        for batch in suspects.batches():
            whole = pool.values(pool.each(batch, lambda entry: intact(destination, entry), workers=workers))
            for entry, good in zip(batch, whole, strict=True):
                if not good:
                    part.objects_repaired += 1
                    wrong.append(entry)
    return part


def _sort(part: Part, ours: Entry, theirs: Entry | None, layered: Entries, doubtful: Entries | None) -> None:
    """Where an object of the source belongs that the destination has or lacks."""
    if theirs is None:
        part.pending.append(ours)
    elif theirs.hidden or (theirs.layered and theirs.size != ours.size):
        part.objects_repaired += 1
        part.covered.append(ours)
    elif theirs.size != ours.size:
        part.objects_repaired += 1
        part.resized.add(ours.key)
        part.pending.append(ours)
    elif theirs.layered:
        layered.append(ours)
    elif doubtful is not None:
        doubtful.append(ours)


def _beside(ours: Iterator[Entry], theirs: Iterator[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries of two lists that are sorted by key, those of the same key together."""
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            yield left, None
            left = next(ours, None)
        elif left is None or right.key < left.key:
            yield None, right
            right = next(theirs, None)
        else:
            yield left, right
            left, right = next(ours, None), next(theirs, None)


def copy_object(source: Store, destination: Store, entry: Entry) -> int:
    """Copy one object named by its digest and return its size; :class:`Corrupt` where the bytes are not that."""
    taken = destination.take(source, entry.key, partial(_check, source, entry.key))
    if taken is not None:
        return taken
    if entry.size <= _IN_MEMORY:
        small = io.BytesIO()
        size = source.download(entry.key, small)
        _check(source, entry.key, digest_of(small))
        destination.put(entry.key, small.getvalue())
        return size
    with tempfile.NamedTemporaryFile(prefix="muster-") as file:
        stream = cast(BinaryIO, file)
        size = source.download(entry.key, stream)
        _check(source, entry.key, digest_of(stream))
        stream.flush()
        destination.upload(entry.key, Path(file.name))
    return size


def intact(store: Store, entry: Entry) -> bool:
    """Whether the object's bytes are what its name says."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="muster-") as spool:
        stream = cast(BinaryIO, spool)
        store.download(entry.key, stream)
        return digest_of(stream) == entry.key.rpartition("/")[2]


def named(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Objects of restic's: their names are SHA-256. Anything else in these folders is a leftover."""
    for entry in entries:
        name = entry.key.rpartition("/")[2]
        if len(name) == 64 and all(letter in "0123456789abcdef" for letter in name):
            yield entry


def digest_of(stream: BinaryIO) -> str:
    stream.seek(0, os.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _check(source: Store, key: str, digest: str) -> None:
    if digest != key.rpartition("/")[2]:
        raise Corrupt(
            "copy",
            f"{key} of {source.place}",
            f"its bytes have the SHA-256 {digest[:16]}…, so it was altered",
            "It was not copied. If the destination has it whole, mirror it back from there.",
        )


def _another(source: Store, destination: Store) -> Refused:
    return Refused(
        "mirror",
        f"repository {source.place} to {destination.place}",
        "another repository is there (its config differs)",
        "Choose an empty place; a mirror never overwrites a repository. Between two that have keys of their own, set "
        "mode to recrypt.",
    )


def _damaged_config(source: Store, destination: Store) -> Refused:
    return Refused(
        "mirror",
        f"repository {source.place} to {destination.place}",
        "they have the same keys and not the same config, so the config of one of them is damaged",
        "Look which of them the repository module opens with state checked. Remove the config file of the other, and "
        "mirror it back from the one that opens.",
    )
