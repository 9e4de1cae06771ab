# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The volumes of an application on a Docker host: named and anonymous ones, bind mounts, and what is none of them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._docker import selection
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._volume import settings

METHODS = ("live", "paused", "stopped")
VOLUME, BIND = "docker_volume", "bind"
_ANONYMOUS = re.compile(r"^[0-9a-f]{64}$")
# Folders of the running system: what stands there is made anew at its next start.
_SYSTEM = ("/dev", "/proc", "/run", "/sys", "/var/run")
_WITHHELD = re.compile(r"pass|secret|token|key|cred", re.IGNORECASE)


@dataclass(frozen=True)
class Mount:
    """Where a container has a volume."""

    container: str
    destination: str
    writable: bool


@dataclass(frozen=True)
class Volume:
    """One volume of an application. ``volume`` is Docker's name for it (None: a bind mount).

    ``places`` are the folders of the host in which its bytes are, as far as Docker knows them.
    """

    name: str
    volume: str | None
    places: tuple[str, ...] = ()
    driver: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    method: str = "live"
    problem: MusterError | None = None

    def entry(self) -> JSON:
        """What the result and the recovery point say of it; all that is needed to make it again."""
        return {
            "name": self.name,
            "kind": VOLUME if self.volume else BIND,
            "volume": self.volume,
            "path": None if self.volume else self.places[0],
            "driver": self.driver,
            "options": dict(self.options),
            "options_withheld": list(self.withheld),
            "labels": dict(self.labels),
            "mounts": [
                {"container": one.container, "destination": one.destination, "writable": one.writable}
                for one in self.mounts
            ],
        }


@dataclass
class Survey:
    """What is to be read, and what is left out by which rule (``what`` and ``why``)."""

    volumes: list[Volume] = field(default_factory=list)
    excluded: list[JSON] = field(default_factory=list)
    # The ids of the application's containers.
    containers: list[str] = field(default_factory=list)


def survey(
    engine: Engine,
    application: Mapping[str, Any],
    methods: Mapping[str, str] | None,
    warn: Callable[[str], None],
) -> Survey:
    """Find every volume of the application's containers, running or not, and decide how it is read.

    ``methods`` maps volumes, as globs of the names in the result or of Docker's own, to METHODS; the first that fits
    counts. Raises :class:`NotFound` for containers that are not there, :class:`InvalidInput` for wrong rules.
    """
    rules = [_rule(entry) for entry in settings.excluded(application)]
    for pattern, method in (methods or {}).items():
        if method not in METHODS:
            reason = f"it is {method!r}, and the application is on a Docker host"
            raise InvalidInput("use", f"methods entry {pattern}", reason, f"It is one of {', '.join(METHODS)} there.")
    found = Survey()
    facts = _Facts(engine)
    sources: dict[tuple[str, str], Volume] = {}
    for listed in selection.containers(engine, application, warn):
        identity, title = str(listed["Id"]), selection.name_of(listed)
        inspected = engine.container(identity)
        if inspected is None:
            reason = "it was removed while its volumes were looked for"
            raise NotFound("read", f"container {title} of {engine.place}", reason, "Run it again.")
        found.containers.append(identity)
        for mount in _mounts(inspected):
            what = f"{title}:{mount.get('Destination')}"
            why = _passing(mount)
            if why:
                found.excluded.append({"what": what, "why": _reason(rules, what) or why})
                continue
            key = (str(mount["Type"]), str(mount.get("Name") or mount.get("Source")))
            volume = sources.get(key) or facts.volume(mount, what)
            place = Mount(title, str(mount.get("Destination")), bool(mount.get("RW")))
            sources[key] = replace(volume, mounts=(*volume.mounts, place))
    for volume in sorted(sources.values(), key=lambda one: one.name):
        why = _reason(rules, volume.name, volume.volume or "") or _nothing_to_keep(volume)
        if why:
            found.excluded.append({"what": volume.name, "why": why})
        else:
            found.volumes.append(replace(volume, method=_method(volume, methods or {})))
    return found


def uses(container: Mapping[str, Any], volume: Volume, *, to_write: bool = True) -> bool:
    """Whether a container, as Docker lists it, has a volume, or what is above or below it on the host."""
    return any((mount.get("RW") or not to_write) and _same(mount, volume) for mount in container.get("Mounts") or [])


def active(container: Mapping[str, Any]) -> bool:
    """Whether a container, as Docker lists it, has processes, or will soon."""
    return container.get("State") in ("running", "paused", "restarting")


def _same(mount: Mapping[str, Any], volume: Volume) -> bool:
    if mount.get("Type") == "volume" and mount.get("Name") == volume.volume:
        return True
    source = str(mount.get("Source") or "")
    return bool(source) and any(_within(source, place) or _within(place, source) for place in volume.places)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mounts(inspected: JSON) -> list[JSON]:
    """All mounts; those of ``--tmpfs`` Docker keeps elsewhere."""
    memory = ((inspected.get("HostConfig") or {}).get("Tmpfs") or {}).keys()
    return [*(inspected.get("Mounts") or []), *({"Type": "tmpfs", "Destination": path} for path in memory)]


def _passing(mount: JSON) -> str:
    """Why a mount is no volume, by its nature."""
    return {
        "tmpfs": "tmpfs; it ends with the container",
        "image": "of an image; it is kept with the images",
        "npipe": "a pipe of the host; it holds no data",
    }.get(str(mount.get("Type")), "")


def _nothing_to_keep(volume: Volume) -> str:
    if volume.driver == "local" and volume.options.get("type") == "tmpfs":
        return "tmpfs; it ends with the last container that uses it"
    if volume.volume is None and any(_within(volume.places[0], folder) for folder in _SYSTEM):
        return "bind mount of the running system; it holds no data"
    return ""


class _Facts:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._root = str(engine.info().get("DockerRootDir") or "")

    def volume(self, mount: JSON, what: str) -> Volume:
        kind = mount.get("Type")
        if kind == "bind":
            return self._bind(posixpath.normpath(str(mount["Source"])))
        name = str(mount.get("Name") or "")
        if kind != "volume" or not name:
            reason = f"its mount is of the type {kind}, which nothing is known of"
            unknown = Refused("read", f"volume {what}", reason, "Exclude it in volumes.exclude.")
            return Volume(what, name or what, problem=unknown)
        title = what if _ANONYMOUS.match(name) else f"volumes/{name}"
        told = self._engine.volume(name)
        if told is None:
            reason = "Docker does not know it any more"
            gone = NotFound("read", f"volume {title}", reason, "Exclude it in volumes.exclude.")
            return Volume(title, name, driver=mount.get("Driver"), problem=gone)
        options = told.get("Options") or {}
        kept, withheld = public(options)
        # What a volume of the local driver is made of may be a folder of the host.
        device = options.get("device") if "bind" in str(options.get("o") or "").split(",") else ""
        places = tuple(str(place) for place in (told.get("Mountpoint"), device) if place)
        labels = {key: text for key, text in (told.get("Labels") or {}).items() if not key.startswith(marks.PREFIX)}
        return Volume(title, name, places, str(told.get("Driver") or ""), kept, withheld, labels)

    def _bind(self, path: str) -> Volume:
        problem: MusterError | None = None
        if self._root and _within(self._root, path):
            reason = f"Docker's own data are in it ({self._root})"
            hint = "Mount a smaller folder, or exclude it in volumes.exclude with the reason why that is fine."
            problem = Refused("read", f"volume {path}", reason, hint)
        return Volume(path, None, (path,), problem=problem)


def public(options: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """A driver's options without what looks like a secret, and the names of what was left out."""
    kept: dict[str, str] = {}
    withheld: list[str] = []
    for key, value in options.items():
        words = str(value).split(",") if key == "o" else [str(value)]
        secret = [word for word in words if _WITHHELD.search(word.partition("=")[0] if key == "o" else key)]
        withheld += [f"o={word.partition('=')[0]}" if key == "o" else key for word in secret]
        words = [word for word in words if word not in secret]
        if words:
            kept[key] = ",".join(words)
    return kept, tuple(withheld)


def _rule(entry: Mapping[str, Any]) -> tuple[str, str]:
    if not entry.get("name") or not entry.get("reason") or entry.get("namespace"):
        raise InvalidInput(
            "use",
            f"volumes.exclude entry {dict(entry)}",
            "on a Docker host it has a name, a reason and nothing else",
            "Write {name: ..., reason: ...}; name may hold * and ?.",
        )
    return str(entry["name"]), str(entry["reason"])


def _reason(rules: Iterable[tuple[str, str]], *names: str) -> str:
    return next((why for pattern, why in rules if any(fnmatchcase(name, pattern) for name in names)), "")


def _method(volume: Volume, methods: Mapping[str, str]) -> str:
    names = (volume.name, volume.volume or "")
    return next((how for pattern, how in methods.items() if any(fnmatchcase(one, pattern) for one in names)), "live")
