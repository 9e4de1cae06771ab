# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one family of errors that the engine raises.

Each error names the action, the object, the reason and what to do about it. Only the module layer turns one into
a failed task; engine code never exits.
"""

from __future__ import annotations

from typing import Any


class MusterError(Exception):
    """An action on an object that failed for a known reason.

    ``action`` is an infinitive without "to" ("read"), ``target`` the object ("PersistentVolumeClaim ledger/data"),
    ``reason`` what stood in the way, ``hint`` what the user can do. ``result`` holds what was reached before
    the failure and is returned with it.
    """

    def __init__(
        self, action: str, target: str, reason: str, hint: str = "", *, result: dict[str, Any] | None = None
    ) -> None:
        self.action = action
        self.target = target
        self.reason = reason.strip().rstrip(".")
        self.hint = hint.strip()
        self.result: dict[str, Any] = result or {}
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"Could not {self.action} {self.target}: {self.reason}."
        return f"{text} {self.hint}" if self.hint else text


class InvalidInput(MusterError):
    """An option, a document or a name that cannot be used as given."""


class NotFound(MusterError):
    """Something that was named and is not there."""


class Refused(MusterError):
    """Allowed by the servers, refused by us or by a rule, because something would be lost or overwritten."""


class Conflict(Refused):
    """Somebody else changed or created the object first."""


class Unavailable(MusterError):
    """A server that cannot be reached, or whose passing faults outlasted the retries."""


class Denied(MusterError):
    """Credentials that were refused or do not suffice."""


class Incomplete(MusterError):
    """Work that ended, but not with all that was asked for."""


class Corrupt(MusterError):
    """Bytes that are not what their digest, signature or format says."""


class Interrupted(Incomplete):
    """Somebody asked the task to end."""
