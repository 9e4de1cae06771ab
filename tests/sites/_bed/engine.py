"""The Docker engine under the bed: the one that is there, or a private one in a network namespace of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import leftovers, settings
from .leftovers import processes_of, stop
from .places import Bed, Network, free_block
from .steps import BedError, CommandError, note, run, say, succeeds, wait_for

# Programs that a private engine needs, and the packages that have them
PROGRAMS = {
    "dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "debootstrap": "debootstrap",
    "iptables": "iptables", "ip": "iproute2", "zstd": "zstd", "openssl": "openssl", "nsenter": "util-linux",
    "sysctl": "procps",
}  # fmt: skip
CAP_SYS_RESOURCE = 24
INOTIFY = {"fs.inotify.max_user_instances": 1024, "fs.inotify.max_user_watches": 524288}


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers."""

    host: str
    private: bool
    network: Network

    @property
    def env(self) -> dict[str, str]:
        # The classic builder: it needs no plugin, and an old engine takes it.
        return {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}

    def docker(self, *words: str | Path, **options: object) -> str:
        return run(["docker", *words], env=self.env, **options)  # type: ignore[arg-type]

    def succeeds(self, *words: str | Path, timeout: float | None = 20) -> bool:
        return succeeds(["docker", *words], env=self.env, timeout=timeout)

    def states(self, prefix: str) -> dict[str, str]:
        """State (running, paused, exited, …) of every container whose name starts so."""
        out = self.docker("ps", "-a", "--filter", f"name=^{prefix}", "--format", "{{.Names}} {{.State}}", timeout=20)
        return dict(line.split(" ", 1) for line in out.splitlines() if line.strip())

    def has_image(self, name: str) -> bool:
        return self.succeeds("image", "inspect", "--format", "{{.Id}}", name)


def sysctl(name: str) -> str:
    return Path("/proc/sys", *name.split(".")).read_text().strip()


def answers(host: str, timeout: float = 10) -> bool:
    return shutil.which("docker") is not None and succeeds(
        ["docker", "version", "--format", "{{.Server.Version}}"], env={"DOCKER_HOST": host}, timeout=timeout
    )


def default_host() -> str:
    """The engine that the user's own `docker` talks to."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if shutil.which("docker"):
        with contextlib.suppress(BedError):
            return run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], timeout=10).strip()
    return "unix:///var/run/docker.sock"


def socket_path(bed: Bed) -> Path:
    """The private engine's socket; a Unix socket's path has room for 107 characters only."""
    wanted = bed.work / "engine/docker.sock"
    return wanted if len(str(wanted)) < 90 else Path("/run") / bed.name / "docker.sock"


def routes() -> list[ipaddress.IPv4Network]:
    """Networks that this machine knows a way to."""
    with contextlib.suppress(BedError):
        listed = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]))
        names = [str(route.get("dst")) for route in listed]
        return [ipaddress.IPv4Network(n, strict=False) for n in names if re.fullmatch(r"[\d.]+(/\d+)?", n)]
    return []


def find(bed: Bed) -> Engine | None:
    """The engine of this bed, if it has been chosen before and answers now."""
    kept = settings.load(bed)
    if kept.block is None or kept.docker_host is None or not answers(kept.docker_host):
        return None
    return Engine(kept.docker_host, kept.private, Network(ipaddress.IPv4Network(kept.block)))


def up(bed: Bed) -> Engine:
    """Use the engine that answers or start the private one, and make the bed's network."""
    kept = settings.load(bed)
    host = kept.docker_host if kept.docker_host and not kept.private else default_host()
    foreign = not kept.private and answers(host)
    if not foreign:
        require(host)
    if not foreign and not answers(f"unix://{socket_path(bed)}"):
        private_down(bed)  # what a killed one left behind, before addresses are chosen
    if kept.block is None:
        block = free_block(bed.id, routes())
        if block is None:
            raise BedError("All of the bed's candidate address blocks in 10.128.0.0/9 are in use on this machine")
        kept.block = str(block)
    kept.private = not foreign
    kept.docker_host = host if foreign else f"unix://{socket_path(bed)}"
    settings.save(bed, kept)
    network = Network(ipaddress.IPv4Network(kept.block))
    if not foreign:
        private_up(bed, network)
    engine = Engine(kept.docker_host, kept.private, network)
    inotify(bed)
    make_network(bed, engine)
    return engine


def require(host: str) -> None:
    """Install the distribution's engine, or say why the bed can not have one."""
    missing = [program for program in [*PROGRAMS, "docker"] if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0:
        raise BedError(
            f"No Docker engine answers at {host}, and this user may not start one",
            "Start Docker, set DOCKER_HOST, or run this as root on Debian or Ubuntu.",
        )
    if shutil.which("apt-get") is None:
        raise BedError(
            f"No Docker engine answers at {host}, and this is neither Debian nor Ubuntu",
            "Install and start Docker, or set DOCKER_HOST.",
        )
    install(sorted({*PROGRAMS.values(), "ca-certificates"}))


def install(packages: list[str]) -> None:
    """Install packages of the distribution; what they are is said first."""
    say("installing with apt-get: " + " ".join(packages))
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=quiet)
    if shutil.which("docker") is None and succeeds(["apt-cache", "show", "docker-cli"]):
        packages = [*packages, "docker-cli"]
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], env=quiet)


def lacks_sys_resource() -> bool:
    """True where even root is not allowed CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    bounding = int(re.search(r"CapBnd:\s*([0-9a-f]+)", status)[1], 16)  # type: ignore[index]
    return not bounding >> CAP_SYS_RESOURCE & 1


def uplink() -> tuple[str, int]:
    """Name and MTU of the interface behind the default route."""
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "default"])):
        device = route.get("dev", "")
        with contextlib.suppress(OSError, ValueError):
            return device, int(Path("/sys/class/net", device, "mtu").read_text())
    return "", 1500


def veth(bed: Bed) -> str:
    return f"muster{bed.id}"


def rules(bed: Bed, network: Network) -> list[list[str]]:
    """What the machine's own iptables get: the private engine's way out."""
    mark = ["-m", "comment", "--comment", bed.name]
    block = str(network.block)
    return [
        ["-t", "nat", "POSTROUTING", "-s", block, "!", "-d", block, *mark, "-j", "MASQUERADE"],
        ["-t", "filter", "FORWARD", "-i", veth(bed), *mark, "-j", "ACCEPT"],
        ["-t", "filter", "FORWARD", "-o", veth(bed), *mark, "-j", "ACCEPT"],
    ]


def iptables(verb: str, rule: list[str]) -> bool:
    return succeeds(["iptables", "-w", "10", *rule[:2], verb, *rule[2:]])


def private_up(bed: Bed, network: Network) -> None:
    """Bring up the namespace, containerd and dockerd. Each piece is left alone when it is there and works."""
    host = f"unix://{socket_path(bed)}"
    if answers(host):
        plumb(bed, network)
        return
    plumb(bed, network)
    home = bed.work / "engine"
    sockets = socket_path(bed).parent
    for folder in (home, sockets):
        folder.mkdir(parents=True, exist_ok=True)
    containerd = sockets / "containerd.sock"
    (home / "containerd.toml").write_text(
        f'version = 2\nroot = "{home}/containerd"\nstate = "{home}/containerd-run"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{containerd}"\n'
    )
    (home / "dockerd.json").write_text("{}\n")  # instead of the machine's /etc/docker/daemon.json
    start(bed, "containerd", ["containerd", "-c", str(home / "containerd.toml")])
    wait_for("containerd", containerd.exists, 20)
    words = [
        "dockerd", "--host", host, "--data-root", str(home / "data"), "--exec-root", str(home / "run"),
        "--pidfile", str(home / "dockerd.pid"), "--config-file", str(home / "dockerd.json"),
        "--containerd", str(containerd),
        # The namespace is the bed's alone: what goes in and out is arranged by plumb().
        "--iptables=false", "--ip6tables=false", "--bip", network.default_bridge, "--mtu", str(uplink()[1]),
    ]  # fmt: skip
    if lacks_sys_resource():
        say("this machine lacks CAP_SYS_RESOURCE: containers run without it, by a wrapper around runc")
        wrapper = Path(__file__).parent / "files/runc-without-sys-resource"
        words += ["--add-runtime", f"muster={wrapper}", "--default-runtime", "muster"]
    start(bed, "dockerd", ["nsenter", f"--net=/run/netns/{bed.name}", *words])
    with contextlib.suppress(BedError):
        wait_for("dockerd", lambda: answers(host), 60)
        return
    tail = (bed.logs / "dockerd.log").read_text(errors="replace").splitlines()[-3:]
    raise BedError("The private Docker engine did not start: " + " | ".join(tail), f"See {bed.logs / 'dockerd.log'}.")


def start(bed: Bed, name: str, words: list[str]) -> None:
    """Start a program that goes on after the bed's command has ended."""
    bed.logs.mkdir(parents=True, exist_ok=True)
    note("$ " + " ".join(words))
    with (bed.logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    (bed.work / f"engine/{name}.started").write_text(str(child.pid))


def plumb(bed: Bed, network: Network) -> None:
    """Namespace, the pair of interfaces between it and the machine, addresses, routes and the way out."""
    mtu = str(uplink()[1])
    inside = ["nsenter", f"--net=/run/netns/{bed.name}"]
    if not Path(f"/run/netns/{bed.name}").exists():
        run(["ip", "netns", "add", bed.name])
    if not Path("/sys/class/net", veth(bed)).exists():
        run(["ip", "link", "add", veth(bed), "mtu", mtu, "type", "veth",
             "peer", "name", "uplink", "mtu", mtu, "netns", bed.name])  # fmt: skip
    run(["ip", "addr", "replace", f"{network.host_end}/30", "dev", veth(bed)])
    run(["ip", "link", "set", veth(bed), "up"])
    run([*inside, "ip", "link", "set", "lo", "up"])
    run([*inside, "ip", "addr", "replace", f"{network.engine_end}/30", "dev", "uplink"])
    run([*inside, "ip", "link", "set", "uplink", "up"])
    run([*inside, "ip", "route", "replace", "default", "via", network.host_end])
    run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    run(["ip", "route", "replace", str(network.block), "via", network.engine_end, "dev", veth(bed)])
    change_sysctl(bed, "net.ipv4.ip_forward", 1, "so that the sites reach package registries")
    for rule in rules(bed, network):
        if not iptables("-C", rule):
            iptables("-I", rule)


def change_sysctl(bed: Bed, name: str, least: int, why: str) -> None:
    """Raise a kernel setting when it is too low, say so, and note the old value for `down`."""
    now = sysctl(name)
    if int(now) >= least:
        return
    kept = settings.load(bed)
    kept.sysctls.setdefault(name, now)
    settings.save(bed, kept)
    say(f"setting {name} from {now} to {least}, {why}")
    run(["sysctl", "-qw", f"{name}={least}"])


def inotify(bed: Bed) -> None:
    for name, least in INOTIFY.items():
        with contextlib.suppress(BedError):
            change_sysctl(bed, name, least, "because two clusters watch many files")
        if int(sysctl(name)) < least:
            say(f"{name} is {sysctl(name)} and could not be raised to {least}; nodes may fail to start")


def make_network(bed: Bed, engine: Engine) -> None:
    """The engine's network of the bed; another address block is chosen when the engine itself uses this one."""
    if engine.succeeds("network", "inspect", bed.name):
        return
    network = engine.network
    engine.docker(
        "network", "create", "--driver", "bridge", "--subnet", str(network.sites), "--gateway", network.gateway,
        "--ip-range", str(network.dynamic), "--label", f"dev.muster.bed={bed.id}",
        "-o", f"com.docker.network.driver.mtu={uplink()[1]}",
        "-o", f"com.docker.network.bridge.name={veth(bed)}br", bed.name,
    )  # fmt: skip


def private_down(bed: Bed) -> None:
    """Stop the private engine and take away what it or a killed one left on the machine."""
    home = bed.work / "engine"
    for name in ("dockerd", "containerd"):
        for pid in processes_of(str(home), name):
            stop(pid)
    leftovers.clear(home)
    leftovers.remove_tree(bed.work / "build")
    for pid in inhabitants(bed):
        stop(pid)
    for table in ("nat", "filter"):
        remove_rules(bed, table)
    if Path("/sys/class/net", veth(bed)).exists():
        succeeds(["ip", "link", "delete", veth(bed)])
    if Path(f"/run/netns/{bed.name}").exists():
        succeeds(["ip", "netns", "delete", bed.name])
    for left in ("dockerd.pid", "docker.sock", "containerd.sock", "containerd.sock.ttrpc"):
        (home / left).unlink(missing_ok=True)
    shutil.rmtree(home / "run", ignore_errors=True)
    shutil.rmtree(home / "containerd-run", ignore_errors=True)
    if socket_path(bed).parent != home:
        shutil.rmtree(socket_path(bed).parent, ignore_errors=True)


def remove_rules(bed: Bed, table: str) -> None:
    """Delete the machine's iptables rules that carry the bed's name."""
    if shutil.which("iptables") is None:
        return
    with contextlib.suppress(CommandError):
        for line in run(["iptables", "-w", "10", "-t", table, "-S"]).splitlines():
            words = shlex.split(line)
            if words[0] == "-A" and bed.name in words:
                succeeds(["iptables", "-w", "10", "-t", table, "-D", *words[1:]])


def inhabitants(bed: Bed) -> list[int]:
    """Processes that still live in the bed's network namespace, this one excepted."""
    with contextlib.suppress(BedError):
        if Path(f"/run/netns/{bed.name}").exists():
            return [int(pid) for pid in run(["ip", "netns", "pids", bed.name]).split() if int(pid) != os.getpid()]
    return []


def down(bed: Bed, engine: Engine | None) -> None:
    """Remove the network (and the private engine with all it holds), and set kernel settings back."""
    kept = settings.load(bed)
    if engine is not None and not kept.private:
        with contextlib.suppress(CommandError):
            engine.docker("network", "rm", bed.name)
    if kept.private:
        private_down(bed)
        shutil.rmtree(bed.work / "engine", ignore_errors=True)
    for name, old in kept.sysctls.items():
        if not others_running(bed):
            succeeds(["sysctl", "-qw", f"{name}={old}"])


def others_running(bed: Bed) -> bool:
    """True while another clone's private engine lives on this machine."""
    folder = Path("/run/netns")
    return folder.is_dir() and any(p.name.startswith("muster-") and p.name != bed.name for p in folder.iterdir())
