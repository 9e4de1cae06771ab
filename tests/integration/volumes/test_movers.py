# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What disturbs movers, and how many there are at a time."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from ..sites import JSON, Site, good, result_of, thing, wait_until
from .conftest import bring, claim, export, held, mover, restic, shell

OURS = "muster-container-dr"


def pods(site: Site, run_of: str) -> list[JSON]:
    """The movers' pods of an application that there are now, in our namespace."""
    label = f"container-dr.muster.dev/application={run_of},container-dr.muster.dev/mover"
    listed: list[JSON] = site.get("pod", "-n", OURS, "-l", label)["items"]
    return listed


def left(site: Site, application: str) -> list[str]:
    label = f"container-dr.muster.dev/application={application}"
    kinds = "jobs,pods,secrets,networkpolicies,pvc,volumesnapshots"
    return site.kubectl("get", kinds, "-A", "-l", label, "-o", "name").split()


@pytest.mark.nightly
def test_an_evicted_mover_is_replaced_and_one_whole_snapshot_stays(east: Site, west: Site, namespace: str) -> None:
    east.apply(claim(namespace, "data", size="1Gi"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "dd if=/dev/urandom of=/data/big bs=1M count=400 2>/dev/null; sync")
    digest = shell(east, namespace, "writer", "sha256sum < /data/big").split()[0]
    application = {"name": namespace, "namespaces": [namespace]}
    started = east.start("volume_export", site=east.name, application=application, mover=mover(east))

    def running() -> list[str]:
        return [one["metadata"]["name"] for one in pods(east, namespace) if one["status"]["phase"] == "Running"]

    wait_until(lambda: bool(running()), 120)
    (first,) = running()
    time.sleep(1)  # in the middle of it
    eviction = thing("Eviction", first, OURS, "policy/v1")
    east.kubectl("create", "--raw", f"/api/v1/namespaces/{OURS}/pods/{first}/eviction", "-f", "-", feed=eviction)
    wait_until(lambda: first not in [one["metadata"]["name"] for one in pods(east, namespace)], 90)
    # The same Job goes on with another pod.
    wait_until(lambda: bool(pods(east, namespace)) or started.poll() is not None, 60)
    (volume,) = good(result_of(started))["volumes"]
    assert volume["complete"] and volume["files"] == 1 and not left(east, namespace)
    # What the evicted one has not finished is none, and it took its lock away.
    assert restic(east.repository, "snapshots", "--host", volume["host"], "--json").count('"short_id"') == 1
    assert not restic(east.repository, "list", "locks", "--no-lock").strip()
    west.kubectl("create", "namespace", namespace)
    good(bring(west, namespace, [volume]))
    held(west, namespace, "reader", "data")
    assert shell(west, namespace, "reader", "sha256sum < /data/big").split()[0] == digest


@pytest.mark.nightly
def test_a_class_has_no_more_movers_than_its_budget(east: Site, namespace: str) -> None:
    names = ["one", "two", "three"]
    east.apply(*(claim(namespace, name) for name in names))
    held(east, namespace, "writer", *names)
    shell(east, namespace, "writer", "; ".join(f"echo {name} > /{name}/file" for name in names))
    result = good(export(east, namespace, workers=3, budgets={"classes": {"csi": 1}, "node": 2, "repository": 2}))
    assert [entry["complete"] for entry in result["volumes"]] == [True] * 3
    # One after the other: no snapshot was begun before the one before it was there.
    host = f"k8s:{east.name}/{namespace}"
    taken = sorted(
        (entry["summary"]["backup_start"], entry["summary"]["backup_end"])
        for entry in json.loads(restic(east.repository, "snapshots", "--json"))
        if entry["hostname"].startswith(host)
    )
    assert len(taken) == 3 and all(before[1] <= after[0] for before, after in pairwise(taken))
    assert not left(east, namespace)
