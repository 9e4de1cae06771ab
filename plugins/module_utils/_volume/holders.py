# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether the movers that hold a repository's locks still run, as their clusters say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Denied, Unavailable
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import (
    REQUIREMENT,
    ApiError,
    Cluster,
    object_path,
)
from ansible_collections.muster.container_dr.plugins.module_utils._restic.locks import Holder, Verdict

# What naming.object_name makes, and what a Job adds for its pods.
_POD = re.compile(r"^muster-[a-z0-9-]+-[0-9a-f]{10}-[a-z0-9]{5}$")
_FINISHED = ("Succeeded", "Failed")


def find(sites: Sequence[Mapping[str, Any]], hostnames: Collection[str]) -> dict[str, Verdict]:
    """Verdicts about those of the hostnames that belong, or may belong, to a mover's pod.

    ``sites`` are connection options of the clusters. A cluster that does not answer makes unknown what may be there;
    a kubeconfig that cannot be used is an error.
    """
    if not sites:
        why = "it is a mover, and no cluster was given to look for it (sites)"
        return {name: Verdict(Holder.UNKNOWN, why) for name in hostnames if _POD.match(name)}
    REQUIREMENT.check("the clusters of the option sites")
    found: dict[str, list[Verdict]] = {}
    asked, silent = [], []
    for site in sites:
        cluster = Cluster.connect(site)
        try:
            for pod in cluster.list(object_path("v1", "pods"), {"labelSelector": marks.MOVER}):
                name = str(pod["metadata"]["name"])
                if name in hostnames:
                    found.setdefault(name, []).append(_verdict(pod, cluster.name))
        except (ApiError, Denied, Unavailable) as error:
            silent.append(f"{cluster.name} could not be asked ({error.reason})")
        else:
            asked.append(cluster.name)
    result = {}
    for name in hostnames:
        here = found.get(name, [])
        if here:
            result[name] = next((one for one in here if one.holder is not Holder.GONE), here[0])
        elif silent and _POD.match(name):
            result[name] = Verdict(Holder.UNKNOWN, "; ".join(silent))
        elif _POD.match(name):
            result[name] = Verdict(Holder.GONE, f"no pod of this name is at {', '.join(asked)}", absent=True)
    return result


def _verdict(pod: Mapping[str, Any], cluster: str) -> Verdict:
    namespace, name = pod["metadata"].get("namespace", ""), pod["metadata"]["name"]
    phase = str((pod.get("status") or {}).get("phase") or "Pending")
    what = f"pod {namespace}/{name} at {cluster}"
    if phase in _FINISHED:
        return Verdict(Holder.GONE, f"{what} has finished ({phase})")
    if phase == "Unknown":
        return Verdict(Holder.UNKNOWN, f"the node of {what} does not answer")
    return Verdict(Holder.ALIVE, f"{what} is not finished ({phase})")
