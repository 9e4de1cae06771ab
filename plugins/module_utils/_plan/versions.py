# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which image ran where and when, read from the images of recovery points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Images = Sequence[Mapping[str, Any]]
Version = dict[str, Any]


def of_users(images: Images) -> dict[str, list[Version]]:
    """``{name, digest}`` of what each container used, by ``NAMESPACE/RESOURCE/NAME:CONTAINER``.

    More than one where a rollout was under way.
    """
    found: dict[str, list[Version]] = {}
    for image in images:
        for user in image.get("used_by") or ():
            found.setdefault(str(user), []).append({"name": image.get("name"), "digest": image.get("digest")})
    return {user: sorted(found[user], key=lambda one: (str(one["name"]), str(one["digest"]))) for user in sorted(found)}


def _digests(versions: Sequence[Version]) -> set[Any]:
    """What tells versions apart: after a failover the same image has another name."""
    return {version["digest"] for version in versions}


def changes(before: Images, after: Images) -> list[dict[str, Any]]:
    """Containers that use other images than before: ``used_by``, ``before``, ``after`` (lists, which may be empty)."""
    old, new = of_users(before), of_users(after)
    return [
        {"used_by": user, "before": old.get(user, []), "after": new.get(user, [])}
        for user in sorted(old.keys() | new.keys())
        if _digests(old.get(user, [])) != _digests(new.get(user, []))
    ]


def ledger(points: Iterable[tuple[str, str, Images]]) -> list[dict[str, Any]]:
    """What each container used from when to when, from ``(point, time, images)``.

    Per container ``used_by`` and ``runs``, the newest first: ``images``, the ``first`` and the ``last`` point that has
    them, and their times ``since`` and ``until``. It may have run for longer: between two points nobody looked.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    users: set[str] = set()
    for point, time, images in sorted(points, key=lambda one: (one[1], one[0])):
        now = of_users(images)
        for user, used in now.items():
            known = runs.setdefault(user, [])
            # What was away in between and came back has run twice.
            if user in users and known and _digests(known[0]["images"]) == _digests(used):
                known[0].update(last=point, until=time)
            else:
                known.insert(0, {"images": used, "first": point, "since": time, "last": point, "until": time})
        users = set(now)
    return [{"used_by": user, "runs": runs[user]} for user in sorted(runs)]
