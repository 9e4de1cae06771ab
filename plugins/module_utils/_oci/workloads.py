# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What an application runs on a cluster: each container with the image as written and what the node says it is."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import image_fields, kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    JSON,
    ApiDenied,
    ApiError,
    Cluster,
    object_path,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.image_fields import ImageField
from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring
from ansible_collections.muster.container_dr.plugins.module_utils._oci.resolve import Held

_PODS, _POD_TEMPLATES = "pods", "podtemplates"
# Kinds with a template for pods, and their names in ``used_by``.
_TEMPLATES = {key: key.partition(".")[0] for key in kinds.POD_SPECS if key != _PODS}
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Use:
    """One container that names an image, and the node that it was placed on.

    ``image_id`` is empty for what has not run; ``live`` is what runs now. On a Docker host ``held`` is what the daemon
    says of the image. With a ``problem`` nobody can say which image it is.
    """

    image: str
    image_id: str
    used_by: str
    node: str = ""
    live: bool = True
    held: Held | None = None
    problem: str = ""


def uses(
    cluster: Cluster,
    namespaces: Sequence[str],
    fields: Sequence[ImageField],
    warn: Callable[[str], None],
    keyring: Keyring | None = None,
) -> list[Use]:
    """Every use of an image in the namespaces, ordered.

    What runs counts. A workload's template is added where no pod of it runs that image: scaled to zero, suspended,
    between two runs of a CronJob. For these the newest pod that has ended tells what last ran. An image that a custom
    resource names (``fields`` add to the known ones) is added where no container of the namespace has it.

    With ``keyring`` that gets the logins which :func:`pull_logins` finds, and nothing is listed twice.
    """
    found: list[Use] = []
    for namespace in namespaces:
        listed = _listed(cluster, namespace, warn)
        found += _uses(namespace, listed)
        if keyring is not None:
            _add_logins(cluster, namespace, listed, keyring, warn)
    known = {(use.used_by.partition("/")[0], use.image) for use in found}
    for namespace, user, image in image_fields.named(cluster, namespaces, fields, warn):
        if (namespace, image) not in known:
            found.append(Use(image, "", f"{namespace}/{user}", live=False))
    return sorted(set(found), key=lambda use: (use.image, use.used_by, use.image_id, use.node))


def _listed(cluster: Cluster, namespace: str, warn: Callable[[str], None]) -> dict[str, list[JSON]]:
    """The namespace's pods and all that has a template for them, by kind."""

    def items(key: str) -> list[JSON]:
        plural, _dot, group = key.partition(".")
        return list(cluster.list(object_path(f"{group}/v1" if group else "v1", plural, namespace)))

    listed: dict[str, list[JSON]] = {}
    for outcome in pool.each(kinds.POD_SPECS, items, workers=8):
        if isinstance(outcome.error, ApiDenied) and outcome.item == _POD_TEMPLATES:
            # They make nothing by themselves, and the usual roles of a namespace do not include them.
            what = f"What podtemplates in namespace {namespace} name"
            warn(f"{what} is not looked for, images and pull secrets: {outcome.error.reason}.")
        elif outcome.error is not None:
            raise outcome.error
        listed[outcome.item] = outcome.value or []
    return listed


def _uses(namespace: str, listed: Mapping[str, list[JSON]]) -> list[Use]:
    theirs = {key: [item for item in items if not _is_ours(item)] for key, items in listed.items()}
    owners = {
        (_TEMPLATES[key], item["metadata"]["name"]): _controller(item)
        for key in ("replicasets.apps", "jobs.batch")
        for item in theirs[key]
    }
    return list(_combine(namespace, theirs, lambda item: _workload(item, owners)))


def _combine(
    namespace: str, listed: Mapping[str, list[JSON]], workload: Callable[[JSON], tuple[str, str]]
) -> Iterator[Use]:
    running: set[tuple[str, str, str, str]] = set()
    ended: dict[tuple[str, str, str, str], tuple[str, str]] = {}
    for pod in listed[_PODS]:
        kind, name = workload(pod)
        over = pod.get("status", {}).get("phase") in _ENDED
        for container, image, image_id in _pod_images(pod):
            key = (kind, name, container, image)
            if over:
                stamp = str(pod["metadata"].get("creationTimestamp") or "")
                ended[key] = max(ended.get(key, ("", "")), (stamp, image_id))
            else:
                running.add(key)
                node = str(pod["spec"].get("nodeName") or "")
                yield Use(image, image_id, f"{namespace}/{kind}/{name}:{container}", node)
    for resource, plural in _TEMPLATES.items():
        for item in listed[resource]:
            if _controller(item) is not None:
                continue
            name = item["metadata"]["name"]
            for container, holder, field in objects.images(objects.pod_spec(resource, item) or {}):
                image = str(holder[field])
                key = (plural, name, container, image)
                if key not in running:
                    yield Use(
                        image, ended.get(key, ("", ""))[1], f"{namespace}/{plural}/{name}:{container}", live=False
                    )


def _is_ours(item: JSON) -> bool:
    return bool((item["metadata"].get("labels") or {}).get(marks.MANAGED_BY) == marks.MANAGER)


def _controller(item: JSON) -> tuple[str, str] | None:
    for owner in item["metadata"].get("ownerReferences") or []:
        # Other groups have kinds of the same names, OpenKruise a StatefulSet.
        group = str(owner.get("apiVersion")).rpartition("/")[0]
        resource = f"{str(owner.get('kind')).lower()}s{'.' if group else ''}{group}"
        if owner.get("controller") and resource in _TEMPLATES:
            return _TEMPLATES[resource], str(owner["name"])
    return None


def _workload(pod: JSON, owners: Mapping[tuple[str, str], tuple[str, str] | None]) -> tuple[str, str]:
    owner = _controller(pod)
    if owner is None:
        return _PODS, str(pod["metadata"]["name"])
    return owners.get(owner) or owner


def _pod_images(pod: JSON) -> Iterator[tuple[str, str, str]]:
    """``(container, image as written, image id)``; the id of a container that never started is empty."""
    status = pod.get("status") or {}
    ids = {
        entry["name"]: str(entry.get("imageID") or "")
        for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        for entry in status.get(field) or []
    }
    for user, holder, key in objects.images(pod["spec"]):
        yield user, holder[key], ids.get(user, "")


def pull_logins(cluster: Cluster, namespaces: Iterable[str], keyring: Keyring, warn: Callable[[str], None]) -> None:
    """Add the logins with which the namespaces' pods pull: of pods, workload templates and service accounts."""
    for namespace in namespaces:
        try:
            listed = _listed(cluster, namespace, warn)
        except ApiError as error:
            warn(f"Pull secrets of namespace {namespace} are not used: {error.reason}.")
            continue
        _add_logins(cluster, namespace, listed, keyring, warn)


def _add_logins(
    cluster: Cluster, namespace: str, listed: Mapping[str, list[JSON]], keyring: Keyring, warn: Callable[[str], None]
) -> None:
    names: dict[str, None] = {}
    try:
        for account in cluster.list(object_path("v1", "serviceaccounts", namespace)):
            _collect(account.get("imagePullSecrets"), names)
    except ApiError as error:
        warn(f"Pull secrets of namespace {namespace} are not used: {error.reason}.")
        return
    for key, items in listed.items():
        for item in items:
            _collect((objects.pod_spec(key, item) or {}).get("imagePullSecrets"), names)
    for name in names:
        _add_secret(cluster, namespace, name, keyring, warn)


def _collect(references: Any, names: dict[str, None]) -> None:
    for reference in references or []:
        if reference.get("name"):
            names[str(reference["name"])] = None


def _add_secret(cluster: Cluster, namespace: str, name: str, keyring: Keyring, warn: Callable[[str], None]) -> None:
    label = f"pull secret {namespace}/{name}"
    try:
        secret = cluster.find(object_path("v1", "secrets", namespace, name))
    except ApiError as error:
        warn(f"{label} cannot be read and is not used: {error.reason}.")
        return
    data = (secret or {}).get("data") or {}
    encoded = data.get(".dockerconfigjson") or data.get(".dockercfg")
    if not encoded:
        return
    try:
        document = json.loads(base64.b64decode(encoded))
    except (binascii.Error, ValueError):
        warn(f"{label} is not used: it holds no docker configuration.")
        return
    keyring.add_document(document, label)
