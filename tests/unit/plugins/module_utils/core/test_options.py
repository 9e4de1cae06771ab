# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    Options,
    repository,
)


def test_parts_add_up_with_their_rules():
    added = CLUSTER + PROGRESS + Options(arguments={"a": {"type": "str"}}, required_if=[("a", "x", ["context"])])
    assert {"kubeconfig", "progress_file", "a"} <= added.arguments.keys()
    assert added.module_arguments()["required_if"] == [["a", "x", ["context"]]]


def test_an_option_that_two_parts_define_is_a_mistake():
    with pytest.raises(ValueError, match="repository"):
        repository() + repository()


def test_check_mode_holds_only_where_every_part_supports_it():
    assert not (CLUSTER + Options(supports_check_mode=False)).supports_check_mode
