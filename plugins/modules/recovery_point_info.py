#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_point_info
short_description: List recovery points and pick one
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - Lists the sealed recovery points of an application, verifies each signature, says which are usable at this site and
    why the others are not, picks one, and computes the RPO.
  - A point of an old epoch that was made after the switch belongs to an orphan timeline and is never picked by itself.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.attributes.info
  - muster.container_dr.store
  - muster.container_dr.store.witness
  - muster.container_dr.store.missing_at
  - muster.container_dr.repository
  - muster.container_dr.signing
options:
  application:
    description:
      - The application. Only its C(name), and C(targets) where they are given, are looked at.
    type: dict
    required: true
  pick:
    description:
      - V(latest) picks the newest usable point, within O(id) and O(before). V(none) only lists.
    type: str
    choices: [latest, none]
    default: latest
  id:
    description:
      - Pick this point and no other.
    type: str
  before:
    description:
      - Pick the newest usable point whose consistency point is not after this time, in RFC 3339.
    type: str
  required:
    description:
      - Fail, with the reasons, where no point can be picked.
    type: bool
    default: false
  allow_orphan:
    description:
      - Let O(id) name a point of an orphan timeline.
    type: bool
    default: false
  verify_signatures:
    description:
      - Verify signatures, for which O(signing.allowed_signers) is required. Without it a point counts as usable though
        nobody vouches for it.
    type: bool
    default: true
  limit:
    description:
      - Look at this many of the newest points, V(0) at none. The default is all.
    type: int
  missing_at:
    description:
      - Another store. Beside the newest O(limit) points look at all that this store does not hold and that have not
        expired.
    type: dict
    required: false
  compare_to:
    description:
      - Id of another point. RV(image_changes) then says which containers of the picked point use other images.
    type: str
  site:
    description:
      - Name of the site to compute the RPO for. A point made elsewhere counts from the time of its first V(copied) fact
        that names this site.
      - Without it points count from when they were sealed.
    type: str
  at:
    description:
      - The moment of the disaster for which the RPO is computed, in RFC 3339. The default is now.
    type: str
  witness_unreachable:
    description:
      - What becomes of points where O(witness) does not answer, so that their timeline is unknown.
      - V(unusable) picks none of them, V(ignore) warns and picks them nevertheless. The latter is for drills, which
        change nothing that matters.
    type: str
    choices: [unusable, ignore]
    default: unusable
  witness:
    description:
      - The store at the third place that holds the lineage of the application. Without it every timeline counts
        as current.
    type: dict
    required: false
  repository:
    description:
      - The repository at this site. A point whose snapshots are not in it is not usable here.
      - With O(verify=names) the raw objects of one in S3 or in a directory are listed, which needs no password.
    type: dict
    required: false
  verify:
    description:
      - How well the data of a point is looked at before it is picked. One that is damaged is not usable, says why, and
        the next one is tried.
      - V(names) finds snapshots, keys and the config that are gone, and snapshots and keys that were altered.
      - V(structure) lets C(restic check) follow what the point needs down to its last directory, and finds whatever
        else is gone or has another size.
      - V(data) has it read all data that the point needs too, and finds every altered bit. This takes about as long as
        a restore.
      - A repository that was filled by C(repository_mirror) with C(mode=recrypt), or by C(restic copy), needs the
        password and restic with V(names) too - only inside of it is noted which copy is which.
      - The latter two need the password and restic; before restic 0.19 they look at the whole repository. They take no
        lock, so do not use them while the repository is maintained.
    type: str
    choices: [names, structure, data]
    default: names
seealso:
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Pick the newest point that can be restored at west
  muster.container_dr.recovery_point_info:
    application:
      name: ledger
    site: west
    store: "{{ muster_store }}"
    witness: "{{ muster_witness }}"
    repository:
      url: s3:https://s3.west.example.com/backup/ledger
      password_file: repository.password
    verify: structure
    signing:
      allowed_signers: /etc/muster/allowed-signers
    required: true
  register: found

- name: Look for what ran on Monday, and what has changed since
  muster.container_dr.recovery_point_info:
    application:
      name: ledger
    store: "{{ muster_store }}"
    signing:
      allowed_signers: /etc/muster/allowed-signers
    before: '2026-11-16T23:59:59Z'
    compare_to: "{{ found.point.id }}"
    required: true
  register: monday

- name: Go back to these workloads and images, with the data as it is
  muster.container_dr.k8s_restore:
    repository: "{{ muster_site.repository }}"
    snapshot: "{{ monday.point.document.objects.snapshot.id }}"
    point: "{{ monday.point.id }}"
    images: "{{ monday.point.document.images }}"
    registry: "{{ muster_site.registry }}"
    include_kinds: [deployments.apps, statefulsets.apps, daemonsets.apps, cronjobs.batch]
    existing: update

- name: Show what it would lose
  ansible.builtin.debug:
    msg: "{{ found.point.id }} loses {{ found.rpo.seconds }} s"
"""

RETURN = r"""
points:
  description: The points looked at, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id of the point.
      type: str
      sample: 20260131T040506Z-ledger-1a2b3c4d
    application:
      description: Name of the application.
      type: str
      sample: ledger
    site:
      description: The site it was made at.
      type: str
      sample: east
    epoch:
      description: The epoch it was made in.
      type: int
      sample: 1
    sealed:
      description: When it was sealed.
      type: str
      sample: '2026-01-31T04:07:09.120Z'
    consistency:
      description: Its consistency point.
      type: dict
      sample: {point: '2026-01-31T04:05:08.000Z', skew_seconds: 0.2, mode: per_volume}
    timeline:
      description: V(current), V(orphan) or V(unknown).
      type: str
      sample: current
    usable:
      description: Whether it can be restored at this site.
      type: bool
      sample: true
    reasons:
      description: Why not.
      type: list
      elements: str
      sample: []
    signature:
      description: Whether it is C(valid) (null where it was not checked), the C(identity), and C(msg).
      type: dict
      sample: {valid: true, identity: muster, msg: ''}
    lock:
      description:
        - Until when the copy at this store cannot be deleted, by what M(muster.container_dr.repository_mirror) has
          recorded of its object lock - C(mode) and C(until). Null where there is no record.
      type: dict
      sample: {mode: compliance, until: '2026-03-02T04:05:06.000Z'}
    facts:
      description: What became known of it, each with C(kind), C(time) and C(data).
      type: list
      elements: dict
    document:
      description: The sealed document, or null where it cannot be read.
      type: dict
points_total:
  description: How many points there are.
  returned: success
  type: int
  sample: 42
point:
  description: The picked entry of RV(points), or null.
  returned: success
  type: dict
image_versions:
  description:
    - What each container used from when to when, as far as the listed points tell. Points of orphan timelines and those
      that nobody vouches for are left out.
  returned: success
  type: list
  elements: dict
  contains:
    used_by:
      description: Namespace, workload and container.
      type: str
      sample: ledger/deployments/api:api
    runs:
      description:
        - The newest first. Each has C(images) (C(name) and C(digest); several where a rollout was under way), the
          C(first) and the C(last) point with them, and their times C(since) and C(until).
      type: list
      elements: dict
image_changes:
  description:
    - Containers that use other images in the picked point than in O(compare_to), with C(used_by), C(before) and
      C(after). Null where nothing was compared.
  returned: success
  type: list
  elements: dict
  sample:
    - used_by: ledger/deployments/api:api
      before: [{name: 'registry.example.com/ledger/api:1.4', digest: 'sha256:7cc4b5ae…'}]
      after: [{name: 'registry.example.com/ledger/api:1.5', digest: 'sha256:1f0a91d2…'}]
rpo:
  description:
    - What is lost in a disaster C(at) that moment - C(seconds) of writes (null where everything is), from which
      C(point) on, the C(worst_seconds) since the first usable point, C(target_seconds), and whether it is C(met).
  returned: success
  type: dict
  sample: {at: '2026-01-31T05:00:00.000Z', seconds: 302.5, point: 20260131T040506Z-ledger-1a2b3c4d,
    worst_seconds: 911.2, target_seconds: 900, met: true}
"""

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.reading import recovery_point_info_verb
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
    application,
    repository,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run

OPTIONS = (
    Options(
        arguments={
            "pick": {"type": "str", "choices": ["latest", "none"], "default": "latest"},
            "id": {"type": "str"},
            "before": {"type": "str"},
            "required": {"type": "bool", "default": False},
            "allow_orphan": {"type": "bool", "default": False},
            "verify_signatures": {"type": "bool", "default": True},
            "limit": {"type": "int"},
            "compare_to": {"type": "str"},
            "site": {"type": "str"},
            "at": {"type": "str"},
            "witness_unreachable": {"type": "str", "choices": ["unusable", "ignore"], "default": "unusable"},
            "verify": {"type": "str", "choices": ["names", "structure", "data"], "default": "names"},
        },
        mutually_exclusive=[["id", "before"]],
    )
    + application()
    + store()
    + store(name="witness", required=False)
    + store(name="missing_at", required=False)
    + repository(required=False)
    + signing()
)


def main() -> None:
    run(OPTIONS, recovery_point_info_verb)


if __name__ == "__main__":
    main()
