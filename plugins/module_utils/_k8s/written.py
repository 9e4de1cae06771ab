# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who wrote a field: told from managedFields and from what kubectl remembers.

The server allocates node ports and addresses after it has noted who owns what, so nobody owns an allocated one.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON


class Written:
    """What is known of one object as it was captured, before anything is taken from it."""

    def __init__(self, obj: JSON) -> None:
        self._fields: list[JSON] = [
            entry.get("fieldsV1") or {}
            for entry in (obj.get("metadata") or {}).get("managedFields") or []
            if not entry.get("subresource")
        ]
        try:
            applied = json.loads(objects.annotations_of(obj).get(kinds.LAST_APPLIED) or "{}")
        except ValueError:
            applied = {}
        self._applied: JSON = applied if isinstance(applied, dict) else {}

    def has(self, *path: str) -> bool:
        """Whether somebody wrote the field at the path: ``has("spec", "clusterIP")``."""
        if objects.lookup(self._applied, path) is not None:
            return True
        owned = tuple(f"f:{name}" for name in path)
        return any(objects.lookup(fields, owned) is not None for fields in self._fields)

    def node_port(self, port: JSON) -> bool:
        """Whether somebody wrote the node port of a service's port."""
        number, protocol = port.get("port"), port.get("protocol") or "TCP"
        for one in objects.lookup(self._applied, ("spec", "ports")) or []:
            if one.get("port") == number and (one.get("protocol") or "TCP") == protocol and one.get("nodePort"):
                return True
        for fields in self._fields:
            for name, owned in (objects.lookup(fields, ("f:spec", "f:ports")) or {}).items():
                key = _element(name)
                if key.get("port") == number and (key.get("protocol") or "TCP") == protocol and "f:nodePort" in owned:
                    return True
        return False


def _element(name: str) -> JSON:
    """``k:{"port":80,"protocol":"TCP"}`` as a dictionary."""
    try:
        found: Any = json.loads(name[2:]) if name.startswith("k:") else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}
