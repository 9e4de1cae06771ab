# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of volumes need: pods that hold claims, and the two modules with the bed's mover."""

from __future__ import annotations

import subprocess
from typing import Any

import boto3

from ..sites import JSON, Site, thing


def mover(site: Site) -> JSON:
    return {"image": site.facts["mover_image"], "registry": site.registry()}


def claim(namespace: str, name: str, *, size: str = "64Mi", storage_class: str = "csi", **spec: Any) -> JSON:
    wanted = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
        **spec,
    }
    return thing("PersistentVolumeClaim", name, namespace, spec=wanted)


def holder(site: Site, namespace: str, name: str, *claims: str, device: bool = False) -> JSON:
    """A pod that holds claims: mounted at, or as the device, ``/CLAIM``."""
    key, place = ("volumeDevices", "devicePath") if device else ("volumeMounts", "mountPath")
    container = {
        "name": "c",
        "image": site.facts["mover_image"],
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
        key: [{"name": one, place: f"/{one}"} for one in claims],
    }
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return thing("Pod", name, namespace, spec=spec)


def held(site: Site, namespace: str, name: str, *claims: str, device: bool = False) -> None:
    """Start such a pod and wait until it runs."""
    site.apply(holder(site, namespace, name, *claims, device=device))
    site.kubectl("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready", "--timeout=120s")


def shell(site: Site, namespace: str, pod: str, script: str) -> str:
    """Run a script in a pod and return what it printed."""
    return site.kubectl("exec", "-n", namespace, pod, "--", "/bin/sh", "-ec", script)


def let_go(site: Site, namespace: str, pod: str) -> None:
    site.kubectl("delete", "-n", namespace, f"pod/{pod}", "--wait=true", "--timeout=60s")


def export(site: Site, namespace: str, **options: Any) -> JSON:
    application = {"name": namespace, "namespaces": [namespace], **options.pop("application", {})}
    return site.run("volume_export", site=site.name, application=application, mover=mover(site), **options)


def bring(site: Site, namespace: str, volumes: list[JSON], **options: Any) -> JSON:
    """Import volumes at a site."""
    return site.run("volume_import", application=namespace, volumes=volumes, mover=mover(site), **options)


def environment(repository: JSON) -> dict[str, str]:
    """What plain restic needs to know of a repository."""
    return {
        "RESTIC_REPOSITORY": repository["url"],
        "RESTIC_PASSWORD_FILE": repository["password_file"],
        "RESTIC_CACERT": repository["ca_cert"],
        "AWS_ACCESS_KEY_ID": repository["access_key"],
        "AWS_SECRET_ACCESS_KEY": repository["secret_key"],
        "AWS_DEFAULT_REGION": repository["region"],
        "HOME": "/nonexistent",
    }


def restic(repository: JSON, *words: str) -> str:
    """Plain restic on a repository; what it printed."""
    command = [repository["restic"], "--no-cache", *words]
    return subprocess.run(command, env=environment(repository), capture_output=True, text=True, check=True).stdout


def bucket(site: Site) -> Any:
    """A client for the site's object store."""
    options = site.store("")
    return boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=options["access_key"],
        aws_secret_access_key=options["secret_key"],
        region_name=options["region"],
        verify=options["ca_cert"],
    )
