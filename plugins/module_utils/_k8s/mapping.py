# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Restoring into namespaces of other names: every reference that is known follows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects, related
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_NAME_LABEL = "kubernetes.io/metadata.name"
_LONGEST = 253
_ROLE_BINDINGS = ("rolebindings.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io")
_WEBHOOKS = (
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
# Kinds of one cluster whose effect is on namespaces: with other namespaces they need a name of their own.
COPIED = ("clusterrolebindings.rbac.authorization.k8s.io", *_WEBHOOKS)


@dataclass(frozen=True)
class NamespaceMapping:
    """Source to target; namespaces that are not named keep their name."""

    names: Mapping[str, str]

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
        notes: list[str] = []
        metadata = obj["metadata"]
        if key == kinds.NAMESPACES:
            if self.moves(metadata["name"]):
                metadata["name"] = self.target(metadata["name"])
                forget_applied(obj)
            return []
        if metadata.get("namespace"):
            metadata["namespace"] = self.target(metadata["namespace"])
        if key in _ROLE_BINDINGS:
            self._subjects(obj, notes)
        elif key in _WEBHOOKS:
            for webhook in obj.get("webhooks") or []:
                self._field(objects.lookup(webhook, ("clientConfig", "service")), "namespace", notes)
                self._selector(webhook.get("namespaceSelector"), notes)
        elif key == "apiservices.apiregistration.k8s.io":
            self._field(objects.lookup(obj, ("spec", "service")), "namespace", notes)
        elif key == kinds.CRDS:
            self._field(
                objects.lookup(obj, ("spec", "conversion", "webhook", "clientConfig", "service")), "namespace", notes
            )
        elif key == "networkpolicies.networking.k8s.io":
            for rule in [*(obj["spec"].get("ingress") or []), *(obj["spec"].get("egress") or [])]:
                for peer in [*(rule.get("from") or []), *(rule.get("to") or [])]:
                    self._selector(peer.get("namespaceSelector"), notes)
        pods = objects.pod_spec(key, obj)
        if pods is not None:
            self._affinity(pods.get("affinity"), notes)
        elif not kinds.built_in(key):
            self._references(obj.get("spec"), notes)
        return notes

    def _field(self, parent: Any, field: str, notes: list[str]) -> None:
        if isinstance(parent, dict) and isinstance(parent.get(field), str) and self.moves(parent[field]):
            notes.append(f"reference to namespace {parent[field]} now {self.target(parent[field])}")
            parent[field] = self.target(parent[field])

    def _subjects(self, obj: JSON, notes: list[str]) -> None:
        for subject in obj.get("subjects") or []:
            namespace = related.subject_namespace(subject)
            if namespace is None or not self.moves(namespace):
                continue
            if subject.get("kind") == "ServiceAccount":
                self._field(subject, "namespace", notes)
            else:
                parts = str(subject["name"]).split(":")
                parts[2] = self.target(namespace)
                subject["name"] = ":".join(parts)
                notes.append(f"subject now {subject['name']}")

    def _selector(self, selector: Any, notes: list[str]) -> None:
        if not isinstance(selector, dict):
            return
        self._field(selector.get("matchLabels"), _NAME_LABEL, notes)
        for expression in selector.get("matchExpressions") or []:
            if expression.get("key") == _NAME_LABEL and expression.get("values"):
                expression["values"] = [self.target(value) for value in expression["values"]]

    def _affinity(self, affinity: Any, notes: list[str]) -> None:
        """Pod (anti-)affinity terms may name namespaces, at any depth."""
        if isinstance(affinity, dict):
            named = affinity.get("namespaces")
            if isinstance(named, list):
                affinity["namespaces"] = [self.target(str(value)) for value in named]
            self._selector(affinity.get("namespaceSelector"), notes)
            for value in affinity.values():
                self._affinity(value, notes)
        elif isinstance(affinity, list):
            for value in affinity:
                self._affinity(value, notes)

    def _references(self, value: Any, notes: list[str]) -> None:
        """In custom resources a ``name`` beside a ``namespace`` is a reference."""
        if isinstance(value, dict):
            if "name" in value:
                self._field(value, "namespace", notes)
            for inner in value.values():
                self._references(inner, notes)
        elif isinstance(value, list):
            for inner in value:
                self._references(inner, notes)

    def touches(self, key: str, obj: JSON) -> bool:
        """Whether a cluster-scoped object acts on a namespace that moves, so that the restored one must be a copy."""
        if key == "clusterrolebindings.rbac.authorization.k8s.io":
            spaces = [related.subject_namespace(subject) for subject in obj.get("subjects") or []]
        elif key in _WEBHOOKS:
            spaces = list(related.webhook_namespaces(obj))
        else:
            return False
        return any(space is not None and self.moves(space) for space in spaces)


def subject_in(subject: JSON, namespaces: set[str]) -> bool:
    """Whether a binding's subject lives in one of the namespaces."""
    return related.subject_namespace(subject) in namespaces


def forget_applied(obj: JSON) -> None:
    """Drop what kubectl remembers: for an object of another name it would be about the original."""
    (obj["metadata"].get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)


def suffixed(name: str, suffix: str) -> str:
    """``name-suffix``, cut so that it fits and still is unique and reproducible."""
    full = f"{name}-{re.sub(r'[^a-z0-9.-]+', '-', suffix.lower()).strip('.-')}"
    if len(full) <= _LONGEST:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:10]
    return f"{full[: _LONGEST - 11].rstrip('-.')}-{digest}"
