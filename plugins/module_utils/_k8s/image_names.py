# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Pods run the images that the recovery point holds, from the target's registry, pinned by digest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import image_fields, kinds, objects, pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

PULL_SECRET = "container-dr-registry"
# Written by controllers or about the object: no image is taken from what stands there.
_NOT_WANTED = ("metadata", "status")


@dataclass
class ImageNames:
    """Image names as written, and what they become. ``unknown`` collects those that the point does not have.

    ``pointed``: by object, where in it an image was found at the capture, its name there, and what that becomes.
    """

    targets: Mapping[str, str]
    by_user: Mapping[str, str]
    pull_secret: str | None
    unknown: set[str] = field(default_factory=set)
    pointed: Mapping[str, Sequence[tuple[tuple[str, ...], str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: Mapping[str, Any] | None, images: Sequence[Mapping[str, Any]], login: bool) -> ImageNames:
        """From registry options and a recovery point's image list (``name``, ``digest``, ``path``, ``used_by``)."""
        targets: dict[str, str] = {}
        by_user: dict[str, str] = {}
        pointed: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
        for image in images if registry else ():
            if not isinstance(image, Mapping) or not image.get("name"):
                raise InvalidInput("read", "the list of images", "an entry has no name", "Give the document's images.")
            if not image.get("digest") or not image.get("path") or image.get("failed"):
                continue
            target = f"{place_of(registry or {})}/{str(image['path']).strip('/')}@{image['digest']}"
            targets.setdefault(str(image["name"]), target)
            # The same tag may run with two digests; the user of an image decides which it was.
            for user in image.get("used_by") or ():
                by_user[f"{user} {image['name']}"] = target
                owner, found, where = str(user).partition(":/")
                if found:
                    with suppress(pointer.PointerError):
                        place = pointer.parse(f"/{where}")
                        pointed.setdefault(owner, []).append((place, str(image["name"]), target))
        return cls(targets, by_user, PULL_SECRET if registry and login else None, pointed=pointed)

    @property
    def mapped(self) -> frozenset[str]:
        """Every image as it is named at the target's registry."""
        return frozenset(self.targets.values()) | frozenset(self.by_user.values())

    def rewrite(self, key: str, obj: JSON) -> list[str]:
        """Point what one object runs and mounts at the target's registry, in place, and say what was done."""
        if not self.targets and self.pull_secret is None:
            return []
        spec = objects.pod_spec(key, obj)
        if spec is not None:
            return self._pods(key, obj, spec)
        if key == "serviceaccounts" and self.pull_secret:
            obj["imagePullSecrets"] = _first(self.pull_secret, obj.get("imagePullSecrets"))
        else:
            count = self._pointed(key, obj) + (0 if kinds.built_in(key) else self._custom(key, obj))
            return [f"{count} images taken from the target's registry"] if count else []
        return []

    def _pods(self, key: str, obj: JSON, spec: JSON) -> list[str]:
        where = objects.identity(key, obj)
        plain = key.partition(".")[0]
        done = 0
        left: list[str] = []
        for part, holder, key_there in objects.images(spec):
            name = str(holder[key_there])
            user = f"{where.namespace}/{plain}/{where.name}:{part} {name}"
            target = self.by_user.get(user) or self.targets.get(name)
            if target:
                holder[key_there] = target
                done += 1
            else:
                left.append(name)
                self.unknown.add(name)
        if self.pull_secret and done:
            # The old logins are of the old registry; they stay only for images that are still pulled from there.
            spec["imagePullSecrets"] = _first(self.pull_secret, spec.get("imagePullSecrets") if left else None)
        notes = [f"{done} images taken from the target's registry"] if done else []
        if self.targets:
            # To ask registries of the world is not for a restore.
            notes += [f"image {name} stays as written; that it can be pulled is assumed" for name in sorted(set(left))]
        return notes

    def _pointed(self, key: str, obj: JSON) -> int:
        """What the capture found at a place of this very object."""
        where = objects.identity(key, obj)
        places = self.pointed.get(f"{where.namespace}/{key.partition('.')[0]}/{where.name}", ())
        return sum(_replace(obj, tokens, {name: target}) for tokens, name, target in places)

    def _custom(self, key: str, obj: JSON) -> int:
        """In custom resources a known name is an image where the table says so, as ``image``, and in full anywhere."""
        count = sum(_replace(obj, known.path, self.targets) for known in image_fields.of_kind(key))
        for holder, name, text in list(texts(obj)):
            target = self.targets.get(text)
            if target and (name == "image" or _unmistakable(text)):
                holder[name] = target
                count += 1
        return count


def place_of(registry: Mapping[str, Any]) -> str:
    """Host and path of a registry as they stand in names of images, where a user may have written an address."""
    return re.sub(r"^(https?|docker)://", "", str(registry["name"]).strip()).strip("/")


def _replace(obj: JSON, pattern: tuple[str, ...], targets: Mapping[str, str]) -> int:
    """Put targets in the place of the names that lie where the pattern says; returns how many."""
    count = 0
    for tokens, holder, value in list(pointer.places(obj, pattern)):
        if tokens[0] not in _NOT_WANTED and isinstance(value, str) and value in targets:
            holder[pointer.key_in(holder, tokens[-1])] = targets[value]
            count += 1
    return count


def _unmistakable(text: str) -> bool:
    """Whether a known name cannot be anything else: it has a tag or a digest, or a registry."""
    host, slash, _rest = text.partition("/")
    return ":" in text or (bool(slash) and "." in host)


def texts(obj: JSON) -> Iterator[tuple[Any, Any, str]]:
    """Every text that is wanted of an object: the dict or list that holds it, its key or index there, and the text."""
    for key, inner in obj.items():
        if key not in _NOT_WANTED:
            yield from [(obj, key, inner)] if isinstance(inner, str) else _texts(inner)


def _texts(value: Any) -> Iterator[tuple[Any, Any, str]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        if isinstance(inner, str):
            yield value, key, inner
        else:
            yield from _texts(inner)


def _first(name: str, others: Any) -> list[JSON]:
    return [{"name": name}, *(other for other in others or [] if other.get("name") != name)]
