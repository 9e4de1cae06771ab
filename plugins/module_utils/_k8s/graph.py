# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Put the steps of a restore in order: after what they refer to and belong to, and as the user says.

The waves of :mod:`order` are the floor. An object that needs one of a later wave follows it there; ``depth`` counts
how many come before it inside the wave, and objects of one wave and depth are written in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, order
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.references import Reference
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Step

# Everything else stands on them, so nobody may move them.
_FIXED = frozenset({kinds.NAMESPACES, kinds.CRDS})


def arrange(steps: Sequence[Step], ordered: Sequence[str] = ()) -> list[Step]:
    """Set wave and depth of each step and return them sorted by wave, depth and name.

    ``ordered``: globs for kinds (``secrets``, ``*.example.com``) or for objects as they are named in results
    (``ledger/jobs.batch/migrate*``). What matches a glob waits for all that matches an earlier one; this wins over
    references inside the objects.
    """
    graph = _Graph(steps, ordered)
    graph.cut_circles()
    graph.place()
    return sorted(steps, key=lambda step: (step.wave, step.depth, step.identity))


def matches(step: Step, pattern: str) -> bool:
    """Whether an entry of ``ordered`` means the object."""
    if "/" in pattern:
        return fnmatchcase(str(step.identity), pattern)
    return kinds.matches(step.key, [pattern])


class _Graph:
    """Nodes are numbers of steps; those above are barriers between two entries of ``ordered``."""

    def __init__(self, steps: Sequence[Step], ordered: Sequence[str]) -> None:
        self.steps = steps
        # What must come before by nature (owners) or by order of the user, and what had better (references).
        self.firm: dict[int, set[int]] = {}
        self.soft: dict[int, set[int]] = {}
        self._owners()
        self._ordered(ordered)
        self._references()

    def _owners(self) -> None:
        by_uid = {step.source_uid: number for number, step in enumerate(self.steps) if step.source_uid}
        for number, step in enumerate(self.steps):
            for owner in step.owners:
                above = by_uid.get(str(owner.get("uid")))
                if above is not None and above != number:
                    self.firm.setdefault(number, set()).add(above)

    def _ordered(self, ordered: Sequence[str]) -> None:
        taken: set[int] = set()
        barrier: int | None = None
        for place, pattern in enumerate(ordered):
            members = [
                number
                for number, step in enumerate(self.steps)
                if number not in taken and step.key not in _FIXED and matches(step, pattern)
            ]
            taken.update(members)
            if barrier is not None:
                for number in members:
                    self.firm.setdefault(number, set()).add(barrier)
            above, barrier = barrier, len(self.steps) + place
            # An entry that matches nothing must not break the chain.
            self.firm[barrier] = {*members, *([above] if above is not None else [])}

    def _references(self) -> None:
        if not any(step.references or step.awaits or not kinds.built_in(step.key) for step in self.steps):
            return
        index: dict[tuple[str, str, str], int] = {}
        for number, step in enumerate(self.steps):
            namespace, key, name = step.identity.namespace, step.key, step.identity.name
            index[key, namespace, name] = number
            if step.resource is not None:
                kind = step.resource.kind
                index[f"{kind}.{step.resource.group}", namespace, name] = number
                index.setdefault((f"{kind}.", namespace, name), number)
        for number, step in enumerate(self.steps):
            if step.text is None:
                continue
            for reference in (*step.references, *_server(step)):
                found = index.get((reference.key, reference.namespace, reference.name))
                if found is None:
                    found = index.get((reference.key, "", reference.name))
                if found is not None and found != number:
                    self.soft.setdefault(number, set()).add(found)
            registration = index.get((kinds.API_SERVICES, "", step.awaits)) if step.awaits else None
            if registration is not None:
                self.firm.setdefault(number, set()).add(registration)

    def before(self, node: int) -> list[int]:
        return sorted(self.firm.get(node, set()) | self.soft.get(node, set()))

    def cut_circles(self) -> None:
        """Where objects need each other, only owners and the user's order count."""
        for circle in self._circles():
            for node in circle:
                if node in self.soft:
                    self.soft[node] -= circle

    def _circles(self) -> Iterator[set[int]]:
        """The strongly connected parts of more than one node (Tarjan's way, without recursion)."""
        number: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        on_stack: set[int] = set()
        # Empty again after each start.
        work: list[tuple[int, Iterator[int]]] = []

        def enter(node: int) -> None:
            number[node] = low[node] = len(number)
            stack.append(node)
            on_stack.add(node)
            work.append((node, iter(self.before(node))))

        for start in sorted(self.firm.keys() | self.soft.keys()):
            if start in number:
                continue
            enter(start)
            while work:
                node, rest = work[-1]
                for following in rest:
                    if following not in number:
                        enter(following)
                        break
                    if following in on_stack:
                        low[node] = min(low[node], number[following])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == number[node]:
                        circle = set()
                        while True:
                            member = stack.pop()
                            on_stack.discard(member)
                            circle.add(member)
                            if member == node:
                                break
                        if len(circle) > 1:
                            yield circle

    def place(self) -> None:
        """Every node after those before it; a circle of owners, which cannot be, is entered anywhere."""
        done: dict[int, tuple[int, int]] = {}
        under_way: set[int] = set()
        for start in range(len(self.steps)):
            work = [start]
            while work:
                node = work[-1]
                if node in done:
                    work.pop()
                    continue
                under_way.add(node)
                missing = [other for other in self.before(node) if other not in done and other not in under_way]
                if missing:
                    work += missing
                    continue
                done[node] = self._position(node, done)
                under_way.discard(node)
                work.pop()
        for number, step in enumerate(self.steps):
            wave, step.depth = done[number]
            step.wave = order.Wave(wave)

    def _position(self, node: int, done: dict[int, tuple[int, int]]) -> tuple[int, int]:
        barrier = node >= len(self.steps)
        floor = (0, 0) if barrier else (int(self.steps[node].wave), 0)
        above = [done[other] for other in self.before(node) if other in done]
        # A barrier is where the last of its members is; who waits for it comes one later.
        return max([floor, *((wave, depth if barrier else depth + 1) for wave, depth in above)])


def _server(step: Step) -> Iterator[Reference]:
    """A custom resource of an aggregated API needs the registration of that API."""
    if step.resource is not None and not kinds.built_in(step.key):
        yield Reference(kinds.API_SERVICES, "", f"{step.resource.version}.{step.resource.group}")
