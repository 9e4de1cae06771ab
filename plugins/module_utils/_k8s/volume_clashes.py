# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Volumes that were made by hand and must not meet others: by name, by the storage behind them, or by their claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

# The sources of volumes, and those of their fields that say which storage it is (none: all of them).
_SOURCES: Mapping[str, tuple[str, ...]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskURI",),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors", "path"),
    "cinder": ("volumeID",),
    "csi": ("driver", "volumeHandle"),
    "fc": ("wwids", "targetWWNs", "lun"),
    "flexVolume": ("driver", "options"),
    "gcePersistentDisk": ("pdName",),
    "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",),
    "iscsi": ("targetPortal", "iqn", "lun"),
    "local": ("path",),
    "nfs": ("server", "path"),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "pool", "image"),
    "scaleIO": ("system", "volumeName"),
    "storageos": (),
    "vsphereVolume": ("volumePath",),
}
# Their paths are those of a node.
_OF_NODES = ("hostPath", "local")
# The same words may mean another storage: what they name is in a namespace that need not be written.
_AMBIGUOUS = ("azureFile", "glusterfs")


def storage_of(volume: JSON) -> tuple[str, ...] | None:
    """What tells a volume's storage apart: its kind of source first; ``None`` where it names none that is known."""
    spec: Any = volume.get("spec") or {}
    for kind, fields in _SOURCES.items():
        source = spec.get(kind)
        if not isinstance(source, dict):
            continue
        parts = [_text(name, source.get(name)) for name in fields or sorted(source)]
        if kind in _OF_NODES:
            parts.append(objects.canonical(spec.get("nodeAffinity") or {}))
        return kind, *parts
    return None


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return (value.rstrip("/") or "/") if name == "path" else value
    return "" if value is None else objects.canonical({"": value})


def _shown(storage: tuple[str, ...]) -> str:
    kind, *parts = storage
    words = parts[:-1] if kind in _OF_NODES else parts
    return " ".join((kind, *(word for word in words if word)))


def _claim(volume: JSON) -> tuple[str, str] | None:
    """Namespace and name of the claim that a volume is for."""
    claim = objects.lookup(volume, ("spec", "claimRef"))
    return (str(claim.get("namespace")), str(claim.get("name"))) if isinstance(claim, dict) else None


def taken(wanted: JSON, live: JSON) -> str | None:
    """In words, why a volume of the target can never become the restored one of the same name; else ``None``."""
    mine, theirs = storage_of(wanted), storage_of(live)
    if mine is not None and theirs is not None and mine != theirs:
        return f"the target has a volume of that name with other storage, {_shown(theirs)} (rename or remove it there)"
    holder = _claim(live)
    if holder is not None and _claim(wanted) not in (None, holder):
        return f"the target's volume of that name is bound to claim {'/'.join(holder)}"
    return None


def keep_binding(body: JSON, live: JSON) -> None:
    """An update leaves a volume bound to the claim that it is bound to."""
    claim = objects.lookup(live, ("spec", "claimRef"))
    if claim is not None and _claim(body) in (None, _claim(live)):
        body["spec"]["claimRef"] = claim


def foresee(steps: Sequence[Step], there: Mapping[str, JSON] | None) -> None:
    """Block volumes whose storage another one uses, and claims whose volume will not be theirs.

    ``there``: the target's volumes by name, ``None`` where they may not be seen.
    """
    coming = {step.identity.name: step for step in steps if step.key == kinds.PVS and step.text is not None}
    if there:
        _storage(coming, there)
    for step in steps:
        if step.key != kinds.PVCS or step.action is not Action.CREATE:
            continue
        for name in [one.name for one in step.references if one.key == kinds.PVS]:
            words = _unbound(step, name, coming.get(name), there)
            if words:
                step.decide(Action.BLOCKED, words, "seen")


def _storage(coming: Mapping[str, Step], there: Mapping[str, JSON]) -> None:
    wanted = {name: storage_of(step.body) for name, step in coming.items()}
    users: dict[tuple[str, ...], str] = {}
    for name, live in there.items():
        storage = storage_of(live)
        # Volumes of the point may share storage with each other, as they did where they come from.
        if storage is not None and wanted.get(name) != storage:
            users.setdefault(storage, name)
    for name, step in coming.items():
        storage = wanted[name]
        other = users.get(storage) if storage is not None else None
        if storage is None or other is None or other == name or step.action is not Action.CREATE:
            continue
        anywhere = storage[0] == "hostPath" and storage[-1] == objects.canonical({})
        if anywhere or storage[0] in _AMBIGUOUS:
            step.concerns.append(f"it may share {_shown(storage)} with volume {other} of the target")
            continue
        words = f"its storage, {_shown(storage)}, is in use by volume {other} of the target"
        step.decide(Action.BLOCKED, f"{words} (remove that one, or give this one other storage by transforms)", "seen")


def _unbound(claim: Step, name: str, step: Step | None, there: Mapping[str, JSON] | None) -> str | None:
    """In words, why the claim would wait for the volume for ever, or get a wrong one."""
    live = (there or {}).get(name)
    if step is not None and step.action is Action.BLOCKED and (live is None or taken(step.body, live)):
        return f"it is to be bound to volume {name}, which is held back"
    volume = live
    if live is None and step is not None:
        volume = step.body
    if volume is None:
        absent = there is not None
        return f"it is to be bound to volume {name}, which the target does not have" if absent else None
    holder = _claim(volume)
    if holder is None:
        return None
    if holder != (claim.identity.namespace, claim.identity.name):
        return f"it is to be bound to volume {name}, which is bound to claim {'/'.join(holder)}"
    if live is not None and objects.lookup(live, ("spec", "claimRef", "uid")):
        # The server never gives it to a new claim by itself, lest somebody else's data be seen.
        return (
            f"it is to be bound to volume {name}, which still belongs to an earlier claim of that name "
            "(remove spec.claimRef.uid from it)"
        )
    return None
