# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""In words, where two objects differ: for plans, warnings and diff mode. What may be secret is masked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_SHOWN = 40
_LONGEST = 120
# Tools keep copies of a Secret's data in its annotations.
_SECRET = ("data", "stringData", "metadata.annotations")
_ABSENT = object()


def words(key: str, before: JSON, after: JSON) -> list[str]:
    """``spec.replicas: 2 -> 3``, a line for each field that differs; values of Secrets are masked."""
    secret = key == "secrets"
    lines = []
    found = list(_fields(before, after, ""))
    for path, old, new in found[:_SHOWN]:
        hide = path.startswith(_SECRET) if secret else path.endswith(kinds.LAST_APPLIED)
        if old is _ABSENT:
            lines.append(f"{path}: added" + ("" if hide else f" {_value(new)}"))
        elif new is _ABSENT:
            lines.append(f"{path}: removed" + ("" if hide else f" {_value(old)}"))
        else:
            lines.append(f"{path}: " + ("changed" if hide else f"{_value(old)} -> {_value(new)}"))
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more")
    return lines


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _named(items: list[Any]) -> dict[str, Any] | None:
    """The items of a list by name, where each has one of its own."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return {f"[{name}]": item for name, item in zip(names, items, strict=True)}


def _fields(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list):
        old, new = _named(before), _named(after)
        if old is not None and new is not None:
            for name in sorted(old.keys() | new.keys()):
                yield from _fields(old.get(name, _ABSENT), new.get(name, _ABSENT), path + name)
            if old.keys() == new.keys() and old == new:
                yield f"{path} (order)", list(old), list(new)
            return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else str(name)
            yield from _fields(before.get(name, _ABSENT), after.get(name, _ABSENT), inner)
        return
    yield path, before, after
