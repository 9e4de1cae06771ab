"""What the bed has to remember between its commands (not secret)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from .places import Bed


@dataclass
class Settings:
    docker_host: str | None = None
    private: bool = False
    block: str | None = None
    nodes: int = 1
    firewall: dict[str, bool] = field(default_factory=lambda: {"east": True, "west": True})
    # Faults in force, newest last: [verb, site, *what]
    faults: list[list[str]] = field(default_factory=list)
    # Kernel settings as they were before the bed raised them
    sysctls: dict[str, str] = field(default_factory=dict)


def load(bed: Bed) -> Settings:
    """Read the settings; a new bed has the defaults."""
    file = bed.work / "settings.json"
    if not file.exists():
        return Settings()
    return Settings(**json.loads(file.read_text()))


def save(bed: Bed, settings: Settings) -> None:
    bed.work.mkdir(parents=True, exist_ok=True)
    part = bed.work / "settings.json.part"
    part.write_text(json.dumps(asdict(settings), indent=2) + "\n")
    part.replace(bed.work / "settings.json")
