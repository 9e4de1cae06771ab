# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Does a repository still give back what recovery points need? Asked before anything relies on it.

What must be there is known from the points' documents; whether it is whole, from names that are digests and from
restic's own check.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._plan import forgetting, recovery_point, snapshots
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Known, Need
from ansible_collections.muster.container_dr.plugins.module_utils._restic.mirror import CONFIG, named
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot, held
from ansible_collections.muster.container_dr.plugins.module_utils._store import needing
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Catalogue, Sealed, survey
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import is_raw, open_repository, printable
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

NAMES, STRUCTURE, DATA = "names", "structure", "data"
DEPTHS = (NAMES, STRUCTURE, DATA)
_WORKERS = 8
# Digits of an id.
_WHOLE = 64


class Soundness:
    """A repository, and how deep to look into it before a restore."""

    def __init__(self, options: Mapping[str, Any], depth: str, opened: Repository | None = None) -> None:
        self._depth = depth
        self.place = printable(str(options["url"]))
        self._raw = open_repository(options) if is_raw(str(options["url"])) else None
        self._opened = opened
        if opened is None and (depth != NAMES or self._raw is None):
            self._opened = Repository.open(options)
        self._opens = False
        self._options = options
        self._lock = threading.Lock()
        self._known: Known | None = None
        self.blind = ""
        """In brackets, why nobody could look for copies where somebody had to."""
        if self._raw is not None:
            self._raw.probe()
            self._names = {entry.key.rpartition("/")[2] for entry in self._raw.list("snapshots/")}
        elif self._opened is not None:
            found = self._opened.snapshots()
            self._names, self._known = {one.id for one in found}, Known(held(found))

    def meant(self, need: Need) -> list[str]:
        """Ids of what is here of it. Names of files tell most; a copy with another id is seen only by who opens it."""
        if need.snapshot in self._names:
            return [need.snapshot]
        if 0 < len(need.snapshot) < _WHOLE:
            return sorted(name for name in self._names if name.startswith(need.snapshot))
        with self._lock:
            if self._known is None:
                try:
                    self._known = Known(held((self._opened or Repository.open(self._options)).snapshots()))
                except MusterError as error:
                    # The rest can be judged without it, and mostly it is simply not here.
                    self._known, self.blind = Known(()), f" (nor was it opened to look for a copy: {error})"
        return [one.id for one in self._known.meant(need)]

    def absent(self, document: Mapping[str, Any]) -> list[str]:
        """What a point needs and this repository does not hold, in words; :class:`Corrupt` where nobody can tell."""
        gone = [need for need in snapshots.needs(document) if not self.meant(need)]
        return [
            f"the snapshot of {need.what} ({need.snapshot[:8]}) is not in the repository of this site{self.blind}"
            for need in gone
        ]

    def damage(self, document: Mapping[str, Any]) -> list[str]:
        """What of the data that a point needs is not whole. All its snapshots are known to be here.

        Raises where the repository as a whole can not be opened.
        """
        self._open()
        try:
            wanted = snapshots.needs(document)
        except Corrupt as error:
            return [error.reason]
        ids = sorted({found for need in wanted for found in self.meant(need)})
        raw = self._raw
        if raw is not None:
            altered = _altered(raw, [f"snapshots/{identity}" for identity in ids])
            if altered:
                return [f"{key} is not what its name says, so it was altered" for key in altered]
        if self._depth == NAMES or self._opened is None or not ids:
            return []
        try:
            self._opened.check(read_data="100%" if self._depth == DATA else None, snapshots=ids, retry_lock=None)
        except Incomplete as error:
            return [error.reason]
        return []

    def _open(self) -> None:
        if self._opens:
            return
        if self._raw is not None:
            _require_door(self._raw)
        if self._opened is not None:
            self._opened.identify()
        self._opens = True


def _altered(raw: Store, keys: Sequence[str]) -> list[str]:
    """Those of these small objects that are not what their names say."""

    def whole(key: str) -> bool:
        return hashlib.sha256(raw.find(key) or b"").hexdigest() == key.rpartition("/")[2]

    found = pool.values(pool.each(keys, whole, workers=_WORKERS))
    return [key for key, good in zip(keys, found, strict=True) if not good]


def _require_door(raw: Store) -> None:
    """Config and keys, without which nothing opens. One damaged key keeps restic from using the others too."""
    keys = [entry.key for entry in named(raw.list("keys/"))]
    hint = "Mirror the repository back from another copy, or choose another site."
    for missing in [name for name, there in ((CONFIG, raw.size(CONFIG)), ("keys", keys)) if not there]:
        raise NotFound("open", f"repository {raw.place}", f"{missing}: empty, or not there", hint)
    altered = _altered(raw, keys)
    if altered:
        raise Corrupt(
            "open",
            f"repository {raw.place}",
            f"{', '.join(altered)} is not what its name says, so it was altered",
            hint,
        )


def points(store: Store, listed: Callable[[], list[Snapshot]], signing: Signing | None) -> list[dict[str, Any]]:
    """An entry for each unexpired point of a store, and for each whose document is lost: can it be restored from these?

    With ``signing`` somebody must vouch for each.
    """
    found, lost = survey(store)
    # Listed afterwards: of a point that is sealed meanwhile they are here.
    there = held(listed())
    parents: list[tuple[str, str]] = []

    def look(one: Sealed) -> tuple[str, list[str]]:
        files = Catalogue(store, one.application).read_points([one.id])[0]
        reasons = []
        if signing is not None:
            verdict = signing.verify(files.document, files.signature) if files.signature else None
            if verdict is None or not verdict.valid:
                reasons.append(f"signature not valid: {verdict.msg if verdict else 'its signature is missing'}")
        try:
            document = recovery_point.decode(files.document, one.id, one.application)
            point = forgetting.Point(one.id, one.application, snapshots.needs(document), expired=False)
        except (Corrupt, InvalidInput) as error:
            return "", [*reasons, error.reason]
        gone = [need.snapshot[:16] for _point, need in forgetting.missing(there, [point])]
        if gone:
            reasons.append(f"snapshot {', '.join(gone)} is not in the repository")
        return str(document.get("parent") or ""), reasons

    entries = []
    for one, outcome in zip(found, pool.each(found, look, workers=_WORKERS), strict=True):
        parent, reasons = pool.values([outcome])[0]
        parents.append((one.id, parent))
        if not one.expired:
            entries.append(_entry(one.id, reasons))
    lost |= needing.orphans(parents)
    return entries + [_entry(point, ["its document is gone, or was never written"]) for point in sorted(lost)]


def complaints(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with the points, each with its name."""
    return (f"{entry['name']}: {entry['msg']}" for entry in entries if entry["failed"])


def _entry(point: str, reasons: Sequence[str]) -> dict[str, Any]:
    return {"name": point, "changed": False, "failed": bool(reasons), "skipped": False, "msg": "; ".join(reasons)}
