# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of the module ``repository``: present or checked."""

from __future__ import annotations

from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository


def ensure(request: Request) -> dict[str, Any]:
    """Create the repository where it is missing (``present``), or check its structure (``checked``)."""
    repository = Repository.open(request.params["repository"])
    result: dict[str, Any] = {"url": repository.url, "restic": repository.version, "changed": False}
    if request.params["state"] == "checked":
        result["id"] = repository.id
        repository.check(read_data=request.params.get("read_data"))
        return {**result, "msg": f"The repository {repository.id} has no errors."}
    if repository.exists():
        return {**result, "id": repository.id, "msg": f"The repository {repository.id} is there."}
    if repository.pinned:
        raise NotFound(
            "use",
            repository.target,
            f"there is no repository at this address, but id {repository.pinned} is pinned",
            "Correct the URL or bring the repository back. Leave the id out to create a new one.",
        )
    if request.check_mode:
        return {**result, "changed": True, "id": None, "msg": "The repository would be created."}
    identity = repository.init()
    return {
        **result,
        "changed": True,
        "id": identity,
        "msg": f"The repository {identity} was created; pin this id in repository.id.",
    }
