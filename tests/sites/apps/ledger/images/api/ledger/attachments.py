# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachments on their volume: one file per content, named by its SHA-256.

A file is complete before its name exists (write, fsync, rename, fsync of the folder), and it exists before the
booking that names it is committed. So a copy of this volume taken at or after the database's has every attachment.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import re
import secrets
import time
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")

INCOMING = ".incoming"
"""Folder of unfinished writes; nothing in it belongs to the ledger."""


class State(enum.Enum):
    """What is found where an attachment should be."""

    INTACT = "intact"
    MISSING = "missing"
    TORN = "torn"
    ALTERED = "altered"


class AttachmentStore:
    """The attachments volume mounted at ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """Where the attachment with this digest lies."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in hex: {sha256[:80]!r}")
        return self._root / sha256[:2] / sha256

    def put(self, content: bytes) -> str:
        """Stores ``content`` durably and returns its SHA-256; repeating it is harmless. Raises OSError."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path(sha256)
        if self.check(sha256, len(content)) is State.INTACT:
            # It may be another request's, renamed but not durable yet.
            _sync_folder(path.parent)
            return sha256
        incoming = self._root / INCOMING
        incoming.mkdir(exist_ok=True)
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(self._root)
        unfinished = incoming / f"{sha256}.{secrets.token_hex(4)}"
        try:
            with unfinished.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return sha256

    def check(self, sha256: str, size: int) -> State:
        """Reads the attachment and says whether it is what was stored."""
        try:
            content = self.path(sha256).read_bytes()
        except (FileNotFoundError, ValueError):
            return State.MISSING
        if hashlib.sha256(content).hexdigest() == sha256:
            return State.INTACT
        return State.TORN if len(content) < size else State.ALTERED

    def writable(self) -> bool:
        """Whether the volume is there and takes new files, as far as that can be said without writing."""
        return os.access(self._root, os.R_OK | os.W_OK | os.X_OK)

    def clear_incoming(self, older_than: float = 3600.0) -> int:
        """Removes unfinished writes of killed pods, at least ``older_than`` seconds old; returns how many."""
        removed = 0
        for leftover in (self._root / INCOMING).glob("*"):
            # The other replica may be doing the same.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime >= older_than:
                    leftover.unlink()
                    removed += 1
        return removed


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
