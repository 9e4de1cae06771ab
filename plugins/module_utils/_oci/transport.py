# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""HTTP for registries on ``http.client``: kept connections, back-off and budgets shared by all workers of a host.

Safe to call from many threads. Nothing here knows about registries' paths or logins.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import ipaddress
import json
import random
import re
import select
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timezone
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Unavailable,
)

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
# Seconds for which an idle connection is trusted: servers end one sooner or later, and firewalls without a word.
IDLE = 30.0
ATTEMPTS = 6
# Breaks of one download or upload after which it is given up; each that made progress begins the count anew.
BREAKS = 6
CHUNK = 1024 * 1024
MAX_WAIT = 120.0
BODY_LIMIT = 32 * 1024 * 1024
RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
BROKEN = (OSError, http.client.HTTPException)
_AGENT = "muster.container_dr"
_REDIRECTS = 5
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
# What came within this time is handed on, however little it is: a slow source must not let a target wait too long.
_PATIENCE = 1.0


@dataclass(frozen=True)
class Endpoint:
    """How to reach one host: who vouches for it and for us, or no TLS at all; and what all workers may ask of it.

    ``connections`` counts workers that talk to it at the same time. Without a number there is no limit.
    """

    host: str
    ca_cert: str | None = None
    validate_certs: bool = True
    plain_http: bool = False
    client_cert: str | None = None
    client_key: str | None = None
    connections: int | None = None
    requests_per_second: float | None = None
    bytes_per_second: float | None = None


@dataclass(frozen=True)
class Task:
    """What a request is for, in the words of an error: ``read``, ``manifest sha256:… of x at y``."""

    action: str
    target: str


_acting = threading.local()


def worker() -> int:
    """Who asks: this thread, or the one that it reads for."""
    found: int = getattr(_acting, "worker", None) or threading.get_ident()
    return found


def act_for(another: int) -> None:
    """Count what this thread asks for as asked by another, which waits for it."""
    _acting.worker = another


class Answer:
    """A response. Its connection goes back for reuse once the body was read to the end."""

    def __init__(
        self,
        method: str,
        url: str,
        response: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        host: _Host,
    ) -> None:
        self.url = url
        self.status = response.status
        self.headers = response.headers
        self.body = b""
        self._response = response
        self._connection = connection
        self._host = host
        self._worker = worker()
        length = response.headers.get("Content-Length", "")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        self.length = int(length) if length.isdigit() and not chunked else None
        self._expected = None if method == "HEAD" or response.status in (204, 304) else self.length
        self._received = 0
        self._ended = False
        self._broken: BaseException | None = None
        if response.isclosed():
            self._end()

    def chunk(self, size: int) -> bytes:
        """The next bytes, empty at the end. Raises one of ``BROKEN`` where the connection ended too early.

        What came before a break is handed out first, so that a connection that always breaks still makes progress.
        """
        if self._broken is not None:
            raise self._broken
        if self._ended:
            return b""
        size = self._host.piece(size)
        if self._expected is not None:
            size = min(size, self._expected - self._received)
        parts: list[bytes] = []
        total, until = 0, time.monotonic() + _PATIENCE
        try:
            while total < size and time.monotonic() < until:
                data = self._response.read1(size - total)
                if not data:
                    break
                parts.append(data)
                total += len(data)
            self._received += total
            if not total and self._expected is not None and self._received < self._expected:
                raise ConnectionError(f"the connection ended after {self._received} of {self._expected} bytes")
        except BROKEN as error:
            self._broken = error
            self.close()
            if not parts:
                raise
        except BaseException:
            self.close()
            raise
        if not total or self._received == self._expected:
            self._end()
        self._host.spend(total)
        return b"".join(parts)

    read = chunk

    def load(self) -> None:
        """Read the whole body into ``body``."""
        parts: list[bytes] = []
        total = 0
        while data := self.chunk(CHUNK):
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
            self._host.leave(self._worker)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            reusable = not self._response.will_close
            self._response.close()
            if reusable:
                self._host.keep(self._connection)
            else:
                self._connection.close()
            self._host.leave(self._worker)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pace:
    """So many units a second for all threads together; each waits for its turn."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def take(self, units: float) -> None:
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + units / self.rate
        time.sleep(turn - now)


class _Host:
    """One host as all workers share it: the way to it, idle connections, budgets, and when it may be asked again."""

    def __init__(self, url: SplitResult, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.proxy = _Proxy.of(url)
        self._address = url.hostname or ""
        self.name = f"{url.netloc} through proxy {self.proxy.address}" if self.proxy else url.netloc
        # With the time from which each is idle, in this order.
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._requests = _Pace(endpoint.requests_per_second)
        self._bytes = _Pace(endpoint.bytes_per_second)
        self._workers: Counter[int] = Counter()
        self._left = threading.Condition(self._lock)

    @cached_property
    def depth(self) -> int:
        """How far inside it lies: 0 public or unknown, 1 a private network, 2 this machine, 3 the link.

        Behind a proxy names are not ours to resolve, only plain addresses count.
        """
        flags = socket.AI_NUMERICHOST if self.proxy else 0
        try:
            found = socket.getaddrinfo(self._address, None, type=socket.SOCK_STREAM, flags=flags)
        except (OSError, UnicodeError):
            return 0
        depth = 0
        for entry in found:
            address = ipaddress.ip_address(entry[4][0])
            address = getattr(address, "ipv4_mapped", None) or address
            inside = (not address.is_global, address.is_loopback or address.is_unspecified, address.is_link_local)
            depth = max(depth, *(level for level, here in enumerate(inside, 1) if here), 0)
        return depth

    def take(self) -> http.client.HTTPConnection | None:
        """The connection that was used last; those that have been idle for too long are closed."""
        with self._lock:
            oldest = time.monotonic() - IDLE
            while self._idle and self._idle[0][0] < oldest:
                self._idle.pop(0)[1].close()
            return self._idle.pop()[1] if self._idle else None

    def keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), connection))

    def enter(self) -> None:
        """Wait until this worker may send a request: for a free place, the end of a cool-down, the pace of requests.

        Who copies within one host reads and writes there at the same time. The second of the two does not wait for
        a place: workers that all hold one and all want another would wait for ever.
        """
        me, limit = worker(), self.endpoint.connections
        with self._left:
            self._left.wait_for(lambda: not limit or me in self._workers or len(self._workers) < limit)
            self._workers[me] += 1
        self._requests.take(1)
        while (pause := self._not_before - time.monotonic()) > 0:
            time.sleep(pause)

    def leave(self, who: int) -> None:
        with self._left:
            self._workers[who] -= 1
            if not self._workers[who]:
                del self._workers[who]
            self._left.notify()

    def cool(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def spend(self, count: int) -> None:
        """Wait until the budget of bytes allows so many more."""
        self._bytes.take(count)

    def piece(self, size: int) -> int:
        """The most bytes to move at once: with a budget, what a second allows."""
        return min(size, max(1, int(self._bytes.rate))) if self._bytes.rate else size

    def paced(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """The body's chunks as the budget allows them."""
        for chunk in body:
            step = self.piece(len(chunk)) or 1
            for start in range(0, len(chunk), step):
                part = chunk if step == len(chunk) else chunk[start : start + step]
                self.spend(len(part))
                yield part

    def close(self) -> None:
        with self._lock:
            for _since, connection in self._idle:
                connection.close()
            self._idle.clear()


@dataclass(frozen=True)
class _Proxy:
    """A proxy of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``); its login is in ``headers`` alone."""

    host: str
    port: int
    headers: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: SplitResult) -> _Proxy | None:
        """The proxy to a host; :class:`InvalidInput` for one that cannot be used."""
        value = urllib.request.getproxies().get(url.scheme)
        if not value or _bypassed(url):
            return None
        parts = urlsplit(value if "://" in value else f"http://{value}")
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise InvalidInput(
                "use",
                f"the proxy in {url.scheme.upper()}_PROXY",
                "it is not http://HOST:PORT, the only kind that is supported",
                "Correct it, or name the registry's host in NO_PROXY.",
            )
        if parts.username is None:
            return cls(parts.hostname, port, {})
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(parts.hostname, port, {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()})


def _bypassed(url: SplitResult) -> bool:
    """Whether ``NO_PROXY`` names the host; networks (``10.0.0.0/8``) count too, as they do for Go's programs."""
    if urllib.request.proxy_bypass(url.netloc):
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(url.hostname or "")
        for entry in urllib.request.getproxies().get("no", "").split(","):
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip()):
                    return True
    return False


def _port(url: SplitResult) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def _hung_up(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has ended an idle connection: then there is something to read where nothing was asked."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


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
        redirects: bool = True,
    ) -> Answer:
        """Send a request that may be repeated; breaks, 429 and 5xx are, with the host's back-off.

        Returns any answer that is left after the retries; with ``stream`` its body is unread. Follows redirects (with
        ``redirects``) as :meth:`follow` allows it: of GET and HEAD anywhere, without the Authorization header where
        they lead to another host, of others within their host. Raises :class:`Unavailable` where there is no answer.
        """
        for _redirect in range(_REDIRECTS):
            answer = self._repeat(method, url, task, dict(headers or {}), body, stream)
            if answer.status not in _REDIRECT_STATUS or not redirects:
                return answer
            onward = self.follow(url, answer.headers.get("Location", ""), task)
            if urlsplit(onward).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in (headers or {}).items() if name.lower() != "authorization"}
                if method not in ("GET", "HEAD"):
                    return answer
            elif method not in ("GET", "HEAD") and answer.status not in (307, 308):
                return answer
            url = onward
        raise Unavailable(task.action, task.target, f"more than {_REDIRECTS} redirects")

    def follow(self, url: str, location: str, task: Task) -> str:
        """The address to which an answer from ``url`` sends us.

        Raises :class:`Unavailable` where that leads out of TLS, or further inside than the sender is itself: from a
        public address into a private network, or from either to this machine or to the link on which clouds serve
        credentials. Hosts that the options describe are reached as they say.
        """
        before = urlsplit(url)
        try:
            if not location.isascii():
                raise ValueError("no URL")
            after = urlsplit(urljoin(url, location))
            # A login in it is none of ours, and errors name the host.
            after = after._replace(netloc=after.netloc.rpartition("@")[2])
            if (after.hostname, _port(after)) == (before.hostname, _port(before)):
                after = after._replace(netloc=before.netloc)
        except ValueError:
            raise Unavailable(task.action, task.target, f"{before.netloc} leads to no address") from None
        if before.scheme == "https" and after.scheme == "http":
            if after.hostname == before.hostname:
                # Registries behind a proxy that ends TLS do not know that they are reached by it.
                after = after._replace(scheme="https", netloc=before.netloc)
            elif self.scheme(after.netloc) == "https":
                raise Unavailable(task.action, task.target, f"{before.netloc} leads from TLS to http on {after.netloc}")
        elif after.scheme not in ("http", "https"):
            raise Unavailable(task.action, task.target, f"{before.netloc} leads to {after.scheme or 'nowhere'}")
        known = after.netloc == before.netloc or after.netloc in self._endpoints
        if not known and self._host(after.geturl()).depth > self._host(url).depth:
            raise Unavailable(
                task.action,
                task.target,
                f"{before.netloc} leads to {after.netloc}, which is an internal address",
                "If that is meant, describe that host among the registries of this task, for example in sources.",
            )
        return after.geturl()

    def _repeat(
        self, method: str, url: str, task: Task, headers: dict[str, str], body: bytes | None, stream: bool
    ) -> Answer:
        host = self._host(url)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self.send(method, url, task, headers, body)
                if not stream or answer.status >= 300:
                    answer.load()
            except BROKEN as error:
                problem = _explain(error, host.name, task)
                if problem is not None or attempt >= self._attempts:
                    raise problem or unreachable(error, host.name, task) from None
                time.sleep(backoff(attempt))
                continue
            except ValueError as error:
                raise Unavailable(task.action, task.target, str(error)) from None
            if answer.status not in RETRY_STATUS or attempt >= self._attempts:
                return answer
            host.cool(backoff(attempt))

    def send(
        self, method: str, url: str, task: Task, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> Answer:
        """One attempt, as soon as budgets and cool-down of the host allow it.

        An idle connection that the server has closed meanwhile is replaced without further ado. A body that is no
        ``bytes`` needs a Content-Length and is sent as it comes; where the server answers early and hangs up, its
        answer is still returned. Where the answer asks to wait, all workers of the host will. Raises one of
        ``BROKEN``, or :class:`Unavailable` where the wait would be too long.
        """
        host = self._host(url)
        host.enter()
        try:
            answer = self._attempt(host, method, url, headers, body)
        except BaseException:
            host.leave(worker())
            raise
        pause = retry_after(answer) if answer.status in RETRY_STATUS else None
        if pause is not None and pause > MAX_WAIT:
            answer.close()
            raise Unavailable(
                task.action,
                task.target,
                f"{host.name} answered {answer.status} and asks to wait {pause:.0f} seconds",
                "Try again later, or log in where anonymous requests are limited.",
            )
        host.cool(pause or 0.0)
        return answer

    def _attempt(
        self, host: _Host, method: str, url: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
    ) -> Answer:
        connection = host.take()
        replayable = body is None or isinstance(body, bytes)
        if connection is not None and not replayable:
            if not _hung_up(connection):
                return self._exchange(connection, host, method, url, headers, body)
            # Bytes that were drawn from a stream cannot be sent again.
            connection.close()
        elif connection is not None:
            try:
                return self._exchange(connection, host, method, url, headers, body)
            except TimeoutError:
                raise
            except (ConnectionError, http.client.BadStatusLine, ssl.SSLError):
                pass
        return self._exchange(self._connect(host, url), host, method, url, headers, body)

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
        headers = {"User-Agent": _AGENT, **headers}
        if host.proxy and parts.scheme == "http":
            path = url
            headers.update(host.proxy.headers)
        if isinstance(body, bytes):
            host.spend(len(body))
        elif body is not None:
            body = host.paced(body)
        try:
            try:
                connection.request(method, path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # The server may have refused before it read everything; its reason, which is an answer or an alert of
                # TLS, is worth more than the break.
                if connection.sock is None:
                    raise
                answer = Answer(method, url, connection.getresponse(), connection, host)
                answer._response.will_close = True
                return answer
            return Answer(method, url, connection.getresponse(), connection, host)
        except BaseException:
            connection.close()
            raise

    def _connect(self, host: _Host, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        address = host.proxy.address if host.proxy else parts.netloc
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._context(host.endpoint)
            connection = http.client.HTTPSConnection(address, timeout=CONNECT_TIMEOUT, context=context)
            if host.proxy:
                connection.set_tunnel(parts.hostname or "", parts.port or 443, dict(host.proxy.headers))
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
        key = (parts.scheme, parts.netloc)
        with self._lock:
            host = self._hosts.get(key)
            if host is None:
                endpoint = self._endpoints.get(parts.netloc) or Endpoint(parts.netloc)
                host = self._hosts[key] = _Host(parts, endpoint)
            return host


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    files = {"ca_cert": endpoint.ca_cert, "client_cert": endpoint.client_cert, "client_key": endpoint.client_key}
    for option, path in files.items():
        if path:
            _check_readable(f"{option} {path} of registry {endpoint.host}", Path(path))
    context = ssl.create_default_context()
    if endpoint.ca_cert:
        try:
            context.load_verify_locations(endpoint.ca_cert)
        except OSError:
            raise InvalidInput(
                "read",
                f"ca_cert {endpoint.ca_cert} of registry {endpoint.host}",
                "it holds no PEM certificate",
                "Give the authority's certificate as PEM; openssl x509 -inform der -in FILE makes it from a DER file.",
            ) from None
    if endpoint.client_cert:
        try:
            # Without a password of its own OpenSSL would ask for one on the terminal.
            context.load_cert_chain(endpoint.client_cert, endpoint.client_key, password="")
        except OSError:
            key = f" and client_key {endpoint.client_key}" if endpoint.client_key else ""
            raise InvalidInput(
                "read",
                f"client_cert {endpoint.client_cert}{key} of registry {endpoint.host}",
                "they are no certificate with its key",
                "Both are PEM files, the key without a password; client_key may be left out where one file holds both.",
            ) from None
    if not endpoint.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_readable(what: str, path: Path) -> None:
    """Raise :class:`InvalidInput` for a file that cannot be read; ``ssl`` says neither which one nor always why."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise InvalidInput("read", what, "there is no such file", "Correct the path.") from None
    except OSError as error:
        hint = "Name a file that this user may read."
        raise InvalidInput("read", what, error.strerror or str(error), hint) from None


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
    if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (error.reason or ""):
        return Unavailable(
            task.action,
            task.target,
            f"registry {host} wants a client certificate",
            "Set client_cert and client_key of this registry.",
        )
    refusal = re.match(r"Tunnel connection failed: (4\d\d.*)", str(error))
    if refusal:
        return Unavailable(
            task.action,
            task.target,
            f"registry {host}: the proxy answered {refusal.group(1).strip()}",
            "Check HTTPS_PROXY, the login in it, and NO_PROXY.",
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
    if value.isdecimal():
        return float(value)
    if value:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError, OverflowError):
            return None
        # The oldest form of a date names no zone; HTTP knows one alone.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
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
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        plain = " ".join(text.split())
        return "", "" if "<" in plain else plain[:200]
