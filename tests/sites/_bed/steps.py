"""Progress, commands and failures: what a person sees while the bed works, and where the rest is written."""

from __future__ import annotations

import contextlib
import contextvars
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_log: contextvars.ContextVar[Path | None] = contextvars.ContextVar("log", default=None)
_step: contextvars.ContextVar[str] = contextvars.ContextVar("step", default="")
_print = threading.Lock()
_began = time.monotonic()


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
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BedError(f"{Path(words[0]).name} {' '.join(words[1:3])} took longer than {timeout:.0f} s") from None
    except FileNotFoundError:
        raise BedError(f"The program {words[0]} is not on this machine") from None
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    note((out if len(out) < 20000 else out[:20000] + "…") + err + f"-> {done.returncode}")
    if check and done.returncode != 0:
        raise CommandError(words, done.returncode, err or out)
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
        subprocess.Popen([*map(str, first)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=full) as source,
        subprocess.Popen(
            [*map(str, second)], stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full
        ) as sink,
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
    """Ask until it is so. Raises BedError when it is not so in time."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            raise BedError(f"{what} was not ready within {timeout:.0f} s")
        time.sleep(interval)


def together(*works: Callable[[], T]) -> list[T]:
    """Do all at the same time and wait for all; the first failure is raised then."""
    with ThreadPoolExecutor(max_workers=max(1, len(works))) as pool:
        futures = [pool.submit(contextvars.copy_context().run, work) for work in works]
    return [future.result() for future in futures]
