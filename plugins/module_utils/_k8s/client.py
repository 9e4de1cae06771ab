# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A thin client for one cluster: raw JSON over the ``kubernetes`` package's authenticated transport.

The package's generated models are slow and drop fields that they do not know, so only its configuration and transport
are used. Objects are plain dictionaries as the server sends them. Safe to call from many threads.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock, exchange
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import budget, command_stream

if TYPE_CHECKING:
    import kubernetes
    import urllib3
else:
    kubernetes, urllib3 = Package("kubernetes"), Package("urllib3")

# The others come with it.
REQUIREMENT = Requirement("kubernetes", ("kubernetes", "urllib3", "websocket"))

JSON = dict[str, Any]
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
PAGE = 1000
# Up to here every namespace is asked by itself; above, one list over the whole cluster is cheaper.
FEW_NAMESPACES = 6
FIELD_MANAGER = "muster.container_dr"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
# Asks for lists without the objects' content, which may be many times larger.
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Seconds of pauses and further attempts after which a server that did answer once is given up: time for a restart, a
# short partition.
PATIENCE = 60.0
# The same for faults that a server reports itself; an API without a backend answers 503 for ever.
FAULT_PATIENCE = 12.0
# Seconds after a broken connection for which a denial is doubted.
_STARTING = 20.0
_RETRY_STATUS = frozenset({429, 500, 502, 503, 504})
_FIRST_PAGE = 100
# How long a server may take for an answer that costs it nothing, and how long it is asked.
_GLANCE = 10.0
# Seconds after its time at which a watch that says nothing is given up.
_SILENCE = 10.0
_PAGE_BYTES = 2 * 1024 * 1024


class ApiError(MusterError):
    """An answer of the API server other than success, or one that makes no sense.

    ``status`` is the HTTP code, ``cause`` the server's machine-readable reason (``AlreadyExists``, ``Conflict``,
    ``Forbidden``, ``Invalid``, ``Expired``, …), ``details`` the ``details`` of its Status object.
    """

    def __init__(self, action: str, target: str, status: int, body: JSON, hint: str = "") -> None:
        self.status = status
        self.cause = str(body.get("reason") or "")
        self.details: JSON = body.get("details") or {}
        super().__init__(action, target, str(body.get("message") or f"the server answered {status}"), hint)


class ApiNotFound(ApiError, NotFound):
    """404: the object, or the whole resource, is not there."""


class ApiDenied(ApiError, Denied):
    """401 or 403."""


def _error(action: str, target: str, status: int, body: JSON) -> ApiError:
    if status == 404:
        return ApiNotFound(action, target, status, body)
    if status == 401:
        return ApiDenied(action, target, status, body, "The credentials are not valid for this cluster; renew them.")
    if status == 403:
        return ApiDenied(action, target, status, body, "Grant this permission to the identity in use.")
    return ApiError(action, target, status, body)


@dataclass(frozen=True)
class Resource:
    """One kind that the server serves, from discovery; ``status_apart``: its status has requests of its own."""

    group: str
    version: str
    name: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]
    preferred: bool = True
    status_apart: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """``deployments.apps``; the core group has no suffix: ``pods``."""
        return f"{self.name}.{self.group}" if self.group else self.name

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, or of one object."""
        return object_path(self.api_version, self.name, namespace if self.namespaced else None, name, subresource)


def object_path(
    api_version: str,
    resource: str,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """``("apps/v1", "deployments", "shop", "api")`` gives ``/apis/apps/v1/namespaces/shop/deployments/api``."""
    parts = ["", "apis" if "/" in api_version else "api", api_version]
    if namespace:
        parts += ["namespaces", namespace]
    parts.append(resource)
    # Names of roles may have spaces, question marks and number signs in them.
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


@dataclass(frozen=True)
class Page:
    """A part of a list: its objects as the server sends them, whose ``apiVersion`` and ``kind`` it says but once.

    ``version`` is the resourceVersion that all pages of the list share.
    """

    items: list[JSON]
    api_version: str
    kind: str
    version: str


ExecResult = exchange.Result


class Watch:
    """A stream of changes, each ``{"type": "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK", "object": {...}}``.

    It ends when the server ends it, or when any thread calls :meth:`close`. Raises :class:`ApiError` for an error that
    the server sends in it, and :class:`Unavailable` where the connection breaks.
    """

    def __init__(self, answer: Any, path: str, broken: Callable[[Exception], Unavailable]) -> None:
        self._answer = answer
        self._path = path
        self._broken = broken
        self._closed = False

    def __iter__(self) -> Iterator[JSON]:
        try:
            for event in self._events():
                if event.get("type") == "ERROR":
                    body = event.get("object") or {}
                    raise _error("watch", self._path, int(body.get("code") or 500), body)
                yield event
        finally:
            self._answer.close()

    def _events(self) -> Iterator[JSON]:
        rest = b""
        try:
            # A piece is what the server has sent at once, be it a part of a line or many.
            for piece in self._answer.stream(None):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    event = json.loads(line) if line.strip() else None
                    if isinstance(event, dict):
                        yield event
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # Whoever is closed while he reads stumbles over any of these.
            if not self._closed:
                raise self._broken(error) from None

    def close(self) -> None:
        """End it now, also while another thread waits for the next change."""
        self._closed = True
        connection = getattr(self._answer, "connection", None)
        open_socket = getattr(connection, "sock", None)
        if open_socket is not None:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)


class Cluster:
    """A connection to one API server."""

    # What its clock is ahead of ours, as of its last answer.
    _ahead = timedelta()

    def __init__(self, configuration: Any, name: str, headers: Mapping[str, Any] | None = None) -> None:
        self._configuration = configuration
        self._api = kubernetes.client.ApiClient(configuration)
        self._headers: dict[str, Any] = dict(headers or {})
        self.name = name
        self.host: str = configuration.host
        self._lock = threading.Lock()
        self._budget = budget.Budget(configuration.connection_pool_maxsize)
        self._answered = False
        # When there was no connection the last time.
        self._cut_off: float | None = None

    @classmethod
    def connect(cls, params: Mapping[str, Any], *, workers: int = 16) -> Cluster:
        """Read the connection options (kubernetes.core's names) without talking to the server yet.

        Raises :class:`InvalidInput` for a kubeconfig or context that is not there.
        """
        configuration = kubernetes.client.Configuration()
        # Each worker may have a page fetched ahead for it; what does not fit is closed after its request.
        configuration.connection_pool_maxsize = 2 * workers
        kubeconfig = params.get("kubeconfig")
        if params.get("host"):
            configuration.host = params["host"]
        elif isinstance(kubeconfig, Mapping):
            _load(configuration, dict(kubeconfig), params.get("context"), "the kubeconfig given as a dictionary")
        else:
            _load_file(configuration, kubeconfig, params.get("context"))
        _override(configuration, params)
        headers: dict[str, Any] = {}
        if params.get("impersonate_user"):
            headers["Impersonate-User"] = params["impersonate_user"]
        if params.get("impersonate_groups"):
            headers["Impersonate-Group"] = list(params["impersonate_groups"])
        return cls(configuration, str(params.get("context") or configuration.host), headers)

    def now(self) -> datetime:
        """The time by the API server's clock, which all who talk to it share; ours before it has answered."""
        return clock.now() + self._ahead

    # -- requests ---------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        action: str | None = None,
        timeout: float = READ_TIMEOUT,
        raw: bool = False,
    ) -> Any:
        """Send one request and return the decoded JSON (``raw``: the body as text).

        Reads are repeated after broken connections, 429 and 5xx; writes only after answers that say that nothing
        was done (429, and 503 with a Retry-After), because a lost answer may hide a write that happened. Raises
        :class:`ApiError` or one of its kin for an answer, :class:`Unavailable` where there is none.
        """
        data = self._exchange(
            method, path, query=query, body=body, content_type=content_type, action=action, timeout=timeout
        )
        if raw:
            return data.decode("utf-8", "replace")
        return _decoded(data, action or "read", method, path) if data else {}

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        action: str | None = None,
        timeout: float = READ_TIMEOUT,
        accept: str = "application/json",
        patience: float = FAULT_PATIENCE,
        outage: float = PATIENCE,
    ) -> bytes:
        """:meth:`request` without decoding.

        ``patience``: seconds of pauses between answers of 5xx; ``outage``: the same while there is no connection, and
        between answers of 429. What attempts take counts too, but for the first one: a server that dies under a
        request is worth a second one, one that hangs is not worth twenty.
        """
        action = action or {"GET": "read", "DELETE": "delete", "POST": "create"}.get(method, "change")
        url = self._url(path, query)
        headers = {"Accept": accept, "User-Agent": FIELD_MANAGER}
        payload = None
        if body is not None:
            # Text is JSON already, as when an object is passed on without a look inside.
            text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"), ensure_ascii=False)
            payload = _NO_YAML.sub(_escaped, text).encode()
            headers["Content-Type"] = content_type
        waited = 0.0
        for attempt in itertools.count(1):
            began = time.monotonic()
            try:
                with self._budget:
                    answer = self._send(method, url, headers, payload, timeout)
            except urllib3.exceptions.HTTPError as error:
                waited += time.monotonic() - began if attempt > 1 else 0.0
                refused = isinstance(error, urllib3.exceptions.NewConnectionError)
                self._cut_off = time.monotonic()
                enough = waited >= outage if self._answered else attempt >= 3
                if enough or (method != "GET" and not refused):
                    raise self._unanswered(action, path, error) from None
                waited += _rest(attempt, None)
                continue
            self._answered = True
            self._compare(answer.headers.get("Date"))
            if answer.status == 429:
                self._budget.too_many()
            else:
                self._budget.taken()
            if answer.status < 400:
                data: bytes = answer.data
                return data
            waited += time.monotonic() - began if attempt > 1 else 0.0
            retry_after = answer.headers.get("Retry-After")
            repeat = (
                answer.status in _RETRY_STATUS
                if method == "GET"
                else answer.status == 429 or (answer.status == 503 and retry_after is not None)
            )
            starting = answer.status in (401, 403) and self._starting()
            if not (starting or repeat) or waited >= (outage if starting or answer.status == 429 else patience):
                raise _error(action, path, answer.status, _status(answer.data))
            waited += _rest(attempt, retry_after)
        raise AssertionError("unreachable")

    def _compare(self, date: str | None) -> None:
        """Take note of the server's time."""
        with contextlib.suppress(TypeError, ValueError):
            self._ahead = parsedate_to_datetime(date or "") - clock.now()

    def _starting(self) -> bool:
        """Whether the server may have started just now: it denies everybody until it has read its roles."""
        return self._cut_off is not None and time.monotonic() - self._cut_off < _STARTING

    def _url(self, path: str, query: Mapping[str, Any] | None) -> str:
        return self.host + path + ("?" + urlencode(query) if query else "")

    def _unanswered(self, action: str, path: str, error: Exception) -> Unavailable:
        return Unavailable(
            action,
            f"{path} at {self.host}",
            f"the API server does not answer ({_reason(error)})",
            "Check that the cluster runs and can be reached from here, and that kubeconfig and context "
            "name the right one.",
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        payload: bytes | None,
        timeout: float,
        *,
        whole: bool = True,
    ) -> Any:
        return self._api.rest_client.pool_manager.request(
            method,
            url,
            body=payload,
            headers=self._signed(headers),
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout),
            retries=False,
            preload_content=whole,
        )

    def _signed(self, headers: dict[str, str]) -> Any:
        """The headers of a request with those that say who asks."""
        signed: Any = urllib3.HTTPHeaderDict(headers)
        # Asks the package each time, so that tokens of exec plugins and in-cluster files are renewed.
        with self._lock:
            self._api.update_params_for_auth(signed, [], ["BearerToken"])
        for name, value in self._headers.items():
            for each in value if isinstance(value, list) else [value]:
                signed.add(name, each)
        return signed

    def get(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        action: str = "read",
        patience: float = FAULT_PATIENCE,
    ) -> JSON:
        """One object, or any JSON document of the server."""
        data = self._exchange("GET", path, query=query, action=action, patience=patience)
        return _decoded(data, action, "GET", path)

    def find(self, path: str) -> JSON | None:
        """One object, or ``None`` where it does not exist."""
        try:
            return self.get(path)
        except ApiNotFound:
            return None

    def pages(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        limit: int = PAGE,
        accept: str = "application/json",
        patience: float = FAULT_PATIENCE,
        outage: float = PATIENCE,
    ) -> Iterator[Page]:
        """A collection page by page at one resourceVersion; the next page is fetched while one is worked on.

        Pages begin small and grow to about 2 MiB or ``limit`` objects, so that large objects do not fill the memory.
        Raises :class:`ApiError` with status 410 when the server forgets that version before the end is reached, and
        for an answer that is no list of objects with names.
        """

        def fetch(token: str | None, size: int) -> bytes:
            arguments: dict[str, Any] = {"limit": size, **(query or {})}
            if token:
                # The token says the version; the server refuses to be told twice.
                arguments = {name: value for name, value in arguments.items() if not name.startswith("resourceVersion")}
                arguments["continue"] = token
            return self._exchange(
                "GET", path, query=arguments, action="list", accept=accept, patience=patience, outage=outage
            )

        with ThreadPoolExecutor(1) as ahead:
            data = fetch(None, min(_FIRST_PAGE, limit))
            while True:
                size = len(data)
                document = _decoded(data, "list", "GET", path)
                # Two pages at a time are enough to hold.
                del data
                items = _items(document, path)
                metadata = document.get("metadata") or {}
                token = metadata.get("continue")
                upcoming = None
                if token:
                    fitting = _PAGE_BYTES * max(len(items), 1) // max(size, 1)
                    upcoming = ahead.submit(fetch, token, max(10, min(limit, fitting)))
                yield Page(
                    items,
                    str(document.get("apiVersion") or ""),
                    str(document.get("kind") or "").removesuffix("List"),
                    str(metadata.get("resourceVersion") or ""),
                )
                if upcoming is None:
                    return
                del document, items
                data = upcoming.result()

    def list(self, path: str, query: Mapping[str, Any] | None = None, *, page: int = PAGE) -> Iterator[JSON]:
        """All objects of a collection, page by page at one resourceVersion.

        An expired continue token starts the list again; objects seen before the restart are not repeated.
        Each object has ``apiVersion`` and ``kind``, which the server leaves out inside lists.
        """
        seen: set[str] = set()
        for restarts in itertools.count():
            try:
                for part in self.pages(path, query, limit=page):
                    for item in part.items:
                        uid = item.get("metadata", {}).get("uid", "")
                        if restarts and uid in seen:
                            continue
                        seen.add(uid)
                        item.setdefault("apiVersion", part.api_version)
                        item.setdefault("kind", part.kind)
                        yield item
                return
            except ApiError as error:
                if error.status != 410 or restarts >= 3:
                    raise

    def watch(self, path: str, version: str, *, seconds: int) -> Watch:
        """The changes of a collection from a resourceVersion on, for about so many seconds; then ask again.

        Nothing is repeated here: who watches has to know what was missed. Raises :class:`ApiError` (410 where the
        server has forgotten the version) or :class:`Unavailable`, as reading from it does.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
        }
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        try:
            # The server ends it in time; a connection that says nothing for longer is dead.
            answer = self._send("GET", self._url(path, query), headers, None, seconds + _SILENCE, whole=False)
            body = _status(answer.data) if answer.status >= 400 else {}
        except urllib3.exceptions.HTTPError as error:
            raise self._unanswered("watch", path, error) from None
        if answer.status >= 400:
            raise _error("watch", path, answer.status, body)
        return Watch(answer, path, partial(self._unanswered, "watch", path))

    def create(self, path: str, body: JSON, *, dry_run: bool = False, manager: str = FIELD_MANAGER) -> JSON:
        """POST to a collection."""
        query = _write_query(manager, dry_run)
        document: JSON = self.request("POST", path, query=query, body=body, action="create")
        return document

    def replace(self, path: str, body: JSON, *, dry_run: bool = False, manager: str = FIELD_MANAGER) -> JSON:
        """PUT one object; the ``resourceVersion`` in it, if any, must still be the current one."""
        document: JSON = self.request("PUT", path, query=_write_query(manager, dry_run), body=body, action="replace")
        return document

    def patch(
        self, path: str, body: Any, *, content_type: str = MERGE, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> JSON:
        """PATCH one object (merge patch unless said otherwise)."""
        document: JSON = self.request(
            "PATCH", path, query=_write_query(manager, dry_run), body=body, content_type=content_type
        )
        return document

    def apply(
        self, path: str, body: JSON, *, force: bool = True, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> JSON:
        """Server-side apply."""
        query = {**_write_query(manager, dry_run), "force": "true" if force else "false"}
        document: JSON = self.request("PATCH", path, query=query, body=body, content_type=APPLY, action="apply")
        return document

    def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        version: str | None = None,
        propagation: str = "Background",
        grace: int | None = None,
    ) -> bool:
        """Delete one object; with ``uid`` only that very one, with ``version`` (resourceVersion) only as it was seen.

        False where it is not there (any more).
        """
        body: JSON = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        conditions = {"uid": uid, "resourceVersion": version}
        if uid or version:
            body["preconditions"] = {name: value for name, value in conditions.items() if value}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", path, body=body, action="delete")
        except ApiNotFound:
            return False
        return True

    def wait(
        self,
        path: str,
        ready: Callable[[JSON | None], bool],
        *,
        timeout: float,
        what: str,
        interval: float = 1.0,
    ) -> JSON | None:
        """Read ``path`` until ``ready`` says so, and return what was read last (``None``: gone).

        Raises :class:`Unavailable` with ``what`` when ``timeout`` seconds have passed.
        """
        began = time.monotonic()
        while True:
            current = self.find(path)
            if ready(current):
                return current
            if time.monotonic() >= began + timeout:
                raise Unavailable("wait for", what, f"it was not so after {timeout:g} seconds", f"Look at {path}.")
            time.sleep(clock.pause(time.monotonic() - began, interval))

    # -- the cluster ------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The server's ``gitVersion``, such as ``v1.34.10``; also the cheapest proof that it answers."""
        return str(self.get("/version", action="reach the cluster through")["gitVersion"])

    def answers(self) -> bool:
        """Whether the server answers anything at all now."""
        try:
            self._exchange("GET", "/version", timeout=_GLANCE, patience=_GLANCE, outage=_GLANCE)
        except ApiError:
            return True
        except Unavailable:
            return False
        return True

    def uid(self) -> str:
        """The uid of kube-system: what tells clusters apart even if they share a name."""
        return str(self.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str | None,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
    ) -> ExecResult:
        """Run a command in a container as the identity of all other requests.

        Raises :class:`Unavailable` where the connection fails or breaks, and when the command does not end within
        ``timeout`` seconds, connecting included; :class:`ApiError` where it could not be started.
        """
        target, url, headers = self._command(namespace, pod, container, command, ["stdout", "stderr"])
        return _result(target, command_stream.run(self._configuration, url, headers, target, timeout))

    def carry(
        self,
        namespace: str,
        pod: str,
        container: str | None,
        command: Sequence[str],
        *,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: exchange.Source | None = None,
    ) -> ExecResult:
        """As :meth:`exec`, for a command with much output (``take``) or with an input (``source``).

        See :class:`exchange.Exchange`; of what is not taken only the end is in the result.
        """
        streams = ["stdout", "stderr", *(["stdin"] if source else [])]
        target, url, headers = self._command(namespace, pod, container, command, streams)
        ended = command_stream.carry(
            self._configuration,
            url,
            headers,
            target,
            timeout=timeout,
            stall=stall,
            check=check,
            take=take,
            source=source,
        )
        return _result(target, ended)

    def _command(
        self, namespace: str, pod: str, container: str | None, command: Sequence[str], streams: Sequence[str]
    ) -> tuple[str, str, Iterable[tuple[str, str]]]:
        """How errors call a command in a container, where to run it, and with which headers."""
        query = [("command", word) for word in command] + [(name, "true") for name in streams]
        if container:
            query.append(("container", container))
        url = f"{self.host}{object_path('v1', 'pods', namespace, pod, 'exec')}?{urlencode(query)}"
        headers: Iterable[tuple[str, str]] = self._signed({"User-Agent": FIELD_MANAGER}).iteritems()
        return f"{command[0]!r} in pod {namespace}/{pod}", url, headers

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        tail: int = 50,
        limit: int | None = None,
        previous: bool = False,
        patience: float = FAULT_PATIENCE,
    ) -> str:
        """The last lines that a container wrote; empty where there are none to be had.

        ``limit``: no more bytes than these, from the first of those lines on. ``previous``: of the instance before.
        """
        query: dict[str, Any] = {"tailLines": tail}
        if container:
            query["container"] = container
        if limit:
            query["limitBytes"] = limit
        if previous:
            query["previous"] = "true"
        path = object_path("v1", "pods", namespace, pod, "log")
        try:
            return self._exchange("GET", path, query=query, patience=patience).decode("utf-8", "replace")
        except ApiError:
            return ""


def _load_file(configuration: Any, kubeconfig: Any, context: str | None) -> None:
    given = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG", "~/.kube/config")
    files = [Path(part).expanduser() for part in given.split(os.pathsep) if part]
    missing = [str(file) for file in files if not file.is_file()]
    if files and len(missing) < len(files):
        joined = os.pathsep.join(str(file) for file in files if file.is_file())
        _load(configuration, joined, context, f"kubeconfig {given}")
    elif kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    else:
        raise InvalidInput(
            "read",
            f"kubeconfig {', '.join(missing)}",
            "there is no such file",
            "Set kubeconfig or K8S_AUTH_KUBECONFIG.",
        )


def _load(configuration: Any, source: str | JSON, context: str | None, label: str) -> None:
    try:
        if isinstance(source, dict):
            kubernetes.config.load_kube_config_from_dict(source, context=context, client_configuration=configuration)
        else:
            kubernetes.config.load_kube_config(source, context=context, client_configuration=configuration)
    except kubernetes.config.ConfigException:
        raise InvalidInput(
            "use", f"context {context or '(current)'} of {label}", *_context_problem(source, context)
        ) from None
    except Exception as error:
        # The package's parser may quote the file, which holds keys; its own words stay out.
        raise InvalidInput(
            "read", label, f"it is not a valid kubeconfig ({type(error).__name__})", "Try kubectl config view with it."
        ) from None


def _context_problem(source: str | JSON, context: str | None) -> tuple[str, str]:
    try:
        if isinstance(source, dict):
            names = [str(entry["name"]) for entry in source["contexts"]]
        else:
            names = [str(entry["name"]) for entry in kubernetes.config.list_kube_config_contexts(source)[0]]
    except Exception:
        names = []
    if context and context not in names:
        return "there is no such context", f"Contexts there: {', '.join(names) or 'none'}."
    return "it does not describe a cluster and a user that can be used", "Try kubectl config view --minify with it."


def _override(configuration: Any, params: Mapping[str, Any]) -> None:
    if params.get("api_key"):
        configuration.api_key = {"authorization": f"Bearer {params['api_key']}"}
    for option, attribute in (("ca_cert", "ssl_ca_cert"), ("client_cert", "cert_file"), ("client_key", "key_file")):
        if params.get(option):
            setattr(configuration, attribute, params[option])
    for option in ("username", "password", "proxy"):
        if params.get(option):
            setattr(configuration, option, params[option])
    if params.get("validate_certs") is not None:
        configuration.verify_ssl = params["validate_certs"]


# An apply is read as YAML, which has JSON's escapes but no surrogate pairs, and for which some characters end a line.
_NO_YAML = re.compile("[\\x7f-\\uffff]")


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _status(data: bytes) -> JSON:
    try:
        body = json.loads(data)
    except ValueError:
        return {"message": data.decode("utf-8", "replace").strip()[:300]}
    return body if isinstance(body, dict) else {}


def _decoded(data: bytes, action: str, method: str, path: str) -> JSON:
    """The document in an answer. Raises :class:`ApiError` where it is none, as a broken backend may send."""
    try:
        document = json.loads(data)
    except ValueError:
        # Not quoted: what was cut off may be a Secret.
        raise _nonsense(action, method, path, "is no JSON") from None
    if not isinstance(document, dict):
        raise _nonsense(action, method, path, "is no JSON object")
    return document


def _items(document: JSON, path: str) -> list[JSON]:
    items = document.get("items") or []
    if not isinstance(items, list):
        raise _nonsense("list", "GET", path, "has items that are no list")
    for item in items:
        metadata = item.get("metadata") if isinstance(item, dict) else None
        if not isinstance(metadata, dict) or not metadata.get("name"):
            raise _nonsense("list", "GET", path, "has items without a name")
    return items


def _nonsense(action: str, method: str, path: str, what: str) -> ApiError:
    body = {"message": f"the answer to {method} {path} {what}"}
    return ApiError(action, path, 200, body, "Look at what serves this API.")


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", None) or error)
    return text.rsplit(": ", 1)[-1] if len(text) > 120 else text


def _result(target: str, ended: command_stream.Ended) -> ExecResult:
    output = (ended.stdout.decode("utf-8", "replace"), ended.stderr.decode("utf-8", "replace"))
    return ExecResult(_exit_code(target, _status(ended.status)), *output)


def _exit_code(target: str, status: JSON) -> int:
    """The exit code in the server's word on a command. Raises :class:`ApiError` where it never ran."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
            return int(cause["message"])
    hint = "Look whether the container's image has this command; many have no shell."
    raise ApiError("run", target, int(status.get("code") or 500), status, hint)


def _rest(attempt: int, retry_after: str | None) -> float:
    """Sleep before the next attempt and return for how many seconds."""
    if retry_after and retry_after.isdigit():
        # Not all at once: those who were turned away together would come back together.
        seconds = min(float(retry_after), 30.0) + random.uniform(0.0, 0.5)
    else:
        seconds = min(0.2 * float(2 ** min(attempt, 10)), 5.0) * random.uniform(0.5, 1.0)
    time.sleep(seconds)
    return seconds


def _write_query(manager: str, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": manager}
    if dry_run:
        query["dryRun"] = "All"
    return query
