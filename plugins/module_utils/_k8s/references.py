# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What an object refers to: the edges of the graph that orders a restore, and what must be there beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

STORAGE_CLASSES = "storageclasses.storage.k8s.io"
PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"
RUNTIME_CLASSES = "runtimeclasses.node.k8s.io"
INGRESS_CLASSES = "ingressclasses.networking.k8s.io"
SNAPSHOT_CLASSES = "volumesnapshotclasses.snapshot.storage.k8s.io"
ATTRIBUTES_CLASSES = "volumeattributesclasses.storage.k8s.io"
GATEWAY_CLASSES = "gatewayclasses.gateway.networking.k8s.io"
# Without them an object is refused, or never does anything.
CLASSES = (
    STORAGE_CLASSES,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    INGRESS_CLASSES,
    SNAPSHOT_CLASSES,
    ATTRIBUTES_CLASSES,
    GATEWAY_CLASSES,
)

_RBAC = "rbac.authorization.k8s.io"
_TOKEN = "kubernetes.io/service-account-token"
_WEBHOOKS = "webhookconfigurations.admissionregistration.k8s.io"


class Reference(NamedTuple):
    """Another object by kind, namespace (empty: cluster-scoped) and name.

    ``key`` is ``secrets`` or ``deployments.apps``; where only a kind is written, as in custom resources, it is
    ``Kind.group`` with a capital letter (``Issuer.cert-manager.io``), the group empty where it is not written.
    """

    key: str
    namespace: str
    name: str


def of(key: str, obj: JSON) -> tuple[Reference, ...]:
    """All references inside an object that are known, each once, owners aside."""
    return tuple(dict.fromkeys(one for one in _of(key, obj) if one.name))


def _of(key: str, obj: JSON) -> Iterator[Reference]:
    metadata = obj["metadata"]
    namespace = str(metadata.get("namespace") or "")
    spec: Any = obj.get("spec")
    rule = _RULES.get(key)
    if rule is not None:
        yield from rule(obj, spec if isinstance(spec, dict) else {}, namespace)
    elif key.endswith(_WEBHOOKS):
        for webhook in obj.get("webhooks") or []:
            yield from _service(objects.lookup(webhook, ("clientConfig", "service")))
    pods = objects.pod_spec(key, obj)
    if pods is not None:
        yield from _pods(pods, namespace)
    elif not kinds.built_in(key):
        yield from _custom(spec, namespace)


def _named(key: str, namespace: str, name: Any) -> Iterator[Reference]:
    if isinstance(name, str) and name:
        yield Reference(key, namespace, name)


def _service(service: Any) -> Iterator[Reference]:
    if isinstance(service, dict):
        yield from _named("services", str(service.get("namespace") or ""), service.get("name"))


def _pods(spec: JSON, namespace: str) -> Iterator[Reference]:
    yield from _named("serviceaccounts", namespace, spec.get("serviceAccountName"))
    yield from _named(PRIORITY_CLASSES, "", spec.get("priorityClassName"))
    yield from _named(RUNTIME_CLASSES, "", spec.get("runtimeClassName"))
    for secret in spec.get("imagePullSecrets") or []:
        yield from _named("secrets", namespace, secret.get("name"))
    for volume in spec.get("volumes") or []:
        for source in (volume, *(objects.lookup(volume, ("projected", "sources")) or [])):
            yield from _volume(source, namespace)
    for container in objects.containers(spec):
        for source in container.get("envFrom") or []:
            yield from _named("configmaps", namespace, objects.lookup(source, ("configMapRef", "name")))
            yield from _named("secrets", namespace, objects.lookup(source, ("secretRef", "name")))
        for variable in container.get("env") or []:
            yield from _named(
                "configmaps", namespace, objects.lookup(variable, ("valueFrom", "configMapKeyRef", "name"))
            )
            yield from _named("secrets", namespace, objects.lookup(variable, ("valueFrom", "secretKeyRef", "name")))


def _volume(source: JSON, namespace: str) -> Iterator[Reference]:
    yield from _named("configmaps", namespace, objects.lookup(source, ("configMap", "name")))
    secret = source.get("secret")
    if isinstance(secret, dict):
        # A volume says secretName, a projected source says name.
        yield from _named("secrets", namespace, secret.get("secretName") or secret.get("name"))
    yield from _named(kinds.PVCS, namespace, objects.lookup(source, ("persistentVolumeClaim", "claimName")))
    template = objects.lookup(source, ("ephemeral", "volumeClaimTemplate", "spec", "storageClassName"))
    yield from _named(STORAGE_CLASSES, "", template)


def _claim(_obj: JSON, spec: JSON, namespace: str) -> Iterator[Reference]:
    yield from _named(STORAGE_CLASSES, "", spec.get("storageClassName"))
    yield from _named(ATTRIBUTES_CLASSES, "", spec.get("volumeAttributesClassName"))
    yield from _named(kinds.PVS, "", spec.get("volumeName"))


def _stateful_set(_obj: JSON, spec: JSON, namespace: str) -> Iterator[Reference]:
    yield from _named("services", namespace, spec.get("serviceName"))
    for template in spec.get("volumeClaimTemplates") or []:
        yield from _named(STORAGE_CLASSES, "", objects.lookup(template, ("spec", "storageClassName")))


def _volume_object(_obj: JSON, spec: JSON, _namespace: str) -> Iterator[Reference]:
    yield from _named(STORAGE_CLASSES, "", spec.get("storageClassName"))


def _secret(obj: JSON, _spec: JSON, namespace: str) -> Iterator[Reference]:
    # The token controller deletes the secret of an account that is not there yet.
    if obj.get("type") == _TOKEN:
        annotations = objects.annotations_of(obj)
        yield from _named("serviceaccounts", namespace, annotations.get("kubernetes.io/service-account.name"))


def _account(obj: JSON, _spec: JSON, namespace: str) -> Iterator[Reference]:
    for secret in obj.get("imagePullSecrets") or []:
        yield from _named("secrets", namespace, secret.get("name"))


def _binding(obj: JSON, _spec: JSON, namespace: str) -> Iterator[Reference]:
    role = obj.get("roleRef") or {}
    if role.get("kind") == "ClusterRole":
        yield from _named(f"clusterroles.{_RBAC}", "", role.get("name"))
    else:
        yield from _named(f"roles.{_RBAC}", namespace, role.get("name"))
    for subject in obj.get("subjects") or []:
        if subject.get("kind") == "ServiceAccount":
            yield from _named("serviceaccounts", str(subject.get("namespace") or namespace), subject.get("name"))


def _ingress(_obj: JSON, spec: JSON, namespace: str) -> Iterator[Reference]:
    yield from _named(INGRESS_CLASSES, "", spec.get("ingressClassName"))
    for entry in spec.get("tls") or []:
        yield from _named("secrets", namespace, entry.get("secretName"))
    backends = [spec.get("defaultBackend")]
    for rule in spec.get("rules") or []:
        backends += [path.get("backend") for path in objects.lookup(rule, ("http", "paths")) or []]
    for backend in backends:
        yield from _named("services", namespace, objects.lookup(backend or {}, ("service", "name")))


def _autoscaler(_obj: JSON, spec: JSON, namespace: str) -> Iterator[Reference]:
    yield from _kind_reference(spec.get("scaleTargetRef"), namespace)


def _api_service(_obj: JSON, spec: JSON, _namespace: str) -> Iterator[Reference]:
    yield from _service(spec.get("service"))


_RULES: dict[str, Any] = {
    kinds.PVCS: _claim,
    kinds.PVS: _volume_object,
    "statefulsets.apps": _stateful_set,
    "secrets": _secret,
    "serviceaccounts": _account,
    f"rolebindings.{_RBAC}": _binding,
    f"clusterrolebindings.{_RBAC}": _binding,
    "ingresses.networking.k8s.io": _ingress,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    kinds.API_SERVICES: _api_service,
}


# -- custom resources -------------------------------------------------------------------------------------------------

# Names that custom resources use for what is meant by them, whoever defined the resource.
_BY_FIELD = {
    "secretName": "secrets",
    "secretRef": "secrets",
    "secretKeyRef": "secrets",
    "configMapName": "configmaps",
    "configMapRef": "configmaps",
    "configMapKeyRef": "configmaps",
    "serviceAccountName": "serviceaccounts",
    "serviceAccountRef": "serviceaccounts",
    "serviceName": "services",
    "serviceRef": "services",
    "claimName": kinds.PVCS,
}
_CLASS_BY_FIELD = {
    "storageClassName": STORAGE_CLASSES,
    "priorityClassName": PRIORITY_CLASSES,
    "gatewayClassName": GATEWAY_CLASSES,
    "volumeSnapshotClassName": SNAPSHOT_CLASSES,
}


def _custom(value: Any, namespace: str) -> Iterator[Reference]:
    """In custom resources: a ``name`` beside a ``kind``, and fields whose name says what they name."""
    if isinstance(value, list):
        for inner in value:
            yield from _custom(inner, namespace)
        return
    if not isinstance(value, dict):
        return
    yield from _kind_reference(value, namespace)
    for field, inner in value.items():
        if field in _CLASS_BY_FIELD:
            yield from _named(_CLASS_BY_FIELD[field], "", inner)
        elif field in _BY_FIELD:
            name, space = inner, namespace
            if isinstance(inner, dict):
                name, space = inner.get("name"), str(inner.get("namespace") or namespace)
            yield from _named(_BY_FIELD[field], space, name)
        if isinstance(inner, (dict, list)):
            yield from _custom(inner, namespace)


def _kind_reference(value: Any, namespace: str) -> Iterator[Reference]:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"][:1].isupper():
        return
    group = str(value.get("group") or str(value.get("apiVersion") or "").rpartition("/")[0])
    yield from _named(f"{value['kind']}.{group}", str(value.get("namespace") or namespace), value.get("name"))
