# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The containers of a Docker host that belong to an application, and its Compose projects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._docker import compose
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application as plan

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
_FILES = f"{PROJECT}.config_files"
_ENV_FILES = f"{PROJECT}.environment_file"
_DIRECTORY = f"{PROJECT}.working_dir"


def name_of(container: Mapping[str, Any]) -> str:
    """A container's own name in Docker's list; links of other containers to it have more parts."""
    names = [str(name).removeprefix("/") for name in container.get("Names") or []]
    return min(names, key=lambda name: name.count("/"), default=str(container.get("Id"))[:12])


def containers(
    engine: Engine, application: Mapping[str, Any], warn: Callable[[str], None], *, declared: bool = False
) -> list[JSON]:
    """The application's containers as Docker lists them, running or not, by name.

    Raises :class:`NotFound`, which names them, for patterns that match nothing. With ``declared`` a Compose project
    whose files the application names needs no container.
    """
    wanted = plan.containers(application)
    there = [one for one in engine.containers() if (one.get("Labels") or {}).get(marks.MANAGED_BY) != marks.MANAGER]
    picked: dict[str, JSON] = {}
    idle: list[str] = []
    named = [entry.project for entry in wanted.compose_files]
    for option, patterns, text in (
        ("containers", wanted.containers, name_of),
        ("compose_projects", wanted.projects, project_of),
    ):
        for pattern in patterns:
            found = [one for one in there if text(one) and fnmatchcase(text(one), pattern)]
            picked.update({str(one["Id"]): one for one in found})
            excused = declared and text is project_of and any(fnmatchcase(name, pattern) for name in named)
            idle += [] if found or excused else [f"{option} {pattern}"]
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


def project_of(container: Mapping[str, Any]) -> str:
    """The Compose project that a container belongs to; empty for none."""
    return str((container.get("Labels") or {}).get(PROJECT) or "")


def projects(
    engine: Engine, application: Mapping[str, Any], listed: Sequence[Mapping[str, Any]], warn: Callable[[str], None]
) -> list[compose.Project]:
    """The application's Compose projects with their files, as it names them, else as the labels of ``listed`` do.

    Warns of those whose files are not known or not on this machine.
    """
    wanted = plan.containers(application)
    named = {entry.project: entry for entry in wanted.compose_files}
    found = {project_of(one) for one in listed}
    found = {name for name in found if any(fnmatchcase(name, pattern) for pattern in wanted.projects)}
    result: list[compose.Project] = []
    for name in sorted({*found, *named} - {""}):
        if name in named:
            entry = named[name]
            files, env_files = (tuple(map(Path, paths)) for paths in (entry.files, entry.env_files))
            if files:
                result.append(compose.Project(name, files, files[0].parent, env_files, entry.environment))
            continue
        # Compose may have been told other files from one time to the next.
        newest = max((one for one in listed if project_of(one) == name), key=lambda one: int(one.get("Created") or 0))
        labels = newest.get("Labels") or {}
        directory = Path(str(labels.get(_DIRECTORY) or "/"))
        files, env_files = (_paths(directory, labels.get(key)) for key in (_FILES, _ENV_FILES))
        if not engine.is_here:
            unseen(name, f"{engine.place} may be on another machine", warn)
        elif not files:
            unseen(name, "the labels of its containers name no files", warn)
        else:
            result.append(compose.Project(name, files, directory, env_files))
    return result


def unseen(project: str, reason: str, warn: Callable[[str], None]) -> None:
    """Tell that a project may have services which are not known."""
    warn(
        f"Services of Compose project {project} that have no container, and their images, are not seen: {reason}. Name "
        "its files, as they are on the machine of this task, in application.compose_files."
    )


def _paths(directory: Path, label: Any) -> tuple[Path, ...]:
    return tuple(directory / part for part in str(label or "").split(",") if part)
