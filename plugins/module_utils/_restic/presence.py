# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``repository``: is it there, is it ours, is it sound, and what may go?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic import amounts, soundness
from ansible_collections.muster.container_dr.plugins.module_utils._restic.locks import Locks, Verdict
from ansible_collections.muster.container_dr.plugins.module_utils._restic.maintenance import maintain
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

# Given the connections to clusters and some hostnames: what the clusters know of movers with these names.
Holders = Callable[[Sequence[Mapping[str, Any]], Collection[str]], Mapping[str, Verdict]]


def repository(request: Request, holders: Holders) -> dict[str, Any]:
    """``present`` makes it where there is none, ``checked`` only looks, ``maintained`` takes away what is not needed.

    All of them insist on a pinned id.
    """
    options = request.params["repository"]
    if request.params.get("check_data"):
        amounts.part_of_data(request.params["check_data"])
    opened = Repository.open(options)
    lookup = partial(holders, request.params.get("sites") or [])
    if request.params["state"] == "maintained":
        return maintain(request, opened, lookup)
    made = False
    if request.params["state"] == "present" and not opened.exists():
        if opened.pinned:
            raise NotFound(
                "find",
                opened.target,
                f"there is no repository at this address, and a new one can not have the pinned id {opened.pinned}",
                "Correct the URL, or leave the id out to make a new repository.",
            )
        if request.check_mode:
            return {"changed": True, "id": None, "msg": f"Would make {opened.target}"}
        opened.init()
        made = True
    identity = opened.identify()
    more: dict[str, Any] = {}
    if request.params["state"] == "checked":
        more["locks"] = [one.result() for one in Locks(opened, None, lookup).judged()]
        more["repository_keys"] = [one.result() for one in opened.list_keys()]
        if request.params.get("store"):
            more["points"] = _points(request.params, opened)
    try:
        if request.params.get("check_data") is not None and not request.check_mode:
            opened.check(read_data=request.params["check_data"] or None, retry_lock=None)
        told = list(soundness.complaints(more.get("points", ())))
        if told:
            reason = "; ".join(told[:5]) + (f" (and {len(told) - 5} more)" if told[5:] else "")
            raise Incomplete("rely on", opened.target, reason, "Mirror back what is damaged or gone from another copy.")
    except Incomplete as error:
        error.result = {"changed": made, "id": identity, **more, **error.result}
        raise
    said = "Made" if made else "Found"
    return {"changed": made, "id": identity, **more, "msg": f"{said} {opened.target}, id {identity[:10]}"}


def _points(params: Mapping[str, Any], opened: Repository) -> list[dict[str, Any]]:
    """What the recovery points in the store are worth here."""
    store = open_store(params["store"])
    store.probe()
    signing = Signing.of(params.get("signing"))
    return soundness.points(store, opened.snapshots, signing if signing.allowed_signers is not None else None)
