# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which objects a scoped quota counts: as the server judges, and unknown where servers judge differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects, pod_resources
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_resources import Filled


@dataclass(frozen=True)
class Scope:
    """One requirement of a quota."""

    name: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()

    def holds(self, key: str, spec: JSON, filled: Filled) -> bool | None:
        """Whether an object of that specification is meant; ``None``: the server may see it either way."""
        if key == kinds.PVCS and self.name == "VolumeAttributesClass":
            # Only newer servers know this scope; for older ones it never holds.
            return None if self._selects(str(spec.get("volumeAttributesClassName") or "")) else False
        if key != "pods":
            return False
        if self.name in ("Terminating", "NotTerminating"):
            return (spec.get("activeDeadlineSeconds") is not None) is (self.name == "Terminating")
        if self.name in ("BestEffort", "NotBestEffort"):
            return pod_resources.best_effort(spec, filled) is (self.name == "BestEffort")
        if self.name == "PriorityClass":
            return self._selects(filled.priority_of(spec))
        if self.name == "CrossNamespacePodAffinity":
            return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in _terms(spec))
        return False if self.name == "VolumeAttributesClass" else None

    def _selects(self, name: str) -> bool:
        if self.operator == "Exists":
            return bool(name)
        if self.operator == "DoesNotExist":
            return not name
        return (name in self.values) is (self.operator == "In")


def scopes(quota: JSON) -> tuple[Scope, ...]:
    """All requirements of a ResourceQuota; without any it counts everything."""
    spec = quota.get("spec") or {}
    given = [Scope(str(name)) for name in spec.get("scopes") or []]
    for one in objects.lookup(spec, ("scopeSelector", "matchExpressions")) or []:
        values = tuple(str(value) for value in one.get("values") or [])
        given.append(Scope(str(one.get("scopeName")), str(one.get("operator")), values))
    return tuple(given)


def _terms(spec: JSON) -> Iterator[JSON]:
    """The terms of a pod's affinities to other pods."""
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = objects.lookup(spec, ("affinity", kind)) or {}
        yield from affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []
        for weighted in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []:
            yield weighted.get("podAffinityTerm") or {}
