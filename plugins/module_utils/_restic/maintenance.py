# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one serialized task on a repository: take away what expired points needed, prune, check, and record it.

Every step is restic's own and leaves a valid repository, so that a run that was killed is simply run again: what was
forgotten stays forgotten, and a prune finds by itself what no snapshot uses.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import forgetting
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Need
from ansible_collections.muster.container_dr.plugins.module_utils._restic import amounts, given_up
from ansible_collections.muster.container_dr.plugins.module_utils._restic.exit_codes import Locked
from ansible_collections.muster.container_dr.plugins.module_utils._restic.locks import Locks, Lookup
from ansible_collections.muster.container_dr.plugins.module_utils._restic.mirror import REMOVABLE
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, held
from ansible_collections.muster.container_dr.plugins.module_utils._store import needing
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import (
    is_raw,
    open_repository,
    open_store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, digest

# Ids in one command line.
_AT_ONCE = 500
# What a round of a prune writes anew, where the time is limited: long enough that the look at all snapshots before it
# does not count, short enough that a window is not missed by much.
_ROUND = "5G"
# How long restic itself waits for a lock before we look who holds it.
_RETRY_LOCK = "20s"

JSON = dict[str, Any]


@dataclass
class Listing:
    """Names of raw objects by kind, as digests, and the size of all of them in bytes."""

    names: dict[str, set[bytes]] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def of(cls, raw: Store) -> Listing:
        found = cls({kind: set() for kind in REMOVABLE})
        for kind in REMOVABLE:
            for entry in raw.list(f"{kind}/"):
                with contextlib.suppress(ValueError):
                    found.names[kind].add(bytes.fromhex(entry.key.rpartition("/")[2]))
                    found.size += entry.size
        return found

    def without(self, later: Listing) -> dict[str, list[str]]:
        """What is here and not in the later one."""
        return {kind: sorted(name.hex() for name in self.names[kind] - later.names[kind]) for kind in REMOVABLE}


def maintain(request: Request, repository: Repository, lookup: Lookup) -> JSON:
    """Locks, decisions, forget, prune, check, record. In check mode only what would be done."""
    run = Maintenance(request.params, repository, lookup)
    return run.planned() if request.check_mode else run.apply()


class Maintenance:
    """One run. Its result says what was reached, whatever stopped it."""

    def __init__(self, params: Mapping[str, Any], repository: Repository, lookup: Lookup) -> None:
        self._repository = repository
        self._signing = Signing.of(params.get("signing"))
        if self._signing.key is not None:
            # Not after everything is done.
            self._signing.check()
        self._limits, self._max_time = _limits(params.get("prune") or {})
        self._check_data: str | None = params.get("check_data") or None
        if self._check_data:
            amounts.part_of_data(self._check_data)
        self._parts: int | None = params.get("check_part_of")
        if self._parts is not None and not 1 <= self._parts <= amounts.MOST_PARTS:
            raise InvalidInput(
                "check",
                "a part of the data",
                f"check_part_of is {self._parts}",
                f"It is between 1 and {amounts.MOST_PARTS}.",
            )
        self._unsealed_after = clock.duration(params["unsealed_after"])
        if not params.get("store"):
            # Ansible takes an option that is written and empty for given.
            raise InvalidInput(
                "maintain", repository.target, "no store was given", "Set store: it says which points have expired."
            )
        self._store = open_store(params["store"])
        self._store.probe()
        self._locks = Locks(
            repository=repository,
            raw=open_repository(params["repository"]) if is_raw(repository.url) else None,
            lookup=lookup,
            vouched=params.get("remove_locks") or (),
            timeout=clock.duration(params["lock_timeout"]),
        )
        self._id = repository.identify()
        self._accepted = set(params.get("accept_missing") or ())
        self._began = clock.now()
        self._decisions: list[forgetting.Decision] = []
        self._forgotten: list[forgetting.Decision] = []
        self._before: Listing | None = None
        self._after: Listing | None = None
        # Rounds, and whether nothing was left to do; without a limit of time there is one, and that is not known.
        self._rounds, self._finished = 0, None if self._max_time is None else False
        self._checked: JSON = {"structure": False, "data": None}

    def planned(self) -> JSON:
        """What a run would do now."""
        self._decide()
        held = self._locks.judged()
        going = [decision for decision in self._decisions if decision.forget]
        return {
            **self._result(),
            "changed": bool(going) or any(self._locks.may_go(one) for one in held),
            "msg": f"Would forget {len(going)} of {len(self._decisions)} snapshots of {self._repository.target}",
            "forgotten": [decision.result() for decision in going],
            "locks": [one.result() for one in held],
            "decisions": [decision.result() for decision in self._decisions],
            "checked": {"structure": True, "data": self._data()},
        }

    def apply(self) -> JSON:
        """Do it, and say what was done, also where it failed."""
        record = None
        try:
            self._locks.clear()
            self._decide()
            self._before = self._listing()
            self._forget()
            self._prune()
            self._after = self._listing()
            data = self._data()
            self._exclusively(partial(self._repository.check, read_data=data))
            self._checked = {"structure": True, "data": data}
            record = self._record("")
        except MusterError as error:
            if self._decisions:
                self._look_again()
            result = self._result()
            if result["changed"] and record is None:
                # What is gone is to be on record even so.
                with contextlib.suppress(MusterError):
                    result["record"] = self._record(str(error))
            error.result = {**result, **error.result}
            raise
        removed = sum(len(names) for names in (self._removed() or {}).values())
        said = f"Forgot {len(self._forgotten)} of {len(self._decisions)} snapshots of {self._repository.target}"
        left = "; the time was over before all was pruned, and the next run goes on" if self._finished is False else ""
        return {**self._result(), "record": record, "msg": f"{said}, removed {removed} objects{left}"}

    # -- steps ------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        # Snapshots first: a point that is sealed meanwhile is then among the points that are read.
        snapshots = held(self._repository.snapshots())
        points, lost = needing.points(self._store)
        self._decisions = forgetting.decide(
            snapshots, points, now=clock.now(), unsealed_after=self._unsealed_after, lost=lost
        )
        self._refuse_loss(forgetting.missing(snapshots, points))

    def _refuse_loss(self, missing: Sequence[tuple[forgetting.Point, Need]]) -> None:
        """A prune would take away the data of a snapshot that was lost, which only its small file can give back."""
        told = [
            f"{need.snapshot[:16]} that {point.id} needs" for point, need in missing if point.id not in self._accepted
        ]
        if told:
            raise Refused(
                "maintain",
                self._repository.target,
                f"it does not hold snapshot {', '.join(told[:5])}{f' (and {len(told) - 5} more)' if told[5:] else ''}",
                "Mirror it back from the other site. Nothing is taken away while what is left of it may be needed; "
                "accept_missing names points that are given up.",
            )

    def _forget(self) -> None:
        going = [decision for decision in self._decisions if decision.forget]
        for start in range(0, len(going), _AT_ONCE):
            batch = going[start : start + _AT_ONCE]
            self._exclusively(partial(self._repository.forget, [decision.snapshot.id for decision in batch]))
            self._forgotten += batch

    def _prune(self) -> None:
        """Once, or in rounds until there is nothing left to do or the time is over.

        What restic has written anew is of no use before it is through, so it is never broken off.
        """
        end = time.monotonic() + (self._max_time or 0.0)
        packs = self._repository.packs() if self._max_time is not None else set()
        while not self._finished:
            self._exclusively(partial(self._repository.prune, self._limits))
            self._rounds += 1
            if self._max_time is None:
                return
            there = self._repository.packs()
            self._finished, packs = there == packs, there
            if time.monotonic() >= end:
                return

    def _exclusively(self, step: Callable[..., None]) -> None:
        """Do a step that excludes everybody else; who came meanwhile is waited for."""
        end = time.monotonic() + self._locks.timeout
        while True:
            self._locks.clear()
            try:
                step(retry_lock=_RETRY_LOCK)
            except Locked:
                if time.monotonic() >= end:
                    raise
            else:
                return

    def _listing(self) -> Listing | None:
        return Listing.of(self._locks.raw) if self._locks.raw is not None else None

    def _look_again(self) -> None:
        """After a failure: what of it was done?"""
        with contextlib.suppress(MusterError):
            there = {snapshot.id for snapshot in self._repository.snapshots()}
            self._forgotten = [one for one in self._decisions if one.forget and one.snapshot.id not in there]
            self._after = self._listing()

    def _data(self) -> str | None:
        """Which part of the data is read this time, as restic writes it."""
        if self._parts is None:
            return self._check_data
        done = sum(1 for entry in self._store.list(self._folder) if entry.key.endswith(".json"))
        return f"{done % self._parts + 1}/{self._parts}"

    # -- results ----------------------------------------------------------------------------------------------

    def _removed(self) -> dict[str, list[str]] | None:
        """Raw objects that are gone; ``None`` where nobody can list them."""
        if self._before is None or self._after is None:
            return None
        return self._before.without(self._after)

    def _result(self) -> JSON:
        removed = self._removed()
        return {
            "changed": bool(self._forgotten or self._locks.removed or any((removed or {}).values())),
            "id": self._id,
            "forgotten": [decision.result() for decision in self._forgotten],
            "kept": sum(1 for decision in self._decisions if not decision.forget),
            "kept_unexplained": [
                decision.result() for decision in self._decisions if not decision.forget and not decision.explained
            ],
            "locks": [one.result(removed=True) for one in self._locks.removed],
            "bytes_before": self._before.size if self._before else None,
            "bytes_after": self._after.size if self._after else None,
            "pruned": {"rounds": self._rounds, "finished": self._finished},
            "checked": self._checked,
            "record": None,
        }

    @property
    def _folder(self) -> str:
        return f"{given_up.ROOT}{self._id}/"

    def _config_digest(self) -> str | None:
        config = self._locks.raw.find("config") if self._locks.raw is not None else None
        return digest(config) if config is not None else None

    def _record(self, failure: str) -> str:
        """Write the record, its signature first, and return its key."""
        result, now = self._result(), clock.now()
        value = {
            "format": given_up.FORMAT,
            "repository": self._id,
            # By this a mirror, which has no password, knows whose record it is.
            "config_digest": self._config_digest(),
            "started": clock.iso(self._began),
            "time": clock.iso(now),
            "forgotten": result["forgotten"],
            "kept_unexplained": result["kept_unexplained"],
            "removed": self._removed(),
            "locks_removed": result["locks"],
            "bytes_before": result["bytes_before"],
            "bytes_after": result["bytes_after"],
            "pruned": result["pruned"],
            "checked": self._checked,
            "failure": failure or None,
            "versions": {"restic": self._repository.version, "python": platform.python_version()},
        }
        return given_up.write(self._store, self._signing, self._folder, now, value)


def _limits(options: Mapping[str, Any]) -> tuple[list[str], float | None]:
    """restic's arguments for the limits of a prune, and for how many seconds new rounds may begin (None: one round)."""
    arguments = []
    max_time = clock.duration(options["max_time"]) if options.get("max_time") else None
    given = {**options, "max_repack_size": options.get("max_repack_size") or (_ROUND if max_time is not None else None)}
    for name in ("max_unused", "max_repack_size"):
        if given.get(name):
            amounts.limit(name, str(given[name]), of_unused=name == "max_unused")
            arguments += [f"--{name.replace('_', '-')}", str(given[name])]
    if options.get("repack_cacheable_only"):
        arguments.append("--repack-cacheable-only")
    return arguments, max_time
