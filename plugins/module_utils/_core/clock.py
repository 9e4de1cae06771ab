# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Times and durations: aware UTC datetimes inside, ISO 8601 with ``Z`` outside, seconds for lengths."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timedelta, timezone

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST = 365_000 * 86400.0
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
# RFC 3339 as servers write it: up to nine fractional digits, which Python 3.10 does not read.
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d):?(\d\d))$")


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(timezone.utc)


def iso(moment: datetime) -> str:
    """``2026-01-31T04:05:06.789Z``: UTC, milliseconds, sorts as text."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def stamp(moment: datetime) -> str:
    """``20260131T040506789Z``: the same for names of files."""
    utc = moment.astimezone(timezone.utc)
    return f"{utc:%Y%m%dT%H%M%S}{utc.microsecond // 1000:03d}Z"


def parse(text: str) -> datetime:
    """Read an RFC 3339 time with any precision and offset; :class:`InvalidInput` for anything else."""
    match = _STAMP.match(text.strip())
    if not match:
        raise InvalidInput("read", f"time {text!r}", "it is not RFC 3339", "Write it as 2026-01-31T04:05:06Z.")
    day, clock, fraction, _zulu, hours, minutes = match.groups()
    micros = round(float(fraction or "0") * 1_000_000)
    try:
        moment = datetime.strptime(f"{day}T{clock}", "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
        if hours:
            offset = timedelta(hours=abs(int(hours)), minutes=int(minutes))
            moment = moment + offset if hours.startswith("-") else moment - offset
        return moment + timedelta(microseconds=micros)
    except (ValueError, OverflowError):
        raise InvalidInput("read", f"time {text!r}", "there is no such time", "Correct it.") from None


def duration(value: str | int | float) -> float:
    """Seconds from a number or from text such as ``90``, ``15m``, ``1h30m``, ``7d``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip().lower()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            seconds = float(text)
        elif text and not _PART.sub("", text):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        else:
            raise InvalidInput("read", f"duration {value!r}", "it is not a length of time", "Write 90, 15m or 1h30m.")
    if seconds < 0:
        raise InvalidInput("read", f"duration {value!r}", "it is negative", "Write 90, 15m or 1h30m.")
    # No calendar reaches as far as somebody who means for ever.
    if seconds > _LONGEST or math.isnan(seconds):
        raise InvalidInput("read", f"duration {value!r}", "it is longer than 1000 years", "Write at most 365000d.")
    return seconds


class Stopwatch:
    """Seconds since it was made, by the monotonic clock."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 3)


def pause(elapsed: float, longest: float) -> float:
    """Seconds until the next look at what has taken ``elapsed`` so far: a tenth of that.

    So what is short is seen soon, and what is long costs little.
    """
    return min(longest, max(0.1, elapsed / 10))
