# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that fit, stay apart, and sizes as Kubernetes writes them."""

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import quantity
from ansible_collections.muster.container_dr.plugins.module_utils._volume import naming, settings


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("10Gi", 10 << 30),
        ("1500M", 1_500_000_000),
        ("2e9", 2_000_000_000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("0.5Ki", 512),
        ("100m", 0),
        ("7", 7),
        (7, 7),
        (None, 0),
        ("much", 0),
        ("1.2.3", 0),
    ],
)
def test_sizes(given: object, size: int) -> None:
    assert quantity.size(given) == size


def test_names_of_claims_are_unique_and_short() -> None:
    long = "x" * 253
    places = [("run1", "a", "data"), ("run2", "a", "data"), ("run1", "b", "data"), ("run1", "a", long)]
    names = [naming.object_name(*place) for place in places]
    assert len(set(names)) == 4
    assert naming.object_name("run1", "a", long[:-1] + "y") != names[3]
    assert all(len(name) <= 52 and name == name.lower() and name[-1].isalnum() for name in names)


def test_a_claim_and_namespace_do_not_run_into_each_other() -> None:
    assert naming.object_name("r", "a", "b-c") != naming.object_name("r", "a-b", "c")


@pytest.mark.parametrize("name", ["x" * 64, "my shop", "-shop", "Läden"])
def test_names_that_are_no_label_values_stay_apart(name: str) -> None:
    value = naming.label_value(name)
    assert value != naming.label_value(name + "2") and len(value) <= 63 and value[0].isalnum() and value[-1].isalnum()
    assert naming.label_value("shop") == "shop"


def test_hosts_in_the_repository_are_unique_for_site_namespace_and_claim() -> None:
    places = [("east", "a", "data"), ("west", "a", "data"), ("east", "b", "data"), ("east", "a", "logs")]
    assert len({settings.host(*place) for place in places}) == 4
    assert settings.host("east", "shop", "data") == "k8s:east/shop/data"


def test_times_of_the_mover_are_read_and_checked() -> None:
    read = settings.settings({"timeout": "90", "start_timeout": "2m", "image": None})
    assert (read.timeout, read.start_timeout, read.stall_timeout, read.image) == (90, 120, 120, "restic/restic:0.19.1")
    with pytest.raises(InvalidInput, match=r"mover\.timeout"):
        settings.settings({"timeout": "0s"})
