# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies to real registries of other versions and settings, and runs that are killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..sites import BED, JSON, Site, ad_hoc, good, kill, result_of, wait_until
from .conftest import Crane, Registry, mirror

Image = tuple[JSON, list[str]]


@pytest.fixture(scope="module")
def image(crane: Crane, sites: tuple[Site, Site], registries: tuple[Registry, Registry]) -> Image:
    """An image of two platforms at east; and the digests of these."""
    name = f"{registries[0].host}/plain-{uuid.uuid4().hex[:8]}/app:1"
    parts = [f"{name}-{machine}" for machine in ("amd64", "arm64")]
    for part in parts:
        crane.image(str(sites[0].facts["mover_image"]), part)
    crane("mutate", parts[1], "--set-platform", "linux/arm64", "-t", parts[1])
    crane("index", "append", "-m", parts[0], "-m", parts[1], "-t", name)
    return {"name": name, "digest": crane("digest", name)}, [crane("digest", part) for part in parts]


Started = Callable[..., str]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """``started(program, delete=…, validation=…)`` runs a registry on loopback and gives its HOST:PORT."""
    with contextlib.ExitStack() as ending:

        def start(program: Path, *, delete: bool = True, validation: JSON | None = None) -> str:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                host = f"127.0.0.1:{probe.getsockname()[1]}"
            settings = {
                "version": 0.1,
                "log": {"accesslog": {"disabled": True}, "level": "error"},
                "storage": {
                    "filesystem": {"rootdirectory": str(tmp_path / host)},
                    "delete": {"enabled": delete},
                },
                "http": {"addr": host},
                **({"validation": validation} if validation else {}),
            }
            path = tmp_path / f"{host}.json"
            path.write_text(json.dumps(settings), encoding="utf-8")
            process = subprocess.Popen(
                [program, "serve", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            ending.callback(process.wait)
            ending.callback(process.kill)
            wait_until(lambda: status(host, "/v2/") == 200, 30)
            return host

        yield start


def status(host: str, path: str) -> int:
    """Of a HEAD; 0 where nobody answers."""
    kinds = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}
    with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        try:
            connection.request("HEAD", path, headers=kinds)
            return connection.getresponse().status
        except OSError:
            return 0


@pytest.fixture(scope="session")
def distribution() -> Path:
    """distribution 3, as the bed builds it."""
    built = subprocess.run([BED, "build", "distribution"], capture_output=True, text=True, check=True).stdout.strip()
    return Path(built) / "registry"


@pytest.fixture(scope="session")
def distribution_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """distribution 2.8 out of Debian's package, which is not installed."""
    folder = tmp_path_factory.mktemp("debian")
    subprocess.run(["apt-get", "download", "docker-registry"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("docker-registry_2.8.*.deb")
    subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder / "usr/bin/docker-registry"


def goes_there_and_back(image: Image, host: str, east: Site, west: Site, *, deletes: bool) -> None:
    """Copied, unchanged the second time, verified to the last byte, and removed where the registry does that."""
    place = {"name": f"{host}/kept", "plain_http": True}
    options: JSON = {
        "images": [image[0]],
        "sources": [east.registry()],
        "target": place,
        "store": west.store(f"s3://muster/{uuid.uuid4().hex[:8]}"),
    }
    copied = good(mirror(**options))
    assert copied["copied"] == 1
    assert not good(mirror(**options))["changed"]
    good(mirror(images=copied["images"], target=place, verify="full"))
    gone = {"images": copied["images"], "target": place, "store": options["store"], "state": "absent"}
    assert good(mirror(**gone))["changed"] is deletes
    assert mirror(images=copied["images"], target=place, verify="digests")["failed"] is deletes


@pytest.mark.parametrize("deletes", [True, False])
def test_a_registry_that_deletes_and_one_that_does_not(
    deletes: bool, image: Image, started: Started, distribution: Path, east: Site, west: Site
) -> None:
    goes_there_and_back(image, started(distribution, delete=deletes), east, west, deletes=deletes)


@pytest.mark.nightly
@pytest.mark.parametrize("deletes", [True, False])
def test_the_registry_of_the_version_before(
    deletes: bool, image: Image, started: Started, distribution_2: Path, east: Site, west: Site
) -> None:
    goes_there_and_back(image, started(distribution_2, delete=deletes), east, west, deletes=deletes)


@pytest.mark.parametrize("sparse", [True, False])
def test_one_platform_where_indexes_may_lack_the_others_and_where_not(
    sparse: bool, image: Image, started: Started, distribution: Path, east: Site
) -> None:
    checks = {"manifests": {"indexes": {"platforms": "none" if sparse else "all"}}}
    host = started(distribution, validation=checks)
    index, (amd, arm) = image
    place = {"name": host, "plain_http": True}
    options: JSON = {"images": [index], "sources": [east.registry()], "target": place, "platforms": ["linux/amd64"]}
    (entry,) = good(mirror(**options))["images"]
    path = f"/v2/{entry['path']}/manifests"
    have = [status(host, f"{path}/{digest}") == 200 for digest in (index["digest"], amd, arm)]
    assert have == [True, True, not sparse]
    assert ("all platforms" in entry["msg"]) is not sparse
    assert not good(mirror(**options))["changed"]


def test_a_run_that_is_killed_converges(
    crane: Crane, east: Site, west: Site, registries: tuple[Registry, Registry]
) -> None:
    """Whatever had arrived is not sent again; before the second run ends nothing names an image that is not whole."""
    name, size, layers = f"{registries[0].host}/large-{uuid.uuid4().hex[:8]}/app:1", 24_000_000, 6
    crane.image(str(east.facts["mover_image"]), name, size=size, layers=layers)
    image = {"name": name, "digest": crane("digest", name)}
    target = west.registry(f"killed-{uuid.uuid4().hex[:8]}")
    options: JSON = {"images": [image], "sources": [east.registry()], "target": target, "workers": 2}
    start = len(registries[1].seen())

    def arrived() -> int:
        return sum("/blobs/uploads/" in line and line.startswith("PUT ") for line in registries[1].seen()[start:])

    running = ad_hoc("image_mirror", {**options, "target": {**target, "bytes_per_second": 24_000_000}})
    wait_until(lambda: arrived() >= 2 or running.poll() is not None)
    kill(running)
    below = target["name"].partition("/")[2]
    path = f"{below}/{name.rpartition(':')[0].replace(':', '-')}"
    assert registries[1].digest(path, image["digest"]) is None, "it was killed too late"
    blobs = registries[0].blobs(name.partition("/")[2].rpartition(":")[0], image["digest"])
    kept = sum(registries[1].request("HEAD", f"{path}/blobs/{digest}").status == 200 for digest in blobs)
    # Each of the two workers had one blob on its way.
    assert kept >= arrived() - 2
    again = good(result_of(ad_hoc("image_mirror", options)))
    assert again["blobs_copied"] + again["blobs_mounted"] == len(blobs) - kept
    good(mirror(images=again["images"], target=target, verify="full"))
    assert not good(mirror(**options))["changed"]
