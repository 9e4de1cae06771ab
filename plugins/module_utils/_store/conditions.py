# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Does this store keep its word on conditional writes? A lock on one that does not is none."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict, Refused, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store

_WRITERS = 8
# A server that looks first and writes then is wrong only now and then; one round seldom shows it.
_ROUNDS = 6


def check_conditions(store: Store, prefix: str) -> None:
    """Let writers compete for one object below ``prefix`` and raise :class:`Refused` unless exactly one wins.

    Creation and replacement are both tried. The probes' objects are removed again.
    """
    for _round in range(_ROUNDS):
        key = f"{prefix}/probe-{secrets.token_hex(8)}"
        try:
            _exactly_one(store, "create", functools.partial(store.create, key))
            version = store.read(key).version
            _exactly_one(store, "replace", functools.partial(_swap, store, key, version))
        finally:
            with contextlib.suppress(Unavailable):
                store.delete(key)


def _swap(store: Store, key: str, version: str, data: bytes) -> None:
    store.swap(key, data, version)


def _exactly_one(store: Store, verb: str, write: Callable[[bytes], None]) -> None:
    def won(data: bytes) -> bool:
        try:
            write(data)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(max_workers=_WRITERS) as threads:
        winners = sum(threads.map(won, [secrets.token_hex(16).encode() for _writer in range(_WRITERS)]))
    if winners != 1:
        raise Refused(
            "use",
            f"{store.place} for locks",
            f"{winners} of {_WRITERS} writers that competed to {verb} one object succeeded",
            "Use a server with conditional writes (If-None-Match and If-Match).",
        )
