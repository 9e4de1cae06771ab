# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Velero's configuration for changes at restore, taken as it is: resource modifiers and change-storage-class.

The formats are those of Velero's documentation (restore-resource-modifiers, restore-reference). What is not known is
refused by name rather than left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import HAS_YAML, yaml_load_all

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch, label_selector, pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.user_transforms import (
    Condition,
    Patch,
    Transform,
    When,
    regular,
)

_CHANGE_CLASS = "velero.io/change-storage-class"
_FORMS = {"patches": "json_patch", "mergePatches": "merge_patch", "strategicPatches": "strategic_merge_patch"}
_CONDITIONS = {"groupResource", "resourceNameRegex", "namespaces", "labelSelector", "matches"}


def read(entries: Sequence[Any]) -> tuple[list[Transform], dict[str, str]]:
    """Transforms and storage classes (old to new) from ConfigMaps, their contents, or paths of files of either.

    Raises :class:`InvalidInput` that names the document and what in it is unknown or wrong.
    """
    transforms: list[Transform] = []
    classes: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        for title, document in _documents(entry, f"entry {number} of velero_config"):
            labels = ((document.get("metadata") or {}).get("labels") or {}) if _is_map(document) else {}
            if _CHANGE_CLASS in labels:
                classes.update({str(old): str(new) for old, new in (document.get("data") or {}).items()})
            else:
                transforms += _rules(_content(document, title), title)
    return transforms, classes


def _refused(title: str, reason: str) -> InvalidInput:
    return InvalidInput(
        "read",
        title,
        reason,
        "Give resource modifiers (version v1) or a ConfigMap labelled velero.io/change-storage-class, as Velero takes "
        "them.",
    )


def _is_map(document: Mapping[str, Any]) -> bool:
    return document.get("kind") == "ConfigMap"


def _documents(entry: Any, title: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(entry, Mapping):
        yield title, entry
        return
    if not isinstance(entry, str):
        raise _refused(title, f"it is a {type(entry).__name__}, neither a document nor the path of a file")
    try:
        text = Path(entry).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _refused(f"file {entry}", str(reason)) from None
    for document in _yaml(text, f"file {entry}"):
        if not isinstance(document, Mapping):
            raise _refused(f"file {entry}", "a document in it is no mapping")
        yield f"file {entry}", document


def _yaml(text: str, title: str) -> list[Any]:
    """All documents of a text. JSON is read without PyYAML."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    if not HAS_YAML:
        raise _refused(title, "it is YAML and the Python of this host has no PyYAML; give JSON or install it")
    try:
        return [document for document in yaml_load_all(text) if document is not None]
    except Exception as error:
        raise _refused(title, f"it is no YAML: {' '.join(str(error).split())}") from None


def _content(document: Mapping[str, Any], title: str) -> Mapping[str, Any]:
    if not _is_map(document):
        return document
    data = document.get("data") or {}
    name = (document.get("metadata") or {}).get("name")
    title = f"ConfigMap {name} in {title}"
    foreign = [
        label
        for label in ((document.get("metadata") or {}).get("labels") or {})
        if label.startswith("velero.io/change-")
    ]
    if foreign:
        raise _refused(title, f"its label {foreign[0]} is not supported")
    if len(data) != 1:
        raise _refused(title, f"it has {len(data)} keys; resource modifiers are in exactly one")
    found = _yaml(str(next(iter(data.values()))), title)
    if len(found) != 1 or not isinstance(found[0], Mapping):
        raise _refused(title, "its data is no document of resource modifiers")
    return found[0]


def _rules(document: Mapping[str, Any], title: str) -> list[Transform]:
    if document.get("version") != "v1":
        raise _refused(title, f"its version is {document.get('version')!r}, not 'v1'")
    _known(document, {"version", "resourceModifierRules"}, title)
    rules = document.get("resourceModifierRules")
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        raise _refused(title, "resourceModifierRules is no list")
    return [_rule(rule, f"rule {number} of {title}") for number, rule in enumerate(rules, 1)]


def _known(given: Any, allowed: set[str], title: str) -> None:
    if not isinstance(given, Mapping):
        raise _refused(title, "it is no mapping")
    unknown = sorted(str(name) for name in given if name not in allowed)
    if unknown:
        raise _refused(title, f"{unknown[0]} is unknown")


def _rule(rule: Any, title: str) -> Transform:
    _known(rule, {"conditions", *_FORMS}, title)
    conditions = rule.get("conditions") or {}
    _known(conditions, _CONDITIONS, f"the conditions of {title}")
    forms = [name for name in _FORMS if rule.get(name)]
    if len(forms) != 1:
        raise _refused(title, f"it has {' and '.join(forms) or 'none'} of {', '.join(_FORMS)}; it takes one")
    try:
        when = _when(conditions)
        patches = tuple(_patches(forms[0], rule[forms[0]], title))
        for patch in patches:
            if patch.form == "json_patch":
                json_patch.check(patch.body)
    except ValueError as error:
        raise _refused(title, str(error)) from None
    return Transform(title, when, patches, lenient=True)


def _when(conditions: Mapping[str, Any]) -> When:
    resource = str(conditions.get("groupResource") or "")
    if not resource:
        raise ValueError("groupResource is missing in its conditions")
    name = conditions.get("resourceNameRegex")
    pattern = re.compile(regular(name)) if name else None
    matches = []
    for one in conditions.get("matches") or ():
        if not isinstance(one, Mapping) or not one.get("path"):
            raise ValueError("a match has no path")
        matches.append(Condition(pointer.parse(one["path"]), "value", (_value(one.get("value", "")),)))
    namespaces = tuple(str(one) for one in conditions.get("namespaces") or ())
    return When(
        lambda key: _means(resource, key),
        () if "*" in namespaces else namespaces,
        (lambda text: bool(pattern.search(text))) if pattern else bool,
        label_selector.parse(conditions.get("labelSelector")),
        tuple(matches),
        cluster_scoped_too=True,
    )


def _means(pattern: str, key: str) -> bool:
    """``*`` is the core group, ``*.apps`` a group, ``*.*`` everything; else the very kind, where globs stop at dots."""
    if pattern == "*.*":
        return True
    head, dot, group = pattern.partition(".")
    plain, _dot, own_group = key.partition(".")
    globbed = re.escape(head).replace(r"\*", "[^.]*")
    return bool(re.fullmatch(globbed, plain)) and (group if dot else "") == own_group


def _patches(form: str, given: Any, title: str) -> Iterator[Patch]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(f"{form} is no list")
    if form == "patches":
        yield Patch("json_patch", [_operation(one, title) for one in given])
        return
    for one in given:
        _known(one, {"patchData"}, f"{form} of {title}")
        data = one.get("patchData")
        found = _yaml(data, f"patchData of {title}") if isinstance(data, str) else [data]
        if len(found) != 1 or not isinstance(found[0], Mapping):
            raise ValueError("patchData is no object")
        yield Patch(_FORMS[form], found[0])


def _operation(one: Any, title: str) -> dict[str, Any]:
    _known(one, {"operation", "from", "path", "value"}, f"a patch of {title}")
    operation: dict[str, Any] = {"op": one.get("operation"), "path": one.get("path")}
    if operation["op"] in ("move", "copy"):
        operation["from"] = one.get("from")
    elif operation["op"] != "remove":
        operation["value"] = _value(one.get("value", ""))
    return operation


def _value(given: Any) -> Any:
    """Velero's values are texts: what reads as JSON is that, and quotes make a text of a number."""
    if not isinstance(given, str) or given == "":
        return given
    if len(given) > 1 and given[0] == given[-1] == '"':
        return given[1:-1]
    if given.lower() in ("true", "false"):
        return given.lower() == "true"
    if given == "null" or given[0] in "{[" or re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", given):
        try:
            return json.loads(given)
        except ValueError:
            if given[0] in "{[":
                raise ValueError(f"{given!r} begins like JSON and is none") from None
    return given
