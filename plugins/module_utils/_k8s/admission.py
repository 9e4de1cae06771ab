# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Admission webhooks of the target that are called for a restored object and whose service does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiError,
    Cluster,
    Resource,
    object_path,
)

_KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


@dataclass(frozen=True)
class Webhook:
    """One that refuses whatever it is called for: it must be asked, and nobody is there to answer."""

    configuration: str
    name: str
    service: str
    spec: JSON

    def called_for(self, resource: Resource, obj: JSON, labels: Mapping[str, str], verb: str = "CREATE") -> bool:
        """Whether the object is subject to it; ``labels`` are those of its namespace, or its own if it is one."""
        if (resource.namespaced or resource.key == kinds.NAMESPACES) and not _selected(
            self.spec.get("namespaceSelector"), labels
        ):
            return False
        if not _selected(self.spec.get("objectSelector"), objects.labels_of(obj)):
            return False
        # Conditions in CEL are the server's to judge: with them nothing is known.
        if self.spec.get("matchConditions"):
            return False
        return any(_rule(rule, resource, verb) for rule in self.spec.get("rules") or [])


def _rule(rule: JSON, resource: Resource, verb: str) -> bool:
    scope = rule.get("scope", "*")
    return (
        bool({"*", verb} & set(rule.get("operations") or []))
        and bool({"*", resource.group} & set(rule.get("apiGroups") or []))
        and bool({"*", resource.version} & set(rule.get("apiVersions") or []))
        and bool({"*", "*/*", resource.name} & set(rule.get("resources") or []))
        and (scope == "*" or (scope == "Namespaced") == resource.namespaced)
    )


def _selected(selector: JSON | None, labels: Mapping[str, str]) -> bool:
    for name, value in ((selector or {}).get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for expression in (selector or {}).get("matchExpressions") or []:
        name, operator = expression.get("key"), expression.get("operator")
        values = expression.get("values") or []
        met = {
            "In": labels.get(name) in values,
            "NotIn": labels.get(name) not in values,
            "Exists": name in labels,
            "DoesNotExist": name not in labels,
        }
        if not met.get(str(operator), False):
            return False
    return True


def dead(cluster: Cluster, coming: Iterable[tuple[str, str]]) -> list[Webhook]:
    """The target's webhooks that fail closed and have no ready endpoint.

    ``coming`` names (namespace, name) of services that the restore itself brings, which may answer in time.
    """
    found: list[Webhook] = []
    expected = set(coming)
    for kind in _KINDS:
        try:
            configurations = list(cluster.list(object_path("admissionregistration.k8s.io/v1", kind)))
        except ApiError:
            continue
        for configuration in configurations:
            for webhook in configuration.get("webhooks") or []:
                service = objects.lookup(webhook, ("clientConfig", "service"))
                if webhook.get("failurePolicy") == "Ignore" or not isinstance(service, dict):
                    continue
                place = (str(service.get("namespace")), str(service.get("name")))
                if place not in expected and not _answers(cluster, *place):
                    name = str(configuration["metadata"]["name"])
                    found.append(Webhook(name, str(webhook.get("name")), "/".join(place), webhook))
    return found


def _answers(cluster: Cluster, namespace: str, name: str) -> bool:
    path = object_path("discovery.k8s.io/v1", "endpointslices", namespace)
    try:
        slices = list(cluster.list(path, {"labelSelector": f"kubernetes.io/service-name={name}"}))
    except ApiError:
        # Not allowed to look: nothing is known, and nothing is claimed.
        return True
    return any(
        (endpoint.get("conditions") or {}).get("ready", True)
        for piece in slices
        for endpoint in piece.get("endpoints") or []
    )


def namespace_labels(name: str, obj: JSON) -> dict[str, str]:
    """The labels that a namespace has as soon as it exists."""
    return {**objects.labels_of(obj), "kubernetes.io/metadata.name": name}


def selecting_labels(cluster: Cluster) -> set[str]:
    """The labels of namespaces by which the target's webhooks are called or not."""
    found: set[str] = set()
    for kind in _KINDS:
        try:
            configurations = list(cluster.list(object_path("admissionregistration.k8s.io/v1", kind)))
        except ApiError:
            continue
        for configuration in configurations:
            for webhook in configuration.get("webhooks") or []:
                selector = webhook.get("namespaceSelector") or {}
                found |= (selector.get("matchLabels") or {}).keys()
                found |= {str(one.get("key")) for one in selector.get("matchExpressions") or []}
    return found
