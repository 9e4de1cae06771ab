# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger's tables in PostgreSQL."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from ledger.chain import Booking, Draft, Entry, Head, InvalidBooking, link

# A writer outwaits any freeze: ledger-freeze refuses more than 150 seconds.
LOCK_PATIENCE_SECONDS = 180

_COLUMNS = "id, booked_at, reference, memo, attachment_sha256, attachment_bytes, previous_hash, hash"
_ENTRIES = (
    "(SELECT json_agg(json_build_array(account, amount, currency) ORDER BY line)"
    " FROM entries WHERE booking_id = bookings.id)"
)


class Unavailable(RuntimeError):
    """The database could not do it now; nothing was acknowledged and the request may be repeated."""


def connect(*, connect_timeout: int = 5, statement_timeout: int = 0) -> Connection:
    """A connection by PGHOST, PGDATABASE, PGUSER and LEDGER_PASSWORD_FILE. Raises Unavailable; seconds."""
    try:
        password = Path(os.environ["LEDGER_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
    except KeyError:
        password = None
    except OSError as error:
        raise Unavailable(f"the password file cannot be read: {error.strerror}") from error
    try:
        return psycopg2.connect(
            password=password,
            connect_timeout=connect_timeout,
            application_name="ledger",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15_000,
            options=f"-c lock_timeout={LOCK_PATIENCE_SECONDS}s -c statement_timeout={statement_timeout}s"
            " -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
        )
    except psycopg2.OperationalError as error:
        raise Unavailable(f"the database does not answer: {_first_line(error)}") from error


class Pool:
    """Up to ``size`` connections, made when needed; a broken one is thrown away."""

    def __init__(self, size: int) -> None:
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._slots = threading.BoundedSemaphore(size)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection with a transaction that is committed at the end, rolled back on an exception."""
        if not self._slots.acquire(timeout=LOCK_PATIENCE_SECONDS):
            raise Unavailable("all database connections are busy")
        try:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = connect()
            try:
                with connection:
                    yield connection
            except psycopg2.Error as error:
                connection.close()
                # Idle ones have most likely lost the same server; a fresh one is cheap.
                self._close_idle()
                raise Unavailable(f"the database broke off: {_first_line(error)}") from error
            except BaseException:
                connection.close()
                raise
            self._idle.put(connection)
        finally:
            self._slots.release()

    def _close_idle(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class Probe:
    """One connection kept for readiness, so that a probe never queues behind waiting writers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def check(self) -> None:
        """Raises Unavailable unless the ledger's tables can be read now."""
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(connect_timeout=2, statement_timeout=2)
                with self._connection, self._connection.cursor() as cursor:
                    cursor.execute("SELECT id FROM chain_head")
            except psycopg2.Error as error:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                raise Unavailable(f"the ledger's tables cannot be read: {_first_line(error)}") from error


def append(connection: Connection, draft: Draft, attachment: str, attachment_bytes: int) -> tuple[Booking, bool]:
    """Appends a booking in the connection's transaction; returns it and whether it is new.

    The row lock on the chain's head makes all replicas append one after the other. It is also where a writer waits
    while the ledger is frozen, before it takes the time: a booking is never older than the freeze that held it up.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, booked_at, hash FROM chain_head FOR UPDATE")
        row = cursor.fetchone()
        if row is None:
            raise Unavailable("the record of the chain's end is missing")
        head = Head(id=row[0], time=row[1], hash=row[2])
        cursor.execute(f"SELECT {_COLUMNS}, {_ENTRIES} FROM bookings WHERE reference = %s", (draft.reference,))
        row = cursor.fetchone()
        if row is not None:
            present = _booking(row)
            if (present.memo, present.entries, present.attachment) != (draft.memo, draft.entries, attachment):
                raise InvalidBooking(f"reference {draft.reference} is taken by booking {present.id} with other content")
            return present, False
        cursor.execute("SELECT clock_timestamp()")
        now: datetime.datetime = cursor.fetchone()[0]
        booking = link(head, now, draft, attachment, attachment_bytes)
        cursor.execute(
            f"INSERT INTO bookings ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                booking.id,
                booking.time,
                booking.reference,
                booking.memo,
                booking.attachment,
                booking.attachment_bytes,
                booking.previous,
                booking.hash,
            ),
        )
        cursor.execute(
            "INSERT INTO entries (booking_id, line, account, amount, currency)"
            " SELECT %s, line, account, amount, currency"
            " FROM unnest(%s::text[], %s::bigint[], %s::text[])"
            " WITH ORDINALITY AS given (account, amount, currency, line)",
            (
                booking.id,
                [entry.account for entry in booking.entries],
                [entry.amount for entry in booking.entries],
                [entry.currency for entry in booking.entries],
            ),
        )
        cursor.execute(
            "UPDATE chain_head SET id = %s, booked_at = %s, hash = %s", (booking.id, booking.time, booking.hash)
        )
    return booking, True


def head(connection: Connection) -> Head | None:
    """The recorded end of the chain."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, booked_at, hash FROM chain_head")
        row = cursor.fetchone()
    return Head(id=row[0], time=row[1], hash=row[2]) if row else None


def find(connection: Connection, number: int | None) -> Booking | None:
    """One booking by id, or the newest."""
    which = "ORDER BY id DESC LIMIT 1" if number is None else "WHERE id = %(number)s"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS}, {_ENTRIES} FROM bookings {which}", {"number": number})
        row = cursor.fetchone()
    return _booking(row) if row else None


def walk(connection: Connection) -> Iterator[Booking]:
    """All bookings by id, streamed. The transaction should be REPEATABLE READ, so that the head fits."""
    # The tables are read side by side; a subquery for each booking would cost ten times as much.
    with connection.cursor(name="bookings") as bookings, connection.cursor(name="entries") as entries:
        bookings.itersize = entries.itersize = 5000
        bookings.execute(f"SELECT {_COLUMNS} FROM bookings ORDER BY id")
        entries.execute("SELECT booking_id, account, amount, currency FROM entries ORDER BY booking_id, line")
        pending = next(entries, None)
        for row in bookings:
            lines: list[list[Any]] = []
            while pending is not None and pending[0] <= row[0]:
                if pending[0] == row[0]:
                    lines.append(list(pending[1:]))
                pending = next(entries, None)
            yield _booking((*row, lines))


def balances(connection: Connection) -> dict[str, int]:
    """Sum of all entries per currency: every one is zero in a sound ledger."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT currency, sum(amount)::bigint FROM entries GROUP BY currency ORDER BY currency")
        return dict(cursor.fetchall())


def snapshot(connection: Connection) -> None:
    """Makes the connection's next transaction one consistent, read-only view."""
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)


def _booking(row: tuple[Any, ...]) -> Booking:
    lines = row[8] or []
    if isinstance(lines, str):
        lines = json.loads(lines)
    return Booking(
        id=row[0],
        time=row[1],
        reference=row[2],
        memo=row[3],
        entries=tuple(Entry(account, int(amount), currency) for account, amount, currency in lines),
        attachment=row[4],
        attachment_bytes=row[5],
        previous=row[6],
        hash=row[7],
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
