# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``image_mirror``: resolve what runs, copy it to another place, or verify what lies there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import scope
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.selection import Selection
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._oci import connections, workloads
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import Copier, Route, Tally, check_whole
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    is_digest,
    is_registry,
    path_for,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries
from ansible_collections.muster.container_dr.plugins.module_utils._oci.resolve import Ladder, Resolved

Entry = dict[str, Any]
_PROGRESS_EVERY = 0.5
_FRESH: Entry = {
    "digest": None,
    "media_type": None,
    "size": None,
    "platforms": [],
    "resolved_by": None,
    "tag_digest": None,
    "repository": None,
    "path": None,
    "used_by": [],
    "target": None,
}
_OUTCOME: Entry = {
    "bytes_copied": 0,
    "blobs_copied": 0,
    "blobs_mounted": 0,
    "changed": False,
    "failed": False,
    "msg": "",
}


def mirror(request: Request) -> dict[str, Any]:
    """Resolve, then copy or verify where a target is given; :class:`Incomplete` carries all entries in its result."""
    params = request.params
    application = params.get("application") or {}
    if params.get("images") is None and not application:
        raise InvalidInput("mirror", "images", "there is nothing to work on", "Set application or images.")
    for option in ("verify", "from"):
        if params.get(option) and not params.get("target"):
            raise InvalidInput(
                "mirror", "images", f"{option} is set without target", "Say in target where the copies are."
            )
    keyring = Keyring()
    registries = _registries(params, keyring)
    try:
        originals = not params.get("from") and not params.get("verify")
        if params.get("images") is None:
            cluster = Cluster.connect(params)
            namespaces = _namespaces(cluster, application)
            found = workloads.uses(cluster, namespaces)
            workloads.pull_logins(cluster, namespaces, keyring, request.warn)
            entries = _resolve(request, registries, found)
        else:
            ladder = Ladder(registries)
            entries = [_given(entry, ladder) for entry in params["images"]]
            if application and originals:
                cluster = Cluster.connect(params)
                workloads.pull_logins(cluster, _namespaces(cluster, application), keyring, request.warn)
        if not params.get("target"):
            return _result(request, entries, "resolved", changed=False)
        if params.get("verify"):
            return _verify(request, registries, entries)
        return _copy(request, registries, entries)
    finally:
        registries.close()


def _namespaces(cluster: Cluster, application: Mapping[str, Any]) -> list[str]:
    return list(scope.of(cluster, Selection.of({"name": "the application", **application})).namespaces)


# -- connections ----------------------------------------------------------------------------------------------


def _registries(params: Mapping[str, Any], keyring: Keyring) -> Registries:
    named = [params.get("target"), params.get("from"), *(params.get("sources") or []), *(params.get("mirrors") or [])]
    return connections.of_options(named, keyring)


# -- resolve --------------------------------------------------------------------------------------------------


def _resolve(request: Request, registries: Registries, found: Sequence[workloads.Use]) -> list[Entry]:
    """One entry per name and digest, ordered by name; what could not be resolved is marked as failed."""
    users: dict[tuple[str, str, bool], list[str]] = {}
    for use in found:
        users.setdefault((use.image, use.image_id, use.live), []).append(use.used_by)
    mirrors = [Place.of(entry) for entry in request.params.get("mirrors") or []]
    ladder = Ladder(registries, mirrors)

    def one(key: tuple[str, str, bool]) -> Resolved:
        image, image_id, live = key
        request.progress.update("image", image, "running", msg="resolving")
        return ladder.resolve(image, image_id, live=live)

    entries: dict[tuple[str, str | None], Entry] = {}
    for outcome in pool.each(users, one, workers=request.params["workers"]):
        image = outcome.item[0]
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
        if outcome.value is not None:
            resolved = asdict(outcome.value)
            path = _path(Reference.parse(image), resolved["repository"], mirrors)
            entry = {**_FRESH, **_OUTCOME, **resolved, "name": image, "path": path}
            if resolved["tag_digest"]:
                request.warn(f"Image {image}: {resolved['msg']}.")
        else:
            entry = {**_FRESH, **_OUTCOME, "name": image, "resolved_by": "unresolved", "failed": True}
            entry["msg"] = str(outcome.error)
        known = entries.setdefault((image, entry["digest"]), entry)
        known["used_by"] = sorted({*known["used_by"], *users[outcome.item]})
        request.progress.update(
            "image", image, "failed" if entry["failed"] else "done", msg=entry["msg"] or entry["digest"]
        )
    return sorted(entries.values(), key=lambda entry: (entry["name"], entry["used_by"]))


def _path(written: Reference, repository: str | None, places: Iterable[Place]) -> str:
    """Where an image lies below any place; one that was pulled from a copy of ours keeps the path that it has."""
    for place in places:
        for reference in (written, *([Reference.anywhere(repository)] if repository else [])):
            path = place.path_of(reference)
            if path is not None:
                return path
    return path_for(written)


def _given(entry: Any, ladder: Ladder) -> Entry:
    if not isinstance(entry, Mapping) or not entry.get("name"):
        raise InvalidInput(
            "use", "images", "an entry has no name", "Give the images that this module or a recovery point returned."
        )
    digest = entry.get("digest")
    if digest is not None and not is_digest(str(digest)):
        raise InvalidInput("use", f"image {entry['name']}", f"{digest!r} is no digest", "Give it as sha256:HEX.")
    known = {key: entry[key] for key in _FRESH if entry.get(key) is not None}
    result = {**_FRESH, **_OUTCOME, **known, "name": str(entry["name"]), "target": None}
    if digest is None:
        written = Reference.anywhere(result["name"])
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


# -- copy and verify ------------------------------------------------------------------------------------------


def _copy(request: Request, registries: Registries, entries: list[Entry]) -> dict[str, Any]:
    params = request.params
    target, origin = Place.of(params["target"]), None
    if params.get("from"):
        origin = Place.of(params["from"])
    mirrors = [Place.of(entry) for entry in params.get("mirrors") or []]
    copier = Copier(
        registries.target(target.host),
        workers=params["workers"],
        write=not request.check_mode,
        attachments=params["attachments"],
    )
    for entry in _known(entries):
        if origin is None or not entry["path"]:
            places = [target, *mirrors, *([origin] if origin else [])]
            fresh = _path(Reference.anywhere(entry["name"]), entry["repository"], places)
            entry["path"] = fresh if origin is None else entry["path"] or fresh

    def one(entry: Entry) -> None:
        if origin:
            source = Reference(origin.host, origin.repository(entry["path"]))
        else:
            source = Reference.anywhere(entry["repository"] or entry["name"])
        route = Route(registries.at(source.host), source.repository, target.repository(entry["path"]))
        tally = Tally(_reporter(request, entry))
        try:
            root = copier.copy(route, entry["digest"], tally)
        finally:
            entry.update(bytes_copied=tally.bytes, blobs_copied=tally.blobs, blobs_mounted=tally.mounted)
            entry["changed"] = tally.changed
        entry["media_type"] = root.media_type
        entry["platforms"] = entry["platforms"] or root.platforms
        verb = "would be copied" if request.check_mode else "copied"
        entry["msg"] = verb if tally.changed else "already there"
        if tally.notes:
            entry["msg"] += "; " + "; ".join(tally.notes)

    try:
        _each(request, entries, target, one)
        _finish(copier, entries)
    finally:
        copier.close()
    return _result(request, entries, "copied")


def _finish(copier: Copier, entries: list[Entry]) -> None:
    """Complete what the target put off. Where that fails it concerns all images that were copied."""
    try:
        copier.finish()
    except MusterError as error:
        for entry in entries:
            if entry["changed"] and not entry["failed"]:
                entry.update(failed=True, msg=str(error))


def _verify(request: Request, registries: Registries, entries: list[Entry]) -> dict[str, Any]:
    target = Place.of(request.params["target"])
    for entry in _known(entries):
        entry["path"] = entry["path"] or _path(Reference.anywhere(entry["name"]), entry["repository"], [target])

    def one(entry: Entry) -> None:
        check_whole(registries.at(target.host), target.repository(entry["path"]), entry["digest"])
        entry["msg"] = "whole"

    _each(request, entries, target, one)
    return _result(request, entries, "verified")


def _known(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry["digest"] is not None]


def _each(request: Request, entries: list[Entry], target: Place, work: Callable[[Entry], None]) -> None:
    """Call ``work`` once per distinct image; equal entries share what came of it."""
    distinct: dict[tuple[str, str], Entry] = {}
    for entry in _known(entries):
        entry["target"] = str(Reference(target.host, target.repository(entry["path"]), digest=entry["digest"]))
        distinct.setdefault((entry["path"], entry["digest"]), entry)

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
    for outcome in pool.each(distinct.values(), one, workers=params["workers"], fail_fast=params["fail_fast"]):
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
        if not outcome.started:
            outcome.item.update(failed=True, msg="not begun, because another image failed")
    for entry in entries:
        first = distinct.get((entry["path"], entry["digest"]))
        if first is not None and first is not entry:
            entry.update({key: first[key] for key in ("media_type", "platforms", "failed", "msg")})


def _reporter(request: Request, entry: Entry) -> Callable[[int], None]:
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


def _result(request: Request, entries: list[Entry], what: str, *, changed: bool | None = None) -> dict[str, Any]:
    """The module's result; raises :class:`Incomplete` with it where an image failed."""
    failed = [entry for entry in entries if entry["failed"]]
    moved = [entry for entry in entries if entry["changed"]]
    total = sum(entry["bytes_copied"] for entry in entries)
    result: dict[str, Any] = {
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
    if what == "copied":
        verb = "would be copied" if request.check_mode else "copied"
        result["msg"] = (
            f"{len(moved)} of {len(entries)} images {verb} ({total} bytes), {result['unchanged']} already there"
        )
    else:
        result["msg"] = f"{good} of {len(entries)} images {what}"
    unresolved = [entry for entry in failed if entry["digest"] is None]
    fatal = [entry for entry in failed if entry not in unresolved or not request.params["allow_unresolved"]]
    if not fatal:
        return result
    action = {"resolved": "resolve", "copied": "copy", "verified": "verify"}[what]
    target = "all images of the application"
    if what != "resolved":
        target = f"all images {'to' if what == 'copied' else 'at'} {request.params['target']['name']}"
    reasons = list(dict.fromkeys(entry["msg"] for entry in fatal))
    more = f" And {len(reasons) - 2} other reasons, see images." if len(reasons) > 2 else ""
    raise Incomplete(
        action, target, f"{len(fatal)} of {len(entries)} failed. {' '.join(reasons[:2])}{more}", result=result
    )
