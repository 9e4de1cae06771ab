"""Where the bed keeps things, what its parts are called and which addresses they have. Nothing here does any IO."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

SITES = ("east", "west")
WITNESS = "witness"
REGISTRY_PORT = 5000
S3_PORT = 7070
API_PORT = 6443
BUCKET = "muster"
# A second bucket of every store, on a disk of its own that is soon full.
CRAMPED, CRAMPED_BYTES = "cramped", 6 * 1024 * 1024
USER = "muster"
REGION = "us-east-1"
# Different ranges at each site, as in life: what a restore keeps by mistake (a cluster IP) does not fit.
POD_SUBNET = {"east": "10.244.0.0/16", "west": "10.245.0.0/16"}
SERVICE_SUBNET = {"east": "10.96.0.0/16", "west": "10.97.0.0/16"}
_FIRST = {"east": 10, "west": 20, WITNESS: 30}


@dataclass(frozen=True)
class Bed:
    """One clone's bed."""

    checkout: Path

    @property
    def id(self) -> str:
        """Six characters that no other clone on this machine has."""
        return hashlib.sha256(str(self.checkout).encode()).hexdigest()[:6]

    @property
    def name(self) -> str:
        return f"muster-{self.id}"

    @property
    def here(self) -> Path:
        """tests/sites."""
        return self.checkout / "tests/sites"

    @property
    def work(self) -> Path:
        return self.checkout / ".work/sites"

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def secrets(self) -> Path:
        return self.work / "secrets"

    @property
    def bin(self) -> Path:
        return self.work / "bin"

    @property
    def facts(self) -> Path:
        return self.work / "bed.json"

    @property
    def ca(self) -> Path:
        return self.work / "ca.pem"

    @property
    def cache(self) -> Path:
        if chosen := os.environ.get("MUSTER_CACHE"):
            return Path(chosen).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "muster"

    def kubeconfig(self, site: str) -> Path:
        return self.work / f"{site}.kubeconfig"

    def cluster(self, site: str) -> str:
        return f"{self.name}-{site}"

    def nodes(self, site: str, count: int) -> list[str]:
        """Container names of a site's nodes, as kind gives them; the control plane first."""
        first = f"{self.cluster(site)}-control-plane"
        return [first, *(f"{self.cluster(site)}-worker{n if n > 1 else ''}" for n in range(1, count))]

    def container(self, site: str, part: str) -> str:
        """Name of a site's `registry` or `s3` container (and of its volume)."""
        return f"{self.name}-{site}-{part}"


@dataclass(frozen=True)
class Network:
    """The bed's own block of addresses: /24 for the sites, and beside it the way to the machine."""

    block: ipaddress.IPv4Network

    @property
    def sites(self) -> ipaddress.IPv4Network:
        return next(self.block.subnets(new_prefix=24))

    @property
    def gateway(self) -> str:
        return str(self.sites[1])

    @property
    def dynamic(self) -> ipaddress.IPv4Network:
        """Addresses that the engine gives out by itself, away from the fixed ones."""
        return list(self.sites.subnets(new_prefix=25))[1]

    @property
    def host_end(self) -> str:
        return str(self.block[257])

    @property
    def engine_end(self) -> str:
        return str(self.block[258])

    @property
    def default_bridge(self) -> str:
        """Address and prefix of the private engine's default bridge."""
        return f"{self.block[256 + 129]}/25"

    def registry(self, site: str) -> str:
        return str(self.sites[_FIRST[site] + 1])

    def s3(self, site: str) -> str:
        return str(self.sites[_FIRST[site] + 2])

    def node(self, site: str, number: int = 0) -> str:
        return str(self.sites[30 + _FIRST[site] + 1 + number])

    def site(self, site: str, nodes: int) -> list[str]:
        """Every address of a site."""
        if site == WITNESS:
            return [self.s3(site)]
        return [*(self.node(site, n) for n in range(nodes)), self.registry(site), self.s3(site)]


def candidates(seed: str) -> list[ipaddress.IPv4Network]:
    """Blocks to try for a bed, always the same ones for the same seed, clear of the sites' pod and service ranges."""
    found = []
    for attempt in range(32):
        digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
        found.append(ipaddress.IPv4Network((f"10.{128 + digest[0] % 96}.{digest[1] & 0xFE}.0", 23)))
    return found


def free_block(seed: str, taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network | None:
    """The first candidate that overlaps nothing that is taken."""
    for block in candidates(seed):
        if not any(block.overlaps(other) for other in taken):
            return block
    return None
