# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A store in an S3 bucket with versions, in which whatever is written is locked against deletion for a time.

A lock keeps a version, not a name: whoever may write can still put a delete marker or other bytes above what is locked.
So versions are listed instead of objects, and what lies below is brought back.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, cast

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    Denied,
    MusterError,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import (
    COMPLIANCE,
    GOVERNANCE,
    Held,
    Lock,
    Note,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import (
    S3,
    BucketMissing,
    S3Place,
    Unlocked,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entries, Entry

# Beside the config of a repository; restic minds only what it knows.
REPOSITORY_NOTE = "muster-lock.json"
# S3 refuses requests of clients whose clock differs more.
_CLOCKS = timedelta(minutes=15)
# A note can be forged by whoever may write. So some objects are asked whether it is true.
_SAMPLE = 16
_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20


def catalogue_note(root: str) -> str:
    """Where the note about an application's documents is; ``root`` is that of its catalogue."""
    return f"{root}/lock.json"


class LockedS3(S3):
    """Objects that cannot be removed before their time, by anybody."""

    def __init__(self, place: S3Place, lock: Lock) -> None:
        super().__init__(place)
        self.lock = lock

    def demand(self) -> None:
        """Raise unless the bucket keeps versions and can lock them."""
        bucket = f"bucket {self._bucket}"
        versions = self._asked(
            f"versioning of {bucket}", partial(self._small.get_bucket_versioning, Bucket=self._bucket)
        )
        locks = self._asked(
            f"object lock of {bucket}", partial(self._small.get_object_lock_configuration, Bucket=self._bucket)
        )
        missing = [
            name
            for name, there in (
                ("versioning", versions.get("Status") == "Enabled"),
                ("object lock", locks.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"),
            )
            if not there
        ]
        if missing:
            raise Refused(
                "lock",
                f"objects in {self.place}",
                f"{' and '.join(missing)} of {bucket} is not enabled",
                f"Make a bucket with 'aws s3api create-bucket --object-lock-enabled-for-bucket', or where the provider "
                f"allows it enable both on {self._bucket}, 'aws s3api put-bucket-versioning' and then 'aws s3api "
                f"put-object-lock-configuration'. Without a default retention, which would lock the locks of restic.",
            )

    def _asked(self, what: str, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            return cast(dict[str, Any], self._call("look at", what, call))
        except (Denied, Unavailable, BucketMissing):
            raise
        except MusterError:
            # Servers without it say so in many ways.
            return {}

    def _terms(self, body: BinaryIO) -> dict[str, Any]:
        # AWS wants a checksum of what is to be locked; this one every server knows.
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := body.read(_CHUNK):
            digest.update(chunk)
        return {"ContentMD5": base64.b64encode(digest.digest()).decode(), **self._headers()}

    def _headers(self) -> dict[str, Any]:
        held = self.lock.fresh(clock.now())
        return {"ObjectLockMode": held.mode.upper(), "ObjectLockRetainUntilDate": held.until}

    def note(self, key: str, data: bytes) -> None:
        """Write what is written again and again, without a lock."""
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        self._call("write", key, lambda: self._small.put_object(Body=data, **where))

    def create(self, key: str, data: bytes) -> None:
        try:
            super().create(key, data)
        except Conflict:
            # Some servers count what a delete marker hides as there.
            if self.find(key) is not None:
                raise
            self.put(key, data)

    def versions(self, prefix: str) -> Iterator[Entry]:
        """As :meth:`list`, with the hidden ones, and with what lies below them."""
        start = len(self._prefix)
        found: list[dict[str, Any]] = []
        for item in self._versions(prefix):
            if found and found[0]["Key"] != item["Key"]:
                yield from _entry(found, start)
                found = []
            found.append(item)
        yield from _entry(found, start)

    def _versions(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Versions and delete markers in the order of their keys, of one key the newest version first."""
        more: dict[str, Any] = {}
        while True:
            listed = partial(
                self._small.list_object_versions, Bucket=self._bucket, Prefix=self._prefix + prefix, **more
            )
            answer: Any = self._call("list", f"versions of {prefix}*", listed)
            marked = [{**item, "marker": True} for item in answer.get("DeleteMarkers", [])]
            yield from sorted(
                (item for item in [*answer.get("Versions", []), *marked] if not item["Key"].endswith("/")),
                key=lambda item: item["Key"].encode(),
            )
            if not answer.get("IsTruncated"):
                return
            if not answer.get("NextKeyMarker"):
                raise self._cut(prefix)
            more = {"KeyMarker": answer["NextKeyMarker"]}
            if answer.get("NextVersionIdMarker"):
                more["VersionIdMarker"] = answer["NextVersionIdMarker"]

    def _layers(self, key: str) -> tuple[list[str], list[str]]:
        """Ids of the object's versions, the newest first, and of its delete markers."""
        full = self._key(key)
        # Some servers list the last version of a page again on the next one.
        found = {item["VersionId"]: item for item in self._versions(key) if item["Key"] == full}
        markers = [name for name, item in found.items() if item.get("marker")]
        return [name for name in found if name not in markers], markers

    def held(self, key: str, **version: Any) -> Held | None:
        """The object's lock; ``None`` where it has none."""
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key), **version}
        try:
            answer = self._call("read the lock of", key, lambda: self._small.get_object_retention(**where))
        except Unlocked:
            return None
        retention: Any = answer.get("Retention") or {}
        if not retention.get("RetainUntilDate"):
            return None
        return Held(str(retention.get("Mode")).lower(), retention["RetainUntilDate"])

    def renew(self, key: str, mode: str) -> None:
        """Lock the object from now on. Its lock must end sooner: not every server refuses to shorten one."""
        held = self.lock.fresh(clock.now())
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        where["Retention"] = {"Mode": mode.upper(), "RetainUntilDate": held.until}
        self._call("lock", key, lambda: self._small.put_object_retention(**where))

    def locked_until(self, key: str) -> datetime | None:
        """When the last of the object's locks ends, as far as any is left."""
        locks = [self.held(key, VersionId=version) for version in self._layers(key)[0]]
        return max((lock.until for lock in locks if lock and lock.until > clock.now()), default=None)

    def was_locked(self, key: str) -> bool:
        """Whether any version has a lock, which may have ended."""
        return any(self.held(key, VersionId=version) for version in self._layers(key)[0])

    def delete(self, key: str) -> None:
        """Remove every version; :class:`Denied` where one is locked. A marker that only hides is never written."""
        versions, markers = self._layers(key)
        for version in [*reversed(versions), *markers]:
            self._delete_version(key, version)

    def _delete_version(self, key: str, version: str) -> None:
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key), "VersionId": version}
        self._call("delete", key, lambda: self._small.delete_object(**where))

    def first_locked(self, key: str) -> bytes | None:
        """The bytes of the object's oldest version with a lock, below which nobody can put anything.

        Where none has one they are those that can be seen, else of the only version; ``None`` where there is none.
        """
        versions = self._layers(key)[0]
        first = next((one for one in reversed(versions) if self.held(key, VersionId=one)), None)
        if first is None:
            seen = self.find(key)
            if seen is not None or not versions:
                return seen
            if len(versions) > 1:
                raise Corrupt(
                    "bring back",
                    f"{key} of {self.place}",
                    f"it is hidden, and which of its {len(versions)} versions is the right one cannot be told",
                    "None of them is locked. Copy the right one above the others by hand.",
                )
            first = versions[0]
        stream = io.BytesIO()
        self._fetch(key, stream, VersionId=first)
        return stream.getvalue()

    def bring_back(self, key: str, whole: Callable[[BinaryIO], bool]) -> datetime | None:
        """Let the newest whole version be seen again; until when it is locked, ``None`` where there is none."""
        versions, markers = self._layers(key)
        good = next((version for version in versions if self._is(key, version, whole)), None)
        if good is None:
            return None
        fresh = self.lock.fresh(clock.now()).until
        try:
            for version in [*versions[: versions.index(good)], *markers]:
                self._delete_version(key, version)
        except Denied:
            # Somebody has locked it, or versions may not be removed at all. What is copied lies above it.
            source: Any = {"Bucket": self._bucket, "Key": self._key(key), "VersionId": good}
            where = {"Bucket": self._bucket, "Key": self._key(key), **self._headers()}
            self._call("copy", key, lambda: self._large.copy_object(CopySource=source, **where))
            return fresh
        held = self.held(key)
        if held is not None and self.lock.lasts(held, clock.now()):
            return held.until
        self.renew(key, COMPLIANCE if held and held.mode == COMPLIANCE else self.lock.mode)
        return fresh

    def _is(self, key: str, version: str, whole: Callable[[BinaryIO], bool]) -> bool:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="muster-") as spool:
            stream = cast(BinaryIO, spool)
            self._fetch(key, stream, VersionId=version)
            return whole(stream)


def _entry(found: list[dict[str, Any]], start: int) -> Iterator[Entry]:
    """What the versions of one object amount to. Where nothing but markers is left there is no object."""
    versions = [item for item in found if not item.get("marker")]
    if not versions:
        return
    yield Entry(
        versions[0]["Key"][start:],
        versions[0]["Size"],
        modified=versions[0]["LastModified"].timestamp(),
        hidden=any(item.get("marker") and item["IsLatest"] for item in found),
        # Two writers of the same bytes harm nobody.
        layered=len({(item["Size"], item["ETag"]) for item in versions}) > 1,
    )


@dataclass
class Renewal:
    """Everything that has to stay locked in a place, of which :meth:`look` finds what must be renewed.

    More than half of ``retain`` is left of every lock after each run. That costs two requests an object once in half of
    ``retain``; in between a note at the place says that nothing is due, and only what was written since, and a sample,
    is asked for.
    """

    store: LockedS3
    key: str
    note: Note | None
    until: datetime
    """Everything is locked until then at least."""
    renewed: int = 0
    kept: int = 0
    """Objects that are needed no more and are still locked, the last of them until ``kept_until``."""
    kept_until: datetime | None = None
    changed: bool = False
    """The note is to be written anew."""
    _all: Entries = field(default_factory=Entries)
    _recent: Entries = field(default_factory=Entries)
    _due: dict[str, Entries] = field(default_factory=lambda: {GOVERNANCE: Entries(), COMPLIANCE: Entries()})

    @classmethod
    def begin(cls, store: LockedS3, key: str) -> Renewal:
        return cls(store, key, Note.decode(store.find(key)), store.lock.fresh(clock.now()).until)

    def add(self, entry: Entry) -> None:
        self._all.append(entry)
        if self.note is not None and entry.modified >= (self.note.time - _CLOCKS).timestamp():
            self._recent.append(entry)

    def look(self, workers: int) -> None:
        """Ask for locks, as many as needed."""
        note, lock = self.note, self.store.lock
        if note is not None and lock.lasts(note.held, clock.now()):
            sample = self._ask(self._all.sample(_SAMPLE), workers)
            trusted = all(held is not None and held.at_least(lock.mode, note.held.until) for held in sample)
        else:
            trusted = False
        if trusted and note is not None:
            self.until = min(self.until, note.held.until)
        asked = self._recent if trusted else self._all
        for batch in asked.batches():
            for entry, held in zip(batch, self._ask(batch, workers), strict=True):
                if held is not None and lock.lasts(held, clock.now()):
                    self.until = min(self.until, held.until)
                else:
                    self._due[COMPLIANCE if held and held.mode == COMPLIANCE else lock.mode].append(entry)
        self.renewed = sum(len(due) for due in self._due.values())
        self.changed = not trusted or len(asked) > 0

    def _ask(self, entries: list[Entry], workers: int) -> list[Held | None]:
        return pool.values(pool.each(entries, lambda entry: self.store.held(entry.key), workers=workers))

    def apply(self, workers: int) -> None:
        for mode, due in self._due.items():
            for batch in due.batches():
                pool.values(pool.each(batch, partial(self._renew, mode), workers=workers))

    def _renew(self, mode: str, entry: Entry) -> None:
        self.store.renew(entry.key, mode)

    def keep(self, going: Entries, workers: int) -> Entries:
        """Of what is needed no more: that of which no lock is left. The rest stays and is counted."""
        free = Entries()
        for batch in going.batches():
            ends = pool.values(pool.each(batch, lambda entry: self.store.locked_until(entry.key), workers=workers))
            for entry, end in zip(batch, ends, strict=True):
                if end is None:
                    free.append(entry)
                else:
                    self.kept += 1
                    self.kept_until = max(self.kept_until or end, end)
        return free

    def result(self) -> dict[str, Any]:
        return {
            **Held(self.store.lock.mode, self.until).result(),
            "renewed": self.renewed,
            "kept": self.kept,
            "kept_until": clock.iso(self.kept_until) if self.kept_until else None,
        }

    def write(self, time: datetime, *, news: bool = False, data: datetime | None = None) -> None:
        """Write the note: all that was there at that time is locked. ``news``: there is more than before."""
        data = data or (self.note.data if self.note else None)
        made = Note(Held(self.store.lock.mode, self.until), time, data)
        told = self.note is not None and (self.note.held.until, self.note.data) == (self.until, data)
        if self.changed or news or not told:
            self.store.note(self.key, made.encode())
