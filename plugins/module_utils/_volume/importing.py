# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Import: the volumes of a recovery point back into claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT as CLUSTERS
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_security import ENFORCE
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import scheduling
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    claim as claims,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    destination,
    leftovers,
    mover_run,
    namespace,
    naming,
    outcomes,
    recorded,
    settings,
    single_paths,
    sizing,
    snapshot,
    stream_tasks,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import stream as streaming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import importing as hosted
from ansible_collections.muster.container_dr.plugins.module_utils._volume.pods import Pods

JSON = dict[str, Any]
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class Target:
    """One volume of the document, where it goes and what is to be done there.

    ``action``: ``create``, ``restore`` (the claim exists), ``keep`` (left alone) or ``none`` (is restored already).
    ``selected``: the single paths that come back; None for all of it. ``merge``: what else is on the claim stays, so
    that it does not become what the point holds and is not marked as such; ``unmark``: it is marked as what another
    one holds, which ends with that. ``size`` in bytes.
    """

    volume: Mapping[str, Any]
    namespace: str
    claim: str
    storage_class: str | None = None
    size: int = 0
    access_modes: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    action: str = "create"
    only_if_empty: bool = False
    selected: single_paths.Selected | None = None
    merge: bool = False
    unmark: bool = False
    msg: str = ""
    problem: MusterError | None = None

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.claim}"


def restore(request: Request) -> JSON:
    """The verb of the module ``volume_import``."""
    on_docker = hosted.of_docker(request.params["volumes"])
    try:
        if on_docker:
            return hosted.restore(request)
        CLUSTERS.check("the cluster of the volumes")
        return _Import(request).run()
    except MusterError as error:
        error.result = {**outcomes.nothing("volumes", *([] if on_docker else ["cleaned"])), **error.result}
        raise


class _Import:
    def __init__(self, request: Request) -> None:
        params = request.params
        self._request = request
        self._given = stream_tasks.chosen(params)
        self._volumes: list[Mapping[str, Any]] = [one for one in self._given if not streaming.is_one(one)]
        self._name = str(params["application"])
        self._mapping = {str(key): str(value) for key, value in (params.get("namespace_mapping") or {}).items()}
        self._classes = {str(key): str(value) for key, value in (params.get("storage_classes") or {}).items()}
        self._existing = str(params["existing"])
        self._point = str(params.get("point") or "")
        self._verify = str(params["verify"])
        self._overwrite = str(params["overwrite"])
        self._merges = params.get("delete") is False
        names = [_name(volume) for volume in params["volumes"] if not streaming.is_one(volume)]
        self._wishes = {
            name: destination.wish(name, given)
            for name, given in destination.known("targets", params.get("targets"), names).items()
        }
        self._paths = {
            name: single_paths.chosen(name, given)
            for name, given in destination.known("paths", params.get("paths"), names).items()
        }
        recorded.consistent(params)
        self._workers = settings.workers(params)
        self._budgets = settings.budgets(params.get("budgets"))
        self._blobs = 0
        self._settings = settings.in_cluster(params.get("mover"))
        self._cluster = Cluster.connect(params)
        self._repository = Repository.open(params["repository"])
        self._pods = stream_tasks.Import(
            Pods(self._cluster),
            self._repository,
            self._budgets.repository,
            request,
            list(params.get("streams") or []),
            hook_output.secrets_in(params),
        )
        if self._volumes:
            parts.require_reachable(self._repository)
        self._run = naming.new_run()

    def run(self) -> JSON:
        self._repository.identify()
        snapshots = self._repository.snapshots()
        self._blobs = sizing.blobs(snapshots)
        known = recorded.Snapshots(self._repository.target, snapshots)
        targets, returns = self._plan(known), self._plan_streams(known)
        self._refuse(targets, returns)
        if self._request.check_mode:
            work = [target for target in targets if target.action in ("create", "restore")]
            fed = [one for one in returns if one.feed]
            volumes = [self._entry(target, changed=target in work) for target in targets]
            cleaned = self._sweep(targets)
            return {
                "changed": bool(work or fed) or leftovers.changed(cleaned),
                "cleaned": cleaned,
                "msg": f"{len(work) + len(fed)} of {len(self._given)} volumes would be restored.",
                "volumes": stream_tasks.in_order(
                    self._given, volumes, [one.entry(changed=one in fed) for one in returns]
                ),
            }
        with settings.interruptible(f"the restore of {self._name}'s volumes"):
            cleaned = self._sweep(targets)
            try:
                result = self._restore(targets, returns)
            except MusterError as error:
                error.result = {"changed": leftovers.changed(cleaned), "cleaned": cleaned, **error.result}
                raise
            changed = result["changed"] or leftovers.changed(cleaned)
            return {**result, "cleaned": cleaned, "changed": changed}

    def _sweep(self, targets: Sequence[Target]) -> list[JSON]:
        """Remove what dead runs left, of whatever application."""
        return leftovers.sweep(
            self._cluster,
            self._name,
            self._run,
            [*(target.namespace for target in targets), self._settings.namespace],
            self._request.warn,
            plan=self._request.check_mode,
        )

    # -- plan -------------------------------------------------------------------------------------------------

    def _plan_streams(self, known: recorded.Snapshots) -> list[streaming.Return]:
        volumes = [volume for volume in self._given if streaming.is_one(volume)]
        spaces = [str(volume.get("namespace")) for volume in volumes]
        return [
            self._pods.planned(volume, self._mapping.get(space, space), known)
            for volume, space in zip(volumes, spaces, strict=True)
        ]

    def _plan(self, known: recorded.Snapshots) -> list[Target]:
        classes = {
            item["metadata"]["name"]: item
            for item in self._cluster.list(object_path("storage.k8s.io/v1", "storageclasses"))
        }
        targets: list[Target] = []
        for volume in self._volumes:
            try:
                targets.append(self._target(volume, known, classes))
            except MusterError as error:
                where = self._place(volume)
                targets.append(Target(volume, *where, action="none", problem=error))
        places = [target.label for target in targets if target.problem is None]
        twice = sorted({place for place in places if places.count(place) > 1})
        if twice:
            raise InvalidInput(
                "restore",
                "the volumes",
                f"several would go to {', '.join(twice)}",
                "Give each one a place of its own in namespace_mapping or targets.",
            )
        return targets

    def _target(
        self,
        volume: Mapping[str, Any],
        known: recorded.Snapshots,
        classes: Mapping[str, JSON],
    ) -> Target:
        recorded.require(volume, ("namespace", "claim", "size", "snapshot", "tree", "host"))
        label = _name(volume)
        where = self._place(volume)
        if self._paths and label not in self._paths:
            return Target(volume, *where, action="keep", msg="none of the paths is of this volume")
        found = known.of(label, volume)
        if _mode(volume) == "Block" and (self._paths or self._merges or self._overwrite == "never"):
            raise Refused(
                "restore",
                f"volume {label}",
                "it is in block mode and has no files, so that it is restored as a whole or not at all",
                "Leave it out, or leave out paths, delete and overwrite.",
            )
        wished = self._wishes.get(label, destination.Wish())
        selected = recorded.select(self._repository, label, found, self._paths[label]) if self._paths else None
        document = self._cluster.find(object_path("v1", "persistentvolumeclaims", *where))
        target = Target(
            volume,
            *where,
            # A claim that is there has its class, whatever the point's is called here.
            storage_class=document["spec"].get("storageClassName") if document else self._class(volume, classes, label),
            size=wished.size or int(volume["size"]),
            access_modes=wished.access_modes or tuple(volume.get("access_modes") or ("ReadWriteOnce",)),
            snapshot=found,
            selected=selected,
        )
        need = destination.needed(volume, selected.bytes if selected else None)
        if document is None:
            return replace(target, msg=destination.check_new(label, volume, target.size, need))
        target = self._against_existing(target, document)
        if target.action == "restore":
            destination.check_existing(target.label, document, wished, need)
        return target

    def _place(self, volume: Mapping[str, Any]) -> tuple[str, str]:
        """Namespace and claim that a volume goes to."""
        wished = self._wishes.get(_name(volume), destination.Wish())
        space = str(volume.get("namespace"))
        return wished.namespace or self._mapping.get(space, space), wished.claim or str(volume.get("claim"))

    def _class(self, volume: Mapping[str, Any], classes: Mapping[str, JSON], label: str) -> str | None:
        former = str(volume.get("class") or "")
        wished = self._wishes.get(label, destination.Wish()).storage_class
        wanted = wished or self._classes.get(former, self._classes.get("*", former))
        if wanted in classes:
            return wanted
        if not wanted and any(
            (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for item in classes.values()
        ):
            return None
        raise NotFound(
            "restore",
            f"volume {label}",
            f"the cluster has no storage class {wanted or 'marked as default'}",
            f"Name one in storage_classes, for example {{{former or '*'}: NAME}}, or in targets; there are: "
            f"{', '.join(sorted(classes)) or 'none'}.",
        )

    def _against_existing(self, target: Target, document: JSON) -> Target:
        if document["metadata"].get("deletionTimestamp"):
            raise Refused(
                "restore", f"claim {target.label}", "it is being deleted", "Wait until it is gone and run it again."
            )
        mode = str(document["spec"].get("volumeMode") or "Filesystem")
        if self._existing != "keep" and mode != _mode(target.volume):
            raise Refused(
                "restore",
                f"claim {target.label}",
                f"its volumeMode is {mode}, recorded was {_mode(target.volume)}",
                "Delete the claim, or restore into another namespace.",
            )
        noted = document["metadata"].get("annotations") or {}
        tree = str(target.volume["tree"])
        target = replace(target, unmark=noted.get(marks.TREE) not in (None, tree))
        if target.selected:
            if noted.get(marks.RESTORE) == "pending":
                raise Refused(
                    "restore",
                    f"claim {target.label}",
                    "a restore of all of it was begun and has not ended",
                    "Run that one again first.",
                )
            self._unused(target)
            return replace(target, action="restore", merge=True, msg="the paths are put into the claim as it is")
        # What was written since is not noted, and whoever wants it replaced wants that gone.
        done = noted.get(marks.TREE) == tree and noted.get(marks.RESTORE) == "complete"
        if done and self._existing != "replace":
            return replace(target, action="none", msg="it was restored from this point already")
        if noted.get(marks.RESTORE) == "pending":
            self._unused(target)
            return replace(target, action="restore", msg="an unfinished restore is done again")
        if self._existing == "replace":
            self._unused(target)
            how = "added to" if self._merges else "overwritten"
            return replace(target, action="restore", merge=self._merges, msg=f"the claim exists and is {how}")
        if self._existing == "keep":
            return replace(target, action="keep", msg="the claim exists and is kept")
        # An empty one may be filled; whether it is empty only the mover sees.
        self._unused(target)
        return replace(target, action="restore", only_if_empty=True, msg="the claim exists and must be empty")

    def _unused(self, target: Target) -> None:
        users = claims.users(self._cluster, target.namespace, target.claim)
        if users:
            raise Refused(
                "restore",
                f"claim {target.label}",
                f"pod {users[0]} uses it",
                "Stop the workload first, restore into another namespace, or set existing to keep.",
            )

    def _refuse(self, targets: Sequence[Target], returns: Sequence[streaming.Return]) -> None:
        problems = [target.problem for target in targets if target.problem]
        problems += [one.problem for one in returns if one.problem]
        for name in sorted({target.namespace for target in targets if target.action in ("create", "restore")}):
            if self._level(name) == "restricted":
                problems.append(
                    Refused(
                        "restore",
                        f"volumes into namespace {name}",
                        "it enforces the Pod Security level restricted, under which owners can not be restored",
                        "Let it enforce baseline while volumes are restored, and restricted afterwards.",
                    )
                )
        if problems:
            error = problems[0]
            entries = [self._entry(target) for target in targets]
            error.result = {
                "changed": False,
                "volumes": stream_tasks.in_order(self._given, entries, [one.entry() for one in returns]),
            }
            raise error

    def _level(self, name: str) -> str:
        labels = self._request.params.get("namespace_labels") or {}
        found = self._cluster.find(object_path("v1", "namespaces", None, name))
        current = ((found or {}).get("metadata") or {}).get("labels") or (labels if found is None else {})
        return str(current.get(ENFORCE) or "privileged")

    # -- restore ----------------------------------------------------------------------------------------------

    def _restore(self, targets: list[Target], returns: list[streaming.Return]) -> JSON:
        work = [target for target in targets if target.action in ("create", "restore")]
        spaces = sorted({target.namespace for target in work})
        created = [
            name
            for name in spaces
            if namespace.ensure(self._cluster, name, self._request.params.get("namespace_labels"))
        ]
        removed = snapshot.debris(
            self._cluster,
            self._name,
            spaces,
            self._settings.namespace,
            self._request.warn,
            roles=(marks.RESTORING,),
        )
        if removed:
            self._request.warn(f"Removed what an earlier run left behind: {', '.join(removed[:10])}.")
        moved = pool.chosen(targets, self._restore_one, self._next, workers=self._workers)
        broken = any(outcome.error for outcome in moved)
        fed = pool.each([] if broken else returns, self._pods.bring, workers=self._workers)
        volumes = stream_tasks.in_order(
            self._given,
            [outcomes.entry(outcome, self._entry(outcome.item)) for outcome in moved],
            [outcomes.entry(outcome, outcome.item.entry()) for outcome in fed] or stream_tasks.not_tried(returns),
        )
        restored = [entry for entry in volumes if entry["changed"]]
        written = sum(entry["bytes"] or 0 for entry in restored)
        result: JSON = {
            "changed": bool(restored or created),
            "msg": f"{len(restored)} of {len(volumes)} volumes restored, {written} bytes.",
            "volumes": volumes,
            "namespaces_created": created,
        }
        return outcomes.restored(self._name, [*moved, *fed], result)

    def _next(self, waiting: Sequence[Target], running: Sequence[Target]) -> int | None:
        def load(target: Target) -> scheduling.Load:
            if target.action in ("none", "keep"):
                return scheduling.Load()
            size = int(target.volume.get("bytes") or target.volume["size"])
            work = sizing.work(target.volume.get("files"), size)
            return scheduling.Load(work, {"class": target.storage_class or ""})

        return scheduling.next_to_start(
            [load(target) for target in waiting], [load(target) for target in running], self._budgets.limits
        )

    def _restore_one(self, target: Target) -> JSON:
        progress = self._request.progress
        if target.action in ("none", "keep"):
            progress.update("volume", target.label, "skipped", msg=target.msg)
            return self._entry(target)
        watch = clock.Stopwatch()
        with outcomes.told(progress, target.label) as advance:
            self._prepare(target)
            report = self._move(target, advance)
            files, size = recorded.brought_back(
                f"claim {target.label}", target.volume, report, target.selected, target.merge
            )
            if not target.merge and not target.selected:
                self._note(target, self._marks(target, "complete"))
        outcomes.done(progress, target.label, size)
        changed = report.changed is not False or target.action == "create"
        entry = self._entry(target, changed=changed)
        return {
            **entry,
            "files": files,
            "bytes": size,
            "seconds": watch.seconds,
            "complete": True,
            "msg": entry["msg"] if target.action == "create" else "" if changed else "it was there as the point has it",
        }

    def _prepare(self, target: Target) -> None:
        if target.action == "create":
            volume = target.volume
            body: JSON = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": target.claim,
                    "namespace": target.namespace,
                    "annotations": {} if target.selected else self._marks(target, "pending"),
                },
                "spec": {
                    "accessModes": list(target.access_modes),
                    "volumeMode": _mode(volume),
                    "resources": {"requests": {"storage": str(target.size)}},
                },
            }
            if target.storage_class:
                body["spec"]["storageClassName"] = target.storage_class
            self._cluster.create(object_path("v1", "persistentvolumeclaims", target.namespace), body)
        elif target.merge:
            if target.unmark:
                self._note(target, dict.fromkeys((marks.TREE, marks.RESTORE, marks.POINT)))
        elif not target.only_if_empty:
            # An empty claim is marked only once the mover has found it empty: a refusal must leave no mark.
            self._note(target, self._marks(target, "pending"))

    def _marks(self, target: Target, state: str) -> dict[str, str | None]:
        noted: dict[str, str | None] = {marks.TREE: str(target.volume["tree"]), marks.RESTORE: state}
        return {**noted, marks.POINT: self._point} if self._point else noted

    def _note(self, target: Target, noted: Mapping[str, str | None]) -> None:
        path = object_path("v1", "persistentvolumeclaims", target.namespace, target.claim)
        self._cluster.patch(path, {"metadata": {"annotations": noted}})

    def _move(self, target: Target, advance: mover_run.Advance) -> mover_run.Report:
        if target.snapshot is None:
            raise InvalidInput("restore", f"claim {target.label}", "it has no snapshot", "Pass a complete volume.")
        device = _mode(target.volume) == "Block"
        files = target.snapshot.files if target.snapshot.files is not None else target.volume.get("files")
        verify, verb = self._verify != "none", "restore"
        if target.selected:
            verb = "restore_paths"
            arguments = parts.path_arguments(
                target.snapshot.id, target.selected.paths, verify=verify, overwrite=self._overwrite
            )
        else:
            arguments = parts.restore_arguments(
                target.snapshot.id,
                verify=verify,
                device=device,
                overwrite=self._overwrite if self._existing == "replace" else "always",
                delete=not target.merge,
            )
        mover = parts.Mover(
            name=naming.object_name(self._run, target.namespace, target.claim),
            namespace=target.namespace,
            claim=target.claim,
            verb=verb,
            arguments=arguments,
            labels=naming.labels(self._run, self._name, marks.RESTORING),
            capabilities=() if device else parts.WRITE,
            read_only=False,
            only_if_empty=target.only_if_empty and not device,
            device=device,
            verify=verify,
            tree=recorded.tree(self._verify, self._overwrite, others=target.merge or target.selected is not None),
            memory=sizing.request(files, self._blobs),
            files=files,
            spread=self._budgets.node is not None,
            placement=target.volume.get("placement") or {},
        )
        if device and target.only_if_empty:
            self._run_mover(replace(mover, verb="look", arguments=()), target)
            # On a device nothing can say that it was empty and is ours to fill; the claim does.
            self._note(target, self._marks(target, "pending"))
        return self._run_mover(mover, target, advance)

    def _run_mover(
        self, mover: parts.Mover, target: Target, advance: mover_run.Advance | None = None
    ) -> mover_run.Report:
        place = settings.at_repository(self._repository, self._budgets.repository, self._request.progress, target.label)
        try:
            with place:
                return mover_run.run(
                    self._cluster, mover, self._settings, self._repository, "restore", f"claim {target.label}", advance
                )
        except Unavailable as error:
            # A restore writes nothing to the repository but its lock.
            if "repository's disk is full" in error.reason and "lock" not in error.reason:
                reason = error.reason.replace("repository's disk", "volume's disk")
                hint = "Give the claim a larger size in targets, or make room on it."
                raise Incomplete(error.action, error.target, reason, hint, result=error.result) from None
            raise

    def _entry(self, target: Target, *, changed: bool = False) -> JSON:
        volume = target.volume
        done = target.action == "none" and target.problem is None
        return {
            "name": target.label,
            "kind": "pvc",
            "source": str(volume.get("name") or ""),
            "namespace": target.namespace,
            "claim": target.claim,
            "class": target.storage_class,
            "size": target.size or volume.get("size"),
            "paths": list(target.selected.paths) if target.selected else None,
            "action": target.action,
            "snapshot": target.snapshot.id if target.snapshot else None,
            "tree": volume.get("tree"),
            "files": None,
            "bytes": None,
            "seconds": None,
            "complete": done,
            "changed": changed,
            "failed": target.problem is not None,
            "skipped": target.action == "keep" or done,
            "msg": str(target.problem) if target.problem else target.msg,
        }


def _mode(volume: Mapping[str, Any]) -> str:
    return str(volume.get("volume_mode") or "Filesystem")


def _name(volume: Mapping[str, Any]) -> str:
    """How a volume is called: as the point names it, or by its place."""
    return str(volume.get("name") or f"{volume.get('namespace')}/{volume.get('claim')}")
