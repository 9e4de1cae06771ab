# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What an API server serves right now: every group, every version, aggregated APIs and custom resources included.

The per-version documents are asked for, not the server's aggregated one, because that may be stale for an API that
has just come or gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    METADATA_ONLY,
    ApiDenied,
    ApiError,
    ApiNotFound,
    Cluster,
    Resource,
)

# An API without a backend is common and stays so; what serves the rest answers at once.
_PATIENCE = 2.0


@dataclass(frozen=True)
class Failure:
    """A group version that is registered and does not answer: ``what`` is ``API metrics.k8s.io/v1beta1``."""

    api_version: str
    why: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def what(self) -> str:
        return f"API {self.api_version}"


@dataclass(frozen=True)
class Discovery:
    """All resources in all served versions, and the group versions that could not be read."""

    resources: tuple[Resource, ...]
    failures: tuple[Failure, ...] = ()

    def preferred(self) -> list[Resource]:
        """Each resource once, in the version that the server prefers among those that serve it."""
        return [resource for resource in self.resources if resource.preferred]

    def versions(self, key: str) -> list[Resource]:
        """All versions in which ``deployments.apps`` is served, the preferred one first; empty: not served."""
        found = [resource for resource in self.resources if resource.key == key]
        return sorted(found, key=lambda resource: not resource.preferred)

    def find(self, key: str, api_version: str | None = None) -> Resource | None:
        """The resource in that very version, or with no version given in the preferred one."""
        for resource in self.versions(key):
            if api_version is None or resource.api_version == api_version:
                return resource
        return None

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's ``apiVersion`` and ``kind``."""
        for resource in self.resources:
            if resource.kind == kind and resource.api_version == api_version:
                return resource
        return None


def discover(cluster: Cluster) -> list[Resource]:
    """Every resource once, in its preferred version; raises when the server does not answer at all."""
    return read(cluster).preferred()


def read(cluster: Cluster, *, workers: int = 12, wanted: Callable[[str], bool] = lambda _group: True) -> Discovery:
    """Ask for every group version in parallel, or for those of the ``wanted`` groups alone.

    A version that vanished between the two questions is no failure, one that answers nonsense is one. Raises
    :class:`Unavailable` or :class:`ApiError` when the list of groups itself cannot be read.
    """
    action = "discover the APIs through"
    core = cluster.get("/api", action=action)
    groups = cluster.get("/apis", action=action)
    order = [str(version) for version in core.get("versions") or ["v1"]]
    for group in groups.get("groups") or []:
        names = [str(version["groupVersion"]) for version in group.get("versions") or []]
        first = (group.get("preferredVersion") or {}).get("groupVersion")
        order += sorted(names, key=lambda name: name != first)
    order = [api_version for api_version in order if wanted(api_version.rpartition("/")[0])]

    def resources(api_version: str) -> list[Resource]:
        path = ("/apis/" if "/" in api_version else "/api/") + api_version
        try:
            return _resources(cluster.get(path, action="discover", patience=_PATIENCE), api_version)
        except ApiNotFound:
            return []
        except (AttributeError, KeyError, TypeError):
            body = {"message": f"the answer to GET {path} is no list of resources"}
            raise ApiError("discover", path, 200, body, "Look at what serves this API.") from None

    found: list[Resource] = []
    failures: list[Failure] = []
    taken: set[str] = set()
    for outcome in pool.each(order, resources, workers=workers):
        if outcome.error is not None:
            if not isinstance(outcome.error, MusterError) or isinstance(outcome.error, ApiDenied):
                raise outcome.error
            failures.append(Failure(outcome.item, outcome.error.reason))
            continue
        for resource in outcome.value or []:
            # The group's versions come in the server's order of preference, so the first to serve a kind wins.
            preferred = resource.key not in taken
            taken.add(resource.key)
            found.append(resource if preferred else _another_version(resource))
    return Discovery(tuple(found), tuple(failures))


def with_new_definitions(cluster: Cluster, found: Discovery) -> Discovery:
    """Add the custom resources that are defined and not yet announced: a new group takes the server a moment.

    Only the names of the definitions are listed; those that nothing is known of are read whole.
    """
    crds = found.find(kinds.CRDS)
    if crds is None:
        return found
    known = {resource.key for resource in found.resources}
    # A group whose documents could not be read is named as such; to guess at its kinds would hide that.
    broken = {failure.group for failure in found.failures}
    added: list[Resource] = []
    try:
        names = [
            str(item["metadata"]["name"])
            for page in cluster.pages(crds.path(), accept=METADATA_ONLY)
            for item in page.items
        ]
        for name in names:
            if name in known or name.partition(".")[2] in broken:
                continue
            selected = {"fieldSelector": f"metadata.name={name}"}
            for definition in cluster.list(crds.path(), selected):
                conditions = (definition.get("status") or {}).get("conditions") or []
                if any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
                    added += of_crd(definition)
    except ApiError:
        # An identity that may not list definitions has what the server announces.
        return found
    return Discovery((*found.resources, *added), found.failures)


def _resources(document: JSON, api_version: str) -> list[Resource]:
    group, _slash, version = api_version.rpartition("/")
    names = {str(entry["name"]) for entry in document.get("resources") or []}
    return [
        Resource(
            group=group,
            version=version,
            name=str(entry["name"]),
            kind=str(entry["kind"]),
            namespaced=bool(entry.get("namespaced")),
            verbs=frozenset(entry.get("verbs") or ()),
            status_apart=f"{entry['name']}/status" in names,
        )
        for entry in document.get("resources") or []
        if "/" not in entry["name"]
    ]


def _another_version(resource: Resource) -> Resource:
    return replace(resource, preferred=False)


def of_crd(definition: JSON) -> list[Resource]:
    """The resources that a CustomResourceDefinition makes once it is established, the storage version first."""
    spec = definition["spec"]
    served = [version for version in spec.get("versions") or [] if version.get("served")]
    served.sort(key=lambda version: not version.get("storage"))
    return [
        Resource(
            group=str(spec["group"]),
            version=str(version["name"]),
            name=str(spec["names"]["plural"]),
            kind=str(spec["names"]["kind"]),
            namespaced=spec.get("scope") == "Namespaced",
            verbs=frozenset({"create", "delete", "get", "list", "patch", "update", "watch"}),
            preferred=number == 0,
            status_apart="status" in (version.get("subresources") or {}),
        )
        for number, version in enumerate(served)
    ]
