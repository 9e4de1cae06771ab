# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Strategic merge patches for Kubernetes' own kinds: lists whose elements have a key are merged by it.

Which key a list has depends on where it is: ``env`` by name, ``tolerations`` as a whole. The table names the lists by
the end of their path and is what the published API definitions say (``patchMergeKey``). ``$patch: replace`` and
``$patch: delete``, ``$deleteFromPrimitiveList/…``, ``$setElementOrder/…`` and ``$retainKeys`` are honoured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.json_patch import PatchError, same

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# The last fields of a list's path, and the key of its elements. More than one key: the first that an element has.
_KEYS: dict[tuple[str, ...], str] = {
    **{(field,): "name" for field in _CONTAINERS},
    **{(field, "env"): "name" for field in _CONTAINERS},
    **{(field, "ports"): "containerPort" for field in _CONTAINERS},
    **{(field, "volumeMounts"): "mountPath" for field in _CONTAINERS},
    **{(field, "volumeDevices"): "devicePath" for field in _CONTAINERS},
    ("spec", "volumes"): "name",
    ("spec", "hostAliases"): "ip",
    ("spec", "imagePullSecrets"): "name",
    ("spec", "topologySpreadConstraints"): "topologyKey",
    ("spec", "schedulingGates"): "name",
    ("spec", "resourceClaims"): "name",
    ("metadata", "ownerReferences"): "uid",
    ("status", "conditions"): "type",
}
# At the top of one kind only.
_KIND_KEYS: dict[tuple[str, tuple[str, ...]], str] = {
    ("services", ("spec", "ports")): "port",
    ("serviceaccounts", ("secrets",)): "name",
    ("serviceaccounts", ("imagePullSecrets",)): "name",
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", ("webhooks",)): "name",
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", ("webhooks",)): "name",
}
_PRIMITIVE = (("metadata", "finalizers"),)
_DIRECTIVE, _DELETE_FROM, _ORDER, _RETAIN = "$patch", "$deleteFromPrimitiveList/", "$setElementOrder/", "$retainKeys"


def patched(key: str, document: Any, change: Any) -> Any:
    """The object after the patch; neither argument is touched. ``key`` is its kind, such as ``deployments.apps``.

    Raises :class:`PatchError` for custom resources, which have no merge keys (as the API server does), and for
    directives and elements that make no sense.
    """
    if not kinds.built_in(key):
        raise PatchError(f"{key} is no kind of Kubernetes' own, which alone have merge keys; use a merge patch")
    if not isinstance(change, Mapping):
        raise PatchError("a strategic merge patch is an object")
    return _objects(key, copy.deepcopy(document), change, ())


def _merge_key(key: str, path: tuple[str, ...]) -> str | None:
    if (key, path) in _KIND_KEYS:
        return _KIND_KEYS[(key, path)]
    for length in (2, 1):
        if path[-length:] in _KEYS and (length == 2 or len(path) > 1):
            return _KEYS[path[-length:]]
    return None


def _where(path: tuple[str, ...]) -> str:
    return "/" + "/".join(path)


def _objects(key: str, current: Any, change: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    directive = change.get(_DIRECTIVE)
    plain = {name: value for name, value in change.items() if not name.startswith("$")}
    if directive == "replace":
        return copy.deepcopy(plain)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(
            f"{_where(path)}: $patch {directive!r} is unknown; it is replace, merge or delete", _where(path)
        )
    result = current if isinstance(current, dict) else {}
    if _RETAIN in change:
        result = {name: value for name, value in result.items() if name in change[_RETAIN]}
    _delete_from(result, change, path)
    for name, value in plain.items():
        here = (*path, name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            if value.get(_DIRECTIVE) == "delete":
                result.pop(name, None)
            else:
                result[name] = _objects(key, result.get(name), value, here)
        elif isinstance(value, list):
            result[name] = _lists(key, result.get(name), value, here)
        else:
            result[name] = value
    for name, wanted in change.items():
        field = name[len(_ORDER) :]
        if name.startswith(_ORDER) and isinstance(result.get(field), list):
            before = (current.get(field) if isinstance(current, dict) else None) or result[field]
            result[field] = _arranged(result[field], before, wanted, _merge_key(key, (*path, field)))
    return result


def _delete_from(result: dict[str, Any], change: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for name, given in change.items():
        if name.startswith(_DELETE_FROM):
            field = name[len(_DELETE_FROM) :]
            result[field] = [one for one in result.get(field) or [] if not any(same(one, gone) for gone in given)]
        elif name.startswith("$") and name not in (_DIRECTIVE, _RETAIN) and not name.startswith(_ORDER):
            raise PatchError(f"{_where((*path, name))}: this directive is unknown", _where((*path, name)))


def _lists(key: str, current: Any, change: list[Any], path: tuple[str, ...]) -> list[Any]:
    now = current if isinstance(current, list) else []
    if path in _PRIMITIVE:
        return _arranged([*now, *(value for value in change if value not in now)], now, change, None)
    merge_key = _merge_key(key, path)
    if merge_key is None:
        return copy.deepcopy(change)
    if any(isinstance(one, Mapping) and one.keys() == {_DIRECTIVE} and one[_DIRECTIVE] == "replace" for one in change):
        return [copy.deepcopy(one) for one in change if not isinstance(one, Mapping) or _DIRECTIVE not in one]
    result = list(now)
    for one in change:
        if not isinstance(one, Mapping) or merge_key not in one:
            raise PatchError(
                f"{_where(path)}: an element lacks {merge_key!r}, by which the list is merged", _where(path)
            )
        found = [number for number, other in enumerate(result) if _matches(other, one, merge_key)]
        if one.get(_DIRECTIVE) == "delete":
            result = [other for number, other in enumerate(result) if number not in found]
        elif found:
            result[found[0]] = _objects(key, result[found[0]], one, path)
        else:
            result.append(_objects(key, {}, one, path))
    return _arranged(result, now, change, merge_key)


def _matches(element: Any, wanted: Mapping[str, Any], merge_key: str) -> bool:
    if not isinstance(element, dict) or not same(element.get(merge_key), wanted[merge_key]):
        return False
    # Ports are listed by number and protocol; the patch need not repeat the protocol.
    return merge_key not in ("port", "containerPort") or (
        "protocol" not in wanted or element.get("protocol", "TCP") == wanted["protocol"]
    )


def _arranged(values: list[Any], before: list[Any], wanted: list[Any], merge_key: str | None) -> list[Any]:
    """The order that the server gives: the patch's for what it names, and what is new before what only was there."""

    def plain(value: Any) -> Any:
        return value.get(merge_key) if merge_key and isinstance(value, Mapping) else value

    def place(value: Any, others: list[Any]) -> int:
        return next((number for number, other in enumerate(others) if same(plain(value), plain(other))), len(others))

    named = sorted((one for one in values if place(one, wanted) < len(wanted)), key=lambda one: place(one, wanted))
    rest = [one for one in values if place(one, wanted) == len(wanted)]
    result = []
    while named and rest:
        left, right = place(rest[0], before), place(named[0], before)
        result.append(rest.pop(0) if left < right < len(before) else named.pop(0))
    return [*result, *named, *rest]
