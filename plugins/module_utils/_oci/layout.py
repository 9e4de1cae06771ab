# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An OCI image layout (image-spec 1.1) as a place that has images: in a directory, below an S3 prefix, in an archive.

Blobs are shared by all repositories. An index names what has a tag by ``<repository>:<tag>``, as other tools read it;
everything else is found by its digest, and referrers by the fallback tag of their subject or by being listed there.

There is one index for all, ``index.json``, and one for each recovery point that was named, ``points/ID/index.json``.
Runs that copy different points write different files, and a point goes with its file.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import (
    OCI_INDEX,
    Descriptor,
    Manifest,
    cosign_tags,
    digest_of,
    fallback_tag,
    index,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Chunks
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import (
    BODY_LIMIT,
    BREAKS,
    backoff,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.turns import LEFT_BEHIND, Turn
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import S3, ConditionsUnsupported
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable, Store

REF_NAME = "org.opencontainers.image.ref.name"
# What containerd and BuildKit write: the full name, where REF_NAME is the tag alone.
_FULL_NAME = "io.containerd.image.name"
_MARKER = "oci-layout"
_INDEX = "index.json"
_VERSION = "1.0.0"
_OF_POINT = re.compile(rf"^points/[^/]+/{re.escape(_INDEX)}$")
_POINT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
_ATTEMPTS = 30
# Blobs whose sizes one listing of a bucket says.
_FEW = 1000
_WORKERS = 8
# Seconds from one writing of the index to the next.
_PAUSE = 2.0
_FALLBACK_TAG = re.compile(r":sha(256|384|512)-[0-9a-f]+$")
_DIGEST = re.compile(r"^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$")

JSON = dict[str, Any]


def folder_of(point: str) -> str:
    """The folder of a point's index, ``points/ID/``; empty without a point. Raises :class:`InvalidInput`."""
    if point and not _POINT_ID.match(point):
        raise InvalidInput("use", f"point {point!r}", "it is not the id of a recovery point", "Correct point.")
    return f"points/{point}/" if point else ""


def indexes(store: Store) -> list[str]:
    """Every index of a layout: those of points, the newest first, as their ids begin with the time, then its own."""
    try:
        keys = [entry.key for entry in store.list("points/")]
    except Unavailable:
        # It may only be busy; listings are not repeated as patiently as reads are.
        time.sleep(backoff(1))
        keys = [entry.key for entry in store.list("points/")]
    return [*sorted(filter(_OF_POINT.match, keys), reverse=True), _INDEX]


def indexed(store: Store, keys: Sequence[str]) -> Iterator[list[JSON]]:
    """What each of these indexes names, some of them read at a time."""
    for batch in (keys[at : at + _WORKERS] for at in range(0, len(keys), _WORKERS)):
        read = pool.values(pool.each(batch, lambda key: read_small(store, key), workers=_WORKERS))
        for key, data in zip(batch, read, strict=True):
            yield entries_of(data, f"{key} in {store.place}")


def entries_of(data: bytes | None, where: str) -> list[JSON]:
    """What an index names; nothing where it is not there. Raises :class:`Corrupt`."""
    found: list[JSON] = _document(data, where)["manifests"]
    return found


class Files(Protocol):
    """What a layout is read from: the objects of a store, the members of an archive."""

    place: str

    def size(self, key: str) -> int | None: ...

    def open(self, key: str, offset: int = 0) -> Readable: ...


def blob_key(digest: str) -> str:
    """Where a layout keeps a blob. Raises :class:`Corrupt` for a digest that is none, such as one that is a path."""
    if not _DIGEST.match(digest):
        raise Corrupt("look for", f"blob {digest!r}", "that is no digest", "What names it is damaged.")
    return "blobs/" + digest.replace(":", "/")


def read_small(files: Files, key: str) -> bytes | None:
    """A document's bytes; ``None`` where it is not there. A read whose connection breaks is repeated."""
    breaks = 0
    while True:
        try:
            return _read_once(files, key)
        except ConnectionError as error:
            breaks += 1
            if breaks >= BREAKS:
                raise Unavailable(
                    "read",
                    f"{key} in {files.place}",
                    f"the read broke {breaks} times: {error}",
                    "Check the network to it and its log, then try again.",
                ) from None
        except OSError as error:
            raise Unavailable("read", f"{key} in {files.place}", str(error)) from None
        time.sleep(backoff(breaks))


def _read_once(files: Files, key: str) -> bytes | None:
    try:
        stream = files.open(key)
    except NotFound as error:
        # A bucket or a directory that is missing is more than a file that is not there.
        if error.__class__ is not NotFound:
            raise
        return None
    try:
        data = b""
        while part := stream.read(BODY_LIMIT + 1 - len(data)):
            data += part
    finally:
        stream.close()
    if len(data) > BODY_LIMIT:
        raise Corrupt("read", f"{key} in {files.place}", f"it is larger than {BODY_LIMIT} bytes")
    return data


class ReadOnlyLayout:
    """A layout with one index, as a source."""

    def __init__(self, host: str, files: Files, folder: str = "") -> None:
        self.host = host
        self._files = files
        self.key = folder + _INDEX
        self._lock = threading.Lock()
        self._listed: tuple[list[JSON], dict[str, JSON]] | None = None
        self._artifacts: dict[str, Manifest | None] = {}

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest. One whose bytes are not what its digest says is none: a copy replaces it."""
        self._index()
        entry: JSON = {"digest": reference} if ":" in reference else self._named(repository, reference)
        if not entry:
            return None
        digest = str(entry.get("digest"))
        data = self._read(digest)
        if data is None or digest_of(data, digest) != digest:
            return None
        return Manifest.parse(data, str(entry.get("mediaType", "")), f"manifest {digest} in {self.host}", digest)

    def _read(self, digest: str) -> bytes | None:
        return read_small(self._files, blob_key(digest))

    def tag_digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag names."""
        digest = self._named(repository, tag).get("digest")
        return str(digest) if digest else None

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the blob is there."""
        return self.blob_size(repository, digest) is not None

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """What the subject's fallback tag lists, and what other tools have put into the index without a tag."""
        fallback = self.manifest(repository, fallback_tag(digest))
        found = {child.digest: child for child in (fallback.children if fallback else ())}
        for entry in self._index()[0]:
            # Everything would have to be read to find a subject; artifacts with a tag are marked by their type.
            if _names(entry) and not entry.get("artifactType"):
                continue
            own = str(entry.get("digest"))
            if own not in self._artifacts:
                self._artifacts[own] = self._readable(repository, own) if _DIGEST.match(own) else None
            manifest = self._artifacts[own]
            if manifest is not None and manifest.subject == digest:
                listed = Manifest.parse(index([manifest.as_referrer()]), OCI_INDEX, self.host)
                found.setdefault(manifest.digest, listed.children[0])
        return list(found.values())

    def _readable(self, repository: str, digest: str) -> Manifest | None:
        """A manifest of somebody else's; what cannot be made sense of refers to nothing."""
        try:
            return self.manifest(repository, digest)
        except (Corrupt, InvalidInput):
            return None

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a blob's file in bytes."""
        return self._files.size(blob_key(digest))

    def open_blob(self, repository: str, digest: str, offset: int = 0) -> Readable:
        """A blob's bytes from ``offset`` on."""
        return self._files.open(blob_key(digest), offset)

    def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob as a whole."""
        data = read_small(self._files, blob_key(digest))
        if data is None:
            raise NotFound("read", f"blob {Reference(self.host, repository, digest=digest)}", "it is not there")
        return data

    def _named(self, repository: str, tag: str) -> JSON:
        """The index' entry for a tag; empty where there is none."""
        entries, names = self._index()
        if not repository and tag == "latest" and len({str(entry.get("digest")) for entry in entries}) == 1:
            return entries[0]
        wanted = [f"{repository}:{tag}"]
        if tag == "latest":
            wanted.append(repository)
        if tag.startswith(("sha256-", "sha384-", "sha512-")):
            # Layouts of other tools hold one repository, whose name they do not write. Such a tag says what it is.
            wanted.append(tag)
        return next((names[name] for name in wanted if name in names), {})

    def _index(self) -> tuple[list[JSON], dict[str, JSON]]:
        """The entries of the index, and those with a name by it; read once."""
        with self._lock:
            if self._listed is None:
                self._listed = _listing(self._entries())
            return self._listed

    def _entries(self) -> list[JSON]:
        data = read_small(self._files, self.key)
        if data is None:
            self._without_index()
        return entries_of(data, f"{self.key} in {self._files.place}")

    def _without_index(self) -> None:
        """There is no index."""
        raise Corrupt("read", f"layout {self._files.place}", f"it has no {_INDEX}", "Name an OCI image layout.")


class StoredLayout(ReadOnlyLayout):
    """A layout in a store as a source: one point where that has an index, else all that any index names.

    Of a name that several have the newest point's counts.
    """

    def __init__(self, host: str, store: Store, point: str = "") -> None:
        super().__init__(host, store, folder_of(point))
        self._store = store
        self._point = point

    def _entries(self) -> list[JSON]:
        own = read_small(self._store, self.key) if self._point else None
        if own is not None:
            return entries_of(own, f"{self.key} in {self._store.place}")
        found: dict[tuple[str, ...], JSON] = {}
        for entries in indexed(self._store, indexes(self._store)):
            # Points have most of their images in common.
            for entry in entries:
                found.setdefault((str(entry.get("digest")), *_names(entry)), entry)
        return list(found.values())


class Layout(ReadOnlyLayout):
    """A layout in a store as a target: its own index, or that of one point. Other runs may write at the same time."""

    shares_blobs = True

    def __init__(self, host: str, store: Store, point: str = "") -> None:
        super().__init__(host, store, folder_of(point))
        self.store = store
        self.marker = folder_of(point) + _MARKER
        self._turn = Turn(store)
        self._others: Iterator[list[JSON]] | None = None
        self._looked_at: list[dict[str, JSON]] = []
        self._looking = threading.Lock()
        self._marked = False
        self._sizes: dict[str, int] | None = None
        self._pending: dict[str, JSON] = {}
        self._due = 0.0
        self._writing = threading.Lock()

    def has_referrers_api(self, repository: str) -> bool:
        """Never: a layout lists referrers in the fallback tag."""
        return False

    def put_manifest(
        self, repository: str, reference: str, manifest: Manifest, *, replaces: Manifest | None = None
    ) -> bool:
        """Write a manifest and, for a tag, its entry in the index."""
        if replaces is not None and self.tag_digest(repository, reference) != replaces.digest:
            raise Conflict("write", f"tag {reference} of {self.host}:{repository}", "somebody else has changed it")
        self.begin()
        # By its digest a manifest is put only where it was not found.
        if ":" in reference or self.manifest(repository, manifest.digest) is None:
            self._put(manifest.digest, manifest.data)
        if ":" not in reference:
            name = f"{repository}:{reference}"
            self._enter(name, {**manifest.descriptor, "annotations": {REF_NAME: name}})
        return False

    def mount(self, repository: str, digest: str, origin: str) -> tuple[bool, str | None]:
        """Nothing to do: what one repository has, all have."""
        return False, None

    def receive(
        self,
        repository: str,
        blob: Descriptor,
        download: Chunks,
        advance: Callable[[int], None],
        session: str | None = None,
    ) -> int:
        """Write a blob; it gets its name when all of its bytes proved right."""
        self.begin()

        def counted() -> Iterator[bytes]:
            for chunk in download.chunks():
                yield chunk
                advance(len(chunk))

        self.store.write(blob_key(blob.digest), counted())
        self._wrote(blob.digest, blob.size)
        return blob.size

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a blob's file in bytes."""
        return super().blob_size(repository, digest) if self._sizes is None else self._sizes.get(blob_key(digest))

    def _read(self, digest: str) -> bytes | None:
        return super()._read(digest) if self._sizes is None or blob_key(digest) in self._sizes else None

    def _put(self, digest: str, data: bytes) -> None:
        self.store.put(blob_key(digest), data)
        self._wrote(digest, len(data))

    def _wrote(self, digest: str, size: int) -> None:
        if self._sizes is not None:
            self._sizes[blob_key(digest)] = size

    def adopt(self, repository: str, digest: str, tags: Sequence[str], *, write: bool) -> bool:
        """Name an image by ``tags`` that another index here names by the first of them, with what is attached to it.

        False where none does. That all of it is there is for the caller to know.
        """
        if write:
            self.begin()
        names = self._beside(f"{repository}:{tags[0]}", digest)
        root = self.manifest(repository, digest) if names else None
        if names is None or root is None:
            return False
        found: dict[str, JSON] = {}
        seen, waiting = {digest}, [root]
        while waiting:
            manifest = waiting.pop()
            for one in (manifest.digest, *(child.digest for child in manifest.children if not child.is_index)):
                for tag in (fallback_tag(one), *cosign_tags(one)):
                    name = f"{repository}:{tag}"
                    if name in names:
                        found[name] = names[name]
            nested = [child.digest for child in manifest.children if child.is_index]
            nested += [str(entry["digest"]) for name, entry in found.items() if _FALLBACK_TAG.search(name)]
            fresh = dict.fromkeys(one for one in nested if one not in seen)
            seen.update(fresh)
            waiting += [below for one in fresh if (below := self.manifest(repository, one)) is not None]
        for name in (*found, *(f"{repository}:{tag}" for tag in tags)) if write else ():
            entry = found.get(name) or root.descriptor
            named: JSON = {key: entry[key] for key in ("mediaType", "digest", "size") if key in entry}
            self._enter(name, {**named, "annotations": {REF_NAME: name}})
        return True

    def _beside(self, name: str, digest: str) -> dict[str, JSON] | None:
        """What the newest other index that has this name for that digest names."""
        with self._looking:
            if self._others is None:
                self._others = indexed(self.store, [key for key in indexes(self.store) if key != self.key])
            for names in self._looked_at:
                if names.get(name, {}).get("digest") == digest:
                    return names
            for entries in self._others:
                self._looked_at.append(_listing(entries)[1])
                if self._looked_at[-1].get(name, {}).get("digest") == digest:
                    return self._looked_at[-1]
        return None

    def begin(self) -> None:
        """Say that this is a layout, refuse one of another version, and from now on let nothing be taken away."""
        if not self._marked:
            with self._writing:
                self._prepare()
        else:
            self._turn.renew()

    def _prepare(self) -> None:
        if self._marked:
            return
        for key in dict.fromkeys((_MARKER, self.marker)):
            data = read_small(self.store, key)
            if data is None:
                self.store.put(key, json.dumps({"imageLayoutVersion": _VERSION}).encode())
            elif _VERSION.encode() not in data:
                raise Refused(
                    "write to",
                    f"layout {self.store.place}",
                    f"its {key} does not say version {_VERSION}",
                    "Use another place.",
                )
        self._turn.copy()
        self.store.tidy("blobs/", LEFT_BEHIND)
        # One listing instead of a question for each blob, while they are few: for a new place most of all.
        if isinstance(self.store, S3):
            listed = list(itertools.islice(self.store.list("blobs/"), _FEW))
            self._sizes = {blob.key: blob.size for blob in listed} if len(listed) < _FEW else None
        self._marked = True

    def _without_index(self) -> None:
        # Nothing was written here yet, but a directory that is missing may be one that is not mounted.
        self.store.probe()

    def finish(self) -> None:
        """Write the names that still wait for it into the index, and let others take away again."""
        try:
            self._write_names()
        finally:
            self._turn.end()
            self._marked, self._sizes = False, None

    def _write_names(self) -> None:
        with self._writing:
            with self._lock:
                batch = dict(self._pending)
            if batch:
                self._merge(batch)
            with self._lock:
                self._pending = {name: entry for name, entry in self._pending.items() if batch.get(name) is not entry}
                self._due = time.monotonic() + _PAUSE

    def _named(self, repository: str, tag: str) -> JSON:
        with self._lock:
            waiting = self._pending.get(f"{repository}:{tag}")
        return waiting or super()._named(repository, tag)

    def _enter(self, name: str, entry: JSON) -> None:
        """Have an entry put into the index. It is one file, so names gather for a while until it is written anew."""
        with self._lock:
            self._pending[name] = entry
            due = time.monotonic() >= self._due
        if due:
            self._write_names()

    def _merge(self, batch: Mapping[str, JSON]) -> None:
        where = f"{self.key} in {self.store.place}"
        for attempt in range(_ATTEMPTS):
            stored = self.store.peek(self.key)
            document = _document(stored.data if stored else None, where)
            fresh, merged = dict(batch), []
            for entry in document["manifests"]:
                name = _annotations(entry).get(REF_NAME)
                if name in fresh:
                    merged.append(self._united(name, fresh.pop(name), entry))
                elif name not in batch:
                    merged.append(entry)
            document = {**document, "manifests": [*merged, *fresh.values()]}
            data = json.dumps(document, separators=(",", ":")).encode()
            try:
                if stored is None:
                    self.store.create(self.key, data)
                else:
                    self.store.swap(self.key, data, stored.version)
            except ConditionsUnsupported:
                self.store.put(self.key, data)
            except Conflict:
                time.sleep(random.uniform(0.0, 0.02 * (attempt + 1)))
                continue
            with self._lock:
                self._listed = _listing(document["manifests"])
            return
        raise Conflict(
            "write",
            where,
            f"others changed it {_ATTEMPTS} times in between",
            "Try again when they are done.",
        )

    def _united(self, name: str, ours: JSON, stored: JSON) -> JSON:
        """Our entry for a name. That of a list of referrers has those that another run has listed meanwhile, too."""
        lists = _FALLBACK_TAG.search(name) and ours["mediaType"] == stored.get("mediaType") == OCI_INDEX
        if not lists or ours["digest"] == stored.get("digest"):
            return ours
        if self._sizes is not None and _DIGEST.match(str(stored.get("digest"))):
            # Another run may have written it after we had listed the blobs.
            self._sizes.setdefault(blob_key(str(stored["digest"])), -1)
        fresh, before = (self._readable("", str(entry.get("digest"))) for entry in (ours, stored))
        listed = {child.digest: child.document for child in (before.children if before else ())}
        added = {child.digest: child.document for child in (fresh.children if fresh else ())}
        if listed.keys() <= added.keys():
            return ours
        data = index(list({**listed, **added}.values()))
        digest = digest_of(data)
        self._put(digest, data)
        return {**ours, "digest": digest, "size": len(data)}


def _document(data: bytes | None, where: str) -> JSON:
    if data is None:
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    try:
        document = json.loads(data)
        good = all(isinstance(entry, dict) for entry in document["manifests"])
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise Corrupt("read", where, "it is no index of images", "Restore it, or move it away.")
    result: JSON = document
    return result


def _listing(entries: list[JSON]) -> tuple[list[JSON], dict[str, JSON]]:
    """The entries of an index, and those with a name by it."""
    names: dict[str, JSON] = {}
    for entry in entries:
        for name in _names(entry):
            names.setdefault(name, entry)
    return entries, names


def _annotations(entry: JSON) -> Mapping[str, Any]:
    found = entry.get("annotations")
    return found if isinstance(found, dict) else {}


def _names(entry: JSON) -> Iterable[str]:
    """The names that an entry of the index has."""
    found = _annotations(entry)
    return [str(found[key]) for key in (REF_NAME, _FULL_NAME) if found.get(key)]
