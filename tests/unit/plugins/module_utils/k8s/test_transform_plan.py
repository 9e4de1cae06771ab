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


def test_claims_of_two_namespaces_are_never_one(server: ApiServer) -> None:
    """They may say the same; their data is not the same."""

    def claims() -> list[tuple[str, dict[str, Any]]]:
        key = "persistentvolumeclaims"
        return [(key, thing("PersistentVolumeClaim", "data", name, spec={})) for name in ("a", "b")]

    with pytest.raises(Refused, match="x/persistentvolumeclaims/data"):
        make(server, claims(), {"a": "x", "b": "x"})
    assert len([one for one in make(server, claims(), {"a": "x"}).steps if one.key != "namespaces"]) == 2
    server.kinds.append(("example.com", "v1", "things", "Thing", True))

    def stateful(value: str) -> list[tuple[str, dict[str, Any]]]:
        more = {"version": "example.com/v1", "spec": {}}
        return [
            ("things.example.com", thing("Thing", "t", name, status={"at": at}, **more))
            for name, at in (("a", "1"), ("b", value))
        ]

    with pytest.raises(Refused, match=r"x/things\.example\.com/t"):
        make(server, stateful("2"), {"a": "x", "b": "x"}, status=("things.*",))
    for value, status in (("1", ("things.*",)), ("2", ())):
        assert "skip" in str(found(make(server, stateful(value), {"a": "x", "b": "x"}, status=status)))


def test_what_belonged_to_one_of_two_equal_objects_belongs_to_the_other(server: ApiServer) -> None:
    objs = []
    for name in ("a", "b"):
        owner = thing("ConfigMap", "owner", name)
        link = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        owned = thing("ConfigMap", f"of-{name}", name, metadata={"ownerReferences": [link]})
        objs += [("configmaps", owner), ("configmaps", owned)]
    made = make(server, objs, {"a": "x", "b": "x"})
    links = {step.identity.name: [one["uid"] for one in step.owners] for step in made.steps if step.owners}
    assert links == {"of-a": ["a-ConfigMap-owner"], "of-b": ["a-ConfigMap-owner"]}
    assert not [step for step in made.steps if "unlinked" in str(step.transforms)]


def test_namespaces_that_were_not_chosen_lose_nothing_unnamed(server: ApiServer) -> None:
    objs = [
        ("namespaces", thing("Namespace", "a", "", metadata={"labels": {"team": "a"}})),
        ("namespaces", thing("Namespace", "b", "", metadata={"annotations": {"contact": "b", "same": "s"}})),
        *(("configmaps", thing("ConfigMap", f"of-{name}", name)) for name in ("a", "b")),
    ]
    cluster = Cluster.connect({"host": server.url})
    names = mapping.NamespaceMapping({"a": "x", "b": "x"})
    wishes = plan.Wishes(point="p", namespaces=names, include_kinds=["configmaps"])
    made = plan.make(cluster, [Captured(*one) for one in objs], wishes)
    reasons = [step.reason for step in made.steps if step.key == "namespaces"]
    assert reasons == [
        "it is not there",
        "another namespace is mapped to it too; its annotations contact, same are left out",
    ]


def test_a_copy_never_takes_the_name_of_another_object_of_the_point(server: ApiServer) -> None:
    """The copy of `reader` would be called as another captured binding is."""
    key = "clusterrolebindings.rbac.authorization.k8s.io"

    def binding(name: str, namespace: str) -> tuple[str, dict[str, Any]]:
        more = {"roleRef": {"kind": "ClusterRole", "name": name}, "version": "rbac.authorization.k8s.io/v1"}
        subjects = [{"kind": "ServiceAccount", "name": "s", "namespace": namespace}]
        return key, thing("ClusterRoleBinding", name, "", subjects=subjects, **more)

    def objs() -> list[tuple[str, dict[str, Any]]]:
        return [binding("reader", "a"), binding("reader-x", "elsewhere"), ("configmaps", thing("ConfigMap", "c"))]

    with pytest.raises(Refused, match=r"reader-x: two captured objects.*cluster_suffix"):
        make(server, objs(), {"a": "x"})
    assert len([one for one in make(server, objs(), {"a": "x"}, suffix="copy").steps if one.key == key]) == 2


def test_a_transform_cannot_make_one_of_two(server: ApiServer) -> None:
    objs = [("configmaps", thing("ConfigMap", name)) for name in ("one", "two")]
    for patch in ({"metadata": {"name": "one"}}, {"metadata": {"namespace": "b"}}):
        entries = user_transforms.of_option([{"when": {"names": ["two"]}, "merge_patch": patch}])
        with pytest.raises(InvalidInput, match="must stay"):
            make(server, objs, {}, transforms=entries)


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
