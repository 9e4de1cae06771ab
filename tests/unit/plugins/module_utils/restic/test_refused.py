# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An object store that turns us away: said with what is wrong, at once, and not repeated for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import RESTIC, real
from fakes.restic_program import ResticProgram
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, MusterError, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._restic import command, repository
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_repository

EXPIRED = (400, "ExpiredToken", "The provided token has expired.")
REFUSALS = [
    (EXPIRED, "have expired"),
    ((400, "InvalidToken", "The provided token is malformed or otherwise invalid."), "session token"),
    ((403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."), "access key"),
    ((403, "SignatureDoesNotMatch", "The request signature we calculated does not match."), "refused the signature"),
    ((403, "RequestTimeTooSkewed", "The difference between the request time and the server's is too large."), "clocks"),
    ((403, "AccessDenied", "Access Denied."), "denied access"),
    ((400, "AuthorizationHeaderMalformed", "The authorization header is malformed; expecting 'eu-1'"), "region"),
]


@pytest.fixture
def bucket() -> Iterator[FakeS3]:
    with FakeS3() as made:
        yield made


@pytest.fixture
def options(bucket: FakeS3) -> dict[str, Any]:
    login = {"access_key": "key", "secret_key": "canary-secret"}
    return {"url": f"s3:{bucket.url}/bucket/r", "password": "canary", "restic": RESTIC or "restic", **login}


@pytest.mark.parametrize(("refusal", "words"), REFUSALS)
def test_it_is_told_before_restic_asks(
    bucket: FakeS3, options: dict[str, Any], tmp_path: Path, refusal: tuple[int, str, str], words: str
) -> None:
    bucket.refuse, bucket.refusal = ".", refusal
    program = ResticProgram(tmp_path)
    with pytest.raises(Denied, match=words) as raised:
        Repository.open({**options, "restic": str(program.path)}).identify()
    assert "canary" not in str(raised.value) and not program.called("cat") and len(bucket.requests) == 1


@real
@pytest.mark.parametrize(("refusal", "words"), REFUSALS)
def test_it_is_told_halfway(
    bucket: FakeS3,
    options: dict[str, Any],
    tmp_path: Path,
    refusal: tuple[int, str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not by patience.
    monkeypatch.setattr(command, "PATIENCE", 3600.0)
    opened = Repository.open(options)
    opened.init()
    (tmp_path / "file").write_bytes(b"x" * 100)
    bucket.refuse, bucket.refusal = "PUT .*/data/", refusal
    with pytest.raises(MusterError, match=words) as raised:
        opened.backup_directory(tmp_path, host="h")
    assert isinstance(raised.value, Denied)


@real
@pytest.mark.parametrize("path", ["a//b/", "a%20b", "a \u00e4+b"])
def test_the_repository_is_where_restic_has_it(bucket: FakeS3, options: dict[str, Any], path: str) -> None:
    """And so is its mirror, which nobody would find otherwise."""
    there = {**options, "url": f"s3:{bucket.url}/bucket/{path}"}
    opened = Repository.open(there)
    assert not opened.exists()
    identity = opened.init()
    assert Repository.open(there).identify() == identity
    assert [entry.key.partition("/")[0] for entry in open_repository(there).list()] == ["config", "keys"]


def test_a_directory_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ResticProgram(tmp_path)
    (tmp_path / "stat").write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    (tmp_path / "stat").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(repository, "_DIRECTORY_TIMEOUT", 0.2)
    options = {"url": "/mnt/nas/muster", "password": "canary", "restic": str(program.path)}
    with pytest.raises(Unavailable, match="the directory did not end within"):
        Repository.open(options).identify()
    assert not program.called("cat")
