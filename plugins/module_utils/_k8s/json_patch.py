# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) in full, on plain Python values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pointer import PointerError


class PatchError(ValueError):
    """A patch that cannot be applied. ``path`` is the pointer at fault, or empty; the text says the operation too."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class TestFailed(PatchError):
    """A ``test`` operation found something else."""


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 equals 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def check(operations: Any) -> None:
    """Raise :class:`PatchError` unless this is a JSON patch: a list of operations with all their members."""
    if not isinstance(operations, Sequence) or isinstance(operations, (str, bytes)):
        raise PatchError("a JSON patch is a list of operations")
    for number, operation in enumerate(operations, 1):
        if not isinstance(operation, Mapping) or operation.get("op") not in _OPERATIONS:
            raise PatchError(f"operation {number}: 'op' has to be one of {', '.join(_OPERATIONS)}")
        verb = operation["op"]
        needed = ["path"] + (["from"] if verb in ("move", "copy") else ["value"] if verb != "remove" else [])
        missing = [name for name in needed if name not in operation]
        if missing:
            raise PatchError(
                f"operation {number} ({verb}): '{missing[0]}' is missing", str(operation.get("path") or "")
            )
        for name in {"path", "from"} & set(needed):
            try:
                pointer.parse(operation[name])
            except PointerError as error:
                raise PatchError(f"operation {number} ({verb}): {error}", str(operation[name])) from None


def patched(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """The document after all operations; the given one is not touched.

    Raises :class:`PatchError` for the first operation that cannot be done, :class:`TestFailed` for a failed test.
    """
    check(operations)
    result = copy.deepcopy(document)
    for number, operation in enumerate(operations, 1):
        try:
            result = _OPERATIONS[operation["op"]](result, operation)
        except (PointerError, PatchError) as error:
            kind = TestFailed if isinstance(error, TestFailed) else PatchError
            raise kind(f"operation {number} ({operation['op']}): {error}", str(operation["path"])) from None
    return result


def _add(document: Any, tokens: tuple[str, ...], value: Any) -> Any:
    if not tokens:
        return value
    parent = pointer.value_at(document, tokens[:-1])
    if isinstance(parent, dict):
        parent[tokens[-1]] = value
    elif isinstance(parent, list):
        parent.insert(pointer.index(tokens[-1], len(parent), tokens, end=True), value)
    else:
        raise PointerError(f"{pointer.written(tokens[:-1])} is neither object nor list")
    return document


def _remove(document: Any, tokens: tuple[str, ...]) -> tuple[Any, Any]:
    value = pointer.value_at(document, tokens)
    if not tokens:
        return None, value
    parent = pointer.value_at(document, tokens[:-1])
    del parent[pointer.key_in(parent, tokens[-1])]
    return document, value


def _do_add(document: Any, operation: Mapping[str, Any]) -> Any:
    return _add(document, pointer.parse(operation["path"]), copy.deepcopy(operation["value"]))


def _do_remove(document: Any, operation: Mapping[str, Any]) -> Any:
    return _remove(document, pointer.parse(operation["path"]))[0]


def _do_replace(document: Any, operation: Mapping[str, Any]) -> Any:
    tokens, value = pointer.parse(operation["path"]), copy.deepcopy(operation["value"])
    pointer.value_at(document, tokens)
    if not tokens:
        return value
    parent = pointer.value_at(document, tokens[:-1])
    parent[pointer.key_in(parent, tokens[-1])] = value
    return document


def _do_move(document: Any, operation: Mapping[str, Any]) -> Any:
    source, target = pointer.parse(operation["from"]), pointer.parse(operation["path"])
    if target[: len(source)] == source and target != source:
        raise PatchError(f"{operation['from']} cannot be moved into itself")
    document, value = _remove(document, source)
    return _add(document, target, value)


def _do_copy(document: Any, operation: Mapping[str, Any]) -> Any:
    value = copy.deepcopy(pointer.value_at(document, pointer.parse(operation["from"])))
    return _add(document, pointer.parse(operation["path"]), value)


def _do_test(document: Any, operation: Mapping[str, Any]) -> Any:
    try:
        found = pointer.value_at(document, pointer.parse(operation["path"]))
    except PointerError as error:
        raise TestFailed(str(error)) from None
    if not same(found, operation["value"]):
        raise TestFailed(f"{operation['path']} has another value")
    return document


_OPERATIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "add": _do_add,
    "remove": _do_remove,
    "replace": _do_replace,
    "move": _do_move,
    "copy": _do_copy,
    "test": _do_test,
}


def merged(document: Any, change: Any) -> Any:
    """RFC 7396: objects are merged, ``null`` removes, anything else replaces. The given document is not touched."""
    if not isinstance(change, Mapping):
        return copy.deepcopy(change)
    result = {**document} if isinstance(document, dict) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
