from __future__ import annotations

from _bed import reset


def one(resource, name, namespace="", *, owned=False, own=False):
    return reset.Found("/api/v1", resource, namespace, name, owned, own)


def names(objects, own=()):
    return {found.key.removeprefix("/api/v1/") for found in reset.foreign(objects, set(own))}


SYSTEM = one("namespaces", "kube-system")


def test_a_foreign_namespace_goes_whole_and_its_content_with_it():
    objects = [SYSTEM, one("namespaces", "shop"), one("configmaps", "a", "shop")]
    assert names(objects, [SYSTEM.key]) == {"namespaces//shop"}


def test_strange_things_in_a_namespace_of_the_bed_go():
    objects = [SYSTEM, one("configmaps", "mine", "kube-system"), one("secrets", "strange", "kube-system")]
    assert names(objects, [SYSTEM.key, objects[1].key]) == {"secrets/kube-system/strange"}


def test_what_the_bed_added_later_stays():
    objects = [SYSTEM, one("clusterroles", "driver", own=True), one("clusterroles", "theirs")]
    assert names(objects, [SYSTEM.key]) == {"clusterroles//theirs"}


def test_what_has_an_owner_goes_with_it():
    objects = [SYSTEM, one("pods", "p", "kube-system", owned=True)]
    assert names(objects, [SYSTEM.key]) == set()


def test_what_every_namespace_has_by_itself_stays():
    objects = [SYSTEM, one("configmaps", "kube-root-ca.crt", "kube-system"),
               one("serviceaccounts", "default", "kube-system")]  # fmt: skip
    assert names(objects, [SYSTEM.key]) == set()


def test_the_beds_own_is_known_by_its_field_manager():
    metadata = {"name": "x", "managedFields": [{"manager": "kubelet"}, {"manager": reset.MANAGER}]}
    assert reset.found("/api/v1", "configmaps", metadata).own


def test_paths():
    assert one("pods", "p", "ns").path == "/api/v1/namespaces/ns/pods/p"
    assert one("nodes", "n").path == "/api/v1/nodes/n"
