from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

from _bed import archive


def tree(**files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as out:
        for name, text in files.items():
            archive.put(out, name, text.encode())
    data.seek(0)
    return data


def read(path):
    with tarfile.open(path) as layout:
        return {member.name: layout.extractfile(member).read() for member in layout.getmembers()}


def test_archive_is_an_oci_layout_whose_digests_hold(tmp_path):
    program = tmp_path / "program"
    program.write_text("run")
    layer = archive.Layer(tmp_path / "layer")
    archive.compose(layer, tree(there="before"), {"usr/bin/program": program})
    archive.write(tmp_path / "image.tar", [archive.Image("a.test/b:c", ["/usr/bin/program"], layer)])
    parts = read(tmp_path / "image.tar")
    for name, data in parts.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.removeprefix("blobs/sha256/")
    (entry,) = json.loads(parts["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "a.test/b:c"
    manifest = json.loads(parts[archive.blob(entry["digest"])])
    config = json.loads(parts[archive.blob(manifest["config"]["digest"])])
    packed = parts[archive.blob(manifest["layers"][0]["digest"])]
    assert manifest["layers"][0]["size"] == len(packed)
    plain = gzip.decompress(packed)
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(plain).hexdigest()]
    with tarfile.open(fileobj=io.BytesIO(plain)) as members:
        assert sorted(members.getnames()) == ["there", "usr/bin/program"]
        assert members.getmember("usr/bin/program").mode == 0o755


def test_image_on_a_base_names_its_layers_and_does_not_carry_them(tmp_path):
    layer = archive.Layer(tmp_path / "layer")
    archive.compose(layer, tree(a="1"), {})
    base = archive.Base([{"mediaType": "m", "digest": "sha256:" + "0" * 64, "size": 1}], ["sha256:" + "1" * 64])
    archive.write(tmp_path / "image.tar", [archive.Image("x", [], layer, base)])
    parts = read(tmp_path / "image.tar")
    (entry,) = json.loads(parts["index.json"])["manifests"]
    manifest = json.loads(parts[archive.blob(entry["digest"])])
    config = json.loads(parts[archive.blob(manifest["config"]["digest"])])
    assert [one["digest"] for one in manifest["layers"]] == ["sha256:" + "0" * 64, layer.digest]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + "1" * 64, layer.diff_id]
    assert "blobs/sha256/" + "0" * 64 not in parts


def test_same_content_gives_the_same_digest(tmp_path):
    digests = set()
    for name in ("one", "two"):
        layer = archive.Layer(tmp_path / name)
        archive.compose(layer, tree(a="1", b="2"), {})
        digests.add(layer.digest)
    assert len(digests) == 1
