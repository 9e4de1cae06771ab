#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository
short_description: Make or check the restic repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - With O(state=present) makes the repository where there is none. Nothing else in this collection does that, so that a
    mistyped address is never taken for a new repository.
  - With O(state=checked) only looks whether it is there, whether the password opens it, and whether it is the one that
    O(repository.id) names.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.repository
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description: Whether to make it where there is none.
    type: str
    choices: [present, checked]
    default: present
  check_data:
    description:
      - Verify its structure too, and that part of its data, such as V(10%) or V(100M). Empty verifies the structure
        only.
      - This reads from the repository and can take long. Left out in check mode.
    type: str
"""

EXAMPLES = r"""
- name: Make the repository once
  muster.container_dr.repository:
    state: present
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
  register: made

- name: Make sure that it is this very one, and read a tenth of it
  muster.container_dr.repository:
    state: checked
    check_data: 10%
    repository:
      url: s3:https://s3.east.example.com/muster/repository
      password_file: repository.password
      id: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b
"""

RETURN = r"""
id:
  description: Id of the repository; V(null) where check mode would make it.
  type: str
  returned: success
  sample: 0c94c8e9ab2cd3bbdc92b8cbd4cbf9ea8b5e9b1df34cc5ddbf33ad9a5bb2ee0b
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    Options,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    repository as repository_options,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._restic.presence import repository

OPTIONS = repository_options() + Options(
    arguments={
        "state": {"type": "str", "choices": ["present", "checked"], "default": "present"},
        "check_data": {"type": "str"},
    }
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, repository)


if __name__ == "__main__":
    main()
