# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What quotas and limit ranges of a namespace will refuse, summed over the whole restore in the order of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects, pod_resources, quantity
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_resources import NOTHING, Amounts, Filled
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.quota_scopes import Scope, scopes

QUOTAS = "resourcequotas"
LIMITS = "limitranges"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# Where a quota limits one of these every container has to say how much it wants of it.
_DEMANDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
# Kinds that have a name of their own in quotas besides ``count/…``.
_PLAIN = frozenset(
    {"configmaps", "secrets", "services", "pods", "replicationcontrollers", QUOTAS, "persistentvolumeclaims"}
)
# Of all other kinds a quota counts nothing but their number.
MEASURED = frozenset({"services", kinds.PVCS, "pods"})
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

Usage = Amounts


def usage(key: str, obj: JSON, filled: Filled = NOTHING) -> Usage:
    """What creating the object takes from a quota, by the quota's own names."""
    plural, dot, group = key.partition(".")
    taken: Usage = {f"count/{plural}{dot}{group}": Decimal(1)}
    if key in _PLAIN:
        taken[key] = Decimal(1)
    spec = obj.get("spec") or {}
    if key == "services":
        taken.update(_service(spec))
    elif key == kinds.PVCS:
        asked = quantity.parse(objects.lookup(spec, ("resources", "requests", "storage"))) or Decimal(0)
        size = asked.to_integral_value(ROUND_CEILING)
        taken["requests.storage"] = size
        name = objects.annotations_of(obj).get(_CLASS_ANNOTATION) or spec.get("storageClassName")
        # An empty name means that the claim wants none.
        name = filled.storage_class if name is None else name
        if name:
            prefix = f"{name}.storageclass.storage.k8s.io/"
            taken[f"{prefix}requests.storage"] = size
            taken[f"{prefix}persistentvolumeclaims"] = Decimal(1)
    elif key == "pods":
        taken.update(pods_usage(spec, Decimal(1), filled))
    return taken


def _service(spec: JSON) -> Iterator[tuple[str, Decimal]]:
    kind, ports = spec.get("type"), spec.get("ports") or []
    if kind == "LoadBalancer":
        yield "services.loadbalancers", Decimal(1)
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in ("NodePort", "LoadBalancer"):
        yield "services.nodeports", Decimal(len(ports))


def pods_usage(spec: JSON, number: Decimal, filled: Filled = NOTHING) -> Usage:
    """What that many pods of a specification take."""
    taken: Usage = {"pods": number, "count/pods": number}
    requests, upper = pod_resources.totals(spec, filled)
    for resource, amount in requests.items():
        for name in _requested(resource):
            taken[name] = amount * number
    for resource in _COMPUTE:
        if resource in upper:
            taken[f"limits.{resource}"] = upper[resource] * number
    return {name: amount for name, amount in taken.items() if amount}


def _requested(resource: str) -> tuple[str, ...]:
    """Under which names quotas know a request."""
    if resource in _COMPUTE or resource.startswith("hugepages-"):
        return resource, f"requests.{resource}"
    # Devices and the like, which an administrator or a driver adds.
    extended = "/" in resource and "kubernetes.io/" not in resource
    return (f"requests.{resource}",) if extended else ()


@dataclass
class Quota:
    """One ResourceQuota: what it allows and what is used, raised with every object that is let through.

    ``promised`` is what pods will take that controllers make, sooner or later.
    """

    name: str
    hard: Usage
    used: Usage = field(default_factory=dict)
    scopes: tuple[Scope, ...] = ()
    promised: Usage = field(default_factory=dict)

    def counts(self, key: str, spec: JSON, filled: Filled = NOTHING) -> bool | None:
        """Whether the quota is about an object of that kind and specification; ``None``: nobody knows."""
        known: bool | None = True
        for scope in self.scopes:
            held = scope.holds(key, spec, filled)
            if held is False:
                return False
            known = known and held
        return known

    def refuses(self, taken: Mapping[str, Decimal], *, promised: bool = False) -> str | None:
        """In words, which limit the object would break, or with ``promised`` may break once all is there."""
        for resource, amount in taken.items():
            limit = self.hard.get(resource)
            if limit is None or not amount:
                continue
            used = self.used.get(resource, Decimal(0))
            used += self.promised.get(resource, Decimal(0)) if promised else 0
            if used + amount > limit:
                needs = f"{_text(used)} are used, it needs {_text(amount)}"
                return f"quota {self.name} allows {_text(limit)} {resource}, {needs}"
        return None

    def demands(self, spec: JSON, filled: Filled = NOTHING) -> str | None:
        """In words, what the pods of a specification do not say although the quota wants it said."""
        wanted = _DEMANDED & self.hard.keys()
        if not wanted:
            return None
        for container in pod_resources.containers(spec, filled.limits):
            said = {name for resource in container.requests for name in _requested(resource)}
            said |= {f"limits.{resource}" for resource in container.limits}
            if wanted - said:
                lacking = ", ".join(sorted(wanted - said))
                return f"quota {self.name} wants to know {lacking} of container {container.name}"
        return None

    def take(self, taken: Mapping[str, Decimal], *, promised: bool = False) -> None:
        into = self.promised if promised else self.used
        for resource, amount in taken.items():
            if resource in self.hard:
                into[resource] = into.get(resource, Decimal(0)) + amount


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"


def quota_of(obj: JSON) -> Quota:
    """A quota of the target, as far as it has been counted, which is what the server judges by."""
    status = obj.get("status") or {}
    hard, used = pod_resources.numbers(status.get("hard")), pod_resources.numbers(status.get("used"))
    return Quota(str(obj["metadata"]["name"]), hard, used, scopes(obj))


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


def _limited(key: str, obj: JSON, kind: str, limits: Sequence[JSON]) -> Iterator[tuple[str, Usage, Usage | None]]:
    """What a limit of that kind is about: (name, requests, limits; ``None`` where it has no such thing)."""
    if kind == "PersistentVolumeClaim" and key == kinds.PVCS:
        yield "the claim", pod_resources.numbers(objects.lookup(obj, ("spec", "resources", "requests"))), None
    spec = objects.pod_spec(key, obj)
    if spec is None or kind not in ("Container", "Pod"):
        return
    if kind == "Container":
        for container in pod_resources.containers(spec, limits):
            yield f"container {container.name}", container.requests, container.limits
    else:
        bare: JSON = {name: spec[name] for name in ("containers", "initContainers") if name in spec}
        yield "the pod", *pod_resources.totals(bare, Filled(limits))


def _outside(limit: JSON, requests: Usage, upper: Usage | None) -> str | None:
    for resource, most in pod_resources.numbers(limit.get("max")).items():
        if upper is not None and resource not in upper:
            return f"there must be a limit of at most {_text(most)} {resource}, and there is none"
        for given in (requests, upper or {}):
            if given.get(resource, most) > most:
                return f"{_text(given[resource])} {resource}, at most {_text(most)}"
    for resource, least in pod_resources.numbers(limit.get("min")).items():
        if resource not in requests:
            return f"at least {_text(least)} {resource} must be requested, and none is"
        for given in (requests, upper or {}):
            if given.get(resource, least) < least:
                return f"{_text(given[resource])} {resource}, at least {_text(least)}"
    # Claims have no limits, and are not asked for any.
    return _overcommitted(limit, requests, upper) if upper is not None else None


def _overcommitted(limit: JSON, requests: Usage, upper: Usage) -> str | None:
    """In words, which limit is too many times its request; one of nothing counts as none."""
    for resource, ratio in pod_resources.numbers(limit.get("maxLimitRequestRatio")).items():
        asked, allowed = requests.get(resource), upper.get(resource)
        times = f"at most {_text(ratio)} times the request"
        if not asked:
            return f"{resource} must be requested, the limit being {times}, and none is"
        if not allowed:
            return f"there must be a limit of {resource}, {times}, and there is none"
        if allowed > ratio * asked:
            return f"a limit of {_text(allowed)} {resource} for a request of {_text(asked)}, {times}"
    return None
