# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An OCI registry, and other places of images."""

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
          - Password or token of the user.
        type: str
      auth_file:
        description:
          - File with logins as C(docker login) and C(podman login) write it, used where no user is set.
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
      client_cert:
        description:
          - File with the certificate (PEM) by which we are known to the registry, where it wants one.
        type: path
      client_key:
        description:
          - File with the key of that certificate (PEM, without a password), where it is not in the same file.
        type: path
      connections:
        description:
          - The most workers that talk to this registry at the same time. No limit of its own by default.
        type: int
      requests_per_second:
        description:
          - The most requests that this registry gets in a second, from all workers together. No limit by default.
        type: float
      bytes_per_second:
        description:
          - The most bytes that go to and come from this registry in a second, for all workers together. No limit by
            default.
        type: int
"""

    # Annotated, as ansible-test's yamllint reads every plain assignment here as a literal.
    _PLACE: str = (
        DOCUMENTATION.replace(
            "- Host, port and path prefix, for example V(registry.example.com/backup).",
            "- Host, port and path prefix of a registry, or V(oci:/DIRECTORY), V(s3://BUCKET/PREFIX),\n"
            "            V(oci-archive:/FILE), V(docker-archive:/FILE), V(docker-daemon:), which can only be read.",
        )
        + """
      endpoint_url:
        description:
          - URL of the object store of V(s3://BUCKET/PREFIX), where it is not AWS itself.
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
"""
    )
    SOURCES: str = _PLACE.replace(" registry:", " sources:")
    MIRRORS: str = _PLACE.replace(" registry:", " mirrors:")
    FROM: str = _PLACE.replace(" registry:", " from:")
    TARGET: str = _PLACE.replace(" registry:", " target:")
