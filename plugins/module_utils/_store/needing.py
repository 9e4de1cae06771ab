# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the recovery points in a store need of a repository."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import forgetting, recovery_point, snapshots
from ansible_collections.muster.container_dr.plugins.module_utils._plan.recovery_point import PointId
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Sealed, survey
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_WORKERS = 8


def points(store: Store) -> tuple[list[forgetting.Point], set[str]]:
    """The sealed points of all applications, in the order of their keys, and the ids of those whose documents are lost.

    Raises :class:`Corrupt` for one that cannot be read, because nobody knows what it needs.
    """

    def read(one: Sealed) -> tuple[forgetting.Point, str]:
        try:
            document = recovery_point.decode(store.get(one.key), one.id, one.application)
            needs = snapshots.needs(document)
        except (Corrupt, InvalidInput) as error:
            raise Corrupt(
                "decide",
                "what the repository may forget",
                f"{one.key} in {store.place} cannot be read ({error.reason}), so nobody knows what it needs",
                "Mend or remove that recovery point first.",
            ) from None
        return forgetting.Point(one.id, one.application, needs, one.expired), str(document.get("parent") or "")

    found, lost = survey(store)
    known = pool.values(pool.each(found, read, workers=_WORKERS, fail_fast=True))
    return [point for point, _parent in known], lost | orphans((point.id, parent) for point, parent in known)


def orphans(points: Iterable[tuple[str, str]]) -> set[str]:
    """Parents that are gone, from pairs of a point and its parent.

    The oldest point of an application has outlived its parent, where somebody tidied up.
    """
    pairs = sorted(points)
    known = {point for point, _parent in pairs}
    applications = {point: PointId.parse(point).application for point in known}
    oldest = {applications[point]: point for point, _parent in reversed(pairs)}
    return {
        parent for point, parent in pairs if parent and parent not in known and oldest[applications[point]] != point
    }
