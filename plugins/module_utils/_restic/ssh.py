# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How restic calls ``ssh`` for a repository behind SFTP: it never asks anybody, and notices a server that is gone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core import process
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic import exit_codes

# Neither restic, which splits the arguments at white space, nor ssh, which expands them, sees anything in these.
_PLAIN_PATH = re.compile(r"[\w@+=:,./-]+", re.ASCII)
# Warnings would count as errors of restic.
_ALWAYS = (
    "BatchMode=yes",
    "LogLevel=ERROR",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
)
# More than ConnectTimeout: names and logins take their time too.
_TIMEOUT = 18.0
# SFTP's first packet, by version 3; who answers it has let us in, however it ends then.
_HELLO = b"\0\0\0\x05\x01\0\0\0\x03"
# How ssh ends where it could not connect or log in; else it ends as the server's program did.
_NO_CONNECTION = 255


@dataclass(frozen=True)
class Server:
    """Whom ssh is to call; where ``port`` or ``user`` is ``None``, what ssh has of its own on the machine counts."""

    host: str
    port: int | None = None
    user: str | None = None

    @classmethod
    def of(cls, url: str, target: str) -> Server:
        """That of ``sftp://user@host:port/directory`` or ``sftp:user@host:directory``, which has no port."""
        try:
            parts = urlsplit(url if url.startswith("sftp://") else "sftp://" + url.split(":")[1])
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        # As it is written: what ssh has of its own of a host goes by that.
        user, _at, place = parts.netloc.rpartition("@")
        host = place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]
        if not host or host.startswith("-"):
            hint = "Write it as sftp:user@host:/directory or sftp://user@host:port//directory."
            raise InvalidInput("use", target, "its URL names no server", hint)
        if ":" in user:
            raise InvalidInput("use", target, "its URL has a password, and ssh takes none", "Use ssh_key_file.")
        return cls(host, port, user or None)


@dataclass(frozen=True)
class Login:
    """The files of a login; where one is ``None``, what ssh has of its own on the machine counts."""

    key: str | None = None
    known_hosts: str | None = None

    @classmethod
    def read(cls, options: Mapping[str, Any], target: str) -> Login:
        """That of a ``repository`` option; :class:`InvalidInput` for files that are not there or of no use."""
        return cls(*(_file(options, name, target) for name in ("ssh_key_file", "ssh_known_hosts")))

    @property
    def arguments(self) -> str:
        """Arguments of ssh, as restic splits them."""
        options = [*_ALWAYS]
        if self.key:
            options += [f"IdentityFile={self.key}", "IdentitiesOnly=yes"]
        if self.known_hosts:
            # Not what the machine knows either.
            options += [f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null"]
            options.append("StrictHostKeyChecking=yes")
        return " ".join(f"-o {option}" for option in options)


def _file(options: Mapping[str, Any], name: str, target: str) -> str | None:
    value = options.get(name)
    if not value:
        return None
    if not str(options["url"]).startswith("sftp:"):
        raise InvalidInput("use", f"{name} of {target}", "the repository is not behind SFTP", "Leave it out.")
    path = Path(str(value)).expanduser().resolve()
    if not path.is_file():
        raise InvalidInput("read", f"{name} {path}", "there is no such file", f"Correct repository.{name}.")
    if not _PLAIN_PATH.fullmatch(str(path)):
        hint = "Put it where the path has letters, digits and any of @+=:,./_- only."
        raise InvalidInput("use", f"{name} {path}", "restic cannot pass this path to ssh", hint)
    return str(path)


def probe(url: str, login: Login, target: str) -> None:
    """Log in once, and say why where that fails; restic ends before all that ssh said has reached it."""
    if not url.startswith("sftp:"):
        return
    server = Server.of(url, target)
    port, user = ["-p", str(server.port)] if server.port else [], ["-l", server.user] if server.user else []
    command = ["ssh", server.host, *port, *user, *login.arguments.split(), "-s", "sftp"]
    try:
        ended = process.run(command, data=_HELLO, timeout=_TIMEOUT)
    except FileNotFoundError:
        hint = "Install the OpenSSH client on the machine that runs the task."
        raise NotFound("open", target, "there is no program ssh", hint) from None
    except TimeoutError as error:
        raise Unavailable("open", target, f"its server does not answer (ssh {error})", "Check that it runs.") from None
    if ended.code == _NO_CONNECTION and not ended.out:
        said = ended.err.decode(errors="replace").splitlines()
        raise exit_codes.problem("open", target, 1, "\n".join(reversed(said)) or "ssh could not connect")
