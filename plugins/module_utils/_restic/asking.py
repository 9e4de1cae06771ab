# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One GET of a repository's server, whose failures are told apart and told within seconds."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Unavailable

TIMEOUT = 8.0
_ATTEMPTS = 2


def proxied(scheme: str, host: str) -> bool:
    """Whether restic asks this server through a proxy; what that says of it, only restic finds out."""
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def ask(
    scheme: str, host: str, path: str, headers: Mapping[str, str], ca_cert: str | None, target: str
) -> tuple[int, bytes]:
    """Status and the beginning of the body; ``host`` may have a port. Answers of 500 and more are asked for twice.

    Raises :class:`Unavailable` for a server that does not answer or whose certificate is not trusted, and
    :class:`InvalidInput` for a name that no server can have and for authorities that cannot be read.
    """
    trusted = _trusted(ca_cert) if scheme == "https" else None
    began = time.monotonic()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            status, body = _get(host, path, headers, trusted)
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                "open",
                target,
                f"the certificate of {scheme}://{host} is not trusted ({error.verify_message})",
                "Set ca_cert to the authority that issued it.",
            ) from None
        except (UnicodeError, http.client.InvalidURL):
            raise InvalidInput(
                "open", target, "its URL names no server that there can be", "Correct the URL."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            # A name may have several addresses, each of which was waited for.
            if attempt < _ATTEMPTS and time.monotonic() - began < TIMEOUT:
                time.sleep(1)
                continue
            why = "timed out" if isinstance(error, (socket.timeout, TimeoutError)) else str(error)
            raise Unavailable(
                "open",
                target,
                f"{scheme}://{host} does not answer ({why or type(error).__name__})",
                "Check that it runs and can be reached.",
            ) from None
        if status >= 500 and attempt < _ATTEMPTS:
            time.sleep(1)
            continue
        return status, body
    raise AssertionError("unreachable")


def _trusted(ca_cert: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_cert)
    except OSError as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror)
        hint = "It must have the certificates of authorities in PEM form."
        raise InvalidInput("read", f"ca_cert {ca_cert}", reason, hint) from None


def _get(host: str, path: str, headers: Mapping[str, str], trusted: ssl.SSLContext | None) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if trusted:
        connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=trusted)
    else:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    finally:
        connection.close()
