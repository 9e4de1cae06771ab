# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Programs of others, in a session of their own: none can ask on a terminal, and none outlives its caller's patience.

``AnsibleModule.run_command`` is not used: the engine has no module at hand, reads output while it comes, and must end
a program that hangs together with the programs that this one started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, AnyStr

GRACE = 10.0
"""Seconds that a program has to tidy up after SIGTERM."""


class Process(subprocess.Popen[AnyStr]):
    """A program that leads a session of its own."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        """Start ``command`` (a list, never a shell); ``options`` are those of :class:`subprocess.Popen`."""
        super().__init__(list(command), start_new_session=True, **{"stdin": subprocess.DEVNULL, **options})

    def stop(self, grace: float = GRACE) -> None:
        """End the program and all that it started, if it still runs: SIGTERM first, SIGKILL after ``grace`` seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(timeout=grace)


@dataclass(frozen=True)
class Finished:
    """What a program that ended has left."""

    code: int
    out: bytes
    err: bytes


def run(command: Sequence[str], *, timeout: float, data: bytes = b"", env: Mapping[str, str] | None = None) -> Finished:
    """Run ``command`` to its end with ``data`` as its input.

    Raises :class:`OSError` if it can not be started and :class:`TimeoutError` if it did not end within ``timeout``
    seconds (it is stopped then). Neither carries the arguments or the output, which may hold secrets.
    """
    process: Process[bytes] = Process(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            out, err = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"did not end within {timeout:.0f} s") from None
        finally:
            process.stop(grace=2.0)
    return Finished(process.returncode, out, err)
