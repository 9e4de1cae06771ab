# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of stores, movers and runs: what is said, what is left, and that the next run converges."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from ..sites import JSON, Site, bed, good, kill, result_of, thing, wait_until
from .conftest import bring, claim, export, held, let_go, mover, restic, shell
from .faulty import FaultyStore
from .test_movers import left

pytestmark = pytest.mark.nightly
MIB = 1 << 20
DRIVER = "csi.bed.muster.dev"


@pytest.fixture
def faulty(east: Site) -> Iterator[FaultyStore]:
    with FaultyStore(east) as store:
        yield store


@pytest.fixture
def digest(east: Site, namespace: str) -> str:
    """Of the file ``big`` in a claim ``data`` that a pod holds."""
    east.apply(claim(namespace, "data", size="1Gi"))
    held(east, namespace, "writer", "data")
    return fill(east, namespace, 200)


def fill(site: Site, namespace: str, mebibytes: int) -> str:
    shell(site, namespace, "writer", f"head -c {mebibytes * MIB} /dev/urandom > /data/big; sync")
    return held_by(site, namespace, "writer")


def held_by(site: Site, namespace: str, pod: str) -> str:
    return shell(site, namespace, pod, "sha256sum < /data/big").split()[0]


def snapshots(site: Site, host: str) -> list[str]:
    listed = json.loads(restic(site.repository, "snapshots", "--host", host, "--json"))
    return [one["id"] for one in listed]


def comes_back(west: Site, namespace: str, volumes: list[JSON], digest: str) -> None:
    west.kubectl("create", "namespace", namespace)
    good(bring(west, namespace, volumes))
    held(west, namespace, "reader", "data")
    assert held_by(west, namespace, "reader") == digest


# -- the store ----------------------------------------------------------------------------------------------------


def test_a_store_that_refuses_a_fifth_of_all_requests(
    east: Site, west: Site, namespace: str, digest: str, faulty: FaultyStore
) -> None:
    faulty.fault = lambda number, _method, _path: (503, "SlowDown") if number % 5 == 0 else None
    through = faulty.before(east.repository)
    volumes = good(export(east, namespace, repository=through))["volumes"]
    assert faulty.seen > 20 and volumes[0]["complete"]
    west.kubectl("create", "namespace", namespace)
    good(bring(west, namespace, volumes, repository=through))
    held(west, namespace, "reader", "data")
    assert held_by(west, namespace, "reader") == digest


def test_a_store_that_is_silent_for_two_minutes(
    east: Site, west: Site, namespace: str, digest: str, faulty: FaultyStore
) -> None:
    silent: list[float] = []

    def fault(_number: int, method: str, path: str) -> None:
        if method == "PUT" and "/data/" in path:
            silent.append(time.monotonic())
        if len(silent) > 2:
            time.sleep(max(0.0, silent[2] + 120 - time.monotonic()))

    faulty.fault = fault
    patient = {**mover(east), "stall_timeout": "5m"}
    options = {"site": east.name, "application": {"name": namespace, "namespaces": [namespace]}, "mover": patient}
    volumes = good(east.run("volume_export", repository=faulty.before(east.repository), **options))["volumes"]
    assert len(silent) > 3 and volumes[0]["seconds"] > 120
    comes_back(west, namespace, volumes, digest)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [("ExpiredToken", 400, "expired"), ("AccessDenied", 403, "denied access")],
)
def test_credentials_that_end_halfway(
    east: Site, west: Site, namespace: str, digest: str, faulty: FaultyStore, code: str, status: int, says: str
) -> None:
    sent: list[str] = []

    def fault(_number: int, method: str, path: str) -> tuple[int, str] | None:
        if method == "PUT" and "/data/" in path:
            sent.append(path)
        return (status, code) if len(sent) > 3 else None

    faulty.fault = fault
    started = time.monotonic()
    through = faulty.before(east.repository)
    failed = export(east, namespace, repository=through)
    assert failed["failed"] and says in failed["msg"], failed["msg"]
    assert time.monotonic() - started < 90, "a refusal for good is not tried again for a quarter of an hour"
    assert not left(east, namespace)
    faulty.fault = lambda _number, _method, _path: None
    volumes = good(export(east, namespace, repository=through))["volumes"]
    assert snapshots(east, volumes[0]["host"]) == [volumes[0]["snapshot"]]
    comes_back(west, namespace, volumes, digest)


def test_a_store_whose_clock_is_an_hour_off_is_told_at_once(east: Site, namespace: str, faulty: FaultyStore) -> None:
    east.apply(claim(namespace, "data"))
    held(east, namespace, "writer", "data")
    faulty.fault = lambda _number, _method, _path: (403, "RequestTimeTooSkewed")
    started = time.monotonic()
    failed = export(east, namespace, repository=faulty.before(east.repository))
    assert failed["failed"] and "clock" in failed["msg"], failed["msg"]
    assert time.monotonic() - started < 20 and not left(east, namespace)


# -- movers and runs ----------------------------------------------------------------------------------------------


def restoring(west: Site, namespace: str) -> str:
    """The name of the mover's pod that restores, when it runs."""
    found: list[str] = []

    def running() -> bool:
        listed = west.get("pod", "-n", namespace, "-l", "container-dr.muster.dev/mover")["items"]
        found[:] = [one["metadata"]["name"] for one in listed if one["status"]["phase"] == "Running"]
        return bool(found)

    wait_until(running, 120)
    return found[0]


def test_a_restore_whose_mover_or_run_is_killed_converges(east: Site, west: Site, namespace: str, digest: str) -> None:
    volumes = good(export(east, namespace))["volumes"]
    west.kubectl("create", "namespace", namespace)
    wanted = {"application": namespace, "volumes": volumes, "mover": mover(west)}
    first = west.start("volume_import", **wanted)
    pod = restoring(west, namespace)
    west.kubectl("delete", "pod", pod, "-n", namespace, "--force", "--grace-period=0")
    assert restoring(west, namespace) != pod
    # The same Job has begun anew; now the run itself dies.
    kill(first)
    done = good(west.run("volume_import", **wanted))
    assert done["volumes"][0]["complete"] and not left(west, namespace)
    held(west, namespace, "reader", "data")
    assert held_by(west, namespace, "reader") == digest
    assert shell(west, namespace, "reader", "ls -A /data | grep -v lost+found").split() == ["big"]


def test_a_mover_that_is_killed_outright_leaves_one_snapshot_and_a_lock_that_harms_nobody(
    east: Site, west: Site, namespace: str, digest: str
) -> None:
    application = {"name": namespace, "namespaces": [namespace]}
    started = east.start("volume_export", site=east.name, application=application, mover=mover(east))

    wait_until(lambda: bool(east.in_node("sh", "-c", "pgrep -x restic || true")), 120)
    time.sleep(1)  # in the middle of it
    east.in_node("pkill", "-9", "-x", "restic")
    volumes = good(result_of(started))["volumes"]
    assert snapshots(east, volumes[0]["host"]) == [volumes[0]["snapshot"]] and not left(east, namespace)
    comes_back(west, namespace, volumes, digest)


def test_a_node_that_dies_under_a_backup(east: Site, west: Site, namespace: str, digest: str) -> None:
    application = {"name": namespace, "namespaces": [namespace]}
    started = east.start("volume_export", site=east.name, application=application, mover=mover(east))
    wait_until(lambda: bool(east.in_node("sh", "-c", "pgrep -x restic || true")), 120)
    bed("power-cut", east.name, "node")
    first = result_of(started)
    # It may have survived as one that saw its server go and come; else it said so, and nothing counts as a backup.
    assert not first["failed"] or first["msg"], first
    east.kubectl("wait", "-n", namespace, "pod/writer", "--for=condition=Ready", "--timeout=180s")
    volumes = good(export(east, namespace))["volumes"]
    assert volumes[0]["complete"] and not left(east, namespace)
    assert len(snapshots(east, volumes[0]["host"])) <= 2
    comes_back(west, namespace, volumes, digest)


def test_a_node_that_dies_under_a_restore(east: Site, west: Site, namespace: str, digest: str) -> None:
    volumes = good(export(east, namespace))["volumes"]
    west.kubectl("create", "namespace", namespace)
    started = west.start("volume_import", application=namespace, volumes=volumes, mover=mover(west))
    restoring(west, namespace)
    bed("power-cut", west.name, "node")
    first = result_of(started)
    assert not first["failed"] or first["msg"], first
    done = good(bring(west, namespace, volumes))
    assert done["volumes"][0]["complete"] or not first["failed"]
    assert not left(west, namespace)
    held(west, namespace, "reader", "data")
    assert held_by(west, namespace, "reader") == digest


def test_two_backups_of_one_volume_at_once_are_two_whole_ones(
    east: Site, west: Site, namespace: str, digest: str
) -> None:
    options = {"site": east.name, "mover": mover(east)}
    both = [
        east.start("volume_export", application={"name": f"{namespace}-{one}", "namespaces": [namespace]}, **options)
        for one in ("a", "b")
    ]
    taken = [good(result_of(one))["volumes"] for one in both]
    assert len({volumes[0]["snapshot"] for volumes in taken}) == 2
    assert {volumes[0]["files"] for volumes in taken} == {1}
    for volumes in taken:
        west.kubectl("delete", "namespace", namespace, "--ignore-not-found")
        comes_back(west, namespace, volumes, digest)


# -- the driver ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fail", "exhausted", "never-ready"])
def fault(request: pytest.FixtureRequest, east: Site) -> Iterator[str]:
    """A snapshot class whose driver has this fault; its name."""
    name = f"csi-{request.param}"
    about = {"driver": DRIVER, "deletionPolicy": "Delete", "parameters": {"fault": request.param}}
    east.apply(thing("VolumeSnapshotClass", name, "", "snapshot.storage.k8s.io/v1", **about))
    yield name
    east.kubectl("delete", "volumesnapshotclass", name)
    # A snapshot that is still being tried would stay until the driver has another answer for it.
    for kind in ("volumesnapshots", "volumesnapshotcontents"):
        for item in east.get(kind, "-A")["items"]:
            of = item["spec"].get("volumeSnapshotClassName")
            if of == name and "deletionTimestamp" in item["metadata"]:
                place = ["-n", item["metadata"]["namespace"]] if "namespace" in item["metadata"] else []
                nobody = '{"metadata": {"finalizers": null}}'
                east.kubectl("patch", kind, item["metadata"]["name"], *place, "--type=merge", "-p", nobody)


def kept(site: Site, application: str) -> list[str]:
    """What is left of a run and was not asked to go."""
    label = f"container-dr.muster.dev/application={application}"
    items = site.get("jobs,pods,secrets,networkpolicies,pvc,volumesnapshots", "-A", "-l", label)["items"]
    return [one["metadata"]["name"] for one in items if "deletionTimestamp" not in one["metadata"]]


def test_a_driver_that_cuts_no_snapshot(east: Site, west: Site, namespace: str, digest: str, fault: str) -> None:
    """It says why within the time that it has, thaws what was frozen, and the next run cleans up and goes on."""
    hooks = [{"name": "hold", "namespace": namespace, "selector": "app=w", "pre": ["touch", "/data/held"]}]
    hooks[0]["post"] = ["rm", "/data/held"]
    east.kubectl("label", "pod", "writer", "-n", namespace, "app=w")
    faulty = {"snapshot_classes": {DRIVER: fault}, "cut_timeout": "15s", "ready_timeout": "15s"}
    failed = export(east, namespace, application={"hooks": hooks}, **faulty)
    assert failed["failed"], failed
    assert f"{namespace}/data" in failed["msg"], failed["msg"]
    assert fault == "csi-never-ready" or f"fault: {fault.removeprefix('csi-')}" in failed["msg"], failed["msg"]
    assert [one["ok"] for one in failed["hooks"]] == [True, True]
    volumes = good(export(east, namespace, application={"hooks": hooks}))["volumes"]
    assert snapshots(east, volumes[0]["host"]) == [volumes[0]["snapshot"]]
    comes_back(west, namespace, volumes, digest)
    assert not kept(east, namespace)


# -- the volume ---------------------------------------------------------------------------------------------------


def test_a_claim_that_grew_and_one_that_took_the_name_of_another(
    east: Site, west: Site, namespace: str, digest: str
) -> None:
    good(export(east, namespace))
    larger_now = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    east.kubectl("patch", "pvc", "data", "-n", namespace, "-p", json.dumps(larger_now))
    # The bed's driver grows a file system when it is mounted.
    let_go(east, namespace, "writer")
    held(east, namespace, "writer", "data")

    def grown() -> bool:
        return east.get("pvc", "data", "-n", namespace)["status"]["capacity"]["storage"] == "2Gi"

    wait_until(grown, 120)
    digest = fill(east, namespace, 1100)
    larger = good(export(east, namespace))["volumes"]
    comes_back(west, namespace, larger, digest)
    let_go(east, namespace, "writer")
    east.kubectl("delete", "pvc", "data", "-n", namespace)
    east.apply(claim(namespace, "data"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "echo new > /data/small; sync")
    (other,) = good(export(east, namespace))["volumes"]
    listed = restic(east.repository, "ls", other["snapshot"]).split()
    assert other["files"] == 1 and other["host"] == larger[0]["host"]
    assert "/data/small" in listed and "/data/big" not in listed


def test_files_that_come_grow_and_go_while_they_are_read(east: Site, west: Site, namespace: str) -> None:
    east.apply(claim(namespace, "data", storage_class="standard"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "mkdir /data/many; head -c 30000000 /dev/urandom > /data/big")
    churn = (
        "cd /data; while [ ! -e stop ]; do n=$((n+1)); echo $n > many/$n; [ $n -gt 50 ] && rm many/$((n-50));"
        " head -c 10000 /dev/zero >> growing; done"
    )
    shell(east, namespace, "writer", f"({churn}) > /dev/null 2>&1 &")
    before = held_by(east, namespace, "writer")
    result = export(east, namespace)
    (volume,) = result["volumes"]
    # Never said to be an instant; and where a file went while it was read, never said to be whole.
    assert volume["method"] == "live" and volume["complete"] is not result["failed"]
    if result["failed"]:
        assert "many/" in json.dumps(volume["errors"]), volume
        return
    assert result["consistency"]["mode"] == "live"
    shell(east, namespace, "writer", "touch /data/stop")
    comes_back(west, namespace, [volume], before)
