# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a capture takes, leaves and says, against an API server over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from ansible.module_utils.testing import patch_module_args
from fakes.api_server import ApiServer, running
from fakes.folder_repository import FolderRepository

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    InvalidInput,
    MusterError,
    NotFound,
    Unavailable,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import capture as capturing
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, layout, selection
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import snapshot as snapshot_verb
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster
from ansible_collections.muster.container_dr.plugins.modules import k8s_snapshot

ROOT = Path(__file__).resolve().parents[4]
RBAC = "rbac.authorization.k8s.io/v1"
SLICES = ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
CANARY = "Y2FuYXJ5LTVmM2U5"


def thing(kind: str, name: str, namespace: str = "shop", api: str = "v1", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def definition(plural: str, kind: str, scope: str = "Namespaced", group: str = "x.example.com") -> dict[str, Any]:
    return thing(
        "CustomResourceDefinition",
        f"{plural}.{group}",
        "",
        "apiextensions.k8s.io/v1",
        spec={
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with running() as state:
        for name in ("shop", "shop-a", "bank", "kube-system", "muster-container-dr"):
            state.add(thing("Namespace", name, ""))
        yield state


@pytest.fixture
def take(server: ApiServer, tmp_path: Path) -> Callable[..., capturing.Capture]:
    def call(**application: Any) -> capturing.Capture:
        folder = tmp_path / "objects"
        shutil.rmtree(folder, ignore_errors=True)
        chosen = selection.Selection.of({"name": "shop", "namespaces": ["shop"], **application})
        return capturing.capture(Cluster.connect({"host": server.url}), chosen, folder, workers=4)

    return call


def names(folder: Path) -> set[str]:
    return {str(one.identity) for one in layout.read(folder / "objects")}


def of_kind(folder: Path, key: str) -> set[str]:
    return {one.identity.name for one in layout.read(folder / "objects") if one.key == key}


Take = Callable[..., capturing.Capture]


# -- selection --------------------------------------------------------------------------------------------------------


def test_namespaces_by_glob_without_some(server: ApiServer, take: Take) -> None:
    assert take(namespaces=["shop*", "bank"], exclude_namespaces=["*-a"]).namespaces == ["bank", "shop"]


def test_the_whole_cluster_is_everything_but_ours(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(
        thing("ClusterRole", "mine", "", RBAC),
        thing("ClusterRole", "admin", "", RBAC, metadata={"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
    )
    found = take(namespaces=None, whole_cluster=True)
    assert found.namespaces == ["bank", "kube-system", "shop", "shop-a"]
    assert of_kind(tmp_path, "clusterroles.rbac.authorization.k8s.io") == {"mine"}
    assert found.left_out["clusterroles.rbac.authorization.k8s.io", "the API server makes it"] == 1
    assert {
        "what": "clusterroles.rbac.authorization.k8s.io/mine",
        "why": "application.cluster_scoped asks for all",
    } in (found.related)


def test_selectors_names_and_kinds(server: ApiServer, take: Take, tmp_path: Path) -> None:
    for name, labels in (("a-1", {"t": "a"}), ("a-2", {"t": "b", "u": "1"}), ("b-1", {"t": "b"}), ("c", {"t": "c"})):
        server.add(thing("ConfigMap", name, metadata={"labels": labels}), thing("Secret", name))
    take(selectors=["t=a", "t=b,u=1"])
    assert of_kind(tmp_path, "configmaps") == {"a-1", "a-2"} and not of_kind(tmp_path, "secrets")


def test_names_may_say_the_kind(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(thing("ConfigMap", "a-1"), thing("Secret", "a-1"), thing("Secret", "b"))
    take(names=["configmaps/a-*", "b"])
    assert names(tmp_path) == {"namespaces/shop", "shop/configmaps/a-1", "shop/secrets/b"}


def test_one_selector_is_left_to_the_server(server: ApiServer, take: Take) -> None:
    server.add(thing("ConfigMap", "a", metadata={"labels": {"t": "a"}}))
    take(selectors=["t=a"])
    assert {"t=a"} == {query["labelSelector"] for path, query in server.reads if path.endswith("/shop/configmaps")}


def owned_by(uid: str) -> dict[str, Any]:
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid}]}


def test_what_an_owner_owns_over_several_steps(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(
        thing("Deployment", "api", api="apps/v1", metadata={"uid": "u1"}),
        thing("ConfigMap", "child", metadata={"uid": "u2", **owned_by("u1")}),
        thing("Secret", "grandchild", metadata=owned_by("u2")),
        thing("Secret", "stranger"),
        thing("Secret", "of-another", metadata=owned_by("u9")),
    )
    take(owners=["deployments.apps/a*"])
    assert names(tmp_path) == {
        "namespaces/shop",
        "shop/configmaps/child",
        "shop/deployments.apps/api",
        "shop/secrets/grandchild",
    }


def _planets(server: ApiServer) -> None:
    """An operator's resource without a namespace, which owns others with and without one."""
    server.add(
        definition("planets", "Planet", "Cluster"),
        thing("Planet", "mars", "", "x.example.com/v1", metadata={"uid": "u1"}),
        thing("Planet", "venus", "", "x.example.com/v1", metadata={"uid": "u8"}),
        thing("ClusterRole", "of-mars", "", RBAC, metadata={"uid": "u2", **owned_by("u1")}),
        thing("ClusterRole", "stranger", "", RBAC),
        thing("ConfigMap", "child", metadata=owned_by("u1")),
        thing("Secret", "grandchild", metadata=owned_by("u2")),
        thing("Secret", "of-venus", metadata=owned_by("u8")),
        thing("Secret", "stranger"),
    )


def test_an_owner_may_be_without_a_namespace(server: ApiServer, take: Take, tmp_path: Path) -> None:
    _planets(server)
    found = take(owners=["planets.x.example.com/mars"])
    assert names(tmp_path) == {
        "namespaces/shop",
        "shop/configmaps/child",
        "shop/secrets/grandchild",
        "planets.x.example.com/mars",
        "clusterroles.rbac.authorization.k8s.io/of-mars",
        f"{kinds.CRDS}/planets.x.example.com",
    }
    assert {"what": "planets.x.example.com/mars", "why": "application.owners asks for it"} in found.related


def test_owners_with_a_namespace_need_no_rights_without_one(server: ApiServer, take: Take) -> None:
    _planets(server)
    server.before_read = lambda path, _query: (403, "Forbidden") if path.endswith("/planets") else None
    assert not take(owners=["configmaps/child"]).incomplete


def test_owners_are_found_by_an_identity_of_some_namespaces(server: ApiServer, take: Take, tmp_path: Path) -> None:
    many = [f"n{n}" for n in range(8)]
    for name in many:
        server.add(thing("Namespace", name, ""), thing("ConfigMap", "owner", name, metadata={"uid": f"u-{name}"}))
        server.add(thing("Secret", "owned", name, metadata=owned_by(f"u-{name}")), thing("Secret", "stranger", name))

    def refuse(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        wide = path in ("/api/v1/configmaps", "/api/v1/secrets")
        return (403, "Forbidden") if wide or path.endswith("/n3/configmaps") else None

    server.before_read = refuse
    found = take(namespaces=many, owners=["configmaps/owner"], include_kinds=["secrets"])
    assert found.counts["secrets"] == 7
    assert [entry["what"] for entry in found.incomplete] == ["owners among configmaps in namespace n3"]


@pytest.mark.parametrize(
    ("application", "words"),
    [
        ({"namespaces": ["shop", "nope-*"]}, "nope-*"),
        ({"exclude_namespaces": ["nope"]}, "exclude_namespaces nope"),
        ({"include_kinds": ["secrets", "gadgets"]}, "include_kinds gadgets"),
        ({"exclude_kinds": ["clusterroles.*"]}, "cluster_scoped"),
        ({"cluster_scoped": ["gadgets.example.com"]}, "gadgets.example.com"),
        ({"cluster_scoped": ["clusterroles/nope"]}, "clusterroles/nope"),
        ({"names": ["cm", "nope-*"]}, "names nope-*"),
        ({"selectors": ["t=a", "t=nope"]}, "selectors t=nope"),
        ({"owners": ["configmaps/cm", "configmaps/nope"]}, "owners configmaps/nope"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_or_told(
    server: ApiServer, take: Take, application: dict[str, Any], words: str
) -> None:
    server.add(thing("ConfigMap", "cm", metadata={"labels": {"t": "a"}}))
    with pytest.raises(NotFound) as caught:
        take(**application)
    assert words in str(caught.value)
    found = take(**application, allow_no_match=True)
    assert len(found.unmatched) == 1


@pytest.mark.parametrize(
    ("application", "words"),
    [
        ({"include_kinds": ["secrets", "events"]}, "include_kinds events"),
        ({"include_kinds": ["*.coordination.k8s.io"]}, "include_kinds *.coordination.k8s.io"),
        ({"cluster_scoped": ["related", "nodes"]}, "cluster_scoped nodes"),
        ({"cluster_scoped": ["nodes/n-1"]}, "cluster_scoped nodes"),
    ],
)
def test_a_pattern_for_what_is_left_out_by_nature_is_refused_or_told(
    server: ApiServer, take: Take, tmp_path: Path, application: dict[str, Any], words: str
) -> None:
    server.kinds += [
        ("coordination.k8s.io", "v1", "leases", "Lease", True),
        ("", "v1", "nodes", "Node", False),
    ]
    server.add(
        thing("Event", "e"),
        thing("Lease", "leader", api="coordination.k8s.io/v1"),
        thing("Node", "n-1", ""),
    )
    with pytest.raises(NotFound, match=r"left out by nature\. .*application\.leave_out") as caught:
        take(**application)
    assert words in str(caught.value)
    assert f"kinds of {words}" in take(**application, allow_no_match=True).unmatched
    assert not take(**application, leave_out=[]).unmatched
    assert names(tmp_path) & {"shop/events/e", "shop/leases.coordination.k8s.io/leader", "nodes/n-1"}
    # To leave out what is left out anyway is no mistake.
    take(exclude_kinds=["events"], exclude_cluster_scoped=["nodes"])


def test_a_pattern_for_an_api_that_is_down_is_no_mistake(server: ApiServer, take: Take) -> None:
    server.down.add("weather.example.com/v1")
    found = take(include_kinds=["serviceaccounts", "*.weather.example.com"])
    assert [entry["what"] for entry in found.incomplete] == ["API weather.example.com/v1"]
    assert not take(exclude_kinds=["*.weather.example.com"]).incomplete


@pytest.mark.parametrize(
    "application",
    [
        {"whole_cluster": True},
        {"whole_cluster": "yes"},
        {"versions": "newest"},
        {"owners": ["api"]},
        {"names": "api"},
        {"cluster_scoped": {"a": 1}},
    ],
)
def test_what_cannot_be_meant_is_refused(application: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        selection.Selection.of({"name": "a", "namespaces": ["a"], **application})


# -- objects without a namespace --------------------------------------------------------------------------------------


def test_lists_of_cluster_scoped_objects_beside_related_ones(server: ApiServer, take: Take, tmp_path: Path) -> None:
    binding = {"roleRef": {"kind": "ClusterRole", "name": "bound"}}
    server.add(
        *(thing("ClusterRole", name, "", RBAC) for name in ("bound", "wanted-1", "wanted-2", "other")),
        thing(
            "ClusterRoleBinding",
            "b",
            "",
            RBAC,
            **binding,
            subjects=[{"kind": "ServiceAccount", "name": "x", "namespace": "shop"}],
        ),
        thing("StorageClass", "csi", "", "storage.k8s.io/v1"),
    )
    found = take(
        cluster_scoped=["related", "clusterroles.*/wanted-*"], exclude_cluster_scoped=["clusterroles/wanted-2"]
    )
    assert of_kind(tmp_path, "clusterroles.rbac.authorization.k8s.io") == {"bound", "wanted-1"}
    assert {entry["what"].rpartition("/")[2]: entry["why"] for entry in found.related} == {
        "b": "it binds a subject of the application",
        "bound": "an object of the application refers to it",
        "wanted-1": "application.cluster_scoped asks for it",
    }


def test_none_but_the_namespaces(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(
        thing("StorageClass", "csi", "", "storage.k8s.io/v1"),
        thing("PersistentVolumeClaim", "c", spec={"storageClassName": "csi"}),
    )
    take(cluster_scoped=[])
    assert {name for name in names(tmp_path) if name.count("/") == 1} == {"namespaces/shop"}


WEBHOOKS = "admissionregistration.k8s.io/v1"


def _two_tenants(server: ApiServer) -> None:
    """Two applications in one namespace, each with a webhook, an API and what is granted to its service account."""
    for app in ("mine", "other"):
        labels = {"labels": {"app": app}}
        subject = {"kind": "ServiceAccount", "name": app, "namespace": "shop"}
        user = {"kind": "User", "name": f"system:serviceaccount:shop:{app}-user"}
        role = {"kind": "ClusterRole", "name": app}
        service = {"name": app, "namespace": "shop"}
        pods = {"serviceAccountName": f"{app}-user", "containers": []}
        server.add(
            thing("Service", app, metadata=labels),
            thing("ServiceAccount", app, metadata=labels),
            thing("Deployment", app, api="apps/v1", metadata=labels, spec={"template": {"spec": pods}}),
            thing("ClusterRole", app, "", RBAC),
            thing("ClusterRoleBinding", app, "", RBAC, roleRef=role, subjects=[subject]),
            thing("ClusterRoleBinding", f"{app}-user", "", RBAC, roleRef=role, subjects=[user]),
            thing(
                "ValidatingWebhookConfiguration", app, "", WEBHOOKS, webhooks=[{"clientConfig": {"service": service}}]
            ),
            thing("APIService", app, "", "apiregistration.k8s.io/v1", spec={"service": service}),
        )
    everyone = {"kind": "Group", "name": "system:serviceaccounts:shop"}
    later = {"kind": "ServiceAccount", "name": "not-there-yet", "namespace": "shop"}
    for name, subject in (("everyone", everyone), ("later", later)):
        role = {"kind": "ClusterRole", "name": "mine"}
        server.add(thing("ClusterRoleBinding", name, "", RBAC, roleRef=role, subjects=[subject]))


@pytest.mark.parametrize(
    ("application", "bindings", "services"),
    [
        ({}, {"mine", "mine-user", "other", "other-user", "everyone", "later"}, {"mine", "other"}),
        (
            {"exclude_kinds": ["configmaps"]},
            {"mine", "mine-user", "other", "other-user", "everyone", "later"},
            {"mine", "other"},
        ),
        ({"selectors": ["app=mine"]}, {"mine", "mine-user", "everyone"}, {"mine"}),
        ({"names": ["mine"]}, {"mine", "mine-user", "everyone"}, {"mine"}),
        ({"owners": ["deployments.apps/mine"]}, {"mine-user", "everyone"}, set()),
        ({"exclude_kinds": ["services"]}, {"mine", "mine-user", "other", "other-user", "everyone", "later"}, set()),
        ({"exclude_kinds": ["serviceaccounts"]}, {"mine-user", "other-user", "everyone"}, {"mine", "other"}),
        ({"include_kinds": ["services"]}, {"everyone"}, {"mine", "other"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_related_to_another_application_in_the_namespace_stays_there(
    server: ApiServer, take: Take, tmp_path: Path, application: dict[str, Any], bindings: set[str], services: set[str]
) -> None:
    _two_tenants(server)
    take(**application)
    assert of_kind(tmp_path, "clusterrolebindings.rbac.authorization.k8s.io") == bindings
    assert of_kind(tmp_path, "validatingwebhookconfigurations.admissionregistration.k8s.io") == services
    assert of_kind(tmp_path, kinds.API_SERVICES) == services


def test_parts_of_an_aggregated_role_come_along(server: ApiServer, take: Take, tmp_path: Path) -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"part-of": "sum"}}]}
    server.add(
        thing("ClusterRole", "sum", "", RBAC, aggregationRule=rule, rules=[]),
        thing("ClusterRole", "part", "", RBAC, metadata={"labels": {"part-of": "sum"}}),
        thing("ClusterRole", "no-part", "", RBAC),
        thing("RoleBinding", "b", api=RBAC, roleRef={"kind": "ClusterRole", "name": "sum"}),
    )
    take()
    assert of_kind(tmp_path, "clusterroles.rbac.authorization.k8s.io") == {"sum", "part"}


def test_the_definition_of_a_cluster_scoped_custom_resource(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(definition("planets", "Planet", "Cluster"), definition("moons", "Moon"))
    server.add(thing("Planet", "mars", "", "x.example.com/v1"))
    take(cluster_scoped=["related", "planets.x.example.com"])
    assert of_kind(tmp_path, kinds.CRDS) == {"planets.x.example.com"}


@pytest.mark.parametrize(
    "group",
    [
        "autoscaling.k8s.io",
        "app.k8s.io",
        "groupsnapshot.storage.k8s.io",
        "scheduling.x-k8s.io",
        "policy.networking.k8s.io",
    ],
)
def test_the_definition_of_a_custom_resource_in_a_group_of_kubernetes_projects(
    server: ApiServer, take: Take, tmp_path: Path, group: str
) -> None:
    server.add(definition("moons", "Moon", group=group), thing("Moon", "io", api=f"{group}/v1"))
    take()
    assert of_kind(tmp_path, kinds.CRDS) == {f"moons.{group}"}


def test_kinds_of_kubernetes_itself_have_no_definition(server: ApiServer) -> None:
    assert all(kinds.built_in(f"{kind[2]}.{kind[0]}" if kind[0] else kind[2]) for kind in server.kinds)
    of_projects = ("gateway.networking", "metrics", "snapshot.storage")
    assert not any(kinds.built_in(f"x.{group}.k8s.io") for group in of_projects)


# -- everything that is served ----------------------------------------------------------------------------------------


def test_a_definition_of_a_second_ago_is_in(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(definition("moons", "Moon"), thing("Moon", "io", api="x.example.com/v1"))
    server.unannounced.add("x.example.com")
    take()
    assert of_kind(tmp_path, "moons.x.example.com") == {"io"}


def test_an_api_that_was_just_removed_breaks_nothing(server: ApiServer, take: Take) -> None:
    server.add(definition("moons", "Moon"), thing("Moon", "io", api="x.example.com/v1"))

    def remove(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        if path.endswith("/moons"):
            server.kinds = [kind for kind in server.kinds if kind[3] != "Moon"]
        return None

    server.before_read = remove
    found = take()
    assert not found.incomplete
    assert {"what": "moons.x.example.com", "why": "its API was removed at that moment"} in found.excluded


def test_an_api_that_goes_while_it_is_read_is_named(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(definition("moons", "Moon"), *(thing("Moon", f"m{n:03}", api="x.example.com/v1") for n in range(150)))

    def remove(path: str, query: dict[str, str]) -> tuple[int, str] | None:
        return (404, "NotFound") if path.endswith("/moons") and query.get("continue") else None

    server.before_read = remove
    assert take().incomplete == [{"what": "moons.x.example.com", "why": "it went away while it was read"}]
    assert not of_kind(tmp_path, "moons.x.example.com")


def test_a_namespace_that_goes_while_it_is_read_is_named(server: ApiServer, take: Take) -> None:
    def remove(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        if path.endswith("/shop-a/secrets"):
            server.objects.pop(("namespaces", "", "shop-a"), None)
        return None

    server.before_read = remove
    found = take(namespaces=["shop", "shop-a"])
    assert found.incomplete == [{"what": "namespaces/shop-a", "why": "it was deleted while it was read"}]


def test_all_versions_of_one_moment(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.kinds.append(("apps", "v1beta1", "deployments", "Deployment", True))
    server.add(thing("Deployment", "api", api="apps/v1"))
    found = take(versions="all")
    assert found.versions == {"deployments.apps": ["apps/v1beta1"]}
    older = [one.obj for one in layout.read(layout.other_version(tmp_path / "objects", "v1beta1"))]
    assert [obj["apiVersion"] for obj in older] == ["apps/v1beta1"]
    # kubectl apply of the files of one version does not meet the objects twice.
    assert of_kind(tmp_path, "deployments.apps") == {"api"} and found.counts["deployments.apps"] == 1
    (query,) = (query for path, query in server.reads if "v1beta1/namespaces" in path)
    assert query["resourceVersionMatch"] == "Exact"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_all_versions_of_what_was_refused_for_a_moment(
    server: ApiServer, take: Take, tmp_path: Path, version: str
) -> None:
    server.kinds.append(("apps", "v1beta1", "deployments", "Deployment", True))
    server.add(thing("Deployment", "api", api="apps/v1"))
    left = [422] * (1 if version == "v1" else 2)

    def starting(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        return (
            (left.pop(), "Invalid") if path.endswith(f"/apps/{version}/namespaces/shop/deployments") and left else None
        )

    server.before_read = starting
    found = take(versions="all")
    assert not left and not found.incomplete
    assert found.versions == {"deployments.apps": ["apps/v1beta1"]}
    assert len(list(layout.read(layout.other_version(tmp_path / "objects", "v1beta1")))) == 1


def test_objects_that_two_groups_serve_are_taken_from_the_same_one(
    server: ApiServer, take: Take, tmp_path: Path
) -> None:
    server.kinds.append(("old.example.com", "v1", "ingresses", "Ingress", True))
    server.add(thing("Ingress", "web", api="networking.k8s.io/v1", metadata={"uid": "u"}))
    server.objects["ingresses.old.example.com", "shop", "web"] = server.objects[
        "ingresses.networking.k8s.io", "shop", "web"
    ]
    take()
    assert {name for name in names(tmp_path) if "ingresses" in name} == {"shop/ingresses.networking.k8s.io/web"}


@pytest.mark.parametrize(
    ("where", "status"),
    [("continue", 410), ("continue", 422), ("resourceVersionMatch", 400)],
    ids=["expired", "refused-for-a-moment", "no-exact-versions"],
)
def test_kinds_of_one_name_lose_nothing_when_a_list_is_begun_again(
    server: ApiServer, take: Take, tmp_path: Path, where: str, status: int
) -> None:
    server.kinds.append(("old.example.com", "v1", "ingresses", "Ingress", True))
    for namespace in ("shop", "shop-a"):
        server.add(*(thing("Ingress", f"i{n:03}", namespace, "networking.k8s.io/v1") for n in range(150)))
    left = [status]

    def stumble(path: str, query: dict[str, str]) -> tuple[int, str] | None:
        return (left.pop(), "Expired") if path.endswith("/ingresses") and where in query and left else None

    server.before_read = stumble
    found = take(namespaces=["shop", "shop-a"])
    assert not left and not found.incomplete
    assert found.counts["ingresses.networking.k8s.io"] == 300


def test_a_kind_without_a_list_is_told(server: ApiServer, take: Take) -> None:
    server.broken["/apis/batch/v1/namespaces/shop/jobs"] = 405
    assert {"what": "jobs.batch", "why": "the server offers no list of them"} in take().excluded


# -- pages ------------------------------------------------------------------------------------------------------------


def test_an_expired_list_is_begun_again_and_is_of_one_moment(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(*(thing("ConfigMap", f"cm-{n:03}") for n in range(250)))
    expired: list[str] = []

    def expire(path: str, query: dict[str, str]) -> tuple[int, str] | None:
        if path.endswith("/configmaps") and query.get("continue") and not expired:
            expired.append(path)
            # Seen on the first page, and gone when the list is read again.
            del server.objects["configmaps", "shop", "cm-000"]
            return 410, "Expired"
        return None

    server.before_read = expire
    found = take()
    assert expired and found.counts["configmaps"] == 249 and not found.incomplete
    assert "cm-000" not in of_kind(tmp_path, "configmaps")


def test_a_list_that_expires_for_ever_is_incomplete(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(*(thing("ConfigMap", f"cm-{n:03}") for n in range(150)))
    server.before_read = lambda _path, query: (410, "Expired") if query.get("continue") else None
    assert [entry["what"] for entry in take().incomplete] == ["configmaps"]
    assert not of_kind(tmp_path, "configmaps")


def test_namespaces_that_are_asked_one_by_one_are_of_one_moment(server: ApiServer, take: Take) -> None:
    take(namespaces=["shop", "shop-a"])
    queries = {path: query for path, query in server.reads if path.endswith("/configmaps")}
    assert "resourceVersion" not in queries["/api/v1/namespaces/shop/configmaps"]
    assert queries["/api/v1/namespaces/shop-a/configmaps"]["resourceVersion"]


def test_a_server_that_knows_no_exact_versions_is_asked_without(server: ApiServer, take: Take) -> None:
    server.before_read = lambda _path, query: (400, "BadRequest") if query.get("resourceVersionMatch") else None
    assert not take(namespaces=["shop", "shop-a"]).incomplete


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: ApiServer, take: Take, status: int) -> None:
    left = [status] * 4

    def busy(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        return (left.pop(), "TooManyRequests") if path.endswith("/secrets") and left else None

    server.before_read = busy
    assert not take().incomplete and not left


def test_a_kind_that_was_refused_for_a_moment_is_tried_again(server: ApiServer, take: Take) -> None:
    left = [422]

    def starting(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        return (left.pop(), "Invalid") if path.endswith("/secrets") and left else None

    server.before_read = starting
    assert not take().incomplete and not left


def test_a_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first contact gives up soon: the address may be wrong. A server that was there is worth a minute."""
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    with running() as server:
        cluster = Cluster.connect({"host": server.url})
        cluster.version()
        # The fake serves open connections to their end.
        cluster._api.rest_client.pool_manager.clear()
    with pytest.raises(Unavailable):
        cluster.get("/version")
    # The attempts themselves take a moment too.
    assert sum(paused) >= 59
    paused.clear()
    with pytest.raises(Unavailable):
        Cluster.connect({"host": server.url}).version()
    assert sum(paused) < 5


def test_a_request_that_hangs_is_repeated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that died under the first one may be back; a minute each time is no moment for twenty more."""
    passed: list[float] = [0.0]

    def pass_time(seconds: float) -> None:
        passed.append(passed[-1] + seconds)

    def hang(_self: Cluster, _method: str, path: str, _headers: Any, _body: Any, timeout: float) -> None:
        pass_time(timeout)
        asked.append(path)
        raise urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("x"), path, "Read timed out.")

    asked: list[str] = []
    cluster = Cluster.connect({"host": "http://x"})
    cluster._answered = True
    monkeypatch.setattr("time.sleep", pass_time)
    monkeypatch.setattr("time.monotonic", lambda: passed[-1])
    monkeypatch.setattr(Cluster, "_send", hang)
    with pytest.raises(Unavailable):
        cluster.get("/apis/slow.example.com/v1/things")
    assert len(asked) == 2


NONSENSE = [
    "<html>502</html>",
    '["a"]',
    {"items": "many"},
    {"items": [{"metadata": {"namespace": "shop"}}]},
    {"items": [{"name": "io"}]},
    {"items": ["io"]},
]


def _moons(server: ApiServer) -> str:
    """An aggregated API beside all that is sound; gives the path of its list."""
    server.kinds.append(("slow.example.com", "v1", "moons", "Moon", True))
    server.add(thing("ConfigMap", "cm"))
    return "/apis/slow.example.com/v1/namespaces/shop/moons"


@pytest.mark.parametrize("answer", NONSENSE, ids=str)
def test_a_kind_whose_list_is_nonsense_is_named(
    server: ApiServer, take: Take, tmp_path: Path, answer: dict[str, Any] | str
) -> None:
    path = _moons(server)
    server.verbatim[path] = answer
    (entry,) = take().incomplete
    assert entry["what"] == "moons.slow.example.com" and f"the answer to GET {path} " in entry["why"]
    assert of_kind(tmp_path, "configmaps") == {"cm"}


@pytest.mark.parametrize(
    "answer", ["<html>502</html>", '["a"]', {"resources": ["moons"]}, {"resources": [{"kind": "Moon"}]}], ids=str
)
def test_an_api_that_describes_itself_in_nonsense_is_named(
    server: ApiServer, take: Take, answer: dict[str, Any] | str
) -> None:
    _moons(server)
    server.verbatim["/apis/slow.example.com/v1"] = answer
    (entry,) = take().incomplete
    assert entry["what"] == "API slow.example.com/v1" and "the answer to GET /apis/slow.example.com/v1 " in entry["why"]


@pytest.mark.parametrize("application", [{}, {"owners": ["configmaps/cm"]}])
def test_a_kind_that_is_not_answered_is_named_by_a_server_that_answers(
    server: ApiServer, take: Take, tmp_path: Path, application: dict[str, Any]
) -> None:
    slow = _moons(server)

    def hang(path: str, _query: dict[str, str]) -> None:
        if path == slow:
            raise ConnectionAbortedError

    server.before_read = hang
    found = take(**application)
    assert {entry["what"].rpartition(" ")[2] for entry in found.incomplete} == {"moons.slow.example.com"}
    assert of_kind(tmp_path, "configmaps") == {"cm"}


def test_a_server_that_answers_nothing_any_more_is_an_error(server: ApiServer, take: Take) -> None:
    slow = _moons(server)
    gone: list[str] = []

    def go(path: str, _query: dict[str, str]) -> None:
        if path == slow or gone:
            gone.append(path)
            raise ConnectionAbortedError

    server.before_read = go
    with pytest.raises(Unavailable, match="does not answer"):
        take()


# -- what is left out -------------------------------------------------------------------------------------------------


def test_only_endpoints_that_users_wrote_are_captured(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.kinds.append(SLICES)
    managed = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    server.add(
        thing("Service", "api", spec={"selector": {"app": "api"}}),
        thing("Service", "legacy", spec={}),
        thing("Endpoints", "api"),
        thing("Endpoints", "legacy"),
        thing("EndpointSlice", "api-1", api="discovery.k8s.io/v1", metadata={"labels": managed}),
        thing("EndpointSlice", "mine", api="discovery.k8s.io/v1"),
    )
    found = take()
    assert of_kind(tmp_path, "endpoints") == {"legacy"}
    assert of_kind(tmp_path, "endpointslices.discovery.k8s.io") == {"mine"}
    assert found.left_out["endpoints", "a controller keeps it for its service"] == 1


def test_what_is_left_out_can_be_changed(server: ApiServer, take: Take, tmp_path: Path) -> None:
    server.add(
        thing("Event", "e"),
        thing("ConfigMap", "kube-root-ca.crt"),
        thing("Pod", "static", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}),
        thing("ConfigMap", "going", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    )
    found = take()
    assert not {name for name in names(tmp_path) if name.endswith(("/e", "crt", "static", "going"))}
    assert {"what": "shop/configmaps/going", "why": "it was being deleted at that moment"} in found.excluded
    take(leave_out=[])
    assert {"shop/events/e", "shop/configmaps/kube-root-ca.crt", "shop/pods/static", "shop/configmaps/going"} <= names(
        tmp_path
    )
    take(leave_out=["default", "configmaps"])
    assert not of_kind(tmp_path, "configmaps")


def test_what_shares_only_its_name_with_what_is_left_out_is_captured(
    server: ApiServer, take: Take, tmp_path: Path
) -> None:
    server.kinds += [
        ("rabbitmq.com", "v1beta1", "bindings", "Binding", True),
        ("longhorn.io", "v1beta2", "nodes", "Node", False),
    ]
    server.add(
        thing("Binding", "queue", api="rabbitmq.com/v1beta1"),
        thing("Node", "disks", "", "longhorn.io/v1beta2"),
        thing("Event", "e"),
    )
    take(cluster_scoped=["nodes.longhorn.io"], leave_out=["default", "secrets"])
    assert {"shop/bindings.rabbitmq.com/queue", "nodes.longhorn.io/disks"} <= names(tmp_path)
    assert not of_kind(tmp_path, "events")
    # What a user writes is read alike.
    take(leave_out=["default", "bindings*"])
    assert of_kind(tmp_path, "bindings.rabbitmq.com") == {"queue"}
    take(leave_out=["default", "bindings.*"])
    assert not of_kind(tmp_path, "bindings.rabbitmq.com")


def test_the_documented_list_is_the_list() -> None:
    text = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    described = k8s_snapshot.DOCUMENTATION
    assert not [name for name in kinds.BY_NATURE if f"`{name}`" not in text]
    assert not [name for name in kinds.BY_NATURE if f"C({name})" not in described]


def test_a_namespace_on_its_way_out_is_not_captured(server: ApiServer, take: Take) -> None:
    server.objects["namespaces", "", "shop-a"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = take(namespaces=["shop*"])
    assert found.namespaces == ["shop"]
    assert {"what": "namespaces/shop-a", "why": "it was being deleted at that moment"} in found.excluded


def test_many_excluded_objects_are_counted(server: ApiServer, take: Take) -> None:
    label = {"labels": {"velero.io/exclude-from-backup": "true"}}
    server.add(*(thing("ConfigMap", f"cm-{n:03}", metadata=label) for n in range(230)))
    excluded = take().excluded
    assert len(excluded) == 201
    assert {"what": "30 more configmaps", "why": "label velero.io/exclude-from-backup=true"} in excluded


# -- permissions ------------------------------------------------------------------------------------------------------


def test_a_kind_that_is_refused_everywhere_is_one_entry(server: ApiServer, take: Take) -> None:
    server.before_read = lambda path, _query: (403, "Forbidden") if path.endswith("/secrets") else None
    assert [entry["what"] for entry in take(namespaces=["shop", "shop-a"]).incomplete] == ["secrets"]


def test_an_identity_of_some_namespaces_is_asked_there(server: ApiServer, take: Take) -> None:
    many = [f"n{n}" for n in range(8)]
    server.add(*(thing("Namespace", name, "") for name in many), *(thing("Secret", "s", name) for name in many))

    def refuse(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        return (403, "Forbidden") if path == "/api/v1/secrets" or path.endswith("/n3/secrets") else None

    server.before_read = refuse
    found = take(namespaces=many)
    assert found.counts["secrets"] == 7
    assert [entry["what"] for entry in found.incomplete] == ["secrets in namespace n3"]


def test_a_small_part_of_a_large_cluster_is_asked_for_alone(server: ApiServer, take: Take) -> None:
    server.add(*(thing("Namespace", f"n{n}", "") for n in range(300)))
    take(namespaces=[f"n{n}" for n in range(8)], include_kinds=["secrets"])
    assert "/api/v1/secrets" not in {path for path, _query in server.reads}


def test_the_shipped_role_is_enough_and_not_more(server: ApiServer, take: Take) -> None:
    (role,) = yaml.safe_load_all((ROOT / "docs" / "rbac" / "capture.yml").read_text(encoding="utf-8"))
    assert role["rules"] == [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]},
        {"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/version"], "verbs": ["get"]},
    ]
    server.add(definition("moons", "Moon"), thing("Moon", "io", api="x.example.com/v1"))
    server.unannounced.add("x.example.com")
    take(whole_cluster=True, namespaces=None)
    take(owners=["moons.x.example.com/io"])
    for path, _query in server.reads:
        parts = path.strip("/").split("/")[2:] if path.startswith("/api/") else path.strip("/").split("/")[3:]
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            parts = parts[2:]
        # None or one part: discovery or a list. Two would be an object by its name.
        assert len(parts) <= 1, path
    assert not server.writes


# -- bytes, memory, comparison ----------------------------------------------------------------------------------------


def test_namespaces_come_in_the_order_of_the_storage(server: ApiServer, take: Take, tmp_path: Path) -> None:
    many = ["a", "a-b", *(f"n{n}" for n in range(6))]
    server.add(*(thing("Namespace", name, "") for name in many))
    server.add(*(thing("Secret", f"s{n:03}", name) for name in ("a", "a-b") for n in range(120)))
    assert take(namespaces=many).counts["secrets"] == 240
    for name in ("a", "a-b"):
        found = json.loads((tmp_path / "objects" / "namespaces" / name / "secrets.json").read_text())
        assert [item["metadata"]["name"] for item in found["items"]] == [f"s{n:03}" for n in range(120)]


def test_objects_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    writer = layout.Writer(tmp_path, "secrets")
    for namespace, name in (("a", "2"), ("b", "1"), ("a", "1"), ("a", "3"), ("b", "2")):
        writer.add(namespace, name, json.dumps(thing("Secret", name, namespace)))
    assert writer.finish() == 5
    found = [(one.identity.namespace, one.identity.name) for one in layout.read(tmp_path)]
    assert found == [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "2")]
    writer.discard()
    assert not layout.files(tmp_path)


def test_a_full_staging_folder_is_told(server: ApiServer, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add(*(thing("Secret", f"s{n}", data={"k": "x" * 9000}) for n in range(9)))

    def full(*_place: Any, **_again: Any) -> Any:
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")

    monkeypatch.setattr(layout.Writer, "_open", full)
    with pytest.raises(MusterError, match=r"secrets in .*/objects: No space left on device\. .*set TMPDIR"):
        take()


def test_memory_does_not_grow_with_the_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server in this process, whose own lists would be measured: pages are made when they are asked for."""

    def answer(self: Cluster, _method: str, path: str, **options: Any) -> bytes:
        query = options.get("query") or {}
        if path == "/api":
            return b'{"versions":["v1"]}'
        if path == "/apis":
            return b'{"groups":[]}'
        if path == "/api/v1":
            entry = {"name": "secrets", "kind": "Secret", "namespaced": True, "verbs": ["list"]}
            return json.dumps({"resources": [entry]}).encode()
        if path == "/api/v1/namespaces":
            return json.dumps({"kind": "NamespaceList", "items": [thing("Namespace", "shop", "")]}).encode()
        begin = int(query.get("continue", "0"))
        end = min(begin + int(query["limit"]), total)
        found = [
            thing("Secret", f"s{n:06}", metadata={"uid": f"u{n}"}, data={"k": "x" * 500}) for n in range(begin, end)
        ]
        metadata = {"continue": str(end)} if end < total else {}
        return json.dumps({"kind": "SecretList", "apiVersion": "v1", "metadata": metadata, "items": found}).encode()

    monkeypatch.setattr(Cluster, "_exchange", answer)
    peaks = []
    for total in (3200, 12000):
        chosen = selection.Selection.of({"name": "shop", "namespaces": ["shop"]})
        tracemalloc.start()
        found = capturing.capture(Cluster.connect({"host": "http://x"}), chosen, tmp_path / str(total), workers=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.counts["secrets"] == total
    assert peaks[1] < peaks[0] * 1.2


Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def module(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    monkeypatch.setattr(snapshot_verb, "Repository", FolderRepository(tmp_path / "repository"))

    def call(**more: Any) -> dict[str, Any]:
        arguments = {
            "host": server.url,
            "repository": {"url": "/r", "password": "repository-pw-1"},
            "site": "east",
            "point": "20260131T040506Z-shop-1",
            "application": {"name": "shop", "namespaces": ["shop"]},
            "_ansible_tracebacks_for": [],
        }
        with patch_module_args({**arguments, **more}), pytest.raises(SystemExit):
            k8s_snapshot.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.mark.parametrize("key", ["selector", "exclude_kind", "labels"])
def test_a_key_that_no_application_has_is_refused(module: Runner, key: str) -> None:
    result = module(application={"name": "shop", "namespaces": ["shop"], key: ["app=api"]})
    assert result["failed"] and repr(key) in result["msg"]
    assert "selectors" in result["msg"] and "exclude_kinds" in result["msg"]


def test_what_others_read_of_an_application_is_no_mistake(module: Runner) -> None:
    application = {
        "name": "shop",
        "namespaces": ["shop"],
        "targets": {"rpo": "15m", "rto": "1h"},
        "hooks": [{"name": "db", "selector": "app=db", "pre": ["freeze"], "post": ["thaw"]}],
        "hook_annotations": False,
        "restore_hooks": [{"name": "db", "selector": "app=db", "command": ["check"]}],
        "volumes": {"exclude": []},
        "checks": [{"name": "up", "kind": "http"}],
    }
    assert module(application=application)["snapshot"]


def test_changes_by_kind_and_a_diff_without_secrets(server: ApiServer, module: Runner) -> None:
    applied = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": f'{{"data":"{CANARY}"}}'}}
    server.add(
        thing("Secret", "db", data={"password": CANARY, "user": "dXNlcg=="}, metadata=applied),
        thing("ConfigMap", "settings", data={"level": "one"}),
        thing("ConfigMap", "gone", data={}),
        thing("ConfigMap", "same", data={}),
    )
    module()
    del server.objects["configmaps", "shop", "gone"]
    server.add(
        thing("Secret", "db", data={"password": CANARY + "eHg=", "user": "dXNlcg=="}, metadata=applied),
        thing("Secret", "new", data={"token": CANARY}),
        thing("ConfigMap", "settings", data={"level": "two"}),
    )
    result = module(_ansible_diff=True, _ansible_check_mode=True)
    assert result["change"] == {"added": 1, "changed": 2, "removed": 1, "unchanged": 3}
    assert result["change_by_kind"]["configmaps"] == {"added": 0, "changed": 1, "removed": 1, "unchanged": 1}
    assert result["change_by_kind"]["secrets"] == {"added": 1, "changed": 1, "removed": 0, "unchanged": 0}
    text = json.dumps(result)
    assert CANARY not in text and "dXNlcg" not in text
    shown = {entry["after_header"].split(" ")[0]: entry for entry in result["diff"]}
    assert '"level": "one"' in shown["shop/configmaps/settings"]["before"]
    assert '"level": "two"' in shown["shop/configmaps/settings"]["after"]
    assert not shown["shop/configmaps/gone"]["after"] and not shown["shop/secrets/new"]["before"]
    before, after = (json.loads(shown["shop/secrets/db"][side])["data"] for side in ("before", "after"))
    assert before == {"password": "(hidden, before)", "user": "(hidden)"}
    assert after == {"password": "(hidden, changed)", "user": "(hidden)"}


def _cut(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8")[:-60], encoding="utf-8")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _garble(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace('"data":', '"data"'), encoding="utf-8")


def _scramble(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"level", b"\xff\xfe\xfd"))


def _rename(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace('"name":', '"mane":'), encoding="utf-8")


@pytest.mark.parametrize("damage", [_cut, _empty, _garble, _scramble, _rename])
def test_a_damaged_snapshot_before_this_one_is_a_warning(
    server: ApiServer, module: Runner, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    server.add(thing("ConfigMap", "settings", data={"level": "one"}))
    first = module()
    (file,) = (tmp_path / "repository").rglob("configmaps.json")
    damage(file)
    server.add(thing("ConfigMap", "settings", data={"level": "two"}))
    second = module(_ansible_diff=True)
    assert second["parent"] is None and second["snapshot"] and second["change"]["added"] == first["change"]["added"]
    assert len(second["diff"]) == second["change"]["added"]
    warning = json.dumps(second["warnings"])
    assert "configmaps.json" in warning and "everything counts as added" in warning
    # The next one has a parent again.
    assert module()["change"]["unchanged"] == first["change"]["added"]


def test_a_snapshot_before_this_one_that_cannot_be_restored_is_a_warning(
    server: ApiServer, module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    module()
    refusals: list[MusterError] = [
        MusterError("restore from", "repository /r", "restic failed: pack is damaged"),
        Unavailable("restore from", "repository /r", "it is locked by another process"),
    ]

    def restore(_self: FolderRepository, _snapshot: str, target: Path) -> None:
        (target / "half").write_text("x")
        raise refusals.pop(0)

    monkeypatch.setattr(FolderRepository, "restore", restore)
    result = module()
    assert result["parent"] is None and result["snapshot"] and "pack is damaged" in json.dumps(result["warnings"])
    # That a repository cannot be asked says nothing about what is in it.
    assert module()["failed"]


def test_a_diff_has_an_end(server: ApiServer, module: Runner) -> None:
    module()
    server.add(*(thing("ConfigMap", f"cm-{n:03}") for n in range(260)))
    diff = module(_ansible_diff=True)["diff"]
    assert len(diff) == 201 and diff[-1]["prepared"].startswith("60 more")


def test_the_lowest_epoch_before_and_after_counts(server: ApiServer, module: Runner) -> None:
    stamp = server.objects["namespaces", "", "shop"]["metadata"].setdefault("annotations", {})
    stamp[marks.EPOCH] = "2"

    def move_on(path: str, _query: dict[str, str]) -> tuple[int, str] | None:
        if path.endswith("/shop/secrets"):
            stamp[marks.EPOCH] = "3"
        return None

    server.before_read = move_on
    assert module()["epoch"] == 2
    server.before_read = lambda _path, _query: None
    stamp[marks.EPOCH] = "soon"
    assert "soon" in module()["msg"]
