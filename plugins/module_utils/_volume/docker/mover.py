# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Movers on a Docker host: short-lived containers that run the same scripts as those in a cluster."""

from __future__ import annotations

import base64
import contextlib
import io
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    Interrupted,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import JSON, Engine
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pull_secret import logins
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover_run
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import host, ledger
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.running import (
    LINES,
    REPORT,
    Ended,
    Running,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import ENDING

HOST = "host"
_INTERVAL = 1.0
_SECRETS = "/secrets"
# Options that say how pods run.
_OF_PODS = {
    "resources": "requests and limits",
    "node_selector": "nodes",
    "tolerations": "nodes",
    "selinux": "labels",
}
# Docker copies files only to a disk, so they are moved to memory first of all. What Kubernetes takes as the termination
# message goes to the end of the log, whichever way the script ends.
_PREFIX = rf"""
umask 077
trap 'printf "\n{REPORT}\n"; cat /dev/termination-log 2> /dev/null' EXIT
cp {_SECRETS}/* /muster/ && rm -f {_SECRETS}/* || exit 1
"""


@dataclass(frozen=True)
class Place:
    """What a mover works on: a volume by Docker's name, or a folder of the host."""

    volume: str | None = None
    path: str | None = None

    def mount(self, *, read_only: bool) -> JSON:
        """As the Engine's API has it. Never is the image's content copied into an empty volume."""
        kind: JSON = {"Type": "bind", "Source": self.path}
        if self.volume:
            kind = {"Type": "volume", "Source": self.volume, "VolumeOptions": {"NoCopy": True}}
        return {**kind, "Target": "/volume/data", "ReadOnly": read_only}


class NotEmpty(Refused):
    """A mover found data where it was to find none, and wrote nothing."""


def require_usable(engine: Engine, settings: Mapping[str, Any] | None, repository: Repository) -> None:
    """:class:`InvalidInput` for options that would mean nothing here, and for a repository out of a mover's reach.

    Raises as :func:`host.require` does where movers are to run on the host itself.
    """
    for name, what in _OF_PODS.items():
        if (settings or {}).get(name):
            reason = f"the application is on a Docker host, where movers have no {what} as in a pod"
            raise InvalidInput("use", f"mover.{name}", reason, "Leave it out.")
    if (settings or {}).get("runs_in") == HOST:
        host.require(engine)
        return
    parts.require_reachable(repository)
    if repository.volume and not (repository.volume.get("hostPath") or {}).get("path"):
        raise InvalidInput(
            "use",
            f"repository.volume of {repository.url}",
            "movers on a Docker host mount folders of that host and nothing else",
            "Mount the storage there and write volume: {hostPath: {path: /FOLDER}}.",
        )


def ensure_image(engine: Engine, settings: parts.Settings) -> None:
    """Pull the movers' image where ``mover.pull_policy`` says so, by default where it is not there."""
    if settings.runs_in == HOST:
        return
    policy = settings.pull_policy or "IfNotPresent"
    there = policy != "Always" and engine.image(settings.image) is not None
    if there:
        return
    if policy == "Never":
        reason = f"{engine.place} does not have it, and mover.pull_policy is Never"
        raise NotFound("use", f"image {settings.image}", reason, "Load or pull it there.")
    engine.pull(settings.image, _login(settings.registry))


def _login(registry: Mapping[str, Any] | None) -> dict[str, str]:
    for address, login in logins(registry).items():
        name, _colon, word = base64.b64decode(str(login.get("auth") or "")).decode(errors="replace").partition(":")
        return {"username": name, "password": word, "serveraddress": address}
    return {}


def body(mover: parts.Mover, settings: parts.Settings, repository: Repository, place: Place) -> JSON:
    """The container's configuration. No secret is in it."""
    mounts = [place.mount(read_only=mover.read_only), *({"Type": "volume", "Target": to} for to in (_SECRETS, "/tmp"))]
    capabilities = set(mover.capabilities)
    if repository.volume:
        mounts.append({"Type": "bind", "Source": repository.volume["hostPath"]["path"], "Target": parts.MOUNT})
        # A directory may belong to any user.
        capabilities.add("DAC_OVERRIDE")
    settings_of_host: JSON = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": sorted(capabilities),
        # Volumes have the labels of the containers that use them, which on a host with SELinux no other one may read.
        "SecurityOpt": ["no-new-privileges", "label=disable"],
        "Tmpfs": {"/muster": "rw,noexec,nosuid,nodev,size=4m,mode=0700"},
        "Mounts": mounts,
        "RestartPolicy": {"Name": "no"},
        # The report is read from it; a host's own choice may be one that cannot be read.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }
    if settings.network:
        settings_of_host["NetworkMode"] = settings.network
    environment = parts.environment(mover, repository)
    return {
        "Image": settings.image,
        "Entrypoint": ["/bin/sh", "-c", _PREFIX + mover.script, "mover", *mover.arguments],
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "User": "0:0",
        "Hostname": mover.name,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {**mover.labels, marks.MOVER: mover.name},
        "HostConfig": settings_of_host,
    }


def run(
    engine: Engine,
    mover: parts.Mover,
    settings: parts.Settings,
    repository: Repository,
    place: Place,
    action: str,
    target: str,
    advance: mover_run.Advance | None = None,
) -> mover_run.Report:
    """Run one mover to its end and remove it, whatever happened. Returns only where its script ended with 0."""
    started: contextlib.AbstractContextManager[Running]
    if settings.runs_in == HOST:
        folder = host.folder(engine, action, place.volume, place.path)
        started = host.process(mover, repository, folder, action, target)
    else:
        started = _container(engine, mover, settings, repository, place, action, target)
    with started as running:
        ended, report, trouble = _follow(running, settings, action, target, advance)
    if ended.code == 0:
        return report
    raise _failure(ended, report, settings, action, target, trouble)


@contextlib.contextmanager
def _container(
    engine: Engine,
    mover: parts.Mover,
    settings: parts.Settings,
    repository: Repository,
    place: Place,
    action: str,
    target: str,
) -> Iterator[Running]:
    identity = engine.create_container(mover.name, body(mover, settings, repository, place))
    try:
        engine.put(identity, _SECRETS, _archive(parts.secret_files(repository)))
        engine.start(identity)
        yield _Container(engine, identity, action, target)
    finally:
        ledger.end(engine, identity)


@dataclass(frozen=True)
class _Container:
    engine: Engine
    identity: str
    action: str
    target: str
    where: str = "containers of that host (mover.network)"

    def ended(self) -> Ended | None:
        inspected = self.engine.container(self.identity)
        if inspected is None:
            raise Incomplete(self.action, self.target, "its mover was removed by somebody", "Run it again.")
        state = inspected.get("State") or {}
        if state.get("Running"):
            return None
        return Ended(int(state.get("ExitCode") or 0), bool(state.get("OOMKilled")))

    def said(self, lines: int) -> str:
        return self.engine.log(self.identity, lines)


def _archive(files: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, text in files.items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o400
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _follow(
    running: Running, settings: parts.Settings, action: str, target: str, advance: mover_run.Advance | None
) -> tuple[Ended, mover_run.Report, str]:
    """How the mover ended, its report, and what its log said last of requests that failed."""
    log = mover_run.Log(action, target, settings.stall_timeout, advance)
    began = time.monotonic()
    while True:
        if ENDING.is_set():
            raise Interrupted(action, target, "the task was ended", "Run it again.")
        ended = running.ended()
        if ended is not None:
            _before, mark, message = running.said(LINES).rpartition(f"\n{REPORT}\n")
            report = mover_run.read_report(ended.code, message if mark else "")
            if ended.code == 0 and not report.summary:
                raise Incomplete(action, target, "the mover ended and its report is lost", "Run it again.")
            return ended, report, log.trouble
        current = time.monotonic()
        if current - began > settings.timeout:
            reason = f"the mover did not end within {settings.timeout:g} seconds"
            raise Unavailable(action, target, reason, "Give it longer by mover.timeout, and run it again.")
        log.read(running.said(20), current, running.where)
        time.sleep(clock.pause(current - began, _INTERVAL))


def _failure(
    ended: Ended, report: mover_run.Report, settings: parts.Settings, action: str, target: str, trouble: str
) -> MusterError:
    result = {"errors": report.errors}
    if report.code == parts.NOT_EMPTY:
        found = mover_run.found_there(report)
        hint = "Restore to another place by targets, remove the volume, or set existing to keep or replace."
        return NotEmpty(action, target, f"it holds data already ({found})", hint, result=result)
    if ended.out_of_memory or report.code == 137:
        why = "the mover was killed, most often for want of memory"
        return Unavailable(action, target, why, "Give the host more memory, or less to do at a time.", result=result)
    if settings.runs_in == HOST and report.code in (126, 127):
        why = "the host lacks a program that every Linux has, such as find, awk or sha256sum"
        return NotFound(action, target, why, "Leave out mover.runs_in, so that movers are containers.", result=result)
    return mover_run.failure(action, target, report, settings.image, trouble)
