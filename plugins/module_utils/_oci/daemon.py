# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Docker daemon as a source of images that no registry has."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import ExitStack, closing
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import Engine
from ansible_collections.muster.container_dr.plugins.module_utils._oci.archive import DockerArchive, TarFiles
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor, Manifest
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import is_digest
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable


class Daemon:
    """Images of a daemon, by name or by id, each exported once to a file without a name."""

    def __init__(self, host: str, engine: Engine) -> None:
        self.host = host
        self._engine = engine
        self._held = ExitStack()
        self._exports: dict[str, DockerArchive] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove the files."""
        self._held.close()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest of an image: the one that is made for it, by tag or digest, or its own, where Docker has kept it.

        An image without a name has its id as the ``repository``; any tag then means it.
        """
        if reference.startswith("sha256-"):
            # The tags of what is attached to an image; Docker keeps only images.
            return None
        if is_digest(repository):
            archive = self._export(repository)
            return archive.manifest("", reference if ":" in reference else "latest") if archive else None
        if ":" not in reference:
            archive = self._export(f"{repository}:{reference}")
            return archive.manifest("", "latest") if archive else None
        for archive in list(self._exports.values()):
            if archive.has_manifest(repository, reference):
                return archive.manifest(repository, reference)
        archive = self._export(repository)
        return archive.manifest(repository, reference) if archive else None

    def tag_digest(self, repository: str, tag: str) -> str | None:
        """The digest that the image gets."""
        manifest = self.manifest(repository, tag)
        return manifest.digest if manifest else None

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether an image of that name gets this digest."""
        return self.manifest(repository, digest) is not None

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """None: Docker keeps only images."""
        return []

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a configuration or layer in bytes, of what was exported."""
        archive = self._with(digest)
        return archive.blob_size(repository, digest) if archive else None

    def open_blob(self, repository: str, digest: str, offset: int = 0) -> Readable:
        """A blob's bytes from ``offset`` on."""
        archive = self._with(digest)
        if archive is None:
            raise NotFound("read", f"blob {digest} of {self.host}", "no image that was exported has it")
        return archive.open_blob(repository, digest, offset)

    def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob as a whole."""
        archive = self._with(digest)
        if archive is None:
            raise NotFound("read", f"blob {digest} of {self.host}", "no image that was exported has it")
        return archive.read_blob(repository, digest)

    def _with(self, digest: str) -> DockerArchive | None:
        found = (one for one in list(self._exports.values()) if one.blob_size("", digest) is not None)
        return next(found, None)

    def _export(self, name: str) -> DockerArchive | None:
        """What ``docker save NAME`` writes; without a tag that is every image of a repository."""
        with self._lock:
            if name not in self._exports:
                chunks = self._engine.export(name)
                if chunks is None:
                    return None
                handle, path = tempfile.mkstemp(prefix="muster-image-")
                Path(path).unlink()
                spool = self._held.enter_context(os.fdopen(handle, "w+b"))
                try:
                    with closing(chunks):
                        for chunk in chunks:
                            spool.write(chunk)
                    spool.flush()
                except OSError as error:
                    target = f"image {name} to {tempfile.gettempdir()}"
                    raise Unavailable("export", target, str(error), "Set TMPDIR to a place with room.") from None
                self._exports[name] = DockerArchive(self.host, TarFiles(f"image {name} of {self.host}", spool))
            return self._exports[name]
