# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who holds a lock, and which locks go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    InvalidInput,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import locks
from ansible_collections.muster.container_dr.plugins.module_utils._restic.locks import Holder, Locks, Verdict
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory

POD = "muster-data-0-1a2b3c4d5e-x7k2p"
ALIVE = Verdict(Holder.ALIVE, "pod is not finished")
ENDED = Verdict(Holder.GONE, "pod has finished")
ABSENT = Verdict(Holder.GONE, "no pod of this name is at east", absent=True)
UNSURE = Verdict(Holder.UNKNOWN, "west could not be asked")


class Held:
    """Locks as files; ``on_read`` may change them while somebody looks."""

    target = "repository /srv"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents: dict[str, dict[str, Any]] = {}
        self.on_read: Callable[[str], None] = lambda _name: None
        self.reads: list[str] = []
        (root / "locks").mkdir()

    def put(self, digit: str, hostname: str = POD, *, age: float = 0, pid: int = 9, exclusive: bool = False) -> str:
        written = clock.iso(clock.now() - timedelta(seconds=age))
        more = {"username": "root", "pid": pid, **({"exclusive": True} if exclusive else {})}
        name = digit * 64
        self.documents[name] = {"time": written, "hostname": hostname, **more}
        (self.root / "locks" / name).write_bytes(b"sealed")
        return name

    def lock_ids(self) -> list[str]:
        return sorted(path.name for path in (self.root / "locks").iterdir())

    def lock(self, name: str) -> dict[str, Any]:
        self.reads.append(name)
        self.on_read(name)
        if name not in self.lock_ids() or name not in self.documents:
            raise Incomplete("read", f"lock {name[:16]}", "ciphertext verification failed")
        return self.documents[name]


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "INTERVAL", 0.01)


def of(held: Held, verdict: Verdict | None = None, *, timeout: float = 0.05, raw: bool = True, **more: Any) -> Locks:
    def lookup(names: Collection[str]) -> Mapping[str, Verdict]:
        return dict.fromkeys(names, verdict) if verdict else {}

    store = Directory(held.root) if raw else None
    return Locks(held, store, lookup, timeout=timeout, **more)


def test_the_lock_of_a_finished_pod_goes_at_once(held: Held) -> None:
    name = held.put("a")
    warden = of(held, ENDED, timeout=0)
    (before,) = warden.judged()
    assert held.lock_ids() == [name] and before.result()["holder"] == "gone"
    warden.clear()
    assert held.lock_ids() == [] and [one.lock.id for one in warden.removed] == [name]
    assert warden.removed[0].result(removed=True)["why"] == "pod has finished"


def test_who_is_found_nowhere_is_gone_only_once_it_is_silent(held: Held) -> None:
    """Another cluster, or another machine of this name, may hold it; a living restic renews it every five minutes."""
    name = held.put("a", age=locks.SILENCE - 30)
    with pytest.raises(Refused, match="renews its lock before"):
        of(held, ABSENT).clear()
    assert held.lock_ids() == [name]
    held.put("a", age=locks.SILENCE + locks.CLOCKS + 1)
    of(held, ABSENT).clear()
    assert held.lock_ids() == []


def test_a_holder_whose_clock_is_behind_is_not_silent(held: Held) -> None:
    """The time in a lock is that of its holder's machine: one that was renewed just now may look old."""
    name = held.put("a", age=locks.SILENCE + 60)
    with pytest.raises(Refused, match="renews its lock before"):
        of(held, ABSENT).clear()
    assert held.lock_ids() == [name]


@pytest.mark.parametrize("age", [60, -3600])
def test_who_renews_nothing_while_we_watch_is_silent_whatever_the_clocks_say(
    held: Held, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    monkeypatch.setattr(locks, "SILENCE", 0.05)
    held.put("a", age=age)
    warden = of(held, ABSENT, timeout=60)
    assert warden.judged()[0].verdict.holder is Holder.UNKNOWN
    warden.clear()
    assert held.lock_ids() == []


def test_who_lives_is_waited_for_and_named(held: Held) -> None:
    held.put("a", exclusive=True, pid=77)
    with pytest.raises(
        Unavailable, match=rf"exclusive lock a{{16}} of process 77 of root at {POD}.*not finished"
    ) as said:
        of(held, ALIVE).clear()
    assert "lock_timeout" in said.value.hint and said.value.result["locks"][0]["holder"] == "alive"
    assert len(held.lock_ids()) == 1


def test_waiting_ends_with_the_lock(held: Held) -> None:
    name = held.put("a")
    looks: list[int] = []

    def lookup(_names: Collection[str]) -> Mapping[str, Verdict]:
        looks.append(1)
        if len(looks) == 3:
            (held.root / "locks" / name).unlink()
        return {POD: ALIVE}

    warden = Locks(held, Directory(held.root), lookup, timeout=10)
    warden.clear()
    assert len(looks) == 3 and not warden.removed and held.reads == [name]


def test_an_unknown_holder_is_refused_until_somebody_vouches(held: Held) -> None:
    name, other = held.put("a"), held.put("b", "laptop")
    with pytest.raises(Refused, match=r"could not be asked.*remove_locks: a{64}, b{64}"):
        of(held, UNSURE).clear()
    with pytest.raises(Refused, match="neither this machine nor a mover"):
        of(held, None, vouched=[name]).clear()
    assert held.lock_ids() == [other]
    of(held, None, vouched=["b" * 8]).clear()
    assert held.lock_ids() == []


def test_nobody_can_vouch_for_a_holder_that_is_seen_alive(held: Held) -> None:
    name = held.put("a")
    with pytest.raises(Unavailable):
        of(held, ALIVE, vouched=[name]).clear()
    assert held.lock_ids() == [name]


@pytest.mark.parametrize("name", ["", "abc", "*", "A" * 64, "a" * 65, "../../config"])
def test_only_ids_can_be_vouched_for(held: Held, name: str) -> None:
    with pytest.raises(InvalidInput):
        of(held, vouched=[name])


def test_a_lock_that_was_renewed_meanwhile_stays(held: Held) -> None:
    """Its holder was thought gone and writes its lock anew, before it removes the old one."""
    old = held.put("a", age=400)
    looks: list[int] = []

    def lookup(names: Collection[str]) -> Mapping[str, Verdict]:
        looks.append(1)
        if len(looks) == 1:
            held.put("b")
        return dict.fromkeys(names, ABSENT)

    warden = Locks(held, Directory(held.root), lookup, timeout=0.05)
    with pytest.raises(Refused):
        warden.clear()
    assert old in held.lock_ids() and not warden.removed


def test_a_lock_that_went_by_itself_is_no_error(held: Held) -> None:
    name = held.put("a")
    held.on_read = lambda read: (held.root / "locks" / read).unlink()
    of(held, ALIVE, timeout=0).clear()
    assert held.reads == [name]


def test_a_lock_that_nobody_can_read_stays_until_vouched_for(held: Held) -> None:
    name = held.put("a")
    del held.documents[name]
    with pytest.raises(Refused, match=r"cannot be read .ciphertext"):
        of(held, ENDED).clear()
    held.documents[name] = {"time": "yesterday", "pid": 9}
    with pytest.raises(Refused, match="cannot be read"):
        of(held, ENDED).clear()
    of(held, ENDED, vouched=[name]).clear()
    assert held.lock_ids() == []


def test_a_server_that_does_not_answer_is_no_unreadable_lock(held: Held) -> None:
    held.put("a")

    def fail(_name: str) -> None:
        raise Unavailable("read", "a lock", "it does not answer")

    held.on_read = fail
    with pytest.raises(Unavailable, match="does not answer"):
        of(held, ENDED, vouched=["a" * 64]).clear()


def test_where_only_restic_reaches_the_repository_nothing_is_removed(held: Held) -> None:
    held.put("a")
    with pytest.raises(Refused, match="but not removed"):
        of(held, ENDED, raw=False, timeout=600).clear()
    assert len(held.lock_ids()) == 1


def test_a_store_that_does_not_delete(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.put("a")

    def denied(_self: Directory, key: str) -> None:
        raise Denied("delete", key, "Access Denied")

    monkeypatch.setattr(Directory, "delete", denied)
    with pytest.raises(Denied, match=r"refuses to delete .Access Denied"):
        of(held, ENDED).clear()


# -- processes of this machine ------------------------------------------------------------------------------------


def restic_like(tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["restic", "-c", "import time; time.sleep(60)"], executable=sys.executable, cwd=tmp_path)


def test_a_process_of_this_machine(held: Held, tmp_path: Path) -> None:
    process = restic_like(tmp_path)
    try:
        held.put("a", os.uname().nodename, pid=process.pid, age=9999)
        with pytest.raises(Unavailable, match=f"process {process.pid} of this machine is restic"):
            of(held).clear()
    finally:
        process.kill()
        # Not waited for yet: it is a zombie, which writes nothing any more.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert of(held).judged()[0].verdict == Verdict(
            Holder.GONE, f"process {process.pid} of this machine has ended", absent=True
        )
        process.wait()
    assert of(held).judged()[0].verdict.why == f"no process {process.pid} is on this machine"
    of(held).clear()
    assert held.lock_ids() == []


def test_a_process_that_may_be_on_another_machine_of_this_name(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``restic unlock`` takes for stale at once."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    held.put("a", os.uname().nodename, pid=process.pid)
    with pytest.raises(Refused, match="no process"):
        of(held).clear()
    assert len(held.lock_ids()) == 1
    monkeypatch.setattr(locks, "SILENCE", -1.0)
    of(held).clear()
    assert held.lock_ids() == []


def test_a_number_that_another_program_has_now(held: Held) -> None:
    held.put("a", os.uname().nodename, pid=os.getpid(), age=9999)
    (one,) = of(held).judged()
    assert one.verdict.holder is Holder.UNKNOWN and "now" in one.verdict.why


def test_processes_in_containers_are_known_by_their_own_numbers(
    held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, inner, command in ((4711, 61_000_123, b"/usr/bin/restic\0backup"), (4712, 61_000_124, b"nginx\0")):
        folder = tmp_path / "proc" / str(number)
        folder.mkdir(parents=True)
        (folder / "status").write_text(f"Name:\tx\nState:\tS (sleeping)\nNSpid:\t{number}\t{inner}\n")
        (folder / "cmdline").write_bytes(command)
    monkeypatch.setattr(locks, "_PROC", tmp_path / "proc")
    assert locks.process_verdict(61_000_123) == Verdict(Holder.ALIVE, "process 4711 of this machine is restic")
    # A number inside a container says nothing where that process is no restic.
    assert locks.process_verdict(61_000_124).holder is Holder.GONE


@pytest.mark.parametrize(
    ("error", "holder"), [(PermissionError, Holder.UNKNOWN), (None, Holder.UNKNOWN), (ProcessLookupError, Holder.GONE)]
)
def test_processes_that_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError] | None, holder: Holder
) -> None:
    def kill(_pid: int, _signal: int) -> None:
        if error:
            raise error

    monkeypatch.setattr(locks, "_PROC", tmp_path / "none")
    monkeypatch.setattr(locks.os, "kill", kill)
    assert locks.process_verdict(5).holder is holder
    assert locks.process_verdict(0).holder is Holder.UNKNOWN
