# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What an application has on a Docker host: each container, and each Compose service without one, with its image as
written and what the daemon has of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._docker import compose, selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._oci.resolve import Held
from ansible_collections.muster.container_dr.plugins.module_utils._oci.workloads import Use
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application as plan

_HEX = re.compile(r"^[0-9a-f]{4,64}$")


def uses(engine: Engine, application: Mapping[str, Any], warn: Callable[[str], None]) -> list[Use]:
    """Every container of the application with its image, ordered; whether it runs makes no difference.

    One that is removed meanwhile is left out. A service of its Compose projects that has no container is there as well,
    as far as the projects' files are known.
    """
    found: list[Use] = []
    images: dict[str, JSON | None] = {}
    node = engine.name()
    containers = selection.containers(engine, application, warn, declared=True)
    for listed in containers:
        container = engine.container(str(listed["Id"]))
        if container is None:
            continue
        identity = _full(str(container["Image"]))
        if identity not in images:
            images[identity] = engine.image(identity)
        platform = str((container.get("ImageManifestDescriptor") or {}).get("digest") or "")
        held = _held(identity, images[identity], platform)
        written = str((container.get("Config") or {}).get("Image") or held.image_id)
        found.append(Use(_written(written, held), "", _user(listed), node, held=held))
    found += _idle(engine, application, containers, node, warn)
    return sorted(found, key=lambda use: (use.image, use.used_by))


def _idle(
    engine: Engine, application: Mapping[str, Any], listed: list[JSON], node: str, warn: Callable[[str], None]
) -> Iterator[Use]:
    """What services that have no container would be started from: the daemon's image of that name, else the registry's.

    A service that has one is left to it: its file may have changed since, and what runs counts.
    """
    taken = {(selection.project_of(one), (one.get("Labels") or {}).get(selection.SERVICE)) for one in listed}
    chosen = plan.containers(application).compose_files
    for project in selection.projects(engine, application, listed, warn):
        try:
            services = compose.services(project, warn)
        except MusterError as error:
            if any(entry.project == project.name for entry in chosen):
                raise
            selection.unseen(project.name, str(error), warn)
            continue
        for service in services:
            if (project.name, service.name) not in taken:
                use = _declared(engine, project.name, service, node)
                if use:
                    yield use
                else:
                    warn(
                        f"Service {service.name} of Compose project {project.name} has no image to copy: Compose "
                        "builds it, and has not done so here."
                    )


def _declared(engine: Engine, project: str, service: compose.Service, node: str) -> Use | None:
    """None for a service of which there is no image anywhere, because it was never built."""
    user = f"{project}/services/{service.name}"
    if service.problem:
        return Use(service.image, "", user, node, live=False, problem=service.problem)
    # Compose 1 joined the two by another character.
    for name in (service.image, *([f"{project}_{service.name}"] if service.built else [])):
        image = engine.image(name)
        if image is not None:
            held = _held(_full(str(image["Id"])), image)
            return Use(_written(name, held), "", user, node, live=False, held=held)
    return None if service.built else Use(service.image, "", user, node, live=False)


def _held(identity: str, image: JSON | None, platform: str = "") -> Held:
    about = image or {}
    # Without a tag some versions say "<none>@sha256:...".
    digests = [str(name) for name in about.get("RepoDigests") or [] if not str(name).startswith("<none>")]
    tags = [str(name) for name in about.get("RepoTags") or [] if not str(name).startswith("<none>")]
    return Held(identity, tuple(dict.fromkeys(digests)), tuple(tags), platform, image is not None)


def _written(text: str, held: Held) -> str:
    """The image as written; one that is written by its id, in whatever length, by its whole id."""
    short = text.removeprefix("sha256:")
    tagged = any(name.rpartition(":")[0] == text for name in held.repo_tags)
    return held.image_id if _HEX.match(short) and held.image_id[7:].startswith(short) and not tagged else text


def _user(listed: JSON) -> str:
    labels, name = listed.get("Labels") or {}, selection.name_of(listed)
    project, service = labels.get(selection.PROJECT), labels.get(selection.SERVICE)
    return f"{project}/services/{service}:{name}" if project and service else f"containers/{name}"


def _full(identity: str) -> str:
    """Podman's answers leave the algorithm out."""
    return identity if ":" in identity else f"sha256:{identity}"
