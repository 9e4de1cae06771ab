# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts that restore, with the real restic, in this machine's shell and in busybox's where there is one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import PASSWORD, RESTIC, Bed, real

from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import (
    mover_run,
    naming,
    scripts,
    single_paths,
)

pytestmark = real
BUSYBOX = os.environ.get("MUSTER_BUSYBOX") or shutil.which("busybox")
OLD = -304815477.5
UNFINISHED = ".muster-restore-unfinished"
STRANGE = ("st*r[x]", "-dash", "$(HOME)", "a b", "new\nline", 'q"uo\\te', "<&>", "ünï", "back\\slash", "\\u003c", "?")


def expanded(word: str) -> str:
    """What Kubernetes makes of an argument: two dollars are one, and ``$(NAME)`` is the variable."""
    known = {"HOME": "/tmp"}
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda found: "$" if found[0] == "$$" else known.get(found[1], found[0]),
        word,
    )


@dataclass
class Volume:
    """A volume, a repository with snapshots of others, and a mover whose places are below ``place``."""

    place: Path
    bed: Bed
    shell: str
    # What the volume's file system is called.
    file_system: str = "58465342"

    @property
    def data(self) -> Path:
        return self.place / "volume/data"

    def snapshot(self, source: Path) -> str:
        """Back a folder up with the arguments of a mover."""
        (self.place / "source").mkdir(exist_ok=True)
        source.rename(self.place / "source/data")
        try:
            words = parts.backup_arguments("k8s:east/shop/data", ("muster",))
            command = [RESTIC or "restic", "--json", "--no-cache", *words]
            done = subprocess.run(
                command, cwd=self.place / "source", env=self.bed.environment, check=True, capture_output=True, text=True
            )
        finally:
            (self.place / "source/data").rename(source)
        return str(re.findall(r'"snapshot_id":"([0-9a-f]+)"', done.stdout)[0])

    def run(self, before: Sequence[str] = (), **change: Any) -> tuple[int, mover_run.Report]:
        mover = parts.Mover(
            **{
                "name": "m",
                "namespace": "shop",
                "claim": "data",
                "verb": "restore",
                "labels": naming.labels("run1", "shop", "restore"),
                "capabilities": parts.WRITE,
                "read_only": False,
                **change,
            }
        )
        container = parts.job(mover, parts.Settings(), self.bed.opened)["spec"]["template"]["spec"]["containers"][0]
        _shell, _flag, text, *words = (expanded(word) for word in container["command"])
        message = self.place / "message"
        message.unlink(missing_ok=True)
        shutil.rmtree(self.place / "tmp/muster", ignore_errors=True)
        (self.place / "tmp").mkdir(exist_ok=True)
        text = text.replace("/dev/termination-log", str(message))
        text = text.replace("$(stat -f -c %t data)", self.file_system)
        for name in ("/volume", "/tmp/muster"):
            text = text.replace(name, f"{self.place}{name}")
            words = [word.replace(name, f"{self.place}{name}") if word == name else word for word in words]
        (self.place / "password").write_text(PASSWORD)
        text = text.replace("/muster/password", str(self.place / "password"))
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        env["PATH"] = self.path()
        ended = subprocess.run(
            [*before, self.shell, "-c", text, *words], env=env, timeout=120, capture_output=True, check=False
        )
        said = message.read_bytes().decode(errors="replace") if message.exists() else ""
        assert said, ended.stderr.decode(errors="replace")
        return ended.returncode, mover_run.read_report(ended.returncode, said)

    def path(self) -> str:
        tools = self.place / "tools"
        if not tools.exists():
            tools.mkdir()
            (tools / "restic").symlink_to(RESTIC or "restic")
            if self.shell.endswith("busybox-sh"):
                assert BUSYBOX
                subprocess.run([BUSYBOX, "--install", "-s", tools], check=True)
        return str(tools) if self.shell.endswith("busybox-sh") else f"{tools}{os.pathsep}{os.environ['PATH']}"

    def restic(self, case: str, words: str) -> None:
        """A restic that is another program where its arguments match ``case``."""
        self.path()
        file = self.place / "tools/restic"
        file.unlink()
        file.write_text(f'#!/bin/sh\ncase "$*" in {case}) {words} ;; *) exec {RESTIC} "$@" ;; esac\n')
        file.chmod(0o755)

    def whole(self, snapshot: str, *, overwrite: str = "always", delete: bool = True, **change: Any) -> Any:
        words = parts.restore_arguments(snapshot, verify=True, overwrite=overwrite, delete=delete)
        return self.run(arguments=words, **{"verify": True, **change})

    def single(self, snapshot: str, *paths: str, overwrite: str = "always", **change: Any) -> Any:
        chosen = single_paths.chosen("shop/data", list(paths))
        words = parts.path_arguments(snapshot, chosen, verify=True, overwrite=overwrite)
        return self.run(verb="restore_paths", arguments=words, **{"verify": True, **change})


@pytest.fixture(params=["sh", "busybox"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    shell = "/bin/sh"
    if request.param == "busybox":
        if not BUSYBOX:
            pytest.skip("no busybox here")
        # A shell must be called sh to be one.
        shell = str(tmp_path / "busybox-sh")
        Path(shell).write_text(f'#!/bin/sh\nexec {BUSYBOX} sh "$@"\n')
        Path(shell).chmod(0o755)
    made = Volume(tmp_path, Bed(tmp_path).begin(), shell)
    made.data.mkdir(parents=True)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with all that a volume can hold, as far as this user may make it."""
    root = tmp_path / "all"
    root.mkdir()
    for name in STRANGE:
        (root / name).mkdir()
        (root / name / name).write_text(name)
        (root / name / "other").write_text("other")
    (root / "deep/er/est").mkdir(parents=True)
    (root / "deep/er/est/file").write_text("1")
    (root / "deep/er").chmod(0o711)
    (root / "deep/beside").write_text("2")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).write_text("x")
    (root / ("n" * 255)).write_text("long")
    (root / "empty").touch()
    os.utime(root / "empty", (OLD, OLD))
    (root / "none").write_text("secret")
    (root / "none").chmod(0)
    (root / "suid").write_text("s")
    (root / "suid").chmod(0o6755)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "link").symlink_to("nowhere")
    os.link(root / "deep/er/est/file", root / "hard")
    os.mkfifo(root / "fifo")
    with (root / "holes").open("wb") as file:
        file.truncate(5 << 20)
    cached = root / "cache"
    cached.mkdir()
    (cached / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (cached / "kept").write_text("kept")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
    if os.geteuid() == 0:
        os.chown(root / "deep/beside", 1000, 70000)
    return root


def _latin(name: str) -> str:
    return name.encode().decode("latin-1")


def facts(root: Path) -> dict[str, Any]:
    """All that a listing shows, but sockets; with what files and links hold."""
    found: dict[str, Any] = {}
    for path in [root, *root.rglob("*")]:
        seen = path.lstat()
        if stat.S_ISSOCK(seen.st_mode):
            continue
        size = None if stat.S_ISDIR(seen.st_mode) else seen.st_size
        held = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        name = os.fsencode(path.relative_to(root)).decode("latin-1")
        found[name] = (seen.st_mode, seen.st_uid, seen.st_gid, size, seen.st_mtime_ns, held)
    return found


def test_a_whole_volume_comes_back_and_is_compared_entry_by_entry(volume: Volume, source: Path) -> None:
    code, report = volume.whole(volume.snapshot(source), tree="whole")
    assert (code, report.errors) == (0, [])
    assert facts(volume.data) == facts(source)
    assert (volume.data / "hard").stat().st_nlink == 2
    assert (volume.data / "cache/kept").read_text() == "kept", "a marker file excludes nothing"
    assert (volume.data / "holes").stat().st_blocks * 512 < 1 << 20


Change = Callable[[Path], object]


def _shorten(root: Path) -> None:
    os.truncate(root / "holes", 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "none").chmod(0o600), ["data/none is f 600 ", "recorded is f 0 "]),
        (lambda root: os.utime(root / "empty", (5, 5)), ["data/empty is f ", " 5, recorded is f 644 ", " -304815478"]),
        (_shorten, ["data/holes is f 644 ", " 5 ", " 5242880 "]),
        (lambda root: (root / "a b/other").unlink(), ["data/a b/other is missing"]),
        (lambda root: (root / "a b/more").touch(), ["data/a b/more is not in the point"]),
        (lambda root: ((root / "fifo").unlink(), (root / "fifo").mkdir()), ["data/fifo is d ", "recorded is p "]),
    ],
)
def test_what_differs_is_named(volume: Volume, source: Path, change: Change, words: list[str]) -> None:
    """As if something had happened to the volume after restic was done: it is, by a restic that only compares."""
    snapshot = volume.snapshot(source)
    assert volume.whole(snapshot)[0] == 0
    change(volume.data)
    volume.restic("*' restore '*", """echo '{"message_type":"summary"}'""")
    code, report = volume.whole(snapshot, tree="whole")
    assert code == scripts.DIFFERS
    text = "\n".join(report.errors)
    assert "paths are not as recorded" in report.errors[0] and not [word for word in words if word not in text], text


def test_a_restore_of_an_empty_volume_is_compared_too(volume: Volume, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o2770)
    empty.chmod(0o2770)
    code, report = volume.whole(volume.snapshot(empty), tree="whole")
    assert (code, report.files, report.bytes) == (0, 0, 0)
    assert stat.S_IMODE(volume.data.stat().st_mode) == 0o2770


# -- single paths ---------------------------------------------------------------------------------------------------


def test_names_are_taken_literally(volume: Volume, source: Path) -> None:
    snapshot = volume.snapshot(source)
    some = [f"{name}/{name}" for name in STRANGE[:4]]
    code, report = volume.single(snapshot, *STRANGE[4:], *some, tree="part")
    assert (code, report.errors) == (0, [])
    wanted = {name for name in facts(source) if name.split("/")[0] in map(_latin, STRANGE)}
    wanted -= {f"{name}/other" for name in STRANGE[:4]}
    here = facts(volume.data)
    assert set(here) - {"."} == wanted
    assert {name: here[name] for name in wanted} == {name: facts(source)[name] for name in wanted}
    # The folders of those now, as a whole, into what is there.
    code, report = volume.single(snapshot, *STRANGE[:4], tree="part")
    assert (code, report.errors, report.changed) == (0, [], True)
    assert facts(volume.data / STRANGE[0]) == facts(source / STRANGE[0])


def test_the_controller_finds_the_same_names_in_the_snapshot(volume: Volume, source: Path) -> None:
    wanted = (*STRANGE, "deep/er/est/file", "link", "nothing", "st*r[x]/o?her", "deep/er/est/file/below", "socket")
    selected = single_paths.Selected(wanted)
    volume.bed.opened.entries(volume.snapshot(source), sorted(selected.missing), selected.take)
    assert selected.missing == {
        "/data/nothing",
        "/data/st*r[x]/o?her",
        "/data/deep/er/est/file/below",
        "/data/socket",
    }
    assert (selected.entries, selected.files) == (3 * len(STRANGE) + 2, 2 * len(STRANGE) + 1)
    assert selected.bytes == sum(len(name.encode()) + 5 for name in STRANGE) + 1


def test_only_the_paths_come_back_and_all_else_stays(volume: Volume, source: Path) -> None:
    snapshot = volume.snapshot(source)
    assert volume.whole(snapshot)[0] == 0
    shutil.rmtree(volume.data / "deep/er")
    (volume.data / "deep/mine").write_text("mine")
    (volume.data / "deep/beside").write_text("newer")
    (volume.data / "deep").chmod(0o700)
    volume.data.chmod(0o750)
    (volume.data / "a b/other").write_text("newer")
    before = facts(volume.data)
    code, report = volume.single(snapshot, "deep/er", "a b/a b", tree="part")
    assert (code, report.errors, report.changed) == (0, [], True)
    after = facts(volume.data)
    came = {path for path in after if path == "deep/er" or path.startswith("deep/er/")}
    assert came == {"deep/er", "deep/er/est", "deep/er/est/file"}
    assert {path: after[path] for path in came} == {path: fact for path, fact in facts(source).items() if path in came}
    # The kernel notes in the folder that something came into it.
    after["deep"] = (*after["deep"][:4], before["deep"][4], after["deep"][5])
    assert {path: fact for path, fact in after.items() if path not in came} == before


def test_folders_that_are_missing_on_the_way_come_with_what_was_recorded_of_them(volume: Volume, source: Path) -> None:
    code, report = volume.single(volume.snapshot(source), "deep/er/est/file")
    assert (code, report.errors) == (0, [])
    assert stat.S_IMODE((volume.data / "deep/er").stat().st_mode) == 0o711
    assert [path.name for path in (volume.data / "deep").iterdir()] == ["er"]


@pytest.mark.parametrize("overwrite", ["if_changed", "never"])
def test_a_second_time_nothing_changes_and_it_says_so(volume: Volume, source: Path, overwrite: str) -> None:
    snapshot = volume.snapshot(source)
    left_out = {"socket", os.fsdecode(b"caf\xe9")}
    everything = [path.name for path in source.iterdir() if path.name not in left_out]
    first = volume.single(snapshot, *everything, overwrite=overwrite, tree="part")
    assert (first[0], first[1].errors, first[1].changed) == (0, [], True)
    before = facts(volume.data)
    again = volume.single(snapshot, *everything, overwrite=overwrite, tree="part")
    assert (again[0], again[1].errors, again[1].changed) == (0, [], False)
    # Links and pipes are made anew, which the kernel notes in the folder above.
    assert {**facts(volume.data), ".": before["."]} == before
    assert again[1].summary.get("bytes_restored", 0) == 0
    (volume.data / "link").unlink()
    assert volume.single(snapshot, *everything, overwrite=overwrite)[1].changed is True


def test_what_overwrite_means(volume: Volume, source: Path) -> None:
    snapshot = volume.snapshot(source)
    volume.single(snapshot, "a b")
    file = volume.data / "a b/other"
    recorded = file.stat()
    file.write_text("newer")
    assert volume.single(snapshot, "a b", overwrite="never")[1].changed is False
    assert file.read_text() == "newer"
    # The same size and time, another content: only reading it tells.
    file.write_text("OTHER")
    os.utime(file, ns=(recorded.st_atime_ns, recorded.st_mtime_ns))
    assert volume.single(snapshot, "a b", overwrite="if_changed")[1].changed is False
    assert file.read_text() == "OTHER"
    assert volume.single(snapshot, "a b", overwrite="always")[1].changed is True
    assert file.read_text() == "other"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_folder_above_is_left_alone(volume: Volume, source: Path, kind: str) -> None:
    (volume.place / "elsewhere").mkdir()
    if kind == "file":
        (volume.data / "deep").write_text("mine")
    else:
        (volume.data / "deep").symlink_to(volume.place / "elsewhere")
    code, report = volume.single(volume.snapshot(source), "a b", "deep/er")
    assert code == scripts.IN_THE_WAY and "data/deep is no folder on the claim" in report.errors[0]
    assert [path.name for path in volume.data.iterdir()] == ["deep"] and not list(
        (volume.place / "elsewhere").iterdir()
    )


def test_a_merge_keeps_what_else_is_there(volume: Volume, source: Path) -> None:
    snapshot = volume.snapshot(source)
    (volume.data / "a b").mkdir()
    (volume.data / "a b/mine").write_text("mine")
    (volume.data / "a b/other").write_text("newer")
    code, report = volume.whole(snapshot, delete=False, overwrite="never")
    assert code == 0 and (volume.data / "a b/other").read_text() == "newer"
    code, report = volume.whole(snapshot, delete=False, tree="part")
    assert (code, report.errors) == (0, []) and (volume.data / "a b/mine").read_text() == "mine"
    assert {path: fact for path, fact in facts(volume.data).items() if path != "a b/mine"} == facts(source)
    counted = report.summary["files_restored"] + report.summary["files_skipped"]
    assert counted == len(facts(source))


def test_nothing_says_unfinished_after_a_merge_that_has_ended(volume: Volume, source: Path) -> None:
    """Else a later restore into an empty volume would take it for its own, and delete what was put there since."""
    snapshot = volume.snapshot(source)
    (volume.data / "mine").write_text("mine")
    (volume.data / UNFINISHED).write_text("")
    assert volume.whole(snapshot, delete=False)[0] == 0
    assert (volume.data / "mine").exists() and not (volume.data / UNFINISHED).exists()
    assert volume.whole(snapshot, only_if_empty=True)[0] == scripts.NOT_EMPTY and (volume.data / "mine").exists()


# -- what must be an error ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to lose a capability")
@pytest.mark.parametrize("missing", ["chown", "fowner"])
def test_a_mover_without_its_capabilities_fails_and_names_files(volume: Volume, source: Path, missing: str) -> None:
    code, report = volume.run(
        before=[shutil.which("setpriv") or "", f"--bounding-set=-{missing}"],
        arguments=parts.restore_arguments(volume.snapshot(source), verify=False),
    )
    assert code == 1 and any("deep/beside" in error and "not permitted" in error for error in report.errors)


# -- file systems that hold less --------------------------------------------------------------------------------------

ACL = bytes.fromhex("02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000400ffffffff 20000400ffffffff")


# What kernels call it.
NFS = "6969"


def attributes(path: Path) -> set[str]:
    return set(os.listxattr(path))


@pytest.fixture
def attributed(tmp_path: Path) -> Path:
    """A folder with a file that has an attribute, and one that has an ACL."""
    root = tmp_path / "attributed"
    root.mkdir()
    for name, attribute, value in (("one", "user.muster", b"1"), ("two", "system.posix_acl_access", ACL)):
        (root / name).write_text(name)
        try:
            os.setxattr(root / name, attribute, value)
        except OSError:
            pytest.skip(f"the file system here does not hold {attribute}")
    return root


def test_attributes_and_acls_come_back(volume: Volume, attributed: Path) -> None:
    code, report = volume.whole(volume.snapshot(attributed), tree="whole")
    assert (code, report.errors) == (0, [])
    assert attributes(volume.data / "one") == {"user.muster"}
    assert os.getxattr(volume.data / "two", "system.posix_acl_access") == ACL


def test_a_file_system_that_may_not_hold_what_the_point_has_is_refused(volume: Volume, attributed: Path) -> None:
    """restic itself leaves out in silence what the kernel does not support."""
    snapshot = volume.snapshot(attributed)
    volume.file_system = NFS
    for code, report in (volume.whole(snapshot), volume.single(snapshot, "one")):
        assert code == scripts.CANNOT_HOLD and not list(volume.data.iterdir())
        assert "hold what the point has: SCHILY.acl.access SCHILY.xattr.user.muster" in report.errors[0]
    # Who does not want it to be looked at takes what comes back.
    assert volume.whole(snapshot, verify=False)[0] == 0


def test_a_refusal_leaves_no_mark_on_an_empty_volume(volume: Volume, attributed: Path) -> None:
    """Else whatever is put there later would be taken for a restore that has not ended, and deleted."""
    snapshot = volume.snapshot(attributed)
    volume.file_system = NFS
    code, _report = volume.whole(snapshot, only_if_empty=True)
    assert code == scripts.CANNOT_HOLD and not list(volume.data.iterdir())


def test_a_file_system_that_is_not_known_takes_a_point_without_attributes(volume: Volume, source: Path) -> None:
    volume.file_system = NFS
    code, report = volume.whole(volume.snapshot(source))
    assert (code, report.errors) == (0, [])
    assert facts(volume.data) == facts(source)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_owners_that_are_not_kept_are_found_without_being_asked(volume: Volume, source: Path) -> None:
    """As where a server maps all owners to one and says that it was done."""
    snapshot = volume.snapshot(source)
    volume.file_system = NFS
    volume.restic("*' restore '*", f'{RESTIC} "$@"; code=$?; chown -R -h 5:5 {volume.data}; exit $code')
    code, report = volume.whole(snapshot)
    assert code == scripts.DIFFERS and "paths are not as recorded" in report.errors[0]


def test_a_comparison_that_breaks_off_is_no_success(volume: Volume, source: Path) -> None:
    if volume.shell != "/bin/sh":
        pytest.skip("busybox takes its own awk")
    snapshot = volume.snapshot(source)
    volume.path()
    (volume.place / "tools/awk").write_text("#!/bin/sh\ncat > /dev/null\n")
    (volume.place / "tools/awk").chmod(0o755)
    for code, report in (volume.whole(snapshot, tree="whole"), volume.single(snapshot, "a b", tree="part")):
        assert code == scripts.DIFFERS and "broke off" in report.errors[0]
