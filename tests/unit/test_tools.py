# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of tools/ that a fresh machine depends on."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_python_of_a_virtual_environment_is_never_chosen(tmp_path: Path) -> None:
    """Below tools/run that of .venv comes first on the PATH; made from it, a new .venv would remove its own Python."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    venv.create(tmp_path / "env", symlinks=True, with_pip=False)
    assert (tmp_path / "env" / "bin" / name).exists()
    environment = {**os.environ, "PATH": f"{tmp_path / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MUSTER_PYTHON", None)
    found = subprocess.run(
        [ROOT / "tools" / "find-python"], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    asked = "import sys; print(sys.prefix == sys.base_prefix)"
    assert subprocess.run([found, "-c", asked], capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_modules_are_compiled_once_whatever_the_user_has_set(tmp_path: Path) -> None:
    """Else every task would compile what it imports: two seconds for the package kubernetes alone."""
    (tmp_path / "compiled_once.py").write_text("", encoding="utf-8")
    chosen = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path),
    }
    environment = {**os.environ, "MUSTER_VENV": sys.prefix, **chosen}
    subprocess.run([ROOT / "tools" / "run", "python", "-c", "import compiled_once"], env=environment, check=True)
    assert list((tmp_path / "cache").rglob("compiled_once.*.pyc"))
