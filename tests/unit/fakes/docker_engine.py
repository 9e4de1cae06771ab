# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Docker Engine's API on a socket, as far as images are concerned, for the real SDK.

With the classic store an image's id is the digest of its configuration, ``docker save`` writes layers unpacked, and the
digests of an image are those by which it was pulled or pushed. With ``containerd`` the id is the digest of its manifest
or index, every tag has a digest, and what is saved has the manifests and layers as they came.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socketserver
import ssl
import tarfile
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fakes.oci.content import Repository, digest_of
from fakes.serving import Serving

JSON = dict[str, Any]


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
    """

    def __init__(self, *, containerd: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.containerd = containerd
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

    def do_GET(self) -> None:
        engine, path = self.served, unquote(urlsplit(self.path).path)
        engine.requests.append(path)
        path = "/" + path.split("/", 2)[2] if path.startswith("/v1.") else path
        for part, status in engine.refuses.items():
            if part in path:
                self._answer(status, {"message": "the fake refuses"})
                return
        if path == "/version":
            self._answer(200, {"ApiVersion": "1.48" if engine.containerd else "1.41"})
        elif path == "/info":
            self._answer(200, {"Name": "dock-1"})
        elif path == "/containers/json":
            if engine.stuck:
                engine.over.wait()
            every = "all=1" in self.path
            self._answer(200, [one for one in engine.containers if every or one["State"] in ("running", "paused")])
        elif path.startswith("/containers/"):
            identity = path.split("/")[2]
            self._told(
                "container",
                identity,
                next((_inspected(one) for one in engine.containers if one["Id"] == identity), None),
            )
        elif path.startswith("/images/") and path.endswith("/json"):
            name = path.removeprefix("/images/").removesuffix("/json")
            self._told("image", name, engine.found(name))
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
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
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
        "Config": {"Image": container["Image"], "Labels": container["Labels"]},
        "State": {"Status": container["State"]},
        **more,
    }


def _of(repository: str, tags: list[str]) -> list[str]:
    return [tag for tag in tags if tag.rpartition(":")[0] == repository]


def _key(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
