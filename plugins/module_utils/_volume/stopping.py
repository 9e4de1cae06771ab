# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Stops what writes to claims while they are read, and starts it again, whatever happens.

How it was is a record of :mod:`suspension`, and lies as a debt in the cluster before anything is stopped: who runs the
same application next starts what a killed run has left stopped.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    Incomplete,
    Interrupted,
    MusterError,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, objects, suspension, thaw
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._volume import claim as claims
from ansible_collections.muster.container_dr.plugins.module_utils._volume import workloads
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import Claim

JSON = dict[str, Any]
_REPLICAS, _SUSPEND = "/spec/replicas", "/spec/suspend"
_STATEFUL_SET, _CRON_JOB, _JOB = "statefulsets.apps", "cronjobs.batch", "jobs.batch"
_SCALED = ("deployments.apps", "replicasets.apps", "replicationcontrollers", _STATEFUL_SET)
_INTERVAL = 1.0


@dataclass
class Plan:
    """What has to be stopped: ``fighters`` by title, first those that would start the others again.

    ``users`` has the titles that a claim waits for, by its label; ``problems`` why a claim's pods cannot be stopped.
    """

    fighters: dict[str, suspension.Fighter] = field(default_factory=dict)
    users: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: dict[str, MusterError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def report(self) -> list[JSON]:
        """The entries of the result, in the order of stopping, before anything was done."""
        return [
            {
                "name": title,
                "claims": sorted(label for label, users in self.users.items() if title in users),
                "why": one.why,
                "before": one.entry["before"],
                "stopped": None,
                "started": None,
                "seconds": None,
                "changed": True,
                "failed": False,
                "msg": "",
            }
            for title, one in self.fighters.items()
        ]

    def words(self, label: str) -> str:
        """What will become of a claim."""
        users = self.users.get(label)
        return f"is read while these are stopped: {', '.join(users)}" if users else "is read as it is, no pod uses it"


def plan(cluster: Cluster, volumes: Sequence[Claim]) -> Plan:
    """Look for all that writes to the claims; nothing is changed."""
    found = Plan()
    if not volumes:
        return found
    served = discovery.read(cluster)
    chosen: dict[str, suspension.Fighter] = {}
    for namespace in dict.fromkeys(volume.namespace for volume in volumes):
        here = workloads.read(cluster, namespace)
        finder = _Finder(cluster, served, here)
        for volume in volumes:
            if volume.namespace != namespace:
                continue
            try:
                fighters = finder.stoppers(volume)
            except MusterError as error:
                found.problems[volume.label] = error
                continue
            titles = [suspension.title_of(one.entry) for one in fighters]
            chosen.update(zip(titles, fighters, strict=True))
            found.users[volume.label] = tuple(sorted(set(titles)))
    if chosen:
        starters, found.warnings = suspension.find(
            cluster, {volume.namespace for volume in volumes}, kinds=suspension.STARTERS, found=served
        )
        for one in starters:
            # An autoscaler whose minimum is above zero leaves alone what was scaled to zero.
            if one.kind != suspension.HPA or (one.obj.get("spec") or {}).get("minReplicas") == 0:
                found.fighters[suspension.title_of(one.entry)] = one
    found.fighters.update(chosen)
    return found


class _Finder:
    """Finds what to stop for the claims of one namespace."""

    def __init__(self, cluster: Cluster, served: discovery.Discovery, here: workloads.Workloads) -> None:
        self._cluster = cluster
        self._served = served
        self._here = here

    def stoppers(self, volume: Claim) -> list[suspension.Fighter]:
        """What makes the pods that use a claim, now or soon. Raises :class:`Refused` where that cannot be stopped."""
        target = f"volume {volume.label}"
        if self._here.unread:
            kind, error = next(iter(self._here.unread.items()))
            hint = "docs/rbac/stopped.yml is a role for it."
            raise Denied("stop what uses", target, f"{kind} cannot be listed ({error.reason})", hint)
        found: list[suspension.Fighter] = []
        for pod in workloads.mounting(self._here.pods, volume.name):
            chain, above = self._here.chain(pod)
            found += self._stop(target, f"pod {objects.identity('', pod)}", chain, above)
        for one in self._here.tops():
            if _wants(one, volume.name):
                _chain, above = self._here.chain(one.obj)
                found += self._stop(target, str(one), [one], above)
        return found

    def _stop(
        self, target: str, what: str, chain: list[workloads.Workload], above: JSON | None
    ) -> list[suspension.Fighter]:
        for one in chain:
            if _deletes_claims(one):
                reason = f"belongs to {one}, which deletes its claims when it is scaled down"
                raise _refused(
                    target, what, reason, "Set whenScaled of its persistentVolumeClaimRetentionPolicy to Retain"
                )
        if above is not None and above.get("kind") == "Node":
            raise _refused(target, what, "is a static pod of its node", "Stop it on the node")
        custom = self._custom(above)
        if custom:
            return self._scaled_custom(target, what, chain, custom)
        if not chain:
            raise _refused(target, what, "belongs to no workload that could be scaled", "Delete it first")
        first, top = chain[0], chain[-1]
        if first.key == _JOB:
            raise _refused(target, what, f"belongs to {first}, which would lose its work", "Wait until it has ended")
        if top.key == _CRON_JOB:
            return [_fighter(top.key, self._resource(top), top.obj, {_SUSPEND: True})]
        if top.key not in _SCALED:
            raise _refused(
                target, what, f"belongs to {top}, which cannot be scaled down", "Delete it before the backup"
            )
        return self._scaled(top)

    def _scaled(self, one: workloads.Workload) -> list[suspension.Fighter]:
        if one.obj["spec"].get("replicas", 1) == 0:
            return []
        return [_fighter(one.key, self._resource(one), one.obj, {_REPLICAS: 0}, suspension.SCALE)]

    def _resource(self, one: workloads.Workload) -> Resource:
        found = self._served.find(one.key)
        if found is None:
            raise Unavailable("stop", str(one), "the cluster does not serve its kind any more", "Run it again.")
        return found

    def _custom(self, reference: JSON | None) -> list[tuple[Resource, JSON]]:
        """The custom resources above, nearest first; none where they are gone or of no kind that is served."""
        found: list[tuple[Resource, JSON]] = []
        while reference is not None:
            resource = self._served.of_kind(str(reference.get("apiVersion")), str(reference.get("kind")))
            if resource is None:
                break
            obj = self._cluster.find(self._path(resource, str(reference.get("name"))))
            if obj is None:
                break
            found.append((resource, obj))
            reference = objects.controller(obj)
        return found

    def _path(self, resource: Resource, name: str, subresource: str | None = None) -> str:
        return resource.path(self._here.namespace if resource.namespaced else None, name, subresource)

    def _scaled_custom(
        self, target: str, what: str, chain: list[workloads.Workload], custom: list[tuple[Resource, JSON]]
    ) -> list[suspension.Fighter]:
        # The topmost decides: what is below it, its operator would make again as it was.
        resource, obj = custom[-1]
        scale = self._cluster.find(self._path(resource, str(obj["metadata"]["name"]), suspension.SCALE))
        if scale is not None:
            if not (scale.get("spec") or {}).get("replicas"):
                return []
            return [_fighter(resource.key, resource, scale, {_REPLICAS: 0}, suspension.SCALE)]
        pause = suspension.OPERATORS.get(resource.key)
        if pause and chain and chain[-1].key in _SCALED:
            return [_fighter(resource.key, resource, obj, pause), *self._scaled(chain[-1])]
        owner = objects.identity(resource.key, obj)
        raise _refused(target, what, f"belongs to {owner}, which has no scale", "Stop it in its operator's way")


def _fighter(key: str, resource: Resource, obj: JSON, during: JSON, subresource: str = "") -> suspension.Fighter:
    return suspension.Fighter(key, resource, obj, "its pods write to a claim that is read", during, subresource)


def _refused(target: str, what: str, reason: str, do: str) -> Refused:
    hint = f"{do}, or choose method snapshot or live for its storage class."
    return Refused("stop what uses", target, f"{what} uses it and {reason}", hint)


def _deletes_claims(one: workloads.Workload) -> bool:
    spec = one.obj.get("spec") or {}
    policy = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenScaled")
    return one.key == _STATEFUL_SET and policy == "Delete" and bool(spec.get("volumeClaimTemplates"))


def _wants(one: workloads.Workload, claim: str) -> bool:
    """Whether a workload may make a pod that mounts the claim while nobody looks."""
    spec = one.obj.get("spec") or {}
    if one.key == _CRON_JOB and spec.get("suspend"):
        return False
    if one.key == _JOB:
        conditions = (one.obj.get("status") or {}).get("conditions") or []
        over = any(part.get("type") in ("Complete", "Failed") and part.get("status") == "True" for part in conditions)
        return not over and not spec.get("suspend") and workloads.names(one.spec, claim)
    if one.key in _SCALED and spec.get("replicas", 1) == 0:
        return False
    templates = spec.get("volumeClaimTemplates") or [] if one.key == _STATEFUL_SET else []
    own = "|".join(re.escape(f"{part['metadata']['name']}-{one.name}-") for part in templates)
    return workloads.names(one.spec, claim) or bool(own and re.fullmatch(rf"(?:{own})\d+", claim))


class Stopped:
    """Used as a context manager around the reading: all is stopped at its beginning and started at its end.

    What a claim needs is started as soon as :meth:`release` was called for all claims that it uses. ``left`` has what
    could not be started, by title, after the end. ``moment`` is when nobody wrote to any of the claims any more.
    """

    def __init__(
        self,
        cluster: Cluster,
        volumes: Sequence[Claim],
        ledger: thaw.Ledger,
        timeout: float,
        warn: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self._cluster = cluster
        self._volumes = {volume.label: volume for volume in volumes}
        self._ledger = ledger
        self._timeout = timeout
        self._warn = warn
        self._progress = progress
        self._plan = Plan()
        self._record: suspension.Record = {"entries": []}
        self._open: set[str] = set(self._volumes)
        # Movers end in threads; what they start again is started by one after the other.
        self._busy = threading.RLock()
        self._end = threading.Event()
        self._keeper: threading.Thread | None = None
        self._began: dict[str, clock.Stopwatch] = {}
        self._reports: dict[str, JSON] = {}
        self.left: dict[str, str] = {}
        self.moment: str | None = None

    # -- stop -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Stopped:
        if not self._volumes:
            return self
        self._plan = plan(self._cluster, list(self._volumes.values()))
        for text in self._plan.warnings:
            self._warn(text)
        for error in self._plan.problems.values():
            raise error
        # Where the pods are is known only as long as they are there.
        self._volumes = {label: claims.refresh(self._cluster, one) for label, one in self._volumes.items()}
        try:
            if self._plan.fighters:
                self._stop()
            self._wait()
        except BaseException:
            self._finish()
            raise
        return self

    def _stop(self) -> None:
        self._record = suspension.record_of(self._cluster, self._plan.fighters.values(), self._ledger.run)
        self._reports = {one["name"]: {**one, "changed": False} for one in self._plan.report()}
        outcome = suspension.suspend(self._cluster, self._record, self._store)
        for title in outcome.changed:
            self._reports[title] |= {"stopped": clock.iso(clock.now()), "changed": True}
            self._began[title] = clock.Stopwatch()
        if outcome.failed:
            title, why = next(iter(outcome.failed.items()))
            raise Incomplete("stop", title, why, "What was stopped is started again; mend it and run it again.")

    def _store(self, _record: suspension.Record) -> None:
        with self._busy:
            self._ledger.keep_asleep(self._record)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="stopped", daemon=True)
            self._keeper.start()

    def _note(self, record: suspension.Record) -> None:
        """Store it where that is no condition: a record that says too much does no harm."""
        try:
            self._store(record)
        except Interrupted:
            raise
        except MusterError:
            pass

    def _keep(self) -> None:
        """Say again and again that this run goes on; the next one would start everything under our feet."""
        while not self._end.wait(thaw.RENEWED):
            # Where that fails for long, somebody starts what we read: it is looked at after the reading.
            with self._busy, contextlib.suppress(MusterError):
                self._ledger.keep_asleep(self._record)

    def _wait(self) -> None:
        end = time.monotonic() + self._timeout
        while True:
            used = self._used(self._volumes)
            if not used:
                self.moment = clock.iso(clock.now())
                return
            label, pod = next(iter(used.items()))
            if time.monotonic() >= end:
                raise Unavailable(
                    "stop what uses",
                    f"volume {label}",
                    f"pod {pod} still uses it after {self._timeout:g} seconds",
                    "What was stopped is started again. See what keeps the pod, or raise stop_timeout.",
                )
            self._progress.update("volume", label, "waiting", msg=f"pod {pod} is being stopped")
            time.sleep(_INTERVAL)

    def _used(self, labels: Iterable[str]) -> dict[str, str]:
        """Claims that pods, other than our movers, use now, and one of these pods each."""
        volumes = [self._volumes[label] for label in labels]
        pods = {
            namespace: workloads.pods(self._cluster, namespace)
            for namespace in dict.fromkeys(volume.namespace for volume in volumes)
        }
        using = ((one.label, workloads.mounting(pods[one.namespace], one.name)) for one in volumes)
        return {label: str(mounting[0]["metadata"]["name"]) for label, mounting in using if mounting}

    # -- read -----------------------------------------------------------------------------------------------------

    def volume(self, label: str) -> Claim:
        """The claim with where its pods were before they were stopped."""
        return self._volumes[label]

    def check(self, label: str) -> None:
        """Raise :class:`Conflict` where somebody may have written to a claim while it was read."""
        titles = self._plan.users.get(label, ())
        woken = suspension.awake(self._cluster, [one for one in self._asleep() if suspension.title_of(one) in titles])
        pods = self._used([label])
        if not woken and not pods:
            return
        what = f"{woken[0]} was started" if woken else f"pod {pods[label]} began to use it"
        raise Conflict(
            "read", f"volume {label}", f"{what} by somebody while it was read", "Run it again when nobody does that."
        )

    def release(self, label: str) -> None:
        """A claim was read, or cannot be: start what no other claim needs stopped."""
        with self._busy:
            self._open.discard(label)
            needed = {title for other in self._open for title in self._plan.users.get(other, ())}
            done = set(self._plan.users.get(label, ())) - needed
            self._start([one for one in self._asleep() if suspension.title_of(one) in done])

    def _asleep(self) -> list[suspension.Record]:
        return suspension.open_entries(self._record)

    def _start(self, entries: list[suspension.Record]) -> None:
        if not entries:
            return
        outcome = suspension.resume(self._cluster, {**self._record, "entries": entries}, self._note)
        for entry in entries:
            title = suspension.title_of(entry)
            report = self._reports[title]
            if title in outcome.failed:
                report |= {"failed": True, "msg": outcome.failed[title]}
                continue
            kept = outcome.kept.get(title, "")
            if kept:
                self._warn(f"{title} was stopped: {kept}.")
            watch = self._began.pop(title, None)
            seconds = watch.seconds if watch else None
            report |= {"started": clock.iso(clock.now()), "seconds": seconds, "failed": False, "msg": kept}

    # -- end ------------------------------------------------------------------------------------------------------

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._finish()

    def _finish(self) -> None:
        """Start all that is still stopped; a signal that comes now delays its own error until that is done."""
        try:
            self._start_all()
        except Interrupted:
            self._start_all()
            raise
        finally:
            self._end.set()
            if self._keeper is not None:
                self._keeper.join()
            self._settle()

    def _start_all(self) -> None:
        with self._busy:
            try:
                self._start(self._asleep())
            except Interrupted:
                raise
            except MusterError as error:
                for entry in self._asleep():
                    self._reports[suspension.title_of(entry)] |= {"failed": True, "msg": str(error)}

    def _settle(self) -> None:
        for entry in self._asleep():
            title = suspension.title_of(entry)
            self.left[title] = str(self._reports[title]["msg"])
            self._warn(f"{title} is still stopped, the next run tries to start it: {self.left[title]}")
        try:
            self._ledger.settle_asleep(self._record)
        except MusterError as error:
            self._warn(f"The record of what was stopped could not be cleared, the next run does it: {error}")

    def report(self) -> list[JSON]:
        """What was stopped, in the order of stopping."""
        return list(self._reports.values())
