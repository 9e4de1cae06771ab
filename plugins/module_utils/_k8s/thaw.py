# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What must be thawed, written down in the cluster before anything is frozen, so that a killed run's debt is paid.

The record is a ConfigMap in the application's first namespace: ``debt.json`` in it holds ``format``, ``run``,
``holder`` (the process, where it can be told), ``until`` (RFC 3339), ``owed``, the post commands in the order in
which they run, and ``asleep``, where workloads were stopped: a record of :mod:`suspension`. Who runs the same
application next pays it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, liveness, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    Interrupted,
    InvalidInput,
    MusterError,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook, suspension
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiDenied,
    ApiNotFound,
    Cluster,
    object_path,
)

FORMAT = "muster/thaw-debt/v1"
_FILE = "debt.json"
# For requests that are repeated while a server restarts, and for clocks of control nodes that differ a little.
_GRACE = 120.0
_PAUSE = 2.0
_ALLOW = "Allow list, get, create, update and delete of configmaps there; docs/rbac/{}.yml is a role for it."
# A record of what sleeps says again and again that its run goes on: how long reading takes is not known beforehand.
RENEWED = 30.0


@dataclass(frozen=True)
class Owed:
    """One post command in one pod."""

    name: str
    place: hook.Place
    command: hook.Command

    @property
    def identity(self) -> tuple[hook.Place, tuple[str, ...]]:
        """What makes two debts one: whoever has run this command in this pod has paid both."""
        return self.place, self.command.argv

    def document(self) -> JSON:
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Owed:
        command = document["command"]
        argv = tuple(str(word) for word in command["argv"])
        return cls(str(document["name"]), hook.Place(**document["place"]), hook.Command(**{**command, "argv": argv}))


@dataclass
class Debt:
    """The record of one run."""

    path: str
    uid: str
    run: str
    holder: JSON | None
    until: str
    owed: list[Owed]
    asleep: suspension.Record | None = None

    @property
    def sleepers(self) -> list[str]:
        """The names of what may still sleep."""
        return [suspension.title_of(entry) for entry in suspension.open_entries(self.asleep or {})]


class Ledger:
    """The debts of one application. ``labels`` are those of this run's record."""

    def __init__(self, cluster: Cluster, namespaces: Sequence[str], labels: Mapping[str, str], name: str) -> None:
        self._cluster = cluster
        self._namespaces = list(dict.fromkeys(namespaces))
        self._labels = dict(labels)
        self._path = object_path("v1", "configmaps", self._namespaces[0], name)
        self._name = name
        self._written = False
        # What sleeps has a record of its own, which stays for longer.
        self._sleeping = f"{name}-stopped"
        self._asleep = False
        self._unreadable: ApiDenied | None = None
        # Debts of earlier runs that could not be paid.
        self._unpaid: list[Debt] = []
        # What earlier runs had put to sleep and :meth:`pay` has woken.
        self.woken: list[str] = []

    @property
    def run(self) -> str:
        """The id of this run."""
        return self._labels.get(marks.RUN, "")

    # -- this run's -----------------------------------------------------------------------------------------------

    def write(self, owed: Sequence[Owed], seconds: float) -> None:
        """Write down what is owed by a run that takes at most so long. Raises if that is not possible."""
        until = clock.iso(clock.now() + timedelta(seconds=seconds + _GRACE))
        self._create(self._document(owed, until, liveness.ourselves()), "Nothing was frozen.", "hooks")
        self._written = True

    def keep_asleep(self, record: suspension.Record) -> None:
        """Write down what this run puts to sleep, and at least each RENEWED seconds that it goes on.

        Raises where it cannot be written the first time. Later it may be gone: paid, as the debt of a killed run.
        """
        until = clock.iso(clock.now() + timedelta(seconds=2 * RENEWED + _GRACE))
        document = self._sleepers(record, until, liveness.ourselves())
        if not self._asleep:
            self._create(document, "Nothing was stopped.", "stopped")
            self._asleep = True
            return
        with contextlib.suppress(ApiNotFound):
            self._cluster.replace(self._sleeping_path, document)

    def settle_asleep(self, record: suspension.Record) -> None:
        """Forget what was woken, keep the rest for the next run, which need not wait."""
        if not self._asleep:
            return
        if suspension.unfinished(record):
            with contextlib.suppress(ApiNotFound):
                self._cluster.replace(self._sleeping_path, self._sleepers(record, clock.iso(clock.now()), None))
        else:
            self._cluster.delete(self._sleeping_path)
        self._asleep = False

    @property
    def _sleeping_path(self) -> str:
        return object_path("v1", "configmaps", self._namespaces[0], self._sleeping)

    def _sleepers(self, record: suspension.Record, until: str, holder: JSON | None) -> JSON:
        return self._document([], until, holder, name=self._sleeping, asleep=record)

    def _create(self, document: JSON, undone: str, role: str) -> None:
        namespace = self._namespaces[0]
        if self._unreadable is not None:
            raise Denied(
                "read",
                f"what earlier runs left to thaw, in namespace {namespace}",
                self._unreadable.reason,
                f"{undone} {_ALLOW.format(role)}",
            )
        try:
            self._cluster.create(object_path("v1", "configmaps", namespace), document)
        except ApiDenied as error:
            raise Denied(
                "write down",
                f"what has to be thawed, in ConfigMap {namespace}/{document['metadata']['name']}",
                error.reason,
                f"{undone} {_ALLOW.format(role)}",
            ) from None

    def settle(self, left: Sequence[Owed], paid: Collection[tuple[hook.Place, tuple[str, ...]]]) -> None:
        """After all post commands: forget what was paid, keep ``left`` for the next run, which need not wait."""
        if self._written:
            self._reduce(self._path, self._document(left, clock.iso(clock.now()), None), left)
            self._written = False
        for debt in self._unpaid:
            rest = [one for one in debt.owed if one.identity not in paid]
            if len(rest) < len(debt.owed):
                self._keep(debt, rest)

    def _document(
        self,
        owed: Sequence[Owed],
        until: str,
        holder: JSON | None,
        *,
        name: str | None = None,
        asleep: suspension.Record | None = None,
    ) -> JSON:
        body = {
            "format": FORMAT,
            "run": self.run,
            "holder": holder,
            "until": until,
            "owed": [one.document() for one in owed],
            **({"asleep": asleep} if asleep is not None else {}),
        }
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name or self._name, "namespace": self._namespaces[0], "labels": self._labels},
            "data": {_FILE: json.dumps(body, sort_keys=True)},
        }

    def _reduce(self, path: str, document: JSON, left: Sequence[Owed]) -> None:
        if left:
            self._cluster.replace(path, document)
        else:
            self._cluster.delete(path)

    def _keep(self, debt: Debt, rest: list[Owed]) -> None:
        if not rest and not debt.sleepers:
            self._cluster.delete(debt.path, uid=debt.uid)
            return
        current = self._cluster.find(debt.path)
        if current is None or current["metadata"].get("uid") != debt.uid:
            return
        body = json.loads(current["data"][_FILE])
        # Its run is over, so whoever comes next need not find that out again.
        body |= {"holder": None, "until": clock.iso(clock.now()), "owed": [one.document() for one in rest]}
        if debt.asleep is not None:
            body["asleep"] = debt.asleep
        self._cluster.replace(debt.path, {**current, "data": {_FILE: json.dumps(body, sort_keys=True)}})

    # -- those of earlier runs ------------------------------------------------------------------------------------

    def debts(self, warn: Callable[[str], None]) -> list[Debt]:
        """What earlier runs of the application still owe."""
        selector = f"{marks.APPLICATION}={self._labels[marks.APPLICATION]},{marks.ROLE}={marks.THAW}"
        found = []
        for namespace in self._namespaces:
            try:
                items = list(
                    self._cluster.list(object_path("v1", "configmaps", namespace), {"labelSelector": selector})
                )
            except NotFound:
                continue
            for item in items:
                name = item["metadata"]["name"]
                try:
                    found.append(_read(object_path("v1", "configmaps", namespace, name), item))
                except (ValueError, KeyError, TypeError, InvalidInput):
                    warn(f"ConfigMap {namespace}/{name} is a record of what to thaw that cannot be read; delete it.")
        return found

    def planned(self, warn: Callable[[str], None]) -> list[JSON]:
        """The records of what :meth:`pay` would run; nothing where nobody may look."""
        try:
            owed = [one for debt in self.debts(warn) for one in debt.owed]
        except ApiDenied:
            return []
        return [one.command.record_at(one.place, one.name, "post") for one in owed]

    def planned_to_wake(self, warn: Callable[[str], None]) -> list[str]:
        """What :meth:`pay` would wake."""
        try:
            return [title for debt in self.debts(warn) for title in debt.sleepers]
        except ApiDenied:
            return []

    def pay(self, secrets: Collection[str], warn: Callable[[str], None], progress: Progress) -> list[JSON]:
        """Run what earlier runs owe; returns the records of the commands.

        A command that fails stays owed, which is no obstacle: what is frozen already may be thawed by this run's own
        hooks, and what is not frozen may refuse to be thawed. Nor is it one that nobody may look, unless this run
        has to write a record itself.
        """
        try:
            debts = self.debts(warn)
        except ApiDenied as error:
            self._unreadable = error
            return []
        done: list[JSON] = []
        for debt in debts:
            if self._wait(debt, progress):
                done += self._pay(debt, secrets, warn)
        return done

    def _wait(self, debt: Debt, progress: Progress) -> bool:
        """Wait until the run is over for certain; false if it has cleared its debt itself.

        A run that is alive is between its pre and post commands and will thaw by itself; thawing for it would let
        its snapshots be taken of an application that writes. Its process is looked for where that is possible (the
        same machine), which is the case after a crash of the control program. From elsewhere only the time tells:
        each step of a cut has a limit, and ``until`` is behind all of them.
        """
        title = f"thaw of run {debt.run}"
        while not _over(debt):
            if _is_late(debt):
                raise Conflict(
                    "begin",
                    f"a run beside run {debt.run}",
                    f"process {(debt.holder or {}).get('process')} on this machine still holds the application, "
                    "long after the end of all its time limits",
                    "End that process and run this again; what it has frozen is thawed then.",
                )
            progress.update("wave", title, "waiting", msg=f"that run goes on, or was killed and may until {debt.until}")
            time.sleep(_PAUSE)
            current = self._cluster.find(debt.path)
            if current is None or current["metadata"].get("uid") != debt.uid:
                return False
        return True

    def _pay(self, debt: Debt, secrets: Collection[str], warn: Callable[[str], None]) -> list[JSON]:
        done, left, dropped = [], [], []
        ended: Interrupted | None = None
        for one in debt.owed:
            if ended is not None:
                left.append(one)
                continue
            pod = self._cluster.find(object_path("v1", "pods", one.place.namespace, one.place.pod))
            if pod is None or pod["metadata"].get("uid") != one.place.uid or _ended(pod):
                dropped.append(f"{one.place.namespace}/{one.place.pod}")
                continue
            record, failure = hook.run(self._cluster, one.command, one.place, one.name, "post", secrets)
            done.append(record)
            if failure is not None and hook.matters(failure, one.command):
                left.append(one)
                ended = failure if isinstance(failure, Interrupted) else None
        paid = [f"{one['name']} in {one['namespace']}/{one['pod']}" for one in done if one["ok"]]
        if paid:
            warn(f"Run {debt.run} was cut off before its post hooks ran; they ran now: {', '.join(paid)}.")
        if dropped:
            warn(f"What run {debt.run} had frozen is gone with its pods: {', '.join(dict.fromkeys(dropped))}.")
        for record in done:
            if not record["ok"]:
                warn(f"{record['msg']} Run {debt.run} was cut off before it ran it.")
        if debt.asleep is not None and ended is None:
            try:
                self._wake(debt, debt.asleep, warn)
            except Interrupted as error:
                ended = error
        self._keep(debt, left)
        if left:
            self._unpaid.append(replace(debt, holder=None, owed=left))
        if ended is not None:
            raise ended
        return done

    def _wake(self, debt: Debt, record: suspension.Record, warn: Callable[[str], None]) -> None:
        """Give back what a killed run had taken, as far as nobody else has changed it meanwhile."""
        try:
            outcome = suspension.resume(self._cluster, record, lambda _record: None)
        except Interrupted:
            raise
        except MusterError as error:
            warn(f"What run {debt.run} has stopped cannot be started: {error}")
            return
        self.woken += outcome.changed
        if outcome.changed:
            warn(
                f"Run {debt.run} was cut off with these stopped; they are started again: {', '.join(outcome.changed)}."
            )
        for title, why in outcome.kept.items():
            warn(f"Run {debt.run} was cut off with {title} stopped: {why}.")
        for title, why in outcome.failed.items():
            warn(f"Run {debt.run} was cut off with {title} stopped, which stays so until the next run: {why}")


def _read(path: str, item: JSON) -> Debt:
    body = json.loads(item["data"][_FILE])
    if body["format"] != FORMAT:
        raise ValueError(body["format"])
    owed = [Owed.read(one) for one in body["owed"]]
    clock.parse(str(body["until"]))
    asleep = body.get("asleep")
    if asleep is not None:
        suspension.open_entries(asleep)
    uid, run, until = str(item["metadata"]["uid"]), str(body["run"]), str(body["until"])
    return Debt(path, uid, run, body.get("holder"), until, owed, asleep)


def _ended(pod: JSON) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _over(debt: Debt) -> bool:
    """Whether the run that owes this can no longer be going on."""
    return liveness.over(debt.holder, debt.until)


def _is_late(debt: Debt) -> bool:
    """Whether all time limits of the run that owes this have passed."""
    return clock.now() >= clock.parse(debt.until)
