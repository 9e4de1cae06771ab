# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore looks again at what it has made, against a real API server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import aftermath
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore, k8s_snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_object_that_a_controller_deletes_at_once_is_no_success(
    run: Any, api: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("doomed", "kept"):
        api("create", "configmap", name, "-n", namespace)
    taken = run(k8s_snapshot, site="east", point="p", application={"name": "a", "namespaces": [namespace]})
    api("delete", "configmap", "doomed", "kept", "-n", namespace)
    cluster, path = Cluster.connect({"kubeconfig": api.server.kubeconfig}), f"/api/v1/namespaces/{namespace}/configmaps"
    end, deleted, look = threading.Event(), threading.Event(), aftermath.note_vanished

    def controller() -> None:
        while not end.is_set():
            if cluster.delete(f"{path}/doomed"):
                deleted.set()

    def look_after_the_controller(*arguments: Any, **options: Any) -> None:
        # A busy machine may let the restore look first, which no restore can help.
        assert deleted.wait(60)
        look(*arguments, **options)

    monkeypatch.setattr(aftermath, "note_vanished", look_after_the_controller)
    thread = threading.Thread(target=controller)
    thread.start()
    try:
        done = run(k8s_restore, snapshot=taken["snapshot"]["tree"], point="p", existing="keep")
    finally:
        end.set()
        thread.join()
    entries = {entry["name"]: entry for entry in done["objects"]}
    assert done["failed"] and done["status"] == "partial" and done["counts"]["failed"] == 1
    assert "gone again" in entries[f"{namespace}/configmaps/doomed"]["msg"] and "gone again" in done["msg"]
    assert entries[f"{namespace}/configmaps/kept"]["failed"] is False
