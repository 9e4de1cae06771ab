# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Reads the parts of options that export and import share."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Interrupted, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import REGISTRY_ARGUMENTS, Spec
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts

MOVER_ARGUMENTS: Spec = {
    "image": {"type": "str", "default": parts.IMAGE},
    "namespace": {"type": "str", "default": marks.NAMESPACE},
    "registry": {"type": "dict", "options": REGISTRY_ARGUMENTS},
    "timeout": {"type": "str", "default": "4h"},
    "start_timeout": {"type": "str", "default": "5m"},
    "stall_timeout": {"type": "str", "default": "2m"},
    "resources": {"type": "dict"},
    "pull_policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"]},
}


def settings(values: Mapping[str, Any] | None) -> parts.Settings:
    """The ``mover`` option with its defaults."""
    given = {name: value for name, value in (values or {}).items() if value is not None}
    for name in ("timeout", "start_timeout", "stall_timeout"):
        if name in given:
            given[name] = clock.duration(given[name])
            if given[name] <= 0:
                raise InvalidInput("use", f"mover.{name}", "it is zero", "Give it some time.")
    return parts.Settings(**given)


def host(site: str, namespace: str, claim: str) -> str:
    """The host under which a volume's snapshots stand in the repository; stable, so that parents are found."""
    return f"k8s:{site}/{namespace}/{claim}"


# A signal is an error in the main thread only; whoever waits in another thread looks here.
ENDING = threading.Event()


@contextlib.contextmanager
def interruptible(target: str) -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an error, so that applications are thawed and movers removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if ENDING.is_set():  # tidying up already; a second signal must not leave half of it
            return
        ENDING.set()
        raise Interrupted("finish", target, f"it was ended by {signal.Signals(number).name}", "Run it again.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ENDING.clear()
