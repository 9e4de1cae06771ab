# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes of a Docker host: both modules' own main and the real SDK against an engine on a socket."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.docker_engine import ROOT, FakeEngine, mount
from fakes.restic_program import ResticProgram
from fakes.storage import digest, stored

from ansible_collections.muster.container_dr.plugins.module_utils._core import liveness
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import ledger, volumes
from ansible_collections.muster.container_dr.plugins.modules import volume_export, volume_import

JSON = dict[str, Any]
Run = Callable[..., JSON]
CANARY = "canary-password"
ANONYMOUS = "ab" * 32
RECORD, RUN, APPLICATION = (f"container-dr.muster.dev/{name}" for name in ("record", "run", "application"))
LONG_AGO = "2026-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        fake.built("mover:1")
        yield fake


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    names = ("volumes/data", "volumes/logs", "db:/lib", "/srv/files", "/srv/files/sub")
    program.answer("snapshots", [stored(f"docker:dock/{name}") for name in names])
    return program


@pytest.fixture
def call(engine: FakeEngine, restic: ResticProgram, capsys: pytest.CaptureFixture[str]) -> Callable[..., JSON]:
    def run(module: ModuleType, check: bool, given: JSON) -> JSON:
        repository = {"url": "s3:http://192.0.2.1:9/b/r", "password": CANARY, "restic": str(restic.path)}
        repository |= {"access_key": "known", "secret_key": CANARY, **given.pop("repository", {})}
        arguments = {
            "docker": {"docker_host": engine.docker_host},
            "repository": repository,
            "mover": {"image": "mover:1", **given.pop("mover", {})},
            "workers": 1,
            "_ansible_check_mode": check,
            **given,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: JSON = json.loads(capsys.readouterr().out)
        assert CANARY not in json.dumps({**result, "invocation": None})
        assert CANARY not in json.dumps(engine.movers) and not any(CANARY in line for line in restic.calls)
        return result

    return run


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.muster.container_dr.plugins.module_utils._restic.s3_probe.probe", _nothing)


def _nothing(*_args: Any) -> None:
    return None


@pytest.fixture
def export(call: Callable[..., JSON]) -> Run:
    def run(check: bool = False, **options: Any) -> JSON:
        application = {"name": "shop", "containers": ["app*", "db"], "allow_no_match": True}
        application |= options.pop("application", {})
        return call(volume_export, check, {"site": "dock", "application": application, **options})

    return run


@pytest.fixture
def bring(call: Callable[..., JSON]) -> Run:
    def run(*entries: JSON, check: bool = False, **options: Any) -> JSON:
        return call(volume_import, check, {"application": "shop", "volumes": list(entries), **options})

    return run


def recorded(name: str = "volumes/data", **more: Any) -> JSON:
    """A volume as a recovery point has it."""
    host = f"docker:dock/{name}"
    known = {"volume": "data", "driver": "local", "options": {}, "labels": {"team": "shop"}, "kind": "docker_volume"}
    found = {"snapshot": digest(f"snapshot {host}"), "tree": digest(host), "host": host, "complete": True}
    return {"name": name, **known, **found, "files": 3, "bytes": 30, **more}


def by_name(result: JSON) -> dict[str, JSON]:
    return {entry["name"]: entry for entry in result["volumes"]}


def test_every_kind_of_volume_ends_as_exported_or_excluded(export: Run, engine: FakeEngine) -> None:
    engine.volume("memory", options={"type": "tmpfs", "device": "tmpfs"})
    engine.has(
        "app-1",
        mount("data"),
        mount("/srv/files/", "/files", writable=False),
        mount("/var/run/docker.sock", "/sock"),
        mount("memory", "/fast"),
        mount("cache", "/cache"),
        Tmpfs={"/tmp": ""},
    )
    engine.has("db", mount(ANONYMOUS, "/lib"), mount("data", "/shared"), state="exited")
    rules = [{"name": "cach?", "reason": "can be filled again"}, {"name": "app-1:/tmp", "reason": "scratch"}]
    result = export(application={"volumes": {"exclude": rules}}, point="p1")
    assert result["changed"] and not result.get("failed"), result
    found = by_name(result)
    assert list(found) == ["/srv/files", "db:/lib", "volumes/data"]
    assert {entry["what"]: entry["why"] for entry in result["excluded"]} == {
        "app-1:/tmp": "scratch",
        "volumes/cache": "can be filled again",
        "/var/run/docker.sock": "bind mount of the running system; it holds no data",
        "volumes/memory": "tmpfs; it ends with the last container that uses it",
    }
    entry = found["volumes/data"]
    assert (entry["host"], entry["tree"]) == ("docker:dock/volumes/data", digest("docker:dock/volumes/data"))
    assert (entry["files"], entry["bytes"], entry["complete"], entry["method"]) == (3, 30, True, "live")
    assert entry["mounts"] == [
        {"container": "app-1", "destination": "/data", "writable": True},
        {"container": "db", "destination": "/shared", "writable": True},
    ]
    assert (found["/srv/files"]["kind"], found["/srv/files"]["path"]) == ("bind", "/srv/files")
    assert found["db:/lib"]["volume"] == ANONYMOUS
    assert result["consistency"]["mode"] == "live" and not engine.left()


def test_a_mover_has_what_it_needs_and_no_more(export: Run, engine: FakeEngine) -> None:
    seen: list[dict[str, bytes]] = []
    good = engine.mover
    engine.mover = lambda body, files: (seen.append(files), good(body, files))[1]
    engine.has("db", mount("data"))
    export(mover={"network": "backup"}, point="p1")
    (body,) = engine.movers
    host = body["HostConfig"]
    assert host["Mounts"][0] == {
        "Type": "volume",
        "Source": "data",
        "Target": "/volume/data",
        "ReadOnly": True,
        "VolumeOptions": {"NoCopy": True},
    }
    assert (host["CapDrop"], host["CapAdd"], host["ReadonlyRootfs"]) == (["ALL"], ["DAC_READ_SEARCH"], True)
    assert "no-new-privileges" in host["SecurityOpt"] and host["NetworkMode"] == "backup"
    assert "point=p1" in body["Entrypoint"] and "Binds" not in host and "PortBindings" not in host
    assert {name: text.decode() for name, text in seen[0].items()} == {
        "password": CANARY,
        "env.AWS_ACCESS_KEY_ID": "known",
        "env.AWS_SECRET_ACCESS_KEY": CANARY,
    }
    assert body["Hostname"].startswith("muster-volumes-data-")


def test_a_repository_in_a_folder_of_the_host_is_mounted(
    export: Run, engine: FakeEngine, restic: ResticProgram, tmp_path: Path
) -> None:
    engine.has("db", mount("data"))
    place = {"url": str(tmp_path), "access_key": None, "secret_key": None}
    refused = export(repository=place)
    assert refused["failed"] and "which movers can not reach" in refused["msg"]
    refused = export(repository={**place, "volume": {"nfs": {"server": "nas", "path": "/x"}}})
    assert refused["failed"] and "mount folders of that host and nothing else" in refused["msg"]
    assert export(repository={**place, "volume": {"hostPath": {"path": "/srv/repo"}}})["changed"]
    host = engine.movers[-1]["HostConfig"]
    assert {"Type": "bind", "Source": "/srv/repo", "Target": "/repository"} in host["Mounts"]
    assert "DAC_OVERRIDE" in host["CapAdd"] and "RESTIC_REPOSITORY=/repository" in engine.movers[-1]["Env"]


@pytest.mark.parametrize(("method", "away", "back"), [("stopped", "stop", "start"), ("paused", "pause", "unpause")])
def test_all_writers_stand_still_before_the_first_volume_is_read(
    export: Run, engine: FakeEngine, method: str, away: str, back: str
) -> None:
    engine.has("db", mount("data"))
    engine.has("app-1", mount("logs"), mount("/srv/files/sub", "/sub"))
    engine.has("app-2", mount("data", writable=False), mount("/srv/files", "/files"))
    engine.has("app-3", mount("data"), state="exited")
    result = export(methods={"*": method})
    assert not result.get("failed"), result
    events = [event for event in engine.events if not event.endswith("muster") and "volume" not in event.split()[0]]
    first = next(number for number, event in enumerate(events) if event.startswith("create "))
    # Compose makes containers after those that they need; so they stop before these.
    assert events[:first] == [f"{away} app-2", f"{away} app-1", f"{away} db"]
    assert {event for event in events[first:] if event.startswith(back) and "muster-" not in event} == {
        f"{back} {name}" for name in ("db", "app-1", "app-2")
    }
    assert result["consistency"]["mode"] == method and result["consistency"]["skew_seconds"] == 0
    assert [(one["name"], one["changed"], one["failed"]) for one in result["stopped"]] == [
        ("containers/app-2", True, False),
        ("containers/app-1", True, False),
        ("containers/db", True, False),
    ]
    assert not engine.left()


def test_the_debt_is_written_down_before_anything_stands_still(export: Run, engine: FakeEngine) -> None:
    identity = engine.has("db", mount("data"))
    seen: list[JSON] = []

    def before(verb: str, _name: str) -> None:
        if verb == "stop":
            seen.extend(json.loads(one["Labels"][RECORD]) for one in engine.volumes.values() if RECORD in one["Labels"])

    engine.before = before
    export(methods={"*": "stopped"})
    assert seen[0]["owed"] == [{"id": identity, "name": "db", "action": "stop"}]
    assert seen[0]["holder"] == liveness.ourselves()
    engine.events.clear()
    engine.refuses = {"/volumes/create": 500}
    refused = export(methods={"*": "stopped"})
    assert refused["failed"] and not [event for event in engine.events if event.startswith("stop")]


@pytest.mark.parametrize("step", ["create", "archive", "start"])
def test_whatever_fails_the_writers_go_on(export: Run, engine: FakeEngine, step: str) -> None:
    engine.has("db", mount("data"))

    def before(verb: str, name: str) -> None:
        if verb == step and name.startswith("muster-"):
            engine.refuses = {}
            raise OSError

    engine.before = before
    result = export(methods={"*": "stopped"})
    assert result["failed"] and engine.by_name("db")["State"] == "running" and not engine.left()


def test_a_container_that_cannot_be_started_again_stays_owed(export: Run, engine: FakeEngine) -> None:
    identity = engine.has("db", mount("data"))
    engine.refuses = {f"{identity}/start": 500}
    result = export(methods={"*": "stopped"})
    assert result["failed"] and "start again containers/db" in result["msg"] and result["stopped"][0]["failed"]
    engine.refuses = {}
    again = export()
    assert again["restarted"] == ["db"] and engine.by_name("db")["State"] == "running" and not engine.left()


def debt(engine: FakeEngine, identity: str, *, until: str, holder: JSON | None, action: str = "stop") -> None:
    """What a run that was killed has left."""
    owed = [{"id": identity, "name": "db", "action": action}]
    record = {"format": ledger.FORMAT, "holder": holder, "until": until, "owed": owed}
    labels = {APPLICATION: "shop", RUN: "old", "container-dr.muster.dev/role": "thaw", RECORD: json.dumps(record)}
    engine.volume(f"muster-run-old-{len(engine.volumes)}", **labels)


@pytest.mark.parametrize(("action", "state"), [("stop", "exited"), ("pause", "paused")])
def test_the_next_run_pays_what_a_killed_one_owes(export: Run, engine: FakeEngine, action: str, state: str) -> None:
    identity = engine.has("db", mount("data"), state=state)
    debt(engine, identity, until=LONG_AGO, holder=None, action=action)
    labels = {APPLICATION: "shop", RUN: "old", "container-dr.muster.dev/mover": "m"}
    engine.has("muster-old", state="running", labels={**labels, "app.kubernetes.io/managed-by": "muster.container_dr"})
    planned = export(check=True)
    assert planned["restarted"] == ["db"] and engine.by_name("db")["State"] == state
    result = export()
    assert result["restarted"] == ["db"] and engine.by_name("db")["State"] == "running" and not engine.left()
    assert "stop muster-old" in engine.events and "remove muster-old" in engine.events


def test_a_run_that_goes_on_is_waited_for_and_left_alone(
    export: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = engine.has("db", mount("data"), state="exited")
    debt(engine, identity, until="2999-01-01T00:00:00Z", holder=None)
    labels = {APPLICATION: "shop", RUN: "old", "container-dr.muster.dev/mover": "m"}
    engine.has("muster-old", labels={**labels, "app.kubernetes.io/managed-by": "muster.container_dr"})
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            assert engine.by_name("db")["State"] == "exited" and engine.by_name("muster-old")["State"] == "running"
            engine.volumes = {name: one for name, one in engine.volumes.items() if RECORD not in one["Labels"]}
            engine.containers = [one for one in engine.containers if one["Names"] != ["/muster-old"]]

    monkeypatch.setattr("time.sleep", sleep)
    result = export()
    assert len(waits) >= 3 and result["restarted"] == [] and engine.by_name("db")["State"] == "exited"


def test_a_run_says_again_and_again_that_it_goes_on(
    export: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.has("db", mount("data"))
    monkeypatch.setattr(ledger, "RENEWED", 0.001)
    renewed = threading.Event()

    def before(verb: str, _name: str) -> None:
        if verb == "remove-volume":
            renewed.set()

    engine.before = before
    good = engine.mover
    engine.mover = lambda body, files: (renewed.wait(60), good(body, files))[1]
    assert export(methods={"*": "stopped"})["changed"] and renewed.is_set() and not engine.left()


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        ({"mounts": [mount("data")]}, "container other, which is not of the application, may write to it"),
        ({"mounts": [mount("/srv")]}, "container other, which is not of the application, may write to it"),
        ({"mounts": [mount(f"{ROOT}/volumes/data/_data")]}, "container other, which is not of the application"),
        ({"NetworkMode": "container:db"}, "container other shares the network of db and would lose it"),
        ({"name": "app-9", "mounts": [mount("data")], "state": "paused"}, "somebody has paused container app-9"),
        ({"name": "app-9", "mounts": [mount("data")], "state": "restarting"}, "container app-9 restarts again and"),
        ({"name": "app-9", "mounts": [mount("data")], "AutoRemove": True}, "app-9 was started with --rm"),
        (
            {"name": "app-9", "mounts": [mount("data")], "labels": {"com.docker.swarm.task.id": "x"}},
            "container app-9 is a task of a Swarm service",
        ),
    ],
)
def test_who_cannot_stand_still_is_named_before_anything_is_touched(
    export: Run, engine: FakeEngine, strange: JSON, words: str
) -> None:
    engine.has("db", mount("data"), mount("/srv/files"))
    engine.has(strange.pop("name", "other"), *strange.pop("mounts", ()), **strange)
    for check in (True, False):
        refused = export(check, methods={"*": "stopped"})
        assert refused["failed"] and words in refused["msg"], refused["msg"]
        assert refused["volumes"] and engine.events == []
    assert export()["changed"]


@pytest.mark.parametrize("what", ["start", "stranger"])
def test_who_writes_while_it_is_read_fails_the_volume(export: Run, engine: FakeEngine, what: str) -> None:
    engine.has("db", mount("data"))
    good = engine.mover

    def meanwhile(body: JSON, files: dict[str, bytes]) -> tuple[int, str]:
        if what == "start":
            engine.by_name("db")["State"] = "running"
            engine.touch(engine.by_name("db"))
        else:
            engine.has("other", mount("data"))
        return good(body, files)

    engine.mover = meanwhile
    result = export(methods={"volumes/data": "stopped"})
    assert result["failed"] and "torn" in result["msg"] and result["volumes"][0]["failed"]
    assert engine.by_name("db")["State"] == "running"


def test_a_container_that_docker_had_to_kill_makes_no_backup(export: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"))

    def before(verb: str, name: str) -> None:
        if (verb, name) == ("stop", "db"):
            # Docker says that it is stopped after it has killed it.
            engine.by_name("db").update(State="exited", ExitCode=137)

    engine.before = before
    result = export(methods={"*": "stopped"}, stop_timeout=0)
    assert result["failed"] and "did not end within 0 seconds" in result["msg"]
    assert engine.by_name("db")["State"] == "running" and not engine.left()


def test_what_could_be_done_only_on_a_cluster_is_refused(export: Run, bring: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"))
    hook = {"name": "hold", "container": "db", "pre": ["sync"]}
    for given, word in (
        ({"application": {"hooks": [hook]}}, "application.hooks"),
        ({"group_snapshots": "required"}, "group_snapshots"),
        ({"snapshot_classes": {"a": "b"}}, "snapshot_classes"),
        ({"budgets": {"node": 1}}, "budgets.node"),
        ({"mover": {"resources": {"limits": {"memory": "1Gi"}}}}, "mover.resources"),
        ({"mover": {"node_selector": {"pool": "a"}}}, "mover.node_selector"),
        ({"mover": {"tolerations": [{"operator": "Exists"}]}}, "mover.tolerations"),
        ({"mover": {"selinux": {"level": "s0"}}}, "mover.selinux"),
        ({"methods": {"fast": "snapshot"}}, "methods entry fast"),
        ({"application": {"volumes": {"exclude": [{"namespace": "a", "name": "b", "reason": "c"}]}}}, "exclude"),
    ):
        refused = export(**given)
        assert refused["failed"] and word in refused["msg"], refused["msg"]
    assert "namespace_mapping" in bring(recorded(), namespace_mapping={"a": "b"})["msg"]
    assert "of a cluster" in bring(recorded(), {**recorded(), "name": "shop/a", "kind": "pvc"})["msg"]
    assert engine.events == []


@pytest.mark.parametrize("kind", ["dir", "file", "socket"])
def test_a_bind_mount_says_what_it_is_and_must_hold_data(
    export: Run, engine: FakeEngine, restic: ResticProgram, kind: str
) -> None:
    engine.has("db", mount("/srv/files", writable=False))
    restic.answer("ls", {"message_type": "node", "path": "/data", "type": kind})
    result = export()
    if kind == "socket":
        assert result["failed"] and "it is a socket of the host" in result["msg"]
    else:
        assert result["volumes"][0]["type"] == kind and result["volumes"][0]["complete"]


def test_docker_s_own_folder_is_no_volume(export: Run, engine: FakeEngine) -> None:
    engine.has("app-1", mount("/", "/host", writable=False))
    refused = export()
    assert refused["failed"] and "Docker's own data are in it" in refused["msg"]
    assert export(application={"volumes": {"exclude": [{"name": "/", "reason": "monitoring"}]}})["volumes"] == []


def test_a_cut_checks_and_reads_nothing_and_what_it_names_is_moved(export: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"), mount("logs"))
    cut = export(phase="cut", methods={"*logs": "stopped"})
    assert not cut["changed"] and not cut.get("failed") and engine.events == []
    assert cut["cuts"] == [
        {"kind": "docker", "name": "volumes/data", "method": "live"},
        {"kind": "docker", "name": "volumes/logs", "method": "stopped"},
    ]
    moved = export(phase="move", cuts=cut["cuts"][1:])
    assert list(by_name(moved)) == ["volumes/logs"] and moved["consistency"]["mode"] == "stopped"
    engine.containers.clear()
    gone = export(phase="move", cuts=cut["cuts"])
    assert gone["failed"] and "no container of the application has it any more" in gone["msg"]


def test_what_restic_could_not_read_fails_the_volume(export: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"))
    engine.mover = lambda _body, _files: (3, 'code 3\nerror {"item":"/data/a","error":{"message":"denied"}}\n')
    result = export()
    assert result["failed"] and "denied" in result["msg"] and result["failed_volumes"] == ["volumes/data"]
    engine.mover = lambda _body, _files: (0, "code 0\n")
    assert "its report is lost" in export()["msg"] and not engine.left()


def test_the_image_is_pulled_with_the_login_where_it_is_not_there(export: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"))
    registry = {"name": "registry.example.com", "username": "muster", "password": CANARY}
    refused = export(mover={"image": "registry.example.com/mover@sha256:00", "registry": registry})
    assert "/v1.41/images/create" in engine.requests and refused["failed"]
    login = json.loads(base64.urlsafe_b64decode(engine.logins[0]))
    assert login == {"username": "muster", "password": CANARY, "serveraddress": "registry.example.com"}
    assert "pull access denied" in export(mover={"image": "registry.example.com/secret"})["msg"]
    never = export(mover={"image": "other:2", "pull_policy": "Never"})
    assert never["failed"] and "does not have it" in never["msg"]


def test_secrets_of_a_volume_s_driver_are_not_recorded(export: Run, bring: Run, engine: FakeEngine) -> None:
    share = {"type": "cifs", "device": "//nas/x", "o": "addr=nas,username=u,password=canary-share,vers=3.0"}
    engine.volume("data", options=share)
    engine.has("db", mount("data"))
    (entry,) = export()["volumes"]
    assert entry["options"] == {"type": "cifs", "device": "//nas/x", "o": "addr=nas,username=u,vers=3.0"}
    assert entry["options_withheld"] == ["o=password"] and "canary-share" not in json.dumps(entry)
    engine.containers.clear()
    engine.volumes.clear()
    refused = bring(entry)
    assert refused["failed"] and "look like secrets (o=password)" in refused["msg"]
    assert bring(entry, targets={entry["name"]: {"options": share}})["changed"]
    assert engine.volumes["data"]["Options"] == share


@pytest.mark.parametrize(
    ("options", "kept", "withheld"),
    [
        ({}, {}, ()),
        ({"o": "password=x"}, {}, ("o=password",)),
        ({"o": "addr=a,ro", "device": ":/x"}, {"o": "addr=a,ro", "device": ":/x"}, ()),
        ({"api_token": "x", "size": "1"}, {"size": "1"}, ("api_token",)),
    ],
)
def test_options_that_look_like_secrets_are_withheld(options: JSON, kept: JSON, withheld: tuple[str, ...]) -> None:
    assert volumes.public(options) == (kept, withheld)


def test_a_volume_is_made_as_it_was_and_filled_once(bring: Run, engine: FakeEngine) -> None:
    entry = recorded(driver="local", options={"type": "none", "o": "bind", "device": "/srv/x"})
    planned = bring(entry, check=True)
    assert planned["changed"] and planned["volumes"][0]["action"] == "create" and engine.events == []
    result = bring(entry, point="p1")
    assert result["changed"] and result["volumes"][0]["complete"], result
    made = engine.volumes["data"]
    assert made["Options"] == entry["options"] and made["Labels"]["team"] == "shop"
    assert made["Labels"]["container-dr.muster.dev/tree"] == entry["tree"]
    body = engine.movers[0]
    assert body["HostConfig"]["CapAdd"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"]
    assert "MUSTER_ONLY_IF_EMPTY=yes" in body["Env"] and body["HostConfig"]["Mounts"][0]["ReadOnly"] is False
    engine.mover = lambda _body, _files: (90, "code 90\nerror found data/file\n")
    again = bring(entry)
    assert not again["changed"] and again["volumes"][0]["complete"] and not again.get("failed")
    assert "restored from this point already" in again["volumes"][0]["msg"] and not engine.left()


def test_a_volume_that_holds_other_data_is_left_alone_unless_it_is_said(bring: Run, engine: FakeEngine) -> None:
    engine.volume("data")
    good = engine.mover
    engine.mover = lambda _body, _files: (90, "code 90\nerror found data/file\n")
    refused = bring(recorded())
    assert refused["failed"] and "holds data already (file)" in refused["msg"]
    engine.mover = good
    kept = bring(recorded(), existing="keep")
    assert not kept["changed"] and kept["volumes"][0]["skipped"] and len(engine.movers) == 1
    assert bring(recorded(), existing="replace")["changed"]
    words = engine.movers[-1]["Entrypoint"]
    assert "--delete" in words and "MUSTER_ONLY_IF_EMPTY=no" in engine.movers[-1]["Env"]
    assert bring(recorded(), existing="replace", delete=False, verify="tree")["changed"]
    assert "--delete" not in engine.movers[-1]["Entrypoint"] and "MUSTER_TREE=part" in engine.movers[-1]["Env"]


def test_nothing_is_restored_under_a_container_that_runs(bring: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data", writable=False))
    refused = bring(recorded(), existing="replace")
    assert refused["failed"] and "container db uses it" in refused["msg"] and engine.movers == []
    assert bring(recorded(), targets={"volumes/data": {"volume": "copy"}})["changed"]
    assert "copy" in engine.volumes


def test_a_folder_of_the_host_is_restored_only_where_it_is_said(bring: Run, engine: FakeEngine) -> None:
    entry = recorded("/srv/files", kind="bind", volume=None, path="/srv/files", driver=None)
    refused = bring(entry)
    assert refused["failed"] and "not said where it goes" in refused["msg"]
    entry["type"] = "dir"
    assert bring(entry, targets={"/srv/files": {"path": "/srv/back/"}}, existing="replace")["changed"]
    place = engine.movers[-1]["HostConfig"]["Mounts"][0]
    assert place == {"Type": "bind", "Source": "/srv/back", "Target": "/volume/data", "ReadOnly": False}
    single = bring({**entry, "type": "file"}, targets={"/srv/files": {"path": "/srv/back"}})
    assert single["failed"] and "a single file" in single["msg"] and "restic dump" in single["msg"]
    for wrong in ({"path": "relative"}, {"path": "/"}, {"claim": "x"}, {"path": "/a", "volume": "b"}):
        assert "targets entry" in bring(entry, targets={"/srv/files": wrong})["msg"]


def test_less_than_was_recorded_is_no_restore(bring: Run, engine: FakeEngine) -> None:
    short = bring(recorded(files=4))
    assert short["failed"] and "files are 3, recorded were 4" in short["msg"]
    assert bring(recorded(complete=False))["failed"]
    assert "several would go to" in bring(recorded(), recorded("volumes/logs"))["msg"]


def test_single_paths_go_beside_what_is_there(bring: Run, engine: FakeEngine, restic: ResticProgram) -> None:
    engine.volume("data")
    restic.answer("ls", {"message_type": "node", "path": "/data/a", "type": "file", "size": 5})
    result = bring(recorded(), paths={"volumes/data": ["a"]}, verify="tree")
    assert result["changed"] and result["volumes"][0]["files"] == 1, result
    assert "MUSTER_TREE=part" in engine.movers[-1]["Env"] and "--delete" not in engine.movers[-1]["Entrypoint"]
    missing = bring(recorded(), paths={"volumes/data": ["b"]})
    assert missing["failed"] and "does not have 'b'" in missing["msg"]


def test_what_a_volume_was_made_for_says_nothing_of_what_it_holds_now(bring: Run, engine: FakeEngine) -> None:
    """Labels of volumes never change: another point may have been restored since, or its application have run."""
    bring(recorded())
    assert bring(recorded("volumes/logs"), targets={"volumes/logs": {"volume": "data"}}, existing="replace")["changed"]
    back = bring(recorded(), existing="replace")
    assert back["changed"] and len(engine.movers) == 3, back
    assert "MUSTER_ONLY_IF_EMPTY=no" in engine.movers[-1]["Env"] and "--delete" in engine.movers[-1]["Entrypoint"]


def test_folders_in_one_another_are_refused(bring: Run, engine: FakeEngine) -> None:
    entries = [recorded(name, kind="bind", volume=None, path=name) for name in ("/srv/files", "/srv/files/sub")]
    targets = {"/srv/files": {"path": "/srv/back"}, "/srv/files/sub": {"path": "/srv/back/sub"}}
    refused = bring(*entries, targets=targets, existing="replace")
    assert refused["failed"] and "/srv/back/sub is in /srv/back" in refused["msg"] and engine.movers == []
    targets["/srv/files/sub"]["path"] = "/srv/backup"
    assert bring(*entries, targets=targets, existing="replace")["changed"]


def test_a_volume_that_is_gone_when_its_turn_comes_is_no_empty_one(export: Run, engine: FakeEngine) -> None:
    engine.has("app-1", mount("data"))
    engine.has("db", mount("logs"))

    def before(verb: str, _name: str) -> None:
        if verb == "create":
            engine.before = lambda _verb, _name: None
            engine.containers = [one for one in engine.containers if "mover" in str(one["Labels"])]
            engine.volumes.clear()

    engine.before = before
    result = export()
    assert result["failed"] and "was removed" in result["msg"]
    assert sum(one["failed"] for one in result["volumes"]) == 1 and "logs" not in engine.volumes


def test_movers_of_a_run_that_begins_meanwhile_are_left_alone(export: Run, engine: FakeEngine) -> None:
    engine.has("db", mount("data"))
    labels = {APPLICATION: "shop", RUN: "young", "container-dr.muster.dev/mover": "m"}
    labels["app.kubernetes.io/managed-by"] = "muster.container_dr"
    told = engine.volumes_told

    def meanwhile() -> None:
        engine.volumes_told = told
        record = {"format": ledger.FORMAT, "holder": None, "until": "2999-01-01T00:00:00Z", "owed": []}
        mine = {key: value for key, value in labels.items() if key in (APPLICATION, RUN)}
        engine.volume(
            "muster-run-young", **mine, **{"container-dr.muster.dev/role": "thaw", RECORD: json.dumps(record)}
        )
        engine.has("muster-young", labels=labels)

    engine.volumes_told = meanwhile
    result = export()
    assert result["changed"] and engine.by_name("muster-young")["State"] == "running", engine.events


def test_movers_of_a_run_whose_record_cannot_be_read_are_left_alone(export: Run, engine: FakeEngine) -> None:
    """It may be one of a later version that goes on."""
    engine.has("db", mount("data"))
    debt(engine, "0", until=LONG_AGO, holder=None, action="something new")
    labels = {APPLICATION: "shop", RUN: "old", "container-dr.muster.dev/mover": "m"}
    engine.has("muster-old", labels={**labels, "app.kubernetes.io/managed-by": "muster.container_dr"})
    result = export()
    assert "cannot be read; remove it" in str(result["warnings"])
    assert engine.by_name("muster-old")["State"] == "running"


def test_who_lives_in_the_network_of_another_starts_after_it(export: Run, engine: FakeEngine) -> None:
    gate = engine.has("db", mount("logs"))
    engine.has("app-1", mount("data"), NetworkMode=f"container:{gate}")
    result = export(methods={"*": "stopped"})
    assert not result.get("failed"), result["msg"]
    assert [event for event in engine.events if event in ("start db", "start app-1")] == ["start db", "start app-1"]


def test_what_an_import_starts_for_a_killed_run_is_a_change(bring: Run, engine: FakeEngine) -> None:
    identity = engine.has("db", mount("logs"), state="exited")
    engine.volume("data")
    debt(engine, identity, until=LONG_AGO, holder=None)
    planned = bring(recorded(), existing="keep", check=True)
    result = bring(recorded(), existing="keep")
    assert engine.by_name("db")["State"] == "running" and result["changed"] and planned["changed"]
    assert not bring(recorded(), existing="keep")["changed"]


def test_what_was_started_for_a_killed_run_is_a_change_of_one_that_fails(
    export: Run, bring: Run, engine: FakeEngine
) -> None:
    identity = engine.has("db", mount("data"))
    engine.mover = lambda _body, _files: (3, "code 3\n")
    for run in (export, lambda: bring(recorded("volumes/logs", volume="logs"))):
        engine.by_name("db")["State"] = "exited"
        debt(engine, identity, until=LONG_AGO, holder=None)
        failed = run()
        assert failed["failed"] and engine.by_name("db")["State"] == "running" and failed["changed"]


def test_phase_cut_in_check_mode_says_what_it_would_start(export: Run, engine: FakeEngine) -> None:
    identity = engine.has("db", mount("data"), state="exited")
    debt(engine, identity, until=LONG_AGO, holder=None)
    planned = export(check=True, phase="cut")
    assert (planned["changed"], planned["restarted"]) == (True, ["db"])
    assert export(phase="cut")["changed"]


def test_only_a_volume_that_holds_data_was_restored_already(bring: Run, engine: FakeEngine) -> None:
    engine.refuses = {"/containers/create": 409}
    for _attempt in (1, 2):
        failed = bring(recorded())
        assert failed["failed"] and "the fake refuses" in failed["msg"], failed
    assert "data" in engine.volumes and not failed["volumes"][0]["complete"]
    engine.refuses = {}
    assert bring(recorded())["volumes"][0]["complete"] and len(engine.movers) == 1


@pytest.mark.parametrize(
    "cut", [{"kind": "pvc", "name": "shop/data", "method": "live"}, {"kind": "docker", "name": "volumes/data"}]
)
def test_cuts_that_are_none_are_refused(export: Run, engine: FakeEngine, cut: JSON) -> None:
    """Those of a cluster would else be passed over, and what is left of them be called a backup."""
    engine.has("db", mount("data"))
    refused = export(phase="move", cuts=[cut])
    assert refused["failed"] and "not what phase cut returned" in refused["msg"] and engine.movers == []
