# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.chain import chain, verify

EVENTS = [{"event": "started"}, {"event": "check", "code": "A01"}, {"event": "verdict", "verdict": "fail"}]


def test_a_chain_gives_its_events_back():
    assert [event["event"] for event in verify(chain(EVENTS))] == ["started", "check", "verdict"]


@pytest.mark.parametrize(
    "alter",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[1].replace(b"A01", b"A02"), lines[2]],
        lambda lines: [lines[0], lines[1], b"{"],
    ],
    ids=["one taken out", "order changed", "one changed", "cut off"],
)
def test_a_changed_chain_is_noticed(alter):
    lines = alter(chain(EVENTS).splitlines())
    with pytest.raises(Corrupt, match="event"):
        verify(b"\n".join(lines))
