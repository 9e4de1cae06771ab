# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a recovery point recorded of a volume: its snapshot, and whether a restore brought all of it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Incomplete,
    InvalidInput,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Known, Need
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot, held
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover_run, single_paths

_AGAIN = "Look at the volume and at the repository; run it again."


class Snapshots:
    """The snapshots of a repository, by what points say of them."""

    def __init__(self, target: str, snapshots: Iterable[Snapshot]) -> None:
        self._target = target
        self._by_id = {found.id: found for found in snapshots}
        self._known = Known(held(self._by_id.values()))

    def of(self, label: str, volume: Mapping[str, Any]) -> Snapshot:
        """The snapshot of a volume's entry, which must be complete and hold the tree that was recorded."""
        if not volume.get("complete", False):
            raise Refused("restore", f"volume {label}", "the point says that it is incomplete", "Take another point.")
        meant = self._known.meant(Need(str(volume["snapshot"]), str(volume["tree"]), str(volume["host"])))
        if not meant:
            raise NotFound(
                "restore",
                f"volume {label}",
                f"snapshot {str(volume['snapshot'])[:16]} is not in {self._target}",
                "Replicate the repository, or restore from the one that holds it.",
            )
        found = self._by_id[meant[-1].id]
        if found.tree != volume["tree"]:
            raise Corrupt(
                "restore",
                f"volume {label}",
                f"snapshot {found.id[:16]} holds tree {found.tree[:16]}, recorded is {str(volume['tree'])[:16]}",
                "Do not use this point; verify the repository and take another one.",
            )
        return found


def require(volume: Mapping[str, Any], keys: Sequence[str]) -> None:
    """:class:`InvalidInput` for an entry without one of the keys."""
    for key in keys:
        if volume.get(key) in (None, ""):
            raise InvalidInput(
                "restore",
                f"volume {volume.get('name') or '(unnamed)'}",
                f"its entry has no {key}",
                "Pass the volumes of a recovery-point document.",
            )


def select(repository: Repository, label: str, found: Snapshot, paths: tuple[str, ...]) -> single_paths.Selected:
    """What the snapshot holds below the paths asked for; all of them must be there."""
    selected = single_paths.Selected(paths)
    repository.entries(found.id, sorted(selected.missing), selected.take)
    if selected.missing:
        names = ", ".join(repr(path.removeprefix("/data/")) for path in sorted(selected.missing)[:5])
        raise NotFound(
            "restore",
            f"paths of volume {label}",
            f"the point does not have {names}",
            "Look with restic ls (sockets are in no restore), or take another point.",
        )
    return selected


def compare(target: str, volume: Mapping[str, Any], report: mover_run.Report) -> None:
    """What is on the volume now must be as much as was recorded."""
    recorded = {key: volume.get(key) for key in ("files", "bytes")}
    counted = {"files": report.files, "bytes": report.bytes}
    differences = [
        f"{key} are {counted[key]}, recorded were {recorded[key]}"
        for key in recorded
        if recorded[key] is not None and counted[key] != recorded[key]
    ]
    if differences:
        what = f"what is on it is not what was recorded: {', '.join(differences)}"
        raise Incomplete("restore", target, what, _AGAIN)


def counted(target: str, expected: int, report: mover_run.Report) -> None:
    """Other files are on the volume too: what restic went over must be all that it had to."""
    done = sum(int(report.summary.get(key) or 0) for key in ("files_restored", "files_skipped"))
    if done < expected:
        raise Incomplete("restore", target, f"restic restored {done} files and folders, there were {expected}", _AGAIN)


def brought_back(
    target: str,
    volume: Mapping[str, Any],
    report: mover_run.Report,
    selected: single_paths.Selected | None,
    others: bool,
) -> tuple[int | None, int | None]:
    """Files and bytes that were restored; raises where it is not all of them. ``others``: more is there than these."""
    if selected:
        counted(target, selected.entries, report)
        return selected.files, selected.bytes
    if others:
        counted(target, int(volume.get("files") or 0), report)
        return volume.get("files"), volume.get("bytes")
    compare(target, volume, report)
    return report.files, report.bytes


def tree(verify: str, overwrite: str, *, others: bool) -> str:
    """How a mover compares what is there afterwards with the snapshot; see :class:`mover.Mover`."""
    if others and overwrite == "never":
        return "never"
    return "no" if verify != "tree" else "part" if others else "whole"


def consistent(params: Mapping[str, Any]) -> None:
    """:class:`InvalidInput` for options that contradict each other."""
    paths, delete, never = bool(params.get("paths")), params.get("delete"), params["overwrite"] == "never"
    wrong = ""
    if paths and delete:
        wrong = "delete would take away what stands beside the paths"
    elif paths and params["existing"] == "keep":
        wrong = "existing keep leaves claims alone, and the paths are to be put into them"
    elif never and delete is not False and not paths and params["existing"] == "replace":
        wrong = "overwrite never keeps files that are there, and delete takes others away; set delete to false"
    elif never and params["verify"] == "tree" and (paths or params["existing"] == "replace"):
        wrong = "verify tree wants all as the point has it, and overwrite never keeps what differs"
    if wrong:
        raise InvalidInput("restore", "the volumes", wrong, "Change one of the two.")
