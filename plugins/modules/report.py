#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write the report of a drill or failover, and its signed evidence
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Makes one report document from the results of a run, and from it a page for people, JUnit XML for CI servers and a
    chain of events.
  - The page needs no network and no script, and can be forwarded as it is.
  - The evidence in the store is written once, below C(evidence/) and the run's id, with C(SHA256SUMS) and a signature
    over it last.
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
    support: none
    details:
      - A report says when it was written. A run has one report.
options:
  kind:
    description: What the run was.
    type: str
    choices: [drill, failover, failback]
    required: true
  run:
    description: Id of the run, one plain name.
    type: str
    required: true
  application:
    description: The application as the inventory describes it.
    type: dict
    required: true
  site:
    description: Name of the site where it was restored.
    type: str
    required: true
  started:
    description: When the run began, RFC 3339.
    type: str
    required: true
  incident:
    description: The time at which the source was lost, RFC 3339. Without it, O(started).
    type: str
  point:
    description: The document of the recovery point, where one was found.
    type: dict
  lock:
    description: >-
      C(lock) of the recovery point as M(muster.container_dr.recovery_point_info) returned it. The copy counts as
      immutable for as long as that lasts.
    type: dict
  validated:
    description: The result of M(muster.container_dr.restore_validate), where it came that far.
    type: dict
  phases:
    description:
      - The run's timeline in order. C(name) is for people, C(result) is what the phase's module returned; each of this
        collection's modules says when it C(started) and how many C(seconds) it took.
    type: list
    elements: dict
    default: []
  error:
    description: What broke the run off. The verdict is then V(fail).
    type: str
  store:
    description: Where the signed evidence goes.
    type: dict
    required: false
  directory:
    description: Folder on the machine where the module runs; the report goes into a folder of the run's name there.
    type: path
"""

EXAMPLES = r"""
- name: Write what the drill showed
  muster.container_dr.report:
    kind: drill
    run: drill-20260131t040000z-k3v9
    application: {name: shop, namespaces: [shop], targets: {rpo: 15m, rto: 30m}}
    site: west
    started: "2026-01-31T04:00:00Z"
    point: "{{ chosen.point.document }}"
    lock: "{{ chosen.point.lock | default(omit, true) }}"
    validated: "{{ validated }}"
    phases:
      - {name: restore volumes, result: "{{ imported }}"}
      - {name: wait and check, result: "{{ validated }}"}
    directory: reports
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail) or V(unknown).
  type: str
  returned: always
  sample: pass
path:
  description: The page for people, where O(directory) was given.
  type: str
  returned: always
  sample: reports/drill-20260131t040000z-k3v9/report.html
evidence:
  description: Prefix of the evidence in the store, where O(store) was given.
  type: str
  returned: always
  sample: evidence/drill-20260131t040000z-k3v9
files:
  description: Names of the files written.
  type: list
  elements: str
  returned: always
  sample: [SHA256SUMS, SHA256SUMS.sig, events.jsonl, junit.xml, report.html, report.json]
report:
  description: The report document, format C(muster/report/v1).
  type: dict
  returned: always
  sample: {format: muster/report/v1, verdict: pass}
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
    application,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.bundle import report
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._store.s3 import REQUIREMENT

OPTIONS = (
    signing()
    + store(required=False)
    + application()
    + Options(
        arguments={
            "kind": {"type": "str", "choices": ["drill", "failover", "failback"], "required": True},
            "run": {"type": "str", "required": True},
            "site": {"type": "str", "required": True},
            "started": {"type": "str", "required": True},
            "incident": {"type": "str"},
            "point": {"type": "dict"},
            "lock": {"type": "dict"},
            "validated": {"type": "dict"},
            "phases": {"type": "list", "elements": "dict", "default": []},
            "error": {"type": "str"},
            "directory": {"type": "path"},
        }
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, report, [REQUIREMENT])


if __name__ == "__main__":
    main()
