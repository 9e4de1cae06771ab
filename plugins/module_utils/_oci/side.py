# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The two sides of a copy: what the engine asks of any place that has images, and of one that takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol, runtime_checkable

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor, Manifest
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable


class Rejected(Unavailable):
    """A place does not take a manifest as it is, for example because something that it names is missing."""


class Source(Protocol):
    """A place that has images, by repository and by tag or digest; safe to call from many threads."""

    host: str
    """Its name, for people and in references."""

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest with its bytes checked; ``None`` where it is not there."""

    def tag_digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag names now; ``None`` where there is no such tag."""

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the manifest of that digest is there, its blobs aside."""

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """What refers to a manifest."""

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a blob in bytes (-1: not said); ``None`` where it is not there."""

    def open_blob(self, repository: str, digest: str, offset: int = 0) -> Readable:
        """A blob's bytes from ``offset`` on."""

    def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob as a whole, such as a configuration."""


class Chunks(Protocol):
    """A blob on its way; the last chunk is handed out only after all of its bytes proved right."""

    def chunks(self, start: int = 0) -> Generator[bytes, None, None]:
        """The bytes from ``start`` to the end."""

    def gather(self, start: int) -> None:
        """Prepare for an upload that is repeated from ``start``."""


@runtime_checkable
class Target(Source, Protocol):
    """A place that takes images too."""

    shares_blobs: bool
    """Whether what one repository has, all have."""

    def begin(self) -> None:
        """To be called before it is asked for what is then relied on without being sent."""

    def has_referrers_api(self, repository: str) -> bool:
        """Whether it finds referrers by their subject; if not they are listed in the subject's fallback tag."""

    def put_manifest(
        self, repository: str, reference: str, manifest: Manifest, *, replaces: Manifest | None = None
    ) -> bool:
        """Store a manifest's bytes under a tag or its digest; true where it was indexed as a referrer.

        With ``replaces`` only where the tag still names that, as far as the place can tell: else :class:`Conflict`.
        """

    def mount(self, repository: str, digest: str, origin: str) -> tuple[bool, str | None]:
        """Make a blob of another repository visible in this one; else ``False`` and what helps to receive it."""

    def receive(
        self,
        repository: str,
        blob: Descriptor,
        download: Chunks,
        advance: Callable[[int], None],
        session: str | None = None,
    ) -> int:
        """Store one blob and return how many bytes were sent, repeats included; ``session`` is from :meth:`mount`."""

    def finish(self) -> None:
        """Complete what was put off; to be called at the end."""


class Elsewhere(Protocol):
    """Opens the places that are no registries."""

    def open(self, host: str) -> Source | None:
        """The place of that name; ``None`` where it is a registry's."""

    def target(self, host: str) -> Target | None:
        """The same place to be written to; ``None`` where it is a registry's or can only be read."""

    def close(self) -> None: ...
