# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which claims are found, how each one is read, and what is said about those that can not be."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.storage import LocalCluster, Storage, claim, failure, pod, snapshot_class, thing

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._volume import claim as claims
from ansible_collections.muster.container_dr.plugins.module_utils._volume.claim import Source, Survey


@pytest.fixture
def server() -> Storage:
    server = Storage()
    server.add(thing("Namespace", "shop", ""))
    return server


def survey(server: Storage, **options: Any) -> Survey:
    return claims.survey(LocalCluster(server), ["shop"], **options)


def only(server: Storage, **options: Any) -> Source:
    (source,) = survey(server, **options).sources
    return source


def problem(server: Storage, kind: type[MusterError], *words: str, **options: Any) -> None:
    error = only(server, **options).problem
    assert isinstance(error, kind), error
    assert not [word for word in words if word not in str(error)], error


def test_reads_what_the_cluster_says_about_a_claim(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("snap"))
    server.add(pod("web", "data", securityContext={"runAsUser": 1000}), pod("old", "data", phase="Succeeded"))
    found = only(server).claim
    assert (found.label, found.driver, found.size, found.node) == ("shop/data", "csi.example.com", 1 << 30, "node-1")
    assert (found.used_by, found.run_as_user) == (("web",), 1000)


LABEL = {"level": "s0:c1,c2"}


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({}, None),
        ({"securityContext": {"seLinuxOptions": LABEL}}, LABEL),
        ({"mine": LABEL, "securityContext": {"seLinuxOptions": {"level": "s0"}}}, LABEL),
        ({"others": {"level": "s0:c8"}, "securityContext": {"seLinuxOptions": LABEL}}, LABEL),
    ],
)
def test_the_label_of_who_uses_a_claim(server: Storage, spec: dict[str, Any], label: dict[str, Any] | None) -> None:
    """A container's own counts before its pod's, and that of one without the claim does not count."""
    web = pod("web", "data", securityContext=spec.get("securityContext"))
    (volume,) = web["spec"]["volumes"]
    mounts = [{"name": volume["name"], "mountPath": "/data"}]
    web["spec"]["containers"] = [
        {"name": "proxy", "securityContext": {"seLinuxOptions": spec.get("others")}},
        {"name": "web", "volumeMounts": mounts, "securityContext": {"seLinuxOptions": spec.get("mine")}},
    ]
    server.add(*claim("data"), web)
    assert only(server).claim.selinux == label
    assert claims.refresh(LocalCluster(server), only(server).claim).selinux == label


def test_the_only_class_of_the_driver_is_used(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("snap"), snapshot_class("foreign", "other.example.com", default=True))
    assert only(server).snapshot_class == "snap"


def test_the_default_class_is_used_among_several(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("a"), snapshot_class("b", default=True))
    assert only(server).snapshot_class == "b"


def test_an_explicit_class_goes_before_the_default(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("a"), snapshot_class("b", default=True))
    assert only(server, snapshot_classes={"csi.example.com": "a"}).snapshot_class == "a"


def test_several_classes_without_a_default_are_named(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("a"), snapshot_class("b"))
    problem(server, InvalidInput, "shop/data", "2 snapshot classes", "(a, b)", "snapshot_classes")


def test_two_defaults_are_as_bad_as_none(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("a", default=True), snapshot_class("b", default=True))
    server.add(snapshot_class("c"))
    problem(server, InvalidInput, "2 snapshot classes", "(a, b)")


def test_an_explicit_class_must_exist_for_the_driver(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("a"), snapshot_class("foreign", "other.example.com"))
    problem(server, NotFound, "foreign", "Classes of the driver: a", snapshot_classes={"csi.example.com": "foreign"})


def test_without_a_class_a_csi_volume_is_never_read_live_unasked(server: Storage) -> None:
    server.add(*claim("data"))
    problem(
        server,
        NotFound,
        "shop/data",
        "no VolumeSnapshotClass",
        "csi.example.com",
        "storage class fast to stopped",
        "or to live",
    )
    assert only(server, methods={"fast": "live"}).method == "live"


def test_a_volume_of_no_csi_driver_is_read_live(server: Storage) -> None:
    server.add(*claim("data", driver=None))
    assert (only(server).method, only(server).problem) == ("live", None)


def test_a_cluster_without_the_snapshot_api_has_no_class() -> None:
    server = Storage(snapshots=False)
    server.add(thing("Namespace", "shop", ""), *claim("data"))
    problem(server, NotFound, "no VolumeSnapshotClass")
    assert only(server, methods={"fast": "live"}).method == "live"


def test_snapshots_that_were_asked_for_need_a_class_and_a_csi_driver(server: Storage) -> None:
    server.add(*claim("data"))
    problem(server, NotFound, "no VolumeSnapshotClass", "csi.example.com", methods={"fast": "snapshot"})
    server.add(*claim("data", driver=None))
    problem(server, InvalidInput, "not a CSI volume", methods={"fast": "snapshot"})


def test_live_may_be_asked_for_although_there_is_a_class(server: Storage) -> None:
    server.add(*claim("data"), snapshot_class("snap"))
    assert only(server, methods={"fast": "live"}).method == "live"


def test_an_unknown_method_is_refused(server: Storage) -> None:
    server.add(*claim("data"))
    failure(lambda: survey(server, methods={"fast": "snapshots"}), InvalidInput, "methods", "fast", "snapshots", "auto")


@pytest.mark.parametrize(("phase", "word"), [("Pending", "no volume yet"), ("Lost", "its volume is gone")])
def test_claims_without_a_volume_are_a_problem_of_their_own(server: Storage, phase: str, word: str) -> None:
    server.add(*claim("data", phase=phase), snapshot_class("snap"))
    problem(server, Refused, "shop/data", phase, word, "volumes.exclude")


def test_a_volume_in_block_mode_is_read_as_any_other(server: Storage) -> None:
    server.add(*claim("raw", spec={"volumeMode": "Block"}), snapshot_class("snap"))
    (source,) = survey(server).sources
    assert (source.problem, source.method, source.claim.device) == (None, "snapshot", True)


def test_a_pods_own_claim_can_only_be_read_from_a_snapshot(server: Storage) -> None:
    server.add(*claim("data", spec={"accessModes": ["ReadWriteOncePod"]}))
    live = {"methods": {"fast": "live"}}
    assert only(server, **live).problem is None
    server.add(pod("web", "data"))
    problem(server, Refused, "ReadWriteOncePod", "pod web", "VolumeSnapshotClass", **live)
    server.add(snapshot_class("snap"))
    assert (only(server).method, only(server).problem) == ("snapshot", None)


def test_excluded_claims_are_listed_with_their_reason(server: Storage) -> None:
    server.add(*claim("data"), *claim("cache-0"), *claim("cache-1"))
    server.add(*claim("scratch", metadata={"labels": {"velero.io/exclude-from-backup": "true"}}))
    server.add(*claim("tmp", metadata={"ownerReferences": [{"kind": "Pod", "name": "web"}]}))
    found = survey(server, exclude=[{"namespace": "shop", "name": "cache-*", "reason": "can be filled again"}])
    assert [source.claim.name for source in found.sources] == ["data"]
    assert {entry["what"]: entry["why"] for entry in found.excluded} == {
        "shop/cache-0": "can be filled again",
        "shop/cache-1": "can be filled again",
        "shop/scratch": "label velero.io/exclude-from-backup=true",
        "shop/tmp": "ephemeral volume of pod web; it ends with the pod",
    }


def test_an_excluded_claim_may_be_broken(server: Storage) -> None:
    server.add(*claim("data", phase="Lost"))
    assert not survey(server, exclude=[{"name": "data", "reason": "gone"}]).sources


def test_a_rule_is_for_its_namespace(server: Storage) -> None:
    server.add(*claim("data"))
    assert survey(server, exclude=[{"namespace": "other", "name": "data", "reason": "x"}]).sources


@pytest.mark.parametrize("rule", [{"name": "cache"}, {"reason": "why not"}])
def test_nothing_is_left_out_without_name_and_reason(server: Storage, rule: dict[str, str]) -> None:
    failure(lambda: survey(server, exclude=[rule]), InvalidInput, "volumes.exclude", "reason")


def test_data_that_no_claim_stands_for_is_named(server: Storage) -> None:
    volumes = [{"name": "logs", "hostPath": {"path": "/var/log"}}, {"name": "keys", "csi": {"driver": "k.example"}}]
    server.add(pod("web", volumes=[*volumes, {"name": "tmp", "emptyDir": {}}]))
    assert [entry["what"] for entry in survey(server).excluded] == ["shop/web/keys", "shop/web/logs", "shop/web/tmp"]
    assert "/var/log" in survey(server).excluded[1]["why"]


def test_a_missing_namespace_ends_the_survey(server: Storage) -> None:
    failure(lambda: claims.survey(LocalCluster(server), ["shp"]), NotFound, "namespace shp", "east")


def test_our_own_movers_do_not_count_as_users(server: Storage) -> None:
    server.add(pod("mover", "data", labels={marks.MOVER: "mover"}), pod("web", "data"))
    assert claims.users(LocalCluster(server), "shop", "data") == ["web"]


def test_a_pod_that_moved_is_found_again(server: Storage) -> None:
    server.add(*claim("data"), pod("web", "data"))
    before = only(server).claim
    server.add(pod("web", "data", nodeName="node-2", securityContext={"runAsUser": 7}))
    after = claims.refresh(LocalCluster(server), before)
    assert (before.node, after.node, after.run_as_user) == ("node-1", "node-2", 7)
