# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A store in an S3 bucket, by boto3; the only file that knows boto3."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import (
    Entry,
    Readable,
    Store,
    Stored,
    check_key,
)

if TYPE_CHECKING:
    import boto3
    import botocore.config
    import botocore.exceptions
    from mypy_boto3_s3 import S3Client
else:
    boto3, botocore = Package("boto3"), Package("botocore", "config", "exceptions")

REQUIREMENT = Requirement("boto3", ("boto3", "botocore"))

# A server that is gone is given up within a minute: small calls 3 x (5 + 12) seconds with short pauses between.
_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 12.0
_ATTEMPTS = 3
# A pack of 128 MiB may take its server a while to put on a disk. What failed fast is repeated, what was slow is not.
_TRANSFER_TIMEOUT = 50.0
_TRANSFER_ATTEMPTS = 4
_FAST = 5.0
_CHUNK = 1 << 20
# An object has at most 10,000 parts, so the largest that can be written as it comes has 78 GiB.
_PART = 8 << 20

Value = TypeVar("Value")


class BucketMissing(NotFound):
    """There is no such bucket at the server."""


class WrongKey(Denied):
    """The server does not know the access key, or the secret key does not belong to it."""


class Unlocked(NotFound):
    """The object has no lock."""


class ConditionsUnsupported(Refused):
    """The server does not do conditional writes, so it cannot hold a lock."""


@dataclass(frozen=True)
class S3Place:
    """Where a bucket's part is and how to get in; ``secret_key`` and ``session_token`` are kept out of every text."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    ca_cert: str | None = None


class _Body:
    """An answer's body, whose breaks are :class:`ConnectionError`."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int, /) -> bytes:
        try:
            return bytes(self._body.read(size))
        except botocore.exceptions.BotoCoreError as error:
            raise ConnectionError(str(error)) from None

    def close(self) -> None:
        self._body.close()


class S3(Store):
    """Objects below a prefix of one bucket. Conditional writes are ``If-None-Match: *`` and ``If-Match``."""

    def __init__(self, place: S3Place, *, connections: int = 16) -> None:
        self._bucket = place.bucket
        self._prefix = place.prefix.strip("/") + "/" if place.prefix.strip("/") else ""
        self.place = f"s3://{place.bucket}/{self._prefix}".rstrip("/")
        self._server = place.endpoint_url or "the S3 service"
        self._provider = (_provider(place.endpoint_url), place.access_key, place.secret_key, place.session_token)
        self._takes = True
        if place.endpoint_url:
            self.place += f" at {place.endpoint_url}"
        # Asked for only where it is needed: a store in a directory does without.
        REQUIREMENT.check(self.place)
        try:
            session = boto3.session.Session()
            self._small = _client(session, place, connections, _READ_TIMEOUT, _ATTEMPTS)
            self._large = _client(session, place, connections, _TRANSFER_TIMEOUT, 1)
        except (ValueError, botocore.exceptions.BotoCoreError) as error:
            raise InvalidInput("use", self.place, str(error), "Check endpoint_url, region and credentials.") from None

    def probe(self) -> None:
        self._call("list", "objects", lambda: self._small.list_objects_v2(Bucket=self._bucket, MaxKeys=1))

    def read(self, key: str) -> Stored:
        def call() -> Stored:
            attempt = 1
            while True:
                answer = self._small.get_object(Bucket=self._bucket, Key=self._key(key))
                try:
                    return Stored(answer["Body"].read(), answer["ETag"])
                except (botocore.exceptions.BotoCoreError, OSError):
                    # boto3 repeats what fails before the answer's body begins, and nothing after that.
                    if attempt == _ATTEMPTS:
                        raise
                time.sleep(0.5 * 2 ** (attempt - 1))
                attempt += 1

        return self._call("read", key, call)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        token: str | None = None
        start = len(self._prefix)
        while True:
            more: dict[str, Any] = {"ContinuationToken": token} if token else {}
            answer = self._call(
                "list",
                f"objects {prefix}*".replace("objects *", "objects"),
                partial(self._small.list_objects_v2, Bucket=self._bucket, Prefix=self._prefix + prefix, **more),
            )
            for item in answer.get("Contents", []):
                if not item["Key"].endswith("/"):
                    yield Entry(item["Key"][start:], item["Size"])
            if not answer.get("IsTruncated"):
                return
            token = answer.get("NextContinuationToken")
            if not token:
                raise self._cut(prefix)

    def _cut(self, prefix: str) -> Unavailable:
        """For a list that ends too soon. What it leaves out would count as gone."""
        return Unavailable(
            "list",
            f"objects {prefix}* in {self.place}",
            f"{self._server} has more objects than it lists, and does not say how to go on",
            "Use an S3 server that knows ListObjectsV2.",
        )

    def put(self, key: str, data: bytes) -> None:
        self._write(key, data)

    def _create(self, key: str, data: bytes) -> None:
        self._write(key, data, IfNoneMatch="*")

    def _swap(self, key: str, data: bytes, version: str) -> None:
        self._write(key, data, IfMatch=version)

    def _write(self, key: str, data: bytes, **condition: Any) -> None:
        self._call(
            "write",
            key,
            lambda: self._small.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, **self._terms(io.BytesIO(data)), **condition
            ),
        )

    def _terms(self, body: BinaryIO) -> dict[str, Any]:
        """What is said of a new object beside its bytes."""
        return {}

    def delete(self, key: str) -> None:
        self._call("delete", key, lambda: self._small.delete_object(Bucket=self._bucket, Key=self._key(key)))

    def download(self, key: str, into: BinaryIO) -> int:
        return self._fetch(key, into)

    def _fetch(self, key: str, into: BinaryIO, **version: Any) -> int:
        start = into.tell()

        def call() -> int:
            into.seek(start)
            into.truncate()
            answer = self._large.get_object(Bucket=self._bucket, Key=self._key(key), **version)
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                into.write(chunk)
            return into.tell() - start

        return self._transfer("read", key, call)

    def upload(self, key: str, source: Path) -> None:
        def call() -> None:
            with source.open("rb") as stream:
                terms = self._terms(stream)
                stream.seek(0)
                self._large.put_object(Bucket=self._bucket, Key=self._key(key), Body=stream, **terms)

        self._transfer("write", key, call)

    def take(self, source: Store, key: str, check: Callable[[str], None]) -> int | None:
        """The server copies what was read and checked here, where one login is good for both.

        Servers without this, or that do not let us, are asked once.
        """
        if not self._takes or not isinstance(source, S3) or source._provider != self._provider:
            return None
        digest, size, tag = source._examine(key)
        check(digest)
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key), **self._headers()}
        where["CopySource"] = {"Bucket": source._bucket, "Key": source._key(key)}
        try:
            copy = partial(self._large.copy_object, CopySourceIfMatch=tag, **where)
            made = self._transfer("copy", key, copy).get("CopyObjectResult", {}).get("ETag")
        except (Conflict, NotFound, Unavailable):
            # It is another one now, or gone, or the server is busy or away: sending it tells.
            return None
        except MusterError:
            self._takes = False
            return None
        # The tag of other bytes is another one; that of the same bytes need not be the same, with encryption at rest.
        return size if made == tag or self._examine(key)[0] == digest else None

    def _examine(self, key: str) -> tuple[str, int, str]:
        """The SHA-256 of an object, its size, and the version that this is."""

        def call() -> tuple[str, int, str]:
            digest, size = hashlib.sha256(), 0
            answer = self._large.get_object(Bucket=self._bucket, Key=self._key(key))
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
            return digest.hexdigest(), size, answer["ETag"]

        return self._transfer("read", key, call)

    def _headers(self) -> dict[str, Any]:
        """What is asked for a new object beside its bytes."""
        return {}

    def size(self, key: str) -> int | None:
        try:
            answer = self._call(
                "look for", key, lambda: self._small.head_object(Bucket=self._bucket, Key=self._key(key))
            )
        except NotFound:
            return None
        return answer["ContentLength"]

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Readable:
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        if offset or length is not None:
            where["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        return _Body(self._transfer("read", key, lambda: self._large.get_object(**where))["Body"])

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        parts = _parts(chunks)
        part = next(parts, b"")
        if len(part) < _PART:
            self._transfer("write", key, lambda: self._large.put_object(Body=part, **where))
            return
        where["UploadId"] = self._call("write", key, lambda: self._small.create_multipart_upload(**where))["UploadId"]
        done: list[dict[str, Any]] = []
        try:
            while part:
                number = len(done) + 1
                send = partial(self._large.upload_part, Body=part, PartNumber=number, **where)
                done.append({"ETag": self._transfer("write", key, send)["ETag"], "PartNumber": number})
                part = next(parts, b"")
            uploaded: Any = {"Parts": done}
            self._call("write", key, lambda: self._large.complete_multipart_upload(MultipartUpload=uploaded, **where))
        except BaseException:
            with contextlib.suppress(MusterError):
                self._call("tidy up", key, lambda: self._small.abort_multipart_upload(**where))
            raise

    def tidy(self, prefix: str, age: float) -> None:
        below = self._prefix + prefix
        with contextlib.suppress(MusterError):
            list_uploads = partial(self._small.list_multipart_uploads, Bucket=self._bucket, Prefix=below)
            for upload in self._call("list", f"uploads to {prefix}", list_uploads).get("Uploads", []):
                if time.time() - upload["Initiated"].timestamp() > age and upload["Key"].startswith(below):
                    which: dict[str, Any] = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    abort = partial(self._small.abort_multipart_upload, Bucket=self._bucket, **which)
                    self._call("tidy up", upload["Key"], abort)

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _transfer(self, action: str, key: str, call: Callable[[], Value]) -> Value:
        """Repeat a transfer that failed fast; one that ran into its time limit shows a server that is gone."""
        for attempt in range(1, _TRANSFER_ATTEMPTS + 1):
            started = time.monotonic()
            try:
                return self._call(action, key, call)
            except Unavailable:
                if attempt == _TRANSFER_ATTEMPTS or time.monotonic() - started > _FAST:
                    raise
                time.sleep(0.5 * 2 ** (attempt - 1))
        raise AssertionError("not reached")

    def _call(self, action: str, key: str, call: Callable[[], Value]) -> Value:
        try:
            return call()
        except botocore.exceptions.ClientError as error:
            raise self._answer(action, key, error) from None
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise self._trouble(action, key, error) from None

    def _answer(self, action: str, key: str, error: botocore.exceptions.ClientError) -> MusterError:
        """What an error answer of the server means."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        text = str(error.response.get("Error", {}).get("Message") or code)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        target = f"{key} in {self.place}"
        if code == "NoSuchBucket":
            return BucketMissing(
                action,
                target,
                f"{self._server} has no bucket {self._bucket!r}",
                "Create the bucket, or correct the name in the URL.",
            )
        if code in ("NoSuchKey", "NoSuchVersion", "404", "NotFound"):
            return self.missing(key)
        if code == "NoSuchObjectLockConfiguration":
            return Unlocked(action, target, "it is not locked")
        if code == "PreconditionFailed" or status == 412:
            return self.already(key)
        if code == "ConditionalRequestConflict" or status == 409:
            return self.changed(key)
        if code in (
            "InvalidAccessKeyId",
            "XAdminUserNotFound",
            "SignatureDoesNotMatch",
            "InvalidToken",
            "ExpiredToken",
        ):
            return WrongKey(
                action,
                target,
                f"{self._server} refuses the credentials ({code})",
                "Check access_key and secret_key.",
            )
        if code == "RequestTimeTooSkewed":
            return Denied(
                action, target, "the clocks of this machine and of the server differ too much", "Set the clock right."
            )
        if code in ("AccessDenied", "AllAccessDisabled") or status in (401, 403):
            return Denied(action, target, f"the access key may not ({text})", "Give it the right to do this.")
        if code in ("NotImplemented", "MethodNotAllowed") or status == 501:
            return ConditionsUnsupported(
                action,
                target,
                f"{self._server} does not support this kind of write ({text})",
                "Use an S3 server that knows If-None-Match and If-Match.",
            )
        if code in ("BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest"):
            return Corrupt(
                action, target, "the bytes changed on their way to the server", "Try again; check the network."
            )
        if status >= 500 or code in ("SlowDown", "RequestTimeout"):
            hint = "Its disk may be full, or it is overloaded; look at its log."
            return Unavailable(action, target, f"{self._server} answered {status} {code}: {text}", hint)
        return MusterError(action, target, f"{self._server} answered {status} {code}: {text}")

    def _trouble(self, action: str, key: str, error: Exception) -> MusterError:
        """What went wrong before there was an answer."""
        target = f"{key} in {self.place}"
        known = botocore.exceptions
        if isinstance(error, known.NoCredentialsError | known.PartialCredentialsError):
            return Denied(
                action,
                target,
                "there are no credentials",
                "Set access_key and secret_key, or give boto3 credentials in its own way.",
            )
        if isinstance(error, known.SSLError):
            return Denied(
                action,
                target,
                f"the certificate of {self._server} is not trusted",
                "Set ca_cert to the file of its authority, and check the host name in endpoint_url.",
            )
        if isinstance(error, known.ConnectTimeoutError | known.ReadTimeoutError):
            return Unavailable(
                action, target, f"{self._server} does not answer in time", "Check that it runs and can be reached."
            )
        if isinstance(error, known.EndpointConnectionError | known.ConnectionClosedError | known.HTTPClientError):
            return Unavailable(
                action, target, f"{self._server} cannot be reached", "Check that it runs, and endpoint_url."
            )
        if isinstance(error, OSError):
            return Unavailable(action, target, error.strerror or str(error), "Check space and rights on this machine.")
        return InvalidInput(action, target, str(error), "Check endpoint_url, bucket and credentials.")


def _provider(endpoint_url: str | None) -> str:
    """Servers of which one can copy from another: all of AWS, else only a server from itself."""
    host = urlsplit(endpoint_url or "").netloc
    return "AWS" if not host or host.endswith(".amazonaws.com") else str(endpoint_url)


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of ``_PART``; the last may be smaller."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _PART:
            whole = b"".join(held)
            for start in range(0, size - _PART + 1, _PART):
                yield whole[start : start + _PART]
            held = [whole[size - size % _PART :]]
            size %= _PART
    if size:
        yield b"".join(held)


def _client(session: Any, place: S3Place, connections: int, read_timeout: float, attempts: int) -> S3Client:
    # Signing the payload lets the server check every upload; the newer checksum trailers are unknown to many servers.
    settings = botocore.config.Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=connections,
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if place.endpoint_url else "auto", "payload_signing_enabled": True},
    )
    client: S3Client = session.client(
        "s3",
        endpoint_url=place.endpoint_url,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        aws_session_token=place.session_token,
        region_name=place.region or session.region_name or "us-east-1",
        verify=place.ca_cert,
        config=settings,
    )
    return client
