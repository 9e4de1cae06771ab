# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is called otherwise at the target: storage classes, hosts, node labels, tolerations, numbers of replicas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects, pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
# Where hosts are; in the last group several are separated by commas.
_HOSTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ingresses.*", ("/spec/rules/*/host", "/spec/tls/*/hosts/*")),
    ("gateways.gateway.networking.k8s.io", ("/spec/listeners/*/hostname",)),
    ("*.gateway.networking.k8s.io", ("/spec/hostnames/*",)),
    ("certificates.cert-manager.io", ("/spec/dnsNames/*", "/spec/commonName")),
    ("routes.route.openshift.io", ("/spec/host",)),
    ("*.networking.istio.io", ("/spec/hosts/*", "/spec/servers/*/hosts/*")),
    ("httpproxies.projectcontour.io", ("/spec/virtualhost/fqdn",)),
    ("dnsendpoints.externaldns.k8s.io", ("/spec/endpoints/*/dnsName",)),
)
_HOST_LISTS = (
    "/metadata/annotations/external-dns.alpha.kubernetes.io~1hostname",
    "/metadata/annotations/nginx.ingress.kubernetes.io~1server-alias",
)
_MATCH = re.compile(r"(?P<head>\b(?:Host|HostSNI|HostHeader)\()(?P<tail>[^)]*)")
_QUOTED = re.compile(r"(?P<quote>[`\"'])(?P<host>[^`\"']+)(?P=quote)")
_SCALED = ("deployments.apps", "replicasets.apps", "statefulsets.apps", "replicationcontrollers")


@dataclass(frozen=True)
class Replicas:
    """How many replicas objects get; globs, empty means every one. ``namespaces`` are those of the capture."""

    replicas: int
    kinds: tuple[str, ...] = _SCALED
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: Any, number: int) -> Replicas:
        """From an entry of the option; raises :class:`InvalidInput`."""
        wanted = entry.get("replicas") if isinstance(entry, Mapping) else None
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
            raise InvalidInput(
                "read", f"entry {number} of replicas", f"replicas is {wanted!r}", "Give a number from 0 on."
            )
        texts = {name: tuple(str(one) for one in entry.get(name) or ()) for name in ("kinds", "namespaces", "names")}
        return cls(wanted, texts["kinds"] or _SCALED, texts["namespaces"], texts["names"])

    def means(self, where: objects.Identity) -> bool:
        """Whether the captured object is meant."""
        return (
            kinds.matches(where.key, self.kinds)
            and (not self.namespaces or any(fnmatchcase(where.namespace, glob) for glob in self.namespaces))
            and (not self.names or any(fnmatchcase(where.name, glob) for glob in self.names))
        )


@dataclass(frozen=True)
class Adjustments:
    """The mappings of a restore. All but ``replicas`` map old to new; ``None`` as the new one drops the old.

    ``hosts`` takes ``*.old.example.com`` to mean every host below. ``node_labels`` and ``tolerations`` have keys
    ``label`` or ``label=value``. ``drop_labels`` and ``drop_annotations`` are globs.
    """

    storage_classes: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, str | None] = field(default_factory=dict)
    tolerations: Mapping[str, str | None] = field(default_factory=dict)
    replicas: Sequence[Replicas] = ()
    drop_labels: tuple[str, ...] = ()
    drop_annotations: tuple[str, ...] = ()

    def apply(self, key: str, obj: JSON, where: objects.Identity) -> list[str]:
        """Change one object in place and say in words what; ``where`` is what it was captured as."""
        notes: list[str] = []
        if self.storage_classes:
            self._classes(key, obj, notes)
        if self.hosts:
            self._hosts(key, obj, notes)
        spec = objects.pod_spec(key, obj)
        if spec is not None:
            self._nodes(spec, notes)
            self._tolerate(spec, notes)
        self._replicas(obj, where, notes)
        if self.drop_labels or self.drop_annotations:
            self._drop(key, obj, notes)
        return notes

    def _classes(self, key: str, obj: JSON, notes: list[str]) -> None:
        places: list[tuple[Any, str]] = []
        if key in (kinds.PVCS, kinds.PVS):
            places = [(obj.get("spec"), "storageClassName"), (obj["metadata"].get("annotations"), _OLD_CLASS)]
        elif key == "statefulsets.apps":
            for template in obj["spec"].get("volumeClaimTemplates") or []:
                places.append((template.get("spec"), "storageClassName"))
                places.append(((template.get("metadata") or {}).get("annotations"), _OLD_CLASS))
        else:
            for spec in _pod_templates(key, obj):
                for volume in spec.get("volumes") or []:
                    claim = objects.lookup(volume, ("ephemeral", "volumeClaimTemplate", "spec"))
                    places.append((claim, "storageClassName"))
        for holder, name in places:
            old = str(holder.get(name)) if isinstance(holder, dict) else ""
            if holder and old in self.storage_classes:
                holder[name] = self.storage_classes[old]
                notes.append(f"storage class {old} now {holder[name]}")

    # -- hosts ----------------------------------------------------------------------------------------------------

    def host(self, name: str) -> str:
        """The new name of a host: an exact entry first, then the longest ``*.suffix`` that it is below."""
        if name in self.hosts:
            return self.hosts[name]
        for pattern in sorted(self.hosts, key=len, reverse=True):
            if pattern.startswith("*.") and name.endswith(pattern[1:]):
                return name[: -len(pattern[1:])] + self.hosts[pattern].removeprefix("*")
        return name

    def _hosts(self, key: str, obj: JSON, notes: list[str]) -> None:
        for kind, paths in _HOSTS:
            for path in paths if kinds.matches(key, (kind,)) else ():
                self._at(obj, path, self.host, notes)
        for path in _HOST_LISTS:
            self._at(obj, path, lambda text: ",".join(self.host(one.strip()) for one in text.split(",")), notes)
        if key.startswith(("ingressroutes.traefik.", "ingressroutetcps.traefik.")):
            self._at(obj, "/spec/routes/*/match", self._rule, notes)

    def _rule(self, text: str) -> str:
        def put(match: re.Match[str]) -> str:
            return f"{match['quote']}{self.host(match['host'])}{match['quote']}"

        return _MATCH.sub(lambda match: match["head"] + _QUOTED.sub(put, match["tail"]), text)

    def _at(self, obj: JSON, path: str, change: Callable[[str], str], notes: list[str]) -> None:
        for tokens, holder, value in list(pointer.places(obj, pointer.parse(path))):
            new = change(value) if isinstance(value, str) else value
            if new != value:
                holder[pointer.key_in(holder, tokens[-1])] = new
                notes.append(f"host {value} now {new}")

    # -- nodes ----------------------------------------------------------------------------------------------------

    def _nodes(self, spec: JSON, notes: list[str]) -> None:
        if not self.node_labels:
            return
        selector: JSON = spec.get("nodeSelector") or {}
        for name, value in list(selector.items()):
            new = _mapped(self.node_labels, name, str(value))
            if new is not None:
                del selector[name]
                if new:
                    selector[new[0]] = new[1]
                notes.append(f"node selector {name}={value} {_now(new)}")
        if "nodeSelector" in spec and not selector:
            del spec["nodeSelector"]
        affinity = objects.lookup(spec, ("affinity", "nodeAffinity")) or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        terms = list(required.get("nodeSelectorTerms") or [])
        terms += [
            one.get("preference") or {} for one in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        ]
        filled = [bool(term.get("matchExpressions")) for term in terms]
        for term in terms:
            self._expressions(term, notes)
        # A term without expressions would mean no node at all.
        count = len(required.get("nodeSelectorTerms") or [])
        if any(
            had and not term.get("matchExpressions") and not term.get("matchFields")
            for had, term in zip(filled[:count], terms[:count], strict=True)
        ):
            del affinity["requiredDuringSchedulingIgnoredDuringExecution"]
            notes.append("required node affinity taken away: nothing of one of its terms is left")

    def _expressions(self, term: JSON, notes: list[str]) -> None:
        kept = []
        for expression in term.get("matchExpressions") or []:
            name, values = str(expression.get("key")), [str(one) for one in expression.get("values") or []]
            if not values:
                new = _mapped(self.node_labels, name, "")
                results = [] if new is None else [new]
                touched = new is not None
            else:
                found = [_mapped(self.node_labels, name, value) for value in values]
                touched = any(new is not None for new in found)
                results = [(name, value) if new is None else new for value, new in zip(values, found, strict=True)]
            if not touched:
                kept.append(expression)
                continue
            left = [new for new in results if new]
            for key in dict.fromkeys(new[0] for new in left):
                chosen = [value for other, value in left if other == key]
                kept.append({**expression, "key": key, **({"values": chosen} if values else {})})
            notes.append(f"node affinity on {name} {_now(left[0] if left else ())}")
        if "matchExpressions" in term:
            term["matchExpressions"] = kept

    def _tolerate(self, spec: JSON, notes: list[str]) -> None:
        if not self.tolerations or not spec.get("tolerations"):
            return
        kept = []
        for one in spec["tolerations"]:
            name, value = one.get("key"), str(one.get("value") or "")
            new = _mapped(self.tolerations, str(name), value) if name else None
            if new is None:
                kept.append(one)
                continue
            title = f"{name}={value}" if value else str(name)
            notes.append(f"toleration of {title} {_now(new)}")
            if new:
                kept.append({**one, "key": new[0], **({"value": new[1]} if new[1] else {})})
        spec["tolerations"] = kept

    # -- numbers and marks ----------------------------------------------------------------------------------------

    def _replicas(self, obj: JSON, where: objects.Identity, notes: list[str]) -> None:
        for rule in self.replicas:
            if not rule.means(where):
                continue
            spec = obj.get("spec")
            if not isinstance(spec, dict) or ("replicas" not in spec and where.key not in _SCALED):
                notes.append("it has no number of replicas to set")
            elif spec.get("replicas", 1) != rule.replicas:
                notes.append(f"replicas {spec.get('replicas', 1)} now {rule.replicas}")
                spec["replicas"] = rule.replicas
            return

    def _drop(self, key: str, obj: JSON, notes: list[str]) -> None:
        _drop_from(obj["metadata"], "labels", self.drop_labels, frozenset(), notes)
        _drop_from(obj["metadata"], "annotations", self.drop_annotations, frozenset(), notes)
        template = objects.pod_metadata(key, obj)
        if template:
            # What the selector asks for has to stay, or the server refuses the object.
            selector = objects.lookup(obj, ("spec", "selector")) or {}
            labels = selector.get("matchLabels", selector)
            asked = {*labels, *(str(one.get("key")) for one in selector.get("matchExpressions") or [])}
            _drop_from(template, "labels", self.drop_labels, frozenset(asked), notes, " of the pods")
            _drop_from(template, "annotations", self.drop_annotations, frozenset(), notes, " of the pods")


def _pod_templates(key: str, obj: JSON) -> list[JSON]:
    spec = objects.pod_spec(key, obj)
    return [spec] if spec is not None else []


def _drop_from(
    holder: JSON, name: str, globs: Sequence[str], asked: frozenset[str], notes: list[str], whose: str = ""
) -> None:
    values: JSON = holder.get(name) or {}
    for one in sorted(values):
        if not any(fnmatchcase(one, glob) for glob in globs):
            continue
        if one in asked:
            notes.append(f"{name[:-1]} {one}{whose} stays: the selector asks for it")
        else:
            del values[one]
            notes.append(f"{name[:-1]} {one}{whose} dropped")
    if name in holder and not values:
        del holder[name]


def _mapped(mapping: Mapping[str, str | None], name: str, value: str) -> tuple[str, str] | tuple[()] | None:
    """The new (name, value), ``()`` where it is dropped, ``None`` where nothing is said about it."""
    exact = f"{name}={value}"
    entry = exact if exact in mapping else name if name in mapping else None
    if entry is None:
        return None
    new = mapping[entry]
    if not new:
        return ()
    new_name, equals, new_value = new.partition("=")
    return new_name, new_value if equals else value


def _now(new: tuple[str, str] | tuple[()]) -> str:
    return f"now {'='.join(part for part in new if part)}" if new else "dropped"
