#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_snapshot
short_description: Capture the objects of an application into a restic repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Lists every kind that the cluster serves at this moment in the application's namespaces, aggregated APIs and custom
    resources included, adds the cluster-scoped objects that the application needs, and stores all of it as one restic
    snapshot.
  - The files are C(objects/cluster/RESOURCE.GROUP.json) and C(objects/namespaces/NAMESPACE/RESOURCE.GROUP.json). Each
    is a C(List) that C(kubectl apply -f) takes, one object a line, in a stable order, so that an unchanged object is
    stored once and C(restic diff) shows what drifted.
  - Cluster-scoped objects that come along are the namespaces themselves, the definitions of captured custom resources,
    volumes and classes of captured claims, snapshot classes of their drivers, cluster roles and bindings of captured
    service accounts, the priority, ingress and runtime classes in use, and webhook configurations and API services
    whose service is captured. RV(related) says why each was taken.
  - Objects with the label C(velero.io/exclude-from-backup=true), or with the label or annotation
    C(container-dr.muster.dev/exclude), are left out and named in RV(excluded). On a namespace the mark leaves out all
    of it.
  - What controllers make again from other objects is never stored. That is Pods and ReplicaSets with a controller, the
    C(kube-root-ca.crt) ConfigMap of every namespace and what this collection itself has put there for a run.
  - Nothing is missed in silence. A kind that may not be listed, or whose API is down, is an entry in RV(incomplete).
  - Objects hold Secrets, so they are staged in memory (C(/dev/shm)) where the machine has room there, else in a private
    folder below C(TMPDIR). It is removed whatever happens; what a killed run left is removed by the next one.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.repository
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - Captures and compares, and stores nothing in the repository.
  diff_mode:
    support: none
    details:
      - RV(change) counts the differences from the snapshot before.
  idempotent:
    support: none
    details:
      - Every run stores a snapshot, because every recovery point refers to one of its own. Where nothing has changed it
        adds only some kilobytes, and RV(change) says so.
options:
  application:
    description:
      - The application as the inventory describes it.
      - C(name) and C(namespaces) are needed. C(namespaces) is a list of names and globs. Each must match something; a
        glob never means C(kube-system), C(kube-public), C(kube-node-lease) or C(muster-container-dr), which have to be
        named.
      - C(selectors) is a list of label selectors as C(kubectl) writes them; an object must satisfy one of them.
      - C(include_kinds) and C(exclude_kinds) are lists of globs such as C(deployments.apps), C(*.cert-manager.io) or
        C(secrets).
    type: dict
    required: true
  site:
    description:
      - Name of the site, part of the host name under which restic keeps the snapshots of this application's objects.
    type: str
    required: true
  point:
    description:
      - Id of the recovery point that this capture is for; the snapshot is tagged with it.
    type: str
    required: true
  leave_out:
    description:
      - Globs of kinds that are left out by nature. Replaces the default, which is C(bindings), C(componentstatuses),
        C(controllerrevisions.apps), C(csinodes.storage.k8s.io), C(csistoragecapacities.storage.k8s.io), C(endpoints),
        C(endpointslices.discovery.k8s.io), C(events), C(events.events.k8s.io), C(ipaddresses.networking.k8s.io),
        C(leases.coordination.k8s.io), C(nodes), C(volumeattachments.storage.k8s.io), C(*.metrics.k8s.io),
        C(*.custom.metrics.k8s.io) and C(*.external.metrics.k8s.io).
    type: list
    elements: str
  workers:
    description:
      - How many requests to the API server are under way at once.
    type: int
    default: 8
seealso:
  - module: muster.container_dr.k8s_restore
  - module: muster.container_dr.volume_export
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Capture the ledger
  muster.container_dr.k8s_snapshot:
    kubeconfig: /etc/muster/east.kubeconfig
    repository:
      url: s3:https://s3.east.example.com/ledger
      password_file: /etc/muster/repository-password
    site: east
    point: 20260131T040506Z-ledger-3f9a
    application:
      name: ledger
      namespaces: [ledger]
  register: captured

- name: Say what drifted since the last point
  ansible.builtin.debug:
    msg: "{{ captured.change }}"
"""

RETURN = r"""
snapshot:
  description: The restic snapshot; V(null) in check mode.
  returned: success
  type: dict
  contains:
    repository:
      description: Id of the repository.
      type: str
      returned: success
      sample: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b
    id:
      description: Id of the snapshot.
      type: str
      returned: success
      sample: 4bba301e6b6cdb49ed4ae1db27d0a1cbf0e8adaff6f1e6ff3b1ddf1b2ac0ef24
    tree:
      description: Id of its tree, which survives a copy to another repository.
      type: str
      returned: success
      sample: 8a7d5f1ad6b1d53b7e69ee62cc5bff3d5bb2f2b24f3cd3cc5cc3b1bff2b0ea31
    host:
      description: Host name under which restic groups the snapshots.
      type: str
      returned: success
      sample: k8s:east/ledger/objects
    files:
      description: Number of files.
      type: int
      returned: success
      sample: 31
    bytes:
      description: Size of the files in bytes.
      type: int
      returned: success
      sample: 145210
    bytes_added:
      description: Bytes that were added to the repository.
      type: int
      returned: success
      sample: 8213
counts:
  description: Number of captured objects by kind.
  returned: success
  type: dict
  sample: {"configmaps": 1, "deployments.apps": 2, "namespaces": 1}
namespaces:
  description: The namespaces that were captured.
  returned: success
  type: list
  elements: str
  sample: [ledger]
epoch:
  description: The epoch that the last transition stamped on the namespaces, V(1) where there never was one.
  returned: success
  type: int
  sample: 1
cluster_version:
  description: Version of the API server.
  returned: success
  type: str
  sample: v1.34.1
change:
  description:
    - How many objects differ from RV(parent). The status of objects and what only the server writes do not count.
  returned: success
  type: dict
  contains:
    added:
      description: Objects that were not there before.
      type: int
      returned: success
      sample: 1
    changed:
      description: Objects with another content.
      type: int
      returned: success
      sample: 2
    removed:
      description: Objects that are gone.
      type: int
      returned: success
      sample: 0
    unchanged:
      description: Objects with the same content.
      type: int
      returned: success
      sample: 40
parent:
  description: Id of the snapshot before, or V(null).
  returned: success
  type: str
  sample: 3df1a8e94ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0
related:
  description: Cluster-scoped objects that came along, each with the reason.
  returned: success
  type: list
  elements: dict
  sample:
    - what: storageclasses.storage.k8s.io/csi
      why: an object of the application refers to it
incomplete:
  description: What could not be read. An empty list means that nothing was missed.
  returned: success
  type: list
  elements: dict
  sample:
    - what: API metrics.k8s.io/v1beta1
      why: the server is currently unable to handle the request
excluded:
  description: What was left out because its owner or its state says so.
  returned: success
  type: list
  elements: dict
  sample:
    - what: ledger/configmaps/scratch
      why: label velero.io/exclude-from-backup=true
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    Options,
    application,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.snapshot import snapshot
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

OPTIONS = (
    CLUSTER
    + repository()
    + application()
    + PROGRESS
    + Options(
        arguments={
            "site": {"type": "str", "required": True},
            "point": {"type": "str", "required": True},
            "leave_out": {"type": "list", "elements": "str"},
            "workers": {"type": "int", "default": 8},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, snapshot, [REQUIREMENT])


if __name__ == "__main__":
    main()
