# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a place has of an image, looked at and read back."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.copying import client
from fakes.registry import FakeRegistry

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Incomplete
from ansible_collections.muster.container_dr.plugins.module_utils._oci.wholeness import Wholeness


def damage(fake: FakeRegistry, digest: str) -> None:
    """One bit of a blob flips on the registry's disk."""
    blobs = fake.repository("app").blobs
    blobs[digest] = bytes([blobs[digest][0] ^ 1]) + blobs[digest][1:]


def image(fake: FakeRegistry) -> dict[str, Any]:
    shared = b"shared" * 100
    return fake.index("app", [fake.image("app", layers=(shared, b"one")), fake.image("app", layers=(shared, b"two"))])


def layers(fake: FakeRegistry) -> list[str]:
    return [
        digest for digest, data in fake.repository("app").blobs.items() if data in (b"shared" * 100, b"one", b"two")
    ]


def test_damage_is_found_by_reading_only() -> None:
    with FakeRegistry() as fake, client(fake) as registry:
        root = image(fake)
        Wholeness(read=True).check(registry, "app", root["digest"])
        shared = layers(fake)[0]
        damage(fake, shared)
        Wholeness().check(registry, "app", root["digest"])
        with pytest.raises(Incomplete, match=rf"has a damaged layer {shared} \(.*Remove what is damaged") as raised:
            Wholeness(read=True).check(registry, "app", root["digest"])
        assert str(raised.value).count(shared) == 1


def test_what_is_missing_and_what_is_damaged_are_both_named() -> None:
    with FakeRegistry() as fake, client(fake) as registry:
        root = image(fake)
        first, second, *_rest = layers(fake)
        damage(fake, first)
        del fake.repository("app").blobs[second]
        with pytest.raises(
            Incomplete, match=rf"does not have .*{second}.*damaged layer {first}.*Copy the image there again"
        ):
            Wholeness(read=True).check(registry, "app", root["digest"])


def test_a_damaged_manifest_hides_nothing_else() -> None:
    with FakeRegistry() as fake, client(fake) as registry:
        root = image(fake)
        child = next(iter(fake.repository("app").manifests))
        fake.repository("app").manifests[child] = (b"{}", "application/json")
        with pytest.raises(Incomplete, match=rf"has a damaged manifest {child} \(.*Remove what is damaged"):
            Wholeness().check(registry, "app", root["digest"])
        del fake.repository("app").blobs[layers(fake)[2]]
        with pytest.raises(Incomplete, match=rf"does not have layer .*damaged manifest {child}"):
            Wholeness().check(registry, "app", root["digest"])


def test_each_blob_is_read_once_however_many_images_have_it() -> None:
    with FakeRegistry() as fake, client(fake) as registry:
        root = image(fake)
        wholeness, read = Wholeness(read=True), 0

        def advance(count: int) -> None:
            nonlocal read
            read += count

        with fake.watched() as seen:
            for _time in range(3):
                wholeness.check(registry, "app", root["digest"], advance=advance)
        fetched = [line for line in seen if line.startswith("GET") and "/blobs/" in line]
        assert len(fetched) == len(set(fetched)) == len(fake.repository("app").blobs)
        assert read > sum(map(len, fake.repository("app").blobs.values()))


def test_a_break_that_lasts_is_told_to_all_who_wait() -> None:
    """It says nothing about the image, so it is no verdict on it."""
    with FakeRegistry() as fake, client(fake) as registry:
        root = image(fake)
        fake.fault("GET .*/blobs/", status=503, times=10_000)
        wholeness = Wholeness(read=True)
        for _time in range(2):
            with pytest.raises(Exception, match="503") as raised:
                wholeness.check(registry, "app", root["digest"])
            assert not isinstance(raised.value, Incomplete)
