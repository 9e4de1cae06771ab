# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a mover consists of: a Job, its secrets and its network policy."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends, marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.pull_secret import logins, pull_secret
from ansible_collections.muster.container_dr.plugins.module_utils._restic import ssh
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import RETRY_LOCK, Repository
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import is_raw, printable
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    placement,
    scripts,
    single_paths,
    sizing,
)

JSON = dict[str, Any]

IMAGE = "restic/restic:0.19.1"
_HOST = "kubernetes.io/hostname"
# Services without a server in their URLs. With all but the first some ask other ports than 443, such as Keystone's or
# that of a node's metadata server, and their names here are short: see :func:`_egress`.
_CLOUDS = {"b2": "api.backblazeb2.com", "azure": "azure", "gs": "gs", "swift": "swift"}
NOT_EMPTY, NO_DATA = scripts.NOT_EMPTY, scripts.NO_DATA

# Reading every file of every owner. Pod Security "baseline" does not allow DAC_READ_SEARCH, so a mover in the
# application's own namespace gets DAC_OVERRIDE and a volume that is mounted read-only.
READ_OURS = ("DAC_READ_SEARCH",)
READ_THEIRS = ("DAC_OVERRIDE",)
# Owners, modes, setuid and setgid bits, devices and file capabilities as they were; all of it is in "baseline".
WRITE = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")

# Where a mover has the repository that is in a directory.
MOUNT = "/repository"

# Out of the meshes that a namespace may be in: a proxy beside restic reaches nobody under our policy, lets restic reach
# nobody before it is ready, and does not end with it. Some versions look for labels, others for annotations.
_ISTIO = {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}
_MESHES = {
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
}

# What says that a file is as it was, and need not be read again: restic's arguments.
CHANGE_DETECTION: dict[str, tuple[str, ...]] = {
    "strict": (),
    "ignore_ctime": ("--ignore-ctime",),
    "ignore_inode": ("--ignore-inode",),
}


@dataclass(frozen=True)
class Settings:
    """How movers run: the ``mover`` option. ``timeout`` and ``stall_timeout`` in seconds."""

    image: str = IMAGE
    namespace: str = marks.NAMESPACE
    registry: Mapping[str, Any] | None = None
    timeout: float = 4 * 3600.0
    start_timeout: float = 300.0
    stall_timeout: float = 120.0
    resources: Mapping[str, Any] | None = None
    pull_policy: str | None = None
    network: str | None = None
    runs_in: str = "container"
    node_selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] | None = None
    selinux: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Mover:
    """One mover: which claim it mounts where, and what restic does there.

    ``verb`` is ``backup``, ``restore``, ``restore_paths`` or, for a ``device`` (a volume in block mode), ``look``
    whether it is empty. ``tree``: whether what is there afterwards is compared with the snapshot entry by entry:
    ``whole``, ``part`` (other paths may be there), ``no`` or ``never`` (some may stay as they are).
    ``memory`` is what it asks for in bytes, where the settings name no resources, for ``files`` (None: not known).
    ``spread`` asks for another node than those of the run's other movers.
    ``read_only_volume``: its driver is told, and not only the container, that nobody writes.
    ``selinux`` is the label that it needs to read what is on the volume, as ``seLinuxOptions`` of a pod.
    ``placement``: where it should run rather than elsewhere, see :func:`placement.of`.
    """

    name: str
    namespace: str
    claim: str
    verb: str
    arguments: tuple[str, ...]
    labels: Mapping[str, str]
    capabilities: tuple[str, ...]
    read_only: bool
    node: str | None = None
    run_as_user: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    only_if_empty: bool = False
    device: bool = False
    verify: bool = False
    tree: str = "no"
    memory: int = sizing.request(None, 0)
    files: int | None = None
    spread: bool = False
    read_only_volume: bool = False
    selinux: Mapping[str, str] | None = None
    placement: Mapping[str, Any] = field(default_factory=dict)

    @property
    def script(self) -> str:
        """What the container runs."""
        known = {
            ("backup", False): scripts.BACKUP,
            ("backup", True): scripts.BACKUP,
            ("restore", False): scripts.RESTORE,
            ("restore_paths", False): scripts.RESTORE_PATHS,
            ("restore", True): scripts.RESTORE_DEVICE,
            ("look", True): scripts.LOOK_AT_DEVICE,
        }
        return known[self.verb, self.device]


def backup_arguments(
    host: str, tags: tuple[str, ...], *, device: bool = False, detection: str = "strict"
) -> tuple[str, ...]:
    """restic's arguments in a backup mover. A stable host and grouping by it alone find the parent snapshot."""
    pairs = [part for tag in tags for part in ("--tag", tag)]
    what = (*CHANGE_DETECTION[detection], "data")
    if device:
        what = ("--stdin-filename", "data", "--stdin-from-command", "--", "cat", "/volume/data")
    return ("backup", "--host", host, "--group-by", "host", "--retry-lock", RETRY_LOCK, *pairs, *what)


def restore_arguments(
    snapshot: str, *, verify: bool, device: bool = False, overwrite: str = "always", delete: bool = True
) -> tuple[str, ...]:
    """restic's arguments in a restore mover: the whole tree, whose only entry is ``data``, onto the mounted volume."""
    if device:
        return ("dump", "--retry-lock", RETRY_LOCK, snapshot, "data")
    arguments = ["restore", snapshot, "--target", "/volume", *_writing(overwrite, verify=verify)]
    return (*arguments, "--delete") if delete else tuple(arguments)


def path_arguments(snapshot: str, paths: Iterable[str], *, verify: bool, overwrite: str) -> tuple[str, ...]:
    """Arguments of a mover that restores single paths; see :data:`scripts.RESTORE_PATHS`."""
    return ("restore", snapshot, *_writing(overwrite, verify=verify), "--", *single_paths.words(paths))


def _writing(overwrite: str, *, verify: bool) -> tuple[str, ...]:
    # Without --sparse a file with holes takes its full length, and what fitted on the volume may not fit again.
    options = ("--sparse", "--retry-lock", RETRY_LOCK, "--overwrite", overwrite.replace("_", "-"))
    return (*options, "--verify") if verify else options


def environment(mover: Mover, repository: Repository) -> dict[str, str]:
    """What a mover's script wants to know. No secret is in it: see :func:`secret_files`."""
    region = repository.region_name()
    known = repository.ssh
    given = ssh.Login(known.key and "/muster/ssh_key", known.known_hosts and "/muster/known_hosts")
    return {
        "RESTIC_REPOSITORY": MOUNT if repository.volume else repository.url,
        # Device numbers of block clones and after reboots differ; without this unchanged files would look changed.
        "RESTIC_FEATURES": "device-id-for-hardlinks",
        "RESTIC_PROGRESS_FPS": "0.5",
        "MUSTER_ONLY_IF_EMPTY": "yes" if mover.only_if_empty else "no",
        "MUSTER_VERIFY": "yes" if mover.verify else "no",
        "MUSTER_TREE": mover.tree,
        "TMPDIR": "/tmp",
        "HOME": "/tmp",
        **({"AWS_DEFAULT_REGION": region} if region else {}),
        **({"MUSTER_SSH": given.arguments} if repository.url.startswith("sftp:") else {}),
        **mover.environment,
    }


def secret_files(repository: Repository) -> dict[str, str]:
    """What a mover's script finds as files in ``/muster``."""
    values = {"password": repository.secrets["RESTIC_PASSWORD"]}
    login = repository.credentials()
    if backends.GOOGLE_FILE in login:
        values["google.json"] = _read(login.pop(backends.GOOGLE_FILE))
    values |= {f"env.{name}": value for name, value in login.items()}
    if repository.ca_cert:
        values["ca.pem"] = _read(repository.ca_cert)
    if repository.ssh.key:
        values["ssh_key"] = _read(repository.ssh.key)
    if repository.ssh.known_hosts:
        values["known_hosts"] = _read(repository.ssh.known_hosts)
    return values


def _read(path: str) -> str:
    # Certificates and keys are ASCII; what stands between them is for people, in whatever encoding.
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidInput("read", path, str(error.strerror), "Movers get what it holds.") from None


def job(mover: Mover, settings: Settings, repository: Repository) -> JSON:
    """The Job. No secret is in it: they come as files from the Secret of the same name.

    :class:`InvalidInput` for a mover that could not log in to the repository.
    """
    problem = without_ssh(repository, mover.namespace) if mover.run_as_user else None
    if problem:
        raise problem
    labels = {**mover.labels, marks.MOVER: mover.name}
    container: JSON = {
        "name": "restic",
        "image": settings.image,
        # Kubernetes would read $(NAME) in a path as a variable.
        "command": ["/bin/sh", "-c", mover.script, "mover", *(word.replace("$", "$$") for word in mover.arguments)],
        "env": [{"name": name, "value": value} for name, value in sorted(environment(mover, repository).items())],
        "resources": resources(mover, settings),
        "securityContext": _security(mover, repository),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            *([] if mover.device else [{"name": "data", "mountPath": "/volume/data", "readOnly": mover.read_only}]),
            {"name": "muster", "mountPath": "/muster", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            # Restoring writes too: a lock, without which a prune could take away what is being read.
            *([{"name": "repository", "mountPath": MOUNT}] if repository.volume else []),
        ],
    }
    if mover.device:
        container["volumeDevices"] = [{"name": "data", "devicePath": "/volume/data"}]
    if settings.pull_policy:
        container["imagePullPolicy"] = settings.pull_policy
    mode = 0o444 if mover.run_as_user else 0o400
    pod: JSON = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        # It may be where other pods may not be: the volume is there.
        "tolerations": [{"operator": "Exists"}]
        if mover.node
        else [*(settings.tolerations or []), *(mover.placement.get("tolerations") or [])],
        "containers": [container],
        "volumes": [
            # Never read-only here: a clone's file system may have to replay its journal when it is mounted.
            {"name": "data", "persistentVolumeClaim": {"claimName": mover.claim, "readOnly": mover.read_only_volume}},
            {"name": "muster", "secret": {"secretName": mover.name, "defaultMode": mode}},
            {"name": "tmp", "emptyDir": {}},
            *([{"name": "repository", **repository.volume}] if repository.volume else []),
        ],
    }
    if settings.registry:
        pod["imagePullSecrets"] = [{"name": f"{mover.name}-pull"}]
    selinux = settings.selinux or mover.selinux
    if selinux:
        pod["securityContext"] = {"seLinuxOptions": dict(selinux)}
    if settings.node_selector and not mover.node:
        pod["nodeSelector"] = dict(settings.node_selector)
    rather = placement.affinity(mover.placement)
    if rather:
        pod["affinity"] = {"nodeAffinity": rather}
    if mover.node:
        pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _on(mover.node)}}
    if mover.spread:
        apart = {"matchLabels": {marks.RUN: mover.labels[marks.RUN]}}
        pod["topologySpreadConstraints"] = [
            {"maxSkew": 1, "topologyKey": _HOST, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": apart}
        ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": mover.name, "namespace": mover.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 2,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": int(settings.timeout),
            "ttlSecondsAfterFinished": 1800,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "restic",
                            "operator": "In",
                            "values": [3, 10, 12, *scripts.FINAL, 126, 127],
                        },
                    },
                ]
            },
            "template": {
                "metadata": {"labels": {**labels, **_ISTIO}, "annotations": {**_ISTIO, **_MESHES}},
                "spec": pod,
            },
        },
    }


def without_ssh(repository: Repository, namespace: str) -> InvalidInput | None:
    """Why movers that have the application's user, as in a namespace of level ``restricted``, cannot log in there."""
    if not repository.url.startswith("sftp:"):
        return None
    return InvalidInput(
        "use",
        f"{repository.target} in namespace {namespace}",
        "ssh runs for users only that the image knows, and movers there have that of the application",
        "Use another backend, or a namespace of the Pod Security level baseline.",
    )


def resources(mover: Mover, settings: Settings) -> JSON:
    """Of the container. No limit unless the user sets one: it would end a backup when it is nearly done."""
    asked = {"requests": {"cpu": "50m", "memory": sizing.quantity(mover.memory)}}
    return dict(settings.resources or asked)


def _security(mover: Mover, repository: Repository) -> JSON:
    context: JSON = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"]},
    }
    if mover.run_as_user:
        return {**context, "runAsUser": mover.run_as_user, "runAsNonRoot": True}
    # A directory may belong to the user of this machine.
    more = {"DAC_OVERRIDE"} if repository.volume else set()
    context["capabilities"]["add"] = sorted({*mover.capabilities, *more})
    return {**context, "runAsUser": 0, "runAsGroup": 0}


def _on(node: str) -> JSON:
    field_of_node = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"nodeSelectorTerms": [{"matchFields": [field_of_node]}]}


def secrets(mover: Mover, settings: Settings, repository: Repository, owner: JSON) -> list[JSON]:
    """The Secrets of a mover, pull secret first: its data may start the pod."""
    made: list[JSON] = []
    if settings.registry:
        made.append(
            {
                **pull_secret(mover.namespace, f"{mover.name}-pull", logins(settings.registry), mover.labels),
                **_owned(mover, owner, "Secret", f"{mover.name}-pull"),
            }
        )
    made.append(
        {
            **_owned(mover, owner, "Secret", mover.name),
            "type": "Opaque",
            "data": {name: _encode(value) for name, value in secret_files(repository).items()},
        }
    )
    return made


def network_policy(mover: Mover, repository: Repository, owner: JSON) -> JSON:
    """Lets the mover reach the repository (and DNS) where the namespace denies by default; nobody reaches the mover."""
    return {
        **_owned(mover, owner, "NetworkPolicy", mover.name, "networking.k8s.io/v1"),
        "spec": {
            "podSelector": {"matchLabels": {marks.MOVER: mover.name}},
            "policyTypes": ["Ingress", "Egress"],
            # A volume is mounted by the node, whose traffic no policy of a pod concerns.
            "egress": [] if repository.volume else _egress(*endpoint(repository.url)),
        },
    }


def _egress(host: str, port: int) -> list[JSON]:
    to: JSON = {"ports": [{"protocol": "TCP", "port": port}]}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Ports are those of pods, and not those of the services before them: that of a service's pod is not known here,
        # and OpenShift's DNS listens on 5353.
        words = host.split(".")
        if len(words) < 3 or words[2] == "svc":
            to = {"ports": [{"protocol": "TCP"}]}
        return [to, {"ports": [{"protocol": kind, "port": port} for port in (53, 5353) for kind in ("UDP", "TCP")]}]
    return [{**to, "to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}]}]


def require_reachable(repository: Repository) -> None:
    """Raise :class:`InvalidInput` where movers cannot get at the repository, or its login not to them."""
    if not repository.volume:
        endpoint(repository.url)
        if repository.url.startswith("sftp:") and not (repository.ssh.key and repository.ssh.known_hosts):
            raise InvalidInput(
                "use",
                f"{repository.target} for movers",
                "they log in with a key of their own, at a server whose key they know",
                "Set repository.ssh_key_file and repository.ssh_known_hosts. Compare what ssh-keyscan prints with what "
                "the server's administrator says.",
            )
        secret_files(repository)


def endpoint(url: str) -> tuple[str, int]:
    """Host and port that a mover connects to; :class:`InvalidInput` where only this machine has the repository."""
    kind, _colon, rest = url.partition(":")
    target = f"repository {printable(url)} for volumes in a cluster"
    if is_raw(url) and kind != "s3":
        raise InvalidInput(
            "use",
            target,
            "it is a directory of this machine, which movers can not reach",
            "Use a repository on an object store or a REST server, or say with repository.volume how movers mount the "
            "directory.",
        )
    if kind == "sftp":
        server = ssh.Server.of(url, target)
        return server.host, server.port or 22
    if kind not in backends.VARIABLES:
        raise InvalidInput(
            "use",
            target,
            f"a login for {kind} is not given to movers, as it is in files of this machine",
            "Use an object store, a REST server, or a directory with repository.volume.",
        )
    if kind in _CLOUDS:
        return _CLOUDS[kind], 443
    if "://" not in rest:
        rest = "https://" + rest.removeprefix("//")
    try:
        parts = urlsplit(rest)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInput("use", target, str(error), "Correct the URL.") from None
    if not host:
        raise InvalidInput(
            "use", target, "it is a socket of this machine", "Use the server's address, such as rest:https://host/path."
        )
    return host, port or (80 if parts.scheme == "http" else 443)


def _owned(mover: Mover, owner: JSON, kind: str, name: str, api_version: str = "v1") -> JSON:
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": mover.namespace,
            "labels": dict(mover.labels),
            "ownerReferences": [reference],
        },
    }


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
