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
BEGAN = 1767225600  # 2026-01-01T00:00:00Z
DRIVER = "csi.example.com"


class Storage(ApiServer):
    """``cut`` gives the status of a new snapshot, ``mover`` how the pods of a new Job ended, in order.

    ``events`` is what happened, in order; ``created`` every body that was created, by plural. Creating objects of the
    plural ``refuse_create`` is forbidden.
    """

    def __init__(self, *, snapshots: bool = True) -> None:
        super().__init__()
        if snapshots:
            self.kinds += [
                (GROUP, "v1", "volumesnapshots", "VolumeSnapshot", True),
                (GROUP, "v1", "volumesnapshotcontents", "VolumeSnapshotContent", False),
                (GROUP, "v1", "volumesnapshotclasses", "VolumeSnapshotClass", False),
            ]
        self.events: list[str] = []
        self.created: dict[str, list[JSON]] = {}
        self.cut: Callable[[JSON], JSON] = self.good_cut
        self.mover: Callable[[JSON], Sequence[JSON] | None] = good_end
        self.refuse_create = ""
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
            spec={"driver": DRIVER, "deletionPolicy": "Delete", "sourceVolumeMode": "Filesystem"},
            status={"creationTime": BEGAN * 10**9 + self._cuts * 10**8, "snapshotHandle": f"handle-{name}"},
        )
        self.add(content)
        return {
            "boundVolumeSnapshotContentName": f"content-{name}",
            "creationTime": "2026-01-01T00:00:00Z",
            "readyToUse": True,
            "restoreSize": "1Gi",
        }

    def _write(
        self, method: str, place: tuple[str, str, str], body: JSON, query: dict[str, str], status: int
    ) -> tuple[int, JSON]:
        code, stored = super()._write(method, place, body, query, status)
        if method == "POST":
            plural = place[0].partition(".")[0]
            self.events.append(f"create {plural}")
            self.created.setdefault(plural, []).append(copy.deepcopy(body))
            made = {
                "volumesnapshots": self._snapshot,
                "persistentvolumeclaims": self._claim,
                "jobs": self._job,
            }.get(plural)
            if made:
                made(stored)
        return code, stored

    def _snapshot(self, snapshot: JSON) -> None:
        bound = snapshot["spec"]["source"].get("volumeSnapshotContentName")
        if bound:
            status = {"boundVolumeSnapshotContentName": bound, "readyToUse": True, "restoreSize": "1Gi"}
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
        if ends is None:
            return
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
        super()._delete(place)
        if place[0] == "jobs.batch":
            for other, obj in list(self.objects.items()):
                if other[:2] == ("pods", place[1]) and place[2] in (obj["metadata"].get("labels") or {}).values():
                    del self.objects[other]
        if place[0] == "persistentvolumeclaims":
            bound = ("persistentvolumes", "", str(gone["spec"].get("volumeName")))
            if bound in self.objects and self.objects[bound]["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                del self.objects[bound]

    def left(self) -> list[str]:
        """What of ours is still there: everything with a label of ours, and our namespace."""
        return sorted(
            f"{key}/{name}"
            for (key, _space, name), obj in self.objects.items()
            if any(label.startswith("container-dr.muster.dev/") for label in obj["metadata"].get("labels") or {})
            or (key, name) == ("namespaces", "muster-container-dr")
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
    source: JSON = {"csi": {"driver": driver}} if driver else {"hostPath": {"path": "/data"}}
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


def snapshot_class(name: str, driver: str = DRIVER, *, default: bool = False) -> JSON:
    notes = {f"{GROUP}/is-default-class": "true"} if default else {}
    return thing("VolumeSnapshotClass", name, "", f"{GROUP}/v1", metadata={"annotations": notes}, driver=driver)


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
