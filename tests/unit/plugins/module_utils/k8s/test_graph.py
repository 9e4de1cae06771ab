# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a restore: by what objects refer to and belong to, and by the user's word."""

from __future__ import annotations

from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import graph, objects, order, references
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Resource
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step

KINDS = {"secrets": "Secret", "configmaps": "ConfigMap", "deployments.apps": "Deployment"}


def step(key: str, name: str, uid: str = "", owner: str = "", **content: Any) -> Step:
    metadata = {"name": name, "namespace": "n"}
    obj = {"apiVersion": "v1", "kind": KINDS.get(key, key.title()), "metadata": metadata, **content}
    plural, _dot, group = key.partition(".")
    kind = KINDS.get(key, plural.title().removesuffix("s"))
    return Step(
        objects.identity(key, obj),
        Action.CREATE,
        "",
        order.wave_of(key),
        text=objects.canonical(obj),
        resource=Resource(group, "v1", plural, kind, namespaced=True, verbs=frozenset()),
        source_uid=uid,
        owners=[{"uid": owner}] if owner else [],
        references=references.of(key, obj),
    )


def names(steps: list[Step]) -> list[str]:
    return [one.identity.name for one in steps]


def test_owners_and_referenced_objects_come_first() -> None:
    mounts = {"template": {"spec": {"volumes": [{"secret": {"secretName": "generated"}}]}}}
    steps = [
        step("deployments.apps", "user", spec=mounts),
        step("secrets", "generated", owner="db"),
        step("databases.example.com", "db", uid="db", spec={"passwordRef": {"kind": "Database", "name": "other"}}),
        step("databases.example.com", "other"),
        step("configmaps", "plain"),
    ]
    placed = graph.arrange(steps)
    assert names(placed) == ["plain", "other", "db", "generated", "user"]
    assert len({(one.wave, one.depth) for one in placed[1:]}) == 4


def test_objects_that_need_each_other_still_follow_their_owner() -> None:
    circle = [
        step("databases.example.com", "a", uid="a", spec={"secretName": "s"}),
        step("secrets", "s", owner="a"),
        step("databases.example.com", "b", spec={"ref": {"kind": "Database", "name": "c"}}),
        step("databases.example.com", "c", spec={"ref": {"kind": "Database", "name": "b"}}),
    ]
    placed = graph.arrange(circle)
    assert names(placed).index("a") < names(placed).index("s")
    assert len(placed) == 4


def test_the_user_orders_against_references_and_kinds() -> None:
    needs = {"template": {"spec": {"serviceAccountName": "late"}}}
    steps = [
        step("deployments.apps", "first", spec=needs),
        step("serviceaccounts", "late"),
        step("secrets", "free"),
        step("jobs.batch", "migrate"),
        step("deployments.apps", "second"),
    ]
    ordered = ["n/deployments.apps/first", "nothing/*", "jobs.batch", "serviceaccounts", "deployments"]
    placed = names(graph.arrange(steps, ordered))
    assert [name for name in placed if name != "free"] == ["first", "migrate", "late", "second"]


def test_quotas_come_after_what_they_limit() -> None:
    placed = graph.arrange([step("resourcequotas", "quota"), step("secrets", "s"), step("deployments.apps", "d")])
    assert names(placed) == ["s", "d", "quota"]


def test_references_inside_objects_are_found() -> None:
    def found(key: str, **content: Any) -> set[tuple[str, str, str]]:
        return {tuple(one) for one in references.of(key, {"metadata": {"namespace": "n", "name": "x"}, **content})}

    pod = {
        "serviceAccountName": "account",
        "priorityClassName": "high",
        "volumes": [
            {"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}},
            {"persistentVolumeClaim": {"claimName": "data"}},
        ],
        "containers": [{"name": "x", "env": [{"valueFrom": {"secretKeyRef": {"name": "e"}}}]}],
    }
    assert found("pods", spec=pod) == {
        ("serviceaccounts", "n", "account"),
        ("priorityclasses.scheduling.k8s.io", "", "high"),
        ("configmaps", "n", "c"),
        ("secrets", "n", "s"),
        ("secrets", "n", "e"),
        ("persistentvolumeclaims", "n", "data"),
    }
    token = {"type": "kubernetes.io/service-account-token"}
    annotations = {"kubernetes.io/service-account.name": "account"}
    metadata = {"namespace": "n", "name": "t", "annotations": annotations}
    assert {tuple(one) for one in references.of("secrets", {**token, "metadata": metadata})} == {
        ("serviceaccounts", "n", "account")
    }
    issuer = {"issuerRef": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"}, "secretName": "tls"}
    assert found("certificates.cert-manager.io", spec=issuer) == {
        ("Issuer.cert-manager.io", "n", "ca"),
        ("secrets", "n", "tls"),
    }
