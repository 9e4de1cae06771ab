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
  - Creates a PersistentVolumeClaim for every volume of a recovery point and fills it by a short-lived Job that runs
    C(restic restore).
  - A volume is complete only when restic ended without an error, the snapshot's tree is the recorded one, and files and
    bytes on the restored volume are as many as were recorded.
  - A restore that was killed is done again by the next run with the same point, and what is complete is not restored
    twice.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.repository
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - Checks the repository, the snapshots, the storage classes and the existing claims, and returns what would be done
        with each volume. Whether an existing claim is empty only a run finds out.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - A claim that this module restored from the same tree is left as it is, also when its data changed since.
      - With O(existing=replace) claims that this module did not restore are written each time.
options:
  application:
    description:
      - Name of the application.
    type: str
    required: true
  volumes:
    description:
      - The RV(muster.container_dr.volume_export#module:volumes) of the recovery point's document. C(name),
        C(namespace), C(claim), C(class), C(size), C(access_modes), C(volume_mode), C(host), C(snapshot), C(tree),
        C(files), C(bytes) and C(complete) are used.
    type: list
    elements: dict
    required: true
  point:
    description:
      - Id of the recovery point, noted on the claims.
    type: str
  namespace_mapping:
    description:
      - Where the volumes of a namespace go, by its name. Namespaces that are not named keep theirs.
    type: dict
  namespace_labels:
    description:
      - Labels for namespaces that have to be created.
    type: dict
  storage_classes:
    description:
      - The storage class to use instead of a recorded one, by the recorded name; V(*) stands for all others.
    type: dict
  existing:
    description:
      - What happens where a claim of that name exists and was not restored by this module from the same tree.
      - V(fail) fills it if it is empty, and fails if it holds anything.
      - V(keep) leaves it as it is.
      - V(replace) makes it equal to the recorded volume; what else is on it is deleted.
      - A claim that a pod uses is never written to.
    type: str
    choices: [fail, keep, replace]
    default: fail
  verify:
    description:
      - Whether the mover reads everything back after the restore and compares it with the repository.
    type: bool
    default: false
  workers:
    description:
      - Number of volumes that are restored at the same time.
    type: int
    default: 4
  mover:
    description:
      - The short-lived Jobs that read or write one volume each.
      - They run as root with as few capabilities as the work needs, never privileged, without a service account token,
        with a network policy of their own that lets them reach the repository and nothing else, and with the
        repository's password in a Secret that is deleted with the Job.
    type: dict
    suboptions:
      image:
        description:
          - An image with a shell and restic 0.18 or newer, like the official one. Better named by its digest, and from a
            registry that the site has itself.
        type: str
        default: docker.io/restic/restic:0.19.1
      namespace:
        description:
          - Our own namespace. It is created for the run and removed afterwards unless something else is in it.
        type: str
        default: muster-container-dr
      registry:
        description:
          - Login at the registry of O(mover.image). It becomes a pull secret that is deleted with the Job.
        type: dict
        suboptions:
          name:
            description:
              - Host, port and path prefix, for example V(registry.example.com/backup).
            type: str
            required: true
          username:
            description:
              - User who logs in.
            type: str
          password:
            description:
              - Password or token of O(mover.registry.username).
            type: str
          auth_file:
            description:
              - File with logins as C(docker login) and C(podman login) write it, used where
                O(mover.registry.username) is not set.
            type: path
          ca_cert:
            description:
              - Not used here; whether a registry is trusted is up to the nodes that pull from it.
            type: path
          validate_certs:
            description:
              - Not used here; whether a registry is trusted is up to the nodes that pull from it.
            type: bool
            default: true
          plain_http:
            description:
              - Not used here; whether a registry is trusted is up to the nodes that pull from it.
            type: bool
            default: false
      timeout:
        description:
          - How long a mover may take.
        type: str
        default: 4h
      start_timeout:
        description:
          - How long the pod of a mover may take to start.
        type: str
        default: 5m
      stall_timeout:
        description:
          - How long requests to the repository may keep failing without any progress before the mover is given up.
        type: str
        default: 2m
      resources:
        description:
          - Resource requests and limits of the mover's container, as Kubernetes writes them.
          - Without it 50m of a CPU and 128Mi of memory are requested, without a limit.
        type: dict
      pull_policy:
        description:
          - The image pull policy; without it the default of Kubernetes applies.
        type: str
        choices: [Always, IfNotPresent, Never]
notes:
  - Movers run in the namespace of the claim with the capabilities C(CHOWN), C(DAC_OVERRIDE), C(FOWNER), C(FSETID),
    C(MKNOD) and C(SETFCAP), without which owners would be lost. The Pod Security level C(baseline) allows them. A
    namespace that enforces C(restricted) is refused; let it enforce C(baseline) while volumes are restored.
  - A network policy that selects only the mover lets it reach the repository where the namespace denies by default. It
    is deleted with the Job.
  - Storage classes that wait for a first consumer work; the mover is this consumer.
seealso:
  - module: muster.container_dr.volume_export
  - module: muster.container_dr.recovery_point_info
"""

EXAMPLES = r"""
- name: Restore the volumes of the newest point into a bubble
  muster.container_dr.volume_import:
    kubeconfig: west.kubeconfig
    application: ledger
    point: "{{ picked.point.id }}"
    volumes: "{{ picked.point.document.volumes }}"
    namespace_mapping:
      ledger: drill-ledger
    namespace_labels:
      pod-security.kubernetes.io/enforce: baseline
    storage_classes:
      fast-ssd: csi
    repository:
      url: s3:https://s3.west.example.com/backup/ledger
      password_file: /etc/muster/ledger.password
      id: "{{ ledger_repository_id }}"
    mover:
      image: registry.west.example.com/restic/restic@sha256:{{ restic_image_digest }}
"""

RETURN = r"""
msg:
  description: What was done, or what went wrong.
  type: str
  returned: always
  sample: 2 of 2 volumes restored, 40217088 bytes.
namespaces_created:
  description: Namespaces that did not exist.
  type: list
  elements: str
  returned: outside check mode, unless the task failed before anything was restored
  sample: [drill-ledger]
volumes:
  description: One entry per volume, in the order of O(volumes).
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Namespace and claim that were restored to.
      type: str
      sample: drill-ledger/data-postgres-0
    kind:
      description: Always V(pvc).
      type: str
      sample: pvc
    source:
      description: Namespace and claim that were backed up.
      type: str
      sample: ledger/data-postgres-0
    namespace:
      description: Namespace of the claim.
      type: str
      sample: drill-ledger
    claim:
      description: Name of the claim.
      type: str
      sample: data-postgres-0
    class:
      description: Storage class of the claim.
      type: str
      sample: csi
    size:
      description: Size in bytes.
      type: int
      sample: 1073741824
    action:
      description:
        - V(create) makes the claim and restores, V(restore) restores into an existing one, V(keep) leaves it alone,
          V(none) where it is restored already or cannot be.
      type: str
      sample: create
    snapshot:
      description: Id of the restic snapshot in this repository.
      type: str
      sample: 4e41358a1013ea3e6c1a2e0865c03be1d8fdc1e34bffce071ddc3d38dca6df02
    tree:
      description: Id of its tree.
      type: str
      sample: 1b6df8ae3d7727b8d5cdd179b657ac4562e142649279e0f3e4ace7ea46f7b800
    files:
      description: Regular files counted on the volume after the restore.
      type: int
      sample: 1290
    bytes:
      description: Their size in bytes.
      type: int
      sample: 40217088
    seconds:
      description: Seconds that it took.
      type: float
      sample: 9.8
    complete:
      description: Whether all of it is on the volume.
      type: bool
      sample: true
    changed:
      description: Whether the volume was, or in check mode would be, written to.
      type: bool
      sample: true
    failed:
      description: Whether it failed.
      type: bool
      sample: false
    skipped:
      description: Whether it was left as it is.
      type: bool
      sample: false
    msg:
      description: What went wrong, or why it was left as it is.
      type: str
      sample: ""
    errors:
      description: The first errors that restic named.
      type: list
      elements: str
      returned: where it failed and restic named any
      sample: []
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
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import MOVER_ARGUMENTS

OPTIONS = (
    CLUSTER
    + repository()
    + PROGRESS
    + Options(
        arguments={
            "application": {"type": "str", "required": True},
            "volumes": {"type": "list", "elements": "dict", "required": True},
            "point": {"type": "str"},
            "namespace_mapping": {"type": "dict"},
            "namespace_labels": {"type": "dict"},
            "storage_classes": {"type": "dict"},
            "existing": {"type": "str", "choices": ["fail", "keep", "replace"], "default": "fail"},
            "verify": {"type": "bool", "default": False},
            "workers": {"type": "int", "default": 4},
            "mover": {"type": "dict", "options": MOVER_ARGUMENTS},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, restore, [REQUIREMENT])


if __name__ == "__main__":
    main()
