# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Secret with which a kubelet logs in to a registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any


def pull_secret(namespace: str, name: str, registry: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """A ``kubernetes.io/dockerconfigjson`` Secret from registry options (``name``, ``username``, ``password``)."""
    host = str(registry["name"]).split("/", 1)[0]
    login = base64.b64encode(f"{registry.get('username') or ''}:{registry.get('password') or ''}".encode()).decode()
    config = json.dumps({"auths": {host: {"auth": login}}}, separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }
