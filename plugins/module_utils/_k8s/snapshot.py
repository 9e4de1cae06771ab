# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``k8s_snapshot``: capture an application's objects and put them into the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import capture as capturing
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, layout, objects, selection, staging
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository

OBJECTS = "objects"


def host_of(site: str, application: str) -> str:
    """The host name under which restic groups the snapshots of an application's objects."""
    return f"k8s:{site}/{application}/objects"


def snapshot(request: Request) -> dict[str, Any]:
    """Capture, store, compare with the parent. Check mode captures nothing but counts."""
    params = request.params
    leave_out = params["leave_out"]
    chosen = selection.Selection.of(params["application"], kinds.LEFT_OUT if leave_out is None else leave_out)
    cluster = Cluster.connect(params, workers=params["workers"])
    version = cluster.version()
    host = host_of(params["site"], chosen.application)
    repository = Repository.open(params["repository"])
    parent = _newest(repository, host, chosen.application)
    with staging.folder() as stage:
        # The repository stores what is in `tree`, so that its paths begin with the layout's own folder.
        tree = stage / "tree"
        target = tree / OBJECTS
        target.mkdir(mode=0o700, parents=True)
        captured = capturing.capture(cluster, chosen, target, workers=params["workers"], progress=request.progress)
        result: dict[str, Any] = {
            "changed": True,
            "snapshot": None,
            "cluster_version": version,
            "counts": dict(sorted(captured.counts.items())),
            "namespaces": captured.namespaces,
            "epoch": _epoch(cluster, captured.namespaces),
            "related": captured.related,
            "incomplete": captured.incomplete,
            "excluded": captured.excluded,
            "change": _change(repository, parent, stage, target).as_dict(),
            "parent": parent.id if parent else None,
        }
        what = f"{captured.total} objects of {chosen.application}"
        if request.check_mode:
            return {**result, "msg": f"Would store {what} ({_words(result['change'])})"}
        try:
            backup = repository.backup_directory(
                tree,
                host=host,
                tags=["muster", f"application={chosen.application}", f"point={params['point']}"],
                group_by="host",
            )
        except MusterError as error:
            error.result = {**result, "changed": False, **error.result}
            raise
    result["snapshot"] = {
        "repository": repository.identify(),
        "id": backup.snapshot,
        "tree": backup.tree,
        "host": host,
        "files": backup.files,
        "bytes": backup.bytes,
        "bytes_added": backup.bytes_added,
    }
    lacking = f"; {len(captured.incomplete)} kinds could not be read" if captured.incomplete else ""
    result["msg"] = f"Stored {what} ({_words(result['change'])}) as snapshot {backup.snapshot[:8]}{lacking}"
    for entry in captured.incomplete:
        request.warn(f"The capture of {chosen.application} is incomplete: {entry['what']}: {entry['why']}")
    return result


def _epoch(cluster: Cluster, namespaces: list[str]) -> int:
    """The epoch that a transition stamped on the namespaces; 1 where there never was one."""
    stamps = set()
    for name in namespaces:
        live = cluster.get(object_path("v1", "namespaces", name=name))
        stamp = objects.annotations_of(live).get(kinds.EPOCH, "1")
        if not stamp.isdigit():
            raise InvalidInput(
                "read",
                f"epoch of namespace {name}",
                f"annotation {kinds.EPOCH} is {stamp!r}",
                "Set it to the number that transition_info gives for this site.",
            )
        stamps.add(int(stamp))
    # The lowest: a point never claims to be newer than its oldest part.
    return min(stamps, default=1)


def _newest(repository: Repository, host: str, application: str) -> Any:
    found = repository.snapshots(host=host, tags=[f"application={application}"])
    return max(found, key=lambda one: one.time, default=None)


def _change(repository: Repository, parent: Any, stage: Path, captured: Path) -> layout.Change:
    earlier = stage / "parent"
    earlier.mkdir(mode=0o700)
    if parent is not None:
        repository.restore(parent.id, earlier)
    return layout.compare(root_of(earlier), captured)


def root_of(restored: Path) -> Path:
    """The folder that holds ``cluster`` and ``namespaces`` below what restic restored."""
    for found in sorted(restored.rglob("*")):
        if found.is_dir() and found.name in ("cluster", "namespaces") and found.parent.name == OBJECTS:
            return found.parent
    return restored / OBJECTS


def _words(change: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in change.items() if count) or "nothing"
