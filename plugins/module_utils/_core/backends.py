# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The logins of restic's backends: the variables that each one reads, and which of them are secret."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput

REST_USER, REST_PASSWORD = "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"
# The only one that names a file.
GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

# Region and roles of S3 are left out: the first is an option, and with the others our own look at the server would be
# another one than restic's.
VARIABLES: dict[str, tuple[str, ...]] = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    "b2": ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
    "azure": (
        "AZURE_ACCOUNT_NAME",
        "AZURE_ACCOUNT_KEY",
        "AZURE_ACCOUNT_SAS",
        "AZURE_ENDPOINT_SUFFIX",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
    ),
    "gs": ("GOOGLE_PROJECT_ID", "GOOGLE_ACCESS_TOKEN", GOOGLE_FILE),
    "rest": (REST_USER, REST_PASSWORD),
    "swift": (
        "OS_AUTH_URL",
        "OS_REGION_NAME",
        "OS_USERNAME",
        "OS_USER_ID",
        "OS_PASSWORD",
        "OS_USER_DOMAIN_NAME",
        "OS_USER_DOMAIN_ID",
        "OS_PROJECT_NAME",
        "OS_PROJECT_DOMAIN_NAME",
        "OS_PROJECT_DOMAIN_ID",
        "OS_TENANT_ID",
        "OS_TENANT_NAME",
        "OS_TRUST_ID",
        "OS_APPLICATION_CREDENTIAL_ID",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "OS_APPLICATION_CREDENTIAL_SECRET",
        "OS_STORAGE_URL",
        "OS_AUTH_TOKEN",
        "ST_AUTH",
        "ST_USER",
        "ST_KEY",
        "SWIFT_DEFAULT_CONTAINER_POLICY",
    ),
}
_SECRET = {
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "B2_ACCOUNT_KEY",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCOUNT_SAS",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_ACCESS_TOKEN",
    REST_PASSWORD,
    "OS_PASSWORD",
    "OS_APPLICATION_CREDENTIAL_SECRET",
    "OS_AUTH_TOKEN",
    "ST_KEY",
}
_PLAIN = {name for names in VARIABLES.values() for name in names} - _SECRET

# Without one of these sets restic does not begin. The other backends may do without a login, or find one on a machine.
_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "b2": (("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),),
    "azure": (("AZURE_ACCOUNT_NAME",),),
    "swift": (("OS_AUTH_URL",), ("OS_STORAGE_URL", "OS_AUTH_TOKEN"), ("ST_AUTH", "ST_USER", "ST_KEY")),
}
# What of the environment would count besides the login that is given.
_BESIDE = {"s3": ("AWS_PROFILE", "AWS_SECURITY_TOKEN")}

_INSTEAD = {
    "RESTIC_PASSWORD": "Set password.",
    "RESTIC_PASSWORD_FILE": "Set password_file.",
    "RESTIC_PASSWORD_COMMAND": "Set password_command.",
    "RESTIC_REPOSITORY": "Set url.",
    "RESTIC_REPOSITORY_FILE": "Set url.",
    "RESTIC_CACERT": "Set ca_cert.",
    "AWS_DEFAULT_REGION": "Set region.",
    "AWS_REGION": "Set region.",
}


def kind(url: str) -> str:
    """The backend of a repository's URL by restic's name for it, where that reads variables; else empty."""
    name = url.partition(":")[0]
    return name if name in VARIABLES else ""


def given(options: Mapping[str, Any], target: str) -> dict[str, str]:
    """The login of a ``repository`` option: its ``environment``, or its two keys as the variables that they are.

    Holds secrets; ``target`` is how errors call the repository. :class:`InvalidInput`, which never repeats a value, for
    a variable that its backend does not read or that no environment can hold, and where two of them say the same.
    """
    url = str(options["url"])
    where = f"environment of {target}"
    known = VARIABLES.get(kind(url), ())
    login: dict[str, str] = {}
    environment = options.get("environment") or {}
    if not isinstance(environment, Mapping):
        raise InvalidInput("use", where, "it is no dictionary", "Write it as {NAME: value, ...}.")
    for name, value in environment.items():
        if name not in known:
            hint = f"It may have {', '.join(known)}." if known else "Leave it out: a backend like this reads none."
            what = f"{name} is no variable by which restic logs in there"
            raise InvalidInput("use", where, what, _INSTEAD.get(name, hint))
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise InvalidInput("use", where, f"the value of {name} is no text", "Put it in quotes.")
        if "\0" in value:
            raise InvalidInput("use", where, f"the value of {name} holds a zero byte", "Correct it.")
        login[name] = value
    if GOOGLE_FILE in login:
        path = Path(login[GOOGLE_FILE]).expanduser().resolve()
        if not path.is_file():
            raise InvalidInput("read", f"{GOOGLE_FILE} {path}", "there is no such file", f"Correct the {where}.")
        login[GOOGLE_FILE] = str(path)
    key, secret = options.get("access_key"), options.get("secret_key")
    if bool(key) != bool(secret):
        raise InvalidInput("use", target, "access_key and secret_key belong together", "Set both or neither.")
    if key and secret:
        if login and kind(url) == "s3":
            raise InvalidInput(
                "use", where, f"access_key is set too, and {next(iter(login))} here", "Set one of the two."
            )
        login |= {"AWS_ACCESS_KEY_ID": str(key), "AWS_SECRET_ACCESS_KEY": str(secret)}
    return login


def without_login(url: str, target: str) -> tuple[str, dict[str, str]]:
    """The URL of a REST server without the login that it may hold, and that login as variables."""
    if kind(url) != "rest":
        return url, {}
    if not url.lower().startswith(("rest:http://", "rest:https://", "rest:http+unix://")):
        what = "its URL does not say how its server is asked"
        raise InvalidInput("use", target, what, "Write it as rest:https://host:port/path.")
    try:
        parts = urlsplit(url.removeprefix("rest:"))
        place = parts.netloc.rpartition("@")[2]
        # Reading it is what tells a number from what is none.
        _port = parts.port
    except ValueError:
        hint = "Correct it; in a login in it percent-encode what is no letter and no digit, or use environment."
        raise InvalidInput("use", target, "its URL has a server or a port that cannot be read", hint) from None
    if place == parts.netloc:
        return url, {}
    user, _colon, password = parts.netloc.rpartition("@")[0].partition(":")
    login = {REST_USER: unquote(user), REST_PASSWORD: unquote(password)}
    if any("\0" in value for value in login.values()):
        raise InvalidInput("use", target, "the login in its URL holds a zero byte", "Correct it.")
    return "rest:" + parts._replace(netloc=place).geturl(), {name: value for name, value in login.items() if value}


def with_login(url: str, login: Mapping[str, str]) -> str:
    """The URL of a REST server that restic is to send this login and, where it is empty, none of the environment's."""
    scheme, mark, rest = url.partition("://")
    if scheme.lower() not in ("rest:http", "rest:https"):
        return url
    user, password = (quote(login.get(name, ""), safe="") for name in (REST_USER, REST_PASSWORD))
    return f"{scheme}{mark}{user}:{password}@{rest}"


def inherited(login: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of restic's own, and without parts of another login than this."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("RESTIC_")}
    found |= {name: os.environ[name] for name in VARIABLES["rest"] if name in os.environ}
    for backend, names in VARIABLES.items():
        if any(name in login for name in names):
            for name in (*names, *_BESIDE.get(backend, ())):
                found.pop(name, None)
    return found


def login_of(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What of a whole environment is the login for this URL. Half of the keys of S3 are none."""
    login = {name: environment[name] for name in VARIABLES.get(kind(url), ()) if environment.get(name)}
    return {} if kind(url) == "s3" and not set(VARIABLES["s3"][:2]) <= login.keys() else login


def require(url: str, environment: Mapping[str, str], target: str) -> None:
    """:class:`InvalidInput` where restic needs variables for this URL that a whole environment does not have."""
    ways = _NEEDED.get(kind(url), ((),))
    if not any(all(environment.get(name) for name in way) for way in ways):
        told = ", or ".join(" and ".join(way) for way in ways)
        raise InvalidInput("open", target, f"there is no login for it: {told} is not set", "Set it in environment.")


def require_sendable(words: Iterable[str | None], target: str) -> None:
    """:class:`InvalidInput` for keys, tokens or regions of S3 that no request can hold: libraries would repeat them."""
    if not all(word.isascii() and word.isprintable() for word in words if word):
        reason = "its keys, its token or its region have a line break or another character that none has"
        raise InvalidInput("open", target, reason, "Correct them.")


def plain(environment: Any) -> set[str]:
    """What of an ``environment`` may be seen, such as names of users, which are names of much else too."""
    values = environment.items() if isinstance(environment, Mapping) else ()
    return {value for name, value in values if isinstance(value, str) and name in _PLAIN}


def hidden(environment: Any) -> Iterator[str]:
    """Texts that give away what of an ``environment`` is secret, also as they stand in URLs."""
    for name, value in environment.items() if isinstance(environment, Mapping) else ():
        if isinstance(value, str) and value and name not in _PLAIN:
            # What is the secret of a shared access signature stands among settings, whose order is anybody's.
            parts = value.removeprefix("?").split("&") if name == "AZURE_ACCOUNT_SAS" else []
            signatures = [part.removeprefix("sig=") for part in parts if part.startswith("sig=")]
            for text in (value, *signatures, *map(unquote, signatures)):
                yield from (text, quote(text, safe=""), quote(text))
