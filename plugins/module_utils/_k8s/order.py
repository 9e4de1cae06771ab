# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The order of a restore: waves of kinds, and owners before what they own."""

from __future__ import annotations

from enum import IntEnum

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds


class Wave(IntEnum):
    """Objects of one wave need nothing of a later one."""

    DEFINITIONS = 0
    NAMESPACES = 1
    ISOLATION = 2
    CLASSES = 3
    ACCOUNTS = 4
    CLAIMS = 5
    PERMISSIONS = 6
    BINDINGS = 7
    SERVICES = 8
    WORKLOADS = 9
    CUSTOM = 10
    BUDGETS = 11
    WEBHOOKS = 12

    @property
    def title(self) -> str:
        return _TITLES[self]


_TITLES = {
    Wave.DEFINITIONS: "custom resource definitions",
    Wave.NAMESPACES: "namespaces",
    Wave.ISOLATION: "isolation and registry access",
    Wave.CLASSES: "classes",
    Wave.ACCOUNTS: "accounts, secrets and configuration",
    Wave.CLAIMS: "volume claims",
    Wave.PERMISSIONS: "roles",
    Wave.BINDINGS: "role bindings",
    Wave.SERVICES: "services",
    Wave.WORKLOADS: "workloads",
    Wave.CUSTOM: "custom resources",
    Wave.BUDGETS: "quotas, budgets and autoscalers",
    Wave.WEBHOOKS: "webhooks and API services",
}

_WAVES = {
    kinds.CRDS: Wave.DEFINITIONS,
    kinds.NAMESPACES: Wave.NAMESPACES,
    "storageclasses.storage.k8s.io": Wave.CLASSES,
    "volumeattributesclasses.storage.k8s.io": Wave.CLASSES,
    "volumesnapshotclasses.snapshot.storage.k8s.io": Wave.CLASSES,
    "priorityclasses.scheduling.k8s.io": Wave.CLASSES,
    "ingressclasses.networking.k8s.io": Wave.CLASSES,
    "runtimeclasses.node.k8s.io": Wave.CLASSES,
    kinds.PVS: Wave.CLASSES,
    "serviceaccounts": Wave.ACCOUNTS,
    "secrets": Wave.ACCOUNTS,
    "configmaps": Wave.ACCOUNTS,
    "limitranges": Wave.ACCOUNTS,
    # Before the pods that they fence in.
    "networkpolicies.networking.k8s.io": Wave.ACCOUNTS,
    kinds.PVCS: Wave.CLAIMS,
    "roles.rbac.authorization.k8s.io": Wave.PERMISSIONS,
    "clusterroles.rbac.authorization.k8s.io": Wave.PERMISSIONS,
    "rolebindings.rbac.authorization.k8s.io": Wave.BINDINGS,
    "clusterrolebindings.rbac.authorization.k8s.io": Wave.BINDINGS,
    "services": Wave.SERVICES,
    "poddisruptionbudgets.policy": Wave.BUDGETS,
    # Until its controller has counted, a new quota refuses everything that it limits.
    "resourcequotas": Wave.BUDGETS,
    "horizontalpodautoscalers.autoscaling": Wave.BUDGETS,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": Wave.WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": Wave.WEBHOOKS,
    kinds.API_SERVICES: Wave.WEBHOOKS,
}


def wave_of(key: str) -> Wave:
    """The wave of a kind: workloads for Kubernetes' own kinds that are not listed, custom resources after them."""
    if key in _WAVES:
        return _WAVES[key]
    return Wave.WORKLOADS if kinds.built_in(key) else Wave.CUSTOM
