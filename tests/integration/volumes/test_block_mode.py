# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume in block mode: from a real device at east, by snapshot and repository, to a real device at west."""

from __future__ import annotations

import pytest

from ..sites import JSON, Site, good
from .conftest import bring, claim, export, held, let_go, restic, shell

MIB = 1 << 20
SIZE = 128 * MIB


def digest(site: Site, namespace: str, pod: str) -> str:
    return shell(site, namespace, pod, "sha256sum < /raw").split()[0]


@pytest.fixture
def raw(east: Site, namespace: str) -> str:
    """The digest of a device at east that has data at its beginning, in its middle, at its end, and zeros between."""
    east.apply(claim(namespace, "raw", size="128Mi", volumeMode="Block"))
    held(east, namespace, "writer", "raw", device=True)
    write = "head -c 3000000 /dev/urandom | dd of=/raw bs=1M seek={at} conv=notrunc,fsync 2>/dev/null"
    shell(east, namespace, "writer", "; ".join(write.format(at=at) for at in (0, 61, 125)))
    return digest(east, namespace, "writer")


def blocks(site: Site, namespace: str) -> int:
    """How many bytes of the device really take room: the bed's driver keeps it as a sparse file."""
    volume = site.get("pvc", "raw", "-n", namespace)["spec"]["volumeName"]
    handle = site.get("pv", volume)["spec"]["csi"]["volumeHandle"]
    driver = next(name for name in site.names("pod", "kube-system") if name.startswith("pod/muster-csi"))
    look = f"find / -name '{handle}*' ! -name '*.json' -type f 2>/dev/null | head -1 | xargs stat -c %b"
    return int(site.kubectl("exec", "-n", "kube-system", driver, "-c", "driver", "--", "sh", "-c", look)) * 512


def test_a_device_comes_back_as_it_was(east: Site, west: Site, namespace: str, raw: str) -> None:
    taken = good(export(east, namespace))
    (volume,) = taken["volumes"]
    assert (volume["method"], volume["volume_mode"], volume["files"], volume["bytes"]) == ("snapshot", "Block", 1, SIZE)
    assert volume["bytes_added"] < 12 * MIB
    again = good(export(east, namespace))["volumes"][0]
    assert again["bytes_added"] < 100_000
    # Without us: one file, the device's bytes.
    listed = restic(east.repository, "ls", volume["snapshot"], "--long")
    assert f" {SIZE} " in listed and listed.rstrip().endswith("/data")

    west.kubectl("create", "namespace", namespace)
    done = good(bring(west, namespace, taken["volumes"], verify="content"))
    assert (done["volumes"][0]["bytes"], done["volumes"][0]["complete"]) == (SIZE, True)
    assert west.get("pvc", "raw", "-n", namespace)["spec"]["volumeMode"] == "Block"
    held(west, namespace, "reader", "raw", device=True)
    assert digest(west, namespace, "reader") == raw
    assert blocks(west, namespace) < 60 * MIB
    assert good(bring(west, namespace, taken["volumes"]))["changed"] is False

    # Other bytes on it are somebody's, unless it is said that they may go.
    shell(west, namespace, "reader", "head -c 5 /dev/urandom | dd of=/raw bs=1M seek=30 conv=notrunc,fsync 2>/dev/null")
    west.kubectl("annotate", "-n", namespace, "pvc/raw", "container-dr.muster.dev/restore-")
    refused = bring(west, namespace, taken["volumes"])
    assert refused["failed"] and "pod reader uses it" in refused["msg"]
    let_go(west, namespace, "reader")
    refused = bring(west, namespace, taken["volumes"])
    assert refused["failed"] and "holds data already (other bytes than zeros)" in refused["msg"]
    good(bring(west, namespace, taken["volumes"], existing="replace"))
    held(west, namespace, "reader", "raw", device=True)
    assert digest(west, namespace, "reader") == raw


@pytest.mark.nightly
def test_an_empty_device_that_is_there_is_filled_and_a_file_system_is_no_device(
    east: Site, west: Site, namespace: str, raw: str
) -> None:
    taken: list[JSON] = good(export(east, namespace))["volumes"]
    west.kubectl("create", "namespace", namespace)
    west.apply(claim(namespace, "raw", size="128Mi", storage_class="csi-immediate"))
    refused = bring(west, namespace, taken)
    assert refused["failed"] and "its volumeMode is Filesystem, recorded was Block" in refused["msg"]
    west.kubectl("delete", "-n", namespace, "pvc/raw")
    west.apply(claim(namespace, "raw", size="128Mi", storage_class="csi-immediate", volumeMode="Block"))
    good(bring(west, namespace, taken))
    held(west, namespace, "reader", "raw", device=True)
    assert digest(west, namespace, "reader") == raw
