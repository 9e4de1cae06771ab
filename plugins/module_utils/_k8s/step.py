# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One object of a restore: what is to happen to it and why, and afterwards what did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import objects, order
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.ownership import OURSELVES, Author
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.policy import Existing
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.references import Reference


class Action(str, Enum):
    """What a restore does with an object."""

    CREATE = "create"
    UPDATE = "update"
    RECREATE = "recreate"
    KEEP = "keep"
    SKIP = "skip"
    BLOCKED = "blocked"


WRITES = frozenset({Action.CREATE, Action.UPDATE, Action.RECREATE})
# Why an object is held back after another one failed.
NOT_REACHED = "not reached: fail_fast"


@dataclass(slots=True)
class Step:
    """A plan's entry.

    ``text`` is what the target shall hold, as JSON, because tens of thousands of parsed objects would need ten times
    the memory; ``live`` what it holds now, of equal objects only the metadata. ``managed`` is the captured
    ``managedFields`` as JSON.

    ``sure`` says where the plan's word comes from: ``dry_run`` (the server was asked), ``seen`` (by comparison with
    what is there), ``schema`` (the server takes such an object; its namespace does not exist yet), ``assumed`` (its
    API does not exist yet either). ``concerns`` says in words what will go wrong after the object is written.

    Of updates, ``merges`` are those that take nothing away, ``only_owners`` those of equal objects whose fields have
    to be given back, ``only_links`` those that link to owners, ``only_status`` those of objects that are equal but for
    a status that is ``status_due``. When a step that ``orphans`` is recreated, what
    belongs to it stays, because it is in the plan, too. One that ``has_status`` gets it back by a request of its own.
    One that ``awaits`` an APIService of that name is of an API which answers only once that is there. ``captured_in``
    are the captured namespaces that the object is from: several, where it stands for equal ones too. ``unserved`` says
    why it cannot be, unless its definition, which is there, is updated by this restore and brings its version.
    """

    identity: objects.Identity
    action: Action
    reason: str
    wave: order.Wave
    text: str | None = None
    resource: Resource | None = None
    live: JSON | None = None
    source_uid: str = ""
    owners: list[JSON] = field(default_factory=list)
    references: tuple[Reference, ...] = ()
    transforms: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    concerns: list[str] = field(default_factory=list)
    author: Author = OURSELVES
    managed: str = "[]"
    policy: Existing = Existing.FAIL
    ours: bool = False
    merges: bool = False
    only_owners: bool = False
    only_links: bool = False
    orphans: bool = False
    has_status: bool = False
    awaits: str = ""
    captured_in: tuple[str, ...] = ()
    unserved: str = ""
    status_due: bool = False
    only_status: bool = False
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
    def only_part(self) -> bool:
        """Whether an update leaves alone what the object itself says."""
        return self.only_owners or self.only_links or self.only_status

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
        """The desired object, new each time."""
        if self.text is None:
            raise ValueError(f"{self.identity} is not to be written")
        obj: JSON = json.loads(self.text)
        return obj

    @property
    def managed_fields(self) -> list[JSON]:
        """Who owned which field when the object was captured."""
        entries: list[JSON] = json.loads(self.managed)
        return entries

    @property
    def unchanged(self) -> bool:
        """Whether it is there as it shall be and there is nothing to be said of it."""
        return self.action is Action.KEEP and not (self.transforms or self.differs or self.concerns)

    def decide(self, action: Action, reason: str, sure: str | None = None) -> None:
        self.action, self.reason = action, reason
        if sure is not None:
            self.sure = sure

    def result(self, *, planned: bool) -> dict[str, Any]:
        """The entry of the module's result."""
        writes = self.action in WRITES
        return {
            "name": str(self.identity),
            "action": self.action.value,
            "reason": self.reason,
            "transforms": self.transforms,
            "differs": self.differs,
            "concerns": self.concerns,
            "sure": self.sure,
            "changed": writes if planned else self.changed,
            "failed": self.failed,
            "skipped": self.action in (Action.SKIP, Action.KEEP),
            "msg": self.msg or self.reason,
        }


def counts(steps: Iterable[Step]) -> dict[str, int]:
    """How many objects per action, every action named; ``failed`` counts writes that did not succeed."""
    found: Counter[Action] = Counter()
    failed = 0
    for step in steps:
        found[step.action] += 1
        failed += step.failed
    return {**{action.value: found.get(action, 0) for action in Action}, "failed": failed}
