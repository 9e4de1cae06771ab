# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Streams: what a command in a container prints goes straight into the repository, and comes back as its input."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any, Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.exchange import Result, Source
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application
from ansible_collections.muster.container_dr.plugins.module_utils._plan.application import Feed, Stream
from ansible_collections.muster.container_dr.plugins.module_utils._restic.command import Beside, Gone
from ansible_collections.muster.container_dr.plugins.module_utils._restic.piped import Sink
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Backup, Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import settings

JSON = dict[str, Any]
KIND = METHOD = "stream"
_PAUSE = 1.0
_SAID = 300


@dataclass(frozen=True)
class Volume:
    """A stream in its place among the volumes."""

    stream: Stream

    @property
    def namespace(self) -> str:
        return self.stream.namespace

    @property
    def name(self) -> str:
        # No claim has such a name.
        return f"streams/{self.stream.name}"

    @property
    def label(self) -> str:
        return _label(self.namespace, self.stream.name)

    def entry(self) -> JSON:
        """The stream's part of a result, with what a restore needs to know."""
        return {
            "name": self.label,
            "kind": KIND,
            "namespace": self.namespace or None,
            "claim": None,
            "class": None,
            "driver": None,
            "size": None,
            "access_modes": [],
            "volume_mode": None,
            "placement": None,
            "stream": self.stream.name,
            "filename": self.stream.filename,
            "restore": _plain(self.stream.restore) if self.stream.restore else None,
        }


@dataclass(frozen=True)
class Cut:
    """A stream that is to be read: what the move phase needs to know, like that of a claim."""

    run: str
    volume: Volume
    method: str = METHOD
    consistency_point: str | None = None
    group: str | None = None

    @property
    def namespace(self) -> str:
        return self.volume.namespace

    def document(self) -> JSON:
        """Plain JSON values."""
        stream = self.volume.stream
        back = _plain(stream.restore) if stream.restore else None
        return {
            "run": self.run,
            "method": self.method,
            "stream": {**asdict(stream), "dump": _plain(stream.dump), "restore": back},
        }

    @classmethod
    def read(cls, document: JSON) -> Cut:
        try:
            given = document["stream"]
            space = str(given["namespace"])
            dump, back = (
                application.feed(key, given[key], docker=not space) if given[key] else None
                for key in ("dump", "restore")
            )
            if dump is None:
                raise KeyError("dump")
            stream = Stream(str(given["name"]), space, str(given["filename"]), dump, back)
            return cls(str(document["run"]), Volume(stream))
        except (KeyError, TypeError, InvalidInput):
            raise InvalidInput(
                "use", "option cuts", "an entry is not what phase cut returned", "Pass the cuts unchanged."
            ) from None


def _plain(feed: Feed) -> JSON:
    """What it says, under the names that the application has for it."""
    said = {key: value for key, value in asdict(feed).items() if value not in (None, "")}
    return {**said, "command": list(feed.command)}


def _label(namespace: str, name: object) -> str:
    """How a stream is called; on a Docker host there are no namespaces."""
    return f"{namespace}/streams/{name}" if namespace else f"streams/{name}"


# -- where it runs ----------------------------------------------------------------------------------------------------


class Container(Protocol):
    """Where one command runs."""

    @property
    def title(self) -> str:
        """How errors call it."""

    @property
    def told(self) -> JSON:
        """What the entry of a stream says of it."""

    def without_shell(self) -> str:
        """Why no shell can be run in it; empty where one can."""

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: Source | None = None,
    ) -> Result:
        """Run a command; see :class:`exchange.Exchange`."""


class Place(Protocol):
    """A cluster or a Docker host, as one that runs commands."""

    def find(self, namespace: str, feed: Feed, *, ready: bool = False) -> Container | None:
        """Where a command runs now; with ``ready`` only what is ready for it will do."""

    def absent(self, namespace: str, feed: Feed) -> tuple[str, str]:
        """Why there is nothing that it could run in, and what to do about it."""

    def words(self, namespace: str, feed: Feed) -> str:
        """What it runs in."""


def nowhere(place: Place, target: str, namespace: str, feed: Feed, waited: str = "") -> NotFound:
    reason, hint = place.absent(namespace, feed)
    return NotFound("run", f"the command of {target}", reason + waited, hint)


def _await(place: Place, target: str, namespace: str, feed: Feed, *, ready: bool) -> Container:
    """Where it runs, as soon as there is such a thing; where none got ready in time, one that runs."""
    began = time.monotonic()
    while True:
        late = time.monotonic() - began >= feed.wait_timeout
        found = place.find(namespace, feed, ready=ready and not late)
        if found is not None:
            return found
        if late:
            raise nowhere(place, target, namespace, feed, f" after {feed.wait_timeout:g} seconds")
        _go_on(target)
        time.sleep(_PAUSE)


def _go_on(target: str) -> None:
    if settings.ENDING.is_set():
        raise Interrupted("move", target, "the task was ended", "Run it again.")


# -- there ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poured:
    """A stream that is in the repository; ``moment`` is when its command was started."""

    backup: Backup
    moment: str
    where: Container


def pour(
    place: Place,
    repository: Repository,
    volume: Volume,
    *,
    host: str,
    tags: Iterable[str],
    secrets: Iterable[str],
    advance: Callable[[int, int | None], None],
) -> Poured:
    """Run the command and back up what it prints.

    There is a snapshot only if it ended with 0 after it had printed something.
    """
    target, feed = f"stream {volume.label}", volume.stream.dump
    where = _await(place, target, volume.namespace, feed, ready=False)
    shellless = where.without_shell()
    if shellless:
        raise Incomplete(
            "export",
            target,
            f"{shellless}, and without one nobody can tell whether all that the command prints comes through",
            "Run the command in another container, or write to a volume instead.",
        )
    moment = clock.iso(clock.now())
    got = 0

    def write(sink: Sink) -> None:
        nonlocal got

        def check() -> None:
            _go_on(target)
            sink.check()

        with _held() as (source, release):
            whole = _Whole(sink.write, release)
            ended = _carried(
                "export",
                target,
                lambda: where.run(
                    ("sh", "-c", _TOLD_END, whole.mark.decode(), *feed.command),
                    timeout=feed.timeout,
                    stall=feed.stall_timeout,
                    check=check,
                    take=whole.take,
                    source=source,
                ),
            )
        _succeeded("export", target, where, ended, secrets)
        if not whole.ended:
            reason = f"the output of its command in {where.title} was cut off on the way, after {sink.bytes} bytes"
            raise Unavailable("export", target, reason, "A known flaw of exec on busy servers; run it again.")
        got = sink.bytes
        if not got:
            raise Incomplete(
                "export", target, f"its command in {where.title} printed nothing", "Run the command by hand."
            )

    backup = repository.backup_stream(
        volume.stream.filename,
        write,
        host=host,
        tags=tags,
        on_status=lambda status: advance(int(status.get("bytes_done") or 0), None),
    )
    if backup.bytes != got:
        reason = f"its command printed {got} bytes, its snapshot has {backup.bytes}"
        raise Incomplete("export", target, reason, "Look at the repository and run it again.")
    return Poured(backup, moment, where)


# Servers can lose the end of what a command prints and give its exit code all the same: those of Kubernetes now and
# then (issue 124571), Docker's whatever is not taken within two seconds after the end. So there is a mark, and the
# shell does not end before it is told, by a line, that all of that was taken.
_TOLD_END = r"""
"$@" < /dev/null
code=$?
printf %s "$0"
read -r released
exit $code
"""


class _Whole:
    """Passes on what comes before a mark, which the shell prints when the command has ended."""

    def __init__(self, take: Callable[[bytes], None], release: Callable[[], None]) -> None:
        self.mark = f"muster-{token_hex(16)}".encode()
        self._take = take
        self._release = release
        self._held = b""

    def take(self, data: bytes) -> None:
        held = self._held + data
        self._held = held[-len(self.mark) :]
        if len(held) > len(self.mark):
            self._take(held[: -len(self.mark)])
        if self.ended:
            self._release()

    @property
    def ended(self) -> bool:
        return self._held == self.mark


@contextlib.contextmanager
def _held() -> Iterator[tuple[Source, Callable[[], None]]]:
    """An input that holds nothing, and what puts one line into it."""
    reading, writing = os.pipe()
    try:
        yield Source(reading, lambda: None, endless=True), lambda: _put_line(writing)
    finally:
        os.close(reading)
        os.close(writing)


def _put_line(number: int) -> None:
    os.write(number, b"\n")


# -- and back ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Return:
    """A stream of a point, and where it goes. Without a ``feed`` it is not restored, ``msg`` says why."""

    volume: Mapping[str, Any]
    namespace: str
    snapshot: str | None = None
    feed: Feed | None = None
    msg: str = ""
    problem: MusterError | None = None

    @property
    def label(self) -> str:
        return _label(self.namespace, self.volume.get("stream"))

    @property
    def by_hand(self) -> str:
        """How its bytes are had without us."""
        return f"restic dump {self.snapshot or self.volume.get('snapshot')} /{self.volume.get('filename')}"

    def entry(self, *, changed: bool = False) -> JSON:
        volume = self.volume
        return {
            "name": self.label,
            "kind": KIND,
            "source": str(volume.get("name") or ""),
            "namespace": self.namespace or None,
            "claim": None,
            "class": None,
            "size": None,
            "paths": None,
            "action": "feed" if self.feed else "none",
            "snapshot": self.snapshot,
            "tree": volume.get("tree"),
            "files": None,
            "bytes": None,
            "seconds": None,
            "complete": False,
            "changed": changed,
            "failed": self.problem is not None,
            "skipped": self.feed is None and self.problem is None,
            "msg": str(self.problem) if self.problem else self.msg,
        }


def is_one(volume: Mapping[str, Any]) -> bool:
    """Whether an entry among the volumes of a document is a stream."""
    return volume.get("kind") == KIND


def feed_of(volume: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> Feed | None:
    """What takes a stream back: as the application (its key ``streams``) has it now, else as the point recorded it."""
    name, namespace = volume.get("stream"), str(volume.get("namespace") or "")
    for space in (namespace, None) if namespace else (None,):
        for index, one in enumerate(given):
            if one.get("name") == name and one.get("namespace") == space:
                where = f"streams[{index}]"
                (stream,) = (
                    application.streams(where, [one], [namespace])
                    if namespace
                    else application.docker_streams(where, [one])
                )
                if stream.restore:
                    return stream.restore
    recorded, where = volume.get("restore"), f"stream {volume.get('name')}, restore"
    return application.feed(where, recorded, docker=not namespace) if recorded else None


def give_back(
    place: Place,
    repository: Repository,
    to: Return,
    feed: Feed,
    secrets: Iterable[str],
    advance: Callable[[int], None],
) -> int:
    """Feed the command with what the snapshot holds; the number of bytes. The command has to end with 0."""
    target, recorded = f"stream {to.label}", int(to.volume["bytes"])
    where = _await(place, target, to.namespace, feed, ready=True)
    mark, command = f"muster-{token_hex(8)}", feed.command
    if not where.without_shell():
        command = ("sh", "-c", _HEARD_OUT, mark, *feed.command)
    sent: list[Source] = []

    def take(number: int, beside: Beside) -> None:
        def check() -> None:
            _go_on(target)
            beside.check()
            advance(source.bytes)

        def finish() -> None:
            # Only a restic that ended well has given all of it; if not, the command must not see a clean end.
            if beside.code() != 0:
                raise Gone
            _compare(target, source.bytes, recorded)

        source = Source(number, finish, mark.encode())
        sent.append(source)
        ended = _carried(
            "restore",
            target,
            lambda: where.run(
                command,
                timeout=feed.timeout,
                stall=feed.stall_timeout,
                check=check,
                source=source,
            ),
        )
        _succeeded("restore", target, where, ended, secrets)
        _compare(target, source.bytes, recorded)

    try:
        repository.dump(str(to.snapshot), f"/{to.volume['filename']}", take)
    except MusterError as error:
        if any(source.bytes for source in sent):
            error.hint = f"{error.hint} What it was restored to may hold part of it.".strip()
        raise
    return recorded


# A command that ends before it has read its input leaves its server with data that nobody takes, and then the news of
# its end does not come through either (kubectl exec waits for ever). So somebody takes them, and says that it is over.
_HEARD_OUT = r"""
"$@"
code=$?
printf '\n%s\n' "$0" >&2
cat > /dev/null
exit $code
"""


def _compare(target: str, sent: int, recorded: int) -> None:
    if sent != recorded:
        reason = f"its command was given {sent} bytes, recorded were {recorded}"
        raise Incomplete("restore", target, reason, "Does the command read its input to the end?")


# -- how commands end -------------------------------------------------------------------------------------------------


def _carried(action: str, target: str, carry: Callable[[], Result]) -> Result:
    try:
        return carry()
    except Interrupted:
        raise
    except MusterError as error:
        # The client knows the command; whoever reads this knows the stream by its name.
        family = Unavailable if isinstance(error, Unavailable) else Incomplete
        raise family(action, target, error.reason, error.hint) from None


def _succeeded(action: str, target: str, where: Container, ended: Result, secrets: Iterable[str]) -> None:
    if ended.code == 0:
        return
    said = hook_output.kept(ended.stderr, secrets) or hook_output.kept(ended.stdout, secrets)
    words = " ".join(said.split())[-_SAID:]
    reason = f"its command in {where.title} ended with exit code {ended.code}"
    raise Incomplete(action, target, reason + (f" and said: {words}" if words else ""), "Mend its command.")
