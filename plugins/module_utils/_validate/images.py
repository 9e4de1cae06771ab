# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""G01: do the pods run the images that the point recorded, by digest?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import Cluster, object_path
from ansible_collections.muster.container_dr.plugins.module_utils._validate.check import Finding, Result

_DIGEST = re.compile(r"sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")
# What is said of an image there is of others too: of what its tag names now, of keys.
_SAID = frozenset({"tag_digest", "msg", "signatures"})


def digests(
    cluster: Cluster,
    namespaces: Sequence[str],
    recorded: Sequence[dict[str, Any]],
    excluded: Sequence[Mapping[str, Any]] = (),
) -> Finding:
    """Every container that runs, against the digests of the point (the image's own and its platforms').

    Images that the point says it ``excluded`` (``what`` is ``image:NAME``) stay as they are written.
    """
    told = [{key: value for key, value in image.items() if key not in _SAID} for image in recorded]
    known = set(_DIGEST.findall(repr(told)))
    left_out = {str(entry.get("what")) for entry in excluded}
    if not known and not any(what.startswith("image:") for what in left_out):
        return Finding(
            Result.FAIL,
            "the point records no image",
            "Back the application up again with a registry configured, so that its images are kept.",
        )
    strangers: dict[str, str] = {}
    seen = spared = 0
    for namespace in namespaces:
        for pod in cluster.list(object_path("v1", "pods", namespace)):
            spec, status = pod["spec"], pod.get("status", {})
            running = {
                entry["name"]: entry.get("imageID", "")
                for key in ("initContainerStatuses", "containerStatuses")
                for entry in status.get(key) or []
            }
            for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
                seen += 1
                if f"image:{container['image']}" in left_out:
                    spared += 1
                    continue
                # The runtime checks the digest of what it pulls by digest; imageID may name the config instead.
                asked = _DIGEST.findall(container["image"]) or _DIGEST.findall(running.get(container["name"], ""))
                if not asked or asked[-1] not in known:
                    strangers[f"{namespace}/{pod['metadata']['name']}:{container['name']}"] = container["image"]
    if strangers:
        name, image = next(iter(strangers.items()))
        return Finding(
            Result.FAIL,
            f"{len(strangers)} of {seen} containers run an image that is not the point's; first: {name}: {image}",
            "Copy the point's images to this site's registry and restore with that registry.",
            {"strangers": strangers},
        )
    if not seen:
        return Finding(Result.FAIL, "no container to look at", "See A01.")
    more = f", {spared} run images that the point leaves out by rule" if spared else ""
    return Finding(Result.PASS, f"{seen - spared} containers run recorded digests{more}")
