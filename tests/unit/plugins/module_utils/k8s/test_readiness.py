# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every rule: an object in, a verdict out."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import readiness
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.readiness import State, Surroundings, judge

OK, WAIT, BAD = State.CURRENT, State.IN_PROGRESS, State.FAILED
CUSTOM = "things.example.com"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
LABELS = {"app": "api"}


def thing(spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "api", "namespace": "ledger", **metadata},
        **({} if spec is None else {"spec": spec}),
        **({} if status is None else {"status": status}),
    }


def told(*conditions: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    """``Ready`` is true, ``!Ready`` is false, ``?Ready`` is unknown."""
    states = {"!": "False", "?": "Unknown"}
    return [
        {"type": one.lstrip("!?"), "status": states.get(one[0], "True"), "reason": reason, "message": message}
        for one in conditions
    ]


def counts(number: int, **more: Any) -> dict[str, Any]:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": 1, **dict.fromkeys(names, number), **more}


def deployment(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return thing({"replicas": 2, **spec}, status, generation=1)


def stateful(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    revisions = {"currentRevision": "a", "updateRevision": "a", "observedGeneration": 1}
    return thing({"replicas": 2, **spec}, {**revisions, **status}, generation=1)


def daemon(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return thing(spec, {"observedGeneration": 1, **status}, generation=1)


def job(status: dict[str, Any] | None = None, owner: str = "", **spec: Any) -> dict[str, Any]:
    owners = [{"kind": owner, "controller": True, "uid": "o"}] if owner else []
    return thing({"completions": 1, **spec}, status or {}, ownerReferences=owners)


def pod(owner: str = "", group: str = "apps/v1", deleted: bool = False, never: bool = False, **status: Any) -> Any:
    metadata: dict[str, Any] = {"labels": LABELS}
    if owner:
        metadata["ownerReferences"] = [{"apiVersion": group, "kind": owner, "controller": True, "uid": "o"}]
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return thing({"restartPolicy": "Never" if never else "Always"}, status, **metadata)


def container(state: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "state": state, **more}]


WAITING = container({"waiting": {"reason": "ImagePullBackOff", "message": "no such manifest"}})
DEADLINE = told("!Progressing", reason="ProgressDeadlineExceeded")
QUOTA = told("ReplicaFailure", reason="FailedCreate", message="exceeded quota: small")
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}
PARTITION = {"updateStrategy": {"rollingUpdate": {"partition": 1}}}
DAEMONS = {"desiredNumberScheduled": 2, "numberReady": 2, "numberAvailable": 2, "updatedNumberScheduled": 2}


@pytest.mark.parametrize(
    ("key", "obj", "state", "words"),
    [
        # What holds for all
        ("deployments.apps", deployment(counts(2)) | {"metadata": {"generation": 2}}, WAIT, "last change"),
        ("deployments.apps", thing({}, {}, generation=1), WAIT, "has not seen it"),
        ("deployments.apps", thing({}, counts(1), deletionTimestamp="x", finalizers=["a/b"]), WAIT, "held by a/b"),
        (CUSTOM, thing({}, {"observedGeneration": "1"}, generation=2), WAIT, "last change"),
        (CUSTOM, thing({}, {"observedGeneration": 9}, generation=1), WAIT, "last change"),
        (CUSTOM, thing({}, {"observedGeneration": "2"}, generation=2), OK, "nothing says"),
        # Deployment
        ("deployments.apps", deployment(counts(2)), OK, "2 of 2"),
        ("deployments.apps", thing({}, counts(1)), OK, "1 of 1"),
        ("deployments.apps", deployment(counts(0), replicas=0), OK, "0 of 0"),
        ("deployments.apps", deployment(counts(2, readyReplicas=1)), WAIT, "1 of 2 ready"),
        ("deployments.apps", deployment(counts(2, availableReplicas=1)), WAIT, "1 of 2 available"),
        ("deployments.apps", deployment(counts(2, updatedReplicas=1)), WAIT, "1 of 2 updated"),
        ("deployments.apps", deployment(counts(2, replicas=3)), WAIT, "1 old pods"),
        ("deployments.apps", deployment(counts(3)), WAIT, "1 pods too many"),
        ("deployments.apps", deployment(counts(1, conditions=DEADLINE)), BAD, "progress deadline of 600 s"),
        ("deployments.apps", deployment(counts(2, conditions=DEADLINE)), OK, "2 of 2"),
        ("deployments.apps", deployment(counts(0, conditions=QUOTA)), WAIT, "exceeded quota: small"),
        ("deployments.apps", deployment(counts(2, updatedReplicas=0), paused=True), OK, "2 of 2"),
        ("deployments.apps", deployment(counts(0), paused=True), WAIT, "it is paused"),
        # StatefulSet
        ("statefulsets.apps", stateful(counts(2)), OK, "2 of 2"),
        ("statefulsets.apps", stateful(counts(2, readyReplicas=1)), WAIT, "1 of 2 ready"),
        ("statefulsets.apps", stateful(counts(2, replicas=3)), WAIT, "too many"),
        ("statefulsets.apps", stateful(counts(2, updatedReplicas=1)), WAIT, "1 of 2 updated"),
        ("statefulsets.apps", stateful(counts(2, updateRevision="b")), WAIT, "not complete"),
        ("statefulsets.apps", stateful(counts(2, updatedReplicas=1, updateRevision="b"), **PARTITION), OK, "2 of 2"),
        ("statefulsets.apps", stateful(counts(2, updatedReplicas=0, updateRevision="b"), **PARTITION), WAIT, "0 of 1"),
        ("statefulsets.apps", stateful(counts(2, updatedReplicas=0, updateRevision="b"), **ON_DELETE), OK, "its user"),
        ("statefulsets.apps", stateful(counts(1), **ON_DELETE), WAIT, "1 of 2 ready"),
        ("statefulsets.apps", thing({}, {}, generation=1), WAIT, "has not seen it"),
        # DaemonSet
        ("daemonsets.apps", daemon(DAEMONS), OK, "2 of 2"),
        ("daemonsets.apps", daemon({}), WAIT, "not counted"),
        ("daemonsets.apps", daemon({**DAEMONS, "desiredNumberScheduled": 0}), OK, "no node"),
        ("daemonsets.apps", daemon({**DAEMONS, "numberReady": 1}), WAIT, "1 of 2 ready"),
        ("daemonsets.apps", daemon({**DAEMONS, "numberAvailable": 1}), WAIT, "1 of 2 available"),
        ("daemonsets.apps", daemon({**DAEMONS, "updatedNumberScheduled": 1}), WAIT, "1 of 2 updated"),
        ("daemonsets.apps", daemon({**DAEMONS, "updatedNumberScheduled": 1}, **ON_DELETE), OK, "2 of 2"),
        # ReplicaSet
        ("replicasets.apps", deployment(counts(2)), OK, "2 ready"),
        ("replicasets.apps", deployment(counts(1, conditions=QUOTA)), WAIT, "quota"),
        ("replicasets.apps", deployment(counts(3)), WAIT, "too many"),
        ("replicationcontrollers", deployment(counts(1)), WAIT, "1 of 2 ready"),
        (
            "replicasets.apps",
            thing({"replicas": 2}, counts(0), ownerReferences=[{"kind": "Deployment", "controller": True}]),
            OK,
            "owner",
        ),
        # Job
        ("jobs.batch", job({"conditions": told("Complete")}), OK, "complete"),
        ("jobs.batch", job({"conditions": told("SuccessCriteriaMet")}), OK, "complete"),
        (
            "jobs.batch",
            job({"conditions": told("Failed", reason="BackoffLimitExceeded", message="it failed")}),
            BAD,
            "BackoffLimitExceeded: it failed",
        ),
        ("jobs.batch", job({"conditions": told("Failed")}, owner="CronJob"), OK, "CronJob"),
        ("jobs.batch", job(suspend=True), OK, "suspended"),
        ("jobs.batch", job({"conditions": told("Suspended")}), OK, "suspended"),
        ("jobs.batch", job(), WAIT, "not begun"),
        ("jobs.batch", job({"startTime": "x", "failed": 2}), WAIT, "0 of 1 completed, 2 pods failed"),
        ("cronjobs.batch", thing({"schedule": "* * * * *"}), OK, "in its time"),
        # Pod
        ("pods", pod(phase="Running", conditions=told("Ready")), OK, "ready"),
        ("pods", pod(phase="Succeeded"), OK, "finished"),
        ("pods", pod(phase="Running", deleted=True), OK, "way out"),
        ("pods", pod("Job", "batch/v1", phase="Failed"), OK, "its Job"),
        ("pods", pod("ReplicaSet", phase="Failed", reason="Evicted"), OK, "replaces it"),
        ("pods", pod(phase="Failed", reason="Evicted", message="disk"), BAD, "Evicted: disk"),
        ("pods", pod(phase="Failed", containerStatuses=container({"terminated": {"exitCode": 3}})), BAD, "code 3"),
        ("pods", pod(phase="Pending", containerStatuses=WAITING), WAIT, "ImagePullBackOff no such manifest"),
        ("pods", pod(phase="Pending", initContainerStatuses=WAITING), WAIT, "ImagePullBackOff"),
        ("pods", pod(phase="Pending", conditions=told("!PodScheduled", message="0/3 nodes")), WAIT, "0/3 nodes"),
        ("pods", pod(phase="Running", containerStatuses=container({"running": {"at": "x"}})), WAIT, "container c"),
        ("pods", pod(phase="Running", containerStatuses=container({"terminated": {"exitCode": 3}})), WAIT, "code 3"),
        ("pods", pod(containerStatuses=container({"waiting": {"reason": "PodInitializing"}})), WAIT, "no status yet"),
        # Claim
        ("persistentvolumeclaims", thing({}, {"phase": "Bound"}), OK, "bound"),
        ("persistentvolumeclaims", thing({"volumeName": "v"}, {"phase": "Lost"}), BAD, "its volume v"),
        ("persistentvolumeclaims", thing({"storageClassName": "gone"}, {"phase": "Pending"}), WAIT, "no storage class"),
        ("persistentvolumeclaims", thing({"storageClassName": "now"}, {"phase": "Pending"}), WAIT, "not bound"),
        ("persistentvolumeclaims", thing({"storageClassName": "later"}, {"phase": "Pending"}), OK, "class later binds"),
        (
            "persistentvolumeclaims",
            thing({"storageClassName": "later"}, {"phase": "Pending"}, name="mounted"),
            WAIT,
            "not bound",
        ),
        (
            "persistentvolumeclaims",
            thing({"storageClassName": "later", "volumeName": "v"}, {"phase": "Pending"}),
            WAIT,
            "not bound",
        ),
        # Service
        ("services", thing({"type": "ExternalName"}), OK, "outside"),
        ("services", thing({"clusterIP": "None"}), OK, "own business"),
        ("services", thing({"selector": LABELS}), WAIT, "no endpoint"),
        ("services", thing({"selector": LABELS}, name="served"), OK, "serves"),
        ("services", thing({"selector": {"app": "asleep"}}), OK, "serves"),
        ("services", thing({"selector": LABELS, "type": "LoadBalancer"}, name="served"), WAIT, "no address"),
        (
            "services",
            thing({"selector": LABELS, "type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{}]}}, name="served"),
            OK,
            "serves",
        ),
        # The way in
        ("ingresses.networking.k8s.io", thing({}, {"loadBalancer": {"ingress": [{"ip": "x"}]}}), OK, "an address"),
        ("ingresses.networking.k8s.io", thing({"ingressClassName": "nginx"}), WAIT, "class nginx"),
        ("ingresses.networking.k8s.io", thing({"ingressClassName": "other"}), OK, "no ingress class other"),
        ("ingresses.networking.k8s.io", thing({}), WAIT, "class nginx"),
        (
            "ingresses.networking.k8s.io",
            thing({}, annotations={"kubernetes.io/ingress.class": "other"}),
            OK,
            "no ingress class other",
        ),
        ("gateways.gateway.networking.k8s.io", thing({"gatewayClassName": "other"}), OK, "no gateway class"),
        ("gateways.gateway.networking.k8s.io", thing({"gatewayClassName": "envoy"}), WAIT, "not accepted"),
        (
            "gateways.gateway.networking.k8s.io",
            thing({"gatewayClassName": "envoy"}, {"conditions": told("Accepted", "!Programmed", message="no pods")}),
            WAIT,
            "no pods",
        ),
        (
            "gateways.gateway.networking.k8s.io",
            thing({"gatewayClassName": "envoy"}, {"conditions": told("Accepted", "Programmed")}),
            OK,
            "programmed",
        ),
        ("httproutes.gateway.networking.k8s.io", thing({}), OK, "nobody"),
        (
            "httproutes.gateway.networking.k8s.io",
            thing({}, {"parents": [{"conditions": told("!Accepted", message="no listener")}]}),
            WAIT,
            "no listener",
        ),
        # Others of Kubernetes' own
        ("poddisruptionbudgets.policy", thing({}, {}, generation=1), WAIT, "has not seen it"),
        ("poddisruptionbudgets.policy", thing({}, {"observedGeneration": 1}, generation=1), OK, "seen"),
        ("horizontalpodautoscalers.autoscaling", thing({}, {}), OK, "seen"),
        ("networkpolicies.networking.k8s.io", thing({}), OK, "nothing to wait for"),
        (CRDS, thing({}, {"conditions": told("NamesAccepted", "Established")}), OK, "established"),
        (CRDS, thing({}, {"conditions": told("!NamesAccepted", message="taken")}), BAD, "taken"),
        (CRDS, thing({}, {"conditions": told("!Established", reason="Installing")}), WAIT, "not established"),
        (CRDS, thing({}, {"conditions": told("!Established", reason="NotAccepted")}), BAD, "NotAccepted"),
        (CRDS, thing({}), WAIT, "not established"),
        ("apiservices.apiregistration.k8s.io", thing({"service": None}), OK, "available"),
        ("apiservices.apiregistration.k8s.io", thing({"service": {"name": "x"}}), WAIT, "not available"),
        (
            "apiservices.apiregistration.k8s.io",
            thing({"service": {"name": "x"}}, {"conditions": told("!Available", reason="MissingEndpoints")}),
            WAIT,
            "MissingEndpoints",
        ),
        (
            "apiservices.apiregistration.k8s.io",
            thing({"service": {"name": "x"}}, {"conditions": told("Available")}),
            OK,
            "available",
        ),
        # Custom resources
        (CUSTOM, thing({}, {"conditions": told("Ready")}), OK, "ready"),
        (CUSTOM, thing({}, {"conditions": told("!Ready", reason="Issuing", message="soon")}), WAIT, "Issuing: soon"),
        (CUSTOM, thing({}, {"conditions": told("?Ready")}), WAIT, "does not say that it is ready"),
        (CUSTOM, thing({}, {"conditions": told("Available")}), OK, "available"),
        (CUSTOM, thing({}, {"conditions": told("!Available", message="down")}), WAIT, "down"),
        (CUSTOM, thing({}, {"conditions": told("!Ready", "Available")}), WAIT, "ready"),
        (CUSTOM, thing({}, {"conditions": told("Ready", "Reconciling", message="busy")}), WAIT, "busy"),
        (CUSTOM, thing({}, {"conditions": told("Ready", "!Reconciling", "!Stalled")}), OK, "ready"),
        (CUSTOM, thing({}, {"conditions": told("Stalled", "Reconciling", message="lost")}), BAD, "lost"),
        (CUSTOM, thing({}, {"conditions": told("Failed", message="broken")}), BAD, "broken"),
        (CUSTOM, thing({}), OK, "nothing says"),
        (CUSTOM, thing("text", "text"), OK, "nothing says"),
        (CUSTOM, thing({}, {"conditions": ["text", {"type": "Other", "status": "False"}]}), OK, "nothing says"),
        (CUSTOM, thing({}, {"conditions": {"Ready": True}}), OK, "nothing says"),
    ],
)
def test_a_verdict(key: str, obj: dict[str, Any], state: State, words: str) -> None:
    around = Surroundings(
        serving={("ledger", "served")},
        running={"ledger": [{**LABELS, "more": "x"}]},
        mounted={("ledger", "mounted")},
        binding_modes={"later": "WaitForFirstConsumer", "now": "Immediate"},
        ingress_classes={"nginx": True},
        gateway_classes={"envoy"},
    )
    verdict = judge(key, obj, around)
    assert (verdict.state, words in verdict.reason) == (state, True), verdict


@pytest.mark.parametrize(
    ("key", "obj"),
    [
        ("jobs.batch", job({"conditions": told("Failed")})),
        ("deployments.apps", deployment(counts(1, conditions=DEADLINE))),
        ("pods", pod(phase="Failed", never=True)),
    ],
    ids=["job", "deployment", "pod of its own"],
)
def test_what_nothing_will_mend_is_final(key: str, obj: dict[str, Any]) -> None:
    assert judge(key, obj).final


@pytest.mark.parametrize(
    ("key", "obj"),
    [
        (CUSTOM, thing({}, {"conditions": told("Stalled")})),
        ("pods", pod(phase="Failed")),
        ("persistentvolumeclaims", thing({}, {"phase": "Lost"})),
    ],
    ids=["stalled", "pod that is restarted", "lost claim"],
)
def test_what_somebody_may_mend_is_not_final(key: str, obj: dict[str, Any]) -> None:
    assert judge(key, obj).state is BAD and not judge(key, obj).final


def test_what_cannot_be_seen_is_not_waited_for_for_ever() -> None:
    ingress = judge("ingresses.networking.k8s.io", thing({"ingressClassName": "nginx"}))
    gateway = judge("gateways.gateway.networking.k8s.io", thing({"gatewayClassName": "envoy"}))
    assert (ingress.state, gateway.state) == (OK, OK)
    assert ingress.aside and gateway.aside
    claim = judge("persistentvolumeclaims", thing({"storageClassName": "any"}, {"phase": "Pending"}))
    assert claim.state is WAIT


def test_an_ingress_without_class_needs_a_default_one() -> None:
    verdict = judge("ingresses.networking.k8s.io", thing({}), Surroundings(ingress_classes={"nginx": False}))
    assert (verdict.state, verdict.aside) == (OK, True)


def test_foreign_words_are_masked_and_short() -> None:
    message = "cannot reach postgres://ledger:hunter2hunter2@db/ledger " + "x" * 1000
    verdict = judge(CUSTOM, thing({}, {"conditions": told("!Ready", message=message)}))
    assert "hunter2" not in verdict.reason and "db/ledger" in verdict.reason and len(verdict.reason) <= 300


def slices(service: str, *ready: bool | None) -> dict[str, Any]:
    endpoints = [{"conditions": {} if one is None else {"ready": one}} for one in ready]
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": service, "namespace": "ledger", "labels": labels}, "endpoints": endpoints}


def test_the_surroundings_say_what_serves_runs_and_is_mounted() -> None:
    template = {"metadata": {"labels": LABELS}}
    asleep = thing({"replicas": 0, "template": {"metadata": {"labels": {"app": "asleep"}}}})
    user = pod(phase="Running", conditions=told("Ready"))
    user["spec"]["volumes"] = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "b", "ephemeral": {}, "emptyDir": None},
        {"name": "c", "ephemeral": {"volumeClaimTemplate": {}}},
    ]
    around = readiness.surroundings(
        {
            "endpointslices.discovery.k8s.io": [slices("a", False, True), slices("b", False), slices("c", None)],
            "deployments.apps": [thing({"template": template}), asleep],
            "daemonsets.apps": [thing({"template": {"metadata": {"labels": {"app": "d"}}}}, {})],
            "pods": [user, pod(phase="Succeeded"), pod("Job", phase="Running")],
            "storageclasses.storage.k8s.io": [
                {"metadata": {"name": "later"}, "volumeBindingMode": "WaitForFirstConsumer"}
            ],
        }
    )
    assert around.serving == {("ledger", "a"), ("ledger", "c")}
    assert around.running == {"ledger": [LABELS, LABELS]}
    assert around.ready == {"ledger": [LABELS]}
    assert set(around.mounted) == {("ledger", "data"), ("ledger", "api-c")}
    assert around.binding_modes == {"later": "WaitForFirstConsumer"}
    assert (around.ingress_classes, around.gateway_classes) == (None, None)


@pytest.mark.parametrize(("ready", "state"), [(True, OK), (False, WAIT)])
def test_without_endpoint_slices_ready_pods_serve(ready: bool, state: State) -> None:
    around = readiness.surroundings({"pods": [pod(phase="Running", conditions=told("Ready" if ready else "!Ready"))]})
    assert judge("services", thing({"selector": LABELS}), around).state is state


def test_a_service_whose_workload_sleeps_is_not_waited_for() -> None:
    asleep = thing({"replicas": 0, "template": {"metadata": {"labels": LABELS}}})
    around = readiness.surroundings({"deployments.apps": [asleep], "endpointslices.discovery.k8s.io": []})
    assert judge("services", thing({"selector": LABELS}), around).state is OK
