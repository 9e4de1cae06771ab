# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Export: cut all volumes of an application, then move them into the repository."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    backup_hooks,
    hook_output,
    scope,
    selection,
    thaw,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT as CLUSTERS
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, scheduling
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    alive,
    backed_up,
    leftovers,
    mover_run,
    namespace,
    naming,
    outcomes,
    settings,
    sizing,
    snapshot,
    stopping,
    stream_tasks,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    claim as claims,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import group as grouping
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import stream as streaming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import exporting as hosted
from ansible_collections.muster.container_dr.plugins.module_utils._volume.pods import Pods
from ansible_collections.muster.container_dr.plugins.module_utils._volume.snapshot import Cut

JSON = dict[str, Any]
Piece: TypeAlias = "Cut | streaming.Cut"
# Lists that a result has, however the task ends.
_ALWAYS = ("volumes", "hooks", "thawed", "restarted", "stopped", "excluded", "cuts")


def export(request: Request) -> JSON:
    """The verb of the module ``volume_export``."""
    on_docker = application.on_docker(request.params["application"])
    try:
        if on_docker:
            return hosted.export(request)
        CLUSTERS.check("the application's cluster")
        return _Export(request).run()
    except MusterError as error:
        error.result = {**outcomes.nothing(*_ALWAYS, *([] if on_docker else ["cleaned"])), **error.result}
        raise


class _Export:
    def __init__(self, request: Request) -> None:
        params = request.params
        self._request = request
        self._application = dict(params["application"])
        self._name = str(self._application.get("name") or "")
        if not self._name or not (self._application.get("namespaces") or self._application.get("whole_cluster")):
            raise InvalidInput(
                "use", "the application", "it has no name or no namespaces", "Set application.name and .namespaces."
            )
        chosen = selection.Selection.of(self._application)
        self._site = str(params["site"])
        self._point = params.get("point")
        self._phase = str(params["phase"])
        self._workers = settings.workers(params)
        self._budgets = settings.budgets(params.get("budgets"))
        self._detection = settings.change_detection(params.get("change_detection"))
        self._clones = snapshot.clones(params.get("clones"))
        self._last: dict[str, Snapshot] = {}
        self._blobs = 0
        self._unheard: dict[str, MusterError] = {}
        self._cut_timeout = clock.duration(params["cut_timeout"])
        self._ready_timeout = clock.duration(params["ready_timeout"])
        self._stop_timeout = clock.duration(params["stop_timeout"])
        self._annotations = bool(params["hook_annotations"])
        self._secrets = hook_output.secrets_in(params)
        self._settings = settings.in_cluster(params.get("mover"))
        self._cluster = Cluster.connect(params)
        self._repository = Repository.open(params["repository"])
        where, patterns = f"application {self._name}", self._application.get("namespaces") or ()
        self._streams = [
            streaming.Volume(one) for one in application.streams(where, self._application.get("streams"), patterns)
        ]
        self._pods = stream_tasks.Export(
            Pods(self._cluster),
            self._repository,
            self._budgets.repository,
            request,
            self._host,
            backed_up.tags(self._name, self._point),
            self._secrets,
        )
        # What was cut says itself where it is.
        self._namespaces = [] if self._phase == "move" else list(scope.of(self._cluster, chosen).namespaces)
        self._application["namespaces"] = self._namespaces
        if not self._namespaces and self._phase != "move" and not chosen.allow_no_match:
            reason = "each that it names is excluded by a mark, or is being deleted"
            raise NotFound("find", f"a namespace of application {self._name}", reason, "Mend the application.")

    def run(self) -> JSON:
        if self._phase == "move":
            self._repository.identify()
            given = self._request.params.get("cuts") or []
            streams = [one for one in given if one.get("method") == streaming.METHOD]
            return self._run_move(
                [Cut.read(one) for one in given if one not in streams], [streaming.Cut.read(one) for one in streams]
            )
        run = naming.new_run()
        ledger = self._ledger(run, self._namespaces or [self._settings.namespace])
        if self._request.check_mode:
            cleaned = self._sweep(run)
            result = self._export(ledger, run)
            changed = result["changed"] or leftovers.changed(cleaned)
            return {**result, **self._owed(ledger), "cleaned": cleaned, "changed": changed}
        with settings.interruptible(f"the export of {self._name}"):
            # Before anything that could stand in the way: an application that a killed run has frozen waits for it.
            thawed = ledger.pay(self._secrets, self._request.warn, self._request.progress)
            cleaned = self._sweep(run)
            paid = {"thawed": thawed, "restarted": ledger.woken, "cleaned": cleaned}
            changed = bool(thawed or ledger.woken) or leftovers.changed(cleaned)
            try:
                result = self._export(ledger, run)
            except MusterError as error:
                changed = changed or bool(error.result.get("changed"))
                error.result = {**paid, **error.result, "changed": changed}
                raise
            return {**result, **paid, "changed": result["changed"] or changed}

    def _sweep(self, run: str) -> list[JSON]:
        """Remove what dead runs left, of whatever application."""
        return leftovers.sweep(
            self._cluster,
            self._name,
            run,
            [*self._namespaces, self._settings.namespace],
            self._request.warn,
            plan=self._request.check_mode,
        )

    def _ledger(self, run: str, namespaces: Sequence[str]) -> thaw.Ledger:
        labels = naming.labels(run, self._name, marks.THAW)
        return thaw.Ledger(self._cluster, namespaces, labels, naming.object_name(run, namespaces[0], marks.THAW))

    def _owed(self, ledger: thaw.Ledger) -> JSON:
        """What would be done for earlier runs."""
        warn = self._request.warn
        return {"thawed": ledger.planned(warn), "restarted": ledger.planned_to_wake(warn)}

    def _export(self, ledger: thaw.Ledger, run: str) -> JSON:
        # Before anything is frozen: a repository that cannot take the data is found out here.
        self._repository.identify()
        survey = claims.survey(
            self._cluster,
            self._namespaces,
            settings.excluded(self._application),
            self._request.params.get("snapshot_classes"),
            self._request.params.get("methods"),
        )
        hooks = backup_hooks.Hooks(
            self._cluster,
            self._application,
            annotations=self._annotations,
            ledger=ledger,
            seconds=self._cut_timeout,
            secrets=self._secrets,
            warn=self._request.warn,
        )
        if survey.sources:
            parts.require_reachable(self._repository)
        stop = self._look(survey)
        self._refuse(survey, stop)
        self._arrange(survey, stop)
        if self._request.check_mode:
            return self._plan(survey, hooks, stop)
        streams = [streaming.Cut(run, volume) for volume in self._streams]
        try:
            with pool.beside(1) as beside:
                if survey.sources and self._phase != "cut":
                    beside(self._look_back)
                cuts, cut_at = self._cut(survey, hooks, run)
        except MusterError as error:
            uncut: list[Piece] = [*(Cut(run, source.claim, source.method) for source in survey.sources), *streams]
            failure = {"changed": False, "failed": True, "msg": str(error)}
            error.result = {"volumes": [{**self._waiting(one), **failure} for one in uncut], **error.result}
            raise
        both: list[Piece] = [*cuts, *streams]
        result: JSON = {"run": run, "hooks": hooks.done, "excluded": survey.excluded}
        result["cuts"] = [cut.document() for cut in both]
        if self._phase == "cut":
            count = sum(1 for cut in cuts if cut.method == "snapshot")
            return {
                **result,
                "changed": bool(count or hooks.done),
                "msg": f"{count} of {len(cuts)} volumes are cut; {len(cuts) - count} will be read in place."
                + (f" {len(streams)} streams will be read." if streams else ""),
                "consistency": _consistency(both, cut_at),
                "volumes": [self._waiting(cut) for cut in both],
                "stopped": [],
            }
        try:
            moved = self._move(cuts, streams, cut_at, ledger)
        except MusterError as error:
            error.result = {**result, **error.result}
            raise
        return {**result, **moved}

    # -- plan -------------------------------------------------------------------------------------------------

    def _look(self, survey: claims.Survey) -> stopping.Plan:
        """What has to be stopped. Says what no backup holds, and makes a problem of what cannot be stopped."""
        if survey.unread:
            what = "; ".join(survey.unread)
            self._request.warn(f"Volumes that only these name are not known, they cannot be listed: {what}.")
        if survey.holes:
            what = ", ".join(survey.holes)
            self._request.warn(
                f"The data of these volumes are in no backup, because no claim stands for them: {what}."
                " Move them to claims, or name them in volumes.exclude with the reason why that is fine."
            )
        wanted = [source.claim for source in survey.sources if source.method == "stopped" and not source.problem]
        stop = stopping.plan(self._cluster, wanted)
        for text in stop.warnings:
            self._request.warn(text)
        survey.sources = [
            replace(
                source,
                problem=source.problem
                or stop.problems.get(source.claim.label)
                or self._unclonable(source)
                or self._unreachable(source),
            )
            for source in survey.sources
        ]
        return stop

    def _unreachable(self, source: claims.Source) -> MusterError | None:
        """Why a mover in the claim's own namespace would not get at the repository."""
        problem = parts.without_ssh(self._repository, source.claim.namespace) if source.method != "snapshot" else None
        return problem if problem and namespace.level(self._cluster, source.claim.namespace) == "restricted" else None

    def _unclonable(self, source: claims.Source) -> MusterError | None:
        """Why nothing would ever make a volume of a snapshot: that of a claim which was bound by hand to a volume."""
        claim = source.claim
        if source.method != "snapshot" or claim.storage_class != "" or self._clones(claim.driver).storage_class:
            return None
        return InvalidInput(
            "snapshot",
            f"volume {claim.label}",
            "it has no storage class that could make a volume of its snapshot",
            f"Name one for the driver in clones ({claim.driver}: {{storage_class: ...}}), or set the method of storage "
            "class '' to stopped or live.",
        )

    def _refuse(self, survey: claims.Survey, stop: stopping.Plan) -> None:
        """End before anything is touched where a volume can neither be exported nor is excluded."""
        found = {source.claim.label: source.problem for source in survey.sources if source.problem}
        self._unheard = self._pods.unheard(self._streams)
        found |= self._unheard
        problems = list(found.values())
        if not problems:
            return
        for label, problem in found.items():
            self._request.progress.update("volume", label, "failed", msg=str(problem))
        error = problems[0]
        error.result = self._untouched(survey, stop)
        if len(problems) > 1:
            error.result["msg_all"] = [str(problem) for problem in problems]
        raise error

    def _arrange(self, survey: claims.Survey, stop: stopping.Plan) -> None:
        """Put into groups what can be cut together; end where it has to be and cannot."""
        params = self._request.params
        try:
            survey.sources = grouping.arrange(
                self._cluster,
                survey.sources,
                str(params["group_snapshots"]),
                params.get("group_snapshot_classes"),
                self._request.warn,
            )
        except MusterError as error:
            error.result = self._untouched(survey, stop)
            raise

    def _untouched(self, survey: claims.Survey, stop: stopping.Plan) -> JSON:
        return {
            "changed": False,
            "volumes": self._all_planned(survey, stop),
            "excluded": survey.excluded,
            "hooks": [],
        }

    def _all_planned(self, survey: claims.Survey, stop: stopping.Plan) -> list[JSON]:
        return [self._planned(source, stop) for source in survey.sources] + [
            self._pods.planned(volume, self._unheard.get(volume.label)) for volume in self._streams
        ]

    def _planned(self, source: claims.Source, stop: stopping.Plan) -> JSON:
        if source.problem:
            msg, failed = str(source.problem), True
        elif source.group_class:
            msg, failed = f"is cut together with others by a group snapshot of class {source.group_class}", False
        elif source.method == "snapshot":
            msg, failed = f"is read from a snapshot of class {source.snapshot_class}", False
        elif source.method == "stopped":
            msg, failed = stop.words(source.claim.label), False
        else:
            where = f"on node {source.claim.node}" if source.claim.node else "on any node"
            msg, failed = f"is read live {where}", False
        return {
            **source.claim.entry(),
            **backed_up.UNKNOWN,
            "method": source.method,
            "host": self._host(source.claim),
            "changed": not failed,
            "failed": failed,
            "msg": msg,
        }

    def _plan(self, survey: claims.Survey, hooks: backup_hooks.Hooks, stop: stopping.Plan) -> JSON:
        volumes = self._all_planned(survey, stop)
        groups = {grouping.group_of(source) for source in survey.sources} | ({None} if self._streams else set())
        mode = _mode((volume["method"] for volume in volumes), groups)
        return {
            "changed": bool(volumes),
            "msg": f"{len(volumes)} volumes would be exported, {len(survey.excluded)} are excluded.",
            "consistency": {"point": None, "skew_seconds": None, "mode": mode},
            "volumes": volumes,
            "stopped": stop.report(),
            "hooks": hooks.planned(),
            "excluded": survey.excluded,
            "cuts": [],
            "run": None,
        }

    def _host(self, claim: claims.Claim | streaming.Volume) -> str:
        return settings.host(self._site, claim.namespace, claim.name)

    # -- cut --------------------------------------------------------------------------------------------------

    def _cut(self, survey: claims.Survey, hooks: backup_hooks.Hooks, run: str) -> tuple[list[Cut], str]:
        """Freeze, snapshot, thaw; the cuts in the survey's order, and when the cut began."""
        warn = self._request.warn
        removed = snapshot.debris(self._cluster, self._name, self._namespaces, self._settings.namespace, warn)
        removed += grouping.debris(self._cluster, self._name, self._namespaces, warn)
        if removed:
            self._request.warn(f"Removed what an earlier run left behind: {', '.join(removed[:10])}.")
        sources = [source for source in survey.sources if source.method == "snapshot" and not source.group_class]
        groups = grouping.plan(self._cluster, run, survey.sources)
        # Who moves what is cut here may be a process that has not begun yet.
        waits = alive.WAITS + self._cut_timeout + self._ready_timeout
        noted = alive.statement(self._cluster, waits, process=self._phase != "cut")
        made: list[Cut] = []
        pending: dict[tuple[str, ...], snapshot.Look] = {}
        try:
            with grouping.marked(self._cluster, self._name, groups, self._request.warn), hooks:
                cut_at = clock.iso(clock.now())
                # Noted before they are created, so that whatever happens they can be removed.
                for group in groups:
                    made += group.cuts()
                    grouping.create(self._cluster, group, self._name, noted)
                    pending[group.volumes] = partial(grouping.look, self._cluster, group)
                for source in sources:
                    made.append(snapshot.plan(run, source))
                    snapshot.create(self._cluster, made[-1], self._name, source.snapshot_class, noted)
                    pending[(source.claim.label,)] = partial(snapshot.look, self._cluster, made[-1])
                hint = grouping.HINT if groups else ""
                moments = snapshot.wait_cut(pending, self._cut_timeout, self._request.progress, hint)
            made = [
                replace(cut, consistency_point=moments.get((cut.volume.label,))) for cut in made if not cut.group
            ] + [cut for group in groups for cut in self._members(group, moments)]
        except BaseException as error:
            left = self._drop(made)
            if isinstance(error, MusterError):
                error.result = {"hooks": hooks.done, "excluded": survey.excluded, "leftovers": left, **error.result}
            raise
        by_claim = {cut.volume.label: cut for cut in made}
        cuts = [by_claim.get(source.claim.label) or Cut(run, source.claim, source.method) for source in survey.sources]
        return cuts, cut_at

    def _members(self, group: grouping.Group, moments: dict[tuple[str, ...], str]) -> list[Cut]:
        return grouping.members(self._cluster, group, moments[group.volumes], self._name, self._ready_timeout)

    def _drop(self, cuts: Sequence[Cut]) -> list[str]:
        return snapshot.quietly(self._cluster, cuts) + grouping.quietly(self._cluster, cuts)

    def _waiting(self, cut: Piece) -> JSON:
        return {
            **cut.volume.entry(),
            **backed_up.UNKNOWN,
            "method": cut.method,
            "host": self._host(cut.volume),
            "consistency_point": cut.consistency_point,
            "group": cut.group,
            "changed": cut.method == "snapshot",
            "msg": "cut, not moved yet" if cut.method == "snapshot" else "not read yet",
        }

    # -- move -------------------------------------------------------------------------------------------------

    def _run_move(self, cuts: list[Cut], streams: list[streaming.Cut]) -> JSON:
        both: list[Piece] = [*cuts, *streams]
        result: JSON = {"run": both[0].run if both else None, "excluded": [], "cuts": []}
        result |= {"hooks": [], "thawed": [], "restarted": [], "cleaned": []}
        stopped = [cut.volume for cut in cuts if cut.method == "stopped"]
        if cuts:
            parts.require_reachable(self._repository)
        if self._request.check_mode:
            stop = stopping.plan(self._cluster, stopped)
            for error in stop.problems.values():
                raise error
            volumes = [self._waiting(cut) for cut in both]
            msg = f"{len(both)} volumes would be moved."
            consistency = _consistency(both, clock.iso(clock.now()))
            result |= {"changed": bool(both), "msg": msg, "volumes": volumes, "consistency": consistency}
            return {**result, "stopped": stop.report()}
        with settings.interruptible(f"the export of {self._name}"):
            places = [volume.namespace for volume in stopped]
            ledger = self._ledger(naming.new_run(), places or [self._settings.namespace])
            if stopped:
                result["thawed"] = ledger.pay(self._secrets, self._request.warn, self._request.progress)
                result["restarted"] = ledger.woken
            changed = bool(result["thawed"] or result["restarted"])
            if cuts:
                self._look_back()
            try:
                moved = self._move(cuts, streams, clock.iso(clock.now()), ledger)
            except MusterError as error:
                changed = changed or bool(error.result.get("changed"))
                error.result = {**result, **error.result, "changed": changed}
                raise
            return {**result, **moved, "changed": changed or moved["changed"]}

    def _move(self, cuts: Sequence[Cut], streams: Sequence[streaming.Cut], cut_at: str, ledger: thaw.Ledger) -> JSON:
        both: list[Piece] = [*cuts, *streams]
        stopped = self._stopped = stopping.Stopped(
            self._cluster,
            [cut.volume for cut in cuts if cut.method == "stopped"],
            ledger,
            self._stop_timeout,
            self._request.warn,
            self._request.progress,
        )
        goes_on = partial(snapshot.say_alive, self._cluster, cuts, self._name)
        with alive.Kept(goes_on), pool.beside(1) as beside:
            try:
                if any(cut.method == "snapshot" for cut in cuts):
                    namespace.ensure_ours(self._cluster, self._settings.namespace, self._name)
                grouping.hold(self._cluster, cuts, self._name)
                # Their pods have to run, and may be among those that are stopped.
                poured = pool.each(streams, self._pods.pour, workers=self._workers)
                with pool.beside(self._workers) as self._beside, stopped:
                    moved = pool.chosen(cuts, self._move_one, self._next, workers=self._workers)
            except MusterError as error:
                failure = {"changed": False, "failed": True, "msg": str(error)}
                entries = [{**self._waiting(cut), **failure} for cut in both]
                reports = stopped.report()
                changed = any(one["changed"] for one in reports)
                error.result = {"changed": changed, "volumes": entries, "stopped": reports, **error.result}
                raise
            finally:
                # Beside what the repository is asked then.
                beside(lambda: self._put_away(cuts))
            read = backed_up.read_back(
                self._repository, moved, self._entry, lambda cut: cut.volume.label, self._request.progress
            )
        ended: list[pool.Outcome[Any, JSON]] = [*read, *poured]
        volumes = [outcomes.entry(outcome, self._waiting(outcome.item)) for outcome in ended]
        failed = sum(entry["failed"] for entry in volumes)
        reports = stopped.report()
        result: JSON = {
            "changed": any(entry["changed"] for entry in [*volumes, *reports]),
            "consistency": _consistency(both, cut_at, volumes),
            "volumes": volumes,
            "stopped": reports,
        }
        added = sum(entry["bytes_added"] or 0 for entry in volumes)
        result["msg"] = f"{len(volumes) - failed} of {len(volumes)} volumes exported, {added} bytes added."
        if stopped.left:
            title, why = next(iter(stopped.left.items()))
            raise Incomplete(
                "start again",
                title,
                why,
                "The next run tries again; or give it back by hand what it had.",
                result=result,
            )
        return outcomes.exported(self._name, ended, result)

    def _put_away(self, cuts: Sequence[Cut]) -> None:
        left = self._drop(cuts)
        if left:
            self._request.warn(f"These snapshots could not be removed, the next run tries again: {', '.join(left)}.")
        if any(cut.method == "snapshot" for cut in cuts):
            self._remove_namespace()

    def _look_back(self) -> None:
        snapshots = backed_up.look_back(self._repository, self._request.warn)
        self._last = {found.host: found for found in snapshots}
        self._blobs = sizing.blobs(snapshots)

    def _next(self, waiting: Sequence[Cut], running: Sequence[Cut]) -> int | None:
        def load(cut: Cut) -> scheduling.Load:
            last = self._last.get(self._host(cut.volume))
            counts = {"class": cut.volume.storage_class or ""}
            if cut.method != "snapshot" and cut.volume.node:
                counts["node"] = cut.volume.node
            size = cut.volume.size if last is None or last.bytes is None else sizing.work(last.files, last.bytes)
            # What stands still for it goes first.
            return scheduling.Load(size, counts, urgent=cut.method == "stopped")

        return scheduling.next_to_start(
            [load(cut) for cut in waiting], [load(cut) for cut in running], self._budgets.limits
        )

    def _remove_namespace(self) -> None:
        try:
            namespace.remove_ours(self._cluster, self._settings.namespace, self._name)
        except MusterError as error:
            self._request.warn(str(error))

    def _move_one(self, cut: Cut) -> backed_up.Moved[Cut]:
        label, watch = cut.volume.label, clock.Stopwatch()
        with outcomes.told(self._request.progress, label) as advance:
            read = {"snapshot": self._read_snapshot, "stopped": self._read_stopped}.get(cut.method, self._read_live)
            report = read(cut, advance)
            if cut.method == "stopped":
                cut = replace(cut, consistency_point=self._stopped.moment)
        outcomes.done(self._request.progress, label, int(report.summary.get("total_bytes_processed", 0)))
        return backed_up.Moved(cut, report.summary, watch.seconds)

    def _read_snapshot(self, cut: Cut, advance: mover_run.Advance) -> mover_run.Report:
        ours = self._settings.namespace
        name = naming.object_name(cut.run, cut.namespace, cut.claim)
        removals: list[Callable[[], None]] = []

        def release() -> None:
            try:
                for remove in removals:
                    remove()
                snapshot.release(self._cluster, ours, name)
            except MusterError as error:
                self._request.warn(f"A clone was left behind, the next run removes it: {error}")

        try:
            how = self._clones(cut.volume.driver)
            snapshot.clone(self._cluster, cut, ours, self._name, self._ready_timeout, how)
            mover = self._mover(cut, name, ours, name, parts.READ_OURS)
            mover = replace(mover, read_only_volume=how.access_mode == "ReadOnlyMany")
            return self._run_mover(mover, cut, advance, removals.append)
        finally:
            # Storage takes its time to let go of a clone; the next volume need not wait for that.
            self._beside(release)

    def _read_live(self, cut: Cut, advance: mover_run.Advance) -> mover_run.Report:
        return self._read_in_place(cut, claims.refresh(self._cluster, cut.volume), advance)

    def _read_stopped(self, cut: Cut, advance: mover_run.Advance) -> mover_run.Report:
        label = cut.volume.label
        try:
            report = self._read_in_place(cut, self._stopped.volume(label), advance)
            self._stopped.check(label)
            return report
        finally:
            self._stopped.release(label)

    def _read_in_place(self, cut: Cut, current: claims.Claim, advance: mover_run.Advance) -> mover_run.Report:
        """Read a claim in its own namespace, on the node where its pods are or were."""
        name = naming.object_name(cut.run, cut.namespace, cut.claim)
        mover = self._mover(cut, cut.claim, cut.namespace, name, parts.READ_THEIRS)
        # Where it is not said that nobody writes, a node with SELinux gives the volume the label of the mover, and who
        # uses it loses it.
        mover = replace(mover, node=current.node, selinux=current.selinux, read_only_volume=True)
        if namespace.level(self._cluster, cut.namespace) == "restricted":
            # Reads what this user may read; a file that it may not makes the volume incomplete, never good.
            mover = replace(mover, run_as_user=current.run_as_user or 65534)
        return self._run_mover(mover, cut, advance)

    def _mover(self, cut: Cut, claim: str, where: str, name: str, capabilities: tuple[str, ...]) -> parts.Mover:
        last = self._last.get(self._host(cut.volume))
        files = last.files if last else None
        return parts.Mover(
            name=name,
            namespace=where,
            claim=claim,
            verb="backup",
            arguments=parts.backup_arguments(
                self._host(cut.volume),
                backed_up.tags(self._name, self._point),
                device=cut.volume.device,
                detection=self._detection(cut.volume.driver),
            ),
            labels=naming.labels(cut.run, self._name, marks.MOVING),
            capabilities=() if cut.volume.device else capabilities,
            read_only=True,
            device=cut.volume.device,
            memory=sizing.request(files, self._blobs),
            files=files,
            spread=self._budgets.node is not None,
        )

    def _run_mover(
        self,
        mover: parts.Mover,
        cut: Cut,
        advance: mover_run.Advance,
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> mover_run.Report:
        label = cut.volume.label
        with settings.at_repository(self._repository, self._budgets.repository, self._request.progress, label):
            return mover_run.run(
                self._cluster,
                mover,
                self._settings,
                self._repository,
                "export",
                f"volume {label}",
                advance,
                later,
            )

    def _entry(self, moved: backed_up.Moved[Cut], find: Callable[[str], Snapshot]) -> JSON:
        cut = moved.volume
        found = backed_up.entry(find, cut.volume.label, self._host(cut.volume), moved.summary)
        point = cut.consistency_point or found["consistency_point"]
        return {**self._waiting(cut), **found, "consistency_point": point, "seconds": moved.seconds}


def _consistency(cuts: Sequence[Piece], cut_at: str, volumes: Sequence[JSON] = ()) -> JSON:
    """The earliest instant, the distance to the latest, and how it was reached."""
    points = [entry["consistency_point"] for entry in volumes] or [cut.consistency_point for cut in cuts]
    return backed_up.consistency(points, cut_at, _mode((cut.method for cut in cuts), {cut.group for cut in cuts}))


def _mode(methods: Iterable[str], groups: Collection[object]) -> str:
    """Live as soon as one volume was read while in use; stopped where all stood still; group where one has all."""
    used = set(methods)
    if "live" in used:
        return "live"
    if used == {"stopped"}:
        return "stopped"
    return "group" if len(groups) == 1 and None not in groups else "per_volume"
