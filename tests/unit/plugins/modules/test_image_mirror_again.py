# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copying what was copied before: what is known of a place, for how long, and what a choice of platforms means."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.copying import alone
from fakes.k8s_modules import calling
from fakes.registry import INDEX, MANIFEST, FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._oci import blob, spool
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

Mirror = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    place.mkdir()
    return place


@pytest.fixture
def mirror(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    east: FakeRegistry,
    west: FakeRegistry,
    store: Path,
) -> Mirror:
    """Copies images of ``east`` to ``west`` and keeps in ``store`` what is known."""
    alone(monkeypatch, tmp_path)
    main = calling(capsys)

    def call(*images: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        named = [
            {"name": f"{east.host}/app", "digest": image["digest"], "signatures": image.get("signatures")}
            for image in images
        ]
        places = {
            "sources": [{"name": east.host, "plain_http": True}],
            "target": {"name": f"{west.host}/backup", "plain_http": True},
            "store": {"url": f"file://{store}"},
        }
        given = {"images": named, **places, **options}
        return main(image_mirror, check, **{key: value for key, value in given.items() if value is not None})

    return call


def record_file(store: Path) -> Path:
    (found,) = store.glob("images/**/*.json")
    return found


def copies(west: FakeRegistry) -> Any:
    (name,) = west.repositories
    return west.repository(name)


def platforms(east: FakeRegistry, *machines: str) -> list[dict[str, Any]]:
    found = []
    for machine in machines:
        system, _slash, variant = machine.partition("/")
        platform = {"os": "linux", "architecture": system, **({"variant": variant} if variant else {})}
        found.append({**east.image("app", layers=(machine.encode(),), machine=system), "platform": platform})
    return found


# -- what is known --------------------------------------------------------------------------------------------------


def test_an_unchanged_image_costs_one_request(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.index("app", platforms(east, "amd64", "arm64"), "1")
    first = mirror(image)
    with west.watched() as at_target, east.watched() as at_source:
        again = mirror(image)
    assert (again["changed"], again["unchanged"], again["images"][0]["msg"]) == (False, 1, "already there")
    assert [line.split()[0] for line in at_target] == ["HEAD"] and at_source == []
    assert {key: again["images"][0][key] for key in ("platforms", "media_type", "target")} == {
        key: first["images"][0][key] for key in ("platforms", "media_type", "target")
    }


def test_what_is_known_grows_old(mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path) -> None:
    image = east.image("app", "1")
    mirror(image)
    lost = copies(west).blobs.popitem()[0]
    assert not mirror(image)["changed"]
    repaired = mirror(image, recheck_after="0")
    assert repaired["blobs_copied"] == 1 and lost in copies(west).blobs
    # The same by the time that has passed; and a time to come says nothing.
    for away in (timedelta(hours=-25), timedelta(hours=2)):
        copies(west).blobs.popitem()
        document = json.loads(record_file(store).read_text())
        for digests in document["copies"].values():
            digests[image["digest"]]["verified"] = clock.iso(clock.now() + away)
        record_file(store).write_text(json.dumps(document))
        assert mirror(image)["blobs_copied"] == 1


def test_a_copy_that_is_gone_is_made_again(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1")
    mirror(image)
    copies(west).tags.clear()
    assert mirror(image)["changed"]
    west.repositories.clear()
    assert mirror(image)["blobs_copied"] == 2


def test_verify_finds_what_was_collected_and_the_next_copy_repairs_it(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    mirror(image)
    copies(west).blobs.popitem()
    assert mirror(image, verify="digests")["failed"]
    assert mirror(image)["blobs_copied"] == 1
    assert not mirror(image, verify="digests").get("failed")


def test_a_signature_that_was_added_since_travels_where_signatures_matter(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    mirror(image)
    tag = image["digest"].replace(":", "-") + ".sig"
    east.image("app", tag, layers=(b"signature",))
    assert not mirror(image)["changed"]
    rules = [{"pattern": "*", "policy": "report"}]
    judged = mirror(image, signatures=rules, check=True)["images"][0]["signatures"]
    # So it is with the images of a recovery point, which say that they were judged.
    assert mirror({**image, "signatures": judged})["changed"] and tag in copies(west).tags


def sign(east: FakeRegistry, image: dict[str, Any], *content: bytes) -> str:
    """Attach a signature by cosign's tag; returns the tag."""
    tag: str = image["digest"].replace(":", "-") + ".sig"
    east.image("app", tag, layers=content or (b"signature",))
    return tag


def test_a_signature_that_the_target_did_not_take_is_sent_again(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    mirror(image)
    tag = sign(east, image)
    west.fault(r"POST /v2/.*uploads", times=1000, status=507, body=b"disk full")
    assert mirror(image, recheck_after="0")["failed"]
    west.faults.clear()
    assert mirror(image, recheck_after="0")["changed"] and tag in copies(west).tags


def test_what_nobody_could_look_for_is_not_known(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1")
    tag = sign(east, image)
    east.fault(r"manifests/sha256-", times=1000, status=503)
    assert mirror(image)["failed"]
    assert "could not be looked for" in mirror(image)["images"][0]["msg"]
    east.faults.clear()
    assert mirror(image)["changed"] and tag in copies(west).tags


def test_a_copy_without_attachments_is_no_proof_for_one_with_them(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    tag = sign(east, image)
    mirror(image, attachments=False)
    assert not mirror(image, verify="digests").get("failed")
    assert mirror(image)["changed"] and tag in copies(west).tags
    assert not mirror(image, attachments=False)["changed"]


def test_a_referrer_that_is_only_listed_keeps_nothing_back(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    gone = {"mediaType": MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 5}
    east.index("app", [gone], image["digest"].replace(":", "-"))
    result = mirror(image, tags=True)
    assert not result.get("failed") and "is listed at the source and not there" in result["images"][0]["msg"]
    assert not mirror(image)["changed"]


@pytest.mark.parametrize("subject", ["v1", "../../victim/manifests/v1", 5])
def test_a_subject_that_is_no_digest_is_refused(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, subject: Any
) -> None:
    bad = east.image("app", "1", subject={"mediaType": MANIFEST, "digest": subject, "size": 1})
    good = east.image("app", "2", layers=(b"good",))
    result = mirror(bad, good)
    assert [entry["failed"] for entry in result["images"]] == [True, False]
    assert "it is no image manifest" in result["images"][0]["msg"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"config": {"digest": "sha256:%064d", "size": 1e999}, "layers": []}' % 0,
        b'{"layers": ' + b"[" * 200_000,
    ],
    ids=["a size without end", "lists without end"],
)
def test_a_manifest_that_nobody_can_read_fails_its_image_alone(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, data: bytes
) -> None:
    bad, good = east.raw_manifest("app", data, MANIFEST, "1"), east.image("app", "2")
    result = mirror(bad, good)
    assert [entry["failed"] for entry in result["images"]] == [True, False]
    assert "it is no image manifest" in result["images"][0]["msg"]


def test_an_image_whose_name_is_none_fails_alone(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1")
    good = {"name": f"{east.host}/app:1", "digest": image["digest"]}
    result = mirror(images=[{"name": "Not An Image", "resolved_by": "unresolved"}, good], allow_unresolved=True)
    assert [entry["failed"] for entry in result["images"]] == [True, False] and result["copied"] == 1


def test_records_of_a_bucket_have_a_name_that_stores_take(
    mirror: Mirror, east: FakeRegistry, store: Path, tmp_path: Path
) -> None:
    image = east.image("app", "1")
    (tmp_path / "images").mkdir()
    mirror(image, target={"name": f"oci:{tmp_path}//images"})
    assert record_file(store).is_relative_to(store / "images")
    assert not mirror(image, target={"name": f"oci:{tmp_path}//images"})["changed"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": "muster/images/v1", "place": "other", "copies": {}}'])
def test_records_that_say_nothing_cost_only_work(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path, content: bytes
) -> None:
    image = east.image("app", "1")
    mirror(image)
    record_file(store).write_bytes(content)
    copies(west).blobs.popitem()
    assert mirror(image)["blobs_copied"] == 1
    with west.watched() as seen:
        mirror(image)
    assert len(seen) == 1


def test_a_store_that_does_not_answer_is_a_warning(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, tmp_path: Path
) -> None:
    image = east.image("app", "1")
    result = mirror(image, store={"url": f"file://{tmp_path / 'nowhere'}"})
    assert not result.get("failed") and result["copied"] == 1
    assert any("images are checked in full" in str(warning) for warning in result["warnings"])


def test_check_mode_notes_nothing(mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path) -> None:
    image = east.image("app", "1")
    mirror(image, check=True)
    assert list(store.rglob("*")) == [] and west.writes() == []
    mirror(image)
    before = record_file(store).read_bytes()
    assert not mirror(image, check=True, recheck_after="0")["changed"]
    assert record_file(store).read_bytes() == before


def test_what_others_noted_meanwhile_stays(mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path) -> None:
    first, second = east.image("app", "1"), east.image("app", "2", layers=(b"second",))
    mirror(first)
    mirror(second)
    (digests,) = json.loads(record_file(store).read_text())["copies"].values()
    assert set(digests) == {first["digest"], second["digest"]}


def test_an_image_that_failed_is_not_known(mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path) -> None:
    good, bad = east.image("app", "1"), east.image("app", "2", layers=(b"second",))
    del east.repository("app").blobs[east.blob("app", b"second")["digest"]]
    assert mirror(good, bad)["failures"] == 1
    (digests,) = json.loads(record_file(store).read_text())["copies"].values()
    assert set(digests) == {good["digest"]}


# -- platforms ------------------------------------------------------------------------------------------------------


def attestation(east: FakeRegistry, child: dict[str, Any]) -> dict[str, Any]:
    """An attestation as BuildKit puts it beside a platform."""
    return {
        **east.image("app", layers=(f"attests {child['digest']}".encode(),)),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.digest": child["digest"]},
    }


@pytest.fixture
def sparse(west: FakeRegistry) -> FakeRegistry:
    """A target that takes indexes of which children are missing."""
    west.sparse = True
    return west


def test_a_choice_of_platforms_leaves_the_index_as_it_is(
    mirror: Mirror, east: FakeRegistry, sparse: FakeRegistry
) -> None:
    children = platforms(east, "amd64", "arm64", "arm/v6", "arm/v7")
    proofs = [attestation(east, child) for child in children]
    image = east.index("app", [*children, *proofs], "1")
    wanted = ["linux/amd64", "linux/arm"]
    planned = mirror(image, platforms=wanted, check=True)
    copied = mirror(image, platforms=wanted)
    assert (copied["bytes_copied"], copied["blobs_copied"]) == (planned["bytes_copied"], planned["blobs_copied"])
    chosen = {image["digest"], *(item["digest"] for part in (children, proofs) for item in (part[0], part[2], part[3]))}
    assert set(copies(sparse).manifests) == chosen
    assert not mirror(image, platforms=wanted, recheck_after="0")["changed"]
    assert not mirror(image, platforms=wanted, verify="digests").get("failed")
    assert mirror(image, verify="digests")["failed"]


def test_a_proof_for_some_platforms_is_none_for_others(
    mirror: Mirror, east: FakeRegistry, sparse: FakeRegistry
) -> None:
    image = east.index("app", platforms(east, "amd64", "arm64", "s390x"), "1")
    mirror(image, platforms=["linux/amd64", "linux/arm64"])
    with sparse.watched() as seen:
        assert not mirror(image, platforms=["linux/arm64"])["changed"]
    assert len(seen) == 1
    assert mirror(image, platforms=["linux/s390x"])["changed"]
    assert not mirror(image, recheck_after="0")["changed"]
    with sparse.watched() as seen:
        assert not mirror(image, platforms=["linux/arm64"])["changed"]
    assert len(seen) == 1


def test_a_registry_that_wants_whole_indexes_gets_them(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.index("app", platforms(east, "amd64", "arm64"), "1")
    result = mirror(image, platforms=["linux/amd64"])
    assert "all platforms were copied" in result["images"][0]["msg"]
    assert len(copies(west).manifests) == 3
    assert not mirror(image, platforms=["linux/amd64"], recheck_after="0")["changed"]


def test_platforms_are_chosen_in_an_index_of_indexes_too(
    mirror: Mirror, east: FakeRegistry, sparse: FakeRegistry
) -> None:
    linux = platforms(east, "amd64", "arm64")
    windows = {**east.image("app", layers=(b"win",)), "platform": {"os": "windows", "architecture": "amd64"}}
    image = east.index("app", [east.index("app", linux), east.index("app", [windows])], "1")
    # What is attached may be an index as well, of whatever platforms.
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [windows], "subject": image}
    listed = east.manifest("app", document)
    east.index("app", [listed], image["digest"].replace(":", "-"))
    result = mirror(image, platforms=["linux/amd64"])
    assert not result.get("failed"), result["msg"]
    assert linux[1]["digest"] not in copies(sparse).manifests
    assert {linux[0]["digest"], windows["digest"], listed["digest"]} < set(copies(sparse).manifests)
    assert not mirror(image, platforms=["linux/amd64"], verify="digests").get("failed")
    assert not mirror(image, platforms=["linux/amd64"], recheck_after="0")["changed"]


def test_one_manifest_may_serve_several_platforms(mirror: Mirror, east: FakeRegistry, sparse: FakeRegistry) -> None:
    (child,) = platforms(east, "amd64")
    other = {**child, "platform": {"os": "linux", "architecture": "arm64"}}
    image = east.index("app", [child, other], "1")
    mirror(image, platforms=["linux/amd64"])
    assert set(copies(sparse).manifests) == {image["digest"], child["digest"]}
    del copies(sparse).manifests[child["digest"]]
    assert mirror(image, platforms=["linux/amd64"], verify="digests")["failed"]


def test_annotations_that_are_none_say_nothing(mirror: Mirror, east: FakeRegistry, sparse: FakeRegistry) -> None:
    child = east.image("app", layers=(b"one",))
    kinds = ({"platform": {"os": "linux", "architecture": "amd64"}}, {"annotations": ["of no use"]})
    root = east.index("app", [{**child, **kind} for kind in kinds], "1")
    assert not mirror(root, platforms=["linux/amd64"]).get("failed")


def test_a_platform_that_an_index_does_not_serve(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.index("app", platforms(east, "amd64", "arm64"), "1")
    result = mirror(image, platforms=["windows/amd64"])
    assert result["failed"] and "it serves only linux/amd64, linux/arm64" in result["msg"]
    assert west.writes() == []


# -- tags, and the way back -------------------------------------------------------------------------------------------


def test_a_copy_has_the_tag_of_its_image_on_request(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    old, new = east.image("app", layers=(b"old",)), east.image("app", "1")
    mirror(new)
    assert "1" not in copies(west).tags
    name = f"{east.host}/app:1"
    # What still runs although its tag has moved is named by the same tag, and may not have it.
    listed = [{**old, "name": name, "tag_digest": new["digest"]}, {**new, "name": name}]
    first = mirror(images=listed, tags=True)
    assert first["changed"] and copies(west).tags["1"] == new["digest"]
    assert copies(west).tags.keys() == {"1", *(f"muster-{one['digest'][7:23]}" for one in (old, new))}
    with west.watched() as seen:
        assert not mirror(images=listed, tags=True)["changed"]
    assert [line.split()[0] for line in seen] == ["HEAD"] * 3
    newer = east.image("app", "1", layers=(b"newer",))
    assert mirror(images=[{**newer, "name": name}, {**new, "name": name}], tags=True)["changed"]
    assert copies(west).tags["1"] == newer["digest"]


def test_every_tag_of_one_image_is_kept(mirror: Mirror, back: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1", "1.0")
    named = [{**image, "name": f"{east.host}/app:{tag}"} for tag in ("1", "1.0")]
    copied = mirror(images=named, tags=True)["images"]
    assert {"1", "1.0"} <= set(copies(west).tags)
    assert not mirror(images=named, tags=True)["changed"]
    east.repositories.clear()
    back(*copied)
    assert {"1", "1.0"} <= set(east.repository("app").tags)
    assert not back(*copied, verify="digests").get("failed")
    del east.repository("app").tags["1.0"]
    assert "app:1.0" in back(*copied, verify="digests")["msg"]


def test_newer_signatures_at_the_original_stay(
    mirror: Mirror, back: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image = east.image("app", "1")
    sign(east, image)
    (copied,) = mirror(images=[{**image, "name": f"{east.host}/app:1"}])["images"]
    tag = sign(east, image, b"signature", b"another")
    newer = east.repository("app").tags[tag]
    assert "stays" in back(copied)["images"][0]["msg"]
    assert east.repository("app").tags[tag] == newer


def test_nodes_are_told_where_the_copies_are(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1")
    (told,) = mirror(image)["node_mirrors"]
    below = f"backup/{east.host.replace(':', '-')}"
    assert told == {
        "registry": east.host,
        "host": f"http://{west.host}/v2/{below}",
        "path": f"/etc/containerd/certs.d/{east.host}/hosts.toml",
        "content": f'server = "http://{east.host}"\n\n[host."http://{west.host}/v2/{below}"]\n'
        '  capabilities = ["pull"]\n  override_path = true\n',
    }
    assert list(west.repositories) == [f"{below}/app"]
    assert '["pull", "resolve"]' in mirror(image, tags=True)["node_mirrors"][0]["content"]
    # Nothing is said here of how that registry is reached, as its image comes from a copy.
    reach = {"sources": [], "from": {"name": f"{west.host}/backup", "plain_http": True}}
    (told,) = mirror(image, **reach, target={"name": f"{west.host}/again", "plain_http": True})["node_mirrors"]
    assert told["content"].startswith(f'server = "https://{east.host}"')


@pytest.fixture
def back(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> Mirror:
    """Pushes images back to ``east`` from their copies at ``west``."""

    def call(*images: dict[str, Any], **options: Any) -> dict[str, Any]:
        origin = None if options.get("verify") else {"name": f"{west.host}/backup", "plain_http": True}
        given = {"from": origin, "target": None, "original_names": True, "images": list(images)}
        return mirror(**{**given, **options})

    return call


def test_a_registry_that_lost_everything_gets_it_back(
    mirror: Mirror, back: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    image, other = east.index("app", platforms(east, "amd64", "arm64"), "1"), east.image("app/other", "2")
    copied = [
        mirror(images=[{**one, "name": f"{east.host}/{name}"}])["images"][0]
        for one, name in ((image, "app:1"), (other, f"app/other:2@{other['digest']}"))
    ]
    was = {name: (dict(one.blobs), dict(one.manifests)) for name, one in east.repositories.items()}
    east.repositories.clear()
    assert back(*copied, verify="digests")["failures"] == 2
    planned = back(*copied, check=True)
    assert planned["changed"] and east.writes() == []
    done = back(*copied)
    assert (done["copied"], done["bytes_copied"]) == (2, planned["bytes_copied"])
    assert {name: (one.blobs, one.manifests) for name, one in east.repositories.items()} == was
    assert east.repository("app").tags["1"] == image["digest"]
    assert done["images"][0]["target"] == f"{east.host}/app@{image['digest']}" and "node_mirrors" not in done
    assert not back(*copied)["changed"] and not back(*copied, verify="digests").get("failed")


def test_a_tag_of_somebody_else_is_not_moved(mirror: Mirror, back: Mirror, east: FakeRegistry) -> None:
    image = east.image("app", "1")
    (copied,) = mirror(images=[{**image, "name": f"{east.host}/app:1"}])["images"]
    east.repositories.clear()
    new = east.image("app", "1", layers=(b"new",))
    before = len(east.writes())
    result = back(copied)
    assert result["failed"] and f"that tag names {new['digest']}" in result["msg"]
    assert len(east.writes()) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"from": None}, "set without from"),
        ({"target": {"name": "x.example.com"}}, "mutually exclusive"),
        ({"state": "absent"}, "state is absent but all of the following are missing: target"),
    ],
)
def test_wishes_that_contradict_each_other(back: Mirror, options: dict[str, Any], reason: str) -> None:
    result = back({"name": "a/b", "digest": f"sha256:{'0' * 64}"}, **options)
    assert result["failed"] and reason in result["msg"]


# -- taking away ----------------------------------------------------------------------------------------------------


def need(store: Path, *images: dict[str, Any]) -> None:
    """Let a recovery point of some application need these images."""
    place = store / "applications/shop/points"
    place.mkdir(parents=True, exist_ok=True)
    (place / "p1.json").write_text(json.dumps({"images": images}))


def entry(east: FakeRegistry, image: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"{east.host}/app", "digest": image["digest"], "path": f"{east.host.replace(':', '-')}/app"}


def test_only_what_is_ours_and_what_nobody_needs_goes(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path
) -> None:
    children = platforms(east, "amd64", "arm64", "s390x")
    gone = east.index("app", children[:2], "1")
    kept = east.index("app", children[1:], "2")
    east.image("app", gone["digest"].replace(":", "-") + ".sig", layers=(b"signature",))
    mirror(gone, kept)
    (name,) = west.repositories
    foreign = west.image(name, "theirs", layers=(b"theirs",))
    need(store, entry(east, kept))
    planned = mirror(gone, kept, foreign, state="absent", check=True)
    assert planned["changed"] and not any(line.startswith("DELETE") for line in west.requests)
    result = mirror(gone, kept, foreign, state="absent")
    told = [one["msg"] for one in result["images"]]
    assert told == ["removed", "kept: recovery point p1 needs it", "kept: nothing says that we put it there"]
    assert set(copies(west).manifests) == {kept["digest"], foreign["digest"], *(one["digest"] for one in children[1:])}
    assert not mirror(kept, verify="digests").get("failed")
    again = mirror(gone, state="absent")
    assert not again["changed"] and not mirror(gone, kept)["images"][1]["changed"]


def test_what_others_pushed_is_not_ours_because_we_saw_it(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    """As where the target is the registry that the images come from."""
    image = east.image("app", "1")
    name = f"backup/{east.host.replace(':', '-')}/app"
    there = west.image(name, "1")
    assert there["digest"] == image["digest"]
    mirror(image)
    mirror(image, verify="digests")
    assert mirror(image, state="absent")["images"][0]["msg"] == "kept: nothing says that we put it there"
    assert west.repository(name).tags["1"] == image["digest"]


def test_points_that_have_expired_need_nothing(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path
) -> None:
    image = east.image("app", "1")
    mirror(image)
    need(store, entry(east, image))
    assert not mirror(image, state="absent")["changed"]
    fact = store / "applications/shop/facts/p1/20260131T040506000Z-expired.json"
    fact.parent.mkdir(parents=True)
    fact.write_text("{}")
    assert mirror(image, state="absent")["changed"]


def test_a_removal_that_breaks_leaves_the_other_image_whole(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    children = platforms(east, "amd64", "arm64", "s390x")
    first, second = east.index("app", children[:2], "1"), east.index("app", children[1:], "2")
    mirror(first, second)
    west.fault(f"DELETE .*{second['digest']}", times=1000, status=500)
    assert mirror(first, second, state="absent")["failures"] == 1
    west.faults.clear()
    assert not mirror(second, verify="digests").get("failed")


def test_looking_and_removing_at_once_is_refused(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.image("app", "1")
    mirror(image)
    assert "verify is set" in mirror(image, state="absent", verify="digests")["msg"]
    assert not any(line.startswith("DELETE") for line in west.requests)


def test_what_several_images_share_goes_with_the_last_of_them(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry
) -> None:
    children = platforms(east, "amd64", "arm64", "s390x")
    first, second = east.index("app", children[:2], "1"), east.index("app", children[1:], "2")
    mirror(first, second)
    assert mirror(first, second, state="absent")["msg"] == "2 of 2 images removed"
    assert copies(west).manifests == {} and copies(west).tags == {}


@pytest.mark.parametrize("api", [True, False])
def test_how_many_requests_a_removal_takes(mirror: Mirror, east: FakeRegistry, west: FakeRegistry, api: bool) -> None:
    """Of an image and of each referrer: the manifest, three tags of cosign, its referrers, and DELETE.

    Of a signature nothing but DELETE, as reading its tag has given all. Once: that there is no API for referrers; and
    with it a tag that may list them for each image that has some.
    """
    west.referrers = east.referrers = api
    images = [east.image("app", str(number), layers=(b"%d" % number,)) for number in range(20)]
    for image in images:
        east.image("app", image["digest"].replace(":", "-") + ".sig", layers=(image["digest"].encode(),))
    described = images[:5]
    sboms = [east.image("app", layers=(b"sbom of %d" % number,), subject=one) for number, one in enumerate(described)]
    if not api:
        for sbom, image in zip(sboms, described, strict=True):
            east.index("app", [sbom], image["digest"].replace(":", "-"))
    mirror(*images)
    with west.watched() as asked:
        assert mirror(*images, state="absent")["msg"] == "20 of 20 images removed"
    assert copies(west).manifests == {}
    lists = 5 if api else 5 + 1
    assert len(asked) <= (20 + 5) * 6 + 20 + lists


def test_a_registry_that_does_not_delete_says_so_once(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    images = [east.image("app", str(number), layers=(bytes([number]),)) for number in range(3)]
    mirror(*images)
    west.deletes = False
    result = mirror(*images, state="absent", workers=1)
    assert not result.get("failed") and not result["changed"]
    (warning,) = [str(one) for one in result["warnings"] if "Images stay at" in str(one)]
    assert "answered 405" in warning
    assert sum(line.startswith("DELETE") for line in west.requests) == 1
    west.deletes = True
    assert mirror(*images, state="absent")["changed"]


def test_nothing_goes_while_a_recovery_point_cannot_be_read(
    mirror: Mirror, east: FakeRegistry, west: FakeRegistry, store: Path
) -> None:
    image = east.image("app", "1")
    mirror(image)
    need(store)
    (store / "applications/shop/points/p1.json").write_text("{")
    result = mirror(image, state="absent")
    assert result["failed"] and "nobody knows which images it needs" in result["msg"]
    assert not any(line.startswith("DELETE") for line in west.requests)


# -- large layers of which one side is slow -------------------------------------------------------------------------


@pytest.fixture
def slow(east: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An image with a large layer, for a target that counts as slow."""
    monkeypatch.setattr(blob, "LARGE", 1_000_000)
    monkeypatch.setattr(spool.Sides, "target_lags", lambda _sides, done, size: done < size)
    return east.image("app", layers=(os.urandom(3_000_000),))


def fetched(east: FakeRegistry) -> int:
    """How often the large layer was asked for; the configuration once."""
    return len([line for line in east.requests if line.startswith("GET") and "/blobs/" in line]) - 1


def test_large_layers_are_put_by_where_the_user_says(
    mirror: Mirror, slow: dict[str, Any], east: FakeRegistry, west: FakeRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    assert mirror(slow, spool_dir=str(folder))["blobs_copied"] == 2
    assert fetched(east) == 2 and list(folder.iterdir()) == []
    west.repositories.clear()
    east.requests.clear()
    assert mirror(slow, spool_size="0", recheck_after="0")["blobs_copied"] == 2
    assert fetched(east) == 1


def test_a_full_disk_is_told_and_stops_no_copy(
    mirror: Mirror, slow: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.os, "pwrite", full)
    result = mirror(slow)
    assert result["blobs_copied"] == 2
    assert "No space left on device" in str(result["warnings"]) and "spool_dir" in str(result["warnings"])


@pytest.mark.parametrize(
    ("options", "words"), [({"spool_dir": "/nowhere"}, "spool_dir /nowhere"), ({"spool_size": "much"}, "is no size")]
)
def test_a_spool_that_cannot_be_meant(
    mirror: Mirror, slow: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    result = mirror(slow, **options)
    assert result["failed"] and words in result["msg"]
