#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_export
short_description: Back up all volumes of an application from one cut
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Finds every PersistentVolumeClaim of the application. Each one ends as exported, excluded by a named rule, or failed.
  - Runs the application's C(pre) hooks, asks for a snapshot of every volume whose CSI driver has a VolumeSnapshotClass,
    runs the C(post) hooks as soon as all snapshots are cut, and only then moves the data. The C(post) hooks run
    whatever happens, also after an error or when the task is told to end.
  - Snapshots are read in a namespace of our own, so that the repository's password never enters the application's.
  - Volumes without snapshots are read live, by a Job in the application's namespace on the node of the pod that uses
    them. This is recorded as RV(consistency.mode=live).
  - An incomplete volume is a failure. Nothing of a failed run counts as a backup.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.repository
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - Checks the repository, the claims and the snapshot classes as a run does, and returns for every volume how it
        would be read. Hooks are not run.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Every run records the volumes anew. What did not change since is not stored again.
options:
  application:
    description:
      - The application as the inventory describes it; C(name), C(namespaces), C(hooks) and C(volumes.exclude) are used.
      - Claims with the label C(velero.io/exclude-from-backup=true) are excluded too.
    type: dict
    required: true
  site:
    description:
      - Name of the site. With namespace and claim it becomes the host under which restic keeps a volume's snapshots.
    type: str
    required: true
  phase:
    description:
      - V(all) does everything.
      - V(cut) ends after the C(post) hooks and returns RV(cuts), so that objects can be captured close to the cut.
      - V(move) takes O(cuts) and moves the data. RV(hooks) and RV(excluded) are those of V(cut).
    type: str
    choices: [all, cut, move]
    default: all
  cuts:
    description:
      - With O(phase=move), RV(cuts) of the phase V(cut), unchanged.
    type: list
    elements: dict
  point:
    description:
      - Id of the recovery point, which becomes a tag of the snapshots in the repository.
    type: str
  snapshot_classes:
    description:
      - The VolumeSnapshotClass for a CSI driver, by the driver's name. Needed only where the driver has several and none
        or more than one is annotated as its default.
    type: dict
  methods:
    description:
      - How the volumes of a storage class are read, by the class's name; V(snapshot), V(live) or V(auto).
      - V(auto), the default, takes a snapshot where there is a VolumeSnapshotClass for the driver.
    type: dict
  cut_timeout:
    description:
      - How long it may take until all snapshots are cut. The application's hooks hold it frozen for so long.
    type: str
    default: 1m
  ready_timeout:
    description:
      - How long a snapshot that was cut may take until it can be read.
    type: str
    default: 10m
  workers:
    description:
      - Number of volumes that are moved at the same time.
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
  - Movers of snapshots need the capability C(DAC_READ_SEARCH); their namespace is labelled for the Pod Security level
    C(privileged). Movers of live volumes need C(DAC_OVERRIDE), which the level C(baseline) allows, and mount the volume
    read-only. In a namespace that enforces C(restricted) they run as the user of the pod that uses the volume, and a
    file which this user may not read makes the task fail.
  - The identity in use needs to create and delete jobs, secrets, network policies, volume snapshots and (for snapshots)
    volume snapshot contents, claims and one namespace, and to patch persistent volumes; and C(pods/exec) for hooks and
    C(pods/log) for progress.
  - What a killed run left behind is removed by the next one for the same application. Of two runs for one application
    at the same time the later one wins, and the earlier one fails with a clear message.
  - Block volumes are not supported yet; exclude them by a rule. The content of hostPath volumes is not captured; they
    are named in RV(excluded).
seealso:
  - module: muster.container_dr.volume_import
  - module: muster.container_dr.repository
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Back up the volumes of the ledger
  muster.container_dr.volume_export:
    kubeconfig: east.kubeconfig
    site: east
    application:
      name: ledger
      namespaces: [ledger]
      hooks:
        - name: freeze
          selector: app.kubernetes.io/name=postgres
          container: postgres
          pre: [/usr/local/bin/ledger-freeze, "60"]
          post: [/usr/local/bin/ledger-thaw]
          timeout: 60s
      volumes:
        exclude:
          - namespace: ledger
            name: cache-*
            reason: is rebuilt from the database
    repository:
      url: s3:https://s3.east.example.com/backup/ledger
      password_file: /etc/muster/ledger.password
      id: "{{ ledger_repository_id }}"
    mover:
      image: registry.east.example.com/restic/restic@sha256:{{ restic_image_digest }}
  register: volumes

- name: Cut now, move later
  muster.container_dr.volume_export:
    phase: cut
    site: east
    application: "{{ muster_applications[0] }}"
    repository: "{{ muster_repository }}"
  register: cut

- name: Move what was cut
  muster.container_dr.volume_export:
    phase: move
    cuts: "{{ cut.cuts }}"
    site: east
    application: "{{ muster_applications[0] }}"
    repository: "{{ muster_repository }}"
"""

RETURN = r"""
msg:
  description: What was done, or what went wrong.
  type: str
  returned: always
  sample: 2 of 2 volumes exported, 1048576 bytes added.
run:
  description: Id of the run, which its objects in the cluster carry as a label. Null in check mode.
  type: str
  returned: success
  sample: 20260131t040506-a1b2c3
consistency:
  description: The instant whose state the data equals.
  type: dict
  returned: always, unless the task failed before the cut
  contains:
    point:
      description: The earliest instant of all volumes, in UTC.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    skew_seconds:
      description: Seconds from the earliest to the latest.
      type: float
      sample: 0.412
    mode:
      description:
        - V(per_volume) where every volume is a snapshot of its own, V(live) as soon as one was read while in use.
      type: str
      sample: per_volume
volumes:
  description: One entry per claim in scope. Entries of the phase V(cut) are not complete yet.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Namespace and claim.
      type: str
      sample: ledger/data-postgres-0
    kind:
      description: Always V(pvc).
      type: str
      sample: pvc
    namespace:
      description: Namespace of the claim.
      type: str
      sample: ledger
    claim:
      description: Name of the claim.
      type: str
      sample: data-postgres-0
    class:
      description: Its storage class.
      type: str
      sample: csi
    driver:
      description: Its CSI driver; null for other volumes.
      type: str
      sample: csi.example.com
    size:
      description: Capacity in bytes.
      type: int
      sample: 1073741824
    access_modes:
      description: Access modes of the claim.
      type: list
      elements: str
      sample: [ReadWriteOnce]
    volume_mode:
      description: Volume mode of the claim.
      type: str
      sample: Filesystem
    method:
      description: How it was read, V(snapshot) or V(live).
      type: str
      sample: snapshot
    consistency_point:
      description: When the snapshot was cut, or when the live read began.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    snapshot:
      description: Id of the restic snapshot.
      type: str
      sample: 4e41358a1013ea3e6c1a2e0865c03be1d8fdc1e34bffce071ddc3d38dca6df02
    tree:
      description: Id of the restic tree, which is the same wherever the same content lies.
      type: str
      sample: 1b6df8ae3d7727b8d5cdd179b657ac4562e142649279e0f3e4ace7ea46f7b800
    host:
      description: The host of the restic snapshot.
      type: str
      sample: k8s:east/ledger/data-postgres-0
    files:
      description: Number of regular files.
      type: int
      sample: 1290
    bytes:
      description: Their size in bytes.
      type: int
      sample: 40217088
    bytes_added:
      description: Bytes that were added to the repository.
      type: int
      sample: 524288
    seconds:
      description: Seconds that moving took, with everything around it.
      type: float
      sample: 11.2
    complete:
      description: Whether all of it is in the repository.
      type: bool
      sample: true
    changed:
      description: Whether anything was written for it.
      type: bool
      sample: true
    failed:
      description: Whether it failed.
      type: bool
      sample: false
    skipped:
      description: Always V(false); what is left out stands in RV(excluded).
      type: bool
      sample: false
    msg:
      description: What went wrong, or what is planned.
      type: str
      sample: ""
    errors:
      description: The first errors that restic named.
      type: list
      elements: str
      returned: where it failed and restic named any
      sample: ["/volume/data/x: permission denied"]
hooks:
  description: Hooks that ran, in order.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the hook.
      type: str
      sample: freeze
    namespace:
      description: Namespace of the pod.
      type: str
      sample: ledger
    pod:
      description: The pod.
      type: str
      sample: postgres-0
    phase:
      description: V(pre) or V(post).
      type: str
      sample: pre
    started:
      description: When it started.
      type: str
      sample: "2026-01-31T04:05:05.100Z"
    seconds:
      description: How long it took.
      type: float
      sample: 0.3
    code:
      description: Its exit code; null where it did not end.
      type: int
      sample: 0
    ok:
      description: Whether it ended with 0.
      type: bool
      sample: true
    msg:
      description: What it said when it failed.
      type: str
      sample: ""
excluded:
  description: Volumes that are left out, and by which rule.
  type: list
  elements: dict
  returned: always
  contains:
    what:
      description: The claim, or the volume of a pod.
      type: str
      sample: ledger/cache-0
    why:
      description: The rule.
      type: str
      sample: is rebuilt from the database
cuts:
  description: What the phase V(move) needs to know.
  type: list
  elements: dict
  returned: success
  sample: []
failed_volumes:
  description: Names of the volumes that failed.
  type: list
  elements: str
  returned: where the task failed because of volumes
  sample: [ledger/attachments]
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    Options,
    application,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._volume.exporting import export
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import MOVER_ARGUMENTS

OPTIONS = (
    CLUSTER
    + application()
    + repository()
    + PROGRESS
    + Options(
        arguments={
            "site": {"type": "str", "required": True},
            "phase": {"type": "str", "choices": ["all", "cut", "move"], "default": "all"},
            "cuts": {"type": "list", "elements": "dict"},
            "point": {"type": "str"},
            "snapshot_classes": {"type": "dict"},
            "methods": {"type": "dict"},
            "cut_timeout": {"type": "str", "default": "1m"},
            "ready_timeout": {"type": "str", "default": "10m"},
            "workers": {"type": "int", "default": 4},
            "mover": {"type": "dict", "options": MOVER_ARGUMENTS},
        },
        required_if=[("phase", "move", ("cuts",))],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, export, [REQUIREMENT])


if __name__ == "__main__":
    main()
