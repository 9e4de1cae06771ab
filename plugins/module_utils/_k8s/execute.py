# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Execute a restore's plan: wave after wave, the objects of a wave in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import groupby

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Incomplete,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    admission,
    aftermath,
    existing,
    foresight,
    kinds,
    objects,
    ownership,
    statuses,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    JSON_PATCH,
    ApiError,
    ApiNotFound,
    Cluster,
    object_path,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.lock import Lock, LockLost
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.order import Wave
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.plan import Plan
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import NOT_REACHED, WRITES, Action, Step

_ESTABLISHED_WITHIN = 60.0
_GONE_WITHIN = 120.0
_WEBHOOK_WITHIN = 90.0
_API_WITHIN = 90.0
_ATTEMPTS = 6
# Pauses, in seconds, between attempts to create what has just been deleted.
_AGAIN = (0.2, 1.0, 3.0)
# The server will not have the object, now or later.
_REFUSALS = frozenset({400, 403, 405, 413, 422})
# As soon as they exist the server calls the service behind them.
_NEED_BACKENDS = ("webhookconfigurations.admissionregistration.k8s.io", kinds.API_SERVICES)


class _Execution:
    def __init__(
        self, cluster: Cluster, plan: Plan, lock: Lock, workers: int, fail_fast: bool, progress: Progress
    ) -> None:
        self.cluster = cluster
        self.plan = plan
        self.held = lock
        self.workers = workers
        self.fail_fast = fail_fast
        self.progress = progress
        self.lock = threading.Lock()
        # Old uid of a captured object to its new one at the target.
        self.uids: dict[str, str] = {}
        # Registrations of APIs that were waited for, and why one did not come.
        self.apis: dict[str, str] = {}
        # Those of them that anything belongs to.
        self.owners = frozenset(str(owner.get("uid")) for step in plan.steps for owner in step.owners)
        self.reached: set[objects.Identity] = set()
        # What was to be recreated and is gone.
        self.deleted: set[objects.Identity] = set()

    def run(self) -> bool:
        """Whether all was tried; with ``fail_fast`` the first failure ends it."""
        for step in self.plan.steps:
            if step.live is not None and step.action is not Action.RECREATE:
                self._born(step, step.live)
        for wave, members in groupby(self.plan.steps, key=lambda step: step.wave):
            steps = [step for step in members if step.action in WRITES]
            if steps and not self._wave(wave, steps):
                self._leave_rest()
                return False
        return True

    def _wave(self, wave: Wave, steps: list[Step]) -> bool:
        # A namespace that is made by this restore can hold the lock only after its wave.
        self.held.take()
        total, done = len(steps), 0
        self.progress.update("wave", wave.title, "running", done=0, total=total, unit="objects")
        for _depth, members in groupby(steps, key=lambda step: step.depth):
            for outcome in pool.each(
                self._reachable(list(members)), self._write, workers=self.workers, fail_fast=self.fail_fast
            ):
                if outcome.started:
                    self.reached.add(outcome.item.identity)
                    done += 1
                if outcome.error is not None:
                    self._failed(outcome.item, outcome.error)
            self.progress.update("wave", wave.title, "running", done=done, total=total, unit="objects")
            if self._stopped(steps):
                break
        if wave is Wave.DEFINITIONS and not self._stopped(steps):
            made = [step for step in steps if step.action in WRITES and not step.failed]
            for outcome in pool.each(made, self._served, workers=self.workers):
                if outcome.error is not None:
                    self._failed(outcome.item, outcome.error)
        lost = {step.identity for step in steps if step.failed or step.action is Action.BLOCKED}
        if lost and wave in (Wave.DEFINITIONS, Wave.NAMESPACES):
            foresight.consequences(self.plan.steps)
        done = len((self.reached & {step.identity for step in steps}) - lost)
        self.progress.update("wave", wave.title, "failed" if lost else "done", done=done, total=total, unit="objects")
        return not self._stopped(steps)

    def _stopped(self, steps: list[Step]) -> bool:
        """Whether one of the steps, all of which were to be written, ends the restore."""
        return self.fail_fast and any(step.failed or step.action is Action.BLOCKED for step in steps)

    def _leave_rest(self) -> None:
        for step in self.plan.steps:
            if step.action in WRITES and step.identity not in self.reached:
                step.decide(Action.BLOCKED, NOT_REACHED)

    def _reachable(self, batch: list[Step]) -> list[Step]:
        """Wait for the APIs that the steps need; without them they are blocked, and the others go on."""
        wanted = {step.awaits: step for step in batch if step.awaits and step.awaits not in self.apis}
        for outcome in pool.each(wanted.values(), self._api, workers=self.workers):
            if outcome.error is not None:
                raise outcome.error
            self.apis[outcome.item.awaits] = outcome.value or ""
        for step in batch:
            why = self.apis.get(step.awaits)
            if why:
                step.decide(Action.BLOCKED, why, "seen")
        return [step for step in batch if step.action in WRITES]

    def _failed(self, step: Step, error: Exception) -> None:
        if not isinstance(error, MusterError) or isinstance(error, LockLost):
            raise error
        if isinstance(error, Unavailable) and not isinstance(error, ApiError) and step.wave is not Wave.DEFINITIONS:
            # A server that is gone will not take the others either; the same command goes on from here.
            raise error
        if isinstance(error, ApiError) and error.status in _REFUSALS and not step.changed:
            # The same words and the same action as check mode gives it, which asked the server beforehand.
            step.decide(Action.BLOCKED, error.reason, "dry_run")
            step.msg = str(error)
            return
        step.failed, step.msg = True, str(error)

    # -- one object -------------------------------------------------------------------------------------------

    def _write(self, step: Step) -> None:
        for attempt in range(_ATTEMPTS):
            self.held.check()
            try:
                self._once(step)
            except (ApiError, Unavailable) as error:
                if not _lost(error) or attempt + 1 == _ATTEMPTS:
                    raise
                # The answer is lost, and perhaps the write happened. A server that only restarts answers within the
                # client's patience, and every way of writing here recognises its own work.
                self.cluster.version()
                continue
            if attempt and step.action is Action.CREATE:
                step.changed, step.msg = True, "created"
            return

    def _once(self, step: Step) -> None:
        if step.key.endswith(_NEED_BACKENDS):
            self._answered(step)
        if step.only_links:
            self._relink(step)
        elif step.only_owners:
            self._give_back(step, self.cluster.get(step.path))
            step.changed, step.msg = True, "fields given back to their owners"
        elif step.only_status:
            self._status(step, self.cluster.get(step.path))
            step.msg = "status given back" if step.changed else "nothing to change"
        elif step.action is Action.UPDATE:
            self._update(step)
        elif step.action is Action.RECREATE:
            self._recreate(step)
        else:
            self._create(step)

    def _create(self, step: Step) -> None:
        answer = self._made(step)
        if answer is not None:
            self._complete(step, answer)

    def _made(self, step: Step) -> JSON | None:
        """The new object as the server has it; ``None`` where nothing more is to be done."""
        author = step.author
        try:
            if author.applies:
                return self._applied(step, self._linked(step))
            if author.whole and not (step.owners or step.has_status or step.source_uid in self.owners):
                self._passed_on(step)
                return None
            return self.cluster.create(step.collection, self._linked(step), manager=author.manager)
        except ApiError as error:
            if error.cause != "AlreadyExists":
                raise
        self._appeared(step)
        return None

    def _complete(self, step: Step, answer: JSON) -> None:
        """What comes after the creation."""
        step.changed, step.msg = True, "created"
        self._born(step, answer)
        if step.author.applies:
            answer = self._filled_in(step, answer)
        answer = self._with_status(step, answer)
        if not step.author.whole and not step.ours:
            self._give_back(step, answer)

    def _passed_on(self, step: Step) -> None:
        """Create without parsing body or answer: for the many objects that nothing has to be known of."""
        query = {"fieldManager": step.author.manager}
        self.cluster.request("POST", step.collection, query=query, body=step.text, raw=True)
        step.changed, step.msg = True, "created"

    def _applied(self, step: Step, body: JSON) -> JSON:
        """Create by applying just what the owner had applied; what the server adds by itself was nobody's before."""
        mine = objects.link(ownership.part(body, step.author.fields), objects.owners(body))
        return self.cluster.apply(step.path, mine, manager=step.author.manager)

    def _filled_in(self, step: Step, answer: JSON) -> JSON:
        """An applied object with what its owner had not applied."""
        if not existing.same_content(step.key, step.body, answer, keep_node_ports=True):
            # Something had no owner and is no default: write it as well, under our name, and give all back.
            step.live = answer
            existing.write_current(self.cluster, step)
            answer = self.cluster.get(step.path)
        self._give_back(step, answer)
        return answer

    def _appeared(self, step: Step) -> None:
        """Somebody was faster: the service account controller with `default`, or a lost answer of our own."""
        live = self.cluster.get(step.path)
        step.live = live
        if existing.same_content(step.key, step.body, live, keep_node_ports=True):
            self._born(step, live)
            step.msg = "it was there already, equal"
            if ownership.ours(live) and not step.ours:
                self._give_back(step, live)
        elif step.key == "serviceaccounts" and step.identity.name == "default":
            self._update(step)
        elif step.key == "services" and existing.same_content(step.key, step.body, live, keep_node_ports=False):
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
        if step.unserved:
            # Now it is served in its version.
            step.live = self.cluster.get(step.path)
        before = (step.live or {})["metadata"].get("resourceVersion")
        if step.key == kinds.NAMESPACES:
            answer = self.cluster.patch(step.path, {"metadata": existing.namespace_patch(step, self.plan.wishes)})
        else:
            existing.write_current(self.cluster, step, links=self._links(step))
            answer = self.cluster.get(step.path)
            if step.merges:
                answer = self._linked_to(step, answer)
        answer = self._with_status(step, answer)
        step.changed = answer["metadata"].get("resourceVersion") != before
        step.msg = "updated" if step.changed else "nothing to change"
        self._born(step, answer)
        if not step.ours:
            self._give_back(step, answer)

    def _with_status(self, step: Step, answer: JSON) -> JSON:
        if not step.has_status:
            return answer
        return statuses.put_back(self.cluster, step.path, step.body, answer, manager=step.author.manager)

    def _status(self, step: Step, live: JSON) -> None:
        status, manager = step.body["status"], step.author.manager
        answer = statuses.write(self.cluster, step.path, status, manager=manager)
        step.changed |= answer["metadata"].get("resourceVersion") != live["metadata"].get("resourceVersion")
        self._born(step, answer)
        if not step.ours:
            self._give_back(step, answer)

    def _recreate(self, step: Step) -> None:
        if step.identity in self.deleted:
            # By an attempt whose answer was lost after that.
            self._create_again(step)
            return
        uid = str((step.live or {})["metadata"]["uid"])
        current = self.cluster.find(step.path)
        if current is not None and current["metadata"]["uid"] == uid:
            # Once more: the plan may be old, and what is deleted here is not there any more.
            existing.ask_to_create(self.cluster, step, self._links(step))
            self.cluster.delete(step.path, uid=uid, propagation="Orphan" if step.orphans else "Background")
        # From here on something has happened, be it by an attempt whose answer was lost.
        step.changed, step.msg = True, "deleted"
        self._wait(
            step.path,
            lambda current: current is None or current["metadata"]["uid"] != uid,
            timeout=_GONE_WITHIN,
            what=f"the end of {step.identity}",
            interval=0.5,
        )
        self.deleted.add(step.identity)
        step.live = None
        self._create_again(step)

    def _create_again(self, step: Step) -> None:
        """Create what was deleted for that; a quota or a port may take a moment to get free."""
        for pause in (*_AGAIN, None):
            try:
                answer = self._made(step)
                break
            except ApiError as error:
                if pause is None:
                    raise Incomplete(
                        "recreate",
                        str(step.identity),
                        f"deleted, and could not be created again: {error.reason}",
                        "Mend that and run the same again, which creates it from the point.",
                    ) from None
                time.sleep(pause)
        if answer is not None:
            self._complete(step, answer)
        step.msg = "recreated"

    def _relink(self, step: Step) -> None:
        live = self.cluster.get(step.path)
        answer = self._linked_to(step, live)
        linked = answer["metadata"].get("resourceVersion") != live["metadata"].get("resourceVersion")
        step.changed = linked or step.only_owners
        step.msg = "linked to its owner" if linked else "there is no owner to link it to"
        if step.only_status:
            self._status(step, answer)
            return
        self._born(step, answer)
        self._give_back(step, answer)

    def _linked_to(self, step: Step, live: JSON) -> JSON:
        """Link an object that is there to its owners, as far as they are, and return how it is then."""
        links = self._links(step)
        known = {link["uid"] for link in links}
        names = {(link.get("kind"), link.get("name")) for link in links}
        for attempt in range(_ATTEMPTS):
            held = objects.owners(live)
            if known <= {link["uid"] for link in held}:
                return live
            # Links of the same name to an older uid point to nothing any more.
            others = [
                link for link in held if link["uid"] not in known and (link.get("kind"), link.get("name")) not in names
            ]
            metadata = {"ownerReferences": [*others, *links], "resourceVersion": live["metadata"]["resourceVersion"]}
            try:
                return self.cluster.patch(step.path, {"metadata": metadata})
            except ApiError as error:
                if error.status != 409 or attempt + 1 == _ATTEMPTS:
                    raise
                live = self.cluster.get(step.path)
        return live

    def _give_back(self, step: Step, live: JSON) -> None:
        """Let the fields be owned by those who owned them when the object was captured."""
        captured = step.managed_fields
        for attempt in range(_ATTEMPTS):
            entries = ownership.given_back(captured, live, keep_ours=step.key == kinds.NAMESPACES)
            if entries is None:
                return
            try:
                self.cluster.patch(step.path, ownership.change(entries, live), content_type=JSON_PATCH)
                return
            except ApiError as error:
                # A controller has written its status meanwhile; the test of the version keeps its entry safe.
                if error.status not in (409, 422) or attempt + 1 == _ATTEMPTS:
                    raise
                live = self.cluster.get(step.path)

    def _wait(
        self, path: str, ready: Callable[[JSON | None], bool], *, timeout: float, what: str, interval: float
    ) -> None:
        """Wait for one object; its absence is not the absence of the server, so the others go on."""
        try:
            self.cluster.wait(path, ready, timeout=timeout, what=what, interval=interval)
        except Unavailable as error:
            if str(error.action) != "wait for":
                raise
            raise Incomplete(error.action, error.target, error.reason, error.hint) from None

    def _born(self, step: Step, live: JSON) -> None:
        with self.lock:
            if step.source_uid:
                self.uids[step.source_uid] = str(live["metadata"]["uid"])

    def _linked(self, step: Step) -> JSON:
        return objects.link(step.body, self._links(step))

    def _links(self, step: Step) -> list[JSON]:
        """The owners by their new uids."""
        links = []
        for owner in step.owners:
            with self.lock:
                uid = self.uids.get(str(owner.get("uid")))
            # One that is not restored is dropped, as the plan says, or the object would be collected as garbage.
            if uid is not None:
                links.append({**owner, "uid": uid})
        return links

    # -- waiting ----------------------------------------------------------------------------------------------

    def _served(self, step: Step) -> None:
        """Wait until a definition is established and its resource really answers."""

        def established(current: JSON | None) -> bool:
            conditions = ((current or {}).get("status") or {}).get("conditions") or []
            return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)

        self._wait(
            step.path, established, timeout=_ESTABLISHED_WITHIN, what=f"{step.identity} to be established", interval=0.2
        )
        spec = step.body["spec"]
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

    def _api(self, step: Step) -> str:
        """Wait until the API that serves the step's object answers; why it does not, or nothing."""
        registration = objects.Identity("", kinds.API_SERVICES, step.awaits)
        made = next((one for one in self.plan.steps if one.identity == registration), None)
        if made is None or ((made.failed or made.action is Action.BLOCKED) and made.live is None):
            return foresight.unmade(str(registration))
        said = ""

        def available(current: JSON | None) -> bool:
            nonlocal said
            for one in objects.lookup(current or {}, ("status", "conditions")) or []:
                if one.get("type") == "Available":
                    ready = bool(one.get("status") == "True")
                    said = "" if ready else str(one.get("message") or one.get("reason") or "")
                    return ready
            return False

        what = f"{registration} to become available"
        version = f"{step.awaits.partition('.')[2]}/{step.awaits.partition('.')[0]}"
        try:
            self._wait(made.path, available, timeout=_API_WITHIN, what=what, interval=0.5)
            self.cluster.get(f"/apis/{version}", action="discover")
        except (ApiError, Incomplete) as error:
            return f"its API {version}, which this restore brings, does not become available: {said or error.reason}"
        return ""

    def _answered(self, step: Step) -> None:
        """A webhook or API service whose backend does not answer would stop the cluster: wait for an endpoint."""
        obj = step.body
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
            while namespace in restored and not admission.ready(self.cluster, namespace, name):
                if time.monotonic() > end:
                    raise Incomplete(
                        "create",
                        str(step.identity),
                        f"service {namespace}/{name} behind it has no ready endpoint",
                        "Mend the service and run the same again.",
                    )
                time.sleep(1.0)


def execute(
    cluster: Cluster,
    plan: Plan,
    *,
    workers: int,
    fail_fast: bool,
    progress: Progress,
    warn: Callable[[str], None],
) -> bool:
    """Do what the plan says; every step knows afterwards what became of it.

    Returns whether all was tried. With ``fail_fast`` no object is begun any more once one has failed or was refused.

    Raises :class:`Refused` where another restore into the same namespaces is going on, and :class:`Unavailable` when
    the API server goes away; what was done until then stays and is recognised by the next run of the same point.
    """
    place = min(plan.namespaces.values(), default="")
    with Lock(cluster, place, warn=warn) as held:
        ended = _Execution(cluster, plan, held, workers, fail_fast, progress).run()
        aftermath.note_vanished(cluster, plan.steps, workers=workers)
    return ended


def _lost(error: ApiError | Unavailable) -> bool:
    """Whether nobody knows if the write happened: no answer, or that of a server that stopped waiting for itself."""
    return not isinstance(error, ApiError) or error.status == 504 or error.cause in ("Timeout", "ServerTimeout")
