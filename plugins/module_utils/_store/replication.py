# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``repository_mirror``: repository first, then the catalogue of what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.clock import Stopwatch
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, recovery_point
from ansible_collections.muster.container_dr.plugins.module_utils._restic import given_up, mirror
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Catalogue
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_repository, open_store
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, digest


@dataclass(frozen=True)
class _Document:
    """One point's document with its signature, read before the repository was listed."""

    id: str
    data: bytes
    signature: bytes


def repository_mirror_verb(request: Request) -> dict[str, Any]:
    """Mirror the repository, the catalogue, or both in the order that never shows a point before its data."""
    watch = Stopwatch()
    result: dict[str, Any] = {
        "changed": False,
        "objects_total": 0,
        "bytes_total": 0,
        "objects_copied": 0,
        "bytes_copied": 0,
        "objects_repaired": 0,
        "objects_removed": 0,
        "bytes_removed": 0,
        "parts": [],
        "points_total": 0,
        "points_copied": [],
        "facts_copied": 0,
    }
    try:
        _mirror(request, result)
    except MusterError as error:
        error.result = {**result, **error.result, "seconds": watch.seconds}
        raise
    verb = "would be copied" if request.check_mode else "copied"
    result["msg"] = (
        f"{result['objects_copied']} of {result['objects_total']} objects ({result['bytes_copied']} bytes) and "
        f"{len(result['points_copied'])} of {result['points_total']} recovery points {verb}"
    )
    return {**result, "seconds": watch.seconds}


def _mirror(request: Request, result: dict[str, Any]) -> None:
    params = request.params
    catalogues = _catalogues(params)
    documents: list[_Document] = []
    if catalogues:
        # Read before the repository is listed: a point sealed meanwhile waits for the next run with its data.
        documents = _absent_documents(*catalogues, Signing.of(params.get("signing")), params["verify_signatures"])
        result["points_total"] = len(catalogues[0].points())
    if params.get("source"):
        source = open_repository(params["source"])
        planned = mirror.plan(
            source,
            open_repository(params["destination"]),
            verify_existing=params["verify_existing"],
            workers=params["workers"],
            given_up=_given_up(request, source),
        )
        done = planned.planned() if request.check_mode else planned.apply(request.progress, params["workers"])
        result.update(done, changed=planned.changed)
        if result["objects_repaired"]:
            request.warn(f"{result['objects_repaired']} objects at {planned.destination.place} were damaged")
        if planned.refusal:
            request.warn(f"Nothing is removed at {planned.destination.place}: {planned.refusal}.")
    if catalogues:
        _copy_documents(request, *catalogues, documents, result)


def _given_up(request: Request, source: Store) -> dict[str, set[str]]:
    """Names of raw objects by kind that may go from the destination, because maintenance has removed them long ago."""
    params = request.params
    if params["remove_after"] is None:
        return {}
    if not params.get("source_store"):
        raise InvalidInput(
            "mirror",
            f"repository {source.place}",
            "remove_after needs the records of maintenance",
            "Set source_store and destination_store.",
        )
    config = source.find(mirror.CONFIG)
    if config is None:
        return {}
    before = clock.now() - timedelta(seconds=clock.duration(params["remove_after"]))
    # That there are trusted signers was made sure of when the catalogue was read.
    vouching = Signing.of(params.get("signing")) if params["verify_signatures"] else None
    return given_up.names(open_store(params["source_store"]), digest(config), vouching, before, request.warn)


def _catalogues(params: Mapping[str, Any]) -> tuple[Catalogue, Catalogue] | None:
    if not params.get("source_store"):
        return None
    if not params.get("application"):
        raise InvalidInput("mirror", "catalogue", "no application was given", "Set application.")
    name = application.name_of(params["application"])
    return (
        Catalogue(open_store(params["source_store"]), name),
        Catalogue(open_store(params["destination_store"]), name),
    )


def _absent_documents(source: Catalogue, target: Catalogue, signing: Signing, verify: bool) -> list[_Document]:
    """Documents that the target lacks, each checked; :class:`Corrupt` names the one that is not what was signed."""
    if verify:
        signing.require_signers(
            "mirror",
            f"catalogue of {source.application}",
            "Set signing.allowed_signers, or verify_signatures to false.",
        )
    held = set(target.points())
    found = []
    for files in source.read_points([point for point in source.points() if point not in held]):
        what = f"recovery point {files.id} of {source.store.place}"
        recovery_point.decode(files.document, files.id, source.application)
        if files.signature is None:
            raise Corrupt(
                "copy", what, "its signature is missing", "Restore it from another copy, or remove the point."
            )
        if verify:
            verdict = signing.verify(files.document, files.signature)
            if not verdict.valid:
                raise Corrupt("copy", what, verdict.msg, "Document or signature was altered. It was not copied.")
        found.append(_Document(files.id, files.document, files.signature))
    return found


def _copy_documents(
    request: Request, source: Catalogue, target: Catalogue, documents: list[_Document], result: dict[str, Any]
) -> None:
    for number, document in enumerate(documents, 1):
        if not request.check_mode:
            target.store.put(target.signature_key(document.id), document.signature)
            target.store.create(target.point_key(document.id), document.data)
            request.progress.update(
                "catalogue", source.application, "running", done=number, total=len(documents), unit="points"
            )
        result["points_copied"].append(document.id)
        result["changed"] = True
    held = {entry.key for entry in target.store.list(f"{target.root}/facts/")}
    known = set(target.points()) | {document.id for document in documents}
    for entry in source.store.list(f"{source.root}/facts/"):
        point = entry.key[len(f"{source.root}/facts/") :].partition("/")[0]
        if entry.key in held or point not in known:
            continue
        if not request.check_mode:
            target.store.create(entry.key, source.store.get(entry.key))
        result["facts_copied"] += 1
        result["changed"] = True
    there = {entry.key for entry in target.store.list(given_up.ROOT)}
    # A signature before its record, as everywhere.
    for entry in sorted(source.store.list(given_up.ROOT), key=lambda one: (not one.key.endswith(".sig"), one.key)):
        if entry.key not in there:
            if not request.check_mode:
                target.store.create(entry.key, source.store.get(entry.key))
            result["changed"] = True
    request.progress.update("catalogue", source.application, "done", done=len(documents), unit="points")
