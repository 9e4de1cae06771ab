# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What dead runs of any application have left in a cluster: found, judged by what they said of their life, and removed.

Nothing is touched of a run that may be alive, nor of one that says nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    Interrupted,
    MusterError,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._volume import alive, mover_run, naming, snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import group as grouping
from ansible_collections.muster.container_dr.plugins.module_utils._volume import namespace as movers
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import SNAPSHOT_API

JSON = dict[str, Any]
# Namespace and name; a title, and what removes the thing.
Place = tuple[str, str]
Removal = tuple[str, Callable[[], None]]
_ROLES = (marks.CUT, marks.CLONE, marks.MEMBER, marks.HELD, marks.MOVING, marks.RESTORING)
_WORKERS = 8
_NAMED = 10


@dataclass
class Run:
    """What is there of one run, by its kind (``jobs``, ``volumesnapshots`` and so on)."""

    name: str
    application: str
    things: dict[str, list[JSON]] = field(default_factory=dict)

    def of(self, kind: str, *roles: str) -> list[JSON]:
        """Those of a kind, in certain roles, that nobody has begun to delete."""
        return [
            one
            for one in self.things.get(kind, [])
            if not one["metadata"].get("deletionTimestamp")
            and (not roles or one["metadata"]["labels"].get(marks.ROLE) in roles)
        ]

    @property
    def said(self) -> alive.Statement | None:
        """What it says of its life."""
        return alive.newest(one for found in self.things.values() for one in found)


def sweep(
    cluster: Cluster,
    application: str,
    ours: str,
    namespaces: Iterable[str],
    warn: Callable[[str], None],
    *,
    plan: bool = False,
) -> list[JSON]:
    """Remove what dead runs left, or with ``plan`` only say it: an entry for each run of which something was found.

    An entry has ``run``, ``application``, ``removed`` (titles) and ``failed`` (why each of the others is still there).
    It is looked for in the whole cluster, or, where that is not permitted, in ``namespaces``. ``ours`` is the run that
    asks, which is left alone. Whatever goes wrong here is no reason to have no backup.
    """
    try:
        return _sweep(cluster, application, ours, list(dict.fromkeys(namespaces)), warn, plan)
    except Interrupted:
        raise
    except MusterError as error:
        warn(f"What dead runs have left could not be looked for: {error}")
        return []


def changed(entries: Iterable[JSON]) -> bool:
    """Whether something was, or would be, removed."""
    return any(entry["removed"] for entry in entries)


def _sweep(
    cluster: Cluster, application: str, ours: str, namespaces: Sequence[str], warn: Callable[[str], None], plan: bool
) -> list[JSON]:
    api = grouping.served(cluster)
    now = cluster.now()
    entries, unknown = [], []
    for run in _find(cluster, api, namespaces):
        if run.name == ours:
            continue
        if run.said is None:
            # Those of the same application its next backup removes anyhow.
            unknown += [run] if run.application != naming.label_value(application) else []
        elif run.said.over(now):
            entry = _planned(cluster, api, run) if plan else _remove(cluster, api, run)
            entries += [entry] if entry["removed"] or entry["failed"] else []
    if unknown:
        names = ", ".join(f"{run.name} of {run.application}" for run in unknown[:_NAMED])
        warn(
            f"There are things of {len(unknown)} runs in the cluster that do not say whether they go on, as in earlier "
            f"versions ({names}). When they have ended, run a backup of their application, or delete what has the "
            f"label {marks.RUN} with that value."
        )
    for entry in entries if not plan else ():
        about = f"run {entry['run']} of {entry['application']}, which was killed"
        if entry["removed"]:
            warn(f"Removed what {about}, has left: {', '.join(entry['removed'][:_NAMED])}.")
        if entry["failed"]:
            warn(f"{len(entry['failed'])} things of {about}, are still there: {' '.join(entry['failed'][:_NAMED])}")
    return entries


# -- find -----------------------------------------------------------------------------------------------------


def _find(cluster: Cluster, api: str | None, namespaces: Sequence[str]) -> list[Run]:
    """All runs of which there is something, by name, which is by age."""
    kinds = [("batch/v1", "jobs"), (SNAPSHOT_API, "volumesnapshots"), (SNAPSHOT_API, "volumesnapshotcontents")]
    if api:
        kinds.append((api, "volumegroupsnapshots"))
    query = {"labelSelector": f"{marks.RUN},{marks.ROLE} in ({','.join(_ROLES)})"}
    runs: dict[str, Run] = {}
    for version, kind in kinds:
        for one in _list(cluster, version, kind, namespaces, query):
            labels = one["metadata"]["labels"]
            run = runs.setdefault(labels[marks.RUN], Run(labels[marks.RUN], str(labels.get(marks.APPLICATION))))
            run.things.setdefault(kind, []).append(one)
    return [runs[name] for name in sorted(runs)]


def _list(cluster: Cluster, version: str, kind: str, namespaces: Sequence[str], query: JSON) -> Iterator[JSON]:
    try:
        yield from list(cluster.list(object_path(version, kind), query))
        return
    except NotFound:  # no such kind here
        return
    except Denied:
        pass
    for namespace in namespaces if kind != "volumesnapshotcontents" else ():
        try:
            yield from list(cluster.list(object_path(version, kind, namespace), query))
        except (Denied, NotFound):
            continue


# -- remove ---------------------------------------------------------------------------------------------------


def _planned(cluster: Cluster, api: str | None, run: Run) -> JSON:
    titles = [title for stage in _stages(cluster, api, run) for title, _work in stage]
    return {"run": run.name, "application": run.application, "removed": titles, "failed": []}


def _remove(cluster: Cluster, api: str | None, run: Run) -> JSON:
    removed: list[str] = []
    failed: list[str] = []
    try:
        for stage in _stages(cluster, api, run):
            for outcome in pool.each(stage, _removed, workers=_WORKERS):
                if isinstance(outcome.error, MusterError) and not isinstance(outcome.error, Interrupted):
                    failed.append(str(outcome.error))
                elif outcome.error is not None:
                    raise outcome.error
                else:
                    removed.append(outcome.item[0])
        for name in {namespace for namespace, _name in _clones(run)}:
            movers.remove_ours(cluster, name)
    except Interrupted:
        raise
    except MusterError as error:
        failed.append(str(error))
    return {"run": run.name, "application": run.application, "removed": removed, "failed": failed}


def _removed(removal: Removal) -> None:
    # Somebody else may be at it too.
    with contextlib.suppress(NotFound):
        removal[1]()


def _stages(cluster: Cluster, api: str | None, run: Run) -> Iterator[list[Removal]]:
    """What to do, one stage after the other: who reads, what is read, and at last the data behind it."""
    jobs = [_place(one) for one in run.of("jobs")]
    yield [(f"job {_title(place)}", partial(mover_run.remove, cluster, *place, ours=False)) for place in jobs]
    yield [(f"clone {_title(place)}", partial(snapshot.release, cluster, *place)) for place in _clones(run)]
    alone = [_place(one) for one in run.of("volumesnapshots", marks.CUT)]
    groups: dict[Place, list[Place]] = {_place(one): [] for one in run.of("volumegroupsnapshots")}
    for one in run.of("volumesnapshots", marks.MEMBER):
        name = (one.get("status") or {}).get("volumeGroupSnapshotName")
        beside = groups.setdefault((_place(one)[0], str(name)), []) if name and api else alone
        beside.append(_place(one))
    yield [
        (f"group snapshot {_title(place)}", partial(_drop_group, cluster, run.name, str(api), place, members))
        for place, members in groups.items()
    ]
    yield [(f"snapshot {_title(place)}", partial(snapshot.drop_left, cluster, run.name, *place)) for place in alone]
    known = {*alone, *(member for members in groups.values() for member in members)}
    held = [one for one in run.of("volumesnapshotcontents", marks.HELD) if _referred(one) not in known]
    yield [removal for removal in (_held(cluster, one) for one in held) if removal]


def _clones(run: Run) -> list[Place]:
    """Where clones are. Of each its content is made first and removed last; snapshot and claim have the same name."""
    return [_referred(one) for one in run.of("volumesnapshotcontents", marks.CLONE)]


def _drop_group(cluster: Cluster, run: str, api: str, place: Place, members: Iterable[Place]) -> None:
    for content in grouping.contents(cluster, api, *place):
        snapshot.require_ours(content, run, f"group snapshot {_title(place)}")
    grouping.unmark(cluster, api, *place)
    if not grouping.drop(cluster, api, *place):
        raise Incomplete("remove", f"group snapshot {_title(place)}", "it is not gone yet", "See its driver's log.")
    # Those that were not told that their group went.
    for member in members:
        snapshot.drop_left(cluster, run, *member)


def _held(cluster: Cluster, content: JSON) -> Removal | None:
    """How to give up the data of a content that was kept for a mover; None where it is not to be touched.

    Its snapshot may have gone in another way, as with its namespace; then nobody but us knows of the data.
    """
    place, name = _referred(content), content["metadata"]["name"]
    try:
        document = cluster.find(snapshot.snapshots_path(*place))
    except Denied:
        return None
    title = f"snapshot content {name}"
    if document is None or document["metadata"]["uid"] != content["spec"]["volumeSnapshotRef"].get("uid"):
        return title, partial(_drop_content, cluster, content)
    if (document["metadata"].get("labels") or {}).get(marks.RUN) != content["metadata"]["labels"][marks.RUN]:
        return None
    if document["metadata"].get("deletionTimestamp"):
        # It goes already, and shall not leave its data behind.
        kept = content["spec"].get("deletionPolicy") != "Delete"
        return (title, partial(snapshot.set_policy, cluster, content, "Delete")) if kept else None
    return f"snapshot {_title(place)}", partial(snapshot.drop, cluster, *place)


def _drop_content(cluster: Cluster, content: JSON) -> None:
    name = content["metadata"]["name"]
    group = (content.get("status") or {}).get("volumeGroupSnapshotHandle")
    if group:
        # A driver gives up a group's data with the group only.
        raise Incomplete(
            "remove",
            f"snapshot content {name}",
            f"it is one of a group, {group}, whose snapshot is gone",
            "Set the deletionPolicy of the VolumeGroupSnapshotContent with this handle to Delete and delete it, then "
            "delete this one.",
        )
    snapshot.set_policy(cluster, content, "Delete")
    cluster.delete(snapshot.contents_path(name), uid=content["metadata"]["uid"])


def _title(place: Place) -> str:
    return "/".join(place)


def _place(one: JSON) -> Place:
    return str(one["metadata"]["namespace"]), str(one["metadata"]["name"])


def _referred(content: JSON) -> Place:
    reference = content["spec"].get("volumeSnapshotRef") or {}
    return str(reference.get("namespace")), str(reference.get("name"))
