# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes without snapshots, read while what writes to them is stopped."""

from __future__ import annotations

import json

import pytest

from ..sites import JSON, Site, good, kill, thing, wait_until
from .conftest import bring, claim, export, held, restic, shell

STOPPED = {"standard": "stopped"}
# The end says how far it came, after all that was written: in what is torn the two differ, or there is no end.
COUNT = """
stop() { tail -n 1 /data/log > /data/clean; sync; exit 0; }
trap stop TERM
rm -f /data/clean
n=$(tail -n 1 /data/log 2>/dev/null || echo 0)
while :; do n=$((n+1)); echo "$n" >> /data/log; sleep 1 & wait $!; done
"""


def counter(site: Site, namespace: str, kind: str, name: str, volume: str) -> JSON:
    """A workload of one pod that counts, and says at its end that it has ended well."""
    container = {
        "name": "c",
        "image": site.facts["mover_image"],
        "command": ["/bin/sh", "-c", COUNT],
        "volumeMounts": [{"name": volume, "mountPath": "/data"}],
    }
    spec: JSON = {"containers": [container], "terminationGracePeriodSeconds": 20}
    labels = {"app": name}
    more: JSON = {}
    if kind == "Deployment":
        spec["volumes"] = [{"name": volume, "persistentVolumeClaim": {"claimName": volume}}]
        more["strategy"] = {"type": "Recreate"}
    else:
        claimed = claim(namespace, volume, storage_class="standard")
        more |= {"serviceName": name, "volumeClaimTemplates": [claimed]}
        del claimed["metadata"]["namespace"], claimed["apiVersion"], claimed["kind"]
    template = {"metadata": {"labels": labels}, "spec": spec}
    whole = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **more}
    return thing(kind, name, namespace, "apps/v1", spec=whole)


def replicas(site: Site, namespace: str) -> list[int]:
    found = site.get("deployment/api", "statefulset/db", "-n", namespace)["items"]
    return [int(one["spec"]["replicas"]) for one in found]


def ready(site: Site, namespace: str) -> None:
    for name in ("deployment/api", "statefulset/db"):
        site.kubectl("rollout", "status", "-n", namespace, name, "--timeout=120s")


@pytest.fixture
def counters(east: Site, namespace: str) -> None:
    """A Deployment and a StatefulSet, each with a volume of a class that has no snapshots."""
    east.apply(
        claim(namespace, "data", storage_class="standard"),
        counter(east, namespace, "Deployment", "api", "data"),
        counter(east, namespace, "StatefulSet", "db", "log"),
    )
    ready(east, namespace)


def test_what_writes_is_stopped_while_it_is_read(east: Site, west: Site, namespace: str, counters: None) -> None:
    plan = good(export(east, namespace, check=True, methods=STOPPED))
    assert {one["name"] for one in plan["stopped"]} == {
        f"{namespace}/deployments.apps/api",
        f"{namespace}/statefulsets.apps/db",
    }
    assert replicas(east, namespace) == [1, 1]

    taken = good(export(east, namespace, methods=STOPPED))
    assert replicas(east, namespace) == [1, 1] and "configmap/muster" not in str(east.names("configmap", namespace))
    assert [(one["name"], one["method"]) for one in taken["volumes"]] == [
        (f"{namespace}/data", "stopped"),
        (f"{namespace}/log-db-0", "stopped"),
    ]
    assert (taken["consistency"]["mode"], taken["consistency"]["skew_seconds"]) == ("stopped", 0)
    for volume in taken["volumes"]:
        log, clean = (restic(east.repository, "dump", volume["snapshot"], f"/data/{name}") for name in ("log", "clean"))
        assert log.split()[-1] == clean.strip() and len(log.split()) == int(clean)
    ready(east, namespace)

    west.kubectl("create", "namespace", namespace)
    good(bring(west, namespace, taken["volumes"]))
    held(west, namespace, "reader", "data", "log-db-0")
    for volume in ("data", "log-db-0"):
        assert shell(west, namespace, "reader", f"tail -n 1 /{volume}/log") == shell(
            west, namespace, "reader", f"cat /{volume}/clean"
        )


def test_the_next_run_starts_what_a_killed_one_has_stopped(east: Site, namespace: str, counters: None) -> None:
    # No image of this name: its movers stay for as long as they may, and what is stopped stays so.
    nowhere = {"image": "registry.invalid/none:0", "start_timeout": "5m"}
    application = {"name": namespace, "namespaces": [namespace]}
    started = east.start("volume_export", site=east.name, application=application, mover=nowhere, methods=STOPPED)
    wait_until(lambda: "job.batch/" in str(east.names("job", namespace)), 120)
    kill(started)
    assert replicas(east, namespace) == [0, 0]
    debts = [
        json.loads(one["data"]["debt.json"])
        for one in east.get("configmap", "-n", namespace)["items"]
        if "debt.json" in one["data"]
    ]
    assert [len(one["asleep"]["entries"]) for one in debts] == [2]

    done = good(export(east, namespace, methods=STOPPED))
    assert len(done["restarted"]) == 2 and replicas(east, namespace) == [1, 1]
    assert [one["before"] for one in done["stopped"]] == [{"/spec/replicas": 1}] * 2
    ready(east, namespace)
    assert not [name for name in east.names("configmap,job", namespace) if "muster" in name]


def test_a_volume_of_what_cannot_be_stopped_is_refused(east: Site, namespace: str) -> None:
    east.apply(claim(namespace, "data", storage_class="standard"))
    held(east, namespace, "lone", "data")
    refused = export(east, namespace, methods=STOPPED)
    assert refused["failed"] and f"pod {namespace}/lone uses it and belongs to no workload" in refused["msg"]
