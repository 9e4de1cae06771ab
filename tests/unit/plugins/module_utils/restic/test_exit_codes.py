# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What restic's exit codes and messages become."""

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (3, Incomplete, "not everything could be read"),
        (10, NotFound, "no repository at this address"),
        (11, exit_codes.Locked, "locked by another process"),
        (12, exit_codes.WrongPassword, "wrong password"),
        (137, Unavailable, "killed"),
        (-9, Unavailable, "killed"),
        (-15, Unavailable, "terminated"),
        (2, MusterError, "crashed"),
        (77, MusterError, "exit code 77"),
    ],
)
def test_codes(code: int, error: type[MusterError], words: str) -> None:
    problem = exit_codes.problem("open", "repository x", code, "")
    assert problem.__class__ is error
    assert words in str(problem)
    assert str(problem).startswith("Could not open repository x: ")


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        ("client.GetObject: The specified bucket does not exist", NotFound, "bucket does not exist"),
        ("Stat: InvalidAccessKeyId", Denied, "does not know this access key"),
        ("The request signature we calculated does not match", Denied, "refused the signature"),
        ("Access Denied.", Denied, "denied access"),
        ("Fatal: ExpiredToken: gone", Denied, "have expired"),
        ("client.PutObject: The provided token has expired.", Denied, "have expired"),
        ("Stat: 400 Bad Request", Denied, "expired credentials"),
        ("The provided token is malformed or otherwise invalid.", Denied, "session token"),
        ("The authorization header is malformed; the region is wrong", Denied, "another region"),
        ("write /repo/data: no space left on device", Unavailable, "disk is full"),
        ("client.PutObject: No space left on device.", Unavailable, "disk is full"),
        ("Put https://s3/muster/data/7a: EOF", Unavailable, "does not answer"),
        ("tls: failed to verify certificate: x509: unknown authority", Unavailable, "not trusted"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", Unavailable, "does not answer"),
        ("dial tcp: lookup s3: no such host", Unavailable, "does not answer"),
    ],
)
def test_general_failures_are_told_apart_by_their_message(message: str, error: type[MusterError], words: str) -> None:
    problem = exit_codes.problem("open", "repository x", 1, message)
    assert problem.__class__ is error
    assert words in problem.reason
    assert problem.hint


def test_a_missing_bucket_is_not_a_missing_repository() -> None:
    problem = exit_codes.problem(
        "open", "x", 10, "Fatal: repository does not exist: The specified bucket does not exist"
    )
    assert "bucket" in problem.reason


def test_first_line_is_short_and_bare() -> None:
    assert exit_codes.first_line("\nFatal: Fatal: no\nmore") == "no"
    assert len(exit_codes.first_line("x" * 1000, 50)) == 50


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ("client.PutObject: The provided token has expired.", False),
        ("Stat: 400 Bad Request", False),
        ("The AWS Access Key Id you provided does not exist in our records.", False),
        ("The request signature we calculated does not match the signature you provided.", False),
        ("The difference between the request time and the server's time is too large.", False),
        ("The specified bucket does not exist", False),
        ("Access Denied.", False),
        ("dial tcp 10.0.0.1:443: connect: connection refused", True),
        ("503 Service Unavailable", True),
        ("no space left on device", True),
        ("something else", True),
    ],
)
def test_what_no_repetition_heals_is_known(message: str, passes: bool) -> None:
    assert (exit_codes.refusal("open", "x", message) is None) is passes
