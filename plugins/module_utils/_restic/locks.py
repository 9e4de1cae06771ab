# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Locks of a repository, and whether whoever holds them still lives.

``restic unlock`` takes a lock for stale when its holder has this machine's hostname and a PID that is not here. Two
containers, or two machines, with one name are enough to lose a live lock that way; a prune then ran through a backup.
Here a holder is gone only where that was seen, or where nothing of it was found and it has been silent for longer than
a living restic ever is. A lock that may be alive is waited for, and at last named.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

# A living restic writes its lock anew every five minutes; a minute more for a slow store.
SILENCE = 360.0
# How far a holder's clock may be from ours; S3 answers nobody whose clock is further off.
CLOCKS = 900.0
# Seconds between two looks.
INTERVAL = 5.0
_VOUCHED = re.compile(r"^[0-9a-f]{8,64}$")
_PROC = Path("/proc")


class Holder(str, Enum):
    """What is known of a lock's holder."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Whether a holder lives, and why we think so.

    ``absent`` is a holder that was found nowhere: that proves something only together with its silence.
    """

    holder: Holder
    why: str
    absent: bool = False


# From hostnames to verdicts about those whose holder somebody knows; the others are left out.
Lookup = Callable[[Collection[str]], Mapping[str, Verdict]]


@dataclass(frozen=True)
class Lock:
    """A lock object. ``time`` is when it was written, as restic writes it; ``broken`` says why nothing is known."""

    id: str
    time: str = ""
    exclusive: bool = True
    hostname: str = ""
    username: str = ""
    pid: int = 0
    broken: str = ""

    @classmethod
    def of(cls, identity: str, document: Mapping[str, Any]) -> Lock:
        """From the lock's JSON; restic leaves out what is empty."""
        return cls(
            id=identity,
            time=str(document.get("time") or ""),
            exclusive=bool(document.get("exclusive")),
            hostname=str(document.get("hostname") or ""),
            username=str(document.get("username") or ""),
            pid=int(document.get("pid") or 0),
        )

    @property
    def holder(self) -> tuple[str, str, int]:
        return (self.hostname, self.username, self.pid)

    def silent_for(self) -> float:
        """Seconds since it was written, by this machine's clock."""
        return (clock.now() - clock.parse(self.time)).total_seconds()


@dataclass(frozen=True)
class Judged:
    """A lock with what is known of its holder."""

    lock: Lock
    verdict: Verdict

    def result(self, *, removed: bool = False) -> dict[str, Any]:
        lock = self.lock
        return {
            "id": lock.id,
            "time": clock.iso(clock.parse(lock.time)) if lock.time else None,
            "exclusive": lock.exclusive,
            "hostname": lock.hostname,
            "username": lock.username,
            "pid": lock.pid,
            "holder": self.verdict.holder.value,
            "why": self.verdict.why,
            "removed": removed,
        }

    def words(self) -> str:
        lock, kind = self.lock, "exclusive lock" if self.lock.exclusive else "lock"
        if lock.broken:
            return f"lock {lock.id[:16]}: {self.verdict.why}"
        since = clock.iso(clock.parse(lock.time))
        who = f"process {lock.pid} of {lock.username or '?'} at {lock.hostname}"
        return f"{kind} {lock.id[:16]} of {who}, last renewed {since}: {self.verdict.why}"


@dataclass
class Locks:
    """The locks of one repository. ``raw`` are its objects, ``None`` where only restic reaches them.

    ``vouched`` are ids, or beginnings of at least eight digits, whose holders somebody has looked after; ``timeout`` is
    in seconds. ``removed`` are the locks that were taken away.
    """

    repository: Repository
    raw: Store | None
    lookup: Lookup
    vouched: Sequence[str] = ()
    timeout: float = 600.0
    removed: list[Judged] = field(default_factory=list)
    _read: dict[str, Lock] = field(default_factory=dict, repr=False)
    # When each was seen first, by the monotonic clock.
    _seen: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in self.vouched:
            if not _VOUCHED.match(name):
                raise InvalidInput(
                    "remove", f"lock {name!r}", "it is no id of a lock", "Give at least its first eight digits."
                )

    def judged(self) -> list[Judged]:
        """Every lock with its verdict; nothing is changed."""
        locks, seen = self._current(), time.monotonic()
        ours = platform.node()
        others = {lock.hostname for lock in locks if lock.hostname and lock.hostname != ours}
        known = self.lookup(others) if others else {}
        found = []
        for lock in locks:
            if lock.broken:
                verdict = Verdict(Holder.UNKNOWN, lock.broken)
            elif lock.hostname == ours:
                verdict = process_verdict(lock.pid)
            else:
                verdict = known.get(lock.hostname) or Verdict(
                    Holder.UNKNOWN, f"{lock.hostname or 'its machine'} is neither this machine nor a mover"
                )
            watched = seen - self._seen.setdefault(lock.id, seen)
            found.append(Judged(lock, _with_silence(lock, verdict, watched)))
        return found

    def clear(self) -> None:
        """Return when no lock is left: those of holders that are gone are removed, the others waited for.

        Raises after ``timeout`` seconds: :class:`Refused` where somebody has to look after a holder,
        :class:`Unavailable` where all of them are alive, :class:`Denied` where the store does not delete.
        """
        end = time.monotonic() + self.timeout
        while True:
            held = self.judged()
            gone = self._remove([one for one in held if self.may_go(one)]) if self.raw else set()
            staying = [one for one in held if one.lock.id not in gone]
            if not held:
                return
            helpless = self.raw is None and all(self.may_go(one) for one in staying)
            if staying and (helpless or time.monotonic() >= end):
                raise self._blocked(staying)
            if staying:
                time.sleep(min(INTERVAL, max(0.0, end - time.monotonic())))

    def may_go(self, one: Judged) -> bool:
        """Whether it is to be removed: its holder is gone, or somebody vouches for that."""
        if one.verdict.holder is Holder.UNKNOWN:
            return any(one.lock.id.startswith(name) for name in self.vouched)
        return one.verdict.holder is Holder.GONE

    def _remove(self, going: Sequence[Judged]) -> set[str]:
        """Remove these objects and say which went; not one whose holder has written a new lock meanwhile."""
        before = {one.lock.id for one in self.removed}
        going = [one for one in going if one.lock.id not in before]
        if not going or self.raw is None:
            return set()
        current = self._current()
        removed = set()
        for one in going:
            if any(_renews(other, one.lock) for other in current):
                continue
            # Its name is the digest of its bytes: while it is listed it is the one that was judged.
            if one.lock.id in {lock.id for lock in current}:
                try:
                    self.raw.delete(f"locks/{one.lock.id}")
                except Denied as error:
                    raise Denied(
                        "remove",
                        f"lock {one.lock.id[:16]} of {self.repository.target}",
                        f"its store refuses to delete ({error.reason})",
                        "Maintain the repository where deleting is allowed.",
                    ) from None
                self.removed.append(one)
            removed.add(one.lock.id)
        return removed

    def _current(self) -> list[Lock]:
        """All locks. They are never changed, so that each is read once."""
        loaded = ((name, self._read.get(name) or self._load(name)) for name in self.repository.lock_ids())
        locks = {name: lock for name, lock in loaded if lock is not None}
        self._read = {name: lock for name, lock in locks.items() if not lock.broken}
        return list(locks.values())

    def _load(self, name: str) -> Lock | None:
        try:
            lock = Lock.of(name, self.repository.lock(name))
            lock.silent_for()
        except (Unavailable, Denied):
            raise
        except (MusterError, ValueError) as error:
            # Removed by its holder between the list and now, or nothing that anybody understands.
            if name not in self.repository.lock_ids():
                return None
            reason = error.reason if isinstance(error, MusterError) else str(error)
            return Lock(name, broken=f"it cannot be read ({reason})")
        return lock

    def _blocked(self, staying: Sequence[Judged]) -> MusterError:
        target, told = self.repository.target, "; ".join(one.words() for one in staying[:5])
        more = f" (and {len(staying) - 5} more)" if len(staying) > 5 else ""
        reason = f"it is locked: {told}{more}"
        result = {"locks": [one.result() for one in staying]}
        if self.raw is None and any(self.may_go(one) for one in staying):
            hint = "Locks can be listed here, but not removed: delete exactly locks/ID at the server, with no 'unlock'."
            return Refused("maintain", target, reason, hint, result=result)
        unknown = [one.lock.id for one in staying if one.verdict.holder is Holder.UNKNOWN]
        if unknown:
            hint = f"Make sure that the holder is gone, then name the lock in remove_locks: {', '.join(unknown[:5])}."
            return Refused("maintain", target, reason, hint, result=result)
        hint = "Wait until it has ended, or raise lock_timeout."
        return Unavailable("maintain", target, reason, hint, result=result)


def _with_silence(lock: Lock, verdict: Verdict, watched: float) -> Verdict:
    """Silence is what we saw ourselves for long enough (``watched``, in seconds), or what no clock explains."""
    if not verdict.absent or watched >= SILENCE or lock.silent_for() >= SILENCE + CLOCKS:
        return verdict
    known_at = clock.iso(clock.parse(lock.time) + timedelta(seconds=SILENCE + CLOCKS))
    return Verdict(Holder.UNKNOWN, f"{verdict.why}, and if it lives elsewhere it renews its lock before {known_at}")


def _renews(other: Lock, lock: Lock) -> bool:
    return (
        not other.broken
        and not lock.broken
        and other.id != lock.id
        and other.holder == lock.holder
        and clock.parse(other.time) > clock.parse(lock.time)
    )


def process_verdict(pid: int) -> Verdict:
    """About a holder with this machine's hostname: is there a restic that has this number?

    Containers with the host's name count their processes anew, so that every process is asked for its numbers in all
    of its PID namespaces.
    """
    if pid <= 0:
        return Verdict(Holder.UNKNOWN, "its lock names no process")
    here = Verdict(Holder.GONE, f"no process {pid} is on this machine", absent=True)
    listed = False
    for number, name, ended in _processes(pid):
        listed = listed or number == pid
        if ended:
            here = Verdict(Holder.GONE, f"process {pid} of this machine has ended", absent=True)
        elif "restic" in name:
            return Verdict(Holder.ALIVE, f"process {number} of this machine is {name}")
        elif number == pid:
            here = Verdict(Holder.UNKNOWN, f"process {pid} of this machine is {name!r} now")
    if not listed and _hidden(pid):
        return Verdict(Holder.UNKNOWN, f"process {pid} of this machine exists, and it cannot be told what it is")
    return here


def _hidden(pid: int) -> bool:
    """Whether there is such a process although it was not listed: another user's, or on a machine without /proc."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _processes(pid: int) -> Iterator[tuple[int, str, bool]]:
    """Processes with this number in some namespace: their number here, what they run, and whether they have ended."""
    for folder in _PROC.iterdir() if _PROC.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            lines = folder.joinpath("status").read_text(encoding="utf-8", errors="replace").splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            if str(pid) not in status.get("NSpid", folder.name).split():
                continue
            command = folder.joinpath("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            # It ended while we looked, or is not ours to see.
            continue
        ended = status.get("State", "").strip()[:1] in ("Z", "X")
        yield int(folder.name), Path(command).name or status.get("Name", "").strip(), ended
