# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery points in a store that is a directory, as they lie there after sealing and expiry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Catalogued:
    """``root`` is the store."""

    root: Path

    def seal(
        self, point: str, *, objects: tuple[str, str] | None = None, volumes: Sequence[tuple[str, str, str]] = ()
    ) -> Path:
        """Write the document of a point with (id, tree) of its objects and (id, tree, host) of its volumes."""
        value: dict[str, Any] = {
            "format": "muster/recovery-point/v1",
            "id": point,
            "application": point.split("-")[1],
            "site": "east",
            "epoch": 1,
            "sealed": "2026-01-01T00:00:01Z",
            "consistency": {"point": "2026-01-01T00:00:00Z", "mode": "live"},
            "objects": {"snapshot": dict(zip(("id", "tree"), objects, strict=True))} if objects else None,
            "volumes": [dict(zip(("snapshot", "tree", "host"), volume, strict=True)) for volume in volumes],
            "images": [],
        }
        path = self.root / "applications" / value["application"] / "points" / f"{point}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    def expire(self, point: str) -> None:
        folder = self.root / "applications" / point.split("-")[1] / "facts" / point
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "20260201T000000000Z-expired.json").write_text("{}", encoding="utf-8")

    def records(self) -> list[dict[str, Any]]:
        """What maintenances have left, oldest first."""
        files = sorted(path for path in self.root.glob("maintenance/*/*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]
