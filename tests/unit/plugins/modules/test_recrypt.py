# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second site whose repository has a key of its own: copied by the real restic, found by what the documents say."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from fakes.modules import call
from fakes.real_restic import PASSWORD, Bed, real
from fakes.s3 import FakeS3
from fakes.shifted_clock import ShiftedClock

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._restic import repository as restic_repository
from ansible_collections.muster.container_dr.plugins.modules import (
    recovery_point,
    recovery_point_info,
    repository,
    repository_mirror,
)

JSON = dict[str, Any]
APP = {"name": "ledger", "namespaces": ["ledger"]}
LOCK = {"mode": "governance", "retain": "30d"}
pytestmark = real


@dataclass
class Site:
    """A repository in a directory with its catalogue; ``root`` has the keys that sign."""

    root: Path
    name: str
    password: str = PASSWORD
    points: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("repository", "store"):
            (self.place / folder).mkdir(parents=True)

    @property
    def place(self) -> Path:
        return self.root / self.name

    @cached_property
    def bed(self) -> Bed:
        bed = Bed(self.place)
        bed.options["password"] = self.password
        return bed

    @property
    def about(self) -> JSON:
        signing = {"key": str(self.root / "key"), "allowed_signers": str(self.root / "allowed")}
        return {"store": {"url": str(self.place / "store")}, "signing": signing}

    def seal(self, *volumes: str) -> str:
        """Back these up with some objects, and seal a point of it."""
        begun = call(recovery_point, state="begun", site=self.name, application=APP, **self.about)
        tags = ["muster", f"point={begun['id']}"]
        made = {name: self.bed.backup(name, host=f"k8s:{self.name}/{name}", tags=tags) for name in volumes}
        objects = self.bed.backup(f"objects-{begun['id']}", host="k8s:objects", tags=tags)
        call(
            recovery_point,
            state="sealed",
            site=self.name,
            **{key: begun[key] for key in ("id", "epoch", "parent", "started")},
            consistency={"point": begun["started"], "mode": "live"},
            objects={"snapshot": {"id": objects.id, "tree": objects.tree}},
            volumes=[
                {"name": name, "complete": True, "snapshot": one.id, "tree": one.tree, "host": one.host}
                for name, one in made.items()
            ],
            application=APP,
            **self.about,
        )
        self.points.append(begun["id"])
        return str(begun["id"])

    def pick(self, fails: str = "", **options: Any) -> JSON:
        """What a restore asks first."""
        wish = {"repository": self.bed.options, "verify": "data", "required": True, **options}
        return call(recovery_point_info, fails=fails, application=APP, **self.about, **wish)

    def snapshots(self) -> list[JSON]:
        found: list[JSON] = json.loads(self.bed.restic("snapshots", "--no-lock", "--json").stdout)
        return found

    def maintain(self, **options: Any) -> JSON:
        return call(repository, state="maintained", repository=self.bed.options, **self.about, **options)


def mirror(east: Site, west: Site, fails: str = "", **options: Any) -> JSON:
    """From the first of the two to the other."""
    wish: JSON = {"mode": "recrypt", "source": east.bed.options, "destination": west.bed.options, **options}
    stores = {"source_store": east.about["store"], "destination_store": west.about["store"]}
    return call(repository_mirror, fails=fails, application=APP, signing=east.about["signing"], **stores, **wish)


def flip(path: Path) -> None:
    """Alter one bit."""
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


Sites = Callable[..., Site]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / "key"], check=True, timeout=20)
    (root / "allowed").write_text("muster " + (root / "key.pub").read_text())
    return root


@pytest.fixture
def sites(keys: Path, tmp_path: Path) -> Sites:
    for path in keys.iterdir():
        shutil.copy2(path, tmp_path)

    def make(name: str, password: str = PASSWORD) -> Site:
        return Site(tmp_path, name, password)

    return make


@pytest.fixture
def east(sites: Sites) -> Site:
    made = sites("east")
    made.bed.begin("east")
    return made


@pytest.fixture
def empty(sites: Sites) -> Site:
    """Where no repository is yet."""
    return sites("empty", "of-this-alone")


@pytest.fixture
def west(sites: Sites, east: Site) -> Site:
    """Where one for copies is, which is opened fast."""
    made = sites("west", "of-west-alone")
    made.bed.begin("west", east.bed)
    return made


def test_points_are_restored_from_a_copy_that_no_key_of_the_source_opens(east: Site, empty: Site) -> None:
    point = east.seal("data", "logs")
    planned = mirror(east, empty, _ansible_check_mode=True)
    assert planned["changed"] and planned["objects_copied"] == 3 and not list((empty.place / "repository").iterdir())
    done = mirror(east, empty)
    assert done["objects_copied"] == done["objects_total"] == 3 and done["points_copied"] == [point]
    assert done["destination_id"] == empty.bed.opened.identify() != east.bed.opened.identify()
    assert {one["original"] for one in empty.snapshots()} == {one["id"] for one in east.snapshots()}
    document = "store/applications/ledger/points/" + point + ".json"
    assert (east.place / document).read_bytes() == (empty.place / document).read_bytes()
    picked = empty.pick()
    assert picked["point"]["id"] == point
    assert not mirror(east, empty, verify_existing=True)["changed"]
    wrong = {**empty.bed.options, "password": PASSWORD}
    said = empty.pick(fails="wrong password", repository=wrong, verify="names")
    assert "it was not opened" not in said["msg"]


def test_only_what_is_new_is_copied_and_what_was_lost_on_either_side_is_told_or_brought_back(
    east: Site, west: Site
) -> None:
    east.seal("data")
    mirror(east, west)
    first = {one["id"] for one in west.snapshots()}
    newest = east.seal("data")
    assert mirror(east, west)["points_copied"] == [newest]
    kept = {one["id"]: one["original"] for one in west.snapshots()}
    assert first < kept.keys() and len(kept) == 4
    gone = sorted(kept)[0]
    (west.place / "repository" / "snapshots" / gone).unlink()
    again = mirror(east, west)
    assert again["snapshots_copied"] == [kept[gone]] and {one["original"] for one in west.snapshots()} == {
        *kept.values()
    }
    (east.place / "repository" / "snapshots" / kept[gone]).unlink()
    lost = mirror(east, west)
    assert not lost["changed"] and f"no record of maintenance says why: {kept[gone]}" in str(lost["warnings"])
    # The other way round heals the source, under another id that is found all the same.
    assert mirror(west, east)["objects_copied"] == 1
    for site in (east, west):
        assert [one["usable"] for one in site.pick()["points"]] == [True, True]


def test_what_retention_took_from_the_source_goes_from_the_copy_and_nothing_else(east: Site, west: Site) -> None:
    """The volume did not change, so that its trees cannot tell the snapshots of the two points apart."""
    expired, newest = east.seal("data"), east.seal("data")
    mirror(east, west)
    (of_old, of_new) = [
        {one["id"] for one in west.snapshots() if f"point={point}" in one["tags"]} for point in (expired, newest)
    ]
    call(recovery_point, state="noted", application=APP, id=expired, kind="expired", **east.about)
    assert len(east.maintain()["forgotten"]) == 2
    assert not mirror(east, west)["objects_removed"]
    assert not mirror(east, west, remove_after="7d")["objects_removed"]
    planned = mirror(east, west, remove_after="0s", _ansible_check_mode=True)
    assert planned["objects_removed"] == 2 and {one["id"] for one in west.snapshots()} == of_old | of_new
    done = mirror(east, west, remove_after="0s")
    assert done["objects_removed"] == 2 and {one["id"] for one in west.snapshots()} == of_new
    assert not mirror(east, west, remove_after="0s")["changed"]
    assert west.pick()["point"]["id"] == newest
    assert not west.maintain(_ansible_check_mode=True)["forgotten"]


def test_maintenance_of_the_copy_finds_by_the_first_id_what_each_point_needs(east: Site, west: Site) -> None:
    expired, newest = east.seal("data"), east.seal("data")
    call(recovery_point, state="noted", application=APP, id=expired, kind="expired", **east.about)
    mirror(east, west)
    done = west.maintain()
    assert {tag for one in done["forgotten"] for tag in one["tags"]} == {"muster", f"point={expired}"}
    assert done["kept"] == 2 and west.pick()["point"]["id"] == newest
    # At the source it is still there: nobody brings it back here as long as its point is expired here.
    checked = call(repository, state="checked", repository=west.bed.options, **west.about)
    assert not any(entry["failed"] for entry in checked["points"])


def test_a_lock_at_the_copy_keeps_it_whole_and_the_mirror_goes_on(
    east: Site, west: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, newest = east.seal("data"), east.seal("data")
    mirror(east, west)
    call(recovery_point, state="noted", application=APP, id=expired, kind="expired", **east.about)
    east.maintain()
    monkeypatch.setattr(restic_repository, "RETRY_LOCK", "0s")
    monkeypatch.setattr(restic_repository.Repository.forget, "__kwdefaults__", {"retry_lock": "0s"})
    with west.bed.holder():
        done = mirror(east, west, remove_after="0s")
    assert not done["objects_removed"] and "locked by another process" in str(done["warnings"])
    assert west.pick()["point"]["id"] == newest


def test_what_was_made_at_the_copy_goes_back_and_a_raw_mirror_there_is_refused(east: Site, west: Site) -> None:
    east.seal("data")
    mirror(east, west)
    made = west.seal("data", "more")
    mirror(west, east, mode="raw", fails="another repository is there")
    back = mirror(west, east)
    assert back["points_copied"] == [made] and back["objects_copied"] == 3
    assert east.pick()["point"]["id"] == made and not mirror(east, west)["changed"]


def test_a_raw_copy_of_the_copy_serves_the_points_of_the_first(east: Site, west: Site, sites: Sites) -> None:
    point = east.seal("data")
    mirror(east, west)
    third = sites("third", west.password)
    options = {key: value for key, value in third.bed.options.items() if key != "password"}
    blind = mirror(west, third, mode="raw", destination=options, fails="nor was it opened to look for a copy")
    assert not blind["points_copied"]
    assert mirror(west, third, mode="raw")["points_copied"] == [point]
    assert third.pick()["point"]["id"] == point
    unread = third.pick(fails="it has no password", repository=options, verify="names")
    assert not unread["point"]


def test_what_is_damaged_at_the_source_keeps_its_own_point_back_and_no_other(east: Site, west: Site) -> None:
    good = east.seal("data")
    packs = east.place / "repository" / "data"
    before = set(packs.rglob("*"))
    bad = east.seal("other")
    # The volume's and the objects' data; one of them is the first.
    path = min(path for path in set(packs.rglob("*")) - before if path.stat().st_size > 150_000)
    flip(path)
    done = mirror(east, west, fails="Could not copy snapshot")
    assert done["points_copied"] == [good] and done["objects_copied"] == 3
    assert len(done["failures"]) == 1 and "ciphertext verification failed" in done["failures"][0]
    assert west.pick()["point"]["id"] == good and bad not in str(west.pick()["points"])


def test_it_refuses_what_is_no_copy_with_a_key_of_its_own(east: Site, empty: Site, sites: Sites) -> None:
    east.seal("data")
    third = sites("third")
    mirror(east, third, mode="raw")
    mirror(east, third, fails="both are the same repository")
    empty.bed.opened.init()
    mirror(east, empty, fails="cuts files in another way")
    pinned = {**sites("fourth").bed.options, "id": "0" * 64}
    mirror(east, third, destination=pinned, fails=f"expected was the repository {'0' * 64}")
    mirror(east, third, destination={**pinned, "url": str(east.root / "nowhere")}, fails="it is not there")
    mirror(east, empty, object_lock=LOCK, fails="a directory has no object lock")


@pytest.fixture
def buckets() -> Iterator[tuple[FakeS3, FakeS3]]:
    with FakeS3() as first, FakeS3() as second:
        first.account, second.account = "reader", "writer"
        yield first, second


def test_buckets_of_two_accounts_are_copied_and_the_source_is_only_read(
    east: Site, empty: Site, buckets: tuple[FakeS3, FakeS3]
) -> None:
    point = east.seal("data")
    place = east.place / "repository"
    ours, theirs = buckets
    ours.objects = {f"east/{path.relative_to(place)}": path.read_bytes() for path in place.rglob("*") if path.is_file()}
    source = {
        **east.bed.options,
        "url": f"s3:{ours.url}/bucket/east",
        "access_key": "reader",
        "secret_key": "secret-of-reader",
    }
    target = {
        **empty.bed.options,
        "url": f"s3:{theirs.url}/bucket/west",
        "access_key": "writer",
        "secret_key": "secret-of-writer",
    }
    done = mirror(east, empty, source=source, destination=target)
    assert done["points_copied"] == [point] and not ours.writes()
    assert empty.pick(repository=target)["point"]["id"] == point
    assert not mirror(east, empty, source=source, destination=target)["changed"]
    # And from a bucket to a directory, with a login that ends halfway.
    east.seal("data")
    ours.refuse, ours.refusal = "/data/", (403, "ExpiredToken", "The provided token has expired.")
    ours.objects |= {
        f"east/{path.relative_to(place)}": path.read_bytes() for path in place.rglob("*") if path.is_file()
    }
    failed = mirror(east, empty, source=source, fails="refuses the credentials (ExpiredToken)")
    assert not failed["points_copied"] and failed["destination_id"]
    ours.refuse = ""
    assert len(mirror(east, empty, source=source)["points_copied"]) == 1


# -- a copy that nobody can delete --------------------------------------------------------------------------------


class Vault:
    """A bucket with locks which has the repository of west, and the store beside it."""

    def __init__(self, bucket: FakeS3, east: Site, west: Site) -> None:
        self.bucket, self.east = bucket, east
        login = {"access_key": "a", "secret_key": "canary-secret"}
        place = west.place / "repository"
        for path in place.rglob("*"):
            if path.is_file():
                bucket.add(f"repository/{path.relative_to(place)}", path.read_bytes())
        self.options = {**west.bed.options, "url": f"s3:{bucket.url}/bucket/repository", **login}
        self.store = {"url": "s3://bucket/store", "endpoint_url": bucket.url, **login}

    def mirror(self, fails: str = "", **options: Any) -> JSON:
        at = {"destination": self.options, "destination_store": self.store, "object_lock": LOCK, **options}
        wish = {"mode": "recrypt", "source": self.east.bed.options, "source_store": self.east.about["store"], **at}
        signing = self.east.about["signing"]
        return call(repository_mirror, fails=fails, **{"application": APP, "signing": signing, **wish})

    def pick(self, fails: str = "") -> JSON:
        at = {"repository": self.options, "store": self.store, "signing": self.east.about["signing"]}
        return call(recovery_point_info, fails=fails, application=APP, verify="data", required=True, **at)

    def seen(self, *kinds: str) -> list[str]:
        """What can be seen of the repository but for restic's own locks."""
        found = [key.removeprefix("repository/") for key in self.bucket.objects if key.startswith("repository/")]
        kinds = kinds or ("config", "keys", "data", "index", "snapshots")
        return sorted(key for key in found if key.partition("/")[0] in kinds)

    def until(self) -> datetime:
        """When the first lock of what can be seen ends; all of it must have one."""
        held = [self.bucket.current(f"repository/{key}") for key in self.seen()]
        assert all(one.mode == "GOVERNANCE" for one in held)
        return min(one.until for one in held if one.until)

    def hide(self, *keys: str) -> None:
        for key in keys:
            self.bucket.add(f"repository/{key}", None)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    made = ShiftedClock()
    monkeypatch.setattr(clock, "now", made)
    return made


@pytest.fixture
def vault(east: Site, west: Site) -> Iterator[Vault]:
    with FakeS3(locks=True) as bucket:
        yield Vault(bucket, east, west)


def test_what_restic_has_copied_is_locked_and_the_record_says_until_when(vault: Vault, time: ShiftedClock) -> None:
    vault.east.seal("data")
    # What restic took away before there were locks stays away.
    old = f"index/{hashlib.sha256(b'old').hexdigest()}"
    vault.bucket.add(f"repository/{old}", b"old")
    vault.hide(old)
    planned = vault.mirror(_ansible_check_mode=True)
    assert planned["objects_copied"] == 2 and not vault.seen("snapshots")
    done = vault.mirror()
    until = clock.parse(done["object_lock"]["until"])
    assert timedelta(days=29, hours=23) < until - clock.now() <= timedelta(days=30) and vault.until() >= until
    # Config and key were there before, without a lock.
    assert done["object_lock"]["renewed"] == 2 and done["objects_repaired"] == 0 and old not in vault.seen()
    never = {key for key in vault.bucket.history if "/locks/" in key}
    assert never and not any(one.until for key in never for one in vault.bucket.history[key])
    lock = {"mode": "governance", "until": done["object_lock"]["until"]}
    assert vault.pick()["point"]["lock"] == lock
    assert not vault.mirror()["changed"]
    time.days(14)
    vault.east.seal("data")
    second = vault.mirror()
    # What is new is locked for longer, and the record is about all.
    assert second["object_lock"]["until"] == lock["until"] and second["object_lock"]["renewed"] == 0
    assert vault.until() == until
    time.days(2)
    later = vault.mirror()
    assert later["object_lock"]["renewed"] > 6 and later["changed"]
    assert vault.until() >= clock.parse(later["object_lock"]["until"]) > until + timedelta(days=13)


def test_what_was_hidden_or_written_over_at_the_copy_is_brought_back_by_name(vault: Vault, time: ShiftedClock) -> None:
    point = vault.east.seal("data")
    vault.mirror()
    time.days(1)
    before = {key: vault.bucket.objects[f"repository/{key}"] for key in vault.seen()}
    (pack, *_others) = vault.seen("data")
    vault.hide(*(key for key in before if key != pack))
    vault.bucket.add(f"repository/{pack}", b"!" * len(before[pack]))
    planned = vault.mirror(_ansible_check_mode=True, fails="Run it without check mode")
    assert planned["objects_repaired"] == len(before)
    done = vault.mirror()
    assert done["objects_repaired"] == len(before) and done["objects_copied"] == 0 and done["changed"]
    assert "were damaged or hidden" in str(done["warnings"])
    assert {key: vault.bucket.objects[f"repository/{key}"] for key in vault.seen()} == before
    assert vault.until() and vault.pick()["point"]["id"] == point
    # The locks of what was brought back are those of the day before.
    assert clock.parse(done["object_lock"]["until"]) <= vault.until() and not vault.mirror()["changed"]


def test_what_retention_takes_away_is_hidden_on_record_and_goes_when_its_lock_ends(
    vault: Vault, time: ShiftedClock
) -> None:
    east = vault.east
    expired, newest = east.seal("data"), east.seal("data")
    vault.mirror()
    call(recovery_point, state="noted", application=APP, id=expired, kind="expired", **east.about)
    assert len(east.maintain()["forgotten"]) == 2
    alone = {"allowed_signers": east.about["signing"]["allowed_signers"]}
    refused = vault.mirror(remove_after="0s", signing=alone)
    assert not refused["objects_removed"] and "without signing.key" in str(refused["warnings"])
    there = set(vault.seen())
    done = vault.mirror(remove_after="0s")
    hidden = there - set(vault.seen())
    assert done["objects_removed"] == 2 and len({key for key in hidden if key.startswith("snapshots/")}) == 2
    assert {"data", "index"} < {key.partition("/")[0] for key in hidden}
    assert done["object_lock"]["kept"] == len(hidden) and "needed no more are locked" in str(done["warnings"])
    assert all(vault.bucket.history[f"repository/{key}"][0].locked for key in hidden)
    # Nobody takes it for hidden by somebody else.
    again = vault.mirror(remove_after="0s")
    assert not again["changed"] and again["object_lock"]["kept"] == len(hidden)
    time.days(16)
    # Locks are renewed, but not theirs.
    assert vault.mirror()["object_lock"]["kept"] == len(hidden)
    time.days(15)
    last = vault.mirror(remove_after="0s")
    assert last["changed"] and last["object_lock"]["kept"] == 0
    assert not any(vault.bucket.history[f"repository/{key}"] for key in hidden)
    assert vault.pick()["point"]["id"] == newest


def test_without_a_record_what_was_taken_away_is_brought_back_and_taken_away_again(vault: Vault) -> None:
    east = vault.east
    expired, newest = east.seal("data"), east.seal("data")
    vault.mirror()
    call(recovery_point, state="noted", application=APP, id=expired, kind="expired", **east.about)
    east.maintain()
    there = vault.seen("snapshots")
    vault.mirror(remove_after="0s")
    for key in [key for key in vault.bucket.objects if "/maintenance/copies/" in key]:
        vault.bucket.add(key, None)
    done = vault.mirror(remove_after="0s")
    assert done["objects_repaired"] > 2 and done["objects_removed"] == 2
    assert len(vault.seen("snapshots")) == len(there) - 2 and vault.pick()["point"]["id"] == newest
    assert not vault.mirror(remove_after="0s")["changed"]


def test_while_somebody_holds_an_exclusive_lock_nothing_is_taken_for_hidden(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.east.seal("data")
    vault.mirror()
    (pack, *_others) = vault.seen("data")
    vault.hide(pack)
    said = {"exclusive": True}
    monkeypatch.setattr(restic_repository.Repository, "lock_ids", lambda _self: ["0" * 64])
    monkeypatch.setattr(restic_repository.Repository, "lock", lambda _self, _id: said)
    vault.mirror(fails="somebody holds an exclusive lock")
    assert pack not in vault.seen()
    # Backups hold such a one.
    said.clear()
    assert vault.mirror()["objects_repaired"] == 1 and pack in vault.seen()


def test_where_no_version_is_whole_it_is_told_and_no_point_that_needs_it_is_shown(vault: Vault) -> None:
    good = vault.east.seal("data")
    vault.mirror()
    pack = max(vault.seen("data"), key=lambda key: len(vault.bucket.objects[f"repository/{key}"]))
    size = len(vault.bucket.objects[f"repository/{pack}"])
    vault.bucket.history[f"repository/{pack}"].clear()
    vault.bucket.add(f"repository/{pack}", b"?" * 10)
    vault.bucket.add(f"repository/{pack}", b"!" * size)
    bad, other = vault.east.seal("data"), vault.east.seal("more")
    done = vault.mirror(fails=f"{pack} of repository")
    assert done["points_copied"] == [other] and not vault.bucket.current(f"repository/{pack}").until
    assert {good, bad}.isdisjoint(done["points_copied"])


# -- loss and rot -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data", "index"])
def test_what_the_copy_has_lost_is_told_and_no_point_that_needs_it_is_shown(east: Site, west: Site, kind: str) -> None:
    east.seal("data")
    mirror(east, west)
    place = west.place / "repository"
    path = max((path for path in (place / kind).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.unlink()
    assert mirror(east, west, fails="restic repair index", _ansible_check_mode=True)["objects_copied"] == 0
    new = sorted([east.seal("data"), east.seal("more")])
    done = mirror(east, west, fails=path.name if kind == "data" else "not found in repository")
    # Where a pack is gone restic says so of every snapshot; what an index named is copied again.
    assert sorted(done["points_copied"]) == ([] if kind == "data" else new)
    # What the error says to do.
    west.bed.restic("repair", "index")
    ids = [one["id"] for one in west.snapshots()]
    west.bed.restic("forget", *ids)
    healed = mirror(east, west, verify_existing=True)
    assert sorted(healed["points_copied"]) == (new if kind == "data" else [])
    assert len(west.snapshots()) == len(ids) and not mirror(east, west)["changed"]


def test_an_altered_bit_at_the_copy_is_found_by_reading_all(east: Site, west: Site) -> None:
    east.seal("data")
    mirror(east, west)
    path = max((west.place / "repository" / "data").rglob("*"), key=lambda path: path.stat().st_size)
    flip(path)
    east.seal("data")
    other = east.seal("more")
    done = mirror(east, west, verify_existing=True, fails=path.name)
    assert done["points_copied"] == [other]
