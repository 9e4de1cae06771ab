# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""CustomResourceDefinitions of apiextensions.k8s.io/v1beta1 as v1, which is all that clusters serve since 1.22."""

from __future__ import annotations

from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

OLD, NEW = "apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io/v1"
NOTE = f"converted from {OLD} to {NEW}"
# Per version in v1; per definition, or per version, in v1beta1.
_PER_VERSION = ("subresources", "additionalPrinterColumns")


def convert(key: str, obj: JSON) -> JSON | None:
    """The definition as v1, a new object; ``None`` where there is nothing to convert."""
    if key != kinds.CRDS or obj.get("apiVersion") != OLD:
        return None
    new = objects.copied(obj)
    new["apiVersion"] = NEW
    for entry in new["metadata"].get("managedFields") or []:
        # Fields that v1 has elsewhere find no owner; the server knows no entries of a version that it does not serve.
        entry["apiVersion"] = NEW
    spec = new["spec"]
    shared = {name: spec.pop(name, None) for name in _PER_VERSION}
    validation = spec.pop("validation", None)
    single = spec.pop("version", None)
    versions = spec.get("versions") or [{"name": single, "served": True, "storage": True}]
    pruning = spec.get("preserveUnknownFields") is False
    spec["versions"] = [_version(one, shared, validation, pruning) for one in versions]
    # v1 wants a structural schema and pruning; a version that had neither keeps all its fields by the schema.
    spec["preserveUnknownFields"] = False
    spec.setdefault("scope", "Namespaced")
    _conversion(spec)
    if str(spec["group"]).endswith((".k8s.io", ".kubernetes.io")):
        notes = new["metadata"].setdefault("annotations", {})
        notes.setdefault("api-approved.kubernetes.io", f"unapproved, converted from {OLD}")
    names = spec["names"]
    names.setdefault("listKind", f"{names['kind']}List")
    names.setdefault("singular", str(names["kind"]).lower())
    return new


def _version(one: JSON, shared: JSON, validation: Any, pruning: bool) -> JSON:
    version = dict(one)
    for name, value in shared.items():
        if value and not version.get(name):
            version[name] = objects.copied(value) if isinstance(value, dict) else [dict(column) for column in value]
    for column in version.get("additionalPrinterColumns") or []:
        if "JSONPath" in column:
            column["jsonPath"] = column.pop("JSONPath")
    schema = version.get("schema") or validation
    schema = objects.copied(schema) if schema else {}
    root = schema.get("openAPIV3Schema") or {}
    root["type"] = "object"
    if not pruning or root.keys() == {"type"}:
        root["x-kubernetes-preserve-unknown-fields"] = True
    version["schema"] = {"openAPIV3Schema": _structural(root)}
    return version


def _structural(schema: JSON) -> JSON:
    """What v1 demands and can be told without knowing more: types of objects and lists that have contents."""
    if "type" not in schema and not schema.get("x-kubernetes-int-or-string"):
        if "properties" in schema or "additionalProperties" in schema or schema.get("required"):
            schema["type"] = "object"
        elif "items" in schema:
            schema["type"] = "array"
        elif _kinds_of_value(schema) == {"integer", "string"}:
            schema["x-kubernetes-int-or-string"] = True
        elif not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("$ref"):
            schema["x-kubernetes-preserve-unknown-fields"] = True
    if not schema.get("type") and schema.get("x-kubernetes-preserve-unknown-fields") and "properties" not in schema:
        schema.pop("items", None)
    for inner in (schema.get("properties") or {}).values():
        if isinstance(inner, dict):
            _structural(inner)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            _structural(schema[name])
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


def _kinds_of_value(schema: JSON) -> set[str]:
    return {str(one.get("type")) for one in schema.get("anyOf") or schema.get("oneOf") or []}


def _conversion(spec: JSON) -> None:
    conversion = spec.get("conversion")
    if not conversion or conversion.get("strategy") != "Webhook":
        return
    client = conversion.pop("webhookClientConfig", None)
    versions = conversion.pop("conversionReviewVersions", None)
    if client is not None:
        conversion["webhook"] = {"clientConfig": client, "conversionReviewVersions": versions or ["v1beta1"]}
