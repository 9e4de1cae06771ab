# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One GET of a repository's server, whose failures are told apart and told within seconds."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Unavailable

TIMEOUT = 8.0
_ATTEMPTS = 2


def ask(
    scheme: str, host: str, path: str, headers: Mapping[str, str], ca_cert: str | None, target: str
) -> tuple[int, bytes]:
    """Status and the beginning of the body; ``host`` may have a port. Answers of 500 and more are asked for twice.

    Raises :class:`Unavailable` for a server that does not answer or whose certificate is not trusted.
    """
    began = time.monotonic()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            status, body = _get(scheme, host, path, headers, ca_cert)
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                "open",
                target,
                f"the certificate of {scheme}://{host} is not trusted ({error.verify_message})",
                "Set ca_cert to the authority that issued it.",
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


def _get(scheme: str, host: str, path: str, headers: Mapping[str, str], ca_cert: str | None) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context(cafile=ca_cert)
        connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=context)
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
