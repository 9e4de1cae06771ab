# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``restore_validate``: run all checks of a restored application and say what they mean together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan.application import Application, parse
from ansible_collections.muster.container_dr.plugins.module_utils._validate import data, health, images, isolation
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import (
    Check,
    CheckResult,
    Finding,
    Result,
    perform,
    verdict,
)

_KINDS: Mapping[str, Callable[[Cluster, Mapping[str, Any], Mapping[str, str]], Finding]] = {
    "exec": data.command,
    "http": data.http,
}
_NEEDED = {"exec": ("name", "command"), "http": ("name", "service", "port")}


def validate(request: Request) -> dict[str, Any]:
    """Run the built-in checks and the application's own, in the order of their codes."""
    params = request.params
    point: Mapping[str, Any] = params["point"]
    application: Mapping[str, Any] = params["application"]
    namespaces: dict[str, str] = params.get("namespaces") or {name: name for name in application["namespaces"]}
    # A check that names no namespace means the application's first one.
    first = [name for name in application["namespaces"] if name in namespaces]
    namespaces = {name: namespaces[name] for name in dict.fromkeys([*first, *namespaces])}
    known = parse(application)
    own = _own_checks(known)
    cluster = Cluster.connect(params)
    cluster.version()
    timeout = clock.duration(params["timeout"])
    counts: Mapping[str, int] = (point.get("objects") or {}).get("counts") or {}
    waited = health.wait_until_healthy(
        cluster,
        list(namespaces.values()),
        timeout=timeout,
        counts=counts,
        ignore=[*params["ignore"], *known.health_ignore],
        progress=request.progress,
    )
    checks = [
        Check("A01", health.NAME, partial(health.ready, cluster, waited, timeout)),
        Check("A02", "every workload is back", partial(health.scale, waited.look, counts)),
        Check(
            "D01",
            "volumes are complete",
            partial(data.volumes, point.get("volumes") or [], params.get("volumes") or []),
        ),
        Check(
            "G01",
            "images are those of the point",
            partial(
                images.digests,
                cluster,
                list(namespaces.values()),
                point.get("images") or [],
                point.get("excluded") or [],
            ),
        ),
        *_application_checks(cluster, own, namespaces),
    ]
    results = [_one(check, request.progress) for check in checks]
    if params.get("isolation"):
        results += _isolation(cluster, params["isolation"], list(namespaces.values()), request.progress)
    results.sort(key=lambda result: result.code)
    return _answer(results, point, params, application, waited.seconds)


def _one(check: Check, progress: Progress) -> CheckResult:
    progress.update("check", f"{check.code} {check.name}", "running")
    result = perform(check)
    good = result.result in (Result.PASS, Result.WARN, Result.SKIP)
    progress.update("check", f"{check.code} {check.name}", "done" if good else "failed", msg=result.msg)
    return result


def _own_checks(application: Application) -> list[Mapping[str, Any]]:
    for check in application.checks:
        kind = str(check.get("kind"))
        what = f"check {check.get('name')!r} of application {application.name!r}"
        if kind not in _KINDS:
            raise InvalidInput("use", what, f"there is no kind {kind!r}", f"Use one of: {', '.join(_KINDS)}.")
        missing = [key for key in _NEEDED[kind] if not check.get(key)]
        if missing:
            raise InvalidInput(
                "use", what, f"it lacks {', '.join(missing)}", "Complete it in the application variable."
            )
    return list(application.checks)


def _application_checks(
    cluster: Cluster, checks: Sequence[Mapping[str, Any]], namespaces: Mapping[str, str]
) -> list[Check]:
    """The user's checks, numbered within their group from the first free code: A03, A04, … and D02, D03, …"""
    numbers = {"A": 3, "D": 2}
    listed = []
    for check in checks:
        group = "A" if check["kind"] == "http" else "D"
        code = f"{group}{numbers[group]:02d}"
        numbers[group] += 1
        run = partial(_KINDS[check["kind"]], cluster, check, namespaces)
        listed.append(Check(code, str(check["name"]), run, bool(check.get("required", True))))
    return listed


def _isolation(
    cluster: Cluster, options: Mapping[str, Any], namespaces: Sequence[str], progress: Progress
) -> list[CheckResult]:
    control: dict[str, bool] = {}
    inside: dict[str, bool] = {}
    targets = isolation.default_targets(cluster, options.get("targets") or [])
    common = {"image": options["image"], "registry": options.get("registry"), "run": options["run"]}

    def run_control() -> Finding:
        with isolation.namespace(cluster, marks.NAMESPACE):
            control.update(isolation.probe(cluster, marks.NAMESPACE, targets, unwanted="closed", **common))
        return isolation.controlled(control)

    def run_inside() -> Finding:
        for namespace in namespaces:
            seen = isolation.probe(cluster, namespace, targets, unwanted="open", **common)
            inside.update({target: inside.get(target, False) or reached for target, reached in seen.items()})
        return isolation.closed(inside, control)

    # The control first: without it the probe from inside has nothing to be held against.
    checks = [
        Check("I02", "the isolation probe works", run_control),
        Check("I01", "nothing in the bubble reaches outside", run_inside),
        Check("I03", "egress is denied by default", partial(isolation.denied, cluster, namespaces)),
        Check("I04", "nothing in the bubble is exposed", partial(isolation.hidden, cluster, namespaces)),
    ]
    return [_one(check, progress) for check in checks]


def _answer(
    results: Sequence[CheckResult],
    point: Mapping[str, Any],
    params: Mapping[str, Any],
    application: Mapping[str, Any],
    healthy_after: float,
) -> dict[str, Any]:
    incident = clock.parse(params["incident"]) if params.get("incident") else clock.now()
    target = parse(application).targets.rpo
    lost = (incident - clock.parse(point["consistency"]["point"])).total_seconds()
    told = [result.details["data_until"] for result in results if result.details.get("data_until")]
    until = min(told) if told else None
    overall = verdict(results)
    counts = {kind.value: sum(1 for result in results if result.result is kind) for kind in Result}
    answer = {
        "changed": False,
        "msg": _sentence(overall, results),
        "verdict": overall,
        "checks": [result.document() for result in results],
        "counts": counts,
        "healthy_after": healthy_after,
        "data_until": until,
        "rpo": {
            "incident": clock.iso(incident),
            "seconds": lost,
            "target_seconds": target,
            "met": None if target is None else lost <= target,
            "data_seconds": (incident - clock.parse(until)).total_seconds() if until else None,
        },
    }
    if overall != "pass" and params.get("fail_on_verdict"):
        raise _NotPassed(answer)
    return answer


def _sentence(overall: str, results: Sequence[CheckResult]) -> str:
    bad = [result for result in results if result.required and result.result is not Result.PASS]
    if overall == "pass":
        return f"{len(results)} checks, all required ones passed"
    first = bad[0] if bad else None
    return (
        f"verdict {overall}: {first.code} {first.name}: {first.msg}" if first else f"verdict {overall}: no checks ran"
    )


class _NotPassed(MusterError):
    """The verdict as an error, for callers that want the task to fail."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(
            "vouch for", "the restored application", answer["msg"], "See the failed checks' next steps.", result=answer
        )
