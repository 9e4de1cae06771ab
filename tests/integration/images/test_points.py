# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts with one index per recovery point, in a real bucket and in a directory that another tool reads."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from ..sites import JSON, Site, good
from .conftest import Crane, Registry, mirror

ONE, TWO = "20260101T000000Z-shop-0000000a", "20260102T000000Z-shop-0000000b"


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, west: Site) -> JSON:
    if request.param == "directory":
        return {"name": f"oci:{tmp_path}"}
    reach = west.store("")
    login = {key: reach[key] for key in ("endpoint_url", "access_key", "secret_key", "region", "ca_cert")}
    return {"name": f"s3://muster/{uuid.uuid4().hex[:8]}", **login}


def test_points_share_blobs_and_go_one_by_one(
    place: JSON, crane: Crane, east: Site, west: Site, registries: tuple[Registry, Registry]
) -> None:
    name = f"{registries[0].host}/points-{uuid.uuid4().hex[:8]}/app"
    base = str(east.facts["mover_image"])
    images = [{"name": f"{name}:{tag}", "digest": crane.image(base, f"{name}:{tag}")} for tag in ("1", "2")]
    common: JSON = {"target": place, "store": west.store(f"s3://muster/{uuid.uuid4().hex[:8]}")}
    first = good(mirror(images=images, sources=[east.registry()], point=ONE, **common))
    second = good(mirror(images=first["images"][:1], sources=[east.registry()], point=TWO, **common))
    assert (first["copied"], second["copied"], second["bytes_copied"]) == (2, 1, 0)
    if place["name"].startswith("oci:"):
        point = Path(place["name"].removeprefix("oci:"), "points", TWO)
        (point / "blobs").symlink_to("../../blobs")
        crane("push", str(point), f"{name}:again")
        assert crane("digest", f"{name}:again") == images[0]["digest"]
    gone = good(mirror(state="absent", point=ONE, **common))
    # One manifest, one configuration and one layer were of the second image alone.
    assert (gone["copied"], gone["blobs_removed"]) == (2, 3)
    good(mirror(images=second["images"], target=place, point=TWO, verify="full"))
    back = {"images": second["images"], "from": place, "point": TWO, "target": west.registry()}
    assert good(mirror(**back))["copied"] == 1
    assert good(mirror(state="absent", point=TWO, **common))["changed"]
    assert mirror(images=second["images"], target=place, verify="digests")["failed"]
