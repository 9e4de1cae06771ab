# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JSON pointers, JSON patches (RFC 6902), merge patches (RFC 7396) and strategic merge patches."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch, pointer, strategic
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.json_patch import PatchError

DEPLOYMENTS = "deployments.apps"
# RFC 6901, section 5.
RFC_DOCUMENT: dict[str, Any] = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", RFC_DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_pointers_of_the_rfc(text: str, value: Any) -> None:
    assert pointer.value_at(RFC_DOCUMENT, pointer.parse(text)) == value
    assert pointer.written(pointer.parse(text)) == text


@pytest.mark.parametrize("text", ["foo", "/a~", "/a~2b", None, 3])
def test_what_is_no_pointer_is_refused(text: Any) -> None:
    with pytest.raises(pointer.PointerError, match="not a JSON pointer"):
        pointer.parse(text)


@pytest.mark.parametrize("text", ["/foo/2", "/foo/-", "/foo/01", "/foo/x", "/nothing", "/foo/0/deeper"])
def test_a_pointer_to_nowhere_says_where(text: str) -> None:
    with pytest.raises(pointer.PointerError, match="is not there"):
        pointer.value_at(RFC_DOCUMENT, pointer.parse(text))


def test_patterns_find_every_place() -> None:
    document = {"rules": [{"to": [{"ns": "a"}, {"ns": "b"}]}, {"to": []}, {"none": 1}]}
    found = [
        (pointer.written(tokens), value)
        for tokens, _holder, value in pointer.places(document, pointer.parse("/rules/*/to/*/ns"))
    ]
    assert found == [("/rules/0/to/0/ns", "a"), ("/rules/0/to/1/ns", "b")]


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        # RFC 6902, appendix A
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"}, {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, {"op": "replace", "path": "/baz", "value": "boo"}, {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            {"op": "move", "from": "/foo/1", "path": "/foo/3"},
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"foo": "bar"}, {"op": "add", "path": "/child", "value": {"a": {}}}, {"foo": "bar", "child": {"a": {}}}),
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux", "xyz": 123}, {"foo": "bar", "baz": "qux"}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["a"]}, {"foo": ["bar", ["a"]]}),
        # the whole document, null, and a copy that stands alone
        ({"a": 1}, {"op": "add", "path": "", "value": [1]}, [1]),
        ({"a": 1}, {"op": "replace", "path": "", "value": None}, None),
        ({"a": 1}, {"op": "add", "path": "/a", "value": None}, {"a": None}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a"}, {"a": {"b": 1}}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1.0}, {"a": 1}),
    ],
)
def test_operations(document: Any, operation: dict[str, Any], expected: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch.patched(document, [operation]) == expected
    assert document == before


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "add", "path": "/x/y", "value": 1}, "/x is not there"),
        ({"op": "add", "path": "/list/3", "value": 1}, "2 elements"),
        ({"op": "add", "path": "/text/x", "value": 1}, "neither object nor list"),
        ({"op": "remove", "path": "/x"}, "/x is not there"),
        ({"op": "replace", "path": "/x", "value": 1}, "/x is not there"),
        ({"op": "move", "from": "/map", "path": "/map/a"}, "into itself"),
        ({"op": "copy", "from": "/x", "path": "/y"}, "/x is not there"),
        ({"op": "test", "path": "/flag", "value": 1}, "another value"),
        ({"op": "test", "path": "/x", "value": None}, "/x is not there"),
        ({"op": "frobnicate", "path": "/x"}, "'op' has to be"),
        ({"op": "add", "path": "/x"}, "'value' is missing"),
        ({"op": "move", "path": "/x"}, "'from' is missing"),
        ({"op": "remove", "path": "x"}, "not a JSON pointer"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(operation: dict[str, Any], words: str) -> None:
    document = {"map": {}, "list": [1, 2], "text": "t", "flag": True}
    before = copy.deepcopy(document)
    with pytest.raises(PatchError, match=words) as caught:
        json_patch.patched(document, [{"op": "add", "path": "/new", "value": 1}, operation])
    assert document == before
    assert "operation 2" in str(caught.value)
    assert isinstance(caught.value, json_patch.TestFailed) is (operation["op"] == "test")


@pytest.mark.parametrize(
    ("document", "change", "expected"),
    [
        # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_rfc(document: Any, change: Any, expected: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch.merged(document, change) == expected
    assert document == before


def deployment(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod}}}


def pod(change: dict[str, Any], **fields: Any) -> dict[str, Any]:
    result: dict[str, Any] = strategic.patched(DEPLOYMENTS, deployment(**fields), deployment(**change))
    return dict(result["spec"]["template"]["spec"])


def test_lists_are_merged_by_their_key() -> None:
    containers = [
        {
            "name": "api",
            "image": "a",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 80}],
            "volumeMounts": [{"mountPath": "/data", "name": "data"}],
            "args": ["x"],
        },
        {"name": "side", "image": "s"},
    ]
    change = {
        "containers": [
            {
                "name": "api",
                "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}, {"name": "A", "$patch": "delete"}],
                "ports": [{"containerPort": 81}],
                "volumeMounts": [{"mountPath": "/data", "readOnly": True}],
                "args": ["y"],
            },
            {"name": "new", "image": "n"},
        ],
        "volumes": [{"name": "data", "emptyDir": None, "configMap": {"name": "c"}}],
        "tolerations": [{"key": "b"}],
    }
    result = pod(change, containers=containers, volumes=[{"name": "data", "emptyDir": {}}], tolerations=[{"key": "a"}])
    assert result["containers"] == [
        {
            "name": "api",
            "image": "a",
            "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
            "ports": [{"containerPort": 81}, {"containerPort": 80}],
            "volumeMounts": [{"mountPath": "/data", "name": "data", "readOnly": True}],
            "args": ["y"],
        },
        {"name": "new", "image": "n"},
        {"name": "side", "image": "s"},
    ]
    assert result["volumes"] == [{"name": "data", "configMap": {"name": "c"}}]
    assert result["tolerations"] == [{"key": "b"}]


def test_ports_of_one_number_are_told_apart_by_protocol() -> None:
    service = {"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}
    change = {"spec": {"ports": [{"port": 53, "protocol": "UDP", "targetPort": 5353}]}}
    assert strategic.patched("services", service, change)["spec"]["ports"] == [
        {"port": 53, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP", "targetPort": 5353},
    ]


def test_directives() -> None:
    env = [{"name": "api", "env": [{"name": "A"}, {"name": "B"}]}]
    replaced = pod({"containers": [{"$patch": "replace"}, {"name": "only"}]}, containers=env)
    assert replaced["containers"] == [{"name": "only"}]
    order = {"containers": [{"name": "api", "$setElementOrder/env": [{"name": "B"}, {"name": "A"}]}]}
    assert pod(order, containers=env)["containers"][0]["env"] == [{"name": "B"}, {"name": "A"}]
    labels = {"metadata": {"labels": {"$patch": "replace", "new": "1"}, "$deleteFromPrimitiveList/finalizers": ["a"]}}
    thing = {"metadata": {"labels": {"old": "1"}, "finalizers": ["a", "b"]}}
    assert strategic.patched("configmaps", thing, labels) == {"metadata": {"labels": {"new": "1"}, "finalizers": ["b"]}}
    strategy = {"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}
    rolling = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    assert strategic.patched(DEPLOYMENTS, rolling, strategy) == {"spec": {"strategy": {"type": "Recreate"}}}
    assert strategic.patched("configmaps", {"data": {"a": "1"}}, {"data": {"$patch": "delete"}}) == {}
    finalizers = strategic.patched(
        "configmaps", {"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}
    )
    assert finalizers["metadata"]["finalizers"] == ["b", "a"]


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("things.example.com", {"spec": {}}, "use a merge patch"),
        (DEPLOYMENTS, deployment(containers=[{"image": "x"}]), "lacks 'name'"),
        (DEPLOYMENTS, {"spec": {"$patch": "mangle"}}, "unknown"),
        (DEPLOYMENTS, {"spec": {"$what/list": []}}, "unknown"),
        (DEPLOYMENTS, [], "is an object"),
    ],
)
def test_strategic_patches_that_make_no_sense(key: str, change: Any, words: str) -> None:
    with pytest.raises(PatchError, match=words):
        strategic.patched(key, deployment(containers=[]), change)
