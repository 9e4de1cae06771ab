# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""load: books at a steady rate and writes down, durably, every booking that was acknowledged."""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, TextIO

from operate.proxy import Proxy
from operate.site import NAMESPACE, Failed, read_site

WORKERS = 6
ATTEMPT_SECONDS = 20.0
RETRY_SECONDS = 1.0
LAST_WORDS_SECONDS = 10.0

ACKNOWLEDGEMENT = {"id", "time", "hash", "reference"}
ACCOUNTS = ("assets:bank", "assets:cash", "expenses:travel", "income:sales", "liabilities:vat")


def booking(memo: str = "load") -> dict[str, Any]:
    """A random balanced booking with a small attachment."""
    reference = str(uuid.uuid4())
    debit, credit = random.sample(ACCOUNTS, 2)
    amount, currency = random.randint(1, 100_000), random.choice(("EUR", "USD"))
    padding = "".join(random.choices("abcdefghijklmnopqrstuvwxyz \n", k=random.randint(200, 4000)))
    return {
        "reference": reference,
        "memo": memo,
        "entries": [
            {"account": debit, "amount": amount, "currency": currency},
            {"account": credit, "amount": -amount, "currency": currency},
        ],
        "attachment": f"Receipt {reference}\n{padding}\n",
    }


class Journal:
    """The log of acknowledged bookings: one JSON line each, on the disk before the next is asked for."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: TextIO = path.open("a+", encoding="utf-8")
        # A killed predecessor may have left half a line.
        if self._stream.tell() and not _ends_with_newline(path):
            self._stream.write("\n")
        self.count = 0
        self.last: dict[str, Any] = {}

    def acknowledged(self, document: dict[str, Any], waited: float) -> None:
        line = {
            "id": document["id"],
            "time": document["time"],
            "hash": document["hash"],
            "reference": document["reference"],
            "acknowledged": _now(),
            "seconds": round(waited, 3),
        }
        with self._lock:
            if self._stream.closed:
                return
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self.count += 1
            if line["id"] > self.last.get("id", 0):
                self.last = line

    def close(self) -> None:
        """What arrives later was given up before and counts as not acknowledged."""
        with self._lock:
            self._stream.close()


class Outage:
    """Says once that bookings fail and why, and once that they succeed again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._reason = ""
        self.failures = 0
        self.longest = 0.0

    def failed(self, reason: str) -> None:
        with self._lock:
            self.failures += 1
            if self._since is None:
                self._since = time.monotonic()
            if reason != self._reason:
                self._reason = reason
                print(f"{_now()} no booking: {reason}; trying again", file=sys.stderr, flush=True)

    def succeeded(self) -> None:
        with self._lock:
            if self._since is not None:
                lasted = time.monotonic() - self._since
                self.longest = max(self.longest, lasted)
                print(f"{_now()} booking again after {lasted:.1f} s", file=sys.stderr, flush=True)
                self._since, self._reason = None, ""


class Load:
    """Workers that share one rhythm. Beats missed in an outage are dropped, bookings begun are retried to the end."""

    def __init__(self, proxy: Proxy, journal: Journal, rate: float) -> None:
        self._proxy = proxy
        self._journal = journal
        self._interval = 1.0 / rate
        self._next = time.monotonic()
        self._beat = threading.Lock()
        self.stop = threading.Event()
        self.outage = Outage()
        self.abandoned = 0
        self.refused: str | None = None

    def work(self) -> None:
        while not self.stop.is_set():
            with self._beat:
                now = time.monotonic()
                due = self._next = max(self._next + self._interval, now)
            if self.stop.wait(due - now):
                return
            self._book(booking())

    def _book(self, document: dict[str, Any]) -> None:
        """Posts until acknowledged: the reference makes a repeated post the same booking."""
        begun = time.monotonic()
        while True:
            try:
                status, answer = self._proxy.request("POST", "/bookings", document, ATTEMPT_SECONDS)
                if status in (200, 201) and isinstance(answer, dict) and answer.keys() >= ACKNOWLEDGEMENT:
                    self._journal.acknowledged(answer, time.monotonic() - begun)
                    self.outage.succeeded()
                    return
                reason = _reason(status, answer)
                if status == 422:
                    self.refused = reason
                    self.stop.set()
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__} {error}"
            self.outage.failed(reason)
            if self.stop.wait(RETRY_SECONDS):
                # It may be booked all the same; not acknowledged, it is nobody's loss.
                self.abandoned += 1
                return


def main() -> int:
    parser = argparse.ArgumentParser(prog="load", description="Book at a steady rate until SIGTERM.")
    parser.add_argument("--site", required=True, help="east or west")
    parser.add_argument("--namespace", default=NAMESPACE, help=f"where the ledger runs (default {NAMESPACE})")
    parser.add_argument("--rate", type=float, default=3.0, help="bookings a second (default 3)")
    parser.add_argument("--log", type=Path, required=True, help="file that gets a line per acknowledged booking")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    options = parser.parse_args()
    if not 0 < options.rate <= 1000:
        parser.error("--rate must be more than 0 and at most 1000")
    try:
        proxy = Proxy(read_site(options.site), options.namespace)
        journal = Journal(options.log)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Could not open the log {options.log}: {error.strerror}.", file=sys.stderr)
        return 1
    load = Load(proxy, journal, options.rate)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: load.stop.set())
    workers = [threading.Thread(target=load.work, daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    load.stop.wait(options.seconds)
    load.stop.set()
    patience = time.monotonic() + LAST_WORDS_SECONDS
    for worker in workers:
        worker.join(max(0.0, patience - time.monotonic()))
    journal.close()
    summary = {
        "acknowledged": journal.count,
        "failed_attempts": load.outage.failures,
        "longest_outage_seconds": round(load.outage.longest, 1),
        "abandoned": load.abandoned + sum(worker.is_alive() for worker in workers),
        "last_id": journal.last.get("id"),
        "last_time": journal.last.get("time"),
    }
    print(json.dumps(summary), flush=True)
    if load.refused:
        print(f"Could not book: the ledger refuses the bookings: {load.refused}", file=sys.stderr)
        return 1
    return 0


def _reason(status: int, answer: Any) -> str:
    said = answer.get("error") or answer.get("message") if isinstance(answer, dict) else answer
    return f"status {status}: {' '.join(str(said or '').split())[:200]}"


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
