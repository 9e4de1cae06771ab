# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where pods that use a volume may run, so that the volume is restored there.

A claim whose class waits for its first consumer gets its volume where that runs, and the first one is a mover.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

JSON = dict[str, Any]

# Every pod gets some of these from the cluster.
_OF_NODES = "node.kubernetes.io/"
# The greatest that there is.
_WEIGHT = 100


def of(pods: Iterable[JSON]) -> JSON | None:
    """``node_selector``, ``node_terms`` and ``tolerations`` of the first pod that has any, as a pod has them."""
    for pod in pods:
        spec = pod["spec"]
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
        found = {
            "node_selector": dict(spec.get("nodeSelector") or {}),
            # Fields are names of nodes, which are others elsewhere.
            "node_terms": [one["matchExpressions"] for one in required or [] if one.get("matchExpressions")],
            "tolerations": [
                one for one in spec.get("tolerations") or [] if not str(one.get("key") or "").startswith(_OF_NODES)
            ],
        }
        if any(found.values()):
            return found
    return None


def affinity(placement: Mapping[str, Any]) -> JSON | None:
    """The node affinity of a pod that would rather run there than elsewhere; ``None`` where any node is as good.

    It does not insist: at another site nodes may have other labels, and data is better restored somewhere than nowhere.
    """
    labels = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in sorted((placement.get("node_selector") or {}).items())
    ]
    terms = [[*labels, *expressions] for expressions in placement.get("node_terms") or []] or (
        [labels] if labels else []
    )
    if not terms:
        return None
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": _WEIGHT, "preference": {"matchExpressions": term}} for term in terms
        ]
    }
