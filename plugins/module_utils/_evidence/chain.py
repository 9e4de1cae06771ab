# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A chain of events: each line names the digest of the line before, so that none can be taken out or changed alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt

_FIRST = "sha256:" + "0" * 64


def digest(data: bytes) -> str:
    """``sha256:<hex>``"""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def chain(events: Iterable[dict[str, Any]]) -> bytes:
    """JSON lines in order; each event gets ``seq`` from 1 and ``previous``, the digest of the line before it."""
    lines: list[bytes] = []
    previous = _FIRST
    for number, event in enumerate(events, start=1):
        line = json.dumps(
            {"seq": number, "previous": previous, **event}, sort_keys=True, separators=(",", ":")
        ).encode()
        lines.append(line)
        previous = digest(line)
    return b"".join(line + b"\n" for line in lines)


def verify(data: bytes) -> list[dict[str, Any]]:
    """The events of a chain; :class:`Corrupt` names the first line that does not follow from the one before."""
    events: list[dict[str, Any]] = []
    previous = _FIRST
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or event.get("seq") != number or event.get("previous") != previous:
            raise Corrupt(
                "verify",
                f"event {number} of the evidence",
                "it does not follow from the event before it",
                "Somebody changed this record; do not rely on it.",
            )
        events.append(event)
        previous = digest(line)
    return events
