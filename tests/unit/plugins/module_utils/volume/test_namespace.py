# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our own namespace: made, shared by backups of several applications at once, and gone with the last of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fakes.api_server import ApiServer, running
from fakes.storage import failure

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, liveness
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._volume import namespace

NAME = "muster-container-dr"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run on a machine of its own."""
    numbers = itertools.count()

    def ourselves() -> JSON:
        return {"boot": f"machine {next(numbers)}", "namespace": "n", "process": 1, "began": "1"}

    monkeypatch.setattr(liveness, "ourselves", ourselves)


@pytest.fixture
def cluster(server: ApiServer) -> Cluster:
    return Cluster.connect({"host": server.url})


def there(server: ApiServer) -> JSON | None:
    return server.get("namespaces", "", NAME)


def test_it_goes_with_the_last_that_uses_it(server: ApiServer, cluster: Cluster) -> None:
    namespace.ensure_ours(cluster, NAME, "shop")
    namespace.ensure_ours(cluster, NAME, "ledger")
    assert namespace.remove_ours(cluster, NAME, "shop") is False and there(server) is not None
    assert namespace.remove_ours(cluster, NAME, "ledger") is True and there(server) is None
    assert namespace.remove_ours(cluster, NAME, "ledger") is False


def test_a_killed_backup_is_replaced_by_the_next_of_its_application(server: ApiServer, cluster: Cluster) -> None:
    for _run in range(2):
        namespace.ensure_ours(cluster, NAME, "shop")
    assert namespace.remove_ours(cluster, NAME, "shop") is True and there(server) is None


def test_one_that_was_killed_long_ago_keeps_nothing(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = clock.now()
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "now", lambda: today - timedelta(hours=25))
        namespace.ensure_ours(cluster, NAME, "shop")
    namespace.ensure_ours(cluster, NAME, "ledger")
    assert namespace.remove_ours(cluster, NAME, "ledger") is True and there(server) is None


def test_one_that_was_killed_on_this_machine_keeps_nothing(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What one process has begun earlier has ended.
    monkeypatch.setattr(liveness, "ourselves", lambda: {"boot": "b", "namespace": "n", "process": 1, "began": "1"})
    namespace.ensure_ours(cluster, NAME, "shop")
    assert namespace.remove_ours(cluster, NAME) is True and there(server) is None


@pytest.mark.parametrize(("hours", "gone"), [(23, False), (25, True)])
def test_what_an_earlier_version_has_said_counts(server: ApiServer, cluster: Cluster, hours: int, gone: bool) -> None:
    namespace.ensure_ours(cluster, NAME, "shop")
    found = there(server)
    assert found is not None
    found["metadata"]["annotations"] = {
        key: clock.iso(clock.now() - timedelta(hours=hours)) for key in found["metadata"]["annotations"]
    }
    assert namespace.remove_ours(cluster, NAME) is gone


def test_who_begins_while_it_is_taken_away_has_it(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another backup says that it uses the namespace between our look at it and our deletion of it."""
    namespace.ensure_ours(cluster, NAME, "shop")
    delete = cluster.delete

    def late(path: str, **options: str) -> bool:
        namespace.ensure_ours(Cluster.connect({"host": server.url}), NAME, "ledger")
        return delete(path, **options)

    monkeypatch.setattr(cluster, "delete", late)
    assert namespace.remove_ours(cluster, NAME, "shop") is False
    found = there(server)
    assert found is not None and len(found["metadata"]["annotations"]) == 1


def test_what_others_made_or_work_in_stays(server: ApiServer, cluster: Cluster) -> None:
    server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}})
    namespace.ensure_ours(cluster, NAME, "shop")
    assert namespace.remove_ours(cluster, NAME, "shop") is False
    found = there(server)
    assert found is not None and not found["metadata"].get("annotations")


def test_it_must_let_movers_read_any_file(server: ApiServer, cluster: Cluster) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}})
    failure(lambda: namespace.ensure_ours(cluster, NAME, "shop"), Conflict, NAME, "baseline")
