# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Cluster-scoped objects that an application cannot live without, found from what it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, label_selector, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_BINDINGS = "clusterrolebindings.rbac.authorization.k8s.io"
ROLES = "clusterroles.rbac.authorization.k8s.io"
_STORAGE = "storageclasses.storage.k8s.io"
_ATTRIBUTES = "volumeattributesclasses.storage.k8s.io"
_SNAPSHOT = "volumesnapshotclasses.snapshot.storage.k8s.io"
_PRIORITY = "priorityclasses.scheduling.k8s.io"
_INGRESS = "ingressclasses.networking.k8s.io"
_RUNTIME = "runtimeclasses.node.k8s.io"
_WEBHOOKS = (
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
_GATEWAY = "gatewayclasses.gateway.networking.k8s.io"
SERVICES = "services"
ACCOUNTS = "serviceaccounts"

# In the order in which they are asked for: each may add references that the next ones answer.
ORDER = (
    kinds.PVS,
    _STORAGE,
    _ATTRIBUTES,
    _SNAPSHOT,
    _BINDINGS,
    ROLES,
    _PRIORITY,
    _INGRESS,
    _RUNTIME,
    _GATEWAY,
    *_WEBHOOKS,
    kinds.API_SERVICES,
    kinds.CRDS,
)

# Kinds whose objects say what they need; of all others only their definition may be needed.
_SPEAKING = frozenset(
    {
        ACCOUNTS,
        SERVICES,
        kinds.PVCS,
        "statefulsets.apps",
        "rolebindings.rbac.authorization.k8s.io",
        "ingresses.networking.k8s.io",
        "volumesnapshots.snapshot.storage.k8s.io",
        "gateways.gateway.networking.k8s.io",
        *kinds.POD_SPECS,
    }
)


@dataclass
class References:
    """What captured objects refer to outside their namespaces; filled object by object.

    ``narrowed`` are those of services and service accounts of which not all in the namespaces are meant.
    """

    namespaces: frozenset[str]
    narrowed: frozenset[str] = frozenset()
    wanted: dict[str, set[str]] = field(default_factory=dict)
    _mine: set[objects.Identity] = field(default_factory=set)
    _drivers: set[str] = field(default_factory=set)

    def names(self, key: str) -> set[str]:
        return self.wanted.setdefault(key, set())

    def note_kind(self, key: str) -> None:
        """Remember that objects of this kind were captured."""
        if not kinds.built_in(key):
            self.names(kinds.CRDS).add(key)

    @staticmethod
    def speaks(key: str) -> bool:
        """Whether :meth:`note` can learn anything from objects of this kind."""
        return key in _SPEAKING

    def note(self, key: str, obj: JSON) -> None:
        """Remember what one captured object of a namespace needs; threads may call it at once."""
        spec: Any = obj.get("spec") or {}
        if key in self.narrowed:
            self._mine.add(objects.identity(key, obj))
        if key == kinds.PVCS:
            self._add(kinds.PVS, spec.get("volumeName"))
            self._add(_STORAGE, spec.get("storageClassName"))
            self._add(_ATTRIBUTES, spec.get("volumeAttributesClassName"))
        elif key == "statefulsets.apps":
            for template in spec.get("volumeClaimTemplates") or []:
                self._add(_STORAGE, (template.get("spec") or {}).get("storageClassName"))
        elif (
            key == "rolebindings.rbac.authorization.k8s.io" and (obj.get("roleRef") or {}).get("kind") == "ClusterRole"
        ):
            self._add(ROLES, obj["roleRef"].get("name"))
        elif key == "ingresses.networking.k8s.io":
            self._add(_INGRESS, spec.get("ingressClassName"))
            self._add(_INGRESS, objects.annotations_of(obj).get("kubernetes.io/ingress.class"))
        elif key == "gateways.gateway.networking.k8s.io":
            self._add(_GATEWAY, spec.get("gatewayClassName"))
        elif key == "volumesnapshots.snapshot.storage.k8s.io":
            self._add(_SNAPSHOT, spec.get("volumeSnapshotClassName"))
        pods = objects.pod_spec(key, obj)
        if pods:
            self._add(_PRIORITY, pods.get("priorityClassName"))
            self._add(_RUNTIME, pods.get("runtimeClassName"))
            # What its pods run as is the application's, also where the account itself is not captured.
            account = pods.get("serviceAccountName") or pods.get("serviceAccount") or "default"
            self._mine.add(objects.Identity(objects.identity(key, obj).namespace, ACCOUNTS, str(account)))

    def aggregate(self, roles: Iterable[JSON]) -> None:
        """Remember the ClusterRoles from which wanted ones are put together: without them those would be empty."""
        # Those of the server itself (admin, edit, view) take parts of everybody's; they are at every target.
        by_name = {
            objects.identity(ROLES, role).name: role
            for role in roles
            if "kubernetes.io/bootstrapping" not in objects.labels_of(role)
        }
        wanted, done = self.names(ROLES), set[str]()
        while wanted & by_name.keys() - done:
            name = min(wanted & by_name.keys() - done)
            done.add(name)
            rule = by_name[name].get("aggregationRule") or {}
            for selector in rule.get("clusterRoleSelectors") or []:
                wanted |= {
                    part for part, role in by_name.items() if label_selector.takes(selector, objects.labels_of(role))
                }

    def why(self, key: str, obj: JSON) -> str | None:
        """Why a cluster-scoped object belongs to the application, or ``None``; may note what it needs in turn."""
        name = objects.identity(key, obj).name
        if key == _BINDINGS:
            if any(self._has(ACCOUNTS, *subject_account(subject)) for subject in obj.get("subjects") or []):
                self._add(ROLES, (obj.get("roleRef") or {}).get("name"))
                return "it binds a subject of the application"
            return None
        if key in _WEBHOOKS:
            captured = any(self._has(SERVICES, *service) for service in webhook_services(obj))
            return "its service is captured" if captured else None
        if key == kinds.API_SERVICES:
            service = objects.lookup(obj, ("spec", "service")) or {}
            captured = self._has(SERVICES, service.get("namespace"), service.get("name"))
            return "its service is captured" if captured else None
        if key == _SNAPSHOT and obj.get("driver") in self._drivers:
            return "it snapshots volumes of the application"
        if name not in self.names(key):
            return None
        if key == kinds.PVS:
            self._add(_STORAGE, (obj.get("spec") or {}).get("storageClassName"))
        if key == _STORAGE and obj.get("provisioner"):
            self._drivers.add(str(obj["provisioner"]))
        return "an object of the application refers to it"

    def asked(self, key: str) -> bool:
        """Whether objects of the kind can be related at all, so that it is worth a list."""
        if key in (_BINDINGS, kinds.API_SERVICES, *_WEBHOOKS):
            return True
        return bool(self.names(key)) or (key == _SNAPSHOT and bool(self._drivers))

    def _has(self, key: str, namespace: str | None, name: str | None) -> bool:
        """Whether a service or service account, or all of a namespace (no name), is the application's."""
        if namespace is None or namespace not in self.namespaces:
            return False
        return key not in self.narrowed or name is None or objects.Identity(namespace, key, name) in self._mine

    def _add(self, key: str, name: Any) -> None:
        if name:
            self.names(key).add(str(name))


def subject_account(subject: JSON) -> tuple[str | None, str | None]:
    """Namespace and name of the service account that a binding's subject is, or is a user for.

    A group of all of a namespace has no name; a subject that is none of these has neither.
    """
    name = str(subject.get("name") or "")
    if subject.get("kind") == "ServiceAccount":
        return subject.get("namespace"), name
    if subject.get("kind") == "Group" and name.startswith("system:serviceaccounts:"):
        return name.split(":")[2], None
    if subject.get("kind") == "User" and name.startswith("system:serviceaccount:") and name.count(":") == 3:
        return name.split(":")[2], name.split(":")[3]
    return None, None


def subject_namespace(subject: JSON) -> str | None:
    """The namespace that a binding's subject lives in: a service account, or a user or group that stands for some."""
    return subject_account(subject)[0]


def webhook_services(obj: JSON) -> Iterator[tuple[str, str]]:
    """Namespace and name of the services that a webhook configuration calls."""
    for webhook in obj.get("webhooks") or []:
        service = objects.lookup(webhook, ("clientConfig", "service")) or {}
        if service.get("namespace"):
            yield str(service["namespace"]), str(service.get("name"))


def webhook_namespaces(obj: JSON) -> Iterator[str]:
    """The namespaces of the services that a webhook configuration calls."""
    for namespace, _name in webhook_services(obj):
        yield namespace
