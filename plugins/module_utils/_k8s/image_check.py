# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Images that the target's registry does not have: found before pods wait for them for ever."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.image_names import place_of, texts
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import WRITES, Step

# Registry options, images of that registry, and how many requests at once: the images that it does not have, and
# those of which nothing is known, with the reason.
Missing = Callable[[Mapping[str, Any], Sequence[str], int], tuple[set[str], dict[str, str]]]
_SHOWN = 3


def foresee(
    steps: Iterable[Step], registry: Mapping[str, Any], mapped: Collection[str], missing: Missing, *, workers: int
) -> list[str]:
    """Note on each step which of its images are not there; returns warnings.

    ``mapped``: the images that the restore takes from that registry. Others are nobody's business here.
    """
    place = place_of(registry)
    uses = [(step, found) for step in steps if (found := _used(step, place, mapped))]
    if not uses:
        return []
    absent, unknown = missing(registry, sorted({image for _step, images in uses for image in images}), workers)
    for step, images in uses:
        names = [image.removeprefix(f"{place}/") for image in images if image in absent]
        if names:
            who = "it" if step.key == "pods" else "its pods"
            step.concerns.append(f"{who} will not start: registry {place} does not have {_shown(names)}")
    if not unknown:
        return []
    reason = next(iter(unknown.values()))
    text = f"It is not known whether registry {place} has {len(unknown)} of the images: {reason}."
    return [f"{text} Mend that, or set check_images to false where the registry cannot be reached from here."]


def _used(step: Step, place: str, mapped: Collection[str]) -> list[str]:
    """The mapped images that the pods of a step's object will want."""
    # Nearly all objects name no image at all, and to parse them takes long.
    if step.action not in WRITES or step.text is None or step.only_part or place not in step.text:
        return []
    if step.key in kinds.POD_SPECS:
        spec = objects.pod_spec(step.key, step.body) or {}
        named = [str(holder[key]) for _user, holder, key in objects.images(spec)]
    elif kinds.built_in(step.key):
        return []
    else:
        named = [text for _holder, _key, text in texts(step.body)]
    return sorted({image for image in named if image in mapped})


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
