# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``repository_key``: who may open the repository with which password.

The key that a run itself has opened the repository with always stays, so that the last one does too.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    Refused,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes, given_up, mirror, password
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Key, Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import (
    is_raw,
    open_repository,
    open_store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.store import Store, digest

_ID = re.compile(r"^[0-9a-f]{8,64}$")
JSON = dict[str, Any]


def repository_key(request: Request) -> JSON:
    """``present`` makes sure that a second password opens the repository, ``absent`` that a key of it does not."""
    params = request.params
    repository = Repository.open(params["repository"])
    # A bad option before anything is asked of a server.
    secret = password.given(params)
    if params.get("key_id") and not _ID.match(params["key_id"]):
        raise InvalidInput(
            "remove", f"key {params['key_id']!r}", "it is no id of a key", "Give at least its first eight digits."
        )
    if secret is None and (params["state"] == "present" or not params.get("key_id")):
        # Ansible takes an option that is written and empty for given.
        raise InvalidInput("find", f"a key of {repository.target}", "no password was given", "Set password_file.")
    patience = f"{int(clock.duration(params['lock_timeout']))}s"
    identity = repository.identify()
    if secret is not None and params["state"] == "present":
        return {"id": identity, **_present(request, repository, secret, patience)}
    return _Removal(request, repository, identity, secret, patience).result()


def _present(request: Request, repository: Repository, secret: str, patience: str) -> JSON:
    found = repository.key_of(secret)
    if found is not None:
        return {"changed": False, "key_id": found.id, "msg": f"Key {found.id[:10]} opens {repository.target} with it"}
    if request.check_mode:
        return {"changed": True, "key_id": None, "msg": f"Would add a key to {repository.target}"}
    params = request.params
    made = repository.add_key(secret, host=params["host"] or "", user=params["user"] or "", retry_lock=patience)
    return {"changed": True, "key_id": made.id, "msg": f"Added key {made.id[:10]} to {repository.target}"}


class _Removal:
    """Takes keys away, and writes down that this was done on purpose, by which a mirror follows."""

    def __init__(
        self, request: Request, repository: Repository, identity: str, secret: str | None, patience: str
    ) -> None:
        self._request = request
        self._repository = repository
        self._identity = identity
        self._secret = secret
        self._key_id: str = request.params.get("key_id") or ""
        self._patience = patience
        self._signing = Signing.of(request.params.get("signing"))
        if self._signing.key is not None:
            # Not after everything is done.
            self._signing.check()
        self._store = open_store(request.params["store"]) if request.params.get("store") else None
        if self._store is not None:
            self._store.probe()

    def result(self) -> JSON:
        known = self._repository.list_keys()
        going = self._going(known)
        unwritten = self._unwritten([key.id for key in going])
        removed: list[Key] = []
        record = None
        try:
            if not self._request.check_mode:
                for key in going:
                    self._repository.remove_key(key.id, retry_lock=self._patience)
                    removed.append(key)
                record = self._record(unwritten)
        except MusterError as error:
            if isinstance(error, exit_codes.Locked):
                error = exit_codes.Locked(
                    error.action,
                    error.target,
                    error.reason,
                    "Keys are removed while nobody else uses the repository. Wait, or raise lock_timeout; the locks of "
                    "those that are gone are removed by the repository module (state: maintained).",
                )
            error.result = {**self._told(removed, known, None), **error.result, "changed": bool(removed)}
            raise error from None
        return {**self._told(going, known, record), "changed": bool(going or unwritten)}

    def _told(self, gone: Sequence[Key], known: Sequence[Key], record: str | None) -> JSON:
        ids = {key.id for key in gone}
        kept = ", ".join(f"{key.id[:10]} ({key.user}@{key.host})" for key in known if key.id not in ids)
        verb = "Would remove" if self._request.check_mode else "Removed"
        what = f"{verb} {', '.join(key.id[:10] for key in gone)} from" if gone else "There is no such key in"
        return {
            "id": self._identity,
            "removed": [key.result() for key in gone],
            "record": record,
            "msg": f"{what} {self._repository.target}; it has {kept}",
        }

    def _going(self, known: Sequence[Key]) -> list[Key]:
        if self._secret is not None:
            going = self._repository.keys_of(self._secret)
        else:
            going = [key for key in known if key.id.startswith(self._key_id)]
            if len(going) > 1:
                told = ", ".join(key.id[:20] for key in going)
                raise InvalidInput(
                    "remove",
                    f"key {self._key_id} of {self._repository.target}",
                    f"several keys begin so ({told})",
                    "Give more digits.",
                )
        mine = {key.id for key in known if key.current}
        for key in going:
            if key.id in mine:
                raise Refused(
                    "remove",
                    f"key {key.id[:10]} of {self._repository.target}",
                    "this task has opened the repository with it",
                    "Open it with another password, which repository_key (state: present) adds.",
                )
        return [key for key in known if key.id in {one.id for one in going}]

    # -- the record -------------------------------------------------------------------------------------------

    def _unwritten(self, going: Sequence[str]) -> list[str]:
        """Ids that the store has no record of.

        Also that of a key which a run that was killed has removed, where it is given as a whole.
        """
        if self._store is None:
            return []
        wanted = list(going) or [name for name in (self._key_id,) if len(name) == 64]
        written: Mapping[str, set[str]] = {}
        config = self._config_digest()
        if config is not None and wanted:
            written = given_up.names(self._store, config, None, clock.now(), self._request.warn)
        return [name for name in wanted if name not in written.get(mirror.KEYS, ())]

    def _record(self, names: Sequence[str]) -> str | None:
        if self._store is None or not names:
            return None
        now = clock.now()
        value = {
            "format": given_up.FORMAT,
            "repository": self._identity,
            "config_digest": self._config_digest(),
            "time": clock.iso(now),
            "removed": {mirror.KEYS: list(names)},
            "versions": {"restic": self._repository.version, "python": platform.python_version()},
        }
        return given_up.write(self._store, self._signing, f"{given_up.KEYS_ROOT}{self._identity}/", now, value)

    def _config_digest(self) -> str | None:
        raw: Store | None = None
        if is_raw(self._repository.url):
            raw = open_repository(self._request.params["repository"])
        config = raw.find(mirror.CONFIG) if raw is not None else None
        return digest(config) if config is not None else None
