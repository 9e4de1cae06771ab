# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Asks an S3 server about a repository before restic does, and says in seconds what is wrong.

restic repeats failing requests for minutes and has one exit code for all of it. One signed GET of the repository's
``config`` object tells an unreachable server, an untrusted certificate, a missing bucket, a wrong key and a missing
repository apart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import quote

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import asking
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import restic_place

_EMPTY = hashlib.sha256(b"").hexdigest()
_CODE = re.compile(rb"<Code>([^<]+)</Code>")

_ANSWERS: dict[str, tuple[type[MusterError], str, str]] = {
    "NoSuchBucket": (NotFound, "the bucket does not exist", "Create the bucket, or correct the URL."),
    "InvalidAccessKeyId": (Denied, "the object store does not know this access key", "Check access_key."),
    "SignatureDoesNotMatch": (Denied, "the object store refused the signature", "Check secret_key (and region)."),
    "AccessDenied": (
        Denied,
        "the object store denied access",
        "Check access_key, secret_key and the permissions of the bucket.",
    ),
    "RequestTimeTooSkewed": (
        Denied,
        "the clocks of this machine and of the object store differ too much",
        "Set them by NTP.",
    ),
    "ExpiredToken": (Denied, "the object store's credentials have expired", "Renew them."),
    "InvalidToken": (
        Denied,
        "the object store does not accept the session token",
        "Renew the credentials; a token belongs to one pair of keys.",
    ),
    "AuthorizationHeaderMalformed": (Denied, "the object store expects another region", "Set region."),
    "PermanentRedirect": (InvalidInput, "the bucket is in another region or at another endpoint", "Correct the URL."),
}


@dataclass(frozen=True)
class Place:
    """The parts of restic's ``s3:`` URL."""

    scheme: str
    host: str
    bucket: str
    prefix: str


def place(url: str) -> Place | None:
    """Read ``s3:https://host:port/bucket/prefix``, ``s3:host/bucket/prefix`` or ``s3://host/bucket/prefix``.

    ``None`` for other kinds of repository.
    """
    if not url.startswith("s3:"):
        return None
    scheme, host, bucket, prefix = restic_place(url)
    if not host or not bucket:
        raise InvalidInput(
            "use",
            f"repository {url}",
            "the URL names no server or no bucket",
            "Write it as s3:https://s3.example.com/bucket/prefix.",
        )
    if "@" in host:
        raise InvalidInput(
            "use", "the repository's URL", "it holds credentials", "Set access_key and secret_key instead."
        )
    return Place(scheme, host, bucket, prefix)


def probe(url: str, env: Mapping[str, str], region: str | None, ca_cert: str | None) -> None:
    """Raise the error that says why the repository at ``url`` cannot be used; return where it can.

    ``env`` holds ``AWS_ACCESS_KEY_ID`` and its kin. Without keys there (restic finds roles and profiles by itself),
    only the reachability is checked. What is asked for through a proxy is left to restic. A missing repository in a
    readable bucket is :class:`NotFound` too, with ``reason`` "there is no repository at this address".
    """
    where = place(url)
    if where is None:
        return
    key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    target = f"repository {url}"
    backends.require_sendable((key, secret, env.get("AWS_SESSION_TOKEN"), region), target)
    if asking.proxied(where.scheme, where.host):
        return
    path = "/" + quote("/".join(part for part in (where.bucket, where.prefix, "config") if part))
    headers = {"host": where.host, "x-amz-content-sha256": _EMPTY}
    if key and secret:
        headers = sign("GET", path, headers, key, secret, env.get("AWS_SESSION_TOKEN"), region or "us-east-1")
    status, body = asking.ask(where.scheme, where.host, path, headers, ca_cert, target)
    found = _CODE.search(body)
    code = found.group(1).decode("ascii", "replace") if found else ""
    if status < 300 or (status == 404 and code in ("NoSuchKey", "") and not (key and secret)):
        return
    if not (key and secret):
        return
    if code in _ANSWERS:
        error, reason, hint = _ANSWERS[code]
        raise error("open", target, reason, hint)
    if status == 404:
        raise NotFound(
            "open",
            target,
            "there is no repository at this address",
            "Check the URL, or create it with the repository module (state: present).",
        )
    if status in (401, 403):
        error, reason, hint = _ANSWERS["AccessDenied"]
        raise error("open", target, reason, hint)
    if status >= 500:
        raise Unavailable(
            "open", target, f"the object store answers {status} {code}".rstrip(), "Look at it and try again."
        )
    raise MusterError("open", target, f"the object store answers {status} {code}".rstrip(), "Check the URL and region.")


def sign(
    method: str,
    path: str,
    headers: Mapping[str, str],
    key: str,
    secret: str,
    token: str | None,
    region: str,
    moment: datetime | None = None,
) -> dict[str, str]:
    """Headers with an AWS signature (version 4) for a request without query and body."""
    moment = moment or datetime.now(timezone.utc)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    signed = {**headers, "x-amz-date": stamp}
    if token:
        signed["x-amz-security-token"] = token
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [method, path, "", *(f"{name}:{signed[name].strip()}" for name in sorted(signed)), "", names, _EMPTY]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    derived = ("AWS4" + secret).encode()
    for part in (day, region, "s3", "aws4_request"):
        derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return signed
