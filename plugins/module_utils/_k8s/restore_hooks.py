# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Hooks of a restore: init containers that restored pods begin with, and commands that run in them afterwards.

Init containers are part of the plan. Commands run once all objects are written, in the pods of workloads that this
restore has created or changed; so a restore that changes nothing runs none.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import Options
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    hook,
    hook_annotations,
    label_selector,
    objects,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.hook_annotations import Waiting
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Step

OPTIONS = Options(
    arguments={
        "hook_annotations": {"type": "bool", "default": True},
        "restore_hooks": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "namespace": {"type": "str"},
                "selector": {"type": "str", "required": True},
                "container": {"type": "str"},
                "command": {"type": "list", "elements": "str"},
                "timeout": {"type": "str", "default": "60s"},
                "wait_timeout": {"type": "str", "default": "5m"},
                "wait_for_ready": {"type": "bool", "default": False},
                "on_error": {"type": "str", "choices": ["fail", "continue"], "default": "fail"},
                "output": {"type": "str", "choices": ["kept", "none"], "default": "kept"},
                "init_containers": {"type": "list", "elements": "dict"},
            },
        },
    }
)
PHASE = "restore"
# What keeps pods of its own running; the pods of a CronJob come when their time comes.
_RUNNERS = frozenset(
    {
        "pods",
        "deployments.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "replicasets.apps",
        "replicationcontrollers",
        "jobs.batch",
    }
)
_REVISION = "deployment.kubernetes.io/revision"
_PAUSE = 1.0


@dataclass(frozen=True)
class Hook:
    """One entry of ``restore_hooks``: a command or init containers. ``namespace`` is the captured one, or any."""

    name: str
    namespace: str
    selector: tuple[label_selector.Requirement, ...]
    waiting: Waiting | None = None
    init_containers: tuple[JSON, ...] = ()

    def takes(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return self.namespace in ("", namespace) and all(part.holds(labels) for part in self.selector)


@dataclass(frozen=True)
class RestoreHooks:
    """What the user and the annotations of restored pods ask for."""

    hooks: tuple[Hook, ...] = ()
    annotations: bool = False

    def add_init_containers(self, key: str, obj: JSON) -> list[str]:
        """Put them before the others of an object that is still as it was captured; says in words which.

        One whose name is there already stays as it is: it came with an earlier restore.
        """
        spec = objects.pod_spec(key, obj)
        if spec is None or not (self.annotations or self.hooks):
            return []
        where = objects.identity(key, obj)
        labels, annotations = objects.pod_marks(key, obj)
        wanted = [one for hook in self.hooks if hook.takes(where.namespace, labels) for one in hook.init_containers]
        if self.annotations:
            own = hook_annotations.init_container(str(where), annotations)
            wanted += [own] if own is not None else []
        present = {str(one.get("name")) for one in spec.get("initContainers") or []}
        added: dict[str, JSON] = {}
        for one in wanted:
            if one["name"] not in present:
                added.setdefault(str(one["name"]), objects.copied(one))
        if added:
            spec["initContainers"] = [*added.values(), *(spec.get("initContainers") or [])]
        return [f"init container {name} added" for name in added]


def of_option(params: Mapping[str, Any]) -> RestoreHooks:
    """From the options of ``k8s_restore``. Raises :class:`InvalidInput` that names the hook and what is wrong."""
    found = tuple(_hook(given) for given in params["restore_hooks"] or ())
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput("use", f"restore hook {name}", "there are two of that name", "Names must differ.")
    return RestoreHooks(found, bool(params["hook_annotations"]))


def _hook(given: Mapping[str, Any]) -> Hook:
    name = str(given["name"])
    target = f"restore hook {name}"
    try:
        selector = label_selector.parse(given["selector"])
    except ValueError as error:
        raise InvalidInput("use", target, f"its selector: {error}", "Write app=ledger.") from None
    if not selector:
        raise InvalidInput("use", target, "it has no selector", "Name its pods by a label selector.")
    command, containers = hook.command(target, given, "command"), given.get("init_containers") or []
    if (command is None) == (not containers):
        raise InvalidInput("use", target, "it needs either command or init_containers", "Give one of the two.")
    for one in containers:
        if not one.get("name") or not one.get("image"):
            raise InvalidInput("use", target, "an init container has no name or no image", "Give both.")
    wait = hook.seconds(target, "wait_timeout", given.get("wait_timeout"), hook_annotations.WAIT)
    waiting = Waiting(command, wait, bool(given.get("wait_for_ready"))) if command is not None else None
    return Hook(name, str(given.get("namespace") or ""), selector, waiting, tuple(containers))


# -- which commands run where -----------------------------------------------------------------------------------------


@dataclass
class Task:
    """A command for the pods of one workload. ``done`` are the uids of those that it ran in."""

    name: str
    waiting: Waiting
    step: Step
    container: str
    done: set[str] = field(default_factory=set)

    def record(self, pod: str = "") -> JSON:
        command, where = self.waiting.command, self.step.identity
        record = command.record(self.name, PHASE, where.namespace, pod)
        return {**record, "workload": str(where), "container": self.container}

    def ended(self, msg: str, ok: bool | None) -> JSON:
        return {**self.record(), "ok": ok, "msg": msg}


def tasks(hooks: RestoreHooks, steps: Sequence[Step]) -> list[Task]:
    """The commands of all workloads that are to be written: the user's in their order, then those of annotations.

    Raises :class:`InvalidInput` for an annotation that is wrong.
    """
    if not hooks.hooks and not hooks.annotations:
        return []
    found: dict[int, list[Task]] = {}
    for step in sorted(steps, key=lambda step: step.identity):
        # A write of links or owners alone changes nothing about the pods.
        if step.action not in WRITES or step.key not in _RUNNERS or step.only_owners or step.only_links:
            continue
        body = step.body
        spec = objects.pod_spec(step.key, body) or {}
        labels, annotations = objects.pod_marks(step.key, body)
        asked = [
            (number, one.name, one.waiting)
            for number, one in enumerate(hooks.hooks)
            if one.waiting and _takes(one, step, labels)
        ]
        own = hook_annotations.restore(str(step.identity), annotations) if hooks.annotations else None
        if own is not None:
            asked.append((len(hooks.hooks), f"annotations of {step.identity}", own))
        for number, name, waiting in asked:
            container = waiting.command.container or str((spec.get("containers") or [{}])[0].get("name", ""))
            found.setdefault(number, []).append(Task(name, waiting, step, container))
    return [task for number in sorted(found) for task in found[number]]


def unused(hooks: RestoreHooks, steps: Sequence[Step]) -> list[str]:
    """The user's hooks that are for none of the objects."""
    left = list(hooks.hooks)
    for step in steps if left else ():
        if step.text is not None and objects.holds_pods(step.key):
            labels, _annotations = objects.pod_marks(step.key, step.body)
            left = [one for one in left if not _takes(one, step, labels)]
    return [one.name for one in left]


def _takes(one: Hook, step: Step, labels: Mapping[str, str]) -> bool:
    # What is planned is in the target's namespaces already, which may have the names of other captured ones.
    return any(one.takes(namespace, labels) for namespace in step.captured_in)


# -- running ----------------------------------------------------------------------------------------------------------


def run(
    cluster: Cluster, wanted: Sequence[Task], *, secrets: Collection[str], progress: Progress
) -> tuple[list[JSON], list[str]]:
    """Run the commands of workloads that were written; returns the records, and why failures that matter failed.

    All wait from the same moment on. After a failure that matters no further command runs.
    """
    due = _due(wanted)
    records: list[JSON] = []
    failures: list[str] = []
    began = time.monotonic()
    for number, task in enumerate(due):
        if failures:
            records.append(task.ended(f"not run, because {records[-1]['name']} failed", None))
            continue
        progress.update("wave", "hooks", "running", done=number, total=len(due), msg=task.name)
        for record in _run(cluster, task, began, secrets):
            records.append(record)
            if record["ok"] is False and not task.waiting.command.optional:
                failures.append(f"{task.name} on {task.step.identity}: {record['msg']}")
    if due:
        progress.update("wave", "hooks", "failed" if failures else "done", done=len(due), total=len(due))
    return records, failures


def left_out(wanted: Sequence[Task], why: str) -> list[JSON]:
    """The records of commands that would have run; a later restore does not, as it finds their workloads written."""
    return [task.ended(why, None) for task in _due(wanted)]


def _due(wanted: Sequence[Task]) -> list[Task]:
    return [task for task in wanted if task.step.changed and not task.step.failed]


def _run(cluster: Cluster, task: Task, began: float, secrets: Collection[str]) -> Iterator[JSON]:
    command = task.waiting.command
    while True:
        late = time.monotonic() - began >= task.waiting.wait
        pods, wanted = _pods(cluster, task.step)
        for pod in pods:
            uid = str(pod["metadata"].get("uid"))
            if uid not in task.done and _is_up(pod, task.container, task.waiting.ready):
                task.done.add(uid)
                where = hook.Place(task.step.identity.namespace, str(pod["metadata"]["name"]), uid, task.container)
                record, failure = hook.run(cluster, command, where, task.name, PHASE, secrets)
                yield {**record, "workload": str(task.step.identity)}
                if failure is not None and hook.matters(failure, command):
                    return
        if wanted is not None and len(task.done) >= wanted:
            if not wanted:
                yield task.ended("not run: it has no replicas", None)
            return
        if late:
            yield task.ended(str(_too_late(task, pods, wanted)), False)
            return
        time.sleep(_PAUSE)


def _too_late(task: Task, pods: Sequence[JSON], wanted: int | None) -> Incomplete:
    state = "was ready" if task.waiting.ready else f"ran container {task.container}"
    count = "none of its pods" if wanted is None else f"{len(task.done)} of {wanted} pods"
    why = next((reason for pod in pods if (reason := _obstacle(pod))), "")
    return Incomplete(
        "run",
        f"hook {task.name} for {task.step.identity}",
        f"{count} {state} within {task.waiting.wait:g} seconds" + (f" ({why})" if why else ""),
        "Look at its pods, or raise wait_timeout.",
    )


def _obstacle(pod: JSON) -> str:
    status = pod.get("status") or {}
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for one in states:
        reason = objects.lookup(one, ("state", "waiting", "reason"))
        if reason and reason != "PodInitializing":
            return f"{pod['metadata']['name']}: {reason}"
    return ""


def _is_up(pod: JSON, container: str, ready: bool) -> bool:
    """Whether the command can run in the pod: its container runs, or the whole pod is ready."""
    if not hook.is_running(pod):
        return False
    if ready:
        return hook.is_ready(pod)
    status = pod["status"]
    states = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return any(one.get("name") == container and objects.lookup(one, ("state", "running")) is not None for one in states)


def _pods(cluster: Cluster, step: Step) -> tuple[list[JSON], int | None]:
    """The pods of a workload as it is now, and how many there will be; ``None`` where that is not known yet."""
    live = cluster.find(step.path)
    if live is None:
        return [], None
    if step.key == "pods":
        return [live], 1
    status, spec = live.get("status") or {}, live.get("spec") or {}
    if int(status.get("observedGeneration") or 0) < int(live["metadata"].get("generation") or 0):
        # Its controller has not seen the change yet, so its pods are the old ones.
        return [], None
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels") or {} if step.key != "replicationcontrollers" else selector
    query = {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels.items()))} if labels else {}
    owner = str(live["metadata"]["uid"])
    if step.key == "deployments.apps":
        sets = cluster.list(object_path("apps/v1", "replicasets", step.identity.namespace), query)
        mine = [one for one in sets if _owned(one, owner)]
        newest = max(mine, key=lambda one: int(objects.annotations_of(one).get(_REVISION, "0")), default=None)
        if newest is None:
            return [], _replicas(step.key, spec, status)
        owner = str(newest["metadata"]["uid"])
    revision = status.get("updateRevision") if step.key == "statefulsets.apps" else None
    pods = [
        pod
        for pod in cluster.list(object_path("v1", "pods", step.identity.namespace), query)
        if _owned(pod, owner) and objects.labels_of(pod).get("controller-revision-hash", revision) == revision
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["name"])), _replicas(step.key, spec, status)


def _owned(obj: JSON, owner: str) -> bool:
    return (objects.controller(obj) or {}).get("uid") == owner


def _replicas(key: str, spec: JSON, status: JSON) -> int | None:
    if key == "daemonsets.apps":
        wanted = status.get("desiredNumberScheduled")
        return None if wanted is None else int(wanted)
    wanted = spec.get("parallelism" if key == "jobs.batch" else "replicas")
    return 1 if wanted is None else int(wanted)
