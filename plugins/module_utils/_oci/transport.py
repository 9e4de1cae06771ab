# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""HTTP for registries on ``http.client``: kept connections, back-off shared by all workers of a host, clear errors.

Safe to call from many threads. Nothing here knows about registries' paths or logins.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Unavailable,
)

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
ATTEMPTS = 6
MAX_WAIT = 120.0
BODY_LIMIT = 32 * 1024 * 1024
RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
BROKEN = (OSError, http.client.HTTPException)
_AGENT = "muster.container_dr"
_REDIRECTS = 5


@dataclass(frozen=True)
class Endpoint:
    """How to reach one host: who may vouch for it, or no TLS at all."""

    host: str
    ca_cert: str | None = None
    validate_certs: bool = True
    plain_http: bool = False


@dataclass(frozen=True)
class Task:
    """What a request is for, in the words of an error: ``read``, ``manifest sha256:… of x at y``."""

    action: str
    target: str


class Answer:
    """A response. Its connection goes back for reuse once the body was read to the end."""

    def __init__(
        self, method: str, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, host: _Host
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = b""
        self._response = response
        self._connection = connection
        self._host = host
        length = response.headers.get("Content-Length", "")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        self.length = int(length) if length.isdigit() and not chunked else None
        self._expected = None if method == "HEAD" or response.status in (204, 304) else self.length
        self._received = 0
        self._ended = False
        if response.isclosed():
            self._end()

    def chunk(self, size: int) -> bytes:
        """The next bytes, empty at the end. Raises one of ``BROKEN`` where the connection ended too early."""
        if self._ended:
            return b""
        try:
            data = self._response.read(size)
        except BaseException:
            self.close()
            raise
        self._received += len(data)
        if not data:
            if self._expected is not None and self._received < self._expected:
                self.close()
                raise ConnectionError(f"the connection ended after {self._received} of {self._expected} bytes")
            self._end()
        elif self._response.isclosed():
            self._end()
        return data

    read = chunk

    def load(self) -> None:
        """Read the whole body into ``body``."""
        parts: list[bytes] = []
        total = 0
        while data := self.chunk(1024 * 1024):
            parts.append(data)
            total += len(data)
            if total > BODY_LIMIT:
                self.close()
                raise ValueError(f"the answer is larger than {BODY_LIMIT} bytes")
        self.body = b"".join(parts)

    def close(self) -> None:
        """Give the answer up; an unread rest costs the connection."""
        if not self._ended:
            self._ended = True
            self._response.close()
            self._connection.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if self._response.will_close:
                self._connection.close()
            else:
                self._host.keep(self._connection)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Host:
    """Idle connections to one host, and the moment before which nobody may ask it again."""

    def __init__(self) -> None:
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._not_before = 0.0

    def take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append(connection)

    def cool(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def wait(self) -> None:
        with self._lock:
            pause = self._not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()


class Transport:
    """Sends requests to any host; hosts that were not described are reached by TLS with the system's authorities."""

    def __init__(self, endpoints: Iterable[Endpoint] = (), *, attempts: int = ATTEMPTS) -> None:
        self._endpoints = {endpoint.host: endpoint for endpoint in endpoints}
        self._attempts = attempts
        self._hosts: dict[tuple[str, str], _Host] = {}
        self._contexts: dict[Endpoint, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close idle connections."""
        for host in self._hosts.values():
            host.close()

    def scheme(self, host: str) -> str:
        """``http`` only by explicit choice."""
        endpoint = self._endpoints.get(host)
        return "http" if endpoint and endpoint.plain_http else "https"

    def request(
        self,
        method: str,
        url: str,
        task: Task,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        stream: bool = False,
    ) -> Answer:
        """Send a request that may be repeated; breaks, 429 and 5xx are, with the host's back-off.

        Returns any answer that is left after the retries; with ``stream`` its body is unread. Follows redirects of
        GET and HEAD, without the Authorization header where they lead to another host. Raises
        :class:`Unavailable` where there is no answer.
        """
        for _redirect in range(_REDIRECTS):
            answer = self._repeat(method, url, task, dict(headers or {}), body, stream)
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return answer
            answer.close()
            onward = urljoin(url, answer.headers.get("Location", ""))
            before, after = urlsplit(url), urlsplit(onward)
            if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme != "https"):
                raise Unavailable(
                    task.action, task.target, f"{before.netloc} redirects from TLS to {after.scheme or 'nowhere'}"
                )
            if after.netloc != before.netloc:
                headers = {name: value for name, value in (headers or {}).items() if name.lower() != "authorization"}
            url = onward
        raise Unavailable(task.action, task.target, f"more than {_REDIRECTS} redirects")

    def _repeat(
        self, method: str, url: str, task: Task, headers: dict[str, str], body: bytes | None, stream: bool
    ) -> Answer:
        host = self._host(url)
        attempt = 0
        while True:
            attempt += 1
            host.wait()
            try:
                answer = self.send(method, url, headers, body)
                if not stream or answer.status >= 400:
                    answer.load()
            except BROKEN as error:
                problem = _explain(error, urlsplit(url).netloc, task)
                if problem is not None or attempt >= self._attempts:
                    raise problem or unreachable(error, urlsplit(url).netloc, task) from None
                time.sleep(backoff(attempt))
                continue
            except ValueError as error:
                raise Unavailable(task.action, task.target, str(error)) from None
            if answer.status not in RETRY_STATUS or attempt >= self._attempts:
                return answer
            pause = retry_after(answer)
            if pause is not None and pause > MAX_WAIT:
                raise Unavailable(
                    task.action,
                    task.target,
                    f"{urlsplit(url).netloc} answered {answer.status} and asks to wait {pause:.0f} seconds",
                    "Try again later, or log in where anonymous requests are limited.",
                )
            host.cool(backoff(attempt) if pause is None else pause)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> Answer:
        """One attempt. An idle connection that the server has closed meanwhile is replaced without further ado.

        A body that is no ``bytes`` needs a Content-Length and is sent as it comes; where the server answers early
        and hangs up, its answer is still returned. Raises one of ``BROKEN``.
        """
        host = self._host(url)
        connection = host.take()
        replayable = body is None or isinstance(body, bytes)
        if connection is not None and not replayable:
            # Bytes that were drawn from a stream cannot be sent again, so it gets a connection that is surely alive.
            connection.close()
            connection = None
        if connection is not None:
            try:
                return self._exchange(connection, host, method, url, headers, body)
            except TimeoutError:
                raise
            except (ConnectionError, http.client.BadStatusLine, ssl.SSLError):
                pass
        return self._exchange(self._connect(url), host, method, url, headers, body)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        host: _Host,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> Answer:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "http" and _proxy(url):
            path = url
        try:
            try:
                connection.request(method, path, body=body, headers={"User-Agent": _AGENT, **headers})
            except (BrokenPipeError, ConnectionResetError):
                # The server may have refused before it read everything; its reason is worth more than the break.
                if body is None or connection.sock is None:
                    raise
                answer = Answer(method, connection.getresponse(), connection, host)
                answer._response.will_close = True
                return answer
            return Answer(method, connection.getresponse(), connection, host)
        except BaseException:
            connection.close()
            raise

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        proxy = _proxy(url)
        address = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else parts.netloc
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._context(self._endpoints.get(parts.netloc) or Endpoint(parts.netloc))
            connection = http.client.HTTPSConnection(address, timeout=CONNECT_TIMEOUT, context=context)
            if proxy:
                connection.set_tunnel(parts.hostname or "", parts.port or 443)
        else:
            connection = http.client.HTTPConnection(address, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
            connection.sock.settimeout(READ_TIMEOUT)
        except BaseException:
            connection.close()
            raise
        return connection

    def _context(self, endpoint: Endpoint) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get(endpoint)
            if context is None:
                context = self._contexts[endpoint] = _tls(endpoint)
            return context

    def _host(self, url: str) -> _Host:
        parts = urlsplit(url)
        with self._lock:
            return self._hosts.setdefault((parts.scheme, parts.netloc), _Host())


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.ca_cert and not Path(endpoint.ca_cert).is_file():
        raise InvalidInput(
            "read",
            f"ca_cert {endpoint.ca_cert} of registry {endpoint.host}",
            "there is no such file",
            "Correct the path.",
        )
    try:
        context = ssl.create_default_context()
        if endpoint.ca_cert:
            context.load_verify_locations(endpoint.ca_cert)
    except ssl.SSLError:
        raise InvalidInput(
            "read", f"ca_cert {endpoint.ca_cert} of registry {endpoint.host}", "it holds no PEM certificate"
        ) from None
    if not endpoint.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _explain(error: BaseException, host: str, task: Task) -> MusterError | None:
    """The error for a fault that no retry mends."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "its certificate is not valid"
        return Unavailable(
            task.action,
            task.target,
            f"the certificate of registry {host} is not trusted ({reason})",
            "Set ca_cert of this registry to the file with its authority's certificate.",
        )
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    ):
        return Unavailable(
            task.action,
            task.target,
            f"registry {host} does not speak TLS",
            "Check the port, or set plain_http of this registry if that is meant.",
        )
    return None


def unreachable(error: BaseException, host: str, task: Task) -> Unavailable:
    """The error for a host that does not answer."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Unavailable(
        task.action,
        task.target,
        f"registry {host} cannot be reached ({text})",
        "Check its address and that it runs and can be reached from here.",
    )


def backoff(attempt: int) -> float:
    """Seconds before the next attempt: doubling, with jitter, at most 10."""
    return min(0.2 * 2.0**attempt, 10.0) * random.uniform(0.5, 1.0)


def retry_after(answer: Answer) -> float | None:
    """Seconds that the server asks to wait, from either form of Retry-After."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        return max(0.0, moment.timestamp() - time.time())
    return None


def server_words(answer: Answer) -> tuple[str, str]:
    """``(code, message)`` of a registry's error body: JSON as specified, or plain text, or nothing."""
    text = answer.body.decode("utf-8", "replace")
    try:
        document: Any = json.loads(text)
        first = document["errors"][0]
        detail = first.get("detail")
        message = str(first.get("message") or "")
        if isinstance(detail, str) and detail and detail not in message:
            message += f": {detail}"
        return str(first.get("code") or ""), message[:300]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        plain = " ".join(text.split())
        return "", "" if "<" in plain else plain[:200]
