# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks decide by themselves, run by Ansible, without any site behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.registry import FakeRegistry
from fakes.signer import Signatures, Signer

ROOT = Path(__file__).resolve().parents[2]
ATTESTED = {"failover_attested_by": "Kim", "failover_attested_reason": "a test"}
LONG = "a-namespace-with-as-many-characters-as-a-namespace-can-have-abc"


@pytest.fixture
def play(tmp_path: Path):
    """Runs a playbook on an inventory of two sites that are not there; gives exit code and output on one line."""
    sites = {
        name: {
            "muster_site": {
                "name": name,
                "kubeconfig": str(tmp_path / "nowhere"),
                "repository": {"url": "/nowhere", "password": "p"},
                "store": {"url": f"file://{tmp_path}/nowhere"},
                "registry": {"name": "registry.invalid"},
                "mover": {"image": "i"},
            }
        }
        for name in ("east", "west")
    }
    inventory = {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "muster_applications": [{"name": name, "namespaces": [name]} for name in ("shop", "data")],
                "muster_signing": {"key": "k", "allowed_signers": "a", "identity": "muster"},
                "muster_witness": {"url": f"file://{tmp_path}/nowhere"},
            },
            "children": {
                "muster_source": {"hosts": {"east": sites["east"]}},
                "muster_target": {"hosts": {"west": sites["west"]}},
            },
        }
    }
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".work" / "ansible"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "PWD": str(tmp_path),
    }

    def run(playbook: str | Path, **variables: Any) -> tuple[int, str]:
        program = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "inventory.yml")]
        done = subprocess.run(
            [*program, str(playbook), "-e", json.dumps(variables)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


@pytest.mark.parametrize("playbook", ["backup", "replicate", "drill", "restore", "failover", "failback"])
def test_a_misspelt_site_is_refused(play, playbook: str) -> None:
    code, said = play(f"muster.container_dr.{playbook}", muster_at="weast", **ATTESTED)
    assert code == 2 and "Could not find site weast" in said and "east, west" in said, said


@pytest.mark.parametrize("playbook", ["backup", "restore"])
def test_a_misspelt_application_is_refused(play, playbook: str) -> None:
    code, said = play(f"muster.container_dr.{playbook}", muster_only="shpo")
    assert code == 2 and "Could not find application shpo: muster_applications has data, shop" in said, said


@pytest.mark.parametrize("playbook", ["backup", "drill", "failback"])
def test_each_application_has_its_turn_and_the_outcome_names_those_that_failed(play, playbook: str) -> None:
    code, said = play(f"muster.container_dr.{playbook}", **ATTESTED)
    assert code == 2 and "2 of 2 applications failed: shop (" in said and ", data (" in said, said
    assert "rescued=2" in said or playbook == "drill"


def test_one_application_alone(play) -> None:
    code, said = play("muster.container_dr.backup", muster_only="data")
    assert code == 2 and "1 of 1 applications failed: data (" in said, said


def test_the_names_of_bubbles_fit_and_differ(play, tmp_path: Path) -> None:
    names = ["shop", "b" * 35, "c" * 36, LONG, LONG[:-1] + "d"]
    check = [
        {
            "hosts": "west",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles" / "drill" / "vars" / "main.yml")],
            "vars": {
                "drill_run": "drill-20260131t040000z-k3v9",
                "drill_chosen": {"point": {"document": {"objects": {"namespaces": names}}}},
            },
            "tasks": [
                {
                    "name": "Write them down",
                    "ansible.builtin.copy": {
                        "content": "{{ drill_bubbles | to_json }}",
                        "dest": str(tmp_path / "bubbles"),
                        "mode": "0600",
                    },
                }
            ],
        }
    ]
    (tmp_path / "check.yml").write_text(yaml.safe_dump(check), encoding="utf-8")
    code, said = play(tmp_path / "check.yml")
    assert code == 0, said
    bubbles = json.loads((tmp_path / "bubbles").read_text(encoding="utf-8"))
    assert list(bubbles) == names and len(set(bubbles.values())) == len(names)
    assert bubbles["shop"] == "shop-drill-20260131t040000z-k3v9"
    assert all(len(name) <= 63 and name.endswith("-drill-20260131t040000z-k3v9") for name in bubbles.values())


def test_a_restore_begins_only_with_images_that_are_signed_as_required(play, tmp_path: Path) -> None:
    key, forger = Signer(), Signer()
    with FakeRegistry() as registry:
        digest = registry.image("backup/shop/web")["digest"]
        attached = Signatures(registry, "backup/shop/web")
        attached.sign_tag(digest, forger)
        images = [{"name": "registry.example.com/shop/web:1", "digest": digest, "path": "shop/web"}]
        rule = {"pattern": "registry.example.com/*", "policy": "require", "keys": [key.pem]}
        restore = {
            "restore_application": {"name": "shop", "namespaces": ["shop"], "image_signatures": [rule]},
            "restore_site": {
                "name": "west",
                "kubeconfig": str(tmp_path / "nowhere"),
                "repository": {"url": "/nowhere", "password": "p"},
                "store": {"url": f"file://{tmp_path}/store"},
                "registry": {"name": f"{registry.host}/backup", "plain_http": True},
            },
            "restore_point": {"id": "x", "images": images, "objects": {"snapshot": {"tree": "t"}}, "epoch": 1},
            "restore_run": "run",
        }
        role = {"name": "muster.container_dr.restore"}
        task = {"name": "Restore", "ansible.builtin.include_role": role, "vars": restore}
        (tmp_path / "restore.yml").write_text(
            yaml.safe_dump([{"hosts": "west", "gather_facts": False, "tasks": [task]}]), encoding="utf-8"
        )
        code, said = play(tmp_path / "restore.yml")
        assert code == 2 and "its verdict is invalid" in said and "none of the trusted keys made it" in said, said
        assert "Put to sleep" not in said
        attached.sign_tag(digest, key)
        code, said = play(tmp_path / "restore.yml")
    # There is no cluster: what comes next fails.
    assert code == 2 and "its verdict" not in said and "Put to sleep" in said, said


def test_a_backup_verifies_signatures_before_it_freezes_anything() -> None:
    tasks = yaml.safe_load((ROOT / "roles" / "backup" / "tasks" / "main.yml").read_text(encoding="utf-8"))
    images = [task.get("muster.container_dr.image_mirror", {}) for task in tasks]
    (judged,) = [place for place, options in enumerate(images) if "backup_application.image_signatures" in str(options)]
    (frozen,) = [place for place, task in enumerate(tasks) if "muster.container_dr.volume_export" in str(task)]
    assert judged < frozen
