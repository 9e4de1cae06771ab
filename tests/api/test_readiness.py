# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting with the watches of a real API server, and the cluster role of docs/rbac that it needs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import explanation, waiting
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiDenied, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Ending, Look, Pace, Waited

ROLE = Path(__file__).resolve().parents[2] / "docs" / "rbac" / "validate.yml"
# Who sees a change with these saw it by a watch.
WATCHING = Pace(poll=120.0, fallback=120.0)
READY = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}


def deployment(namespace: str) -> dict[str, Any]:
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def patch_status(api: Any, namespace: str, status: dict[str, Any]) -> None:
    change = json.dumps({"status": status})
    api("patch", "deployment", "d", "-n", namespace, "--subresource=status", "--type=merge", "-p", change)


class Background:
    """A wait that runs while the test changes the cluster."""

    def __init__(self, kubeconfig: str, namespace: str, pace: Pace) -> None:
        self.looks: list[Look] = []
        self.ended = 0.0
        self._answers: list[Waited] = []
        cluster = Cluster.connect({"kubeconfig": kubeconfig})

        def run() -> None:
            self._answers.append(waiting.wait(cluster, [namespace], timeout=60, report=self._see, pace=pace))
            self.ended = time.monotonic()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 30
        # Some looks later the watches stand.
        while len(self.looks) < 4:
            assert time.monotonic() < end
            time.sleep(0.05)

    def _see(self, look: Look, _seconds: float) -> None:
        self.looks.append(look)

    def result(self) -> Waited:
        self._thread.join(60)
        return self._answers[0]


@pytest.fixture
def role(api: Any) -> Iterator[Callable[[Callable[[list[str]], list[str]]], None]]:
    """Gives `restorer` the role for checks, with the verbs that the test leaves of it."""

    def give(verbs: Callable[[list[str]], list[str]]) -> None:
        document = yaml.safe_load(ROLE.read_text(encoding="utf-8"))
        document["rules"] = [{**rule, "verbs": verbs(rule["verbs"])} for rule in document["rules"]]
        document["rules"] = [rule for rule in document["rules"] if rule["verbs"]]
        api.apply(document)
        api(
            "create",
            "clusterrolebinding",
            "muster-validate",
            "--clusterrole=muster-container-dr-validate",
            "--user=restorer",
        )

    yield give
    api("delete", "clusterrolebinding", "muster-validate", "--ignore-not-found")
    api("delete", "clusterrole", "muster-container-dr-validate", "--ignore-not-found")


def test_a_status_that_another_client_writes_is_seen_at_once(api: Any, namespace: str) -> None:
    api.apply(deployment(namespace))
    background = Background(api.server.kubeconfig, namespace, WATCHING)
    assert [one.verdict.reason for one in background.looks[-1].waiting] == ["its controller has not seen it yet"]
    patch_status(api, namespace, {**READY, "readyReplicas": 0, "availableReplicas": 0})
    end = time.monotonic() + 30
    while [one.verdict.reason for one in background.looks[-1].waiting] != ["0 of 1 ready"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    patch_status(api, namespace, READY)
    patched = time.monotonic()
    waited = background.result()
    assert waited.ending is Ending.READY
    # Without its watches it would look again much later only.
    assert background.ended - patched < WATCHING.poll / 2


def test_the_role_is_enough_to_watch_and_to_explain(api: Any, namespace: str, role: Any) -> None:
    with pytest.raises(ApiDenied):
        waiting.wait(Cluster.connect({"kubeconfig": api.server.restorer}), [namespace], timeout=0)
    role(lambda verbs: verbs)
    api.apply(deployment(namespace))
    uid = api.get("deployment", "d", "-n", namespace)["metadata"]["uid"]
    about = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "namespace": namespace, "uid": uid}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "d.1", "namespace": namespace},
        "eventTime": "2026-01-31T04:05:06.000000Z",
        "reportingController": "test",
        "reportingInstance": "test",
        "action": "Create",
        "reason": "FailedCreate",
        "type": "Warning",
        "note": "exceeded quota",
        "regarding": about,
    }
    api.apply(event)
    background = Background(api.server.restorer, namespace, WATCHING)
    cluster = Cluster.connect({"kubeconfig": api.server.restorer})
    (entry,) = explanation.explain(cluster, background.looks[-1])
    assert [(one["reason"], one["message"], one["about"]) for one in entry["events"]] == [
        ("FailedCreate", "exceeded quota", "Deployment d")
    ]
    patch_status(api, namespace, READY)
    waited = background.result()
    assert (waited.ending, dict(waited.look.unseen)) == (Ending.READY, {})


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("get", "pods/log", "yes"),
        ("create", "pods/exec", "yes"),
        ("get", "services/proxy", "yes"),
        ("create", "pods", "yes"),
        ("create", "secrets", "yes"),
        ("delete", "namespaces", "yes"),
        ("list", "secrets", "no"),
        ("get", "configmaps", "no"),
        ("patch", "deployments.apps", "no"),
    ],
)
def test_the_role_gives_what_checks_need_and_no_more(
    api: Any, namespace: str, role: Any, verb: str, resource: str, allowed: str
) -> None:
    role(lambda verbs: verbs)
    said = api("auth", "can-i", verb, resource, "--as=restorer", "-n", namespace, fails=True)
    assert said.split()[0] == allowed, said


def test_who_may_only_list_sees_it_too(api: Any, namespace: str, role: Any) -> None:
    role(lambda verbs: [verb for verb in verbs if verb != "watch"])
    api.apply(deployment(namespace))
    background = Background(api.server.restorer, namespace, Pace(poll=120.0, fallback=0.3))
    patch_status(api, namespace, READY)
    assert background.result().ending is Ending.READY


def test_a_watch_ends_at_once_when_it_is_closed(api: Any, namespace: str) -> None:
    cluster = Cluster.connect({"kubeconfig": api.server.kubeconfig})
    (page,) = cluster.pages(f"/api/v1/namespaces/{namespace}/pods")
    watch = cluster.watch(f"/api/v1/namespaces/{namespace}/pods", page.version, seconds=60)
    events: list[Any] = []
    thread = threading.Thread(target=lambda: events.extend(watch), daemon=True)
    thread.start()
    time.sleep(0.5)
    watch.close()
    thread.join(5)
    assert not thread.is_alive()
