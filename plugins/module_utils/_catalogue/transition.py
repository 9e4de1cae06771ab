# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verbs of ``transition`` and ``transition_info``: lock, epoch and step records at the witness."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import (
    TRANSITION_NAMESPACE,
    Signing,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application, recovery_point, timeline
from ansible_collections.muster.container_dr.plugins.module_utils._store.catalogue import Catalogue
from ansible_collections.muster.container_dr.plugins.module_utils._store.conditions import check_conditions
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

FORMAT = "muster/transition/v1"
_RECORD = re.compile(r"^(\d{4})-([a-z0-9_]+)-(intent|done)\.json$")
_STEP = re.compile(r"^[a-z][a-z0-9_]{0,39}$")
_RUN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")
_ATTEMPTS = 5


class _Records:
    """The steps of one transition: write once, signed."""

    def __init__(self, catalogue: Catalogue, run: str, signing: Signing) -> None:
        self._catalogue = catalogue
        self._run = run
        self._signing = signing
        self._prefix = catalogue.transition_prefix(run)
        self.steps: dict[str, dict[str, Any]] = {}
        for entry in catalogue.store.list(self._prefix):
            match = _RECORD.match(entry.key[len(self._prefix) :])
            if match:
                step = self.steps.setdefault(match[2], {"seq": int(match[1])})
                step[match[3]] = entry.key

    def read(self, step: str, phase: str) -> dict[str, Any] | None:
        key = self.steps.get(step, {}).get(phase)
        data = self._catalogue.store.find(key) if key else None
        if data is None:
            return None
        found = _record(data)
        if found is None:
            raise Corrupt(
                "read", f"{key} in {self._catalogue.store.place}", "it is no record", "Restore it from a version."
            )
        return found

    def write(self, step: str, phase: str, data: Mapping[str, Any]) -> bool:
        """Write the record unless it is there; whether it was written."""
        known = self.steps.get(step, {})
        if phase in known:
            return False
        seq = known.get("seq") or max((one["seq"] for one in self.steps.values()), default=0) + 1
        key = f"{self._prefix}{seq:04d}-{step}-{phase}.json"
        value = {
            "format": FORMAT,
            "application": self._catalogue.application,
            "transition": self._run,
            "seq": seq,
            "step": step,
            "phase": phase,
            "time": clock.iso(clock.now()),
            "data": dict(data),
        }
        raw = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"
        signature = self._signing.sign(raw, TRANSITION_NAMESPACE)
        self._catalogue.store.put(f"{key}.sig", signature)
        self._catalogue.store.create(key, raw)
        self.steps.setdefault(step, {"seq": seq})[phase] = key
        return True


def _record(data: bytes) -> dict[str, Any] | None:
    """What was written of a step, ``None`` where these bytes are none of it."""
    try:
        value = json.loads(data)
        return value if isinstance(value["data"], dict) and isinstance(value["time"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def transition_verb(request: Request) -> dict[str, Any]:
    """Do what ``state`` says."""
    params = request.params
    name = application.name_of(params["application"])
    if params.get("id") and not _RUN.match(params["id"]):
        raise InvalidInput("use", f"transition id {params['id']!r}", "it is not letters, digits, '-' and '_'")
    catalogue = Catalogue(open_store(params["store"]), name)
    signing = Signing.of(params.get("signing"))
    signing.check()
    verbs: dict[str, Callable[[Request, Catalogue, Signing], dict[str, Any]]] = {
        "begun": _begin,
        "step": _step,
        "finished": _finish,
        "aborted": _abort,
    }
    return verbs[params["state"]](request, catalogue, signing)


def transition_info_verb(request: Request) -> dict[str, Any]:
    """The state of the application and the steps of its transitions."""
    name = application.name_of(request.params["application"])
    catalogue = Catalogue(open_store(request.params["store"]), name)
    found = catalogue.state()
    prefix = f"{catalogue.root}/transitions/"
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in catalogue.store.list(prefix):
        run, _slash, file = entry.key[len(prefix) :].partition("/")
        match = _RECORD.match(file)
        if not match:
            continue
        step = runs.setdefault(run, {}).setdefault(match[2], {"seq": int(match[1]), "name": match[2]})
        value = _record(catalogue.store.get(entry.key))
        if value is None:
            request.warn(f"{entry.key} in {catalogue.store.place} cannot be read.")
        step[match[3]] = {"time": value["time"], "data": value["data"]} if value else {"time": None, "data": None}
    wanted = request.params.get("id")
    if wanted and wanted not in runs:
        raise NotFound("read", f"transition {wanted} of {name}", f"{catalogue.store.place} does not hold it")
    return {
        "changed": False,
        "msg": _told(name, found[0] if found else None),
        "application_state": json.loads(timeline.encode(found[0])) if found else None,
        "transitions": [
            {"id": run, "steps": sorted(steps.values(), key=lambda step: int(step["seq"]))}
            for run, steps in sorted(runs.items())
            if not wanted or run == wanted
        ],
    }


def _begin(request: Request, catalogue: Catalogue, signing: Signing) -> dict[str, Any]:
    params = request.params
    what = f"{params['kind']} of {catalogue.application}"
    attestation = _attestation(params, what, required=params["kind"] == "failover")
    found = catalogue.state()
    ask = {
        "kind": params["kind"],
        "source": params["source"],
        "target": params["target"],
        "holder": params["holder"],
    }
    if found and found[0].lock and found[0].lock.run == params.get("id"):
        return _resume(request, catalogue, signing, found[0], ask)
    if params.get("id") and found and found[0].last and found[0].last.run == params["id"]:
        raise Refused("begin", f"transition {params['id']}", f"it is {found[0].last.outcome}", "Begin a new one.")
    if params.get("id") and _Records(catalogue, params["id"], signing).steps.keys() & {"finish", "abort"}:
        # Its records are written once, so there would be none of what happens now.
        raise Refused("begin", f"transition {params['id']}", "it has finished or was aborted", "Begin a new one.")
    run = params.get("id") or f"{clock.now():%Y%m%dT%H%M%SZ}-{params['kind']}-{secrets.token_hex(4)}"
    lock = timeline.Lock(params["holder"], run, clock.iso(clock.now()))
    first = timeline.State(catalogue.application, params.get("epoch") or 1, params["source"])
    planned = timeline.begin(found[0] if found else first, lock, params["source"], params["target"])
    if request.check_mode:
        return _result(planned, run, changed=True, msg=f"{what} would begin with epoch {planned.epoch}")
    if found is None:
        check_conditions(catalogue.store, catalogue.root)
        # Where somebody else was first, the lock decides below.
        with contextlib.suppress(Conflict):
            catalogue.store.create(catalogue.state_key, timeline.encode(first))
    records = _Records(catalogue, run, signing)
    records.write("begin", "intent", {**ask, "attestation": attestation})
    state = _change(
        catalogue,
        lambda state: timeline.begin(state, lock, params["source"], params["target"]),
    )
    records.write("begin", "done", {"epoch": state.epoch, "since": lock.since})
    return _result(state, run, changed=True, msg=f"{what} began with epoch {state.epoch}", records=records)


def _resume(
    request: Request, catalogue: Catalogue, signing: Signing, state: timeline.State, ask: Mapping[str, Any]
) -> dict[str, Any]:
    lock = state.lock
    if lock is None:
        raise ValueError("only a transition that is under way can be resumed")
    if lock.holder != ask["holder"]:
        raise timeline.held(state, f"transition of {catalogue.application}")
    records = _Records(catalogue, lock.run, signing)
    intent = (records.read("begin", "intent") or {}).get("data") or {}
    differs = [key for key in ask if key in intent and intent[key] != ask[key]]
    if differs:
        told = ", ".join(f"{key} was {intent[key]!r}" for key in differs)
        raise Refused("resume", f"transition {lock.run}", f"it began otherwise: {told}", "Resume it as it began.")
    changed = "done" not in records.steps.get("begin", {})
    if changed and not request.check_mode:
        records.write("begin", "done", {"epoch": state.epoch, "since": lock.since})
    return _result(state, lock.run, changed=changed, msg=f"{lock.run} goes on", records=records, resumed=True)


def _step(request: Request, catalogue: Catalogue, signing: Signing) -> dict[str, Any]:
    params = request.params
    step, phase = params["step"], params["phase"]
    if not _STEP.match(step) or step in ("begin", "finish", "abort"):
        raise InvalidInput("record", f"step {step!r}", "it is not a name for a step", "Such as restore or check.")
    state = _ours(catalogue, params["id"], f"record step {step} of")
    records = _Records(catalogue, params["id"], signing)
    if phase == "done" and "intent" not in records.steps.get(step, {}):
        raise Refused("record", f"step {step}", "it is done, but nobody said that it would begin", "Record its intent.")
    changed = phase not in records.steps.get(step, {})
    if changed and not request.check_mode:
        records.write(step, phase, params.get("data") or {})
    done = records.read(step, "done")
    msg = f"Step {step} of {params['id']}: {phase}"
    return {
        **_result(state, params["id"], changed=changed, msg=msg, records=records),
        "step": {"name": step, "done": done is not None, "data": (done or {}).get("data")},
    }


def _finish(request: Request, catalogue: Catalogue, signing: Signing) -> dict[str, Any]:
    params = request.params
    run, point = params["id"], params["point"]
    if recovery_point.PointId.parse(point).application != catalogue.application:
        raise InvalidInput("finish", f"transition {run}", f"point {point} is of another application")
    return _end(request, catalogue, signing, "finish", {"point": point})


def _abort(request: Request, catalogue: Catalogue, signing: Signing) -> dict[str, Any]:
    params = request.params
    found = catalogue.state()
    foreign = bool(found and found[0].lock and found[0].lock.holder != params.get("holder"))
    attestation = _attestation(params, f"transition {params['id']} of another holder", required=foreign)
    return _end(request, catalogue, signing, "abort", {"by": params.get("holder"), "attestation": attestation})


def _end(
    request: Request, catalogue: Catalogue, signing: Signing, verb: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Finish or abort: intent, state, done; a repetition completes what is missing."""
    run = request.params["id"]
    outcome = {"finish": "finished", "abort": "aborted"}[verb]
    found = catalogue.state()
    if found is None:
        raise NotFound(verb, f"transition {run}", f"{catalogue.application} has had no transition")
    records = _Records(catalogue, run, signing)
    last = found[0].last
    if last is not None and last.run == run:
        if last.outcome != outcome:
            raise Refused(verb, f"transition {run}", f"it is {last.outcome} already")
        changed = "done" not in records.steps.get(verb, {})
        if changed and not request.check_mode:
            records.write(verb, "done", {"epoch": found[0].epoch})
        return _result(found[0], run, changed=changed, msg=f"Transition {run} is {outcome}", records=records)
    begun = (records.read("begin", "intent") or {}).get("data") or {}
    target = str(begun.get("target") or "")

    def change(state: timeline.State) -> timeline.State:
        if verb == "abort":
            return timeline.abort(state, run, target)
        return timeline.finish(state, run, target, data["point"])

    planned = change(found[0])
    if not target:
        raise NotFound(verb, f"transition {run}", "the record of its begin is missing", "Restore it from a version.")
    if request.check_mode:
        return _result(planned, run, changed=True, msg=f"Transition {run} would be {outcome}", records=records)
    records.write(verb, "intent", data)
    state = _change(catalogue, change)
    records.write(verb, "done", {"epoch": state.epoch})
    return _result(state, run, changed=True, msg=f"Transition {run} is {outcome}", records=records)


def _change(catalogue: Catalogue, change: Callable[[timeline.State], timeline.State]) -> timeline.State:
    """Apply a rule to the newest state by compare-and-swap; the rule decides again after each lost race."""
    for _attempt in range(_ATTEMPTS):
        found = catalogue.state()
        if found is None:
            raise NotFound("change", f"state of {catalogue.application}", "it vanished", "Restore state.json.")
        state = change(found[0])
        try:
            catalogue.store.swap(catalogue.state_key, timeline.encode(state), found[1])
        except Conflict:
            continue
        return state
    raise Conflict("change", f"state of {catalogue.application}", "others keep changing it", "Try again.")


def _ours(catalogue: Catalogue, run: str, verb: str) -> timeline.State:
    found = catalogue.state()
    lock = found[0].lock if found else None
    if found is None or lock is None or lock.run != run:
        whose = f"the lock belongs to {lock.holder} (transition {lock.run})" if lock else "it holds no lock"
        raise Refused(verb, f"transition {run}", whose, "It was finished or aborted; do nothing more in its name.")
    return found[0]


def _attestation(params: Mapping[str, Any], what: str, *, required: bool) -> dict[str, str] | None:
    given = params.get("attestation") or {}
    by, reason = str(given.get("by") or "").strip(), str(given.get("reason") or "").strip()
    if by and reason:
        return {"by": by, "reason": reason}
    if required or given:
        raise Refused(
            "begin" if params["state"] == "begun" else "abort",
            what,
            "nobody attests it with name and reason",
            "Set attestation.by and attestation.reason: who says that the source is down or stopped, and why.",
        )
    return None


def _result(
    state: timeline.State,
    run: str,
    *,
    changed: bool,
    msg: str,
    records: _Records | None = None,
    resumed: bool = False,
) -> dict[str, Any]:
    steps = records.steps if records else {}
    return {
        "changed": changed,
        "msg": msg,
        "id": run,
        "epoch": state.epoch,
        "active_site": state.active_site,
        "resumed": resumed,
        "steps_done": [name for name, step in sorted(steps.items(), key=lambda item: item[1]["seq"]) if "done" in step],
        "application_state": json.loads(timeline.encode(state)),
    }


def _told(name: str, state: timeline.State | None) -> str:
    if state is None:
        return f"{name} has had no transition"
    held = f", held by {state.lock.holder} since {state.lock.since}" if state.lock else ""
    return f"{name} is active at {state.active_site} in epoch {state.active_epoch}{held}"
