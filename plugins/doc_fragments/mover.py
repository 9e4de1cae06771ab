# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs that read and write volumes."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  mover:
    description:
      - How the short-lived Jobs, or containers on a Docker host, run that read and write volumes.
    type: dict
    suboptions:
      image:
        description:
          - Image with restic 0.18 or newer as C(restic) on the path and a POSIX shell. Name it by digest.
        type: str
        default: restic/restic:0.19.1
      namespace:
        description:
          - Namespace of our own for movers that read snapshots, so that no tenant sees the repository's password.
            It is made where it does not exist, and removed again if it was made here and is empty.
        type: str
        default: muster-container-dr
      registry:
        description:
          - Login of the registry that holds O(mover.image), where it wants one.
        type: dict
        suboptions:
          name:
            description: Host, port and path prefix.
            type: str
            required: true
          username:
            description: User who logs in.
            type: str
          password:
            description: Password or token of the user.
            type: str
          auth_file:
            description: File with logins as C(docker login) and C(podman login) write it, used where no user is set.
            type: path
          ca_cert:
            description: Not used for movers; the nodes must trust the registry.
            type: path
          validate_certs:
            description: Not used for movers.
            type: bool
            default: true
          plain_http:
            description: Not used for movers.
            type: bool
            default: false
          client_cert:
            description: Not used for movers.
            type: path
          client_key:
            description: Not used for movers.
            type: path
          connections:
            description: Not used for movers.
            type: int
          requests_per_second:
            description: Not used for movers.
            type: float
          bytes_per_second:
            description: Not used for movers.
            type: int
      timeout:
        description:
          - How long one volume may take, as seconds or as V(4h).
        type: str
        default: 4h
      start_timeout:
        description:
          - How long a mover's pod may take to start, as seconds or as V(5m).
        type: str
        default: 5m
      stall_timeout:
        description:
          - How long a mover may say nothing, as seconds or as V(2m).
        type: str
        default: 2m
      resources:
        description:
          - Resource requests and limits of the mover's container, as in a pod. They count as they are. Refused on a
            Docker host.
          - Without them it asks for 50m of a processor, and for 128 MiB of memory, 1.5 KiB for each file that the
            volume had at its last backup (or has at the recovery point) and 320 bytes for each blob in the repository,
            of which there is about one for each file and MiB. A volume that was never exported counts as one of
            100,000 files. Hundreds of thousands of files in one folder take the most; C(docs/performance.md) in the
            collection has measured figures.
          - There is no limit by default, because a limit ends a mover when it has done the most of its work. Where one
            is set, by you or by the namespace, leave room above these figures.
        type: dict
      node_selector:
        description:
          - Labels of the nodes on which movers may run, as in a pod. Without it any node will do.
          - A claim whose class waits for its first consumer gets its volume where the mover that restores it runs, and
            the workload has to follow. Such a mover prefers nodes on which the pods could run that used the volume when
            it was backed up, and tolerates their taints. Name nodes here where it must be these.
          - Not for a volume that is read in place, whose mover goes to the node that has it, whatever taints that has.
            Refused on a Docker host.
        type: dict
      tolerations:
        description:
          - Taints that movers tolerate, as in a pod, for clusters in which every node, or each that
            O(mover.node_selector) names, has some. Refused on a Docker host.
        type: list
        elements: dict
      selinux:
        description:
          - SELinux label of the movers' pods, as C(seLinuxOptions) in a pod, such as a C(level) of V(s0:c12,c34).
          - Without it one that reads a volume in place has the label of the container that uses it, where that says
            one; every other is labelled by the node like any pod. Refused on a Docker host, where movers run without.
        type: dict
      pull_policy:
        description:
          - When the kubelet pulls O(mover.image), or the Docker host, by default if it is not there.
        type: str
        choices: [Always, IfNotPresent, Never]
      network:
        description:
          - On a Docker host the network from which the repository is reached, V(host) for that of the host itself.
            Without it Docker's own default. Not used in clusters.
        type: str
      runs_in:
        description:
          - V(container) runs restic in a short-lived container of O(mover.image).
          - With V(host), on a Docker host only, restic runs on the host itself, as O(repository.restic) names it, for
            hosts that may pull no image. The task has to run there, as root (C(become)), with the engine's socket. The
            program sees the host's files in a mount namespace of its own, in which a volume that is read is mounted
            read-only. A repository in a directory of the host is used as it is. Snapshots of both kinds are one
            history.
          - Refused where the driver mounts a volume only while a container uses it and none does, and for engines
            whose containers have other user ids than the host (rootless, C(userns-remap)).
        type: str
        choices: [container, host]
        default: container
"""
