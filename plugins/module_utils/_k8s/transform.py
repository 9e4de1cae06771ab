# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""All that happens to one object between the capture and the target, in one place and one order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    adjust,
    bubble,
    finalizers,
    image_names,
    kinds,
    mapping,
    objects,
    pointer,
    reference_table,
    related,
    restore_hooks,
    strip,
    user_transforms,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.layout import Captured
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.service_names import ServiceNames

_BINDINGS = "clusterrolebindings.rbac.authorization.k8s.io"
_STORAGE = "storageclasses.storage.k8s.io"

# The objects of a cluster-scoped kind at the target, by name.
Look = Callable[[str], dict[str, JSON]]


@dataclass(frozen=True)
class Rules:
    """What the user wants changed beside namespaces and images; see the options of ``k8s_restore``.

    ``node_ports`` ``None``: kept, but cleared in other namespaces and in a bubble, where the original has them.
    """

    node_ports: strip.NodePorts | None = None
    status: tuple[str, ...] = ()
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    static_volumes: bool = False
    service_names: Collection[str] = ()
    domains: Sequence[str] = ("cluster.local",)
    suffix: str = ""
    suffixed: tuple[str, ...] = reference_table.SUFFIXED
    adjustments: adjust.Adjustments = field(default_factory=adjust.Adjustments)
    transforms: Sequence[user_transforms.Transform] = ()
    hooks: restore_hooks.RestoreHooks = field(default_factory=restore_hooks.RestoreHooks)


class Wishes(Protocol):
    """The part of a restore's wishes that matters here."""

    @property
    def namespaces(self) -> mapping.NamespaceMapping: ...
    @property
    def images(self) -> image_names.ImageNames: ...
    @property
    def bubble(self) -> bubble.Bubble | None: ...
    @property
    def rules(self) -> Rules: ...
    def wants(self, key: str) -> bool: ...


class Transformer:
    """Made once per restore from everything captured.

    ``look`` is asked for the target's objects of few cluster-scoped kinds, and only where namespaces move. ``groups``
    are the API groups that the target serves or that the restore brings.
    """

    def __init__(self, wishes: Wishes, captured: Iterable[Captured], look: Look, groups: Collection[str] = ()) -> None:
        self.wishes = wishes
        self.rules = wishes.rules
        self.names = wishes.namespaces
        self.user = user_transforms.Transforms(self.rules.transforms)
        self.restored: set[str] = set()
        self.ending: set[str] = set()
        self.renames: dict[str, dict[str, str]] = {}
        self._asked: dict[str, dict[str, JSON]] = {}
        self._ask = look
        self._groups = groups
        self._services: set[tuple[str, str]] = set()
        self._headless: set[tuple[str, str]] = set()
        self._volumes: set[str] = set()
        self._shared: list[Captured] = []
        # One pass, which keeps little: there may be more objects than memory.
        for one in captured:
            self._note(one)
        self.keep = self._keep()
        self.service_names = self._service_names()
        self._find_clashes()
        self.user.forget()
        self._shared.clear()

    def _note(self, one: Captured) -> None:
        """Remember what the transforms of other objects have to know of this one."""
        where = one.identity
        if where.namespace:
            self.restored.add(self.names.target(where.namespace))
        if one.key == kinds.NAMESPACES and one.obj["metadata"].get("deletionTimestamp"):
            self.ending.add(where.name)
        elif one.key == "services":
            self._services.add((where.namespace, where.name))
            if (one.obj.get("spec") or {}).get("clusterIP") == "None":
                self._headless.add((where.namespace, where.name))
        elif one.key == kinds.PVS:
            self._volumes |= strip.static_volumes([(one.key, one.obj)])
        if not where.namespace and one.key in self.rules.suffixed and self.names.moving:
            self._shared.append(one)

    def _keep(self) -> strip.Keep:
        rules, shut = self.rules, self.wishes.bubble is not None
        ports = rules.node_ports
        if shut or (ports is None and self.names.moving):
            ports = strip.NodePorts.CLEAR
        # In a bubble the drill would write to the storage of the original.
        volumes = frozenset(self._volumes) if rules.static_volumes and not shut else frozenset()
        return strip.Keep(ports or strip.NodePorts.KEEP, rules.status, volumes, rules.deleting)

    def _service_names(self) -> ServiceNames | None:
        if not self.names.moving or not self.rules.service_names:
            return None
        return ServiceNames(
            {source: target for source, target in self.names.names.items() if source != target},
            frozenset(self.rules.service_names),
            tuple(self.rules.domains),
            frozenset(self._services),
            frozenset(self._headless),
        )

    def _look(self, key: str) -> dict[str, JSON]:
        if key not in self._asked:
            self._asked[key] = self._ask(key)
        return self._asked[key]

    @property
    def keep_node_ports(self) -> bool:
        """Whether node ports of live objects count when they are compared."""
        return self.keep.node_ports is not strip.NodePorts.CLEAR

    # -- names of the whole cluster that would clash ----------------------------------------------------------------

    @property
    def suffix(self) -> str:
        """What copies of cluster-scoped objects have behind their names."""
        if self.rules.suffix:
            return self.rules.suffix
        if self.wishes.bubble is not None:
            return self.wishes.bubble.run
        return "-".join(sorted({target for source, target in self.names.names.items() if source != target}))

    def _find_clashes(self) -> None:
        """Where the target has another object of the same name, the restored one is a copy under a name of its own."""
        if not self.names.moving:
            return
        order = {key: number for number, key in enumerate(reference_table.SUFFIXED)}
        # Those that are named by others first, so that the others are compared with the new names in them.
        for one in sorted(self._shared, key=lambda one: (order.get(one.key, len(order)), one.identity)):
            name = one.identity.name
            if not self.wishes.wants(one.key) or self.skip_reason(one.key, one.obj, frozenset()) is not None:
                continue
            live = self._look(one.key).get(name)
            if live is not None and not self.names.touches(one.key, one.obj) and self._differs(one, live):
                self.renames.setdefault(one.key, {})[name] = mapping.suffixed(name, self.suffix)

    def _differs(self, one: Captured, live: JSON) -> bool:
        shut = self.wishes.bubble
        if shut is not None and objects.labels_of(live).get(marks.RUN) == shut.run:
            return False
        live = objects.copied(live)
        for name in [name for name in objects.labels_of(live) if name.startswith(marks.PREFIX)]:
            del live["metadata"]["labels"][name]
        wanted = objects.copied(one.obj)
        self.apply(one.key, wanted)
        reduced = strip.comparable(one.key, live, wanted, keep_node_ports=self.keep_node_ports)
        return objects.essence(reduced) != objects.essence(wanted)

    # -- one object -----------------------------------------------------------------------------------------------

    def skip_reason(self, key: str, obj: JSON, restored: frozenset[str]) -> str | None:
        """Why a captured object is not restored; ``restored`` has the uids of all that were chosen."""
        reason = strip.skip_reason(key, obj, restored, self.keep)
        if reason is not None:
            return reason
        name = str(obj["metadata"]["name"])
        if obj["metadata"].get("namespace") in self.ending and not self.keep.deleting:
            return "its namespace was being deleted when it was captured"
        if self.wishes.bubble is not None:
            reason = self.wishes.bubble.skip_reason(key)
            if reason is not None:
                return reason
        classes = self.rules.adjustments.storage_classes
        if key == _STORAGE and classes.get(name, name) != name:
            return f"storage class {classes[name]} stands in for it"
        if self.names.moving and key == kinds.API_SERVICES:
            return self._taken_api(name, obj)
        return None

    def _taken_api(self, name: str, obj: JSON) -> str | None:
        """An API has one backend in a cluster: a copy must not take it from the original."""
        service = objects.lookup(obj, ("spec", "service")) or {}
        live = self._look(kinds.API_SERVICES).get(name)
        there = objects.lookup(live or {}, ("spec", "service")) or {}
        wanted = self.names.target(str(service.get("namespace")))
        if live is None or (there.get("namespace"), there.get("name")) == (wanted, service.get("name")):
            return None
        return f"the cluster has this API already, served by {there.get('namespace')}/{there.get('name')}"

    def apply(self, key: str, obj: JSON) -> list[str]:
        """Make the captured object, in place, what the target shall hold; says in words what was changed."""
        where = objects.identity(key, obj)
        claims = objects.finalizers(obj)
        notes = strip.strip(key, obj, keep=self.keep)
        notes += self._finalizers(key, obj, claims)
        # Before the images are, so that theirs follow the same rules.
        notes += self.rules.hooks.add_init_containers(key, obj)
        notes += self.wishes.images.rewrite(key, obj)
        notes += self.rules.adjustments.apply(key, obj, where)
        copied = key in mapping.COPIED and self.names.touches(key, obj)
        notes += self.names.rewrite(key, obj)
        if key == kinds.CRDS:
            self._keep_conversion(obj, notes)
        if self.service_names is not None:
            notes += self.service_names.rewrite(key, obj)
        notes += self._follow_renames(key, obj)
        if copied:
            notes += self._copy(key, obj)
        elif where.name in self.renames.get(key, {}):
            notes.append(self._rename(key, obj, self.renames[key][where.name]))
        # The user sees the object as it would be written; what shuts a bubble comes last, so that nothing opens it.
        notes += self.user.apply(key, obj, where)
        if self.wishes.bubble is not None:
            notes += self.wishes.bubble.rewrite(key, obj)
            if not obj["metadata"].get("namespace") and key not in (kinds.CRDS, kinds.NAMESPACES):
                obj["metadata"].setdefault("labels", {}).update(self.wishes.bubble.labels)
        return list(dict.fromkeys(notes))

    def finish(self) -> list[str]:
        """Once all objects are done: warnings. Raises :class:`InvalidInput` for transforms that failed."""
        return self.user.finish()

    def _finalizers(self, key: str, obj: JSON, claims: list[str]) -> list[str]:
        kept, held = finalizers.split(claims, key, self._groups, self.rules.finalizers)
        if self.wishes.bubble is not None:
            # Its controllers are not in the bubble, and the bubble has to go away again.
            kept, held = [], kept + held
        if kept:
            obj["metadata"]["finalizers"] = kept
        return [f"finalizers held back: {', '.join(held)}"] if held else []

    def _keep_conversion(self, obj: JSON, notes: list[str]) -> None:
        """A definition has one converter in a cluster: that of the original stays."""
        path = ("spec", "conversion", "webhook", "clientConfig")
        if not self.names.moving or objects.lookup(obj, (*path, "service")) is None:
            return
        live = objects.lookup(self._look(kinds.CRDS).get(str(obj["metadata"]["name"]), {}), path)
        if live is not None and live != objects.lookup(obj, path):
            obj["spec"]["conversion"]["webhook"]["clientConfig"] = objects.copied(live)
            notes.append("its converter stays the one of the cluster")

    def _follow_renames(self, key: str, obj: JSON) -> list[str]:
        notes = []
        for named, renames in self.renames.items():
            for reference in reference_table.CLUSTER_NAME_REFERENCES.get(named, ()):
                if not kinds.matches(key, reference.kinds):
                    continue
                for tokens, holder, value in list(pointer.places(obj, reference.path)):
                    beside = reference.beside
                    if value in renames and (beside is None or holder.get(beside[0]) == beside[1]):
                        holder[pointer.key_in(holder, tokens[-1])] = renames[value]
                        notes.append(f"{pointer.written(tokens)}: {value} now {renames[value]}")
        return notes

    def _rename(self, key: str, obj: JSON, name: str) -> str:
        old = obj["metadata"]["name"]
        obj["metadata"]["name"] = name
        mapping.rename_applied(obj)
        if key == "priorityclasses.scheduling.k8s.io" and obj.pop("globalDefault", None):
            return f"a copy of {old}, which the cluster has with another content; not its default"
        return f"a copy of {old}, which the cluster has with another content"

    def _copy(self, key: str, obj: JSON) -> list[str]:
        """Give an object that acts on moved namespaces a name of its own beside the original."""
        name = obj["metadata"]["name"]
        notes = [f"a copy of {name} for the mapped namespaces"]
        if key == _BINDINGS:
            targets = self.restored | set(self.names.names.values())
            kept = [one for one in obj.get("subjects") or [] if related.subject_namespace(one) in targets]
            notes += [
                f"subject {one.get('kind')} {one.get('name')} left out of the copy: it is in none of the namespaces"
                for one in obj.get("subjects") or []
                if one not in kept
            ]
            obj["subjects"] = kept
        obj["metadata"]["name"] = mapping.suffixed(name, self.suffix)
        mapping.rename_applied(obj)
        return notes


def twin_reason(key: str, obj: JSON, other: JSON) -> str | None:
    """Why one of two captured objects that become the same is not needed; ``None`` where one would be lost."""
    if key == kinds.NAMESPACES:
        labels, notes = objects.labels_of(obj), objects.annotations_of(obj)
        lost = [f"{name}={labels[name]}" for name in _left_out(labels, objects.labels_of(other))]
        words = f"; its labels {', '.join(lost)} are left out" if lost else ""
        lost = _left_out(notes, objects.annotations_of(other))
        words += f"; its annotations {', '.join(lost)} are left out" if lost else ""
        return f"another namespace is mapped to it too{words}"
    # Claims that say the same have each a volume of their own, with data of its own.
    if key == kinds.PVCS or objects.essence(obj) != objects.essence(other) or obj.get("status") != other.get("status"):
        return None
    return "an equal one is restored in its place"


def _left_out(values: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, value in values.items()
        if others.get(name) != value and not name.startswith(marks.PREFIX) and name != kinds.LAST_APPLIED
    ]
