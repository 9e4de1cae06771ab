# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is wished for single volumes of a restore, other than what was recorded, and whether the data fit there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import quantity

JSON = dict[str, Any]
_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_KEYS = ("namespace", "claim", "storage_class", "size", "access_modes")


@dataclass(frozen=True)
class Wish:
    """An entry of the option ``targets``; None where what was recorded counts. ``size`` in bytes."""

    namespace: str | None = None
    claim: str | None = None
    storage_class: str | None = None
    size: int | None = None
    access_modes: tuple[str, ...] = ()


def known(option: str, given: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any]:
    """The option's entries; :class:`InvalidInput` for the name of a volume that there is not."""
    entries = {str(name): value for name, value in (given or {}).items()}
    strange = sorted(set(entries) - set(names))
    if strange:
        raise InvalidInput(
            "use",
            f"{option} entry {strange[0]}",
            "volumes has no volume of that name",
            f"There are: {', '.join(sorted(names)) or 'none'}.",
        )
    return entries


def wish(volume: str, given: Any) -> Wish:
    """One entry of ``targets``; :class:`InvalidInput` for keys and values that there are not."""
    target = f"targets entry {volume}"
    if not isinstance(given, Mapping):
        raise InvalidInput("use", target, "it is no dictionary", f"Its keys are {', '.join(_KEYS)}.")
    strange = sorted(str(key) for key in given if key not in _KEYS)
    if strange:
        raise InvalidInput("use", target, f"it has a key {strange[0]}", f"Its keys are {', '.join(_KEYS)}.")
    size = given.get("size")
    if size is not None and quantity.size(size) <= 0:
        raise InvalidInput("use", target, f"size is {size!r}", "Give it as Kubernetes writes it, such as 10Gi.")
    modes = given.get("access_modes") or ()
    wrong = [modes] if isinstance(modes, str) else [mode for mode in modes if mode not in _MODES]
    if wrong:
        raise InvalidInput(
            "use", target, f"access_modes has {wrong[0]!r}", f"It is a list of some of {', '.join(_MODES)}."
        )
    texts = {key: str(given[key]) for key in ("namespace", "claim", "storage_class") if given.get(key)}
    return Wish(**texts, size=quantity.size(size) if size is not None else None, access_modes=tuple(modes))


def needed(volume: Mapping[str, Any], data: int | None = None) -> int:
    """The bytes that a claim must have for a volume, or for ``data`` bytes of it.

    Files with holes may be longer in sum than the volume was; then nothing is known but that its size was enough.
    """
    size = int(volume["size"])
    if volume.get("volume_mode") == "Block":
        return size
    return min(int(volume.get("bytes") or 0) if data is None else data, size)


def check_new(label: str, volume: Mapping[str, Any], size: int, need: int) -> str:
    """:class:`Refused` where a claim of ``size`` bytes could not hold the data; else what there is to say of it."""
    original = int(volume["size"])
    if size < need:
        what = "it is a device of" if volume.get("volume_mode") == "Block" else "its data take"
        raise Refused(
            "restore", f"volume {label}", f"{what} {need} bytes, the claim would have {size}", "Ask for a larger size."
        )
    return f"its claim has {size} bytes, the original had {original}" if size < original else ""


def check_existing(label: str, document: JSON, wished: Wish, need: int) -> None:
    """:class:`Refused` where a claim that is there is too small or another than was wished."""
    spec = document["spec"]
    capacity = ((document.get("status") or {}).get("capacity") or {}).get("storage")
    size = quantity.size(capacity or ((spec.get("resources") or {}).get("requests") or {}).get("storage"))
    hint = "Restore into another claim or namespace, or delete this one."
    if size < need:
        raise Refused("restore", f"claim {label}", f"it has {size} bytes, the data need {need}", hint)
    if wished.size is not None and size < wished.size:
        raise Refused("restore", f"claim {label}", f"it has {size} bytes, asked for were {wished.size}", hint)
    there = str(spec.get("storageClassName") or "")
    if wished.storage_class and there != wished.storage_class:
        raise Refused(
            "restore", f"claim {label}", f"it is of class {there or '(none)'}, wanted is {wished.storage_class}", hint
        )
    modes = list(spec.get("accessModes") or [])
    if wished.access_modes and sorted(modes) != sorted(wished.access_modes):
        reason = f"its access modes are {', '.join(modes)}, wanted are {', '.join(wished.access_modes)}"
        raise Refused("restore", f"claim {label}", reason, hint)
