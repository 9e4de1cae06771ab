# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Logins for registries: where they come from, and how they are turned into an Authorization header."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible_collections.muster.container_dr.plugins.module_utils._core import process
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, InvalidInput, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import DOCKER_HUB
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import (
    Answer,
    Task,
    Transport,
    server_words,
)

_HELPER_TIMEOUT = 30
# Seconds for which a worker leaves a token to another that fetches it. That one may itself wait for a connection.
_PATIENCE = 5.0
# Seconds that a token holds where its service does not say, as the specification has it.
_LIFETIME = 60
_BEYOND = "its token service refuses rights in another repository as well"
_HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Login:
    """One way to log in; ``source`` says where it comes from and is all that is ever shown besides the user."""

    username: str
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")
    source: str = "the registry's options"

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __str__(self) -> str:
        return f"user {self.username or '(token)'} from {self.source}"


class Keyring:
    """All logins that are known, asked for by host and repository; the best first.

    What the options say for a place holds alone: a wrong password there is an error and not a reason to try others.
    Elsewhere pull secrets come first, then the files and credential helpers of docker and podman, and last the logins
    that the options give for other paths of the same host.
    """

    def __init__(self) -> None:
        self._chosen: list[tuple[str, str, Login]] = []
        self._entries: list[tuple[str, str, Login]] = []
        self._files: list[tuple[Path, str | None]] = []
        self._found: dict[str, list[tuple[str, str, Login]]] = {}
        self._lock = threading.Lock()

    def add(self, host: str, login: Login, path: str = "") -> None:
        """The login that the options give for a host, or for what lies below a path there."""
        self._chosen.append((host, path, login))

    def add_document(self, document: Any, source: str) -> None:
        """The ``auths`` of a docker configuration, such as a pull secret holds."""
        self._entries += _entries(document, source)

    def add_file(self, path: str, host: str | None = None) -> None:
        """A file as ``docker login`` or ``podman login`` writes it, only for ``host`` if given."""
        if not Path(path).is_file():
            raise InvalidInput(
                "read", f"auth_file {path}", "there is no such file", "Log in first or correct the path."
            )
        self._files.append((Path(path), host))

    def candidates(self, host: str, repository: str) -> list[Login]:
        """Logins to try, in order, without repeats."""
        chosen = _matching(self._chosen, host, repository)
        if chosen:
            # The most particular alone: a wrong one would otherwise be covered up by one for the whole host.
            nearest = len(chosen[0][0])
            return _unique([login for path, login in chosen if len(path) == nearest])
        with self._lock:
            if host not in self._found:
                self._found[host] = list(self._from_files(host))
        known = [login for _path, login in _matching(self._entries + self._found[host], host, repository)]
        return _unique([*known, *(login for other, _path, login in self._chosen if other == host)])

    def _from_files(self, host: str) -> Iterator[tuple[str, str, Login]]:
        for path, only in [*self._files, *((path, None) for path in _usual_files())]:
            if only not in (None, host):
                continue
            try:
                document = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if not isinstance(document, dict):
                continue
            # As docker does: a helper for this registry, what the file holds, the helper for all the rest.
            helpers = document.get("credHelpers") or {}
            names = [host, *(sorted(_HUB_KEYS) if host == DOCKER_HUB else ())]
            own = next((helpers[name] for name in names if helpers.get(name)), None)
            yield from _ask_helper(own, host)
            yield from _entries(document, str(path))
            if own is None:
                yield from _ask_helper(document.get("credsStore"), host)


def _matching(entries: Sequence[tuple[str, str, Login]], host: str, repository: str) -> list[tuple[str, Login]]:
    """Logins for a repository with the path they are for, the longest path first."""
    found = [
        (path, login)
        for pattern, path, login in entries
        if (host == pattern or _fits(host, pattern)) and (not path or f"{repository}/".startswith(f"{path}/"))
    ]
    return sorted(found, key=lambda entry: -len(entry[0]))


def _fits(host: str, pattern: str) -> bool:
    """Whether a host fits the glob of a pull secret as a kubelet reads it: ``*`` is one label, and no port."""
    (name, _colon, port), (glob, _colon, wanted) = host.partition(":"), pattern.partition(":")
    labels, globs = name.split("."), glob.split(".")
    return port == wanted and len(labels) == len(globs) and all(map(fnmatch.fnmatchcase, labels, globs))


def _unique(logins: Sequence[Login]) -> list[Login]:
    found: dict[tuple[str, str, str], Login] = {}
    for login in logins:
        found.setdefault((login.username, login.password, login.identity_token), login)
    return list(found.values())


def _usual_files() -> list[Path]:
    """The files of podman and docker that are there, in the order in which podman reads them."""
    home, named = _home(), os.environ.get("REGISTRY_AUTH_FILE")
    candidates = [
        *([Path(named)] if named else []),
        _runtime_directory() / "auth.json",
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json",
        Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
        home / ".dockercfg",
    ]
    return [path for path in candidates if _is_file(path)]


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # A user without a name and without HOME, as in containers, has no files either.
        return Path("/nonexistent")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A folder above is closed to us.
        return False


def _runtime_directory() -> Path:
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return Path(directory) / "containers" if directory else Path(f"/run/containers/{os.getuid()}")


def _entries(document: Any, source: str) -> list[tuple[str, str, Login]]:
    auths = document.get("auths", document) if isinstance(document, Mapping) else {}
    result: list[tuple[str, str, Login]] = []
    for key, value in auths.items() if isinstance(auths, Mapping) else ():
        if not isinstance(value, Mapping):
            continue
        host, _slash, path = re.sub(r"^https?://", "", str(key)).strip("/").partition("/")
        host = DOCKER_HUB if host in _HUB_KEYS else host
        path = "" if path in ("v1", "v2") else path
        username, password = str(value.get("username") or ""), str(value.get("password") or "")
        if value.get("auth"):
            try:
                decoded = base64.b64decode(str(value["auth"])).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            username, _colon, password = decoded.partition(":")
        token = str(value.get("identitytoken") or "")
        if token or password:
            result.append((host, path, Login(username, password.rstrip("\x00"), token, source)))
    return result


def _ask_helper(name: Any, host: str) -> Iterator[tuple[str, str, Login]]:
    """The login that a credential helper has for a host, if there is a helper and it has one."""
    key = "https://index.docker.io/v1/" if host == DOCKER_HUB else host
    program = f"docker-credential-{name}"
    if not name:
        return
    try:
        answer = process.run([program, "get"], data=key.encode(), timeout=_HELPER_TIMEOUT)
        document = json.loads(answer.out) if answer.code == 0 else {}
        username, secret = str(document["Username"]), str(document["Secret"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    token = username == "<token>"
    yield host, "", Login("", "", secret, program) if token else Login(username, secret, "", program)


@dataclass(frozen=True)
class _Challenge:
    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


def _rights(scopes: Sequence[str]) -> set[tuple[str, str]]:
    parts = [scope.rpartition(":") for scope in scopes]
    return {(what, action) for what, _colon, actions in parts for action in actions.split(",")}


_Key = tuple[int, tuple[str, ...]]
"""A login's turn, and the repository with the scopes that were asked for it."""


@dataclass
class Attempt:
    """The way of one request through the logins that are known for a repository, each tried once.

    Others are asked with what was accepted last: that one request is refused says nothing of theirs.
    """

    repository: str
    turn: int
    tried: int = 0


class Authorizer:
    """The Authorization header for one registry.

    Nothing is sent until the registry asks. A login that is refused makes room for the next that is known for the
    repository; when none is left, :class:`Denied` names registry and users.
    """

    def __init__(self, transport: Transport, host: str, base: str, keyring: Keyring) -> None:
        self._transport = transport
        self._host = host
        self._base = base
        self._keyring = keyring
        self._challenge: _Challenge | None = None
        # That one repository wants a password says nothing of others: those that do, and those that refused it and
        # are asked without.
        self._private: set[str] = set()
        self._public: set[str] = set()
        self._turn: dict[str, int] = {}
        self._tokens: dict[_Key, tuple[str, float]] = {}
        self._wider: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._renewed: set[tuple[str, ...]] = set()
        self._beyond: set[_Key] = set()
        self._used: dict[str, None] = {}
        self._lock = threading.Lock()
        self._fetching: dict[_Key, threading.Lock] = {}

    @property
    def used(self) -> list[str]:
        """The logins that the registry has accepted, as user and source."""
        return list(self._used)

    def begin(self, repository: str) -> Attempt:
        """A new request to a repository, which starts with the login that was accepted last."""
        return Attempt(repository, self._turn.get(repository, 0))

    def header(self, attempt: Attempt, scopes: Sequence[str], task: Task) -> str | None:
        """The header's value for a request; ``None`` to ask without.

        Scopes after the first are of other repositories. Where those are refused, :class:`Denied` leaves the login in
        its place: for the first scope alone it may well do.
        """
        repository = attempt.repository
        while True:
            with self._lock:
                challenge, login = self._challenge, self._login(attempt)
                key = (attempt.turn, (repository, *scopes))
                fetching = self._fetching.setdefault(key, threading.Lock())
            if challenge is None:
                return None
            if challenge.scheme == "basic":
                if repository in self._public or (login is None and repository not in self._private):
                    return None
                if login is None:
                    raise self._denied(repository, task, "no login suits it")
                if login.password or not login.identity_token:
                    return login.basic
            else:
                if key in self._beyond:
                    raise self._denied(repository, task, _BEYOND)
                # Tokens for different repositories are fetched side by side, the same one only once.
                held = fetching.acquire(timeout=_PATIENCE)
                try:
                    token = self._token(challenge, key, login, task)
                finally:
                    if held:
                        fetching.release()
                if token is not None:
                    return f"Bearer {token}"
                if len(scopes) > 1:
                    self._beyond.add(key)
                    raise self._denied(repository, task, _BEYOND)
            self._advance(attempt, task, "the login was refused")

    def refused(self, answer: Answer, attempt: Attempt, sent: str | None, task: Task) -> None:
        """Take a 401 or 403 in; returns where it makes sense to ask again, else raises :class:`Denied`."""
        challenge, repository = self._parse(answer, task), attempt.repository
        with self._lock:
            first = sent is None and answer.status == 401 and challenge is not None
            if challenge is not None:
                self._challenge = challenge
            if first:
                self._private.add(repository)
                self._public.discard(repository)
                return
            reason = "the login was refused" if answer.status == 401 else "its rights do not suffice"
            words = " ".join(filter(None, server_words(answer)))
            current = {f"Bearer {token}": key for key, (token, _end) in self._tokens.items()}
            login = self._login(attempt)
            if sent is None:
                self._advance(attempt, task, reason, words)
            elif sent in current:
                key = current[sent]
                del self._tokens[key]
                asked = self._wider.get(key[1], key[1][1:])
                wanted = challenge.scopes if challenge else ()
                if _rights(wanted) - _rights(asked):
                    # The registry wants other rights than the usual ones; what it names is asked for as well.
                    self._wider[key[1]] = (*asked, *wanted)
                elif answer.status == 401 and key[1] not in self._renewed:
                    self._renewed.add(key[1])  # it may just have expired
                elif len(key[1]) > 2:
                    raise self._denied(repository, task, reason, words)
                else:
                    self._advance(attempt, task, reason, words)
            elif login and sent == login.basic:
                try:
                    self._advance(attempt, task, reason, words)
                except Denied:
                    if answer.status != 401 or repository in self._private:
                        raise
                    self._public.add(repository)
            # Else another worker has replaced it meanwhile.

    def accepted(self, attempt: Attempt, scopes: Sequence[str], sent: str | None) -> None:
        """A request went through: others begin with its login, and the next refusal of its token means expiry again."""
        self._renewed.discard((attempt.repository, *scopes))
        login = self._login(attempt) if sent else None
        if login:
            self._turn[attempt.repository] = attempt.turn
        self._used[str(login) if login else "anonymous"] = None

    def _login(self, attempt: Attempt) -> Login | None:
        logins = self._keyring.candidates(self._host, attempt.repository)
        return logins[attempt.turn] if attempt.turn < len(logins) else None

    def _advance(self, attempt: Attempt, task: Task, reason: str, words: str = "") -> None:
        logins = self._keyring.candidates(self._host, attempt.repository)
        attempt.tried += 1
        if attempt.tried >= len(logins):
            raise self._denied(attempt.repository, task, reason, words)
        attempt.turn = (attempt.turn + 1) % len(logins)

    def _denied(self, repository: str, task: Task, reason: str, words: str = "") -> Denied:
        logins = self._keyring.candidates(self._host, repository)
        if not logins:
            reason = "it wants a login and none is known for it"
        reason += f" ({words})" if words else ""
        tried = "; tried " + ", ".join(str(login) for login in logins) if logins else ""
        return Denied(
            task.action,
            task.target,
            f"registry {self._host} denies access to {repository}: {reason}{tried}",
            "Set username and password (or auth_file) of this registry, or check the pull secret and its rights.",
        )

    def _token(self, challenge: _Challenge, key: _Key, login: Login | None, task: Task) -> str | None:
        """A bearer token, from the cache or from the token service; ``None`` where it refuses the login."""
        cached = self._tokens.get(key)
        if cached and cached[1] > time.monotonic():
            return cached[0]
        repository, *asked = key[1]
        scopes = self._wider.get(key[1], tuple(asked))
        service = [("service", challenge.service)] if challenge.service else []
        what = Task("log in for", f"{repository} at registry {self._host}")
        if login and login.identity_token:
            form = [("grant_type", "refresh_token"), ("refresh_token", login.identity_token), ("client_id", "muster")]
            answer = self._transport.request(
                "POST",
                challenge.realm,
                what,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode([*form, *service, ("scope", " ".join(scopes))]).encode(),
            )
        else:
            query = urlencode([*service, *(("scope", scope) for scope in scopes)])
            separator = "&" if "?" in challenge.realm else "?"
            answer = self._transport.request(
                "GET",
                f"{challenge.realm}{separator}{query}",
                what,
                headers={"Authorization": login.basic} if login else {},
            )
        if answer.status in (400, 401, 403):
            return None
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document.get("access_token") or "")
            lifetime = float(document.get("expires_in") or _LIFETIME)
        except (ValueError, AttributeError, TypeError, RecursionError):
            token, lifetime = "", 0.0
        if not token:
            said = " ".join(filter(None, (str(answer.status), *server_words(answer)))) if answer.status != 200 else ""
            raise Unavailable(
                task.action,
                task.target,
                f"the token service of registry {self._host} answered {said or 'without a token'}",
            )
        with self._lock:
            self._tokens[key] = (token, time.monotonic() + max(lifetime - 10, lifetime / 2))
        return token

    def _parse(self, answer: Answer, task: Task) -> _Challenge | None:
        """The challenge to follow: Bearer where it is offered, else Basic."""
        text = ", ".join(answer.headers.get_all("WWW-Authenticate") or [])
        bearer = re.search(r"\bBearer\s+(.*)", text, re.IGNORECASE)
        if bearer:
            # Another challenge may follow, with parameters of the same names.
            said = re.split(r",\s*\w+\s+\w+\s*=", bearer.group(1))[0]
            parts = {name.lower(): value for name, value in re.findall(r'(\w+)\s*=\s*"([^"]*)"', said)}
            if parts.get("realm"):
                realm = self._transport.follow(self._base, parts["realm"], task)
                return _Challenge("bearer", realm, parts.get("service", ""), tuple(parts.get("scope", "").split()))
        return _Challenge("basic") if re.search(r"\bBasic\b", text, re.IGNORECASE) else None
