# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A command in a container over a websocket, by the protocol of ``kubectl exec``.

The ``kubernetes`` package's own stream has no time limit while it connects, sends no header of ours, and stumbles over
connections that break and commands that cannot be started. So only its settings are used, with the ``websocket``
package that it comes with.
"""

from __future__ import annotations

import json
import os
import select
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package

if TYPE_CHECKING:
    import websocket
else:
    websocket = Package("websocket")

# Without a standard input the two are the same; newer servers carry the first one further.
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
# The only one that can say that a standard input has ended.
_HALF_CLOSING = _PROTOCOLS[:1]
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
# A container's node has to be asked before the server agrees; to wait longer than this helps nobody.
_HANDSHAKE = 60.0
# How often a caller is asked whether to go on, and after how long a silence something is sent, so that what stands in
# between does not take the connection for a dead one.
_TICK, _SILENCE = 0.5, 15.0
# How long a server may take to close the connection after the command has ended.
_LINGER = 10.0
_PIECE = 1 << 16
# Of what a command prints besides its data only the end is kept.
TAIL = 1 << 16
# A socket that has nothing to give, or takes nothing, at the moment.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Ended:
    """What came before the end: both outputs, and the server's ``Status`` of the command as it sent it."""

    stdout: bytes
    stderr: bytes
    status: bytes


@dataclass
class Source:
    """Where the standard input of a command comes from: a file descriptor that is read to its end.

    ``finish`` is called there, and raises where what was read is not whole; the command is not told of an end then.
    ``mark`` on a line of the errors says that nobody wants more of it. ``bytes`` is how many were read.
    """

    number: int
    finish: Callable[[], None]
    mark: bytes = b""
    bytes: int = 0


def run(configuration: Any, url: str, headers: Iterable[tuple[str, str]], target: str, timeout: float) -> Ended:
    """Open ``url`` (of an ``exec`` of a pod) and read until the command has ended.

    ``configuration`` is the ``kubernetes`` package's, ``target`` names the command in errors. Raises
    :class:`Unavailable` where the server refuses, the connection breaks before the command ended, or it has not ended
    after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    channel = _open(configuration, url, [_line(*one) for one in headers], target, timeout)
    parts = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    failure: Unavailable | None = None
    try:
        _receive(channel, end, parts)
    except websocket.WebSocketTimeoutException:
        failure = Unavailable(
            "run", target, f"it did not end within {timeout:g} seconds", "Raise the time limit or mend it."
        )
    except (OSError, websocket.WebSocketException) as error:
        failure = _broken(target, f" ({_words(error)})")
    finally:
        channel.shutdown()
    if not parts[_STATUS]:
        raise failure or _broken(target)
    return Ended(bytes(parts[_STDOUT]), bytes(parts[_STDERR]), bytes(parts[_STATUS]))


def carry(
    configuration: Any,
    url: str,
    headers: Iterable[tuple[str, str]],
    target: str,
    *,
    timeout: float,
    stall: float,
    check: Callable[[], None],
    take: Callable[[bytes], None] | None = None,
    source: Source | None = None,
) -> Ended:
    """As :func:`run`, for any amount of data: ``take`` is given the output as it comes, ``source`` is the input.

    While ``take`` does not return nothing more is read, so that the command has to wait. ``check`` is called about
    twice a second. What these raise goes on after the connection was cut, and so does
    :class:`Unavailable` where nothing moved for ``stall`` seconds (after the end of the input, where there is one, only
    ``timeout`` counts). Of the errors, and of the output without a ``take``, only the last :data:`TAIL` bytes are kept.
    A server that cannot tell the command of its input's end is refused before the command runs.
    """
    protocols = _PROTOCOLS if source is None else _HALF_CLOSING
    channel = _open(configuration, url, [_line(*one) for one in headers], target, timeout, protocols)
    try:
        return _Exchange(channel, target, timeout, stall, check, take, source).run()
    finally:
        channel.shutdown()


class _Exchange:
    """Reads and writes by turns and never waits for one of the two: a command may stop reading until it is read."""

    def __init__(
        self,
        channel: Any,
        target: str,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None,
        source: Source | None,
    ) -> None:
        self._channel = channel
        self._target = target
        self._timeout, self._stall = timeout, stall
        self._check, self._take, self._source = check, take, source
        # With the ends of its line: what is taken out as soon as it is there has to be all of it.
        self._mark = b"\n" + source.mark + b"\n" if source and source.mark else b""
        self._parts = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
        self._outgoing = b""
        # Whether there is more in it than words between the two ends of the connection.
        self._carries = False
        self._last = _STDOUT
        self._began = self._moved = self._pinged = time.monotonic()
        self._asked = 0.0

    def run(self) -> Ended:
        self._channel.settimeout(0)
        try:
            while self._read():
                self._write()
                self._wait()
        except (OSError, websocket.WebSocketException) as error:
            if not self._parts[_STATUS]:
                raise _broken(self._target, f" ({_words(error)})") from None
        if not self._parts[_STATUS]:
            raise _broken(self._target)
        return Ended(bytes(self._parts[_STDOUT]), bytes(self._parts[_STDERR]), bytes(self._parts[_STATUS]))

    def _ask(self) -> bool:
        """Whether to go on; raises where that is because of us."""
        now = time.monotonic()
        if self._parts[_STATUS]:
            return now - self._moved < _LINGER
        if now - self._asked < _TICK:
            return True
        self._asked = now
        self._check()
        reason = hint = ""
        # A command that has all its input may now work on it for long.
        working = self._take is None and self._source is None and not self._outgoing
        if now - self._began >= self._timeout:
            reason, hint = f"it did not end within {self._timeout:g} seconds", "Raise the time limit or mend it."
        elif now - self._moved >= self._stall and not working:
            reason = f"no data moved for {self._stall:g} seconds"
            hint = "Look what it waits for, or raise stall_timeout."
        if reason:
            raise Unavailable("run", self._target, reason, hint)
        return True

    def _read(self) -> bool:
        """Take all that has come; whether more may come."""
        while self._ask():
            try:
                frame = self._channel.recv_frame()
            except _NOT_NOW:
                return True
            if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
                return False
            if frame.opcode == websocket.ABNF.OPCODE_CONT:
                self._accept(self._last, frame.data)
            elif frame.opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data[:1]:
                self._last = frame.data[0]
                self._accept(self._last, frame.data[1:])
            elif frame.opcode == websocket.ABNF.OPCODE_PING:
                self._queue(frame.data, websocket.ABNF.OPCODE_PONG)
        return False

    def _accept(self, number: int, data: bytes) -> None:
        if not data:
            return
        if number == _STDOUT and self._take is not None:
            self._take(data)
        elif number in self._parts:
            self._parts[number] += data
            del self._parts[number][:-TAIL]
        if number == _STATUS:
            # It has ended; what it has not read it will not read any more.
            self._source, self._outgoing = None, b""
        if number == _STDERR and self._mark and self._mark in self._parts[_STDERR]:
            self._parts[_STDERR][:] = self._parts[_STDERR].replace(self._mark, b"")
            self._mark = b""
            if self._source is not None:
                self._source = None
                self._queue(bytes([_CLOSE, _STDIN]), websocket.ABNF.OPCODE_BINARY)
        self._moved = time.monotonic()

    def _write(self) -> None:
        """Send what is due, as far as the connection takes it now."""
        now = time.monotonic()
        if not self._outgoing and now - self._moved >= _SILENCE and now - self._pinged >= _SILENCE:
            self._pinged = now
            self._queue(b"", websocket.ABNF.OPCODE_PING)
        while self._outgoing:
            try:
                sent = self._channel.sock.send(self._outgoing[:_PIECE])
            except _NOT_NOW:
                return
            except OSError:
                # A command that did not want all of it may have ended; that can still be read.
                self._source, self._outgoing = None, b""
                return
            self._outgoing = self._outgoing[sent:]
            if self._carries:
                self._moved = time.monotonic()
        self._carries = False

    def _queue(self, data: bytes, opcode: int) -> None:
        if self._parts[_STATUS]:
            return
        self._carries = self._carries or opcode == websocket.ABNF.OPCODE_BINARY
        self._outgoing += websocket.ABNF.create_frame(data, opcode).format()

    def _wait(self) -> None:
        """Until there is something to do, or it is time to ask; puts what came of the input into a frame."""
        poll = select.poll()
        poll.register(self._channel.sock.fileno(), select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if self._source is not None and not self._outgoing:
            poll.register(self._source.number, select.POLLIN)
        ready = {number for number, _event in poll.poll(_TICK * 1000)}
        if self._source is None or self._source.number not in ready:
            return
        data = os.read(self._source.number, _PIECE)
        self._source.bytes += len(data)
        if not data:
            self._source.finish()
            self._source = None
        frame = bytes([_STDIN]) + data if data else bytes([_CLOSE, _STDIN])
        self._queue(frame, websocket.ABNF.OPCODE_BINARY)


def _broken(target: str, why: str = "") -> Unavailable:
    reason = f"the connection broke before the command ended{why}"
    return Unavailable("run", target, reason, "Look at the pod and try again.")


def _line(name: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise InvalidInput("send", f"header {name}", "there is a line break in it", "Mend the login of the cluster.")
    return f"{name}: {value}"


def _open(
    configuration: Any,
    url: str,
    headers: list[str],
    target: str,
    timeout: float,
    protocols: Sequence[str] = _PROTOCOLS,
) -> Any:
    channel: Any = websocket.WebSocket(sslopt=_tls(configuration), skip_utf8_validation=True)
    try:
        channel.connect(
            f"ws{url.removeprefix('http')}",
            header=headers,
            subprotocols=list(protocols),
            timeout=min(timeout, _HANDSHAKE),
            # The credentials are for this server only.
            redirect_limit=0,
            **_proxy(configuration),
        )
        if channel.getstatus() == 101:
            return channel
        reason = f"the server answered {channel.getstatus()}"
    except websocket.WebSocketBadStatusException as error:
        reason = _message(error.resp_body) or f"the server answered {error.status_code}"
    except (OSError, websocket.WebSocketException) as error:
        reason = _words(error)
    channel.shutdown()
    hint = "Check that the pod runs and that pods/exec is allowed."
    if len(protocols) < len(_PROTOCOLS):
        hint += f" Its input needs a server with {protocols[0]} (Kubernetes 1.30 or newer)."
    raise Unavailable("run", target, reason, hint)


def _receive(channel: Any, end: float, parts: dict[int, bytearray]) -> None:
    """Read frames, whose first byte says what they belong to, until the server closes the connection."""
    while True:
        # What has come of a frame when the time is over is of no use any more.
        channel.settimeout(max(end - time.monotonic(), 0.001))
        opcode, frame = channel.recv_data_frame(True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return
        if opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data[:1]:
            parts.get(frame.data[0], bytearray()).extend(frame.data[1:])
        if time.monotonic() >= end:
            raise websocket.WebSocketTimeoutException


def _tls(configuration: Any) -> dict[str, Any]:
    """The same trust as that of all other requests."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE}
    if configuration.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert}
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    for name, setting in (("certfile", "cert_file"), ("keyfile", "key_file"), ("server_hostname", "tls_server_name")):
        if getattr(configuration, setting, None):
            options[name] = getattr(configuration, setting)
    return options


def _proxy(configuration: Any) -> dict[str, Any]:
    if not configuration.proxy:
        return {}
    place = urlsplit(configuration.proxy)
    options: dict[str, Any] = {"http_proxy_host": place.hostname, "http_proxy_port": place.port or 80}
    if place.username:
        options["http_proxy_auth"] = (unquote(place.username), unquote(place.password or ""))
    if configuration.no_proxy:
        options["http_no_proxy"] = [name.strip() for name in configuration.no_proxy.split(",")]
    return options


def _message(body: Any) -> str:
    """The server's words in the body of a refusal."""
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return ""
    return str(document.get("message") or "") if isinstance(document, dict) else ""


def _words(error: Exception) -> str:
    if isinstance(error, (TimeoutError, websocket.WebSocketTimeoutException)):
        return "there was no answer in time"
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
