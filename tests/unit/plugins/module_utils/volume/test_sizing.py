# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._volume import sizing

MIB = 1 << 20


def taken(host: str, files: int | None, size: int | None) -> Snapshot:
    return Snapshot("i", "t", "2026-01-01T00:00:00Z", host, files=files, bytes=size)


# Peak RSS in MiB of restic 0.19.1 on two cores; see docs/performance.md.
@pytest.mark.parametrize(
    ("files", "blobs", "peak"),
    [
        (1_000, 2_000, 70),
        (50_000, 0, 179),
        (50_000, 50_000, 195),
        (200_000, 200_000, 471),
        (1_000_000, 0, 556),
        (1_000, 200_000, 140),
    ],
)
def test_what_was_measured_fits_and_is_not_far_exceeded(files: int, blobs: int, peak: int) -> None:
    asked = sizing.request(files, blobs) // MIB
    assert peak <= asked <= 3 * peak


def test_a_volume_that_was_never_seen_may_have_many_files() -> None:
    assert sizing.request(None, 0) == sizing.request(100_000, 0)
    assert sizing.quantity(sizing.request(0, 0)) == "128Mi" and sizing.quantity(MIB + 1) == "2Mi"


def test_blobs_are_counted_once_for_a_host_and_by_the_mib_for_large_files() -> None:
    snapshots = [taken("a", 1000, 5 * MIB), taken("a", 10, 1), taken("b", 1, 1 << 40), taken("c", None, None)]
    assert sizing.blobs(snapshots) == 1005 + 1 + (1 << 20)


def test_many_small_files_take_longer_than_one_large_one() -> None:
    assert sizing.work(1_000_000, 100 * MIB) > sizing.work(1, 2 << 30) > sizing.work(None, 1 << 30)
