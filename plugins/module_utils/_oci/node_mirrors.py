# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How nodes are told to pull from our copies what their pods name by other registries: containerd's hosts.toml."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._oci.entries import Entry
from ansible_collections.muster.container_dr.plugins.module_utils._oci.habits import network_name
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    is_registry,
    path_for,
)

_FOLDER = "/etc/containerd/certs.d"


def of(
    options: Mapping[str, Any], place: Place, entries: Iterable[Entry], *, tags: bool, plain: Collection[str] = ()
) -> list[dict[str, str]]:
    """``registry``, ``host``, ``path`` and ``content`` of the file for each registry that images are named by.

    With ``tags`` the copies answer for tags too; else for digests only, and tags are still asked of their registry.
    The registries that speak ``plain`` HTTP are asked by it.
    Empty where the place is no registry.
    """
    if not is_registry(place.host):
        return []
    hosts: set[str] = set()
    for entry in entries:
        if entry["digest"] is None:
            continue
        written = Reference.anywhere(entry["name"])
        # What lies elsewhere below the place was named by its copy.
        if is_registry(written.host) and entry["path"] == path_for(written):
            hosts.add(written.host)
    scheme = "http" if options.get("plain_http") else "https"
    capabilities = ["pull", "resolve"] if tags else ["pull"]
    found = []
    for host in sorted(hosts):
        below = place.repository(path_for(Reference(host, "x")).rpartition("/")[0])
        original = "http" if host in plain else "https"
        folder, url = f"{_FOLDER}/{host}", f"{scheme}://{network_name(place.host)}/v2/{below}"
        lines = [
            f"server = {json.dumps(f'{original}://{network_name(host)}')}",
            "",
            f"[host.{json.dumps(url)}]",
            f"  capabilities = {json.dumps(capabilities)}",
            "  override_path = true",
            *(["  skip_verify = true"] if not options.get("validate_certs", True) and scheme == "https" else []),
            *([f"  ca = {json.dumps(f'{folder}/ca.crt')}"] if options.get("ca_cert") and scheme == "https" else []),
        ]
        content = "\n".join(lines) + "\n"
        found.append({"registry": host, "host": url, "path": f"{folder}/hosts.toml", "content": content})
    return found
