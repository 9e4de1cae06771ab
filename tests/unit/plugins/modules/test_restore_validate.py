# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its real ``main()``, against an API server over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import ApiServer, running

from ansible_collections.muster.container_dr.plugins.modules import restore_validate

Validate = Callable[..., dict[str, Any]]
DIGEST = "sha256:" + "a" * 64
POINT = {
    "id": "p",
    "consistency": {"point": "2026-01-31T04:00:00Z"},
    "objects": {"counts": {"deployments.apps": 1, "configmaps": 3}},
    "images": [{"name": "api:1", "digest": DIGEST}],
    "volumes": [],
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as fake:
        yield fake


@pytest.fixture
def validate(server: ApiServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Validate:
    def call(**options: Any) -> dict[str, Any]:
        arguments = {
            "host": server.url,
            "application": {"name": "ledger", "namespaces": ["ledger"]},
            "point": POINT,
            "namespaces": {"ledger": "drill"},
            "timeout": "0",
            "fail_on_verdict": False,
            "progress_file": str(tmp_path / "progress"),
            "_ansible_tracebacks_for": [],
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            restore_validate.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def thing(kind: str, name: str, api: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "drill"}, **more}


def workload(ready: int) -> list[dict[str, Any]]:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    image = f"r.invalid/api@{DIGEST}"
    container = {"name": "api", "state": {}, "imageID": image}
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [container],
    }
    spec = {"containers": [{"name": "api", "image": image}]}
    return [
        thing("Deployment", "api", "apps/v1", spec={"replicas": 1}, status=dict.fromkeys(names, ready)),
        thing("Pod", "api-1", spec=spec, status=status),
    ]


def check(result: dict[str, Any], code: str) -> dict[str, Any]:
    return next(one for one in result["checks"] if one["code"] == code)


def test_what_is_ready_passes(server: ApiServer, validate: Validate) -> None:
    server.add(*workload(1))
    result = validate()
    assert result["verdict"] == "pass"
    assert re.fullmatch("1 workloads, 1 pods ready after [0-9] s", check(result, "A01")["msg"])
    assert check(result, "A02")["result"] == "pass"
    assert result["healthy_after"] < 10


def test_what_is_not_is_explained(server: ApiServer, validate: Validate, tmp_path: Path) -> None:
    server.add(*workload(0))
    result = validate()
    first = check(result, "A01")
    assert (result["verdict"], first["result"]) == ("fail", "fail")
    assert re.match("2 not ready after [0-9] s; first: Deployment drill/api: 0 of 1 ready", first["msg"])
    assert [one["name"] for one in first["details"]["explained"]] == ["api", "api-1"]
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert "2 of 2 wait: Deployment drill/api 0 of 1 ready" in lines[0]["msg"]


def test_progress_says_what_it_waits_for(server: ApiServer, validate: Validate, tmp_path: Path) -> None:
    server.add(*workload(0))
    begun: list[str] = []

    def start(path: str, query: dict[str, str]) -> None:
        """The workload becomes ready when its change is watched for."""
        if query.get("watch") and not begun:
            begun.append(path)
            server.add(*workload(1))

    server.before_read = start
    assert validate(timeout="30")["verdict"] == "pass" and begun
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert lines[0]["state"] == "running" and "wait: Deployment drill/api" in lines[0]["msg"]


def test_what_is_ignored_is_named_and_still_counted(server: ApiServer, validate: Validate) -> None:
    server.add(*workload(1), thing("Job", "import", "batch/v1", spec={}, status={}))
    assert validate()["verdict"] == "fail"
    result = validate(ignore=["jobs.batch/imp*"])
    assert (result["verdict"], check(result, "A01")["details"]["ignored"]) == ("pass", ["Job drill/import"])
    ledger = {"name": "ledger", "namespaces": ["ledger"], "health_ignore": ["jobs.batch/imp*"]}
    assert validate(application=ledger)["verdict"] == "pass"
    result = validate(ignore=["jobs.batch", "deployments.apps"])
    assert (result["verdict"], check(result, "A02")["result"]) == ("pass", "pass")


def test_workloads_that_are_missing_fail(server: ApiServer, validate: Validate) -> None:
    server.add(*workload(1))
    point = {**POINT, "objects": {"counts": {"deployments.apps": 2}}}
    assert check(validate(point=point), "A02")["msg"] == "only 1 of 2 deployments there"


def test_custom_resources_of_the_point_are_waited_for(server: ApiServer, validate: Validate) -> None:
    server.kinds.append(("example.com", "v1", "things", "Thing", True))
    failed = {"conditions": [{"type": "Ready", "status": "False", "message": "no issuer"}]}
    server.add(*workload(1), thing("Thing", "one", "example.com/v1", status=failed))
    counted = {**POINT, "objects": {"counts": {"deployments.apps": 1, "things.example.com": 1}}}
    assert validate()["verdict"] == "pass"
    assert "Thing drill/one: no issuer" in check(validate(point=counted), "A01")["msg"]


def test_a_claim_that_nobody_uses_is_named(server: ApiServer, validate: Validate) -> None:
    storage = thing("StorageClass", "later", "storage.k8s.io/v1", volumeBindingMode="WaitForFirstConsumer")
    claim = thing("PersistentVolumeClaim", "spare", spec={"storageClassName": "later"}, status={"phase": "Pending"})
    server.add(*workload(1), storage, claim)
    first = check(validate(), "A01")
    assert first["result"] == "pass"
    assert "when a pod mounts it" in first["details"]["not_waited_for"]["PersistentVolumeClaim drill/spare"]


def test_a_check_without_a_namespace_means_the_first_of_the_application(validate: Validate) -> None:
    check = {"name": "it answers", "kind": "http", "service": "web", "port": 80}
    result = validate(
        application={"name": "shop", "namespaces": ["shop", "data"], "checks": [check]},
        namespaces={"data": "data-drill", "shop": "shop-drill"},
    )
    (found,) = [one for one in result["checks"] if one["name"] == "it answers"]
    assert "shop-drill/web" in found["msg"], found
