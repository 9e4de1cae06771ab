# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What was taken away from a repository on purpose, by signed records: only that may go from a mirror as well.

A repository that somebody has emptied has no such record, so its mirror stays whole.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import (
    MAINTENANCE_NAMESPACE,
    Signing,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.mirror import KEYS
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

FORMAT = "muster/maintenance/v1"
ROOT = "maintenance/"
# Apart from those of maintenance, which are counted.
KEYS_ROOT = f"{ROOT}keys/"
COPIES_ROOT = f"{ROOT}copies/"


def names(
    store: Store, config_digest: str, signing: Signing | None, before: datetime, warn: Callable[[str], None]
) -> dict[str, set[str]]:
    """Names of raw objects by kind that have been removed from this repository on purpose before that time.

    Keys count at once: who had one is to get in no longer, and nothing is lost with it.
    ``config_digest`` is the ``sha256:…`` of the repository's config, the same in every copy of it. Records that
    ``signing`` does not vouch for (``None``: nobody has to) are left out with a warning.
    """
    found: dict[str, set[str]] = {}
    for key, data, record in _records(store, "config_digest", config_digest, warn):
        late = clock.parse(str(record["time"])) > before
        removed = {
            str(kind): {str(name) for name in names}
            for kind, names in (record["removed"] or {}).items()
            if kind == KEYS or not late
        }
        if not removed:
            continue
        if _vouched(store, key, data, signing, warn):
            for kind, gone in removed.items():
                found.setdefault(kind, set()).update(gone)
    return found


def snapshots(
    store: Store, repository: str, signing: Signing | None, before: datetime, warn: Callable[[str], None]
) -> set[str]:
    """Ids of snapshots that maintenance forgot before that time in the repository with this id; else as :func:`names`.

    Needs nothing of its raw objects, and so holds for every backend.
    """
    found: set[str] = set()
    for key, data, record in _records(store, "repository", repository, warn):
        gone = {str(one["snapshot"]) for one in record.get("forgotten") or ()}
        if gone and clock.parse(str(record["time"])) <= before and _vouched(store, key, data, signing, warn):
            found |= gone
    return found


def _vouched(store: Store, key: str, data: bytes, signing: Signing | None, warn: Callable[[str], None]) -> bool:
    """Whether somebody who may stands for the record, if anybody has to."""
    if signing is None:
        return True
    signature = store.find(f"{key}.sig")
    verdict = signing.verify(data, signature, MAINTENANCE_NAMESPACE) if signature else None
    if verdict is None or not verdict.valid:
        warn(f"Nothing is removed by {key}: {verdict.msg if verdict else 'its signature is missing'}.")
        return False
    return True


def write(store: Store, signing: Signing, folder: str, now: datetime, value: dict[str, Any]) -> str:
    """Write a record into the folder, its signature first, and return its key."""
    data = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"
    key = f"{folder}{clock.stamp(now)}.json"
    if store.find(key) is not None:
        key = f"{folder}{clock.stamp(now)}-{secrets.token_hex(4)}.json"
    if signing.key is not None:
        store.put(f"{key}.sig", signing.sign(data, MAINTENANCE_NAMESPACE))
    store.create(key, data)
    return key


def _records(
    store: Store, field: str, value: str, warn: Callable[[str], None]
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Keys of the records with this field, and their bytes, read once so that what is verified is what is believed."""
    for entry in store.list(ROOT):
        if not entry.key.endswith(".json"):
            continue
        data = store.get(entry.key)
        try:
            record = json.loads(data)
            fits = record["format"] == FORMAT and isinstance(record["removed"] or {}, dict)
            clock.parse(str(record["time"]))
            fits = fits and all("snapshot" in one for one in record.get("forgotten") or ())
            other = record[field] != value
        except (ValueError, KeyError, TypeError, InvalidInput):
            fits, other = False, False
        if not fits:
            warn(f"{entry.key} in {store.place} is no record of maintenance; nothing is removed by it.")
        elif not other:
            yield entry.key, data, record
