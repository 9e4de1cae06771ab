# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""deploy: puts the ledger on a site of the test bed, or brings it up to date. Repeating it is harmless and quick."""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from operate.images import IMAGES, TAG, docker_config, push, write_login
from operate.site import LEDGER, NAMESPACE, Failed, Site, read_site, run, write_private

MANIFESTS = LEDGER / "manifests"
WORKLOADS = {"postgres": "statefulset/postgres", "api": "deployment/api"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy", description="Put the ledger on a site of the test bed.")
    parser.add_argument("--site", required=True, help="east or west")
    parser.add_argument("--wait", action="store_true", help="return only when it answers")
    parser.add_argument("--timeout", type=float, default=240, metavar="SECONDS", help="how long to wait (default 240)")
    parser.add_argument("--delete", action="store_true", help="remove the ledger from the site instead")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        site = read_site(options.site)
        if options.delete:
            delete(site)
        else:
            deploy(site, options.timeout if options.wait else None)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    verb = "removed from" if options.delete else "ready on" if options.wait else "applied to"
    print(f"ledger {verb} {site.name} in {time.monotonic() - started:.1f} s")
    return 0


def deploy(site: Site, wait: float | None) -> None:
    """Images, secrets, objects; then waits up to ``wait`` seconds."""
    lost = _lost_claims(site)
    if lost:
        raise Failed(
            f"Could not deploy the ledger: the volumes of its claims {', '.join(lost)} are gone."
            f" Run 'deploy --site {site.name} --delete' first."
        )
    with ThreadPoolExecutor(max_workers=len(IMAGES)) as pool:
        write_login(site)
        changed = dict(zip(IMAGES, pool.map(lambda name: push(site, name), IMAGES), strict=True))
    apply = site.kubectl_argv("apply", "--server-side", "--force-conflicts", "--field-manager=ledger-deploy", "-f")
    # The currencies need their definition, and all the rest the namespace.
    run("apply the Currency definition", [*apply, str(MANIFESTS / "currency-crd.yaml")])
    run("apply the namespace", [*apply, str(MANIFESTS / "namespace.yaml")])
    run("apply the secrets", [*apply, "-"], stdin=json.dumps(_secrets(site)))
    established = ("wait", "--for=condition=Established", "--timeout=60s", "crd/currencies.ledger.example.com")
    run("wait for the Currency definition", site.kubectl_argv(*established))
    old = [name for name in IMAGES if changed[name] and _exists(site, WORKLOADS[name])]
    for name in IMAGES:
        if changed[name]:
            _forget_image(site, name)
    run("apply the ledger", [*apply[:-1], "-k", _overlay(site)])
    for name in old:
        restart = ("rollout", "restart", "--namespace", NAMESPACE, WORKLOADS[name])
        run(f"restart {WORKLOADS[name]}", site.kubectl_argv(*restart))
    if wait is not None:
        deadline = time.monotonic() + wait
        for workload in WORKLOADS.values():
            left = max(1.0, deadline - time.monotonic())
            status = ("rollout", "status", "--namespace", NAMESPACE, workload, f"--timeout={left:.0f}s")
            try:
                run(f"see {workload} ready", site.kubectl_argv(*status), timeout=left + 30)
            except Failed as error:
                raise Failed(f"{error}\n{_pods(site)}") from error
        _until("read the ledger's currencies", deadline, lambda: _reads_catalogue(site))


def delete(site: Site) -> None:
    """Removes everything that deploy made in the cluster; images stay in the registry."""
    gone = ("delete", "--ignore-not-found", "--timeout=120s")
    run("delete the namespace", site.kubectl_argv(*gone, "namespace", NAMESPACE))
    run("delete the Currency definition", site.kubectl_argv(*gone, "-f", str(MANIFESTS / "currency-crd.yaml")))


def _lost_claims(site: Site) -> list[str]:
    """Claims whose volume was deleted: no pod will ever run with them."""
    look = ("get", "pvc", "--namespace", NAMESPACE, "--ignore-not-found", "-o", "json")
    found = run("list the claims", site.kubectl_argv(*look))
    claims = json.loads(found)["items"] if found else []
    return [claim["metadata"]["name"] for claim in claims if claim.get("status", {}).get("phase") == "Lost"]


def _secrets(site: Site) -> dict[str, Any]:
    """The database's password, made at the first deploy, and the login of the registry."""

    def secret(name: str, kind: str, data: dict[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "ledger"}},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }

    look = ("get", "secret", "ledger-postgres", "--namespace", NAMESPACE, "--ignore-not-found", "-o", "json")
    present = run("look for the database's password", site.kubectl_argv(*look))
    password = (
        base64.b64decode(json.loads(present)["data"]["password"]).decode() if present else secrets.token_urlsafe(24)
    )
    login = docker_config(site)
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            secret("ledger-postgres", "Opaque", {"password": password}),
            secret("ledger-registry", "kubernetes.io/dockerconfigjson", {".dockerconfigjson": login}),
        ],
    }


def _overlay(site: Site) -> str:
    """A kustomization that adds the site's registry to the manifests."""
    folder = site.work / "overlay"
    base = os.path.relpath(MANIFESTS.resolve(), folder.resolve())
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "images": [
            {"name": f"ledger/{name}", "newName": f"{site.registry}/ledger/{name}", "newTag": TAG} for name in IMAGES
        ],
    }
    write_private(folder / "kustomization.yaml", json.dumps(document, indent=1))
    return str(folder)


def _forget_image(site: Site, name: str) -> None:
    """Removes the old image of a tag from the node: pods use what the node has (IfNotPresent)."""
    argv = ["docker", "--host", site.docker_host, "exec", site.node, "crictl", "rmi"]
    # Absent is as good, and one in use loses its tag, which is what matters.
    subprocess.run([*argv, f"{site.registry}/ledger/{name}:{TAG}"], capture_output=True, check=False, timeout=60)


def _exists(site: Site, workload: str) -> bool:
    look = ("get", "--namespace", NAMESPACE, "--ignore-not-found", "-o", "name", workload)
    return bool(run(f"look for {workload}", site.kubectl_argv(*look)).strip())


def _reads_catalogue(site: Site) -> bool:
    path = f"/api/v1/namespaces/{NAMESPACE}/services/api:http/proxy/stats"
    try:
        stats = json.loads(run("ask the ledger", site.kubectl_argv("get", "--raw", path), timeout=30))
    except (Failed, ValueError):
        return False
    return bool(stats.get("currencies"))


def _pods(site: Site) -> str:
    try:
        return run("list pods and claims", site.kubectl_argv("get", "pods,pvc", "--namespace", NAMESPACE))
    except Failed as error:
        return str(error)


def _until(action: str, deadline: float, done: Callable[[], bool]) -> None:
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"Could not {action} in time. Look at 'kubectl --namespace {NAMESPACE} logs deployment/api'.")
        time.sleep(0.5)
