# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What pods ask for, as the server counts it once it has filled in what they leave open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects, quantity
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

Amounts = dict[str, Decimal]
ALWAYS = "Always"


@dataclass(frozen=True)
class Filled:
    """What the target fills in before it counts: the items of a namespace's limit ranges, and of the whole cluster
    its default classes and the overhead of each runtime class."""

    limits: Sequence[JSON] = ()
    storage_class: str = ""
    priority_class: str = ""
    overheads: Mapping[str, Amounts] = field(default_factory=dict)

    def priority_of(self, spec: JSON) -> str:
        """The name of the priority class that pods will have."""
        return str(spec.get("priorityClassName") or self.priority_class)


NOTHING = Filled()


@dataclass(frozen=True)
class Container:
    """Requests and limits of one container after defaulting; a ``sidecar`` starts first and goes on running."""

    name: str
    requests: Amounts
    limits: Amounts
    first: bool = False
    sidecar: bool = False


def numbers(values: Mapping[str, str] | None) -> Amounts:
    found = {name: quantity.parse(value) for name, value in (values or {}).items()}
    return {name: value for name, value in found.items() if value is not None}


def containers(spec: JSON, limits: Sequence[JSON] = ()) -> Iterator[Container]:
    """All of a pod specification but those for debugging."""
    for where in ("containers", "initContainers"):
        for one in spec.get(where) or []:
            requests, upper = defaulted(one.get("resources") or {}, limits)
            first = where == "initContainers"
            sidecar = first and one.get("restartPolicy") == ALWAYS
            yield Container(str(one.get("name")), requests, upper, first, sidecar)


def defaulted(resources: JSON, limits: Sequence[JSON]) -> tuple[Amounts, Amounts]:
    """Requests and limits of a container after the server has filled in what is not given."""
    upper = numbers(resources.get("limits"))
    requests = {**upper, **numbers(resources.get("requests"))}
    for limit in limits:
        if limit.get("type") == "Container":
            requests = {**numbers(limit.get("defaultRequest")), **requests}
            upper = {**numbers(limit.get("default")), **upper}
    return {**upper, **requests}, upper


def totals(spec: JSON, filled: Filled = NOTHING) -> tuple[Amounts, Amounts]:
    """Requests and limits of one whole pod."""
    found = list(containers(spec, filled.limits))
    requests = _summed([(one, one.requests) for one in found])
    upper = _summed([(one, one.limits) for one in found])
    own = objects.lookup(spec, ("resources", "requests")), objects.lookup(spec, ("resources", "limits"))
    requests.update({**numbers(own[1]), **numbers(own[0])})
    upper.update(numbers(own[1]))
    overhead = numbers(spec.get("overhead")) or filled.overheads.get(str(spec.get("runtimeClassName")), {})
    for name, amount in overhead.items():
        requests[name] = requests.get(name, Decimal(0)) + amount
        if upper.get(name):
            upper[name] += amount
    return requests, upper


def _summed(parts: Sequence[tuple[Container, Amounts]]) -> Amounts:
    """Those that run together, or what starting them one after the other takes, if that is more."""
    running: Amounts = {}
    for one, amounts in parts:
        if not one.first or one.sidecar:
            _add(running, amounts)
    starting: Amounts = {}
    sidecars: Amounts = {}
    for one, amounts in parts:
        if not one.first:
            continue
        now = dict(sidecars)
        _add(now, amounts)
        if one.sidecar:
            sidecars = now
        starting = {name: max(now.get(name, Decimal(0)), starting.get(name, Decimal(0))) for name in {*now, *starting}}
    return {name: max(running.get(name, Decimal(0)), starting.get(name, Decimal(0))) for name in {*running, *starting}}


def _add(total: Amounts, amounts: Amounts) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, Decimal(0)) + amount


def best_effort(spec: JSON, filled: Filled = NOTHING) -> bool:
    """Whether pods ask for nothing, so that they are the first to go."""
    requests, upper = totals({**spec, "overhead": None, "runtimeClassName": None}, filled)
    return not any(amounts.get(name) for amounts in (requests, upper) for name in ("cpu", "memory"))
