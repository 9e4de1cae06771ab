# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Docker Engine's API on a socket, as far as images, containers and volumes are concerned, for the real SDK.

With the classic store an image's id is the digest of its configuration, ``docker save`` writes layers unpacked, and the
digests of an image are those by which it was pulled or pushed. With ``containerd`` the id is the digest of its manifest
or index, every tag has a digest, and what is saved has the manifests and layers as they came.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import itertools
import json
import os
import select
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fakes.oci.content import Repository, digest_of
from fakes.serving import Serving
from fakes.storage import good_end

JSON = dict[str, Any]
ROOT = "/var/lib/docker"


class _Sockets(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_args: Any) -> None:
        """A client that hangs up is part of the play."""


class _Ports(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: Any) -> None:
        """A client that hangs up, or that likes no certificate, is part of the play."""


class FakeEngine(Serving):
    """``with FakeEngine() as engine``: ``engine.docker_host`` answers; ``engine.requests`` is what it was asked.

    ``refuses`` maps a part of a path to the status with which it is answered, ``cut`` ends exports in the middle,
    ``stuck`` stops in the middle of exports and before the lists of containers.

    A command in a container (``docker exec``) is a real one of this machine. ``execs`` is what was asked for,
    ``processes`` are those that run. ``loses`` is how much of their outputs comes through before the rest is dropped,
    ``breaks`` before the connection is cut, ``lacks`` the programs that
    no container has.

    ``root`` is its folder. Where a test gives it one of this machine, volumes are folders there, as root sees them.
    """

    def __init__(self, *, containerd: bool = False, tls: ssl.SSLContext | None = None, root: str = ROOT) -> None:
        self.containerd = containerd
        self.root = root
        self.security: list[str] = []
        self.tls = tls
        self.images: dict[str, JSON] = {}
        self.saved: dict[str, Callable[[list[str]], dict[str, bytes]]] = {}
        self.containers: list[JSON] = []
        self.requests: list[str] = []
        self.refuses: dict[str, int] = {}
        self.cut = False
        self.stuck = False
        self.over = threading.Event()
        self.docker_host = ""
        self.volumes: dict[str, JSON] = {}
        # How a mover ends, from its configuration and the files that it was given: its exit code and its report.
        self.mover: Callable[[JSON, dict[str, bytes]], tuple[int, str]] = good_mover
        # What was done, in order: "VERB NAME".
        self.events: list[str] = []
        self.movers: list[JSON] = []
        # Called before a request that changes something: its verb and name.
        self.before: Callable[[str, str], None] = lambda _verb, _name: None
        # Called when the volumes were listed, before the next request.
        self.volumes_told: Callable[[], None] = lambda: None
        self.logins: list[str] = []
        self.execs: list[JSON] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.loses = self.breaks = 1 << 40
        self.lacks: set[str] = set()
        self._threads: list[threading.Thread] = []
        # Whether commands still ran when the client told them, by a line, that it has all of their output.
        self.held: list[bool] = []
        self._files: dict[str, dict[str, bytes]] = {}
        self._logs: dict[str, str] = {}
        self._clock = itertools.count(1)

    def __enter__(self) -> FakeEngine:
        engine = self

        class Handler(_Handler):
            served = engine

        # The path of a socket has to be short.
        self._directory = Path(tempfile.mkdtemp(prefix="engine-"))
        if self.tls is not None:
            ports = _Ports(("127.0.0.1", 0), Handler)
            ports.socket = self.tls.wrap_socket(ports.socket, server_side=True)
            self.server, self.docker_host = ports, f"tcp://127.0.0.1:{ports.server_port}"
        else:
            self.server = _Sockets(str(self._directory / "docker.sock"), Handler)
            self.docker_host = f"unix://{self._directory}/docker.sock"
        return super().__enter__()

    def __exit__(self, *_args: object) -> None:
        self.over.set()
        for process in self.processes:
            self._kill(process)
        for thread in self._threads:
            thread.join()
        super().__exit__()
        shutil.rmtree(self._directory)

    def built(self, *tags: str, layers: tuple[bytes, ...] = (b"built",)) -> str:
        """An image that was built or loaded; its id."""
        rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}, indent=1).encode()
        repository = Repository(blobs={digest_of(blob): blob for blob in (*layers, config)})
        described = [{"digest": digest_of(blob), "size": len(blob)} for blob in (config, *layers)]
        manifest = json.dumps({"schemaVersion": 2, "config": described[0], "layers": described[1:]}).encode()
        repository.manifests[digest_of(manifest)] = (manifest, "application/vnd.oci.image.manifest.v1+json")
        return self.pulled(repository, digest_of(manifest), *tags)

    def pulled(
        self, repository: Repository, digest: str, *tags: str, digests: tuple[str, ...] = (), partly: bool = False
    ) -> str:
        """A registry's image; its id. ``partly``: of an index only the first child was pulled, as is the rule."""
        root = json.loads(repository.manifests[digest][0])
        first = root["manifests"][0]["digest"] if "manifests" in root else digest
        config = json.loads(repository.manifests[first][0])["config"]["digest"]
        identity = digest if self.containerd else config
        # What containerd's store holds is named by digest too, wherever it may come from.
        own = tuple(f"{tag.rpartition(':')[0]}@{digest}" for tag in tags) if self.containerd else ()
        self.images[identity] = {
            "Id": identity,
            "RepoTags": list(tags),
            "RepoDigests": list(dict.fromkeys((*digests, *own))),
            "Architecture": "amd64",
            "Os": "linux",
        }
        kept = [digest, first] if partly else [*repository.manifests]
        self.saved[identity] = lambda names: self._save(repository, kept, first, names)
        return identity

    def run(
        self, name: str, image: str, identity: str, *, state: str = "running", platform: str = "", **labels: str
    ) -> None:
        """A container; ``image`` is what stands in its configuration, ``platform`` the digest of what it runs."""
        container = {
            "Id": hashlib.sha256(name.encode()).hexdigest(),
            "Names": [f"/{name}"],
            "Labels": {key.replace("_", "."): value for key, value in labels.items()},
            "State": state,
            "Image": image,
            "ImageID": identity,
        }
        if platform:
            container["ImageManifestDescriptor"] = {"digest": platform}
        self.containers.append(container)

    def volume(self, name: str, driver: str = "local", options: JSON | None = None, **labels: str) -> None:
        """A volume, as ``docker volume create`` makes it."""
        place = f"{self.root}/volumes/{name}/_data"
        if self.root != ROOT:
            Path(place).mkdir(parents=True)
        self.volumes[name] = {
            "Name": name,
            "Driver": driver,
            "Options": options,
            "Labels": labels,
            "Mountpoint": place,
        }

    def has(self, name: str, *mounts: JSON, state: str = "running", labels: JSON | None = None, **host: Any) -> str:
        """A container with mounts, see :func:`mount`; its id. ``host`` is of its HostConfig."""
        self.run(name, "app:1", "sha256:app", state=state)
        container = self.containers[-1]
        container |= {"Mounts": list(mounts), "HostConfig": host, "Created": next(self._clock), "ExitCode": 0}
        container["Labels"] |= labels or {}
        for one in mounts:
            if one["Type"] == "volume" and one["Name"] not in self.volumes:
                self.volume(one["Name"])
        self.touch(container)
        return str(container["Id"])

    def touch(self, container: JSON) -> None:
        """Note that its state became another."""
        key = "StartedAt" if container["State"] == "running" else "FinishedAt"
        container[key] = f"2026-01-01T00:00:{next(self._clock):02}Z"

    def by_name(self, name: str) -> JSON:
        return next(one for one in self.containers if f"/{name}" in one["Names"])

    def left(self) -> list[str]:
        """What of ours is there."""
        mine = "container-dr.muster.dev/run"
        found = [one["Names"][0] for one in self.containers if mine in one["Labels"]]
        return found + [name for name, one in self.volumes.items() if mine in (one["Labels"] or {})]

    def change(self, verb: str, path: str, query: dict[str, str], data: bytes) -> tuple[int, Any]:
        """Answer a request that changes something."""
        parts = path.strip("/").split("/")
        if parts == ["volumes", "create"]:
            body = json.loads(data)
            self._happens("create-volume", body["Name"])
            if body["Name"] not in self.volumes:
                self.volume(body["Name"], body["Driver"], body["DriverOpts"], **body["Labels"])
            return 201, self.volumes[body["Name"]]
        if parts[0] == "volumes" and verb == "DELETE":
            self._happens("remove-volume", parts[1])
            gone = self.volumes.pop(parts[1], None)
            return (204, None) if gone else (404, {"message": "no such volume"})
        if parts == ["images", "create"]:
            return 200, {"error": "pull access denied"} if query["fromImage"].endswith("secret") else {"status": "done"}
        if parts == ["containers", "create"]:
            return self._create(query["name"], json.loads(data))
        found = next((one for one in self.containers if one["Id"] == parts[1]), None)
        if found is None:
            return 404, {"message": f"No such container: {parts[1]}"}
        name, action = found["Names"][0].removeprefix("/"), "remove" if verb == "DELETE" else parts[2]
        self._happens(action, name)
        return getattr(self, f"_{action}")(found, query, data)

    def _exec(self, container: JSON, _query: dict[str, str], data: bytes) -> tuple[int, Any]:
        if container["State"] != "running":
            return 409, {"message": f"container {container['Id']} is not running"}
        made = {"Id": f"exec{len(self.execs)}", "Running": False, "ExitCode": None, "container": container}
        self.execs.append({**json.loads(data), **made})
        return 201, {"Id": made["Id"]}

    def hijacked(self, asked: JSON, connection: socket.socket) -> None:
        """Run a command with the connection as its input and outputs."""
        asked["Running"] = True
        pipes = [subprocess.PIPE if asked[f"Attach{name}"] else subprocess.DEVNULL for name in ("Stdin", "Stdout")]
        try:
            if asked["Cmd"][0] in self.lacks:
                raise FileNotFoundError
            process = subprocess.Popen(
                asked["Cmd"], stdin=pipes[0], stdout=pipes[1], stderr=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        except OSError:
            words = b"OCI runtime exec failed: executable file not found\r\n"
            connection.sendall(_piece(1, words))
            asked.update(Running=False, ExitCode=127)
            return
        self.processes.append(process)
        self._threads.append(threading.current_thread())
        with process:
            if not self._carry(process, connection):
                return
        asked.update(
            Running=False, ExitCode=process.returncode if process.returncode >= 0 else 128 - process.returncode
        )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def _carry(self, process: subprocess.Popen[bytes], connection: socket.socket) -> bool:
        """Until the outputs end; whether the connection lasted."""
        outputs = {file: number for number, file in ((1, process.stdout), (2, process.stderr)) if file}
        waiting, sent, taking = b"", 0, process.stdin is not None
        while outputs:
            if not taking and not waiting and process.stdin and not process.stdin.closed:
                process.stdin.close()
            writing = [process.stdin] if waiting else []
            reading = [*outputs, *([connection] if taking and not waiting else [])]
            ready, writable, _none = select.select(reading, writing, [], 5)
            try:
                if connection in ready:
                    waiting = connection.recv(1 << 16)
                    taking = bool(waiting)
                    if waiting == b"\n":
                        self.held.append(process.poll() is None)
                for file in [one for one in ready if one in outputs]:
                    data = os.read(file.fileno(), 1 << 15)
                    if not data:
                        del outputs[file]
                    elif sent < self.loses:
                        connection.sendall(_piece(outputs[file], data))
                    sent += len(data)
                    if sent >= self.loses:
                        # It takes the command for one that has ended.
                        waiting, taking = b"", False
                    if sent > self.breaks:
                        self._kill(process)
                        return False
            except OSError:
                self._kill(process)
                return False
            if writable and process.stdin:
                try:
                    waiting = waiting[os.write(process.stdin.fileno(), waiting[:4096]) :]
                except BrokenPipeError:
                    waiting, taking = b"", False
        return True

    def _happens(self, verb: str, name: str) -> None:
        self.before(verb, name)
        self.events.append(f"{verb} {name}")

    def _create(self, name: str, body: JSON) -> tuple[int, Any]:
        if not self.found(body["Image"]):
            return 404, {"message": f"No such image: {body['Image']}"}
        self._happens("create", name)
        self.movers.append(body)
        for one in body["HostConfig"]["Mounts"]:
            if one["Type"] == "volume" and one.get("Source", "anonymous") not in {"anonymous", *self.volumes}:
                self.volume(one["Source"])
        mounts = [
            {
                "Type": one["Type"],
                "Name": one.get("Source", "anonymous"),
                "Source": one.get("Source", ""),
                "Destination": one["Target"],
                "RW": not one.get("ReadOnly"),
            }
            for one in body["HostConfig"]["Mounts"]
        ]
        self.run(name, body["Image"], "sha256:mover", state="created")
        self.containers[-1] |= {"Mounts": mounts, "Labels": body["Labels"], "body": body, "HostConfig": {}}
        return 201, {"Id": self.containers[-1]["Id"], "Warnings": []}

    def _archive(self, container: JSON, query: dict[str, str], data: bytes) -> tuple[int, Any]:
        writable = [one["Destination"] for one in container["Mounts"] if one["RW"]]
        if container["body"]["HostConfig"]["ReadonlyRootfs"] and query["path"] not in writable:
            return 403, {"message": "container rootfs is marked read-only"}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = {one.name: archive.extractfile(one) for one in archive.getmembers()}
            self._files[container["Id"]] = {name: file.read() for name, file in files.items() if file}
        return 200, None

    def _start(self, container: JSON, _query: dict[str, str], _data: bytes) -> tuple[int, Any]:
        if container["State"] == "running":
            return 304, None
        _kind, _colon, shared = str(container.get("HostConfig", {}).get("NetworkMode")).partition("container:")
        if shared and next(one for one in self.containers if one["Id"] == shared)["State"] != "running":
            return 409, {"message": "cannot join network of a non running container"}
        container["State"] = "running"
        self.touch(container)
        if "body" in container:
            code, report = self.mover(copy.deepcopy(container["body"]), self._files[container["Id"]])
            self._logs[container["Id"]] = f'{{"message_type":"status"}}\n\nmuster report\n{report}'
            container |= {"State": "exited", "ExitCode": code}
        return 204, None

    def _stop(self, container: JSON, query: dict[str, str], _data: bytes) -> tuple[int, Any]:
        if container["State"] == "exited":
            return 304, None
        container |= {"State": "exited", "ExitCode": 0}
        self.touch(container)
        return 204, None

    def _pause(self, container: JSON, _query: dict[str, str], _data: bytes) -> tuple[int, Any]:
        container["State"] = "paused"
        return 204, None

    def _unpause(self, container: JSON, _query: dict[str, str], _data: bytes) -> tuple[int, Any]:
        if container["State"] != "paused":
            return 500, {"message": "Container is not paused"}
        container["State"] = "running"
        return 204, None

    def _remove(self, container: JSON, _query: dict[str, str], _data: bytes) -> tuple[int, Any]:
        self.containers.remove(container)
        return 204, None

    def log(self, identity: str) -> bytes:
        """As without a terminal: each part with its stream and length."""
        data = self._logs.get(identity, "").encode()
        return _piece(1, data) if data else b""

    def _save(self, repository: Repository, kept: list[str], first: str, names: list[str]) -> dict[str, bytes]:
        """The members of what ``docker save`` writes."""
        manifest = json.loads(repository.manifests[first][0])
        config = repository.blobs[manifest["config"]["digest"]]
        layers = {layer["digest"]: repository.blobs[layer["digest"]] for layer in manifest["layers"]}
        blobs = {digest_of(config): config, **layers}
        if self.containerd:
            blobs.update({digest: repository.manifests[digest][0] for digest in kept})
        listed = {
            "Config": _key(digest_of(config)),
            "RepoTags": names or None,
            "Layers": [_key(digest) for digest in layers],
        }
        members = {_key(digest): blob for digest, blob in blobs.items()}
        return {
            **members,
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "manifest.json": json.dumps([listed]).encode(),
        }

    def found(self, name: str) -> JSON | None:
        """An image by its id or a tag."""
        tagged = (image for image in self.images.values() if name in image["RepoTags"])
        return self.images.get(name) or next(tagged, None)


class _Handler(BaseHTTPRequestHandler):
    served: FakeEngine
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Silence."""

    def address_string(self) -> str:
        return "client"

    def do_POST(self) -> None:
        path = self._asked()
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "X-Registry-Auth" in self.headers:
            self.served.logins.append(self.headers["X-Registry-Auth"])
        if path.startswith("/exec/"):
            asked = next(one for one in self.served.execs if one["Id"] == path.split("/")[2])
            self.close_connection = True
            upgrade = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            # A piece of nothing, which begins together with the headers.
            self.connection.sendall(upgrade + bytes([2, 0, 0]))
            self.connection.sendall(bytes(5))
            self.served.hijacked(asked, self.connection)
        elif path:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            status, document = self.served.change(self.command, path, query, data)
            self._answer(status, document)

    do_PUT = do_DELETE = do_POST

    def _asked(self) -> str:
        """The path without the API's version; empty where it was refused."""
        engine, path = self.served, unquote(urlsplit(self.path).path)
        engine.requests.append(path)
        path = "/" + path.split("/", 2)[2] if path.startswith("/v1.") else path
        for part, status in engine.refuses.items():
            if part in path:
                self._answer(status, {"message": "the fake refuses"})
                return ""
        return path

    def do_GET(self) -> None:
        engine, path = self.served, self._asked()
        if not path:
            return
        if path == "/version":
            self._answer(200, {"ApiVersion": "1.48" if engine.containerd else "1.41"})
        elif path == "/info":
            self._answer(200, {"Name": "dock-1", "DockerRootDir": engine.root, "SecurityOptions": engine.security})
        elif path == "/volumes":
            wanted = json.loads(parse_qs(urlsplit(self.path).query).get("filters", ["{}"])[0]).get("label", [])
            volumes = [one for one in engine.volumes.values() if all(_labelled(one, label) for label in wanted)]
            engine.volumes_told()
            self._answer(200, {"Volumes": volumes or None})
        elif path.startswith("/volumes/"):
            name = path.removeprefix("/volumes/")
            self._told("volume", name, engine.volumes.get(name))
        elif path.startswith("/containers/") and path.endswith("/logs"):
            self._send(200, engine.log(path.split("/")[2]), "application/octet-stream")
        elif path == "/containers/json":
            if engine.stuck:
                engine.over.wait()
            every = "all=1" in self.path
            self._answer(200, [one for one in engine.containers if every or one["State"] in ("running", "paused")])
        elif path.startswith("/exec/"):
            found = next((one for one in engine.execs if one["Id"] == path.split("/")[2]), None)
            self._told("exec instance", path, found and {key: found[key] for key in ("Id", "Running", "ExitCode")})
        elif path.startswith("/containers/"):
            identity = path.split("/")[2]
            self._told(
                "container",
                identity,
                next((_inspected(one) for one in engine.containers if one["Id"] == identity), None),
            )
        elif path.startswith("/images/") and path.endswith("/json"):
            name = path.removeprefix("/images/").removesuffix("/json")
            self._told("image", name, engine.found(name) or engine.found(f"{name}:latest"))
        elif path.startswith("/images/") and path.endswith("/get"):
            self._export(path.removeprefix("/images/").removesuffix("/get"))
        else:
            self._answer(404, {"message": "page not found"})

    def _export(self, name: str) -> None:
        engine, found = self.served, self.served.found(name)
        # Without a tag all images of a repository are meant.
        images = [found] if found else [one for one in engine.images.values() if _of(name, one["RepoTags"])]
        if not images:
            self._told("image", name, None)
            return
        members: dict[str, bytes] = {}
        listed: list[JSON] = []
        for image in images:
            # One that is asked for by its id is saved without its names.
            saved = engine.saved[image["Id"]](
                [] if name == image["Id"] else [name] if found else _of(name, image["RepoTags"])
            )
            listed += json.loads(saved["manifest.json"])
            members.update(saved)
        members["manifest.json"] = json.dumps(listed).encode()
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for key, data in members.items():
                member = tarfile.TarInfo(key)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        data = file.getvalue()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-tar")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.served.cut or self.served.stuck:
            data = data[: len(data) // 2]
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if self.served.stuck:
            self.served.over.wait()
        if self.served.cut or self.served.stuck:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _told(self, kind: str, name: str, document: JSON | None) -> None:
        if document is None:
            self._answer(404, {"message": f"No such {kind}: {name}"})
        else:
            self._answer(200, document)

    def _answer(self, status: int, document: Any) -> None:
        self._send(status, b"" if document is None else json.dumps(document).encode(), "application/json")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _inspected(container: JSON) -> JSON:
    """What ``docker inspect`` says where ``docker ps`` says it otherwise."""
    more = {key: container[key] for key in ("ImageManifestDescriptor",) if key in container}
    return {
        "Id": container["Id"],
        "Name": container["Names"][0],
        "Image": container["ImageID"],
        "Config": {"Image": container["Image"], "Labels": container["Labels"], "Tty": False},
        "HostConfig": container.get("HostConfig", {}),
        "Mounts": container.get("Mounts", []),
        "State": {
            "Status": container["State"],
            "Running": container["State"] in ("running", "paused"),
            "Paused": container["State"] == "paused",
            **{key: container.get(key) for key in ("ExitCode", "StartedAt", "FinishedAt")},
            **({"Health": {"Status": container["Health"]}} if "Health" in container else {}),
        },
        **more,
    }


def _piece(number: int, data: bytes) -> bytes:
    """Of an output, with its number and length."""
    return bytes([number, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def _of(repository: str, tags: list[str]) -> list[str]:
    return [tag for tag in tags if tag.rpartition(":")[0] == repository]


def _key(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _labelled(volume: JSON, label: str) -> bool:
    key, given, value = label.partition("=")
    labels = volume["Labels"] or {}
    return key in labels and (not given or labels[key] == value)


def mount(source: str, at: str = "/data", *, writable: bool = True) -> JSON:
    """A named or, with a path, a bind mount of a container."""
    if source.startswith("/"):
        return {"Type": "bind", "Source": source, "Destination": at, "RW": writable}
    # Docker's list has no source of volumes that their image declares.
    return {"Type": "volume", "Name": source, "Source": "", "Destination": at, "RW": writable, "Driver": "local"}


def good_mover(body: JSON, _files: dict[str, bytes]) -> tuple[int, str]:
    """As :func:`fakes.storage.good_end`."""
    (end,) = good_end({"spec": {"template": {"spec": {"containers": [{"command": body["Entrypoint"]}]}}}})
    return int(end["exitCode"]), str(end["message"])
