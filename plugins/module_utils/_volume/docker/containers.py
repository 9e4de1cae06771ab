# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The containers of a Docker host as what commands of streams run in; see :class:`stream.Place`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.exchange import Result, Source
from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._plan.application import Feed

# Made by `docker compose run` beside those of the service itself.
_ONE_OFF = "com.docker.compose.oneoff"
_SHELL_TIMEOUT = 60.0
_SAID = 200


@dataclass(frozen=True)
class Containers:
    """Those of an application, or all; of several of one service that run a healthy one, and the first by name."""

    engine: Engine
    application: Mapping[str, Any] | None = None

    def find(self, _namespace: str, feed: Feed, *, ready: bool = False) -> Container | None:
        running = [one for one in self._all(feed) if one.get("State") == "running"]
        ranked = sorted((not self._healthy(one), selection.name_of(one), at) for at, one in enumerate(running))
        if not ranked or (ready and ranked[0][0]):
            return None
        found = running[ranked[0][2]]
        return Container(self.engine, str(found["Id"]), selection.name_of(found), _project(found), feed.user)

    def absent(self, _namespace: str, feed: Feed) -> tuple[str, str]:
        words, states = (
            self.words("", feed),
            [f"{selection.name_of(one)} is {one.get('State')}" for one in self._all(feed)],
        )
        if states:
            return f"{words} does not run ({', '.join(states)})", "Start it."
        has = "the application has" if self.application else "there is"
        return f"{has} no {words} on {self.engine.place}", "Correct the stream, or start the container."

    def words(self, _namespace: str, feed: Feed) -> str:
        return f"service {feed.service}" if feed.service else f"container {feed.container}"

    def _all(self, feed: Feed) -> list[JSON]:
        """The containers that are meant, running or not; :class:`InvalidInput` where that may be several projects'."""
        if feed.container:
            return [one for one in self._listed() if selection.name_of(one) == feed.container]
        project, _slash, service = str(feed.service).rpartition("/")
        found = []
        for one in self._listed():
            labels = one.get("Labels") or {}
            if labels.get(selection.SERVICE) == service and str(labels.get(_ONE_OFF)).lower() != "true":
                found += [one] if project in ("", _project(one)) else []
        projects = sorted({_project(one) for one in found})
        if len(projects) > 1:
            reason = f"there is one in each of the projects {', '.join(projects)}"
            raise InvalidInput("use", f"service {service} of a stream", reason, "Write it as PROJECT/SERVICE.")
        return found

    def _listed(self) -> list[JSON]:
        if self.application is None:
            return self.engine.containers()
        # What does not match was said before; meanwhile somebody may make it anew.
        return selection.containers(self.engine, {**self.application, "allow_no_match": True}, lambda _text: None)

    def _healthy(self, listed: JSON) -> bool:
        """Docker's word where the container has a check of its health."""
        state = (self.engine.container(str(listed["Id"])) or {}).get("State") or {}
        return (state.get("Health") or {}).get("Status") in (None, "", "none", "healthy")


def within(feed: Feed, project: str | None) -> Feed:
    """The command in the service of that project, unless it names one itself; never in that of any other."""
    if not feed.service or "/" in feed.service:
        return feed
    if not project:
        reason = "the point does not say of which project"
        raise InvalidInput("use", f"service {feed.service} of a stream", reason, "Write it as PROJECT/SERVICE.")
    return replace(feed, service=f"{project}/{feed.service}")


def _project(listed: Mapping[str, Any]) -> str:
    return str((listed.get("Labels") or {}).get(selection.PROJECT) or "")


@dataclass(frozen=True)
class Container:
    """One that runs; ``user`` is who runs commands there."""

    engine: Engine
    identity: str
    name: str
    project: str
    user: str | None

    @property
    def title(self) -> str:
        return f"container {self.name}"

    @property
    def told(self) -> JSON:
        return {"container": self.name, "project": self.project or None}

    def without_shell(self) -> str:
        words = ["sh", "-c", "cat < /dev/null"]
        done = self.run(words, timeout=_SHELL_TIMEOUT, stall=_SHELL_TIMEOUT, check=lambda: None)
        # The engine's own words come on the output.
        said = " ".join((done.stderr or done.stdout).split())[-_SAID:]
        return "" if done.code == 0 else f"{self.title} runs no shell (sh): {said or f'exit code {done.code}'}"

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: Source | None = None,
    ) -> Result:
        return self.engine.run(
            self.identity,
            command,
            user=self.user,
            timeout=timeout,
            stall=stall,
            check=check,
            take=take,
            source=source,
        )
