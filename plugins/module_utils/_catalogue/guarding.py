# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A copy that restic makes in a bucket with object lock: safe before it writes, locked when it has written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Corrupt, Incomplete, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic import given_up
from ansible_collections.muster.container_dr.plugins.module_utils._restic.maintenance import Listing
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._restic.vault import Vault
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, digest


def make_safe(request: Request, vault: Vault, result: dict[str, Any]) -> None:
    """Bring back what was hidden, and renew the locks, before anything is written."""
    vault.look()
    if vault.damaged:
        request.warn(f"{vault.damaged} objects at {vault.store.place} were damaged or hidden")
    if request.check_mode:
        if vault.shut:
            raise Incomplete(
                "plan",
                f"the mirror to {vault.store.place}",
                "its config or a key is hidden or written over, so that restic may not open it",
                "Run it without check mode, which brings it back first.",
                result={"objects_repaired": vault.damaged, "changed": True},
            )
        vault.renew(planned=True)
        result["objects_repaired"] = vault.damaged
        result["object_lock"] = vault.result()
        result["changed"] = vault.damaged > 0 or vault.renewed > 0
        return
    try:
        vault.repair()
        vault.renew(planned=False)
    finally:
        result["objects_repaired"] = vault.repaired
        result["changed"] = vault.repaired > 0 or vault.renewed > 0
    result["object_lock"] = vault.result()


def lock_up(request: Request, vault: Vault, changed: bool, result: dict[str, Any]) -> None:
    """Lock what restic has written, and remove what it took away long ago."""
    if changed and not request.check_mode:
        vault.look()
        vault.lock()
    vault.remove(planned=request.check_mode)
    result["object_lock"] = vault.result()
    result["changed"] = result["changed"] or vault.removed > 0
    tell_kept(request, vault.store.place, result["object_lock"])


def altered(destination: Repository, keys: Sequence[str]) -> Corrupt:
    return Corrupt(
        "bring back",
        f"{some(keys)} of {destination.target}",
        "no version of it is what its name says",
        "Where the repository module with state checked and check_data 100% finds nothing, nothing needs it: remove "
        "all its versions. Else mirror the repository into an empty place.",
    )


def taken(request: Request, records: Store | None, config_digest: str) -> dict[str, set[str]]:
    """Names by kind of what was taken away from the destination on purpose, as far as it is on record."""
    if records is None:
        return {}
    return given_up.names(records, config_digest, vouching(request), clock.now(), request.warn)


def unrecorded(request: Request) -> str:
    """Why nobody would believe a record of what is taken away; empty where that is not so."""
    if vouching(request) is None:
        return ""
    signing = Signing.of(request.params.get("signing"))
    if signing.key is None:
        return "without signing.key nobody can vouch that it was hidden on purpose"
    try:
        signing.check()
    except MusterError as error:
        return error.reason
    return ""


@contextlib.contextmanager
def noting(request: Request, vault: Vault, records: Store, snapshots: Sequence[str]) -> Iterator[None]:
    """Write down what is gone after the block, so that nobody takes it for hidden."""
    before, began = Listing.of(vault.store), clock.now()
    try:
        yield
    finally:
        gone = before.without(Listing.of(vault.store))
        gone["snapshots"] = [name for name in gone["snapshots"] if name in snapshots]
        identity, now = vault.repository.identify(), clock.now()
        value = {
            "format": given_up.FORMAT,
            "repository": identity,
            "config_digest": digest(vault.config or b""),
            "started": clock.iso(began),
            "time": clock.iso(now),
            "forgotten": [{"snapshot": name} for name in gone["snapshots"]],
            "removed": gone,
        }
        if any(gone.values()):
            signing = Signing.of(request.params.get("signing"))
            given_up.write(records, signing, f"{given_up.COPIES_ROOT}{identity}/", now, value)


def tell_kept(request: Request, place: str, lock: Mapping[str, Any] | None) -> None:
    if lock and lock["kept"]:
        request.warn(
            f"{lock['kept']} objects at {place} that are needed no more are locked, the last of them until "
            f"{lock['kept_until']}. They go with the first run after that."
        )


def vouching(request: Request) -> Signing | None:
    """By what records are believed; that there are trusted signers was made sure of when the catalogue was read."""
    return Signing.of(request.params.get("signing")) if request.params["verify_signatures"] else None


def some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
