# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Docker daemon as a source of images that no registry has; the only file that knows its SDK."""

from __future__ import annotations

import os
import tempfile
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._oci.archive import DockerArchive, TarFiles
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Descriptor, Manifest
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Readable

try:
    import docker
    import docker.errors

    DOCKER_IMPORT_ERROR: str | None = None
except ImportError:
    DOCKER_IMPORT_ERROR = traceback.format_exc()

if TYPE_CHECKING:
    from docker import DockerClient

REQUIREMENT = Requirement("docker", DOCKER_IMPORT_ERROR)


# Seconds: the daemon prepares all of an image before it sends the first byte.
_TIMEOUT = 3600


class Daemon:
    """Images of the daemon that ``DOCKER_HOST`` names, each exported once to a file without a name."""

    def __init__(self, host: str) -> None:
        self.host = host
        if REQUIREMENT.import_error is not None:
            raise NotFound("use", host, missing_required_lib(REQUIREMENT.package))
        self._held = ExitStack()
        self._client: DockerClient | None = None
        self._exports: dict[str, DockerArchive] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove the files and close the connection."""
        self._held.close()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest that is made for an image of the daemon, by its tag, or by the digest that it got so."""
        if reference.startswith("sha256-"):
            # The tags of what is attached to an image; Docker keeps only images.
            return None
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
                handle, path = tempfile.mkstemp(prefix="muster-image-")
                Path(path).unlink()
                spool = self._held.enter_context(os.fdopen(handle, "w+b"))
                try:
                    if self._client is None:
                        self._client = docker.from_env(timeout=_TIMEOUT)
                        self._held.callback(self._client.close)
                    for chunk in self._client.api.get_image(name):
                        spool.write(chunk)
                except docker.errors.NotFound:
                    return None
                except (docker.errors.DockerException, OSError) as error:
                    raise Unavailable(
                        "export",
                        f"image {name} from Docker",
                        str(error),
                        "Check that Docker runs, DOCKER_HOST, the rights on its socket, and the space in TMPDIR.",
                    ) from None
                self._exports[name] = DockerArchive(self.host, TarFiles(f"image {name} of {self.host}", spool))
            return self._exports[name]
