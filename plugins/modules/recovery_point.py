#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_point
short_description: Begin and seal recovery points
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - A recovery point is one consistent set of objects, volumes and images of an application, described by one signed
    document that is written last. A point without this document does not exist.
  - O(state=begun) gives a new point its id and finds out early whether it could be sealed at the end.
  - O(state=sealed) refuses a point in which anything is missing, failed or unresolved, unless it is accepted by name.
  - O(state=noted) adds what became known of points later, such as a copy at another site. Documents are never edited.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.store
  - muster.container_dr.store.witness
  - muster.container_dr.signing
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - O(state=begun) returns another id each time. It writes one small document per application, the first time only.
      - O(state=sealed) and O(state=noted) change nothing where the same is there already.
options:
  state:
    description:
      - V(begun) makes an id, reads the parent and the epoch, and checks that the store can be written and that
        O(signing.key) signs and is trusted.
      - V(sealed) writes signature and document.
      - V(noted) adds a fact.
    type: str
    required: true
    choices: [begun, sealed, noted]
  application:
    description:
      - The application, as the inventory describes it.
    type: dict
    required: true
  id:
    description:
      - Id of the point. Required with O(state=sealed).
    type: str
  ids:
    description:
      - Ids of the points that O(state=noted) is about, instead of O(id).
    type: list
    elements: str
  site:
    description:
      - Name of the site that the point is made at. Required with O(state=sealed).
    type: str
  epoch:
    description:
      - The epoch, as it stands on the application's namespace. Required with O(state=sealed).
      - With O(state=begun) it is taken from O(witness) where it is not given, and is 1 without either.
    type: int
  parent:
    description:
      - Id of the point before this one, from O(state=begun).
    type: str
  started:
    description:
      - When the point was begun, from O(state=begun). Required with O(state=sealed).
    type: str
  consistency:
    description:
      - The consistency point, as M(muster.container_dr.volume_export) returns it, with C(point), C(skew_seconds) and
        C(mode). Required with O(state=sealed).
    type: dict
  targets:
    description:
      - RPO and RTO to record, instead of those of O(application).
    type: dict
  objects:
    description:
      - The result of M(muster.container_dr.k8s_snapshot).
    type: dict
  volumes:
    description:
      - The volumes that M(muster.container_dr.volume_export) returned.
    type: list
    elements: dict
  images:
    description:
      - The images that M(muster.container_dr.image_mirror) returned.
    type: list
    elements: dict
  hooks:
    description:
      - The hooks that M(muster.container_dr.volume_export) returned.
    type: list
    elements: dict
  excluded:
    description:
      - What was left out by rule, each with C(what) and C(why).
    type: list
    elements: dict
  tools:
    description:
      - Versions of what made the point.
    type: dict
  accept_incomplete:
    description:
      - Names of problems with which the point is sealed nevertheless, as the refusal lists them, for example
        V(volume:ledger/cache-0). They are recorded in the document.
    type: list
    elements: str
  kind:
    description:
      - Kind of the fact, for example V(copied), V(verified) or V(drilled). Required with O(state=noted).
      - V(copied) with a C(site) in O(data) says since when the point is readable there, which the RPO is computed from.
    type: str
  data:
    description:
      - What the fact says.
    type: dict
  time:
    description:
      - When it became so, in RFC 3339. The default is now.
    type: str
  witness:
    description:
      - The store at the third place that holds epoch and lock. With O(state=begun) a point that would be
        an orphan gives a warning.
    type: dict
    required: false
seealso:
  - module: muster.container_dr.recovery_point_info
"""

EXAMPLES = r"""
- name: Begin a recovery point
  muster.container_dr.recovery_point:
    state: begun
    application: "{{ ledger }}"
    site: east
    store: "{{ muster_store }}"
    signing:
      key: /etc/muster/signing-key
      allowed_signers: /etc/muster/allowed-signers
  register: begun

- name: Seal it when everything is in place
  muster.container_dr.recovery_point:
    state: sealed
    application: "{{ ledger }}"
    id: "{{ begun.id }}"
    site: east
    epoch: "{{ begun.epoch }}"
    parent: "{{ begun.parent }}"
    started: "{{ begun.started }}"
    consistency: "{{ exported.consistency }}"
    objects: "{{ captured }}"
    volumes: "{{ exported.volumes }}"
    images: "{{ mirrored.images }}"
    hooks: "{{ exported.hooks }}"
    excluded: "{{ exported.excluded + captured.excluded }}"
    store: "{{ muster_store }}"
    signing:
      key: /etc/muster/signing-key

- name: Note that two points are readable at west
  muster.container_dr.recovery_point:
    state: noted
    application: "{{ ledger }}"
    ids: "{{ mirrored.points_copied }}"
    kind: copied
    data:
      site: west
    store: "{{ muster_store }}"
"""

RETURN = r"""
id:
  description: Id of the point.
  returned: O(state=begun) and O(state=sealed)
  type: str
  sample: 20260131T040506Z-ledger-1a2b3c4d
application:
  description: Name of the application.
  returned: O(state=begun) and O(state=sealed)
  type: str
  sample: ledger
site:
  description: The site, as given.
  returned: O(state=begun)
  type: str
  sample: east
epoch:
  description: The epoch to make the point in.
  returned: O(state=begun)
  type: int
  sample: 1
parent:
  description: Id of the newest sealed point, or null.
  returned: O(state=begun)
  type: str
  sample: 20260131T030506Z-ledger-99aabbcc
started:
  description: When the point was begun.
  returned: O(state=begun)
  type: str
  sample: '2026-01-31T04:05:06.000Z'
timeline:
  description: V(current), or V(orphan) where the point would never be restored by itself.
  returned: O(state=begun)
  type: str
  sample: current
document:
  description: The sealed document.
  returned: O(state=sealed)
  type: dict
key:
  description: Name of the document in the store.
  returned: O(state=sealed)
  type: str
  sample: applications/ledger/points/20260131T040506Z-ledger-1a2b3c4d.json
digest:
  description: Digest of the document's bytes.
  returned: O(state=sealed)
  type: str
  sample: sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865
bytes:
  description: Size of the document.
  returned: O(state=sealed)
  type: int
  sample: 4711
accepted:
  description: Problems that were accepted, each with C(what) and C(why).
  returned: O(state=sealed)
  type: list
  elements: dict
problems:
  description: What keeps the point from being sealed, each with C(what) and C(why).
  returned: when sealing was refused for it
  type: list
  elements: dict
facts:
  description: One entry per point in the order given, with C(name), C(changed) and C(key).
  returned: O(state=noted)
  type: list
  elements: dict
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
    application,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._store.sealing import recovery_point_verb

OPTIONS = (
    Options(
        arguments={
            "state": {"type": "str", "required": True, "choices": ["begun", "sealed", "noted"]},
            "id": {"type": "str"},
            "ids": {"type": "list", "elements": "str"},
            "site": {"type": "str"},
            "epoch": {"type": "int"},
            "parent": {"type": "str"},
            "started": {"type": "str"},
            "consistency": {"type": "dict"},
            "targets": {"type": "dict"},
            "objects": {"type": "dict"},
            "volumes": {"type": "list", "elements": "dict"},
            "images": {"type": "list", "elements": "dict"},
            "hooks": {"type": "list", "elements": "dict"},
            "excluded": {"type": "list", "elements": "dict"},
            "tools": {"type": "dict"},
            "accept_incomplete": {"type": "list", "elements": "str"},
            "kind": {"type": "str"},
            "data": {"type": "dict"},
            "time": {"type": "str"},
        },
        required_if=[
            ["state", "sealed", ["id", "site", "epoch", "started", "consistency"]],
            ["state", "noted", ["kind"]],
            ["state", "noted", ["id", "ids"], True],
        ],
        mutually_exclusive=[["id", "ids"]],
    )
    + application()
    + store()
    + store(name="witness", required=False)
    + signing()
)


def main() -> None:
    run(OPTIONS, recovery_point_verb)


if __name__ == "__main__":
    main()
