# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of catalogue, evidence and locks."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  store:
    description:
      - The place of small documents - catalogue, evidence, locks.
    type: dict
    required: true
    suboptions:
      url:
        description:
          - V(s3://bucket/prefix), or V(file:///directory) for a directory, which must exist.
        type: str
        required: true
      endpoint_url:
        description:
          - URL of the object store, where it is not AWS itself.
        type: str
      access_key:
        description:
          - Access key of the object store. Without it boto3 looks where it always does.
        type: str
      secret_key:
        description:
          - Secret key that belongs to the access key.
        type: str
      region:
        description:
          - Region of the object store, where it has one.
        type: str
      ca_cert:
        description:
          - File with the certificates of the authorities that may vouch for the object store.
        type: path
requirements:
  - boto3 >= 1.36 (Python package), for V(s3://) stores
"""

    # The same under other names. Annotated, as ansible-test's yamllint reads every plain assignment here as a literal.
    OPTIONAL: str = DOCUMENTATION.replace("    required: true\n    suboptions:", "    suboptions:")
    WITNESS: str = DOCUMENTATION.replace(" store:", " witness:")
    SOURCE: str = DOCUMENTATION.replace(" store:", " source_store:")
    DESTINATION: str = DOCUMENTATION.replace(" store:", " destination_store:")
    MISSING_AT: str = DOCUMENTATION.replace(" store:", " missing_at:")
