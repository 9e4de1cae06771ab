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
    recovery point. Objects are none of its business, so that it also brings back data alone, or single files of it.
  - A volume counts as complete only if restic ended without an error, verified what it wrote, and the counts and the
    tree are those of the point.
  - A claim that a killed run left half restored is restored again by the next.
  - What dead runs of whatever application have left in the cluster is removed, as M(muster.container_dr.volume_export)
    does it.
  - A stream of the point is given to its restore command as input, in a pod that runs, once all claims are restored. It
    counts as complete only if the command was given as many bytes as were recorded and ended with exit code 0. Where
    restic or the connection fails on the way the command is not told that its input has ended, but what it does then is
    its own affair; the error says that the target may hold part of the data. A stream without a restore command is
    skipped, with a warning that says how its bytes are had by hand.
  - A stream needs a server with Kubernetes 1.30 or newer, and the rights of C(docs/rbac/hooks.yml) in the collection.
  - Volumes of a Docker host go to one. A volume that is not there is made with the driver, options and labels that it
    had; an anonymous one gets its old name. A volume or folder that a container uses, which is not stopped, is refused.
    Bind mounts are only restored where O(targets) says so, and single files that were mounted not at all.
  - A stream of a Docker host goes to a container that runs there. Where its command names a service of Compose without
    a project, it is that of the project that the stream came from, and never of another one.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.docker
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
      - Volumes that the same point was restored to already are left alone; of a Docker host those that were made for
        it. With V(replace) for O(existing) they are restored again, because what was put there since is not known.
        Single paths (O(paths)) are restored again, and count as changed if anything there became different. Streams are
        given to their commands each time, so these have to replace what is there.
options:
  volumes:
    description: The volumes of the recovery point's document.
    type: list
    elements: dict
    required: true
  kinds:
    description:
      - Which of O(volumes) are restored. Streams need pods, and so the objects of the application, which need the
        volumes; a play that restores all of it therefore calls the module twice. So it is on a Docker host, where
        volumes need containers that are stopped. The others are not in the result.
    type: list
    elements: str
    choices: [volumes, streams]
    default: [volumes, streams]
  streams:
    description:
      - C(streams) of the application as it is now. Where one of them has the name and the namespace of a stream of the
        point and a C(restore), that is used instead of the one that the point recorded. On a Docker host they have no
        namespace, and C(service) may name another project, as V(PROJECT/SERVICE).
    type: list
    elements: dict
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
  targets:
    description:
      - Where single volumes go instead, and as what. Maps the name of a volume, such as V(shop/data), to a dictionary
        with any of C(namespace), C(claim) (its name), C(storage_class), C(size) (such as V(20Gi)) and C(access_modes).
        What is given here comes before O(namespace_mapping) and O(storage_classes).
      - The size may be smaller than it was, as long as it is not below the bytes that the point recorded; where files
        with holes are longer than the volume was, not below its size either. A volume in block mode needs all of its
        size.
      - A claim that is there already must be as it is asked for here, or larger.
      - Of a volume of a Docker host, such as V(volumes/shop_db) or V(/srv/files), the keys are C(volume) (its name),
        C(driver) and C(options), with which it is made if it is not there, or C(path) alone, a folder of the host,
        which must be there. Options of drivers that look like secrets are not in the point and have to be given here.
    type: dict
  paths:
    description:
      - Brings back these files and folders, with all below them, and nothing else. Maps the name of a volume, such as
        V(shop/data), to a list of paths below its root, without a leading slash. They are no globs.
      - Volumes that are not named are left alone. On a claim that is there all else stays as it is, also the folders
        above; folders above that are missing are made as they were recorded. Nothing is deleted, O(overwrite) says what
        becomes of files of the same name.
      - A path that the point does not have is an error before anything is written, as is a volume in block mode.
    type: dict
  existing:
    description:
      - What to do with a claim that is there already and holds other data. V(fail) refuses before anything is written,
        V(keep) leaves it alone, V(replace) overwrites it as O(overwrite) and O(delete) say.
      - An empty claim is filled with V(fail) too. One in block mode is empty if all of its device is zeros, which is
        read to the end for it.
      - It is about whole volumes; O(paths) go into the claim whatever else it holds, and V(keep) is refused with them.
      - With V(keep) streams are skipped; whether something is there already that they would replace, only their command
        knows.
    type: str
    choices: [fail, keep, replace]
    default: fail
  overwrite:
    description:
      - Which files of the same name are written with V(replace) for O(existing), and with O(paths). V(always) reads
        them and writes what differs; V(if_changed) trusts those whose size and time of change are those of the point.
        Owners, modes, times and attributes are set in either case.
      - V(never) leaves files that are there as they are, with their owners and modes; folders still get theirs, and a
        file where the point has a folder gives way to it. It needs V(false) for O(delete), or O(paths).
    type: str
    choices: [always, if_changed, never]
    default: always
  delete:
    description:
      - Whether files that the point does not have go, with V(replace) for O(existing). Without it they go, so that the
        claim becomes what the point holds; V(false) puts what the point holds beside them.
      - With O(paths) nothing is ever deleted, and V(true) is refused.
    type: bool
  verify:
    description:
      - V(content) reads back what was written and compares it. V(none) does not.
      - V(tree) also compares every path on the volume with the point afterwards, and no path may be missing or too much
        (where others may be there, none may be missing) - kind, mode, owner, group, size and the second of the last
        change. It needs room for some 300 bytes a file on the mover's disk. It does not see the targets of links, the
        numbers of devices, hard links, attributes and ACLs; that they could not be set is an error of the restore
        itself. Characters in names that are not printable ASCII count as equal.
      - V(tree) is V(content) for a volume in block mode.
    type: str
    choices: [none, content, tree]
    default: content
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

- name: Pick the newest point that is usable here
  muster.container_dr.recovery_point_info:
    application: {name: shop, namespaces: [shop]}
    store: {url: s3://muster/store, endpoint_url: https://s3.west.example.com}
    signing: {allowed_signers: allowed_signers, identity: muster}
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password
    site: west
    pick: latest
    required: true
  register: chosen

- name: Give a folder back, into the claim that is there, and leave all else on it alone
  muster.container_dr.volume_import:
    kubeconfig: west.kubeconfig
    application: shop
    volumes: "{{ chosen.point.document.volumes }}"
    paths:
      shop/data: [uploads/2026, config/shop.yml]
    overwrite: if_changed
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password

- name: Restore only the data, without any objects, one volume of it as another claim of another class
  muster.container_dr.volume_import:
    kubeconfig: west.kubeconfig
    application: shop
    volumes: "{{ chosen.point.document.volumes }}"
    namespace_mapping: {shop: shop-data}
    targets:
      shop/data: {claim: data-copy, storage_class: fast, size: 20Gi, access_modes: [ReadWriteOncePod]}
    verify: tree
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password

- name: Restore volumes of a Docker host on another one, a folder of it elsewhere
  muster.container_dr.volume_import:
    docker:
      docker_host: ssh://ops@dock2.example.com
    application: shop
    volumes: "{{ exported.volumes }}"
    targets:
      /srv/shop/files: {path: /srv/restored/files}
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password

- name: Give the dump of a database back to the database that runs
  muster.container_dr.volume_import:
    kubeconfig: west.kubeconfig
    application: shop
    volumes: "{{ chosen.point.document.volumes }}"
    kinds: [streams]
    streams:
      - name: ledger
        selector: app=db
        command: [pg_dump, -U, shop, -Fc, ledger]
        restore:
          command: [pg_restore, -U, shop, -d, ledger, --clean, --if-exists, --no-owner]
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password

- name: Give the dump of a Docker host back to the database of another project
  muster.container_dr.volume_import:
    docker:
      docker_host: ssh://ops@dock2.example.com
    application: shop
    volumes: "{{ exported.volumes }}"
    kinds: [streams]
    streams:
      - name: ledger
        service: copy/db
        user: postgres
        command: [pg_dump, --format=custom, --compress=0, ledger]
        restore:
          command: [pg_restore, -d, ledger, --clean, --if-exists, --no-owner]
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password
"""

RETURN = r"""
volumes:
  description: One entry per volume of O(kinds), in the order of O(volumes).
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description:
        - Namespace and claim, or volume or folder of a Docker host, that it was restored to; of a stream
          C(NAMESPACE/streams/NAME), on a Docker host C(streams/NAME).
      type: str
      sample: shop-copy/data
    kind:
      description: V(pvc) or V(stream); on a Docker host V(docker_volume) or V(bind).
      type: str
      sample: pvc
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
    paths:
      description: The single paths that were restored; null where all of the volume was.
      type: list
      elements: str
      sample: [uploads/2026]
    complete:
      description: Whether all that the point recorded, or of O(paths) all that it recorded of them, is there.
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
cleaned:
  description: What was removed of dead runs, as in RV(muster.container_dr.volume_export#module:cleaned).
  type: list
  elements: dict
  returned: on a cluster
  sample: []
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    DOCKER,
    PROGRESS,
    Options,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._volume.importing import restore
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import (
    BUDGET_ARGUMENTS,
    MOVER_ARGUMENTS,
)

OPTIONS = (
    CLUSTER
    + DOCKER
    + repository()
    + PROGRESS
    + Options(
        arguments={
            "volumes": {"type": "list", "elements": "dict", "required": True},
            "kinds": {
                "type": "list",
                "elements": "str",
                "choices": ["volumes", "streams"],
                "default": ["volumes", "streams"],
            },
            "streams": {"type": "list", "elements": "dict"},
            "application": {"type": "str", "required": True},
            "point": {"type": "str"},
            "namespace_mapping": {"type": "dict"},
            "namespace_labels": {"type": "dict"},
            "storage_classes": {"type": "dict"},
            "targets": {"type": "dict"},
            "paths": {"type": "dict"},
            "existing": {"type": "str", "choices": ["fail", "keep", "replace"], "default": "fail"},
            "overwrite": {"type": "str", "choices": ["always", "if_changed", "never"], "default": "always"},
            "delete": {"type": "bool"},
            "verify": {"type": "str", "choices": ["none", "content", "tree"], "default": "content"},
            "workers": {"type": "int", "default": 4},
            "budgets": {"type": "dict", "options": BUDGET_ARGUMENTS},
            "mover": {"type": "dict", "options": MOVER_ARGUMENTS},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, restore)


if __name__ == "__main__":
    main()
