# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One OCI registry: the verbs of distribution-spec 1.1 that a mirror needs, on raw bytes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from urllib.parse import urlencode, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Corrupt,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci import habits
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Authorizer, Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import (
    ACCEPT,
    OCI_INDEX,
    Descriptor,
    Manifest,
    digest_of,
    fallback_tag,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.side import (
    Chunks,
    Elsewhere,
    Rejected,
    Source,
    Target,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import (
    BREAKS,
    BROKEN,
    CHUNK,
    RETRY_STATUS,
    Answer,
    Task,
    Transport,
    backoff,
    server_words,
)

_AUTH_ATTEMPTS = 8
_PAGES = 100


class SessionLost(Exception):
    """An upload session broke or was refused; the upload may go on after a probe, or in a new one.

    ``invalid``: the registry holds what it was sent to be wrong.
    """

    def __init__(self, reason: str, *, invalid: bool = False) -> None:
        super().__init__(reason)
        self.invalid = invalid


class Registry:
    """A registry by its host; safe to call from many threads."""

    shares_blobs = False

    def __init__(self, host: str, transport: Transport, keyring: Keyring) -> None:
        self.host = host
        self._transport = transport
        network = habits.network_name(host)
        self._base = f"{transport.scheme(network)}://{network}/v2/"
        self._auth = Authorizer(transport, host, self._base, keyring)
        self._pulls_left: int | None = None
        self._without_referrers: set[str] = set()
        self._mounts = True
        self._lock = threading.Lock()

    @property
    def logins(self) -> list[str]:
        """The logins that it has accepted, as user and source, and ``anonymous`` where it wanted none."""
        return self._auth.used

    # -- manifests --------------------------------------------------------------------------------------------

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest with its bytes checked; ``None`` where the registry does not have it."""
        try:
            return self._manifest(repository, reference)
        except Corrupt:
            return self._manifest(repository, reference)  # its bytes may have been hurt on the way

    def _manifest(self, repository: str, reference: str) -> Manifest | None:
        where = self._name(repository, reference)
        task = Task("read", f"manifest {where}")
        if self._pulls_left is not None and self._pulls_left <= habits.PULLS_RESERVED:
            raise Unavailable(
                task.action,
                task.target,
                f"registry {self.host} allows only {self._pulls_left} more pulls for now, which are left to others",
                "Go on when its limit has been renewed, log in with an account that has a higher one, or name a "
                "registry in mirrors that holds these images.",
            )
        answer = self._manifest_answer("GET", repository, reference, task)
        if answer is None:
            return None
        wanted = reference if ":" in reference else None
        said = answer.headers.get("Docker-Content-Digest") if wanted is None else None
        return Manifest.parse(
            answer.body, answer.headers.get("Content-Type", ""), f"manifest {where}", wanted or said or None
        )

    def tag_digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag names now; ``None`` where there is no such tag."""
        task = Task("read", f"manifest {self._name(repository, tag)}")
        answer = self._manifest_answer("HEAD", repository, tag, task)
        if answer is None:
            return None
        digest = answer.headers.get("Docker-Content-Digest")
        if digest:
            return digest
        manifest = self.manifest(repository, tag)
        return manifest.digest if manifest else None

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the repository holds the manifest of that digest, its blobs aside."""
        task = Task("look for", f"manifest {self._name(repository, digest)}")
        return self._manifest_answer("HEAD", repository, digest, task) is not None

    def _manifest_answer(self, method: str, repository: str, reference: str, task: Task) -> Answer | None:
        answer = self._call(method, repository, f"manifests/{reference}", task, headers={"Accept": ACCEPT})
        left = habits.pulls_left(self.host, answer.headers)
        self._pulls_left = self._pulls_left if left is None else left
        return None if self._absent(answer) else self._expect(answer, task, 200)

    def put_manifest(
        self, repository: str, reference: str, manifest: Manifest, *, replaces: Manifest | None = None
    ) -> bool:
        """Store a manifest's bytes under a tag or its digest; true where the registry indexed it as a referrer.

        With ``replaces`` only where the tag still names that; :class:`Conflict` where the registry sees that it does
        not (most do not look).
        """
        task = Task("write", f"manifest {self._name(repository, reference)}")
        condition = {"If-Match": f'"{replaces.digest}"'} if replaces else {}
        answer = self._call(
            "PUT",
            repository,
            f"manifests/{reference}",
            task,
            push=True,
            headers={"Content-Type": manifest.media_type, **condition},
            body=manifest.data,
        )
        if answer.status == 412:
            raise Conflict(task.action, task.target, "somebody else has changed it meanwhile", "Try again.")
        try:
            self._expect(answer, task, 201, 200, 202, push=True)
        except (NotFound, Unavailable) as error:
            if answer.status == 400 or (answer.status == 404 and server_words(answer)[0].startswith("MANIFEST")):
                raise Rejected(task.action, task.target, error.reason, error.hint) from None
            raise
        said = answer.headers.get("Docker-Content-Digest")
        if said and said.partition(":")[0] == manifest.digest.partition(":")[0] and said != manifest.digest:
            raise Corrupt(task.action, task.target, f"the registry stored it as {said}", "It alters what it is given.")
        return bool(answer.headers.get("OCI-Subject"))

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest with all tags that name it. Raises :class:`Denied` where the registry deletes nothing."""
        task = Task("delete", f"manifest {self._name(repository, digest)}")
        answer = self._call("DELETE", repository, f"manifests/{digest}", task, push=True)
        if answer.status != 404:
            self._expect(answer, task, 202, 200, 204, push=True)

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """What refers to a manifest: by the registry's API, or from the fallback tag where it has none."""
        found = self.indexed_referrers(repository, digest)
        if found is not None:
            return found
        fallback = self.manifest(repository, fallback_tag(digest))
        return list(fallback.children) if fallback and fallback.is_index else []

    def indexed_referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        """What refers to a manifest by the registry's API; ``None`` where it has none, which is asked once."""
        if repository in self._without_referrers:
            return None
        try:
            found = self._referrers_api(repository, digest)
        except Corrupt:
            found = self._referrers_api(repository, digest)  # its bytes may have been hurt on the way
        if found is None:
            with self._lock:
                self._without_referrers.add(repository)
        return found

    def has_referrers_api(self, repository: str) -> bool:
        """Whether :meth:`referrers` found the API there; ask it first."""
        return repository not in self._without_referrers

    def _referrers_api(self, repository: str, digest: str) -> list[Descriptor] | None:
        task = Task("read", f"referrers of {self._name(repository, digest)}")
        path = f"referrers/{digest}"
        found: list[Descriptor] = []
        for page in range(_PAGES):
            # A redirect leads to a page for people here.
            answer = self._call(
                "GET",
                repository,
                path,
                task,
                headers={"Accept": OCI_INDEX},
                denied_is_answer=not page,
                redirects=bool(page),
            )
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            if page or answer.status in RETRY_STATUS:
                self._expect(answer, task, 200)
            if answer.status != 200 or kind not in (OCI_INDEX, "application/json"):
                return None
            try:
                found += Manifest.parse(answer.body, OCI_INDEX, task.target).children
            except Corrupt:
                # A list that is damaged or breaks off is not the answer of a registry without the API.
                if page or answer.body.lstrip().startswith(b"{"):
                    raise
                return None
            following = re.search(r'<([^>]+)>\s*;\s*rel="?next', answer.headers.get("Link", ""))
            if not following:
                return found
            path = self._transport.follow(answer.url, following.group(1), task)
        raise Unavailable(task.action, task.target, f"registry {self.host} lists them on more than {_PAGES} pages")

    # -- blobs ------------------------------------------------------------------------------------------------

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Size of a blob in bytes (-1: not said); ``None`` where the repository does not have it."""
        task = Task("look for", f"blob {self._name(repository, digest)}")
        answer = self._call("HEAD", repository, f"blobs/{digest}", task)
        if self._absent(answer):
            return None
        self._expect(answer, task, 200)
        return -1 if answer.length is None else answer.length

    def open_blob(self, repository: str, digest: str, offset: int = 0) -> Answer:
        """A blob from ``offset`` on; where the registry cannot begin there, all of it is asked for and skipped."""
        task = Task("read", f"blob {self._name(repository, digest)}")
        path = f"blobs/{digest}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._call("GET", repository, path, task, headers=headers, stream=True)
        if answer.status == 416 or (answer.status == 206 and not _begins_at(answer, offset)):
            answer.close()
            answer = self._call("GET", repository, path, task, stream=True)
        if answer.status != 206:
            _skip(self._expect(answer, task, 200), offset)
        return answer

    def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob as a whole, such as a configuration; its bytes are checked."""
        task = Task("read", f"blob {self._name(repository, digest)}")
        data = self._expect(self._call("GET", repository, f"blobs/{digest}", task), task, 200).body
        found = digest_of(data, digest)
        if found != digest:
            raise Corrupt(task.action, task.target, f"its bytes have digest {found}", "The copy there is damaged.")
        return data

    def mount(self, repository: str, digest: str, origin: str) -> tuple[bool, str | None]:
        """Make a blob of another repository here visible in this one.

        ``(True, None)``, or ``(False, session)`` with an open upload session where the registry would not.
        """
        if not self._mounts:
            return False, None
        task = Task("mount", f"blob {self._name(repository, digest)} from {origin}")
        query = urlencode({"mount": digest, "from": origin})
        try:
            answer = self._call(
                "POST", repository, f"blobs/uploads/?{query}", task, push=True, origin=origin, denied_is_answer=True
            )
        except Denied:
            # The origin may be closed to us. If the repository is too, the upload that follows says so.
            return False, None
        except Unavailable:
            # Nothing needs a mount. If the registry is away, the upload that follows says so.
            self._mounts = False
            return False, None
        if answer.status in RETRY_STATUS:
            # Each attempt more would hold back all that is asked of the host.
            self._mounts = False
        if answer.status == 201:
            return True, None
        if answer.status == 202:
            return False, self._location(repository, answer, task)
        return False, None

    def receive(
        self,
        repository: str,
        blob: Descriptor,
        download: Chunks,
        advance: Callable[[int], None],
        session: str | None = None,
    ) -> int:
        """Store one blob and return how many bytes were sent; ``session`` is an upload session that is already open."""
        location = session
        start = sent = breaks = 0
        invalid = repeated = False

        def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal sent
            for chunk in chunks:
                yield chunk
                sent += len(chunk)
                advance(len(chunk))

        while True:
            if repeated:
                download.gather(start)
            if location is None:
                location, start = self.begin_upload(repository), 0
            try:
                # Closed before anything else is asked of the target: a source that is held open may be all it allows.
                with closing(download.chunks(start)) as chunks:
                    self.upload(repository, location, blob.digest, start, blob.size, counted(chunks))
                return sent
            except SessionLost as error:
                repeated = True
                breaks += 1
                if breaks >= BREAKS:
                    raise Unavailable(
                        "upload",
                        f"blob {blob.digest} to {self.host}/{repository}",
                        f"the upload broke {breaks} times, last near byte {start} of {blob.size}: {error}",
                        "Check the network to the registry, its log and its free space, then try again.",
                    ) from None
                if error.invalid and invalid:
                    raise Unavailable(
                        "upload",
                        f"blob {blob.digest} to {self.host}/{repository}",
                        f"{error}, in a fresh session too",
                        "The bytes were right when they left; see the registry's log, and whether a proxy alters them.",
                    ) from None
                invalid = invalid or error.invalid
                time.sleep(backoff(breaks))
                # What a registry has put together wrongly once is sent in one piece from then on.
                reached = None if invalid else self.probe(repository, location)
                if reached is None and self.blob_size(repository, blob.digest) == blob.size:
                    return sent  # only the answer was lost
                before = start
                location, start = reached if reached and reached[1] <= blob.size else (None, 0)
                if start > before:
                    breaks = 0

    def begin(self) -> None:
        """Nothing to do: a registry sees to it that what was found is there when something names it."""

    def finish(self) -> None:
        """Nothing is put off at a registry."""

    def begin_upload(self, repository: str) -> str:
        """Open an upload session and return its place."""
        task = Task("begin an upload to", f"{repository} at registry {self.host}")
        answer = self._call("POST", repository, "blobs/uploads/", task, push=True)
        self._expect(answer, task, 202, push=True)
        location = self._location(repository, answer, task)
        if location is None:
            raise Unavailable(task.action, task.target, "the answer has no Location")
        return location

    def upload(self, repository: str, location: str, digest: str, start: int, size: int, body: Iterable[bytes]) -> None:
        """Send a blob's bytes from ``start`` to its end into a session and close it.

        In one request where nothing was sent before. Raises :class:`SessionLost` where a probe or a new session helps.
        """
        task = Task("upload", f"blob {self._name(repository, digest)}")
        length = size - start
        if 0 < start < size:
            headers = {"Content-Range": f"{start}-{size - 1}", "Content-Length": str(length)}
            answer = self._send(repository, "PATCH", location, headers, body, task)
            if answer.status not in (201, 202):
                self._lost(answer, task)
            location = self._location(repository, answer, task) or location
        if start:
            body, length = [], 0
        separator = "&" if "?" in location else "?"
        url = f"{location}{separator}{urlencode({'digest': digest})}"
        answer = self._send(repository, "PUT", url, {"Content-Length": str(length)}, body, task)
        if answer.status not in (201, 204):
            self._lost(answer, task)

    def probe(self, repository: str, location: str) -> tuple[str, int] | None:
        """How far a session came: its place and the number of bytes it holds; ``None`` where it cannot go on."""
        if not habits.of(self.host).resumes:
            return None
        task = Task("continue", f"an upload to {repository} at registry {self.host}")
        try:
            answer = self._call("GET", repository, location, task, push=True)
        except MusterError:
            return None
        span = re.match(r"(?:bytes=)?0-(\d+)$", answer.headers.get("Range", ""))
        if answer.status != 204 or span is None:
            return None
        # A session that holds nothing and one that holds a single byte both say 0-0.
        end = int(span.group(1))
        return (self._location(repository, answer, task) or location, end + 1) if end else None

    def _send(
        self, repository: str, method: str, url: str, headers: Mapping[str, str], body: Iterable[bytes], task: Task
    ) -> Answer:
        attempt = self._auth.begin(repository)
        authorization = self._auth.header(attempt, _scopes(repository, push=True), task)
        signed = {"Content-Type": "application/octet-stream", **headers}
        if authorization and self._is_ours(url):
            signed["Authorization"] = authorization
        try:
            answer = self._transport.send(method, url, task, signed, body)
            answer.load()
        except BROKEN as error:
            raise SessionLost(str(error) or type(error).__name__) from None
        if answer.status == 401:
            if not self._is_ours(answer.url):
                raise SessionLost(f"{urlsplit(answer.url).netloc}, to which the registry sends uploads, wants a login")
            self._auth.refused(answer, attempt, authorization, task)
            raise SessionLost("the login expired during the upload")
        return answer

    def _lost(self, answer: Answer, task: Task) -> None:
        if answer.status in RETRY_STATUS or answer.status in (400, 404, 416):
            code, message = server_words(answer)
            words = f"registry {self.host} answered {answer.status} {code} {message}".strip()
            raise SessionLost(words, invalid=answer.status == 400)
        self._expect(answer, task, 201, push=True)

    # -- requests ---------------------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        repository: str,
        path: str,
        task: Task,
        *,
        push: bool = False,
        origin: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        stream: bool = False,
        denied_is_answer: bool = False,
        redirects: bool = True,
    ) -> Answer:
        scopes = _scopes(repository, push=push, origin=origin)
        url = self._url(repository, path)
        attempt = self._auth.begin(repository)
        authorization = self._auth.header(attempt, scopes, task)
        asked = 0
        while True:
            asked += 1
            signed = dict(headers or {})
            if authorization and self._is_ours(url):
                signed["Authorization"] = authorization
            if method in ("POST", "PUT") and body is None:
                signed["Content-Length"] = "0"
            answer = self._transport.request(
                method, url, task, headers=signed, body=body, stream=stream, redirects=redirects
            )
            # Where a redirect led, other logins count than ours.
            refused = answer.status in (401, 403) and self._is_ours(answer.url)
            if not refused:
                self._auth.accepted(attempt, scopes, authorization)
            if not refused or asked == _AUTH_ATTEMPTS or (denied_is_answer and answer.status == 403):
                return answer
            try:
                self._auth.refused(answer, attempt, authorization, task)
                authorization = self._auth.header(attempt, scopes, task)
            except Denied:
                if denied_is_answer or self._absent(answer):
                    return answer
                raise

    def _is_ours(self, url: str) -> bool:
        """Whether it is the registry itself that is asked there: nobody else sees its logins or is heard about them."""
        return urlsplit(url).netloc == urlsplit(self._base).netloc

    def _absent(self, answer: Answer) -> bool:
        return answer.status == 404 or (answer.status == 403 and habits.of(self.host, answer.headers).denies_missing)

    def _url(self, repository: str, path: str) -> str:
        return path if path.startswith(("https://", "http://")) else f"{self._base}{repository}/{path}"

    def _location(self, repository: str, answer: Answer, task: Task) -> str | None:
        location = answer.headers.get("Location")
        return self._transport.follow(self._url(repository, "blobs/uploads/"), location, task) if location else None

    def _name(self, repository: str, reference: str) -> str:
        separator = "@" if ":" in reference else ":"
        return f"{self.host}/{repository}{separator}{reference}"

    def _expect(self, answer: Answer, task: Task, *good: int, push: bool = False) -> Answer:
        if answer.status in good:
            return answer
        code, message = server_words(answer)
        led = urlsplit(answer.url).netloc
        who = f"registry {self.host}" + (f" (by {led})" if led != urlsplit(self._base).netloc else "")
        reason = f"{who} answered {answer.status}" + (f" {code}" if code else "")
        reason += f": {message}" if message else ""
        if answer.status == 404:
            create = habits.of(self.host, answer.headers).create
            hint = create if push else "Check the registry's name and that the repository exists."
            raise NotFound(task.action, task.target, reason, hint)
        if answer.status in (401, 403):
            raise Denied(task.action, task.target, reason, "Check the login of this registry and its rights.")
        if answer.status == 405 or code == "UNSUPPORTED":
            raise Denied(task.action, task.target, reason, "The registry does not take this; it may be read-only.")
        hint = "It is overloaded or in trouble; try again later." if answer.status in RETRY_STATUS else ""
        raise Unavailable(task.action, task.target, reason, hint)


def _begins_at(answer: Answer, offset: int) -> bool:
    span = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return span is not None and int(span.group(1)) == offset


def _skip(answer: Answer, count: int) -> None:
    while count:
        data = answer.chunk(min(count, CHUNK))
        if not data:
            raise ConnectionError("the registry sent fewer bytes than before")
        count -= len(data)


def _scopes(repository: str, *, push: bool = False, origin: str | None = None) -> list[str]:
    scopes = [f"repository:{repository}:pull" + (",push" if push else "")]
    if origin and origin != repository:
        scopes.append(f"repository:{origin}:pull")
    return scopes


class Registries:
    """All places of a run, one client each: registries with the options and logins that belong to them, and others."""

    def __init__(self, transport: Transport, keyring: Keyring, elsewhere: Elsewhere | None = None) -> None:
        self._transport = transport
        self._keyring = keyring
        self._elsewhere = elsewhere
        self._clients: dict[str, Source] = {}
        self._targets: dict[str, Target] = {}
        self._lock = threading.Lock()

    def at(self, host: str) -> Source:
        """The client for a host."""
        with self._lock:
            if host not in self._clients:
                other = self._elsewhere.open(host) if self._elsewhere else None
                self._clients[host] = other or Registry(host, self._transport, self._keyring)
            return self._clients[host]

    def logins(self) -> dict[str, str]:
        """Which logins each registry that was asked has accepted: user and source, never a secret."""
        clients = sorted(self._clients.items())
        return {host: ", ".join(at.logins) for host, at in clients if isinstance(at, Registry) and at.logins}

    def target(self, host: str) -> Target:
        """The client for a host that is to take images."""
        with self._lock:
            other = self._targets.get(host) or (self._elsewhere.target(host) if self._elsewhere else None)
            if other is not None:
                return self._targets.setdefault(host, other)
        client = self.at(host)
        if not isinstance(client, Target):
            raise InvalidInput(
                "copy to",
                host,
                "it can only be read",
                "Copy to a registry, to oci:/DIRECTORY or to s3://BUCKET/PREFIX.",
            )
        return client

    def close(self) -> None:
        """Close idle connections and open files."""
        self._transport.close()
        if self._elsewhere:
            self._elsewhere.close()
