# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What check mode finds beforehand, through the real ``main()`` of both modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.api_server import ApiServer, running
from fakes.copying import alone
from fakes.k8s_modules import calling, in_folder, thing
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import execute
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

Restore = Callable[..., dict[str, Any]]
GONE = f"sha256:{'0' * 64}"


@pytest.fixture
def source() -> Iterator[ApiServer]:
    with running() as server:
        server.add(thing("Namespace", "ledger", namespace=""))
        yield server


@pytest.fixture
def target() -> Iterator[ApiServer]:
    with running() as server:
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
    alone(monkeypatch, tmp_path)

    def call(check: bool = False, namespaces: tuple[str, ...] = ("ledger",), **options: Any) -> dict[str, Any]:
        application = {"name": "ledger", "namespaces": list(namespaces)}
        taken = run(k8s_snapshot, host=source.url, site="east", point="p", application=application)
        return run(k8s_restore, check, host=target.url, snapshot=taken["snapshot"]["tree"], point="p", **options)

    return call


def entries(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"].removeprefix("ledger/"): entry for entry in result["objects"]}


# -- images -----------------------------------------------------------------------------------------------------------


def workload(kind: str, name: str, *images: str) -> dict[str, Any]:
    spec = {"containers": [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]}
    if kind == "Pod":
        return thing(kind, name, spec=spec)
    return thing(kind, name, "apps/v1", spec={"selector": {}, "template": {"spec": spec}})


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="basic") as server:
        yield server


def imaged(registry: FakeRegistry, source: ApiServer) -> dict[str, Any]:
    """Workloads with an image that the registry has, one that it does not have, and one of the world."""
    held = registry.image("bk/east/api")["digest"]
    source.add(
        workload("Deployment", "good", "east/api:1"),
        workload("Deployment", "bad", "east/api:1", "east/gone:1"),
        workload("Pod", "bare", "east/gone:1"),
        workload("Deployment", "world", "quay.example.com/x:1"),
    )
    images = [
        {"name": "east/api:1", "digest": held, "path": "east/api"},
        {"name": "east/gone:1", "digest": GONE, "path": "east/gone"},
    ]
    login = {"username": "muster", "password": "secret", "plain_http": True}
    return {"registry": {"name": f"{registry.host}/bk", **login}, "images": images}


def test_images_that_the_registry_does_not_have_are_named(
    restore: Restore, source: ApiServer, target: ApiServer, registry: FakeRegistry
) -> None:
    options = imaged(registry, source)
    with registry.watched() as asked:
        plan = restore(check=True, **options)
    found = entries(plan)
    words = f"will not start: registry {registry.host}/bk does not have east/gone@{GONE}"
    assert found["deployments.apps/bad"]["concerns"] == [f"its pods {words}"]
    assert found["pods/bare"]["concerns"] == [f"it {words}"] and found["pods/bare"]["action"] == "create"
    assert found["deployments.apps/good"]["concerns"] == []
    assert "image quay.example.com/x:1 stays as written" in str(found["deployments.apps/world"]["transforms"])
    heads = [line for line in asked if line.startswith("HEAD")]
    # Each digest is asked for once, apart from the request that learns which login is wanted.
    assert {line.rpartition("/")[2] for line in heads} == {options["images"][0]["digest"], GONE} and len(heads) <= 4
    assert all(line.startswith("HEAD") for line in asked) and not target.writes
    assert plan["status"] == "completed" and f"pods {words}" in "\n".join(plan["summary"])
    done = entries(restore(**options))
    assert {name: (one["action"], one["concerns"]) for name, one in done.items()} == {
        name: (one["action"], one["concerns"]) for name, one in found.items()
    }


def test_a_registry_that_is_given_by_its_address_is_a_host_in_the_names_of_images(
    restore: Restore, source: ApiServer, target: ApiServer, registry: FakeRegistry
) -> None:
    options = imaged(registry, source)
    options["registry"]["name"] = f"http://{registry.host}/bk/"
    done = entries(restore(**options))
    assert f"registry {registry.host}/bk does not have east/gone" in str(done["pods/bare"]["concerns"])
    pod = target.get("pods", "ledger", "bare") or {}
    assert pod["spec"]["containers"][0]["image"] == f"{registry.host}/bk/east/gone@{GONE}"


def test_a_registry_is_not_asked_where_that_is_not_wanted_or_nothing_is_mapped(
    restore: Restore, source: ApiServer, registry: FakeRegistry
) -> None:
    options = imaged(registry, source)
    with registry.watched() as asked:
        plan = restore(check=True, check_images=False, **options)
        restore(check=True, registry=options["registry"])
        restore(check=True, include_kinds=["namespaces"], **options)
    assert not asked and not [one for one in plan["objects"] if one["concerns"]]


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_registry_that_does_not_say_is_one_warning(
    restore: Restore, source: ApiServer, registry: FakeRegistry, password: str | None
) -> None:
    options = imaged(registry, source)
    if password is None:
        options["registry"] = {"name": "127.0.0.1:1/bk", "plain_http": True}
    else:
        options["registry"]["password"] = password
    plan = restore(check=True, **options)
    assert "failed" not in plan and plan["status"] == "completed"
    assert not [one for one in plan["objects"] if one["concerns"]]
    name = options["registry"]["name"]
    said = [text for text in map(str, plan["warnings"]) if f"whether registry {name} has 2 of the images" in text]
    assert len(said) == 1 and "check_images" in said[0]


# -- volumes ----------------------------------------------------------------------------------------------------------


def volume(name: str, claim: str = "", uid: str = "", **source: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"}, **source}
    if claim:
        namespace, _slash, short = claim.rpartition("/")
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": namespace or "ledger", "name": short}
        spec["claimRef"].update({"uid": uid} if uid else {})
    return thing("PersistentVolume", name, namespace="", spec=spec)


def claim(name: str, of: str) -> dict[str, Any]:
    return thing("PersistentVolumeClaim", name, spec={"volumeName": of, "storageClassName": ""})


def nfs(path: str) -> dict[str, Any]:
    return {"nfs": {"server": "nfs.example.com", "path": path}}


def csi(handle: str) -> dict[str, Any]:
    return {"csi": {"driver": "d.example.com", "volumeHandle": handle}}


def local(path: str, node: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
    return {"local": {"path": path}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize("existing", ["keep", "update", "recreate"])
def test_volumes_and_claims_that_clash_are_blocked(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    source.add(
        volume("other-storage", "one", "u1", **nfs("/a")),
        volume("other-claim", "two", "u2", **nfs("/b")),
        volume("used-nfs", "three", "u3", **nfs("/c/")),
        volume("used-csi", "four", "u4", **csi("vol-1")),
        volume("used-local", "five", "u5", **local("/disk", "n1")),
        volume("elsewhere", "six", "u6", **local("/disk", "n2")),
        volume("shared-1", "seven", "u7", **nfs("/shared")),
        volume("shared-2", "eight", "u8", **nfs("/shared")),
        volume("stale", "nine", "u9", **nfs("/d")),
        volume("of-a-node", "eleven", "u0", hostPath={"path": "/disk"}),
        volume("free", **nfs("/e")),
        claim("one", "other-storage"),
        claim("two", "other-claim"),
        claim("three", "used-nfs"),
        claim("six", "elsewhere"),
        claim("nine", "stale"),
        claim("ten", "free"),
        claim("eleven", "of-a-node"),
        *(claim(f"own-{one}", one) for one in ("used-csi", "used-local", "shared-1", "shared-2")),
    )
    target.add(
        thing("Namespace", "ledger", namespace=""),
        volume("other-storage", **nfs("/quite-else")),
        volume("other-claim", "shop/data", "s1", **nfs("/b")),
        volume("theirs-1", **nfs("/c")),
        volume("theirs-2", "shop/db", "s2", **csi("vol-1")),
        volume("theirs-3", **local("/disk", "n1")),
        volume("theirs-4", hostPath={"path": "/disk"}),
        volume("stale", "nine", "of-old", **nfs("/d")),
    )
    options = {"static_volumes": True, "existing": existing, "allow_partial": True}
    plan = restore(check=True, **options)
    blocked = {name: one["reason"] for name, one in entries(plan).items() if one["action"] == "blocked"}
    volumes = {name.partition("/")[2] for name in blocked if name.startswith("persistentvolumes/")}
    assert volumes == {"other-storage", "other-claim", "used-nfs", "used-csi", "used-local"}
    assert "other storage, nfs nfs.example.com /quite-else" in blocked["persistentvolumes/other-storage"]
    assert "bound to claim shop/data" in blocked["persistentvolumes/other-claim"]
    assert "in use by volume theirs-1" in blocked["persistentvolumes/used-nfs"]
    assert "csi d.example.com vol-1, is in use by volume theirs-2" in blocked["persistentvolumes/used-csi"]
    concerns = entries(plan)["persistentvolumes/of-a-node"]["concerns"]
    assert concerns == ["it may share hostPath /disk with volume theirs-4 of the target"]
    claims = {name.partition("/")[2]: why for name, why in blocked.items() if name.startswith("persistentvolumeclaims")}
    assert set(claims) >= {"one", "two", "three", "nine"} and not set(claims) & {"six", "ten", "eleven"}
    assert "held back" in claims["one"] and "earlier claim" in claims["nine"]
    # Of another claim since it was captured: the volume is bound to the claim that it names.
    assert "which is bound to claim ledger/seven" in claims["own-shared-1"]
    done = restore(**options)
    assert {name: one["action"] for name, one in entries(done).items()} == {
        name: one["action"] for name, one in entries(plan).items()
    }
    theirs = target.get("persistentvolumes", "", "other-storage")
    assert theirs is not None and theirs["spec"]["nfs"]["path"] == "/quite-else"
    assert restore(**options)["changed"] is False


def test_a_claim_of_a_volume_that_is_not_there_is_blocked(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    source.add(volume("hand", "data", "u", **nfs("/a")), claim("data", "hand"))
    options = {"static_volumes": True, "exclude_kinds": ["persistentvolumes"], "allow_partial": True}
    reason = entries(restore(check=True, **options))["persistentvolumeclaims/data"]["reason"]
    assert reason == "it is to be bound to volume hand, which the target does not have"
    target.add(volume("hand", **nfs("/a")))
    assert entries(restore(**options))["persistentvolumeclaims/data"]["action"] == "create"


def test_an_update_leaves_a_volume_with_its_claim(restore: Restore, source: ApiServer, target: ApiServer) -> None:
    source.add(volume("free", **nfs("/e")), claim("data", "free"))
    options = {"static_volumes": True, "existing": "update"}
    restore(**options)
    live = target.get("persistentvolumes", "", "free")
    bound = {"kind": "PersistentVolumeClaim", "namespace": "ledger", "name": "data", "uid": "x"}
    assert live is not None
    live["spec"]["claimRef"] = bound
    assert restore(**options)["changed"] is False
    live["spec"]["capacity"] = {"storage": "2Gi"}
    assert entries(restore(**options))["persistentvolumes/free"]["action"] == "update"
    live = target.get("persistentvolumes", "", "free")
    assert live is not None and live["spec"]["claimRef"] == bound


# -- statuses ---------------------------------------------------------------------------------------------------------

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "currencies.ledger.example.com"},
    "spec": {
        "group": "ledger.example.com",
        "scope": "Namespaced",
        "names": {"plural": "currencies", "kind": "Currency"},
        "versions": [{"name": "v1", "served": True, "storage": True}],
    },
}


def currency(**status: Any) -> dict[str, Any]:
    return thing("Currency", "eur", "ledger.example.com/v1", spec={"name": "Euro"}, status=status)


@pytest.mark.parametrize("existing", ["update", "merge", "recreate"])
def test_a_status_alone_comes_back_as_planned(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    source.add(CRD, currency(rate="2", seen={"a": 1}))
    options = {"restore_status": ["currencies*"], "existing": existing}
    name = "currencies.ledger.example.com/eur"
    restore(**options)
    live = target.get("currencies.ledger.example.com", "ledger", "eur")
    assert live is not None and live["status"] == {"rate": "2", "seen": {"a": 1}}
    # What the target's controllers say besides is no difference.
    live["status"] = {"rate": "2", "seen": {"a": 1}, "own": "x"}
    assert restore(**options)["changed"] is False
    live["status"] = {"rate": "9", "own": "x"}
    target.writes.clear()
    planned = entries(restore(check=True, _ansible_diff=True, **options))[name]
    assert not target.writes
    assert (planned["action"], planned["reason"]) == ("update", "it is there and equal but for its status")
    assert planned["sure"] == "dry_run" and 'status.rate: "9" -> "2"' in planned["differs"]
    done = entries(restore(**options))[name]
    assert done["changed"] and (done["action"], done["differs"]) == (planned["action"], planned["differs"])
    live = target.get("currencies.ledger.example.com", "ledger", "eur")
    assert live is not None and live["status"] == {"rate": "2", "seen": {"a": 1}, "own": "x"}
    assert restore(**options)["changed"] is False


def test_a_status_is_left_alone_where_objects_are_kept(restore: Restore, source: ApiServer, target: ApiServer) -> None:
    source.add(CRD, currency(rate="2"))
    status: dict[str, Any] = {"restore_status": ["currencies*"]}
    restore(**status)
    live = target.get("currencies.ledger.example.com", "ledger", "eur")
    assert live is not None
    live["status"] = {"rate": "9"}
    for options in (status, {**status, "existing": "keep"}, {"existing": "update"}):
        assert restore(**options)["changed"] is False
    # As after a run that was killed before it wrote the status.
    del live["status"]
    assert entries(restore(**status))["currencies.ledger.example.com/eur"]["action"] == "update"
    live = target.get("currencies.ledger.example.com", "ledger", "eur")
    assert live is not None and live["status"] == {"rate": "2"}


# -- APIs that the restore brings -------------------------------------------------------------------------------------

WEATHER = ("weather.example.com", "v1", "reports", "Report", True)
REGISTRATION = "apiservices.apiregistration.k8s.io/v1.weather.example.com"


@pytest.fixture
def weather(source: ApiServer, target: ApiServer) -> dict[str, Any]:
    """An application with an API server of its own; its service has an endpoint at the target."""
    ready = {"endpoints": [{"addresses": ["10.0.0.1"]}], "addressType": "IPv4"}
    labels = {"metadata": {"labels": {"kubernetes.io/service-name": "api"}}}
    target.add(thing("EndpointSlice", "api-1", "discovery.k8s.io/v1", **labels, **ready))
    spec = {"group": WEATHER[0], "version": "v1", "service": {"namespace": "ledger", "name": "api"}}
    source.aggregated["v1.weather.example.com"] = WEATHER
    source.add(
        thing("APIService", "v1.weather.example.com", "apiregistration.k8s.io/v1", "", spec=spec),
        thing("Service", "api", spec={"ports": [{"port": 443}]}),
        thing("Report", "today", "weather.example.com/v1", spec={"sky": "blue"}, metadata={"uid": "today"}),
        thing(
            "Secret",
            "key",
            metadata={
                "ownerReferences": [{"apiVersion": WEATHER[0], "kind": "Report", "name": "today", "uid": "today"}]
            },
        ),
    )
    return {"existing": "update", "allow_partial": True}


def test_objects_of_an_api_that_comes_with_the_restore_are_restored(
    restore: Restore, target: ApiServer, weather: dict[str, Any]
) -> None:
    target.aggregated["v1.weather.example.com"] = WEATHER
    plan = entries(restore(check=True, **weather))
    assert not target.writes
    report = plan["reports.weather.example.com/today"]
    assert (report["action"], report["sure"]) == ("create", "assumed")
    done = entries(restore(**weather))
    assert {name: one["action"] for name, one in done.items()} == {name: one["action"] for name, one in plan.items()}
    live, owned = target.get("reports.weather.example.com", "ledger", "today"), target.get("secrets", "ledger", "key")
    assert live is not None and live["spec"] == {"sky": "blue"} and owned is not None
    assert owned["metadata"]["ownerReferences"][0]["uid"] == live["metadata"]["uid"]
    written = [place for _method, place in target.writes]
    assert written.index(REGISTRATION) < written.index("ledger/reports.weather.example.com/today")
    assert restore(**weather)["changed"] is False


def test_an_api_that_does_not_become_available_holds_up_only_its_objects(
    restore: Restore, target: ApiServer, weather: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_API_WITHIN", 0.0)
    for _attempt in range(2):
        result = restore(**weather)
        report = entries(result)["reports.weather.example.com/today"]
        assert report["action"] == "blocked" and result["counts"]["failed"] == 0
        assert report["reason"] == (
            "its API weather.example.com/v1, which this restore brings, does not become available: nobody there"
        )
        assert target.get("services", "ledger", "api") is not None
    # Once it answers, the same command brings the rest.
    target.kinds.append(WEATHER)
    assert entries(restore(**weather))["reports.weather.example.com/today"]["action"] == "create"


def test_objects_of_an_api_whose_registration_is_refused_are_blocked(
    restore: Restore, target: ApiServer, weather: dict[str, Any]
) -> None:
    target.refused.add(REGISTRATION)
    for check in (True, False):
        found = entries(restore(check=check, **weather))
        reason = f"{REGISTRATION} is not there and could not be made"
        assert found["reports.weather.example.com/today"]["reason"] == reason
    left_out = entries(restore(check=True, exclude_kinds=["apiservices.*"], **weather))
    assert "does not serve weather.example.com/v1" in left_out["reports.weather.example.com/today"]["reason"]


# -- node ports -------------------------------------------------------------------------------------------------------


def dns(name: str, number: int, *protocols: str, namespace: str = "ledger") -> dict[str, Any]:
    ports = [{"name": one.lower(), "port": 53, "protocol": one, "nodePort": number} for one in protocols]
    return thing("Service", name, namespace=namespace, spec={"type": "NodePort", "ports": ports})


@pytest.mark.parametrize("existing", ["keep", "update"])
def test_a_service_may_have_one_node_port_for_two_protocols(
    restore: Restore, source: ApiServer, target: ApiServer, existing: str
) -> None:
    source.add(dns("both", 30053, "TCP", "UDP"), dns("one", 30054, "UDP"))
    target.add(thing("Namespace", "other", namespace=""), dns("theirs", 30054, "TCP", namespace="other"))
    options = {"existing": existing, "allow_partial": True}
    plan, done = entries(restore(check=True, **options)), entries(restore(**options))
    for found in (plan, done):
        assert found["services/both"]["action"] == "create"
        assert "node port 30054 is taken by other/services/theirs" in found["services/one"]["reason"]
    live = target.get("services", "ledger", "both")
    assert live is not None
    live["spec"]["selector"] = {"app": "changed"}
    assert entries(restore(**options))["services/both"]["action"] == existing


# -- quotas -----------------------------------------------------------------------------------------------------------


def test_pods_that_a_controller_will_make_are_a_concern_and_block_nothing(
    restore: Restore, source: ApiServer, target: ApiServer
) -> None:
    many = workload("Deployment", "many", "east/api:1")
    many["spec"]["replicas"] = 4
    source.add(many, workload("Pod", "bare", "east/api:1"))
    target.kinds.append(("", "v1", "resourcequotas", "ResourceQuota", True))
    target.add(
        thing("Namespace", "ledger", namespace=""),
        thing("ResourceQuota", "q", status={"hard": {"pods": "4"}, "used": {"pods": "0"}}),
        thing("ResourceQuota", "new", spec={"hard": {"pods": "0"}}),
        thing(
            "ResourceQuota",
            "odd",
            spec={"scopes": ["OfTheFuture"]},
            status={"hard": {"count/pods": "0"}, "used": {"count/pods": "0"}},
        ),
    )
    found = entries(restore(check=True, existing="keep"))
    odd = "quota odd allows 0 count/pods, 0 are used, it needs"
    assert found["deployments.apps/many"]["concerns"] == [f"perhaps not all of its 4 pods will be admitted: {odd} 4"]
    assert found["pods/bare"]["action"] == "create"
    assert sorted(found["pods/bare"]["concerns"]) == [
        f"it may be refused: {odd} 1",
        "it may be refused: quota q allows 4 pods, 4 are used, it needs 1",
    ]
