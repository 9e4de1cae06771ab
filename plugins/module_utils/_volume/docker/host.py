# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Movers on a Docker host without a container: restic of the host itself, for hosts that may pull no image.

The same scripts run. They get a root directory of their own, in which everything stands where it stands in a container,
so that snapshots of both kinds are one history. It is seen by them alone and ends with them.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.process import Process
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import Engine
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import is_raw
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume.docker.running import LINES, REPORT, Ended

_PROGRAMS = ("unshare", "mount", "umount", "chroot", "base64", "mountpoint")
_ELSEWHERE = "Leave out mover.runs_in, so that movers are containers."
# Lists and restic's cache and packs may be large, and /tmp is memory on many hosts.
_ROOM = "/var/tmp"
# How long restic has to take back its lock at the repository.
_GRACE = 30.0
# The stage could not be set; above the codes of the scripts.
NOT_SET = 97

# $1: an empty folder for the root directory, and beside it tmp; $2: the data; $3: ro or rw; $4: whether they are
# mounted; $5: the repository, where it is a directory; $6: restic; $7 the script, then its arguments. Secrets come on
# the input, a name and its base64 a line, up to an empty line. After it the input ends only with the module, and the
# mover with it: nobody else would end a mover whose module was killed.
_STAGE = rf"""
set -u
umask 077
root=$1/root data=$2 mode=$3 mounted=$4 repository=$5 restic=$6 script=$7 tmp=$1/tmp work=$1; shift 7
exec 3<&0 < /dev/null
clear() {{
  cd /; umount -R -l "$root" 2> /dev/null
  rm -rf "$tmp"; rmdir "$root" "$work" 2> /dev/null
}}
fail() {{ printf '\n{REPORT}\nerror %s\n' "$1"; clear; exit {NOT_SET}; }}
said() {{ "$@" 2>&1 || fail "$* failed"; }}
said mount -t tmpfs -o mode=0755,nosuid,nodev muster "$root"
for entry in /* /.[!.]*; do
  name=${{entry#/}}
  case $name in volume|muster|tmp|repository) continue ;; esac
  if [ -h "$entry" ]; then said cp -P "$entry" "$root/$name"
  elif [ -d "$entry" ]; then said mkdir "$root/$name"; said mount --rbind "$entry" "$root/$name"
  fi
done
said mkdir "$root/volume" "$root/tmp" "$root/muster" "$root/muster/bin"
if [ -d "$data" ]; then said mkdir "$root/volume/data"; else : > "$root/volume/data"; fi
said mount --rbind "$data" "$root/volume/data"
# What Docker mounts for the containers that use a volume goes with the last of them; what is held here stays.
if [ "$mounted" = yes ] && ! mountpoint -q "$data"; then
  fail "it is mounted only while a container uses it"
fi
if [ "$mode" = ro ]; then said mount -o remount,bind,ro "$root/volume/data"; fi
said mount --bind "$tmp" "$root/tmp"
if [ -n "$repository" ]; then said mkdir "$root/repository"; said mount --rbind "$repository" "$root/repository"; fi
: > "$root/muster/bin/restic"
said mount --bind "$restic" "$root/muster/bin/restic"
while read -r name word <&3 && [ -n "$name" ]; do
  printf '%s' "$word" | base64 -d > "$root/muster/$name" || fail "the password could not be written"
done
trap : TERM INT
( trap - TERM INT; read -r name <&3; kill -TERM 0 ) > /dev/null 2>&1 & guard=$!
PATH=/muster/bin:$PATH MUSTER_REPORT=/muster/report chroot "$root" /bin/sh -c "$script" mover "$@" 3<&- & mover=$!
# Nobody may listen any more; what is left is put away all the same.
trap '' PIPE
wait $mover; code=$?
while kill -0 $mover 2> /dev/null; do wait $mover; code=$?; done
kill $guard 2> /dev/null
printf '\n{REPORT}\n'; cat "$root/muster/report" 2> /dev/null
clear
exit $code
"""


@dataclass(frozen=True)
class Folder:
    """Where the bytes of a volume are. ``mounted``: only while a container uses it, or for good."""

    path: str
    mounted: bool = False


def require(engine: Engine) -> None:
    """Raise where restic cannot run beside the engine with its right to read and to own everything.

    :class:`InvalidInput` for an engine on another machine, :class:`Denied` without root, :class:`NotFound` where a
    program is missing, :class:`Refused` for an engine whose containers have other user ids than the host.
    """
    target = f"mover.runs_in: host for {engine.place}"
    told = engine.info()
    root = str(told.get("DockerRootDir") or "")
    if not engine.is_here or not root or not Path(root).is_dir():
        reason = "restic runs where the task runs, and that is not the engine's own machine"
        hint = (
            "Run the task on the Docker host (hosts or delegate_to), with its socket as docker.docker_host; or leave "
        )
        raise InvalidInput("use", target, reason, f"{hint}out mover.runs_in, so that movers are containers.")
    if os.geteuid() != 0:
        raise Denied("use", target, "the task does not run as root", "Set become: true.")
    missing = [name for name in _PROGRAMS if not shutil.which(name)]
    if missing:
        reason = f"the host lacks {', '.join(missing)}"
        raise NotFound("use", target, reason, "Install util-linux and coreutils there.")
    mapped = [one for one in told.get("SecurityOptions") or [] if one in ("name=rootless", "name=userns")]
    if mapped:
        reason = f"its containers have other user ids than the host ({mapped[0].removeprefix('name=')})"
        raise Refused("use", target, f"{reason}, so that owners would not be theirs", _ELSEWHERE)


def folder(engine: Engine, action: str, volume: str | None, path: str | None) -> Folder:
    """The place of a volume, by Docker's name, or of a folder; :class:`Refused` where the host does not have it."""
    if not volume:
        if not Path(str(path)).exists():
            raise Refused(action, f"folder {path}", "the host does not have it", "Make it, or leave the volume out.")
        return Folder(str(path))
    told = engine.volume(volume) or {}
    place = str(told.get("Mountpoint") or "")
    needs_mount = told.get("Driver") != "local" or bool((told.get("Options") or {}).get("device"))
    if not Path(place).exists() or (needs_mount and not os.path.ismount(place)):
        reason = "its driver mounts it only while a container uses it" if needs_mount else "the host does not have it"
        raise Refused(action, f"volume {volume}", f"{reason}, and restic is to run on the host itself", _ELSEWHERE)
    return Folder(place, needs_mount)


@contextlib.contextmanager
def process(
    mover: parts.Mover, repository: Repository, place: Folder, action: str, target: str
) -> Iterator[HostProcess]:
    """Start a mover on this machine; it is ended with the block, and nothing of it is left."""
    work = Path(tempfile.mkdtemp(prefix="muster-mover-", dir=_ROOM if os.access(_ROOM, os.W_OK) else None))
    root, scratch = work / "root", work / "tmp"
    try:
        root.mkdir()
        scratch.mkdir()
        local = is_raw(repository.url) and not repository.url.startswith("s3:")
        repository_folder = str(Path(repository.url.removeprefix("local:")).resolve()) if local else ""
        words = [
            *("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _STAGE, "stage", str(work)),
            *(place.path, "ro" if mover.read_only else "rw", "yes" if place.mounted else "no"),
            *(repository_folder, str(Path(repository.binary).resolve()), mover.script, *mover.arguments),
        ]
        # Without what is left of another login than that which comes by the input.
        inherited = backends.inherited(repository.credentials())
        environment = {**inherited, **parts.environment(mover, repository), "HOME": str(Path.home())}
        if local:
            environment["RESTIC_REPOSITORY"] = parts.MOUNT
        started = HostProcess(words, environment, action, target)
        try:
            started.tell(parts.secret_files(repository))
            yield started
        finally:
            started.end()
    finally:
        # Never the root directory with what is in it: should its mounts still be there, all of the host is in it.
        shutil.rmtree(scratch, ignore_errors=True)
        for left in (root, work):
            with contextlib.suppress(OSError):
                left.rmdir()


class HostProcess:
    """A mover that runs as processes of this machine."""

    where = "that host"

    def __init__(self, words: list[str], environment: Mapping[str, str], action: str, target: str) -> None:
        self._action, self._target = action, target
        try:
            self._process: Process[str] = Process(
                words,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise MusterError(action, target, f"{words[0]} could not be started ({error.strerror})") from None
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES)
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def tell(self, secrets: Mapping[str, str]) -> None:
        """Give the stage what it waits for. It says itself why where it ended before."""
        lines = [f"{name} {base64.b64encode(text.encode()).decode()}\n" for name, text in secrets.items()]
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.write("".join([*lines, "\n"]))
                self._process.stdin.flush()

    def ended(self) -> Ended | None:
        """How it ended; ``None`` while it runs. Raises where it never began."""
        code = self._process.poll()
        if code is None:
            return None
        self._reader.join()
        before, mark, after = self.said(LINES).rpartition(f"\n{REPORT}\n")
        if code == NOT_SET or (code > 0 and not mark):
            last = (before or after).strip().splitlines()[-1:] + after.removeprefix("error ").splitlines()
            reason = f"restic could not be given its place there: {'; '.join(last)}"
            raise Denied(self._action, self._target, reason, _ELSEWHERE)
        # A negative number is the signal that ended it.
        return Ended(code if code >= 0 else 128 - code)

    def said(self, lines: int) -> str:
        with self._lock:
            return "".join(list(self._lines)[-lines:])

    def end(self) -> None:
        self._process.stop(_GRACE)
        self._reader.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self, stream: IO[Any]) -> None:
        with contextlib.suppress(ValueError):  # closed under us after it was stopped
            for line in stream:
                with self._lock:
                    self._lines.append(line)
