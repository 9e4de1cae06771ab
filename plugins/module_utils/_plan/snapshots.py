# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which snapshots of a repository are those that a recovery point names.

A point's document is signed and never changes, while ``restic copy`` gives a snapshot another id. What stays is the
tree, and in ``original`` the id that it had when it was made, however often it was copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt


@dataclass(frozen=True)
class Held:
    """A snapshot that the repository holds; ``time`` is when it was made, ``original`` its first id if not this."""

    id: str
    tree: str
    host: str
    tags: tuple[str, ...]
    time: datetime
    original: str | None = None

    @property
    def first(self) -> str:
        """The id that it had when it was made."""
        return self.original or self.id


@dataclass(frozen=True)
class Need:
    """What a document names: a snapshot, and the tree by which a copy of it is known. ``host`` ``None``: any."""

    snapshot: str
    tree: str
    host: str | None = None
    what: str = field(default="objects", compare=False)


class Known:
    """The snapshots of a repository, found by what points say of them."""

    def __init__(self, snapshots: Iterable[Held]) -> None:
        self._ids: dict[str, Held] = {}
        self._copies: dict[tuple[str, str], list[Held]] = {}
        self._trees: dict[str, list[Held]] = {}
        for one in snapshots:
            self._ids[one.id] = one
            self._copies.setdefault((one.first, one.tree), []).append(one)
            self._trees.setdefault(one.tree, []).append(one)

    def meant(self, need: Need) -> list[Held]:
        """The very snapshot; else its copies; else all that hold the same.

        A volume that did not change has the same tree every day, so that trees alone are asked last.
        """
        if need.snapshot in self._ids:
            return [self._ids[need.snapshot]]
        if not need.tree:
            return []
        same = [one for one in self._trees.get(need.tree, ()) if need.host in (None, one.host)]
        return self._copies.get((need.snapshot, need.tree)) or same

    def copies(self, one: Held) -> list[Held]:
        """Those that are a copy of this snapshot of another repository, or that it is a copy of."""
        return self._copies.get((one.first, one.tree), [])


def needs(document: Mapping[str, Any]) -> tuple[Need, ...]:
    """The snapshots that a point's document names; :class:`Corrupt` where that cannot be told."""
    found = []
    objects = document.get("objects")
    if objects is not None:
        nested = _mapping(objects, "objects").get("snapshot")
        # Older documents have the snapshot's fields among those of the objects.
        inner = objects if nested is None else _mapping(nested, "objects.snapshot")
        found.append(Need(_text(inner, "id"), _text(inner, "tree")))
    for volume in document.get("volumes") or ():
        entry = _mapping(volume, "volumes")
        what = f"volume {entry.get('name')}"
        found.append(Need(_text(entry, "snapshot"), _text(entry, "tree"), _text(entry, "host") or None, what))
    return tuple(need for need in found if need.snapshot or need.tree)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise Corrupt("read", name, "it is not a dictionary")


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if found is None or isinstance(found, str):
        return found or ""
    raise Corrupt("read", name, "it is not text")
