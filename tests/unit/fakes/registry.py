# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry on loopback that keeps everything in memory and can be told to misbehave.

It follows distribution-spec 1.1 as distribution 3 does, and refuses what that refuses: manifests whose children or
blobs are missing, uploads with another digest, sessions that are not known. In :mod:`fakes.oci` are its parts: what it
holds in ``content``, what goes wrong in ``faults``, who may come in in ``gate``, the protocol in ``wire``.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import ThreadingHTTPServer
from typing import Any

from fakes.oci.content import INDEX, LAYER, MANIFEST, Content, Repository, digest_of
from fakes.oci.faults import Fault, Script
from fakes.oci.gate import Gate
from fakes.oci.wire import Handler
from fakes.serving import Serving

__all__ = ["INDEX", "LAYER", "MANIFEST", "FakeRegistry", "Fault", "Gate", "Repository", "digest_of"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: Any) -> None:
        """A client that hangs up, or that likes no certificate, is part of the play."""


class FakeRegistry(Content, Script, Serving):
    """``with FakeRegistry() as registry``: ``registry.host`` answers; ``registry.requests`` is what it was asked.

    ``gate`` says who may come in, ``tls`` is the server's context. The habits of real registries:
    ``referrers``: has the API, in pages of ``page`` entries. ``ranges``: serves parts of blobs. ``mounts``: 201,
    else 202 or this status, whatever is there; ``mounts_itself``: also from the repository itself, or this status
    there. ``redirect_blobs_to``: host or URL at which blobs are. ``locations``: what stands before the paths of upload
    sessions. ``creates``: a push makes its repository. ``parts``: keeps more than the first part of an upload.
    ``if_match``: honours the header. ``sparse``: takes indexes of which children are missing. ``trusting``: takes
    manifests whatever is missing. ``deletes``: removes manifests. ``marks``: headers in every answer. ``busiest`` is
    the largest number of requests that waited for an answer at the same time.
    """

    def __init__(
        self,
        *,
        auth: str = "none",
        users: dict[str, str] | None = None,
        gate: Gate | None = None,
        tls: ssl.SSLContext | None = None,
        referrers: bool = False,
        page: int = 0,
        ranges: bool = True,
        mounts: bool | int = True,
        mounts_itself: bool | int = True,
        redirect_blobs_to: str | None = None,
        locations: str = "",
        creates: bool = True,
        parts: bool = True,
        if_match: bool = False,
        sparse: bool = False,
        trusting: bool = False,
        deletes: bool = True,
        marks: dict[str, str] | None = None,
    ) -> None:
        Content.__init__(self)
        Script.__init__(self)
        self.gate = gate or Gate(auth, users or {"muster": "secret"})
        self.referrers = referrers
        self.page = page
        self.ranges = ranges
        self.mounts = mounts
        self.mounts_itself = mounts_itself
        self.redirect_blobs_to = redirect_blobs_to
        self.locations = locations
        self.creates = creates
        self.parts = parts
        self.if_match = if_match
        self.sparse = sparse
        self.trusting = trusting
        self.deletes = deletes
        self.marks = marks or {}
        self.uploads: dict[str, bytearray] = {}
        self.requests: list[str] = []
        self.headers: list[Message] = []
        self.uploaded_bytes = 0
        self.busy: set[Handler] = set()
        self.busiest = 0
        self.lock = threading.RLock()
        self.server = _Server(("127.0.0.1", 0), type("Handler", (Handler,), {"registry": self}))
        self.scheme = "http"
        if tls:
            self.scheme = "https"
            # The handshake is left to the threads, or one slow client would keep all others out.
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    @property
    def authorized(self) -> list[bool]:
        """Of each request, whether it carried a login."""
        return ["Authorization" in headers for headers in self.headers]

    def writes(self) -> list[str]:
        return [line for line in self.requests if line.split()[0] in ("POST", "PUT", "PATCH", "DELETE")]

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """The requests that come in while the block runs."""
        start = len(self.requests)
        seen: list[str] = []
        yield seen
        seen += self.requests[start:]
