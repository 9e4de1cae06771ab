# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from operate import compare as program
from operate.compare import Acknowledged, Unusable, compare, read_log

START = datetime.datetime(2026, 11, 21, 4, 0, tzinfo=datetime.timezone.utc)


def at(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


def acknowledged(*numbers: int, line: str = "h") -> list[Acknowledged]:
    return [Acknowledged(number, at(number), f"{line}{number}") for number in numbers]


def verified(last: int, tail: int, *, line: str = "h", ok: bool = True) -> dict[str, Any]:
    first = max(1, last - tail + 1)
    return {
        "ok": ok,
        "bookings": last,
        "data_until": at(last).isoformat() if last else None,
        "last_id": last or None,
        "last_hash": f"{line}{last}",
        "tail": [[number, f"{line}{number}"] for number in range(first, last + 1)],
    }


def test_nothing_lost() -> None:
    result = compare(acknowledged(*range(1, 101)), verified(100, 10))
    assert (result["ok"], result["missing"], result["rpo_seconds"]) == (True, 0, 0.0)


def test_the_newest_lost() -> None:
    result = compare(acknowledged(*range(1, 101)), verified(90, 10))
    assert (result["ok"], result["missing"], result["rpo_seconds"]) == (False, 10, 10.0)
    assert result["first_missing"] == "2026-11-21T04:01:31.000000Z"
    assert result["missing_ids"] == list(range(91, 101))


def test_the_disaster_came_later_than_the_last_acknowledgement() -> None:
    assert compare(acknowledged(1, 2, 3), verified(2, 10), disaster=at(60))["rpo_seconds"] == 58.0


def test_losses_after_the_consistency_point_are_within_what_was_stated() -> None:
    log = acknowledged(*range(1, 101))
    assert compare(log, verified(90, 10), consistency_point=at(90.5))["ok"]
    beyond = compare(log, verified(90, 10), consistency_point=at(92))
    assert (beyond["ok"], beyond["missing_before_consistency_point"]) == (False, 2)


def test_numbers_used_again_after_a_failover_do_not_hide_losses() -> None:
    """The other site went on at 91 with bookings of its own."""
    after = verified(200, 200)
    after["tail"] = [[number, f"{'h' if number <= 90 else 'w'}{number}"] for number in range(1, 201)]
    log = acknowledged(*range(1, 101)) + acknowledged(*range(95, 201), line="w")
    result = compare(log, after)
    assert result["missing_ids"] == list(range(91, 101))
    assert (result["kept_until"], result["rpo_seconds"]) == ("2026-11-21T04:01:30.000000Z", 10.0)


def test_a_tail_that_is_too_short_to_tell() -> None:
    with pytest.raises(Unusable, match="--tail 0"):
        compare(acknowledged(1, 2, 3), verified(100, 10))


def test_a_broken_chain_proves_nothing_about_older_bookings() -> None:
    with pytest.raises(Unusable, match="--tail 0"):
        compare(acknowledged(*range(1, 101)), verified(100, 10, ok=False))


def test_unsound_data_is_never_good() -> None:
    result = compare(acknowledged(1, 2, 3), verified(3, 3, ok=False))
    assert (result["ok"], result["verified"], result["missing"]) == (False, False, 0)


def test_an_empty_ledger_lost_everything() -> None:
    result = compare(acknowledged(1, 2, 3), verified(0, 10, ok=False))
    assert (result["ok"], result["missing"], result["rpo_seconds"]) == (False, 3, None)


def test_an_empty_log_says_nothing() -> None:
    with pytest.raises(Unusable, match="no acknowledged"):
        compare([], verified(3, 3))


def test_a_log_with_a_line_cut_off_by_a_kill() -> None:
    good = json.dumps({"id": 1, "time": "2026-11-21T04:00:01.000000Z", "hash": "h1"})
    assert read_log([good, good, '{"id": 2, "ti', "", "[]", '{"id": 3}']) == acknowledged(1)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    log, verify = tmp_path / "log", tmp_path / "verify"
    log.write_text("".join(json.dumps({"id": n, "time": at(n).isoformat(), "hash": f"h{n}"}) + "\n" for n in (1, 2)))
    verify.write_text(json.dumps(verified(1, 5)))
    arguments = ["compare", "--log", str(log), "--verify", str(verify)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert program.main() == 1
    assert json.loads(capsys.readouterr().out)["missing_ids"] == [2]
    monkeypatch.setattr(sys, "argv", [*arguments, "--consistency-point", "2026-11-21T04:00:01.500Z"])
    assert program.main() == 0
    verify.write_text("nonsense")
    assert program.main() == 2
    assert "Could not compare" in capsys.readouterr().err
