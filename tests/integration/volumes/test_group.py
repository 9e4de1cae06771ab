# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two volumes that one process writes in turn: a group snapshot is one instant of both, two snapshots are not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from ..sites import JSON, Site, good, thing, wait_until
from .conftest import bring, claim, export, held, holder, shell

# Each number goes to the first volume, then to the second, each on its disk before the next step.
COUNT = """trap 'exit 0' TERM; i=0; while :; do i=$((i + 1))
for place in /first /second; do printf '%012d' $i | dd of=$place/count conv=notrunc,fsync 2>/dev/null; done; done"""
DRIVER = "csi.bed.muster.dev"
KINDS = (
    "volumegroupsnapshots",
    "volumegroupsnapshotcontents",
    "volumesnapshots",
    "volumesnapshotcontents",
)


@pytest.fixture
def counting(east: Site, namespace: str) -> str:
    """A pod at east that counts in two volumes as fast as they take it."""
    east.apply(claim(namespace, "first"), claim(namespace, "second"))
    pod = holder(east, namespace, "counter", "first", "second")
    pod["spec"]["containers"][0]["command"] = ["/bin/sh", "-c", COUNT]
    east.apply(pod)
    east.kubectl("wait", "-n", namespace, "pod/counter", "--for=condition=Ready", "--timeout=120s")
    count = "cat /second/count 2>/dev/null || true"
    wait_until(lambda: shell(east, namespace, "counter", count) > "000000000020")
    return namespace


def counts(site: Site, namespace: str) -> tuple[int, int]:
    """What both restored volumes hold."""
    held(site, namespace, "reader", "first", "second")
    first, second = shell(site, namespace, "reader", "cat /first/count; echo; cat /second/count").split()
    return int(first), int(second)


def nothing_left(site: Site, namespace: str) -> None:
    """Wait until the controllers are done with what was deleted; it is a minute at most."""
    wait_until(lambda: not left(site, namespace))


def left(site: Site, namespace: str) -> list[str]:
    """What is still there of snapshots of a namespace, or of labels of ours on its claims."""
    found = []
    for kind in KINDS:
        for item in site.get(kind, "-A")["items"]:
            spec = item["spec"]
            of = spec.get("volumeSnapshotRef") or spec.get("volumeGroupSnapshotRef") or item["metadata"]
            if of["namespace"] in (namespace, "muster-container-dr"):
                found.append(f"{kind}/{item['metadata']['name']}")
    for item in site.get("pvc", "-n", namespace)["items"]:
        labels = item["metadata"].get("labels") or {}
        found += [f"{item['metadata']['name']}: {name}" for name in labels if "muster.dev" in name]
    return found


def test_a_group_is_one_instant_of_both_volumes(east: Site, west: Site, counting: str) -> None:
    planned = good(export(east, counting, check=True))
    assert planned["consistency"]["mode"] == "group"
    assert ["group snapshot of class csi" in one["msg"] for one in planned["volumes"]] == [True, True]

    taken = good(export(east, counting, group_snapshots="required"))
    assert (taken["consistency"]["mode"], taken["consistency"]["skew_seconds"]) == ("group", 0.0)
    assert len({one["group"] for one in taken["volumes"]}) == 1 and taken["volumes"][0]["group"]
    nothing_left(east, counting)

    west.kubectl("create", "namespace", counting)
    good(bring(west, counting, taken["volumes"]))
    first, second = counts(west, counting)
    assert second > 0 and first - second in (0, 1), f"{first} and {second} are no one instant"


def test_snapshots_one_by_one_are_not_said_to_be_one_instant(east: Site, counting: str) -> None:
    taken = good(export(east, counting, group_snapshots="never"))
    assert taken["consistency"]["mode"] == "per_volume" and {one["group"] for one in taken["volumes"]} == {None}
    first, second = (datetime.fromisoformat(one["consistency_point"]).timestamp() for one in taken["volumes"])
    assert taken["consistency"]["skew_seconds"] == pytest.approx(abs(first - second), abs=0.001)
    nothing_left(east, counting)


@pytest.fixture
def failing(east: Site) -> Iterator[str]:
    """A group snapshot class whose driver always says no."""
    name = "csi-group-fails"
    api = "groupsnapshot.storage.k8s.io/v1"
    fault = {"driver": DRIVER, "deletionPolicy": "Delete", "parameters": {"fault": "fail"}}
    east.apply(thing("VolumeGroupSnapshotClass", name, "", api, **fault))
    yield name
    east.kubectl("delete", "volumegroupsnapshotclass", name, "--ignore-not-found")


@pytest.mark.nightly
def test_a_driver_that_says_no_leaves_nothing_behind(east: Site, counting: str, failing: str) -> None:
    options: JSON = {"group_snapshot_classes": {DRIVER: failing}, "cut_timeout": "10s"}
    refused = export(east, counting, **options)
    assert refused["failed"] and "group_snapshots: never" in refused["msg"], refused["msg"]
    assert f"{counting}/first, {counting}/second: " in refused["msg"] and "snapshots that fail" in refused["msg"]
    assert refused["leftovers"] == []
    nothing_left(east, counting)
