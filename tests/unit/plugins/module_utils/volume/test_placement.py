# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a volume should be restored: near where its pods may run."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._volume import placement

ZONE = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]}
DEDICATED = {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
USUAL = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
NAME = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}}


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [], **spec}}


@pytest.mark.parametrize(
    ("pods", "found"),
    [
        ([], None),
        ([pod(tolerations=[USUAL], affinity=None, nodeSelector=None)], None),
        ([pod(affinity={"podAntiAffinity": {}}), pod(affinity=required({"matchFields": [NAME]}))], None),
        (
            [pod(), pod(nodeSelector={"pool": "db"}, tolerations=[USUAL, DEDICATED])],
            {"node_selector": {"pool": "db"}, "node_terms": [], "tolerations": [DEDICATED]},
        ),
        (
            [pod(affinity=required({"matchExpressions": [ZONE], "matchFields": [NAME]}, {}))],
            {"node_selector": {}, "node_terms": [[ZONE]], "tolerations": []},
        ),
    ],
)
def test_what_pods_say_of_nodes(pods: list[dict[str, Any]], found: dict[str, Any] | None) -> None:
    assert placement.of(pods) == found


POOL = {"key": "pool", "operator": "In", "values": ["db"]}


@pytest.mark.parametrize(
    ("told", "terms"),
    [
        ({}, None),
        ({"tolerations": [DEDICATED]}, None),
        ({"node_selector": {"pool": "db"}}, [[POOL]]),
        ({"node_terms": [[ZONE], [POOL]]}, [[ZONE], [POOL]]),
        ({"node_selector": {"pool": "db"}, "node_terms": [[ZONE]]}, [[POOL, ZONE]]),
    ],
)
def test_a_mover_prefers_such_nodes_and_insists_on_none(told: dict[str, Any], terms: list[Any] | None) -> None:
    wish = placement.affinity(told)
    assert (wish is None) == (terms is None)
    for one, term in zip(
        (wish or {}).get("preferredDuringSchedulingIgnoredDuringExecution", []), terms or [], strict=True
    ):
        assert one == {"weight": 100, "preference": {"matchExpressions": term}}
