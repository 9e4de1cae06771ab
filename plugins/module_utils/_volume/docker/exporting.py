# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Export: the volumes and streams of an application on a Docker host into the repository.

There are no snapshots: a cut is a check that all could be read, and reads nothing. What has to stand still does so
while the data of volumes are moved, after the streams, whose containers have to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application as plan
from ansible_collections.muster.container_dr.plugins.module_utils._plan import scheduling
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    backed_up,
    mover_run,
    naming,
    outcomes,
    settings,
    sizing,
    stream_tasks,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import stream as streaming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import mover, standstill, volumes
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.containers import Containers
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.ledger import Ledger
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.volumes import Survey, Volume

# Nothing is known of a volume's size before its first backup; as large as many are.
_SIZE = 1 << 30


def export(request: Request) -> JSON:
    """The verb of ``volume_export`` for an application on a Docker host."""
    return _Export(request).run()


class _Export:
    def __init__(self, request: Request) -> None:
        params = request.params
        self._request = request
        self._application: Mapping[str, Any] = params["application"]
        self._name = plan.name_of(self._application)
        _refuse_meaningless(params)
        self._site = str(params["site"])
        self._point = params.get("point")
        self._phase = str(params["phase"])
        self._workers = settings.workers(params)
        self._budgets = settings.budgets(params.get("budgets"))
        self._detection = settings.change_detection(params.get("change_detection"))
        self._streams = [
            streaming.Volume(one)
            for one in plan.docker_streams(f"application {self._name}", self._application.get("streams"))
        ]
        if self._phase == "move":
            cuts = [one for one in params.get("cuts") or [] if one.get("method") == streaming.METHOD]
            self._streams = [streaming.Cut.read(one).volume for one in cuts]
        self._unheard: dict[str, MusterError] = {}
        self._stop_timeout = clock.duration(params["stop_timeout"])
        self._settings = settings.settings(params.get("mover"))
        self._repository = Repository.open(params["repository"])
        self._last: dict[str, Snapshot] = {}
        self._run_id = naming.new_run()
        self._engine = Engine(params.get("docker"))
        self._ledger = Ledger(self._engine, self._name, self._run_id)
        self._containers = stream_tasks.Export(
            Containers(self._engine, self._application),
            self._repository,
            self._budgets.repository,
            request,
            self._host,
            backed_up.tags(self._name, self._point),
            hook_output.secrets_in(params),
        )

    def run(self) -> JSON:
        try:
            return self._run()
        finally:
            self._engine.close()

    def _run(self) -> JSON:
        # Before anything stands still: a repository that cannot take the data is found out here.
        self._repository.identify()
        warn = self._request.warn
        if self._request.check_mode:
            planned, owed = self._export(), self._ledger.planned(warn)
            return {**planned, "thawed": [], "restarted": owed, "changed": planned["changed"] or bool(owed)}
        with settings.interruptible(f"the export of {self._name}"):
            restarted = self._ledger.pay(warn, self._request.progress)
            paid: JSON = {"thawed": [], "restarted": restarted}
            try:
                result = self._export()
            except MusterError as error:
                changed = bool(restarted) or bool(error.result.get("changed"))
                error.result = {**paid, **error.result, "changed": changed}
                raise
            return {**result, **paid, "changed": result["changed"] or bool(restarted)}

    def _export(self) -> JSON:
        found = volumes.survey(self._engine, self._application, self._request.params.get("methods"), self._request.warn)
        if self._phase == "move":
            _take(found, self._request.params.get("cuts") or [])
        if found.volumes:
            mover.require_usable(self._engine, self._request.params.get("mover"), self._repository)
        still = standstill.plan(found, self._engine.containers())
        standstill.check_fit(still, self._engine)
        found.volumes = [replace(one, problem=one.problem or still.problems.get(one.name)) for one in found.volumes]
        if self._phase != "move":
            self._unheard = self._containers.unheard(self._streams)
        self._refuse(found, still)
        result: JSON = {"run": self._run_id, "hooks": [], "excluded": found.excluded, "cuts": []}
        if self._request.check_mode or self._phase == "cut":
            return {**result, **self._planned(found, still)}
        if found.volumes:
            mover.ensure_image(self._engine, self._settings)
            snapshots = backed_up.look_back(self._repository, self._request.warn)
            self._last = {one.host: one for one in snapshots}
        try:
            return {**result, **self._move(found.volumes, still)}
        except MusterError as error:
            error.result = {**result, **error.result}
            raise

    # -- plan -------------------------------------------------------------------------------------------------

    def _refuse(self, found: Survey, still: standstill.Plan) -> None:
        """End before anything is touched where a volume can neither be exported nor is excluded."""
        problems = [one.problem for one in found.volumes if one.problem] + list(self._unheard.values())
        if not problems:
            return
        error = problems[0]
        entries = self._all_planned(found, still, changed=False)
        error.result = {"changed": False, "volumes": entries, "excluded": found.excluded, "hooks": [], "stopped": []}
        if len(problems) > 1:
            error.result["msg_all"] = [str(problem) for problem in problems]
        raise error

    def _planned(self, found: Survey, still: standstill.Plan) -> JSON:
        """Nothing is read: in check mode what would be, with phase cut what is going to be."""
        check = self._request.check_mode
        would = "would be exported" if check else "can be read, and are when they are moved"
        entries = self._all_planned(found, still, changed=check and self._phase != "cut")
        cuts: list[JSON] = [{"kind": "docker", "name": one.name, "method": one.method} for one in found.volumes]
        return {
            "changed": any(entry["changed"] for entry in entries),
            "msg": f"{len(entries)} volumes {would}, {len(found.excluded)} are excluded.",
            "consistency": {"point": None, "skew_seconds": None, "mode": self._mode(found.volumes)},
            "volumes": entries,
            "stopped": [one.report() for one in still.writers] if check else [],
            "cuts": cuts + [streaming.Cut(self._run_id, one).document() for one in self._streams],
        }

    def _all_planned(self, found: Survey, still: standstill.Plan, *, changed: bool) -> list[JSON]:
        streams = [self._containers.planned(one, self._unheard.get(one.label)) for one in self._streams]
        return [self._entry(one, still, changed=changed) for one in found.volumes] + [
            {**entry, "changed": changed and entry["changed"]} for entry in streams
        ]

    def _entry(self, volume: Volume, still: standstill.Plan, *, changed: bool) -> JSON:
        msg = "is read while it may be in use" if volume.method == "live" else still.words(volume)
        return {
            **volume.entry(),
            **backed_up.UNKNOWN,
            "method": volume.method,
            "host": self._host(volume),
            "changed": changed and not volume.problem,
            "failed": volume.problem is not None,
            "msg": str(volume.problem or msg),
        }

    def _mode(self, found: Iterable[Volume]) -> str:
        """That of the weakest volume; a stream is of no instant of theirs."""
        used = {one.method for one in found}
        if self._streams and "live" not in used:
            return "per_volume"
        return next((method for method in volumes.METHODS if method in used), "live")

    def _host(self, volume: Volume | streaming.Volume) -> str:
        return f"docker:{self._site}/{volume.name}"

    # -- move -------------------------------------------------------------------------------------------------

    def _move(self, found: Sequence[Volume], still: standstill.Plan) -> JSON:
        began = clock.iso(clock.now())
        waits = standstill.Standstill(self._engine, still, self._ledger, self._stop_timeout, self._request.progress)
        try:
            # Their containers have to run, and may be among those that stand still then.
            streams = [streaming.Cut(self._run_id, one) for one in self._streams]
            poured = pool.each(streams, self._containers.pour, workers=self._workers)
            with self._ledger.open(one.debt() for one in still.writers), waits:
                moved = pool.chosen(found, lambda one: self._move_one(one, waits), self._next, workers=self._workers)
        except MusterError as error:
            reports = waits.report()
            failure = {"changed": False, "failed": True, "msg": str(error)}
            entries = [self._entry(one, still, changed=False) for one in found]
            entries += [self._containers.waiting(one) for one in self._streams]
            entries = [{**entry, **failure} for entry in entries]
            changed = any(one["changed"] for one in reports)
            error.result = {"changed": changed, "volumes": entries, "stopped": reports, **error.result}
            raise
        read = backed_up.read_back(
            self._repository,
            moved,
            lambda one, find: self._become(one, find, still, waits.moment),
            lambda volume: volume.name,
            self._request.progress,
        )
        entries = [outcomes.entry(one, self._entry(one.item, still, changed=False)) for one in read]
        entries += [outcomes.entry(one, self._containers.waiting(one.item.volume)) for one in poured]
        failed = sum(entry["failed"] for entry in entries)
        added = sum(entry["bytes_added"] or 0 for entry in entries)
        result: JSON = {
            "changed": any(entry["changed"] for entry in entries) or any(one["changed"] for one in waits.report()),
            "consistency": backed_up.consistency(
                (entry["consistency_point"] for entry in entries), began, self._mode(found)
            ),
            "volumes": entries,
            "stopped": waits.report(),
            "msg": f"{len(entries) - failed} of {len(entries)} volumes exported, {added} bytes added.",
        }
        if waits.left:
            title, why = next(iter(waits.left.items()))
            hint = "The next run tries again; or start it by hand."
            raise Incomplete("start again", title, why, hint, result=result)
        return outcomes.exported(self._name, [*read, *poured], result)

    def _next(self, waiting: Sequence[Volume], running: Sequence[Volume]) -> int | None:
        def load(volume: Volume) -> scheduling.Load:
            last = self._last.get(self._host(volume))
            size = _SIZE if last is None or last.bytes is None else sizing.work(last.files, last.bytes)
            # What stands still for it goes first.
            return scheduling.Load(size, urgent=volume.method != "live")

        return scheduling.next_to_start([load(one) for one in waiting], [load(one) for one in running], {})

    def _move_one(self, volume: Volume, waits: standstill.Standstill) -> backed_up.Moved[Volume]:
        watch = clock.Stopwatch()
        with outcomes.told(self._request.progress, volume.name) as advance:
            try:
                report = self._read(volume, advance)
                if volume.method != "live":
                    waits.check(volume, self._engine.containers())
            finally:
                waits.release(volume)
        outcomes.done(self._request.progress, volume.name, int(report.summary.get("total_bytes_processed", 0)))
        return backed_up.Moved(volume, report.summary, watch.seconds)

    def _become(
        self,
        moved: backed_up.Moved[Volume],
        find: Callable[[str], Snapshot],
        still: standstill.Plan,
        moment: str | None,
    ) -> JSON:
        volume = moved.volume
        found = backed_up.entry(find, volume.name, self._host(volume), moved.summary)
        if not volume.volume:
            found["type"] = self._type(volume, str(found["snapshot"]))
        if volume.method != "live":
            found["consistency_point"] = moment
        return {**self._entry(volume, still, changed=True), **found, "seconds": moved.seconds}

    def _type(self, volume: Volume, snapshot: str) -> str:
        """Whether a bind mount is a folder or a single file; :class:`Refused` for what holds no data."""
        kinds: list[str] = []
        self._repository.entries(snapshot, ["/"], lambda entry: kinds.append(str(entry.get("type"))), recursive=False)
        if kinds and kinds[0] not in ("dir", "file"):
            raise _holds_nothing(volume, kinds[0])
        return kinds[0] if kinds else "dir"

    def _read(self, volume: Volume, advance: mover_run.Advance) -> mover_run.Report:
        host = self._host(volume)
        tags = backed_up.tags(self._name, self._point)
        worker = parts.Mover(
            name=naming.object_name(self._run_id, self._site, volume.name),
            namespace="",
            claim=volume.name,
            verb="backup",
            arguments=parts.backup_arguments(host, tags, detection=self._detection(volume.driver)),
            labels=naming.labels(self._run_id, self._name, marks.MOVING),
            capabilities=parts.READ_OURS,
            read_only=True,
        )
        place = mover.Place(volume.volume, None if volume.volume else volume.places[0])
        with settings.at_repository(self._repository, self._budgets.repository, self._request.progress, volume.name):
            if volume.volume and self._engine.volume(volume.volume) is None:
                # Docker would make an empty one for the mover.
                raise NotFound("export", f"volume {volume.name}", "it was removed meanwhile", "Run it again.")
            try:
                return mover.run(
                    self._engine,
                    worker,
                    self._settings,
                    self._repository,
                    place,
                    "export",
                    f"volume {volume.name}",
                    advance,
                )
            except MusterError as error:
                # restic leaves sockets out, and there is nothing else.
                if volume.volume or "snapshot is empty" not in error.reason:
                    raise
                raise _holds_nothing(volume, "socket") from None


def _holds_nothing(volume: Volume, kind: str) -> Refused:
    reason = f"it is a {kind} of the host, which holds no data"
    return Refused("export", f"volume {volume.name}", reason, "Exclude it in volumes.exclude.")


def _refuse_meaningless(params: Mapping[str, Any]) -> None:
    """:class:`InvalidInput` for what would be passed over in silence."""
    application, budgets = params["application"], params.get("budgets") or {}
    given: dict[str, Any] = {
        "application.hooks": application.get("hooks"),
        "application.group_snapshots": application.get("group_snapshots") == "required",
        "group_snapshots": params.get("group_snapshots") == "required",
        "group_snapshot_classes": params.get("group_snapshot_classes"),
        "snapshot_classes": params.get("snapshot_classes"),
        "budgets.classes": budgets.get("classes"),
        "budgets.node": budgets.get("node"),
    }
    for name, value in given.items():
        if value:
            reason = "the application is on a Docker host, where that is not done"
            hint = "Leave it out. To have nothing written meanwhile, set methods to paused or stopped."
            raise InvalidInput("use", name, reason, hint)


def _take(found: Survey, cuts: Iterable[Mapping[str, Any]]) -> None:
    """Leave in the survey what was cut, as it was; :class:`NotFound` where something of it is gone."""
    taken = [cut for cut in cuts if cut.get("method") != streaming.METHOD]
    if any(cut.get("kind") != "docker" or cut.get("method") not in volumes.METHODS for cut in taken):
        reason = "an entry is not what phase cut returned for a Docker host"
        raise InvalidInput("use", "option cuts", reason, "Pass the cuts unchanged.")
    methods = {str(cut.get("name")): str(cut["method"]) for cut in taken}
    gone = sorted(set(methods) - {one.name for one in found.volumes})
    if gone:
        reason = "no container of the application has it any more"
        raise NotFound("read", f"volume {gone[0]}", reason, "Begin again with phase cut.")
    found.volumes = [replace(one, method=methods[one.name]) for one in found.volumes if one.name in methods]
