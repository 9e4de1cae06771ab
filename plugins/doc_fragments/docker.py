# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How to reach a Docker Engine: option names and environment variables are those of community.docker."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  docker:
    description:
      - How to reach a Docker Engine. What is in it has the names and environment variables that it has in the
        collection C(community.docker).
    type: dict
    suboptions:
      docker_host:
        description:
          - V(unix:///PATH), V(tcp://HOST:PORT) or V(ssh://USER@HOST). With V(ssh://) the user's own C(ssh) program is
            used, and the Python package C(paramiko) has to be there.
          - Without it Docker's usual socket, V(unix:///var/run/docker.sock).
          - Can also be set by E(DOCKER_HOST).
        type: str
      tls:
        description:
          - Whether to use TLS with V(tcp://). The server's certificate is only checked with O(docker.validate_certs).
          - Can also be set by E(DOCKER_TLS).
        type: bool
        default: false
      validate_certs:
        description:
          - Whether to use TLS with V(tcp://) and to insist that the server's certificate is valid.
          - Can also be set by E(DOCKER_TLS_VERIFY).
        type: bool
        default: false
      ca_path:
        description:
          - File with the certificates of the authorities that may vouch for the server.
          - With E(DOCKER_CERT_PATH) it is C(ca.pem) in that folder.
        type: path
      client_cert:
        description:
          - File with the client's certificate.
          - With E(DOCKER_CERT_PATH) it is C(cert.pem) in that folder.
        type: path
      client_key:
        description:
          - File with the key of that certificate.
          - With E(DOCKER_CERT_PATH) it is C(key.pem) in that folder.
        type: path
requirements:
  - docker >= 7.1.0 (Python package), for Docker hosts
"""
