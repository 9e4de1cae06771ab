# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Secret with which kubelets log in to a registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.image_names import place_of

Logins = Mapping[str, Any]
# Docker Hub's names in images, and in the files that docker and podman write.
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def logins(registry: Mapping[str, Any] | None) -> Logins:
    """The ``auths`` of a docker configuration for a registry, from its user or its auth file; empty without either.

    Of the auth file only the logins of this registry are taken: the others are no business of the cluster.
    """
    if not registry:
        return {}
    host = _host(registry["name"])
    if registry.get("username"):
        pair = f"{registry['username']}:{registry.get('password') or ''}"
        return {host: {"auth": _encode(pair)}}
    if not registry.get("auth_file"):
        return {}
    try:
        document = json.loads(Path(registry["auth_file"]).read_text(encoding="utf-8"))
        # An empty entry stands for a credential helper, which the cluster does not have.
        return {key: login for key, login in (document.get("auths") or {}).items() if login and _host(key) == host}
    except (OSError, ValueError, AttributeError):
        raise InvalidInput(
            "read",
            f"auth file {registry['auth_file']}",
            "it is not a readable file of registry logins",
            "Log in again, or correct registry.auth_file.",
        ) from None


def pull_secret(namespace: str, name: str, auths: Logins, labels: Mapping[str, str]) -> dict[str, Any]:
    """A ``kubernetes.io/dockerconfigjson`` Secret of :func:`logins`."""
    config = json.dumps({"auths": auths}, separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "data": {".dockerconfigjson": _encode(config)},
    }


def _host(place: str) -> str:
    host = place_of({"name": place}).partition("/")[0]
    return "docker.io" if host in _HUB else host


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
