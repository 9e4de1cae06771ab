# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Transforms that users write: which objects they are for, and the patches that change these."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    json_patch,
    kinds,
    label_selector,
    objects,
    pointer,
    strategic,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.json_patch import PatchError

_SHOWN = 10
# A path of an object, and the same value in words.
_FIXED = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


@dataclass(frozen=True)
class Condition:
    """Something about the value at a pointer; with ``*`` in it one of the places is enough.

    ``test`` is ``value`` (one of ``values``), ``matches`` (the regular expression is found in the text) or ``exists``
    (``values`` is the one truth value that is wanted).
    """

    path: tuple[str, ...]
    test: str
    values: tuple[Any, ...] = ()

    def holds(self, obj: JSON) -> bool:
        """Whether it is so in this object."""
        found = [value for _tokens, _holder, value in pointer.places(obj, self.path)]
        if self.test == "exists":
            return bool(found) is self.values[0]
        if self.test == "matches":
            return any(isinstance(value, str) and re.search(self.values[0], value) for value in found)
        return any(json_patch.same(value, wanted) for value in found for wanted in self.values)


@dataclass(frozen=True)
class When:
    """Which objects are meant, by what they were captured as; ``conditions`` see the object as it is by then."""

    kinds: Callable[[str], bool] = bool
    namespaces: tuple[str, ...] = ()
    names: Callable[[str], bool] = bool
    labels: tuple[label_selector.Requirement, ...] = ()
    conditions: tuple[Condition, ...] = ()
    cluster_scoped_too: bool = False

    def holds(self, where: objects.Identity, obj: JSON) -> bool:
        """Whether the transform is for this object."""
        in_namespace = (
            not self.namespaces
            or (self.cluster_scoped_too and not where.namespace)
            or any(fnmatchcase(where.namespace, glob) for glob in self.namespaces)
        )
        labels = objects.labels_of(obj)
        return (
            in_namespace
            and self.kinds(where.key)
            and self.names(where.name)
            and all(one.holds(labels) for one in self.labels)
            and all(one.holds(obj) for one in self.conditions)
        )


@dataclass(frozen=True)
class Patch:
    """``form`` is ``json_patch``, ``merge_patch`` or ``strategic_merge_patch``."""

    form: str
    body: Any

    def apply(self, key: str, obj: JSON) -> Any:
        """The changed object; the given one stays. Raises :class:`PatchError`."""
        if self.form == "json_patch":
            return json_patch.patched(obj, self.body)
        if self.form == "merge_patch":
            return json_patch.merged(obj, self.body)
        return strategic.patched(key, obj, self.body)


@dataclass(frozen=True)
class Transform:
    """One entry. ``title`` names it in results and errors.

    ``lenient``: a failed ``test`` operation means that the object is not meant, as with Velero; else it is an error.
    """

    title: str
    when: When
    patches: tuple[Patch, ...]
    lenient: bool = False


class Transforms:
    """All entries of a restore, in order; collects what went wrong, so that everything is told at once."""

    def __init__(self, entries: Sequence[Transform] = ()) -> None:
        self.entries = tuple(entries)
        self.failures: list[str] = []
        self.used: set[str] = set()

    def forget(self) -> None:
        """Begin anew, after objects were transformed on trial."""
        self.failures.clear()
        self.used.clear()

    def apply(self, key: str, obj: JSON, where: objects.Identity) -> list[str]:
        """Change the object in place by all transforms that are for it; returns their titles as notes."""
        notes = []
        for entry in self.entries:
            try:
                if not entry.when.holds(where, obj):
                    continue
                self.used.add(entry.title)
                changed = _patched(entry, key, obj)
            except PatchError as error:
                self.failures.append(f"{entry.title} on {where}: {error}")
                continue
            if changed is None:
                notes.append(f"{entry.title}: a test does not hold, left as it is")
            elif changed == obj:
                notes.append(f"{entry.title}: nothing to change")
            else:
                obj.clear()
                obj.update(changed)
                notes.append(f"{entry.title}: changed")
        return notes

    def finish(self) -> list[str]:
        """Warnings about transforms that were for no object. Raises :class:`InvalidInput` with all failures."""
        if self.failures:
            shown = "; ".join(self.failures[:_SHOWN])
            more = f"; and {len(self.failures) - _SHOWN} more" if len(self.failures) > _SHOWN else ""
            raise InvalidInput(
                "apply",
                "the transforms",
                shown + more,
                "Nothing was written. Mend the transforms, or narrow their conditions; check mode shows the objects.",
                result={"failed_transforms": list(self.failures)},
            )
        return [f"{one.title} is for none of the objects" for one in self.entries if one.title not in self.used]


def _patched(entry: Transform, key: str, obj: JSON) -> JSON | None:
    changed: Any = obj
    for patch in entry.patches:
        try:
            changed = patch.apply(key, changed)
        except json_patch.TestFailed:
            if not entry.lenient:
                raise
            return None
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata"), dict):
        raise PatchError("what is left is no object of Kubernetes")
    for path in _FIXED:
        if objects.lookup(changed, path) != objects.lookup(obj, path):
            raise PatchError(f"/{'/'.join(path)} must stay, because others refer to it; see namespace_mapping")
    return changed


# -- from the option ------------------------------------------------------------------------------------------------


def of_option(entries: Sequence[Any]) -> list[Transform]:
    """From the option ``transforms``. Raises :class:`InvalidInput` that names the entry and what is wrong with it."""
    return [_transform(entry, number) for number, entry in enumerate(entries, 1)]


def _transform(entry: Mapping[str, Any], number: int) -> Transform:
    title = f"transform {number}" + (f" ({entry['name']})" if entry.get("name") else "")
    forms = ("json_patch", "merge_patch", "strategic_merge_patch")
    patches = tuple(Patch(form, entry[form]) for form in forms if entry.get(form) is not None)
    try:
        if not patches:
            raise ValueError(f"it has none of {', '.join(forms)}")
        for patch in patches:
            if patch.form == "json_patch":
                json_patch.check(patch.body)
        return Transform(title, _when(entry.get("when") or {}), patches)
    except ValueError as error:
        raise InvalidInput("read", title, str(error), "See the option transforms.") from None


def _when(given: Mapping[str, Any]) -> When:
    patterns = {name: tuple(str(one) for one in given.get(name) or ()) for name in ("kinds", "namespaces", "names")}
    wanted, names = patterns["kinds"], patterns["names"]
    return When(
        (lambda key: kinds.matches(key, wanted)) if wanted else bool,
        patterns["namespaces"],
        (lambda name: any(fnmatchcase(name, glob) for glob in names)) if names else bool,
        label_selector.parse(given.get("labels")),
        tuple(_condition(one) for one in given.get("conditions") or ()),
    )


def _condition(given: Mapping[str, Any]) -> Condition:
    path = pointer.parse(given.get("path"))
    if not path:
        raise ValueError("the path of a condition is the whole object")
    tests = [name for name in ("value", "values", "matches", "exists") if given.get(name) is not None]
    if len(tests) != 1:
        raise ValueError(f"the condition on {given['path']} needs one of value, values, matches and exists")
    wanted = given[tests[0]]
    if tests[0] == "matches":
        return Condition(path, "matches", (regular(wanted),))
    if tests[0] == "exists":
        return Condition(path, "exists", (bool(wanted),))
    return Condition(path, "value", tuple(wanted) if tests[0] == "values" else (wanted,))


def regular(text: Any) -> str:
    """The regular expression, once it is known to be one; else ``ValueError``."""
    try:
        re.compile(str(text))
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return str(text)
