# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stripping, namespace mapping, images and bubbles: each rule on one object."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import bubble, mapping, strip
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.image_names import ImageNames


def thing(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", **more.pop("metadata", {})}, **more}


def test_what_the_server_owns_goes() -> None:
    obj = thing(
        metadata={
            "uid": "u",
            "resourceVersion": "1",
            "generateName": "x-",
            "finalizers": ["kubernetes.io/pvc-protection", "example.com/keep"],
            "annotations": {"pv.kubernetes.io/bind-completed": "yes", "mine": "stays"},
        },
        spec={"volumeName": "pv", "dataSource": {"name": "snap"}, "storageClassName": "csi"},
        status={"phase": "Bound"},
    )
    notes = strip.strip("persistentvolumeclaims", obj)
    assert obj == thing(metadata={"annotations": {"mine": "stays"}}, spec={"storageClassName": "csi"})
    assert notes == ["dataSource dropped: it belongs to the old cluster"]


@pytest.mark.parametrize(("keep", "port"), [(True, {"port": 80, "nodePort": 30000}), (False, {"port": 80})])
def test_node_ports_are_kept_only_on_request(keep: bool, port: dict[str, int]) -> None:
    obj = thing(spec={"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000}]})
    strip.strip("services", obj, keep_node_ports=keep)
    assert obj["spec"] == {"ports": [port]}


def test_headless_services_stay_headless() -> None:
    obj = thing(spec={"clusterIP": "None", "ports": []})
    strip.strip("services", obj)
    assert obj["spec"]["clusterIP"] == "None"


def test_jobs_lose_their_generated_selector_unless_it_is_the_users() -> None:
    for manual in (False, True):
        spec: dict[str, Any] = {
            "selector": {"matchLabels": {"controller-uid": "u"}},
            "template": {"metadata": {"labels": {"controller-uid": "u", "app": "a"}}},
        }
        if manual:
            spec["manualSelector"] = True
        obj = thing(spec=spec)
        strip.strip("jobs.batch", obj)
        assert ("selector" in obj["spec"]) is manual
        assert ("controller-uid" in obj["spec"]["template"]["metadata"]["labels"]) is manual


def test_tokens_are_not_carried_over() -> None:
    secret = thing(type="kubernetes.io/service-account-token", data={"token": "t"})
    strip.strip("secrets", secret)
    assert "data" not in secret
    generated = thing(
        "api-token-abcde",
        type="kubernetes.io/service-account-token",
        metadata={"annotations": {"kubernetes.io/service-account.name": "api"}},
    )
    assert strip.skip_reason("secrets", generated, frozenset())
    pod = thing(
        spec={
            "nodeName": "n",
            "volumes": [{"name": "kube-api-access-abcde"}, {"name": "data"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-abcde"}, {"name": "data"}]}],
        }
    )
    strip.strip("pods", pod)
    assert pod["spec"] == {
        "volumes": [{"name": "data"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}],
    }


@pytest.mark.parametrize(
    ("key", "obj", "words"),
    [
        ("jobs.batch", thing(status={"conditions": [{"type": "Failed", "status": "True"}]}), "finished"),
        ("pods", thing(status={"phase": "Succeeded"}), "finished"),
        ("persistentvolumes", thing(), "new volume"),
        ("volumesnapshots.snapshot.storage.k8s.io", thing(), "own cluster"),
        ("volumegroupsnapshots.groupsnapshot.storage.k8s.io", thing(), "own cluster"),
        ("configmaps", thing("kube-root-ca.crt"), "every namespace"),
        ("secrets", thing(metadata={"deletionTimestamp": "now"}), "being deleted"),
        (
            "jobs.batch",
            thing(
                metadata={
                    "ownerReferences": [
                        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "c", "controller": True}
                    ]
                }
            ),
            "CronJob c",
        ),
    ],
)
def test_reasons_not_to_restore(key: str, obj: dict[str, Any], words: str) -> None:
    assert words in str(strip.skip_reason(key, obj, frozenset({"c"})))


def test_children_of_operators_are_restored() -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "Database", "name": "d", "uid": "d", "controller": True}
    assert strip.skip_reason("secrets", thing(metadata={"ownerReferences": [owner]}), frozenset({"d"})) is None


MOVED = mapping.NamespaceMapping({"a": "b"})


def test_references_follow_a_moved_namespace() -> None:
    binding = thing(
        subjects=[
            {"kind": "ServiceAccount", "name": "s", "namespace": "a"},
            {"kind": "ServiceAccount", "name": "s", "namespace": "z"},
            {"kind": "Group", "name": "system:serviceaccounts:a"},
            {"kind": "User", "name": "system:serviceaccount:a:s"},
        ]
    )
    MOVED.rewrite("rolebindings.rbac.authorization.k8s.io", binding)
    assert binding["metadata"]["namespace"] == "b"
    assert [subject.get("namespace") for subject in binding["subjects"]] == ["b", "z", None, None]
    assert [subject["name"] for subject in binding["subjects"][2:]] == [
        "system:serviceaccounts:b",
        "system:serviceaccount:b:s",
    ]
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}
    policy = thing(spec={"ingress": [{"from": [selector]}]})
    MOVED.rewrite("networkpolicies.networking.k8s.io", policy)
    assert selector["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "b"}
    custom = thing(spec={"list": [{"ref": {"name": "n", "namespace": "a"}}], "namespace": "a"})
    MOVED.rewrite("things.example.com", custom)
    assert custom["spec"] == {"list": [{"ref": {"name": "n", "namespace": "b"}}], "namespace": "a"}


def test_suffixed_names_stay_valid_and_unique() -> None:
    assert mapping.suffixed("reader", "Drill_1") == "reader-drill-1"
    long = mapping.suffixed("x" * 253, "one")
    assert len(long) == 253 and long != mapping.suffixed("x" * 253, "two")


def test_the_user_of_a_moved_tag_decides_which_digest_it_gets() -> None:
    images = [
        {"name": "r/api:1", "digest": "sha256:old", "path": "r/api", "used_by": ["a/deployments/old:c"]},
        {"name": "r/api:1", "digest": "sha256:new", "path": "r/api", "used_by": ["a/deployments/new:c"]},
        {"name": "r/lost:1", "digest": None, "path": None, "failed": True},
    ]
    names = ImageNames.of({"name": "west:5000/p/"}, images, login=True)
    for name in ("old", "new"):
        spec = {"containers": [{"name": "c", "image": "r/api:1"}, {"name": "d", "image": "r/lost:1"}]}
        obj = thing(name, spec={"template": {"spec": {**spec, "imagePullSecrets": [{"name": "old"}]}}})
        names.rewrite("deployments.apps", obj)
        pods = obj["spec"]["template"]["spec"]
        assert pods["containers"][0]["image"] == f"west:5000/p/r/api@sha256:{name}"
        assert pods["imagePullSecrets"] == [{"name": "container-dr-registry"}, {"name": "old"}]
    assert names.unknown == {"r/lost:1"}


def test_images_that_are_mounted_and_that_custom_resources_name() -> None:
    images = [
        {"name": "r/model:1", "digest": "sha256:m", "path": "r/model", "used_by": ["a/pods/x:volume model"]},
        {"name": "postgres:16", "digest": "sha256:p", "path": "docker.io/library/postgres"},
        {"name": "redis", "digest": "sha256:r", "path": "docker.io/library/redis"},
    ]
    names = ImageNames.of({"name": "west:5000"}, images, login=False)
    pod = thing(spec={"containers": [], "volumes": [{"name": "model", "image": {"reference": "r/model:1"}}]})
    assert names.rewrite("pods", pod) == ["1 images taken from the target's registry"]
    assert pod["spec"]["volumes"][0]["image"]["reference"] == "west:5000/r/model@sha256:m"
    # A bare word may be anything; with a tag, or under the key image, it is one.
    custom = thing(spec={"imageName": "postgres:16", "engine": "redis", "parts": [{"image": "redis"}, "postgres:16"]})
    names.rewrite("clusters.postgresql.cnpg.io", custom)
    postgres = "west:5000/docker.io/library/postgres@sha256:p"
    redis = "west:5000/docker.io/library/redis@sha256:r"
    assert custom["spec"] == {"imageName": postgres, "engine": "redis", "parts": [{"image": redis}, postgres]}


def test_images_anywhere_in_custom_resources_but_not_in_what_is_said_about_them() -> None:
    name, redis = "r.example.com/db:1", "west:5000/redis@sha256:r"
    images = [
        {"name": name, "digest": "sha256:d", "path": "db"},
        {"name": "redis", "digest": "sha256:r", "path": "redis", "used_by": ["a/shops/x:/parts/0/runs"]},
    ]
    names = ImageNames.of({"name": "west:5000"}, images, login=False)
    about = {"metadata": {"name": "x", "namespace": "a", "annotations": {"image": name}}, "status": {"image": name}}
    # Where the capture found it, below the key image, and in full.
    custom = {"image": name, "data": {"image": "redis"}, "parts": [{"runs": "redis"}, {"runs": "redis"}], **about}
    assert names.rewrite("shops.example.com", custom) == ["3 images taken from the target's registry"]
    db = "west:5000/db@sha256:d"
    assert custom == {"image": db, "data": {"image": redis}, "parts": [{"runs": redis}, {"runs": "redis"}], **about}
    assert about["status"] == {"image": name}


def test_a_bare_name_where_the_table_knows_of_an_image() -> None:
    names = ImageNames.of({"name": "west:5000"}, [{"name": "pg", "digest": "sha256:p", "path": "pg"}], login=False)
    custom = thing(spec={"imageName": "pg", "description": "pg"})
    names.rewrite("clusters.postgresql.cnpg.io", custom)
    assert custom["spec"] == {"imageName": "west:5000/pg@sha256:p", "description": "pg"}


def test_an_image_that_the_application_says_a_built_in_kind_names() -> None:
    images = [{"name": "r/a:1", "digest": "sha256:a", "path": "a", "used_by": ["a/configmaps/x:/data/image"]}]
    names = ImageNames.of({"name": "west:5000"}, images, login=False)
    taken, other = thing(data={"image": "r/a:1", "note": "r/a:1"}), thing("y", data={"image": "r/a:1"})
    for one in (taken, other):
        names.rewrite("configmaps", one)
    assert taken["data"] == {"image": "west:5000/a@sha256:a", "note": "r/a:1"}
    assert other["data"] == {"image": "r/a:1"}


def test_pod_templates_take_their_images_from_the_targets_registry() -> None:
    images = [
        {"name": "r/a:1", "digest": "sha256:old", "path": "a"},
        {"name": "r/a:1", "digest": "sha256:new", "path": "a", "used_by": ["a/podtemplates/x:c"]},
    ]
    names = ImageNames.of({"name": "west:5000"}, images, login=False)
    obj = thing(template={"spec": {"containers": [{"name": "c", "image": "r/a:1"}]}})
    names.rewrite("podtemplates", obj)
    assert obj["template"]["spec"]["containers"][0]["image"] == "west:5000/a@sha256:new"


BUBBLE = bubble.Bubble("run-1", "ledger")


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        ([{}], [{"to": [BUBBLE.inside()]}]),
        ([{"ports": [{"port": 1}]}], [{"ports": [{"port": 1}], "to": [BUBBLE.inside()]}]),
        ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}], []),
        ([{"to": [{"podSelector": {}}]}], [{"to": [{"podSelector": {}}]}]),
        (
            [{"to": [{"namespaceSelector": {}}]}],
            [{"to": [{"namespaceSelector": {"matchLabels": {"container-dr.muster.dev/run": "run-1"}}}]}],
        ),
        ([], []),
    ],
)
def test_no_egress_rule_leaves_the_bubble(egress: list[Any], expected: list[Any]) -> None:
    obj = thing(spec={"podSelector": {}, "egress": egress})
    BUBBLE.rewrite("networkpolicies.networking.k8s.io", obj)
    assert obj["spec"]["egress"] == expected


def test_pods_in_a_bubble_are_on_its_network_and_cannot_pose_as_movers() -> None:
    spec = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 2}]}],
    }
    labels = {"app": "a", "container-dr.muster.dev/role": "mover"}
    obj = thing(spec={"template": {"metadata": {"labels": labels}, "spec": spec}})
    BUBBLE.rewrite("daemonsets.apps", obj)
    template = obj["spec"]["template"]
    assert template["spec"] == {
        "dnsPolicy": "ClusterFirst",
        "containers": [{"name": "c", "ports": [{"containerPort": 1}]}],
    }
    assert template["metadata"]["labels"] == {"app": "a"}


@pytest.mark.parametrize(
    "key",
    ["ingresses.networking.k8s.io", "httproutes.gateway.networking.k8s.io", "applications.argoproj.io"],
)
def test_what_acts_outside_stays_out_of_a_bubble(key: str) -> None:
    assert BUBBLE.skip_reason(key)
