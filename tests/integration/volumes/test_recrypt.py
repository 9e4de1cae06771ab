# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second copy with a key of its own, from one object store to another with another account; all parts are real."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..sites import JSON, Site, good, run
from .conftest import bucket, restic

BUCKET = "muster"
APPLICATION = {"name": "recrypt", "namespaces": ["recrypt"]}


@dataclass
class Place:
    """A repository and a store below a prefix of a site's bucket, opened by the password in ``password_file``."""

    site: Site
    prefix: str
    password_file: str

    @property
    def repository(self) -> JSON:
        usual = self.site.repository_at(f"{BUCKET}/{self.prefix}/repository")
        return {**usual, "password_file": self.password_file}

    @property
    def store(self) -> JSON:
        return self.site.store(f"s3://{BUCKET}/{self.prefix}/store")

    def empty(self) -> None:
        client = bucket(self.site)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/"):
            for one in page.get("Contents", []):
                client.delete_object(Bucket=BUCKET, Key=one["Key"])


@pytest.fixture
def places(east: Site, west: Site, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    prefix, made = f"recrypt-{uuid.uuid4().hex[:8]}", []
    for site in (east, west):
        password = tmp_path / site.name
        password.write_text(uuid.uuid4().hex)
        made.append(Place(site, prefix, str(password)))
    yield made[0], made[1]
    for place in made:
        place.empty()


def test_a_copy_at_another_account_opens_with_its_own_password_alone(
    places: tuple[Place, Place], facts: JSON, tmp_path: Path
) -> None:
    ours, theirs = places
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(uuid.uuid4().bytes * 200_000)
    signing = {key: facts["signing"][key] for key in ("key", "allowed_signers", "identity")}
    good(run("repository", state="present", repository=ours.repository))
    restic(ours.repository, "backup", "--host", "k8s:east/objects", str(data))
    (snapshot,) = json.loads(restic(ours.repository, "snapshots", "--json"))
    at = {"application": APPLICATION, "signing": signing, "store": ours.store}
    begun = good(run("recovery_point", state="begun", site="east", **at))
    good(
        run(
            "recovery_point",
            state="sealed",
            site="east",
            **{key: begun[key] for key in ("id", "epoch", "started")},
            consistency={"point": begun["started"], "mode": "live"},
            objects={"snapshot": {"id": snapshot["id"], "tree": snapshot["tree"]}},
            volumes=[],
            **at,
        )
    )
    options = {
        "mode": "recrypt",
        "application": APPLICATION,
        "source": ours.repository,
        "destination": theirs.repository,
        "source_store": ours.store,
        "destination_store": theirs.store,
        "signing": signing,
    }
    copied = good(run("repository_mirror", **options))
    assert copied["points_copied"] == [begun["id"]] and copied["snapshots_copied"] == [snapshot["id"]]
    assert not good(run("repository_mirror", **options))["changed"]

    (copy,) = json.loads(restic(theirs.repository, "snapshots", "--json"))
    assert copy["original"] == snapshot["id"] != copy["id"] and copy["tree"] == snapshot["tree"]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        restic({**theirs.repository, "password_file": ours.password_file}, "snapshots")
    assert "wrong password" in refused.value.stderr
    found = good(
        run(
            "recovery_point_info",
            application=APPLICATION,
            store=theirs.store,
            repository=theirs.repository,
            signing=signing,
            verify="data",
            required=True,
        )
    )
    assert found["point"]["id"] == begun["id"]
    restored = tmp_path / "restored"
    restic(theirs.repository, "restore", copy["id"], "--target", str(restored))
    assert (restored / str(data).lstrip("/") / "file").read_bytes() == (data / "file").read_bytes()
