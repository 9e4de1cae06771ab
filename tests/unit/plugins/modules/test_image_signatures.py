# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What image_mirror makes of the signatures of images, at registries on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from fakes.cluster import FakeCluster
from fakes.copying import alone
from fakes.registry import FakeRegistry, digest_of
from fakes.signer import IN_TOTO, SIGN, Signatures, Signer, encoded

from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._oci import mirror as mirror_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import signature_keys
from ansible_collections.muster.container_dr.plugins.module_utils._plan import recovery_point
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

Run = Callable[..., dict[str, Any]]
KINDS = ["p256", "p384", "p384-sha256", "p521", "rsa", "rsa-pss", "ed25519", "ed25519ph"]
OTHER = "sha256:" + "5" * 64


@cache
def signer(kind: str = "p256", number: int = 1) -> Signer:
    """Keys are made once: RSA ones take their time."""
    return Signer(kind)


ALICE, BOB, MALLORY = (signer("p256", number) for number in range(3))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone(monkeypatch, tmp_path)


@pytest.fixture
def attached(east: FakeRegistry) -> Signatures:
    return Signatures(east, "shop/web")


@pytest.fixture
def image(east: FakeRegistry) -> str:
    return str(east.image("shop/web", "1")["digest"])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], east: FakeRegistry, west: FakeRegistry) -> Run:
    def call(*, check: bool = False, **options: Any) -> dict[str, Any]:
        sources = [{"name": registry.host, "plain_http": True} for registry in (east, west)]
        with (
            patch_module_args({"sources": sources, "_ansible_check_mode": check, **options}),
            pytest.raises(SystemExit),
        ):
            image_mirror.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.fixture
def verdict(run: Run, east: FakeRegistry, image: str) -> Callable[..., dict[str, Any]]:
    """What is said of the image by keys, with the words of a refusal checked against it."""

    def call(*keys: Signer, threshold: int = 1, digest: str = "") -> dict[str, Any]:
        images = [{"name": f"{east.host}/shop/web:1", "digest": digest or image}]
        rule = {"pattern": "*/shop/*", "keys": [key.pem for key in keys], "threshold": threshold}
        reported = run(images=images, signatures=[{**rule, "policy": "report"}])
        assert not reported.get("failed")
        found: dict[str, Any] = reported["images"][0]["signatures"]
        warned = any(
            f"is {found['verdict']}, as {found['reason']}" in str(warning) for warning in reported.get("warnings", [])
        )
        assert warned == (found["verdict"] != "verified")
        if keys:
            required = run(images=images, signatures=[{**rule, "policy": "require"}])
            assert bool(required.get("failed")) == (found["verdict"] != "verified")
            assert found["reason"] in required["msg"]
        return found

    return call


Verdict = Callable[..., dict[str, Any]]


# -- what is verified -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sign_tag", "sign_referrer", "sign_bytes"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_in_every_layout(
    kind: str, layout: str, attached: Signatures, image: str, verdict: Verdict
) -> None:
    assert verdict(signer(kind))["verdict"] == "unsigned"
    getattr(attached, layout)(image, signer(kind))
    found = verdict(signer(kind))
    assert (found["verdict"], found["signed_by"], found["reason"]) == ("verified", [signer(kind).fingerprint], "")
    wrong = verdict(MALLORY, *(signer(other) for other in KINDS if other != kind))
    assert (wrong["verdict"], wrong["signed_by"]) == ("invalid", [])
    assert wrong["reason"].endswith(": none of the trusted keys made it")


def test_a_registry_with_the_referrers_api(run: Run) -> None:
    with FakeRegistry(referrers=True) as registry:
        digest = registry.image("shop/web")["digest"]
        Signatures(registry, "shop/web").sign_referrer(digest, ALICE)
        name = f"{registry.host}/shop/web:1"
        rule = {"pattern": "*", "policy": "require", "keys": [ALICE.pem]}
        sources = [{"name": registry.host, "plain_http": True}]
        found = run(images=[{"name": name, "digest": digest}], signatures=[rule], sources=sources)
    assert found["images"][0]["signatures"]["verdict"] == "verified"


def test_the_payload_layout_as_a_referrer(attached: Signatures, image: str, verdict: Verdict) -> None:
    """What cosign 2 does in its OCI 1.1 mode: the manifest of the tag, found as a referrer."""
    attached.sign_tag(image, ALICE)
    repository = attached.registry.repository("shop/web")
    held = json.loads(repository.manifests[repository.tags.pop(image.replace(":", "-") + ".sig")][0])
    assert verdict(ALICE)["verdict"] == "unsigned"
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    document = {**held, "artifactType": kind, "subject": {"mediaType": "x/y", "digest": image, "size": 1}}
    listed = [{**attached.registry.manifest("shop/web", document), "artifactType": kind}]
    attached.registry.index("shop/web", listed, image.replace(":", "-"))
    assert verdict(ALICE)["verdict"] == "verified"


def test_several_keys_and_a_threshold(attached: Signatures, image: str, verdict: Verdict) -> None:
    attached.sign_tag(image, ALICE)
    attached.sign_tag(image, ALICE)
    alone = verdict(ALICE, BOB, threshold=2)
    assert (alone["verdict"], alone["signed_by"]) == ("invalid", [ALICE.fingerprint])
    assert alone["reason"] == "1 of the 2 keys that are needed signed it"
    assert verdict(ALICE, BOB)["signed_by"] == [ALICE.fingerprint]
    # The same payload again: one blob, of which the manifest has two layers.
    attached.sign_tag(image, BOB)
    both = verdict(ALICE, BOB, threshold=2)
    assert (both["verdict"], both["signed_by"]) == ("verified", [ALICE.fingerprint, BOB.fingerprint])
    carol = Signer()
    attached.sign_referrer(image, carol)
    assert verdict(ALICE, BOB, carol, threshold=3)["verdict"] == "verified"
    assert verdict(ALICE, MALLORY, carol, threshold=3)["verdict"] == "invalid"


def test_of_an_index_the_index_is_signed(east: FakeRegistry, attached: Signatures, verdict: Verdict) -> None:
    child = {**east.image("shop/web"), "platform": {"os": "linux", "architecture": "amd64"}}
    root = east.index("shop/web", [child], "1")
    attached.sign_tag(child["digest"], ALICE)
    assert verdict(ALICE, digest=root["digest"])["verdict"] == "unsigned"
    attached.sign_tag(root["digest"], ALICE)
    assert verdict(ALICE, digest=root["digest"])["verdict"] == "verified"


# -- what is not ----------------------------------------------------------------------------------------------


def replayed(attached: Signatures, image: str) -> None:
    payload = attached.payload(OTHER)
    attached.tag(image, attached.layer(payload, ALICE.sign(payload)))


def of_another_type(attached: Signatures, image: str) -> None:
    payload = attached.payload(image, "atomic container signature")
    attached.tag(image, attached.layer(payload, ALICE.sign(payload)))


def no_json(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(b"signed", ALICE.sign(b"signed")))


def an_array(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(b"[1]", ALICE.sign(b"[1]")))


def too_deep(attached: Signatures, image: str) -> None:
    data = b"[" * 200_000
    attached.tag(image, attached.layer(data, ALICE.sign(data)))


def names_nothing(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(b'{"critical":{}}', ALICE.sign(b'{"critical":{}}')))


def altered(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(attached.payload(image) + b" ", ALICE.sign(attached.payload(image))))


def not_base64(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(attached.payload(image), "!" + encoded(ALICE.sign(attached.payload(image)))))


def without_signature(attached: Signatures, image: str) -> None:
    attached.tag(image, attached.layer(attached.payload(image), ""))


def payload_gone(attached: Signatures, image: str) -> None:
    attached.sign_tag(image, ALICE)
    del attached.registry.repository("shop/web").blobs[digest_of(attached.payload(image))]


def payload_exchanged(attached: Signatures, image: str) -> None:
    attached.sign_tag(image, ALICE)
    other = attached.payload(image).replace(b"null", b"{  }")
    attached.registry.repository("shop/web").blobs[digest_of(attached.payload(image))] = other


def huge(attached: Signatures, image: str) -> None:
    data = attached.payload(image) + b" " * 1024 * 1024
    attached.tag(image, attached.layer(data, ALICE.sign(data)))


def tag_of_something_else(attached: Signatures, image: str) -> None:
    tag = image.replace(":", "-") + ".sig"
    attached.registry.raw_manifest("shop/web", b"<html>", "text/html", tag)


def bundle_replayed(attached: Signatures, image: str) -> None:
    attached.refer(image, attached.bundle({"dsseEnvelope": attached.envelope(attached.statement(OTHER), ALICE)}))


def bundle_altered(attached: Signatures, image: str) -> None:
    envelope = attached.envelope(attached.statement(OTHER), ALICE)
    attached.refer(
        image, attached.bundle({"dsseEnvelope": {**envelope, "payload": encoded(attached.statement(image))}})
    )


def bundle_without_lengths(attached: Signatures, image: str) -> None:
    """A signature over the payload alone is none over the envelope."""
    payload = attached.statement(image)
    signatures = [{"sig": encoded(ALICE.sign(payload))}]
    envelope = {"payload": encoded(payload), "payloadType": IN_TOTO, "signatures": signatures}
    attached.refer(image, attached.bundle({"dsseEnvelope": envelope}))


def bundle_of_another_type(attached: Signatures, image: str) -> None:
    envelope = attached.envelope(attached.statement(image), ALICE, "text/plain")
    attached.refer(image, attached.bundle({"dsseEnvelope": envelope}))


def bundle_with_the_type_exchanged(attached: Signatures, image: str) -> None:
    envelope = attached.envelope(attached.statement(image), ALICE, "text/plain")
    attached.refer(image, attached.bundle({"dsseEnvelope": {**envelope, "payloadType": IN_TOTO}}))


def bundle_of_no_statement(attached: Signatures, image: str) -> None:
    statement = attached.statement(image, kind="https://example.com/list")
    attached.refer(image, attached.bundle({"dsseEnvelope": attached.envelope(statement, ALICE)}))


def bundle_of_nothing(attached: Signatures, image: str) -> None:
    attached.refer(image, attached.bundle({}))


def bundle_gone(attached: Signatures, image: str) -> None:
    attached.sign_referrer(image, ALICE)
    manifests = attached.registry.repository("shop/web").manifests
    for digest in [digest for digest, (data, _type) in manifests.items() if b'"subject"' in data]:
        del manifests[digest]


def bytes_replayed(attached: Signatures, image: str) -> None:
    attached.sign_bytes(image, ALICE, said=OTHER)


BROKEN: dict[Callable[[Signatures, str], None], str] = {
    replayed: f"by key {ALICE.fingerprint}: it was made for another image, {OTHER}",
    of_another_type: "its payload is of type 'atomic container signature'",
    no_json: "it is malformed (JSONDecodeError",
    an_array: "it is malformed (ValueError: no JSON object",
    too_deep: "it is malformed (RecursionError",
    names_nothing: "it is malformed (KeyError: 'type'",
    altered: "layer 1: none of the trusted keys made it",
    not_base64: "it is malformed (Error: ",
    without_signature: "it has no annotation dev.cosignproject.cosign/signature",
    payload_gone: "answered 404",
    payload_exchanged: "bytes have digest sha256:",
    huge: "bytes are more than a signature has",
    tag_of_something_else: ".sig: it is no image manifest",
    bundle_replayed: f"by key {ALICE.fingerprint}: it was made for another image, {OTHER}",
    bundle_altered: "none of the trusted keys made it",
    bundle_without_lengths: "none of the trusted keys made it",
    bundle_of_another_type: "its envelope holds text/plain, not an in-toto statement",
    bundle_with_the_type_exchanged: "none of the trusted keys made it",
    bundle_of_no_statement: "its statement is of type 'https://example.com/list'",
    bundle_of_nothing: "it is malformed (KeyError: 'dsseEnvelope'",
    bundle_gone: "the registry lists it and does not have it",
    bytes_replayed: f"it was made for another image, {OTHER}",
}


@pytest.mark.parametrize("breakage", BROKEN, ids=lambda breakage: breakage.__name__)
def test_what_is_broken_says_why_and_hurts_nothing_beside_it(
    breakage: Callable[[Signatures, str], None], attached: Signatures, image: str, verdict: Verdict
) -> None:
    breakage(attached, image)
    found = verdict(ALICE)
    assert found["verdict"] == "invalid"
    assert BROKEN[breakage] in found["reason"]
    attached.sign_referrer(image, ALICE)
    assert verdict(ALICE)["verdict"] == "verified"


def test_what_comes_from_the_registry_is_kept_short_and_printable(
    attached: Signatures, image: str, verdict: Verdict
) -> None:
    payload = attached.payload("\x1b[31m\n" + "x" * 5000)
    layer = attached.layer(payload, ALICE.sign(payload))
    attached.tag(image, layer, layer, layer, layer, layer)
    reason = verdict(ALICE)["reason"]
    assert reason.isprintable() and len(reason) < 1000 and reason.endswith("; and 2 more")


def test_attestations_are_no_signatures(attached: Signatures, image: str, verdict: Verdict) -> None:
    """Whoever may attest that an image was scanned does not say by it that the image may run."""
    scanned = "https://example.com/scanned"
    envelope = attached.envelope(attached.statement(image, scanned), ALICE)
    for annotation in (scanned, SIGN):
        attached.refer(image, attached.bundle({"dsseEnvelope": envelope}), predicate=annotation)
        assert verdict(ALICE)["verdict"] == "unsigned"
    attached.refer(image, b"text", "text/plain")
    with attached.registry.watched() as seen:
        assert verdict(ALICE)["verdict"] == "unsigned"
    # Of the three only that one is read of which nothing tells that it is an attestation.
    assert len({line for line in seen if "manifests/sha256:" in line}) == 1


def by_certificate(attached: Signatures, image: str) -> None:
    attached.sign_tag(image, MALLORY, **{"dev.sigstore.cosign/certificate": MALLORY.certificate()})


def bundle_by_certificate(attached: Signatures, image: str) -> None:
    attached.sign_referrer(image, MALLORY, material={"certificate": {"rawBytes": "AA=="}})


def by_notation(attached: Signatures, image: str) -> None:
    attached.refer(image, b"envelope", "application/vnd.cncf.notary.signature")


@pytest.mark.parametrize("present", [by_certificate, bundle_by_certificate, by_notation])
def test_signatures_by_identity_are_present_and_not_verified(
    present: Callable[[Signatures, str], None], attached: Signatures, image: str, verdict: Verdict
) -> None:
    present(attached, image)
    found = verdict(ALICE)
    assert found["verdict"] == "not_verified"
    assert "present, not verified, as it was made with" in found["reason"]
    if present is not by_notation:
        assert verdict(MALLORY)["verdict"] == "verified"
    attached.sign_referrer(image, BOB)
    assert verdict(ALICE)["verdict"] == "invalid"
    assert verdict(ALICE, BOB)["verdict"] == "verified"


def test_without_keys_nothing_can_be_verified(attached: Signatures, image: str, verdict: Verdict) -> None:
    assert verdict()["verdict"] == "unsigned"
    attached.sign_tag(image, ALICE)
    found = verdict()
    assert found["verdict"] == "not_verified" and "names no key" in found["reason"]


@pytest.mark.parametrize("answer", [{"status": 503}, {"status": 403}])
def test_a_registry_that_does_not_answer_is_no_unsigned_image(
    answer: dict[str, int], east: FakeRegistry, attached: Signatures, image: str, verdict: Verdict
) -> None:
    attached.sign_tag(image, ALICE)
    east.fault(r"GET .*\.sig$", times=1000, **answer)
    found = verdict(ALICE)
    assert found["verdict"] == "not_verified"
    assert found["reason"].startswith("not all signatures could be looked at: ")


def test_a_connection_that_breaks(east: FakeRegistry, attached: Signatures, image: str, verdict: Verdict) -> None:
    attached.sign_tag(image, ALICE)
    east.fault("GET .*/blobs/", times=3, cut=10)
    assert verdict(ALICE)["verdict"] == "verified"
    east.fault("GET .*/blobs/", times=1000, cut=0)
    assert verdict(ALICE)["verdict"] == "not_verified"


def test_what_could_not_be_looked_at_may_have_been_valid(
    east: FakeRegistry, attached: Signatures, image: str, verdict: Verdict
) -> None:
    attached.sign_tag(image, MALLORY)
    east.fault("/referrers/", times=1000, status=503)
    found = verdict(ALICE)
    assert found["verdict"] == "not_verified" and "none of the trusted keys made it" in found["reason"]
    attached.sign_tag(image, ALICE)
    assert verdict(ALICE)["verdict"] == "verified"


# -- the verbs ------------------------------------------------------------------------------------------------


def test_the_whole_way(
    east: FakeRegistry, west: FakeRegistry, attached: Signatures, image: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "alice.pub").write_text(ALICE.pem, encoding="ascii")
    images = [{"name": f"{east.host}/shop/web:1", "digest": image}]
    target = {"name": f"{west.host}/backup", "plain_http": True}
    rules = [{"pattern": f"{east.host}/shop/web", "policy": "require", "keys": ["~/alice.pub"]}]
    attached.sign_tag(image, MALLORY)
    for check in (True, False):
        refused = run(images=images, target=target, signatures=rules, check=check)
        assert refused["failed"] and not refused["changed"] and west.requests == []
        assert f"Could not trust image {east.host}/shop/web:1 at {east.host}/shop/web@{image}" in refused["msg"]
        assert refused["images"][0]["failed"] and refused["images"][0]["signatures"]["verdict"] == "invalid"
    attached.sign_tag(image, ALICE)
    copied = run(images=images, target=target, signatures=rules)
    assert copied["changed"] and copied["images"][0]["signatures"]["verdict"] == "verified"
    # The source registry is not needed any more, and what is at the target decides.
    east.fault(".*", times=1000, status=503)
    verified = run(images=copied["images"], target=target, verify="digests", signatures=rules)
    assert (verified["failures"], verified["images"][0]["signatures"]["policy"]) == (0, "require")
    kept = run(images=copied["images"], target=target, verify="digests")
    assert kept["images"][0]["signatures"] == copied["images"][0]["signatures"]
    (repository,) = [name for name in west.repositories if name.startswith("backup/")]
    del west.repository(repository).tags[image.replace(":", "-") + ".sig"]
    stripped = run(images=copied["images"], target=target, verify="digests", signatures=rules)
    assert stripped["failed"] and "its verdict is unsigned" in stripped["msg"]
    assert stripped["images"][0]["signatures"]["verdict"] == "unsigned"
    onward = {"name": f"{west.host}/onward", "plain_http": True}
    again = run(images=copied["images"], target=onward, signatures=rules, **{"from": target})
    assert again["failed"] and f"at {west.host}/backup/" in again["msg"]
    assert not [line for line in west.writes() if "/onward/" in line]


def test_what_runs_is_judged_where_it_is_resolved(
    monkeypatch: pytest.MonkeyPatch, east: FakeRegistry, attached: Signatures, image: str, run: Run
) -> None:
    name = f"{east.host}/shop/web"
    pods = [
        {
            "metadata": {"name": "web-1"},
            "spec": {"containers": [{"name": "web", "image": f"{name}:1"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "web", "imageID": f"{name}@{image}"}]},
        }
    ]
    space = [{"metadata": {"name": "shop"}}]
    fake = FakeCluster({"/api/v1/namespaces": space, "/api/v1/namespaces/shop/pods": pods})
    monkeypatch.setattr(mirror_module.Cluster, "connect", lambda _params: fake)
    rules = [{"pattern": "*", "policy": "require", "keys": [ALICE.pem]}]
    application = {"name": "shop", "namespaces": ["shop"]}
    refused = run(application=application, signatures=rules)
    assert refused["failed"] and "its verdict is unsigned" in refused["msg"]
    attached.sign_tag(image, ALICE)
    (entry,) = run(application=application, signatures=rules)["images"]
    assert entry["signatures"]["signed_by"] == [ALICE.fingerprint]
    assert run(application=application)["images"][0]["signatures"] is None


def test_the_verdict_is_in_the_recovery_point(east: FakeRegistry, attached: Signatures, image: str, run: Run) -> None:
    attached.sign_tag(image, ALICE)
    rules = [{"pattern": "*", "policy": "report", "keys": [ALICE.pem]}]
    images = run(images=[{"name": f"{east.host}/shop/web:1", "digest": image}], signatures=rules)["images"]
    moment = "2026-01-31T04:05:06Z"
    document = recovery_point.document(
        point="20260131T040506Z-shop-1a2b3c4d",
        application="shop",
        site="east",
        epoch=1,
        parent=None,
        started=moment,
        sealed=moment,
        consistency={"point": moment, "mode": "live"},
        targets={},
        content=recovery_point.Content(None, [], images, [], []),
        tools={},
    )
    assert document["images"][0]["signatures"] == {
        "verdict": "verified",
        "policy": "report",
        "signed_by": [ALICE.fingerprint],
        "reason": "",
    }


def test_the_first_rule_that_matches_decides(east: FakeRegistry, attached: Signatures, image: str, run: Run) -> None:
    attached.sign_tag(image, ALICE)
    images = [{"name": f"{east.host}/shop/web:1", "digest": image}]
    sure = {"pattern": "*/web", "policy": "require", "keys": [ALICE.pem]}
    unsure = {"pattern": "*", "policy": "require", "keys": [MALLORY.pem]}

    def said(*rules: dict[str, Any]) -> str:
        return str(run(images=images, signatures=list(rules))["images"][0]["signatures"]["verdict"])

    assert said(sure, unsure) == "verified"
    assert said(unsure, sure) == "invalid"
    assert said({**unsure, "pattern": "web"}, {**unsure, "pattern": "*/other"}) == "off"
    spelt = run(
        images=[{"name": "LocalHost:5000/shop/web", "digest": image}], signatures=[{**unsure, "pattern": "localhost*"}]
    )
    assert spelt["failed"] and spelt["images"][0]["signatures"]["policy"] == "require"
    with east.watched() as seen:
        # YAML takes a bare off for false.
        assert said({"pattern": "*", "policy": False}, unsure) == "off"
    assert seen == []


def test_names_that_share_a_digest_are_judged_each_by_its_rule(
    east: FakeRegistry, west: FakeRegistry, image: str, run: Run
) -> None:
    """A copy of ours and its original come to lie at one place; the rule for one says nothing of the other."""
    path = f"{east.host.replace(':', '-')}/shop/web"
    target = {"name": f"{west.host}/backup", "plain_http": True}
    names = [f"{east.host}/shop/web:1", f"{west.host}/backup/{path}"]
    images = [{"name": name, "digest": image, "repository": f"{east.host}/shop/web"} for name in names]
    for required in names:
        host = required.partition("/")[0]
        rule = {"pattern": f"{host}/*", "policy": "require", "keys": [ALICE.pem]}
        result = run(images=images, target=target, signatures=[rule])
        assert result["failed"] and [entry["failed"] for entry in result["images"]] == [
            name == required for name in names
        ]


def test_fail_fast_copies_nothing_after_a_refusal(east: FakeRegistry, west: FakeRegistry, image: str, run: Run) -> None:
    other = east.image("free/api")["digest"]
    images = [
        {"name": f"{east.host}/{name}", "digest": digest} for name, digest in (("free/api", other), ("shop/web", image))
    ]
    target = {"name": west.host, "plain_http": True}
    rule = {"pattern": "*/shop/*", "policy": "require", "keys": [ALICE.pem]}
    stopped = run(images=images, target=target, signatures=[rule], fail_fast=True)
    assert stopped["failures"] == 2 and west.writes() == []
    assert stopped["images"][0]["msg"] == "not begun, because another image failed"
    assert run(images=images, target=target, signatures=[rule])["failures"] == 1
    assert west.writes()


# -- keys -----------------------------------------------------------------------------------------------------


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


def test_keys_come_as_text_files_and_certificates(
    attached: Signatures, image: str, east: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    attached.sign_tag(image, ALICE)
    attached.sign_tag(image, BOB)
    both = tmp_path / "both.pem"
    both.write_text(f"Alice\n{ALICE.certificate()}\nBob\n{BOB.pem}", encoding="ascii")
    rsa_form = signer("rsa").key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
    for keys in ([str(both)], [both.read_text(encoding="ascii")], [ALICE.certificate(), BOB.pem, rsa_form.decode()]):
        rule = {"pattern": "*", "policy": "require", "keys": keys, "threshold": 2}
        result = run(images=[{"name": f"{east.host}/shop/web", "digest": image}], signatures=[rule])
        assert result["images"][0]["signatures"]["signed_by"] == [ALICE.fingerprint, BOB.fingerprint]


def test_keys_that_cannot_be_used(image: str, east: FakeRegistry, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for key, reason in (
        (str(tmp_path / "none"), "No such file or directory"),
        (str(tmp_path / "empty"), "it holds no PEM block"),
        (str(tmp_path / "binary"), "it is no PEM text"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "its PUBLIC KEY block is not understood"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "no signature by a key of this kind or size is trusted"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "no signature by a key of this kind or size is trusted"),
        (public_pem(ed448.Ed448PrivateKey.generate()), "no signature by a key of this kind or size is trusted"),
        (ALICE.private_pem, "it is a private key"),
    ):
        rule = {"pattern": "*", "policy": "report", "keys": [key]}
        result = run(images=[{"name": f"{east.host}/shop/web", "digest": image}], signatures=[rule])
        assert result["failed"] and reason in result["msg"], result["msg"]
        assert ALICE.private_pem.splitlines()[1] not in result["msg"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"policy": "require"}, "it requires signatures and names no key"),
        ({"policy": "report", "keys": [ALICE.pem], "threshold": 0}, "threshold is 0"),
        # The same key twice is one.
        ({"policy": "report", "keys": [ALICE.pem, ALICE.certificate()], "threshold": 2}, "it names 1 keys"),
    ],
)
def test_rules_that_none_can_meet(rule: dict[str, Any], reason: str, image: str, east: FakeRegistry, run: Run) -> None:
    images = [{"name": f"{east.host}/shop/web", "digest": image}]
    result = run(images=images, signatures=[{"pattern": "*", **rule}])
    assert result["failed"] and reason in result["msg"] and east.requests == []


def test_without_the_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, image: str, east: FakeRegistry, run: Run
) -> None:
    monkeypatch.setattr(signature_keys, "REQUIREMENT", Requirement("cryptography", ("no_such_module",)))
    images = [{"name": f"{east.host}/shop/web", "digest": image}]
    result = run(images=images, signatures=[{"pattern": "*", "policy": "report", "keys": [ALICE.pem]}])
    assert result["failed"] and "cryptography" in result["msg"]
    assert not run(images=images, signatures=[{"pattern": "*", "policy": "off"}]).get("failed")
