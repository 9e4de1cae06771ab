#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_import
short_description: Restore the volumes of a recovery point into claims
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Makes a claim for every volume, restores its data with a short-lived Job, and compares the counts with those of the
    recovery point.
  - A volume counts as complete only if restic ended without an error, verified what it wrote, and the counts and the
    tree are those of the point.
  - A claim that a killed run left half restored is restored again by the next.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.repository
  - muster.container_dr.mover
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Volumes that the same point was restored to already are left alone.
options:
  volumes:
    description: The volumes of the recovery point's document.
    type: list
    elements: dict
    required: true
  application:
    description: Name of the application; becomes a label.
    type: str
    required: true
  point:
    description: Id of the recovery point; noted on the claims.
    type: str
  namespace_mapping:
    description: Maps the namespaces of the point to those to restore into.
    type: dict
  namespace_labels:
    description: Labels for namespaces that have to be made.
    type: dict
  storage_classes:
    description: Maps storage classes of the point to those of this cluster.
    type: dict
  existing:
    description:
      - What to do with a claim that is there already and holds other data. V(fail) refuses before anything is written,
        V(keep) leaves it alone, V(replace) overwrites it.
      - An empty claim is filled with V(fail) too. One in block mode is empty if all of its device is zeros, which is
        read to the end for it.
    type: str
    choices: [fail, keep, replace]
    default: fail
  verify:
    description: Whether restic reads back what it wrote and compares it.
    type: bool
    default: true
  workers:
    description: How many volumes move at a time.
    type: int
    default: 4
  budgets:
    description:
      - How many movers may run at a time, besides O(workers). What there is no room for waits and lets others pass.
        Of those that may start, the largest begins first.
    type: dict
    suboptions:
      classes:
        description:
          - Maps storage classes to a number. V(*) stands for every class that is not named, each by itself.
        type: dict
      node:
        description:
          - How many on one node. The scheduler decides about it; it is asked to take nodes with fewer movers of the
            run, and is not kept from another.
        type: int
      repository:
        description:
          - How many on this repository, counted over all tasks that this user runs at a time on this machine with this
            option, and that have the same folder for temporary files (C(TMPDIR)). A volume waits for its place as long
            as it takes, which the progress shows; a task that is killed frees its places.
        type: int
seealso:
  - module: muster.container_dr.volume_export
  - module: muster.container_dr.k8s_restore
"""

EXAMPLES = r"""
- name: Restore the volumes of a point beside the original
  muster.container_dr.volume_import:
    kubeconfig: west.kubeconfig
    application: shop
    point: "{{ chosen.point.id }}"
    volumes: "{{ chosen.point.document.volumes }}"
    namespace_mapping: {shop: shop-copy}
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password
  register: imported
"""

RETURN = r"""
volumes:
  description: One entry per volume, in the order of O(volumes).
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Namespace and claim that it was restored to.
      type: str
      sample: shop-copy/data
    source:
      description: The volume as the point names it.
      type: str
      sample: shop/data
    tree:
      description: Id of the tree that was restored.
      type: str
      sample: 8a7d5f1ad6b1d53b7e69ee62cc5bff3d5bb2f2b24f3cd3cc5cc3b1bff2b0ea31
    files:
      description: Number of files restored.
      type: int
      sample: 1423
    bytes:
      description: Size of the files in bytes.
      type: int
      sample: 49283072
    complete:
      description: Whether all that the point recorded is there.
      type: bool
      sample: true
    changed:
      description: Whether it was (in check mode, would be) written.
      type: bool
      sample: true
    msg:
      description: What became of it.
      type: str
      sample: ""
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    Options,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._volume.importing import restore
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import (
    BUDGET_ARGUMENTS,
    MOVER_ARGUMENTS,
)

OPTIONS = (
    CLUSTER
    + repository()
    + PROGRESS
    + Options(
        arguments={
            "volumes": {"type": "list", "elements": "dict", "required": True},
            "application": {"type": "str", "required": True},
            "point": {"type": "str"},
            "namespace_mapping": {"type": "dict"},
            "namespace_labels": {"type": "dict"},
            "storage_classes": {"type": "dict"},
            "existing": {"type": "str", "choices": ["fail", "keep", "replace"], "default": "fail"},
            "verify": {"type": "bool", "default": True},
            "workers": {"type": "int", "default": 4},
            "budgets": {"type": "dict", "options": BUDGET_ARGUMENTS},
            "mover": {"type": "dict", "options": MOVER_ARGUMENTS},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, restore, [REQUIREMENT])


if __name__ == "__main__":
    main()
