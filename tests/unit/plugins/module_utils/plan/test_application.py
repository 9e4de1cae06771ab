# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applications as users write them, and documents as we seal them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, recovery_point

GOOD: dict[str, Any] = {
    "name": "ledger",
    "namespaces": ["ledger"],
    "targets": {"rpo": "15m", "rto": "1h"},
    "hooks": [{"name": "freeze", "namespace": "ledger", "pre": ["sync"], "timeout": "30s", "on_error": "continue"}],
    "hook_annotations": False,
    "restore_hooks": [
        {"name": "fill", "namespace": "ledger", "selector": "app=db", "command": ["fill"], "wait_timeout": "10m"},
        {"name": "seed", "selector": "app=db", "init_containers": [{"name": "seed", "image": "tools:1"}]},
    ],
    "streams": [{"name": "db", "selector": "app=db", "command": ["dump"], "restore": {"command": ["load"]}}],
    "volumes": {"exclude": [{"namespace": "ledger", "name": "cache", "reason": "can be made again"}]},
    "checks": [{"name": "api", "kind": "http"}],
    "image_signatures": [{"pattern": "*", "policy": "report"}],
    "images": {"exclude": [{"pattern": "dev.example.com/*", "reason": "every node builds them"}]},
    "health_ignore": ["jobs.batch/import-*"],
}


STREAM: dict[str, Any] = {"name": "x", "selector": "app=a", "command": ["dump", "-v"]}
RESTORE: dict[str, Any] = {"name": "x", "selector": "app=a", "command": ["fill"]}
INIT: dict[str, Any] = {"name": "x", "selector": "app=a", "init_containers": [{"name": "a", "image": "b"}]}


def test_reads_an_application() -> None:
    app = application.parse(GOOD)
    assert (app.targets.rpo, app.targets.rto) == (900, 3600)
    assert app.hooks[0].pre == ("sync",)
    assert (app.hooks[0].timeout, app.hooks[0].optional) == (30, True)
    assert app.excluded_volumes[0].name == "cache"


def test_what_takes_a_stream_back_is_where_it_came_from_unless_it_says_otherwise() -> None:
    given = {**STREAM, "container": "main", "timeout": "2h", "filename": "x.sql", "restore": {"command": ["load"]}}
    other = {"command": ["load"], "selector": "app=b", "container": "side", "timeout": "3h", "wait_timeout": 5}
    (stream, second) = application.streams(
        "here", [given, {**given, "name": "y", "restore": other}], ["ledger", "other"]
    )
    assert (stream.namespace, stream.filename, stream.restore) == (
        "ledger",
        "x.sql",
        application.Feed("app=a", "main", ("load",), 7200.0, 600.0, 300.0),
    )
    assert stream.dump == application.Feed("app=a", "main", ("dump", "-v"), 7200.0, 600.0, 300.0)
    assert second.restore == application.Feed("app=b", "side", ("load",), 10800.0, 600.0, 5.0)
    assert application.streams("here", [STREAM], ["ledger"])[0].restore is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "Ledger!"}, "name is 'Ledger!'"),
        ({"namespaces": []}, "names no namespaces"),
        ({"namespaces": [], "compose_projects": ["shop"]}, "it is on a Docker host"),
        ({"containers": ["web"]}, "it has containers of a Docker host and namespaces of a cluster"),
        ({"compose_files": [{"project": "a", "files": []}]}, "it has compose_files of a Docker host and namespaces"),
        ({"namespaces": "ledger"}, "not a list of texts"),
        ({"namespaces": ["a", "a"]}, "is there twice"),
        ({"targts": {}}, "Did you mean 'targets'"),
        ({"targets": {"rpo": "soon"}}, "targets.rpo"),
        ({"targets": {"rpo": 0}}, "it is zero"),
        ({"targets": ["15m"]}, "Write a dictionary"),
        ({"hooks": [{"name": "x"}]}, "neither 'pre' nor 'post'"),
        ({"hooks": [{"name": "x", "pre": "sync"}]}, r"hooks\[0\] \(x\), pre"),
        ({"hooks": [{"name": "x", "pre": ["a"], "namespace": "b"}]}, "not one of the application's"),
        ({"hooks": [{"name": "x", "pre": ["a"], "on_error": "ignore"}]}, "on_error is 'ignore'"),
        ({"hooks": [{"name": "x", "pre": ["a"], "output": "some"}]}, "output is 'some'"),
        ({"hook_annotations": "yes"}, "hook_annotations is 'yes'"),
        ({"group_snapshots": True}, "group_snapshots is True"),
        ({"restore_hooks": [{"name": "x", "command": ["a"]}]}, "'selector' is None"),
        ({"restore_hooks": [{**RESTORE, "comand": ["a"]}]}, "Did you mean 'command'"),
        ({"restore_hooks": [{"name": "x", "selector": "a"}]}, "either 'command' or 'init_containers'"),
        ({"restore_hooks": [{**RESTORE, "init_containers": [{"name": "a", "image": "b"}]}]}, "either 'command' or"),
        ({"restore_hooks": [{**INIT, "timeout": 5}]}, "unknown key 'timeout'"),
        ({"restore_hooks": [{**INIT, "init_containers": [{"name": "a"}]}]}, "'image' is None"),
        ({"restore_hooks": [{**RESTORE, "wait_timeout": "soon"}]}, "wait_timeout"),
        ({"restore_hooks": [{**RESTORE, "on_error": "ignore"}]}, "on_error is 'ignore'"),
        ({"restore_hooks": [{**RESTORE, "namespace": "b"}]}, "not one of the application's"),
        ({"restore_hooks": [RESTORE, INIT]}, "'x' is there twice"),
        ({"streams": {"name": "x"}}, "streams: it is not a list of dictionaries"),
        ({"streams": [{**STREAM, "comand": ["a"]}]}, "streams\\[0\\]: it has an unknown key 'comand'. Did you mean"),
        ({"streams": [{**STREAM, "name": "a/b"}]}, "name is 'a/b'"),
        ({"streams": [{**STREAM, "filename": "../x"}]}, "filename is '../x'"),
        ({"streams": [{**STREAM, "selector": None}]}, "'selector' is None"),
        ({"streams": [{**STREAM, "command": "pg_dump"}]}, "\\(x\\), command: it is not a list of texts"),
        ({"streams": [{**STREAM, "command": []}]}, "it has no 'command'"),
        ({"streams": [{**STREAM, "stall_timeout": "soon"}]}, "stall_timeout: it is not a length of time"),
        ({"streams": [{**STREAM, "timeout": 0}]}, "timeout: it is zero"),
        ({"streams": [{**STREAM, "container": 5}]}, "'container' is 5"),
        ({"streams": [{**STREAM, "namespace": "b"}]}, "not one of the application's"),
        ({"streams": [STREAM], "namespaces": ["led*"]}, "its namespace is 'led\\*', a pattern"),
        ({"streams": [{**STREAM, "restore": {"selector": "a"}}]}, "restore: it has no 'command'"),
        ({"streams": [{**STREAM, "restore": {"command": ["a"], "filename": "b"}}]}, "unknown key 'filename'"),
        ({"streams": [STREAM, STREAM]}, "'ledger/x' is there twice"),
        ({"volumes": {"exclude": [{"namespace": "a", "name": "b"}]}}, "'reason' is None"),
        ({"checks": [{"name": "a"}]}, "'kind' is None"),
        ({"health_ignore": "jobs.batch"}, "health_ignore: it is not a list of texts"),
        ({"images": {"exclude": [{"pattern": "*"}]}}, r"images.exclude\[0\]: 'reason' is None"),
        ({"images": {"exclude": [{"pattern": "", "reason": "x"}]}}, "'pattern' is ''"),
        ({"images": {"exclude": [{"name": "x", "reason": "x"}]}}, "unknown key 'name'"),
        ({"images": ["*"]}, "Write a dictionary"),
        ({"images": {"ignore": []}}, "Known are exclude"),
        ({"image_signatures": {"pattern": "*"}}, "image_signatures: it is not a list of dictionaries"),
    ],
)
def test_says_what_is_wrong(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        application.parse({**GOOD, **change})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), JSON))
def test_any_input_ends_in_an_application_or_a_clear_error(value: dict[str, Any]) -> None:
    try:
        application.parse(value)
    except InvalidInput as error:
        assert "application" in str(error)


@given(st.dictionaries(st.text(), JSON))
def test_equal_documents_have_equal_bytes(value: dict[str, Any]) -> None:
    try:
        data = recovery_point.encode(value)
    except InvalidInput:
        return
    assert recovery_point.encode(dict(reversed(value.items()))) == data


@given(st.binary() | st.text().map(str.encode))
def test_garbage_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        recovery_point.decode(data, "20260131T040506Z-ledger-1a2b3c4d", "ledger")


@pytest.mark.parametrize("text", ["", "x", "20269931T040506Z-ledger-1a2b3c4d", "20260131T040506Z-ledger-1A2B3C4D"])
def test_wrong_ids(text: str) -> None:
    with pytest.raises(InvalidInput):
        recovery_point.PointId.parse(text)


def test_names_every_problem() -> None:
    content = recovery_point.Content(
        objects={"snapshot": {"id": "a"}, "incomplete": [{"what": "secrets", "why": "forbidden"}]},
        volumes=[
            {"name": "v1", "complete": True, "snapshot": "a", "tree": "b"},
            {"name": "v2", "complete": False, "snapshot": "a", "tree": "b"},
            {"name": "v3", "failed": True, "msg": "no snapshot class"},
            {"name": "v4", "skipped": True},
            {"name": "v5", "complete": True},
        ],
        images=[{"name": "i1", "digest": "sha256:1"}, {"name": "i2", "resolved_by": "unresolved", "digest": "x"}],
        hooks=[
            {"name": "h1", "ok": False},
            {"name": "h2", "ok": False},
            {"name": "h3", "ok": True},
            {"name": "annotations of a/b", "ok": False, "on_error": "continue"},
        ],
        excluded=[],
    )
    names = [problem.name for problem in recovery_point.problems(content, ["h2"])]
    assert names == [
        "objects",
        "objects:secrets",
        "volume:v2",
        "volume:v3",
        "volume:v4",
        "volume:v5",
        "image:i2",
        "hook:h1",
    ]
    assert recovery_point.problems(recovery_point.Content(None, [], [], [], []))[0].name == "objects"
