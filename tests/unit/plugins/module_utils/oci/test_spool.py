# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers that are put by on disk where one side is slower. Which side that is, tests say, and not the clock."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fakes.copying import copy, same
from fakes.registry import MANIFEST, FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    InvalidInput,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci import blob as blob_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci import spool as spool_module
from ansible_collections.muster.container_dr.plugins.module_utils._oci.spool import Sides, Spool

# More than what sockets hold by themselves.
SIZE = 24_000_000
ROOM = 1 << 40
LONG = 60.0


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_module, "LARGE", 1_000_000)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "spool").mkdir()
    return Spool(str(tmp_path / "spool"), ROOM)


def judge(monkeypatch: pytest.MonkeyPatch, *, target: bool, source: bool = False) -> None:
    """Say which side is slower."""
    monkeypatch.setattr(Sides, "target_lags", lambda _sides, _done, _size: target)
    monkeypatch.setattr(Sides, "source_lags", lambda _sides: source)


def one_layer(source: FakeRegistry) -> tuple[str, str, str]:
    """An image of one layer: its digest, and patterns of requests that fetch the layer and that send it."""
    layer = source.blob("app", os.urandom(SIZE))
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": source.blob("app", b"{}"), "layers": [layer]}
    digest: str = source.manifest("app", document)["digest"]
    return digest, rf"GET .*/blobs/{layer['digest']}", rf"PUT .*/blobs/uploads/.*{layer['digest'][7:]}"


def asked(registry: FakeRegistry, pattern: str) -> int:
    return len([line for line in registry.requests if re.search(pattern, line)])


def files(spool: Spool) -> list[Path]:
    return list(Path(spool.folder).iterdir())


def test_a_source_does_not_wait_for_a_slow_target(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=True)
    digest, fetch, send = one_layer(source)
    served = threading.Event()
    seen: list[tuple[bool, list[Path]]] = []
    # It drops the first connection, as one does that waits, before it serves the layer in one go.
    source.fault(fetch, cut=12_000_000)
    source.fault(fetch, served=served.set, times=9)
    # The target takes nothing until the source is rid of the layer.
    target.fault(send, stalls=lambda: seen.append((served.wait(LONG), files(spool))))
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)
    # The file has no name: whoever is killed leaves nothing.
    assert seen == [(True, [])]
    assert files(spool) == [] and spool._used == 0 and not spool.problem
    assert target.uploaded_bytes == SIZE + 2


def test_an_upload_that_is_repeated_downloads_nothing_again(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=False)
    digest, fetch, send = one_layer(source)
    # Sessions are lost with their connections.
    target.fault(r"GET .*/blobs/uploads/", status=404, times=9)
    target.fault(send, swallow=SIZE // 2, times=4)
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)
    # Once until the first break, once more into the spool.
    assert asked(target, send) == 5
    assert asked(source, fetch) == 2
    assert spool._used == 0


def test_an_upload_that_goes_on_fetches_only_the_rest(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=False)
    digest, fetch, send = one_layer(source)
    target.fault(rf"{send}|PATCH", swallow=SIZE // 4, times=3)
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)
    assert target.uploaded_bytes == SIZE + 2
    # Each break of one that was not put by would cost a request.
    assert asked(source, fetch) == 2


def test_a_target_that_broke_waits_no_more_for_a_slow_source(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=False, source=True)
    digest, fetch, send = one_layer(source)
    served = threading.Event()
    seen: list[bool] = []
    source.fault(fetch)
    source.fault(fetch, drip=0.01, served=served.set)
    target.fault(r"GET .*/blobs/uploads/", status=404)
    target.fault(send, swallow=1_000_000)
    target.fault(send, then=lambda: seen.append(served.is_set()))
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)
    assert seen == [True]


@pytest.mark.parametrize("when", ["at once", "later", "no file"])
def test_a_full_disk_makes_the_copy_go_on_without(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    judge(monkeypatch, target=True)
    digest, _fetch, _send = one_layer(source)
    write, written = os.pwrite, 0

    def full(file: int, data: Any, offset: int) -> int:
        nonlocal written
        if when == "at once" or offset > SIZE // 2:
            raise OSError(28, "No space left on device")
        return write(file, data[:300_000], offset)

    def no_file(**_options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.os, "pwrite", full)
    if when == "no file":
        monkeypatch.setattr(spool_module.tempfile, "TemporaryFile", no_file)
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)
    assert "No space left" in spool.problem and spool._used == 0
    assert target.uploaded_bytes == SIZE + 2


def test_what_is_too_large_for_the_spool_is_copied_without(
    source: FakeRegistry, target: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=True)
    digest, fetch, _send = one_layer(source)
    small = Spool(str(tmp_path), 1_000_000)
    copy(source, target, digest, spool=small, workers=1)
    same(source, target)
    assert asked(source, fetch) == 1 and not small.problem


def test_the_spool_has_room_for_so_much_at_a_time(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 10)

    def chunks() -> Generator[bytes, None, None]:
        yield b"abcd"
        yield b"ef"

    first = spool.keep(6, 100, chunks)
    assert first is not None and b"".join(first.chunks(102)) == b"cdef"
    assert spool.keep(5, 0, chunks) is None
    first.close()
    second = spool.keep(10, 0, chunks)
    assert second is not None
    second.wait()
    assert not second.is_whole
    second.close()
    assert Spool(str(tmp_path), ROOM).keep(1 << 60, 0, chunks) is None


def test_errors_of_the_source_come_through(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, target=True)
    digest, fetch, _send = one_layer(source)
    source.fault(fetch)
    source.fault(fetch, flip=True, times=99)
    with pytest.raises(Corrupt, match="have digest"):
        copy(source, target, digest, spool=spool, workers=1)
    source.faults.clear()
    source.fault(fetch)
    source.fault(fetch, status=404, times=99)
    with pytest.raises((NotFound, Unavailable)):
        copy(source, target, digest, spool=spool, workers=1)
    assert target.repository("backup/app").manifests == {} and spool._used == 0
    source.faults.clear()
    copy(source, target, digest, spool=spool, workers=1)
    same(source, target)


def test_reading_ahead_needs_no_place_of_its_own_at_a_host(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, target=True)
    with FakeRegistry(mounts=False) as both:
        root = both.image("app", layers=tuple(os.urandom(3_000_000) for _number in range(4)))
        copy(both, both, root["digest"], spool=spool, connections=1)
        same(both, both)


def test_nothing_is_put_by_where_no_side_is_slower(
    source: FakeRegistry, target: FakeRegistry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module.tempfile, "TemporaryFile", lambda **_options: pytest.fail("a file was made"))
    judge(monkeypatch, target=False)
    digest, fetch, _send = one_layer(source)
    copy(source, target, digest, spool=spool)
    same(source, target)
    assert asked(source, fetch) == 1


@pytest.mark.parametrize(
    ("source", "target", "done", "expected"),
    [
        (1.0, 6.0, 100, True),
        (1.0, 4.9, 100, False),  # too early to tell
        (2.1, 6.0, 100, False),  # both are slow
        (0.0, 6.0, 500, False),  # it is nearly over
    ],
)
def test_when_a_target_counts_as_slow(source: float, target: float, done: int, expected: bool) -> None:
    assert Sides(source, target).target_lags(done, 1000) is expected
    assert not Sides(1.0, 6.0).source_lags() and Sides(6.0, 1.0).source_lags()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"spool_dir .*/nowhere"):
        Spool(str(tmp_path / "nowhere"), 1)
