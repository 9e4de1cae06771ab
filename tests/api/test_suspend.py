# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fights a restore sleeps and wakes, by the module, a real API server and a store."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import json_patch
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import suspend as verb
from ansible_collections.muster.container_dr.plugins.modules import k8s_suspend

pytestmark = pytest.mark.filterwarnings("ignore")
GROUP = "apiextensions.k8s.io/v1"


def definition(plural: str, kind: str, group: str, version: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": GROUP,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def thing(api_version: str, kind: str, name: str, namespace: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **more.pop("metadata", {})},
        **more,
    }


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "store").mkdir()
    return {"url": f"file://{tmp_path / 'store'}"}


@pytest.fixture
def fighters(api: Any, namespace: str) -> Iterator[dict[str, tuple[str, str]]]:
    """An autoscaler, a budget, an operator's resource, and a GitOps application of another namespace."""
    other = f"argocd-{uuid.uuid4().hex[:8]}"
    api("create", "namespace", other)
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    api.apply(definition("applications", "Application", "argoproj.io", "v1alpha1"))
    api.apply(definition("databases", "Database", group, "v1"))
    for name in ("applications.argoproj.io", f"databases.{group}"):
        api("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    made = {
        "application": thing(
            "argoproj.io/v1alpha1",
            "Application",
            "ledger",
            other,
            spec={"destination": {"namespace": namespace}, "syncPolicy": {"automated": {"prune": True}}},
        ),
        "stranger": thing(
            "argoproj.io/v1alpha1",
            "Application",
            "stranger",
            other,
            spec={"destination": {"namespace": "elsewhere"}, "syncPolicy": {"automated": {}}},
        ),
        "autoscaler": thing(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "api",
            namespace,
            spec={"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5},
        ),
        "budget": thing(
            "policy/v1",
            "PodDisruptionBudget",
            "api",
            namespace,
            spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "api"}}},
        ),
        "database": thing(f"{group}/v1", "Database", "db", namespace, spec={"size": 1}),
    }
    for obj in made.values():
        api.apply(obj)
    kinds = {
        "application": "applications.argoproj.io",
        "stranger": "applications.argoproj.io",
        "autoscaler": "hpa",
        "budget": "pdb",
        "database": f"databases.{group}",
    }
    yield {key: (kinds[key], f"{obj['metadata']['namespace']}/{obj['metadata']['name']}") for key, obj in made.items()}
    api("delete", "crd", "applications.argoproj.io", f"databases.{group}", "--wait=false")
    api("delete", "namespace", other, "--wait=false")


def specs(api: Any, fighters: dict[str, tuple[str, str]]) -> dict[str, Any]:
    found = {}
    for key, (kind, place) in fighters.items():
        namespace, name = place.split("/")
        obj = api.get(kind, name, "-n", namespace)
        found[key] = {"spec": obj["spec"], "annotations": obj["metadata"].get("annotations") or {}}
    return found


def options(namespace: str, store: dict[str, str], fighters: dict[str, tuple[str, str]]) -> dict[str, Any]:
    paused = {"/metadata/annotations/example.com~1paused": "true"}
    return {
        "application": {"name": "ledger"},
        "store": store,
        "namespaces": [namespace],
        "operators": {fighters["database"][0]: paused},
        "run": "run-1",
    }


def resume(run: Any, store: dict[str, str], **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = run(k8s_suspend, state="resumed", application={"name": "ledger"}, store=store, **more)
    return result


def test_all_of_it_sleeps_and_wakes_as_it_was(
    run: Any, api: Any, namespace: str, store: dict[str, str], fighters: dict[str, tuple[str, str]]
) -> None:
    before = specs(api, fighters)
    plan = run(k8s_suspend, check=True, **options(namespace, store, fighters))
    assert plan["changed"] and specs(api, fighters) == before and resume(run, store)["objects"] == []

    done = run(k8s_suspend, **options(namespace, store, fighters))
    assert [one["name"] for one in done["objects"]] == [one["name"] for one in plan["objects"]]
    assert all(one["changed"] and one["state"] == "suspended" for one in done["objects"]) and len(done["objects"]) == 4
    asleep = specs(api, fighters)
    assert asleep["stranger"] == before["stranger"]
    assert "automated" not in asleep["application"]["spec"]["syncPolicy"]
    assert asleep["autoscaler"]["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Disabled"
    assert asleep["budget"]["spec"]["maxUnavailable"] == "100%"
    assert asleep["database"]["annotations"]["example.com/paused"] == "true"

    assert resume(run, store, check=True)["changed"] and specs(api, fighters) == asleep
    assert resume(run, store)["changed"]
    awake = specs(api, fighters)
    for key in before:
        assert json_patch.same(awake[key]["spec"], before[key]["spec"]), key
        assert "example.com/paused" not in awake[key]["annotations"]
    assert resume(run, store)["changed"] is False


def test_the_next_run_wakes_what_a_killed_one_has_left(
    run: Any,
    api: Any,
    namespace: str,
    store: dict[str, str],
    fighters: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = specs(api, fighters)
    wanted = options(namespace, store, fighters)
    # Killed after the second write of the record: one object sleeps, and nobody has told of it.
    writes = []
    put = verb._Shelf.put

    def dying(shelf: Any, record: Any) -> None:
        if len(writes) == 2:
            raise SystemExit(137)
        writes.append(put(shelf, record))

    with monkeypatch.context() as patch:
        patch.setattr(verb._Shelf, "put", dying)
        with pytest.raises(json.JSONDecodeError):
            run(k8s_suspend, **wanted)
    assert specs(api, fighters) != before

    again = run(k8s_suspend, **{**wanted, "run": "run-2"})
    assert len(again["objects"]) == 4 and not again.get("failed")
    resume(run, store)
    awake = specs(api, fighters)
    assert all(json_patch.same(awake[key]["spec"], before[key]["spec"]) for key in before)


def test_what_cannot_be_is_said(run: Any, api: Any, namespace: str, store: dict[str, str], tmp_path: Path) -> None:
    common = {"application": {"name": "ledger"}, "store": store, "namespaces": [namespace]}
    assert "it is not known how they sleep" in run(k8s_suspend, kinds=["cronjobs.batch"], **common)["msg"]
    assert "no dictionary" in run(k8s_suspend, operators={"databases.example.com": "x"}, **common)["msg"]
    assert "Write it as /spec/paused" in run(k8s_suspend, operators={"d.example.com": {"spec": 1}}, **common)["msg"]
    nothing = run(k8s_suspend, **common)
    assert (nothing["changed"], nothing["objects"]) == (False, [])
    shutil.rmtree(tmp_path / "store")
    assert "store" in run(k8s_suspend, **common)["msg"]
