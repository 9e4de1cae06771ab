# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Differences in words: what is said of a field, and what is never said of a Secret."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import difference, kinds


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, "spec.replicas: 2 -> 3"),
        ({"spec": {}}, {"spec": {"replicas": 3}}, "spec.replicas: added 3"),
        ({"spec": {"replicas": 2}}, {"spec": {}}, "spec.replicas: removed 2"),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "v": 2}]}, "a[x].v: 1 -> 2"),
    ],
)
def test_a_line_names_the_field_and_both_values(before: Any, after: Any, line: str) -> None:
    assert difference.words("deployments.apps", before, after) == [line]


def test_a_field_of_an_annotation_is_shown_for_what_is_no_secret() -> None:
    before, after = ({"metadata": {"annotations": {"note": word}}} for word in ("a", "b"))
    assert difference.words("configmaps", before, after) == ['metadata.annotations.note: "a" -> "b"']


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_nothing_of_a_secrets_data_is_said(field: str) -> None:
    for before, after in (({}, {field: {"p": "canary"}}), ({field: {"p": "x"}}, {field: {"p": "canary"}})):
        for pair in ((before, after), (after, before)):
            assert "canary" not in str(difference.words("secrets", *pair))


@pytest.mark.parametrize("name", [kinds.LAST_APPLIED, "reflector.example.com/copy"])
def test_nothing_of_a_secrets_annotations_is_said(name: str) -> None:
    before, after = ({"metadata": {"annotations": {name: word}}} for word in ("old", "canary"))
    assert difference.words("secrets", before, after) == [f"metadata.annotations.{name}: changed"]
    assert "canary" not in str(difference.words("secrets", {"metadata": {}}, after))
