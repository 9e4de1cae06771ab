# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The words of A01's details: what is not ready, why, and what was not waited for. Plain text; pages escape it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def entries(check: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the check explains; reports of other versions, and other checks, explain nothing."""
    return list((check.get("details") or {}).get("explained") or [])


def heading(one: Mapping[str, Any]) -> str:
    """``Deployment ledger/api (failed): 1 of 2 ready``."""
    name = "/".join(str(part) for part in (one.get("namespace"), one.get("name")) if part)
    failed = " (failed)" if one.get("state") == "failed" else ""
    return f"{one.get('kind')} {name}{failed}: {one.get('reason')}"


def facts(one: Mapping[str, Any]) -> Iterator[str]:
    """Its containers and its events, a line each."""
    for container in one.get("containers") or ():
        parts = [str(container.get("state")), container.get("reason")]
        if container.get("exit_code") is not None:
            parts.append(f"exit code {container['exit_code']}")
        if container.get("restarts"):
            parts.append(f"restarted {container['restarts']} times")
        said = f": {container['message']}" if container.get("message") else ""
        name = f"Container {container.get('name')} of pod {container.get('pod')}"
        yield f"{name}: {', '.join(str(part) for part in parts if part)}{said}"
    for event in one.get("events") or ():
        times = f", {event['count']} times" if (event.get("count") or 1) > 1 else ""
        head = f"{event.get('type')} {event.get('reason')} ({event.get('about')}{times}, {event.get('last_seen')})"
        yield f"{head}: {event.get('message')}"


def logs(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A title and the lines that follow it."""
    for log in one.get("logs") or ():
        when = " before it began anew" if log.get("previous") else ""
        yield f"Container {log.get('container')} of pod {log.get('pod')} wrote last{when}", str(log.get("text") or "")


def text(check: Mapping[str, Any]) -> str:
    """All of it for readers of plain text; empty where nothing is explained."""
    lines: list[str] = []
    for one in entries(check):
        lines.append(heading(one))
        lines += [f"  {fact}" for fact in facts(one)]
        for title, written in logs(one):
            lines.append(f"  {title}:")
            lines += [f"    {line}" for line in written.splitlines()]
    return "\n".join(lines)


def not_awaited(check: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What nobody waited for, and why."""
    details = check.get("details") or {}
    for name in details.get("ignored") or ():
        yield str(name), "the user said so"
    for kind, why in (details.get("unseen") or {}).items():
        yield str(kind), f"could not be listed: {why}"
    for name, why in (details.get("not_waited_for") or {}).items():
        yield str(name), str(why)
