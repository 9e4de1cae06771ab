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
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from fakes.registry import FakeRegistry
from fakes.signer import Signatures, Signer

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, volume_import

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

    def run(
        playbook: str | Path, collections: Path | None = None, limit: str = "", **variables: Any
    ) -> tuple[int, str]:
        program = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "inventory.yml")]
        program += ["--limit", limit] if limit else []
        done = subprocess.run(
            [*program, str(playbook), "-e", json.dumps(variables)],
            cwd=tmp_path,
            env={**environment, "ANSIBLE_COLLECTIONS_PATH": str(collections)} if collections else environment,
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


# A restore takes what these say and asks nothing else of them.
ACTOR = """#!/usr/bin/python
# WANT_JSON
import json, sys
with open(sys.argv[1]) as file:
    given = json.load(file)
with open({log!r}, "a") as file:
    file.write(json.dumps([{name!r}, given]) + "\\n")
print(json.dumps({answer!r}))
"""
ANSWERS: dict[str, dict[str, Any]] = {
    "k8s_suspend": {"changed": True, "objects": []},
    "k8s_restore": {"changed": True, "objects": [], "unchanged": []},
    "volume_import": {"changed": True, "msg": "1 of 1 volumes restored, 9 bytes.", "volumes": []},
    "image_mirror": {"images": [], "excluded": [{"what": "image:tools", "why": "every node builds it"}]},
    "volume_export": {"consistency": {"point": "x"}, "cuts": [], "excluded": [], "hooks": [], "volumes": []},
    "k8s_snapshot": {"epoch": 1, "excluded": [{"what": "secrets/x", "why": "is left out"}], "snapshot": None},
    "recovery_point": {"id": "p", "started": "x"},
    "transition": {"failed": True, "msg": "the lock was asked for"},
}


@pytest.fixture
def rehearse(play, tmp_path: Path):
    """Runs a playbook whose modules only write down how they were called; gives code, output and these calls."""
    collection = tmp_path / "collections" / "ansible_collections" / "muster" / "container_dr"
    (collection / "plugins" / "modules").mkdir(parents=True)
    for part in ("meta", "playbooks", "roles", "plugins/module_utils", "plugins/doc_fragments"):
        (collection / part).symlink_to(ROOT / part)
    volumes = [
        {"name": "shop/data", "kind": "pvc", "namespace": "shop", "claim": "data"},
        {"name": "shop/cache", "kind": "pvc", "namespace": "shop", "claim": "cache"},
        {"name": "shop/streams/orders", "kind": "stream", "namespace": "shop", "stream": "orders"},
    ]
    document = {
        "id": "20260131T040506Z-shop-1a2b3c4d",
        "epoch": 1,
        "images": [],
        "objects": {"namespaces": ["shop"], "snapshot": {"tree": "t"}},
        "volumes": volumes,
    }
    point = {"id": document["id"], "epoch": 1, "document": document}
    log = tmp_path / "calls"
    for module in (ROOT / "plugins" / "modules").glob("*.py"):
        answer = {"recovery_point_info": {"point": point}, **ANSWERS}.get(module.stem, {"changed": False})
        text = ACTOR.format(log=str(log), name=module.stem, answer=answer)
        (collection / "plugins" / "modules" / module.name).write_text(text, encoding="utf-8")

    def run(playbook: str, **variables: Any) -> tuple[int, str, list[tuple[str, dict[str, Any]]]]:
        log.write_text("", encoding="utf-8")
        code, said = play(f"muster.container_dr.{playbook}", tmp_path / "collections", muster_only="shop", **variables)
        return code, said, [tuple(json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]

    return run


def taken(module: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options that a module was given, which the real one would take."""
    given = {key: value for key, value in options.items() if not key.startswith("_ansible")}
    assert ArgumentSpecValidator(module.OPTIONS.arguments).validate(given).error_messages == []
    return given


def test_one_line_brings_back_one_folder_of_one_volume(rehearse) -> None:
    code, said, calls = rehearse(
        "restore",
        restore_data_only=True,
        restore_volume_paths={"shop/data": ["uploads/2026"]},
        restore_volume_targets={"shop/data": {"claim": "found", "namespace": "desk"}},
        restore_volume_overwrite="never",
    )
    assert code == 0, said
    names = [name for name, _options in calls]
    assert names == ["recovery_point_info", "volume_import", "k8s_suspend", "volume_import", "k8s_suspend"]
    planned, done = (options for name, options in calls if name == "volume_import")
    assert (planned["_ansible_check_mode"], done["_ansible_check_mode"]) == (True, False)
    given = taken(volume_import, done)
    assert given == taken(volume_import, planned)
    assert (given["paths"], given["overwrite"]) == ({"shop/data": ["uploads/2026"]}, "never")
    assert (given["targets"], "delete" in given) == ({"shop/data": {"claim": "found", "namespace": "desk"}}, False)
    assert calls[2][1]["namespaces"] == ["desk", "shop"]
    assert "Left out, because only restore_volume_names brings streams back alone: shop/streams/orders." in said


def test_volumes_and_streams_come_back_alone_by_their_names(rehearse) -> None:
    names = ["shop/cache", "shop/streams/orders"]
    code, said, calls = rehearse(
        "restore",
        restore_data_only="true",
        restore_volume_names=names,
        restore_existing_volumes="replace",
        restore_volume_delete=False,
    )
    assert code == 0 and "Left out" not in said, said
    done = [options for name, options in calls if name == "volume_import"]
    assert [options["kinds"] for options in done] == [["volumes"], ["streams"]] * 2
    assert all([one["name"] for one in options["volumes"]] == names for options in done)
    given = taken(volume_import, done[0])
    assert (given["existing"], given["delete"]) == ("replace", False)
    assert not {"k8s_restore", "image_mirror", "restore_validate"} & {name for name, _options in calls}


def test_a_whole_application_takes_other_sizes_and_leaves_the_registry_alone_on_request(rehearse) -> None:
    sizes = {"shop/data": {"size": "20Gi"}, "office/mail": {"size": "9Gi"}}
    code, said, calls = rehearse("restore", restore_volume_targets=sizes, restore_check_images=False)
    assert code == 0, said
    assert "image_mirror" not in {name for name, _options in calls}
    asked = [options for name, options in calls if name == "k8s_restore"]
    assert [taken(k8s_restore, options)["check_images"] for options in asked] == [False] * 3
    (moved,) = {json.dumps(options["targets"]) for name, options in calls if options.get("kinds") == ["volumes"]}
    assert json.loads(moved) == {"shop/data": {"size": "20Gi"}}
    assert "restore_validate" in {name for name, _options in calls}


def test_a_point_says_what_was_left_out_and_why(rehearse) -> None:
    code, said, calls = rehearse("backup")
    assert code == 0, said
    (sealed,) = [options for name, options in calls if name == "recovery_point" and options["state"] == "sealed"]
    assert [one["what"] for one in sealed["excluded"]] == ["secrets/x", "image:tools"]


def test_a_restore_asks_the_registry_before_it_changes_anything(rehearse) -> None:
    _code, said, calls = rehearse("restore")
    names = [name for name, _options in calls]
    assert names.index("image_mirror") < names.index("k8s_suspend"), said
    assert all(options["check_images"] for name, options in calls if name == "k8s_restore")


DATA = {"restore_data_only": True}


def test_a_restore_that_contradicts_itself_touches_nothing_and_says_all_reasons(rehearse) -> None:
    rules = [{"pattern": "*", "policy": "require", "keys": ["k"]}]
    whole = {
        "restore_volume_paths": {"shop/data": ["a"]},
        "restore_volume_names": ["shop/data"],
        "restore_volume_targets": {"shop/data": {"claim": "x"}, "shop/date": {"size": "1Gi"}, "office/mail": {}},
        "restore_check_images": False,
        "muster_applications": [{"name": "shop", "namespaces": ["shop"], "image_signatures": rules}],
    }
    data = {
        **DATA,
        "restore_volume_paths": {"shop/dat": ["a"]},
        "restore_volume_names": ["shop/cache"],
        "restore_volume_targets": {"office/mail": {"claim": "x"}},
    }
    for variables, reasons in (
        (
            whole,
            [
                "its objects would start on it. Set restore_data_only",
                "gives another claim or namespace to shop/data, and",
                "Give one of the two",
                "restore_volume_targets name shop/date, and 20260131T040506Z",
                "its image_signatures require signatures",
            ],
        ),
        (data, ["name office/mail, shop/dat, and", "has shop/cache, shop/data, shop/streams/orders", "Give one of"]),
    ):
        code, said, calls = rehearse("restore", **variables)
        assert code == 2 and not [reason for reason in reasons if reason not in said], said
        assert [name for name, _options in calls] == ["recovery_point_info"]


def test_a_failover_and_a_drill_bring_back_more_than_data(rehearse) -> None:
    for playbook in ("failover", "drill"):
        code, said, calls = rehearse(playbook, **DATA, **ATTESTED)
        assert code == 2 and "Leave it to the playbook restore" in said, said
        assert not {"transition", "volume_import", "k8s_suspend"} & {name for name, _options in calls}


BLANK = dict.fromkeys(("muster_at", "muster_from", "muster_only", "muster_point", "muster_verify"), "")


def test_blank_answers_of_a_form_are_as_good_as_none(play, rehearse) -> None:
    code, said = play("muster.container_dr.backup", **BLANK)
    assert code == 2 and "2 of 2 applications failed: shop (" in said, said
    code, said, calls = rehearse("restore", **{name: "" for name in BLANK if name != "muster_only"})
    assert code == 0 and "id" not in calls[0][1] and calls[0][1]["verify"] == "structure", said
    for playbook in ("drill", "failover"):
        _code, said, calls = rehearse(playbook, muster_from="", **{f"{playbook}_point": ""}, **ATTESTED)
        (asked,) = [options for name, options in calls if name == "recovery_point_info"]
        assert "id" not in asked, said


@pytest.mark.parametrize(
    ("applications", "reason"),
    [([], "there is none in it"), ([{"name": "shop", "namespaces": [name]} for name in "ab"], "have the same name")],
)
def test_applications_that_are_none_or_twins_are_refused(play, applications: list[Any], reason: str) -> None:
    code, said = play("muster.container_dr.backup", muster_applications=applications)
    assert code == 2 and reason in said and "Begin a recovery point" not in said, said


def test_a_limit_that_leaves_out_the_site_is_no_success(play) -> None:
    code, said = play("muster.container_dr.backup", limit="west")
    assert code == 2 and "the limit west leaves none" in said, said
    code, said = play("muster.container_dr.backup", limit="east")
    assert code == 2 and "2 of 2 applications failed" in said, said


def test_a_source_that_is_a_group_is_refused(play) -> None:
    code, said = play("muster.container_dr.failover", muster_from="muster_source", **ATTESTED)
    assert code == 2 and "Could not take muster_source as the source" in said and "east, west" in said, said


def test_one_site_alone_needs_no_witness(rehearse, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    lines = inventory.read_text(encoding="utf-8").splitlines()
    begins = next(number for number, line in enumerate(lines) if "muster_witness" in line)
    inventory.write_text("\n".join(lines[:begins] + lines[begins + 2 :]), encoding="utf-8")
    assert "witness" not in inventory.read_text(encoding="utf-8")
    for playbook in ("backup", "restore"):
        code, said, calls = rehearse(playbook)
        assert code == 0 and not [options for _name, options in calls if "witness" in options], said


@pytest.mark.parametrize(
    ("playbook", "variables"),
    [
        ("restore", {"restore_options": '{"drop_labels": ["team"]}'}),
        ("restore", {"restore_namespaces": '{"shop": "copy"}'}),
        ("restore", {**DATA, "restore_volume_names": "shop/data"}),
        ("failover", {"failover_options": '{"drop_labels": ["team"]}', **ATTESTED}),
    ],
)
def test_text_for_a_dictionary_is_refused_and_never_silently_left_out(
    rehearse, playbook: str, variables: dict[str, Any]
) -> None:
    code, said, calls = rehearse(playbook, **variables)
    name = [name for name in variables if name.startswith(("restore_", "failover_"))][
        -1 if playbook == "restore" else 0
    ]
    assert code == 2 and f"{name.replace('failover', 'restore')} (also as" in said, said
    assert [name for name, _options in calls] == ["recovery_point_info"]


@pytest.mark.parametrize("checked", [{"rpo": {"seconds": 9}}, {"failed": True, "msg": "A01 failed"}])
def test_a_report_that_cannot_be_written_hides_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, checked: dict[str, Any]
) -> None:
    lock = {"lock": {"since": "2026-01-31T04:05:06Z"}}
    monkeypatch.setitem(ANSWERS, "transition", {"id": "t1", "epoch": 2, "application_state": lock})
    monkeypatch.setitem(ANSWERS, "restore_validate", checked)
    monkeypatch.setitem(ANSWERS, "report", {"failed": True, "msg": "there is no room"})
    rehearse = request.getfixturevalue("rehearse")
    code, said, calls = rehearse("failover", **ATTESTED)
    assert code == 2 and "there is no room" in said, said
    if "failed" in checked:
        assert "A01 failed Mend the reason and go on with -e failover_resume=t1" in said, said
    else:
        assert "shop runs at west, epoch 2" in said and "shop runs at west, and nothing proves it" in said, said
    code, said, calls = rehearse("drill")
    assert code == 2 and "Verdict unknown: there is no room" in said, said
    assert ("The drill broke off: Check the restored application: A01 failed" in said) == ("failed" in checked)
    assert "recovery_point" not in {name for name, _options in calls}


@pytest.mark.parametrize("variables", [{"restore_namespaces": {"shop": "shop"}}, {"restore_bubble": False}])
def test_a_drill_never_leaves_its_bubble(rehearse, variables: dict[str, Any]) -> None:
    code, said, calls = rehearse("drill", **variables, restore_existing="update")
    restored = [options for name, options in calls if name == "k8s_restore" and options.get("state") != "absent"]
    assert code == 2 and restored == [] and "Leave restore_namespaces and restore_bubble to the drill" in said, said
    (report,) = [options for name, options in calls if name == "report"]
    assert "Leave restore_namespaces and restore_bubble to the drill" in report["error"]


def test_a_retention_of_which_all_is_commented_out_is_as_good_as_none(rehearse) -> None:
    empty = {"name": "shop", "namespaces": ["shop"], "retention": None}
    _code, said, calls = rehearse("retention", muster_applications=[empty])
    assert next(options for name, options in calls if name == "recovery_point")["retention"]["keep_last"] == 3, said
