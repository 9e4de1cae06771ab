# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies within one S3 provider: the server moves the bytes, and what is copied was read and checked here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import GOVERNANCE, Lock
from ansible_collections.muster.container_dr.plugins.module_utils._restic import mirror
from ansible_collections.muster.container_dr.plugins.module_utils._store import s3
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import LockedS3
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import S3, S3Place

DATA = b"a pack"
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def bucket() -> Iterator[FakeS3]:
    with FakeS3() as made:
        yield made


def at(bucket: FakeS3, prefix: str, *, login: str = "access", secret: str = "canary-secret") -> S3:
    return S3(S3Place("bucket", prefix, bucket.url, login, secret))


def fine(_digest: str) -> None:
    pass


def test_the_server_copies_what_was_checked(bucket: FakeS3) -> None:
    bucket.objects["one/k"] = DATA
    seen: list[str] = []
    assert at(bucket, "two").take(at(bucket, "one"), "k", seen.append) == len(DATA)
    assert (bucket.objects["two/k"], bucket.copies, seen) == (DATA, ["two/k"], [NAME])


def test_what_is_not_right_is_not_copied(bucket: FakeS3) -> None:
    bucket.objects["one/k"] = b"altered"

    def check(digest: str) -> None:
        assert digest != NAME
        raise Corrupt("copy", "k", "altered")

    with pytest.raises(Corrupt):
        at(bucket, "two").take(at(bucket, "one"), "k", check)
    assert "two/k" not in bucket.objects


def test_an_object_that_is_replaced_after_it_was_read(bucket: FakeS3) -> None:
    bucket.objects["one/k"] = DATA

    def replace(_digest: str) -> None:
        bucket.objects["one/k"] = b"another"

    store = at(bucket, "two")
    assert store.take(at(bucket, "one"), "k", replace) is None
    assert "two/k" not in bucket.objects
    assert store.take(at(bucket, "one"), "k", fine) == len(b"another")


@pytest.mark.parametrize(("login", "secret"), [("another", "canary-secret"), ("access", "another")])
def test_one_login_has_to_be_good_for_both(bucket: FakeS3, login: str, secret: str) -> None:
    bucket.objects["one/k"] = DATA
    assert at(bucket, "two", login=login, secret=secret).take(at(bucket, "one"), "k", fine) is None
    assert bucket.requests == []


def test_two_servers_do_not_copy_from_each_other(bucket: FakeS3) -> None:
    with FakeS3() as other:
        other.objects["one/k"] = DATA
        assert at(bucket, "two").take(at(other, "one"), "k", fine) is None
        assert bucket.requests == other.requests == []


def test_all_of_aws_is_one_provider() -> None:
    urls = (None, "https://s3.amazonaws.com", "https://s3.eu-central-1.amazonaws.com", "https://amazonaws.com.example")
    assert [s3._provider(url) for url in urls] == ["AWS", "AWS", "AWS", "https://amazonaws.com.example"]


def test_a_server_that_refuses_is_asked_once(bucket: FakeS3) -> None:
    bucket.objects |= {"one/a": DATA, "one/b": DATA}
    bucket.refuse, bucket.refusal = "PUT .*", (501, "NotImplemented", "no copies")
    store = at(bucket, "two")
    assert [store.take(at(bucket, "one"), key, fine) for key in "ab"] == [None, None]
    assert len(bucket.writes()) == 1


def test_a_server_that_is_busy_for_once_copies_the_next(bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3.time, "sleep", lambda _seconds: None)
    bucket.objects |= {"one/a": DATA, "one/b": DATA}
    bucket.refuse, bucket.refusal = "PUT .*/two/a", (503, "SlowDown", "later")
    store = at(bucket, "two")
    assert [store.take(at(bucket, "one"), key, fine) for key in "ab"] == [None, len(DATA)]


@pytest.mark.parametrize("whole", [True, False])
def test_another_tag_is_looked_into(bucket: FakeS3, whole: bool) -> None:
    """Buckets with encryption of their own have other tags for the same bytes."""
    bucket.objects["one/k"] = DATA
    bucket.tag_of_copies = '"another"'
    if not whole:
        bucket.copied = lambda data: data[:-1]
    assert at(bucket, "two").take(at(bucket, "one"), "k", fine) == (len(DATA) if whole else None)


def test_copies_are_locked_where_everything_is() -> None:
    with FakeS3(locks=True) as bucket:
        bucket.add("one/k", DATA)
        store = LockedS3(
            S3Place("bucket", "two", bucket.url, "access", "canary-secret"), Lock(GOVERNANCE, timedelta(days=1))
        )
        assert store.take(at(bucket, "one"), "k", fine) == len(DATA)
        assert bucket.current("two/k").mode == "GOVERNANCE"


@pytest.mark.parametrize("copies", [True, False])
def test_a_mirror_within_one_bucket(bucket: FakeS3, copies: bool) -> None:
    """It is the same one whether the server copies or not."""
    bucket.objects["one/config"] = b"config"
    for kind in mirror.KINDS:
        for data in (f"{kind} 1".encode(), b"x" * (9 << 20) if kind == "data" else f"{kind} 2".encode()):
            name = hashlib.sha256(data).hexdigest()
            bucket.objects[f"one/{kind}/{name[:2] + '/' if kind == 'data' else ''}{name}"] = data
    destination = at(bucket, "two")
    destination._takes = copies
    done = mirror.plan(at(bucket, "one"), destination).apply(Silent(), 2)
    assert {key[4:]: data for key, data in bucket.objects.items() if key.startswith("two/")} == {
        key[4:]: data for key, data in bucket.objects.items() if key.startswith("one/")
    }
    assert done["bytes_copied"] == sum(len(data) for key, data in bucket.objects.items() if key.startswith("one/"))
    assert len(bucket.copies) == (8 if copies else 0)


def test_a_source_that_is_gone_is_told(bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3.time, "sleep", lambda _seconds: None)
    bucket.refuse, bucket.refusal = "GET .*", (503, "SlowDown", "later")
    with pytest.raises(Unavailable):
        at(bucket, "two").take(at(bucket, "one"), "k", fine)
