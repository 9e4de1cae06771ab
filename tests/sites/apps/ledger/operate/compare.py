# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""compare: which acknowledged bookings does a (restored) ledger lack, and what is the real RPO?

Exit status: 0 nothing lost (with --consistency-point: nothing that was booked up to it), 1 something lost,
2 the files cannot be used or do not tell.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Unusable(ValueError):
    """The input does not allow a statement; the text says why."""


@dataclasses.dataclass(frozen=True)
class Acknowledged:
    """One line of load's log."""

    id: int
    time: datetime.datetime
    hash: str


def parse_time(text: str) -> datetime.datetime:
    """ISO 8601 with a zone."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def iso(moment: datetime.datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_log(lines: Iterable[str]) -> list[Acknowledged]:
    """The acknowledged bookings by id. A last line cut off by a kill was not acknowledged to anyone."""
    found: dict[tuple[int, str], Acknowledged] = {}
    for line in lines:
        try:
            document = json.loads(line)
            one = Acknowledged(document["id"], parse_time(document["time"]), document["hash"])
        except (ValueError, KeyError, TypeError):
            continue
        found[one.id, one.hash] = one
    return sorted(found.values(), key=lambda one: (one.id, one.time))


def compare(
    acknowledged: list[Acknowledged],
    verified: dict[str, Any],
    *,
    disaster: datetime.datetime | None = None,
    consistency_point: datetime.datetime | None = None,
) -> dict[str, Any]:
    """What was lost. ``verified`` is ledger-verify's object; its tail has (id, hash) of the newest bookings.

    A booking is there if the tail has its id with its hash, or if it is older than the tail and a later one of
    the log is there: the chain then proves all before it. ``disaster`` is when the source was lost, by default the
    last booking that is missing; ``rpo_seconds`` runs from ``kept_until``, the newest booking before the loss.
    Raises Unusable where the tail is too short to tell.
    """
    if not acknowledged:
        raise Unusable("the log has no acknowledged booking")
    try:
        tail = {int(number): str(digest) for number, digest in verified["tail"]}
        bookings, last_id = int(verified["bookings"]), verified["last_id"]
        data_until = parse_time(verified["data_until"]) if verified["data_until"] else None
        sound = bool(verified["ok"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(f"the verification is not of ledger-verify ({type(error).__name__}: {error})") from error
    first_known = min(tail, default=(last_id or 0) + 1)
    present = {one for one in acknowledged if tail.get(one.id) == one.hash}
    older = [one for one in acknowledged if one.id < first_known]
    if older:
        if bookings == len(tail):
            pass  # The tail is everything: older ones are not there.
        elif present and sound and len({one.id for one in older}) == len(older):
            present.update(older)
        else:
            raise Unusable(f"{len(older)} bookings are older than the verification's tail: use ledger-verify --tail 0")
    missing = [one for one in acknowledged if one not in present]
    incident = disaster or max(one.time for one in missing or acknowledged)
    kept_until = data_until
    if missing and data_until and data_until >= missing_from(missing):
        # The ledger went on after it was restored: its newest booking says nothing about where the loss began.
        kept_until = max((one.time for one in present if one.time < missing_from(missing)), default=None)
    beyond = [one for one in missing if consistency_point is not None and one.time <= consistency_point]
    rpo = None if missing else 0.0
    if missing and kept_until:
        rpo = max(0.0, (incident - kept_until).total_seconds())
    return {
        "ok": sound and not (missing if consistency_point is None else beyond),
        "verified": sound,
        "acknowledged": len(acknowledged),
        "missing": len(missing),
        "missing_ids": [one.id for one in missing[:20]],
        "first_missing": iso(min((one.time for one in missing), default=None)),
        "last_missing": iso(max((one.time for one in missing), default=None)),
        "data_until": iso(data_until),
        "kept_until": iso(kept_until),
        "disaster": iso(incident),
        "rpo_seconds": rpo,
        "consistency_point": iso(consistency_point),
        "missing_before_consistency_point": len(beyond) if consistency_point is not None else None,
    }


def missing_from(missing: list[Acknowledged]) -> datetime.datetime:
    """When the first of the lost bookings was made."""
    return min(one.time for one in missing)


def main() -> int:
    parser = argparse.ArgumentParser(prog="compare", description="Which acknowledged bookings does a ledger lack?")
    parser.add_argument("--log", type=Path, required=True, help="what load wrote")
    parser.add_argument("--verify", type=Path, required=True, help="what ledger-verify printed ('-' for stdin)")
    parser.add_argument("--disaster", type=parse_time, metavar="TIME", help="when the source was lost (ISO 8601)")
    parser.add_argument(
        "--consistency-point", type=parse_time, metavar="TIME", help="what the recovery point states (ISO 8601)"
    )
    options = parser.parse_args()
    try:
        with options.log.open(encoding="utf-8") as stream:
            acknowledged = read_log(stream)
        verified = json.loads(sys.stdin.read() if str(options.verify) == "-" else options.verify.read_text("utf-8"))
        result = compare(acknowledged, verified, disaster=options.disaster, consistency_point=options.consistency_point)
    except (OSError, ValueError) as error:
        print(f"Could not compare {options.log} with {options.verify}: {error}.", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0 if result["ok"] else 1
