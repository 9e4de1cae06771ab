# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How to reach a Kubernetes cluster: option names and environment variables are those of kubernetes.core."""

from __future__ import annotations

import textwrap


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a dictionary.
      - Without it and without O(host), E(KUBECONFIG) and then C(~/.kube/config) are used, and inside a pod the pod's
        own service account.
      - Can also be set by E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description:
      - The context of the kubeconfig to use instead of its current one.
      - Can also be set by E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server, where no kubeconfig is used.
      - Can also be set by E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Bearer token for the API server.
      - Can also be set by E(K8S_AUTH_API_KEY).
    type: str
  username:
    description:
      - User for basic authentication, for example at a proxy in front of the API server.
      - Can also be set by E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password that belongs to O(username).
      - Can also be set by E(K8S_AUTH_PASSWORD).
    type: str
  ca_cert:
    description:
      - File with the certificates of the authorities that may vouch for the API server.
      - Can also be set by E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - File with the client certificate.
      - Can also be set by E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - File with the key of O(client_cert).
      - Can also be set by E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  validate_certs:
    description:
      - Whether the API server's certificate must be valid.
      - Can also be set by E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - URL of an HTTP proxy on the way to the API server.
      - Can also be set by E(K8S_AUTH_PROXY).
    type: str
  impersonate_user:
    description:
      - User to act as.
      - Can also be set by E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to act as.
      - Can also be set by E(K8S_AUTH_IMPERSONATE_GROUPS).
    type: list
    elements: str
requirements:
  - kubernetes >= 29.0.0 (Python package)
"""

    # The same for several clusters. Annotated, as ansible-test's yamllint reads every plain assignment as a literal.
    SITES: str = (
        """
options:
  sites:
    description:
      - How to reach the clusters whose movers write to the repository; name all of them.
    type: list
    elements: dict
    suboptions:
"""
        + textwrap.indent(DOCUMENTATION.partition("options:\n")[2].partition("requirements:\n")[0], "    ").replace(
            "O(", "O(sites[]."
        )
        + """
requirements:
  - kubernetes >= 29.0.0 (Python package), where O(sites) is given
"""
    )
