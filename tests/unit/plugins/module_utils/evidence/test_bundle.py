# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Silent
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.bundle import NAMESPACE, report
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request


def ask(tmp_path: Path, *, check_mode: bool = False, **more: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "kind": "drill",
        "run": "drill-1",
        "application": {"name": "shop"},
        "site": "west",
        "started": "2026-01-31T04:00:00Z",
        "phases": [],
        "error": "nothing to restore",
        "directory": str(tmp_path / "reports"),
        "store": {"url": f"file://{tmp_path / 'store'}"},
        **more,
    }
    (tmp_path / "store").mkdir(exist_ok=True)
    return report(Request(params, check_mode, False, Silent(), lambda text: None))


def test_sums_match_and_the_signature_covers_them(tmp_path):
    key = tmp_path / "key"
    assert shutil.which("ssh-keygen"), "the OpenSSH client is needed"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers = tmp_path / "signers"
    signers.write_text("muster " + Path(f"{key}.pub").read_text())
    answer = ask(tmp_path, signing={"key": str(key)})
    folder = tmp_path / "store" / "evidence" / "drill-1"
    sums = (folder / "SHA256SUMS").read_bytes()
    for line in sums.decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    checked = Signing(allowed_signers=signers).verify(sums, (folder / "SHA256SUMS.sig").read_bytes(), NAMESPACE)
    assert checked.valid
    assert Path(answer["path"]).read_bytes() == (folder / "report.html").read_bytes()
    assert answer["verdict"] == "fail"


def test_check_mode_writes_nothing(tmp_path):
    ask(tmp_path, check_mode=True)
    assert not (tmp_path / "reports").exists()
    assert not list((tmp_path / "store").rglob("*.*"))


def test_a_run_id_cannot_lead_out_of_its_folder(tmp_path):
    with pytest.raises(InvalidInput, match="plain name"):
        ask(tmp_path, run="../x")


def test_a_phase_that_was_skipped_is_none_of_the_timeline(tmp_path):
    ran = {"name": "wait and check", "result": {"started": "2026-01-31T04:00:01Z", "seconds": 2}}
    answer = ask(tmp_path, phases=[{"name": "restore streams", "result": {"skipped": True}}, {"name": "x"}, ran])
    assert [phase["name"] for phase in answer["report"]["phases"]] == ["wait and check"]


def test_a_name_that_is_no_text_of_utf_8_does_not_cost_the_report(tmp_path):
    answer = ask(tmp_path, error="could not read shop/caf\udce9")
    folder = tmp_path / "store" / "evidence" / "drill-1"
    assert "SHA256SUMS" in answer["files"] and "shop/caf?" in (folder / "report.json").read_text(encoding="utf-8")
    assert "shop/caf?" in (folder / "report.html").read_text(encoding="utf-8")


def test_an_application_without_a_name_is_no_traceback(tmp_path):
    with pytest.raises(InvalidInput, match="name is None"):
        ask(tmp_path, application={"namespaces": ["shop"]})
