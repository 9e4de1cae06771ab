# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes and streams of a real Docker engine, the bed's own, out and back; writers stand still as it was asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..images.conftest import Crane
from ..sites import JSON, Site, ad_hoc, good, kill, result_of, run, wait_until
from .conftest import environment, restic
from .servers import Backend, rest, sftp

Run = Callable[..., JSON]
# Root's and others' files with all that a file can have, a hard link, a hole, names that are no text and of 255 bytes.
FILL = r"""
cd /data; mkdir -p folder/deep; echo text > folder/text; chown 1001:1002 folder/text; chmod 4751 folder/text
ln folder/text folder/deep/hard; ln -s ../text folder/deep/link; mkfifo -m 604 pipe; chmod 1770 folder; chown 7:8 folder
truncate -s 8M hole; printf x | dd of=hole bs=1 seek=5000000 conv=notrunc 2> /dev/null
printf 'bytes' > "$(printf 'caf\351\nline')"; : > "$(printf '%0255d' 7)"; touch -d '1969-01-01 00:00:00' folder/deep
chown 100:100 .; chmod 2755 .
"""
# Everything that FILL sets, one line an entry.
LOOK = r"""
cd /data; find . -exec stat -c '%n %F %a %u %g %h %s %Y' {} + | sort
find . -type f -exec sha256sum {} + | sort; [ "$(stat -c %b hole)" -lt 4000 ]; ls -la folder/deep/link | sed 's/.*-> //'
"""
# cap_net_bind_service=ep
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
COUNT = "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo $n >> /data/counter; sleep 0.02; done"


class Docker:
    """The bed's own engine, and what a test makes there."""

    def __init__(self, host: str, image: str) -> None:
        self.host, self.image, self.name = host, image, f"muster-test-{uuid.uuid4().hex[:8]}"
        self.volumes: list[str] = []
        self.containers: list[str] = []

    def __call__(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run(["docker", "-H", self.host, *words], capture_output=True, check=False)
        assert fails or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout.decode(errors="surrogateescape").strip()

    def volume(self, suffix: str) -> str:
        name = f"{self.name}-{suffix}"
        self.volumes.append(name)
        return name

    def start(self, suffix: str, *options: str, script: str = "sleep 1000") -> str:
        """A container that runs a script."""
        name = f"{self.name}-{suffix}"
        self.containers.append(name)
        self("run", "-d", "--name", name, "--stop-timeout", "2", *options, self.image, "sh", "-c", script)
        return name

    def shell(self, volume: str, script: str) -> str:
        """What a script prints that has a volume at /data."""
        return self("run", "--rm", "-v", f"{volume}:/data", self.image, "sh", "-ec", script)

    def state(self, container: str) -> str:
        return self("inspect", "-f", "{{.State.Status}}", container)

    def root(self, volume: str) -> Path:
        """The volume's folder, as root of this machine sees it."""
        return Path(self("volume", "inspect", "-f", "{{.Mountpoint}}", volume))

    def lines(self, volume: str) -> int:
        return int(self.shell(volume, "wc -l < /data/counter"))

    def of_ours(self) -> list[str]:
        """What is there of containers and records of the test's application."""
        label = f"label=container-dr.muster.dev/application={self.name}"
        return [
            *self("ps", "-aq", "--filter", label).split(),
            *self("volume", "ls", "-q", "--filter", label).split(),
        ]

    def clean(self) -> None:
        for name in self.containers:
            self("rm", "-fv", name, fails=True)
        for name in self.of_ours():
            self("rm", "-fv", name, fails=True)
            self("volume", "rm", "-f", name, fails=True)
        for name in self.volumes:
            self("volume", "rm", "-f", name, fails=True)


@pytest.fixture(scope="session")
def image(facts: JSON, sites: tuple[Site, Site], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bed's mover, loaded into the engine, which has no way to the registries."""
    place = tmp_path_factory.mktemp("mover")
    archive = place / "mover.tar"
    Crane(facts, sites, place)("pull", sites[0].facts["mover_image"], str(archive))
    docker = ["docker", "-H", facts["docker_host"]]
    said = subprocess.run([*docker, "load", "-i", archive], check=True, capture_output=True, text=True).stdout
    loaded = said.split("Loaded image: ")[1].strip()
    name = f"muster-test-mover:{uuid.uuid4().hex[:8]}"
    subprocess.run([*docker, "tag", loaded, name], check=True)
    yield name
    subprocess.run([*docker, "rmi", name, loaded], check=False, capture_output=True)


@pytest.fixture
def docker(facts: JSON, image: str) -> Iterator[Docker]:
    engine = Docker(facts["docker_host"], image)
    yield engine
    engine.clean()


@pytest.fixture
def options(docker: Docker, repository: JSON, sites: tuple[Site, Site]) -> JSON:
    """What both modules are told."""
    return {"docker": {"docker_host": docker.host}, "repository": repository, "mover": {"image": docker.image}}


@pytest.fixture
def export(docker: Docker, options: JSON) -> Run:
    def run(*, check: bool = False, **more: Any) -> JSON:
        return result_of(ad_hoc("volume_export", exported(docker, options, **more), check=check))

    return run


def exported(docker: Docker, options: JSON, **more: Any) -> JSON:
    application = {"name": docker.name, "containers": [f"{docker.name}-app*"], **more.pop("application", {})}
    return {"site": "dock", "application": application, **options, **more}


@pytest.fixture
def bring(docker: Docker, options: JSON) -> Run:
    def run(volumes: list[JSON], *, check: bool = False, **more: Any) -> JSON:
        arguments = {"application": docker.name, "volumes": volumes, **options, **more}
        return result_of(ad_hoc("volume_import", arguments, check=check))

    return run


def test_a_volume_goes_out_and_comes_back_as_it_was(docker: Docker, export: Run, bring: Run, tmp_path: Path) -> None:
    volume = docker.volume("data")
    docker("volume", "create", "--label", "team=shop", volume)
    docker.shell(volume, FILL)
    os.setxattr(docker.root(volume) / "folder" / "text", "user.note", b"\x00\xff")
    os.setxattr(docker.root(volume) / "folder" / "text", "security.capability", CAPABILITY)
    before = docker.shell(volume, LOOK)
    (tmp_path / "conf").write_text("setting", encoding="utf-8")
    mounts = ["-v", f"{volume}:/data", "-v", f"{tmp_path}:/conf:ro", "-v", "/anonymous", "--tmpfs", "/fast"]
    app = docker.start("app", *mounts)
    docker("exec", app, "sh", "-c", "echo here > /anonymous/file")
    planned = good(export(check=True))
    result = good(export(point="p1"))
    entries = {entry["name"]: entry for entry in result["volumes"]}
    assert sorted(entries) == sorted([f"volumes/{volume}", f"{app}:/anonymous", str(tmp_path)])
    assert [entry["name"] for entry in planned["volumes"]] == [entry["name"] for entry in result["volumes"]]
    assert all(entry["complete"] and entry["method"] == "live" for entry in entries.values())
    assert result["consistency"]["mode"] == "live"
    assert {"what": f"{app}:/fast", "why": "tmpfs; it ends with the container"} in result["excluded"]
    again = good(export())
    assert [entry["bytes_added"] < 3000 for entry in again["volumes"]] == [True] * 3
    in_use = bring([entries[f"volumes/{volume}"]], existing="replace")
    assert in_use["failed"] and f"container {app} uses it" in in_use["msg"]
    docker("rm", "-fv", app)
    docker("volume", "rm", volume)
    docker.volumes.append(entries[f"{app}:/anonymous"]["volume"])
    folder = tmp_path / "back"
    folder.mkdir()
    targets = {str(tmp_path): {"path": str(folder)}}
    back = good(bring(result["volumes"], targets=targets, verify="tree"))
    assert all(entry["complete"] and entry["changed"] for entry in back["volumes"])
    assert docker.shell(volume, LOOK) == before
    assert os.getxattr(docker.root(volume) / "folder" / "text", "user.note") == b"\x00\xff"
    assert os.getxattr(docker.root(volume) / "folder" / "text", "security.capability") == CAPABILITY
    assert (folder / "conf").read_text(encoding="utf-8") == "setting"
    assert docker.shell(entries[f"{app}:/anonymous"]["volume"], "cat /data/file") == "here"
    labels = json.loads(docker("volume", "inspect", "-f", "{{json .Labels}}", volume))
    assert labels["team"] == "shop"
    same = good(bring([entries[f"volumes/{volume}"]]))
    assert not same["changed"] and same["volumes"][0]["complete"]
    assert docker.of_ours() == []


def test_restic_of_the_host_goes_on_with_what_a_container_began(docker: Docker, export: Run, bring: Run) -> None:
    volume, copy = docker.volume("data"), docker.volume("copy")
    docker.shell(volume, FILL + "head -c 2000000 /dev/urandom > random")
    docker.start("app", "-v", f"{volume}:/data")
    (first,) = good(export())["volumes"]
    (again,) = good(export(mover={"runs_in": "host"}, methods={"*": "paused"}))["volumes"]
    # Users have other names here than in the image, so that entries of folders are new.
    assert again["complete"] and again["files"] == first["files"] and again["bytes_added"] < 20_000
    targets = {again["name"]: {"volume": copy}}
    (back,) = good(bring([again], targets=targets, verify="tree", mover={"runs_in": "host"}))["volumes"]
    assert back["complete"] and docker.shell(copy, LOOK) == docker.shell(volume, LOOK)
    assert docker.of_ours() == []


@pytest.mark.nightly
@pytest.mark.parametrize("backend", [rest, sftp])
def test_movers_log_in_at_other_servers(
    docker: Docker, options: JSON, sites: tuple[Site, Site], export: Run, bring: Run, tmp_path: Path, backend: Backend
) -> None:
    volume, copy = docker.volume("data"), docker.volume("copy")
    docker.shell(volume, "echo content > /data/file")
    docker.start("app", "-v", f"{volume}:/data")
    with backend(sites[0], tmp_path) as place:
        options["repository"] = {key: options["repository"][key] for key in ("password_file", "restic")} | place
        good(run("repository", state="present", repository=options["repository"]))
        (taken,) = good(export())["volumes"]
        (again,) = good(export(mover={"runs_in": "host"}))["volumes"]
        assert again["bytes_added"] < 3000
        good(bring([taken], targets={taken["name"]: {"volume": copy}}))
    assert docker.shell(copy, "cat /data/file") == "content"


def test_what_holds_other_data_is_not_overwritten_unasked(docker: Docker, export: Run, bring: Run) -> None:
    volume, other = docker.volume("data"), docker.volume("other")
    docker.shell(volume, "echo good > /data/file")
    app = f"{docker.name}-app"
    docker.containers.append(app)
    docker("create", "--name", app, "-v", f"{volume}:/data", docker.image, "true")
    (entry,) = good(export())["volumes"]
    docker.shell(other, "echo precious > /data/mine")
    targets = {entry["name"]: {"volume": other}}
    refused = bring([entry], targets=targets)
    assert refused["failed"] and "holds data already (mine)" in refused["msg"]
    assert docker.shell(other, "cat /data/mine") == "precious"
    good(bring([entry], targets=targets, existing="replace", delete=False))
    assert docker.shell(other, "cat /data/mine /data/file") == "precious\ngood"
    docker.shell(other, "echo bad > /data/file")
    good(bring([entry], targets=targets, paths={entry["name"]: ["file"]}))
    assert docker.shell(other, "cat /data/mine /data/file") == "precious\ngood"
    good(bring([entry], targets=targets, existing="replace", verify="tree"))
    assert docker.shell(other, "ls /data") == "file"


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["stopped", "paused"])
def test_a_writer_stands_still_while_it_is_read_and_goes_on(
    docker: Docker, export: Run, bring: Run, method: str
) -> None:
    volume = docker.volume("data")
    app = docker.start("app", "-v", f"{volume}:/data", "--restart", "always", script=COUNT)
    wait_until(lambda: docker.lines(volume) > 10)
    result = good(export(methods={"*": method}))
    (entry,), (stopped,) = result["volumes"], result["stopped"]
    assert entry["method"] == result["consistency"]["mode"] == method
    assert stopped["name"] == f"containers/{app}" and stopped["seconds"] > 0 and not stopped["failed"]
    assert docker.state(app) == "running"
    now = docker.lines(volume)
    wait_until(lambda: docker.lines(volume) > now)
    copy = docker.volume("copy")
    good(bring([entry], targets={entry["name"]: {"volume": copy}}))
    numbers = docker.shell(copy, "cat /data/counter").split()
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert docker.of_ours() == []


@pytest.mark.nightly
def test_what_a_killed_run_left_standing_still_is_started_by_the_next(
    docker: Docker, export: Run, options: JSON
) -> None:
    volume = docker.volume("data")
    app = docker.start("app", "-v", f"{volume}:/data", script=COUNT)
    docker.shell(volume, "head -c 300000000 /dev/urandom > /data/large")
    run = ad_hoc("volume_export", exported(docker, options, methods={"*": "stopped"}))
    label = f"label=container-dr.muster.dev/application={docker.name}"
    wait_until(lambda: docker.state(app) == "exited" and docker("ps", "-q", "--filter", label) != "")
    kill(run)
    assert docker.state(app) == "exited"
    planned = good(export(check=True))
    assert planned["restarted"] == [app] and docker.state(app) == "exited"
    started = time.monotonic()
    result = good(export())
    assert result["restarted"] == [app] and time.monotonic() - started < 100
    assert docker.state(app) == "running" and docker.of_ours() == []


@pytest.mark.nightly
def test_a_stranger_that_writes_is_named_before_anything_is_touched(docker: Docker, export: Run) -> None:
    volume = docker.volume("data")
    app = docker.start("app", "-v", f"{volume}:/data")
    stranger = docker.start("stranger", "-v", f"{volume}:/elsewhere")
    since = docker("inspect", "-f", "{{.State.StartedAt}}", app)
    refused = export(methods={"*": "stopped"})
    assert refused["failed"] and f"container {stranger}, which is not of the application" in refused["msg"]
    assert docker("inspect", "-f", "{{.State.StartedAt}}", app) == since
    assert good(export())["volumes"][0]["complete"]
    assert docker.of_ours() == []


# -- streams ----------------------------------------------------------------------------------------------------------

SIZE = 200 << 20
ENDLESS = "touch /tmp/begun; while :; do head -c 1000000 /dev/urandom; sleep 0.1; done"


def stream(docker: Docker, command: str, back: str = "", **more: Any) -> JSON:
    found = {"name": "dump", "container": f"{docker.name}-app", "command": ["sh", "-c", command], **more}
    return {**found, "restore": {"command": ["sh", "-c", back]}} if back else found


def stored(docker: Docker, repository: JSON) -> list[JSON]:
    """The snapshots of the test's streams."""
    tag = f"application={docker.name}"
    found: list[JSON] = json.loads(restic(repository, "snapshots", "--json", "--tag", tag))
    return found


@pytest.mark.nightly
def test_what_a_command_prints_comes_back_as_the_input_of_another(
    docker: Docker, export: Run, bring: Run, repository: JSON
) -> None:
    app = docker.start("app", "--label", "com.docker.compose.project=p", "--label", "com.docker.compose.service=db")
    digest = docker("exec", app, "sh", "-c", f"head -c {SIZE} /dev/urandom > /tmp/dump; sha256sum < /tmp/dump")
    dump = stream(docker, "cat /tmp/dump; echo done >&2", "sha256sum > /tmp/digest", user="0")
    result = good(export(application={"streams": [dump]}, point="p1"))
    (entry,) = result["volumes"]
    assert (entry["name"], entry["bytes"], entry["complete"]) == ("streams/dump", SIZE, True)
    # Without us.
    command = [repository["restic"], "--no-cache", "dump", entry["snapshot"], "/dump"]
    printed = subprocess.run(command, env=environment(repository), capture_output=True, check=True).stdout
    assert f"{hashlib.sha256(printed).hexdigest()}  -" == digest
    by_service = {**dump, "service": "db"}
    del by_service["container"]
    again = good(export(application={"streams": [by_service]}))["volumes"][0]
    assert again["bytes_added"] < 100_000 and again["project"] == "p"
    (done,) = good(bring([entry]))["volumes"]
    assert (done["complete"], done["bytes"]) == (True, SIZE)
    assert docker("exec", app, "cat", "/tmp/digest") == digest
    docker("exec", app, "rm", "/tmp/digest")
    (done,) = good(bring([again]))["volumes"]
    assert done["complete"] and docker("exec", app, "cat", "/tmp/digest") == digest
    # One that fails is a failure, is heard of at once, and so is one that is not there.
    for end, code in (("head -c 1000 > /dev/null; exit 4", 4), ("exit 5", 5), ("exec /bin/nonsense", 127)):
        refused = bring([entry], streams=[stream(docker, "true", end)])
        assert refused["failed"] and f"exit code {code}" in refused["msg"], refused["msg"]
    assert docker.of_ours() == []


def test_a_command_that_does_not_end_well_leaves_no_snapshot(docker: Docker, export: Run, repository: JSON) -> None:
    docker.start("app")
    for command, more, words in (
        ("head -c 20000000 /dev/urandom; echo 'no such table' >&2; exit 3", {}, "exit code 3 and said: no such table"),
        ("exit 0", {}, "printed nothing"),
        ("echo half; sleep 600", {"stall_timeout": "3s"}, "no data moved for 3 seconds"),
        ("echo rows", {"user": "nobody-knows"}, "nobody-knows"),
    ):
        result = export(application={"streams": [stream(docker, command, **more)]})
        assert result["failed"] and words in result["msg"], result["msg"]
    assert stored(docker, repository) == []


@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["container", "task"])
def test_what_is_killed_halfway_leaves_no_snapshot(
    docker: Docker, options: JSON, repository: JSON, victim: str
) -> None:
    app = docker.start("app")
    run = ad_hoc("volume_export", exported(docker, options, application={"streams": [stream(docker, ENDLESS)]}))
    wait_until(lambda: "begun" in docker("exec", app, "ls", "/tmp"))
    if victim == "task":
        kill(run)
        time.sleep(5)
    else:
        docker("kill", app)
        result = result_of(run)
        assert result["failed"] and "streams/dump" in result["msg"], result["msg"]
    assert stored(docker, repository) == []


def test_a_container_that_does_not_run_is_named(docker: Docker, export: Run) -> None:
    app = docker.start("app", script="true")
    wait_until(lambda: docker.state(app) == "exited")
    result = export(application={"streams": [stream(docker, "echo rows")]})
    assert result["failed"] and f"container {app} does not run ({app} is exited)" in result["msg"], result["msg"]
