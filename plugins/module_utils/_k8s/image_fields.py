# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where custom resources name images: a table, which an application extends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import discovery, pointer
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster


@dataclass(frozen=True)
class ImageField:
    """A place (a pointer pattern, parsed) in the custom resources of some kinds (globs) that holds an image's name."""

    kinds: tuple[str, ...]
    path: tuple[str, ...]

    def meant(self, key: str) -> bool:
        return any(fnmatchcase(key, kind) for kind in self.kinds)

    def in_group(self, group: str) -> bool:
        """Whether some kind of this API group may be meant; ``*`` stands for dots too."""
        if not group:
            return any("." not in kind for kind in self.kinds)
        return any(fnmatchcase(f".{group}", kind[start:]) for kind in self.kinds for start in range(len(kind)))


def _table(kinds: str, *paths: str) -> list[ImageField]:
    return [ImageField(tuple(kinds.split()), pointer.parse(path)) for path in paths]


def _pods(spec: str) -> list[str]:
    return [f"{spec}/{field}/*/image" for field in ("containers", "initContainers")]


IMAGE_FIELDS: tuple[ImageField, ...] = (
    # Workloads whose template is a pod's
    *_table(
        "rollouts.argoproj.io deploymentconfigs.apps.openshift.io clonesets.apps.kruise.io "
        "statefulsets.apps.kruise.io daemonsets.apps.kruise.io services.serving.knative.dev "
        "configurations.serving.knative.dev",
        *_pods("/spec/template/spec"),
    ),
    *_table("scaledjobs.keda.sh", *_pods("/spec/jobTargetRef/template/spec")),
    *_table("jobsets.jobset.x-k8s.io", *_pods("/spec/replicatedJobs/*/template/spec/template/spec")),
    *_table("advancedcronjobs.apps.kruise.io", *_pods("/spec/template/jobTemplate/spec/template/spec")),
    # Databases and queues
    *_table("clusters.postgresql.cnpg.io", "/spec/imageName"),
    *_table("poolers.postgresql.cnpg.io", *_pods("/spec/template/spec")),
    *_table("postgresqls.acid.zalan.do", "/spec/dockerImage", "/spec/sidecars/*/image"),
    *_table("postgresclusters.postgres-operator.crunchydata.com", "/spec/image", "/spec/backups/pgbackrest/image"),
    *_table("perconaxtradbclusters.pxc.percona.com", "/spec/pxc/image", "/spec/haproxy/image", "/spec/backup/image"),
    *_table("perconaservermongodbs.psmdb.percona.com", "/spec/image", "/spec/backup/image"),
    *_table("mariadbs.k8s.mariadb.com", "/spec/image"),
    *_table("rabbitmqclusters.rabbitmq.com", "/spec/image"),
    *_table(
        "redis.redis.redis.opstreelabs.in redisclusters.redis.redis.opstreelabs.in", "/spec/kubernetesConfig/image"
    ),
    *_table("kafkas.kafka.strimzi.io", "/spec/kafka/image", "/spec/zookeeper/image", "/spec/entityOperator/*/image"),
    *_table("kafkaconnects.kafka.strimzi.io", "/spec/image"),
    *_table("*.k8s.elastic.co", "/spec/image"),
    # Observability
    *_table(
        "prometheuses.monitoring.coreos.com prometheusagents.monitoring.coreos.com alertmanagers.monitoring.coreos.com "
        "thanosrulers.monitoring.coreos.com",
        "/spec/image",
        *_pods("/spec"),
    ),
    *_table("grafanas.grafana.integreatly.org", *_pods("/spec/deployment/spec/template/spec")),
    *_table("opentelemetrycollectors.opentelemetry.io", "/spec/image"),
)


@cache
def of_kind(key: str) -> tuple[ImageField, ...]:
    """The known places in custom resources of one kind, ``clusters.postgresql.cnpg.io``."""
    return tuple(field for field in IMAGE_FIELDS if field.meant(key))


def of_option(entries: Any) -> tuple[ImageField, ...]:
    """The application's part of the table: ``[{kinds: [glob], path: pointer pattern}]``.

    Raises :class:`InvalidInput` that names the entry.
    """
    if not isinstance(entries or [], list):
        raise InvalidInput("read", "image_fields", "it is no list", "Give a list of entries with kinds and path.")
    found = []
    for number, entry in enumerate(entries or (), 1):
        what = f"entry {number} of image_fields"
        if not isinstance(entry, Mapping) or set(entry) != {"kinds", "path"}:
            raise InvalidInput("read", what, "it has not just kinds and path", "Give both and nothing else.")
        kinds = [entry["kinds"]] if isinstance(entry["kinds"], str) else entry["kinds"]
        if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
            raise InvalidInput(
                "read", what, f"kinds is {entry['kinds']!r}", "Give kinds as RESOURCE.GROUP, globs allowed."
            )
        try:
            path = pointer.parse(entry["path"])
        except ValueError as error:
            raise InvalidInput("read", what, str(error), "Give a JSON pointer such as /spec/parts/*/image.") from None
        if not path:
            raise InvalidInput("read", what, "path is empty", "Give a JSON pointer such as /spec/parts/*/image.")
        found.append(ImageField(tuple(kinds), path))
    return tuple(found)


def named(
    cluster: Cluster, namespaces: Sequence[str], more: Sequence[ImageField], warn: Callable[[str], None]
) -> Iterator[tuple[str, str, str]]:
    """``(namespace, resource/name:pointer, image)`` for every custom resource that the table or ``more`` speaks of.

    An API that does not answer and a kind that cannot be listed are warnings: their images may still be found by the
    pods that run. Other APIs are not asked.
    """
    table = (*IMAGE_FIELDS, *more)
    found = discovery.read(cluster, wanted=lambda group: any(field.in_group(group) for field in table))
    for failure in found.failures:
        warn(f"Images that custom resources of {failure.what} name are not looked for: {failure.why}.")
    for resource in found.preferred():
        fields = [field for field in table if field.meant(resource.key)]
        if not fields or not resource.namespaced or "list" not in resource.verbs:
            continue
        for namespace in namespaces:
            try:
                items = list(cluster.list(resource.path(namespace)))
            except MusterError as error:
                warn(f"Images that {resource.key} in namespace {namespace} name are not looked for: {error.reason}.")
                continue
            for item in items:
                for where, image in _images(item, fields):
                    yield namespace, f"{resource.name}/{item['metadata']['name']}:{where}", image


def _images(item: JSON, fields: Sequence[ImageField]) -> Iterator[tuple[str, str]]:
    for field in fields:
        for tokens, _holder, value in pointer.places(item, field.path):
            if isinstance(value, str) and value:
                yield pointer.written(tokens), value
