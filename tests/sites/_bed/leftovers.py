"""What a killed private engine leaves on the machine: processes of its containers, control groups and mounts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from .steps import note, succeeds

GROUPS = Path("/sys/fs/cgroup")


def clear(home: Path) -> None:
    """End every process of the containers below an engine's folder, and remove their control groups and mounts."""
    ids = containers(home)
    for pid in processes_of(str(home), "containerd-shim"):
        stop(pid, 0)
    for group in groups(ids):
        with contextlib.suppress(OSError):
            (group / "freezer.state").write_text("THAWED")  # a frozen process does not even die
    for _ in range(50):
        left = members(ids)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for group in groups(ids):
        for folder in sorted(group.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            if folder.is_dir():
                with contextlib.suppress(OSError):
                    folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
    for mount in mounts_below(home):
        succeeds(["umount", "-l", mount])


def remove_tree(folder: Path) -> None:
    """Remove a folder in which debootstrap may have been killed: with mounts in it."""
    for mount in mounts_below(folder):
        succeeds(["umount", "-l", mount])
    if not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)


def containers(home: Path) -> set[str]:
    """Ids of an engine's containers: from its folder, and from the shims, should the folder be gone."""
    found = {path.name for path in (home / "data/containers").glob("*")}
    for pid in processes_of(str(home), "containerd-shim"):
        with contextlib.suppress(OSError):
            found |= set(re.findall(r"\0-id\0([0-9a-f]{64})\0", Path(f"/proc/{pid}/cmdline").read_text()))
    return found


def groups(ids: set[str]) -> Iterator[Path]:
    """Control groups of containers, of either version of control groups."""
    for place in (GROUPS, *GROUPS.glob("*/")):
        for one in ids:
            for group in (place / "docker" / one, place / "system.slice" / f"docker-{one}.scope"):
                if group.is_dir():
                    yield group


def members(ids: set[str]) -> list[int]:
    """Processes in the containers' control groups."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if ids & set(re.findall(r"[0-9a-f]{64}", (entry / "cgroup").read_text())) and alive(int(entry.name)):
                    found.append(int(entry.name))
    return found


def processes_of(home: str, program: str) -> list[int]:
    """Ids of the running processes of a program that have an engine's folder in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                inside = any(f"{home}/" in f"{word}/" for word in words)
                if inside and Path(words[0]).name.startswith(program) and alive(int(entry.name)):
                    found.append(int(entry.name))
    return found


def stop(pid: int, patience: float = 15) -> None:
    """End a process, politely first."""
    start = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while alive(pid):
            if time.monotonic() - start > patience:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.05)
    note(f"stopped process {pid} after {time.monotonic() - start:.1f} s")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, the deepest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(f"{folder}/"):
            found.append(point)
    return sorted(found, key=len, reverse=True)
