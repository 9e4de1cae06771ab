# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Copying images between places: whole trees by digest, children before parents, nothing sent twice.

The same walk plans and copies: with ``write`` off it asks the same questions and only counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.blob import Download
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import (
    OCI_INDEX,
    SIGNATURE,
    Descriptor,
    Manifest,
    cosign_tags,
    fallback_tag,
    index,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference, is_remote
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Rejected, Source, Target
from ansible_collections.muster.container_dr.plugins.module_utils._oci.spool import Spool

_MOUNT_CANDIDATES = 3
_LINK_ATTEMPTS = 5


@dataclass
class Tally:
    """What one image's copy moved (or would move).

    ``unsure``: nobody could say whether something is attached to it. ``rooted``: its root was not there before.
    """

    advance: Callable[[int], None] = field(default=lambda _bytes: None, repr=False)
    bytes: int = 0
    blobs: int = 0
    mounted: int = 0
    manifests: int = 0
    tags: int = 0
    attachments: int = 0
    unsure: bool = False
    rooted: bool = False
    notes: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def changed(self) -> bool:
        return bool(self.blobs or self.mounted or self.manifests or self.tags)

    def add(self, *, size: int = 0, blobs: int = 0, mounted: int = 0, manifests: int = 0, tags: int = 0) -> None:
        with self._lock:
            self.bytes += size
            self.blobs += blobs
            self.mounted += mounted
            self.manifests += manifests
            self.tags += tags


@dataclass(frozen=True)
class Route:
    """From which repository to which."""

    source: Source
    source_repository: str
    repository: str

    def origin(self, digest: str) -> str:
        return str(Reference(self.source.host, self.source_repository, digest=digest))


# What is attached to a manifest at the source: by cosign's tags, and as referrers.
_Attachments = tuple[dict[str, Manifest], list[Descriptor]]
_Asked = dict[str, "Future[_Attachments]"]


def names(place: Source, repository: str, tag: str, digest: str) -> bool | None:
    """Whether a tag names that image; ``None`` where there is no such tag.

    Registries tell a tag's digest by their own algorithm, which may be another.
    """
    named = place.tag_digest(repository, tag)
    if named is None:
        return None
    if named == digest or named.partition(":")[0] == digest.partition(":")[0]:
        return named == digest
    manifest = place.manifest(repository, tag)
    return manifest is not None and manifest.is_named(digest)


def keep_tag(digest: str) -> str:
    """The tag that keeps a copy from the registry's garbage collection."""
    return f"muster-{digest.partition(':')[2][:16]}"


class Copier:
    """Copies to one target; remembers in one run what lies there, so that no digest moves twice.

    One that ``yields`` leaves signatures alone that are other ones at the target.
    """

    def __init__(
        self,
        target: Target,
        *,
        workers: int = 4,
        write: bool = True,
        attachments: bool = True,
        platforms: Sequence[str] = (),
        yields: bool = False,
        spool: Spool | None = None,
    ) -> None:
        self._target = target
        self._yields = yields
        self._write = write
        self._attachments = attachments
        self._platforms = platforms
        self._sparse = bool(platforms)
        self._spool = spool
        self._there: dict[str, dict[str, None]] = {}
        # Manifests that this run has put, or in check mode counted; by repository where these are apart.
        self._put: set[tuple[str, str]] = set()
        # Whether the target, asked to mount a blob from the very repository that it is for, says whether it is there.
        self._tells: bool | None = None
        # Whether a blob was there after the target had said that it mounted it.
        self._mounts: bool | None = None
        self._turns: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        # What an image needs has threads of its own, so that layers move side by side, and what is attached is looked
        # for meanwhile. They mostly wait, the more so the farther the registries are.
        self._threads = ThreadPoolExecutor(max_workers=max(1, 2 * workers - 1))

    def finish(self) -> None:
        """Have the target complete what it put off."""
        self._target.finish()

    def close(self) -> None:
        """End the threads; what runs is finished."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def copy(self, route: Route, digest: str, tally: Tally, tags: Sequence[str] = ()) -> Manifest:
        """Make an image and what is attached to it whole at the target; returns its root manifest.

        ``tags`` name it too, in the end.
        """
        asked: _Asked = {}
        try:
            root = self._tree(route, digest, tally, asked if self._attachments else None, tag=keep_tag(digest))
            try:
                self._attached(route, asked, tally, {digest})
            except Unavailable as error:
                if tally.changed or tally.attachments:
                    raise
                # The image is whole and nobody can have signed it anew while its registry is away.
                tally.unsure = True
                tally.notes.append(f"its signatures and referrers could not be looked for: {error.reason}")
        finally:
            _give_up(asked)
        for tag in tags:
            if not names(self._target, route.repository, tag, digest):
                if self._write:
                    self._target.put_manifest(route.repository, tag, root)
                tally.add(tags=1)
        return root

    def holds(self, repository: str, digest: str, tags: Sequence[str] = ()) -> bool:
        """Whether the root is there under its tags: a small request each, which says nothing of what is below."""
        return all(names(self._target, repository, tag, digest) for tag in (keep_tag(digest), *tags))

    # -- trees ------------------------------------------------------------------------------------------------

    def _tree(
        self,
        route: Route,
        digest: str,
        tally: Tally,
        asked: _Asked | None,
        *,
        tag: str | None = None,
        link: bool = True,
        below: bool = True,
        read: Manifest | None = None,
    ) -> Manifest:
        """Everything below a manifest, then the manifest itself, then its tag. What is there already is checked.

        ``asked`` takes what is attached to each manifest on the way, as it is being looked for. With ``link`` a
        manifest with a subject is listed in the subject's fallback tag where that is needed. One that is not ``below``
        anything that is there is not looked for at the target first: it will hardly be there, and sending it again
        costs no more than to ask. What was ``read`` at the source is not asked for there again.
        """
        # Once one look has failed nothing that is attached gets whole: others would only keep the layers waiting.
        if asked is not None and digest not in asked and not any(map(_failed, asked.values())):
            asked[digest] = self._threads.submit(_attachments, route, digest)
        manifest = self._target.manifest(route.repository, tag) if tag else None
        tagged = manifest is not None and manifest.is_named(digest)
        if not tagged:
            if tag is not None and self._write:
                self._target.begin()
            manifest = self._target.manifest(route.repository, digest) if below else None
        found = manifest is not None
        there = found or self._known_as(route.repository, digest) in self._put
        if manifest is None:
            manifest = read or route.source.manifest(route.source_repository, digest)
            if manifest is None and not below:
                return self._tree(route, digest, tally, asked, tag=tag, link=link)
            if manifest is None:
                raise NotFound(
                    "copy",
                    f"manifest {route.origin(digest)}",
                    "the source does not have it (any more)",
                    "Push that image again, or copy it from another place with from.",
                )
        wanted = manifest.serving(self._platforms if self._sparse else (), inner=tag is None)
        waiting: list[Future[None]] = [
            self._threads.submit(self._blob, route, blob, tally, there) for blob in manifest.blobs if not blob.foreign
        ]
        try:
            for child in wanted:
                self._tree(route, child.digest, tally, asked, below=found or self._target.shares_blobs)
        finally:
            _settle(waiting)
        for future in waiting:
            future.result()
        if found and link and manifest.subject:
            # A run that was killed after it had put the manifest has not listed it.
            self._link(route.repository, manifest, tally)
        if there and (tagged or tag is None):
            return manifest
        try:
            self._store(route, manifest, tally, there=there, tag=None if tagged else tag, link=link)
        except Rejected:
            rest = [child for child in manifest.children if child not in wanted]
            if not rest:
                raise
            self._sparse = False
            tally.notes.append(
                f"registry {self._target.host} takes no index of which parts are missing: all platforms were copied"
            )
            for child in rest:
                self._tree(route, child.digest, tally, asked)
            self._store(route, manifest, tally, there=there, tag=None if tagged else tag, link=link)
        return manifest

    def _known_as(self, repository: str, digest: str) -> tuple[str, str]:
        return "" if self._target.shares_blobs else repository, digest

    def _store(
        self, route: Route, manifest: Manifest, tally: Tally, *, there: bool, tag: str | None, link: bool
    ) -> None:
        linked = True
        if self._write:
            # A tag's PUT stores the manifest as well; only other algorithms than the registry's own need both.
            by_digest = not manifest.digest.startswith("sha256:")
            if not there and (tag is None or by_digest):
                linked = self._target.put_manifest(route.repository, manifest.digest, manifest)
            if tag is not None:
                linked = self._target.put_manifest(route.repository, tag, manifest)
        self._put.add(self._known_as(route.repository, manifest.digest))
        if there:
            tally.add(tags=1)
        else:
            tally.rooted = tally.rooted or tag is not None
            tally.add(size=len(manifest.data), manifests=1)
            if manifest.subject and link and self._write and not linked:
                self._link(route.repository, manifest, tally)

    # -- blobs ------------------------------------------------------------------------------------------------

    def _blob(self, route: Route, blob: Descriptor, tally: Tally, named: bool) -> None:
        """Make a blob be there; ``named`` says that a manifest which is there names it."""
        with self._turn(blob.digest):
            places = self._places(blob.digest)
            if route.repository in places or (places and self._target.shares_blobs):
                return
            origins = list(places)
            if route.source is self._target and route.source_repository != route.repository:
                origins.insert(0, route.source_repository)
            if self._mounts is False:
                origins.clear()
            elif not origins and self._tells:
                # One request instead of two: either it is there, or the session for its upload is open.
                origins.append(route.repository)
            # What will hardly be there is not looked for first where mounting it says as much.
            look = named or not origins or not self._write
            if not (look and self._has(route.repository, blob)):
                mounted, session = self._mount(route, blob, origins, tally) if self._write else (False, None)
                told = look or (session is not None and origins == [route.repository])
                if not mounted and (told or not self._has(route.repository, blob)):
                    self._bring(route, blob, tally, session, mountable=bool(origins))
            self._mark(blob.digest, route.repository)

    def _has(self, repository: str, blob: Descriptor) -> bool:
        return self._target.blob_size(repository, blob.digest) in (-1, blob.size)

    def _mount(self, route: Route, blob: Descriptor, origins: list[str], tally: Tally) -> tuple[bool, str | None]:
        """Link a blob from one of the target's repositories; else the upload session that was offered instead."""
        for origin in origins[:_MOUNT_CANDIDATES]:
            mounted, session = self._target.mount(route.repository, blob.digest, origin)
            itself = origin == route.repository
            # A registry may say so whatever is there, and take manifests whose blobs are missing.
            if mounted and itself:
                self._tells = mounted = self._has(route.repository, blob)
            elif mounted and not self._mounts:
                self._mounts = mounted = self._has(route.repository, blob)
            if mounted and not itself:
                tally.add(mounted=1)
                if self._tells is None:
                    self._tells, _session = self._target.mount(route.repository, blob.digest, route.repository)
            if mounted:
                return True, None
            if session is not None:
                return False, session
        return False, None

    def _bring(self, route: Route, blob: Descriptor, tally: Tally, session: str | None, *, mountable: bool) -> None:
        if not self._write:
            tally.add(mounted=1) if mountable else tally.add(size=blob.size, blobs=1)
            return
        # What lies on this machine already need not be put by here.
        spool = self._spool if is_remote(route.source.host) else None
        for last in (False, True):
            try:
                with closing(Download(route.source, route.source_repository, blob, spool)) as download:
                    sent = self._target.receive(route.repository, blob, download, tally.advance, session)
            except Corrupt:
                # One more chance: bytes may have been hurt on the way. The session is lost with them.
                if last:
                    raise
                session = None
                continue
            tally.add(size=sent, blobs=1)
            return

    def _places(self, digest: str) -> dict[str, None]:
        return self._there.get(digest, {})

    def _mark(self, digest: str, repository: str) -> None:
        with self._lock:
            self._there.setdefault(digest, {})[repository] = None

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            yield

    # -- what is attached -------------------------------------------------------------------------------------

    def _attached(self, route: Route, asked: _Asked, tally: Tally, seen: set[str]) -> None:
        """Signatures, attestations, SBOMs by cosign's tags, and referrers, with what is attached to them in turn."""
        for digest, answer in asked.items():
            tags, referrers = answer.result()
            self._attach_tagged(route, tags, tally, seen)
            self._attach_referrers(route, digest, referrers, tally, seen)

    def _attach_tagged(self, route: Route, tags: Mapping[str, Manifest], tally: Tally, seen: set[str]) -> None:
        for tag, attached in tags.items():
            there = self._target.tag_digest(route.repository, tag)
            if self._yields and there not in (None, attached.digest):
                tally.notes.append(f"tag {tag} is another one there and stays")
                continue
            if there != attached.digest and self._write:
                self._target.begin()
            # An SBOM may be signed, a signature is not.
            deeper = not tag.endswith(SIGNATURE)
            self._attach(route, attached.digest, tally, seen, link=True, read=attached, deeper=deeper)
            if there != attached.digest:
                if self._write:
                    self._target.put_manifest(route.repository, tag, attached)
                tally.add(tags=1)

    def _attach_referrers(
        self, route: Route, digest: str, referrers: Sequence[Descriptor], tally: Tally, seen: set[str]
    ) -> None:
        known = {item.digest for item in self._target.referrers(route.repository, digest)} if referrers else set()
        for referrer in referrers:
            if referrer.digest not in known and not route.source.has_manifest(route.source_repository, referrer.digest):
                tally.notes.append(f"referrer {referrer.digest} is listed at the source and not there")
                continue
            if referrer.digest not in known and self._write:
                self._target.begin()
            manifest = self._attach(route, referrer.digest, tally, seen, link=False)
            if referrer.digest not in known and not self._target.has_referrers_api(route.repository):
                self._link(route.repository, manifest, tally, referrer, digest)

    def _attach(
        self,
        route: Route,
        digest: str,
        tally: Tally,
        seen: set[str],
        *,
        link: bool,
        read: Manifest | None = None,
        deeper: bool = True,
    ) -> Manifest:
        """Copy what is attached to something, and with ``deeper`` what is attached to that and to its children."""
        tally.attachments += 1
        asked: _Asked = {}
        try:
            look = deeper and digest not in seen
            seen.add(digest)
            manifest = self._tree(route, digest, tally, asked if look else None, link=link, read=read)
            self._attached(route, asked, tally, seen)
        finally:
            _give_up(asked)
        return manifest

    def _link(
        self,
        repository: str,
        manifest: Manifest,
        tally: Tally,
        descriptor: Descriptor | None = None,
        subject: str | None = None,
    ) -> None:
        """Add a referrer to the fallback tag of its subject, for registries without the API."""
        subject = subject or manifest.subject or ""
        tag = fallback_tag(subject)
        with self._turn(f"{repository} {tag}"):
            self._target.referrers(repository, subject)
            if self._target.has_referrers_api(repository):
                return
            for attempt in range(_LINK_ATTEMPTS):
                present = self._target.manifest(repository, tag)
                listed = [child.document for child in present.children] if present else []
                if any(item.get("digest") == manifest.digest for item in listed):
                    return
                if not attempt:
                    tally.add(tags=1)
                if not self._write:
                    return
                data = index([*listed, descriptor.document if descriptor else manifest.as_referrer()])
                fresh = Manifest.parse(data, OCI_INDEX, f"tag {tag}")
                # Others may write the list between our reading and our writing: it is read again until we are in it.
                with suppress(Conflict):
                    self._target.put_manifest(repository, tag, fresh, replaces=present)
            raise Conflict(
                "list",
                f"referrer {manifest.digest} in tag {tag} of {self._target.host}/{repository}",
                "others write that tag all the time",
                "Try again when nothing else signs or copies this image.",
            )


def _attachments(route: Route, digest: str) -> _Attachments:
    tagged = {tag: route.source.manifest(route.source_repository, tag) for tag in cosign_tags(digest)}
    found = {tag: manifest for tag, manifest in tagged.items() if manifest is not None}
    return found, route.source.referrers(route.source_repository, digest)


def _failed(answer: Future[Any]) -> bool:
    return answer.done() and answer.exception() is not None


def _give_up(asked: _Asked) -> None:
    """Wait for what is being looked for; what has not begun is of no use any more."""
    _settle([answer for answer in asked.values() if not answer.cancel()])


def _settle(waiting: Iterable[Future[Any]]) -> None:
    """Wait until all have ended, so that nothing of a failed image still moves while its error is told."""
    for future in waiting:
        future.exception()
