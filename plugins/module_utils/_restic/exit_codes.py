# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What restic's exit codes mean, and which error of ours each one becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    Incomplete,
    MusterError,
    NotFound,
    Unavailable,
)


class Locked(Unavailable):
    """Somebody else holds a lock that excludes ours."""


class WrongPassword(Denied):
    """No key of the repository is opened by this password."""


@dataclass(frozen=True)
class Exit:
    """The meaning of one exit code."""

    code: int
    meaning: str
    hint: str
    error: type[MusterError]


# Before each line that ssh says.
_SSH = "subprocess ssh: "

FAILED = Exit(1, "restic failed", "", MusterError)

# https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes
TABLE: dict[int, Exit] = {
    entry.code: entry
    for entry in (
        FAILED,
        Exit(2, "restic crashed (Go runtime error)", "Give it more memory, or another version.", MusterError),
        Exit(3, "not everything could be read", "An incomplete backup is none; see the files named.", Incomplete),
        Exit(
            10,
            "there is no repository at this address",
            "Check the URL, or create it with the repository module (state: present).",
            NotFound,
        ),
        Exit(
            11,
            "the repository is locked by another process",
            "Wait for it to end. A lock is only to be removed once its holder is known to be gone.",
            Locked,
        ),
        Exit(
            12,
            "wrong password, or a key of this repository was removed",
            "Set password, password_file or password_command to a password of this repository.",
            WrongPassword,
        ),
        Exit(130, "restic was interrupted", "Run it again; what was uploaded is used.", Unavailable),
        Exit(137, "restic was killed", "Most often the memory limit; give it more memory.", Unavailable),
        Exit(143, "restic was terminated", "Run it again; what was uploaded is used.", Unavailable),
    )
}


def meaning(code: int) -> Exit:
    """The entry of an exit code; a signal (negative, as ``subprocess`` counts) is read as shells report it."""
    if code < 0:
        code = 128 - code
    return TABLE.get(code, FAILED)


# Words of restic, of its S3 client, of object stores and of Go's network code, in any case: the same errno is "no space
# left on device" from a kernel and "No space left on device" from a gateway. Matched against the last message only.
_SIGNS: tuple[tuple[tuple[str, ...], type[MusterError], str, str], ...] = (
    (
        ("bucket does not exist", "NoSuchBucket"),
        NotFound,
        "the bucket does not exist",
        "Create the bucket, or correct the URL.",
    ),
    (
        ("InvalidAccessKeyId", "Key Id you provided does not exist", "key ID you provided does not exist"),
        Denied,
        "the object store does not know this access key",
        "Check access_key.",
    ),
    (
        ("SignatureDoesNotMatch", "signature we calculated does not match"),
        Denied,
        "the object store refused the signature",
        "Check secret_key (and region).",
    ),
    (
        ("RequestTimeTooSkewed", "difference between the request time"),
        Denied,
        "the clocks of this machine and of the object store differ too much",
        "Set them by NTP.",
    ),
    (
        ("ExpiredToken", "token has expired"),
        Denied,
        "the object store's credentials have expired",
        "Renew them and run again; what was uploaded is used.",
    ),
    (
        ("InvalidToken", "token is malformed or otherwise invalid"),
        Denied,
        "the object store does not accept the session token",
        "Renew the credentials; a token belongs to one pair of keys.",
    ),
    (
        ("AuthorizationHeaderMalformed", "authorization header is malformed"),
        Denied,
        "the object store expects another region",
        "Set region.",
    ),
    (
        # REST servers, B2, Azure and Swift, in this order.
        ("401 Unauthorized", "b2_authorize_account: 401", "AuthenticationFailed", "Authorization Failed"),
        Denied,
        "the repository's server refuses the login",
        "Check access_key and secret_key, or environment.",
    ),
    (
        # The answer to a HEAD request has no body that could say more.
        ("400 Bad Request",),
        Denied,
        "the object store refuses the request; so it does with expired credentials and with those of another region",
        "Renew the credentials, and check region.",
    ),
    (
        ("no credentials found",),
        Denied,
        "there are no credentials for the object store",
        "Set access_key and secret_key.",
    ),
    (
        ("Access Denied", "AccessDenied"),
        Denied,
        "the object store denied access",
        "Check access_key, secret_key, the permissions of the bucket, and the clock of the machine or node.",
    ),
    (
        ("no space left on device", "XMinioStorageFull", "disk quota exceeded", "InsufficientStorage", "QuotaExceeded"),
        Unavailable,
        "the repository's disk is full",
        "Make room there and run again; what was uploaded is used.",
    ),
    (
        ("certificate signed by unknown authority", "x509:", "failed to verify certificate"),
        Unavailable,
        "the object store's certificate is not trusted",
        "Set ca_cert to the authority that issued it.",
    ),
    (
        ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "host key is known for"),
        Denied,
        "the server's host key is not the one that is known of it",
        "Compare ssh_known_hosts with what the server's administrator says.",
    ),
    (
        ("Load key ",),
        Denied,
        "ssh cannot use the private key",
        "Check ssh_key_file: nobody else may read it (mode 0600), it has no passphrase, and its last line ends.",
    ),
    (
        ("Permission denied (",),
        Denied,
        "the server does not accept the key",
        "Check ssh_key_file, which needs to have no passphrase, and the user in the URL.",
    ),
    (
        ('exec: "ssh"',),
        MusterError,
        "there is no ssh where restic runs",
        "Install an OpenSSH client there.",
    ),
    (
        ("unable to start the sftp session",),
        Unavailable,
        "ssh could not start a session, and did not say why",
        "Try the same login with the program sftp.",
    ),
    (
        (
            "connection refused",
            "no such host",
            "Could not resolve hostname",
            "Connection timed out",
            "i/o timeout",
            "network is unreachable",
            "no route to host",
            "connection reset",
            "context deadline exceeded",
            "TLS handshake timeout",
            "503 Service Unavailable",
            "unexpected EOF",
            ": EOF",
        ),
        Unavailable,
        "the repository's server does not answer",
        "Check that it runs and can be reached.",
    ),
)


def refusal(action: str, target: str, message: str) -> MusterError | None:
    """The error for a request that fails as ``message`` says, if no repetition of it can succeed."""
    error = problem(action, target, 1, message)
    return error if isinstance(error, Denied | NotFound) else None


def problem(action: str, target: str, code: int, message: str) -> MusterError:
    """The error for a restic command that ended with ``code`` after saying ``message`` last."""
    known = meaning(code)
    text, said = first_line(message), message.lower()
    if known.code in (1, 10, 130):
        for words, error, reason, hint in _SIGNS:
            if any(word.lower() in said for word in words):
                telling = [line for line in message.splitlines() if any(word.lower() in line.lower() for word in words)]
                detail = f"{reason} ({first_line(telling[0])})" if telling else reason
                return error(action, target, detail, hint)
    if known is FAILED:
        return MusterError(action, target, text or f"restic ended with exit code {code}", "")
    detail = f"{known.meaning} ({text})" if text and known.code not in (10, 12) else known.meaning
    return known.error(action, target, detail, known.hint)


def last_said(errors: Sequence[str]) -> str:
    """restic's last message, or all that ssh said, backwards, where that is why restic could not begin or go on."""
    last = errors[-1] if errors else ""
    of_ssh = [text.removeprefix(_SSH) for text in errors if text.startswith(_SSH)]
    return "\n".join(reversed(of_ssh)) if of_ssh and ("sftp session" in last or "ssh command exited" in last) else last


def first_line(message: str, limit: int = 400) -> str:
    """The first line of restic's message without its prefix, cut to a readable length."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    text = lines[0] if lines else ""
    while text.startswith("Fatal: "):
        text = text[len("Fatal: ") :]
    return text if len(text) <= limit else text[: limit - 1] + "…"
