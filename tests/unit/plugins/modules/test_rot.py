# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever rots in a repository or in its catalogue is found before a restore, and is healed from the other side.

The repository is a real one and the points are sealed by the module. What is harmless is not listed here: it is what
a restore of everything that the point names does not mind.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from fakes.modules import call
from fakes.real_restic import Bed, real
from fakes.restic_program import ResticProgram
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.modules import (
    recovery_point,
    recovery_point_info,
    repository,
    repository_mirror,
)

JSON = dict[str, Any]
APP = {"name": "ledger", "namespaces": ["ledger"]}
SEED = 20261122
KINDS = ("config", "keys", "index", "snapshots", "data", "points", "facts")
# A hundred times in all, of which some minutes are spared to those who wait for the unit tests.
PARTS = [pytest.param(part, marks=[pytest.mark.nightly] if part else []) for part in range(5)]
WAYS = ("flip", "flip", "flip", "truncate", "empty", "delete", "swap", "append", "replace")


@dataclass
class Site:
    """A repository with its catalogue, ``name`` below ``root``, where the keys that sign are."""

    root: Path
    name: str
    points: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        return self.root / self.name

    @cached_property
    def bed(self) -> Bed:
        return Bed(self.place)

    @property
    def repository(self) -> JSON:
        return self.bed.options

    @property
    def store(self) -> JSON:
        return {"url": str(self.place / "store")}

    @property
    def signing(self) -> JSON:
        return {"key": str(self.root / "key"), "allowed_signers": str(self.root / "allowed")}

    def copy(self, name: str) -> Site:
        """Another site with the same; files are linked, so whoever alters one replaces it."""
        made = Site(self.root, name, self.points)
        shutil.rmtree(made.place, ignore_errors=True)
        shutil.copytree(self.place, made.place, copy_function=os.link, ignore=shutil.ignore_patterns("sources"))
        return made

    def seal(self, *volumes: str) -> str:
        """Back these up, each with its own random content, and objects; seal a point and return its id."""
        at: JSON = {"application": APP, "store": self.store, "signing": self.signing}
        # Ids of one second sort by chance, and these tests speak of the point before and of the newest.
        while self.points and self.points[-1] >= f"{clock.now():%Y%m%dT%H%M%SZ}":
            time.sleep(0.05)
        begun = call(recovery_point, state="begun", site="east", **at)
        made = {}
        for name in (*volumes, f"objects-{begun['id']}"):
            deep = self.place / "sources" / name / "deep"
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "small").write_text(name)
            made[name] = self.bed.backup(name, host=f"k8s:east/{name}", tags=["muster", f"point={begun['id']}"])
        objects = made.popitem()[1]
        call(
            recovery_point,
            state="sealed",
            site="east",
            **{key: begun[key] for key in ("id", "epoch", "parent", "started")},
            consistency={"point": begun["started"], "mode": "live"},
            objects={"snapshot": {"id": objects.id, "tree": objects.tree}},
            volumes=[
                {"name": name, "complete": True, "snapshot": one.id, "tree": one.tree, "host": one.host}
                for name, one in made.items()
            ],
            **at,
        )
        call(recovery_point, state="noted", id=begun["id"], kind="copied", data={"site": "west"}, **at)
        self.points = (*self.points, begun["id"])
        return str(begun["id"])

    def files(self, kind: str = "") -> list[Path]:
        """What may rot, in a stable order."""
        found = [*(self.place / "repository").rglob("*"), *(self.place / "store").rglob("*")]
        return sorted(
            path
            for path in found
            if path.is_file() and "locks" not in path.parts and (not kind or kind in path.relative_to(self.root).parts)
        )

    def contents(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.place)): path.read_bytes() for path in self.files()}

    def pick(self, fails: str | None = "", **options: Any) -> JSON:
        """What a restore asks first."""
        return call(
            recovery_point_info,
            fails=fails,
            **{"verify": "data", "required": True, **options},
            application=APP,
            store=self.store,
            repository=self.repository,
            signing=self.signing,
        )

    def restores(self, document: JSON) -> bool:
        """Whether all that a point names gives back what was put into it."""
        named = {volume["name"]: volume["snapshot"] for volume in document["volumes"]}
        named[f"objects-{document['id']}"] = document["objects"]["snapshot"]["id"]
        for name, identity in named.items():
            target, source = self.place / "restored" / name, self.root / "good" / "sources" / name
            done = self.bed.restic("--no-cache", "restore", "--no-lock", identity, "--target", str(target), check=False)
            files = [path for path in source.rglob("*") if path.is_file()]
            if done.returncode or any(
                (target / path.relative_to(source)).read_bytes() != path.read_bytes() for path in files
            ):
                return False
        return True

    def spoil(self, target: Path, way: str, dice: random.Random) -> None:
        """Let one object rot in one of the ways in which things do."""
        data = target.read_bytes()
        other = dice.choice([path for path in self.files() if path.suffix == target.suffix and path != target])
        target.unlink()
        if way == "flip":
            bit = dice.randrange(len(data) * 8)
            target.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
        elif way in ("truncate", "empty"):
            target.write_bytes(data[: dice.randrange(1, len(data)) if way == "truncate" else 0])
        elif way == "append":
            target.write_bytes(data + dice.randbytes(dice.randrange(1, 100)))
        elif way in ("swap", "replace"):
            target.write_bytes(other.read_bytes())
            if way == "swap":
                other.unlink()
                other.write_bytes(data)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two points that share a volume, and an older one that has expired; the repository has two keys."""
    root = tmp_path_factory.mktemp("rot")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / "key"], check=True, timeout=20)
    (root / "allowed").write_text("muster " + (root / "key.pub").read_text())
    site = Site(root, "good")
    (site.place / "store").mkdir(parents=True)
    site.bed.begin()
    (key,) = site.files("keys")
    another = key.read_bytes() + b"\n"
    key.with_name(hashlib.sha256(another).hexdigest()).write_bytes(another)
    expired = site.seal("gone")
    site.seal("shared", "first")
    site.seal("shared", "second")
    call(recovery_point, state="noted", application=APP, store=site.store, id=expired, kind="expired")
    return site


def spoilt(number: int) -> tuple[str, str, random.Random]:
    dice = random.Random(SEED + number)
    return KINDS[number % len(KINDS)], dice.choice(WAYS), dice


@real
@pytest.mark.parametrize("part", PARTS)
def test_what_rots_is_found_before_a_restore_or_does_it_no_harm(good: Site, part: int) -> None:
    """Each time a fresh copy, in which one thing is spoilt."""
    newest = good.points[-1]
    document = json.loads((good.place / f"store/applications/ledger/points/{newest}.json").read_bytes())
    found = []
    for number in range(20 * part, 20 * (part + 1)):
        kind, way, dice = spoilt(number)
        east = good.copy("east")
        target = dice.choice(east.files(kind))
        east.spoil(target, way, dice)
        story = f"{number}: {way} of {target.relative_to(east.place)}"
        result = east.pick(fails=None, id=newest)
        if result.get("failed"):
            found.append(story)
            names = (newest, target.name, target.name[:8], east.repository["url"])
            assert any(name in result["msg"] for name in names), (story, result["msg"])
        else:
            assert result["point"]["document"] == document and east.restores(document), story
    assert any("config" in story for story in found), found


# -- two sides ----------------------------------------------------------------------------------------------------


def mirror(source: Site, target: Site, **options: Any) -> JSON:
    return call(
        repository_mirror,
        **{"verify_existing": True, "fails": None, **options},
        application=APP,
        source=source.repository,
        destination=target.repository,
        source_store=source.store,
        destination_store=target.store,
        signing=source.signing,
    )


def empty(good: Site, name: str) -> Site:
    made = Site(good.root, name, good.points)
    shutil.rmtree(made.place, ignore_errors=True)
    for folder in ("repository", "store"):
        (made.place / folder).mkdir(parents=True)
    return made


def mirrored(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Without what stays where it is."""
    return {name: data for name, data in contents.items() if not name.endswith("about.json")}


def vouches(site: Site, name: str) -> bool:
    """Whether this is a signature, and one of the document as it was sealed."""
    if not name.endswith(".sig"):
        return False
    document = (site.root / "good" / name).with_suffix("").read_bytes()
    signing = Signing.of(site.signing)
    return (site.place / name).exists() and signing.verify(document, (site.place / name).read_bytes()).valid


@real
@pytest.mark.parametrize("part", PARTS)
def test_rot_never_overwrites_the_good_copy_and_is_healed_from_it(
    good: Site, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a source that has a copy, at one that has none yet, and at a destination."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    whole = good.contents()
    for number in range(20 * part, 20 * (part + 1)):
        kind, way, dice = spoilt(number)
        east, west, fresh = good.copy("east"), good.copy("west"), empty(good, "fresh")
        target = dice.choice(east.files(kind))
        east.spoil(target, way, dice)
        story = f"{number}: {way} of {target.relative_to(east.place)}"
        rotten = {name for name, data in east.contents().items() if whole[name] != data}
        rotten |= whole.keys() - east.contents().keys()
        for verify in (False, True):
            mirror(east, west, verify_existing=verify)
            assert west.contents() == whole, story
        # What nobody has whole is not passed on under a name that says otherwise.
        mirror(east, fresh)
        for name, data in fresh.contents().items():
            # Nobody knows what a config and a fact should be, and a signature has many spellings.
            free = name.endswith("config") or "/facts/" in name or vouches(fresh, name)
            assert data == whole[name] or (name in rotten and free), (story, name)
        healed = mirror(west, east)
        if "config" in str(rotten) and healed.get("failed"):
            assert "the config of one of them is damaged" in healed["msg"], healed["msg"]
            (east.place / "repository" / "config").unlink()
            healed = mirror(west, east)
        left = {name for name, data in mirrored(whole).items() if east.contents().get(name) != data}
        left -= {name for name in left if vouches(east, name)}
        # Of two facts that can both be read nobody knows which is right; it is said.
        assert all("/facts/" in name and name.removeprefix("store/") in str(healed["warnings"]) for name in left), (
            story,
            left,
        )
        assert not mirror(west, east).get("changed"), story


@real
def test_a_snapshot_that_vanished_is_known_from_the_catalogue(good: Site) -> None:
    """No data is read for it, no password is needed, and nothing that it needs is taken away meanwhile."""
    east, west, fresh = good.copy("east"), good.copy("west"), empty(good, "fresh")
    document = json.loads((east.place / f"store/applications/ledger/points/{east.points[-1]}.json").read_bytes())
    lost = document["volumes"][1]["snapshot"]
    (east.place / "repository" / "snapshots" / lost).unlink()
    told = f"the snapshot of volume second ({lost[:8]}) is not in the repository of this site"
    east.pick(fails=told, verify="names", id=east.points[-1])
    picked = east.pick(verify="names")
    assert picked["point"]["id"] == east.points[-2] and told in str(picked["points"][0]["reasons"])
    about: JSON = {"repository": east.repository, "store": east.store, "signing": east.signing}
    checked = call(repository, state="checked", fails=f"{east.points[-1]}: snapshot {lost[:16]} is not in", **about)
    assert [entry["failed"] for entry in checked["points"]] == [False, True]
    before = east.contents()
    words = f"it does not hold snapshot {lost[:16]} that {east.points[-1]} needs"
    for check in (True, False):
        call(repository, state="maintained", fails=words, _ansible_check_mode=check, **about)
    assert east.contents() == before
    given_up: JSON = {"accept_missing": [east.points[-1]], "_ansible_check_mode": True}
    call(repository, state="maintained", fails="", **given_up, **about)
    # A mirror that has it keeps it and says so; one that has it not does not show the point.
    assert lost in str(mirror(east, west, verify_existing=False)["warnings"])
    alone = mirror(east, fresh, fails=lost)
    assert alone["points_copied"] == list(east.points[:-1])
    mirror(west, east, fails="")
    call(repository, state="checked", check_data="100%", fails="", **about)
    assert east.pick()["point"]["id"] == east.points[-1]


@real
def test_a_document_that_vanished_is_missed_and_its_data_stays(good: Site) -> None:
    east = good.copy("east")
    gone = east.place / f"store/applications/ledger/points/{east.points[1]}.json"
    gone.unlink()
    about: JSON = {"repository": east.repository, "store": east.store, "signing": east.signing}
    words = f"{east.points[1]}: its document is gone"
    call(repository, state="checked", fails=words, **about)
    assert east.points[1] in str(east.pick(verify="names")["warnings"])
    made = call(repository, state="maintained", unsealed_after="0", fails="", **about)
    assert {one["reason"] for one in made["kept_unexplained"]} == {
        f"the document of {east.points[1]} is gone from the store"
    }
    # Also where nothing is left of it but the next point's word.
    gone.with_suffix(".json.sig").unlink()
    shutil.rmtree(east.place / f"store/applications/ledger/facts/{east.points[1]}")
    call(repository, state="checked", fails=words, **about)


@real
def test_every_bit_of_every_point_is_looked_at_where_that_is_asked_for(good: Site) -> None:
    east = good.copy("east")
    about: JSON = {"repository": east.repository, "store": east.store, "signing": east.signing, "state": "checked"}
    assert [entry["name"] for entry in call(repository, check_data="100%", **about)["points"]] == list(east.points[1:])
    signature = east.place / f"store/applications/ledger/points/{east.points[1]}.json.sig"
    data = signature.read_bytes()
    signature.unlink()
    call(repository, fails="its signature is missing", **about)
    signature.write_bytes(data.replace(b"A", b"B"))
    call(repository, fails=f"{east.points[1]}: signature not valid", **about)
    pack = max(east.files("data"), key=lambda path: path.stat().st_size)
    data = pack.read_bytes()
    pack.unlink()
    pack.write_bytes(data[:5000] + b"rot" + data[5003:])
    call(repository, check_data="100%", fails=pack.name, **about)


@real
def test_a_hold_that_nobody_can_read_still_holds(good: Site) -> None:
    east = good.copy("east")
    at: JSON = {"application": APP, "store": east.store, "signing": east.signing}
    call(recovery_point, state="noted", id=east.points[1], kind="held", data={"reason": "audit"}, **at)
    (held,) = (east.place / f"store/applications/ledger/facts/{east.points[1]}").glob("*-held.json")
    held.write_bytes(b"\0" * 100)
    rules = {"keep_last": 1, "minimum": 1, "may_shrink": ["first"]}
    found = call(recovery_point, state="expired", retention=rules, _ansible_check_mode=True, **at)
    assert {one["name"]: one["keep"] for one in found["decisions"]}[east.points[1]]
    assert "cannot be read" in str(east.pick(verify="names")["warnings"])


@real
def test_a_point_whose_data_is_gone_does_not_push_out_one_that_has_its_own(good: Site) -> None:
    east = good.copy("east")
    older, newest = east.points[1:]
    document = json.loads((east.place / f"store/applications/ledger/points/{newest}.json").read_bytes())
    rules = {"keep_last": 1, "minimum": 1, "may_shrink": ["*"]}
    at: JSON = {"application": APP, "store": east.store, "signing": east.signing, "retention": rules}

    def kept() -> JSON:
        found = call(recovery_point, state="expired", repository=east.repository, _ansible_check_mode=True, **at)
        return {one["name"]: one["msg"] for one in found["decisions"] if one["keep"]}

    assert list(kept()) == [newest]
    (east.place / "repository" / "snapshots" / document["volumes"][1]["snapshot"]).unlink()
    left = kept()
    assert "the snapshot of volume second" in left[newest] and "the last good one" in left[older]


# -- broken off ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(good: Site) -> Site:
    """One object of each kind, and a point; names are digests, which is all that a mirror knows."""
    site = empty(good, "small")
    (site.place / "repository" / "config").write_bytes(b"config")
    names = {}
    for kind in ("keys", "data", "index", "snapshots"):
        names[kind] = hashlib.sha256(kind.encode()).hexdigest()
        folder = site.place / "repository" / kind / (names[kind][:2] if kind == "data" else "")
        folder.mkdir(parents=True)
        (folder / names[kind]).write_bytes(kind.encode())
    at: JSON = {"application": APP, "store": site.store, "signing": site.signing}
    begun = call(recovery_point, state="begun", site="east", **at)
    about = {key: begun[key] for key in ("id", "epoch", "parent", "started")}
    about["objects"] = {"snapshot": {"id": names["snapshots"], "tree": "t"}}
    about["consistency"] = {"point": begun["started"], "mode": "live"}
    call(recovery_point, state="sealed", site="east", **about, **at)
    call(recovery_point, state="noted", id=begun["id"], kind="copied", **at)
    return site


@pytest.mark.parametrize("version", ["0.18.1", "0.19.0"])
def test_restic_looks_at_the_snapshots_of_the_point_where_it_can(small: Site, tmp_path: Path, version: str) -> None:
    program = ResticProgram(tmp_path)
    program.answer("version", {"message_type": "version", "version": version})
    small.bed.options["restic"] = str(program.path)
    document = small.pick()["point"]["document"]
    only = f" {document['objects']['snapshot']['id']}" if version == "0.19.0" else ""
    assert program.calls[-1] == f"--json --no-cache check --no-lock --read-data-subset 100%{only}"
    alone = {"application": APP, "store": small.store, "signing": small.signing}
    call(recovery_point_info, verify="data", fails="no repository was given", **alone)


class Killed(BaseException):
    """The power went."""


def nothing_half(small: Site, held: dict[str, bytes]) -> None:
    """Whatever has its final name is whole, and no point is seen before all of the repository is there."""
    whole = small.contents()
    assert all(whole[name] == data for name, data in held.items())
    if any(name.endswith(".json") and "/points/" in name for name in held):
        assert {name for name in whole if name.startswith("repository/")} <= held.keys()
    for name in held:
        assert "/points/" not in name or name.endswith(".sig") or f"{name}.sig" in held


def test_a_mirror_that_is_killed_at_any_write_shows_nothing_half_and_converges(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write flushes a file and, once that has its name, its folder; the power goes at each of these moments."""
    writes, limit, unlink = 0, 1, Path.unlink

    def flush(_handle: int) -> None:
        nonlocal writes
        writes += 1
        if writes >= limit:
            raise Killed

    def clean(path: Path, missing_ok: bool = False) -> None:
        if writes < limit:
            unlink(path, missing_ok)

    def seen(west: Site) -> dict[str, bytes]:
        return {name: data for name, data in west.contents().items() if ".muster-tmp-" not in name}

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "unlink", clean)
    for number in itertools.count(1):
        west = empty(small, "west")
        writes, limit = 0, number
        try:
            mirror(small, west, workers=1, fails="")
            break
        except Killed:
            nothing_half(small, seen(west))
        limit = 10**9
        mirror(small, west, workers=1, fails="")
        assert seen(west) == mirrored(small.contents())
    assert number > 2 * len(seen(west))


def test_a_bucket_that_stops_at_any_write_shows_nothing_half_and_converges(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3")
    session = boto3.session.Session()
    monkeypatch.setattr(boto3.session, "Session", lambda: session)
    with FakeS3() as bucket:

        def copy(writes: int) -> JSON:
            bucket.writes_left = writes
            login = {"access_key": "a", "secret_key": "s"}
            return call(
                repository_mirror,
                fails=None,
                application=APP,
                source=small.repository,
                destination={"url": f"s3:{bucket.url}/bucket/repository", **login},
                source_store=small.store,
                destination_store={"url": "s3://bucket/store", "endpoint_url": bucket.url, **login},
                signing=small.signing,
                workers=1,
            )

        for number in itertools.count():
            bucket.objects.clear()
            if not copy(number).get("failed"):
                break
            nothing_half(small, bucket.objects)
            assert not copy(10**6).get("failed")
            assert bucket.objects == mirrored(small.contents())
        assert number == len(bucket.objects)


# -- large --------------------------------------------------------------------------------------------------------

MILLION = """
import re, sys
from pathlib import Path
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._restic import mirror
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Entry

class Large(Directory):
    def list(self, prefix=""):
        if prefix == "keys/":
            yield Entry("keys/" + "0" * 64, 400)
        for number in range(COUNT if prefix == "data/" else 0):
            name = f"{number * (1 << 236):064x}"
            yield Entry(f"data/{name[:2]}/{name}", 1 << 24)

class Held(Large):
    def find(self, key):
        return self.get(key)

class Empty(Directory):
    def put(self, key, data):
        pass

mirror.copy_object = lambda source, destination, entry: entry.size
COUNT, here = int(sys.argv[1]), Path(sys.argv[2])
(here / "config").write_bytes(b"config")
done = mirror.plan(Large(here), Held(here)).apply(Silent(), 8)
assert (done["objects_total"], done["objects_copied"]) == (COUNT + 2, 0), done
(here / "there").mkdir()
done = mirror.plan(Large(here), Empty(here / "there")).apply(Silent(), 8)
assert done["objects_copied"] == COUNT + 2, done
# What getrusage says counts the process that started this one too.
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.nightly
def test_a_million_objects_are_compared_and_copied_in_300_megabytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION, "1000000", tmp_path], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 300 << 10
