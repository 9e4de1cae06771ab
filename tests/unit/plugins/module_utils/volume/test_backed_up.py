# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import progress
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError, NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.pool import Outcome
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import backed_up

SNAPSHOTS = [
    Snapshot(id=letter * 64, tree=letter * 64, time="2026-01-01T00:00:00Z", host=f"k8s:east/shop/{letter}")
    for letter in "ab"
]


class FakeRepository:
    """Holds two snapshots; ``failure`` is what a listing of all raises, ``gone`` that its server does not answer."""

    def __init__(self, failure: MusterError | None = None, without: str = "", *, gone: bool = False) -> None:
        self.failure = failure
        self.gone = gone
        self.held = [one for one in SNAPSHOTS if one.id != without]
        self.asked: list[str] = []

    def probe(self) -> None:
        self.asked.append("server")
        if self.gone:
            raise Unavailable("open", "the repository", "the server does not answer")

    def snapshots(self) -> list[Snapshot]:
        self.asked.append("all")
        if self.failure:
            raise self.failure
        return self.held

    def snapshot(self, identity: str) -> Snapshot:
        self.asked.append(identity[0])
        for one in self.held:
            if one.id == identity:
                return one
        raise NotFound("find", f"snapshot {identity}", "it is not there")


def read(repository: FakeRepository, failure: type[MusterError] = MusterError) -> list[Outcome[str, Any]]:
    """What is known of two volumes whose movers said that all went well, and of a third whose mover failed."""
    outcomes = [Outcome(one.host, backed_up.Moved(one.host, {"snapshot_id": one.id}, 1.0)) for one in SNAPSHOTS] + [
        Outcome("c", None, failure("export", "volume c", "it broke"))
    ]
    return backed_up.read_back(
        cast(Repository, repository),
        outcomes,
        lambda moved, find: backed_up.entry(find, moved.volume, moved.volume, moved.summary),
        str,
        progress.Silent(),
    )


def test_all_are_found_with_one_question() -> None:
    repository = FakeRepository()
    first, second, third = read(repository)
    assert [one.value and one.value["snapshot"][0] for one in (first, second, third)] == ["a", "b", None]
    assert "it broke" in str(third.error) and repository.asked == ["all"]


def test_what_is_not_there_was_not_backed_up() -> None:
    first, second, _third = read(FakeRepository(without="b" * 64))
    assert first.value and second.value is None and "it is not there" in str(second.error)


def test_without_a_list_each_is_asked_for() -> None:
    """As where another one's snapshot is damaged."""
    repository = FakeRepository(MusterError("list", "snapshots", "one is damaged"))
    first, second, _third = read(repository)
    assert first.value and second.value and repository.asked == ["all", "a", "b"]


@pytest.mark.parametrize("reason", ["the repository's server does not answer", "restic did not end in time"])
def test_a_server_that_does_not_answer_is_waited_for_once(reason: str) -> None:
    repository = FakeRepository(Unavailable("list", "snapshots", reason))
    first, second, third = read(repository)
    assert not first.value and not second.value and repository.asked == ["all"]
    assert reason in str(first.error) and reason in str(second.error) and "it broke" in str(third.error)


@pytest.mark.parametrize("gone", [True, False])
def test_after_a_mover_without_answer_the_server_is_asked_before_restic_is(gone: bool) -> None:
    """restic tries for a minute; a question of our own is answered within twenty seconds."""
    repository = FakeRepository(gone=gone)
    entries = read(repository, Unavailable)
    assert repository.asked == (["server"] if gone else ["server", "all"])
    assert ["does not answer" in str(one.error) for one in entries[:2]] == [gone, gone]
