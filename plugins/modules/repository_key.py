#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository_key
short_description: Add and remove the passwords that open the restic repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - A restic repository has one or more keys. Each of them opens it with a password of its own.
  - With O(state=present) makes sure that one more password opens it.
  - With O(state=absent) makes sure that a password, or one key, does not open it any more. The key that the task itself
    has opened O(repository) with is never removed, so that one always stays.
  - A password is changed by adding the new one and then, with O(repository) opened by the new one, removing the old.
  - M(muster.container_dr.repository) with C(state=checked) lists the keys.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.repository
  - muster.container_dr.store.optional
  - muster.container_dr.signing
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
      - V(present) adds a key where the password does not open the repository.
      - V(absent) removes the key with O(key_id), or all keys that the password opens. A key that is not there is no
        error; RV(ignore:msg) names those that are.
    type: str
    choices: [present, absent]
    default: present
  password:
    description:
      - The password that is to open the repository, or to open it no longer. White space around it does not count.
      - Needed with O(state=present), here or by one of the next two.
    type: str
    aliases: [new_password]
  password_file:
    description:
      - File with this password.
    type: path
    aliases: [new_password_file]
  password_command:
    description:
      - Command that prints this password, as O(repository.password_command).
    type: raw
    aliases: [new_password_command]
  key_id:
    description:
      - With O(state=absent) the id of the key, or its first digits, at least eight, instead of a password.
    type: str
  host:
    description:
      - What the new key says of where it is used; by default the name of this machine.
    type: str
  user:
    description:
      - What the new key says of who uses it; by default the user of the task.
    type: str
  lock_timeout:
    description:
      - How long to wait for others that use the repository, as seconds or as V(2m). A key can be added while backups
        run. It can be removed only while nobody else uses the repository.
    type: str
    default: 2m
  store:
    description:
      - With O(state=absent) the store for a record of the removal. By it M(muster.container_dr.repository_mirror) with
        C(remove_after) takes the key away from copies of the repository too, at its next run.
    type: dict
    required: false
  signing:
    description:
      - With O(signing.key) the record is signed, in the namespace C(muster-maintenance). A mirror follows only records
        whose signature it trusts, unless it is told otherwise.
    type: dict
notes:
  - All keys give access to the same master key, and the data are never encrypted anew. Who once had a password and the
    file of its key can have kept the master key, and reads with it whatever bytes of the repository he gets, also later
    ones. Removing a key keeps out those who only knew the password. If the master key may be known, make a new
    repository.
  - Without O(store) a copy of the repository at another place keeps the key, and the old password opens it there. Then
    run this module with O(repository) naming the copy, after it was run for the original; the mirror brings a key back
    for as long as its source has it. Copies of the key in versions of a bucket, under object lock or in snapshots of a
    file system stay until those are gone.
  - A run that was killed between the removal and its record is completed by running it again with the whole O(key_id).
  - Movers and tasks that start later need a password that is still there. Give the new one to every inventory before
    the old one goes.
  - restic tries twenty keys when it opens a repository. Remove those that nobody needs.
  - In an append-only store keys are added; their removal is refused with an error.
seealso:
  - module: muster.container_dr.repository
  - module: muster.container_dr.repository_mirror
"""

EXAMPLES = r"""
- name: Change the password, first add the new one
  muster.container_dr.repository_key:
    state: present
    password_file: new.password
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: old.password

- name: Then, when every inventory has the new one, remove the old one here and at the mirror
  muster.container_dr.repository_key:
    state: absent
    password_file: old.password
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: new.password
    store:
      url: s3://muster/catalogue
      endpoint_url: https://s3.east.example.com
    signing:
      key: /etc/muster/signing-key

- name: Remove a key by its id
  muster.container_dr.repository_key:
    state: absent
    key_id: 711cbb00d7
    repository:
      url: /mnt/nas/muster
      password_command: [pass, show, muster/repository]
"""

RETURN = r"""
id:
  description: Id of the repository.
  type: str
  returned: success
  sample: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b
key_id:
  description: Id of the key that the password opens; V(null) where check mode would add it.
  type: str
  returned: success and O(state=present)
  sample: 711cbb00d720d1e5ae1d046d70df1d0a4d2ccf7659e632677f7e041233190e6c
removed:
  description: Keys that were removed, or would be in check mode.
  type: list
  elements: dict
  returned: O(state=absent)
  contains:
    id:
      description: Id of the key.
      type: str
      sample: 9a39a97efbe469aa6d36f823b28fa84be09cde69657c1182e3dc8c2a8574779c
    host:
      description: What it says of where it was used.
      type: str
      sample: control
    user:
      description: What it says of who used it.
      type: str
      sample: root
    created:
      description: When it was made.
      type: str
      sample: "2026-01-31T04:05:06.000Z"
    current:
      description: Whether this task has opened the repository with it.
      type: bool
      sample: false
record:
  description: Key of the record in O(store); V(null) where none was written.
  type: str
  returned: O(state=absent)
  sample: maintenance/keys/0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b/20260131T040506789Z.json
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    PASSWORD_ARGUMENTS,
    Options,
    repository,
    signing,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._restic.keys import repository_key

PASSWORDS = tuple(PASSWORD_ARGUMENTS)
OPTIONS = (
    repository()
    + store(required=False)
    + signing()
    + Options(
        arguments={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **{name: {**spec, "aliases": [f"new_{name}"]} for name, spec in PASSWORD_ARGUMENTS.items()},
            "key_id": {"type": "str", "no_log": False},
            "host": {"type": "str"},
            "user": {"type": "str"},
            "lock_timeout": {"type": "str", "default": "2m"},
        },
        required_if=[("state", "present", PASSWORDS, True), ("state", "absent", (*PASSWORDS, "key_id"), True)],
        mutually_exclusive=[(*PASSWORDS, "key_id")],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, repository_key)


if __name__ == "__main__":
    main()
