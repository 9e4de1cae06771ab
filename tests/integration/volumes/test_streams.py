# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command in a real pod at east prints, through the repository, into a command in a real pod at west."""

from __future__ import annotations

import hashlib
import subprocess
import time

import pytest

from ..sites import JSON, Site, good, result_of, wait_until
from .conftest import bring, environment, export, held, restic, shell

MIB = 1 << 20
SIZE = 200 * MIB
PREPARE = "head -c {size} /dev/urandom > /tmp/dump; sha256sum < /tmp/dump"


def stream(command: str, **more: object) -> JSON:
    return {"name": "dump", "selector": "app=db", "command": ["/bin/sh", "-c", command], **more}


def database(site: Site, namespace: str) -> None:
    """A pod with the label that the streams look for."""
    held(site, namespace, "db")
    site.kubectl("label", "-n", namespace, "pod/db", "app=db")


def taken(east: Site, namespace: str, *streams: JSON) -> JSON:
    return export(east, namespace, application={"streams": list(streams)})


def stored(east: Site, namespace: str) -> str:
    return restic(east.repository, "snapshots", "--json", "--host", f"k8s:east/{namespace}/streams/dump").strip()


def test_two_hundred_mebibytes_come_back_as_they_were(east: Site, west: Site, namespace: str) -> None:
    database(east, namespace)
    digest = shell(east, namespace, "db", PREPARE.format(size=SIZE)).split()[0]
    back = {"command": ["/bin/sh", "-c", "sha256sum > /tmp/digest"]}
    (entry,) = good(taken(east, namespace, stream("cat /tmp/dump; echo done >&2", restore=back)))["volumes"]
    assert (entry["bytes"], entry["method"], entry["complete"]) == (SIZE, "stream", True)
    # Without us.
    command = [east.repository["restic"], "--no-cache", "dump", entry["snapshot"], "/dump"]
    printed = subprocess.run(command, env=environment(east.repository), capture_output=True, check=True).stdout
    assert hashlib.sha256(printed).hexdigest() == digest
    again = good(taken(east, namespace, stream("cat /tmp/dump", restore=back)))["volumes"][0]
    assert again["bytes_added"] < 10_000

    west.kubectl("create", "namespace", namespace)
    database(west, namespace)
    (done,) = good(bring(west, namespace, [entry]))["volumes"]
    assert (done["complete"], done["bytes"]) == (True, SIZE)
    assert shell(west, namespace, "db", "cat /tmp/digest").split()[0] == digest

    # One that fails is a failure, and one that is not there too.
    for end, words in (
        ("head -c 1000 > /dev/null; exit 4", "exit code 4"),
        ("exec /bin/nonsense", "exit code 127"),
    ):
        refused = bring(west, namespace, [entry], streams=[stream("-", restore={"command": ["sh", "-c", end]})])
        assert refused["failed"] and words in refused["msg"], refused["msg"]
    left = bring(west, namespace, [{**entry, "restore": None}])
    assert left["volumes"][0]["skipped"] and f"restic dump {entry['snapshot']} /dump" in left["volumes"][0]["msg"]


def test_a_command_that_dies_halfway_leaves_no_snapshot(east: Site, namespace: str) -> None:
    database(east, namespace)
    shell(east, namespace, "db", PREPARE.format(size=20 * MIB))
    result = taken(east, namespace, stream("cat /tmp/dump; echo 'no such table' >&2; exit 3"))
    assert result["failed"] and "ended with exit code 3 and said: no such table" in result["msg"]
    empty = taken(east, namespace, stream("exit 0"))
    assert empty["failed"] and "printed nothing" in empty["msg"]
    silent = taken(east, namespace, stream("cat /tmp/dump; sleep 600", stall_timeout="3s"))
    assert silent["failed"] and "no data moved for 3 seconds" in silent["msg"]
    assert stored(east, namespace) == "[]"


def test_a_pod_that_is_killed_halfway_leaves_no_snapshot(east: Site, namespace: str) -> None:
    database(east, namespace)
    endless = stream("touch /tmp/begun; while :; do head -c 1000000 /dev/urandom; sleep 0.1; done")
    application = {"name": namespace, "namespaces": [namespace], "streams": [endless]}
    started = east.start("volume_export", site="east", application=application)
    wait_until(lambda: "begun" in shell(east, namespace, "db", "ls /tmp"))
    east.kubectl("delete", "-n", namespace, "pod/db", "--grace-period=0", "--force")
    result = result_of(started)
    assert result["failed"] and "stream" in result["msg"], result["msg"]
    assert stored(east, namespace) == "[]"


@pytest.mark.nightly
def test_a_killed_task_leaves_no_snapshot(east: Site, namespace: str) -> None:
    database(east, namespace)
    endless = stream("touch /tmp/begun; while :; do head -c 1000000 /dev/urandom; sleep 0.1; done")
    application = {"name": namespace, "namespaces": [namespace], "streams": [endless]}
    east.start("volume_export", site="east", application=application)
    wait_until(lambda: "begun" in shell(east, namespace, "db", "ls /tmp"))
    east.end()
    time.sleep(5)
    assert stored(east, namespace) == "[]"
