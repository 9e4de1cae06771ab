# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``repository_mirror``: repository first, then the catalogue of what it holds."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.guarding import (
    altered,
    lock_up,
    make_safe,
    noting,
    some,
    taken,
    tell_kept,
    unrecorded,
    vouching,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.clock import Stopwatch
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, recovery_point, snapshots
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import Held, Lock
from ansible_collections.muster.container_dr.plugins.module_utils._restic import given_up, mirror, recrypt
from ansible_collections.muster.container_dr.plugins.module_utils._restic.exit_codes import Locked
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import RETRY_LOCK, Repository
from ansible_collections.muster.container_dr.plugins.module_utils._restic.soundness import (
    DATA,
    NAMES,
    STRUCTURE,
    Soundness,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.vault import Vault
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import (
    Catalogue,
    PointFiles,
    read_fact,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import (
    LockedS3,
    Renewal,
    catalogue_note,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import (
    is_raw,
    open_repository,
    open_store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, digest

RECRYPT = "recrypt"


@dataclass(frozen=True)
class _Document:
    """One point's document with its signature, read before the repository was listed."""

    id: str
    data: bytes
    signature: bytes
    repair: bool = False
    """The destination has one that nobody can rely on."""


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
        "damaged_at_source": [],
        "facts_copied": 0,
        "object_lock": None,
    }
    if request.params["mode"] == RECRYPT:
        result.update(bytes_total=None, bytes_copied=None, bytes_removed=None, snapshots_copied=[])
    try:
        _mirror(request, result)
    except MusterError as error:
        error.result = {**result, **error.result, "seconds": watch.seconds}
        raise
    verb = "would be copied" if request.check_mode else "copied"
    what = "snapshots" if request.params["mode"] == RECRYPT else f"objects ({result['bytes_copied']} bytes)"
    result["msg"] = (
        f"{result['objects_copied']} of {result['objects_total']} {what} and "
        f"{len(result['points_copied'])} of {result['points_total']} recovery points {verb}"
    )
    return {**result, "seconds": watch.seconds}


def _mirror(request: Request, result: dict[str, Any]) -> None:
    params = request.params
    lock = Lock.parse(params.get("object_lock"))
    catalogues = _catalogues(params, lock)
    opened: Repository | None = None
    documents: list[_Document] = []
    damaged: list[MusterError] = []
    # How deep to look into what new points need.
    depth = NAMES
    if catalogues:
        # Read before the repository is listed: a point sealed meanwhile waits for the next run with its data.
        documents, damaged = _documents(request, *catalogues)
        result["points_total"] = len(catalogues[0].points())
    if params.get("destination") and params["mode"] == RECRYPT:
        opened, errors, depth = _recrypt(request, lock, catalogues[1].store if catalogues else None, result)
        damaged += errors
    elif params.get("destination"):
        _copy_raw(request, lock, result)
    if catalogues:
        if params.get("destination") and documents and not request.check_mode:
            sound = Soundness(params["destination"], depth, opened)
            documents, held_back = _backed(sound, catalogues[0], documents, deep=depth != NAMES)
            damaged += held_back
        _copy_documents(request, *catalogues, documents, result)
        if isinstance(catalogues[1].store, LockedS3):
            _lock_documents(request, catalogues[1], catalogues[1].store, result)
    if damaged:
        # Not before all else has arrived: what was sealed since must not wait for it.
        raise damaged[0]


def _copy_raw(request: Request, lock: Lock | None, result: dict[str, Any]) -> None:
    """Mirror the repository object by object."""
    params = request.params
    destination = open_repository(params["destination"], lock)
    source = open_repository(params["source"])
    planned = mirror.plan(
        source,
        destination,
        verify_existing=params["verify_existing"],
        workers=params["workers"],
        given_up=_given_up(request, source),
        taken=partial(_taken, request, source),
    )
    if planned.alone and params.get("source_store"):
        _warn_lost(request, source.place, destination.place, planned.alone)
    done = planned.planned() if request.check_mode else planned.apply(request.progress, params["workers"])
    result.update(done, changed=planned.changed)
    if result["objects_repaired"]:
        hidden = " or hidden" if planned.renewal else ""
        request.warn(f"{result['objects_repaired']} objects at {planned.destination.place} were damaged{hidden}")
    if result["damaged_at_source"]:
        request.warn(
            f"{len(result['damaged_at_source'])} objects at {source.place} are damaged, and whole at "
            f"{planned.destination.place}: {some(result['damaged_at_source'])}. Mirror them back."
        )
    if planned.refusal:
        request.warn(f"Nothing is removed at {planned.destination.place}: {planned.refusal}.")
    tell_kept(request, planned.destination.place, result["object_lock"])


def _recrypt(
    request: Request, lock: Lock | None, records: Store | None, result: dict[str, Any]
) -> tuple[Repository, list[MusterError], str]:
    """Copy what the destination lacks under its own key. ``records`` is the store beside it.

    Returns the opened destination, what was not copied or is not whole there, and how deep points have to be looked at.
    """
    params = request.params
    source, destination = Repository.open(params["source"]), Repository.open(params["destination"])
    if source.password == destination.password:
        request.warn(
            f"{source.target} and {destination.target} have the same password, so that who gets one of them reads both."
        )
    vault: Vault | None = None
    if lock is not None or is_raw(destination.url):
        # A directory has to be there, else its file system may not be mounted. restic would make it.
        store = open_repository(params["destination"], lock)
        store.probe()
        if isinstance(store, LockedS3):
            vault = Vault(store, destination, partial(taken, request, records), params["workers"])
            make_safe(request, vault, result)
    planned = _plan_recrypt(request, source, destination)
    if vault is not None and records is not None and planned.given_up:
        planned.refusal = unrecorded(request)
        planned.noting = partial(noting, request, vault, records, [one.id for one in planned.given_up])
    if planned.refusal:
        planned.given_up = []
    done = planned.planned() if request.check_mode else planned.apply(request.progress)
    result.update(done, changed=done["changed"] or result["changed"])
    if planned.refusal:
        request.warn(
            f"Not all that is needed no more is gone from {destination.target}: {planned.refusal}. What is left goes "
            f"with maintenance there."
        )
    if vault is not None:
        lock_up(request, vault, done["changed"] or bool(planned.errors), result)
    wrong = _unsound(request, destination) if planned.identity is not None else []
    lost = [altered(destination, sorted(vault.lost))] if vault is not None and vault.lost else []
    deep = DATA if lost or params["verify_existing"] else STRUCTURE
    return destination, [*planned.errors, *lost, *wrong], deep if lost or wrong else NAMES


def _plan_recrypt(request: Request, source: Repository, destination: Repository) -> recrypt.Recrypt:
    params = request.params
    raw = open_repository(params["source"]) if source.url.startswith("s3:") else None
    now = clock.now()
    gone = _forgotten(request, source, now) if params.get("source_store") else set()
    late = set()
    if params["remove_after"] is not None:
        _require_records(request, source.target)
        late = _forgotten(request, source, now - timedelta(seconds=clock.duration(params["remove_after"])))
    planned = recrypt.plan(source, destination, raw, given_up=late)
    lost = [name for name in planned.lost if name not in gone]
    if lost and params.get("source_store"):
        _warn_lost(request, source.target, destination.target, lost)
    return planned


def _unsound(request: Request, destination: Repository) -> list[MusterError]:
    """What of the copy is gone or altered, by restic's own check: the bytes at the source are others."""
    read = "100%" if request.params["verify_existing"] else None
    # A prune meanwhile looks like damage, so what is found without a lock is looked for again with one.
    wrong = _check(destination, read, None)
    if wrong is not None and not request.check_mode:
        with contextlib.suppress(Locked):
            wrong = _check(destination, read, RETRY_LOCK)
    if wrong is None:
        return []
    hint = (
        "Mirror it into an empty place: what restic repairs here, it hides, and that is brought back."
        if request.params["object_lock"]
        else "Run 'restic repair index' there, or 'restic repair packs ID' for altered packs, then 'restic forget' for "
        "the copies of what the source has, and then the mirror, which makes them anew from there."
    )
    return [Incomplete("verify", destination.target, wrong.reason, hint)]


def _check(destination: Repository, read_data: str | None, retry_lock: str | None) -> MusterError | None:
    try:
        destination.check(read_data=read_data, retry_lock=retry_lock)
    except Interrupted:
        raise
    except Incomplete as error:
        return error
    return None


def _taken(request: Request, source: Store) -> set[str]:
    """Snapshots that maintenance took from the source at any time."""
    config = source.find(mirror.CONFIG) if request.params.get("source_store") else None
    return _records(request, source, config, clock.now()).get("snapshots", set()) if config is not None else set()


def _warn_lost(request: Request, source: str, destination: str, lost: Sequence[str]) -> None:
    request.warn(
        f"{source} does not hold {len(lost)} snapshots that {destination} has, and no record of maintenance says why: "
        f"{some(lost)}. If they were lost, mirror them back. Until then no data that they may need are removed there."
    )


def _given_up(request: Request, source: Store) -> dict[str, set[str]]:
    """Names of raw objects by kind that may go from the destination, because maintenance has removed them long ago."""
    params = request.params
    if params["remove_after"] is None:
        return {}
    _require_records(request, f"repository {source.place}")
    config = source.find(mirror.CONFIG)
    if config is None:
        return {}
    before = clock.now() - timedelta(seconds=clock.duration(params["remove_after"]))
    return _records(request, source, config, before)


def _require_records(request: Request, target: str) -> None:
    if not request.params.get("source_store"):
        raise InvalidInput(
            "mirror",
            target,
            "remove_after needs the records of maintenance",
            "Set source_store and destination_store.",
        )


def _records(request: Request, source: Store, config: bytes, before: datetime) -> dict[str, set[str]]:
    """What maintenance of the repository took away before that time."""
    store = open_store(request.params["source_store"])
    return given_up.names(store, digest(config), vouching(request), before, request.warn)


def _forgotten(request: Request, source: Repository, before: datetime) -> set[str]:
    """Ids of the snapshots that maintenance of the repository forgot before that time."""
    store = open_store(request.params["source_store"])
    return given_up.snapshots(store, source.identify(), vouching(request), before, request.warn)


def _lock_documents(request: Request, target: Catalogue, store: LockedS3, result: dict[str, Any]) -> None:
    """Renew the locks of what belongs to the application's points, and note until when they are good."""
    renewal = Renewal.begin(store, catalogue_note(target.root))
    began = clock.now()
    for prefix in (f"{target.root}/points/", f"{target.root}/facts/", given_up.ROOT):
        for entry in store.versions(prefix):
            if not entry.hidden:
                renewal.add(entry)
    renewal.look(request.params["workers"])
    data = clock.parse(result["object_lock"]["until"]) if result["object_lock"] else None
    if not request.check_mode:
        renewal.apply(request.params["workers"])
        renewal.write(began, data=data)
    told = result["object_lock"] or {"renewed": 0, "kept": 0, "kept_until": None}
    until = min(renewal.until, data or renewal.until)
    result["object_lock"] = {
        **told,
        **Held(store.lock.mode, until).result(),
        "renewed": told["renewed"] + renewal.renewed,
    }
    result["changed"] = result["changed"] or renewal.renewed > 0


def _catalogues(params: Mapping[str, Any], lock: Lock | None) -> tuple[Catalogue, Catalogue] | None:
    if not params.get("source_store"):
        return None
    if not params.get("application"):
        raise InvalidInput("mirror", "catalogue", "no application was given", "Set application.")
    name = application.name_of(params["application"])
    return (
        Catalogue(open_store(params["source_store"]), name),
        Catalogue(open_store(params["destination_store"], lock), name),
    )


def _documents(request: Request, source: Catalogue, target: Catalogue) -> tuple[list[_Document], list[MusterError]]:
    """Documents that the target lacks, or has damaged where all are looked at; and what is damaged at the source.

    What is damaged at the source and whole at the target is only warned of.
    """
    params = request.params
    signing = Signing.of(params.get("signing")) if params["verify_signatures"] else None
    if signing is not None:
        signing.require_signers(
            "mirror",
            f"catalogue of {source.application}",
            "Set signing.allowed_signers, or verify_signatures to false.",
        )
    held, there, points = target.whole(), set(target.points()), source.points()
    layered = _layered(target, "points")
    doubtful = (
        points
        if params["verify_existing"]
        else [
            point
            for point in points
            if point not in held or {target.point_key(point), target.signature_key(point)} & layered
        ]
    )
    found: list[_Document] = []
    damaged: list[MusterError] = []
    for files in source.read_points(doubtful):
        theirs = target.read_points([files.id])[0] if files.id in held else None
        if theirs == files:
            continue
        wrong = _wrong(source, files, signing)
        if theirs is not None and _wrong(target, theirs, signing) is None:
            request.warn(f"{wrong} It is whole at {target.store.place}." if wrong else f"{files.id} was signed twice.")
        elif wrong is not None:
            damaged.append(wrong)
        else:
            found.append(_Document(files.id, files.document, files.signature or b"", files.id in there))
    return found, damaged


def _layered(target: Catalogue, folder: str) -> set[str]:
    """Documents there that somebody has written over, where that can be seen."""
    if not isinstance(target.store, LockedS3):
        return set()
    return {entry.key for entry in target.store.versions(f"{target.root}/{folder}/") if entry.layered}


def _wrong(catalogue: Catalogue, files: PointFiles, signing: Signing | None) -> Corrupt | None:
    """Why a point can not be copied; without ``signing`` its signature only has to be there."""
    what = f"recovery point {files.id} of {catalogue.store.place}"
    if files.signature is None:
        return Corrupt("copy", what, "its signature is missing", "Restore it from another copy, or remove the point.")
    if signing is not None:
        verdict = signing.verify(files.document, files.signature)
        if not verdict.valid:
            return Corrupt("copy", what, verdict.msg, "Document or signature was altered. It was not copied.")
    try:
        recovery_point.decode(files.document, files.id, catalogue.application)
    except Corrupt as error:
        return error
    return None


def _backed(
    sound: Soundness, source: Catalogue, documents: list[_Document], *, deep: bool
) -> tuple[list[_Document], list[MusterError]]:
    """Documents whose snapshots the repository holds, and errors for the others. Expired points need none."""
    expired = source.expired()
    whole: list[_Document] = []
    partial: list[MusterError] = []
    for document in documents:
        value = recovery_point.decode(document.data, document.id, source.application)
        needs = snapshots.needs(value)
        gone = [one.snapshot for one in needs if not sound.meant(one)]
        if document.id in expired:
            whole.append(document)
        elif gone:
            partial.append(
                Incomplete(
                    "copy",
                    f"recovery point {document.id} of {source.store.place}",
                    f"its snapshot {some(gone)} is neither at the source nor at {sound.place}{sound.blind}",
                    "It is lost, unless another copy has it. All else was copied.",
                )
            )
        elif damage := sound.damage(value) if deep else []:
            partial.append(
                Incomplete(
                    "copy",
                    f"recovery point {document.id} of {source.store.place}",
                    f"what it needs is not whole at {sound.place} ({damage[0]})",
                    "It is copied when the repository there is mended. All else was copied.",
                )
            )
        else:
            whole.append(document)
    return whole, partial


def _copy_documents(
    request: Request, source: Catalogue, target: Catalogue, documents: list[_Document], result: dict[str, Any]
) -> None:
    new = {document.id for document in documents}
    # Before its document: of an expired point the data may be gone, and nobody may take it for a good one in between.
    early = _copy_facts(request, source, target, new & source.expired(), (), result) if new else set()
    for number, document in enumerate(documents, 1):
        if not request.check_mode:
            target.store.put(target.signature_key(document.id), document.signature)
            write = target.store.put if document.repair else target.store.create
            write(target.point_key(document.id), document.data)
            request.progress.update(
                "catalogue", source.application, "running", done=number, total=len(documents), unit="points"
            )
        result["points_copied"].append(document.id)
        result["changed"] = True
    _copy_facts(request, source, target, set(target.points()) | new, early, result)
    there = {entry.key for entry in target.store.list(given_up.ROOT)}
    # A signature before its record, as everywhere.
    for entry in sorted(source.store.list(given_up.ROOT), key=lambda one: (not one.key.endswith(".sig"), one.key)):
        if entry.key not in there:
            if not request.check_mode:
                target.store.create(entry.key, source.store.get(entry.key))
            result["changed"] = True
    request.progress.update("catalogue", source.application, "done", done=len(documents), unit="points")


def _copy_facts(
    request: Request,
    source: Catalogue,
    target: Catalogue,
    known: Collection[str],
    done: Collection[str],
    result: dict[str, Any],
) -> set[str]:
    """Copy facts about these points but for those that are ``done``, and return the keys of what was copied."""
    held = {entry.key for entry in target.store.list(f"{target.root}/facts/")}
    layered = _layered(target, "facts")
    copied: set[str] = set()
    for entry in source.store.list(f"{source.root}/facts/"):
        point = entry.key[len(f"{source.root}/facts/") :].partition("/")[0]
        if point not in known or entry.key in done:
            continue
        if entry.key in held and entry.key not in layered and not request.params["verify_existing"]:
            continue
        data = source.store.get(entry.key)
        if entry.key in held:
            theirs = target.store.get(entry.key)
            if theirs == data:
                continue
            if read_fact(data, point) is None or read_fact(theirs, point) is not None:
                # Nobody signs a fact, so of two that can be read none is known to be the right one.
                request.warn(f"{entry.key} is not the same at {source.store.place} and {target.store.place}.")
                continue
        if not request.check_mode:
            (target.store.put if entry.key in held else target.store.create)(entry.key, data)
        result["facts_copied"] += 1
        result["changed"] = True
        copied.add(entry.key)
    return copied
