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

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

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
