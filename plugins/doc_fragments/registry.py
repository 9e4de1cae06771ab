# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An OCI registry."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  registry:
    description:
      - An OCI registry, optionally with a path below which everything lies.
    type: dict
    suboptions:
      name:
        description:
          - Host, port and path prefix, for example V(registry.example.com/backup).
        type: str
        required: true
      username:
        description:
          - User who logs in.
        type: str
      password:
        description:
          - Password or token of O(registry.username).
        type: str
      auth_file:
        description:
          - File with logins as C(docker login) and C(podman login) write it, used where O(registry.username) is
            not set.
        type: path
      ca_cert:
        description:
          - File with the certificates of the authorities that may vouch for the registry.
        type: path
      validate_certs:
        description:
          - Whether the registry's certificate must be valid.
        type: bool
        default: true
      plain_http:
        description:
          - Whether to talk to the registry without TLS.
        type: bool
        default: false
"""
