# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who owns which field: read from a capture, asked for in one request where that is enough, given back in a second."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import ownership
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import FIELD_MANAGER
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.ownership import Author

STEPS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'v:"1"'])
PATHS = st.frozensets(st.lists(STEPS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=8)


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields, **more}


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": data}


@given(PATHS)
def test_trees_and_paths_say_the_same(paths: frozenset[tuple[str, ...]]) -> None:
    again = ownership.paths(ownership.tree(paths))
    # A frame that is owned itself is written with a dot.
    assert {path[:-1] if path[-1] == "." else path for path in again} == paths


@pytest.mark.parametrize(
    ("entries", "author"),
    [
        ([], Author("before-first-apply")),
        ([entry("helm", {"f:data": {"f:a": {}}})], Author("helm")),
        (
            [entry("argo", {"f:data": {"f:a": {}}}, "Apply")],
            Author("argo", applies=True, fields=frozenset({("f:data", "f:a")})),
        ),
        ([entry("a", {"f:data": {"f:a": {}}}), entry("b", {"f:data": {"f:b": {}}})], Author(whole=False)),
        # What the other one owned is not restored, or is only the frame around the fields of the first.
        (
            [
                entry("kubectl", {"f:data": {".": {}, "f:a": {}}}),
                entry("controller", {"f:metadata": {"f:annotations": {".": {}, "f:bound": {}}}}),
            ],
            Author("kubectl"),
        ),
        ([entry("a", {"f:data": {".": {}, "f:a": {}}}), entry("b", {"f:data": {".": {}}})], Author("a")),
    ],
)
def test_one_owner_is_the_author_and_several_need_a_second_request(entries: list[Any], author: Author) -> None:
    assert ownership.author(entries, config_map(a="1", b="2")) == author


def test_only_what_an_owner_applied_is_applied_again() -> None:
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "labels": {"a": "1", "b": "2"}},
        "spec": {
            "replicas": 3,
            "template": {"spec": {"containers": [{"name": "x", "image": "i", "tty": True}, {"name": "y"}]}},
        },
    }
    container = {".": {}, "f:image": {}, "f:name": {}}
    fields = {
        "f:metadata": {"f:labels": {"f:a": {}, "f:gone": {}}},
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"x"}': container}}}},
    }
    members = ownership.present(ownership.paths(fields), obj)
    assert ownership.part(obj, members) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "labels": {"a": "1"}},
        "spec": {"template": {"spec": {"containers": [{"name": "x", "image": "i"}]}}},
    }


def test_fields_go_back_and_nothing_of_others_stays_ours() -> None:
    captured = [
        entry("helm", {"f:data": {".": {}, "f:a": {}}}),
        entry("argo", {"f:data": {"f:b": {}, "f:gone": {}}}, "Apply"),
    ]
    live = config_map(a="1", b="2", c="3")
    status = entry("controller", {"f:status": {}}, subresource="status")
    mine = entry(FIELD_MANAGER, {"f:data": {".": {}, "f:a": {}, "f:b": {}, "f:c": {}}})
    live["metadata"]["managedFields"] = [mine, status]
    given = ownership.given_back(captured, live)
    assert given is not None
    owners = {(one["manager"], one["operation"]): one["fieldsV1"] for one in given}
    assert owners == {
        ("helm", "Update"): {"f:data": {".": {}, "f:a": {}}},
        ("argo", "Apply"): {"f:data": {"f:b": {}}},
        ("controller", "Update"): {"f:status": {}},
    }
    live["metadata"]["managedFields"] = given
    assert ownership.given_back(captured, live) is None


def test_what_others_added_meanwhile_stays_theirs() -> None:
    live = config_map(a="1", theirs="2")
    live["metadata"]["managedFields"] = [
        entry("operator", {"f:data": {"f:theirs": {}}}),
        entry(FIELD_MANAGER, {"f:data": {"f:a": {}}}, "Apply"),
    ]
    given = ownership.given_back([entry("helm", {"f:data": {"f:a": {}}})], live)
    assert given is not None and {one["manager"] for one in given} == {"helm", "operator"}


def test_our_own_marks_on_a_namespace_stay_ours() -> None:
    live: dict[str, Any] = {
        "metadata": {"labels": {"team": "pay"}, "annotations": {"container-dr.muster.dev/point": "p"}}
    }
    both = {"f:labels": {"f:team": {}}, "f:annotations": {"f:container-dr.muster.dev/point": {}}}
    live["metadata"]["managedFields"] = [entry(FIELD_MANAGER, {"f:metadata": both})]
    captured = [entry("kubectl", {"f:metadata": {"f:labels": {"f:team": {}}}})]
    given = ownership.given_back(captured, live, keep_ours=True)
    assert given is not None
    assert {one["manager"]: one["fieldsV1"]["f:metadata"] for one in given} == {
        "kubectl": {"f:labels": {"f:team": {}}},
        FIELD_MANAGER: {"f:annotations": {"f:container-dr.muster.dev/point": {}}},
    }
