#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository_mirror
short_description: Copy a restic repository and its catalogue to another place, raw or under another key
version_added: 0.1.0
author:
  - Muster contributors (@muster)
description:
  - Copies the objects of a restic repository that the destination lacks, without the repository's password. Each object
    is named by the SHA-256 of its bytes and is verified before it is written. What follows is about this way; with
    O(mode=recrypt) the copy has a key of its own instead.
  - The order is config, keys, data, index, snapshots, and then the recovery points that the repository served when the
    copy began, so that the destination never shows a point whose data is not there.
  - It refuses to write into another repository. At the destination it removes what O(remove_after) allows, and nothing
    without that.
  - What was altered at the source is never written over what the destination has, and is named. Where the destination
    has it whole this is a warning, and the source is healed by a mirror the other way round with O(verify_existing);
    see the examples. Otherwise the task fails when all else has arrived, or, for objects of the repository, before
    what could need them is copied.
  - A config that was lost is written anew where both places have a key in common. Where their configs differ one is
    damaged, which nobody can tell without the password; look which of the two M(muster.container_dr.repository) opens,
    remove the other, and mirror it back.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.repository.source
  - muster.container_dr.repository.destination
  - muster.container_dr.store.source
  - muster.container_dr.store.destination
  - muster.container_dr.signing
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  source:
    description:
      - The repository to copy.
    type: dict
  destination:
    description:
      - Where to copy it.
    type: dict
  source_store:
    description:
      - The store whose recovery points of O(application) are copied - documents, signatures and facts.
    type: dict
    required: false
  destination_store:
    description:
      - Where to copy them.
    type: dict
    required: false
  application:
    description:
      - The application whose recovery points are copied. Only its C(name) is looked at.
    type: dict
  mode:
    description:
      - V(raw) copies the objects as they are. Both places then have the same keys and passwords. Where both are at one
        S3 provider and have the same login, each object is read and checked here and copied by the server; where that
        does not do it, or may not, it is sent.
      - V(recrypt) copies snapshots by C(restic copy) into a repository with another master key and another password, so
        that who gets the password and the objects of one place cannot read the other. Choose it where two places belong
        to different people, or where losing one key must not mean losing both copies.
      - With V(recrypt) the destination is made when nothing is there, and cuts files like the source, so that equal
        data are stored once. Snapshots get other ids there; the signed documents do not change. What a document names
        is found by its id, else by the id that restic notes in a copy (C(original)) together with the tree.
      - V(recrypt) needs both passwords on the machine that runs it, where all that is copied is decrypted. It is
        slower, most of all the first time. Nobody can compare the bytes of the two places without the passwords.
      - With V(recrypt) each run ends with C(restic check) of the structure of the destination, which takes longer the
        more directories its snapshots have. Lost snapshots are copied again. For a pack or an index that is gone or has
        another size the task fails at its end, names what restic names, and says what to do; nothing is repaired
        unasked. Points that need what is damaged are not copied; where a pack is gone restic cannot say which these
        are, and none is.
      - V(recrypt) locks the destination as restic does, and not the source, where nothing is ever written. An S3 source
        is read with its own login and handed to restic by a socket in a private folder, so that the places may be of
        two accounts. Other backends are left to restic, with what the environment has.
      - With V(recrypt) a snapshot that is damaged at the source is not copied, and neither is a point that needs it.
        All else is, and then the task fails.
    type: str
    choices: [raw, recrypt]
    default: raw
  verify_signatures:
    description:
      - Verify each document that is copied, for which O(signing.allowed_signers) is required.
    type: bool
    default: true
  verify_existing:
    description:
      - Read every object at the destination too and copy damaged ones again, with recovery points and facts. Without it
        an object counts as there when its name and its size agree.
      - With O(mode=recrypt) restic reads all data at the destination, and the task fails at its end where any is
        damaged, as it does without it where any is gone. It does not heal.
      - What the destination has whole is not read at the source. Let M(muster.container_dr.repository) do that there.
      - Facts are not signed. Of two that differ and can both be read none is changed, with a warning.
    type: bool
    default: false
  remove_after:
    description:
      - Remove at the destination what M(muster.container_dr.repository) with C(state=maintained) has taken away from
        the source at least so long ago, such as V(7d), and what the source does not have again. It goes last, when all
        else has arrived. What vanished from the source in any other way stays at the destination.
      - While the destination has snapshots that the source lacks and no record names, as after backups that were made
        there, only snapshots and keys are removed, with a warning. What the source gave up may be needed by those.
      - A key that M(muster.container_dr.repository_key) has removed, with a record of it, goes at once, and is not
        copied from a source that still has it. The last key stays.
      - The records of maintenance are read from O(source_store); only those that O(signing.allowed_signers) vouches for
        count, unless O(verify_signatures) is false. They are copied to O(destination_store).
      - A destination that does not let objects be removed (append-only) gives a warning. With O(object_lock) what is
        still locked is left for a run after the lock has ended.
      - With O(mode=recrypt) copies of snapshots that maintenance forgot go, and then restic prunes the destination.
        While somebody holds a lock there this waits for a later run, with a warning.
    type: str
  object_lock:
    description:
      - Lock what is at the destination against deletion and against being replaced, by S3 object lock. The buckets of
        O(destination) and of O(destination_store) must have versioning and object lock, else nothing is copied; they
        must not be directories.
      - Objects of the repository, documents, signatures, facts and records of maintenance are written with a lock, and
        the locks of those that are there already are renewed. After each run everything is locked for at least half of
        O(object_lock.retain), so run it more often than that.
      - A renewal costs two requests an object, once in half of O(object_lock.retain). In between the notes
        C(muster-lock.json) of the repository and C(lock.json) of the catalogue, which are not locked, say that nothing
        is due, and only what was written since, and a sample of sixteen objects, is asked for.
      - What is locked cannot be removed, but hidden by a delete marker or by other bytes above it. Both are found in
        the list of versions, without O(verify_existing), and what the source has is brought back.
      - The access key needs C(s3:GetBucketVersioning), C(s3:GetBucketObjectLockConfiguration),
        C(s3:ListBucketVersions), C(s3:GetObjectVersion), C(s3:GetObjectRetention) and C(s3:PutObjectRetention) besides.
        C(s3:DeleteObjectVersion) lets it take away delete markers, and what O(remove_after) allows. It should not have
        C(s3:BypassGovernanceRetention).
      - With O(mode=recrypt) restic writes without locks, and they are set when it has written, in the same run. Its own
        below C(locks/) are never locked. What is hidden or written over is brought back from a version below it, not
        from the source; where none is whole the task fails at its end and names it. While somebody holds an exclusive
        lock at the destination nothing is brought back, and the task fails.
      - With O(mode=recrypt) what O(remove_after) allows is hidden by restic at once, and its versions go when their
        locks have ended. A record of it in O(destination_store) says that it was hidden on purpose, for which
        O(signing.key) is required unless O(verify_signatures) is false. The records of maintenance there count as well.
        What is hidden and on no record is brought back, if it ever had a lock.
      - A destination that was once mirrored with it has to be mirrored with it from then on. Without it locks are not
        renewed, and what O(remove_after) allows is hidden at once by a delete marker.
    type: dict
    suboptions:
      mode:
        description:
          - V(governance) can be ended early by those who have the right to, V(compliance) by nobody.
          - An object whose lock is of V(compliance) keeps that. Not every server lets one of V(governance) become one
            of V(compliance); then the task fails.
        type: str
        required: true
        choices: [governance, compliance]
      retain:
        description:
          - For how long an object is locked when it is written and when its lock is renewed, such as V(30d).
        type: str
        required: true
  workers:
    description:
      - How many objects are copied at the same time. With O(mode=recrypt) restic decides.
    type: int
    default: 8
seealso:
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Replicate the repository and the points of an application to west
  muster.container_dr.repository_mirror:
    source:
      url: s3:https://s3.east.example.com/backup/ledger
      access_key: reader
      secret_key: "{{ east_secret_key }}"
    destination:
      url: s3:https://s3.west.example.com/backup/ledger
      access_key: writer
      secret_key: "{{ west_secret_key }}"
    source_store: "{{ east_store }}"
    destination_store: "{{ west_store }}"
    application:
      name: ledger
    signing:
      allowed_signers: /etc/muster/allowed-signers

- name: Replicate to a bucket in which nobody can delete anything for thirty days
  muster.container_dr.repository_mirror:
    source: "{{ east_repository }}"
    destination: "{{ vault_repository }}"
    source_store: "{{ east_store }}"
    destination_store: "{{ vault_store }}"
    application:
      name: ledger
    object_lock:
      mode: compliance
      retain: 30d
    remove_after: 7d
    signing:
      allowed_signers: /etc/muster/allowed-signers

- name: Replicate to a place with a key and a password of its own
  muster.container_dr.repository_mirror:
    mode: recrypt
    source: "{{ east_repository }}"
    destination:
      url: s3:https://s3.partner.example.com/backup/ledger
      password_file: /etc/muster/partner-password
      access_key: writer
      secret_key: "{{ partner_secret_key }}"
    source_store: "{{ east_store }}"
    destination_store: "{{ partner_store }}"
    application:
      name: ledger
    remove_after: 7d
    signing:
      allowed_signers: /etc/muster/allowed-signers

- name: Heal east, where something was lost or altered, from west
  muster.container_dr.repository_mirror:
    source: "{{ west_repository }}"
    destination: "{{ east_repository }}"
    source_store: "{{ west_store }}"
    destination_store: "{{ east_store }}"
    application:
      name: ledger
    verify_existing: true
    signing:
      allowed_signers: /etc/muster/allowed-signers
"""

RETURN = r"""
objects_total:
  description: Objects in the source repository; with O(mode=recrypt) snapshots, here and in the other counters.
  returned: always
  type: int
  sample: 1234
bytes_total:
  description: Their size. With O(mode=recrypt) all sizes are null, as restic does not say.
  returned: always
  type: int
  sample: 987654321
objects_copied:
  description: Objects that were copied, or would be in check mode.
  returned: always
  type: int
  sample: 12
bytes_copied:
  description: Their size.
  returned: always
  type: int
  sample: 34567890
objects_repaired:
  description: Objects at the destination that were damaged or hidden, and were brought back or copied again.
  returned: always
  type: int
  sample: 0
damaged_at_source:
  description: Objects that are damaged at the source and whole at the destination.
  returned: always
  type: list
  elements: str
  sample: []
objects_removed:
  description: Objects at the destination that were removed, or would be in check mode.
  returned: always
  type: int
  sample: 0
bytes_removed:
  description: Their size.
  returned: always
  type: int
  sample: 0
parts:
  description: The same counters for keys, data, index and snapshots, in this order. Empty with O(mode=recrypt).
  returned: always
  type: list
  elements: dict
points_total:
  description: Recovery points in the source store.
  returned: always
  type: int
  sample: 7
points_copied:
  description: Ids of the points that were copied.
  returned: always
  type: list
  elements: str
  sample: [20260131T040506Z-ledger-1a2b3c4d]
facts_copied:
  description: Facts about points that were copied.
  returned: always
  type: int
  sample: 1
snapshots_copied:
  description: Ids at the source of the snapshots that were copied, or would be in check mode.
  returned: with O(mode=recrypt)
  type: list
  elements: str
  sample: [5b22861ddb8de28fb2245e6c86c124c3de9592c16be0605375ec7902703b0dd8]
destination_id:
  description: Id of the destination's repository, to be pinned in the inventory; null as long as there is none.
  returned: when a repository was mirrored with O(mode=recrypt)
  type: str
  sample: d605f7bf4d096ed8a6b949a2b1efa307b2fc844dae8e57691f579e8fa8656426
config_digest:
  description: Digest of the repository's config object, the same in every raw copy of a repository.
  returned: when a repository was mirrored with O(mode=raw)
  type: str
  sample: sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865
source:
  description: Where the repository was read.
  returned: when a repository was mirrored
  type: str
  sample: s3://backup/ledger at https://s3.east.example.com
destination:
  description: Where it was written.
  returned: when a repository was mirrored
  type: str
  sample: s3://backup/ledger at https://s3.west.example.com
object_lock:
  description:
    - The C(mode) of the locks at the destination, C(until) when all that belongs to the points is locked at least, how
      many locks were C(renewed), and how many objects that are needed no more are C(kept), because they are locked, the
      last of them C(kept_until).
  returned: with O(object_lock), else null
  type: dict
  sample: {mode: compliance, until: '2026-03-02T04:05:06.000Z', renewed: 0, kept: 3,
    kept_until: '2026-02-20T04:05:06.000Z'}
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 12.3
failures:
  description: Messages of the objects that could not be copied, at most twenty.
  returned: when some could not
  type: list
  elements: str
"""

from ansible_collections.muster.container_dr.plugins.module_utils._catalogue.replication import repository_mirror_verb
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    PROGRESS,
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
            "mode": {"type": "str", "default": "raw", "choices": ["raw", "recrypt"]},
            "verify_signatures": {"type": "bool", "default": True},
            "verify_existing": {"type": "bool", "default": False},
            "remove_after": {"type": "str"},
            "object_lock": {
                "type": "dict",
                "options": {
                    "mode": {"type": "str", "required": True, "choices": ["governance", "compliance"]},
                    "retain": {"type": "str", "required": True},
                },
            },
            "workers": {"type": "int", "default": 8},
        },
        required_one_of=[["source", "source_store"]],
        required_together=[
            ["source", "destination"],
            ["source_store", "destination_store"],
        ],
    )
    + repository(name="source", required=False)
    + repository(name="destination", required=False)
    + store(name="source_store", required=False)
    + store(name="destination_store", required=False)
    + application(required=False)
    + signing()
    + PROGRESS
)


def main() -> None:
    run(OPTIONS, repository_mirror_verb)


if __name__ == "__main__":
    main()
