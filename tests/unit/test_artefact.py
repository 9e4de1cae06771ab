# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artefact that users install: what is in it, and that it works without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if path.name != "__init__.py")


@pytest.fixture
def ansible(tmp_path: Path):
    """Runs an Ansible program that knows the folder `installed` only, and nothing of this checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "installed"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }

    def run(program: str, *arguments: object) -> str:
        done = subprocess.run(
            [BIN / program, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_the_artefact_installs_and_works_without_the_checkout(ansible, tmp_path: Path) -> None:
    subprocess.run([ROOT / "tools" / "copy-collection", tmp_path / "source"], check=True)
    source = tmp_path / "source" / "ansible_collections" / "muster" / "container_dr"
    ansible("ansible-galaxy", "collection", "build", source, "--output-path", tmp_path)
    artefact = next(tmp_path.glob("muster-container_dr-*.tar.gz"))

    with tarfile.open(artefact) as archive:
        top = {entry.split("/")[0] for entry in archive.getnames()}
    assert top <= {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "COPYING",
        "FILES.json",
        "LICENSES",
        "MANIFEST.json",
        "README.md",
        "bindep.txt",
        "changelogs",
        "docs",
        "extensions",
        "meta",
        "playbooks",
        "plugins",
        "requirements.txt",
        "roles",
    }
    with tarfile.open(artefact) as archive:
        assert not [entry for entry in archive.getnames() if entry.startswith(("extensions/molecule", "docs/sphinx"))]

    ansible(
        "ansible-galaxy", "collection", "install", artefact, "--offline", "--collections-path", tmp_path / "installed"
    )
    pages = json.loads(ansible("ansible-doc", "--json", *(f"muster.container_dr.{module}" for module in MODULES)))
    assert {key.rsplit(".", 1)[1] for key in pages} == set(MODULES)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {children: {muster_source: {hosts: {east: {}}}, muster_target: {hosts: {west: {}}}}}\n")
    for playbook in PLAYBOOKS:
        ansible("ansible-playbook", "--syntax-check", "--inventory", inventory, f"muster.container_dr.{playbook}")
