# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The API of one Docker Engine; the only file that knows its SDK."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ansible_collections.muster.container_dr.plugins.module_utils._core import exchange
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._docker import command_stream, connection

if TYPE_CHECKING:
    import docker
    import docker.errors
    import docker.tls
    import docker.utils
    import requests
    import urllib3
else:
    docker = Package("docker", "errors", "tls", "utils")
    # The SDK needs both.
    requests, urllib3 = Package("requests"), Package("urllib3")

REQUIREMENT = Requirement("docker", ("docker",))

JSON = dict[str, Any]
Value = TypeVar("Value")

# Seconds: to be heard at all, for an answer, and for an export, of which the daemon prepares all before its first byte.
_CONNECT = 10
_ANSWER = 60
_EXPORT = 3600
_CHUNK = 1024 * 1024
# How long an engine may take to note that a command has ended, after its outputs have.
_SETTLE = 10.0
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

    @property
    def is_here(self) -> bool:
        """Whether it is reached by a socket of this machine, whose files are then those of its host."""
        return self._url().startswith(("unix:", "http+unix:"))

    def name(self) -> str:
        """The host's name, as the engine knows it."""
        return str(self.info().get("Name") or "")

    def info(self) -> JSON:
        """What ``docker info`` says of the engine."""
        told: JSON = self._ask("ask", self.place, lambda client: client.info())
        return told

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

    # -- containers and volumes -----------------------------------------------------------------------------------

    def volumes(self, *labels: str) -> list[JSON]:
        """What ``docker volume ls`` knows of the volumes that have all ``labels``, each ``KEY`` or ``KEY=VALUE``."""
        filters = {"filters": json.dumps({"label": list(labels)})} if labels else {}
        listed = self._call("GET", "/volumes", "list", f"the volumes of {self.place}", params=filters)
        return list((listed or {}).get("Volumes") or [])

    def volume(self, name: str) -> JSON | None:
        """What ``docker volume inspect`` says of a volume; ``None`` where it is not there."""
        return self._find(f"volume {name} of {self.place}", lambda client: client.inspect_volume(name))

    def create_volume(
        self, name: str, labels: Mapping[str, str], driver: str = "local", options: JSON | None = None
    ) -> None:
        """Make a volume; one of that name and driver that is there is left as it is."""
        body = {"Name": name, "Driver": driver, "DriverOpts": options or {}, "Labels": dict(labels)}
        self._call("POST", "/volumes/create", "create", f"volume {name} of {self.place}", body=body)

    def remove_volume(self, name: str) -> None:
        """Remove a volume; one that is gone is no error."""
        self._call("DELETE", f"/volumes/{quote(name)}", "remove", f"volume {name} of {self.place}", gone=True)

    def create_container(self, name: str, body: JSON) -> str:
        """Make a container of what the API calls its configuration; returns its id."""
        params = {"name": name}
        made = self._call("POST", "/containers/create", "create", self._titled(name), params=params, body=body)
        return str((made or {})["Id"])

    def put(self, identity: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive into a folder of a container."""
        path, target = f"/containers/{identity}/archive", self._titled(identity)
        self._call("PUT", path, "copy files into", target, params={"path": folder}, data=archive)

    def start(self, identity: str) -> None:
        """Start a container; one that runs is no error."""
        self._act(identity, "start")

    def stop(self, identity: str, seconds: int) -> None:
        """Ask a container to end, and kill it after so long; one that has ended is no error."""
        self._act(identity, "stop", params={"t": seconds}, seconds=seconds + _ANSWER)

    def pause(self, identity: str) -> None:
        """Freeze all processes of a container."""
        self._act(identity, "pause")

    def unpause(self, identity: str) -> None:
        """Let the processes of a container go on."""
        self._act(identity, "unpause")

    def remove_container(self, identity: str) -> None:
        """Kill a container, remove it and its anonymous volumes; one that is gone is no error."""
        params = {"force": "1", "v": "1"}
        self._call("DELETE", f"/containers/{identity}", "remove", self._titled(identity), params=params, gone=True)

    def log(self, identity: str, lines: int) -> str:
        """The last lines of what a container printed."""
        target = f"the log of {self._titled(identity)}"
        said: bytes = self._ask("read", target, lambda client: client.logs(identity, tail=lines))
        return said.decode(errors="replace")

    def run(
        self,
        identity: str,
        command: Sequence[str],
        *,
        user: str | None = None,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: exchange.Source | None = None,
    ) -> exchange.Result:
        """Run a command in a container that runs; see :class:`exchange.Exchange`.

        Raises :class:`Unavailable` where it cannot be heard how it ended. That its output is whole the exit code does
        not say: engines drop what is not taken within two seconds after a command has ended.
        """
        target = f"{command[0]!r} in {self._titled(identity)}"
        attached = {"AttachStdin": source is not None, "AttachStdout": True, "AttachStderr": True, "Tty": False}
        body = {**attached, "Cmd": list(command), **({"User": user} if user else {})}
        made = self._call("POST", f"/containers/{identity}/exec", "run", target, body=body)
        path, failure = f"/exec/{made['Id']}", ""
        try:
            line = connection.connect(self._url(), self._trust, _CONNECT)
        except OSError as error:
            raise _failed("run", target, error) from None
        try:
            channel = command_stream.begin(line, f"/v{self._client().api_version}{path}", _ANSWER)
            done = exchange.Exchange(
                channel, target, timeout=timeout, stall=stall, check=check, take=take, source=source
            )
            try:
                done.run()
            except OSError as error:
                failure = f" ({error.strerror or error})"
        except command_stream.Refused as error:
            raise Unavailable("run", target, str(error), "Look at the container.") from None
        except OSError as error:
            raise _failed("run", target, error) from None
        finally:
            line.close()
        code = self._exit_code(path, target, failure)
        output = (done.parts[number].decode(errors="replace") for number in (exchange.STDOUT, exchange.STDERR))
        return exchange.Result(code, *output)

    def _exit_code(self, path: str, target: str, failure: str) -> int:
        end = time.monotonic() + _SETTLE
        while True:
            try:
                told = self._call("GET", f"{path}/json", "run", target)
            except MusterError as error:
                # An engine that was started again knows nothing of it.
                raise _broken(target, failure or f" ({error.reason})") from None
            if not told.get("Running") and told.get("ExitCode") is not None:
                return int(told["ExitCode"])
            if time.monotonic() >= end:
                raise _broken(target, failure)
            time.sleep(0.1)

    def pull(self, image: str, login: Mapping[str, str] | None = None) -> None:
        """Have the engine pull an image, with ``username`` and ``password`` where the registry wants them."""
        target = f"image {image} to {self.place}"
        secret = base64.urlsafe_b64encode(json.dumps(dict(login or {})).encode()).decode()
        name, _at, digest = image.partition("@")
        if digest:
            params = {"fromImage": name, "tag": digest}
        else:
            # Without a tag the engine would pull all that there are.
            tagged = ":" in image.rpartition("/")[2]
            params = {"fromImage": image, **({} if tagged else {"tag": "latest"})}
        lines = self._call(
            "POST",
            "/images/create",
            "pull",
            target,
            params=params,
            headers={"X-Registry-Auth": secret},
            seconds=_EXPORT,
            lines=True,
        )
        for line in lines or []:
            if line.get("error"):
                raise Unavailable("pull", target, str(line["error"]), "Check mover.image and mover.registry.")

    def _act(self, identity: str, verb: str, params: JSON | None = None, seconds: int = _ANSWER) -> None:
        path = f"/containers/{identity}/{verb}"
        self._call("POST", path, verb, self._titled(identity), params=params, seconds=seconds)

    def _titled(self, identity: str) -> str:
        short = identity[:12] if len(identity) == 64 else identity
        return f"container {short} of {self.place}"

    def _call(
        self,
        method: str,
        path: str,
        action: str,
        target: str,
        *,
        params: JSON | None = None,
        body: JSON | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: int = _ANSWER,
        gone: bool = False,
        lines: bool = False,
    ) -> Any:
        """One request, whose answer may take ``seconds``; its JSON, or ``None`` where it has none.

        The SDK's own functions leave out what is new in the API and cannot wait as long as a stop may take. With
        ``gone`` it is no error that the object is not there. With ``lines`` the answer is a list of JSON lines.
        """
        client = self._client()
        url = f"{client.base_url}/v{client.api_version}{path}"
        options = {"params": params, "json": body, "data": data, "headers": headers}
        try:
            response = client.request(method, url, timeout=(_CONNECT, seconds), **options)
            with response:
                status, text = response.status_code, response.content
                message = _message(response) if status >= 400 else ""
        except OSError as error:
            raise _failed(action, target, error) from None
        if status < 400:
            return [json.loads(line) for line in text.splitlines() if line] if lines else json.loads(text or b"null")
        if status == 404:
            if gone:
                return None
            raise NotFound(action, target, message)
        kind = {400: InvalidInput, 403: Denied, 409: Conflict}.get(status, Unavailable)
        raise kind(action, target, message, _HINT if kind is Unavailable and status == 503 else "")

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

    def _url(self) -> str:
        """The host as the SDK reads it."""
        reach = self._reach()
        try:
            return str(docker.utils.parse_host(reach.get("base_url"), tls="tls" in reach))
        except docker.errors.DockerException as error:
            raise _failed("reach", self.place, error) from None

    def _trust(self) -> ssl.SSLContext:
        """For a TLS connection of our own, the same trust as that of all other requests."""
        client = self._client()
        verify = client.verify
        context = urllib3.util.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
        context.check_hostname = bool(verify)
        if verify:
            context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else verify)
        if client.cert:
            context.load_cert_chain(*client.cert)
        return context

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


def _broken(target: str, why: str) -> Unavailable:
    reason = f"the connection broke before the command ended{why}"
    return Unavailable("run", target, reason, "Look at the container and try again.")


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
