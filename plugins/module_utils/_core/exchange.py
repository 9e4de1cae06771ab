# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What goes to a command somewhere else and comes from it, any amount of it; a :class:`Channel` knows the way."""

from __future__ import annotations

import os
import select
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable

STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
# Of what a command prints besides its data only the end is kept.
TAIL = 1 << 16
# A socket that has nothing to give, or takes nothing, at the moment.
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# How often a caller is asked whether to go on.
_TICK = 0.5
# How long a server may take to close the connection after the command has ended.
_LINGER = 10.0
_PIECE = 1 << 16


@dataclass(frozen=True)
class Result:
    """A command that ran in a container: exit code and what it printed (text, decoded with replacement)."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Source:
    """Where the standard input of a command comes from: a file descriptor that is read to its end.

    ``finish`` is called there, and raises where what was read is not whole; the command is not told of an end then.
    ``mark`` on a line of the errors says that nobody wants more of it. ``bytes`` is how many were read. One that is
    ``endless`` has no end that the command would have to be told of.
    """

    number: int
    finish: Callable[[], None]
    mark: bytes = b""
    bytes: int = 0
    endless: bool = False


class Channel(Protocol):
    """A connection to a command, of which nothing waits. Raises :class:`OSError` where it is broken."""

    @property
    def ends(self) -> tuple[int, int]:
        """The descriptors that it is read from and written to."""

    @property
    def queued(self) -> bool:
        """Whether there is something to send."""

    def receive(self) -> tuple[int, bytes] | None:
        """What has come of one of the outputs, or the server's word on the end (STATUS); ``None`` after the last.

        Raises one of NOT_NOW where nothing has come yet.
        """

    def put(self, data: bytes) -> None:
        """Queue some of the input; no data are its end."""

    def send(self) -> bool:
        """Send as much of what is queued as is taken now; whether any of it was the command's."""

    def drop(self) -> None:
        """Forget what is queued."""


class Exchange:
    """Reads and writes by turns and never waits for one of the two: a command may stop reading until it is read.

    ``take`` is given the output as it comes; while it does not return nothing more is read, so that the command has to
    wait. ``source`` is the input. ``check`` is called about twice a second. What these raise goes on, and so does
    :class:`Unavailable` where the command has not ended after ``timeout`` seconds, or nothing moved for ``stall``
    seconds (after the end of the input, where there is one, only ``timeout`` counts). In ``parts`` are the outputs by
    their numbers; of the errors, and of the output without a ``take``, only the last :data:`TAIL` bytes.
    """

    def __init__(
        self,
        channel: Channel,
        target: str,
        *,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: Source | None = None,
    ) -> None:
        self._channel = channel
        self._target = target
        self._timeout, self._stall = timeout, stall
        self._check, self._take, self._source = check, take, source
        # With the ends of its line: what is taken out as soon as it is there has to be all of it.
        self._mark = b"\n" + source.mark + b"\n" if source and source.mark else b""
        self._parts = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
        self._began = self._moved = time.monotonic()
        self._asked = 0.0

    @property
    def parts(self) -> Mapping[int, bytes]:
        return {number: bytes(part) for number, part in self._parts.items()}

    def run(self) -> None:
        """Until the server closes the connection. Raises :class:`OSError` where it breaks."""
        while self._read():
            self._write()
            self._wait()

    def _ask(self) -> bool:
        """Whether to go on; raises where that is because of us."""
        now = time.monotonic()
        if self._parts[STATUS]:
            return now - self._moved < _LINGER
        if now - self._asked < _TICK:
            return True
        self._asked = now
        self._check()
        reason = hint = ""
        # A command that has all its input may now work on it for long.
        working = self._take is None and self._source is None and not self._channel.queued
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
                piece = self._channel.receive()
            except NOT_NOW:
                return True
            if piece is None:
                return False
            self._accept(*piece)
        return False

    def _accept(self, number: int, data: bytes) -> None:
        if not data:
            return
        if number == STDOUT and self._take is not None:
            self._take(data)
        elif number in self._parts:
            self._parts[number] += data
            del self._parts[number][:-TAIL]
        if number == STATUS:
            # It has ended; what it has not read it will not read any more.
            self._unwanted()
        if number == STDERR and self._mark and self._mark in self._parts[STDERR]:
            self._parts[STDERR][:] = self._parts[STDERR].replace(self._mark, b"")
            self._mark = b""
            if self._source is not None:
                self._source = None
                self._channel.put(b"")
        self._moved = time.monotonic()

    def _unwanted(self) -> None:
        self._source = None
        self._channel.drop()

    def _write(self) -> None:
        try:
            if self._channel.send():
                self._moved = time.monotonic()
        except OSError:
            # A command that did not want all of it may have ended; that can still be read.
            self._unwanted()

    def _wait(self) -> None:
        """Until there is something to do, or it is time to ask; puts what came of the input into the channel."""
        reading, writing = self._channel.ends
        events = {reading: select.POLLIN}
        if self._channel.queued:
            events[writing] = events.get(writing, 0) | select.POLLOUT
        elif self._source is not None:
            events[self._source.number] = select.POLLIN
        poll = select.poll()
        for number, event in events.items():
            poll.register(number, event)
        ready = {number for number, _event in poll.poll(_TICK * 1000)}
        if self._source is None or self._source.number not in ready:
            return
        data = os.read(self._source.number, _PIECE)
        self._source.bytes += len(data)
        if not data:
            self._source.finish()
            self._source = None
        self._channel.put(data)
