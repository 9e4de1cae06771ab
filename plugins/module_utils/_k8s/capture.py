# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Capture an application's objects into a folder, as the layout of :mod:`layout` says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress, Silent, State
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    discovery,
    kinds,
    layout,
    objects,
    related,
    selection,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiDenied,
    ApiError,
    ApiNotFound,
    Cluster,
    Resource,
)

# Up to here every namespace is asked by itself; above, one list over the whole cluster is cheaper.
_FEW = 6


@dataclass
class Capture:
    """What was captured. ``counts`` by kind; ``excluded`` and ``incomplete`` hold {what, why}."""

    namespaces: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    excluded: list[dict[str, str]] = field(default_factory=list)
    incomplete: list[dict[str, str]] = field(default_factory=list)
    related: list[dict[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class _Capturing:
    def __init__(
        self,
        cluster: Cluster,
        chosen: selection.Selection,
        namespaces: dict[str, JSON],
        folder: Path | None,
        workers: int,
        progress: Progress,
    ) -> None:
        self.cluster = cluster
        self.selection = chosen
        self.namespaces = namespaces
        self.folder = folder
        self.workers = workers
        self.progress = progress
        self.references = related.References(frozenset(namespaces))
        self.capture = Capture(sorted(namespaces))
        self.lock = threading.Lock()
        self.seen: set[str] = set()
        self.inhabited: set[str] = set()
        self.kinds = 0
        self.listed = 0

    def namespaced(self, resources: Iterable[Resource]) -> None:
        """Capture all kinds of the application's namespaces, kinds in parallel."""
        work = [resource for resource in resources if resource.namespaced and self._listable(resource)]
        self.kinds = len(work)
        for outcome in pool.each(work, self._kind, workers=self.workers):
            if outcome.error is not None:
                self._failed(outcome.item.key, outcome.error)
        self._show("done")

    def _listable(self, resource: Resource) -> bool:
        return "list" in resource.verbs and self.selection.wants_kind(resource.key)

    def _kind(self, resource: Resource) -> None:
        found: dict[str, list[tuple[str, str]]] = {}
        for obj in self._objects(resource):
            where = objects.identity(resource.key, obj)
            if where.namespace not in self.namespaces or not self._take(resource.key, obj):
                continue
            objects.reduce_managed_fields(obj)
            found.setdefault(where.namespace, []).append((where.name, objects.canonical(obj)))
        for namespace, lines in found.items():
            self._write(resource.key, namespace, lines)
        with self.lock:
            self.listed += 1
        if found:
            self._show("running")

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

    def _objects(self, resource: Resource) -> Iterator[JSON]:
        """All objects of the kind in the application's namespaces; what cannot be listed is noted."""
        if len(self.namespaces) > _FEW:
            try:
                yield from self.cluster.list(resource.path())
            except ApiDenied:
                # An identity may be allowed in its namespaces only. Nothing was yielded: the first page is refused.
                pass
            else:
                return
        for namespace in sorted(self.namespaces):
            yield from self._in_namespace(resource, namespace)

    def _in_namespace(self, resource: Resource, namespace: str) -> Iterator[JSON]:
        try:
            yield from self.cluster.list(resource.path(namespace))
        except ApiNotFound:
            # The kind has just been removed from the server.
            return
        except MusterError as error:
            self._failed(f"{resource.key} in namespace {namespace}", error)

    def _take(self, key: str, obj: JSON) -> bool:
        if not self.selection.labelled(obj):
            return False
        where = objects.identity(key, obj)
        why = selection.excluded_by_mark(obj)
        uid = str(obj["metadata"].get("uid") or where)
        with self.lock:
            if why:
                self.capture.excluded.append({"what": str(where), "why": why})
                return False
            # The same object may be served by two groups.
            if uid in self.seen or selection.left_out_by_nature(key, obj):
                return False
            self.seen.add(uid)
            if obj["metadata"].get("deletionTimestamp"):
                self.capture.excluded.append({"what": str(where), "why": "it was being deleted at that moment"})
                return False
            self.inhabited.add(where.namespace)
            self.references.note(key, obj)
        return True

    def cluster_scoped(self, found: discovery.Discovery) -> None:
        """Capture the namespaces themselves and what :mod:`related` finds."""
        lines = []
        for name, obj in self.namespaces.items():
            if self.selection.selectors and name not in self.inhabited:
                continue
            objects.reduce_managed_fields(obj)
            lines.append((name, objects.canonical(obj)))
        self._write(kinds.NAMESPACES, None, lines)
        for key in related.ORDER:
            resource = found.find(key)
            if resource is None or not self.references.asked(key) or kinds.matches(key, self.selection.exclude_kinds):
                continue
            try:
                self._related(resource)
            except MusterError as error:
                self._failed(key, error)

    def _related(self, resource: Resource) -> None:
        lines = []
        for obj in self.cluster.list(resource.path()):
            why = self.references.why(resource.key, obj)
            if why is None:
                continue
            where = objects.identity(resource.key, obj)
            mark = selection.excluded_by_mark(obj)
            if mark:
                self.capture.excluded.append({"what": str(where), "why": mark})
                continue
            objects.reduce_managed_fields(obj)
            lines.append((where.name, objects.canonical(obj)))
            self.capture.related.append({"what": str(where), "why": why})
        self._write(resource.key, None, lines)

    def _write(self, key: str, namespace: str | None, lines: list[tuple[str, str]]) -> None:
        if self.folder is not None:
            try:
                layout.write(self.folder, key, namespace, lines)
            except OSError as error:
                raise MusterError(
                    "stage", f"{key} in {self.folder}", error.strerror or str(error), "Make room there, or set TMPDIR."
                ) from None
        with self.lock:
            if lines:
                self.capture.counts[key] += len(lines)

    def _failed(self, what: str, error: Exception) -> None:
        # A server that is gone, or a full disk, ends the capture; an answer about one kind does not.
        if not isinstance(error, ApiError):
            raise error
        if isinstance(error, ApiNotFound) or error.status == 405:
            return
        with self.lock:
            self.capture.incomplete.append({"what": what, "why": error.reason})


def capture(
    cluster: Cluster,
    chosen: selection.Selection,
    folder: Path | None,
    *,
    workers: int = 8,
    progress: Progress | None = None,
) -> Capture:
    """Write the application's objects below ``folder`` (``None``: count only).

    Raises :class:`NotFound` when the application matches nothing. Kinds that cannot be listed are named in
    ``incomplete``; a cluster that stops answering is an error.
    """
    found = discovery.read(cluster)
    present: dict[str, JSON] = {obj["metadata"]["name"]: obj for obj in _namespaces(cluster, chosen)}
    excluded: list[dict[str, str]] = []
    picked: dict[str, JSON] = {}
    for name in chosen.pick_namespaces(present):
        why = selection.excluded_by_mark(present[name])
        if why:
            excluded.append({"what": f"{kinds.NAMESPACES}/{name}", "why": why})
        else:
            picked[name] = present[name]
    run = _Capturing(cluster, chosen, picked, folder, workers, progress or Silent())
    run.capture.excluded += excluded
    for failure in found.failures:
        group = failure.api_version.rpartition("/")[0]
        if not kinds.matches(f"x.{group}", chosen.leave_out):
            run.capture.incomplete.append({"what": failure.what, "why": failure.why})
    run.namespaced(found.preferred())
    if not picked or (chosen.selectors and not run.inhabited):
        raise NotFound(
            "capture",
            f"application {chosen.application}",
            "nothing in the cluster matches it" + (f" that is not excluded ({excluded[0]['why']})" if excluded else ""),
            "Look at its namespaces and selectors, and at the cluster in use.",
        )
    run.cluster_scoped(found)
    run.capture.namespaces = sorted(run.inhabited) if chosen.selectors else sorted(picked)
    for entries in (run.capture.excluded, run.capture.incomplete, run.capture.related):
        entries.sort(key=lambda entry: entry["what"])
    return run.capture


def _namespaces(cluster: Cluster, chosen: selection.Selection) -> Iterable[JSON]:
    """The cluster's namespaces, or those named exactly where listing them is not allowed."""
    path = "/api/v1/namespaces"
    try:
        return list(cluster.list(path))
    except ApiDenied:
        exact = [name for name in chosen.namespaces if not set(name) & set("*?[")]
        if len(exact) < len(chosen.namespaces):
            raise
        read = (cluster.find(f"{path}/{name}") for name in exact)
        return [obj for obj in read if obj is not None]
