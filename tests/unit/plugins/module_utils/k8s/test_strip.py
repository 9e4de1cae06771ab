# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the server owns goes, what the user owns stays: each rule on one object."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import existing, objects, plan, strip, transform
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import object_path

LAST = "kubectl.kubernetes.io/last-applied-configuration"
HOOKS = "validatingwebhookconfigurations.admissionregistration.k8s.io"


def thing(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", **more.pop("metadata", {})}, **more}


def owned(fields: dict[str, Any], subresource: str = "") -> list[dict[str, Any]]:
    """As a real server notes it, see tests/api."""
    return [{"manager": "kubectl", "operation": "Update", "subresource": subresource, "fieldsV1": {"f:spec": fields}}]


def service(ports: list[dict[str, Any]], **metadata: Any) -> dict[str, Any]:
    return thing(
        metadata=metadata,
        spec={"type": "NodePort", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ports": ports},
    )


PORTS = [
    {"port": 80, "protocol": "TCP", "nodePort": 30080},
    {"port": 80, "protocol": "UDP", "nodePort": 30081},
    {"port": 81, "nodePort": 30082},
]
OWNED_PORT = {
    "f:ports": {
        'k:{"port":80,"protocol":"TCP"}': {"f:port": {}, "f:nodePort": {}},
        'k:{"port":80,"protocol":"UDP"}': {"f:port": {}},
    }
}
APPLIED = json.dumps({"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}})


@pytest.mark.parametrize(
    "metadata", [{"managedFields": owned(OWNED_PORT)}, {"annotations": {LAST: APPLIED}}], ids=["managed", "applied"]
)
def test_node_ports_that_the_user_wrote_can_be_told_from_allocated_ones(metadata: dict[str, Any]) -> None:
    obj = service(copy.deepcopy(PORTS), **metadata)
    notes = strip.strip("services", obj, keep=strip.Keep(strip.NodePorts.USER))
    assert [port.get("nodePort") for port in obj["spec"]["ports"]] == [30080, None, None]
    assert len(notes) == 2 and all("left to the server" in note for note in notes)


@pytest.mark.parametrize(
    ("policy", "kept"), [(strip.NodePorts.KEEP, 3), (strip.NodePorts.CLEAR, 0), (strip.NodePorts.USER, 0)]
)
def test_node_ports_without_any_trace_of_who_wrote_them(policy: strip.NodePorts, kept: int) -> None:
    obj = service(copy.deepcopy(PORTS), annotations={LAST: "{no json"}, managedFields=owned(OWNED_PORT, "status"))
    strip.strip("services", obj, keep=strip.Keep(policy))
    assert sum("nodePort" in port for port in obj["spec"]["ports"]) == kept


@pytest.mark.parametrize(
    ("chosen", "policy", "stays"), [(1, "keep", 1), (1, "clear", 0), (0, "keep", 0), (1, "user", 1)]
)
def test_health_check_ports_are_kept_where_somebody_chose_them(chosen: int, policy: str, stays: int) -> None:
    fields = owned({"f:healthCheckNodePort": {}}) if chosen else owned({"f:type": {}})
    obj = thing(metadata={"managedFields": fields}, spec={"healthCheckNodePort": 31999, "ports": []})
    live = copy.deepcopy(obj)
    strip.strip("services", obj, keep=strip.Keep(strip.NodePorts(policy)))
    assert ("healthCheckNodePort" in obj["spec"]) == bool(stays)
    assert not stays or existing.same_content("services", obj, live, True)


def test_a_chosen_cluster_address_is_given_up_but_not_in_silence() -> None:
    chosen = service([], managedFields=owned({"f:clusterIP": {}}))
    allocated = service([], managedFields=owned({"f:type": {}}))
    assert "10.0.0.9" in strip.strip("services", chosen)[0]
    assert strip.strip("services", allocated) == []
    assert chosen["spec"] == allocated["spec"] == {"type": "NodePort", "ports": []}


def test_ports_that_the_server_allocated_are_no_difference() -> None:
    live = service(copy.deepcopy(PORTS), uid="u")
    wanted = service(
        [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 80, "protocol": "UDP"}, {"port": 81}]
    )
    strip.strip("services", wanted)
    assert existing.same_content("services", wanted, live, True)
    wanted["spec"]["ports"][0]["nodePort"] = 30099
    assert not existing.same_content("services", wanted, live, True)


def test_status_is_kept_for_chosen_kinds() -> None:
    for key, stays in (("things.example.com", True), ("pods", False)):
        obj = thing(spec={}, status={"phase": "Ready"})
        strip.strip(key, obj, keep=strip.Keep(status=("*.example.com",)))
        assert ("status" in obj) is stays


def test_chosen_finalizers_are_kept_and_others_named() -> None:
    obj = thing(metadata={"finalizers": ["example.com/a", "foregroundDeletion", "other.io/b"]})
    live = copy.deepcopy(obj)
    wishes = plan.Wishes("p-1", rules=transform.Rules(finalizers=("example.com/*", "foreground*")))
    notes = transform.Transformer(wishes, [], lambda _key: {}).apply("configmaps", obj)
    assert obj["metadata"]["finalizers"] == ["example.com/a"]
    assert notes == ["finalizers held back: other.io/b"]
    assert existing.same_content("configmaps", obj, live, True)


def test_secrets_that_the_user_linked_stay_linked() -> None:
    account = thing("api", secrets=[{"name": "git"}, {"name": "api-token-abcde"}, {"name": "api-dockercfg-x1y2z"}])
    account["imagePullSecrets"] = [{"name": "api-dockercfg-x1y2z"}]
    strip.strip("serviceaccounts", account)
    assert account["secrets"] == [{"name": "git"}] and "imagePullSecrets" not in account
    live = {"secrets": [{"name": "api-token-vwxyz"}, {"name": "git"}]}
    assert strip.linked_secrets(account, live) == [{"name": "git"}, {"name": "api-token-vwxyz"}]
    bare = thing("api", secrets=[{"name": "api-token-abcde"}])
    strip.strip("serviceaccounts", bare)
    assert "secrets" not in bare


def test_what_a_user_put_into_a_token_secret_stays() -> None:
    secret = thing(type="kubernetes.io/service-account-token", data={"token": "t", "ca.crt": "c", "extra": "e"})
    strip.strip("secrets", secret)
    assert secret["data"] == {"extra": "e"}


@pytest.mark.parametrize(
    ("key", "obj", "words"),
    [
        ("jobs.batch", thing(status={"conditions": [{"type": "Complete", "status": "True"}]}), "finished (Complete)"),
        ("jobs.batch", thing(status={"conditions": [{"type": "FailureTarget", "status": "True"}]}), "(Failed)"),
        ("pods", thing(status={"phase": "Failed"}), "finished (Failed)"),
        (
            "apiservices.apiregistration.k8s.io",
            thing(
                metadata={"labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}},
                spec={"service": {"name": "x"}},
            ),
            "the server makes it",
        ),
        ("apiservices.apiregistration.k8s.io", thing(spec={"service": None}), "the server makes it"),
        (
            "secrets",
            thing(type="kubernetes.io/dockercfg", metadata={"annotations": {"openshift.io/token-secret.name": "t"}}),
            "generated login",
        ),
        (
            "clusterroles.rbac.authorization.k8s.io",
            thing(metadata={"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
            "the server makes it",
        ),
        (
            "priorityclasses.scheduling.k8s.io",
            thing("system-node-critical", kind="PriorityClass"),
            "the server makes it",
        ),
        (
            "persistentvolumes",
            thing(spec={"persistentVolumeReclaimPolicy": "Retain"}),
            "restore it with static_volumes",
        ),
    ],
)
def test_reasons_not_to_restore(key: str, obj: dict[str, Any], words: str) -> None:
    assert words in str(strip.skip_reason(key, obj, frozenset()))


@pytest.mark.parametrize(
    ("key", "obj"),
    [
        ("jobs.batch", thing(status={"conditions": [{"type": "Suspended", "status": "True"}]})),
        ("jobs.batch", thing(status={"conditions": [{"type": "Failed", "status": "False"}], "active": 1})),
        ("pods", thing(status={"phase": "Running"})),
        ("apiservices.apiregistration.k8s.io", thing(spec={"service": {"name": "x"}})),
        (
            "clusterroles.rbac.authorization.k8s.io",
            thing(
                metadata={
                    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"},
                }
            ),
        ),
        ("secrets", thing("mine", type="kubernetes.io/service-account-token")),
    ],
)
def test_what_is_restored_all_the_same(key: str, obj: dict[str, Any]) -> None:
    assert strip.skip_reason(key, obj, frozenset()) is None


def test_pods_of_any_controller_are_left_to_it() -> None:
    owner = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "db", "uid": "u", "controller": True}
    pod = thing(metadata={"ownerReferences": [owner]}, status={"phase": "Running"})
    assert "makes it again" in str(strip.skip_reason("pods", pod, frozenset({"u"})))
    assert "is not restored" in str(strip.skip_reason("pods", pod, frozenset()))
    secret = thing(metadata={"ownerReferences": [owner]})
    assert strip.skip_reason("secrets", secret, frozenset({"u"})) is None


def test_objects_that_were_being_deleted_come_back_only_on_request() -> None:
    obj = thing(metadata={"deletionTimestamp": "now", "deletionGracePeriodSeconds": 0})
    assert strip.skip_reason("configmaps", obj, frozenset(), strip.Keep(deleting=True)) is None
    strip.strip("configmaps", obj)
    assert obj == thing()


def test_a_bare_pod_loses_what_its_node_and_the_server_gave_it() -> None:
    pod = thing(
        metadata={
            "annotations": {"cni.projectcalico.org/podIP": "1", "k8s.v1.cni.cncf.io/network-status": "1", "mine": "1"}
        },
        spec={
            "nodeName": "n",
            "priority": 5,
            "priorityClassName": "high",
            "preemptionPolicy": "Never",
            "serviceAccount": "s",
            "serviceAccountName": "s",
            "runtimeClassName": "kata",
            "overhead": {"cpu": "1"},
            "schedulingGates": [{"name": "kueue"}],
            "containers": [],
        },
    )
    notes = strip.strip("pods", pod)
    assert pod["metadata"]["annotations"] == {"mine": "1"}
    assert pod["spec"] == {
        "priorityClassName": "high",
        "serviceAccountName": "s",
        "runtimeClassName": "kata",
        "schedulingGates": [{"name": "kueue"}],
        "containers": [],
    }
    assert "it waits for scheduling gate kueue" in notes


def test_webhooks_say_what_new_ones_may_say() -> None:
    obj = thing(webhooks=[{"name": "a", "sideEffects": "Unknown"}, {"name": "b", "sideEffects": "Some"}, {"name": "c"}])
    notes = strip.strip(HOOKS, obj)
    assert [hook.get("sideEffects") for hook in obj["webhooks"]] == ["None", "NoneOnDryRun", None]
    assert len(notes) == 2


def test_rules_of_aggregated_roles_are_the_controllers() -> None:
    key = "clusterroles.rbac.authorization.k8s.io"
    wanted, live = thing(aggregationRule={"x": 1}, rules=[1]), thing(aggregationRule={"x": 1}, rules=[1, 2])
    strip.strip(key, wanted)
    assert wanted["rules"] is None
    assert existing.same_content(key, wanted, live, True)


def test_static_volumes_are_restored_with_their_claims_on_request() -> None:
    volume = thing(
        "nfs",
        metadata={"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        spec={
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"name": "data", "namespace": "a", "uid": "u", "resourceVersion": "1", "kind": "P"},
        },
    )
    dynamic = thing("pvc-1", spec={"persistentVolumeReclaimPolicy": "Retain"})
    dynamic["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": "csi"}
    deleted = thing("gone", spec={"persistentVolumeReclaimPolicy": "Delete"})
    pairs = [("persistentvolumes", one) for one in (volume, dynamic, deleted)]
    keep = strip.Keep(volumes=strip.static_volumes(pairs))
    assert keep.volumes == {"nfs"}
    assert [strip.skip_reason(key, obj, frozenset(), keep) is None for key, obj in pairs] == [True, False, False]
    live = copy.deepcopy(volume)
    strip.strip("persistentvolumes", volume, keep=keep)
    assert volume["spec"]["claimRef"] == {"name": "data", "namespace": "a", "kind": "P"}
    assert "annotations" not in volume["metadata"]
    assert existing.same_content("persistentvolumes", volume, live, True)
    for name, stays in (("nfs", True), ("pvc-1", False)):
        claim = thing(spec={"volumeName": name})
        strip.strip("persistentvolumeclaims", claim, keep=keep)
        assert ("volumeName" in claim["spec"]) is stays


def test_kubectl_keeps_its_memory() -> None:
    obj = thing(metadata={"annotations": {LAST: "{}", "deployment.kubernetes.io/revision": "3"}, "generateName": "x-"})
    strip.strip("deployments.apps", obj)
    assert obj["metadata"]["annotations"] == {LAST: "{}"} and "generateName" not in obj["metadata"]


def test_names_of_any_length_and_make_are_good_in_paths() -> None:
    assert object_path("v1", "configmaps", "a", "n" * 253).endswith("/" + "n" * 253)
    path = object_path("rbac.authorization.k8s.io/v1", "clusterroles", None, "odd name?a=b#c")
    assert path.endswith("/clusterroles/odd%20name%3Fa%3Db%23c")
    assert object_path("rbac.authorization.k8s.io/v1", "clusterroles", None, "system:a").endswith("/system%3Aa")


def test_essence_is_the_same_after_a_second_strip() -> None:
    obj = service(copy.deepcopy(PORTS), managedFields=owned(OWNED_PORT))
    strip.strip("services", obj)
    again = copy.deepcopy(obj)
    strip.strip("services", again)
    assert objects.essence(again) == objects.essence(obj)
