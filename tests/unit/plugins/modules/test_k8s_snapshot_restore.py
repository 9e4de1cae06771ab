# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two modules through their real ``main()``, against an API server over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.api_server import ApiServer, running
from fakes.folder_repository import FolderRepository
from fakes.k8s_modules import CRD, calling, in_folder, thing

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import execute
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

CANARY = "canary-5b1e77"
POINT = "20260131T040506Z-ledger-1"


def pods(image: str) -> dict[str, Any]:
    return {
        "selector": {"matchLabels": {"app": "api"}},
        "template": {
            "metadata": {"labels": {"app": "api"}},
            "spec": {"imagePullSecrets": [{"name": "old"}], "containers": [{"name": "api", "image": image}]},
        },
    }


def fill(server: ApiServer) -> None:
    server.add(
        CRD,
        thing("StorageClass", "csi", "storage.k8s.io/v1", "", provisioner="csi.example.com"),
        thing("Namespace", "ledger", namespace="", metadata={"labels": {"team": "pay"}}),
        thing("Namespace", "other", namespace=""),
        thing("ConfigMap", "elsewhere", namespace="other"),
        thing("ServiceAccount", "api", imagePullSecrets=[{"name": "old"}]),
        thing("Secret", "db", data={"password": CANARY}),
        thing("ConfigMap", "settings", data={"a": "1"}),
        thing("ConfigMap", "scratch", metadata={"labels": {"velero.io/exclude-from-backup": "true"}}),
        thing("ConfigMap", "kube-root-ca.crt"),
        thing("PersistentVolumeClaim", "data", spec={"storageClassName": "csi", "volumeName": "pv-1"}),
        thing(
            "Service",
            "api",
            spec={"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30001}]},
        ),
        thing(
            "Deployment",
            "api",
            "apps/v1",
            spec=pods("east:5000/api:1"),
            status={"replicas": 1},
            metadata={
                "uid": "deploy-uid",
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
            },
        ),
        thing(
            "ReplicaSet",
            "api-1",
            "apps/v1",
            metadata={
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": "api",
                        "uid": "deploy-uid",
                        "controller": True,
                    }
                ]
            },
        ),
        thing("CronJob", "poster", "batch/v1", spec={"schedule": "* * * * *", "jobTemplate": {"spec": pods("x")}}),
        thing(
            "NetworkPolicy",
            "open",
            "networking.k8s.io/v1",
            spec={"podSelector": {}, "egress": [{}, {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
        ),
        thing(
            "ClusterRoleBinding",
            "ledger-reader",
            "rbac.authorization.k8s.io/v1",
            "",
            roleRef={"kind": "ClusterRole", "name": "reader"},
            subjects=[{"kind": "ServiceAccount", "name": "api", "namespace": "ledger"}],
        ),
        thing("ClusterRole", "reader", "rbac.authorization.k8s.io/v1", "", rules=[]),
        thing("Currency", "eur", "ledger.example.com/v1", metadata={"uid": "eur-uid"}, spec={"name": "Euro"}),
        thing(
            "Secret",
            "eur-key",
            metadata={
                "ownerReferences": [
                    {"apiVersion": "ledger.example.com/v1", "kind": "Currency", "name": "eur", "uid": "eur-uid"}
                ]
            },
        ),
    )


Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def source() -> Iterator[ApiServer]:
    with running() as server:
        fill(server)
        yield server


@pytest.fixture
def target() -> Iterator[ApiServer]:
    with running() as server:
        server.add(thing("StorageClass", "csi", "storage.k8s.io/v1", "", provisioner="csi.example.com"))
        yield server


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderRepository:
    return in_folder(tmp_path / "repository", monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    main = calling(capsys)

    def call(module: Any, server: ApiServer, check: bool = False, **options: Any) -> dict[str, Any]:
        result = main(module, check, host=server.url, **options)
        assert CANARY not in json.dumps(result)
        return result

    return call


def capture(run: Runner, server: ApiServer, check: bool = False, **application: Any) -> dict[str, Any]:
    chosen = {"name": "ledger", "namespaces": ["ledger"], **application}
    return run(k8s_snapshot, server, check, site="east", point=POINT, application=chosen)


@pytest.fixture
def tree(run: Runner, source: ApiServer, repository: FolderRepository) -> str:
    return str(capture(run, source)["snapshot"]["tree"])


def actions(result: dict[str, Any]) -> dict[str, str]:
    kept = dict.fromkeys(result["unchanged"], "keep")
    return kept | {entry["name"]: entry["action"] for entry in result["objects"]}


def test_captures_everything_that_belongs_to_the_application(
    run: Runner, source: ApiServer, repository: FolderRepository
) -> None:
    result = capture(run, source)
    assert result["changed"] and not result["incomplete"]
    assert result["counts"]["secrets"] == 2
    assert result["counts"]["configmaps"] == 1
    assert result["counts"]["customresourcedefinitions.apiextensions.k8s.io"] == 1
    assert result["counts"]["storageclasses.storage.k8s.io"] == 1
    assert "replicasets.apps" not in result["counts"]
    assert result["excluded"] == [
        {"what": "ledger/configmaps/scratch", "why": "label velero.io/exclude-from-backup=true"}
    ]
    assert result["snapshot"]["host"] == "k8s:east/ledger/objects"
    assert repository.stored[0].tags == ("muster", "application=ledger", f"point={POINT}")
    assert not source.writes


def test_same_state_gives_the_same_bytes_and_changes_are_counted(
    run: Runner, source: ApiServer, repository: FolderRepository
) -> None:
    first = capture(run, source)
    second = capture(run, source)
    assert first["snapshot"]["tree"] == second["snapshot"]["tree"]
    assert second["change"]["unchanged"] == first["change"]["added"]
    source.add(thing("ConfigMap", "settings", data={"a": "2"}), thing("ConfigMap", "new"))
    del source.objects["secrets", "ledger", "db"]
    change = capture(run, source)["change"]
    assert (change["added"], change["changed"], change["removed"]) == (1, 1, 1)


def test_check_mode_counts_and_stores_nothing(run: Runner, source: ApiServer, repository: FolderRepository) -> None:
    result = capture(run, source, check=True)
    assert result["snapshot"] is None and result["counts"]["secrets"] == 2
    assert not repository.stored


def test_what_cannot_be_read_is_named(
    run: Runner, source: ApiServer, repository: FolderRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    source.down.add("weather.example.com/v1")
    source.broken["/api/v1/namespaces/ledger/secrets"] = 403
    result = capture(run, source)
    assert [entry["what"] for entry in result["incomplete"]] == [
        "API weather.example.com/v1",
        "secrets in namespace ledger",
    ]


@pytest.mark.parametrize("namespaces", [["nowhere"], ["ledger", "led*x"]])
def test_an_application_that_matches_nothing_is_an_error(
    run: Runner, source: ApiServer, repository: FolderRepository, namespaces: list[str]
) -> None:
    result = capture(run, source, namespaces=namespaces)
    assert result["failed"] and namespaces[-1] in result["msg"]
    assert not repository.stored


def test_restore_of_the_same_namespace_elsewhere_and_again(run: Runner, target: ApiServer, tree: str) -> None:
    options = {"snapshot": tree, "point": POINT, "namespace_annotations": {"container-dr.muster.dev/epoch": "2"}}
    planned = run(k8s_restore, target, check=True, **options)
    assert planned["changed"] and not target.writes
    done = run(k8s_restore, target, **options)
    assert done["status"] == "completed", done["msg"]
    assert actions(done) == actions(planned)
    namespace = target.get("namespaces", "", "ledger")
    assert namespace is not None
    assert namespace["metadata"]["annotations"] == {
        "container-dr.muster.dev/epoch": "2",
        "container-dr.muster.dev/point": POINT,
    }
    claim = target.get("persistentvolumeclaims", "ledger", "data")
    assert claim is not None and "volumeName" not in claim["spec"]
    deployment = target.get("deployments.apps", "ledger", "api")
    assert deployment is not None and "status" not in deployment
    assert target.managers["ledger/deployments.apps/api"] == "kubectl"
    currency = target.get("currencies.ledger.example.com", "ledger", "eur")
    owned = target.get("secrets", "ledger", "eur-key")
    assert currency is not None and owned is not None
    assert owned["metadata"]["ownerReferences"][0]["uid"] == currency["metadata"]["uid"] != "eur-uid"
    target.writes.clear()
    again = run(k8s_restore, target, **options)
    assert again["changed"] is False and not target.writes
    assert run(k8s_restore, target, **{**options, "existing": "update"})["changed"] is False


def test_a_drill_bubble_is_shut_and_goes_away(run: Runner, target: ApiServer, tree: str) -> None:
    options = {
        "snapshot": tree,
        "point": POINT,
        "namespace_mapping": {"ledger": "ledger-drill"},
        "isolate": True,
        "run": "drill-1",
        "registry": {"name": "west:5000/bk", "username": "u", "password": CANARY},
        "images": [{"name": "east:5000/api:1", "digest": "sha256:ab", "path": "east-5000/api"}],
    }
    first = run(k8s_restore, target, include_kinds=["namespaces"], **options)
    assert set(actions(first)) == {
        "namespaces/ledger-drill",
        "ledger-drill/networkpolicies.networking.k8s.io/container-dr-bubble",
        "ledger-drill/secrets/container-dr-registry",
    }
    result = run(k8s_restore, target, **options)
    assert result["status"] == "completed", result["msg"]
    policy = target.get("networkpolicies.networking.k8s.io", "ledger-drill", "open")
    assert policy is not None
    inside = {"container-dr.muster.dev/role": "bubble", "container-dr.muster.dev/run": "drill-1"}
    assert policy["spec"]["egress"] == [{"to": [{"namespaceSelector": {"matchLabels": inside}}]}]
    service = target.get("services", "ledger-drill", "api")
    assert service is not None and service["spec"] == {"type": "ClusterIP", "ports": [{"port": 80}]}
    cron = target.get("cronjobs.batch", "ledger-drill", "poster")
    assert cron is not None and cron["spec"]["suspend"] is True
    deployment = target.get("deployments.apps", "ledger-drill", "api")
    assert deployment is not None
    spec = deployment["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "west:5000/bk/east-5000/api@sha256:ab"
    assert spec["imagePullSecrets"] == [{"name": "container-dr-registry"}]
    copy = target.get("clusterrolebindings.rbac.authorization.k8s.io", "", "ledger-reader-drill-1")
    assert copy is not None and copy["subjects"][0]["namespace"] == "ledger-drill"
    gone = run(k8s_restore, target, state="absent", run="drill-1")
    assert gone["changed"] and gone["counts"]["delete"] == 3
    assert target.names("ledger-drill") == []
    left = target.names("")
    assert "customresourcedefinitions.apiextensions.k8s.io/currencies.ledger.example.com" in left
    assert "storageclasses.storage.k8s.io/csi" in left
    assert run(k8s_restore, target, state="absent", run="drill-1")["changed"] is False


def test_all_bubbles_of_an_application_go_away_and_no_other(run: Runner, target: ApiServer, tree: str) -> None:
    for number, application in enumerate(["shop", "shop", "data"]):
        options = {"namespace_mapping": {"ledger": f"drill-{number}"}, "isolate": True, "run": f"run-{number}"}
        run(k8s_restore, target, snapshot=tree, point=POINT, application=application, **options)
    gone = run(k8s_restore, target, state="absent", application="shop")
    assert gone["changed"] and {"namespaces/drill-0", "namespaces/drill-1"} <= {one["name"] for one in gone["objects"]}
    assert target.get("namespaces", "", "drill-0") is None and target.get("namespaces", "", "drill-2") is not None
    assert (
        "nothing of a bubble of application shop" in run(k8s_restore, target, state="absent", application="shop")["msg"]
    )
    refused = run(k8s_restore, target, state="absent")
    assert refused["failed"] and "run, application" in refused["msg"]


def test_things_in_the_way_are_refused_before_anything_is_written(run: Runner, target: ApiServer, tree: str) -> None:
    target.add(thing("Namespace", "ledger", namespace=""), thing("ConfigMap", "mine"))
    for more in ({}, {"isolate": True, "run": "d"}):
        result = run(k8s_restore, target, snapshot=tree, point=POINT, **more)
        assert result["failed"] and "ledger/configmaps/mine" in result["msg"]
    assert not target.writes
    kept = run(k8s_restore, target, snapshot=tree, point=POINT, existing="keep")
    assert kept["status"] == "completed"


def test_a_custom_resource_called_as_an_own_kind_of_kubernetes_is_in_the_way(
    run: Runner, target: ApiServer, tree: str
) -> None:
    target.kinds.append(("rabbitmq.com", "v1beta1", "bindings", "Binding", True))
    target.add(thing("Namespace", "ledger", namespace=""), thing("Binding", "queue", "rabbitmq.com/v1beta1"))
    result = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert result["failed"] and "ledger/bindings.rabbitmq.com/queue" in result["msg"]


def test_a_bubble_leaves_no_custom_resource_called_as_an_own_kind_of_kubernetes(run: Runner, target: ApiServer) -> None:
    target.kinds.append(("longhorn.io", "v1beta2", "nodes", "Node", False))
    labels = {"container-dr.muster.dev/role": "bubble", "container-dr.muster.dev/run": "drill-1"}
    target.add(thing("Node", "disks", "longhorn.io/v1beta2", "", metadata={"labels": labels}))
    assert run(k8s_restore, target, state="absent", run="drill-1")["counts"]["delete"] == 1
    assert target.get("nodes.longhorn.io", "", "disks") is None


def test_what_volume_import_made_is_no_obstacle_and_never_replaced(run: Runner, target: ApiServer, tree: str) -> None:
    claim = thing(
        "PersistentVolumeClaim",
        "data",
        metadata={"annotations": {"container-dr.muster.dev/tree": "t"}},
        spec={"storageClassName": "fast"},
    )
    target.add(thing("Namespace", "ledger", namespace=""), claim)
    result = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert actions(result)["ledger/persistentvolumeclaims/data"] == "keep"
    live = target.get("persistentvolumeclaims", "ledger", "data")
    assert live is not None and live["spec"]["storageClassName"] == "fast"


def test_missing_classes_and_versions_are_found_beforehand(
    run: Runner, source: ApiServer, repository: FolderRepository
) -> None:
    tree = capture(run, source)["snapshot"]["tree"]
    with running() as target:
        plan = run(k8s_restore, target, check=True, snapshot=tree, exclude_kinds=["storageclasses.storage.k8s.io"])
        blocked = {entry["name"]: entry["reason"] for entry in plan["objects"] if entry["action"] == "blocked"}
        assert "'csi'" in blocked["ledger/persistentvolumeclaims/data"] and plan["status"] == "partial"
        assert not plan.get("failed")
        mapped = run(
            k8s_restore,
            target,
            check=True,
            snapshot=tree,
            storage_classes={"csi": "gone"},
            exclude_kinds=["currencies*"],
        )
        assert (
            "'gone'"
            in {entry["name"]: entry["reason"] for entry in mapped["objects"]}["ledger/persistentvolumeclaims/data"]
        )
        target.kinds.remove(("batch", "v1", "cronjobs", "CronJob", True))
        result = run(k8s_restore, target, snapshot=tree)
        assert result["failed"] and "does not serve batch/v1 cronjobs.batch" in result["msg"]
        assert result["counts"]["blocked"] == 1 and result["counts"]["create"] > 5
        assert run(k8s_restore, target, snapshot=tree, allow_partial=True)["status"] == "partial"


def test_a_restore_that_was_cut_off_converges(
    run: Runner, target: ApiServer, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    target.die_after = 6
    broken = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert broken["failed"] and "does not answer" in broken["msg"] and broken["changed"]
    target.die_after = None
    result = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert result["status"] == "completed" and result["counts"]["keep"] >= 6
    assert run(k8s_restore, target, snapshot=tree, point=POINT)["changed"] is False


@pytest.mark.parametrize("too_long", [False, True])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_restore_goes_on_after_answers_that_were_lost(
    run: Runner, target: ApiServer, tree: str, monkeypatch: pytest.MonkeyPatch, every: int, too_long: bool
) -> None:
    """As when the API server restarts: what it was asked to write is written, and nobody is told.

    Or as when its own database hangs: it answers 504 in the end, seen after half a minute without a network.
    """
    whole = run(k8s_restore, target, snapshot=tree, point=POINT, check=True)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    target.lose_every, target.too_long = every, too_long
    result = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert result["status"] == "completed", result["msg"]
    assert result["counts"] == whole["counts"]
    made = [entry for entry in result["objects"] if entry["action"] == "create"]
    assert all(entry["changed"] and entry["msg"] == "created" for entry in made)
    target.lose_every = 0
    assert run(k8s_restore, target, snapshot=tree, point=POINT)["changed"] is False


def test_a_server_that_has_just_started_denies_nobody_for_good(
    run: Runner, target: ApiServer, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has read its roles after a start it answers 403 to everybody, as seen on a real one."""
    pauses = iter(range(10_000))
    denied = 0

    def starting(_path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        nonlocal denied
        if len(target.writes) < target.lose_every or denied >= 3:
            return None
        denied += 1
        return 403, "Forbidden"

    monkeypatch.setattr("time.sleep", lambda _seconds: next(pauses))
    target.lose_every, target.before_read = 1, starting
    result = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert denied == 3 and result["status"] == "completed", result["msg"]


def test_update_makes_equal_and_recreate_replaces_what_cannot_be_updated(
    run: Runner, target: ApiServer, tree: str
) -> None:
    options = {"snapshot": tree, "point": POINT}
    run(k8s_restore, target, **options)
    settings = target.get("configmaps", "ledger", "settings")
    deployment = target.get("deployments.apps", "ledger", "api")
    assert settings is not None and deployment is not None
    settings["data"] = {"a": "other", "b": "extra"}
    deployment["spec"]["selector"] = {"matchLabels": {"app": "changed"}}
    kept = run(k8s_restore, target, **options)
    assert kept["changed"] is False
    plan = run(k8s_restore, target, check=True, existing="recreate", **options)
    assert actions(plan)["ledger/configmaps/settings"] == "update"
    assert actions(plan)["ledger/deployments.apps/api"] == "recreate"
    assert "blocked" in actions(run(k8s_restore, target, check=True, existing="update", **options)).values()
    assert run(k8s_restore, target, existing="recreate", **options)["counts"]["recreate"] == 1
    settings = target.get("configmaps", "ledger", "settings")
    assert settings is not None and settings["data"] == {"a": "1"}
    assert run(k8s_restore, target, existing="recreate", **options)["changed"] is False


@pytest.mark.parametrize("existing", ["update", "recreate"])
def test_marks_that_others_put_on_a_namespace_go_only_by_a_policy_for_namespaces(
    run: Runner, target: ApiServer, tree: str, existing: str
) -> None:
    options = {"snapshot": tree, "point": POINT}
    run(k8s_restore, target, **options)
    live = target.get("namespaces", "", "ledger")
    assert live is not None
    level = "pod-security.kubernetes.io/enforce"
    live["metadata"]["labels"][level] = "restricted"
    live["metadata"]["annotations"]["team.example.com/contact"] = "platform"
    assert run(k8s_restore, target, existing=existing, **options)["changed"] is False
    for policy, stays in (("merge", True), (existing, False)):
        run(k8s_restore, target, existing=existing, existing_kinds={"namespaces": policy}, **options)
        live = target.get("namespaces", "", "ledger")
        assert live is not None and (level in live["metadata"]["labels"]) is stays
        assert ("team.example.com/contact" in live["metadata"]["annotations"]) is stays


def policy_case(run: Runner, target: ApiServer, tree: str) -> dict[str, Any]:
    """Restored once, then changed by others at the target."""
    options = {"snapshot": tree, "point": POINT}
    run(k8s_restore, target, **options)
    settings, secret = target.get("configmaps", "ledger", "settings"), target.get("secrets", "ledger", "db")
    assert settings is not None and secret is not None
    settings["data"] = {"a": "other", "b": "extra"}
    secret["data"] = {"password": "changed"}
    target.writes.clear()
    return options


def test_keep_warns_of_each_object_that_differs_and_writes_nothing(run: Runner, target: ApiServer, tree: str) -> None:
    options = policy_case(run, target, tree)
    result = run(k8s_restore, target, existing="keep", **options)
    assert not target.writes and result["changed"] is False and result["status"] == "completed"
    warned = sorted(text.partition(" is there")[0] for text in map(words_of, result["warnings"]) if "differs" in text)
    differing = {entry["name"] for entry in result["objects"] if entry["differs"]}
    # Ansible keeps the warnings of earlier tests in the same process.
    assert differing == {"ledger/configmaps/settings", "ledger/secrets/db"} and differing <= set(warned)


def words_of(warning: Any) -> str:
    """A warning's text in the results of ansible-core 2.19 and later."""
    return str(warning["event"]["msg"] if isinstance(warning, dict) else warning)


def test_merge_overwrites_and_adds_and_kinds_have_their_own_policy(run: Runner, target: ApiServer, tree: str) -> None:
    options = policy_case(run, target, tree)
    wanted = {"existing": "merge", "existing_kinds": {"secrets": "keep"}}
    done = run(k8s_restore, target, **wanted, **options)
    assert [place for _method, place in target.writes] == ["ledger/configmaps/settings"] * 2
    settings = target.get("configmaps", "ledger", "settings")
    assert settings is not None and settings["data"] == {"a": "1", "b": "extra"}
    assert actions(done)["ledger/secrets/db"] == "keep"
    assert run(k8s_restore, target, **wanted, **options)["changed"] is False


def test_fail_for_one_kind_stops_everything(run: Runner, target: ApiServer, tree: str) -> None:
    options = policy_case(run, target, tree)
    result = run(k8s_restore, target, existing="update", existing_kinds={"secrets": "fail"}, **options)
    assert result["failed"] and result["in_the_way"] == ["ledger/secrets/db"] and not target.writes
    wrong = run(k8s_restore, target, existing_kinds={"secrets": "burn"}, **options)
    assert wrong["failed"] and "'burn' is no such policy" in wrong["msg"]


def test_a_run_that_ended_before_it_gave_fields_back_is_finished_by_the_next(
    run: Runner, source: ApiServer, target: ApiServer, repository: FolderRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    fields = [
        {"manager": "helm", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:a": {}}}},
        {"manager": "argo", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:b": {}}}},
    ]
    source.add(thing("ConfigMap", "two", data={"a": "1", "b": "2"}, metadata={"managedFields": fields}))
    tree = capture(run, source)["snapshot"]["tree"]

    def owners() -> set[str]:
        live = target.get("configmaps", "ledger", "two")
        return {entry["manager"] for entry in live["metadata"]["managedFields"]} if live else set()

    for writes in range(1, 40):
        target.die_after = writes
        run(k8s_restore, target, snapshot=tree, point=POINT)
        if owners() == {"muster.container_dr"}:
            break
    assert owners() == {"muster.container_dr"}
    target.die_after = None
    done = run(k8s_restore, target, snapshot=tree, point=POINT)
    assert owners() == {"helm", "argo"} and actions(done)["ledger/configmaps/two"] == "update"
    assert run(k8s_restore, target, snapshot=tree, point=POINT)["changed"] is False


def test_a_webhook_without_a_backend_holds_up_only_itself(
    run: Runner, source: ApiServer, target: ApiServer, repository: FolderRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_WEBHOOK_WITHIN", 0.0)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    service = {"namespace": "ledger", "name": "api"}
    hook = {"name": "w.example.com", "clientConfig": {"service": service}}
    api = "admissionregistration.k8s.io/v1"
    source.add(thing("ValidatingWebhookConfiguration", "checks", api, "", webhooks=[hook]))
    tree = capture(run, source)["snapshot"]["tree"]
    result = run(k8s_restore, target, snapshot=tree, point=POINT, allow_partial=True)
    assert "failed" not in result and result["status"] == "partial"
    failed = [entry for entry in result["objects"] if entry["failed"]]
    assert len(failed) == 1 and "service ledger/api behind it has no ready endpoint" in failed[0]["msg"]


def test_what_the_server_refuses_is_blocked_in_check_mode_and_in_the_run(
    run: Runner, target: ApiServer, tree: str
) -> None:
    target.add(thing("Namespace", "ledger", namespace=""))
    target.refused.add("ledger/configmaps/settings")
    options = {"snapshot": tree, "point": POINT, "allow_partial": True}
    planned, done = run(k8s_restore, target, check=True, **options), run(k8s_restore, target, **options)
    assert actions(planned) == actions(done) and actions(done)["ledger/configmaps/settings"] == "blocked"
    assert done["counts"]["failed"] == 0 and done["status"] == planned["status"] == "partial"
    assert planned["summary"][:2] == ["blocked 1", "  ledger/configmaps/settings: Forbidden by the fake"]


def test_what_is_in_a_refused_namespace_is_blocked_with_it(run: Runner, target: ApiServer, tree: str) -> None:
    target.refused |= {
        "namespaces/ledger",
        "customresourcedefinitions.apiextensions.k8s.io/currencies.ledger.example.com",
    }
    options = {"snapshot": tree, "point": POINT, "allow_partial": True}
    planned, done = run(k8s_restore, target, check=True, **options), run(k8s_restore, target, **options)
    assert actions(planned) == actions(done) and done["counts"]["failed"] == 0
    reasons = {entry["name"]: entry["reason"] for entry in done["objects"]}
    assert reasons["ledger/secrets/db"] == "namespaces/ledger is not there and could not be made"
    assert all(entry["action"] != "create" for entry in done["objects"] if entry["name"].startswith("ledger/"))


def test_diff_mode_shows_what_an_update_changes_and_no_secret(run: Runner, target: ApiServer, tree: str) -> None:
    options = policy_case(run, target, tree)
    shown = run(k8s_restore, target, check=True, existing="update", _ansible_diff=True, **options)["diff"]["prepared"]
    assert '~ ledger/configmaps/settings\n    data.a: "other" -> "1"\n    data.b: removed "extra"\n' in shown
    assert "~ ledger/secrets/db\n    data.password: changed\n" in shown


def test_finalizers_stay_where_their_controller_is_and_never_in_a_bubble(
    run: Runner, source: ApiServer, target: ApiServer, repository: FolderRepository
) -> None:
    both = ["cleanup.ledger.example.com", "elsewhere.example.org/x", "kubernetes.io/pvc-protection"]
    source.add(thing("ConfigMap", "held", metadata={"finalizers": both}))
    tree = capture(run, source)["snapshot"]["tree"]
    drill = {"namespace_mapping": {"ledger": "drill"}, "isolate": True, "run": "d"}
    for options, namespace, kept in (({}, "ledger", both[:1]), (drill, "drill", None)):
        result = run(k8s_restore, target, snapshot=tree, point=POINT, **options)
        live = target.get("configmaps", namespace, "held")
        assert live is not None and live["metadata"].get("finalizers") == kept
        entry = next(one for one in result["objects"] if one["name"] == f"{namespace}/configmaps/held")
        assert f"finalizers held back: {', '.join(both[:2] if kept is None else both[1:2])}" in entry["transforms"]


def test_a_real_restore_takes_over_what_a_drill_made(run: Runner, target: ApiServer, tree: str) -> None:
    drill = {"namespace_mapping": {"ledger": "bubble"}, "isolate": True, "run": "d1"}
    run(k8s_restore, target, snapshot=tree, point=POINT, **drill)
    run(k8s_restore, target, snapshot=tree, point=POINT)
    run(k8s_restore, target, state="absent", run="d1")
    assert target.get("clusterroles.rbac.authorization.k8s.io", "", "reader") is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"snapshot": "0123456789"}, "has no such one"),
        ({"isolate": True, "run": "no good!"}, "cannot be the value of a label"),
        ({"namespace_mapping": {"ledger": "Not_Valid"}}, "no namespace can have that name"),
    ],
)
def test_bad_input_ends_in_one_clear_message(
    run: Runner, target: ApiServer, tree: str, options: dict[str, Any], words: str
) -> None:
    result = run(k8s_restore, target, **{"snapshot": tree, **options})
    assert result["failed"] and words in result["msg"] and "exception" not in result
    assert not target.writes


def test_two_namespaces_never_become_one_object(
    run: Runner, source: ApiServer, target: ApiServer, repository: FolderRepository
) -> None:
    source.add(thing("ConfigMap", "settings", namespace="other"))
    tree = capture(run, source, namespaces=["ledger", "other"])["snapshot"]["tree"]
    result = run(k8s_restore, target, snapshot=tree, namespace_mapping={"ledger": "one", "other": "one"})
    assert result["failed"] and "two captured objects would become this one" in result["msg"]
    assert not target.writes
