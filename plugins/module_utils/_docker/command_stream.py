# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A command in a container by the Engine's protocol of ``docker exec``.

An HTTP connection becomes one of bytes: those that are sent are the command's input, those that come are its outputs,
each piece of them behind eight bytes that hold the number of the output and the length of the piece.
"""

from __future__ import annotations

import json
import select
import time

from ansible_collections.muster.container_dr.plugins.module_utils._core import exchange
from ansible_collections.muster.container_dr.plugins.module_utils._docker.connection import Line

_HEADER = 8
_LIMIT = 1 << 20
_END = b"\r\n\r\n"


class Refused(Exception):
    """The engine did not start the command; in its words."""


def begin(line: Line, path: str, timeout: float) -> Channel:
    """Start the ``exec`` whose address is ``path``.

    Raises :class:`Refused`, and :class:`OSError` where there is no answer within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    body = json.dumps({"Detach": False, "Tty": False})
    headers = ("Host: docker", "Content-Type: application/json", "Connection: Upgrade", "Upgrade: tcp")
    lines = (f"POST {path}/start HTTP/1.1", *headers, f"Content-Length: {len(body)}", "", body)
    data, answer = "\r\n".join(lines).encode(), b""
    while data or line.queued or _END not in answer:
        reading, writing = line.ends
        events = {reading: select.POLLIN}
        if data or line.queued:
            events[writing] = events.get(writing, 0) | select.POLLOUT
        _wait(events, end)
        try:
            data = data[line.send(data) :] if data else data
            line.flush()
        except exchange.NOT_NOW:
            pass
        answer += _some(line)
    head, _end, rest = answer.partition(_END)
    status, *named = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] == ["101"]:
        return Channel(line, rest)
    length = next((text for name, _colon, text in (one.partition(":") for one in named) if _is_length(name)), "")
    while len(rest) < min(int(length) if length.strip().isdigit() else 0, _LIMIT):
        _wait({line.ends[0]: select.POLLIN}, end)
        rest += _some(line)
    try:
        raise Refused(str(json.loads(rest)["message"]))
    except (ValueError, KeyError, TypeError):
        raise Refused(f"it answers {status[:100]}") from None


def _is_length(name: str) -> bool:
    return name.lower() == "content-length"


def _wait(events: dict[int, int], end: float) -> None:
    poll = select.poll()
    for number, event in events.items():
        poll.register(number, event)
    if not poll.poll(max(end - time.monotonic(), 0) * 1000):
        raise TimeoutError("there was no answer in time")


def _some(line: Line) -> bytes:
    try:
        data = line.receive()
    except exchange.NOT_NOW:
        return b""
    if not data:
        raise ConnectionError("the connection was closed")
    return data


class Channel:
    """The bytes after the headers; ``rest`` are those that came together with these."""

    def __init__(self, line: Line, rest: bytes) -> None:
        self._line = line
        self._came = rest
        self._outgoing = b""
        self._ending = False
        # Of the piece that comes: which output it is of, and how much of it is missing.
        self._number, self._missing = exchange.STDOUT, 0

    @property
    def ends(self) -> tuple[int, int]:
        return self._line.ends

    @property
    def queued(self) -> bool:
        return bool(self._outgoing) or self._ending or self._line.queued

    def receive(self) -> tuple[int, bytes] | None:
        while True:
            if not self._missing and len(self._came) >= _HEADER:
                self._number = self._came[0]
                self._missing = int.from_bytes(self._came[4:_HEADER], "big")
                self._came = self._came[_HEADER:]
            elif self._missing and self._came:
                data, self._came = self._came[: self._missing], self._came[self._missing :]
                self._missing -= len(data)
                return self._number, data
            else:
                more = self._line.receive()
                if not more:
                    return None
                self._came += more

    def put(self, data: bytes) -> None:
        self._outgoing += data
        self._ending = not data

    def send(self) -> bool:
        moved = False
        try:
            while self._outgoing:
                sent = self._line.send(self._outgoing)
                self._outgoing, moved = self._outgoing[sent:], True
            self._line.flush()
        except exchange.NOT_NOW:
            return moved
        if self._ending:
            self._ending = False
            self._line.end()
            moved = True
        return moved

    def drop(self) -> None:
        self._outgoing, self._ending = b"", False
