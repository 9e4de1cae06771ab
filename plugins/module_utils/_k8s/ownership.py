# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who owns which field: captured ``managedFields`` read, and given back to a restored object.

The server gives a field to whoever writes it, so an object that had one owner is written under that owner's name and
nothing else is needed. Where several owners had their parts, the object is written under our name and the ownership is
set by a second request: a change of ``metadata.managedFields`` alone is taken as it is. A path is a tuple of the
format's own steps, such as ``("f:spec", "f:ports", 'k:{"port":80}', ".")``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import FIELD_MANAGER, JSON

Path = tuple[str, ...]
Owner = tuple[str, str, str, str]

# The server's own name for the owner of fields that nobody claimed; kubectl knows it and takes over from it.
NOBODY = "before-first-apply"
_MISSING = object()


@dataclass(frozen=True)
class Author:
    """Under whose name an object is created. ``applies``: by server-side apply, of ``fields`` only.

    ``whole``: that one request gives every field to its former owner; else :func:`given_back` says what is left.
    """

    manager: str = FIELD_MANAGER
    applies: bool = False
    whole: bool = True
    fields: frozenset[Path] = frozenset()


OURSELVES = Author()


def owner_of(entry: JSON) -> Owner:
    """What tells the entries of ``managedFields`` apart: manager, operation, apiVersion, subresource."""
    return (
        str(entry.get("manager") or ""),
        str(entry.get("operation") or ""),
        str(entry.get("apiVersion") or ""),
        str(entry.get("subresource") or ""),
    )


def paths(fields: JSON) -> frozenset[Path]:
    """The members of a ``fieldsV1`` tree."""
    return frozenset(_paths(fields, ()))


def _paths(fields: JSON, above: Path) -> Iterator[Path]:
    for name, inner in fields.items():
        here = (*above, name)
        if inner:
            yield from _paths(inner, here)
        else:
            yield here


def tree(members: Iterable[Path]) -> JSON:
    """The ``fieldsV1`` tree with these members: the inverse of :func:`paths`."""
    fields: JSON = {}
    # A path that others go on from is named by a dot below it.
    wanted = sorted(members)
    inner = {path[:depth] for path in wanted for depth in range(1, len(path))}
    for path in wanted:
        node = fields
        for step in path:
            node = node.setdefault(step, {})
        if path in inner:
            node["."] = {}
    return fields


def _item(items: Any, step: str) -> Any:
    """The element of a list that ``k:``, ``v:`` or ``i:`` names."""
    kind, _colon, text = step.partition(":")
    if not isinstance(items, list):
        return _MISSING
    if kind == "i":
        return items[int(text)] if text.isdigit() and int(text) < len(items) else _MISSING
    wanted = json.loads(text)
    for item in items:
        if kind == "v" and item == wanted:
            return item
        if kind == "k" and isinstance(item, dict) and all(item.get(name) == value for name, value in wanted.items()):
            return item
    return _MISSING


def _step(value: Any, step: str) -> Any:
    if step == ".":
        return value
    if step.startswith("f:"):
        return value.get(step[2:], _MISSING) if isinstance(value, dict) else _MISSING
    return _item(value, step)


def _found(obj: JSON, path: Path) -> Any:
    value: Any = obj
    for step in path:
        value = _step(value, step)
        if value is _MISSING:
            break
    return value


def present(members: Iterable[Path], obj: JSON) -> frozenset[Path]:
    """Those of the paths that lead to something in the object."""
    return frozenset(path for path in members if _found(obj, path) is not _MISSING)


def _says_something(members: frozenset[Path], obj: JSON) -> bool:
    """Whether an owner owns more than the frames around what others own."""
    return any(path[-1] != "." or not _found(obj, path) for path in members)


def part(obj: JSON, members: Iterable[Path]) -> JSON:
    """The object with only the fields that are named, and what it needs to be one: what its owner applied."""
    kept = _part(obj, tree(members))
    result: JSON = kept if isinstance(kept, dict) else {}
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace") if name in obj["metadata"]}
    return {
        **result,
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {**(result.get("metadata") or {}), **metadata},
    }


def _part(value: Any, fields: JSON) -> Any:
    if not fields:
        return value
    if isinstance(value, dict):
        steps = {name[2:]: inner for name, inner in fields.items() if name.startswith("f:")}
        return {name: _part(inner, steps[name]) for name, inner in value.items() if name in steps}
    if isinstance(value, list):
        return _items(value, fields)
    return value


def _items(items: list[Any], fields: JSON) -> list[Any]:
    chosen: dict[int, Any] = {}
    for step, inner in fields.items():
        found = _item(items, step) if step != "." else _MISSING
        if found is _MISSING:
            continue
        place = next(number for number, item in enumerate(items) if item is found)
        keys = json.loads(step[2:]) if step.startswith("k:") else {}
        chosen[place] = {**keys, **_part(found, inner)} if isinstance(found, dict) else found
    return [chosen[place] for place in sorted(chosen)]


def captured(managed_fields: Iterable[JSON], obj: JSON) -> dict[Owner, frozenset[Path]]:
    """Who owned what of the fields that the object (still) has; owners of nothing are left out."""
    found: dict[Owner, frozenset[Path]] = {}
    for entry in managed_fields:
        members = present(paths(entry.get("fieldsV1") or {}), obj)
        if members and _says_something(members, obj):
            found[owner_of(entry)] = found.get(owner_of(entry), frozenset()) | members
    return found


def author(managed_fields: list[JSON], obj: JSON) -> Author:
    """How to create the object so that one request is enough, if one can be."""
    if not managed_fields:
        return Author(NOBODY)
    if len(managed_fields) == 1 and managed_fields[0].get("operation") != "Apply":
        # The commonest case, and the server does the rest: no need to look at the fields.
        entry = managed_fields[0]
        return Author(str(entry.get("manager") or NOBODY), whole=not entry.get("subresource"))
    owners = captured(managed_fields, obj)
    if len(owners) == 1:
        (manager, operation, _version, subresource), members = next(iter(owners.items()))
        if not subresource:
            return Author(manager, operation == "Apply", fields=members if operation == "Apply" else frozenset())
    if not owners:
        return Author(str(managed_fields[0].get("manager") or NOBODY))
    return Author(whole=False)


def given_back(managed_fields: list[JSON], live: JSON, *, keep_ours: bool = False) -> list[JSON] | None:
    """The ``managedFields`` with which every field is its former owner's again; ``None``: it is so already.

    Fields that nobody owned before stay with whoever has them now, but for ourselves: what we wrote and nobody owned
    is nobody's (``keep_ours``: stays ours, for what we add to namespaces). Ownership of the status is left alone.
    """
    wanted = captured(managed_fields, live)
    taken = frozenset(path for members in wanted.values() for path in members)
    held: dict[Owner, frozenset[Path]] = {}
    status: list[JSON] = []
    for entry in live["metadata"].get("managedFields") or []:
        if entry.get("subresource") == "status":
            status.append(entry)
        else:
            held[owner_of(entry)] = paths(entry.get("fieldsV1") or {})
    final = dict(wanted)
    for owner, members in held.items():
        ours = owner[0] == FIELD_MANAGER and owner not in wanted
        left = frozenset() if ours and not keep_ours else members - taken
        left |= frozenset(path for path in members if path[0] == "f:status")
        if left and (owner in final or _says_something(left, live)):
            final[owner] = final.get(owner, frozenset()) | left
    if final == held:
        return None
    return [_entry(owner, members) for owner, members in sorted(final.items(), key=lambda pair: pair[0])] + status


def _entry(owner: Owner, members: frozenset[Path]) -> JSON:
    manager, operation, api_version, subresource = owner
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree(members),
    }
    return {**entry, "subresource": subresource} if subresource else entry


def ours(live: JSON) -> bool:
    """Whether we own any of the object's fields, as after a run that ended between writing and giving back."""
    return any(
        entry.get("manager") == FIELD_MANAGER and entry.get("subresource") != "status"
        for entry in live["metadata"].get("managedFields") or []
    )


def change(fields: list[JSON], live: JSON) -> list[JSON]:
    """The JSON patch that sets ``managedFields``, refused if the object has changed since it was read."""
    return [
        # An empty list would mean "leave them"; one empty entry means none.
        {"op": "add", "path": "/metadata/managedFields", "value": fields or [{}]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
    ]
