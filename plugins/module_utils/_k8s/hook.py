# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One command of a hook in one container: what it is, and running it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster

TIMEOUT = 60.0
APPLICATION, ANNOTATION, VELERO = "application", "annotation", "velero"
_SHOWN = 300


@dataclass(frozen=True)
class Command:
    """What to run. ``container`` ``None`` is the pod's first one, ``timeout`` in seconds.

    ``optional`` (``on_error: continue``): its failure is recorded and nothing more. ``source`` says who wrote it.
    """

    argv: tuple[str, ...]
    container: str | None = None
    timeout: float = TIMEOUT
    optional: bool = False
    keep_output: bool = True
    source: str = APPLICATION

    def record(self, name: str, phase: str, namespace: str, pod: str = "") -> JSON:
        """The entry of a result, as it is before the command ran."""
        return {
            "name": name,
            "namespace": namespace,
            "pod": pod,
            "container": self.container or "",
            "phase": phase,
            "source": self.source,
            "on_error": "continue" if self.optional else "fail",
            "started": None,
            "seconds": None,
            "code": None,
            "ok": None,
            "stdout": "",
            "stderr": "",
            "msg": "would run",
        }

    def record_at(self, where: Place, name: str, phase: str) -> JSON:
        """:meth:`record` in a container that is known."""
        return {**self.record(name, phase, where.namespace, where.pod), "container": where.container}


@dataclass(frozen=True)
class Place:
    """The container of a pod; ``uid`` tells the pod from a later one of the same name."""

    namespace: str
    pod: str
    uid: str
    container: str


def place(pod: JSON, command: Command) -> Place:
    """Where the command runs in this pod."""
    metadata = pod["metadata"]
    container = command.container or str(pod["spec"]["containers"][0]["name"])
    return Place(str(metadata["namespace"]), str(metadata["name"]), str(metadata.get("uid") or ""), container)


def is_running(pod: JSON) -> bool:
    """Whether commands can be run in the pod and will be for some time."""
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: JSON) -> bool:
    """Whether it is in service: its readiness probes and gates say so."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def run(
    cluster: Cluster, command: Command, where: Place, name: str, phase: str, secrets: Collection[str]
) -> tuple[JSON, MusterError | None]:
    """Run the command; returns its record and, if it failed, why. Only bugs are raised."""
    target = f"{phase} hook {name} in pod {where.namespace}/{where.pod}"
    record = command.record_at(where, name, phase)
    record["started"] = clock.iso(clock.now())
    watch = clock.Stopwatch()
    failure: MusterError | None = None
    try:
        ended = cluster.exec(where.namespace, where.pod, where.container, command.argv, timeout=command.timeout)
        record["code"] = ended.code
        if command.keep_output:
            record["stdout"] = hook_output.kept(ended.stdout, secrets)
            record["stderr"] = hook_output.kept(ended.stderr, secrets)
        if ended.code != 0:
            text = " ".join((record["stderr"] or record["stdout"]).split())[-_SHOWN:]
            said = f" and said: {text}" if text else ""
            failure = Incomplete("run", target, f"it ended with exit code {ended.code}{said}", "Mend its command.")
    except Interrupted as error:
        failure = error
    except MusterError as error:
        # The client knows the command; whoever reads this knows the hook by its name.
        family = Unavailable if isinstance(error, Unavailable) else Incomplete
        failure = family("run", target, error.reason, "Mend the hook, or raise its timeout.")
    record |= {"seconds": watch.seconds, "ok": failure is None, "msg": str(failure) if failure else ""}
    return record, failure


def failed(command: Command, name: str, phase: str, namespace: str, failure: MusterError, pod: str = "") -> JSON:
    """The record of a command that could not even begin."""
    now = clock.iso(clock.now())
    record = command.record(name, phase, namespace, pod)
    return {**record, "started": now, "seconds": 0.0, "ok": False, "msg": failure.reason}


def matters(failure: MusterError, command: Command) -> bool:
    """Whether a failure is one of the whole; that the task is to end is never the command's own failure."""
    return not command.optional or isinstance(failure, Interrupted)


# -- from options -----------------------------------------------------------------------------------------------------


def words(target: str, option: str, value: Any) -> tuple[str, ...]:
    """A command as a list of words."""
    argv = value or []
    if not isinstance(argv, list | tuple) or not all(isinstance(part, str | int | float) for part in argv):
        raise InvalidInput("use", target, f"{option} is not a list of words", 'Write ["/bin/command", "argument"].')
    return tuple(str(part) for part in argv)


def command(target: str, given: Mapping[str, Any], option: str) -> Command | None:
    """The command under ``option`` of a hook of the application, with what the hook says of all its commands."""
    argv = words(target, option, given.get(option))
    on_error, output = str(given.get("on_error") or "fail"), str(given.get("output") or "kept")
    if on_error not in ("fail", "continue"):
        raise InvalidInput("use", target, f"on_error is {on_error!r}", "It is fail or continue.")
    if output not in ("kept", "none"):
        raise InvalidInput("use", target, f"output is {output!r}", "It is kept or none.")
    if not argv:
        return None
    return Command(
        argv,
        container=str(given["container"]) if given.get("container") else None,
        timeout=seconds(target, "timeout", given.get("timeout"), TIMEOUT),
        optional=on_error == "continue",
        keep_output=output == "kept",
    )


def seconds(target: str, option: str, value: Any, default: float) -> float:
    """A length of time, or the default where nothing is said."""
    if value is None or value == "":
        return default
    try:
        found = clock.duration(value)
    except InvalidInput as error:
        raise InvalidInput("use", target, f"{option} {value!r} {error.reason}", error.hint) from None
    if found <= 0:
        raise InvalidInput("use", target, f"{option} is zero", "Give it some time.")
    return found
