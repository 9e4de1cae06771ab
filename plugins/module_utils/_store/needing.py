# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the recovery points in a store need of a repository."""

from __future__ import annotations

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import forgetting, recovery_point
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Sealed, sealed
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_WORKERS = 8


def points(store: Store) -> list[forgetting.Point]:
    """The sealed points of all applications, in the order of their keys.

    Raises :class:`Corrupt` for one that cannot be read, because nobody knows what it needs.
    """

    def read(one: Sealed) -> forgetting.Point:
        try:
            document = recovery_point.decode(store.get(one.key), one.id, one.application)
            needs = forgetting.needs(document)
        except (Corrupt, InvalidInput) as error:
            raise Corrupt(
                "decide",
                "what the repository may forget",
                f"{one.key} in {store.place} cannot be read ({error.reason}), so nobody knows what it needs",
                "Mend or remove that recovery point first.",
            ) from None
        return forgetting.Point(one.id, one.application, needs, one.expired)

    return pool.values(pool.each(sealed(store), read, workers=_WORKERS, fail_fast=True))
