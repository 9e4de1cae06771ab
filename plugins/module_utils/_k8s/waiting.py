# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Waiting until everything in some namespaces is ready.

Each kind is listed once. What changes often while an application starts (pods, workloads, claims, endpoints) is then
watched, a connection per kind; all else is listed again every few seconds, as is what the identity may not watch.
Nothing that the API server does meanwhile ends the waiting: not a restart, not a version that it has forgotten.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, kinds, objects, readiness
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    FAULT_PATIENCE,
    JSON,
    PATIENCE,
    ApiDenied,
    ApiError,
    Cluster,
    Resource,
    Watch,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.readiness import State, Verdict

# Without these nothing can be said of an application.
_ESSENTIAL = (readiness.PODS, readiness.DEPLOYMENTS, readiness.STATEFUL_SETS, readiness.DAEMON_SETS)
_WATCHED = (*_ESSENTIAL, readiness.JOBS, kinds.PVCS, readiness.SLICES)
_POLLED = (
    readiness.REPLICA_SETS,
    readiness.REPLICATION_CONTROLLERS,
    readiness.SERVICES,
    readiness.INGRESSES,
    readiness.BUDGETS,
    readiness.AUTOSCALERS,
)
# Looked at to judge others.
_CONTEXT = (readiness.SLICES, readiness.STORAGE_CLASSES, readiness.INGRESS_CLASSES, readiness.GATEWAY_CLASSES)
# The order in which people want to read what is not ready: causes before what follows from them.
_ORDER = (
    kinds.CRDS,
    kinds.API_SERVICES,
    readiness.DEPLOYMENTS,
    readiness.STATEFUL_SETS,
    readiness.DAEMON_SETS,
    readiness.JOBS,
    readiness.REPLICA_SETS,
    readiness.REPLICATION_CONTROLLERS,
    readiness.PODS,
    kinds.PVCS,
)
# More connections than this would be needed to watch every namespace by itself: then the whole cluster is watched.
_MOST_WATCHES = 24
_REFUSED = (403, 404, 405, 501)
_UNREAD = Verdict(State.IN_PROGRESS, "it is there since a moment ago, and its objects have not been looked at yet")


@dataclass(frozen=True)
class Pace:
    """In seconds: between lists of what is not watched, and of what may not be watched, of one watch, and how long an
    object has to have failed for good before the waiting ends for it (statuses of former times are put right by then).
    """

    poll: float = 5.0
    fallback: float = 2.0
    watch: int = 30
    settled: float = 5.0


@dataclass(frozen=True)
class Standing:
    """One object and the verdict on it."""

    key: str
    kind: str
    obj: JSON
    verdict: Verdict

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace") or "")

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def title(self) -> str:
        """``Deployment ledger/api``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Look:
    """What was seen at one moment.

    ``unseen`` are kinds that could not be listed for good, ``silent`` those whose API does not answer now, both with
    the reason. ``seen`` holds all objects by kind, those that are ignored and those of other kinds' context included.
    """

    standings: Sequence[Standing] = ()
    seen: Mapping[str, Sequence[JSON]] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def waiting(self) -> list[Standing]:
        return [one for one in self.standings if one.verdict.state is not State.CURRENT]

    @property
    def ready(self) -> bool:
        return not self.silent and not self.waiting

    @property
    def server_is_silent(self) -> bool:
        """Whether what is known is not of this moment."""
        return any(key in self.silent for key in _ESSENTIAL)

    def count(self, *keys: str) -> int:
        """How many objects of these kinds were judged."""
        return sum(1 for one in self.standings if one.key in keys)


class Ending(str, Enum):
    """Why the waiting ended; ``FAILED``: something has failed for good."""

    READY = "ready"
    FAILED = "failed"
    TIME_OVER = "time_over"


@dataclass(frozen=True)
class Waited:
    """How it ended and after how many seconds."""

    ending: Ending
    look: Look
    seconds: float


class _Source:
    """The objects of one kind in one namespace, or in all of them; kept up to date by a watch or by lists."""

    def __init__(self, resource: Resource, namespace: str | None, only: Collection[str], *, watched: bool) -> None:
        self.resource = resource
        self.namespace = namespace
        self._only = only
        self.watched = watched
        self.pause = 0.0
        self.due = 0.0
        self.objects: dict[tuple[str, str], JSON] = {}
        self.version = ""
        self.listed = False
        self.fault = ""

    @property
    def key(self) -> str:
        return self.resource.key

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace)

    def wants(self, obj: JSON) -> bool:
        return not self._only or obj["metadata"].get("namespace") in self._only

    def replace(self, found: Iterable[JSON], version: str) -> None:
        self.objects = {_place(obj): obj for obj in found if self.wants(obj)}
        self.version = version
        self.listed = True
        self.fault = ""

    def take(self, event: JSON) -> bool:
        """Apply one event of a watch; whether an object changed."""
        obj = event.get("object") or {}
        metadata = obj.get("metadata") or {}
        self.version = str(metadata.get("resourceVersion") or self.version)
        if event.get("type") == "BOOKMARK" or not metadata.get("name") or not self.wants(obj):
            return False
        metadata.pop("managedFields", None)
        if event.get("type") == "DELETED":
            self.objects.pop(_place(obj), None)
        else:
            self.objects[_place(obj)] = obj
        return True


def _place(obj: JSON) -> tuple[str, str]:
    return str(obj["metadata"].get("namespace") or ""), str(obj["metadata"]["name"])


def wait(
    cluster: Cluster,
    namespaces: Sequence[str],
    *,
    timeout: float,
    custom: Collection[str] | None = None,
    ignore: Sequence[str] = (),
    report: Callable[[Look, float], None] = lambda _look, _seconds: None,
    pace: Pace | None = None,
) -> Waited:
    """Wait until everything in the namespaces is ready, something has failed for good, or ``timeout`` seconds are over.

    ``custom`` are the custom resources to look at as ``certificates.cert-manager.io`` (``None``: all that are served);
    of those that are not served the definition, or the API, is waited for. ``ignore`` are globs of ``KIND/NAME`` or of
    ``KIND``; what is ignored is so with all that it owns. ``report`` is called about once a second while something
    waits. Raises :class:`ApiDenied` where pods or workloads may not be listed, and what discovery raises.
    """
    start = time.monotonic()
    chosen = pace or Pace()
    with _Observer(cluster, namespaces, custom, ignore, chosen) as observer:
        failing: dict[str, float] = {}
        while True:
            look = observer.look()
            now = time.monotonic()
            passed = round(now - start, 3)
            if look.ready:
                return Waited(Ending.READY, look, passed)
            lost = {one.title for one in look.waiting if one.verdict.final}
            failing = {title: failing.get(title, now) for title in lost}
            if any(now - since >= chosen.settled for since in failing.values()):
                return Waited(Ending.FAILED, look, passed)
            if passed >= timeout:
                return Waited(Ending.TIME_OVER, look, passed)
            report(look, passed)
            observer.await_change(min(1.0, timeout - passed))


class _Observer:
    """Keeps the sources up to date from its own threads, between ``__enter__`` and ``__exit__``."""

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Sequence[str],
        custom: Collection[str] | None,
        ignore: Sequence[str],
        pace: Pace,
    ) -> None:
        self._cluster = cluster
        self._namespaces = list(dict.fromkeys(namespaces))
        self._custom = None if custom is None else {key for key in custom if not _aside(key)}
        self._ignore = [pattern.partition("/") for pattern in ignore]
        self._pace = pace
        self._sources: list[_Source] = []
        self._unseen: dict[str, str] = {}
        # Definitions and APIs that custom resources still need, by name.
        self._missing: dict[tuple[str, str], JSON] = {}
        self._lock = threading.RLock()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._watches: set[Watch] = set()

    def __enter__(self) -> _Observer:
        found = discovery.with_new_definitions(self._cluster, discovery.read(self._cluster))
        self._choose(found)
        for outcome in pool.each(list(self._sources), self._first, workers=8):
            if outcome.error is not None:
                raise outcome.error
        self._look_for_definitions(found)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.close()
        # They are daemons: whatever a request still waits for, it keeps nobody.
        end = time.monotonic() + 2.0
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    # -- which kinds, and where -----------------------------------------------------------------------------------

    def _choose(self, found: discovery.Discovery) -> None:
        everywhere = len(_WATCHED) * len(self._namespaces) > _MOST_WATCHES
        for key in (*_WATCHED, *_POLLED, *_CONTEXT[1:]):
            resource = found.find(key)
            if resource is not None:
                self._add(resource, watched=key in _WATCHED, everywhere=everywhere)
        for resource in found.preferred():
            served = resource.namespaced and "list" in resource.verbs and not _aside(resource.key)
            if served and (self._custom is None or resource.key in self._custom):
                self._add(resource, watched=False, everywhere=False)

    def _add(self, resource: Resource, *, watched: bool, everywhere: bool) -> list[_Source]:
        if not resource.namespaced:
            added = [_Source(resource, None, (), watched=False)]
        elif watched and everywhere:
            added = [_Source(resource, None, self._namespaces, watched=True)]
        else:
            added = [_Source(resource, namespace, (), watched=watched) for namespace in self._namespaces]
        for source in added:
            source.pause = self._pace.poll
        with self._lock:
            self._sources += added
        return added

    # -- keeping up to date -----------------------------------------------------------------------------------------

    def _first(self, source: _Source, *, new: bool = False) -> None:
        try:
            self._list(source)
        except ApiError as error:
            if error.status not in _REFUSED or (new and error.status == 404):
                # A kind that is served since a moment ago may be so by another API server only.
                self._note(source, error)
            elif isinstance(error, ApiDenied) and source.namespace is None and source.resource.namespaced:
                # Who may not see the whole cluster may still see the namespaces.
                with self._lock:
                    self._sources.remove(source)
                for one in self._add(source.resource, watched=True, everywhere=False):
                    self._first(one)
                    one.watched = False
                    one.pause = self._pace.fallback
            elif isinstance(error, ApiDenied) and source.key in _ESSENTIAL:
                raise
            else:
                self._give_up(source, error)
        except MusterError as error:
            self._note(source, error)

    def _list(self, source: _Source, *, patient: bool = True) -> None:
        """The first time the client's patience is used; later the next look is the repetition."""
        patience, outage = (FAULT_PATIENCE, PATIENCE) if patient else (0.0, 0.0)
        for attempt in range(4):
            try:
                found: list[JSON] = []
                version = ""
                for page in self._cluster.pages(source.path, patience=patience, outage=outage):
                    version = page.version
                    for obj in page.items:
                        obj.setdefault("apiVersion", source.resource.api_version)
                        obj.setdefault("kind", source.resource.kind)
                        obj["metadata"].pop("managedFields", None)
                        found.append(obj)
            except ApiError as error:
                # The rest of the list was forgotten while it was read.
                if error.status != 410 or attempt == 3:
                    raise
                continue
            with self._lock:
                source.replace(found, version)
            self._changed.set()
            return

    def _note(self, source: _Source, error: MusterError) -> None:
        with self._lock:
            source.fault = error.reason

    def _give_up(self, source: _Source, error: MusterError) -> None:
        with self._lock:
            # What the context's kinds would have told is missing in the verdicts that ask for it.
            if source.key not in _CONTEXT:
                self._unseen[source.key] = error.reason
            if source in self._sources:
                self._sources.remove(source)

    def _start(self) -> None:
        """Begin to follow; only called when there is something to wait for."""
        names = [source for source in self._sources if source.watched]
        self._threads = [threading.Thread(target=self._follow, args=(source,), daemon=True) for source in names]
        self._threads.append(threading.Thread(target=self._poll, daemon=True))
        now = time.monotonic()
        for source in self._sources:
            source.due = now + source.pause
        for thread in self._threads:
            thread.start()

    def _follow(self, source: _Source) -> None:
        failures = 0
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                if not source.listed or not source.version:
                    self._list(source, patient=False)
                self._watch(source)
                failures = 0
            except ApiError as error:
                if error.status == 410:
                    # Forgotten: what happened meanwhile shows in a new list.
                    source.version = ""
                elif error.status in _REFUSED:
                    with self._lock:
                        source.pause, source.due, source.watched = self._pace.fallback, 0.0, False
                    return
                else:
                    self._note(source, error)
                failures += 1
            except MusterError as error:
                self._note(source, error)
                failures += 1
            # Nothing is asked without a pause, also of servers that end every watch at once.
            if failures or time.monotonic() - begun < 1.0:
                self._stop.wait(min(0.1 * 2.0 ** min(failures, 6), 5.0) * random.uniform(0.7, 1.0))

    def _watch(self, source: _Source) -> None:
        seconds = round(self._pace.watch * random.uniform(0.8, 1.2)) or 1
        watch = self._cluster.watch(source.path, source.version, seconds=seconds)
        with self._lock:
            source.fault = ""
            self._watches.add(watch)
        self._changed.set()
        if self._stop.is_set():
            watch.close()
        try:
            for event in watch:
                with self._lock:
                    changed = source.take(event)
                if changed:
                    self._changed.set()
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _poll(self) -> None:
        next_definitions = time.monotonic() + self._pace.poll
        while not self._stop.wait(min(0.2, self._pace.fallback)):
            with self._lock:
                due = [one for one in self._sources if not one.watched and one.due <= time.monotonic()]
            for source in due:
                if self._stop.is_set():
                    return
                try:
                    self._list(source, patient=False)
                except ApiError as error:
                    if error.status in (404, 405) and source.listed and source.key not in _ESSENTIAL:
                        self._give_up(source, error)
                    else:
                        self._note(source, error)
                except MusterError as error:
                    self._note(source, error)
                source.due = time.monotonic() + source.pause
            if self._missing and time.monotonic() >= next_definitions:
                self._look_for_definitions(None)
                next_definitions = time.monotonic() + self._pace.poll

    # -- definitions of custom resources ---------------------------------------------------------------------------

    def _look_for_definitions(self, found: discovery.Discovery | None) -> None:
        """Those of kinds that are wanted and not served; once they are established their objects are looked at."""
        try:
            if found is None:
                found = discovery.with_new_definitions(self._cluster, discovery.read(self._cluster))
                self._add_served(found)
            served = {resource.key for resource in found.resources}
            broken = {failure.group for failure in found.failures}
            missing: dict[tuple[str, str], JSON] = {}
            wanted = sorted((self._custom or set()) - served)
            for key in wanted:
                definition = self._cluster.find(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{key}")
                if definition is not None:
                    missing[(kinds.CRDS, key)] = definition
            groups = {key.partition(".")[2] for key in wanted} & broken
            apis = "/apis/apiregistration.k8s.io/v1/apiservices"
            for service in self._cluster.list(apis) if groups else ():
                if objects.lookup(service, ("spec", "group")) in groups:
                    missing[(kinds.API_SERVICES, service["metadata"]["name"])] = service
        except ApiError as error:
            with self._lock:
                self._unseen[kinds.CRDS] = error.reason
            return
        except MusterError:
            # What was missing is so still.
            return
        with self._lock:
            self._missing = missing
        self._changed.set()

    def _add_served(self, found: discovery.Discovery) -> None:
        known = {source.key for source in self._sources} | set(self._unseen)
        for resource in found.preferred():
            if resource.key in (self._custom or ()) and resource.key not in known and resource.namespaced:
                for source in self._add(resource, watched=False, everywhere=False):
                    self._first(source, new=True)

    # -- judging ------------------------------------------------------------------------------------------------------

    def await_change(self, seconds: float) -> None:
        if not self._threads:
            self._start()
        self._changed.wait(max(seconds, 0.01))
        # Changes come in swarms; one look for all of them.
        self._stop.wait(0.05)
        self._changed.clear()

    def look(self) -> Look:
        """Judge everything as it is known now."""
        with self._lock:
            seen: dict[str, list[JSON]] = {}
            named: dict[str, str] = {}
            for source in self._sources:
                named[source.key] = source.resource.kind
                if source.listed:
                    seen.setdefault(source.key, []).extend(source.objects.values())
            silent = {source.key: source.fault for source in self._sources if source.fault}
            missing = dict(self._missing)
            unseen = dict(self._unseen)
        for (key, _name), definition in missing.items():
            seen.setdefault(key, []).append(definition)
            named[key] = str(definition.get("kind") or key)
        ignored = self._ignored(seen)
        kept = {key: [obj for obj in found if objects.uid_of(obj) not in ignored] for key, found in seen.items()}
        around = readiness.surroundings(kept)
        standings = [
            Standing(key, named[key], obj, readiness.judge(key, obj, around))
            for key, found in kept.items()
            if key not in _CONTEXT
            for obj in found
        ]
        standings = [
            replace(one, verdict=_UNREAD)
            if (one.key, one.name) in missing and one.verdict.state is State.CURRENT
            else one
            for one in standings
        ]
        standings.sort(key=_rank)
        left_out = sorted(f"{named[key]} {'/'.join(filter(None, place))}" for key, place in ignored.values())
        return Look(standings, seen, left_out, unseen, silent)

    def _ignored(self, seen: Mapping[str, Sequence[JSON]]) -> dict[str, tuple[str, tuple[str, str]]]:
        """What the patterns mean, with all that it owns: kind and place by uid."""
        if not self._ignore:
            return {}
        places = {
            objects.uid_of(obj): (key, _place(obj))
            for key, found in seen.items()
            if key not in _CONTEXT
            for obj in found
        }
        chosen = {uid: place for uid, place in places.items() if self._matches(place[0], place[1][1])}
        waiting = list(chosen)
        children = owned(seen)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                uid = objects.uid_of(child)
                if uid not in chosen and uid in places:
                    chosen[uid] = places[uid]
                    waiting.append(uid)
        return chosen

    def _matches(self, key: str, name: str) -> bool:
        return any(
            kinds.matches(key, [kind]) and (not slash or fnmatchcase(name, pattern))
            for kind, slash, pattern in self._ignore
        )


def owned(seen: Mapping[str, Sequence[JSON]]) -> dict[str, list[JSON]]:
    """The objects that each uid controls."""
    children: dict[str, list[JSON]] = {}
    for found in seen.values():
        for obj in found:
            owner = objects.controller(obj)
            if owner is not None:
                children.setdefault(str(owner.get("uid")), []).append(obj)
    return children


def family(obj: JSON, children: Mapping[str, Sequence[JSON]]) -> Iterator[JSON]:
    """All that the object controls, over any number of steps, each once."""
    done: set[str] = set()
    waiting = [objects.uid_of(obj)]
    while waiting:
        uid = waiting.pop()
        if uid in done:
            continue
        done.add(uid)
        for child in children.get(uid, ()):
            yield child
            waiting.append(objects.uid_of(child))


def _aside(key: str) -> bool:
    """Kinds that are no custom resources of an application."""
    return kinds.built_in(key) or kinds.left_out(key, kinds.LEFT_OUT)


def _rank(one: Standing) -> tuple[bool, bool, int, str]:
    place = _ORDER.index(one.key) if one.key in _ORDER else len(_ORDER)
    return one.verdict.state is State.CURRENT, one.verdict.state is not State.FAILED, place, one.title
