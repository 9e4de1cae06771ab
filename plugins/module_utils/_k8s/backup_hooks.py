# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Hooks around a backup: commands in the application's pods before and after the cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    hook,
    hook_annotations,
    objects,
    selection,
    thaw,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiDenied,
    Cluster,
    object_path,
)


@dataclass(frozen=True)
class Hook:
    """Commands before (``pre``) and after (``post``) the cut in the pods that a selector takes."""

    name: str
    namespace: str
    selector: str
    pre: hook.Command | None
    post: hook.Command | None

    @property
    def optional(self) -> bool:
        return all(command.optional for command in (self.pre, self.post) if command)


@dataclass(frozen=True)
class _Due:
    """A hook and the pods that it runs in."""

    hook: Hook
    pods: tuple[JSON, ...]

    @property
    def seconds(self) -> float:
        """How long its commands may take at most."""
        return sum(command.timeout for command in (self.hook.pre, self.hook.post) if command) * len(self.pods)


class Hooks:
    """Runs ``pre`` of all hooks in order and, whatever happens, ``post`` of those that began, in reverse.

    Used as a context manager around the cut. ``done`` is what ran, in order. A post hook that fails raises after
    all of them ran; on the way out of another error it is only recorded. The application's own hooks come first,
    then those of annotations, by namespace and pod. With a ``ledger`` all post commands are written down, with the
    ``seconds`` that the cut itself may take, before the first command runs.
    """

    def __init__(
        self,
        cluster: Cluster,
        application: Mapping[str, Any],
        *,
        annotations: bool = True,
        ledger: thaw.Ledger | None = None,
        seconds: float = 0.0,
        secrets: Collection[str] = (),
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._cluster = cluster
        self._namespaces = [str(name) for name in application.get("namespaces") or []]
        self._hooks = [_checked(one, self._namespaces[0]) for one in application.get("hooks") or []]
        self._selectors = [selection.selector_of(str(text)) for text in application.get("selectors") or ()]
        self._annotations = annotations
        self._ledger = ledger
        self._seconds = seconds
        self._secrets = secrets
        self._warn = warn
        self._begun: list[_Due] = []
        self._left: list[thaw.Owed] = []
        self._paid: set[tuple[hook.Place, tuple[str, ...]]] = set()
        self.done: list[JSON] = []

    def __enter__(self) -> Hooks:
        due = self._find()
        for one in due:
            self._need_pods(one)
        owed = [debt for one in reversed(due) for debt in _owed(one)]
        if owed and self._ledger is not None:
            longest = sum(one.seconds for one in due)
            self._ledger.write(owed, self._seconds + longest)
        try:
            for one in due:
                self._pre(one)
        except BaseException:
            self._post()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        failure = self._post()
        if failure is not None and error is None:
            raise failure

    # -- what there is to run -------------------------------------------------------------------------------------

    def planned(self) -> list[JSON]:
        """The records of what would run, in order."""
        due = self._find()
        return [*self._planned("pre", due), *self._planned("post", due[::-1])]

    def _planned(self, phase: str, due: Sequence[_Due]) -> Iterator[JSON]:
        for one in due:
            command = one.hook.pre if phase == "pre" else one.hook.post
            if command is None:
                continue
            for pod in one.pods:
                where = hook.place(pod, command)
                yield command.record_at(where, one.hook.name, phase)
            if not one.pods:
                yield hook.failed(command, one.hook.name, phase, one.hook.namespace, _no_pods(one.hook))

    def _find(self) -> list[_Due]:
        """All hooks with their pods. Raises :class:`InvalidInput` for an annotation that is wrong."""
        due = [_Due(one, tuple(self._running(one.namespace, one.selector))) for one in self._hooks]
        if self._annotations:
            for namespace in sorted(set(self._namespaces)):
                due += self._annotated(namespace)
        return due

    def _running(self, namespace: str, selector: str = "") -> list[JSON]:
        query = {"labelSelector": selector} if selector else {}
        return [pod for pod in self._cluster.list(object_path("v1", "pods", namespace), query) if hook.is_running(pod)]

    def _annotated(self, namespace: str) -> list[_Due]:
        if self._left_out(namespace):
            return []
        found = []
        for pod in sorted(self._running(namespace), key=lambda pod: str(pod["metadata"]["name"])):
            labels = objects.labels_of(pod)
            taken = not self._selectors or any(all(part.holds(labels) for part in one) for one in self._selectors)
            if not taken or selection.excluded_by_mark(pod) is not None:
                continue
            commands = hook_annotations.backup(pod)
            self._foresee(pod)
            if commands:
                name = f"annotations of {namespace}/{pod['metadata']['name']}"
                mine = Hook(name, namespace, "", commands.get("pre"), commands.get("post"))
                found.append(_Due(mine, (pod,)))
        return found

    def _foresee(self, pod: JSON) -> None:
        """Say now, while it can be mended, what a restore will refuse."""
        title, annotations = str(objects.identity("pods", pod)), objects.annotations_of(pod)
        for read in (hook_annotations.restore, hook_annotations.init_container):
            try:
                read(title, annotations)
            except InvalidInput as error:
                self._warn(f"A restore of this will fail: {error}")

    def _left_out(self, namespace: str) -> bool:
        """Whether the mark on the namespace leaves out all that is in it."""
        query = {"fieldSelector": f"metadata.name={namespace}"}
        try:
            return any(selection.excluded_by_mark(one) for one in self._cluster.list("/api/v1/namespaces", query))
        except ApiDenied:
            # Who may not read namespaces cannot capture them either, so there is no mark to be kept.
            return False

    # -- running --------------------------------------------------------------------------------------------------

    def _need_pods(self, due: _Due) -> None:
        if due.pods:
            return
        failure = _no_pods(due.hook)
        phase, command = ("pre", due.hook.pre) if due.hook.pre else ("post", due.hook.post)
        if command is not None:
            self.done.append(hook.failed(command, due.hook.name, phase, due.hook.namespace, failure))
        if not due.hook.optional:
            raise failure

    def _pre(self, due: _Due) -> None:
        # Noted before it runs: a hook that fails halfway may have frozen something.
        self._begun.append(due)
        if due.hook.pre is None:
            return
        for pod in due.pods:
            failure = self._run(due.hook.name, due.hook.pre, hook.place(pod, due.hook.pre), "pre")
            if failure:
                raise failure

    def _post(self) -> BaseException | None:
        first: BaseException | None = None
        while self._begun:
            for owed in _owed(self._begun.pop()):
                failure: BaseException | None
                try:
                    failure = self._run(owed.name, owed.command, owed.place, "post")
                except BaseException as error:
                    # Whatever it is, the others must not stay frozen for it.
                    failure = error
                if failure is None:
                    self._paid.add(owed.identity)
                else:
                    self._left.append(owed)
                    first = first or failure
        if self._ledger is not None:
            self._settle(self._ledger)
        return first

    def _settle(self, ledger: thaw.Ledger) -> None:
        try:
            ledger.settle(self._left, self._paid)
        except MusterError as error:
            # The next run pays once more then, which is no harm.
            self._warn(f"The record of what was to be thawed could not be cleared, the next run does it: {error}")

    def _run(self, name: str, command: hook.Command, place: hook.Place, phase: str) -> MusterError | None:
        """Why it failed, if that matters."""
        record, failure = hook.run(self._cluster, command, place, name, phase, self._secrets)
        self.done.append(record)
        return failure if failure is not None and hook.matters(failure, command) else None


def _owed(due: _Due) -> list[thaw.Owed]:
    """What has to run after the cut because this hook began."""
    command = due.hook.post
    if command is None:
        return []
    return [thaw.Owed(due.hook.name, hook.place(pod, command), command) for pod in due.pods]


def _no_pods(missing: Hook) -> Incomplete:
    return Incomplete(
        "run",
        f"hook {missing.name}",
        f"no running pod in {missing.namespace} matches {missing.selector}",
        "Correct the selector, start the pod, or set on_error to continue.",
    )


def _checked(given: Mapping[str, Any], default_namespace: str) -> Hook:
    name = str(given.get("name") or given.get("selector") or "hook")
    target = f"hook {name}"
    if not given.get("selector"):
        raise InvalidInput("use", target, "it has no selector", "Name its pods by a label selector.")
    commands = {phase: hook.command(target, given, phase) for phase in ("pre", "post")}
    if not any(commands.values()):
        raise InvalidInput("use", target, "it has neither pre nor post", "Give it a command as a list.")
    namespace = str(given.get("namespace") or default_namespace)
    return Hook(name, namespace, str(given["selector"]), commands["pre"], commands["post"])
