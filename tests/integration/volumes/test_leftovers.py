# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed backup has left is removed by that of another application, down to the data in the storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..sites import JSON, Site, good, kill, wait_until
from .conftest import claim, export, held, mover, shell
from .test_movers import left


@pytest.fixture
def other(east: Site, namespace: str) -> Iterator[str]:
    """The namespace of another application, with a small volume."""
    name = f"{namespace}-other"
    east.kubectl("create", "namespace", name)
    east.apply(claim(name, "small"))
    held(east, name, "writer", "small")
    yield name
    east.kubectl("delete", "namespace", name, "--wait=false")


def contents(site: Site, namespace: str) -> list[JSON]:
    """Of the snapshots of a namespace and of their clones."""
    found: list[JSON] = site.get("volumesnapshotcontents")["items"]
    mark = "container-dr.muster.dev/application"
    return [
        one
        for one in found
        if one["spec"]["volumeSnapshotRef"]["namespace"] == namespace
        or one["metadata"].get("labels", {}).get(mark) == namespace
    ]


def stored(site: Site, handle: str) -> str:
    """The files in which the bed's driver has a snapshot."""
    driver = next(name for name in site.names("pod", "kube-system") if name.startswith("pod/muster-csi"))
    look = f"find / -path /proc -prune -o -path '*/snapshots/{handle}*' -type f -print 2>/dev/null || true"
    return site.kubectl("exec", "-n", "kube-system", driver, "-c", "driver", "--", "sh", "-c", look).strip()


def moving(site: Site, application: str) -> bool:
    """Whether a mover of this application runs."""
    label = f"container-dr.muster.dev/application={application}"
    pods = site.get("pods", "-A", "-l", label)["items"]
    return any(one["status"].get("phase") == "Running" for one in pods)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_another_application_removes_what_a_killed_backup_left(
    east: Site, namespace: str, other: str, whole: bool
) -> None:
    """With ``whole`` its namespace is gone too, so that nothing but a kept content tells of the data."""
    east.apply(claim(namespace, "data", size="1Gi"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "head -c 300000000 /dev/urandom > /data/big; sync")
    application = {"name": namespace, "namespaces": [namespace]}
    started = east.start("volume_export", site=east.name, application=application, mover=mover(east))
    wait_until(lambda: moving(east, namespace), 120)
    # Before it is dead: from then on a test beside this one is another application too, and may be the first.
    handles = {one["status"]["snapshotHandle"] for one in contents(east, namespace)}
    assert left(east, namespace) and len(handles) == 1 and stored(east, next(iter(handles)))
    kill(started)
    if whole:
        east.kubectl("delete", "namespace", namespace, "--wait=true", "--timeout=120s")
        assert {one["spec"]["deletionPolicy"] for one in contents(east, namespace)} <= {"Retain"}

    done = good(export(east, other))
    for entry in [one for one in done["cleaned"] if one["application"] == namespace]:
        assert entry["removed"] and not entry["failed"], entry
    wait_until(lambda: not left(east, namespace), 60)
    wait_until(lambda: not contents(east, namespace), 60)
    assert not stored(east, next(iter(handles)))
