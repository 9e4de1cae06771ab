# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by the real ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._evidence import signature
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True, timeout=20)
    return path


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    key = make_key(tmp_path / "key")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"muster {key.with_suffix('.pub').read_text()}")
    return Signing(key, allowed)


def test_a_changed_byte_is_noticed(signing: Signing) -> None:
    made = signing.sign(b"data")
    signing.check()
    assert signing.verify(b"data", made).valid
    assert signing.verify(b"Data", made).msg == "the signature does not belong to these bytes"
    assert not signing.verify(b"data", made.replace(b"A", b"B", 1)).valid
    assert not signing.verify(b"data", b"").valid
    assert not signing.verify(b"data", signing.sign(b"data", signature.TRANSITION_NAMESPACE)).valid


def test_a_key_that_nobody_trusts(signing: Signing, tmp_path: Path) -> None:
    other = Signing(make_key(tmp_path / "other"), signing.allowed_signers)
    verdict = signing.verify(b"data", other.sign(b"data"))
    assert (verdict.valid, verdict.msg) == (False, "no key trusted as 'muster' made it")
    with pytest.raises(Denied, match="does not trust it as 'muster'"):
        other.check()


def test_clear_errors(signing: Signing, tmp_path: Path) -> None:
    with pytest.raises(Denied, match="asks for a passphrase"):
        Signing(make_key(tmp_path / "locked", "canary-phrase")).sign(b"")
    with pytest.raises(NotFound, match="no such key file"):
        Signing(tmp_path / "nowhere").sign(b"")
    with pytest.raises(InvalidInput, match="no key was given"):
        Signing().sign(b"")
    with pytest.raises(NotFound, match="trusted signers"):
        Signing(allowed_signers=tmp_path / "nowhere").verify(b"", b"")
    with pytest.raises(InvalidInput, match="no trusted signers"):
        Signing().verify(b"", b"")
    assert signing.key is not None
    signing.key.chmod(0o644)
    with pytest.raises(Denied, match="chmod 600"):
        signing.sign(b"")
    signing.key.chmod(0o600)
    signing.key.write_text("no key")
    with pytest.raises(InvalidInput):
        signing.sign(b"")


def test_without_ssh_keygen(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotFound, match="Install the OpenSSH client"):
        signing.sign(b"")
