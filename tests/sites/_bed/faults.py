"""Faults: what can happen to a place, each undone by `heal`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import cluster, images, kube, settings, stores
from .engine import Engine
from .places import API_PORT, POD_SUBNET, REGISTRY_PORT, S3_PORT, SERVICE_SUBNET, SITES, WITNESS, Bed
from .steps import BedError, CommandError, say, step, together, wait_for

PLACES = (*SITES, WITNESS)
PARTS = ("node", "registry", "s3")
CHAINS = ("MUSTER-CUT", "MUSTER-OWN")


@dataclass(frozen=True)
class Target:
    """A piece of a place: its container and address."""

    site: str
    part: str
    container: str
    address: str

    @property
    def port(self) -> int:
        return {"registry": REGISTRY_PORT, "s3": S3_PORT}.get(self.part, API_PORT)


def place(name: str) -> str:
    if name not in PLACES:
        raise BedError(f"There is no place {name!r}", f"Places are {', '.join(PLACES)}.")
    return name


def targets(bed: Bed, engine: Engine, site: str, parts: list[str] | None = None) -> list[Target]:
    """The pieces of a place, all or those named."""
    place(site)
    for part in parts or []:
        if part not in PARTS or (site == WITNESS and part != "s3"):
            raise BedError(f"{site} has no {part!r}", f"Parts are {', '.join(PARTS)} (of the witness: s3).")
    network, found = engine.network, []
    if site != WITNESS:
        nodes = bed.nodes(site, settings.load(bed).nodes)
        found += [Target(site, "node", name, network.node(site, n)) for n, name in enumerate(nodes)]
        found.append(Target(site, "registry", bed.container(site, "registry"), network.registry(site)))
    found.append(Target(site, "s3", bed.container(site, "s3"), network.s3(site)))
    return [target for target in found if not parts or target.part in parts]


def record(bed: Bed, *fault: str) -> None:
    kept = settings.load(bed)
    if list(fault) not in kept.faults:
        kept.faults.append(list(fault))
    settings.save(bed, kept)


def hang(bed: Bed, engine: Engine, site: str, parts: list[str]) -> None:
    """Freeze processes: connections stay open and nothing answers."""
    wanted = targets(bed, engine, site, parts)
    record(bed, "hang", site, *parts)
    with step(f"hang {site} {' '.join(parts)}".strip(), bed.logs, quiet=True):
        have = engine.states(bed.name)
        names = [t.container for t in wanted if have.get(t.container) == "running"]
        if names:
            engine.docker("pause", *names)
    say(f"{site}: hangs ({', '.join(t.part for t in wanted)})")


def stop(bed: Bed, engine: Engine, site: str, parts: list[str]) -> None:
    """Kill, and leave it so until heal."""
    wanted = targets(bed, engine, site, parts)
    record(bed, "stop", site, *parts)
    with step(f"stop {site} {' '.join(parts)}".strip(), bed.logs, quiet=True):
        kill(engine, wanted, engine.states(bed.name))
    say(f"{site}: stopped ({', '.join(t.part for t in wanted)})")


def kill(engine: Engine, wanted: list[Target], have: dict[str, str]) -> None:
    for target in wanted:
        if have.get(target.container) == "paused":
            engine.docker("unpause", target.container)
    names = [t.container for t in wanted if have.get(t.container) in ("running", "paused")]
    if names:
        engine.docker("kill", *names)


def power_cut(bed: Bed, engine: Engine, site: str, parts: list[str]) -> None:
    """Kill everything at once, start it again and wait until it works."""
    wanted = targets(bed, engine, site, parts)
    with step(f"power cut {site} {' '.join(parts)}".strip(), bed.logs):
        kill(engine, wanted, engine.states(bed.name))
        restart(bed, engine, wanted)


def crash_api(bed: Bed, engine: Engine, site: str) -> None:
    """Kill a site's API server as a crash does, and wait until its kubelet has started it again."""
    node = targets(bed, engine, site, ["node"])[0]
    with step(f"crash the API server of {site}", bed.logs, quiet=True):
        engine.docker("exec", node.container, "pkill", "-KILL", "-x", "kube-apiserver")
        cluster.answers(bed, engine, site)
    say(f"{site}: the API server crashed and answers again")


def restart(bed: Bed, engine: Engine, wanted: list[Target]) -> None:
    """Start what is stopped and wait until it works."""
    engine.docker("start", *(target.container for target in wanted))
    for site in dict.fromkeys(target.site for target in wanted):
        stores.ready(bed, engine, site)
        if any(target.part == "node" for target in wanted):
            cluster.answers(bed, engine, site)
            cluster.routes(bed, engine, site, settings.load(bed).nodes)
            cluster.works(bed, engine, site)


def destroy(bed: Bed, engine: Engine, site: str, parts: list[str]) -> None:
    """Remove containers and their data for good; heal makes new, empty ones."""
    wanted = targets(bed, engine, site, parts)
    record(bed, "destroy", site, *parts)
    with step(f"destroy {site} {' '.join(parts)}".strip(), bed.logs, quiet=True):
        have = engine.states(bed.name)
        for target in wanted:
            if have.get(target.container) == "paused":
                engine.docker("unpause", target.container)
        engine.docker("rm", "-f", "-v", *(t.container for t in wanted if t.container in have))
        volumes = [bed.container(site, t.part) for t in wanted if t.part != "node"]
        if volumes:
            engine.docker("volume", "rm", "-f", *volumes)
    say(f"{site}: destroyed ({', '.join(t.part for t in wanted)})")


def peers(bed: Bed, engine: Engine, site: str, names: list[str]) -> list[str]:
    """Addresses that are meant by names: a place, `node`/`registry`/`s3` (its own) or `registry:west`, `control`."""
    found: list[str] = []
    for name in names:
        part, _, where = name.partition(":")
        if name == "control":
            found += control_addresses(engine)
        elif part in PARTS:
            found += [t.address for t in targets(bed, engine, where or site, [part])]
        else:
            found += [t.address for t in targets(bed, engine, place(name))]
    return found


def control_addresses(engine: Engine) -> list[str]:
    """Addresses from which the control node (this machine) reaches the sites."""
    network = engine.network
    return [network.gateway, *([network.host_end, network.engine_end] if engine.private else [])]


def rules(own: list[str], away: list[str] | None) -> str:
    """A script of DROP rules for one network namespace, before connection tracking, so that no old connection survives.

    away: addresses to cut off from; None: everything that is not the place's own.
    """
    cut, inside = CHAINS
    lines = ["set -e", "i='iptables -w 10 -t raw'"]
    for chain in CHAINS:
        lines += [f"$i -N {chain} 2>/dev/null || $i -F {chain}"]
    lines.append(f"$i -A {cut} -s 127.0.0.0/8 -j ACCEPT")
    if away is None:
        lines += [f"$i -A {cut} -s {address} -j {inside}" for address in own]
        lines += [f"$i -A {inside} -d {address} -j ACCEPT" for address in own]
        lines += [f"$i -A {inside} -j DROP", f"$i -A {cut} -j DROP"]
    else:
        for address in away:
            lines += [f"$i -A {cut} -s {address} -j DROP", f"$i -A {cut} -d {address} -j DROP"]
    for hook in ("PREROUTING", "OUTPUT"):
        lines.append(f"$i -C {hook} -j {cut} 2>/dev/null || $i -I {hook} -j {cut}")
    return "\n".join(lines)


def no_rules() -> str:
    jumps = [f"while $i -D {hook} -j {CHAINS[0]} 2>/dev/null; do :; done" for hook in ("PREROUTING", "OUTPUT")]
    chains = [f"$i {verb} {chain} 2>/dev/null" for verb in ("-F", "-X") for chain in CHAINS]
    return "\n".join(["i='iptables -w 10 -t raw'", *jumps, *chains, "true"])


def inside(bed: Bed, engine: Engine, container: str, script: str, timeout: float = 30) -> str:
    """Run a script in a container's network namespace, whatever state its own processes are in."""
    return engine.docker(
        "run", "--rm", "-i", "--network", f"container:{container}", "--cap-add", "NET_ADMIN",
        "--entrypoint", "sh", tools_image(bed, engine), "-s", feed=script, timeout=timeout,
    )  # fmt: skip


def tools_image(bed: Bed, engine: Engine) -> str:
    """The services image; the one that was up before when the recipe has changed since."""
    wanted = images.names(bed).services
    if engine.has_image(wanted):
        return wanted
    have = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", wanted.split(":")[0]).split()
    return have[0] if have else wanted


def partition(bed: Bed, engine: Engine, site: str, names: list[str]) -> None:
    """Drop every packet between a place and its peers; without peers, between it and everything else."""
    wanted = targets(bed, engine, site)
    cut = peers(bed, engine, site, names) if names else None
    own = [t.address for t in wanted] + ([POD_SUBNET[site], SERVICE_SUBNET[site]] if site != WITNESS else [])
    record(bed, "partition", site, *names)
    kept = [fault[2:] for fault in settings.load(bed).faults if fault[:2] == ["partition", site]]
    if [] in kept:
        cut = None
    elif cut is not None:
        cut = sorted({address for fault in kept for address in peers(bed, engine, site, fault)})
    have = engine.states(bed.name)
    with step(f"partition {site}", bed.logs, quiet=True):
        works: list[Callable[[], str]] = []
        for target in wanted:
            away = None if cut is None else [address for address in cut if address != target.address]
            if have.get(target.container) in ("running", "paused"):
                works.append(partial(inside, bed, engine, target.container, rules(own, away)))
        together(*works)
    say(f"{site}: cut off from {', '.join(names) or 'everything'}")


def rot(bed: Bed, engine: Engine, site: str, name: str, position: int) -> None:
    """Flip one bit of an object in a site's S3, behind the gateway's back, as a dying disk does; heal flips it back."""
    (target,) = targets(bed, engine, site, ["s3"])
    if ["rot", site, name, str(position)] in settings.load(bed).faults:
        raise BedError(f"Byte {position} of {name} is flipped already", "Run `bed heal`, which flips it back.")
    with step(f"rot {site}", bed.logs, quiet=True):
        flip(engine, target, name, position)
    record(bed, "rot", site, name, str(position))
    say(f"{site}: bit 0 of byte {position} of {name} is flipped")


def flip(engine: Engine, target: Target, name: str, position: int) -> None:
    """Flip the lowest bit of one byte; a second flip is as if nothing had been."""
    program = (
        'my ($name, $at) = @ARGV; open(my $f, "+<", $name) or die "$name: $!\n"; binmode $f; seek($f, $at, 0); '
        'read($f, my $byte, 1) == 1 or die "it ends before byte $at\n"; seek($f, $at, 0); '
        'print $f chr(ord($byte) ^ 1); close($f) or die "$!\n"'
    )
    engine.docker("exec", target.container, "perl", "-e", program, f"/data/buckets/{name}", str(position))


def reachable(bed: Bed, engine: Engine, source: str, goal: str) -> bool:
    """True when a connection can be opened from a place (`east`, `s3:west`, `control`) to another."""
    part, _, where = goal.partition(":")
    target = targets(bed, engine, where, [part])[0] if where else targets(bed, engine, place(goal))[0]
    if source == "control":
        try:
            with socket.create_connection((target.address, target.port), 3):
                return True
        except OSError:
            return False
    part, _, where = source.partition(":")
    origin = targets(bed, engine, where, [part])[0] if where else targets(bed, engine, place(source))[0]
    script = f"timeout 4 busybox nc -w 3 {target.address} {target.port} </dev/null >/dev/null 2>&1 && echo open"
    try:
        return "open" in inside(bed, engine, origin.container, f"({script}) || true")
    except CommandError:  # no such container, or not running
        return False


def heal(bed: Bed, engine: Engine) -> None:
    """Undo every fault. What was destroyed is made anew by `up`, which calls this first."""
    have = engine.states(bed.name)
    everything = [target for site in PLACES for target in targets(bed, engine, site)]
    present = [target for target in everything if target.container in have]
    paused = [t for t in present if have[t.container] == "paused"]
    stopped = [t for t in present if have[t.container] in ("exited", "created", "dead")]
    cut = {fault[1] for fault in settings.load(bed).faults if fault[0] == "partition"}
    if paused:
        engine.docker("unpause", *(t.container for t in paused))
        say("resumed: " + ", ".join(f"{t.site} {t.part}" for t in paused))
    if stopped:
        with step("start what is stopped", bed.logs):
            restart(bed, engine, stopped)
    if cut:
        running = [t for t in present if t.site in cut]
        together(*(partial(inside, bed, engine, t.container, no_rules()) for t in running))
        say("joined again: " + ", ".join(sorted(cut)))
    for fault in settings.load(bed).faults:
        if fault[0] == "firewall-off" and any(t.site == fault[1] and t.part == "node" for t in present):
            firewall(bed, engine, fault[1], on=True)
        if fault[0] == "rot" and any(t.site == fault[1] and t.part == "s3" for t in present):
            (store,) = targets(bed, engine, fault[1], ["s3"])
            with contextlib.suppress(CommandError):  # the object may have been deleted since
                flip(engine, store, fault[2], int(fault[3]))
    kept = settings.load(bed)
    kept.faults = []
    settings.save(bed, kept)


def firewall(bed: Bed, engine: Engine, site: str, on: bool) -> None:
    """Switch the enforcement of network policies on or off."""
    if site not in SITES:
        raise BedError(f"There is no site {site!r}", f"Sites are {', '.join(SITES)}.")
    api = cluster.api(bed, engine, site)
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-router"
    with step(f"{site}: firewall {'on' if on else 'off'}", bed.logs):
        selector = {"dev.muster.bed/firewall": None if on else "off"}
        api.call("PATCH", path, {"spec": {"template": {"spec": {"nodeSelector": selector}}}}, "merge-patch+json")
        if on:
            wait_for(f"The firewall of {site}", partial(firewall_runs, api, path), 60)
        else:
            wait_for(f"The end of the firewall of {site}", lambda: not router_pods(api), 60)
            for node in targets(bed, engine, site, ["node"]):
                engine.docker("exec", "-i", node.container, "sh", "-s", feed=no_router())
    kept = settings.load(bed)
    kept.firewall[site] = on
    kept.faults = [f for f in kept.faults if f != ["firewall-off", site]] + ([] if on else [["firewall-off", site]])
    settings.save(bed, kept)


def firewall_runs(api: kube.Api, path: str) -> bool:
    found = api.call("GET", path)
    status = found.get("status", {})
    fresh = status.get("observedGeneration") == found["metadata"]["generation"]
    wanted = status.get("desiredNumberScheduled", 0)
    return bool(fresh and wanted and status.get("numberReady") == status.get("updatedNumberScheduled") == wanted)


def router_pods(api: kube.Api) -> list[kube.Document]:
    return api.items("/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io/name%3Dkube-router")


def no_router() -> str:
    """Takes the jumps into kube-router's chains away; the chains themselves then mean nothing."""
    return """
for hook in INPUT FORWARD OUTPUT; do
    iptables -w 10 -S $hook | grep -- '-j KUBE-ROUTER-' | sed 's/^-A/-D/' | while read -r rule; do
        eval iptables -w 10 "$rule"
    done
done
"""


def describe(bed: Bed, engine: Engine) -> list[str]:
    """What is up and what is wrong, a line each."""
    have = engine.states(bed.name)
    lines = [f"engine     {'private, ' if engine.private else ''}{engine.host}"]
    for site in PLACES:
        for target in targets(bed, engine, site):
            state = have.get(target.container, "missing")
            lines.append(f"{site:8s} {target.part:9s} {state:9s} {target.address}:{target.port}")
    lines += ["fault: " + " ".join(fault) for fault in settings.load(bed).faults]
    return lines
