# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How one capture differs from another: counted by kind, and shown without secret data.

Both are read side by side, one object of each in memory. Equal lines are equal objects, so only what differs is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, layout, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

# A diff is for reading: beyond this, counts say more.
_SHOWN = 200
_SHOWN_BYTES = 512 * 1024


@dataclass
class Change:
    """How many objects differ from an earlier capture; status and the server's own fields do not count."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def as_dict(self) -> dict[str, int]:
        return {"added": self.added, "changed": self.changed, "removed": self.removed, "unchanged": self.unchanged}


@dataclass
class Changes:
    """The differences of all kinds."""

    kinds: dict[str, Change] = field(default_factory=dict)

    def of(self, key: str) -> Change:
        return self.kinds.setdefault(key, Change())

    @property
    def total(self) -> Change:
        every = [change.as_dict() for change in self.kinds.values()]
        return Change(**{name: sum(one[name] for one in every) for name in Change().as_dict()})

    def by_kind(self) -> dict[str, dict[str, int]]:
        return {key: self.kinds[key].as_dict() for key in sorted(self.kinds)}


# Told of every object that differs: its resource, what it was (None: not there), what it is (None: gone).
Listener = Callable[[str, "JSON | None", "JSON | None"], None]


def compare(before: Path, after: Path, listener: Listener | None = None) -> Changes:
    """Count the differences between two captures; ``listener`` is told of each.

    Raises :class:`Corrupt` for a file that cannot be read.
    """
    changes = Changes()
    old = {(key, namespace): path for key, namespace, path in layout.files(before)}
    new = {(key, namespace): path for key, namespace, path in layout.files(after)}
    for place in sorted(old.keys() | new.keys(), key=lambda place: (place[0], place[1] or "")):
        _compare(place[0], old.get(place), new.get(place), changes.of(place[0]), listener)
    return changes


class _Lines:
    """A file's objects in order, with the current one; parsed only when asked."""

    def __init__(self, path: Path | None) -> None:
        self._path = path or Path()
        self._lines: Iterator[str] = layout.read_lines(path) if path else iter(())
        self.line: str | None = None
        self._obj: JSON | None = None
        self.step()

    def step(self) -> None:
        self.line = next(self._lines, None)
        self._obj = None

    @property
    def obj(self) -> JSON:
        if self._obj is None:
            try:
                found: JSON = json.loads(self.line or "")
                found["metadata"]["name"]
            except (ValueError, KeyError, TypeError):
                raise layout.damaged(self._path) from None
            self._obj = found
        return self._obj

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])


def _compare(key: str, before: Path | None, after: Path | None, change: Change, listener: Listener | None) -> None:
    old, new = _Lines(before), _Lines(after)
    while old.line is not None or new.line is not None:
        if old.line == new.line:
            change.unchanged += 1
            old.step()
            new.step()
        elif old.line is None or (new.line is not None and new.name < old.name):
            change.added += 1
            if listener:
                listener(key, None, new.obj)
            new.step()
        elif new.line is None or old.name < new.name:
            change.removed += 1
            if listener:
                listener(key, old.obj, None)
            old.step()
        else:
            if objects.essence(old.obj) == objects.essence(new.obj):
                change.unchanged += 1
            else:
                change.changed += 1
                if listener:
                    listener(key, old.obj, new.obj)
            old.step()
            new.step()


class Diff:
    """Ansible's ``diff`` of a capture: one entry an object, the first 200 or 512 KiB; the rest is counted."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._bytes = 0
        self._more = 0

    def note(self, key: str, before: JSON | None, after: JSON | None) -> None:
        """A :data:`Listener`."""
        if len(self._entries) >= _SHOWN or self._bytes >= _SHOWN_BYTES:
            self._more += 1
            return
        present = after or before or {}
        name = str(objects.identity(key, present))
        masked = masked_pair(key, before, after)
        texts = [_text(one) for one in masked]
        self._bytes += sum(map(len, texts))
        self._entries.append(
            {
                "before": texts[0],
                "after": texts[1],
                "before_header": f"{name} (captured before)" if before else f"{name} (was not there)",
                "after_header": f"{name} (now)" if after else f"{name} (is gone)",
            }
        )

    @property
    def entries(self) -> list[dict[str, Any]]:
        if not self._more:
            return self._entries
        return [*self._entries, {"prepared": f"{self._more} more objects differ; they are counted by kind.\n"}]


def masked_pair(key: str, before: JSON | None, after: JSON | None) -> tuple[JSON | None, JSON | None]:
    """The two states of an object for showing: secret values say only whether they changed.

    No digest is shown, because a weak password could be found by trying; and no length. Annotations of Secrets count
    as secret: ``kubectl apply`` keeps a copy of the data in one, and other tools do alike.
    """
    pair = [None if obj is None else objects.copied(objects.essence(obj)) for obj in (before, after)]
    if key == "secrets":
        for field_name in ("data", "stringData"):
            _mask([_part(one, field_name) for one in pair], None)
        _mask([_part((one or {}).get("metadata"), "annotations") for one in pair], None)
    else:
        _mask([_part((one or {}).get("metadata"), "annotations") for one in pair], kinds.LAST_APPLIED)
    return pair[0], pair[1]


def _part(value: JSON | None, name: str) -> dict[str, Any] | None:
    part = (value or {}).get(name)
    return part if isinstance(part, dict) else None


def _mask(pair: list[dict[str, Any] | None], only: str | None) -> None:
    old, new = (one if one is not None else {} for one in pair)
    for name in sorted(old.keys() | new.keys()):
        if only is not None and name != only:
            continue
        if name in old and name in new and old[name] != new[name]:
            old[name], new[name] = "(hidden, before)", "(hidden, changed)"
            continue
        for one in (old, new):
            if name in one:
                one[name] = "(hidden)"


def _text(obj: JSON | None) -> str:
    return "" if obj is None else json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
