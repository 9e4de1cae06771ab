# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transforms that users write, Velero's configuration, old definitions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    definitions,
    label_selector,
    objects,
    user_transforms,
    velero_config,
)

DEPLOYMENTS = "deployments.apps"


def api(**more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "b", "labels": {"app": "api"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
        **more,
    }


# As it was captured: in namespace a, which is restored as b.
WHERE = objects.Identity("a", DEPLOYMENTS, "api")
LABEL = {"merge_patch": {"metadata": {"labels": {"done": "1"}}}}


def run(
    entries: list[dict[str, Any]], key: str = DEPLOYMENTS, obj: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str], user_transforms.Transforms]:
    made = user_transforms.Transforms(user_transforms.of_option(entries))
    obj = api() if obj is None else obj
    notes = made.apply(key, obj, WHERE)
    return obj, notes, made


def test_the_three_forms_of_patches_one_after_another() -> None:
    obj, notes, made = run(
        [
            {"json_patch": [{"op": "replace", "path": "/spec/replicas", "value": 5}], "name": "more"},
            {"merge_patch": {"spec": {"paused": True}}, "json_patch": [{"op": "remove", "path": "/spec/replicas"}]},
            {
                "strategic_merge_patch": {
                    "spec": {
                        "template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}}
                    }
                }
            },
            {"merge_patch": {"spec": {"paused": True}}},
        ]
    )
    container = {"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}
    assert obj["spec"] == {"paused": True, "template": {"spec": {"containers": [container]}}}
    assert notes == [
        "transform 1 (more): changed",
        "transform 2: changed",
        "transform 3: changed",
        "transform 4: nothing to change",
    ]
    assert made.finish() == []


@pytest.mark.parametrize(
    ("when", "meant"),
    [
        ({}, True),
        ({"kinds": ["deployments.apps"]}, True),
        ({"kinds": ["deployments", "x"]}, True),
        ({"kinds": ["*.batch"]}, False),
        ({"namespaces": ["a"]}, True),
        ({"namespaces": ["b"]}, False),
        ({"names": ["a*"]}, True),
        ({"names": ["worker"]}, False),
        ({"labels": "app=api,!old"}, True),
        ({"labels": "app in (x,y)"}, False),
        ({"labels": {"app": "api"}}, True),
        ({"labels": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, False),
        ({"conditions": [{"path": "/spec/replicas", "value": 2}]}, True),
        ({"conditions": [{"path": "/spec/replicas", "value": "2"}]}, False),
        ({"conditions": [{"path": "/spec/replicas", "values": [1, 2]}]}, True),
        ({"conditions": [{"path": "/spec/template/spec/containers/*/image", "matches": "^i$"}]}, True),
        ({"conditions": [{"path": "/spec/nothing", "exists": False}]}, True),
        ({"conditions": [{"path": "/spec/nothing", "exists": True}]}, False),
        ({"conditions": [{"path": "/spec/replicas", "value": 2}, {"path": "/spec/x", "value": 1}]}, False),
    ],
)
def test_which_objects_are_meant(when: dict[str, Any], meant: bool) -> None:
    obj, _notes, made = run([{"when": when, **LABEL}])
    assert ("done" in obj["metadata"]["labels"]) is meant
    assert bool(made.finish()) is not meant


def test_all_failures_are_told_at_once_and_name_transform_object_and_path() -> None:
    entries = [
        {"name": "one", "json_patch": [{"op": "replace", "path": "/spec/nothing", "value": 1}]},
        {"name": "two", "json_patch": [{"op": "test", "path": "/spec/replicas", "value": 99}]},
        {"name": "three", "strategic_merge_patch": {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}},
    ]
    obj, notes, made = run(entries)
    assert obj == api() and notes == []
    with pytest.raises(InvalidInput) as caught:
        made.finish()
    text = str(caught.value)
    assert "transform 1 (one) on a/deployments.apps/api: operation 1 (replace): /spec/nothing is not there" in text
    assert "transform 2 (two)" in text and "transform 3 (three)" in text and "'name'" in text
    assert len(caught.value.result["failed_transforms"]) == 3
    assert "Nothing was written" in text


@pytest.mark.parametrize(
    ("path", "value"), [("/kind", "Pod"), ("/apiVersion", "v2"), ("/metadata/name", "x"), ("/metadata/namespace", "x")]
)
def test_what_an_object_is_cannot_be_patched(path: str, value: str) -> None:
    obj, _notes, made = run([{"json_patch": [{"op": "replace", "path": path, "value": value}]}])
    assert obj == api()
    with pytest.raises(InvalidInput, match=f"{path} must stay"):
        made.finish()


def test_an_object_cannot_be_patched_away() -> None:
    for path, value in (("", None), ("/metadata", [])):
        obj, _notes, made = run([{"json_patch": [{"op": "replace", "path": path, "value": value}]}])
        assert obj == api()
        with pytest.raises(InvalidInput, match="no object of Kubernetes"):
            made.finish()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "none of json_patch"),
        ({"json_patch": [{"op": "x"}]}, "'op' has to be"),
        ({**LABEL, "when": {"conditions": [{"path": "x", "value": 1}]}}, "not a JSON pointer"),
        ({**LABEL, "when": {"conditions": [{"path": "/x"}]}}, "needs one of"),
        ({**LABEL, "when": {"conditions": [{"path": "/x", "value": 1, "exists": True}]}}, "needs one of"),
        ({**LABEL, "when": {"conditions": [{"path": "/x", "matches": "("}]}}, "no regular expression"),
        ({**LABEL, "when": {"labels": "a b"}}, "no term of a label selector"),
    ],
)
def test_transforms_that_cannot_be_read_are_named(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        user_transforms.of_option([LABEL, {"name": "mine", **entry}])
    assert "transform 2 (mine)" in str(caught.value)


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("a=1", True),
        ("a==1", True),
        ("a!=1", False),
        ("z!=1", True),
        ("a in (1, 2),b", True),
        ("z notin (1)", True),
        ("!a", False),
        ("example.com/x=", True),
        ({"matchLabels": {"a": 1}, "matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["1"]}]}, True),
    ],
)
def test_label_selectors(selector: Any, holds: bool) -> None:
    labels = {"a": "1", "b": "2", "example.com/x": ""}
    assert all(one.holds(labels) for one in label_selector.parse(selector)) is holds


# -- Velero -----------------------------------------------------------------------------------------------------------

DOCUMENTED = """
version: v1
resourceModifierRules:
- conditions:
    groupResource: persistentvolumeclaims
    resourceNameRegex: "^mysql.*$"
    namespaces: [bar, foo]
    labelSelector:
      matchLabels:
        foo: bar
  patches:
  - operation: test
    path: "/spec/storageClassName"
    value: "premium"
  - operation: replace
    path: "/spec/storageClassName"
    value: "standard"
  - operation: remove
    path: "/metadata/labels/test"
- conditions:
    groupResource: "*.apps"
    matches:
    - path: "/spec/replicas"
      value: "2"
  mergePatches:
  - patchData: |
      {"metadata": {"annotations": {"foo": null, "done": "yes"}}}
- conditions:
    groupResource: deployments.apps
  strategicPatches:
  - patchData: |
      spec:
        template:
          spec:
            containers:
            - name: c
              image: new
"""


def velero(document: Any, key: str, obj: dict[str, Any], namespace: str = "foo") -> dict[str, Any]:
    transforms, _classes = velero_config.read([document])
    made = user_transforms.Transforms(transforms)
    obj = copy.deepcopy(obj)
    made.apply(key, obj, objects.Identity(namespace, key, obj["metadata"]["name"]))
    assert made.failures == []
    return obj


def config_map(data: dict[str, str], **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": labels}, "data": data}


CLAIM = {
    "metadata": {"name": "mysql-1", "namespace": "new", "labels": {"foo": "bar", "test": "1"}},
    "spec": {"storageClassName": "premium"},
}


def test_resource_modifiers_as_documented(tmp_path: Path) -> None:
    file = tmp_path / "modifiers.yaml"
    file.write_text(DOCUMENTED)
    in_map = tmp_path / "map.yaml"
    in_map.write_text("---\n" + yaml.safe_dump(config_map({"any": DOCUMENTED})))
    parsed = yaml.safe_load(DOCUMENTED)
    for given in (parsed, str(file), str(in_map), config_map({"sub.yaml": DOCUMENTED})):
        claim = velero(given, "persistentvolumeclaims", CLAIM)
        assert claim["spec"] == {"storageClassName": "standard"} and claim["metadata"]["labels"] == {"foo": "bar"}
        deployment = velero(given, DEPLOYMENTS, api())
        assert deployment["metadata"]["annotations"] == {"done": "yes"}
        assert deployment["spec"]["template"]["spec"]["containers"] == [{"name": "c", "image": "new"}]


def test_a_failed_test_leaves_the_object_as_velero_does() -> None:
    claim = {**CLAIM, "spec": {"storageClassName": "other"}}
    assert velero(yaml.safe_load(DOCUMENTED), "persistentvolumeclaims", claim) == claim
    assert velero(yaml.safe_load(DOCUMENTED), "persistentvolumeclaims", CLAIM, namespace="new") == CLAIM
    renamed = {**CLAIM, "metadata": {**CLAIM["metadata"], "name": "postgres"}}
    assert velero(yaml.safe_load(DOCUMENTED), "persistentvolumeclaims", renamed) == renamed
    three = api(spec={"replicas": 3, "template": {"spec": {"containers": []}}})
    assert "annotations" not in velero(yaml.safe_load(DOCUMENTED), DEPLOYMENTS, three)["metadata"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("premium", "premium"),
        ("5", 5),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ('"5"', "5"),
        ('{"a": [1]}', {"a": [1]}),
        ("[]", []),
        ("", ""),
        ("1.2.3", "1.2.3"),
        (7, 7),
    ],
)
def test_values_mean_what_they_mean_to_velero(text: Any, value: Any) -> None:
    rule = {
        "conditions": {"groupResource": "configmaps"},
        "patches": [{"operation": "add", "path": "/x", "value": text}],
    }
    obj = velero({"version": "v1", "resourceModifierRules": [rule]}, "configmaps", {"metadata": {"name": "x"}})
    assert obj["x"] == value and obj["x"].__class__ is value.__class__


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*", {"configmaps"}),
        ("*.apps", {"deployments.apps"}),
        ("*.*", {"configmaps", "deployments.apps", "ingresses.networking.k8s.io"}),
        ("ingresses.networking.k8s.io", {"ingresses.networking.k8s.io"}),
        ("config*", {"configmaps"}),
        ("deployments", set()),
    ],
)
def test_wildcards_of_group_resource(pattern: str, meant: set[str]) -> None:
    rule = {"conditions": {"groupResource": pattern}, "mergePatches": [{"patchData": '{"hit": true}'}]}
    document = {"version": "v1", "resourceModifierRules": [rule]}
    keys = ("configmaps", "deployments.apps", "ingresses.networking.k8s.io")
    assert {key for key in keys if "hit" in velero(document, key, {"metadata": {"name": "x"}})} == meant


def test_rules_with_namespaces_take_cluster_scoped_objects_too() -> None:
    conditions = {"groupResource": "*.rbac.authorization.k8s.io", "namespaces": ["foo"]}
    rule = {"conditions": conditions, "mergePatches": [{"patchData": '{"hit": true}'}]}
    document = {"version": "v1", "resourceModifierRules": [rule]}
    assert "hit" in velero(
        document, "clusterroles.rbac.authorization.k8s.io", {"metadata": {"name": "x"}}, namespace=""
    )
    assert "hit" not in velero(
        document, "roles.rbac.authorization.k8s.io", {"metadata": {"name": "x"}}, namespace="bar"
    )


def test_change_storage_class() -> None:
    document = config_map({"old": "new"}, **{"velero.io/change-storage-class": "RestoreItemAction"})
    transforms, classes = velero_config.read([document, config_map({"a": DOCUMENTED})])
    assert classes == {"old": "new"} and len(transforms) == 3


def rules(**rule: Any) -> dict[str, Any]:
    return {"version": "v1", "resourceModifierRules": [rule]}


GOOD = {"conditions": {"groupResource": "pods"}, "mergePatches": [{"patchData": "{}"}]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"version": "v2", "resourceModifierRules": []}, "'v2'"),
        ({"version": "v1", "resourceModifierRules": [], "more": 1}, "more is unknown"),
        ({"version": "v1"}, "no list"),
        (rules(**GOOD, extra=1), "extra is unknown"),
        (rules(conditions={"groupKind": "pods"}, patches=[]), "groupKind is unknown"),
        (rules(conditions={}, mergePatches=[{"patchData": "{}"}]), "groupResource is missing"),
        (rules(conditions={"groupResource": "pods"}), "none of patches"),
        (rules(**GOOD, patches=[{"operation": "remove", "path": "/a"}]), "takes one"),
        (rules(conditions={"groupResource": "pods", "resourceNameRegex": "("}, patches=[{}]), "no regular expression"),
        (rules(conditions={"groupResource": "pods"}, patches=[{"operation": "x", "path": "/a"}]), "'op' has to be"),
        (rules(conditions={"groupResource": "pods"}, patches=[{"op": "add", "path": "/a"}]), "op is unknown"),
        (rules(conditions={"groupResource": "pods"}, mergePatches=[{"patchData": "[1]"}]), "patchData is no object"),
        (rules(conditions={"groupResource": "pods"}, mergePatches=[{"patch": "{}"}]), "patch is unknown"),
        (config_map({"a": "b: ]"}), "no YAML"),
        (config_map({"a": DOCUMENTED, "b": DOCUMENTED}), "2 keys"),
        (config_map({"a": "b"}, **{"velero.io/change-image-name": "RestoreItemAction"}), "change-image-name"),
        ("/nowhere/file.yaml", "No such file"),
        (5, "neither a document"),
    ],
)
def test_what_is_unknown_is_refused_by_name(document: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        velero_config.read([document])


# -- definitions of v1beta1 -------------------------------------------------------------------------------------------

KEY = "customresourcedefinitions.apiextensions.k8s.io"


def definition(**spec: Any) -> dict[str, Any]:
    names = {"plural": "things", "kind": "Thing"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1beta1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "names": names, **spec},
    }


def test_an_old_definition_becomes_a_new_one() -> None:
    old = definition(
        version="v1",
        subresources={"status": {}},
        additionalPrinterColumns=[{"name": "n", "type": "string", "JSONPath": ".spec.n"}],
        validation={
            "openAPIV3Schema": {
                "properties": {
                    "spec": {
                        "required": ["port"],
                        "properties": {"port": {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "any": {}},
                    },
                    "list": {"items": {"type": "string"}},
                }
            }
        },
        conversion={"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}},
        preserveUnknownFields=False,
    )
    before = copy.deepcopy(old)
    new = definitions.convert(KEY, old)
    assert old == before and new is not None
    assert new["apiVersion"] == "apiextensions.k8s.io/v1"
    spec = new["spec"]
    version = spec["versions"][0]
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"] == [{"name": "n", "type": "string", "jsonPath": ".spec.n"}]
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["type"] == "object" and "x-kubernetes-preserve-unknown-fields" not in schema
    assert schema["properties"]["spec"]["type"] == "object" and schema["properties"]["list"]["type"] == "array"
    assert schema["properties"]["spec"]["properties"]["port"]["x-kubernetes-int-or-string"] is True
    assert spec["conversion"]["webhook"]["conversionReviewVersions"] == ["v1beta1"]
    assert not {"version", "validation", "subresources", "additionalPrinterColumns"} & spec.keys()
    assert spec["scope"] == "Namespaced" and spec["preserveUnknownFields"] is False
    assert spec["names"]["listKind"] == "ThingList"


def test_a_definition_without_a_schema_keeps_all_fields() -> None:
    new = definitions.convert(KEY, definition(versions=[{"name": "v1", "served": True, "storage": True}]))
    assert new is not None
    schema = new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_protected_groups_say_that_they_are_not_approved() -> None:
    new = definitions.convert(KEY, definition(version="v1", group="x.k8s.io"))
    assert new is not None and "unapproved" in json.dumps(new["metadata"])


def test_nothing_else_is_converted() -> None:
    assert definitions.convert(KEY, {**definition(), "apiVersion": "apiextensions.k8s.io/v1"}) is None
    assert definitions.convert("things.example.com", definition()) is None
