# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logins that kubelets get."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pull_secret import logins, pull_secret

NAME = "registry.example.com:5000/backup"
HOST = "registry.example.com:5000"


def auth_file(folder: Path, content: Any) -> str:
    path = folder / "auth.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_user_goes_before_the_auth_file(tmp_path: Path) -> None:
    file = auth_file(tmp_path, {"auths": {HOST: {"auth": "from-file"}}})
    found = logins({"name": NAME, "username": "u", "password": "p", "auth_file": file})
    assert found == {HOST: {"auth": base64.b64encode(b"u:p").decode()}}
    assert logins({"name": NAME, "auth_file": file}) == {HOST: {"auth": "from-file"}}


def test_only_logins_of_this_registry_are_taken(tmp_path: Path) -> None:
    auths = {HOST: {"auth": "a"}, f"{HOST}/backup": {"auth": "b"}, "other": {"auth": "c"}}
    found = logins({"name": NAME, "auth_file": auth_file(tmp_path, {"auths": auths})})
    assert found == {HOST: {"auth": "a"}, f"{HOST}/backup": {"auth": "b"}}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("docker.io/backup", "https://index.docker.io/v1/"),
        ("index.docker.io/backup", "docker.io"),
        (NAME, f"https://{HOST}"),
        (NAME, f"http://{HOST}/v2/"),
        (f"https://{NAME}/", HOST),
    ],
)
def test_a_registry_is_the_same_however_it_is_written(tmp_path: Path, name: str, key: str) -> None:
    file = auth_file(tmp_path, {"auths": {key: {"auth": "a"}, "https://other.example.com": {"auth": "b"}}})
    assert logins({"name": name, "auth_file": file}) == {key: {"auth": "a"}}
    assert list(logins({"name": name, "username": "u"})) == ["docker.io" if "docker" in name else HOST]


@pytest.mark.parametrize("document", [{"auths": {HOST: {}}, "credsStore": "desktop"}, {"auths": None}, {}])
def test_a_file_without_a_login_for_it_is_none(tmp_path: Path, document: Any) -> None:
    assert logins({"name": NAME, "auth_file": auth_file(tmp_path, document)}) == {}


def test_without_user_and_file_there_is_no_login() -> None:
    assert logins({"name": NAME, "username": None, "auth_file": None}) == logins({}) == logins(None) == {}


@pytest.mark.parametrize("content", ["no json", "[]", '{"auths": ["u:canary"]}'])
def test_an_unreadable_file_is_the_users_mistake_and_is_not_shown(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        logins({"name": NAME, "auth_file": auth_file(tmp_path, content)})
    assert "auth.json" in str(caught.value) and "canary" not in str(caught.value)


def test_the_secret_holds_them_as_the_kubelet_reads_it() -> None:
    made = pull_secret("shop", "pull", {HOST: {"auth": "a"}}, {"run": "r"})
    assert made["metadata"] == {"name": "pull", "namespace": "shop", "labels": {"run": "r"}}
    assert made["type"] == "kubernetes.io/dockerconfigjson"
    assert json.loads(base64.b64decode(made["data"][".dockerconfigjson"])) == {"auths": {HOST: {"auth": "a"}}}
