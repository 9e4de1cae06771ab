# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies between two registries that misbehave: bytes in are bytes out, and nothing is sent twice."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fakes.copying import connect, copy, same
from fakes.registry import INDEX, MANIFEST, FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Denied,
    Incomplete,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import (
    Copier,
    Route,
    Tally,
    keep_tag,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import Endpoint, Transport
from ansible_collections.muster.container_dr.plugins.module_utils._oci.wholeness import Wholeness


def test_an_index_with_all_platforms_once(source: FakeRegistry, target: FakeRegistry) -> None:
    shared = os.urandom(3_000_000)
    children = [
        {**source.image("app", layers=(shared, machine.encode()), machine=machine), "platform": {"os": "linux"}}
        for machine in ("amd64", "arm64")
    ]
    root = source.index("app", children, "v1")
    planned = copy(source, target, root["digest"], write=False)
    assert target.writes() == []
    first = copy(source, target, root["digest"])
    same(source, target)
    assert target.repository("backup/app").tags == {keep_tag(root["digest"]): root["digest"]}
    unique = sum(len(data) for data in source.repository("app").blobs.values())
    assert target.uploaded_bytes == unique
    assert (planned.bytes, planned.blobs) == (first.bytes, first.blobs)
    assert first.bytes == unique + sum(len(data) for data, _type in source.repository("app").manifests.values())
    with target.watched() as seen:
        second = copy(source, target, root["digest"])
    assert not second.changed
    assert second.bytes == 0
    assert all(line.split()[0] in ("GET", "HEAD") for line in seen)
    assert not any("tags/list" in line or "_catalog" in line for line in source.requests + target.requests)


def test_a_manifest_that_is_named_twice_is_planned_once(source: FakeRegistry, target: FakeRegistry) -> None:
    child = source.image("app", layers=(b"one",))
    platforms = [{"os": "linux", "architecture": "arm64", "variant": variant} for variant in ("v8", "v9")]
    root = source.index("app", [{**child, "platform": platform} for platform in platforms])
    planned = copy(source, target, root["digest"], write=False)
    done = copy(source, target, root["digest"])
    assert (planned.bytes, planned.manifests) == (done.bytes, done.manifests)
    # Another repository of a registry has it still to get.
    registries = connect(source, target)
    counted = {}
    for write in (False, True):
        copier, tally = Copier(registries.at(target.host), write=write), Tally()
        for to in ("one", "two"):
            copier.copy(Route(registries.at(source.host), "app", to), root["digest"], tally)
        copier.close()
        counted[write] = tally.bytes, tally.manifests
    registries.close()
    assert counted[False] == counted[True]


def test_no_workers_are_one(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=(b"one", b"two"))
    assert copy(source, target, root["digest"], workers=0).blobs == 3
    same(source, target)


def test_children_come_before_parents(source: FakeRegistry, target: FakeRegistry) -> None:
    # The fake refuses a manifest whose parts are not there, so passing is the proof; the order is looked at as well.
    child = source.image("app", layers=(b"one", b"two"))
    root = source.index("app", [child])
    copy(source, target, root["digest"])
    puts = [line for line in target.writes() if "/manifests/" in line]
    assert [keep_tag(root["digest"]) in line for line in puts] == [False, True]


def test_what_was_lost_below_a_root_is_repaired(source: FakeRegistry, target: FakeRegistry) -> None:
    child = source.image("app", layers=(b"one", b"two"))
    root = source.index("app", [child])
    copy(source, target, root["digest"])
    lost = source.blob("app", b"two")["digest"]
    del target.repository("backup/app").blobs[lost]
    registries = connect(target)
    with pytest.raises(Incomplete, match=f"layer {lost}"):
        Wholeness().check(registries.at(target.host), "backup/app", root["digest"])
    tally = copy(source, target, root["digest"])
    assert (tally.blobs, tally.manifests) == (1, 0)
    Wholeness().check(registries.at(target.host), "backup/app", root["digest"])
    registries.close()


def test_blobs_are_mounted_across_repositories(source: FakeRegistry, target: FakeRegistry) -> None:
    layer = os.urandom(100_000)
    one, two = source.image("app", layers=(layer,)), source.image("other", layers=(layer, b"more"))
    registries = connect(source, target)
    copier = Copier(registries.at(target.host))
    origin = registries.at(source.host)
    tally = Tally()
    copier.copy(Route(origin, "app", "backup/app"), one["digest"], tally)
    copier.copy(Route(origin, "other", "backup/other"), two["digest"], tally)
    copier.close()
    registries.close()
    assert tally.mounted == 1
    unique = {**source.repository("app").blobs, **source.repository("other").blobs}
    assert target.uploaded_bytes == sum(map(len, unique.values()))


@pytest.mark.parametrize("itself", [True, False])
def test_a_registry_that_mounts_is_not_asked_for_a_blob_first(
    source: FakeRegistry, target: FakeRegistry, itself: bool
) -> None:
    """The upload's own request says what is missing, once the registry was seen to tell; else it is looked for."""
    target.mounts_itself = itself
    first, second, third = (
        source.image(name, layers=(b"shared", *(f"{name} {number}".encode() for number in range(5))))
        for name in ("first", "second", "third")
    )
    held = [target.blob("backup/third", f"third {number}".encode())["digest"] for number in range(4)]
    registries = connect(source, target)
    copier, origin, tally = Copier(registries.at(target.host)), registries.at(source.host), Tally()
    try:
        copier.copy(Route(origin, "first", "backup/first"), first["digest"], Tally())
        copier.copy(Route(origin, "second", "backup/second"), second["digest"], Tally())
        with target.watched() as seen:
            copier.copy(Route(origin, "third", "backup/third"), third["digest"], tally)
    finally:
        copier.close()
        registries.close()
    same(source, target, repository="third", to="backup/third")
    # The configuration and one layer: what was there is neither sent again nor counted as linked.
    assert (tally.blobs, tally.mounted) == (2, 1)
    assert not [line for line in seen if line.startswith("PUT") and any(digest[7:] in line for digest in held)]
    looked = [line for line in seen if line.startswith("HEAD") and "/blobs/" in line]
    # That something is there is not believed, as it then is not sent.
    assert len(looked) == (len(held) if itself else 6)


@pytest.mark.parametrize("itself", [True, False])
def test_a_mount_that_is_said_and_not_done_is_seen(source: FakeRegistry, target: FakeRegistry, itself: bool) -> None:
    """The registry takes manifests whose blobs are missing, so that nothing else would tell."""
    target.trusting = True
    if itself:
        target.mounts_itself = 201
    else:
        target.mounts = target.mounts_itself = 201
    roots = {
        name: source.image(name, layers=(b"shared", *(f"{name} {number}".encode() for number in range(3))))
        for name in ("first", "second", "third")
    }
    registries = connect(source, target)
    copier, tally = Copier(registries.at(target.host)), Tally()
    try:
        for name, root in roots.items():
            copier.copy(Route(registries.at(source.host), name, f"backup/{name}"), root["digest"], tally)
    finally:
        copier.close()
        registries.close()
    for name in roots:
        same(source, target, repository=name, to=f"backup/{name}")
    assert tally.mounted == (2 if itself else 0)


def test_what_an_absent_index_names_is_not_asked_for(source: FakeRegistry, target: FakeRegistry) -> None:
    machines = ("amd64", "arm64")
    children = [source.image("app", layers=(b"shared", machine.encode()), machine=machine) for machine in machines]
    root = source.index("app", children, "v1")
    copy(source, target, root["digest"])
    asked = [line for line in target.requests if line.startswith("GET")]
    assert len(asked) == 2, "the tag and the digest of the index"


def test_children_that_came_before_their_index_was_lost(source: FakeRegistry, target: FakeRegistry) -> None:
    """Check mode tells what is done: the manifests are put once more, no blob is sent."""
    child = source.image("app", layers=(b"one", b"two"))
    root = source.index("app", [child])
    copy(source, target, root["digest"])
    del target.repository("backup/app").manifests[root["digest"]]
    target.repository("backup/app").tags.clear()
    planned = copy(source, target, root["digest"], write=False)
    done = copy(source, target, root["digest"])
    assert (done.blobs, done.mounted, done.manifests) == (0, 0, 2)
    assert (planned.blobs, planned.mounted, planned.manifests, planned.bytes) == (0, 0, 2, done.bytes)


def test_a_child_of_two_indexes_is_put_once(source: FakeRegistry, target: FakeRegistry) -> None:
    child = source.image("app", layers=(b"one",))
    roots = [source.index("app", [child]), source.index("app", [child, source.image("app", layers=(b"two",))])]
    registries = connect(source, target)
    copier = Copier(registries.at(target.host))
    try:
        for root in roots:
            copier.copy(Route(registries.at(source.host), "app", "backup/app"), root["digest"], Tally())
    finally:
        copier.close()
        registries.close()
    assert len([line for line in target.requests if line.startswith("PUT") and child["digest"] in line]) == 1


def test_a_child_that_the_source_lost_and_the_target_has(source: FakeRegistry, target: FakeRegistry) -> None:
    child = source.image("app", layers=(b"one", b"two"))
    root = source.index("app", [child])
    copy(source, target, root["digest"])
    del target.repository("backup/app").manifests[root["digest"]]
    target.repository("backup/app").tags.clear()
    kept = source.repository("app").manifests.pop(child["digest"])
    assert copy(source, target, root["digest"]).manifests == 1
    source.repository("app").manifests[child["digest"]] = kept
    same(source, target)


def test_within_one_registry_nothing_is_sent(source: FakeRegistry) -> None:
    root = source.image("app", layers=(os.urandom(1000),))
    tally = copy(source, source, root["digest"])
    assert (tally.blobs, tally.mounted, source.uploaded_bytes) == (0, 2, 0)
    same(source, source)


def test_a_registry_that_never_mounts(source: FakeRegistry) -> None:
    source.mounts = False
    root = source.image("app", layers=(os.urandom(1000),))
    assert copy(source, source, root["digest"]).blobs == 2
    same(source, source)


@pytest.mark.parametrize("api", [False, True])
def test_signatures_and_referrers_travel_of_children_too(api: bool) -> None:
    with FakeRegistry(referrers=True) as source, FakeRegistry(referrers=api) as target:
        child = source.image("app", layers=(b"one",))
        root = source.index("app", [child], "v1")
        sbom = source.image("app", layers=(b"sbom",), subject=child, artifactType="application/spdx+json")
        source.image("app", layers=(b"signed sbom",), subject=sbom)
        for described in (root, child):
            tag = described["digest"].replace(":", "-")
            source.image("app", f"{tag}.sig", layers=(b"signature of " + tag.encode(),))
        first = copy(source, target, root["digest"])
        same(source, target)
        assert first.attachments == 4
        tags = target.repository("backup/app").tags
        for described in (root, child):
            tag = described["digest"].replace(":", "-") + ".sig"
            assert tags[tag] == source.repository("app").tags[tag]
        registries = connect(target)
        listed = registries.at(target.host).referrers("backup/app", child["digest"])
        assert [found.digest for found in listed] == [sbom["digest"]]
        registries.close()
        with target.watched():
            second = copy(source, target, root["digest"])
        assert not second.changed
        # A signature that was made anew replaces the old one.
        tag = root["digest"].replace(":", "-") + ".sig"
        fresh = source.image("app", tag, layers=(b"another signature",))
        assert copy(source, target, root["digest"]).changed
        assert target.repository("backup/app").tags[tag] == fresh["digest"]


def test_referrers_from_the_fallback_tag(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app")
    sbom = source.image("app", layers=(b"sbom",), subject=root)
    source.index("app", [{**sbom, "annotations": {"made": "by hand"}}], root["digest"].replace(":", "-"))
    copy(source, target, root["digest"])
    fallback = target.repository("backup/app").tags[root["digest"].replace(":", "-")]
    assert b"made" in target.repository("backup/app").manifests[fallback][0]
    assert not copy(source, target, root["digest"]).changed


@pytest.mark.parametrize("api", [False, True])
def test_what_is_attached_to_what_is_attached_travels(api: bool) -> None:
    """The signature of an SBOM, and what refers to the parts of an index that refers to an image."""
    with FakeRegistry(referrers=api) as source, FakeRegistry(referrers=api) as target:
        root = source.image("app")
        sbom = source.image("app", root["digest"].replace(":", "-") + ".sbom", layers=(b"sbom",))
        source.image("app", sbom["digest"].replace(":", "-") + ".sig", layers=(b"signature of the sbom",))
        part = source.image("app", layers=(b"a part of an artifact",))
        artifact = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [part], "subject": root}
        both = [source.manifest("app", artifact), source.image("app", layers=(b"of the part",), subject=part)]
        there = set(source.repository("app").manifests)
        if not api:
            source.index("app", both[:1], root["digest"].replace(":", "-"))
            source.index("app", both[1:], part["digest"].replace(":", "-"))
        assert copy(source, target, root["digest"]).attachments == 4
        # Lists of referrers are the target's own.
        assert there <= set(target.repository("backup/app").manifests)
        assert set(source.repository("app").blobs) == set(target.repository("backup/app").blobs)
        assert not copy(source, target, root["digest"]).changed


FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("source", r"GET .*/blobs/", {"cut": 700_000}),
    ("source", r"GET .*/blobs/", {"cut": 700_000, "times": 3}),
    ("source", r"GET .*/blobs/", {"reset": True}),
    ("source", r"GET .*/blobs/", {"flip": True}),
    ("source", r"GET .*/manifests/sha256", {"cut": 20}),
    ("source", r"GET .*/manifests/sha256", {"status": 503, "times": 3}),
    ("source", r"GET", {"status": 429, "headers": {"Retry-After": "0"}, "times": 4}),
    ("target", r"PUT .*/blobs/uploads/", {"swallow": 1_500_000}),
    ("target", r"PUT .*/blobs/uploads/", {"swallow": 0}),
    ("target", r"PUT .*/blobs/uploads/", {"status": 500}),
    ("target", r"PUT .*/blobs/uploads/", {"status": 404}),
    ("target", r"P(UT|ATCH) .*/blobs/uploads/", {"swallow": 900_000, "times": 2}),
    ("target", r"POST .*/blobs/uploads/", {"reset": True}),
    ("target", r"HEAD .*/blobs/", {"reset": True, "times": 2}),
    ("target", r"PUT .*/manifests/", {"status": 502, "times": 2}),
    ("target", r"PUT .*/manifests/", {"reset": True}),
]


@pytest.mark.parametrize(("side", "pattern", "what"), FAULTS)
def test_passing_faults_change_nothing(
    source: FakeRegistry, target: FakeRegistry, side: str, pattern: str, what: dict[str, Any]
) -> None:
    root = source.index("app", [source.image("app", layers=(os.urandom(4_000_000), b"small"))])
    (source if side == "source" else target).fault(pattern, **what)
    copy(source, target, root["digest"])
    same(source, target)


def test_a_broken_upload_continues_where_it_broke(source: FakeRegistry, target: FakeRegistry) -> None:
    layer = os.urandom(4_000_000)
    root = source.image("app", layers=(layer,))
    target.fault(r"PUT .*/blobs/uploads/", swallow=2_500_000)
    # The configuration may be the one that is hit; it is too small to be cut.
    copy(source, target, root["digest"])
    same(source, target)
    sizes = sum(map(len, source.repository("app").blobs.values()))
    assert target.uploaded_bytes == sizes


def test_a_broken_download_is_resumed_by_range(source: FakeRegistry, target: FakeRegistry) -> None:
    layer = source.blob("app", os.urandom(5_000_000))
    config = source.blob("app", b"{}")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    root = source.manifest("app", document)
    source.fault(rf"GET .*/blobs/{layer['digest']}", cut=3_500_000)
    copy(source, target, root["digest"])
    same(source, target)
    assert sum(f"blobs/{layer['digest']}" in line for line in source.requests) == 2


def test_a_registry_without_ranges(source: FakeRegistry, target: FakeRegistry) -> None:
    source.ranges = False
    root = source.image("app", layers=(os.urandom(3_000_000),))
    source.fault(r"GET .*/blobs/", cut=2_000_000, times=2)
    copy(source, target, root["digest"])
    same(source, target)


def test_damage_at_the_source_never_arrives(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=(b"as it was",))
    digest = source.blob("app", b"as it was")["digest"]
    source.repository("app").blobs[digest] = b"not as it"
    with pytest.raises(Corrupt, match="digest"):
        copy(source, target, root["digest"])
    assert target.repository("backup/app").manifests == {}
    assert digest not in target.repository("backup/app").blobs


def test_an_index_whose_child_is_missing_is_an_error(source: FakeRegistry, target: FakeRegistry) -> None:
    child = source.image("app")
    root = source.index("app", [child])
    del source.repository("app").manifests[child["digest"]]
    with pytest.raises(NotFound, match=child["digest"]):
        copy(source, target, root["digest"])
    assert target.repository("backup/app").manifests == {}


def test_a_source_that_is_away_matters_only_for_what_is_missing(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app")
    copy(source, target, root["digest"])
    source.fault(r".*", reset=True, times=1000)
    tally = copy(source, target, root["digest"])
    assert not tally.changed
    assert "could not be looked for" in tally.notes[0]
    other = source.image("app", layers=(b"new",))
    with pytest.raises(Unavailable, match=r"cannot be reached.*Check its address"):
        copy(source, target, other["digest"])


def test_a_source_that_is_away_is_not_asked_for_what_is_attached_to_each_child(
    source: FakeRegistry, target: FakeRegistry
) -> None:
    root = source.index("app", [source.image("app", layers=(b"%d" % number,)) for number in range(9)])
    copy(source, target, root["digest"])
    source.fault(r".*", reset=True, times=1000)
    with source.watched() as asked:
        assert not copy(source, target, root["digest"], workers=1).changed
    # The root, and the child that was walked to meanwhile.
    assert len({line.rpartition("/")[2][:20] for line in asked}) <= 2


def test_a_signature_that_is_made_anew_while_layers_move(source: FakeRegistry, target: FakeRegistry) -> None:
    """Some registries drop what a tag named before; what was found is copied, and the next copy finds the new one."""
    root = source.image("app", layers=(b"layer",))
    tag = root["digest"].replace(":", "-") + ".sig"
    before = source.image("app", tag, layers=(b"one",))

    def sign() -> None:
        source.image("app", tag, layers=(b"one", b"two"))
        source.repository("app").manifests.pop(before["digest"], None)

    source.fault("GET .*/blobs/", then=sign)
    copy(source, target, root["digest"], workers=1)
    assert target.repository("backup/app").tags[tag] == before["digest"]
    assert copy(source, target, root["digest"]).changed
    assert target.repository("backup/app").tags[tag] == source.repository("app").tags[tag]


def test_redirected_blobs_are_read_without_the_login(target: FakeRegistry) -> None:
    keyring = Keyring()
    with FakeRegistry() as storage, FakeRegistry(auth="basic", redirect_blobs_to=storage.host) as source:
        keyring.add(source.host, Login("muster", "secret"))
        root = source.image("app", layers=(b"stored elsewhere",))
        storage.repositories = source.repositories
        copy(source, target, root["digest"], keyring=keyring)
        same(source, target)
        assert storage.requests
        assert not any(storage.authorized)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_logins(auth: str) -> None:
    with FakeRegistry(auth=auth) as source, FakeRegistry(auth=auth) as target:
        root = source.image("app")
        keyring = Keyring()
        for fake in (source, target):
            keyring.add_document({"auths": {fake.host: {"username": "muster", "password": "stale"}}}, "an old secret")
            keyring.add_document({"auths": {fake.host: {"username": "muster", "password": "secret"}}}, "a good secret")
        copy(source, target, root["digest"], keyring=keyring)
        same(source, target)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_login_names_registry_and_user_but_not_the_password(source: FakeRegistry, auth: str) -> None:
    with FakeRegistry(auth=auth) as target:
        root = source.image("app")
        keyring = Keyring()
        keyring.add(target.host, Login("somebody", "canary-password"))
        with pytest.raises(Denied) as caught:
            copy(source, target, root["digest"], keyring=keyring)
        text = str(caught.value)
        assert target.host in text
        assert "somebody" in text
        assert "canary" not in text
        assert "canary" not in repr(keyring.candidates(target.host, "app"))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_no_login_at_all_is_said(source: FakeRegistry, auth: str) -> None:
    with FakeRegistry(auth=auth) as target, pytest.raises(Denied, match="none is known"):
        copy(source, target, source.image("app")["digest"])


def test_a_token_that_expired_is_replaced(source: FakeRegistry) -> None:
    with FakeRegistry(auth="bearer") as target:
        keyring = Keyring()
        keyring.add(target.host, Login("muster", "secret"))
        registries = connect(source, target, keyring=keyring)
        copier = Copier(registries.at(target.host))
        origin = registries.at(source.host)
        for layer in (b"one", b"two", b"three"):
            root = source.image("app", layers=(layer,))
            copier.copy(Route(origin, "app", "backup/app"), root["digest"], Tally())
            target.gate.tokens.clear()
        copier.close()
        registries.close()
        same(source, target)


def test_a_long_retry_after_is_told_instead_of_waited_for(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app")
    source.fault(r"GET", status=429, headers={"Retry-After": "21600"}, times=9)
    with pytest.raises(Unavailable, match="wait 21600 seconds"):
        copy(source, target, root["digest"])


def test_a_plain_http_server_is_recognised(source: FakeRegistry) -> None:
    registries = Registries(Transport([Endpoint(source.host)]), Keyring())
    with pytest.raises(Unavailable, match="does not speak TLS"):
        registries.at(source.host).manifest("app", "v1")


def test_every_request_may_be_the_last(source: FakeRegistry) -> None:
    """Killed at any request to the target, the same copy converges and shows nothing incomplete meanwhile."""
    root = source.index("app", [source.image("app", layers=(b"one", b"two"))])
    source.image("app", root["digest"].replace(":", "-") + ".sig", layers=(b"signature",))
    with FakeRegistry() as probe:
        copy(source, probe, root["digest"])
        total = len(probe.requests)
    for last in range(total):
        with FakeRegistry() as target:
            target.fault(r".*", times=last, status=0)
            target.fault(r".*", times=10_000, status=410)
            with pytest.raises(MusterError):
                copy(source, target, root["digest"])
            target.faults.clear()
            copy(source, target, root["digest"])
            same(source, target)
            assert not copy(source, target, root["digest"]).changed


def test_a_subject_that_a_killed_run_did_not_list_is_listed_by_the_next(
    source: FakeRegistry, target: FakeRegistry
) -> None:
    """A signature that has both cosign's tag and a subject, and an image in an index that describes another."""
    child = source.image("app", layers=(b"one",))
    described = source.image("app", layers=(b"provenance",), subject=child)
    root = source.index("app", [child, described])
    signature = source.image("app", root["digest"].replace(":", "-") + ".sig", layers=(b"signature",), subject=root)
    fallback = {one["digest"]: one["digest"].replace(":", "-") for one in (child, root)}
    for subject, referrer in ((child, described), (root, signature)):
        target.fault(f"PUT .*/manifests/{fallback[subject['digest']]}$", status=410)
        with pytest.raises(MusterError, match="410"):
            copy(source, target, root["digest"])
        held = target.repository("backup/app")
        assert referrer["digest"] in held.manifests and fallback[subject["digest"]] not in held.tags
        assert copy(source, target, root["digest"], write=False).changed
    copy(source, target, root["digest"])
    registries = connect(target)
    for subject, referrer in ((child, described), (root, signature)):
        listed = registries.at(target.host).referrers("backup/app", subject["digest"])
        assert [entry.digest for entry in listed] == [referrer["digest"]]
    registries.close()
    assert not copy(source, target, root["digest"]).changed
