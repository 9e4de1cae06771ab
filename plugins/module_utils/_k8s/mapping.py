# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Restoring into namespaces of other names: every reference that is known follows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    kinds,
    objects,
    pointer,
    reference_table,
    related,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.reference_table import Holds, Reference
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.service_names import ServiceNames

_NAME_LABEL = "kubernetes.io/metadata.name"
_LONGEST = 253
_ROLE_BINDINGS = ("rolebindings.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io")
_ROLES = ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io")
_WEBHOOKS = (
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
# Kinds of one cluster whose effect is on namespaces: with other namespaces they need a name of their own.
# No reference to a namespace is in them, and there are many.
_PLAIN = frozenset({"configmaps", "secrets", "serviceaccounts"})
COPIED = ("clusterrolebindings.rbac.authorization.k8s.io", *_WEBHOOKS)


_QUOTED = re.compile(r"""(?P<quote>["'])(?P<name>[a-z0-9][a-z0-9-]*)(?P=quote)""")
# In expressions only what is compared with a namespace is one.
_COMPARED = re.compile(
    r"""(?P<head>\b(?:namespace|exported_namespace|kubernetes\.io/metadata\.name|projectcalico\.org/name)\s*"""
    r"""(?:==|!=|=|in|not in)\s*)(?P<tail>\{[^}]*\}|"[^"]*"|'[^']*')"""
)
_ACCOUNT = re.compile(r"(?<![\w:-])system:serviceaccounts?:(?P<name>[a-z0-9-]+)(?![\w-])")
_PRINCIPAL = re.compile(r"(?:^|/)ns/(?P<name>[a-z0-9-]+)(?=/)")


@dataclass(frozen=True)
class NamespaceMapping:
    """Source to target; namespaces that are not named keep their name.

    ``references`` is the user's part of the table of references.
    """

    names: Mapping[str, str]
    references: tuple[Reference, ...] = ()

    def target(self, namespace: str) -> str:
        return self.names.get(namespace, namespace)

    def moves(self, namespace: str) -> bool:
        return self.target(namespace) != namespace

    @property
    def moving(self) -> bool:
        return any(self.moves(namespace) for namespace in self.names)

    def rewrite(self, key: str, obj: JSON) -> list[str]:
        """Move one object in place; returns in words what was rewritten besides its own namespace."""
        if not self.moving:
            return []
        metadata = obj["metadata"]
        if key == kinds.NAMESPACES:
            if self.moves(metadata["name"]):
                metadata["name"] = self.target(metadata["name"])
                forget_applied(obj)
            return []
        if metadata.get("namespace"):
            metadata["namespace"] = self.target(metadata["namespace"])
            rename_applied(obj)
        return [] if key in _PLAIN else _Following(self, key, obj).run()

    def touches(self, key: str, obj: JSON) -> bool:
        """Whether a cluster-scoped object acts on a namespace that moves, so that the restored one must be a copy."""
        if key == "clusterrolebindings.rbac.authorization.k8s.io":
            spaces = [related.subject_namespace(subject) for subject in obj.get("subjects") or []]
        elif key in _WEBHOOKS:
            spaces = [*related.webhook_namespaces(obj), *_selected(obj)]
        else:
            return False
        return any(space is not None and self.moves(space) for space in spaces)


class _Following:
    """The references of one object. Every place is rewritten once: with namespaces swapped, twice would be back."""

    def __init__(self, names: NamespaceMapping, key: str, obj: JSON) -> None:
        self.names = names
        self.key = key
        self.obj = obj
        self.notes: list[str] = []
        self.done: set[tuple[int, str]] = set()

    def run(self) -> list[str]:
        """Rewrite all and say in words what."""
        key, obj = self.key, self.obj
        if key in _ROLE_BINDINGS:
            self._subjects()
        elif key in _ROLES:
            self._resource_names()
        for reference in (*reference_table.NAMESPACE_REFERENCES, *self.names.references):
            if kinds.matches(key, reference.kinds):
                self._place(reference)
        contents = [(name, value) for name, value in obj.items() if name not in ("metadata", "status")]
        for name, value in contents:
            self._selectors(value, f"/{name}")
        pods = objects.pod_spec(key, obj)
        if pods is not None:
            self._affinity(pods.get("affinity"))
        elif not kinds.built_in(key):
            for name, value in contents:
                self._references(value, f"/{name}")
        return self.notes

    def _first(self, holder: Any, name: str) -> bool:
        place = (id(holder), name)
        new = place not in self.done
        self.done.add(place)
        return new

    def _place(self, reference: Reference) -> None:
        for tokens, holder, value in list(pointer.places(self.obj, reference.path)):
            if not isinstance(value, str):
                continue
            new = self._renamed(reference.holds, value)
            if new != value and self._first(holder, tokens[-1]):
                holder[pointer.key_in(holder, tokens[-1])] = new
                self.notes.append(f"{pointer.written(tokens)}: {_shown(value, new)}")

    def _renamed(self, holds: Holds, value: str) -> str:
        names = self.names
        if holds is Holds.NAMESPACE:
            return names.target(value)
        if holds is Holds.NAMESPACED_NAME:
            namespace, slash, name = value.partition("/")
            return f"{names.target(namespace)}{slash}{name}" if slash else value
        if holds is Holds.HOST:
            return ServiceNames(names.names).host(value.rstrip(".")) or value
        if holds is Holds.ACCOUNT:
            return _ACCOUNT.sub(self._put, _PRINCIPAL.sub(self._put, value))
        return _COMPARED.sub(lambda match: match["head"] + _QUOTED.sub(self._put, match["tail"]), value)

    def _put(self, match: re.Match[str]) -> str:
        start, end = match.start("name") - match.start(), match.end("name") - match.start()
        return match.group()[:start] + self.names.target(match["name"]) + match.group()[end:]

    def _field(self, parent: Any, field: str, where: str) -> None:
        if not isinstance(parent, dict) or not isinstance(parent.get(field), str):
            return
        if self.names.moves(parent[field]) and self._first(parent, field):
            self.notes.append(f"{where}/{field}: namespace {parent[field]} now {self.names.target(parent[field])}")
            parent[field] = self.names.target(parent[field])

    def _subjects(self) -> None:
        for subject in self.obj.get("subjects") or []:
            namespace = related.subject_namespace(subject)
            if namespace is None or not self.names.moves(namespace):
                continue
            if subject.get("kind") == "ServiceAccount":
                self._field(subject, "namespace", f"subject {subject.get('name')}")
            else:
                parts = str(subject["name"]).split(":")
                parts[2] = self.names.target(namespace)
                subject["name"] = ":".join(parts)
                self.notes.append(f"subject now {subject['name']}")

    def _resource_names(self) -> None:
        """A role on namespaces by name."""
        for rule in self.obj.get("rules") or []:
            plain = [str(one).partition("/")[0] for one in rule.get("resources") or []]
            names = rule.get("resourceNames") or []
            if plain and set(plain) == {"namespaces"} and any(self.names.moves(str(name)) for name in names):
                rule["resourceNames"] = list(dict.fromkeys(self.names.target(str(name)) for name in names))
                self.notes.append(f"rule on namespaces {', '.join(names)} now on {', '.join(rule['resourceNames'])}")

    def _selectors(self, value: Any, where: str) -> None:
        """Label selectors at any depth: nothing but namespaces carries this label."""
        if isinstance(value, dict):
            labels = value.get("matchLabels")
            if isinstance(labels, dict):
                self._field(labels, _NAME_LABEL, f"{where}/matchLabels")
            expressions = value.get("matchExpressions")
            for expression in expressions if isinstance(expressions, list) else []:
                if isinstance(expression, dict) and expression.get("key") == _NAME_LABEL and expression.get("values"):
                    self._list(expression, "values", f"{where}/matchExpressions")
            for name, inner in value.items():
                self._selectors(inner, f"{where}/{name}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self._selectors(inner, f"{where}/{number}")

    def _list(self, parent: JSON, field: str, where: str) -> None:
        old = [str(value) for value in parent[field]]
        new = list(dict.fromkeys(self.names.target(value) for value in old))
        if new != old and self._first(parent, field):
            parent[field] = new
            self.notes.append(f"{where}/{field}: {', '.join(old)} now {', '.join(new)}")

    def _affinity(self, affinity: Any) -> None:
        """Pod (anti-)affinity terms may name namespaces, at any depth."""
        if isinstance(affinity, dict):
            if isinstance(affinity.get("namespaces"), list):
                self._list(affinity, "namespaces", "affinity")
            for value in affinity.values():
                self._affinity(value)
        elif isinstance(affinity, list):
            for value in affinity:
                self._affinity(value)

    def _references(self, value: Any, where: str) -> None:
        """In custom resources a ``name`` beside a ``namespace`` is a reference."""
        if isinstance(value, dict):
            if "name" in value:
                self._field(value, "namespace", where)
            for name, inner in value.items():
                self._references(inner, f"{where}/{name}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self._references(inner, f"{where}/{number}")


def _selected(obj: JSON) -> Iterator[str]:
    """The namespaces by whose name a webhook configuration is for them."""
    for webhook in obj.get("webhooks") or []:
        selector = webhook.get("namespaceSelector") or {}
        yield from [value for name, value in (selector.get("matchLabels") or {}).items() if name == _NAME_LABEL]
        for expression in selector.get("matchExpressions") or []:
            if expression.get("key") == _NAME_LABEL and expression.get("operator") == "In":
                yield from expression.get("values") or []


def forget_applied(obj: JSON) -> None:
    """Drop what kubectl remembers: for an object of another name it would be about the original."""
    (obj["metadata"].get("annotations") or {}).pop(kinds.LAST_APPLIED, None)


def rename_applied(obj: JSON) -> None:
    """Let what kubectl remembers be about the object's name and namespace, so that a later apply can remove fields."""
    notes = obj["metadata"].get("annotations") or {}
    if kinds.LAST_APPLIED not in notes:
        return
    try:
        applied = json.loads(notes[kinds.LAST_APPLIED])
        metadata = applied["metadata"]
        metadata["name"] = obj["metadata"]["name"]
        if obj["metadata"].get("namespace"):
            metadata["namespace"] = obj["metadata"]["namespace"]
    except (ValueError, TypeError, KeyError):
        forget_applied(obj)
        return
    notes[kinds.LAST_APPLIED] = json.dumps(applied, separators=(",", ":")) + "\n"


def _shown(old: str, new: str) -> str:
    """Short values in full; of long expressions only that they changed."""
    return f"{old} now {new}" if len(old) + len(new) <= 120 else "namespaces in it follow"


def suffixed(name: str, suffix: str) -> str:
    """``name-suffix``, cut so that it fits and still is unique and reproducible."""
    full = f"{name}-{re.sub(r'[^a-z0-9.-]+', '-', suffix.lower()).strip('.-')}"
    if len(full) <= _LONGEST:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:10]
    return f"{full[: _LONGEST - 11].rstrip('-.')}-{digest}"
