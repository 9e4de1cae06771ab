#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository
short_description: Create or check the restic repository that holds backups
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Creates a restic repository (format version 2) where there is none, and returns its id. Nothing else of this
    collection creates one.
  - Checks an existing one.
  - What stands in the way is told apart within seconds, such as a server that does not answer, a certificate that is not
    trusted, a missing bucket, a wrong key, a missing repository, a wrong password, or another repository than the one
    whose id was pinned.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.repository
attributes:
  check_mode:
    support: full
    details:
      - With O(state=checked) the check runs in check mode too; apart from a lock while it runs it changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) creates the repository where it is missing. The bucket must be there; it is not created.
      - V(checked) fails unless the repository is there and its structure has no errors.
    type: str
    choices: [present, checked]
    default: present
  read_data:
    description:
      - With O(state=checked), the part of the stored data that is read and verified too, as restic writes it, for
        example V(5%), V(1/10) or V(100%).
    type: str
notes:
  - Pin the returned RV(id) in O(repository.id) of every other task, so that a swapped bucket or a mistyped URL is
    noticed before anything is written.
  - Without the password the data of a repository is lost. Keep it in more than one place.
seealso:
  - module: muster.container_dr.volume_export
  - module: muster.container_dr.repository_mirror
  - name: restic
    description: The program's manual, also for recovery without this collection.
    link: https://restic.readthedocs.io/
"""

EXAMPLES = r"""
- name: Create the repository once
  muster.container_dr.repository:
    repository:
      url: s3:https://s3.east.example.com/backup/ledger
      password_file: /etc/muster/ledger.password
      access_key: "{{ east_s3_access_key }}"
      secret_key: "{{ east_s3_secret_key }}"
  register: made

- name: Its id, to be pinned in the inventory
  ansible.builtin.debug:
    var: made.id

- name: Check its structure, and a tenth of its data
  muster.container_dr.repository:
    state: checked
    read_data: 10%
    repository:
      url: s3:https://s3.east.example.com/backup/ledger
      password_file: /etc/muster/ledger.password
      id: "{{ ledger_repository_id }}"
"""

RETURN = r"""
msg:
  description: What was found or done.
  type: str
  returned: always
  sample: The repository 3e2f88ff4fd2ac0428e63eb628437a0cbea07accc2e5de6b3f94290d04f0e21c is there.
id:
  description: The repository's id; null where it would be created in check mode.
  type: str
  returned: success
  sample: 3e2f88ff4fd2ac0428e63eb628437a0cbea07accc2e5de6b3f94290d04f0e21c
url:
  description: Where it is.
  type: str
  returned: success
  sample: s3:https://s3.east.example.com/backup/ledger
restic:
  description: Version of the restic program that was used.
  type: str
  returned: success
  sample: 0.19.1
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import Options, repository
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._restic.state import ensure

OPTIONS = repository() + Options(
    arguments={
        "state": {"type": "str", "choices": ["present", "checked"], "default": "present"},
        "read_data": {"type": "str"},
    }
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, ensure)


if __name__ == "__main__":
    main()
