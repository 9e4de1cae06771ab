# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site of the test bed as its facts file (.work/sites/bed.json) describes it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

LEDGER = Path(__file__).resolve().parent.parent
CHECKOUT = LEDGER.parents[3]
WORK = CHECKOUT / ".work/sites"
NAMESPACE = "ledger"


class Failed(Exception):
    """Could not do something; the text says what, why and what to do."""


@dataclasses.dataclass(frozen=True)
class Site:
    """What is needed to put the ledger on one site."""

    name: str
    kubeconfig: Path
    context: str
    node: str
    registry: str
    username: str
    password_file: Path
    ca_file: Path
    docker_host: str
    kubectl: str
    crane: str

    @property
    def work(self) -> Path:
        """Private folder of this application on this site."""
        return WORK / "apps/ledger" / self.name

    def kubectl_argv(self, *arguments: str) -> list[str]:
        return [self.kubectl, "--kubeconfig", str(self.kubeconfig), "--context", self.context, *arguments]

    def password(self) -> str:
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Failed(f"Could not read the registry's password {self.password_file}: {error.strerror}.") from error


def read_site(name: str, facts: Path = WORK / "bed.json") -> Site:
    """The facts of one site; raises Failed."""
    try:
        document: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        sites = document["sites"]
        if name not in sites:
            raise Failed(f"Could not find site {name}: the bed has {', '.join(sorted(sites))}.")
        site = sites[name]
        tools = document["tools"]
        return Site(
            name=name,
            kubeconfig=Path(site["kubeconfig"]),
            context=site["context"],
            node=site["node"],
            registry=site["registry"]["name"],
            username=site["registry"]["username"],
            password_file=Path(site["registry"]["password_file"]),
            ca_file=Path(document["ca_file"]),
            docker_host=document["docker_host"],
            kubectl=tools["kubectl"],
            crane=tools.get("crane") or str(Path(tools["kubectl"]).with_name("crane")),
        )
    except FileNotFoundError as error:
        raise Failed(f"Could not read the bed's facts {facts}: bring the bed up with 'make sites'.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"Could not read the bed's facts {facts}: {type(error).__name__} {error}.") from error


def run(
    action: str,
    argv: list[str],
    *,
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 900,
) -> str:
    """Runs a program and returns its stdout; raises Failed with the end of what it said."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env={**os.environ, "KUBECACHEDIR": str(CHECKOUT / ".work/kube-cache"), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failed(f"Could not {action}: {argv[0]} is not there. Run 'make sites' again.") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"Could not {action}: {Path(argv[0]).name} took more than {timeout:.0f} s.") from error
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise Failed(f"Could not {action}: {Path(argv[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    beside.replace(path)
