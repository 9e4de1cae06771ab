# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Runs one restic command: secrets by environment, JSON lines as they come, an end within known time."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.process import Process
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes

Message = dict[str, Any]

# restic itself would repeat a failing request for a quarter of an hour.
PATIENCE = 40.0
_TICK = 0.5
_KEPT_ERRORS = 20


@dataclass
class Ended:
    """How a command ended: exit code, its JSON messages (without progress) and the errors it named.

    ``text`` is what else it printed, ``document`` the same where that is one JSON document.
    """

    code: int
    messages: list[Message] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    document: Any = None
    text: str = ""

    @property
    def last_error(self) -> str:
        return exit_codes.last_said(self.errors)

    def message(self, kind: str) -> Message | None:
        """The last message of a type such as ``summary``."""
        return next((item for item in reversed(self.messages) if item.get("message_type") == kind), None)


class Stalled(Unavailable):
    """The repository did not answer for longer than we wait."""


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without any setting of restic's own, so that only options decide, plus ``extra``."""
    return {**backends.inherited(extra), "RESTIC_PROGRESS_FPS": "1", **extra}


class Gone(Exception):
    """The command that one works for has ended, or is given up."""


class Beside:
    """Work on the other end of what a command reads or writes, while it runs; see :func:`run`.

    ``rest`` is called after the work, in the same thread, when it is known already whether that failed.
    """

    def __init__(self, work: Callable[[Beside], None], rest: Callable[[], None] = lambda: None) -> None:
        self.failure: Exception | None = None
        self._work = work
        self._rest = rest
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._process: Process[str] | None = None

    # -- for the work ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises :class:`Gone` if there is nothing to work for any more. To be called often."""
        if self._over.is_set():
            raise Gone

    def code(self) -> int:
        """Wait until the command has ended, and say how."""
        while True:
            self.check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout=_TICK) if self._process else 0

    # -- for the command ------------------------------------------------------------------------------------------

    def start(self, process: Process[str]) -> None:
        self._process = process
        self._thread.start()

    def join(self, *, gone: bool) -> None:
        """Wait for the end of the work, which has nothing to work for if the command is ``gone``; raises its error."""
        if gone:
            self._over.set()
        self._thread.join()
        if self.failure:
            raise self.failure

    def give_up(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._work(self)
        except Gone:
            pass
        except Exception as error:
            self.failure = error
        self._rest()


@contextlib.contextmanager
def handed(secret: str) -> Iterator[tuple[str, int]]:
    """A path at which one program that is given the descriptor too finds the secret, once: it lies on no disk."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as stream:
            stream.write(secret.encode())
        yield f"/dev/fd/{reading}", reading
    finally:
        os.close(reading)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    action: str,
    target: str,
    cwd: str | Path | None = None,
    timeout: float | None = None,
    patience: float = PATIENCE,
    on_status: Callable[[Message], None] | None = None,
    on_node: Callable[[Message], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
    stdout: int = subprocess.PIPE,
    beside: Beside | None = None,
) -> Ended:
    """Run ``command`` (a list, never a shell) and read what it says until it ends.

    ``env`` is the whole environment. ``timeout`` limits the command, ``patience`` the seconds in which requests may
    keep failing without one that works; both end it with SIGTERM, so that restic removes its lock, and raise
    :class:`Unavailable`. A request that fails for a reason that does not pass ends it at once. Exit codes are left to
    the caller. ``on_node`` takes the entries of a listing and ``on_text`` what is no message, which are not
    kept then.

    ``stdout`` is where the output goes if it is no text. ``beside`` works on the other end of what the command reads or
    writes, in a thread of its own. What it raises ends the command and goes on; where it works on after the command has
    ended well it is waited for.
    """
    try:
        process: Process[str] = Process(
            command,
            env=dict(env),
            cwd=cwd,
            pass_fds=pass_fds,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise MusterError(action, target, f"{command[0]} could not be started ({error.strerror})") from None
    lines: queue.Queue[tuple[str, str] | None] = queue.Queue()
    streams = [(stream, name) for stream, name in ((process.stdout, "out"), (process.stderr, "err")) if stream]
    readers = [threading.Thread(target=_read, args=(*pair, lines), daemon=True) for pair in streams]
    for reader in readers:
        reader.start()
    try:
        if beside:
            beside.start(process)
        follower = _Follower(on_status, on_node, on_text, len(streams), beside)
        ended = _follow(lines, follower, action, target, timeout, patience)
        ended.code = process.wait()
        if beside:
            beside.join(gone=ended.code != 0)
        return ended
    finally:
        # SIGTERM lets restic take its lock away; only a restic that ignores it is killed.
        process.stop()
        if beside:
            beside.give_up()
        for reader in readers:
            reader.join(timeout=5)
        for stream, _name in streams:
            stream.close()


def _read(stream: IO[str], name: str, lines: queue.Queue[tuple[str, str] | None]) -> None:
    with contextlib.suppress(ValueError):  # closed under us after the process was stopped
        for line in stream:
            lines.put((name, line))
    lines.put(None)


class _Follower:
    """Sorts what a command says into status, messages, errors and a document."""

    def __init__(
        self,
        on_status: Callable[[Message], None] | None,
        on_node: Callable[[Message], None] | None = None,
        on_text: Callable[[str], None] | None = None,
        streams: int = 2,
        beside: Beside | None = None,
    ) -> None:
        self.ended = Ended(code=0)
        self.streams = streams
        self.beside = beside
        self._on_status = on_status
        self._on_node = on_node
        self._on_text = on_text
        self._plain: list[str] = []
        self._position: Any = None
        self.trouble = ""
        self.failing_since: float | None = None

    def take(self, stream: str, line: str) -> None:
        message = _message(line)
        if message is not None:
            self._take_message(message)
        elif "returned error, retrying after" in line:
            self.failing_since = self.failing_since or time.monotonic()
            self.trouble = line.split(": ", 1)[-1].strip()
        elif "operation successful after" in line:
            self.failing_since = None
        elif stream == "err" and line.strip():
            _remember(self.ended, line.strip())
        elif stream == "out" and self._on_text:
            self._on_text(line)
        elif stream == "out":
            self._plain.append(line)

    def _take_message(self, message: Message) -> None:
        kind = message["message_type"]
        if kind == "status":
            if message.get("bytes_done") != self._position:
                self._position, self.failing_since = message.get("bytes_done"), None
            if self._on_status:
                self._on_status(message)
        elif kind == "error":
            _remember(self.ended, _error_text(message))
        elif kind == "exit_error":
            _remember(self.ended, str(message.get("message", "")))
        elif kind == "node" and self._on_node:
            self._on_node(message)
        else:
            self.ended.messages.append(message)

    def finish(self) -> Ended:
        self.ended.text = "".join(self._plain)
        self.ended.document = _document(self.ended.text)
        return self.ended


def _follow(
    lines: queue.Queue[tuple[str, str] | None],
    follower: _Follower,
    action: str,
    target: str,
    timeout: float | None,
    patience: float,
) -> Ended:
    began = time.monotonic()
    open_streams = follower.streams
    while open_streams:
        if follower.beside and follower.beside.failure:
            raise follower.beside.failure
        with contextlib.suppress(queue.Empty):
            entry = lines.get(timeout=_TICK)
            if entry is None:
                open_streams -= 1
                continue
            follower.take(*entry)
        current = time.monotonic()
        refused = exit_codes.refusal(action, target, follower.trouble) if follower.failing_since is not None else None
        if refused:
            raise refused
        if follower.failing_since is not None and current - follower.failing_since > patience:
            reason = exit_codes.problem(action, target, 1, follower.trouble)
            raise Stalled(action, target, reason.reason, reason.hint or "Check that it runs and can be reached.")
        if timeout is not None and current - began > timeout:
            raise Unavailable(action, target, f"restic did not end within {timeout:g} seconds", "Raise the time limit.")
    return follower.finish()


def _message(line: str) -> Message | None:
    if not line.startswith("{") or "message_type" not in line:
        return None
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "message_type" in message else None


def _error_text(message: Message) -> str:
    inner = message.get("error")
    # `check` says what it found in another form than all other commands.
    text = inner.get("message", "") if isinstance(inner, dict) else str(inner or message.get("message") or "")
    item = message.get("item")
    return f"{item}: {text}" if item and str(item) not in text else str(text)


def _remember(ended: Ended, text: str) -> None:
    """Keep the first errors and always the last one."""
    if not text:
        return
    if len(ended.errors) >= _KEPT_ERRORS:
        ended.errors.pop()
    ended.errors.append(text)


def _document(text: str) -> Any:
    """The JSON document that commands such as ``snapshots`` print as a whole; ``None`` where there is none."""
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return None
