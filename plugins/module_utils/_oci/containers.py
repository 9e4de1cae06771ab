# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What an application runs on a Docker host: each container with the image as written and what the daemon has of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._oci.resolve import Held
from ansible_collections.muster.container_dr.plugins.module_utils._oci.workloads import Use

_HEX = re.compile(r"^[0-9a-f]{4,64}$")


def uses(engine: Engine, application: Mapping[str, Any], warn: Callable[[str], None]) -> list[Use]:
    """Every container of the application with its image, ordered; whether it runs makes no difference.

    One that is removed meanwhile is left out.
    """
    found: list[Use] = []
    images: dict[str, JSON | None] = {}
    node = engine.name()
    for listed in selection.containers(engine, application, warn):
        container = engine.container(str(listed["Id"]))
        if container is None:
            continue
        identity = _full(str(container["Image"]))
        if identity not in images:
            images[identity] = engine.image(identity)
        held = _held(identity, container, images[identity])
        found.append(Use(_written(container, held), "", _user(listed), node, held=held))
    return sorted(found, key=lambda use: (use.image, use.used_by))


def _held(identity: str, container: JSON, image: JSON | None) -> Held:
    about = image or {}
    # Without a tag some versions say "<none>@sha256:...".
    digests = [str(name) for name in about.get("RepoDigests") or [] if not str(name).startswith("<none>")]
    tags = [str(name) for name in about.get("RepoTags") or [] if not str(name).startswith("<none>")]
    return Held(
        identity,
        tuple(dict.fromkeys(digests)),
        tuple(tags),
        str((container.get("ImageManifestDescriptor") or {}).get("digest") or ""),
        image is not None,
    )


def _written(container: JSON, held: Held) -> str:
    """The image as written; one that is written by its id, in whatever length, by its whole id."""
    text = str((container.get("Config") or {}).get("Image") or held.image_id)
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
