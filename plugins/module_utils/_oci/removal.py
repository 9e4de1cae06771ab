# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Taking images away from a registry: what recovery points need, and what else hangs on the same manifests."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Denied
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import COSIGN_SUFFIXES
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registry
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_POINT = re.compile(r"^applications/[^/]+/points/([^/]+)\.json$")


def needed(store: Store) -> dict[tuple[str, str], str]:
    """Path and digest of every image that a sealed point in the store names, with one such point.

    Raises :class:`Corrupt` for a point that cannot be read, because nobody knows what it needs.
    """
    found: dict[tuple[str, str], str] = {}
    for entry in store.list("applications/"):
        match = _POINT.match(entry.key)
        if match is None:
            continue
        try:
            for image in json.loads(store.get(entry.key))["images"]:
                found[str(image["path"]), str(image["digest"])] = match.group(1)
        except (ValueError, KeyError, TypeError):
            raise Corrupt(
                "remove",
                "images",
                f"{entry.key} in {store.place} cannot be read, so nobody knows which images it needs",
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
        self._lock = threading.Lock()
        self.refusal = ""

    def remove(self, repository: str, digest: str, others: Iterable[str]) -> bool:
        """Remove an image and what is attached to it, but nothing that one of the ``others`` there needs as well.

        Returns whether something was (or would be) removed; parents go before their children, so that what is visible
        is whole at any moment.
        """
        kept = {manifest for other in others for manifest in self._below(repository, other)}
        going = [manifest for manifest in self._below(repository, digest) if manifest not in kept]
        if not going or self.refusal or not self._write:
            return bool(going) and not self.refusal
        try:
            for manifest in going:
                self._registry.delete_manifest(repository, manifest)
        except Denied as error:
            with self._lock:
                self.refusal = error.reason
            return False
        return True

    def _below(self, repository: str, digest: str) -> Iterator[str]:
        """The digests of a manifest, of those it names and of all that is attached to them."""
        manifest = self._registry.manifest(repository, digest)
        if manifest is None:
            return
        yield manifest.digest
        for child in manifest.children:
            yield from self._below(repository, child.digest)
        for suffix in COSIGN_SUFFIXES:
            attached = self._registry.tag_digest(repository, digest.replace(":", "-") + suffix)
            if attached is not None:
                yield from self._below(repository, attached)
        for referrer in self._registry.referrers(repository, digest):
            yield from self._below(repository, referrer.digest)
        fallback = self._registry.tag_digest(repository, digest.replace(":", "-"))
        if fallback is not None:
            yield fallback
