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
  timeout:
    description:
      - How long to wait until the application is healthy, as seconds or as V(10m).
    type: str
    default: 10m
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
      description: What else was seen.
      type: dict
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
