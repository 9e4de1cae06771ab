# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Asks a REST server for a repository's ``config`` before restic does, and says in seconds what is wrong."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, NotFound, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._restic import asking

_PRIVATE = "A server with private repositories has those of a user below the path of that name."


def probe(url: str, env: Mapping[str, str], ca_cert: str | None) -> None:
    """Raise the error that says why the repository at ``url`` cannot be used; return where it can, or is no such one.

    ``env`` holds the login. What is asked for through a proxy is left to restic, as is an answer that is not known, and
    a name with letters that only restic writes otherwise.
    """
    if backends.kind(url) != "rest":
        return
    parts = urlsplit(url.removeprefix("rest:"))
    ours = parts.scheme in ("http", "https") and parts.netloc and parts.netloc.isascii()
    if not ours or asking.proxied(parts.scheme, parts.netloc):
        return
    target = f"repository {url}"
    headers = {"Host": parts.netloc}
    user, password = (env.get(name, "") for name in (backends.REST_USER, backends.REST_PASSWORD))
    if user or password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~") + "/config"
    status, _body = asking.ask(parts.scheme, parts.netloc, path, headers, ca_cert, target)
    if status == 401:
        what = "the user, the password, or this path for the user" if user or password else "who has no login"
        # Restic's own with private repositories has one answer for all of these.
        hint = f"Set {backends.REST_USER} and {backends.REST_PASSWORD} in repository.environment. {_PRIVATE}"
        raise Denied("open", target, f"the server refuses {what}", hint)
    if status == 403:
        raise Denied("open", target, "the server denies access to this path", _PRIVATE)
    if status == 404:
        raise NotFound(
            "open",
            target,
            "there is no repository at this address",
            "Check the URL, or create it with the repository module (state: present).",
        )
    if status >= 500:
        raise Unavailable("open", target, f"the server answers {status}", "Look at it and try again.")
