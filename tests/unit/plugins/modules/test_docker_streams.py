# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams of Docker hosts, through both modules' own main: an engine that runs commands, and the real restic."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes import certificates
from fakes.docker_engine import FakeEngine, mount
from fakes.real_restic import RESTIC, Bed, real

from ansible_collections.muster.container_dr.plugins.module_utils._docker import client
from ansible_collections.muster.container_dr.plugins.module_utils._volume import settings
from ansible_collections.muster.container_dr.plugins.modules import volume_export, volume_import

JSON = dict[str, Any]
Runner = Callable[..., JSON]
MIB = 1 << 20
COMPOSE = "com.docker.compose"
# What the ssh program of this machine would start on the other one.
DIAL = """#!{python}
import os, socket, sys, threading
assert sys.argv[1:] == ["-l", "ops", "-p", "22", "--", "dock", "docker system dial-stdio"], sys.argv
line = socket.socket(socket.AF_UNIX)
line.connect({socket!r})
def there():
    while data := os.read(0, 65536):
        line.sendall(data)
    line.shutdown(socket.SHUT_WR)
threading.Thread(target=there, daemon=True).start()
while data := line.recv(65536):
    while data:
        data = data[os.write(1, data):]
os._exit(0)
"""

pytestmark = real


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        compose(fake, "shop-db-1")
        yield fake


@pytest.fixture
def run(bed: Bed, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(main: Callable[[], None], fake: FakeEngine, check: bool = False, **options: Any) -> JSON:
        docker = {"docker_host": fake.docker_host}
        arguments = {"docker": docker, "repository": bed.options, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            main()
        result: JSON = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.fixture
def export(run: Runner, engine: FakeEngine) -> Runner:
    def call(*streams: JSON, **options: Any) -> JSON:
        application = {"name": "shop", "compose_projects": ["shop"], "streams": list(streams)}
        application |= options.pop("application", {})
        return run(volume_export.main, options.pop("fake", engine), site="dock", application=application, **options)

    return call


@pytest.fixture
def bring(run: Runner, engine: FakeEngine) -> Runner:
    def call(volumes: list[JSON], **options: Any) -> JSON:
        return run(volume_import.main, options.pop("fake", engine), application="shop", volumes=volumes, **options)

    return call


def compose(fake: FakeEngine, name: str, *mounts: JSON, state: str = "running", **labels: str) -> str:
    """A container of the service ``db`` of the project ``shop``."""
    given = {f"{COMPOSE}.project": "shop", f"{COMPOSE}.service": "db", f"{COMPOSE}.oneoff": "False"}
    more = {f"{COMPOSE}.{key}": value for key, value in labels.items()}
    return fake.has(name, *mounts, state=state, labels={**given, **more})


def dump(script: str, back: str = "", **more: Any) -> JSON:
    restore = {"restore": {"command": ["sh", "-c", back]}} if back else {}
    return {"name": "ledger", "service": "db", "command": ["sh", "-c", script], **restore, **more}


def noise(place: Path, size: int = 3 * MIB) -> bytes:
    data = random.Random(6).randbytes(size)
    place.write_bytes(data)
    return data


def nothing_kept(bed: Bed) -> bool:
    return not json.loads(bed.restic("snapshots", "--json").stdout) and not bed.locks()


def dumped(bed: Bed, volume: JSON) -> bytes:
    """As an operator without us gets at it."""
    command = [RESTIC or "restic", "--no-cache", "dump", volume["snapshot"], f"/{volume['filename']}"]
    return subprocess.run(command, env=bed.environment, check=True, capture_output=True).stdout


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def asked(fake: FakeEngine) -> list[list[str]]:
    """The commands themselves, without the shell around them and the look for one."""
    return [one["Cmd"][4:] for one in fake.execs if one["Cmd"][4:]]


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["unix", "tls", "ssh"])
def reached(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FakeEngine, JSON]]:
    """An engine by each of the ways to it, and the options that say so."""
    context, options = None, {}
    if request.param == "tls":
        ours, theirs = certificates.certificate(tmp_path, "cert"), certificates.certificate(tmp_path, "ca")
        context = certificates.server(*theirs, clients=ours[0])
        options = {"validate_certs": True, "ca_path": str(theirs[0])}
        options |= {"client_cert": str(ours[0]), "client_key": str(ours[1])}
    with FakeEngine(tls=context) as fake:
        compose(fake, "shop-db-1")
        if request.param == "ssh":
            program = tmp_path / "bin" / "ssh"
            program.parent.mkdir()
            socket = fake.docker_host.removeprefix("unix://")
            program.write_text(DIAL.format(python=sys.executable, socket=socket))
            program.chmod(0o755)
            monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
            # The SDK wants a package for it that is not among ours.
            monkeypatch.setattr(client.Engine, "_url", lambda _engine: "ssh://ops@dock:22")
        yield fake, {"docker": {"docker_host": fake.docker_host, **options}}


def test_what_a_command_prints_comes_back_as_the_input_of_another(
    reached: tuple[FakeEngine, JSON], export: Runner, bring: Runner, bed: Bed, tmp_path: Path
) -> None:
    fake, options = reached
    data, target = noise(tmp_path / "data"), tmp_path / "back"
    # Both print more than any buffer holds while they have something else to do.
    script = f"head -c 300000 /dev/zero >&2; cat {tmp_path}/data; cat"
    stream = dump(script, f"head -c 1000000 /dev/zero; cat > {target}; echo done", user="postgres")
    result = export(stream, fake=fake, point="p1", **options)
    assert result["changed"] and not result.get("failed"), result
    (entry,) = result["volumes"]
    assert (entry["name"], entry["kind"], entry["method"]) == ("streams/ledger", "stream", "stream")
    assert (entry["files"], entry["bytes"], entry["complete"]) == (1, 3 * MIB, True)
    assert (entry["host"], entry["container"], entry["project"]) == ("docker:dock/streams/ledger", "shop-db-1", "shop")
    assert entry["restore"] == {
        "command": stream["restore"]["command"],
        "service": "db",
        "user": "postgres",
        "timeout": 14400.0,
        "stall_timeout": 600.0,
        "wait_timeout": 300.0,
    }
    assert result["consistency"] == {"point": entry["consistency_point"], "skew_seconds": 0.0, "mode": "per_volume"}
    found = bed.opened.snapshot(entry["snapshot"])
    assert (found.host, found.tree) == (entry["host"], entry["tree"])
    assert set(found.tags) == {"muster", "application=shop", "point=p1"}
    assert dumped(bed, entry) == data and not bed.locks() and not fake.left()
    # An engine drops what is not taken when a command has ended; so it had not.
    assert fake.held == [True]
    (done,) = bring([entry], fake=fake, **options)["volumes"]
    assert (done["name"], done["complete"], done["bytes"]) == ("streams/ledger", True, 3 * MIB), done
    assert target.read_bytes() == data
    assert asked(fake) == [stream["command"], stream["restore"]["command"]]
    assert {one["User"] for one in fake.execs} == {"postgres"} and not any(one["Tty"] for one in fake.execs)


# -- into the repository ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo rows; echo 'no such table' >&2; echo PGPASSWORD=s3cret-word >&2; exit 3",
            "exit code 3 and said: no such",
        ),
        (":", "printed nothing"),
        ("exec /bin/nonsense", "ended with exit code 127"),
        ("echo rows; kill -9 $$", "ended with exit code 137"),
    ],
    ids=["fails", "empty", "never-ran", "killed"],
)
def test_what_does_not_end_well_leaves_no_snapshot(export: Runner, bed: Bed, script: str, words: str) -> None:
    result = export(dump(script))
    assert result["failed"] and result["failed_volumes"] == ["streams/ledger"]
    (entry,) = result["volumes"]
    assert "stream streams/ledger" in entry["msg"] and words in entry["msg"], entry["msg"]
    assert "s3cret-word" not in json.dumps({**result, "invocation": None})
    assert not entry["complete"] and entry["snapshot"] is None and nothing_kept(bed)


def test_what_the_engine_dropped_is_no_snapshot(export: Runner, engine: FakeEngine, bed: Bed, tmp_path: Path) -> None:
    """Its exit code is 0 all the same."""
    noise(tmp_path / "data")
    engine.loses = MIB
    result = export(dump(f"cat {tmp_path}/data"))
    assert result["failed"] and "was cut off on the way" in result["msg"] and nothing_kept(bed)
    assert engine.execs[1]["ExitCode"] == 0


@pytest.mark.parametrize("forgets", [False, True], ids=["cut", "started-again"])
def test_a_connection_that_breaks_is_no_end(
    export: Runner, engine: FakeEngine, bed: Bed, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    monkeypatch.setattr(client, "_SETTLE", 0.2)
    engine.breaks = 100_000
    engine.refuses = {"exec1/json": 404} if forgets else {}
    result = export(dump("head -c 1000000 /dev/zero"))
    assert result["failed"] and "the connection broke before the command ended" in result["msg"] and nothing_kept(bed)


def test_a_container_that_is_killed_halfway_leaves_no_snapshot(export: Runner, engine: FakeEngine, bed: Bed) -> None:
    def kill() -> None:
        until(lambda: len(engine.processes) == 2)
        os.killpg(engine.processes[1].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = export(dump("echo rows; sleep 1000"))
    killer.join()
    assert result["failed"] and "ended with exit code 137" in result["msg"] and nothing_kept(bed)


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"stall_timeout": "300ms"}, "no data moved for 0.3 seconds"), ({"timeout": "2s"}, "not end within 2 seconds")],
)
def test_a_command_that_hangs_is_given_up(export: Runner, bed: Bed, limit: JSON, words: str) -> None:
    result = export(dump("echo half; sleep 1000", **limit))
    assert result["failed"] and words in result["volumes"][0]["msg"] and nothing_kept(bed)


def test_without_a_shell_nobody_could_tell(export: Runner, engine: FakeEngine, bed: Bed) -> None:
    engine.lacks = {"sh"}
    result = export(dump("echo rows"))
    assert result["failed"] and nothing_kept(bed)
    assert "container shop-db-1 runs no shell (sh): OCI runtime exec failed" in result["msg"]


def test_a_killed_module_leaves_no_snapshot(engine: FakeEngine, bed: Bed) -> None:
    application = {"name": "shop", "compose_projects": ["shop"], "streams": [dump("echo rows; sleep 1000")]}
    arguments = {"docker": {"docker_host": engine.docker_host}, "repository": bed.options, "site": "dock"}
    given = {**arguments, "application": application}
    program = (
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.muster.container_dr.plugins.modules import volume_export\n"
        f"with patch_module_args({given!r}): volume_export.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as module:
        until(lambda: len(engine.processes) == 2)
        until(bed.locks)
        (lock,) = bed.locks()
        holder = Path("/proc", str(bed.opened.lock(lock)["pid"]))
        module.send_signal(signal.SIGKILL)
    until(lambda: not holder.exists())
    assert not bed.opened.snapshots()


def test_sigterm_ends_it_and_leaves_no_snapshot(export: Runner, engine: FakeEngine, bed: Bed) -> None:
    def end() -> None:
        until(lambda: len(engine.processes) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    ender = threading.Thread(target=end)
    ender.start()
    result = export(dump("echo half; sleep 1000"))
    ender.join()
    assert result["failed"] and "SIGTERM" in result["msg"] and nothing_kept(bed) and not settings.ENDING.is_set()


# -- in which container, and when -------------------------------------------------------------------------------------


def test_of_the_containers_of_a_service_a_healthy_one_goes_first(export: Runner, engine: FakeEngine) -> None:
    compose(engine, "shop-db-0", oneoff="True")
    compose(engine, "shop-db-3")
    compose(engine, "shop-db-2")
    compose(engine, "shop-web-1", service="web")
    compose(engine, "blog-db-1", project="blog")
    engine.by_name("shop-db-1")["Health"] = "unhealthy"
    engine.by_name("shop-db-2")["Health"] = "healthy"
    assert export(dump("echo rows"))["volumes"][0]["container"] == "shop-db-2"
    named = {"name": "ledger", "container": "shop-db-3", "command": ["echo"]}
    assert export(named)["volumes"][0]["container"] == "shop-db-3"
    both = {"compose_projects": ["shop", "blog"]}
    refused = export(dump("echo rows"), application=both)
    assert refused["failed"] and "one in each of the projects blog, shop. Write it as PROJECT/SERVICE" in refused["msg"]
    assert export(dump("echo rows", service="blog/db"), application=both)["volumes"][0]["container"] == "blog-db-1"


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ({"service": "db"}, "service db does not run (shop-db-1 is paused). Start it."),
        ({"service": "cache"}, "the application has no service cache on Docker at"),
        ({"container": "blog-db-1"}, "the application has no container blog-db-1 on Docker at"),
        ({}, "it needs either 'container' or 'service'"),
        ({"service": "db", "container": "x"}, "it needs either 'container' or 'service'"),
        ({"service": "shop/"}, "service is 'shop/'"),
        ({"service": "db", "selector": "app=db"}, "unknown key 'selector'"),
        ({"service": "db", "restore": {"command": ["x"], "namespace": "y"}}, "unknown key 'namespace'"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_touched(
    export: Runner, engine: FakeEngine, stream: JSON, words: str
) -> None:
    engine.has("blog-db-1", mount("data"))
    engine.by_name("shop-db-1")["State"] = "paused"
    result = export({"name": "ledger", "command": ["x"], **stream})
    assert result["failed"] and words in result["msg"], result["msg"]
    assert not engine.events and not engine.execs


def test_streams_are_read_before_anything_stands_still(export: Runner, engine: FakeEngine, bed: Bed) -> None:
    engine.built("mover:1")
    engine.by_name("shop-db-1").update(Mounts=[mount("data")])
    engine.volume("data")

    def mover(body: JSON, _files: dict[str, bytes]) -> tuple[int, str]:
        words = body["Entrypoint"]
        made = bed.backup("data", host=words[words.index("--host") + 1], tags=["muster"])
        summary = {"snapshot_id": made.id, "total_files_processed": 1, "total_bytes_processed": 5}
        return 0, f"summary {json.dumps(summary)}"

    engine.mover = mover
    options = {"mover": {"image": "mover:1"}, "methods": {"*": "stopped"}}
    refused = export(dump("echo rows"), **options)
    assert "which movers can not reach" in refused["msg"] and not engine.execs
    reachable = {**bed.options, "volume": {"hostPath": {"path": "/srv/repository"}}}
    result = export(dump("echo rows"), repository=reachable, **options)
    assert [(one["name"], one["complete"]) for one in result["volumes"]] == [
        ("volumes/data", True),
        ("streams/ledger", True),
    ], result
    happened = [event for event in engine.events if event.endswith("shop-db-1")]
    assert happened == ["exec shop-db-1", "exec shop-db-1", "stop shop-db-1", "start shop-db-1"]
    assert result["consistency"]["mode"] == "per_volume"
    lived = export(dump("exit 1"), repository=reachable, mover={"image": "mover:1"})
    assert [(one["name"], one["failed"]) for one in lived["volumes"]] == [
        ("volumes/data", False),
        ("streams/ledger", True),
    ]
    assert lived["failed"] and lived["consistency"]["mode"] == "live"


def test_cut_and_move_in_two_calls_and_check_mode(export: Runner, engine: FakeEngine, bed: Bed) -> None:
    stream = dump("echo rows", "cat")
    planned = export(stream, check=True)
    assert planned["changed"] and "is what sh prints in service db" in planned["volumes"][0]["msg"]
    cut = export(stream, phase="cut")
    assert not cut["changed"] and not engine.execs
    engine.by_name("shop-db-1")["State"] = "exited"
    later = threading.Timer(0.2, engine.by_name("shop-db-1").update, [{"State": "running"}])
    later.start()
    moved = export(phase="move", cuts=json.loads(json.dumps(cut["cuts"])))
    later.join()
    (entry,) = moved["volumes"]
    assert entry["complete"] and entry["restore"] and dumped(bed, entry) == b"rows\n"
    broken = export(phase="move", cuts=[{**cut["cuts"][0], "stream": {}}])
    assert broken["failed"] and "not what phase cut returned" in broken["msg"]


# -- and back ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken(export: Runner, tmp_path: Path) -> list[JSON]:
    noise(tmp_path / "data")
    volumes: list[JSON] = export(dump(f"cat {tmp_path}/data", f"cat > {tmp_path}/back"))["volumes"]
    return volumes


def taking(script: str, **more: Any) -> list[JSON]:
    return [dump("true", restore={"command": ["sh", "-c", script], **more})]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("cat > /dev/null; echo relation exists >&2; exit 1", "ended with exit code 1 and said: relation exists"),
        ("head -c 100000 > /dev/null; exit 5", "ended with exit code 5"),
        ("exit 4", "ended with exit code 4"),
    ],
    ids=["fails", "fails-halfway", "fails-at-once"],
)
@pytest.mark.parametrize("shell", [True, False], ids=["shell", "no-shell"])
def test_a_command_that_does_not_take_it_fails_the_restore(
    bring: Runner, engine: FakeEngine, bed: Bed, taken: list[JSON], script: str, words: str, shell: bool, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    engine.lacks = set() if shell else {"sh"}
    result = bring(taken, streams=taking("", command=[str(program)]))
    assert not bed.locks()
    assert result["failed"] and words in result["msg"], result["msg"]
    assert "may hold part of it" in result["msg"] or script == "exit 4"
    assert "muster-" not in result["msg"].partition("said: ")[2]
    assert not result["volumes"][0]["complete"] and result["volumes"][0]["failed"]


def test_a_command_that_is_content_with_a_part_fails_the_restore(
    bring: Runner, export: Runner, bed: Bed, tmp_path: Path
) -> None:
    noise(tmp_path / "data", 40 * MIB)
    taken = export(dump(f"cat {tmp_path}/data", "head -c 1000 > /dev/null"))["volumes"]
    result = bring(taken)
    assert result["failed"] and f"bytes, recorded were {40 * MIB}. Does the command read" in result["msg"]
    assert not bed.locks()


def test_a_container_without_a_shell_is_given_it_as_well(
    bring: Runner, engine: FakeEngine, taken: list[JSON], tmp_path: Path
) -> None:
    engine.lacks = {"sh"}
    back = [dump("true", restore={"command": ["tee", str(tmp_path / "back")]})]
    assert bring(taken, streams=back)["volumes"][0]["complete"]
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data").read_bytes()


def test_a_connection_that_breaks_fails_the_restore(
    bring: Runner, engine: FakeEngine, taken: list[JSON], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SETTLE", 0.2)
    engine.breaks = 0
    result = bring(taken, streams=taking("echo begun; cat > /dev/null"))
    assert result["failed"] and "the connection broke before the command ended" in result["msg"], result["msg"]


def test_it_goes_to_the_project_that_it_came_from_unless_it_is_said_otherwise(
    bring: Runner, engine: FakeEngine, taken: list[JSON], tmp_path: Path
) -> None:
    compose(engine, "blog-db-1", project="blog")
    engine.by_name("shop-db-1")["State"] = "exited"
    hurried = {"wait_timeout": "10ms"}
    result = bring(taken, streams=taking("cat > /dev/null", **hurried))
    assert result["failed"] and "service shop/db does not run (shop-db-1 is exited) after 0.01 seconds" in result["msg"]
    elsewhere = bring(taken, streams=taking(f"cat > {tmp_path}/there", service="blog/db"))
    assert elsewhere["volumes"][0]["complete"] and len((tmp_path / "there").read_bytes()) == 3 * MIB
    assert engine.execs[-1]["container"]["Names"] == ["/blog-db-1"]
    unknown = bring([{**taken[0], "project": None}])
    assert unknown["failed"] and "the point does not say of which project" in unknown["msg"]
    named = bring(taken, streams=taking("cat > /dev/null", container="blog-db-1"))
    assert named["volumes"][0]["complete"]


def test_it_waits_for_a_healthy_container_and_takes_a_running_one_when_the_time_is_over(
    bring: Runner, engine: FakeEngine, taken: list[JSON]
) -> None:
    engine.by_name("shop-db-1")["Health"] = "starting"
    later = threading.Timer(0.5, compose, [engine, "shop-db-2"])
    later.start()
    assert bring(taken)["volumes"][0]["complete"]
    later.join()
    assert engine.execs[-1]["container"]["Names"] == ["/shop-db-2"]
    engine.containers.pop()
    assert bring(taken, streams=taking("cat > /dev/null", wait_timeout="10ms"))["volumes"][0]["complete"]


def test_kinds_and_check_mode_and_what_is_kept(bring: Runner, engine: FakeEngine, taken: list[JSON]) -> None:
    engine.execs.clear()
    assert bring(taken, kinds=["volumes"])["volumes"] == []
    planned = bring(taken, check=True)
    assert planned["changed"] and "is given to sh in service shop/db" in planned["volumes"][0]["msg"]
    kept = bring(taken, existing="keep")
    assert not kept["changed"] and kept["volumes"][0]["msg"] == "what is there is kept"
    skipped = bring([{**taken[0], "restore": None}])
    assert skipped["volumes"][0]["skipped"] and f"restic dump {taken[0]['snapshot']} /ledger" in skipped["msg"] + str(
        skipped["warnings"]
    )
    lost = bring([{**taken[0], "snapshot": "f" * 64, "tree": "e" * 64}])
    assert lost["failed"] and "is not in repository" in lost["msg"] and lost["volumes"][0]["failed"]
    mixed = bring([*taken, {"kind": "pvc", "name": "shop/data", "namespace": "shop"}])
    assert mixed["failed"] and "shop/data is of a cluster" in mixed["msg"]
    assert not engine.execs
