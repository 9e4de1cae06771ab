# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that sign themselves, for servers on loopback and for clients."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def certificate(directory: Path, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """``(certificate, key)`` for an address; the certificate is its own authority."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} "
        f"-addext subjectAltName=IP:{address} -addext keyUsage=critical,keyCertSign,digitalSignature "
        f"-keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key


def server(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """A server's context, which wants a certificate of ``clients`` where that is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
