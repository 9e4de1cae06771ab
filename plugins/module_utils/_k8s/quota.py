# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What quotas and limit ranges of a namespace will refuse, summed over the whole restore in the order of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects, quantity
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

QUOTAS = "resourcequotas"
LIMITS = "limitranges"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# Kinds that have a name of their own in quotas besides ``count/…``.
_PLAIN = frozenset(
    {"configmaps", "secrets", "services", "pods", "replicationcontrollers", QUOTAS, "persistentvolumeclaims"}
)

Usage = dict[str, Decimal]


def usage(key: str, obj: JSON) -> Usage:
    """What creating the object takes from a quota, by the quota's own names."""
    plural, dot, group = key.partition(".")
    taken: Usage = {f"count/{plural}{dot}{group}": Decimal(1)}
    if key in _PLAIN:
        taken[key] = Decimal(1)
    spec = obj.get("spec") or {}
    if key == "services":
        if spec.get("type") == "LoadBalancer":
            taken["services.loadbalancers"] = Decimal(1)
        if spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
            taken["services.nodeports"] = Decimal(len(spec.get("ports") or []))
    elif key == kinds.PVCS:
        size = quantity.parse(objects.lookup(spec, ("resources", "requests", "storage"))) or Decimal(0)
        taken["requests.storage"] = size
        name = spec.get("storageClassName")
        if name:
            prefix = f"{name}.storageclass.storage.k8s.io/"
            taken[f"{prefix}requests.storage"] = size
            taken[f"{prefix}persistentvolumeclaims"] = Decimal(1)
    elif key == "pods":
        taken.update(pods_usage(spec, Decimal(1)))
    return taken


def pods_usage(spec: JSON, number: Decimal) -> Usage:
    """What that many pods of a specification take."""
    taken: Usage = {"pods": number}
    for field_name in ("requests", "limits"):
        for resource in _COMPUTE:
            total = Decimal(0)
            for container in spec.get("containers") or []:
                resources = container.get("resources") or {}
                given = (resources.get(field_name) or {}).get(resource)
                # A container with a limit only requests as much.
                if given is None and field_name == "requests":
                    given = (resources.get("limits") or {}).get(resource)
                total += quantity.parse(given) or Decimal(0)
            if total:
                taken[f"{field_name}.{resource}"] = total * number
                if field_name == "requests":
                    taken[resource] = total * number
    return taken


@dataclass
class Quota:
    """One ResourceQuota: what it allows and what is used, raised with every object that is let through."""

    name: str
    hard: Usage
    used: Usage = field(default_factory=dict)

    def refuses(self, taken: Mapping[str, Decimal]) -> str | None:
        """In words, which limit the object would break; ``None``: it fits."""
        for resource, amount in taken.items():
            limit = self.hard.get(resource)
            if limit is not None and amount and self.used.get(resource, Decimal(0)) + amount > limit:
                used = self.used.get(resource, Decimal(0))
                needs = f"{_text(used)} are used, it needs {_text(amount)}"
                return f"quota {self.name} allows {_text(limit)} {resource}, {needs}"
        return None

    def take(self, taken: Mapping[str, Decimal]) -> None:
        for resource, amount in taken.items():
            if resource in self.hard:
                self.used[resource] = self.used.get(resource, Decimal(0)) + amount


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _numbers(values: Mapping[str, str] | None) -> Usage:
    found = {name: quantity.parse(value) for name, value in (values or {}).items()}
    return {name: value for name, value in found.items() if value is not None}


def quota_of(obj: JSON) -> Quota | None:
    """A quota of the target or of the capture; scoped ones, which count some pods only, are left to the server."""
    spec = obj.get("spec") or {}
    if spec.get("scopes") or spec.get("scopeSelector"):
        return None
    used = _numbers((obj.get("status") or {}).get("used"))
    return Quota(str(obj["metadata"]["name"]), _numbers(spec.get("hard")), used)


def outside_limits(key: str, obj: JSON, ranges: list[JSON]) -> str | None:
    """In words, how a claim or the pods of an object break a limit range; ``None``: they do not."""
    limits = [
        (one["metadata"]["name"], item) for one in ranges for item in objects.lookup(one, ("spec", "limits")) or []
    ]
    for name, limit in limits:
        for what, requests, upper in _limited(key, obj, str(limit.get("type")), [item for _name, item in limits]):
            problem = _outside(limit, requests, upper)
            if problem:
                return f"{what} is outside limit range {name}: {problem}"
    return None


def _limited(key: str, obj: JSON, kind: str, limits: list[JSON]) -> Iterator[tuple[str, Usage, Usage | None]]:
    """What a limit of that kind is about: (name, requests, limits; ``None`` where it has no such thing)."""
    if kind == "PersistentVolumeClaim" and key == kinds.PVCS:
        yield "the claim", _numbers(objects.lookup(obj, ("spec", "resources", "requests"))), None
    spec = objects.pod_spec(key, obj)
    if spec is None or kind not in ("Container", "Pod"):
        return
    total_requests: Usage = {}
    total_limits: Usage = {}
    for container in spec.get("containers") or []:
        requests, upper = _defaulted(container.get("resources") or {}, limits)
        if kind == "Container":
            yield f"container {container.get('name')}", requests, upper
        for total, given in ((total_requests, requests), (total_limits, upper)):
            for resource, value in given.items():
                total[resource] = total.get(resource, Decimal(0)) + value
    if kind == "Pod":
        yield "the pod", total_requests, total_limits


def _defaulted(resources: JSON, limits: list[JSON]) -> tuple[Usage, Usage]:
    """Requests and limits of a container after the server has filled in what is not given."""
    upper = _numbers(resources.get("limits"))
    requests = {**upper, **_numbers(resources.get("requests"))}
    for limit in limits:
        if limit.get("type") == "Container":
            requests = {**_numbers(limit.get("defaultRequest")), **requests}
            upper = {**_numbers(limit.get("default")), **upper}
    return {**upper, **requests}, upper


def _outside(limit: JSON, requests: Usage, upper: Usage | None) -> str | None:
    for resource, most in _numbers(limit.get("max")).items():
        if upper is not None and resource not in upper:
            return f"there must be a limit of at most {_text(most)} {resource}, and there is none"
        for given in (requests, upper or {}):
            if given.get(resource, most) > most:
                return f"{_text(given[resource])} {resource}, at most {_text(most)}"
    for resource, least in _numbers(limit.get("min")).items():
        if resource not in requests:
            return f"at least {_text(least)} {resource} must be requested, and none is"
        for given in (requests, upper or {}):
            if given.get(resource, least) < least:
                return f"{_text(given[resource])} {resource}, at least {_text(least)}"
    return None
