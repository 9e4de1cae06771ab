# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The options of ``k8s_restore`` that say how objects are changed on their way, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import Options
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    adjust,
    reference_table,
    service_names,
    strip,
    user_transforms,
    velero_config,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.transform import Rules

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL = re.compile(
    r"([A-Za-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?(=([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?)?"
)
_SUFFIX = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _texts(default: Sequence[str] | None = None, choices: Sequence[str] = ()) -> dict[str, Any]:
    spec: dict[str, Any] = {"type": "list", "elements": "str"}
    if default is not None:
        spec["default"] = list(default)
    if choices:
        spec["choices"] = list(choices)
    return spec


OPTIONS = Options(
    arguments={
        "namespace_references": {
            "type": "list",
            "elements": "dict",
            "options": {
                "kinds": {"type": "list", "elements": "str", "required": True},
                "path": {"type": "str", "required": True},
                "holds": {
                    "type": "str",
                    "choices": [one.value for one in reference_table.Holds],
                    "default": reference_table.Holds.NAMESPACE.value,
                },
            },
        },
        "service_names": _texts(choices=service_names.WHERE),
        "cluster_domains": _texts(default=["cluster.local"]),
        "cluster_suffix": {"type": "str"},
        "suffix_kinds": _texts(),
        "node_ports": {"type": "str", "choices": [one.value for one in strip.NodePorts]},
        "restore_status": _texts(),
        "keep_finalizers": _texts(),
        "restore_deleting": {"type": "bool", "default": False},
        "static_volumes": {"type": "bool", "default": False},
        "storage_classes": {"type": "dict"},
        "hosts": {"type": "dict"},
        "node_labels": {"type": "dict"},
        "tolerations": {"type": "dict"},
        "replicas": {
            "type": "list",
            "elements": "dict",
            "options": {
                "replicas": {"type": "int", "required": True},
                "kinds": _texts(),
                "namespaces": _texts(),
                "names": _texts(),
            },
        },
        "drop_labels": _texts(),
        "drop_annotations": _texts(),
        "transforms": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str"},
                "when": {
                    "type": "dict",
                    "options": {
                        "kinds": _texts(),
                        "namespaces": _texts(),
                        "names": _texts(),
                        "labels": {"type": "raw"},
                        "conditions": {
                            "type": "list",
                            "elements": "dict",
                            "options": {
                                "path": {"type": "str", "required": True},
                                "value": {"type": "raw"},
                                "values": {"type": "list", "elements": "raw"},
                                "matches": {"type": "str"},
                                "exists": {"type": "bool"},
                            },
                        },
                    },
                },
                "json_patch": {"type": "list", "elements": "dict"},
                "merge_patch": {"type": "dict"},
                "strategic_merge_patch": {"type": "dict"},
            },
        },
        "velero_config": {"type": "list", "elements": "raw"},
    }
)


def namespace_references(params: Mapping[str, Any]) -> tuple[reference_table.Reference, ...]:
    """The user's part of the table of references."""
    return reference_table.of_option(params["namespace_references"] or ())


def rules(params: Mapping[str, Any]) -> Rules:
    """All options together. Raises :class:`InvalidInput` for the first that cannot be used."""
    velero, classes = velero_config.read(params["velero_config"] or ())
    suffix = str(params["cluster_suffix"] or "")
    if suffix and not _SUFFIX.fullmatch(suffix):
        raise InvalidInput(
            "use", f"cluster_suffix {suffix!r}", "no name can end with it", "Use lower-case letters, digits and dashes."
        )
    return Rules(
        node_ports=strip.NodePorts(params["node_ports"]) if params["node_ports"] else None,
        status=tuple(params["restore_status"] or ()),
        finalizers=tuple(params["keep_finalizers"] or ()),
        deleting=bool(params["restore_deleting"]),
        static_volumes=bool(params["static_volumes"]),
        service_names=tuple(params["service_names"] or ()),
        domains=tuple(str(one).strip(".") for one in params["cluster_domains"] or ()),
        suffix=suffix,
        suffixed=reference_table.SUFFIXED if params["suffix_kinds"] is None else tuple(params["suffix_kinds"]),
        adjustments=adjust.Adjustments(
            # What the user says here goes before what a ConfigMap of Velero says.
            storage_classes={**classes, **_names(params, "storage_classes")},
            hosts=_hosts(params["hosts"] or {}),
            node_labels=_labels(params, "node_labels"),
            tolerations=_labels(params, "tolerations"),
            replicas=[adjust.Replicas.of(one, number) for number, one in enumerate(params["replicas"] or (), 1)],
            drop_labels=tuple(params["drop_labels"] or ()),
            drop_annotations=tuple(params["drop_annotations"] or ()),
        ),
        transforms=(*velero, *user_transforms.of_option(params["transforms"] or ())),
    )


def _names(params: Mapping[str, Any], option: str) -> dict[str, str]:
    return {str(old): str(new) for old, new in (params[option] or {}).items()}


def _hosts(given: Mapping[str, Any]) -> dict[str, str]:
    for old, new in given.items():
        for name in (old, new):
            if not _HOST.fullmatch(str(name)):
                raise InvalidInput(
                    "use", f"hosts entry {name!r}", "it is no host", "Use names such as shop.example.com."
                )
        if str(old).startswith("*.") != str(new).startswith("*."):
            raise InvalidInput(
                "use",
                f"hosts entry {old!r}",
                f"{new!r} does not fit it",
                "Map a host to a host, and *.suffix to *.suffix.",
            )
    return {str(old): str(new) for old, new in given.items()}


def _labels(params: Mapping[str, Any], option: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for old, new in (params[option] or {}).items():
        for name in (old, new):
            if name and not _LABEL.fullmatch(str(name)):
                raise InvalidInput(
                    "use",
                    f"{option} entry {name!r}",
                    "it is no label",
                    "Use label or label=value, and null to drop it.",
                )
        found[str(old)] = str(new) if new else None
    return found
