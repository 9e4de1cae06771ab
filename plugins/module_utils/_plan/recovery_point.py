# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The recovery-point document ``muster/recovery-point/v1``: what it holds, its bytes, and when it may be sealed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput

FORMAT = "muster/recovery-point/v1"
MODES = ("group", "per_volume", "live", "stopped")
_ID = re.compile(r"^(\d{8}T\d{6}Z)-([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)-([0-9a-f]{8})$")
# What a module says about its own run, not about the point.
_OF_THE_RUN = frozenset({"changed", "failed", "skipped", "msg"})


@dataclass(frozen=True)
class PointId:
    """``20260131T040506Z-ledger-1a2b3c4d``: sorts by time."""

    moment: datetime
    application: str
    random: str

    @classmethod
    def parse(cls, text: str) -> PointId:
        match = _ID.match(text)
        try:
            if not match:
                raise ValueError
            moment = datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        except ValueError:
            raise InvalidInput(
                "use", f"recovery point id {text!r}", "it is not TIME-APPLICATION-RANDOM", "Take it from a listing."
            ) from None
        return cls(moment, match[2], match[3])

    def __str__(self) -> str:
        return f"{self.moment.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}-{self.application}-{self.random}"


def is_id(text: str) -> bool:
    """Whether this can be the id of a point; folders collect other files too, such as copies made by hand."""
    try:
        PointId.parse(text)
    except InvalidInput:
        return False
    return True


@dataclass(frozen=True)
class Problem:
    """Why a point is not whole; ``name`` is what ``accept_incomplete`` takes, such as ``volume:ledger/data-0``."""

    name: str
    reason: str


@dataclass(frozen=True)
class Content:
    """What the engines brought back, as their modules return it."""

    objects: Mapping[str, Any] | None
    volumes: Sequence[Mapping[str, Any]]
    images: Sequence[Mapping[str, Any]]
    hooks: Sequence[Mapping[str, Any]]
    excluded: Sequence[Mapping[str, Any]]


def problems(content: Content, optional_hooks: Sequence[str] = ()) -> list[Problem]:
    """Everything that is missing, failed or unresolved, in a stable order."""
    found: list[Problem] = []
    if not content.objects:
        found.append(Problem("objects", "no objects were captured"))
    else:
        snapshot = _snapshot(content.objects)
        if not snapshot.get("id") or not snapshot.get("tree"):
            found.append(Problem("objects", "their snapshot has no id or no tree id"))
        found += [
            Problem(f"objects:{item.get('what', '?')}", str(item.get("why", "incomplete")))
            for item in content.objects.get("incomplete") or ()
        ]
    for volume in content.volumes:
        reason = _volume_problem(volume)
        if reason:
            found.append(Problem(f"volume:{volume.get('name', '?')}", reason))
    for image in content.images:
        reason = _image_problem(image)
        if reason:
            found.append(Problem(f"image:{image.get('name', '?')}", reason))
    found += [
        Problem(
            f"hook:{hook.get('name', '?')}", f"its {hook.get('phase', 'pre')} command failed: {hook.get('msg') or '?'}"
        )
        for hook in content.hooks
        if not (hook.get("ok") or hook.get("on_error") == "continue" or hook.get("name") in optional_hooks)
    ]
    return found


def document(
    *,
    point: str,
    application: str,
    site: str,
    epoch: int,
    parent: str | None,
    started: str,
    sealed: str,
    consistency: Mapping[str, Any],
    targets: Mapping[str, Any],
    content: Content,
    tools: Mapping[str, Any],
    accepted: Sequence[Problem] = (),
) -> dict[str, Any]:
    """The document of a point. Times are RFC 3339, targets in seconds."""
    identity = PointId.parse(point)
    if identity.application != application:
        raise InvalidInput("seal", f"recovery point {point}", f"it is not of application {application!r}")
    if epoch < 1:
        raise InvalidInput("seal", f"recovery point {point}", f"epoch {epoch} is below 1")
    result: dict[str, Any] = {
        "format": FORMAT,
        "id": point,
        "application": application,
        "site": site,
        "epoch": epoch,
        "parent": parent,
        "started": clock.iso(clock.parse(started)),
        "sealed": clock.iso(clock.parse(sealed)),
        "consistency": _consistency(point, consistency, sealed),
        "targets": {key: value for key, value in targets.items() if value is not None},
        "objects": _objects(content.objects),
        "volumes": [_without_run(item) for item in content.volumes],
        "images": [_without_run(item) for item in content.images],
        "hooks": [_without_run(item) for item in content.hooks],
        "excluded": [dict(item) for item in content.excluded],
        "tools": dict(tools),
    }
    if accepted:
        result["accepted"] = [{"what": problem.name, "why": problem.reason} for problem in accepted]
    return result


def encode(value: Mapping[str, Any]) -> bytes:
    """Canonical bytes: sorted keys, two spaces, UTF-8, one newline at the end; equal documents give equal bytes."""
    try:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InvalidInput("write", "document", f"it holds what JSON has no form for ({error})") from None


def decode(data: bytes, point: str, application: str) -> dict[str, Any]:
    """The document of this point; :class:`Corrupt` where the bytes are not one, or one of another point or application.

    A valid signature does not replace this: whoever can write to the store can put a point where another one belongs.
    """
    target = f"recovery point {point}"
    try:
        value = json.loads(data)
    except ValueError:
        raise Corrupt("read", target, "its document is not JSON", "Restore the document from another copy.") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Corrupt("read", target, f"its document is not of the format {FORMAT}")
    if value.get("id") != point:
        raise Corrupt("read", target, f"its document belongs to {value.get('id')!r}", "Somebody renamed it.")
    identity = PointId.parse(point)
    if value.get("application") != identity.application:
        raise Corrupt("read", target, f"its document is of application {value.get('application')!r}")
    if identity.application != application:
        raise Corrupt("read", target, f"it is a point of another application than {application}", "Somebody moved it.")
    if not isinstance(value.get("epoch"), int) or isinstance(value.get("epoch"), bool) or value["epoch"] < 1:
        raise Corrupt("read", target, "its document has no epoch")
    wrong = [
        key
        for key, kind in {
            "site": str,
            "sealed": str,
            "consistency": dict,
            "volumes": list,
            "images": list,
        }.items()
        if not isinstance(value.get(key), kind)
    ]
    wrong += [
        f"{key} as dictionaries"
        for key in ("volumes", "images", "hooks", "excluded")
        if key not in wrong and not _all_dictionaries(value.get(key))
    ]
    wrong += [f"{key} as a dictionary" for key in ("objects", "targets") if not isinstance(value.get(key) or {}, dict)]
    if wrong:
        raise Corrupt("read", target, f"its document lacks {', '.join(wrong)}")
    try:
        clock.parse(value["sealed"])
        clock.parse(str(value["consistency"].get("point")))
    except InvalidInput as error:
        raise Corrupt("read", target, f"its document has a wrong time: {error.reason}") from None
    return value


def _all_dictionaries(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, dict) for one in value))


def _consistency(point: str, value: Mapping[str, Any], sealed: str) -> dict[str, Any]:
    mode = value.get("mode")
    if mode not in MODES:
        raise InvalidInput(
            "seal",
            f"recovery point {point}",
            f"consistency mode {mode!r} is unknown",
            f"It is one of {', '.join(MODES)}.",
        )
    if not value.get("point"):
        raise InvalidInput("seal", f"recovery point {point}", "it has no consistency point", "Pass consistency.point.")
    moment = clock.parse(str(value["point"]))
    if moment > clock.parse(sealed):
        raise InvalidInput(
            "seal",
            f"recovery point {point}",
            f"its consistency point {clock.iso(moment)} lies in the future",
            "Set the clocks of cluster and control node right.",
        )
    return {"point": clock.iso(moment), "skew_seconds": float(value.get("skew_seconds") or 0), "mode": mode}


def _objects(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return _without_run(value) if value else None


def _snapshot(objects: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = objects.get("snapshot")
    return nested if isinstance(nested, Mapping) else objects


def _without_run(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in _OF_THE_RUN}


def _volume_problem(volume: Mapping[str, Any]) -> str:
    if volume.get("failed"):
        return str(volume.get("msg") or "its export failed")
    if volume.get("skipped"):
        return str(volume.get("msg") or "it was not exported")
    if not volume.get("complete"):
        return str(volume.get("msg") or "some of its files could not be read")
    if not volume.get("snapshot") or not volume.get("tree"):
        return "it has no snapshot id or no tree id"
    return ""


def _image_problem(image: Mapping[str, Any]) -> str:
    if image.get("failed"):
        return str(image.get("msg") or "its copy failed")
    if not image.get("digest") or image.get("resolved_by") == "unresolved":
        return "it could not be resolved to what runs"
    return ""
