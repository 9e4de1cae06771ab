# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its real ``main()``, with a cluster in memory and a restic that answers from a table."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.restic_program import ID, ResticProgram
from fakes.storage import LocalCluster, Storage, claim, digest, ended, good_end, pod, stored, thing

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._volume import importing, naming
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.modules import volume_import

CANARY = "canary-password"
TREE, RESTORE = marks.TREE, marks.RESTORE
Runner = Callable[..., dict[str, Any]]


def recorded(name: str = "data", **change: Any) -> dict[str, Any]:
    """A volume as a recovery point's document has it."""
    host = f"k8s:east/shop/{name}"
    found = stored(host)
    return {
        "name": f"shop/{name}",
        "namespace": "shop",
        "claim": name,
        "class": "fast",
        "size": 1 << 30,
        "access_modes": ["ReadWriteOnce"],
        "volume_mode": "Filesystem",
        "snapshot": found["id"],
        "tree": found["tree"],
        "host": host,
        "files": 3,
        "bytes": 30,
        "complete": True,
        **change,
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    server = Storage()
    server.add(thing("StorageClass", "fast", "", "storage.k8s.io/v1"))
    cluster = LocalCluster(server)
    monkeypatch.setattr(importing.Cluster, "connect", lambda _params: cluster)
    return server


@pytest.fixture
def restic(tmp_path: Path) -> ResticProgram:
    program = ResticProgram(tmp_path)
    program.answer("snapshots", [stored(f"k8s:east/shop/{name}") for name in ("data", "logs")])
    return program


@pytest.fixture
def run(server: Storage, restic: ResticProgram, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(*volumes: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        repository = {"url": "gs:bucket:/r", "password": CANARY, "restic": str(restic.path)}
        repository |= options.pop("repository", {})
        arguments = {"application": "shop", "volumes": list(volumes) or [recorded()], "repository": repository}
        arguments |= {"workers": 1, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            volume_import.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert CANARY not in json.dumps({**result, "invocation": None})
        return result

    return call


def existing(server: Storage, **marks: str) -> None:
    server.add(thing("Namespace", "shop", ""), *claim("data", metadata={"annotations": marks}))


def notes(server: Storage, namespace: str = "shop", name: str = "data") -> dict[str, str]:
    found = server.get("persistentvolumeclaims", namespace, name)
    return dict((found or {"metadata": {}})["metadata"].get("annotations") or {})


def refused(result: dict[str, Any], server: Storage, *words: str) -> None:
    assert result["failed"] and not result["changed"]
    assert not [word for word in words if word not in result["msg"]], result["msg"]
    assert not server.writes


def test_makes_claims_restores_and_marks_them(run: Runner, server: Storage) -> None:
    result = run(recorded(), recorded("logs"), point="p1", namespace_labels={"team": "pay"})
    assert result["changed"] and result["namespaces_created"] == ["shop"], result
    assert [(one["name"], one["complete"], one["files"], one["bytes"]) for one in result["volumes"]] == [
        ("shop/data", True, 3, 30),
        ("shop/logs", True, 3, 30),
    ]
    made = server.created["persistentvolumeclaims"][0]
    assert made["metadata"]["annotations"][RESTORE] == "pending"
    assert made["spec"]["resources"]["requests"]["storage"] == str(1 << 30)
    assert (made["spec"]["storageClassName"], made["spec"]["accessModes"]) == ("fast", ["ReadWriteOnce"])
    assert notes(server) == {TREE: recorded()["tree"], RESTORE: "complete", marks.POINT: "p1"}
    assert server.objects["namespaces", "", "shop"]["metadata"]["labels"] == {"team": "pay"}
    assert not server.left()


def test_the_mover_restores_that_snapshot_and_verifies_it(run: Runner, server: Storage) -> None:
    run()
    run(recorded("logs"), verify="none")
    first, second = (job["spec"]["template"]["spec"]["containers"][0] for job in server.created["jobs"])
    assert recorded()["snapshot"] in first["command"] and "--verify" in first["command"]
    assert "--verify" not in second["command"]
    assert first["volumeMounts"][0]["readOnly"] is False and CANARY not in json.dumps(first)
    assert {"name": "MUSTER_ONLY_IF_EMPTY", "value": "no"} in first["env"]


def test_a_second_run_changes_nothing(run: Runner, server: Storage) -> None:
    run()
    server.writes.clear()
    result = run()
    assert not result["changed"] and not server.writes
    assert result["volumes"][0]["complete"] and "already" in result["volumes"][0]["msg"]


def test_check_mode_writes_nothing(run: Runner, server: Storage) -> None:
    result = run(check=True)
    assert result["changed"] and result["volumes"][0]["changed"] and not server.writes


def test_a_volume_is_restored_where_its_workload_may_run(run: Runner, server: Storage) -> None:
    """It would rather, and does not insist: nodes have other labels at other sites."""
    dedicated = {"key": "dedicated", "operator": "Exists"}
    where = {"node_selector": {"pool": "db"}, "node_terms": [], "tolerations": [dedicated]}
    assert not run(recorded(placement=where), recorded("logs", placement=None)).get("failed")
    first, second = (job["spec"]["template"]["spec"] for job in server.created["jobs"])
    (wish,) = first["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"] == {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["db"]}]}
    assert first["tolerations"] == [dedicated] and "nodeSelector" not in first
    assert "affinity" not in second and second["tolerations"] == []


def test_into_another_namespace_and_class(run: Runner, server: Storage) -> None:
    server.add(thing("StorageClass", "slow", "", "storage.k8s.io/v1"))
    result = run(namespace_mapping={"shop": "copy"}, storage_classes={"fast": "slow"})
    assert (result["volumes"][0]["name"], result["volumes"][0]["source"]) == ("copy/data", "shop/data")
    assert server.created["persistentvolumeclaims"][0]["spec"]["storageClassName"] == "slow"
    assert notes(server, "copy")[RESTORE] == "complete" and not server.get("namespaces", "", "shop")


# -- claims that are there ------------------------------------------------------------------------------------------


def test_an_existing_claim_must_be_empty_which_the_mover_sees(run: Runner, server: Storage) -> None:
    existing(server, **{TREE: "another", RESTORE: "complete"})
    server.mover = lambda _job: [ended(parts.NOT_EMPTY, "error found data/precious")]
    result = run()
    assert result["failed"] and "holds data already (precious)" in result["msg"]
    (job,) = server.created["jobs"]
    assert {"name": "MUSTER_ONLY_IF_EMPTY", "value": "yes"} in job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert notes(server) == {TREE: "another", RESTORE: "complete"}, "a refusal must leave no mark"


def test_an_existing_empty_claim_is_filled(run: Runner, server: Storage) -> None:
    existing(server)
    assert run()["volumes"][0]["complete"] and notes(server)[RESTORE] == "complete"
    assert len(server.created.get("persistentvolumeclaims", [])) == 0


def test_keep_leaves_it_alone(run: Runner, server: Storage) -> None:
    existing(server)
    result = run(existing="keep")
    assert not result["changed"] and result["volumes"][0]["skipped"] and not server.writes


def test_replace_overwrites_it_and_says_so(run: Runner, server: Storage) -> None:
    existing(server, **{TREE: "another", RESTORE: "complete"})
    assert "overwritten" in run(check=True, existing="replace")["volumes"][0]["msg"]
    seen: list[dict[str, str]] = []
    server.mover = lambda job: seen.append(notes(server)) or good_end(job)
    assert run(existing="replace")["changed"]
    assert seen == [{TREE: recorded()["tree"], RESTORE: "pending"}], "marked before its data are overwritten"
    assert notes(server)[RESTORE] == "complete"


def test_what_was_written_since_a_restore_is_replaced_where_that_is_asked_for(run: Runner, server: Storage) -> None:
    run()
    server.created.clear()
    result = run(existing="replace")
    assert result["changed"] and result["volumes"][0]["complete"] and len(server.created["jobs"]) == 1
    server.add(pod("web", "data"))
    server.writes.clear()
    refused(run(existing="replace"), server, "claim shop/data", "pod web uses it", "Stop the workload")
    # Else it is done, whoever uses it.
    assert run()["volumes"][0]["complete"] and not server.writes


@pytest.mark.parametrize("rule", ["fail", "keep", "replace"])
def test_an_unfinished_restore_is_done_again(run: Runner, server: Storage, rule: str) -> None:
    existing(server, **{TREE: recorded()["tree"], RESTORE: "pending"})
    assert run(existing=rule)["volumes"][0]["complete"] and notes(server)[RESTORE] == "complete"
    env = server.created["jobs"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "MUSTER_ONLY_IF_EMPTY", "value": "no"} in env


def test_a_restore_that_fails_stays_pending_and_is_resumed(run: Runner, server: Storage) -> None:
    server.mover = lambda _job: [ended(1, 'error {"message_type":"exit_error","message":"Fatal: disk quota exceeded"}')]
    result = run()
    assert result["failed"] and "disk is full" in result["msg"] and notes(server)[RESTORE] == "pending"
    assert result["volumes"][0]["failed"] and not result["volumes"][0]["complete"] and not server.left()
    server.mover = good_end
    assert run()["volumes"][0]["complete"]


@pytest.mark.parametrize("rule", ["fail", "replace"])
def test_a_claim_in_use_is_refused(run: Runner, server: Storage, rule: str) -> None:
    existing(server)
    server.add(pod("web", "data"))
    refused(run(existing=rule), server, "claim shop/data", "pod web uses it", "Stop the workload")


def test_a_claim_that_is_being_deleted_is_waited_for(run: Runner, server: Storage) -> None:
    document, _volume = claim("data", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    server.add(thing("Namespace", "shop", ""), document)
    refused(run(existing="replace"), server, "being deleted")


def test_what_is_complete_is_not_restored_twice_beside_what_failed(run: Runner, server: Storage) -> None:
    server.mover = lambda job: [ended(12)] if recorded("logs")["snapshot"] in json.dumps(job) else good_end(job)
    result = run(recorded(), recorded("logs"))
    assert result["failed"] and "1 of 2 volumes" in result["msg"] and "wrong password" in result["msg"]
    server.mover = good_end
    assert [one["changed"] for one in run(recorded(), recorded("logs"))["volumes"]] == [False, True]


# -- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["files 2", "bytes 30"], ["files are 2, recorded were 3"]),
        (["files 3", "bytes 29"], ["bytes are 29, recorded were 30"]),
        (["files 3"], ["bytes are None"]),
    ],
)
def test_counts_must_be_those_of_the_document(run: Runner, server: Storage, lines: list[str], words: list[str]) -> None:
    server.mover = lambda _job: [ended(0, *lines, 'summary {"message_type":"summary"}')]
    result = run()
    assert result["failed"] and not [word for word in words if word not in result["msg"]], result["msg"]
    assert not result["volumes"][0]["complete"] and notes(server)[RESTORE] == "pending"


def test_a_snapshot_that_is_not_in_the_repository(run: Runner, server: Storage, restic: ResticProgram) -> None:
    restic.answer("snapshots", [stored("k8s:east/shop/logs")])
    refused(run(), server, "volume shop/data", "is not in repository gs:bucket", "Replicate")


def test_a_snapshot_whose_tree_is_another(run: Runner, server: Storage, restic: ResticProgram) -> None:
    restic.answer("snapshots", [stored("k8s:east/shop/data", digest("changed"))])
    refused(run(), server, "holds tree", digest("changed")[:16], "Do not use this point")


def test_a_copied_snapshot_is_found_by_its_tree(run: Runner, server: Storage, restic: ResticProgram) -> None:
    copied = {**stored("k8s:east/shop/data"), "id": digest("copy")}
    restic.answer("snapshots", [copied])
    assert run()["volumes"][0]["snapshot"] == digest("copy")
    assert digest("copy") in json.dumps(server.created["jobs"][0])


def test_of_copies_with_one_tree_that_of_the_recorded_snapshot_is_taken(
    run: Runner, server: Storage, restic: ResticProgram
) -> None:
    ours = {**stored("k8s:east/shop/data"), "id": digest("copy"), "original": recorded()["snapshot"]}
    later = {**ours, "id": digest("later"), "original": digest("another day"), "time": "2027-01-01T00:00:00Z"}
    restic.answer("snapshots", [ours, later])
    assert run()["volumes"][0]["snapshot"] == digest("copy")
    assert digest("copy") in json.dumps(server.created["jobs"][0])


def test_the_same_tree_of_another_volume_is_not_taken(run: Runner, server: Storage, restic: ResticProgram) -> None:
    tree = recorded()["tree"]
    restic.answer("snapshots", [{**stored("k8s:east/other/data", tree)}])
    refused(run(), server, "is not in repository")


def test_two_volumes_to_one_place(run: Runner, server: Storage) -> None:
    other = recorded("logs", namespace="other", claim="data")
    result = run(recorded(), other, namespace_mapping={"shop": "copy", "other": "copy"})
    refused(result, server, "several would go to copy/data", "namespace_mapping")


def test_broken_entries_are_named_before_anything_else(run: Runner, server: Storage) -> None:
    broken = {"name": "shop/data", "complete": True}
    refused(run(broken, {**broken, "name": "shop/logs"}), server, "volume shop/data", "has no namespace")


@pytest.mark.parametrize("options", [{"budgets": {"node": 0}}, {"workers": 0}, {"repository": {"id": "f" * 64}}])
def test_what_the_result_always_has_is_there_whatever_fails(run: Runner, server: Storage, options: Any) -> None:
    result = run(**options)
    refused(result, server)
    assert (result["volumes"], result["cleaned"]) == ([], [])


@pytest.mark.parametrize("key", ["claim", "size", "snapshot", "tree", "host"])
def test_an_entry_needs_all_of_its_facts(run: Runner, server: Storage, key: str) -> None:
    refused(run(recorded(**{key: None})), server, f"has no {key}")


def test_an_incomplete_volume_is_refused(run: Runner, server: Storage) -> None:
    refused(run(recorded(), recorded("logs", complete=False)), server, "volume shop/logs", "incomplete")


def test_a_class_that_is_not_there(run: Runner, server: Storage) -> None:
    refused(run(recorded(**{"class": "gold"})), server, "no storage class gold", "storage_classes", "fast")
    assert run(recorded(**{"class": "gold"}), storage_classes={"*": "fast"})["changed"]


@pytest.mark.parametrize("existing_is", ["fail", "replace", "keep"])
@pytest.mark.parametrize("former", ["gold", None])
def test_a_claim_that_is_there_needs_no_class_of_the_points(
    run: Runner, server: Storage, existing_is: str, former: str | None
) -> None:
    existing(server)
    (entry,) = run(recorded(**{"class": former}), existing=existing_is)["volumes"]
    assert (entry["class"], entry["skipped"], entry["failed"]) == ("fast", existing_is == "keep", False)


def test_no_class_means_the_default_one(run: Runner, server: Storage) -> None:
    refused(run(recorded(**{"class": None})), server, "marked as default")
    notes = {"storageclass.kubernetes.io/is-default-class": "true"}
    server.add(thing("StorageClass", "fast", "", "storage.k8s.io/v1", metadata={"annotations": notes}))
    assert run(recorded(**{"class": None}))["changed"]
    assert "storageClassName" not in server.created["persistentvolumeclaims"][0]["spec"]


def test_a_restricted_namespace_can_not_get_owners_back(run: Runner, server: Storage) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    refused(run(namespace_labels=labels), server, "namespace shop", "restricted", "baseline")
    server.add(thing("Namespace", "shop", "", metadata={"labels": labels}))
    refused(run(), server, "namespace shop", "restricted")


def test_another_repository_is_refused(run: Runner, server: Storage) -> None:
    assert not run(check=True, repository={"id": ID}).get("failed")
    refused(run(repository={"id": "f" * 64}), server, "expected was fff")


def test_movers_of_a_killed_run_are_removed_first(run: Runner, server: Storage) -> None:
    labels = naming.labels("old", "shop", "restore")
    server.add(thing("Namespace", "shop", ""), thing("Job", "old", api="batch/v1", metadata={"labels": labels}))
    others = naming.labels("old", "other", "restore")
    server.add(thing("Job", "foreign", api="batch/v1", metadata={"labels": others}))
    result = run()
    assert "jobs shop/old" in json.dumps(result["warnings"]) and server.left() == ["jobs.batch/foreign"]


def test_memory_is_asked_for_by_the_files_of_the_snapshot_or_else_of_the_point(
    run: Runner, server: Storage, restic: ResticProgram
) -> None:
    summary = {"total_files_processed": 1_000_000, "total_bytes_processed": 30}
    known = {**stored("k8s:east/shop/data"), "summary": summary}
    restic.answer("snapshots", [known, stored("k8s:east/shop/logs")])
    run(recorded(files=1_000_000), recorded("logs", files=500_000))
    asked = [
        int(job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"].removesuffix("Mi"))
        for job in server.created["jobs"]
    ]
    assert asked[0] - asked[1] == pytest.approx(500_000 * 1536 >> 20, abs=1) and asked[1] > 128 + 700


def test_a_class_that_is_full_lets_others_pass(
    run: Runner, server: Storage, restic: ResticProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: threading.Event().wait(0.01))
    server.add(thing("StorageClass", "slow", "", "storage.k8s.io/v1"))
    restic.answer("snapshots", [stored(f"k8s:east/shop/{name}") for name in ("data", "logs", "more")])
    first: list[dict[str, Any]] = []

    def mover(job: dict[str, Any]) -> Any:
        """The first one goes on until another one has begun."""
        if not first:
            first.append(job)
            return None
        if len(server.created["jobs"]) == 2:
            server.finish(first[0], good_end(first[0]))
        return good_end(job)

    server.mover = mover
    slow = {"class": "slow"}
    result = run(
        recorded("logs", **slow, bytes=30),
        recorded(**slow),
        recorded("more"),
        workers=2,
        budgets={"classes": {"slow": 1}},
    )
    assert not result.get("failed"), result
    begun = [job["metadata"]["name"].split("-")[1] for job in server.created["jobs"]]
    assert (sorted(begun[:2]), begun[2:]) == (["logs", "more"], ["data"])
    assert [entry["name"] for entry in result["volumes"]] == ["shop/logs", "shop/data", "shop/more"]


def test_movers_are_spread_over_nodes_where_nodes_have_a_budget(run: Runner, server: Storage) -> None:
    run()
    run(recorded("logs"), budgets={"node": 2})
    first, second = (job["spec"]["template"]["spec"] for job in server.created["jobs"])
    assert "topologySpreadConstraints" not in first
    assert second["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"


# -- single paths ---------------------------------------------------------------------------------------------------


def node(path: str, kind: str = "file", size: int = 10) -> dict[str, Any]:
    entry = {"message_type": "node", "struct_type": "node", "type": kind, "path": path}
    return {**entry, "size": size} if kind == "file" else entry


@pytest.fixture
def listed(restic: ResticProgram) -> None:
    """What restic lists of the folder ``a`` of the snapshot."""
    snapshot = {"message_type": "snapshot", "struct_type": "snapshot"}
    below = [node("/data/a/x"), node("/data/a/y", size=7), node("/data/a/l", "symlink"), node("/data/a/s", "socket")]
    restic.answer("ls", snapshot, node("/data/a", "dir"), *below)


def script_words(server: Storage) -> list[str]:
    words: list[str] = server.created["jobs"][-1]["spec"]["template"]["spec"]["containers"][0]["command"][4:]
    return words


@pytest.mark.usefixtures("listed")
def test_only_the_paths_are_asked_of_restic(run: Runner, server: Storage, restic: ResticProgram) -> None:
    existing(server, **{TREE: "another", RESTORE: "complete"})
    result = run(recorded(), recorded("logs"), paths={"shop/data": ["a/", "a/x"]}, overwrite="if_changed")
    data, logs = result["volumes"]
    assert (data["paths"], data["files"], data["bytes"], data["changed"], data["complete"]) == (
        ["a"],
        2,
        17,
        True,
        True,
    )
    assert logs["skipped"] and not logs["changed"] and "none of the paths" in logs["msg"]
    words = script_words(server)
    assert words[:2] == ["restore", recorded()["snapshot"]] and "--delete" not in words
    assert words[words.index("--") :] == ["--", "data/a", "'' /a"]
    assert words[words.index("--overwrite") + 1] == "if-changed"
    assert next(call for call in restic.calls if " ls " in call).endswith(
        f"--recursive {recorded()['snapshot']} /data/a"
    )
    assert not notes(server), "it is what another point holds no more, and not what this one holds"


@pytest.mark.usefixtures("listed")
def test_paths_into_a_claim_that_is_not_there(run: Runner, server: Storage) -> None:
    assert run(paths={"shop/data": ["a"]})["volumes"][0]["complete"]
    assert not notes(server)
    assert not run(recorded(), paths={"shop/data": ["a"]}).get("failed"), "and again, into what it made"


@pytest.mark.usefixtures("listed")
def test_paths_that_were_there_are_no_change(run: Runner, server: Storage) -> None:
    existing(server, **{TREE: recorded()["tree"], RESTORE: "complete"})
    server.mover = lambda _job: [ended(0, "changed no", 'summary {"files_restored":2,"files_skipped":2}')]
    result = run(paths={"shop/data": ["a"]})
    assert not result["changed"] and result["volumes"][0]["complete"] and "was there" in result["volumes"][0]["msg"]
    assert notes(server)[RESTORE] == "complete"


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("summary", ["{}", '{"files_restored":1,"files_skipped":2}'])
def test_restic_must_have_gone_over_all_of_the_paths(run: Runner, server: Storage, summary: str) -> None:
    server.mover = lambda _job: [ended(0, "changed yes", f'summary {{"message_type":"summary",{summary[1:]}')]
    if summary == "{}":
        server.mover = lambda _job: [ended(0, "changed yes", 'summary {"message_type":"summary"}')]
    result = run(paths={"shop/data": ["a"]})
    assert result["failed"] and "files and folders, there were 4" in result["msg"]


@pytest.mark.usefixtures("listed")
def test_a_path_that_the_point_does_not_have(run: Runner, server: Storage) -> None:
    result = run(paths={"shop/data": ["a", "b/gone", "ü*"]})
    refused(result, server, "paths of volume shop/data", "'b/gone', 'ü*'")
    assert "'a'" not in result["msg"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a", "absolute"),
        ("", "is no path"),
        ("/", "is no path"),
        ("..", "leads out"),
        ("a/../b", "leads out"),
        (".", "all of the volume"),
        ("a\0b", "leads out"),
        (5, "is no path"),
        ("x" * 60_000, "too many"),
    ],
)
def test_what_is_no_path_in_a_volume(run: Runner, server: Storage, path: Any, words: str) -> None:
    refused(run(paths={"shop/data": [path]}), server, "paths of volume shop/data", words)


@pytest.mark.parametrize("given", [[], "a", None])
def test_paths_are_a_list(run: Runner, server: Storage, given: Any) -> None:
    refused(run(paths={"shop/data": given}), server, "paths of volume shop/data", "there are none")


@pytest.mark.parametrize("option", ["paths", "targets"])
def test_a_volume_that_there_is_not(run: Runner, server: Storage, option: str) -> None:
    result = run(recorded(), recorded("logs"), **{option: {"shop/dta": ["a"]}})
    refused(result, server, f"{option} entry shop/dta", "shop/data, shop/logs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"paths": {"shop/data": ["a"]}, "delete": True}, "beside the paths"),
        ({"paths": {"shop/data": ["a"]}, "existing": "keep"}, "leaves claims alone"),
        ({"existing": "replace", "overwrite": "never"}, "set delete to false"),
        ({"existing": "replace", "overwrite": "never", "delete": False, "verify": "tree"}, "keeps what differs"),
        ({"paths": {"shop/data": ["a"]}, "overwrite": "never", "verify": "tree"}, "keeps what differs"),
    ],
)
def test_options_that_contradict_each_other(run: Runner, server: Storage, options: Any, words: str) -> None:
    refused(run(**options), server, words)


@pytest.mark.usefixtures("listed")
def test_paths_go_into_nothing_that_is_half_restored_or_in_use(run: Runner, server: Storage) -> None:
    existing(server, **{TREE: recorded()["tree"], RESTORE: "pending"})
    refused(run(paths={"shop/data": ["a"]}), server, "claim shop/data", "has not ended")
    existing(server)
    server.add(pod("web", "data"))
    refused(run(paths={"shop/data": ["a"]}), server, "pod web uses it")


@pytest.mark.parametrize(
    "options", [{"paths": {"shop/data": ["a"]}}, {"existing": "replace", "delete": False, "overwrite": "never"}]
)
def test_a_device_has_no_paths(run: Runner, server: Storage, options: Any) -> None:
    refused(run(recorded(volume_mode="Block", bytes=1 << 30), **options), server, "volume shop/data", "block mode")


def test_a_dollar_in_a_path_is_no_variable_of_kubernetes(run: Runner, server: Storage, restic: ResticProgram) -> None:
    restic.answer("ls", node("/data/$(HOME)"))
    assert not run(paths={"shop/data": ["$(HOME)"]}).get("failed")
    assert script_words(server)[-1] == "'' '/$$(HOME)'"


# -- into what is there -----------------------------------------------------------------------------------------------


def test_a_merge_deletes_nothing_and_is_not_marked(run: Runner, server: Storage) -> None:
    existing(server, **{TREE: "another", RESTORE: "complete"})
    result = run(existing="replace", delete=False, overwrite="never")
    assert (result["volumes"][0]["files"], result["volumes"][0]["bytes"]) == (3, 30)
    words = script_words(server)
    assert "--delete" not in words and words[words.index("--overwrite") + 1] == "never"
    assert not notes(server)


def test_a_merge_that_did_nothing_is_an_error(run: Runner, server: Storage) -> None:
    existing(server)
    server.mover = lambda _job: [ended(0, "files 9", "bytes 90", 'summary {"message_type":"summary"}')]
    result = run(existing="replace", delete=False)
    assert result["failed"] and "restored 0 files and folders, there were 3" in result["msg"]


def test_a_claim_that_is_made_or_empty_becomes_what_the_point_holds(run: Runner, server: Storage) -> None:
    run(delete=False, overwrite="never")
    words = script_words(server)
    assert "--delete" in words and words[words.index("--overwrite") + 1] == "always"
    assert notes(server)[RESTORE] == "complete"


def test_replace_tells_restic_what_to_overwrite(run: Runner, server: Storage) -> None:
    existing(server)
    run(existing="replace", overwrite="if_changed")
    words = script_words(server)
    assert "--delete" in words and words[words.index("--overwrite") + 1] == "if-changed"
    assert notes(server)[RESTORE] == "complete"


@pytest.mark.parametrize(("verify", "words", "tree"), [("none", 0, "no"), ("content", 1, "no"), ("tree", 1, "whole")])
def test_what_is_verified(run: Runner, server: Storage, verify: str, words: int, tree: str) -> None:
    run(verify=verify)
    (job,) = server.created["jobs"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"].count("--verify") == words
    assert {"name": "MUSTER_TREE", "value": tree} in container["env"]


def test_a_tree_with_other_things_in_it_is_compared_in_part(run: Runner, server: Storage) -> None:
    existing(server)
    run(existing="replace", delete=False, verify="tree")
    env = server.created["jobs"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "MUSTER_TREE", "value": "part"} in env


# -- other places -----------------------------------------------------------------------------------------------------


def test_one_volume_as_another_claim(run: Runner, server: Storage) -> None:
    server.add(thing("StorageClass", "slow", "", "storage.k8s.io/v1"))
    wished = {
        "namespace": "other",
        "claim": "copy",
        "storage_class": "slow",
        "size": "2Gi",
        "access_modes": ["ReadWriteOncePod"],
    }
    result = run(recorded(), recorded("logs"), targets={"shop/data": wished}, namespace_mapping={"shop": "mapped"})
    assert [one["name"] for one in result["volumes"]] == ["other/copy", "mapped/logs"]
    assert (result["volumes"][0]["class"], result["volumes"][0]["size"]) == ("slow", 2 << 30)
    made = server.created["persistentvolumeclaims"][0]
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("other", "copy")
    assert made["spec"]["accessModes"] == ["ReadWriteOncePod"] and made["spec"]["storageClassName"] == "slow"
    assert made["spec"]["resources"]["requests"]["storage"] == str(2 << 30)
    server.writes.clear()
    again = run(recorded(), recorded("logs"), targets={"shop/data": wished}, namespace_mapping={"shop": "mapped"})
    assert not again["changed"] and not server.writes


def test_two_volumes_wished_into_one_place(run: Runner, server: Storage) -> None:
    result = run(recorded(), recorded("logs"), targets={"shop/logs": {"claim": "data"}})
    refused(result, server, "several would go to shop/data", "targets")


@pytest.mark.parametrize(
    ("wished", "words"),
    [
        ({"class": "slow"}, "it has a key class"),
        ({"size": "much"}, "size is 'much'"),
        ({"size": "-1Gi"}, "size is '-1Gi'"),
        ({"size": 0}, "size is 0"),
        ({"access_modes": ["RWO"]}, "access_modes has 'RWO'"),
        ({"access_modes": "ReadWriteOnce"}, "access_modes has 'ReadWriteOnce'"),
        ("copy", "no dictionary"),
    ],
)
def test_what_can_not_be_wished(run: Runner, server: Storage, wished: Any, words: str) -> None:
    refused(run(targets={"shop/data": wished}), server, "targets entry shop/data", words)


def test_a_class_that_was_wished_and_is_not_there(run: Runner, server: Storage) -> None:
    refused(run(targets={"shop/data": {"storage_class": "gold"}}), server, "no storage class gold")


@pytest.mark.parametrize(
    ("volume", "size", "words"),
    [
        (recorded(bytes=900 << 20), 800 << 20, f"its data take {900 << 20} bytes, the claim would have {800 << 20}"),
        # With holes the files are longer than the volume: its own size is what is known to be enough.
        (recorded(bytes=60 << 30), (1 << 30) - 1, f"take {1 << 30} bytes"),
        (recorded(bytes=1 << 30, volume_mode="Block"), (1 << 30) - 1, f"a device of {1 << 30} bytes"),
    ],
)
def test_a_size_that_is_too_small(run: Runner, server: Storage, volume: Any, size: int, words: str) -> None:
    refused(run(volume, targets={"shop/data": {"size": size}}), server, "volume shop/data", words)


def test_a_size_that_is_smaller_and_large_enough(run: Runner, server: Storage) -> None:
    (entry,) = run(targets={"shop/data": {"size": "64Mi"}})["volumes"]
    assert entry["complete"] and entry["size"] == 64 << 20
    assert entry["msg"] == f"its claim has {64 << 20} bytes, the original had {1 << 30}"
    assert run(recorded("logs", bytes=60 << 30, files=None), check=True)["volumes"][0]["msg"] == ""


@pytest.mark.parametrize(
    ("volume", "options", "words"),
    [
        (recorded(size=4 << 30, bytes=2 << 30), {}, f"it has {1 << 30} bytes, the data need {2 << 30}"),
        (recorded(), {"targets": {"shop/data": {"size": "2Gi"}}}, f"it has {1 << 30} bytes, asked for were {2 << 30}"),
        (recorded(), {"targets": {"shop/data": {"storage_class": "slow"}}}, "of class fast, wanted is slow"),
        (
            recorded(),
            {"targets": {"shop/data": {"access_modes": ["ReadWriteMany"]}}},
            "access modes are ReadWriteOnce, wanted are ReadWriteMany",
        ),
    ],
)
def test_a_claim_that_is_there_and_does_not_fit(
    run: Runner, server: Storage, volume: Any, options: Any, words: str
) -> None:
    server.add(thing("StorageClass", "slow", "", "storage.k8s.io/v1"))
    existing(server)
    refused(run(volume, existing="replace", **options), server, "claim shop/data", words)
    assert run(volume, existing="keep", **options)["volumes"][0]["skipped"]


def test_a_full_volume_is_not_taken_for_a_full_repository(run: Runner, server: Storage) -> None:
    said = [
        'error {"message_type":"exit_error","code":1,"message":"Fatal: There were 1 errors"}',
        'error {"message_type":"error","error":{"message":"write x: no space left on device"},"item":"/data/x"}',
    ]
    server.mover = lambda _job: [ended(1, *said)]
    result = run()
    assert result["failed"] and "the volume's disk is full (/data/x: write x: no space left" in result["msg"]
    assert "targets" in result["msg"]


def test_the_first_file_that_could_not_be_restored_is_named(run: Runner, server: Storage) -> None:
    lost = {"message_type": "error", "error": {"message": "lchown x: operation not permitted"}, "item": "/data/a"}
    server.mover = lambda _job: [ended(1, "error Fatal: There were 7 errors", f"error {json.dumps(lost)}")]
    result = run()
    assert "/data/a: lchown x: operation not permitted; There were 7 errors" in result["msg"]
    assert notes(server)[RESTORE] == "pending"
