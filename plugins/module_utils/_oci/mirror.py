# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``image_mirror``: resolve what runs, copy it to another place, or verify what lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import without_empty
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import Engine
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import image_fields, scope
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.selection import Selection
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._oci import (
    connections,
    containers,
    placing,
    workloads,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.entries import (
    FRESH,
    OUTCOME,
    Entry,
    known,
    original,
    result,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import folder_of
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    is_digest,
    is_layout,
    is_registry,
    matches,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries
from ansible_collections.muster.container_dr.plugins.module_utils._oci.resolve import Ladder, Resolved
from ansible_collections.muster.container_dr.plugins.module_utils._oci.signature_formats import Signed
from ansible_collections.muster.container_dr.plugins.module_utils._oci.signatures import Trust
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application as plan

_NAMED = 3


def mirror(request: Request) -> dict[str, Any]:
    """Resolve, then copy or verify where a target is given; :class:`Incomplete` carries all entries in its result."""
    params = request.params
    application = params.get("application") or {}
    whole = params["state"] == "absent" and bool(params["point"])
    if params.get("images") is None and not application and not whole:
        raise InvalidInput("mirror", "images", "there is nothing to work on", "Set application or images.")
    plan.check_keys(application)
    docker = plan.on_docker(application)
    back = bool(params.get("original_names"))
    for option in ("verify", "from"):
        if params.get(option) and not params.get("target") and not back:
            raise InvalidInput(
                "mirror", "images", f"{option} is set without target", "Say in target where the copies are."
            )
    if back and not params.get("verify") and not params.get("from"):
        raise InvalidInput(
            "push back", "images", "original_names is set without from", "Say in from where the copies are."
        )
    if params["state"] == "absent" and params.get("verify"):
        raise InvalidInput("remove", "images", "verify is set, which only looks", "Set state or verify, not both.")
    _check_point(params)
    rules = plan.excluded_images(application)
    excluded: list[dict[str, str]] = []
    trust = Trust(params.get("signatures") or [])
    keyring = Keyring()
    engine = Engine(without_empty(params.get("docker")))
    registries = _registries(params, keyring, engine)
    try:
        originals = back or (not params.get("from") and not params.get("verify"))
        if whole:
            return {**placing.take_point_away(request, registries), "excluded": [], "logins": registries.logins()}
        if params.get("images") is None and docker:
            found = containers.uses(engine, application, request.warn)
            found, excluded = _without(found, rules)
            entries = _resolve(request, registries, found)
        elif params.get("images") is None:
            cluster = _cluster(params)
            namespaces = _namespaces(cluster, application)
            fields = image_fields.of_option(application.get("image_fields"))
            found = workloads.uses(cluster, namespaces, fields, request.warn, keyring)
            found, excluded = _without(found, rules)
            entries = _resolve(request, registries, found)
        else:
            ladder = Ladder(registries)
            entries = [_given(entry, ladder) for entry in params["images"]]
            if application and originals and not docker:
                cluster = _cluster(params)
                workloads.pull_logins(cluster, _namespaces(cluster, application), keyring, request.warn)
        told = _work(request, registries, entries, trust)
        return {**told, "excluded": excluded, "logins": registries.logins()}
    except MusterError as error:
        if error.result:
            error.result.update(excluded=excluded, logins=registries.logins())
        raise
    finally:
        registries.close()


def _work(request: Request, registries: Registries, entries: list[Entry], trust: Trust) -> dict[str, Any]:
    params = request.params

    def judge(place: Callable[[Entry], Reference]) -> None:
        _judge(request, registries, entries, trust, place)

    if params["state"] == "absent":
        return placing.take_away(request, registries, entries)
    if params.get("verify"):
        return placing.verify(request, registries, entries, judge)
    if params.get("target") or params.get("original_names"):
        mirrors = [Place.of(entry) for entry in params.get("mirrors") or []]
        return placing.copy(request, registries, entries, judge, mirrors)
    judge(original)
    return result(request, entries, "resolved", "of the application", changed=False)


def _cluster(params: Mapping[str, Any]) -> Cluster:
    # Only here: a machine that looks after Docker hosts need not have it.
    REQUIREMENT.check("the cluster")
    return Cluster.connect(params)


def _namespaces(cluster: Cluster, application: Mapping[str, Any]) -> list[str]:
    return list(scope.of(cluster, Selection.of({"name": "the application", **application})).namespaces)


# -- connections ----------------------------------------------------------------------------------------------


def _registries(params: Mapping[str, Any], keyring: Keyring, engine: Engine) -> Registries:
    named = [params.get("target"), params.get("from"), *(params.get("sources") or []), *(params.get("mirrors") or [])]
    places = [Place.of(params[name]).host for name in ("target", "from") if params.get(name)]
    # Inside one layout images come into a point from those that it has already; its own index is only being written.
    inside = len(places) > len(set(places))
    point = params["point"]
    return connections.of_options(named, keyring, engine=engine, read="" if inside else point, written=point)


def _check_point(params: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` where a point is named that means nothing, or is not named where that is needed."""
    point, absent = params["point"], params["state"] == "absent"
    folder_of(point)
    places = [Place.of(params[name]) for name in ("target", "from") if params.get(name)]
    layouts = [place for place in places if is_layout(place.host)]
    if point and not layouts:
        raise InvalidInput("use", f"point {point!r}", "neither target nor from is a layout", "Leave it out.")
    if point and absent and (params.get("images") is not None or params.get("application")):
        raise InvalidInput("remove", f"point {point!r}", "a point goes as a whole", "Leave out images and application.")
    if absent and not point and places[0] in layouts:
        raise InvalidInput(
            "remove images from", places[0].name, "no point is named", "Set point, or remove the directory or prefix."
        )


# -- resolve --------------------------------------------------------------------------------------------------


def _without(
    found: Sequence[workloads.Use], rules: Sequence[plan.ExcludedImage]
) -> tuple[list[workloads.Use], list[dict[str, str]]]:
    """The uses of images that no rule excludes, and the images that one does: ``what`` and ``why``, once each."""
    kept: list[workloads.Use] = []
    excluded: dict[str, str] = {}
    for use in found:
        try:
            written = _written(use.image)
            rule = next((rule for rule in rules if matches(rule.pattern, written)), None)
        except InvalidInput:
            # What is no name is told of where it is resolved.
            rule = None
        if rule is None:
            kept.append(use)
        else:
            excluded[f"image:{use.image}"] = rule.reason
    return kept, [{"what": what, "why": why} for what, why in sorted(excluded.items())]


def _written(image: str) -> Reference:
    """A workload's name for an image; only a Docker host has images by their ids."""
    return Reference.anywhere(image) if is_digest(image) else Reference.parse(image)


def _resolve(request: Request, registries: Registries, found: Sequence[workloads.Use]) -> list[Entry]:
    """One entry per name and digest, ordered by name; what could not be resolved is marked as failed."""
    users: dict[workloads.Use, list[workloads.Use]] = {}
    for use in found:
        users.setdefault(replace(use, used_by="", node=""), []).append(use)
    mirrors = [Place.of(entry) for entry in request.params.get("mirrors") or []]
    ladder = Ladder(registries, mirrors)

    def one(use: workloads.Use) -> Resolved:
        request.progress.update("image", use.image, "running", msg="resolving")
        if use.problem:
            hint = "Give variables in application.compose_files, or leave the image out by application.images.exclude."
            raise Incomplete("resolve", f"image {use.image}", use.problem, hint)
        if use.held is not None:
            return ladder.resolve_held(use.image, use.held)
        return ladder.resolve(use.image, use.image_id, live=use.live)

    entries: dict[tuple[str, str | None], Entry] = {}
    for outcome in pool.each(users, one, workers=request.params["workers"]):
        image = outcome.item.image
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
        if outcome.value is not None:
            resolved = asdict(outcome.value)
            lost = resolved.pop("lost")
            path = placing.path(_written(image), resolved["repository"], mirrors)
            entry = {**FRESH, **OUTCOME, **resolved, "name": image, "path": path}
            if resolved["tag_digest"] or lost:
                request.warn(f"Image {image}: {resolved['msg']}.")
        else:
            entry = {**FRESH, **OUTCOME, "name": image, "resolved_by": "unresolved", "failed": True}
            entry["msg"] = str(outcome.error)
        first = entries.setdefault((image, entry["digest"]), entry)
        first["used_by"] = sorted({*first["used_by"], *(use.used_by for use in users[outcome.item])})
        first["nodes"] = sorted({*first["nodes"], *(use.node for use in users[outcome.item] if use.node)})
        request.progress.update(
            "image", image, "failed" if entry["failed"] else "done", msg=entry["msg"] or entry["digest"]
        )
    return sorted(entries.values(), key=lambda entry: (entry["name"], entry["used_by"]))


def _given(entry: Any, ladder: Ladder) -> Entry:
    if not isinstance(entry, Mapping) or not entry.get("name"):
        raise InvalidInput(
            "use", "images", "an entry has no name", "Give the images that this module or a recovery point returned."
        )
    digest = entry.get("digest")
    if digest is not None and not is_digest(str(digest)):
        raise InvalidInput("use", f"image {entry['name']}", f"{digest!r} is no digest", "Give it as sha256:HEX.")
    said = {key: entry[key] for key in FRESH if entry.get(key) is not None}
    result = {**FRESH, **OUTCOME, **said, "name": str(entry["name"]), "target": None}
    try:
        written = Reference.anywhere(result["name"])
    except InvalidInput as error:
        result.update(digest=None, failed=True, msg=str(error))
        return result
    if digest is None:
        # What a cluster said, and no registry had, is never taken for the name of a file here.
        foreign = not is_registry(written.host) and result["resolved_by"] is None
        if foreign and written.digest is None:
            _look_up(result, written, ladder)
        elif foreign or is_registry(written.host):
            result["digest"] = written.digest
        if result["digest"] is None and not result["failed"]:
            result.update(failed=True, msg=str(entry.get("msg") or "it was not resolved to a digest"))
    return result


def _look_up(entry: Entry, written: Reference, ladder: Ladder) -> None:
    """Complete the entry of an image that is named in an archive, a layout or a Docker daemon."""
    try:
        found = asdict(ladder.named(written))
    except MusterError as error:
        entry.update(failed=True, resolved_by="unresolved", msg=str(error))
        return
    entry.update({key: found[key] for key in ("digest", "media_type", "size", "platforms", "repository")})
    exported = written.host.startswith("docker-")
    entry["resolved_by"] = "export" if exported else "tag"
    entry["msg"] = "Docker keeps no manifest of it, so its digest is a new one" if exported else ""


# -- signatures -----------------------------------------------------------------------------------------------


def _judge(
    request: Request, registries: Registries, entries: list[Entry], trust: Trust, place: Callable[[Entry], Reference]
) -> None:
    """Put the verdict on its signatures at a place into every entry, and fail those that a policy refuses.

    Each entry by itself: names that share one digest may fall under different rules.
    """

    def one(entry: Entry) -> None:
        at = place(entry)
        verdict = trust.verdict(entry["name"], Signed(registries.at(at.host), at.repository, entry["digest"]))
        entry["signatures"] = {**asdict(verdict), "signed_by": list(verdict.signed_by)}
        if verdict.refused:
            raise Refused(
                "trust",
                f"image {entry['name']} at {at.at(entry['digest'])}",
                f"signatures are required, and its verdict is {verdict.verdict}: {verdict.reason}",
                "Have it signed with the keys of its rule, or correct the rule in signatures.",
            )

    judged = known(entries) if trust else []
    for outcome in pool.each(judged, one, workers=request.params["workers"]):
        if isinstance(outcome.error, MusterError):
            outcome.item.update(failed=True, msg=str(outcome.error))
            request.progress.update("image", outcome.item["name"], "failed", msg=outcome.item["msg"])
        elif outcome.error is not None:
            raise outcome.error
    doubtful = [
        f"{entry['name']} is {entry['signatures']['verdict']}, as {entry['signatures']['reason']}"
        for entry in judged
        if not entry["failed"] and entry["signatures"]["verdict"] not in ("verified", "off")
    ]
    if doubtful:
        more = f"; and {len(doubtful) - _NAMED} more" if len(doubtful) > _NAMED else ""
        request.warn(f"Images without a verified signature: {'; '.join(doubtful[:_NAMED])}{more}.")
