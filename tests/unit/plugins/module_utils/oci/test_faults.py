# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What networks and overloaded servers do: what passes changes nothing, what stays is told."""

from __future__ import annotations

import base64
import email.utils
import json
import os
import random
import re
import threading
import time
from typing import Any

import pytest
from fakes.copying import connect, copy, same
from fakes.registry import INDEX, MANIFEST, FakeRegistry, digest_of

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci import transport as transport_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import Copier, Route, Tally
from ansible_collections.muster.container_dr.plugins.module_utils._oci.wholeness import Wholeness


def date(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


BLOB, MANIFESTS = r"GET .*/blobs/", r"GET .*/manifests/sha256"
SESSION, START, PUT = r"PUT .*/blobs/uploads/", r"POST .*/blobs/uploads/", r"PUT .*/manifests/"
FOREVER = 1_000_000
PASSING: list[tuple[str, str, dict[str, Any]]] = [
    *(("source", ".", {"status": status, "times": 4}) for status in (408, 429, 500, 502, 503, 504)),
    *(("target", ".", {"status": status, "times": 4}) for status in (408, 429, 500, 502, 503, 504)),
    *(
        (side, pattern, {"status": 429, "headers": {"Retry-After": value}, "times": 2})
        for side, pattern in (("source", "."), ("target", "."), ("target", SESSION))
        for value in ("0", date(-100), "soon", "", "\u00b2", "Sun, 06 Nov 99999999999 08:49:37 GMT")
    ),
    *(("source", pattern, {"reset": True, "times": 3}) for pattern in (BLOB, MANIFESTS)),
    *(("target", pattern, {"reset": True, "times": 3}) for pattern in (SESSION, START, PUT, "HEAD")),
    *(("source", pattern, {"cut": size, "times": 3}) for pattern in (BLOB, MANIFESTS) for size in (0, 1, 100)),
    *(("source", pattern, {"length": delta}) for pattern in (BLOB, MANIFESTS) for delta in (-3, 10)),
    *(("source", pattern, {"flip": True}) for pattern in (BLOB, MANIFESTS)),
    ("source", BLOB, {"content": b"something else"}),
    ("source", MANIFESTS, {"content": b"<html>welcome to the hotel</html>"}),
    ("source", BLOB, {"drip": 0.02, "times": 2}),
    ("target", SESSION, {"status": 404, "times": 2}),
    ("target", SESSION, {"swallow": 0, "times": 3}),
    *(("target", pattern, {"lost": True}) for pattern in (SESSION, START, PUT)),
]


@pytest.mark.parametrize(("side", "pattern", "what"), PASSING)
def test_what_passes_changes_nothing(
    source: FakeRegistry, target: FakeRegistry, side: str, pattern: str, what: dict[str, Any]
) -> None:
    root = source.index("app", [source.image("app", layers=(os.urandom(400_000), b"small"))], "v1")
    (source if side == "source" else target).fault(pattern, **what)
    copy(source, target, root["digest"])
    same(source, target)
    assert not copy(source, target, root["digest"]).changed


STAYING: list[tuple[str, str, dict[str, Any], type[MusterError], str]] = [
    ("source", ".", {"status": 429}, Unavailable, "answered 429"),
    ("source", ".", {"status": 429, "headers": {"Retry-After": date(7200)}}, Unavailable, r"asks to wait 7\d\d\d"),
    ("target", SESSION, {"status": 503, "headers": {"Retry-After": "7200"}}, Unavailable, "asks to wait 7200"),
    ("source", ".", {"status": 503, "body": b"maintenance window"}, Unavailable, "503: maintenance window"),
    ("source", ".", {"status": 500, "body": b"<html>long page</html>"}, Unavailable, r"answered 500\. It is over"),
    ("source", ".", {"reset": True}, Unavailable, "cannot be reached"),
    ("source", BLOB, {"cut": 0}, Unavailable, r"broke at byte 0 of \d+ and could not be continued"),
    ("source", BLOB, {"flip": True}, Corrupt, "have digest"),
    ("source", MANIFESTS, {"flip": True}, Corrupt, "have digest"),
    ("source", MANIFESTS, {"headers": {"Location": ""}, "status": 302}, Unavailable, "redirects"),
    ("source", BLOB, {"status": 403, "body": b"denied: no access"}, MusterError, "denied: no access"),
    (
        "target",
        r"P(UT|ATCH) .*/blobs/uploads/",
        {"swallow": 0},
        Unavailable,
        r"the upload broke 6 times",
    ),
    ("target", SESSION, {"status": 413}, Unavailable, "answered 413"),
    ("target", START, {"status": 507, "body": b"disk full"}, Unavailable, "disk full"),
    ("target", PUT, {"status": 405}, MusterError, "may be read-only"),
    ("target", PUT, {"headers": {"Docker-Content-Digest": f"sha256:{'0' * 64}"}}, Corrupt, "It alters what"),
]


@pytest.mark.parametrize(("side", "pattern", "what", "kind", "words"), STAYING)
def test_what_stays_is_told_and_nothing_shows_at_the_target(
    source: FakeRegistry,
    target: FakeRegistry,
    side: str,
    pattern: str,
    what: dict[str, Any],
    kind: type[MusterError],
    words: str,
) -> None:
    root = source.image("app", layers=(os.urandom(1000),))
    (source if side == "source" else target).fault(pattern, times=FOREVER, **what)
    with pytest.raises(kind, match=words):
        copy(source, target, root["digest"])
    if kind is not Corrupt or side == "source":
        assert target.repository("backup/app").manifests == {}


def test_a_date_without_a_zone_is_of_the_zone_of_http(
    source: FakeRegistry, target: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = source.image("app")
    later = time.asctime(time.gmtime(time.time() + 7200))
    source.fault(".", status=429, headers={"Retry-After": later}, times=FOREVER)
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        try:
            with pytest.raises(Unavailable, match=r"asks to wait 7\d\d\d"):
                copy(source, target, root["digest"])
        finally:
            there.undo()
            time.tzset()


def test_a_way_that_always_breaks_still_makes_progress(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=(os.urandom(2_000_000),))
    source.fault(BLOB, cut=150_000, times=FOREVER)
    copy(source, target, root["digest"])
    same(source, target)


def test_uploads_that_always_break_make_progress_too(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=(os.urandom(2_000_000),))
    target.fault(r"P(UT|ATCH) .*/blobs/uploads/", swallow=250_000, times=FOREVER)
    copy(source, target, root["digest"])
    same(source, target)
    assert target.uploaded_bytes == sum(map(len, source.repository("app").blobs.values()))


@pytest.mark.parametrize("times", [1, FOREVER])
def test_a_blob_that_the_registry_holds_to_be_wrong_gets_one_fresh_session(
    source: FakeRegistry, target: FakeRegistry, times: int
) -> None:
    root = source.image("app", layers=(os.urandom(1000),))
    layer = json.loads(source.repository("app").manifests[root["digest"]][0])["layers"][0]["digest"]
    wrong = rf"PUT .*/blobs/uploads/.*{layer.partition(':')[2]}"
    body = b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
    target.fault(wrong, status=400, body=body, times=times)
    if times == 1:
        copy(source, target, root["digest"])
        same(source, target)
    else:
        with pytest.raises(Unavailable, match="400 DIGEST_INVALID provided digest did not match, in a fresh session"):
            copy(source, target, root["digest"])
    assert len([line for line in target.requests if re.search(wrong, line)]) == 2


def test_a_registry_that_keeps_one_part_of_an_upload_gets_it_in_one(source: FakeRegistry) -> None:
    with FakeRegistry(parts=False) as target:
        root = source.image("app", layers=(os.urandom(300_000),))
        target.fault(r"PUT .*/blobs/uploads/", swallow=100_000, times=3)
        copy(source, target, root["digest"])
        same(source, target)


def test_a_server_that_falls_silent_is_asked_again(
    source: FakeRegistry, target: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "READ_TIMEOUT", 0.4)
    root = source.image("app", layers=(os.urandom(1000),))
    source.fault(BLOB, drip=0.8)
    target.fault(START, then=lambda: time.sleep(0.8))
    copy(source, target, root["digest"])
    same(source, target)


@pytest.mark.parametrize(
    "what",
    [
        {"headers": {"Content-Range": "bytes 0-9/10"}, "times": FOREVER},
        {"headers": {"Content-Range": None}, "times": FOREVER},
        {"status": 416},
        {"content": b"other bytes"},
    ],
)
def test_a_registry_that_lies_about_ranges(
    source: FakeRegistry, target: FakeRegistry, monkeypatch: pytest.MonkeyPatch, what: dict[str, Any]
) -> None:
    layer = source.blob("app", os.urandom(900_000))
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": source.blob("app", b"{}"), "layers": [layer]}
    root = source.manifest("app", document)
    path = rf"GET .*/blobs/{layer['digest']}"
    source.fault(path, cut=500_000)
    source.fault(path, **what)
    copy(source, target, root["digest"])
    same(source, target)


@pytest.mark.parametrize(
    ("mounts", "mounted"), [(True, 2), *((said, 0) for said in (False, 200, 201, 204, 400, 404, 405, 500))]
)
def test_mounts(source: FakeRegistry, mounts: bool | int, mounted: int) -> None:
    source.mounts = mounts
    root = source.image("app", layers=(os.urandom(1000),))
    tally = copy(source, source, root["digest"])
    assert (tally.mounted, tally.blobs) == (mounted, 2 - mounted)
    same(source, source)


@pytest.mark.parametrize(
    "trouble", [{"status": 500}, {"reset": True}, {"status": 429, "headers": {"Retry-After": "7200"}}]
)
def test_trouble_with_mounts_is_met_once(source: FakeRegistry, trouble: dict[str, Any]) -> None:
    """Each time holds all workers of the host back, and nothing needs a mount."""
    root = source.image("app", layers=tuple(b"%d" % number for number in range(8)))
    source.fault(r"POST .*\?mount=", times=FOREVER, **trouble)
    assert copy(source, source, root["digest"], workers=1).blobs == 9
    same(source, source)
    assert len({line for line in source.requests if "?mount=" in line}) == 1


def test_a_lost_answer_sends_no_blob_twice(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", layers=(os.urandom(300_000),))
    target.fault(SESSION, lost=True, times=2)
    copy(source, target, root["digest"])
    assert target.uploaded_bytes == sum(map(len, source.repository("app").blobs.values()))


def test_uploads_wait_as_well_when_the_registry_asks_to(source: FakeRegistry, target: FakeRegistry) -> None:
    """One worker's 429 holds every worker of that host back."""
    root = source.image("app", layers=tuple(os.urandom(2000) for _layer in range(12)))
    refused: list[float] = []
    others: list[float] = []
    target.fault(SESSION, status=429, headers={"Retry-After": "4"}, then=lambda: refused.append(time.monotonic()))
    target.fault(".", times=FOREVER, then=lambda: others.append(time.monotonic()))
    copy(source, target, root["digest"], workers=4)
    same(source, target)
    waited = [moment - refused[0] for moment in others]
    # What was under way already still arrives.
    assert not [seconds for seconds in waited if 3.0 < seconds < 3.9]
    assert sum(seconds > 3.9 for seconds in waited) > len(waited) / 2


# -- what images are made of ----------------------------------------------------------------------------------


def test_sha512_all_the_way(source: FakeRegistry, target: FakeRegistry) -> None:
    root = source.image("app", algorithm="sha512", layers=(b"one", b"two"))
    assert root["digest"].startswith("sha512:")
    copy(source, target, root["digest"])
    same(source, target)
    with target.watched() as seen:
        assert not copy(source, target, root["digest"]).changed
    assert not [line for line in seen if line.split()[0] not in ("GET", "HEAD")]


@pytest.mark.parametrize("api", [False, True])
def test_what_refers_to_a_sha512_digest_is_listed_in_a_tag_that_is_one(source: FakeRegistry, api: bool) -> None:
    root = source.image("app", algorithm="sha512")
    sbom, other = (source.image("app", layers=(text,), subject=root) for text in (b"sbom", b"other"))
    tag = f"sha512-{root['digest'][7:71]}"
    source.index("app", [sbom, other], tag)
    with FakeRegistry(referrers=api) as target:
        copy(source, target, root["digest"])
        copied = target.repository("backup/app")
        assert {sbom["digest"], other["digest"]} < set(copied.manifests)
        assert (tag in copied.tags) is not api
        assert not copy(source, target, root["digest"]).changed


def test_unusual_parts(source: FakeRegistry, target: FakeRegistry) -> None:
    """Nested indexes, artifacts without layers, empty and foreign layers, content inside descriptors, big manifests."""
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": digest_of(b"elsewhere"),
        "size": 9,
        "urls": ["https://example.com/layer"],
    }
    hollow = {**source.blob("app", b"{}", "application/vnd.oci.empty.v1+json")}
    inline = {**source.blob("app", b"inside"), "data": base64.b64encode(b"inside").decode()}
    wrong = {**source.blob("app", b"beside"), "data": base64.b64encode(b"lies!!").decode()}
    artifact = source.manifest(
        "app",
        {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/x", "config": hollow, "layers": [hollow]},
    )
    image = source.manifest(
        "app",
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": source.blob("app", b"{ }"),
            "layers": [source.blob("app", b""), foreign, inline, wrong],
            "annotations": {"long": "x" * 5_000_000},
        },
    )
    inner = source.index("app", [image, artifact])
    root = source.index("app", [inner, artifact], "v1")
    with source.watched() as seen:
        copy(source, target, root["digest"])
    same(source, target)
    assert not [line for line in seen if foreign["digest"] in line or inline["digest"] in line]
    assert not copy(source, target, root["digest"]).changed


def test_content_in_the_descriptor_is_enough(source: FakeRegistry, target: FakeRegistry) -> None:
    config = {**source.blob("app", b"{}"), "data": base64.b64encode(b"{}").decode()}
    root = source.manifest("app", {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})
    expected = source.repository("app").blobs.pop(config["digest"])
    copy(source, target, root["digest"])
    assert target.repository("backup/app").blobs == {config["digest"]: expected}


def test_a_manifest_without_end_is_refused(
    source: FakeRegistry, target: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "BODY_LIMIT", 100_000)
    root = source.image("app", annotations={"long": "x" * 2_000_000})
    with pytest.raises(Unavailable, match="larger than 100000 bytes"):
        copy(source, target, root["digest"])


def test_schema_1_is_named(source: FakeRegistry) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    source.raw_manifest("app", b'{"schemaVersion": 1, "signatures": []}', kind, "old")
    # Its digest is one of its bytes without the signatures.
    source.fault(".", headers={"Docker-Content-Digest": f"sha256:{'1' * 64}"}, times=FOREVER)
    registries = connect(source)
    with pytest.raises(InvalidInput, match="schema 1 manifest, which is retired"):
        registries.at(source.host).manifest("app", "old")
    registries.close()


@pytest.mark.parametrize("side", ["source", "target"])
def test_registries_that_name_no_digests(source: FakeRegistry, target: FakeRegistry, side: str) -> None:
    root = source.index("app", [source.image("app")])
    source.image("app", root["digest"].replace(":", "-") + ".sig", layers=(b"signature",))
    fake = source if side == "source" else target
    fake.fault(".", headers={"Docker-Content-Digest": None}, times=FOREVER)
    copy(source, target, root["digest"])
    same(source, target)
    assert not copy(source, target, root["digest"]).changed


def test_a_server_of_plain_files_that_names_no_types(source: FakeRegistry, target: FakeRegistry) -> None:
    """The type is left out of the manifests, which OCI allows, and the server knows only that of the file."""
    config, layer = source.blob("app", b"{}"), source.blob("app", b"layer")
    image = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    child = source.raw_manifest("app", image, "application/octet-stream")
    index = json.dumps({"schemaVersion": 2, "manifests": [{**child, "mediaType": MANIFEST}]}).encode()
    root = source.raw_manifest("app", index, "application/json; charset=utf-8")
    copy(source, target, root["digest"])
    kinds = {digest: kind for digest, (_data, kind) in target.repository("backup/app").manifests.items()}
    assert kinds == {child["digest"]: MANIFEST, root["digest"]: INDEX}


@pytest.mark.parametrize("lost", ["child", "layer", "config"])
def test_a_root_whose_parts_are_missing_is_no_success(source: FakeRegistry, target: FakeRegistry, lost: str) -> None:
    child = source.image("app", layers=(b"layer", b"other"))
    root = source.index("app", [child])
    repository = source.repository("app")
    document = repository.manifests[child["digest"]][0]
    if lost == "child":
        del repository.manifests[child["digest"]]
    else:
        kept = {digest_of(b"layer"), digest_of(b"other")}
        gone = digest_of(b"other") if lost == "layer" else next(key for key in repository.blobs if key not in kept)
        assert gone.encode() in document
        del repository.blobs[gone]
    with pytest.raises(NotFound):
        copy(source, target, root["digest"])
    assert target.repository("backup/app").manifests == {}


# -- referrers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 403, "body": b"denied"},
        {"status": 405},
        {"status": 303, "headers": {"Location": "http://169.254.169.254/login"}},
        {"status": 200, "headers": {"Content-Type": "text/html"}, "body": b"<html>"},
        {"status": 200, "headers": {"Content-Type": INDEX}, "body": b"<html>"},
    ],
)
def test_registries_without_a_referrers_api(target: FakeRegistry, answer: dict[str, Any]) -> None:
    with FakeRegistry(referrers=True) as source:
        root = source.image("app")
        source.image("app", layers=(b"sbom",), subject=root)
        target.fault(r"GET .*/referrers/", times=FOREVER, **answer)
        copy(source, target, root["digest"])
        same(source, target)
        assert root["digest"].replace(":", "-") in target.repository("backup/app").tags
        assert not copy(source, target, root["digest"]).changed


def test_a_list_of_referrers_that_breaks_off_is_no_sign_of_a_missing_api() -> None:
    with FakeRegistry(referrers=True) as source, FakeRegistry() as target:
        root = source.image("app")
        source.image("app", layers=(b"sbom",), subject=root)
        source.fault("GET .*/referrers/", content=b'{"manifests": [{"dig', times=2)
        with pytest.raises(Corrupt, match="referrers of"):
            copy(source, target, root["digest"], workers=1)
        # What is hurt once is asked for once more.
        source.fault("GET .*/referrers/", content=b'{"manifests": [{"dig')
        assert copy(source, target, root["digest"]).attachments == 1


def test_referrers_on_many_pages() -> None:
    with FakeRegistry(referrers=True, page=2) as source, FakeRegistry(referrers=True, page=3) as target:
        root = source.image("app")
        for number in range(7):
            source.image("app", layers=(b"%d" % number,), subject=root)
        assert copy(source, target, root["digest"]).attachments == 7
        same(source, target)
        # A list that breaks off is no list.
        source.fault(r"referrers/.*last=4", status=404, times=FOREVER)
        source.image("app", layers=(b"another",), subject=root)
        with pytest.raises(MusterError, match="referrers of"):
            copy(source, target, source.image("app", layers=(b"new",))["digest"], to="other") and copy(
                source, target, root["digest"], to="other"
            )


@pytest.mark.parametrize("if_match", [True, False])
def test_another_writer_of_the_fallback_tag(if_match: bool) -> None:
    """Between our reading and our writing somebody lists another referrer: in the end both are listed."""
    with FakeRegistry(referrers=True) as source, FakeRegistry(if_match=if_match) as target:
        root = source.image("app")
        first = source.image("app", layers=(b"first",), subject=root)
        copy(source, target, root["digest"])
        ours = source.image("app", layers=(b"ours",), subject=root)
        tag = root["digest"].replace(":", "-")
        theirs = target.image("backup/app", layers=(b"theirs",), subject=root)
        if if_match:
            target.fault(f"PUT .*/manifests/{tag}", then=lambda: target.index("backup/app", [first, theirs], tag))
        else:
            # It overwrites what we wrote, as it had read before us.
            target.fault(f"PUT .*/manifests/{tag}")
            target.fault(f"GET .*/manifests/{tag}")
            target.faults.insert(0, target.faults.pop())
            target.fault(f"GET .*/manifests/{tag}", then=lambda: target.index("backup/app", [first, theirs], tag))
        copy(source, target, root["digest"])
        registries = connect(target)
        listed = {entry.digest for entry in registries.at(target.host).referrers("backup/app", root["digest"])}
        registries.close()
        assert listed == {first["digest"], ours["digest"], theirs["digest"]}
        matches = [headers["If-Match"] for headers in target.headers if "If-Match" in headers]
        assert matches and all(value.startswith('"sha256:') for value in matches)


# -- invariants -----------------------------------------------------------------------------------------------


def _anything(source: FakeRegistry, chance: random.Random) -> str:
    """A random image: indexes of images that share layers, with signatures and referrers here and there."""
    layers = [chance.randbytes(chance.choice((0, 1, 900, 40_000))) for _layer in range(4)]

    def image() -> dict[str, Any]:
        chosen = tuple(chance.choices(layers, k=chance.randrange(4)))
        made = source.image("app", layers=chosen, machine=chance.choice(("amd64", "arm64")))
        if chance.random() < 0.3:
            source.image("app", made["digest"].replace(":", "-") + ".sig", layers=(chance.randbytes(50),))
        if chance.random() < 0.3:
            source.image("app", layers=(chance.randbytes(60),), subject=made)
        return made

    children = [image() for _child in range(chance.randrange(1, 4))]
    root = source.index("app", children) if chance.random() < 0.7 else children[0]
    return str(root["digest"])


@pytest.mark.parametrize("seed", range(12))
def test_anything_through_anything(seed: int) -> None:
    """Random images through random faults: bytes in are bytes out, and what is done is not done again."""
    chance = random.Random(seed)
    with FakeRegistry(referrers=True) as source, FakeRegistry(referrers=chance.random() < 0.5) as target:
        digest = _anything(source, chance)
        whole = source.repository("app")
        for fake in (source, target):
            # All five may hit one request, which is sent six times; hurt bytes of a manifest are asked for once more.
            kinds: list[dict[str, Any]] = [{"reset": True}, {"lost": True}, {"status": 503}, {"cut": 10}]
            kinds.append({"swallow": 20})
            for what in [*chance.choices(kinds, k=4), chance.choice([*kinds, {"length": -1}])]:
                fake.fault(r"GET /v2/|P(UT|OST)", **what)
                fake.fault(".", times=chance.randrange(5))
        copy(source, target, digest)
        copied = target.repository("backup/app")
        assert all(copied.blobs[key] == whole.blobs[key] for key in copied.blobs)
        for key, (data, _kind) in copied.manifests.items():
            assert key not in whole.manifests or data == whole.manifests[key][0]
        for fake in (source, target):
            fake.faults.clear()
        registries = connect(target)
        Wholeness().check(registries.at(target.host), "backup/app", digest)
        registries.close()
        with target.watched() as seen:
            assert not copy(source, target, digest).changed
        assert not [line for line in seen if line.split()[0] not in ("GET", "HEAD")]


def test_killed_at_any_request_it_sends_again_at_most_a_blob_for_each_worker(source: FakeRegistry) -> None:
    layers = tuple(os.urandom(20_000) for _layer in range(4))
    root = source.index("app", [source.image("app", layers=layers[:2]), source.image("app", layers=layers[1:])])
    unique = sum(map(len, source.repository("app").blobs.values()))
    with FakeRegistry() as probe:
        copy(source, probe, root["digest"], workers=2)
        total = len(probe.requests)
    for number in range(total):
        with FakeRegistry() as target:
            target.fault(".", times=number)
            # From then on nothing gets through: to the registry this is what a kill looks like.
            target.fault(".", swallow=10_000, lost=True, times=FOREVER)
            with pytest.raises(MusterError):
                copy(source, target, root["digest"], workers=2)
            assert root["digest"] not in target.repository("backup/app").manifests or number >= total - 1
            target.faults.clear()
            before = sum(map(len, target.repository("backup/app").blobs.values()))
            sent = target.uploaded_bytes
            copy(source, target, root["digest"], workers=2)
            same(source, target)
            assert target.uploaded_bytes - sent == unique - before


def test_one_blob_moves_once_however_many_want_it(source: FakeRegistry, target: FakeRegistry) -> None:
    layer = os.urandom(100_000)
    roots = [source.image(f"app{number}", layers=(layer, b"%d" % number)) for number in range(6)]
    registries = connect(source, target)
    copier = Copier(registries.at(target.host), workers=4)

    def one(number: int) -> None:
        route = Route(registries.at(source.host), f"app{number}", f"backup/app{number}")
        copier.copy(route, roots[number]["digest"], Tally())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copier.close()
    registries.close()
    unique = {key: data for name in source.repositories for key, data in source.repository(name).blobs.items()}
    assert target.uploaded_bytes == sum(map(len, unique.values()))
