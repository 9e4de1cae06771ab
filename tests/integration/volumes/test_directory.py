# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository in a directory that movers mount: a folder of the only node stands for the share of a NAS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..sites import JSON, Site, good, run
from .conftest import bring, claim, export, held, shell


@pytest.fixture
def share(east: Site, namespace: str) -> Iterator[JSON]:
    """A repository in a folder of the node; this machine reaches it through the node's own root."""
    if len(east.get("nodes")["items"]) > 1:
        pytest.skip("a folder of one node is not shared with the others")
    root = east.node_root()
    if not os.access(root, os.R_OK | os.W_OK):
        pytest.skip("the node's folders can be seen by root of this machine only")
    place = f"/var/muster-nas-{namespace}"
    east.in_node("mkdir", "-m", "700", place)
    known = {name: east.repository[name] for name in ("password_file", "restic")}
    volume = {"hostPath": {"path": place, "type": "Directory"}}
    try:
        repository = {**known, "url": f"{root}{place}", "volume": volume}
        yield {**repository, "id": good(run("repository", state="present", repository=repository))["id"]}
    finally:
        east.in_node("rm", "-rf", place)


@pytest.fixture
def data(east: Site, namespace: str) -> str:
    """The digest of a file on a claim that a pod holds."""
    east.apply(claim(namespace, "data", size="32Mi"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", "head -c 3000000 /dev/urandom > /data/file; sync")
    return shell(east, namespace, "writer", "sha256sum < /data/file").split()[0]


def test_volumes_go_to_a_share_and_come_back(
    east: Site, namespace: str, share: JSON, data: str, tmp_path: Path
) -> None:
    without = {name: value for name, value in share.items() if name != "volume"}
    refused = export(east, namespace, repository=without)
    assert refused["failed"] and "repository.volume" in refused["msg"]

    taken = good(export(east, namespace, repository=share))
    (volume,) = taken["volumes"]
    assert (volume["method"], volume["complete"], volume["files"]) == ("snapshot", True, 1)
    assert good(export(east, namespace, repository=share))["volumes"][0]["bytes_added"] < 100_000

    # Another password while movers are at rest; the old one is of no use any more.
    (tmp_path / "new").write_text("another password\n", encoding="utf-8")
    changed = {**share, "password_file": str(tmp_path / "new")}
    assert good(run("repository_key", new_password_file=changed["password_file"], repository=share))["changed"]
    gone = run("repository_key", state="absent", password_file=share["password_file"], repository=changed)
    assert good(gone)["changed"]
    stale = export(east, namespace, repository=share)
    assert stale["failed"] and "wrong password" in stale["msg"]

    other = f"{namespace}-back"
    east.kubectl("create", "namespace", other)
    try:
        options = {"repository": changed, "namespace_mapping": {namespace: other}, "verify": "content"}
        done = good(bring(east, other, taken["volumes"], **options))
        assert done["volumes"][0]["complete"]
        held(east, other, "reader", "data")
        assert shell(east, other, "reader", "sha256sum < /data/file").split()[0] == data
    finally:
        east.kubectl("delete", "namespace", other, "--wait=false")


@pytest.mark.nightly
def test_a_share_that_can_not_be_mounted_is_told(east: Site, namespace: str, share: JSON, data: str) -> None:
    assert data
    nowhere = {"hostPath": {"path": "/var/muster-nowhere", "type": "Directory"}}
    mover = {"image": east.facts["mover_image"], "registry": east.registry(), "start_timeout": "20s"}
    application = {"name": namespace, "namespaces": [namespace]}
    options = {"site": east.name, "application": application, "repository": {**share, "volume": nowhere}}
    failed = east.run("volume_export", mover=mover, **options)
    assert failed["failed"] and "repository" in failed["msg"] and "hostPath type check failed" in failed["msg"]
