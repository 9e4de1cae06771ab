#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository
short_description: Make, check or maintain the restic repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - With O(state=present) makes the repository where there is none. Nothing else in this collection does that, so that a
    mistyped address is never taken for a new repository.
  - With O(state=checked) only looks whether it is there, whether the password opens it, whether it is the one that
    O(repository.id) names, who holds locks on it, and which keys it has.
  - With O(state=maintained) takes away what only expired recovery points needed, removes the data that no snapshot uses
    any more, checks what is left, and puts a record of it into O(store). Run it from one place at a time, apart from
    backups; it is the only thing that deletes in a repository.
  - A recovery point has expired when O(store) holds a fact of the kind C(expired) about it, as
    M(muster.container_dr.recovery_point) notes it. A snapshot that another point needs stays, whatever else is said
    about it, and so does one that nobody can explain; those are named in RV(kept_unexplained).
  - C(restic unlock) is never called. Where two holders have the same hostname it removes locks of those that are alive.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.repository
  - muster.container_dr.store.optional
  - muster.container_dr.signing
  - muster.container_dr.cluster.sites
attributes:
  check_mode:
    support: full
    details:
      - With O(state=maintained) says of every snapshot and every lock what would become of it and why. Nothing is
        waited for.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(state=maintained) every run adds its record to O(store). RV(ignore:changed) is about the repository.
options:
  state:
    description:
      - V(present) makes it where there is none, V(checked) only looks.
      - V(maintained) forgets, prunes and checks. It refuses where the document of any recovery point cannot be read, as
        nobody knows what that one needs, and where all points of an application have expired.
      - A run that was killed is run again. What it removed by then is not in any record.
    type: str
    choices: [present, checked, maintained]
    default: present
  check_data:
    description:
      - Verify its structure too, and that part of its data, such as V(10%) or V(100M). Empty verifies the structure
        only, which O(state=maintained) always does.
      - This reads from the repository and can take long. Left out in check mode.
      - O(state=checked) takes no lock for it, so that nobody has to wait. Do not use it while the repository is
        maintained.
    type: str
  check_part_of:
    description:
      - With O(state=maintained) read one of so many parts of the data (at most 256), another one with each record in
        O(store), so that all of it was read after so many runs.
    type: int
  unsealed_after:
    description:
      - With O(state=maintained) forget snapshots that were made for a recovery point that was never sealed when they
        are older than this. Give backups time to end.
      - They stay where O(store) has no unexpired point of their application, as it may be the wrong store.
    type: str
    default: 7d
  prune:
    description:
      - Limits for O(state=maintained), as C(restic prune) has them.
    type: dict
    suboptions:
      max_unused:
        description:
          - How much unused data may stay, such as V(10%), V(5G) or V(unlimited). restic's default is V(5%).
        type: str
      max_repack_size:
        description:
          - Write at most so much data anew in a run, such as V(20G), or with O(prune.max_time) in a round.
        type: str
      max_time:
        description:
          - Prune in rounds, as seconds or as V(4h), until nothing is left to do or this time is over. Each round writes
            O(prune.max_repack_size) anew, V(5G) by default, and is brought to its end, so that the task may take one
            round longer, and the next run goes on from there.
        type: str
      repack_cacheable_only:
        description:
          - Write only metadata anew.
        type: bool
        default: false
  lock_timeout:
    description:
      - How long O(state=maintained) waits for each step until nobody else holds a lock.
      - The lock of a holder that is gone is removed at once. Gone is a mover whose pod has finished; or a process of
        this machine, or a mover, that is found nowhere and has not renewed its lock for six minutes, which a living
        restic does every five. As clocks differ, these are minutes for which the task itself waits, or the lock says
        that it is older than twenty-one.
    type: str
    default: 10m
  remove_locks:
    description:
      - Ids of locks, or their first digits, at least eight, that O(state=maintained) may remove although nobody knows
        whether their holders live. Look after each holder first. A lock whose holder is seen alive stays.
      - A holder that lives renews its lock under another id, which is not the one that you named.
    type: list
    elements: str
  accept_missing:
    description:
      - Ids of recovery points whose snapshots are lost for good. O(state=maintained) refuses while the repository does
        not hold a snapshot that an unexpired point needs, because removing unused data would make that loss final.
    type: list
    elements: str
  store:
    description:
      - The place of the recovery points of all applications that use this repository, and of the records. Required
        with O(state=maintained).
      - With O(state=checked) its points are looked at too, and the task fails for one whose document is damaged or
        lost, for one that nobody in O(signing.allowed_signers) vouches for, where that is given, and for one whose
        snapshots are not here. With O(check_data=100%) every bit of them was looked at.
    type: dict
    required: false
  signing:
    description:
      - With O(signing.key) the record of O(state=maintained) is signed, in the namespace C(muster-maintenance).
      - With O(signing.allowed_signers) and O(store) the signatures of recovery points are verified by O(state=checked).
    type: dict
  sites:
    description:
      - How to reach the clusters whose movers write to the repository; name all of them. A pod that has finished, or
        is in none of them, does not hold a lock any more. While one does not answer its movers count as unknown.
    type: list
    elements: dict
notes:
  - Locks are removed in repositories in S3 and in directories. Those of others are listed, and what was removed is not
    in the record.
  - A store that refuses to delete, as it is append-only or has object locks, makes O(state=maintained) fail before
    anything is lost. What restic wrote by then is valid.
seealso:
  - module: muster.container_dr.recovery_point
  - module: muster.container_dr.repository_key
  - module: muster.container_dr.repository_mirror
"""

EXAMPLES = r"""
- name: Make the repository once
  muster.container_dr.repository:
    state: present
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
  register: made

- name: Make one on a REST server that wants a login
  muster.container_dr.repository:
    state: present
    repository:
      url: rest:https://restic.example.com:8000/east/
      password_file: repository.password
      environment:
        RESTIC_REST_USERNAME: east
        RESTIC_REST_PASSWORD: "{{ rest_password }}"

- name: Make sure that it is this very one, and read a tenth of it
  muster.container_dr.repository:
    state: checked
    check_data: 10%
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
      id: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b

- name: Make sure that every recovery point in the store could be restored from it, bit by bit
  muster.container_dr.repository:
    state: checked
    check_data: 100%
    repository:
      url: s3:https://s3.west.example.com/muster/repository
      password_file: repository.password
    store:
      url: s3://muster/catalogue
      endpoint_url: https://s3.west.example.com
    signing:
      allowed_signers: /etc/muster/allowed-signers

- name: Take away what expired recovery points needed, and read a twentieth of the rest
  muster.container_dr.repository:
    state: maintained
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
    store:
      url: s3://muster/catalogue
      endpoint_url: https://s3.east.example.com
    signing:
      key: /etc/muster/signing-key
    sites:
      - kubeconfig: /etc/muster/east.kubeconfig
      - kubeconfig: /etc/muster/west.kubeconfig
    prune:
      max_repack_size: 50G
    check_part_of: 20
"""

RETURN = r"""
id:
  description: Id of the repository; V(null) where check mode would make it.
  type: str
  returned: success
  sample: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b
locks:
  description:
    - With O(state=checked) and in check mode the locks that are held. With O(state=maintained) those that were removed,
      or, where it failed for them, those that are in the way.
  type: list
  elements: dict
  returned: O(state=checked) or O(state=maintained)
  contains:
    id:
      description: Id of the lock.
      type: str
      sample: 5bb2ee0b0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a
    time:
      description: When it was renewed last; V(null) where it cannot be read.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    exclusive:
      description: Whether it keeps everybody else out, as that of a prune does.
      type: bool
      sample: false
    hostname:
      description: The machine or pod of its holder.
      type: str
      sample: muster-data-0-1a2b3c4d5e-x7k2p
    username:
      description: The user of its holder.
      type: str
      sample: root
    pid:
      description: The process of its holder.
      type: int
      sample: 9
    holder:
      description: V(alive), V(gone) or V(unknown).
      type: str
      sample: gone
    why:
      description: What that was seen by.
      type: str
      sample: pod muster-container-dr/muster-data-0-1a2b3c4d5e-x7k2p at east has finished (Failed)
    removed:
      description: Whether it was removed.
      type: bool
      sample: true
repository_keys:
  description: The keys of the repository, the oldest first.
  type: list
  elements: dict
  returned: O(state=checked)
  contains:
    id:
      description: Id of the key.
      type: str
      sample: 9a39a97efbe469aa6d36f823b28fa84be09cde69657c1182e3dc8c2a8574779c
    host:
      description: The machine that it was made at, or what was noted instead.
      type: str
      sample: control
    user:
      description: The user that made it, or what was noted instead.
      type: str
      sample: root
    created:
      description: When it was made.
      type: str
      sample: "2026-01-31T04:05:06.000Z"
    current:
      description: Whether the password of this task opens this one.
      type: bool
      sample: true
forgotten:
  description: Snapshots that were, or in check mode would be, forgotten.
  type: list
  elements: dict
  returned: O(state=maintained)
  contains: &decision
    snapshot:
      description: Id of the snapshot.
      type: str
      sample: 8ea6b7b4c2f1b94d0b1b5a94f3dbd4a4b1b0d4c5f60718293a4b5c6d7e8f9012
    host:
      description: Its host name.
      type: str
      sample: k8s:east/ledger/data-0
    time:
      description: When it was made.
      type: str
      sample: "2026-01-01T04:05:06.000Z"
    tags:
      description: Its tags.
      type: list
      elements: str
      sample: [muster, application=ledger, point=20260101T040506Z-ledger-1a2b3c4d]
    forget:
      description: Whether it goes.
      type: bool
      sample: true
    reason:
      description: Why.
      type: str
      sample: only 20260101T040506Z-ledger-1a2b3c4d needed it, which has expired
kept:
  description: How many snapshots stay.
  type: int
  returned: O(state=maintained)
  sample: 120
kept_unexplained:
  description: Those that stay although no recovery point is known to need them.
  type: list
  elements: dict
  returned: O(state=maintained)
  contains: *decision
points:
  description: The unexpired recovery points of O(store), and those of which a document is missing.
  type: list
  elements: dict
  returned: O(state=checked) with O(store)
  contains:
    name:
      description: Id of the point.
      type: str
      sample: 20260131T040506Z-ledger-1a2b3c4d
    failed:
      description: Whether it can not be relied on.
      type: bool
      sample: true
    msg:
      description: Why.
      type: str
      sample: snapshot 8ea6b7b4c2f1b94d is not in the repository
decisions:
  description: Every snapshot with what would become of it.
  type: list
  elements: dict
  returned: O(state=maintained) in check mode
  contains: *decision
bytes_before:
  description: Size of data, index and snapshots before; V(null) where only restic reaches the repository.
  type: int
  returned: O(state=maintained)
  sample: 987654321
bytes_after:
  description: The same afterwards.
  type: int
  returned: O(state=maintained)
  sample: 876543210
pruned:
  description: How far the prune came.
  type: dict
  returned: O(state=maintained)
  contains:
    rounds:
      description: Rounds that were brought to their end.
      type: int
      sample: 3
    finished:
      description: With O(prune.max_time) whether nothing was left to do within the limits; else V(null).
      type: bool
      sample: true
checked:
  description: What was found sound.
  type: dict
  returned: O(state=maintained)
  contains:
    structure:
      description: The structure and the index.
      type: bool
      sample: true
    data:
      description: The part of the data that was read.
      type: str
      sample: 3/20
record:
  description: Key of the record in O(store); V(null) where none was written.
  type: str
  returned: O(state=maintained)
  sample: maintenance/0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b/20260131T040506789Z.json
"""

from functools import partial

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    Options,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    repository as repository_options,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._restic.presence import repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import holders

OPTIONS = (
    repository_options()
    + store(required=False)
    + signing()
    + Options(
        arguments={
            "state": {"type": "str", "choices": ["present", "checked", "maintained"], "default": "present"},
            "check_data": {"type": "str"},
            "check_part_of": {"type": "int"},
            "unsealed_after": {"type": "str", "default": "7d"},
            "prune": {
                "type": "dict",
                "options": {
                    "max_unused": {"type": "str"},
                    "max_repack_size": {"type": "str"},
                    "max_time": {"type": "str"},
                    "repack_cacheable_only": {"type": "bool", "default": False},
                },
            },
            "lock_timeout": {"type": "str", "default": "10m"},
            "remove_locks": {"type": "list", "elements": "str"},
            "accept_missing": {"type": "list", "elements": "str"},
            "sites": {"type": "list", "elements": "dict", "options": CLUSTER.arguments},
        },
        required_if=[("state", "maintained", ("store",))],
        mutually_exclusive=[("check_data", "check_part_of")],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, partial(repository, holders=holders.find))


if __name__ == "__main__":
    main()
