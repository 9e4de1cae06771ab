# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One object of a restore: what is to happen to it and why, and afterwards what did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects, order
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import FIELD_MANAGER, JSON, Resource


class Action(str, Enum):
    """What a restore does with an object."""

    CREATE = "create"
    UPDATE = "update"
    RECREATE = "recreate"
    KEEP = "keep"
    SKIP = "skip"
    BLOCKED = "blocked"


WRITES = frozenset({Action.CREATE, Action.UPDATE, Action.RECREATE})


@dataclass(frozen=True)
class Author:
    """The field manager under whose name an object is written; ``applies``: by server-side apply."""

    manager: str = FIELD_MANAGER
    applies: bool = False


@dataclass
class Step:
    """A plan's entry. ``obj`` is what the target shall hold, ``live`` what it holds now.

    ``sure`` says where the plan's word comes from: ``dry_run`` (the server was asked), ``seen`` (by comparison with
    what is there), ``assumed`` (its namespace or its API does not exist yet).
    """

    identity: objects.Identity
    action: Action
    reason: str
    wave: order.Wave
    obj: JSON | None = None
    resource: Resource | None = None
    live: JSON | None = None
    source_uid: str = ""
    owners: list[JSON] = field(default_factory=list)
    transforms: list[str] = field(default_factory=list)
    author: Author = Author()
    ours: bool = False
    sure: str = "assumed"
    depth: int = 0
    changed: bool = False
    failed: bool = False
    msg: str = ""

    @property
    def key(self) -> str:
        return self.identity.key

    @property
    def path(self) -> str:
        return self._served.path(self.identity.namespace or None, self.identity.name)

    @property
    def collection(self) -> str:
        return self._served.path(self.identity.namespace or None)

    @property
    def _served(self) -> Resource:
        if self.resource is None:
            raise ValueError(f"{self.identity} has no resource at the target")
        return self.resource

    @property
    def body(self) -> JSON:
        """A copy of the desired object, to be sent."""
        if self.obj is None:
            raise ValueError(f"{self.identity} is not to be written")
        return objects.copied(self.obj)

    def result(self, *, planned: bool) -> dict[str, Any]:
        """The entry of the module's result."""
        writes = self.action in WRITES
        return {
            "name": str(self.identity),
            "action": self.action.value,
            "reason": self.reason,
            "transforms": self.transforms,
            "sure": self.sure,
            "changed": writes if planned else self.changed,
            "failed": self.failed,
            "skipped": self.action in (Action.SKIP, Action.KEEP),
            "msg": self.msg or self.reason,
        }


def counts(steps: Iterable[Step]) -> dict[str, int]:
    """How many objects per action, every action named; ``failed`` counts writes that did not succeed."""
    found = Counter(step.action for step in steps)
    return {**{action.value: found.get(action, 0) for action in Action}, "failed": sum(step.failed for step in steps)}


# Managers of the control plane: what they own is theirs again as soon as they see the object.
_CONTROLLERS = frozenset(
    {"kube-controller-manager", "kubelet", "kube-scheduler", "kube-apiserver", "cloud-controller-manager"}
)


def former_author(obj: JSON) -> Author:
    """Who wrote the object before: the one sensible manager, or the one that owns its content; else ourselves."""
    entries = [
        entry
        for entry in (obj.get("metadata") or {}).get("managedFields") or []
        if not entry.get("subresource") and entry.get("manager") and entry["manager"] not in _CONTROLLERS
    ]
    content = [entry for entry in entries if _owns_content(entry)]
    candidates = content or entries
    if not candidates:
        return Author()
    applied = [entry for entry in candidates if entry.get("operation") == "Apply"]
    chosen = (applied or candidates)[0]
    return Author(str(chosen["manager"]), chosen.get("operation") == "Apply")


def _owns_content(entry: JSON) -> bool:
    return bool(entry.get("fieldsV1", {}).keys() - {"f:metadata", "f:status"})
