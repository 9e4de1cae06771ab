"""A site's OCI registry and its S3: containers with a fixed address, TLS of the bed's authority and a login."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import string
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from . import gobuild
from .authority import certificate, registry_login, s3_login, write
from .engine import Engine
from .places import BUCKET, CRAMPED, CRAMPED_BYTES, REGISTRY_PORT, S3_PORT, WITNESS, Bed
from .s3 import S3
from .steps import BedError, note, run, step, wait_for

MOVER = "muster/restic"
MOVER_TAG = "bed"


def object_store(bed: Bed, engine: Engine, site: str) -> S3:
    access, secret, region = s3_login(bed, site)
    return S3(f"https://{engine.network.s3(site)}:{S3_PORT}", access, secret, region, bed.ca)


def registry_name(engine: Engine, site: str) -> str:
    return f"{engine.network.registry(site)}:{REGISTRY_PORT}"


def parts(site: str) -> list[str]:
    return ["s3"] if site == WITNESS else ["registry", "s3"]


def up(bed: Bed, engine: Engine, site: str, services: str) -> None:
    """Start what is missing of a place's stores, wait for them, and make the bucket."""
    have = engine.states(f"{bed.name}-{site}-")
    missing = [part for part in parts(site) if have.get(bed.container(site, part)) != "running"]
    if missing:
        with step(f"{site}: " + " and ".join(missing), bed.logs):
            for part in missing:
                start(bed, engine, site, part, services)
            ready(bed, engine, site)
    object_store(bed, engine, site).make_bucket(BUCKET)


def ready(bed: Bed, engine: Engine, site: str) -> None:
    wait_for(f"The S3 of {site}", object_store(bed, engine, site).ready, 30)
    if site != WITNESS:
        wait_for(f"The registry of {site}", lambda: registry_answers(bed, engine, site), 30)


def start(bed: Bed, engine: Engine, site: str, part: str, services: str) -> None:
    """Start a container that is stopped, or make it."""
    name = bed.container(site, part)
    if engine.succeeds("container", "inspect", "--format", "{{.Id}}", name):
        engine.docker("start", name)
        return
    address = engine.network.s3(site) if part == "s3" else engine.network.registry(site)
    tls = certificate(bed, f"{site}-{part}", address)
    words = [
        "run", "-d", "--name", name, "--network", bed.name, "--ip", address, "--label", f"dev.muster.bed={bed.id}",
        "-v", f"{name}:/data", "-v", f"{tls}:/tls:ro",
    ]  # fmt: skip
    if part == "s3":
        access, secret, region = s3_login(bed, site)
        env = bed.secrets / f"{site}-s3.env"
        # Its posix backend looks at a condition first and writes then: of two competing creates both can succeed. One
        # action at a time makes conditional writes what they must be for the witness's locks.
        limit = "VGW_POSIX_CONCURRENCY=1\n" if site == WITNESS else ""
        write(env, f"ROOT_ACCESS_KEY={access}\nROOT_SECRET_KEY={secret}\nVGW_REGION={region}\n{limit}")
        words += ["--tmpfs", f"/data/buckets/{CRAMPED}:size={CRAMPED_BYTES}", "--env-file", str(env)]
        words += [services, "sh", "-c"]
        # Versions lie beside the buckets, so that object lock can be tried. A killed gateway leaves no lock behind.
        words.append(
            "mkdir -p /data/buckets /data/versions && exec versitygw --port :7070 --cert /tls/tls.crt "
            "--key /tls/tls.key --region $VGW_REGION posix --versioning-dir /data/versions /data/buckets"
        )
    else:
        home = bed.secrets / f"{site}-registry"
        write(home / "htpasswd", htpasswd(bed, engine, site, services))
        write(home / "config.yml", json.dumps(registry_configuration(), indent=1))
        words += ["-v", f"{home}:/etc/registry:ro", services, "registry", "serve", "/etc/registry/config.yml"]
    engine.docker(*words)


def registry_configuration() -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        # No cache of descriptors: `reset` takes repositories away behind the registry's back.
        "storage": {"filesystem": {"rootdirectory": "/data"}, "delete": {"enabled": True}},
        "http": {"addr": f":{REGISTRY_PORT}", "tls": {"certificate": "/tls/tls.crt", "key": "/tls/tls.key"}},
        "auth": {"htpasswd": {"realm": "muster", "path": "/etc/registry/htpasswd"}},
    }


def htpasswd(bed: Bed, engine: Engine, site: str, services: str) -> str:
    """The login as a bcrypt line, the only kind that the registry takes; Debian's perl makes it, in a container."""
    user, password = registry_login(bed, site)
    salt = "$2b$05$" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21)) + "u"
    program = "chomp($password = <STDIN>); print crypt($password, shift)"
    line = engine.docker("run", "--rm", "-i", "--network", "none", services, "perl", "-e", program, salt,
                         feed=password + "\n").strip()  # fmt: skip
    if not line.startswith("$2b$"):
        raise BedError("No bcrypt hash could be made for the registry's login")
    return f"{user}:{line}\n"


def registry_request(bed: Bed, engine: Engine, site: str, path: str) -> tuple[int, bytes]:
    """GET something of a registry with the login: status and answer. Raises OSError when it can not be reached."""
    user, password = registry_login(bed, site)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(f"https://{registry_name(engine, site)}{path}")
    request.add_header("Authorization", f"Basic {token}")
    request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json, application/json")
    context = ssl.create_default_context(cafile=str(bed.ca))
    try:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=3) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def registry_answers(bed: Bed, engine: Engine, site: str) -> bool:
    try:
        return registry_request(bed, engine, site, "/v2/")[0] == 200
    except OSError:
        return False


def repositories(bed: Bed, engine: Engine, site: str) -> list[str]:
    answer = registry_request(bed, engine, site, "/v2/_catalog?n=1000")[1]
    return list(json.loads(answer).get("repositories") or [])


def login_file(bed: Bed, engine: Engine, site: str) -> Path:
    """A folder with a Docker config.json that has the site's login; crane and others take it as DOCKER_CONFIG."""
    folder = bed.secrets / f"{site}-docker"
    user, password = registry_login(bed, site)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    write(folder / "config.json", json.dumps({"auths": {registry_name(engine, site): {"auth": token}}}, indent=1))
    return folder


def crane(bed: Bed, engine: Engine, site: str, *words: str | Path) -> str:
    env = {"SSL_CERT_FILE": str(bed.ca), "DOCKER_CONFIG": str(login_file(bed, engine, site))}
    return run([gobuild.program(bed, "crane"), *words], env=env, timeout=600)


def push(bed: Bed, engine: Engine, site: str, image: str, reference: str) -> str:
    """Push an image of the engine to a site's registry as REPOSITORY:TAG; returns its name by digest.

    Done with crane, so that no engine's settings have to know the bed's authority.
    """
    target = f"{registry_name(engine, site)}/{reference}"
    with tempfile.TemporaryDirectory(prefix="muster-push-", dir=bed.work) as folder:
        file = Path(folder, "image.tar")
        engine.docker("save", "-o", file, image)
        crane(bed, engine, site, "push", file, target)
    digest = crane(bed, engine, site, "digest", target).strip()
    return f"{target.rsplit(':', 1)[0]}@{digest}"


def mover_name(engine: Engine, site: str, archived: Path) -> str:
    """What the mover image is called at a site, by digest."""
    with tarfile.open(archived) as layout:
        index = layout.extractfile("index.json")
        assert index is not None
        digest = json.loads(index.read())["manifests"][0]["digest"]
    return f"{registry_name(engine, site)}/{MOVER}@{digest}"


def has_mover(bed: Bed, engine: Engine, site: str, archived: Path) -> bool:
    """Whether the site's registry answers, and has the mover image of this archive."""
    if not archived.exists():
        return False
    digest = mover_name(engine, site, archived).rpartition("@")[2]
    try:
        return registry_request(bed, engine, site, f"/v2/{MOVER}/manifests/{digest}")[0] == 200
    except OSError:
        return False


def push_mover(bed: Bed, engine: Engine, site: str, archived: Path) -> str:
    """Push the mover image to the site's registry unless it is there; returns its name by digest."""
    if not has_mover(bed, engine, site, archived):
        with (
            step(f"{site}: push mover image", bed.logs),
            tempfile.TemporaryDirectory(prefix="muster-push-", dir=bed.work) as folder,
        ):
            with tarfile.open(archived) as layout:
                layout.extractall(folder, filter="data")
            crane(bed, engine, site, "push", folder, f"{registry_name(engine, site)}/{MOVER}:{MOVER_TAG}")
    return mover_name(engine, site, archived)


def pull_mover(bed: Bed, engine: Engine, site: str, name: str, nodes: list[str]) -> None:
    """Pull the mover image into the nodes that do not have it: pods may then use it without a login."""
    for node in nodes:
        listed = engine.docker("exec", node, "ctr", "-n", "k8s.io", "images", "ls", "-q", f"name=={name}")
        if name not in listed:
            with step(f"{site}: pull mover image", bed.logs):
                pull_into(bed, engine, site, node, name)


def pull_into(bed: Bed, engine: Engine, site: str, node: str, name: str) -> None:
    """Pull an image into a node with the site's login, which is gone from the node afterwards.

    Pods may then use it by its digest without a pull secret.
    """
    registry = registry_name(engine, site)
    user, password = registry_login(bed, site)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    hosts = (
        f'server = "https://{registry}"\n[host."https://{registry}"]\n'
        f'  ca = "/etc/containerd/certs.d/{registry}/ca.crt"\n'
        f'  [host."https://{registry}".header]\n    authorization = "Basic {token}"\n'
    )
    script = (
        "set -e\nfolder=$(mktemp -d)\ntrap 'rm -rf $folder' EXIT\n"
        f"mkdir -p $folder/{registry}\ncat > $folder/{registry}/hosts.toml\n"
        f"ctr -n k8s.io images pull --hosts-dir $folder {name} >/dev/null\n"
    )
    note(f"pull {name} into {node}")
    engine.docker("exec", "-i", node, "sh", "-c", script, feed=hosts)
