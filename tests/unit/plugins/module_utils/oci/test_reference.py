# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    matches,
    parse_image_id,
    path_for,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", ("docker.io", "library/nginx", "latest", None)),
        ("nginx:1.29", ("docker.io", "library/nginx", "1.29", None)),
        ("grafana/grafana", ("docker.io", "grafana/grafana", "latest", None)),
        ("index.docker.io/library/nginx:1", ("docker.io", "library/nginx", "1", None)),
        ("localhost/web", ("localhost", "web", "latest", None)),
        ("10.7.0.10:5000/ledger/api:1", ("10.7.0.10:5000", "ledger/api", "1", None)),
        (f"quay.io/a/b/c@{DIGEST}", ("quay.io", "a/b/c", None, DIGEST)),
        (f"quay.io/a/b:v1@{DIGEST}", ("quay.io", "a/b", "v1", DIGEST)),
        ("[::1]:5000/web:1", ("[::1]:5000", "web", "1", None)),
        (f"docker-pullable://quay.io/a/b@{DIGEST}", ("quay.io", "a/b", None, DIGEST)),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, expected: tuple[str, ...]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == expected


@pytest.mark.parametrize("text", ["", "Web:1", "web:", "a//b", "web@sha256:short", "web@", "a b", "-x/y"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Reference.parse(text) if text != "web:" else Reference.parse("we:b:")


def test_image_ids_of_runtimes() -> None:
    assert parse_image_id(DIGEST) == (None, DIGEST)
    assert parse_image_id("docker://" + DIGEST) == (None, DIGEST)
    assert parse_image_id("a" * 64) == (None, DIGEST)
    reference, bare = parse_image_id(f"10.0.0.1:5000/a@{DIGEST}")
    assert reference is not None
    assert (reference.name, reference.digest, bare) == ("10.0.0.1:5000/a", DIGEST, None)
    assert parse_image_id("") == (None, None)


def test_places() -> None:
    place = Place.parse("10.7.0.20:5000/backup/")
    original = Reference.parse("10.7.0.10:5000/ledger/api:1")
    assert path_for(original) == "10.7.0.10-5000/ledger/api"
    assert place.repository(path_for(original)) == "backup/10.7.0.10-5000/ledger/api"
    copied = Reference.parse(f"10.7.0.20:5000/backup/10.7.0.10-5000/ledger/api@{DIGEST}")
    assert place.path_of(copied) == "10.7.0.10-5000/ledger/api"
    assert place.path_of(original) is None
    assert place.path_of(Reference.parse("10.7.0.20:5000/backups/x")) is None
    with pytest.raises(InvalidInput):
        Place.parse("not a host/x")


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest", "path"),
    [
        ("oci:/srv/images/:shop/web:1", "oci:/srv/images", "shop/web", "1", None, "shop/web"),
        ("oci:/srv/images:v1", "oci:/srv/images", "v1", "latest", None, "v1"),
        (
            "oci:/srv/images:10.0.0.1:5000/web:V2",
            "oci:/srv/images",
            "10.0.0.1:5000/web",
            "V2",
            None,
            "10.0.0.1-5000/web",
        ),
        (f"oci:/srv/images:a/b@{DIGEST}", "oci:/srv/images", "a/b", None, DIGEST, "a/b"),
        ("s3://bucket/p/q:a/b:1", "s3://bucket/p/q", "a/b", "1", None, "a/b"),
        ("s3:http://[::1]:9000/bucket:a:1", "s3:http://[::1]:9000/bucket", "a", "1", None, "a"),
        ("docker-archive:/a/Web.tar", "docker-archive:/a/Web.tar", "", "latest", None, "web.tar"),
        ("docker-archive:/a.tar:web:1", "docker-archive:/a.tar", "web", "1", None, "docker.io/library/web"),
        ("docker-daemon:web", "docker-daemon:", "web", "latest", None, "docker.io/library/web"),
        (DIGEST, "docker-daemon:", DIGEST, None, None, f"untagged/{DIGEST[7:19]}"),
        (f"docker-daemon:{DIGEST}", "docker-daemon:", DIGEST, None, None, f"untagged/{DIGEST[7:19]}"),
        ("quay.io/a/b:1", "quay.io", "a/b", "1", None, "quay.io/a/b"),
    ],
)
def test_names_in_other_places(
    text: str, host: str, repository: str, tag: str | None, digest: str | None, path: str
) -> None:
    found = Reference.anywhere(text)
    assert (found.host, found.repository, found.tag, found.digest) == (host, repository, tag, digest)
    assert path_for(found) == path
    if repository:
        assert Reference.anywhere(str(found)) == found


@pytest.mark.parametrize("text", ["oci:srv:web", "oci:/srv:../x", "oci://srv:web", "s3://:web", "oci:/a:b c"])
def test_what_is_no_name_anywhere_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Reference.anywhere(text)


def test_a_buckets_endpoint_belongs_to_its_name() -> None:
    east, west = (
        Place.of({"name": "s3://backup/images/", "endpoint_url": f"https://s3.{site}.example.com:9000/"})
        for site in ("east", "west")
    )
    assert east.name == "s3:https://s3.east.example.com:9000/backup/images"
    assert east != west
    assert Place.parse(east.name) == east
    assert east.path_of(Reference(east.host, "a/b")) == "a/b"
    assert west.path_of(Reference(east.host, "a/b")) is None
    assert Place.parse("oci:5000/backup") == Place("oci:5000", "backup")


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("[fd00::1]:5000/shop/*", True),
        ("[FD00::1]:5000/*", True),
        ("[f]d00*", False),
        ("[[]fd00::[12]]:5000/shop/web", True),
        ("[fd00::2]:5000/shop/*", False),
        ("*", True),
    ],
)
def test_a_pattern_may_name_a_host_by_its_ipv6_address(pattern: str, fits: bool) -> None:
    assert matches(pattern, Reference.parse("[fd00::1]:5000/shop/web:1")) is fits
