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
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.manifest import Manifest, config_platform
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import (
    Place,
    Reference,
    parse_image_id,
    path_for,
)
from ansible_collections.muster.container_dr.plugins.module_utils._oci.registry import Registries


@dataclass
class Resolved:
    """An image as written with the digest that it stands for, and where that was found.

    ``resolved_by`` is ``spec_digest``, ``image_id``, ``image_id_repository``, ``mirror``, ``config_digest`` or ``tag``.
    ``tag_digest`` is what the tag names now, where that is something else; ``size`` is in bytes, every layer once.
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


class Ladder:
    """Resolves images one by one; safe to call from many threads."""

    def __init__(self, registries: Registries, mirrors: Sequence[Place] = ()) -> None:
        self._registries = registries
        self._mirrors = mirrors

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
                found = self._by_config(written, bare, problems)
                if found is not None:
                    return self._described(image, written, found, "config_digest")
            if live or written.digest is not None:
                raise self._unresolved(image, written, wanted, problems)
        return self._by_tag(image, written, wanted, problems, live=live)

    def named(self, written: Reference) -> Resolved:
        """What a name stands for that a user gave, whatever may run."""
        return self._by_tag(str(written), written, None, [], live=False)

    def _places(self, written: Reference, running: Reference | None) -> Iterator[tuple[str, Reference]]:
        """Where the digest may be, nearest to what the user wrote first."""
        yield ("spec_digest" if written.digest else "image_id"), written
        others = [running] if running and running.name != written.name else []
        for reference in others:
            yield "image_id_repository", reference
        for mirror in self._mirrors:
            for reference in (written, *others):
                for path in dict.fromkeys((mirror.path_of(reference), path_for(reference), reference.repository)):
                    if path is not None:
                        yield "mirror", Reference(mirror.host, mirror.repository(path))

    def _look(self, place: Reference, reference: str, problems: list[MusterError]) -> Manifest | None:
        try:
            return self._registries.at(place.host).manifest(place.repository, reference)
        except (Corrupt, Denied, Unavailable, NotFound) as error:
            problems.append(error)
            return None

    def _settle(self, written: Reference, place: Reference, manifest: Manifest, step: str) -> Resolved:
        """What was found by digest, compared with what the tag says now."""
        if written.digest is not None or written.tag is None:
            return self._described(str(written), place, manifest, step)
        problems: list[MusterError] = []
        tagged = self._look(written, written.tag, problems)
        if tagged is not None and any(child.digest == manifest.digest for child in tagged.children):
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

    def _by_config(self, written: Reference, config: str, problems: list[MusterError]) -> Manifest | None:
        """The tag's image, where its configuration (or that of one platform) is what runs."""
        tagged = self._look(written, written.tag or "latest", problems)
        if tagged is None:
            return None
        if tagged.config is not None:
            return tagged if tagged.config.digest == config else None
        for child in tagged.children:
            manifest = self._look(written, child.digest, problems)
            if manifest is not None and manifest.config is not None and manifest.config.digest == config:
                return tagged
        return None

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
