#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_mirror
short_description: Resolve the images that run to digests, copy them to another registry, verify them there
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Finds every image that an application runs on a cluster and resolves it to the digest that its registry can give
    back.
  - Copies images by digest to another registry, with all platforms, cosign signatures, attestations, SBOMs and OCI 1.1
    referrers, without changing a byte.
  - Verifies that everything which the images name is at a registry.
  - Only what is missing at the target is sent. Copies of this module keep a tag C(muster-<digest>), which protects them
    from the registry's garbage collection. Tags are never listed.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.registry.sources
  - muster.container_dr.registry.mirrors
  - muster.container_dr.registry.from
  - muster.container_dr.registry.target
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - Asks the same questions and returns what would be copied, with sizes; nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  application:
    description:
      - The application as the inventory describes it; its C(namespaces) are looked through. They are names and globs,
        of which C(exclude_namespaces) takes some away.
      - With O(images) only the pull secrets of the namespaces are used.
    type: dict
  images:
    description:
      - Images as this module returned them, or as the document of a recovery point holds them. Each has C(name) and
        C(digest), and C(path) where it was copied before.
      - Without it, the images that O(application) runs.
    type: list
    elements: dict
  sources:
    description:
      - How to reach the registries of the images as written, where they need a login or an authority of their own.
      - The pull secrets of the application's pods and service accounts are used by themselves.
    type: list
    elements: dict
    default: []
  mirrors:
    description:
      - Registries in which to look for what the original registry does not have any more, below the same path as this
        module copies to, or below the original one.
    type: list
    elements: dict
    default: []
  from:
    description:
      - Copy from this registry and the path below it, where this module has copied the images to before, instead of
        from their original registries.
    type: dict
  target:
    description:
      - Copy to this registry, below this path. An image V(shop.example.com:5000/web/front) comes to lie at
        C(shop.example.com-5000/web/front) below it.
      - Without it, images are resolved and nothing is copied.
    type: dict
  verify:
    description:
      - Copy nothing; check that O(target) has every manifest, configuration and layer of the images.
    type: bool
    default: false
  attachments:
    description:
      - Whether cosign's tags and referrers travel with the images.
    type: bool
    default: true
  allow_unresolved:
    description:
      - Whether images that cannot be resolved to a digest are only reported instead of failing the task.
    type: bool
    default: false
  workers:
    description:
      - Number of images, and of layers, that are worked on at the same time.
    type: int
    default: 4
  fail_fast:
    description:
      - Begin no further image after one has failed.
    type: bool
    default: false
notes:
  - Where a registry is given neither a user nor an C(auth_file), the usual files and credential helpers of
    C(docker login) and C(podman login) are used.
  - An image is resolved by the digest in the workload (RV(images[].resolved_by=spec_digest)), by the digest that the
    node runs in the repository as written (V(image_id)) or as the node names it (V(image_id_repository)), in O(mirrors)
    (V(mirror)), by a tag whose configuration is what runs (V(config_digest)). Only what does not run is resolved by its
    V(tag).
  - The proxies of C(HTTPS_PROXY), C(HTTP_PROXY) and C(NO_PROXY) are used, with the login in their URL.
  - Where a registry sends us to another host for a layer, its login does not go there. A host that lies further inside
    the network than the registry itself is only followed to where it is named among the registries, for example in
    O(sources).
  - Docker Hub is left, with an error, when five pulls of its limit are left.
  - A tag that has moved since the pods started is reported in RV(images[].tag_digest); the image that runs is used.
    Where no registry has that image any more, the task fails.
seealso:
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Which images does the shop run
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application:
      name: shop
      namespaces: [shop]
  register: running

- name: Copy them to the backup registry
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application:
      name: shop
      namespaces: [shop]
    images: "{{ running.images }}"
    target:
      name: registry.east.example.com/backup
      username: muster
      password: "{{ registry_password }}"
      ca_cert: /etc/ssl/company.pem
  register: copied

- name: Copy them on to the other site
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from:
      name: registry.east.example.com/backup
      username: muster
      password: "{{ registry_password }}"
    target:
      name: registry.west.example.com
      username: muster
      password: "{{ registry_password }}"

- name: Verify that the other site has all of them
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    target:
      name: registry.west.example.com
      auth_file: ~/.config/containers/auth.json
    verify: true
"""

RETURN = r"""
images:
  description: One entry per image, in the order of O(images), else ordered by name. Returned on failure too.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The image as written.
      type: str
      sample: registry.east.example.com/shop/web:1.4
    digest:
      description: What it stands for; empty where that could not be found.
      type: str
      sample: sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa
    media_type:
      description: Media type of the manifest or index.
      type: str
      sample: application/vnd.oci.image.index.v1+json
    size:
      description: Bytes of all its manifests, configurations and layers, each counted once.
      type: int
      sample: 48211034
    platforms:
      description: Platforms that it serves.
      type: list
      elements: str
      sample: [linux/amd64, linux/arm64]
    resolved_by:
      description: How the digest was found, or V(unresolved).
      type: str
      sample: image_id
    tag_digest:
      description: What the tag names now, where that is another image than runs.
      type: str
      sample: null
    repository:
      description: Where the digest was found.
      type: str
      sample: registry.east.example.com/shop/web
    path:
      description: Repository path of its copies below any target.
      type: str
      sample: registry.east.example.com/shop/web
    used_by:
      description: Workloads and containers that use it.
      type: list
      elements: str
      sample: ["shop/deployments/web:web"]
    target:
      description: The copy's full name.
      type: str
      sample: null
    bytes_copied:
      description: Bytes that were sent for it. In check mode, that would be sent.
      type: int
      sample: 0
    blobs_copied:
      description: Layers and configurations that were sent.
      type: int
      sample: 0
    blobs_mounted:
      description: Layers and configurations that another repository of the target already had.
      type: int
      sample: 0
    changed:
      description: Whether anything was written for it.
      type: bool
      sample: false
    failed:
      description: Whether it could not be resolved, copied or verified.
      type: bool
      sample: false
    msg:
      description: What became of it.
      type: str
      sample: already there
bytes_copied:
  description: Bytes that were sent in all.
  type: int
  returned: always
  sample: 0
blobs_copied:
  description: Layers and configurations that were sent in all.
  type: int
  returned: always
  sample: 0
blobs_mounted:
  description: Layers and configurations that were linked from another repository of the target.
  type: int
  returned: always
  sample: 0
copied:
  description: Number of images for which something was written.
  type: int
  returned: always
  sample: 0
unchanged:
  description: Number of images for which nothing had to be done.
  type: int
  returned: always
  sample: 3
logins:
  description:
    - Which login each registry that was asked has accepted, by user and by where the login comes from, or V(anonymous).
    - Never a password or a token.
  type: dict
  returned: always
  sample:
    registry.east.example.com: user muster from the options of registry registry.east.example.com/backup
    docker.io: anonymous
failures:
  description: Number of images that failed.
  type: int
  returned: always
  sample: 0
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    REGISTRY_ARGUMENTS,
    Options,
    application,
    registry,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._oci.mirror import mirror

_REGISTRIES = {"type": "list", "elements": "dict", "default": [], "options": REGISTRY_ARGUMENTS}

OPTIONS = (
    CLUSTER
    + application(required=False)
    + registry(name="from")
    + registry(name="target")
    + PROGRESS
    + Options(
        arguments={
            "images": {"type": "list", "elements": "dict"},
            "sources": _REGISTRIES,
            "mirrors": _REGISTRIES,
            "verify": {"type": "bool", "default": False},
            "attachments": {"type": "bool", "default": True},
            "allow_unresolved": {"type": "bool", "default": False},
            "workers": {"type": "int", "default": 4},
            "fail_fast": {"type": "bool", "default": False},
        },
        required_one_of=[("application", "images")],
        required_if=[("verify", True, ("target",))],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, mirror, [REQUIREMENT])


if __name__ == "__main__":
    main()
