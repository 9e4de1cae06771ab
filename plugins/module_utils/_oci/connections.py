# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From what users say about registries and other places to clients of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import without_empty
from ansible_collections.muster.container_dr.plugins.module_utils._docker.client import Engine
from ansible_collections.muster.container_dr.plugins.module_utils._oci import habits
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login
from ansible_collections.muster.container_dr.plugins.module_utils._oci.places import Places, check_options
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Place, is_registry
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries
from ansible_collections.muster.container_dr.plugins.module_utils._oci.transport import ATTEMPTS, Endpoint, Transport

_BUDGETS = ("connections", "requests_per_second", "bytes_per_second")
_REACH = ("ca_cert", "validate_certs", "plain_http", "client_cert", "client_key", *_BUDGETS)


def of_options(
    named: Iterable[Mapping[str, Any] | None],
    keyring: Keyring,
    *,
    attempts: int = ATTEMPTS,
    engine: Engine | None = None,
    read: str = "",
    written: str = "",
) -> Registries:
    """Clients for all hosts; the first mention of a host that says more than its name decides how it is reached.

    ``engine`` is the Docker daemon that images may come from; it is closed with them. ``read`` is the recovery point
    by whose index layouts are read, ``written`` that by which they are written to.
    """
    endpoints: dict[str, Endpoint] = {}
    elsewhere: dict[str, Mapping[str, Any]] = {}
    for options in [without_empty(entry) for entry in named if entry]:
        place = Place.of(options)
        check_options(place, options)
        if not is_registry(place.host):
            if len(options) > len(elsewhere.get(place.host, ())):
                elsewhere[place.host] = options
            continue
        host = habits.network_name(place.host)
        reach = {key: options[key] for key in _REACH if key in options}
        for key in _BUDGETS:
            if reach.get(key, 1) <= 0:
                raise InvalidInput("use", f"{key} of registry {place.name}", f"{reach[key]} is no limit", "Raise it.")
        if endpoints.get(host, Endpoint(host)) == Endpoint(host):
            endpoints[host] = Endpoint(host, **reach)
        if options.get("username"):
            label = f"the options of registry {place.name}"
            keyring.add(
                place.host,
                Login(str(options["username"]), str(options.get("password") or ""), source=label),
                place.prefix,
            )
        elif options.get("auth_file"):
            keyring.add_file(str(options["auth_file"]), place.host)
    return Registries(
        Transport(endpoints.values(), attempts=attempts), keyring, Places(elsewhere, engine, read=read, written=written)
    )
