# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting with watches and lists, against an API server over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes.api_server import ApiServer, running

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import waiting
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiDenied, ApiError, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.waiting import Ending, Look, Pace, Waited

# Whoever passes with these was told by a watch: nothing is listed again while the tests run.
WATCHING = Pace(poll=60.0, fallback=60.0, watch=30, settled=0.2)
POLLING = Pace(poll=0.1, fallback=0.1, watch=30, settled=0.2)
SERVED = [
    ("apps", "v1", "statefulsets", "StatefulSet", True),
    ("apps", "v1", "daemonsets", "DaemonSet", True),
    ("example.com", "v1", "things", "Thing", True),
]
DEPLOYMENTS = "/apis/apps/v1/namespaces/ledger/deployments"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as fake:
        fake.kinds += SERVED
        yield fake


@pytest.fixture
def cluster(server: ApiServer) -> Cluster:
    return Cluster.connect({"host": server.url})


def thing(kind: str, name: str, api: str = "v1", namespace: str = "ledger", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **more.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def deployment(ready: int, name: str = "api", **more: Any) -> dict[str, Any]:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    status = {"observedGeneration": 1, **dict.fromkeys(names, ready), **more.pop("status", {})}
    metadata = {"generation": 1, "uid": f"uid-{name}"}
    return thing("Deployment", name, "apps/v1", spec={"replicas": 1}, status=status, metadata=metadata, **more)


def pod(ready: bool, owner: str = "", name: str = "api-1") -> dict[str, Any]:
    controller = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": owner, "controller": True}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return thing("Pod", name, status=status, metadata={"ownerReferences": [controller] if owner else []})


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


class Background:
    """A wait that runs while the test changes the cluster."""

    def __init__(self, cluster: Cluster, **options: Any) -> None:
        self.looks: list[Look] = []
        self.answer: Waited | None = None
        self.error: Exception | None = None
        options = {
            "timeout": 30.0,
            "pace": WATCHING,
            "report": lambda look, _seconds: self.looks.append(look),
            **options,
        }
        options.setdefault("namespaces", ["ledger"])

        def run() -> None:
            try:
                self.answer = waiting.wait(cluster, options.pop("namespaces"), **options)
            except Exception as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def begun(self) -> bool:
        return bool(self.looks)

    def result(self) -> Waited:
        self._thread.join(30)
        assert self.error is None, self.error
        assert self.answer is not None
        return self.answer


def watched(server: ApiServer) -> Callable[[], bool]:
    """Whether all that can be watched in one namespace is."""
    return lambda: server.watches == 7


def test_what_is_ready_needs_no_watch(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(1), pod(True))
    waited = waiting.wait(cluster, ["ledger"], timeout=30)
    assert waited.ending is Ending.READY
    assert not [query for _path, query in server.reads if query.get("watch")]


def test_what_says_nothing_of_its_state_is_never_read(server: ApiServer, cluster: Cluster) -> None:
    waiting.wait(cluster, ["ledger"], timeout=0)
    kinds = {path.rsplit("/", 1)[-1] for path, _query in server.reads}
    assert "pods" in kinds and not kinds & {"secrets", "configmaps", "serviceaccounts", "rolebindings", "cronjobs"}


def test_a_change_is_seen_by_the_watch(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    background = Background(cluster)
    eventually(watched(server))
    lists = len([path for path, query in server.reads if path == DEPLOYMENTS and not query.get("watch")])
    server.add(deployment(1))
    assert background.result().ending is Ending.READY
    assert len([path for path, query in server.reads if path == DEPLOYMENTS and not query.get("watch")]) == lists


def test_what_is_deleted_is_not_waited_for(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0), pod(False, name="lost"))
    background = Background(cluster)
    eventually(watched(server))
    server.remove("pods", "ledger", "lost")
    server.add(deployment(1), pod(True, name="new"))
    waited = background.result()
    assert (waited.ending, waited.look.count("pods")) == (Ending.READY, 1)


def test_a_forgotten_version_is_listed_again(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    background = Background(cluster)
    eventually(watched(server))
    # Nobody is told of the change: the watches end, and what they would go on from is gone.
    with server.lock:
        server.forget()
        server.history.clear()
        server.objects[("deployments.apps", "ledger", "api")]["status"] = deployment(1)["status"]
    assert background.result().ending is Ending.READY


def test_a_broken_connection_goes_on_from_where_it_was(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    background = Background(cluster)
    eventually(watched(server))
    lists = len([path for path, query in server.reads if path == DEPLOYMENTS and not query.get("watch")])
    with server.lock:
        server.cut()
        server.add(deployment(1))
    assert background.result().ending is Ending.READY
    assert len([path for path, query in server.reads if path == DEPLOYMENTS and not query.get("watch")]) == lists


def test_a_watch_that_ends_in_time_is_begun_again(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    background = Background(cluster, pace=Pace(poll=60.0, fallback=60.0, watch=1))
    eventually(watched(server))
    begun = [query for path, query in server.reads if path == DEPLOYMENTS and query.get("watch")]
    assert begun[0]["timeoutSeconds"] == "1" and begun[0]["allowWatchBookmarks"] == "true"
    eventually(lambda: len([1 for path, query in server.reads if path == DEPLOYMENTS and query.get("watch")]) > 1)
    server.add(deployment(1))
    assert background.result().ending is Ending.READY


def test_who_may_not_watch_asks_again_and_again(server: ApiServer, cluster: Cluster) -> None:
    server.before_read = lambda _path, query: (403, "Forbidden") if query.get("watch") else None
    server.add(deployment(0))
    background = Background(cluster, pace=POLLING)
    eventually(lambda: background.begun)
    server.add(deployment(1))
    waited = background.result()
    assert (waited.ending, dict(waited.look.unseen)) == (Ending.READY, {})


def test_many_namespaces_are_watched_at_once(server: ApiServer, cluster: Cluster) -> None:
    names = [f"ledger-{number}" for number in range(8)]
    elsewhere = deployment(0)
    elsewhere["metadata"]["namespace"] = "not-ours"
    server.add(elsewhere, *({**deployment(0), "metadata": {"name": "api", "namespace": name}} for name in names))
    background = Background(cluster, namespaces=names)
    eventually(watched(server))
    assert {path for path, query in server.reads if query.get("watch")} >= {"/apis/apps/v1/deployments", "/api/v1/pods"}
    server.add(*({**deployment(1), "metadata": {"name": "api", "namespace": name}} for name in names))
    waited = background.result()
    assert (waited.ending, waited.look.count("deployments.apps")) == (Ending.READY, 8)


def test_who_may_not_see_the_cluster_asks_the_namespaces(server: ApiServer, cluster: Cluster) -> None:
    names = [f"ledger-{number}" for number in range(8)]
    server.before_read = lambda path, _query: (
        (403, "Forbidden") if path.startswith(("/api/v1/", "/apis/apps/v1/")) and "/namespaces/" not in path else None
    )
    server.add(*({**deployment(0), "metadata": {"name": "api", "namespace": name}} for name in names))
    background = Background(cluster, namespaces=names, pace=POLLING)
    eventually(lambda: background.begun)
    server.add(*({**deployment(1), "metadata": {"name": "api", "namespace": name}} for name in names))
    waited = background.result()
    assert (waited.ending, waited.look.count("deployments.apps")) == (Ending.READY, 8)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_do_not_end_the_waiting(server: ApiServer, cluster: Cluster, status: int) -> None:
    server.add(deployment(0))
    background = Background(cluster, pace=POLLING)
    eventually(watched(server))
    with server.lock:
        server.before_read = lambda _path, _query: (status, "Fault")
        server.cut()
    eventually(lambda: background.looks[-1].server_is_silent)
    with server.lock:
        server.before_read = lambda _path, _query: None
        server.add(deployment(1))
    waited = background.result()
    assert (waited.ending, dict(waited.look.silent)) == (Ending.READY, {})


def test_what_is_ready_is_not_enough_while_an_api_is_silent(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    background = Background(cluster, pace=POLLING, timeout=3.0)
    eventually(watched(server))
    server.before_read = lambda path, _query: (503, "Fault") if path.endswith("/things") else None
    eventually(lambda: bool(background.looks[-1].silent))
    server.add(deployment(1))
    waited = background.result()
    assert (waited.ending, waited.look.waiting) == (Ending.TIME_OVER, [])
    assert (list(waited.look.silent), waited.look.server_is_silent) == (["things.example.com"], False)


def test_a_server_that_is_gone_is_waited_for() -> None:
    with running() as fake:
        fake.add(deployment(0))
        cluster = Cluster.connect({"host": fake.url})
        background = Background(cluster, pace=POLLING, timeout=4.0)
        eventually(lambda: fake.watches > 0)
    waited = background.result()
    assert (waited.ending, waited.look.server_is_silent) == (Ending.TIME_OVER, True)
    assert waited.seconds < 40


def test_a_server_that_restarts_is_waited_for() -> None:
    with running() as fake:
        fake.add(deployment(0))
        background = Background(Cluster.connect({"host": fake.url}), pace=POLLING)
        eventually(lambda: fake.watches == 5)
    eventually(lambda: background.looks[-1].server_is_silent)
    fake.add(deployment(1))
    with running(fake):
        waited = background.result()
    assert (waited.ending, dict(waited.look.silent)) == (Ending.READY, {})


def test_workloads_that_may_not_be_listed_are_an_error(server: ApiServer, cluster: Cluster) -> None:
    server.broken[DEPLOYMENTS] = 403
    with pytest.raises(ApiDenied):
        waiting.wait(cluster, ["ledger"], timeout=1)


def test_other_kinds_that_may_not_be_listed_are_named(server: ApiServer, cluster: Cluster) -> None:
    server.broken["/apis/example.com/v1/namespaces"] = 403
    server.broken["/apis/storage.k8s.io/v1/storageclasses"] = 403
    waited = waiting.wait(cluster, ["ledger"], timeout=1)
    assert (waited.ending, set(waited.look.unseen)) == (Ending.READY, {"things.example.com"})


def test_a_custom_resource_is_asked_for_again(server: ApiServer, cluster: Cluster) -> None:
    def custom(status: str) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": status, "message": "issuing"}]
        return thing("Thing", "one", "example.com/v1", status={"conditions": conditions})

    server.add(custom("False"))
    background = Background(cluster, custom=["things.example.com", "secrets"], pace=POLLING)
    eventually(lambda: background.begun)
    assert [(one.title, one.verdict.reason) for one in background.looks[0].waiting] == [("Thing ledger/one", "issuing")]
    server.add(custom("True"))
    assert background.result().ending is Ending.READY


def test_a_custom_resource_called_as_an_own_kind_of_kubernetes_is_waited_for(
    server: ApiServer, cluster: Cluster
) -> None:
    server.kinds.append(("rabbitmq.com", "v1beta1", "bindings", "Binding", True))
    conditions = [{"type": "Ready", "status": "False", "message": "no broker"}]
    server.add(thing("Binding", "queue", "rabbitmq.com/v1beta1", status={"conditions": conditions}))
    waited = waiting.wait(cluster, ["ledger"], timeout=0)
    assert [one.title for one in waited.look.waiting] == ["Binding ledger/queue"]


def test_custom_resources_that_the_point_does_not_have_are_left_alone(server: ApiServer, cluster: Cluster) -> None:
    waiting.wait(cluster, ["ledger"], timeout=0, custom=["others.example.com"])
    assert not [path for path, _query in server.reads if path.endswith("/things")]


def test_a_definition_that_is_not_established_is_waited_for(server: ApiServer, cluster: Cluster) -> None:
    name = "gadgets.example.org"
    spec = {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{"name": "v1", "served": True, "storage": True}],
    }
    definition = thing("CustomResourceDefinition", name, "apiextensions.k8s.io/v1", "", spec=spec)
    definition["metadata"]["uid"] = "uid-gadgets"
    server.objects[("customresourcedefinitions.apiextensions.k8s.io", "", name)] = definition
    background = Background(cluster, custom=[name], pace=POLLING)
    eventually(lambda: background.begun)
    assert [one.title for one in background.looks[0].waiting] == [f"CustomResourceDefinition {name}"]
    server.add(definition)
    unready = {"conditions": [{"type": "Ready", "status": "False"}]}
    gadget = thing("Gadget", "one", "example.org/v1", status=unready)
    server.add(gadget)
    eventually(lambda: [one.title for one in background.looks[-1].waiting] == ["Gadget ledger/one"])
    server.add({**gadget, "status": {}})
    assert background.result().ending is Ending.READY


def test_the_waiting_ends_early_for_what_has_failed_for_good(server: ApiServer, cluster: Cluster) -> None:
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    server.add(deployment(0), thing("Job", "migrate", "batch/v1", spec={}, status=failed))
    waited = waiting.wait(cluster, ["ledger"], timeout=90, pace=WATCHING)
    assert waited.ending is Ending.FAILED and waited.seconds < 40
    # What has failed comes first.
    assert [one.title for one in waited.look.waiting] == ["Job ledger/migrate", "Deployment ledger/api"]


def test_a_failure_of_former_times_is_put_right(server: ApiServer, cluster: Cluster) -> None:
    over = {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}
    server.add(deployment(0, status=over))
    background = Background(cluster, pace=Pace(poll=60.0, fallback=60.0, settled=5.0))
    eventually(watched(server))
    server.add(deployment(1))
    assert background.result().ending is Ending.READY


@pytest.mark.parametrize("pattern", ["deployments.apps/api", "deployments/a*", "deployments.apps", "*.apps/api"])
def test_what_is_ignored_is_so_with_all_that_it_owns(server: ApiServer, cluster: Cluster, pattern: str) -> None:
    service = thing("Service", "api", spec={"selector": {"app": "api"}})
    lost = deployment(0)
    lost["spec"]["template"] = {"metadata": {"labels": {"app": "api"}}}
    server.add(lost, pod(False, "uid-api"), service)
    waited = waiting.wait(cluster, ["ledger"], timeout=5, ignore=[pattern])
    assert waited.ending is Ending.READY
    assert list(waited.look.ignored) == ["Deployment ledger/api", "Pod ledger/api-1"]
    assert len(waited.look.seen["deployments.apps"]) == 1


def test_a_pattern_means_no_more_than_it_says(server: ApiServer, cluster: Cluster) -> None:
    server.add(deployment(0))
    ignore = ["deployments.apps/ap", "statefulsets.apps", "deployments.other/*"]
    assert waiting.wait(cluster, ["ledger"], timeout=0, ignore=ignore).ending is Ending.TIME_OVER


def test_a_service_waits_for_its_endpoints(server: ApiServer, cluster: Cluster) -> None:
    ready = deployment(1)
    ready["spec"]["template"] = {"metadata": {"labels": {"app": "api"}}}
    server.add(ready, thing("Service", "api", spec={"selector": {"app": "api"}}))
    background = Background(cluster)
    eventually(watched(server))
    assert [one.title for one in background.looks[-1].waiting] == ["Service ledger/api"]
    labels = {"kubernetes.io/service-name": "api"}
    endpoints = [{"conditions": {"ready": True}}]
    server.add(thing("EndpointSlice", "api-x", "discovery.k8s.io/v1", metadata={"labels": labels}, endpoints=endpoints))
    assert background.result().ending is Ending.READY


# -- the client's part ------------------------------------------------------------------------------------------------


def test_a_watch_ends_at_once_when_it_is_closed(server: ApiServer, cluster: Cluster) -> None:
    watch = cluster.watch("/api/v1/namespaces/ledger/pods", "0", seconds=60)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.extend(watch), daemon=True)
    thread.start()
    server.add(pod(True))
    eventually(lambda: bool(seen))
    begun = time.monotonic()
    watch.close()
    thread.join(40)
    assert not thread.is_alive() and time.monotonic() - begun < 40
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [("ADDED", "api-1")]


def test_an_error_inside_a_watch_is_raised(server: ApiServer, cluster: Cluster) -> None:
    server.add(pod(True))
    server.forget()
    with pytest.raises(ApiError) as caught:
        list(cluster.watch("/api/v1/namespaces/ledger/pods", "1", seconds=5))
    assert (caught.value.status, caught.value.cause) == (410, "Expired")


def test_a_watch_that_is_refused_says_so(server: ApiServer, cluster: Cluster) -> None:
    server.before_read = lambda _path, _query: (403, "Forbidden")
    with pytest.raises(ApiDenied, match="Could not watch"):
        cluster.watch("/api/v1/namespaces/ledger/pods", "1", seconds=5)
