# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Third-party packages that the engine needs, and whether they are there."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import NotFound


class Package:
    """A package that is imported when something of it is first used.

    Some take half a second, which is more than many a task has to do, and hardly a task needs all of them. ``parts``
    are modules of it that do not come by themselves. A :class:`Requirement` says whether it is there.
    """

    def __init__(self, name: str, *parts: str) -> None:
        self._name, self._parts = name, parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    @cached_property
    def _module(self) -> ModuleType:
        for part in self._parts:
            import_module(f"{self._name}.{part}")
        return import_module(self._name)


@dataclass(frozen=True)
class Requirement:
    """A third-party package by the name under which it is installed, and the modules of it that are used."""

    package: str
    modules: tuple[str, ...]

    @cached_property
    def import_error(self) -> str | None:
        """The traceback of its import where that fails."""
        try:
            for module in self.modules:
                import_module(module)
        except ImportError:
            return traceback.format_exc()
        return None

    def check(self, target: str) -> None:
        """Raise :class:`NotFound` where the package is missing, without which ``target`` cannot be used."""
        if self.import_error is not None:
            raise NotFound("use", target, missing_required_lib(self.package))
