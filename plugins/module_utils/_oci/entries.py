# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is known of each image and what came of it: the list that ``image_mirror`` returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference

Entry = dict[str, Any]
_PROGRESS_EVERY = 0.5
_NOT_BEGUN = "not begun, because another image failed"
FRESH: Entry = {
    "digest": None,
    "media_type": None,
    "size": None,
    "platforms": [],
    "resolved_by": None,
    "tag_digest": None,
    "repository": None,
    "path": None,
    "used_by": [],
    "nodes": [],
    "signatures": None,
    "target": None,
}
OUTCOME: Entry = {
    "bytes_copied": 0,
    "blobs_copied": 0,
    "blobs_mounted": 0,
    "changed": False,
    "failed": False,
    "msg": "",
}


def known(entries: list[Entry]) -> list[Entry]:
    """Those that stand for a digest."""
    return [entry for entry in entries if entry["digest"] is not None]


def original(entry: Entry) -> Reference:
    """Where the digest was found, or else what the workload names."""
    return Reference.anywhere(entry["repository"] or entry["name"])


def each(
    request: Request, entries: list[Entry], goal: Callable[[Entry], Reference], work: Callable[[Entry], None]
) -> None:
    """Call ``work`` once per distinct image; equal entries share what came of it. ``goal`` is the copy's repository."""
    distinct: dict[str, Entry] = {}
    for entry in known(entries):
        entry["target"] = str(goal(entry).at(entry["digest"]))
        if not entry["failed"]:
            distinct.setdefault(entry["target"], entry)

    def one(entry: Entry) -> None:
        request.progress.update("image", entry["name"], "running", done=0, total=entry["size"], unit="bytes")
        try:
            work(entry)
        except MusterError as error:
            entry.update(failed=True, msg=str(error))
            request.progress.update("image", entry["name"], "failed", msg=entry["msg"])
            raise
        request.progress.update(
            "image",
            entry["name"],
            "done",
            done=entry["bytes_copied"],
            total=entry["size"],
            unit="bytes",
            msg=entry["msg"],
        )

    params = request.params
    if params["fail_fast"] and any(entry["failed"] for entry in entries if entry["digest"]):
        for entry in distinct.values():
            entry.update(failed=True, msg=_NOT_BEGUN)
    batch = [entry for entry in distinct.values() if not entry["failed"]]
    for outcome in pool.each(batch, one, workers=params["workers"], fail_fast=params["fail_fast"]):
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
        if not outcome.started:
            outcome.item.update(failed=True, msg=_NOT_BEGUN)
    for entry in entries:
        first = distinct.get(entry["target"] or "")
        if first is not None and first is not entry and not entry["failed"]:
            entry.update({key: first[key] for key in ("media_type", "platforms", "failed", "msg")})


def reporter(request: Request, entry: Entry) -> Callable[[int], None]:
    lock = threading.Lock()
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        with lock:
            done += count
            if time.monotonic() - last < _PROGRESS_EVERY:
                return
            last = time.monotonic()
            request.progress.update("image", entry["name"], "running", done=done, total=entry["size"], unit="bytes")

    return advance


def result(
    request: Request, entries: list[Entry], what: str, place: str, *, changed: bool | None = None
) -> dict[str, Any]:
    """The module's result; raises :class:`Incomplete` with it where an image failed.

    ``what`` is ``resolved``, ``copied``, ``verified`` or ``removed``, and ``place`` says of which images in an error.
    """
    failed = [entry for entry in entries if entry["failed"]]
    moved = [entry for entry in entries if entry["changed"]]
    total = sum(entry["bytes_copied"] for entry in entries)
    told: dict[str, Any] = {
        "changed": bool(moved) if changed is None else changed,
        "images": entries,
        "bytes_copied": total,
        "blobs_copied": sum(entry["blobs_copied"] for entry in entries),
        "blobs_mounted": sum(entry["blobs_mounted"] for entry in entries),
        "copied": len(moved),
        "unchanged": sum(not entry["changed"] and not entry["failed"] for entry in entries),
        "failures": len(failed),
    }
    good = len(entries) - len(failed)
    verb = f"would be {what}" if request.check_mode else what
    if what == "copied":
        told["msg"] = f"{len(moved)} of {len(entries)} images {verb} ({total} bytes), {told['unchanged']} already there"
    elif what == "removed":
        told["msg"] = f"{len(moved)} of {len(entries)} images {verb}"
    else:
        told["msg"] = f"{good} of {len(entries)} images {what}"
    unresolved = [entry for entry in failed if entry["digest"] is None]
    fatal = [entry for entry in failed if entry not in unresolved or not request.params["allow_unresolved"]]
    if not fatal:
        return told
    action = {"resolved": "resolve", "copied": "copy", "verified": "verify", "removed": "remove"}[what]
    target = f"all images {place}"
    reasons = list(dict.fromkeys(entry["msg"] for entry in fatal))
    more = f" And {len(reasons) - 2} other reasons, see images." if len(reasons) > 2 else ""
    raise Incomplete(
        action, target, f"{len(fatal)} of {len(entries)} failed. {' '.join(reasons[:2])}{more}", result=told
    )
