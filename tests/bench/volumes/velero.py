# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real Velero at both sites, as its own installer sets it up: server, node agent, CSI data movement with kopia."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from integration.sites import BED, Site

JSON = dict[str, Any]
_IMAGE = "muster-bench/velero:1.18.2"
_SPACE = "velero"
# Velero finds the class of snapshots by it.
_CLASS = "velero.io/csi-volumesnapshot-class"
_DOCKERFILE = """\
FROM debian:bookworm-slim
COPY velero /velero
COPY store /plugins/store
ENTRYPOINT ["/velero"]
"""


class Velero:
    """Uses one prefix in the first site's bucket; :meth:`remove` takes all of it away but for what is in the bucket."""

    def __init__(self, facts: JSON, *sites: Site) -> None:
        built = subprocess.run([BED, "build", "velero"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self._folder = Path(built)
        self._docker = ["docker", "-H", str(facts["docker_host"])]
        self._store = sites[0].store("")
        self._sites = sites
        self.prefix = f"bench-velero-{uuid.uuid4().hex[:8]}"
        self._image()
        for site in sites:
            self._install(site)
        for site in sites:
            for what in ("deployment/velero", "daemonset/node-agent"):
                site.kubectl("rollout", "status", "-n", _SPACE, what, "--timeout=180s")
            self._until(site, "backupstoragelocations.velero.io/default", "Available")

    def _image(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "Dockerfile").write_text(_DOCKERFILE, encoding="utf-8")
            for name in ("velero", "store"):
                Path(folder, name).hardlink_to(self._folder / name)
            build = [*self._docker, "build", "-q", "-t", _IMAGE, folder]
            subprocess.run(build, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        archive = subprocess.run([*self._docker, "save", _IMAGE], capture_output=True, check=True).stdout
        for site in self._sites:
            words = ["exec", "-i", str(site.facts["node"]), "ctr", "-n", "k8s.io", "images", "import", "-"]
            subprocess.run([*self._docker, *words], input=archive, stdout=subprocess.DEVNULL, check=True)

    def _run(self, site: Site, *words: str) -> str:
        command = [str(self._folder / "velero"), f"--kubeconfig={site.kubeconfig}", *words]
        environment = {**os.environ, "HOME": "/nonexistent"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
        return done.stdout

    def _install(self, site: Site) -> None:
        place = {"region": self._store["region"], "s3ForcePathStyle": "true", "s3Url": self._store["endpoint_url"]}
        keys = [f"aws_access_key_id={self._store['access_key']}", f"aws_secret_access_key={self._store['secret_key']}"]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as login:
            login.write("\n".join(["[default]", *keys, ""]))
            login.flush()
            text = self._run(
                site,
                "install",
                "--dry-run",
                "--output=json",
                f"--image={_IMAGE}",
                f"--plugins={_IMAGE}",
                "--provider=aws",
                "--bucket=muster",
                f"--prefix={self.prefix}",
                f"--backup-location-config={','.join(f'{name}={value}' for name, value in place.items())}",
                f"--secret-file={login.name}",
                f"--cacert={self._store['ca_cert']}",
                "--use-node-agent",
                "--use-volume-snapshots=false",
                "--features=EnableCSI",
            )
        objects = json.loads(text)["items"]
        for item in objects:
            if item["kind"] == "Deployment":
                # The plugin is in the image, where else an image of its own brings it.
                pod = item["spec"]["template"]["spec"]
                pod["initContainers"] = []
                mounts = pod["containers"][0]["volumeMounts"]
                pod["containers"][0]["volumeMounts"] = [one for one in mounts if one["name"] != "plugins"]
        definitions = [item for item in objects if item["kind"] == "CustomResourceDefinition"]
        site.apply(*definitions)
        for item in definitions:
            site.kubectl("wait", f"crd/{item['metadata']['name']}", "--for=condition=Established", "--timeout=60s")
        site.apply(*(item for item in objects if item not in definitions))
        for found in site.get("volumesnapshotclasses")["items"]:
            name = found["metadata"]["name"]
            site.kubectl("label", "volumesnapshotclass", name, f"{_CLASS}=true", "--overwrite")

    def _until(self, site: Site, what: str, phase: str) -> None:
        site.kubectl("wait", "-n", _SPACE, what, f"--for=jsonpath={{.status.phase}}={phase}", "--timeout=180s")

    # -- what is timed ------------------------------------------------------------------------------------------

    def backup(self, site: Site, namespace: str) -> tuple[str, float]:
        """Claims of a namespace with their data; the backup's name, and how many seconds it took."""
        name = f"b-{uuid.uuid4().hex[:8]}"
        began = time.monotonic()
        self._run(
            site,
            *("backup", "create", name, f"--include-namespaces={namespace}", "--snapshot-move-data", "--wait"),
            "--exclude-resources=pods",
        )
        took = time.monotonic() - began
        self._completed(site, "backup", name)
        return name, took

    def restore(self, site: Site, backup: str, namespace: str, target: str) -> float:
        """The seconds of a restore into another namespace."""
        # A site learns of what others have written once a minute; that is not the restore's time.
        path = f"backups.velero.io/{backup}"
        for _try in range(200):
            if site.kubectl("get", "-n", _SPACE, path, "--ignore-not-found", "-o", "name").strip():
                break
            time.sleep(1)
        name = f"r-{uuid.uuid4().hex[:8]}"
        began = time.monotonic()
        mapping = f"--namespace-mappings={namespace}:{target}"
        self._run(site, "restore", "create", name, f"--from-backup={backup}", mapping, "--wait")
        took = time.monotonic() - began
        self._completed(site, "restore", name)
        return took

    def _completed(self, site: Site, kind: str, name: str) -> None:
        status = site.get(f"{kind}s.velero.io/{name}", "-n", _SPACE)["status"]
        assert status["phase"] == "Completed", f"{kind} {name}: {json.dumps(status)[:2000]}"

    def remove(self) -> None:
        for site in self._sites:
            if site.kubectl("get", "crd", "restores.velero.io", "--ignore-not-found", "-o", "name").strip():
                # Only its server takes away what keeps them.
                site.kubectl("delete", "-n", _SPACE, "restores.velero.io", "--all", "--timeout=120s")
            site.kubectl("delete", "namespace", _SPACE, "--ignore-not-found", "--timeout=120s")
            names = site.kubectl("get", "crd", "-o", "name").split()
            theirs = [name for name in names if name.endswith(".velero.io")]
            if theirs:
                site.kubectl("delete", *theirs, "--timeout=120s")
            site.kubectl("delete", "clusterrolebinding", "velero", "--ignore-not-found")
            site.kubectl("label", "volumesnapshotclass", "--all", f"{_CLASS}-")
