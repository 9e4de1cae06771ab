"""The verbs of the bed."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from . import cache, cluster, engine, faults, gobuild, reset, stores, upkeep
from .engine import Engine
from .places import Bed
from .steps import BedError, interrupted, say, step

EPILOG = """\
places: east, west, witness. parts of a place: node, registry, s3 (the witness: s3).
peers of a partition: a place, a part of the site (s3), a part of another (registry:west), control (this machine);
without peers the site is cut off from everything else. Faults add up until `heal`, which undoes them all.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="bed", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *, site: bool = False, parts: bool = False) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=text, description=text)
        if site:
            one.add_argument("site", metavar="SITE")
        if parts:
            one.add_argument("parts", metavar="PART", nargs="*", help="node, registry, s3; all when none is named")
        return one

    verb("up", "bring both sites and the witness up").add_argument(
        "--nodes", type=int, choices=(1, 2), help="nodes per site; 1 unless said"
    )
    verb("down", "remove everything; only the cache stays")
    verb("status", "what is up, and the faults in force; exit code 1 unless all is well")
    verb("facts", "print bed.json")
    verb("clean-cache", "remove what was built and cached")
    verb("hang", "freeze a place's processes", site=True, parts=True)
    verb("stop", "kill a place's processes and leave them so", site=True, parts=True)
    verb("power-cut", "kill a place's processes, start them and wait until they work", site=True, parts=True)
    verb("crash-api", "kill a site's API server; its kubelet starts it again", site=True)
    verb("destroy", "remove a place with its data; heal makes a new, empty one", site=True, parts=True)
    verb("partition", "drop all packets between a site and its peers", site=True).add_argument(
        "peers", metavar="PEER", nargs="*"
    )
    rotten = verb("rot", "flip one bit of an object in a place's S3", site=True)
    rotten.add_argument("object", metavar="BUCKET/KEY")
    rotten.add_argument("--byte", type=int, default=0, help="the position of the byte; 0 unless said")
    verb("heal", "undo all faults")
    verb("reset", "empty a place: objects, images, buckets", site=True)
    verb("forget-images", "take the images of both registries out of a site's nodes, the mover's excepted", site=True)
    verb("firewall", "switch the enforcement of network policies", site=True).add_argument(
        "state", choices=("on", "off")
    )
    probe = verb("probe", "tell whether TO can be reached from FROM: exit code 0 or 1")
    probe.add_argument("source", metavar="FROM")
    probe.add_argument("goal", metavar="TO")
    push = verb("push", "push an image of the engine to a site's registry; prints its name by digest", site=True)
    push.add_argument("image", metavar="IMAGE")
    push.add_argument("reference", metavar="REPOSITORY:TAG")
    verb("build", "build the CSI driver, or a group below tests/sites/go; prints the folder").add_argument(
        "group", choices=["csi-driver", *sorted(gobuild.GROUPS)]
    )
    return top


@contextlib.contextmanager
def alone(bed: Bed) -> Iterator[None]:
    """One command at a time changes the bed."""
    bed.work.mkdir(parents=True, exist_ok=True)
    with (bed.work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command of this bed")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def found(bed: Bed) -> Engine:
    host = engine.find(bed)
    if host is None:
        raise BedError("The bed is not up", "Run `make sites`.")
    return host


def act(bed: Bed, options: argparse.Namespace) -> int:
    """Verbs that change something."""
    if options.verb == "up":
        upkeep.up(bed, options.nodes)
        return 0
    if options.verb == "down":
        upkeep.down(bed)
        return 0
    if options.verb == "clean-cache":
        say(cache.clean(bed))
        return 0
    if options.verb == "build":
        if options.group == "csi-driver":
            print(cluster.driver(bed).parent)
            return 0
        with step(f"build {options.group}", bed.logs, quiet=gobuild.folder_of(bed, options.group).exists()):
            print(gobuild.build(bed, options.group))
        return 0
    host = found(bed)
    if options.verb == "heal":
        faults.heal(bed, host)
        upkeep.up(bed)
    elif options.verb == "reset":
        reset.reset(bed, host, options.site)
    elif options.verb == "forget-images":
        reset.forget_images(bed, host, options.site)
    elif options.verb == "partition":
        faults.partition(bed, host, options.site, options.peers)
    elif options.verb == "crash-api":
        faults.crash_api(bed, host, options.site)
    elif options.verb == "rot":
        faults.rot(bed, host, options.site, options.object, options.byte)
    elif options.verb == "firewall":
        faults.firewall(bed, host, options.site, options.state == "on")
    elif options.verb == "push":
        with step(f"push {options.reference} to {options.site}", bed.logs, quiet=True):
            print(stores.push(bed, host, options.site, options.image, options.reference))
    else:
        fault = {"hang": faults.hang, "stop": faults.stop, "power-cut": faults.power_cut, "destroy": faults.destroy}
        fault[options.verb](bed, host, options.site, options.parts)
    return 0


def tell(bed: Bed, options: argparse.Namespace) -> int:
    """Verbs that only look."""
    if options.verb == "facts":
        if not bed.facts.exists():
            raise BedError("The bed is not up", "Run `make sites`.")
        print(bed.facts.read_text(), end="")
        return 0
    host = found(bed)
    if options.verb == "probe":
        open_ = faults.reachable(bed, host, options.source, options.goal)
        print(f"{options.source} -> {options.goal}: {'reachable' if open_ else 'not reachable'}")
        return 0 if open_ else 1
    print("\n".join(faults.describe(bed, host)))
    well = upkeep.whole(bed)
    print("all is well" if well else "not whole: `bed up` or `bed heal` sets it right")
    return 0 if well else 1


def places_of_others(bed: Bed) -> dict[str, str]:
    """Environment that keeps the programs which the bed runs from writing into the home folder."""
    return {"KUBECACHEDIR": str(bed.checkout / ".work/kube-cache"), "PIP_CACHE_DIR": str(bed.cache / "pip")}


def main(words: list[str]) -> int:
    """Run a verb. Exit codes: 0 done, 1 no (probe, status), 2 wrong usage, 3 failed, 130 interrupted."""
    options = parser().parse_args(words)
    bed = Bed(Path(__file__).resolve().parents[3])
    os.umask(0o022)
    os.environ.update(places_of_others(bed))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, interrupted)  # so that half-made files are removed
    try:
        if options.verb in ("status", "facts", "probe"):
            return tell(bed, options)
        with alone(bed):
            return act(bed, options)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    except BedError as error:
        where = f" in step {error.step!r}" if error.step else ""
        sys.stderr.write(f"bed {options.verb} failed{where}: {error}\n")
        if error.hint:
            sys.stderr.write(f"  {error.hint}\n")
        if error.log is not None and error.log.exists():
            sys.stderr.write(f"  Log: {error.log}. The same command goes on from here.\n")
        return 3
    except OSError as error:
        sys.stderr.write(f"bed {options.verb} failed: {error}\n")
        return 3
