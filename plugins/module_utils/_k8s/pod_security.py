# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The Pod Security Standards: why pods would be refused in a namespace that enforces a level.

After https://kubernetes.io/docs/concepts/security/pod-security-standards/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

ENFORCE = "pod-security.kubernetes.io/enforce"
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def violations(spec: JSON, labels: Mapping[str, str]) -> list[str]:
    """What in a pod specification the level of the namespace with these labels forbids, in words."""
    level = labels.get(ENFORCE, "privileged")
    if level not in ("baseline", "restricted"):
        return []
    found = list(_baseline(spec))
    if level == "restricted":
        found += _restricted(spec)
    return list(dict.fromkeys(found))


def _contexts(spec: JSON) -> Iterator[JSON]:
    for container in objects.containers(spec):
        yield container.get("securityContext") or {}


def _baseline(spec: JSON) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    if any("hostPath" in volume for volume in spec.get("volumes") or []):
        yield "hostPath volumes"
    pod = spec.get("securityContext") or {}
    for context in _contexts(spec):
        if context.get("privileged"):
            yield "privileged containers"
        extra = sorted(set((context.get("capabilities") or {}).get("add") or []) - _CAPABILITIES)
        if extra:
            yield f"capabilities {', '.join(extra)}"
        if context.get("procMount", "Default") != "Default":
            yield "procMount"
    for context in (pod, *_contexts(spec)):
        if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
            yield "seccompProfile Unconfined"
    if any(port.get("hostPort") for container in objects.containers(spec) for port in container.get("ports") or []):
        yield "host ports"
    if any(not str(one.get("name", "")).startswith(_SYSCTLS) for one in pod.get("sysctls") or []):
        yield "unsafe sysctls"


_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_",
)


def _restricted(spec: JSON) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or []:
        other = sorted(name for name in volume if name != "name" and name not in _VOLUMES)
        if other:
            yield f"volumes of type {', '.join(other)}"
    for context in _contexts(spec):
        if context.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation is not false"
        capabilities = context.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []):
            yield "capabilities do not drop ALL"
        if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
            yield "capabilities are added"
        if not context.get("runAsNonRoot", pod.get("runAsNonRoot")):
            yield "runAsNonRoot is not true"
        if (context.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in (
            "RuntimeDefault",
            "Localhost",
        ):
            yield "there is no seccompProfile"
        if context.get("runAsUser", pod.get("runAsUser")) == 0:
            yield "runAsUser is 0"
