# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second copy in a bucket whose server lets nobody delete, not even who has its keys; restic and S3 are real."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ..sites import JSON, Site, good, run, wait_until
from .conftest import bucket, restic

LOCK = {"mode": "governance", "retain": "1d"}
SCALE = 3_000_000


@dataclass
class Vault:
    """A bucket with object lock at a site, and a repository with one sealed point in a directory of this machine."""

    site: Site
    name: str
    place: Path
    signing: JSON
    repository: JSON
    application: JSON

    @property
    def client(self) -> Any:
        return bucket(self.site)

    @property
    def copy(self) -> JSON:
        """The copy of the repository, as plain restic and the modules take it."""
        return self.site.repository_at(f"{self.name}/repository")

    @property
    def store(self) -> JSON:
        return self.site.store(f"s3://{self.name}/store")

    def mirror(self, **more: Any) -> JSON:
        options = {
            "application": self.application,
            "source": self.repository,
            "destination": self.copy,
            "source_store": {"url": str(self.place / "store")},
            "destination_store": self.store,
            "signing": self.signing,
            "object_lock": LOCK,
        }
        return run("repository_mirror", **{**options, **more})

    def versions(self, prefix: str = "") -> list[JSON]:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix)
        found = {
            (one["Key"], one["VersionId"]): one
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for one in page.get(kind, [])
        }
        return list(found.values())

    def empty(self) -> None:
        """Remove everything with the right to, which this hands out for it, and the bucket."""
        rule = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:BypassGovernanceRetention"],
            "Resource": [f"arn:aws:s3:::{self.name}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        self.client.put_bucket_policy(Bucket=self.name, Policy=policy)
        for one in self.versions():
            where = {"Bucket": self.name, "Key": one["Key"], "VersionId": one["VersionId"]}
            self.client.delete_object(BypassGovernanceRetention=True, **where)
        self.client.delete_bucket(Bucket=self.name)


@pytest.fixture
def vault(west: Site, facts: JSON, tmp_path: Path) -> Iterator[Vault]:
    name = f"vault-{uuid.uuid4().hex[:8]}"
    signing = {key: facts["signing"][key] for key in ("key", "allowed_signers", "identity")}
    # Plain restic reads a login from these too, though a directory needs none.
    known = {key: west.repository[key] for key in ("password_file", "restic", "access_key", "secret_key", "region")}
    repository = {**known, "url": str(tmp_path / "repository"), "ca_cert": west.repository["ca_cert"]}
    application = {"name": "vault", "namespaces": ["vault"]}
    made = Vault(west, name, tmp_path, signing, repository, application)
    seal(made)
    made.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    yield made
    made.empty()


def seal(vault: Vault) -> None:
    """A backup of some megabytes, and a point of it."""
    for folder in ("data", "store"):
        (vault.place / folder).mkdir()
    (vault.place / "data" / "file").write_bytes(uuid.uuid4().bytes * (SCALE // 16))
    good(run("repository", state="present", repository=vault.repository))
    restic(vault.repository, "backup", "--host", "k8s:east/objects", str(vault.place / "data"))
    (snapshot,) = json.loads(restic(vault.repository, "snapshots", "--json"))
    at = {"application": vault.application, "signing": vault.signing, "store": {"url": str(vault.place / "store")}}
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


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_nobody_deletes_the_second_copy_and_what_hides_it_is_taken_away(vault: Vault) -> None:
    first = good(vault.mirror())
    until = datetime.fromisoformat(first["object_lock"]["until"])
    assert timedelta(hours=23) < until - datetime.now(timezone.utc) <= timedelta(days=1)
    assert not good(vault.mirror())["changed"]
    client, notes = vault.client, ("/muster-lock.json", "/lock.json")
    locked = [one for one in vault.versions() if not one["Key"].endswith(notes)]
    assert len(locked) == first["objects_total"] + 2
    for one in locked:
        where = {"Bucket": vault.name, "Key": one["Key"], "VersionId": one["VersionId"]}
        held = client.get_object_retention(**where)["Retention"]
        assert held["Mode"] == "GOVERNANCE" and held["RetainUntilDate"] >= until
        for words in ({}, {"BypassGovernanceRetention": True}):
            with pytest.raises(ClientError) as refused:
                client.delete_object(**where, **words)
            assert code(refused) == "AccessDenied"

    # Who has the key to write hides everything, and puts other bytes of the same size over one pack.
    pack = next(one for one in locked if "/data/" in one["Key"])
    client.put_object(Bucket=vault.name, Key=pack["Key"], Body=b"!" * pack["Size"])
    for one in locked:
        if one is not pack:
            client.delete_object(Bucket=vault.name, Key=one["Key"])
    with pytest.raises(subprocess.CalledProcessError):
        restic(vault.copy, "check", "--no-lock", "--read-data")
    healed = good(vault.mirror())
    # The config is the only object of the repository that is sent again.
    assert healed["objects_copied"] == 1 and healed["objects_repaired"] == first["objects_total"] - 1
    restic(vault.copy, "check", "--no-lock", "--read-data")
    info = {"application": vault.application, "store": vault.store, "signing": vault.signing, "required": True}
    found = good(run("recovery_point_info", repository=vault.copy, verify="data", **info))
    assert found["point"]["lock"]["mode"] == "governance"
    # What was healed is locked anew, and then documents decide, which were locked after the data.
    assert found["point"]["lock"]["until"] == healed["object_lock"]["until"]
    assert datetime.fromisoformat(found["point"]["lock"]["until"]) >= until


@pytest.mark.nightly
def test_a_lock_of_compliance_is_ended_by_nobody_before_its_time(vault: Vault) -> None:
    client = vault.client
    until = datetime.now(timezone.utc) + timedelta(seconds=10)
    where = {"Bucket": vault.name, "Key": "object"}
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    where["VersionId"] = client.put_object(Body=b"bytes", **where, **lock)["VersionId"]

    def ended() -> bool:
        try:
            client.delete_object(BypassGovernanceRetention=True, **where)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
            return False
        return True

    wait_until(ended, 90)
    # Servers keep whole seconds.
    assert datetime.now(timezone.utc) >= until - timedelta(seconds=1)


@pytest.mark.nightly
def test_a_bucket_without_object_lock_is_refused(vault: Vault) -> None:
    other = {**vault.copy, "url": vault.copy["url"].replace(f"/{vault.name}/", "/muster/")}
    refused = vault.mirror(destination=other)
    assert refused["failed"] and "object lock of bucket muster is not enabled" in refused["msg"]
    assert not vault.versions()


def test_a_copy_with_a_key_of_its_own_is_locked_when_restic_has_written_it(vault: Vault) -> None:
    password = vault.place / "password"
    password.write_text(uuid.uuid4().hex)
    copy = {**vault.copy, "password_file": str(password)}
    options: JSON = {"mode": "recrypt", "destination": copy}
    first = good(vault.mirror(**options))
    until = datetime.fromisoformat(first["object_lock"]["until"])
    assert first["objects_copied"] == 1 and not good(vault.mirror(**options))["changed"]
    kinds = ("config", "keys/", "data/", "index/", "snapshots/")
    versions = vault.versions("repository/")
    locked = [one for one in versions if one["Key"].removeprefix("repository/").startswith(kinds)]
    client = vault.client
    for one in versions:
        where = {"Bucket": vault.name, "Key": one["Key"], "VersionId": one["VersionId"]}
        if one in locked:
            assert client.get_object_retention(**where)["Retention"]["RetainUntilDate"] >= until
            with pytest.raises(ClientError) as refused:
                client.delete_object(**where)
            assert code(refused) == "AccessDenied"
        elif "Size" in one:
            with pytest.raises(ClientError):
                client.get_object_retention(**where)

    pack = next(one for one in locked if "/data/" in one["Key"])
    client.put_object(Bucket=vault.name, Key=pack["Key"], Body=b"!" * pack["Size"])
    for one in locked:
        if one is not pack:
            client.delete_object(Bucket=vault.name, Key=one["Key"])
    healed = good(vault.mirror(**options))
    assert healed["objects_repaired"] == len(locked) and healed["objects_copied"] == 0
    restic(copy, "check", "--no-lock", "--read-data")
    info = {"application": vault.application, "store": vault.store, "signing": vault.signing, "required": True}
    found = good(run("recovery_point_info", repository=copy, verify="data", **info))
    assert found["point"]["lock"]["until"] == healed["object_lock"]["until"]
