# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One index per recovery point in layouts, through the module's own main."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.layouts import JSON, PATH, Kept, Run, at, content, directory, given, prefix, signed
from fakes.registry import MANIFEST, FakeRegistry, digest_of
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._oci import turns
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import Layout
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Manifest
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import S3, S3Place

ONE, TWO = "20260101T000000Z-shop-0000000a", "20260102T000000Z-shop-0000000b"
REF_NAME = "org.opencontainers.image.ref.name"


def names(kept: Kept, point: str) -> dict[str, str]:
    """What a point's index names: name to digest."""
    document = json.loads(kept.files()[f"points/{point}/index.json"])
    return {entry["annotations"][REF_NAME]: entry["digest"] for entry in document["manifests"]}


def store(folder: Path, *points: str, expired: tuple[str, ...] = ()) -> JSON:
    """A store with these sealed points."""
    application = folder / "store" / "applications" / "shop"
    for point in points:
        (application / "points").mkdir(parents=True, exist_ok=True)
        (application / "points" / f"{point}.json").write_text(json.dumps({"images": []}))
    for point in expired:
        (application / "facts" / point).mkdir(parents=True)
        (application / "facts" / point / "20260201T000000000Z-expired.json").write_text("{}")
    (folder / "store").mkdir(exist_ok=True)
    return {"url": f"file://{folder}/store"}


def drop(kept: Kept, key: str, bucket: FakeS3, data: bytes | None = None) -> None:
    """Take a file of a layout away, or put other bytes there."""
    if kept.options["name"].startswith("s3"):
        bucket.objects.pop(f"images/{key}", None)
        if data is not None:
            bucket.objects[f"images/{key}"] = data
    else:
        path = Path(kept.options["name"][4:], key)
        path.unlink(missing_ok=True)
        if data is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def plain(kept: Kept) -> set[str]:
    return {key for key in kept.files() if not key.endswith(".muster-lock")}


def test_a_point_has_an_index_of_its_own(kept: Kept, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    root = signed(east)
    images, sources = given(east, root), [at(east)]
    planned = run(images=images, sources=sources, target=kept.options, point=ONE, check=True)
    assert planned["changed"] and kept.files() == {}
    first = run(images=images, sources=sources, target=kept.options, point=ONE)
    assert first["bytes_copied"] == planned["bytes_copied"]
    files = kept.files()
    assert {key for key in plain(kept) if not key.startswith("blobs/")} == {
        "oci-layout",
        f"points/{ONE}/oci-layout",
        f"points/{ONE}/index.json",
    }
    hexes = root["digest"].partition(":")[2]
    assert names(kept, ONE)[f"{PATH}:muster-{hexes[:16]}"] == root["digest"]
    assert f"{PATH}:sha256-{hexes}.sig" in names(kept, ONE)
    assert not run(images=images, sources=sources, target=kept.options, point=ONE)["changed"]
    assert kept.files() == files
    assert run(images=first["images"], target=kept.options, point=ONE, verify="full")["failures"] == 0
    # What is attached travels on, whether the point is named or not, or is none that the layout has.
    for number, more in enumerate(({"point": ONE}, {}, {"point": TWO})):
        run(images=first["images"], **{"from": kept.options}, target=at(west, f"/r{number}"), **more)
        assert {name.rpartition(":")[2] for name in names(kept, ONE)} == set(west.repository(f"r{number}/{PATH}").tags)
        for digest, data in content(east, "shop/web").items():
            assert content(west, f"r{number}/{PATH}")[digest] == data


def test_an_image_in_a_layout_is_found_by_name_in_any_point(
    kept: Kept, east: FakeRegistry, west: FakeRegistry, run: Run
) -> None:
    old, new = east.image("shop/web", layers=(b"old",)), east.image("shop/web", layers=(b"new",))
    for root, point in ((new, TWO), (old, ONE)):
        named = [{**given(east, root)[0], "name": "10.9.9.9:5000/shop/web:1"}]
        run(images=named, sources=[at(east)], target=kept.options, point=point, tags=True)
    place = kept.options["name"]
    if place.startswith("s3"):
        place = f"s3:{kept.options['endpoint_url']}/bucket/images"
    wanted = [{"name": f"{place}:{PATH}:1"}]
    newest = run(images=wanted, sources=[kept.options], target=at(west))
    assert newest["images"][0]["digest"] == new["digest"]
    asked = run(images=wanted, sources=[kept.options], **{"from": kept.options}, target=at(west), point=ONE)
    assert asked["images"][0]["digest"] == old["digest"]


def test_a_layout_without_points_gets_them(kept: Kept, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    images, sources = given(east, signed(east)), [at(east)]
    first = run(images=images, sources=sources, target=kept.options)
    index, blobs = kept.files()["index.json"], kept.blobs
    second = run(images=images, sources=sources, target=kept.options, point=ONE)
    assert (second["changed"], second["blobs_copied"]) == (True, 0)
    assert (kept.files()["index.json"], kept.blobs, names(kept, ONE)) == (index, blobs, kept.names)
    # From one to the other inside the layout, with the source gone.
    moved = run(images=first["images"], **{"from": kept.options}, target=kept.options, point=TWO)
    assert moved["failures"] == 0 and names(kept, TWO) == kept.names and kept.blobs == blobs


def test_points_at_the_same_time_lose_nothing_without_conditional_writes(tmp_path: Path, bucket: FakeS3) -> None:
    bucket.conditions = False
    place = S3Place("bucket", "images", bucket.url, "muster", "canary")
    layouts = {point: Layout("x", S3(place), point) for point in (ONE, TWO)}
    for number in range(4):
        for point, layout in layouts.items():
            data = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "n": number}).encode()
            layout.put_manifest("app", f"{point[-1]}{number}", Manifest.parse(data, MANIFEST, "x"))
    for layout in layouts.values():
        layout.finish()
    for point in (ONE, TWO):
        assert set(names(prefix(bucket), point)) == {f"app:{point[-1]}{number}" for number in range(4)}


def test_an_unchanged_image_comes_into_the_next_point_without_its_source(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run
) -> None:
    images, known = given(east, signed(east)), store(tmp_path)
    common = {"sources": [at(east)], "target": kept.options, "store": known, "tags": True}
    first = run(images=images, point=ONE, **common)
    east.requests.clear()
    blobs, asked = kept.blobs, len(bucket.requests)
    planned = run(images=first["images"], point=TWO, check=True, **common)
    assert f"points/{TWO}/index.json" not in kept.files()
    second = run(images=first["images"], point=TWO, **common)
    for result in (planned, second):
        assert (result["changed"], result["bytes_copied"], result["copied"]) == (True, 0, 1)
    assert "named in the point" in second["msg"] or "named in the point" in second["images"][0]["msg"]
    assert second["images"][0]["platforms"] == first["images"][0]["platforms"]
    assert names(kept, TWO) == names(kept, ONE) and kept.blobs == blobs
    assert east.requests == []
    # The layers are not asked for one by one.
    assert not any(line.startswith("HEAD ") for line in bucket.requests[asked:])
    assert run(images=first["images"], point=TWO, **common)["images"][0]["msg"] == "already there"
    assert run(images=first["images"], target=kept.options, point=TWO, verify="digests")["failures"] == 0


def test_what_a_record_says_without_any_index_is_not_relied_on(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run
) -> None:
    images, known = given(east, signed(east)), store(tmp_path)
    common = {"sources": [at(east)], "target": kept.options, "store": known}
    first = run(images=images, point=ONE, **common)
    for key in list(kept.files()):
        drop(kept, key, bucket)
    again = run(images=images, point=TWO, **common)
    assert again["bytes_copied"] == first["bytes_copied"]
    assert run(images=first["images"], target=kept.options, point=TWO, verify="full")["failures"] == 0


def test_verify_wants_the_point_itself_to_name_an_image(kept: Kept, east: FakeRegistry, run: Run) -> None:
    first = run(images=given(east, signed(east)), sources=[at(east)], target=kept.options, point=ONE)
    result = run(images=first["images"], target=kept.options, point=TWO, verify="digests")
    assert result["failed"] and "that tag does not name" in result["msg"]


def two_points(kept: Kept, east: FakeRegistry, run: Run) -> tuple[list[JSON], JSON, JSON]:
    """Two points with one image in common and one each; the images, and what each point's run returned."""
    layers = [os.urandom(5000) for _layer in range(4)]
    roots = [signed(east)] + [east.image("shop/web", layers=(layers[0], layers[number])) for number in (1, 2)]
    results = [
        run(images=given(east, roots[0], root), sources=[at(east)], target=kept.options, point=point)
        for root, point in ((roots[1], ONE), (roots[2], TWO))
    ]
    return roots, results[0], results[1]


def away(kept: Kept, known: JSON, point: str = ONE, **more: Any) -> JSON:
    return {"state": "absent", "target": kept.options, "store": known, "point": point, **more}


def test_a_point_goes_with_what_nothing_else_needs(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run
) -> None:
    known = store(tmp_path, ONE, TWO, expired=(ONE, TWO))
    roots, _first, second = two_points(kept, east, run)
    before = kept.files()
    planned = run(**away(kept, known), check=True)
    assert kept.files() == before
    result = run(**away(kept, known))
    for key in ("changed", "copied", "blobs_removed", "bytes_removed"):
        assert planned[key] == result[key]
    gone = before.keys() - kept.files().keys() - {f"points/{ONE}/index.json", f"points/{ONE}/oci-layout"}
    # One manifest, one configuration, one layer; the other layer and all of the signed image are needed.
    assert (result["blobs_removed"], len(gone)) == (3, 3)
    assert result["bytes_removed"] == sum(len(before[key]) for key in gone)
    told = {entry["digest"]: entry["msg"] for entry in result["images"]}
    assert told == {
        roots[0]["digest"]: "removed from the point; something else there needs it",
        roots[1]["digest"]: "removed",
    }
    assert [entry["path"] for entry in result["images"]] == [PATH, PATH]
    assert run(images=second["images"], target=kept.options, point=TWO, verify="full")["failures"] == 0
    again = run(**away(kept, known))
    assert (again["changed"], again["images"]) == (False, [])
    assert run(**away(kept, known, TWO))["changed"]
    assert plain(kept) == {"oci-layout"}


def test_what_the_index_of_the_layout_names_stays(kept: Kept, east: FakeRegistry, tmp_path: Path, run: Run) -> None:
    images, known = given(east, signed(east)), store(tmp_path)
    first = run(images=images, sources=[at(east)], target=kept.options)
    blobs = kept.blobs
    run(images=images, sources=[at(east)], target=kept.options, point=ONE)
    assert run(**away(kept, known))["blobs_removed"] == 0
    assert kept.blobs == blobs
    assert run(images=first["images"], target=kept.options, verify="digests")["failures"] == 0


def test_a_point_that_has_not_expired_stays(kept: Kept, east: FakeRegistry, tmp_path: Path, run: Run) -> None:
    known = store(tmp_path, ONE)
    two_points(kept, east, run)
    before = kept.files()
    result = run(**away(kept, known))
    assert (result["changed"], result["msg"]) == (False, f"kept: recovery point {ONE} has not expired")
    assert kept.files() == before


def test_an_image_that_went_with_its_point_is_copied_anew(
    kept: Kept, east: FakeRegistry, tmp_path: Path, run: Run
) -> None:
    known = store(tmp_path)
    images = given(east, signed(east))
    common = {"sources": [at(east)], "target": kept.options, "store": known}
    first = run(images=images, point=ONE, **common)
    assert run(**away(kept, known))["changed"]
    again = run(images=images, point=TWO, **common)
    assert again["bytes_copied"] == first["bytes_copied"]
    assert run(images=first["images"], target=kept.options, point=TWO, verify="full")["failures"] == 0


def test_nothing_goes_while_somebody_copies(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run
) -> None:
    """A copy relies on blobs that it has found and not named yet."""
    known = store(tmp_path)
    two_points(kept, east, run)
    blobs = kept.blobs
    place = S3Place("bucket", "images", bucket.url, "muster", "canary")
    files = S3(place) if kept.options["name"].startswith("s3") else Directory(Path(kept.options["name"][4:]))
    copying = Layout("x", files, "other")
    copying.begin()
    result = run(**away(kept, known))
    assert "images are being copied there" in str(result["warnings"])
    assert (kept.blobs, result["blobs_removed"]) == (blobs, 0)
    assert f"points/{ONE}/index.json" not in kept.files()
    copying.finish()
    assert run(**away(kept, known))["blobs_removed"] == 3
    # One that was killed long ago copies nothing any more.
    stamp = clock.stamp(clock.now() - timedelta(days=2))
    drop(kept, f"muster/copying/{stamp}-00000000", bucket, b"{}")
    assert run(**away(kept, known, TWO))["blobs_removed"] > 3
    assert not any(key.startswith(("muster/", "blobs/")) for key in kept.files())


def test_nothing_goes_while_somebody_copies_for_days(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, blobs = store(tmp_path), {}
    two_points(kept, east, run)
    place = S3Place("bucket", "images", bucket.url, "muster", "canary")
    files = S3(place) if kept.options["name"].startswith("s3") else Directory(Path(kept.options["name"][4:]))
    copying = Layout("x", files, "other")
    copying.begin()
    begun = clock.now()
    for hours in range(0, 36, 12):
        later = begun + timedelta(hours=hours)
        monkeypatch.setattr(turns, "clock", SimpleNamespace(now=lambda later=later: later, stamp=clock.stamp))
        data = b'{"layers": [], "hours": %d}' % hours
        copying.put_manifest("app", digest_of(data), Manifest.parse(data, MANIFEST, "x"))
        blobs = kept.blobs
    result = run(**away(kept, known))
    assert "images are being copied there" in str(result["warnings"]) and kept.blobs == blobs
    copying.finish()
    assert not any(key.startswith("muster/copying") for key in kept.files())


def test_a_copy_says_so_before_it_looks_for_what_it_will_rely_on(east: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    kept, images = prefix(bucket), given(east, signed(east))
    run(images=images, sources=[at(east)], target=kept.options, point=ONE)
    bucket.requests.clear()
    assert run(images=images, sources=[at(east)], target=kept.options, point=TWO)["bytes_copied"] == 0
    about = [line for line in bucket.requests if "copying/" in line or "blobs" in line]
    assert about[0].startswith("PUT ") and about[-1].startswith("DELETE ") and "copying/" in about[-1]


def test_every_write_of_a_removal_may_be_the_last(east: FakeRegistry, tmp_path: Path, run: Run) -> None:
    known = store(tmp_path)
    for last in range(6):
        with FakeS3() as bucket:
            kept = prefix(bucket)
            _roots, _first, second = two_points(kept, east, run)
            bucket.writes_left = last
            assert run(**away(kept, known))["failed"]
            bucket.writes_left = 1_000_000
            assert run(images=second["images"], target=kept.options, point=TWO, verify="full")["failures"] == 0
            assert "warnings" not in run(**away(kept, known))
            run(**away(kept, known, TWO))
            assert {key for key in kept.files() if not key.startswith("muster/removing/")} == {"oci-layout"}


@pytest.mark.parametrize("killed", [False, True])
def test_a_copy_waits_for_who_takes_away(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, run: Run, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    note = f"muster/removing/{clock.stamp(clock.now())}-00000000"
    drop(kept, note, bucket, b"{}")
    images, sources = given(east, signed(east)), [at(east)]
    waited = 0.0

    def sleep(seconds: float) -> None:
        nonlocal waited
        assert not kept.blobs
        waited += seconds
        if not killed:
            drop(kept, note, bucket)

    monkeypatch.setattr(turns, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: waited))
    assert run(images=images, sources=sources, target=kept.options, point=ONE)["copied"] == 1
    assert waited > 700 if killed else waited < 10
    assert not any(key.startswith("muster/") for key in kept.files())


def test_nothing_goes_where_nobody_knows_what_another_point_needs(
    kept: Kept, east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run
) -> None:
    known = store(tmp_path)
    roots, _first, _second = two_points(kept, east, run)
    drop(kept, "blobs/" + roots[2]["digest"].replace(":", "/"), bucket, b"{}")
    before = kept.files()
    result = run(**away(kept, known))
    assert result["failed"] and "nobody knows what" in result["msg"]
    assert kept.files() == before


def test_a_server_that_refuses_to_delete_is_said(east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run) -> None:
    known, kept = store(tmp_path), prefix(bucket)
    two_points(kept, east, run)
    bucket.refuse = "DELETE .*"
    assert "the access key may not" in run(**away(kept, known))["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"point": "../x"}, "is not the id of a recovery point"),
        ({"point": ONE, "target": {"name": "x.example.com"}}, "neither target nor from is a layout"),
        ({"state": "absent"}, "no point is named"),
        ({"state": "absent", "point": ONE}, "a point goes as a whole"),
        ({"state": "absent", "point": ONE, "images": None, "verify": "full"}, "verify is set"),
        ({"point": ONE, "images": None}, "there is nothing to work on"),
    ],
)
def test_wishes_about_points_that_mean_nothing_are_refused(tmp_path: Path, run: Run, options: JSON, words: str) -> None:
    target = directory(tmp_path / "layout").options
    given_images = {"images": [{"name": "a/b", "digest": "sha256:" + "0" * 64}], "target": target}
    result = run(**{"store": store(tmp_path), **given_images, **options})
    assert result["failed"] and words in result["msg"]
