# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Names of images and of the places that have them: registries, layouts, archives, a Docker daemon."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

DOCKER_HUB = "docker.io"
DOCKER_DAEMON = "docker-daemon:"
_DIGEST = re.compile(r"^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}$")
_REPOSITORY = re.compile(r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
_HOST = re.compile(r"^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::\d{1,5})?$")
# A place that is no registry, and after a colon what is named in it. There may be no colon in the place's own path.
_ELSEWHERE = re.compile(
    r"^(oci:/[^/:@][^:@]*|(?:oci|docker)-archive:/[^:@]+|s3:(?://|https?://[^/@]+/)[^/:@][^:@]*|docker-daemon:)(?::?(.*))$"
)
_SCHEME = re.compile(r"^(oci|oci-archive|docker-archive|docker-daemon|s3):(?!\d+(?:/|$))")
_ID = re.compile(r"^(?:docker-daemon:)?(sha256:[0-9a-f]{64})$")
# As tools name images in a layout: any words with slashes, colons and dashes between them.
_NAME = re.compile(
    r"^[A-Za-z0-9]+(?:(?:[._:+-]|__|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[._:+-]|__|--)[A-Za-z0-9]+)*)*$"
)
# In a glob these brackets would be a choice of characters.
_IPV6 = re.compile(r"^\[([0-9a-f]*:[0-9a-f:]*)\]")
_ENDPOINT = re.compile(r"^https?://[^/@\s]+$")
_SCHEMES = ("docker-pullable://", "docker://", "https://", "http://")


def is_digest(text: str) -> bool:
    """Whether the text is ``algorithm:hex``."""
    return bool(_DIGEST.match(text))


def is_registry(host: str) -> bool:
    """Whether a place's name is a registry's."""
    return not _ELSEWHERE.match(host)


def is_layout(host: str) -> bool:
    """Whether a place's name is that of a layout in a directory or a bucket."""
    return not is_registry(host) and host.startswith(("oci:", "s3:"))


def is_remote(host: str) -> bool:
    """Whether a place is reached by the network, as registries and buckets are."""
    return is_registry(host) or host.startswith("s3:")


@dataclass(frozen=True)
class Reference:
    """An image's full name: ``host`` without Docker Hub's short forms, ``repository``, and a tag, a digest or both.

    ``host`` is a registry, or the name of another place: ``oci:/srv/images``, ``s3:https://host/bucket/prefix``.
    """

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as Docker, Kubernetes and Compose files have it. Without tag and digest the tag is ``latest``.

        Raises :class:`InvalidInput` for what is no image name.
        """
        rest = text.strip()
        for scheme in _SCHEMES:
            rest = rest.removeprefix(scheme)
        rest, _at, digest = rest.partition("@")
        tag = ""
        if ":" in rest.rsplit("/", 1)[-1] and "/" in rest:
            rest, _colon, tag = rest.rpartition(":")
        elif ":" in rest and "/" not in rest:
            rest, _colon, tag = rest.partition(":")
        host, slash, repository = rest.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost" or host != host.lower()):
            host, repository = DOCKER_HUB, rest
        if host in ("index.docker.io", "registry-1.docker.io"):
            host = DOCKER_HUB
        if host == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        good = _HOST.match(host) and _REPOSITORY.match(repository)
        if not good or (tag and not _TAG.match(tag)) or (_at and not is_digest(digest)):
            raise InvalidInput(
                "read", f"image name {text!r}", "it is not HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST", "Correct it."
            )
        return cls(host, repository, tag or (None if digest else "latest"), digest or None)

    @classmethod
    def anywhere(cls, text: str) -> Reference:
        """Read an image's name in any place: ``oci:/srv/images:shop/web:1``, or as :meth:`parse` does.

        For what users say; what a workload says is never the name of a file here. An image's id, which only a Docker
        daemon knows, is the repository there, without a tag.
        """
        if identity := _ID.match(text.strip()):
            return cls(DOCKER_DAEMON, identity.group(1))
        found = _ELSEWHERE.match(text.strip())
        if not found:
            return cls.parse(text)
        host, rest = found.group(1).rstrip("/"), found.group(2)
        name, at, digest = rest.partition("@")
        tag = ""
        if ":" in name.rsplit("/", 1)[-1]:
            name, _colon, tag = name.rpartition(":")
        good = not name or _NAME.match(name)
        if not good or (tag and not _TAG.match(tag)) or (at and not is_digest(digest)):
            raise InvalidInput(
                "read", f"image name {text!r}", f"in {host} it is not NAME:TAG or NAME@DIGEST", "Correct it."
            )
        return cls(host, name, tag or (None if digest else "latest"), digest or None)

    @property
    def name(self) -> str:
        """``host/repository``, or ``place:repository``."""
        return _join(self.host, self.repository)

    def at(self, digest: str) -> Reference:
        """The same repository, by digest alone."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        text = self.name
        if self.tag and self.repository:
            text += f":{self.tag}"
        return text + (f"@{self.digest}" if self.digest else "")


def parse_image_id(text: str) -> tuple[Reference | None, str | None]:
    """What a container runtime says that it runs: a repository with a digest, or a bare digest of the configuration.

    ``(reference, None)``, ``(None, digest)``, or ``(None, None)`` where it says nothing that can be used.
    """
    for scheme in _SCHEMES:
        text = text.removeprefix(scheme)
    if is_digest(text):
        return None, text
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return None, f"sha256:{text}"
    if "@" in text:
        try:
            return Reference.parse(text), None
        except InvalidInput:
            return None, None
    return None, None


@dataclass(frozen=True)
class Place:
    """A registry, or another place, with the path below which our copies lie."""

    host: str
    prefix: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Place:
        """The place that a user's option names. Where a bucket is reached belongs to its name."""
        place, endpoint = cls.parse(str(options["name"])), str(options.get("endpoint_url") or "").rstrip("/")
        if not endpoint:
            return place
        if not place.host.startswith("s3://") or not _ENDPOINT.match(endpoint):
            raise InvalidInput(
                "use",
                f"endpoint_url {endpoint!r} of {options['name']}",
                "it is not https://HOST:PORT of a place s3://BUCKET/PREFIX",
                "Correct it, or leave it out.",
            )
        return replace(place, host=f"s3:{endpoint}/{place.host.removeprefix('s3://')}")

    @classmethod
    def parse(cls, name: str) -> Place:
        """Read ``HOST[:PORT][/PREFIX]``, or the name of another place: ``oci:/srv/images``, ``s3://bucket/prefix``."""
        rest = name.strip()
        found = _ELSEWHERE.match(rest)
        if found and (not found.group(2) or _REPOSITORY.match(found.group(2))):
            return cls(found.group(1).rstrip("/"), found.group(2))
        if found or _SCHEME.match(rest):
            raise InvalidInput(
                "use",
                f"place {name!r}",
                "it is none of oci:/DIRECTORY, s3://BUCKET/PREFIX, oci-archive:/FILE, docker-archive:/FILE and "
                "docker-daemon:, or its path has a colon or an @",
                "Correct the name; paths are absolute.",
            )
        for scheme in _SCHEMES:
            rest = rest.removeprefix(scheme)
        host, _slash, prefix = rest.strip("/").partition("/")
        if not _HOST.match(host) or (prefix and not _REPOSITORY.match(prefix)):
            raise InvalidInput(
                "use", f"registry {name!r}", "it is not HOST:PORT/PREFIX", "Correct the registry's name."
            )
        if host in ("index.docker.io", "registry-1.docker.io"):
            host = DOCKER_HUB
        return cls(host, prefix)

    @property
    def name(self) -> str:
        """``host/prefix``."""
        return _join(self.host, self.prefix)

    def repository(self, path: str) -> str:
        """The repository at the registry that holds what has this path below the prefix."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def path_of(self, reference: Reference) -> str | None:
        """The path below this place, where the image already lies here; else ``None``."""
        if reference.host != self.host:
            return None
        if not self.prefix:
            return reference.repository
        below = reference.repository.removeprefix(self.prefix + "/")
        return below if below != reference.repository else None


def path_for(reference: Reference) -> str:
    """Where the copy of an image lies below any place: the original's host and port, then its repository.

    ``10.7.0.10:5000/ledger/api`` → ``10.7.0.10-5000/ledger/api``. In a layout a name that is such a path stays what it
    is, any other and those of Docker are read as names of images; what has no name is called as its file. An image
    that Docker knows by its id alone lies below ``untagged``, by the id as ``docker ps`` shows it.
    """
    if not is_registry(reference.host):
        name = reference.repository
        if reference.host == DOCKER_DAEMON and is_digest(name):
            return f"untagged/{name.partition(':')[2][:12]}"
        if not name:
            return re.sub(r"[^a-z0-9.]+", "-", reference.host.rpartition("/")[2].lower()).strip("-.") or "image"
        if reference.host.startswith("docker-") or not _REPOSITORY.match(name):
            return path_for(Reference.parse(name))
        return name
    host = re.sub(r"[^a-z0-9.]+", "-", reference.host.lower()).strip("-.")
    return f"{host}/{reference.repository}"


def _join(host: str, path: str) -> str:
    if not path or host.endswith(":"):
        return host + path
    return f"{host}{'/' if is_registry(host) else ':'}{path}"


def matches(pattern: str, reference: Reference) -> bool:
    """Whether a user's glob of ``HOST/REPOSITORY`` fits an image as it is written; ``*`` stands for slashes too."""
    spelt = reference.name if is_registry(reference.host) else path_for(reference)
    return fnmatchcase(_plain(spelt), _IPV6.sub(r"[[]\1]", _plain(pattern)))


def _plain(name: str) -> str:
    """One spelling of a repository or a pattern: hosts are the same in any case, and with their usual port."""
    host, slash, path = name.lower().partition("/")
    return host.removesuffix(":443") + slash + path
