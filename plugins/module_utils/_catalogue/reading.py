# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``recovery_point_info``: what points there are, which are usable, which one to take, what it loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.judging import Judged, judge, timelines
from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    InvalidInput,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import (
    application,
    selection,
    versions,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import Note, of_point
from ansible_collections.muster.container_dr.plugins.module_utils._restic.soundness import NAMES, Soundness
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Catalogue, PointFiles
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import catalogue_note
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

_WORKERS = 4


def recovery_point_info_verb(request: Request) -> dict[str, Any]:
    """List the points, judge each, pick one."""
    params = request.params
    name = application.name_of(params["application"])
    catalogue = Catalogue(open_store(params["store"]), name)
    wish = selection.Wish(
        id=params.get("id"),
        before=clock.parse(params["before"]) if params.get("before") else None,
        allow_orphan=bool(params.get("allow_orphan")),
        allow_unknown_timeline=params.get("witness_unreachable") == "ignore",
    )
    signing = Signing.of(params.get("signing"))
    if params.get("verify_signatures"):
        signing.require_signers(
            "judge",
            f"recovery points of {name}",
            "Set signing.allowed_signers, or verify_signatures to false if you accept points that nobody vouches for.",
        )
    ids = catalogue.points()
    total = len(ids)
    limit = total if params.get("limit") is None else params["limit"]
    if limit < 0:
        raise InvalidInput("list", f"recovery points of {name}", f"limit is {limit}", "Write a number from 0 on.")
    chosen = [wish.id] if wish.id in ids else ids[-limit:] if limit else []
    if params.get("missing_at"):
        # Nobody restores from what has expired, and its images may be gone.
        passed_over = {*Catalogue(open_store(params["missing_at"]), name).points(), *catalogue.expired()}
        chosen = [point for point in ids if point in chosen or point not in passed_over]
    place_on = timelines(request, name)
    sound = _soundness(params)
    files = catalogue.read_points(chosen)
    facts = catalogue.facts(chosen)

    def judged(one: PointFiles) -> Judged:
        vouching = signing if params.get("verify_signatures") else None
        return judge(one, name, vouching, place_on, sound, facts.get(one.id, ()))

    points = pool.values(pool.each(files, judged, workers=_WORKERS))
    other = _compared(catalogue, ids, params["compare_to"], judged) if params.get("compare_to") else None
    picked = _pick(points, wish, sound) if params.get("pick") != "none" else None
    for point in catalogue.lost():
        request.warn(
            f"Of recovery point {point} there is no document, only what belongs to one: it was never sealed, or its "
            f"document was lost. Look for it at the other site."
        )
    for fact in (fact for one in facts.values() for fact in one if fact["time"] is None):
        request.warn(f"{fact['data']['key']} in {catalogue.store.place} cannot be read.")
    note = Note.decode(catalogue.store.find(catalogue_note(catalogue.root)))
    listed = [_entry(point, wish, facts[point.candidate.id], note) for point in reversed(points)]
    result: dict[str, Any] = {
        "changed": False,
        "msg": f"{total} recovery points of {name}, picked: {picked.id if picked else 'none'}",
        "points": listed,
        "points_total": total,
        "point": next((entry for entry in listed if picked and entry["id"] == picked.id), None),
        "image_versions": versions.ledger(
            (point.candidate.id, str(document["consistency"]["point"]), document["images"])
            for point in points
            if point.vouched and point.candidate.timeline != "orphan"
            for document in [point.document or {}]
        ),
        "image_changes": None,
        "rpo": _rpo(points, wish, facts, params),
    }
    if other and result["point"]:
        result["image_changes"] = versions.changes(other["images"], result["point"]["document"]["images"])
    if picked is None and params.get("required"):
        error = selection.none_usable(name, catalogue.store.place, [point.candidate for point in points], wish)
        error.result = result
        raise error
    return result


def _compared(
    catalogue: Catalogue, ids: Sequence[str], point: str, judged: Callable[[PointFiles], Judged]
) -> dict[str, Any]:
    """The document of the point to compare with. Raises where it is not there or nobody vouches for it."""
    action, target = "compare with", f"recovery point {point} in {catalogue.store.place}"
    if point not in ids:
        raise NotFound(action, target, "there is no such point", "Take its id from a listing.")
    found = judged(catalogue.read_points([point])[0])
    if found.document is None or not found.vouched:
        raise Corrupt(action, target, "; ".join(found.candidate.reasons), "Compare with another point.")
    return found.document


def _soundness(params: Mapping[str, Any]) -> Soundness | None:
    """The repository at this site, looked at as deep as was asked for."""
    repository, depth = params.get("repository"), params.get("verify") or NAMES
    if repository:
        return Soundness(repository, depth)
    if depth != NAMES:
        raise InvalidInput("verify", f"the {depth} of a point", "no repository was given", "Set repository.")
    return None


def _pick(points: list[Judged], wish: selection.Wish, sound: Soundness | None) -> selection.Candidate | None:
    """The point to take. One whose data turns out damaged is marked in ``points``, and the next one is tried."""
    while True:
        picked = selection.pick([point.candidate for point in points], wish)
        if picked is None or sound is None:
            return picked
        number = next(number for number, point in enumerate(points) if point.candidate == picked)
        damage = sound.damage(points[number].document or {})
        if not damage:
            return picked
        points[number] = replace(points[number], candidate=replace(picked, reasons=(*picked.reasons, *damage)))


def _entry(point: Judged, wish: selection.Wish, facts: list[dict[str, Any]], note: Note | None) -> dict[str, Any]:
    document = point.document or {}
    lock = of_point(document.get("sealed"), facts, note)
    reasons = selection.obstacles(point.candidate, wish)
    verdict = point.verdict
    return {
        "id": point.candidate.id,
        "application": document.get("application"),
        "site": document.get("site"),
        "epoch": document.get("epoch"),
        "sealed": document.get("sealed"),
        "consistency": document.get("consistency"),
        "timeline": point.candidate.timeline,
        "usable": not reasons,
        "reasons": reasons,
        "signature": {
            "valid": verdict.valid if verdict else None,
            "identity": verdict.identity if verdict else None,
            "msg": verdict.msg if verdict else "not checked",
        },
        "lock": lock.result() if lock else None,
        "facts": [{"kind": fact["kind"], "time": fact["time"], "data": fact.get("data")} for fact in facts],
        "document": point.document,
    }


def _rpo(
    points: list[Judged],
    wish: selection.Wish,
    facts: Mapping[str, list[dict[str, Any]]],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """What would be lost at ``at`` (default now) if only this site were left, and whether that meets the target."""
    moment = clock.parse(params["at"]) if params.get("at") else clock.now()
    readable = []
    target: float | None = None
    for point in points:
        if point.document is None or selection.obstacles(point.candidate, wish) or not point.candidate.consistency:
            continue
        since = selection.readable_since(point.document, facts[point.candidate.id], params.get("site"))
        if since is not None:
            readable.append(selection.Readable(point.candidate.id, point.candidate.consistency, since))
        target = (point.document.get("targets") or {}).get("rpo", target)
    given = application.targets("application", params["application"].get("targets")).rpo
    target = given if given is not None else target
    loss, worst = selection.loss(readable, moment), selection.worst_loss(readable, moment)
    return {
        "at": clock.iso(moment),
        "seconds": loss.seconds,
        "point": loss.point,
        "worst_seconds": worst.seconds,
        "target_seconds": target,
        "met": None if target is None else loss.seconds is not None and loss.seconds <= target,
    }
