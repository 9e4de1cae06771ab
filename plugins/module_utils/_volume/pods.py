# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The pods of a cluster as what commands of streams run in; see :class:`stream.Place`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.exchange import Result, Source
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import ApiError, Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._plan.application import Feed

JSON = dict[str, Any]


@dataclass(frozen=True)
class Pods:
    """Of the running pods that match a ready one, and of several the first by name."""

    cluster: Cluster

    def find(self, namespace: str, feed: Feed, *, ready: bool = False) -> Pod | None:
        query = {"labelSelector": feed.selector}
        listed = self.cluster.list(object_path("v1", "pods", namespace), query)
        pods = [pod for pod in listed if hook.is_running(pod)]
        ranked = sorted((not hook.is_ready(pod), str(pod["metadata"]["name"]), at) for at, pod in enumerate(pods))
        if not ranked or (ready and ranked[0][0]):
            return None
        return Pod(self.cluster, hook.place(pods[ranked[0][2]], hook.Command(feed.command, container=feed.container)))

    def absent(self, namespace: str, feed: Feed) -> tuple[str, str]:
        return f"no running pod in {namespace} matches {feed.selector}", "Correct the selector, or start the pod."

    def words(self, namespace: str, feed: Feed) -> str:
        return f"a pod of {namespace} that matches {feed.selector}"


@dataclass(frozen=True)
class Pod:
    """A container of a pod."""

    cluster: Cluster
    place: hook.Place

    @property
    def title(self) -> str:
        return f"pod {self.place.pod}"

    @property
    def told(self) -> JSON:
        return {"pod": self.place.pod}

    def without_shell(self) -> str:
        place = self.place
        try:
            words = ["sh", "-c", "cat < /dev/null"]
            there = self.cluster.exec(place.namespace, place.pod, place.container, words).code == 0
        except ApiError:
            there = False
        return "" if there else f"container {place.container} of pod {place.pod} has no shell (sh)"

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stall: float,
        check: Callable[[], None],
        take: Callable[[bytes], None] | None = None,
        source: Source | None = None,
    ) -> Result:
        place = self.place
        return self.cluster.carry(
            place.namespace,
            place.pod,
            place.container,
            command,
            timeout=timeout,
            stall=stall,
            check=check,
            take=take,
            source=source,
        )
