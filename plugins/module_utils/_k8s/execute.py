# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Execute a restore's plan: wave after wave, the objects of a wave in parallel."""

from __future__ import annotations

import threading
import time
from itertools import groupby

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict, MusterError, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import existing, kinds, objects, statuses
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiError,
    ApiNotFound,
    Cluster,
    object_path,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.order import Wave
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.plan import Plan
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Action, Step

_ESTABLISHED_WITHIN = 60.0
_GONE_WITHIN = 120.0
_WEBHOOK_WITHIN = 90.0


class _Execution:
    def __init__(self, cluster: Cluster, plan: Plan, workers: int, fail_fast: bool, progress: Progress) -> None:
        self.cluster = cluster
        self.plan = plan
        self.workers = workers
        self.fail_fast = fail_fast
        self.progress = progress
        self.lock = threading.Lock()
        # Old uid of a captured object to its new one at the target.
        self.uids: dict[str, str] = {}

    def run(self) -> None:
        for step in self.plan.steps:
            if step.live is not None and step.action is not Action.RECREATE:
                self._born(step, step.live)
        for wave, members in groupby(self.plan.steps, key=lambda step: step.wave):
            steps = [step for step in members if step.action in WRITES]
            if steps and not self._wave(wave, steps):
                return

    def _wave(self, wave: Wave, steps: list[Step]) -> bool:
        total, done = len(steps), 0
        self.progress.update("wave", wave.title, "running", done=0, total=total, unit="objects")
        for _depth, members in groupby(steps, key=lambda step: step.depth):
            batch = list(members)
            for outcome in pool.each(batch, self._write, workers=self.workers, fail_fast=self.fail_fast):
                if outcome.error is not None:
                    self._failed(outcome.item, outcome.error)
            done += len(batch)
            self.progress.update("wave", wave.title, "running", done=done, total=total, unit="objects")
        if wave is Wave.DEFINITIONS:
            for outcome in pool.each([step for step in steps if not step.failed], self._served, workers=self.workers):
                if outcome.error is not None:
                    self._failed(outcome.item, outcome.error)
        failed = sum(step.failed for step in steps)
        self.progress.update(
            "wave", wave.title, "failed" if failed else "done", done=total - failed, total=total, unit="objects"
        )
        return not (failed and self.fail_fast)

    def _failed(self, step: Step, error: Exception) -> None:
        if not isinstance(error, MusterError):
            raise error
        if isinstance(error, Unavailable) and not isinstance(error, ApiError) and step.wave is not Wave.DEFINITIONS:
            # A server that is gone will not take the others either; the same command goes on from here.
            raise error
        step.failed, step.msg = True, str(error)

    # -- one object -------------------------------------------------------------------------------------------

    def _write(self, step: Step) -> None:
        if step.wave is Wave.WEBHOOKS:
            self._answered(step)
        if step.action is Action.UPDATE:
            self._update(step)
        elif step.action is Action.RECREATE:
            self._recreate(step)
        else:
            self._create(step)

    def _create(self, step: Step) -> None:
        body = self._linked(step)
        try:
            if step.author.applies:
                answer = self.cluster.apply(step.path, body, manager=step.author.manager)
            else:
                answer = self.cluster.create(step.collection, body, manager=step.author.manager)
        except ApiError as error:
            if error.cause != "AlreadyExists":
                raise
            self._appeared(step)
            return
        self._wrote(step, answer, "created")

    def _appeared(self, step: Step) -> None:
        """Somebody was faster: the service account controller with `default`, or a lost answer of our own."""
        live = self.cluster.get(step.path)
        step.live = live
        if existing.same_content(step.key, step.obj or {}, live, keep_node_ports=True):
            self._born(step, live)
            step.msg = "it was there already, equal"
        elif step.key == "serviceaccounts" and step.identity.name == "default":
            self._update(step)
        elif step.key == "services" and existing.same_content(step.key, step.obj or {}, live, keep_node_ports=False):
            self._born(step, live)
            step.msg = "it was there already, equal"
        else:
            raise Conflict(
                "create",
                str(step.identity),
                "somebody else made one of that name meanwhile, and it differs",
                "Run the same again; it is then planned as an existing object.",
            )

    def _update(self, step: Step) -> None:
        if step.key == kinds.NAMESPACES:
            body = step.body
            wanted = {"labels": objects.labels_of(body), "annotations": objects.annotations_of(body)}
            answer = self.cluster.patch(step.path, {"metadata": wanted})
        else:
            body = existing.replacement(step)
            links = self._links(step)
            if links:
                body["metadata"]["ownerReferences"] = links
            answer = self.cluster.replace(step.path, body, manager=step.author.manager)
        self._wrote(step, answer, "updated")

    def _recreate(self, step: Step) -> None:
        uid = str((step.live or {})["metadata"]["uid"])
        self.cluster.delete(step.path, uid=uid)
        self.cluster.wait(
            step.path,
            lambda current: current is None or current["metadata"]["uid"] != uid,
            timeout=_GONE_WITHIN,
            what=f"the end of {step.identity}",
            interval=0.5,
        )
        step.live = None
        self._create(step)
        step.msg = "recreated"

    def _wrote(self, step: Step, answer: JSON, done: str) -> None:
        answer = statuses.put_back(self.cluster, step.path, step.obj or {}, answer, manager=step.author.manager)
        before = (step.live or {}).get("metadata", {}).get("resourceVersion")
        step.changed = answer["metadata"].get("resourceVersion") != before
        step.msg = done if step.changed else "nothing to change"
        self._born(step, answer)

    def _born(self, step: Step, live: JSON) -> None:
        with self.lock:
            if step.source_uid:
                self.uids[step.source_uid] = str(live["metadata"]["uid"])

    def _linked(self, step: Step) -> JSON:
        body = step.body
        links = self._links(step)
        if links:
            body["metadata"]["ownerReferences"] = links
        return body

    def _links(self, step: Step) -> list[JSON]:
        """The owners by their new uids; those that were not restored are dropped, or the object would be collected."""
        links = []
        for owner in step.owners:
            with self.lock:
                uid = self.uids.get(str(owner.get("uid")))
            if uid is None:
                note = f"owner {owner.get('kind')} {owner.get('name')} is not restored"
                if note not in step.transforms:
                    step.transforms.append(note)
            else:
                links.append({**owner, "uid": uid})
        return links

    # -- waiting ----------------------------------------------------------------------------------------------

    def _served(self, step: Step) -> None:
        """Wait until a definition is established and its resource really answers."""

        def established(current: JSON | None) -> bool:
            conditions = ((current or {}).get("status") or {}).get("conditions") or []
            return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)

        self.cluster.wait(
            step.path, established, timeout=_ESTABLISHED_WITHIN, what=f"{step.identity} to be established", interval=0.2
        )
        spec = (step.obj or {})["spec"]
        for version in spec["versions"]:
            if not version.get("served"):
                continue
            path = object_path(f"{spec['group']}/{version['name']}", spec["names"]["plural"])
            end = time.monotonic() + _ESTABLISHED_WITHIN
            while True:
                try:
                    self.cluster.get(path, {"limit": 1})
                    break
                except ApiNotFound:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.2)

    def _answered(self, step: Step) -> None:
        """A webhook or API service whose backend does not answer would stop the cluster: wait for an endpoint."""
        obj = step.obj or {}
        services = {
            (str(service["namespace"]), str(service["name"]))
            for webhook in obj.get("webhooks") or []
            if (service := objects.lookup(webhook, ("clientConfig", "service")))
        }
        backend = objects.lookup(obj, ("spec", "service"))
        if backend:
            services.add((str(backend["namespace"]), str(backend["name"])))
        restored = set(self.plan.namespaces.values())
        end = time.monotonic() + _WEBHOOK_WITHIN
        for namespace, name in sorted(services):
            while namespace in restored and not self._endpoint(namespace, name):
                if time.monotonic() > end:
                    raise Unavailable(
                        "create",
                        str(step.identity),
                        f"service {namespace}/{name} behind it has no ready endpoint",
                        "Mend the service and run the same again.",
                    )
                time.sleep(1.0)

    def _endpoint(self, namespace: str, name: str) -> bool:
        path = object_path("discovery.k8s.io/v1", "endpointslices", namespace)
        for piece in self.cluster.list(path, {"labelSelector": f"kubernetes.io/service-name={name}"}):
            for endpoint in piece.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready", True):
                    return True
        return False


def execute(cluster: Cluster, plan: Plan, *, workers: int, fail_fast: bool, progress: Progress) -> None:
    """Do what the plan says; every step knows afterwards what became of it.

    Raises :class:`Unavailable` when the API server goes away; what was done until then stays and is recognised by
    the next run of the same point.
    """
    _Execution(cluster, plan, workers, fail_fast, progress).run()
