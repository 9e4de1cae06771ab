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
from typing import BinaryIO, cast

from . import archive, cache, gobuild
from .engine import Engine
from .places import Bed
from .steps import BedError, note, pipe, run, started, step

SLIM = "debian:bookworm-slim"
SUITE = "bookworm"
# The one image of all programs that run as pods of the bed's own; manifests name it so.
CONTROL = "muster.test/control:bed"
SIDECARS = "muster-bed/csi-sidecars:dev"
PAUSE = "muster.test/pause:bed"
POD_PROGRAMS = {
    "kubernetes": ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"],
    "etcd": ["etcd"],
    "local-path": ["local-path-provisioner"],
    "addons": ["coredns", "kube-router", "csi-provisioner", "csi-snapshotter", "snapshot-controller", "csi-resizer"],
}


@dataclass(frozen=True)
class Images:
    """Names of the images that a bed is made of."""

    node: str
    userland: str
    services: str
    mover: Path
    own_node: bool


def names(bed: Bed) -> Images:
    """The images' names; each carries the content key of its recipe."""
    images = bed.here / "images"
    base = cache.key(images / "userland.Dockerfile", SUITE)
    groups = [gobuild.made_from(bed, group) for group in POD_PROGRAMS]
    node = cache.key(images / "node", Path(archive.__file__), base, *groups, gobuild.made_from(bed, "kind"))
    services = [gobuild.made_from(bed, group) for group in ("versitygw", "distribution")]
    mover = cache.key(images / "mover.Dockerfile", Path(archive.__file__), gobuild.made_from(bed, "restic"), SUITE)
    own = os.environ.get("MUSTER_NODE_IMAGE")
    return Images(
        node=own or f"muster-bed/node:{node}",
        userland=f"muster-bed/userland:{base}",
        services=f"muster-bed/services:{cache.key(images / 'services.Dockerfile', base, *services)}",
        mover=bed.cache / "images" / f"mover-{mover}.tar",
        own_node=own is None,
    )


def present(engine: Engine, wanted: list[str]) -> bool:
    return all(engine.has_image(name) for name in wanted)


def load(bed: Bed, engine: Engine, title: str, wanted: list[str]) -> bool:
    """Load images from the cache unless the engine has them; True when it has them now."""
    if present(engine, wanted):
        return True
    path = cache.archive(bed, title, cache.key(*wanted))
    if not path.exists():
        return False
    with step(f"load {title} images from the cache", bed.logs):
        cache.load_images(path, engine.env)
    return present(engine, wanted)


def keep(bed: Bed, engine: Engine, title: str, wanted: list[str]) -> None:
    """Put images into the cache unless they are there."""
    path = cache.archive(bed, title, cache.key(*wanted))
    if path.exists():
        return
    with step(f"cache {title} images", bed.logs):
        cache.save_images(path, wanted, engine.env)
        cache.drop_others(path.parent, title, path.name)


def pull(engine: Engine, name: str, patience: float = 10, timeout: float = 600) -> bool:
    """Pull an image; a registry that has not begun to answer within `patience` seconds is taken for not there."""
    note(f"$ docker pull {name}")
    with started(
        ["docker", "pull", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **engine.env},
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
                f"{SLIM} can be neither pulled nor made",
                "Run as root with debootstrap installed, or load the image.",
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
    engine: Engine, tag: str, dockerfile: Path, files: dict[str, Path] | None = None, **arguments: str
) -> None:
    """Build an image from a Dockerfile and files or folders: name in the build's folder -> where it is now."""
    with tempfile.TemporaryDirectory(prefix="muster-image-") as folder:
        for name, source in (files or {}).items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        shutil.copy(dockerfile, Path(folder, "Dockerfile"))
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        engine.docker("build", "-t", tag, *words, folder)


def programs(bed: Bed, wanted: list[str]) -> dict[str, Path]:
    """Built programs as files in bin/ of an image's build."""
    return {f"bin/{name}": gobuild.program(bed, name) for name in wanted}


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


def mover(bed: Bed, engine: Engine, images: Images) -> None:
    """The mover image as an archive in the cache: pushed from there, the same digest at every site."""
    if images.mover.exists():
        return
    with step("mover image", bed.logs):
        tag = f"muster-bed/mover:{bed.id}"
        docker_build(engine, tag, bed.here / "images/mover.Dockerfile", programs(bed, ["restic"]))
        images.mover.parent.mkdir(parents=True, exist_ok=True)
        part = images.mover.with_suffix(f".{os.getpid()}")
        with tempfile.TemporaryDirectory(dir=part.parent) as folder:
            layer = archive.Layer(Path(folder, "layer"), 6)
            tree_of(engine, tag, layer, {})
            archive.write(part, [archive.Image("mover", [], layer)])
        part.replace(images.mover)
        cache.drop_others(images.mover.parent, "mover", images.mover.name)
        engine.docker("rmi", tag)


def tree_of(engine: Engine, image: str, layer: archive.Layer, files: dict[str, Path], *taken: tuple[str, Path]) -> None:
    """Make one layer of all that is in an image, and of files; `taken` files are copied out of it."""
    container = engine.docker("create", image, "none").strip()
    try:
        for source, target in taken:
            engine.docker("cp", f"{container}:{source}", target)
        export = ["docker", "export", container]
        with started(export, stdout=subprocess.PIPE, env={**os.environ, **engine.env}) as tree:
            archive.compose(layer, cast("BinaryIO", tree.stdout), files)
        if tree.returncode != 0:
            raise BedError(f"{image} could not be read back from the engine")
    finally:
        engine.docker("rm", container)


def control(bed: Bed, engine: Engine, images: Images, path: Path) -> list[str]:
    """Write the archive of the two images that the bed's pods run from.

    Returns `alias=image` for every name that kubeadm, kind's and the bed's manifests look for them by.
    CoreDNS is the one program that its pod does not name, so it is the entrypoint.
    """
    wanted = [name for some in POD_PROGRAMS.values() for name in some]
    files = {f"usr/local/bin/{name}": gobuild.program(bed, name) for name in wanted}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        main, pause = archive.Layer(Path(folder, "main")), archive.Layer(Path(folder, "pause"))
        init = Path(folder, "init")
        tree_of(engine, images.userland, main, files, ("/usr/bin/catatonit", init))
        archive.compose(pause, None, {"pause": init})
        archive.write(path, [archive.Image(CONTROL, ["/usr/local/bin/coredns"], main),
                             archive.Image(PAUSE, ["/pause", "-P"], pause)])  # fmt: skip
    release = gobuild.kubernetes_version(bed)
    listed = run([gobuild.program(bed, "kubeadm"), "config", "images", "list", "--kubernetes-version", release])
    names = [*listed.split(), *storage_images(bed), f"docker.io/{SIDECARS}"]
    return [f"{name}={PAUSE if '/pause:' in name else CONTROL}" for name in names]


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
    with step("node image: programs", bed.logs), tempfile.TemporaryDirectory(prefix="muster-node-") as folder:
        version, storage = Path(folder, "version"), Path(folder, "default-storage.yaml")
        version.write_text(gobuild.kubernetes_version(bed) + "\n")
        storage.write_text(storage_manifest(bed))
        base = images.node.replace("/node:", "/node-base:")
        files = {
            **programs(bed, ["kubeadm", "kubelet", "kubectl"]), "kind": kind_source(bed) / "images/base/files",
            "files": recipe / "files", "files/kind/version": version,
            "files/kind/manifests/default-storage.yaml": storage,
        }  # fmt: skip
        docker_build(engine, base, recipe / "Dockerfile", files, userland=images.userland)
    pods = bed.work / "build/pods.tar"
    pods.parent.mkdir(parents=True, exist_ok=True)
    box = f"{bed.name}-preload"
    try:
        with step("node image: pod images", bed.logs):
            aliases = control(bed, engine, images, pods)
        with step("node image: unpack", bed.logs):
            engine.docker("rm", "-f", "-v", box, check=False)
            engine.docker("run", "-d", "--name", box, "--privileged", "-v", "/stage",
                          "--entrypoint", "sleep", base, "900")  # fmt: skip
            engine.docker("cp", recipe / "preload", f"{box}:/stage/preload")
            engine.docker("cp", pods, f"{box}:/stage/pods.tar")
            engine.docker("exec", box, "/stage/preload", *aliases)
        with step("node image: commit", bed.logs):
            engine.docker("commit", "--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
                          "--change", "CMD []", box, images.node)  # fmt: skip
    finally:
        pods.unlink(missing_ok=True)
        engine.docker("rm", "-f", "-v", box, check=False)
    engine.docker("rmi", base, check=False)


def pod_archive(bed: Bed, engine: Engine, images: Images) -> Path:
    """The archive of the bed's pod images, for a node image that does not hold them; kept in the cache."""
    made_from = cache.key(images.userland, *(gobuild.made_from(bed, group) for group in POD_PROGRAMS))
    path = bed.cache / "images" / f"pods-{made_from}.tar"
    if not path.exists():
        with step("pod images", bed.logs):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            control(bed, engine, images, part)
            part.replace(path)
            cache.drop_others(path.parent, "pods", path.name)
    return path


def drop_older(engine: Engine, images: Images) -> None:
    """Remove images that an earlier recipe made from the private engine; one that a container uses stays."""
    if engine.private:
        listed = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "muster-bed/*").split()
        for name in set(listed) - {images.node, images.userland, images.services}:
            engine.docker("rmi", name, check=False)


def provide(bed: Bed, engine: Engine, images: Images, programs_built: Callable[[], None], *, nodes: bool) -> None:
    """Get every image that is not there: from the cache, by pull, or made. The node image only for new nodes.

    `programs_built` waits for the Go programs, which are built meanwhile.
    """
    basic = [SLIM, images.userland, images.services]
    if not load(bed, engine, "basic", basic):
        userland(bed, engine, images)
        programs_built()
        services(bed, engine, images)
    keep(bed, engine, "basic", basic)
    if not images.mover.exists():
        programs_built()
        mover(bed, engine, images)
    if not nodes or engine.has_image(images.node):
        return
    if not images.own_node:
        with step(f"pull {images.node}", bed.logs):
            engine.docker("pull", images.node, timeout=900)
    elif not load(bed, engine, "node", [images.node]):
        programs_built()
        node(bed, engine, images)
        keep(bed, engine, "node", [images.node])
