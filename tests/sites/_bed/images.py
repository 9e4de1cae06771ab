"""The images of the bed: pulled where a registry answers, else made from packages under the same names."""
from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import cache, gobuild
from .engine import Engine
from .places import Bed
from .steps import BedError, note, pipe, run, say, step

SLIM = "debian:bookworm-slim"
SUITE = "bookworm"
# The one image of all programs that run as pods of the bed's own; manifests name it so.
CONTROL = "muster.test/control:bed"
SIDECARS = "muster-bed/csi-sidecars:dev"
POD_PROGRAMS = {
    "kubernetes": ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"],
    "etcd": ["etcd"],
    "coredns": ["coredns"],
    "local-path": ["local-path-provisioner"],
    "kube-router": ["kube-router"],
    "csi-sidecars": ["csi-provisioner", "csi-snapshotter", "snapshot-controller"],
    "csi-resizer": ["csi-resizer"],
}


@dataclass(frozen=True)
class Images:
    """Names of the images that a bed is made of."""

    node: str
    userland: str
    services: str
    mover: str
    own_node: bool


def names(bed: Bed) -> Images:
    """The images' names; each carries the content key of its recipe."""
    images = bed.here / "images"
    base = cache.key(images / "userland.Dockerfile", SUITE)
    groups = [gobuild.made_from(bed, group) for group in POD_PROGRAMS]
    recipes = [images / "control.Dockerfile", images / "pause.Dockerfile", images / "node"]
    node = cache.key(*recipes, base, *groups, gobuild.made_from(bed, "kind"))
    services = [gobuild.made_from(bed, group) for group in ("versitygw", "distribution")]
    mover = cache.key(images / "mover.Dockerfile", gobuild.made_from(bed, "restic"), SUITE)
    own = os.environ.get("MUSTER_NODE_IMAGE")
    return Images(
        node=own or f"muster-bed/node:{node}",
        userland=f"muster-bed/userland:{base}",
        services=f"muster-bed/services:{cache.key(images / 'services.Dockerfile', base, *services)}",
        mover=f"muster-bed/mover:{mover}",
        own_node=own is None,
    )


def archive(bed: Bed, images: Images) -> Path:
    return cache.archive(bed, "bed", cache.key(images.node, images.userland, images.services, images.mover))


def ready(bed: Bed, engine: Engine, images: Images) -> bool:
    """Load what is cached; True when nothing needs to be built."""
    wanted = [images.userland, images.services, images.mover, *([images.node] if images.own_node else [])]
    if not images.own_node and not engine.has_image(images.node):
        engine.docker("pull", images.node, timeout=900)
    if all(engine.has_image(name) for name in wanted):
        return True
    stored = archive(bed, images)
    if not stored.exists():
        return False
    with step("load cached images", bed.logs):
        cache.load_images(stored, engine.env)
    return all(engine.has_image(name) for name in wanted)


def keep(bed: Bed, engine: Engine, images: Images) -> None:
    """Put what was built into the cache."""
    stored = archive(bed, images)
    if stored.exists():
        return
    wanted = [images.userland, images.services, images.mover, SLIM]
    if images.own_node:
        wanted.append(images.node)
    with step("cache images", bed.logs):
        cache.save_images(stored, wanted, engine.env)
        cache.drop_others(stored.parent, "bed", stored.name)


def pull(engine: Engine, name: str, patience: float = 10, timeout: float = 600) -> bool:
    """Pull an image; a registry that has not begun to answer within `patience` seconds is taken for not there."""
    note(f"$ docker pull {name}")
    with subprocess.Popen(
        ["docker", "pull", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **engine.env},
    ) as puller:
        assert puller.stdout is not None
        try:
            begun = select.select([puller.stdout], [], [], patience)[0]
            if begun:
                note(puller.communicate(timeout=timeout)[0].decode(errors="replace"))
                return puller.returncode == 0
        except subprocess.TimeoutExpired:
            pass
        puller.kill()
    note(f"no answer: {name} is made from packages")
    return False


def slim(bed: Bed, engine: Engine) -> None:
    """debian:bookworm-slim, pulled or made with debootstrap."""
    if engine.has_image(SLIM):
        return
    with step("base image", bed.logs):
        if pull(engine, SLIM):
            return
        if shutil.which("debootstrap") is None or os.geteuid() != 0:
            raise BedError(
                f"{SLIM} can be neither pulled nor made", "Run as root with debootstrap installed, or load the image.",
            )
        parent = bed.work / "build"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            root = Path(folder, "root")
            run(["debootstrap", "--variant=minbase", SUITE, root])
            for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
                shutil.rmtree(root / waste, ignore_errors=True)
                (root / waste).mkdir(parents=True)
            (root / "etc/hostname").unlink(missing_ok=True)
            pipe(["tar", "-C", root, "--one-file-system", "-c", "."],
                 ["docker", "import", "-c", 'CMD ["bash"]', "-", SLIM], env=engine.env)  # fmt: skip


def docker_build(
    engine: Engine, tag: str, dockerfile: Path, fill: Callable[[Path], None] | None = None, **arguments: str
) -> None:
    """Build an image from a Dockerfile and the files that `fill` puts into its folder."""
    with tempfile.TemporaryDirectory(prefix="muster-image-") as folder:
        if fill:
            fill(Path(folder))
        shutil.copy(dockerfile, Path(folder, "Dockerfile"))
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        engine.docker("build", "-t", tag, *words, folder)


def programs(bed: Bed, wanted: list[str]) -> Callable[[Path], None]:
    """A filler that puts built programs into bin/."""

    def fill(folder: Path) -> None:
        (folder / "bin").mkdir()
        for name in wanted:
            shutil.copy(gobuild.program(bed, name), folder / "bin" / name)

    return fill


def userland(bed: Bed, engine: Engine, images: Images) -> None:
    slim(bed, engine)
    if not engine.has_image(images.userland):
        with step("userland image", bed.logs):
            docker_build(engine, images.userland, bed.here / "images/userland.Dockerfile")


def services(bed: Bed, engine: Engine, images: Images) -> None:
    if not engine.has_image(images.services):
        with step("services image", bed.logs):
            docker_build(engine, images.services, bed.here / "images/services.Dockerfile",
                         programs(bed, ["versitygw", "registry"]), userland=images.userland)  # fmt: skip
    if not engine.has_image(images.mover):
        with step("mover image", bed.logs):
            docker_build(engine, images.mover, bed.here / "images/mover.Dockerfile", programs(bed, ["restic"]))


def flat(engine: Engine, source: str, target: str) -> None:
    """Squash an image into one layer, so that unpacking it needs no whiteouts."""
    container = engine.docker("create", source, "none").strip()
    try:
        pipe(["docker", "export", container], ["docker", "import", "-", target], env=engine.env)
    finally:
        engine.docker("rm", container)


def control(bed: Bed, engine: Engine, images: Images) -> list[str]:
    """The image of the bed's pod programs under all the names that kubeadm and kind's manifests have for it."""
    wanted = [name for some in POD_PROGRAMS.values() for name in some]
    docker_build(engine, "muster.test/control:layered", bed.here / "images/control.Dockerfile",
                 programs(bed, wanted), userland=images.userland)  # fmt: skip
    flat(engine, "muster.test/control:layered", CONTROL)
    engine.docker("rmi", "muster.test/control:layered")
    found = [CONTROL]
    release = gobuild.kubernetes_version(bed)
    listed = run([gobuild.program(bed, "kubeadm"), "config", "images", "list", "--kubernetes-version", release])
    for name in listed.split():
        program = name.rsplit("/", 1)[1].split(":")[0]
        if program == "pause":
            docker_build(engine, name, bed.here / "images/pause.Dockerfile", userland=images.userland)
        elif program == "coredns":
            entrypoint(engine, name, "/usr/local/bin/coredns")
        else:
            engine.docker("tag", CONTROL, name)
        found.append(name)
    for name in [*storage_images(bed), SIDECARS]:
        engine.docker("tag", CONTROL, name)
        found.append(name)
    return found


def entrypoint(engine: Engine, name: str, program: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "Dockerfile")
        file.write_text(f'FROM {CONTROL}\nENTRYPOINT ["{program}"]\n')
        docker_build(engine, name, file)


def kind_source(bed: Bed) -> Path:
    return gobuild.folder_of(bed, "kind") / "source"


def storage_images(bed: Bed) -> list[str]:
    text = (kind_source(bed) / "pkg/build/nodeimage/const_storage.go").read_text()
    return re.findall(r'^const storage\w+Image = "([^"]+)"', text, re.M)


def storage_manifest(bed: Bed) -> str:
    """kind's manifest of class `standard`, which is not the default class here."""
    text = (kind_source(bed) / "pkg/build/nodeimage/const_storage.go").read_text()
    for name, value in re.findall(r'^const (storage\w+Image) = "([^"]+)"', text, re.M):
        text = text.replace(f"` + {name} + `", value)
    found = re.search(r"const defaultStorageManifest = `(.*?)`", text, re.S)
    if not found:
        raise BedError("kind's storage manifest is not where it was", "See storage_manifest in images.py.")
    return found[1].replace('is-default-class: "true"', 'is-default-class: "false"')


def node(bed: Bed, engine: Engine, images: Images) -> None:
    """The node image: Debian's systemd and containerd, the built Kubernetes, and all pod images unpacked in it."""
    recipe = bed.here / "images/node"

    def fill(folder: Path) -> None:
        programs(bed, ["kubeadm", "kubelet", "kubectl"])(folder)
        shutil.copytree(kind_source(bed) / "images/base/files", folder / "kind")
        shutil.copytree(recipe / "files", folder / "files")
        (folder / "files/kind/version").write_text(gobuild.kubernetes_version(bed) + "\n")
        (folder / "files/kind/manifests/default-storage.yaml").write_text(storage_manifest(bed))

    with step("node image: programs", bed.logs):
        base = images.node.replace("/node:", "/node-base:")
        docker_build(engine, base, recipe / "Dockerfile", fill, userland=images.userland)
    with step("node image: pod images", bed.logs):
        preload = control(bed, engine, images)
    with step("node image: unpack", bed.logs):
        box = f"{bed.name}-preload"
        engine.docker("rm", "-f", "-v", box, check=False)
        engine.docker("run", "-d", "--name", box, "--privileged", "-v", "/stage", "--entrypoint", "sleep", base, "900")
        try:
            engine.docker("cp", recipe / "preload", f"{box}:/stage/preload")
            pipe(["docker", "save", *preload], ["docker", "exec", "-i", box, "/stage/preload"], env=engine.env)
            engine.docker("commit", "--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
                          "--change", "CMD []", box, images.node)  # fmt: skip
        finally:
            engine.docker("rm", "-f", "-v", box, check=False)
        engine.docker("rmi", base, *preload, check=False)


def provide(bed: Bed, engine: Engine, images: Images, programs_built: Callable[[], None]) -> None:
    """Make every image that is not there. `programs_built` waits for the Go programs, which are built meanwhile."""
    userland(bed, engine, images)
    programs_built()
    services(bed, engine, images)
    if images.own_node and not engine.has_image(images.node):
        node(bed, engine, images)
    say("images are ready")
