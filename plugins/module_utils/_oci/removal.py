# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Taking images away from a registry: what recovery points need, and what else hangs on the same manifests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Denied
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import cosign_tags, fallback_tag
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registry
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import sealed
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store


def needed(store: Store) -> dict[tuple[str, str], str]:
    """Path and digest of every image that a sealed point in the store names, with one such point.

    Points that have expired need nothing. Raises :class:`Corrupt` for a point that cannot be read, because nobody knows
    what it needs.
    """
    found: dict[tuple[str, str], str] = {}
    for point in sealed(store):
        if point.expired:
            continue
        try:
            for image in json.loads(store.get(point.key))["images"]:
                found[str(image["path"]), str(image["digest"])] = point.id
        except (ValueError, KeyError, TypeError):
            raise Corrupt(
                "remove",
                "images",
                f"{point.key} in {store.place} cannot be read, so nobody knows which images it needs",
                "Mend or remove that recovery point first.",
            ) from None
    return found


class Remover:
    """Removes manifests; blobs go when the registry collects its garbage. Safe to call from many threads.

    ``refusal`` is why the registry deletes nothing, once it has said so; it is not asked again.
    """

    def __init__(self, registry: Registry, *, write: bool) -> None:
        self._registry = registry
        self._write = write
        # One after the other: what two images share goes with the second.
        self._lock = threading.Lock()
        # What each manifest names and what is attached to it; none where it is not there.
        self._below: dict[tuple[str, str], list[str] | None] = {}
        self._gone: set[tuple[str, str]] = set()
        self.refusal = ""

    def remove(self, repository: str, digest: str, others: Iterable[str]) -> bool:
        """Remove an image and what is attached to it, but nothing that one of the ``others`` there needs as well.

        Returns whether something was (or would be) removed; parents go before their children, so that what is visible
        is whole at any moment. Images that this has removed need nothing any more.
        """
        with self._lock:
            staying = [other for other in others if other != digest and (repository, other) not in self._gone]
            kept = {manifest for other in staying for manifest in self._tree(repository, other)}
            going = [manifest for manifest in self._tree(repository, digest) if manifest not in kept]
            if not going or self.refusal:
                return False
            try:
                for manifest in going if self._write else ():
                    self._registry.delete_manifest(repository, manifest)
            except Denied as error:
                self.refusal = error.reason
                return False
            self._gone.add((repository, digest))
            return True

    def _tree(self, repository: str, digest: str) -> dict[str, None]:
        """The digests of a manifest, of those it names and of all that is attached to them, the parents first."""
        found: dict[str, None] = {}
        self._walk(repository, digest, found)
        return found

    def _walk(self, repository: str, digest: str, found: dict[str, None]) -> None:
        if digest in found:
            return
        if (repository, digest) not in self._below:
            self._below[repository, digest] = self._read(repository, digest)
        below = self._below[repository, digest]
        if below is None:
            return
        found[digest] = None
        for each in below:
            self._walk(repository, each, found)

    def _read(self, repository: str, digest: str) -> list[str] | None:
        """What lies right below a manifest."""
        manifest = self._registry.manifest(repository, digest)
        if manifest is None:
            return None
        tags = cosign_tags(digest)
        indexed = self._registry.indexed_referrers(repository, digest)
        if indexed is None or indexed:
            # What no index lists may be listed in the tag; a registry may have got its API after that was written.
            tags.append(fallback_tag(digest))
        attached = [one for tag in tags if (one := self._registry.manifest(repository, tag)) is not None]
        for one in attached:
            # Read already; and copies do not look for what is attached to a signature or to a list.
            self._below.setdefault((repository, one.digest), [child.digest for child in one.children])
        referrers = [referrer.digest for referrer in indexed or ()]
        return [*(child.digest for child in manifest.children), *(one.digest for one in attached), *referrers]
