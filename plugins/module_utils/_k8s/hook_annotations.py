# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Hooks that the annotations of a pod ask for: our own, and Velero's, so that its users need not edit a manifest.

Velero's are those of its documentation (backup-hooks, restore-hooks). A command is a JSON array, or a text that is the
one word of the command. Where Velero takes a default for something that it cannot read, this is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_VELERO_TIMEOUT = 30.0
WAIT = 300.0
# The name of an init container whose annotations give none; always the same, so that it is found again.
INIT_NAME = "muster-restore-init"
_COMMAND_PARTS = ("command", "container", "timeout", "on-error", "output")
_RESTORE_PARTS = (*_COMMAND_PARTS, "wait-timeout", "wait-for-ready")


@dataclass(frozen=True)
class _Dialect:
    """How one family of annotations is written: ``prefix`` and part, where ``renamed`` parts have other names."""

    source: str
    prefix: str
    parts: tuple[str, ...]
    timeout: float = hook.TIMEOUT
    optional: bool = False
    renamed: Mapping[str, str] | None = None

    def name(self, part: str) -> str:
        return self.prefix + (self.renamed or {}).get(part, part)


_BACKUP: dict[str, tuple[_Dialect, ...]] = {
    phase: (
        _Dialect(hook.ANNOTATION, prefix, _COMMAND_PARTS),
        _Dialect(hook.VELERO, f"{phase}.hook.backup.velero.io/", _COMMAND_PARTS[:4], _VELERO_TIMEOUT),
    )
    for phase, prefix in marks.BACKUP_HOOKS.items()
}
# As old versions of Velero wrote it, without the phase.
_BACKUP["pre"] += (_Dialect(hook.VELERO, "hook.backup.velero.io/", _COMMAND_PARTS[:4], _VELERO_TIMEOUT),)
_RESTORE = (
    _Dialect(hook.ANNOTATION, marks.RESTORE_HOOK, _RESTORE_PARTS),
    _Dialect(
        hook.VELERO,
        "post.hook.restore.velero.io/",
        tuple(part for part in _RESTORE_PARTS if part != "output"),
        _VELERO_TIMEOUT,
        True,
        {"timeout": "exec-timeout"},
    ),
)
_INIT = (
    _Dialect(hook.ANNOTATION, marks.RESTORE_INIT, ("image", "name", "command")),
    # Velero reads the timeout, too, and does not act on it; neither do we.
    _Dialect(
        hook.VELERO,
        "init.hook.restore.velero.io/",
        ("image", "name", "command", "timeout"),
        renamed={"image": "container-image", "name": "container-name"},
    ),
)


@dataclass(frozen=True)
class Waiting:
    """A command for restored pods, and how long to wait for its container to run, or with ``ready`` for its pod."""

    command: hook.Command
    wait: float = WAIT
    ready: bool = False


class _Reader:
    """The annotations of one holder; ``title`` names it in errors, ``containers`` are those of its pod, if known."""

    def __init__(self, title: str, annotations: Mapping[str, Any], containers: Sequence[str] = ()) -> None:
        self._title = title
        self._annotations = annotations
        self._containers = containers

    def wrong(self, name: str, reason: str, hint: str) -> InvalidInput:
        hint = f"{hint} Mend it, or set hook_annotations to false."
        return InvalidInput("read", f"annotation {name} of {self._title}", reason, hint)

    def chosen(self, dialects: Iterable[_Dialect], needed: str) -> _Dialect | None:
        """The first dialect that is used. A part of ours that does nothing is a mistyped one."""
        for dialect in dialects:
            used = [name for name in self._annotations if name.startswith(dialect.prefix)]
            known = {dialect.name(part) for part in dialect.parts}
            if dialect.source == hook.ANNOTATION:
                for name in used:
                    if name not in known:
                        raise self.wrong(name, "it is unknown", f"Known are {', '.join(sorted(known))}.")
            if self._annotations.get(dialect.name(needed)):
                return dialect
            if used and dialect.source == hook.ANNOTATION:
                raise self.wrong(used[0], f"there is no {dialect.name(needed)} beside it", "Give both or neither.")
        return None

    def text(self, dialect: _Dialect, part: str) -> str:
        return str(self._annotations.get(dialect.name(part)) or "").strip() if part in dialect.parts else ""

    def argv(self, dialect: _Dialect) -> tuple[str, ...]:
        text = self.text(dialect, "command")
        if not text.startswith("["):
            return (text,) if text else ()
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, list) or not found or not all(isinstance(word, str) for word in found):
            raise self.wrong(
                dialect.name("command"), "it is no JSON array of texts", 'Write ["/bin/command", "argument"].'
            )
        return tuple(found)

    def command(self, dialect: _Dialect) -> hook.Command:
        container = self.text(dialect, "container")
        if container and self._containers and container not in self._containers:
            raise self.wrong(
                dialect.name("container"),
                f"there is no container {container!r}",
                f"There: {', '.join(self._containers)}.",
            )
        on_error = self.choice(dialect, "on-error", ("fail", "continue"))
        return hook.Command(
            self.argv(dialect),
            container or None,
            self.seconds(dialect, "timeout", dialect.timeout),
            dialect.optional if not on_error else on_error == "continue",
            self.choice(dialect, "output", ("kept", "none")) != "none",
            dialect.source,
        )

    def seconds(self, dialect: _Dialect, part: str, default: float) -> float:
        text = self.text(dialect, part)
        try:
            return clock.duration(text) or default if text else default
        except InvalidInput as error:
            raise self.wrong(dialect.name(part), f"{text!r} is no length of time", error.hint) from None

    def choice(self, dialect: _Dialect, part: str, choices: tuple[str, ...]) -> str:
        text = self.text(dialect, part).lower()
        if text and text not in choices:
            raise self.wrong(dialect.name(part), f"it is {text!r}", f"It is one of {', '.join(choices)}.")
        return text


def backup(pod: JSON) -> dict[str, hook.Command]:
    """The commands of a pod around a backup, by phase (``pre``, ``post``).

    Raises :class:`InvalidInput` that names pod and annotation.
    """
    annotations = objects.annotations_of(pod)
    if not annotations:
        return {}
    where = objects.identity("pods", pod)
    reader = _Reader(f"pod {where.namespace}/{where.name}", annotations, _containers(pod["spec"]))
    found = {}
    for phase, dialects in _BACKUP.items():
        dialect = reader.chosen(dialects, "command")
        if dialect is not None:
            found[phase] = reader.command(dialect)
    return found


def restore(title: str, annotations: Mapping[str, Any]) -> Waiting | None:
    """The command that runs in pods of this kind once they are restored.

    Its container may be one that is put into pods only when they are made, so nobody knows yet whether it is there.
    """
    reader = _Reader(title, annotations)
    dialect = reader.chosen(_RESTORE, "command") if annotations else None
    if dialect is None:
        return None
    ready = reader.choice(dialect, "wait-for-ready", ("true", "false")) == "true"
    return Waiting(reader.command(dialect), reader.seconds(dialect, "wait-timeout", WAIT), ready)


def init_container(title: str, annotations: Mapping[str, Any]) -> JSON | None:
    """The init container that restored pods of this kind get."""
    reader = _Reader(title, annotations)
    dialect = reader.chosen(_INIT, "image") if annotations else None
    if dialect is None:
        return None
    reader.seconds(dialect, "timeout", 0.0)
    container: JSON = {"name": reader.text(dialect, "name") or INIT_NAME, "image": reader.text(dialect, "image")}
    argv = reader.argv(dialect)
    return {**container, "command": [*argv]} if argv else container


def _containers(spec: JSON) -> list[str]:
    # Init containers too: those that go on running, as sidecars do, can run commands.
    every = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return [str(one.get("name")) for one in every]
