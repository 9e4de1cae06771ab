# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which objects of a cluster belong to an application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, NotFound
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, label_selector, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

RELATED = "related"
ALL = "all"
PREFERRED = "preferred"
# A list in `leave_out` that names this keeps what is left out by default.
_DEFAULT = "default"


@dataclass(frozen=True)
class Place:
    """A pattern ``KIND/NAME``, ``KIND`` or ``NAME`` of globs; ``text`` is what the user wrote."""

    text: str
    kinds: tuple[str, ...]
    name: str

    @classmethod
    def of_name(cls, text: str) -> Place:
        """``api-*`` (of every kind) or ``configmaps/api-*``."""
        kind, slash, name = text.rpartition("/")
        return cls(text, (kind,) if slash else (), name)

    @classmethod
    def of_kind(cls, text: str) -> Place:
        """``clusterissuers.cert-manager.io`` (every object) or ``clusterroles.*/reader-*``."""
        kind, _slash, name = text.partition("/")
        return cls(text, (kind,), name or "*")

    def takes_kind(self, key: str) -> bool:
        return not self.kinds or kinds.matches(key, self.kinds)

    def takes(self, key: str, name: str) -> bool:
        return fnmatchcase(name, self.name) and self.takes_kind(key)


@dataclass(frozen=True)
class Selection:
    """An application's objects, as the inventory describes them.

    ``namespaces`` and ``exclude_namespaces`` are names and globs. ``selectors`` (text and parts; OR between them, AND
    inside), ``include_kinds``, ``exclude_kinds``, ``names`` and ``owners`` choose among the objects of the namespaces,
    ``cluster_scoped`` and ``exclude_cluster_scoped`` among those without. ``met`` collects the patterns that something
    matched; threads may add to it at once.
    """

    application: str
    namespaces: tuple[str, ...]
    exclude_namespaces: tuple[str, ...] = ()
    selectors: tuple[tuple[str, tuple[label_selector.Requirement, ...]], ...] = ()
    include_kinds: tuple[str, ...] = ()
    exclude_kinds: tuple[str, ...] = ()
    names: tuple[Place, ...] = ()
    owners: tuple[Place, ...] = ()
    related: bool = True
    all_cluster_scoped: bool = False
    cluster_scoped: tuple[Place, ...] = ()
    exclude_cluster_scoped: tuple[Place, ...] = ()
    leave_out: tuple[str, ...] = kinds.BY_NATURE
    all_versions: bool = False
    whole_cluster: bool = False
    allow_no_match: bool = False
    met: set[tuple[str, str]] = field(default_factory=set, compare=False)

    @classmethod
    def of(cls, application: Mapping[str, Any], leave_out: Iterable[str] | None = None) -> Selection:
        """Read an inventory's application; ``leave_out`` is for one that says nothing about it.

        Raises :class:`InvalidInput` for what cannot be meant.
        """
        name = str(application.get("name") or "")
        if not name:
            raise InvalidInput("read", "the application", "it has no name", "Give application.name.")
        namespaces = _texts(application, "namespaces")
        selectors = tuple((text, selector_of(text)) for text in _texts(application, "selectors"))
        whole = _flag(application, "whole_cluster")
        if whole and namespaces:
            raise InvalidInput(
                "capture",
                f"application {name}",
                "it names namespaces and is the whole cluster",
                "Leave out application.namespaces; application.exclude_namespaces takes some away.",
            )
        if not namespaces and not selectors and not whole:
            raise InvalidInput(
                "capture",
                f"application {name}",
                "it names neither namespaces nor selectors",
                "Give application.namespaces.",
            )
        scoped = application.get("cluster_scoped")
        chosen = (
            (scoped,)
            if isinstance(scoped, str)
            else _texts(application, "cluster_scoped")
            if scoped is not None
            else (ALL if whole else RELATED,)
        )
        versions = application.get("versions") or PREFERRED
        if versions not in (PREFERRED, ALL):
            raise InvalidInput(
                "read", "application.versions", f"it is {versions!r}", f"Write {PREFERRED!r} or {ALL!r}."
            )
        out = _texts(application, "leave_out") if application.get("leave_out") is not None else leave_out
        return cls(
            application=name,
            namespaces=namespaces or ("*",),
            exclude_namespaces=_texts(application, "exclude_namespaces"),
            selectors=selectors,
            include_kinds=_texts(application, "include_kinds"),
            exclude_kinds=_texts(application, "exclude_kinds"),
            names=tuple(map(Place.of_name, _texts(application, "names"))),
            owners=tuple(map(_owner, _texts(application, "owners"))),
            related=RELATED in chosen,
            all_cluster_scoped=ALL in chosen,
            cluster_scoped=tuple(Place.of_kind(text) for text in chosen if text not in (RELATED, ALL)),
            exclude_cluster_scoped=tuple(map(Place.of_kind, _texts(application, "exclude_cluster_scoped"))),
            leave_out=kinds.BY_NATURE if out is None else _with_default(tuple(out)),
            all_versions=versions == ALL,
            whole_cluster=whole,
            allow_no_match=_flag(application, "allow_no_match"),
        )

    # -- namespaces ---------------------------------------------------------------------------------------------------

    def pick_namespaces(self, present: Iterable[str]) -> list[str]:
        """The namespaces meant, sorted. Raises :class:`NotFound` naming the patterns that match nothing."""
        there = sorted(present)
        picked: set[str] = set()
        for pattern in self.namespaces:
            if self.whole_cluster:
                found = {name for name in there if name != marks.NAMESPACE}
            elif pattern in there:
                found = {pattern}
            else:
                found = {name for name in there if fnmatchcase(name, pattern) and name not in kinds.CLUSTER_NAMESPACES}
            self._note("namespaces", pattern, bool(found))
            picked |= found
        for pattern in self.exclude_namespaces:
            found = {name for name in there if fnmatchcase(name, pattern)}
            self._note("exclude_namespaces", pattern, bool(found))
            picked -= found
        self.refuse_idle("namespaces", "exclude_namespaces")
        return sorted(picked)

    # -- kinds --------------------------------------------------------------------------------------------------------

    def wants_kind(self, key: str) -> bool:
        """Whether objects of this namespaced kind are meant."""
        if kinds.left_out(key, self.leave_out) or kinds.matches(key, self.exclude_kinds):
            return False
        return not self.include_kinds or kinds.matches(key, self.include_kinds)

    def narrows(self, key: str) -> bool:
        """Whether only some objects of this namespaced kind, or none, are meant in the namespaces."""
        return bool(self.selectors or self.names or self.owners) or not self.wants_kind(key)

    def wants_cluster_kind(self, key: str) -> bool:
        """Whether objects of this cluster-scoped kind are asked for by name or as part of all."""
        if self.refuses_cluster_kind(key):
            return False
        return self.all_cluster_scoped or any(place.takes_kind(key) for place in self.cluster_scoped)

    def refuses_cluster_kind(self, key: str) -> bool:
        """Whether no object of this cluster-scoped kind may be taken, not even where another one needs it."""
        whole = (place for place in self.exclude_cluster_scoped if place.name == "*")
        return kinds.left_out(key, self.leave_out) or any(place.takes_kind(key) for place in whole)

    def may_want_group(self, group: str) -> bool:
        """Whether an API group that does not say what it serves could hold something that is meant."""
        if kinds.left_out(f"x.{group}", self.leave_out):
            return False
        namespaced = not self.include_kinds or kinds.in_group(group, self.include_kinds)
        # Only a pattern for all of the group says that nothing in it is meant.
        if kinds.matches(f"x.{group}", self.exclude_kinds):
            namespaced = False
        scoped = self.all_cluster_scoped or any(kinds.in_group(group, place.kinds) for place in self.cluster_scoped)
        return namespaced or scoped

    def note_kinds(self, namespaced: Iterable[str], scoped: Iterable[str], unknown_groups: Iterable[str]) -> None:
        """Find the patterns that mean no kind of the server; raises :class:`NotFound` that names them.

        A pattern that may mean a kind of an API that is down counts as met, one that asks for kinds which are left out
        by nature does not.
        """
        unknown = list(unknown_groups)
        left: list[str] = []
        for option, patterns, keys in (
            ("include_kinds", self.include_kinds, [*namespaced]),
            ("exclude_kinds", self.exclude_kinds, [*namespaced]),
            *(
                (option, tuple(place.kinds[0] for place in places), [*scoped])
                for option, places in (
                    ("cluster_scoped", self.cluster_scoped),
                    ("exclude_cluster_scoped", self.exclude_cluster_scoped),
                )
            ),
        ):
            for pattern in patterns:
                meant = [key for key in keys if kinds.matches(key, (pattern,))]
                # What is left out may be excluded besides, but nothing comes of asking for it.
                taken = [key for key in meant if "exclude" in option or not kinds.left_out(key, self.leave_out)]
                met = bool(taken) or any(kinds.in_group(one, (pattern,)) for one in unknown)
                self._note(f"kinds of {option}", pattern, met)
                left += [f"{option} {pattern}"] if meant and not met else []
        if left and not self.allow_no_match:
            raise NotFound(
                "capture",
                f"{', '.join(left)} of application {self.application}",
                "it is left out by nature",
                "Take it away, or set application.leave_out to a list without it, which replaces the default; or set "
                "application.allow_no_match.",
            )
        self.refuse_idle("kinds of include_kinds", "kinds of exclude_kinds")
        self.refuse_idle("kinds of cluster_scoped", "kinds of exclude_cluster_scoped")

    # -- objects ------------------------------------------------------------------------------------------------------

    def takes(self, key: str, obj: JSON) -> bool:
        """Whether names and selectors take an object of a namespace."""
        if self.names:
            name = str(obj["metadata"]["name"])
            if not self._any("names", ((place.text, place.takes(key, name)) for place in self.names)):
                return False
        return not self.selectors or self.labelled(obj)

    def labelled(self, obj: JSON) -> bool:
        """Whether one of the selectors takes the object; without selectors everything is taken."""
        if not self.selectors:
            return True
        labels = objects.labels_of(obj)
        return self._any(
            "selectors", ((text, all(part.holds(labels) for part in parts)) for text, parts in self.selectors)
        )

    def owner(self, key: str, name: str) -> bool:
        """Whether the object is one of the owners that were named."""
        return self._any("owners", ((place.text, place.takes(key, name)) for place in self.owners))

    def takes_cluster_scoped(self, key: str, name: str) -> str | None:
        """Why a cluster-scoped object is asked for, or ``None``."""
        if self._any("cluster_scoped", ((place.text, place.takes(key, name)) for place in self.cluster_scoped)):
            return "application.cluster_scoped asks for it"
        return "application.cluster_scoped asks for all" if self.all_cluster_scoped else None

    def refuses_cluster_scoped(self, key: str, name: str) -> bool:
        return self._any(
            "exclude_cluster_scoped", ((place.text, place.takes(key, name)) for place in self.exclude_cluster_scoped)
        )

    # -- patterns that match nothing ----------------------------------------------------------------------------------

    def idle(self) -> list[str]:
        """The patterns that nothing matched, as ``option pattern``; complete when all objects have been seen."""
        asked = [
            *(("namespaces", text) for text in self.namespaces),
            *(("exclude_namespaces", text) for text in self.exclude_namespaces),
            *(("selectors", text) for text, _parts in self.selectors),
            *(("kinds of include_kinds", text) for text in self.include_kinds),
            *(("kinds of exclude_kinds", text) for text in self.exclude_kinds),
            *(("kinds of cluster_scoped", place.kinds[0]) for place in self.cluster_scoped),
            *(("kinds of exclude_cluster_scoped", place.kinds[0]) for place in self.exclude_cluster_scoped),
            *(("names", place.text) for place in self.names),
            *(("owners", place.text) for place in self.owners),
            # A whole kind of which there is no object now is no mistake; a name that nothing has is one.
            *(("cluster_scoped", place.text) for place in self.cluster_scoped if place.name != "*"),
        ]
        return [f"{option} {text}" for option, text in dict.fromkeys(asked) if (option, text) not in self.met]

    def refuse_idle(self, *options: str) -> None:
        """Raise :class:`NotFound` for patterns of these options (none: of all) that nothing matched, unless allowed."""
        if self.allow_no_match:
            return
        idle = [text for text in self.idle() if not options or text.rpartition(" ")[0] in options]
        if not idle:
            return
        hint = "Mend it, or set application.allow_no_match."
        if "namespaces" in options:
            hint = "Mend application.namespaces, or point kubeconfig and context at the right cluster."
        elif "kinds of exclude_kinds" in options:
            hint = "Write RESOURCE.GROUP, such as deployments.apps; what has no namespace belongs to cluster_scoped."
        raise NotFound(
            "find", f"{', '.join(idle)} of application {self.application}", "nothing in the cluster matches it", hint
        )

    def _note(self, option: str, pattern: str, found: bool) -> None:
        if found:
            self.met.add((option, pattern))

    def _any(self, option: str, answers: Iterable[tuple[str, bool]]) -> bool:
        """Whether one answer is yes; every yes is remembered."""
        found = False
        for text, yes in answers:
            if yes:
                self.met.add((option, text))
                found = True
        return found


def excluded_by_mark(obj: JSON) -> str | None:
    """The label or annotation with which its owner keeps an object out of backups."""
    metadata = obj.get("metadata") or {}
    labels, annotations = metadata.get("labels"), metadata.get("annotations")
    if labels and labels.get(kinds.VELERO_EXCLUDE) == "true":
        return f"label {kinds.VELERO_EXCLUDE}=true"
    for where, held in (("label", labels), ("annotation", annotations)):
        if held and str(held.get(marks.EXCLUDE, "false")).lower() != "false":
            return f"{where} {marks.EXCLUDE}"
    return None


_CONTROLLED_KINDS = frozenset({"pods", "replicasets.apps", "endpointslices.discovery.k8s.io"})
_ENDPOINT_KINDS = frozenset({"endpoints", "endpointslices.discovery.k8s.io"})
_ENDPOINT_CONTROLLERS = frozenset(
    {"endpoint-controller", "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"}
)
_OF_THE_SERVER = frozenset(
    {
        ("configmaps", "kube-system", "extension-apiserver-authentication"),
        ("configmaps", "kube-system", "kube-apiserver-legacy-service-account-token-tracking"),
        ("services", "default", "kubernetes"),
        ("endpoints", "default", "kubernetes"),
        ("endpointslices.discovery.k8s.io", "default", "kubernetes"),
        ("priorityclasses.scheduling.k8s.io", "", "system-cluster-critical"),
        ("priorityclasses.scheduling.k8s.io", "", "system-node-critical"),
        ("servicecidrs.networking.k8s.io", "", "kubernetes"),
    }
)
_SERVER_MARKS = (
    ("labels", "kubernetes.io/bootstrapping"),
    ("labels", "kube-aggregator.kubernetes.io/automanaged"),
)


def left_out_by_nature(key: str, obj: JSON, rules: Iterable[str] = kinds.RULES) -> str | None:
    """Why an object says nothing about the application: made by a controller from another one, or ours.

    ``rules`` are those of :data:`kinds.RULES` that hold; what a run of ours made is never taken.
    """
    metadata = obj.get("metadata") or {}
    name = metadata.get("name")
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if kinds.ROOT_CERTIFICATES in rules and (key, name) in kinds.EVERYWHERE:
        return "every namespace has it"
    if kinds.CONTROLLED in rules and key in _CONTROLLED_KINDS and objects.controlled_by_built_in(obj):
        return "its controller makes it"
    if kinds.MIRROR_PODS in rules and key == "pods" and "kubernetes.io/config.mirror" in annotations:
        return "it mirrors a file of its node"
    if kinds.MANAGED_ENDPOINTS in rules and key in _ENDPOINT_KINDS and _managed_endpoints(labels, annotations):
        return "a controller keeps it for its service"
    if kinds.BOOTSTRAP in rules and _of_the_server(key, str(metadata.get("namespace") or ""), str(name), obj):
        return "the API server makes it"
    ours = labels.get(marks.MANAGED_BY) == marks.MANAGER
    if ours and key not in (kinds.PVCS, kinds.NAMESPACES) and labels.get(marks.ROLE) != marks.PULL_SECRET:
        return "it is part of a run of muster.container_dr"
    return None


def _managed_endpoints(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    managers = {
        labels.get("endpointslice.kubernetes.io/managed-by"),
        labels.get("endpoints.kubernetes.io/managed-by"),
    }
    # The annotations: a change that the controller follows, and a lock of a leader election.
    return bool(managers & _ENDPOINT_CONTROLLERS) or any(
        mark in annotations
        for mark in ("endpoints.kubernetes.io/last-change-trigger-time", "control-plane.alpha.kubernetes.io/leader")
    )


def _of_the_server(key: str, namespace: str, name: str, obj: JSON) -> bool:
    if (key, namespace, name) in _OF_THE_SERVER:
        return True
    metadata = obj.get("metadata") or {}
    if (metadata.get("annotations") or {}).get("apf.kubernetes.io/autoupdate-spec") == "true":
        return True
    return any(mark in (metadata.get(where) or {}) for where, mark in _SERVER_MARKS)


def selector_of(text: str) -> tuple[label_selector.Requirement, ...]:
    """The parts of a label selector; :class:`InvalidInput` for what is none."""
    try:
        return label_selector.parse(text)
    except ValueError as error:
        raise InvalidInput("read", f"label selector {text!r}", str(error), "Write app=ledger.") from None


def _owner(text: str) -> Place:
    kind, slash, name = text.rpartition("/")
    if not slash or not kind or not name:
        raise InvalidInput(
            "read", f"application.owners entry {text!r}", "it is not KIND/NAME", "Write deployments.apps/api."
        )
    return Place(text, (kind,), name)


def _with_default(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if _DEFAULT not in patterns:
        return patterns
    return (*kinds.BY_NATURE, *(pattern for pattern in patterns if pattern != _DEFAULT))


def _flag(application: Mapping[str, Any], option: str) -> bool:
    value = application.get(option, False)
    if not isinstance(value, bool):
        raise InvalidInput("read", f"application.{option}", f"it is {value!r}", "Write true or false.")
    return value


def _texts(application: Mapping[str, Any], option: str) -> tuple[str, ...]:
    value = application.get(option) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise InvalidInput("read", f"application.{option}", "it is not a list of texts", "Write it as a list.")
    return tuple(value)
