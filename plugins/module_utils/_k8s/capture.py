# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Capture an application's objects into a folder, as the layout of :mod:`layout` says.

Objects are written as they are read, page by page, so memory does not grow with their number. A kind whose list could
not be read to its end at one moment is thrown away and read again.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress, Silent, State
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    discovery,
    kinds,
    layout,
    objects,
    owned,
    related,
    scope,
    selection,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    FEW_NAMESPACES,
    JSON,
    METADATA_ONLY,
    PAGE,
    ApiDenied,
    ApiError,
    ApiNotFound,
    Cluster,
    Page,
    Resource,
)

# One list over the whole cluster is not cheaper where the application is less than this part of its namespaces.
_SMALL_PART = 30
# How often a list is begun again whose version the server has forgotten.
_RESTARTS = 3
# Entries about single objects that a result names before it only counts.
_NAMED = 200

Entry = dict[str, str]


@dataclass
class Capture:
    """What was captured. ``counts`` by kind; the lists hold {what, why}; ``left_out`` counts by (kind, why).

    ``versions`` names the other versions in which a kind was captured, ``unmatched`` the patterns that nothing matched
    although that was allowed, ``epochs`` the epochs stamped on the namespaces, before and after.
    """

    namespaces: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    excluded: list[Entry] = field(default_factory=list)
    incomplete: list[Entry] = field(default_factory=list)
    related: list[Entry] = field(default_factory=list)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: dict[str, list[str]] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    epochs: set[tuple[str, str]] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class _Named:
    """Entries about objects: the first of each kind and reason by name, the others counted."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._seen: Counter[tuple[str, str]] = Counter()

    def add(self, where: objects.Identity, why: str) -> None:
        self._seen[where.key, why] += 1
        if self._seen[where.key, why] <= _NAMED:
            self._entries.append({"what": str(where), "why": why})

    def entries(self) -> list[Entry]:
        more = [
            {"what": f"{count - _NAMED} more {key}", "why": why}
            for (key, why), count in self._seen.items()
            if count > _NAMED
        ]
        return self._entries + more


class _Kind:
    """One kind in one version while it is read: its files, and what is to be said about its objects."""

    def __init__(self, root: Path, resource: Resource) -> None:
        self.resource = resource
        self.root = root
        self.writer = layout.Writer(root, resource.key)
        self.excluded = _Named()
        self.related = _Named()
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.inhabited: set[str] = set()
        self.uids: set[str] = set()
        self.version = ""
        self.begun = False
        self.refused: dict[str, ApiError] = {}

    def keep(self, obj: JSON, namespace: str, name: str, page: Page) -> None:
        obj.setdefault("apiVersion", page.api_version)
        obj.setdefault("kind", page.kind)
        objects.reduce_managed_fields(obj)
        try:
            self.writer.add(namespace or None, name, objects.canonical(obj))
        except OSError as error:
            raise _no_room(self.resource.key, self.root, error) from None


def _no_room(key: str, folder: Path, error: OSError) -> MusterError:
    hint = "Make room there, or set TMPDIR to a folder with more of it."
    return MusterError("stage", f"{key} in {folder}", error.strerror or str(error), hint)


# Puts one object where it belongs, if it does.
_Take = Callable[[_Kind, JSON, Page], None]


@dataclass(frozen=True)
class _Failed:
    """A list that could not be read, why, and how to try once more."""

    resource: Resource
    why: str
    again: Callable[[], None]

    @property
    def entry(self) -> Entry:
        one = self.resource
        return {"what": one.key if one.preferred else f"{one.key} as {one.api_version}", "why": self.why}


class _Capturing:
    def __init__(
        self,
        cluster: Cluster,
        chosen: selection.Selection,
        namespaces: dict[str, JSON],
        folder: Path,
        workers: int,
        progress: Progress,
    ) -> None:
        self.cluster = cluster
        self.selection = chosen
        self.namespaces = namespaces
        self.folder = folder
        self.workers = workers
        self.progress = progress
        narrowed = filter(chosen.narrows, (related.SERVICES, related.ACCOUNTS))
        self.references = related.References(frozenset(namespaces), frozenset(narrowed))
        self.capture = Capture(sorted(namespaces))
        self.lock = threading.Lock()
        self.inhabited: set[str] = set()
        self.rules = frozenset(chosen.leave_out) & kinds.RULES
        self.owned: owned.Owned | None = None
        # Kinds without a namespace of which the named owners are some, or own some.
        self.owned_scoped: set[str] = set()
        self.selected_services: set[tuple[str, str]] = set()
        self.failed: list[_Failed] = []
        self.gone: list[tuple[Resource, bool]] = []
        self.wide = True
        self.kinds = 0
        self.listed = 0

    # -- objects of namespaces ----------------------------------------------------------------------------------------

    def namespaced(self, resources: Iterable[Resource], found: discovery.Discovery) -> None:
        """Capture all kinds of the application's namespaces, kinds in parallel."""
        work = _families([one for one in resources if one.namespaced and self._listable(one)])
        self.kinds = sum(map(len, work))
        if self.selection.owners:
            self._find_owned(found)
        for outcome in pool.each(
            work, lambda family: self._family(family, found), workers=self.workers, fail_fast=True
        ):
            if outcome.error is not None:
                raise outcome.error
        self._try_again()
        self._show("done")

    def _listable(self, resource: Resource) -> bool:
        wanted = (
            self.selection.wants_kind(resource.key)
            if resource.namespaced
            else not self.selection.refuses_cluster_kind(resource.key)
        )
        if not wanted or "list" in resource.verbs:
            return wanted
        if "get" in resource.verbs and (resource.namespaced or self.selection.wants_cluster_kind(resource.key)):
            # Kinds that can only be created (reviews) hold nothing.
            self._exclude(resource.key, "the server offers no list of them")
        return False

    def _exclude(self, what: str, why: str) -> None:
        with self.lock:
            self.capture.excluded.append({"what": what, "why": why})

    def _find_owned(self, found: discovery.Discovery) -> None:
        """Read only the metadata of all kinds, also of those that are not captured: they may own what is."""
        self.owned = mine = owned.Owned()
        leave_out, owners = self.selection.leave_out, self.selection.owners
        scoped: dict[str, set[str]] = {}

        def see(resource: Resource) -> None:
            for page in self._metadata(resource):
                for obj in page.items:
                    metadata = obj["metadata"]
                    if resource.namespaced and metadata.get("namespace") not in self.namespaces:
                        continue
                    mine.see(metadata, named=self.selection.owner(resource.key, str(metadata["name"])))
                    if not resource.namespaced:
                        scoped.setdefault(resource.key, set()).add(str(metadata.get("uid")))

        served = [one for one in found.preferred() if "list" in one.verbs and not kinds.left_out(one.key, leave_out)]
        # What has a namespace owns nothing without one, so the whole cluster is only read for an owner that has none.
        everywhere = any(place.takes_kind(one.key) for place in owners for one in served if not one.namespaced)
        work = [one for one in served if one.namespaced or everywhere]
        for outcome in pool.each(work, see, workers=self.workers):
            if isinstance(outcome.error, ApiNotFound):
                continue
            if isinstance(outcome.error, ApiError) or self._alone(outcome.error):
                with self.lock:
                    self.capture.incomplete.append(
                        {"what": f"owners among {outcome.item.key}", "why": outcome.error.reason}
                    )
            elif outcome.error is not None:
                raise outcome.error
        mine.settle()
        self.owned_scoped = {key for key, uids in scoped.items() if uids & mine.uids}

    def _metadata(self, resource: Resource) -> Iterator[Page]:
        refused: dict[str, ApiError] = {}
        yield from self._places(
            resource, lambda path: self.cluster.pages(path, accept=METADATA_ONLY), refused, lambda: False
        )
        with self.lock:
            self.capture.incomplete += self._refusals(f"owners among {resource.key}", refused)

    def _places(
        self,
        resource: Resource,
        read: Callable[[str], Iterator[Page]],
        refused: dict[str, ApiError],
        begun: Callable[[], bool],
    ) -> Iterator[Page]:
        """Of the whole cluster, or of one namespace after the other where that is less or all that is allowed.

        ``refused`` gets the namespaces that may not be read. Once it has ``begun``, the whole cluster is not given up.
        """
        if not resource.namespaced or self._whole():
            try:
                yield from read(resource.path())
            except ApiDenied:
                if not resource.namespaced or begun():
                    raise
            else:
                return
        for namespace in sorted(self.namespaces):
            try:
                yield from read(resource.path(namespace))
            except ApiDenied as error:
                refused[namespace] = error

    def _whole(self) -> bool:
        return self.wide and len(self.namespaces) > FEW_NAMESPACES

    def _family(self, family: list[Resource], found: discovery.Discovery) -> None:
        """Kinds of one name, one after the other: two groups may serve the same objects, and the first has them."""
        seen: set[str] | None = set() if len({one.name for one in family}) < len(family) else None

        def take(kind: _Kind, obj: JSON, page: Page) -> None:
            self._take(kind, obj, page, seen)

        for resource in family:
            self._kind(resource, take, found, seen)

    def _kind(self, resource: Resource, take: _Take, found: discovery.Discovery, seen: set[str] | None = None) -> None:
        kind = self._in_its_versions(resource, take, found, seen)
        with self.lock:
            self.listed += 1
        if kind is not None and kind.writer.count:
            self._show("running")

    def _in_its_versions(
        self, resource: Resource, take: _Take, found: discovery.Discovery, seen: set[str] | None
    ) -> _Kind | None:
        def again() -> None:
            self._in_its_versions(resource, take, found, seen)

        kind = self._collect(resource, take, self.folder, again, seen=seen)
        if kind is not None and self.selection.all_versions:
            self._other_versions(kind, take, found)
        return kind

    def _other_versions(self, kind: _Kind, take: _Take, found: discovery.Discovery) -> None:
        """The same objects as the server's other versions show them, of the same moment."""
        if not kind.writer.count:
            return

        def as_before(other: _Kind, obj: JSON, page: Page) -> None:
            self._take(other, obj, page, None)

        for resource in found.versions(kind.resource.key):
            if not resource.preferred:
                self._other_version(resource, as_before if resource.namespaced else take, kind.version)

    def _other_version(self, resource: Resource, take: _Take, moment: str) -> None:
        def again() -> None:
            self._other_version(resource, take, moment)

        root = layout.other_version(self.folder, resource.version)
        other = self._collect(resource, take, root, again, version=moment)
        if other is not None:
            with self.lock:
                self.capture.versions.setdefault(resource.key, []).append(resource.api_version)

    def _show(self, state: State) -> None:
        self.progress.update(
            "object",
            f"capture of {self.selection.application}",
            state,
            done=self.listed,
            total=self.kinds,
            unit="kinds",
            msg=f"{self.capture.total} objects",
        )

    def _take(self, kind: _Kind, obj: JSON, page: Page, seen: set[str] | None) -> None:
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace"), str(metadata["name"])
        if namespace not in self.namespaces:
            return
        key = kind.resource.key
        if key == "services" and (obj.get("spec") or {}).get("selector"):
            self.selected_services.add((namespace, name))
        if (self.selection.names or self.selection.selectors) and not self.selection.takes(key, obj):
            return
        if self.owned is not None and not self.owned.has(metadata):
            return
        if seen is not None:
            uid = str(metadata.get("uid") or (namespace, name))
            if uid in seen:
                return
            # The family has them once the kind is read to its end; until then the list may be begun again.
            kind.uids.add(uid)
        if not self._stays(kind, obj, namespace, name):
            return
        kind.inhabited.add(namespace)
        if self.references.speaks(key):
            self.references.note(key, obj)
        kind.keep(obj, namespace, name, page)

    def _stays(self, kind: _Kind, obj: JSON, namespace: str, name: str) -> bool:
        """Whether neither a mark, nor its nature, nor its end keeps the object out; else that is noted."""
        key = kind.resource.key
        where = objects.Identity(namespace, key, name)
        why = selection.excluded_by_mark(obj)
        if why:
            kind.excluded.add(where, why)
            return False
        nature = selection.left_out_by_nature(key, obj, self.rules)
        if (
            nature is None
            and key == "endpoints"
            and kinds.MANAGED_ENDPOINTS in self.rules
            and (namespace, name) in self.selected_services
        ):
            nature = "a controller keeps it for its service"
        if nature:
            kind.left_out[key, nature] += 1
            return False
        if obj["metadata"].get("deletionTimestamp") and kinds.DELETED in self.rules:
            kind.excluded.add(where, "it was being deleted at that moment")
            return False
        return True

    # -- one kind -----------------------------------------------------------------------------------------------------

    def _collect(
        self,
        resource: Resource,
        take: _Take,
        root: Path,
        again: Callable[[], None],
        *,
        version: str = "",
        seen: set[str] | None = None,
    ) -> _Kind | None:
        """Read a kind to its end and keep its files; ``None`` where that was not possible, which is noted.

        ``again`` is called at the end where it may be possible then. ``seen``: the objects that kinds of the same name
        have, to which this one's are added.
        """
        for attempt in itertools.count():
            kind = _Kind(root, resource)
            kind.version = version
            try:
                self._read(kind, take, exact=attempt == 0, limit=PAGE * 4**attempt)
                kind.writer.finish()
            except OSError as error:
                raise _no_room(resource.key, root, error) from None
            except ApiError as error:
                kind.writer.discard()
                # Some aggregated APIs do not know exact versions.
                if attempt + 1 < _RESTARTS and (error.status == 410 or (attempt == 0 and kind.version)):
                    continue
                self._unread(kind, again, error)
                return None
            except Unavailable as error:
                kind.writer.discard()
                if not self._alone(error):
                    raise
                self._unread(kind, again, error)
                return None
            except BaseException:
                kind.writer.discard()
                raise
            if seen is not None:
                seen |= kind.uids
            self._merge(kind, counted=root == self.folder)
            return kind
        raise AssertionError("unreachable")

    def _alone(self, error: Exception | None) -> TypeGuard[Unavailable]:
        """Whether one list is not answered, as where an aggregated API hangs, by a server that does answer."""
        return isinstance(error, Unavailable) and self.cluster.answers()

    def _merge(self, kind: _Kind, *, counted: bool) -> None:
        key = kind.resource.key
        failures = self._refusals(key, kind.refused)
        with self.lock:
            self.capture.incomplete += failures
            if not counted:
                return
            if kind.writer.count:
                self.capture.counts[key] += kind.writer.count
                self.references.note_kind(key)
            self.capture.excluded += kind.excluded.entries()
            self.capture.related += kind.related.entries()
            self.capture.left_out += kind.left_out
            self.inhabited |= kind.inhabited

    def _refusals(self, what: str, refused: dict[str, ApiError]) -> list[Entry]:
        """Namespaces in which something may not be listed, in one entry where it is the same in all."""
        reasons = {namespace: error.reason for namespace, error in refused.items()}
        if len(reasons) > 1 and len(reasons) == len(self.namespaces):
            return [{"what": what, "why": reasons[min(reasons)]}]
        return [{"what": f"{what} in namespace {one}", "why": why} for one, why in sorted(reasons.items())]

    def _read(self, kind: _Kind, take: _Take, *, exact: bool, limit: int) -> None:
        for page in self._pages(kind, exact=exact, limit=limit):
            kind.begun = kind.begun or bool(page.items)
            for obj in page.items:
                take(kind, obj, page)

    def _pages(self, kind: _Kind, *, exact: bool, limit: int) -> Iterator[Page]:
        return self._places(
            kind.resource,
            lambda path: self._versioned(kind, path, exact=exact, limit=limit),
            kind.refused,
            # What was kept of the whole cluster would come again.
            lambda: kind.begun,
        )

    def _versioned(self, kind: _Kind, path: str, *, exact: bool, limit: int) -> Iterator[Page]:
        """A list at the version that the kind was first seen at, so that all its namespaces are of one moment."""
        query: dict[str, Any] = {}
        if exact and kind.version:
            query = {"resourceVersion": kind.version, "resourceVersionMatch": "Exact"}
        if len(self.selection.selectors) == 1 and kind.resource.namespaced:
            # The server sends less. Its answer is judged all the same.
            query["labelSelector"] = self.selection.selectors[0][0]
        for page in self.cluster.pages(path, query, limit=limit):
            kind.version = kind.version or page.version
            yield page

    def _unread(self, kind: _Kind, again: Callable[[], None], error: ApiError | Unavailable) -> None:
        """Note a kind that could not be read: gone, without a list, or to be tried once more at the end."""
        resource = kind.resource
        with self.lock:
            if isinstance(error, ApiNotFound):
                self.gone.append((resource, kind.begun))
            elif isinstance(error, ApiError) and error.status == 405:
                self.capture.excluded.append({"what": resource.key, "why": "the server offers no list of them"})
            else:
                why = error.reason if isinstance(error, ApiError) else f"its list is not answered: {error.reason}"
                self.failed.append(_Failed(resource, why, again))

    def _try_again(self) -> None:
        """Read again what failed: a server that has just come up refuses for a moment what it will allow."""
        waiting: dict[str, list[_Failed]] = {}
        for one in self.failed:
            waiting.setdefault(_family_of(one.resource), []).append(one)
        self.failed = []

        def again(family: list[_Failed]) -> None:
            for one in family:
                one.again()

        # At once, because those that are not answered take their time.
        for outcome in pool.each(waiting.values(), again, workers=self.workers, fail_fast=True):
            if outcome.error is not None:
                raise outcome.error
        self.capture.incomplete += [one.entry for one in self.failed]
        self.failed = []

    # -- objects without a namespace ----------------------------------------------------------------------------------

    def cluster_scoped(self, found: discovery.Discovery) -> None:
        """Capture the namespaces themselves, what :mod:`related` finds and what was asked for."""
        self._namespace_objects()
        served = [one for one in found.preferred() if not one.namespaced and one.key != kinds.NAMESPACES]
        by_key = {one.key: one for one in served if self._listable(one)}
        first = [key for key in related.ORDER if key != kinds.CRDS]
        asked = [key for key in sorted(by_key) if key not in related.ORDER]
        # Definitions last: objects without a namespace have some too.
        for keys in (*([key] for key in first), asked, [kinds.CRDS]):
            work = [by_key[key] for key in keys if key in by_key and self._worth_a_list(key)]
            for outcome in pool.each(work, lambda one: self._scoped(one, found), workers=self.workers, fail_fast=True):
                if outcome.error is not None:
                    raise outcome.error
        self._try_again()

    def _worth_a_list(self, key: str) -> bool:
        wanted = self.selection.wants_cluster_kind(key) or key in self.owned_scoped
        return wanted or (self.selection.related and self.references.asked(key))

    def _scoped(self, resource: Resource, found: discovery.Discovery) -> None:
        if resource.key == related.ROLES and self.selection.related:
            # Where it is refused, the list that follows says so too, and is what counts.
            with contextlib.suppress(ApiError, Unavailable):
                self.references.aggregate(self.cluster.list(resource.path()))
        self._kind(resource, self._take_scoped, found)

    def _take_scoped(self, kind: _Kind, obj: JSON, page: Page) -> None:
        key, name = kind.resource.key, str(obj["metadata"]["name"])
        why = self.references.why(key, obj) if self.selection.related else None
        if self.owned is not None and key in self.owned_scoped and self.owned.has(obj["metadata"]):
            why = "application.owners asks for it"
        why = self.selection.takes_cluster_scoped(key, name) or why
        if why is None or self.selection.refuses_cluster_scoped(key, name) or not self._stays(kind, obj, "", name):
            return
        kind.related.add(objects.Identity("", key, name), why)
        kind.keep(obj, "", name, page)

    def _namespace_objects(self) -> None:
        chosen = self.selection
        narrowed = chosen.selectors or chosen.names or chosen.owners
        writer = layout.Writer(self.folder, kinds.NAMESPACES)
        try:
            for name in sorted(self.namespaces):
                if narrowed and name not in self.inhabited:
                    continue
                obj = self.namespaces[name]
                objects.reduce_managed_fields(obj)
                writer.add(None, name, objects.canonical(obj))
            count = writer.finish()
        except OSError as error:
            raise _no_room(kinds.NAMESPACES, self.folder, error) from None
        if count:
            self.capture.counts[kinds.NAMESPACES] = count

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def look_back(self) -> None:
        """Name what went away while it was read: kinds whose API was removed, namespaces that were deleted."""
        for resource, begun in self.gone:
            if begun or self._served(resource):
                why = "it went away while it was read" if begun else "the server says that there is no such kind"
                self.capture.incomplete.append({"what": resource.key, "why": why})
            else:
                self._exclude(resource.key, "its API was removed at that moment")
        there = {obj["metadata"]["name"]: obj for obj in scope.listed(self.cluster, self.selection)}
        for name, before in self.namespaces.items():
            self.capture.epochs.add(_epoch(before))
            now = there.get(name)
            if now is None or now["metadata"].get("uid") != before["metadata"].get("uid"):
                why = "it was deleted while it was read"
            elif now["metadata"].get("deletionTimestamp") and not before["metadata"].get("deletionTimestamp"):
                why = "its deletion began while it was read"
            else:
                self.capture.epochs.add(_epoch(now))
                continue
            self.capture.incomplete.append({"what": f"{kinds.NAMESPACES}/{name}", "why": why})

    def _served(self, resource: Resource) -> bool:
        prefix = "/apis/" if resource.group else "/api/"
        try:
            document = self.cluster.get(prefix + resource.api_version, action="discover")
        except ApiNotFound:
            return False
        except (ApiError, Unavailable):
            return True
        return any(entry.get("name") == resource.name for entry in document.get("resources") or [])


def _epoch(obj: JSON) -> tuple[str, str]:
    return obj["metadata"]["name"], str(objects.annotations_of(obj).get(marks.EPOCH, "1"))


def _family_of(resource: Resource) -> str:
    """Kinds that must be read one after the other: those of one name, and endpoints after their services."""
    return "services" if resource.key == "endpoints" else resource.name


def _families(resources: list[Resource]) -> list[list[Resource]]:
    families: dict[str, list[Resource]] = {}
    for resource in resources:
        families.setdefault(_family_of(resource), []).append(resource)
    for family in families.values():
        family.sort(key=lambda resource: resource.key == "endpoints")
    return list(families.values())


def capture(
    cluster: Cluster,
    chosen: selection.Selection,
    folder: Path,
    *,
    workers: int = 8,
    progress: Progress | None = None,
) -> Capture:
    """Write the application's objects below ``folder``.

    Raises :class:`NotFound` when the application, or a pattern in it, matches nothing. What could not be read is named
    in ``incomplete``; a cluster that stops answering is an error.
    """
    found = discovery.with_new_definitions(cluster, discovery.read(cluster))
    meant = scope.of(cluster, chosen)
    picked, excluded = meant.namespaces, meant.excluded
    groups = [failure.group for failure in found.failures]
    served = found.preferred()
    chosen.note_kinds(
        [one.key for one in served if one.namespaced], [one.key for one in served if not one.namespaced], groups
    )
    run = _Capturing(cluster, chosen, picked, folder, workers, progress or Silent())
    run.wide = len(picked) * _SMALL_PART >= meant.present
    run.capture.excluded += excluded
    for failure in found.failures:
        if chosen.may_want_group(failure.group):
            run.capture.incomplete.append({"what": failure.what, "why": failure.why})
    if picked:
        run.namespaced(served, found)
    narrowed = chosen.selectors or chosen.names or chosen.owners
    if not picked or (narrowed and not run.inhabited):
        raise NotFound(
            "capture",
            f"application {chosen.application}",
            "nothing in the cluster matches it" + (f" that is not excluded ({excluded[0]['why']})" if excluded else ""),
            "Look at its namespaces and selectors, and at the cluster in use.",
        )
    run.cluster_scoped(found)
    # What could not be read may hold the match.
    if not run.capture.incomplete:
        chosen.refuse_idle()
    run.look_back()
    run.capture.unmatched = chosen.idle()
    run.capture.namespaces = sorted(run.inhabited) if narrowed else sorted(picked)
    for entries in (run.capture.excluded, run.capture.incomplete, run.capture.related):
        entries.sort(key=lambda entry: (entry["what"], entry["why"]))
    return run.capture
