# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From the options ``store`` and ``repository`` to an opened store."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan.locking import Lock
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.locked import LockedS3
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import S3, S3Place
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_OTHER_BACKEND = re.compile(r"^(rest|sftp|rclone|b2|azure|gs|swift):")
# What is a port before a slash is no password.
_LOGIN = re.compile(
    r"(//|^(?:rest|s3):(?!https?:|http\+unix:))(?:[^/]*|[^/:@\[]*:(?!\d+/).+)@", re.IGNORECASE | re.DOTALL
)


def open_store(options: Mapping[str, Any], lock: Lock | None = None) -> Store:
    """The store that a ``store`` option names: ``s3://bucket/prefix`` or ``file:///directory``.

    With ``lock`` whatever is written into it is locked; its bucket must be one that can do that.
    """
    url = str(options["url"])
    parts = _split("store", url, url)
    if not url.startswith("/") and ("?" in url or "#" in url):
        # What follows would be no part of the path, and two stores one.
        raise InvalidInput("use", f"store {url!r}", "it has a # or a ?", "Write them as %23 or %3F.")
    if parts.scheme == "s3" and parts.netloc:
        return _bucket(_place(options, parts.netloc, unquote(parts.path), options.get("endpoint_url")), lock)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return _directory(Path(unquote(parts.path)), lock)
    if not parts.scheme and url.startswith("/"):
        return _directory(Path(url), lock)
    raise InvalidInput(
        "use", f"store {url!r}", "it is neither S3 nor a directory", "Write s3://bucket/prefix or file:///directory."
    )


def is_raw(url: str) -> bool:
    """Whether the objects of a restic repository at this URL can be reached without restic."""
    return not _OTHER_BACKEND.match(url)


def open_repository(options: Mapping[str, Any], lock: Lock | None = None) -> Store:
    """The raw objects of the restic repository that a ``repository`` option names; needs no password.

    restic writes S3 as ``s3:https://host:port/bucket/prefix`` or ``s3:host/bucket/prefix``, and directories as
    ``local:/path`` or a path. ``lock`` as for :func:`open_store`.
    """
    url = str(options["url"])
    if url.startswith("s3:"):
        scheme, host, bucket, prefix = restic_place(url)
        if not host or not bucket or "@" in host:
            raise InvalidInput(
                "use", f"repository {printable(url)!r}", "it names no bucket", "Write s3:https://host/bucket/prefix."
            )
        return _bucket(_place(options, bucket, prefix, f"{scheme}://{host}"), lock)
    if _OTHER_BACKEND.match(url):
        if lock is not None:
            raise _no_locks(printable(url), "this backend")
        raise InvalidInput(
            "mirror",
            f"repository {printable(url)!r}",
            "only repositories in S3 and in directories can be mirrored object by object",
            "Set mode to recrypt, which copies snapshots into a repository with a key of its own.",
        )
    return _directory(Path(located(url).removeprefix("local:")), lock)


def located(url: str) -> str:
    """The URL of a repository with the home directory in full, of which restic knows nothing; else as it is.

    :class:`InvalidInput` for a path that is relative, and would be another place for each folder that restic runs in.
    """
    if url.startswith("s3:") or not is_raw(url):
        return url
    path = Path(url.removeprefix("local:"))
    with contextlib.suppress(RuntimeError):  # of a user that there is not
        path = path.expanduser()
    if not path.is_absolute():
        hint = "Write an absolute path, or its kind before it, such as rest:https://host/path."
        raise InvalidInput("use", f"repository {printable(url)!r}", "its path is relative", hint)
    return str(path) if "~" in url else url


def restic_place(url: str) -> tuple[str, str, str, str]:
    """Scheme, server, bucket and prefix of an ``s3:`` URL, just as restic reads it; empty where it has none.

    :class:`InvalidInput` for a prefix that begins with a slash, which restic keeps and nobody means.
    """
    scheme, rest = "https", url.removeprefix("s3:")
    if rest.startswith(("http://", "https://")):
        parts = _split("repository", url, rest)
        scheme, host, path = parts.scheme, parts.netloc, unquote(parts.path).lstrip("/")
    else:
        host, _slash, path = rest.removeprefix("//").partition("/")
    bucket, _slash, prefix = path.partition("/")
    if prefix.startswith("/"):
        raise InvalidInput(
            "use", f"repository {printable(url)!r}", "two slashes follow its bucket", "Write one between the two."
        )
    return scheme, host, bucket, posixpath.normpath(prefix) if prefix else ""


def _split(what: str, url: str, part: str) -> SplitResult:
    try:
        return urlsplit(part)
    except ValueError as error:
        raise InvalidInput("use", f"{what} {printable(url)!r}", str(error), "Correct the URL.") from None


def _bucket(place: S3Place, lock: Lock | None) -> Store:
    if lock is None:
        return S3(place)
    locked = LockedS3(place, lock)
    locked.demand()
    return locked


def _directory(path: Path, lock: Lock | None) -> Store:
    if lock is not None:
        raise _no_locks(str(path), "a directory")
    return Directory(path)


def _no_locks(target: str, what: str) -> InvalidInput:
    return InvalidInput(
        "lock",
        target,
        f"{what} has no object lock",
        "Name a bucket with versioning and object lock, or leave object_lock out.",
    )


def _place(options: Mapping[str, Any], bucket: str, prefix: str, endpoint: str | None) -> S3Place:
    login = backends.given(options, f"bucket {bucket!r}")
    backends.require_sendable((*login.values(), options.get("region")), f"bucket {bucket!r}")
    ca_cert = options.get("ca_cert")
    if ca_cert and not Path(ca_cert).is_file():
        raise InvalidInput("use", f"ca_cert {ca_cert}", "there is no such file")
    return S3Place(
        bucket=bucket,
        prefix=prefix,
        endpoint_url=endpoint,
        access_key=login.get("AWS_ACCESS_KEY_ID"),
        secret_key=login.get("AWS_SECRET_ACCESS_KEY"),
        session_token=login.get("AWS_SESSION_TOKEN"),
        region=options.get("region"),
        ca_cert=ca_cert,
    )


def printable(url: str) -> str:
    """The URL without a password that somebody put into it, also where nobody could log in by it."""
    return _LOGIN.sub(r"\1…@", url)
