# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ledger-verify: prints one JSON object that says whether the ledger's data is whole.

Exit status: 0 sound, 1 problems found, 2 it could not be checked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import psycopg2

from ledger import database
from ledger.attachments import AttachmentStore
from ledger.audit import Audit, audit
from ledger.database import Unavailable

DEFAULT_TAIL = 256


def verify(attachments: AttachmentStore, *, at_least: int = 1, tail: int | None = DEFAULT_TAIL) -> Audit:
    """Walks the ledger in one consistent view of the database. Raises Unavailable."""
    try:
        connection = database.connect()
    except psycopg2.Error as error:
        raise Unavailable(str(error).strip()) from error
    try:
        database.snapshot(connection)
        with connection:
            head = database.head(connection)
            return audit(database.walk(connection), head, attachments.check, at_least=at_least, tail=tail)
    except psycopg2.Error as error:
        raise Unavailable(f"the bookings cannot be read: {str(error).strip()}") from error
    finally:
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="ledger-verify", description="Prove that the ledger's data is whole.")
    parser.add_argument("--at-least", type=int, default=1, metavar="N", help="fewer bookings are a problem (default 1)")
    parser.add_argument(
        "--tail", type=int, default=DEFAULT_TAIL, metavar="N",
        help=f"how many of the newest bookings' hashes to print, 0 for all (default {DEFAULT_TAIL})",
    )  # fmt: skip
    options = parser.parse_args()
    attachments = AttachmentStore(Path(os.environ["LEDGER_ATTACHMENTS"]))
    try:
        result = verify(attachments, at_least=options.at_least, tail=options.tail or None)
    except (Unavailable, OSError) as error:
        empty = Audit()
        empty.found("unavailable", None, str(error))
        print(json.dumps(empty.document()))
        return 2
    print(json.dumps(result.document()))
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
