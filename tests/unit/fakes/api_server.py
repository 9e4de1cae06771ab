# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small API server over HTTP: stores objects, serves discovery, pages, watches, dry runs and preconditions.

It keeps to what the real one does in the parts that it has: uids and resource versions, 404 for a namespace that is
not there, 409 with AlreadyExists, no new resource version for a write that changes nothing, no status on create, a
default service account per namespace, definitions that are served once they exist, and who owns which field (lists
are atomic here). It validates nothing.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import io
import json
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch

JSON = dict[str, Any]
Frame: TypeAlias = "tuple[int, bytes] | bytes | None"

# (group, version, plural, kind, namespaced)
BUILT_IN = [
    ("", "v1", "namespaces", "Namespace", False),
    ("", "v1", "persistentvolumes", "PersistentVolume", False),
    ("", "v1", "configmaps", "ConfigMap", True),
    ("", "v1", "secrets", "Secret", True),
    ("", "v1", "serviceaccounts", "ServiceAccount", True),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True),
    ("", "v1", "services", "Service", True),
    ("", "v1", "endpoints", "Endpoints", True),
    ("", "v1", "pods", "Pod", True),
    ("", "v1", "events", "Event", True),
    ("apps", "v1", "deployments", "Deployment", True),
    ("apps", "v1", "replicasets", "ReplicaSet", True),
    ("batch", "v1", "cronjobs", "CronJob", True),
    ("batch", "v1", "jobs", "Job", True),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", True),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", False),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        False,
    ),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService", False),
]


@dataclass
class ApiServer:
    """State of the fake. ``broken`` maps a path prefix to the status that it answers; ``writes`` records requests.

    ``reads`` records path and query of every GET. ``before_read`` is called with both and may change the state, or
    answer instead with a status and a reason; ``verbatim`` has the answers to GETs of some paths as they are sent.
    ``before_write`` may change the state before a method is done to a path.
    ``unannounced`` are groups that are served and missing in ``/apis``.
    After ``die_after`` writes it takes no more; of every ``lose_every`` writes it loses the answer to one that it did,
    or answers that it took too long (``too_long``).
    ``scales`` are the kinds with a scale, by their number of replicas; as the real one it writes no zero.
    ``aggregated`` has kinds by the APIService that serves them; any other APIService is not available.
    Writing an object of ``refused`` (``ledger/configmaps/a``) is forbidden, as by an admission webhook; that of one of
    ``invalid`` fails its validation. Both come before the question whether the name is taken.
    ``history`` feeds watches (version, kind, type of change, object); versions below ``oldest`` are forgotten. ``logs``
    are what containers wrote, by namespace, pod, container and whether it is the instance before. ``execute`` is called
    with the command, the query and the headers of an exec, and gives frames (channel, bytes) of the answer, or bytes as
    they are sent; ``None`` breaks the connection. ``feed`` is called instead where the command has an input, with the
    command and that input in pieces, which ends with :class:`BrokenPipeError` where the connection ends before the
    input. ``protocols`` are those of an exec that the server knows; the command of whoever offers none of them does not
    run.
    """

    url: str = ""
    objects: dict[tuple[str, str, str], JSON] = field(default_factory=dict)
    kinds: list[tuple[str, str, str, str, bool]] = field(default_factory=lambda: list(BUILT_IN))
    down: set[str] = field(default_factory=set)
    broken: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    invalid: set[str] = field(default_factory=set)
    writes: list[tuple[str, str]] = field(default_factory=list)
    managers: dict[str, str] = field(default_factory=dict)
    reads: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    before_read: Callable[[str, dict[str, str]], tuple[int, str] | None] = lambda _path, _query: None
    verbatim: dict[str, JSON | str] = field(default_factory=dict)
    before_write: Callable[[str, str], None] = lambda _method, _path: None
    unannounced: set[str] = field(default_factory=set)
    aggregated: dict[str, tuple[str, str, str, str, bool]] = field(default_factory=dict)
    scales: set[str] = field(default_factory=lambda: {"deployments.apps", "replicasets.apps", "statefulsets.apps"})
    die_after: int | None = None
    lose_every: int = 0
    too_long: bool = False
    version: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    history: list[tuple[int, str, str, JSON]] = field(default_factory=list)
    oldest: int = 0
    watches: int = 0
    cuts: int = 0
    ended: bool = False
    logs: dict[tuple[str, str, str, bool], str] = field(default_factory=dict)
    execute: Callable[
        [list[str], dict[str, str], list[tuple[str, str]]], Iterable[tuple[int, bytes] | bytes | None]
    ] = lambda _command, _query, _headers: [(3, b'{"status":"Success"}')]
    feed: Callable[[list[str], Iterator[bytes]], Iterable[tuple[int, bytes] | None]] = lambda _command, given: [
        (3, b'{"status":"Success"}') for _pieces in [b"".join(given)]
    ]
    protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")

    def add(self, *objects: JSON) -> None:
        """Put objects there as a user would."""
        for obj in objects:
            kind = next(entry for entry in self.kinds if entry[3] == obj["kind"])
            namespace = obj["metadata"].get("namespace", "") if kind[4] else ""
            with self.lock:
                self._store((_key(kind), namespace, obj["metadata"]["name"]), copy.deepcopy(obj))

    def get(self, key: str, namespace: str, name: str) -> JSON | None:
        return self.objects.get((key, namespace, name))

    def remove(self, key: str, namespace: str, name: str) -> None:
        """Take an object away as a user would."""
        with self.lock:
            self._delete((key, namespace, name))

    def forget(self) -> None:
        """No version up to now can be watched from any more, and running watches end."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.cuts += 1

    def cut(self) -> None:
        """Break the connections of all watches."""
        with self.lock:
            self.cuts += 1

    def changes(self, path: str, query: dict[str, str]) -> Iterator[JSON]:
        """The events of a watch until its time is over; ConnectionAbortedError where it is cut off."""
        parts = path.strip("/").split("/")
        head = 2 if parts[0] == "api" else 3
        group = "" if head == 2 else f".{parts[1]}"
        namespace = parts[head + 1] if len(parts) > head + 1 else ""
        key, position = f"{parts[-1]}{group}", int(query["resourceVersion"])
        end, cuts = time.monotonic() + float(query.get("timeoutSeconds", "60")), self.cuts
        with self.lock:
            self.watches += 1
        try:
            while time.monotonic() < end and not self.ended:
                if position < self.oldest:
                    yield {"type": "ERROR", "object": {**_status(410, "Expired")[1], "code": 410}}
                    return
                if self.cuts != cuts:
                    raise ConnectionAbortedError
                with self.lock:
                    fresh = [one for one in self.history if one[0] > position]
                    position = self.version
                for _version, kind, change, obj in fresh:
                    if kind == key and namespace in ("", obj["metadata"].get("namespace")):
                        yield {"type": change, "object": obj}
                time.sleep(0.02)
        finally:
            with self.lock:
                self.watches -= 1

    def names(self, namespace: str) -> list[str]:
        return sorted(f"{key}/{name}" for key, space, name in self.objects if space == namespace)

    def _store(self, place: tuple[str, str, str], obj: JSON) -> JSON:
        self.version += 1
        metadata = obj["metadata"]
        before = self.objects.get(place)
        metadata["uid"] = before["metadata"]["uid"] if before else metadata.get("uid") or str(uuid.uuid4())
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.objects[place] = obj
        self.history.append((self.version, place[0], "MODIFIED" if before else "ADDED", copy.deepcopy(obj)))
        if place[0] == "namespaces" and not before:
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": place[2]},
            }
            self._store(("serviceaccounts", place[2], "default"), account)
        if place[0].startswith("customresourcedefinitions"):
            obj["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
            spec = obj["spec"]
            for version in spec["versions"]:
                namespaced = spec["scope"] == "Namespaced"
                entry = (spec["group"], version["name"], spec["names"]["plural"], spec["names"]["kind"], namespaced)
                if entry not in self.kinds:
                    self.kinds.append(entry)
        if place[0].startswith("apiservices"):
            served = self.aggregated.get(place[2])
            self.kinds += [served] if served and served not in self.kinds else []
            condition = {"type": "Available", "status": "True" if served else "False", "message": "nobody there"}
            obj["status"] = {"conditions": [condition]}
        return obj

    # -- requests -----------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: JSON | None) -> tuple[int, JSON | str]:
        with self.lock:
            if method == "GET":
                self.reads.append((path, query))
                answer = self.before_read(path, query)
                if answer is not None:
                    return _status(*answer)
                if path in self.verbatim:
                    return 200, self.verbatim[path]
            elif not query.get("dryRun"):
                self.before_write(method, path)
            for prefix, status in self.broken.items():
                if path.startswith(prefix):
                    return _status(status, "Forbidden" if status == 403 else "InternalError")
            if method == "GET" and path in ("/version", "/api", "/apis"):
                return 200, self._groups(path)
            parts = path.strip("/").split("/")
            if method == "GET" and parts[0] == "apis" and len(parts) == 2:
                offered = [group for group in self._groups("/apis")["groups"] if group["name"] == parts[1]]
                return (200, offered[0]) if offered else _status(404, "NotFound")
            head = 2 if parts[0] == "api" else 3
            api_version = "/".join(parts[1:head])
            if api_version in self.down:
                return _status(503, "ServiceUnavailable")
            kinds = [kind for kind in self.kinds if _api_version(kind) == api_version]
            if not kinds:
                return _status(404, "NotFound")
            if parts[-1] == "log":
                _namespaces, namespace, _pods, pod, _log = parts[head:]
                text = self.logs.get((namespace, pod, query.get("container", ""), query.get("previous") == "true"))
                return _status(400, "BadRequest") if text is None else (200, text)
            if len(parts) == head:
                return 200, {"kind": "APIResourceList", "resources": [_served(kind) for kind in kinds]}
            return self._collection(method, parts[head:], kinds, query, body)

    def _groups(self, path: str) -> JSON:
        if path == "/version":
            return {"gitVersion": "v1.34.0"}
        if path == "/api":
            return {"versions": ["v1"]}
        groups: dict[str, list[str]] = {}
        for kind in self.kinds:
            if kind[0] and kind[0] not in self.unannounced and _api_version(kind) not in groups.setdefault(kind[0], []):
                groups[kind[0]].append(_api_version(kind))
        for name in self.down:
            groups.setdefault(name.partition("/")[0], []).append(name)
        return {
            "groups": [
                {
                    "name": name,
                    "versions": [{"groupVersion": version} for version in versions],
                    "preferredVersion": {"groupVersion": versions[0]},
                }
                for name, versions in groups.items()
            ]
        }

    def _collection(
        self,
        method: str,
        parts: list[str],
        kinds: list[tuple[str, str, str, str, bool]],
        query: dict[str, str],
        body: Any,
    ) -> tuple[int, JSON]:
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        kind = next((kind for kind in kinds if kind[2] == parts[0]), None)
        if kind is None:
            return _status(404, "NotFound")
        if len(parts) == 1:
            if method == "GET":
                return self._list(kind, namespace, query)
            if method == "DELETE":
                return 200, {"kind": "Status"}
            return self._create(kind, namespace, body, query)
        place = (_key(kind), namespace, parts[1])
        if parts[2:] == ["scale"]:
            return self._scale(method, place, query, body)
        return self._object(method, kind, place, query, body)

    def _scale(
        self, method: str, place: tuple[str, str, str], query: dict[str, str], changes: list[JSON] | None
    ) -> tuple[int, JSON]:
        current = self.objects.get(place)
        if current is None or place[0] not in self.scales:
            return _status(404, "NotFound")
        replicas = current["spec"].get("replicas")
        metadata = {name: current["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        scale = {"kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas} if replicas else {}}
        if method == "GET":
            return 200, scale
        try:
            wanted = json_patch.patched(scale, changes or [])["spec"].get("replicas", 0)
        except json_patch.TestFailed:
            return _status(422, "Invalid")
        return self._write("PATCH", place, {**current, "spec": {**current["spec"], "replicas": wanted}}, query, 200)

    def _list(self, kind: tuple[str, str, str, str, bool], namespace: str, query: dict[str, str]) -> tuple[int, JSON]:
        selector = query.get("labelSelector", "")
        if query.get("continue") and query.get("resourceVersion"):
            return _status(400, "BadRequest")
        field_name, _is_set, wanted = query.get("fieldSelector", "").partition("=")
        # In the order of the real one's storage, where "a-b/x" comes before "a/x".
        places = sorted(self.objects.items(), key=lambda item: (item[0][0], f"{item[0][1]}/{item[0][2]}"))
        found = [
            obj
            for (key, space, name), obj in places
            if key == _key(kind)
            and (not namespace or space == namespace)
            and (field_name != "metadata.name" or name == wanted)
            and _selected(selector, obj["metadata"].get("labels") or {})
        ]
        begin = int(query.get("continue", "0"))
        end = begin + int(query.get("limit", "500"))
        items = [{name: value for name, value in obj.items() if name not in ("apiVersion", "kind")} for obj in found]
        metadata = {"resourceVersion": str(self.version), **({"continue": str(end)} if end < len(items) else {})}
        return 200, {
            "apiVersion": _api_version(kind),
            "kind": f"{kind[3]}List",
            "metadata": metadata,
            "items": items[begin:end],
        }

    def _create(
        self, kind: tuple[str, str, str, str, bool], namespace: str, body: JSON, query: dict[str, str]
    ) -> tuple[int, JSON]:
        place = (_key(kind), namespace, body["metadata"]["name"])
        if namespace and ("namespaces", "", namespace) not in self.objects:
            return _status(404, "NotFound")
        if _title(place) in self.refused:
            return _status(403, "Forbidden")
        if _title(place) in self.invalid:
            return _status(422, "Invalid")
        if place in self.objects:
            return _status(409, "AlreadyExists")
        if body["metadata"].get("resourceVersion"):
            return _status(422, "Invalid")
        return self._write("POST", place, {key: value for key, value in body.items() if key != "status"}, query, 201)

    def _object(
        self,
        method: str,
        kind: tuple[str, str, str, str, bool],
        place: tuple[str, str, str],
        query: dict[str, str],
        body: Any,
    ) -> tuple[int, JSON]:
        current = self.objects.get(place)
        if current is None:
            if method == "PATCH" and query.get("force"):
                return self._create(kind, place[1], body, query)
            return _status(404, "NotFound")
        if method == "GET":
            return 200, current
        if method == "DELETE":
            conditions = (body or {}).get("preconditions") or {}
            uid, version = conditions.get("uid"), conditions.get("resourceVersion")
            if uid and uid != current["metadata"]["uid"]:
                return _status(409, "Conflict")
            if version and version != current["metadata"]["resourceVersion"]:
                return _status(409, "Conflict")
            self._delete(place)
            return self._lost() or (200, {"kind": "Status"})
        if isinstance(body, list):
            return self._patch(place, current, body, query)
        if method == "PUT":
            given = body["metadata"].get("resourceVersion")
            if given and given != current["metadata"]["resourceVersion"]:
                return _status(409, "Conflict")
            if place[0] == "deployments.apps" and body["spec"].get("selector") != current["spec"].get("selector"):
                return _status(422, "Invalid")
            if _title(place) in self.invalid:
                return _status(422, "Invalid")
            if place[0] == "pods" and _fixed(body["spec"]) != _fixed(current["spec"]):
                return _status(422, "Invalid")
            return self._write("PUT", place, body, query, 200)
        return self._write("PATCH", place, _merged(current, body), query, 200)

    def _patch(
        self, place: tuple[str, str, str], current: JSON, changes: list[JSON], query: dict[str, str]
    ) -> tuple[int, JSON]:
        """The JSON patches that the engine sends: new owners of fields, or what follows a test of the version."""
        if changes[0]["op"] == "test":
            try:
                return self._write("PATCH", place, json_patch.patched(current, changes), query, 200)
            except json_patch.TestFailed:
                return _status(422, "Invalid")
        given = {change["path"]: change["value"] for change in changes}
        if given.pop("/metadata/resourceVersion") != current["metadata"]["resourceVersion"]:
            return _status(409, "Conflict")
        fields = [entry for entry in given.pop("/metadata/managedFields") if entry]
        assert not given
        metadata = {**current["metadata"], "managedFields": fields}
        return self._write("PATCH", place, {**current, "metadata": metadata}, query, 200, owners_given=True)

    def _write(
        self,
        method: str,
        place: tuple[str, str, str],
        body: JSON,
        query: dict[str, str],
        status: int,
        owners_given: bool = False,
    ) -> tuple[int, JSON]:
        body = copy.deepcopy(body)
        before = self.objects.get(place)
        if not owners_given:
            entries = _owners(before, body, query)
            body["metadata"].pop("managedFields", None)
            if entries:
                body["metadata"]["managedFields"] = entries
        if before is not None and _plain(before) == _plain(body):
            return 200, before
        if _title(place) in self.refused:
            return _status(403, "Forbidden")
        if query.get("dryRun"):
            body["metadata"].setdefault("uid", "dry-run")
            return status, body
        if self.die_after is not None and len(self.writes) >= self.die_after:
            raise ConnectionAbortedError
        self.writes.append((method, _title(place)))
        self.managers[self.writes[-1][1]] = query.get("fieldManager", "")
        stored = self._store(place, body)
        return self._lost() or (status, stored)

    def _lost(self) -> tuple[int, JSON] | None:
        """What takes the place of an answer that is lost."""
        if not self.lose_every or len(self.writes) % self.lose_every:
            return None
        if self.too_long:
            return _status(504, "Timeout")
        raise ConnectionAbortedError

    def _delete(self, place: tuple[str, str, str]) -> None:
        self.writes.append(("DELETE", _title(place)))
        gone = self.objects.pop(place)
        self.version += 1
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self.history.append((self.version, place[0], "DELETED", gone))
        if place[0] == "namespaces":
            for other in [other for other in self.objects if other[1] == place[2]]:
                del self.objects[other]


def _title(place: tuple[str, str, str]) -> str:
    """``ledger/configmaps/a`` of (kind, namespace, name)."""
    key, namespace, name = place
    return f"{namespace}/{key}/{name}" if namespace else f"{key}/{name}"


def _key(kind: tuple[str, str, str, str, bool]) -> str:
    return f"{kind[2]}.{kind[0]}" if kind[0] else kind[2]


def _api_version(kind: tuple[str, str, str, str, bool]) -> str:
    return f"{kind[0]}/{kind[1]}" if kind[0] else kind[1]


def _served(kind: tuple[str, str, str, str, bool]) -> JSON:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {"name": kind[2], "kind": kind[3], "namespaced": kind[4], "verbs": verbs}


def _selected(selector: str, labels: dict[str, str]) -> bool:
    """``a=b``, ``a in (b,c)`` and ``a`` (it is there), separated by commas."""
    for part in re.split(r",(?![^(]*\))", selector):
        name, is_set, values = part.partition(" in ")
        if is_set and labels.get(name) not in values.strip("()").split(","):
            return False
        name, is_equal, value = part.partition("=")
        if is_equal and labels.get(name) != value:
            return False
        if part and not is_set and not is_equal and part not in labels:
            return False
    return True


def _plain(obj: JSON) -> JSON:
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if name not in ("uid", "resourceVersion", "creationTimestamp")
    }
    return {**obj, "metadata": metadata}


def _fixed(spec: Any) -> Any:
    """Of a pod's specification all that cannot be changed; what is empty is not there."""
    if isinstance(spec, list):
        return [_fixed(one) for one in spec]
    if not isinstance(spec, dict):
        return spec
    return {name: _fixed(value) for name, value in spec.items() if name != "image" and value not in ([], {}, None)}


def _leaves(value: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict) or not value:
        return {above: value}
    found: dict[tuple[str, ...], Any] = {}
    for name, inner in value.items():
        if above or name not in ("apiVersion", "kind", "status"):
            found.update(_leaves(inner, (*above, f"f:{name}")))
    return found


_SERVERS = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields")


def _owned(obj: JSON) -> dict[tuple[str, ...], Any]:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _SERVERS}
    return _leaves({**obj, "metadata": metadata} if metadata else {**obj, "metadata": None})


def _owners(before: JSON | None, after: JSON, query: dict[str, str]) -> list[JSON]:
    """``managedFields`` after a write: what changed belongs to the writer, the rest to whom it belonged."""
    old, new = _owned(before) if before else {}, _owned(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value} - {("f:metadata",)}
    writer = (query.get("fieldManager", ""), "Apply" if query.get("force") else "Update", after["apiVersion"])
    held: dict[tuple[str, str, str], set[tuple[str, ...]]] = {}
    for entry in (before or after)["metadata"].get("managedFields") or []:
        owner = (entry["manager"], entry["operation"], entry.get("apiVersion", after["apiVersion"]))
        held[owner] = {path for path in _members(entry["fieldsV1"]) if path not in changed}
    if changed:
        held.setdefault(writer, set()).update(changed)
    return [
        {
            "manager": owner[0],
            "operation": owner[1],
            "apiVersion": owner[2],
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(paths),
        }
        for owner, paths in sorted(held.items())
        if paths
    ]


def _members(fields: JSON, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not fields:
        return {above}
    return {path for step, inner in fields.items() for path in _members(inner, (*above, step))}


def _tree(paths: set[tuple[str, ...]]) -> JSON:
    fields: JSON = {}
    for path in sorted(paths):
        node = fields
        for step in path:
            node = node.setdefault(step, {})
    return fields


def _merged(current: Any, change: Any) -> Any:
    if not isinstance(change, dict) or not isinstance(current, dict):
        return change
    merged = {**current}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(current.get(name, {}), value)
    return merged


def _status(status: int, reason: str) -> tuple[int, JSON]:
    return status, {"kind": "Status", "status": "Failure", "reason": reason, "message": f"{reason} by the fake"}


def websocket_frame(head: int, data: bytes) -> bytes:
    """A frame of a websocket."""
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    return bytes([head]) + size + data


def _input(connection: socket.socket) -> Iterator[bytes]:
    """What a client sends as the input of a command; answers its pings."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = connection.recv(size - len(data))
            if not piece:
                raise BrokenPipeError
            data += piece
        return data

    while True:
        head, size = exactly(2)
        size &= 0x7F
        if size >= 126:
            size = int.from_bytes(exactly(2 if size == 126 else 8), "big")
        mask = exactly(4) * (size // 4 + 1)
        data = bytes(one ^ other for one, other in zip(exactly(size), mask, strict=False))
        if head & 0xF == 9:
            connection.sendall(websocket_frame(0x8A, data))
        elif data == b"\xff\x00":
            return
        elif head & 0xF == 2 and data[:1] == b"\x00":
            yield data[1:]


def _run_command(handler: BaseHTTPRequestHandler, state: ApiServer, command: list[str], query: dict[str, str]) -> None:
    """Agree to a websocket and send what :attr:`ApiServer.execute` gives."""
    handler.close_connection = True
    offered = [name.strip() for name in handler.headers["Sec-WebSocket-Protocol"].split(",")]
    agreed = next((name for name in offered if name in state.protocols), None)
    if agreed is None:
        handler.send_error(403)
        return
    key = f"{handler.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    head = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Protocol": agreed,
        "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),
    }
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    with contextlib.suppress(OSError):
        handler.connection.sendall("\r\n".join(lines).encode())
        # A shell that prints a mark and ends when it has read a line; all else that is given an input is fed.
        mark = command[3].encode() if command[3:] and "\nread -r " in command[2] else b""
        given = _input(handler.connection)
        frames = (
            state.feed(command, given)
            if query.get("stdin") == "true" and not mark
            else state.execute(command, query, list(handler.headers.items()))
        )
        printed = b""
        for frame in frames:
            if frame is None:
                return
            if mark and isinstance(frame, tuple):
                if frame[0] == 3 and mark in printed and next(given) != b"\n":
                    return
                printed = (printed + frame[1])[-2 * len(mark) :] if frame[0] == 1 else printed
            raw = frame if isinstance(frame, bytes) else websocket_frame(0x82, bytes([frame[0]]) + frame[1])
            handler.connection.sendall(raw)
        handler.connection.sendall(websocket_frame(0x88, (1000).to_bytes(2, "big")))
        # The other side says that it has seen the end.
        handler.connection.recv(1024)


@contextmanager
def running(state: ApiServer | None = None) -> Iterator[ApiServer]:
    """Serve on a loopback port until the end of the block; a state that was served before comes back where it was."""
    state = state or ApiServer()
    port = urlsplit(state.url).port or 0
    state.ended = False

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet, or every answer waits for a delayed acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            if state.ended:
                self.close_connection = True
                self.connection.close()
                return
            split = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(split.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            try:
                status, document = state.answer(self.command, split.path, query, body)
            except ConnectionAbortedError:
                self.close_connection = True
                self.connection.close()
                return
            if query.get("watch") and status == 200:
                self._stream(split.path, query)
                return
            if self.headers.get("Upgrade") == "websocket" and status == 200:
                _run_command(self, state, parse_qs(split.query)["command"], query)
                return
            data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, path: str, query: dict[str, str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            try:
                for event in state.changes(path, query):
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                # What is left in the buffer has nowhere to go.
                self.wfile = io.BytesIO()
                self.connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            # Whoever was killed closes its connections as it can.
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended = True
        server.shutdown()
        server.server_close()
        thread.join()
