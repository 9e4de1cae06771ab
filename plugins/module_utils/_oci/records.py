# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which images were proved whole at a place, and when: what lets an unchanged image cost one request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    InvalidInput,
    MusterError,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, Stored

FORMAT = "muster/images/v1"
_TRIES = 5

Copies = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Record:
    """An image that was whole at ``verified``; ``selected`` are the platforms that were looked at, none for all.

    ``attachments``: what is attached to it was copied, too. ``put``: it is there by us, it was not there before.
    """

    verified: str
    media_type: str
    platforms: tuple[str, ...]
    selected: tuple[str, ...] = ()
    attachments: bool = False
    put: bool = False

    @classmethod
    def of(cls, value: Any) -> Record | None:
        """A record as the document has it; ``None`` for what is none."""
        try:
            clock.parse(value["verified"])
            media_type, lists = str(value["media_type"]), [value["platforms"], value.get("selected") or []]
            platforms, selected = (tuple(str(item) for item in entries) for entries in lists)
        except (KeyError, TypeError, AttributeError, InvalidInput):
            return None
        flags = (value.get(name) is True for name in ("attachments", "put"))
        return cls(value["verified"], media_type, platforms, selected, *flags)

    @property
    def document(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "verified": self.verified,
            "media_type": self.media_type,
            "platforms": list(self.platforms),
            "attachments": self.attachments,
            "put": self.put,
        }
        return {**result, "selected": list(self.selected)} if self.selected else result

    def covers(self, platforms: Sequence[str], attachments: bool) -> bool:
        """Whether it speaks of all of these platforms (none stands for all), and of what is attached where wanted."""
        if attachments and not self.attachments:
            return False
        return not self.selected or (bool(platforms) and set(platforms) <= set(self.selected))


class Records:
    """The records of one place, kept in a store as ``images/PLACE.json``.

    They only save work: what has no record is checked to the last blob, so losing the document loses nothing. For the
    same reason a store that does not answer is a warning and no error.
    """

    def __init__(self, store: Store | None, place: str, max_age: float, warn: Callable[[str], None]) -> None:
        self._store = store
        self._place = place
        self._key = f"images/{_plain(place)}.json"
        self._max_age = timedelta(seconds=max_age)
        self._warn = warn
        self._lock = threading.Lock()
        self._news: dict[tuple[str, str], Record | None] = {}
        self._copies = self._attempt("read", self._load) or {}

    def find(self, path: str, digest: str, platforms: Sequence[str], attachments: bool) -> Record | None:
        """What is known of an image, where that is young enough and speaks of all that is wanted."""
        record = Record.of(self._copies.get(path, {}).get(digest))
        if record is None or not record.covers(platforms, attachments):
            return None
        age = clock.now() - clock.parse(record.verified)
        # A time to come is somebody's wrong clock and says nothing.
        return record if timedelta(0) <= age <= self._max_age else None

    def has(self, path: str, digest: str) -> bool:
        """Whether we put this image there, however long ago."""
        return self._copies.get(path, {}).get(digest, {}).get("put") is True

    def digests(self, path: str) -> list[str]:
        """The images that we put below this path."""
        return list(self._copies.get(path, {}))

    def proved(self, path: str, digest: str, record: Record) -> None:
        """The image was just seen whole."""
        self._note(path, digest, record)

    def lost(self, path: str, digest: str) -> None:
        """The image is not whole there, or not there any more."""
        if digest in self._copies.get(path, {}) or (path, digest) in self._news:
            self._note(path, digest, None)

    def save(self) -> None:
        """Write what is new; what others noted meanwhile stays."""
        if self._news:
            self._attempt("write", self._merge)

    def _note(self, path: str, digest: str, record: Record | None) -> None:
        with self._lock:
            self._news[path, digest] = record

    def _attempt(self, action: str, work: Callable[[Store], Copies | None]) -> Copies | None:
        if self._store is None:
            return None
        try:
            return work(self._store)
        except MusterError as error:
            self._warn(
                f"Could not {action} {self._key} in {self._store.place}, so images are checked in full: {error.reason}."
            )
            return None

    def _load(self, store: Store) -> Copies:
        return self._copies_of(store.peek(self._key))

    def _copies_of(self, stored: Stored | None) -> Copies:
        try:
            value = json.loads(stored.data) if stored else {}
            if value.get("format") == FORMAT and value.get("place") == self._place:
                return {str(path): dict(digests) for path, digests in value["copies"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return {}

    def _merge(self, store: Store) -> None:
        for attempt in range(1, _TRIES + 1):
            stored = store.peek(self._key)
            copies = self._copies_of(stored)
            for (path, digest), record in self._news.items():
                if record is not None:
                    copies.setdefault(path, {})[digest] = record.document
                else:
                    copies.get(path, {}).pop(digest, None)
            value = {
                "format": FORMAT,
                "place": self._place,
                "copies": {path: copies[path] for path in copies if copies[path]},
            }
            data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
            try:
                if stored is None:
                    store.create(self._key, data)
                else:
                    store.swap(self._key, data, stored.version)
                return
            except Conflict:
                if attempt == _TRIES:
                    raise


def _plain(place: str) -> str:
    """The name of a place as a path that any store takes."""
    parts = re.sub(r"[^A-Za-z0-9._/-]+", "-", place).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))
