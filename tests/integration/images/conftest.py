# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop at east, with images of its own: what it runs, and what its registries say of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ..sites import JSON, Site, ad_hoc, bed, result_of, thing

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


class Registry:
    """A site's registry as it answers itself, without anything of the collection."""

    def __init__(self, site: Site, container: str, docker_host: str) -> None:
        options = site.registry()
        self.host = str(options["name"])
        self._logs = ["docker", "-H", docker_host, "logs", container]
        login = urllib3.make_headers(basic_auth=f"{options['username']}:{options['password']}")
        self._pool = urllib3.PoolManager(ca_certs=str(options["ca_cert"]), headers=login, retries=False)
        self._login = dict(login)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        url = path if path.startswith("https://") else f"https://{self.host}/v2/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request(method, url, body=body, headers={**self._login, **named})

    def digest(self, repository: str, reference: str) -> str | None:
        """What a tag or digest names; none where it is not there."""
        answer = self.request("HEAD", f"{repository}/manifests/{reference}", Accept=f"{MANIFEST}, {INDEX}")
        return str(answer.headers["Docker-Content-Digest"]) if answer.status == 200 else None

    def blobs(self, repository: str, digest: str) -> set[str]:
        """Digests of an image's configuration and layers."""
        manifest = json.loads(self.request("GET", f"{repository}/manifests/{digest}", Accept=MANIFEST).data)
        return {str(blob["digest"]) for blob in (manifest["config"], *manifest["layers"])}

    def referrers(self, repository: str, digest: str) -> list[str]:
        answer = self.request("GET", f"{repository}/referrers/{digest}")
        if answer.status == 200:
            return [str(entry["digest"]) for entry in json.loads(answer.data)["manifests"]]
        # A registry without that API: the list lies under a tag.
        listed = self.request("GET", f"{repository}/manifests/{digest.replace(':', '-')}", Accept=INDEX)
        return [str(entry["digest"]) for entry in json.loads(listed.data)["manifests"]] if listed.status == 200 else []

    def push_blob(self, repository: str, data: bytes) -> JSON:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        started = self.request("POST", f"{repository}/blobs/uploads/")
        location = started.headers["Location"]
        done = self.request(
            "PUT",
            f"{location}{'&' if '?' in location else '?'}digest={digest}",
            data,
            Content_Type="application/octet-stream",
        )
        assert done.status == 201, done.data
        return {"digest": digest, "size": len(data)}

    def attach(self, repository: str, subject: str, text: bytes) -> str:
        """Attach a document to an image as a referrer; gives its digest."""
        empty = {"mediaType": EMPTY, **self.push_blob(repository, b"{}")}
        layer = {"mediaType": "application/spdx+json", **self.push_blob(repository, text)}
        size = len(self.request("GET", f"{repository}/manifests/{subject}", Accept=f"{MANIFEST}, {INDEX}").data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/spdx+json",
            "config": empty,
            "layers": [layer],
            "subject": {"mediaType": INDEX, "digest": subject, "size": size},
        }
        data = json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        put = self.request("PUT", f"{repository}/manifests/{digest}", data, Content_Type=MANIFEST)
        assert put.status == 201, put.data
        if "OCI-Subject" not in put.headers:
            # A registry without the API for referrers: who attaches lists them under a tag.
            entry = {
                "mediaType": MANIFEST,
                "digest": digest,
                "size": len(data),
                "artifactType": manifest["artifactType"],
            }
            listed = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
            tag = subject.replace(":", "-")
            assert self.request("PUT", f"{repository}/manifests/{tag}", listed, Content_Type=INDEX).status == 201
        return digest

    def seen(self) -> list[str]:
        """Method and path of every request in its access log that had a login, in their order."""
        done = subprocess.run(self._logs, capture_output=True, text=True, check=True)
        found = []
        for line in (done.stdout + done.stderr).splitlines():
            request, _quote, answer = line.partition('] "')[2].partition('"')
            if "HTTP/" in request and answer.split()[0] != "401":
                found.append(request)
        return found

    def writes(self) -> int:
        return sum(line.split()[0] in ("PUT", "POST", "PATCH", "DELETE") for line in self.seen())


@pytest.fixture(scope="session")
def registries(facts: JSON, sites: tuple[Site, Site]) -> tuple[Registry, Registry]:
    """Those of east and of west."""
    east, west = (Registry(site, f"{facts['network']}-{site.name}-registry", facts["docker_host"]) for site in sites)
    return east, west


class Crane:
    """The peer's own tool, with the logins of both sites."""

    def __init__(self, facts: JSON, sites: tuple[Site, ...], folder: Path) -> None:
        auths: JSON = {}
        for site in sites:
            auths.update(json.loads(Path(site.facts["registry"]["auth_file"]).read_text(encoding="utf-8"))["auths"])
        (folder / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
        self.login = {"DOCKER_CONFIG": str(folder), "SSL_CERT_FILE": str(facts["ca_file"])}
        self._program = str(facts["tools"]["crane"])
        self._folder = folder

    def __call__(self, *words: str) -> str:
        environment = {**os.environ, **self.login}
        done = subprocess.run([self._program, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"crane {' '.join(words)}: {done.stderr[-1000:]}"
        return done.stdout.strip()

    def image(self, base: str, name: str, *, size: int = 100_000, layers: int = 1) -> str:
        """Push an image of layers that nobody else has on top of a base, which sleeps; gives its digest."""
        files = []
        for number in range(layers):
            path = self._folder / f"layer-{uuid.uuid4().hex}.tar"
            with tarfile.open(path, "w") as archive:
                entry = tarfile.TarInfo(f"shop-{number}")
                entry.size = size
                archive.addfile(entry, io.BytesIO(os.urandom(size)))
            files += ["-f", str(path)]
        self("append", "-b", base, *files, "-t", name)
        self("mutate", name, "--entrypoint", "sleep,3600", "-t", name)
        for path in files[1::2]:
            Path(path).unlink()
        return self("digest", name)


@pytest.fixture(scope="session")
def crane(facts: JSON, sites: tuple[Site, Site], tmp_path_factory: pytest.TempPathFactory) -> Crane:
    return Crane(facts, sites, tmp_path_factory.mktemp("crane"))


class Shop:
    """An application at east: a Deployment of an index of two platforms with an SBOM, a CronJob that never ran."""

    def __init__(self, namespace: str, east: Site, registry: Registry, crane: Crane) -> None:
        self.namespace = namespace
        base, path = str(east.facts["mover_image"]), f"{namespace}/web"
        self.web, self.job = f"{registry.host}/{path}:1.0", f"{registry.host}/{namespace}/job:2"
        platforms = [f"{self.web}-amd64", f"{self.web}-arm64"]
        for name in platforms:
            crane.image(base, name)
        crane("mutate", platforms[1], "--set-platform", "linux/arm64", "-t", platforms[1])
        crane("index", "append", "-m", platforms[0], "-m", platforms[1], "-t", self.web)
        crane.image(base, self.job)
        self.digests = {name: crane("digest", name) for name in (self.web, self.job)}
        self.sbom = registry.attach(path, self.digests[self.web], b'{"spdxVersion": "SPDX-2.3"}')
        login = Path(east.facts["registry"]["auth_file"]).read_bytes()
        secret = thing(
            "Secret",
            "pull",
            namespace,
            type="kubernetes.io/dockerconfigjson",
            data={".dockerconfigjson": base64.b64encode(login).decode()},
        )
        web = {"name": "web", "image": self.web}
        job = {"restartPolicy": "Never", "imagePullSecrets": [{"name": "pull"}]}
        job["containers"] = [{"name": "job", "image": self.job}]
        labels = {"app": "web"}
        pod = {"imagePullSecrets": [{"name": "pull"}], "terminationGracePeriodSeconds": 0, "containers": [web]}
        east.apply(
            secret,
            thing(
                "Deployment",
                "web",
                namespace,
                "apps/v1",
                spec={"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
            ),
            thing(
                "CronJob",
                "job",
                namespace,
                "batch/v1",
                spec={
                    "schedule": "0 0 1 1 *",
                    "suspend": True,
                    "jobTemplate": {"spec": {"template": {"spec": job}}},
                },
            ),
        )
        running(east, namespace)
        self.application = {"name": "shop", "namespaces": [namespace]}


def running(site: Site, namespace: str) -> list[JSON]:
    """Wait until the shop runs; gives its containers' statuses."""
    site.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=120s")
    pods = site.get("pods", "-n", namespace, "-l", "app=web")["items"]
    return [status for pod in pods for status in pod["status"]["containerStatuses"]]


@pytest.fixture(scope="module")
def shop(sites: tuple[Site, Site], registries: tuple[Registry, Registry], crane: Crane) -> Iterator[Shop]:
    """A shop for the tests of one file, which leaves nothing at either site."""
    east, west = sites
    name = f"shop-{uuid.uuid4().hex[:8]}"
    east.kubectl("create", "namespace", name)
    yield Shop(name, east, registries[0], crane)
    for site in (east, west):
        site.end()
        site.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def mirror(*, check: bool = False, **options: Any) -> JSON:
    """``image_mirror`` as Ansible runs it."""
    return result_of(ad_hoc("image_mirror", options, check=check))


@pytest.fixture
def without_its_registry(sites: tuple[Site, Site]) -> Iterator[None]:
    """East's registry is down, and west's nodes hold nothing of either registry."""
    bed("stop", "east", "registry")
    bed("forget-images", "west")
    yield
    bed("heal")
