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
    Corrupt,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pod_security import ENFORCE
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import scheduling
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    claim as claims,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    mover_run,
    namespace,
    naming,
    settings,
    sizing,
    snapshot,
)

JSON = dict[str, Any]
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class Target:
    """One volume of the document, where it goes and what is to be done there.

    ``action``: ``create``, ``restore`` (the claim exists), ``keep`` (left alone) or ``none`` (is restored already).
    """

    volume: Mapping[str, Any]
    namespace: str
    claim: str
    storage_class: str | None
    snapshot: Snapshot | None = None
    action: str = "create"
    only_if_empty: bool = False
    msg: str = ""
    problem: MusterError | None = None

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.claim}"


def restore(request: Request) -> JSON:
    """The verb of the module ``volume_import``."""
    return _Import(request).run()


class _Import:
    def __init__(self, request: Request) -> None:
        params = request.params
        self._request = request
        self._volumes: list[Mapping[str, Any]] = list(params["volumes"])
        self._name = str(params["application"])
        self._mapping = {str(key): str(value) for key, value in (params.get("namespace_mapping") or {}).items()}
        self._classes = {str(key): str(value) for key, value in (params.get("storage_classes") or {}).items()}
        self._existing = str(params["existing"])
        self._point = str(params.get("point") or "")
        self._verify = bool(params["verify"])
        self._workers = int(params["workers"])
        self._budgets = settings.budgets(params.get("budgets"))
        self._blobs = 0
        self._settings = settings.settings(params.get("mover"))
        self._cluster = Cluster.connect(params)
        self._repository = Repository.open(params["repository"])
        parts.require_reachable(self._repository)
        self._run = naming.new_run()

    def run(self) -> JSON:
        self._repository.identify()
        targets = self._plan()
        self._refuse(targets)
        if self._request.check_mode:
            work = [target for target in targets if target.action in ("create", "restore")]
            return {
                "changed": bool(work),
                "msg": f"{len(work)} of {len(targets)} volumes would be restored.",
                "volumes": [self._entry(target, changed=target in work) for target in targets],
            }
        with settings.interruptible(f"the restore of {self._name}'s volumes"):
            return self._restore(targets)

    # -- plan -------------------------------------------------------------------------------------------------

    def _plan(self) -> list[Target]:
        snapshots = self._repository.snapshots()
        self._blobs = sizing.blobs(snapshots)
        by_id = {found.id: found for found in snapshots}
        by_tree = {(found.host, found.tree): found for found in snapshots}
        classes = {
            item["metadata"]["name"]: item
            for item in self._cluster.list(object_path("storage.k8s.io/v1", "storageclasses"))
        }
        targets: list[Target] = []
        for volume in self._volumes:
            try:
                targets.append(self._target(volume, by_id, by_tree, classes))
            except MusterError as error:
                where = self._mapping.get(str(volume.get("namespace")), str(volume.get("namespace")))
                targets.append(Target(volume, where, str(volume.get("claim")), None, action="none", problem=error))
        places = [target.label for target in targets if target.problem is None]
        twice = sorted({place for place in places if places.count(place) > 1})
        if twice:
            raise InvalidInput(
                "restore",
                "the volumes",
                f"several would go to {', '.join(twice)}",
                "Give each namespace one of its own in namespace_mapping.",
            )
        return targets

    def _target(
        self,
        volume: Mapping[str, Any],
        by_id: Mapping[str, Snapshot],
        by_tree: Mapping[tuple[str, str], Snapshot],
        classes: Mapping[str, JSON],
    ) -> Target:
        for key in ("namespace", "claim", "size", "snapshot", "tree", "host"):
            if volume.get(key) in (None, ""):
                raise InvalidInput(
                    "restore",
                    f"volume {volume.get('name') or '(unnamed)'}",
                    f"its entry has no {key}",
                    "Pass the volumes of a recovery-point document.",
                )
        label = str(volume.get("name") or f"{volume['namespace']}/{volume['claim']}")
        if not volume.get("complete", False):
            raise Refused("restore", f"volume {label}", "the point says that it is incomplete", "Take another point.")
        # Snapshot ids change when a repository is copied with restic, trees do not.
        found = by_id.get(str(volume["snapshot"])) or by_tree.get((str(volume["host"]), str(volume["tree"])))
        if found is None:
            raise NotFound(
                "restore",
                f"volume {label}",
                f"snapshot {str(volume['snapshot'])[:16]} is not in {self._repository.target}",
                "Replicate the repository, or restore from the one that holds it.",
            )
        if found.tree != volume["tree"]:
            raise Corrupt(
                "restore",
                f"volume {label}",
                f"snapshot {found.id[:16]} holds tree {found.tree[:16]}, recorded is {str(volume['tree'])[:16]}",
                "Do not use this point; verify the repository and take another one.",
            )
        where = self._mapping.get(str(volume["namespace"]), str(volume["namespace"]))
        storage_class = self._class(volume, classes, label)
        target = Target(volume, where, str(volume["claim"]), storage_class, found)
        return self._against_existing(target)

    def _class(self, volume: Mapping[str, Any], classes: Mapping[str, JSON], label: str) -> str | None:
        recorded = str(volume.get("class") or "")
        wanted = self._classes.get(recorded, self._classes.get("*", recorded))
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
            f"Name one in storage_classes, for example {{{recorded or '*'}: NAME}}; there are: "
            f"{', '.join(sorted(classes)) or 'none'}.",
        )

    def _against_existing(self, target: Target) -> Target:
        path = object_path("v1", "persistentvolumeclaims", target.namespace, target.claim)
        document = self._cluster.find(path)
        if document is None:
            return target
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
        if noted.get(marks.TREE) == tree and noted.get(marks.RESTORE) == "complete":
            return _change(target, action="none", msg="it was restored from this point already")
        if noted.get(marks.RESTORE) == "pending":
            self._unused(target)
            return _change(target, action="restore", msg="an unfinished restore is done again")
        if self._existing == "replace":
            self._unused(target)
            return _change(target, action="restore", msg="the claim exists and is overwritten")
        if self._existing == "keep":
            return _change(target, action="keep", msg="the claim exists and is kept")
        # An empty one may be filled; whether it is empty only the mover sees.
        self._unused(target)
        return _change(target, action="restore", only_if_empty=True, msg="the claim exists and must be empty")

    def _unused(self, target: Target) -> None:
        users = claims.users(self._cluster, target.namespace, target.claim)
        if users:
            raise Refused(
                "restore",
                f"claim {target.label}",
                f"pod {users[0]} uses it",
                "Stop the workload first, restore into another namespace, or set existing to keep.",
            )

    def _refuse(self, targets: Sequence[Target]) -> None:
        problems = [target.problem for target in targets if target.problem]
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
            error.result = {"changed": False, "volumes": [self._entry(target) for target in targets]}
            raise error

    def _level(self, name: str) -> str:
        labels = self._request.params.get("namespace_labels") or {}
        found = self._cluster.find(object_path("v1", "namespaces", None, name))
        current = ((found or {}).get("metadata") or {}).get("labels") or (labels if found is None else {})
        return str(current.get(ENFORCE) or "privileged")

    # -- restore ----------------------------------------------------------------------------------------------

    def _restore(self, targets: list[Target]) -> JSON:
        work = [target for target in targets if target.action in ("create", "restore")]
        spaces = sorted({target.namespace for target in work})
        created = [
            name
            for name in spaces
            if namespace.ensure(self._cluster, name, self._request.params.get("namespace_labels"))
        ]
        removed = snapshot.debris(self._cluster, self._name, spaces, self._settings.namespace, roles=("restore",))
        if removed:
            self._request.warn(f"Removed what an earlier run left behind: {', '.join(removed[:10])}.")
        outcomes = pool.chosen(targets, self._restore_one, self._next, workers=self._workers)
        volumes: list[JSON] = []
        for outcome in outcomes:
            if outcome.value is not None:
                volumes.append(outcome.value)
                continue
            if outcome.error is not None and not isinstance(outcome.error, MusterError):
                raise outcome.error
            entry = {**self._entry(outcome.item), "failed": True, "msg": str(outcome.error)}
            if isinstance(outcome.error, MusterError) and outcome.error.result.get("errors"):
                entry["errors"] = outcome.error.result["errors"]
            volumes.append(entry)
        restored = [entry for entry in volumes if entry["changed"]]
        failed = [entry for entry in volumes if entry["failed"]]
        written = sum(entry["bytes"] or 0 for entry in restored)
        result: JSON = {
            "changed": bool(restored or created),
            "msg": f"{len(restored)} of {len(volumes)} volumes restored, {written} bytes.",
            "volumes": volumes,
            "namespaces_created": created,
        }
        if failed:
            first = next(outcome.error for outcome in outcomes if outcome.error is not None)
            if len(volumes) == 1 and isinstance(first, MusterError):
                first.result = result
                raise first
            raise Incomplete(
                "restore",
                f"{len(failed)} of {len(volumes)} volumes of {self._name}",
                str(first),
                "Mend it and run it again; what is complete is not restored twice.",
                result=result,
            )
        return result

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
        progress.update("volume", target.label, "running", msg="preparing")

        def advance(done: int, total: int | None) -> None:
            progress.update("volume", target.label, "running", done=done, total=total, unit="bytes")

        try:
            self._prepare(target)
            report = self._move(target, advance)
            self._compare(target, report)
            self._note(target, "complete")
        except Exception as error:
            progress.update("volume", target.label, "failed", msg=str(error))
            raise
        progress.update("volume", target.label, "done", done=report.bytes, total=report.bytes, unit="bytes")
        entry = self._entry(target, changed=True)
        return {
            **entry,
            "files": report.files,
            "bytes": report.bytes,
            "seconds": watch.seconds,
            "complete": True,
            "msg": "",
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
                    "annotations": self._marks(target, "pending"),
                },
                "spec": {
                    "accessModes": list(volume.get("access_modes") or ["ReadWriteOnce"]),
                    "volumeMode": _mode(volume),
                    "resources": {"requests": {"storage": str(int(volume["size"]))}},
                },
            }
            if target.storage_class:
                body["spec"]["storageClassName"] = target.storage_class
            self._cluster.create(object_path("v1", "persistentvolumeclaims", target.namespace), body)
        elif not target.only_if_empty:
            # An empty claim is marked only once the mover has found it empty: a refusal must leave no mark.
            self._note(target, "pending")

    def _marks(self, target: Target, state: str) -> dict[str, str]:
        noted = {marks.TREE: str(target.volume["tree"]), marks.RESTORE: state}
        return {**noted, marks.POINT: self._point} if self._point else noted

    def _note(self, target: Target, state: str) -> None:
        path = object_path("v1", "persistentvolumeclaims", target.namespace, target.claim)
        self._cluster.patch(path, {"metadata": {"annotations": self._marks(target, state)}})

    def _move(self, target: Target, advance: mover_run.Advance) -> mover_run.Report:
        if target.snapshot is None:
            raise InvalidInput("restore", f"claim {target.label}", "it has no snapshot", "Pass a complete volume.")
        device = _mode(target.volume) == "Block"
        files = target.snapshot.files if target.snapshot.files is not None else target.volume.get("files")
        mover = parts.Mover(
            name=naming.object_name(self._run, target.namespace, target.claim),
            namespace=target.namespace,
            claim=target.claim,
            verb="restore",
            arguments=parts.restore_arguments(target.snapshot.id, verify=self._verify, device=device),
            labels=naming.labels(self._run, self._name, "restore"),
            capabilities=() if device else parts.WRITE,
            read_only=False,
            only_if_empty=target.only_if_empty and not device,
            device=device,
            verify=self._verify,
            memory=sizing.request(files, self._blobs),
            files=files,
            spread=self._budgets.node is not None,
        )
        if device and target.only_if_empty:
            self._run_mover(replace(mover, verb="look", arguments=()), target)
            # On a device nothing can say that it was empty and is ours to fill; the claim does.
            self._note(target, "pending")
        return self._run_mover(mover, target, advance)

    def _run_mover(
        self, mover: parts.Mover, target: Target, advance: mover_run.Advance | None = None
    ) -> mover_run.Report:
        with settings.at_repository(self._repository, self._budgets.repository, self._request.progress, target.label):
            return mover_run.run(
                self._cluster, mover, self._settings, self._repository, "restore", f"claim {target.label}", advance
            )

    def _compare(self, target: Target, report: mover_run.Report) -> None:
        recorded = {key: target.volume.get(key) for key in ("files", "bytes")}
        counted = {"files": report.files, "bytes": report.bytes}
        differences = [
            f"{key} are {counted[key]}, recorded were {recorded[key]}"
            for key in recorded
            if recorded[key] is not None and counted[key] != recorded[key]
        ]
        if differences:
            raise Incomplete(
                "restore",
                f"claim {target.label}",
                f"what is on it is not what was recorded: {', '.join(differences)}",
                "Look at the volume and at the repository; run it again.",
            )

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
            "size": volume.get("size"),
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


def _change(target: Target, *, action: str, msg: str, only_if_empty: bool = False) -> Target:
    return Target(
        target.volume,
        target.namespace,
        target.claim,
        target.storage_class,
        target.snapshot,
        action,
        only_if_empty,
        msg,
    )
