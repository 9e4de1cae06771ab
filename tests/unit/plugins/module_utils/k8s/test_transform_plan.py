# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transforms at the one place of the plan where they are applied, against the small API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.api_server import ApiServer, running

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    mapping,
    plan,
    strip,
    transform,
    user_transforms,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.layout import Captured


def thing(kind: str, name: str, namespace: str = "a", version: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{namespace}-{kind}-{name}", **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as state:
        yield state


def make(server: ApiServer, objs: list[tuple[str, dict[str, Any]]], names: dict[str, str], **rules: Any) -> plan.Plan:
    wishes = plan.Wishes(point="p", namespaces=mapping.NamespaceMapping(names), rules=transform.Rules(**rules))
    cluster = Cluster.connect({"host": server.url})
    return plan.make(cluster, [Captured(*one) for one in objs], wishes)


def found(made: plan.Plan) -> dict[str, tuple[str, str]]:
    return {str(step.identity): (step.action.value, step.reason) for step in made.steps}


def test_old_definitions_are_converted_and_their_resources_restored(server: ApiServer) -> None:
    crds = "customresourcedefinitions.apiextensions.k8s.io"
    spec = {"group": "example.com", "version": "v1", "names": {"plural": "things", "kind": "Thing"}}
    crd = thing("CustomResourceDefinition", "things.example.com", "", "apiextensions.k8s.io/v1beta1", spec=spec)
    other = thing("Ingress", "i", version="extensions/v1beta1", spec={})
    made = make(
        server,
        [
            (crds, crd),
            ("things.example.com", thing("Thing", "t", version="example.com/v1")),
            ("ingresses.extensions", other),
        ],
        {},
    )
    actions = found(made)
    assert actions[f"{crds}/things.example.com"][0] == "create"
    assert actions["a/things.example.com/t"][0] == "create"
    assert actions["a/ingresses.extensions/i"][0] == "blocked"
    notes = next(step.transforms for step in made.steps if step.key == crds)
    assert notes == ["converted from apiextensions.k8s.io/v1beta1 to apiextensions.k8s.io/v1"]


def test_failed_transforms_end_the_plan_and_unused_ones_are_warned_about(server: ApiServer) -> None:
    objs = [("configmaps", thing("ConfigMap", "x", data={}))]
    bad = user_transforms.of_option([{"name": "bad", "json_patch": [{"op": "remove", "path": "/data/z"}]}])
    with pytest.raises(InvalidInput, match="bad") as caught:
        make(server, objs, {}, transforms=bad)
    # The namespace that has to be made is meant too.
    assert len(caught.value.result["failed_transforms"]) == 2
    unused = user_transforms.of_option([{"when": {"names": ["nobody"]}, "merge_patch": {"a": 1}}])
    assert make(server, objs, {}, transforms=unused).warnings == ["transform 1 is for none of the objects"]
    assert server.writes == []


def test_two_namespaces_become_one_and_nothing_is_lost(server: ApiServer) -> None:
    def objs(value: str) -> list[tuple[str, dict[str, Any]]]:
        return [
            ("namespaces", thing("Namespace", "a", "")),
            ("namespaces", thing("Namespace", "b", "", metadata={"labels": {"team": "pay"}})),
            ("serviceaccounts", thing("ServiceAccount", "default", "a")),
            ("serviceaccounts", thing("ServiceAccount", "default", "b")),
            ("configmaps", thing("ConfigMap", "one", "a", data={"k": "v"})),
            ("configmaps", thing("ConfigMap", "one", "b", data={"k": value})),
        ]

    made = make(server, objs("v"), {"a": "x", "b": "x"})
    reasons = sorted(step.reason for step in made.steps if step.action.value == "skip")
    assert reasons == [
        "an equal one is restored in its place",
        "another namespace is mapped to it too; its labels team=pay are left out",
        "every namespace gets its own",
        "every namespace gets its own",
    ]
    with pytest.raises(Refused, match="x/configmaps/one"):
        make(server, objs("other"), {"a": "x", "b": "x"})


def test_a_static_volume_and_its_claim_need_no_class(server: ApiServer) -> None:
    volume = thing("PersistentVolume", "nfs", "", spec={"persistentVolumeReclaimPolicy": "Retain"})
    claim = thing("PersistentVolumeClaim", "data", spec={"volumeName": "nfs", "storageClassName": "by-hand"})
    objs = [("persistentvolumes", volume), ("persistentvolumeclaims", claim)]
    kept = found(make(server, objs, {}, static_volumes=True))
    assert {action for action, _reason in kept.values()} == {"create"}
    usual = found(make(server, objs, {}))
    assert usual["persistentvolumes/nfs"][0] == "skip" and usual["a/persistentvolumeclaims/data"][0] == "blocked"


def test_node_ports_of_a_copy(server: ApiServer) -> None:
    for names, rules, kept in (
        ({"a": "b"}, {}, False),
        ({}, {}, True),
        ({"a": "b"}, {"node_ports": strip.NodePorts.KEEP}, True),
    ):
        spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}
        made = make(server, [("services", thing("Service", "s", spec=spec))], dict(names), **dict(rules))
        step = next(one for one in made.steps if one.key == "services")
        assert ("nodePort" in step.body["spec"]["ports"][0]) is kept
