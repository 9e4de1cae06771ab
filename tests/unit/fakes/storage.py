# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster with storage: the API server of :mod:`fakes.api_server`, a CSI driver, a Job controller and pods.

Snapshots are cut, claims are bound and Jobs end the moment that they are created, as the three callables say. There
is no HTTP: :class:`LocalCluster` is the real client on top of the fake's answers.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import client
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, ExecResult
from fakes.api_server import ApiServer

JSON = dict[str, Any]
GROUP = "snapshot.storage.k8s.io"
GROUPS = "groupsnapshot.storage.k8s.io"
_BOUND = "groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection"
_IN_GROUP = "snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection"
BEGAN = 1767225600  # 2026-01-01T00:00:00Z
DRIVER = "csi.example.com"


class Storage(ApiServer):
    """``cut`` gives the status of a new snapshot, ``mover`` how the pods of a new Job ended, in order.

    ``cut_group`` gives what a driver says of a new group and its claims, the status of the group's content.

    ``events`` is what happened, in order; ``created`` every body that was created, by plural. Creating objects of the
    plural ``refuse_create`` is forbidden. The pods that a workload controls go and come as it is scaled, but for those
    named in ``stubborn``. Where it ``lags``, snapshots and groups go without their contents, whatever the policy is.
    """

    def __init__(self, *, snapshots: bool = True) -> None:
        super().__init__()
        self.kinds += [
            ("apps", "v1", "statefulsets", "StatefulSet", True),
            ("apps", "v1", "daemonsets", "DaemonSet", True),
        ]
        if snapshots:
            self.kinds += [
                (GROUP, "v1", "volumesnapshots", "VolumeSnapshot", True),
                (GROUP, "v1", "volumesnapshotcontents", "VolumeSnapshotContent", False),
                (GROUP, "v1", "volumesnapshotclasses", "VolumeSnapshotClass", False),
            ]
        self.events: list[str] = []
        self.created: dict[str, list[JSON]] = {}
        self.cut: Callable[[JSON], JSON] = self.good_cut
        self.cut_group: Callable[[JSON, list[JSON]], JSON] = self.good_group
        self.mover: Callable[[JSON], Sequence[JSON] | None] = good_end
        self.refuse_create = ""
        self.stubborn: set[str] = set()
        self.lags = False
        self._parked: dict[str, list[JSON]] = {}
        self._cuts = 0

    def _create(
        self, kind: tuple[str, str, str, str, bool], namespace: str, body: JSON, query: dict[str, str]
    ) -> tuple[int, JSON]:
        if kind[2] == self.refuse_create:
            return 403, {"kind": "Status", "reason": "Forbidden", "message": "Forbidden by the fake"}
        return super()._create(kind, namespace, body, query)

    def good_cut(self, snapshot: JSON) -> JSON:
        """Cut at once; each one 100 milliseconds after the one before."""
        self._cuts += 1
        name = snapshot["metadata"]["name"]
        content = thing(
            "VolumeSnapshotContent",
            f"content-{name}",
            "",
            f"{GROUP}/v1",
            spec={
                "driver": DRIVER,
                "deletionPolicy": "Delete",
                "sourceVolumeMode": "Filesystem",
                "volumeSnapshotRef": {one: snapshot["metadata"][one] for one in ("namespace", "name", "uid")},
            },
            status={"creationTime": BEGAN * 10**9 + self._cuts * 10**8, "snapshotHandle": f"handle-{name}"},
        )
        self.add(content)
        return {
            "boundVolumeSnapshotContentName": f"content-{name}",
            "creationTime": "2026-01-01T00:00:00Z",
            "readyToUse": True,
            "restoreSize": "1Gi",
        }

    def serve_groups(self, *versions: str) -> None:
        """Offer group snapshots."""
        for version in versions:
            self.kinds += [
                (GROUPS, version, "volumegroupsnapshots", "VolumeGroupSnapshot", True),
                (GROUPS, version, "volumegroupsnapshotcontents", "VolumeGroupSnapshotContent", False),
                (GROUPS, version, "volumegroupsnapshotclasses", "VolumeGroupSnapshotClass", False),
            ]

    def good_group(self, group: JSON, claims: list[JSON]) -> JSON:
        """All cut at one instant, 7.5 milliseconds after the second that the group itself can say."""
        infos = [
            {
                "volumeHandle": self._handle(one),
                "snapshotHandle": f"member-{self._handle(one)}",
                "creationTime": BEGAN * 10**9 + 7_500_000,
                "readyToUse": True,
                "restoreSize": 1 << 30,
            }
            for one in claims
        ]
        return {
            "volumeGroupSnapshotHandle": f"group-{group['metadata']['name']}",
            "creationTime": "2026-01-01T00:00:00Z",
            "readyToUse": True,
            "volumeSnapshotInfoList": infos,
        }

    def _handle(self, claim: JSON) -> str:
        found = self.objects["persistentvolumes", "", claim["spec"]["volumeName"]]
        return str(found["spec"]["csi"]["volumeHandle"])

    def _group(self, group: JSON) -> None:
        """What the snapshot controller and the sidecar do with a new group.

        They find its claims by ``matchLabels`` alone, and bind before the driver has answered. A member has no labels,
        the class of nobody and the deletion policy of the group.
        """
        metadata, spec = group["metadata"], group["spec"]
        wanted = spec["source"]["selector"]["matchLabels"].items()
        claims = [
            obj
            for (key, space, _name), obj in sorted(self.objects.items())
            if (key, space) == ("persistentvolumeclaims", metadata["namespace"])
            and wanted <= (obj["metadata"].get("labels") or {}).items()
        ]
        kind = self.objects.get((f"volumegroupsnapshotclasses.{GROUPS}", "", spec["volumeGroupSnapshotClassName"]))
        problem = "" if claims else "label selector for group snapshot not applied to any PVC"
        if kind is None:
            problem = "its class is not there"
        elif [one for one in claims if self._driver(one) != kind["driver"]]:
            problem = "Volume CSI driver mismatch with VolumeGroupSnapshotClass"
        if kind is None or problem:
            group["status"] = {"readyToUse": False, "error": {"message": problem}}
            return
        status = self.cut_group(group, claims)
        name = f"groupsnapcontent-{metadata['uid']}"
        policy = kind["deletionPolicy"]
        content = {"driver": kind["driver"], "deletionPolicy": policy, "source": {"volumeHandles": ["..."]}}
        self.add(thing("VolumeGroupSnapshotContent", name, "", group["apiVersion"], spec=content, status=status))
        metadata["finalizers"] = [_BOUND]
        group["status"] = {"boundVolumeGroupSnapshotContentName": name}
        group["status"] |= {one: status[one] for one in ("creationTime", "readyToUse", "error") if one in status}
        by_handle = {self._handle(one): one["metadata"]["name"] for one in claims}
        for info in status.get("volumeSnapshotInfoList") or []:
            self._member(group, info, by_handle[info["volumeHandle"]], content, status["volumeGroupSnapshotHandle"])

    def _member(self, group: JSON, info: JSON, claim: str, content: JSON, handle: str) -> None:
        metadata = group["metadata"]
        name = digest(metadata["uid"] + info["volumeHandle"])
        known = {one: info[one] for one in ("snapshotHandle", "creationTime", "readyToUse", "restoreSize")}
        spec = {"driver": content["driver"], "deletionPolicy": content["deletionPolicy"]}
        spec |= {"source": {"volumeHandle": info["volumeHandle"]}, "sourceVolumeMode": "Filesystem"}
        status = {"boundVolumeSnapshotContentName": f"snapcontent-{name}", "readyToUse": info["readyToUse"]}
        owner = {"apiVersion": group["apiVersion"], "kind": group["kind"], "name": metadata["name"]}
        self.add(
            thing(
                "VolumeSnapshotContent",
                f"snapcontent-{name}",
                "",
                f"{GROUP}/v1",
                spec=spec,
                status={**known, "volumeGroupSnapshotHandle": handle},
            ),
            thing(
                "VolumeSnapshot",
                f"snapshot-{name}",
                metadata["namespace"],
                f"{GROUP}/v1",
                metadata={"finalizers": [_IN_GROUP], "ownerReferences": [{**owner, "uid": metadata["uid"]}]},
                spec={"source": {"persistentVolumeClaimName": claim}},
                status={**status, "volumeGroupSnapshotName": metadata["name"], "restoreSize": "1Gi"},
            ),
        )

    def _driver(self, claim: JSON) -> Any:
        return self.objects["persistentvolumes", "", claim["spec"]["volumeName"]]["spec"]["csi"]["driver"]

    def _ungroup(self, group: JSON) -> None:
        """What becomes of a deleted group: its content goes if its policy says so, and members in the same way."""
        if _BOUND not in (group["metadata"].get("finalizers") or []):
            return
        contents = f"volumegroupsnapshotcontents.{GROUPS}"
        content = self.objects.get((contents, "", group["status"]["boundVolumeGroupSnapshotContentName"]))
        if content and content["spec"]["deletionPolicy"] == "Delete" and not self.lags:
            del self.objects[contents, "", content["metadata"]["name"]]
        for (key, space, name), obj in list(self.objects.items()):
            owners = obj["metadata"].get("ownerReferences") or []
            if key != f"volumesnapshots.{GROUP}" or group["metadata"]["uid"] not in [one["uid"] for one in owners]:
                continue
            bound = (f"volumesnapshotcontents.{GROUP}", "", obj["status"]["boundVolumeSnapshotContentName"])
            if self.objects[bound]["spec"]["deletionPolicy"] == "Delete" and not self.lags:
                del self.objects[bound]
            del self.objects[key, space, name]

    def _write(
        self, method: str, place: tuple[str, str, str], body: JSON, query: dict[str, str], status: int
    ) -> tuple[int, JSON]:
        code, stored = super()._write(method, place, body, query, status)
        if method == "PATCH" and place[0] in self.scales and code < 400:
            self.events.append(f"scale {place[2]} to {stored['spec']['replicas']}")
            self._follow(stored)
        if method == "POST":
            plural = place[0].partition(".")[0]
            self.events.append(f"create {plural}")
            self.created.setdefault(plural, []).append(copy.deepcopy(body))
            made = {
                "volumegroupsnapshots": self._group,
                "volumesnapshots": self._snapshot,
                "persistentvolumeclaims": self._claim,
                "jobs": self._job,
            }.get(plural)
            if made:
                made(stored)
        return code, stored

    def _follow(self, workload: JSON) -> None:
        """Let the pods of a workload go, or come back."""
        uid = workload["metadata"]["uid"]
        if workload["spec"]["replicas"]:
            self.add(*self._parked.pop(uid, []))
            return
        for place, obj in list(self.objects.items()):
            if place[0] == "pods" and uid in self._above(obj) and place[2] not in self.stubborn:
                self._parked.setdefault(uid, []).append(self.objects.pop(place))

    def _above(self, obj: JSON) -> list[str]:
        """The uids of what controls an object, over any number of steps."""
        owners = [one["uid"] for one in obj["metadata"].get("ownerReferences") or [] if one.get("controller")]
        higher = [other for other in list(self.objects.values()) if other["metadata"].get("uid") in owners]
        return [*owners, *(uid for other in higher for uid in self._above(other))]

    def _snapshot(self, snapshot: JSON) -> None:
        bound = snapshot["spec"]["source"].get("volumeSnapshotContentName")
        if bound:
            status = {"boundVolumeSnapshotContentName": bound, "readyToUse": True, "restoreSize": "1Gi"}
            content = self.objects[f"volumesnapshotcontents.{GROUP}", "", bound]
            if content["spec"]["source"]["snapshotHandle"].startswith("member-"):
                # The controller asks whose member it is, and does nothing where it finds no such group.
                found = [obj for (key, *_rest), obj in self.objects.items() if key.startswith("volumegroupsnapshotcon")]
                status = status if found else {}
        else:
            status = self.cut(snapshot)
        snapshot["status"] = status

    def _claim(self, claim: JSON) -> None:
        name = f"pv-{claim['metadata']['name']}"
        claim["spec"]["volumeName"] = name
        claim["status"] = {"phase": "Bound"}
        self.add(volume(name, policy="Retain"))

    def _job(self, job: JSON) -> None:
        ends = self.mover(job)
        if ends is not None:
            self.finish(job, ends)

    def finish(self, job: JSON, ends: Sequence[JSON]) -> None:
        """End a Job, whose pods ended so, one after the other."""
        template = job["spec"]["template"]
        for number, terminated in enumerate(ends):
            pod = thing(
                "Pod",
                f"{job['metadata']['name']}-{number}",
                job["metadata"]["namespace"],
                spec=template["spec"],
                status={"containerStatuses": [{"state": {"terminated": terminated}}] if terminated else []},
            )
            pod["metadata"] |= {
                "labels": template["metadata"]["labels"],
                "creationTimestamp": f"2026-01-01T00:00:0{number}Z",
            }
            self.add(pod)
        good = bool(ends) and (ends[-1] or {}).get("exitCode") == 0
        condition = {"type": "Complete" if good else "Failed", "status": "True"}
        job["status"] = {"conditions": [condition if good else {**condition, "reason": "BackoffLimitExceeded"}]}

    def _delete(self, place: tuple[str, str, str]) -> None:
        self.events.append(f"delete {place[0].partition('.')[0]}")
        gone = self.objects[place]
        parent = (gone.get("status") or {}).get("volumeGroupSnapshotName")
        if (f"volumegroupsnapshots.{GROUPS}", place[1], parent) in self.objects:
            # A member does not go before its group.
            gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return
        super()._delete(place)
        if place[0] == f"volumegroupsnapshots.{GROUPS}":
            self._ungroup(gone)
        if place[0] == f"volumesnapshots.{GROUP}":
            name = str((gone.get("status") or {}).get("boundVolumeSnapshotContentName"))
            bound = (f"volumesnapshotcontents.{GROUP}", "", name)
            if bound in self.objects and self.objects[bound]["spec"]["deletionPolicy"] == "Delete" and not self.lags:
                del self.objects[bound]
        if place[0] == "jobs.batch":
            for other, obj in list(self.objects.items()):
                owners = [one["uid"] for one in obj["metadata"].get("ownerReferences") or []]
                pod = other[0] == "pods" and place[2] in (obj["metadata"].get("labels") or {}).values()
                if other[1] == place[1] and (pod or gone["metadata"].get("uid") in owners):
                    del self.objects[other]
        if place[0] == "persistentvolumeclaims":
            bound = ("persistentvolumes", "", str(gone["spec"].get("volumeName")))
            if bound in self.objects and self.objects[bound]["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                del self.objects[bound]

    def left(self) -> list[str]:
        """What of ours is still there: everything with a label of ours, our namespace and what belongs to groups."""
        return sorted(
            f"{key}/{name}"
            for (key, _space, name), obj in self.objects.items()
            if any(label.startswith("container-dr.muster.dev/") for label in obj["metadata"].get("labels") or {})
            or (key, name) == ("namespaces", "muster-container-dr")
            or name.startswith(("groupsnapcontent-", "snapcontent-", "snapshot-"))
        )


class LocalCluster(Cluster):
    """The client without a network. ``answer`` gives what a command in a container does; ``ran`` is what ran."""

    def __init__(self, server: Storage) -> None:
        self.server = server
        self.name = "east"
        self.ran: list[tuple[str, str | None, tuple[str, ...]]] = []
        self.answer: Callable[[str, Sequence[str]], ExecResult | BaseException] = lambda _pod, _argv: ExecResult(
            0, "", ""
        )

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        action: str | None = None,
        timeout: float = 0.0,
        accept: str = "application/json",
        patience: float = 0.0,
        outage: float = 0.0,
    ) -> bytes:
        given = {name: str(value) for name, value in (query or {}).items()}
        status, document = self.server.answer(method, path, given, copy.deepcopy(body))
        if status >= 400:
            raise client._error(action or method, path, status, document if isinstance(document, dict) else {})
        return document.encode() if isinstance(document, str) else json.dumps(document).encode()

    def exec(
        self, namespace: str, pod: str, container: str | None, command: Sequence[str], *, timeout: float = 60.0
    ) -> ExecResult:
        self.ran.append((pod, container, tuple(command)))
        self.server.events.append(f"exec {command[0]}")
        answer = self.answer(pod, command)
        return answer if isinstance(answer, ExecResult) else _throw(answer)


def thing(kind: str, name: str, namespace: str = "shop", api: str = "v1", **more: Any) -> JSON:
    metadata = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def volume(name: str, driver: str | None = DRIVER, policy: str = "Delete") -> JSON:
    source: JSON = (
        {"csi": {"driver": driver, "volumeHandle": f"vol-{name}"}} if driver else {"hostPath": {"path": "/data"}}
    )
    return thing("PersistentVolume", name, "", spec={**source, "persistentVolumeReclaimPolicy": policy})


def claim(name: str, *, driver: str | None = DRIVER, phase: str = "Bound", **more: Any) -> list[JSON]:
    """A claim of 1 GiB and its volume."""
    spec = {"storageClassName": "fast", "volumeName": f"pv-{name}", "accessModes": ["ReadWriteOnce"]}
    document = thing(
        "PersistentVolumeClaim",
        name,
        spec={**spec, **more.pop("spec", {})},
        status={"phase": phase, "capacity": {"storage": "1Gi"}},
        **more,
    )
    return [document, volume(f"pv-{name}", driver)]


def pod(name: str, *claims: str, phase: str = "Running", labels: JSON | None = None, **spec: Any) -> JSON:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    base: JSON = {"nodeName": "node-1", "containers": [{"name": "main"}], "volumes": volumes}
    return thing("Pod", name, metadata={"labels": labels or {}}, spec={**base, **spec}, status={"phase": phase})


def workload(kind: str, name: str, *claims: str, replicas: int | None = 1, api: str = "apps/v1", **spec: Any) -> JSON:
    """Something that makes pods which mount these claims; its uid is its kind and name."""
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    template = {"spec": {"containers": [{"name": "main"}], "volumes": volumes, **spec.pop("template", {})}}
    number = {} if replicas is None else {"replicas": replicas}
    return thing(
        kind, name, "shop", api, metadata={"uid": f"{kind}-{name}"}, spec={"template": template, **number, **spec}
    )


def owned(obj: JSON, kind: str, name: str, api: str = "apps/v1") -> JSON:
    """The object, controlled by that :func:`workload`."""
    owner = {"apiVersion": api, "kind": kind, "name": name, "uid": f"{kind}-{name}", "controller": True}
    obj["metadata"]["ownerReferences"] = [owner]
    return obj


def snapshot_class(name: str, driver: str = DRIVER, *, default: bool = False) -> JSON:
    notes = {"snapshot.storage.kubernetes.io/is-default-class": "true"} if default else {}
    return thing("VolumeSnapshotClass", name, "", f"{GROUP}/v1", metadata={"annotations": notes}, driver=driver)


def group_class(name: str, driver: str = DRIVER, *, default: bool = False, policy: str = "Delete") -> JSON:
    notes = {"groupsnapshot.storage.kubernetes.io/is-default-class": "true"} if default else {}
    return thing(
        "VolumeGroupSnapshotClass",
        name,
        "",
        f"{GROUPS}/v1",
        metadata={"annotations": notes},
        driver=driver,
        deletionPolicy=policy,
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stored(host: str, tree: str | None = None) -> JSON:
    """The snapshot that ``good_end`` makes for a host, as restic lists it."""
    time = "2026-01-01T00:00:09.5Z"
    return {"id": digest(f"snapshot {host}"), "tree": tree or digest(host), "time": time, "hostname": host}


def ended(code: int, *lines: str, reason: str = "") -> JSON:
    """A terminated container with the termination message that a mover leaves."""
    return {"exitCode": code, "reason": reason, "message": "\n".join([f"code {code}", *lines]) + "\n"}


def good_end(job: JSON) -> list[JSON]:
    """A backup of 3 files and 30 bytes, or a restore of as many, in a folder."""
    words = job["spec"]["template"]["spec"]["containers"][0]["command"]
    if "backup" not in words:
        done = 'summary {"message_type":"summary","files_restored":4}'
        counted = ["changed yes"] if "--" in words else ["files 3", "bytes 30"]
        return [ended(0, *counted, done)]
    summary = {
        "message_type": "summary",
        "snapshot_id": digest(f"snapshot {words[words.index('--host') + 1]}"),
        "total_files_processed": 3,
        "total_bytes_processed": 30,
        "data_added_packed": 12,
        "backup_start": "2026-01-01T00:00:05.25Z",
    }
    return [ended(0, f"summary {json.dumps(summary)}")]


def failure(work: Callable[[], object], kind: type[MusterError], *words: str) -> MusterError:
    """Call ``work``, which must raise ``kind`` with all ``words`` in its message."""
    try:
        work()
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{error} does not say {missing}"
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def _throw(error: BaseException) -> NoReturn:
    raise error
