# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Detached signatures by ``ssh-keygen -Y``: anyone can check them with OpenSSH alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import process
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)

POINT_NAMESPACE = "muster-recovery-point"
TRANSITION_NAMESPACE = "muster-transition"
MAINTENANCE_NAMESPACE = "muster-maintenance"
_TIMEOUT = 20.0


@dataclass(frozen=True)
class Verdict:
    """Whether the bytes are what ``identity`` signed; ``msg`` says why not."""

    valid: bool
    identity: str
    msg: str


@dataclass(frozen=True)
class Signing:
    """Files of keys, and the name under which the key is trusted."""

    key: Path | None = None
    allowed_signers: Path | None = None
    identity: str = "muster"

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Signing:
        given = options or {}
        return cls(
            key=Path(given["key"]) if given.get("key") else None,
            allowed_signers=Path(given["allowed_signers"]) if given.get("allowed_signers") else None,
            identity=given.get("identity") or "muster",
        )

    def sign(self, data: bytes, namespace: str = POINT_NAMESPACE) -> bytes:
        if self.key is None:
            raise InvalidInput("sign", "document", "no key was given", "Set signing.key to an OpenSSH private key.")
        return sign(data, self.key, namespace)

    def verify(self, data: bytes, signature: bytes, namespace: str = POINT_NAMESPACE) -> Verdict:
        if self.allowed_signers is None:
            raise InvalidInput(
                "verify", "signature", "no trusted signers were given", "Set signing.allowed_signers to their file."
            )
        return verify(data, signature, self.allowed_signers, self.identity, namespace)

    def require_signers(self, action: str, target: str, hint: str) -> None:
        """Raise :class:`InvalidInput` where nobody is trusted, before any work that would need it."""
        if self.allowed_signers is None:
            raise InvalidInput(action, target, "no trusted signers were given", hint)

    def check(self) -> None:
        """Sign something and, where signers are given, verify it: a backup must not fail at its very end."""
        sample = b"muster checks its signing key\n"
        signature = self.sign(sample)
        if self.allowed_signers is None:
            return
        verdict = self.verify(sample, signature)
        if not verdict.valid:
            raise Denied(
                "use",
                f"signing key {self.key}",
                f"{self.allowed_signers} does not trust it as {self.identity!r} ({verdict.msg})",
                "Add its public key there, or correct signing.identity.",
            )


def sign(data: bytes, key: Path, namespace: str = POINT_NAMESPACE) -> bytes:
    """The armoured signature of ``data``; only the key's path reaches the command line."""
    target = f"document with {key}"
    if not key.is_file():
        raise NotFound(
            "sign", target, "there is no such key file", "Make one with ssh-keygen -t ed25519, no passphrase."
        )
    done = _ssh_keygen(["-Y", "sign", "-q", "-f", str(key), "-n", namespace], data)
    if done.code == 0 and done.out.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        return done.out
    text = done.err.decode(errors="replace")
    if "UNPROTECTED" in text or "bad permissions" in text:
        raise Denied("sign", target, "others may read the key file", f"Run: chmod 600 {key}")
    if "passphrase" in text.lower():
        raise Denied("sign", target, "the key asks for a passphrase", "Use a key without one, kept in a safe place.")
    if "Permission denied" in text:
        raise Denied("sign", target, "this user may not read the key file")
    raise InvalidInput("sign", target, _last(text) or "ssh-keygen did not sign", "Is it an OpenSSH private key?")


def verify(
    data: bytes, signature: bytes, allowed_signers: Path, identity: str, namespace: str = POINT_NAMESPACE
) -> Verdict:
    """Whether ``identity`` of ``allowed_signers`` signed exactly these bytes.

    A wrong signature is a :class:`Verdict`; an error is raised only where nothing could be checked.
    """
    if not allowed_signers.is_file():
        raise NotFound(
            "verify", "signature", f"there is no file of trusted signers {allowed_signers}", "Correct allowed_signers."
        )
    if not os.access(allowed_signers, os.R_OK):
        raise Denied("verify", "signature", f"this user may not read {allowed_signers}")
    with tempfile.TemporaryDirectory(prefix="muster-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        done = _ssh_keygen(
            ["-Y", "verify", "-f", str(allowed_signers), "-I", identity, "-n", namespace, "-s", str(file)], data
        )
    if done.code == 0:
        return Verdict(True, identity, "")
    text = (done.err + done.out).decode(errors="replace")
    if "incorrect signature" in text:
        reason = "the signature does not belong to these bytes"
    elif "namespace" in text:
        reason = f"it was made for another purpose than {namespace}"
    else:
        reason = _last(text.replace("Could not verify signature.", "")) or f"no key trusted as {identity!r} made it"
    return Verdict(False, identity, reason)


def _ssh_keygen(arguments: list[str], data: bytes) -> process.Finished:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise NotFound("run", "ssh-keygen", "it is not on the PATH", "Install the OpenSSH client.")
    environment = {**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}
    environment.pop("SSH_ASKPASS", None)
    try:
        # A session of its own has no terminal, so a key with a passphrase fails instead of asking somebody.
        return process.run([program, *arguments], data=data, timeout=_TIMEOUT, env=environment)
    except TimeoutError:
        raise Unavailable("run", "ssh-keygen", f"it did not end within {_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise MusterError("run", "ssh-keygen", error.strerror or str(error)) from None


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
