# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Hooks: commands in the application's pods around the cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import Interrupted

JSON = dict[str, Any]
_TIMEOUT = 60.0


class Hooks:
    """Runs ``pre`` of all hooks in order and, whatever happens, ``post`` of those that began, in reverse.

    Used as a context manager around the cut. ``done`` is what ran, in order. A post hook that fails raises after
    all of them ran; on the way out of another error it is only recorded.
    """

    def __init__(self, cluster: Cluster, hooks: Sequence[Mapping[str, Any]], default_namespace: str) -> None:
        self._cluster = cluster
        self._hooks = [_checked(hook, default_namespace) for hook in hooks]
        self._begun: list[tuple[JSON, list[JSON]]] = []
        self.done: list[JSON] = []

    def __enter__(self) -> Hooks:
        try:
            for hook in self._hooks:
                self._pre(hook)
        except BaseException:
            self._post()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        failure = self._post()
        if failure is not None and error is None:
            raise failure

    def _pre(self, hook: JSON) -> None:
        pods = self._pods(hook)
        if not pods:
            failure = Incomplete(
                "run",
                f"hook {hook['name']}",
                f"no running pod in {hook['namespace']} matches {hook['selector']}",
                "Correct the selector, start the pod, or set on_error to continue.",
            )
            self.done.append(_record(hook, "", "pre", clock.now(), 0.0, None, False, failure.reason))
            if hook["on_error"] == "fail":
                raise failure
            return
        # Noted before it runs: a hook that fails halfway may have frozen something.
        self._begun.append((hook, pods))
        for pod in pods:
            failed = self._run(hook, pod, "pre")
            if failed and _matters(failed, hook):
                raise failed

    def _post(self) -> MusterError | None:
        first: MusterError | None = None
        while self._begun:
            hook, pods = self._begun.pop()
            for pod in pods:
                failed = self._run(hook, pod, "post")
                if failed and _matters(failed, hook):
                    first = first or failed
        return first

    def _pods(self, hook: JSON) -> list[JSON]:
        path = object_path("v1", "pods", hook["namespace"])
        return [
            pod
            for pod in self._cluster.list(path, {"labelSelector": hook["selector"]})
            if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        ]

    def _run(self, hook: JSON, pod: JSON, phase: str) -> MusterError | None:
        argv = hook[phase]
        if not argv:
            return None
        name = pod["metadata"]["name"]
        target = f"{phase} hook {hook['name']} in pod {hook['namespace']}/{name}"
        container = hook["container"] or pod["spec"]["containers"][0]["name"]
        started, watch = clock.now(), clock.Stopwatch()
        code: int | None = None
        failure: MusterError | None = None
        try:
            ended = self._cluster.exec(hook["namespace"], name, container, argv, timeout=hook["timeout"])
            code = ended.code
            text = " ".join((ended.stderr.strip() or ended.stdout.strip()).split())[-300:]
            if code != 0:
                said = f" and said: {text}" if text else ""
                failure = Incomplete("run", target, f"it ended with exit code {code}{said}", "Mend the hook's command.")
            msg = text if code != 0 else ""
        except Interrupted as error:
            failure, msg = error, str(error)
        except MusterError as error:
            # The client knows the command; whoever reads this knows the hook by its name.
            family = Unavailable if isinstance(error, Unavailable) else Incomplete
            failure = family("run", target, error.reason, "Mend the hook, or raise its timeout.")
            msg = str(failure)
        self.done.append(_record(hook, name, phase, started, watch.seconds, code, failure is None, msg))
        return failure


def _matters(failure: MusterError, hook: JSON) -> bool:
    """Whether a failure ends the cut; that the task is to end is never the hook's own failure."""
    return hook["on_error"] == "fail" or isinstance(failure, Interrupted)


def _record(
    hook: JSON, pod: str, phase: str, started: Any, seconds: float, code: int | None, ok: bool, msg: str
) -> JSON:
    return {
        "name": hook["name"],
        "namespace": hook["namespace"],
        "pod": pod,
        "phase": phase,
        "started": clock.iso(started),
        "seconds": seconds,
        "code": code,
        "ok": ok,
        "msg": msg,
    }


def _checked(hook: Mapping[str, Any], default_namespace: str) -> JSON:
    name = str(hook.get("name") or hook.get("selector") or "hook")
    target = f"hook {name}"
    if not hook.get("selector"):
        raise InvalidInput("use", target, "it has no selector", "Name its pods by a label selector.")
    if not hook.get("pre") and not hook.get("post"):
        raise InvalidInput("use", target, "it has neither pre nor post", "Give it a command as a list.")
    for phase in ("pre", "post"):
        argv = hook.get(phase) or []
        if isinstance(argv, str) or not all(isinstance(part, (str, int, float)) for part in argv):
            raise InvalidInput("use", target, f"{phase} is not a list of words", 'Write ["/bin/command", "argument"].')
    on_error = str(hook.get("on_error") or "fail")
    if on_error not in ("fail", "continue"):
        raise InvalidInput("use", target, f"on_error is {on_error!r}", "It is fail or continue.")
    return {
        "name": name,
        "namespace": str(hook.get("namespace") or default_namespace),
        "selector": str(hook["selector"]),
        "container": hook.get("container"),
        "pre": [str(part) for part in hook.get("pre") or []],
        "post": [str(part) for part in hook.get("post") or []],
        "timeout": clock.duration(hook["timeout"]) if hook.get("timeout") else _TIMEOUT,
        "on_error": on_error,
    }
