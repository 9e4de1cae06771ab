# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a check says, and what all of them together say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.clock import Stopwatch
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError


class Result(str, Enum):
    """``SKIP``: did not apply. ``ERROR``: applied and could not be run, so nothing is known."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one run of a check found."""

    result: Result
    msg: str
    next_step: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A named test; ``run`` may raise a :class:`MusterError`, which counts as ``ERROR``."""

    code: str
    name: str
    run: Callable[[], Finding]
    required: bool = True


@dataclass(frozen=True)
class CheckResult:
    """A check that was run, ready for reports."""

    code: str
    name: str
    result: Result
    required: bool
    seconds: float
    msg: str
    next_step: str
    details: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """The same as a dictionary of JSON types."""
        return {**asdict(self), "result": self.result.value}


def perform(check: Check) -> CheckResult:
    """Run one check; an error of the engine is a result, not an end."""
    watch = Stopwatch()
    try:
        finding = check.run()
    except MusterError as error:
        finding = Finding(Result.ERROR, str(error), "Mend what kept the check from running and drill again.")
    return CheckResult(
        check.code,
        check.name,
        finding.result,
        check.required,
        watch.seconds,
        finding.msg,
        finding.next_step,
        finding.details,
    )


def verdict(results: Iterable[CheckResult]) -> str:
    """``pass``, ``fail`` or ``unknown``.

    A required check that failed fails everything. A required one that did not run, for whatever reason, leaves the
    verdict unknown, as does an empty list: a drill that looked at nothing proves nothing.
    """
    required = [result.result for result in results if result.required]
    if Result.FAIL in required:
        return "fail"
    if not required or any(result in (Result.ERROR, Result.SKIP) for result in required):
        return "unknown"
    return "pass"
