# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Movers on a Docker host: short-lived containers that run the same scripts as those in a cluster."""

from __future__ import annotations

import base64
import io
import tarfile
import time
from collections.abc import Mapping
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
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker import ledger
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import ENDING

_INTERVAL = 1.0
_SECRETS = "/secrets"
_REPORT = "muster report"
# The most lines that a report has, with some before it.
_LINES = 200
# Docker copies files only to a disk, so they are moved to memory first of all. What Kubernetes takes as the termination
# message goes to the end of the log, whichever way the script ends.
_PREFIX = rf"""
umask 077
trap 'printf "\n{_REPORT}\n"; cat /dev/termination-log 2> /dev/null' EXIT
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


def require_usable(settings: Mapping[str, Any] | None, repository: Repository) -> None:
    """:class:`InvalidInput` for options that would mean nothing here, and for a repository out of a mover's reach."""
    if (settings or {}).get("resources"):
        reason = "the application is on a Docker host, where movers have no requests and limits as in a pod"
        raise InvalidInput("use", "mover.resources", reason, "Leave it out.")
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
    policy = settings.pull_policy or "IfNotPresent"
    there = policy != "Always" and engine.image(settings.image) is not None
    if there:
        return
    if policy == "Never":
        reason = f"{engine.place} does not have it, and mover.pull_policy is Never"
        raise NotFound("use", f"image {settings.image}", reason, "Load or pull it there.")
    engine.pull(settings.image, _login(settings.registry))


def _login(registry: Mapping[str, Any] | None) -> dict[str, str]:
    for host, login in logins(registry).items():
        name, _colon, word = base64.b64decode(str(login.get("auth") or "")).decode(errors="replace").partition(":")
        return {"username": name, "password": word, "serveraddress": host}
    return {}


def body(mover: parts.Mover, settings: parts.Settings, repository: Repository, place: Place) -> JSON:
    """The container's configuration. No secret is in it."""
    mounts = [place.mount(read_only=mover.read_only), *({"Type": "volume", "Target": to} for to in (_SECRETS, "/tmp"))]
    capabilities = set(mover.capabilities)
    if repository.volume:
        mounts.append({"Type": "bind", "Source": repository.volume["hostPath"]["path"], "Target": parts.MOUNT})
        # A directory may belong to any user.
        capabilities.add("DAC_OVERRIDE")
    host: JSON = {
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
        host["NetworkMode"] = settings.network
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
        "HostConfig": host,
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
    identity = engine.create_container(mover.name, body(mover, settings, repository, place))
    try:
        engine.put(identity, _SECRETS, _archive(parts.secret_files(repository)))
        engine.start(identity)
        return _follow(engine, identity, settings, action, target, advance)
    finally:
        ledger.end(engine, identity)


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
    engine: Engine,
    identity: str,
    settings: parts.Settings,
    action: str,
    target: str,
    advance: mover_run.Advance | None,
) -> mover_run.Report:
    log = mover_run.Log(action, target, settings.stall_timeout, advance)
    began = time.monotonic()
    while True:
        if ENDING.is_set():
            raise Interrupted(action, target, "the task was ended", "Run it again.")
        inspected = engine.container(identity)
        if inspected is None:
            raise Incomplete(action, target, "its mover was removed by somebody", "Run it again.")
        state = inspected.get("State") or {}
        if not state.get("Running"):
            return _ended(engine, identity, state, settings, action, target, log)
        current = time.monotonic()
        if current - began > settings.timeout:
            reason = f"the mover did not end within {settings.timeout:g} seconds"
            raise Unavailable(action, target, reason, "Give it longer by mover.timeout, and run it again.")
        log.read(engine.log(identity, 20), current, "containers of that host (mover.network)")
        time.sleep(clock.pause(current - began, _INTERVAL))


def _ended(
    engine: Engine,
    identity: str,
    state: JSON,
    settings: parts.Settings,
    action: str,
    target: str,
    log: mover_run.Log,
) -> mover_run.Report:
    code = int(state.get("ExitCode") or 0)
    said = engine.log(identity, _LINES)
    _before, mark, message = said.rpartition(f"\n{_REPORT}\n")
    report = mover_run.read_report(code, message if mark else "")
    if code == 0 and report.summary:
        return report
    if code == 0:
        raise Incomplete(action, target, "the mover ended and its report is lost", "Run it again.")
    raise _failure(report, state, settings, action, target, log.trouble)


def _failure(
    report: mover_run.Report, state: JSON, settings: parts.Settings, action: str, target: str, trouble: str
) -> MusterError:
    result = {"errors": report.errors}
    if report.code == parts.NOT_EMPTY:
        found = mover_run.found_there(report)
        hint = "Restore to another place by targets, remove the volume, or set existing to keep or replace."
        return Refused(action, target, f"it holds data already ({found})", hint, result=result)
    if state.get("OOMKilled") or report.code == 137:
        why = "the mover was killed, most often for want of memory"
        return Unavailable(action, target, why, "Give the host more memory, or less to do at a time.", result=result)
    return mover_run.failure(action, target, report, settings.image, trouble)
