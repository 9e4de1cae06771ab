#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_point
short_description: Begin, seal and expire recovery points
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - A recovery point is one consistent set of objects, volumes and images of an application, described by one signed
    document that is written last. A point without this document does not exist.
  - O(state=begun) gives a new point its id and finds out early whether it could be sealed at the end.
  - O(state=sealed) refuses a point in which anything is missing, failed or unresolved, unless it is accepted by name.
  - O(state=noted) adds what became known of points later, such as a copy at another site. Documents are never edited.
  - O(state=expired) decides by O(retention) which points are not needed any more, and notes it at them. Such a point is
    not picked any more, and M(muster.container_dr.repository) takes away what no other point needs.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.store
  - muster.container_dr.store.witness
  - muster.container_dr.repository
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
      - O(state=sealed) and O(state=noted) change nothing where the same is there already. O(state=expired) looks at
        points only that have not expired yet.
options:
  state:
    description:
      - V(begun) makes an id, reads the parent and the epoch, and checks that the store can be written and that
        O(signing.key) signs and is trusted.
      - V(sealed) writes signature and document.
      - V(noted) adds a fact.
      - V(expired) lets go of points. In check mode it only explains what it would do with each, and why.
    type: str
    required: true
    choices: [begun, sealed, noted, expired]
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
      - V(held) is refused at a point that has expired.
    type: str
  data:
    description:
      - What the fact says.
    type: dict
  repository:
    description:
      - The repository at this site, for O(state=expired). A point whose data is not in it counts for nothing, so that a
        good one stays in its place. Without it only documents are looked at.
    required: false
  retention:
    description:
      - Which points to keep. Required with O(state=expired), with at least one of C(keep_last), C(keep_hourly),
        C(keep_daily), C(keep_weekly), C(keep_monthly), C(keep_yearly) and C(keep_within). A point that any rule keeps
        stays. Periods are those of UTC, and of each the newest point counts. Points are counted and aged from the
        newest one and not from today, so nothing grows old where backups have stopped.
      - Whatever the rules say, there stay the last good point, the last one with a V(drilled) fact whose C(verdict) is
        C(pass), those with a V(held) fact (C(reason) in O(data)) until a V(released) one, those of orphan timelines,
        and those whose signature or document is not valid, or whose data is gone from O(repository), which count for
        nothing else.
      - Nothing at all expires, and the task fails, while a volume holds much less than it did at an earlier point, is
        missing without a rule that excludes it, or a point's times do not fit together. It goes on once the volume
        holds its data again, a fact V(loss_accepted) with its name in C(volumes) is noted at a newer point, or
        C(may_shrink) names it.
    type: dict
    suboptions:
      keep_last:
        description:
          - So many of the newest points.
        type: int
      keep_hourly:
        description:
          - The newest point of each of so many hours that have one.
        type: int
      keep_daily:
        description:
          - The same by days.
        type: int
      keep_weekly:
        description:
          - The same by weeks, which begin on Monday.
        type: int
      keep_monthly:
        description:
          - The same by months.
        type: int
      keep_yearly:
        description:
          - The same by years.
        type: int
      keep_within:
        description:
          - All that are not older than this, measured from the newest, such as V(7d).
        type: str
      keep_tags:
        description:
          - Points with any of these tags. A point gets tags by a V(tagged) fact with a list of C(tags) in O(data), of
            which the newest counts.
        type: list
        elements: str
      minimum:
        description:
          - How many good points stay at least.
        type: int
        default: 2
      loss_percent:
        description:
          - How much of a volume's files or bytes, in percent, may be gone from one point to the next before everything
            is frozen.
        type: float
        default: 50.0
      may_shrink:
        description:
          - Volumes, as C(namespace/claim), whose content comes and goes; globs are allowed.
        type: list
        elements: str
  time:
    description:
      - When it became so, in RFC 3339. The default is now.
      - Of V(held) and V(released), and of V(tagged), the newest fact counts, so one that is not the newest is refused.
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

- name: Hold a point that the auditors want
  muster.container_dr.recovery_point:
    state: noted
    application: "{{ ledger }}"
    id: 20260131T040506Z-ledger-1a2b3c4d
    kind: held
    data:
      reason: audit of 2026
    store: "{{ muster_store }}"

- name: Say what would expire, and why everything else stays
  muster.container_dr.recovery_point:
    state: expired
    application: "{{ ledger }}"
    retention:
      keep_last: 5
      keep_daily: 14
      keep_weekly: 8
      keep_monthly: 12
    store: "{{ muster_store }}"
    witness: "{{ muster_witness }}"
    repository: "{{ muster_site.repository }}"
    signing:
      allowed_signers: /etc/muster/allowed-signers
  check_mode: true
  register: retention
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
decisions:
  description: One entry per point that has not expired yet, the newest first.
  returned: O(state=expired)
  type: list
  elements: dict
  contains:
    name:
      description: Id of the point.
      type: str
      sample: 20260131T040506Z-ledger-1a2b3c4d
    keep:
      description: Whether it stays.
      type: bool
      sample: true
    reasons:
      description: Every reason for it.
      type: list
      elements: str
      sample: [it is the newest of 2026-01, number 3 of 12 monthly]
    changed:
      description: Whether it expires (in check mode, would expire) now.
      type: bool
      sample: false
summary:
  description: The same as lines of text.
  returned: O(state=expired)
  type: list
  elements: str
  sample: ["expire 20251231T040506Z-ledger-99aabbcc: no rule keeps it"]
frozen:
  description: Why nothing expires at all; empty where nothing speaks against it.
  returned: O(state=expired)
  type: list
  elements: str
  sample: []
facts:
  description: One entry per point in the order given, with C(name), C(changed) and C(key).
  returned: O(state=noted)
  type: list
  elements: dict
"""

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.sealing import recovery_point_verb
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
    application,
    repository,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

RETENTION = {
    "keep_last": {"type": "int"},
    "keep_hourly": {"type": "int"},
    "keep_daily": {"type": "int"},
    "keep_weekly": {"type": "int"},
    "keep_monthly": {"type": "int"},
    "keep_yearly": {"type": "int"},
    "keep_within": {"type": "str"},
    "keep_tags": {"type": "list", "elements": "str"},
    "minimum": {"type": "int", "default": 2},
    "loss_percent": {"type": "float", "default": 50.0},
    "may_shrink": {"type": "list", "elements": "str"},
}

OPTIONS = (
    Options(
        arguments={
            "state": {"type": "str", "required": True, "choices": ["begun", "sealed", "noted", "expired"]},
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
            "retention": {"type": "dict", "options": RETENTION},
        },
        required_if=[
            ["state", "expired", ["retention"]],
            ["state", "sealed", ["id", "site", "epoch", "started", "consistency"]],
            ["state", "noted", ["kind"]],
            ["state", "noted", ["id", "ids"], True],
        ],
        mutually_exclusive=[["id", "ids"]],
    )
    + application()
    + store()
    + store(name="witness", required=False)
    + repository(required=False)
    + signing()
)


def main() -> None:
    run(OPTIONS, recovery_point_verb)


if __name__ == "__main__":
    main()
