# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the target already has: read by lists, which are nearly free, and kept only as far as the restore needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, kinds, objects, selection
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    FEW_NAMESPACES,
    JSON,
    ApiDenied,
    ApiError,
    Cluster,
    Resource,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.references import CLASSES

Seen = Callable[[objects.Identity, JSON], None]


class Target:
    """The namespaces of a restore as they are, and lists of what is in them."""

    def __init__(self, cluster: Cluster, found: discovery.Discovery, *, workers: int) -> None:
        self.cluster = cluster
        self.found = found
        self.workers = workers
        self.namespaces: dict[str, JSON] = {}
        self.owned_by: dict[str, frozenset[str]] = {}
        self.claim_owners: set[str] = set()
        self._classes: dict[str, dict[str, JSON]] = {}
        self._lock = threading.Lock()

    def look_at_namespaces(self, names: Iterable[str]) -> None:
        """Read those of the namespaces that exist. Raises :class:`Refused` for one that is being deleted."""
        for live in self._namespaces(sorted(set(names))):
            name = str(live["metadata"]["name"])
            if live["metadata"].get("deletionTimestamp"):
                raise Refused(
                    "restore into",
                    f"namespace {name}",
                    "it is being deleted",
                    "Wait until it is gone, or see what its finalizers wait for.",
                )
            self.namespaces[name] = live

    def _namespaces(self, names: list[str]) -> Iterator[JSON]:
        path = "/api/v1/namespaces"
        if len(names) > FEW_NAMESPACES:
            wanted = set(names)
            try:
                yield from [obj for obj in self.cluster.list(path) if obj["metadata"]["name"] in wanted]
            except ApiDenied:
                # An identity may be allowed to read its own namespaces only.
                pass
            else:
                return
        for outcome in pool.each(names, lambda name: self.cluster.find(f"{path}/{name}"), workers=self.workers):
            if outcome.error is not None:
                raise outcome.error
            if outcome.value is not None:
                yield outcome.value

    def look(self, wanted: Mapping[str, Resource], seen: Seen) -> None:
        """List the wanted kinds in the namespaces that exist and call ``seen`` for each object, from many threads.

        Remembers besides, for all that is seen, who owns whom, and the classes that pods and claims may need.
        """
        resources = {key: resource for key, resource in wanted.items() if key != kinds.NAMESPACES}
        for key in (*CLASSES, kinds.PVCS):
            resource = self.found.find(key)
            if resource is not None:
                resources.setdefault(key, resource)

        def note(identity: objects.Identity, obj: JSON) -> None:
            self._note(identity, obj)
            if identity.key in wanted:
                seen(identity, obj)

        work: list[tuple[Resource, str | None]] = []
        for resource in resources.values():
            if self.found.find(resource.key) is None:
                continue
            if not resource.namespaced or len(self.namespaces) > FEW_NAMESPACES:
                work.append((resource, None))
            else:
                work += [(resource, name) for name in sorted(self.namespaces)]
        for outcome in pool.each(work, lambda place: self._list(*place, note), workers=self.workers):
            if outcome.error is not None:
                raise outcome.error

    def _list(self, resource: Resource, namespace: str | None, seen: Seen) -> None:
        everywhere = resource.namespaced and namespace is None
        try:
            for obj in self.cluster.list(resource.path(namespace)):
                if not everywhere or obj["metadata"]["namespace"] in self.namespaces:
                    seen(objects.identity(resource.key, obj), obj)
        except ApiDenied:
            if not everywhere:
                raise
            # Refused at the first page already, so nothing is seen twice.
            for name in sorted(self.namespaces):
                self._list(resource, name, seen)

    def _note(self, identity: objects.Identity, obj: JSON) -> None:
        owners = frozenset(str(owner.get("uid")) for owner in objects.owners(obj))
        with self._lock:
            if owners:
                self.owned_by[str(obj["metadata"].get("uid"))] = owners
            if identity.key == kinds.PVCS:
                self.claim_owners |= owners
            if identity.key in CLASSES:
                self._classes.setdefault(identity.key, {})[identity.name] = obj

    def keeps_claims(self, uid: str) -> bool:
        """Whether deleting the object of that uid would, through owner references, delete a volume claim."""
        found: set[str] = set()
        above = set(self.claim_owners)
        while above - found:
            found |= above
            above = {owner for each in above for owner in self.owned_by.get(each, ())}
        return uid in found

    def classes(self, key: str) -> Mapping[str, JSON]:
        """The classes of a kind by name."""
        return self._classes.get(key, {})

    def restored_before(self, namespace: str, point: str) -> bool:
        """Whether an earlier run has already begun to restore this very point into the namespace."""
        live = self.namespaces.get(namespace)
        return live is not None and objects.annotations_of(live).get(marks.POINT) == point

    def strangers(self, namespaces: Iterable[str], relevant: Callable[[str], bool]) -> list[str]:
        """Objects in the namespaces that neither a controller nor we have put there, of the kinds that matter."""
        resources = [
            resource
            for resource in self.found.preferred()
            if resource.namespaced
            and "list" in resource.verbs
            and relevant(resource.key)
            and not kinds.left_out(resource.key, kinds.LEFT_OUT)
        ]

        def look(place: tuple[Resource, str]) -> list[str]:
            resource, namespace = place
            try:
                found = self.cluster.list(resource.path(namespace))
                return [str(objects.identity(resource.key, obj)) for obj in found if _stranger(resource.key, obj)]
            except ApiError as error:
                if error.status in (403, 404, 405):
                    return []
                raise

        places = [(resource, namespace) for namespace in sorted(namespaces) for resource in resources]
        names: list[str] = []
        for outcome in pool.each(places, look, workers=self.workers):
            if outcome.error is not None:
                raise outcome.error
            names += outcome.value or []
        return sorted(names)


def _stranger(key: str, obj: JSON) -> bool:
    if objects.identity(key, obj).name == "default" and key == "serviceaccounts":
        return False
    held = {**objects.labels_of(obj), **objects.annotations_of(obj)}
    ours = any(name.startswith(marks.PREFIX) and not name.startswith(marks.OF_USERS) for name in held)
    if ours or held.get(marks.MANAGED_BY) == marks.MANAGER:
        return False
    return selection.left_out_by_nature(key, obj) is None
