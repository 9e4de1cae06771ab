# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""CSI snapshots: cut all of an application's at once, then make each one readable in our own namespace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import quantity
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._volume import alive, naming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import SNAPSHOT_API, Claim, Source

JSON = dict[str, Any]
# Snapshots that go at a time; the controller takes about a second for each.
_DROPPING = 8
# Says when something was cut, or None and why not.
Look = Callable[[], "tuple[str | None, str]"]


@dataclass(frozen=True)
class Cut:
    """A snapshot that was cut, or a live claim to be read: what the move phase needs to know.

    ``group`` names the VolumeGroupSnapshot that the snapshot is a member of.
    """

    run: str
    volume: Claim
    method: str
    snapshot: str | None = None
    consistency_point: str | None = None
    group: str | None = None

    @property
    def namespace(self) -> str:
        return self.volume.namespace

    @property
    def claim(self) -> str:
        return self.volume.name

    def document(self) -> JSON:
        """Plain JSON values, to be handed from phase cut to phase move."""
        return asdict(self)

    @classmethod
    def read(cls, document: JSON) -> Cut:
        try:
            values = {name: document[name] for name in cls.__dataclass_fields__}
            facts = {name: values["volume"][name] for name in Claim.__dataclass_fields__}
            lists = {name: tuple(facts[name]) for name in ("access_modes", "used_by")}
        except (KeyError, TypeError):
            raise InvalidInput(
                "use", "option cuts", "an entry is not what phase cut returned", "Pass the cuts unchanged."
            ) from None
        return cls(**{**values, "volume": Claim(**{**facts, **lists})})


def snapshots_path(namespace: str, name: str | None = None) -> str:
    return object_path(SNAPSHOT_API, "volumesnapshots", namespace, name)


def contents_path(name: str | None = None) -> str:
    return object_path(SNAPSHOT_API, "volumesnapshotcontents", None, name)


def plan(run: str, source: Source) -> Cut:
    """The cut that :func:`create` will make; known before, so that it can be dropped wherever that was interrupted."""
    claim = source.claim
    return Cut(run, claim, "snapshot", naming.object_name(run, claim.namespace, claim.name))


def create(cluster: Cluster, cut: Cut, application: str, snapshot_class: str | None, noted: Mapping[str, str]) -> None:
    """Ask for the snapshot, in the application's namespace, with these annotations. It is not made yet."""
    cluster.create(
        snapshots_path(cut.namespace),
        {
            "apiVersion": SNAPSHOT_API,
            "kind": "VolumeSnapshot",
            "metadata": {
                "name": cut.snapshot,
                "namespace": cut.namespace,
                "labels": naming.labels(cut.run, application, marks.CUT),
                "annotations": dict(noted),
            },
            "spec": {
                "volumeSnapshotClassName": snapshot_class,
                "source": {"persistentVolumeClaimName": cut.claim},
            },
        },
    )


def look(cluster: Cluster, cut: Cut) -> tuple[str | None, str]:
    """When the snapshot was cut, or None and what its driver says."""
    document = cluster.find(snapshots_path(cut.namespace, cut.snapshot))
    return _moment(cluster, document), words(document)


def wait_cut(
    pending: Mapping[tuple[str, ...], Look], timeout: float, progress: Progress, hint: str = ""
) -> dict[tuple[str, ...], str]:
    """Wait until all have their creation time, which is when the application may go on writing.

    ``pending`` has, for volumes that are cut together, how to look for it; the result has the times.
    """
    end = time.monotonic() + timeout
    made: dict[tuple[str, ...], str] = {}
    while True:
        problem = ""
        for volumes, looked in pending.items():
            if volumes in made:
                continue
            moment, said = looked()
            if moment:
                made[volumes] = moment
                for volume in volumes:
                    progress.update("volume", volume, "waiting", msg=f"cut at {moment}")
            else:
                problem = problem or f"{', '.join(volumes)}: {said or 'the driver gave no answer'}"
        if len(made) == len(pending):
            return made
        if time.monotonic() >= end:
            raise Unavailable(
                "cut",
                "the snapshots",
                f"not all were made within {timeout:g} seconds ({problem})",
                f"Look at the VolumeSnapshot and at the CSI driver's log, or raise cut_timeout. {hint}",
            )
        time.sleep(0.25)


def _moment(cluster: Cluster, document: JSON | None) -> str | None:
    """When it was cut: the content holds nanoseconds, the snapshot itself only seconds."""
    status = (document or {}).get("status") or {}
    if not status.get("creationTime"):
        return None
    name = status.get("boundVolumeSnapshotContentName")
    content = cluster.find(contents_path(name)) if name else None
    return instant(content) or clock.iso(clock.parse(str(status["creationTime"])))


def instant(content: JSON | None) -> str | None:
    """When a content says that it was cut."""
    nanoseconds = ((content or {}).get("status") or {}).get("creationTime")
    return clock.iso(datetime.fromtimestamp(int(nanoseconds) / 1e9, tz=timezone.utc)) if nanoseconds else None


def words(document: JSON | None) -> str:
    """What the driver says is wrong with a snapshot or a group."""
    error = ((document or {}).get("status") or {}).get("error") or {}
    return str(error.get("message") or "")[:300]


def wait_ready(cluster: Cluster, namespace: str, name: str, target: str, timeout: float) -> JSON:
    """The snapshot once it can be read; :class:`NotFound` where somebody removed it meanwhile."""
    began = time.monotonic()
    while True:
        document = cluster.find(snapshots_path(namespace, name))
        if document is None:
            raise NotFound(
                "read",
                f"the snapshot of {target}",
                "it is gone",
                "Somebody deleted it, or a later run for the same application took over. Run the backup again.",
            )
        if (document.get("status") or {}).get("readyToUse"):
            return document
        if time.monotonic() >= began + timeout:
            raise Unavailable(
                "read",
                f"the snapshot of {target}",
                f"it was not ready after {timeout:g} seconds ({words(document) or 'the driver gives no reason'})",
                "Look at the CSI driver's log.",
            )
        time.sleep(clock.pause(time.monotonic() - began, 0.5))


@dataclass(frozen=True)
class Clone:
    """How a volume is made of a snapshot. None: as that of the claim."""

    access_mode: str | None = None
    storage_class: str | None = None


_READERS = ("ReadOnlyMany", "ReadWriteOnce", "ReadWriteMany")
# Mounts the snapshot itself where nobody may write, and copies every file elsewhere. Rook's name has a prefix.
_SHALLOW = "cephfs.csi.ceph.com"


def clones(values: Mapping[str, Any] | None) -> Callable[[str | None], Clone]:
    """The ``clones`` option: a function from a CSI driver to how its snapshots are read."""
    found: dict[str, Clone] = {}
    for driver, value in (values or {}).items():
        given = value if isinstance(value, Mapping) else {str(value): None}
        unknown = sorted(str(key) for key in given if key not in ("access_mode", "storage_class"))
        mode = given.get("access_mode")
        if unknown or mode not in (None, *_READERS):
            reason = f"it has {unknown[0]!r}" if unknown else f"access_mode is {mode!r}"
            hint = f"Its keys are access_mode ({', '.join(_READERS)}) and storage_class."
            raise InvalidInput("use", f"clones entry {driver}", reason, hint)
        found[str(driver)] = Clone(mode, str(given["storage_class"]) if given.get("storage_class") else None)

    def of(driver: str | None) -> Clone:
        usual = Clone("ReadOnlyMany") if (driver or "").endswith(_SHALLOW) else Clone()
        return found.get(driver or "", usual)

    return of


def clone(cluster: Cluster, cut: Cut, namespace: str, application: str, timeout: float, how: Clone) -> str:
    """Make the snapshot's data a claim in ``namespace`` and return the claim's name.

    The original content is set to Retain until :func:`release`, so that nobody deletes the data under the mover.
    """
    claim = cut.volume
    document = wait_ready(cluster, cut.namespace, str(cut.snapshot), claim.label, timeout)
    content = cluster.get(contents_path(document["status"]["boundVolumeSnapshotContentName"]))
    handle = (content.get("status") or {}).get("snapshotHandle")
    if not handle:
        target = f"the snapshot of {claim.label}"
        raise Incomplete("read", target, "its content has no handle", "Look at the CSI driver.")
    _hold(cluster, content, cut, application, {"deletionPolicy": "Retain"})
    name = naming.object_name(cut.run, cut.namespace, cut.claim)
    labels = naming.labels(cut.run, application, marks.CLONE)
    noted = alive.statement(cluster, alive.LASTS)
    spec: JSON = {
        # Two contents share one handle now; only the original one may take the data away.
        "deletionPolicy": "Retain",
        "driver": content["spec"]["driver"],
        "source": {"snapshotHandle": handle},
        "volumeSnapshotRef": {"name": name, "namespace": namespace},
    }
    for key in ("sourceVolumeMode", "volumeSnapshotClassName"):
        if content["spec"].get(key):
            spec[key] = content["spec"][key]
    # A content of this kind is bound to nobody's snapshot by its labels alone.
    cluster.create(
        contents_path(),
        {
            "apiVersion": SNAPSHOT_API,
            "kind": "VolumeSnapshotContent",
            "metadata": {"name": name, "labels": labels, "annotations": noted},
            "spec": spec,
        },
    )
    snapshot: JSON = {
        "apiVersion": SNAPSHOT_API,
        "kind": "VolumeSnapshot",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": noted},
        "spec": {"source": {"volumeSnapshotContentName": name}},
    }
    if spec.get("volumeSnapshotClassName"):
        snapshot["spec"]["volumeSnapshotClassName"] = spec["volumeSnapshotClassName"]
    cluster.create(snapshots_path(namespace), snapshot)
    ready = wait_ready(cluster, namespace, name, claim.label, timeout)
    restore_size = quantity.size((ready.get("status") or {}).get("restoreSize"))
    cluster.create(
        object_path("v1", "persistentvolumeclaims", namespace),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "accessModes": [how.access_mode] if how.access_mode else _modes(claim),
                "storageClassName": how.storage_class or claim.storage_class,
                "volumeMode": claim.volume_mode,
                "resources": {"requests": {"storage": str(max(restore_size, claim.size))}},
                "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name},
            },
        },
    )
    return name


def say_alive(cluster: Cluster, cuts: Sequence[Cut], application: str) -> None:
    """Say on the content of one of these snapshots, which stay until the end, that their run goes on."""
    for cut in cuts:
        document = cluster.find(snapshots_path(cut.namespace, cut.snapshot)) if cut.snapshot else None
        bound = ((document or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
        content = cluster.find(contents_path(bound)) if bound else None
        if content is not None:
            _hold(cluster, content, cut, application, {})
            return


def _hold(cluster: Cluster, content: JSON, cut: Cut, application: str, spec: JSON) -> None:
    """Change a content, and mark it as kept for a run: once its snapshot is gone nothing else tells whose it is."""
    metadata = {
        "labels": naming.labels(cut.run, application, marks.HELD),
        "annotations": alive.statement(cluster, alive.LASTS),
    }
    cluster.patch(contents_path(content["metadata"]["name"]), {"metadata": metadata, "spec": spec})


def _modes(claim: Claim) -> list[str]:
    # ReadWriteOncePod is about the application; a clone that one mover reads needs no more than ReadWriteOnce.
    return [mode for mode in claim.access_modes if mode != "ReadWriteOncePod"] or ["ReadWriteOnce"]


def release(cluster: Cluster, namespace: str, name: str, *, timeout: float = 120.0) -> None:
    """Remove a clone: claim, its volume, our snapshot object and content. The original snapshot stays."""
    path = object_path("v1", "persistentvolumeclaims", namespace, name)
    claim = cluster.find(path)
    if claim is not None:
        volume = (claim.get("spec") or {}).get("volumeName")
        if volume:
            volume_path = object_path("v1", "persistentvolumes", None, volume)
            # A class that retains would leave one copy of the data behind for each backup.
            with contextlib.suppress(NotFound):
                cluster.patch(volume_path, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
            cluster.delete(path)
            with contextlib.suppress(Unavailable):
                cluster.wait(volume_path, lambda found: found is None, timeout=timeout, what="removal of a clone")
        else:
            cluster.delete(path)
    cluster.delete(snapshots_path(namespace, name))
    cluster.delete(contents_path(name))


def drop(cluster: Cluster, namespace: str, name: str, *, timeout: float = 60.0) -> None:
    """Remove an original snapshot with its data: its content is put back to Delete first."""
    path = snapshots_path(namespace, name)
    document = cluster.find(path)
    if document is None:
        return
    bound = (document.get("status") or {}).get("boundVolumeSnapshotContentName")
    content = cluster.find(contents_path(bound)) if bound else None
    if content is not None:
        set_policy(cluster, content, "Delete")
    cluster.delete(path)
    try:
        cluster.wait(path, lambda found: found is None, timeout=timeout, what="removal of a snapshot")
    except Unavailable:
        return
    if content is not None:
        remove_forgotten(cluster, contents_path(content["metadata"]["name"]), content["metadata"]["uid"])


def remove_forgotten(cluster: Cluster, path: str, uid: str) -> None:
    """Delete the content of a snapshot that is gone, unless it goes already.

    A controller whose cache has not seen the new policy leaves it there, and with it the data.
    """
    found = cluster.find(path)
    if found is not None and found["metadata"]["uid"] == uid and not found["metadata"].get("deletionTimestamp"):
        cluster.delete(path, uid=uid)


def drop_left(cluster: Cluster, run: str, namespace: str, name: str) -> None:
    """Remove what a snapshot's labels say to be an original one of a run."""
    document = cluster.find(snapshots_path(namespace, name)) or {}
    bound = (document.get("status") or {}).get("boundVolumeSnapshotContentName")
    content = cluster.find(contents_path(bound)) if bound else None
    if content is not None:
        require_ours(content, run, f"snapshot {namespace}/{name}")
    drop(cluster, namespace, name)


def require_ours(content: JSON, run: str, title: str) -> None:
    """:class:`Refused` for data that are to be kept and not for our sake, whatever a snapshot says: who may label those
    of a namespace may not have the right to destroy what the cluster's administrator keeps."""
    labels = content["metadata"].get("labels") or {}
    held = labels.get(marks.ROLE) == marks.HELD and labels.get(marks.RUN) == run
    if content["spec"].get("deletionPolicy") != "Delete" and not held:
        reason = (
            f"its content {content['metadata']['name']} keeps the data, as its class says, and has no label of ours"
        )
        raise Refused("remove", title, reason, "Delete both where nobody needs them.")


def set_policy(cluster: Cluster, content: JSON, policy: str) -> None:
    """What becomes of the data when the snapshot of a content is deleted."""
    if content["spec"].get("deletionPolicy") != policy:
        cluster.patch(contents_path(content["metadata"]["name"]), {"spec": {"deletionPolicy": policy}})


def debris(
    cluster: Cluster,
    application: str,
    namespaces: Sequence[str],
    ours: str,
    warn: Callable[[str], None],
    *,
    roles: Sequence[str] = (marks.CUT, marks.CLONE, marks.MOVING),
) -> list[str]:
    """Remove what earlier runs for this application left behind in these roles; returns what was removed.

    An older run that is still alive loses its snapshots and fails with a clear message: the newest run wins.
    """
    selector = f"{marks.APPLICATION}={naming.label_value(application)}"
    selector += f",{marks.ROLE} in ({','.join(roles)})"
    query = {"labelSelector": selector}
    removed: list[str] = []
    everywhere = [*dict.fromkeys([*namespaces, ours])]
    for namespace in everywhere:
        for api, resource in (
            ("batch/v1", "jobs"),
            ("v1", "secrets"),
            ("networking.k8s.io/v1", "networkpolicies"),
        ):
            for item in _list(cluster, object_path(api, resource, namespace), query):
                name = item["metadata"]["name"]
                # Foreground, so that the pods are gone before the claims that they mount are taken away.
                if cluster.delete(object_path(api, resource, namespace, name), propagation="Foreground"):
                    removed.append(f"{resource} {namespace}/{name}")
    for item in _list(cluster, object_path("v1", "persistentvolumeclaims", ours), query):
        if item["metadata"]["labels"].get(marks.ROLE) == marks.CLONE:
            release(cluster, ours, item["metadata"]["name"])
            removed.append(f"clone {item['metadata']['name']}")
    for namespace in everywhere:
        for item in _list(cluster, snapshots_path(namespace), query):
            name = item["metadata"]["name"]
            if item["metadata"]["labels"].get(marks.ROLE) == marks.CUT:
                try:
                    drop_left(cluster, str(item["metadata"]["labels"].get(marks.RUN)), namespace, name)
                except Refused as error:
                    warn(str(error))
                    continue
            else:
                cluster.delete(snapshots_path(namespace, name))
            removed.append(f"snapshot {namespace}/{name}")
    for item in _list(cluster, contents_path(), query):
        cluster.delete(contents_path(item["metadata"]["name"]))
        removed.append(f"snapshot content {item['metadata']['name']}")
    return removed


def _list(cluster: Cluster, path: str, query: JSON) -> list[JSON]:
    try:
        return list(cluster.list(path, query))
    except NotFound:  # no such kind or namespace here
        return []


def quietly(cluster: Cluster, cuts: Sequence[Cut]) -> list[str]:
    """Drop cuts on the way out of something else; returns the names of those that could not be removed.

    Members of a group are left to it.
    """
    alone = [(cut.namespace, cut.snapshot) for cut in cuts if cut.snapshot and not cut.group]
    outcomes = pool.each(alone, lambda one: drop(cluster, *one), workers=_DROPPING)
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, MusterError):
            raise outcome.error
    return ["/".join(outcome.item) for outcome in outcomes if outcome.error is not None]
