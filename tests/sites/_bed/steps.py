"""Progress, commands and failures: what a person sees while the bed works, and where the rest is written."""

from __future__ import annotations

import contextlib
import contextvars
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_log: contextvars.ContextVar[Path | None] = contextvars.ContextVar("log", default=None)
_step: contextvars.ContextVar[str] = contextvars.ContextVar("step", default="")
_print = threading.Lock()
_began = time.monotonic()
_running: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()
# Seconds that a program has to end by itself, and that one may take which tidies up after an interrupt
GRACE = 10.0


class BedError(Exception):
    """The bed could not do something. The text says what, why, and what to do about it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint
        self.step = _step.get()
        self.log = _log.get()


class CommandError(BedError):
    """A program ended with another code than 0."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        last = " | ".join(line.strip() for line in output.strip().splitlines()[-3:])
        super().__init__(f"{Path(argv[0]).name} {' '.join(argv[1:3])} ended with {code}: {last or 'no output'}")
        self.code = code
        self.output = output


def say(text: str) -> None:
    """Print one line with the seconds since the start."""
    with _print:
        sys.stderr.write(f"{time.monotonic() - _began:7.1f}s  {text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def step(name: str, logs: Path, *, quiet: bool = False) -> Iterator[None]:
    """Announce and time a piece of work; its commands write to a log file of its own."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / (name.replace(" ", "-").replace("/", "-").replace(":", "") + ".log")
    log.unlink(missing_ok=True)
    tokens = _log.set(log), _step.set(name)
    start = time.monotonic()
    if not quiet:
        say(f"{name} …")
    try:
        yield
    finally:
        _log.reset(tokens[0])
        _step.reset(tokens[1])
    if not quiet or time.monotonic() - start > 2:
        say(f"{name} ({time.monotonic() - start:.1f} s)")


def note(text: str) -> None:
    """Write a line to the log of the current step."""
    log = _log.get()
    if log is not None:
        with log.open("a") as out:
            out.write(text + "\n")


@contextlib.contextmanager
def started(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program with a session of its own. If the block fails, or the bed is interrupted, all that it started ends."""
    process = subprocess.Popen([str(word) for word in argv], start_new_session=True, **options)
    _running.add(process)
    try:
        with process:
            try:
                yield process
            except BaseException:
                _end([process])
                raise
    finally:
        _running.discard(process)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    left = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + GRACE
        left = [process for process in left if _signal(process, number)]
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left = [process for process in left if _signal(process, 0)]


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a program and all that it started (0: none); False when nothing of it is left."""
    process.poll()
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def interrupted(_number: int, _frame: object) -> None:
    """Signal handler: end the programs that run in any thread, and say so to the main one.

    What is started from now on tidies up, and has little time for it.
    """
    _ending.set()
    threading.Thread(target=_end, args=(list(_running),)).start()
    raise KeyboardInterrupt


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    feed: str | bytes | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> str:
    """Run a program and return what it wrote to standard output. Both streams go to the log of the step.

    env is added to the environment. Raises CommandError, or BedError on a time-out.
    """
    words = [str(word) for word in argv]
    note("$ " + shlex.join(words))
    data = feed.encode() if isinstance(feed, str) else feed
    try:
        with started(
            words,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        ) as process:
            limit = min(timeout or GRACE, GRACE) if _ending.is_set() else timeout
            written, said = process.communicate(data, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise BedError(f"{Path(words[0]).name} {' '.join(words[1:3])} took longer than {error.timeout:.0f} s") from None
    except FileNotFoundError:
        raise BedError(f"The program {words[0]} is not on this machine") from None
    out, err = written.decode(errors="replace"), said.decode(errors="replace")
    note((out if len(out) < 20000 else out[:20000] + "…") + err + f"-> {process.returncode}")
    if check and process.returncode != 0:
        raise CommandError(words, process.returncode, err or out)
    return out


def succeeds(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float | None = 20) -> bool:
    """Tell whether a program ends with 0 in time."""
    try:
        run(argv, env=env, timeout=timeout)
    except BedError:
        return False
    return True


def pipe(first: Sequence[str | Path], second: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
    """Run `first | second`; both must succeed."""
    note(f"$ {shlex.join(map(str, first))} | {shlex.join(map(str, second))}")
    full = {**os.environ, **(env or {})}
    with (
        started(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=full) as source,
        started(second, stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full) as sink,
    ):
        assert source.stdout is not None and source.stderr is not None
        source.stdout.close()
        out = sink.communicate()[0].decode(errors="replace")
        err = source.stderr.read().decode(errors="replace")
        source.wait()
    note(out + err)
    if sink.returncode != 0:
        raise CommandError([*map(str, second)], sink.returncode, out)
    if source.returncode != 0:
        raise CommandError([*map(str, first)], source.returncode, err)


def wait_for(what: str, ready: Callable[[], bool], timeout: float, interval: float = 0.3) -> None:
    """Ask until it is so. Raises BedError when it is not so in time, or the bed is interrupted."""
    end = time.monotonic() + timeout
    while not ready():
        if _ending.is_set():
            raise BedError(f"{what} was not waited for, as the bed was interrupted")
        if time.monotonic() > end:
            raise BedError(f"{what} was not ready within {timeout:.0f} s")
        time.sleep(interval)


def together(*works: Callable[[], T]) -> list[T]:
    """Do all at the same time and wait for all; the first failure is raised then."""
    with ThreadPoolExecutor(max_workers=max(1, len(works))) as pool:
        futures = [pool.submit(contextvars.copy_context().run, work) for work in works]
    return [future.result() for future in futures]
