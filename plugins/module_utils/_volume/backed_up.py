# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is known of a volume after its backup: as the repository has it, whatever the mover said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot

JSON = dict[str, Any]
UNKNOWN: JSON = {
    "consistency_point": None,
    "snapshot": None,
    "tree": None,
    "host": None,
    "files": None,
    "bytes": None,
    "bytes_added": None,
    "seconds": None,
    "complete": False,
    "changed": False,
    "failed": False,
    "skipped": False,
    "group": None,
    "msg": "",
}


Item = TypeVar("Item")


@dataclass(frozen=True)
class Moved(Generic[Item]):
    """What a mover told of its volume, and after how many seconds."""

    volume: Item
    summary: JSON
    seconds: float


def tags(application: str, point: str | None) -> tuple[str, ...]:
    """Those of the snapshots of an application's volumes."""
    return ("muster", f"application={application}", *((f"point={point}",) if point else ()))


def look_back(repository: Repository, warn: Callable[[str], None]) -> list[Snapshot]:
    """The snapshots that are there, which say how much there will be to do."""
    try:
        return repository.snapshots()
    except MusterError as error:
        # It decides about memory and order only; what is wrong with the repository, the movers will say.
        warn(f"How large the volumes were at their last backup is not known: {error}")
        return []


def read_back(
    repository: Repository,
    outcomes: Sequence[pool.Outcome[Item, Moved[Item]]],
    become: Callable[[Moved[Item], Callable[[str], Snapshot]], JSON],
    label: Callable[[Item], str],
    progress: Progress,
) -> list[pool.Outcome[Item, JSON]]:
    """The entries of what was moved, from the repository: what is not there was not backed up, whatever movers said.

    ``become`` makes an entry, with a function that finds a snapshot by its id.
    """
    known: dict[str, Snapshot] = {}
    silent: Unavailable | None = None
    if any(outcome.value for outcome in outcomes):
        # One by one each would take a start of restic; without the list they have to.
        try:
            if any(isinstance(outcome.error, Unavailable) for outcome in outcomes):
                # Told much sooner than by restic, where it is the server that movers had no answer from.
                repository.probe()
            known = {one.id: one for one in repository.snapshots()}
        except Unavailable as unheard:
            # A server that does not answer was waited for long enough, and not once more for each volume.
            silent = unheard
        except MusterError:
            pass

    def find(identity: str) -> Snapshot:
        if silent:
            raise silent
        return known.get(identity) or repository.snapshot(identity)

    entries: list[pool.Outcome[Item, JSON]] = []
    for outcome in outcomes:
        made, error = None, outcome.error
        if outcome.value is not None:
            try:
                made = become(outcome.value, find)
            except MusterError as missing:
                error = missing
                progress.update("volume", label(outcome.item), "failed", msg=str(missing))
        entries.append(pool.Outcome(outcome.item, made, error, outcome.started))
    return entries


def consistency(points: Iterable[str | None], began: str, mode: str) -> JSON:
    """The earliest instant (else ``began``), the distance to the latest, and how it was reached."""
    moments = sorted(clock.parse(point) for point in points if point)
    first = moments[0] if moments else clock.parse(began)
    skew = (moments[-1] - first).total_seconds() if moments else 0.0
    return {"point": clock.iso(first), "skew_seconds": round(skew, 3), "mode": mode}


def entry(find: Callable[[str], Snapshot], volume: str, host: str, summary: JSON) -> JSON:
    """What a volume's entry says of its snapshot; ``consistency_point`` is when restic began to read.

    Raises :class:`Incomplete` or :class:`NotFound` where there is no such snapshot: then it was not backed up.
    """
    identity = str(summary.get("snapshot_id") or "")
    if not identity:
        raise Incomplete("export", f"volume {volume}", "restic named no snapshot", "Run it again.")
    found = find(identity)
    if found.host != host:
        raise Incomplete("export", f"volume {volume}", f"its snapshot is named {found.host}", "Run it again.")
    started = summary.get("backup_start")
    return {
        "consistency_point": clock.iso(clock.parse(str(started or found.time))),
        "snapshot": found.id,
        "tree": found.tree,
        "files": int(summary.get("total_files_processed", 0)),
        "bytes": int(summary.get("total_bytes_processed", 0)),
        "bytes_added": int(summary.get("data_added_packed") or 0),
        "complete": True,
        "changed": True,
        "msg": "",
    }
