# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The containers of a Docker host that belong to an application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application as plan

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


def name_of(container: Mapping[str, Any]) -> str:
    """A container's own name in Docker's list; links of other containers to it have more parts."""
    names = [str(name).removeprefix("/") for name in container.get("Names") or []]
    return min(names, key=lambda name: name.count("/"), default=str(container.get("Id"))[:12])


def containers(engine: Engine, application: Mapping[str, Any], warn: Callable[[str], None]) -> list[JSON]:
    """The application's containers as Docker lists them, running or not, by name.

    Raises :class:`NotFound`, which names them, for patterns that match nothing.
    """
    wanted = plan.containers(application)
    there = [one for one in engine.containers() if (one.get("Labels") or {}).get(marks.MANAGED_BY) != marks.MANAGER]
    picked: dict[str, JSON] = {}
    idle: list[str] = []
    for option, patterns, text in (
        ("containers", wanted.containers, name_of),
        ("compose_projects", wanted.compose_projects, _project),
    ):
        for pattern in patterns:
            found = [one for one in there if text(one) and fnmatchcase(text(one), pattern)]
            picked.update({str(one["Id"]): one for one in found})
            idle += [] if found else [f"{option} {pattern}"]
    if idle:
        target = f"{', '.join(idle)} of application {wanted.name}"
        reason = f"{engine.place} has no such container, running or not"
        if not application.get("allow_no_match"):
            hint = (
                "Mend the application, point docker.docker_host at the right host, or set application.allow_no_match."
            )
            raise NotFound("find", target, reason, hint)
        warn(f"Nothing matches {target}: {reason}.")
    return sorted(picked.values(), key=name_of)


def _project(container: Mapping[str, Any]) -> str:
    return str((container.get("Labels") or {}).get(PROJECT) or "")
