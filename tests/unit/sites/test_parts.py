from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from _bed import authority, cache, cli, cluster, engine, gobuild, kube, leftovers, s3, settings, steps, stores
from _bed.places import Bed

CHECKOUT = Path(__file__).resolve().parents[3]
REAL = Bed(CHECKOUT)


def test_settings_survive(bed):
    kept = settings.Settings(docker_host="unix:///x", private=True, block="10.130.4.0/23", nodes=2)
    settings.save(bed, kept)
    assert settings.load(bed) == kept
    assert settings.load(Bed(bed.checkout / "other")) == settings.Settings()


def test_secrets_are_private_and_stay_the_same(bed):
    first = authority.secret(bed, "password")
    assert authority.secret(bed, "password") == first
    assert authority.secret(bed, "other") != first
    assert stat.S_IMODE((bed.secrets / "password").stat().st_mode) == 0o600


def test_certificate_is_of_the_authority_and_for_the_address(bed):
    authority.authority(bed)
    folder = authority.certificate(bed, "east-s3", "10.130.4.12")
    first = (folder / "tls.crt").read_bytes()
    shown = subprocess.run(["openssl", "verify", "-CAfile", bed.ca, "-verify_ip", "10.130.4.12", folder / "tls.crt"],
                           capture_output=True, check=False)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600
    authority.certificate(bed, "east-s3", "10.130.4.12")
    assert (folder / "tls.crt").read_bytes() == first
    authority.certificate(bed, "east-s3", "10.130.4.99")
    assert (folder / "tls.crt").read_bytes() != first


def test_signature_is_the_one_that_botocore_makes():
    store = s3.S3("https://10.0.0.1:7070", "AKIDEXAMPLE", "a-secret-key", "us-east-1", CHECKOUT)
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    headers = s3.signed(store, "PUT", "/muster", "10.0.0.1:7070", now)
    botocore = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("PUT", "https://10.0.0.1:7070/muster")
    request.headers["X-Amz-Content-SHA256"] = headers["x-amz-content-sha256"]
    request.context["timestamp"] = headers["x-amz-date"]
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    request.headers["host"] = "10.0.0.1:7070"
    signer = botocore.S3SigV4Auth(Credentials(store.access_key, store.secret_key), "s3", "us-east-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert headers["Authorization"].endswith("Signature=" + signer.signature(text, request))


def test_content_keys(tmp_path):
    file = tmp_path / "a"
    file.write_text("1")
    first = cache.key("x", file)
    assert cache.key("x", file) == first
    file.write_text("2")
    assert cache.key("x", file) != first
    assert cache.key("x", tmp_path) != cache.key("y", tmp_path)


def test_the_drivers_key_is_that_of_its_program(bed):
    folder = bed.here / "csi"
    folder.mkdir(parents=True)
    for name in ("go.mod", "go.sum", "main.go", "main_test.go"):
        (folder / name).write_text("1")
    first = cluster.driver_key(bed)
    (folder / "main_test.go").write_text("2")
    (folder / "README.md").write_text("2")
    assert cluster.driver_key(bed) == first
    for name in ("go.mod", "go.sum", "main.go"):
        before = cluster.driver_key(bed)
        (folder / name).write_text("2")
        assert cluster.driver_key(bed) != before


def test_older_builds_go_and_others_stay(tmp_path):
    for name in ("node-0123456789abcdef.tar.zst", "node-fedcba9876543210.tar.zst", "node-base-0123456789abcdef.tar",
                 "basic-0123456789abcdef.tar"):  # fmt: skip
        (tmp_path / name).touch()
    cache.drop_others(tmp_path, "node", "node-0123456789abcdef.tar.zst")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "basic-0123456789abcdef.tar", "node-0123456789abcdef.tar.zst", "node-base-0123456789abcdef.tar",
    ]  # fmt: skip


@pytest.mark.parametrize("group", sorted(gobuild.GROUPS))
def test_every_group_pins_its_programs(group):
    folder = REAL.here / "go" / group
    text = (folder / "go.mod").read_text()
    assert (folder / "go.sum").stat().st_size > 0
    for package in gobuild.GROUPS[group].packages:
        own = package.removeprefix(f"muster/sites/{group}")
        if own != package:  # code of its own, which imports what is pinned
            imported = set(re.findall(r'"(github.com/[^"]+)"', (folder / own.lstrip("/") / "main.go").read_text()))
            assert imported and all(any(f"{module} v" in text for module in parents(one)) for one in imported)
            continue
        assert any(f"{module} v" in text for module in parents(package)), f"{package} is not required"
        assert f"{package}\n" in text, f"{package} is not a tool of go.mod"


def parents(package):
    words = package.split("/")
    return ["/".join(words[:n]) for n in range(len(words), 1, -1)]


def test_code_of_its_own_is_part_of_a_groups_key(tmp_path):
    shutil.copytree(REAL.here / "go" / "addons", tmp_path / "tests/sites/go/addons")
    bed = Bed(tmp_path)
    before = gobuild.made_from(bed, "addons")
    (tmp_path / "tests/sites/go/addons/coredns/main.go").write_text("package main")
    assert gobuild.made_from(bed, "addons") != before


def test_kubeadm_knows_its_version():
    flags = gobuild.linker_flags(REAL, "kubernetes")
    assert f"k8s.io/component-base/version.gitVersion={gobuild.kubernetes_version(REAL)}" in flags
    assert "client-go/pkg/version.gitMinor=" in flags


def test_kubernetes_staging_modules_are_all_of_its_release():
    text = (REAL.here / "go/kubernetes/go.mod").read_text()
    release = "v0" + gobuild.kubernetes_version(REAL).removeprefix("v1")
    replaced = [line.split() for line in text.splitlines() if " => " in line and "replace (" not in line]
    assert replaced
    assert {words[-1] for words in replaced} == {release}


def test_kind_gets_numbers_it_can_have(bed):
    one = cluster.configuration(bed, "west", 2)
    assert [node["role"] for node in one["nodes"]] == ["control-plane", "worker"]
    assert all(node["extraMounts"] for node in one["nodes"])
    assert "extraMounts" not in cluster.configuration(bed, "west", 1)["nodes"][0]


def pod(*starts, ready=True, containers=1):
    statuses = [{"ready": ready, "state": {"running": {"startedAt": start}}} for start in starts]
    return {"spec": {"containers": [{}] * containers}, "status": {"containerStatuses": statuses}}


def test_only_containers_started_since_their_node_count():
    start = cluster.moment("2026-01-01T00:00:10.987654321Z")
    assert cluster.runs_since(pod("2026-01-01T00:00:10Z"), start)
    assert not cluster.runs_since(pod("2026-01-01T00:00:09Z"), start)
    assert not cluster.runs_since(pod("2026-01-01T00:00:20Z", ready=False), start)
    assert not cluster.runs_since(pod("2026-01-01T00:00:20Z", containers=2), start)
    assert not cluster.runs_since(pod("2026-01-01T00:00:20Z"), None)


def test_kubeconfig_holds_what_kubeadm_gave(bed):
    yaml = pytest.importorskip("yaml")
    folder = bed.secrets / "api"
    admin = "certificate-authority-data: Q0E=\nclient-certificate-data: Q1JU\nclient-key-data: S0VZ\n"
    kube.extract(admin, folder)
    document = yaml.safe_load(kube.kubeconfig("kind-x", "https://10.0.0.1:6443", folder))
    assert document["users"][0]["user"] == {"client-certificate-data": "Q1JU", "client-key-data": "S0VZ"}
    assert document["clusters"][0]["cluster"]["server"] == "https://10.0.0.1:6443"
    assert document["current-context"] == document["contexts"][0]["name"] == "kind-x"


def test_socket_path_fits_into_a_socket_address(tmp_path):
    short, long = Bed(Path("/w")), Bed(tmp_path / ("x" * 100))
    assert engine.socket_path(short).is_relative_to(short.work)
    assert len(str(engine.socket_path(long))) < 108


def test_wrapper_takes_the_capability_away(tmp_path):
    wrapper = CHECKOUT / "tests/sites/_bed/files/runc-without-sys-resource"
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    capabilities = ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_KILL"]
    (bundle / "config.json").write_text(json.dumps({"a": capabilities, "b": capabilities[1:2], "c": capabilities[:2]}))
    out = subprocess.run([wrapper, "create", "--bundle", bundle, "id"], capture_output=True, text=True, check=True,
                         env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})  # fmt: skip
    assert out.stdout.split() == ["create", "--bundle", str(bundle), "id"]
    kept = json.loads((bundle / "config.json").read_text().replace('["CAP_SYS_RESOURCE"]', "[]"))
    assert kept == {"a": ["CAP_CHOWN", "CAP_KILL"], "b": [], "c": ["CAP_CHOWN"]}


def test_kinds_docker_gives_nodes_their_addresses(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@"\n')
    docker.chmod(0o755)
    shim = CHECKOUT / "tests/sites/_bed/files/docker-with-addresses"
    env = {**os.environ, "MUSTER_DOCKER": str(docker), "MUSTER_NODES": "n-east=10.0.0.41 n-west=10.0.0.51"}

    def said(*words):
        return subprocess.run([shim, *words], env=env, capture_output=True, text=True, check=True).stdout.split()

    assert said("run", "--name", "n-west", "image") == ["run", "--ip", "10.0.0.51", "--name", "n-west", "image"]
    assert said("run", "--name", "other", "image") == ["run", "--name", "other", "image"]
    assert said("ps", "-a") == ["ps", "-a"]


def test_no_program_of_the_bed_writes_into_the_home_folder(bed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GOENV", raising=False)
    places = cli.places_of_others(bed)
    assert Path(places["KUBECACHEDIR"]).is_relative_to(bed.checkout / ".work")
    go = gobuild.environment(bed, bed.here)
    for place in (places["PIP_CACHE_DIR"], go["GOCACHE"], go["GOMODCACHE"], go["XDG_CONFIG_HOME"]):
        assert Path(place).is_relative_to(bed.cache)
    assert go["GOENV"] == str(tmp_path / "home/.config/go/env")  # only read: it may name a proxy


def test_a_failed_command_tells_its_step_and_log(tmp_path):
    with pytest.raises(steps.CommandError) as caught, steps.step("one: two", tmp_path):
        steps.run([sys.executable, "-c", "import sys; sys.exit('the reason')"])
    assert caught.value.step == "one: two"
    assert caught.value.log == tmp_path / "one-two.log"
    assert "the reason" in str(caught.value)
    assert "the reason" in caught.value.log.read_text()


def test_pipe_fails_with_either_side():
    with pytest.raises(steps.CommandError, match="false"):
        steps.pipe(["false"], ["cat"])
    with pytest.raises(steps.CommandError, match="sh"):
        steps.pipe(["echo"], ["sh", "-c", "cat >/dev/null; exit 3"])


def test_together_does_all_before_it_fails():
    done = []

    def bad():
        raise steps.BedError("no")

    with pytest.raises(steps.BedError):
        steps.together(bad, lambda: done.append(1))
    assert done == [1]


def test_own_processes_are_found_by_their_folder(tmp_path):
    with subprocess.Popen(["sleep", "30"], cwd=tmp_path) as child:
        assert leftovers.alive(child.pid)
        assert child.pid not in leftovers.processes_of(str(tmp_path), "sleep")
        leftovers.stop(child.pid, 5)
        child.wait()
    assert not leftovers.alive(child.pid)


def test_every_verb_explains_itself(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    for verb in ("up", "down", "status", "facts", "hang", "power-cut", "partition", "destroy", "heal", "reset"):
        assert f"  {verb} " in shown or f"  {verb}\n" in shown


def test_a_bed_with_another_mover_image_than_the_checkouts_is_not_whole(bed, tmp_path, monkeypatch):
    """It was made before the recipe was changed, or by another checkout's."""
    archived, layout = tmp_path / "mover.tar", tmp_path / "index.json"
    layout.write_text(json.dumps({"manifests": [{"digest": "sha256:new"}]}))
    with tarfile.open(archived, "w") as tar:
        tar.add(layout, "index.json")
    there = {"sha256:old"}
    monkeypatch.setattr(stores, "registry_name", lambda _engine, _site: "10.130.4.11:5000")
    monkeypatch.setattr(
        stores,
        "registry_request",
        lambda _bed, _engine, _site, path: (200 if path.split("/")[-1] in there else 404, b""),
    )
    assert not stores.has_mover(bed, None, "east", archived)
    there.add("sha256:new")
    assert stores.has_mover(bed, None, "east", archived)
    assert not stores.has_mover(bed, None, "east", tmp_path / "not-built.tar")
