# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Label selectors, as text (``app=api,tier in (a,b),!old``), as plain labels, or as Kubernetes' LabelSelector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SETS = re.compile(r"(?P<key>[\w./-]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_PAIR = re.compile(r"(?P<key>[\w./-]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)")
_NAME = re.compile(r"(?P<no>!?)\s*(?P<key>[\w./-]+)")
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}


@dataclass(frozen=True)
class Requirement:
    """One term: ``in``, ``notin`` with values, ``exists`` or ``absent``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """As the API server decides: ``notin`` and ``!=`` hold for an object without the label too."""
        if self.operator == "exists":
            return self.key in labels
        if self.operator == "absent":
            return self.key not in labels
        return (labels.get(self.key) in self.values) is (self.operator == "in")


def parse(given: Any) -> tuple[Requirement, ...]:
    """All terms, which all have to hold; nothing given means everything. Raises ``ValueError`` in words."""
    if not given:
        return ()
    if isinstance(given, str):
        return tuple(_term(text.strip()) for text in re.split(r",(?![^(]*\))", given))
    if not isinstance(given, Mapping):
        raise ValueError(f"{given!r} is no label selector")
    if given.keys() <= {"matchLabels", "matchExpressions"}:
        return (*_equal(given.get("matchLabels") or {}), *map(_expression, given.get("matchExpressions") or ()))
    return _equal(given)


def takes(given: Any, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes something with these labels; one that cannot be read takes nothing."""
    try:
        return all(one.holds(labels) for one in parse(given))
    except ValueError:
        return False


def _equal(labels: Mapping[str, Any]) -> tuple[Requirement, ...]:
    return tuple(Requirement(str(key), "in", frozenset({str(value)})) for key, value in labels.items())


def _expression(one: Any) -> Requirement:
    operator = _OPERATORS.get(str(one.get("operator"))) if isinstance(one, Mapping) else None
    if operator is None or not one.get("key"):
        raise ValueError(f"{one!r} is no expression of a label selector")
    return Requirement(str(one["key"]), operator, frozenset(str(value) for value in one.get("values") or ()))


def _term(text: str) -> Requirement:
    match = _SETS.fullmatch(text)
    if match:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], match["operator"], values)
    match = _PAIR.fullmatch(text)
    if match:
        operator = "notin" if match["operator"] == "!=" else "in"
        return Requirement(match["key"], operator, frozenset({match["value"]}))
    match = _NAME.fullmatch(text)
    if match:
        return Requirement(match["key"], "absent" if match["no"] else "exists")
    raise ValueError(f"{text!r} is no term of a label selector")
