# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the files of a Compose project say of its services' images, whether a service has a container or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Denied,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Package, Requirement
from ansible_collections.muster.container_dr.plugins.module_utils._docker.interpolation import (
    Undetermined,
    environment,
    interpolate,
)

if TYPE_CHECKING:
    import yaml
else:
    yaml = Package("yaml")

REQUIREMENT = Requirement("PyYAML", ("yaml",))

JSON = dict[str, Any]
# What of YAML is more than text to us: else a tag 1.10 were a number, and a port 22:22 as well.
_TYPED = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
_RESET = object()


class _Override(dict[str, Any]):
    """What stands for all that earlier files say."""


@dataclass(frozen=True)
class Project:
    """A project with what Compose was told of it: paths of files, the latest counting most, and a shell's variables.

    Without ``env_files`` there is ``.env`` in ``directory``, if at all.
    """

    name: str
    files: tuple[Path, ...]
    directory: Path
    env_files: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """A service and its image as written; or as Compose names what it builds (``built``).

    With a ``problem`` nobody can say which image it is.
    """

    name: str
    image: str
    built: bool = False
    problem: str = ""


@dataclass(frozen=True)
class _Image:
    text: str
    problem: str = ""


def services(project: Project, warn: Callable[[str], None]) -> list[Service]:
    """The services of a project by name, those of all profiles.

    Raises :class:`MusterError` for a file that cannot be read. Files that are not on this machine, which ``include``
    may name, are warned of.
    """
    REQUIREMENT.check(f"the files of Compose project {project.name}")
    reader = _Reader(project.name, warn)
    given = {"COMPOSE_PROJECT_NAME": project.name, **project.environment}
    declared = reader.services(project.files, project.directory, project.env_files, given, ())
    return list(_listed(project.name, declared))


def _listed(project: str, declared: Mapping[str, JSON]) -> Iterator[Service]:
    for name in sorted(declared):
        said = {key: value for key, value in declared[name].items() if value is not _RESET}
        image = said.get("image")
        # An empty one, such as a variable may leave, is none.
        if image is not None and (image.text or image.problem):
            yield Service(name, image.text or f"{project}-{name}", problem=image.problem)
        elif said.get("build") is not None:
            yield Service(name, f"{project}-{name}", built=True)
        elif said.get("provider") is None:
            yield Service(name, f"{project}-{name}", problem="its service has neither image nor build")


class _Reader:
    """Reads files of one project, each once."""

    def __init__(self, project: str, warn: Callable[[str], None]) -> None:
        self._project = project
        self._warn = warn
        self._read: dict[Path, list[JSON]] = {}

    def services(
        self,
        files: Sequence[Path],
        directory: Path,
        env_files: Sequence[Path],
        given: Mapping[str, str | None],
        above: tuple[Path, ...],
    ) -> dict[str, JSON]:
        """What the files together say of each service: ``image``, ``build`` and ``provider``, of the last that does.

        ``above`` are the files that include these.
        """
        variables = self._variables(directory, env_files, given)
        found: dict[str, JSON] = {}
        for path in map(_plain, files):
            if path in above:
                raise self._wrong(path, "it includes itself")
            for document in self._documents(path):
                for entry in _list(document.get("include")):
                    included = self._included(entry, path, directory, variables, (*above, path))
                    found.update({name: _over(found.get(name, {}), said) for name, said in included.items()})
                declared = self._declared(path, document)
                for name, value in declared.items():
                    if value is _RESET or isinstance(value, _Override):
                        found.pop(name, None)
                    if value is not _RESET:
                        said = self._service(path, directory, declared, name, variables, ())
                        found[name] = _over(found.get(name, {}), said)
        return found

    def _service(
        self,
        path: Path,
        directory: Path,
        declared: Mapping[str, Any],
        name: str,
        variables: Mapping[str, str | None],
        below: tuple[tuple[Path, str], ...],
    ) -> JSON:
        """What a file says of a service, with what that extends."""
        value = declared[name] if isinstance(declared[name], Mapping) else {}
        said = {key: value[key] for key in ("image", "build", "provider") if value.get(key) is not None}
        if said.get("image", _RESET) is not _RESET:
            said["image"] = _image(said["image"], variables)
        extends = value.get("extends")
        if extends is None or extends is _RESET:
            return said
        try:
            base = self._extended(path, directory, declared, extends, variables, (*below, (path, name)))
        except (Undetermined, MusterError) as error:
            problem = f"what its service extends is not known: {error}"
            base = {"image": _Image("", problem)}
        return _over(base, said)

    def _extended(
        self,
        path: Path,
        directory: Path,
        declared: Mapping[str, Any],
        extends: Any,
        variables: Mapping[str, str | None],
        below: tuple[tuple[Path, str], ...],
    ) -> JSON:
        extends = extends if isinstance(extends, Mapping) else {"service": extends}
        name = str(extends.get("service"))
        if extends.get("file"):
            file = interpolate(str(extends["file"]), variables)
            if _remote(file):
                raise Undetermined("it is in a file of another machine")
            path = _plain(directory / file)
            directory = path.parent
            documents = [self._declared(path, document) for document in self._documents(path)]
            declared = {key: value for one in documents for key, value in one.items()}
        if (path, name) in below:
            raise Undetermined("it extends itself")
        if name not in declared:
            raise Undetermined(f"{path} has no service {name}")
        return self._service(path, directory, declared, name, variables, below)

    def _included(
        self, entry: Any, path: Path, directory: Path, variables: Mapping[str, str | None], above: tuple[Path, ...]
    ) -> dict[str, JSON]:
        entry = entry if isinstance(entry, Mapping) else {"path": entry}
        try:
            files = [interpolate(str(file), variables) for file in _list(entry.get("path"))]
            env_files = [interpolate(str(file), variables) for file in _list(entry.get("env_file"))]
            own = interpolate(str(entry.get("project_directory") or ""), variables)
            foreign = next((file for file in files if _remote(file)), None)
            problem = f"{foreign} is not on this machine" if foreign else "" if files else "it names no path"
        except Undetermined as error:
            problem = str(error)
        if problem:
            self._warn(
                f"An include in {path} of Compose project {self._project} is not read, and the images of its services "
                f"that have no container are not seen: {problem}."
            )
            return {}
        paths = [_plain(directory / file) for file in files]
        below = _plain(directory / own) if own else paths[0].parent
        return self.services(paths, below, [_plain(directory / file) for file in env_files], variables, above)

    def _variables(
        self, directory: Path, env_files: Sequence[Path], given: Mapping[str, str | None]
    ) -> dict[str, str | None]:
        """The variables of the environment files, of which later ones count more, and those that are given."""
        usual = directory / ".env"
        found: dict[str, str | None] = {}
        for path in env_files or ([usual] if usual.is_file() else []):
            found.update(environment(self._text(path), {**found, **given}, f"environment file {path}"))
        return {**found, **given}

    def _declared(self, path: Path, document: JSON) -> JSON:
        declared = document.get("services") or {}
        if not isinstance(declared, Mapping):
            raise self._wrong(path, "its services are no mapping")
        return {str(name): value for name, value in declared.items()}

    def _documents(self, path: Path) -> list[JSON]:
        if path not in self._read:
            text = self._text(path)
            try:
                documents = [document for document in yaml.load_all(text, Loader=_loader()) if document is not None]
            except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
                # Tags such as !!int fail in ways of their own. No more of it: what stands there may be a secret.
                mark = getattr(error, "problem_mark", None)
                raise self._wrong(path, "it is no YAML" + (f", see line {mark.line + 1}" if mark else "")) from None
            if not all(isinstance(document, dict) for document in documents):
                raise self._wrong(path, "it is no mapping")
            self._read[path] = documents
        return self._read[path]

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise NotFound("read", self._titled(path), "there is no such file", "Correct its path.") from None
        except PermissionError:
            raise Denied("read", self._titled(path), "this user may not", "Use become.") from None
        except OSError as error:
            raise Unavailable("read", self._titled(path), error.strerror or str(error)) from None
        except ValueError:
            raise self._wrong(path, "it is no text in UTF-8") from None

    def _wrong(self, path: Path, reason: str) -> InvalidInput:
        return InvalidInput("read", self._titled(path), reason, "Correct the file; docker compose config checks it.")

    def _titled(self, path: Path) -> str:
        return f"{path} of Compose project {self._project}"


def _over(first: JSON, second: JSON) -> JSON:
    """What a later file, or the service that extends another, says goes before."""
    return {**first, **second}


def _image(value: Any, variables: Mapping[str, str | None]) -> _Image:
    if not isinstance(value, str):
        return _Image("", "its image is no text")
    try:
        return _Image(interpolate(value, variables))
    except Undetermined as error:
        return _Image(value, str(error))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None or value is _RESET else [value]


def _plain(path: Path) -> Path:
    """A path without .. as Compose has it; else one of several ways to a file would lead round for ever."""
    return Path(os.path.normpath(path))


def _remote(file: str) -> bool:
    return "://" in file or file.startswith(("git@", "oci:"))


def _loader() -> Any:
    class Loader(yaml.SafeLoader):
        """YAML of which scalars are texts, with the tags of Compose."""

    def tagged(loader: Any, tag: str, node: Any) -> Any:
        if tag == "reset":
            return _RESET
        if isinstance(node, yaml.MappingNode):
            mapping = loader.construct_mapping(node, deep=True)
            return _Override(mapping) if tag == "override" else mapping
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.yaml_implicit_resolvers = {
        first: [known for known in resolvers if known[0] in _TYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_multi_constructor("!", tagged)
    return Loader
