# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``recovery_point``: begin a point, seal it, note what became known of it, expire it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue import expiry, judging
from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import (
    application,
    recovery_point,
    timeline,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import (
    HELD,
    UNREADABLE,
    Catalogue,
    undone,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import digest

_KIND = re.compile(r"^[a-z][a-z0-9_]{0,31}$")


def recovery_point_verb(request: Request) -> dict[str, Any]:
    """Do what ``state`` says."""
    verbs = {"begun": _begin, "sealed": _seal, "noted": _note, "expired": expiry.expire}
    return verbs[request.params["state"]](request)


def _begin(request: Request) -> dict[str, Any]:
    params = request.params
    name = application.parse(params["application"]).name
    catalogue = Catalogue(open_store(params["store"]), name)
    Signing.of(params.get("signing")).check()
    ids = catalogue.points()
    epoch, orphan = _epoch(request, name)
    if orphan:
        request.warn(orphan)
    # The same small document each time: where it is already, nothing is written, but the right to write was tried.
    about = json.dumps({"application": name, "format": "muster/application/v1"}, sort_keys=True).encode() + b"\n"
    key = f"{catalogue.root}/about.json"
    changed = catalogue.store.find(key) != about
    if not request.check_mode:
        try:
            catalogue.store.create(key, about)
        except Conflict:
            changed = False
    started = clock.now()
    point = recovery_point.PointId(started, name, secrets.token_hex(4))
    return {
        "changed": changed,
        "msg": f"Recovery point {point} can be made",
        "id": str(point),
        "application": name,
        "site": params.get("site"),
        "epoch": epoch,
        "parent": ids[-1] if ids else None,
        "started": clock.iso(started),
        "timeline": "orphan" if orphan else "current",
    }


def _epoch(request: Request, name: str) -> tuple[int, str]:
    """The epoch of the new point, and why it would be an orphan."""
    given, site = request.params.get("epoch"), request.params.get("site")
    if not request.params.get("witness"):
        return given or 1, ""
    try:
        found = Catalogue(open_store(request.params["witness"]), name).state()
    except MusterError as error:
        request.warn(f"The witness was not asked for the epoch: {error}")
        return given or 1, ""
    if found is None:
        return given or 1, ""
    state = found[0]
    epoch = given or state.active_epoch
    reason = timeline.orphaned(state, "99999999T000000Z", epoch)
    if not reason and state.lock is None and site and site != state.active_site:
        reason = f"{name} is active at {state.active_site}"
    return epoch, f"This point will not be restored by itself: {reason}." if reason else ""


def _seal(request: Request) -> dict[str, Any]:
    params = request.params
    app = application.parse(params["application"])
    point = params["id"]
    signing = Signing.of(params.get("signing"))
    content = recovery_point.Content(
        objects=params.get("objects"),
        volumes=params.get("volumes") or [],
        images=params.get("images") or [],
        hooks=params.get("hooks") or [],
        excluded=params.get("excluded") or [],
    )
    accepted = set(params.get("accept_incomplete") or ())
    problems = recovery_point.problems(content, [hook.name for hook in app.hooks if hook.optional])
    refused = [problem for problem in problems if problem.name not in accepted]
    if refused:
        raise Incomplete(
            "seal",
            f"recovery point {point}",
            "; ".join(f"{problem.name}: {problem.reason}" for problem in refused),
            "Remove the cause and back up again, or list the names in accept_incomplete.",
            result={"problems": [{"what": problem.name, "why": problem.reason} for problem in refused]},
        )
    targets = params.get("targets") or {"rpo": app.targets.rpo, "rto": app.targets.rto}

    def made(sealed: str) -> dict[str, Any]:
        return recovery_point.document(
            point=point,
            application=app.name,
            site=params["site"],
            epoch=params["epoch"],
            parent=params.get("parent"),
            started=params["started"],
            sealed=sealed,
            consistency=params["consistency"],
            targets={key: clock.duration(value) for key, value in targets.items() if value is not None},
            content=content,
            tools=params.get("tools") or {},
            accepted=[problem for problem in problems if problem.name in accepted],
        )

    value = made(clock.iso(clock.now()))
    catalogue = Catalogue(open_store(params["store"]), app.name)
    there = catalogue.store.find(catalogue.point_key(point))
    if there is not None:
        known = recovery_point.decode(there, point, app.name)
        # The moment of sealing is the one thing that a repetition cannot know.
        if recovery_point.encode(made(str(known["sealed"]))) != there:
            raise Conflict(
                "seal", f"recovery point {point}", "it is sealed already, with other content", "Begin a new point."
            )
        return _sealed(catalogue, known, there, changed=False, msg=f"Recovery point {point} was sealed before")
    data = recovery_point.encode(value)
    signature = signing.sign(data)
    if signing.allowed_signers is not None:
        signing.check()
    if request.check_mode:
        return _sealed(catalogue, value, data, changed=True, msg=f"Recovery point {point} would be sealed")
    # The document comes last: without it the point does not exist, with it the signature does.
    catalogue.store.put(catalogue.signature_key(point), signature)
    catalogue.store.create(catalogue.point_key(point), data)
    return _sealed(catalogue, value, data, changed=True, msg=f"Recovery point {point} is sealed")


def _sealed(catalogue: Catalogue, value: Mapping[str, Any], data: bytes, *, changed: bool, msg: str) -> dict[str, Any]:
    return {
        "changed": changed,
        "msg": msg,
        "id": value["id"],
        "application": value["application"],
        "key": catalogue.point_key(str(value["id"])),
        "digest": digest(data),
        "bytes": len(data),
        "document": dict(value),
        "accepted": value.get("accepted", []),
    }


def _note(request: Request) -> dict[str, Any]:
    params = request.params
    name = application.name_of(params["application"])
    kind = params["kind"]
    if not _KIND.match(kind):
        raise InvalidInput("note", f"fact {kind!r}", "its kind is not a short lower-case word", "Such as copied.")
    if kind == UNREADABLE:
        raise InvalidInput("note", f"fact {kind!r}", "it is what a damaged fact is called", "Choose another kind.")
    ids = params.get("ids") or [params["id"]]
    for point in ids:
        recovery_point.PointId.parse(point)
    catalogue = Catalogue(open_store(params["store"]), name)
    known = set(catalogue.points())
    for point in ids:
        if point not in known:
            raise NotFound("note", f"fact about recovery point {point}", f"{catalogue.store.place} does not hold it")
    time = params.get("time") or clock.iso(clock.now())
    data = params.get("data") or {}
    _check_effect(catalogue, ids, kind, data, clock.parse(time))
    facts: list[dict[str, Any]] = []
    try:
        for point in ids:
            if request.check_mode:
                there = catalogue.noted(point, kind, data)
                facts.append({"name": point, "changed": not there, "key": None})
            else:
                key = catalogue.note(point, kind, data, time)
                facts.append({"name": point, "changed": key is not None, "key": key})
    except MusterError as error:
        error.result = {"changed": any(fact["changed"] for fact in facts), "facts": facts}
        raise
    count = sum(1 for fact in facts if fact["changed"])
    return {"changed": count > 0, "msg": f"{count} facts noted, {len(facts) - count} known before", "facts": facts}


def _check_effect(
    catalogue: Catalogue, ids: Sequence[str], kind: str, data: Mapping[str, Any], moment: datetime
) -> None:
    """Raise :class:`Refused`, before anything is noted, for a fact that would change nothing at one of these points."""
    for point, facts in catalogue.facts(ids).items():
        action, target = "note", f"fact {kind} about recovery point {point}"
        since = judging.expired(facts)
        if kind == HELD and since is not None:
            hint = "Restore it now, while its data is still there, or hold another point."
            raise Refused(action, target, f"it has expired at {since}, and no hold brings its data back", hint)
        later = undone(kind, moment, facts)
        if later and not catalogue.noted(point, kind, data):
            hint = "Leave the time out, or give a later one."
            raise Refused(action, target, f"the fact {later} is not older and would undo it", hint)
