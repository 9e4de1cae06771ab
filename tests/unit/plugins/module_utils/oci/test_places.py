# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts in directories and buckets, as source and as target, through the module's own main."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from fakes.copying import connect
from fakes.layouts import JSON, NAME, PATH, Kept, Run, at, content, directory, given, prefix, signed
from fakes.registry import MANIFEST, FakeRegistry
from fakes.s3 import FakeS3

from ansible_collections.muster.container_dr.plugins.module_utils._oci import layout as layout_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci.copy import Copier, Route, Tally, keep_tag
from ansible_collections.muster.container_dr.plugins.module_utils._oci.layout import Layout
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Manifest
from ansible_collections.muster.container_dr.plugins.module_utils._store import s3 as s3_module
from ansible_collections.muster.container_dr.plugins.module_utils._store.directory import Directory
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import S3, S3Place


def without_locks(files: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in files.items() if not key.endswith(".muster-lock")}


def test_there_and_back_again(
    kept: Kept, east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = signed(east)
    images, sources = given(east, root), [at(east)]
    planned = run(images=images, sources=sources, target=kept.options, check=True)
    assert planned["changed"]
    assert kept.files() == {}
    first = run(images=images, sources=sources, target=kept.options)
    assert (first["changed"], first["bytes_copied"]) == (True, planned["bytes_copied"])
    assert first["blobs_copied"] == planned["blobs_copied"]
    files = kept.files()
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert {digest: data for digest, data in kept.blobs.items() if digest in content(east, "shop/web")} == content(
        east, "shop/web"
    )
    for digest, data in kept.blobs.items():
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    hexes = root["digest"].partition(":")[2]
    assert kept.names[f"{PATH}:muster-{hexes[:16]}"] == root["digest"]
    assert f"{PATH}:sha256-{hexes}.sig" in kept.names
    assert len(kept.names) == len(kept.index["manifests"])

    writes = len(bucket.writes())
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "_beside", lambda *_args: pytest.fail("a file was written"))
        again = run(images=images, sources=sources, target=kept.options)
    assert (again["changed"], again["unchanged"]) == (False, 1)
    assert (kept.files(), len(bucket.writes())) == (files, writes)
    verified = run(images=first["images"], target=kept.options, verify="digests")
    assert verified["failures"] == 0

    back = run(images=first["images"], **{"from": kept.options}, target=at(west, "/restored"))
    assert back["changed"]
    for digest, data in content(east, "shop/web").items():
        assert content(west, f"restored/{PATH}")[digest] == data
    tags = west.repository(f"restored/{PATH}").tags
    assert f"sha256-{hexes}.sig" in tags
    assert {name.rpartition(":")[2] for name in kept.names} == set(tags)


def test_between_a_directory_and_a_bucket(east: FakeRegistry, bucket: FakeS3, tmp_path: Path, run: Run) -> None:
    here, there = directory(tmp_path / "layout"), prefix(bucket)
    root = signed(east)
    first = run(images=given(east, root), sources=[at(east)], target=here.options)
    onward = run(images=first["images"], **{"from": here.options}, target=there.options)
    assert onward["images"][0]["target"] == f"s3:{bucket.url}/bucket/images:{PATH}@{root['digest']}"
    assert there.blobs == here.blobs
    assert there.names == here.names
    third = directory(tmp_path / "third")
    run(images=onward["images"], **{"from": there.options}, target=third.options)
    assert third.blobs == here.blobs


def test_a_second_repository_shares_what_is_there(kept: Kept, east: FakeRegistry, run: Run) -> None:
    layer = os.urandom(100_000)
    one, two = east.image("a", layers=(layer,)), east.image("b", layers=(layer, b"more"))
    images = given(east, one, name="10.9.9.9:5000/a:1", repository="a")
    images += given(east, two, name="10.9.9.9:5000/b:1", repository="b")
    images += given(east, one, name="10.9.9.9:5000/c:1", repository="a")
    planned = run(images=images, sources=[at(east)], target=kept.options, check=True, workers=1)
    result = run(images=images, sources=[at(east)], target=kept.options, workers=1)
    for key in ("bytes_copied", "blobs_copied", "blobs_mounted", "copied"):
        assert planned[key] == result[key]
    assert result["bytes_copied"] == sum(len(data) for data in kept.blobs.values())
    assert result["copied"] == 3


def sound(kept: Kept) -> None:
    """Nothing that other tools would see is wrong or incomplete."""
    blobs = {key: data for key, data in kept.blobs.items() if "muster-tmp" not in key}
    for digest, data in blobs.items():
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    waiting = list(kept.names.values()) if "index.json" in kept.files() else []
    while waiting:
        document = json.loads(blobs[waiting.pop()])
        waiting += [child["digest"] for child in document.get("manifests", [])]
        named = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        assert all(len(blobs[blob["digest"]]) == blob["size"] for blob in named)


def test_every_write_to_a_bucket_may_be_the_last(east: FakeRegistry, run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(s3_module, "_PART", 100_000)
    images, sources = given(east, signed(east)), [at(east)]
    with FakeS3() as probe:
        assert not run(images=images, sources=sources, target=prefix(probe).options).get("failed")
        whole = prefix(probe)
        # The last writes the names that waited; after that only the note goes that somebody copies.
        total = len(probe.writes()) - 1
        for last in (*range(0, total, 8), total - 1):
            with FakeS3() as bucket:
                bucket.writes_left = last
                kept = prefix(bucket)
                broken = run(images=images, sources=sources, target=kept.options)
                assert (broken["failures"], broken["unchanged"]) == (1, 0)
                sound(kept)
                bucket.writes_left = 1_000_000
                assert run(images=images, sources=sources, target=kept.options)["changed"]
                assert kept.blobs == whole.blobs
                assert kept.names == whole.names


def test_every_write_to_a_directory_may_be_the_last(
    tmp_path: Path, east: FakeRegistry, run: Run, monkeypatch: Any
) -> None:
    images, sources = given(east, signed(east)), [at(east)]
    whole = directory(tmp_path / "whole")
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count -= 1
        if count == 0:
            raise Killed
        if count > 0:
            real(handle)

    class Killed(BaseException):
        pass

    monkeypatch.setattr(os, "fsync", fsync)
    # A killed program does not tidy up either.
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_more: None)
    count = 1_000_000
    run(images=images, sources=sources, target=whole.options)
    total = 1_000_000 - count
    for last in range(1, total, 8):
        kept = directory(tmp_path / str(last))
        count = last
        with pytest.raises(Killed):
            run(images=images, sources=sources, target=kept.options, workers=1)
        sound(kept)
        count = 1_000_000
        assert run(images=images, sources=sources, target=kept.options)["changed"]
        assert {key: data for key, data in kept.blobs.items() if "muster-tmp" not in key} == whole.blobs
        assert kept.names == whole.names


def test_what_was_lost_is_repaired(kept: Kept, east: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    root = signed(east)
    images, sources = given(east, root), [at(east)]
    first = run(images=images, sources=sources, target=kept.options)
    whole = kept.files()
    keys = [key for key in whole if not key.endswith((".muster-lock", "oci-layout"))]
    for lost in keys if kept.options["name"].startswith("oci") else ["index.json", *keys[::9]]:
        if kept.options["name"].startswith("s3"):
            del bucket.objects[f"images/{lost}"]
        else:
            Path(kept.options["name"][4:], lost).unlink()
        assert run(images=images, sources=sources, target=kept.options)["changed"], lost
        assert without_locks(kept.files()).keys() == without_locks(whole).keys()
        assert run(images=first["images"], target=kept.options, verify="digests")["failures"] == 0
        assert not run(images=images, sources=sources, target=kept.options)["changed"]


def test_what_killed_writers_left_is_removed_in_time(
    kept: Kept, tmp_path: Path, bucket: FakeS3, east: FakeRegistry, run: Run
) -> None:
    folder = tmp_path / "layout" / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    for name, age in (("old", 90_000), ("new", 10)):
        (folder / f".muster-tmp-{name}").write_bytes(b"part")
        os.utime(folder / f".muster-tmp-{name}", (time.time() - age, time.time() - age))
        begun = datetime.fromtimestamp(time.time() - age, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        bucket.uploads[name], bucket.began[name] = {}, ("images/blobs/sha256/x", begun)
    run(images=given(east, east.image("shop/web")), sources=[at(east)], target=kept.options)
    if kept.options["name"].startswith("s3"):
        assert list(bucket.uploads) == ["new"]
    else:
        assert [path.name for path in folder.glob(".muster*")] == [".muster-tmp-new"]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_manifest_and_a_cut_blob_count_as_absent(
    tmp_path: Path, east: FakeRegistry, run: Run, damage: str
) -> None:
    kept = directory(tmp_path / "layout")
    root = signed(east)
    first = run(images=given(east, root), sources=[at(east)], target=kept.options)
    whole = kept.files()
    layer = max(kept.blobs, key=lambda digest: len(kept.blobs[digest]))
    for digest in (root["digest"], layer):
        file = tmp_path / "layout" / "blobs" / digest.replace(":", "/")
        data = file.read_bytes()
        file.write_bytes(data[:-1] if damage == "cut" or digest == layer else b"[" + data[1:])
        broken = run(images=first["images"], target=kept.options, verify="digests")
        assert broken["failed"]
        assert digest in broken["msg"]
        assert run(images=given(east, root), sources=[at(east)], target=kept.options)["changed"]
        assert without_locks(kept.files()) == without_locks(whole)


def test_wrong_bytes_get_no_name(kept: Kept, east: FakeRegistry, bucket: FakeS3, run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(s3_module, "_PART", 5_000_000)
    layer = os.urandom(12_000_000)
    root = east.image("shop/web", layers=(layer,))
    digest = east.blob("shop/web", layer)["digest"]
    east.repository("shop/web").blobs[digest] = layer[:-1] + bytes([layer[-1] ^ 1])
    result = run(images=given(east, root), sources=[at(east)], target=kept.options)
    assert result["failed"]
    assert "have digest" in result["msg"]
    assert digest not in kept.blobs
    assert root["digest"] not in kept.blobs
    assert not any("muster-tmp" in key for key in kept.files())
    assert bucket.uploads == {}
    east.repository("shop/web").blobs[digest] = layer
    run(images=given(east, root), sources=[at(east)], target=kept.options)
    assert kept.blobs[digest] == layer


def test_a_broken_read_of_a_bucket_is_continued(
    east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run
) -> None:
    layer = os.urandom(3_000_000)
    root = east.image("shop/web", layers=(layer,))
    first = run(images=given(east, root), sources=[at(east)], target=prefix(bucket).options)
    digest = hashlib.sha256(layer).hexdigest()
    bucket.break_next = f"GET .*{digest}"
    run(images=first["images"], **{"from": prefix(bucket).options}, target=at(west))
    assert west.repository(PATH).blobs[f"sha256:{digest}"] == layer
    assert sum(f"GET /bucket/images/blobs/sha256/{digest}" in line for line in bucket.requests) == 2
    assert west.uploaded_bytes < len(layer) + 1000


@pytest.mark.parametrize("document", ["index.json", "manifest"])
def test_a_broken_read_of_a_document_in_a_bucket_is_repeated(
    east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run, document: str
) -> None:
    root = east.image("shop/web")
    first = run(images=given(east, root), sources=[at(east)], target=prefix(bucket).options)
    bucket.break_next, bucket.breaks = f"GET .*{root['digest'][7:] if document == 'manifest' else document}", 2
    assert run(images=first["images"], **{"from": prefix(bucket).options}, target=at(west))["copied"] == 1
    assert bucket.breaks == 0
    assert root["digest"] in west.repository(PATH).manifests


def test_a_bucket_that_is_busy_is_asked_again(
    east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module.time, "sleep", lambda _seconds: None)
    first = run(images=given(east, east.image("shop/web")), sources=[at(east)], target=prefix(bucket).options)
    bucket.busy = 3
    assert run(images=first["images"], **{"from": prefix(bucket).options}, target=at(west))["copied"] == 1
    assert bucket.busy == 0


def test_a_bucket_whose_reads_always_break_is_said(
    east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run
) -> None:
    first = run(images=given(east, east.image("shop/web")), sources=[at(east)], target=prefix(bucket).options)
    bucket.break_next, bucket.breaks = "GET .*index.json", 1000
    result = run(images=first["images"], **{"from": prefix(bucket).options}, target=at(west))
    assert (
        "Could not read index.json in s3://bucket/images" in result["msg"] and "the read broke 6 times" in result["msg"]
    )


def test_how_a_bucket_is_named(east: FakeRegistry, west: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    root = signed(east)
    login = {"access_key": "muster", "secret_key": "canary"}
    long = {"name": f"s3:{bucket.url}/bucket/images", **login}
    assert run(images=given(east, root), sources=[at(east)], target=long)["changed"]
    short = prefix(bucket).options
    assert not run(images=given(east, root), sources=[at(east)], target=short)["changed"]
    names = [f"{place['name']}:{PATH}:muster-{root['digest'][7:23]}" for place in (long, short)]
    images = [{"name": name} for name in names]
    result = run(images=images[:1], sources=[long], target=at(west))
    assert result["images"][0]["digest"] == root["digest"]
    result = run(images=images[1:], sources=[short], target=at(west, "/again"))
    assert result["images"][0]["digest"] == root["digest"]
    twice = [short, {**short, "endpoint_url": "http://other.example.com"}]
    assert "more than one object store" in run(images=images[1:], sources=twice)["msg"]


def test_a_server_without_conditional_writes_will_do(east: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    bucket.conditions = False
    kept = prefix(bucket)
    assert run(images=given(east, signed(east)), sources=[at(east)], target=kept.options)["changed"]
    assert any(":muster-" in name for name in kept.names)


def test_a_refused_bucket_is_said_with_what_was_done(east: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    bucket.refuse = r"PUT .*/index.json"
    result = run(images=given(east, signed(east)), sources=[at(east)], target=prefix(bucket).options)
    assert result["failed"]
    assert "the access key may not" in result["msg"]
    assert "index.json" in result["msg"]


@pytest.mark.parametrize("where", ["directory", "bucket"])
@pytest.mark.parametrize("pause", [0.0, 60.0])
def test_writers_at_the_same_time_lose_nothing(
    where: str, pause: float, tmp_path: Path, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_module, "_PAUSE", pause)
    place = S3Place("bucket", "images", bucket.url, "muster", "canary")
    kept = directory(tmp_path / "layout") if where == "directory" else prefix(bucket)
    # Two clients as of two runs; each of four threads.
    layouts = [Layout("x", Directory(tmp_path / "layout") if where == "directory" else S3(place)) for _run in range(2)]

    def write(number: int) -> None:
        data = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "number": number}).encode()
        layouts[number % 2].put_manifest("app", f"t{number}", Manifest.parse(data, MANIFEST, "x"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(60)))
        list(threads.map(lambda layout: layout.finish(), layouts))
    assert set(kept.names) == {f"app:t{number}" for number in range(60)}


@pytest.mark.parametrize("where", ["directory", "bucket"])
@pytest.mark.parametrize("pause", [0.0, 60.0])
def test_runs_at_the_same_time_list_all_referrers(
    where: str, pause: float, tmp_path: Path, east: FakeRegistry, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has read the layout before the other wrote; the list of referrers is one manifest, which both replace."""
    monkeypatch.setattr(layout_module, "_PAUSE", pause)
    place = S3Place("bucket", "images", bucket.url, "muster", "canary")
    (tmp_path / "layout").mkdir()
    root = east.image("shop/web")
    registries = connect(east)

    def layout() -> Layout:
        return Layout("x", Directory(tmp_path / "layout") if where == "directory" else S3(place))

    def copy_to(at: Layout, finish: bool = True) -> None:
        copier = Copier(at)
        try:
            copier.copy(Route(registries.at(east.host), "shop/web", "app"), root["digest"], Tally())
            if finish:
                copier.finish()
        finally:
            copier.close()

    copy_to(layout())
    runs = [layout() for _run in range(3)]
    expected = set()
    for run_of in runs:
        run_of.begin()
        assert run_of.tag_digest("app", keep_tag(root["digest"]))
    for run_of in runs:
        own = east.image("shop/web", layers=(os.urandom(9),), subject=root)
        expected.add(own["digest"])
        copy_to(run_of, finish=False)
        del east.repository("shop/web").manifests[own["digest"]]
    for run_of in runs:
        run_of.finish()
    registries.close()
    assert {entry.digest for entry in layout().referrers("app", root["digest"])} == expected


def test_the_index_is_not_written_for_every_name(east: FakeRegistry, bucket: FakeS3, run: Run) -> None:
    images = [
        {**given(east, east.image(f"app{number}"), repository=f"app{number}")[0], "name": f"10.9.9.9:5000/a{number}:1"}
        for number in range(20)
    ]
    assert run(images=images, sources=[at(east)], target=prefix(bucket).options)["copied"] == 20
    assert len(prefix(bucket).names) == 20
    assert sum("/index.json" in line for line in bucket.writes()) < 10


@pytest.mark.parametrize("few", [1000, 1])
def test_a_bucket_is_asked_for_each_blob_only_where_it_has_many(
    east: FakeRegistry, bucket: FakeS3, run: Run, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(layout_module, "_FEW", few)
    kept, roots = prefix(bucket), [east.image("shop/web", layers=(os.urandom(10),)) for _image in range(2)]
    for root in roots:
        asked = len(bucket.requests)
        assert run(images=given(east, root), sources=[at(east)], target=kept.options)["changed"]
        questions = [line for line in bucket.requests[asked:] if re.match("HEAD .*blobs/|GET .*images/blobs/", line)]
        # At first there is nothing, which is few in any case.
        assert bool(questions) is (few == 1 and root is roots[1])
        sound(kept)


def test_parts_of_a_blob_are_equal_but_for_the_last(bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_PART", 100)
    store = S3(S3Place("bucket", "images", bucket.url, "muster", "canary"))
    for sizes, parts in (((30, 90, 250, 5), 4), ((60, 40), 1), ((60, 40, 200), 3), ((20,), 0), ((350,), 4)):
        asked = len(bucket.requests)
        chunks = [os.urandom(size) for size in sizes]
        store.write("blob", iter(chunks))
        assert bucket.objects["images/blob"] == b"".join(chunks)
        assert sum("partNumber=" in line for line in bucket.requests[asked:]) == parts


def test_what_other_tools_put_into_the_index_stays(tmp_path: Path, east: FakeRegistry, run: Run) -> None:
    kept = directory(tmp_path / "layout")
    foreign = {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5, "annotations": {"made": "elsewhere"}}
    document = {"schemaVersion": 2, "annotations": {"a": "b"}, "manifests": [foreign]}
    Path(tmp_path / "layout" / "index.json").write_text(json.dumps(document))
    run(images=given(east, signed(east)), sources=[at(east)], target=kept.options)
    assert kept.index["annotations"] == {"a": "b"}
    assert kept.index["manifests"][0] == foreign


def foreign_layout(path: Path, east: FakeRegistry, *, listed: bool = False, name: JSON | None = None) -> JSON:
    """A layout as other tools write it: the name is a tag alone; a referrer lies in the index or the fallback tag."""
    root = east.image("shop/web", layers=(b"one",))
    sbom = east.image("shop/web", layers=(b"sbom",), subject=root, artifactType="application/spdx+json")
    fallback = east.index("shop/web", [sbom])
    (path / "blobs" / "sha256").mkdir(parents=True)
    for digest, data in content(east, "shop/web").items():
        (path / "blobs" / digest.replace(":", "/")).write_bytes(data)
    reference = "org.opencontainers.image.ref.name"
    more = sbom if listed else {**fallback, "annotations": {reference: root["digest"].replace(":", "-")}}
    entries = [{**root, "annotations": name or {reference: "v1"}}, more]
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return {"root": root, "sbom": sbom}


@pytest.mark.parametrize("listed", [True, False])
def test_layouts_of_other_tools_are_read_with_referrers(
    tmp_path: Path, east: FakeRegistry, west: FakeRegistry, run: Run, listed: bool
) -> None:
    made = foreign_layout(tmp_path / "other", east, listed=listed)
    result = run(images=[{"name": f"oci:{tmp_path}/other:v1"}], target=at(west))
    (entry,) = result["images"]
    assert (entry["digest"], entry["resolved_by"], entry["path"]) == (made["root"]["digest"], "tag", "v1")
    assert made["sbom"]["digest"] in west.repository("v1").manifests


def test_names_in_layouts(tmp_path: Path, east: FakeRegistry, west: FakeRegistry, run: Run) -> None:
    full = {"io.containerd.image.name": "docker.io/shop/web:v1", "org.opencontainers.image.ref.name": "v1"}
    made = foreign_layout(tmp_path / "other", east, name=full)
    good = run(images=[{"name": f"oci:{tmp_path}/other:docker.io/shop/web:v1"}], target=at(west))
    assert (good["images"][0]["digest"], good["images"][0]["path"]) == (made["root"]["digest"], "docker.io/shop/web")
    bad = run(images=[{"name": f"oci:{tmp_path}/other:v2"}], target=at(west))
    assert bad["failed"]
    assert "has no such tag" in bad["images"][0]["msg"]
    gone = run(images=[{"name": f"oci:{tmp_path}/nowhere:v2"}], target=at(west))
    assert "mount the file system" in gone["images"][0]["msg"]


@pytest.mark.parametrize("digest", ["sha256:../../../secret", "sha256:" + "g" * 64, "sha256:" + "A" * 64])
def test_a_digest_that_is_a_path_is_refused(
    tmp_path: Path, east: FakeRegistry, west: FakeRegistry, run: Run, digest: str
) -> None:
    made = foreign_layout(tmp_path / "other", east)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    document["config"] = {"mediaType": "x", "digest": digest, "size": 6}
    data = json.dumps(document).encode()
    own = hashlib.sha256(data).hexdigest()
    (tmp_path / "other" / "blobs" / "sha256" / own).write_bytes(data)
    (tmp_path / "secret").write_bytes(b"canary")
    index = {"schemaVersion": 2, "manifests": [{**made["root"], "digest": f"sha256:{own}"}]}
    (tmp_path / "other" / "index.json").write_text(json.dumps(index))
    result = run(images=[{"name": f"oci:{tmp_path}/other"}], target=at(west))
    assert result["failed"]
    assert "is no digest" in result["msg"] or "is no image manifest" in result["images"][0]["msg"]
    assert not any(content(west, name) for name in west.repositories)


def test_the_only_image_of_a_layout_needs_no_name(tmp_path: Path, west: FakeRegistry, run: Run) -> None:
    with FakeRegistry() as east:
        made = foreign_layout(tmp_path / "other", east)
        (tmp_path / "other" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [made["root"]]}))
        result = run(images=[{"name": f"oci:{tmp_path}/other"}], target=at(west))
        assert result["images"][0]["digest"] == made["root"]["digest"]
        assert list(west.repository("other").tags) == [keep_tag(made["root"]["digest"])]


def test_a_missing_directory_is_an_error_and_is_not_made(tmp_path: Path, east: FakeRegistry, run: Run) -> None:
    target = {"name": f"oci:{tmp_path}/unmounted"}
    result = run(images=given(east, signed(east)), sources=[at(east)], target=target)
    assert result["failed"]
    assert "mount the file system" in result["msg"]
    assert not (tmp_path / "unmounted").exists()


def test_a_layout_of_another_version_is_not_written_to(tmp_path: Path, east: FakeRegistry, run: Run) -> None:
    kept = directory(tmp_path / "layout")
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    result = run(images=given(east, signed(east)), sources=[at(east)], target=kept.options)
    assert "does not say version 1.0.0" in result["msg"]
    assert list(kept.files()) == ["oci-layout"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"name": "oci:relative"}, "none of oci:/DIRECTORY"),
        ({"name": "s3://"}, "none of oci:/DIRECTORY"),
        ({"name": "oci:/a:b@c"}, "colon or an @"),
        ({"name": "oci:/a", "username": "x"}, "username mean nothing there"),
        ({"name": "oci:/a", "region": "x"}, "region mean nothing there"),
        ({"name": "x.example.com", "secret_key": "canary"}, "secret_key mean nothing there"),
        ({"name": "s3://b/p", "validate_certs": False}, "Set ca_cert"),
        ({"name": "s3://b/p", "endpoint_url": "s3.example.com"}, "it is not https://HOST:PORT"),
        ({"name": "oci-archive:/a.tar"}, "can only be read"),
    ],
)
def test_places_that_cannot_be_used_are_named(target: JSON, words: str, tmp_path: Path, run: Run) -> None:
    if target["name"].startswith("oci-archive"):
        (tmp_path / "a.tar").write_bytes(b"\0" * 1024)
        target = {"name": f"oci-archive:{tmp_path}/a.tar"}
    digest = "sha256:" + "a" * 64
    result = run(images=[{"name": NAME, "digest": digest}], target=target)
    assert result["failed"]
    assert words in result["msg"]
