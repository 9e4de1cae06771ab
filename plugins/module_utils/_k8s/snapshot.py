# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``k8s_snapshot``: capture an application's objects and put them into the repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Denied,
    Interrupted,
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import capture as capturing
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import changes, selection, staging
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository

OBJECTS = "objects"
# 2000-01-01 UTC, as seconds since 1970.
_TIME = 946684800


def host_of(site: str, application: str) -> str:
    """The host name under which restic groups the snapshots of an application's objects."""
    return f"k8s:{site}/{application}/objects"


def snapshot(request: Request) -> dict[str, Any]:
    """Capture, store, compare with the parent. Check mode captures and compares, and stores nothing."""
    params = request.params
    application.check_keys(params["application"])
    chosen = selection.Selection.of(params["application"], params["leave_out"])
    cluster = Cluster.connect(params, workers=params["workers"])
    version = cluster.version()
    host = host_of(params["site"], chosen.application)
    repository = Repository.open(params["repository"])
    with staging.folder() as stage, ThreadPoolExecutor(1) as beside:
        # The repository stores what is in `tree`, so that its paths begin with the layout's own folder.
        tree = stage / "tree"
        target = tree / OBJECTS
        target.mkdir(mode=0o700, parents=True)
        earlier = beside.submit(_parent, repository, host, chosen.application, stage / "parent", request.warn)
        captured = capturing.capture(cluster, chosen, target, workers=params["workers"], progress=request.progress)
        parent = earlier.result()
        try:
            change, diff = _compared(stage / "parent", target, request.diff)
        except Corrupt as error:
            if parent is None:
                raise
            _without(parent, error, stage / "parent", request.warn)
            parent = None
            change, diff = _compared(stage / "parent", target, request.diff)
        total = change.total.as_dict()
        result: dict[str, Any] = {
            "changed": True,
            "snapshot": None,
            "cluster_version": version,
            "counts": dict(sorted(captured.counts.items())),
            "namespaces": captured.namespaces,
            "epoch": _lowest_epoch(captured.epochs, captured.namespaces),
            "related": captured.related,
            "incomplete": captured.incomplete,
            "excluded": captured.excluded,
            "left_out": [
                {"what": key, "why": why, "count": count} for (key, why), count in sorted(captured.left_out.items())
            ],
            "unmatched": captured.unmatched,
            "versions": {key: sorted(names) for key, names in sorted(captured.versions.items())},
            "change": total,
            "change_by_kind": change.by_kind(),
            "parent": parent,
        }
        if diff:
            result["diff"] = diff.entries
        for entry in captured.incomplete:
            request.warn(f"The capture of {chosen.application} is incomplete: {entry['what']}: {entry['why']}")
        lacking = f"; {len(captured.incomplete)} things could not be read" if captured.incomplete else ""
        what = f"{captured.total} objects of {chosen.application}"
        if request.check_mode:
            return {**result, "msg": f"Would store {what} ({_words(total)}){lacking}"}
        _one_time(tree)
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
    result["msg"] = f"Stored {what} ({_words(total)}) as snapshot {backup.snapshot[:8]}{lacking}"
    return result


def _lowest_epoch(stamps: Iterable[tuple[str, str]], namespaces: Iterable[str]) -> int:
    """The epoch that a transition stamped on the namespaces; 1 where there never was one.

    The lowest: a point never claims to be newer than its oldest part.
    """
    wanted = set(namespaces)
    found = set()
    for name, stamp in sorted(stamps):
        if name not in wanted:
            continue
        if not stamp.isdigit():
            raise InvalidInput(
                "read",
                f"epoch of namespace {name}",
                f"annotation {marks.EPOCH} is {stamp!r}",
                "Set it to the number that transition_info gives for this site.",
            )
        found.add(int(stamp))
    return min(found, default=1)


def _parent(repository: Repository, host: str, name: str, folder: Path, warn: Callable[[str], None]) -> str | None:
    """Put the capture before this one into ``folder`` and return the id of its snapshot, if one can be read."""
    folder.mkdir(mode=0o700)
    found = repository.snapshots(host=host, tags=[f"application={name}"])
    newest = max(found, key=lambda one: one.time, default=None)
    if newest is None:
        return None
    try:
        repository.restore(newest.id, folder)
    except (Denied, Interrupted, Unavailable):
        # These say nothing about the snapshot.
        raise
    except MusterError as error:
        _without(newest.id, error, folder, warn)
        return None
    return newest.id


def _compared(before: Path, after: Path, shown: bool) -> tuple[changes.Changes, changes.Diff | None]:
    diff = changes.Diff() if shown else None
    return changes.compare(root_of(before), after, diff.note if diff else None), diff


def _without(parent: str, error: MusterError, folder: Path, warn: Callable[[str], None]) -> None:
    """Go on without the capture before this one: what is damaged must not keep new ones from being made."""
    shutil.rmtree(folder, ignore_errors=True)
    warn(
        f"The snapshot before this one ({parent[:8]}) cannot be read, so everything counts as added: {error} "
        "Check the repository; points that refer to that snapshot cannot be restored."
    )


def _one_time(tree: Path) -> None:
    """Give everything the same times: what restic notes of files that did not change shall differ little."""
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (_TIME, _TIME))


def root_of(restored: Path) -> Path:
    """The folder that holds ``cluster`` and ``namespaces`` below what restic restored."""
    if not (restored / OBJECTS).is_dir():
        for found in sorted(restored.rglob("*")):
            if found.is_dir() and found.name in ("cluster", "namespaces") and found.parent.name == OBJECTS:
                return found.parent
    return restored / OBJECTS


def _words(change: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in change.items() if count) or "nothing"
