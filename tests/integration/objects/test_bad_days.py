# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a capture and of a restore, each on the two real sites."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from ..sites import (
    JSON,
    ROOT,
    Site,
    bed,
    config_maps,
    entries,
    kill,
    result_of,
    settings,
    thing,
    wait_until,
)
from .conftest import Capture, serving

MANY = 1200


def writes(site: Site) -> int:
    """Requests that the API server has counted that write configmaps."""
    total = 0.0
    for line in site.kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith("apiserver_request_total") and 'resource="configmaps"' in line and 'verb="POST"' in line:
            total += float(line.rpartition(" ")[2])
    return int(total)


def restored(site: Site, namespace: str) -> int:
    return sum("/c0" in name for name in site.names("configmaps", namespace))


# -- the API server and the network -----------------------------------------------------------------------------------


@pytest.mark.alone
def test_the_api_server_crashes_during_a_capture(east: Site, west: Site, namespace: str, tmp_path: Path) -> None:
    """An extension API whose list does not answer holds the capture in its midst."""
    group, asked, go_on, armed = f"{namespace}.example.com", threading.Event(), threading.Event(), threading.Event()
    kind = {"name": "slows", "singularName": "slow", "kind": "Slow", "namespaced": True, "verbs": ["list", "get"]}
    served = thing(
        "Slow", "one", namespace, f"{group}/v1", spec={"a": 1}, metadata={"uid": "1", "resourceVersion": "1"}
    )

    def answer(_method: str, path: str, _body: JSON) -> tuple[int, JSON]:
        if path == f"/apis/{group}/v1":
            return 200, {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/v1",
                "resources": [kind],
            }
        if not path.endswith("/slows"):
            return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
        if armed.is_set() and not asked.is_set():
            asked.set()
            go_on.wait(60)
        listed = {"metadata": {"resourceVersion": "1"}, "items": [served]}
        return 200, {"kind": "SlowList", "apiVersion": f"{group}/v1", **listed}

    name = f"v1.{group}"
    east.apply(*config_maps(namespace, 100))
    options = {"site": "east", "point": "p", "application": {"name": "bad-day", "namespaces": [namespace]}}
    with serving(east, tmp_path, answer) as server:
        external = {"type": "ExternalName", "externalName": server["host"]}
        spec = {
            "group": group,
            "version": "v1",
            "service": {"namespace": namespace, "name": "slow", "port": server["port"]},
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        }
        east.apply(
            thing("Service", "slow", namespace, spec=external),
            thing("APIService", name, api_version="apiregistration.k8s.io/v1", spec=spec),
        )
        try:
            east.kubectl("wait", "--for=condition=Available", f"apiservice/{name}", "--timeout=60s")
            before = east.run("k8s_snapshot", **options)
            assert not before["failed"] and before["counts"][f"slows.{group}"] == 1, before["msg"]
            armed.set()
            started = east.start("k8s_snapshot", **options)
            assert asked.wait(60)
            bed("crash-api", "east")
            go_on.set()
            after = result_of(started)
        finally:
            east.kubectl("delete", "apiservice", name, "--ignore-not-found")
    assert not after["failed"], after["msg"]
    assert after["counts"] == before["counts"] and after["incomplete"] == before["incomplete"] == []


@pytest.mark.alone
def test_the_api_server_crashes_during_a_restore(east: Site, west: Site, namespace: str, capture: Capture) -> None:
    east.apply(*config_maps(namespace, MANY))
    options = capture()
    started = west.start("k8s_restore", **options)
    wait_until(lambda: namespace in west.kubectl("get", "namespaces") and restored(west, namespace) > 50)
    bed("crash-api", "west")
    result = result_of(started)
    assert not result.get("failed") and result["status"] == "completed", result["msg"]
    assert restored(west, namespace) == MANY
    assert west.run("k8s_restore", **options)["changed"] is False


@pytest.mark.alone
@pytest.mark.nightly
def test_the_network_is_gone_for_30_seconds_during_a_restore(
    east: Site, west: Site, namespace: str, capture: Capture
) -> None:
    east.apply(*config_maps(namespace, MANY))
    options = capture()
    started = west.start("k8s_restore", **options)
    wait_until(lambda: namespace in west.kubectl("get", "namespaces") and restored(west, namespace) > 50)
    bed("partition", "west", "control")
    try:
        time.sleep(30)
    finally:
        bed("heal")
    result = result_of(started)
    assert not result.get("failed") and result["status"] == "completed", result["msg"]
    assert restored(west, namespace) == MANY
    assert west.run("k8s_restore", **options)["changed"] is False


@pytest.mark.alone
def test_a_run_that_is_killed_converges(east: Site, west: Site, namespace: str, capture: Capture) -> None:
    east.apply(*config_maps(namespace, MANY))
    options = capture()
    started = west.start("k8s_restore", **options)
    wait_until(lambda: namespace in west.kubectl("get", "namespaces") and restored(west, namespace) > 50)
    kill(started)
    assert 0 < restored(west, namespace) < MANY
    result = west.run("k8s_restore", **options)
    assert not result.get("failed") and result["status"] == "completed", result["msg"]
    assert restored(west, namespace) == MANY and west.names("leases", namespace) == []
    before = writes(west)
    assert west.run("k8s_restore", **options)["changed"] is False
    assert writes(west) == before


def test_a_second_restore_names_the_holder_of_the_lock(
    east: Site, west: Site, namespace: str, capture: Capture, webhook: Any
) -> None:
    east.apply(*config_maps(namespace, 10))
    options = {**capture(), "existing": "keep"}
    west.kubectl("create", "namespace", namespace)
    begun, go_on = threading.Event(), threading.Event()

    def hold(request: JSON) -> bool:
        if not request.get("dryRun"):
            begun.set()
            go_on.wait(28)
        return True

    with webhook(hold, timeout=30):
        first = west.start("k8s_restore", **options)
        assert begun.wait(60)
        holder = west.get("lease", "muster-restore", "-n", namespace)["spec"]["holderIdentity"]
        second = west.run("k8s_restore", **options)
        go_on.set()
        result = result_of(first)
    assert second["failed"] and f"{holder} restores into it since" in second["msg"], second["msg"]
    assert second["changed"] is False
    assert not result["failed"] and restored(west, namespace) == 10


# -- admission --------------------------------------------------------------------------------------------------------


def test_a_webhook_that_refuses_is_named_beforehand(
    east: Site, west: Site, namespace: str, capture: Capture, webhook: Any
) -> None:
    east.apply(*config_maps(namespace, 4))
    options = {**capture(), "existing": "keep"}
    west.kubectl("create", "namespace", namespace)
    with webhook(lambda request: request["name"] != "c00002"):
        plan = west.run("k8s_restore", check=True, **options)
        done = west.run("k8s_restore", **options)
    for result in (plan, done):
        refused = entries(result)[f"{namespace}/configmaps/c00002"]
        assert refused["action"] == "blocked" and "not on my watch" in refused["reason"]
    assert done["failed"] and done["status"] == "partial" and restored(west, namespace) == 3
    assert west.run("k8s_restore", **options)["counts"]["create"] == 1


def test_a_webhook_that_times_out_holds_up_what_it_is_called_for(
    east: Site, west: Site, namespace: str, capture: Capture, webhook: Any
) -> None:
    east.apply(*config_maps(namespace, 3), thing("Secret", "free", namespace, stringData={"a": "1"}))
    options = {**capture(), "existing": "keep"}
    west.kubectl("create", "namespace", namespace)

    def hang(request: JSON) -> bool:
        time.sleep(6)
        return True

    with webhook(hang, timeout=2):
        done = west.run("k8s_restore", **options)
    assert done["failed"] and done["status"] == "partial"
    for index in range(3):
        stuck = entries(done)[f"{namespace}/configmaps/c0000{index}"]
        assert "webhook" in stuck["msg"] and f"{namespace}.example.com" in stuck["msg"], stuck
    assert "secret/free" in west.names("secrets", namespace)
    again = west.run("k8s_restore", **options)
    assert again["status"] == "completed" and again["counts"]["create"] == 3


def test_a_definition_that_vanishes_between_plan_and_run(
    east: Site, west: Site, namespace: str, capture: Capture, webhook: Any
) -> None:
    group = f"{namespace}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = thing(
        "CustomResourceDefinition",
        f"widgets.{group}",
        api_version="apiextensions.k8s.io/v1",
        spec={
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    )
    for site in (east, west):
        site.apply(definition)
        site.kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}", "--timeout=30s")
    try:
        east.apply(thing("Widget", "w", namespace, f"{group}/v1", spec={"a": 1}), *config_maps(namespace, 1))
        options = {**capture(), "existing": "keep"}
        west.kubectl("create", "namespace", namespace)
        once = threading.Lock()

        def remove(request: JSON) -> bool:
            # The first object is being written, so the plan is made.
            if not request.get("dryRun") and once.acquire(blocking=False):
                west.kubectl("delete", "crd", f"widgets.{group}", "--wait=true")
            return True

        with webhook(remove, timeout=30):
            done = west.run("k8s_restore", **options)
        lost = entries(done)[f"{namespace}/widgets.{group}/w"]
        assert done["failed"] and done["status"] == "partial" and lost["failed"], lost
        assert restored(west, namespace) == 1
        again = west.run("k8s_restore", **options)
        assert again["status"] == "completed" and west.names(f"widgets.{group}", namespace) == [f"widget.{group}/w"]
    finally:
        for site in (east, west):
            site.kubectl("delete", "crd", f"widgets.{group}", "--ignore-not-found", "--wait=false")


def test_an_identity_that_loses_a_permission_halfway(
    east: Site, west: Site, namespace: str, capture: Capture, webhook: Any, tmp_path: Path
) -> None:
    east.apply(*config_maps(namespace, 1), thing("Service", "later", namespace, spec={"ports": [{"port": 80}]}))
    options = {**capture(), "existing": "keep"}
    west.kubectl("create", "namespace", namespace)
    west.kubectl("create", "serviceaccount", "restorer", "-n", namespace)
    west.kubectl("apply", "-f", str(Path(__file__).resolve().parents[3] / "docs" / "rbac" / "restore.yml"))
    west.kubectl(
        "create",
        "clusterrolebinding",
        namespace,
        "--clusterrole=muster-container-dr-restore",
        f"--serviceaccount={namespace}:restorer",
    )
    token = west.kubectl("create", "token", "restorer", "-n", namespace).strip()
    config = yaml.safe_load(Path(west.kubeconfig).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token}
    once = threading.Lock()

    def revoke(request: JSON) -> bool:
        if not request.get("dryRun") and once.acquire(blocking=False):
            west.kubectl("delete", "clusterrolebinding", namespace)
            time.sleep(2)
        return True

    try:
        with webhook(revoke, timeout=30):
            done = west.run("k8s_restore", **{**options, "kubeconfig": config})
        assert done["failed"] and done["status"] == "partial"
        refused = entries(done)[f"{namespace}/services/later"]
        assert refused["action"] == "blocked" and "forbidden" in refused["msg"].lower(), refused
        assert token not in json.dumps(done)
        assert west.run("k8s_restore", **options)["status"] == "completed"
    finally:
        west.kubectl("delete", "clusterrolebinding", namespace, "--ignore-not-found")


# -- what is in the way -----------------------------------------------------------------------------------------------


def test_a_namespace_that_is_stuck_terminating(east: Site, west: Site, namespace: str, capture: Capture) -> None:
    east.apply(*config_maps(namespace, 1))
    options = capture()
    west.kubectl("create", "namespace", namespace)
    west.apply(thing("ConfigMap", "stuck", namespace, metadata={"finalizers": ["example.com/never"]}))
    west.kubectl("delete", "namespace", namespace, "--wait=false")
    try:
        for check in (True, False):
            result = west.run("k8s_restore", check=check, **options)
            assert result["failed"] and f"namespace {namespace}" in result["msg"] and "deleted" in result["msg"]
    finally:
        west.kubectl(
            "patch", "configmap", "stuck", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
        )
    wait_until(lambda: namespace not in west.kubectl("get", "namespaces"))
    assert west.run("k8s_restore", **options)["status"] == "completed"


@pytest.mark.nightly
def test_a_quota_that_is_reached_at_object_500_of_1000(
    east: Site, west: Site, namespace: str, capture: Capture
) -> None:
    east.apply(*config_maps(namespace, 1000))
    options = {**capture(), "existing": "keep"}
    west.kubectl("create", "namespace", namespace)
    wait_until(lambda: bool(west.names("configmaps", namespace)))
    # kube-root-ca.crt counts as well.
    west.apply(thing("ResourceQuota", "half", namespace, spec={"hard": {"count/configmaps": "501"}}))
    wait_until(lambda: "used" in west.get("resourcequota", "half", "-n", namespace).get("status", {}))
    plan = west.run("k8s_restore", check=True, **options)
    done = west.run("k8s_restore", **options)
    assert plan["counts"] == done["counts"] and done["counts"]["blocked"] == 500 and done["status"] == "partial"
    assert restored(west, namespace) == 500
    blocked = [name for name, entry in entries(done).items() if entry["action"] == "blocked"]
    assert "half" in entries(done)[blocked[0]]["reason"]
    assert blocked == [name for name, entry in entries(plan).items() if entry["action"] == "blocked"]
    west.kubectl("delete", "resourcequota", "half", "-n", namespace)
    again = west.run("k8s_restore", **options)
    assert again["status"] == "completed" and restored(west, namespace) == 1000


# -- recovery points --------------------------------------------------------------------------------------------------


def playbook(name: str, **variables: Any) -> tuple[int, str]:
    """Exit code, and all that it printed on one line."""
    program = [ROOT / "tools" / "run", "ansible-playbook", "-i", ROOT / "tests" / "sites" / "inventory"]
    command = [*program, f"muster.container_dr.{name}", "-e", json.dumps(variables)]
    done = subprocess.run(command, env=settings(), capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.nightly
def test_a_point_that_is_not_what_was_sealed_is_refused_before_anything_is_applied(
    east: Site, namespace: str, facts: JSON, tmp_path: Path
) -> None:
    registry, labels = east.facts["registry"], {"app": "api"}
    password = Path(registry["password_file"]).read_text(encoding="utf-8").strip()
    login = [f"--docker-server={registry['name']}", f"--docker-username={registry['username']}"]
    east.kubectl(
        "create", "secret", "docker-registry", "pull", "-n", namespace, *login, f"--docker-password={password}"
    )
    container = {"name": "c", "image": east.facts["mover_image"], "command": ["sleep", "3600"]}
    pod = {"containers": [container], "imagePullSecrets": [{"name": "pull"}], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    east.apply(*config_maps(namespace, 2), thing("Deployment", "api", namespace, "apps/v1", spec=spec))
    east.kubectl("rollout", "status", "deployment/api", "-n", namespace, "--timeout=120s")
    s3 = facts["sites"]["east"]["s3"]
    bucket, copy = "muster", f"{namespace}-copy"
    store = boto3.client(
        "s3",
        endpoint_url=s3["endpoint_url"],
        region_name=s3["region"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=Path(s3["secret_key_file"]).read_text(encoding="utf-8").strip(),
        verify=facts["ca_file"],
    )
    applications = [{"name": name, "namespaces": [namespace]} for name in (namespace, f"{namespace}-other")]
    code, said = playbook("backup", muster_applications=applications, backup_initialize=True)
    assert code == 0, said
    listed = store.list_objects_v2(Bucket=bucket, Prefix=f"store/applications/{namespace}")["Contents"]
    keys = [one["Key"] for one in listed if "/points/" in one["Key"]]
    (document,) = [key for key in keys if key.startswith(f"store/applications/{namespace}/") and key.endswith(".json")]
    (other,) = [key for key in keys if f"/{namespace}-other/" in key and key.endswith(".json")]
    sound = {
        key: store.get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in (document, f"{document}.sig", other, f"{other}.sig")
    }
    foreign = tmp_path / "foreign"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", foreign], check=True)
    (tmp_path / "document").write_bytes(sound[document])
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", foreign, "-n", "muster-recovery-point", tmp_path / "document"]
    subprocess.run(sign, check=True, stderr=subprocess.DEVNULL)
    moved = f"store/applications/{namespace}/points/{other.rpartition('/')[2]}"
    bad_days: dict[str, tuple[dict[str, bytes | None], str]] = {
        "truncated": ({document: sound[document][:300]}, "signature not valid"),
        "edited": ({document: sound[document].replace(b'"epoch": 1', b'"epoch": 2')}, "signature not valid"),
        "unsigned": ({f"{document}.sig": None}, "its signature is missing"),
        "signed by a stranger": ({f"{document}.sig": (tmp_path / "document.sig").read_bytes()}, "signature not valid"),
        "of another application": (
            {document: None, f"{document}.sig": None, moved: sound[other], f"{moved}.sig": sound[f"{other}.sig"]},
            "it is a point of another application",
        ),
    }

    def put(content: Mapping[str, bytes | None]) -> None:
        for key, data in content.items():
            if data is None:
                store.delete_object(Bucket=bucket, Key=key)
            else:
                store.put_object(Bucket=bucket, Key=key, Body=data)

    wanted = {
        "muster_at": "east",
        "muster_only": namespace,
        "muster_applications": applications,
        "restore_namespaces": {namespace: copy},
    }
    try:
        for what, (content, reason) in bad_days.items():
            put(content)
            code, said = playbook("restore", **wanted)
            assert code == 2 and f"Could not find usable recovery point of {namespace}" in said and reason in said, said
            assert copy not in east.kubectl("get", "namespaces"), what
            put(sound)
        put({moved: None, f"{moved}.sig": None})
        # What is sound passes a drill, though the application has no network policy of its own.
        drilled = {name: value for name, value in wanted.items() if name != "restore_namespaces"}
        code, said = playbook("drill", **drilled, drill_report_directory=str(tmp_path))
        assert code == 0 and "Verdict pass" in said, said
    finally:
        east.kubectl("delete", "namespace", copy, "--ignore-not-found", "--wait=false")
        put(dict.fromkeys([*sound, moved, f"{moved}.sig"]))


# -- names and values -------------------------------------------------------------------------------------------------

NASTY = {
    "yaml": "yes: !!python/object/apply:os.system ['true']\n--- &a *a\n\t%YAML 9\n",
    "jinja": "{{ lookup('pipe', 'touch .work/owned') }}{% raw %}",
    "shell": "$(touch /tmp/owned); `id` && \"quoted' \\",
    "html": "<script>alert(1)</script>&amp;<!--",
    "log": "\x1b[31mred\x1b[0m\r\nfatal: [west]: FAILED! => {}",
    "unicode": "\u202e\u2028\U0001f4a3 \u0000".rstrip("\u0000"),
    "json": '{"a": "\\u0000"}\\',
}


def test_names_and_values_that_are_chosen_to_break_things(
    east: Site, west: Site, namespace: str, capture: Capture
) -> None:
    # Names may hold anything but '/' and '%'; kubectl and the API take these for RBAC.
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    names = ["system:a:{{b}}", "$(id);'\"", "<b>&amp;", "a b\tc", "\u202e-\U0001f4a3", "..a", "-n"]
    made = [thing("Role", name, namespace, "rbac.authorization.k8s.io/v1", rules=rules) for name in names]
    made += [
        thing("ConfigMap", f"{key}-map", namespace, data={"value": value}, metadata={"annotations": {"note": value}})
        for key, value in NASTY.items()
    ]
    made.append(thing("Secret", "secret", namespace, stringData=NASTY))
    made.append(thing("ConfigMap", f"{'n' * 60}.{'m' * 180}.{'o' * 10}", namespace, data={"a": "1"}))
    east.apply(*made)
    options = capture()
    result = west.run("k8s_restore", **options)
    assert result["status"] == "completed", result["msg"]
    for kind in ("roles", "configmaps", "secrets"):
        at_east, at_west = (
            {
                item["metadata"]["name"]: {
                    **{field: item.get(field) for field in ("data", "rules")},
                    "annotations": item["metadata"].get("annotations"),
                }
                for item in site.get(kind, "-n", namespace)["items"]
                if item["metadata"]["name"] != "kube-root-ca.crt"
            }
            for site in (east, west)
        )
        assert at_west == at_east
    assert not Path("/tmp/owned").exists() and not Path(".work/owned").exists()
    assert west.run("k8s_restore", **options)["changed"] is False


# -- without us -------------------------------------------------------------------------------------------------------


def test_restic_and_kubectl_alone_bring_the_objects_back(
    east: Site, west: Site, namespace: str, capture: Capture, repository: JSON, tmp_path: Path
) -> None:
    """As the README says it: nothing of the collection is used after the capture."""
    labels = {"app": "api"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    east.apply(
        *config_maps(namespace, 3),
        thing("Secret", "secret", namespace, stringData={"password": "canary"}),
        thing("ServiceAccount", "api", namespace),
        thing("Service", "api", namespace, spec={"ports": [{"port": 80}], "selector": labels}),
        thing(
            "Deployment",
            "api",
            namespace,
            "apps/v1",
            spec={"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
        ),
    )
    tree = capture()["snapshot"]
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": repository["url"],
        "RESTIC_PASSWORD_FILE": repository["password_file"],
        "AWS_ACCESS_KEY_ID": repository["access_key"],
        "AWS_SECRET_ACCESS_KEY": repository["secret_key"],
        "AWS_DEFAULT_REGION": repository["region"],
        "RESTIC_CACERT": repository["ca_cert"],
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    listed = subprocess.run(
        [repository["restic"], "snapshots", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    (snapshot,) = {one["id"] for one in json.loads(listed.stdout) if one["tree"] == tree}
    subprocess.run(
        [repository["restic"], "restore", snapshot, "--target", str(tmp_path / "out")], env=environment, check=True
    )
    folder = next((tmp_path / "out").rglob("namespaces")) / namespace
    services = json.loads((folder / "services.json").read_text(encoding="utf-8"))
    for item in services["items"]:
        # The sites' service networks differ, so the old addresses are none here.
        del item["spec"]["clusterIP"], item["spec"]["clusterIPs"]
    (folder / "services.json").write_text(json.dumps(services), encoding="utf-8")
    west.kubectl("create", "namespace", namespace)
    # What every namespace has already is refused for its version, and stays as it is.
    said = west.kubectl("apply", "-f", str(folder), fails=True)
    assert said.count("Error") == 1 and 'serviceaccounts "default"' in said, said
    assert "service/api" in west.names("services", namespace)
    assert restored(west, namespace) == 3
    assert "deployment.apps/api" in west.names("deployments", namespace)
    assert west.get("secret", "secret", "-n", namespace)["data"]["password"] == "Y2FuYXJ5"
