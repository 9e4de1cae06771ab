# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers of S3 servers mean to the user."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, SSLError
from botocore.stub import Stubber
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import GOVERNANCE, Lock
from ansible_collections.muster.container_dr.plugins.module_utils._store import s3
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import LockedS3
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_repository, open_store
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import (
    S3,
    BucketMissing,
    ConditionsUnsupported,
    S3Place,
    WrongKey,
)

PLACE = S3Place("bucket", "p", "https://s3.example.com", "access", "canary-secret")


@pytest.fixture
def store() -> S3:
    return S3(PLACE)


def test_the_keys_of_a_repository_may_come_as_variables_and_with_a_token() -> None:
    login = {"AWS_ACCESS_KEY_ID": "known", "AWS_SECRET_ACCESS_KEY": "canary-key", "AWS_SESSION_TOKEN": "canary-token"}
    with FakeS3() as bucket:
        bucket.account = "known"
        open_repository({"url": f"s3:{bucket.url}/bucket/r", "environment": login}).write("a", [b"b"])
    assert bucket.tokens == {"canary-token"} and bucket.objects["r/a"] == b"b"


@pytest.fixture
def answers(store: S3) -> Iterator[Stubber]:
    with Stubber(store._small) as stubber:
        yield stubber


@pytest.mark.parametrize(
    ("code", "status", "kind", "text"),
    [
        ("NoSuchBucket", 404, BucketMissing, "has no bucket 'bucket'"),
        ("NoSuchKey", 404, NotFound, "no such object"),
        ("InvalidAccessKeyId", 403, WrongKey, "refuses the credentials"),
        ("SignatureDoesNotMatch", 403, WrongKey, "refuses the credentials"),
        ("XAdminUserNotFound", 404, WrongKey, "refuses the credentials"),
        ("AccessDenied", 403, Denied, "may not"),
        ("RequestTimeTooSkewed", 403, Denied, "clocks"),
        ("PreconditionFailed", 412, Conflict, "there already"),
        ("ConditionalRequestConflict", 409, Conflict, "in between"),
        ("NotImplemented", 501, ConditionsUnsupported, "If-None-Match"),
        ("BadDigest", 400, Corrupt, "on their way"),
        ("InternalError", 500, Unavailable, "disk may be full"),
        ("Strange", 400, MusterError, "answered 400 Strange"),
    ],
)
def test_answers(store: S3, answers: Stubber, code: str, status: int, kind: type[MusterError], text: str) -> None:
    answers.add_client_error("put_object", code, "m", status)
    with pytest.raises(kind, match=text) as caught:
        store.put("a/b", b"")
    assert "a/b in s3://bucket/p at https://s3.example.com" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(PLACE)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="x"), Unavailable),
        (ConnectTimeoutError(endpoint_url="x"), Unavailable),
        (SSLError(endpoint_url="x", error="y"), Denied),
        (NoCredentialsError(), Denied),
    ],
)
def test_no_answer(store: S3, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[MusterError]) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(store._small, "list_objects_v2", fail)
    with pytest.raises(kind, match="Could not list objects"):
        store.probe()


def test_lists_all_pages_below_the_prefix(store: S3, answers: Stubber) -> None:
    page = {"Contents": [{"Key": "p/a/1", "Size": 1}, {"Key": "p/a/", "Size": 0}], "IsTruncated": True}
    answers.add_response(
        "list_objects_v2", {**page, "NextContinuationToken": "t"}, {"Bucket": "bucket", "Prefix": "p/a/"}
    )
    answers.add_response(
        "list_objects_v2",
        {"Contents": [{"Key": "p/a/2", "Size": 2}], "IsTruncated": False},
        {"Bucket": "bucket", "Prefix": "p/a/", "ContinuationToken": "t"},
    )
    assert [(entry.key, entry.size) for entry in store.list("a/")] == [("a/1", 1), ("a/2", 2)]


def test_a_list_that_breaks_off_is_none(store: S3, answers: Stubber) -> None:
    """A server that knows only the older way to list names no token, and what is missing would count as gone."""
    answers.add_response("list_objects_v2", {"Contents": [{"Key": "p/a/1", "Size": 1}], "IsTruncated": True})
    with pytest.raises(Unavailable, match="more objects than it lists"):
        list(store.list("a/"))


def test_a_list_of_versions_that_breaks_off_is_none() -> None:
    locked = LockedS3(PLACE, Lock(GOVERNANCE, timedelta(days=1)))
    with Stubber(locked._small) as answers:
        answers.add_response("list_object_versions", {"IsTruncated": True})
        with pytest.raises(Unavailable, match="more objects than it lists"):
            list(locked.versions("a/"))


def test_conditions_travel(store: S3, answers: Stubber) -> None:
    common = {"Bucket": "bucket", "Key": "p/k", "Body": b"1"}
    answers.add_response("put_object", {}, {**common, "IfNoneMatch": "*"})
    answers.add_response("put_object", {}, {**common, "IfMatch": '"e"'})
    store.create("k", b"1")
    store.swap("k", b"1", '"e"')
    answers.assert_no_pending_responses()


def test_a_missing_bucket_is_more_than_a_missing_object(store: S3, answers: Stubber) -> None:
    answers.add_client_error("get_object", "NoSuchKey", "", 404)
    answers.add_client_error("get_object", "NoSuchBucket", "", 404)
    assert store.find("a") is None
    with pytest.raises(BucketMissing):
        store.find("a")


@pytest.mark.parametrize(("breaks", "read"), [(2, True), (3, False)])
def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, breaks: int, read: bool) -> None:
    """boto3 itself repeats a request only until the answer's body begins."""
    monkeypatch.setattr(s3.time, "sleep", lambda _seconds: None)
    with FakeS3() as bucket:
        bucket.objects["p/k"] = b"long enough to be broken"
        bucket.break_next, bucket.breaks = "GET .*/p/k", breaks
        store = S3(S3Place("bucket", "p", bucket.url, "access", "canary-secret"))
        if read:
            assert store.get("k") == bucket.objects["p/k"]
        else:
            with pytest.raises(Unavailable, match="Could not read k in s3://bucket/p"):
                store.get("k")
        assert bucket.breaks == 0


def test_a_login_that_no_request_can_hold_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput, match="a line break") as raised:
        open_store({"url": "s3://bucket", "access_key": "key", "secret_key": "canary\n"})
    assert "canary" not in str(raised.value)
