#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_suspend
short_description: Put to sleep what fights a restore, and wake it as it was
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - GitOps controllers undo what a restore brings, autoscalers scale it, disruption budgets hold evictions up, operators
    act on half of it. This module suspends those that act on the namespaces of a restore, and resumes them after it.
  - How each was before is recorded in the store before anything is changed. A run that was killed leaves that record;
    the next one finds it, and wakes what it names together with its own.
  - What somebody else has changed meanwhile stays as they wished, and is named. What sleeps already is nobody's to wake
    and is left alone.
  - It is no fencing - whoever may write these objects can wake them at any time.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.store
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(suspended) looks for what acts on O(namespaces) and puts it to sleep.
      - V(resumed) wakes what the record in O(store) names.
    type: str
    choices: [suspended, resumed]
    default: suspended
  application:
    description:
      - The application. Only its C(name) is looked at; the record belongs to it.
    type: dict
    required: true
  namespaces:
    description:
      - The namespaces to restore into. They need not exist. Required with O(state=suspended).
    type: list
    elements: str
  kinds:
    description:
      - Which kinds to look for. Without it, all that are known.
      - C(applications.argoproj.io), C(kustomizations.kustomize.toolkit.fluxcd.io) and
        C(helmreleases.helm.toolkit.fluxcd.io) are looked for in the whole cluster and chosen by where they deploy to.
        With an Application comes what makes it, its C(applicationsets.argoproj.io) or the Application it belongs to.
      - C(horizontalpodautoscalers.autoscaling), C(poddisruptionbudgets.policy), C(clusters.cluster.x-k8s.io),
        C(clusters.postgresql.cnpg.io), C(elasticsearches.elasticsearch.k8s.elastic.co), C(kafkas.kafka.strimzi.io) and
        C(scaledobjects.keda.sh) are looked for in O(namespaces).
    type: list
    elements: str
  operators:
    description:
      - Further kinds in O(namespaces) that their operators leave alone on a sign. Keys are kinds such as
        C(databases.example.com), values are dictionaries of JSON pointers to what they get.
      - C(null) takes a field away. An annotation is written as C(/metadata/annotations/example.com~1paused).
    type: dict
  run:
    description:
      - Id of the run, for the record.
    type: str
notes:
  - An identity that may not list one of the kinds is warned and goes on.
seealso:
  - module: muster.container_dr.k8s_restore
"""

EXAMPLES = r"""
- name: Put to sleep what would undo the restore
  muster.container_dr.k8s_suspend:
    kubeconfig: /etc/muster/west.kubeconfig
    application:
      name: ledger
    namespaces: [ledger]
    operators:
      databases.example.com:
        /metadata/annotations/example.com~1paused: "true"
    store:
      url: s3://muster-west/store

- name: Wake it, also what a killed run has left asleep
  muster.container_dr.k8s_suspend:
    state: resumed
    kubeconfig: /etc/muster/west.kubeconfig
    application:
      name: ledger
    store:
      url: s3://muster-west/store
"""

RETURN = r"""
objects:
  description: What was suspended or resumed, GitOps first.
  returned: always, also on failure
  type: list
  elements: dict
  contains:
    name:
      description: Namespace, kind and name.
      type: str
      sample: argocd/applications.argoproj.io/ledger
    action:
      description: C(suspend) or C(resume).
      type: str
      sample: suspend
    reason:
      description: Why it was chosen.
      type: str
      sample: it deploys into ledger
    state:
      description: C(planned), C(suspended), C(resumed), or C(gone) where it is not there any more.
      type: str
      sample: suspended
    changed:
      description: Whether it was changed, in check mode whether it would be.
      type: bool
    failed:
      description: Whether it could not be changed.
      type: bool
    skipped:
      description: Whether it stays as it is because somebody else has changed it or taken it away.
      type: bool
    msg:
      description: The fields, or why it stays or failed.
      type: str
      sample: /spec/syncPolicy/automated
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    Options,
    application,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.suspend import suspend
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

OPTIONS = (
    CLUSTER
    + application()
    + store()
    + Options(
        arguments={
            "state": {"type": "str", "choices": ["suspended", "resumed"], "default": "suspended"},
            "namespaces": {"type": "list", "elements": "str"},
            "kinds": {"type": "list", "elements": "str"},
            "operators": {"type": "dict"},
            "run": {"type": "str"},
        },
        required_if=[("state", "suspended", ("namespaces",))],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, suspend, [REQUIREMENT])


if __name__ == "__main__":
    main()
