# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The raw mirror between directories; names are digests, so any bytes make a repository for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Denied,
    Incomplete,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._restic import mirror
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory


def add(root: Path, kind: str, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    key = f"{kind}/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}"
    Directory(root).put(key, data)
    return key


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    Directory(root).put("config", b"east")
    for kind in mirror.KINDS:
        for number in range(3):
            add(root, kind, f"{kind}{number}".encode())
    add(root, "data", b"x" * (9 << 20))
    add(root, "locks", b"lock")
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def copy(source: Path, target: Path, **options: bool) -> mirror.Mirror:
    planned = mirror.plan(Directory(source), Directory(target), **options)
    planned.apply(Silent(), 4)
    return planned


def test_copies_what_is_absent_and_nothing_twice(source: Path, target: Path) -> None:
    expected = mirror.plan(Directory(source), Directory(target)).planned()
    assert list(target.iterdir()) == []
    first = copy(source, target)
    assert first.changed
    assert first.result() == expected
    assert first.result()["objects_copied"] == 14
    held = {entry.key for entry in Directory(source).list() if not entry.key.startswith("locks/")}
    assert {entry.key for entry in Directory(target).list()} == held
    second = copy(source, target)
    assert (second.changed, second.result()["objects_copied"]) == (False, 0)
    add(source, "data", b"new")
    assert copy(source, target).result()["objects_copied"] == 1


def test_an_altered_object_is_named_and_nothing_after_it_is_copied(source: Path, target: Path) -> None:
    key = add(source, "data", b"good")
    Directory(source).put(key, b"evil")
    with pytest.raises(Corrupt, match=key) as caught:
        copy(source, target)
    assert caught.value.result["objects_copied"] == 1 + 3 + 4
    assert not (target / "snapshots").exists()
    assert not (target / "index").exists()
    assert not (target / key).exists()


def test_another_repository_is_left_alone(source: Path, target: Path) -> None:
    Directory(target).put("config", b"west")
    with pytest.raises(Refused, match="another repository is there"):
        copy(source, target)
    (target / "config").unlink()
    add(target, "data", b"somebody's")
    with pytest.raises(Refused, match="whose they are cannot be told"):
        copy(source, target)


def test_a_repository_is_no_second_copy_of_itself(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    for same in (source, source / ".." / "source", tmp_path / "link"):
        with pytest.raises(Refused, match="no second copy"):
            mirror.plan(Directory(source), Directory(same))


def test_damage_at_the_destination_is_repaired(source: Path, target: Path) -> None:
    copy(source, target)
    key = add(source, "index", b"whole")
    copy(source, target)
    Directory(target).put(key, b"whol")
    assert copy(source, target).result()["objects_repaired"] == 1
    Directory(target).put(key, b"WHOLE")
    assert copy(source, target).result()["objects_repaired"] == 0
    assert copy(source, target, verify_existing=True).result()["objects_repaired"] == 1
    assert Directory(target).get(key) == b"whole"


def named(root: Path, kind: str) -> list[str]:
    return sorted(entry.key.rpartition("/")[2] for entry in Directory(root).list(f"{kind}/"))


def test_only_what_was_given_up_goes_from_the_destination(source: Path, target: Path) -> None:
    copy(source, target)
    gone = {kind: named(source, kind)[0] for kind in mirror.KINDS}
    for kind, name in gone.items():
        Directory(source).delete(f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}")
    for without in ({}, {"data": set()}, {"index": {gone["data"]}}):
        kept = mirror.plan(Directory(source), Directory(target), given_up=without)
        assert not kept.changed and kept.planned()["objects_removed"] == 0
    staying = named(source, "data")[0]
    given_up = {kind: {name, staying} for kind, name in gone.items()}
    planned = mirror.plan(Directory(source), Directory(target), given_up=given_up)
    expected = mirror.plan(Directory(source), Directory(target), given_up=given_up).planned()
    assert planned.changed
    done = planned.apply(Silent(), 4)
    assert done == expected and done["objects_removed"] == 4 and done["bytes_removed"] > 0
    for kind in mirror.KINDS:
        assert named(target, kind) == named(source, kind)
    assert not mirror.plan(Directory(source), Directory(target), given_up=given_up).changed


def test_a_key_that_was_taken_away_elsewhere_is_not_brought_back(source: Path, target: Path) -> None:
    first, second, third = named(source, "keys")
    planned = mirror.plan(Directory(source), Directory(target), given_up={"keys": {first}})
    assert planned.apply(Silent(), 4)["parts"][0]["objects_total"] == 2
    assert named(target, "keys") == [second, third]
    Directory(target).put(f"keys/{first}", b"keys")
    planned = mirror.plan(Directory(source), Directory(target), given_up={"keys": {first}})
    assert planned.apply(Silent(), 4)["objects_removed"] == 1
    assert named(target, "keys") == [second, third]


def test_the_last_key_stays(source: Path, target: Path) -> None:
    copy(source, target)
    keys = named(source, "keys")
    planned = mirror.plan(Directory(source), Directory(target), given_up={"keys": set(keys)})
    assert not planned.changed and planned.apply(Silent(), 4)["objects_removed"] == 0
    assert named(target, "keys") == keys


class Order(Directory):
    """Writes down what is removed, and in which order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.removed: list[str] = []

    def delete(self, key: str) -> None:
        self.removed.append(key.partition("/")[0])
        super().delete(key)


def test_what_goes_goes_last_and_snapshots_go_first(source: Path, target: Path) -> None:
    copy(source, target)
    given_up = {kind: set(named(source, kind)) for kind in mirror.KINDS}
    for kind in mirror.REMOVABLE:
        for entry in list(Directory(source).list(f"{kind}/")):
            Directory(source).delete(entry.key)
    key = add(source, "data", b"good")
    Directory(source).put(key, b"evil")
    order = Order(target)
    with pytest.raises(Corrupt):
        mirror.plan(Directory(source), order, given_up=given_up).apply(Silent(), 1)
    assert order.removed == []
    Directory(source).put(key, b"good")
    mirror.plan(Directory(source), order, given_up=given_up).apply(Silent(), 1)
    assert order.removed == ["snapshots"] * 3 + ["index"] * 3 + ["data"] * 4


class AppendOnly(Directory):
    def delete(self, key: str) -> None:
        raise Denied("remove", key, "objects are locked")


def test_a_destination_that_lets_nothing_go_is_whole_all_the_same(source: Path, target: Path) -> None:
    copy(source, target)
    name = named(source, "index")[0]
    Directory(source).delete(f"index/{name}")
    add(source, "snapshots", b"new")
    planned = mirror.plan(Directory(source), AppendOnly(target), given_up={"index": {name}})
    done = planned.apply(Silent(), 4)
    assert (planned.refusal, done["objects_copied"], done["objects_removed"]) == ("objects are locked", 1, 0)
    again = mirror.plan(Directory(source), AppendOnly(target), given_up={"index": {name}})
    again.apply(Silent(), 4)
    assert not again.changed


def test_pruned_meanwhile(source: Path, target: Path) -> None:
    planned = mirror.plan(Directory(source), Directory(target))
    Directory(source).delete(next(iter(planned.parts[1].pending)).key)
    with pytest.raises(Incomplete, match="pruned meanwhile"):
        planned.apply(Silent(), 4)


class Gone(Directory):
    """A destination whose server stops."""

    asked = 0

    def put(self, key: str, data: bytes) -> None:
        if not key.startswith("data/"):
            return super().put(key, data)
        self.asked += 1
        raise Unavailable("write", key, "no answer")


def test_a_server_that_is_gone_is_asked_once(source: Path, target: Path) -> None:
    gone = Gone(target)
    with pytest.raises(Unavailable) as caught:
        mirror.plan(Directory(source), gone).apply(Silent(), 1)
    assert gone.asked == 1
    assert caught.value.result["objects_copied"] == 4


def test_no_repository(tmp_path: Path, target: Path) -> None:
    with pytest.raises(NotFound, match="no config"):
        mirror.plan(Directory(target), Directory(tmp_path))
