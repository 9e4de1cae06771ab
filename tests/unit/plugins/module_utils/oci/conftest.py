# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries and layouts, no patience, and nobody's logins; the module as it is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.copying import alone
from fakes.layouts import JSON, Kept, Run, directory, prefix
from fakes.registry import FakeRegistry
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.modules import image_mirror


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone(monkeypatch, tmp_path)


@pytest.fixture
def source() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry(referrers=True) as registry:
        yield registry


@pytest.fixture
def bucket() -> Iterator[FakeS3]:
    with FakeS3() as fake:
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*, check: bool = False, **options: Any) -> JSON:
        arguments = {"workers": 3, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_mirror.main()
        captured = capsys.readouterr()
        assert "canary" not in captured.out
        result: JSON = json.loads(captured.out)
        return result

    return call


@pytest.fixture(params=["directory", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "directory":
        return directory(tmp_path / "layout")
    fake: FakeS3 = request.getfixturevalue("bucket")
    return prefix(fake)
