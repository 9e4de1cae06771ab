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
  - Cluster-scoped objects that come along are the namespaces themselves and, unless the application says otherwise,
    what is related to captured objects. That is the definitions of custom resources, volumes and classes of claims,
    snapshot classes of their drivers, cluster roles and bindings of service accounts with the roles that these are put
    together from, the priority, ingress, gateway and runtime classes in use, and webhook configurations and API
    services whose service is captured. Where the application is only a part of its namespaces, its own services count,
    and the service accounts that are captured or that its pods run as. RV(related) says why each was taken.
  - Objects with the label C(velero.io/exclude-from-backup=true), or with the label or annotation
    C(container-dr.muster.dev/exclude), are left out and named in RV(excluded). On a namespace the mark leaves out all
    of it.
  - What says nothing about the application, or is made again from other objects by itself, is left out by nature and
    counted in RV(left_out). The application's C(leave_out) changes what that is. What this collection itself has put
    into the cluster for a run is never stored.
  - Nothing is missed in silence. A kind that may not be listed, an API that is down, hangs or answers nonsense, a kind
    or a namespace that goes away while it is read is an entry in RV(incomplete). M(muster.container_dr.recovery_point)
    then does not seal a point from it, unless the entry was accepted.
  - Every kind is read page by page at one moment and written as it comes, so memory does not grow with the number of
    objects. A list whose moment the server has forgotten before its end is begun again. Answers that say that the
    server is busy, restarts of the server and short partitions are waited for.
  - The identity in use needs C(list) on what is captured; C(docs/rbac/capture.yml) in the collection is a cluster role
    with that and no more.
  - Objects hold Secrets, so they are staged in memory (C(/dev/shm)) where 1 GiB is free there and E(TMPDIR) is not
    set, else in a private folder below E(TMPDIR). It is removed whatever happens; what a killed run left is removed by
    the next one. Where no Secret may ever lie on a disk, set E(TMPDIR) to a folder that is in memory.
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
    support: full
    details:
      - Shows how the first 200 objects that differ from the snapshot before do so, at most some 512 KiB of them.
      - Of Secrets only the names of keys and annotations are shown, and whether their values changed.
  idempotent:
    support: none
    details:
      - Every run stores a snapshot, because every recovery point refers to one of its own. Where nothing has changed it
        adds only some kilobytes, and RV(change) says so.
options:
  application:
    description:
      - The application as the inventory describes it.
      - C(name), and C(namespaces) or C(whole_cluster), are needed. A pattern that matches nothing, or asks for kinds
        that are all left out by nature, is an error unless C(allow_no_match) is true. Globs are those of a shell.
      - What other modules read of an application, such as C(hooks) and C(checks), may stand in it too; keys that no
        application has are refused.
      - C(namespaces) is a list of names and globs, C(exclude_namespaces) another that is taken away. A glob never means
        C(kube-system), C(kube-public), C(kube-node-lease) or C(muster-container-dr). C(whole_cluster=true) means all
        but the last, and all cluster-scoped objects unless C(cluster_scoped) says otherwise.
      - C(selectors) is a list of label selectors as C(kubectl) writes them; an object must satisfy all parts of one.
      - C(include_kinds) and C(exclude_kinds) are lists of globs such as C(deployments.apps), C(*.cert-manager.io) or
        C(secrets), for kinds with a namespace.
      - C(names) is a list of globs of object names, C(api-*) or with the kind C(configmaps/api-*).
      - C(owners) is a list such as C(postgresqls.acid.zalan.do/ledger). Only these objects and what they own, over any
        number of steps, are captured. Owners without a namespace, and what they own of such, come along too.
      - C(cluster_scoped) is C(related), C(all), or a list of kinds such as C(clusterissuers.cert-manager.io) and
        objects such as C(clusterroles.*/reader-*), in which C(related) may stand too. C(exclude_cluster_scoped) is a
        list in the same notation.
      - C(versions) is C(preferred), or C(all) to store objects in every version that the server offers. The others than
        the preferred one are stored in C(objects/versions/VERSION), in the same layout.
      - C(leave_out) is O(leave_out) for this application.
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
      - What is left out by nature, as globs of kinds and names of rules. Replaces the default; V(default) in the list
        stands for it. The application's own C(leave_out) goes before.
      - A glob without a dot means kinds of the core group only, so C(events) are those of Kubernetes and C(nodes) never
        the C(nodes.longhorn.io) of a storage system. This is not so for C(include_kinds) and C(exclude_kinds).
      - The default has the kinds C(bindings), C(certificatesigningrequests.certificates.k8s.io), C(componentstatuses),
        C(controllerrevisions.apps), C(csinodes.storage.k8s.io), C(csistoragecapacities.storage.k8s.io), C(events),
        C(events.events.k8s.io), C(ipaddresses.networking.k8s.io), C(leasecandidates.coordination.k8s.io),
        C(leases.coordination.k8s.io), C(nodes), C(podcertificaterequests.certificates.k8s.io),
        C(resourceslices.resource.k8s.io), C(storageversions.internal.apiserver.k8s.io),
        C(volumeattachments.storage.k8s.io), C(*.metrics.k8s.io), C(*.custom.metrics.k8s.io) and
        C(*.external.metrics.k8s.io).
      - It has the rules C(controlled-objects) (Pods and ReplicaSets that their controller makes again), C(mirror-pods),
        C(managed-endpoints) (Endpoints and EndpointSlices that a controller keeps), C(root-certificates)
        (C(kube-root-ca.crt) and its kin in every namespace), C(bootstrap-objects) (what the API server makes itself)
        and C(deleted-objects) (what was being deleted).
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
    msg: "{{ captured.change_by_kind }}"

- name: See what a point of the web shops would hold, and how it differs from the last one
  muster.container_dr.k8s_snapshot:
    kubeconfig: /etc/muster/east.kubeconfig
    repository:
      url: s3:https://s3.east.example.com/shops
      password_file: /etc/muster/repository-password
    site: east
    point: 20260131T040506Z-shops-3f9a
    application:
      name: shops
      namespaces: ["shop-*"]
      exclude_namespaces: [shop-test]
      selectors: ["team=web,tier in (front,back)", "team=pay"]
      exclude_kinds: ["*.monitoring.coreos.com"]
      cluster_scoped: [related, clusterissuers.cert-manager.io]
  check_mode: true
  diff: true
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
change_by_kind:
  description: The same numbers for each kind.
  returned: success
  type: dict
  sample: {"secrets": {"added": 0, "changed": 1, "removed": 0, "unchanged": 4}}
parent:
  description: Id of the snapshot before, or V(null) where there is none that can be read.
  returned: success
  type: str
  sample: 3df1a8e94ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0
related:
  description:
    - Cluster-scoped objects that came along, each with the reason. Of one kind and reason the first 200 are named, and
      the others counted in one entry.
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
  description:
    - What was left out because its owner or its state says so. Of one kind and reason the first 200 are named, and the
      others counted in one entry.
  returned: success
  type: list
  elements: dict
  sample:
    - what: ledger/configmaps/scratch
      why: label velero.io/exclude-from-backup=true
left_out:
  description: How many objects were left out by nature, by kind and reason. Kinds that are left out whole are not read.
  returned: success
  type: list
  elements: dict
  sample:
    - what: pods
      why: its controller makes it
      count: 12
unmatched:
  description: The application's patterns that matched nothing, where C(allow_no_match) allows that.
  returned: success
  type: list
  elements: str
  sample: ["namespaces shop-*"]
versions:
  description: With C(versions=all), the API versions in which kinds were stored besides the preferred one.
  returned: success
  type: dict
  sample: {"horizontalpodautoscalers.autoscaling": ["autoscaling/v1"]}
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
