# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One restore at a time into the same namespaces: a Lease that lives as long as the run that holds it.

No clocks are compared. Whoever finds a Lease watches whether it is renewed: one that is has a living holder, one that
is not for its whole duration was left by a run that died and is taken over.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Conflict, MusterError, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiDenied,
    ApiError,
    ApiNotFound,
    Cluster,
    object_path,
)

NAME = "muster-restore"
_API = "coordination.k8s.io/v1"
_SECONDS = 15
# What a foreign Lease says of itself is believed up to here.
_LONGEST = 60
_LOOK = 0.5


class LockLost(Conflict):
    """The lock is not ours any more, so nothing else may be written."""


class Lock:
    """Held from :meth:`take` to the end of the ``with`` block, and renewed meanwhile by a thread.

    ``namespace`` is the place of the Lease: the first of those that a restore writes to,
    empty for one that writes to none.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, *, warn: Callable[[str], None], seconds: int = _SECONDS
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._warn = warn
        self._seconds = seconds
        self._collection = object_path(_API, "leases", namespace)
        self._path = f"{self._collection}/{NAME}"
        self._lease: JSON | None = None
        self._renewed = 0.0
        self._settled = False
        self._lost: MusterError | None = None
        self._busy = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        if self._lease is not None and self._lost is None:
            # A Lease that stays is taken over by the next run.
            with contextlib.suppress(MusterError):
                self._cluster.delete(self._path, uid=str(self._lease["metadata"]["uid"]))

    def take(self) -> None:
        """Take the lock, if the namespace is there already; later calls do nothing.

        Raises :class:`Refused`, which names the holder, where another restore is going on. Where Leases may not be
        written, it is said once and nothing is locked.
        """
        if self._settled or not self._namespace:
            return
        try:
            self._lease = self._taken()
        except ApiDenied as error:
            self._settled = True
            self._warn(f"Nothing keeps two restores into {self._namespace} apart: {error.reason}.")
            return
        if self._lease is None:
            return
        self._settled = True
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name="lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise :class:`LockLost` where it is so, before anything else is written."""
        if self._lease is not None and time.monotonic() - self._renewed > self._seconds:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def _taken(self) -> JSON | None:
        """The Lease that is ours now; ``None`` where there is no such namespace yet."""
        while True:
            try:
                return self._cluster.create(self._collection, self._body(0))
            except ApiNotFound:
                return None
            except ApiError as error:
                if error.cause != "AlreadyExists":
                    raise
            found = self._cluster.find(self._path)
            if found is None:
                continue
            abandoned = self._abandoned(found)
            if abandoned is None:
                continue
            body = self._body(int((abandoned.get("spec") or {}).get("leaseTransitions") or 0) + 1)
            body["metadata"]["resourceVersion"] = abandoned["metadata"]["resourceVersion"]
            try:
                return self._cluster.replace(self._path, body)
            except ApiNotFound:
                continue
            except ApiError as error:
                if error.status != 409:
                    raise

    def _abandoned(self, found: JSON) -> JSON | None:
        """The Lease if nobody renews it, ``None`` if it went away; refuses if somebody does."""
        spec = found.get("spec") or {}
        end = time.monotonic() + min(float(spec.get("leaseDurationSeconds") or _SECONDS), _LONGEST)
        while time.monotonic() < end:
            time.sleep(_LOOK)
            now = self._cluster.find(self._path)
            if now is None:
                return None
            if now["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                spec = now.get("spec") or {}
                raise Refused(
                    "restore into",
                    f"namespace {self._namespace}",
                    f"{spec.get('holderIdentity')} restores into it since {spec.get('acquireTime')}",
                    "Wait until that run has ended, or end it; the lock goes with it.",
                )
        return found

    def _body(self, transitions: int) -> JSON:
        now = _now()
        return {
            "apiVersion": _API,
            "kind": "Lease",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "labels": {marks.MANAGED_BY: marks.MANAGER},
            },
            "spec": {
                "holderIdentity": _holder(),
                "leaseDurationSeconds": self._seconds,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _keep(self) -> None:
        while not self._end.wait(self._seconds / 3):
            self._renew()

    def _renew(self) -> None:
        with self._busy:
            lease = self._lease
            if lease is None or self._lost is not None:
                return
            body = {**lease, "spec": {**lease["spec"], "renewTime": _now()}}
            try:
                self._lease = self._cluster.replace(self._path, body)
                self._renewed = time.monotonic()
            except ApiError as error:
                if error.status in (404, 409):
                    self._lost = LockLost(
                        "go on with the restore into",
                        f"namespace {self._namespace}",
                        f"its lock, lease {NAME}, was deleted, or taken over by another run",
                        "See who restores into it, and run the same again when nobody does.",
                    )
            except MusterError:
                # A server that does not answer takes no writes either; the next renewal shows who has the lock.
                pass


def _holder() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
