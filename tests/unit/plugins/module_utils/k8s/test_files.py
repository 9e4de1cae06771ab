# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layout of a capture, its staging, and what a step knows of its author."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import changes, layout, objects, staging


def line(name: str, **more: object) -> tuple[str, str]:
    return name, objects.canonical({"kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, **more})


def test_files_are_lists_in_a_stable_order(tmp_path: Path) -> None:
    layout.write(tmp_path, "configmaps", "n", [line("b", data={"x": "ä\n\u2028"}), line("a")])
    path = tmp_path / "namespaces" / "n" / "configmaps.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["kind"] == "List"
    assert [item["metadata"]["name"] for item in document["items"]] == ["a", "b"]
    assert [one.obj for one in layout.read(tmp_path)] == document["items"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    assert layout.write(tmp_path, "configmaps", None, []) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    layout.write(tmp_path, "configmaps", None, [line("a"), line("b")])
    path = tmp_path / "cluster" / "configmaps.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(Corrupt):
        list(layout.read(tmp_path))


def test_status_and_versions_are_no_change(tmp_path: Path) -> None:
    layout.write(tmp_path / "1", "configmaps", "n", [line("a", status=1, data={"k": "v"}), line("b")])
    layout.write(tmp_path / "2", "configmaps", "n", [line("a", status=2, data={"k": "v"}), line("c")])
    change = changes.compare(tmp_path / "1", tmp_path / "2").total
    assert change.as_dict() == {"added": 1, "changed": 0, "removed": 1, "unchanged": 1}


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for memory of 1 GiB, beside an empty one for all else that is temporary."""
    for name in ("memory", "disk"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=1024**2, f_frsize=1024))
    return tmp_path / "memory"


def test_staging_is_in_memory_only_where_it_is_little_beside_it(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = memory.parent / "disk"
    with staging.folder(memory) as path:
        assert path.parent.parent == memory
        (path.parent / "objects-of-a-killed-run").mkdir()
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=1024**2 - 1, f_frsize=1024))
    with staging.folder(memory) as path:
        assert path.parent.parent == disk
        # Nobody else would ever look there.
        assert not list(memory.glob("*/objects-*"))


def test_whoever_sets_tmpdir_decides_where_staging_is(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = memory.parent / "chosen"
    chosen.mkdir()
    monkeypatch.setenv("TMPDIR", str(chosen))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with staging.folder(memory) as path:
        assert path.parent.parent == chosen


def test_staging_is_private_and_removed_with_what_killed_runs_left(memory: Path) -> None:
    with staging.folder(memory) as first:
        assert first.stat().st_mode & 0o777 == 0o700
        left = first.parent / "objects-of-a-killed-run"
        left.mkdir()
        (left / "secret").write_text("x")
        with staging.folder(memory) as second:
            assert second != first and first.is_dir()
            assert not left.exists()
    assert list(first.parent.iterdir()) == []


def test_a_run_that_ends_while_another_looks_for_leftovers(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with staging.folder(memory) as path:
        ending = [path.parent / "objects-of-a-run-that-ends", path.parent / "a-file-of-one"]
        ending[0].mkdir()
        ending[1].touch()
        genuine = os.open

        def late(place: Path, flags: int) -> int:
            ending[0].rmdir()
            return genuine(place, flags)

        ending[1].unlink()
        with monkeypatch.context() as late_ends:
            late_ends.setattr(os, "open", late)
            late_ends.setattr(Path, "iterdir", lambda _self: iter(ending))
            staging._remove_leftovers(path.parent)
        assert not any(place.exists() for place in ending) and path.is_dir()


def test_a_folder_that_somebody_else_prepared_is_refused(memory: Path) -> None:
    with staging.folder(memory) as path:
        home = path.parent
    home.chmod(0o755)
    with pytest.raises(Refused, match="not a private folder"), staging.folder(memory):
        pass


def test_managed_fields_are_reduced_to_who_owns_what() -> None:
    entries = [
        {"manager": "k", "operation": "Update", "time": "t", "fieldsV1": {"f:spec": {}, "f:status": {}}},
        {"manager": "c", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    obj = {"metadata": {"managedFields": entries}}
    objects.reduce_managed_fields(obj)
    assert obj["metadata"]["managedFields"] == [{"manager": "k", "operation": "Update", "fieldsV1": {"f:spec": {}}}]


def test_objects_come_in_another_version_as_far_as_they_were_captured_in_it(tmp_path: Path) -> None:
    def written(root: Path, version: str, *names: str) -> None:
        lines = [line(name, apiVersion=f"example.com/{version}") for name in names]
        for namespace in ("n", "o"):
            layout.write(root, "things.example.com", namespace, lines)
        layout.write(root, "configmaps", None, lines)

    written(tmp_path, "v3", "a", "b", "c", "d")
    written(layout.other_version(tmp_path, "v1"), "v1", "b", "bb", "d")
    captured = layout.Objects(tmp_path)
    assert captured.versions == {"configmaps": ["v1"], "things.example.com": ["v1"]}
    assert {one.obj["apiVersion"] for one in captured} == {"example.com/v3"}
    (layout.other_version(tmp_path, "v1") / "namespaces" / "o" / "things.example.com.json").unlink()
    found = list(captured.reading({"things.example.com": "v1"}))
    assert [one.identity for one in found] == [one.identity for one in captured]
    in_other = [(one.key, one.obj["metadata"]["name"], one.stands_for) for one in found if one.stands_for]
    assert in_other == [("things.example.com", name, "example.com/v3") for name in "bd"]
