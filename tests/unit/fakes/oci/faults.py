# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script of what goes wrong with which requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose ``METHOD /path`` matches ``pattern``.

    Before the request is served: ``reset`` hangs up, ``status`` answers at once (with ``headers`` and ``body``),
    ``then`` is called first, ``swallow`` keeps so many bytes of the request's body in the session and hangs up.
    In the answer: ``headers`` replace its own (``None`` leaves one out), ``content`` its body, ``flip`` changes one
    byte, ``length`` is added to Content-Length, ``cut`` hangs up after so many bytes (0: after the headers),
    ``drip`` sends ten pieces so many seconds apart, ``lost`` hangs up instead of answering, ``parts`` after it, without
    having said so.
    ``stalls`` is called after the first bytes of the request's body were taken, ``served`` after the answer was sent.
    A fault with nothing lets a request pass.
    """

    pattern: str
    times: int = 1
    status: int = 0
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes = b""
    content: bytes | None = None
    reset: bool = False
    lost: bool = False
    parts: bool = False
    cut: int = -1
    flip: bool = False
    swallow: int = -1
    length: int = 0
    drip: float = 0.0
    then: Callable[[], object] | None = None
    stalls: Callable[[], object] | None = None
    served: Callable[[], object] | None = None


class Script:
    """Faults in the order in which they were written; the first that matches and is not used up happens."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._lock = threading.Lock()

    def fault(self, pattern: str, **what: Any) -> None:
        self.faults.append(Fault(pattern, **what))

    def take_fault(self, line: str) -> Fault:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return Fault("")
