# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of the real cosign, in both layouts and with each kind of key, travel and are verified without it."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..sites import BED, JSON, Site, bed, good
from .conftest import Crane, Registry, mirror

pytestmark = pytest.mark.nightly

LAYOUTS = {
    "tags": ["--new-bundle-format=false"],
    "bundles": ["--new-bundle-format=true"],
}
KEYS = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


class Cosign:
    """The real program; keys are files of a folder."""

    def __init__(self, program: Path, folder: Path, crane: Crane, ca: str) -> None:
        self._program, self.folder, self._login, self._ca = program, folder, crane.login, ca

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self._login, "COSIGN_PASSWORD": "", "HOME": str(self.folder)}
        command = [str(self._program), *words]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def __call__(self, *words: str) -> None:
        done = self._run(*words)
        assert done.returncode == 0, f"cosign {' '.join(words)}: {done.stderr[-2000:]}"

    def key(self, kind: str) -> str:
        """Make a key pair; gives its name, and NAME.key and NAME.pub are files."""
        name = f"{kind}-{uuid.uuid4().hex[:6]}"
        private = KEYS[kind]().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{name}.pem").write_bytes(private)
        self("import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name)
        return name

    def public(self, name: str) -> str:
        return str(self.folder / f"{name}.pub")

    def sign(self, name: str, image: str, layout: str) -> None:
        offline = ["--tlog-upload=false", "--use-signing-config=false", "--yes", f"--registry-cacert={self._ca}"]
        self("sign", "--key", f"{name}.key", *LAYOUTS[layout], *offline, image)

    def verifies(self, name: str, image: str, layout: str) -> bool:
        """Whether cosign itself takes the signature; without the empty root of trust it would ask the network."""
        root = self.folder / "root.json"
        root.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}', encoding="utf-8")
        offline = ["--insecure-ignore-tlog=true", f"--registry-cacert={self._ca}", f"--trusted-root={root}"]
        return self._run("verify", "--key", f"{name}.pub", *LAYOUTS[layout], *offline, image).returncode == 0


@pytest.fixture(scope="module")
def cosign(facts: JSON, crane: Crane, tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    built = subprocess.run([BED, "build", "cosign"], capture_output=True, text=True, check=True).stdout.strip()
    return Cosign(Path(built) / "cosign", tmp_path_factory.mktemp("cosign"), crane, str(facts["ca_file"]))


@pytest.fixture
def image(crane: Crane, east: Site, registries: tuple[Registry, Registry]) -> Callable[[], JSON]:
    """Makes an image at east that nobody has signed."""

    def made() -> JSON:
        name = f"{registries[0].host}/signed-{uuid.uuid4().hex[:8]}/app:1"
        digest = crane.image(str(east.facts["mover_image"]), name, size=1000)
        return {"name": name, "digest": digest, "at": f"{name.rpartition(':')[0]}@{digest}"}

    return made


def rules(*keys: str, threshold: int = 1) -> list[JSON]:
    return [{"pattern": "*", "policy": "require", "keys": list(keys), "threshold": threshold}]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_is_verified_travels_and_is_verified_there(
    kind: str, layout: str, cosign: Cosign, image: Callable[[], JSON], east: Site, west: Site
) -> None:
    signed, key = image(), cosign.key(kind)
    cosign.sign(key, signed["at"], layout)
    trusted = {"images": [signed], "signatures": rules(cosign.public(key))}
    target = west.registry("signed")
    copied = good(mirror(**trusted, sources=[east.registry()], target=target))
    (entry,) = copied["images"]
    assert entry["signatures"]["verdict"] == "verified" and len(entry["signatures"]["signed_by"]) == 1
    # This cosign does not take back its own signatures by Ed25519 keys that were imported.
    taken = cosign.verifies(key, signed["at"], layout)
    assert taken is (kind != "ed25519")
    # The registry that it came from is not needed, and cosign itself finds the copy as good as the original.
    bed("stop", "east", "registry")
    try:
        (kept,) = good(mirror(images=[entry], signatures=trusted["signatures"], target=target, verify="full"))["images"]
        assert kept["signatures"]["verdict"] == "verified"
        assert cosign.verifies(key, entry["target"], layout) is taken
    finally:
        bed("heal")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_signed_so_is_refused_and_not_copied(
    layout: str,
    cosign: Cosign,
    image: Callable[[], JSON],
    east: Site,
    west: Site,
    registries: tuple[Registry, Registry],
) -> None:
    ours, theirs = cosign.key("ecdsa"), cosign.key("ecdsa")
    unsigned, foreign, twice = image(), image(), image()
    cosign.sign(theirs, foreign["at"], layout)
    for key in (ours, theirs):
        cosign.sign(key, twice["at"], layout)

    def verdict(one: JSON, *keys: str, threshold: int = 1) -> str:
        signatures = rules(*map(cosign.public, keys), threshold=threshold)
        result = mirror(images=[one], signatures=signatures, sources=[east.registry()], target=west.registry("refused"))
        (entry,) = result["images"]
        there = registries[1].digest(f"refused/{entry['path']}", one["digest"])
        assert (there is not None) is not result["failed"]
        return str(entry["signatures"]["verdict"])

    assert verdict(unsigned, ours) == "unsigned"
    assert verdict(foreign, ours) == "invalid"
    assert verdict(foreign, ours, theirs) == "verified"
    assert verdict(twice, ours, cosign.key("ecdsa"), threshold=2) == "invalid"
    assert verdict(twice, ours, theirs, threshold=2) == "verified"


def test_a_right_signature_of_another_image_is_refused(
    cosign: Cosign, image: Callable[[], JSON], east: Site, crane: Crane
) -> None:
    key, signed, replayed = cosign.key("ecdsa"), image(), image()
    cosign.sign(key, signed["at"], "tags")
    tags = [f"{one['name'].rpartition(':')[0]}:{one['digest'].replace(':', '-')}.sig" for one in (signed, replayed)]
    crane("copy", *tags)
    result = mirror(images=[replayed], signatures=rules(cosign.public(key)), sources=[east.registry()])
    assert result["failed"] and result["images"][0]["signatures"]["verdict"] == "invalid"


def test_an_index_is_signed_for_all_its_platforms(
    cosign: Cosign, image: Callable[[], JSON], east: Site, crane: Crane, registries: tuple[Registry, Registry]
) -> None:
    parts, key = [image(), image()], cosign.key("ecdsa")
    name = f"{registries[0].host}/signed-{uuid.uuid4().hex[:8]}/index:1"
    crane("index", "append", "-m", parts[0]["name"], "-m", parts[1]["name"], "-t", name)
    whole = {"name": name, "digest": crane("digest", name)}
    cosign.sign(key, f"{name.rpartition(':')[0]}@{whole['digest']}", "bundles")
    signatures = rules(cosign.public(key))
    checked = good(mirror(images=[whole], signatures=signatures, sources=[east.registry()]))
    assert checked["images"][0]["signatures"]["verdict"] == "verified"
