# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a restore does with objects that the target has already: one policy for all, others for chosen kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds


class Existing(str, Enum):
    """What to do with an object that is at the target already and differs."""

    KEEP = "keep"
    UPDATE = "update"
    MERGE = "merge"
    RECREATE = "recreate"
    FAIL = "fail"


@dataclass(frozen=True)
class Policies:
    """``default`` for all kinds but those that a glob names; of several globs that match, the first one holds.

    Namespaces lose nothing to a default, only to a policy that is theirs.
    """

    default: Existing = Existing.FAIL
    by_kind: tuple[tuple[str, Existing], ...] = ()

    @classmethod
    def of(cls, default: str, by_kind: Mapping[str, str]) -> Policies:
        """From the module's options. Raises :class:`InvalidInput` for a word that is no policy."""
        words = ", ".join(one.value for one in Existing)
        chosen = []
        for pattern, word in by_kind.items():
            if word not in {one.value for one in Existing}:
                raise InvalidInput(
                    "use", f"existing_kinds[{pattern!r}]", f"{word!r} is no such policy", f"Use one of {words}."
                )
            chosen.append((str(pattern), Existing(word)))
        return cls(Existing(default), tuple(chosen))

    def named(self, key: str) -> Existing | None:
        """The policy that was chosen for this very kind, if one was."""
        for pattern, policy in self.by_kind:
            if kinds.matches(key, [pattern]):
                return policy
        return None

    def __call__(self, key: str) -> Existing:
        policy = self.named(key) or self.default
        if key == kinds.NAMESPACES and policy in (Existing.UPDATE, Existing.RECREATE) and self.named(key) is None:
            # Whoever runs the target puts labels there, Pod Security levels for example, that the point cannot know.
            return Existing.MERGE
        return policy
