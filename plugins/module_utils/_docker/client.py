# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The API of one Docker Engine; the only file that knows its SDK."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, MusterError, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement

if TYPE_CHECKING:
    import docker
    import docker.errors
    import docker.tls
else:
    docker = Package("docker", "errors", "tls")

REQUIREMENT = Requirement("docker", ("docker",))

JSON = dict[str, Any]
Value = TypeVar("Value")

# Seconds: to be heard at all, for an answer, and for an export, of which the daemon prepares all before its first byte.
_CONNECT = 10
_ANSWER = 60
_EXPORT = 3600
_CHUNK = 1024 * 1024
_HINT = "Check that Docker runs there, docker.docker_host and DOCKER_HOST."


class Engine:
    """A Docker Engine, reached as community.docker's options say; it is connected to when it is first asked.

    Raises :class:`Unavailable` or :class:`Denied` where it cannot be asked, :class:`NotFound` without the SDK.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = options or {}
        self.place = f"Docker at {self._options.get('docker_host') or 'its usual socket'}"
        # The SDK's types know no pair of timeouts.
        self._connected: Any = None
        self._lock = threading.Lock()

    def name(self) -> str:
        """The host's name, as the engine knows it."""
        return str(self._ask("ask", self.place, lambda client: client.info()).get("Name") or "")

    def containers(self) -> list[JSON]:
        """What ``docker ps --all`` knows of each container: ``Id``, ``Names``, ``Labels``, ``State``."""
        listed: list[JSON] = self._ask(
            "list", f"the containers of {self.place}", lambda client: client.containers(all=True)
        )
        return listed

    def container(self, identity: str) -> JSON | None:
        """What ``docker inspect`` says of a container; ``None`` where it is gone."""
        return self._find(
            f"container {identity[:12]} of {self.place}", lambda client: client.inspect_container(identity)
        )

    def image(self, name: str) -> JSON | None:
        """What ``docker image inspect`` says of an image, by name or id; ``None`` where it is not there."""
        return self._find(f"image {name} of {self.place}", lambda client: client.inspect_image(name))

    def export(self, name: str) -> Generator[bytes, None, None] | None:
        """What ``docker save`` writes of an image, by name or id; ``None`` where it is not there.

        Not by the SDK's own function, which would wait for ever for a daemon that got stuck.
        """
        target = f"image {name} from {self.place}"
        client = self._client()
        url = f"{client.base_url}/v{client.api_version}/images/{quote(name, safe='/:')}/get"
        try:
            response = client.get(url, stream=True, timeout=(_CONNECT, _EXPORT))
            if response.status_code != 200:
                with response:
                    message = _message(response)
                if response.status_code == 404:
                    return None
                raise Unavailable("export", target, message, _HINT)
        except OSError as error:
            raise _failed("export", target, error) from None
        return _chunks(target, response)

    def close(self) -> None:
        """Close idle connections."""
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def _ask(self, action: str, target: str, question: Callable[[Any], Value]) -> Value:
        client = self._client()
        try:
            return question(client)
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, OSError) as error:
            raise _failed(action, target, error) from None

    def _find(self, target: str, question: Callable[[Any], JSON]) -> JSON | None:
        try:
            return self._ask("read", target, question)
        except docker.errors.NotFound:
            return None

    def _client(self) -> Any:
        REQUIREMENT.check(self.place)
        with self._lock:
            if self._connected is None:
                try:
                    client: Any = docker.APIClient(timeout=_CONNECT, version="auto", **self._reach())
                except (docker.errors.DockerException, OSError) as error:
                    raise _failed("reach", self.place, error) from None
                client.timeout = (_CONNECT, _ANSWER)
                self._connected = client
            return self._connected

    def _reach(self) -> dict[str, Any]:
        """The SDK's arguments."""
        host = self._options.get("docker_host")
        reach: dict[str, Any] = {"base_url": host} if host else {}
        if host and host.startswith("ssh://"):
            # The user's own ssh program, with its configuration, agent and known hosts.
            reach["use_ssh_client"] = True
        verify = bool(self._options.get("validate_certs"))
        # Over a socket there is no TLS, whatever the environment says for others.
        if host and host.startswith(("tcp://", "https://")) and (verify or self._options.get("tls")):
            reach["tls"] = self._tls(verify)
        return reach

    def _tls(self, verify: bool) -> docker.tls.TLSConfig:
        class Trust(docker.tls.TLSConfig):
            """These certificates, whatever REQUESTS_CA_BUNDLE names, which goes before a session's own otherwise."""

            def configure_client(self, client: Any) -> None:
                super().configure_client(client)
                client.trust_env = False

        certificate, key = self._options.get("client_cert"), self._options.get("client_key")
        return Trust(
            client_cert=(str(certificate), str(key)) if certificate and key else None,
            ca_cert=self._options.get("ca_path"),
            verify=verify,
        )


def _chunks(target: str, response: Any) -> Generator[bytes, None, None]:
    try:
        with response:
            yield from response.iter_content(_CHUNK)
    except OSError as error:
        raise _failed("export", target, error) from None


def _message(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answers {response.status_code}"


def _failed(action: str, target: str, error: Exception) -> MusterError:
    reason, cause = str(error), _cause(error)
    if isinstance(cause, PermissionError):
        return Denied(action, target, "this user may not", "Add the user to the group of the socket, or use become.")
    if cause is not None:
        reason = cause.strerror or reason
    return Unavailable(action, target, reason, _HINT)


def _cause(error: BaseException) -> OSError | None:
    """The system's own error below those of the layers that pass it on."""
    seen: BaseException | None = error
    found: OSError | None = None
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            found = seen
        seen = seen.__cause__ or seen.__context__
    return found
