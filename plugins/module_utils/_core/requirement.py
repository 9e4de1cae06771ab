# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Third-party packages that the engine needs, and whether they are there."""

from __future__ import annotations

from dataclasses import dataclass

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound


@dataclass(frozen=True)
class Requirement:
    """A third-party package, with the traceback of its import where that failed."""

    package: str
    import_error: str | None

    def check(self, target: str) -> None:
        """Raise :class:`NotFound` where the package is missing, without which ``target`` cannot be used."""
        if self.import_error is not None:
            raise NotFound("use", target, missing_required_lib(self.package))
