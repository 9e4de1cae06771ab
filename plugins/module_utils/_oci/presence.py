# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which images a registry does not have, asked with one small request for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci import connections
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference

# A plan is not worth the patience of a copy.
_ATTEMPTS = 2


def missing(registry: Mapping[str, Any], images: Sequence[str], workers: int) -> tuple[set[str], dict[str, str]]:
    """Which of the images (``host/repository@digest``, all of that registry) it does not have.

    The second part says of which nothing is known, and why. Where the registry does not answer for the first image it
    is not asked for the others.
    """
    wanted = sorted(set(images))
    if not wanted:
        return set(), {}
    try:
        registries = connections.of_options([registry], Keyring(), attempts=_ATTEMPTS)
    except MusterError as error:
        return set(), dict.fromkeys(wanted, error.reason)

    def held(image: str) -> bool:
        reference = Reference.parse(image)
        if reference.digest is None:
            raise InvalidInput("look for", f"image {image}", "it is not named by its digest")
        return registries.at(reference.host).has_manifest(reference.repository, reference.digest)

    try:
        outcomes = pool.each(wanted[:1], held)
        first = outcomes[0].error
        if not isinstance(first, Unavailable):
            outcomes += pool.each(wanted[1:], held, workers=workers)
    finally:
        registries.close()
    absent: set[str] = set()
    unknown: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.value is False:
            absent.add(outcome.item)
        elif outcome.error is not None:
            if not isinstance(outcome.error, MusterError):
                raise outcome.error
            unknown[outcome.item] = outcome.error.reason
    if isinstance(first, Unavailable):
        unknown = dict.fromkeys(wanted, first.reason)
    return absent, unknown
