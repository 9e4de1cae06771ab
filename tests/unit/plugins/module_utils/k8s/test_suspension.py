# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fights a restore is found, put to sleep, and woken as it was, also after a killed run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch, suspension
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiDenied, ApiError, Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.discovery import Discovery

VERSIONS = {
    suspension.APPLICATION: ("argoproj.io", "v1alpha1"),
    suspension.APPLICATION_SET: ("argoproj.io", "v1alpha1"),
    suspension.KUSTOMIZATION: ("kustomize.toolkit.fluxcd.io", "v1"),
    suspension.HELM_RELEASE: ("helm.toolkit.fluxcd.io", "v2"),
    suspension.HPA: ("autoscaling", "v2"),
    suspension.PDB: ("policy", "v1"),
    "kafkas.kafka.strimzi.io": ("kafka.strimzi.io", "v1beta2"),
    "widgets.example.com": ("example.com", "v1"),
}


class Fake:
    """As much of a cluster as is needed, with versions and tests of JSON patches."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.denied: set[str] = set()
        self.patches = 0
        self.before_patch: list[Any] = []
        self.id = "cluster-1"

    @property
    def found(self) -> Discovery:
        return Discovery(
            tuple(
                Resource(group, version, key.partition(".")[0], "Kind", True, frozenset({"list"}))
                for key, (group, version) in VERSIONS.items()
            )
        )

    def add(self, key: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
        resource = self.found.find(key)
        assert resource is not None
        metadata = {"name": name, "namespace": namespace, "uid": f"{key}-{name}", "resourceVersion": "1"}
        obj = {"metadata": {**metadata, **more.pop("metadata", {})}, **more}
        self.objects[resource.path(namespace, name)] = obj
        return obj

    def uid(self) -> str:
        return self.id

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        for one in self.denied:
            if one in path:
                raise ApiDenied("list", path, 403, {"message": "no"})
        parts = path.split("/")
        for place, obj in self.objects.items():
            same_kind = place.split("/")[-2] == parts[-1]
            if same_kind and (place.startswith(path + "/") or "/namespaces/" not in path):
                yield copy.deepcopy(obj)

    def find(self, path: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get(path))

    def patch(self, path: str, body: Any, *, content_type: str) -> dict[str, Any]:
        assert content_type == "application/json-patch+json"
        if self.before_patch:
            self.before_patch.pop(0)()
        try:
            changed: dict[str, Any] = json_patch.patched(self.objects[path], body)
        except json_patch.TestFailed:
            raise ApiError("change", path, 422, {"reason": "Invalid"}) from None
        changed["metadata"]["resourceVersion"] += "1"
        self.objects[path] = changed
        self.patches += 1
        return changed


def as_cluster(fake: Any) -> Any:
    """The fake where a cluster is asked for."""
    return fake


AUTOMATED = {"prune": True, "selfHeal": True}


@pytest.fixture
def cluster() -> Fake:
    fake = Fake()
    fake.add(
        suspension.HPA, "shop", "hpa", spec={"minReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    )
    fake.add(suspension.PDB, "shop", "pdb", spec={"minAvailable": 1})
    fake.add(suspension.PDB, "other", "pdb2", spec={"minAvailable": 1})
    fake.add(
        suspension.APPLICATION,
        "argocd",
        "shop",
        spec={"destination": {"namespace": "shop"}, "syncPolicy": {"automated": AUTOMATED, "retry": {"limit": 1}}},
        metadata={"ownerReferences": [{"kind": "ApplicationSet", "uid": "applicationsets.argoproj.io-all"}]},
    )
    child = {"kind": "Application", "namespace": "argocd", "name": "shop"}
    fake.add(
        suspension.APPLICATION,
        "argocd",
        "root",
        spec={"destination": {"namespace": "argocd"}, "syncPolicy": {"automated": {}}},
        status={"resources": [child]},
    )
    fake.add(
        suspension.APPLICATION,
        "argocd",
        "else",
        spec={"destination": {"namespace": "z"}, "syncPolicy": {"automated": {}}},
    )
    fake.add(suspension.APPLICATION_SET, "argocd", "all", spec={})
    fake.add(suspension.APPLICATION_SET, "argocd", "others", spec={})
    fake.add(
        suspension.KUSTOMIZATION,
        "flux",
        "by-inventory",
        spec={},
        status={"inventory": {"entries": [{"id": "shop_api_apps_Deployment"}]}},
    )
    fake.add(suspension.KUSTOMIZATION, "flux", "asleep", spec={"suspend": True, "targetNamespace": "shop"})
    fake.add(suspension.KUSTOMIZATION, "flux", "else", spec={"targetNamespace": "z"})
    fake.add(suspension.HELM_RELEASE, "shop", "chart", spec={"suspend": False})
    fake.add("kafkas.kafka.strimzi.io", "shop", "kafka", spec={})
    return fake


def find(cluster: Any, **more: Any) -> tuple[list[suspension.Fighter], list[str]]:
    return suspension.find(cluster, ["shop"], found=cluster.found, **more)


class Shelf:
    """A store that keeps every version that it was given, as text."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def __call__(self, record: suspension.Record) -> None:
        self.kept.append(json.dumps(record))

    @property
    def last(self) -> suspension.Record:
        record: suspension.Record = json.loads(self.kept[-1])
        return record


def asleep(cluster: Any) -> tuple[suspension.Record, Shelf]:
    shelf = Shelf()
    record = suspension.record_of(as_cluster(cluster), find(cluster)[0], "run-1")
    outcome = suspension.suspend(as_cluster(cluster), record, shelf)
    assert outcome.failed == {}
    return record, shelf


def test_those_that_act_on_the_namespaces_are_found_with_what_makes_them(cluster: Fake) -> None:
    fighters, warnings = find(cluster)
    assert warnings == []
    assert [(one.obj["metadata"]["name"], one.why) for one in fighters] == [
        ("all", "it makes application shop"),
        ("shop", "it deploys into shop"),
        ("root", "it makes application shop"),
        ("by-inventory", "it deploys into shop"),
        ("chart", "it deploys into shop"),
        ("kafka", "its operator acts on it"),
        ("hpa", "it scales Deployment api"),
        ("pdb", "it holds evictions up"),
    ]
    assert [one.kind for one in find(cluster, kinds=[suspension.PDB])[0]] == [suspension.PDB]


def test_more_kinds_and_what_may_not_be_listed(cluster: Fake) -> None:
    cluster.add("widgets.example.com", "shop", "w", spec={})
    cluster.denied.add("poddisruptionbudgets")
    fighters, warnings = find(cluster, more={"widgets.example.com": {"/spec/paused": True}})
    assert fighters[-1].kind == "widgets.example.com" and fighters[-1].during == {"/spec/paused": True}
    assert len(warnings) == 1 and suspension.PDB in warnings[0]


def test_everything_wakes_as_it_was(cluster: Fake) -> None:
    before = copy.deepcopy(cluster.objects)
    record, shelf = asleep(cluster)
    names = {obj["metadata"]["name"]: obj for obj in cluster.objects.values()}
    assert names["shop"]["spec"]["syncPolicy"] == {"retry": {"limit": 1}}
    assert names["all"]["spec"]["syncPolicy"] == {"applicationsSync": "create-only"}
    assert names["chart"]["spec"]["suspend"] is True and names["by-inventory"]["spec"]["suspend"] is True
    assert names["pdb"]["spec"] == {"maxUnavailable": "100%"}
    assert names["hpa"]["spec"]["behavior"]["scaleUp"] == {"selectPolicy": "Disabled"}
    assert names["kafka"]["metadata"]["annotations"] == {"strimzi.io/pause-reconciliation": "true"}
    assert find(cluster) == ([], [])
    outcome = suspension.resume(as_cluster(cluster), shelf.last, shelf)
    assert outcome.failed == {} and len(outcome.changed) == 8
    for path, obj in cluster.objects.items():
        obj["metadata"]["resourceVersion"] = "1"
        # Parents that had to be made stay, empty.
        for parent in ("annotations",):
            obj["metadata"].pop(parent, None)
        if obj["spec"].get("syncPolicy") == {}:
            del obj["spec"]["syncPolicy"]
        assert obj == before[path]
    assert not suspension.unfinished(shelf.last)
    assert suspension.resume(as_cluster(cluster), shelf.last, shelf).changed == {}
    assert record["run"] == "run-1"


def test_the_record_is_stored_before_anything_is_done(cluster: Fake) -> None:
    def broken(record: suspension.Record) -> None:
        raise OSError("disk full")

    record = suspension.record_of(as_cluster(cluster), find(cluster)[0], "run-1")
    with pytest.raises(OSError, match="disk full"):
        suspension.suspend(as_cluster(cluster), record, broken)
    assert cluster.patches == 0


@pytest.mark.parametrize("writes", range(8))
def test_a_run_that_dies_at_any_point_is_put_right(cluster: Fake, writes: int) -> None:
    """Killed between a change and the storing of it: the stored record says one change less than was done."""
    before = {path: copy.deepcopy(obj["spec"]) for path, obj in cluster.objects.items()}
    shelf = Shelf()

    def dying(record: suspension.Record) -> None:
        if len(shelf.kept) > writes:
            raise KeyboardInterrupt
        shelf(record)

    record = suspension.record_of(as_cluster(cluster), find(cluster)[0], "run-1")
    with pytest.raises(KeyboardInterrupt):
        suspension.suspend(as_cluster(cluster), record, dying)
    assert suspension.unfinished(shelf.last)
    suspension.suspend(as_cluster(cluster), shelf.last, shelf)
    assert find(cluster)[0] == []
    suspension.resume(as_cluster(cluster), shelf.last, shelf)
    for path, obj in cluster.objects.items():
        if obj["spec"].get("syncPolicy") == {}:
            del obj["spec"]["syncPolicy"]
        assert obj["spec"] == before[path]


def test_what_somebody_changed_meanwhile_stays_and_what_is_gone_is_named(cluster: Fake) -> None:
    _record, shelf = asleep(cluster)
    places = {obj["metadata"]["name"]: path for path, obj in cluster.objects.items()}
    cluster.objects[places["pdb"]]["spec"] = {"maxUnavailable": 3}
    del cluster.objects[places["chart"]]
    cluster.objects[places["by-inventory"]]["metadata"]["uid"] = "another"
    outcome = suspension.resume(as_cluster(cluster), shelf.last, shelf)
    assert cluster.objects[places["pdb"]]["spec"]["maxUnavailable"] == 3
    assert any("pdb" in one and "somebody has changed" in why for one, why in outcome.kept.items())
    assert sum("not there any more" in why for why in outcome.kept.values()) == 2
    assert not suspension.unfinished(shelf.last)


def test_a_conflict_is_tried_again_and_others_go_on_when_one_fails(cluster: Fake) -> None:
    fighters = find(cluster, kinds=[suspension.PDB, suspension.HPA])[0]
    path = next(path for path in cluster.objects if path.endswith("/hpa"))

    def touch() -> None:
        cluster.objects[path]["metadata"]["resourceVersion"] += "x"

    cluster.before_patch = [touch] * 5
    record = suspension.record_of(as_cluster(cluster), fighters, "run-1")
    shelf = Shelf()
    outcome = suspension.suspend(as_cluster(cluster), record, shelf)
    assert list(outcome.failed) == ["shop/horizontalpodautoscalers.autoscaling/hpa"] and len(outcome.changed) == 1
    assert [one["state"] for one in shelf.last["entries"]] == ["planned", "suspended"]
    again = suspension.suspend(as_cluster(cluster), shelf.last, shelf)
    assert again.failed == {} and len(again.changed) == 1


def test_records_of_others_are_refused(cluster: Fake) -> None:
    record, shelf = asleep(cluster)
    for wrong in ({}, {"format": "x", "entries": []}, []):
        with pytest.raises(InvalidInput, match="format"):
            suspension.resume(as_cluster(cluster), wrong, shelf)
    cluster.id = "cluster-2"
    with pytest.raises(Refused, match="cluster-1"):
        suspension.resume(as_cluster(cluster), record, shelf)
