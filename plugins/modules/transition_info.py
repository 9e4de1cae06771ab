#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: transition_info
short_description: Read epoch, lock and transitions of an application
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - Reads from the witness where an application is active, in which epoch, who holds its lock, and the steps of its
    transitions.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.attributes.info
  - muster.container_dr.store
options:
  application:
    description:
      - The application. Only its C(name) is looked at.
    type: dict
    required: true
  id:
    description:
      - Return this transition only.
    type: str
notes:
  - O(store) is the witness here.
seealso:
  - module: muster.container_dr.transition
"""

EXAMPLES = r"""
- name: See who is moving the ledger
  muster.container_dr.transition_info:
    application:
      name: ledger
    store: "{{ muster_witness }}"
  register: moving

- name: Show it
  ansible.builtin.debug:
    var: moving.application_state.lock
"""

RETURN = r"""
application_state:
  description: The state at the witness, or null where the application never had a transition.
  returned: success
  type: dict
  contains:
    application:
      description: Name of the application.
      type: str
      sample: ledger
    epoch:
      description: The newest epoch given out.
      type: int
      sample: 2
    active_site:
      description: Where it is active.
      type: str
      sample: west
    active_epoch:
      description: The epoch it runs in.
      type: int
      sample: 2
    lock:
      description: C(holder), C(run) and C(since), or null.
      type: dict
    lineage:
      description: Older epochs, each with C(epoch), C(site), and the last point that counts in C(until).
      type: list
      elements: dict
    last:
      description: C(run) and C(outcome) of the transition that ended last, or null.
      type: dict
transitions:
  description: Transitions, oldest first, each with C(id) and its C(steps) with C(intent) and C(done).
  returned: success
  type: list
  elements: dict
"""

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.transition import transition_info_verb
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import Options, application, store
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

OPTIONS = Options(arguments={"id": {"type": "str"}}) + application() + store()


def main() -> None:
    run(OPTIONS, transition_info_verb)


if __name__ == "__main__":
    main()
