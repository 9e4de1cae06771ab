#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: transition
short_description: Lock, epoch and step records of a failover or failback
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - Keeps at the witness who is moving an application from one site to another. A second start is refused and names the
    holder. Each start takes a new epoch, which is never given out again.
  - All is decided by conditional writes to one small document. At first use the module lets writers compete and refuses
    a store in which more than one wins.
  - It moves nothing itself and fences nothing. A failover is begun only if somebody attests that the source is down.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.store
  - muster.container_dr.signing
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With the same O(id) every state can be repeated, and completes what a killed run left undone.
      - O(state=begun) without O(id) begins another transition.
options:
  signing:
    description:
      - Key that signs the records of the transition, as C(ssh-keygen -Y) does.
      - Where O(signing.allowed_signers) is given, the key is checked against it first.
    type: dict
    required: true
  state:
    description:
      - V(begun) takes the lock and a new epoch.
      - V(step) records the O(phase) of a O(step), and fails where the lock is not held any more.
      - V(finished) makes the target the active site, bounds the older epochs at O(point), and gives the lock back.
      - V(aborted) gives the lock back and leaves the source active.
    type: str
    required: true
    choices: [begun, step, finished, aborted]
  application:
    description:
      - The application. Only its C(name) is looked at.
    type: dict
    required: true
  id:
    description:
      - Id of the transition. With O(state=begun) it is made up where it is not given. With the id of the transition
        that is under way, and the same O(holder), that one is resumed.
    type: str
  kind:
    description:
      - What it is. Required with O(state=begun).
    type: str
    choices: [failover, failback]
  source:
    description:
      - The site where the application is active. Required with O(state=begun).
    type: str
  target:
    description:
      - The site where it will be. Required with O(state=begun).
    type: str
  holder:
    description:
      - Who holds the lock, for people. Required with O(state=begun).
    type: str
  epoch:
    description:
      - The epoch in which the application runs, for the first transition of all. Later the witness knows it.
    type: int
  attestation:
    description:
      - Who says that the source is down or stopped, and why. Recorded and signed.
      - Required to begin a failover, and to abort a transition of another O(holder).
    type: dict
    suboptions:
      by:
        description:
          - Name of the person.
        type: str
        required: true
      reason:
        description:
          - What that person knows.
        type: str
        required: true
  step:
    description:
      - Name of the step, for example V(restore). Required with O(state=step).
    type: str
  phase:
    description:
      - V(intent) before it, V(done) after it. Required with O(state=step).
    type: str
    choices: [intent, done]
  data:
    description:
      - What to record with the step.
    type: dict
  point:
    description:
      - Id of the recovery point that was restored. Required with O(state=finished).
    type: str
notes:
  - O(store) is the witness here.
seealso:
  - module: muster.container_dr.transition_info
"""

EXAMPLES = r"""
- name: Begin a failover
  muster.container_dr.transition:
    state: begun
    kind: failover
    application:
      name: ledger
    source: east
    target: west
    holder: kim@control
    attestation:
      by: Kim
      reason: Power is off in east's building, seen by camera.
    store: "{{ muster_witness }}"
    signing:
      key: /etc/muster/signing-key
  register: failover

- name: Say that the restore begins
  muster.container_dr.transition:
    state: step
    application:
      name: ledger
    id: "{{ failover.id }}"
    step: restore
    phase: intent
    store: "{{ muster_witness }}"
    signing:
      key: /etc/muster/signing-key

- name: Finish it
  muster.container_dr.transition:
    state: finished
    application:
      name: ledger
    id: "{{ failover.id }}"
    point: 20260131T040506Z-ledger-1a2b3c4d
    store: "{{ muster_witness }}"
    signing:
      key: /etc/muster/signing-key
"""

RETURN = r"""
id:
  description: Id of the transition.
  returned: success
  type: str
  sample: 20260131T050000Z-failover-1a2b3c4d
epoch:
  description: The newest epoch, which the target runs in when it is finished.
  returned: success
  type: int
  sample: 2
active_site:
  description: The site where the application is active.
  returned: success
  type: str
  sample: east
resumed:
  description: Whether O(state=begun) found it under way.
  returned: success
  type: bool
  sample: false
steps_done:
  description: Names of the steps that are done, in order.
  returned: success
  type: list
  elements: str
  sample: [begin, restore]
step:
  description: The step's C(name), whether it is C(done), and the C(data) recorded when it was.
  returned: O(state=step)
  type: dict
  sample: {name: restore, done: false, data: null}
application_state:
  description: The state of the application at the witness.
  returned: success
  type: dict
"""

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.transition import transition_verb
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
    application,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

OPTIONS = (
    Options(
        arguments={
            "state": {"type": "str", "required": True, "choices": ["begun", "step", "finished", "aborted"]},
            "id": {"type": "str"},
            "kind": {"type": "str", "choices": ["failover", "failback"]},
            "source": {"type": "str"},
            "target": {"type": "str"},
            "holder": {"type": "str"},
            "epoch": {"type": "int"},
            "attestation": {
                "type": "dict",
                "options": {"by": {"type": "str", "required": True}, "reason": {"type": "str", "required": True}},
            },
            "step": {"type": "str"},
            "phase": {"type": "str", "choices": ["intent", "done"]},
            "data": {"type": "dict"},
            "point": {"type": "str"},
        },
        required_if=[
            ["state", "begun", ["kind", "source", "target", "holder"]],
            ["state", "step", ["id", "step", "phase"]],
            ["state", "finished", ["id", "point"]],
            ["state", "aborted", ["id", "holder"]],
        ],
    )
    + application()
    + store()
    + signing(required=True)
)


def main() -> None:
    run(OPTIONS, transition_verb)


if __name__ == "__main__":
    main()
