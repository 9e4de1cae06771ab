# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a place has all that an image names: by existence and size, or by reading every byte back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Incomplete, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._oci.blob import Download
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Source

Advance = Callable[[int], None]


class Wholeness:
    """Looks at images, one after the other or many at once; with ``read`` each blob of a place is read once."""

    def __init__(self, *, read: bool = False) -> None:
        self._read = read
        self._found: dict[tuple[str, str], Future[str]] = {}
        self._lock = threading.Lock()

    def check(
        self, place: Source, repository: str, digest: str, platforms: Sequence[str] = (), advance: Advance | None = None
    ) -> None:
        """Raise :class:`Incomplete` where an image, for these platforms or for all, is not whole.

        It names what is missing or damaged. ``advance`` is told the bytes of each blob that was read.
        """
        # Images of one index share layers; each is named once.
        found = dict.fromkeys(self._below(place, repository, digest, platforms, advance or (lambda _count: None)))
        missing = [text for there, text in found if not there]
        damaged = [text for there, text in found if there]
        if not missing and not damaged:
            return
        image = f"image {Reference(place.host, repository, digest=digest)}"
        if missing:
            raise Incomplete(
                "verify",
                image,
                f"{place.host} does not have {_named(missing + damaged)}",
                "Copy the image there again.",
            )
        raise Incomplete(
            "verify",
            image,
            f"{place.host} has {_named(damaged)}",
            "Remove what is damaged there (from a registry: the image, and then let it collect its garbage), and copy "
            "the image again.",
        )

    def _below(
        self,
        place: Source,
        repository: str,
        digest: str,
        platforms: Sequence[str],
        advance: Advance,
        *,
        inner: bool = False,
    ) -> Iterator[tuple[bool, str]]:
        """What is not whole of an image; true for what is there with other bytes."""
        try:
            manifest = place.manifest(repository, digest)
        except Corrupt as error:
            yield True, f"a damaged manifest {digest} ({error.reason})"
            return
        if manifest is None:
            yield False, f"manifest {digest}"
            return
        for child in manifest.serving(platforms, inner=inner):
            yield from self._below(place, repository, child.digest, platforms, advance, inner=True)
        for blob in manifest.blobs:
            if blob.foreign:
                continue
            name = f"{'configuration' if blob == manifest.config else 'layer'} {blob.digest}"
            size = place.blob_size(repository, blob.digest)
            if size is None:
                yield False, name
            elif size not in (-1, blob.size):
                yield False, f"{name} ({size} of {blob.size} bytes)"
            elif self._read:
                damage = self._damage(place, repository, blob)
                if damage:
                    yield True, f"a damaged {name} ({damage})"
                advance(blob.size)

    def _damage(self, place: Source, repository: str, blob: Descriptor) -> str:
        """What is wrong with a blob's bytes; who asks for one that is just being read waits for the answer."""
        with self._lock:
            key = (place.host, blob.digest)
            mine = key not in self._found
            answer = self._found.setdefault(key, Future())
        if mine:
            try:
                answer.set_result(_read(place, repository, blob))
            except Exception as error:  # told to all who wait for it
                answer.set_exception(error)
        return answer.result()


def _read(place: Source, repository: str, blob: Descriptor) -> str:
    try:
        for _chunk in Download(place, repository, blob).chunks():
            pass
    except (Corrupt, NotFound) as error:
        return error.reason
    return ""


def _named(found: Sequence[str]) -> str:
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
