# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that sign documents and keys that are trusted."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  signing:
    description:
      - Keys for signatures as C(ssh-keygen -Y) makes and checks them.
    type: dict
    suboptions:
      key:
        description:
          - File with the OpenSSH private key that signs. It must not ask for a passphrase.
        type: path
      allowed_signers:
        description:
          - File that lists who may sign, in the format of C(ssh-keygen)'s ALLOWED SIGNERS.
        type: path
      identity:
        description:
          - The name under which O(signing.key) stands in O(signing.allowed_signers).
        type: str
        default: muster
requirements:
  - ssh-keygen (OpenSSH 8.2 or newer), where something is signed or verified
"""
