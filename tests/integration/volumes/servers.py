# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers of other backends than S3, on this machine, where pods of the sites reach them."""

from __future__ import annotations

import base64
import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ..sites import BED, JSON, ROOT, Site, wait_until

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from fakes.certificates import certificate
from fakes.ssh_server import sftp_server

Backend = Callable[[Site, Path], AbstractContextManager[JSON]]
# The password holds what a shell, a URL and a file of variables would read as something else.
USER, WORD = "backup", "canary '$HOME\"\n"


def here(site: Site) -> str:
    """An address of this machine that the site's pods reach."""
    far = urlsplit(site.store("")["endpoint_url"]).hostname
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((str(far), 9))
        return str(towards.getsockname()[0])


@contextmanager
def rest(site: Site, folder: Path) -> Iterator[JSON]:
    """restic's own REST server, with TLS, for one user: the options of a repository there."""
    address = here(site)
    shown, key = certificate(folder, "rest", address)
    digest = base64.b64encode(hashlib.sha1(WORD.encode()).digest()).decode()
    (folder / "users").write_text(f"{USER}:{{SHA}}{digest}\n")
    with socket.socket() as free:
        free.bind((address, 0))
        place = f"{address}:{free.getsockname()[1]}"
    built = subprocess.run([BED, "build", "rest-server"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    command: list[str | Path] = [Path(built, "rest-server"), "--path", folder / "kept", "--listen", place]
    command += ["--htpasswd-file", folder / "users", "--private-repos"]
    command += ["--tls", "--tls-cert", shown, "--tls-key", key, "--log", folder / "rest.log"]
    with (folder / "rest.out").open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait_until(lambda: _answers(place), 20)
        login = {"RESTIC_REST_USERNAME": USER, "RESTIC_REST_PASSWORD": WORD}
        yield {"url": f"rest:https://{place}/{USER}/", "ca_cert": str(shown), "environment": login}
    finally:
        server.terminate()
        server.wait()


def _answers(place: str) -> bool:
    host, _colon, port = place.rpartition(":")
    with socket.socket() as towards:
        return towards.connect_ex((host, int(port))) == 0


def sftp(site: Site, folder: Path) -> AbstractContextManager[JSON]:
    """An SSH server with one folder: the options of a repository there."""
    served: AbstractContextManager[JSON] = sftp_server(folder, USER, here(site))
    return served
