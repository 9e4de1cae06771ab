# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster in memory, for code that only reads: collections by path, answers of commands by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiNotFound, ExecResult


class FakeCluster:
    """Serves what it was given; anything else is not found. ``writes`` records what was asked of it."""

    def __init__(self, collections: dict[str, list[dict[str, Any]]] | None = None) -> None:
        self.collections = collections or {}
        self.commands: dict[str, ExecResult] = {}
        self.answers: dict[str, Any] = {"/api": {}, "/api/v1": {"resources": []}, "/apis": {"groups": []}}
        self.writes: list[tuple[str, str]] = []
        self.on_create: Callable[[str, dict[str, Any]], None] = lambda path, body: None

    def list(self, path: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        wanted = dict(part.split("=", 1) for part in (query or {}).get("labelSelector", "").split(",") if part)
        for item in self.collections.get(path, []):
            labels = item["metadata"].get("labels") or {}
            if wanted.items() <= labels.items():
                yield item

    def find(self, path: str) -> dict[str, Any] | None:
        collection, name = path.rsplit("/", 1)
        return next((item for item in self.collections.get(collection, []) if item["metadata"]["name"] == name), None)

    def get(
        self, path: str, query: dict[str, Any] | None = None, *, action: str = "read", **_options: Any
    ) -> dict[str, Any]:
        found = self.answers[path] if path in self.answers else self.find(path)
        if found is None:
            raise ApiNotFound(action, path, 404, {"message": "not found"})
        return found

    def request(self, method: str, path: str, **_options: Any) -> Any:
        answer = self.answers.get(path)
        if answer is None:
            raise ApiNotFound("read", path, 404, {"message": "not found"})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def exec(
        self, namespace: str, pod: str, container: str | None, command: list[str], *, timeout: float
    ) -> ExecResult:
        return self.commands[command[0]]

    def create(self, path: str, body: dict[str, Any], **_options: Any) -> dict[str, Any]:
        self.writes.append(("create", f"{path}/{body['metadata']['name']}"))
        self.collections.setdefault(path, []).append(body)
        self.on_create(path, body)
        return body

    def delete(self, path: str, **_options: Any) -> bool:
        found = self.find(path)
        self.writes.append(("delete", path))
        if found is None:
            return False
        self.collections[path.rsplit("/", 1)[0]].remove(found)
        return True

    def wait(self, path: str, ready: Callable[[Any], bool], **_options: Any) -> dict[str, Any] | None:
        current = self.find(path)
        assert ready(current), f"{path} would be waited for without end"
        return current
