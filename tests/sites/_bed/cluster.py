"""A site's Kubernetes: the kind cluster, and what the bed adds to it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from . import archive, cache, gobuild, images, kube, settings
from .authority import write
from .engine import Engine
from .places import API_PORT, POD_SUBNET, REGISTRY_PORT, SERVICE_SUBNET, SITES, Bed
from .steps import BedError, CommandError, note, run, step, wait_for

DRIVER = "docker.io/muster-bed/csi-driver:dev"
# Namespaces of a cluster that hold only the bed's own pods
SPACES = ("kube-system", "local-path-storage")
MARK = "/api/v1/namespaces/kube-system/configmaps/muster-bed"


def api(bed: Bed, engine: Engine, site: str) -> kube.Api:
    return kube.Api(server(engine, site), bed.secrets / f"{site}-api")


def server(engine: Engine, site: str) -> str:
    return f"https://{engine.network.node(site)}:{API_PORT}"


def kubectl(bed: Bed, site: str, *words: str | Path, **options: object) -> str:
    program = gobuild.program(bed, "kubectl")
    return run([program, "--kubeconfig", bed.kubeconfig(site), *words], **options)  # type: ignore[arg-type]


def configuration(bed: Bed, site: str, nodes: int) -> dict[str, object]:
    """kind's configuration of a site."""
    pool = bed.work / "pools" / site
    node: dict[str, object] = {}
    if nodes > 1:
        # The CSI driver's volumes can be used on any node then.
        pool.mkdir(parents=True, exist_ok=True)
        node["extraMounts"] = [{"hostPath": str(pool), "containerPath": "/var/lib/muster-csi"}]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": bed.cluster(site),
        "networking": {"podSubnet": POD_SUBNET[site], "serviceSubnet": SERVICE_SUBNET[site]},
        "kubeadmConfigPatches": [
            # A score below 0 takes CAP_SYS_RESOURCE; old kernels' cgroups are good enough for a test.
            json.dumps({"kind": "KubeletConfiguration", "oomScoreAdj": 0, "failCgroupV1": False,
                        "serializeImagePulls": False}),
            json.dumps({"kind": "KubeProxyConfiguration", "oomScoreAdj": 0}),
        ],
        "nodes": [{"role": "control-plane" if n == 0 else "worker", **node} for n in range(nodes)],
    }  # fmt: skip


def lacking(bed: Bed, engine: Engine, nodes: int) -> bool:
    """True when a site's nodes are not all there."""
    have = engine.states(bed.name)
    return any(name not in have for site in SITES for name in bed.nodes(site, nodes))


def create(bed: Bed, engine: Engine, site: str, nodes: int, node_image: str) -> None:
    """Create the site's cluster when it is not there; half a cluster is removed and made again."""
    wanted = bed.nodes(site, nodes)
    have = engine.states(f"{bed.cluster(site)}-")
    if set(wanted) <= set(have) and bed.kubeconfig(site).exists():
        return
    with step(f"{site}: create cluster", bed.logs):
        kind = gobuild.program(bed, "kind")
        docker = shutil.which("docker")
        assert docker is not None
        with tempfile.TemporaryDirectory(prefix="muster-kind-") as folder:
            shim = Path(folder, "docker")
            shim.symlink_to(Path(__file__).parent / "files/docker-with-addresses")
            file = Path(folder, "kind.json")
            file.write_text(json.dumps(configuration(bed, site, nodes)))
            env = {
                **engine.env, "PATH": f"{folder}:{os.environ['PATH']}", "MUSTER_DOCKER": docker,
                "MUSTER_NODES": " ".join(f"{n}={engine.network.node(site, i)}" for i, n in enumerate(wanted)),
                "KIND_EXPERIMENTAL_DOCKER_NETWORK": bed.name, "KUBECONFIG": str(Path(folder, "kubeconfig")),
            }  # fmt: skip
            bed.kubeconfig(site).unlink(missing_ok=True)  # its absence tells of half a cluster
            run([kind, "delete", "cluster", "--name", bed.cluster(site)], env=env)
            try:
                run([kind, "create", "cluster", "--config", file, "--image", node_image, "--retain", "-v", "1"],
                    env=env, timeout=600)  # fmt: skip
            except BedError:
                with contextlib.suppress(BedError):
                    note(engine.docker("logs", "--tail", "50", wanted[0], check=False))
                    journal = ["journalctl", "-u", "kubelet", "-n", "80", "--no-pager"]
                    note(engine.docker("exec", wanted[0], *journal, check=False))
                raise
        admin = engine.docker("exec", wanted[0], "cat", "/etc/kubernetes/admin.conf")
        kube.extract(admin, bed.secrets / f"{site}-api")
        text = kube.kubeconfig(f"kind-{bed.cluster(site)}", server(engine, site), bed.secrets / f"{site}-api")
        write(bed.kubeconfig(site), text)


def trust(bed: Bed, engine: Engine, site: str, nodes: int) -> None:
    """Let the nodes' containerd trust the certificates of both registries (no login: that is the pods' matter)."""
    script = ["set -e"]
    for place in SITES:
        name = f"{engine.network.registry(place)}:{REGISTRY_PORT}"
        folder = f"/etc/containerd/certs.d/{name}"
        hosts = f'server = "https://{name}"\n[host."https://{name}"]\n  ca = "{folder}/ca.crt"\n'
        script += [f"mkdir -p {folder}", f"cat > {folder}/ca.crt <<'E'\n{bed.ca.read_text()}E",
                   f"cat > {folder}/hosts.toml <<'E'\n{hosts}E"]  # fmt: skip
    for node in bed.nodes(site, nodes):
        engine.docker("exec", "-i", node, "sh", "-s", feed="\n".join(script))


def routes(bed: Bed, engine: Engine, site: str, nodes: int) -> None:
    """Routes between the nodes' pod ranges; a node forgets them when it is started again."""
    if nodes < 2:
        return
    ranges = {n["metadata"]["name"]: n["spec"].get("podCIDR") for n in api(bed, engine, site).items("/api/v1/nodes")}
    names = bed.nodes(site, nodes)
    for number, name in enumerate(names):
        for other in names:
            if other != name and ranges.get(name):
                engine.docker("exec", other, "ip", "route", "replace", ranges[name],
                              "via", engine.network.node(site, number))  # fmt: skip


def load_pods(bed: Bed, engine: Engine, site: str, nodes: int) -> None:
    """Put the bed's pod images into nodes that were not made by the bed."""
    path = images.pod_archive(bed, engine, images.names(bed))
    for node in bed.nodes(site, nodes):
        engine.docker("cp", path, f"{node}:/kind/pods.tar")
        script = (
            "ctr -n k8s.io images import /kind/pods.tar >/dev/null && rm /kind/pods.tar && "
            f"ctr -n k8s.io images tag --force {images.CONTROL} docker.io/{images.SIDECARS}"
        )
        engine.docker("exec", node, "sh", "-c", script)


def driver_key(bed: Bed) -> str:
    """Content key of the CSI driver: what its program is built from, which its tests are not."""
    folder = bed.here / "csi"
    sources = [file for file in sorted(folder.glob("*.go")) if not file.name.endswith("_test.go")]
    return cache.key(*sources, folder / "go.mod", folder / "go.sum")


def driver(bed: Bed) -> Path:
    """Build the CSI driver; returns the program."""
    folder, key = bed.here / "csi", driver_key(bed)
    program = bed.cache / "bin" / f"csi-driver-{key}" / "csi-driver"
    if not program.exists():
        with step("csi driver", bed.logs):
            program.parent.mkdir(parents=True, exist_ok=True)
            part = program.with_suffix(f".{os.getpid()}")
            words = [*gobuild.BUILD, "-ldflags", "-s -w", "-o", part, "."]
            run([gobuild.go(bed), *words], cwd=folder, env=gobuild.environment(bed, folder))
            part.replace(program)
            cache.drop_others(program.parents[1], "csi-driver", program.parent.name)
    return program


def load_driver(bed: Bed, engine: Engine, site: str, nodes: int, program: Path) -> bool:
    """Put the CSI driver's image into the nodes unless it is there: a layer on the image that they have.

    Returns True when it was put there.
    """
    changed, mark = False, program.parent.name
    for node in bed.nodes(site, nodes):
        if engine.docker("exec", node, "cat", "/kind/csi-driver", check=False).strip() == mark:
            continue
        with tempfile.TemporaryDirectory(prefix="muster-driver-") as folder:
            layer = archive.Layer(Path(folder, "layer"))
            archive.compose(layer, None, {"usr/local/bin/csi-driver": program})
            file = Path(folder, "driver.tar")
            image = archive.Image(DRIVER, ["/usr/local/bin/csi-driver"], layer, base_in(engine, node, images.CONTROL))
            archive.write(file, [image])
            engine.docker("cp", file, f"{node}:/kind/driver.tar")
        script = "ctr -n k8s.io images import /kind/driver.tar && rm /kind/driver.tar && echo $0 > /kind/csi-driver"
        engine.docker("exec", node, "sh", "-c", script, mark)
        changed = True
    return changed


def base_in(engine: Engine, node: str, image: str) -> archive.Base:
    """The layers of an image that a node's containerd has."""

    def content(digest: str) -> kube.Document:
        found: kube.Document = json.loads(engine.docker("exec", node, "ctr", "-n", "k8s.io", "content", "get", digest))
        return found

    listed = engine.docker("exec", node, "ctr", "-n", "k8s.io", "images", "ls", f"name=={image}")
    digest = re.search(r"sha256:[0-9a-f]{64}", listed)
    if not digest:
        raise BedError(f"{node} does not have {image}")
    manifest = content(digest[0])
    return archive.Base(manifest["layers"], content(manifest["config"]["digest"])["rootfs"]["diff_ids"])


def add(bed: Bed, engine: Engine, site: str, nodes: int, program: Path, own_node: bool) -> None:
    """Apply what the bed adds to a cluster and wait until it works. Done once per recipe; a rerun asks one question."""
    key = recipe(bed, nodes)
    found = api(bed, engine, site).get(MARK)
    if found and found["data"].get("recipe") == key:
        return
    with step(f"{site}: storage and network", bed.logs):
        if not own_node:
            load_pods(bed, engine, site, nodes)
        changed = load_driver(bed, engine, site, nodes, program)
        definitions = gobuild.folder_of(bed, "addons") / "crd"
        files = sorted(p for p in definitions.glob("*.yaml") if p.name != "kustomization.yaml")
        server_side = ["apply", "--server-side", "--force-conflicts", "--field-manager=muster-bed"]
        kubectl(bed, site, *server_side, *(word for file in files for word in ("-f", file)))
        kubectl(bed, site, "wait", "--for=condition=Established", "crd", "--timeout=30s",
                *(f.stem.split("_")[1] + "." + f.stem.split("_")[0] for f in files))  # fmt: skip
        with contextlib.suppress(CommandError):
            kubectl(bed, site, "annotate", "--overwrite", "storageclass", "standard",
                    "storageclass.kubernetes.io/is-default-class=false")  # fmt: skip
        router = (bed.here / "manifests/kube-router.yaml").read_text()
        kubectl(bed, site, *server_side, "-f", "-", feed=router.replace("@SERVICE_SUBNET@", SERVICE_SUBNET[site]))
        kubectl(bed, site, *server_side, "-f", bed.here / "csi/manifests")
        if changed and found:
            kubectl(bed, site, "-n", "kube-system", "rollout", "restart", "daemonset/muster-csi")
        settled(bed, site)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "muster-bed", "namespace": "kube-system"},
                "data": {"recipe": key}}  # fmt: skip
        kubectl(bed, site, *server_side, "-f", "-", feed=json.dumps(body))


def settled(bed: Bed, site: str, timeout: int = 180) -> None:
    """Wait until everything that the bed runs in a cluster is ready."""
    kubectl(bed, site, "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={timeout}s")
    for namespace, name in (
        ("kube-system", "daemonset/kube-router"), ("kube-system", "daemonset/muster-csi"),
        ("kube-system", "deployment/snapshot-controller"), ("kube-system", "deployment/coredns"),
        ("kube-system", "daemonset/kube-proxy"), ("local-path-storage", "deployment/local-path-provisioner"),
    ):  # fmt: skip
        kubectl(bed, site, "-n", namespace, "rollout", "status", name, f"--timeout={timeout}s")


def answers(bed: Bed, engine: Engine, site: str, timeout: float = 120) -> None:
    """Wait until the API server answers."""
    server_api = api(bed, engine, site)
    server_api.timeout = 3
    wait_for(f"The API server of {site}", server_api.ready, timeout)


def recipe(bed: Bed, nodes: int) -> str:
    """Content key of what the bed adds to a cluster."""
    return cache.key(bed.here / "manifests", bed.here / "csi/manifests", driver_key(bed), str(nodes))


def up_to_date(bed: Bed, engine: Engine, site: str) -> bool:
    """True when the API server answers and the cluster has what the bed would add to it today."""
    server_api = api(bed, engine, site)
    server_api.timeout = 3
    try:
        found = server_api.get(MARK)
    except (OSError, BedError):
        return False
    return bool(found and found["data"].get("recipe") == recipe(bed, settings.load(bed).nodes))


def works(bed: Bed, engine: Engine, site: str, timeout: float = 180) -> None:
    """Wait until every pod of the bed's own runs on its node as that node is now.

    After a node was started again the API goes on telling of its pods as they were before, so only containers count
    that were started since then.
    """
    server_api = api(bed, engine, site)
    nodes = bed.nodes(site, settings.load(bed).nodes)
    told = engine.docker("container", "inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *nodes)
    begun = {name.lstrip("/"): moment(text) for name, text in (line.split() for line in told.splitlines())}

    def fresh() -> bool:
        try:
            pods = [pod for space in SPACES for pod in server_api.items(f"/api/v1/namespaces/{space}/pods")]
        except (OSError, BedError):
            return False
        return all(runs_since(pod, begun.get(pod["spec"].get("nodeName", ""))) for pod in pods)

    wait_for(f"The pods of {site}", fresh, timeout, interval=0.5)


def moment(text: str) -> datetime.datetime:
    """A time as Docker or Kubernetes writes it, in whole seconds: Kubernetes tells no more of a container's start."""
    return datetime.datetime.fromisoformat(text[:19] + "+00:00")


def runs_since(pod: kube.Document, start: datetime.datetime | None) -> bool:
    """True when all containers of a pod are ready and were not started before their node was."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if len(statuses) < len(pod["spec"]["containers"]):
        return False
    for status in statuses:
        begun = status.get("state", {}).get("running", {}).get("startedAt")
        if not status.get("ready") or not begun or start is None or moment(begun) < start:
            return False
    return True
