# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hooks of restores through the real ``main()``, against an API server over HTTP whose controllers are played here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.api_server import ApiServer, running
from fakes.k8s_modules import calling, in_folder

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import restore_hooks
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, ExecResult
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

JSON = dict[str, Any]
OURS, POST, INIT = "container-dr.muster.dev/", "post.hook.restore.velero.io/", "init.hook.restore.velero.io/"
DIGEST = "sha256:" + "a" * 64
FILL = {"name": "fill", "selector": "app=api", "command": ["fill", "all"]}
SEED = {"name": "seed", "selector": "app=api", "init_containers": [{"name": "seed", "image": "tools:1"}]}


def thing(kind: str, name: str, api: str = "v1", namespace: str = "shop", **more: Any) -> JSON:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def deployment(name: str = "api", replicas: int = 1, **annotations: str) -> JSON:
    labels = {"app": name}
    template: JSON = {
        "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "containers": [{"name": "main", "image": "api:1"}, {"name": "side", "image": "side:1"}],
            "initContainers": [{"name": "old", "image": "old:1"}],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return thing("Deployment", name, "apps/v1", spec=spec)


def owned(obj: JSON, kind: str, name: str, uid: str, **labels: str) -> JSON:
    owner = {"kind": kind, "name": name, "uid": uid, "controller": True, "apiVersion": "apps/v1"}
    obj["metadata"] |= {"ownerReferences": [owner], "labels": labels}
    return obj


@pytest.fixture
def source() -> Iterator[ApiServer]:
    with running() as server:
        server.add(thing("Namespace", "shop", namespace=""), deployment())
        yield server


class Target:
    """A cluster whose Deployments get their pods as soon as they are looked at. ``answer`` is what commands do."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.pods = True
        self.status: JSON = {}
        self.ran: list[tuple[str, str | None, tuple[str, ...]]] = []
        self.answer: Callable[[str], ExecResult] = lambda _word: ExecResult(0, "done", "")
        server.before_read = self._control

    def _control(self, path: str, _query: dict[str, str]) -> None:
        if path.endswith(("/pods", "/replicasets")) and self.pods:
            for (key, _space, name), obj in list(self.server.objects.items()):
                if key == "deployments.apps" and ("replicasets.apps", "shop", f"{name}-2") not in self.server.objects:
                    self._start(name, obj)

    def _start(self, name: str, obj: JSON) -> None:
        uid, labels = obj["metadata"]["uid"], obj["spec"]["selector"]["matchLabels"]
        for number in (1, 2):
            made = owned(thing("ReplicaSet", f"{name}-{number}", "apps/v1"), "Deployment", name, uid, **labels)
            made["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": str(number)}
            self.server.add(made)
            above = self.server.objects["replicasets.apps", "shop", f"{name}-{number}"]["metadata"]["uid"]
            # One pod is of an older revision.
            for index in range(obj["spec"]["replicas"] if number == 2 else 1):
                self.add_pod(f"{name}-{number}-{index}", "ReplicaSet", f"{name}-{number}", above, **labels)

    def add_pod(self, name: str, kind: str, owner: str, uid: str, **labels: str) -> None:
        status = {
            "phase": "Running",
            "containerStatuses": [{"name": "main", "state": {"running": {}}}, {"name": "side", "state": {}}],
            "conditions": [{"type": "Ready", "status": "False"}],
            **self.status,
        }
        spec = {"containers": [{"name": "main"}, {"name": "side"}]}
        self.server.add(owned(thing("Pod", name, spec=spec, status=status), kind, owner, uid, **labels))

    def execute(
        self, namespace: str, pod: str, container: str | None, command: Sequence[str], *, timeout: float
    ) -> ExecResult:
        self.ran.append((f"{namespace}/{pod}", container, tuple(command)))
        return self.answer(command[0])


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    seconds = [0.0]
    monkeypatch.setattr(restore_hooks.time, "sleep", lambda pause: seconds.__setitem__(0, seconds[0] + pause))
    monkeypatch.setattr(restore_hooks.time, "monotonic", lambda: seconds[0])
    with running() as server:
        found = Target(server)
        monkeypatch.setattr(Cluster, "exec", lambda _cluster, *place, **options: found.execute(*place, **options))
        yield found


Runner = Callable[..., JSON]


@pytest.fixture
def run(
    source: ApiServer,
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Runner:
    """Captures the source as it is by then, and restores it."""
    in_folder(tmp_path / "repository", monkeypatch)
    call = calling(capsys, password="canary-1")

    def restored(check: bool = False, namespaces: Sequence[str] = ("shop",), **options: Any) -> JSON:
        application = {"name": "shop", "namespaces": list(namespaces)}
        tree = call(k8s_snapshot, host=source.url, site="east", point="p", application=application)["snapshot"]["tree"]
        return call(k8s_restore, check, host=target.server.url, snapshot=tree, point="p", **options)

    return restored


def init_containers(server: ApiServer, name: str = "api") -> list[str]:
    spec = server.objects["deployments.apps", "shop", name]["spec"]["template"]["spec"]
    return [f"{one['name']} {one['image']}" for one in spec["initContainers"]]


def transforms(result: JSON) -> list[str]:
    return [note for one in result["objects"] for note in one["transforms"]]


# -- init containers --------------------------------------------------------------------------------------------------


def test_init_containers_come_first_and_only_once(run: Runner, target: Target) -> None:
    plan = run(check=True, restore_hooks=[SEED])
    assert "init container seed added" in transforms(plan) and not target.server.writes
    assert run(restore_hooks=[SEED])["status"] == "completed"
    assert init_containers(target.server) == ["seed tools:1", "old old:1"]
    again = run(restore_hooks=[SEED])
    assert not again["changed"] and again["counts"]["update"] == 0


def test_what_has_the_init_container_already_keeps_it(run: Runner, source: ApiServer, target: Target) -> None:
    other = {"name": "old", "image": "tools:2"}
    result = run(restore_hooks=[{**SEED, "init_containers": [other, other]}])
    assert init_containers(target.server) == ["old old:1"] and not transforms(result)


def test_images_of_init_containers_follow_the_others(run: Runner, target: Target) -> None:
    images = [{"name": "tools:1", "digest": DIGEST, "path": "tools"}]
    run(restore_hooks=[SEED], images=images, registry={"name": "west:5000"})
    assert init_containers(target.server)[0] == f"seed west:5000/tools@{DIGEST}"


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({INIT + "container-image": "t:1"}, "muster-restore-init t:1"),
        ({INIT + "container-image": "t:1", INIT + "container-name": "mine"}, "mine t:1"),
        ({INIT + "container-image": "t:1", OURS + "restore-init-image": "o:1"}, "muster-restore-init o:1"),
    ],
)
def test_init_containers_of_annotations(
    run: Runner, source: ApiServer, target: Target, annotations: dict[str, str], wanted: str
) -> None:
    source.add(deployment(**annotations))
    run()
    assert init_containers(target.server) == [wanted, "old old:1"]
    assert not run()["changed"]


def test_others_are_left_alone(run: Runner, source: ApiServer, target: Target) -> None:
    source.add(deployment("web"))
    for hook in ({**SEED, "selector": "app=none"}, {**SEED, "namespace": "other"}):
        result = run(restore_hooks=[hook])
        assert "Restore hook seed is for none of the objects" in json.dumps(result["warnings"])
    assert init_containers(target.server) == init_containers(target.server, "web") == ["old old:1"]


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_runs_once_in_each_new_pod(run: Runner, source: ApiServer, target: Target) -> None:
    source.add(deployment(replicas=2))
    plan = run(check=True, restore_hooks=[FILL])
    assert [(one["name"], one["workload"], one["ok"]) for one in plan["hooks"]] == [
        ("fill", "shop/deployments.apps/api", None)
    ]
    assert not target.ran
    result = run(restore_hooks=[FILL])
    assert result["status"] == "completed", result
    # Not in that of the revision before.
    assert target.ran == [("shop/api-2-0", "main", ("fill", "all")), ("shop/api-2-1", "main", ("fill", "all"))]
    assert [(one["pod"], one["phase"], one["ok"], one["stdout"]) for one in result["hooks"]] == [
        ("api-2-0", "restore", True, "done"),
        ("api-2-1", "restore", True, "done"),
    ]
    again = run(restore_hooks=[FILL])
    assert again["hooks"] == [] and len(target.ran) == 2


def test_a_command_follows_the_namespace_mapping(run: Runner, target: Target) -> None:
    hooks = [{**FILL, "namespace": "shop"}]
    plan = run(check=True, restore_hooks=hooks, namespace_mapping={"shop": "copy"})
    assert [one["namespace"] for one in plan["hooks"]] == ["copy"]


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ({"shop": "blog", "blog": "shop"}, ["blog/deployments.apps/api"]),
        ({"shop": "one", "blog": "one"}, ["one/deployments.apps/api"]),
        ({"shop": "blog", "blog": "other"}, ["blog/deployments.apps/api"]),
        ({}, ["shop/deployments.apps/api"]),
    ],
)
def test_the_namespace_of_a_hook_is_the_captured_one(
    run: Runner, source: ApiServer, names: dict[str, str], places: list[str]
) -> None:
    other = deployment()
    other["metadata"] |= {"namespace": "blog", "name": "api" if names.get("blog") != "one" else "web"}
    source.add(thing("Namespace", "blog", namespace=""), other)
    hooks = [{**FILL, "namespace": "shop"}]
    plan = run(check=True, namespaces=("shop", "blog"), restore_hooks=hooks, namespace_mapping=names)
    assert [one["workload"] for one in plan["hooks"]] == places


def test_a_hook_is_also_for_the_one_of_two_equal_objects_that_stands_for_both(run: Runner, source: ApiServer) -> None:
    other = deployment()
    other["metadata"]["namespace"] = "blog"
    source.add(thing("Namespace", "blog", namespace=""), other)
    names = {"shop": "one", "blog": "one"}
    for namespace in names:
        hooks = [{**FILL, "namespace": namespace}]
        plan = run(check=True, namespaces=("shop", "blog"), restore_hooks=hooks, namespace_mapping=names)
        assert [one["workload"] for one in plan["hooks"]] == ["one/deployments.apps/api"]


def test_commands_in_order_those_of_annotations_last(run: Runner, source: ApiServer, target: Target) -> None:
    source.add(deployment(**{POST + "command": '["psql", "-f"]', POST + "container": "side"}))
    target.status = {"containerStatuses": [{"name": name, "state": {"running": {}}} for name in ("main", "side")]}
    result = run(restore_hooks=[{**FILL, "name": "b"}, {**FILL, "name": "a", "command": ["check"]}])
    assert [(container, argv[0]) for _pod, container, argv in target.ran] == [
        ("main", "fill"),
        ("main", "check"),
        ("side", "psql"),
    ]
    assert result["hooks"][-1]["name"] == "annotations of shop/deployments.apps/api"
    assert result["hooks"][-1]["source"] == "velero"


def test_annotations_can_be_switched_off(run: Runner, source: ApiServer, target: Target) -> None:
    source.add(deployment(**{POST + "command": "[psql", INIT + "container-image": "t:1"}))
    assert run(hook_annotations=False)["hooks"] == [] and not target.ran
    assert init_containers(target.server) == ["old old:1"]


@pytest.mark.parametrize(
    "annotations", [{POST + "command": "[psql"}, {INIT + "container-image": "t", INIT + "command": "[x"}]
)
def test_an_annotation_that_cannot_be_read_ends_it_before_anything_is_written(
    run: Runner, source: ApiServer, target: Target, annotations: dict[str, str]
) -> None:
    source.add(deployment(**annotations))
    result = run()
    assert result["failed"] and "command of shop/deployments.apps/api: it is no JSON array" in result["msg"]
    assert not target.server.writes


def test_it_waits_for_the_container_and_says_what_it_waited_for(run: Runner, target: Target) -> None:
    waiting = [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    target.status = {"phase": "Pending", "containerStatuses": waiting}
    result = run(restore_hooks=[{**FILL, "wait_timeout": "90s"}])
    assert result["failed"] and result["status"] == "partial" and not target.ran
    assert "0 of 1 pods ran container main within 90 seconds (api-2-0: ImagePullBackOff)" in result["msg"]
    assert restore_hooks.time.monotonic() >= 90 and result["counts"]["failed"] == 0


def test_it_waits_until_the_pod_is_ready(run: Runner, target: Target) -> None:
    hook = {**FILL, "wait_for_ready": True}
    inner = target.server.before_read

    def ready(path: str, query: dict[str, str]) -> None:
        inner(path, query)
        if restore_hooks.time.monotonic() >= 7:
            pod = target.server.objects["pods", "shop", "api-2-0"]
            pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]

    target.server.before_read = ready
    assert run(restore_hooks=[hook])["hooks"][0]["ok"] and 7 <= restore_hooks.time.monotonic() < 9


def test_pods_of_before_the_change_are_not_meant(run: Runner, source: ApiServer, target: Target) -> None:
    run()
    changed = deployment()
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "api:2"
    source.add(changed)
    inner = target.server.before_read

    def generation(path: str, query: dict[str, str]) -> None:
        inner(path, query)
        live = target.server.objects["deployments.apps", "shop", "api"]
        live["metadata"]["generation"] = 2
        live["status"] = {"observedGeneration": 2 if restore_hooks.time.monotonic() >= 5 else 1}

    target.server.before_read = generation
    result = run(existing="update", restore_hooks=[FILL])
    assert result["counts"]["update"] == 1 and len(target.ran) == 1 and restore_hooks.time.monotonic() >= 5


def test_a_command_that_fails_makes_the_restore_partial_and_ends_the_hooks(run: Runner, target: Target) -> None:
    target.answer = lambda word: ExecResult(int(word == "fill"), "", "password=hunter2 no such table")
    hooks = [FILL, {**FILL, "name": "later", "command": ["check"]}]
    result = run(restore_hooks=hooks)
    assert result["failed"] and result["status"] == "partial" and "point p with all its hooks" in result["msg"]
    assert "hook fill in pod shop/api-2-0" in result["msg"] and "no such table" in result["msg"]
    assert "hunter2" not in json.dumps(result)
    assert [(one["name"], one["ok"], one["code"]) for one in result["hooks"]] == [
        ("fill", False, 1),
        ("later", None, None),
    ]
    assert "because fill failed" in result["hooks"][1]["msg"]


def test_a_partial_restore_may_be_allowed(run: Runner, target: Target) -> None:
    target.answer = lambda _word: ExecResult(1, "", "")
    result = run(restore_hooks=[FILL], allow_partial=True)
    assert not result.get("failed") and result["status"] == "partial"


def test_a_failure_that_does_not_matter_is_a_warning(run: Runner, target: Target) -> None:
    target.answer = lambda word: ExecResult(int(word == "fill"), "", "no such table")
    hooks = [{**FILL, "on_error": "continue"}, {**FILL, "name": "later", "command": ["check"]}]
    result = run(restore_hooks=hooks)
    assert result["status"] == "completed" and [one["ok"] for one in result["hooks"]] == [False, True]
    assert "no such table" in json.dumps(result["warnings"])


def test_what_was_not_written_has_no_pods_to_wait_for(run: Runner, target: Target) -> None:
    target.server.refused.add("shop/deployments.apps/api")
    result = run(restore_hooks=[FILL])
    assert result["failed"] and result["counts"]["blocked"] == 1 and "a hook failed" not in result["msg"]
    assert result["hooks"] == [] and restore_hooks.time.monotonic() == 0


def test_a_workload_that_sleeps_has_no_pods_to_wait_for(run: Runner, source: ApiServer, target: Target) -> None:
    source.add(deployment(replicas=0))
    result = run(restore_hooks=[FILL])
    assert result["status"] == "completed" and "no replicas" in result["hooks"][0]["msg"] and not target.ran


def test_a_bare_pod_and_a_stateful_set(run: Runner, source: ApiServer, target: Target) -> None:
    labels, containers = {"app": "api"}, [{"name": "db"}]
    up = {"phase": "Running", "containerStatuses": [{"name": "db", "state": {"running": {}}}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    source.kinds.append(("apps", "v1", "statefulsets", "StatefulSet", True))
    target.server.kinds.append(("apps", "v1", "statefulsets", "StatefulSet", True))
    spec = {"selector": {"matchLabels": labels}, "template": template}
    source.add(
        thing("StatefulSet", "db", "apps/v1", spec=spec),
        thing("Pod", "alone", metadata={"labels": labels}, spec={"containers": containers}),
    )
    del source.objects["deployments.apps", "shop", "api"]

    def control(path: str, _query: dict[str, str]) -> None:
        objects = target.server.objects
        alone, owner = objects.get(("pods", "shop", "alone")), objects.get(("statefulsets.apps", "shop", "db"))
        if alone:
            alone["status"] = up
        if owner and path.endswith("/pods"):
            owner["status"] = {"updateRevision": "db-2"}
            for number in (1, 2):
                made = thing("Pod", f"db-{number}", spec={"containers": containers}, status=up)
                revision = {"controller-revision-hash": f"db-{number}"}
                target.server.add(owned(made, "StatefulSet", "db", owner["metadata"]["uid"], **labels, **revision))

    target.server.before_read = control
    run(restore_hooks=[FILL])
    assert [pod for pod, _container, _argv in target.ran] == ["shop/alone", "shop/db-2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"selector": "app in"}, "restore hook fill: its selector"),
        ({"selector": ""}, "it has no selector"),
        ({"init_containers": [{"name": "a", "image": "b"}]}, "either command or init_containers"),
        ({"command": []}, "either command or init_containers"),
        ({"command": None, "init_containers": [{"name": "a"}]}, "no name or no image"),
        ({"timeout": "soon"}, "timeout 'soon'"),
        ({"wait_timeout": "0"}, "wait_timeout is zero"),
    ],
)
def test_hooks_are_checked_before_anything_is_written(run: Runner, target: Target, change: JSON, words: str) -> None:
    result = run(restore_hooks=[{**FILL, **change}])
    assert result["failed"] and words in result["msg"] and not target.server.writes


def test_two_hooks_of_one_name_are_refused(run: Runner, target: Target) -> None:
    assert "two of that name" in run(restore_hooks=[FILL, FILL])["msg"] and not target.server.writes


def test_hook_annotations_of_a_users_object_do_not_make_it_ours(run: Runner, target: Target) -> None:
    mine = thing("Pod", "mine", metadata={"annotations": {OURS + "pre-backup-command": "x"}}, spec={"containers": []})
    target.server.add(thing("Namespace", "shop", namespace=""), mine)
    result = run()
    assert result["failed"] and "pods/mine" in json.dumps(result["in_the_way"])
