# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From what runs to a digest that a registry can give back: the ladder, and never the tag in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Corrupt,
    Denied,
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Manifest, config_platform
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    DOCKER_DAEMON,
    Place,
    Reference,
    is_digest,
    is_registry,
    parse_image_id,
    path_for,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries

# So often in a row a host may give no answer until it is waited for no more: a Docker host that has lost its way to the
# registries would else wait for each image anew, and has them all.
_SILENCES = 3


@dataclass
class Resolved:
    """An image as written with the digest that it stands for, and where that was found.

    ``resolved_by`` is ``spec_digest``, ``image_id``, ``image_id_repository``, ``mirror``, ``config_digest``, ``export``
    or ``tag``. ``tag_digest`` is what the tag names now, where that is something else; ``size`` is in bytes, every
    layer once. ``lost`` is the digest that a registry should have had, where that of an export is another one.
    """

    name: str
    digest: str
    resolved_by: str
    repository: str
    media_type: str
    size: int = 0
    platforms: list[str] = field(default_factory=list)
    tag_digest: str | None = None
    msg: str = ""
    lost: str | None = None


@dataclass(frozen=True)
class Held:
    """What a Docker daemon says of the image of a container.

    ``image_id`` is the digest of its configuration, or with containerd's image store that of its manifest or index;
    ``platform_digest`` is there that of the platform's manifest. Not ``present``: somebody removed the image by force.
    """

    image_id: str
    repo_digests: tuple[str, ...] = ()
    repo_tags: tuple[str, ...] = ()
    platform_digest: str = ""
    present: bool = True


class Ladder:
    """Resolves images one by one; safe to call from many threads."""

    def __init__(self, registries: Registries, mirrors: Sequence[Place] = ()) -> None:
        self._registries = registries
        self._mirrors = mirrors
        self._silence: dict[str, tuple[int, MusterError]] = {}

    def resolve(self, image: str, image_id: str, *, live: bool = True) -> Resolved:
        """The digest behind a name, for a container that the node reports as ``image_id`` (empty: never ran).

        Raises :class:`Incomplete` where what runs is in no registry any more, and the registry's own error where
        none could be asked. For what does not run now (``live`` off) the tag is taken where the digest is gone.
        """
        written = Reference.parse(image)
        running, bare = parse_image_id(image_id)
        wanted = written.digest or (running.digest if running else None) or bare
        problems: list[MusterError] = []
        if wanted is not None:
            for step, place in self._places(written, running):
                manifest = self._look(place, wanted, problems)
                if manifest is not None:
                    return self._settle(written, place, manifest, step)
            if written.digest is None and bare is not None:
                tagged = self._look(written, written.tag or "latest", problems)
                if tagged is not None and self._has_config(written, tagged, bare, problems):
                    return self._described(image, written, tagged, "config_digest")
            if live or written.digest is not None:
                raise self._unresolved(image, written, wanted, problems)
        return self._by_tag(image, written, wanted, problems, live=live)

    def resolve_held(self, image: str, held: Held) -> Resolved:
        """The digest behind the image of a container on a Docker host, which runs or does not.

        ``image`` is its name as written, or its id. What no registry has is taken from the daemon, last of all. Raises
        :class:`Incomplete` where nobody has it any more.
        """
        written = Reference.anywhere(image) if is_digest(image) else Reference.parse(image)
        named = _named(held)
        # What was written first: a name may have been given to an image of another repository.
        named.sort(key=lambda reference: reference.name != written.name)
        problems: list[MusterError] = []

        def look(place: Reference, reference: str) -> Manifest | None:
            silence = self._silence.get(place.host)
            if silence is not None and silence[0] >= _SILENCES:
                problems.append(silence[1])
                return None
            found: list[MusterError] = []
            manifest = self._look(place, reference, found)
            problems.extend(found)
            if found and isinstance(found[0], Unavailable):
                self._silence[place.host] = (silence[0] + 1 if silence else 1, found[0])
            else:
                self._silence.pop(place.host, None)
            return manifest

        for step, place, digest in self._places_of(written, named, held):
            manifest = look(place, digest)
            if manifest is None:
                continue
            try:
                return self._settle(written, place, manifest, step)
            except MusterError as error:
                # It went away in between, or has only a part.
                problems.append(error)
        tags = [written] if is_registry(written.host) else [Reference.parse(name) for name in held.repo_tags]
        moved: Manifest | None = None
        for name in [name for name in tags if name.digest is None]:
            tagged = look(name, name.tag or "latest")
            if tagged is not None and self._has_config(name, tagged, held.image_id, problems):
                return self._described(image, name, tagged, "config_digest")
            moved = tagged if name is written else moved
        wanted = written.digest or (named[0].digest if named else None)
        return self._exported(image, written, held, wanted, moved, problems)

    def _places_of(
        self, written: Reference, named: Sequence[Reference], held: Held
    ) -> Iterator[tuple[str, Reference, str]]:
        """Where what a daemon has may be, and by which digest: registries, then mirrors."""
        digests = _digests(written.digest, named, held)
        if written.digest is not None:
            yield "spec_digest", written, written.digest
        elif is_registry(written.host) and not named:
            for digest in digests:
                yield "image_id", written, digest
        for reference in named:
            step = "image_id" if reference.name == written.name else "image_id_repository"
            if written.digest is None or reference.name != written.name:
                yield step, reference, written.digest or str(reference.digest)
        here = [written] if is_registry(written.host) else []
        for digest in digests:
            for place in self._mirrored([*here, *named]):
                yield "mirror", place, digest

    def _exported(
        self,
        image: str,
        written: Reference,
        held: Held,
        wanted: str | None,
        moved: Manifest | None,
        problems: list[MusterError],
    ) -> Resolved:
        """The image as the daemon gives it: its own manifest, where it has kept one, else a new one."""
        unasked = next((problem for problem in problems if not isinstance(problem, NotFound)), None)
        reason = f"{unasked.target}: {unasked.reason}" if unasked else f"no registry has {wanted or 'it'}"
        place = Reference(DOCKER_DAEMON, held.image_id)
        if not held.present:
            raise Incomplete(
                "resolve",
                f"image {image}",
                f"what the container was made from is {wanted or held.image_id}: {reason}, and Docker has it no more",
                "Push or load that image again, name a registry that has it in mirrors, or make the container anew.",
            )
        failures: list[MusterError] = []
        known = dict.fromkeys([*([wanted] if wanted else []), *_digests(None, _named(held), held)])
        for reference in [*known, "latest"]:
            found = self._look(place, reference, failures)
            if found is not None or failures:
                break
        if found is None:
            why, hint = (
                (failures[0].reason, failures[0].hint) if failures else ("there is not one image of this id", "")
            )
            raise Incomplete("resolve", f"image {image}", f"{reason}, and Docker did not export it: {why}", hint)
        result = self._described(image, place, found, "export")
        result.msg = f"{reason}, so it is exported from Docker, "
        result.msg += (
            "with its own manifest"
            if found.digest in known
            else "which keeps no manifest of it: its digest is a new one"
        )
        result.lost = wanted if wanted != found.digest else None
        if moved is not None:
            result.tag_digest = moved.digest
            result.msg += f"; the tag names {moved.digest} now, which is another image"
        return result

    def named(self, written: Reference) -> Resolved:
        """What a name stands for that a user gave, whatever may run."""
        return self._by_tag(str(written), written, None, [], live=False)

    def _places(self, written: Reference, running: Reference | None) -> Iterator[tuple[str, Reference]]:
        """Where the digest may be, nearest to what the user wrote first."""
        yield ("spec_digest" if written.digest else "image_id"), written
        others = [running] if running and running.name != written.name else []
        for reference in others:
            yield "image_id_repository", reference
        for place in self._mirrored([written, *others]):
            yield "mirror", place

    def _mirrored(self, references: Sequence[Reference]) -> Iterator[Reference]:
        for mirror in self._mirrors:
            for reference in references:
                for path in dict.fromkeys((mirror.path_of(reference), path_for(reference), reference.repository)):
                    if path is not None:
                        yield Reference(mirror.host, mirror.repository(path))

    def _look(self, place: Reference, reference: str, problems: list[MusterError]) -> Manifest | None:
        try:
            return self._registries.at(place.host).manifest(place.repository, reference)
        except (Corrupt, Denied, InvalidInput, Unavailable, NotFound) as error:
            problems.append(error)
            return None

    def _settle(self, written: Reference, place: Reference, manifest: Manifest, step: str) -> Resolved:
        """What was found by digest, compared with what the tag says now."""
        if written.digest is not None or written.tag is None:
            return self._described(str(written), place, manifest, step)
        problems: list[MusterError] = []
        tagged = self._look(written, written.tag, problems)
        if tagged is not None and self._names(written, tagged, manifest.digest):
            # The node names its platform's manifest; the index around it serves every node and is what is signed.
            return self._described(str(written), written, tagged, step)
        result = self._described(str(written), place, manifest, step)
        if tagged is not None and tagged.digest != manifest.digest:
            result.tag_digest = tagged.digest
            result.msg = (
                f"the tag has moved: it names {tagged.digest} now; what runs is {manifest.digest} and is kept by digest"
            )
        elif tagged is None:
            reason = problems[0].reason if problems else "the registry does not have it any more"
            result.msg = f"the tag could not be compared ({reason}); what runs is kept by digest"
        return result

    def _has_config(self, place: Reference, tagged: Manifest, config: str, problems: list[MusterError]) -> bool:
        """Whether an image's configuration, or that of one platform, is what runs."""
        if tagged.config is not None:
            return tagged.config.digest == config
        for child in tagged.children:
            manifest = self._look(place, child.digest, problems)
            if manifest is not None and self._has_config(place, manifest, config, problems):
                return True
        return False

    def _names(self, place: Reference, index: Manifest, digest: str) -> bool:
        """Whether an index names that manifest, itself or in an index below."""
        if any(child.digest == digest for child in index.children):
            return True
        inner = (self._look(place, child.digest, []) for child in index.children if child.is_index)
        return any(each is not None and self._names(place, each, digest) for each in inner)

    def _by_tag(
        self, image: str, written: Reference, wanted: str | None, problems: list[MusterError], *, live: bool
    ) -> Resolved:
        tagged = self._look(written, written.tag or "latest", problems)
        if tagged is None:
            if problems:
                raise problems[0]
            raise NotFound(
                "resolve",
                f"image {image}",
                f"{written.host} has no such tag",
                "Correct the name in the workload, or push the image.",
            )
        result = self._described(image, written, tagged, "tag")
        if wanted is not None:
            result.msg = f"does not run now; what ran last ({wanted}) is in no registry any more, so the tag was taken"
        else:
            result.msg = f"{'the node does not say what it runs' if live else 'does not run now'}; the tag was taken"
        return result

    def _unresolved(self, image: str, written: Reference, wanted: str, problems: Sequence[MusterError]) -> MusterError:
        for problem in problems:
            # Where a registry could not be asked, it may well have the image.
            if not isinstance(problem, NotFound):
                return problem
        tagged = self._look(written, written.tag, []) if written.tag and not written.digest else None
        reason = f"what runs is {wanted}, which no registry has any more"
        if tagged is not None:
            reason += f"; tag {written.tag} names {tagged.digest} now"
        return Incomplete(
            "resolve",
            f"image {image}",
            reason,
            "Push that image again (a node that runs it still holds it), name a registry that has it in mirrors, or "
            "roll the workload out anew.",
        )

    def _described(self, image: str, place: Reference, manifest: Manifest, step: str) -> Resolved:
        result = Resolved(image, manifest.digest, step, place.name, manifest.media_type)
        sizes: dict[str, int] = {}
        platforms = set(manifest.platforms)
        for each in self._below(place, manifest):
            sizes[each.digest] = len(each.data)
            sizes.update((blob.digest, blob.size) for blob in each.blobs)
            if not manifest.children and each.config is not None:
                platforms.add(self._platform(place, each))
        result.size = sum(sizes.values())
        result.platforms = sorted(platforms - {""})
        return result

    def _below(self, place: Reference, manifest: Manifest) -> Iterator[Manifest]:
        yield manifest
        registry = self._registries.at(place.host)
        for child in manifest.children:
            found = registry.manifest(place.repository, child.digest)
            if found is not None:
                yield from self._below(place, found)

    def _platform(self, place: Reference, manifest: Manifest) -> str:
        if manifest.config is None or manifest.config.size > 1024 * 1024:
            return ""
        try:
            return config_platform(self._registries.at(place.host).read_blob(place.repository, manifest.config.digest))
        except (MusterError, OSError):
            return ""


def _named(held: Held) -> list[Reference]:
    """The repositories that a daemon has an image from, with its digests there."""
    return [reference for reference, _bare in map(parse_image_id, held.repo_digests) if reference is not None]


def _digests(spec: str | None, named: Sequence[Reference], held: Held) -> list[str]:
    """What a daemon's image may be called by, the likeliest first; what the spec says counts alone."""
    if spec is not None:
        return [spec]
    known = [*(str(reference.digest) for reference in named), held.image_id, held.platform_digest]
    return [digest for digest in dict.fromkeys(known) if digest]
