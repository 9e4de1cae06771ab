# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Admission webhooks of the target that are called for a restored object and whose service does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, label_selector, objects
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
        if (resource.namespaced or resource.key == kinds.NAMESPACES) and not label_selector.takes(
            self.spec.get("namespaceSelector"), labels
        ):
            return False
        if not label_selector.takes(self.spec.get("objectSelector"), objects.labels_of(obj)):
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


def _webhooks(cluster: Cluster) -> Iterator[tuple[str, JSON]]:
    """Every webhook of the target with its configuration's name; none where it may not be asked."""
    for kind in _KINDS:
        try:
            configurations = list(cluster.list(object_path("admissionregistration.k8s.io/v1", kind)))
        except ApiError:
            continue
        for configuration in configurations:
            for webhook in configuration.get("webhooks") or []:
                yield str(configuration["metadata"]["name"]), webhook


def dead(cluster: Cluster, coming: Iterable[tuple[str, str]]) -> list[Webhook]:
    """The target's webhooks that fail closed and have no ready endpoint.

    ``coming`` names (namespace, name) of services that the restore itself brings, which may answer in time.
    """
    found: list[Webhook] = []
    expected = set(coming)
    for configuration, webhook in _webhooks(cluster):
        service = objects.lookup(webhook, ("clientConfig", "service"))
        if webhook.get("failurePolicy") == "Ignore" or not isinstance(service, dict):
            continue
        place = (str(service.get("namespace")), str(service.get("name")))
        if place not in expected and not _answers(cluster, *place):
            found.append(Webhook(configuration, str(webhook.get("name")), "/".join(place), webhook))
    return found


def _answers(cluster: Cluster, namespace: str, name: str) -> bool:
    try:
        return ready(cluster, namespace, name)
    except ApiError:
        # Not allowed to look: nothing is known, and nothing is claimed.
        return True


def ready(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether a service has a ready endpoint. Raises :class:`ApiError` where the server does not say."""
    path = object_path("discovery.k8s.io/v1", "endpointslices", namespace)
    if any(
        (endpoint.get("conditions") or {}).get("ready", True)
        for piece in cluster.list(path, {"labelSelector": f"kubernetes.io/service-name={name}"})
        for endpoint in piece.get("endpoints") or []
    ):
        return True
    # One that only names a host elsewhere never has any.
    service = cluster.find(object_path("v1", "services", namespace, name))
    return bool(objects.lookup(service or {}, ("spec", "type")) == "ExternalName")


def namespace_labels(name: str, obj: JSON) -> dict[str, str]:
    """The labels that a namespace has as soon as it exists."""
    return {**objects.labels_of(obj), "kubernetes.io/metadata.name": name}


def selecting_labels(cluster: Cluster) -> set[str]:
    """The labels of namespaces by which the target's webhooks are called or not."""
    found: set[str] = set()
    for _configuration, webhook in _webhooks(cluster):
        selector = webhook.get("namespaceSelector") or {}
        found |= (selector.get("matchLabels") or {}).keys()
        found |= {str(one.get("key")) for one in selector.get("matchExpressions") or []}
    return found
