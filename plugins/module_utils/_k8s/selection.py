# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which objects of a cluster belong to an application."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_REQUIREMENT = re.compile(
    r"^\s*(?:(?P<absent>!)\s*(?P<no>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|\s+(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?)\s*$"
)


@dataclass(frozen=True)
class Requirement:
    """One part of a label selector: the key must (not) have one of the values; no values: must (not) be there."""

    key: str
    values: frozenset[str] | None
    wanted: bool

    def met(self, labels: Mapping[str, str]) -> bool:
        if self.values is None:
            return (self.key in labels) == self.wanted
        return (labels.get(self.key) in self.values) == self.wanted


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Read ``app=ledger,tier in (a,b),!legacy``, kubectl's notation; all parts must be met."""
    parts = []
    for part in re.split(r",(?![^(]*\))", text):
        match = _REQUIREMENT.match(part)
        if not match:
            raise InvalidInput("read", f"label selector {text!r}", f"{part!r} is no part of one", "Write app=ledger.")
        if match["absent"]:
            parts.append(Requirement(match["no"], None, wanted=False))
        elif match["set"]:
            values = frozenset(value.strip() for value in match["values"].split(","))
            parts.append(Requirement(match["key"], values, wanted=match["set"] == "in"))
        elif match["op"]:
            parts.append(Requirement(match["key"], frozenset({match["value"]}), wanted=match["op"] != "!="))
        else:
            parts.append(Requirement(match["key"], None, wanted=True))
    return tuple(parts)


@dataclass(frozen=True)
class Selection:
    """An application's objects: namespaces (names and globs), label selectors (OR between them), kinds in and out."""

    application: str
    namespaces: tuple[str, ...]
    selectors: tuple[tuple[Requirement, ...], ...] = ()
    include_kinds: tuple[str, ...] = ()
    exclude_kinds: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = kinds.LEFT_OUT

    @classmethod
    def of(cls, application: Mapping[str, Any], leave_out: Iterable[str] | None = None) -> Selection:
        """Read an inventory's application: ``namespaces``, ``selectors``, ``include_kinds``, ``exclude_kinds``."""
        name = str(application.get("name") or "")
        if not name:
            raise InvalidInput("read", "the application", "it has no name", "Give application.name.")
        namespaces = _texts(application, "namespaces")
        selectors = tuple(parse_selector(text) for text in _texts(application, "selectors"))
        if not namespaces and not selectors:
            raise InvalidInput(
                "capture",
                f"application {name}",
                "it names neither namespaces nor selectors",
                "Give application.namespaces.",
            )
        return cls(
            application=name,
            namespaces=namespaces or ("*",),
            selectors=selectors,
            include_kinds=_texts(application, "include_kinds"),
            exclude_kinds=_texts(application, "exclude_kinds"),
            leave_out=kinds.LEFT_OUT if leave_out is None else tuple(leave_out),
        )

    def pick_namespaces(self, present: Iterable[str]) -> list[str]:
        """The namespaces meant, sorted. Raises :class:`NotFound` naming the patterns that match nothing."""
        there = sorted(present)
        picked: set[str] = set()
        idle = []
        for pattern in self.namespaces:
            if pattern in there:
                found = {pattern}
            else:
                found = {name for name in there if fnmatchcase(name, pattern) and name not in kinds.CLUSTER_NAMESPACES}
            picked |= found
            if not found:
                idle.append(pattern)
        if idle:
            raise NotFound(
                "find",
                f"namespace {', '.join(idle)} of application {self.application}",
                "no namespace of the cluster has that name",
                "Mend application.namespaces, or point kubeconfig and context at the right cluster.",
            )
        return sorted(picked)

    def wants_kind(self, key: str) -> bool:
        if kinds.matches(key, self.leave_out) or kinds.matches(key, self.exclude_kinds):
            return False
        return not self.include_kinds or kinds.matches(key, self.include_kinds)

    def labelled(self, obj: JSON) -> bool:
        """Whether one of the selectors takes the object; without selectors everything is taken."""
        if not self.selectors:
            return True
        labels = objects.labels_of(obj)
        return any(all(part.met(labels) for part in selector) for selector in self.selectors)


def excluded_by_mark(obj: JSON) -> str | None:
    """The label or annotation with which its owner keeps an object out of backups."""
    labels, annotations = objects.labels_of(obj), objects.annotations_of(obj)
    if labels.get(kinds.VELERO_EXCLUDE) == "true":
        return f"label {kinds.VELERO_EXCLUDE}=true"
    for where, marks in (("label", labels), ("annotation", annotations)):
        if str(marks.get(kinds.EXCLUDE, "false")).lower() != "false":
            return f"{where} {kinds.EXCLUDE}"
    return None


def left_out_by_nature(key: str, obj: JSON) -> str | None:
    """Why an object says nothing about the application: made by a controller from another one, or ours."""
    if (key, objects.identity(key, obj).name) in kinds.EVERYWHERE:
        return "every namespace has it"
    if key in ("pods", "replicasets.apps", "endpointslices.discovery.k8s.io") and objects.controlled_by_built_in(obj):
        return "its controller makes it"
    labels = objects.labels_of(obj)
    ours = labels.get(kinds.MANAGED_BY) == kinds.MANAGER
    if ours and key not in (kinds.PVCS, kinds.NAMESPACES) and labels.get(kinds.ROLE) != kinds.PULL_SECRET:
        return "it is part of a run of muster.container_dr"
    return None


def _texts(application: Mapping[str, Any], option: str) -> tuple[str, ...]:
    value = application.get(option) or ()
    if isinstance(value, str) or not all(isinstance(item, str) and item for item in value):
        raise InvalidInput("read", f"application.{option}", "it is not a list of texts", "Write it as a list.")
    return tuple(value)
