# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What real registries do in their own way; each fake behaves as one of them."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest
from fakes.copying import client, copy, same
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci import habits
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login

FOREVER = 1_000_000
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def dress(monkeypatch: pytest.MonkeyPatch, fake: FakeRegistry, host: str) -> None:
    """Make the engine take the fake for a registry of that name."""
    row = replace(habits.of(host), hosts=re.escape(fake.host))
    monkeypatch.setattr(habits, "_TABLE", (row, *habits._TABLE))


@pytest.mark.parametrize(
    ("host", "network", "resumes", "hint"),
    [
        ("docker.io", "registry-1.docker.io", True, "Create the repository"),
        (ECR, ECR, False, "aws ecr create-repository"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", None, False, "aws ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", None, False, "aws ecr"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", None, False, "aws ecr"),
        ("public.ecr.aws", None, False, "aws ecr"),
        ("europe-west3-docker.pkg.dev", None, True, "gcloud artifacts repositories create"),
        ("ghcr.io", None, True, "Create the repository"),
        ("quay.io", None, True, "Create the repository"),
        ("registry.example.com:5000", None, True, "Create the repository"),
        ("docker.io.example.com", None, True, "Create the repository"),
    ],
)
def test_the_table(host: str, network: str | None, resumes: bool, hint: str) -> None:
    found = habits.of(host)
    assert (habits.network_name(host), found.resumes) == (network or host, resumes)
    assert hint in found.create


def test_docker_hub_is_left_before_its_limit_is_used_up(target: FakeRegistry) -> None:
    marks = {"Docker-RateLimit-Source": "192.0.2.1", "RateLimit-Limit": "100;w=21600"}
    with FakeRegistry(marks=marks) as source:
        root = source.image("app", "v1")
        source.fault(r"GET .*/manifests/", headers={"RateLimit-Remaining": "6;w=21600"})
        source.fault(r"/manifests/", headers={"RateLimit-Remaining": "5;w=21600"}, times=FOREVER)
        with client(source) as registry:
            for _time in range(2):
                assert registry.manifest("app", "v1")
            asked = len(source.requests)
            with pytest.raises(Unavailable, match=r"only 5 more pulls.*Go on when.*mirrors"):
                registry.manifest("app", "v1")
            assert len(source.requests) == asked
            # To ask whether something is there costs nothing.
            assert registry.tag_digest("app", "v1") == root["digest"]


def test_limits_of_others_are_not_docker_hubs() -> None:
    with FakeRegistry(marks={"RateLimit-Remaining": "0"}) as source:
        source.image("app", "v1")
        with client(source) as registry:
            assert registry.manifest("app", "v1") and registry.manifest("app", "v1")


def test_ecr_gets_a_blob_in_one_part(source: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeRegistry(parts=False, mounts=False) as target:
        target.repository("backup/app")
        target.creates = False
        dress(monkeypatch, target, ECR)
        root = source.image("app", layers=(os.urandom(300_000),))
        target.fault(r"PUT .*/blobs/uploads/", swallow=100_000, times=2)
        copy(source, target, root["digest"])
        same(source, target)
        assert not [line for line in target.requests if line.startswith("PATCH")]


@pytest.mark.parametrize(
    ("host", "hint"),
    [(ECR, "aws ecr create-repository"), ("europe-docker.pkg.dev", "gcloud artifacts"), ("harbor.test", "project")],
)
def test_a_repository_that_a_push_does_not_make(
    source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, host: str, hint: str
) -> None:
    with FakeRegistry(creates=False) as target:
        dress(monkeypatch, target, host)
        with pytest.raises(NotFound, match=rf"with name 'backup/app' does not exist.*{hint}"):
            copy(source, target, source.image("app")["digest"])


@pytest.mark.parametrize("header", ["X-JFrog-Version", "X-Artifactory-Id"])
@pytest.mark.parametrize("auth", ["none", "basic"])
def test_artifactory_denies_what_is_missing(source: FakeRegistry, header: str, auth: str) -> None:
    with FakeRegistry(auth=auth) as target:
        root = source.image("app", "v1")
        keyring = Keyring()
        keyring.add(target.host, Login("muster", "secret"))
        if auth != "none":
            target.fault(".")
        target.fault(r"(GET|HEAD) .*/manifests/", status=403, headers={header: "7"}, times=2)
        target.fault(r"HEAD .*/blobs/", status=403, headers={header: "7"}, times=2)
        copy(source, target, root["digest"], keyring=keyring)
        same(source, target)


def test_elsewhere_403_is_a_refusal(source: FakeRegistry, target: FakeRegistry) -> None:
    target.fault(r"GET .*/manifests/", status=403, body=b"denied: permission_denied: write_package", times=2)
    with pytest.raises(Denied, match="write_package"):
        copy(source, target, source.image("app")["digest"])


def test_harbor_gets_no_cookie_back(source: FakeRegistry) -> None:
    with FakeRegistry(auth="none", marks={"Set-Cookie": "sid=harbor-session; Path=/; HttpOnly"}) as target:
        copy(source, target, source.image("app")["digest"])
        same(source, target)
        assert not [headers["Cookie"] for headers in target.headers if "Cookie" in headers]


def test_upload_sessions_at_another_host_get_no_login(source: FakeRegistry) -> None:
    with FakeRegistry() as storage, FakeRegistry(auth="basic", locations=f"http://{storage.host}") as target:
        storage.uploads, storage.repositories = target.uploads, target.repositories
        keyring = Keyring()
        keyring.add(target.host, Login("muster", "secret"))
        copy(source, target, source.image("app")["digest"], keyring=keyring)
        same(source, target)
        assert len(storage.requests) == 2 and not any(storage.authorized)
