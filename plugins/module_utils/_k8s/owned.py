# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What belongs to named owners, over any number of steps: an operator's resource, its workloads, their Secrets."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON


@dataclass
class Owned:
    """The uids of named owners and of all that they own; filled from metadata before the objects are read."""

    uids: set[str] = field(default_factory=set)
    _owners: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def see(self, metadata: JSON, *, named: bool) -> None:
        """Note one object of any kind; threads may call it at once."""
        uid = str(metadata.get("uid"))
        if named:
            self.uids.add(uid)
        owners = metadata.get("ownerReferences")
        if owners:
            self._owners[uid] = tuple(str(owner.get("uid")) for owner in owners)

    def settle(self) -> None:
        """Follow the references from owner to owned until nothing new is found."""
        children: dict[str, list[str]] = {}
        for uid, owners in self._owners.items():
            for owner in owners:
                children.setdefault(owner, []).append(uid)
        waiting = list(self.uids)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in self.uids:
                    self.uids.add(child)
                    waiting.append(child)
        self._owners.clear()

    def has(self, metadata: JSON) -> bool:
        """Whether the object is an owner that was named or owned by one; also one made after :meth:`settle`."""
        if metadata.get("uid") in self.uids:
            return True
        return any(owner.get("uid") in self.uids for owner in metadata.get("ownerReferences") or ())
