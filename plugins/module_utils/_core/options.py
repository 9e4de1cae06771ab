# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Argument specifications as objects: shared parts are written once and merged into a module's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleFallbackNotFound, env_fallback

Spec = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What ``AnsibleModule`` wants to know, in parts that can be added."""

    arguments: Spec = field(default_factory=dict)
    required_if: Sequence[Sequence[Any]] = ()
    required_one_of: Sequence[Sequence[str]] = ()
    required_together: Sequence[Sequence[str]] = ()
    mutually_exclusive: Sequence[Sequence[str]] = ()
    supports_check_mode: bool = True

    def __add__(self, other: Options) -> Options:
        twice = self.arguments.keys() & other.arguments.keys()
        if twice:
            raise ValueError(f"options defined twice: {', '.join(sorted(twice))}")
        return Options(
            arguments={**self.arguments, **other.arguments},
            required_if=[*self.required_if, *other.required_if],
            required_one_of=[*self.required_one_of, *other.required_one_of],
            required_together=[*self.required_together, *other.required_together],
            mutually_exclusive=[*self.mutually_exclusive, *other.mutually_exclusive],
            supports_check_mode=self.supports_check_mode and other.supports_check_mode,
        )

    def module_arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``AnsibleModule``."""
        return {
            "argument_spec": dict(self.arguments),
            "required_if": [list(rule) for rule in self.required_if],
            "required_one_of": [list(rule) for rule in self.required_one_of],
            "required_together": [list(rule) for rule in self.required_together],
            "mutually_exclusive": [list(rule) for rule in self.mutually_exclusive],
            "supports_check_mode": self.supports_check_mode,
        }


def _env(name: str, **spec: Any) -> Spec:
    return {**spec, "fallback": (env_fallback, [name])}


# Names and environment variables are kubernetes.core's, so that inventories written for it work.
CLUSTER = Options(
    arguments={
        "kubeconfig": _env("K8S_AUTH_KUBECONFIG", type="raw"),
        "context": _env("K8S_AUTH_CONTEXT", type="str"),
        "host": _env("K8S_AUTH_HOST", type="str"),
        "api_key": _env("K8S_AUTH_API_KEY", type="str", no_log=True),
        "username": _env("K8S_AUTH_USERNAME", type="str"),
        "password": _env("K8S_AUTH_PASSWORD", type="str", no_log=True),
        "ca_cert": _env("K8S_AUTH_SSL_CA_CERT", type="path", aliases=["ssl_ca_cert"]),
        "client_cert": _env("K8S_AUTH_CERT_FILE", type="path", aliases=["cert_file"]),
        "client_key": _env("K8S_AUTH_KEY_FILE", type="path", aliases=["key_file"], no_log=False),
        "validate_certs": _env("K8S_AUTH_VERIFY_SSL", type="bool", aliases=["verify_ssl"]),
        "proxy": _env("K8S_AUTH_PROXY", type="str"),
        "impersonate_user": _env("K8S_AUTH_IMPERSONATE_USER", type="str"),
        "impersonate_groups": _env("K8S_AUTH_IMPERSONATE_GROUPS", type="list", elements="str"),
    }
)


def _docker_env(name: str, file: str = "") -> str:
    """What Docker's own programs read; for them an empty variable is none, and the certificates are in one folder."""
    value = os.environ.get(name)
    if not value:
        raise AnsibleFallbackNotFound
    return str(Path(value, file)) if file else value


def _docker(*names: str, **spec: Any) -> Spec:
    return {**spec, "fallback": (_docker_env, list(names))}


# Names and environment variables are community.docker's. One option, as most names are those of CLUSTER too.
DOCKER = Options(
    arguments={
        "docker": {
            "type": "dict",
            "apply_defaults": True,
            "options": {
                "docker_host": _docker("DOCKER_HOST", type="str"),
                "tls": _docker("DOCKER_TLS", type="bool", default=False),
                "validate_certs": _docker("DOCKER_TLS_VERIFY", type="bool", default=False),
                "ca_path": _docker("DOCKER_CERT_PATH", "ca.pem", type="path"),
                "client_cert": _docker("DOCKER_CERT_PATH", "cert.pem", type="path"),
                "client_key": _docker("DOCKER_CERT_PATH", "key.pem", type="path", no_log=False),
            },
        }
    }
)

_S3_ARGUMENTS: Spec = {
    "access_key": {"type": "str", "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "region": {"type": "str"},
    "ca_cert": {"type": "path"},
}

# A command is a list of words or a line; a list of strings would be split at the commas of the line.
PASSWORD_ARGUMENTS: Spec = {
    "password": {"type": "str", "no_log": True},
    "password_file": {"type": "path", "no_log": False},
    "password_command": {"type": "raw", "no_log": False},
}

REPOSITORY_ARGUMENTS: Spec = {
    "url": {"type": "str", "required": True},
    **PASSWORD_ARGUMENTS,
    # No dictionary for Ansible, which would log the parts of one that it has to make of a text.
    "environment": {"type": "raw", "no_log": True},
    "ssh_key_file": {"type": "path", "no_log": False},
    "ssh_known_hosts": {"type": "path"},
    "volume": {"type": "dict"},
    "id": {"type": "str"},
    "restic": {"type": "path", "default": "restic"},
    **_S3_ARGUMENTS,
}

STORE_ARGUMENTS: Spec = {
    "url": {"type": "str", "required": True},
    "endpoint_url": {"type": "str"},
    **_S3_ARGUMENTS,
}

REGISTRY_ARGUMENTS: Spec = {
    "name": {"type": "str", "required": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "auth_file": {"type": "path"},
    "ca_cert": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "plain_http": {"type": "bool", "default": False},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "connections": {"type": "int"},
    "requests_per_second": {"type": "float"},
    "bytes_per_second": {"type": "int"},
}

# One rule about the signatures of images. Public keys are no secrets, and a path to one should be readable in errors.
SIGNATURE_ARGUMENTS: Spec = {
    "pattern": {"type": "str", "required": True},
    "policy": {"type": "str", "required": True, "choices": ["off", "report", "require"]},
    "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "threshold": {"type": "int", "default": 1},
}

# A place of images: a registry, or an OCI layout in a directory or below an S3 prefix.
IMAGE_PLACE_ARGUMENTS: Spec = {**REGISTRY_ARGUMENTS, "endpoint_url": {"type": "str"}, **_S3_ARGUMENTS}

SIGNING_ARGUMENTS: Spec = {
    "key": {"type": "path", "no_log": False},
    "allowed_signers": {"type": "path"},
    "identity": {"type": "str", "default": "muster"},
}


def repository(*, required: bool = True, name: str = "repository") -> Options:
    """A restic repository: place, password, pinned id, object-store credentials."""
    return Options(arguments={name: {"type": "dict", "required": required, "options": REPOSITORY_ARGUMENTS}})


def store(*, required: bool = True, name: str = "store") -> Options:
    """A place for catalogue, evidence and locks: ``s3://bucket/prefix`` or ``file:///directory``."""
    return Options(arguments={name: {"type": "dict", "required": required, "options": STORE_ARGUMENTS}})


def registry(*, required: bool = False, name: str = "registry") -> Options:
    """An OCI registry with an optional path prefix."""
    return Options(arguments={name: {"type": "dict", "required": required, "options": REGISTRY_ARGUMENTS}})


def image_place(name: str) -> Options:
    """A registry with an optional path prefix, or another place that has images."""
    return Options(arguments={name: {"type": "dict", "options": IMAGE_PLACE_ARGUMENTS}})


def signing(*, required: bool = False) -> Options:
    """An OpenSSH key that signs, and the file of signers that verification trusts."""
    return Options(arguments={"signing": {"type": "dict", "required": required, "options": SIGNING_ARGUMENTS}})


# The action plugin names the file; a user may too, to follow a run on a remote host.
PROGRESS = Options(arguments={"progress_file": {"type": "path"}})


def application(*, required: bool = True) -> Options:
    """An application as the inventory describes it; :mod:`_plan.application` checks what it holds."""
    return Options(arguments={"application": {"type": "dict", "required": required}})


def without_empty(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """A sub-option dictionary without the keys that the user did not set."""
    return {key: value for key, value in (values or {}).items() if value is not None}
