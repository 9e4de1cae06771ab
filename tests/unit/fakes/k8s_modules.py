# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Capture and restore by their real ``main()``, with a repository that is a folder, and objects for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import restore as restore_verb
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import snapshot as snapshot_verb

from .folder_repository import FolderRepository

Call = Callable[..., dict[str, Any]]
PASSWORD = "repository-pw-1"
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "currencies.ledger.example.com"},
    "spec": {
        "group": "ledger.example.com",
        "scope": "Namespaced",
        "names": {"plural": "currencies", "kind": "Currency"},
        "versions": [{"name": "v1", "served": True, "storage": True}],
    },
}


def thing(kind: str, name: str, api: str = "v1", namespace: str = "ledger", **more: Any) -> dict[str, Any]:
    """An object, in no namespace where that is empty."""
    metadata = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FolderRepository:
    """Give both modules a repository that is this folder."""
    repository = FolderRepository(folder)
    for verb in (snapshot_verb, restore_verb):
        monkeypatch.setattr(verb, "Repository", repository)
    return repository


def calling(capsys: pytest.CaptureFixture[str], password: str = PASSWORD) -> Call:
    """``call(module, check, diff, **options)`` runs a module and gives its result, failed or not."""

    def call(module: Any, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "_ansible_check_mode": check,
            "_ansible_diff": diff,
            # Sent by the controller; ansible-core 2.19.0 relies on it.
            "_ansible_tracebacks_for": [],
        }
        if "repository" in module.OPTIONS.arguments:
            arguments["repository"] = {"url": "/r", "password": password}
        with patch_module_args({**arguments, **options}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call
