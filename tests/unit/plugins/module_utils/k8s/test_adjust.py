# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is called otherwise at the target: storage classes, hosts, node labels, tolerations, replicas, marks."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import adjust, objects, transform_options

DEPLOYMENTS = "deployments.apps"


def thing(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", **more.pop("metadata", {})}, **more}


def change(wanted: adjust.Adjustments, key: str, obj: dict[str, Any]) -> list[str]:
    return wanted.apply(key, obj, objects.identity(key, obj))


def pods(**spec: Any) -> dict[str, Any]:
    return thing(spec={"template": {"spec": spec}})


def test_storage_classes_wherever_they_are() -> None:
    wanted = adjust.Adjustments(storage_classes={"old": "new"})
    claim = thing(
        metadata={"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}, spec={"storageClassName": "old"}
    )
    assert change(wanted, "persistentvolumeclaims", claim) == ["storage class old now new"] * 2
    assert claim["spec"] == {"storageClassName": "new"}
    sets = thing(spec={"volumeClaimTemplates": [{"spec": {"storageClassName": "old"}}, {"spec": {}}]})
    change(wanted, "statefulsets.apps", sets)
    assert sets["spec"]["volumeClaimTemplates"] == [{"spec": {"storageClassName": "new"}}, {"spec": {}}]
    ephemeral = {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "old"}}}}
    obj = pods(volumes=[ephemeral, {"name": "e"}])
    change(wanted, DEPLOYMENTS, obj)
    assert ephemeral["ephemeral"] == {"volumeClaimTemplate": {"spec": {"storageClassName": "new"}}}
    volume = thing(spec={"storageClassName": "old"})
    change(wanted, "persistentvolumes", volume)
    assert volume["spec"]["storageClassName"] == "new"


HOSTS = adjust.Adjustments(
    hosts={"*.east.io": "*.west.io", "www.east.io": "www.example.com", "*.api.east.io": "*.api.example.com"}
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shop.east.io", "shop.west.io"),
        ("a.b.east.io", "a.b.west.io"),
        ("www.east.io", "www.example.com"),
        ("v1.api.east.io", "v1.api.example.com"),
        ("*.east.io", "*.west.io"),
        ("east.io", "east.io"),
        ("notreast.io", "notreast.io"),
        ("shop.east.io.evil", "shop.east.io.evil"),
    ],
)
def test_hosts(old: str, new: str) -> None:
    assert HOSTS.host(old) == new


@pytest.mark.parametrize(
    ("key", "obj"),
    [
        (
            "ingresses.networking.k8s.io",
            thing(spec={"rules": [{"host": "s.east.io"}, {}], "tls": [{"hosts": ["s.east.io", "z"]}]}),
        ),
        ("gateways.gateway.networking.k8s.io", thing(spec={"listeners": [{"hostname": "s.east.io"}]})),
        ("httproutes.gateway.networking.k8s.io", thing(spec={"hostnames": ["s.east.io"]})),
        ("grpcroutes.gateway.networking.k8s.io", thing(spec={"hostnames": ["s.east.io"]})),
        ("certificates.cert-manager.io", thing(spec={"dnsNames": ["s.east.io"], "commonName": "s.east.io"})),
        ("virtualservices.networking.istio.io", thing(spec={"hosts": ["s.east.io"]})),
        ("routes.route.openshift.io", thing(spec={"host": "s.east.io"})),
        ("ingressroutes.traefik.io", thing(spec={"routes": [{"match": "Host(`s.east.io`) && PathPrefix(`/`)"}]})),
        (
            "services",
            thing(metadata={"annotations": {"external-dns.alpha.kubernetes.io/hostname": "s.east.io, z.east.io"}}),
        ),
    ],
)
def test_hosts_of_all_kinds_of_entries(key: str, obj: dict[str, Any]) -> None:
    notes = change(HOSTS, key, obj)
    assert notes and "east.io" not in str(obj) and "s.west.io" in str(obj)


def test_node_selectors_and_affinities() -> None:
    wanted = adjust.Adjustments(node_labels={"disk=ssd": "storage=fast", "zone": None, "pool": "nodepool"})
    required = {
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {"key": "disk", "operator": "In", "values": ["ssd", "nvme"]},
                    {"key": "pool", "operator": "Exists"},
                    {"key": "zone", "operator": "In", "values": ["e1"]},
                ]
            }
        ]
    }
    preferred = [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a"]}]}}
    ]
    obj = pods(
        nodeSelector={"disk": "ssd", "zone": "e1", "pool": "a", "os": "linux"},
        affinity={
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": required,
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            }
        },
    )
    notes = change(wanted, DEPLOYMENTS, obj)
    spec = obj["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"storage": "fast", "nodepool": "a", "os": "linux"}
    assert required["nodeSelectorTerms"][0]["matchExpressions"] == [
        {"key": "storage", "operator": "In", "values": ["fast"]},
        {"key": "disk", "operator": "In", "values": ["nvme"]},
        {"key": "nodepool", "operator": "Exists"},
    ]
    assert preferred[0]["preference"] == {"matchExpressions": [{"key": "nodepool", "operator": "In", "values": ["a"]}]}
    assert "node selector zone=e1 dropped" in notes


def test_an_affinity_of_which_nothing_is_left_does_not_forbid_every_node() -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["e1"]}]}]}
    obj = pods(
        nodeSelector={"zone": "e1"},
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
    )
    change(adjust.Adjustments(node_labels={"zone": None}), DEPLOYMENTS, obj)
    assert obj["spec"]["template"]["spec"] == {"affinity": {"nodeAffinity": {}}}


def test_tolerations() -> None:
    wanted = adjust.Adjustments(tolerations={"dedicated=shop": "reserved=shop", "spot": None, "gpu": "accelerator"})
    obj = pods(
        tolerations=[
            {"key": "dedicated", "value": "shop", "effect": "NoSchedule"},
            {"key": "dedicated", "value": "other"},
            {"key": "spot", "operator": "Exists"},
            {"key": "gpu", "operator": "Exists"},
            {"operator": "Exists"},
        ]
    )
    change(wanted, DEPLOYMENTS, obj)
    assert obj["spec"]["template"]["spec"]["tolerations"] == [
        {"key": "reserved", "value": "shop", "effect": "NoSchedule"},
        {"key": "dedicated", "value": "other"},
        {"key": "accelerator", "operator": "Exists"},
        {"operator": "Exists"},
    ]


def test_replicas_by_kind_and_name() -> None:
    rules = [
        adjust.Replicas.of({"replicas": 0, "names": ["worker-*"]}, 1),
        adjust.Replicas.of({"replicas": 1, "kinds": ["deployments.apps", "*.example.com"], "namespaces": ["a"]}, 2),
    ]
    wanted = adjust.Adjustments(replicas=rules)
    for key, obj, expected in (
        (DEPLOYMENTS, thing("worker-1", spec={"replicas": 5}), 0),
        (DEPLOYMENTS, thing("api", spec={"replicas": 5}), 1),
        ("statefulsets.apps", thing("api", spec={"replicas": 5}), 5),
        ("statefulsets.apps", thing("worker-2", spec={}), 0),
        ("things.example.com", thing("t", spec={"replicas": 3}), 1),
        ("things.example.com", thing("t", spec={}), None),
        ("configmaps", thing("worker-3"), None),
    ):
        change(wanted, key, obj)
        assert (obj.get("spec") or {}).get("replicas") == expected
    assert change(wanted, DEPLOYMENTS, thing("worker-1", spec={"replicas": 5})) == ["replicas 5 now 0"]


@pytest.mark.parametrize("number", [-1, "x", None, True, 1.5])
def test_a_number_of_replicas_is_a_number(number: Any) -> None:
    with pytest.raises(InvalidInput, match="entry 3 of replicas"):
        adjust.Replicas.of({"replicas": number}, 3)


def test_labels_and_annotations_to_drop() -> None:
    wanted = adjust.Adjustments(drop_labels=("app", "junk*"), drop_annotations=("*.old.io/*",))
    template = {"metadata": {"labels": {"app": "a", "junk1": "1"}, "annotations": {"x.old.io/y": "1"}}, "spec": {}}
    obj = thing(
        metadata={"labels": {"app": "a"}, "annotations": {"x.old.io/y": "1", "mine": "1"}},
        spec={"selector": {"matchLabels": {"app": "a"}}, "template": template},
    )
    notes = change(wanted, DEPLOYMENTS, obj)
    assert obj["metadata"] == {"name": "x", "namespace": "a", "annotations": {"mine": "1"}}
    assert template["metadata"] == {"labels": {"app": "a"}}
    assert "label app of the pods stays: the selector asks for it" in notes


# -- options ----------------------------------------------------------------------------------------------------------


def params(**given: Any) -> dict[str, Any]:
    return {**dict.fromkeys(transform_options.OPTIONS.arguments), **given}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hosts": {"*.a.io": "b.io"}}, "does not fit"),
        ({"hosts": {"a b": "c"}}, "no host"),
        ({"node_labels": {"a=b=c": "x"}}, "no label"),
        ({"tolerations": {"a": "x y"}}, "no label"),
        ({"cluster_suffix": "-x"}, "no name can end"),
        ({"replicas": [{"replicas": -1}]}, "from 0 on"),
        ({"transforms": [{"name": "t"}]}, "transform 1 \\(t\\)"),
        ({"velero_config": [{"version": "v2"}]}, "'v2'"),
    ],
)
def test_options_that_cannot_be_used(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        transform_options.rules(params(**given))


def test_options_that_can() -> None:
    rules = transform_options.rules(
        params(
            hosts={"*.a.io": "*.b.io"},
            node_labels={"topology.kubernetes.io/zone": None, "a=b": "c=d"},
            storage_classes={"x": "y"},
            velero_config=[
                {
                    "kind": "ConfigMap",
                    "metadata": {"labels": {"velero.io/change-storage-class": "RestoreItemAction"}},
                    "data": {"x": "other", "z": "w"},
                }
            ],
            node_ports="user",
        )
    )
    assert rules.adjustments.storage_classes == {"x": "y", "z": "w"}
    assert rules.adjustments.node_labels == {"topology.kubernetes.io/zone": None, "a=b": "c=d"}
