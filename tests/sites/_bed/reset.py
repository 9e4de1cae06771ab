"""Back to an empty site: everything that is not the bed's own goes, in seconds rather than by a new cluster."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from . import cluster, kube, settings, stores
from .engine import Engine
from .places import BUCKET, CRAMPED, SITES, WITNESS, Bed
from .steps import BedError, note, step, together

# Kept by the control plane for itself; they come and go without anybody's doing.
IGNORED = {
    "bindings", "certificatesigningrequests", "componentstatuses", "controllerrevisions", "csinodes",
    "csistoragecapacities", "endpoints", "endpointslices", "events", "ipaddresses", "leases", "nodes",
    "podmetrics", "nodemetrics", "volumeattachments", "leasecandidates",
}  # fmt: skip
# A webhook or an aggregated API whose server is gone would stand in the way of all else.
FIRST = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "apiservices",
         "validatingadmissionpolicybindings", "mutatingadmissionpolicybindings")  # fmt: skip
# They follow from what is deleted before them; only what is left then is deleted.
LAST = ("customresourcedefinitions", "persistentvolumes", "volumesnapshotcontents", "volumegroupsnapshotcontents")
# What would make new pods
WORKLOADS = ("cronjobs", "jobs", "deployments", "statefulsets", "daemonsets", "replicasets", "replicationcontrollers")
MANAGER = "muster-bed"
PATIENCE = 8.0


@dataclass(frozen=True)
class Found:
    """An object and where it is."""

    group: str
    resource: str
    namespace: str
    name: str
    owned: bool
    own: bool

    @property
    def key(self) -> str:
        return f"{self.group}/{self.resource}/{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        middle = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.group}{middle}/{self.resource}/{self.name}"


def survey(api: kube.Api) -> list[Found]:
    """Every object of a cluster that could be somebody's."""
    kinds = [(group, kind) for group, kind in api.resources() if kind["name"] not in IGNORED]

    def look(entry: tuple[str, kube.Document]) -> list[Found]:
        group, kind = entry
        with contextlib.suppress(kube.ApiError):
            return [found(group, kind["name"], item["metadata"]) for item in api.items(f"{group}/{kind['name']}")]
        return []

    with ThreadPoolExecutor(8) as pool:
        return [one for some in pool.map(look, kinds) for one in some]


def found(group: str, resource: str, metadata: kube.Document) -> Found:
    managers = {entry.get("manager") for entry in metadata.get("managedFields", [])}
    return Found(group, resource, metadata.get("namespace", ""), metadata["name"],
                 bool(metadata.get("ownerReferences")), MANAGER in managers)  # fmt: skip


def remember(bed: Bed, engine: Engine, site: str) -> None:
    """Write down what a new cluster has by itself. What the bed adds later carries its field manager."""
    api = cluster.api(bed, engine, site)
    file = bed.work / f"{site}-own.json"
    system = api.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    with contextlib.suppress(OSError, ValueError):
        if json.loads(file.read_text())["cluster"] == system:
            return
    file.write_text(json.dumps({"cluster": system, "own": sorted({one.key for one in survey(api)})}, indent=0))


def foreign(objects: Iterable[Found], own: set[str]) -> list[Found]:
    """What a reset deletes: neither there from the start, nor the bed's, nor something that goes with its owner."""
    spaces = {one.name for one in objects if one.resource == "namespaces" and (one.key in own or one.own)}
    return [
        one for one in objects
        if one.key not in own and not one.own and not one.owned
        and (not one.namespace or one.namespace in spaces) and not automatic(one)
    ]  # fmt: skip


def automatic(one: Found) -> bool:
    return (one.resource == "configmaps" and one.name == "kube-root-ca.crt") or (
        one.resource == "serviceaccounts" and one.name == "default"
    )


def reset(bed: Bed, engine: Engine, site: str) -> None:
    """Empty a site (or the witness): objects, images, buckets."""
    if site not in (*SITES, WITNESS):
        raise BedError(f"There is no place {site!r}", f"Places are {', '.join((*SITES, WITNESS))}.")
    with step(f"reset {site}", bed.logs):
        works = [partial(empty_store, bed, engine, site)]
        if site != WITNESS:
            works += [partial(empty_registry, bed, engine, site), partial(empty_cluster, bed, engine, site)]
        together(*works)


def delete(api: kube.Api, one: Found) -> None:
    with contextlib.suppress(kube.ApiError):
        api.call("DELETE", one.path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
        note(f"deleted {one.key}")


def empty_cluster(bed: Bed, engine: Engine, site: str) -> None:
    api = cluster.api(bed, engine, site)
    own = set(json.loads((bed.work / f"{site}-own.json").read_text())["own"])
    objects = survey(api)
    wanted = foreign(objects, own)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(delete, api), [one for one in wanted if one.resource in FIRST]))
        # Retained data would stay in the driver's pool for ever.
        list(pool.map(partial(let_go, api), [one for one in wanted if one.resource in LAST]))
        end_pods(api, {one.name for one in wanted if one.resource == "namespaces"}, objects)
        list(pool.map(partial(delete, api), [one for one in wanted if one.resource not in (*FIRST, *LAST)]))
        list(pool.map(partial(delete, api), [one for one in wanted if one.resource == "customresourcedefinitions"]))
    finish(api, own)
    forget_images(bed, engine, site)


def let_go(api: kube.Api, one: Found) -> None:
    change = {
        "persistentvolumes": {"spec": {"persistentVolumeReclaimPolicy": "Delete"}},
        "volumesnapshotcontents": {"spec": {"deletionPolicy": "Delete"}},
        "volumegroupsnapshotcontents": {"spec": {"deletionPolicy": "Delete"}},
    }.get(one.resource)
    if change:
        with contextlib.suppress(kube.ApiError):
            api.call("PATCH", one.path, change, "merge-patch+json")


def end_pods(api: kube.Api, spaces: set[str], objects: list[Found]) -> None:
    """End all pods of namespaces within a second or two.

    The namespace controller would give them their grace period, and come back only after half of it.
    """
    orphan = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}
    at_once = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1}

    def end(path: str, how: kube.Document) -> None:
        with contextlib.suppress(kube.ApiError):
            api.call("DELETE", path, how)

    with ThreadPoolExecutor(8) as pool:
        owners = [one for one in objects if one.namespace in spaces and one.resource in WORKLOADS]
        list(pool.map(lambda one: end(one.path, orphan), owners))
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE:
            pods = [(space, pod) for space in spaces for pod in api.items(f"/api/v1/namespaces/{space}/pods")]
            if not pods:
                return
            fresh = [f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}" for space, pod in pods
                     if pod["metadata"].get("deletionGracePeriodSeconds", 30) > 1]  # fmt: skip
            list(pool.map(lambda path: end(path, at_once), fresh))
            time.sleep(0.3)


def finish(api: kube.Api, own: set[str]) -> None:
    """Wait until it is all gone; finalizers that nobody serves any more are taken off after a while."""
    start = time.monotonic()
    while True:
        left = foreign(survey(api), own)
        if not left:
            return
        note(f"{time.monotonic() - start:.1f} s: " + ", ".join(sorted(one.key for one in left)))
        waited = time.monotonic() - start
        if waited > 60:
            raise BedError("Still there after 60 s: " + ", ".join(sorted(one.key for one in left)[:5]))
        if waited > PATIENCE / 2:
            for one in left:
                if one.resource != "namespaces":
                    delete(api, one)
        if waited > PATIENCE:
            spaces = {one.name for one in left if one.resource == "namespaces"}
            stuck = [o for o in survey(api) if o.namespace in spaces or (o in left and o.resource != "namespaces")]
            for one in stuck:
                with contextlib.suppress(kube.ApiError):
                    api.call("PATCH", one.path, {"metadata": {"finalizers": None}}, "merge-patch+json")
                    note(f"finalizers off {one.key}")
        time.sleep(0.5)


def forget_images(bed: Bed, engine: Engine, site: str) -> None:
    """Take images of the sites' registries out of the nodes, the mover excepted; what runs of them runs on."""
    if site not in SITES:
        raise BedError(f"There is no site {site!r}", f"Sites are {', '.join(SITES)}.")
    registries = tuple(stores.registry_name(engine, place) + "/" for place in SITES)
    for node in bed.nodes(site, settings.load(bed).nodes):
        rows = engine.docker("exec", node, "ctr", "-n", "k8s.io", "images", "ls").splitlines()[1:]
        images = [(row.split()[0], row.split()[2]) for row in rows]
        named = {digest for name, digest in images if name.startswith(registries)}
        kept = {digest for name, digest in images if f"/{stores.MOVER}@" in name}
        # containerd has each image by its id as well, which would keep its content.
        going = [name for name, digest in images if digest in named - kept]
        if going:
            engine.docker("exec", node, "ctr", "-n", "k8s.io", "images", "rm", "--sync", *going, check=False)


def empty_store(bed: Bed, engine: Engine, site: str) -> None:
    # The cramped bucket is a mount: only what is in it can go.
    words = ["find", "/data/buckets", "/data/versions", "-mindepth", "1", "!", "-path", f"/data/buckets/{CRAMPED}"]
    engine.docker("exec", bed.container(site, "s3"), *words, "-delete")
    kept = settings.load(bed)
    kept.faults = [fault for fault in kept.faults if fault[:2] != ["rot", site]]
    settings.save(bed, kept)
    stores.object_store(bed, engine, site).make_bucket(BUCKET)


def empty_registry(bed: Bed, engine: Engine, site: str) -> None:
    name = bed.container(site, "registry")
    strange = [one for one in stores.repositories(bed, engine, site) if one != stores.MOVER]
    root = "/data/docker/registry/v2/repositories"
    if strange:
        engine.docker("exec", name, "rm", "-rf", *(f"{root}/{one}" for one in strange))
        engine.docker("exec", name, "find", root, "-mindepth", "1", "-type", "d", "-empty", "-delete", check=False)
        engine.docker("exec", name, "registry", "garbage-collect", "/etc/registry/config.yml")
