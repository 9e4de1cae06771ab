# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copying what was copied before: what is known of a place, for how long, and what a choice of platforms means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.k8s_modules import calling
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.modules import image_mirror

Mirror = Callable[..., dict[str, Any]]


@pytest.fixture
def east() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def west() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


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
    for name in ("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
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
        return main(image_mirror, check, images=named, **{**places, **options})

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
    assert mirror(image, verify=True)["failed"]
    assert mirror(image)["blobs_copied"] == 1
    assert not mirror(image, verify=True).get("failed")


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
    assert not mirror(image, platforms=wanted, verify=True).get("failed")
    assert mirror(image, verify=True)["failed"]


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


def test_a_platform_that_an_index_does_not_serve(mirror: Mirror, east: FakeRegistry, west: FakeRegistry) -> None:
    image = east.index("app", platforms(east, "amd64", "arm64"), "1")
    result = mirror(image, platforms=["windows/amd64"])
    assert result["failed"] and "it serves only linux/amd64, linux/arm64" in result["msg"]
    assert west.writes() == []
