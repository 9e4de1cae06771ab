# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger's images: built once per content, kept as archives in the cache, pushed by tag to a site's registry."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

from operate.site import LEDGER, Failed, Site, run, write_private

IMAGES = ("postgres", "api")
TAG = "1"
BASE = "debian:bookworm-slim"


def content_key(folder: Path) -> str:
    """Twelve hex digits over the names, execute bits and bytes of an image's sources."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            executable = bool(path.stat().st_mode & 0o100)
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder)}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """Where the bed keeps its images too, so that 'make clean-cache' removes these as well."""
    chosen = os.environ.get("MUSTER_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute() / "images"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "muster/images"


def archive(site: Site, name: str) -> Path:
    """The image's archive (docker save), built if the cache has none for the present sources."""
    folder = LEDGER / "images" / name
    key = content_key(folder)
    path = cache_folder() / f"ledger-{name}-{key}.tar"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    docker = ["docker", "--host", site.docker_host]
    local = f"muster-ledger/{name}:{key}"
    # The classic builder: it needs nothing beside the engine.
    environment = {"DOCKER_BUILDKIT": "0"}
    if subprocess.run([*docker, "image", "inspect", BASE], capture_output=True, check=False).returncode:
        run(f"pull {BASE}", [*docker, "pull", "-q", BASE])
    print(f"building image ledger/{name}", flush=True)
    run(f"build image ledger/{name}", [*docker, "build", "-q", "-t", local, str(folder)], environment=environment)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        run(f"save image ledger/{name}", [*docker, "save", "-o", str(beside), local])
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    run(f"remove image {local}", [*docker, "image", "rm", local])
    for other in path.parent.glob(f"ledger-{name}-*.tar"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def docker_config(site: Site) -> str:
    """A Docker configuration that holds the login of the site's registry and nothing else."""
    login = base64.b64encode(f"{site.username}:{site.password()}".encode()).decode()
    host = site.registry.partition("/")[0]
    return json.dumps({"auths": {host: {"auth": login}}})


def write_login(site: Site) -> None:
    """Leaves the login where push finds it, in the site's private folder."""
    write_private(site.work / "docker/config.json", docker_config(site))


def push(site: Site, name: str) -> bool:
    """Makes REGISTRY/ledger/NAME:1 what the sources say; write_login comes first. Returns whether it changed."""
    environment = {"DOCKER_CONFIG": str(site.work / "docker"), "SSL_CERT_FILE": str(site.ca_file)}
    reference = f"{site.registry}/ledger/{name}:{TAG}"
    path = archive(site, name)
    noted = site.work / f"{name}.json"
    try:
        present = run(f"look up {reference}", [site.crane, "digest", reference], environment=environment).strip()
    except Failed as error:
        # Absent is the normal case at first; anything else the push will meet again, and report.
        if "NAME_UNKNOWN" not in str(error) and "MANIFEST_UNKNOWN" not in str(error) and "404" not in str(error):
            raise
        present = ""
    wanted = {"archive": path.name, "digest": present}
    if present and noted.exists() and json.loads(noted.read_text(encoding="utf-8")) == wanted:
        return False
    print(f"pushing {reference}", flush=True)
    run(f"push {reference}", [site.crane, "push", str(path), reference], environment=environment)
    pushed = run(f"look up {reference}", [site.crane, "digest", reference], environment=environment).strip()
    write_private(noted, json.dumps({"archive": path.name, "digest": pushed}))
    return pushed != present
