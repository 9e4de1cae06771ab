# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams through the real ``main()`` of both modules: a server that runs commands, and the real restic."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import running
from fakes.real_restic import RESTIC, Bed, real
from fakes.storage import Storage, claim, owned, pod, thing, workload
from fakes.storage import ended as pod_ended

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._volume import settings
from ansible_collections.muster.container_dr.plugins.modules import volume_export, volume_import

JSON = dict[str, Any]
Frames = Iterable["tuple[int, bytes] | None"]
Runner = Callable[..., JSON]
DONE = (3, b'{"metadata":{},"status":"Success"}')
MIB = 1 << 20
DUMP = {"name": "ledger", "selector": "app=db", "command": ["pg_dump", "-Fc", "ledger"]}
BACK = {**DUMP, "restore": {"command": ["pg_restore", "-d", "ledger"]}}

pytestmark = real


def ended(code: int) -> tuple[int, bytes]:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return 3, json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}).encode()


def ready(name: str, *, labels: JSON | None = None, state: str = "True") -> JSON:
    made = pod(name, labels=labels or {"app": "db"})
    made["status"]["conditions"] = [{"type": "Ready", "status": state}]
    return made


def noise(size: int) -> bytes:
    return random.Random(6).randbytes(size)


def printing(data: bytes, *last: tuple[int, bytes] | None) -> Callable[..., Frames]:
    """A command that prints these, and ends."""
    return lambda *_asked: [*((1, data[at : at + 30_000]) for at in range(0, len(data), 30_000)), *(last or [DONE])]


def shell(run: Callable[..., Frames]) -> Callable[..., Frames]:
    """What a shell in the container makes of a command that it is to run."""

    def execute(words: list[str], *more: Any) -> Frames:
        if words[3:] and words[:2] == ["sh", "-c"]:
            for frame in run(words[4:], *more):
                if frame is not None and frame in (DONE, ended(3)):
                    yield 1, words[3].encode()
                yield frame
        else:
            yield from [DONE] if words[0] == "sh" else run(words, *more)

    return execute


@pytest.fixture
def server() -> Iterator[Storage]:
    state = Storage()
    state.add(thing("Namespace", "shop", ""), ready("db-0"))
    with running(state):
        yield state


@pytest.fixture
def run(server: Storage, bed: Bed, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(main: Callable[[], None], check: bool = False, **options: Any) -> JSON:
        arguments = {"host": server.url, "repository": bed.options, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            main()
        result: JSON = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.fixture
def export(run: Runner) -> Runner:
    def call(*streams: JSON, **options: Any) -> JSON:
        application = {"name": "shop", "namespaces": ["shop"], "streams": list(streams) or [DUMP]}
        application |= options.pop("application", {})
        return run(volume_export.main, site="east", application=application, **options)

    return call


@pytest.fixture
def bring(run: Runner) -> Runner:
    def call(volumes: list[JSON], **options: Any) -> JSON:
        return run(volume_import.main, application="shop", volumes=volumes, **options)

    return call


def nothing_kept(bed: Bed) -> bool:
    return not json.loads(bed.restic("snapshots", "--json").stdout) and not bed.locks()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def dumped(bed: Bed, volume: JSON) -> bytes:
    """As an operator without us gets at it."""
    command = [RESTIC or "restic", "--no-cache", "dump", volume["snapshot"], f"/{volume['filename']}"]
    return subprocess.run(command, env=bed.environment, check=True, capture_output=True).stdout


# -- into the repository ----------------------------------------------------------------------------------------------


def test_what_a_command_prints_is_one_file_of_a_snapshot(export: Runner, server: Storage, bed: Bed) -> None:
    data, asked = noise(3 * MIB), []
    before = clock.iso(clock.now())

    def command(words: list[str], query: JSON, _headers: Any) -> Frames:
        asked.append((words, query["container"], query.get("stdin")))
        return printing(data, (2, b"a word"), DONE)()

    server.execute = shell(command)
    result = export({**BACK, "filename": "ledger.dump", "container": "main"}, point="p1")
    assert result["changed"] and not result.get("failed"), result
    (entry,) = result["volumes"]
    assert asked == [(DUMP["command"], "main", "true")]
    assert (entry["name"], entry["kind"], entry["method"]) == ("shop/streams/ledger", "stream", "stream")
    assert (entry["files"], entry["bytes"], entry["complete"], entry["pod"]) == (1, 3 * MIB, True, "db-0")
    assert entry["bytes_added"] > 3 * MIB and entry["host"] == "k8s:east/shop/streams/ledger"
    assert entry["restore"] == {
        "command": ["pg_restore", "-d", "ledger"],
        "container": "main",
        "selector": "app=db",
        "timeout": 14400.0,
        "stall_timeout": 600.0,
        "wait_timeout": 300.0,
    }
    assert before <= entry["consistency_point"] <= clock.iso(clock.now())
    assert result["consistency"] == {
        "point": entry["consistency_point"],
        "skew_seconds": 0.0,
        "mode": "per_volume",
    }
    found = bed.opened.snapshot(entry["snapshot"])
    assert (found.host, found.tree) == (entry["host"], entry["tree"])
    assert set(found.tags) == {"muster", "application=shop", "point=p1"}
    assert dumped(bed, entry) == data and not bed.locks()


def test_the_same_again_adds_nothing(export: Runner, server: Storage) -> None:
    server.execute = shell(printing(noise(2 * MIB)))
    assert export()["volumes"][0]["bytes_added"] > 2 * MIB
    assert export()["volumes"][0]["bytes_added"] < 2000


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_older_servers_give_streams_too(export: Runner, server: Storage, protocol: str) -> None:
    server.protocols = (protocol,)
    server.execute = shell(printing(b"rows"))
    assert export()["volumes"][0]["bytes"] == 4


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (
            printing(noise(MIB), (2, b"no such table\nPGPASSWORD=s3cret-word"), ended(3)),
            "exit code 3 and said: no such",
        ),
        (printing(noise(MIB), None), "the connection broke before the command ended"),
        (printing(b""), "printed nothing"),
        (printing(b"", ended(127)), "ended with exit code 127"),
        (printing(b"", (3, b'{"status":"Failure","message":"executable file not found"}')), "file not found"),
    ],
    ids=["fails", "breaks", "empty", "fails-at-once", "never-ran"],
)
def test_what_does_not_end_well_leaves_no_snapshot(
    export: Runner, server: Storage, bed: Bed, frames: Any, words: str
) -> None:
    server.execute = shell(frames)
    result = export()
    assert result["failed"] and result["failed_volumes"] == ["shop/streams/ledger"]
    (entry,) = result["volumes"]
    assert "stream shop/streams/ledger" in entry["msg"] and words in entry["msg"], entry["msg"]
    assert "s3cret-word" not in json.dumps({**result, "invocation": None})
    assert not entry["complete"] and entry["snapshot"] is None and nothing_kept(bed)


def test_what_was_cut_off_on_the_way_is_no_snapshot(export: Runner, server: Storage, bed: Bed) -> None:
    """A busy server lost the end of it, and gives the exit code all the same."""

    def cut_off(words: list[str], *more: Any) -> Frames:
        frames = list(shell(printing(noise(MIB)))(words, *more))
        return frames if len(words) == 3 else [*frames[:20], frames[-1]]

    server.execute = cut_off
    result = export()
    assert result["failed"] and "was cut off on the way" in result["volumes"][0]["msg"] and nothing_kept(bed)
    # All but a part of the mark.
    server.execute = lambda words, *_more: [DONE] if len(words) == 3 else [(1, b"rows" + words[3][:-1].encode()), DONE]
    assert "was cut off on the way" in export()["volumes"][0]["msg"] and nothing_kept(bed)


def test_without_a_shell_nobody_could_tell(export: Runner, server: Storage, bed: Bed) -> None:
    server.execute = lambda *_asked: [(3, b'{"status":"Failure","message":"exec: sh: executable file not found"}')]
    result = export()
    assert result["failed"] and "container main of pod db-0 has no shell" in result["msg"] and nothing_kept(bed)


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"stall_timeout": "300ms"}, "no data moved for 0.3 seconds"), ({"timeout": "3s"}, "not end within 3 seconds")],
)
def test_a_command_that_hangs_is_given_up(export: Runner, server: Storage, bed: Bed, limit: JSON, words: str) -> None:
    over = threading.Event()

    def hang(*_asked: Any) -> Frames:
        yield 1, b"half"
        over.wait(60)

    server.execute = shell(hang)
    result = export({**DUMP, **limit})
    over.set()
    assert result["failed"] and words in result["volumes"][0]["msg"] and nothing_kept(bed)


def test_restics_own_words_are_said_if_it_is_restic_that_fails(
    export: Runner, server: Storage, bed: Bed, tmp_path: Path
) -> None:
    message = {"message_type": "exit_error", "code": 1, "message": "Fatal: no space left on device"}
    program = tmp_path / "full"
    program.write_text(
        f"#!/bin/sh\ncase \"$*\" in *' backup '*) echo '{json.dumps(message)}' >&2; exit 1 ;; esac\n"
        f'exec {RESTIC} "$@"\n'
    )
    program.chmod(0o755)
    over = threading.Event()

    def endless(*_asked: Any) -> Frames:
        while not over.wait(0.01):
            yield 1, bytes(60_000)

    server.execute = shell(endless)
    result = export(repository={**bed.options, "restic": str(program)})
    over.set()
    assert result["failed"] and "disk is full" in result["volumes"][0]["msg"], result["msg"]


def test_a_killed_module_leaves_no_snapshot(server: Storage, bed: Bed) -> None:
    """The end of its pipe closes as at the end of the data."""
    begun, over = threading.Event(), threading.Event()

    def endless(*_asked: Any) -> Frames:
        yield 1, noise(60_000)
        begun.set()
        over.wait(60)

    server.execute = shell(endless)
    application = {"name": "shop", "namespaces": ["shop"], "streams": [DUMP]}
    arguments = {"host": server.url, "repository": bed.options, "site": "east", "application": application}
    program = (
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.muster.container_dr.plugins.modules import volume_export\n"
        f"with patch_module_args({arguments!r}): volume_export.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as module:
        assert begun.wait(60)
        until(bed.locks)
        (lock,) = bed.locks()
        holder = Path("/proc", str(bed.opened.lock(lock)["pid"]))
        module.send_signal(signal.SIGKILL)
    over.set()
    until(lambda: not holder.exists())
    assert not bed.opened.snapshots()


def test_sigterm_ends_it_and_leaves_no_snapshot(export: Runner, server: Storage, bed: Bed) -> None:
    over = threading.Event()

    def ending(*_asked: Any) -> Frames:
        yield 1, b"half"
        os.kill(os.getpid(), signal.SIGTERM)
        over.wait(60)

    server.execute = shell(ending)
    result = export()
    over.set()
    assert result["failed"] and "SIGTERM" in result["msg"] and nothing_kept(bed) and not settings.ENDING.is_set()


# -- which pod, and when ----------------------------------------------------------------------------------------------


def test_a_ready_pod_goes_before_another_and_the_first_by_name(export: Runner, server: Storage) -> None:
    server.add(ready("db-0", state="False"), ready("db-2"), ready("db-1"), ready("a", labels={"app": "web"}))
    server.execute = shell(printing(b"rows"))
    assert export()["volumes"][0]["pod"] == "db-1"


def test_without_a_pod_nothing_is_frozen(export: Runner, server: Storage) -> None:
    hook = {"name": "db", "selector": "app=db", "pre": ["freeze"]}
    gone = ready("db-0")
    gone["status"]["phase"] = "Pending"
    server.add(gone)
    result = export(application={"hooks": [hook]})
    assert result["failed"] and "no running pod in shop matches app=db" in result["msg"]
    assert [(one["name"], one["failed"]) for one in result["volumes"]] == [("shop/streams/ledger", True)]
    assert not server.writes


def test_check_mode_runs_no_command(export: Runner, server: Storage) -> None:
    server.execute = lambda *_asked: pytest.fail("it ran")
    result = export(check=True)
    assert result["changed"] and "what pg_dump prints" in result["volumes"][0]["msg"]
    cut = export(phase="cut")
    assert "1 streams will be read" in cut["msg"] and cut["volumes"][0]["msg"] == "not read yet"
    moved = export(phase="move", cuts=cut["cuts"], check=True)
    assert moved["changed"] and moved["volumes"][0]["name"] == "shop/streams/ledger"


def test_cut_and_move_in_two_calls(export: Runner, server: Storage, bed: Bed) -> None:
    cut = export(BACK, phase="cut")
    server.remove("pods", "shop", "db-0")
    server.execute = shell(printing(b"rows"))
    later = threading.Timer(0.2, server.add, [ready("db-0")])
    later.start()
    moved = export(phase="move", cuts=json.loads(json.dumps(cut["cuts"])), application={"streams": []})
    later.join()
    (entry,) = moved["volumes"]
    assert entry["complete"] and entry["restore"] and dumped(bed, entry) == b"rows"
    broken = export(phase="move", cuts=[{**cut["cuts"][0], "stream": {}}])
    assert broken["failed"] and "not what phase cut returned" in broken["msg"]


def test_streams_are_read_before_anything_is_stopped(export: Runner, server: Storage, bed: Bed) -> None:
    server.add(thing("Namespace", "kube-system", ""), *claim("data"), workload("Deployment", "db", "data", replicas=1))
    server.add(owned({**ready("db-0"), "spec": pod("db-0", "data")["spec"]}, "Deployment", "db"))

    def mover(job: JSON) -> list[JSON]:
        words = job["spec"]["template"]["spec"]["containers"][0]["command"]
        made = bed.backup("data", host=words[words.index("--host") + 1], tags=["muster"])
        summary = {"snapshot_id": made.id, "total_files_processed": 1, "total_bytes_processed": 5}
        return [pod_ended(0, f"summary {json.dumps(summary)}")]

    def command(*_asked: Any) -> Frames:
        server.events.append("dump")
        return printing(b"rows")()

    server.mover, server.execute = mover, shell(command)
    nfs = {"volume": {"nfs": {"server": "nas", "path": "/export"}}}
    result = export(methods={"fast": "stopped"}, repository={**bed.options, **nfs})
    assert [(one["name"], one["complete"]) for one in result["volumes"]] == [
        ("shop/data", True),
        ("shop/streams/ledger", True),
    ], result
    happened = [event for event in server.events if event == "dump" or event.startswith("scale")]
    assert happened == ["dump", "scale db to 0", "scale db to 1"]
    assert result["consistency"]["mode"] == "per_volume"
    # A directory that movers cannot reach is enough for streams, and only for them.
    assert "movers can not reach" in export(methods={"fast": "stopped"})["msg"]


# -- and back ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken(export: Runner, server: Storage) -> list[JSON]:
    server.execute = shell(printing(noise(3 * MIB)))
    volumes: list[JSON] = export(BACK)["volumes"]
    return volumes


class Target:
    """What a restore command was given, whether it saw the end of it, and how much came when it had ended.

    A shell that runs the command says when it has ended, and reads on. Without one a real server would not get on.
    """

    def __init__(self, *last: tuple[int, bytes] | None, at_most: int = 1 << 40) -> None:
        self.words: list[str] = []
        self.data = bytearray()
        self.saw_end = False
        self.late: int | None = None
        self._last = last or (DONE,)
        self._at_most = at_most

    def __call__(self, words: list[str], given: Iterator[bytes]) -> Frames:
        shell = words[:2] == ["sh", "-c"]
        self.words = words[4:] if shell else words
        try:
            for piece in given:
                self.data += piece
                if len(self.data) >= self._at_most:
                    break
            else:
                self.saw_end = True
            yield from self._last[:-1]
            if shell:
                yield 2, f"\n{words[3]}\n".encode()
                self.late = sum(map(len, given))
        except BrokenPipeError:
            return
        yield self._last[-1]


def test_a_stream_comes_back_as_the_input_of_its_command(bring: Runner, server: Storage, taken: list[JSON]) -> None:
    server.add(thing("Namespace", "copy", ""))
    other = ready("db-0")
    other["metadata"]["namespace"] = "copy"
    server.add(other)
    server.feed = target = Target((1, b"x" * 40_000), DONE)
    result = bring(taken, namespace_mapping={"shop": "copy"})
    (entry,) = result["volumes"]
    assert result["changed"] and not result.get("failed"), result
    assert (entry["name"], entry["source"]) == ("copy/streams/ledger", "shop/streams/ledger")
    assert (entry["complete"], entry["bytes"], entry["tree"]) == (True, 3 * MIB, taken[0]["tree"])
    assert target.saw_end and target.words == ["pg_restore", "-d", "ledger"] and bytes(target.data) == noise(3 * MIB)


def test_a_command_that_prints_before_it_reads_on_does_not_hang(
    bring: Runner, server: Storage, taken: list[JSON]
) -> None:
    seen = hashlib.sha256()

    def echo(_words: list[str], given: Iterator[bytes]) -> Frames:
        for piece in given:
            seen.update(piece)
            # More than any buffer in between holds.
            yield from ((1, bytes(60_000)) for _each in range(20))
        yield DONE

    server.feed = echo
    assert bring(taken)["volumes"][0]["complete"] and seen.digest() == hashlib.sha256(noise(3 * MIB)).digest()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target((2, b"relation exists"), ended(1)), "ended with exit code 1 and said: relation exists"),
        (Target(ended(1), at_most=MIB), "ended with exit code 1"),
        (Target(None), "the connection broke before the command ended"),
    ],
    ids=["fails", "fails-halfway", "breaks"],
)
def test_a_command_that_does_not_take_it_fails_the_restore(
    bring: Runner, server: Storage, bed: Bed, taken: list[JSON], target: Target, words: str
) -> None:
    server.feed = target
    result = bring(taken)
    assert not bed.locks()
    assert result["failed"] and words in result["msg"] and "may hold part of it" in result["msg"], result["msg"]
    assert not result["volumes"][0]["complete"] and result["volumes"][0]["failed"]


def test_a_command_that_is_content_with_a_part_fails_the_restore(
    bring: Runner, export: Runner, server: Storage, bed: Bed
) -> None:
    # More than the buffers in between hold.
    server.execute = shell(printing(noise(40 * MIB)))
    taken = export(BACK)["volumes"]
    server.feed = Target(DONE, at_most=MIB)
    result = bring(taken)
    assert result["failed"] and f"bytes, recorded were {40 * MIB}. Does the command read" in result["msg"]
    assert "may hold part of it" in result["msg"] and not bed.locks()


@pytest.mark.parametrize("early", [False, True], ids=["reads-all", "ends-early"])
def test_a_command_that_ends_is_heard_at_once_and_given_no_more(
    bring: Runner, export: Runner, server: Storage, early: bool
) -> None:
    server.execute = shell(printing(noise(80 * MIB)))
    taken = export(BACK)["volumes"]
    server.feed = target = Target((2, b"no such database"), ended(4), at_most=MIB if early else 1 << 40)
    result = bring(taken)
    assert result["failed"] and result["msg"].count("ended with exit code 4 and said: no such database") == 1
    assert "muster-" not in result["msg"].partition("said: ")[2]
    assert target.late is not None and (0 < target.late < 60 * MIB if early else target.late == 0)


def test_a_container_without_a_shell_is_given_it_as_well(bring: Runner, server: Storage, taken: list[JSON]) -> None:
    nothing = {"status": "Failure", "reason": "InternalError", "message": "exec: sh: executable file not found"}
    server.execute = lambda *_asked: [(3, json.dumps(nothing).encode())]
    server.feed = target = Target()
    assert bring(taken)["volumes"][0]["complete"]
    assert target.late is None and target.words == ["pg_restore", "-d", "ledger"] and target.saw_end


def test_a_repository_that_fails_halfway_is_no_end_of_the_input(
    bring: Runner, server: Storage, bed: Bed, export: Runner
) -> None:
    server.execute = shell(printing(noise(40 * MIB)))
    taken = export(BACK)["volumes"]
    packs = sorted(
        (path for path in Path(bed.options["url"], "data").rglob("*") if path.is_file()), key=os.path.getmtime
    )
    listed = bed.restic("list", "index").stdout.split()[-1]
    index = json.loads(bed.restic("cat", "index", listed).stdout)
    trees = {one["id"] for one in index["packs"] if any(blob["type"] == "tree" for blob in one["blobs"])}
    lost = next(path for path in reversed(packs) if path.name not in trees)
    lost.unlink()
    server.feed = target = Target()
    result = bring(taken)
    assert result["failed"] and lost.name[:10] in result["msg"], result["msg"]
    assert not target.saw_end and not result["volumes"][0]["complete"]
    assert "may hold part of it" in result["msg"] or not target.data


def test_a_server_that_cannot_say_the_end_is_refused_before_the_command_runs(
    bring: Runner, server: Storage, taken: list[JSON]
) -> None:
    server.protocols = ("v4.channel.k8s.io",)
    server.feed = lambda *_asked: pytest.fail("it ran")
    result = bring(taken)
    assert result["failed"] and "Kubernetes 1.30 or newer" in result["msg"]
    assert "may hold part" not in result["msg"]


def test_a_stream_without_a_command_is_skipped_and_said(bring: Runner, export: Runner, server: Storage) -> None:
    server.execute = shell(printing(b"rows"))
    taken = export(DUMP)["volumes"]
    result = bring(taken)
    assert not result["changed"] and not result.get("failed")
    by_hand = f"restic dump {taken[0]['snapshot']} /ledger"
    assert by_hand in json.dumps(result["warnings"]) and by_hand in result["volumes"][0]["msg"]
    assert result["volumes"][0]["skipped"] and not result["volumes"][0]["complete"]
    server.feed = target = Target()
    now = {**BACK, "restore": {"command": ["psql"], "selector": "app=db", "container": "main"}}
    assert bring(taken, streams=[{**now, "namespace": "other"}, now])["volumes"][0]["complete"]
    assert target.words == ["psql"] and bytes(target.data) == b"rows"


def test_kinds_and_check_mode_and_what_is_kept(bring: Runner, server: Storage, taken: list[JSON]) -> None:
    server.feed = lambda *_asked: pytest.fail("it ran")
    assert bring(taken, kinds=["volumes"])["volumes"] == []
    planned = bring(taken, check=True)
    assert planned["changed"] and "is given to pg_restore in a pod of shop" in planned["volumes"][0]["msg"]
    kept = bring(taken, existing="keep")
    assert not kept["changed"] and kept["volumes"][0]["msg"] == "what is there is kept"
    lost = bring([{**taken[0], "snapshot": "f" * 64, "tree": "e" * 64}])
    assert lost["failed"] and "is not in repository" in lost["msg"] and lost["volumes"][0]["failed"]
    other = bring([{**taken[0], "tree": "e" * 64}])
    assert other["failed"] and "recorded is eeee" in other["msg"]


def test_it_waits_for_a_ready_pod_and_takes_a_running_one_when_the_time_is_over(
    bring: Runner, server: Storage, taken: list[JSON]
) -> None:
    server.add(ready("db-0", state="False"))
    server.feed = target = Target()
    later = threading.Timer(0.5, server.add, [ready("db-1")])
    later.start()
    assert bring(taken)["volumes"][0]["complete"] and target.saw_end
    later.join()
    server.remove("pods", "shop", "db-1")
    hurried = [{**BACK, "restore": {**BACK["restore"], "wait_timeout": "10ms"}}]
    assert bring(taken, streams=hurried)["volumes"][0]["complete"]
    server.remove("pods", "shop", "db-0")
    result = bring(taken, streams=hurried)
    assert result["failed"] and "no running pod in shop matches app=db after 0.01 seconds" in result["msg"]
