# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where objects name a namespace or an object of the whole cluster: tables, which users extend by an option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, pointer


class Holds(str, Enum):
    """What is at a place: see the option O(namespace_references) of k8s_restore."""

    NAMESPACE = "namespace"
    NAMESPACED_NAME = "namespaced_name"
    HOST = "host"
    EXPRESSION = "expression"
    ACCOUNT = "account"


@dataclass(frozen=True)
class Reference:
    """A place in the objects of some kinds (globs) that names a namespace. ``path`` is a pointer pattern, parsed."""

    kinds: tuple[str, ...]
    path: tuple[str, ...]
    holds: Holds


def _table(kind: str, holds: Holds, *paths: str) -> list[Reference]:
    return [Reference(tuple(kind.split()), pointer.parse(path), holds) for path in paths]


_WEBHOOKS = (
    "mutatingwebhookconfigurations.admissionregistration.k8s.io "
    "validatingwebhookconfigurations.admissionregistration.k8s.io"
)
_NAME, _PAIR, _HOST = Holds.NAMESPACE, Holds.NAMESPACED_NAME, Holds.HOST

# Selectors on kubernetes.io/metadata.name are found at any depth, and in custom resources a `namespace` beside a
# `name` too; here is what these rules do not see.
NAMESPACE_REFERENCES: tuple[Reference, ...] = (
    *_table(_WEBHOOKS, _NAME, "/webhooks/*/clientConfig/service/namespace"),
    *_table("apiservices.apiregistration.k8s.io", _NAME, "/spec/service/namespace"),
    *_table(kinds.CRDS, _NAME, "/spec/conversion/webhook/clientConfig/service/namespace"),
    *_table("*.admissionregistration.k8s.io", _NAME, "/spec/paramRef/namespace"),
    *_table(
        "persistentvolumes",
        _NAME,
        "/spec/claimRef/namespace",
        "/spec/csi/controllerExpandSecretRef/namespace",
        "/spec/csi/controllerPublishSecretRef/namespace",
        "/spec/csi/nodeExpandSecretRef/namespace",
        "/spec/csi/nodePublishSecretRef/namespace",
        "/spec/csi/nodeStageSecretRef/namespace",
        "/spec/cephfs/secretRef/namespace",
        "/spec/flexVolume/secretRef/namespace",
        "/spec/rbd/secretRef/namespace",
        "/spec/azureFile/secretNamespace",
    ),
    *_table("persistentvolumeclaims", _NAME, "/spec/dataSourceRef/namespace"),
    *_table(
        "storageclasses.storage.k8s.io volumesnapshotclasses.snapshot.storage.k8s.io",
        _NAME,
        *(
            f"/parameters/csi.storage.k8s.io~1{use}-secret-namespace"
            for use in (
                "controller-expand",
                "controller-publish",
                "node-expand",
                "node-publish",
                "node-stage",
                "provisioner",
                "snapshotter",
                "snapshotter-list",
            )
        ),
    ),
    *_table("ingressclasses.networking.k8s.io gatewayclasses.*", _NAME, "/spec/parametersRef/namespace"),
    *_table("endpoints endpointslices.*", _NAME, "/subsets/*/addresses/*/targetRef/namespace"),
    *_table("endpointslices.*", _NAME, "/endpoints/*/targetRef/namespace"),
    *_table("services", _HOST, "/spec/externalName"),
    *_table(
        "ingresses.networking.k8s.io",
        _PAIR,
        *(
            f"/metadata/annotations/{name}"
            for name in (
                "nginx.ingress.kubernetes.io~1auth-secret",
                "nginx.ingress.kubernetes.io~1auth-tls-secret",
                "nginx.ingress.kubernetes.io~1auth-proxy-set-headers",
                "nginx.ingress.kubernetes.io~1custom-headers",
                "nginx.ingress.kubernetes.io~1fastcgi-params-configmap",
                "nginx.ingress.kubernetes.io~1proxy-ssl-secret",
                "haproxy.org~1auth-secret",
                "ingress.kubernetes.io~1auth-tls-secret",
            )
        ),
    ),
    *_table(
        "*",
        _PAIR,
        "/metadata/annotations/cert-manager.io~1inject-ca-from",
        "/metadata/annotations/cert-manager.io~1inject-ca-from-secret",
    ),
    # Gateway API: a grant names whom it trusts without a name.
    *_table("referencegrants.gateway.networking.k8s.io", _NAME, "/spec/from/*/namespace"),
    # Prometheus operator
    *_table("*.monitoring.coreos.com", _NAME, "/spec/namespaceSelector/matchNames/*"),
    *_table("prometheuses.monitoring.coreos.com", _NAME, "/spec/alerting/alertmanagers/*/namespace"),
    *_table("prometheusrules.monitoring.coreos.com", Holds.EXPRESSION, "/spec/groups/*/rules/*/expr"),
    # Argo CD, Flux
    *_table("applications.argoproj.io", _NAME, "/spec/destination/namespace"),
    *_table("applicationsets.argoproj.io", _NAME, "/spec/template/spec/destination/namespace"),
    *_table("appprojects.argoproj.io", _NAME, "/spec/destinations/*/namespace", "/spec/sourceNamespaces/*"),
    *_table("kustomizations.kustomize.toolkit.fluxcd.io", _NAME, "/spec/targetNamespace"),
    *_table("helmreleases.helm.toolkit.fluxcd.io", _NAME, "/spec/targetNamespace", "/spec/storageNamespace"),
    # External secrets
    *_table("clustersecretstores.external-secrets.io", _NAME, "/spec/conditions/*/namespaces/*"),
    *_table("clusterexternalsecrets.external-secrets.io", _NAME, "/spec/namespaces/*"),
    # Istio
    *_table(
        "authorizationpolicies.security.istio.io",
        _NAME,
        "/spec/rules/*/from/*/source/namespaces/*",
        "/spec/rules/*/from/*/source/notNamespaces/*",
    ),
    *_table(
        "authorizationpolicies.security.istio.io",
        Holds.ACCOUNT,
        "/spec/rules/*/from/*/source/principals/*",
        "/spec/rules/*/from/*/source/notPrincipals/*",
    ),
    *_table("*.networking.istio.io", _NAME, "/spec/exportTo/*"),
    *_table("*.networking.istio.io", _PAIR, "/spec/gateways/*", "/spec/egress/*/hosts/*", "/spec/servers/*/hosts/*"),
    # Cilium, Calico
    *_table(
        "ciliumnetworkpolicies.cilium.io ciliumclusterwidenetworkpolicies.cilium.io",
        _NAME,
        *(
            f"{spec}/{way}/*/{side}/*/matchLabels/{label}"
            for spec in ("/spec", "/specs/*")
            for way, side in (("ingress", "fromEndpoints"), ("egress", "toEndpoints"))
            for label in ("k8s:io.kubernetes.pod.namespace", "io.kubernetes.pod.namespace")
        ),
    ),
    *_table(
        "*.projectcalico.org",
        Holds.EXPRESSION,
        "/spec/namespaceSelector",
        *(
            f"/spec/{way}/*/{side}/namespaceSelector"
            for way in ("ingress", "egress")
            for side in ("source", "destination")
        ),
    ),
    # Policy engines
    *_table("*.constraints.gatekeeper.sh", _NAME, "/spec/match/namespaces/*", "/spec/match/excludedNamespaces/*"),
    *_table(
        "*.kyverno.io",
        _NAME,
        *(
            f"/spec/rules/*/{what}/{how}/*/resources/namespaces/*"
            for what in ("match", "exclude")
            for how in ("any", "all")
        ),
        "/spec/rules/*/match/resources/namespaces/*",
        "/spec/rules/*/exclude/resources/namespaces/*",
    ),
    # Velero's own objects
    *_table("*.velero.io", _NAME, "/spec/includedNamespaces/*", "/spec/excludedNamespaces/*"),
    *_table("schedules.velero.io", _NAME, "/spec/template/includedNamespaces/*", "/spec/template/excludedNamespaces/*"),
)


def of_option(entries: Sequence[Any]) -> tuple[Reference, ...]:
    """The user's part of the table: ``{kinds: [glob], path: pointer pattern, holds: namespace | …}``.

    Raises :class:`InvalidInput` that names the entry.
    """
    found = []
    for number, entry in enumerate(entries, 1):
        what = f"entry {number} of namespace_references"
        if not isinstance(entry, Mapping) or not entry.get("kinds") or not entry.get("path"):
            raise InvalidInput("read", what, "it has no kinds or no path", "Give kinds, path and holds.")
        try:
            path = pointer.parse(entry["path"])
            holds = Holds(entry.get("holds") or Holds.NAMESPACE)
        except ValueError as error:
            raise InvalidInput(
                "read", what, str(error), "Give a JSON pointer such as /spec/watch/*/namespace."
            ) from None
        if not path:
            raise InvalidInput("read", what, "its path is the whole object", "Give the path of a field.")
        found.append(Reference(tuple(str(kind) for kind in entry["kinds"]), path, holds))
    return tuple(found)


@dataclass(frozen=True)
class NameReference:
    """A place that names an object of the whole cluster; ``beside``: another field of the same holder decides."""

    kinds: tuple[str, ...]
    path: tuple[str, ...]
    beside: tuple[str, str] | None = None


def _names(kind: str, *paths: str, beside: tuple[str, str] | None = None) -> list[NameReference]:
    return [NameReference(tuple(kind.split()), pointer.parse(path), beside) for path in paths]


_PODS = [(kind, "/" + "/".join(path)) for kind, path in kinds.POD_SPECS.items()]
_ISSUERS = "clusterissuers.cert-manager.io"

# Who names the cluster-scoped objects that may get a suffix, by the kind that is named.
CLUSTER_NAME_REFERENCES: dict[str, tuple[NameReference, ...]] = {
    "clusterroles.rbac.authorization.k8s.io": tuple(
        _names(
            "rolebindings.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io",
            "/roleRef/name",
            beside=("kind", "ClusterRole"),
        )
    ),
    "priorityclasses.scheduling.k8s.io": tuple(
        one for kind, path in _PODS for one in _names(kind, f"{path}/priorityClassName")
    ),
    "runtimeclasses.node.k8s.io": tuple(
        one for kind, path in _PODS for one in _names(kind, f"{path}/runtimeClassName")
    ),
    "ingressclasses.networking.k8s.io": tuple(_names("ingresses.networking.k8s.io", "/spec/ingressClassName")),
    "gatewayclasses.gateway.networking.k8s.io": tuple(
        _names("gateways.gateway.networking.k8s.io", "/spec/gatewayClassName")
    ),
    "storageclasses.storage.k8s.io": (
        *_names("persistentvolumeclaims persistentvolumes", "/spec/storageClassName"),
        *_names("statefulsets.apps", "/spec/volumeClaimTemplates/*/spec/storageClassName"),
    ),
    "validatingadmissionpolicies.admissionregistration.k8s.io": tuple(
        _names("validatingadmissionpolicybindings.admissionregistration.k8s.io", "/spec/policyName")
    ),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": tuple(
        _names("mutatingadmissionpolicybindings.admissionregistration.k8s.io", "/spec/policyName")
    ),
    "persistentvolumes": tuple(_names("persistentvolumeclaims", "/spec/volumeName")),
    _ISSUERS: (
        *_names("*.cert-manager.io", "/spec/issuerRef/name", beside=("kind", "ClusterIssuer")),
        *_names("ingresses.* gateways.*", "/metadata/annotations/cert-manager.io~1cluster-issuer"),
    ),
    "clustersecretstores.external-secrets.io": tuple(
        _names("*.external-secrets.io", "/spec/secretStoreRef/name", beside=("kind", "ClusterSecretStore"))
    ),
}
# Kinds that get a suffix where the target has another object of that name. Classes and issuers are the target's own
# affair: they stay as they are there.
SUFFIXED = (
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
