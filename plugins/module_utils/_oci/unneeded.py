# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Taking a recovery point away from a layout: its index, and the blobs that no other index needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import keep_tag
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import (
    REF_NAME,
    Layout,
    blob_key,
    entries_of,
    indexed,
    indexes,
    read_small,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Manifest, digest_of
from ansible_collections.muster.container_dr.plugins.module_utils._oci.turns import Turn
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entries, Entry, Store

_BLOB = re.compile(r"^blobs/(sha256|sha384|sha512)/([0-9a-f]+)$")
# What else an index names, such as the layers of a build cache, names nothing itself.
_NAMES_MORE = re.compile(r"manifest|index|^$")


@dataclass
class Removed:
    """What went, or would go: entries of the index, and blobs. ``others``: why blobs stay that nothing needs."""

    entries: list[dict[str, Any]]
    needed: set[str]
    blobs: int = 0
    bytes: int = 0
    others: str = ""

    @property
    def copies(self) -> Iterator[tuple[str, str, str]]:
        """Repository, digest and media type of the images that we have put there; what is attached to them aside."""
        for entry in self.entries:
            name = str((entry.get("annotations") or {}).get(REF_NAME) or "")
            digest = str(entry.get("digest"))
            repository, _colon, tag = name.rpartition(":")
            if repository and tag == keep_tag(digest):
                yield repository, digest, str(entry.get("mediaType") or "")


def remove_point(layout: Layout, *, workers: int, write: bool) -> Removed:
    """Remove the index of the layout's point, then all blobs that no other index needs.

    Raises :class:`Corrupt`, with nothing removed, where it cannot be known what another index needs.
    """
    store, turn = layout.store, Turn(layout.store)
    try:
        alone = turn.remove() if write else True
        entries = entries_of(read_small(store, layout.key), f"{layout.key} in {store.place}")
        removed = Removed(entries, needed(store, [key for key in indexes(store) if key != layout.key], workers))
        unneeded = Entries()
        for entry in store.list("blobs/"):
            match = _BLOB.match(entry.key)
            if match and f"{match[1]}:{match[2]}" not in removed.needed:
                unneeded.append(entry)
        if write:
            for key in (layout.key, layout.marker):
                store.delete(key)
        if not alone:
            removed.others = "images are being copied there"
            return removed

        def drop(entry: Entry) -> None:
            store.delete(entry.key)

        for batch in unneeded.batches():
            if write:
                if not turn.lasts():
                    removed.others = "there were too many for one run"
                    break
                pool.values(pool.each(batch, drop, workers=workers))
            removed.blobs += len(batch)
            removed.bytes += sum(entry.size for entry in batch)
        return removed
    finally:
        turn.end()


def needed(store: Store, keys: Sequence[str], workers: int) -> set[str]:
    """The digests of all that is below what these indexes name."""
    named = {
        (str(entry.get("digest")), str(entry.get("mediaType") or ""))
        for entries in indexed(store, keys)
        for entry in entries
    }
    found: set[str] = set()
    read: set[str] = set()
    while named:
        found |= {digest for digest, _kind in named}
        fresh = {digest for digest, kind in named if _NAMES_MORE.search(kind)} - read
        read |= fresh
        outcomes = pool.each(fresh, lambda digest: _manifest(store, digest), workers=workers)
        manifests = [manifest for manifest in pool.values(outcomes) if manifest is not None]
        found |= {blob.digest for manifest in manifests for blob in manifest.blobs}
        named = {(child.digest, child.media_type) for manifest in manifests for child in manifest.children}
    return found


def _manifest(store: Store, digest: str) -> Manifest | None:
    """A manifest; ``None`` where it is not there, as with an index of which some platforms were copied."""
    key = blob_key(digest)
    data = read_small(store, key)
    if data is None:
        return None
    try:
        if digest_of(data, digest) != digest:
            raise Corrupt("read", key, "it has other bytes")
        return Manifest.parse(data, "", key, digest)
    except (Corrupt, InvalidInput) as error:
        raise Corrupt(
            "remove from",
            f"layout {store.place}",
            f"nobody knows what {key} needs: {error.reason}",
            "Copy the images that need it there again, or remove its entry from the index that names it.",
        ) from None
