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
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core import exchange
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
_CLOSE = 255
# A container's node has to be asked before the server agrees; to wait longer than this helps nobody.
_HANDSHAKE = 60.0
# After how long a silence something is sent, so that nobody in between takes the connection for a dead one.
_SILENCE = 15.0
_PIECE = 1 << 16


@dataclass(frozen=True)
class Ended:
    """What came before the end: both outputs, and the server's ``Status`` of the command as it sent it."""

    stdout: bytes
    stderr: bytes
    status: bytes


def run(configuration: Any, url: str, headers: Iterable[tuple[str, str]], target: str, timeout: float) -> Ended:
    """Open ``url`` (of an ``exec`` of a pod) and read until the command has ended.

    ``configuration`` is the ``kubernetes`` package's, ``target`` names the command in errors. Raises
    :class:`Unavailable` where the server refuses, the connection breaks before the command ended, or it has not ended
    after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    channel = _open(configuration, url, [_line(*one) for one in headers], target, timeout)
    parts = {exchange.STDOUT: bytearray(), exchange.STDERR: bytearray(), exchange.STATUS: bytearray()}
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
    if not parts[exchange.STATUS]:
        raise failure or _broken(target)
    return Ended(bytes(parts[exchange.STDOUT]), bytes(parts[exchange.STDERR]), bytes(parts[exchange.STATUS]))


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
    source: exchange.Source | None = None,
) -> Ended:
    """As :func:`run`, for any amount of data; see :class:`exchange.Exchange`.

    A server that cannot tell the command of its input's end is refused before the command runs.
    """
    protocols = _PROTOCOLS if source is None or source.endless else _HALF_CLOSING
    connection = _open(configuration, url, [_line(*one) for one in headers], target, timeout, protocols)
    connection.settimeout(0)
    done = exchange.Exchange(
        _Channel(connection), target, timeout=timeout, stall=stall, check=check, take=take, source=source
    )
    failure = ""
    try:
        done.run()
    except OSError as error:
        failure = f" ({_words(error)})"
    finally:
        connection.shutdown()
    parts = done.parts
    if not parts[exchange.STATUS]:
        raise _broken(target, failure)
    return Ended(parts[exchange.STDOUT], parts[exchange.STDERR], parts[exchange.STATUS])


class _Channel:
    """The frames of a websocket, whose first byte says what they belong to."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._outgoing = b""
        # Whether there is more in it than words between the two ends of the connection.
        self._carries = False
        self._last = exchange.STDOUT
        self._heard = time.monotonic()

    @property
    def ends(self) -> tuple[int, int]:
        number = self._connection.sock.fileno()
        return number, number

    @property
    def queued(self) -> bool:
        return bool(self._outgoing)

    def receive(self) -> tuple[int, bytes] | None:
        while True:
            try:
                frame = self._connection.recv_frame()
            except websocket.WebSocketException as error:
                raise ConnectionError(_words(error)) from None
            self._heard = time.monotonic()
            if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            if frame.opcode == websocket.ABNF.OPCODE_CONT:
                return self._last, frame.data
            if frame.opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data[:1]:
                self._last = frame.data[0]
                return self._last, frame.data[1:]
            if frame.opcode == websocket.ABNF.OPCODE_PING:
                self._queue(frame.data, websocket.ABNF.OPCODE_PONG)

    def put(self, data: bytes) -> None:
        self._carries = True
        frame = bytes([exchange.STDIN]) + data if data else bytes([_CLOSE, exchange.STDIN])
        self._queue(frame, websocket.ABNF.OPCODE_BINARY)

    def send(self) -> bool:
        now, moved = time.monotonic(), False
        if not self._outgoing and now - self._heard >= _SILENCE:
            self._heard = now
            self._queue(b"", websocket.ABNF.OPCODE_PING)
        while self._outgoing:
            try:
                sent = self._connection.sock.send(self._outgoing[:_PIECE])
            except exchange.NOT_NOW:
                return moved
            self._outgoing = self._outgoing[sent:]
            self._heard = now
            moved = moved or self._carries
        self._carries = False
        return moved

    def drop(self) -> None:
        self._outgoing = b""

    def _queue(self, data: bytes, opcode: int) -> None:
        self._outgoing += websocket.ABNF.create_frame(data, opcode).format()


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
