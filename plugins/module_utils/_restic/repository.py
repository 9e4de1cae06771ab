# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A restic repository, driven from the controller through the restic binary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends, clock, process
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Refused,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._plan.snapshots import Held
from ansible_collections.muster.container_dr.plugins.module_utils._restic import (
    command,
    exit_codes,
    password,
    piped,
    rest_probe,
    s3_probe,
    ssh,
)
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import is_raw, located, printable

MINIMUM = (0, 18)
_CHECKS_SNAPSHOTS = (0, 19)
FORMAT = 2
# Seconds that a directory may take to answer; one on a network share may never do it.
_DIRECTORY_TIMEOUT = 15.0
_NOT_SHARED = (
    "persistentVolumeClaim",
    "ephemeral",
    "emptyDir",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "image",
)
# How long a command waits for a lock of a maintenance that is under way.
RETRY_LOCK = "2m"
_S3_RETRIES = "3"
_QUICK = 180.0
_ID = re.compile(r"\b[0-9a-f]{64}\b")
# Words of kernels, object stores and rest-server, in lower case.
_KEEPS = (
    "permission denied",
    "operation not permitted",
    "read-only file system",
    "access denied",
    "accessdenied",
    "forbidden",
    "object lock",
    "objectlocked",
    "worm protected",
    "retention",
    "append-only",
    "append only",
)

Status = Callable[[command.Message], None]


@dataclass(frozen=True)
class Snapshot:
    """One snapshot: ids are hexadecimal SHA-256, ``time`` is UTC and sorts, sizes in bytes (None: not recorded)."""

    id: str
    tree: str
    time: str
    host: str
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    parent: str | None = None
    files: int | None = None
    bytes: int | None = None
    original: str | None = None
    """The id that it had when it was made, where that is another."""


@dataclass(frozen=True)
class Backup:
    """A finished, complete backup; sizes in bytes, ``bytes_added`` as stored (compressed)."""

    snapshot: str
    tree: str
    files: int
    bytes: int
    bytes_added: int
    seconds: float


@dataclass(frozen=True)
class Restored:
    """A finished restore: what restic counted (directories count as files here)."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Key:
    """One of the keys, each of which opens the repository with a password of its own; ``created`` in UTC.

    ``current`` is the one that it was opened with.
    """

    id: str
    host: str
    user: str
    created: str
    current: bool

    def result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "host": self.host,
            "user": self.user,
            "created": self.created,
            "current": self.current,
        }


@dataclass(frozen=True)
class Source:
    """Another repository, as a command on this one finds it. Holds secrets."""

    url: str = field(repr=False)
    password: str = field(repr=False)
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    flags: tuple[str, ...] = ()
    ca_cert: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**self.login, "RESTIC_FROM_REPOSITORY": self.url, "RESTIC_FROM_PASSWORD": self.password}


@dataclass
class Repository:
    """Where the repository is and how to open it. Made by :meth:`open`; may be used from several threads."""

    url: str
    binary: str
    version: str
    pinned: str | None = None
    region: str | None = None
    ca_cert: str | None = None
    # How movers mount the directory that it is in: a volume as a pod has it, without its name.
    volume: Mapping[str, Any] | None = None
    # For SFTP.
    ssh: ssh.Login = field(default_factory=ssh.Login)
    # Secrets; never shown.
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    _identity: str | None = field(default=None, repr=False)
    _polynomial: str = field(default="", repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, options: Mapping[str, Any]) -> Repository:
        """Read the ``repository`` options and check the binary; the repository itself is not touched yet.

        Raises :class:`NotFound` where restic is not installed, :class:`InvalidInput` for a version below 0.18, a
        missing password or files that cannot be read.
        """
        url = str(options.get("url") or "")
        if not url:
            raise InvalidInput("open", "the repository", "it has no url", "Set repository.url.")
        url = located(url)
        s3_probe.place(url)
        target = f"repository {printable(url)}"
        login = backends.given(options, target)
        url, found = backends.without_login(url, target)
        if found and any(name in login for name in found):
            raise InvalidInput("use", target, "its URL has a login, and environment too", "Set one of the two.")
        login |= found
        backends.require(url, command.environment(login), target)
        binary = _binary(str(options.get("restic") or "restic"))
        secrets = {"RESTIC_PASSWORD": _password(options), **login}
        ca_cert = options.get("ca_cert")
        if ca_cert and not Path(str(ca_cert)).is_file():
            raise InvalidInput("read", f"ca_cert {ca_cert}", "there is no such file", "Correct repository.ca_cert.")
        return cls(
            url=url,
            binary=binary,
            version=_version(binary),
            pinned=options.get("id") or None,
            region=options.get("region") or None,
            # restic may run in another folder than the one in which the path was meant.
            ca_cert=str(Path(str(ca_cert)).resolve()) if ca_cert else None,
            volume=_mounted(options, url),
            ssh=ssh.Login.read(options, target),
            secrets=secrets,
        )

    @property
    def password(self) -> str:
        """A secret."""
        return self.secrets["RESTIC_PASSWORD"]

    @property
    def target(self) -> str:
        """How errors call it."""
        return f"repository {printable(self.url)}"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which restic finds this repository, and ``more`` for the command. Holds secrets."""
        extra = {**self.secrets, "RESTIC_REPOSITORY": self.url}
        if self.region:
            extra["AWS_DEFAULT_REGION"] = self.region
        if self.ca_cert:
            extra["RESTIC_CACERT"] = self.ca_cert
        return command.environment({**extra, **(more or {})})

    def credentials(self) -> dict[str, str]:
        """What of :meth:`environment` is a login at the repository's server, for others to use; empty where none.

        Profiles and roles of this machine are none: they hold nowhere else.
        """
        return backends.login_of(self.url, self.environment())

    def as_source(self) -> Source:
        """This one for a command on another, which has one set of variables for both: a REST login goes by the URL."""
        login = self.credentials()
        if backends.kind(self.url) == "rest":
            return Source(backends.with_login(self.url, login), self.password, ca_cert=self.ca_cert)
        return Source(self.url, self.password, login, self.flags, self.ca_cert)

    @property
    def flags(self) -> tuple[str, ...]:
        """What restic has to be told of the backend by its command line."""
        if self.url.startswith("s3:"):
            return ("-o", f"s3.retries={_S3_RETRIES}")
        if self.url.startswith("sftp:"):
            return ("-o", f"sftp.args={self.ssh.arguments}")
        return ()

    def _flags_beside(self, source: Source) -> list[str]:
        """What a command needs more for another repository; authorities vouch for both."""
        if not source.ca_cert:
            return [*source.flags]
        return [
            *source.flags,
            *(word for path in (self.ca_cert, source.ca_cert) if path for word in ("--cacert", path)),
        ]

    def region_name(self) -> str | None:
        """The region of the options, else that of the environment."""
        return self.region or os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None

    # -- the repository itself --------------------------------------------------------------------------------

    def probe(self) -> None:
        """Find out within seconds why it cannot be reached or read, where that is so."""
        if is_raw(self.url) and not self.url.startswith("s3:"):
            try:
                # A program of its own: whoever asks a share whose server is gone waits for good.
                process.run(["stat", "--", self.url.removeprefix("local:")], timeout=_DIRECTORY_TIMEOUT)
            except TimeoutError as error:
                raise Unavailable(
                    "open", self.target, f"the directory {error}", "Does the server run that it is mounted from?"
                ) from None
        environment = self.environment()
        s3_probe.probe(self.url, environment, self.region_name(), self.ca_cert)
        rest_probe.probe(self.url, environment, self.ca_cert)
        ssh.probe(self.url, self.ssh, self.target)

    def identify(self) -> str:
        """Open the repository, once, and return its id, which must be the pinned one where one was pinned.

        Raises :class:`NotFound` (no repository, no bucket), ``Denied`` (password, key), ``Unavailable`` or, where
        another id was pinned, :class:`Refused`.
        """
        with self._lock:
            if self._identity is None:
                self.probe()
                self._identity = self._read_id()
        if self.pinned and self._identity != self.pinned:
            raise Refused(
                "use",
                self.target,
                f"its id is {self._identity}, expected was {self.pinned}",
                "Another repository is at this address. Correct the URL, or the pinned id if it was replaced "
                "on purpose.",
            )
        return self._identity

    def _read_id(self) -> str:
        ended = self._run(["cat", "config", "--no-lock"], "open", timeout=_QUICK)
        config = ended.document if isinstance(ended.document, dict) else {}
        if config.get("version") != FORMAT:
            raise InvalidInput(
                "use", self.target, f"its format version is {config.get('version')}", "Create one with version 2."
            )
        self._polynomial = str(config.get("chunker_polynomial") or "")
        return str(config["id"])

    def polynomial(self) -> str:
        """By which files are cut into pieces; equal files are stored once where it is the same."""
        self.identify()
        return self._polynomial

    def exists(self) -> bool:
        """Whether a repository is there. Everything but a plain "no repository" is raised."""
        try:
            self.probe()
            self._identity = self._identity or self._read_id()
        except NotFound as error:
            if "bucket" in error.reason:
                raise
            return False
        return True

    def init(self, like: Source | None = None) -> str:
        """Create the repository (format 2) and return its id; :class:`Conflict` where one exists.

        ``like``: with its chunker's parameters, so that what both get is cut in the same way.
        The bucket must be there: restic would create it, and a misspelt URL would look like a success.
        """
        if self.exists():
            raise Conflict("create", self.target, "there is a repository already", "Use it, or choose another address.")
        arguments = ["init", "--repository-version", str(FORMAT), *(["--copy-chunker-params"] if like else [])]
        extra, flags = (like.environment, self._flags_beside(like)) if like else (None, ())
        ended = self._run([*flags, *arguments], "create", timeout=_QUICK, extra=extra)
        message = ended.message("initialized") or {}
        self._identity = str(message.get("id") or self._read_id())
        return self._identity

    # -- data -------------------------------------------------------------------------------------------------

    def backup_directory(
        self,
        path: str | Path,
        *,
        host: str,
        tags: Iterable[str] = (),
        group_by: str = "host",
        on_status: Status | None = None,
        timeout: float | None = None,
    ) -> Backup:
        """Back up the content of the directory ``path`` as the snapshot's root.

        restic runs inside the directory, so that the snapshot does not depend on where it lies, and ``group_by``
        finds the parent by host alone. Raises :class:`Incomplete` where a file could not be read.
        """
        self.identify()
        arguments = [*_backup(host, tags, group_by), "."]
        ended = self._run(arguments, "back up to", cwd=path, on_status=on_status, timeout=timeout, expect_complete=True)
        return self._backed_up(ended)

    def backup_stream(
        self,
        filename: str,
        feed: Callable[[piped.Sink], None],
        *,
        host: str,
        tags: Iterable[str] = (),
        on_status: Status | None = None,
    ) -> Backup:
        """Back up what ``feed`` writes, as the one file of a snapshot.

        Where ``feed`` raises, which goes on, or where this program is killed, there is no snapshot.
        """
        self.identify()
        with piped.feeding(feed) as (words, numbers, beside):
            arguments = ["--stdin-from-command", "--stdin-filename", filename, "--", *words]
            ended = self._run(
                [*_backup(host, tags, "host"), *arguments],
                "back up to",
                on_status=on_status,
                pass_fds=numbers,
                beside=beside,
            )
        return self._backed_up(ended)

    def _backed_up(self, ended: command.Ended) -> Backup:
        summary = ended.message("summary") or {}
        snapshot = str(summary.get("snapshot_id") or "")
        if not snapshot:
            raise Incomplete("back up to", self.target, "restic named no snapshot", "Look at the repository's server.")
        found = self.snapshot(snapshot)
        return Backup(
            snapshot=found.id,
            tree=found.tree,
            files=int(summary.get("total_files_processed", 0)),
            bytes=int(summary.get("total_bytes_processed", 0)),
            bytes_added=int(summary.get("data_added_packed", 0)),
            seconds=float(summary.get("total_duration", 0)),
        )

    def snapshots(
        self, *, host: str | None = None, tags: Sequence[str] | None = None, ids: Sequence[str] = ()
    ) -> list[Snapshot]:
        """Snapshots, oldest first; ``tags`` must all be there. No lock is taken: nothing is changed or locked out."""
        arguments = ["snapshots", "--no-lock"]
        if host:
            arguments += ["--host", host]
        if tags:
            arguments += ["--tag", ",".join(_tag(tag) for tag in tags)]
        self.identify()
        ended = self._run([*arguments, *ids], "list snapshots of", timeout=_QUICK)
        document = ended.document if isinstance(ended.document, list) else []
        return sorted((_snapshot(entry) for entry in document), key=lambda snapshot: snapshot.time)

    def snapshot(self, identity: str) -> Snapshot:
        """One snapshot by its id; :class:`NotFound` where the repository does not hold it."""
        for found in self.snapshots(ids=[identity]):
            if found.id.startswith(identity):
                return found
        raise NotFound(
            "find",
            f"snapshot {identity[:16]} in {self.target}",
            "it is not there",
            "It was removed, never finished, or belongs to another repository.",
        )

    def copy_from(self, source: Source, ids: Sequence[str], on_text: Callable[[str], None] | None = None) -> None:
        """Copy snapshots of another repository, which is read only and not locked; what is here already is left out.

        ``on_text`` gets the lines that restic prints. Ids that the source does not have are passed over.
        """
        self.identify()
        arguments = [*self._flags_beside(source), "copy", "--no-lock", "--retry-lock", RETRY_LOCK, *ids]
        self._run(arguments, "copy snapshots to", extra=source.environment, on_text=on_text)

    def restore(
        self,
        snapshot: str,
        target_dir: str | Path,
        *,
        verify: bool = False,
        delete: bool = False,
        on_status: Status | None = None,
        timeout: float | None = None,
    ) -> Restored:
        """Restore a snapshot (or ``SNAPSHOT:/path`` in it) into a directory; ``verify`` reads it all back."""
        self.identify()
        arguments = ["restore", snapshot, "--target", str(target_dir), "--retry-lock", RETRY_LOCK]
        if verify:
            arguments.append("--verify")
        if delete:
            arguments.append("--delete")
        ended = self._run(arguments, f"restore {snapshot[:16]} from", on_status=on_status, timeout=timeout)
        summary = ended.message("summary") or {}
        return Restored(files=int(summary.get("total_files", 0)), bytes=int(summary.get("total_bytes", 0)))

    def dump(self, snapshot: str, path: str, take: Callable[[int, command.Beside], None]) -> None:
        """Read one file of a snapshot: ``take`` is given the descriptor that its bytes come from.

        At its end they are whole only if the code of the :class:`command.Beside` is 0.
        """
        self.identify()
        with piped.draining(take) as (number, beside):
            arguments = ["dump", "--retry-lock", RETRY_LOCK, snapshot, path]
            self._run(arguments, f"read snapshot {snapshot[:16]} of", stdout=number, beside=beside)

    def entries(
        self, snapshot: str, paths: Sequence[str], take: Callable[[command.Message], None], *, recursive: bool = True
    ) -> None:
        """Give ``take`` each entry of a snapshot, as restic has it, that is one of the absolute ``paths`` or below.

        Not ``recursive`` it is what stands directly in these folders.
        """
        self.identify()
        arguments = ["ls", "--retry-lock", RETRY_LOCK, *(["--recursive"] if recursive else []), snapshot, *paths]
        self._run(arguments, f"list snapshot {snapshot[:16]} of", on_node=take)

    def stats(self) -> dict[str, int]:
        """Size of everything stored: ``size`` and ``uncompressed_size`` in bytes, ``snapshots`` as a count."""
        ended = self._run(["stats", "--mode", "raw-data", "--no-lock"], "measure")
        document = ended.document if isinstance(ended.document, dict) else {}
        return {
            "size": int(document.get("total_size", 0)),
            "uncompressed_size": int(document.get("total_uncompressed_size", 0)),
            "snapshots": int(document.get("snapshots_count", 0)),
        }

    # -- keys -------------------------------------------------------------------------------------------------

    def list_keys(self) -> list[Key]:
        """All keys, the oldest first, without taking a lock. :class:`Incomplete` where one cannot be read."""
        self.identify()
        return self._keys({})

    def key_of(self, password: str, hint: str = "") -> Key | None:
        """A key that this password opens, the one with the id ``hint`` if that is one; ``None`` where none is."""
        other = replace(self, secrets={**self.secrets, "RESTIC_PASSWORD": password})
        try:
            found = other._keys({"RESTIC_KEY_HINT": hint} if hint else {})
        except exit_codes.WrongPassword:
            return None
        return next((key for key in found if key.current), None)

    def keys_of(self, password: str) -> list[Key]:
        """Every key that this password opens."""
        first = self.key_of(password)
        if first is None:
            return []
        others = (self.key_of(password, key.id) for key in self.list_keys() if key.id != first.id)
        return list({key.id: key for key in (first, *others) if key is not None}.values())

    def add_key(self, password: str, *, host: str = "", user: str = "", retry_lock: str = RETRY_LOCK) -> Key:
        """One more key, which this password opens; ``host`` and ``user`` are what is noted on it."""
        labels = [part for name, value in (("--host", host), ("--user", user)) if value for part in (name, value)]
        with command.handed(password) as (path, number):
            arguments = ["key", "add", "--new-password-file", path, "--retry-lock", retry_lock, *labels]
            self._run(arguments, "add a key to", pass_fds=(number,))
        made = self.key_of(password)
        if made is None:
            raise Incomplete("add a key to", self.target, "the new password does not open it", "Run it again.")
        return made

    def remove_key(self, identity: str, *, retry_lock: str = RETRY_LOCK) -> None:
        """Remove a key by its whole id. restic does not do it to the key that it was opened with.

        Raises :class:`exit_codes.Locked` while anybody uses the repository, :class:`Denied` where the store deletes
        nothing.
        """
        self._take_away(["key", "remove", "--retry-lock", retry_lock, identity], "remove a key of")

    def _keys(self, extra: Mapping[str, str]) -> list[Key]:
        # restic gives local times without a zone.
        ended = self._run(["key", "list", "--no-lock"], "list keys of", timeout=_QUICK, extra={"TZ": "UTC", **extra})
        if ended.errors:
            raise Incomplete(
                "list keys of",
                self.target,
                f"one of them cannot be read ({exit_codes.first_line(ended.errors[0], 200)})",
                "Where it is damaged, take that file below keys/ from a copy of the repository.",
            )
        document = ended.document if isinstance(ended.document, list) else []
        return sorted((_key(entry) for entry in document), key=lambda key: (key.created, key.id))

    # -- locks and maintenance --------------------------------------------------------------------------------

    def lock_ids(self) -> list[str]:
        """Ids of the locks that are held, without taking one."""
        self.identify()
        ended = self._run(["list", "locks", "--no-lock"], "list locks of", timeout=_QUICK)
        return sorted(set(_ID.findall(ended.text)))

    def lock(self, identity: str) -> dict[str, Any]:
        """What a lock says of its holder, as restic wrote it.

        Raises ``Unavailable`` or ``Denied`` where the server does not give it, and another of the family for one that
        is gone by now or that restic does not understand.
        """
        ended = self._run(["cat", "lock", identity, "--no-lock"], "read a lock of", timeout=_QUICK)
        if not isinstance(ended.document, dict):
            raise Incomplete("read", f"lock {identity[:16]} of {self.target}", "it holds nothing", "")
        return ended.document

    def held_exclusively(self) -> bool:
        """Whether somebody has locked all others out. A lock that nobody can read counts as such a one."""
        for identity in self.lock_ids():
            try:
                if self.lock(identity).get("exclusive"):
                    return True
            except (Unavailable, Denied):
                raise
            except MusterError:
                if identity in self.lock_ids():
                    return True
        return False

    def forget(self, ids: Sequence[str], *, retry_lock: str = RETRY_LOCK) -> None:
        """Remove these snapshots; their data stay until :meth:`prune`. Those that are gone already do no harm.

        Raises :class:`exit_codes.Locked` before anything was done, :class:`Denied` where the store deletes nothing.
        """
        if ids:
            self._take_away(["forget", "--retry-lock", retry_lock, *ids], "remove snapshots of")

    def packs(self) -> set[str]:
        """The names of all packs, in which data and trees are."""
        return set(_ID.findall(self._run(["list", "packs", "--no-lock"], "list packs of").text))

    def prune(self, limits: Sequence[str] = (), *, retry_lock: str = RETRY_LOCK) -> None:
        """Remove data that no snapshot uses; ``limits`` are restic's own arguments. Raises as :meth:`forget` does."""
        self._take_away(["prune", "--retry-lock", retry_lock, *limits], "prune")

    def _take_away(self, arguments: Sequence[str], action: str) -> None:
        ended = self._run(arguments, action, raise_on_failure=False)
        if ended.code == 0:
            return
        # Its own name may be one of the words, as in /srv/retention.
        place = self.url.removeprefix("local:").lower()
        said = next(
            (text for text in ended.errors if any(word in text.lower().replace(place, "") for word in _KEEPS)), ""
        )
        if ended.code in (1, 3) and said:
            raise Denied(
                action,
                self.target,
                f"its store refuses to delete ({exit_codes.first_line(said, 200)})",
                "It is append-only, or its objects are locked. Maintain it where deleting is allowed, or after the "
                "locks have passed. What it holds is whole, and the same task goes on from here.",
            )
        if ended.code == 3:
            text = exit_codes.first_line(ended.errors[0], 200) if ended.errors else "restic did not say which"
            raise Incomplete(action, self.target, f"some could not be removed ({text})", "Run it again.")
        raise exit_codes.problem(action, self.target, ended.code, ended.last_error)

    def check(
        self,
        *,
        read_data: str | None = None,
        snapshots: Sequence[str] = (),
        timeout: float | None = None,
        retry_lock: str | None = RETRY_LOCK,
    ) -> None:
        """Check structure and index; ``read_data`` (``5%``, ``1/10``, ``100%``) also reads that part of the data.

        With ``snapshots`` only what these need is looked at, where restic can do that (0.19). ``retry_lock`` ``None``
        takes no lock, so that nobody has to wait, and a prune meanwhile looks like damage. Backups do not: restic
        lists the snapshots before it reads the index. Raises :class:`Incomplete` with restic's first errors where
        something is wrong, and what :meth:`identify` raises where the server can not be reached any more.
        """
        arguments = ["check", *(("--no-lock",) if retry_lock is None else ("--retry-lock", retry_lock))]
        if read_data:
            arguments += ["--read-data-subset", read_data]
        if _release(self.version) >= _CHECKS_SNAPSHOTS:
            arguments += snapshots
        ended = self._run(arguments, "check", timeout=timeout, raise_on_failure=False)
        if ended.code == 0:
            return
        if ended.code != 1:
            raise exit_codes.problem("check", self.target, ended.code, ended.last_error)
        # restic has one code for damage and for a server that is gone.
        self.probe()
        said = "; ".join(exit_codes.first_line(text, 160) for text in ended.errors[:3])
        raise Incomplete(
            "check",
            self.target,
            f"it has errors ({said})" if said else "it has errors",
            "Do not prune it. Mirror it again from a good copy, or follow restic's guide on repairing repositories.",
        )

    # -- the binary -------------------------------------------------------------------------------------------

    def _run(
        self,
        arguments: Sequence[str],
        action: str,
        *,
        cwd: str | Path | None = None,
        timeout: float | None = None,
        on_status: Status | None = None,
        on_node: Status | None = None,
        on_text: Callable[[str], None] | None = None,
        expect_complete: bool = False,
        raise_on_failure: bool = True,
        pass_fds: Sequence[int] = (),
        stdout: int = subprocess.PIPE,
        beside: command.Beside | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> command.Ended:
        ended = command.run(
            [self.binary, "--json", "--no-cache", *self.flags, *arguments],
            env=self.environment(extra),
            pass_fds=pass_fds,
            action=action,
            target=self.target,
            cwd=cwd,
            timeout=timeout,
            on_status=on_status,
            on_node=on_node,
            on_text=on_text,
            stdout=stdout,
            beside=beside,
        )
        if ended.code != 0 and raise_on_failure:
            message = ended.errors[0] if ended.code == 3 and ended.errors else ended.last_error
            error = exit_codes.problem(action, self.target, ended.code, message)
            if expect_complete and ended.code == 3:
                error.result = {"errors": ended.errors}
            raise error
        return ended


def _backup(host: str, tags: Iterable[str], group_by: str) -> list[str]:
    arguments = ["backup", "--host", host, "--group-by", group_by, "--retry-lock", RETRY_LOCK]
    return arguments + [part for tag in tags for part in ("--tag", _tag(tag))]


def _binary(name: str) -> str:
    found = shutil.which(str(Path(name).expanduser()))
    if not found:
        raise NotFound(
            "find",
            f"the restic program {name!r}",
            "it is not installed here, or not on the PATH",
            "Install restic 0.18 or newer on the machine that runs the task, or set repository.restic to its path.",
        )
    return str(Path(found).absolute())


def _version(binary: str) -> str:
    ended = command.run(
        [binary, "version", "--json"],
        env=command.environment({}),
        action="run",
        target=f"the restic program {binary}",
        timeout=30,
    )
    message = ended.message("version") or {}
    text = str(message.get("version") or "")
    if not _release(text):
        raise InvalidInput(
            "use",
            f"the restic program {binary}",
            f"it does not say its version ({exit_codes.first_line(ended.last_error, 120) or 'no answer'})",
            "Install restic 0.18 or newer.",
        )
    if _release(text) < MINIMUM:
        raise InvalidInput(
            "use", f"the restic program {binary}", f"it is version {text}, too old", "Install restic 0.18 or newer."
        )
    return text


def _release(version: str) -> tuple[int, ...]:
    """``(0, 19)`` of ``0.19.1``; empty where it is no version."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()


def _password(options: Mapping[str, Any]) -> str:
    found = password.given(options, "repository.") or password.of_environment()
    if found is None:
        raise InvalidInput(
            "open",
            f"repository {printable(str(options.get('url')))}",
            "it has no password",
            "Set repository.password, repository.password_file or repository.password_command.",
        )
    return found


def _mounted(options: Mapping[str, Any], url: str) -> dict[str, Any] | None:
    """The volume by which movers get the directory; :class:`InvalidInput` for one by which they cannot."""
    volume: dict[str, Any] | None = options.get("volume")
    if not volume:
        return None
    target = f"repository.volume of {printable(url)}"
    if url.startswith("s3:") or not is_raw(url):
        raise InvalidInput(
            "use", target, "the repository is no directory", "Leave it out: movers reach it as this machine does."
        )
    kind = next(iter(volume))
    if len(volume) > 1 or not isinstance(volume[kind], dict):
        raise InvalidInput(
            "use",
            target,
            "it is not one volume",
            "Write it as in a pod, for example volume: {nfs: {server: nas.example.com, path: /export/muster}}.",
        )
    if kind in _NOT_SHARED:
        raise InvalidInput(
            "use",
            target,
            f"a volume of the kind {kind} is not the same one in every namespace and pod",
            "Movers run in several namespaces. Name the storage itself, such as nfs or cephfs.",
        )
    return volume


def held(found: Iterable[Snapshot]) -> list[Held]:
    """The same snapshots, as plans want them."""
    return [Held(one.id, one.tree, one.host, one.tags, clock.parse(one.time), one.original) for one in found]


def _snapshot(entry: Mapping[str, Any]) -> Snapshot:
    summary = entry.get("summary") or {}
    # restic writes the zone of the machine, which is another one elsewhere and when summer ends.
    time = clock.iso(clock.parse(str(entry["time"]))) if entry.get("time") else ""
    return Snapshot(
        id=str(entry["id"]),
        tree=str(entry.get("tree", "")),
        time=time,
        host=str(entry.get("hostname", "")),
        tags=tuple(entry.get("tags") or ()),
        paths=tuple(entry.get("paths") or ()),
        parent=entry.get("parent"),
        files=summary.get("total_files_processed"),
        bytes=summary.get("total_bytes_processed"),
        original=entry.get("original"),
    )


def _key(entry: Mapping[str, Any]) -> Key:
    return Key(
        id=str(entry["id"]),
        host=str(entry.get("hostName") or ""),
        user=str(entry.get("userName") or ""),
        created=clock.iso(clock.parse(str(entry["created"]).replace(" ", "T") + "Z")),
        current=bool(entry.get("current")),
    )


def _tag(tag: str) -> str:
    if "," in tag:
        raise InvalidInput("use", f"tag {tag!r}", "restic separates tags by commas", "Leave the comma out.")
    return tag
