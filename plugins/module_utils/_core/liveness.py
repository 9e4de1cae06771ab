# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether the process that wrote something down can still be going on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock

Holder = dict[str, Any]


def over(holder: Mapping[str, Any] | None, until: str, now: datetime | None = None) -> bool:
    """Whether the run of a process can no longer be going on; ``until`` (RFC 3339) it says so itself.

    On this machine its process is looked for; from elsewhere only the time tells: ``now``, by default this machine's.
    """
    ours = ourselves()
    # Others may have written it.
    if isinstance(holder, Mapping) and ours and all(holder.get(key) == ours[key] for key in ("boot", "namespace")):
        # A process has one run at a time, so what it left is of an earlier one.
        return holder == ours or not _alive(holder)
    return (now or clock.now()) >= clock.parse(until)


def ourselves() -> Holder | None:
    """What tells this process from every other one that ever was; ``None`` where the system does not say.

    The boot of the machine, the namespace of process ids (containers have their own) and the time of its start
    besides, because numbers of processes come back.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        number = int(Path("/proc/self").readlink().name)
        return {"boot": boot, "namespace": namespace, "process": number, "began": _began(number)}
    except (OSError, ValueError, IndexError):
        return None


def _stat(number: int) -> list[str]:
    """What the system says of a process, from its state on; its name, which may hold anything, stands before."""
    return Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _began(number: int) -> str:
    """The start of a process in ticks since boot."""
    return _stat(number)[19]


def _alive(holder: Mapping[str, Any]) -> bool:
    try:
        number = int(holder["process"])
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        # Somebody else's: it exists, and may be the one.
        return True
    try:
        # One that was killed and that nobody has taken note of yet stays in the list.
        return _stat(number)[0] not in "ZX" and _began(number) == holder["began"]
    except (OSError, IndexError, KeyError):
        return True
