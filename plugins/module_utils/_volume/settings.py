# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Reads the parts of options that export and import share."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks, places
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Interrupted, InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import REGISTRY_ARGUMENTS, Spec
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
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
    "network": {"type": "str"},
    "runs_in": {"type": "str", "choices": ["container", "host"], "default": "container"},
    "node_selector": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "selinux": {"type": "dict"},
}

# What these have in a pod.
_PARTS = {
    "tolerations": {"key", "operator", "value", "effect", "tolerationSeconds"},
    "selinux": {"user", "role", "type", "level"},
}

BUDGET_ARGUMENTS: Spec = {
    "classes": {"type": "dict"},
    "node": {"type": "int"},
    "repository": {"type": "int"},
}


@dataclass(frozen=True)
class Budgets:
    """How many movers may run at a time: the ``budgets`` option. None: as many as there are workers."""

    classes: Mapping[str, int] = field(default_factory=dict)
    node: int | None = None
    repository: int | None = None

    @property
    def limits(self) -> dict[str, Mapping[str, int]]:
        """For :func:`scheduling.next_to_start`; the repository's is kept by :func:`at_repository`."""
        return {"class": self.classes, "node": {"*": self.node} if self.node else {}}


def budgets(values: Mapping[str, Any] | None) -> Budgets:
    """The ``budgets`` option; :class:`InvalidInput` for a number below 1."""
    given = {name: value for name, value in (values or {}).items() if value is not None}
    classes = {
        str(name): _count(f"budgets.classes entry {name}", value) for name, value in given.pop("classes", {}).items()
    }
    return Budgets(classes, **{name: _count(f"budgets.{name}", value) for name, value in given.items()})


def _count(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise InvalidInput("use", name, f"it is {value!r}", "It is a number from 1 on.")
    return number


def workers(params: Mapping[str, Any]) -> int:
    """The ``workers`` option; :class:`InvalidInput` for a number below 1."""
    return _count("workers", params["workers"])


def excluded(application: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of the application's ``volumes.exclude``; :class:`InvalidInput` where these are no dictionaries."""
    volumes = application.get("volumes") or {}
    entries = volumes.get("exclude") or [] if isinstance(volumes, Mapping) else volumes
    if isinstance(volumes, Mapping) and isinstance(entries, list) and all(isinstance(one, Mapping) for one in entries):
        return entries
    hint = "Write volumes: {exclude: [{name: ..., reason: ...}]}; name may hold * and ?."
    raise InvalidInput("use", "volumes.exclude", f"it is {entries!r}, and no list of dictionaries", hint)


@contextlib.contextmanager
def at_repository(repository: Repository, count: int | None, progress: Progress, label: str) -> Iterator[None]:
    """Wait until fewer than ``count`` movers that this user started on this machine work on the repository."""
    if count is None:
        yield
        return
    said = False

    def wait() -> None:
        nonlocal said
        if ENDING.is_set():
            raise Interrupted("move", f"volume {label}", "the task was ended", "Run it again.")
        if not said:
            msg = f"waits for one of the {count} places at the repository"
            progress.update("volume", label, "waiting", msg=msg)
            said = True
        time.sleep(1.0)

    name = hashlib.sha256(repository.identify().encode()).hexdigest()[:16]
    with places.place(f"repository-{name}", count, wait):
        yield


def change_detection(values: Mapping[str, Any] | None) -> Callable[[str | None], str]:
    """The ``change_detection`` option: a function from a volume's driver to how unchanged files are recognised."""
    found = {str(driver): str(value) for driver, value in (values or {}).items()}
    for driver, value in found.items():
        if value not in parts.CHANGE_DETECTION:
            raise InvalidInput(
                "use",
                f"change_detection entry {driver}",
                f"it is {value!r}",
                f"It is one of {', '.join(parts.CHANGE_DETECTION)}.",
            )
    return lambda driver: found.get(driver or "", found.get("*", "strict"))


def settings(values: Mapping[str, Any] | None) -> parts.Settings:
    """The ``mover`` option with its defaults."""
    given = {name: value for name, value in (values or {}).items() if value is not None}
    for name in ("timeout", "start_timeout", "stall_timeout"):
        if name in given:
            given[name] = clock.duration(given[name])
            if given[name] <= 0:
                raise InvalidInput("use", f"mover.{name}", "it is zero", "Give it some time.")
    for name in ("node_selector", "selinux"):
        for key, value in given.get(name, {}).items():
            if not isinstance(value, str):
                what = f"{key} is {value!r}, and no text"
                raise InvalidInput("use", f"mover.{name}", what, "Put the value in quotes.")
    for name, known in _PARTS.items():
        for entry in given.get(name, []) if name == "tolerations" else [given.get(name, {})]:
            unknown = sorted(set(entry) - known)
            if unknown:
                # The API server leaves out what it does not know, and says nothing.
                hint = f"It may have {', '.join(sorted(known))}."
                raise InvalidInput("use", f"mover.{name}", f"it has no {unknown[0]} in a pod", hint)
    return parts.Settings(**given)


def in_cluster(values: Mapping[str, Any] | None) -> parts.Settings:
    """The ``mover`` option for movers in a cluster; :class:`InvalidInput` for what there is on a Docker host only."""
    known = settings(values)
    if known.runs_in != "container":
        reason = "the volumes are of a cluster, where nothing of ours runs on a node itself"
        raise InvalidInput("use", f"mover.runs_in: {known.runs_in}", reason, "Leave it out.")
    return known


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
