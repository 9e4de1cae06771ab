#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_export
short_description: Cut all volumes of an application and move them into the repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Runs the application's hooks, takes a snapshot of every claim whose driver can, of several at one instant where it
    can do that too, runs the release hooks at once, and then moves the data with short-lived Jobs into the restic
    repository, several at a time.
  - A claim without snapshots is read while it is in use, on the node of the pod that uses it, and marked V(live); or,
    where O(methods) says V(stopped), while all that uses it is scaled down to zero.
  - A claim in block mode is kept as one file C(data) with the bytes of its device. Zeros take no room in the
    repository.
  - A stream of the application (C(streams)) is what a command prints in one of its pods, such as C(pg_dump). It goes
    through this machine straight into the repository, without being stored on the way. There is a snapshot only if the
    command ended with exit code 0 after it had printed something. Streams are read at the beginning of O(phase=move),
    before anything is stopped; a stream for which no pod runs ends the task before anything is frozen.
    C(docs/rbac/hooks.yml) is a role with what this needs.
  - A shell in the container (C(sh)) runs the command, without which nobody could tell whether its output is whole.
  - Every claim of the application ends as exported, excluded by a rule with its reason, or failed. Nothing is left out
    in silence. Volumes of pods and of templates for pods that no claim stands for (C(hostPath), C(emptyDir), C(nfs) and
    others) are named in RV(excluded) as C(NAMESPACE/WORKLOAD/VOLUME). Where data of them would be missed, a warning
    says so, unless an entry of C(volumes.exclude) whose name holds a slash (C(WORKLOAD/VOLUME), with C(*) and C(?))
    gives the reason why that is fine.
  - A claim that waits for its first pod, and that no pod wants, holds no data and is named in RV(excluded) too.
  - What killed runs have left in the cluster (snapshots, clones, Jobs) is removed by the next run of this module or of
    M(muster.container_dr.volume_import) there, for whatever application, and named in RV(cleaned). What may be alive is
    not touched. On the same machine it is seen at once that a run is over. Of one from elsewhere it is certain an hour
    after it was heard of, or O(mover.timeout) and ten minutes after it made its last Job, by the clock of the API
    server. Snapshots of O(phase=cut) are kept for O(phase=move) for a day.
  - What runs for the same application left is removed in any case; one of them that is still alive fails.
  - Of an application on a Docker host (C(containers), C(compose_projects)) it moves the named and anonymous volumes and
    the bind mounts of its containers, running or not, by short-lived containers on that host. There are no snapshots
    and no hooks there; O(methods) says what stands still meanwhile. Volumes are named C(volumes/NAME), anonymous ones
    C(CONTAINER:/PATH), bind mounts by their folder on the host. What holds no data or ends with the container
    (C(tmpfs), folders of the running system such as C(/run)) is named in RV(excluded). A bind mount of a folder with
    Docker's own data is refused unless an entry of C(volumes.exclude) (V(name) with globs, and V(reason)) names it.
  - Its streams run in containers of the application, which C(container) names, or C(service) as V(SERVICE) or
    V(PROJECT/SERVICE) of Compose, as C(user) where that is given. They are read at the beginning of O(phase=move),
    before anything is stopped or paused. A container that does not run ends the task before anything is touched.
  - Hooks are those of the application and those that annotations of its running pods ask for, ours and Velero's; see
    O(hook_annotations). All commands before the cut run first, the application's own in their order, then those of
    annotations by namespace and pod. The commands after it run in reverse order, for all hooks that began, whatever
    happens in between.
  - Before the first of them runs, what has to run after the cut is written into a ConfigMap with the label
    C(container-dr.muster.dev/role=thaw) in the application's first namespace, the commands included. If the run is
    killed, the next one for the same application runs these commands in those of the pods that are still there, warns
    of it, and goes on. It waits while the other run may be alive. C(docs/rbac/hooks.yml) in the collection is a role
    with what this needs.
  - What is stopped for V(stopped) is written down in the same way before it is scaled, and each workload has its
    replicas back as soon as the claims that its pods use are read, or could not be. If somebody has scaled it meanwhile
    it stays as they wished, and the volume is failed, because it may be torn. The next run starts what a killed one has
    left stopped. C(docs/rbac/stopped.yml) is a role with what this needs.
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
    details:
      - Says for every claim how it would be read, and names the hooks that would run, without running them.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Every run makes new snapshots in the repository. Data that is there already is not uploaded again.
options:
  application:
    description:
      - The application as the inventory describes it, with C(namespaces), C(hooks), C(streams) and C(volumes.exclude).
      - On a Docker host it has C(containers), C(compose_projects) or both instead of C(namespaces), and C(hooks) are
        refused. A Compose project whose files are in C(compose_files) belongs to it, too.
    type: dict
    required: true
  site:
    description: Name of the site; part of the host name of the restic snapshots.
    type: str
    required: true
  point:
    description: Id of the recovery point; becomes a tag of the restic snapshots.
    type: str
  phase:
    description:
      - V(cut) runs hooks and takes snapshots, V(move) moves what O(cuts) names, V(all) does both.
      - The two steps let a play capture the objects in between, close to the instant that the volumes equal.
      - On a Docker host V(cut) checks that all could be read, and stops and reads nothing. What O(methods) names stands
        still during V(move).
    type: str
    choices: [all, cut, move]
    default: all
  cuts:
    description: RV(cuts) of the run with O(phase=cut). Needed with O(phase=move).
    type: list
    elements: dict
  snapshot_classes:
    description:
      - Maps CSI drivers to the snapshot class to use. Without it, the default class of the driver, or its only one.
    type: dict
  group_snapshots:
    description:
      - Whether claims are cut together, by a VolumeGroupSnapshot (C(groupsnapshot.storage.k8s.io/v1) or C(v1beta2)), so
        that all its volumes equal one instant.
      - With V(auto) this is done with two or more claims of one namespace and one driver, where the cluster serves the
        API and a group snapshot class is found for the driver. All others are cut one by one.
      - With V(required) one group has to cut all volumes of the application, or nothing is frozen and the task fails.
        A single volume needs no group.
      - A group that was begun and cannot be cut fails the task. V(never) makes no groups.
      - While a group is cut, its claims have a label that begins with C(container-dr.muster.dev/cut-). If something
        that keeps the labels of claims takes it away meanwhile, the task fails.
      - C(docs/rbac/groups.yml) in the collection is a role with what this needs.
    type: str
    choices: [auto, required, never]
    default: auto
  group_snapshot_classes:
    description:
      - Maps CSI drivers to the group snapshot class to use. Without it, the default class of the driver, or its only
        one. If several could be meant, V(auto) of O(group_snapshots) warns and makes no group, V(required) fails.
    type: dict
  methods:
    description:
      - Maps storage classes to V(snapshot), V(stopped), V(live) or V(auto), the default, which takes snapshots of CSI
        volumes and reads all others while they are in use.
      - A CSI volume without a snapshot class is refused unless this says V(stopped) or V(live), because a copy of what
        is in use can be torn. So is a C(ReadWriteOncePod) volume with V(live) while a pod holds it.
      - With V(stopped) the workloads whose pods use such claims are scaled to zero at the beginning of O(phase=move),
        all of them before the first volume is read, so that the volumes equal one instant. Deployments, ReplicaSets,
        ReplicationControllers, StatefulSets and custom resources with a scale are scaled where they are the topmost
        owner, CronJobs are suspended, and operators that understand a pause are paused. GitOps controllers of Argo CD
        and Flux, KEDA, and autoscalers with C(minReplicas=0) sleep meanwhile.
      - Pods of DaemonSets, Jobs and operators without a scale, pods of nobody, and StatefulSets that delete claims when
        they are scaled down (C(whenScaled)), cannot be stopped; a claim that they use is refused before anything is
        touched.
      - On a Docker host it maps volumes, as globs of their names in the result or of Docker's names, to V(live), the
        default, V(paused) or V(stopped). The first that fits counts; V(*) is every volume.
      - With V(paused) and V(stopped) all running containers of the host that may write to such a volume, or to a folder
        above or below it, are paused or stopped before the first volume is read, the newest first, and go on as soon as
        the volumes that they use are read. Before that they are written down in the labels of a small volume, so that
        the next run for the same application starts what a killed one left. It waits while the other run may be alive.
      - Refused before anything is touched are volumes that containers outside the application may write to, and with
        them containers that somebody has paused, that restart again and again, or that are tasks of Swarm; and with
        V(stopped) those that were started with C(--rm) and those whose network another container shares.
      - If Docker has to kill one because it does not end within O(stop_timeout), or if somebody starts one meanwhile,
        the volume is failed. Containers with C(--restart always) stay stopped, unless Docker itself restarts.
    type: dict
  stop_timeout:
    description:
      - How long to wait until the pods that use the claims of method V(stopped) are gone, as seconds or as V(5m). If
        they are not, all is started again and the task fails. On a Docker host it counts for each container.
    type: str
    default: 5m
  cut_timeout:
    description: How long to wait until all snapshots are cut, while the application is held, as seconds or as V(2m).
    type: str
    default: 2m
  ready_timeout:
    description: How long to wait until the snapshots can be read, as seconds or as V(10m).
    type: str
    default: 10m
  hook_annotations:
    description:
      - Whether annotations of pods are hooks. A pod counts if it runs, if it, and its namespace, have no mark that
        leaves them out of backups, and if the application's C(selectors) take it.
      - Ours are C(container-dr.muster.dev/pre-backup-command) and C(container-dr.muster.dev/post-backup-command), each
        with C(-container), C(-timeout), C(-on-error) and C(-output) in place of C(-command).
      - Velero's are C(pre.hook.backup.velero.io/command) and C(post.hook.backup.velero.io/command), each with
        C(container), C(timeout) and C(on-error). Ours go before Velero's of the same pod and phase.
      - A command is a JSON array of words, or a text that is its one word; no shell reads it. The container is the
        pod's first one unless it is named, the time limit 60 seconds (with Velero's annotations 30), a failure ends the
        cut unless C(on-error) is V(continue), and C(output) V(none) keeps what the command prints out of the result.
      - An annotation that cannot be read ends the task before anything is frozen.
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
          - How many on one node. Counted are volumes that are read while they are in use, on the node that uses them.
            Where a clone of a snapshot is read, the scheduler decides; it is asked to take nodes with fewer movers of
            the run, and is not kept from another.
        type: int
      repository:
        description:
          - How many on this repository, counted over all tasks that this user runs at a time on this machine with this
            option, and that have the same folder for temporary files (C(TMPDIR)). A volume waits for its place as long
            as it takes, which the progress shows; a task that is killed frees its places.
        type: int
  change_detection:
    description:
      - Maps CSI drivers, or drivers of Docker's volumes, to what says that a file is as it was at the last backup and
        need not be read again. V(*) stands for every driver that is not named, and for volumes without one.
      - V(strict), the default, wants the same size, times of content and of metadata, and inode number.
        V(ignore_ctime) does without the time of metadata, V(ignore_inode) without this and the inode number.
      - Clones of block devices (Ceph RBD, EBS, LVM and their like) keep all of them, leave these at V(strict). Drivers
        that copy files to make a clone give new ones, so that everything is read each time although no data is added
        to the repository. C(nfs.csi.k8s.io) does it by tar, CephFS by copying unless O(clones) makes them shallow.
        They, and file systems in user space with passing inode numbers, want V(ignore_inode).
      - With anything but V(strict) a file whose content was changed and whose time and size were set back is missed.
    type: dict
  clones:
    description:
      - Maps CSI drivers to how a volume is made of their snapshots, which a mover then reads, as a dictionary with
        C(access_mode), which is V(ReadOnlyMany), V(ReadWriteOnce) or V(ReadWriteMany), and C(storage_class), each by
        default that of the claim.
      - With CephFS (C(cephfs.csi.ceph.com), also as Rook names it) the default is V(ReadOnlyMany), for which the driver
        mounts the snapshot itself (a shallow volume). For any other mode it copies each file first.
      - A class of its own serves where the usual one keeps more replicas than a clone for an hour needs.
    type: dict
seealso:
  - module: muster.container_dr.volume_import
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Export all volumes of the shop
  muster.container_dr.volume_export:
    kubeconfig: east.kubeconfig
    site: east
    application:
      name: shop
      namespaces: [shop]
      volumes:
        exclude:
          - {namespace: shop, name: cache, reason: can be filled again}
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
  register: exported

- name: Export them to a REST server that wants a login
  muster.container_dr.volume_export:
    kubeconfig: east.kubeconfig
    site: east
    application:
      name: shop
      namespaces: [shop]
    repository:
      url: rest:https://restic.example.com:8000/east/
      password_file: repository.password
      environment:
        RESTIC_REST_USERNAME: east
        RESTIC_REST_PASSWORD: "{{ rest_password }}"

- name: Export the volumes of a Compose project, its database at a standstill
  muster.container_dr.volume_export:
    docker:
      docker_host: ssh://ops@dock1.example.com
    site: dock1
    application:
      name: shop
      compose_projects: [shop]
      volumes:
        exclude:
          - {name: volumes/shop_cache, reason: can be filled again}
    methods:
      volumes/shop_db: stopped
      "*": live
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password

- name: Export the dump of a Compose project's database instead of its files
  muster.container_dr.volume_export:
    docker:
      docker_host: ssh://ops@dock1.example.com
    site: dock1
    application:
      name: shop
      compose_projects: [shop]
      streams:
        - name: ledger
          service: db
          user: postgres
          command: [pg_dump, --format=custom, --compress=0, ledger]
          restore:
            command: [pg_restore, -d, ledger, --clean, --if-exists, --no-owner]
      volumes:
        exclude:
          - {name: volumes/shop_db, reason: its data are in the stream}
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
"""

RETURN = r"""
consistency:
  description: The instant that the data equals.
  type: dict
  returned: success
  contains:
    point:
      description: The earliest of the volumes' consistency points.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    skew_seconds:
      description: Between the first and the last volume, by the times that their driver gives.
      type: float
      sample: 0.4
    mode:
      description:
        - V(group) where one group snapshot cut all volumes, V(stopped) where all were read while nothing used them,
          V(live) where one was read in use, else V(per_volume), which is also the best with a stream.
        - On a Docker host that of the weakest volume, V(live), V(paused) or V(stopped); with a stream V(live) or
          V(per_volume).
      type: str
      sample: per_volume
volumes:
  description:
    - One entry per claim or volume of a Docker host, ordered by name, and then one per stream. Of a Docker host
      it also has what is needed to make it again (C(volume), C(path), C(driver), C(options) without what looks like a
      secret, C(labels)).
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description:
        - Namespace and claim, or C(NAMESPACE/streams/NAME). On a Docker host C(volumes/NAME), C(CONTAINER:/PATH), a
          folder of the host, or C(streams/NAME).
      type: str
      sample: shop/data
    kind:
      description: V(pvc) or V(stream); on a Docker host V(docker_volume) or V(bind).
      type: str
      sample: pvc
    method:
      description: V(snapshot), V(stopped), V(live) or V(stream); on a Docker host V(paused) too.
      type: str
      sample: snapshot
    placement:
      description:
        - Where the first pod that uses it may run and says so, for its restore - C(node_selector), C(node_terms) (the
          expressions of its required node affinity) and C(tolerations). None where any node will do.
      type: dict
      sample: {node_selector: {pool: db}, node_terms: [], tolerations: [{key: dedicated, operator: Exists}]}
    group:
      description: Name of the VolumeGroupSnapshot that cut it together with others; none where it was cut by itself.
      type: str
      sample: muster-group-csi-example-com-1f0c9a7d22
    consistency_point:
      description: The instant that its data equals; of a stream when its command was started.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    snapshot:
      description: Id of the restic snapshot.
      type: str
      sample: 4bba301e6b6cdb49ed4ae1db27d0a1cbf0e8adaff6f1e6ff3b1ddf1b2ac0ef24
    tree:
      description: Id of its tree, which survives a copy to another repository.
      type: str
      sample: 8a7d5f1ad6b1d53b7e69ee62cc5bff3d5bb2f2b24f3cd3cc5cc3b1bff2b0ea31
    files:
      description: Number of files.
      type: int
      sample: 1423
    bytes:
      description: Size of the files in bytes.
      type: int
      sample: 49283072
    bytes_added:
      description: Bytes that the repository grew by.
      type: int
      sample: 1048576
    seconds:
      description: How long moving it took.
      type: float
      sample: 4.2
    complete:
      description: Whether everything could be read.
      type: bool
      sample: true
    filename:
      description: Of a stream, the name of its file in the snapshot.
      type: str
      sample: ledger
    restore:
      description: Of a stream, what takes it back; none where nothing does.
      type: dict
      sample: {command: [pg_restore, -d, ledger], selector: app=db}
    pod:
      description: Of a stream, the pod that its command ran in.
      type: str
      sample: db-0
    container:
      description: Of a stream on a Docker host, the container that its command ran in.
      type: str
      sample: shop-db-1
    project:
      description: Of a stream on a Docker host, the container's project of Compose, to which it is restored.
      type: str
      sample: shop
    msg:
      description: What became of it.
      type: str
      sample: ""
hooks:
  description: One entry per command and pod that it ran in, in the order of running. In check mode those to come.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The hook's name, or the pod whose annotations it comes from.
      type: str
      sample: hold writes
    namespace:
      description: Namespace of the pod.
      type: str
      sample: shop
    pod:
      description: Name of the pod; empty where none was found.
      type: str
      sample: db-0
    container:
      description: The container that it ran in.
      type: str
      sample: postgres
    phase:
      description: V(pre) before the cut, V(post) after it.
      type: str
      sample: pre
    source:
      description: Where it comes from, V(application), V(annotation) (ours) or V(velero).
      type: str
      sample: application
    on_error:
      description: V(fail), or V(continue) if its failure does not matter.
      type: str
      sample: fail
    started:
      description: When it began.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    seconds:
      description: How long it took.
      type: float
      sample: 0.2
    code:
      description: Its exit code; none if it did not end.
      type: int
      sample: 0
    ok:
      description: Whether it succeeded.
      type: bool
      sample: true
    stdout:
      description:
        - The last 4 KiB of what it printed, without what is written like a secret (C(password=...), tokens, logins in
          URLs, private keys) and without the passwords among the task's options. What a secret of the application
          looks like is not known here; C(output) V(none) keeps nothing.
      type: str
      sample: "CHECKPOINT"
    stderr:
      description: The same of its error output.
      type: str
      sample: ""
    msg:
      description: Why it failed.
      type: str
      sample: ""
thawed:
  description: The commands of earlier, killed runs that this run ran for them, as in RV(hooks).
  type: list
  elements: dict
  returned: always
  sample: []
restarted:
  description: What earlier, killed runs had stopped and this run has started; in check mode what it would start.
  type: list
  elements: str
  returned: always
  sample: []
cleaned:
  description:
    - What dead runs, of whatever application, had left in the cluster and this run has removed; in check mode what it
      would remove. It is looked for in the whole cluster as far as this is permitted, else in the namespaces of the
      application and of movers.
    - Things of earlier versions, which do not say whether their run goes on, are left, and a warning names the runs.
  type: list
  elements: dict
  returned: on a cluster
  contains:
    run:
      description: The run's id, as in the label C(container-dr.muster.dev/run).
      type: str
      sample: 20260131t040506-1a2b3c
    application:
      description: The application, as in the label C(container-dr.muster.dev/application).
      type: str
      sample: ledger
    removed:
      description: What was removed, with the data behind it.
      type: list
      elements: str
      sample: [snapshot ledger/muster-data-0123456789]
    failed:
      description: Why other things of it are still there; the next run tries again.
      type: list
      elements: str
      sample: []
stopped:
  description:
    - What was stopped while volumes were read, in the order of stopping; in check mode what would be. First those that
      would start the others again.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Namespace, resource and name; on a Docker host C(containers/NAME).
      type: str
      sample: shop/deployments.apps/api
    claims:
      description: The claims that its pods use; empty for what only sleeps so that it does not start the others.
      type: list
      elements: str
      sample: [shop/data]
    why:
      description: Why it was stopped.
      type: str
      sample: its pods write to a claim that is read
    before:
      description: What it had, by JSON pointers, and has again.
      type: dict
      sample: {/spec/replicas: 2}
    stopped:
      description: When it was stopped.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    started:
      description: When it was started again.
      type: str
      sample: "2026-01-31T04:05:36.789Z"
    seconds:
      description: How long it was stopped.
      type: float
      sample: 30.0
    changed:
      description: Whether it was stopped.
      type: bool
      sample: true
    failed:
      description: Whether it could not be started again; the next run tries it.
      type: bool
      sample: false
    msg:
      description: Why not, or why it was left as it is.
      type: str
      sample: ""
excluded:
  description:
    - Volumes that were left out by a rule or by their nature, with the reason. C(unbound) stands at claims that hold no
      data yet.
  type: list
  elements: dict
  returned: always
  sample:
    - {what: shop/cache, why: can be filled again}
    - {what: shop/api/tmp, why: emptyDir; it ends with the pod}
cuts:
  description: What O(phase=move) needs to know.
  type: list
  elements: dict
  returned: always
  sample: []
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    DOCKER,
    PROGRESS,
    Options,
    application,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._volume.exporting import export
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import (
    BUDGET_ARGUMENTS,
    MOVER_ARGUMENTS,
)

OPTIONS = (
    CLUSTER
    + DOCKER
    + repository()
    + application()
    + PROGRESS
    + Options(
        arguments={
            "site": {"type": "str", "required": True},
            "point": {"type": "str"},
            "phase": {"type": "str", "choices": ["all", "cut", "move"], "default": "all"},
            "cuts": {"type": "list", "elements": "dict"},
            "snapshot_classes": {"type": "dict"},
            "group_snapshots": {"type": "str", "choices": ["auto", "required", "never"], "default": "auto"},
            "group_snapshot_classes": {"type": "dict"},
            "methods": {"type": "dict"},
            "cut_timeout": {"type": "str", "default": "2m"},
            "ready_timeout": {"type": "str", "default": "10m"},
            "stop_timeout": {"type": "str", "default": "5m"},
            "workers": {"type": "int", "default": 4},
            "hook_annotations": {"type": "bool", "default": True},
            "change_detection": {"type": "dict"},
            "clones": {"type": "dict"},
            "budgets": {"type": "dict", "options": BUDGET_ARGUMENTS},
            "mover": {"type": "dict", "options": MOVER_ARGUMENTS},
        },
        required_if=[("phase", "move", ["cuts"])],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, export)


if __name__ == "__main__":
    main()
