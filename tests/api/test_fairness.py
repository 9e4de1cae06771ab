# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore under a priority level that lets almost nothing through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")
NAME = "muster-test-narrow"
NUMBER = 1500
FLOW = "flowcontrol.apiserver.k8s.io/v1"
REFUSED = re.compile(rf'apiserver_flowcontrol_rejected_requests_total\{{[^}}]*flow_schema="{NAME}"[^}}]*\}} (\d+)')


@pytest.fixture
def narrow(api: Any) -> Iterator[None]:
    """User `restorer` may do everything, one request at a time; what is above that is turned away."""
    limited = {
        "nominalConcurrencyShares": 1,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "restorer"}}],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    level = {"priorityLevelConfiguration": {"name": NAME}, "matchingPrecedence": 50, "rules": [rule]}
    for kind, spec in (("PriorityLevelConfiguration", {"type": "Limited", "limited": limited}), ("FlowSchema", level)):
        api.apply({"apiVersion": FLOW, "kind": kind, "metadata": {"name": NAME}, "spec": spec})
    api("create", "clusterrolebinding", NAME, "--clusterrole=cluster-admin", "--user=restorer")
    yield
    api("delete", "clusterrolebinding", NAME)
    api("delete", "flowschema,prioritylevelconfiguration", NAME)


def refused(api: Any) -> int:
    return sum(int(number) for number in REFUSED.findall(api("get", "--raw", "/metrics")))


def test_a_restore_goes_on_with_what_the_server_lets_through(
    run: Any, api: Any, server: Any, namespace: str, narrow: None
) -> None:
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}", "namespace": namespace}}
        for number in range(NUMBER)
    ]
    api("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    # One request; kubectl would send one for each, at its own slow rate.
    api("delete", "--raw", f"/api/v1/namespaces/{namespace}/configmaps")
    options = {"snapshot": taken["snapshot"]["tree"], "point": "p", "existing": "keep", "workers": 16}
    done = run(k8s_restore, kubeconfig=server.restorer, **options)
    assert done["status"] == "completed" and done["counts"]["create"] >= NUMBER, done["msg"]
    # Who is turned away pauses and leaves the rest to the others, so there are ever fewer who are.
    assert 0 < refused(api) < NUMBER / 10
