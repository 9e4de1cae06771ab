# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Starts a mover, follows it, and reads its report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import MINIMUM, Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import alive, scripts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import ENDING

JSON = dict[str, Any]
_INTERVAL = 1.0
_BAD_STARTS = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)
_BAD_START_SECONDS = 45.0
# How often at most a Job is asked for that has a pod, and a log; in seconds.
_ASK_JOB, _READ_LOG = 5.0, 0.5
# A kubelet under pressure evicts what takes more than it asked for, and the Job makes a new pod each time.
_EVICTIONS = 3
# As long as the control plane waits by default until it gives up the pods of a node that is gone.
_SILENCE = 300.0
# Seconds that a pod has to end whose restic gets no answer.
_STUCK_GRACE = 5
# Seconds for which a Job may be there after its time limit, until it is removed.
_FOLLOWED = 600.0
_LOOK = "Look at the Job's events and run it again."
# What the scheduler says, and what to do. Movers that read a volume in place go where that is.
_NO_NODE = (
    ("untolerated taint", "Set mover.tolerations, or mover.node_selector to nodes without it."),
    ("node affinity/selector", "Correct mover.node_selector, and see where the volume can be mounted."),
)
_MEMORY = "Set mover.resources to a larger memory request, and to no limit or a higher one, or use larger nodes."


class ReportLost(Incomplete):
    """A mover ended well, and its pod was gone before its report was read."""


class Stuck(Unavailable):
    """A mover gets nothing done, as the repository's server does not answer while restic tries again and again."""


class Advance(Protocol):
    """Told how many bytes of how many are done."""

    def __call__(self, done: int, total: int | None, /) -> None: ...


@dataclass
class Report:
    """What a mover said at its end. Sizes in bytes; ``files`` and ``bytes`` are counted on the volume (restore).

    ``changed``: whether something became different there (restore of single paths); None where it was not looked at.
    """

    code: int
    summary: JSON = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    files: int | None = None
    bytes: int | None = None
    changed: bool | None = None


def run(
    cluster: Cluster,
    mover: parts.Mover,
    settings: parts.Settings,
    repository: Repository,
    action: str,
    target: str,
    advance: Advance | None = None,
    later: Callable[[Callable[[], None]], object] | None = None,
) -> Report:
    """Run one mover to its end and remove it, whatever happened. Returns only where restic ended with 0.

    ``later`` is given the removal where nothing waits for it; without, its pods are gone at the return.
    """

    def put_away(grace: int | None = None) -> None:
        with contextlib.suppress(MusterError):
            remove(cluster, mover.namespace, mover.name, grace=grace)

    def once(mover: parts.Mover) -> Report:
        body = parts.job(mover, settings, repository)
        body["metadata"]["annotations"] = alive.statement(cluster, settings.timeout + _FOLLOWED)
        owner = cluster.create(object_path("batch/v1", "jobs", mover.namespace), body)
        try:
            _equip(cluster, mover, settings, repository, owner)
            report = _Follower(cluster, mover, settings, action, target, advance).follow()
        except Stuck:
            # Its lock cannot be removed either, for which restic would otherwise be left the time.
            put_away(_STUCK_GRACE)
            raise
        except BaseException:
            put_away()
            raise
        if later is None:
            put_away()
        else:
            later(put_away)
        return report

    try:
        return once(mover)
    except ReportLost:
        # Its work is done and is found again, so that doing it once more takes little. The data on a claim is its own.
        return once(replace(mover, only_if_empty=False))


def _equip(cluster: Cluster, mover: parts.Mover, settings: parts.Settings, repository: Repository, owner: JSON) -> None:
    cluster.create(
        object_path("networking.k8s.io/v1", "networkpolicies", mover.namespace),
        parts.network_policy(mover, repository, owner),
    )
    for secret in parts.secrets(mover, settings, repository, owner):
        cluster.create(object_path("v1", "secrets", mover.namespace), secret)


def remove(
    cluster: Cluster,
    namespace: str,
    job: str,
    *,
    ours: bool = True,
    timeout: float = 90.0,
    grace: int | None = None,
) -> None:
    """Delete a mover's Job and what belongs to it, and wait until its pods have let go of the volume.

    Where only labels say that it is ``ours``, what has its name is left to the cluster, which knows what it owns.
    ``grace`` is how many seconds its pods have to end, where that is not to be what they were made with.
    """
    if grace is not None:
        # Before their Job, for a kubelet that has begun to end them keeps to the time that it was given first. Whoever
        # may not delete pods waits for them.
        with contextlib.suppress(MusterError):
            for pod in _pods(cluster, namespace, job):
                cluster.delete(object_path("v1", "pods", namespace, pod["metadata"]["name"]), grace=grace)
    cluster.delete(object_path("batch/v1", "jobs", namespace, job), propagation="Background")
    for resource, api, name in (
        ("secrets", "v1", job),
        ("secrets", "v1", f"{job}-pull"),
        ("networkpolicies", "networking.k8s.io/v1", job),
    ):
        if ours:
            cluster.delete(object_path(api, resource, namespace, name))
    began = time.monotonic()
    while time.monotonic() < began + timeout and _pods(cluster, namespace, job):
        time.sleep(clock.pause(time.monotonic() - began, _INTERVAL))


def _pods(cluster: Cluster, namespace: str, job: str) -> list[JSON]:
    path = object_path("v1", "pods", namespace)
    return list(cluster.list(path, {"labelSelector": f"{marks.MOVER}={job}"}))


class _Follower:
    def __init__(
        self,
        cluster: Cluster,
        mover: parts.Mover,
        settings: parts.Settings,
        action: str,
        target: str,
        advance: Advance | None,
    ) -> None:
        self._cluster = cluster
        self._mover = mover
        self._settings = settings
        self._action = action
        self._target = target
        self._log = Log(action, target, settings.stall_timeout, advance)
        self._began = time.monotonic()
        # When no pod ran any more: a replacement for an evicted one has as long to start as the first had.
        self._idle_since = self._began
        self._running_since: float | None = None
        self._silent_since: float | None = None
        self._bad_since: float | None = None
        # When its Job, and its log, are looked at next.
        self._ask_at = self._read_at = self._began

    def follow(self) -> Report:
        path = object_path("batch/v1", "jobs", self._mover.namespace, self._mover.name)
        while True:
            if ENDING.is_set():
                raise Interrupted(self._action, self._target, "the task was ended", "Run it again.")
            pods = self._pods()
            report = _reported(pods)
            if report is not None:
                # The Job is told some time after its pod.
                return report
            current = time.monotonic()
            if current >= self._ask_at or not pods or _terminated(pods[-1]):
                # While a pod is on its way it knows more.
                self._ask_at = current + _ASK_JOB
                job = self._cluster.find(path)
                if job is None:
                    reason = "its mover's Job was deleted by somebody"
                    raise Incomplete(self._action, self._target, reason, "Run it again.")
                ended = _conditions(job)
                if ended:
                    # What its pods have come to since they were listed.
                    pods = self._pods()
                    report = _reported(pods)
                    if report is not None:
                        return report
                    self._judge(ended, pods)
                self._refused(pods)
            if time.monotonic() - self._began > self._settings.timeout + 60:
                raise self._unavailable(f"the mover did not end within {self._settings.timeout:g} seconds")
            self._watch(pods)
            time.sleep(clock.pause(time.monotonic() - self._began, _INTERVAL))

    def _pods(self) -> list[JSON]:
        """Its pods, the newest last."""
        found = _pods(self._cluster, self._mover.namespace, self._mover.name)
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    def _judge(self, conditions: Mapping[str, JSON], pods: list[JSON]) -> None:
        """Raise for a Job that has ended, and no pod has a report of success."""
        if "Complete" in conditions:
            raise ReportLost(
                self._action, self._target, "the mover ended and its report is lost with its pod", "Run it again."
            )
        failed = conditions.get("Failed") or conditions.get("FailureTarget")
        if failed is None:
            return
        for pod in reversed(pods):
            terminated = _terminated(pod)
            if terminated:
                code = int(terminated.get("exitCode", 1))
                raise self._failure(read_report(code, str(terminated.get("message") or "")), terminated)
        if failed.get("reason") == "DeadlineExceeded":
            raise self._unavailable(f"the mover did not end within {self._settings.timeout:g} seconds")
        raise self._unavailable(
            f"the mover's pods were deleted or never ran ({failed.get('message') or failed.get('reason')})"
        )

    def _refused(self, pods: list[JSON]) -> None:
        """Do not wait for the Job's next pod where the last one was turned away: so would be that one."""
        terminated = _terminated(pods[-1]) if pods else None
        if terminated and terminated.get("exitCode"):
            report = read_report(int(terminated["exitCode"]), str(terminated.get("message") or ""))
            error = self._failure(report, terminated)
            if isinstance(error, Denied):
                raise error

    def _failure(self, report: Report, terminated: JSON) -> MusterError:
        result = {"errors": report.errors}
        if report.code == parts.NOT_EMPTY:
            return Refused(
                self._action,
                self._target,
                f"the claim holds data already ({found_there(report)})",
                "Restore into another namespace, delete the claim, or set existing to keep or replace.",
                result=result,
            )
        if terminated.get("reason") == "OOMKilled" or report.code == 137:
            # Where no limit was set, the node's kernel kills without giving a reason.
            sure = terminated.get("reason") == "OOMKilled"
            why = "the mover ran out of memory" if sure else "the mover was killed, most often for want of memory"
            return Unavailable(self._action, self._target, f"{why} ({self._size()})", _MEMORY, result=result)
        return failure(self._action, self._target, report, self._settings.image, self._log.trouble)

    def _size(self) -> str:
        """What it asked for, and how much it had to do."""
        asked = parts.resources(self._mover, self._settings)
        texts = [f"{kind} memory {asked[kind]['memory']}" for kind in asked if "memory" in (asked[kind] or {})]
        files = self._mover.files
        texts.append("how many files there are is not known" if files is None else f"{files} files when last counted")
        return ", ".join(texts)

    def _watch(self, pods: list[JSON]) -> None:
        current = time.monotonic()
        pod = pods[-1] if pods else None
        phase = (pod.get("status") or {}).get("phase") if pod else None
        if pod is not None and phase == "Running":
            self._idle_since = current
            if self._running_since is None:
                self._running_since = current
                self._log.begin(current)
            self._listen(pod, current)
            if current >= self._read_at:
                self._read_at = current + _READ_LOG
                self._read_log(pod, current)
            return
        self._running_since = self._silent_since = None
        evicted = [pod for pod in pods if (pod.get("status") or {}).get("reason") == "Evicted"]
        if len(evicted) >= _EVICTIONS:
            why = str(evicted[-1]["status"].get("message") or "").strip()[:300]
            raise self._unavailable(f"its pod was evicted {len(evicted)} times ({why}; {self._size()})", _MEMORY)
        if pod is None:
            if current - self._began > 15 and not pods:
                refused = self._events(self._mover.name, "FailedCreate")
                if refused:
                    raise Refused(
                        self._action,
                        self._target,
                        f"the cluster does not let the mover's pod start ({refused})",
                        "See the capabilities that movers need, and the namespace's Pod Security level, quota and "
                        "admission policies.",
                    )
            if current - self._idle_since > self._settings.start_timeout:
                raise self._unavailable("no pod was made for the mover's Job")
            return
        bad = _bad_start(pod)
        if bad:
            self._bad_since = self._bad_since or current
            if current - self._bad_since > _BAD_START_SECONDS:
                reason = f"the mover's pod does not start ({bad})"
                raise self._unavailable(reason, "Check mover.image and mover.registry.")
        elif phase == "Pending":
            self._bad_since = None
            if current - self._idle_since > self._settings.start_timeout:
                why = _unscheduled(pod) or self._events(pod["metadata"]["name"], "Failed") or "it stays Pending"
                reason = f"the mover's pod does not start ({why})"
                if "Insufficient memory" in why:
                    raise self._unavailable(
                        f"{reason}; it asks for it by its size: {self._size()}",
                        "Use larger nodes, or set mover.resources to less and risk that it is killed.",
                    )
                raise self._unavailable(reason, next((hint for sign, hint in _NO_NODE if sign in why), _LOOK))

    def _listen(self, pod: JSON, current: float) -> None:
        """End it where the pod's node has been silent for long: what ran there is unknown, and no new pod will come."""
        # A container that runs is ready, unless the control plane has marked the pod because its node is gone.
        if _condition(pod, "Ready").get("status") != "False":
            self._silent_since = None
            return
        self._silent_since = self._silent_since or current
        if current - self._silent_since > _SILENCE:
            node = (pod.get("spec") or {}).get("nodeName")
            raise self._unavailable(
                f"node {node}, on which its mover runs, gives no sign of life",
                "Bring the node back, or delete it from the cluster, and run it again.",
            )

    def _read_log(self, pod: JSON, current: float) -> None:
        log = self._cluster.logs(self._mover.namespace, pod["metadata"]["name"], "restic", tail=20)
        self._log.read(log, current, "the cluster's pods")

    def _events(self, name: str, word: str) -> str:
        path = object_path("v1", "events", self._mover.namespace)
        try:
            events: Iterable[JSON] = list(self._cluster.list(path, {"fieldSelector": f"involvedObject.name={name}"}))
        except MusterError:
            return ""
        texts = [str(event.get("message")) for event in events if word in str(event.get("reason"))]
        return texts[-1][:300] if texts else ""

    def _unavailable(self, reason: str, hint: str = _LOOK) -> Unavailable:
        return Unavailable(self._action, self._target, reason, hint)


class Log:
    """What a mover prints while it runs: how far it is, and whether it is stuck. Times are those of a steady clock."""

    def __init__(self, action: str, target: str, stall_timeout: float, advance: Advance | None) -> None:
        self._action = action
        self._target = target
        self._stall_timeout = stall_timeout
        self._advance = advance
        self._moved: tuple[Any, float] = (None, time.monotonic())
        self.trouble = ""

    def begin(self, current: float) -> None:
        """It runs from now on."""
        self._moved = (None, current)

    def read(self, log: str, current: float, where: str) -> None:
        """Take note of the last lines; raises where it gets nothing done. ``where`` it runs, for the hint."""
        failing = False
        for line in log.splitlines():
            if "returned error, retrying after" in line:
                failing, self.trouble = True, line.split(": ", 1)[-1].strip()
                continue
            if "operation successful after" in line:
                failing = False
            if '"message_type":"status"' not in line:
                continue
            with contextlib.suppress(ValueError):
                status = json.loads(line)
                done = status.get("bytes_done", status.get("bytes_restored"))
                position = (done, status.get("files_done", status.get("files_restored")))
                if position != self._moved[0]:
                    self._moved = (position, current)
                    if self._advance and done is not None:
                        self._advance(int(done), status.get("total_bytes"))
        refused = exit_codes.refusal(self._action, self._target, self.trouble) if failing else None
        if refused:
            raise refused
        if failing and current - self._moved[1] > self._stall_timeout:
            known = exit_codes.problem(self._action, self._target, 1, self.trouble)
            raise Stuck(
                self._action,
                self._target,
                f"for {self._stall_timeout:g} seconds the mover got nothing done: {known.reason}",
                known.hint or f"Check that the repository can be reached from {where}.",
            )


def found_there(report: Report) -> str:
    """What a mover found on a volume that was to be empty."""
    return report.errors[0].removeprefix("found data/") if report.errors else "files"


def failure(action: str, target: str, report: Report, image: str, trouble: str) -> MusterError:
    """The error for a mover that ended otherwise than with 0; ``trouble`` is what its log said last."""
    result = {"errors": report.errors}
    if report.code in (126, 127):
        return NotFound(
            action,
            target,
            f"the image {image} holds no restic or no shell",
            "Set mover.image to an image like the official restic image.",
            result=result,
        )
    said = [line for line in report.errors if line]
    if report.code == scripts.TOO_OLD:
        needed = ".".join(map(str, MINIMUM))
        reason = f"restic of the image {image} is version {''.join(said)}, and movers need {needed} or newer"
        return InvalidInput(action, target, reason, "Set mover.image to a newer one.", result=result)
    # restic counts its errors last and that comes first; which file it was says more.
    if len(said) > 1 and said[0].startswith("Fatal: There were"):
        said[0] = f"{said[1]}; {said[0].removeprefix('Fatal: ')}"
    # What ssh said stands behind, too.
    text = exit_codes.last_said([*said[1:], said[0]]) if said else trouble
    error = exit_codes.problem(action, target, report.code, text)
    error.result = result
    return error


def _conditions(job: JSON) -> dict[str, JSON]:
    """Those that hold."""
    found = (job.get("status") or {}).get("conditions") or []
    return {condition["type"]: condition for condition in found if condition.get("status") == "True"}


def _reported(pods: Iterable[JSON]) -> Report | None:
    """What the pod said that did its work."""
    for pod in pods:
        terminated = _terminated(pod)
        if terminated and terminated.get("exitCode") == 0:
            report = read_report(0, str(terminated.get("message") or ""))
            if report.summary:
                return report
    return None


def read_report(code: int, message: str) -> Report:
    """Parse a termination message; lines that were cut off are left out."""
    report = Report(code)
    for line in message.splitlines():
        word, _space, rest = line.partition(" ")
        if word == "summary":
            with contextlib.suppress(ValueError):
                report.summary = json.loads(rest)
        elif word == "error" and rest:
            report.errors.append(_error_text(rest))
        elif word in ("files", "bytes") and rest.strip().isdigit():
            setattr(report, word, int(rest))
        elif word == "changed":
            report.changed = rest.strip() == "yes"
    return report


def _error_text(line: str) -> str:
    try:
        message = json.loads(line)
    except ValueError:
        return line
    if not isinstance(message, dict):
        return line
    if message.get("message_type") == "exit_error":
        return str(message.get("message") or "")
    inner = message.get("error")
    text = str(inner.get("message", "") if isinstance(inner, dict) else inner or "")
    item = str(message.get("item") or "")
    return f"{item}: {text}" if item and item not in text else text or line


def _terminated(pod: JSON) -> JSON | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        terminated: JSON | None = (status.get("state") or {}).get("terminated")
        if terminated:
            return terminated
    return None


def _bad_start(pod: JSON) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _BAD_STARTS:
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:300].rstrip(": ")
    return ""


def _unscheduled(pod: JSON) -> str:
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") != "False":
        return ""
    return str(condition.get("message") or condition.get("reason"))[:300]


def _condition(pod: JSON, kind: str) -> JSON:
    conditions: list[JSON] = (pod.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})
