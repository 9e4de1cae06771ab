# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Images at a place: copied there, verified there, pushed back to where they came from, taken away again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.text.formatters import human_to_bytes

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._oci import node_mirrors, removal
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import (
    Copier,
    Route,
    Tally,
    keep_tag,
    names,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.entries import (
    FRESH,
    OUTCOME,
    Entry,
    each,
    known,
    original,
    reporter,
    result,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import Layout
from ansible_collections.muster.container_dr.plugins.module_utils._oci.records import Record, Records
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    is_digest,
    is_layout,
    is_registry,
    path_for,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries, Registry
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import Target
from ansible_collections.muster.container_dr.plugins.module_utils._oci.spool import Spool
from ansible_collections.muster.container_dr.plugins.module_utils._oci.unneeded import remove_point
from ansible_collections.muster.container_dr.plugins.module_utils._oci.wholeness import Wholeness
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import sealed
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

Judge = Callable[[Callable[[Entry], Reference]], None]


@dataclass(frozen=True)
class Goal:
    """Where images belong: below one place, or with none where their names say."""

    place: Place | None

    @classmethod
    def of(cls, request: Request) -> Goal:
        back = request.params.get("original_names")
        return cls(None if back else Place.of(request.params["target"]))

    @property
    def name(self) -> str:
        return self.place.name if self.place else "their original registries"

    def __call__(self, entry: Entry) -> Reference:
        """The repository of an image."""
        if self.place is None:
            written = Reference.anywhere(entry["name"])
            return Reference(written.host, written.repository)
        return Reference(self.place.host, self.place.repository(entry["path"]))


class _Copiers:
    """One copier for each place that takes images."""

    def __init__(self, request: Request, registries: Registries, hosts: Iterable[str], spool: Spool) -> None:
        params = request.params
        self._made = {
            host: Copier(
                registries.target(host),
                workers=params["workers"],
                write=not request.check_mode,
                attachments=params["attachments"],
                platforms=params["platforms"],
                yields=bool(params["original_names"]),
                spool=spool,
            )
            for host in hosts
        }

    def at(self, host: str) -> Copier:
        return self._made[host]

    def finish(self, entries: Iterable[Entry], goal: Goal) -> list[Entry]:
        """Complete what places put off. Where that fails, it is all that was copied there; returns these images."""
        lost = []
        for host, copier in self._made.items():
            try:
                copier.finish()
            except MusterError as error:
                for entry in entries:
                    if entry["changed"] and not entry["failed"] and goal(entry).host == host:
                        entry.update(failed=True, msg=str(error))
                        lost.append(entry)
        return lost

    def close(self) -> None:
        for copier in self._made.values():
            copier.close()


def path(written: Reference, repository: str | None, places: Iterable[Place]) -> str:
    """Where an image lies below any place; one that was pulled from a copy of ours keeps the path that it has."""
    for place in places:
        for reference in (written, *([Reference.anywhere(repository)] if repository else [])):
            path = place.path_of(reference)
            if path is not None:
                return path
    found = Reference.anywhere(repository) if repository else written
    # A container may name its image by the id, which says nothing; the registry that has it gives it a name.
    return path_for(found if is_digest(written.repository) and is_registry(found.host) else written)


def copy(
    request: Request, registries: Registries, entries: list[Entry], judge: Judge, mirrors: Sequence[Place]
) -> dict[str, Any]:
    """Make every image whole where it belongs, from where it was found or from ``from``."""
    params = request.params
    goal = Goal.of(request)
    origin = Place.of(params["from"]) if params.get("from") else None
    platforms = tuple(params["platforms"])
    spool = _spool(request)
    records = _records(request, goal)
    # Where it was copied before, an image has its path already.
    _give_paths(entries, (goal.place, *mirrors, origin), keep=origin is not None)
    _fail_nameless(entries, goal)
    tags = _tags(request, entries, goal)
    hosts = {goal(entry).host for entry in known(entries) if not entry["failed"]}
    copiers = _Copiers(request, registries, hosts, spool)

    def origin_of(entry: Entry) -> Reference:
        return Reference(origin.host, origin.repository(entry["path"])) if origin else original(entry)

    def one(entry: Entry) -> None:
        source, target, digest = origin_of(entry), goal(entry), entry["digest"]
        # That an export has a digest of its own matters for as long as it is there.
        exported = f"; {entry['msg']}" if entry["resolved_by"] == "export" and entry["msg"] else ""
        copier, named = copiers.at(target.host), tags.get(str(target.at(digest)), [])
        if goal.place is None:
            for tag in named:
                _refuse_to_move(registries, target, tag, digest)
        # Where signatures matter, one may have been added since; it has to be at the target when that is asked.
        judged = (entry["signatures"] or {}).get("policy", "off") != "off"
        record = None if judged else records.find(entry["path"], digest, platforms, params["attachments"])
        if record is not None and copier.holds(target.repository, digest, named):
            entry["media_type"], entry["platforms"] = record.media_type, entry["platforms"] or list(record.platforms)
            entry["msg"] = f"already there{exported}"
            return
        if record is not None and _adopted(request, registries.target(target.host), target, digest, named):
            entry["media_type"], entry["platforms"] = record.media_type, entry["platforms"] or list(record.platforms)
            verb = "would be named" if request.check_mode else "named"
            entry.update(changed=True, msg=f"already there, {verb} in the point{exported}")
            return
        tally = Tally(reporter(request, entry))
        try:
            route = Route(registries.at(source.host), source.repository, target.repository)
            root = copier.copy(route, digest, tally, named)
        finally:
            entry.update(bytes_copied=tally.bytes, blobs_copied=tally.blobs, blobs_mounted=tally.mounted)
            entry["changed"] = tally.changed
        entry["media_type"] = root.media_type
        entry["platforms"] = entry["platforms"] or root.platforms
        verb = "would be copied" if request.check_mode else "copied"
        entry["msg"] = (verb if tally.changed else "already there") + exported
        if tally.notes:
            entry["msg"] += "; " + "; ".join(tally.notes)
        if not tally.unsure:
            now, kind = clock.iso(clock.now()), root.media_type
            put = tally.rooted or records.has(entry["path"], digest)
            record = Record(now, kind, tuple(entry["platforms"]), platforms, params["attachments"], put)
            records.proved(entry["path"], digest, record)

    try:
        judge(origin_of)
        each(request, entries, goal, one)
        for entry in copiers.finish(entries, goal):
            records.lost(entry["path"], entry["digest"])
    finally:
        copiers.close()
        if spool.problem:
            request.warn(
                f"Large layers could not be put by in {spool.folder} ({spool.problem}) and were copied without that. "
                "Make room there, or set spool_dir or spool_size."
            )
        if not request.check_mode:
            records.save()
    told = result(request, entries, "copied", f"to {goal.name}")
    if goal.place is not None:
        plain = {Place.of(one).host for one in params.get("sources") or [] if one.get("plain_http")}
        told["node_mirrors"] = node_mirrors.of(
            params["target"], goal.place, entries, tags=bool(params["tags"]), plain=plain
        )
    return told


def _adopted(request: Request, place: Target, at: Reference, digest: str, tags: Sequence[str]) -> bool:
    """Give a point an image that was proved whole in a layout for another one."""
    if not request.params["point"] or not isinstance(place, Layout):
        return False
    return place.adopt(at.repository, digest, [keep_tag(digest), *tags], write=not request.check_mode)


def _give_paths(entries: list[Entry], places: Iterable[Place | None], *, keep: bool = True) -> None:
    """Say where the images lie below any place; with ``keep`` those that say so themselves stay."""
    there = [place for place in places if place is not None]
    for entry in known(entries):
        if not (keep and entry["path"]):
            entry["path"] = path(Reference.anywhere(entry["name"]), entry["repository"], there)


def _fail_nameless(entries: list[Entry], goal: Goal) -> None:
    """Where names say where images belong, fail those that no registry's name was written for."""
    for entry in known(entries) if goal.place is None else []:
        if not is_registry(goal(entry).host):
            error = InvalidInput(
                "push back",
                f"image {entry['name']}",
                "it has no name at a registry",
                "Copy it to a target, and give it a name there.",
            )
            entry.update(failed=True, msg=str(error))


def _tags(request: Request, entries: list[Entry], goal: Goal) -> dict[str, list[str]]:
    """The tags that each copy is to have besides ours, if any; of several images of one name the first has it.

    None for an image whose tag named another one when it was resolved.
    """
    if not request.params["tags"] and goal.place is not None:
        return {}
    taken: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for entry in known(entries):
        tag = Reference.anywhere(entry["name"]).tag
        if not tag or entry["tag_digest"] or entry["failed"]:
            continue
        target = goal(entry)
        named = found.setdefault(str(target.at(entry["digest"])), [])
        if taken.setdefault(f"{target.name}:{tag}", entry["digest"]) == entry["digest"] and tag not in named:
            named.append(tag)
    return found


def _refuse_to_move(registries: Registries, target: Reference, tag: str, digest: str) -> None:
    """Raise :class:`Refused` where a tag that others own names another image."""
    place = registries.at(target.host)
    if names(place, target.repository, tag, digest) is False:
        named = place.tag_digest(target.repository, tag)
        raise Refused(
            "push back",
            f"image {target.name}:{tag}",
            f"that tag names {named} there, and the copy is {digest}",
            "Delete the tag there if it is not wanted, or take the image from the mirror.",
        )


def verify(request: Request, registries: Registries, entries: list[Entry], judge: Judge) -> dict[str, Any]:
    """Look for everything that the images name, where they belong."""
    goal = Goal.of(request)
    _give_paths(entries, [goal.place])
    _fail_nameless(entries, goal)
    platforms = tuple(request.params["platforms"])
    records = _records(request, goal)
    tags = _tags(request, entries, goal)
    in_point = bool(request.params["point"]) and goal.place is not None and is_layout(goal.place.host)
    full = request.params["verify"] == "full"
    wholeness = Wholeness(read=full)

    def one(entry: Entry) -> None:
        at = goal(entry)
        place = registries.at(at.host)
        try:
            wholeness.check(place, at.repository, entry["digest"], platforms, reporter(request, entry))
            # That the point itself names it keeps it from going with another one.
            named, kept = (registries.target(at.host), [keep_tag(entry["digest"])]) if in_point else (place, [])
            for tag in [*kept, *tags.get(str(at.at(entry["digest"])), [])]:
                if not names(named, at.repository, tag, entry["digest"]):
                    raise Incomplete(
                        "verify",
                        f"image {at.name}:{tag}",
                        f"that tag does not name {entry['digest']}",
                        "Copy it again.",
                    )
        except Incomplete:
            # The next copy then looks at all of it and repairs it.
            records.lost(entry["path"], entry["digest"])
            raise
        entry["msg"] = "whole, every byte of it read" if full else "whole"

    try:
        judge(goal)
        each(request, entries, goal, one)
    finally:
        if not request.check_mode:
            records.save()
    return result(request, entries, "verified", f"at {goal.name}")


def take_away(request: Request, registries: Registries, entries: list[Entry]) -> dict[str, Any]:
    """Remove images that we put there and that no recovery point of the store needs."""
    place = Place.of(request.params["target"])
    goal = Goal(place)
    registry = registries.at(place.host)
    if not isinstance(registry, Registry):
        raise InvalidInput("remove images from", place.name, "it is no registry", "Remove the file.")
    store = open_store(request.params["store"])
    records, remover = _records(request, goal), removal.Remover(registry, write=not request.check_mode)
    needed = removal.needed(store)
    going: set[tuple[str, str]] = set()
    _give_paths(entries, [place])
    for entry in known(entries):
        key = (entry["path"], entry["digest"])
        if key in needed:
            entry["msg"] = f"kept: recovery point {needed[key]} needs it"
        elif not records.has(*key):
            entry["msg"] = "kept: nothing says that we put it there"
        else:
            going.add(key)

    def one(entry: Entry) -> None:
        key = (entry["path"], entry["digest"])
        if key not in going:
            return
        beside = {*((entry["path"], digest) for digest in records.digests(entry["path"])), *needed, *going}
        others = {digest for where, digest in beside if where == entry["path"]}
        entry["changed"] = remover.remove(goal(entry).repository, entry["digest"], others)
        if remover.refusal:
            entry["msg"] = "kept: the registry does not delete"
            return
        verb = "would be removed" if request.check_mode else "removed"
        entry["msg"] = verb if entry["changed"] else "not there any more"
        records.lost(*key)

    try:
        each(request, entries, goal, one)
    finally:
        if not request.check_mode:
            records.save()
    if remover.refusal:
        request.warn(f"Images stay at {place.name}: {remover.refusal}.")
    return result(request, entries, "removed", f"from {place.name}")


def take_point_away(request: Request, registries: Registries) -> dict[str, Any]:
    """Remove what a layout has of a recovery point that has expired: its names, and what nothing else there needs."""
    params = request.params
    place, point = Place.of(params["target"]), params["point"]
    layout = registries.target(place.host)
    if not isinstance(layout, Layout):
        raise InvalidInput("remove", f"point {point!r}", f"{place.name} is no layout", "Correct target.")
    if any(one.id == point and not one.expired for one in sealed(open_store(params["store"]))):
        told = result(request, [], "removed", f"from {place.name}")
        return {**told, "blobs_removed": 0, "bytes_removed": 0, "msg": f"kept: recovery point {point} has not expired"}
    records = _records(request, Goal(place))
    removed = remove_point(layout, workers=params["workers"], write=not request.check_mode)
    entries = []
    for repository, digest, media_type in removed.copies:
        at = Reference(place.host, repository, digest=digest)
        entry = {**FRESH, **OUTCOME, "name": str(at), "digest": digest, "media_type": media_type, "target": str(at)}
        entry.update(path=place.path_of(at), changed=True)
        verb = "would be removed" if request.check_mode else "removed"
        entry["msg"] = f"{verb} from the point; something else there needs it" if digest in removed.needed else verb
        entries.append(entry)
        if digest not in removed.needed and entry["path"]:
            records.lost(entry["path"], digest)
    if not request.check_mode:
        records.save()
    if removed.others:
        request.warn(f"Blobs that nothing needs stay at {place.name} until a point is removed again: {removed.others}.")
    told = result(request, entries, "removed", f"from {place.name}", changed=bool(entries or removed.blobs))
    told["msg"] += f", and {removed.blobs} blobs ({removed.bytes} bytes)"
    return {**told, "blobs_removed": removed.blobs, "bytes_removed": removed.bytes}


def _spool(request: Request) -> Spool:
    size = request.params["spool_size"]
    try:
        limit = human_to_bytes(size)
    except ValueError:
        raise InvalidInput("use", f"spool_size {size!r}", "it is no size", "Write it as 500M or 4G.") from None
    return Spool(request.params.get("spool_dir"), limit)


def _records(request: Request, goal: Goal) -> Records:
    # Nothing is kept of registries that belong to others.
    options = request.params.get("store") if goal.place else None
    age = clock.duration(request.params["recheck_after"])
    return Records(open_store(options) if options else None, goal.name, age, request.warn)
