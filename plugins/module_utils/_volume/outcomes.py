# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is the same for each volume that is moved, wherever it is: its line in the progress, and how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover_run

JSON = dict[str, Any]


@contextlib.contextmanager
def told(progress: Progress, label: str) -> Iterator[mover_run.Advance]:
    """Its line while it is worked on, which says so where that fails; gives what says how far the work is."""
    progress.update("volume", label, "running", msg="preparing")

    def advance(done: int, total: int | None) -> None:
        progress.update("volume", label, "running", done=done, total=total, unit="bytes")

    try:
        yield advance
    except Exception as error:
        progress.update("volume", label, "failed", msg=str(error))
        raise


def done(progress: Progress, label: str, size: int | None) -> None:
    """The last of its line: so many bytes were moved."""
    progress.update("volume", label, "done", done=size, total=size, unit="bytes")


def nothing(*names: str) -> JSON:
    """Empty lists, for the result of a task that ended before it had anything to put into them."""
    return {name: [] for name in names}


def entry(outcome: pool.Outcome[Any, JSON], before: Mapping[str, Any]) -> JSON:
    """The entry of a volume: the outcome's, or where it failed that of ``before`` with the reason. Raises bugs."""
    if outcome.value is not None:
        return outcome.value
    if outcome.error is not None and not isinstance(outcome.error, MusterError):
        raise outcome.error
    failed = {**before, "changed": False, "failed": True, "msg": str(outcome.error)}
    if isinstance(outcome.error, MusterError) and outcome.error.result.get("errors"):
        failed["errors"] = outcome.error.result["errors"]
    return failed


def exported(name: str, ended: Sequence[pool.Outcome[Any, JSON]], result: JSON) -> JSON:
    """The result of an export; :class:`Incomplete`, which carries it, where a volume failed."""
    failed = [one["name"] for one in result["volumes"] if one["failed"]]
    if failed:
        raise Incomplete(
            "export",
            f"{len(failed)} of {len(ended)} volumes of {name}",
            str(next(outcome.error for outcome in ended if outcome.error is not None)),
            "Nothing of it counts as a backup; mend it and run it again.",
            result={**result, "failed_volumes": failed},
        )
    return result


def restored(name: str, ended: Sequence[pool.Outcome[Any, JSON]], result: JSON) -> JSON:
    """The result of a restore; where a volume failed its error, or :class:`Incomplete` with it if there are others."""
    volumes = result["volumes"]
    failed = sum(one["failed"] for one in volumes)
    if failed:
        first = next(outcome.error for outcome in ended if outcome.error is not None)
        if len(volumes) == 1 and isinstance(first, MusterError):
            first.result = result
            raise first
        raise Incomplete(
            "restore",
            f"{failed} of {len(volumes)} volumes of {name}",
            str(first),
            "Mend it and run it again; what is complete is not restored twice.",
            result=result,
        )
    return result
