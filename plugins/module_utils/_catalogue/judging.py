# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a sealed point is worth: whether anybody vouches for it, on which timeline it lies, whether its data is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, InvalidInput, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing, Verdict
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import (
    recovery_point,
    selection,
    timeline,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.soundness import Soundness
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import EXPIRED, Catalogue, PointFiles
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

# From point and epoch to the timeline (``current``, ``orphan``, ``unknown``) and why.
Timelines = Callable[[str, int], tuple[str, str]]
Facts = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Judged:
    """A point with its document (``None`` where that cannot be read) and what its signature says."""

    candidate: selection.Candidate
    document: dict[str, Any] | None
    verdict: Verdict | None

    @property
    def vouched(self) -> bool:
        """Whether its document can be believed; signatures that were not to be checked count as good."""
        return self.document is not None and (self.verdict is None or self.verdict.valid)


def timelines(request: Request, name: str) -> Timelines:
    """A function from point and epoch to ``(timeline, reason)``."""
    witness = request.params.get("witness")
    if not witness:
        return lambda _point, _epoch: ("current", "")
    try:
        found = Catalogue(open_store(witness), name).state()
    except (Unavailable, Corrupt) as error:
        reason = f"the witness cannot tell ({error})"
        if request.params.get("witness_unreachable") == "ignore":
            request.warn(f"Lineage is not checked, {reason}")
        return lambda _point, _epoch: ("unknown", reason)
    if found is None:
        # No transition ever began, so nothing but the first epoch can exist.
        return lambda _point, epoch: (
            ("current", "")
            if epoch == 1
            else ("unknown", f"it has epoch {epoch}, and the witness knows of no transition")
        )
    state = found[0]

    def place(point: str, epoch: int) -> tuple[str, str]:
        reason = timeline.orphaned(state, point, epoch)
        return ("orphan", reason) if reason else ("current", "")

    return place


def judge(
    files: PointFiles,
    name: str,
    signing: Signing | None,
    place_on: Timelines,
    sound: Soundness | None = None,
    facts: Facts = (),
) -> Judged:
    """Judge one point. Without ``signing`` its signature, without ``sound`` the repository is not looked at."""
    reasons: list[str] = []
    verdict: Verdict | None = None
    if signing is not None:
        if files.signature is None:
            verdict = Verdict(False, signing.identity, "its signature is missing")
        else:
            verdict = signing.verify(files.document, files.signature)
        if not verdict.valid:
            reasons.append(f"signature not valid: {verdict.msg}")
    try:
        document = recovery_point.decode(files.document, files.id, name)
    except (Corrupt, InvalidInput) as error:
        candidate = selection.Candidate(files.id, None, (*reasons, error.reason))
        return Judged(candidate, None, verdict)
    since = expired(facts)
    if since is not None:
        reasons.append(f"it expired at {since}: its data is, or will be, taken away")
    elif sound is not None:
        try:
            reasons += sound.absent(document)
        except Corrupt as error:
            reasons.append(error.reason)
    where, reason = place_on(files.id, document["epoch"])
    candidate = selection.Candidate(
        files.id, clock.parse(document["consistency"]["point"]), tuple(reasons), where, reason
    )
    return Judged(candidate, document, verdict)


def expired(facts: Facts) -> str | None:
    """Since when a point has expired, or ``None``."""
    return next((str(fact["time"] or "some time") for fact in facts if fact["kind"] == EXPIRED), None)
