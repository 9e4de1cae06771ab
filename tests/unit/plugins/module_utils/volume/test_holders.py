# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Movers that may hold a lock, looked for at two clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.api_server import ApiServer, running

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import client
from ansible_collections.muster.container_dr.plugins.module_utils._restic.locks import Holder
from ansible_collections.muster.container_dr.plugins.module_utils._volume import holders, naming

JOB = naming.object_name("20260101t000000-abcdef", "ledger", "data-0")
POD = f"{JOB}-x7k2p"


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ApiServer, ApiServer]]:
    monkeypatch.setattr(client, "_rest", lambda _attempt, _retry_after: 60.0)
    with running() as east, running() as west:
        yield east, west


def pod(name: str = POD, phase: str | None = "Running", *, label: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "muster-dr", "labels": {marks.MOVER: JOB} if label else {}},
        "status": {"phase": phase} if phase else {},
    }


def sites(*clusters: ApiServer) -> list[dict[str, Any]]:
    return [{"host": cluster.url, "validate_certs": False} for cluster in clusters]


@pytest.mark.parametrize(
    ("phase", "holder", "words"),
    [
        ("Running", Holder.ALIVE, "not finished"),
        ("Pending", Holder.ALIVE, "not finished"),
        (None, Holder.ALIVE, "not finished"),
        ("Succeeded", Holder.GONE, "has finished"),
        ("Failed", Holder.GONE, "has finished"),
        ("Unknown", Holder.UNKNOWN, "does not answer"),
    ],
)
def test_a_pod_that_is_there(
    clusters: tuple[ApiServer, ApiServer], phase: str | None, holder: Holder, words: str
) -> None:
    clusters[1].add(pod(phase=phase), pod(f"{JOB}-other"))
    found = holders.find(sites(*clusters), [POD, "laptop"])
    assert list(found) == [POD]
    assert (found[POD].holder, found[POD].absent) == (holder, False) and words in found[POD].why
    assert f"muster-dr/{POD}" in found[POD].why
    # One list per cluster, of movers alone.
    ((path, query),) = clusters[0].reads
    assert (path, query["labelSelector"]) == ("/api/v1/pods", marks.MOVER)


def test_a_pod_that_is_nowhere(clusters: tuple[ApiServer, ApiServer]) -> None:
    found = holders.find(sites(*clusters), [POD, "laptop", f"{POD}y", "muster-web"])
    assert list(found) == [POD]
    assert (found[POD].holder, found[POD].absent) == (Holder.GONE, True)


@pytest.mark.parametrize("status", [403, 500])
def test_while_a_cluster_does_not_answer_nobody_is_gone(clusters: tuple[ApiServer, ApiServer], status: int) -> None:
    clusters[1].broken["/api/v1/pods"] = status
    found = holders.find(sites(*clusters), [POD, "laptop"])
    assert list(found) == [POD] and found[POD].holder is Holder.UNKNOWN and "could not be asked" in found[POD].why
    clusters[0].add(pod(phase="Failed"))
    assert holders.find(sites(*clusters), [POD])[POD].holder is Holder.GONE


def test_a_cluster_that_is_off(clusters: tuple[ApiServer, ApiServer]) -> None:
    gone = [{"host": "http://127.0.0.1:9", "validate_certs": False}]
    assert holders.find([*sites(clusters[0]), *gone], [POD])[POD].holder is Holder.UNKNOWN


def test_without_clusters_nobody_knows() -> None:
    found = holders.find([], [POD, "laptop"])
    assert list(found) == [POD] and found[POD].holder is Holder.UNKNOWN and "sites" in found[POD].why


def test_a_wrong_kubeconfig_is_no_silent_cluster() -> None:
    with pytest.raises(InvalidInput):
        holders.find([{"kubeconfig": "/nowhere/kubeconfig"}], [POD])
