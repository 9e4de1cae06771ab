# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""CSI group snapshots: claims of one namespace and one driver, cut by the driver at one instant."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._volume import claim as claims
from ansible_collections.muster.container_dr.plugins.module_utils._volume import naming, snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import Claim, Source
from ansible_collections.muster.container_dr.plugins.module_utils._volume.snapshot import Cut

JSON = dict[str, Any]
GROUP = "groupsnapshot.storage.k8s.io"
# The best first. Before v1beta2 members are found in other ways.
_APIS = (f"{GROUP}/v1", f"{GROUP}/v1beta2")
_DEFAULT_CLASS = "groupsnapshot.storage.kubernetes.io/is-default-class"
_FINALIZER = "groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection"
# On the claims of a group while it is cut.
_MARK = marks.PREFIX + "cut-"
HINT = "With group_snapshots: never each volume is cut by itself."
_RIGHTS = f"Grant the rights in docs/rbac/groups.yml. {HINT}"


@dataclass(frozen=True)
class Group:
    """Claims that one VolumeGroupSnapshot of the version ``api`` is to cut."""

    api: str
    run: str
    namespace: str
    name: str
    group_class: str
    claims: tuple[Claim, ...]

    @property
    def volumes(self) -> tuple[str, ...]:
        return tuple(claim.label for claim in self.claims)

    def cuts(self) -> list[Cut]:
        """The cuts that it will make; known before, so that they can be dropped wherever that was interrupted."""
        return [Cut(self.run, claim, "snapshot", group=self.name) for claim in self.claims]


def served(cluster: Cluster) -> str | None:
    """The version of the API that the cluster offers, or None."""
    offered = (cluster.find(f"/apis/{GROUP}") or {}).get("versions") or []
    versions = {entry.get("groupVersion") for entry in offered}
    return next((api for api in _APIS if api in versions), None)


# -- plan -----------------------------------------------------------------------------------------------------


def arrange(
    cluster: Cluster,
    sources: Sequence[Source],
    wanted: str,
    explicit: Mapping[str, str] | None,
    warn: Callable[[str], None],
) -> list[Source]:
    """The sources, with a ``group_class`` where several are cut together.

    ``wanted`` is ``auto``, ``required`` or ``never``; ``explicit`` names the group class for a driver where it is not
    to be found by itself. Raises :class:`NotFound` for a class of that option that is not there, and with ``required``
    :class:`Refused`, :class:`InvalidInput` or :class:`Denied` where one group cannot cut all.
    """
    if wanted == "required":
        _insist(sources)
    together: dict[tuple[str, str], int] = {}
    for source in sources:
        if source.method == "snapshot":
            together[_common(source)] = together.get(_common(source), 0) + 1
    # A single volume needs no group: its own snapshot is one instant.
    several = {key for key, count in together.items() if count > 1 and wanted != "never"}
    chosen: dict[str, str] = {}
    for driver in sorted({driver for _namespace, driver in several}):
        try:
            chosen[driver] = _class(cluster, driver, (explicit or {}).get(driver))
        except (Denied, InvalidInput, Refused) as error:
            if wanted == "required":
                raise
            if not isinstance(error, Refused):
                warn(f"{error} The volumes of driver {driver} are cut one by one.")
    return [
        replace(source, group_class=chosen.get(_common(source)[1]))
        if source.method == "snapshot" and _common(source) in several
        else source
        for source in sources
    ]


def group_of(source: Source) -> tuple[str, str] | None:
    """What tells the group of a source from others; None for one that is cut by itself."""
    return _common(source) if source.group_class else None


def _common(source: Source) -> tuple[str, str]:
    """What all claims of a group have in common: namespace and driver."""
    return source.claim.namespace, str(source.claim.driver)


def _insist(sources: Sequence[Source]) -> None:
    live = [source.claim.label for source in sources if source.method != "snapshot"]
    keys = sorted({_common(source) for source in sources})
    reason = ""
    if live:
        reason = f"{live[0]} would be read while it is in use"
    elif len(keys) > 1:
        places = ", ".join(f"{namespace} ({driver})" for namespace, driver in keys)
        reason = f"a group has one namespace and one driver, they are in {places}"
    if reason:
        hint = (
            "Set group_snapshots to auto, or describe the volumes that belong together as an application of their own."
        )
        raise Refused("cut", "all volumes by one group snapshot", reason, hint)


def _class(cluster: Cluster, driver: str, explicit: str | None) -> str:
    """The group snapshot class for a driver; :class:`Refused` where the cluster offers none."""
    target = f"the volumes of driver {driver} by a group snapshot"
    api = served(cluster)
    classes: dict[str, JSON] = {}
    if api:
        for document in _list(cluster, object_path(api, "volumegroupsnapshotclasses")):
            if document.get("driver") == driver:
                classes[document["metadata"]["name"]] = document
    if api and explicit:
        if explicit not in classes:
            raise NotFound(
                "find",
                f"VolumeGroupSnapshotClass {explicit} for driver {driver}",
                "there is none of that name for this driver",
                f"Classes of the driver: {', '.join(sorted(classes)) or 'none'}.",
            )
        return explicit
    found = claims.candidates(classes, _DEFAULT_CLASS)
    if len(found) == 1:
        return found[0]
    if not api:
        reason = f"the cluster does not serve {' or '.join(_APIS)}"
        raise Refused("cut", target, reason, "Install the API and a driver that has groups.")
    if not found:
        raise Refused("cut", target, "no VolumeGroupSnapshotClass is for it", "Create one.")
    raise InvalidInput(
        "cut",
        target,
        f"{len(found)} classes could be meant ({', '.join(found)})",
        f"Name one in group_snapshot_classes, or annotate one with {_DEFAULT_CLASS}.",
    )


def plan(cluster: Cluster, run: str, sources: Sequence[Source]) -> list[Group]:
    """The groups that the sources were arranged in."""
    members: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        if source.group_class:
            members.setdefault(_common(source), []).append(source)
    if not members:
        return []
    api = served(cluster) or _APIS[0]
    return [
        Group(
            api,
            run,
            namespace,
            naming.object_name(run, namespace, f"group-{driver}"),
            str(found[0].group_class),
            tuple(source.claim for source in found),
        )
        for (namespace, driver), found in members.items()
    ]


# -- cut ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def marked(cluster: Cluster, application: str, groups: Sequence[Group], warn: Callable[[str], None]) -> Iterator[None]:
    """Label the claims while their groups are cut: a group finds its claims by nothing else."""
    try:
        for group in groups:
            for claim in group.claims:
                with _permitted(f"claim {claim.label}"):
                    _label(cluster, claim.namespace, claim.name, application, group.name)
        yield
    finally:
        for group in groups:
            for claim in group.claims:
                try:
                    _label(cluster, claim.namespace, claim.name, application, None)
                except NotFound:
                    pass
                except Interrupted:
                    raise
                except MusterError as error:
                    warn(f"A label was left on claim {claim.label}, the next run removes it: {error}")


def unmark(cluster: Cluster, api: str, namespace: str, name: str) -> None:
    """Take the labels off the claims of a group whose run can no longer do it."""
    document = cluster.find(groups_path(api, namespace, name)) or {"spec": {}}
    chosen = ((document["spec"].get("source") or {}).get("selector") or {}).get("matchLabels") or {}
    path = object_path("v1", "persistentvolumeclaims", namespace)
    for label, value in chosen.items():
        if label.startswith(_MARK):
            for item in _list(cluster, path, {"labelSelector": f"{label}={value}"}):
                one = object_path("v1", "persistentvolumeclaims", namespace, item["metadata"]["name"])
                cluster.patch(one, {"metadata": {"labels": {label: None}}})


def _mark(application: str) -> str:
    """Of each application its own: two of them may cut one claim at the same time."""
    return _MARK + hashlib.sha256(application.encode()).hexdigest()[:16]


def _label(cluster: Cluster, namespace: str, name: str, application: str, value: str | None) -> None:
    path = object_path("v1", "persistentvolumeclaims", namespace, name)
    cluster.patch(path, {"metadata": {"labels": {_mark(application): value}}})


@contextlib.contextmanager
def _permitted(target: str) -> Iterator[None]:
    try:
        yield
    except Denied as error:
        raise Denied("cut", f"{target} in a group", error.reason, _RIGHTS) from None


def groups_path(api: str, namespace: str, name: str | None = None) -> str:
    return object_path(api, "volumegroupsnapshots", namespace, name)


def create(cluster: Cluster, group: Group, application: str, noted: Mapping[str, str]) -> None:
    """Ask for the group snapshot, with these annotations. It is not made yet."""
    with _permitted(f"the volumes of namespace {group.namespace}"):
        cluster.create(
            groups_path(group.api, group.namespace),
            {
                "apiVersion": group.api,
                "kind": "VolumeGroupSnapshot",
                "metadata": {
                    "name": group.name,
                    "namespace": group.namespace,
                    "labels": naming.labels(group.run, application, marks.CUT),
                    "annotations": dict(noted),
                },
                "spec": {
                    "volumeGroupSnapshotClassName": group.group_class,
                    # The controller reads nothing but matchLabels of a selector.
                    "source": {"selector": {"matchLabels": {_mark(application): group.name}}},
                },
            },
        )


def look(cluster: Cluster, group: Group) -> tuple[str | None, str]:
    """When the group was cut, or None and why not. :class:`Incomplete` where it was cut without one of the claims."""
    document = cluster.find(groups_path(group.api, group.namespace, group.name))
    # The content knows it first: the group is told when it has an object for every member.
    content = _content(cluster, group.api, document)
    status = (content or {}).get("status") or {}
    if not status.get("creationTime"):
        return None, snapshot.words(document) or snapshot.words(content)
    count = _count(content)
    if count != len(group.claims):
        raise Incomplete(
            "cut",
            f"group snapshot {group.namespace}/{group.name}",
            f"it has {count} of {len(group.claims)} volumes ({', '.join(group.volumes)})",
            f"See whether something takes labels away from the claims. {HINT}",
        )
    return clock.iso(clock.parse(str(status["creationTime"]))), ""


def members(cluster: Cluster, group: Group, moment: str, application: str, timeout: float) -> list[Cut]:
    """The cuts of a group, once the controller has made a snapshot of every member.

    The consistency points are what the driver says of the members. One of which nothing is said (yet) has the earliest
    of those, as a group is one instant; ``moment``, when the group was cut, knows only seconds.
    """
    identity = cluster.get(groups_path(group.api, group.namespace, group.name))["metadata"]["uid"]
    end = time.monotonic() + timeout
    while True:
        found = {
            document["spec"]["source"].get("persistentVolumeClaimName"): document
            for document in _members(cluster, group.namespace, identity)
            if _bound(document)
        }
        missing = [claim.label for claim in group.claims if claim.name not in found]
        if not missing:
            break
        if time.monotonic() >= end:
            raise Incomplete(
                "cut",
                f"group snapshot {group.namespace}/{group.name}",
                f"no snapshot of {', '.join(missing)} came of it within {timeout:g} seconds",
                f"Look at the log of the snapshot controller. {HINT}",
            )
        time.sleep(0.5)
    cuts = []
    for cut in group.cuts():
        document = found[cut.claim]
        name = document["metadata"]["name"]
        # It is ours as well, and no part of the application that is captured.
        labels = naming.labels(group.run, application, marks.MEMBER)
        with _permitted(f"snapshot {cut.namespace}/{name}"):
            cluster.patch(snapshot.snapshots_path(cut.namespace, name), {"metadata": {"labels": labels}})
        content = cluster.find(snapshot.contents_path(_bound(document)))
        cuts.append(replace(cut, snapshot=name, consistency_point=snapshot.instant(content)))
    known = min((cut.consistency_point for cut in cuts if cut.consistency_point), default=moment)
    return [replace(cut, consistency_point=cut.consistency_point or known) for cut in cuts]


def _bound(document: JSON) -> str | None:
    name = (document.get("status") or {}).get("boundVolumeSnapshotContentName")
    return str(name) if name else None


def _members(cluster: Cluster, namespace: str, identity: str) -> list[JSON]:
    """The snapshots that the controller made for the group of this uid."""
    return [
        document
        for document in _list(cluster, snapshot.snapshots_path(namespace))
        if any(owner.get("uid") == identity for owner in document["metadata"].get("ownerReferences") or [])
    ]


def _content(cluster: Cluster, api: str, document: JSON | None) -> JSON | None:
    name = ((document or {}).get("status") or {}).get("boundVolumeGroupSnapshotContentName")
    return cluster.find(object_path(api, "volumegroupsnapshotcontents", None, name)) if name else None


# -- move and remove ------------------------------------------------------------------------------------------


def _of(cuts: Sequence[Cut]) -> list[tuple[str, str]]:
    """Namespace and name of each group, once."""
    return list(dict.fromkeys((cut.namespace, cut.group) for cut in cuts if cut.group))


def hold(cluster: Cluster, cuts: Sequence[Cut], application: str) -> None:
    """Keep the data of groups until :func:`drop`, so that nobody deletes it under the movers."""
    groups = _of(cuts)
    api = served(cluster) if groups else None
    for namespace, name in groups:
        if api:
            content = _content(cluster, api, cluster.find(groups_path(api, namespace, name)))
            _set_policy(cluster, api, content, "Retain", naming.labels(cuts[0].run, application, marks.HELD))


def contents(cluster: Cluster, api: str, namespace: str, name: str) -> list[JSON]:
    """What stands for the data of a group snapshot: its own content, and those of its members."""
    document = cluster.find(groups_path(api, namespace, name))
    if document is None:
        return []
    found = [_content(cluster, api, document)]
    for member in _members(cluster, namespace, document["metadata"]["uid"]):
        bound = _bound(member)
        found.append(cluster.find(snapshot.contents_path(bound)) if bound else None)
    return [one for one in found if one is not None]


def drop(cluster: Cluster, api: str, namespace: str, name: str, *, timeout: float = 60.0) -> bool:
    """Remove a group snapshot with its members and their data; False where it is not gone in time.

    A member cannot be removed by itself, and in many storages the data go only after all clones of it.
    """
    path = groups_path(api, namespace, name)
    end = time.monotonic() + timeout
    with contextlib.suppress(Unavailable):
        # What the controller makes for a group that is gone before it was bound stays, and so does a member that has
        # not been told its group.
        cluster.wait(path, lambda found: _linked(cluster, api, found), timeout=10.0, what="the group", interval=0.25)
    document = cluster.find(path)
    if document is None:
        return True
    found = contents(cluster, api, namespace, name)
    for content in found:
        if content["kind"] == "VolumeSnapshotContent":
            snapshot.set_policy(cluster, content, "Delete")
        else:
            _set_policy(cluster, api, content, "Delete", {})
    cluster.delete(path)
    while cluster.find(path) is not None or _members(cluster, namespace, document["metadata"]["uid"]):
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)
    # The group's own is the first, and with it the data of all go.
    for content in found:
        snapshot.remove_forgotten(cluster, _path_of(api, content), content["metadata"]["uid"])
    return True


def _path_of(api: str, content: JSON) -> str:
    name = content["metadata"]["name"]
    if content["kind"] == "VolumeSnapshotContent":
        return snapshot.contents_path(name)
    return object_path(api, "volumegroupsnapshotcontents", None, name)


def _linked(cluster: Cluster, api: str, document: JSON | None) -> bool:
    """Whether nothing of a group comes or stays when it is deleted now."""
    if document is None:
        return True
    metadata = document["metadata"]
    if _FINALIZER not in (metadata.get("finalizers") or []):
        return bool(snapshot.words(document))
    found = _members(cluster, metadata["namespace"], metadata["uid"])
    linked = [member for member in found if (member.get("status") or {}).get("volumeGroupSnapshotName")]
    return len(linked) == max(len(found), _count(_content(cluster, api, document)))


def _count(content: JSON | None) -> int:
    """How many volumes were cut."""
    return len(((content or {}).get("status") or {}).get("volumeSnapshotInfoList") or [])


def _set_policy(cluster: Cluster, api: str, content: JSON | None, policy: str, labels: Mapping[str, str]) -> None:
    if content is not None and content["spec"].get("deletionPolicy") != policy:
        change = {"metadata": {"labels": dict(labels)}, "spec": {"deletionPolicy": policy}}
        cluster.patch(_path_of(api, content), change)


def debris(cluster: Cluster, application: str, namespaces: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """Remove what earlier runs for this application left behind of groups; returns what was removed."""
    removed: list[str] = []
    selector = f"{marks.APPLICATION}={naming.label_value(application)},{marks.ROLE}=cut"
    api = served(cluster)
    for namespace in namespaces:
        groups: list[JSON] = []
        if api:
            # Who may not look for groups has made none.
            with contextlib.suppress(Denied):
                groups = _list(cluster, groups_path(api, namespace), {"labelSelector": selector})
        for item in groups:
            name = item["metadata"]["name"]
            try:
                for content in contents(cluster, str(api), namespace, name):
                    run = str(item["metadata"]["labels"].get(marks.RUN))
                    snapshot.require_ours(content, run, f"group snapshot {namespace}/{name}")
            except Refused as error:
                warn(str(error))
                continue
            drop(cluster, str(api), namespace, name)
            removed.append(f"group snapshot {namespace}/{name}")
        path = object_path("v1", "persistentvolumeclaims", namespace)
        for item in _list(cluster, path, {"labelSelector": _mark(application)}):
            name = item["metadata"]["name"]
            _label(cluster, namespace, name, application, None)
            removed.append(f"label of claim {namespace}/{name}")
    return removed


def quietly(cluster: Cluster, cuts: Sequence[Cut]) -> list[str]:
    """Drop the groups of cuts on the way out of something else; returns those that could not be removed."""
    left: list[str] = []
    for namespace, name in _of(cuts):
        try:
            api = served(cluster)
            gone = api is None or drop(cluster, api, namespace, name)
        except MusterError:
            gone = False
        if not gone:
            left.append(f"group {namespace}/{name}")
    return left


def _list(cluster: Cluster, path: str, query: JSON | None = None) -> list[JSON]:
    try:
        return list(cluster.list(path, query))
    except NotFound:  # no such kind or namespace here
        return []
