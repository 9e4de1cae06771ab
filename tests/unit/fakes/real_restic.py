# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real restic, where this machine has one, on a repository in a directory."""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository, Snapshot, Source

ROOT = Path(__file__).resolve().parents[3]
RESTIC = os.environ.get("MUSTER_RESTIC") or shutil.which(
    "restic", path=f"{ROOT / '.work' / 'sites' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
)
real = pytest.mark.skipif(RESTIC is None, reason="no restic here; `make unit` builds one")
PASSWORD = "canary-password"
# What tests of this process get copies of, by the name of the site and the password.
_made: dict[tuple[str, str], Path] = {}


@dataclass
class Bed:
    """A repository in ``place`` and what is done to it by hand."""

    place: Path
    options: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.options = {"url": str(self.place / "repository"), "password": PASSWORD, "restic": RESTIC or "restic"}

    @cached_property
    def opened(self) -> Repository:
        return Repository.open(self.options)

    def restic(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A plain command, as an operator types it."""
        return subprocess.run(
            [RESTIC or "restic", *arguments], env=self.environment, check=check, capture_output=True, text=True
        )

    @property
    def environment(self) -> dict[str, str]:
        return self.opened.environment()

    def backup(self, name: str, *, host: str = "k8s:east/ledger/data", tags: Sequence[str], at: str = "") -> Snapshot:
        """A snapshot of one file with its own random content, made as if at that time."""
        source = self.place / "sources" / name
        source.mkdir(parents=True, exist_ok=True)
        if not (source / name).exists():
            (source / name).write_bytes(os.urandom(200_000))
        more = [part for tag in tags for part in ("--tag", tag)] + (["--time", at] if at else [])
        done = subprocess.run(
            [RESTIC or "restic", "--no-cache", "--json", "-q", "backup", "--host", host, *more, "."],
            env=self.environment,
            cwd=source,
            check=True,
            capture_output=True,
            text=True,
        )
        return self.opened.snapshot(json.loads(done.stdout.splitlines()[-1])["snapshot_id"])

    def restores(self, snapshot: Snapshot, name: str) -> bool:
        """Whether a snapshot gives back what was put into it."""
        target = self.place / "restored" / snapshot.id
        self.opened.restore(snapshot.id, target)
        return (target / name).read_bytes() == (self.place / "sources" / name / name).read_bytes()

    def begin(self, site: str = "", like: Bed | None = None) -> Bed:
        """Put a repository without snapshots here; those of two sites have two ids, and ``like`` gives its chunker.

        restic takes seconds to make one, and half a second to open it with the key that it makes. So each is made once
        per process, with a key that is cheap to derive, and copied.
        """
        known = (site, self.options["password"])
        if known not in _made:
            folder = Path(tempfile.mkdtemp(prefix="muster-tests-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            first = Bed(folder)
            first.options["password"] = self.options["password"]
            first.opened.init(Source(like.options["url"], like.options["password"]) if like else None)
            first._hasten()
            _made[known] = folder / "repository"
        shutil.copytree(_made[known], self.options["url"], dirs_exist_ok=True)
        return self

    def _hasten(self) -> None:
        (path,) = Path(self.options["url"], "keys").iterdir()
        key = json.loads(path.read_bytes())
        sealed, password = base64.b64decode(key["data"]), self.options["password"].encode()
        slow = hashlib.scrypt(
            password,
            salt=base64.b64decode(key["salt"]),
            n=key["N"],
            r=key["r"],
            p=key["p"],
            dklen=64,
            maxmem=1 << 28,
        )
        master = _cipher(slow, sealed[:16]).update(sealed[16:-16])
        key |= {"N": 2, "r": 1, "p": 1}
        fast = hashlib.scrypt(password, salt=base64.b64decode(key["salt"]), n=2, r=1, p=1, dklen=64)
        nonce = os.urandom(16)
        text = _cipher(fast, nonce).update(master)
        once = Cipher(algorithms.AES(fast[32:48]), modes.ECB()).encryptor().update(nonce)
        tag = Poly1305.generate_tag(fast[48:] + once, text)
        data = json.dumps({**key, "data": base64.b64encode(nonce + text + tag).decode()}).encode()
        path.with_name(hashlib.sha256(data).hexdigest()).write_bytes(data)
        path.unlink()

    def locks(self) -> list[str]:
        # While restic writes one it has a longer name.
        folder = Path(self.options["url"], "locks")
        return sorted(path.name for path in folder.iterdir() if len(path.name) == 64)

    @contextmanager
    def holder(self, *before: str, kill: bool = False) -> Iterator[str]:
        """A backup that waits for its input and holds a lock, whose id this gives; killed at once with ``kill``."""
        there = set(self.locks())
        process = subprocess.Popen(
            [*before, RESTIC or "restic", "--no-cache", "-q", "backup", "--stdin"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + 30
            while not (new := set(self.locks()) - there):
                assert time.monotonic() < end and process.poll() is None, "it took no lock"
                time.sleep(0.05)
            if kill:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            yield new.pop()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin:
                process.stdin.close()


def _cipher(user: bytes, nonce: bytes) -> CipherContext:
    """The same for both ways, as it is a stream."""
    return Cipher(algorithms.AES(user[:32]), modes.CTR(nonce)).encryptor()
