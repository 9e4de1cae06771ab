# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The streams of one export or restore: their entries, their lines in the progress, their places at the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan.application import Feed
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    backed_up,
    outcomes,
    recorded,
    settings,
    stream,
)

JSON = dict[str, Any]
_RECORDED = ("name", "stream", "filename", "snapshot", "tree", "host", "bytes")


@dataclass(frozen=True)
class Export:
    """Streams on their way into the repository; ``host`` is what restic calls one."""

    place: stream.Place
    repository: Repository
    at_once: int | None
    request: Request
    host: Callable[[stream.Volume], str]
    tags: Sequence[str]
    secrets: Iterable[str]

    def unheard(self, volumes: Iterable[stream.Volume]) -> dict[str, MusterError]:
        """Why a stream could not be read now, by its label."""
        found: dict[str, MusterError] = {}
        for volume in volumes:
            dump = volume.stream.dump
            try:
                if self.place.find(volume.namespace, dump) is None:
                    raise stream.nowhere(self.place, f"stream {volume.label}", volume.namespace, dump)
            except MusterError as error:
                found[volume.label] = error
        return found

    def planned(self, volume: stream.Volume, problem: MusterError | None) -> JSON:
        dump = volume.stream.dump
        msg = f"is what {dump.command[0]} prints in {self.place.words(volume.namespace, dump)}"
        told = {"changed": problem is None, "failed": problem is not None, "msg": str(problem or msg)}
        return {**self.waiting(volume), **told}

    def waiting(self, volume: stream.Volume) -> JSON:
        """The entry of one that is going to be read."""
        told = {"method": stream.METHOD, "host": self.host(volume), "msg": "not read yet"}
        return {**volume.entry(), **backed_up.UNKNOWN, **told}

    def pour(self, cut: stream.Cut) -> JSON:
        """Read it; its entry."""
        volume, watch, progress = cut.volume, clock.Stopwatch(), self.request.progress
        with (
            outcomes.told(progress, volume.label) as advance,
            settings.at_repository(self.repository, self.at_once, progress, volume.label),
        ):
            poured = stream.pour(
                self.place,
                self.repository,
                volume,
                host=self.host(volume),
                tags=self.tags,
                secrets=self.secrets,
                advance=advance,
            )
        backup = poured.backup
        outcomes.done(progress, volume.label, backup.bytes)
        return {
            **self.waiting(volume),
            **poured.where.told,
            "consistency_point": poured.moment,
            "snapshot": backup.snapshot,
            "tree": backup.tree,
            "files": backup.files,
            "bytes": backup.bytes,
            "bytes_added": backup.bytes_added,
            "seconds": watch.seconds,
            "complete": True,
            "changed": True,
            "msg": "",
        }


@dataclass(frozen=True)
class Import:
    """Streams on their way back; ``given`` is what the application says of them now."""

    place: stream.Place
    repository: Repository
    at_once: int | None
    request: Request
    given: Sequence[Mapping[str, Any]]
    secrets: Iterable[str]

    def planned(
        self,
        volume: Mapping[str, Any],
        namespace: str,
        known: recorded.Snapshots,
        found: Callable[[Feed], Feed] = lambda feed: feed,
    ) -> stream.Return:
        """What becomes of a stream of the point; ``found`` may say more exactly where its command runs."""
        params, to = self.request.params, stream.Return(volume, namespace)
        if params.get("paths"):
            return replace(to, msg="none of the paths is of this stream")
        name = str(volume.get("name"))
        try:
            recorded.require(volume, _RECORDED)
            to = replace(to, snapshot=known.of(name, volume).id)
            feed = stream.feed_of(volume, self.given)
            feed = found(feed) if feed else None
        except MusterError as error:
            return replace(to, problem=error)
        if feed is None:
            self.request.warn(
                f"Stream {name} is not restored, because nothing says which command takes it."
                f" Its bytes come from: {to.by_hand}"
            )
            return replace(to, msg=f"it has no restore command; by hand: {to.by_hand}")
        if params["existing"] == "keep":
            return replace(to, msg="what is there is kept")
        return replace(to, feed=feed, msg=f"is given to {feed.command[0]} in {self.place.words(namespace, feed)}")

    def bring(self, to: stream.Return) -> JSON:
        """Give it to its command; its entry."""
        progress = self.request.progress
        if to.feed is None:
            progress.update("volume", to.label, "skipped", msg=to.msg)
            return to.entry()
        watch, total = clock.Stopwatch(), int(to.volume["bytes"])
        with (
            outcomes.told(progress, to.label) as advance,
            settings.at_repository(self.repository, self.at_once, progress, to.label),
        ):
            size = stream.give_back(
                self.place, self.repository, to, to.feed, self.secrets, lambda done: advance(done, total)
            )
        outcomes.done(progress, to.label, size)
        done = {"files": 1, "bytes": size, "seconds": watch.seconds, "complete": True, "msg": ""}
        return {**to.entry(changed=True), **done}


def chosen(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of the volumes of a document those of the kinds that are to be restored."""
    kinds = {True: "streams" in params["kinds"], False: "volumes" in params["kinds"]}
    return [volume for volume in params["volumes"] if kinds[stream.is_one(volume)]]


def in_order(given: Sequence[Mapping[str, Any]], volumes: Sequence[JSON], streams: Sequence[JSON]) -> list[JSON]:
    """One entry for each volume that was given, in that order."""
    both = {True: iter(streams), False: iter(volumes)}
    return [next(both[stream.is_one(one)]) for one in given]


def not_tried(returns: Sequence[stream.Return]) -> list[JSON]:
    """The entries of streams where a volume failed: what takes a stream lives on the volumes."""
    return [{**one.entry(), "skipped": True, "msg": "not tried, because a volume failed"} for one in returns]
