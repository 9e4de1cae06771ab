# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests against a real API server, named by MUSTER_API_KUBECONFIG; without it they are left out.

An etcd, a kube-apiserver and the namespace controller are enough; nothing here needs a node. KUBECTL names kubectl.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))
sys.path.insert(0, str(ROOT / ".work" / "ansible"))
KUBECONFIG = os.environ.get("MUSTER_API_KUBECONFIG", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not KUBECONFIG and "tests/api" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="MUSTER_API_KUBECONFIG names no API server"))


class Api:
    """The server through kubectl, as a user would act on it."""

    def __call__(self, *arguments: str, stdin: Any = None, fails: bool = False) -> str:
        text = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        program = [os.environ.get("KUBECTL", "kubectl"), "--kubeconfig", KUBECONFIG, *arguments]
        done = subprocess.run(program, input=text, capture_output=True, text=True, timeout=120)
        assert fails or done.returncode == 0, done.stderr
        return done.stdout + (done.stderr if fails else "")

    def get(self, *arguments: str) -> dict[str, Any]:
        obj: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json", "--show-managed-fields"))
        return obj

    def apply(self, obj: dict[str, Any], manager: str = "", fails: bool = False) -> str:
        server_side = ["--server-side", "--field-manager", manager] if manager else []
        return self("apply", *server_side, "-f", "-", stdin=obj, fails=fails)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    name = f"muster-api-{uuid.uuid4().hex[:8]}"
    api("create", "namespace", name)
    yield name
    api("delete", "namespace", name, "--ignore-not-found", "--wait=false")


Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Both modules by their real ``main()``, with a repository that is a folder."""
    from ansible.module_utils.testing import patch_module_args
    from fakes.folder_repository import FolderRepository

    from ansible_collections.muster.container_dr.plugins.module_utils._k8s import restore as restore_verb
    from ansible_collections.muster.container_dr.plugins.module_utils._k8s import snapshot as snapshot_verb

    folder = FolderRepository(tmp_path / "repository")
    for verb in (snapshot_verb, restore_verb):
        monkeypatch.setattr(verb, "Repository", folder)

    def call(module: Any, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "kubeconfig": KUBECONFIG,
            "repository": {"url": "/r", "password": "x"},
            "_ansible_check_mode": check,
            "_ansible_diff": diff,
            "_ansible_tracebacks_for": [],
        }
        with patch_module_args({**arguments, **options}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call
