# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Expire recovery points: note at those that no rule keeps that their data may be taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue import judging
from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, recovery_point, retention
from ansible_collections.muster.container_dr.plugins.module_utils._restic.soundness import NAMES, Soundness
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import (
    EXPIRED,
    HELD,
    RELEASED,
    TAGGED,
    UNREADABLE,
    Catalogue,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

# Kinds of facts that retention goes by. Of held and released, and of the tags of one point, the newest fact counts.
ACCEPTED, DRILLED = "loss_accepted", "drilled"


def expire(request: Request) -> dict[str, Any]:
    """``state: expired``: decide about every point of the application, and note what was decided."""
    params = request.params
    name = application.name_of(params["application"])
    policy = retention.Policy.parse(params["retention"])
    signing = Signing.of(params.get("signing"))
    signing.require_signers(
        "expire",
        f"recovery points of {name}",
        "Set signing.allowed_signers: only points that somebody vouches for count.",
    )
    catalogue = Catalogue(open_store(params["store"]), name)
    ids = catalogue.points()
    facts = catalogue.facts(ids)
    living = [point for point in ids if judging.expired(facts[point]) is None]
    place_on = judging.timelines(request, name)
    # Listed after the points: of one that is sealed meanwhile the data is there.
    there = Soundness(params["repository"], NAMES) if params.get("repository") else None
    judged = [
        judging.judge(files, name, signing, place_on, there, facts[files.id]) for files in catalogue.read_points(living)
    ]
    points = [_point(one, facts[one.candidate.id]) for one in judged]
    verdict = retention.decide(points, policy, clock.now())
    going = set(verdict.expiring)
    result: dict[str, Any] = {
        "changed": bool(going),
        "msg": f"{len(going)} of {len(living)} recovery points of {name} expire",
        "frozen": list(verdict.frozen),
        "summary": [
            f"{'keep' if one.keep else 'expire'} {one.id}: {'; '.join(one.reasons)}" for one in verdict.decisions
        ],
        "decisions": [
            {
                "name": one.id,
                "keep": one.keep,
                "reasons": list(one.reasons),
                "changed": one.id in going,
                "failed": False,
                "skipped": one.keep,
                "msg": "; ".join(one.reasons),
            }
            for one in verdict.decisions
        ],
    }
    if verdict.frozen:
        raise Refused(
            "expire",
            f"recovery points of {name}",
            "; ".join(verdict.frozen),
            f"Nothing expires until somebody has looked. Where a volume is right as it is, note the fact {ACCEPTED} "
            f"with its name at the newest point, or list it in may_shrink if it comes and goes.",
            result=result,
        )
    if not request.check_mode:
        moment = clock.iso(clock.now())
        data = {"policy": {key: value for key, value in params["retention"].items() if value is not None}}
        noted: set[str] = set()
        try:
            for point in verdict.expiring:
                catalogue.note(point, EXPIRED, data, moment)
                noted.add(point)
        except MusterError as error:
            told = [{**entry, "changed": entry["name"] in noted} for entry in result["decisions"]]
            error.result = {**result, "changed": bool(noted), "decisions": told}
            raise
    return result


def _point(one: judging.Judged, facts: judging.Facts) -> retention.Point:
    candidate, document = one.candidate, one.document
    doubt = "; ".join(candidate.reasons)
    if candidate.timeline != "current":
        doubt = doubt or f"{candidate.timeline} timeline: {candidate.timeline_reason}"
    hold, unreadable, tags, accepted, drilled = "", "", frozenset[str](), set[str](), None
    for fact in facts:
        data: Mapping[str, Any] = fact.get("data") or {}
        if fact["kind"] == HELD:
            hold = str(data.get("reason") or "somebody asked for it")
        elif fact["kind"] == UNREADABLE:
            unreadable = f"nobody can read {data['key']}"
        elif fact["kind"] == RELEASED:
            hold = ""
        elif fact["kind"] == TAGGED:
            tags = frozenset(_texts(data.get("tags")))
        elif fact["kind"] == ACCEPTED:
            accepted |= set(_texts(data.get("volumes")))
        elif fact["kind"] == DRILLED and data.get("verdict") == "pass":
            drilled = clock.parse(str(fact["time"]))
    # It may have been a hold.
    hold = hold or unreadable
    made = recovery_point.PointId.parse(candidate.id).moment
    if document is None:
        return retention.Point(candidate.id, made, made, hold=hold, tags=tags, doubt=doubt)
    return retention.Point(
        id=candidate.id,
        moment=candidate.consistency or made,
        made=clock.parse(document["sealed"]),
        volumes=tuple(
            retention.Volume(str(volume.get("name")), volume.get("files"), volume.get("bytes"))
            for volume in document["volumes"]
        ),
        # A claim that was made anew and never bound has lost what it held, and no rule said that it may.
        excluded=frozenset(
            str(entry.get("what")) for entry in document.get("excluded") or () if not entry.get("unbound")
        ),
        accepted=frozenset(accepted),
        tags=tags,
        hold=hold,
        drilled=drilled,
        doubt=doubt,
    )


def _texts(value: Any) -> list[str]:
    """A list of texts; people write a list of one without its brackets."""
    return [str(one) for one in (value if isinstance(value, list) else [value])] if value else []
