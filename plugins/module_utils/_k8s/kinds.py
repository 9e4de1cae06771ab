# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is known about kinds: which say nothing about an application, which hold pods."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks

# Where kubectl keeps a copy of what was applied last, secret data included.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
VELERO_EXCLUDE = "velero.io/exclude-from-backup"

# Namespaces of the cluster itself; a glob never takes them, their exact name does.
CLUSTER_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", marks.NAMESPACE})

# Written by the cluster about itself: nobody looks at them when a place is judged, or cleared.
LEFT_OUT = (
    "bindings",
    "componentstatuses",
    "controllerrevisions.apps",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "ipaddresses.networking.k8s.io",
    "leases.coordination.k8s.io",
    "nodes",
    "volumeattachments.storage.k8s.io",
    "*.metrics.k8s.io",
    "*.custom.metrics.k8s.io",
    "*.external.metrics.k8s.io",
)

# Rules about single objects that `leave_out` may name beside globs of kinds.
CONTROLLED = "controlled-objects"
MIRROR_PODS = "mirror-pods"
MANAGED_ENDPOINTS = "managed-endpoints"
ROOT_CERTIFICATES = "root-certificates"
BOOTSTRAP = "bootstrap-objects"
DELETED = "deleted-objects"
RULES = frozenset({CONTROLLED, MIRROR_PODS, MANAGED_ENDPOINTS, ROOT_CERTIFICATES, BOOTSTRAP, DELETED})

# What a capture leaves out by nature: worthless or harmful in another cluster, or made again there by itself.
# Endpoints and EndpointSlices are judged one by one, because users write some.
BY_NATURE = (
    *(pattern for pattern in LEFT_OUT if not pattern.startswith("endpoint")),
    "certificatesigningrequests.certificates.k8s.io",
    "leasecandidates.coordination.k8s.io",
    "podcertificaterequests.certificates.k8s.io",
    "resourceslices.resource.k8s.io",
    "storageversions.internal.apiserver.k8s.io",
    *sorted(RULES),
)

# Made by controllers in every namespace, so they say nothing and stand in nobody's way.
EVERYWHERE = frozenset(
    {
        ("configmaps", "kube-root-ca.crt"),
        ("configmaps", "openshift-service-ca.crt"),
        ("configmaps", "istio-ca-root-cert"),
    }
)

# Owners whose children come back by themselves. What an operator's resource owns may hold state (a generated
# password), so it is restored and linked to its owner again.
BUILT_IN_CONTROLLERS = frozenset(
    {
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("batch", "CronJob"),
        ("batch", "Job"),
        ("", "ReplicationController"),
        ("", "Node"),
    }
)

# Where a kind keeps its pod template.
POD_SPECS: dict[str, tuple[str, ...]] = {
    "pods": ("spec",),
    "podtemplates": ("template", "spec"),
    "replicationcontrollers": ("spec", "template", "spec"),
    "daemonsets.apps": ("spec", "template", "spec"),
    "deployments.apps": ("spec", "template", "spec"),
    "replicasets.apps": ("spec", "template", "spec"),
    "statefulsets.apps": ("spec", "template", "spec"),
    "jobs.batch": ("spec", "template", "spec"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template", "spec"),
}

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
API_SERVICES = "apiservices.apiregistration.k8s.io"
PVCS = "persistentvolumeclaims"
PVS = "persistentvolumes"
NAMESPACES = "namespaces"

# Groups whose kinds are part of Kubernetes; all others are custom resources or aggregated APIs, also those of its
# projects that end alike (autoscaling.k8s.io, snapshot.storage.k8s.io, gateway.networking.k8s.io, metrics.k8s.io).
_BUILT_IN_GROUPS = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "extensions",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)


def built_in(key: str) -> bool:
    """Whether ``deployments.apps`` belongs to Kubernetes itself."""
    return key.partition(".")[2] in _BUILT_IN_GROUPS


def is_glob(text: str) -> bool:
    """Whether the text stands for more than itself."""
    return bool(set(text) & set("*?["))


def in_group(group: str, patterns: tuple[str, ...] | list[str]) -> bool:
    """Whether one of the globs could mean a kind of this API group, none of whose kinds are known."""
    return any(
        "." not in pattern or fnmatchcase(f"x.{group}", pattern) or fnmatchcase(group, pattern.partition(".")[2])
        for pattern in patterns
    )


def left_out(key: str, patterns: tuple[str, ...] | list[str]) -> bool:
    """Whether one of the globs leaves out ``deployments.apps``; a pattern without a dot means the core group only.

    Another group's `bindings`, `events` or `nodes` have nothing but the name in common with Kubernetes' own.
    """
    return any(("." in pattern or "." not in key) and fnmatchcase(key, pattern) for pattern in patterns)


def matches(key: str, patterns: tuple[str, ...] | list[str]) -> bool:
    """Whether ``deployments.apps`` is meant by one of the globs; a pattern without a dot means every group."""
    plain = key.partition(".")[0]
    return any(
        fnmatchcase(key, pattern) or ("." not in pattern and fnmatchcase(plain, pattern)) for pattern in patterns
    )
