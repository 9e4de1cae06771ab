# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hooks: what was frozen is thawed again, however the work in between ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fakes.storage import LocalCluster, Storage, failure, pod, thing

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import thaw
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.backup_hooks import Hooks
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ExecResult

APPLICATION: dict[str, Any] = {"name": "shop", "namespaces": ["shop"]}
FREEZE: dict[str, Any] = {"name": "db", "selector": "app=db", "pre": ["freeze", 1], "post": ["thaw"]}
FLUSH: dict[str, Any] = {"name": "web", "selector": "app=web", "pre": ["flush"], "post": ["resume"]}


@pytest.fixture
def cluster() -> LocalCluster:
    server = Storage()
    server.add(thing("Namespace", "shop", ""))
    server.add(pod("db-0", labels={"app": "db"}), pod("web-0", labels={"app": "web"}))
    return LocalCluster(server)


def around(cluster: LocalCluster, hooks: list[dict[str, Any]]) -> Hooks:
    return Hooks(cluster, {**APPLICATION, "hooks": hooks})


def words(cluster: LocalCluster) -> list[str]:
    return [argv[0] for _pod, _container, argv in cluster.ran]


def failing(word: str, error: BaseException | None = None) -> Any:
    def answer(_pod: str, argv: Sequence[str]) -> ExecResult | BaseException:
        if argv[0] != word:
            return ExecResult(0, "fine", "")
        return error or ExecResult(3, "", "database is locked\n")

    return answer


def test_pre_in_order_and_post_in_reverse_around_the_work(cluster: LocalCluster) -> None:
    hooks = around(cluster, [FREEZE, FLUSH])
    with hooks:
        assert words(cluster) == ["freeze", "flush"]
    assert words(cluster) == ["freeze", "flush", "resume", "thaw"]
    assert cluster.ran[0] == ("db-0", "main", ("freeze", "1"))
    assert [(entry["name"], entry["phase"], entry["ok"], entry["code"]) for entry in hooks.done] == [
        ("db", "pre", True, 0),
        ("web", "pre", True, 0),
        ("web", "post", True, 0),
        ("db", "post", True, 0),
    ]


def test_every_running_pod_and_the_named_container(cluster: LocalCluster) -> None:
    cluster.server.add(pod("db-1", labels={"app": "db"}), pod("db-2", labels={"app": "db"}, phase="Pending"))
    dying = pod("db-3", labels={"app": "db"})
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.server.add(dying)
    with around(cluster, [{**FREEZE, "container": "engine"}]):
        assert [(name, container) for name, container, _argv in cluster.ran] == [("db-0", "engine"), ("db-1", "engine")]


def test_a_pre_hook_that_fails_is_named_and_thawed_too(cluster: LocalCluster) -> None:
    cluster.answer = failing("flush")
    hooks = around(cluster, [FREEZE, FLUSH, {**FREEZE, "name": "late"}])
    failure(hooks.__enter__, Incomplete, "pre hook web", "pod shop/web-0", "exit code 3", "database is locked")
    assert words(cluster) == ["freeze", "flush", "resume", "thaw"]
    assert [(entry["ok"], entry["code"]) for entry in hooks.done] == [(True, 0), (False, 3), (True, 0), (True, 0)]


def test_a_hook_that_hangs_ends_by_its_timeout(cluster: LocalCluster) -> None:
    given: list[float] = []
    inner = cluster.exec

    def hanging(*place: Any, timeout: float) -> ExecResult:
        given.append(timeout)
        inner(*place, timeout=timeout)
        if place[3][0] == "freeze":
            raise Unavailable("run", "'freeze'", f"it did not end within {timeout:g} seconds")
        return ExecResult(0, "", "")

    cluster.exec = hanging  # type: ignore[method-assign]
    hooks = around(cluster, [{**FREEZE, "timeout": "90s"}, FLUSH])
    failure(hooks.__enter__, Unavailable, "pre hook db in pod shop/db-0: it did not end within 90 seconds")
    assert words(cluster) == ["freeze", "thaw"]
    assert given == [90.0, 90.0]
    assert hooks.done[0]["code"] is None and not hooks.done[0]["ok"]


def test_a_hook_without_a_timeout_does_not_hang_for_ever(cluster: LocalCluster) -> None:
    given: list[float] = []
    cluster.exec = lambda *_place, timeout: given.append(timeout) or ExecResult(0, "", "")  # type: ignore[method-assign]
    with around(cluster, [FREEZE]):
        assert given == [60.0]


@pytest.mark.parametrize("error", [Unavailable("cut", "x", "y"), ValueError("bug"), KeyboardInterrupt()])
def test_whatever_goes_wrong_inside_it_is_thawed(cluster: LocalCluster, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, around(cluster, [FREEZE, FLUSH]):
        raise error
    assert caught.value is error
    assert words(cluster)[2:] == ["resume", "thaw"]


def test_a_post_hook_that_fails_keeps_no_other_from_running(cluster: LocalCluster) -> None:
    cluster.answer = failing("resume")
    hooks = around(cluster, [FREEZE, FLUSH])
    with pytest.raises(Incomplete, match="post hook web"), hooks:
        pass
    assert words(cluster)[2:] == ["resume", "thaw"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_whatever_a_post_command_raises_the_others_run_and_it_stays_owed(
    cluster: LocalCluster, error: BaseException
) -> None:
    cluster.server.add(pod("web-1", labels={"app": "web"}))
    cluster.answer = lambda name, argv: error if (name, argv[0]) == ("web-0", "resume") else ExecResult(0, "", "")
    labels = {marks.APPLICATION: "shop", marks.ROLE: marks.THAW}
    ledger = thaw.Ledger(cluster, ["shop"], labels, "thaw-1")
    with (
        pytest.raises(type(error)) as caught,
        Hooks(cluster, {**APPLICATION, "hooks": [FREEZE, FLUSH]}, ledger=ledger),
    ):
        pass
    assert caught.value is error
    assert [(name, argv[0]) for name, _container, argv in cluster.ran][3:] == [
        ("web-0", "resume"),
        ("web-1", "resume"),
        ("db-0", "thaw"),
    ]
    (debt,) = ledger.debts(lambda _text: None)
    assert [(one.place.pod, one.command.argv) for one in debt.owed] == [("web-0", ("resume",))]


def test_a_post_hook_that_fails_does_not_hide_the_first_error(cluster: LocalCluster) -> None:
    cluster.answer = failing("thaw")
    hooks = around(cluster, [FREEZE])
    with pytest.raises(ValueError, match="first"), hooks:
        raise ValueError("first")
    assert [(entry["phase"], entry["ok"]) for entry in hooks.done] == [("pre", True), ("post", False)]


@pytest.mark.parametrize("word", ["freeze", "thaw"])
def test_on_error_continue_records_and_goes_on(cluster: LocalCluster, word: str) -> None:
    cluster.answer = failing(word)
    hooks = around(cluster, [{**FREEZE, "on_error": "continue"}, FLUSH])
    with hooks:
        pass
    assert words(cluster) == ["freeze", "flush", "resume", "thaw"]
    assert [entry["ok"] for entry in hooks.done].count(False) == 1


@pytest.mark.parametrize("word", ["freeze", "thaw"])
def test_the_end_of_the_task_is_not_taken_for_a_hook_that_fails(cluster: LocalCluster, word: str) -> None:
    cluster.answer = failing(word, Interrupted("finish", "the export", "it was ended by SIGTERM"))
    with pytest.raises(Interrupted), around(cluster, [{**FREEZE, "on_error": "continue"}, FLUSH]):
        pass
    assert words(cluster)[-1] == "thaw"


def test_no_running_pod_is_an_error_unless_allowed(cluster: LocalCluster) -> None:
    lost = {**FLUSH, "selector": "app=gone"}
    hooks = around(cluster, [FREEZE, lost])
    failure(hooks.__enter__, Incomplete, "hook web", "no running pod in shop matches app=gone", "on_error")
    # Before anything was frozen.
    assert not cluster.ran and hooks.done[0]["ok"] is False
    with around(cluster, [{**lost, "on_error": "continue"}]) as allowed:
        assert allowed.done[0]["ok"] is False


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"selector": ""}, "no selector"),
        ({"pre": None, "post": []}, "neither pre nor post"),
        ({"pre": "rm -rf /"}, "pre is not a list"),
        ({"post": [["nested"]]}, "post is not a list"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"timeout": "soon"}, "soon"),
    ],
)
def test_hooks_are_checked_before_anything_runs(cluster: LocalCluster, change: dict[str, Any], word: str) -> None:
    failure(lambda: around(cluster, [FREEZE, {**FLUSH, **change}]), InvalidInput, word)
    assert not cluster.ran


def test_a_cluster_that_does_not_answer_is_found_out_before_anything_is_frozen(cluster: LocalCluster) -> None:
    cluster.server.broken["/api/v1/namespaces/other/"] = 403
    hooks = around(cluster, [FREEZE, {**FLUSH, "namespace": "other"}])
    failure(hooks.__enter__, MusterError, "other")
    assert not cluster.ran
