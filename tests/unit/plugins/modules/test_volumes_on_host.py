# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Movers of a Docker host without a container: the real restic of this machine, below mounts of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import certificates
from fakes.docker_engine import FakeEngine, mount
from fakes.modules import call
from fakes.real_restic import RESTIC, Bed, real
from fakes.rest_server import FakeRest

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import host as engine_s_host
from ansible_collections.muster.container_dr.plugins.modules import volume_export, volume_import

JSON = dict[str, Any]
Run = Callable[..., JSON]
pytestmark = [real, pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where movers have their root directories."""
    place = tmp_path / "room"
    place.mkdir()
    monkeypatch.setattr(engine_s_host, "_ROOM", str(place))
    return place


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    (tmp_path / "docker").mkdir()
    with FakeEngine(root=str(tmp_path / "docker")) as fake:
        fake.has("app", mount("data"))
        yield fake


def given(engine: FakeEngine, bed: Bed, **more: Any) -> JSON:
    return {
        "docker": {"docker_host": engine.docker_host},
        "repository": bed.options,
        "mover": {"runs_in": "host"},
    } | more


@pytest.fixture
def export(engine: FakeEngine, bed: Bed) -> Run:
    def run(*, fails: str = "", **more: Any) -> JSON:
        application = {"name": "shop", "containers": ["app*"]}
        return call(volume_export, fails=fails, site="dock", application=application, **given(engine, bed, **more))

    return run


@pytest.fixture
def bring(engine: FakeEngine, bed: Bed) -> Run:
    def run(exported: JSON, *, fails: str = "", **more: Any) -> JSON:
        entries = exported["volumes"]
        return call(volume_import, fails=fails, application="shop", volumes=entries, **given(engine, bed, **more))

    return run


def root(engine: FakeEngine, volume: str) -> Path:
    return Path(engine.volumes[volume]["Mountpoint"])


def fill(place: Path) -> None:
    place.mkdir(exist_ok=True)
    (place / "text").write_text("text")
    os.chown(place / "text", 1001, 1002)
    (place / "text").chmod(0o4751)
    os.link(place / "text", place / "hard")
    (place / "link").symlink_to("text")
    os.mkfifo(place / "pipe")
    place.chmod(0o1770)


def look(place: Path) -> list[tuple[object, ...]]:
    """All that :func:`fill` sets."""
    found = [(one.relative_to(place), one.lstat()) for one in sorted([place, *place.rglob("*")])]
    return [(path, has.st_mode, has.st_uid, has.st_gid, has.st_nlink, has.st_mtime_ns) for path, has in found]


def wrapped(tmp_path: Path, first: str) -> str:
    """A restic that does something before, when it works in the place of a mover."""
    program = tmp_path / "restic"
    program.write_text(f'#!/bin/sh\nif [ -e /volume/data ]; then {first}\nfi\nexec {RESTIC} "$@"\n')
    program.chmod(0o755)
    return str(program)


def mounted() -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if "muster-mover" in line]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_volumes_and_folders_go_out_and_back_without_a_container(
    export: Run, bring: Run, engine: FakeEngine, tmp_path: Path, room: Path
) -> None:
    fill(root(engine, "data"))
    fill(tmp_path / "files")
    engine.has("app-files", mount(str(tmp_path / "files")))
    before = [look(root(engine, "data")), look(tmp_path / "files")]
    exported = export()
    assert [(one["complete"], one["files"]) for one in exported["volumes"]] == [(True, 2)] * 2
    engine.containers.clear()
    del engine.volumes["data"]
    (tmp_path / "docker" / "volumes").rename(tmp_path / "gone")
    (tmp_path / "back").mkdir()
    restored = bring(exported, targets={str(tmp_path / "files"): {"path": str(tmp_path / "back")}}, verify="tree")
    assert [(one["complete"], one["files"]) for one in restored["volumes"]] == [(True, 2)] * 2
    assert [look(root(engine, "data")), look(tmp_path / "back")] == before
    assert not engine.movers and not list(room.iterdir()) and not mounted()


def test_it_goes_on_with_what_a_container_has_backed_up(export: Run, engine: FakeEngine, bed: Bed) -> None:
    """The paths in both snapshots are those in a container: without that nothing would be found unchanged."""
    (root(engine, "data") / "large").write_bytes(os.urandom(300_000))
    first, second = export()["volumes"][0], export()["volumes"][0]
    assert first["bytes_added"] > 300_000 and second["bytes_added"] == 0 and second["tree"] == first["tree"]
    assert json.loads(bed.restic("snapshots", "--json").stdout)[0]["paths"] == ["/volume/data"]


def test_what_is_read_cannot_be_written(export: Run, engine: FakeEngine, bed: Bed, tmp_path: Path) -> None:
    bed.options["restic"] = wrapped(tmp_path, "touch /volume/data/mine 2>&1")
    (root(engine, "data") / "text").write_text("text")
    assert export()["volumes"][0]["complete"]
    assert [one.name for one in root(engine, "data").iterdir()] == ["text"]


def test_what_it_cannot_read_or_reach_is_said(export: Run, bring: Run, engine: FakeEngine, bed: Bed) -> None:
    exported = export()
    (root(engine, "data") / "other").write_text("other")
    bring(exported, fails="volume data")
    engine.containers.clear()
    bring(exported, fails="it holds data already (other)")
    exported["volumes"][0]["files"] = 7
    bring(exported, fails="7", existing="replace")


def test_a_mover_ends_with_a_module_that_is_killed(engine: FakeEngine, bed: Bed, tmp_path: Path, room: Path) -> None:
    bed.options["restic"] = wrapped(tmp_path, "echo $$ > /tmp/holder; exec sleep 1000")
    application = {"name": "shop", "containers": ["app*"]}
    program = (
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.muster.container_dr.plugins.modules import volume_export\n"
        "from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import host\n"
        f"host._ROOM = {str(room)!r}\n"
        f"with patch_module_args({given(engine, bed, site='dock', application=application)!r}): volume_export.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as module:
        try:
            until(lambda: [one for one in room.glob("*/tmp/holder") if one.read_text().strip()])
            holder = Path("/proc", next(room.glob("*/tmp/holder")).read_text().strip())
            assert holder.exists()
        finally:
            module.kill()
    until(lambda: not holder.exists() and not list(room.iterdir()))


def test_an_engine_that_is_elsewhere_is_refused(bed: Bed, export: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "docker").rename(tmp_path / "docker-of-another-machine")
    export(fails="that is not the engine's own machine")
    ours, theirs = certificates.certificate(tmp_path, "cert"), certificates.certificate(tmp_path, "ca")
    with FakeEngine(tls=certificates.server(*theirs, clients=ours[0]), root=str(tmp_path)) as fake:
        fake.has("app", mount("data"))
        docker = {"docker_host": fake.docker_host, "validate_certs": True, "ca_path": str(theirs[0])}
        docker |= {"client_cert": str(ours[0]), "client_key": str(ours[1])}
        export(docker=docker, fails="that is not the engine's own machine")


@pytest.mark.parametrize("mode", ["rootless", "userns"])
def test_an_engine_that_maps_user_ids_is_refused(export: Run, engine: FakeEngine, mode: str) -> None:
    engine.security = ["name=seccomp,profile=builtin", f"name={mode}"]
    export(fails=f"its containers have other user ids than the host ({mode})")


def test_without_root_or_the_programs_it_is_refused(
    export: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bed: Bed
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        export(fails="the task does not run as root. Set become: true.")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("stat", "chroot", "base64"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    export(fails="the host lacks unshare, mount, umount, mountpoint")


def test_a_host_that_lets_nobody_mount_is_refused(
    export: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, room: Path
) -> None:
    program = tmp_path / "bin" / "unshare"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    export(fails="could not be given its place there: unshare: unshare failed: Operation not permitted")
    assert not list(room.iterdir())


@pytest.mark.parametrize(
    ("driver", "options"), [("local", {"type": "nfs", "o": "addr=nas", "device": ":/export"}), ("convoy", {})]
)
def test_what_is_mounted_for_containers_only_is_refused(
    export: Run, engine: FakeEngine, driver: str, options: JSON
) -> None:
    engine.volumes["data"] |= {"Driver": driver, "Options": options}
    export(fails="its driver mounts it only while a container uses it")


def test_what_cannot_be_reached_was_not_restored_already(export: Run, bring: Run, engine: FakeEngine) -> None:
    exported = export()
    exported["volumes"][0]["driver"] = "convoy"
    engine.containers.clear()
    del engine.volumes["data"]
    (Path(engine.root) / "volumes").rename(Path(engine.root) / "gone")
    for _attempt in (1, 2):
        bring(exported, fails="its driver mounts it only while a container uses it")


def test_what_is_no_data_or_not_there_is_said(
    export: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("door")
    engine.containers.clear()
    engine.has("app", mount(str(tmp_path / "door")))
    export(fails="it is a socket of the host, which holds no data. Exclude it")
    (tmp_path / "door").unlink()
    export(fails=f"folder {tmp_path / 'door'}: the host does not have it")


def test_what_is_unmounted_meanwhile_is_no_empty_volume(
    export: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.volumes["data"] |= {"Driver": "convoy"}
    monkeypatch.setattr(os.path, "ismount", lambda _path: True)
    export(fails="it is mounted only while a container uses it")


def test_a_cluster_has_no_such_movers(bed: Bed) -> None:
    application = {"name": "shop", "namespaces": ["shop"]}
    options = {"repository": bed.options, "mover": {"runs_in": "host"}, "site": "east"}
    call(volume_export, fails="the volumes are of a cluster", application=application, **options)


def test_a_server_that_wants_a_login_gets_it_from_movers_too(
    export: Run, bring: Run, engine: FakeEngine, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "canary '\"$HOME\n"
    # Of another one, which must not be mixed with it.
    monkeypatch.setenv("RESTIC_REST_USERNAME", "of-the-task")
    fill(root(engine, "data"))
    before = look(root(engine, "data"))
    with FakeRest(("backup", word)) as server:
        login = {"RESTIC_REST_USERNAME": "backup", "RESTIC_REST_PASSWORD": word}
        repository = {**bed.options, "url": server.url, "environment": login}
        Repository.open(repository).init()
        exported = export(repository=repository)
        engine.containers.clear()
        shutil.rmtree(root(engine, "data"))
        root(engine, "data").mkdir()
        bring(exported, repository=repository, verify="tree")
    assert look(root(engine, "data")) == before
    assert len(set(server.asked)) == 1 and "canary '" not in json.dumps(exported)
