# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository whose snapshots are copies of folders; ids and trees are digests of the content."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Backup, Snapshot


@dataclass
class FolderRepository:
    """Offers what the engine asks of :class:`_restic.repository.Repository` for whole folders."""

    place: Path
    stored: list[Snapshot] = field(default_factory=list)

    def open(self, _options: Any) -> FolderRepository:
        return self

    def identify(self) -> str:
        return "f" * 64

    def backup_directory(self, path: Path, *, host: str, tags: Sequence[str], group_by: str) -> Backup:
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        digest = hashlib.sha256()
        for file in files:
            digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
        identity = hashlib.sha256(f"{len(self.stored)}".encode()).hexdigest()
        shutil.copytree(path, self.place / identity)
        time = f"2026-01-01T00:00:0{len(self.stored)}Z"
        self.stored.append(Snapshot(identity, digest.hexdigest(), time, host, tuple(tags)))
        size = sum(file.stat().st_size for file in files)
        return Backup(identity, digest.hexdigest(), len(files), size, size, 0.1)

    def snapshots(self, *, host: str | None = None, tags: Sequence[str] | None = None) -> list[Snapshot]:
        return [one for one in self.stored if (host is None or one.host == host) and set(tags or ()) <= set(one.tags)]

    def restore(self, snapshot: str, target: Path) -> None:
        shutil.copytree(self.place / snapshot, target, dirs_exist_ok=True)
