# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command in a real pod at east prints, through the repository, into a command in a real pod at west."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time

import pytest

from ..sites import JSON, ROOT, Site, good, result_of, thing, wait_until
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
    assert again["bytes_added"] < 100_000

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


@pytest.mark.nightly
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


BIN = "/usr/lib/postgresql/15/bin"
SERVE = (
    f"{BIN}/initdb -U postgres -D /tmp/data -A trust && exec {BIN}/postgres -D /tmp/data -k /tmp -c listen_addresses="
)


def postgres(site: Site, namespace: str) -> None:
    """A pod with a PostgreSQL that is empty."""
    # It comes with the ledger, which is not wanted itself.
    for words in ([], ["--delete"]):
        subprocess.run([ROOT / "tests/sites/apps/ledger/deploy", "--site", site.name, *words], check=True)
    registry = site.registry()
    login = {key: registry[key] for key in ("username", "password")}
    config = json.dumps({"auths": {registry["name"]: login}})
    secret = thing("Secret", "login", namespace, type="kubernetes.io/dockerconfigjson")
    container = {
        "name": "postgres",
        "image": f"{registry['name']}/ledger/postgres:1",
        "command": ["/bin/sh", "-c", SERVE],
        "env": [{"name": "PGHOST", "value": "/tmp"}, {"name": "PGUSER", "value": "postgres"}],
        "readinessProbe": {"exec": {"command": [f"{BIN}/pg_isready", "--quiet"]}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "imagePullSecrets": [{"name": "login"}], "securityContext": {"runAsUser": 999}}
    pod = thing("Pod", "db", namespace, metadata={"labels": {"app": "db"}}, spec=spec)
    site.apply({**secret, "stringData": {".dockerconfigjson": config}}, pod)
    site.kubectl("wait", "-n", namespace, "pod/db", "--for=condition=Ready", "--timeout=180s")


@pytest.mark.nightly
def test_a_database_is_dumped_while_it_is_written_to_and_given_back(east: Site, west: Site, namespace: str) -> None:
    postgres(east, namespace)
    shell(east, namespace, "db", f"{BIN}/createdb bank; {BIN}/pgbench -q -i -s 3 bank 2>/dev/null")
    shell(east, namespace, "db", f"({BIN}/pgbench -T 60 bank > /dev/null 2>&1 &)")
    dump = {
        "name": "bank",
        "selector": "app=db",
        "command": [f"{BIN}/pg_dump", "--format=custom", "--compress=0", "bank"],
    }
    restore = ["--clean", "--if-exists", "--single-transaction", "--dbname=bank"]
    dump["restore"] = {"command": [f"{BIN}/pg_restore", *restore]}
    volumes = good(export(east, namespace, application={"streams": [dump]}))["volumes"]
    west.kubectl("create", "namespace", namespace)
    postgres(west, namespace)
    shell(west, namespace, "db", f"{BIN}/createdb bank")
    for _time in range(2):
        (done,) = good(bring(west, namespace, volumes))["volumes"]
        assert done["complete"]
    # What pgbench moves between the tables adds up in each of its transactions.
    sums = "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), count(*)"
    query = f"{BIN}/psql --no-align --tuples-only bank -c '{sums} from pgbench_accounts'"
    accounts, branches, count = shell(west, namespace, "db", query).strip().split("|")
    assert accounts == branches and count == "300000"


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
