# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a mover's Job and its companions look like, and the script inside, run by the shell of this machine."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.real_restic import Bed, real
from fakes.storage import failure

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._restic import ssh
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover as parts
from ansible_collections.muster.container_dr.plugins.module_utils._volume import mover_run, naming
from ansible_collections.muster.container_dr.plugins.module_utils._volume.settings import settings

SECRETS = ("canary-password", "canary-secret-key", "canary-registry")
OWNER = {"metadata": {"name": "muster-data-1", "uid": "job-uid"}}
REGISTRY = {"name": "registry.example.com:5000/dr", "username": "u", "password": SECRETS[2]}
SETTINGS = parts.Settings(registry=REGISTRY, timeout=90.0)
MOVER = parts.Mover(
    name="muster-data-1",
    namespace="muster-container-dr",
    claim="data",
    verb="backup",
    arguments=parts.backup_arguments("k8s:east/shop/data", ("muster", "application=shop")),
    labels=naming.labels("run1", "shop", "mover"),
    capabilities=parts.READ_OURS,
    read_only=True,
)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    authority = tmp_path / "ca.pem"
    authority.write_text("PEM", encoding="utf-8")
    return Repository(
        url="s3:https://192.0.2.7:7070/bucket/prefix",
        binary="restic",
        version="0.19.1",
        region="eu-1",
        ca_cert=str(authority),
        secrets={
            "RESTIC_PASSWORD": SECRETS[0],
            "AWS_ACCESS_KEY_ID": "key-id",
            "AWS_SECRET_ACCESS_KEY": SECRETS[1],
        },
    )


def job(repository: Repository, settings: parts.Settings | None = None, **change: Any) -> dict[str, Any]:
    return parts.job(replace(MOVER, **change), settings or SETTINGS, repository)


def pod(repository: Repository, settings: parts.Settings | None = None, **change: Any) -> dict[str, Any]:
    spec: dict[str, Any] = job(repository, settings, **change)["spec"]["template"]["spec"]
    return spec


def test_no_secret_is_in_the_job_or_the_policy(repository: Repository) -> None:
    text = json.dumps([job(repository), parts.network_policy(MOVER, repository, OWNER)])
    for secret in (*SECRETS, "key-id"):
        assert secret not in text and base64.b64encode(secret.encode()).decode() not in text


def test_the_secrets_hold_what_the_script_reads_and_belong_to_the_job(repository: Repository) -> None:
    pull, files = parts.secrets(MOVER, SETTINGS, repository, OWNER)
    assert {name: base64.b64decode(value).decode() for name, value in files["data"].items()} == {
        "password": SECRETS[0],
        "env.AWS_ACCESS_KEY_ID": "key-id",
        "env.AWS_SECRET_ACCESS_KEY": SECRETS[1],
        "ca.pem": "PEM",
    }
    login = json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))
    assert base64.b64decode(login["auths"]["registry.example.com:5000"]["auth"]).decode() == f"u:{SECRETS[2]}"
    spec = pod(repository)
    assert spec["imagePullSecrets"] == [{"name": pull["metadata"]["name"]}]
    assert spec["volumes"][1]["secret"] == {"secretName": files["metadata"]["name"], "defaultMode": 0o400}
    for owned in (pull, files, parts.network_policy(MOVER, repository, OWNER)):
        (reference,) = owned["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["name"], reference["uid"]) == ("Job", "muster-data-1", "job-uid")
        assert owned["metadata"]["labels"][marks.RUN] == "run1"
        assert owned["metadata"]["namespace"] == MOVER.namespace


def test_movers_get_the_login_that_this_machine_has_in_its_environment(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del repository.secrets[name]
    repository.region = None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    assert set(parts.secrets(MOVER, SETTINGS, repository, OWNER)[1]["data"]) == {"password", "ca.pem"}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-environment")
    monkeypatch.setenv("AWS_REGION", "there")
    data = parts.secrets(MOVER, SETTINGS, repository, OWNER)[1]["data"]
    assert {name: base64.b64decode(value).decode() for name, value in data.items() if name.startswith("env.")} == {
        "env.AWS_ACCESS_KEY_ID": "of-the-environment",
        "env.AWS_SECRET_ACCESS_KEY": "secret-of-the-environment",
        "env.AWS_SESSION_TOKEN": "token-of-the-environment",
    }
    made = job(repository)
    assert {"name": "AWS_DEFAULT_REGION", "value": "there"} in made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "of-the-environment" not in json.dumps(made)
    repository.url = "rest:https://backup.example.com/"
    assert set(parts.secrets(MOVER, SETTINGS, repository, OWNER)[1]["data"]) == {"password", "ca.pem"}


def test_only_the_login_for_the_movers_registry_goes_into_the_cluster(repository: Repository, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {"registry.example.com:5000": {"auth": "x"}, "other": {"auth": "y"}}}))
    settings = replace(SETTINGS, registry={"name": REGISTRY["name"], "auth_file": str(file)})
    pull = parts.secrets(MOVER, settings, repository, OWNER)[0]
    assert list(json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))["auths"]) == [
        "registry.example.com:5000"
    ]


def test_a_mover_has_no_more_rights_than_it_needs(repository: Repository) -> None:
    spec = pod(repository)
    context = spec["containers"][0]["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}
    assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "nodeName", "hostname"} & spec.keys()


def test_a_mover_runs_on_the_nodes_that_it_is_told(repository: Repository) -> None:
    dedicated = {"key": "dedicated", "operator": "Equal", "value": "storage", "effect": "NoSchedule"}
    options = settings({"node_selector": {"pool": "storage"}, "tolerations": [dedicated]})
    told = pod(repository, options)
    assert told["nodeSelector"] == {"pool": "storage"} and told["tolerations"] == [dedicated]
    in_place = pod(repository, options, node="node-1")
    assert "nodeSelector" not in in_place and in_place["tolerations"] == [{"operator": "Exists"}]


def test_a_mover_has_the_label_that_it_is_told_or_that_of_who_uses_the_volume(repository: Repository) -> None:
    assert "securityContext" not in pod(repository)
    used, told = {"level": "s0:c1,c2"}, {"type": "spc_t"}
    assert pod(repository, selinux=used)["securityContext"] == {"seLinuxOptions": used}
    asked = pod(repository, settings({"selinux": told}), selinux=used)
    assert asked["securityContext"] == {"seLinuxOptions": told}


@pytest.mark.parametrize("name", ["node_selector", "selinux"])
def test_what_is_no_text_is_named(name: str) -> None:
    failure(lambda: settings({name: {"gpu": True}}), InvalidInput, f"mover.{name}", "gpu is True", "quotes")


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [("selinux", {"levels": "s0"}, "level"), ("tolerations", [{"efect": "NoSchedule"}], "effect")],
)
def test_what_a_pod_does_not_have_is_named(name: str, value: Any, known: str) -> None:
    """Left out in silence, a toleration of one taint would be one of all."""
    failure(lambda: settings({name: value}), InvalidInput, f"mover.{name}", "it has no", known)


def test_a_mover_that_writes_can_restore_owners_and_modes(repository: Repository) -> None:
    added = pod(repository, capabilities=parts.WRITE)["containers"][0]["securityContext"]["capabilities"]["add"]
    assert {"CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE"} <= set(added) and "SYS_ADMIN" not in added


def test_under_restricted_it_runs_as_the_applications_user(repository: Repository) -> None:
    spec = pod(repository, run_as_user=1000)
    context = spec["containers"][0]["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"], context["capabilities"]) == (1000, True, {"drop": ["ALL"]})
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o444


def test_what_is_read_is_mounted_read_only_and_what_is_written_is_not(repository: Repository) -> None:
    def mount(**change: Any) -> dict[str, Any]:
        found: dict[str, Any] = pod(repository, **change)["containers"][0]["volumeMounts"][0]
        return found

    assert mount() == {"name": "data", "mountPath": "/volume/data", "readOnly": True}
    assert mount(read_only=False)["readOnly"] is False


def test_a_node_is_asked_for_by_affinity_so_that_the_scheduler_still_decides(repository: Repository) -> None:
    assert "affinity" not in pod(repository)
    spec = pod(repository, node="node-2")
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}
    assert "nodeName" not in spec


def test_a_job_ends_and_does_not_repeat_what_can_not_succeed(repository: Repository) -> None:
    spec = job(repository)["spec"]
    assert spec["activeDeadlineSeconds"] == 90 and spec["template"]["spec"]["restartPolicy"] == "Never"
    ignored, final = spec["podFailurePolicy"]["rules"]
    assert ignored["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert {3, 10, 12, parts.NOT_EMPTY, parts.NO_DATA} <= set(final["onExitCodes"]["values"])
    assert not {1, 11} & set(final["onExitCodes"]["values"])


def test_restic_is_told_the_host_the_tags_and_to_find_the_parent_by_host(repository: Repository) -> None:
    words = " ".join(pod(repository)["containers"][0]["command"][4:])
    assert words.startswith("backup --host k8s:east/shop/data --group-by host ")
    assert words.endswith(" --tag muster --tag application=shop data")
    restore = parts.restore_arguments("abc", verify=True)
    assert restore[:4] == ("restore", "abc", "--target", "/volume")
    assert {"--delete", "--verify", "--sparse"} <= set(restore)
    assert " --overwrite always " in " ".join(restore)
    merge = parts.restore_arguments("abc", verify=True, overwrite="if_changed", delete=False)
    assert "--delete" not in merge and " --overwrite if-changed " in " ".join(merge)
    assert "--verify" not in parts.restore_arguments("abc", verify=False)


def test_the_network_policy_opens_the_repository_and_nothing_else(repository: Repository) -> None:
    spec = parts.network_policy(MOVER, repository, OWNER)["spec"]
    assert spec["podSelector"] == {"matchLabels": {marks.MOVER: "muster-data-1"}}
    assert spec["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in spec
    assert spec["egress"] == [
        {"ports": [{"protocol": "TCP", "port": 7070}], "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}
    ]
    labels = job(repository)["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()


def test_no_mesh_puts_a_proxy_beside_restic(repository: Repository) -> None:
    made = job(repository)["spec"]["template"]["metadata"]
    assert made["labels"]["sidecar.istio.io/inject"] == made["annotations"]["sidecar.istio.io/inject"] == "false"
    assert made["labels"]["istio.io/dataplane-mode"] == "none"
    assert made["annotations"]["linkerd.io/inject"] == "disabled"


def test_a_repository_with_a_name_needs_dns_too(repository: Repository) -> None:
    named = replace(repository, url="s3:https://s3.example.com/bucket")
    ports = [
        {port["port"] for port in rule["ports"]} for rule in parts.network_policy(MOVER, named, OWNER)["spec"]["egress"]
    ]
    assert ports == [{443}, {53, 5353}]


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("minio.storage.svc", None),
        ("rook-ceph-rgw.rook-ceph.svc.cluster.local", None),
        ("minio.storage", None),
        ("minio", None),
        ("svc.example.com", 9000),
        ("s3.svc-east.example.com", 9000),
    ],
)
def test_the_pods_of_a_service_may_listen_on_another_port_than_it_has(
    repository: Repository, host: str, port: int | None
) -> None:
    """Network policies are applied to what comes behind the service."""
    named = replace(repository, url=f"s3:http://{host}:9000/bucket")
    rule, dns = parts.network_policy(MOVER, named, OWNER)["spec"]["egress"]
    assert rule == {"ports": [{"protocol": "TCP", **({"port": port} if port else {})}]}
    assert {(one["protocol"], one["port"]) for one in dns["ports"]} == {
        (kind, number) for kind in ("TCP", "UDP") for number in (53, 5353)
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3:https://10.0.0.1:7070/b/p", ("10.0.0.1", 7070)),
        ("s3:http://minio/b", ("minio", 80)),
        ("s3:s3.example.com/b", ("s3.example.com", 443)),
        ("s3://s3.example.com/b", ("s3.example.com", 443)),
        ("s3:https://[2001:db8::1]:9000/b", ("2001:db8::1", 9000)),
        ("rest:http://backup:8000/r", ("backup", 8000)),
    ],
)
def test_the_servers_address_is_read_from_the_url(url: str, expected: tuple[str, int]) -> None:
    assert parts.endpoint(url) == expected


@pytest.mark.parametrize("url", ["/srv/restic", "local:/srv/restic", "relative"])
def test_a_directory_of_this_machine_is_refused(url: str) -> None:
    failure(lambda: parts.endpoint(url), InvalidInput, url, "movers can not reach", "repository.volume")


def test_what_movers_have_no_login_for_is_refused_as_what_it_is() -> None:
    url = "rclone:far:r"
    error = failure(lambda: parts.endpoint(url), InvalidInput, url, "a login for rclone is not given")
    assert "directory of this machine" not in str(error)


@pytest.fixture
def behind_ssh(repository: Repository, tmp_path: Path) -> Repository:
    for name in ("key", "known"):
        (tmp_path / name).write_text(f"canary-{name}\n")
    login = ssh.Login(str(tmp_path / "key"), str(tmp_path / "known"))
    url = "sftp://muster@nas.example.com:2222//srv/r"
    return replace(repository, url=url, ca_cert=None, ssh=login, secrets={"RESTIC_PASSWORD": SECRETS[0]})


def test_movers_log_in_by_ssh_with_a_key_of_their_own_and_know_the_server(
    behind_ssh: Repository, tmp_path: Path
) -> None:
    parts.require_reachable(behind_ssh)
    data = parts.secrets(MOVER, SETTINGS, behind_ssh, OWNER)[1]["data"]
    assert {name: base64.b64decode(value).decode() for name, value in data.items()} == {
        "password": SECRETS[0],
        "ssh_key": "canary-key\n",
        "known_hosts": "canary-known\n",
    }
    made = job(behind_ssh)
    assert str(tmp_path) not in json.dumps(made) and "canary" not in json.dumps(made)
    (told,) = [one["value"] for one in pod(behind_ssh)["containers"][0]["env"] if one["name"] == "MUSTER_SSH"]
    for option in ("BatchMode=yes", "IdentityFile=/muster/ssh_key", "UserKnownHostsFile=/muster/known_hosts"):
        assert f"-o {option}" in told
    assert "-o StrictHostKeyChecking=yes" in told
    rule, _dns = parts.network_policy(MOVER, behind_ssh, OWNER)["spec"]["egress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": 2222}]}


@pytest.mark.parametrize("lacks", ["key", "known_hosts"])
def test_without_key_or_host_key_movers_are_refused(behind_ssh: Repository, lacks: str) -> None:
    found = replace(behind_ssh, ssh=replace(behind_ssh.ssh, **{lacks: None}))
    failure(lambda: parts.require_reachable(found), InvalidInput, "nas.example.com", "ssh_key_file", "ssh-keyscan")


def test_no_mover_is_made_of_which_ssh_does_not_know_the_user(behind_ssh: Repository) -> None:
    failure(lambda: job(behind_ssh, run_as_user=1000), InvalidInput, MOVER.namespace, "baseline")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sftp:u@nas:/r", ("nas", 22)),
        ("sftp:nas.example.com:r", ("nas.example.com", 22)),
        ("sftp://u@[2001:db8::1]:2222//r", ("2001:db8::1", 2222)),
        ("sftp://10.0.0.1/r", ("10.0.0.1", 22)),
    ],
)
def test_the_server_behind_ssh_is_read_as_restic_does(url: str, expected: tuple[str, int]) -> None:
    assert parts.endpoint(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sftp:", "names no server"),
        ("sftp://h:x/r", "names no server"),
        ("sftp:///r", "names no server"),
        ("sftp://u:canary@h/r", "ssh takes none"),
    ],
)
def test_a_server_behind_ssh_that_cannot_be_read_is_refused(url: str, words: str) -> None:
    assert "canary" not in str(failure(lambda: parts.endpoint(url), InvalidInput, "repository sftp:", words))


@pytest.mark.parametrize(
    ("url", "ports"),
    [("b2:bucket:r", {443}), ("azure:box:/r", {None}), ("swift:box:/r", {None}), ("gs:bucket:/r", {None})],
)
def test_services_without_a_server_in_the_url_are_reached(repository: Repository, url: str, ports: set[int]) -> None:
    """Keystone, or what gives a node its login, listens on ports that are not known here."""
    found = replace(repository, url=url, secrets={"RESTIC_PASSWORD": SECRETS[0]})
    parts.require_reachable(found)
    rule, _dns = parts.network_policy(MOVER, found, OWNER)["spec"]["egress"]
    assert {port.get("port") for port in rule["ports"]} == ports and "to" not in rule


def test_a_socket_of_this_machine_is_refused() -> None:
    url = "rest:http+unix:///srv/socket:/"
    failure(lambda: parts.endpoint(url), InvalidInput, url, "a socket of this machine")


def test_movers_get_the_key_of_google_and_not_its_path(repository: Repository, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text('{"private_key": "canary"}')
    login = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "GOOGLE_PROJECT_ID": "p"}
    found = replace(repository, url="gs:b:/r", secrets={"RESTIC_PASSWORD": SECRETS[0], **login})
    data = parts.secrets(MOVER, SETTINGS, found, OWNER)[1]["data"]
    assert set(data) == {"password", "ca.pem", "google.json", "env.GOOGLE_PROJECT_ID"}
    assert base64.b64decode(data["google.json"]) == path.read_bytes()
    assert str(tmp_path) not in json.dumps(job(found)) and "canary" not in json.dumps(job(found))
    path.unlink()
    failure(lambda: parts.require_reachable(found), InvalidInput, str(path), "No such file", "Movers get what it holds")


@pytest.mark.parametrize("url", ["rest:http://backup:port/r", "rest:http://backup:99999/r", "rest:http://[::1/r"])
def test_a_server_that_can_not_be_read_is_no_bug(url: str) -> None:
    failure(lambda: parts.endpoint(url), InvalidInput, url, "Correct the URL")


def test_authorities_may_be_named_in_any_encoding(repository: Repository) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    Path(str(repository.ca_cert)).write_bytes(b"# Autorit\xe9 de certification\n" + pem)
    given = parts.secrets(MOVER, SETTINGS, repository, OWNER)[1]["data"]["ca.pem"]
    assert base64.b64decode(given).endswith(pem)


NFS = {"nfs": {"server": "nas.example.com", "path": "/export/muster"}}


@pytest.fixture
def shared(repository: Repository) -> Repository:
    """A repository in a directory that movers mount."""
    return Repository("/mnt/nas/muster", "restic", "0.19.1", volume=NFS, secrets={"RESTIC_PASSWORD": SECRETS[0]})


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_directory_is_mounted_for_writing(shared: Repository, verb: str) -> None:
    spec = pod(shared, verb=verb)
    (container,) = spec["containers"]
    assert spec["volumes"][-1] == {"name": "repository", **NFS}
    assert container["volumeMounts"][-1] == {"name": "repository", "mountPath": "/repository"}
    assert {"name": "RESTIC_REPOSITORY", "value": "/repository"} in container["env"]
    assert "/mnt/nas" not in json.dumps(spec)
    assert set(container["securityContext"]["capabilities"]["add"]) == {"DAC_OVERRIDE", "DAC_READ_SEARCH"}
    assert pod(shared, run_as_user=70)["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_mover_with_a_mounted_directory_talks_to_nobody_and_knows_only_the_password(
    shared: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment")
    parts.require_reachable(shared)
    spec = parts.network_policy(MOVER, shared, OWNER)["spec"]
    assert (spec["policyTypes"], spec["egress"]) == (["Ingress", "Egress"], [])
    files = parts.secrets(MOVER, SETTINGS, shared, OWNER)[1]["data"]
    assert set(files) == {"password"}


def test_an_object_store_is_not_mounted(repository: Repository) -> None:
    spec = pod(repository)
    assert "repository" not in [one["name"] for one in (*spec["volumes"], *spec["containers"][0]["volumeMounts"])]


def test_a_mover_asks_for_its_memory_and_has_no_limit_unless_the_user_says_so(repository: Repository) -> None:
    (container,) = pod(repository, memory=(700 << 20) + 1)["containers"]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "701Mi"}}
    wanted = {"limits": {"memory": "1Gi"}}
    made = parts.job(replace(MOVER, memory=700 << 20), replace(SETTINGS, resources=wanted), repository)
    assert made["spec"]["template"]["spec"]["containers"][0]["resources"] == wanted


def test_movers_of_a_run_are_spread_where_that_is_asked_for(repository: Repository) -> None:
    assert "topologySpreadConstraints" not in pod(repository)
    (apart,) = pod(repository, spread=True)["topologySpreadConstraints"]
    assert (apart["topologyKey"], apart["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert apart["labelSelector"] == {"matchLabels": {marks.RUN: "run1"}}


def test_a_disruption_is_done_again_and_what_no_second_pod_can_mend_is_not(repository: Repository) -> None:
    spec = job(repository)["spec"]
    ignored, final = spec["podFailurePolicy"]["rules"]
    # The first rule that fits counts: an evicted restic ends with 130 or is killed, and neither is a failure.
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert final["action"] == "FailJob" and not {1, 2, 11, 130, 137, 143} & set(final["onExitCodes"]["values"])
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 60


def test_names_of_pods_are_hostnames_and_never_the_same_for_two_movers() -> None:
    """restic's locks know their holder by it; a name that is longer than 63 characters is cut for the hostname."""
    names = {naming.object_name("run1", "shop", f"{'long-' * 40}{number}") for number in range(50)}
    names |= {naming.object_name(run, space, "data") for run in ("run1", "run2") for space in ("shop", "other")}
    assert len(names) == 54 and max(len(name) for name in names) + len("-abcde") <= 63


@real
@pytest.mark.parametrize(("detection", "changed"), [("strict", 20), ("ignore_ctime", 20), ("ignore_inode", 0)])
def test_files_with_new_inodes_are_read_again_unless_inodes_are_ignored(
    tmp_path: Path, detection: str, changed: int
) -> None:
    """A driver that copies files to make a clone gives them new inodes, and new times of their metadata."""
    bed = Bed(tmp_path).begin()
    for clone in ("first", "second"):
        for number in range(20):
            path = tmp_path / clone / "data" / f"file-{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content {number}")
            os.utime(path, (1e9, 1e9))
    # The first is still there: no inode of it is given to the second.
    summaries = []
    for clone in ("first", "second"):
        words = parts.backup_arguments("h", ("muster",), detection=detection)
        command = [bed.opened.binary, "--json", "--no-cache", *words]
        done = subprocess.run(command, cwd=tmp_path / clone, env=bed.environment, check=True, capture_output=True)
        summaries.append(json.loads(done.stdout.splitlines()[-1]))
    assert (summaries[1]["files_changed"], summaries[1]["files_unmodified"]) == (changed, 20 - changed)
    assert summaries[0]["data_blobs"] == 20 and summaries[1]["data_blobs"] == 0


@real
@pytest.mark.parametrize(("detection", "changed"), [("strict", 1), ("ignore_ctime", 0)])
def test_a_new_time_of_metadata_alone_may_be_ignored(tmp_path: Path, detection: str, changed: int) -> None:
    bed = Bed(tmp_path).begin()
    path = tmp_path / "data" / "file"
    path.parent.mkdir()
    path.write_text("content")
    for mode in (0o600, 0o644):
        path.chmod(mode)
        words = parts.backup_arguments("h", ("muster",), detection=detection)
        command = [bed.opened.binary, "--json", "--no-cache", *words]
        done = subprocess.run(command, cwd=tmp_path, env=bed.environment, check=True, capture_output=True)
    assert json.loads(done.stdout.splitlines()[-1])["files_changed"] == changed


# -- the script -----------------------------------------------------------------------------------------------------

Script = Callable[..., tuple[int, mover_run.Report]]


@pytest.fixture
def script(repository: Repository, tmp_path: Path) -> Script:
    """Runs a mover's script with its places moved below ``tmp_path``, where a program ``restic`` is what is given."""
    for name in ("volume/data", "tmp", "bin"):
        (tmp_path / name).mkdir(parents=True)

    def run(
        restic: str,
        shell: Sequence[str] = ("/bin/sh",),
        found: Repository | None = None,
        version: str = "0.19.1",
        **change: Any,
    ) -> tuple[int, mover_run.Report]:
        program = tmp_path / "bin/restic"
        itself = f'if [ "$*" = version ]; then echo "restic {version} compiled with go1.26.8 on linux/amd64"; exit; fi'
        program.write_text(f"#!/bin/sh\n{itself}\n{restic}\n", encoding="utf-8")
        program.chmod(0o755)
        container = pod(found or repository, **change)["containers"][0]
        for name, value in parts.secret_files(found).items() if found else ():
            (tmp_path / "muster").mkdir(exist_ok=True)
            (tmp_path / "muster" / name).write_text(value, newline="")
        text = container["command"][2].replace("/dev/termination-log", f"{tmp_path}/message")
        # The file system of this machine may be one that movers do not know.
        text = text.replace("$(stat -f -c %t data)", "58465342").replace(" /muster/", f" {tmp_path}/muster/")
        text = text.replace("#/muster/", f"#{tmp_path}/muster/").replace("=/muster/", f"={tmp_path}/muster/")
        for place in ("/volume", "/tmp/muster"):
            text = text.replace(place, f"{tmp_path}{place}")
        (tmp_path / "message").unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", f"{tmp_path}/tmp/muster"], check=True)
        env = {one["name"]: one["value"].replace("=/muster/", f"={tmp_path}/muster/") for one in container["env"]}
        env["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
        command = [*shell, "-c", text, "mover", *container["command"][4:]]
        ended = subprocess.run(command, env=env, timeout=30, capture_output=True, check=False)
        (tmp_path / "log").write_bytes(ended.stdout)
        message = (tmp_path / "message").read_text(encoding="utf-8")
        assert len(message) <= 4000
        return ended.returncode, mover_run.read_report(ended.returncode, message)

    return run


RESTORE: dict[str, Any] = {"verb": "restore", "arguments": parts.restore_arguments("abc", verify=False)}
SUMMARY = """echo '{"message_type":"summary","snapshot_id":"abc"}'"""


def test_the_script_reports_restics_summary_and_runs_inside_the_volume(script: Script, tmp_path: Path) -> None:
    (tmp_path / "volume/data/file").touch()
    code, report = script(f'ls data >&2; echo "$*" > {tmp_path}/words; {SUMMARY}')
    assert (code, report.code, report.summary["snapshot_id"]) == (0, 0, "abc")
    assert (tmp_path / "words").read_text().startswith("--json backup --host k8s:east/shop/data")
    assert report.errors == ["file"]


SHELLS = [["/bin/sh"], ["busybox", "sh"], ["bash"]]


@pytest.mark.parametrize("shell", [one for one in SHELLS if shutil.which(one[0])])
@pytest.mark.parametrize(
    "value", ["plain", "a'b\"c`d`$(e)$HOME\\n", " two\nlines\t", "ends\n\n", "-n", "ä%s*?[a]~#;&|"]
)
def test_restic_gets_its_login_as_it_is(
    script: Script, repository: Repository, tmp_path: Path, shell: list[str], value: str
) -> None:
    login = {"RESTIC_REST_USERNAME": "backup", "RESTIC_REST_PASSWORD": value}
    found = replace(repository, url="rest:https://h/r", secrets={"RESTIC_PASSWORD": SECRETS[0], **login})
    assert value not in json.dumps(job(found)["spec"]["template"]["spec"]["containers"][0]["env"])
    said = f'printf %s "$RESTIC_REST_PASSWORD" > {tmp_path}/got; env > {tmp_path}/env; {SUMMARY}'
    code, report = script(said, shell, found)
    assert (code, report.errors) == (0, []) and (tmp_path / "got").read_bytes() == value.encode()
    lines = (tmp_path / "env").read_text().splitlines()
    assert "RESTIC_REST_USERNAME=backup" in lines and f"RESTIC_CACERT={tmp_path}/muster/ca.pem" in lines
    assert not any(line.startswith(("AWS_ACCESS", "AWS_SECRET", "GOOGLE_")) for line in lines)


@pytest.mark.parametrize("shell", [one for one in SHELLS if shutil.which(one[0])])
def test_a_signature_is_in_no_log_of_a_mover(
    repository: Repository, tmp_path: Path, script: Script, shell: Sequence[str]
) -> None:
    login = {"AZURE_ACCOUNT_NAME": "east", "AZURE_ACCOUNT_SAS": "sv=1&ss=b&sig=canary%2Bkey%3D&sp=r"}
    found = replace(repository, url="azure:box:/r", ca_cert=None, secrets={"RESTIC_PASSWORD": SECRETS[0], **login})
    url = "https://east.blob.core.windows.net/box/r%2Fconfig?sig=canary%2Bkey%3D&sp=r"
    message = {"message_type": "exit_error", "code": 1, "message": f'Fatal: Head "{url}": no such host'}
    lines = [
        f'Stat(<config/>) returned error, retrying after 1s: Head "{url}"',
        json.dumps(message).replace("&", "\\u0026"),
    ]
    restic = "\n".join(f"printf '%s\\n' '{line}'" for line in lines)
    code, report = script(f"{restic}\nexit 1", shell, found=found)
    log = (tmp_path / "log").read_text()
    assert code == 1 and len(report.errors) == 2 and "no such host" in log and "&sp=r" in log
    assert "canary" not in log + str(report.errors)


@pytest.mark.parametrize("shell", [one for one in SHELLS if shutil.which(one[0])])
@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_each_call_of_restic_has_the_arguments_of_ssh_as_one_word(
    script: Script, behind_ssh: Repository, tmp_path: Path, shell: list[str], verb: str
) -> None:
    said = f'printf "<%s>" "$1" "$2" >> {tmp_path}/words; echo >> {tmp_path}/words; {SUMMARY}'
    more: dict[str, Any] = {**RESTORE, "tree": "whole"} if verb == "restore" else {}
    script(said, shell, behind_ssh, **more)
    lines = (tmp_path / "words").read_text().splitlines()
    told = ssh.Login(f"{tmp_path}/muster/ssh_key", f"{tmp_path}/muster/known_hosts").arguments
    assert set(lines) == {f"<-o><sftp.args={told}>"} and len(lines) == (2 if more else 1)


@pytest.mark.parametrize("shell", [one for one in SHELLS if shutil.which(one[0])])
@pytest.mark.parametrize(
    ("version", "old"),
    [("0.9.6", True), ("0.17.3", True), ("0.18.0", False), ("0.18.0-dev", False), ("0.20.0", False), ("1.0.0", False)],
)
def test_an_image_with_an_old_restic_is_told_before_it_does_anything(
    script: Script, shell: list[str], version: str, old: bool
) -> None:
    code, report = script(SUMMARY, shell, version=version)
    assert (code, bool(report.summary)) == ((95, False) if old else (0, True))
    if old:
        error = mover_run.failure("export", "volume shop/data", report, "registry/restic:old", "")
        assert isinstance(error, InvalidInput) and f"is version {version}, and movers need 0.18" in str(error)
        assert "mover.image" in error.hint


@pytest.mark.parametrize("code", [1, 3, 10, 11, 12])
def test_the_script_ends_as_restic_does_and_passes_its_words_on(script: Script, code: int) -> None:
    said = '{"message_type":"exit_error","code":1,"message":"Fatal: it went wrong"}'
    ended, report = script(f"echo '{said}' >&2; exit {code}")
    assert (ended, report.code, report.errors) == (code, code, ["Fatal: it went wrong"])


def test_many_errors_leave_room_for_the_summary(script: Script) -> None:
    noise = 'i=0; while [ $i -lt 60 ]; do printf "%0900d\\n" $i; i=$((i+1)); done; '
    code, report = script(f"{noise}{SUMMARY}; exit 3")
    assert code == 3 and report.summary["snapshot_id"] == "abc" and len(report.errors) == 5


def test_a_restore_counts_what_is_on_the_volume(script: Script) -> None:
    fill = "mkdir -p data/a; printf 12345 > data/a/x; printf 1 > 'data/new\nline'; ln -s x data/a/link; " + SUMMARY
    code, report = script(fill, **RESTORE)
    assert (code, report.files, report.bytes) == (0, 2, 6)


def test_a_restore_that_fails_counts_nothing(script: Script) -> None:
    _code, report = script("printf 1 > data/x; exit 1", **RESTORE)
    assert report.files is None and report.bytes is None


@pytest.mark.parametrize("name", ["file", ".hidden", "..strange"])
def test_a_claim_with_data_is_left_alone(script: Script, tmp_path: Path, name: str) -> None:
    (tmp_path / "volume/data" / name).write_text("precious")
    code, report = script(f"touch {tmp_path}/ran", **RESTORE, only_if_empty=True)
    assert (code, report.errors) == (parts.NOT_EMPTY, [f"found data/{name}"])
    assert not (tmp_path / "ran").exists()
    assert [path.name for path in (tmp_path / "volume/data").iterdir()] == [name]


def test_a_fresh_file_system_is_empty(script: Script, tmp_path: Path) -> None:
    (tmp_path / "volume/data/lost+found").mkdir()
    assert script(SUMMARY, **RESTORE, only_if_empty=True)[0] == 0


def test_a_second_pod_goes_on_where_the_first_was_killed(script: Script) -> None:
    assert script("printf 1 > data/half; exit 1", **RESTORE, only_if_empty=True)[0] == 1
    # What restic does with --delete.
    clean = "rm data/.muster-restore-unfinished; printf 12 > data/half; " + SUMMARY
    code, report = script(clean, **RESTORE, only_if_empty=True)
    assert (code, report.files, report.bytes) == (0, 1, 2)
    assert script(SUMMARY, **RESTORE, only_if_empty=True)[0] == parts.NOT_EMPTY


def test_a_volume_that_is_not_there_is_no_empty_backup(script: Script, tmp_path: Path) -> None:
    (tmp_path / "volume/data").rmdir()
    (tmp_path / "volume").rmdir()
    assert script(SUMMARY)[0] == parts.NO_DATA


# -- volumes in block mode --------------------------------------------------------------------------------------------

DEVICE: dict[str, Any] = {
    "verb": "restore",
    "arguments": parts.restore_arguments("abc", verify=False, device=True),
    "device": True,
}
MIB = 1 << 20


@pytest.fixture
def device(script: Script, tmp_path: Path) -> Path:
    """A file in the place of the device; a device can neither grow nor shrink, which a file cannot show."""
    (tmp_path / "volume/data").rmdir()
    path = tmp_path / "volume/data"
    path.touch()
    os.truncate(path, 40 * MIB)
    return path


def test_a_device_is_mounted_as_one_and_needs_no_capability(repository: Repository) -> None:
    spec = pod(repository, device=True, capabilities=())
    (container,) = spec["containers"]
    assert container["volumeDevices"] == [{"name": "data", "devicePath": "/volume/data"}]
    assert "/volume/data" not in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": []}


def test_a_device_is_read_by_a_command_whose_failure_counts() -> None:
    words = parts.backup_arguments("h", ("muster",), device=True)
    assert words[-6:] == ("--stdin-filename", "data", "--stdin-from-command", "--", "cat", "/volume/data")


@pytest.mark.parametrize("length", [0, 1, MIB, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_a_device_gets_what_restic_gives(script: Script, device: Path, tmp_path: Path, length: int) -> None:
    image = random.Random(length).randbytes(length)
    (tmp_path / "image").write_bytes(image)
    code, report = script(f'echo "$*" > {tmp_path}/words; cat {tmp_path}/image', **DEVICE, verify=True)
    assert (code, report.files, report.bytes, report.errors) == (0, 1, length, [])
    assert report.summary["total_bytes"] == length
    after = device.read_bytes()
    assert after[:length] == image and after[length:] == bytes(40 * MIB - length)
    assert (tmp_path / "words").read_text() == "--json dump --retry-lock 2m abc data\n"


def test_zeros_are_not_written_where_zeros_are(script: Script, device: Path, tmp_path: Path) -> None:
    with (tmp_path / "image").open("wb") as image:
        image.seek(32 * MIB)
        image.write(b"x" * MIB)
        image.truncate(40 * MIB)
    assert script(f"cat {tmp_path}/image", **DEVICE)[0] == 0
    assert device.stat().st_blocks * 512 <= 9 * MIB
    # But over other data they are.
    device.write_bytes(b"y" * 40 * MIB)
    assert script(f"cat {tmp_path}/image", **DEVICE)[0] == 0
    assert device.read_bytes() == (tmp_path / "image").read_bytes()


@pytest.mark.parametrize("code", [1, 10, 12])
def test_a_stream_that_breaks_off_is_a_failure(script: Script, device: Path, code: int) -> None:
    said = '{"message_type":"exit_error","code":1,"message":"Fatal: it went wrong"}'
    ended, report = script(f"head -c 100 /dev/zero; echo '{said}' >&2; exit {code}", **DEVICE)
    assert (ended, report.errors, report.bytes) == (code, ["Fatal: it went wrong"], None)


def test_a_device_that_is_full_is_a_failure(script: Script, device: Path, tmp_path: Path) -> None:
    device.unlink()
    device.symlink_to("/dev/full")
    ended, report = script("head -c 3000000 /dev/urandom", **DEVICE)
    assert ended == 1 and "No space left on device" in str(report.errors)


def test_what_is_read_back_otherwise_is_a_failure_with_verify(script: Script, device: Path, tmp_path: Path) -> None:
    lost = 'case "$*" in *of=data*seek=*) exit 0 ;; esac; exec /usr/bin/dd "$@"'
    (tmp_path / "bin/dd").write_text(f"#!/bin/sh\n{lost}\n")
    (tmp_path / "bin/dd").chmod(0o755)
    assert script("printf 123", **DEVICE)[0] == 0
    ended, report = script("printf 123", **DEVICE, verify=True)
    assert ended == 1 and "is not what is read there" in str(report.errors)


def test_only_a_device_of_zeros_is_empty(script: Script, device: Path, tmp_path: Path) -> None:
    look = {**DEVICE, "verb": "look", "arguments": ()}
    code, report = script("exit 9", **look)
    assert code == 0 and report.summary
    with device.open("r+b") as file:
        file.seek(30 * MIB)
        file.write(b"\1")
    code, report = script("exit 9", **look)
    assert (code, report.errors) == (parts.NOT_EMPTY, ["found data/other bytes than zeros"])
