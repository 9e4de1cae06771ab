# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What our objects in a cluster are called."""

from __future__ import annotations

import hashlib
import re
import secrets

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks

MANAGED_BY = {marks.MANAGED_BY: marks.MANAGER}


def new_run() -> str:
    """An id for one run: sorts by time and fits into a label."""
    return clock.now().strftime("%Y%m%dt%H%M%S") + "-" + secrets.token_hex(3)


def labels(run: str, application: str, role: str) -> dict[str, str]:
    """Labels of everything we create; the next run finds by them what a killed one left."""
    return {**MANAGED_BY, marks.RUN: run, marks.APPLICATION: label_value(application), marks.ROLE: role}


def label_value(text: str) -> str:
    """``text`` as a label value; names that do not fit get a digest so that they stay apart."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', text)[:40].strip('-') or 'x'}-{digest}"


def object_name(run: str, namespace: str, claim: str) -> str:
    """A name of at most 52 characters, unique for a claim in a run; pods made from it stay below 63."""
    digest = hashlib.sha256(f"{run}/{namespace}/{claim}".encode()).hexdigest()[:10]
    slug = re.sub(r"[^a-z0-9]+", "-", claim.lower())[:32].strip("-") or "volume"
    return f"muster-{slug}-{digest}"
