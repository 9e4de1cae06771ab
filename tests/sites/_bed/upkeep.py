"""Up and down: what makes the bed, in which order, and what removes it."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from . import authority, cluster, engine, faults, gobuild, images, leftovers, reset, settings, stores
from .engine import Engine
from .places import REGION, SITES, USER, WITNESS, Bed
from .steps import BedError, say, step, together

TOOLS = ("restic", "kubectl", "kind", "crane")


def up(bed: Bed, nodes: int | None = None) -> None:
    """Bring everything up; what is up already is left alone."""
    if whole(bed, nodes):
        say("both sites and the witness are up")
        return
    kept = settings.load(bed)
    if nodes is not None and nodes != kept.nodes and bed.facts.exists():
        raise BedError(
            f"The bed has {kept.nodes} node(s) per site and was asked for {nodes}",
            "Run `bed down` first.",
        )
    kept.nodes = nodes or kept.nodes
    settings.save(bed, kept)
    with step("engine", bed.logs):
        host = engine.up(bed)
    authority.authority(bed)
    wanted = images.names(bed)
    with builder(bed) as programs_built:
        images.provide(bed, host, wanted, programs_built, nodes=cluster.lacking(bed, host, kept.nodes))
        programs_built()
    tools(bed)
    faults.heal(bed, host)
    driver = cluster.driver(bed)
    works = [partial(site_up, bed, host, site, kept.nodes, wanted, driver) for site in SITES]
    movers = together(*works, partial(witness_up, bed, host, wanted))
    images.drop_older(host, wanted)
    write_facts(bed, host, dict(zip(SITES, movers, strict=False)))
    say("both sites and the witness are up: .work/sites/bed.json tells where everything is")


def fetch(bed: Bed, group: str) -> None:
    with step(f"fetch {group}", bed.logs, quiet=True):
        gobuild.fetch(bed, group)


@contextlib.contextmanager
def builder(bed: Bed) -> Iterator[Callable[[], None]]:
    """Build the missing Go programs beside other work; the yielded function waits for them."""
    failure: list[BaseException] = []

    def build() -> None:
        try:
            missing = gobuild.missing(bed)
            # Downloads wait for the network, builds for the processor: the next group's modules come meanwhile.
            ahead = ThreadPoolExecutor(1)
            try:
                coming = [ahead.submit(fetch, bed, group) for group in missing]
                for group, fetched in zip(missing, coming, strict=True):
                    with step(f"build {group}", bed.logs):
                        fetched.result()
                        gobuild.build(bed, group)
            finally:
                ahead.shutdown(cancel_futures=True)
            if missing:
                gobuild.forget(bed)
        except BaseException as error:  # raised again by whoever waits
            failure.append(error)

    worker = threading.Thread(target=build, daemon=True)
    worker.start()

    def wait() -> None:
        worker.join()
        if failure:
            raise failure[0]

    yield wait


def site_up(bed: Bed, host: Engine, site: str, nodes: int, wanted: images.Images, driver: Path) -> str:
    """Stores and cluster of one site; returns the name of its mover image."""

    trusted, made = threading.Event(), list[str]()

    def storage() -> str:
        stores.up(bed, host, site, wanted.services)
        mover = stores.push_mover(bed, host, site, wanted.mover)
        trusted.wait()
        if made:
            stores.pull_mover(bed, host, site, mover, bed.nodes(site, nodes))
        return mover

    def kubernetes() -> str:
        try:
            cluster.create(bed, host, site, nodes, wanted.node)
            cluster.trust(bed, host, site, nodes)
            made.append(site)
        finally:
            trusted.set()
        cluster.answers(bed, host, site)
        cluster.routes(bed, host, site, nodes)
        cluster.add(bed, host, site, nodes, driver, wanted.own_node)
        cluster.works(bed, host, site)
        return ""

    mover = together(storage, kubernetes)[0]
    reset.remember(bed, host, site)
    return mover


def witness_up(bed: Bed, host: Engine, wanted: images.Images) -> str:
    stores.up(bed, host, WITNESS, wanted.services)
    return ""


def tools(bed: Bed) -> None:
    """Links to the programs that users of the bed need."""
    bed.bin.mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        link, program = bed.bin / name, gobuild.program(bed, name)
        if not link.is_symlink() or link.readlink() != program:
            link.unlink(missing_ok=True)
            link.symlink_to(program)


def s3_facts(bed: Bed, host: Engine, site: str) -> dict[str, str]:
    access, _, region = authority.s3_login(bed, site)
    return {
        "endpoint_url": stores.object_store(bed, host, site).endpoint, "access_key": access,
        "secret_key_file": str(bed.secrets / f"{site}-s3-secret-key"), "region": region,
    }  # fmt: skip


def write_facts(bed: Bed, host: Engine, movers: dict[str, str]) -> None:
    """bed.json: where everything is and how to log in, for inventories and tests."""
    sites = {}
    for site in SITES:
        sites[site] = {
            "kubeconfig": str(bed.kubeconfig(site)), "context": f"kind-{bed.cluster(site)}",
            "node": bed.nodes(site, 1)[0], "node_address": host.network.node(site),
            "api_server": cluster.server(host, site),
            "registry": {
                "name": stores.registry_name(host, site), "username": USER,
                "password_file": str(bed.secrets / f"{site}-registry-password"),
                "auth_file": str(stores.login_file(bed, host, site) / "config.json"),
            },
            "s3": s3_facts(bed, host, site),
            "mover_image": movers[site],
        }  # fmt: skip
    facts = {
        "bed": bed.id, "docker_host": host.host, "network": bed.name, "ca_file": str(bed.ca), "region": REGION,
        "sites": sites, "witness": {"s3": s3_facts(bed, host, WITNESS)},
        "tools": {name: str(bed.bin / name) for name in TOOLS}, **authority.operator_keys(bed),
    }  # fmt: skip
    authority.write(bed.facts, json.dumps(facts, indent=2) + "\n")


def whole(bed: Bed, nodes: int | None = None) -> bool:
    """True when nothing at all is left to do."""
    kept = settings.load(bed)
    if not bed.facts.exists() or kept.faults or (nodes is not None and nodes != kept.nodes) or gobuild.missing(bed):
        return False
    host = engine.find(bed)
    if host is None:
        return False
    have = host.states(bed.name)
    wanted = [name for site in SITES for name in bed.nodes(site, kept.nodes)]
    wanted += [bed.container(site, part) for site in (*SITES, WITNESS) for part in stores.parts(site)]
    if any(have.get(name) != "running" for name in wanted):
        return False
    questions: list[Callable[[], bool]] = [
        *(stores.object_store(bed, host, site).ready for site in (*SITES, WITNESS)),
        *(partial(stores.has_mover, bed, host, site, images.names(bed).mover) for site in SITES),
        *(partial(cluster.up_to_date, bed, host, site) for site in SITES),
    ]
    return all(together(*questions))


def down(bed: Bed) -> None:
    """Remove the bed and every trace of it on the machine; the cache stays."""
    host = engine.find(bed)
    if host is not None:
        with step("remove containers", bed.logs):
            names = list(host.states(bed.name))
            # Paused containers can not be removed by every engine.
            for name in [n for n, state in host.states(bed.name).items() if state == "paused"]:
                host.docker("unpause", name, check=False)
            if names:
                host.docker("rm", "-f", "-v", *names)
            volumes = host.docker("volume", "ls", "-q", "--filter", f"name=^{bed.name}-").split()
            if volumes:
                host.docker("volume", "rm", "-f", *volumes)
            if not host.private:
                made = images.names(bed)
                ours = [made.node, made.services, made.userland] if made.own_node else [made.services, made.userland]
                host.docker("rmi", *ours, check=False)
    with step("remove engine" if settings.load(bed).private else "remove network", bed.logs):
        engine.down(bed, host)
    leftovers.remove_tree(bed.work / "build")
    logs = bed.logs
    for entry in list(bed.work.iterdir()) if bed.work.exists() else []:
        if entry != logs and entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    say("the bed is gone; logs are in " + str(logs.relative_to(bed.checkout)))
