# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where registries differ from distribution-spec 1.1 in ways that need code: one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http.client import HTTPMessage

PULLS_RESERVED = 5
"""Pulls that are left to others, such as the nodes that share our address, where a registry counts them."""


@dataclass(frozen=True)
class Habits:
    """One kind of registry, recognised by its host's name (a pattern) or by a header of its answers.

    ``network``: the host that answers for the name. ``resumes``: a second part of an upload is kept. ``create``: what
    makes a repository, where a push does not. ``denies_missing``: what is not there is answered with 403.
    ``counts_pulls``: manifests that are read count against a limit, and ``RateLimit-Remaining`` says what is left.
    """

    hosts: str = ""
    header: str = ""
    network: str = ""
    resumes: bool = True
    create: str = "Create the repository, or the project that it belongs to, first."
    denies_missing: bool = False
    counts_pulls: bool = False


_TABLE = (
    Habits(r"docker\.io", "Docker-RateLimit-Source", network="registry-1.docker.io", counts_pulls=True),
    # ECR keeps the first part of an upload only and answers the others as if it had taken them.
    Habits(
        r"\d+\.dkr[.-]ecr(-fips)?\.[a-z0-9.-]+|public\.ecr\.aws",
        resumes=False,
        create="ECR makes no repository by itself: create it (aws ecr create-repository --repository-name REPOSITORY), "
        "or a creation template for its prefix.",
    ),
    Habits(
        r"[a-z0-9-]+-docker\.pkg\.dev",
        create="Artifact Registry makes no repository by itself: the path is PROJECT/REPOSITORY/IMAGE; create it "
        "(gcloud artifacts repositories create REPOSITORY --repository-format=docker).",
    ),
    Habits(header="X-JFrog-Version", denies_missing=True),
    Habits(header="X-Artifactory-Id", denies_missing=True),
)
_PLAIN = Habits()


def of(host: str, headers: HTTPMessage | None = None) -> Habits:
    """The habits of a registry, by its name and by what it answered."""
    for habits in _TABLE:
        if re.fullmatch(habits.hosts, host) or (habits.header and habits.header in (headers or ())):
            return habits
    return _PLAIN


def network_name(host: str) -> str:
    """The host that is asked for a registry of this name."""
    return of(host).network or host


def pulls_left(host: str, headers: HTTPMessage) -> int | None:
    """How many more manifests may be read, where the registry counts that and says so (``76;w=21600``)."""
    said = re.match(r"\d+", headers.get("RateLimit-Remaining") or "")
    return int(said.group()) if said and of(host, headers).counts_pulls else None
