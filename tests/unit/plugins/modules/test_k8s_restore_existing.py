# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of objects and of what belongs to them, also where others are there already, through both ``main()``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.api_server import ApiServer, running
from fakes.k8s_modules import CRD, calling, in_folder, thing

from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

Restore = Callable[..., dict[str, Any]]
STATEFUL_SETS = ("apps", "v1", "statefulsets", "StatefulSet", True)


def owned(obj: dict[str, Any], owner: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The object with a link to its owner, which needs a uid."""
    link = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **more}
    link |= {name: owner["metadata"][name] for name in ("name", "uid")}
    obj["metadata"]["ownerReferences"] = [link]
    return obj


@pytest.fixture
def source() -> Iterator[ApiServer]:
    with running() as server:
        server.kinds.append(STATEFUL_SETS)
        server.add(thing("Namespace", "ledger", namespace=""))
        yield server


@pytest.fixture
def target() -> Iterator[ApiServer]:
    with running() as server:
        server.kinds.append(STATEFUL_SETS)
        yield server


@pytest.fixture
def restore(
    source: ApiServer,
    target: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Restore:
    """Captures what the source has by then and restores it to the target."""
    in_folder(tmp_path / "repository", monkeypatch)
    run = calling(capsys)

    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        application = {"name": "ledger", "namespaces": ["ledger"], **options.pop("application", {})}
        taken = run(k8s_snapshot, host=source.url, site="east", point="p", application=application)
        return run(k8s_restore, check, host=target.url, snapshot=taken["snapshot"]["tree"], point="p", **options)

    return call


def entries(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"].removeprefix("ledger/"): entry for entry in result["objects"]}


def actions(result: dict[str, Any]) -> dict[str, str]:
    kept = dict.fromkeys((name.removeprefix("ledger/") for name in result["unchanged"]), "keep")
    return kept | {name: entry["action"] for name, entry in entries(result).items()}


# -- claims -----------------------------------------------------------------------------------------------------------


def test_claims_that_a_stateful_set_deletes_with_itself_are_restored_before_it(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    """With persistentVolumeClaimRetentionPolicy.whenDeleted: Delete its controller owns them."""
    db = thing("StatefulSet", "db", "apps/v1", metadata={"uid": "db"}, spec={"replicas": 2})
    names = ("data-db-0", "data-db-1")
    claims = [owned(thing("PersistentVolumeClaim", name, spec={}), db, controller=True) for name in names]
    source.add(db, *claims)
    plan, done = restore(check=True), restore()
    for result in (plan, done):
        found = entries(result)
        for name in names:
            claim = found[f"persistentvolumeclaims/{name}"]
            assert (claim["action"], claim["differs"], claim["transforms"]) == ("create", [], [])
    places = [place for _method, place in target.writes]
    assert places.index("ledger/statefulsets.apps/db") > max(
        places.index(f"ledger/persistentvolumeclaims/{name}") for name in names
    )
    # Its controller links them, or does not, when it sees them.
    again = restore(existing="update")
    assert not again["changed"] and not any(one["differs"] for one in again["objects"])


@pytest.mark.parametrize("existing", ["keep", "update", "recreate"])
def test_a_claim_of_a_restored_volume_is_equal_to_itself(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    retained = {"persistentVolumeReclaimPolicy": "Retain", "nfs": {"server": "n", "path": "/"}}
    source.add(
        thing("PersistentVolume", "hand", namespace="", spec=retained),
        thing("PersistentVolumeClaim", "data", spec={"volumeName": "hand", "storageClassName": ""}),
    )
    options = {"static_volumes": True, "existing": existing}
    restore(**options)
    again = restore(**options)
    assert not again["changed"] and "ledger/persistentvolumeclaims/data" in again["unchanged"]
    live = target.get("persistentvolumeclaims", "ledger", "data")
    assert live is not None
    live["spec"]["volumeName"] = "other"
    differs = entries(restore(**options))["persistentvolumeclaims/data"]["differs"]
    assert differs == ['spec.volumeName: "other" -> "hand"']


# -- namespaces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", ["update", "keep", "fail"])
def test_fail_for_namespaces_stops_everything_where_one_differs(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    source.add(thing("Namespace", "ledger", namespace="", metadata={"labels": {"team": "pay"}}))
    source.add(thing("ConfigMap", "settings", data={"a": "1"}))
    options = {"existing": existing, "existing_kinds": {"namespaces": "fail"}, "namespace_labels": {"site": "west"}}
    target.add(thing("Namespace", "ledger", namespace="", metadata={"labels": {"team": "other"}}))
    target.writes.clear()
    for check in (True, False):
        refused = restore(check=check, **options)
        assert refused["failed"] and refused["in_the_way"] == ["namespaces/ledger"] and not target.writes
    # What is only the target's is no difference, nor are our own marks and what the user asks for.
    target.add(thing("Namespace", "ledger", namespace="", metadata={"labels": {"team": "pay", "level": "baseline"}}))
    assert restore(**options)["status"] == "completed"
    live = target.get("namespaces", "", "ledger")
    assert live is not None and live["metadata"]["labels"] == {"team": "pay", "level": "baseline", "site": "west"}
    assert not restore(**options)["changed"]


# -- pods -------------------------------------------------------------------------------------------------------------


def pod(token: str = "", **more: Any) -> dict[str, Any]:
    """A bare pod, as a server has filled it in if it has a token."""
    containers = [{"name": "api", "image": "api:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
    spec: dict[str, Any] = {"containers": containers, "volumes": [{"name": "data", "emptyDir": {}}]}
    spec["initContainers"] = [{"name": "first", "image": "api:1"}]
    obj = thing("Pod", "bare", metadata={"labels": {"app": "api"}}, spec=spec)
    if token:
        name = f"kube-api-access-{token}"
        mount = {"name": name, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
        spec["volumes"].append({"name": name, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
        for container in (*containers, *spec["initContainers"]):
            container.setdefault("volumeMounts", []).append(mount)
        spec |= {"nodeName": f"node-{token}", "priority": 0, "preemptionPolicy": "PreemptLowerPriority"}
        spec |= {"serviceAccount": "default", "serviceAccountName": "default", "imagePullSecrets": [{"name": token}]}
        spec |= {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]}
    spec |= more
    return obj


@pytest.mark.parametrize("existing", ["update", "recreate"])
def test_a_label_of_a_bare_pod_is_updated_and_the_pod_stays(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    source.add(pod("aaaaa", runtimeClassName="kata", overhead={"podFixed": {"cpu": "1"}}, imagePullSecrets=[]))
    debugger = {"ephemeralContainers": [{"name": "debug", "image": "tools:1", "targetContainerName": "api"}]}
    live = pod("bbbbb", runtimeClassName="kata", overhead={"podFixed": {"cpu": "2"}}, **debugger)
    live["metadata"] |= {"labels": {"app": "other"}, "annotations": {"kubernetes.io/limit-ranger": "set: cpu"}}
    live["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    target.kinds.append(("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False))
    target.add(thing("RuntimeClass", "kata", "node.k8s.io/v1", ""), thing("Namespace", "ledger", namespace=""), live)
    before = target.get("pods", "ledger", "bare")
    assert before is not None
    options = {"existing": existing, "allow_partial": True}
    for check in (True, False):
        found = entries(restore(check=check, **options))["pods/bare"]
        assert (found["action"], found["differs"]) == ("update", ['metadata.labels.app: "other" -> "api"'])
    after = target.get("pods", "ledger", "bare")
    assert after is not None and after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"] == {"app": "api"} and after["spec"] == before["spec"]
    assert not restore(**options)["changed"]


def test_a_bare_pod_that_is_another_one_is_still_refused(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    source.add(pod("aaaaa"))
    target.add(thing("Namespace", "ledger", namespace=""), pod("bbbbb", hostname="elsewhere"))
    options = {"existing": "update", "allow_partial": True}
    assert entries(restore(check=True, **options))["pods/bare"]["action"] == "blocked"


# -- after a failure --------------------------------------------------------------------------------------------------

NOT_REACHED = "not reached: fail_fast"


def test_fail_fast_stops_within_a_wave_and_says_what_was_not_reached(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    owner = thing("ConfigMap", "a", metadata={"uid": "a"})
    # It belongs to another one, so it comes later in the same wave.
    source.add(owner, owned(thing("ConfigMap", "child"), owner))
    source.add(*(thing("ConfigMap", name) for name in "bcd"), thing("Service", "late", spec={"ports": []}))
    target.refused.add("ledger/configmaps/b")
    options = {"fail_fast": True, "workers": 1}
    result = restore(**options)
    assert result["failed"] and "ledger/configmaps/b: " in result["msg"].partition("held back or failed: ")[2][:25]
    found = entries(result)
    assert found["configmaps/a"]["changed"] and found["configmaps/b"]["action"] == "blocked"
    left = {name for name, one in found.items() if one["reason"] == NOT_REACHED}
    assert left == {"configmaps/c", "configmaps/d", "configmaps/child", "services/late"}
    assert all(found[name]["action"] == "blocked" and found[name]["msg"] == NOT_REACHED for name in left)
    assert result["counts"]["create"] == 2 and result["counts"]["blocked"] == 5
    assert target.names("ledger") == ["configmaps/a", "serviceaccounts/default"]
    target.refused.clear()
    assert restore(**options)["counts"]["create"] == 5
    assert not restore(**options)["changed"]


def test_fail_fast_runs_no_hooks_after_a_refusal(restore: Restore, source: ApiServer, target: ApiServer) -> None:
    labels = {"app": "api"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "api", "image": "api:1"}]}}
    workload = thing("Deployment", "api", "apps/v1", spec={"selector": {"matchLabels": labels}, "template": template})
    source.add(workload, CRD, thing("Currency", "eur", "ledger.example.com/v1", spec={"name": "Euro"}))
    target.refused.add("ledger/currencies.ledger.example.com/eur")
    hook = {"name": "fill", "selector": "app=api", "command": ["fill"], "wait_timeout": "1s"}
    result = restore(fail_fast=True, allow_partial=True, restore_hooks=[hook])
    assert result["status"] == "partial" and entries(result)["deployments.apps/api"]["changed"]
    assert [(one["name"], one["ok"], one["msg"]) for one in result["hooks"]] == [
        ("fill", None, "not run: the restore has ended at a failure (fail_fast)")
    ]
    assert "Restore hook fill for ledger/deployments.apps/api: not run" in json.dumps(result["warnings"])


def test_fail_fast_does_not_wait_for_what_it_did_not_make(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    source.add(CRD, thing("Currency", "eur", "ledger.example.com/v1"), thing("Secret", "s"))
    target.refused.add("customresourcedefinitions.apiextensions.k8s.io/currencies.ledger.example.com")
    result = restore(fail_fast=True, allow_partial=True)
    found = entries(result)
    assert "is not there and could not be made" in found["currencies.ledger.example.com/eur"]["reason"]
    assert found["secrets/s"]["reason"] == found["namespaces/ledger"]["reason"] == NOT_REACHED
    assert not result["changed"] and not target.writes


# -- owners -----------------------------------------------------------------------------------------------------------

OWNER = "currencies.ledger.example.com"


def family(source: ApiServer) -> None:
    """A custom resource, and a Secret that belongs to it."""
    euro = thing("Currency", "eur", "ledger.example.com/v1", metadata={"uid": "eur"}, spec={"name": "Euro"})
    source.add(CRD, euro, owned(thing("Secret", "key", data={"key": "eA=="}), euro))


def linked(target: ApiServer, name: str = "key") -> bool:
    """Whether the Secret belongs to the custom resource that is at the target, and to nothing else."""
    owner, child = target.get(OWNER, "ledger", "eur"), target.get("secrets", "ledger", name)
    assert owner is not None and child is not None
    links = child["metadata"].get("ownerReferences") or []
    return [link["uid"] for link in links] == [owner["metadata"]["uid"]]


@pytest.mark.parametrize("existing", ["update", "merge", "recreate"])
def test_what_is_there_is_linked_to_an_owner_in_the_run_that_creates_it(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    family(source)
    restore()
    # Somebody deleted the owner and left what belongs to it.
    target.remove(OWNER, "ledger", "eur")
    live = target.get("secrets", "ledger", "key")
    assert live is not None
    del live["metadata"]["ownerReferences"]
    plan = entries(restore(check=True, existing=existing))
    assert plan["secrets/key"]["reason"] == "its owner is created; it is linked to it"
    done = entries(restore(existing=existing))
    assert linked(target) and done["secrets/key"]["msg"] == "linked to its owner"
    assert (done["secrets/key"]["action"], done["secrets/key"]["changed"]) == ("update", True)
    assert not restore(existing=existing)["changed"]


@pytest.mark.parametrize("options", [{}, {"existing": "keep"}, {"existing_kinds": {"secrets": "fail"}}], ids=str)
def test_what_an_earlier_run_made_without_its_owner_is_linked_once_that_is_there(
    restore: Restore, source: ApiServer, target: ApiServer, options: dict[str, Any]
) -> None:
    family(source)
    target.refused.add(f"ledger/{OWNER}/eur")
    first = restore(allow_partial=True, **options)
    assert actions(first)["secrets/key"] == "create" and actions(first)[f"{OWNER}/eur"] == "blocked"
    # As long as the owner is refused there is nothing to link to.
    plan = restore(check=True, allow_partial=True, **options)
    assert actions(plan)["secrets/key"] == "keep" and not plan["changed"]
    assert not restore(allow_partial=True, **options)["changed"]
    target.refused.clear()
    assert actions(restore(check=True, **options))["secrets/key"] == "update"
    restore(**options)
    assert linked(target) and not restore(**options)["changed"]


def test_what_others_made_is_not_linked_where_it_is_kept(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    family(source)
    target.add(thing("Namespace", "ledger", namespace=""), thing("Secret", "key", data={"key": "eA=="}))
    first = restore(existing="keep")
    # The namespace has the point's mark since then.
    again = restore(existing="keep")
    for result in (first, again):
        found = entries(result)["secrets/key"]
        assert (found["action"], found["changed"]) == ("keep", False)
        assert found["differs"] == ["metadata.ownerReferences: Currency eur is missing"]
    assert first["changed"] and not again["changed"]


def unlinked(restore: Restore, source: ApiServer, target: ApiServer) -> dict[str, Any]:
    """A restored object, as it is in the target's state, that has lost the link to its owner since."""
    family(source)
    restore()
    live = target.get("secrets", "ledger", "key")
    assert live is not None
    del live["metadata"]["ownerReferences"]
    return live


def test_a_run_that_was_killed_before_it_linked_is_finished_by_the_next(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    unlinked(restore, source, target)
    assert entries(restore())["secrets/key"]["action"] == "update"
    assert linked(target) and not restore()["changed"]


def test_a_link_is_written_although_a_controller_changes_the_object_meanwhile(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    live = unlinked(restore, source, target)
    live["data"] = {"key": "changed"}
    busy: list[str] = []

    def meddle(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/secrets/key") and not busy:
            busy.append(path)
            target.add({**live, "metadata": {**live["metadata"], "labels": {"seen": "1"}}})

    target.before_write = meddle
    assert entries(restore(existing="update"))["secrets/key"]["action"] == "update"
    live = target.get("secrets", "ledger", "key")
    assert busy and live is not None and live["data"] == {"key": "eA=="} and linked(target)


def test_a_merge_links_in_the_same_run(restore: Restore, source: ApiServer, target: ApiServer) -> None:
    live = unlinked(restore, source, target)
    live["data"] = {"key": "changed", "own": "eA=="}
    assert entries(restore(existing="merge"))["secrets/key"]["action"] == "update"
    live = target.get("secrets", "ledger", "key")
    assert live is not None and live["data"] == {"key": "eA==", "own": "eA=="} and linked(target)
    assert not restore(existing="merge")["changed"]


# -- recreated objects ------------------------------------------------------------------------------------------------

API = "ledger/deployments.apps/api"


@pytest.fixture
def immutable(source: ApiServer, target: ApiServer) -> dict[str, Any]:
    """A Deployment at the target that differs in a field which cannot be changed; its uid."""

    def deployment(app: str) -> dict[str, Any]:
        template = {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "api", "image": "api:1"}]}}
        return thing("Deployment", "api", "apps/v1", spec={"selector": {"matchLabels": {"app": app}}, **template})

    source.add(deployment("captured"))
    target.add(thing("Namespace", "ledger", namespace=""), deployment("other"))
    target.writes.clear()
    live = target.get("deployments.apps", "ledger", "api")
    assert live is not None
    return {"existing": "recreate", "allow_partial": True}


def test_what_the_server_would_not_take_again_is_not_deleted(
    restore: Restore, target: ApiServer, immutable: dict[str, Any]
) -> None:
    for refusals, words in ((target.invalid, ""), (target.refused, ": Forbidden by the fake")):
        refusals.add(API)
        for check in (True, False):
            found = entries(restore(check=check, **immutable))["deployments.apps/api"]
            said = f"it differs and cannot be updated: Invalid by the fake (nor could it be created again{words})"
            assert (found["action"], found["changed"], found["failed"]) == ("blocked", False, False)
            assert found["reason"] == said
        refusals.clear()
    assert ("DELETE", API) not in target.writes
    assert entries(restore(**immutable))["deployments.apps/api"]["msg"] == "recreated"
    assert not restore(**immutable)["changed"]


def test_the_server_is_asked_again_just_before_an_object_is_deleted(
    restore: Restore, target: ApiServer, immutable: dict[str, Any]
) -> None:
    # The lock is what a run writes first.
    target.before_write = lambda _method, path: target.invalid.add(API) if "/leases" in path else None
    found = entries(restore(**immutable))["deployments.apps/api"]
    assert (found["action"], found["changed"], found["reason"]) == ("blocked", False, "Invalid by the fake")
    assert ("DELETE", API) not in target.writes


def test_an_object_that_is_deleted_and_then_refused_has_failed_and_comes_back_later(
    restore: Restore, target: ApiServer, immutable: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    target.before_write = lambda method, _path: target.refused.add(API) if method == "DELETE" else None
    result = restore(**immutable)
    found = entries(result)["deployments.apps/api"]
    assert (found["action"], found["changed"], found["failed"]) == ("recreate", True, True)
    assert "deleted, and could not be created again: Forbidden by the fake" in found["msg"]
    assert "run the same again" in found["msg"] and result["changed"] and result["status"] == "partial"
    target.refused.clear()
    assert entries(restore(**immutable))["deployments.apps/api"]["action"] == "create"
    assert not restore(**immutable)["changed"]


def test_what_is_refused_for_a_moment_after_it_was_deleted_is_tried_again(
    restore: Restore, target: ApiServer, immutable: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: target.refused.clear())
    target.before_write = lambda method, _path: target.refused.add(API) if method == "DELETE" else None
    found = entries(restore(**immutable))["deployments.apps/api"]
    assert (found["changed"], found["failed"], found["msg"]) == (True, False, "recreated")


@pytest.mark.parametrize("every", [1, 2])
def test_a_recreation_goes_on_after_answers_that_were_lost(
    restore: Restore, target: ApiServer, immutable: dict[str, Any], monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    target.lose_every = every
    found = entries(restore(**immutable))["deployments.apps/api"]
    assert (found["changed"], found["failed"], found["msg"]) == (True, False, "recreated")
    assert target.writes.count(("DELETE", API)) == 1
    target.lose_every = 0
    assert not restore(**immutable)["changed"]


def test_a_deletion_whose_answer_was_lost_counts(
    restore: Restore, target: ApiServer, immutable: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)

    def refuse(method: str, _path: str) -> None:
        if method == "DELETE":
            # The answer to this one is lost, and nothing is taken after it.
            target.lose_every = len(target.writes) + 1
            target.refused.add(API)

    target.before_write = refuse
    found = entries(restore(**immutable))["deployments.apps/api"]
    assert target.get("deployments.apps", "ledger", "api") is None
    assert (found["action"], found["changed"], found["failed"]) == ("recreate", True, True)


# -- versions ---------------------------------------------------------------------------------------------------------

DEFINITION = f"customresourcedefinitions.apiextensions.k8s.io/{OWNER}"


def definition(*versions: str) -> dict[str, Any]:
    """One that serves these versions, of which the first is preferred."""
    served = [{"name": name, "served": True, "storage": number == 0} for number, name in enumerate(versions)]
    return {**CRD, "spec": {**CRD["spec"], "versions": served}}


def euro(version: str, name: str = "eur", **spec: Any) -> dict[str, Any]:
    return thing("Currency", name, f"ledger.example.com/{version}", metadata={"uid": name}, spec=spec)


@pytest.fixture
def newer(source: ApiServer, target: ApiServer) -> ApiServer:
    """The target's definition is older than that of the source, which prefers a version of its own."""
    target.add(thing("Namespace", "ledger", namespace=""), definition("v1"))
    source.add(definition("v2", "v1"), euro("v2", rate="2"), euro("v2", "equal"), euro("v2", "differs", rate="2"))
    target.add(euro("v1", "equal"), euro("v1", "differs", rate="1"))
    return target


@pytest.mark.parametrize("existing", ["update", "merge", "recreate"])
def test_versions_that_a_restored_definition_brings_are_counted(
    restore: Restore, newer: ApiServer, existing: str
) -> None:
    plan, done = restore(check=True, existing=existing), restore(existing=existing)
    for result in (plan, done):
        found = entries(result)
        assert found[DEFINITION]["action"] == "update"
        assert (found[f"{OWNER}/eur"]["action"], found[f"{OWNER}/eur"]["sure"]) == ("create", "assumed")
        assert f"ledger/{OWNER}/equal" in result["unchanged"]
        assert (found[f"{OWNER}/differs"]["action"], found[f"{OWNER}/differs"]["sure"]) == ("update", "assumed")
    for name in ("eur", "differs"):
        live = newer.get(OWNER, "ledger", name)
        assert live is not None and (live["apiVersion"], live["spec"]) == ("ledger.example.com/v2", {"rate": "2"})
    again = restore(existing=existing)
    assert not again["changed"] and {one["sure"] for one in again["objects"]} <= {"seen", "dry_run"}


@pytest.mark.parametrize("refused", [False, True])
def test_versions_of_a_definition_that_is_not_updated_are_not_counted(
    restore: Restore, newer: ApiServer, refused: bool
) -> None:
    if refused:
        newer.refused.add(DEFINITION)
    options = {"existing": "update" if refused else "keep", "allow_partial": True}
    newer.writes.clear()
    plan, done = restore(check=True, **options), restore(**options)
    assert actions(plan) == actions(done) and done["counts"]["failed"] == 0
    words = "it was captured as ledger.example.com/v2; the target serves ledger.example.com/v1"
    assert entries(done)[f"{OWNER}/eur"]["reason"] == words
    assert not [place for _method, place in newer.writes if OWNER in place]


def test_a_definition_that_fails_holds_back_what_it_would_have_brought(restore: Restore, newer: ApiServer) -> None:
    # It is refused only once the plan is made.
    newer.before_write = lambda method, _path: newer.refused.add(DEFINITION) if method == "POST" else None
    found = entries(restore(existing="update", allow_partial=True))
    assert found[DEFINITION]["action"] == found[f"{OWNER}/eur"]["action"] == "blocked"
    assert "the target serves ledger.example.com/v1" in found[f"{OWNER}/eur"]["reason"]


ALL = {"application": {"versions": "all"}}


@pytest.mark.parametrize("existing", ["keep", "update"])
def test_another_version_that_was_captured_is_restored_where_the_first_is_not_served(
    restore: Restore, source: ApiServer, newer: ApiServer, existing: str
) -> None:
    entry = {"manager": "kubectl", "operation": "Update", "apiVersion": "ledger.example.com/v2"}
    source.add(euro("v2", rate="3") | {"metadata": {"name": "eur", "namespace": "ledger", "managedFields": [entry]}})
    options = {"existing": existing, "exclude_kinds": ["customresourcedefinitions.*"], **ALL}
    plan, done = entries(restore(check=True, **options)), entries(restore(**options))
    for found in (plan, done):
        assert found[f"{OWNER}/eur"]["action"] == "create"
        assert found[f"{OWNER}/eur"]["transforms"] == [
            "as it was captured in ledger.example.com/v1: the target does not serve ledger.example.com/v2"
        ]
    live = newer.get(OWNER, "ledger", "eur")
    assert live is not None and (live["apiVersion"], live["spec"]) == ("ledger.example.com/v1", {"rate": "3"})
    assert not restore(**options)["changed"]


def test_the_first_version_is_restored_where_its_definition_comes_too(restore: Restore, newer: ApiServer) -> None:
    restore(existing="update", **ALL)
    live = newer.get(OWNER, "ledger", "eur")
    assert live is not None and live["apiVersion"] == "ledger.example.com/v2"


def test_all_captured_versions_are_named_where_none_is_served(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    source.add(definition("v2", "v1", "v1beta1"), euro("v2"))
    options = {"exclude_kinds": ["customresourcedefinitions.*"], "allow_partial": True, **ALL}
    captured = "ledger.example.com/v2, ledger.example.com/v1, ledger.example.com/v1beta1"
    found = entries(restore(check=True, **options))[f"{OWNER}/eur"]
    assert (found["action"], found["reason"]) == ("blocked", f"the target does not serve {captured} {OWNER}")
    target.add(definition("v4", "v3"))
    found = entries(restore(check=True, **options))[f"{OWNER}/eur"]
    words = f"it was captured as {captured}; the target serves ledger.example.com/v4, ledger.example.com/v3"
    assert (found["action"], found["reason"]) == ("blocked", words)
