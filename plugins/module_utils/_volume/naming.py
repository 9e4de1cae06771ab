# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What our objects in a cluster are called, and how sizes are written there."""

from __future__ import annotations

import hashlib
import re
import secrets
from decimal import Decimal

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock

PREFIX = "container-dr.muster.dev/"
RUN = f"{PREFIX}run"
APPLICATION = f"{PREFIX}application"
ROLE = f"{PREFIX}role"
MOVER = f"{PREFIX}mover"
# On claims that we restored: which snapshot's tree they hold, and whether all of it.
TREE = f"{PREFIX}tree"
POINT = f"{PREFIX}point"
RESTORE = f"{PREFIX}restore"
MANAGED_BY = {"app.kubernetes.io/managed-by": "muster.container_dr"}
NAMESPACE = "muster-container-dr"

_UNITS = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}
_QUANTITY = re.compile(r"^(\d+(?:\.\d*)?|\.\d+)(?:([a-zA-Z]{1,2})|[eE]([+-]?\d+))?$")


def new_run() -> str:
    """An id for one run: sorts by time and fits into a label."""
    return clock.now().strftime("%Y%m%dt%H%M%S") + "-" + secrets.token_hex(3)


def labels(run: str, application: str, role: str) -> dict[str, str]:
    """Labels of everything we create; the next run finds by them what a killed one left."""
    return {**MANAGED_BY, RUN: run, APPLICATION: label_value(application), ROLE: role}


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


def size(quantity: object) -> int:
    """Bytes of a quantity such as ``10Gi``, ``1500M``, ``2e9``; 0 for nothing or nonsense."""
    match = _QUANTITY.match(str(quantity or "").strip())
    if not match:
        return 0
    number, unit, exponent = match.groups()
    factor = Decimal(10) ** int(exponent) if exponent else Decimal(str(_UNITS.get(unit or "", 0)))
    return int(Decimal(number) * factor)
