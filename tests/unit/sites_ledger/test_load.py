# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""load against a ledger that fails as real ones do."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from operate import load as program
from operate.compare import read_log
from operate.load import Journal, Load


class Ledger:
    """Stands for the service proxy: answers what the test wants, remembers references as the real one does."""

    def __init__(self, *answers: Any) -> None:
        self._lock = threading.Lock()
        self._answers = list(answers)
        self.booked: dict[str, int] = {}

    def request(self, method: str, path: str, body: Any = None, timeout: float = 0) -> tuple[int, Any]:
        assert (method, path) == ("POST", "/bookings")
        assert sum(entry["amount"] for entry in body["entries"]) == 0
        with self._lock:
            answer = self._answers.pop(0) if self._answers else None
            if isinstance(answer, tuple):
                return answer
            number = self.booked.setdefault(body["reference"], len(self.booked) + 1)
            if answer is not None:
                raise answer
        moment = f"2026-11-21T04:00:{number % 60:02d}.000000Z"
        return 201, {"id": number, "time": moment, "hash": f"h{number}", "reference": body["reference"]}


def run(ledger: Ledger, path: Path, until: int) -> Load:
    journal = Journal(path)
    load = Load(ledger, journal, rate=200.0)  # type: ignore[arg-type]
    workers = [threading.Thread(target=load.work) for _worker in range(3)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 10
    while len(ledger.booked) < until and not load.stop.is_set() and time.monotonic() < deadline:
        time.sleep(0.005)
    load.stop.set()
    for worker in workers:
        worker.join()
    journal.close()
    return load


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "RETRY_SECONDS", 0.01)


def test_every_acknowledged_booking_is_in_the_log(tmp_path: Path) -> None:
    ledger = Ledger()
    run(ledger, tmp_path / "log", until=30)
    assert [one.id for one in read_log((tmp_path / "log").read_text().splitlines())] == list(
        range(1, len(ledger.booked) + 1)
    )


def test_outages_are_survived_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    ledger = Ledger(refused, refused, refused, (503, {"error": "frozen"}), http.client.RemoteDisconnected("gone"))
    load = run(ledger, tmp_path / "log", until=10)
    assert load.outage.failures == 5
    assert load.refused is None
    said = capsys.readouterr().err
    assert said.count("Connection refused") == 1
    assert "booking again after" in said


def test_a_lost_acknowledgement_does_not_book_twice(tmp_path: Path) -> None:
    ledger = Ledger(TimeoutError("timed out"))
    run(ledger, tmp_path / "log", until=5)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len({line["reference"] for line in lines}) == len(lines)
    assert 1 in {line["id"] for line in lines}


def test_a_refusal_ends_the_load(tmp_path: Path) -> None:
    load = run(Ledger((422, {"error": "no Currency has the code EUR"})), tmp_path / "log", until=10**6)
    assert load.refused == "status 422: no Currency has the code EUR"


def test_half_a_line_of_a_killed_run_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"id": 1, "ti')
    run(Ledger(), log, until=3)
    assert len(read_log(log.read_text().splitlines())) >= 3
