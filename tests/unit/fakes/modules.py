# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules by their real ``main()``, also where no test's own capture is at hand."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

JSON = dict[str, Any]


def call(module: Any, *, fails: str | None = "", **options: Any) -> JSON:
    """The module's result. ``fails`` is what its failure says; with ``None`` it may fail or not."""
    out = io.StringIO()
    with patch_module_args(options), pytest.raises(SystemExit), contextlib.redirect_stdout(out):
        module.main()
    result: JSON = json.loads(out.getvalue())
    if fails is not None:
        assert bool(result.get("failed")) == bool(fails) and fails in result["msg"], result["msg"]
    return result
