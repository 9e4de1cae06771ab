# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Opens the places of images that are no registries, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import Engine
from ansible_collections.muster.container_dr.plugins.module_utils._oci.archive import DockerArchive, TarFiles
from ansible_collections.muster.container_dr.plugins.module_utils._oci.daemon import Daemon
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import (
    Layout,
    ReadOnlyLayout,
    StoredLayout,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    is_layout,
    is_registry,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Source, Target
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_OF_REGISTRIES = ("username", "password", "auth_file", "plain_http")
_OF_BUCKETS = ("endpoint_url", "access_key", "secret_key", "region")


def check_options(place: Place, options: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for an option that means nothing at such a place, rather than to pass it over."""
    bucket, registry = place.host.startswith("s3:"), is_registry(place.host)
    wrong = [] if registry else [name for name in _OF_REGISTRIES if options.get(name)]
    wrong += [] if bucket else [name for name in _OF_BUCKETS if options.get(name)]
    wrong += [] if registry or options.get("validate_certs", True) else ["validate_certs"]
    wrong += ["ca_cert"] if options.get("ca_cert") and not (bucket or registry) else []
    if wrong:
        hint = "Set ca_cert instead of validate_certs." if bucket else ""
        raise InvalidInput(
            "use", f"place {place.name}", f"{', '.join(wrong)} mean nothing there", f"Leave them out. {hint}"
        )


class Places:
    """Layouts, archives and a Docker daemon; ``options`` of buckets by the place's name, ``engine`` is the daemon's.

    ``read`` is the recovery point by whose index layouts are read, ``written`` that by which they are written to.
    """

    def __init__(
        self,
        options: Mapping[str, Mapping[str, Any]],
        engine: Engine | None = None,
        *,
        read: str = "",
        written: str = "",
    ) -> None:
        self._options = options
        self._engine = engine or Engine()
        self._read = read
        self._written = written
        self._held = ExitStack()

    def open(self, host: str) -> Source | None:
        """The place of that name; ``None`` where it is a registry's."""
        if is_registry(host):
            return None
        store = self._store(host)
        if store is not None:
            return StoredLayout(host, store, self._read)
        scheme, _colon, rest = host.partition(":")
        if scheme == "docker-daemon":
            daemon = Daemon(host, self._engine)
            self._held.callback(daemon.close)
            return daemon
        files = TarFiles.at(Path(rest))
        self._held.callback(files.close)
        return ReadOnlyLayout(host, files) if scheme == "oci-archive" else DockerArchive(host, files)

    def target(self, host: str) -> Target | None:
        """The same place to be written to; ``None`` where it is a registry's or can only be read."""
        store = self._store(host)
        return Layout(host, store, self._written) if store is not None else None

    def _store(self, host: str) -> Store | None:
        """Where a layout is kept; ``None`` for every other place."""
        if not is_layout(host):
            return None
        scheme, _colon, rest = host.partition(":")
        if scheme == "oci":
            return Directory(Path(rest))
        return open_store({**self._options_of(host), **_bucket(rest)})

    def _options_of(self, host: str) -> Mapping[str, Any]:
        """The options of a bucket, which an image's name may leave the endpoint out of."""
        named = [options for options in self._options.values() if Place.parse(str(options["name"])).host == host]
        if host not in self._options and len(named) > 1:
            raise InvalidInput(
                "use",
                f"place {host}",
                "more than one object store is given for it",
                "Write s3:https://HOST/BUCKET/PREFIX.",
            )
        return self._options.get(host) or (named[0] if named else {})

    def close(self) -> None:
        """Close what was opened."""
        self._held.close()
        self._engine.close()


def _bucket(rest: str) -> dict[str, str]:
    """``//bucket/prefix`` or ``https://host/bucket/prefix`` as options of a store."""
    if rest.startswith("//"):
        return {"url": f"s3:{rest}"}
    scheme, _slashes, path = rest.partition("://")
    server, _slash, below = path.partition("/")
    return {"url": f"s3://{below}", "endpoint_url": f"{scheme}://{server}"}
