# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How much memory a mover asks for: what restic was measured to take (docs/performance.md), with room above it."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Snapshot

_MIB = 1 << 20
# restic 0.19 takes 67 MiB for a handful of files.
_BASE = 128 * _MIB
# Of a file of its volume: it is kept in mind while its folder is read, or until all of it is restored.
_FILE = 1536
# Of a blob in the repository's index, all of which is in memory whatever the volume.
_BLOB = 320
# As many bytes as restic reads in the time that it takes for a file, between 16 KiB (first) and 300 KiB (unchanged).
_FILE_AS_BYTES = 64 * 1024
# So many files a volume may have that was never exported.
_UNKNOWN = 100_000


def request(files: int | None, blobs: int) -> int:
    """Bytes for a mover of a volume with so many files, on a repository with so many blobs."""
    return _BASE + _FILE * (_UNKNOWN if files is None else files) + _BLOB * blobs


def blobs(snapshots: Iterable[Snapshot]) -> int:
    """About how many blobs a repository has: of each host the largest snapshot's, one a file and one a MiB."""
    most: dict[str, int] = {}
    for snapshot in snapshots:
        count = (snapshot.files or 0) + (snapshot.bytes or 0) // _MIB
        most[snapshot.host] = max(most.get(snapshot.host, 0), count)
    return sum(most.values())


def work(files: int | None, size: int) -> int:
    """How long a volume takes, against others: its bytes, to which its files are added as bytes."""
    return size + _FILE_AS_BYTES * (files or 0)


def quantity(size: int) -> str:
    """Bytes as a Kubernetes quantity of whole MiB."""
    return f"{-(-size // _MIB)}Mi"
