# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From the results of a run to one report document, ``muster/report/v1``: plain JSON that every page is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._plan import copies

FORMAT = "muster/report/v1"
# A run of a kind is honest about what it could not measure.
_NOT_MEASURED = {
    "drill": ("decide to fail over", "fence the source", "switch traffic"),
    "failover": ("fence the source", "switch traffic"),
    "failback": ("fence the source", "switch traffic"),
}
_RECOVERED = "wait and check"


def build(
    *,
    kind: str,
    run: str,
    application: Mapping[str, Any],
    site: str,
    started: datetime,
    ended: datetime,
    incident: datetime,
    point: Mapping[str, Any] | None,
    validated: Mapping[str, Any] | None,
    phases: Sequence[Mapping[str, Any]],
    error: str | None,
    lock: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report document. ``phases`` are ``{"name", "result"}`` with a module's result, in the order they ran.

    ``lock`` is what is on record of the lock of the point's copy at this site.
    """
    # What was skipped, or never began, is none of the timeline.
    measured = [_phase(phase) for phase in phases if (phase.get("result") or {}).get("started")]
    verdict = _verdict(validated, error)
    targets = application.get("targets") or {}
    recovered = next((phase for phase in measured if phase["name"] == _RECOVERED and phase["ok"]), None)
    seconds = (clock.parse(recovered["ended"]) - started).total_seconds() if recovered and verdict == "pass" else None
    rto = clock.duration(targets["rto"]) if targets.get("rto") else None
    return {
        "format": FORMAT,
        "run": run,
        "kind": kind,
        "application": str(application["name"]),
        "site": site,
        "started": clock.iso(started),
        "ended": clock.iso(ended),
        "incident": clock.iso(incident),
        "verdict": verdict,
        "error": error,
        "headline": _headline(verdict, kind, validated, error),
        "point": _point(point),
        "rpo": dict(validated["rpo"]) if validated and validated.get("rpo") else None,
        "data_until": validated.get("data_until") if validated else None,
        "recovery": {
            "seconds": seconds,
            "target_seconds": rto,
            "met": None if seconds is None or rto is None else seconds <= rto,
            "scope": "technical",
        },
        "copies": _copies(point, site, verdict, lock, ended),
        "phases": measured,
        "not_measured": list(_NOT_MEASURED.get(kind, ())),
        "checks": [dict(check) for check in (validated or {}).get("checks") or []],
        "volumes": [_volume(volume, incident) for volume in (point or {}).get("volumes") or []],
        "images": [
            {key: image.get(key) for key in ("name", "digest", "resolved_by")}
            for image in (point or {}).get("images") or []
        ],
        "excluded": list((point or {}).get("excluded") or []),
    }


def events(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The run as events in the order of their times, for the evidence chain."""
    listed: list[dict[str, Any]] = [
        {"time": report["started"], "event": "started", "run": report["run"], "kind": report["kind"]}
    ]
    if report.get("point"):
        listed.append({"time": report["started"], "event": "point", **report["point"]})
    for phase in report["phases"]:
        listed.append({"time": phase["started"], "event": "phase_started", "name": phase["name"]})
        listed.append(
            {
                "time": phase["ended"],
                "event": "phase_ended",
                "name": phase["name"],
                "ok": phase["ok"],
                "msg": phase["msg"],
            }
        )
    listed.extend(
        {"time": report["ended"], "event": "check", **{key: check[key] for key in ("code", "result", "msg")}}
        for check in report["checks"]
    )
    listed.append({"time": report["ended"], "event": "verdict", "verdict": report["verdict"]})
    return listed


def _phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    result: Mapping[str, Any] = phase["result"]
    started = clock.parse(str(result["started"]))
    seconds = float(result.get("seconds") or 0.0)
    return {
        "name": str(phase["name"]),
        "started": clock.iso(started),
        "ended": clock.iso(started + timedelta(seconds=seconds)),
        "seconds": seconds,
        "state": "measured",
        "ok": not result.get("failed", False),
        "msg": str(result.get("msg") or ""),
    }


def _verdict(validated: Mapping[str, Any] | None, error: str | None) -> str:
    if error:
        return "fail"
    return str(validated["verdict"]) if validated and validated.get("verdict") else "unknown"


def _headline(verdict: str, kind: str, validated: Mapping[str, Any] | None, error: str | None) -> str:
    if error:
        return f"The {kind} broke off: {error}"
    if not validated:
        return f"The {kind} ended before anything was checked."
    if verdict == "pass":
        return "The recovery point was restored from this site alone, and every required check passed."
    bad = [check for check in validated.get("checks") or [] if check["required"] and check["result"] != "pass"]
    if not bad:
        return "No check ran, so nothing is known."
    what = "failed" if verdict == "fail" else "could not be completed"
    return f"{len(bad)} required checks {what}, first {bad[0]['code']} {bad[0]['name']}: {bad[0]['msg']}"


def _point(point: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not point:
        return None
    return {
        "id": point["id"],
        "site": point.get("site"),
        "epoch": point.get("epoch"),
        "sealed": point.get("sealed"),
        "consistency": dict(point.get("consistency") or {}),
    }


def _copies(
    point: Mapping[str, Any] | None, site: str, verdict: str, lock: Mapping[str, Any] | None, at: datetime
) -> list[dict[str, Any]]:
    if not point:
        return []
    made_at = str(point.get("site") or "")
    return [asdict(rule) for rule in copies.judge(made_at=made_at, here=site, verdict=verdict, lock=lock, at=at)]


def _volume(volume: Mapping[str, Any], incident: datetime) -> dict[str, Any]:
    moment = volume.get("consistency_point")
    loss = (incident - clock.parse(str(moment))).total_seconds() if moment else None
    kept = ("name", "class", "method", "files", "bytes", "consistency_point", "tree", "complete")
    return {**{key: volume.get(key) for key in kept}, "loss_seconds": loss}
