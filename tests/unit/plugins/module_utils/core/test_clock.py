# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("7d", 604800),
        ("1.5h", 5400),
        (" 2W ", 1209600),
        (42, 42),
        (0.5, 0.5),
    ],
)
def test_durations_are_read_in_the_ways_people_write_them(text, seconds):
    assert clock.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "15 minutes", "-5", -1, "5m now", "1y"])
def test_a_duration_that_is_none_is_refused_by_name(text):
    with pytest.raises(InvalidInput, match="duration"):
        clock.duration(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T04:05:06Z", "2026-01-31T04:05:06.000Z"),
        ("2026-01-31T04:05:06.123456789Z", "2026-01-31T04:05:06.123Z"),
        ("2026-01-31T04:05:06.5+02:00", "2026-01-31T02:05:06.500Z"),
        ("2026-01-31 04:05:06-0130", "2026-01-31T05:35:06.000Z"),
    ],
)
def test_times_of_any_precision_and_offset_become_utc(text, same):
    assert clock.iso(clock.parse(text)) == same


def test_a_time_with_nine_nines_does_not_overflow_its_second():
    assert clock.parse("2026-01-31T23:59:59.999999999Z") == datetime(2026, 2, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T24:00:01Z",
        "2016-12-31T23:59:60Z",
        "0001-01-01T00:00:00+02:00",
    ],
)
def test_a_day_or_an_hour_that_there_is_not_is_refused(text):
    with pytest.raises(InvalidInput, match="there is no such time"):
        clock.parse(text)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T04:05:06"])
def test_a_time_without_its_zone_is_refused(text):
    with pytest.raises(InvalidInput, match="RFC 3339"):
        clock.parse(text)
