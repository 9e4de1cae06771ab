# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ledger-post: posts bookings through the ledger's HTTP interface, as the CronJob does each minute."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

ACCOUNTS = ("assets:bank", "assets:cash", "expenses:travel", "income:sales", "liabilities:vat")


def example(memo: str, currencies: tuple[str, ...] = ("EUR", "USD")) -> dict[str, Any]:
    """A random balanced booking of two or three entries with a small attachment."""
    reference = str(uuid.uuid4())
    currency = random.choice(currencies)
    accounts = random.sample(ACCOUNTS, random.choice((2, 3)))
    amounts = [random.randint(1, 100_000) for _ in accounts[1:]]
    lines = zip(accounts, [*amounts, -sum(amounts)], strict=True)
    padding = "".join(random.choices("abcdefghijklmnopqrstuvwxyz \n", k=random.randint(200, 4000)))
    return {
        "reference": reference,
        "memo": memo,
        "entries": [{"account": account, "amount": amount, "currency": currency} for account, amount in lines],
        "attachment": f"Receipt {reference}\n{padding}\n",
    }


def post(url: str, booking: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Posts one booking; raises OSError or ValueError unless it was acknowledged."""
    request = urllib.request.Request(
        f"{url}/bookings", data=json.dumps(booking).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        document = json.load(response)
    if not isinstance(document, dict) or "hash" not in document:
        raise ValueError("the answer is not a booking")
    return document


def main() -> int:
    parser = argparse.ArgumentParser(prog="ledger-post", description="Post random bookings.")
    parser.add_argument("--count", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--memo", default="scheduled", help="text of the bookings")
    parser.add_argument("--url", default=os.environ.get("LEDGER_URL", "http://api"), help="the ledger's address")
    parser.add_argument("--patience", type=float, default=45, metavar="SECONDS", help="how long to retry each booking")
    options = parser.parse_args()
    last: dict[str, Any] = {}
    for _ in range(options.count):
        booking = example(options.memo)
        deadline = time.monotonic() + options.patience
        while True:
            try:
                last = post(options.url, booking, timeout=max(1.0, deadline - time.monotonic()))
                break
            except (OSError, ValueError) as error:
                reason = f"{error}"
                if isinstance(error, urllib.error.HTTPError):
                    reason += f": {error.read(500).decode(errors='replace').strip()}"
                if time.monotonic() > deadline or (isinstance(error, urllib.error.HTTPError) and error.code == 422):
                    print(f"Could not post a booking to {options.url}: {reason}", file=sys.stderr)
                    return 1
                time.sleep(1)
    print(json.dumps({"posted": options.count, "last_id": last.get("id"), "last_hash": last.get("hash")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
