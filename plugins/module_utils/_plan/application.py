# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""An application as the inventory describes it, checked key by key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._plan import retention

_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
# Of a file in a snapshot, and part of the name of a host there.
_FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
_GLOB = re.compile(r"[*?\[]")
_PROJECT = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
# These choose objects only; k8s_snapshot checks what is in them.
SELECTION_KEYS = (
    "allow_no_match",
    "cluster_scoped",
    "exclude_cluster_scoped",
    "exclude_kinds",
    "exclude_namespaces",
    "include_kinds",
    "leave_out",
    "names",
    "owners",
    "selectors",
    "versions",
    "whole_cluster",
)
_KEYS = (
    "name",
    "namespaces",
    "containers",
    "compose_projects",
    "compose_files",
    "targets",
    "hooks",
    "hook_annotations",
    "group_snapshots",
    "restore_hooks",
    "retention",
    "streams",
    "volumes",
    "checks",
    "health_ignore",
    "image_fields",
    "image_signatures",
    "images",
    *SELECTION_KEYS,
)
_HOOK_KEYS = ("name", "namespace", "selector", "container", "pre", "post", "timeout", "on_error", "output")
_COMMAND_KEYS = ("container", "command", "timeout", "wait_timeout", "wait_for_ready", "on_error", "output")
_FEED_KEYS = ("command", "timeout", "stall_timeout", "wait_timeout")
_POD_KEYS = ("selector", "container")
_CONTAINER_KEYS = ("container", "service", "user")
_STREAM_KEYS = ("name", "filename", "restore", *_FEED_KEYS)
_INIT_KEYS = ("name", "namespace", "selector", "init_containers")


@dataclass(frozen=True)
class Targets:
    """What may be lost (``rpo``) and how long it may take (``rto``), in seconds; ``None`` where nobody said."""

    rpo: float | None = None
    rto: float | None = None


@dataclass(frozen=True)
class Hook:
    """A command in a container before (``pre``) and after (``post``) the snapshots; ``timeout`` in seconds."""

    name: str
    namespace: str | None
    selector: str | None
    container: str | None
    pre: tuple[str, ...]
    post: tuple[str, ...]
    timeout: float
    optional: bool
    """The backup goes on when it fails (``on_error: continue``)."""


@dataclass(frozen=True)
class Feed:
    """A command in a container that takes a stream, or gives it; times in seconds.

    In a cluster ``selector`` says in which pod and ``container`` in which of its containers. On a Docker host
    ``container`` is its name, or ``service``, as ``SERVICE`` or ``PROJECT/SERVICE``, that of Compose. ``stall_timeout``
    is how long no data may move, ``wait_timeout`` how long to wait until it runs.
    """

    selector: str
    container: str | None
    command: tuple[str, ...]
    timeout: float = 4 * 3600.0
    stall_timeout: float = 600.0
    wait_timeout: float = 300.0
    service: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class Stream:
    """What a command prints, as data of an application; without ``restore`` nothing takes it at a restore.

    On a Docker host ``namespace`` is empty.
    """

    name: str
    namespace: str
    filename: str
    dump: Feed
    restore: Feed | None = None


@dataclass(frozen=True)
class ExcludedVolume:
    namespace: str
    name: str
    reason: str


@dataclass(frozen=True)
class ExcludedImage:
    """Images that need not be kept; ``pattern`` is a glob of ``HOST/REPOSITORY``."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Application:
    name: str
    namespaces: tuple[str, ...]
    targets: Targets = Targets()
    hooks: tuple[Hook, ...] = ()
    excluded_volumes: tuple[ExcludedVolume, ...] = ()
    checks: tuple[Mapping[str, Any], ...] = field(default=())
    streams: tuple[Stream, ...] = ()
    health_ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComposeFiles:
    """The files of one Compose project, as paths, and the variables that Compose gets besides."""

    project: str
    files: tuple[str, ...]
    env_files: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Containers:
    """An application on a Docker host: names and globs of containers and of Compose projects."""

    name: str
    containers: tuple[str, ...]
    compose_projects: tuple[str, ...]
    compose_files: tuple[ComposeFiles, ...] = ()

    @property
    def projects(self) -> tuple[str, ...]:
        """The patterns of Compose projects; one whose files are named belongs to the application."""
        return tuple(dict.fromkeys((*self.compose_projects, *(entry.project for entry in self.compose_files))))


def on_docker(value: Mapping[str, Any]) -> bool:
    """Whether an application is on a Docker host; :class:`InvalidInput` for one that would be on a cluster as well."""
    docker = [key for key in ("containers", "compose_projects", "compose_files") if value.get(key)]
    cluster = [key for key in ("namespaces", "whole_cluster", *SELECTION_KEYS) if value.get(key)]
    cluster = [key for key in dict.fromkeys(cluster) if key != "allow_no_match"]
    if docker and cluster:
        raise _wrong(
            f"application {value.get('name') or ''}".strip(),
            f"it has {docker[0]} of a Docker host and {cluster[0]} of a cluster",
            "Make two applications of it, each with its own site.",
        )
    return bool(docker)


def containers(value: Mapping[str, Any]) -> Containers:
    """What an application on a Docker host consists of."""
    name = str(value.get("name") or "")
    where = f"application {name}".strip()
    return Containers(
        name,
        _texts(f"{where}, containers", value.get("containers")),
        _texts(f"{where}, compose_projects", value.get("compose_projects")),
        _compose_files(f"{where}, compose_files", value.get("compose_files")),
    )


def _compose_files(where: str, value: Any) -> tuple[ComposeFiles, ...]:
    found = []
    for index, item in enumerate(_dicts(where, value)):
        entry = f"{where}[{index}]"
        _known(entry, item, ("project", "files", "env_files", "environment"))
        project = _text(entry, item, "project")
        if not _PROJECT.match(project):
            raise _wrong(entry, f"project is {project!r}", "Write its name; docker compose ls shows it.")
        if item.get("files") is None:
            raise _wrong(entry, "it has no 'files'", "List them, or none where its containers are all that it has.")
        files, env_files = (_texts(f"{entry}, {key}", item.get(key)) for key in ("files", "env_files"))
        for path in (*files, *env_files):
            if not path.startswith("/"):
                raise _wrong(entry, f"{path!r} is no absolute path", "Begin it with '/'.")
        given = _dict(f"{entry}, environment", item.get("environment"))
        if not all(isinstance(text, str | int | float) and not isinstance(text, bool) for text in given.values()):
            raise _wrong(f"{entry}, environment", "a value in it is no text", "Quote it.")
        found.append(ComposeFiles(project, files, env_files, {str(key): str(text) for key, text in given.items()}))
    _unique(where, [entry.project for entry in found])
    return tuple(found)


def name_of(value: Mapping[str, Any]) -> str:
    """The application's name, for those who need no more of it."""
    name = value.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise _wrong("application", f"name is {name!r}", "Use at most 63 lower-case letters, digits, '-' and '.'.")
    return name


def excluded_images(value: Mapping[str, Any]) -> tuple[ExcludedImage, ...]:
    """The key ``images.exclude`` of an application on a cluster or a Docker host, in its order."""
    where = f"application {value.get('name') or ''}".strip()
    images = _dict(f"{where}, images", value.get("images"))
    _known(f"{where}, images", images, ("exclude",))
    found = []
    for index, item in enumerate(_dicts(f"{where}, images.exclude", images.get("exclude"))):
        entry = f"{where}, images.exclude[{index}]"
        _known(entry, item, ("pattern", "reason"))
        found.append(ExcludedImage(_text(entry, item, "pattern"), _text(entry, item, "reason")))
    return tuple(found)


def check_keys(value: Mapping[str, Any]) -> None:
    """Refuse a key that no application has (:class:`InvalidInput`), for those who read only some of them."""
    _known(f"application {value.get('name') or ''}".strip(), value, _KEYS)


def parse(value: Mapping[str, Any]) -> Application:
    """The application, or :class:`InvalidInput` that names the key and says what belongs there."""
    name = name_of(value)
    where = f"application {name}"
    _known(where, value, _KEYS)
    namespaces = _texts(f"{where}, namespaces", value.get("namespaces"))
    if on_docker(value):
        raise _wrong(
            where, "it is on a Docker host", "Of a Docker host image_mirror and volume_export take applications as yet."
        )
    if not namespaces and not value.get("whole_cluster"):
        raise _wrong(where, "it names no namespaces", "List at least one under 'namespaces'.")
    _unique(f"{where}, namespaces", namespaces)
    hooks = tuple(
        _hook(f"{where}, hooks[{index}]", hook, namespaces)
        for index, hook in enumerate(_dicts(f"{where}, hooks", value.get("hooks")))
    )
    _unique(f"{where}, hooks", [hook.name for hook in hooks])
    annotations = value.get("hook_annotations")
    if annotations is not None and not isinstance(annotations, bool):
        raise _wrong(where, f"hook_annotations is {annotations!r}", "Write true or false.")
    groups = value.get("group_snapshots", "auto")
    if groups not in ("auto", "required", "never"):
        raise _wrong(where, f"group_snapshots is {groups!r}", "Write auto, required or never.")
    restore_hooks = _dicts(f"{where}, restore_hooks", value.get("restore_hooks"))
    for index, hook in enumerate(restore_hooks):
        _check_restore_hook(f"{where}, restore_hooks[{index}]", hook, namespaces)
    _unique(f"{where}, restore_hooks", [str(hook["name"]) for hook in restore_hooks])
    checks = _dicts(f"{where}, checks", value.get("checks"))
    for index, check in enumerate(checks):
        _text(f"{where}, checks[{index}]", check, "name")
        _text(f"{where}, checks[{index}]", check, "kind")
    _unique(f"{where}, checks", [str(check["name"]) for check in checks])
    given = streams(where, value.get("streams"), namespaces)
    if value.get("retention") is not None:
        retention.Policy.parse(_dict(f"{where}, retention", value.get("retention")))
    # image_mirror checks what is in them.
    _dicts(f"{where}, image_signatures", value.get("image_signatures"))
    excluded_images(value)
    volumes = _dict(f"{where}, volumes", value.get("volumes"))
    _known(f"{where}, volumes", volumes, ("exclude",))
    return Application(
        name=name,
        namespaces=namespaces,
        targets=targets(where, value.get("targets")),
        hooks=hooks,
        excluded_volumes=tuple(
            _excluded(f"{where}, volumes.exclude[{index}]", item)
            for index, item in enumerate(_dicts(f"{where}, volumes.exclude", volumes.get("exclude")))
        ),
        checks=tuple(checks),
        streams=given,
        health_ignore=_texts(f"{where}, health_ignore", value.get("health_ignore")),
    )


def streams(where: str, value: Any, namespaces: Sequence[str]) -> tuple[Stream, ...]:
    """The key ``streams`` of an application with these namespaces, of which a stream is in the first by default."""
    found = tuple(
        _stream(f"{where}, streams[{index}]", item, namespaces)
        for index, item in enumerate(_dicts(f"{where}, streams", value))
    )
    _unique(f"{where}, streams", [f"{stream.namespace}/{stream.name}" for stream in found])
    return found


def docker_streams(where: str, value: Any) -> tuple[Stream, ...]:
    """The key ``streams`` of an application on a Docker host."""
    found = tuple(
        _docker_stream(f"{where}, streams[{index}]", item)
        for index, item in enumerate(_dicts(f"{where}, streams", value))
    )
    _unique(f"{where}, streams", [stream.name for stream in found])
    return found


def feed(where: str, value: Any, default: Feed | None = None, *, docker: bool = False) -> Feed:
    """A command that takes a stream, from the key ``restore``; what it does not say is that of the one that gave it."""
    given = _dict(where, value)
    _known(where, given, (*_FEED_KEYS, *(_CONTAINER_KEYS if docker else _POD_KEYS)))
    return _docker_feed(where, given, default) if docker else _pod_feed(where, given, default)


def targets(where: str, value: Any) -> Targets:
    """RPO and RTO from ``{rpo: 15m, rto: 1h}``."""
    given = _dict(f"{where}, targets", value)
    _known(f"{where}, targets", given, ("rpo", "rto"))
    return Targets(
        rpo=_seconds(f"{where}, targets.rpo", given["rpo"]) if given.get("rpo") is not None else None,
        rto=_seconds(f"{where}, targets.rto", given["rto"]) if given.get("rto") is not None else None,
    )


def _hook(where: str, value: Mapping[str, Any], namespaces: Sequence[str]) -> Hook:
    _known(where, value, _HOOK_KEYS)
    name = _text(where, value, "name")
    where = f"{where} ({name})"
    pre, post = _texts(f"{where}, pre", value.get("pre")), _texts(f"{where}, post", value.get("post"))
    if not pre and not post:
        raise _wrong(where, "it has neither 'pre' nor 'post'", "Give the command as a list of arguments.")
    _check_common(where, value, namespaces)
    return Hook(
        name=name,
        namespace=value.get("namespace"),
        selector=value.get("selector"),
        container=value.get("container"),
        pre=pre,
        post=post,
        timeout=_seconds(f"{where}, timeout", value.get("timeout", 60)),
        optional=value.get("on_error") == "continue",
    )


def _stream(where: str, value: Mapping[str, Any], namespaces: Sequence[str]) -> Stream:
    _known(where, value, (*_STREAM_KEYS, "namespace", *_POD_KEYS))
    where, name, filename = _stream_names(where, value)
    _check_common(where, value, namespaces)
    namespace = str(value.get("namespace") or next(iter(namespaces), ""))
    if not namespace or _GLOB.search(namespace):
        raise _wrong(where, f"its namespace is {namespace!r}, a pattern", "Give it a 'namespace'.")
    dump = _pod_feed(where, value)
    back = feed(f"{where}, restore", value["restore"], dump) if value.get("restore") else None
    return Stream(name, namespace, filename, dump, back)


def _docker_stream(where: str, value: Mapping[str, Any]) -> Stream:
    _known(where, value, (*_STREAM_KEYS, *_CONTAINER_KEYS))
    where, name, filename = _stream_names(where, value)
    dump = _docker_feed(where, value)
    back = feed(f"{where}, restore", value["restore"], dump, docker=True) if value.get("restore") else None
    return Stream(name, "", filename, dump, back)


def _stream_names(where: str, value: Mapping[str, Any]) -> tuple[str, str, str]:
    """How errors call the stream, its name and that of its file."""
    name = _text(where, value, "name")
    where = f"{where} ({name})"
    filename = str(value.get("filename") or name)
    for key, text in (("name", name), ("filename", filename)):
        if not _FILE_NAME.match(text):
            raise _wrong(
                where, f"{key} is {text!r}", "Use letters, digits, '.', '_' and '-', with a letter or digit in front."
            )
    return where, name, filename


def _pod_feed(where: str, value: Mapping[str, Any], default: Feed | None = None) -> Feed:
    container = _optional(where, value, "container", default.container if default else None)
    selector = _text(where, {"selector": default.selector, **value} if default else value, "selector")
    return replace(_feed(where, value, default), selector=selector, container=container)


def _docker_feed(where: str, value: Mapping[str, Any], default: Feed | None = None) -> Feed:
    container, service = (_optional(where, value, key) for key in ("container", "service"))
    if default and not container and not service:
        container, service = default.container, default.service
    if bool(container) == bool(service):
        raise _wrong(
            where,
            "it needs either 'container' or 'service'",
            "Name the container, or the service of Compose as SERVICE or PROJECT/SERVICE.",
        )
    if service and not all(service.split("/", 1)):
        raise _wrong(where, f"service is {service!r}", "Write SERVICE or PROJECT/SERVICE.")
    user = _optional(where, value, "user", default.user if default else None)
    return replace(_feed(where, value, default), container=container, service=service, user=user)


def _feed(where: str, value: Mapping[str, Any], default: Feed | None) -> Feed:
    command = _texts(f"{where}, command", value.get("command"))
    if not command:
        raise _wrong(where, "it has no 'command'", "Give it as a list of words; no shell reads them.")
    base = default or Feed("", None, command)
    timeout, stall, wait = (
        getattr(base, key) if value.get(key) is None else _seconds(f"{where}, {key}", value[key])
        for key in ("timeout", "stall_timeout", "wait_timeout")
    )
    return replace(base, command=command, timeout=timeout, stall_timeout=stall, wait_timeout=wait)


def _optional(where: str, value: Mapping[str, Any], key: str, default: str | None = None) -> str | None:
    """A text that may be missing."""
    return default if value.get(key) is None else _text(where, value, key)


def _check_common(where: str, value: Mapping[str, Any], namespaces: Sequence[str]) -> None:
    """What hooks of backups and of restores share."""
    namespace = value.get("namespace")
    # Of a whole cluster nobody knows the namespaces beforehand.
    known = not namespaces or any(fnmatchcase(str(namespace), pattern) for pattern in namespaces)
    if namespace is not None and not known:
        raise _wrong(where, f"namespace {namespace!r} is not one of the application's", "Correct it or leave it out.")
    for key, choices in (("on_error", ("fail", "continue")), ("output", ("kept", "none"))):
        if value.get(key, choices[0]) not in choices:
            raise _wrong(where, f"{key} is {value[key]!r}", f"Write {choices[0]!r} or {choices[1]!r}.")


def _check_restore_hook(where: str, value: Mapping[str, Any], namespaces: Sequence[str]) -> None:
    """``k8s_restore`` reads it; here it is found out before there is a disaster whether it can be read."""
    _known(where, value, (*_INIT_KEYS, *_COMMAND_KEYS))
    where = f"{where} ({_text(where, value, 'name')})"
    _text(where, value, "selector")
    command = _texts(f"{where}, command", value.get("command"))
    containers = _dicts(f"{where}, init_containers", value.get("init_containers"))
    if bool(command) == bool(containers):
        raise _wrong(where, "it needs either 'command' or 'init_containers'", "Give one of the two.")
    if containers:
        _known(where, value, _INIT_KEYS)
    for index, container in enumerate(containers):
        _text(f"{where}, init_containers[{index}]", container, "name")
        _text(f"{where}, init_containers[{index}]", container, "image")
    _check_common(where, value, namespaces)
    for key in ("timeout", "wait_timeout"):
        if value.get(key) is not None:
            _seconds(f"{where}, {key}", value[key])


def _excluded(where: str, value: Mapping[str, Any]) -> ExcludedVolume:
    _known(where, value, ("namespace", "name", "reason"))
    return ExcludedVolume(_text(where, value, "namespace"), _text(where, value, "name"), _text(where, value, "reason"))


def _wrong(where: str, reason: str, hint: str) -> InvalidInput:
    return InvalidInput("use", where, reason, hint)


def _known(where: str, value: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in value:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, 1)
            guess = f"Did you mean {near[0]!r}? " if near else ""
            raise _wrong(where, f"it has an unknown key {key!r}", f"{guess}Known are {', '.join(keys)}.")


def _dict(where: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(where, f"it is {value!r}", "Write a dictionary.")
    return value


def _dicts(where: str, value: Any) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise _wrong(where, "it is not a list of dictionaries", "Write a list.")
    return list(value)


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise _wrong(where, "it is not a list of texts", "Write a list, one text per entry.")
    return tuple(value)


def _text(where: str, value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise _wrong(where, f"'{key}' is {text!r}", "Write a text.")
    return text


def _seconds(where: str, value: Any) -> float:
    try:
        seconds = clock.duration(value)
    except InvalidInput as error:
        raise _wrong(where, error.reason, error.hint) from None
    if seconds <= 0:
        raise _wrong(where, "it is zero", "Write a length of time such as 15m.")
    return seconds


def _unique(where: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _wrong(where, f"{name!r} is there twice", "Names must differ.")
