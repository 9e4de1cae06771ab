# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A plan that people read: grouped, what is blocked first, each reason once with a few names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

_ORDER = (Action.BLOCKED, Action.RECREATE, Action.UPDATE, Action.CREATE, Action.KEEP, Action.SKIP)
_NAMES = 8
_GROUPS = 40
_DIFFERING = 100


def summary(steps: Iterable[Step]) -> list[str]:
    """Lines of text, bounded however many objects there are; the whole is in the result's list of objects."""
    groups: dict[Action, dict[str, list[Step]]] = {action: {} for action in _ORDER}
    concerns: dict[str, list[Step]] = {}
    for step in steps:
        groups[step.action].setdefault(step.reason, []).append(step)
        for concern in step.concerns:
            concerns.setdefault(concern, []).append(step)
    lines: list[str] = []
    for action in _ORDER:
        by_reason = groups[action]
        if by_reason:
            lines.append(f"{action.value} {sum(len(members) for members in by_reason.values())}")
            lines += _groups(by_reason)
        if action is Action.BLOCKED and concerns:
            lines.append(f"will be written but not work {sum(len(members) for members in concerns.values())}")
            lines += _groups(concerns)
    return lines


def _groups(by_reason: dict[str, list[Step]]) -> Iterator[str]:
    ordered = sorted(by_reason.items(), key=lambda pair: -len(pair[1]))
    for reason, members in ordered[:_GROUPS]:
        if len(members) <= _NAMES:
            yield f"  {', '.join(str(step.identity) for step in members)}: {reason}"
        else:
            kinds = ", ".join(f"{count} {key}" for key, count in Counter(step.key for step in members).most_common(6))
            spaces = len({step.identity.namespace for step in members})
            yield f"  {len(members)} objects in {spaces} namespaces ({kinds}): {reason}"
    if len(ordered) > _GROUPS:
        yield f"  and {len(ordered) - _GROUPS} more reasons"


def differences(steps: Iterable[Step]) -> str:
    """The summary and, field by field, what updates change: what diff mode shows."""
    chosen = list(steps)
    lines = summary(chosen)
    changing = [step for step in chosen if step.differs and step.action in (Action.UPDATE, Action.RECREATE)]
    for step in changing[:_DIFFERING]:
        lines.append(f"~ {step.identity}")
        lines += [f"    {line}" for line in step.differs]
    if len(changing) > _DIFFERING:
        lines.append(f"and {len(changing) - _DIFFERING} more objects")
    return "\n".join(lines) + "\n"
