# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Namespaces under other names: references, names of services, copies of cluster-scoped objects."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    image_names,
    mapping,
    pointer,
    reference_table,
    strip,
    transform,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.layout import Captured
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.service_names import WHERE, ServiceNames

ROLES = "clusterroles.rbac.authorization.k8s.io"
BINDINGS = "clusterrolebindings.rbac.authorization.k8s.io"
HOOKS = "validatingwebhookconfigurations.admissionregistration.k8s.io"
LAST = "kubectl.kubernetes.io/last-applied-configuration"
MOVED = mapping.NamespaceMapping({"a": "b", "a-db": "b-db"})


def thing(name: str = "x", namespace: str = "a", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **more}


def put(document: Any, tokens: tuple[str, ...], value: Any) -> Any:
    """A document with the value at the path, lists where the pattern has a star."""
    if not tokens:
        return value
    if tokens[0] == "*":
        return [put(None, tokens[1:], value)]
    result = document if isinstance(document, dict) else {}
    result[tokens[0]] = put(result.get(tokens[0]), tokens[1:], value)
    return result


VALUES = {
    reference_table.Holds.NAMESPACE: ("a", "b"),
    reference_table.Holds.NAMESPACED_NAME: ("a/secret", "b/secret"),
    reference_table.Holds.HOST: ("api.a.svc.cluster.local", "api.b.svc.cluster.local"),
    reference_table.Holds.EXPRESSION: ('up{namespace="a"} == 0', 'up{namespace="b"} == 0'),
    reference_table.Holds.ACCOUNT: ("cluster.local/ns/a/sa/api", "cluster.local/ns/b/sa/api"),
}


@pytest.mark.parametrize(
    "reference",
    reference_table.NAMESPACE_REFERENCES,
    ids=lambda one: f"{one.kinds[0]}{pointer.written(one.path)}",
)
def test_every_entry_of_the_table_is_followed_and_named(reference: reference_table.Reference) -> None:
    old, new = VALUES[reference.holds]
    key = reference.kinds[0].replace("*.", "things.") if reference.kinds[0] != "*" else "things.example.com"
    obj = put(thing(), reference.path, old)
    expected = put(thing(namespace="b"), reference.path, new)
    notes = MOVED.rewrite(key.replace(".*", ".example.com"), obj)
    assert obj == expected
    assert len(notes) == 1 and old in notes[0] and new in notes[0]


def test_selectors_by_name_of_a_namespace_are_followed_at_any_depth() -> None:
    term = {
        "matchLabels": {"kubernetes.io/metadata.name": "a", "other": "a"},
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["a", "z", "b"]},
            {"key": "team", "operator": "In", "values": ["a"]},
        ],
    }
    for key, obj in (
        ("networkpolicies.networking.k8s.io", thing(spec={"egress": [{"to": [{"namespaceSelector": term}]}]})),
        ("gateways.gateway.networking.k8s.io", thing(spec={"listeners": [{"allowedRoutes": {"selector": term}}]})),
        ("deployments.apps", thing(spec={"template": {"spec": {"affinity": {"x": [{"namespaceSelector": term}]}}}})),
    ):
        moved = copy.deepcopy(obj)
        notes = MOVED.rewrite(key, moved)
        text = json.dumps(moved["spec"])
        assert '"kubernetes.io/metadata.name": "b", "other": "a"' in text
        assert '"values": ["b", "z"]' in text and '"values": ["a"]' in text
        assert len(notes) == 2


def test_swapped_namespaces_are_not_swapped_back() -> None:
    swap = mapping.NamespaceMapping({"a": "b", "b": "a"})
    route = thing(spec={"parentRefs": [{"name": "g", "namespace": "b"}], "rules": [{"name": "r", "namespace": "a"}]})
    swap.rewrite("applications.argoproj.io", route)
    assert route["spec"] == {
        "parentRefs": [{"name": "g", "namespace": "a"}],
        "rules": [{"name": "r", "namespace": "b"}],
    }
    app = thing(spec={"destination": {"name": "c", "namespace": "a"}})
    swap.rewrite("applications.argoproj.io", app)
    assert app["spec"]["destination"]["namespace"] == "b"


def test_roles_on_namespaces_by_name_follow() -> None:
    role = thing(
        namespace="",
        rules=[
            {"resources": ["namespaces"], "resourceNames": ["a", "z"]},
            {"resources": ["configmaps"], "resourceNames": ["a"]},
        ],
    )
    MOVED.rewrite(ROLES, role)
    assert [rule["resourceNames"] for rule in role["rules"]] == [["b", "z"], ["a"]]


def test_what_kubectl_remembers_is_about_the_moved_object() -> None:
    applied = {"kind": "ConfigMap", "metadata": {"name": "x", "namespace": "a"}, "data": {"k": "v"}}
    obj = thing(metadata={"annotations": {LAST: json.dumps(applied)}})
    MOVED.rewrite("configmaps", obj)
    remembered = json.loads(obj["metadata"]["annotations"][LAST])
    assert remembered == {**applied, "metadata": {"name": "x", "namespace": "b"}}
    broken = thing(metadata={"annotations": {LAST: "{no json"}})
    MOVED.rewrite("configmaps", broken)
    assert LAST not in broken["metadata"]["annotations"]


def test_users_extend_the_table() -> None:
    extra = reference_table.of_option(
        [{"kinds": ["exports.example.com"], "path": "/spec/from/*/ns"}, {"kinds": ["x"], "path": "/y", "holds": "host"}]
    )
    obj = thing(spec={"from": [{"ns": "a"}, {"ns": "z"}, {"ns": "a-db"}]})
    mapping.NamespaceMapping(MOVED.names, extra).rewrite("exports.example.com", obj)
    assert [one["ns"] for one in obj["spec"]["from"]] == ["b", "z", "b-db"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kinds": ["x"]}, "no path"),
        ({"kinds": ["x"], "path": "spec.ns"}, "not a JSON pointer"),
        ({"kinds": ["x"], "path": ""}, "no path"),
        ({"kinds": ["x"], "path": "/a", "holds": "what"}, "not a valid"),
    ],
)
def test_wrong_entries_of_the_table_are_named(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        reference_table.of_option([{"kinds": ["x"], "path": "/a"}, entry])
    assert "entry 2" in str(caught.value)


# -- names of services ------------------------------------------------------------------------------------------------

NAMES = ServiceNames(
    MOVED.names,
    WHERE,
    ("cluster.local", "k8s.example.com"),
    frozenset({("a", "api"), ("a-db", "db")}),
    frozenset({("a-db", "db")}),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.a.svc", "api.b.svc"),
        ("http://api.a.svc:80/x?y=api.a.svc.cluster.local", "http://api.b.svc:80/x?y=api.b.svc.cluster.local"),
        ("api.a.svc.k8s.example.com.", "api.b.svc.k8s.example.com."),
        ("db-0.db.a-db.svc,db-1.db.a-db.svc", "db-0.db.b-db.svc,db-1.db.b-db.svc"),
        ("_pg._tcp.db.a-db.svc.cluster.local", "_pg._tcp.db.b-db.svc.cluster.local"),
        ("10-1-2-3.a.pod.cluster.local", "10-1-2-3.b.pod.cluster.local"),
        ("postgres://u:p@db.a-db:5432/x", "postgres://u:p@db.b-db:5432/x"),
        ("db-0.db.a-db", "db-0.db.b-db"),
        ("svc.a.svc", "svc.b.svc"),
        # what is none of ours, or no name of a service
        ("api.a.svc.other.domain", None),
        ("api.z.svc", None),
        ("unknown.a", None),
        ("com.api.a", None),
        ("/etc/api.a", None),
        ("api.a.conf", None),
        ("my-api.a-b.svc", None),
        ("xapi.a.svcs", None),
        ("a", None),
    ],
)
def test_names_of_services(text: str, expected: str | None) -> None:
    new, notes = NAMES.text(text)
    assert new == (expected or text)
    assert bool(notes) is (expected is not None)


def test_names_are_rewritten_where_it_was_asked_for_and_previewed() -> None:
    def deployment() -> dict[str, Any]:
        container = {
            "name": "c",
            "env": [{"name": "DB", "value": "db.a-db.svc"}, {"name": "FROM", "valueFrom": {}}],
            "args": ["--db=db.a-db.svc"],
            "readinessProbe": {"httpGet": {"host": "api.a.svc"}},
        }
        return thing(spec={"template": {"spec": {"containers": [container], "initContainers": [{"name": "i"}]}}})

    obj = deployment()
    notes = ServiceNames(MOVED.names, ("env",)).rewrite("deployments.apps", obj)
    assert notes == ["container c: DB: db.a-db.svc now db.b-db.svc"]
    container = obj["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["--db=db.a-db.svc"]
    obj = deployment()
    assert len(NAMES.rewrite("deployments.apps", obj)) == 3
    secret = thing(
        data={"url": base64.b64encode(b"pw@db.a-db.svc").decode(), "key": base64.b64encode(b"\xff").decode()}
    )
    notes = NAMES.rewrite("secrets", secret)
    assert base64.b64decode(secret["data"]["url"]) == b"pw@db.b-db.svc"
    assert notes == ["data.url: db.a-db.svc now db.b-db.svc"]
    certificate = thing(spec={"dnsNames": ["api.a.svc", "api.a"]})
    NAMES.rewrite("certificates.cert-manager.io", certificate)
    assert certificate["spec"]["dnsNames"] == ["api.b.svc", "api.b"]
    many = thing(data={str(number): "api.a.svc" for number in range(50)})
    notes = NAMES.rewrite("configmaps", many)
    assert len(notes) == 9 and notes[-1] == "and 42 more names of services"
    plain = thing(data={"k": "api.a.svc"})
    assert ServiceNames(MOVED.names, ("env",)).rewrite("configmaps", plain) == []


# -- copies of cluster-scoped objects ---------------------------------------------------------------------------------


@dataclass
class Wishes:
    """What the transformer asks for."""

    names: Mapping[str, str] = field(default_factory=lambda: {"a": "b"})
    rules: transform.Rules = field(default_factory=transform.Rules)
    bubble: bubble.Bubble | None = None
    only: str = ""

    @property
    def namespaces(self) -> mapping.NamespaceMapping:
        return mapping.NamespaceMapping(self.names)

    @property
    def images(self) -> image_names.ImageNames:
        return image_names.ImageNames({}, {}, None)

    def wants(self, key: str) -> bool:
        return not self.only or key == self.only


def transformer(
    wishes: Wishes, captured: list[tuple[str, dict[str, Any]]], live: dict[str, list[dict[str, Any]]] | None = None
) -> transform.Transformer:
    there = {key: {obj["metadata"]["name"]: obj for obj in objs} for key, objs in (live or {}).items()}
    return transform.Transformer(wishes, [Captured(*one) for one in captured], lambda key: there.get(key, {}))


def role(verb: str) -> dict[str, Any]:
    return thing("reader", "", rules=[{"verbs": [verb], "resources": ["pods"]}])


BINDING = thing("rb", "a", roleRef={"kind": "ClusterRole", "name": "reader"}, subjects=[])


def test_a_role_that_differs_at_the_target_becomes_a_copy_and_bindings_follow() -> None:
    one = transformer(Wishes(), [(ROLES, role("get"))], {ROLES: [role("list")]})
    made, bound = role("get"), copy.deepcopy(BINDING)
    assert "a copy of reader" in one.apply(ROLES, made)[-1]
    assert made["metadata"]["name"] == "reader-b"
    assert "/roleRef/name: reader now reader-b" in one.apply("rolebindings.rbac.authorization.k8s.io", bound)
    local = {**copy.deepcopy(BINDING), "roleRef": {"kind": "Role", "name": "reader"}}
    one.apply("rolebindings.rbac.authorization.k8s.io", local)
    assert local["roleRef"]["name"] == "reader"


@pytest.mark.parametrize(
    ("wishes", "live"),
    [
        (Wishes(), [role("get")]),
        (Wishes(), []),
        (Wishes(names={"a": "a"}), [role("list")]),
        (Wishes(only="configmaps"), [role("list")]),
        (Wishes(rules=transform.Rules(suffixed=())), [role("list")]),
    ],
    ids=["equal", "not there", "nothing moves", "not restored", "not wanted"],
)
def test_a_role_keeps_its_name(wishes: Wishes, live: list[dict[str, Any]]) -> None:
    one = transformer(wishes, [(ROLES, role("get"))], {ROLES: live})
    made = role("get")
    one.apply(ROLES, made)
    assert made["metadata"]["name"] == "reader"


def test_several_copies_get_suffixes_of_their_own() -> None:
    names = set()
    for target in ("copy-1", "copy-2"):
        one = transformer(Wishes({"a": target}), [(ROLES, role("get"))], {ROLES: [role("list")]})
        made = role("get")
        one.apply(ROLES, made)
        names.add(made["metadata"]["name"])
    chosen = transformer(Wishes(rules=transform.Rules(suffix="blue")), [(ROLES, role("get"))], {ROLES: [role("list")]})
    made = role("get")
    chosen.apply(ROLES, made)
    assert names | {made["metadata"]["name"]} == {"reader-copy-1", "reader-copy-2", "reader-blue"}


def test_a_role_of_the_same_bubble_is_no_clash() -> None:
    shut = bubble.Bubble("run-1", "ledger")
    made = role("get")
    transformer(Wishes(bubble=shut), [(ROLES, role("get"))]).apply(ROLES, made)
    again = transformer(Wishes(bubble=shut), [(ROLES, role("get"))], {ROLES: [made]})
    assert again.renames == {}
    other = transformer(Wishes(bubble=shut), [(ROLES, role("get"))], {ROLES: [role("list")]})
    assert other.renames == {ROLES: {"reader": "reader-run-1"}}


def test_a_copied_binding_names_the_subjects_that_it_leaves_out() -> None:
    subjects = [
        {"kind": "ServiceAccount", "name": "s", "namespace": "a"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "c"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "elsewhere"},
        {"kind": "User", "name": "alice"},
    ]
    binding = thing("crb", "", subjects=subjects, roleRef={"kind": "ClusterRole", "name": "r"})
    # c is restored too, under its own name: it must not lose its permission.
    one = transformer(Wishes(), [(BINDINGS, binding), ("configmaps", thing(namespace="c"))])
    made = copy.deepcopy(binding)
    notes = one.apply(BINDINGS, made)
    assert made["metadata"]["name"] == "crb-b"
    assert [subject["namespace"] for subject in made["subjects"]] == ["b", "c"]
    assert sum("left out of the copy" in note for note in notes) == 2


def test_the_webhooks_of_a_moved_namespace_become_a_copy() -> None:
    selector = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a"]}]}
    for hook in (
        {"name": "h", "clientConfig": {"service": {"namespace": "a", "name": "s"}}},
        {"name": "h", "clientConfig": {"url": "https://x"}, "namespaceSelector": selector},
    ):
        obj = thing("hook", "", webhooks=[hook])
        transformer(Wishes(), [(HOOKS, obj)]).apply(HOOKS, obj)
        assert obj["metadata"]["name"] == "hook-b"
        assert '"a"' not in json.dumps(obj)


def test_an_api_and_a_converter_stay_with_the_original() -> None:
    key = "apiservices.apiregistration.k8s.io"
    obj = thing("v1.x", "", spec={"service": {"namespace": "a", "name": "s"}})
    live = {key: [thing("v1.x", "", spec={"service": {"namespace": "a", "name": "s"}})]}
    assert "has this API already" in str(transformer(Wishes(), [], live).skip_reason(key, obj, frozenset()))
    assert transformer(Wishes(), []).skip_reason(key, obj, frozenset()) is None
    assert transformer(Wishes({"a": "a"}), [], live).skip_reason(key, obj, frozenset()) is None

    def definition() -> dict[str, Any]:
        client = {"service": {"namespace": "a", "name": "s"}, "caBundle": "Zm9v"}
        return thing("d", "", spec={"conversion": {"webhook": {"clientConfig": client}}})

    crds = "customresourcedefinitions.apiextensions.k8s.io"
    fresh, there = definition(), definition()
    transformer(Wishes(), []).apply(crds, fresh)
    transformer(Wishes(), [], {crds: [definition()]}).apply(crds, there)
    assert fresh["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["namespace"] == "b"
    assert there == definition()


def test_nothing_is_lost_when_two_namespaces_become_one() -> None:
    one = {"metadata": {"name": "x", "labels": {"team": "a"}}}
    other = {"metadata": {"name": "x", "labels": {"team": "b"}}}
    assert "team=a" in str(transform.twin_reason("namespaces", one, other))
    assert transform.twin_reason("serviceaccounts", one, one)
    assert transform.twin_reason("serviceaccounts", one, other) is None


def test_objects_of_a_namespace_that_was_ending_are_named() -> None:
    ending = thing("a", "", metadata={"deletionTimestamp": "now"})
    one = transformer(Wishes(), [("namespaces", ending), ("configmaps", thing())])
    assert "namespace was being deleted" in str(one.skip_reason("configmaps", thing(), frozenset()))
    asked = transformer(Wishes(rules=transform.Rules(deleting=True)), [("namespaces", ending)])
    assert asked.skip_reason("configmaps", thing(), frozenset()) is None
    assert asked.skip_reason("namespaces", ending, frozenset()) is None


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(), strip.NodePorts.CLEAR),
        (Wishes(names={}), strip.NodePorts.KEEP),
        (Wishes(rules=transform.Rules(node_ports=strip.NodePorts.USER)), strip.NodePorts.USER),
        (
            Wishes(rules=transform.Rules(node_ports=strip.NodePorts.KEEP), bubble=bubble.Bubble("r", "l")),
            strip.NodePorts.CLEAR,
        ),
    ],
)
def test_what_becomes_of_node_ports(wishes: Wishes, expected: strip.NodePorts) -> None:
    assert transformer(wishes, []).keep.node_ports is expected
