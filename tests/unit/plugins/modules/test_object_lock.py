# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""repository_mirror into a bucket with object lock, and what the record of it is worth; through main()."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.catalogued import Catalogued
from fakes.s3 import FakeS3
from fakes.shifted_clock import ShiftedClock

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.modules import (
    recovery_point,
    recovery_point_info,
    repository_mirror,
)

boto3 = pytest.importorskip("boto3")

JSON = dict[str, Any]
POINT = "20260101T000000Z-ledger-1a2b3c4d"
APP = {"name": "ledger", "namespaces": ["ledger"]}
LOCK = {"mode": "compliance", "retain": "30d"}
LOGIN = {"access_key": "a", "secret_key": "canary-secret"}
NOTES = {"repository/muster-lock.json", "store/applications/ledger/lock.json"}


@dataclass
class Places:
    """East is directories, west a bucket."""

    root: Path
    bucket: FakeS3
    time: ShiftedClock
    call: Callable[..., JSON]

    @property
    def store(self) -> JSON:
        return {"url": "s3://bucket/store", "endpoint_url": self.bucket.url, **LOGIN}

    def add(self, kind: str, data: bytes) -> str:
        """An object at east; its name."""
        name = hashlib.sha256(data).hexdigest()
        Directory(self.root / "repository").put(f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}", data)
        return name

    def mirror(self, **more: Any) -> JSON:
        options = {
            "application": APP,
            "source": {"url": str(self.root / "repository")},
            "destination": {"url": f"s3:{self.bucket.url}/bucket/repository", **LOGIN},
            "source_store": {"url": str(self.root / "store")},
            "destination_store": self.store,
            "verify_signatures": False,
            "object_lock": LOCK,
            **more,
        }
        return self.call(repository_mirror, **options)

    def lock_of_point(self) -> JSON | None:
        found = self.call(
            recovery_point_info, application=APP, store=self.store, verify_signatures=False, pick="none", fails=""
        )
        (point,) = found["points"]
        lock: JSON | None = point["lock"]
        return lock

    def give_up(self, *keys: str) -> None:
        """Maintenance took these away from east, a day ago."""
        removed: JSON = {}
        for key in keys:
            removed.setdefault(key.partition("/")[0], []).append(key.rpartition("/")[2])
            Directory(self.root / "repository").delete(key)
        digest = "sha256:" + hashlib.sha256(b"config").hexdigest()
        record = {"format": "muster/maintenance/v1", "config_digest": digest, "removed": removed}
        record["time"] = clock.iso(clock.now() - timedelta(days=1))
        Directory(self.root / "store").put("maintenance/record.json", json.dumps(record).encode())

    def asked(self) -> list[str]:
        """Keys whose locks were read or renewed since the last time."""
        lines = [line for line in self.bucket.requests if "?retention" in line]
        self.bucket.requests.clear()
        return lines


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Places]:
    def call(module: Any, check: bool = False, fails: str = "", **options: Any) -> JSON:
        with patch_module_args({"_ansible_check_mode": check, **options}), pytest.raises(SystemExit):
            module.main()
        result: JSON = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) == bool(fails) and fails in result["msg"], result["msg"]
        return result

    time = ShiftedClock()
    monkeypatch.setattr(clock, "now", time)
    # What boto3 reads of its own files takes longer than all the rest.
    session = boto3.session.Session()
    monkeypatch.setattr(boto3.session, "Session", lambda: session)
    with FakeS3(locks=True) as bucket:
        bucket.page = 3
        made = Places(tmp_path, bucket, time, call)
        (tmp_path / "repository").mkdir()
        (tmp_path / "repository" / "config").write_bytes(b"config")
        made.add("keys", b"key")
        made.add("index", b"index")
        for number in range(4):
            made.add("data", b"data %d" % number)
        # Larger than what is held in memory on its way.
        made.add("data", b"x" * (9 << 20))
        snapshot = made.add("snapshots", b"snapshot")
        document = Catalogued(tmp_path / "store").seal(POINT, objects=(snapshot, "tree"))
        document.with_suffix(".json.sig").write_bytes(b"signature")
        yield made


def key_of(places: Places, kind: str, number: int = 0) -> str:
    return sorted(key for key in places.bucket.history if key.startswith(f"repository/{kind}/"))[number]


def locks(places: Places) -> dict[str, datetime]:
    """Until when what can be seen is locked; the notes apart."""
    assert places.bucket.objects.keys() >= NOTES
    found = {key: places.bucket.current(key) for key in places.bucket.objects.keys() - NOTES}
    assert all(version.mode == "COMPLIANCE" for version in found.values()), found
    return {key: version.until for key, version in found.items() if version.until}


def test_all_that_is_mirrored_is_locked_and_the_record_says_until_when(places: Places) -> None:
    planned = places.mirror(check=True)
    assert not places.bucket.history
    done = places.mirror()
    assert done["objects_copied"] == planned["objects_copied"] == 9
    assert done["object_lock"]["mode"] == "compliance" and done["object_lock"]["renewed"] == 0
    until = clock.parse(done["object_lock"]["until"])
    assert timedelta(days=29, hours=23) < until - clock.now() <= timedelta(days=30)
    held = locks(places)
    assert len(held) == 9 + 2 and min(held.values()) >= until
    assert not any(places.bucket.current(note).until for note in NOTES)
    assert places.lock_of_point() == {"mode": "compliance", "until": done["object_lock"]["until"]}
    again = places.mirror()
    assert (again["changed"], again["object_lock"]["until"]) == (False, done["object_lock"]["until"])


def test_a_bucket_without_locks_gets_nothing(places: Places, tmp_path: Path) -> None:
    with FakeS3() as plain:
        at = {"destination": {"url": f"s3:{plain.url}/bucket/repository", **LOGIN}}
        refused = places.mirror(fails="versioning and object lock of bucket bucket is not enabled", **at)
        assert "--object-lock-enabled-for-bucket" in refused["msg"]
        store = {"url": "s3://bucket/store", "endpoint_url": plain.url, **LOGIN}
        places.mirror(fails="is not enabled", destination_store=store)
        assert not plain.objects and not places.bucket.history
    (tmp_path / "west").mkdir()
    places.mirror(fails="a directory has no object lock", destination={"url": str(tmp_path / "west")})
    places.mirror(fails="a directory has no object lock", destination_store={"url": str(tmp_path / "west")})
    assert not list((tmp_path / "west").iterdir())
    places.mirror(fails="no time at all", object_lock={"mode": "governance", "retain": "0s"})


def test_locks_are_renewed_when_half_of_the_time_has_passed(places: Places) -> None:
    first = places.mirror()["object_lock"]["until"]
    # The run before ended just now, and what it wrote at its end is looked at once more.
    places.time.days(1)
    assert places.mirror()["changed"] is False
    places.time.days(13)
    places.asked()
    within = places.mirror()
    assert (within["changed"], within["object_lock"]["until"]) == (False, first)
    assert all(line.startswith("GET") for line in places.asked())
    places.time.days(2)
    planned = places.mirror(check=True)
    assert planned["changed"] and planned["object_lock"]["renewed"] == 11
    renewed = places.mirror()
    assert renewed["changed"] and renewed["object_lock"]["renewed"] == 11
    assert len([line for line in places.asked() if line.startswith("PUT")]) == 11
    assert min(locks(places).values()) >= clock.parse(renewed["object_lock"]["until"]) > clock.parse(first)
    assert places.lock_of_point() == {"mode": "compliance", "until": renewed["object_lock"]["until"]}
    assert places.mirror()["changed"] is False


def test_within_that_time_the_number_of_requests_does_not_grow_with_the_objects(places: Places) -> None:
    for number in range(100):
        places.add("data", b"more %d" % number)
    for _run in range(2):
        # What the last minutes of a run wrote is looked at once more, as clocks differ.
        places.mirror()
        places.time.days(1)
    places.asked()
    assert places.mirror()["changed"] is False
    # Sixteen of the repository, and of the two documents of the catalogue.
    assert len(places.asked()) == 16 + 2


def test_what_others_write_is_locked_by_the_next_run(places: Places) -> None:
    done = places.mirror()
    places.time.days(1)
    data = {"site": "west", "lock": {key: done["object_lock"][key] for key in ("mode", "until")}}
    noted = {"state": "noted", "kind": "copied", "ids": [POINT], "data": data}
    places.call(recovery_point, application=APP, store=places.store, **noted)
    (key,) = (key for key in places.bucket.objects if "/facts/" in key)
    assert places.bucket.current(key).until is None
    places.time.days(1)
    assert places.mirror()["object_lock"]["renewed"] == 1
    assert places.bucket.current(key).locked


@pytest.mark.parametrize("forged", [b"{}", b"\xff", None])
def test_a_note_that_was_forged_or_lost_keeps_nothing_from_being_renewed(places: Places, forged: bytes | None) -> None:
    places.mirror()
    places.time.days(20)
    for key in NOTES:
        note = json.loads(places.bucket.objects[key])
        note.update(until=clock.iso(clock.now() + timedelta(days=30)), time=clock.iso(clock.now()))
        places.bucket.add(key, json.dumps(note).encode() if forged == b"{}" else forged)
    assert places.mirror()["object_lock"]["renewed"] == 11
    assert min(locks(places).values()) > clock.now() + timedelta(days=29)


def test_locks_are_never_shortened_and_compliance_stays(places: Places) -> None:
    long = places.mirror(object_lock={"mode": "compliance", "retain": "90d"})
    done = places.mirror(object_lock={"mode": "governance", "retain": "10d"})
    assert done["changed"] is False
    assert min(locks(places).values()) >= clock.parse(long["object_lock"]["until"])
    places.time.days(86)
    assert places.mirror(object_lock={"mode": "governance", "retain": "10d"})["object_lock"]["renewed"] == 11
    assert min(locks(places).values()) > clock.now() + timedelta(days=9)


def test_what_was_mirrored_before_without_locks_gets_them(places: Places) -> None:
    assert places.mirror(object_lock=None)["object_lock"] is None
    assert not any(version.until for versions in places.bucket.history.values() for version in versions)
    assert places.lock_of_point() is None
    assert places.mirror()["object_lock"]["renewed"] == 11
    assert len(locks(places)) == 11


def test_a_key_that_may_not_renew_is_an_error(places: Places) -> None:
    places.mirror()
    places.time.days(20)
    places.bucket.refuse = r"PUT .*\?retention"
    places.mirror(fails="Could not lock")
    places.bucket.refuse = ""
    assert places.mirror()["object_lock"]["renewed"] == 11


def test_a_delete_marker_is_taken_away(places: Places) -> None:
    until = places.mirror()["object_lock"]["until"]
    places.time.days(1)
    before = dict(places.bucket.objects)
    for key in before:
        if key not in NOTES:
            places.bucket.add(key, None)
    bytes_there = sum(len(versions) for versions in places.bucket.history.values())
    done = places.mirror()
    # Nobody can tell whose a config or a document is that is hidden, so they are written anew.
    assert (done["objects_repaired"], done["bytes_copied"]) == (8, len(b"config"))
    assert done["points_copied"] == [POINT]
    # Their locks are those of the day before, and so is the record.
    assert done["object_lock"]["until"] == until
    assert places.bucket.objects == {**before, **{note: places.bucket.objects[note] for note in NOTES}}
    assert sum(len(versions) for versions in places.bucket.history.values()) < bytes_there
    assert places.mirror()["changed"] is False


@pytest.mark.parametrize("locked", [False, True])
def test_other_bytes_above_what_is_locked_are_found_without_reading_all(places: Places, locked: bool) -> None:
    places.mirror()
    before = dict(places.bucket.objects)
    far = clock.now() + timedelta(days=300)
    changed = [key_of(places, "data", 1), key_of(places, "index"), f"store/applications/ledger/points/{POINT}.json"]
    for key in changed:
        same_size = b"!" * len(before[key])
        places.bucket.add(key, same_size, *(("COMPLIANCE", far) if locked else ()))
    places.bucket.requests.clear()
    done = places.mirror(workers=1)
    read = {
        line for line in places.bucket.requests if line.startswith("GET /bucket/repository/data/") and "?" not in line
    }
    assert read == {f"GET /bucket/{changed[0]}"}
    assert done["objects_repaired"] == 2 and done["objects_copied"] == 0 and done["points_copied"] == [POINT]
    for key in changed:
        assert places.bucket.objects[key] == before[key] and places.bucket.current(key).locked


def test_where_no_version_is_whole_the_object_is_copied_again(places: Places) -> None:
    places.mirror()
    key = key_of(places, "data")
    good = places.bucket.objects[key]
    places.bucket.current(key).data = b"rotten"
    places.bucket.add(key, b"other")
    done = places.mirror()
    assert (done["objects_repaired"], done["objects_copied"]) == (1, 1)
    assert places.bucket.objects[key] == good and places.bucket.current(key).locked


def test_what_was_given_up_goes_when_its_lock_ends_and_is_not_hidden_before(places: Places) -> None:
    places.mirror()
    gone = [key_of(places, "data", number).removeprefix("repository/") for number in range(2)]
    places.give_up(*gone)
    kept = places.mirror(remove_after="1h")
    assert (kept["objects_removed"], kept["object_lock"]["kept"]) == (0, 2)
    assert clock.parse(kept["object_lock"]["kept_until"]) > clock.now() + timedelta(days=29)
    assert len([one for one in kept["warnings"] if "needed no more are locked" in str(one)]) == 1
    assert all(f"repository/{key}" in places.bucket.objects for key in gone)
    places.time.days(20)
    later = places.mirror(remove_after="1h")["object_lock"]
    # Those of the record of maintenance too, and not those of what was given up.
    assert (later["kept"], later["kept_until"]) == (2, kept["object_lock"]["kept_until"])
    places.time.days(11)
    done = places.mirror(remove_after="1h")
    assert (done["objects_removed"], done["object_lock"]["kept"]) == (2, 0)
    assert all(not places.bucket.history[f"repository/{key}"] for key in gone)


def test_a_lock_that_has_ended_is_none(places: Places) -> None:
    done = places.mirror()
    until = done["object_lock"]["until"]
    assert places.lock_of_point() == {"mode": "compliance", "until": until}
    # A point that was sealed there since is of no record.
    late = Catalogued(places.root / "late").seal("20260101T000001Z-ledger-1a2b3c4d")
    value = json.loads(late.read_text(encoding="utf-8"))
    value["sealed"] = clock.iso(clock.now() + timedelta(minutes=1))
    places.bucket.add(f"store/applications/ledger/points/{value['id']}.json", json.dumps(value).encode())
    found = places.call(recovery_point_info, application=APP, store=places.store, verify_signatures=False, pick="none")
    assert [point["lock"] is None for point in found["points"]] == [True, False]


MILLION = """
import re, sys
from datetime import timedelta
from pathlib import Path
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import Lock
from ansible_collections.muster.container_dr.plugins.module_utils._restic import mirror
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import LockedS3
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entry

def objects(prefix=""):
    if prefix == "keys/":
        yield Entry("keys/" + "0" * 64, 400)
    for number in range(COUNT if prefix == "data/" else 0):
        name = f"{number * (1 << 236):064x}"
        yield Entry(f"data/{name[:2]}/{name}", 1 << 24)

class Large(Directory):
    def list(self, prefix=""):
        return objects(prefix)

class Vault(LockedS3):
    place = "vault"
    lock = Lock("compliance", timedelta(days=30))
    def __init__(self):
        pass
    def probe(self):
        pass
    def find(self, key):
        return b"config" if key == "config" else None
    def versions(self, prefix):
        return objects(prefix)
    def held(self, key, **version):
        return None
    def renew(self, key, mode):
        pass
    def note(self, key, data):
        pass
    def tidy(self, prefix, age):
        pass

COUNT, here = int(sys.argv[1]), Path(sys.argv[2])
(here / "config").write_bytes(b"config")
done = mirror.plan(Large(here), Vault()).apply(Silent(), 8)
assert (done["objects_copied"], done["object_lock"]["renewed"]) == (0, COUNT + 2), done
# What getrusage says counts the process that started this one too.
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.nightly
def test_locks_of_a_million_objects_are_renewed_in_300_megabytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION, "1000000", tmp_path], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 300 << 10
