# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which objects belong to an application."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import selection
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.selection import Selection


def labelled(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("selector", "labels", "met"),
    [
        ("app=a", {"app": "a"}, True),
        ("app==a,tier!=db", {"app": "a", "tier": "web"}, True),
        ("app in (a, b),!legacy", {"app": "b"}, True),
        ("app in (a,b)", {"app": "c"}, False),
        ("app notin (a,b)", {}, True),
        ("app", {}, False),
        ("!app", {"app": "a"}, False),
        ("team.example.com/app=a", {"team.example.com/app": "a"}, True),
    ],
)
def test_selectors_are_kubectls(selector: str, labels: dict[str, str], met: bool) -> None:
    chosen = Selection.of({"name": "a", "selectors": [selector]})
    assert chosen.labelled(labelled(**labels)) is met


def test_one_of_several_selectors_is_enough() -> None:
    chosen = Selection.of({"name": "a", "selectors": ["app=a", "app=b"]})
    assert chosen.labelled(labelled(app="b"))


def test_a_selector_may_want_an_empty_value() -> None:
    assert Selection.of({"name": "a", "selectors": ["app="]}).labelled(labelled(app=""))


@pytest.mark.parametrize("text", ["a b", "app in a", "=x", "a,,b", "a@b=c"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no term of a label selector"):
        Selection.of({"name": "a", "selectors": [text]})


def test_globs_never_take_the_clusters_own_namespaces() -> None:
    chosen = Selection.of({"name": "a", "namespaces": ["*"]})
    assert chosen.pick_namespaces(["kube-system", "a-1", "muster-container-dr"]) == ["a-1"]
    assert Selection.of({"name": "a", "namespaces": ["kube-system"]}).pick_namespaces(["kube-system"]) == [
        "kube-system"
    ]


def test_every_pattern_must_match() -> None:
    with pytest.raises(NotFound, match="b-"):
        Selection.of({"name": "a", "namespaces": ["a-*", "b-*"]}).pick_namespaces(["a-1"])


@pytest.mark.parametrize("application", [{}, {"name": "a"}, {"name": "a", "namespaces": "a"}])
def test_an_application_says_what_it_is(application: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Selection.of(application)


def test_kinds_in_and_out() -> None:
    chosen = Selection.of(
        {"name": "a", "namespaces": ["a"], "include_kinds": ["*.apps", "secrets"], "exclude_kinds": ["d*"]}
    )
    assert chosen.wants_kind("statefulsets.apps") and chosen.wants_kind("secrets")
    assert not chosen.wants_kind("deployments.apps") and not chosen.wants_kind("configmaps")
    everything = Selection.of({"name": "a", "namespaces": ["a"]})
    assert not everything.wants_kind("events") and not everything.wants_kind("pods.metrics.k8s.io")


def test_ours_is_left_out_except_what_the_application_owns() -> None:
    ours = {"app.kubernetes.io/managed-by": "muster.container_dr"}
    assert selection.left_out_by_nature("jobs.batch", labelled(**ours))
    assert selection.left_out_by_nature("persistentvolumeclaims", labelled(**ours)) is None
    pull = {**ours, "container-dr.muster.dev/role": "pull-secret"}
    assert selection.left_out_by_nature("secrets", labelled(**pull)) is None
