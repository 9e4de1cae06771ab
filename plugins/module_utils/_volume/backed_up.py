# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is known of a volume after its backup: as the repository has it, whatever the mover said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Snapshot

JSON = dict[str, Any]
UNKNOWN: JSON = {
    "consistency_point": None,
    "snapshot": None,
    "tree": None,
    "host": None,
    "files": None,
    "bytes": None,
    "bytes_added": None,
    "seconds": None,
    "complete": False,
    "changed": False,
    "failed": False,
    "skipped": False,
    "group": None,
    "msg": "",
}


def entry(find: Callable[[str], Snapshot], volume: str, host: str, summary: JSON) -> JSON:
    """What a volume's entry says of its snapshot; ``consistency_point`` is when restic began to read.

    Raises :class:`Incomplete` or :class:`NotFound` where there is no such snapshot: then it was not backed up.
    """
    identity = str(summary.get("snapshot_id") or "")
    if not identity:
        raise Incomplete("export", f"volume {volume}", "restic named no snapshot", "Run it again.")
    found = find(identity)
    if found.host != host:
        raise Incomplete("export", f"volume {volume}", f"its snapshot is named {found.host}", "Run it again.")
    started = summary.get("backup_start")
    return {
        "consistency_point": clock.iso(clock.parse(str(started or found.time))),
        "snapshot": found.id,
        "tree": found.tree,
        "files": int(summary.get("total_files_processed", 0)),
        "bytes": int(summary.get("total_bytes_processed", 0)),
        "bytes_added": int(summary.get("data_added_packed") or 0),
        "complete": True,
        "changed": True,
        "msg": "",
    }
