# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a volume can hold, back as it was; single paths of it; and into claims that are others than the original."""

from __future__ import annotations

import pytest

from ..sites import JSON, Site, good
from .conftest import bring, claim, export, held, let_go, shell

FILL = r"""
cd /data
mkdir -p deep/er/est 'st*r [x]' gone sticky
echo 1 > deep/er/est/file; echo 2 > deep/beside; echo 3 > 'st*r [x]/x?'; echo 4 > 'st*r [x]/xy'
ln deep/er/est/file hard; ln -s nowhere link; mkfifo pipe; mknod null c 1 3
echo s > suid; chown 1000:70000 suid; chmod 6755 suid; chmod 1777 sticky; chown 5:6 deep/er; chmod 2711 deep/er
echo n > none; chmod 0 none; chown -h 7:8 link
echo b > "$(printf 'caf\351')"; echo l > "$(printf 'n%.0s' $(seq 255))"; echo w > "$(printf 'new\nline')"
truncate -s 40M holes; printf end >> holes
touch -d '1960-05-05 01:02:03' deep/beside
echo 8a477f597d28d172789f06886806bc55 > gone/CACHEDIR.TAG; echo kept > gone/kept
touch -d '2020-01-01 00:00:00' deep gone 'st*r [x]' .; sync
"""
# All that a listing shows, and what the files hold. The names need not be text.
LOOK = r"""
cd /data
{
  find . -exec stat -c '%N %f %u %g %Y %t %T' {} + | sort
  find . -type f -exec stat -c '%n %s %h' {} + | sort
  find . -type f -exec sha256sum {} + | sort
} | sha256sum
"""


@pytest.fixture
def taken(east: Site, namespace: str) -> list[JSON]:
    """The volumes of a point, and their claim at east, which no pod holds any more."""
    east.apply(claim(namespace, "data"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", FILL)
    volumes: list[JSON] = good(export(east, namespace))["volumes"]
    return volumes


def test_a_volume_comes_back_as_it_was(east: Site, west: Site, namespace: str, taken: list[JSON]) -> None:
    before = shell(east, namespace, "writer", LOOK)
    west.kubectl("create", "namespace", namespace)
    done = good(bring(west, namespace, taken, verify="tree"))
    assert done["volumes"][0]["complete"] and done["volumes"][0]["files"] == taken[0]["files"]
    held(west, namespace, "reader", "data")
    assert shell(west, namespace, "reader", LOOK) == before
    assert int(shell(west, namespace, "reader", "du -sk /data").split()[0]) < 20_000, "holes are holes again"
    assert good(bring(west, namespace, taken, verify="tree"))["changed"] is False


def test_a_folder_is_given_back_to_the_claim_it_was_in(east: Site, namespace: str, taken: list[JSON]) -> None:
    name = taken[0]["name"]
    look = "cd /data && find deep gone 'st*r [x]' hard -exec stat -c '%N %f %u %g %h %s %Y' {} + | sort"
    before = shell(east, namespace, "writer", look)
    shell(east, namespace, "writer", "cd /data; rm -rf deep/er 'st*r [x]/x?'; echo mine > mine; echo newer > none")
    used = bring(east, namespace, taken, paths={name: ["deep/er"]})
    assert used["failed"] and "pod writer uses it" in used["msg"]
    let_go(east, namespace, "writer")

    absent = bring(east, namespace, taken, paths={name: ["deep/er", "st?r [x]"]})
    assert absent["failed"] and "the point does not have 'st?r [x]'" in absent["msg"] and not absent["changed"]
    options = {"paths": {name: ["deep/er", "st*r [x]/x?"]}, "overwrite": "if_changed", "verify": "tree"}
    done = good(bring(east, namespace, taken, **options))
    assert (done["changed"], done["volumes"][0]["files"]) == (True, 2)
    again = good(bring(east, namespace, taken, **options))
    assert again["changed"] is False and again["volumes"][0]["complete"]

    held(east, namespace, "reader", "data")
    assert shell(east, namespace, "reader", "cat /data/mine /data/none").split() == ["mine", "newer"]
    # The file's other name was not asked for and is a file of its own now; the kernel noted what came into the folders.
    after = shell(east, namespace, "reader", look)
    kept = [line for line in before.splitlines() if "deep/beside" in line or "gone" in line or "x?" in line]
    assert len(kept) == 5 and not set(kept) - set(after.splitlines())
    assert shell(east, namespace, "reader", "stat -c '%u %g %a' /data/deep/er").strip() == "5 6 2711"


def test_into_other_claims(west: Site, namespace: str, taken: list[JSON]) -> None:
    name = taken[0]["name"]
    west.kubectl("create", "namespace", namespace)
    west.apply(claim(namespace, "small", size="16Mi", storage_class="csi-immediate"))

    for wished, words in (
        ({"size": "16Mi"}, "the claim would have 16777216"),
        ({"claim": "small"}, "it has 16777216 bytes, the data need"),
        ({"storage_class": "none-such"}, "no storage class none-such"),
        ({"access_modes": ["Anything"]}, "access_modes has 'Anything'"),
    ):
        refused = bring(west, namespace, taken, targets={name: wished})
        assert refused["failed"] and words in refused["msg"], refused["msg"]
    assert west.names("pvc", namespace) == ["persistentvolumeclaim/small"]

    wished = {"claim": "copy", "storage_class": "csi-immediate", "size": "48Mi", "access_modes": ["ReadWriteOncePod"]}
    (entry,) = good(bring(west, namespace, taken, targets={name: wished}))["volumes"]
    assert (entry["name"], entry["size"]) == (f"{namespace}/copy", 48 << 20) and "the original had" in entry["msg"]
    spec = west.get("pvc", "copy", "-n", namespace)["spec"]
    assert (spec["storageClassName"], spec["accessModes"]) == ("csi-immediate", ["ReadWriteOncePod"])

    # Beside what is there; then as the point has it.
    held(west, namespace, "writer", "copy")
    shell(west, namespace, "writer", "cd /copy; echo mine > mine; echo newer > deep/beside; rm hard")
    west.kubectl("annotate", "-n", namespace, "pvc/copy", "container-dr.muster.dev/restore-")
    let_go(west, namespace, "writer")
    into = {"targets": {name: {"claim": "copy"}}, "existing": "replace"}
    good(bring(west, namespace, taken, delete=False, overwrite="never", **into))
    held(west, namespace, "reader", "copy")
    assert shell(west, namespace, "reader", "cd /copy; cat mine deep/beside hard").split() == ["mine", "newer", "1"]
    let_go(west, namespace, "reader")
    good(bring(west, namespace, taken, overwrite="if_changed", verify="tree", **into))
    held(west, namespace, "reader", "copy")
    assert shell(west, namespace, "reader", "cd /copy; ls -d mine || cat deep/beside").split() == ["2"]
