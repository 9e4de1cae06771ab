# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Names of services in texts: ``api.ledger.svc.cluster.local`` follows its namespace to another name."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

# Where names of services may be rewritten: values of the option service_names.
WHERE = ("env", "commands", "configmaps", "secrets", "custom_resources")
_HOST = re.compile(r"(?<![\w.-])[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?(?![\w-])")
_MANY = 8


@dataclass(frozen=True)
class ServiceNames:
    """Rewrites names of services in texts.

    ``namespaces`` maps source to target. ``services`` are the captured (namespace, name) pairs: the short form
    ``service.namespace`` is only believed where such a service was captured, because it looks like a file or a
    package. ``headless`` are those whose pods have names of their own before it.
    """

    namespaces: Mapping[str, str]
    where: Collection[str] = ()
    domains: Sequence[str] = ("cluster.local",)
    services: frozenset[tuple[str, str]] = frozenset()
    headless: frozenset[tuple[str, str]] = field(default=frozenset())

    def host(self, name: str) -> str | None:
        """The new name of one host, or ``None`` where it is none that moves."""
        labels = name.split(".")
        for kind in ("svc", "pod"):
            # The rightmost one counts: a service itself may be called svc.
            for place in range(len(labels) - 1, 1, -1):
                rest = ".".join(labels[place + 1 :])
                if labels[place] == kind and (rest in self.domains or (kind == "svc" and not rest)):
                    return self._moved(labels, place - 1)
        short = len(labels) == 2 or (len(labels) == 3 and (labels[2], labels[1]) in self.headless)
        if short and (labels[-1], labels[-2]) in self.services:
            return self._moved(labels, len(labels) - 1)
        return None

    def _moved(self, labels: list[str], place: int) -> str | None:
        target = self.namespaces.get(labels[place])
        if target is None or target == labels[place]:
            return None
        return ".".join([*labels[:place], target, *labels[place + 1 :]])

    def text(self, value: str) -> tuple[str, list[str]]:
        """The text with all names rewritten, and ``old now new`` for each that was."""
        notes: list[str] = []
        if not any(name in value for name in self.namespaces):
            return value, notes

        def replace(match: re.Match[str]) -> str:
            name = match.group()
            new = self.host(name)
            if new is None or (name.count(".") == 1 and _in_path(value, match.start())):
                return name
            notes.append(f"{name} now {new}")
            return new

        return _HOST.sub(replace, value), notes

    def rewrite(self, key: str, obj: JSON) -> list[str]:
        """Rewrite one object in place where the user asked for it, and say which names became which."""
        notes: list[str] = []
        spec = objects.pod_spec(key, obj)
        if spec is not None:
            for container in objects.containers(spec):
                self._container(container, notes)
        elif key == "configmaps" and "configmaps" in self.where:
            self._walk(obj.get("data"), "data", notes)
        elif key == "secrets" and "secrets" in self.where:
            self._secret(obj, notes)
        elif not kinds.built_in(key) and "custom_resources" in self.where:
            for name, value in obj.items():
                if name not in ("apiVersion", "kind", "metadata", "status"):
                    obj[name] = self._walk(value, name, notes)
        if len(notes) > _MANY:
            notes = [*notes[:_MANY], f"and {len(notes) - _MANY} more names of services"]
        return notes

    def _container(self, container: JSON, notes: list[str]) -> None:
        title = f"container {container.get('name')}"
        if "env" in self.where:
            for entry in container.get("env") or []:
                if isinstance(entry.get("value"), str):
                    entry["value"] = self._walk(entry["value"], f"{title}: {entry.get('name')}", notes)
        if "commands" in self.where:
            for name in ("command", "args"):
                if container.get(name):
                    container[name] = self._walk(container[name], f"{title}: {name}", notes)
            for name in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
                if container.get(name):
                    container[name] = self._walk(container[name], f"{title}: {name}", notes)

    def _secret(self, obj: JSON, notes: list[str]) -> None:
        for name, value in (obj.get("data") or {}).items():
            text = _decoded(value)
            if text is not None:
                new, found = self.text(text)
                if found:
                    obj["data"][name] = _encoded(new)
                    notes += [f"data.{name}: {one}" for one in found]

    def _walk(self, value: Any, title: str, notes: list[str]) -> Any:
        if isinstance(value, str):
            new, found = self.text(value)
            notes += [f"{title}: {one}" for one in found]
            return new
        if isinstance(value, dict):
            for name in value:
                value[name] = self._walk(value[name], f"{title}.{name}", notes)
        elif isinstance(value, list):
            value[:] = [self._walk(inner, title, notes) for inner in value]
        return value


def _in_path(text: str, start: int) -> bool:
    """Whether a single slash stands before: ``/etc/api.ledger`` is a file, ``http://api.ledger`` is not."""
    return text[start - 1 : start] == "/" and text[start - 2 : start] != "//"


def _decoded(value: Any) -> str | None:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
