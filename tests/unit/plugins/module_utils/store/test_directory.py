# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory store, and the tests that every store must pass."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.conditions import check_conditions
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_repository, open_store
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Stored


class Forgetful(Directory):
    """A store that takes every conditional write, as servers do that do not know the header."""

    def _create(self, key: str, data: bytes) -> None:
        self.put(key, data)


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    store.put("a/b", b"1")
    store.put("a/b", b"2")
    store.create("a/c", b"3")
    assert [(entry.key, entry.size) for entry in store.list()] == [("a/b", 1), ("a/c", 1)]
    assert [entry.key for entry in store.list("a/c")] == ["a/c"]
    assert list(store.list("z/")) == []
    assert store.get("a/b") == b"2"
    assert store.find("a/x") is None
    store.delete("a/b")
    store.delete("a/b")
    with pytest.raises(NotFound, match="no such object"):
        store.get("a/b")
    assert (tmp_path / "a" / "c").stat().st_mode & 0o777 == 0o600
    source = tmp_path / "file"
    source.write_bytes(b"x" * 100)
    store.upload("up", source)
    with (tmp_path / "down").open("wb") as file:
        assert store.download("up", file) == 100


def test_lists_in_the_order_of_keys(tmp_path: Path) -> None:
    """A folder sorts as what is in it: `a-b`, `a/b` and `a0` are neighbours in this order."""
    store = Directory(tmp_path)
    keys = ["a", "a-b", "a/b", "a/b.c/d", "a/b/c", "a0", "b/é", "b/𝄞"]
    for key in keys:
        # A name cannot be a file and a folder here as it can in a bucket.
        if key not in ("a", "a/b"):
            store.put(key, b"")
    assert [entry.key for entry in store.list()] == [key for key in keys if key not in ("a", "a/b")]
    assert [entry.key for entry in store.list("a/b")] == ["a/b.c/d", "a/b/c"]
    assert [entry.key for entry in store.list("a/b/")] == ["a/b/c"]
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert not [entry.key for entry in store.list() if entry.key[0] in "e" or entry.key == "broken"]


def test_conditions(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    store.create("s", b"1")
    store.create("s", b"1")  # our own write again
    with pytest.raises(Conflict):
        store.create("s", b"2")
    old = store.read("s")
    store.swap("s", b"2", old.version)
    with pytest.raises(Conflict):
        store.swap("s", b"3", old.version)
    assert isinstance(old, Stored)
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda number: _create(store, number), range(24)))
    assert won.count(True) == 1


def _create(store: Directory, number: int) -> bool:
    try:
        store.create("race", str(number).encode())
    except Conflict:
        return False
    return True


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    check_conditions(Directory(tmp_path), "x")
    with pytest.raises(Refused, match="8 of 8 writers"):
        check_conditions(Forgetful(tmp_path), "x")
    assert list(Directory(tmp_path).list("x/")) == []


def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    store = Directory(tmp_path / "unmounted")
    for call in (store.probe, lambda: store.put("a", b""), lambda: list(store.list())):
        with pytest.raises(NotFound, match="is not there"):
            call()
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", "a\\b"])
def test_keys_stay_below_the_root(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidInput):
        Directory(tmp_path).put(key, b"")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, Denied), (errno.ESTALE, Unavailable), (errno.EIO, Unavailable)]
)
def test_a_root_that_cannot_even_be_looked_at_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[MusterError]
) -> None:
    """A share whose server forgot it, or a folder above that is closed to us."""

    def stat(*_given: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(kind, match=os.strerror(number)):
        Directory(tmp_path).probe()


def test_places(tmp_path: Path) -> None:
    assert open_store({"url": tmp_path.as_uri()}).place == str(tmp_path)
    assert open_repository({"url": f"local:{tmp_path}"}).place == str(tmp_path)
    login = {"access_key": "a", "secret_key": "canary"}
    place = open_repository({"url": "s3:https://10.0.0.1:7070/bucket/some/prefix", **login}).place
    assert place == "s3://bucket/some/prefix at https://10.0.0.1:7070"
    place = open_repository({"url": "s3:https://10.0.0.1:7070/bucket/some//prefix%20/", **login}).place
    assert place == "s3://bucket/some/prefix  at https://10.0.0.1:7070"
    assert open_repository({"url": "s3:s3.example.com/bucket", **login}).place.endswith("https://s3.example.com")
    for url in ("s3://bucket/team#1", "file:///srv/what?"):
        with pytest.raises(InvalidInput, match="%23 or %3F"):
            open_store({"url": url})
    for url in ("ftp://x", "s3:https://host", "s3:https://host/bucket//prefix", "rest:http://u:canary@x/", "relative"):
        with pytest.raises(InvalidInput) as caught:
            open_repository({"url": url})
            open_store({"url": url})
        assert "canary" not in str(caught.value)
    with pytest.raises(InvalidInput, match="Set mode to recrypt"):
        open_repository({"url": "sftp:nas:/r"})
    with pytest.raises(InvalidInput, match="belong together"):
        open_store({"url": "s3://b", "access_key": "a"})
    with pytest.raises(InvalidInput, match="no such file"):
        open_store({"url": "s3://b", "ca_cert": "/nowhere"})
