# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.masking import mask, secret_name

CANARY = "canary-5b1e77"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"password={CANARY}",
        f"PASSWORD: {CANARY}",
        f"DB_PASSWORD={CANARY} DB_HOST=db",
        f"passwd := {CANARY}",
        f"user=app,pwd={CANARY};x",
        f'{{"password":"{CANARY}","user":"app"}}',
        f'{{"clientSecret": "a \\" {CANARY}"}}',
        f'{{\\"token\\":\\"{CANARY}\\"}}',
        f"{{'api_key': '{CANARY}'}}",
        f"--token {CANARY}",
        f"--api-key={CANARY}",
        f"-password '{CANARY} with spaces'",
        f"Authorization: Bearer {CANARY}",
        f"got bearer {CANARY} from the client",
        f"authorization: Basic {CANARY}==",
        f"connect to postgres://app:{CANARY}@db:5432/ledger failed",
        f"connect to postgres://app:sl/{CANARY}@db:5432/ledger failed",
        f"redis://:{CANARY}@cache",
        f"https://x.invalid/?access_token={CANARY}&a=b",
        f"https://x.invalid/?X-Amz-Signature={CANARY}",
        f"aws_secret_access_key = {CANARY}",
        f"CREATE USER app IDENTIFIED BY '{CANARY}'",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
        f"ghp_{CANARY}xxxx",
        f'{{"password": "cut off {CANARY}',
        f"DB_PASS={CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert CANARY not in mask(text)


def test_tokens_that_tell_themselves_are_masked() -> None:
    assert mask(f"token is {JWT}.") == "token is ***."
    assert mask("key AKIAABCDEFGHIJKLMNOP used") == "key *** used"


@pytest.mark.parametrize(
    "text",
    [
        "FATAL: database ledger does not exist",
        "listening on https://0.0.0.0:8443/healthz",
        "Back-off pulling image r.invalid:5000/api@sha256:" + "a" * 64,
        "2026-01-31 04:05:06 12 of 20 rows, key=42 monkey: banana",
        "mail to a@b.invalid",
        "password authentication failed for user app",
        'secret "db" not found; couldn\'t find key password in Secret ledger/db',
        "12 tests passed: 3, compass: north",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_known_values_go_wherever_they_are() -> None:
    assert mask(f"x{CANARY}y", [CANARY, CANARY[:8]]) == "x***y"
    assert mask("it is true", ["true"]) == "it is true"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("DB_PASSWORD", True), ("apiKey", True), ("TOKEN", True), ("PATH", False), ("KEYBOARD", False)],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert secret_name(name) is secret
