# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Bytes to and from a Docker Engine over each of the ways to it, of which one direction can be ended before the other.

The SDK's own connections cannot do that, and it loses what came together with the headers of an answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.process import Process

_PIECE = 1 << 16
_GRACE = 2.0


class Line(Protocol):
    """A connection, of which nothing waits (see :data:`exchange.NOT_NOW`)."""

    @property
    def ends(self) -> tuple[int, int]:
        """The descriptors that it is read from and written to."""

    @property
    def queued(self) -> bool:
        """Whether :meth:`flush` has something to do."""

    def receive(self) -> bytes:
        """What has come; empty at the end."""

    def send(self, data: bytes) -> int:
        """Send some of it; how much."""

    def flush(self) -> None:
        """Send what was taken and could not be sent."""

    def end(self) -> None:
        """Tell the other side that nothing more comes; what it has to say can still be read."""

    def close(self) -> None:
        """Give it up."""


def connect(url: str, trust: Callable[[], ssl.SSLContext], timeout: float) -> Line:
    """A connection to a Docker host; ``url`` is what the SDK makes of its name. Raises :class:`OSError`."""
    if url.startswith("ssh://"):
        return _Ssh(url)
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(timeout)
        try:
            line.connect("/" + url.removeprefix("http+unix://").lstrip("/"))
        except OSError:
            line.close()
            raise
        return _Socket(line)
    line = socket.create_connection((parts.hostname or "", parts.port or 0), timeout)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if parts.scheme != "https":
        return _Socket(line)
    try:
        return _Tls(line, trust(), parts.hostname or "")
    except OSError:
        line.close()
        raise


class _Socket:
    queued = False

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        self.ends = (line.fileno(), line.fileno())

    def receive(self) -> bytes:
        return self._line.recv(_PIECE)

    def send(self, data: bytes) -> int:
        return self._line.send(data[:_PIECE])

    def flush(self) -> None:
        """It keeps nothing back."""

    def end(self) -> None:
        self._line.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._line.close()


class _Tls:
    """TLS beside the socket: the module's own sockets cannot end one direction while data may come from the other."""

    def __init__(self, line: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._line = line
        self.ends = (line.fileno(), line.fileno())
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._unsent = b""
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                line.sendall(self._outgoing.read())
                self._take()
        line.sendall(self._outgoing.read())
        line.setblocking(False)

    @property
    def queued(self) -> bool:
        return bool(self._unsent) or self._outgoing.pending > 0

    def receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                self._take()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def _take(self) -> None:
        data = self._line.recv(_PIECE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send(self, data: bytes) -> int:
        self.flush()
        sent = self._tls.write(data[:_PIECE])
        with contextlib.suppress(BlockingIOError):
            self.flush()
        return sent

    def flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self._line.send(self._unsent) :]

    def end(self) -> None:
        # It looks for the other side's end too, and would take data for an error: all that has come was read before.
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        with contextlib.suppress(BlockingIOError):
            self.flush()

    def close(self) -> None:
        self._line.close()


class _Ssh:
    """The user's own ssh program, with its configuration, agent and known hosts, as the SDK starts it."""

    queued = False

    def __init__(self, url: str) -> None:
        user, _at, host = url.removeprefix("ssh://").rpartition("@")
        host, _colon, port = host.partition(":")
        words = ["ssh", *(["-l", user] if user else []), *(["-p", port] if port else []), "--", host]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0}
        self._process: Process[bytes] = Process([*words, "docker system dial-stdio"], **pipes)
        files = (self._process.stdout, self._process.stdin)
        reading, writing = (file.fileno() if file else -1 for file in files)
        self.ends = (reading, writing)
        for number in self.ends:
            os.set_blocking(number, False)

    def receive(self) -> bytes:
        return os.read(self.ends[0], _PIECE)

    def send(self, data: bytes) -> int:
        return os.write(self.ends[1], data[:_PIECE])

    def flush(self) -> None:
        """It keeps nothing back."""

    def end(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()

    def close(self) -> None:
        self._process.stop(grace=_GRACE)
        for file in (self._process.stdin, self._process.stdout):
            if file:
                file.close()
