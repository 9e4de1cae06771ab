# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Import: volumes of a Docker host, as a recovery point has them, to the volumes and folders of one; then streams."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection as containers
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import scheduling
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    destination,
    mover_run,
    naming,
    outcomes,
    recorded,
    settings,
    single_paths,
    sizing,
    stream_tasks,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import stream as streaming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import mover
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import volumes as sources
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.containers import Containers, within
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.ledger import Ledger

_KINDS = (sources.VOLUME, sources.BIND)
_KEYS = ("volume", "path", "driver", "options")


@dataclass(frozen=True)
class Target:
    """One volume of the document, where it goes and what is to be done there.

    ``place`` is a volume by Docker's name or a folder of the host. ``action``: ``create`` (the volume is made),
    ``restore`` (it is there), ``keep`` (left alone). ``ours``: it was made for this very tree, so that it is done
    already where it is not empty. ``merge``: what else is there stays.
    """

    volume: Mapping[str, Any]
    place: mover.Place
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    action: str = "create"
    only_if_empty: bool = True
    ours: bool = False
    selected: single_paths.Selected | None = None
    merge: bool = False
    msg: str = ""
    problem: MusterError | None = None

    @property
    def label(self) -> str:
        return f"volumes/{self.place.volume}" if self.place.volume else str(self.place.path or _name(self.volume))

    @property
    def title(self) -> str:
        return f"volume {self.place.volume}" if self.place.volume else f"folder {self.place.path}"


def of_docker(volumes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the volumes are of a Docker host; :class:`InvalidInput` where some are of a cluster."""
    kinds = [_of_docker(volume) for volume in volumes]
    if any(kinds) and not all(kinds):
        other = str(volumes[kinds.index(False)].get("name"))
        reason = f"{other} is of a cluster, others are of a Docker host"
        raise InvalidInput("restore", "the volumes", reason, "Restore them by two tasks.")
    return any(kinds)


def _of_docker(volume: Mapping[str, Any]) -> bool:
    return volume.get("kind") in _KINDS or (streaming.is_one(volume) and not volume.get("namespace"))


def restore(request: Request) -> JSON:
    """The verb of ``volume_import`` for volumes of a Docker host."""
    return _Import(request).run()


class _Import:
    def __init__(self, request: Request) -> None:
        params = request.params
        self._request = request
        self._given = stream_tasks.chosen(params)
        self._volumes = [one for one in self._given if not streaming.is_one(one)]
        self._name = str(params["application"])
        self._existing = str(params["existing"])
        self._point = str(params.get("point") or "")
        self._verify = str(params["verify"])
        self._overwrite = str(params["overwrite"])
        self._merges = params.get("delete") is False
        names = [_name(volume) for volume in params["volumes"] if not streaming.is_one(volume)]
        given = destination.known("targets", params.get("targets"), names)
        self._wishes = {name: _wish(name, wish) for name, wish in given.items()}
        self._paths = {
            name: single_paths.chosen(name, paths)
            for name, paths in destination.known("paths", params.get("paths"), names).items()
        }
        recorded.consistent(params)
        _refuse_meaningless(params)
        self._workers = settings.workers(params)
        self._budgets = settings.budgets(params.get("budgets"))
        self._settings = settings.settings(params.get("mover"))
        self._repository = Repository.open(params["repository"])
        self._run_id = naming.new_run()
        self._engine = Engine(params.get("docker"))
        self._ledger = Ledger(self._engine, self._name, self._run_id)
        self._containers = stream_tasks.Import(
            Containers(self._engine),
            self._repository,
            self._budgets.repository,
            request,
            list(params.get("streams") or []),
            hook_output.secrets_in(params),
        )

    def run(self) -> JSON:
        try:
            return self._run()
        finally:
            self._engine.close()

    def _run(self) -> JSON:
        if self._volumes:
            mover.require_usable(self._engine, self._request.params.get("mover"), self._repository)
        self._repository.identify()
        if self._request.check_mode:
            targets, returns = self._plan()
            volumes = [self._entry(target, changed=target.action != "keep") for target in targets]
            entries = stream_tasks.in_order(
                self._given, volumes, [one.entry(changed=one.feed is not None) for one in returns]
            )
            count = sum(entry["changed"] for entry in entries)
            msg = f"{count} of {len(entries)} volumes would be restored."
            owed = self._ledger.planned(self._request.warn)
            return {"changed": bool(count or owed), "msg": msg, "volumes": entries}
        with settings.interruptible(f"the restore of {self._name}'s volumes"):
            paid = bool(self._ledger.pay(self._request.warn, self._request.progress))
            try:
                targets, returns = self._plan()
                with self._ledger.open(()):
                    result = self._restore(targets, returns)
            except MusterError as error:
                error.result["changed"] = paid or bool(error.result.get("changed"))
                raise
            return {**result, "changed": paid or result["changed"]}

    # -- plan -------------------------------------------------------------------------------------------------

    def _plan(self) -> tuple[list[Target], list[streaming.Return]]:
        known = recorded.Snapshots(self._repository.target, self._repository.snapshots())
        listed = self._engine.containers()
        targets = []
        for volume in self._volumes:
            try:
                targets.append(self._target(volume, known, listed))
            except MusterError as error:
                targets.append(Target(volume, self._place(volume), action="keep", problem=error))
        places = [target.label for target in targets]
        twice = sorted({place for place in places if places.count(place) > 1})
        if twice:
            reason = f"several would go to {', '.join(twice)}"
            raise InvalidInput("restore", "the volumes", reason, "Give each one a place of its own in targets.")
        _refuse_nested(targets)
        returns = [
            self._containers.planned(volume, "", known, partial(within, project=volume.get("project")))
            for volume in self._given
            if streaming.is_one(volume)
        ]
        problems = [target.problem for target in targets if target.problem]
        problems += [one.problem for one in returns if one.problem]
        if problems:
            first, volumes = problems[0], [self._entry(target) for target in targets]
            entries = stream_tasks.in_order(self._given, volumes, [one.entry() for one in returns])
            first.result = {"changed": False, "volumes": entries}
            raise first
        return targets, returns

    def _place(self, volume: Mapping[str, Any]) -> mover.Place:
        wish = self._wishes.get(_name(volume), {})
        if wish.get("path"):
            return mover.Place(path=wish["path"])
        return mover.Place(volume=str(wish.get("volume") or volume.get("volume") or "") or None)

    def _target(self, volume: Mapping[str, Any], known: recorded.Snapshots, listed: Sequence[JSON]) -> Target:
        recorded.require(volume, ("name", "snapshot", "tree", "host"))
        label, place = _name(volume), self._place(volume)
        if self._paths and label not in self._paths:
            return Target(volume, place, action="keep", msg="none of the paths is of this volume")
        found = known.of(label, volume)
        if not place.volume and not place.path:
            raise Refused(
                "restore",
                f"volume {label}",
                "it was a folder of the host, and it is not said where it goes",
                f"Name a folder that is there, or a volume, in targets: {{{label}: {{path: {label}}}}}; or leave it "
                "out of volumes.",
            )
        if volume.get("type") not in (None, "dir"):
            # It is mounted by itself, so that restic could not put another one in its place.
            raise Refused(
                "restore",
                f"volume {label}",
                f"it was no folder but a single {volume['type']}",
                f"Bring it back by hand: restic dump {found.id[:16]} data > FILE, and leave it out of volumes.",
            )
        wish = self._wishes.get(label, {})
        target = Target(
            volume,
            place,
            driver=str(wish.get("driver") or volume.get("driver") or "local"),
            options=wish["options"] if "options" in wish else volume.get("options") or {},
            snapshot=found,
            selected=recorded.select(self._repository, label, found, self._paths[label]) if self._paths else None,
        )
        there = self._engine.volume(place.volume) if place.volume else None
        if place.volume and there is None:
            return self._new(target)
        self._unused(target, there, listed)
        made_for = ((there or {}).get("Labels") or {}).get(marks.TREE)
        return self._against_existing(target, made_for == volume["tree"])

    def _new(self, target: Target) -> Target:
        withheld = target.volume.get("options_withheld")
        if withheld and "options" not in self._wishes.get(_name(target.volume), {}):
            raise Refused(
                "make",
                target.title,
                f"options of its driver are not in the point, because they look like secrets ({', '.join(withheld)})",
                "Give all options in targets, or make the volume before.",
            )
        selected = target.selected is not None
        return replace(target, msg="the volume is made", only_if_empty=not selected, merge=selected)

    def _against_existing(self, target: Target, ours: bool) -> Target:
        target = replace(target, action="restore")
        if target.selected:
            msg = "the paths are put where it is, beside what is there"
            return replace(target, merge=True, only_if_empty=False, msg=msg)
        if ours and self._existing != "replace":
            return replace(target, ours=True, msg="it was made for this point and is filled unless it is already")
        if self._existing == "replace":
            done = "added to" if self._merges else "overwritten"
            return replace(target, only_if_empty=False, merge=self._merges, msg=f"it exists and is {done}")
        if self._existing == "keep":
            return replace(target, action="keep", msg="it exists and is kept")
        return replace(target, msg="it exists and must be empty")

    def _unused(self, target: Target, there: JSON | None, listed: Sequence[JSON]) -> None:
        folder = (there or {}).get("Mountpoint") or target.place.path
        volume = sources.Volume(target.label, target.place.volume, (str(folder),) if folder else ())
        for container in listed:
            if sources.active(container) and sources.uses(container, volume, to_write=False):
                raise Refused(
                    "restore",
                    target.title,
                    f"container {containers.name_of(container)} uses it",
                    "Stop the container first, or restore to another place by targets.",
                )

    # -- restore ----------------------------------------------------------------------------------------------

    def _restore(self, targets: list[Target], returns: list[streaming.Return]) -> JSON:
        if any(target.action != "keep" for target in targets):
            mover.ensure_image(self._engine, self._settings)
        ended = pool.chosen(targets, self._restore_one, self._next, workers=self._workers)
        broken = any(outcome.error for outcome in ended)
        fed = pool.each([] if broken else returns, self._containers.bring, workers=self._workers)
        entries = stream_tasks.in_order(
            self._given,
            [outcomes.entry(outcome, self._entry(outcome.item)) for outcome in ended],
            [outcomes.entry(outcome, outcome.item.entry()) for outcome in fed] or stream_tasks.not_tried(returns),
        )
        restored = [entry for entry in entries if entry["changed"]]
        written = sum(entry["bytes"] or 0 for entry in restored)
        result: JSON = {
            "changed": bool(restored),
            "msg": f"{len(restored)} of {len(entries)} volumes restored, {written} bytes.",
            "volumes": entries,
            "namespaces_created": [],
        }
        return outcomes.restored(self._name, [*ended, *fed], result)

    def _next(self, waiting: Sequence[Target], running: Sequence[Target]) -> int | None:
        def load(target: Target) -> scheduling.Load:
            if target.action == "keep":
                return scheduling.Load()
            return scheduling.Load(sizing.work(target.volume.get("files"), int(target.volume.get("bytes") or 0)))

        return scheduling.next_to_start([load(one) for one in waiting], [load(one) for one in running], {})

    def _restore_one(self, target: Target) -> JSON:
        progress, watch = self._request.progress, clock.Stopwatch()
        if target.action == "keep":
            progress.update("volume", target.label, "skipped", msg=target.msg)
            return self._entry(target)
        with outcomes.told(progress, target.label) as advance:
            report = self._move(target, advance)
            if report is not None:
                files, size = recorded.brought_back(target.title, target.volume, report, target.selected, target.merge)
        if report is None:
            progress.update("volume", target.label, "skipped", msg="it was restored from this point already")
            done = {"complete": True, "skipped": True, "msg": "it was restored from this point already"}
            return {**self._entry(target), **done}
        outcomes.done(progress, target.label, size)
        changed = report.changed is not False or target.action == "create"
        return {
            **self._entry(target, changed=changed),
            "files": files,
            "bytes": size,
            "seconds": watch.seconds,
            "complete": True,
            "msg": "" if changed else "it was there as the point has it",
        }

    def _move(self, target: Target, advance: mover_run.Advance) -> mover_run.Report | None:
        """Restore one volume; ``None`` where it was done already."""
        if target.action == "create" and target.place.volume:
            self._create(target, target.place.volume)
        if target.snapshot is None:
            raise InvalidInput("restore", target.title, "it has no snapshot", "Pass a complete volume.")
        verify, verb = self._verify != "none", "restore"
        if target.selected:
            verb = "restore_paths"
            paths = target.selected.paths
            arguments = parts.path_arguments(target.snapshot.id, paths, verify=verify, overwrite=self._overwrite)
        else:
            overwrite = self._overwrite if self._existing == "replace" else "always"
            arguments = parts.restore_arguments(
                target.snapshot.id, verify=verify, overwrite=overwrite, delete=not target.merge
            )
        worker = parts.Mover(
            name=naming.object_name(self._run_id, "", target.label),
            namespace="",
            claim=target.label,
            verb=verb,
            arguments=arguments,
            labels=naming.labels(self._run_id, self._name, "restore"),
            capabilities=parts.WRITE,
            read_only=False,
            only_if_empty=target.only_if_empty,
            verify=verify,
            tree=recorded.tree(self._verify, self._overwrite, others=target.merge),
        )
        place = settings.at_repository(self._repository, self._budgets.repository, self._request.progress, target.label)
        try:
            with place:
                report = mover.run(
                    self._engine,
                    worker,
                    self._settings,
                    self._repository,
                    target.place,
                    "restore",
                    target.title,
                    advance,
                )
        except mover.NotEmpty:
            if target.ours:
                return None
            raise
        return report

    def _create(self, target: Target, name: str) -> None:
        labels = {str(key): str(text) for key, text in (target.volume.get("labels") or {}).items()}
        if not target.selected:
            # Says what it was made for; only that it was begun and not finished, its content says.
            labels |= {marks.TREE: str(target.volume["tree"]), **({marks.POINT: self._point} if self._point else {})}
        self._engine.create_volume(name, labels, target.driver, dict(target.options))
        made = self._engine.volume(name)
        if made is None:
            raise NotFound("make", target.title, "Docker does not have it afterwards", "Look at its driver.")

    def _entry(self, target: Target, *, changed: bool = False) -> JSON:
        volume = target.volume
        return {
            "name": target.label,
            "kind": sources.VOLUME if target.place.volume else sources.BIND,
            "source": str(volume.get("name") or ""),
            "volume": target.place.volume,
            "path": target.place.path,
            "driver": target.driver if target.place.volume else None,
            "paths": list(target.selected.paths) if target.selected else None,
            "action": target.action,
            "snapshot": target.snapshot.id if target.snapshot else None,
            "tree": volume.get("tree"),
            "files": None,
            "bytes": None,
            "seconds": None,
            "complete": False,
            "changed": changed,
            "failed": target.problem is not None,
            "skipped": target.action == "keep" and target.problem is None,
            "msg": str(target.problem) if target.problem else target.msg,
        }


def _refuse_nested(targets: Sequence[Target]) -> None:
    """:class:`InvalidInput` for a folder in one out of which all goes that its own volume does not have."""
    folders = [(target, str(target.place.path)) for target in targets if target.place.path and target.action != "keep"]
    for outer, path in folders:
        inside = next((place for _target, place in folders if place.startswith(path + "/")), None)
        if inside and not outer.merge:
            reason = f"{inside} is in {path}, and each would take away what is of the other"
            hint = "Give each one a folder of its own in targets, or restore the inner one by a later task."
            raise InvalidInput("restore", "the volumes", reason, hint)


def _name(volume: Mapping[str, Any]) -> str:
    return str(volume.get("name") or volume.get("volume") or volume.get("path"))


def _wish(name: str, given: Any) -> dict[str, Any]:
    """One entry of ``targets``; :class:`InvalidInput` for keys and values that there are not."""
    where, known = f"targets entry {name}", f"Its keys on a Docker host are {', '.join(_KEYS)}."
    if not isinstance(given, Mapping):
        raise InvalidInput("use", where, "it is no dictionary", known)
    strange = sorted(str(key) for key in given if key not in _KEYS)
    if strange:
        raise InvalidInput("use", where, f"it has a key {strange[0]}", known)
    if given.get("path") and any(given.get(key) for key in _KEYS if key != "path"):
        raise InvalidInput("use", where, "a path is a folder of the host, and no volume", "Give one of the two.")
    path = given.get("path")
    if path is not None and (not str(path).startswith("/") or posixpath.normpath(str(path)) == "/"):
        raise InvalidInput("use", where, f"path is {path!r}", "Give a folder of the host, from / on.")
    options = given.get("options")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInput("use", where, f"options is {options!r}", "Write a dictionary, as the driver has them.")
    wish = {key: value for key, value in given.items() if value is not None}
    if path is not None:
        wish["path"] = posixpath.normpath(str(path))
    if options is not None:
        wish["options"] = {str(key): str(value) for key, value in options.items()}
    return wish


def _refuse_meaningless(params: Mapping[str, Any]) -> None:
    """:class:`InvalidInput` for what would be passed over in silence."""
    budgets = params.get("budgets") or {}
    given: dict[str, Any] = {name: params.get(name) for name in ("namespace_mapping", "storage_classes")}
    given["namespace_labels"] = params.get("namespace_labels")
    given |= {"budgets.classes": budgets.get("classes"), "budgets.node": budgets.get("node")}
    for name, value in given.items():
        if value:
            reason = "the volumes are of a Docker host, where there is no such thing"
            raise InvalidInput("use", name, reason, "Leave it out; targets says where a volume goes.")
