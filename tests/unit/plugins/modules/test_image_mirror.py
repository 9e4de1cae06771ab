# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's own main against registries on loopback and a cluster in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from fakes.cluster import FakeCluster
from fakes.copying import alone
from fakes.registry import MANIFEST, FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import image_fields
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiDenied, ApiError
from ansible_collections.muster.container_dr.plugins.module_utils._oci import mirror as mirror_module
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone(monkeypatch, tmp_path)


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="bearer", users={"muster": "canary-word"}) as registry:
        yield registry


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, east: FakeRegistry) -> FakeCluster:
    secret = json.dumps({"auths": {east.host: {"auth": base64.b64encode(b"muster:canary-word").decode()}}})
    fake = FakeCluster(
        {
            "/api/v1/namespaces": [{"metadata": {"name": "shop"}}],
            "/api/v1/namespaces/shop/serviceaccounts": [
                {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]}
            ],
            "/api/v1/namespaces/shop/secrets": [
                {
                    "metadata": {"name": "pull"},
                    "data": {".dockerconfigjson": base64.b64encode(secret.encode()).decode()},
                }
            ],
        }
    )
    monkeypatch.setattr(mirror_module.Cluster, "connect", lambda _params: fake)
    return fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], east: FakeRegistry, west: FakeRegistry) -> Run:
    def call(*, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "sources": [{"name": east.host, "plain_http": True}],
            "workers": 2,
            "_ansible_check_mode": check,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_mirror.main()
        captured = capsys.readouterr()
        assert "canary" not in captured.out
        result: dict[str, Any] = json.loads(captured.out)
        return result

    return call


APPLICATION = {"name": "shop", "namespaces": ["shop"]}


def pod(cluster: FakeCluster, name: str, image: str, image_id: str, *, phase: str = "Running", **more: Any) -> None:
    cluster.collections.setdefault("/api/v1/namespaces/shop/pods", []).append(
        {
            "metadata": {"name": name, **more},
            "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": image}]},
            "status": {"phase": phase, "containerStatuses": [{"name": "web", "imageID": image_id}]},
        }
    )


def template(cluster: FakeCluster, resource: str, name: str, image: str) -> None:
    version = "batch/v1" if resource == "cronjobs" else "apps/v1"
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    if resource == "cronjobs":
        spec = {"jobTemplate": {"spec": spec}}
    cluster.collections.setdefault(f"/apis/{version}/namespaces/shop/{resource}", []).append(
        {"metadata": {"name": name}, "spec": spec}
    )


def test_namespaces_are_names_and_globs(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    image = east.image("shop/web", "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}")
    exact = run(application=APPLICATION)["images"]
    assert len(exact) == 1 and run(application={"name": "shop", "namespaces": ["sh*"]})["images"] == exact
    cluster.collections["/api/v1/namespaces"].append({"metadata": {"name": "shell"}})
    wanted = {"name": "shop", "namespaces": ["sh*"], "exclude_namespaces": ["shop"]}
    assert run(application=wanted)["images"] == []


def test_the_whole_way(cluster: FakeCluster, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    image = east.image("shop/web", "1", layers=(b"one", b"two"))
    name = f"{east.host}/shop/web:1"
    pod(cluster, "web-1", name, f"{east.host}/shop/web@{image['digest']}")
    resolved = run(application=APPLICATION)
    assert not resolved["changed"]
    (entry,) = resolved["images"]
    assert entry["digest"] == image["digest"]
    assert entry["resolved_by"] == "image_id"
    assert entry["platforms"] == ["linux/amd64"]
    assert (entry["used_by"], entry["nodes"]) == (["shop/pods/web-1:web"], ["node-1"])
    assert entry["size"] > image["size"]
    target = {"name": f"{west.host}/backup", "plain_http": True}
    planned = run(application=APPLICATION, images=resolved["images"], target=target, check=True)
    assert planned["changed"]
    assert west.writes() == []
    copied = run(application=APPLICATION, images=resolved["images"], target=target)
    assert (copied["changed"], copied["bytes_copied"]) == (True, planned["bytes_copied"])
    path = f"{east.host.replace(':', '-')}/shop/web"
    assert copied["images"][0]["path"] == path
    assert copied["images"][0]["target"] == f"{west.host}/backup/{path}@{image['digest']}"
    again = run(application=APPLICATION, images=resolved["images"], target=target)
    assert (again["changed"], again["bytes_copied"], again["unchanged"]) == (False, 0, 1)
    assert run(images=copied["images"], target=target, verify="digests")["failures"] == 0
    onward = {"name": f"{west.host}/second", "plain_http": True}
    assert run(images=copied["images"], target=onward, **{"from": target})["changed"]
    west.repositories[f"backup/{path}"].blobs.clear()
    broken = run(images=copied["images"], target=target, verify="digests")
    assert broken["failed"]
    assert "does not have configuration" in broken["msg"]
    assert broken["images"][0]["failed"]


def test_a_configuration_that_nobody_can_read_names_no_platform(
    cluster: FakeCluster, east: FakeRegistry, run: Run
) -> None:
    config = east.blob("shop/web", b"[" * 200_000)
    image = east.manifest("shop/web", {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}, "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}")
    (entry,) = run(application=APPLICATION)["images"]
    assert not entry["failed"] and entry["platforms"] == []


def test_a_moved_tag_is_reported_and_what_runs_is_used(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    old = east.image("shop/web", "1", layers=(b"old",))
    new = east.image("shop/web", "1", layers=(b"new",))
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{old['digest']}")
    result = run(application=APPLICATION)
    (entry,) = result["images"]
    assert (entry["digest"], entry["tag_digest"]) == (old["digest"], new["digest"])
    assert old["digest"] in entry["msg"]
    assert new["digest"] in entry["msg"]
    assert any(new["digest"] in str(warning) for warning in result["warnings"])


def test_a_tag_that_no_longer_resolves_to_what_runs(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    old = east.image("shop/web", "1", layers=(b"old",))
    new = east.image("shop/web", "1", layers=(b"new",))
    del east.repository("shop/web").manifests[old["digest"]]
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{old['digest']}")
    result = run(application=APPLICATION)
    assert result["failed"]
    assert old["digest"] in result["msg"]
    assert new["digest"] in result["msg"]
    assert result["images"][0]["resolved_by"] == "unresolved"
    assert not run(application=APPLICATION, allow_unresolved=True).get("failed")


def test_the_index_is_preferred_to_the_platform_that_the_node_names(
    cluster: FakeCluster, east: FakeRegistry, run: Run
) -> None:
    child = {**east.image("shop/web"), "platform": {"os": "linux", "architecture": "amd64"}}
    root = east.index("shop/web", [child], "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{child['digest']}")
    assert run(application=APPLICATION)["images"][0]["digest"] == root["digest"]


def test_the_index_may_have_the_platform_in_an_index_below(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    child = east.image("shop/web")
    root = east.index("shop/web", [east.index("shop/web", [child])], "1")
    name, config = (
        f"{east.host}/shop/web:1",
        json.loads(east.repository("shop/web").manifests[child["digest"]][0])["config"],
    )
    pod(cluster, "web-1", name, f"{east.host}/shop/web@{child['digest']}")
    (entry,) = run(application=APPLICATION)["images"]
    assert (entry["digest"], entry["tag_digest"]) == (root["digest"], None)
    cluster.collections["/api/v1/namespaces/shop/pods"].clear()
    pod(cluster, "web-1", name, config["digest"])
    (entry,) = run(application=APPLICATION)["images"]
    assert (entry["digest"], entry["resolved_by"]) == (root["digest"], "config_digest")


def test_the_other_rungs(cluster: FakeCluster, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    image = east.image("shop/web", "1")
    config = json.loads(east.repository("shop/web").manifests[image["digest"]][0])["config"]["digest"]
    elsewhere = east.image("other/web", "1", layers=(b"elsewhere",))
    kept = west.image("backup/" + f"{east.host.replace(':', '-')}/shop/gone", layers=(b"kept",))
    pod(cluster, "a", f"{east.host}/shop/web@{image['digest']}", "")
    pod(cluster, "b", f"{east.host}/shop/web:1", config)
    pod(cluster, "c", f"{east.host}/shop/renamed:1", f"{east.host}/other/web@{elsewhere['digest']}")
    pod(cluster, "d", f"{east.host}/shop/gone:1", f"{east.host}/shop/gone@{kept['digest']}")
    result = run(application=APPLICATION, mirrors=[{"name": f"{west.host}/backup", "plain_http": True}])
    assert {entry["used_by"][0][10]: entry["resolved_by"] for entry in result["images"]} == {
        "a": "spec_digest",
        "b": "config_digest",
        "c": "image_id_repository",
        "d": "mirror",
    }


def test_a_layout_gives_what_the_registry_lost(
    cluster: FakeCluster, east: FakeRegistry, west: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    image = east.image("shop/web", "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}")
    layout = {"name": f"oci:{tmp_path}"}
    assert run(application=APPLICATION, target=layout)["changed"]
    east.repositories.clear()
    resolved = run(application=APPLICATION, mirrors=[layout])
    (entry,) = resolved["images"]
    path = f"{east.host.replace(':', '-')}/shop/web"
    assert (entry["resolved_by"], entry["repository"]) == ("mirror", f"oci:{tmp_path}:{path}")
    assert entry["platforms"] == ["linux/amd64"]
    target = {"name": f"{west.host}/backup", "plain_http": True}
    copied = run(images=resolved["images"], mirrors=[layout], target=target)
    assert copied["images"][0]["path"] == path
    assert image["digest"] in west.repository(f"backup/{path}").manifests


def test_what_runs_is_never_a_file(cluster: FakeCluster, run: Run, tmp_path: Path) -> None:
    """Who may write a workload must not have files of this machine copied by their names."""
    pod(cluster, "web-1", f"oci:{tmp_path}:web:1", "")
    result = run(application=APPLICATION)
    assert result["images"][0]["resolved_by"] == "unresolved"
    again = run(images=result["images"], target={"name": "x.example.com"})
    assert "Could not read image name" in again["images"][0]["msg"]


def test_what_does_not_run(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    image = east.image("shop/web", "1")
    last = east.image("shop/job", "1", layers=(b"last",))
    east.image("shop/job", "1", layers=(b"newer",))
    template(cluster, "deployments", "idle", f"{east.host}/shop/web:1")
    template(cluster, "cronjobs", "nightly", f"{east.host}/shop/job:1")
    owner = [{"controller": True, "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly"}]
    cluster.collections["/apis/batch/v1/namespaces/shop/jobs"] = [
        {"metadata": {"name": "nightly-1", "ownerReferences": owner}, "spec": {}}
    ]
    of_job = [{"controller": True, "apiVersion": "batch/v1", "kind": "Job", "name": "nightly-1"}]
    ran = f"{east.host}/shop/job@{last['digest']}"
    pod(cluster, "x", f"{east.host}/shop/job:1", ran, phase="Succeeded", ownerReferences=of_job)
    job, web = run(application=APPLICATION)["images"]
    assert (web["digest"], web["resolved_by"]) == (image["digest"], "tag")
    assert web["used_by"] == ["shop/deployments/idle:web"]
    assert (job["digest"], job["resolved_by"]) == (last["digest"], "image_id")
    assert job["used_by"] == ["shop/cronjobs/nightly:web"]


def test_a_kind_of_another_group_is_not_the_built_in_one_of_that_name(
    cluster: FakeCluster, east: FakeRegistry, run: Run
) -> None:
    first, other = east.image("shop/web", "1"), east.image("shop/web", "2", layers=(b"other",))
    template(cluster, "statefulsets", "web", f"{east.host}/shop/web:1")
    owner = [{"controller": True, "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web"}]
    written = f"{east.host}/shop/web:1"
    pod(cluster, "web-0", written, f"{east.host}/shop/web@{other['digest']}", ownerReferences=owner)
    images = run(application=APPLICATION)["images"]
    assert {entry["digest"]: entry["used_by"] for entry in images} == {
        first["digest"]: ["shop/statefulsets/web:web"],
        other["digest"]: ["shop/pods/web-0:web"],
    }


@pytest.mark.parametrize("denied", [False, True])
def test_every_kind_is_listed_once_and_pod_templates_use_images_too(
    cluster: FakeCluster, east: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch, denied: bool
) -> None:
    east.image("shop/web", "1")
    template(cluster, "deployments", "idle", f"{east.host}/shop/web:1")
    containers = [{"name": "web", "image": f"{east.host}/shop/web:1"}]
    cluster.collections["/api/v1/namespaces/shop/podtemplates"] = [
        {"metadata": {"name": "worker"}, "template": {"spec": {"containers": containers}}}
    ]
    listed: list[str] = []
    items = cluster.list

    def counted(path: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        listed.append(path)
        if denied and path.endswith("/podtemplates"):
            raise ApiDenied("list", path, 403, {"message": "not for you"})
        return items(path, query)

    monkeypatch.setattr(cluster, "list", counted)
    result = run(application=APPLICATION)
    # Its registry wants the login of the namespace's pull secret.
    (entry,) = result["images"]
    users = ["shop/deployments/idle:web"] + ([] if denied else ["shop/podtemplates/worker:web"])
    assert (entry["resolved_by"], entry["used_by"]) == ("tag", users)
    assert len(listed) == len(set(listed))
    words = "What podtemplates in namespace shop name is not looked for, images and pull secrets: not for you"
    assert (words in str(result.get("warnings"))) is denied


def custom(cluster: FakeCluster, key: str, *specs: dict[str, Any]) -> None:
    """Custom resources ``c0``, ``c1``, … of a kind that the cluster then serves."""
    resource, _dot, group = key.partition(".")
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    cluster.answers["/apis"]["groups"].append({"name": group, "versions": [version], "preferredVersion": version})
    kind = {"name": resource, "kind": "Any", "namespaced": True, "verbs": ["get", "list", "create"]}
    cluster.answers[f"/apis/{group}/v1"] = {"resources": [kind]}
    cluster.collections[f"/apis/{group}/v1/namespaces/shop/{resource}"] = [
        {"metadata": {"name": f"c{number}"}, "spec": spec} for number, spec in enumerate(specs)
    ]


def test_images_that_custom_resources_name(cluster: FakeCluster, east: FakeRegistry, run: Run) -> None:
    name = f"{east.host}/shop"
    for repository in ("postgres", "web", "own", "unknown"):
        east.image(f"shop/{repository}", "1")
    running = east.image("shop/postgres", "2", layers=(b"two",))
    pod(cluster, "db-1", f"{name}/postgres:2", f"{name}/postgres@{running['digest']}")
    custom(
        cluster, "clusters.postgresql.cnpg.io", {"imageName": f"{name}/postgres:2"}, {"imageName": f"{name}/postgres:1"}
    )
    container = {"name": "web", "image": f"{name}/web:1"}
    custom(cluster, "rollouts.argoproj.io", {"template": {"spec": {"containers": [container]}}}, {"replicas": 0})
    custom(cluster, "shops.example.com", {"parts": [{"runs": f"{name}/own:1", "image": f"{name}/unknown:1"}]})
    fields = [{"kinds": "*.example.com", "path": "/spec/parts/*/runs"}]
    found = run(application={**APPLICATION, "image_fields": fields})["images"]
    assert {entry["name"].removeprefix(name): (entry["resolved_by"], entry["used_by"]) for entry in found} == {
        "/postgres:2": ("image_id", ["shop/pods/db-1:web"]),
        "/postgres:1": ("tag", ["shop/clusters/c1:/spec/imageName"]),
        "/web:1": ("tag", ["shop/rollouts/c0:/spec/template/spec/containers/0/image"]),
        "/own:1": ("tag", ["shop/shops/c0:/spec/parts/0/runs"]),
    }
    assert len(run(application=APPLICATION)["images"]) == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("shops", "it is no list"),
        ([{"kinds": "shops.example.com"}], "entry 1 of image_fields"),
        ([{"kinds": "a.b", "path": "/spec/image"}, {"kinds": "a.b", "path": "spec.image"}], "entry 2 of image_fields"),
        ([{"kinds": [], "path": "/spec/image"}], "kinds is []"),
        ([{"kinds": "a.b", "path": ""}], "path is empty"),
    ],
)
def test_image_fields_that_cannot_be_used(cluster: FakeCluster, run: Run, fields: Any, reason: str) -> None:
    result = run(application={**APPLICATION, "image_fields": fields})
    assert result["failed"] and reason in result["msg"]


def test_custom_resources_that_may_not_be_listed_are_named(
    cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom(cluster, "clusters.postgresql.cnpg.io", {"imageName": "a/b:1"})
    listed = cluster.list

    def denied(path: str, query: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        if "postgresql" in path:
            raise ApiDenied("list", path, 403, {"message": "not for you"})
        return listed(path, query)

    monkeypatch.setattr(cluster, "list", denied)
    result = run(application=APPLICATION)
    assert not result.get("failed")
    assert any("clusters.postgresql.cnpg.io in namespace shop" in str(warning) for warning in result["warnings"])


def test_only_apis_that_may_name_images_are_asked_and_one_that_is_broken_is_named(
    cluster: FakeCluster, east: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    east.image("shop/web", "1")
    for key in ("clusters.postgresql.cnpg.io", "rollouts.argoproj.io", "pods.metrics.example.net", "shops.example.com"):
        custom(cluster, key, {"imageName": f"{east.host}/shop/web:1"})
    asked, get = [], cluster.get

    def answer(path: str, *args: Any, **options: Any) -> dict[str, Any]:
        asked.append(path)
        if "argoproj" in path or "metrics" in path:
            raise ApiError("discover", path, 503, {"message": "its backend is away"})
        return get(path, *args, **options)

    monkeypatch.setattr(cluster, "get", answer)
    fields = [{"kinds": ["sh*.example.com", "configmaps"], "path": "/spec/imageName"}]
    result = run(application={**APPLICATION, "image_fields": fields})
    assert not result.get("failed")
    assert result["images"][0]["used_by"] == ["shop/clusters/c0:/spec/imageName", "shop/shops/c0:/spec/imageName"]
    warnings = [str(warning) for warning in result["warnings"]]
    assert any("API argoproj.io/v1 name are not looked for" in warning for warning in warnings)
    assert "/apis/metrics.example.net/v1" not in asked


@pytest.mark.parametrize(
    ("kind", "group", "meant"),
    [
        ("a.example.com", "example.com", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "b.example.com", True),
        ("a*.example.com", "b.example.com", True),
        ("a*e.com", "b.example.com", True),
        ("?.example.com", "example.com", True),
        ("[ab].example.com", "example.com", True),
        ("*.example.com", "", False),
        ("configmaps", "", True),
        ("configmaps", "example.com", False),
        ("*", "example.com", True),
        ("*", "", True),
    ],
)
def test_which_apis_a_glob_of_kinds_may_mean(kind: str, group: str, meant: bool) -> None:
    assert image_fields.of_option([{"kinds": kind, "path": "/image"}])[0].in_group(group) is meant


def test_copies_of_ours_keep_their_path(cluster: FakeCluster, west: FakeRegistry, run: Run) -> None:
    image = west.image("backup/10.0.0.1-5000/shop/web")
    pod(cluster, "web-1", f"{west.host}/backup/10.0.0.1-5000/shop/web@{image['digest']}", "")
    target = {"name": f"{west.host}/backup", "plain_http": True}
    result = run(application=APPLICATION, target=target)
    assert result["images"][0]["path"] == "10.0.0.1-5000/shop/web"
    assert result["bytes_copied"] == 0


def test_images_that_the_application_leaves_out_are_named_and_not_asked_for(
    cluster: FakeCluster, east: FakeRegistry, west: FakeRegistry, run: Run
) -> None:
    image = east.image("shop/web", "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}")
    for name in ("a", "b"):
        pod(cluster, f"tools-{name}", "127.0.0.1:1/shop/tools:1", "")
    pod(cluster, "proxy-1", "nginx", "")
    rules = [
        {"pattern": "127.0.0.1:1/shop/*", "reason": "every node builds it"},
        {"pattern": "*/library/nginx", "reason": "is public"},
        {"pattern": "*tools*", "reason": "too late"},
    ]
    application = {**APPLICATION, "images": {"exclude": rules}}
    resolved = run(application=application)
    assert [entry["name"] for entry in resolved["images"]] == [f"{east.host}/shop/web:1"]
    assert resolved["excluded"] == [
        {"what": "image:127.0.0.1:1/shop/tools:1", "why": "every node builds it"},
        {"what": "image:nginx", "why": "is public"},
    ]
    # What is named by itself is copied; a rule that says no reason ends it.
    target = {"name": west.host, "plain_http": True}
    everything = {**APPLICATION, "images": {"exclude": [{"pattern": "*", "reason": "none is needed"}]}}
    copied = run(application=everything, images=resolved["images"], target=target)
    assert (copied["copied"], copied["excluded"]) == (1, [])
    assert run(application=everything)["images"] == []
    assert "'reason' is None" in run(application={**APPLICATION, "images": {"exclude": [{"pattern": "*"}]}})["msg"]
    # On failure too.
    failed = run(application={**APPLICATION, "images": {"exclude": rules[1:2]}})
    assert failed["failed"] and failed["excluded"] == resolved["excluded"][1:]


def test_input_that_cannot_be_used(cluster: FakeCluster, run: Run) -> None:
    assert "no digest" in run(images=[{"name": "a", "digest": "latest"}], target={"name": "x.example.com"})["msg"]
    assert "namespaces nope of application x" in run(application={"name": "x", "namespaces": ["nope"]})["msg"]
    assert "names neither namespaces" in run(application={"name": "x"})["msg"]


def test_the_logins_that_were_used_are_told(
    cluster: FakeCluster, east: FakeRegistry, west: FakeRegistry, run: Run, tmp_path: Any
) -> None:
    image = east.image("shop/web", "1")
    pod(cluster, "web-1", f"{east.host}/shop/web:1", f"{east.host}/shop/web@{image['digest']}")
    pulled = "user muster from pull secret shop/pull"
    target = {"name": west.host, "plain_http": True, "connections": 1, "requests_per_second": 500.0}
    result = run(application=APPLICATION, target={**target, "bytes_per_second": 10_000_000})
    assert result["logins"] == {east.host: pulled, west.host: "anonymous"}
    # By a file in its usual place, and on failure too.
    login = base64.b64encode(b"muster:canary-word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {east.host: {"auth": login}}}))
    gone = f"sha256:{'0' * 64}"
    result = run(images=[{"name": f"{east.host}/shop/web", "digest": gone}], target=target)
    assert result["failed"]
    assert result["logins"][east.host] == f"user muster from {tmp_path}/config.json"
