# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Points expire, the repository lets go of what only they needed, its mirror follows later; what stays restores."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ..sites import JSON, Site, good, run, wait_until
from .conftest import bring, bucket, claim, environment, export, held, restic, shell

MEGABYTE = 1_000_000


@dataclass
class History:
    """An application at east with some points; each has a file of its own, and one that all of them have."""

    east: Site
    west: Site
    namespace: str
    signing: JSON
    prefix: str
    digests: dict[str, str] = field(default_factory=dict)
    documents: dict[str, JSON] = field(default_factory=dict)

    @property
    def application(self) -> JSON:
        return {"name": self.namespace, "namespaces": [self.namespace]}

    @property
    def store(self) -> JSON:
        return self.east.store(f"s3://muster/{self.prefix}-store")

    @property
    def repository(self) -> JSON:
        """One that these tests have for themselves."""
        return self.east.repository_at(f"muster/{self.prefix}")

    @property
    def mirror(self) -> JSON:
        return self.west.repository_at(f"muster/{self.prefix}")

    def make(self) -> str:
        """One more point."""
        options = {"application": self.application, "store": self.store, "signing": self.signing}
        begun = good(run("recovery_point", state="begun", site="east", **options))
        write = f"rm -f /data/own; head -c {3 * MEGABYTE} /dev/urandom > /data/own; sync; cat /data/own | sha256sum"
        self.digests[begun["id"]] = shell(self.east, self.namespace, "writer", write).split()[0]
        place = {"repository": self.repository}
        taken = good(
            self.east.run("k8s_snapshot", site="east", point=begun["id"], application=self.application, **place)
        )
        moved = good(export(self.east, self.namespace, point=begun["id"], **place))
        kept = ("id", "epoch", "parent", "started")
        sealed = good(
            run(
                "recovery_point",
                state="sealed",
                site="east",
                objects=taken,
                volumes=moved["volumes"],
                consistency=moved["consistency"],
                **{key: begun[key] for key in kept if begun[key] is not None},
                **options,
            )
        )
        self.documents[begun["id"]] = sealed["document"]
        return str(begun["id"])

    def expire(self, *, check: bool = False) -> JSON:
        policy = {"keep_last": 1, "minimum": 1}
        options = {"application": self.application, "store": self.store, "signing": self.signing}
        return run("recovery_point", check=check, state="expired", retention=policy, **options)

    def maintain(self, *, check: bool = False, **options: Any) -> JSON:
        sites = [{"kubeconfig": site.kubeconfig} for site in (self.east, self.west)]
        given = {"repository": self.repository, "store": self.store, "signing": self.signing, "sites": sites}
        return run("repository", check=check, state="maintained", **{**given, **options})

    def copy(self, **options: Any) -> JSON:
        return run(
            "repository_mirror",
            application=self.application,
            source=self.repository,
            destination=self.mirror,
            source_store=self.store,
            destination_store=self.west.store(f"s3://muster/{self.prefix}-store"),
            signing=self.signing,
            **options,
        )

    def restored(self, point: str, repository: JSON) -> str:
        """The digest of the point's own file after a restore at west."""
        name = f"{self.namespace}-{uuid.uuid4().hex[:4]}"
        self.west.kubectl("create", "namespace", name)
        try:
            mapping = {self.namespace: name}
            volumes = self.documents[point]["volumes"]
            good(bring(self.west, name, volumes, repository=repository, namespace_mapping=mapping))
            held(self.west, name, "reader", "data")
            return shell(self.west, name, "reader", "sha256sum < /data/own").split()[0]
        finally:
            self.west.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def history(east: Site, west: Site, namespace: str, facts: JSON) -> History:
    signing = {key: facts["signing"][key] for key in ("key", "allowed_signers", "identity")}
    made = History(east, west, namespace, signing, f"tests-{uuid.uuid4().hex[:8]}")
    good(run("repository", state="present", repository=made.repository))
    east.apply(claim(namespace, "data", size="64Mi"))
    held(east, namespace, "writer", "data")
    shell(east, namespace, "writer", f"head -c {5 * MEGABYTE} /dev/urandom > /data/shared")
    for _point in range(3):
        made.make()
    return made


@pytest.fixture
def reader(history: History) -> Iterator[subprocess.Popen[bytes]]:
    """A backup of plain restic that has begun and does not end: it waits for its input."""
    command = [history.repository["restic"], "--no-cache", "backup", "--stdin", "--host", "somebody", "--quiet"]
    started = subprocess.Popen(command, env=environment(history.repository), stdin=subprocess.PIPE)
    try:
        wait_until(lambda: bool(restic(history.repository, "list", "locks", "--no-lock").split()))
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.nightly
def test_what_expired_goes_and_what_stays_restores(history: History) -> None:
    first, second, last = history.documents
    good(history.copy())
    planned = good(history.expire(check=True))
    assert [one["name"] for one in planned["decisions"] if one["changed"]] == [second, first]
    nothing = good(history.maintain())
    assert nothing["forgotten"] == [] and nothing["bytes_after"] >= 14 * MEGABYTE
    assert history.restored(first, history.repository) == history.digests[first]

    assert good(history.expire())["changed"]
    told = good(history.maintain(check=True))
    assert told["changed"] and len(told["forgotten"]) == 4
    done = good(history.maintain(check_part_of=1))
    assert [one["snapshot"] for one in done["forgotten"]] == [one["snapshot"] for one in told["forgotten"]]
    assert (
        done["kept"] == 2 and done["kept_unexplained"] == [] and done["checked"] == {"structure": True, "data": "1/1"}
    )
    assert done["bytes_before"] - done["bytes_after"] >= 5.5 * MEGABYTE
    assert not good(history.maintain())["changed"]
    assert history.restored(last, history.repository) == history.digests[last]

    # The mirror has all of it for as long as it was told to.
    kept = good(history.copy(remove_after="1h"))
    assert kept["objects_removed"] == 0
    assert history.restored(first, history.mirror) == history.digests[first]
    gone = good(history.copy(remove_after="0"))
    assert gone["objects_removed"] > 0 and gone["bytes_removed"] >= 5.5 * MEGABYTE
    assert not good(history.copy(remove_after="0"))["changed"]
    good(run("repository", state="checked", repository=history.mirror, check_data="100%"))
    assert history.restored(last, history.mirror) == history.digests[last]
    names = [
        sorted(restic(where, "list", kind).split())
        for where in (history.repository, history.mirror)
        for kind in ("packs", "snapshots")
    ]
    assert names[:2] == names[2:]

    # A repository that somebody has emptied does not empty its mirror.
    client = bucket(history.east)
    for name in names[0]:
        client.delete_object(Bucket="muster", Key=f"{history.prefix}/data/{name[:2]}/{name}")
    spared = good(history.copy(remove_after="0"))
    assert spared["objects_removed"] == 0
    assert history.restored(last, history.mirror) == history.digests[last]


@pytest.mark.nightly
def test_a_living_holder_is_waited_for_and_nothing_is_taken_from_it(
    history: History, reader: subprocess.Popen[bytes]
) -> None:
    good(history.expire())
    refused = history.maintain(lock_timeout="5s")
    assert refused["failed"] and f"process {reader.pid} of this machine is restic" in refused["msg"]
    assert [one["holder"] for one in refused["locks"]] == ["alive"] and refused["forgotten"] == []
    # restic's own way, from a machine of the same name on which that process is not seen, would take it away.
    assert len(restic(history.repository, "list", "locks", "--no-lock").split()) == 1
    reader.kill()
    reader.communicate()
    # It is not there, and perhaps somewhere else under the same name: only its silence could tell.
    refused = history.maintain(lock_timeout="1s")
    assert refused["failed"] and refused["locks"][0]["holder"] == "unknown"
    done = good(history.maintain(remove_locks=[refused["locks"][0]["id"][:12]]))
    assert [one["removed"] for one in done["locks"]] == [True] and len(done["forgotten"]) == 4
