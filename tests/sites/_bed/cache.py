"""Built things that the next bed, of this or another clone, can use: named by what they were made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .places import Bed
from .steps import CommandError, note, pipe


def key(*parts: str | Path) -> str:
    """Name of what is made from these texts and files (folders count with all they hold)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
        else:
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def drop_others(folder: Path, prefix: str, keep: str) -> None:
    """Remove what was made from an older recipe."""
    for entry in folder.glob(f"{prefix}-*"):
        if entry.name != keep and len(entry.name.removeprefix(f"{prefix}-").split(".")[0]) == 16:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def archive(bed: Bed, name: str, made_from: str) -> Path:
    """Path of the cached image archive of this name and content key."""
    ending = "tar.zst" if shutil.which("zstd") else "tar"
    return bed.cache / "images" / f"{name}-{made_from}.{ending}"


def save_images(path: Path, images: Iterable[str], env: dict[str, str]) -> None:
    """Put images of the engine into an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".zst":
            pipe(["docker", "save", *images], ["zstd", "-q", "-3", "-T0", "-f", "-o", part], env=env)
        else:
            pipe(["docker", "save", *images], ["dd", "bs=1M", f"of={part}"], env=env)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_images(path: Path, env: dict[str, str]) -> bool:
    """Load an archive into the engine; False when it is not there or not whole."""
    if not path.exists():
        return False
    try:
        if path.suffix == ".zst":
            pipe(["zstd", "-q", "-d", "-c", path], ["docker", "load", "-q"], env=env)
        else:
            pipe(["dd", "bs=1M", f"if={path}"], ["docker", "load", "-q"], env=env)
    except CommandError as error:
        note(f"not usable, made again: {error}")
        path.unlink(missing_ok=True)
        return False
    return True


def clean(bed: Bed) -> str:
    """Remove the cache folder; returns what was done."""
    if not bed.cache.exists():
        return "nothing cached"
    remove(bed.cache)
    return f"removed {bed.cache}"


def remove(folder: Path) -> None:
    """Remove a folder, read-only ones in it too."""
    if folder.exists():
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder)
