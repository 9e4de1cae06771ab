"""The bed's own certificate authority, and its random logins and keys. All of it is made once per bed."""

from __future__ import annotations

import secrets
from pathlib import Path

from .places import REGION, USER, Bed
from .steps import run

DAYS = "3650"


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)


def secret(bed: Bed, name: str, length: int = 24) -> str:
    """A random secret of the bed, made at its first use and kept in .work/sites/secrets."""
    path = bed.secrets / name
    if not path.exists():
        write(path, secrets.token_hex(length // 2) + "\n")
    return path.read_text().strip()


def registry_login(bed: Bed, site: str) -> tuple[str, str]:
    return USER, secret(bed, f"{site}-registry-password")


def s3_login(bed: Bed, site: str) -> tuple[str, str, str]:
    """Access key, secret key and region of a site's S3."""
    access = bed.secrets / f"{site}-s3-access-key"
    if not access.exists():
        write(access, "MUSTER" + secrets.token_hex(7).upper() + "\n")
    return access.read_text().strip(), secret(bed, f"{site}-s3-secret-key", 40), REGION


def operator_keys(bed: Bed) -> dict[str, object]:
    """What an operator of the sites holds: the repository's password, and a key that signs recovery points."""
    secret(bed, "repository-password", 40)
    key, signers, identity = bed.secrets / "signing-key", bed.secrets / "allowed-signers", f"{USER}@bed"
    if not signers.exists():
        key.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", identity, "-f", key])
        kind, public = key.with_suffix(".pub").read_text().split()[:2]
        write(signers, f"{identity} {kind} {public}\n")
    return {
        "repository_password_file": str(bed.secrets / "repository-password"),
        "signing": {"key": str(key), "allowed_signers": str(signers), "identity": identity},
    }


def authority(bed: Bed) -> None:
    """Make the certificate authority; its certificate is .work/sites/ca.pem."""
    key = bed.secrets / "ca.key"
    if bed.ca.exists() and key.exists():
        return
    bed.secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
    key.chmod(0o600)
    run([
        "openssl", "req", "-x509", "-new", "-key", key, "-sha256", "-days", DAYS, "-out", bed.ca,
        "-subj", f"/CN=Muster test bed {bed.id}",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    ])  # fmt: skip


def certificate(bed: Bed, name: str, address: str) -> Path:
    """A server certificate for an address; returns the folder with tls.crt and tls.key."""
    folder = bed.secrets / "tls" / name
    certificate, key = folder / "tls.crt", folder / "tls.key"
    if certificate.exists() and key.exists() and (folder / "address").read_text() == address:
        return folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
    key.chmod(0o600)
    request, extensions = folder / "request", folder / "extensions"
    extensions.write_text(
        f"subjectAltName=IP:{address},DNS:{name}\nbasicConstraints=CA:FALSE\n"
        "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n"
    )
    run(["openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request])
    run([
        "openssl", "x509", "-req", "-in", request, "-CA", bed.ca, "-CAkey", bed.secrets / "ca.key",
        "-set_serial", str(secrets.randbits(120)), "-sha256", "-days", DAYS, "-extfile", extensions,
        "-out", certificate,
    ])  # fmt: skip
    request.unlink()
    extensions.unlink()
    (folder / "address").write_text(address)
    return folder
