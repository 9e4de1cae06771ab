#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_validate
short_description: Check a restored application and say whether to trust it
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Waits until a restored application is healthy, then runs the built-in checks and the application's own, and gives
    one verdict with the data loss (RPO) that the recovery point implies.
  - A required check that could not be run leaves the verdict V(unknown), which is never as good as V(pass).
  - Codes are stable. A01 workloads ready, A02 workloads complete, A03 and up HTTP answers, D01 volumes complete, D02
    and up commands inside the application, G01 images by digest, I01 to I04 isolation of a drill bubble.
  - Commands run inside the restored pods; nothing is installed in the cluster. The isolation probe is a pod that lives
    for some seconds.
  - 'Healthy (A01) is what kstatus and C(kubectl rollout status) call so. Deployments, StatefulSets, DaemonSets,
    ReplicaSets and pods of their own run with all replicas and in their last revision, Jobs have completed, claims are
    bound, Services have a ready endpoint and one of type C(LoadBalancer) its address, disruption budgets were seen by
    their controller, and custom resources say so by their conditions (C(Ready) or C(Available), not C(Reconciling),
    C(Stalled) or C(Failed)); those that say nothing count as healthy. An object whose controller has not seen its last
    change is not healthy.'
  - Not waited for are claims of a class that binds at first use while no pod mounts them, Services that select nothing
    which is meant to run, suspended Jobs and those of CronJobs, and Ingresses and Gateways whose class is not there.
    The check's C(details) name those of them that are not as they might be.
  - Pods, workloads, Jobs, claims and EndpointSlices are watched, other kinds are listed every five seconds, as is what
    the identity may list but not watch. Secrets and ConfigMaps are never read. Faults and restarts of the API server do
    not end the waiting. The cluster role in C(docs/rbac/validate.yml) is enough for all that this module does.
  - The waiting ends early when something has failed for good, which is a Job that has failed, a Deployment whose
    C(progressDeadlineSeconds) are over, or a pod of its own that has failed and is never restarted.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - The checks change nothing, so they run in check mode too.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
options:
  application:
    description:
      - The application as the inventory describes it.
      - Its C(checks) are a list of dictionaries. C(kind=exec) runs C(command) in C(container) of the first running pod
        that matches C(selector); exit code 0 passes, and where the command prints one JSON object, C(ok) must not be
        V(false) and C(data_until) says up to which time the data is whole. C(kind=http) asks C(service) on C(port) for
        C(path) through the API server and compares C(status) and C(contains).
      - Each check has a C(name), and optionally C(namespace), C(timeout) and C(required=false).
    type: dict
    required: true
  point:
    description:
      - The document of the recovery point that was restored, as M(muster.container_dr.recovery_point_info) returns it.
    type: dict
    required: true
  namespaces:
    description:
      - Maps the application's namespaces to those it was restored into. Without it they are the same.
    type: dict
  volumes:
    description:
      - The list that M(muster.container_dr.volume_import) returned.
    type: list
    elements: dict
    default: []
  isolation:
    description:
      - Prove that nothing in the restored namespaces reaches outside. For drill bubbles.
    type: dict
    suboptions:
      image:
        description:
          - Image of the probe pod. Needs a shell with C(bash), or with a C(nc) that knows C(-z).
        type: str
        required: true
      run:
        description:
          - Id of the run; marks the probe pods.
        type: str
        required: true
      targets:
        description:
          - Addresses as C(host:port) that pods of this cluster can normally reach and that the bubble must not reach.
            The API server is always tried as well.
        type: list
        elements: str
        default: []
      registry:
        description:
          - Login of the registry that holds O(isolation.image), where it wants one.
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
            description: Not used for the probe; the node must trust the registry.
            type: path
          validate_certs:
            description: Not used for the probe.
            type: bool
            default: true
          plain_http:
            description: Not used for the probe.
            type: bool
            default: false
          client_cert:
            description: Not used for the probe.
            type: path
          client_key:
            description: Not used for the probe.
            type: path
          connections:
            description: Not used for the probe.
            type: int
          requests_per_second:
            description: Not used for the probe.
            type: float
          bytes_per_second:
            description: Not used for the probe.
            type: int
  timeout:
    description:
      - How long to wait until the application is healthy, as seconds or as V(10m).
    type: str
    default: 10m
  ignore:
    description:
      - What need not be healthy, as globs of C(KIND/NAME) such as V(jobs.batch/import-*), or of C(KIND) alone such as
        V(ingresses.networking.k8s.io). A kind without a dot means that of every API group. C(health_ignore) of
        O(application) adds to it.
      - What an ignored object owns is ignored too, so V(deployments.apps/batch) means its pods as well.
      - Ignored objects count for A02, and the details of A01 name them.
    type: list
    elements: str
    default: []
  incident:
    description:
      - The time at which the source was lost, RFC 3339. RPO is counted back from it. Without it, now.
    type: str
  fail_on_verdict:
    description:
      - Whether the task fails unless the verdict is V(pass). Turn it off to write a report first.
    type: bool
    default: true
seealso:
  - module: muster.container_dr.report
"""

EXAMPLES = r"""
- name: Check what the drill brought back
  muster.container_dr.restore_validate:
    kubeconfig: west.kubeconfig
    application:
      name: shop
      namespaces: [shop]
      targets: {rpo: 15m}
      checks:
        - name: the database is consistent
          kind: exec
          selector: app=postgres
          command: [pg_amcheck, --all]
        - name: the shop answers
          kind: http
          service: web
          port: 8080
          path: /healthz
    point: "{{ chosen.point.document }}"
    namespaces: {shop: shop-drill}
    volumes: "{{ imported.volumes }}"
    ignore: [jobs.batch/nightly-import]
  register: validated
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail) or V(unknown).
  type: str
  returned: always
  sample: pass
checks:
  description: One entry per check, ordered by code.
  type: list
  elements: dict
  returned: always
  contains:
    code:
      description: Stable code.
      type: str
      sample: A01
    name:
      description: What was checked.
      type: str
      sample: workloads and pods are ready
    result:
      description: V(pass), V(fail), V(warn), V(skip) or V(error).
      type: str
      sample: pass
    required:
      description: Whether the verdict depends on it.
      type: bool
      sample: true
    seconds:
      description: How long it took.
      type: float
      sample: 0.4
    msg:
      description: What was found.
      type: str
      sample: 3 workloads, 4 pods ready after 12 s
    next_step:
      description: What to do where it did not pass.
      type: str
      sample: ""
    details:
      description:
        - What else was seen. Each check has its own keys; those below are A01's.
      type: dict
      contains:
        waiting:
          description: What is not ready, with the reason; at most 200.
          type: dict
          returned: where something is not ready
          sample: {"Deployment shop/web": 1 of 2 ready}
        explained:
          description:
            - Why the first ten of these are not ready. A workload stands for its pods.
            - Texts are short, and what looks like a password, a token or a login in a URL is masked.
          type: list
          elements: dict
          returned: where something is not ready
          contains:
            kind:
              description: Kind of the object.
              type: str
              sample: Deployment
            namespace:
              description: Its namespace; empty where it has none.
              type: str
              sample: shop
            name:
              description: Its name.
              type: str
              sample: web
            state:
              description: V(in_progress), or V(failed) where its controller has given up.
              type: str
              sample: in_progress
            reason:
              description: Why it is not ready.
              type: str
              sample: 1 of 2 ready
            events:
              description: At most three events of the object and of what it owns, warnings first, then the newest.
              type: list
              elements: dict
              contains:
                type:
                  description: V(Warning) or V(Normal).
                  type: str
                  sample: Warning
                reason:
                  description: Machine-readable reason.
                  type: str
                  sample: BackOff
                message:
                  description: What happened.
                  type: str
                  sample: Back-off restarting failed container
                about:
                  description: Kind and name of the object that it is about.
                  type: str
                  sample: Pod web-5d4f8-abcde
                count:
                  description: How often it was seen.
                  type: int
                  sample: 4
                last_seen:
                  description: When it was seen last.
                  type: str
                  sample: "2026-01-31T04:05:06Z"
            containers:
              description: At most five containers that are not as they should be, those that crashed first.
              type: list
              elements: dict
              contains:
                pod:
                  description: Name of the pod.
                  type: str
                  sample: web-5d4f8-abcde
                name:
                  description: Name of the container.
                  type: str
                  sample: web
                state:
                  description: V(waiting), V(running) or V(terminated).
                  type: str
                  sample: waiting
                reason:
                  description: Why, in the kubelet's word.
                  type: str
                  sample: CrashLoopBackOff
                message:
                  description: What the kubelet says.
                  type: str
                  sample: back-off 40s restarting failed container
                exit_code:
                  description: Exit code of the last instance that ended; none where none did.
                  type: int
                  sample: 1
                restarts:
                  description: How often it began anew.
                  type: int
                  sample: 3
            logs:
              description: The last lines of the failing container, at most ten and 2 KiB.
              type: list
              elements: dict
              contains:
                pod:
                  description: Name of the pod.
                  type: str
                  sample: web-5d4f8-abcde
                container:
                  description: Name of the container.
                  type: str
                  sample: web
                previous:
                  description: Whether the instance before the present one wrote them.
                  type: bool
                  sample: true
                text:
                  description: The lines.
                  type: str
                  sample: "FATAL: cannot reach the database"
        ignored:
          description: Objects that O(ignore) left out.
          type: list
          elements: str
          returned: where there are some
          sample: [Job shop/nightly-import]
        not_waited_for:
          description: Objects that are not as they might be and that nobody waits for, with the reason.
          type: dict
          returned: where there are some
          sample: {"PersistentVolumeClaim shop/spare": "class fast binds it when a pod mounts it, and none does"}
        unseen:
          description: Kinds that could not be listed, with the reason. The check then ends with V(warn) at best.
          type: dict
          returned: where there are some
          sample: {}
counts:
  description: Number of checks per result.
  type: dict
  returned: always
  sample: {"pass": 10, "fail": 0, "warn": 0, "skip": 0, "error": 0}
healthy_after:
  description: Seconds until everything was ready, or until waiting ended.
  type: float
  returned: always
  sample: 12.3
data_until:
  description: Up to which time the application's own checks say the data is whole; the earliest where several say it.
  type: str
  returned: always
  sample: "2026-01-31T04:05:06.789Z"
rpo:
  description: The data loss that the point implies.
  type: dict
  returned: always
  contains:
    incident:
      description: The time it is counted back from.
      type: str
      sample: "2026-01-31T04:09:00.000Z"
    seconds:
      description: From the point's consistency point to the incident.
      type: float
      sample: 240.0
    target_seconds:
      description: What the application asks for.
      type: float
      sample: 900.0
    met:
      description: Whether the target was met.
      type: bool
      sample: true
    data_seconds:
      description: From RV(data_until) to the incident.
      type: float
      sample: 233.2
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    REGISTRY_ARGUMENTS,
    Options,
    application,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._validate.validate import validate

OPTIONS = (
    CLUSTER
    + application()
    + PROGRESS
    + Options(
        arguments={
            "point": {"type": "dict", "required": True},
            "namespaces": {"type": "dict"},
            "volumes": {"type": "list", "elements": "dict", "default": []},
            "isolation": {
                "type": "dict",
                "options": {
                    "image": {"type": "str", "required": True},
                    "run": {"type": "str", "required": True},
                    "targets": {"type": "list", "elements": "str", "default": []},
                    "registry": {"type": "dict", "options": REGISTRY_ARGUMENTS},
                },
            },
            "timeout": {"type": "str", "default": "10m"},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "incident": {"type": "str"},
            "fail_on_verdict": {"type": "bool", "default": True},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, validate, [REQUIREMENT])


if __name__ == "__main__":
    main()
